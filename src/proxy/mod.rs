//! `backstop engine-proxy`: the container engine for those who may only read it.
//!
//! Whoever may open the socket of an engine is as good as root. This server stands in front of it: it takes a request apart, compares
//! it with a list of what passes, and builds a new one; of what the engine answers it lets through the fields that stand in a
//! list. Environments, command lines, mounts, what health checks print and what runs inside of containers are in none.
//!
//! Enters: requests on a socket in the file system, one for each connection. Leaves: requests to the engine, all of them `GET`,
//! but for the programs that root's configuration declares under `inside`: those are run by name, and nothing of a
//! request has a say in them. Everything is bounded, and nothing is kept between two requests.
//!
//! - `request`: bytes to a request · `allowed`: what passes · `rewrite`: fields of answers · `answer`: bytes of an answer ·
//!   `forward`: from the engine to the client · `declared`: what runs inside of containers · `places`: who may come in

pub mod allowed;
mod answer;
pub mod declared;
mod forward;
pub mod places;
pub mod request;
pub mod rewrite;

use std::os::unix::net::UnixListener;
use std::sync::Arc;

use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::net::unix::ReadHalf;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use self::allowed::Wanted;
use self::answer::Sink;
use self::declared::Runs;
pub use self::declared::{NotRead, Root};
use self::places::{MAX_CONNECTIONS, Place, Places};
use self::request::{MAX_HEAD, No};
use crate::base::Span;
use crate::sys::clock::pause;
use crate::sys::engine::Engine;
use crate::sys::tasks::Tasks;

/// How long the head of a request may take.
const HEAD: Span = Span::secs(5);

/// How many that find no place are told so at once.
const REFUSALS: usize = 16;

/// How long, and how much, is taken of a client that was refused, in bytes.
const LINGER: Span = Span::secs(1);
const MAX_DISCARDED: usize = 64 << 10;

/// The proxy.
#[derive(Debug)]
pub struct Proxy {
    engine: Engine,
    places: Places,
    refusals: Arc<Semaphore>,
    runs: Runs,
}

impl Proxy {
    /// A proxy for this engine, with nothing that runs inside of containers yet.
    pub fn new(engine: Engine) -> Proxy {
        let (places, refusals) = (Places::new(MAX_CONNECTIONS), Arc::new(Semaphore::new(REFUSALS)));
        Proxy { runs: Runs::new(engine.clone()), engine, places, refusals }
    }

    /// With so many connections at once; for tests of the bound.
    #[must_use]
    pub fn with_connections(self, most: usize) -> Proxy {
        Proxy { places: Places::new(most), ..self }
    }

    /// What runs inside of containers.
    pub fn runs(&self) -> &Runs {
        &self.runs
    }

    /// Serves a listening socket until `stop`.
    ///
    /// # Errors
    /// When the socket cannot be used.
    pub async fn serve(self: Arc<Proxy>, listener: UnixListener, stop: CancellationToken) -> std::io::Result<()> {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::UnixListener::from_std(listener)?;
        let mut tasks = Tasks::new();
        loop {
            let stream = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            tasks.reap();
            let Ok((stream, _)) = stream else {
                // Most likely too many files are open; that passes.
                pause(Span::millis(100)).await;
                continue;
            };
            let Ok(peer) = stream.peer_cred() else { continue };
            match self.places.take(peer.uid()) {
                Some(place) => {
                    let proxy = self.clone();
                    tasks.spawn("proxy connection", async move { proxy.converse(stream, place).await });
                }
                // A few are told so; who floods is only hung up on.
                None => {
                    if let Ok(told) = self.refusals.clone().try_acquire_owned() {
                        tasks.spawn("proxy refusal", async move { refuse(stream, told).await });
                    }
                }
            }
        }
        // Whoever is still being answered sees the connection end.
        drop(tasks);
        Ok(())
    }

    /// One request and its answer.
    async fn converse(&self, mut stream: UnixStream, place: Place) {
        let read = match tokio::time::timeout(HEAD.to_std(), head(&mut stream)).await {
            Ok(Some(read)) => read,
            Ok(None) => return,
            Err(_) => Err(No { status: 408, what: "the head of a request comes within 5 s" }),
        };
        let asked = read.and_then(|bytes| request::head(&bytes));
        let is_old = asked.as_ref().is_ok_and(|head| head.is_old);
        let wanted = asked.and_then(|head| allowed::wanted(&head));
        let (mut reader, writer) = stream.split();
        let mut sink = Sink::new(writer, !is_old);
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err(no) => {
                drop(sink.refuse(no.status, no.what).await);
                // What is still to come is taken: a socket that is closed over it takes the answer along.
                drop(tokio::time::timeout(LINGER.to_std(), discard(&mut reader)).await);
                return;
            }
        };
        // One that goes away, or says anything more, ends its request.
        let mut more = [0; 1];
        let gone = reader.read(&mut more);
        let answering = async {
            match wanted {
                Wanted::Inside(name) => self.runs.answer(&name, place.uid(), &mut sink).await,
                Wanted::Read(read) => forward::forward(&self.engine, &read, is_old, &mut sink).await,
            }
        };
        tokio::select! {
            _ = gone => {}
            ended = answering => drop(ended),
        }
    }
}

/// Tells one that finds no place.
async fn refuse(mut stream: UnixStream, _told: OwnedSemaphorePermit) {
    let (mut reader, writer) = stream.split();
    let telling = async {
        drop(Sink::new(writer, false).refuse(503, "too many connections are open here; close some").await);
        discard(&mut reader).await;
    };
    drop(tokio::time::timeout(LINGER.to_std(), telling).await);
}

async fn discard(reader: &mut ReadHalf<'_>) {
    let (mut buffer, mut left) = ([0; 1024], MAX_DISCARDED);
    while let Ok(n @ 1..) = reader.read(&mut buffer).await {
        left = left.saturating_sub(n);
        if left == 0 {
            return;
        }
    }
}

/// The head of a request; nothing where the client went away before it said one.
async fn head(stream: &mut UnixStream) -> Option<Result<Vec<u8>, No>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => bytes.extend_from_slice(&buffer[..n]),
        }
        if let Some(no) = request::flaw(&bytes) {
            return Some(Err(no));
        }
        if bytes.ends_with(b"\r\n\r\n") {
            return Some(Ok(bytes));
        }
        if bytes.len() > MAX_HEAD {
            return Some(Err(No { status: 431, what: "the head of a request has at most 8 KiB" }));
        }
    }
}
