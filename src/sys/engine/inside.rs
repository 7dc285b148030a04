//! Programs that are run inside of containers: the only thing that is ever asked for by `POST`.
//!
//! Enters: a container and an [`Inside`], or, where the [proxy](super::PROXY) is in between, the name under which it knows
//! the program itself. Leaves: an [`Answer`], as of a program of the host.
//!
//! No engine ends such a program: what is over its time runs on. It stays in [`Left`], and as long as it runs no other
//! is begun.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::call::Call;
use super::frame::{Broken, Frames};
use super::told::MAX_ERROR;
use super::{Container, Engine, Id, MAX_INSPECTED, State, Stream, told};
use crate::base::secret::ExposeSecret;
use crate::base::{Failure, Secret, Span};
use crate::sys::ask::{Answer, FLOOD, TAIL};
use crate::sys::clock::pause;
use crate::sys::process::Exit;

/// How long is waited between two questions whether a program whose output ended has ended too.
const AGAIN: Span = Span::millis(20);

/// How much longer than the program itself its answer may take on the way through the proxy.
const WAY: Span = Span::secs(2);

/// What to run inside of a container.
#[derive(Clone, Debug)]
pub struct Inside {
    /// Program and arguments; no shell is between.
    pub argv: Vec<String>,
    /// As whom, a name or numbers of the container's own; as its image says where none is given.
    pub user: Option<String>,
    /// Variables beside those of the container.
    pub env: Vec<(String, Secret)>,
    /// The working folder in the container; as its image says where none is given.
    pub dir: Option<PathBuf>,
}

/// Within which bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// After this nobody waits for it any more.
    pub timeout: Span,
    /// How many bytes of standard output are kept.
    pub max_output: usize,
}

/// A program of before that may still run.
#[derive(Debug, Default)]
pub struct Left(Option<String>);

/// What the proxy answers when it ran a program, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ran {
    /// The exit code; none where the program was over its time.
    exit: Option<i32>,
    stdout: String,
    /// How many bytes of standard output are left out.
    n_cut: u64,
    stderr: String,
    is_stderr_cut: bool,
    is_flood: bool,
}

/// What the proxy answers when it could not, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct NotRun {
    /// One of [`REASONS`].
    pub reason: String,
    /// The reason for people.
    pub message: String,
}

/// Why a program could not be run, in a word; beside those of the [engine](super).
pub const REASONS: [&str; 14] = [
    "missing",
    "not-found",
    "busy",
    "secret",
    "start",
    "permission",
    "refused",
    "timeout",
    "broken",
    "protocol",
    "too-large",
    "version",
    "status",
    "undeclared",
];

impl Ran {
    /// As it is sent. Bytes that are no text are replaced.
    pub fn new(answer: &Answer) -> Ran {
        Ran {
            exit: match answer.exit {
                Exit::Code(code) => Some(code),
                Exit::Signal(signal) => Some(128 + signal),
                Exit::Timeout | Exit::NotStarted(_) => None,
            },
            stdout: String::from_utf8_lossy(&answer.stdout).into_owned(),
            n_cut: answer.bytes.saturating_sub(answer.stdout.len() as u64),
            stderr: String::from_utf8_lossy(&answer.stderr).into_owned(),
            is_stderr_cut: answer.is_stderr_cut,
            is_flood: answer.is_flood,
        }
    }

    fn answer(self) -> Answer {
        let stdout = self.stdout.into_bytes();
        Answer {
            exit: self.exit.map_or(Exit::Timeout, Exit::Code),
            bytes: self.n_cut.saturating_add(stdout.len() as u64),
            stdout,
            stderr: self.stderr.into_bytes(),
            is_stderr_cut: self.is_stderr_cut,
            is_flood: self.is_flood,
        }
    }
}

impl Engine {
    /// The container of this service of compose that runs; where there are several, the one with the lowest number. Those
    /// that were made for one command are never meant.
    ///
    /// # Errors
    /// Reason `missing` when none runs; those of [`Engine::list`].
    pub async fn of_service(&self, project: &str, service: &str) -> Result<Container, Failure> {
        let (mut found, mut n_ended) = (None::<Container>, 0);
        let n_unread = self.list(|container| {
            let is_meant = container.service.as_ref().is_some_and(|(p, s)| p == project && s == service);
            if !is_meant || container.is_one_off {
                return;
            }
            if !container.is_running {
                n_ended += 1;
                return;
            }
            // One that stands still is taken only where no other is there.
            let rank =
                |c: &Container| (c.state != State::Running, c.number.unwrap_or(u32::MAX), c.created, c.id.clone());
            if found.as_ref().is_none_or(|other| rank(&container) < rank(other)) {
                found = Some(container);
            }
        });
        let n_unread = n_unread.await?;
        found.ok_or_else(|| {
            let more = match (n_ended, n_unread) {
                (0, 0) => "there is none; start it, or correct `inside`".into(),
                (0, unread) => format!("{unread} containers could not be read"),
                (ended, _) => format!("{ended} have ended; `docker logs` says why"),
            };
            Failure::new("missing", format!("no container of {project}/{service} runs: {more}"))
        })
    }

