//! `backstop demo`: a small shop, a bad release, and the way back, for real, in half a minute.
//!
//! It writes a configuration into a folder of its own, starts the shop and the agent (the same `backstop run` that
//! everybody runs) as processes, lets customers buy, deploys, and tells what the agent's snapshot shows. Nothing is
//! scripted but the deployment: what warns, fires, rolls back and verifies is the agent. No root, only loopback.
//! Whatever happens, its processes are ended; the folder stays.

mod config;
mod story;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::demo_service::{self, BAD, Fault, GOOD, Shop};
use super::out::Out;
use super::place::Place;
use super::{Context, Exit, Failure, deploy};
use crate::base::Span;
use crate::engine::command::{Command, Reply};
use crate::engine::snapshot::Snapshot;
use crate::sys::clock::{Stopwatch, pause};
use crate::sys::files;
use crate::sys::process::{self, Detached};
use crate::sys::tasks::Tasks;
use crate::web::client::Client;
use story::Story;

/// The whole demo is over by then, whatever happened.
const DEADLINE: Duration = Duration::from_secs(60);

/// What it promises to need at most.
const PROMISE: Span = Span::secs(45);

/// How often the agent is asked.
const POLL: Span = Span::millis(100);

/// How long the good version is watched before the deployment.
const BEFORE: Span = Span::secs(4);

/// How many customers there are; each buys ten times a second.
const CUSTOMERS: usize = 4;

/// Shows everything with a small shop and a bad release.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Everything is real: processes, metrics, the journal, the rollback. It needs no root and no network.\n\n\
                        Examples:\n  \
                          backstop demo                  a release that fails 30 % of requests is rolled back\n  \
                          backstop demo --fault none     a healthy release, no rollback\n  \
                          backstop demo --fault blind    the metrics disappear; nothing is rolled back\n  \
                          backstop demo --fault exit     a release that does not even start\n\n\
                        Exit codes: 0 it showed what it should, 1 it did not, 3 it could not be set up."
)]
pub struct Args {
    /// What is wrong with version 2.0.
    #[arg(long, value_enum, default_value = "errors")]
    fault: Fault,
    /// Use this folder (a new or empty one) instead of one in the temporary folder.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
}

/// Plays the demo and cleans up.
pub async fn run(context: &mut Context, args: &Args) -> Result<Exit, Failure> {
    let folder = make_folder(args.keep.as_deref()).map_err(Failure::unknown)?;
    let mut stage = Stage::set(context, folder, args.fault).map_err(Failure::unknown)?;
    let played = {
        let mut tasks = Tasks::new();
        let play = async {
            tokio::select! {
                played = tokio::time::timeout(DEADLINE, stage.play(context, &mut tasks)) => {
                    played.unwrap_or_else(|_| Err("it was not over after 60 s".into()))
                }
                signal = stop_signal() => Err(signal),
            }
        };
        let played = play.await;
        tasks.stop(Span::secs(2)).await;
        played
    };
    stage.clean_up().await;
    match played {
        Ok(true) => Ok(Exit::Good),
        Ok(false) => Ok(Exit::Bad),
        Err(why) => Err(Failure {
            text: format!("the demo ended early: {why}"),
            help: Some(format!("its logs: {0}/agent.log, {0}/shop.log", stage.folder.display())),
            exit: Exit::Bad,
        }),
    }
}

/// Waits for Ctrl-C or SIGTERM.
async fn stop_signal() -> String {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => "interrupted".into(),
        _ = terminate.recv() => "terminated".into(),
    }
}

/// Everything that the demo started, and where.
struct Stage {
    folder: PathBuf,
    shop: Shop,
    socket: PathBuf,
    agent: Option<Detached>,
    watch: Stopwatch,
}

impl Stage {
    /// Writes the folder's files and turns `context` towards the demo's own agent.
    fn set(context: &mut Context, folder: PathBuf, fault: Fault) -> Result<Stage, String> {
        let program = std::env::current_exe().map_err(|e| format!("where this program is: {e}"))?;
        let shop = Shop { port: free_port()?, fault };
        shop.write(&folder)?;
        let text = config::text(&folder, &program, shop.port);
        let file = folder.join("backstop.toml");
        files::replace(&file, text.as_bytes(), 0o600).map_err(|e| e.to_string())?;
        context.globals.config = Some(file);
        context.globals.state = Some(folder.join("state"));
        context.globals.sets.clear();
        let Place { socket, .. } = context.place();
        Ok(Stage { folder, shop, socket, agent: None, watch: Stopwatch::start() })
    }

