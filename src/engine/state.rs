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
    /// Whether the last life of the agent ended as it should; none before the first.
    pub clean_stop: Option<bool>,
}

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
                if matches!(event, watch::Event::Live { .. }) {
                    self.watches.note_facts(self.facts.all());
                }
            }
            Event::Signal(event) => self.signals.apply(event),
            Event::Fact(event) => self.apply_fact(event),
        }
    }

    /// The lines that the last change of this alert showed; none while it is ok.
    pub fn lines_of(&self, rule: &str, labels: &Labels) -> &[Line] {
        let standing = self.alerts.get(rule).and_then(|of_rule| of_rule.get(&labels.fingerprint()));
        standing.map_or(&[], |standing| &standing.because.lines)
    }

    fn apply_rule(&mut self, change: &rule::Change) {
        let (rule, labels, at, because) = match change {
            rule::Change::Level(t) => (&t.rule, &t.labels, t.at, &t.because),
            rule::Change::Criterion { rule, labels, at, because, .. } => (rule, labels, *at, because),
        };
        let key = labels.fingerprint();
        let of_rule = self.alerts.entry(rule.clone()).or_default();
        let standing = of_rule.entry(key).or_insert_with(|| Standing {
            labels: labels.clone(),
            level: Level::Ok,
            since: at,
            due: false,
            because: because.clone(),
        });
        standing.because = because.clone();
        match change {
            rule::Change::Level(t) => {
                standing.level = t.to;
                standing.since = t.at;
            }
            rule::Change::Criterion { due, .. } => standing.due = *due,
        }
        if standing.level == Level::Ok && !standing.due {
            of_rule.remove(&key);
        }
        if of_rule.is_empty() {
            self.alerts.remove(rule);
        }
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
        self.incidents.shift(by);
        self.outbox.shift(by);
        self.rollbacks.shift(by);
        self.watches.shift(by);
        self.signals.shift(by);
        self.facts.shift(by);
    }
}
