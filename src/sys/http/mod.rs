//! The capped HTTP client.
//!
//! Enters: a [`Request`] with its bounds. Leaves: a whole [`Response`], or a [`Failure`] whose reason is one word
//! of [`REASONS`]; and, either way, a [`Trace`] of how far it came and how long each phase took. HTTP/1.1 only: what a
//! probe asks for is one answer at a time, and every server gives it that way.
//!
//! The deadline covers everything from the name look-up to the last byte of the body; the cap counts bytes after
//! decompression, so a small answer cannot unfold without end. Redirects are followed here, so that what a request
//! carries for one server is never shown to another. A probe never goes through a proxy: it would observe the proxy.
//!
//! Each request has a connection of its own, closed when the answer is there, unless it is asked more often than servers
//! close idle connections (many after 5 s): then the connection rests until the next request, for at most a minute in all,
//! so that a change of address or certificate is seen. A kept connection that turns out to be closed is no failure of the
//! service: the request is sent once more on a new one, if it may be.
//!
//! - `resolve`, `connect`: from a name to a stream · `tls`, `certificate`: encryption, and what it showed
//! - `connection`, `body`: one answer · `redirect` · `failure`: what went wrong, in plain words

mod body;
mod certificate;
mod connect;
mod connection;
mod failure;
mod redirect;
mod resolve;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tls;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
pub use http::Method;
use http::header::{self, HeaderMap, HeaderValue};
use http_body_util::Full;
use hyper::body::Incoming;
pub use url::Url;
use url::{Host, Position};

pub use self::certificate::Handshake;
use self::connection::{Broken, Connection, Stream};
use self::resolve::Resolver;
pub use self::tls::Tls;
use self::tls::{Handshakes, SystemRoots};
use super::clock::Stopwatch;
use super::secret::Secrets;
use crate::base::{Failure, Span};

/// Every reason that [`Client::fetch`] can give; the last two only with [`Tls`] files.
pub const REASONS: [&str; 10] =
    ["resolve", "refused", "timeout", "tls", "redirect", "too-large", "protocol", "body", "file", "secret"];

/// The most that all headers of an answer may hold together, in bytes.
pub const MAX_HEADERS: usize = 64 << 10;

/// How long a connection without use is kept; see the story above.
pub const IDLE: Span = Span::secs(4);

/// How old a kept connection may become.
const MAX_AGE: Span = Span::mins(1);

/// How many connections rest for one target: redirects may need more than one.
const MAX_KEPT: usize = 4;

/// The program as it names itself to servers.
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("backstop/", env!("CARGO_PKG_VERSION")));

/// Makes *ring* the cryptography of this process; later calls do nothing.
pub fn install_crypto_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none()
        && rustls::crypto::ring::default_provider().install_default().is_err()
    {
        tracing::debug!("Another thread installed the cryptography first.");
    }
}

/// A client; clones share everything. Nothing is loaded before the first request needs it: the host's CA certificates
/// only with the first `https` address.
#[derive(Clone, Debug)]
pub struct Client {
    resolver: Arc<Resolver>,
    handshakes: Arc<Handshakes>,
    keeps: bool,
    kept: Arc<Mutex<Vec<Kept>>>,
}

/// A connection at rest.
#[derive(Debug)]
struct Kept {
    connection: Connection,
    origin: String,
    /// Since it was made.
    age: Stopwatch,
    /// Since it was used.
    idle: Stopwatch,
}

/// What to fetch, and how much of it at most.
pub struct Request<'a> {
    /// The method.
    pub method: Method,
    /// An address that [`address`] accepted.
    pub url: &'a Url,
    /// Headers; none but harmless ones follow a redirect to another server.
    pub headers: HeaderMap,
    /// The body to send; it never follows a redirect to another server.
    pub body: Option<&'a [u8]>,
    /// How many redirects are followed; with 0 the redirect itself is the answer.
    pub redirects: u32,
    /// The longest body accepted, in bytes after decompression.
    pub max_body: u64,
    /// The time for everything.
    pub timeout: Span,
}

/// A whole answer.
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers of the last answer.
    pub headers: HeaderMap,
    /// The body, decompressed.
    pub body: Vec<u8>,
    /// The length of the body as its headers announce it, before decompression; none where they do not.
    pub announced: Option<u64>,
    /// The protocol version: 1.0 or 1.1.
    pub version: f64,
    /// How long everything took, in seconds.
    pub seconds: f64,
}

/// The head of an answer whose body comes in pieces.
pub struct Head {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
}

/// Takes the body of the last answer piece by piece.
pub type Taker<'t> = dyn FnMut(&Head, &[u8]) -> Result<(), Failure> + Send + 't;

