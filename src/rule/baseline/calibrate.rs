//! What a history says is usual: the expectation by time of day, and how far every statistic strays from it.
//!
//! Enters: a [`History`]. Leaves: a [`Calibration`] of a few hundred numbers, small enough to be journaled, or the
//! [`Refusal`]. Made once, at T0; nothing after T0 changes it, so a regression cannot teach it that it is usual.

use serde::{Deserialize, Serialize};

use crate::base::Timestamp;

use super::calendar::Calendar;
use super::history::{self, Logarithms};
use super::placebo::{Placebo, TESTS};
use super::profile::{Profile, Slots};
use super::stats::{self, Cumulated};
use super::windows::{MEDIANS, QUARTER, Windows};
use super::{DAY, Direction, History, Refusal, STEADIEST, Scope};

/// Steps of the envelope of peaks that come back daily: five minutes.
const STEP: usize = 5;
const STEPS: usize = DAY / STEP;
/// Residuals count at most this many times their typical size.
const CLIP: f64 = 5.0;
/// But at least this: what is asked for must fit into it, however steady the history.
const LEAST_CLIP: f64 = 0.5;

/// What is usual for one series, calibrated at T0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    t0: Timestamp,
    direction: Direction,
    days: usize,
    calendar: Calendar,
    /// The constant under the logarithm, in the value's own unit.
    offset: f64,
    /// The same as a share of the median.
    share: f64,
    profile: Profile,
    /// Change a day, when the days before T0 rose or fell steadily.
    drift: f32,
    /// Peaks that come back daily: the five minutes of the day, and their height.
    peaks: Vec<(u16, f32)>,
    /// The typical residual of a minute.
    spread: f32,
    pub(super) windows: Windows,
    pub(super) tests: [Option<Placebo>; TESTS.len()],
    /// The largest means over the lengths of the looks, where the history is twice as long.
    pub(super) largest_looks: Vec<f32>,
}

impl Calibration {
    /// Learns what is usual. `floor` (in the value's own unit) is what a value must be to mean anything; where it is
    /// larger than 2 % of the median it takes that place.
    ///
    /// # Errors
    /// The reason why this history is no baseline, and what to use instead.
    pub fn of(history: &History, direction: Direction, floor: Option<f64>) -> Result<Calibration, Refusal> {
        let Logarithms { minutes, days, offset, share } = Logarithms::of(history.minutes, direction, floor)?;
        let calendar = Calendar::of(history.t0, days, history.weekend);
        let mut slots = Slots::of(&minutes, &calendar);
        let model = slots.choose();
        let drift = slots.drift(model);
        slots.remove(drift);

        let mut raw = residuals(&minutes, &slots, &calendar, model, drift);
        let mut sizes: Vec<f64> = raw.iter().map(|r| r.abs()).collect();
        let spread = (1.4826 * stats::median(&mut sizes)).max(STEADIEST);
        let peaks = peaks(&raw, spread);
        for (t, r) in raw.iter_mut().enumerate() {
            *r -= peak(&peaks, t % DAY).min(r.max(0.0));
        }
        let most = (CLIP * spread).max(LEAST_CLIP);
        let clipped: Vec<f64> = raw.iter().map(|r| r.clamp(-most, most)).collect();

        let windows = Windows::of(&raw, &clipped, spread);
        let cumulated = Cumulated::of(&clipped);
        let n = clipped.len();
        let largest_look = |look: &u32| {
            let look = *look as usize;
            (look * 2 <= n).then(|| stats::largest(&stats::sliding_mean(&clipped, look)) as f32)
        };
        Ok(Calibration {
            t0: history.t0,
            direction,
            days,
            calendar,
            offset,
            share,
            profile: slots.profile(model),
            drift: drift as f32,
            peaks,
            spread: spread as f32,
            windows,
            tests: TESTS.map(|test| Placebo::of(&cumulated, n, test)),
            largest_looks: super::detect::LOOKS.iter().map_while(largest_look).collect(),
        })
    }

    /// Whole days of history behind it.
    pub fn days(&self) -> usize {
        self.days
    }

    /// Which side is worse.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// What it may decide at a moment.
    pub fn scope(&self, at: Timestamp) -> Scope {
        self.scope_of(self.kind((at - self.t0).as_millis().div_euclid(60_000)))
    }

    /// What is usual at a moment, in the value's own unit; never below 0.
    pub fn expected(&self, at: Timestamp) -> f64 {
        let minute = (at - self.t0).as_millis().div_euclid(60_000);
        ((self.level(minute) * self.direction.sign()).exp() - self.offset).max(0.0)
    }

    /// What it may decide in a minute of that type of day.
    pub(super) fn scope_of(&self, kind: usize) -> Scope {
        Scope::of(self.days, self.calendar.has_seen(kind))
    }

    /// The type of day of a minute counted from T0.
    pub(super) fn kind(&self, minute: i64) -> usize {
        self.calendar.kind(minute)
    }

    /// The variance of a mean over a quarter of an hour, times its minutes.
    pub(super) fn quarter_variance(&self) -> f64 {
        MEDIANS as f64 * f64::from(self.windows.windows[QUARTER].spread).max(STEADIEST / 4.0).powi(2)
    }