    /// Runs a program inside of a container. Dropping the future leaves the program alone, as being late does.
    ///
    /// # Errors
    /// Reason `busy` while the one in `left` runs; `missing` when the container does not run; `not-found` or `permission`
    /// when the program could not be begun; those of the [engine](super).
    pub async fn run(&self, id: &Id, inside: &Inside, bounds: Bounds, left: &mut Left) -> Result<Answer, Failure> {
        let mut said = Said::new(bounds.max_output);
        let running = self.run_to_end(id, inside, &mut said, left);
        match tokio::time::timeout(bounds.timeout.to_std(), running).await {
            Ok(ended) => Ok(said.answer(ended?)),
            Err(_) if left.0.is_some() => Ok(said.answer(Exit::Timeout)),
            Err(_) => {
                let detail = format!("{} did not begin it within {}", self.address(), bounds.timeout);
                Err(Failure::new("timeout", detail))
            }
        }
    }

    /// Has the proxy run what the configuration on its side declares under this name of a `[command.NAME]`.
    ///
    /// # Errors
    /// As [`Engine::run`]; reason `undeclared` where it declares none of this name.
    pub async fn run_declared(&self, name: &str, bounds: Bounds) -> Result<Answer, Failure> {
        // A control character takes six bytes in JSON.
        let max = bounds.max_output.saturating_add(TAIL).saturating_mul(6).saturating_add(4 << 10);
        let name: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
        let asking = async {
            let mut call = Call::post(&self.address(), &format!("/backstop/inside/{name}"), Vec::new()).await?;
            let status = call.status().await?;
            Ok::<_, Failure>((status, call.whole(max).await?))
        };
        let late = || Failure::new("timeout", format!("{} does not answer in time", self.address()));
        let limit = bounds.timeout + WAY;
        let (status, body) = tokio::time::timeout(limit.to_std(), asking).await.map_err(|_| late())??;
        if status == 200 {
            let ran = serde_json::from_slice::<Ran>(&body);
            return ran.map(Ran::answer).map_err(|_| self.odd(told::Odd));
        }
        let failure = match serde_json::from_slice::<NotRun>(&body) {
            Ok(NotRun { reason, message }) => {
                REASONS.into_iter().find(|known| *known == reason).map(|known| Failure::new(known, message))
            }
            Err(_) => None,
        };
        let other = || Failure::new("status", format!("{} answers {status}: {}", self.address(), told::message(&body)));
        Err(failure.unwrap_or_else(other))
    }

    async fn run_to_end(&self, id: &Id, inside: &Inside, said: &mut Said, left: &mut Left) -> Result<Exit, Failure> {
        if let Some(before) = &left.0
            && self.looked_at(before).await?.is_some_and(|seen| seen.running)
        {
            let detail = "the program of before still runs inside of the container, where nothing here can end it: \
                          give it a time limit of its own, or restart the container";
            return Err(Failure::new("busy", detail));
        }
        left.0 = None;
        let run = self.made(id, inside).await?;
        left.0 = Some(run.clone());
        let start = serde_json::json!({ "Detach": false, "Tty": false }).to_string();
        let path = self.path(&format!("/exec/{run}/start"));
        let mut call = Call::post(&self.address(), &path, start.into_bytes()).await?;
        match call.status().await? {
            200 => {}
            status => return Err(self.not_begun(status, call).await),
        }
        let mut frames = Frames::default();
        while let Some(piece) = call.piece().await? {
            frames
                .feed(&piece, |part| {
                    said.take(part.stream, part.bytes);
                    Ok::<(), Broken>(())
                })
                .map_err(|odd| Failure::new("protocol", format!("{}: {odd}", self.address())))?;
            if said.is_flood() {
                return Ok(Exit::Timeout);
            }
        }
        loop {
            match self.looked_at(&run).await? {
                Some(Seen { running: true, .. }) => pause(AGAIN).await,
                Some(Seen { exit_code: Some(code), pid, .. }) => {
                    left.0 = None;
                    return if pid == Some(0) && matches!(code, 126 | 127) {
                        Err(said.why_not_begun())
                    } else {
                        Ok(Exit::Code(code))
                    };
                }
                _ => {
                    left.0 = None;
                    let detail = "the container ended while the program ran inside of it";
                    return Err(Failure::new("missing", detail));
                }
            }
        }
    }

