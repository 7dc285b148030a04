//! One scale of a trend rule: eight windows of one length, and whether their floors rise to the limit.
//!
//! The trend test is that of H. B. Mann ("Nonparametric tests against trend", 1945) and M. G. Kendall (1948), the slope
//! that of H. Theil (1950) and P. K. Sen (1968): both ask only for order, so one odd window decides nothing.

use super::floors::Usual;
use super::{Finding, WINDOWS, minutes};
use crate::base::Span;

/// Pairs of windows.
const PAIRS: usize = WINDOWS * (WINDOWS - 1) / 2;
/// Of 28 pairs, so many more must rise than fall: about one in a thousand by chance.
const RISING: i32 = 22;
/// The least slope, as a share of the limit a window.
const LEAST: f64 = 0.0015;
/// The largest rise from one window to the next, as a part of the whole: more is a step.
const STEP: f64 = 0.5;
/// The later half of the rise over the earlier: less is a warm-up that flattens.
const STRAIGHT: f64 = 0.85;
/// A scale of L minutes forecasts at most 0.4 L hours: a short look may not forecast far.
const FAR: f64 = 0.4;
/// How much higher than the highest floor of the history, as a share of the limit.
const HIGHER: f64 = 0.05;
/// How much more than the largest rise over as many windows in the history.
const STEEPER: f64 = 1.3;
/// A finding ends when the limit is further away than so many times the time in which it must be reached.
const RELAXED: f64 = 2.0;

/// What must not be reached, and in what time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Target {
    limit: f64,
    /// In hours.
    within: f64,
}

impl Target {
    pub(super) fn new(limit: f64, within: Span) -> Target {
        Target { limit, within: within.as_secs() / 3600.0 }
    }

    /// A value as a share of the limit; none where it is missing or the limit is none.
    pub(super) fn share(&self, value: f64) -> Option<f64> {
        let share = value / self.limit;
        (self.limit > 0.0 && share.is_finite()).then_some(share)
    }
}

/// The windows of one length.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scale {
    /// In minutes.
    length: u32,
    /// Of the last eight whole windows, the oldest first.
    floors: [Option<f64>; WINDOWS],
    /// The lowest value of the window under way, and how many minutes of it were seen.
    lowest: f64,
    seen: u32,
    /// Whether the slope of the last look reaches the limit soon enough for a finding to go on.
    goes_on: bool,
    finding: Option<Finding>,
}

impl Scale {
    pub(super) fn new(length: u32) -> Scale {
        Scale { length, floors: [None; WINDOWS], lowest: f64::INFINITY, seen: 0, goes_on: false, finding: None }
    }

    pub(super) fn finding(&self) -> Option<&Finding> {
        self.finding.as_ref()
    }

    /// Whether a finding of the next shorter scale goes on because of this one: with windows as short as the teeth of a
    /// saw-tooth, its own slope comes and goes.
    pub(super) fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// Takes the minute after which `age` minutes are over. `longer`: whether the next longer scale goes on.
    pub(super) fn see(&mut self, value: Option<f64>, age: u64, target: &Target, usual: Option<Usual>, longer: bool) {
        if let Some(value) = value {
            self.lowest = self.lowest.min(value);
            self.seen += 1;
            self.finding.take_if(|finding| value < finding.began);
        }
        if age.is_multiple_of(u64::from(self.length)) {
            self.close();
            self.judge(age, target, usual, longer);
        }
    }

    fn close(&mut self) {
        self.floors.rotate_left(1);
        self.floors[WINDOWS - 1] = floor(self.lowest, self.seen, self.length);
        (self.lowest, self.seen) = (f64::INFINITY, 0);
    }

    fn judge(&mut self, age: u64, target: &Target, usual: Option<Usual>, longer: bool) {
        let Some(floors) = all(&self.floors) else {
            self.goes_on = false;
            return;
        };
        let rise = Rise::of(floors, self.length);
        let horizon = target.within.min(FAR * f64::from(self.length));
        self.goes_on = rise.slope > 0.0 && rise.hours <= RELAXED * horizon;
        if rise.is_steady() && rise.hours <= horizon && usual.is_none_or(|usual| rise.is_unusual(usual)) {
            self.finding = Some(rise.finding(self.length, age));
        } else {
            let ends = !(self.goes_on || longer);
            self.finding.take_if(|_| ends);
        }
    }
}

/// The floor of a window; none when more than half of its minutes are missing.
pub(super) fn floor(lowest: f64, seen: u32, length: u32) -> Option<f64> {
    (seen > 0 && 2 * seen >= length).then_some(lowest)
}

fn all(floors: &[Option<f64>; WINDOWS]) -> Option<[f64; WINDOWS]> {
    let mut values = [0.0; WINDOWS];
    for (value, floor) in values.iter_mut().zip(floors) {
        *value = (*floor)?;
    }
    Some(values)
}

/// How eight floors rise.
struct Rise {
    floors: [f64; WINDOWS],
    /// Rising pairs less falling ones (Mann, Kendall).
    pairs: i32,
    /// A window (Theil, Sen).
    slope: f64,
    /// Until the limit at that slope; negative when it is passed.
    hours: f64,
}

impl Rise {
    fn of(floors: [f64; WINDOWS], length: u32) -> Rise {
        let mut slopes = [0.0; PAIRS];
        let (mut pairs, mut n) = (0, 0);
        for (i, first) in floors.iter().enumerate() {
            for (j, second) in floors.iter().enumerate().skip(i + 1) {
                pairs += i32::from(second > first) - i32::from(second < first);
                slopes[n] = (second - first) / (j - i) as f64;
                n += 1;
            }
        }
        slopes.sort_by(f64::total_cmp);
        let slope = f64::midpoint(slopes[PAIRS / 2 - 1], slopes[PAIRS / 2]);
        let hours = (1.0 - floors[WINDOWS - 1]) / slope * f64::from(length) / 60.0;
        Rise { floors, pairs, slope, hours }
    }

    fn whole(&self) -> f64 {
        self.floors[WINDOWS - 1] - self.floors[0]
    }

    /// Neither noise, nor a step, nor a warm-up.
    fn is_steady(&self) -> bool {
        let f = &self.floors;
        let step = f.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
        let (earlier, later) = (f[3] - f[0], f[7] - f[4]);
        self.pairs >= RISING
            && self.slope >= LEAST
            && step <= STEP * self.whole()
            && later >= STRAIGHT * earlier.max(1e-9)
    }

    fn is_unusual(&self, usual: Usual) -> bool {
        self.floors[WINDOWS - 1] >= usual.highest + HIGHER && self.whole() >= STEEPER * usual.rise
    }

    fn finding(&self, length: u32, age: u64) -> Finding {
        let scale = Span::mins(i64::from(length));
        let reached_in = Span::secs((self.hours.max(0.0) * 3600.0) as i64);
        let slope = self.slope * 60.0 / f64::from(length);
        let (began, floor) = (self.floors[0], self.floors[WINDOWS - 1]);
        Finding { scale, slope, floor, reached_in, confirmed: minutes(age), began }
    }
}
