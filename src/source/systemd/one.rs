//! One unit: what is known of it, and its batches.

use super::config::Config;
use super::pace::Pace;
use super::running::Running;
use super::series::Series;
use super::totals::Totals;
use super::verdict::Verdict;
use crate::base::{Batch, Failure, Outcome, Timestamp};
use crate::source::common::{Common, Target};
use crate::sys::cgroup::{Figures, Group, Groups};
use crate::sys::units::{Seen, State, Unit, Wanted};

/// A unit that is watched.
#[derive(Debug)]
pub(super) struct One {
    pub(super) name: String,
    pub(super) target: Target,
    /// When what changed is looked at: at once, and seldom enough where it changes without end.
    pub(super) pace: Pace,
    series: Series,
    unit: Option<Unit>,
    /// When all of it was asked for last.
    asked: Timestamp,
    /// Its control group, and where that is.
    group: Option<(String, Group)>,
    figures: Figures,
    totals: Totals,
    kept: Totals,
    running: Running,
    /// The time of the last batch: time only rises.
    told: Timestamp,
}

/// What is known before a look, and decides how much is asked.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// The unit of before.
    pub(super) unit: Option<Unit>,
    /// All of it has to be asked for, whatever its state.
    pub(super) is_due: bool,
    asked: Timestamp,
}

impl Known {
    /// Whether what is known still holds when this is what systemd says in one line.
    pub(super) fn holds(&self, state: &State, now: Timestamp) -> bool {
        let is_fresh = now >= self.asked && now - self.asked < One::FRESH;
        let is_same =
            |unit: &Unit| unit.load == state.load && Some(unit.active) == state.active && unit.sub == state.sub;
        !self.is_due && is_fresh && self.unit.as_ref().is_some_and(is_same)
    }
}

impl One {
    /// For how long it is believed that nothing changed where no signal came and the state is the same: what no signal tells
    /// (a limit, a file of the unit) is seen that late.
    const FRESH: crate::base::Span = crate::base::Span::mins(5);

    pub(super) fn new(config: &Config, name: &str) -> One {
        let common = Common { service: config.service(name), ..config.common.clone() };
        let target = Target::new(&common, name.to_string());
        One {
            name: name.to_string(),
            series: Series::new(&target, name),
            target,
            pace: Pace::new(),
            unit: None,
            asked: Timestamp(0),
            group: None,
            figures: Figures::default(),
            totals: Totals::default(),
            kept: Totals::default(),
            running: Running::default(),
            told: Timestamp(0),
        }
    }

    /// Goes on with totals that were kept.
    pub(super) fn resume(&mut self, bytes: &[u8]) {
        match Totals::read(bytes) {
            Some(totals) => (self.totals, self.kept) = (totals.clone(), totals),
            None => tracing::error!(unit = %self.name, "The totals of a unit cannot be read; they begin anew."),
        }
    }

    pub(super) fn known(&self) -> Known {
        // Where its control group cannot be read, systemd has to be asked for the figures.
        let needs_figures = self.group.is_none() && self.unit.as_ref().is_some_and(|unit| !unit.group.is_empty());
        Known { unit: self.unit.clone(), is_due: self.pace.has_news() || needs_figures, asked: self.asked }
    }

    /// What systemd says of it now; none where all is as it was.
    pub(super) fn take(&mut self, unit: Option<Unit>, now: Timestamp) {
        if self.pace.has_news() {
            self.pace.looked(now);
        }
        if let Some(unit) = unit {
            self.asked = now;
            self.unit = Some(unit);
        }
    }

    /// Whether it runs something else than what is known.
    pub(super) fn runs_other(&self) -> bool {
        self.unit.as_ref().is_some_and(|unit| self.running.is_other(unit))
    }

    /// The program to look at.
    pub(super) fn program(&self) -> Option<Wanted> {
        self.unit
            .as_ref()
            .filter(|unit| !unit.program.is_empty())
            .map(|unit| Wanted::new(&unit.program, unit.main_pid, &unit.group))
    }

    pub(super) fn see(&mut self, seen: &Seen) {
        if let Some(unit) = &self.unit {
            self.running.note(unit, seen);
        }
    }

    /// Reads the figures of its control group.
    pub(super) fn measure(&mut self, groups: Option<&Groups>) {
        let Some(unit) = &self.unit else { return };
        let mut is_new = false;
        self.figures = Figures::default();
        // Twice: the group of before may be gone, and another one be there.
        for _ in 0..2 {
            if self.group.as_ref().is_none_or(|(path, _)| *path != unit.group) {
                let is_somewhere = !unit.group.is_empty() && unit.group != "/";
                let opened = groups.filter(|_| is_somewhere).map(|groups| groups.of_path(&unit.group));
                self.group = opened
                    .and_then(|opened| {
                        opened
                            .inspect_err(
                                |error| tracing::debug!(unit = %self.name, %error, "systemd says its figures."),
                            )
                            .ok()
                    })
                    .map(|group| (unit.group.clone(), group));
                is_new = true;
            }
            let Some((_, group)) = &mut self.group else { break };
            if group.read(&mut self.figures).is_ok() {
                break;
            }
            self.group = None;
        }
        self.totals.note(unit, self.figures.oom_kills, is_new);
    }

    /// Tells what is known of it at `now`, on a host with so many bytes of memory.
    pub(super) fn batch(&mut self, memory: u64, now: Timestamp, seconds: f64) -> Batch {
        let Some(unit) = &self.unit else {
            let failure = Failure::new(
                "timeout",
                format!("systemd has not told of {} yet, or nothing that is understood", self.name),
            );
            return self.blind(&failure, now, seconds);
        };
        let samples = self.series.samples(&self.target, unit, &self.figures, &self.totals, &self.running, memory);
        let verdict = Verdict::of(unit, &self.name, now);
        let outcome = match &verdict {
            Verdict::Well | Verdict::Starting => Outcome::Good,
            Verdict::Bad(failure) => Outcome::Failed(failure.clone()),
        };
        let at = self.rising(now);
        let mut batch = self.target.batch(at, seconds, outcome, samples);
        if verdict == Verdict::Starting {
            // Neither: what judges it has no data until it is known.
            batch.samples.retain(|sample| sample.labels.name() != "probe_success");
        }
        if self.totals != self.kept {
            self.kept = self.totals.clone();
            batch.checkpoint = self.totals.write().map(Into::into);
        }
        batch
    }

    /// Tells that nothing can be said.
    pub(super) fn blind(&mut self, failure: &Failure, now: Timestamp, seconds: f64) -> Batch {
        let at = self.rising(now);
        self.target.blind(at, seconds, failure.clone(), Vec::new())
    }

    /// A time behind that of the batch before, unless the clock was set back.
    fn rising(&mut self, now: Timestamp) -> Timestamp {
        self.told = if now == self.told { Timestamp(now.0 + 1) } else { now };
        self.told
    }
}
