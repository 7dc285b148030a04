//! Baseline rules: is a value worse than its own past?
//!
//! Enters: the minutes before the deployment ([`History`], a value a minute), the size of a change that matters
//! ([`Limit`]), and then each minute of the watch. Leaves: a [`Finding`] while the value is worse than usual by at
//! least that size, with its reason, or nothing.
//!
//! A comparison with a figure of yesterday fires on nearly every healthy service within 48 hours, because real metrics
//! wander. So [`Calibration::of`] learns from the history what is usual at each time of day and how far every
//! statistic that will be looked at has strayed from it, and [`Detector`] spends a budget of false alarms for the whole
//! watch over three families:
//!
//! 1. *start*: the first hour against the 15 minutes before T0, held against the same test at every minute of the history,
//! 2. *sliding* windows of 9 minutes to 12 hours, each against its own largest excursions,
//! 3. *looks* at everything since the warm-up, at eight moments, for what is small and stays.
//!
//! Everything counts in minutes and in logarithms, `y = ln(max(x, 0) + c)`, so sizes are relative; `c` is 2 % of the
//! median and keeps values near zero from meaning much. Where less is worse, `y` is negated. Pure: no clock, no IO, no
//! panic on any value; NaN and infinities are missing minutes, and a missing minute is never evidence.

mod calendar;
mod calibrate;
mod detect;
mod finding;
mod history;
mod hold;
mod limit;
mod placebo;
mod profile;
mod scope;
mod sliding;
mod stats;
mod windows;

#[cfg(test)]
mod tests;

pub use calibrate::Calibration;
pub use detect::Detector;
pub use finding::{Family, Finding, TroubleBefore};
pub use history::{History, Refusal, leave_out};
pub use limit::{Direction, Limit, Size, Strictness};
pub use scope::Scope;

/// Minutes in a day.
const DAY: usize = 1440;
/// Minutes in a slot, the step of what is expected by time of day.
const SLOT: usize = 30;
/// Slots in a day.
const SLOTS: usize = DAY / SLOT;
/// Minutes of warm-up after T0 in which only large changes count: caches are cold and that is no regression.
const WARM_UP: u32 = 20;
/// Minutes before T0 that the start tests compare with.
const BEFORE: usize = 15;
/// Minutes before T0 in which what is found afterwards may have stood already.
const HOUR: usize = 60;
/// Moves of one percent are never a change, however steady the history.
const STEADIEST: f64 = 0.01;
