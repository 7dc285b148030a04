//! The other end of the control socket, for the command line.
//!
//! Enters: the socket's path. Leaves: snapshots, replies. Every call ends within 10 s and reads at most 16 MiB;
//! a socket that nobody listens on is [`ClientError::NoAgent`], told apart from an agent that misbehaves.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::engine::command::{Command, Reply};
use crate::engine::snapshot::Snapshot;

/// How long a call may take; longer than the server's own bound, so that its reason arrives.
const DEADLINE: Duration = Duration::from_secs(12);

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 16 << 20;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("no agent answers at {socket} ({why})")]
    NoAgent {
        /// The socket.
        socket: PathBuf,
        /// What the system said, in two or three words.
        why: String,
    },
    /// This user may not connect.
    #[error("{socket}: this user may not talk to the agent; use sudo, or join the socket's group")]
    Forbidden {
        /// The socket.
        socket: PathBuf,
    },
    /// The agent took too long.
    #[error("the agent at {socket} did not answer in time")]
    Late {
        /// The socket.
        socket: PathBuf,
    },
    /// The agent answered with something else than expected.
    #[error("the agent at {socket}: {why}")]
    Answer {
        /// The socket.
        socket: PathBuf,
        /// What was wrong.
        why: String,
    },
}

/// A client of one agent.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    socket: PathBuf,
}

impl Client {
    /// A client for the agent at `socket`; connects with the first call.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new(socket: &Path) -> Result<Client, ClientError> {
        let http = reqwest::Client::builder()
            .unix_socket(socket)
            .timeout(DEADLINE)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| ClientError::Answer { socket: socket.into(), why: e.to_string() })?;
        Ok(Client { http, socket: socket.into() })
    }

    /// The socket this client talks to.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The agent's newest snapshot.
    ///
    /// # Errors
    /// When there is no agent, or no proper answer.
    pub async fn snapshot(&self) -> Result<Snapshot, ClientError> {
        let (status, body) = self.call(self.http.get("http://backstop/api/status")).await?;
        self.parsed(status, &body)
    }

    /// Sends a command; its answer comes when it is durable.
    ///
    /// # Errors
    /// When there is no agent, or no proper answer. A refusal is a reply, no error.
    pub async fn command(&self, command: &Command) -> Result<Reply, ClientError> {
        let body = serde_json::to_vec(command).map_err(|e| self.answer(e.to_string()))?;
        let request = self.http.post("http://backstop/api/command");
        let request = request.header(reqwest::header::CONTENT_TYPE, "application/json").body(body);
        let (status, body) = self.call(request).await?;
        self.parsed(status, &body)
    }

    /// Has the configuration read again: what happened, or why it was refused.
    ///
    /// # Errors
    /// When there is no agent, or no proper answer.
    pub async fn reload(&self) -> Result<Result<String, String>, ClientError> {
        let (status, body) = self.call(self.http.post("http://backstop/-/reload")).await?;
        let text = String::from_utf8_lossy(&body).trim().to_string();
        match status {
            200 => Ok(Ok(text)),
            403 | 422 => Ok(Err(text)),
            _ => Err(self.answer(text)),
        }
    }

    /// Asks the read API below `/api/v1/`: the status, and the JSON whatever it is, up to 64 MiB.
    ///
    /// # Errors
    /// When there is no agent, or no whole answer.
    pub async fn api(&self, path: &str, form: &[(&str, String)]) -> Result<(u16, Vec<u8>), ClientError> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self.http.post(format!("http://backstop/api/v1/{path}"));
        let request = request.header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(body);
        self.whole(request, super::query::json::MAX_ANSWER).await
    }

    fn parsed<T: DeserializeOwned>(&self, status: u16, body: &[u8]) -> Result<T, ClientError> {
        if status != 200 {
            let text: String = String::from_utf8_lossy(body).trim().chars().take(500).collect();
            return Err(self.answer(if text.is_empty() { format!("status {status}") } else { text }));
        }
        serde_json::from_slice(body).map_err(|e| self.answer(format!("an answer of another version? {e}")))
    }

    async fn call(&self, request: reqwest::RequestBuilder) -> Result<(u16, Vec<u8>), ClientError> {
        self.whole(request, MAX_ANSWER).await
    }

    async fn whole(&self, request: reqwest::RequestBuilder, max: usize) -> Result<(u16, Vec<u8>), ClientError> {
        let mut response = request.send().await.map_err(|e| self.failed(&e))?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.failed(&e))? {
            // A row may pass the server's own bound by its own length.
            if body.len() + chunk.len() > max + (1 << 20) {
                return Err(self.answer(format!("the answer is over {} MiB", max >> 20)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((status, body))
    }

    fn answer(&self, why: String) -> ClientError {
        ClientError::Answer { socket: self.socket.clone(), why }
    }

    /// Tells the ways of failing apart by what the system said at the bottom of the chain.
    fn failed(&self, error: &reqwest::Error) -> ClientError {
        let socket = self.socket.clone();
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        let (mut io, mut last) = (None, error.to_string());
        while let Some(e) = cause {
            io = e.downcast_ref::<std::io::Error>().map(std::io::Error::kind).or(io);
            last = e.to_string();
            cause = e.source();
        }
        match io {
            Some(std::io::ErrorKind::NotFound) => ClientError::NoAgent { socket, why: "no such file".into() },
            Some(std::io::ErrorKind::ConnectionRefused) => {
                ClientError::NoAgent { socket, why: "nobody listens there".into() }
            }
            Some(std::io::ErrorKind::PermissionDenied) => ClientError::Forbidden { socket },
            _ if error.is_timeout() => ClientError::Late { socket },
            _ if error.is_connect() => ClientError::NoAgent { socket, why: last },
            _ => ClientError::Answer { socket, why: last },
        }
    }
}