/// Where the time went, in seconds, summed over redirects. Zero where a kept connection was used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Phases {
    /// The name look-up.
    pub resolve: f64,
    /// Until there was a TCP connection.
    pub connect: f64,
    /// The TLS handshake.
    pub tls: f64,
    /// From the request until the first byte of the answer.
    pub processing: f64,
    /// From there until its last byte.
    pub transfer: f64,
}

/// How far a request came.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Where the time went.
    pub phases: Phases,
    /// How many redirects were followed.
    pub redirects: u32,
    /// 4 or 6, once there was a connection.
    pub ip_protocol: Option<u8>,
    /// What the last handshake showed; none without TLS. Also there when the certificate was not believed.
    pub handshake: Option<Arc<Handshake>>,
    stage: Stage,
}

/// What is under way, for the words of a timeout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Resolve,
    Connect,
    Tls,
    Answer,
    Body,
}

/// What came of one request.
#[derive(Debug)]
pub struct Look {
    /// How far it came.
    pub trace: Trace,
    /// The answer, or why there is none.
    pub answer: Result<Response, Failure>,
}

/// One hop of a request: what is sent to one address.
struct Hop {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Bytes>,
}

impl Head {
    /// The `Content-Type`, in lower case; empty where there is none.
    pub fn content_type(&self) -> String {
        content_type(&self.headers)
    }
}

impl Response {
    /// The `Content-Type`, in lower case; empty where there is none.
    pub fn content_type(&self) -> String {
        content_type(&self.headers)
    }
}

fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).map(|v| String::from_utf8_lossy(v.as_bytes()));
    value.unwrap_or_default().to_ascii_lowercase()
}

/// Prints no header: each may hold a secret.
impl std::fmt::Debug for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Head").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Prints no path, header or body: each may hold a secret.
impl std::fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("method", &self.method).field("host", &host_and_port(self.url)).finish()
    }
}

