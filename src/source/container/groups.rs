//! What containers use, read from the kernel where it can be, else told by the engine.
//!
//! The control group of a container is opened once and read in place. It is that of its main process, whose path has to
//! hold the id of the container: an agent in a container of its own, or on another host than the engine, sees other
//! processes under the same numbers. Then the engine sends figures, each second over a connection for each container;
//! asking it each time would take it one to two seconds each. So many are measured in this way; the others are not,
//! and are counted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::measure::{Measure, Reading};
use super::verdict::Proof;
use crate::base::Span;
use crate::source::backoff::Backoff;
use crate::sys::cgroup::{Figures, Group, GroupError, Groups, Interface, Network};
use crate::sys::clock::{Stopwatch, pause};
use crate::sys::engine::{Engine, Id};
use crate::sys::process::Identity;
use crate::sys::tasks::Tasks;

/// The most containers that the engine sends figures of.
pub const MAX_STREAMS: usize = 64;

/// What the engine sent is as good as new for so long.
const FRESH: Span = Span::secs(5);

/// How long it is not tried again what could not be opened.
const AGAIN: Span = Span::secs(10);

/// What the engine sent last.
type Sent = Arc<Mutex<Option<(Stopwatch, Figures, Vec<Interface>)>>>;

/// Measures containers.
#[derive(Debug)]
pub struct Host {
    engine: Engine,
    groups: Option<Groups>,
    open: BTreeMap<Id, Open>,
}

/// How one container is measured.
#[derive(Debug)]
struct Open {
    pid: u32,
    how: How,
}

#[derive(Debug)]
enum How {
    Kernel {
        process: Identity,
        group: Box<Group>,
        network: Option<Network>,
    },
    Engine {
        sent: Sent,
        since: Stopwatch,
        _task: Tasks,
    },
    /// Its process could not be found, or there are too many for the engine.
    Not(Stopwatch),
}

impl Host {
    /// Measures the containers of this engine; nothing is opened yet.
    pub fn new(engine: Engine) -> Host {
        let groups = Groups::of_host();
        if let Err(why) = &groups {
            tracing::info!(%why, "The figures of containers come from their engine.");
        }
        Host { engine, groups: groups.ok(), open: BTreeMap::new() }
    }

    fn start(&self, id: &Id, pid: u32, has_host_network: bool) -> How {
        match self.start_kernel(id, pid, has_host_network) {
            Ok(how) => how,
            // It ended, or the engine did not say so yet.
            Err(Some(GroupError::NoProcess { .. } | GroupError::Missing { .. })) if self.sees_host() => {
                How::Not(Stopwatch::start())
            }
            Err(_) => self.start_stream(id),
        }
    }

    fn start_kernel(&self, id: &Id, pid: u32, has_host_network: bool) -> Result<How, Option<GroupError>> {
        let groups = self.groups.as_ref().ok_or(None)?;
        // First who it is, then whether that is the container's: what is found is one process all the time.
        let process = Identity::of(pid).ok_or(Some(GroupError::NoProcess { pid }))?;
        let group = groups.of_pid(pid, Some(id.as_str())).map_err(Some)?;
        let network = if has_host_network { None } else { groups.network(pid, Some(id.as_str())).ok() };
        Ok(How::Kernel { process, group: Box::new(group), network })
    }

    /// Whether some container is measured by its process: then numbers of processes are those of the engine.
    fn sees_host(&self) -> bool {
        self.open.values().any(|open| matches!(open.how, How::Kernel { .. }))
    }

    fn start_stream(&self, id: &Id) -> How {
        let n_streams = self.open.values().filter(|open| matches!(open.how, How::Engine { .. })).count();
        if n_streams == MAX_STREAMS {
            return How::Not(Stopwatch::start());
        }
        let sent = Sent::default();
        let mut tasks = Tasks::new();
        tasks.spawn("container figures", follow(self.engine.clone(), id.clone(), sent.clone()));
        How::Engine { sent, since: Stopwatch::start(), _task: tasks }
    }
}

impl Measure for Host {
    fn read(&mut self, id: &Id, pid: u32, has_host_network: bool, reading: &mut Reading) {
        let is_open = self.open.get(id).is_some_and(|open| {
            let is_late = matches!(&open.how, How::Not(since) if since.elapsed() >= AGAIN);
            open.pid == pid && !is_late
        });
        if !is_open {
            self.open.remove(id);
            let how = self.start(id, pid, has_host_network);
            self.open.insert(id.clone(), Open { pid, how });
        }
        let Some(open) = self.open.get_mut(id) else { return };
        match &mut open.how {
            How::Kernel { process, group, network } => {
                reading.proof = if process.is_alive() { Proof::Alive } else { Proof::Dead };
                reading.has_figures = group.read(&mut reading.figures).is_ok();
                let has_network = network.as_mut().is_some_and(|network| network.read(&mut reading.interfaces).is_ok());
                if !has_network {
                    reading.interfaces.clear();
                }
            }
            How::Engine { sent, since, .. } => {
                let sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
                reading.is_coming = sent.is_none() && since.elapsed() < FRESH;
                if let Some((at, figures, interfaces)) = sent.as_ref()
                    && at.elapsed() < FRESH
                {
                    reading.has_figures = true;
                    reading.figures = *figures;
                    reading.interfaces.clone_from(interfaces);
                    if has_host_network {
                        reading.interfaces.clear();
                    }
                }
            }
            How::Not(_) => {}
        }
    }

    fn keep(&mut self, is_there: &dyn Fn(&Id) -> bool) {
        self.open.retain(|id, _| is_there(id));
    }
}

/// Notes what the engine sends of a container, for as long as somebody wants to know.
async fn follow(engine: Engine, id: Id, sent: Sent) {
    let mut backoff = Backoff::default();
    loop {
        if let Ok(Some(mut stats)) = engine.stats(&id).await {
            while let Ok(Some(used)) = stats.next().await {
                let (figures, interfaces) = used;
                *sent.lock().unwrap_or_else(PoisonError::into_inner) = Some((Stopwatch::start(), figures, interfaces));
                backoff = Backoff::default();
            }
        }
        pause(backoff.next()).await;
    }
}
