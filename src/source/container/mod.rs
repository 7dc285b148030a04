//! `[container.NAME]`: whether the services of a compose project, or containers by name, run and are well, and what they use.
//!
//! Enters: what the engine tells. Leaves, for each service, `container_*` with cAdvisor's names where it has them, beside the
//! `probe_*` of every source; for the table as a whole how its engine goes. A container is told at each tick of
//! `interval`, and at once when something happens to it. Totals travel as a checkpoint with the samples, so they go on over
//! restarts, containers that are made anew, and `kill -9` of the agent or the engine.
//!
//! The way of a word: [`watch`] hears it and passes it on; [`fleet`] knows whose it is; [`slot`] and [`lives`] note what it
//! changes; [`verdict`] says whether a service is well; [`series`] makes samples of it. What containers use is read by
//! [`groups`].
//!
//! Reasons: `missing`, `created`, `exited`, `oom`, `unhealthy`, `restarting`, `paused`, `dead`; of the engine `permission`,
//! `refused`, `timeout`, `broken`, `protocol`, `too-large`, `version`, `status`, and `missing` where its socket is not there.

pub mod config;
pub mod facts;
pub mod fleet;
pub mod groups;
pub mod lives;
pub mod looks;
pub mod meant;
pub mod measure;
#[cfg(test)]
mod model;
pub mod series;
pub mod service;
pub mod slot;
pub mod totals;
pub mod verdict;
pub mod watch;
mod whole;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc};

use super::common::{Outside, Target};
use crate::base::{Batch, Failure, Outcome, Span, Timestamp};
use crate::sys::clock::{Clock, Stopwatch};
use crate::sys::engine::{Address, Engine};
use crate::sys::tasks::Tasks;
use config::Config;
use fleet::{Fleet, News};
use groups::Host;
use service::Saved;
use watch::Watcher;

/// Names that exist from the start.
pub const NAMES: [&str; 51] = [
    "probe_success",
    "probe_duration_seconds",
    "probe_failure_info",
    "container_cpu_cfs_periods_total",
    "container_cpu_cfs_throttled_periods_total",
    "container_cpu_cfs_throttled_seconds_total",
    "container_cpu_system_seconds_total",
    "container_cpu_usage_seconds_total",
    "container_cpu_user_seconds_total",
    "container_deaths_total",
    "container_engine_info",
    "container_engine_up",
    "container_exit_code",
    "container_fs_reads_bytes_total",
    "container_fs_reads_total",
    "container_fs_writes_bytes_total",
    "container_fs_writes_total",
    "container_healthy",
    "container_info",
    "container_last_seen",
    "container_left_out",
    "container_memory_cache",
    "container_memory_failcnt",
    "container_memory_max_usage_bytes",
    "container_memory_rss",
    "container_memory_swap",
    "container_memory_usage_bytes",
    "container_memory_working_set_bytes",
    "container_network_receive_bytes_total",
    "container_network_receive_errors_total",
    "container_network_receive_packets_dropped_total",
    "container_network_receive_packets_total",
    "container_network_transmit_bytes_total",
    "container_network_transmit_errors_total",
    "container_network_transmit_packets_dropped_total",
    "container_network_transmit_packets_total",
    "container_oom_events_total",
    "container_oom_killed",
    "container_restarts_total",
    "container_running",
    "container_service_containers",
    "container_spec_cpu_period",
    "container_spec_cpu_quota",
    "container_spec_memory_limit_bytes",
    "container_start_time_seconds",
    "container_state",
    "container_threads",
    "container_threads_max",
    "container_unhealthy_streak",
    "container_unmeasured",
    "container_volume_info",
];

/// How much of what the engine tells may wait to be taken.
const WAITING: usize = 1024;

/// How much of it is taken before something is said.
const AT_ONCE: usize = 256;

/// How often a look by hand sees whether there is more to ask.
const LISTEN: Span = Span::millis(20);

/// How long a look by hand waits for figures that the engine sends, at most.
const FIGURES: Span = Span::secs(1);

/// The containers of a table.
#[derive(Debug)]
pub struct Container {
    config: Config,
    target: Target,
    engine: Engine,
    fleet: Fleet,
    measure: Host,
    running: Option<Running>,
}

/// What runs once it was begun.
#[derive(Debug)]
struct Running {
    tasks: Tasks,
    news: mpsc::Receiver<News>,
    sender: mpsc::Sender<News>,
    again: Arc<Notify>,
}

impl Container {
    /// The containers of this table; nothing is asked yet.
    pub fn new(config: Config, outside: &Outside) -> Container {
        let address = outside.house.engine.as_deref().and_then(|engine| Address::parse(engine).ok());
        let engine = Engine::new(address);
        Container {
            target: Target::new(&config.common, config.common.reference.name.clone()),
            fleet: Fleet::new(config.clone()),
            measure: Host::new(engine.clone()),
            running: None,
            config,
            engine,
        }
    }

