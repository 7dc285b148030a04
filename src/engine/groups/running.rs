//! One group: when it is evaluated, and what it evaluated last.

use std::collections::{BTreeMap, VecDeque};

use super::GroupInfo;
use super::desk::Desk;
use crate::base::{Labels, Quantity, SourceRef, Span, Timestamp};
use crate::engine::snapshot::Evaluation;
use crate::rule::prometheus::{ActiveAlert, External, Group, GroupConfig, INTERVAL, Kind, State};

/// The kind of source that a group is in the store.
const SOURCE: &str = "group";

/// How many evaluations of a rule are kept for `explain`.
pub(super) const RECENT: usize = 10;

/// How long after a start the first samples may still be missing, at least.
const UNSETTLED: Span = Span::mins(1);

/// A group that runs.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) source: SourceRef,
    pub(super) group: Group,
    pub(super) interval: Span,
    /// How far behind each multiple of `interval` it is evaluated.
    pub(super) phase: i64,
    pub(super) due: Timestamp,
    pub(super) evaluated: Option<Timestamp>,
    /// Evaluations that were left out because the agent was late.
    pub(super) missed: u64,
    pub(super) rules: Vec<Progress>,
}

/// How a rule's evaluations went.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Its target in the store.
    pub(super) instance: String,
    pub(super) failed: Option<String>,
    /// When it began to fail.
    pub(super) failed_since: Option<Timestamp>,
    pub(super) recent: VecDeque<Evaluation>,
}

impl Running {
    pub(super) fn new(info: &GroupInfo, external: &External, now: Timestamp) -> Running {
        let interval = info.group.interval.filter(|i| *i > Span::ZERO).unwrap_or(INTERVAL);
        let config = GroupConfig { interval: Some(interval), ..info.group.clone() };
        let identity = Labels::new([("file", info.file.as_str()), ("name", config.name.as_str())]);
        let phase = (identity.fingerprint() % interval.0.unsigned_abs()) as i64;
        let source = SourceRef::new(SOURCE, &format!("{}:{}", info.file, config.name));
        let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
        let mut rules = Vec::with_capacity(config.rules.len());
        for rule in &config.rules {
            let count = seen.entry(&rule.name).or_default();
            *count += 1;
            let instance = if *count == 1 { rule.name.clone() } else { format!("{}/{count}", rule.name) };
            rules.push(Progress { instance, ..Progress::default() });
        }
        let group = Group::new(config, external.clone()).unsettled_until(now + UNSETTLED.max(interval.times(2)));
        let mut running = Running { source, group, interval, phase, due: now, evaluated: None, missed: 0, rules };
        let slot = running.slot(now);
        running.due = if slot < now { slot + interval } else { slot };
        running
    }

    pub(super) fn inherit(&mut self, old: Running) {
        self.evaluated = old.evaluated;
        self.missed = old.missed;
        // What was evaluated is not evaluated again at the same time.
        if let Some(at) = self.evaluated.filter(|at| *at >= self.due) {
            self.due = self.slot(at) + self.interval;
        }
        for rule in &mut self.rules {
            let was = old.rules.iter().find(|was| was.instance == rule.instance);
            rule.recent = was.map(|was| was.recent.clone()).unwrap_or_default();
        }
        self.group.inherit(old.group);
    }

    /// The last time that is the group's own, not after `now`.
    pub(super) fn slot(&self, now: Timestamp) -> Timestamp {
        Timestamp(now.0 - (now.0 - self.phase).rem_euclid(self.interval.0))
    }

    /// The time to evaluate it at, if it is due; what was missed is not caught up.
    pub(super) fn take_slot(&mut self, now: Timestamp) -> Option<Timestamp> {
        if self.due > now {
            return None;
        }
        let slot = self.slot(now);
        self.missed += ((slot - self.due).0 / self.interval.0).unsigned_abs();
        self.due = slot + self.interval;
        Some(slot)
    }

    pub(super) fn alert_names(&self) -> impl Iterator<Item = &str> {
        let rules = self.group.config().rules.iter();
        rules.filter(|rule| matches!(rule.kind, Kind::Alert { .. })).map(|rule| rule.name.as_str())
    }

    pub(super) fn evaluate(&mut self, slot: Timestamp, desk: &mut Desk<'_>) {
        let errors = self.group.step(slot, desk);
        self.evaluated = Some(slot);
        let mut failed: BTreeMap<usize, String> = errors.into_iter().map(|e| (e.index, e.message)).collect();
        for (i, progress) in self.rules.iter_mut().enumerate() {
            progress.failed = failed.remove(&i);
            progress.failed_since = progress.failed.as_ref().map(|_| progress.failed_since.unwrap_or(slot));
            let text = match (&progress.failed, &self.group.config().rules[i].kind) {
                (Some(why), _) => format!("failed: {why}"),
                (None, Kind::Record) => format!("{} series", desk.written.get(&i).copied().unwrap_or(0)),
                (None, Kind::Alert { .. }) => stand(self.group.alerts(i)),
            };
            if progress.recent.back().is_some_and(|last| last.text == text && progress.recent.len() > 1) {
                progress.recent.pop_back();
            }
            progress.recent.push_back(Evaluation { at: slot, text });
            if progress.recent.len() > RECENT {
                progress.recent.pop_front();
            }
        }
    }
}

/// `2 firing, 1 pending, the highest value 0.3`.
fn stand<'a>(alerts: impl Iterator<Item = &'a ActiveAlert>) -> String {
    let alerts: Vec<&ActiveAlert> = alerts.filter(|alert| alert.state != State::Resolved).collect();
    let Some(highest) = alerts.iter().map(|alert| alert.value).max_by(f64::total_cmp) else {
        return "no result".into();
    };
    let firing = alerts.iter().filter(|alert| alert.state == State::Firing).count();
    let value = Quantity::count(highest);
    format!("{firing} firing, {} pending, the highest value {value}", alerts.len() - firing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Problems;
    use crate::rule::prometheus::read;

    fn running(interval: &str, now: Timestamp) -> Running {
        let text = format!(
            "groups:\n- name: g\n  interval: {interval}\n  rules:\n  - record: a\n    expr: b\n  - record: a\n    expr: c\n"
        );
        let group = read(&text, 0, &mut Problems::default()).unwrap().groups.remove(0);
        Running::new(&GroupInfo { file: "rules.yml".into(), group }, &External::default(), now)
    }

    #[test]
    fn a_group_has_times_of_its_own_that_a_restart_does_not_move() {
        let now = Timestamp(1_761_640_012_345);
        let mut group = running("1m", now);
        let first = group.due;
        assert!(first >= now && first - now < Span::mins(1));
        assert_eq!(running("1m", now + Span::secs(90)).due.0.rem_euclid(60_000), first.0.rem_euclid(60_000));
        assert_eq!((group.take_slot(first - Span::millis(1)), group.take_slot(first)), (None, Some(first)));
        // A little late is the same time; much later is the newest one.
        let second = first + Span::mins(1);
        assert_eq!(group.take_slot(second + Span::millis(700)), Some(second));
        assert_eq!(group.take_slot(second + Span::secs(5 * 60 + 1)), Some(second + Span::mins(5)));
        assert_eq!((group.missed, group.due), (4, second + Span::mins(6)));
    }

    #[test]
    fn rules_of_one_name_are_told_apart() {
        let names: Vec<String> = running("15s", Timestamp(0)).rules.into_iter().map(|rule| rule.instance).collect();
        assert_eq!(names, ["a", "a/2"]);
    }
}
