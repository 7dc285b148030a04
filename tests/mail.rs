//! The e-mail channel against a real mail server: a child process that demands STARTTLS and credentials.
//!
//! The tests begin with `outside_` and run only with `BACKSTOP_OUTSIDE=1`, because they need Python's aiosmtpd
//! (Debian: `python3-aiosmtpd`) and `openssl`; else they say that they are skipped.

#![expect(clippy::print_stderr, reason = "a skipped test says so")]
#![expect(clippy::disallowed_methods, reason = "a test of the outside starts what stands outside")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use backstop::base::{Id, Labels, Level, SecretRef, Span, Timestamp};
use backstop::notify::email::{Config, Email, Security, Server};
use backstop::notify::outbox::{Delivery, Sending, Sent};
use backstop::notify::story::{EventKind, Notice, Story};
use backstop::notify::subscription::Subscription;
use backstop::notify::{Channel, Context};
use backstop::sys::secret::Secrets;
use serde_json::Value;

const NOW: Timestamp = Timestamp(1_761_640_867_000);

/// A running mail server; it ends with this value.
struct Sink {
    child: Child,
    /// Held open: the server ends when it is closed.
    _stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    port: u16,
    cert: PathBuf,
}

impl Sink {
    /// Starts one that refuses the first messages for a while; none, loudly, where the outside is not wanted.
    fn start(name: &str, failures: u32) -> Option<Sink> {
        if std::env::var_os("BACKSTOP_OUTSIDE").is_none_or(|v| v != "1") {
            eprintln!("SKIPPED {name}: it needs python3-aiosmtpd and openssl; set BACKSTOP_OUTSIDE=1");
            return None;
        }
        let folder = std::env::temp_dir().join(format!("backstop-mail-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the certificate");
        let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        make_certificate(&cert, &key);
        let mut child = Command::new(python())
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/smtp_sink.py"))
            .args([&cert, &key])
            .args(["alert", "correct horse", &failures.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts");
        let stdin = child.stdin.take().expect("it was piped");
        let mut stdout = BufReader::new(child.stdout.take().expect("it was piped"));
        let mut ready = String::new();
        stdout.read_line(&mut ready).expect("the server says that it is ready");
        let port = ready.trim().strip_prefix("READY ").and_then(|p| p.parse().ok());
        let port = port.unwrap_or_else(|| panic!("the mail server did not start: {ready:?}"));
        Some(Sink { child, _stdin: stdin, stdout, port, cert })
    }

    /// The next message that it took.
    fn message(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).expect("a message")
    }

    fn channel(&self, password: &'static str, to: &[&str]) -> (Channel, Context) {
        let config = Config {
            subscription: Subscription::new("email", "team"),
            to: to.iter().map(|to| to.parse().expect("an address")).collect(),
            from: "backstop@example.org".parse().expect("an address"),
            server: Server { security: Security::StartTls, host: "localhost".into(), port: self.port },
            login: Some(("alert".into(), SecretRef::Env("SMTP_PASSWORD".into()))),
            extra_root: Some(std::fs::read(&self.cert).expect("the certificate")),
        };
        let secrets = Secrets::with_env(move |_| Some(password.into()));
        (Channel::Email(Email::new(config)), Context { zone: jiff::tz::TimeZone::UTC, secrets, now: NOW })
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }
}

fn make_certificate(cert: &Path, key: &Path) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(key)
        .arg("-out")
        .arg(cert)
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// The first Python that has aiosmtpd: Debian's package belongs to Debian's Python.
fn python() -> &'static str {
    let has = |python: &&str| {
        let asked = Command::new(python).args(["-c", "import aiosmtpd"]).stderr(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    };
    ["/usr/bin/python3", "python3"].into_iter().find(has).expect("aiosmtpd is installed (Debian: python3-aiosmtpd)")
}

fn sending() -> Sending {
    let notice = Notice {
        thread: "I-118".into(),
        kind: EventKind::Alert,
        level: Some(Level::Warning),
        green: false,
        settles: false,
        labels: Labels::new([("alertname", "queue-depth")]),
        at: NOW,
        app: "shop".into(),
        host: "web-1".into(),
        story: Story::NoData {
            rule: "queue-depth".into(),
            labels: Labels::new([("alertname", "queue-depth")]),
            since: NOW - Span::mins(10),
            why: "http.worker answers \"Zugriff verweigert – außer Betrieb\"".into(),
            level_held: Level::Ok,
        },
    };
    let delivery = Delivery {
        id: Id::new(NOW, 7),
        number: 5521,
        channel: "email/team".into(),
        notice,
        decided_at: NOW,
        because: "first notice of this incident".into(),
        patience: Span::hours(24),
        fallback: None,
        instead_of: None,
    };
    Sending { delivery, attempt: 1 }
}

#[tokio::test]
async fn outside_mail_arrives_encrypted_with_its_thread_and_text() {
    let Some(mut sink) = Sink::start("arrives", 0) else { return };
    let (channel, context) = sink.channel("correct horse", &["team@example.org", "Boss <boss@example.org>"]);
    let by = format!("localhost:{}, 2 recipients", sink.port);
    let said = "250 2.0.0 queued as 4F1A".to_string();
    assert_eq!(channel.send(&sending(), &context).await, Sent::Accepted { by, said });
    let message = sink.message();
    assert_eq!(message["tls"], true);
    assert_eq!(message["user"], "alert");
    assert_eq!(message["from"], "backstop@example.org");
    assert_eq!(message["to"], serde_json::json!(["team@example.org", "boss@example.org"]));
    let header = |name: &str| {
        let headers = message["headers"].as_array().expect("a list").iter();
        headers.filter(|h| h[0] == name).map(|h| h[1].as_str().expect("text").to_string()).collect::<Vec<_>>()
    };
    assert_eq!(header("Subject"), ["[NO DATA] shop: queue-depth cannot be judged on web-1"]);
    assert_eq!(header("Message-ID"), ["<01k8mzms5r0000000000000007@web-1>"]);
    assert_eq!(header("In-Reply-To"), ["<thread.shop.i-118@web-1>"]);
    assert_eq!(header("References"), ["<thread.shop.i-118@web-1>"]);
    assert_eq!(header("Auto-Submitted"), ["auto-generated"]);
    let body = message["body"].as_str().expect("text").replace("\r\n", "\n");
    assert_eq!(
        body.trim_end(),
        "No data since 08:31:07 (10 min): http.worker answers \"Zugriff verweigert – außer Betrieb\". \
         The level stays ok, which may be wrong.\n\
         This does not roll anything back. While it lasts the verdict cannot be better than inconclusive.\n\n\
         Sent to email/team because: first notice of this incident. Delivery D-5521."
    );
}

#[tokio::test]
async fn outside_mail_with_a_wrong_password_is_refused_for_good_and_says_no_password() {
    let Some(sink) = Sink::start("password", 0) else { return };
    let (channel, context) = sink.channel("wrong battery", &["team@example.org"]);
    let sent = channel.send(&sending(), &context).await;
    let Sent::Refused { why } = sent else { panic!("{sent:?}") };
    assert!(why.contains("535") && !why.contains("battery"), "{why}");
}

#[tokio::test]
async fn outside_mail_that_is_put_off_arrives_with_the_next_attempt() {
    let Some(mut sink) = Sink::start("later", 1) else { return };
    let (channel, context) = sink.channel("correct horse", &["team@example.org"]);
    let sent = channel.send(&sending(), &context).await;
    assert!(matches!(&sent, Sent::Retry { error, .. } if error.contains("451")), "{sent:?}");
    let sent = channel.send(&sending(), &context).await;
    assert!(matches!(sent, Sent::Accepted { .. }), "{sent:?}");
    assert_eq!(sink.message()["to"], serde_json::json!(["team@example.org"]));
}

#[tokio::test]
async fn outside_mail_to_one_address_that_is_gone_still_reaches_the_others() {
    let Some(mut sink) = Sink::start("gone", 0) else { return };
    let (channel, context) = sink.channel("correct horse", &["gone@example.org", "team@example.org"]);
    let sent = channel.send(&sending(), &context).await;
    let Sent::Accepted { by, said } = sent else { panic!("{sent:?}") };
    assert_eq!(by, format!("localhost:{}, 1 of 2 recipients", sink.port));
    assert!(said.starts_with("250 2.0.0 queued as 4F1A; refused: gone@example.org: "), "{said}");
    assert_eq!(sink.message()["to"], serde_json::json!(["team@example.org"]));
    let (channel, context) = sink.channel("correct horse", &["gone@example.org"]);
    assert!(matches!(channel.send(&sending(), &context).await, Sent::Refused { .. }));
}

#[tokio::test]
async fn outside_mail_for_a_server_that_is_gone_or_unknown_is_tried_again() {
    let Some(sink) = Sink::start("dead", 0) else { return };
    let (channel, context) = sink.channel("correct horse", &["team@example.org"]);
    drop(sink);
    let sent = channel.send(&sending(), &context).await;
    assert!(matches!(sent, Sent::Retry { .. }), "{sent:?}");
}

#[tokio::test]
async fn outside_mail_is_not_handed_to_a_server_that_nobody_vouches_for() {
    let Some(sink) = Sink::start("stranger", 0) else { return };
    let other = Sink::start("other", 0).expect("the first one started");
    let (_, context) = sink.channel("correct horse", &["team@example.org"]);
    let config = Config {
        subscription: Subscription::new("email", "team"),
        to: vec!["team@example.org".parse().expect("an address")],
        from: "backstop@example.org".parse().expect("an address"),
        server: Server { security: Security::StartTls, host: "localhost".into(), port: sink.port },
        login: None,
        extra_root: Some(std::fs::read(&other.cert).expect("the certificate")),
    };
    let sent = Email::new(config).send(&sending(), &context).await;
    assert!(matches!(&sent, Sent::Retry { error, .. } if error.contains("certificate")), "{sent:?}");
}
