//! What a port says: it is connected to, and asked for a few pages over HTTP/1.1 where nothing speaks against it.
//!
//! Nothing but `GET` for the pages of [`HEALTH`], [`METRICS`] and `/` is ever sent, never to another host than the one
//! that listens, and nothing at all to what speaks first. Each question has a second; a page has at most [`MAX_PAGE`]
//! bytes, one of metrics is read as it comes.

use std::net::SocketAddr;

use crate::base::{Failure, Span};
use crate::cli::init::findings::{Health, Metrics, Pages, Says};
use crate::source::exposition::{self, Fault, Format, Line, Reader};
use crate::sys::connect::{self, Connector, Contact};
use crate::sys::http::{self, Client, Head, Method, Request, Response};

/// Pages about health, the most telling first.
pub const HEALTH: [&str; 3] = ["/health", "/healthz", "/-/healthy"];

/// The page of metrics.
pub const METRICS: &str = "/metrics";

/// How long an answer is waited for.
const PATIENCE: Span = Span::secs(1);

/// How long a server is given to speak first.
const GREETING: Span = Span::millis(250);

/// The longest page that is looked at, in bytes; also the default of `max_body`.
const MAX_PAGE: u64 = 1 << 20;

/// The longest page of metrics, in bytes, and its most samples; the defaults of the source.
const MAX_METRICS: u64 = 16 << 20;
const MAX_SAMPLES: usize = 50_000;

/// Words for being well, as pages about health have them.
const WELL: [&str; 7] = ["ok", "up", "pass", "healthy", "alive", "green", "running"];

/// Counters of requests that are widely used, and the labels that hold the status of the answer.
const REQUESTS: [(&str, &[&str]); 7] = [
    ("http_requests_total", &["status", "code", "status_code"]),
    ("http_server_requests_seconds_count", &["status"]),
    ("http_server_request_duration_seconds_count", &["http_response_status_code"]),
    ("http_request_duration_seconds_count", &["status", "code", "status_code"]),
    ("traefik_service_requests_total", &["code"]),
    ("caddy_http_request_duration_seconds_count", &["code"]),
    ("haproxy_frontend_http_responses_total", &["code"]),
];

/// Asks the port at `address`.
pub async fn ask(client: &Client, address: SocketAddr) -> Says {
    let place = connect::Address::Port(address.ip().to_string(), address.port());
    match Connector::default().contact(&place, true, PATIENCE.min(GREETING)).await {
        Ok(Contact::Open(None)) => {}
        Ok(Contact::Open(Some(_))) => return Says::Greets,
        Ok(Contact::Closed(_)) => return Says::Closed,
        Err(failure) => return Says::Other(failure),
    }
    let mut pages = Pages::default();
    let mut first = None;
    for path in HEALTH {
        match page(client, address, path).await {
            Ok(answer) if is_good(&answer) => {
                first = Some((path, answer));
                break;
            }
            // A page that is too long is an answer; nothing in time, or something else, is no HTTP.
            Ok(_) => {}
            Err(failure) if failure.reason == "too-large" => {}
            Err(failure) => return Says::Other(failure),
        }
    }
    pages.metrics = metrics(client, address).await;
    let is_markup = first.as_ref().is_some_and(|(_, answer)| answer.content_type().starts_with("text/html"));
    let root = match first.is_none() || is_markup {
        true => page(client, address, "/").await.ok(),
        false => None,
    };
    // One page for whatever is asked says nothing about health.
    let is_for_all = |answer: &Response| root.as_ref().is_some_and(|root| is_markup && root.body == answer.body);
    pages.health = first.filter(|(_, answer)| !is_for_all(answer)).map(|(path, answer)| health(path, &answer));
    pages.root = root.map(|answer| answer.status).filter(|status| (200..400).contains(status));
    Says::Http(pages)
}

fn is_good(answer: &Response) -> bool {
    (200..300).contains(&answer.status)
}

async fn page(client: &Client, address: SocketAddr, path: &str) -> Result<Response, Failure> {
    let url = url(address, path)?;
    client.fetch(request(&url, MAX_PAGE)).await
}

fn url(address: SocketAddr, path: &str) -> Result<http::Url, Failure> {
    http::address(&format!("http://{address}{path}")).map_err(|(why, _)| Failure::new("protocol", why))
}

fn request(url: &http::Url, max_body: u64) -> Request<'_> {
    Request {
        method: Method::GET,
        url,
        headers: Default::default(),
        body: None,
        redirects: 0,
        max_body,
        timeout: PATIENCE,
    }
}

