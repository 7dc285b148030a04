//! The composition root: puts configuration, journal, engine, sources, channels and web together, and runs the loop.
//!
//! `run`, `demo` and `test-alert` all come through [`start`]; there is no second way to make an agent.

mod collect;
mod executions;
mod history;
mod keeper;
mod remotes;
mod scribe;
mod shell;
mod version;
pub mod wire;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::base::{Span, chain};
use crate::engine::Engine;
use crate::sys::clock::Clock;
use crate::sys::files::{self, Lock};
use crate::sys::journal::Journal;
use crate::sys::tasks::Tasks;
use crate::web::{self, Gate};
use keeper::Keeper;
use scribe::Scribe;

/// How many inputs wait for the loop at most; past it sources and senders wait, and nothing is lost.
const INPUTS: usize = 256;

/// How many requests of people and pipelines wait at most.
const REQUESTS: usize = 32;

/// How long everything has to end after the stop signal.
const GRACE: Span = Span::secs(5);

/// What an agent is started with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The configuration; looked for in the usual places where unset.
    pub config_path: Option<PathBuf>,
    /// The state folder; from the configuration or the usual place where unset.
    pub state: Option<PathBuf>,
    /// `--set name=value`.
    pub sets: Vec<(String, String)>,
    /// Looks at nothing: only messages go out.
    pub without_sources: bool,
    /// No listener, no socket, no signals: the caller is the only one who talks to it.
    pub in_process: bool,
}

/// Why an agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration has mistakes; the text names all of them.
    #[error("{0}")]
    Config(String),
    /// The state folder cannot be used.
    #[error(
        "the state folder {folder} cannot be used: {why}\nit must be a folder that this user may write; another one: --state DIR"
    )]
    State {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        why: String,
    },
    /// Another agent runs on the same state.
    #[error("another agent (process {pid}) runs on {folder}\nask it: backstop status --state {folder}", folder = .folder.display())]
    Second {
        /// The folder.
        folder: PathBuf,
        /// Its process.
        pid: String,
    },
    /// The journal cannot be used.
    #[error("{0}")]
    Journal(String),
    /// An address cannot be listened on.
    #[error(
        "cannot listen on {address}: {why}\nanother process has it, or it is not this host's; choose another: [web] listen = \"127.0.0.1:PORT\""
    )]
    Listen {
        /// The address.
        address: String,
        /// Why not.
        why: String,
    },
    /// The control socket cannot be made.
    #[error("cannot make the control socket: {0}")]
    Socket(String),
    /// Signals or the clock cannot be used.
    #[error("cannot start: {0}")]
    System(String),
}

impl StartError {
    /// The exit code: 2 for a configuration, which no further try would mend; 3 for what a later try may find better
    /// (a disk that is full now, an address that is taken, another agent). The unit tries again after 3 and not after 2.
    pub fn exit_code(&self) -> u8 {
        match self {
            StartError::Config(_) => 2,
            _ => 3,
        }
    }
}

/// An agent that runs.
#[derive(Debug)]
pub struct Running {
    /// The way into its loop.
    pub gate: Gate,
    /// Its state folder.
    pub state: PathBuf,
    /// The configuration it runs, as people call it.
    pub config: String,
    /// Where it listens for everybody, if it does.
    pub listen: Option<std::net::SocketAddr>,
    /// The control socket, if there is one.
    pub socket: Option<PathBuf>,
    stop: CancellationToken,
    tasks: Tasks,
    lock: Lock,
}

impl Running {
    /// Ends it, within five seconds.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.finish(GRACE).await;
        drop(self.lock);
    }

    /// Runs until SIGTERM or SIGINT, then ends it.
    ///
    /// # Errors
    /// When signals cannot be listened for.
    pub async fn wait(self) -> Result<(), StartError> {
        use tokio::signal::unix::{SignalKind, signal};
        let system = |e: std::io::Error| StartError::System(e.to_string());
        let mut terminate = signal(SignalKind::terminate()).map_err(system)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = self.stop.cancelled() => {}
        }
        self.stop().await;
        Ok(())
    }
}