    /// From the curtain to the verdict; whether it showed what it should.
    async fn play(&mut self, context: &mut Context, tasks: &mut Tasks) -> Result<bool, String> {
        context.out.line("backstop demo: a small shop, a bad release, and the way back. Everything below is real; it takes about 30 s.");
        let folder = self.folder.display().to_string();
        context.out.line(&format!("folder {folder} (configuration, journal and alerts stay there for a look)\n"));
        demo_service::switch_to(&self.folder, GOOD).await?;
        self.customers(tasks)?;
        self.start_agent()?;
        let client = Client::new(&self.socket).map_err(|e| e.to_string())?;
        self.wait_until_watched(&client).await?;
        self.say(
            context,
            &format!(
                "shop {GOOD} listens on 127.0.0.1:{}; the agent watches /health and /metrics every 0.5 s",
                self.shop.port
            ),
        );
        while self.watch.elapsed() < BEFORE {
            pause(POLL).await;
        }
        let fault_at = self.deploy(context, &client).await?;
        let mut story = Story::new(self.shop.fault, fault_at);
        while !story.is_over() && self.watch.elapsed() < PROMISE {
            let snapshot = client.snapshot().await.map_err(|e| e.to_string())?;
            for line in story.tell(self.watch.elapsed(), &snapshot) {
                context.out.line(&line);
            }
            self.check_agent()?;
            pause(POLL).await;
        }
        let (lines, good) = story.end();
        for line in lines {
            context.out.line(&line);
        }
        context.out.line(&closing(&folder));
        Ok(good && self.watch.elapsed() < PROMISE)
    }

    /// The customers: real requests, bounded in number and time, whatever answers.
    fn customers(&self, tasks: &mut Tasks) -> Result<(), String> {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(1)).no_proxy().build();
        let client = client.map_err(|e| format!("make a client: {e}"))?;
        for _ in 0..CUSTOMERS {
            let (client, stop) = (client.clone(), tasks.stop_signal());
            let url = format!("http://127.0.0.1:{}/shop", self.shop.port);
            tasks.spawn("customer", async move {
                while !stop.is_cancelled() {
                    // A refused customer is part of the show.
                    drop(client.get(&url).send().await);
                    pause(POLL).await;
                }
            });
        }
        Ok(())
    }

    fn start_agent(&mut self) -> Result<(), String> {
        let program = std::env::current_exe().map_err(|e| format!("where this program is: {e}"))?;
        let path = |name: &str| self.folder.join(name).display().to_string();
        let args = ["run".into(), "--config".into(), path("backstop.toml"), "--state".into(), path("state")];
        let log = self.folder.join("agent.log");
        let agent = process::spawn_detached(&program, &args, &BTreeMap::new(), &log).map_err(|e| e.to_string())?;
        self.agent = Some(agent);
        Ok(())
    }

    /// The agent must live as long as the demo.
    fn check_agent(&mut self) -> Result<(), String> {
        match self.agent.as_mut().and_then(Detached::ended) {
            None => Ok(()),
            Some(exit) => Err(format!("the agent ended ({exit}):\n{}", tail(&self.folder.join("agent.log")))),
        }
    }

    async fn wait_until_watched(&mut self, client: &Client) -> Result<(), String> {
        const START_UP: Span = Span::secs(15);
        let fine = |s: &Snapshot| s.targets.len() >= 2 && s.targets.iter().all(|t| t.good);
        while !client.snapshot().await.is_ok_and(|s| fine(&s)) {
            self.check_agent()?;
            if self.watch.elapsed() > START_UP {
                return Err("the agent did not see the shop within 15 s".into());
            }
            pause(POLL).await;
        }
        Ok(())
    }

    /// Deploys the bad version as a pipeline would; gives the time at which its fault begins.
    async fn deploy(&mut self, context: &mut Context, client: &Client) -> Result<Span, String> {
        let start =
            deploy::Start { app: None, version: BAD.into(), previous: None, live: false, force: false, wait: false };
        let snapshot = client.snapshot().await.map_err(|e| e.to_string())?;
        // The first deployment ever: nobody but the shop itself knows what ran before.
        let start = deploy::Start { previous: Some(GOOD.into()), ..start };
        let (command, hint) = deploy::announce(context, &snapshot, &start).map_err(|f| f.text)?;
        if let Some(why) = hint {
            return Err(format!("no rollback could be sealed: {why}"));
        }
        accepted(client, &command).await?;
        self.say(context, &format!("deployment {BAD} (before: {GOOD}); the watch begins"));
        let switched = demo_service::switch_to(&self.folder, BAD).await;
        let began = self.watch.elapsed();
        let (fault_at, what) = match (self.shop.fault, switched) {
            (Fault::Exit, Err(why)) => (began, format!("── {why} ──")),
            (_, Err(why)) => return Err(why),
            (Fault::Errors, Ok(())) => (
                began + demo_service::FAULT_AFTER,
                format!("── from here {BAD} answers 30 % of requests with 500 and is slow ──"),
            ),
            (Fault::Blind, Ok(())) => (began, format!("── {BAD} works, but no longer counts its requests ──")),
            (Fault::None | Fault::Exit, Ok(())) => (began, format!("{BAD} is live, and healthy")),
        };
        accepted(client, &Command::DeployComplete { by: String::new() }).await?;
        while self.watch.elapsed() < fault_at {
            pause(Span::millis(20)).await;
        }
        self.say(context, &what);
        Ok(fault_at)
    }

    fn say(&self, context: &mut Context, text: &str) {
        context.out.line(&format!("{}  {text}", story::clock(self.watch.elapsed())));
    }

    /// Ends what was started, by its identity; the folder stays.
    async fn clean_up(&mut self) {
        if let Some(agent) = &mut self.agent {
            end(agent).await;
        }
        demo_service::end_service(&self.folder).await;
    }
}

