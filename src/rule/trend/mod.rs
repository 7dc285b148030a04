//! Trend rules: `reaches 95% within 4h`, for what only ever grows until it kills the process.
//!
//! Enters: one value a minute, and the floors of the history. Leaves: a [`Finding`] while the *floor* of the value rises
//! so steadily that it reaches the limit in time. A floor is the lowest value of a window: a saw-tooth has a flat one,
//! however steep its teeth. Eight floors are looked at on each of four scales, windows of 10, 30, 60 and 120 minutes;
//! the first verdict comes after 80 minutes, so a watch of half an hour hears nothing from this rule, whatever `within`
//! says. Minutes that are missing make no evidence: a window of which more than half is missing has no floor, and a scale
//! without one of its floors says nothing.

mod finding;
mod floors;
mod scale;

pub use finding::Finding;
pub use floors::Floors;

use crate::base::Span;
use scale::{Scale, Target};

/// Lengths of the windows, in minutes.
pub const SCALES: [u32; 4] = [10, 30, 60, 120];
/// How many windows are looked at.
pub const WINDOWS: usize = 8;

/// No trend rolls anything back earlier than this: a cache that fills to a new high cannot be told from a leak before
/// it flattens.
pub const EARLIEST: Span = Span::hours(4);
/// What falls less often than every twelve hours is no saw-tooth but a restart, and is not waited for twice.
const LATEST: Span = Span::hours(24);

/// The state of a trend rule for one label set and one condition.
///
/// A pure function of the minutes: what was lost in a restart is had again by handing in the same minutes. A deployment
/// or a rollback begins a new one: the floors of another process say nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Trend {
    target: Target,
    history: Option<Floors>,
    /// Minutes since the start, missing ones included.
    age: u64,
    scales: [Scale; SCALES.len()],
}

/// Whether what was found may roll back, or only warn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MayRollBack {
    /// It may.
    Yes,
    /// Old enough, but nothing was found, or found again, since then.
    Unconfirmed,
    /// Not before this age: four hours, or twice the longest saw-tooth of the history.
    From(Span),
    /// Never: without a history nobody knows what is usual.
    NoHistory,
}

impl Trend {
    /// Begins to look. `limit` is in the units of the values and above 0, or nothing is ever found; `within` is the time
    /// in which it must be reached to matter. Where there is no `history`, whatever rises steadily is found, and it may
    /// only warn.
    pub fn new(limit: f64, within: Span, history: Option<Floors>) -> Trend {
        let scales = SCALES.map(Scale::new);
        Trend { target: Target::new(limit, within), history, age: 0, scales }
    }

    /// Takes the next minute; NaN and infinities are missing.
    pub fn see(&mut self, minute: f64) {
        self.age += 1;
        let value = self.target.share(minute);
        let mut longer = false;
        for (i, scale) in self.scales.iter_mut().enumerate().rev() {
            let usual = self.history.as_ref().map(|history| history.usual(i));
            scale.see(value, self.age, &self.target, usual, longer);
            longer = scale.goes_on();
        }
    }

    /// Lets `minutes` pass of which nothing is known. What was found stays found.
    pub fn skip(&mut self, minutes: u32) {
        // After a gap that empties all windows only the alignment matters, which comes back every 120 minutes.
        let longest = SCALES[SCALES.len() - 1];
        let least = longest * (WINDOWS as u32 + 1);
        let over = minutes.saturating_sub(least) / longest * longest;
        (0..minutes - over).for_each(|_| self.see(f64::NAN));
        self.age += u64::from(over);
    }

    /// What holds now: of the scales that found something, the one that reaches the limit first. It is looked at anew at
    /// each end of a window of its scale, and holds between.
    ///
    /// It ends when, at such a look, neither its scale nor the next longer one still reaches the limit in twice the time
    /// in which it must be reached to be found, or when the value falls below where the rise began: at once, since the
    /// floor of that window can only be lower.
    pub fn finding(&self) -> Option<&Finding> {
        self.scales.iter().filter_map(Scale::finding).min_by_key(|finding| finding.reached_in)
    }

    /// Whether a finding may roll back: with a history, once it was found, or found again, at an age of four hours or twice
    /// the longest saw-tooth of the history.
    pub fn may_roll_back(&self) -> MayRollBack {
        let Some(history) = &self.history else { return MayRollBack::NoHistory };
        let from = (history.tooth() + history.tooth()).clamp(EARLIEST, LATEST);
        let mut findings = self.scales.iter().filter_map(Scale::finding);
        if minutes(self.age) < from {
            MayRollBack::From(from)
        } else if findings.any(|finding| finding.confirmed >= from) {
            MayRollBack::Yes
        } else {
            MayRollBack::Unconfirmed
        }
    }
}

/// So many minutes, however many.
fn minutes(count: u64) -> Span {
    Span(i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(60_000))
}

#[cfg(test)]
mod tests;
