//! How far means and medians over windows stray from what is expected while all is well.
//!
//! Sources: crossings of a level by a stationary process (Rice 1944), its extremes (Leadbetter, Lindgren and Rootzen
//! 1983), the variance of a mean of dependent values from batch means (Conway 1963). The constants were found by
//! simulation over sixteen kinds of noise.

use serde::{Deserialize, Serialize};

use super::stats::{self, Cumulated};
use super::{DAY, Strictness};

/// The windows, in minutes. Up to [`MEDIANS`] of them the median is taken, which one spike cannot move.
pub(super) const WIDTHS: [usize; 5] = [9, 15, 60, 240, 720];
/// The longest window of a median.
pub(super) const MEDIANS: usize = 15;
/// Its place in [`WIDTHS`].
pub(super) const QUARTER: usize = 1;
/// Minutes of a watch over which false alarms are budgeted.
const WATCH: f64 = 2880.0;
/// The newest minutes of the history, which do not count when it is asked whether trouble was there before T0.
const NEWEST: usize = 360;

/// How one window behaved in the history; logarithms, where more is worse.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Window {
    /// Its typical distance from what is expected.
    pub(super) spread: f32,
    /// How often a minute it came from below what is expected.
    crossings: f32,
    /// The largest.
    pub(super) largest: f32,
}

impl Window {
    fn of(means: &[f64], spread: f64) -> Window {
        let crossings = means.windows(2).filter(|pair| pair[0] <= 0.0 && pair[1] > 0.0).count();
        Window {
            spread: spread as f32,
            crossings: (crossings.max(1) as f64 / means.len().max(1) as f64) as f32,
            largest: stats::largest(means) as f32,
        }
    }

    /// What it must exceed to be no accident in a watch of 48 hours.
    ///
    /// The larger of the level that a Gaussian process with these crossings exceeds with the chance that is left, and
    /// of a margin over the largest of the history, which is wider where the history has heavy tails.
    pub(super) fn threshold(&self, width: usize, days: usize, strictness: Strictness) -> f64 {
        let (spread, crossings) = (f64::from(self.spread), f64::from(self.crossings));
        let (largest, days) = (f64::from(self.largest), days as f64);
        let (chance, margin) = match (strictness, width <= MEDIANS) {
            (Strictness::Warning, true) => (0.004, 1.3),
            (Strictness::Warning, false) => (0.004, 1.5),
            (Strictness::Rollback, true) => (0.001, 1.5),
            (Strictness::Rollback, false) => (0.001, 1.7),
        };
        let level = |crossings: f64| (2.0 * crossings.max(3.0).ln()).sqrt();
        let tails = largest / (spread * level(crossings * DAY as f64 * days)).max(f64::MIN_POSITIVE);
        let heavy = (tails - 1.25).clamp(0.0, 0.8);
        let gaussian = level(crossings * WATCH / chance) * spread * (1.0 + 1.0 / days).sqrt();
        gaussian.max((margin + heavy) * largest)
    }
}

/// What the history says about windows and about means over any length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Windows {
    /// By [`WIDTHS`].
    pub(super) windows: [Window; WIDTHS.len()],
    /// The 15-minute window of the history without its last six hours.
    pub(super) earlier: Window,
    /// The variance of a mean over n minutes, times n, for n of hours.
    pub(super) long_run: f32,
    /// What the variance of half-day means has beyond that: week cycles, days that wander.
    pub(super) slow: f32,
}

impl Windows {
    /// From the residuals of the history, raw and clipped, whose typical minute is `spread`.
    pub(super) fn of(raw: &[f64], clipped: &[f64], spread: f64) -> Windows {
        let cumulated = Cumulated::of(clipped);
        let long_run = [120, 240].into_iter().filter_map(|b| batches(&cumulated, raw.len(), b).map(|v| b as f64 * v));
        let (sum, n) = long_run.fold((0.0, 0.0), |(sum, n), v| (sum + v, n + 1.0));
        let long_run = (spread * spread).max(if n > 0.0 { 1.1 * sum / n } else { 0.0 });
        let half_days = batches(&cumulated, raw.len(), 720).unwrap_or(0.0);
        let usual = long_run / 720.0;
        let slow = if half_days > 2.2 * usual { half_days - usual } else { 0.0 };
        let windows = WIDTHS.map(|width| {
            if width <= MEDIANS {
                let medians = stats::sliding_median(raw, width);
                return Window::of(&medians, stats::rms(&medians, 4.0 * spread));
            }
            let means = stats::sliding_mean(clipped, width);
            let seen = stats::rms(&means, f64::INFINITY);
            let foreseen = (long_run / width as f64 + slow).sqrt();
            // Few independent windows fit into a week, so their own spread is trusted only near the foreseen one.
            Window::of(&means, if width >= 240 { seen.clamp(foreseen, 1.2 * foreseen) } else { seen })
        });
        let earlier = stats::sliding_median(&raw[..raw.len().saturating_sub(NEWEST)], MEDIANS);
        let earlier = Window::of(&earlier, stats::rms(&earlier, 4.0 * spread));
        Windows { windows, earlier, long_run: long_run as f32, slow: slow as f32 }
    }
}

/// The mean square of the means of whole batches; none without enough of them.
fn batches(cumulated: &Cumulated, minutes: usize, width: usize) -> Option<f64> {
    let means: Vec<f64> = (0..minutes / width)
        .map(|j| cumulated.mean(j * width, (j + 1) * width))
        .filter(|mean| mean.is_finite())
        .collect();
    let needed = if width <= 240 { 6 } else { 1 };
    (means.len() >= needed).then(|| means.iter().map(|m| m * m).sum::<f64>() / means.len() as f64)
}
