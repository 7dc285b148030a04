//! How much the errors of the history clump, and so how much less each of them says.
//!
//! Errors of independent requests vary as the binomial distribution says; errors that come in bursts vary more, by the
//! factor phi: Pearson's statistic over its degrees of freedom (R. W. M. Wedderburn, "Quasi-likelihood functions", 1974).

use serde::{Deserialize, Serialize};

use super::ring::Bucket;

/// Lengths of the blocks over which bursts are looked for, in buckets.
const BLOCKS: [u32; 2] = [5, 15];
/// Buckets of a day, at a minute each.
const DAY: usize = 1440;
/// From so many days on, what happened on one of them only is left out.
const DAYS: usize = 3;
/// Fewer events than this in the history say nothing about bursts.
const EVENTS: f64 = 100.0;
/// Fewer of the longer blocks with traffic than this neither.
const FILLED: f64 = 20.0;
/// The most: where thousands of requests a minute come, a burst of errors is that much more than independent ones would be.
const MOST: f64 = 1000.0;

/// What the history says about errors when all is well.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dispersion {
    /// The factor by which the variance of the errors exceeds that of independent errors; 1 to 1000.
    pub phi: f64,
    /// The share of errors in the history, 0 to 1; none where it is not known.
    pub share: Option<f64>,
}

impl Dispersion {
    /// For a service without enough history: a factor of 2.
    pub const fn unknown() -> Dispersion {
        Dispersion { phi: 2.0, share: None }
    }

    /// Measures the buckets of a history, `(errors, total)` in their order; who hands them in leaves out the missing
    /// ones. Below 100 events, or below 20 blocks of 15 buckets with traffic, it is unknown.
    ///
    /// From three days on, the day without which errors clump least is left out: what comes back stays in, and an outage
    /// that happened once does not make every error count for a twentieth for a week.
    pub fn of(history: impl Iterator<Item = (f64, f64)>) -> Dispersion {
        let mut days: Vec<[Blocks; BLOCKS.len()]> = Vec::new();
        let buckets = history.filter_map(|(errors, total)| Bucket::of(errors, total));
        for (minute, bucket) in buckets.enumerate() {
            if minute.is_multiple_of(DAY) {
                days.push(BLOCKS.map(Blocks::new));
            }
            days.last_mut().into_iter().flatten().for_each(|blocks| blocks.see(bucket));
        }
        let without = |left_out: Option<usize>| {
            let days = days.iter().enumerate().filter(|(day, _)| Some(*day) != left_out);
            let sums = days.fold([Sums::default(); BLOCKS.len()], |sums, (_, day)| {
                std::array::from_fn(|i| sums[i].and(day[i].sums))
            });
            Dispersion::of_sums(sums)
        };
        let all = without(None);
        let each = (0..days.len()).filter(|_| days.len() >= DAYS).filter_map(|day| without(Some(day)));
        let least = |a: Dispersion, b: Dispersion| if b.phi < a.phi { b } else { a };
        all.map_or(Dispersion::unknown(), |all| each.fold(all, least))
    }

    /// None when there is too little.
    fn of_sums(sums: [Sums; BLOCKS.len()]) -> Option<Dispersion> {
        let [Sums { errors, total, .. }, _] = sums;
        // No errors at all: as if there had been one, so that there is a variance to compare with.
        let share = errors.max(1.0) / total;
        let is_known = total >= EVENTS && sums.iter().all(|sums| sums.filled >= FILLED) && share < 1.0;
        let phi = sums.iter().map(|sums| sums.factor(share)).fold(1.0, f64::max).min(MOST);
        is_known.then_some(Dispersion { phi, share: Some(errors / total) })
    }

    /// The factor to divide by, whatever was read from a file.
    pub(super) fn factor(&self) -> f64 {
        if self.phi.is_finite() { self.phi.clamp(1.0, MOST) } else { Dispersion::unknown().phi }
    }
}

/// A day in blocks of one length.
struct Blocks {
    length: u32,
    open: Bucket,
    opened: u32,
    sums: Sums,
}

