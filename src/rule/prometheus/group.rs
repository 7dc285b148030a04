//! The life of a group: its rules in order, each seeing what those before wrote.
//!
//! Enters: a tick, and a [`Host`] that evaluates and takes what is written. Leaves: recorded series, `ALERTS` and
//! `ALERTS_FOR_STATE` with stale markers where they end, and the alerts themselves ([`Group::alerts`]).
//!
//! An alert is pending from the first evaluation with a result, fires when the result was there for `for`, and is resolved at
//! the first evaluation without one, or `keep_firing_for` after it. A rule that fails, or that gives more than the group's
//! limit, leaves its alerts as they are and writes them again: an error is no recovery.
//!
//! After a restart [`Group::restore`] says which alerts fired: they go on to fire, and are not resolved before
//! [`Group::unsettled_until`], because the first evaluations may come before the first samples.

use std::collections::{BTreeMap, BTreeSet};

use super::file::{GroupConfig, Kind, RuleConfig};
use super::template::{Data, External};
use crate::base::label::NAME;
use crate::base::{Labels, Span, Timestamp};
use crate::promql::{self, Plan, Point};
use crate::store::stale;

/// Who evaluates for a group, and keeps what it writes.
pub trait Host {
    /// The values of an expression at a time; a scalar is one point without labels.
    ///
    /// # Errors
    /// Why it has none.
    fn query(&mut self, plan: &Plan, at: Timestamp) -> Result<Vec<Point>, String>;

    /// Keeps the samples of the rule with index `rule`; the next query sees them.
    fn write(&mut self, rule: usize, at: Timestamp, samples: &[(Labels, f64)]);

    /// Time and value of the newest sample of a series of `ALERTS_FOR_STATE` that has not ended, at most [`OUTAGE`] before
    /// `at`. Asked only in the first evaluation of a rule; a host that begins with nothing has none.
    fn for_state(&mut self, _labels: &Labels, _at: Timestamp) -> Option<(Timestamp, f64)> {
        None
    }
}

/// How an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is a result, not yet for long enough.
    Pending,
    /// It fires.
    Firing,
    /// It fired and does no more; kept for 15 minutes, so that it can be said.
    Resolved,
}

/// One alert.
#[derive(Clone, Debug, PartialEq)]
pub struct ActiveAlert {
    /// All labels, `alertname` included.
    pub labels: Labels,
    /// Expanded, by name.
    pub annotations: BTreeMap<String, String>,
    /// The value of the last result.
    pub value: f64,
    /// How it stands.
    pub state: State,
    /// Since when there is a result.
    pub active_at: Timestamp,
    /// Since when it fires or fired.
    pub fired_at: Option<Timestamp>,
    /// Since when it fires without a result.
    pub kept_since: Option<Timestamp>,
    /// When it was resolved.
    pub resolved_at: Option<Timestamp>,
}

/// A rule that could not be evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// Its index in the group.
    pub index: usize,
    /// The rule.
    pub rule: String,
    /// Why.
    pub message: String,
}

/// An alert that fires, as those see it who tell of it.
#[derive(Clone, Debug)]
pub struct Firing<'a> {
    /// The index of its rule.
    pub rule: usize,
    /// All its labels, those of the instance included.
    pub labels: Labels,
    /// The alert; none for one that fired before a restart and was not seen since.
    pub alert: Option<&'a ActiveAlert>,
}

/// How long ago an alert may have been seen last for its `for` to go on after a restart: an hour, as in Prometheus
/// (`--rules.alert.for-outage-tolerance`).
pub const OUTAGE: Span = Span::mins(60);

/// How often a group is evaluated that says nothing, as in Prometheus.
pub const INTERVAL: Span = Span::mins(1);

/// How long a resolved alert is kept.
const RESOLVED_FOR: Span = Span::mins(15);

