//! An answer on its way to a client: a head, then pieces, in chunks where the client knows them.

use tokio::io::AsyncWriteExt;
use tokio::net::unix::WriteHalf;

use crate::base::Span;
use crate::sys::engine::PROXY;

/// How long a client may leave an answer unread. A reader of a log may have better things to do for a while.
const STALLED: Span = Span::secs(600);

/// The same of an answer that is held in memory as a whole.
const STALLED_WHOLE: Span = Span::secs(20);

/// Where an answer goes.
#[derive(Debug)]
pub(super) struct Sink<'s> {
    stream: WriteHalf<'s>,
    /// Whether the client knows chunks, which tell an end from a break.
    has_chunks: bool,
}

/// The client is gone, or does not read.
#[derive(Debug)]
pub(super) struct Gone;

/// `{"message": …}` and a newline.
fn message(text: &str) -> String {
    format!("{}\n", serde_json::json!({ "message": text }))
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        408 => "Request Timeout",
        409 => "Conflict",
        431 => "Request Header Fields Too Large",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Error",
    }
}

fn head(status: u16, kind: &str, length: &str) -> String {
    let reason = reason(status);
    format!(
        "HTTP/1.1 {status} {reason}\r\nServer: {PROXY}\r\nContent-Type: {kind}\r\n{length}Connection: close\r\n\r\n"
    )
}

impl Sink<'_> {
    pub(super) fn new(stream: WriteHalf<'_>, has_chunks: bool) -> Sink<'_> {
        Sink { stream, has_chunks }
    }

    /// A whole answer.
    pub(super) async fn whole(&mut self, status: u16, kind: &str, body: &str) -> Result<(), Gone> {
        let head = head(status, kind, &format!("Content-Length: {}\r\n", body.len()));
        let writing = async {
            self.write(head.as_bytes()).await?;
            self.write(body.as_bytes()).await
        };
        tokio::time::timeout(STALLED_WHOLE.to_std(), writing).await.map_err(|_| Gone)??;
        self.close().await
    }

    /// A whole answer in JSON.
    pub(super) async fn json(&mut self, status: u16, json: &str) -> Result<(), Gone> {
        self.whole(status, "application/json", json).await
    }

    /// No, and why.
    pub(super) async fn refuse(&mut self, status: u16, why: &str) -> Result<(), Gone> {
        self.json(status, &message(why)).await
    }

    /// The head of an answer whose length nobody knows.
    pub(super) async fn begin(&mut self, kind: &str) -> Result<(), Gone> {
        let length = if self.has_chunks { "Transfer-Encoding: chunked\r\n" } else { "" };
        self.write(head(200, kind, length).as_bytes()).await
    }

    /// A piece of it.
    pub(super) async fn piece(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        if bytes.is_empty() {
            return Ok(());
        }
        if !self.has_chunks {
            return self.write(bytes).await;
        }
        let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        self.write(&chunk).await
    }

    /// Its end. Without it the answer broke off.
    pub(super) async fn end(&mut self) -> Result<(), Gone> {
        if self.has_chunks {
            self.write(b"0\r\n\r\n").await?;
        }
        self.close().await
    }

    async fn close(&mut self) -> Result<(), Gone> {
        self.stream.shutdown().await.map_err(|_| Gone)
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        match tokio::time::timeout(STALLED.to_std(), self.stream.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }
}
