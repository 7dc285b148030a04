use super::*;
use crate::base::{Node, Problems};
use crate::source::testing::{Manner, Server, answer, defaults, nobody, outcome, read, value};
use crate::sys::http::testing::{Act, Scripted, ok, self_signed};
use crate::sys::secret::Secrets;

fn source(toml: &str) -> Http {
    let (config, problems) = read(toml, |node, problems| Config::read("api", node, &defaults(), problems));
    assert_eq!(problems, Vec::<String>::new(), "{toml}");
    let env = |name: &str| match name {
        "TOKEN" => Some("hunter2".to_string()),
        "LONG" => Some("hunter2".repeat(40)),
        _ => None,
    };
    Http::new(config.unwrap(), Outside { secrets: Secrets::with_env(env), ..Outside::of_process() })
}

async fn ask(url: &str, more: &str) -> Batch {
    source(&format!("url = \"{url}/health?k=hidden\"\n{more}")).collect(Timestamp(1000)).await
}

#[tokio::test]
async fn an_answer_is_judged_and_measured() {
    let body = br#"{"status": "ok", "queue": {"length": 7}, "at": "2025-10-28T09:41:07Z"}"#;
    let server = Server::answering("200 OK", "x-version: 2\r\n", body).await;
    let toml = r#"
        expect = ['json status == "ok"', 'json queue.length < 5', 'json queue.length >= 0', 'time < 5s', 'header X-Version exists']
        values = { queue = 'json queue.length', at = 'json at', gone = 'json gone' }
    "#;
    let batch = ask(&server.url, toml).await;
    assert_eq!(outcome(&batch), "body: expected json queue.length < 5, saw 7");
    assert_eq!(value(&batch, "probe_success", &[]), Some(0.0));
    assert_eq!(value(&batch, "probe_failure_info", &[("reason", "body")]), Some(1.0));
    assert_eq!(value(&batch, "probe_http_status_code", &[]), Some(200.0));
    for (expect, ok) in
        [("json status", 1.0), ("queue.length", 0.0), ("time", 1.0), ("header x-version", 1.0), ("status", 1.0)]
    {
        assert_eq!(value(&batch, "probe_expect_ok", &[("expect", expect)]), Some(ok), "{expect}");
    }
    assert_eq!(value(&batch, "probe_value", &[("name", "queue")]), Some(7.0));
    assert_eq!(value(&batch, "probe_value", &[("name", "at")]), Some(1_761_644_467.0));
    assert_eq!(value(&batch, "probe_value", &[("name", "gone")]), None);
}

