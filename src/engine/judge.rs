//! When a rule is due, and what its evaluation changes.
//!
//! A rule is due (a) when every target that gave one of its series in the last round has delivered again, or a
//! tenth of `every` (at most 500 ms) after the first did; (b) at the latest `every` after its last evaluation;
//! (c) at once for event samples; (d) when a timer of one of its alerts runs out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::asking::{ASK_LEAST, Asking, Due, Query};
use super::snapshot::Evaluation;
use crate::base::{Labels, Level, Span, Timestamp};
use crate::promql::{self, Absence, CountReading, Missing, Reading};
use crate::rule::machine::GONE_AFTER;
use crate::rule::{Alert, Change, Condition, Judged, NoData, Rule, Value, When};
use crate::store::{Past, Store, TargetId};

/// How often a rule is evaluated where its sources are unknown.
const EVERY_UNKNOWN: Span = Span::secs(15);

/// The shortest `every`.
const EVERY_LEAST: Span = Span::secs(1);

/// How often within `every` a rule is judged on rounds of which only a part has come.
const PARTIAL_ROUNDS: i64 = 8;

/// How many evaluations are kept for `explain`.
const RECENT: usize = 20;

/// One rule with its alerts and its schedule.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) rule: Rule,
    /// Reads series that the engine writes about other rules, so it is judged after them.
    pub(super) reads_rules: bool,
    pub(super) every: Span,
    pub(super) alerts: BTreeMap<u64, Alert>,
    pub(super) evaluated: Option<Timestamp>,
    pub(super) no_data: Option<(Timestamp, String)>,
    pub(super) failed: Option<String>,
    pub(super) recent: VecDeque<Evaluation>,
    /// For how long it was observed since the last count, and until when that is counted.
    pub(super) observed: Span,
    pub(super) observed_until: Option<Timestamp>,
    interval: Span,
    targets: BTreeSet<TargetId>,
    giving: Option<u64>,
    delivered: BTreeSet<TargetId>,
    due_at: Timestamp,
    labels: Labels,
    /// Of a rule that asks a remote server.
    pub(super) asking: Asking,
}

/// What came of a rule that is due.
#[derive(Debug)]
pub(super) enum Turn {
    /// It was judged.
    Judged(Vec<Change>),
    /// Its value is asked of a remote server.
    Asks(Query),
    /// The answer has not come yet.
    Waits,
}

impl Judge {
    pub(super) fn new(rule: Rule, now: Timestamp) -> Judge {
        let reads_rules = reads_rules(&rule);
        let labels = rule.labels.with("alertname", &rule.name);
        Judge {
            rule,
            reads_rules,
            every: EVERY_UNKNOWN,
            alerts: BTreeMap::new(),
            evaluated: None,
            no_data: None,
            failed: None,
            recent: VecDeque::new(),
            observed: Span::ZERO,
            observed_until: None,
            interval: EVERY_UNKNOWN,
            targets: BTreeSet::new(),
            giving: None,
            delivered: BTreeSet::new(),
            due_at: now + EVERY_LEAST,
            labels,
            asking: Asking::default(),
        }
    }

    /// The highest level among its alerts.
    pub(super) fn level(&self) -> Level {
        self.alerts.values().map(|a| a.level().0).max().unwrap_or_default()
    }

    /// When it is due by itself.
    pub(super) fn due_at(&self) -> Timestamp {
        self.due_at
    }

    /// A target delivered: is the round complete?
    pub(super) fn delivered(&mut self, target: TargetId, event: bool, store: &Store, now: Timestamp) {
        self.look_up_targets(store);
        if !self.targets.contains(&target) {
            return;
        }
        self.delivered.insert(target);
        if event || self.delivered.len() >= self.targets.len() {
            self.due_at = now;
        } else {
            // Where targets deliver one after the other, not each of them brings an evaluation of its own.
            let wait = now + Span((self.every.0 / 10).min(500));
            let again = self.evaluated.map_or(wait, |at| at + Span(self.every.0 / PARTIAL_ROUNDS));
            self.due_at = self.due_at.min(wait.max(again));
        }
    }

    /// Not judged now: it is due again one `every` later.
    pub(super) fn postpone(&mut self, now: Timestamp) {
        self.due_at = now + self.every;
        self.asking.forget();
    }

    /// Something it reads was written by the engine.
    pub(super) fn wake(&mut self, now: Timestamp) {
        self.due_at = now;
    }

