//! The life of a group: its rules in order, each seeing what those before wrote.
//!
//! Enters: a tick, and a [`Host`] that evaluates and takes what is written. Leaves: recorded series, `ALERTS` and
//! `ALERTS_FOR_STATE` with stale markers where they end, and the alerts themselves ([`Group::alerts`]).
//!
//! An alert is pending from the first evaluation with a result, fires when the result was there for `for`, and is resolved at
//! the first evaluation without one, or `keep_firing_for` after it. A rule whose expression fails leaves its alerts as they are.

use std::collections::BTreeMap;

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

    /// Keeps samples; the next query sees them.
    fn write(&mut self, at: Timestamp, samples: &[(Labels, f64)]);
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
    /// The rule.
    pub rule: String,
    /// Why.
    pub message: String,
}

/// How long a resolved alert is kept.
const RESOLVED_FOR: Span = Span::mins(15);

/// A group with the state of its rules.
#[derive(Debug)]
pub struct Group {
    config: GroupConfig,
    external: External,
    states: Vec<RuleState>,
}

#[derive(Debug, Default)]
struct RuleState {
    /// By fingerprint.
    alerts: BTreeMap<u64, ActiveAlert>,
    /// The series of the last evaluation, by fingerprint.
    written: BTreeMap<u64, Labels>,
}

impl Group {
    /// A group that has not been evaluated.
    pub fn new(config: GroupConfig, external: External) -> Group {
        let states = config.rules.iter().map(|_| RuleState::default()).collect();
        Group { config, external, states }
    }

    /// What it was made from.
    pub fn config(&self) -> &GroupConfig {
        &self.config
    }

    /// The alerts of the rule with index `rule`, by their labels' fingerprint; resolved ones included.
    pub fn alerts(&self, rule: usize) -> impl Iterator<Item = &ActiveAlert> {
        self.states.get(rule).into_iter().flat_map(|state| state.alerts.values())
    }

    /// Evaluates all rules at `now`, in order; gives those that failed.
    pub fn step(&mut self, now: Timestamp, host: &mut dyn Host) -> Vec<RuleError> {
        let at = now - self.config.query_offset;
        let mut errors = Vec::new();
        for (rule, state) in self.config.rules.iter().zip(&mut self.states) {
            let evaluation = Evaluation { rule, external: &self.external, limit: self.config.limit, now, at };
            match evaluation.step(state, host) {
                Ok(samples) => write(state, samples, at, host),
                Err(message) => errors.push(RuleError { rule: rule.name.clone(), message }),
            }
        }
        errors
    }
}

/// Writes the samples, and a stale marker for each series that is there no more.
fn write(state: &mut RuleState, mut samples: Vec<(Labels, f64)>, at: Timestamp, host: &mut dyn Host) {
    let written: BTreeMap<u64, Labels> =
        samples.iter().map(|(labels, _)| (labels.fingerprint(), labels.clone())).collect();
    let ended = state.written.iter().filter(|(key, _)| !written.contains_key(key));
    samples.extend(ended.map(|(_, labels)| (labels.clone(), stale())));
    host.write(at, &samples);
    state.written = written;
}

/// One rule at one tick.
struct Evaluation<'a> {
    rule: &'a RuleConfig,
    external: &'a External,
    limit: usize,
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
                self.advance(state, seen, *held_for, *keep_firing_for)
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
    ) -> Result<Vec<(Labels, f64)>, String> {
        let now = self.now;
        let mut here = std::collections::BTreeSet::new();
        for (key, alert) in seen {
            here.insert(key);
            match state.alerts.get_mut(&key) {
                Some(known) if known.state != State::Resolved => {
                    known.value = alert.value;
                    known.annotations = alert.annotations;
                    known.kept_since = None;
                }
                _ => drop(state.alerts.insert(key, alert)),
            }
        }
        state.alerts.retain(|key, alert| here.contains(key) || outlives(alert, keep_for, now));
        let mut samples = Vec::new();
        let mut count = 0;
        for alert in state.alerts.values_mut().filter(|a| a.state != State::Resolved) {
            count += 1;
            if alert.state == State::Pending && now - alert.active_at >= held_for {
                alert.state = State::Firing;
                alert.fired_at = Some(now);
            }
            samples.extend(self.samples(alert));
        }
        if self.limit > 0 && count > self.limit {
            state.alerts.clear();
            return Err(format!("exceeded limit of {} with {count} alerts", self.limit));
        }
        Ok(samples)
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
