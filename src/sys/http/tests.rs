use std::path::{Path, PathBuf};

use rustls::version::{TLS12, TLS13};

use super::testing::{Act, Authority, Identity, NOW, Scripted, Years, ok, say, self_signed};
use super::*;
use crate::base::SecretRef;

const SECOND: Span = Span::secs(1);

fn client() -> Client {
    Client::new()
}

/// One request with all defaults.
async fn get(client: &Client, url: &str) -> Look {
    send(client, Method::GET, url, None, Span::secs(5)).await
}

async fn send(client: &Client, method: Method, url: &str, body: Option<&[u8]>, timeout: Span) -> Look {
    let url = address(url).unwrap();
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static("hunter2"))]);
    client.look(Request { method, url: &url, headers, body, redirects: 5, max_body: 1000, timeout }).await
}

/// Status and body, or the failure.
fn said(look: &Look) -> String {
    match &look.answer {
        Ok(answer) => format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)),
        Err(failure) => failure.to_string(),
    }
}

#[test]
fn an_address_is_judged_before_it_is_used() {
    for (text, wanted) in [
        ("http://127.0.0.1:8080/health", Ok("127.0.0.1:8080")),
        ("https://example.org", Ok("example.org:443")),
        ("http://[::1]:80/", Ok("[::1]:80")),
        ("ftp://example.org/", Err("`ftp` is not fetched")),
        ("file:///etc/passwd", Err("`file` is not fetched")),
        ("http://anna:hunter2@example.org/", Err("an address holds no credentials")),
        ("127.0.0.1:8080", Err("this is no address: relative URL without a base")),
    ] {
        let got = address(text).map(|url| host_and_port(&url)).map_err(|(why, _)| why);
        assert_eq!(got, wanted.map(String::from).map_err(String::from), "{text}");
    }
}