/// What the text of a page about health says.
fn health(path: &'static str, answer: &Response) -> Health {
    let json: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
    let text = |key: &str| json.as_ref()?.get(key)?.as_str();
    let status = text("status").filter(|word| WELL.contains(&word.to_ascii_lowercase().as_str())).map(String::from);
    Health { path, status, has_version: text("version").is_some_and(|version| !version.trim().is_empty()) }
}

/// The page of metrics, where there is one that `[prometheus.NAME]` would take.
async fn metrics(client: &Client, address: SocketAddr) -> Option<Metrics> {
    let url = url(address, METRICS).ok()?;
    let mut seen = Seen::default();
    let mut reader: Option<Reader> = None;
    let mut take = |head: &Head, piece: &[u8]| {
        if head.status != 200 {
            return Err(Failure::new("status", head.status.to_string()));
        }
        let reader = reader.get_or_insert_with(|| Reader::new(Format::of(&head.content_type())));
        reader.feed(piece, &mut |line| seen.line(line))
    };
    client.stream(request(&url, MAX_METRICS), &mut take).await.ok()?;
    reader?.finish(&mut |line| seen.line(line)).ok()?;
    (seen.n_samples > 0).then(|| Metrics { n_samples: seen.n_samples, requests: seen.requests() })
}

/// What was seen of a page of metrics.
#[derive(Default)]
struct Seen {
    n_samples: usize,
    /// By row of [`REQUESTS`], the first of its labels that was there.
    labels: [Option<usize>; REQUESTS.len()],
}

impl Seen {
    fn line(&mut self, line: Line<'_>) -> Result<(), Fault> {
        let point = line.point()?;
        self.n_samples += 1;
        if self.n_samples > MAX_SAMPLES {
            return Err(Fault { reason: "too-many", what: "more samples than are taken" });
        }
        let name = point.series.split(|b| matches!(b, b'{' | b' ' | b'\t')).next().unwrap_or_default();
        let Some(row) = REQUESTS.iter().position(|(requests, _)| requests.as_bytes() == name) else { return Ok(()) };
        let series = exposition::decode(point.series)?;
        let is_status = |value: &str| value.len() == 3 && value.starts_with(|c: char| ('1'..='5').contains(&c));
        let has = |label: &str| series.labels.iter().any(|(name, value)| name == label && is_status(value));
        if self.labels[row].is_none() {
            self.labels[row] = REQUESTS[row].1.iter().position(|label| has(label));
        }
        Ok(())
    }

