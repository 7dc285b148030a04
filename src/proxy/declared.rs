//! What runs inside of containers: only what the configuration of root declares, under the name of its table.
//!
//! Enters: a name, and what a [`Root`] declares. Leaves: the output of the program as JSON, or a reason. Nothing else of a
//! request has a say; the configuration counts only where nobody but root could have written it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::answer::{Gone, Sink};
use crate::base::{Failure, Span};
use crate::source::command::inside::Declared;
use crate::sys::clock::Stopwatch;
use crate::sys::engine::inside::{NotRun, Ran};
use crate::sys::engine::{Engine, Left};
use crate::sys::files;
use crate::sys::secret::Secrets;

/// How many programs run at once.
const AT_ONCE: usize = 2;

/// How long one may wait for a place.
const WAIT: Span = Span::secs(1);

/// How many runs of one name may follow each other at once; after that one a second.
const BURST: f64 = 5.0;

/// What a configuration declares, and where that was read.
#[derive(Clone, Debug, Default)]
pub struct Root {
    /// All files that had a say in it.
    pub files: Vec<PathBuf>,
    /// The programs.
    pub declared: Vec<Declared>,
}

/// Why a configuration does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRead {
    /// It has mistakes.
    #[error("{0}")]
    Mistaken(String),
    /// Somebody else than root could have written it.
    #[error("{0}; only what root alone can write is run inside of containers")]
    Untrusted(String),
}

impl Root {
    /// Checks that nobody but root can change one of the files, or a folder on the way to it.
    ///
    /// # Errors
    /// Names the first that somebody else can change.
    pub fn check(&self) -> Result<(), NotRead> {
        let found = self.files.iter().find_map(|file| files::others_than_root_can_write(file));
        found.map_or(Ok(()), |why| Err(NotRead::Untrusted(why)))
    }
}

/// The programs, and what runs of them.
#[derive(Debug)]
pub struct Runs {
    engine: Engine,
    secrets: Secrets,
    places: Semaphore,
    known: Mutex<BTreeMap<String, Arc<Known>>>,
}

#[derive(Debug)]
struct Known {
    declared: Declared,
    run: Arc<tokio::sync::Mutex<Run>>,
}

/// What is remembered from run to run.
#[derive(Debug)]
struct Run {
    left: Left,
    /// How many may begin now.
    allowance: f64,
    since: Stopwatch,
}

impl Runs {
    /// Nothing is declared yet.
    pub fn new(engine: Engine) -> Runs {
        Runs { engine, secrets: Secrets::of_process(), places: Semaphore::new(AT_ONCE), known: Mutex::default() }
    }

    /// What was declared is replaced. What runs goes on, and is remembered by its name.
    ///
    /// # Errors
    /// When the configuration does not count: one with mistakes leaves what there was, one that others could have written
    /// leaves nothing.
    pub fn declare(&self, root: Result<Root, NotRead>) -> Result<usize, NotRead> {
        let root = root.and_then(|root| root.check().map(|()| root));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match root {
            Ok(root) => {
                let before = std::mem::take(&mut *known);
                for declared in root.declared {
                    let run = before.get(&declared.name).map(|known| known.run.clone()).unwrap_or_default();
                    known.insert(declared.name.clone(), Arc::new(Known { declared, run }));
                }
                Ok(known.len())
            }
            Err(NotRead::Mistaken(why)) => Err(NotRead::Mistaken(why)),
            Err(NotRead::Untrusted(why)) => {
                known.clear();
                Err(NotRead::Untrusted(why))
            }
        }
    }

    /// Runs what is declared under `name`, and answers.
    pub(super) async fn answer(&self, name: &str, uid: u32, sink: &mut Sink<'_>) -> Result<(), Gone> {
        let watch = Stopwatch::start();
        let ran = self.run(name).await;
        let took = watch.elapsed();
        // Until it was taken, what it printed is held: its place is not another one's so far.
        let mut held = None;
        let (status, body) = match ran {
            Ok((ran, place)) => {
                held = Some(place);
                tracing::info!(name, uid, %took, "A declared program ran inside of a container.");
                (200, serde_json::to_string(&ran))
            }
            Err(Failure { reason, detail: message }) => {
                tracing::info!(name, uid, reason, "A program was not run inside of a container.");
                let status = if reason == "undeclared" { 404 } else { 409 };
                (status, serde_json::to_string(&NotRun { reason: reason.into(), message }))
            }
        };
        let sent = sink.json(status, &(body.unwrap_or_default() + "\n")).await;
        drop(held);
        sent
    }

    async fn run(&self, name: &str) -> Result<(Ran, SemaphorePermit<'_>), Failure> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        let known = known.ok_or_else(|| {
            let detail = format!("no [command.{name}] with `inside` stands in the configuration of the proxy");
            Failure::new("undeclared", detail)
        })?;
        let busy = |why: &str| Failure::new("busy", why);
        // Who asks while it runs for another waits for it: an agent is not to fail because a person looks.
        let turn = tokio::time::timeout(known.declared.bounds.timeout.to_std(), known.run.lock()).await;
        let mut run = turn.map_err(|_| busy("it is being run already"))?;
        run.begin().map_err(busy)?;
        let place = tokio::time::timeout(WAIT.to_std(), self.places.acquire()).await;
        let Ok(Ok(place)) = place else { return Err(busy("two other programs are being run")) };
        // Each time anew: the engine may be another one, and speak another version.
        let timeout = known.declared.bounds.timeout;
        let late = |_| Failure::new("timeout", format!("the engine does not answer within {timeout}"));
        tokio::time::timeout(timeout.to_std(), self.engine.agree()).await.map_err(late)??;
        let answer = known.declared.run(&self.engine, &self.secrets, &mut run.left).await?;
        Ok((Ran::new(&answer), place))
    }
}

impl Default for Run {
    fn default() -> Run {
        Run { left: Left::default(), allowance: BURST, since: Stopwatch::start() }
    }
}

impl Run {
    fn begin(&mut self) -> Result<(), &'static str> {
        let passed = std::mem::replace(&mut self.since, Stopwatch::start()).elapsed();
        self.allowance = (self.allowance + passed.0 as f64 / 1000.0).min(BURST);
        if self.allowance < 1.0 {
            return Err("it is asked for more than once a second");
        }
        self.allowance -= 1.0;
        Ok(())
    }
}