#[tokio::test]
async fn each_way_to_fail_costs_only_this_target_and_has_a_reason() {
    let head = |rest: &str| format!("HTTP/1.1 200 OK\r\n{rest}\r\n\r\n").into_bytes();
    let error = Server::answering("500 Internal Server Error", "", b"oops").await;
    let moved = Server::answering("302 Found", "location: /again\r\n", b"").await;
    let nowhere = Server::answering("302 Found", "location: ftp://x/\r\n", b"").await;
    let hangs = Server::start(Manner::Hangs).await;
    let stalls = Server::start(Manner::Stalls([head("content-length: 10"), b"12345".to_vec()].concat())).await;
    let endless = Server::start(Manner::Endless).await;
    let closes = Server::start(Manner::Closes).await;
    let lies = Server::start(Manner::Answers([head("content-length: 100"), b"short".to_vec()].concat())).await;
    let huge = Server::start(Manner::Answers(head("content-length: 99999999999"))).await;
    let speaks_ssh = Server::start(Manner::Answers(b"SSH-2.0-OpenSSH_9\r\n".to_vec())).await;
    let headers = Server::start(Manner::Answers(head(&format!("x: {}", "y".repeat(70_000))))).await;
    let many = Server::start(Manner::Answers(head(&"a: b\r\n".repeat(500)))).await;
    let bomb = Server::answering("200 OK", "content-encoding: gzip\r\n", &gzip_of_zeros(5 << 20)).await;
    let cut = Server::answering("200 OK", "content-encoding: gzip\r\n", &gzip_of_zeros(1 << 20)[..600]).await;
    let dead = nobody().await;
    let tls = dead.replace("http:", "https:");
    let not_tls = error.url.replace("http:", "https:");
    for (url, more, wanted) in [
        (&error.url, "", "status: expected status == 2xx, saw 500"),
        (&moved.url, "redirects = 3", "redirect: more than 3 redirects, the last to 127.0.0.1:"),
        (&moved.url, "redirects = 0", "status: expected status == 2xx, saw 302"),
        (&nowhere.url, "", "redirect: to `ftp`, which is not fetched"),
        (&hangs.url, "timeout = \"150ms\"", "timeout: no answer within 150ms"),
        (&stalls.url, "timeout = \"150ms\"", "timeout: the answer did not end within 150ms"),
        (&endless.url, "", "too-large: the body is longer than 1048576 bytes"),
        (&closes.url, "", "protocol: "),
        (&lies.url, "", "body: the body broke off: "),
        (&huge.url, "", "too-large: the body is longer than 1048576 bytes"),
        (&speaks_ssh.url, "", "protocol: "),
        (&headers.url, "", "too-large: the headers hold "),
        (&many.url, "", "too-large: the answer has more than 100 headers"),
        (&bomb.url, "", "too-large: the body is longer than 1048576 bytes"),
        (&cut.url, "max_body = \"8MiB\"", "body: the body broke off: "),
        (&dead, "", "refused: "),
        (&tls, "", "refused: "),
        (&not_tls, "", "tls: "),
        (&"http://no-such-host.invalid".to_string(), "", "resolve: "),
        (&error.url, "auth = { bearer = \"env:NONE\" }", "secret: env:NONE is not set"),
    ] {
        let batch = ask(url, more).await;
        let got = outcome(&batch);
        assert!(got.starts_with(wanted), "{got:?} instead of {wanted:?}");
        assert!(!got.contains("hidden"), "the query is never shown: {got}");
        assert_eq!(value(&batch, "probe_success", &[]), Some(0.0), "{wanted}");
        let reason = wanted.split(':').next().unwrap();
        assert_eq!(value(&batch, "probe_failure_info", &[("reason", reason)]), Some(1.0), "{wanted}");
        let judged = value(&batch, "probe_expect_ok", &[("expect", "status")]).is_some();
        assert_eq!(judged, reason == "status", "without an answer nothing is judged: {wanted}");
    }
}

#[tokio::test]
async fn secrets_are_sent_and_stay_where_they_belong() {
    let echo = Server::start(Manner::Echoes).await;
    for (auth, sent) in [
        ("{ bearer = \"env:TOKEN\" }", "Bearer hunter2"),
        ("{ user = \"anna\", password = \"env:TOKEN\" }", "Basic YW5uYTpodW50ZXIy"),
        ("{ header = \"X-Api\", value = \"env:TOKEN\" }", "x-api: hunter2"),
    ] {
        let batch = ask(&echo.url, &format!("auth = {auth}\nexpect = ['body contains \"{sent}\"']")).await;
        assert_eq!(outcome(&batch), "good", "{auth}");
    }
    let head = format!("location: {}/other\r\n", echo.url);
    let elsewhere = Server::start(Manner::Answers(answer("302 Found", &head, b""))).await;
    let more = "auth = { bearer = \"env:TOKEN\" }\nexpect = ['body contains \"GET /other\"', 'body matches \"backstop/[0-9]\"']";
    assert_eq!(outcome(&ask(&elsewhere.url, more).await), "good");
    let more = "auth = { bearer = \"env:TOKEN\" }\nexpect = ['body contains \"Bearer\"']";
    assert!(outcome(&ask(&elsewhere.url, more).await).starts_with("body: expected body contains"));
}

#[tokio::test]
async fn a_body_is_posted_with_its_headers() {
    let echo = Server::start(Manner::Echoes).await;
    let more = "method = \"POST\"\nbody = \"ping\"\nheaders = { X-A = \"b\" }\nexpect = ['body matches \"(?s)^POST .*x-a: b.*ping$\"']";
    assert_eq!(outcome(&ask(&echo.url, more).await), "good");
}

