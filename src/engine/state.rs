//! What the engine remembers across restarts: the fold of its journaled events.
//!
//! There is one way to change it, [`State::apply`]; starting fresh, going on and recovering are the same fold.
//! What changes with every sample (windows, counts, pending conditions) is not here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::facts::{self, Facts};
use super::signals::{self, Signals};
use crate::base::{Because, Labels, Level, Line, Span, Timestamp};
use crate::incident::{self, Incidents};
use crate::notify::outbox::{self, Outbox};
use crate::rollback::machine::{self as rollback, Rollbacks};
use crate::rule;
use crate::watch::{self, Watches};

/// Everything that is journaled, in the order it happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// The agent began.
    Started {
        /// When.
        at: Timestamp,
        /// Its version.
        version: String,
    },
    /// The agent ended as it should.
    Stopped {
        /// When.
        at: Timestamp,
    },
    /// The wall clock was set, and everything remembered moved with it.
    ClockStepped {
        /// The time after it.
        at: Timestamp,
        /// By how much.
        by: Span,
    },
    /// A rule's level, or its criterion.
    Rule(rule::Change),
    /// An incident.
    Incident(incident::Event),
    /// A delivery.
    Delivery(outbox::Event),
    /// A rollback.
    Rollback(rollback::Event),
    /// A deployment.
    Watch(watch::Event),
    /// A signal.
    Signal(signals::Event),
    /// What runs.
    Fact(facts::Event),
    /// How the conditions of an alert stood right after a change.
    Stood(rule::Stood),
    /// What a rule depends on came into trouble, or out of it: from then on its conditions were held, or judged again.
    Held {
        /// The rule.
        rule: String,
        /// When.
        at: Timestamp,
        /// Whether it is held from then on.
        held: bool,
        /// How the conditions of its alerts stood that were entered; those of all others were off.
        stood: Vec<rule::Stood>,
    },
    /// What a rule's value was before T0, kept for the watch.
    Known {
        /// The rule.
        rule: String,
        /// What is known, by label set.
        known: Vec<(Labels, rule::Known)>,
    },
}

impl Event {
    /// One word for those who read the database by hand.
    pub fn kind(&self) -> &'static str {
        match self {
            Event::Started { .. } => "started",
            Event::Stopped { .. } => "stopped",
            Event::ClockStepped { .. } => "clock-stepped",
            Event::Rule(_) => "rule",
            Event::Incident(_) => "incident",
            Event::Delivery(_) => "delivery",
            Event::Rollback(_) => "rollback",
            Event::Watch(_) => "watch",
            Event::Signal(_) => "signal",
            Event::Fact(_) => "fact",
            Event::Stood(_) => "stood",
            Event::Held { .. } => "held",
            Event::Known { .. } => "known",
        }
    }
}

/// The level and criterion of one alert, as last journaled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// The alert's labels.
    pub labels: Labels,
    /// Its level.
    pub level: Level,
    /// Since when.
    pub since: Timestamp,
    /// Whether its criterion is due.
    pub due: bool,
    /// Whether its target is missed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub missed: bool,
    /// Why.
    pub because: Because,
}

/// The fold of all events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Alerts that are not ok, by rule and label set.
    pub alerts: BTreeMap<String, BTreeMap<u64, Standing>>,
    /// What is wrong, and was.
    pub incidents: Incidents,
    /// What is to be sent, and was.
    pub outbox: Outbox,
    /// Runs.
    pub rollbacks: Rollbacks,
    /// Deployments.
    pub watches: Watches,
    /// Signals. A snapshot from before there were any has none.
    #[serde(default)]
    pub signals: Signals,
    /// What runs. A snapshot from before it was known has none.
    #[serde(default)]
    pub facts: Facts,
    /// How the conditions of alerts stood at their last change, also of those that ended some hours ago.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stood: BTreeMap<String, BTreeMap<u64, rule::Stood>>,
    /// Since when rules are held by what they depend on, or judged again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub held: BTreeMap<String, (Timestamp, bool)>,
    /// What rules know of the time before T0, while a watch is live.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub known: BTreeMap<String, Vec<(Labels, rule::Known)>>,
    /// Whether the last life of the agent ended as it should; none before the first.
    pub clean_stop: Option<bool>,
}

/// How long it is known of an alert that ended how its conditions stood: longer than any `for` that a restart looks
/// back over.
const STOOD_FOR: Span = Span::hours(6);