/// Starts an agent: everything that can be refused is refused here, before anything is watched.
///
/// # Errors
/// As [`StartError`] lists.
pub async fn start(options: Options) -> Result<Running, StartError> {
    let built = wire::build(&options).map_err(StartError::Config)?;
    let folder = built.state.clone();
    let refuse = |why: String| StartError::State { folder: folder.clone(), why };
    files::ensure_path(&folder, 0o750).map_err(|e| refuse(chain(&e)))?;
    let lock = take_lock(&folder)?;
    let (journal, recovered) = Journal::open(&folder).map_err(|e| StartError::Journal(chain(&e)))?;
    let state = scribe::recover(&recovered).map_err(|why| {
        StartError::Journal(format!("{why}\nkeep {} for us, and start with another --state", folder.display()))
    })?;
    let clock = Arc::new(Clock::new());
    let (inputs, taken) = mpsc::channel(INPUTS);
    let (requests, asked) = mpsc::channel(REQUESTS);
    let gate = Gate { requests };
    let stop = CancellationToken::new();
    let mut tasks = Tasks::new();
    let (listen, socket) =
        if options.in_process { (None, None) } else { open_doors(&built, &gate, &clock, &stop, &mut tasks).await? };
    let (hup, hangup) = mpsc::channel(1);
    if !options.in_process {
        listen_for_hangup(hup, &stop, &mut tasks)?;
    }
    let program = std::env::current_exe().map_err(|e| StartError::System(format!("where this program is: {e}")))?;
    let now = clock.now();
    let mut engine = Engine::new(built.engine, state, now, seed());
    let opened = Keeper::open(&folder.join("samples"), built.archive, clock.clone(), &mut engine);
    let (keeper, checkpoints) = match opened {
        Ok((keeper, checkpoints)) => (Some(keeper), checkpoints),
        Err(why) => {
            tracing::error!(%why, "Samples are not kept on disk, so a restart forgets them. Judging goes on.");
            engine.set_on_disk(false);
            (None, BTreeMap::new())
        }
    };
    let positions = checkpoints.into_iter().map(|(target, bytes)| (target, bytes.into())).collect();
    let config = built.name.clone();
    let mut running_sources = built.sources;
    if options.without_sources {
        running_sources.clear();
    }
    let collectors = collect::Collectors::start(running_sources, built.version, &clock, &inputs, &positions);
    let reload_options = Options { state: Some(folder.clone()), ..options };
    let shell = shell::Shell {
        engine,
        clock,
        scribe: Scribe::new(journal, recovered.events.len()),
        keeper,
        executions: executions::Executions::new(&folder, program),
        state: folder.clone(),
        channels: built.channels,
        remotes: built.remotes,
        pasts: Arc::new(tokio::sync::Semaphore::new(1)),
        zone: built.zone,
        reload: Box::new(move || wire::build(&reload_options)),
        inputs: (inputs, taken),
        requests: asked,
        collectors,
        positions,
        senders: Tasks::new(),
        tickets: BTreeMap::new(),
        next_ticket: 0,
        config_name: config.clone(),
        config_refused: None,
        listen: built.listen,
        socket: built.socket,
        fed: now,
        tried_disk: now,
    };
    tasks.spawn("loop", shell.run(stop.clone(), hangup));
    Ok(Running { gate, state: folder, config, listen, socket, stop, tasks, lock })
}

/// What an agent that does not answer knew last, read from its journal without disturbing it; none where there is
/// no journal that can be read.
pub fn last_known(folder: &Path) -> Option<crate::engine::State> {
    let recovered = crate::sys::journal::read_only(folder).ok()?;
    scribe::recover(&recovered).ok()
}

/// The lock is tried more than once: who merely looks whether it is held holds it for an instant.
fn take_lock(folder: &Path) -> Result<Lock, StartError> {
    let path = folder.join("agent.lock");
    let refuse = |e: files::FileError| StartError::State { folder: folder.to_path_buf(), why: chain(&e) };
    for _ in 0..20 {
        if let Some(lock) = Lock::try_acquire(&path).map_err(refuse)? {
            return Ok(lock);
        }
        std::thread::yield_now();
    }
    let pid = Lock::holder(&path).ok().flatten().map_or_else(|| "unknown".to_string(), |pid| pid.to_string());
    Err(StartError::Second { folder: folder.to_path_buf(), pid })
}

/// The listener for everybody, and the control socket.
async fn open_doors(
    built: &wire::Built,
    gate: &Gate,
    clock: &Arc<Clock>,
    stop: &CancellationToken,
    tasks: &mut Tasks,
) -> Result<(Option<std::net::SocketAddr>, Option<PathBuf>), StartError> {
    let refuse = |e: std::io::Error| StartError::Listen { address: built.listen.clone(), why: e.to_string() };
    let listener = tokio::net::TcpListener::bind(&built.listen).await.map_err(refuse)?;
    let address = listener.local_addr().map_err(refuse)?;
    let api = web::query::Api::new(gate.clone(), clock.clone()).looking_back(built.engine.look_back);
    let public = web::public_router(gate.clone()).merge(api.clone().router());
    tasks.spawn("web", web::serve_tcp(listener, public, stop.clone()));
    if let Some(parent) = built.socket.parent() {
        files::ensure_path(parent, 0o750).map_err(|e| StartError::Socket(chain(&e)))?;
    }
    let unix = web::bind_unix(&built.socket).await.map_err(|e| StartError::Socket(e.to_string()))?;
    let router = web::control_router(gate.clone()).merge(api.router());
    tasks.spawn("control socket", web::serve_bound(unix, built.socket.clone(), router, stop.clone()));
    Ok((Some(address), Some(built.socket.clone())))
}

fn listen_for_hangup(hup: mpsc::Sender<()>, stop: &CancellationToken, tasks: &mut Tasks) -> Result<(), StartError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangup = signal(SignalKind::hangup()).map_err(|e| StartError::System(e.to_string()))?;
    let stop = stop.clone();
    tasks.spawn("reload signal", async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = hangup.recv() => {}
            }
            // One that waits already will read the same file.
            if hup.try_send(()).is_err() {
                tracing::debug!("A reload waits already.");
            }
        }
    });
    Ok(())
}

/// Random bits for identities: the system's, or the time where it has none to give.
fn seed() -> u128 {
    let mut bytes = [0u8; 16];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(16) => u128::from_le_bytes(bytes),
        _ => Clock::new().now().millis() as u128,
    }
}