#[tokio::test]
async fn a_connection_rests_only_where_the_next_request_comes_soon() {
    let script = vec![Act::Read, ok("1"), Act::Read, ok("2"), Act::Read, ok("3"), Act::Read];
    let server = Scripted::start(vec![script]).await;
    let often = client().every(SECOND);
    for n in 1..=3 {
        let look = get(&often, &server.url).await;
        assert_eq!(said(&look), format!("200 {n}"));
        let phases = look.trace.phases;
        assert_eq!(phases.connect > 0.0, n == 1, "a kept connection is not made");
        assert!(phases.processing > 0.0 && look.answer.unwrap().seconds >= phases.processing);
        assert_eq!(look.trace.ip_protocol, Some(4));
    }
    assert_eq!(server.connections(), 1);
    assert!(server.requests().iter().all(|r| !r.contains("connection:")));

    let server = Scripted::start(vec![vec![Act::Read, ok("x"), Act::Read]]).await;
    let rarely = client().every(Span::secs(4));
    for _ in 0..2 {
        assert_eq!(said(&get(&rarely, &server.url).await), "200 x");
    }
    assert_eq!(server.connections(), 2);
    assert!(server.requests()[0].contains("\r\nconnection: close\r\n"), "the server need not wait");
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_no_failure_of_the_service() {
    let too_late = say("HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    for (first, what) in [
        (vec![Act::Read, ok("a")], "closed after the answer"),
        (vec![Act::Read, ok("a"), Act::Read], "closed right when asked"),
        (vec![Act::Read, ok("a"), too_late.clone()], "says that it waited too long"),
        (vec![Act::Read, ok("a"), Act::Read, too_late], "says so when asked"),
        (
            vec![Act::Read, say("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\naHTTP/1.1 500 No\r\n\r\n"), Act::Hang],
            "junk",
        ),
        (
            vec![Act::Read, say("HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\na"), Act::Hang],
            "close",
        ),
        (vec![Act::Read, say("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\na"), Act::Hang], "the old protocol"),
    ] {
        let server = Scripted::start(vec![first, vec![Act::Read, ok("b"), Act::Read]]).await;
        let client = client().every(SECOND);
        assert_eq!(said(&get(&client, &server.url).await), "200 a", "{what}");
        assert_eq!(said(&get(&client, &server.url).await), "200 b", "{what}");
        assert_eq!(server.connections(), 2, "{what}");
    }
}

#[tokio::test]
async fn what_must_not_be_sent_twice_is_sent_once() {
    let server = Scripted::start(vec![vec![Act::Read, ok("a"), Act::Read], vec![Act::Read]]).await;
    let often = client().every(SECOND);
    assert_eq!(said(&get(&often, &server.url).await), "200 a");
    let look = send(&often, Method::POST, &server.url, Some(b"pay"), Span::secs(5)).await;
    assert_eq!(said(&look), "protocol: the connection ended before an answer");
    let posts = server.requests().iter().filter(|r| r.starts_with("POST")).count();
    assert_eq!((posts, server.connections()), (1, 2), "on a connection of its own, and once");

    let half = say("HTTP/1.1 200 OK\r\ncontent-le");
    let server = Scripted::start(vec![vec![Act::Read, ok("a"), Act::Read, half], vec![Act::Read, ok("b")]]).await;
    let often = client().every(SECOND);
    assert_eq!(said(&get(&often, &server.url).await), "200 a");
    let look = get(&often, &server.url).await;
    assert_eq!(said(&look), "protocol: the connection ended before an answer", "a service that broke off did answer");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn what_comes_before_an_answer_is_bounded() {
    let interim = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let patient = format!("HTTP/1.1 100 Continue\r\n\r\n{interim}HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx");
    for (script, wanted) in [
        (vec![Act::Read, say(&patient)], "200 x"),
        (vec![Act::Read, Act::Repeat(interim.into())], "too-large: the headers hold more than 65536 bytes"),
        (
            vec![Act::Read, say("HTTP/1.1 200 OK\r\n"), Act::Repeat(b"a: b\r\n".to_vec())],
            "too-large: the headers hold more than 65536 bytes",
        ),
        (
            vec![Act::Read, say(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(101)))],
            "too-large: the answer has more than 100 headers",
        ),
        (
            vec![Act::Read, say("HTTP/1.1 200 OK\r\na: "), Act::Repeat(vec![b'x'; 1000])],
            "too-large: the headers hold more than 65536 bytes",
        ),
        (vec![Act::Read, Act::Repeat(b"junk".to_vec())], "protocol: what came is no HTTP/1 answer: "),
        (vec![Act::Read, say("HTTP/2.0 200 OK\r\n\r\n")], "protocol: what came is no HTTP/1 answer: "),
        (vec![Act::Read, say("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n")], "101 "),
    ] {
        let server = Scripted::start(vec![script.clone()]).await;
        let got = said(&get(&client(), &server.url).await);
        assert!(got.starts_with(wanted), "{script:?}: {got:?} instead of {wanted:?}");
    }
}

#[tokio::test]
async fn a_body_ends_where_it_should_whatever_the_framing() {
    let head = "HTTP/1.1 200 OK\r\n";
    let chunked = format!("{head}transfer-encoding: chunked\r\n");
    for (answer, wanted) in [
        (format!("{chunked}trailer: x\r\n\r\n2\r\nab\r\n1;e=\"y\"\r\nc\r\n0\r\nx: y\r\n\r\n"), "200 abc"),
        (format!("{chunked}content-length: 1\r\n\r\n2\r\nab\r\n0\r\n\r\n"), "200 ab"),
        (format!("{head}\r\nuntil the end"), "200 until the end"),
        (format!("{head}content-length: 2\r\n\r\nabc"), "200 ab"),
        ("HTTP/1.1 204 No Content\r\n\r\nabc".into(), "204 "),
        ("HTTP/1.1 304 Not Modified\r\ncontent-length: 99999\r\n\r\n".into(), "304 "),
        ("HTTP/1.0 200 OK\r\n\r\nold".into(), "200 old"),
        (format!("{chunked}\r\nzz\r\nab\r\n0\r\n\r\n"), "body: the body broke off: "),
        (format!("{chunked}\r\n-1\r\nab\r\n0\r\n\r\n"), "body: the body broke off: "),
        (format!("{chunked}\r\nffffffffffffffff1\r\nab"), "body: the body broke off: "),
        (format!("{chunked}\r\nffffffff\r\nab"), "body: the body broke off: the connection ended"),
        (format!("{chunked}\r\n2\r\nabcd\r\n0\r\n\r\n"), "body: the body broke off: "),
        (format!("{chunked}\r\n2\r\nab\r\n0\r\n{}\r\n", "x: y\r\n".repeat(20_000)), "body: the body broke off: "),
        (format!("{chunked}\r\n1;{}\r\na\r\n0\r\n\r\n", "e".repeat(100_000)), "body: the body broke off: "),
        (format!("{head}content-length: 5\r\n\r\nabc"), "body: the body broke off: the connection ended"),
        (format!("{head}content-length: 1001\r\n\r\n"), "too-large: the body is longer than 1000 bytes"),
        (format!("{head}\r\n{}", "x".repeat(1001)), "too-large: the body is longer than 1000 bytes"),
        (
            format!("{head}content-length: 1\r\ncontent-length: 2\r\n\r\nab"),
            "protocol: what came is no HTTP/1 answer: ",
        ),
        (format!("{head}content-length: -1\r\n\r\nab"), "protocol: what came is no HTTP/1 answer: "),
        (
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            "protocol: what came is no HTTP/1 answer: ",
        ),
    ] {
        let server = Scripted::start(vec![vec![Act::Read, say(&answer)]]).await;
        let got = said(&get(&client(), &server.url).await);
        assert!(got.starts_with(wanted), "{answer:.90}: {got:?} instead of {wanted:?}");
    }
    let server = Scripted::start(vec![vec![Act::Read, say(&format!("{head}content-length: 99999\r\n\r\n"))]]).await;
    let look = send(&client(), Method::HEAD, &server.url, None, Span::secs(5)).await;
    assert_eq!((said(&look), look.answer.unwrap().announced), ("200 ".into(), Some(99999)));
}

#[tokio::test]
async fn a_server_that_takes_its_time_gets_the_timeout_and_no_more() {
    let slow = b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n".to_vec();
    for (script, wanted) in [
        (vec![Act::Hang], "timeout: no answer within 100ms"),
        (vec![Act::Read, Act::Dribble(slow.repeat(9))], "timeout: no answer within 100ms"),
        (
            vec![Act::Read, Act::Say(slow.clone()), Act::Dribble(vec![b'x'; 900])],
            "timeout: the answer did not end within 100ms",
        ),
        (vec![Act::Read, Act::Say(slow), Act::Hang], "timeout: the answer did not end within 100ms"),
    ] {
        let server = Scripted::start(vec![script]).await;
        let look = send(&client(), Method::GET, &server.url, None, Span::millis(100)).await;
        assert_eq!(said(&look), wanted);
        let phases = look.trace.phases;
        let all = phases.resolve + phases.connect + phases.tls + phases.processing + phases.transfer;
        assert!((0.09..5.0).contains(&all), "the time stands in the phase it was spent in: {phases:?}");
    }
    // A handshake that nobody answers.
    let server = Scripted::start(vec![vec![Act::Hang]]).await;
    let url = server.url.replace("http:", "https:");
    let look = send(&untrusting(), Method::GET, &url, None, Span::millis(100)).await;
    assert_eq!(said(&look), "timeout: the TLS handshake did not end within 100ms");
    assert!(look.trace.phases.tls > 0.05);
}

#[tokio::test]
async fn a_name_server_that_hangs_is_a_timeout_of_the_name() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let resolver = Resolver::with(move |_| {
        wait.lock().unwrap().recv().unwrap_or_default();
        Ok(vec!["127.0.0.1:0".parse().unwrap()])
    });
    let client = Client::with(Arc::new(resolver), Handshakes::new(Tls::default(), None, SystemRoots::default()));
    let look = send(&client, Method::GET, "http://shop.test/", None, Span::millis(50)).await;
    assert_eq!(said(&look), "timeout: the name was not resolved within 50ms");
    let server = Scripted::start(vec![vec![Act::Read, ok("x")]]).await;
    drop(go);
    let url = server.url.replace("127.0.0.1", "shop.test");
    let look = get(&client, &url).await;
    assert_eq!(said(&look), "200 x");
    assert!(server.requests()[0].contains(&format!("host: {}\r\n", &url[7..])), "by its name: {:?}", server.requests());
}

