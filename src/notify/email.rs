//! The channel that is a mailbox.
//!
//! Enters: a delivery. Leaves: one plain-text message over SMTP, encrypted always but to this host itself. Its
//! `Message-ID` is the delivery's id, so a message that is sent again after a crash can be told; it refers to
//! its thread, so that an incident is one conversation. Fails for a while (no connection, no encryption, a
//! `4xx` answer): tried again; or for good (a `5xx` answer, wrong credentials): the fallback's turn.
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `to` | needed | an address, or a list of them |
//! | `from` | needed | the sender's address |
//! | `server` | needed | `"smtps://host[:465]"`, `"smtp://host[:587]"` (STARTTLS demanded), `"smtp+plain://localhost[:25]"` |
//! | `user`, `password` | none | credentials; the password is a secret |

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MessageBuilder, SinglePart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::response::Response;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use super::outbox::{Delivery, Sending, Sent};
use super::subscription::Subscription;
use super::{Context, render};
use crate::base::secret::ExposeSecret;
use crate::base::table::{Node, Placed, Read, Table, Value};
use crate::base::{Place, Problems, SecretRef};

/// From the first packet to the last answer.
pub const DEADLINE: Duration = Duration::from_secs(30);
const MAX_RECIPIENTS: usize = 50;

/// `[channel.email.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The keys that all channels have.
    pub subscription: Subscription,
    /// Who gets it.
    pub to: Vec<Mailbox>,
    /// Who sends it.
    pub from: Mailbox,
    /// Where it is handed in.
    pub server: Server,
    /// User and the place of the password.
    pub login: Option<(String, SecretRef)>,
    /// A certificate (PEM) that is trusted beside the system's. No key of the configuration.
    pub extra_root: Option<Vec<u8>>,
}

/// A mail server and how the way to it is protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// How.
    pub security: Security,
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// How the way to a mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// TLS from the first byte.
    Tls,
    /// STARTTLS, and nothing is said without it.
    StartTls,
    /// None; only within this host.
    Plain,
}

impl Config {
    /// Reads `[channel.email.NAME]`; what is wrong goes to `problems`.
    pub fn read(name: &str, node: &Node, problems: &mut Problems) -> Option<Config> {
        let heading = format!("[channel.email.{name}]");
        let mut table = Table::open(node, &heading, problems)?;
        let subscription = Subscription::read("email", name, &mut table, problems);
        let to = read_to(&mut table, problems);
        let from: Option<Placed<String>> = table.required("from", "\"backstop@example.org\"", problems);
        let from = from.and_then(|from| mailbox(&from, problems));
        let server: Option<Placed<String>> = table.required("server", "\"smtp://mail.example.org:587\"", problems);
        let server = server.and_then(|server| read_server(&server, problems));
        let login = read_login(&mut table, problems);
        table.finish(problems);
        Some(Config { subscription, to: to?, from: from?, server: server?, login: login?, extra_root: None })
    }
}

impl Server {
    /// Parses `smtps://host[:port]`, `smtp://host[:port]` or `smtp+plain://loopback[:port]`.
    ///
    /// # Errors
    /// What is wrong with the text, and what to write instead. Neither repeats a password in it.
    pub fn parse(text: &str) -> Result<Server, (String, &'static str)> {
        const FORMS: &str = "\"smtps://host[:465]\", \"smtp://host[:587]\" or \"smtp+plain://localhost[:25]\"";
        let (scheme, rest) = text.split_once("://").ok_or_else(|| ("no mail server".to_string(), FORMS))?;
        let (security, default_port) = match scheme {
            "smtps" => (Security::Tls, 465),
            "smtp" => (Security::StartTls, 587),
            "smtp+plain" => (Security::Plain, 25),
            _ => return Err(("no way to a mail server".into(), FORMS)),
        };
        if rest.contains('@') {
            return Err(("credentials do not belong into the address".into(), "use `user` and `password`"));
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, port.strip_prefix(':').or(Some("?"))),
            None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        let is_address = host.parse::<std::net::IpAddr>().is_ok();
        let is_name = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        if !is_address && !is_name {
            return Err(("no host".into(), FORMS));
        }
        let port = match port.map(str::parse::<u16>) {
            None => default_port,
            Some(Ok(port)) if port > 0 => port,
            Some(_) => return Err(("no port".into(), "a number from 1 to 65535 behind the last colon")),
        };
        let server = Server { security, host: host.to_string(), port };
        if security == Security::Plain && !server.is_loopback() {
            let why = "without encryption mail goes only to this host itself".to_string();
            return Err((why, "use \"smtp://\" (STARTTLS) or \"smtps://\""));
        }
        Ok(server)
    }

    fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A mailbox as a channel.
#[derive(Clone, Debug)]
pub struct Email {
    config: Config,
}

impl Email {
    /// The channel; it connects with each delivery.
    pub fn new(config: Config) -> Email {
        Email { config }
    }

    /// What it wants to hear.
    pub fn subscription(&self) -> &Subscription {
        &self.config.subscription
    }

    /// Hands one delivery to the mail server, within [`DEADLINE`].
    pub async fn send(&self, sending: &Sending, context: &Context) -> Sent {
        let server = &self.config.server;
        match tokio::time::timeout(DEADLINE, self.hand_in(&sending.delivery, context)).await {
            Ok(sent) => sent,
            Err(_) => retry(format!("{server}: no answer in {} s", DEADLINE.as_secs())),
        }
    }

    async fn hand_in(&self, delivery: &Delivery, context: &Context) -> Sent {
        let transport = match self.transport(context).await {
            Ok(transport) => transport,
            Err(error) => return retry(error),
        };
        let first = self.to_each(&transport, delivery, context, &self.config.to).await;
        match first {
            // One address that is gone must not keep the message from all others.
            Sent::Refused { why } if self.config.to.len() > 1 && !is_about_login(&why) => {
                self.one_by_one(&transport, delivery, context).await
            }
            sent => sent,
        }
    }

    async fn one_by_one(&self, transport: &Transport, delivery: &Delivery, context: &Context) -> Sent {
        let (mut taken, mut answer, mut refused) = (0, String::new(), Vec::new());
        for to in &self.config.to {
            match self.to_each(transport, delivery, context, std::slice::from_ref(to)).await {
                Sent::Accepted { said, .. } => (taken, answer) = (taken + 1, said),
                Sent::Refused { why } => refused.push(format!("{}: {why}", to.email)),
                // Those before get it again with the same Message-ID, which mailboxes recognise.
                retry => return retry,
            }
        }
        let refused = refused.join("; ");
        if taken == 0 {
            return Sent::Refused { why: refused };
        }
        tracing::warn!(channel = %self.config.subscription.name, %refused, "Some recipients were refused by the mail server.");
        let by = format!("{}, {taken} of {} recipients", self.config.server, self.config.to.len());
        Sent::Accepted { by, said: format!("{answer}; refused: {refused}") }
    }

    async fn to_each(&self, transport: &Transport, delivery: &Delivery, context: &Context, to: &[Mailbox]) -> Sent {
        let message = match self.message(delivery, context, to) {
            Ok(message) => message,
            Err(why) => return Sent::Refused { why },
        };
        let server = &self.config.server;
        match transport.send(message).await {
            Ok(response) => Sent::Accepted { by: format!("{server}, {}", recipients(to.len())), said: said(&response) },
            Err(error) if error.is_permanent() => Sent::Refused { why: format!("{server}: {error}") },
            Err(error) => retry(format!("{server}: {error}")),
        }
    }

    async fn transport(&self, context: &Context) -> Result<Transport, String> {
        let server = &self.config.server;
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&server.host)
            .port(server.port)
            .timeout(Some(DEADLINE))
            .tls(self.tls()?);
        if let Some((user, password)) = &self.config.login {
            let password = context.secrets.read(password).await?;
            builder = builder.credentials(Credentials::new(user.clone(), password.expose_secret().to_string()));
        }
        Ok(builder.build())
    }

