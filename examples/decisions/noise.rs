//! Series as services have them, to measure on how often a decision is wrong: a value a minute, by kind and seed.
//!
//! Each kind has one difficulty: values that hang together, days and weeks, heavy tails, jobs at night, few distinct
//! values. The same seed gives the same series on every machine. Only some kinds know of T0.

use std::f64::consts::TAU;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Poisson, StandardNormal, StudentT};

/// Minutes in a day.
pub const DAY: usize = 1440;

/// The level around which all kinds but `zeros` move.
const USUAL: f64 = 100.0;
/// Typical size of the noise of a minute, in logarithms.
const SIGMA: f64 = 0.2;
/// How far a day swings around its mean.
const SWING: f64 = 0.3;

/// A kind of series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Minutes that know nothing of each other.
    Iid,
    /// Autoregressive minutes, 0.9, at one level.
    Ar90Flat,
    /// Autoregressive minutes, 0.97, at one level.
    Ar97Flat,
    /// 0.9, and a daily cycle.
    Ar90Day,
    /// 0.97, and a daily cycle.
    Ar97Day,
    /// Slow wandering and measurement noise together, and a daily cycle.
    Mix,
    /// A daily cycle, 40 % lower on weekends; the week begins anywhere.
    Week,
    /// A daily cycle and shocks with the tails of Student's t with three degrees of freedom.
    T3,
    /// Six spikes of three to eight times a day, up to three minutes long.
    Spikes,
    /// Twice a day traffic moves, 10 to 25 % more for one to four hours.
    Shifts,
    /// Up to 1.8 times the usual in the 20 minutes after T0, then as before.
    Warmup,
    /// 1.5 % more a day, and a random walk of 2 % a day.
    Drift,
    /// Few distinct values: multiples of 25.
    Coarse,
    /// A tenth of a percent of noise.
    NearConstant,
    /// Three times the usual for 20 minutes every night, begun up to five minutes late.
    Nightly,
    /// The length of a queue that is mostly empty.
    Zeros,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 16] = [
        Kind::Iid,
        Kind::Ar90Flat,
        Kind::Ar97Flat,
        Kind::Ar90Day,
        Kind::Ar97Day,
        Kind::Mix,
        Kind::Week,
        Kind::T3,
        Kind::Spikes,
        Kind::Shifts,
        Kind::Warmup,
        Kind::Drift,
        Kind::Coarse,
        Kind::NearConstant,
        Kind::Nightly,
        Kind::Zeros,
    ];

    /// As tables name it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Iid => "iid",
            Kind::Ar90Flat => "ar90-flat",
            Kind::Ar97Flat => "ar97-flat",
            Kind::Ar90Day => "ar90-day",
            Kind::Ar97Day => "ar97-day",
            Kind::Mix => "mix",
            Kind::Week => "week",
            Kind::T3 => "t3",
            Kind::Spikes => "spikes",
            Kind::Shifts => "shifts",
            Kind::Warmup => "warmup",
            Kind::Drift => "drift",
            Kind::Coarse => "coarse",
            Kind::NearConstant => "near-constant",
            Kind::Nightly => "nightly",
            Kind::Zeros => "zeros",
        }
    }
}

/// A series of that kind: `minutes` values, of which the deployment comes after the first `t0`.
pub fn make(kind: Kind, seed: u64, minutes: usize, t0: usize) -> Vec<f64> {
    let random = &mut random(kind, seed);
    let (n, swing) = (minutes, if is_flat(kind) { 0.0 } else { SWING });
    let mut values = cycle(random, n, swing);
    let noise = |sigma: f64, values: &mut Vec<f64>, shocks: Vec<f64>, memory: f64| {
        for (value, x) in values.iter_mut().zip(remember(shocks, memory)) {
            *value *= (sigma * x).exp();
        }
    };
    match kind {
        Kind::Iid => noise(SIGMA, &mut values, normal(random, n), 0.0),
        Kind::Ar97Flat | Kind::Ar97Day => noise(SIGMA, &mut values, normal(random, n), 0.97),
        Kind::Mix => {
            noise(0.14, &mut values, normal(random, n), 0.97);
            noise(0.14, &mut values, normal(random, n), 0.0);
        }
        Kind::T3 => noise(SIGMA, &mut values, student(random, n), 0.9),
        Kind::Shifts => noise(0.15, &mut values, normal(random, n), 0.9),
        Kind::NearConstant => noise(0.001, &mut values, normal(random, n), 0.9),
        Kind::Zeros => return queue(random, n),
        _ => noise(SIGMA, &mut values, normal(random, n), 0.9),
    }
    match kind {
        Kind::Week => {
            for (t, value) in values.iter_mut().enumerate() {
                *value *= if is_weekend(seed, t) { 0.6 } else { 1.0 };
            }
        }
        Kind::Spikes => now_and_then(random, &mut values, 6.0, 1..=3, 3.0..8.0),
        Kind::Shifts => now_and_then(random, &mut values, 2.0, 60..=239, 1.1..1.25),
        Kind::Warmup => {
            for (minute, value) in values.iter_mut().skip(t0).take(20).enumerate() {
                *value *= 1.0 + 0.8 * (1.0 - minute as f64 / 20.0);
            }
        }
        Kind::Drift => {
            let mut walk = 0.0;
            for (t, value) in values.iter_mut().enumerate() {
                let step: f64 = StandardNormal.sample(random);
                walk += step * 0.02 / (DAY as f64).sqrt();
                *value *= (walk + 0.015 * t as f64 / DAY as f64).exp();
            }
        }
        Kind::Coarse => values.iter_mut().for_each(|value| *value = 25.0 * (*value / 25.0).round()),
        Kind::Nightly => {
            let usual = random.random_range(0..DAY - 60);
            for day in 0..n / DAY {
                let from = day * DAY + usual + random.random_range(0..5);
                values[from..].iter_mut().take(20).for_each(|value| *value *= 3.0);
            }
        }
        _ => {}
    }
    values
}