async fn accepted(client: &Client, command: &Command) -> Result<(), String> {
    match client.command(command).await.map_err(|e| e.to_string())? {
        Reply::Done { .. } => Ok(()),
        Reply::Bad { text } => Err(text.clone()),
        Reply::Refused { why, .. } | Reply::Wrong { why, .. } => Err(format!("the agent refused: {why}")),
    }
}

/// Asks a child to end, and ends it after five seconds. It was not waited for, so its id cannot be another's.
async fn end(child: &mut Detached) {
    for (signal, patience) in [(Signal::TERM, Span::secs(6)), (Signal::KILL, Span::secs(2))] {
        if child.ended().is_some() {
            return;
        }
        let Some(pid) = i32::try_from(child.pid()).ok().and_then(Pid::from_raw) else { return };
        if let Err(error) = rustix::process::kill_process(pid, signal) {
            Out::error(&format!("backstop: end the agent (process {}): {error}", child.pid()));
        }
        let watch = Stopwatch::start();
        while child.ended().is_none() && watch.elapsed() < patience {
            pause(Span::millis(50)).await;
        }
    }
}

fn closing(folder: &str) -> String {
    format!(
        "\nLook      {folder}/alerts.jsonl, {folder}/backstop.toml\n\
         Try       backstop demo --fault none     a healthy release, no rollback\n\
         \x20         backstop demo --fault blind    the metrics disappear; nothing is rolled back\n\
         Your host backstop run                   watches this machine, without a configuration"
    )
}

/// A port of loopback that is free at this moment.
fn free_port() -> Result<u16, String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(|e| format!("find a free port: {e}"))?;
    listener.local_addr().map(|a| a.port()).map_err(|e| format!("find a free port: {e}"))
}

fn make_folder(wanted: Option<&Path>) -> Result<PathBuf, String> {
    let folder = match wanted {
        Some(folder) => std::path::absolute(folder).map_err(|e| format!("{}: {e}", folder.display()))?,
        None => std::env::temp_dir().join(format!("backstop-demo-{}", random_name()?)),
    };
    files::ensure_own_dir(&folder, 0o700).map_err(|e| e.to_string())?;
    let mut entries = std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    if entries.next().is_some() {
        return Err(format!("{} is not empty; the demo wants a folder of its own", folder.display()));
    }
    Ok(folder)
}

fn random_name() -> Result<String, String> {
    let mut bytes = [0u8; 4];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    got.map_err(|e| format!("make a name: {e}"))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// The last lines of a log, for a message.
fn tail(path: &Path) -> String {
    let bytes = files::read_capped(path, 1 << 20).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
