//! One watch after a deployment, as every policy sees it, and what a policy did in it.
//!
//! Enters: minutes before T0 and minutes after it, of up to three signals, and the seconds in which the metrics
//! could not be read. Leaves: the alarms and the rollback of one policy, in minutes after T0. Minute `m` after T0
//! is the stretch `[m, m + 1)`; a policy decides at its end, and that is the minute it is charged with: `m + 1`.

use backstop::rule::trend::Floors;

use super::ours::{Baseline, Errors};

/// Minutes of a watch of values or requests: 48 h.
pub const WATCH: usize = 2880;

/// The share of errors that every policy is told to alarm above.
pub const ERROR_LIMIT: f64 = 0.10;

/// One value a minute; `NaN` is a minute without any.
#[derive(Clone, Copy)]
pub struct Series<'a> {
    /// Oldest first, the last ends at T0.
    pub before: &'a [f64],
    /// From T0 on.
    pub after: &'a [f64],
}

/// Requests and errors a minute; `NaN` is a minute that nobody counted.
#[derive(Clone, Copy)]
pub struct Counts<'a> {
    /// Requests.
    pub total: Series<'a>,
    /// Those of them that failed.
    pub errors: Series<'a>,
}

/// What our procedures know from before T0; worked out once for all scenarios that share a past.
#[derive(Clone, Default)]
pub struct Past {
    /// Of the values.
    pub baseline: Option<Baseline>,
    /// Of the requests.
    pub errors: Option<Errors>,
    /// Of the memory.
    pub floors: Option<Floors>,
}

/// One watch.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// A latency, or whatever has a usual level; higher is worse.
    pub values: Option<Series<'a>>,
    /// Requests with errors.
    pub requests: Option<Counts<'a>>,
    /// Memory as a share of its limit.
    pub memory: Option<Series<'a>>,
    /// The seconds after T0 in which the metrics could not be read: from, to (not included).
    pub silence: Option<(u32, u32)>,
    /// See [`Past`].
    pub past: &'a Past,
}

/// What a policy did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It told somebody, and left the version where it is.
    Alarm,
    /// It took the version back, which is an alarm as well. The watch ends here.
    Rollback,
}

/// One act.
#[derive(Clone, Debug)]
pub struct Event {
    /// Minutes after T0.
    pub minute: u32,
    /// What.
    pub act: Act,
    /// Why, for people; empty unless asked for.
    pub because: String,
}

/// All that a policy did in one watch, in order of time.
#[derive(Debug, Default)]
pub struct Log {
    explain: bool,
    /// In order of time; nothing follows a rollback.
    pub events: Vec<Event>,
    /// Why it judges a signal of this watch not at all, which people are told when the watch begins.
    pub refusal: Option<String>,
}

impl Log {
    /// A log whose events carry their reasons if `explain`: they cost more than most decisions.
    pub fn new(explain: bool) -> Log {
        Log { explain, ..Log::default() }
    }

    /// Notes that an act began.
    pub fn add(&mut self, minute: u32, act: Act, because: impl FnOnce() -> String) {
        let because = if self.explain { because() } else { String::new() };
        self.events.push(Event { minute, act, because });
    }

    /// Brings the acts of several signals in order of time, and drops what follows a rollback.
    pub fn settle(&mut self) {
        self.events.sort_by_key(|event| event.minute);
        if let Some(last) = self.events.iter().position(|event| event.act == Act::Rollback) {
            self.events.truncate(last + 1);
        }
    }

    /// The minute of the rollback.
    pub fn rollback(&self) -> Option<u32> {
        self.events.iter().find(|event| event.act == Act::Rollback).map(|event| event.minute)
    }
}

impl Watch<'_> {
    /// Minutes that the watch lasts.
    pub fn minutes(&self) -> u32 {
        let lengths = [self.values, self.requests.map(|counts| counts.total), self.memory];
        lengths.iter().flatten().map(|series| series.after.len()).max().unwrap_or(0) as u32
    }

    /// Whether a query at this second after T0 is answered.
    pub fn answers(&self, second: u32) -> bool {
        self.silence.is_none_or(|(from, to)| second < from || second >= to)
    }
}

impl Series<'_> {
    /// The value of a minute counted from T0, negative before it; `NaN` where there is none.
    pub fn at(&self, minute: i64) -> f64 {
        if minute >= 0 {
            self.after.get(minute as usize).copied().unwrap_or(f64::NAN)
        } else {
            let back = minute.unsigned_abs() as usize;
            self.before.len().checked_sub(back).map_or(f64::NAN, |i| self.before[i])
        }
    }

    /// The values of the minutes `from..to` that exist.
    pub fn present(&self, from: i64, to: i64) -> impl Iterator<Item = (i64, f64)> {
        (from..to).map(|minute| (minute, self.at(minute))).filter(|(_, value)| value.is_finite())
    }

    /// Sum over `from..to`; none where no minute of it exists.
    pub fn sum(&self, from: i64, to: i64) -> Option<f64> {
        self.present(from, to).fold(None, |sum, (_, value)| Some(sum.unwrap_or(0.0) + value))
    }

    /// Mean over `from..to`; none where no minute of it exists.
    pub fn mean(&self, from: i64, to: i64) -> Option<f64> {
        let (sum, n) = self.present(from, to).fold((0.0, 0.0), |(sum, n), (_, value)| (sum + value, n + 1.0));
        (n > 0.0).then(|| sum / n)
    }
}

impl Counts<'_> {
    /// Errors over requests in `from..to`, as a query divides two rates; none where there are no samples or no
    /// request, which the query answers with an empty vector or with NaN.
    pub fn share(&self, from: i64, to: i64) -> Option<f64> {
        let (errors, total) = (self.errors.sum(from, to)?, self.total.sum(from, to)?);
        (total > 0.0).then(|| errors / total)
    }
}

/// Notes the beginnings of a condition that may hold on and end again.
#[derive(Default)]
pub struct Edge {
    held: bool,
}

impl Edge {
    /// Whether the condition holds now and did not a moment ago.
    pub fn rises(&mut self, holds: bool) -> bool {
        let rises = holds && !self.held;
        self.held = holds;
        rises
    }
}

/// What decides for a person: one way of judging all signals of a watch.
pub trait Policy: Sync {
    /// Its name in the table.
    fn name(&self) -> &'static str;

    /// Whether it can take a version back, or only tells.
    fn rolls_back(&self) -> bool;

    /// Whether it has anything to say about the signals of this watch.
    fn judges(&self, watch: &Watch) -> bool {
        watch.minutes() > 0
    }

    /// Writes into `log` what it does in this watch. Signals that the watch does not have are left alone.
    fn judge(&self, watch: &Watch, log: &mut Log);

    /// Where its settings are from, and how it ends: one line below the table.
    fn note(&self) -> &'static str;
}