    /// What is expected in a minute counted from T0, in logarithms, where more is worse.
    pub(super) fn level(&self, minute: i64) -> f64 {
        self.level_of(minute, self.calendar.kind(minute))
    }

    /// The same where the type of day is known.
    pub(super) fn level_of(&self, minute: i64, kind: usize) -> f64 {
        let of_day = minute.rem_euclid(DAY as i64) as usize;
        // Carried on for one day: nobody knows how long a drift lasts.
        let day = minute.min(DAY as i64) as f64 / DAY as f64;
        let drift = f64::from(self.drift) * (day + self.days as f64 / 2.0);
        self.profile.at(of_day, kind) + drift
    }

    /// How much worse than usual `value` is in that minute, where `level` is expected: in logarithms, peaks of every
    /// day apart. NaN for no value.
    pub(super) fn residual(&self, minute: i64, level: f64, value: f64) -> f64 {
        let r = history::logarithm(value, self.offset) * self.direction.sign() - level;
        let of_day = minute.rem_euclid(DAY as i64) as usize;
        if r.is_nan() { r } else { r - peak(&self.peaks, of_day).min(r.max(0.0)) }
    }

    /// Whether a peak comes back daily at that minute.
    pub(super) fn is_peak(&self, minute: i64) -> bool {
        peak(&self.peaks, minute.rem_euclid(DAY as i64) as usize) > 0.0
    }

    /// A residual limited to what one minute may say.
    pub(super) fn clip(&self, residual: f64) -> f64 {
        let most = (CLIP * f64::from(self.spread)).max(LEAST_CLIP);
        residual.clamp(-most, most)
    }

    /// The variance of the mean over `minutes` since the warm-up against the expectation, with what both do not know.
    pub(super) fn variance_of_mean(&self, minutes: u32) -> f64 {
        let (long_run, slow) = (f64::from(self.windows.long_run), f64::from(self.windows.slow));
        let (n, days) = (f64::from(minutes.max(1)), self.days as f64);
        let seen = if self.profile.is_flat() { DAY as f64 } else { n.min(DAY as f64) };
        // A day is never foretold better than to 2 %.
        long_run / n + long_run / (seen * days) + slow * (1.0 + 1.0 / days) + 0.02 * 0.02
    }

    /// The constant under the logarithm, in the value's own unit.
    pub(super) fn offset(&self) -> f64 {
        self.offset
    }

    /// The logarithm of a relative change (-1 is down to nothing) at the median.
    pub(super) fn logarithm_of(&self, change: f64) -> f64 {
        ((1.0 + change.max(-1.0) + self.share) / (1.0 + self.share)).ln()
    }

    /// The relative change, signed, of a residual where more is worse.
    pub(super) fn change_of(&self, residual: f64) -> f64 {
        ((residual * self.direction.sign()).exp() * (1.0 + self.share) - self.share - 1.0).max(-1.0)
    }
}

/// What each day was beyond what the other days say about it: with itself among them the scale would be too small.
fn residuals(
    minutes: &[f64],
    slots: &Slots,
    calendar: &Calendar,
    model: super::profile::Model,
    drift: f64,
) -> Vec<f64> {
    let days = minutes.len() / DAY;
    let mut residuals = Vec::with_capacity(minutes.len());
    for (day, minutes_of_day) in minutes.chunks_exact(DAY).enumerate() {
        let profile = slots.profile_without(model, day);
        for (minute, y) in minutes_of_day.iter().enumerate() {
            let t = day * DAY + minute;
            let kind = calendar.kind(t as i64 - minutes.len() as i64);
            let since = day as f64 + minute as f64 / DAY as f64 - days as f64 / 2.0;
            residuals.push(y - profile.at(minute, kind) - drift * since);
        }
    }
    residuals
}

/// Peaks that come back every day at about the same minute, as of a nightly job: by five minutes, with their height.
fn peaks(raw: &[f64], spread: f64) -> Vec<(u16, f32)> {
    let days = raw.len() / DAY;
    if days < 3 {
        return Vec::new();
    }
    let steps: Vec<f64> = raw.chunks_exact(STEP).map(|step| stats::median(&mut step.to_vec())).collect();
    let mut found = Vec::new();
    for step in 0..STEPS {
        // The job starts a few minutes earlier or later, so the neighbours count too.
        let mut tops: Vec<f64> = (0..days)
            .map(|day| {
                [STEPS - 1, 0, 1]
                    .into_iter()
                    .map(|by| steps[day * STEPS + (step + by) % STEPS])
                    .fold(f64::NAN, f64::max)
            })
            .collect();
        let typical = stats::median(&mut tops);
        if tops.len() < 3 {
            continue;
        }
        tops.sort_unstable_by(f64::total_cmp);
        let lowest = tops[usize::from(tops.len() >= 5)];
        if typical > 3.0 * spread && lowest > spread {
            found.push((step as u16, typical as f32));
        }
    }
    found
}

/// The height of the peak at a minute of the day.
fn peak(peaks: &[(u16, f32)], minute: usize) -> f64 {
    let step = (minute / STEP) as u16;
    peaks.binary_search_by_key(&step, |(step, _)| *step).map_or(0.0, |i| f64::from(peaks[i].1))
}