    /// Made anew for each delivery, so that a renewed list of certificates is honoured without a restart.
    fn tls(&self) -> Result<Tls, String> {
        let server = &self.config.server;
        if server.security == Security::Plain {
            return Ok(Tls::None);
        }
        let mut parameters = TlsParameters::builder(server.host.clone());
        if let Some(pem) = &self.config.extra_root {
            let root = Certificate::from_pem(pem).map_err(|e| format!("the extra certificate: {e}"))?;
            parameters = parameters.add_root_certificate(root);
        }
        let parameters = parameters.build_rustls().map_err(|e| format!("no encryption: {e}"))?;
        Ok(if server.security == Security::Tls { Tls::Wrapper(parameters) } else { Tls::Required(parameters) })
    }

    fn message(&self, delivery: &Delivery, context: &Context, to: &[Mailbox]) -> Result<Message, String> {
        let host = id_part(&delivery.notice.host);
        let thread = format!("<thread.{}.{}@{host}>", id_part(&delivery.notice.app), id_part(&delivery.notice.thread));
        let written = UNIX_EPOCH + Duration::from_millis(delivery.decided_at.millis().max(0) as u64);
        let automatic = HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".into());
        let builder = to.iter().fold(Message::builder(), |b: MessageBuilder, to| b.to(to.clone()));
        builder
            .from(self.config.from.clone())
            .subject(render::subject(&delivery.notice))
            .message_id(Some(format!("<{}@{host}>", delivery.id)))
            .in_reply_to(thread.clone())
            .references(thread)
            .date(written)
            // Keeps vacation notices from answering.
            .raw_header(automatic)
            .singlepart(
                SinglePart::builder().header(ContentType::TEXT_PLAIN).body(render::message(delivery, &context.zone)),
            )
            .map_err(|e| format!("no message can be made of it: {e}"))
    }
}

type Transport = AsyncSmtpTransport<Tokio1Executor>;

fn retry(error: String) -> Sent {
    Sent::Retry { error, after: None }
}

/// `535` and its like: no recipient will do better.
fn is_about_login(why: &str) -> bool {
    ["(530)", "(534)", "(535)", "(538)"].iter().any(|code| why.contains(code))
}

fn recipients(n: usize) -> String {
    if n == 1 { "1 recipient".into() } else { format!("{n} recipients") }
}

/// `250 2.0.0 queued as 4F1A`.
fn said(response: &Response) -> String {
    let words: Vec<&str> = response.message().collect();
    format!("{} {}", response.code(), words.join(" "))
}

/// What may stand in a message id, which no server has to rewrite.
fn id_part(text: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c.to_ascii_lowercase() } else { '-' };
    let text: String = text.chars().take(60).map(fit).collect();
    if text.is_empty() { "unknown".into() } else { text }
}

fn read_to(table: &mut Table<'_>, problems: &mut Problems) -> Option<Vec<Mailbox>> {
    const EXAMPLE: &str = "[\"team@example.org\"]";
    let Some(node) = table.node("to") else {
        return table.required::<Vec<String>>("to", EXAMPLE, problems).map(|_| Vec::new());
    };
    let texts: Vec<Placed<String>> = match node.value {
        Value::Text(_) => vec![Placed::read(node, problems)?],
        _ => Vec::read(node, problems)?,
    };
    if texts.is_empty() || texts.len() > MAX_RECIPIENTS {
        problems.error(&node.place, format!("a message goes to 1 to {MAX_RECIPIENTS} addresses"), "not so many");
        return None;
    }
    let all: Vec<Option<Mailbox>> = texts.iter().map(|text| mailbox(text, problems)).collect();
    all.into_iter().collect()
}

