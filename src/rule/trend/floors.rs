//! What floors did in the history: how high they were, how much they rose, and how long a saw-tooth lasts.

use serde::{Deserialize, Serialize};

use super::scale::{Target, floor};
use super::{SCALES, WINDOWS};
use crate::base::Span;

/// Less history than this, in minutes that were seen, says nothing about a day.
const LEAST: usize = 1440;
/// A fall of so much of the limit within [`FALL_MINUTES`] ends a tooth: a collection, or a restart.
const FALL: f64 = 0.03;
const FALL_MINUTES: usize = 5;

/// The floors of a history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Floors {
    /// In the order of [`SCALES`].
    scales: [Usual; SCALES.len()],
    /// The longest time between two falls.
    tooth: Span,
}

/// What is usual on one scale, as shares of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Usual {
    /// The highest floor.
    pub(super) highest: f64,
    /// The largest rise from one floor to the seventh after it; may be negative.
    pub(super) rise: f64,
}

impl Floors {
    /// Measures a history, one value a minute in the units of `limit`; NaN and infinities are missing. None when less
    /// than a day of it was seen, when it has gaps that leave no two floors of a scale to compare, or when `limit` is
    /// not above 0.
    ///
    /// A leak in the history is usual afterwards: who hands it in leaves out known incidents, as NaN.
    pub fn of(minutes: &[f64], limit: f64) -> Option<Floors> {
        let target = Target::new(limit, Span::ZERO);
        let shares: Vec<Option<f64>> = minutes.iter().map(|minute| target.share(*minute)).collect();
        if shares.iter().flatten().count() < LEAST {
            return None;
        }
        let mut scales = [Usual { highest: 0.0, rise: 0.0 }; SCALES.len()];
        for (usual, length) in scales.iter_mut().zip(SCALES) {
            *usual = Usual::of(&shares, length)?;
        }
        Some(Floors { scales, tooth: longest_tooth(&shares) })
    }

    /// Longest time between two falls of 3 % of the limit or more: of a saw-tooth its longest tooth; zero without.
    pub fn tooth(&self) -> Span {
        self.tooth
    }

    pub(super) fn usual(&self, scale: usize) -> Usual {
        self.scales[scale]
    }
}

impl Usual {
    fn of(shares: &[Option<f64>], length: u32) -> Option<Usual> {
        let window = |minutes: &[Option<f64>]| {
            let seen = minutes.iter().flatten();
            floor(seen.clone().copied().fold(f64::INFINITY, f64::min), seen.count() as u32, length)
        };
        let floors: Vec<Option<f64>> = shares.chunks_exact(length as usize).map(window).collect();
        let highest = floors.iter().flatten().copied().reduce(f64::max)?;
        let later = floors.iter().skip(WINDOWS - 1);
        let rises = floors.iter().zip(later).filter_map(|(first, last)| Some((*last)? - (*first)?));
        Some(Usual { highest, rise: rises.reduce(f64::max)? })
    }
}

fn longest_tooth(shares: &[Option<f64>]) -> Span {
    let is_fall = |pair: (&Option<f64>, &Option<f64>)| matches!(pair, (Some(a), Some(b)) if a - b >= FALL);
    let falls = shares.iter().zip(shares.iter().skip(FALL_MINUTES)).map(is_fall);
    let (mut began, mut longest) = (None, 0);
    let mut was_fall = false;
    for (minute, is_fall) in falls.enumerate() {
        // One fall is seen in several minutes.
        if is_fall && !was_fall {
            longest = longest.max(began.map_or(0, |began| minute - began));
            began = Some(minute);
        }
        was_fall = is_fall;
    }
    Span::mins(i64::try_from(longest).unwrap_or(i64::MAX / 60_000))
}