#[tokio::test]
async fn both_families_of_addresses_are_spoken() {
    let Ok(probe) = std::net::TcpListener::bind("[::1]:0") else {
        return; // A host without IPv6 has nothing to show.
    };
    drop(probe);
    let server = Scripted::at("[::1]:0", vec![vec![Act::Read, ok("six")]], None).await;
    let look = get(&client(), &server.url).await;
    assert_eq!((said(&look), look.trace.ip_protocol), ("200 six".into(), Some(6)));
    let port = server.url.rsplit(':').next().unwrap().to_string();
    let resolver = Resolver::with(|_| Ok(vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()]));
    let client = Client::with(Arc::new(resolver), Handshakes::new(Tls::default(), None, SystemRoots::default()));
    let look = get(&client, &format!("http://shop.test:{port}/")).await;
    assert_eq!((said(&look), look.trace.ip_protocol), ("200 six".into(), Some(6)), "where the other refuses");
}

#[tokio::test]
async fn what_is_for_one_server_is_never_shown_to_another() {
    let away = Scripted::start(vec![vec![Act::Read, ok("there")]]).await;
    let to =
        |status: &str, url: &str| say(&format!("HTTP/1.1 {status}\r\nlocation: {url}\r\ncontent-length: 0\r\n\r\n"));
    let home = Scripted::start(vec![vec![Act::Read, to("302 Found", &away.url)]]).await;
    let look = get(&client(), &home.url).await;
    assert_eq!((said(&look), look.trace.redirects), ("200 there".into(), 1));
    assert!(home.requests()[0].contains("hunter2") && !away.requests()[0].contains("hunter2"));

    let home = Scripted::start(vec![vec![Act::Read, to("307 Temporary Redirect", &away.url)]]).await;
    let look = send(&client(), Method::POST, &home.url, Some(b"password=hunter3"), Span::secs(5)).await;
    let wanted = format!("redirect: to {}, which is another server: a body is not sent there", &away.url[7..]);
    assert_eq!(said(&look), wanted);
    assert!(!format!("{:?}{:?}", away.requests(), look).contains("hunter"));

    let home = Scripted::start(vec![
        vec![Act::Read, to("308 Permanent Redirect", "/b")],
        vec![Act::Read, to("303 See Other", "/c")],
        vec![Act::Read, ok("done")],
    ])
    .await;
    let look = send(&client(), Method::POST, &home.url, Some(b"ping"), Span::secs(5)).await;
    assert_eq!((said(&look), look.trace.redirects), ("200 done".into(), 2));
    let [first, second, third] = &home.requests()[..] else { panic!("{:?}", home.requests()) };
    assert!(first.starts_with("POST / ") && first.ends_with("ping") && first.contains("hunter2"));
    assert!(second.starts_with("POST /b ") && second.ends_with("ping") && second.contains("hunter2"));
    assert!(third.starts_with("GET /c ") && !third.contains("ping") && third.contains("hunter2"));
}

