//! What a change must come to before it matters, and how that reads in logarithms.

use std::fmt;

use super::sliding::Sliding;
use super::{Calibration, STEADIEST};

/// Which side of the usual is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Higher is worse, as of a latency.
    Above,
    /// Lower is worse, as of a hit rate.
    Below,
}

impl Direction {
    /// `1` where more is worse, `-1` where less is.
    pub(super) fn sign(self) -> f64 {
        match self {
            Direction::Above => 1.0,
            Direction::Below => -1.0,
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Above => "above",
            Direction::Below => "below",
        })
    }
}

/// The size of the change that is asked for; positive, whatever the direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Size {
    /// A share of the usual: 0.25 is 25 % more, or 25 % less.
    Relative(f64),
    /// In the value's own base unit, beside what is usual at that moment.
    Absolute(f64),
}

/// How sure a finding must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// For what tells people: about 4 false alarms in 100 watches of 48 hours.
    Warning,
    /// For what is critical or rolls back: under 1 in 100.
    Rollback,
}

/// One condition on a baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// Which side is worse; the same as the calibration's, else it never holds.
    pub direction: Direction,
    /// How large the change must be.
    pub size: Size,
    /// How sure.
    pub strictness: Strictness,
}

impl Limit {
    /// The size in logarithms where `level` is expected (in logarithms, where more is worse).
    ///
    /// At least one percent; infinite for a size that is no positive number, so that it never holds.
    pub(super) fn effect(&self, calibration: &Calibration, level: f64) -> f64 {
        let sign = self.direction.sign();
        let effect = match self.size {
            Size::Relative(share) => calibration.logarithm_of(sign * positive(share)) * sign,
            Size::Absolute(by) => {
                let usual = (level * sign).exp();
                // Never below nothing: a size larger than the usual is a fall to zero.
                let changed = (usual + sign * positive(by)).max(calibration.offset());
                (changed / usual).ln() * sign
            }
        };
        effect.max(STEADIEST)
    }
}

fn positive(size: f64) -> f64 {
    if size > 0.0 { size } else { f64::INFINITY }
}

/// A limit's size in logarithms, over the windows of the watch.
///
/// A relative size is the same at every moment, up to the small constant under the logarithm. An absolute size is
/// more at night than at noon, so its mean over a window is kept beside that of the values.
#[derive(Clone, Debug)]
pub(super) enum Effect {
    /// At all times.
    Constant(f64),
    /// By minute.
    Moving(Box<Sliding>),
}

impl Effect {
    /// Of a limit, before the first minute.
    pub(super) fn of(limit: &Limit, calibration: &Calibration) -> Effect {
        match limit.size {
            Size::Relative(_) => Effect::Constant(limit.effect(calibration, 0.0)),
            Size::Absolute(_) => Effect::Moving(Box::new(Sliding::new())),
        }
    }

    /// Takes in one minute, at which `level` is expected.
    pub(super) fn push(&mut self, limit: &Limit, calibration: &Calibration, level: f64) {
        if let Effect::Moving(minutes) = self {
            minutes.push(limit.effect(calibration, level));
        }
    }

    /// Its mean over the last `width` minutes; NaN when it never holds.
    pub(super) fn mean(&self, width: usize) -> f64 {
        match self {
            Effect::Constant(effect) => *effect,
            Effect::Moving(minutes) => minutes.mean(width, 0.0),
        }
    }

    /// Of the newest minute; NaN when it never holds.
    pub(super) fn now(&self) -> f64 {
        match self {
            Effect::Constant(effect) => *effect,
            Effect::Moving(minutes) => minutes.newest(),
        }
    }
}
