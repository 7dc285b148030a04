//! When a finding is over.
//!
//! Most tests are done once, and a window of hours still holds its hours when the change is undone. So a finding, once
//! made, holds until the value is shown to be back, which is itself a sequential test: the likelihood ratio of "as
//! usual" against "as bad as it was" is summed over the minutes and starts again from 0 whenever it favours the trouble
//! (Page 1954). How bad it was is learned while it lasts, from the minutes up to the last such start. A large change that
//! is undone is over in minutes; a small one takes as long as its noise demands, at the latest until its own window
//! is back to a quarter of it.

use super::Finding;

/// The sum at which it is over.
const ENOUGH: f64 = 8.0;
/// The most that one minute may say: so it takes six minutes at least.
const MOST: f64 = ENOUGH / 6.0;
/// Minutes after which the level of the trouble is learned anew rather than refined.
const MEMORY: f64 = 240.0;
/// The windows whose return to a quarter of the level ends a finding, in minutes: shorter ones come and go.
const WINDOWS: [u32; 3] = [60, 240, 720];

/// A finding that holds.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    /// What was found.
    pub(super) finding: Finding,
    /// In logarithms, what had to be exceeded.
    threshold: f64,
    /// How bad it is, in logarithms, and out of how many minutes that is known.
    level: f64,
    weight: f64,
    /// Sum and number of the minutes since the evidence last favoured the trouble.
    doubted: (f64, f64),
    /// The evidence that it is over.
    over: f64,
    /// The window whose return ends it, in minutes.
    window: u32,
    /// Minutes until that window has nothing in it from before the trouble.
    fills: u32,
}

impl Hold {
    /// Begins with the statistic that was found, and what it had to exceed.
    pub(super) fn new(finding: Finding, statistic: f64, threshold: f64) -> Hold {
        let weight = f64::from(finding.window).min(MEMORY);
        let window = WINDOWS.into_iter().find(|w| *w >= finding.window).unwrap_or(WINDOWS[2]);
        let fills = window.saturating_sub(finding.window);
        Hold { finding, threshold, level: statistic, weight, doubted: (0.0, 0.0), over: 0.0, window, fills }
    }

    /// The window in minutes whose return ends it.
    pub(super) fn window(&self) -> usize {
        self.window as usize
    }

    /// Lets a minute pass, there or not.
    pub(super) fn pass(&mut self) {
        self.fills = self.fills.saturating_sub(1);
    }

    /// Takes in one minute that is there, and the mean over [`Hold::window`], to which each minute gives `most` at most;
    /// whether it is over. `variance` is that of a mean over a quarter of an hour, times its minutes.
    pub(super) fn is_over(&mut self, residual: f64, mean: f64, most: f64, variance: f64) -> bool {
        // A trouble that hardly differs from usual could never be shown to be over.
        let level = self.level.max(self.threshold / 2.0);
        let says = level * (level / 2.0 - residual) / variance;
        self.over = (self.over + says.clamp(-MOST, MOST)).max(0.0);
        self.doubted.0 += residual;
        self.doubted.1 += 1.0;
        if self.over == 0.0 {
            let (sum, n) = std::mem::take(&mut self.doubted);
            let weight = self.weight + n;
            self.level += (sum - n * self.level) / weight;
            self.weight = weight.min(MEMORY);
        }
        self.over >= ENOUGH || (self.fills == 0 && mean <= level.min(most) / 4.0)
    }
}
