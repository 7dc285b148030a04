//! What else a team could have used, each after its public documentation.
//!
//! The checks are given the same limits as ours (10 % errors, 1.5 times the level before, 90 % of the memory);
//! intervals, counts, failure limits and the end of the analysis are those that each documentation shows. Each
//! comes twice where it ends early: as documented, and made to look on for the whole watch, since the two say
//! different things: how long a fault may hide, and what it costs to look on.

mod argo;
mod flagger;
mod kayenta;
mod prometheus;

pub use argo::{Background, Step};
pub use flagger::Flagger;
pub use kayenta::Kayenta;
pub use prometheus::{Mixin, Sliding, Threshold, TrafficFloor};

use std::fmt;

use super::watch::{Policy, Series, Watch};

/// All of them, in the order of the table.
pub fn all() -> Vec<Box<dyn Policy>> {
    vec![
        Box::new(Threshold),
        Box::new(Sliding),
        Box::new(TrafficFloor),
        Box::new(Mixin),
        Box::new(Background { whole_watch: false }),
        Box::new(Background { whole_watch: true }),
        Box::new(Step),
        Box::new(Flagger { whole_watch: false }),
        Box::new(Flagger { whole_watch: true }),
        Box::new(Kayenta::documented()),
        Box::new(Kayenta::with_effect_size()),
        Box::new(Kayenta::whole_watch()),
    ]
}

/// How much above the level before a value may lie, for checks that know only one figure.
const WORSE: f64 = 1.5;

/// How full memory may be.
const FULL: f64 = 0.90;

/// The mean of the hour before T0: what a script can put into a check when it deploys.
fn hour_before(series: &Series) -> Option<f64> {
    series.mean(-60, 0)
}

/// What a single query sees at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    /// A figure.
    Value(f64),
    /// An empty vector, or NaN: there were no samples, or no requests.
    Nothing,
    /// The query failed.
    Failed,
}

/// For reasons.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Value(value) => write!(f, "{value:.4}"),
            Answer::Nothing => f.write_str("has no data"),
            Answer::Failed => f.write_str("could not be read"),
        }
    }
}

/// One check of one signal, with the most that it may be.
#[derive(Clone, Copy)]
enum Check {
    Values { limit: f64 },
    Errors { limit: f64 },
    Memory { limit: f64 },
}

impl Check {
    /// The checks that a watch allows, each with its limit.
    fn of(watch: &Watch, errors: f64) -> Vec<Check> {
        let values = watch.values.and_then(|values| hour_before(&values));
        let values = values.map(|level| Check::Values { limit: WORSE * level });
        let requests = watch.requests.map(|_| Check::Errors { limit: errors });
        let memory = watch.memory.map(|_| Check::Memory { limit: FULL });
        [requests, values, memory].into_iter().flatten().collect()
    }

    /// The mean over the last `window` minutes of the new version, asked at that second after T0.
    fn ask(self, watch: &Watch, second: u32, window: i64) -> Answer {
        if !watch.answers(second) {
            return Answer::Failed;
        }
        let now = i64::from(second / 60);
        let from = (now - window).max(0);
        let value = match self {
            Check::Values { .. } => watch.values.and_then(|values| values.mean(from, now)),
            Check::Errors { .. } => watch.requests.and_then(|counts| counts.share(from, now)),
            Check::Memory { .. } => watch.memory.and_then(|memory| memory.mean(from, now)),
        };
        value.map_or(Answer::Nothing, Answer::Value)
    }

    fn limit(self) -> f64 {
        match self {
            Check::Values { limit } | Check::Errors { limit } | Check::Memory { limit } => limit,
        }
    }

    fn what(self) -> &'static str {
        match self {
            Check::Values { .. } => "value",
            Check::Errors { .. } => "share of errors",
            Check::Memory { .. } => "memory",
        }
    }
}