    fn requests(&self) -> Option<(&'static str, &'static str)> {
        let row = self.labels.iter().position(Option::is_some)?;
        Some((REQUESTS[row].0, REQUESTS[row].1[self.labels[row]?]))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::sys::tasks::Tasks;

    /// Path, status with headers, body.
    type Served = &'static [(&'static str, &'static str, &'static str)];

    /// A server whose answers depend on the path; it remembers what it was sent.
    async fn server(greeting: &'static str, pages: Served) -> (SocketAddr, Tasks, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = Tasks::new();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = asked.clone();
        tasks.spawn("server", async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                if !greeting.is_empty() {
                    drop(stream.write_all(greeting.as_bytes()).await);
                }
                let mut request = vec![0; 4096];
                let n = stream.read(&mut request).await.unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..n]).into_owned();
                let Some(line) = request.lines().next() else { continue };
                heard.lock().unwrap().push(line.to_string());
                let path = line.split(' ').nth(1).unwrap_or_default();
                let found = pages.iter().find(|(page, ..)| *page == path || *page == "*");
                let (head, body) = found.map_or(("404 Not Found\r\ncontent-type: text/plain", "none"), |p| (p.1, p.2));
                let answer = match head {
                    "raw" => body.to_string(),
                    "never" => std::future::pending().await,
                    _ => {
                        format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
                    }
                };
                drop(stream.write_all(answer.as_bytes()).await);
            }
        });
        (address, tasks, asked)
    }

    const JSON: &str = "200 OK\r\ncontent-type: application/json";
    const HTML: &str = "200 OK\r\ncontent-type: text/html; charset=utf-8";
    const TEXT: &str = "200 OK\r\ncontent-type: text/plain; version=0.0.4";

    #[tokio::test]
    async fn a_port_is_what_its_pages_say() {
        let health = |path, status: Option<&str>, has_version| {
            Some(Health { path, status: status.map(String::from), has_version })
        };
        let all: [(Served, Says); 9] = [
            (
                &[
                    ("/health", JSON, r#"{"status": "UP", "version": "2.4.1"}"#),
                    ("/metrics", TEXT, "http_requests_total{code=\"200\"} 5\nup 1\n"),
                ],
                Says::Http(Pages {
                    health: health("/health", Some("UP"), true),
                    metrics: Some(Metrics { n_samples: 2, requests: Some(("http_requests_total", "code")) }),
                    root: None,
                }),
            ),
            (
                &[("/healthz", "204 No Content", ""), ("/metrics", "200 OK", "<html>no page of metrics</html>")],
                Says::Http(Pages { health: health("/healthz", None, false), metrics: None, root: None }),
            ),
            (
                &[("/-/healthy", JSON, r#"{"status": "degraded", "version": 2}"#)],
                Says::Http(Pages { health: health("/-/healthy", None, false), metrics: None, root: None }),
            ),
            // One page for whatever is asked.
            (&[("*", HTML, "<html>app</html>")], Says::Http(Pages { root: Some(200), ..Pages::default() })),
            (
                &[("/health", HTML, "<html>fine</html>"), ("/", HTML, "<html>app</html>")],
                Says::Http(Pages { health: health("/health", None, false), metrics: None, root: Some(200) }),
            ),
            (
                &[("/", "302 Found\r\nlocation: http://192.0.2.1/", "")],
                Says::Http(Pages { root: Some(302), ..Pages::default() }),
            ),
            (&[("/", "401 Unauthorized", "no")], Says::Http(Pages::default())),
            (
                &[("/metrics", TEXT, "http_requests_total 5\n")],
                Says::Http(Pages { metrics: Some(Metrics { n_samples: 1, requests: None }), ..Pages::default() }),
            ),
            (
                &[("/health", "500 Broken", "no"), ("/healthz", JSON, "[1]")],
                Says::Http(Pages { health: health("/healthz", None, false), metrics: None, root: None }),
            ),
        ];
        for (pages, wanted) in all {
            let (address, tasks, asked) = server("", pages).await;
            assert_eq!(ask(&Client::new(), address).await, wanted, "{pages:?}");
            for line in asked.lock().unwrap().iter() {
                let path = line.strip_prefix("GET ").and_then(|rest| rest.strip_suffix(" HTTP/1.1"));
                assert!(path.is_some_and(|p| HEALTH.contains(&p) || p == METRICS || p == "/"), "{line}");
            }
            tasks.stop(Span::millis(1)).await;
        }
    }

    #[tokio::test]
    async fn what_is_no_http_is_sent_one_question_or_none() {
        let (address, tasks, asked) = server("220 mail ready\r\n", &[]).await;
        assert_eq!(ask(&Client::new(), address).await, Says::Greets);
        assert_eq!(asked.lock().unwrap().len(), 0, "to what speaks first nothing is sent");
        tasks.stop(Span::millis(1)).await;
        for (pages, reason) in [
            (&[("*", "raw", "-ERR unknown command 'GET'\r\n")][..], "protocol"),
            (&[("*", "never", "")][..], "timeout"),
        ] {
            let (address, tasks, asked) = server("", pages).await;
            let says = ask(&Client::new(), address).await;
            assert!(matches!(&says, Says::Other(failure) if failure.reason == reason), "{says:?}");
            assert_eq!(*asked.lock().unwrap(), ["GET /health HTTP/1.1"], "once is enough");
            tasks.stop(Span::millis(1)).await;
            assert_eq!(ask(&Client::new(), address).await, Says::Closed);
        }
    }

    #[test]
    fn counters_of_requests_are_known_by_name_and_label() {
        for (page, wanted) in [
            ("http_requests_total{status=\"200\",code=\"x\"} 1\n", Some(("http_requests_total", "status"))),
            (
                "http_requests_total{code=\"x\"} 1\nhttp_requests_total{code=\"404\"} 1\n",
                Some(("http_requests_total", "code")),
            ),
            ("http_requests_total_bytes{code=\"200\"} 1\n", None),
            (
                "haproxy_frontend_http_responses_total{code=\"5xx\"} 1\n",
                Some(("haproxy_frontend_http_responses_total", "code")),
            ),
            (
                "http_server_requests_seconds_count{uri=\"/\",status=\"200\"} 1\n",
                Some(("http_server_requests_seconds_count", "status")),
            ),
        ] {
            let mut seen = Seen::default();
            let mut reader = Reader::new(Format::Text);
            reader.feed(page.as_bytes(), &mut |line| seen.line(line)).unwrap();
            assert_eq!(seen.requests(), wanted, "{page}");
        }
        let mut seen = Seen { n_samples: MAX_SAMPLES, ..Seen::default() };
        assert!(Reader::new(Format::Text).feed(b"a 1\n", &mut |line| seen.line(line)).is_err());
    }
}