/// Prints neither headers nor body.
impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response").field("status", &self.status).field("length", &self.body.len()).finish()
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
    /// A client that has loaded nothing yet, keeps no connection and believes what the host believes.
    pub fn new() -> Client {
        Client::with(Arc::new(Resolver::of_system()), Handshakes::new(Tls::default(), None, SystemRoots::default()))
    }

    fn with(resolver: Arc<Resolver>, handshakes: Handshakes) -> Client {
        Client { resolver, handshakes: Arc::new(handshakes), keeps: false, kept: Arc::default() }
    }

    /// A client for one target that speaks TLS as `tls` says, whose key `secrets` reads. It has connections of its own, and
    /// shares what does not depend on the target.
    pub fn for_target(&self, tls: Tls, secrets: &Secrets) -> Client {
        let handshakes = Handshakes::new(tls, Some(secrets.clone()), self.handshakes.roots());
        Client::with(self.resolver.clone(), handshakes)
    }

    /// The same client for requests that come every `interval`: its connections rest between them where that is shorter
    /// than [`IDLE`].
    pub fn every(mut self, interval: Span) -> Client {
        self.keeps = interval < IDLE;
        self
    }

    /// Fetches once, following redirects.
    ///
    /// # Errors
    /// A [`Failure`] with a reason of [`REASONS`]. Its detail names at most the host, never path, query or headers.
    pub async fn fetch(&self, request: Request<'_>) -> Result<Response, Failure> {
        self.look(request).await.answer
    }

    /// Fetches once, following redirects, and hands the body of the last answer to `taker` in pieces as they come. Nothing of
    /// it is held: the [`Response`] has no body. A failure of `taker` ends it.
    ///
    /// # Errors
    /// As [`Client::fetch`], or that of `taker`. What was handed on before is then to be thrown away.
    pub async fn stream(&self, request: Request<'_>, taker: &mut Taker<'_>) -> Result<Response, Failure> {
        self.look_with(request, Some(taker)).await.answer
    }

    /// Fetches once, and tells how it went, whatever came of it.
    pub async fn look(&self, request: Request<'_>) -> Look {
        self.look_with(request, None).await
    }

    async fn look_with(&self, request: Request<'_>, taker: Option<&mut Taker<'_>>) -> Look {
        let (watch, timeout) = (Stopwatch::start(), request.timeout);
        let mut trace = Trace::default();
        let answer = match tokio::time::timeout(timeout.to_std(), self.follow(request, taker, &mut trace)).await {
            Ok(Ok(mut response)) => {
                response.seconds = watch.seconds();
                Ok(response)
            }
            Ok(Err(failure)) => Err(failure),
            Err(_) => {
                let spent = watch.seconds();
                Err(late(&mut trace, timeout, spent))
            }
        };
        Look { trace, answer }
    }

    async fn follow(
        &self,
        request: Request<'_>,
        taker: Option<&mut Taker<'_>>,
        trace: &mut Trace,
    ) -> Result<Response, Failure> {
        let Request { method, url, headers, body, redirects, max_body, timeout: _ } = request;
        let mut hop = Hop { method, url: url.clone(), headers, body: body.map(Bytes::copy_from_slice) };
        loop {
            let (mut connection, age, answer) = self.ask(&hop, trace).await?;
            check_size(answer.headers())?;
            let target =
                if redirects == 0 { None } else { redirect::target(&hop.url, answer.status(), answer.headers())? };
            let Some(target) = target else {
                let response = receive(&mut connection, answer, max_body, taker, trace).await?;
                self.rest(connection, &hop.url, age).await;
                return Ok(response);
            };
            if trace.redirects == redirects {
                let detail = format!("more than {redirects} redirects, the last to {}", host_and_port(&target));
                return Err(Failure::new("redirect", detail));
            }
            trace.redirects += 1;
            hop = hop.next(answer.status(), target)?;
        }
    }

    /// Gets the head of one answer: on a kept connection where there is one, else, or when that one turned out to be
    /// closed, on a new one.
    async fn ask(
        &self,
        hop: &Hop,
        trace: &mut Trace,
    ) -> Result<(Connection, Stopwatch, http::Response<Incoming>), Failure> {
        if let Some(mut kept) = self.take(hop).await {
            trace.begin(&kept.connection);
            match kept.connection.ask(hop.request(true)?, trace).await {
                // 408 on a connection at rest speaks of the rest.
                Ok(answer) if answer.status() != http::StatusCode::REQUEST_TIMEOUT => {
                    return Ok((kept.connection, kept.age, answer));
                }
                Err(Broken { failure, was_silent: false }) => return Err(failure),
                Ok(_) | Err(_) => {}
            }
        }
        let mut connection = self.connect(&hop.url, trace).await?;
        let age = Stopwatch::start();
        trace.begin(&connection);
        let answer = connection.ask(hop.request(self.keeps)?, trace).await.map_err(|broken| broken.failure)?;
        Ok((connection, age, answer))
    }

    async fn connect(&self, url: &Url, trace: &mut Trace) -> Result<Connection, Failure> {
        trace.stage = Stage::Resolve;
        let watch = Stopwatch::start();
        let addresses = self.addresses(url).await;
        trace.phases.resolve += watch.seconds();
        let addresses = addresses?;
        trace.stage = Stage::Connect;
        let watch = Stopwatch::start();
        let tcp = connect::connect(&addresses).await;
        trace.phases.connect += watch.seconds();
        let tcp = tcp?;
        if url.scheme() != "https" {
            trace.handshake = None;
            return Connection::new(Stream::Plain(tcp), None).await;
        }
        trace.stage = Stage::Tls;
        let watch = Stopwatch::start();
        let (stream, shown) = self.handshakes.encrypt(tcp, url.host_str().unwrap_or_default()).await;
        trace.phases.tls += watch.seconds();
        trace.handshake = shown.map(Arc::new);
        Connection::new(Stream::Tls(Box::new(stream?)), trace.handshake.clone()).await
    }

    async fn addresses(&self, url: &Url) -> Result<Vec<SocketAddr>, Failure> {
        let port = url.port_or_known_default().unwrap_or_default();
        let mut addresses = match url.host() {
            Some(Host::Ipv4(ip)) => vec![SocketAddr::from((ip, port))],
            Some(Host::Ipv6(ip)) => vec![SocketAddr::from((ip, port))],
            Some(Host::Domain(name)) => self.resolver.resolve(name).await?.to_vec(),
            None => return Err(Failure::new("resolve", "an address without a host")),
        };
        addresses.iter_mut().for_each(|address| address.set_port(port));
        Ok(addresses)
    }

    /// A kept connection on which `hop` may be sent. One that fails may have been closed meanwhile, so nothing is sent that
    /// must not be sent twice.
    async fn take(&self, hop: &Hop) -> Option<Kept> {
        if !self.keeps || !hop.method.is_idempotent() {
            return None;
        }
        let origin = origin(&hop.url);
        let mut kept = {
            let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|kept| kept.idle.elapsed() < IDLE && kept.age.elapsed() < MAX_AGE);
            let i = all.iter().position(|kept| kept.origin == origin)?;
            all.remove(i)
        };
        kept.connection.is_usable().await.then_some(kept)
    }

    /// Lets a connection rest, if it can be used again.
    async fn rest(&self, mut connection: Connection, url: &Url, age: Stopwatch) {
        if self.keeps && connection.is_usable().await {
            let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if all.len() == MAX_KEPT {
                all.remove(0);
            }
            all.push(Kept { connection, origin: origin(url), age, idle: Stopwatch::start() });
        }
    }
}