    /// The table as a whole.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The files whose rights decide whether it can be read.
    pub fn files(&self) -> Vec<PathBuf> {
        match self.engine.address() {
            Address::Socket(path) => vec![path],
            Address::Port(_) => Vec::new(),
        }
    }

    /// The names of series that it declares.
    pub fn names(&self) -> Vec<&'static str> {
        NAMES.to_vec()
    }

    /// Goes on where an earlier process, or the configuration before, stopped: the last checkpoint of each target. One
    /// that cannot be read is said, and counts as none.
    pub fn resume(&mut self, checkpoints: &BTreeMap<&str, &[u8]>) {
        for (instance, bytes) in checkpoints {
            match Saved::read(bytes) {
                Ok(saved) => self.fleet.resume(instance, saved),
                Err(why) => {
                    tracing::error!(%instance, %why, "The totals of a service cannot be read and begin anew.");
                }
            }
        }
    }

    /// The next batch of one of its targets; waits until there is something to tell. Whoever ends the wait loses nothing.
    pub async fn next(&mut self, clock: &Clock) -> Batch {
        loop {
            if let Some(batch) = self.fleet.pop(clock.now(), &mut self.measure) {
                return batch;
            }
            let due = self.fleet.due(clock.now());
            self.listen(clock, due).await;
        }
    }

    /// Asks what is to be asked, and takes news; waits for some until `due`.
    async fn listen(&mut self, clock: &Clock, due: Timestamp) {
        let running = self.running.get_or_insert_with(|| begin(&self.config, &self.engine));
        running.tasks.reap();
        let now = clock.now();
        while let Some(ask) = self.fleet.ask(now) {
            let asking = watch::ask(self.engine.clone(), ask, self.config.common.timeout, running.sender.clone());
            running.tasks.spawn("container look", asking);
        }
        if self.fleet.wants_list() {
            running.again.notify_one();
        }
        let heard = tokio::select! {
            biased;
            heard = running.news.recv() => heard,
            () = clock.sleep_until(due) => None,
        };
        let Some(first) = heard else { return };
        let now = clock.now();
        self.fleet.take(first, now);
        // What came with it belongs to it: one batch says all of it.
        for _ in 0..AT_ONCE {
            let Ok(news) = running.news.try_recv() else { break };
            self.fleet.take(news, now);
        }
    }

    /// Looks once, for a person: all targets of the table as one. What is declared and not there is missing at once.
    pub async fn collect(&mut self, at: Timestamp) -> Batch {
        let (clock, watch) = (Clock::new(), Stopwatch::start());
        let timeout = self.config.common.timeout;
        self.fleet = Fleet::new(Config { grace: Span::ZERO, ..self.config.clone() });
        let settling = async {
            while !self.fleet.is_settled() {
                self.listen(&clock, clock.now() + LISTEN).await;
            }
        };
        let is_settled = tokio::time::timeout(timeout.to_std(), settling).await.is_ok();
        let mut batches: VecDeque<Batch> = self.fleet.all(clock.now(), &mut self.measure).into();
        while self.fleet.waits_for_figures() && watch.elapsed() < FIGURES.min(timeout) {
            crate::sys::clock::pause(Span::millis(50)).await;
            batches = self.fleet.all(clock.now(), &mut self.measure).into();
        }
        self.running = None;
        let mut failures = batches.iter().filter_map(|batch| match &batch.outcome {
            Outcome::Failed(failure) => Some((batch.instance.as_str(), failure)),
            Outcome::Good => None,
        });
        let first = failures.next();
        let outcome = match (first, failures.count(), is_settled) {
            (None, _, true) => Outcome::Good,
            (None, _, false) => {
                Outcome::Failed(Failure::new("timeout", format!("the engine did not tell all within {timeout}")))
            }
            (Some((instance, failure)), 0, _) => {
                Outcome::Failed(Failure::new(failure.reason, format!("{instance}: {}", failure.detail)))
            }
            (Some((instance, failure)), more, _) => {
                let detail = format!("{instance}: {}; {more} more of this table are not well", failure.detail);
                Outcome::Failed(Failure::new(failure.reason, detail))
            }
        };
        let samples = batches.into_iter().flat_map(|batch| batch.samples);
        // What every look yields is said once, of the whole.
        let samples = samples.filter(|sample| !sample.labels.name().starts_with("probe_")).collect();
        self.target.batch(at, watch.seconds(), outcome, samples)
    }
}

fn begin(config: &Config, engine: &Engine) -> Running {
    let (sender, news) = mpsc::channel(WAITING);
    let again = Arc::new(Notify::new());
    let watcher = Watcher {
        engine: engine.clone(),
        meant: config.meant.clone(),
        timeout: config.common.timeout,
        news: sender.clone(),
        again: again.clone(),
    };
    let mut tasks = Tasks::new();
    tasks.spawn("container watch", watcher.run());
    Running { tasks, news, sender, again }
}
