//! Pure: readings to levels.
//!
//! Enters: what an expression gave for each label set, and `now`. Leaves: transitions of level, and criteria
//! that become due or cease to be. A rule never acts and never asks the clock; missing data is its own answer.

pub mod condition;
pub mod config;
pub mod machine;
pub mod prometheus;
pub mod share;

use std::sync::Arc;

pub use condition::{Comparison, Condition, Test, When};
pub use machine::{Alert, Change, Judged, Transition};

use crate::base::{Labels, Level, Span, Unit};
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
    /// Entered: an alert of level warning.
    pub warning: Option<Condition>,
    /// Entered: an alert of level critical, which replaces a warning.
    pub critical: Option<Condition>,
    /// Entered: a criterion is due.
    pub rollback: Option<Criterion>,
    /// What missing data means.
    pub no_data: NoData,
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

/// A rule's `rollback` condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Criterion {
    /// When it is due.
    pub condition: Condition,
    /// A more careful mode than `[rollback] mode`, by its word: `observe` or `ask`.
    pub mode: Option<String>,
    /// The highest rung of the ladder it may use; the last where unset.
    pub rung: Option<String>,
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
