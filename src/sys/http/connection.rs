//! One HTTP/1.1 connection: a request out, an answer in, and again.
//!
//! Nothing runs in the background: the connection is driven by whoever waits for an answer on it, and rests between. The
//! protocol is hyper's; what it does not bound is bounded here: everything before the answer proper (its head, and
//! interim answers of status 1xx, of which a server may send any number) holds at most [`MAX_HEADERS`] bytes.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::body::{Body, Taker};
use super::certificate::Handshake;
use super::failure;
use super::{MAX_HEADERS, Stage, Trace};
use crate::base::Failure;
use crate::sys::clock::Stopwatch;

/// The most header lines of an answer.
pub(super) const MAX_HEADER_LINES: usize = 100;

/// The most that is held of what a server sent and nobody has taken yet, in bytes.
const MAX_BUFFER: usize = 128 << 10;

/// A stream of bytes to a server.
#[derive(Debug)]
pub(super) enum Stream {
    /// As it is.
    Plain(TcpStream),
    /// Within TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection on which one answer at a time is got.
pub(super) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Driver,
    meter: Arc<Meter>,
    /// What the handshake showed, on a connection with TLS.
    pub(super) handshake: Option<Arc<Handshake>>,
    /// 4 or 6.
    pub(super) ip_protocol: u8,
}

impl Connection {
    /// Makes ready to speak HTTP on `stream`.
    pub(super) async fn new(stream: Stream, handshake: Option<Arc<Handshake>>) -> Result<Connection, Failure> {
        let address = match &stream {
            Stream::Plain(tcp) => tcp.peer_addr(),
            Stream::Tls(tls) => tls.get_ref().0.peer_addr(),
        };
        let ip_protocol = if address.is_ok_and(|a| a.is_ipv6()) { 6 } else { 4 };
        let meter = Arc::new(Meter::default());
        let io = TokioIo::new(Metered { stream, meter: meter.clone() });
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_BUFFER);
        let (sender, inner) = builder.handshake(io).await.map_err(|e| failure::before_answer(&e))?;
        let driver = Driver { inner: Box::pin(inner), has_ended: false };
        Ok(Connection { sender, driver, meter, handshake, ip_protocol })
    }

    /// Sends a request, and returns the head of its answer.
    ///
    /// # Errors
    /// [`Broken`], which tells whether the server said anything at all.
    pub(super) async fn ask(
        &mut self,
        request: http::Request<Full<Bytes>>,
        trace: &mut Trace,
    ) -> Result<http::Response<Incoming>, Broken> {
        self.meter.begin();
        let sent = self.sender.send_request(request);
        let answer = self.driver.beside(sent).await;
        let (first, total, was_silent) = self.meter.end();
        trace.phases.processing += first.unwrap_or(total);
        trace.phases.transfer += total - first.unwrap_or(total);
        answer.map_err(|error| Broken { failure: failure::before_answer(&error), was_silent })
    }

    /// Reads the rest of an answer: its body, decompressed, at most `max` bytes.
    ///
    /// # Errors
    /// Reasons `body` and `too-large`.
    pub(super) async fn receive(
        &mut self,
        answer: http::Response<Incoming>,
        max: u64,
        taker: Option<&mut Taker<'_>>,
        trace: &mut Trace,
    ) -> Result<Vec<u8>, Failure> {
        trace.stage = Stage::Body;
        let watch = Stopwatch::start();
        let received = self.read(answer, max, taker).await;
        trace.phases.transfer += watch.seconds();
        received
    }

    async fn read(
        &mut self,
        answer: http::Response<Incoming>,
        max: u64,
        mut taker: Option<&mut Taker<'_>>,
    ) -> Result<Vec<u8>, Failure> {
        let (head, mut incoming) = answer.into_parts();
        let announced = hyper::body::Body::size_hint(&incoming).exact().unwrap_or(0);
        if announced > max {
            return Err(Body::too_large(max));
        }
        let mut body = Body::new(&head.headers, max);
        while let Some(frame) = self.driver.beside(incoming.frame()).await {
            let frame = frame.map_err(|e| failure::in_body(&e))?;
            // Trailers are bounded by hyper, and tell a probe nothing.
            if let Ok(chunk) = frame.into_data() {
                body.push(&chunk)?;
                if let Some(taker) = &mut taker {
                    body.hand_on(taker)?;
                }
            }
        }
        let rest = body.finish()?;
        match taker {
            Some(taker) if !rest.is_empty() => taker(&rest).map(|()| Vec::new()),
            _ => Ok(rest),
        }
    }

    /// Whether another request can be sent; takes in what came meanwhile, such as the server's end of the connection.
    pub(super) async fn is_usable(&mut self) -> bool {
        std::future::poll_fn(|cx| {
            self.driver.poll(cx);
            Poll::Ready(())
        })
        .await;
        !self.driver.has_ended && self.sender.is_ready()
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("ip_protocol", &self.ip_protocol).finish_non_exhaustive()
    }
}

/// A connection that gave no answer.
#[derive(Debug)]
pub(super) struct Broken {
    /// Why.
    pub(super) failure: Failure,
    /// Not one byte came: on a kept connection the server may have closed it before it saw the request.
    pub(super) was_silent: bool,
}

/// The part of a connection that reads and writes.
struct Driver {
    inner: Pin<Box<http1::Connection<TokioIo<Metered>, Full<Bytes>>>>,
    has_ended: bool,
}

impl Driver {
    /// Waits for `work`, which waits for this connection.
    async fn beside<F: Future>(&mut self, work: F) -> F::Output {
        let mut work = pin!(work);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            self.poll(cx);
            work.as_mut().poll(cx)
        })
        .await
    }

    fn poll(&mut self, cx: &mut Context<'_>) {
        // Its error is also that of the answer under way.
        if !self.has_ended && self.inner.as_mut().poll(cx).is_ready() {
            self.has_ended = true;
        }
    }
}

/// What was read of one answer before its head was whole.
#[derive(Debug, Default)]
struct Meter(Mutex<Option<Progress>>);

#[derive(Debug)]
struct Progress {
    watch: Stopwatch,
    bytes: usize,
    /// When the first byte came, in seconds.
    first: Option<f64>,
}

impl Meter {
    fn begin(&self) {
        *self.lock() = Some(Progress { watch: Stopwatch::start(), bytes: 0, first: None });
    }

    /// When the first byte came and how long all took, in seconds; whether there was none.
    fn end(&self) -> (Option<f64>, f64, bool) {
        self.lock().take().map_or((None, 0.0, true), |p| (p.first, p.watch.seconds(), p.bytes == 0))
    }

    /// Whether a head that is not whole yet may go on.
    fn allows_more(&self) -> bool {
        self.lock().as_ref().is_none_or(|p| p.bytes <= MAX_HEADERS)
    }

    fn note(&self, bytes: usize) {
        if let Some(progress) = self.lock().as_mut().filter(|_| bytes > 0) {
            progress.bytes += bytes;
            if progress.first.is_none() {
                progress.first = Some(progress.watch.seconds());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Progress>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The head of an answer that does not end.
#[derive(Debug, thiserror::Error)]
#[error("the headers hold more than {MAX_HEADERS} bytes")]
pub(super) struct HeadTooLong;

/// A stream that is measured while the head of an answer is awaited.
struct Metered {
    stream: Stream,
    meter: Arc<Meter>,
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.meter.allows_more() {
            return Poll::Ready(Err(io::Error::other(HeadTooLong)));
        }
        let before = buf.filled().len();
        let read = match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Stream::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        };
        self.meter.note(buf.filled().len() - before);
        read
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Stream::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