impl Default for Client {
    fn default() -> Client {
        Client::new()
    }
}

impl Trace {
    fn begin(&mut self, connection: &Connection) {
        self.stage = Stage::Answer;
        self.ip_protocol = Some(connection.ip_protocol);
        self.handshake.clone_from(&connection.handshake);
    }
}

impl Hop {
    /// The request as it goes out.
    fn request(&self, keeps: bool) -> Result<http::Request<Full<Bytes>>, Failure> {
        let unsendable = |e: http::Error| Failure::new("protocol", format!("the request cannot be sent: {e}"));
        let target = &self.url[Position::BeforePath..Position::AfterQuery];
        let body = Full::new(self.body.clone().unwrap_or_default());
        let mut request =
            http::Request::builder().method(self.method.clone()).uri(target).body(body).map_err(unsendable)?;
        let host = &self.url[Position::BeforeHost..Position::AfterPort];
        let host = HeaderValue::from_str(host).map_err(|e| unsendable(e.into()))?;
        let headers = request.headers_mut();
        headers.insert(header::HOST, host);
        headers.insert(header::USER_AGENT, USER_AGENT);
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(body::ACCEPTED));
        if !keeps {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        Ok(request)
    }

    /// What a redirect makes of it.
    fn next(self, status: http::StatusCode, target: Url) -> Result<Hop, Failure> {
        let Hop { mut method, url, mut headers, mut body } = self;
        if redirect::becomes_get(status, &method) {
            (method, body) = (Method::GET, None);
            headers.remove(header::CONTENT_TYPE);
        }
        if target.origin() != url.origin() {
            if body.is_some() {
                let detail =
                    format!("to {}, which is another server: a body is not sent there", host_and_port(&target));
                return Err(Failure::new("redirect", detail));
            }
            headers = redirect::harmless(&headers);
        }
        Ok(Hop { method, url: target, headers, body })
    }
}

async fn receive(
    connection: &mut Connection,
    answer: http::Response<Incoming>,
    max_body: u64,
    taker: Option<&mut Taker<'_>>,
    trace: &mut Trace,
) -> Result<Response, Failure> {
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let version = if answer.version() == http::Version::HTTP_10 { 1.0 } else { 1.1 };
    let announced = announced(status, &headers);
    let mut with_head = taker.map(|taker| {
        let head = Head { status, headers: headers.clone() };
        move |piece: &[u8]| taker(&head, piece)
    });
    let taker = with_head.as_mut().map(|taker| taker as &mut body::Taker<'_>);
    let body = connection.receive(answer, max_body, taker, trace).await?;
    Ok(Response { status, headers, body, announced, version, seconds: 0.0 })
}

/// The length of the body as the headers announce it; what can have no body announces none.
fn announced(status: u16, headers: &HeaderMap) -> Option<u64> {
    if matches!(status, 100..=199 | 204 | 304) {
        return Some(0);
    }
    let is_chunked = headers.contains_key(header::TRANSFER_ENCODING);
    headers.get(header::CONTENT_LENGTH).filter(|_| !is_chunked)?.to_str().ok()?.parse().ok()
}

fn check_size(headers: &HeaderMap) -> Result<(), Failure> {
    let size: usize = headers.iter().map(|(n, v)| n.as_str().len() + v.len()).sum();
    if size > MAX_HEADERS {
        return Err(Failure::new("too-large", format!("the headers hold {size} bytes, more than {MAX_HEADERS}")));
    }
    Ok(())
}

/// The failure of a request whose time ran out; what was under way gets the time that no other phase had.
fn late(trace: &mut Trace, timeout: Span, spent: f64) -> Failure {
    let phases = &mut trace.phases;
    let left = spent - (phases.resolve + phases.connect + phases.tls + phases.processing + phases.transfer);
    let (phase, what) = match trace.stage {
        Stage::Resolve => (&mut phases.resolve, format!("the name was not resolved within {timeout}")),
        Stage::Connect => (&mut phases.connect, format!("no connection within {timeout}")),
        Stage::Tls => (&mut phases.tls, format!("the TLS handshake did not end within {timeout}")),
        Stage::Answer => (&mut phases.processing, format!("no answer within {timeout}")),
        Stage::Body => (&mut phases.transfer, format!("the answer did not end within {timeout}")),
    };
    *phase += left.max(0.0);
    Failure::new("timeout", what)
}

fn origin(url: &Url) -> String {
    format!("{} {}", url.scheme(), host_and_port(url))
}