/// A group with the state of its rules.
#[derive(Debug)]
pub struct Group {
    config: GroupConfig,
    external: External,
    /// The labels of `external`.
    instance: Labels,
    unsettled_until: Timestamp,
    states: Vec<RuleState>,
}

#[derive(Debug, Default)]
struct RuleState {
    /// By fingerprint.
    alerts: BTreeMap<u64, ActiveAlert>,
    /// The series of the last evaluation, by fingerprint.
    written: BTreeMap<u64, Labels>,
    /// What fired before a restart and was not seen since, by the fingerprint of all labels.
    restored: BTreeMap<u64, Restored>,
    /// It was evaluated without an error.
    is_known: bool,
}

/// An alert that fired before a restart.
#[derive(Debug)]
struct Restored {
    labels: Labels,
    since: Timestamp,
    kept_since: Option<Timestamp>,
}

impl Group {
    /// A group that has not been evaluated.
    pub fn new(config: GroupConfig, external: External) -> Group {
        let states = config.rules.iter().map(|_| RuleState::default()).collect();
        let instance = Labels::new(external.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        Group { config, external, instance, unsettled_until: Timestamp(i64::MIN), states }
    }

    /// States that its first samples may not be there before `until`: no alert that was restored ends before.
    #[must_use]
    pub fn unsettled_until(self, until: Timestamp) -> Group {
        Group { unsettled_until: until, ..self }
    }

    /// What it was made from.
    pub fn config(&self) -> &GroupConfig {
        &self.config
    }

    /// The alerts of the rule with index `rule`, by their labels' fingerprint; resolved ones included.
    pub fn alerts(&self, rule: usize) -> impl Iterator<Item = &ActiveAlert> {
        self.states.get(rule).into_iter().flat_map(|state| state.alerts.values())
    }

    /// The alerts that fire, those included that fired before a restart and are not settled.
    pub fn firing(&self) -> impl Iterator<Item = Firing<'_>> {
        self.states.iter().enumerate().flat_map(move |(rule, state)| {
            let seen = state.alerts.values().filter(|alert| alert.state == State::Firing);
            let seen = seen.map(move |alert| Firing { rule, labels: self.told(&alert.labels), alert: Some(alert) });
            let restored = state.restored.values();
            seen.chain(restored.map(move |r| Firing { rule, labels: r.labels.clone(), alert: None }))
        })
    }

    /// The labels with which an alert is told: those of the instance are added, where it has none of that name.
    pub fn told(&self, labels: &Labels) -> Labels {
        if self.instance.is_empty() { labels.clone() } else { self.instance.merged(labels) }
    }

    /// Whether a rule of this group could have given an alert with these labels: its name, and the labels that the rule
    /// states without a template.
    pub fn could_give(&self, labels: &Labels) -> bool {
        self.config.rules.iter().any(|rule| could_give(rule, labels))
    }

    /// States that an alert with these labels, those of the instance included, fired since `since`. Where several rules could
    /// have given it, each holds it until it was evaluated.
    pub fn restore(&mut self, labels: &Labels, since: Timestamp) {
        let key = labels.fingerprint();
        for (rule, state) in self.config.rules.iter().zip(&mut self.states) {
            if could_give(rule, labels) && !state.is_known {
                state.restored.insert(key, Restored { labels: labels.clone(), since, kept_since: None });
            }
        }
    }

    /// Takes over what another life of this group knew of rules with the same name and labels; says which of its rules found
    /// theirs.
    pub fn inherit(&mut self, mut old: Group) -> Vec<bool> {
        let mut found = Vec::with_capacity(self.states.len());
        for (rule, state) in self.config.rules.iter().zip(&mut self.states) {
            let is_same = |(i, was): (usize, &RuleConfig)| is_same(rule, was).then_some(i);
            let place = old.config.rules.iter().enumerate().find_map(is_same);
            found.push(place.is_some());
            if let Some(i) = place {
                old.config.rules.remove(i);
                *state = old.states.remove(i);
            }
        }
        self.unsettled_until = self.unsettled_until.max(old.unsettled_until);
        found
    }