    /// Evaluates the expression, or asks for its value; judges each label set, and plans the next evaluation.
    pub(super) fn turn(&mut self, store: &Store, look_back: Span, now: Timestamp, ticket: u64) -> Turn {
        self.look_up_targets(store);
        let Value::Remote { remote, query, timeout, .. } = &self.rule.value else {
            let readings = self.read(store, look_back, now);
            let changes = self.judge(readings, now);
            // A little later than the data are due, so that they are judged when they come, once.
            self.plan(now + self.every + Span((self.every.0 / 10).min(500)), now + Span::millis(1));
            return Turn::Judged(changes);
        };
        match self.asking.due(remote, now) {
            Due::Ask => {
                let (remote, query, timeout) = (remote.clone(), query.clone(), *timeout);
                self.asking.ask(ticket, now, timeout);
                self.due_at = now + timeout;
                Turn::Asks(Query { ticket, remote, query, at: now, timeout })
            }
            Due::Wait(deadline) => {
                self.due_at = deadline;
                Turn::Waits
            }
            Due::Judge(reading, asked) => {
                let readings = self.readings(reading);
                let changes = self.judge(readings, now);
                let soonest = (asked + ASK_LEAST).max(now + Span::millis(1));
                self.plan((asked + self.every).max(soonest), soonest);
                Turn::Judged(changes)
            }
        }
    }

    /// Judges each label set by what was read.
    fn judge(&mut self, (points, no_data, failed): Readings, now: Timestamp) -> Vec<Change> {
        let mut changes = Vec::new();
        let saw = !points.is_empty() || (no_data.is_none() && failed.is_none());
        self.count_observed(saw, now);
        self.failed = failed;
        self.no_data = no_data.map(|why| (self.no_data.as_ref().map_or(now, |(since, _)| *since), why));
        self.note(&points, now);

        let seen: BTreeSet<u64> = points.iter().map(|(labels, _)| labels.fingerprint()).collect();
        for (labels, judged) in points {
            let alert = self.alerts.entry(labels.fingerprint()).or_insert_with(|| Alert::new(labels, now));
            changes.extend(alert.judge(&self.rule, judged, self.interval, now));
        }
        // A policy that turns missing data into trouble holds also before anything was ever seen.
        if self.no_data.is_some() && self.alerts.is_empty() && matches!(self.rule.no_data, NoData::As(_)) {
            let labels = self.labels.clone();
            self.alerts.insert(labels.fingerprint(), Alert::new(labels, now));
        }
        let absent = match self.no_data.is_none() && self.failed.is_none() && asks_for_presence(&self.rule) {
            true => Judged::Absent { newest: now },
            false => Judged::Missing,
        };
        // What stood for everything before anything was seen has nothing to stand for any more.
        let stand_in = self.labels.fingerprint();
        for (key, alert) in self.alerts.iter_mut().filter(|(key, _)| !seen.contains(key)) {
            let is_over = *key == stand_in && !seen.is_empty();
            let judged = if is_over { Judged::Absent { newest: now } } else { absent };
            changes.extend(alert.judge(&self.rule, judged, self.interval, now));
        }
        self.alerts.retain(|_, a| !(a.is_idle() && a.missing_since().is_some_and(|s| now - s >= GONE_AFTER)));

        self.evaluated = Some(now);
        self.delivered.clear();
        changes
    }

    /// The next evaluation: `next`, or when a timer of an alert runs out, but not before `soonest`: a deadline that has
    /// come without effect waits for a sample.
    fn plan(&mut self, next: Timestamp, soonest: Timestamp) {
        let deadlines = self.alerts.values().filter_map(|alert| alert.deadline(&self.rule, self.interval));
        self.due_at = deadlines.map(|at| at.max(soonest)).fold(next, Timestamp::min);
    }

    /// An answer of a remote server came; false where this rule does not wait for it.
    pub(super) fn take_answer(&mut self, answer: &super::asking::Answer, now: Timestamp) -> bool {
        let is_mine = self.asking.take(answer, now);
        if is_mine {
            self.due_at = now;
        }
        is_mine
    }

    /// Moves all remembered times by `by`, because the wall clock was set.
    pub(super) fn shift(&mut self, by: Span) {
        self.due_at += by;
        self.asking.shift(by);
        self.alerts.values_mut().for_each(|a| a.shift(by));
        for at in [&mut self.evaluated, &mut self.observed_until].into_iter().flatten() {
            *at += by;
        }
        if let Some((since, _)) = &mut self.no_data {
            *since += by;
        }
    }

    /// Takes over what another life of the same rule knew: an edited rule keeps its alerts.
    pub(super) fn inherit(&mut self, old: Judge) {
        self.alerts = old.alerts;
        self.no_data = old.no_data;
        self.recent = old.recent;
        self.observed = old.observed;
        self.observed_until = old.observed_until;
    }

    /// Begins to count anew for how long the rule is observed.
    pub(super) fn begin_watch(&mut self, now: Timestamp, observed: Span) {
        self.observed = observed;
        self.observed_until = Some(now);
    }

    fn count_observed(&mut self, saw: bool, now: Timestamp) {
        let Some(until) = self.observed_until else { return };
        // Between two evaluations that saw something, it was observed; a gap longer than two intervals was not.
        if saw && now - until <= Span(self.every.0.max(self.interval.0) * 2 + 1000) {
            self.observed += now - until;
        }
        self.observed_until = Some(now);
    }

