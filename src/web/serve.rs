//! Listeners with bounds: at most 32 connections, none of them idle for longer than 15 s, and on the Unix socket
//! the caller's user as the kernel knows it.
//!
//! Enters: a bound TCP listener, or the path of a socket. Leaves: requests for a [`Router`], those of the Unix
//! socket with a [`Caller`]. A stale socket file is removed only after nobody answered there.

use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::base::Span;
use crate::sys::clock::pause;

/// How many connections a listener serves at once; further ones wait in the kernel's queue.
pub const MAX_CONNECTIONS: usize = 32;

/// How long a connection may stay silent.
const IDLE: Span = Span::secs(15);

/// The longest path of a Unix socket, in bytes, that every Linux takes.
const MAX_SOCKET_PATH: usize = 107;

/// Who calls on the Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user id of the process, from the kernel.
    pub uid: u32,
}

/// Why the control socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The path is too long for a socket.
    #[error(
        "{path}: a socket's path has at most {MAX_SOCKET_PATH} bytes, this has {bytes}; set [agent] socket to a shorter one"
    )]
    TooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        bytes: usize,
    },
    /// Another agent answers there.
    #[error("another agent answers at {path}")]
    Answered {
        /// The path.
        path: PathBuf,
    },
    /// Something else has this name.
    #[error("{path} exists and is no socket; it was left alone")]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("open the control socket {path}: {error}")]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// Serves `router` on a listener of TCP until `stop`.
pub async fn serve_tcp(listener: TcpListener, router: Router, stop: CancellationToken) {
    let listener = Bounded::new(TcpGate(listener));
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "The HTTP listener ended; metrics and health are not served any more.");
    }
}

/// Opens the control socket and serves `router` there until `stop`; the file is removed at the end.
///
/// # Errors
/// When the socket cannot be opened.
pub async fn serve_unix(path: PathBuf, router: Router, stop: CancellationToken) -> Result<(), BindError> {
    let listener = bind_unix(&path).await?;
    serve_bound(listener, path, router, stop).await;
    Ok(())
}

/// Opens the control socket with mode 0660. A stale file is removed, if nobody answers there.
///
/// # Errors
/// When the path is too long, is no socket, is answered by another agent, or the system refuses.
pub async fn bind_unix(path: &Path) -> Result<UnixListener, BindError> {
    let failed = |error| BindError::Io { path: path.to_path_buf(), error };
    let bytes = path.as_os_str().len();
    if bytes > MAX_SOCKET_PATH {
        return Err(BindError::TooLong { path: path.to_path_buf(), bytes });
    }
    remove_stale(path).await?;
    let listener = UnixListener::bind(path).map_err(failed)?;
    // Between the two calls the file may be too open; what a caller may do rests on its user, not on this mode.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(failed)?;
    Ok(listener)
}

/// Serves `router` on the opened control socket until `stop`, and removes its file.
pub async fn serve_bound(listener: UnixListener, path: PathBuf, router: Router, stop: CancellationToken) {
    let service = router.into_make_service_with_connect_info::<Caller>();
    let listener = Bounded::new(UnixGate(listener));
    let served = axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "The control socket ended; the command line cannot reach this agent any more.");
    }
    drop(std::fs::remove_file(&path));
}

async fn remove_stale(path: &Path) -> Result<(), BindError> {
    let failed = |error| BindError::Io { path: path.to_path_buf(), error };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(BindError::NotASocket { path: path.to_path_buf() });
        }
        Ok(_) => {}
    }
    match tokio::time::timeout(Duration::from_secs(2), UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed)
        }
        Ok(Err(error)) => Err(failed(error)),
        // A full queue (no answer in time) is somebody, too.
        Ok(Ok(_)) | Err(_) => Err(BindError::Answered { path: path.to_path_buf() }),
    }
}

/// Where connections come from, less the bounds.
trait Accept: Send + 'static {
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    type Addr: Clone + Send + Sync + 'static;
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Io, Self::Addr)>> + Send;
    fn local(&self) -> io::Result<Self::Addr>;
}

struct TcpGate(TcpListener);

impl Accept for TcpGate {
    type Io = TcpStream;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> io::Result<(TcpStream, std::net::SocketAddr)> {
        self.0.accept().await
    }

    fn local(&self) -> io::Result<std::net::SocketAddr> {
        self.0.local_addr()
    }
}

struct UnixGate(UnixListener);

impl Accept for UnixGate {
    type Io = UnixStream;
    type Addr = Caller;

    async fn accept(&mut self) -> io::Result<(UnixStream, Caller)> {
        let (stream, _) = self.0.accept().await?;
        let uid = stream.peer_cred()?.uid();
        Ok((stream, Caller { uid }))
    }

    fn local(&self) -> io::Result<Caller> {
        Ok(Caller { uid: rustix::process::geteuid().as_raw() })
    }
}

/// A listener that takes the next connection only when it has room.
struct Bounded<L> {
    inner: L,
    room: Arc<Semaphore>,
}

impl<L> Bounded<L> {
    fn new(inner: L) -> Bounded<L> {
        Bounded { inner, room: Arc::new(Semaphore::new(MAX_CONNECTIONS)) }
    }
}

impl<L: Accept> Listener for Bounded<L> {
    type Io = Connection<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let permit = self.room.clone().acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match self.inner.accept().await {
                Ok((io, address)) => return (Connection::new(io, permit), address),
                Err(error) => {
                    tracing::debug!(%error, "A connection could not be accepted.");
                    pause(Span::millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.inner.local()
    }
}

impl Connected<IncomingStream<'_, Bounded<UnixGate>>> for Caller {
    fn connect_info(stream: IncomingStream<'_, Bounded<UnixGate>>) -> Caller {
        *stream.remote_addr()
    }
}

/// A connection that holds its place among the 32, and ends when it was silent for too long.
struct Connection<T> {
    io: T,
    idle: Pin<Box<dyn Future<Output = ()> + Send>>,
    _place: OwnedSemaphorePermit,
}

impl<T> Connection<T> {
    fn new(io: T, place: OwnedSemaphorePermit) -> Connection<T> {
        Connection { io, idle: Box::pin(pause(IDLE)), _place: place }
    }

    /// Counts progress, or gives up after too long without any.
    fn watch<R>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if polled.is_ready() {
            self.idle = Box::pin(pause(IDLE));
            return polled;
        }
        match self.idle.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Connection<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        self.watch(cx, polled)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Connection<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watch(cx, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.watch(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("backstop-serve-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[tokio::test]
    async fn a_stale_socket_gives_way_and_a_living_one_or_a_file_does_not() {
        let folder = folder("stale");
        let path = folder.join("control.sock");
        let first = bind_unix(&path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(matches!(bind_unix(&path).await, Err(BindError::Answered { .. })));
        drop(first);
        drop(bind_unix(&path).await.expect("a socket nobody listens on is replaced"));
        let plain = folder.join("precious");
        assert!(std::os::unix::fs::symlink("/nowhere", &plain).is_ok());
        assert!(matches!(bind_unix(&plain).await, Err(BindError::NotASocket { .. })));
        assert!(std::fs::symlink_metadata(&plain).is_ok());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn a_path_that_is_too_long_says_so() {
        let path = PathBuf::from(format!("/tmp/{}", "x".repeat(120)));
        let error = bind_unix(&path).await.unwrap_err().to_string();
        assert!(error.contains("at most 107 bytes, this has 125"), "{error}");
    }
}