/// Whether a minute of the series of that seed is of a weekend. Days do not begin at T0.
pub fn is_weekend(seed: u64, minute: usize) -> bool {
    let week = 7 * DAY;
    let phase = ChaCha8Rng::seed_from_u64(seed ^ 0x7765_656b).random_range(0..week);
    (minute + phase) % week >= 5 * DAY
}

/// The series with every value from minute `from` to `to` multiplied: a regression, and its end.
pub fn changed(values: &[f64], from: usize, to: usize, factor: f64) -> Vec<f64> {
    let is_in = |t: usize| (from..to).contains(&t);
    values.iter().enumerate().map(|(t, value)| if is_in(t) { value * factor } else { *value }).collect()
}

/// The series with about that share of its minutes missing, in holes of a random length of up to 40 minutes.
pub fn with_holes(values: &[f64], seed: u64, share: f64) -> Vec<f64> {
    let random = &mut ChaCha8Rng::seed_from_u64(seed ^ 0x686f_6c65);
    let mut values = values.to_vec();
    let mut t = 0;
    while t < values.len() {
        let hole = random.random_range(1..=40);
        let rest = (hole as f64 * (1.0 - share) / share) as usize;
        t += random.random_range(0..=2 * rest);
        values.iter_mut().skip(t).take(hole).for_each(|value| *value = f64::NAN);
        t += hole;
    }
    values
}

fn random(kind: Kind, seed: u64) -> ChaCha8Rng {
    let kind = kind.name().bytes().fold(0u64, |sum, byte| sum.wrapping_mul(257).wrapping_add(u64::from(byte)));
    ChaCha8Rng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ kind)
}

fn is_flat(kind: Kind) -> bool {
    matches!(kind, Kind::Iid | Kind::Ar90Flat | Kind::Ar97Flat | Kind::NearConstant)
}

/// A sine a day around the usual, that begins anywhere.
fn cycle(random: &mut ChaCha8Rng, n: usize, swing: f64) -> Vec<f64> {
    let phase = random.random_range(0.0..TAU);
    (0..n).map(|t| USUAL * (1.0 + swing * (TAU * t as f64 / DAY as f64 + phase).sin())).collect()
}

fn normal(random: &mut ChaCha8Rng, n: usize) -> Vec<f64> {
    (0..n).map(|_| StandardNormal.sample(random)).collect()
}

/// Student's t with three degrees of freedom, scaled to a variance of one.
fn student(random: &mut ChaCha8Rng, n: usize) -> Vec<f64> {
    let t3 = StudentT::new(3.0).expect("three degrees of freedom are allowed");
    (0..n).map(|_| t3.sample(random) / 3f64.sqrt()).collect()
}

/// An autoregressive series of order one with the variance of its shocks.
fn remember(mut shocks: Vec<f64>, memory: f64) -> Vec<f64> {
    let rest = (1.0 - memory * memory).sqrt();
    for t in 1..shocks.len() {
        shocks[t] = memory * shocks[t - 1] + rest * shocks[t];
    }
    shocks
}

/// At random, `a_day` times a day, some minutes times some factor.
fn now_and_then(
    random: &mut ChaCha8Rng,
    values: &mut [f64],
    a_day: f64,
    minutes: std::ops::RangeInclusive<usize>,
    factors: std::ops::Range<f64>,
) {
    for t in 0..values.len() {
        if random.random::<f64>() < a_day / DAY as f64 {
            let (minutes, factor) = (random.random_range(minutes.clone()), random.random_range(factors.clone()));
            values[t..].iter_mut().take(minutes).for_each(|value| *value *= factor);
        }
    }
}

fn queue(random: &mut ChaCha8Rng, n: usize) -> Vec<f64> {
    let load = remember(normal(random, n), 0.9);
    load.into_iter()
        .map(|x| Poisson::new((0.5 * x - 1.2).exp()).expect("a rate above zero is allowed").sample(random))
        .collect()
}
