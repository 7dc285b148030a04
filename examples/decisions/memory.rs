//! The memory of a made-up service, minute by minute, as a share of its limit, with a known leak or none.
//!
//! The level is 30 % with autocorrelated noise; on top come, each by its own switch, a restart with a warm-up, a
//! saw-tooth of a collector, a day cycle, lasting steps, rare full collections, and a leak. One seed, one memory.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// Minutes of a day.
pub const DAY: usize = 1440;

/// What the memory is like; the shapes add up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// At T0 the process restarts at 12 % and fills its caches to 30 to 45 %, with a time constant of 1 to 4 h.
    pub warm_up: bool,
    /// A collector: up 8 % in 20 to 50 minutes, and back.
    pub saw_tooth: bool,
    /// 10 % up and down in a day.
    pub day_cycle: bool,
    /// Two lasting steps of 3 to 5 % in the first 48 h after T0.
    pub steps: bool,
    /// A full collection only every 4 to 7 h: up 12 %, and back.
    pub rare_collection: bool,
    /// How much of the limit an hour leaks from T0 on.
    pub leak: f64,
}

impl Memory {
    /// `minutes` values, of which the one at `t0` is the first of the new version.
    pub fn minutes(&self, seed: u64, minutes: usize, t0: usize) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (time_constant, top) = (rng.random_range(60.0..240.0), rng.random_range(0.18..0.33));
        let phase = rng.random_range(0.0..std::f64::consts::TAU);
        let steps = [(); 2].map(|()| (t0 + rng.random_range(0..2 * DAY), rng.random_range(0.03..0.05)));
        let mut noise: f64 = rng.sample(StandardNormal);
        let (mut tooth, mut collection) = (Tooth::new(20.0..50.0), Tooth::new(240.0..420.0));
        let value = |minute: usize| {
            let fresh: f64 = rng.sample(StandardNormal);
            noise = 0.9 * noise + (1.0f64 - 0.81).sqrt() * fresh;
            let age = minute.saturating_sub(t0) as f64;
            let mut value = 0.30 + 0.004 * noise + self.leak * age / 60.0;
            if self.warm_up && minute >= t0 {
                value += top * (1.0 - (-age / time_constant).exp()) - 0.18;
            }
            if self.saw_tooth {
                value += 0.08 * tooth.next(&mut rng);
            }
            if self.rare_collection {
                value += 0.12 * collection.next(&mut rng);
            }
            if self.day_cycle {
                value += 0.10 * (std::f64::consts::TAU * minute as f64 / DAY as f64 + phase).sin();
            }
            if self.steps {
                value += steps.iter().filter(|(at, _)| minute >= *at).map(|(_, by)| by).sum::<f64>();
            }
            value.max(0.01)
        };
        (0..minutes).map(value).collect()
    }
}

/// A saw-tooth from 0 to 1 whose period varies.
struct Tooth {
    periods: std::ops::Range<f64>,
    period: Option<f64>,
    at: f64,
}

impl Tooth {
    fn new(periods: std::ops::Range<f64>) -> Tooth {
        Tooth { periods, period: None, at: 0.0 }
    }

    fn next(&mut self, rng: &mut ChaCha8Rng) -> f64 {
        let period = *self.period.get_or_insert_with(|| rng.random_range(self.periods.clone()));
        self.at += 1.0 / period;
        if self.at >= 1.0 {
            (self.at, self.period) = (0.0, None);
        }
        self.at
    }
}
