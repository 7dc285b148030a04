//! `[systemd.NAME]`: do these units run, since when, with how much of the host, and which version of their program?
//!
//! Enters: what systemd says over its bus, and the files of control groups. Leaves, for each unit: see [`NAMES`]. A
//! unit is told of when systemd says that it changed, and looked at every interval; between the two nothing is asked. Where
//! the bus cannot be used, `systemctl show` is asked at each interval instead, and a change is seen that late.
//!
//! Reasons: `missing`, `masked`, `failed`, `inactive` of a unit; `bus`, `timeout`, `permission` where nothing can be said.

pub mod config;
mod manager;
mod one;
mod pace;
mod running;
mod series;
#[cfg(test)]
mod tests;
mod totals;
mod verdict;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use self::config::Config;
use self::manager::Manager;
use self::one::One;
use super::common::Target;
use crate::base::{Batch, Failure, Outcome, Span, Timestamp};
use crate::sys::cgroup::Groups;
use crate::sys::clock::{Clock, Stopwatch};
use crate::sys::units::{self, Address, Programs, Wanted};

pub use self::series::NAMES;

/// How long looking at the programs of units may take at most; it waits for file systems.
const PROGRAMS: Span = Span::secs(1);

/// The units of one table.
#[derive(Debug)]
pub struct Systemd {
    target: Target,
    manager: Manager,
    units: Vec<One>,
    groups: Option<Groups>,
    programs: Programs,
    /// Bytes of memory of this host.
    memory: u64,
    /// When all are looked at next; none before the first time.
    tick: Option<Timestamp>,
    /// Looked at and not told.
    ready: VecDeque<Batch>,
}

impl Systemd {
    /// The units of this table; nothing is asked yet.
    pub fn new(config: Config) -> Systemd {
        Systemd::at(config, Address::System, None)
    }

    /// The same, with a bus that is elsewhere, and with another systemctl.
    pub fn at(config: Config, bus: Address, systemctl: Option<&str>) -> Systemd {
        let instance = match config.units.as_slice() {
            [one] => one.clone(),
            _ => config.common.reference.name.clone(),
        };
        let groups = Groups::of_host().inspect_err(|error| tracing::debug!(%error, "No control groups.")).ok();
        Systemd {
            target: Target::new(&config.common, instance),
            manager: Manager::new(bus, systemctl, &config),
            units: config.units.iter().map(|unit| One::new(&config, unit)).collect(),
            groups,
            programs: Programs::default(),
            memory: units::memory_of_host(),
            tick: None,
            ready: VecDeque::new(),
        }
    }

    /// What is looked at, as a whole.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Goes on with the totals that an earlier process, or the configuration before, kept.
    pub fn resume(&mut self, checkpoints: &BTreeMap<&str, &[u8]>) {
        for one in &mut self.units {
            if let Some(bytes) = checkpoints.get(one.target.instance.as_str()) {
                one.resume(bytes);
            }
        }
    }

