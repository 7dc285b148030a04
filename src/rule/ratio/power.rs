//! Whether the traffic of a service can decide a limit at all in the time that there is.
//!
//! The CUSUM is followed as a Markov chain over its values (D. Brook and D. A. Evans, "An approach to the probability
//! distribution of CUSUM run length", 1972); the Wilson test by the normal approximation of the binomial. The larger of
//! both is given: the rule finds what either finds, so it is a little more likely than said.

use super::likelihood::Likelihood;
use super::{DECIDES, HELD, LONG, MOST, SPREAD, Z, clearly_above, inside};
use crate::rule::share;

/// Steps of the CUSUM from zero to its decision.
const CELLS: usize = 140;
/// Steps of the most that one bucket adds.
const UP: usize = (CELLS as f64 * MOST / DECIDES) as usize;
/// From so many expected events a bucket on, their sum is taken as normal.
const MANY: f64 = 50.0;
/// More buckets than this are not followed: a day at a minute each.
const FAR: u32 = 1440;

/// The probability, between 0 and 1, that a share of errors of `truth` is found within so many buckets against `limit`,
/// with Poisson traffic of `events_per_bucket` events on average, independent errors, and no errors before. Times beyond
/// 1440 buckets count as 1440. Zero when an argument is NaN or there is no traffic.
///
/// Beside simulations with limits of 1, 10 and 50 % this is at most 16 percentage points too low (where both tests share
/// the work), and 8 too high; `min_errors` above its default is not taken into account.
pub fn detectable(limit: f64, truth: f64, events_per_bucket: f64, within_buckets: u32) -> f64 {
    let is_possible = events_per_bucket > 0.0 && !limit.is_nan() && !truth.is_nan();
    if !is_possible {
        return 0.0;
    }
    let limit = inside(limit);
    let traffic = Traffic { truth: truth.clamp(0.0, 1.0), events: events_per_bucket.min(1e12) };
    let within = within_buckets.min(FAR);
    by_cusum(limit, traffic, within).max(by_wilson(limit, traffic, within)).clamp(0.0, 1.0)
}

/// What comes in.
#[derive(Clone, Copy)]
struct Traffic {
    truth: f64,
    events: f64,
}

/// The probability that the CUSUM passes its decision within so many buckets.
fn by_cusum(limit: f64, traffic: Traffic, within: u32) -> f64 {
    let steps = steps(Likelihood::of(clearly_above(limit), limit), traffic);
    let mut at = [0.0; CELLS + 1];
    at[0] = 1.0;
    let mut found = 0.0;
    for _ in 0..within {
        let mut next = [0.0; CELLS + 1];
        for (cell, here) in at.iter().enumerate().filter(|(_, here)| **here > 1e-12) {
            for (step, chance) in steps.iter().enumerate() {
                let to = (cell + step).saturating_sub(CELLS);
                match next.get_mut(to) {
                    Some(there) => *there += here * chance,
                    None => found += here * chance,
                }
            }
        }
        at = next;
        if found > 1.0 - 1e-6 {
            break;
        }
    }
    found
}

/// The chance of each step of a bucket; step `CELLS` stays, those below it fall. What falls further falls to zero anyway.
fn steps(says: Likelihood, traffic: Traffic) -> [f64; CELLS + UP + 1] {
    let mut steps = [0.0; CELLS + UP + 1];
    let (errors, successes) = (traffic.events * traffic.truth, traffic.events * (1.0 - traffic.truth));
    if traffic.events > MANY {
        let mean = errors * says.error + successes * says.success;
        let deviation = (errors * says.error.powi(2) + successes * says.success.powi(2)).sqrt();
        let mut below = 0.0;
        for (step, chance) in steps.iter_mut().enumerate() {
            let upto = if step == CELLS + UP { 1.0 } else { normal((value(step as f64 + 0.5) - mean) / deviation) };
            *chance = upto - below;
            below = upto;
        }
        return steps;
    }
    let successes = poisson(successes);
    for (errors, chance) in poisson(errors).iter().enumerate() {
        for (successes, and) in successes.iter().enumerate() {
            let sum = (errors as f64 * says.error + successes as f64 * says.success).min(MOST);
            // Between two cells, each takes its part, so that the mean is kept.
            let place = (sum / DECIDES * CELLS as f64 + CELLS as f64).clamp(0.0, (CELLS + UP) as f64);
            let (cell, part) = (place.floor() as usize, place.fract());
            steps[cell] += chance * and * (1.0 - part);
            if part > 0.0 {
                steps[cell + 1] += chance * and * part;
            }
        }
    }
    steps
}

/// What a step adds to the CUSUM.
fn value(step: f64) -> f64 {
    (step - CELLS as f64) * DECIDES / CELLS as f64
}