impl State {
    /// Folds one event.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Started { .. } => self.clean_stop = Some(false),
            Event::Stopped { .. } => self.clean_stop = Some(true),
            Event::ClockStepped { by, .. } => self.shift(*by),
            Event::Rule(change) => self.apply_rule(change),
            Event::Incident(event) => self.incidents.apply(event),
            Event::Delivery(event) => self.outbox.apply(event),
            Event::Rollback(event) => self.rollbacks.apply(event),
            Event::Watch(event) => {
                self.watches.apply(event);
                match event {
                    watch::Event::Live { .. } => {
                        self.watches.note_facts(self.facts.all());
                        self.known.clear();
                    }
                    watch::Event::Ended { .. } => self.known.clear(),
                    _ => {}
                }
            }
            Event::Signal(event) => self.signals.apply(event),
            Event::Fact(event) => self.apply_fact(event),
            Event::Stood(stood) => self.apply_stood(stood),
            Event::Held { rule, at, held, stood } => {
                self.held.insert(rule.clone(), (*at, *held));
                let stood = stood.iter().map(|stood| (stood.labels.fingerprint(), stood.clone()));
                self.stood.insert(rule.clone(), stood.collect());
            }
            Event::Known { rule, known } => drop(self.known.insert(rule.clone(), known.clone())),
        }
    }

    /// The lines that the last change of this alert showed; none while it is ok.
    pub fn lines_of(&self, rule: &str, labels: &Labels) -> &[Line] {
        let standing = self.alerts.get(rule).and_then(|of_rule| of_rule.get(&labels.fingerprint()));
        standing.map_or(&[], |standing| &standing.because.lines)
    }

    /// The highest level among the alerts of this name.
    pub fn level_of(&self, rule: &str) -> Level {
        let all = self.alerts.get(rule).into_iter().flat_map(BTreeMap::values);
        all.map(|standing| standing.level).max().unwrap_or_default()
    }

    fn apply_rule(&mut self, change: &rule::Change) {
        let (rule, labels, at, because) = match change {
            rule::Change::Level(t) => (&t.rule, &t.labels, t.at, &t.because),
            rule::Change::Criterion { rule, labels, at, because, .. }
            | rule::Change::Target { rule, labels, at, because, .. } => (rule, labels, *at, because),
        };
        let key = labels.fingerprint();
        let of_rule = self.alerts.entry(rule.clone()).or_default();
        let standing = of_rule.entry(key).or_insert_with(|| Standing {
            labels: labels.clone(),
            level: Level::Ok,
            since: at,
            due: false,
            missed: false,
            because: because.clone(),
        });
        standing.because = because.clone();
        match change {
            rule::Change::Level(t) => {
                standing.level = t.to;
                standing.since = t.at;
            }
            rule::Change::Criterion { due, .. } => standing.due = *due,
            rule::Change::Target { missed, .. } => standing.missed = *missed,
        }
        if standing.level == Level::Ok && !standing.due && !standing.missed {
            of_rule.remove(&key);
        }
        if of_rule.is_empty() {
            self.alerts.remove(rule);
        }
    }

    fn apply_stood(&mut self, stood: &rule::Stood) {
        let of_rule = self.stood.entry(stood.rule.clone()).or_default();
        of_rule.insert(stood.labels.fingerprint(), stood.clone());
        let alerts = self.alerts.get(&stood.rule);
        // Not at each of thousands that change together.
        if !of_rule.len().is_multiple_of(64) {
            return;
        }
        of_rule.retain(|key, known| {
            stood.at - known.at < STOOD_FOR || alerts.is_some_and(|alerts| alerts.contains_key(key))
        });
    }

    fn apply_fact(&mut self, event: &facts::Event) {
        let change = self.facts.apply(event);
        match (event, change) {
            (facts::Event::Seen { thing, value, at, expected: true }, _) => {
                self.watches.note_fact(thing, value, *at, watch::BELONGS);
            }
            (_, Some(change)) => self.watches.note_change(change),
            _ => {}
        }
    }

    fn shift(&mut self, by: Span) {
        for standing in self.alerts.values_mut().flat_map(BTreeMap::values_mut) {
            standing.since += by;
        }
        self.stood.values_mut().flat_map(BTreeMap::values_mut).for_each(|stood| {
            stood.at += by;
            stood.bad_since = stood.bad_since.map(|at| at + by);
            stood.gates.iter_mut().for_each(|gate| gate.shift(by));
        });
        self.held.values_mut().for_each(|(at, _)| *at += by);
        self.incidents.shift(by);
        self.outbox.shift(by);
        self.rollbacks.shift(by);
        self.watches.shift(by);
        self.signals.shift(by);
        self.facts.shift(by);
    }
}