/// Sums over whole blocks with traffic, from which Pearson's statistic follows for any share.
#[derive(Clone, Copy, Default)]
struct Sums {
    /// How many blocks.
    filled: f64,
    /// Errors squared by total.
    squares: f64,
    errors: f64,
    total: f64,
}

impl Blocks {
    fn new(length: u32) -> Blocks {
        Blocks { length, open: Bucket::default(), opened: 0, sums: Sums::default() }
    }

    fn see(&mut self, bucket: Bucket) {
        self.open.errors += bucket.errors;
        self.open.total += bucket.total;
        self.opened += 1;
        if self.opened < self.length {
            return;
        }
        let Bucket { errors, total } = std::mem::take(&mut self.open);
        self.opened = 0;
        if total > 0.0 {
            self.sums = self.sums.and(Sums { filled: 1.0, squares: errors * (errors / total), errors, total });
        }
    }
}

impl Sums {
    fn and(self, other: Sums) -> Sums {
        Sums {
            filled: self.filled + other.filled,
            squares: self.squares + other.squares,
            errors: self.errors + other.errors,
            total: self.total + other.total,
        }
    }

    /// The mean of `(errors - share * total)^2 / (total * share * (1 - share))`.
    fn factor(&self, share: f64) -> f64 {
        let deviation = self.squares - 2.0 * share * self.errors + share * share * self.total;
        let factor = deviation / (self.filled * share * (1.0 - share));
        if factor.is_finite() { factor } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A week of minutes with ten events each, in which `errors` says how many fail.
    fn week(errors: impl Fn(usize) -> f64) -> Dispersion {
        Dispersion::of((0..7 * 1440).map(|minute| (errors(minute), 10.0)))
    }

    #[test]
    fn even_errors_count_whole_and_errors_in_bursts_count_less() {
        let even = week(|minute| f64::from(u8::from(minute % 10 == 0)));
        assert_eq!(even.phi, 1.0);
        assert!((even.share.unwrap() - 0.01).abs() < 1e-9);
        // The same errors, ten at a time once in a hundred minutes: over blocks of 5 and 15 minutes the variance is
        // (10 - 10 * share)^2 / (10 * share) at the least.
        let bursts = week(|minute| if minute % 100 == 0 { 10.0 } else { 0.0 });
        assert!((9.0..11.0).contains(&bursts.phi), "{bursts:?}");
    }

    #[test]
    fn an_outage_of_one_day_is_no_habit_and_one_of_two_days_is() {
        let outages = |days: usize| {
            let is_out = move |minute: usize| minute / 1440 < days && minute % 1440 < 60;
            week(move |minute| if is_out(minute) { 10.0 } else { f64::from(u8::from(minute % 10 == 0)) })
        };
        assert_eq!((outages(0).phi, outages(1).phi), (1.0, 1.0));
        assert!(outages(2).phi > 50.0, "{}", outages(2).phi);
        assert!((outages(1).share.unwrap() - 0.01).abs() < 1e-9);
    }

    #[test]
    fn too_little_history_is_unknown() {
        let unknown = Dispersion::unknown();
        assert_eq!(Dispersion::of(std::iter::empty()), unknown);
        assert_eq!(Dispersion::of([(0.0, 99.0)].into_iter()), unknown);
        assert_eq!(Dispersion::of((0..200).map(|_| (0.0, 0.4))), unknown);
        assert_eq!(Dispersion::of((0..1000).map(|_| (3.0, 3.0))), unknown);
        assert_eq!(Dispersion::of((0..1000).map(|_| (f64::NAN, 3.0))), unknown);
        assert_eq!(Dispersion::of((0..1000).map(|_| (0.0, 3.0))), Dispersion { phi: 1.0, share: Some(0.0) });
    }

    #[test]
    fn a_factor_from_a_file_stays_within_its_bounds() {
        for (read, used) in [(f64::NAN, 2.0), (f64::INFINITY, 2.0), (-3.0, 1.0), (0.0, 1.0), (1e9, 1000.0), (4.0, 4.0)]
        {
            assert_eq!(Dispersion { phi: read, share: None }.factor(), used);
        }
    }
}
