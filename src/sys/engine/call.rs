//! One question to an engine: `GET` out (`POST` for what runs inside of containers), a status and a body in pieces back.
//!
//! Each question has a connection of its own. It is asked in HTTP/1.0, whose answers are not cut into chunks: an engine
//! makes a chunk of every line of a log, and what is read at once here would come line by line. The price is that an
//! answer that broke off looks like one that ended; whoever reads it knows by its form whether it is whole, or asks in
//! HTTP/1.1 ([`Call::ask_whole`]).
//!
//! Nothing runs in the background, and nothing is read that nobody waits for: what a writer has ahead stays with the
//! engine.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::Address;
use crate::base::{Failure, Span};

/// How much is read at once, in bytes; also the most that the head of an answer may hold.
const READ: usize = 16 << 10;

/// How long a connection may take.
const CONNECT: Span = Span::secs(5);

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

type Connection = http1::Connection<TokioIo<Box<dyn Duplex>>, Full<Bytes>>;
type Answering = Pin<Box<dyn Future<Output = hyper::Result<http::Response<Incoming>>> + Send>>;

/// A question that was asked. All its waits can be given up and taken up again.
pub struct Call {
    connection: Option<Pin<Box<Connection>>>,
    state: State,
    status: u16,
    server: String,
    address: Address,
}

enum State {
    Asked(Answering),
    Answering(Incoming),
    Over,
}

impl Call {
    /// Asks for `path` at `address`.
    ///
    /// # Errors
    /// When nobody takes the connection.
    pub async fn ask(address: &Address, path: &str) -> Result<Call, Failure> {
        Call::ask_in(http::Version::HTTP_10, address, get(path)).await
    }

    /// The same, where an answer that broke off must not pass for a whole one and its form does not tell: it comes in
    /// chunks, the last of which says so.
    ///
    /// # Errors
    /// When nobody takes the connection.
    pub async fn ask_whole(address: &Address, path: &str) -> Result<Call, Failure> {
        Call::ask_in(http::Version::HTTP_11, address, get(path)).await
    }

    /// Has something done, said in JSON.
    pub(super) async fn post(address: &Address, path: &str, body: Vec<u8>) -> Result<Call, Failure> {
        let request = http::Request::post(path).header("content-type", "application/json");
        Call::ask_in(http::Version::HTTP_10, address, request.body(Full::from(body))).await
    }

    async fn ask_in(
        version: http::Version,
        address: &Address,
        request: http::Result<http::Request<Full<Bytes>>>,
    ) -> Result<Call, Failure> {
        let mut request = request.map_err(|error| Failure::new("protocol", error.to_string()))?;
        *request.version_mut() = version;
        request.headers_mut().insert(http::header::HOST, http::HeaderValue::from_static("engine"));
        let connecting = async {
            Ok::<Box<dyn Duplex>, std::io::Error>(match address {
                Address::Socket(path) => Box::new(UnixStream::connect(path).await?),
                Address::Port(port) => Box::new(TcpStream::connect(port).await?),
            })
        };
        let stream = match tokio::time::timeout(CONNECT.to_std(), connecting).await {
            Ok(connected) => connected.map_err(|error| address.refusal(&error))?,
            Err(_) => return Err(Failure::new("timeout", format!("{address} takes no connection within {CONNECT}"))),
        };
        let handshake = http1::Builder::new().read_buf_exact_size(Some(READ)).handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(|error| broken(address, &error))?;
        let answering = Box::pin(async move { sender.send_request(request).await });
        let state = State::Asked(answering);
        Ok(Call {
            connection: Some(Box::pin(connection)),
            state,
            status: 0,
            server: String::new(),
            address: address.clone(),
        })
    }

    /// The status of the answer; waits for it as long as it takes.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn status(&mut self) -> Result<u16, Failure> {
        std::future::poll_fn(|cx| self.poll_head(cx)).await?;
        Ok(self.status)
    }

    /// What the answer says of who answers; empty before its status is there.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The next piece of the body; nothing at its end.
    ///
    /// # Errors
    /// When there is no answer, or it breaks off and says so.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, Failure> {
        std::future::poll_fn(|cx| self.poll_piece(cx)).await
    }

    /// The whole body, of at most `max` bytes.
    ///
    /// # Errors
    /// As [`Call::piece`]; and reason `too-large`.
    pub async fn whole(&mut self, max: usize) -> Result<Vec<u8>, Failure> {
        let mut whole = Vec::new();
        while let Some(piece) = self.piece().await? {
            if whole.len() + piece.len() > max {
                return Err(Failure::new("too-large", format!("{} answers more than {max} bytes", self.address)));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let State::Asked(answering) = &mut self.state else { return Poll::Ready(Ok(())) };
        let mut answered = answering.as_mut().poll(cx);
        if answered.is_pending() {
            drive(&mut self.connection, cx);
            answered = answering.as_mut().poll(cx);
        }
        match ready!(answered) {
            Ok(answer) => {
                self.status = answer.status().as_u16();
                let server = answer.headers().get(http::header::SERVER);
                self.server = server.and_then(|server| server.to_str().ok()).unwrap_or_default().to_string();
                self.state = State::Answering(answer.into_body());
                Poll::Ready(Ok(()))
            }
            Err(error) => {
                self.state = State::Over;
                Poll::Ready(Err(broken(&self.address, &error)))
            }
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failure>> {
        ready!(self.poll_head(cx))?;
        loop {
            let State::Answering(body) = &mut self.state else { return Poll::Ready(Ok(None)) };
            let mut frame = Pin::new(&mut *body).poll_frame(cx);
            if frame.is_pending() {
                drive(&mut self.connection, cx);
                frame = Pin::new(body).poll_frame(cx);
            }
            match ready!(frame) {
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        return Poll::Ready(Ok(Some(piece)));
                    }
                }
                Some(Err(error)) => {
                    self.state = State::Over;
                    return Poll::Ready(Err(broken(&self.address, &error)));
                }
                None => self.state = State::Over,
            }
        }
    }
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("address", &self.address).finish_non_exhaustive()
    }
}

fn get(path: &str) -> http::Result<http::Request<Full<Bytes>>> {
    http::Request::get(path).body(Full::default())
}

/// Reads and writes. The error of a connection is also that of its answer.
fn drive(connection: &mut Option<Pin<Box<Connection>>>, cx: &mut Context<'_>) {
    if connection.as_mut().is_some_and(|connection| connection.as_mut().poll(cx).is_ready()) {
        *connection = None;
    }
}

/// What the library says, as one word and one line: the last error of the chain says what happened.
fn broken(address: &Address, error: &hyper::Error) -> Failure {
    if error.is_parse_too_large() {
        return Failure::new("too-large", format!("{address} answers with a head of more than {READ} bytes"));
    }
    if error.is_parse() {
        return Failure::new("protocol", format!("what {address} answers is no HTTP"));
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return Failure::new("broken", format!("{address} broke the connection off"));
    }
    let innermost = std::iter::successors(Some(error as &dyn std::error::Error), |e| e.source()).last();
    let why = innermost.map(ToString::to_string).unwrap_or_default();
    Failure::new("broken", format!("{address} broke the connection off: {why}"))
}
