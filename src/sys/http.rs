//! The capped HTTP client.
//!
//! Enters: a [`Request`] with its bounds. Leaves: a whole [`Response`], or a [`Failure`] whose reason is one word
//! of [`REASONS`]. The deadline covers everything from the name look-up to the last byte of the body; the cap
//! counts bytes after decompression, so a small answer cannot unfold without end. Redirects are followed here and
//! not by the library, so that what a request carries for one server is never shown to another.
//!
//! A probe never goes through a proxy: it would observe the proxy. Connections are kept, but only for a moment:
//! servers close idle ones (many after 5 s), and a probe that lost this race would blame the service.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::header::{self, HeaderMap, HeaderName};
pub use reqwest::{Method, Url};

use super::clock::Stopwatch;
use crate::base::{Failure, Span};

/// Every reason that [`Client::fetch`] can give.
pub const REASONS: [&str; 8] = ["resolve", "refused", "timeout", "tls", "redirect", "too-large", "protocol", "body"];

/// The most that all headers of an answer may hold together, in bytes.
pub const MAX_HEADERS: usize = 64 << 10;

/// How long a connection without use is kept; see the story above.
const IDLE: Duration = Duration::from_secs(4);

/// Makes *ring* the cryptography of this process; later calls do nothing.
pub fn install_crypto_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none()
        && rustls::crypto::ring::default_provider().install_default().is_err()
    {
        tracing::debug!("Another thread installed the cryptography first.");
    }
}

/// A client; clones share connections. Nothing is loaded before the first request needs it: the host's CA
/// certificates only with the first `https` address.
#[derive(Clone, Debug, Default)]
pub struct Client {
    plain: Arc<OnceLock<reqwest::Client>>,
    tls: Arc<OnceLock<reqwest::Client>>,
}

/// What to fetch, and how much of it at most.
#[derive(Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: Method,
    /// An address that [`address`] accepted.
    pub url: &'a Url,
    /// Headers; none but harmless ones follow a redirect to another server.
    pub headers: HeaderMap,
    /// The body to send.
    pub body: Option<&'a str>,
    /// How many redirects are followed; with 0 the redirect itself is the answer.
    pub redirects: u32,
    /// The longest body accepted, in bytes after decompression.
    pub max_body: u64,
    /// The time for everything.
    pub timeout: Span,
}

/// A whole answer.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers of the last answer.
    pub headers: HeaderMap,
    /// The body, decompressed.
    pub body: Vec<u8>,
    /// How long everything took, in seconds.
    pub seconds: f64,
}

impl Response {
    /// The `Content-Type`, in lower case; empty where there is none.
    pub fn content_type(&self) -> String {
        let value = self.headers.get(header::CONTENT_TYPE).map(|v| String::from_utf8_lossy(v.as_bytes()));
        value.unwrap_or_default().to_ascii_lowercase()
    }
}