    /// The next batch of one of the units; waits until there is something to tell. Whoever ends the wait loses nothing that
    /// the next look does not see again.
    pub async fn next(&mut self, clock: &Clock) -> Batch {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return batch;
            }
            let now = clock.now();
            // Never more than an interval away, also where the clock was set.
            let tick = self.tick.map_or(now, |tick| tick.min(now + self.target.interval));
            if tick <= now {
                let next = tick + self.target.interval;
                self.tick = Some(if next <= now { now + self.target.interval } else { next });
                self.look_at_all(clock).await;
                continue;
            }
            let changed = self.units.iter().filter_map(|one| one.pace.due(now)).min();
            if changed.is_some_and(|due| due <= now) {
                self.look_at_changed(clock).await;
                continue;
            }
            let due = changed.map_or(tick, |due| due.min(tick));
            tokio::select! {
                biased;
                () = clock.sleep_until(due) => {}
                changed = self.manager.changed(clock) => self.note(&changed),
            }
        }
    }

    /// Looks at all units once: one batch with the series of all, which fails with the first that does.
    pub async fn collect(&mut self, at: Timestamp) -> Batch {
        let watch = Stopwatch::start();
        self.look_at_all(&Clock::new()).await;
        let mut failed: Vec<Failure> = Vec::new();
        let mut samples = Vec::new();
        let is_several = self.units.len() > 1;
        for batch in std::mem::take(&mut self.ready) {
            if let Outcome::Failed(failure) = batch.outcome {
                failed.push(failure);
            }
            samples.extend(batch.samples);
        }
        let outcome = match failed.first() {
            None => Outcome::Good,
            Some(first) if failed.len() == 1 => Outcome::Failed(first.clone()),
            Some(first) => Outcome::Failed(Failure::new(
                first.reason,
                format!("{} of {} units: {}", failed.len(), self.units.len(), first.detail),
            )),
        };
        // Of one unit these are the table's; of several each has its own beside them.
        if !is_several {
            samples.retain(|sample| !sample.labels.name().starts_with("probe_"));
        }
        self.target.batch(at, watch.seconds(), outcome, samples)
    }

    fn note(&mut self, changed: &BTreeSet<usize>) {
        for at in changed {
            if let Some(one) = self.units.get_mut(*at) {
                one.pace.note();
            }
        }
    }

    /// Looks at all, and tells of all.
    async fn look_at_all(&mut self, clock: &Clock) {
        let watch = Stopwatch::start();
        let known: Vec<_> = self.units.iter().map(One::known).collect();
        match self.manager.all(&known, clock).await {
            Ok(found) => {
                for (one, unit) in self.units.iter_mut().zip(found) {
                    one.take(unit, clock.now());
                }
                let all: Vec<usize> = (0..self.units.len()).collect();
                self.look_at_programs(&all).await;
                self.tell(&all, clock.now(), watch.seconds());
            }
            Err(failure) => {
                let now = clock.now();
                self.ready.extend(self.units.iter_mut().map(|one| one.blind(&failure, now, watch.seconds())));
            }
        }
    }

    /// Looks at those that changed, and tells of them. Where that fails, the next look at all says so.
    async fn look_at_changed(&mut self, clock: &Clock) {
        let watch = Stopwatch::start();
        let now = clock.now();
        let due: Vec<usize> =
            (0..self.units.len()).filter(|at| self.units[*at].pace.due(now).is_some_and(|due| due <= now)).collect();
        let mut seen = Vec::new();
        for at in due {
            self.units[at].pace.looked(now);
            if let Some(unit) = self.manager.one(at, clock).await {
                self.units[at].take(Some(unit), clock.now());
                seen.push(at);
            }
        }
        let others: Vec<usize> = seen.iter().copied().filter(|at| self.units[*at].runs_other()).collect();
        self.look_at_programs(&others).await;
        self.tell(&seen, clock.now(), watch.seconds());
    }

    async fn look_at_programs(&mut self, which: &[usize]) {
        let wanted: Vec<(usize, Wanted)> =
            which.iter().filter_map(|at| Some((*at, self.units[*at].program()?))).collect();
        if wanted.is_empty() {
            return;
        }
        let (which, wanted): (Vec<usize>, Vec<Wanted>) = wanted.into_iter().unzip();
        match self.programs.look(wanted, PROGRAMS.min(Span(self.target.timeout.0 / 4))).await {
            Ok(seen) => which.iter().zip(seen).for_each(|(at, seen)| self.units[*at].see(&seen)),
            Err(failure) => tracing::debug!(%failure, "Versions of units stay as they were."),
        }
    }

    fn tell(&mut self, which: &[usize], now: Timestamp, seconds: f64) {
        for at in which {
            let one = &mut self.units[*at];
            one.measure(self.groups.as_ref());
            self.ready.push_back(one.batch(self.memory, now, seconds));
        }
    }
}