    fn read(&self, store: &Store, look_back: Span, now: Timestamp) -> Readings {
        if *store.past() != Past::Complete
            && let Some((selector, _)) = self.rule.reach(look_back).into_iter().find(|(_, reach)| *reach > store.hot())
        {
            return self.readings(match store.past() {
                Past::Unreadable(why) => Reading::Failed(format!("the past that it asks for cannot be read: {why}")),
                _ => Reading::NoData(Absence { selector: selector.to_string(), missing: Missing::Loading }),
            });
        }
        match &self.rule.value {
            Value::Expression { plan, .. } => self.readings(promql::evaluate(plan, store, now, look_back)),
            Value::Remote { .. } => (Vec::new(), None, Some("it is asked of a remote server, not read here".into())),
            Value::Share { errors, total, window, by, .. } => {
                match promql::count_events(errors, total, *window, by, store, now) {
                    CountReading::Counts(points) => {
                        let judge = |p: promql::CountPoint| {
                            let judged = Judged::Share { errors: p.errors, total: p.total, newest: p.newest };
                            (self.alert_labels(&p.labels), judged)
                        };
                        (points.into_iter().map(judge).collect(), None, None)
                    }
                    CountReading::NoData(absence) => (Vec::new(), Some(absence.to_string()), None),
                    CountReading::Failed(why) => (Vec::new(), None, Some(why)),
                }
            }
        }
    }

    fn readings(&self, reading: Reading) -> Readings {
        match reading {
            Reading::Points(points) => {
                let judge = |p: promql::Point| {
                    (self.alert_labels(&p.labels), Judged::Value { value: p.value, newest: p.newest })
                };
                (points.into_iter().map(judge).collect(), None, None)
            }
            Reading::NoData(absence) => (Vec::new(), Some(absence.to_string()), None),
            Reading::Failed(why) => (Vec::new(), None, Some(why)),
        }
    }

    fn alert_labels(&self, labels: &Labels) -> Labels {
        labels.without_name().merged(&self.labels)
    }

    fn look_up_targets(&mut self, store: &Store) {
        if self.giving == Some(store.giving()) {
            return;
        }
        self.giving = Some(store.giving());
        self.targets = match &self.rule.value {
            Value::Expression { plan, .. } => plan.targets(store).into_iter().collect(),
            Value::Remote { .. } => BTreeSet::new(),
            Value::Share { errors, total, .. } => store.targets_of([&**total, &**errors]).into_iter().collect(),
        };
        let intervals = || self.targets.iter().map(|t| store.target(*t).interval);
        self.every = intervals().min().map_or(EVERY_UNKNOWN, |i| i.max(EVERY_LEAST));
        self.interval = intervals().max().unwrap_or(EVERY_UNKNOWN);
    }

    fn note(&mut self, points: &[(Labels, Judged)], now: Timestamp) {
        let text = match (&self.no_data, &self.failed) {
            (Some((_, why)), _) => format!("no data: {why}"),
            (_, Some(why)) => format!("failed: {why}"),
            _ if points.is_empty() => "nothing matched".to_string(),
            _ => {
                let worst = points.iter().max_by(|a, b| figure(&a.1).total_cmp(&figure(&b.1)));
                let text = worst.map_or_else(String::new, |(_, judged)| self.figure_text(judged));
                if points.len() > 1 { format!("{text}, the highest of {}", points.len()) } else { text }
            }
        };
        if self.recent.back().is_some_and(|last| last.text == text && self.recent.len() > 1) {
            self.recent.pop_back();
        }
        self.recent.push_back(Evaluation { at: now, text });
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
    }

    fn figure_text(&self, judged: &Judged) -> String {
        match *judged {
            Judged::Value { value, .. } => crate::base::Quantity { value, unit: self.rule.unit }.to_string(),
            Judged::Share { errors, total, .. } => format!(
                "{} ({} of {}, at least {})",
                crate::base::Quantity::ratio(figure(judged)),
                crate::base::because::whole(errors),
                crate::base::because::whole(total),
                crate::base::Quantity::ratio(crate::rule::share::lower_bound(errors, total)),
            ),
            Judged::Absent { .. } | Judged::Missing => String::new(),
        }
    }
}

/// Label sets with what was seen of each, why there was no data, and what the evaluation failed with.
type Readings = (Vec<(Labels, Judged)>, Option<String>, Option<String>);

fn figure(judged: &Judged) -> f64 {
    match *judged {
        Judged::Value { value, .. } => value,
        Judged::Share { errors, total, .. } => {
            if total > 0.0 {
                (errors / total).min(1.0)
            } else {
                0.0
            }
        }
        Judged::Absent { .. } | Judged::Missing => f64::NEG_INFINITY,
    }
}

fn asks_for_presence(rule: &Rule) -> bool {
    let conditions = [rule.warning.as_ref(), rule.critical.as_ref(), rule.rollback.as_ref().map(|c| &c.condition)];
    conditions.into_iter().flatten().any(|c: &Condition| c.when == When::Present)
}

fn reads_rules(rule: &Rule) -> bool {
    match &rule.value {
        Value::Expression { plan, .. } => {
            plan.selectors().iter().any(|s| s.selector.name.as_deref().is_some_and(promql::is_of_the_engine))
        }
        // What a remote server says of `ALERTS` is not about the rules here.
        Value::Share { .. } | Value::Remote { .. } => false,
    }
}