    /// Moves all remembered times by `by`, because the wall clock was set.
    pub fn shift(&mut self, by: Span) {
        self.unsettled_until = Timestamp(self.unsettled_until.0.saturating_add(by.0));
        for state in &mut self.states {
            for alert in state.alerts.values_mut() {
                alert.active_at += by;
                let others = [&mut alert.fired_at, &mut alert.kept_since, &mut alert.resolved_at];
                others.into_iter().flatten().for_each(|at| *at += by);
            }
            for restored in state.restored.values_mut() {
                restored.since += by;
                restored.kept_since = restored.kept_since.map(|at| at + by);
            }
        }
    }

    /// Evaluates all rules at `now`, in order; gives those that failed.
    pub fn step(&mut self, now: Timestamp, host: &mut dyn Host) -> Vec<RuleError> {
        let at = now - self.config.query_offset;
        let mut errors = Vec::new();
        for (i, (rule, state)) in self.config.rules.iter().zip(&mut self.states).enumerate() {
            let evaluation = Evaluation {
                rule,
                external: &self.external,
                instance: &self.instance,
                limit: self.config.limit,
                interval: self.config.interval.unwrap_or(INTERVAL),
                is_settled: now >= self.unsettled_until,
                now,
                at,
            };
            match evaluation.step(state, host) {
                Ok(samples) => {
                    state.is_known = true;
                    write(i, state, samples, at, host);
                }
                Err(message) => {
                    let held: Vec<_> = state.active().flat_map(|alert| evaluation.samples(alert)).collect();
                    if !held.is_empty() {
                        host.write(i, at, &held);
                    }
                    errors.push(RuleError { index: i, rule: rule.name.clone(), message });
                }
            }
        }
        errors
    }
}

impl RuleState {
    /// The alerts that are pending or fire.
    fn active(&self) -> impl Iterator<Item = &ActiveAlert> {
        self.alerts.values().filter(|alert| alert.state != State::Resolved)
    }
}

/// Whether a rule could have given an alert with these labels.
fn could_give(rule: &RuleConfig, labels: &Labels) -> bool {
    let is_possible = |(name, text): &(String, String)| text.contains("{{") || labels.get(name) == text;
    matches!(rule.kind, Kind::Alert { .. })
        && labels.get("alertname") == rule.name
        && rule.labels.iter().all(is_possible)
}

/// Whether an edited rule is still the one that it was: what it is called and what it adds is the same.
fn is_same(rule: &RuleConfig, was: &RuleConfig) -> bool {
    let kinds = [rule, was].map(|rule| matches!(rule.kind, Kind::Record));
    kinds[0] == kinds[1] && (&rule.name, &rule.labels) == (&was.name, &was.labels)
}

/// Writes the samples, and a stale marker for each series that is there no more.
fn write(rule: usize, state: &mut RuleState, mut samples: Vec<(Labels, f64)>, at: Timestamp, host: &mut dyn Host) {
    let written: BTreeMap<u64, Labels> =
        samples.iter().map(|(labels, _)| (labels.fingerprint(), labels.clone())).collect();
    let ended = state.written.iter().filter(|(key, _)| !written.contains_key(key));
    samples.extend(ended.map(|(_, labels)| (labels.clone(), stale())));
    host.write(rule, at, &samples);
    state.written = written;
}

/// One rule at one tick.
struct Evaluation<'a> {
    rule: &'a RuleConfig,
    external: &'a External,
    instance: &'a Labels,
    limit: usize,
    interval: Span,
    /// What was restored and is not seen has ended.
    is_settled: bool,
    now: Timestamp,
    /// The time of the query: `now` less the group's offset.
    at: Timestamp,
}