#[test]
fn every_mistake_of_the_table_is_named() {
    for (toml, wanted) in [
        ("", "[http.api] needs `url`"),
        ("url = \"http://u:p@h/\"", "an address holds no credentials"),
        ("url = \"http://h/\"\nmethod = \"get\"", "`get` is no method"),
        ("url = \"http://h/\"\nredirects = 21", "at most 20 redirects are followed"),
        ("url = \"http://h/\"\nheaders = { Authorization = \"x\" }", "a secret is never written out here"),
        ("url = \"http://h/\"\nheaders = { Content-Length = \"1\" }", "`Content-Length` is set by backstop itself"),
        ("url = \"http://h/\"\nheaders = { \"a b\" = \"1\" }", "`a b` is no header, or its value none"),
        ("url = \"http://h/\"\nexpect = 200", "this takes a list of expectations"),
        ("url = \"http://h/\"\nexpect = [\"statsu == 200\"]", "`statsu` is no subject"),
        ("url = \"http://h/\"\nvalues = { a = \"json a > 1\" }", "nothing more was expected here"),
        ("url = \"http://h/\"\nwrites = true", "a request that writes is never sent by the clock"),
        ("url = \"http://h/\"\nwrites = \"yes\"", "this takes true or false"),
        ("url = \"http://h/\"\nbody = \"a\"\nbody_file = \"/b\"", "a request has one body"),
        ("url = \"http://h/\"\nbody_file = \"b\"", "`body_file` takes a whole path"),
        ("url = \"http://h/\"\nheaders = { X-Api-Key = \"x\" }", "a secret is never written out here"),
        ("url = \"http://h/\"\nheaders = { Cookie = \"file:x\" }", "`file:` takes a whole path, from the root"),
        ("url = \"http://h/\"\nheaders = { Cookie = \"x\" }", "a secret is never written out here"),
        ("url = \"http://h/\"\nheaders = { Expect = \"100-continue\" }", "`Expect` is set by backstop itself"),
        ("url = \"http://h/\"\nheaders = { a = 1 }", "this takes a string"),
        ("url = \"http://h/\"\ntls = { cert = \"/c\" }", "`cert` needs `key`"),
        ("url = \"http://h/\"\ncapture = { a = \"json a\" }", "`capture` is not in this version"),
        ("url = \"http://h/\"\nretry = { until = \"1m\" }", "`retry` is not in this version"),
        ("[[step]]\nurl = \"http://h/\"", "`step` is not in this version"),
    ] {
        let (_, problems) = read(toml, |node, problems| Config::read("api", node, &defaults(), problems));
        assert_eq!(problems, [wanted], "{toml}");
    }
}

#[test]
fn a_secret_that_was_written_out_is_hidden_where_the_mistake_is_shown() {
    let toml = "url = \"http://h/\"\nheaders = { X-Session-Token = \"hunter2\" }";
    let hidden = |node: &Node, problems: &mut Problems| {
        Config::read("api", node, &defaults(), problems);
        problems.list.iter().all(|problem| problem.is_secret)
    };
    assert!(read(toml, hidden).0);
}

#[test]
fn a_request_that_writes_is_sent_when_somebody_asks() {
    let manual = "url = \"http://h/\"\nmethod = \"POST\"\nwrites = true\ninterval = \"manual\"";
    assert!(source(manual).config.writes);
    assert!(!source("url = \"http://h/\"\nmethod = \"POST\"").config.writes, "a health check may be a POST");
}

#[tokio::test]
async fn what_the_blackbox_exporter_tells_is_told_under_the_same_names() {
    let server = Server::answering("200 OK", "", b"hello").await;
    let moved = Server::answering("302 Found", &format!("location: {}/\r\n", server.url), b"").await;
    let batch = ask(&moved.url, "").await;
    assert_eq!(outcome(&batch), "good");
    for (name, wanted) in [
        ("probe_http_redirects", Some(1.0)),
        ("probe_ip_protocol", Some(4.0)),
        ("probe_http_status_code", Some(200.0)),
        ("probe_http_version", Some(1.1)),
        ("probe_http_ssl", Some(0.0)),
        ("probe_http_content_length", Some(5.0)),
        ("probe_http_uncompressed_body_length", Some(5.0)),
        ("probe_ssl_earliest_cert_expiry", None),
        ("probe_tls_version_info", None),
    ] {
        assert_eq!(value(&batch, name, &[]), wanted, "{name}");
    }
    let phase = |name: &str| value(&batch, "probe_http_duration_seconds", &[("phase", name)]).unwrap();
    let all: f64 = ["resolve", "connect", "tls", "processing", "transfer"].map(phase).iter().sum();
    assert!(phase("connect") > 0.0 && phase("processing") > 0.0 && phase("tls") == 0.0);
    assert!(all <= value(&batch, "probe_duration_seconds", &[]).unwrap());
}