fn tls_client(tls: Tls) -> Client {
    client().for_target(tls, &Secrets::with_env(|_| None))
}

fn untrusting() -> Client {
    tls_client(Tls { verify: false, ..Tls::default() })
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    crate::sys::files::replace(&path, text.as_bytes(), 0o600).unwrap();
    path
}

#[tokio::test]
async fn each_fault_of_a_certificate_is_named_and_its_end_is_known() {
    let root = Authority::root("Test Root");
    let stale = root.intermediate("Stale Intermediate", (2020, 2021));
    let fresh = root.intermediate("Fresh Intermediate", (2020, 2030));
    let chained = |authority: &Authority, years: Years| {
        let mut identity = authority.sign(&["localhost", "127.0.0.1"], years);
        identity.cert.push_str(&authority.pem);
        identity
    };
    let names = ["localhost", "127.0.0.1"];
    let (own, other) = (self_signed(&names, NOW), Authority::root("Other"));
    let folder = tempfile::tempdir().unwrap();
    let (y2021, y2030, y2040) = (1_609_459_200, 1_893_456_000, 2_208_988_800);
    let both: &[_] = &[&TLS13, &TLS12];
    for (i, (identity, ca, wanted, version, expiry)) in [
        (root.sign(&names, NOW), &root.pem, "200 x", Some("TLS 1.3"), y2040),
        (chained(&fresh, NOW), &root.pem, "200 x", Some("TLS 1.3"), y2030),
        (own.clone(), &own.cert, "200 x", Some("TLS 1.3"), y2040),
        (
            root.sign(&names, (2020, 2021)),
            &root.pem,
            "tls: the certificate of localhost expired 2021-01-01T00:00:00Z: renew it",
            None,
            y2021,
        ),
        (
            root.sign(&names, (2039, 2040)),
            &root.pem,
            "tls: the certificate of localhost is not valid before 2039-01-01T00:00:00Z: is a clock wrong?",
            None,
            y2040,
        ),
        (
            chained(&stale, NOW),
            &root.pem,
            "tls: the certificate of Stale Intermediate expired 2021-01-01T00:00:00Z: renew it",
            None,
            y2021,
        ),
        (
            own.clone(),
            &root.pem,
            "tls: the certificate is self-signed and not trusted here: give it as tls.ca",
            None,
            y2040,
        ),
        (self_signed(&names, (2020, 2021)), &root.pem, "tls: the certificate of localhost expired 2021-", None, y2021),
        (root.sign(&names, NOW), &other.pem, "tls: the certificate comes from an unknown issuer: ", None, y2040),
        (
            root.sign(&["shop.example", "10.0.0.1"], NOW),
            &root.pem,
            "tls: the certificate is not for 127.0.0.1, but for shop.example, 10.0.0.1",
            None,
            y2040,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let server = Scripted::tls(identity.server(both, None), vec![Act::Read, ok("x")]).await;
        let ca = write(folder.path(), &format!("ca-{i}"), ca);
        let look = get(&tls_client(Tls { ca: Some(ca), ..Tls::default() }), &server.url).await;
        let got = said(&look);
        assert!(got.starts_with(wanted), "{got:?} instead of {wanted:?}");
        let shown = Handshake { version, earliest_expiry: Some(expiry) };
        assert_eq!(look.trace.handshake.as_deref(), Some(&shown), "{wanted}");
        let server = Scripted::tls(identity.server(both, None), vec![Act::Read, ok("x")]).await;
        let look = get(&untrusting(), &server.url).await;
        assert_eq!(said(&look), "200 x", "verify = false: {wanted}");
        assert_eq!(look.trace.handshake.unwrap().earliest_expiry, Some(expiry));
    }
}

#[tokio::test]
async fn a_pinned_certificate_must_be_current_and_for_this_name() {
    let folder = tempfile::tempdir().unwrap();
    for (identity, wanted) in [
        (self_signed(&["127.0.0.1"], (2020, 2021)), "tls: the certificate of 127.0.0.1 expired 2021-"),
        (self_signed(&["127.0.0.1"], (2039, 2040)), "tls: the certificate of 127.0.0.1 is not valid before 2039-"),
        (self_signed(&["10.0.0.1"], NOW), "tls: the certificate is not for 127.0.0.1, but for 10.0.0.1"),
    ] {
        let server = Scripted::tls(identity.server(&[&TLS13], None), vec![Act::Read, ok("x")]).await;
        let ca = write(folder.path(), "ca", &identity.cert);
        let got = said(&get(&tls_client(Tls { ca: Some(ca), ..Tls::default() }), &server.url).await);
        assert!(got.starts_with(wanted), "{got:?} instead of {wanted:?}");
    }
}

#[tokio::test]
async fn an_older_tls_is_spoken_and_named() {
    let identity = self_signed(&["127.0.0.1"], NOW);
    let server = Scripted::tls(identity.server(&[&TLS12], None), vec![Act::Read, ok("x")]).await;
    let look = get(&untrusting(), &server.url).await;
    assert_eq!((said(&look), look.trace.handshake.unwrap().version), ("200 x".into(), Some("TLS 1.2")));
}

#[tokio::test]
async fn a_client_proves_itself_with_its_certificate_and_a_renewed_one_is_taken_at_once() {
    let (root, stranger) = (Authority::root("Clients"), Authority::root("Strangers"));
    let identity = self_signed(&["127.0.0.1"], NOW);
    let folder = tempfile::tempdir().unwrap();
    let put = |identity: &Identity| {
        let place = format!("file:{}", write(folder.path(), "key", &identity.key).display());
        (write(folder.path(), "cert", &identity.cert), SecretRef::parse(&place).unwrap())
    };
    for version in [&TLS12, &TLS13] {
        let server = Scripted::tls(identity.server(&[version], Some(&root)), vec![Act::Read, ok("x")]).await;
        let got = said(&get(&untrusting(), &server.url).await);
        assert!(got.starts_with("tls: ") && got.contains("client certificate"), "{got}");
        let (cert, key) = put(&stranger.sign(&["me"], NOW));
        let tls = Tls { ca: None, cert: Some(cert), key: Some(key), verify: false };
        let client = tls_client(tls);
        let got = said(&get(&client, &server.url).await);
        assert!(got.starts_with("tls: the server refuses the client certificate"), "{got}");
        put(&root.sign(&["me"], NOW));
        assert_eq!(said(&get(&client, &server.url).await), "200 x", "the files are read again");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (self_signed(&["a"], NOW), self_signed(&["a"], NOW));
    let (cert, junk) = (write(folder.path(), "cert", &one.cert), write(folder.path(), "junk", "junk"));
    let server = Scripted::tls(one.server(&[&TLS13], None), vec![Act::Read, ok("x")]).await;
    let env = move |name: &str| match name {
        "OTHER" => Some(two.key.clone()),
        "JUNK" => Some("hunter2".into()),
        _ => None,
    };
    let with = |ca: Option<&str>, key: Option<&str>| Tls {
        ca: ca.map(|name| folder.path().join(name)),
        cert: key.map(|_| cert.clone()),
        key: key.map(|place| SecretRef::parse(place).unwrap()),
        verify: true,
    };
    for (tls, wanted) in [
        (
            with(Some("none"), None),
            format!("file: tls.ca: {}/none cannot be read: No such file", folder.path().display()),
        ),
        (
            with(Some("junk"), None),
            format!("file: tls.ca: {}/junk: there is no certificate in PEM", folder.path().display()),
        ),
        (with(None, Some("env:NONE")), "secret: tls.key: env:NONE is not set".into()),
        (with(None, Some("env:JUNK")), "secret: tls.key holds no private key in PEM".into()),
        (with(None, Some("env:OTHER")), "tls: tls.key does not belong to tls.cert".into()),
        (
            Tls { cert: Some(junk), ..with(None, Some("env:OTHER")) },
            format!("file: tls.cert: {}/junk: there is no certificate", folder.path().display()),
        ),
    ] {
        let client = client().for_target(tls, &Secrets::with_env(env.clone()));
        let look = get(&client, &server.url).await;
        let got = said(&look);
        assert!(got.starts_with(&wanted), "{got:?} instead of {wanted:?}");
        assert!(!format!("{look:?}{client:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn a_port_that_speaks_no_tls_is_said_to() {
    let server = Scripted::start(vec![vec![Act::Read, ok("x")]]).await;
    let ssh = Scripted::start(vec![vec![say("SSH-2.0-OpenSSH_9.2p1\r\n"), Act::Hang]]).await;
    let closes = Scripted::start(vec![vec![]]).await;
    for (server, wanted) in [
        (&ssh, "tls: what answers there does not speak TLS"),
        (&closes, "tls: the server ended the connection within the TLS handshake"),
    ] {
        let got = said(&get(&untrusting(), &server.url.replace("http:", "https:")).await);
        assert!(got.starts_with(wanted), "{got}");
    }
    // The script waits for a blank line, which no handshake has.
    let url = server.url.replace("http:", "https:");
    let look = send(&untrusting(), Method::GET, &url, None, Span::millis(100)).await;
    assert_eq!(look.answer.unwrap_err().reason, "timeout");
}

/// Seeded, so that what fails fails again (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as usize % bound.max(1)
    }

    fn mutated(&mut self, seed: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(4) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
                2 => bytes.insert(at, self.below(256) as u8),
                _ => bytes.truncate(at.max(1)),
            }
        }
        bytes
    }
}

#[test]
fn mutated_certificates_and_bodies_are_read_or_refused_and_never_a_panic() {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use rustls::{CertificateError, Error};
    let identity = self_signed(&["shop.example", "10.0.0.1", "::1"], NOW);
    let der = CertificateDer::from_pem_slice(identity.cert.as_bytes()).unwrap();
    let faults = [CertificateError::Expired, CertificateError::NotValidYet, CertificateError::NotValidForName];
    let faults = faults.into_iter().chain([CertificateError::UnknownIssuer]).map(Error::InvalidCertificate);
    let faults: Vec<Error> = faults.collect();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..5_000 {
        let chain = [CertificateDer::from(random.mutated(&der))];
        assert_eq!(Handshake::new(None, &chain).version, None);
        for fault in &faults {
            for now in [i64::MIN, 1_700_000_000, i64::MAX] {
                let words = certificate::words(fault, &chain, "shop.example", now);
                assert!(Failure::new("tls", words).detail.len() <= Failure::MAX_DETAIL);
            }
        }
    }
    use std::io::Write;
    let mut to = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    to.write_all(&[b"abcabcabcabd".as_slice(); 200].concat()).unwrap();
    let zlib = to.finish().unwrap();
    let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    to.write_all(&[b"abcabcabcabd".as_slice(); 200].concat()).unwrap();
    let gzip = to.finish().unwrap();
    for (coding, seed) in [("deflate", zlib), ("gzip", gzip)] {
        let headers = HeaderMap::from_iter([(header::CONTENT_ENCODING, HeaderValue::from_static(coding))]);
        for _ in 0..5_000 {
            let bytes = random.mutated(&seed);
            let mut body = body::Body::new(&headers, 3_000);
            let read = bytes.chunks(1 + random.below(50)).try_for_each(|chunk| body.push(chunk));
            if let Ok(all) = read.and_then(|()| body.finish()) {
                assert!(all.len() <= 3_000);
            }
        }
    }
}

#[tokio::test]
async fn a_chain_without_end_is_looked_at_so_far() {
    let root = Authority::root("Root");
    let mut identity = root.sign(&["127.0.0.1"], NOW);
    let late = root.sign(&["127.0.0.1"], (2020, 2025));
    identity.cert.push_str(&identity.cert.clone().repeat(20));
    identity.cert.push_str(&late.cert);
    let server = Scripted::tls(identity.server(&[&TLS13], None), vec![Act::Read, ok("x")]).await;
    let look = get(&untrusting(), &server.url).await;
    assert_eq!(said(&look), "200 x");
    assert_eq!(look.trace.handshake.unwrap().earliest_expiry, Some(2_208_988_800), "the first 16 of them");
}