impl Evaluation<'_> {
    /// The samples that the rule gives.
    fn step(&self, state: &mut RuleState, host: &mut dyn Host) -> Result<Vec<(Labels, f64)>, String> {
        let points = host.query(&self.rule.plan, self.at)?;
        match &self.rule.kind {
            Kind::Record => self.record(points),
            Kind::Alert { held_for, keep_firing_for, .. } => {
                let seen = self.alerts(points, host)?;
                self.advance(state, seen, *held_for, *keep_firing_for, host)
            }
        }
    }

    fn record(&self, points: Vec<Point>) -> Result<Vec<(Labels, f64)>, String> {
        let own = self.rule.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let own = [(NAME, self.rule.name.as_str())].into_iter().chain(own);
        // An empty value takes a label away, so the set is not built beforehand.
        let samples: Vec<(Labels, f64)> =
            points.iter().map(|p| (Labels::new(p.labels.iter().chain(own.clone())), p.value)).collect();
        let mut keys: Vec<&Labels> = samples.iter().map(|(labels, _)| labels).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("vector contains metrics with the same labelset after applying rule labels".into());
        }
        if self.limit > 0 && samples.len() > self.limit {
            return Err(format!("exceeded limit of {} with {} series", self.limit, samples.len()));
        }
        Ok(samples)
    }

    /// The alerts of the results, as if each were new.
    fn alerts(&self, points: Vec<Point>, host: &mut dyn Host) -> Result<BTreeMap<u64, ActiveAlert>, String> {
        let Kind::Alert { labels: templates, annotations, .. } = &self.rule.kind else { return Ok(BTreeMap::new()) };
        let mut seen = BTreeMap::new();
        for point in points {
            let data = Data {
                labels: point.labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
                value: point.value,
                external: self.external,
                at: self.now,
            };
            let mut query = |text: &str| {
                let plan = promql::compile(text).map_err(|error| error.message)?;
                host.query(&plan, self.at)
            };
            let own: Vec<(String, String)> = self
                .rule
                .labels
                .iter()
                .zip(templates)
                .map(|((name, _), template)| (name.clone(), template.expand(&data, &mut query)))
                .collect();
            let annotations = annotations.iter().map(|(n, t)| (n.clone(), t.expand(&data, &mut query))).collect();
            let own = own.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let fixed = [(NAME, ""), ("alertname", self.rule.name.as_str())];
            let labels = Labels::new(point.labels.iter().chain(own).chain(fixed));
            let alert = ActiveAlert {
                labels,
                annotations,
                value: point.value,
                state: State::Pending,
                active_at: self.now,
                fired_at: None,
                kept_since: None,
                resolved_at: None,
            };
            if seen.insert(alert.labels.fingerprint(), alert).is_some() {
                return Err("vector contains metrics with the same labelset after applying alert labels".into());
            }
        }
        Ok(seen)
    }

    fn advance(
        &self,
        state: &mut RuleState,
        seen: BTreeMap<u64, ActiveAlert>,
        held_for: Span,
        keep_for: Span,
        host: &mut dyn Host,
    ) -> Result<Vec<(Labels, f64)>, String> {
        let now = self.now;
        let is_kept = |kept: Option<Timestamp>| keep_for > Span::ZERO && now - kept.unwrap_or(now) < keep_for;
        let stays = |alert: &ActiveAlert| alert.state == State::Firing && is_kept(alert.kept_since);
        let unseen = state.alerts.iter().filter(|(key, alert)| !seen.contains_key(key) && stays(alert));
        let count = seen.len() + unseen.count();
        if self.limit > 0 && count > self.limit {
            return Err(format!("exceeded limit of {} with {count} alerts", self.limit));
        }
        let here: BTreeSet<u64> = seen.keys().copied().collect();
        for (key, mut alert) in seen {
            match state.alerts.get_mut(&key) {
                Some(known) if known.state != State::Resolved => {
                    known.value = alert.value;
                    known.annotations = alert.annotations;
                    known.kept_since = None;
                }
                _ => {
                    self.resume(state, &mut alert, held_for, host);
                    state.alerts.insert(key, alert);
                }
            }
        }
        state.alerts.retain(|key, alert| here.contains(key) || outlives(alert, keep_for, now));
        state.restored.retain(|_, restored| !self.is_settled || is_kept(Some(*restored.kept_since.get_or_insert(now))));
        let mut samples = Vec::new();
        for alert in state.alerts.values_mut().filter(|a| a.state != State::Resolved) {
            if alert.state == State::Pending && now - alert.active_at >= held_for {
                alert.state = State::Firing;
                alert.fired_at = Some(now);
            }
            samples.extend(self.samples(alert));
        }
        samples.extend(state.restored.values().map(|restored| self.restored(restored)));
        Ok(samples)
    }

    /// `ALERTS` of an alert that goes on to fire unseen.
    fn restored(&self, restored: &Restored) -> (Labels, f64) {
        let of_instance = |name: &str| !self.instance.get(name).is_empty();
        let is_own = |name: &str| !of_instance(name) || self.instance.get(name) != restored.labels.get(name);
        let own = [(NAME, "ALERTS"), ("alertstate", "firing")];
        (restored.labels.filtered(is_own).merged(&Labels::new(own)), 1.0)
    }

    /// What is known of an alert from before a restart: that it fired, or since when there was a result.
    fn resume(&self, state: &mut RuleState, alert: &mut ActiveAlert, held_for: Span, host: &mut dyn Host) {
        let told = if self.instance.is_empty() { alert.labels.clone() } else { self.instance.merged(&alert.labels) };
        let restored = state.restored.remove(&told.fingerprint());
        if state.is_known || (restored.is_none() && held_for == Span::ZERO) {
            self.resume_firing(alert, restored);
            return;
        }
        let [_, (series, _)] = self.samples(alert);
        if let Some((seen, began)) = host.for_state(&series, self.at)
            && began.is_finite()
        {
            let began = Timestamp((began * 1000.0) as i64).min(seen);
            let gap = self.at - seen;
            // What was not seen did not count, but for what one missed evaluation may hide.
            let missed = if gap <= self.interval.times(2) { Span::ZERO } else { gap };
            alert.active_at = (began + missed).min(self.now);
        }
        self.resume_firing(alert, restored);
    }

    fn resume_firing(&self, alert: &mut ActiveAlert, restored: Option<Restored>) {
        let Some(restored) = restored else { return };
        alert.state = State::Firing;
        alert.fired_at = Some(restored.since);
        alert.active_at = alert.active_at.min(restored.since);
    }

    /// `ALERTS` and `ALERTS_FOR_STATE` of an alert.
    fn samples(&self, alert: &ActiveAlert) -> [(Labels, f64); 2] {
        let state = if alert.state == State::Firing { "firing" } else { "pending" };
        // As in Prometheus, a label whose template gave nothing is shown as it was written.
        let written = self.rule.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let all = || written.clone().chain(alert.labels.iter());
        let alerts = Labels::new(all().chain([(NAME, "ALERTS"), ("alertstate", state)]));
        let for_state = Labels::new(all().chain([(NAME, "ALERTS_FOR_STATE")]));
        [(alerts, 1.0), (for_state, alert.active_at.millis().div_euclid(1000) as f64)]
    }
}

/// What becomes of an alert without a result, and whether it is kept at all.
fn outlives(alert: &mut ActiveAlert, keep_for: Span, now: Timestamp) -> bool {
    match alert.state {
        State::Pending => false,
        State::Resolved => alert.resolved_at.is_some_and(|at| now - at <= RESOLVED_FOR),
        State::Firing => {
            if keep_for > Span::ZERO && now - *alert.kept_since.get_or_insert(now) < keep_for {
                return true;
            }
            alert.state = State::Resolved;
            alert.resolved_at = Some(now);
            true
        }
    }
}

#[cfg(test)]
mod tests;