#[tokio::test]
async fn a_certificate_is_watched_and_judged() {
    let folder = tempfile::tempdir().unwrap();
    let identity = self_signed(&["127.0.0.1"], (2020, 2040));
    let ca = folder.path().join("ca.pem");
    crate::sys::files::replace(&ca, identity.cert.as_bytes(), 0o600).unwrap();
    let config = || identity.server(rustls::ALL_VERSIONS, None);
    let end = 2_208_988_800;
    for (tls, expect, day, wanted) in [
        (format!("{{ ca = '{}' }}", ca.display()), "cert > 14d", 30, "good"),
        (format!("{{ ca = '{}' }}", ca.display()), "cert > 14d", 13, "cert: expected cert > 14d, saw 13 d"),
        ("{ verify = false }".into(), "cert > 14d", 30, "good"),
        ("{}".into(), "cert > 14d", 30, "tls: the certificate is self-signed and not trusted here"),
    ] {
        let server = Scripted::tls(config(), vec![Act::Read, ok("x")]).await;
        let toml = format!("url = \"{}\"\ntls = {tls}\nexpect = ['{expect}']", server.url);
        let batch = source(&toml).collect(Timestamp((end - day * 86_400) * 1000)).await;
        assert!(outcome(&batch).starts_with(wanted), "{} instead of {wanted}", outcome(&batch));
        assert_eq!(value(&batch, "probe_ssl_earliest_cert_expiry", &[]), Some(end as f64), "{wanted}");
        let is_believed = !wanted.starts_with("tls");
        let version = value(&batch, "probe_tls_version_info", &[("version", "TLS 1.3")]);
        assert_eq!(version, is_believed.then_some(1.0));
        assert_eq!(value(&batch, "probe_http_ssl", &[]), is_believed.then_some(1.0));
    }
}

#[tokio::test]
async fn a_body_from_a_file_is_read_at_each_look() {
    let echo = Server::start(Manner::Echoes).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("body");
    let toml = |expect: &str| {
        format!("url = \"{}\"\nmethod = \"POST\"\nbody_file = '{}'\nexpect = [{expect}]", echo.url, path.display())
    };
    let mut one = source(&toml("'body matches \"(?s)^POST.*one$\"'"));
    let missing = outcome(&one.collect(Timestamp(1000)).await);
    assert!(missing.starts_with("file: body_file: ") && missing.contains("No such file"), "{missing}");
    crate::sys::files::replace(&path, b"one", 0o600).unwrap();
    assert_eq!(outcome(&one.collect(Timestamp(1000)).await), "good");
    crate::sys::files::replace(&path, &vec![b'x'; MAX_BODY_FILE + 1], 0o600).unwrap();
    let long = outcome(&one.collect(Timestamp(1000)).await);
    assert!(long.starts_with("file: body_file: ") && long.contains("longer than 1048576 bytes"), "{long}");
    assert_eq!(one.files(), [path]);
}

#[tokio::test]
async fn no_secret_is_in_anything_that_comes_out() {
    let echo = Server::start(Manner::Echoes).await;
    let error = Server::answering("500 Oops", "", b"no").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body");
    crate::sys::files::replace(&file, b"hunter2", 0o600).unwrap();
    let dead = nobody().await;
    for url in [&echo.url, &error.url, &dead] {
        let toml = format!(
            "url = \"{url}/a?k=hunter2\"\nmethod = \"POST\"\nbody_file = '{}'\nauth = {{ bearer = \"env:TOKEN\" }}\n\
             headers = {{ X-Token = \"env:TOKEN\" }}\nexpect = ['status == 200', 'body contains \"hunter\"']",
            file.display()
        );
        let mut source = source(&toml);
        let batch = source.collect(Timestamp(1000)).await;
        assert_eq!(outcome(&batch) == "good", url == &echo.url, "it was sent");
        let all = format!("{batch:?}{source:?}");
        assert!(!all.contains("hunter2"), "{all}");
    }
}