fn mailbox(text: &Placed<String>, problems: &mut Problems) -> Option<Mailbox> {
    match text.value.parse::<Mailbox>() {
        Ok(mailbox) if !text.value.chars().any(char::is_control) => Some(mailbox),
        _ => {
            problems
                .error(&text.place, format!("`{}` is no mail address", render::clean(&text.value, 100)), "no address")
                .help("\"team@example.org\" or \"Team <team@example.org>\"");
            None
        }
    }
}

fn read_server(text: &Placed<String>, problems: &mut Problems) -> Option<Server> {
    match Server::parse(&text.value) {
        Ok(server) => Some(server),
        Err((why, help)) => {
            problems.error(&text.place, why, "").help(help);
            None
        }
    }
}

/// The outer absence means a mistake, the inner one that no credentials are wanted.
fn read_login(table: &mut Table<'_>, problems: &mut Problems) -> Option<Option<(String, SecretRef)>> {
    let place = |key: &str, table: &Table<'_>| table.key_place(key).cloned().unwrap_or_default();
    let (has_user, has_password) = (table.key_place("user").is_some(), table.key_place("password").is_some());
    let user: Option<String> = table.get("user", problems);
    let password: Option<SecretRef> = table.get("password", problems);
    let half = |place: &Place, has: &str, lacks: &str, problems: &mut Problems| {
        problems.error(place, format!("`{has}` without `{lacks}`"), format!("`{lacks}` is missing beside it"));
    };
    match (has_user, has_password) {
        (false, false) => Some(None),
        (true, false) => {
            half(&place("user", table), "user", "password", problems);
            None
        }
        (false, true) => {
            half(&place("password", table), "password", "user", problems);
            None
        }
        (true, true) => Some(Some((user?, password?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::table::Entry;
    use crate::base::{Id, Labels, Span, Timestamp};
    use crate::notify::story::{EventKind, Notice, Story};
    use crate::sys::secret::Secrets;

    #[test]
    fn a_server_is_an_address_that_says_how_it_is_protected() {
        let server = |security, host: &str, port| Ok(Server { security, host: host.into(), port });
        for (text, wanted) in [
            ("smtps://mail.example.org", server(Security::Tls, "mail.example.org", 465)),
            ("smtps://mail.example.org:4465/", server(Security::Tls, "mail.example.org", 4465)),
            ("smtp://mail:587", server(Security::StartTls, "mail", 587)),
            ("smtp+plain://localhost:2525", server(Security::Plain, "localhost", 2525)),
            ("smtp+plain://[::1]:25", server(Security::Plain, "::1", 25)),
            ("smtp+plain://mail", Err("without encryption mail goes only to this host itself")),
            ("smtp+plain://127.0.0.1.example.org", Err("without encryption mail goes only to this host itself")),
            ("smtp://anna:pw@mail", Err("credentials do not belong into the address")),
            ("http://mail", Err("no way to a mail server")),
            ("mail.example.org", Err("no mail server")),
            ("smtp://mail:99999", Err("no port")),
            ("smtp://[::1]x", Err("no port")),
            ("smtp://a b", Err("no host")),
            ("smtp://", Err("no host")),
        ] {
            let got = Server::parse(text);
            assert_eq!(got.as_ref().map_err(|e| e.0.as_str()), wanted.as_ref().map_err(|e| *e), "{text}");
        }
    }

    fn read(entries: Vec<(&str, Value)>) -> (Option<Config>, Vec<String>) {
        let entries = entries
            .into_iter()
            .map(|(key, value)| Entry {
                key: key.into(),
                place: Place::default(),
                node: Node { value, place: Place::default() },
            })
            .collect();
        let mut problems = Problems::default();
        let table = Node { value: Value::Table(entries), place: Place::default() };
        let config = Config::read("team", &table, &mut problems);
        (config, problems.list.into_iter().map(|p| p.title).collect())
    }

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn the_table_is_read_and_all_its_mistakes_are_named() {
        let (config, problems) = read(vec![
            ("to", text("Team <team@example.org>")),
            ("from", text("backstop@example.org")),
            ("server", text("smtp://mail.example.org")),
            ("user", text("alert")),
            ("password", text("env:SMTP_PASSWORD")),
        ]);
        assert_eq!(problems, Vec::<String>::new());
        let config = config.unwrap();
        assert_eq!(config.login, Some(("alert".into(), SecretRef::Env("SMTP_PASSWORD".into()))));
        let (config, problems) = read(vec![
            ("to", text("nobody")),
            ("from", text("a@b.example\r\nBcc: c@d.example")),
            ("server", text("mail")),
            ("user", text("alert")),
            ("passwort", text("hunter2")),
        ]);
        assert!(config.is_none());
        assert_eq!(
            problems,
            [
                "`nobody` is no mail address",
                "`a@b.example  Bcc: c@d.example` is no mail address",
                "no mail server",
                "`user` without `password`",
                "unknown key `passwort`"
            ]
        );
        let needed = [
            "[channel.email.team] needs `to`",
            "[channel.email.team] needs `from`",
            "[channel.email.team] needs `server`",
        ];
        assert_eq!(read(vec![]).1, needed);
    }

    #[test]
    fn nothing_foreign_becomes_a_header() {
        let evil = "x\r\nBcc: victim@example.org\r\n\r\nhello";
        let at = Timestamp(1_761_640_867_000);
        let notice = Notice {
            thread: format!("I-118{evil}"),
            kind: EventKind::Agent,
            level: None,
            green: false,
            settles: true,
            labels: Labels::empty(),
            at,
            app: evil.into(),
            host: format!("web-1{evil}"),
            story: Story::Agent { title: evil.into(), body: evil.into() },
        };
        let delivery = Delivery {
            id: Id::new(at, 7),
            number: 5521,
            channel: "email/team".into(),
            notice,
            decided_at: at,
            because: evil.into(),
            patience: Span::hours(24),
            fallback: None,
            instead_of: None,
        };
        let (config, _) = read(vec![
            ("to", text("team@example.org")),
            ("from", text("backstop@example.org")),
            ("server", text("smtp://mail.example.org")),
        ]);
        let context = Context { zone: jiff::tz::TimeZone::UTC, secrets: Secrets::with_env(|_| None), now: at };
        let email = Email::new(config.unwrap());
        let message = email.message(&delivery, &context, &email.config.to).unwrap();
        let raw = String::from_utf8(message.formatted()).unwrap();
        let (headers, _) = raw.split_once("\r\n\r\n").unwrap();
        let names: Vec<&str> =
            headers.split("\r\n").filter(|l| !l.starts_with(' ')).filter_map(|l| l.split(':').next()).collect();
        assert!(!names.contains(&"Bcc"), "{headers}");
        assert!(
            headers.contains("Message-ID: <01k8mzms5r0000000000000007@web-1x--bcc--victim-example-org----hello>"),
            "{headers}"
        );
        assert!(headers.contains("References: <thread.x--bcc--"), "{headers}");
        assert!(headers.contains("Date: Tue, 28 Oct 2025 08:41:07 +0000"), "{headers}");
        assert_eq!(message.envelope().to().len(), 1);
    }

    #[tokio::test]
    async fn a_server_that_is_gone_is_tried_again() {
        let (config, _) = read(vec![
            ("to", text("team@example.org")),
            ("from", text("backstop@example.org")),
            ("server", text("smtp+plain://127.0.0.1:1")),
        ]);
        let email = Email::new(config.unwrap());
        let sending = Sending { delivery: crate::notify::outbox::tests::delivery(), attempt: 1 };
        let context =
            Context { zone: jiff::tz::TimeZone::UTC, secrets: Secrets::with_env(|_| None), now: Timestamp(0) };
        let sent = email.send(&sending, &context).await;
        assert!(matches!(&sent, Sent::Retry { error, .. } if error.starts_with("127.0.0.1:1: ")), "{sent:?}");
    }
}
