//! Pure: readings to levels.
//!
//! Enters: what an expression gave for each label set, and `now`. Leaves: transitions of level, and criteria
//! that become due or cease to be. A rule never acts and never asks the clock; missing data is its own answer.

pub mod baseline;
pub mod condition;
pub mod config;
pub mod evidence;
pub mod gate;
pub mod machine;
pub mod prometheus;
pub mod ratio;
pub mod share;
pub mod trend;

use std::sync::Arc;

pub use condition::{Clause, Comparison, Condition, Hits, Offset, Test, When};
pub use evidence::{Asks, Evidence, Known, Role};
pub use gate::Gate;
pub use machine::{Alert, Change, Judged, Setting, Stood, Transition, Turn};

use crate::base::{Labels, Level, Quantity, SourceRef, Span, Unit};
use crate::promql;
use crate::store::Selector;

/// One rule: a value, and the conditions it is held against.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The name, an identity: renaming a rule ends its alerts as gone.
    pub name: String,
    /// What is judged.
    pub value: Value,
    /// How figures of this rule are written.
    pub unit: Unit,
    /// Entered: a line in the report is missed, and nobody is told.
    pub target: Option<Condition>,
    /// Entered: an alert of level warning.
    pub warning: Option<Condition>,
    /// Entered: an alert of level critical, which replaces a warning.
    pub critical: Option<Condition>,
    /// Entered: a criterion is due.
    pub rollback: Option<Criterion>,
    /// What missing data means.
    pub no_data: NoData,
    /// What `baseline` means in its conditions.
    pub baseline: Baseline,
    /// When it is judged.
    pub scope: Scope,
    /// Its value is the mean since T0.
    pub over_watch: bool,
    /// Added to each alert.
    pub labels: Labels,
    /// One line for people, shown with the alert.
    pub summary: Option<String>,
    /// What to do about it: text or an address.
    pub runbook: Option<String>,
}

/// What a rule judges.
#[derive(Clone, Debug)]
pub enum Value {
    /// A PromQL expression; each label set of its result is judged by itself.
    Expression {
        /// As written.
        text: String,
        /// Compiled.
        plan: Arc<promql::Plan>,
    },
    /// A PromQL expression whose value a remote server gives.
    Remote {
        /// As written.
        text: String,
        /// The server's name.
        remote: String,
        /// What is asked.
        query: Arc<promql::RemoteQuery>,
        /// How long an answer may take.
        timeout: Span,
    },
    /// A share of events, judged with its counts.
    Share {
        /// Both selectors, as written: of the errors, and of all.
        texts: [String; 2],
        /// Selector of the counters that count as errors.
        errors: Arc<Selector>,
        /// Selector of the counters of all events.
        total: Arc<Selector>,
        /// How far back events are counted.
        window: Span,
        /// The labels kept.
        by: Vec<String>,
        /// Fewer errors than this never count.
        min_errors: u32,
    },
}

impl Rule {
    /// A rule without conditions; everything else is as where nothing is written.
    pub fn new(name: &str, value: Value, unit: Unit) -> Rule {
        Rule {
            name: name.into(),
            value,
            unit,
            target: None,
            warning: None,
            critical: None,
            rollback: None,
            no_data: NoData::default(),
            baseline: Baseline::default(),
            scope: Scope::default(),
            over_watch: false,
            labels: Labels::empty(),
            summary: None,
            runbook: None,
        }
    }

    /// How far back samples take part in how its conditions stand: the longest of their times.
    pub fn horizon(&self, interval: Span) -> Span {
        let of = |c: &Condition| c.held_for.max(c.keep).max(interval.times(c.hits.map_or(0, |h| i64::from(h.of))));
        self.conditions().map(|(_, c)| of(c)).max().unwrap_or(Span::ZERO)
    }

    /// Whether some condition holds its value against what was before, or since T0.
    pub fn holds_against_past(&self) -> bool {
        let is_past = matches!(self.baseline, Baseline::History | Baseline::Before | Baseline::Peak);
        let mut tests = self.conditions().filter_map(|(_, condition)| match &condition.when {
            When::Test(test) => Some(test),
            When::Critical | When::Present => None,
        });
        is_past && tests.any(|test| test.0.iter().any(|clause| matches!(clause, Clause::Baseline(..))))
    }

    /// The rules that it depends on, or that its criterion waits for.
    pub fn waited_for(&self) -> impl Iterator<Item = &str> {
        let depends_on = self.scope.depends_on.iter().filter_map(|dependency| match dependency {
            Dependency::Rule(name) => Some(name.as_str()),
            Dependency::Source(_) => None,
        });
        depends_on.chain(self.rollback.iter().flat_map(|criterion| criterion.with.iter().map(String::as_str)))
    }

    /// The series it reads, each with how far back samples of it can take part.
    pub fn reach(&self, look_back: Span) -> Vec<(Selector, Span)> {
        match &self.value {
            Value::Expression { plan, .. } => plan.reach(look_back),
            // What it reads is not here.
            Value::Remote { .. } => Vec::new(),
            Value::Share { errors, total, window, .. } => {
                [errors, total].map(|selector| ((**selector).clone(), *window + look_back)).to_vec()
            }
        }
    }

    /// The series whose rise is what it is about, each with how far back: where there is evidence for an alert of it.
    pub fn evidence(&self, look_back: Span) -> Vec<(Selector, Span)> {
        match &self.value {
            // All events are no evidence of errors.
            Value::Share { errors, window, .. } => vec![((**errors).clone(), *window)],
            Value::Expression { .. } | Value::Remote { .. } => self.reach(look_back),
        }
    }
}

/// What `baseline` means in the conditions of a rule.
#[derive(Clone, Debug, Default)]
pub enum Baseline {
    /// What the same value was in the days before T0, by time of day.
    #[default]
    History,
    /// The mean of the hour before T0.
    Before,
    /// The highest value since T0.
    Peak,
    /// A figure.
    Value(Quantity),
    /// What another expression gives for the same labels, or for all where it gives one value.
    Expression {
        /// As written.
        text: String,
        /// Compiled.
        plan: Arc<promql::Plan>,
    },
}

/// When a rule is judged, and what holds it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope {
    /// Not so long after T0.
    pub after: Span,
    /// Earlier than `after` says, once this held.
    pub arm: Option<Test>,
    /// Only in these phases of a watch; always where empty.
    pub phases: Vec<String>,
    /// Held while one of these is in trouble.
    pub depends_on: Vec<Dependency>,
}

/// What a rule depends on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dependency {
    /// A rule, by name.
    Rule(String),
    /// A source.
    Source(SourceRef),
}

/// A rule's `rollback` condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Criterion {
    /// When it is due.
    pub condition: Condition,
    /// A more careful mode than `[rollback] mode`, by its word: `observe` or `ask`.
    pub mode: Option<String>,
    /// The highest rung of the ladder it may use; the last where unset.
    pub rung: Option<String>,
    /// Only due while these rules are critical as well.
    pub with: Vec<String>,
}

/// What missing data means for a rule's level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoData {
    /// The level stays.
    #[default]
    Hold,
    /// As if no condition held.
    Ok,
    /// As if the condition of that level held.
    As(Level),
}