/// Reads an address: `http` or `https`, with a host, without credentials.
///
/// # Errors
/// What is wrong and what to do; credentials in the text are never repeated.
pub fn address(text: &str) -> Result<Url, (String, String)> {
    let url = Url::parse(text).map_err(|e| (format!("this is no address: {e}"), EXAMPLE.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err((format!("`{}` is not fetched", url.scheme()), EXAMPLE.to_string()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let help = "write auth = { user = \"…\", password = \"env:NAME\" }";
        return Err(("an address holds no credentials".into(), help.into()));
    }
    Ok(url)
}

const EXAMPLE: &str = "for example \"http://127.0.0.1:8080/health\"";

/// Host and port, as the `instance` label has them: `127.0.0.1:8080`.
pub fn host_and_port(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default())
}

impl Client {
    /// A client that has loaded nothing yet.
    pub fn new() -> Client {
        Client::default()
    }

    /// Fetches once, following redirects.
    ///
    /// # Errors
    /// A [`Failure`] with a reason of [`REASONS`]. Its detail names at most the host, never path, query or headers.
    pub async fn fetch(&self, request: Request<'_>) -> Result<Response, Failure> {
        let (watch, timeout) = (Stopwatch::start(), request.timeout);
        let mut answered = false;
        match tokio::time::timeout(timeout.to_std(), self.follow(request, &mut answered)).await {
            Ok(Ok(mut response)) => {
                response.seconds = watch.seconds();
                Ok(response)
            }
            Ok(Err(failure)) => Err(failure),
            Err(_) if answered => Err(Failure::new("timeout", format!("the answer did not end within {timeout}"))),
            Err(_) => Err(Failure::new("timeout", format!("no answer within {timeout}"))),
        }
    }

    async fn follow(&self, request: Request<'_>, answered: &mut bool) -> Result<Response, Failure> {
        let Request { mut method, url, mut headers, mut body, redirects, max_body, timeout: _ } = request;
        let mut url = url.clone();
        let mut left = redirects;
        loop {
            let mut sending = self.pick(&url)?.request(method.clone(), url.clone()).headers(headers.clone());
            if let Some(text) = body {
                sending = sending.body(text.to_string());
            }
            let answer = sending.send().await.map_err(classify)?;
            let target = if redirects == 0 { None } else { redirect_target(&answer)? };
            let Some(target) = target else {
                *answered = true;
                return receive(answer, max_body).await;
            };
            if left == 0 {
                let detail = format!("more than {redirects} redirects, the last to {}", host_and_port(&target));
                return Err(Failure::new("redirect", detail));
            }
            left -= 1;
            if becomes_get(answer.status().as_u16(), &method) {
                (method, body) = (Method::GET, None);
                headers.remove(header::CONTENT_TYPE);
            }
            if target.origin() != url.origin() {
                headers = harmless(headers);
            }
            url = target;
        }
    }

    /// Two clients, because the one for `https` loads the host's certificates when it is made.
    fn pick(&self, url: &Url) -> Result<&reqwest::Client, Failure> {
        let secure = url.scheme() == "https";
        let slot = if secure { &self.tls } else { &self.plain };
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        install_crypto_provider();
        let builder = reqwest::Client::builder()
            .user_agent(concat!("backstop/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(4)
            .http2_max_header_list_size(MAX_HEADERS as u32);
        let builder = if secure { builder } else { builder.tls_certs_only([]) };
        let made =
            builder.build().map_err(|e| Failure::new("tls", format!("cannot prepare TLS: {}", innermost(&e))))?;
        Ok(slot.get_or_init(|| made))
    }
}

/// Where an answer sends the client; none when it is no redirect.
fn redirect_target(answer: &reqwest::Response) -> Result<Option<Url>, Failure> {
    if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = answer.headers().get(header::LOCATION) else {
        return Ok(None);
    };
    let text = std::str::from_utf8(location.as_bytes()).map_err(|_| Failure::new("redirect", "to no address"))?;
    let mut url = answer.url().join(text).map_err(|e| Failure::new("redirect", format!("to no address: {e}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Failure::new("redirect", format!("to `{}`, which is not fetched", url.scheme())));
    }
    // A server must not choose with which name and password the next one is asked.
    if url.set_username("").is_err() || url.set_password(None).is_err() {
        return Err(Failure::new("redirect", "to an address without a host"));
    }
    Ok(Some(url))
}

/// As every browser does it: only 307 and 308 repeat what was sent.
fn becomes_get(status: u16, method: &Method) -> bool {
    match status {
        303 => *method != Method::HEAD,
        301 | 302 => *method == Method::POST,
        _ => false,
    }
}

fn harmless(headers: HeaderMap) -> HeaderMap {
    const FOLLOW: [HeaderName; 3] = [header::ACCEPT, header::ACCEPT_LANGUAGE, header::CONTENT_TYPE];
    let mut kept = HeaderMap::new();
    for name in FOLLOW {
        if let Some(value) = headers.get(&name) {
            kept.insert(name, value.clone());
        }
    }
    kept
}

async fn receive(mut answer: reqwest::Response, max_body: u64) -> Result<Response, Failure> {
    let size: usize = answer.headers().iter().map(|(n, v)| n.as_str().len() + v.len()).sum();
    if size > MAX_HEADERS {
        return Err(Failure::new("too-large", format!("the headers hold {size} bytes, more than {MAX_HEADERS}")));
    }
    let too_large = || Failure::new("too-large", format!("the body is longer than {max_body} bytes"));
    let announced = answer.content_length().unwrap_or(0);
    if announced > max_body && answer.status() != 304 {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(classify_body)? {
        if (body.len() + chunk.len()) as u64 > max_body {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Response { status: answer.status().as_u16(), headers: answer.headers().clone(), body, seconds: 0.0 })
}

fn classify(error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let what = innermost(&error);
    if error.is_timeout() {
        return Failure::new("timeout", what);
    }
    if error.is_dns() {
        return Failure::new("resolve", what);
    }
    if is_tls(&error) {
        return Failure::new("tls", what);
    }
    match io_kind(&error) {
        Some(std::io::ErrorKind::TimedOut) => Failure::new("timeout", what),
        // The connection stood, and ended within the handshake.
        Some(std::io::ErrorKind::UnexpectedEof) if error.is_connect() => Failure::new("tls", what),
        // Unreachable hosts and networks as well: nobody took the connection.
        Some(_) if error.is_connect() => Failure::new("refused", what),
        _ => Failure::new("protocol", what),
    }
}

fn classify_body(error: reqwest::Error) -> Failure {
    let what = innermost(&error.without_url());
    Failure::new("body", format!("the body broke off: {what}"))
}

fn chain<'e>(
    error: &'e (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'e (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |e| e.source())
}

fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<std::io::ErrorKind> {
    chain(error).find_map(|e| e.downcast_ref::<std::io::Error>()).map(std::io::Error::kind)
}

/// rustls reports through io errors, sometimes one within another, whose content the chain of sources passes over.
fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    chain(error).any(|e| {
        let mut io = e.downcast_ref::<std::io::Error>();
        while let Some(inside) = io.and_then(std::io::Error::get_ref) {
            if inside.is::<rustls::Error>() {
                return true;
            }
            io = inside.downcast_ref::<std::io::Error>();
        }
        e.is::<rustls::Error>()
    })
}

/// The last error of the chain says what happened; those around it say only who noticed.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn nothing_that_identifies_follows_to_another_server() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("authorization", "Bearer x"), ("cookie", "a"), ("x-key", "k"), ("accept", "text/plain")]
        {
            headers.insert(HeaderName::from_static(name), value.parse().unwrap());
        }
        let kept: Vec<String> = harmless(headers).keys().map(ToString::to_string).collect();
        assert_eq!(kept, ["accept"]);
    }
}
