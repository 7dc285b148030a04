//! Requests and errors of a made-up service, minute by minute, with known truth.
//!
//! Requests are Poisson, errors binomial. Bursts: for one to three minutes the share is ten times as large, at most
//! 60 %; half of the plain errors are left out for them. From an onset on, the share is another. One seed, one traffic.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Binomial, Distribution, Poisson};

/// What the traffic is like.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// Requests a minute, on average.
    pub rate: f64,
    /// The share of errors while all is well.
    pub share: f64,
    /// Whether errors also come in bursts.
    pub bursts: bool,
    /// From that minute on, that share; without bursts.
    pub onset: Option<(usize, f64)>,
}

/// How much of the errors comes in bursts, where there are any.
const BURSTY: f64 = 0.5;

impl Traffic {
    /// The errors and requests of `minutes` minutes.
    pub fn minutes(&self, seed: u64, minutes: usize) -> Vec<(f64, f64)> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut burst = 0u32;
        (0..minutes).map(|minute| self.minute(&mut rng, minute, &mut burst)).collect()
    }

    fn minute(&self, rng: &mut ChaCha8Rng, minute: usize, burst: &mut u32) -> (f64, f64) {
        let total = Poisson::new(self.rate).map_or(0.0, |poisson| poisson.sample(rng));
        let share = match self.onset {
            Some((onset, bad)) if minute >= onset => return (errors(rng, total, bad), total),
            _ if self.bursts => self.share * (1.0 - BURSTY),
            _ => self.share,
        };
        let plain = errors(rng, total, share);
        if !self.bursts {
            return (plain, total);
        }
        if rng.random_bool(BURSTY / 20.0) {
            *burst = (*burst).max(rng.random_range(1..=3));
        }
        let is_burst = *burst > 0;
        *burst = burst.saturating_sub(1);
        let more = if is_burst { errors(rng, total, (10.0 * self.share).min(0.6)) } else { 0.0 };
        (plain.max(more), total)
    }
}

fn errors(rng: &mut ChaCha8Rng, total: f64, share: f64) -> f64 {
    Binomial::new(total as u64, share).map_or(0.0, |binomial| binomial.sample(rng) as f64)
}