/// The probability that the Wilson test holds for long enough: at its first bucket that counts it looks at the fewest
/// bad buckets, so that is the one that decides. Later windows of 30 buckets are further tries.
fn by_wilson(limit: f64, traffic: Traffic, within: u32) -> f64 {
    if within < HELD {
        return 0.0;
    }
    let bad = f64::from((within + 1 - HELD).min(LONG));
    let all = traffic.events * f64::from(LONG);
    let needed = fewest(limit, all);
    let (mean, variance) = (traffic.events * bad * traffic.truth, traffic.truth * (1.0 - traffic.truth));
    // Also the number of events is random, which is what remains when all of them fail.
    let deviation = (traffic.events * bad * variance.max(limit * limit * traffic.truth)).sqrt();
    let above = if needed > all { 0.0 } else { normal((mean - needed) / deviation.max(1e-9)) };
    let spread = spread(1.0 - (-traffic.events * traffic.truth).exp(), bad);
    let tries = f64::from(((within + 1 - HELD) / LONG).max(1));
    1.0 - (1.0 - above.min(spread)).powf(tries)
}

/// The fewest errors of `total` whose Wilson bound is above the limit.
fn fewest(limit: f64, total: f64) -> f64 {
    let (mut low, mut high) = (0.0, total);
    if share::lower_bound_at(Z, total, total) <= limit {
        return f64::INFINITY;
    }
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if share::lower_bound_at(Z, middle, total) > limit { high = middle } else { low = middle }
    }
    high
}

/// The probability that enough of `buckets` buckets have errors, when each has with that chance.
fn spread(chance: f64, buckets: f64) -> f64 {
    let mut few = 0.0;
    let mut ways = 1.0;
    for errors in 0..SPREAD {
        let errors = f64::from(errors);
        if errors <= buckets {
            few += ways * chance.powf(errors) * (1.0 - chance).powf(buckets - errors);
        }
        ways *= (buckets - errors).max(0.0) / (errors + 1.0);
    }
    (1.0 - few).clamp(0.0, 1.0)
}

/// The probabilities of 0, 1, 2, … events when `mean` are expected; what is left out is below 1e-9. `mean` is at most 50.
fn poisson(mean: f64) -> Vec<f64> {
    let last = (mean + 8.0 * mean.sqrt() + 8.0) as usize;
    let mut chance = (-mean).exp();
    let mut chances = Vec::with_capacity(last + 1);
    for n in 0..=last {
        chances.push(chance);
        chance *= mean / (n + 1) as f64;
    }
    chances
}

/// The distribution function of the normal distribution, within 1e-7 (M. Abramowitz and I. A. Stegun, 1964, 26.2.17).
fn normal(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let series =
        t * (0.319_381_530 + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let tail = (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt() * series;
    if z > 0.0 { 1.0 - tail } else { tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_of_the_distributions_are_met() {
        for (z, p) in [(0.0, 0.5), (1.959_964, 0.975), (-1.281_552, 0.1), (6.0, 1.0), (-40.0, 0.0)] {
            assert!((normal(z) - p).abs() < 1e-6, "{z}");
        }
        assert!((poisson(3.0)[2] - 0.224_041_8).abs() < 1e-7);
        assert!((poisson(50.0).iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert_eq!((spread(1.0, 30.0), spread(0.0, 30.0), spread(1.0, 3.0)), (1.0, 0.0, 0.0));
    }

    #[test]
    fn more_traffic_more_time_and_a_larger_share_are_easier_to_find() {
        let is_sorted = |chances: Vec<f64>| assert!(chances.is_sorted_by(|a, b| *a <= b + 0.02), "{chances:?}");
        for truth in [0.12, 0.2, 0.3, 1.0] {
            is_sorted([0.1, 0.5, 2.0, 10.0, 49.0, 51.0, 300.0].map(|rate| detectable(0.1, truth, rate, 60)).to_vec());
            is_sorted([1, 2, 5, 10, 20, 60, 1440, u32::MAX].map(|within| detectable(0.1, truth, 5.0, within)).to_vec());
        }
        is_sorted([0.0, 0.05, 0.1, 0.2, 0.3, 0.6, 1.0].map(|truth| detectable(0.1, truth, 5.0, 60)).to_vec());
    }

    #[test]
    fn no_argument_breaks_it() {
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, 1e-300, 0.5, 1.0, 1e300];
        for limit in odd {
            for truth in odd {
                for events in odd {
                    for within in [0, 1, 10, 40] {
                        let chance = detectable(limit, truth, events, within);
                        assert!((0.0..=1.0).contains(&chance), "{limit} {truth} {events} {within}: {chance}");
                    }
                }
            }
        }
        assert_eq!(detectable(0.1, 1.0, 0.0, 60), 0.0);
        assert_eq!(detectable(0.1, 1.0, 100.0, 1), 0.0, "no single bucket decides");
    }
}
