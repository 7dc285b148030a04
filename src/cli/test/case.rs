//! What a test file asks, however it was written.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::notation::Points;
use crate::base::{Labels, Level, Span, Timestamp};
use crate::notify::story::EventKind;
use crate::promql::Plan;
use crate::rollback::guard::Guard;
use crate::rollback::machine::Mode;
use crate::rule::prometheus::External;

/// The most series of a test.
pub const MAX_SERIES: usize = 10_000;

/// The most points of all series of a test.
pub const MAX_ALL_POINTS: usize = 2_000_000;

/// The most evaluations of a group in a test.
pub const MAX_TICKS: i64 = 50_000;

/// A test file, read.
#[derive(Debug, Default)]
pub struct TestFile {
    /// How often rules are evaluated.
    pub evaluation_interval: Span,
    /// Groups in the order in which they are evaluated; those not named come as if they were the first.
    pub group_order: Vec<String>,
    /// Values may differ in their last bit.
    pub fuzzy: bool,
    /// In order.
    pub tests: Vec<Test>,
}

/// One test: series, and what must follow.
#[derive(Debug)]
pub struct Test {
    /// For people, and for `--run`.
    pub name: String,
    /// Files of rules, as written.
    pub rule_files: Vec<String>,
    /// Ready-made rules, by the names of their packs.
    pub packs: Vec<&'static str>,
    /// The step of the series.
    pub interval: Span,
    /// The time of the first point.
    pub start: Timestamp,
    /// Labels with their points.
    pub series: Vec<(Labels, Points)>,
    /// What templates see.
    pub external: External,
    /// Deployments, in the order of time.
    pub deploys: Vec<Deploy>,
    /// What a due criterion does, instead of what the configuration says.
    pub mode: Option<Mode>,
    /// What happens in it is called a drill.
    pub drill: bool,
    /// What is asked, in the order of the file.
    pub checks: Vec<Check>,
}

/// A deployment in a test.
#[derive(Clone, Debug, PartialEq)]
pub struct Deploy {
    /// When it is announced, from the start.
    pub at: Span,
    /// What goes live.
    pub version: String,
    /// What was there before.
    pub previous: Option<String>,
    /// When it is live, from the start; at once where unset.
    pub complete: Option<Span>,
}

/// One expectation.
#[derive(Debug)]
pub struct Check {
    /// When, from the start.
    pub at: Span,
    /// What.
    pub what: What,
}

/// What is asked.
#[derive(Debug)]
pub enum What {
    /// Exactly these alerts of that name fire.
    Alerts(String, Vec<Alert>),
    /// The expression gives exactly these samples.
    Query {
        /// As written.
        text: String,
        /// Compiled.
        plan: Arc<Plan>,
        /// What it must give.
        samples: Vec<(Labels, f64)>,
    },
    /// A rule of backstop stands so.
    Rule(RuleCheck),
    /// The levels of a rule of backstop, all of them.
    Levels(LevelsCheck),
    /// Somebody was told.
    Notified(NotifiedCheck),
    /// A decision about a rollback.
    Rollback(RollbackCheck),
}

impl What {
    /// Whether it is about the run as a whole: then the run goes on to the end of the series.
    pub fn is_of_the_run(&self) -> bool {
        matches!(self, What::Levels(_) | What::Notified(_) | What::Rollback(_))
    }
}

/// The levels that a rule must go through.
#[derive(Debug, Default)]
pub struct LevelsCheck {
    /// The rule.
    pub rule: String,
    /// Labels that choose among its alerts.
    pub labels: BTreeMap<String, String>,
    /// Each level with the time at which it is entered, from the start.
    pub levels: Vec<(Level, Span)>,
}

/// A message that must, or must not, have been decided.
#[derive(Debug, Default)]
pub struct NotifiedCheck {
    /// When, from the start; at any time where unset.
    pub at: Option<Span>,
    /// The channel; any where unset.
    pub channel: Option<String>,
    /// The word of a channel's `events`.
    pub event: Option<EventKind>,
    /// Why an alert is told, as the message has it.
    pub reason: Option<&'static str>,
    /// What its subject or text contains.
    pub contains: Vec<String>,
    /// How many of them; at least one where unset.
    pub count: Option<u32>,
}

/// What must have been decided about a rollback.
#[derive(Debug)]
pub struct RollbackCheck {
    /// When, from the start.
    pub at: Option<Span>,
    /// No later than this, from the start.
    pub within: Option<Span>,
    /// The rule; any where unset.
    pub rule: Option<String>,
    /// What.
    pub decision: Decided,
}

/// A decision about a rollback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// Nothing at all.
    None,
    /// The criterion became due.
    Due,
    /// A guard held it.
    Held(Guard),
    /// The mode only observes, and it was said what it would do.
    Observed,
    /// A person was asked.
    Asked,
    /// It was announced.
    Announced,
    /// Its steps were handed to the executor.
    Requested,
}

/// How a rule of backstop must stand.
#[derive(Debug, Default)]
pub struct RuleCheck {
    /// The rule.
    pub rule: String,
    /// Labels that choose among its alerts; all of them where empty.
    pub labels: BTreeMap<String, String>,
    /// How it stands.
    pub stand: Option<Stand>,
    /// The value of the last reading.
    pub value: Option<f64>,
    /// Whether its criterion is due.
    pub due: Option<bool>,
}

/// How a rule stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// At this level.
    Level(Level),
    /// It has no data.
    NoData,
    /// Its expression fails.
    Failed,
}

/// An alert with everything that people see of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alert {
    /// `alertname` included.
    pub labels: BTreeMap<String, String>,
    /// Expanded.
    pub annotations: BTreeMap<String, String>,
}

impl Test {
    /// The last moment that is asked about, from the start.
    pub fn last(&self) -> Span {
        let asked = self.checks.iter().map(|check| check.at).max().unwrap_or_default();
        if !self.checks.iter().any(|check| check.what.is_of_the_run()) {
            return asked;
        }
        let points = self.series.iter().map(|(_, points)| points.len()).max().unwrap_or(0);
        asked.max(self.interval.times(points.saturating_sub(1) as i64))
    }
}

/// An expectation that did not hold, or a test that could not be run to its end.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Failure {
    /// The test.
    pub test: String,
    /// When: `5m`; empty where it is about the test as a whole.
    pub at: String,
    /// What was asked.
    pub what: String,
    /// What was expected, a line for each part.
    pub expected: Vec<String>,
    /// What was there.
    pub got: Vec<String>,
}
