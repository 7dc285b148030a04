//! Tests at T0 whose limits come from doing the same test at every minute of the history, where nothing was deployed.
//!
//! The mean of a window after T0 is foretold from the 15 minutes before (Box and Jenkins 1970); how wrong that is at
//! moments without a deployment is the reference set (Vovk, Gammerman and Shafer 2005).

use serde::{Deserialize, Serialize};

use super::stats::Cumulated;
use super::{BEFORE, Strictness};

/// The windows after T0 in minutes: from (excluded) and to.
pub(super) const TESTS: [(u32, u32); 5] = [(5, 15), (20, 27), (20, 35), (20, 60), (30, 60)];

/// One test, calibrated; logarithms, where more is worse.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Placebo {
    /// How much of the excess before goes on after.
    pub(super) persistence: f32,
    /// The errors that a warning must exceed, and a rollback.
    limits: [f32; 2],
    /// The largest error of the history.
    pub(super) largest: f32,
}

impl Placebo {
    /// Does the test at every minute of the clipped residuals; none when too little of it is there.
    pub(super) fn of(clipped: &Cumulated, minutes: usize, (from, to): (u32, u32)) -> Option<Placebo> {
        let (from, to) = (from as usize, to as usize);
        let pairs: Vec<(f64, f64)> = (BEFORE..minutes.saturating_sub(to))
            .map(|t| (clipped.mean(t - BEFORE, t), clipped.mean(t + from, t + to)))
            .filter(|(pre, post)| pre.is_finite() && post.is_finite())
            .collect();
        let (xy, xx) = pairs.iter().fold((0.0, 0.0), |(xy, xx), (x, y)| (xy + x * y, xx + x * x));
        let persistence = if xx > 0.0 { (xy / xx).max(0.0) } else { 0.0 };
        let mut errors: Vec<f64> = pairs.iter().map(|(pre, post)| post - persistence * pre).collect();
        errors.sort_unstable_by(f64::total_cmp);
        let largest = *errors.last()?;
        let n = errors.len() as f64;
        let spread = (errors.iter().map(|e| e * e).sum::<f64>() / n).sqrt();
        let rare = errors[(0.999 * (n - 1.0)) as usize];
        Some(Placebo {
            persistence: persistence as f32,
            limits: [rare.max(3.0 * spread) as f32, largest.max(3.7 * spread) as f32],
            largest: largest as f32,
        })
    }

    /// What the error must exceed.
    pub(super) fn limit(&self, strictness: Strictness) -> f64 {
        f64::from(match strictness {
            Strictness::Warning => self.limits[0],
            Strictness::Rollback => self.limits[1],
        })
    }
}