    /// Prepares a run; leaves its id.
    async fn made(&self, id: &Id, inside: &Inside) -> Result<String, Failure> {
        #[derive(Deserialize)]
        struct Made {
            #[serde(rename = "Id")]
            id: String,
        }
        let env: Vec<String> =
            inside.env.iter().map(|(name, value)| format!("{name}={}", value.expose_secret())).collect();
        let mut body = serde_json::json!({
            "AttachStdout": true,
            "AttachStderr": true,
            "Cmd": inside.argv,
            "Env": env,
        });
        body["User"] = inside.user.clone().into();
        body["WorkingDir"] = inside.dir.as_ref().map(|dir| dir.to_string_lossy().into_owned()).into();
        if let Some(body) = body.as_object_mut() {
            body.retain(|_, value| !value.is_null());
        }
        let path = self.path(&format!("/containers/{id}/exec"));
        let mut call = Call::post(&self.address(), &path, body.to_string().into_bytes()).await?;
        match call.status().await? {
            201 => {}
            status => return Err(self.not_begun(status, call).await),
        }
        let made: Made = serde_json::from_slice(&call.whole(MAX_INSPECTED).await?).map_err(|_| self.odd(told::Odd))?;
        // It goes into paths.
        let is_id = (12..=128).contains(&made.id.len()) && made.id.bytes().all(|b| b.is_ascii_hexdigit());
        is_id.then_some(made.id).ok_or_else(|| self.odd(told::Odd))
    }

    /// What is known of a run; nothing where there is none any more.
    async fn looked_at(&self, run: &str) -> Result<Option<Seen>, Failure> {
        let Some(body) = self.described(&format!("/exec/{run}/json")).await? else { return Ok(None) };
        serde_json::from_slice(&body).map(Some).map_err(|_| self.odd(told::Odd))
    }

    async fn not_begun(&self, status: u16, mut call: Call) -> Failure {
        let said = told::message(&call.whole(super::MAX_MESSAGE).await.unwrap_or_default());
        match status {
            // No such container, or one that does not run, or is paused.
            404 | 409 => Failure::new("missing", format!("it cannot be run in the container: {said}")),
            _ if said.contains("OCI runtime") => why_not(&said),
            _ => Failure::new("status", format!("{} answers {status}: {said}", self.address())),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Seen {
    running: bool,
    #[serde(default)]
    exit_code: Option<i32>,
    #[serde(default)]
    pid: Option<i64>,
}

/// What a program printed, as far as it is kept.
struct Said {
    max: usize,
    stdout: Vec<u8>,
    n_out: u64,
    stderr: Vec<u8>,
    n_err: u64,
}

impl Said {
    fn new(max: usize) -> Said {
        Said { max, stdout: Vec::new(), n_out: 0, stderr: Vec::new(), n_err: 0 }
    }

    fn take(&mut self, stream: Stream, bytes: &[u8]) {
        match stream {
            Stream::Out => {
                // What a runtime says is read whole.
                let room = self.max.max(MAX_ERROR) - self.stdout.len();
                self.stdout.extend_from_slice(&bytes[..bytes.len().min(room)]);
                self.n_out += bytes.len() as u64;
            }
            Stream::Err => {
                let new = &bytes[bytes.len().saturating_sub(TAIL)..];
                let n_old = (self.stderr.len() + new.len()).saturating_sub(TAIL);
                self.stderr.drain(..n_old);
                self.stderr.extend_from_slice(new);
                self.n_err += bytes.len() as u64;
            }
        }
    }

    fn is_flood(&self) -> bool {
        self.n_out > self.max as u64 + FLOOD || self.n_err > FLOOD
    }

    fn why_not_begun(&self) -> Failure {
        why_not(&told::message_of(&self.stdout))
    }

    fn answer(mut self, exit: Exit) -> Answer {
        self.stdout.truncate(self.max);
        Answer {
            exit,
            bytes: self.n_out,
            is_stderr_cut: self.n_err > self.stderr.len() as u64,
            is_flood: self.is_flood(),
            stdout: self.stdout,
            stderr: self.stderr,
        }
    }
}

/// What the runtime says of a program that it could not begin.
fn why_not(said: &str) -> Failure {
    let reason = if said.contains("permission denied") { "permission" } else { "not-found" };
    Failure::new(reason, format!("it cannot be run in the container: {said}"))
}