#[tokio::test]
async fn a_server_that_repeats_everything_tells_no_secret() {
    let echo = Server::start(Manner::Echoes).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body");
    crate::sys::files::replace(&file, br#"{"password": "hunter2body"}"#, 0o600).unwrap();
    for (auth, expect) in [
        ("{ bearer = \"env:TOKEN\" }", "body matches \"^nothing\""),
        ("{ user = \"anna\", password = \"env:TOKEN\" }", "body == \"fine\""),
        ("{ header = \"X-Key\", value = \"env:TOKEN\" }", "body contains \"fine\""),
        // Whatever is cut off at the end, no beginning of a secret stays.
        ("{ bearer = \"env:LONG\" }", "body contains \"fine\""),
    ] {
        for query in ["k=hunter2query", "hunter2query", "a=1&k=hunter2%20q&b=hunter2+q"] {
            let toml = format!(
                "url = \"{}/?{query}\"\nmethod = \"POST\"\nbody_file = '{}'\nauth = {auth}\n\
                 headers = {{ A-Api = \"env:TOKEN\" }}\nexpect = ['{expect}']",
                echo.url,
                file.display()
            );
            let mut source = source(&toml);
            let batch = source.collect(Timestamp(1000)).await;
            assert!(outcome(&batch).starts_with("body: expected body "), "{batch:?}");
            let is_masked = outcome(&batch).contains("POST /?") && outcome(&batch).contains("***");
            assert!(is_masked || outcome(&batch).contains("(hidden)"), "{batch:?}");
            let all = format!("{batch:?}{source:?}");
            assert!(!all.contains("hunter2") && !all.contains("YW5uYTpodW50"), "{all}");
        }
    }
}

#[tokio::test]
async fn a_page_about_an_unexpected_status_is_quoted() {
    let plain = "<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>\r\n</html>";
    let long = "a ".repeat(100);
    for (kind, body, wanted) in [
        ("text/html", plain, ": \"The plain HTTP request was sent to HTTPS port\""),
        ("text/plain; charset=utf-8", "\nno database\nmore", ": \"no database\""),
        ("text/plain", "bad hunter2 and hidden", ": \"bad *** and ***\""),
        ("text/plain", "bad 4f2a9c1b7d3e8f6a5b4c3d2e1f0a9b8c", ""),
        ("text/plain", &long, &format!(": \"{}…\"", "a ".repeat(40))),
        ("application/json", "{}", ""),
        ("text/plain", "", ""),
        ("text/plain", &"x\n".repeat(5000), ""),
    ] {
        let server = Server::answering("400 Bad", &format!("content-type: {kind}\r\n"), body.as_bytes()).await;
        let got = outcome(&ask(&server.url, "auth = { bearer = \"env:TOKEN\" }").await);
        assert_eq!(got, format!("status: expected status == 2xx, saw 400{wanted}"));
    }
}

#[test]
fn names_are_declared_before_the_first_look() {
    assert!(!source("url = \"http://h/\"").names().contains(&"probe_value"));
    assert!(source("url = \"http://h/\"\nvalues = { a = \"json a\" }").names().contains(&"probe_value"));
}

/// Zeros, compressed by hand: each deflate block of fixed codes is one literal and many copies of length 258.
fn gzip_of_zeros(len: usize) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.put(0b1, 1);
    bits.put(0b01, 2);
    bits.code(0x30, 8);
    let copies = len.div_ceil(258);
    for _ in 0..copies {
        bits.code(0b1100_0101, 8);
        bits.code(0, 5);
    }
    bits.code(0, 7);
    let total = 1 + copies * 258;
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&vec![0; total]);
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    file.extend(bits.bytes);
    file.extend(checksum.finalize().to_le_bytes());
    file.extend((total as u32).to_le_bytes());
    file
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    n: usize,
}

impl Bits {
    /// Least significant bit first.
    fn put(&mut self, value: u32, width: u32) {
        for i in 0..width {
            if self.n.is_multiple_of(8) {
                self.bytes.push(0);
            }
            *self.bytes.last_mut().unwrap() |= (((value >> i) & 1) as u8) << (self.n % 8);
            self.n += 1;
        }
    }

    /// Huffman codes are written most significant bit first.
    fn code(&mut self, value: u32, width: u32) {
        self.put(value.reverse_bits() >> (32 - width), width);
    }
}
