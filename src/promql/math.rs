//! Sums that lose nothing, and order statistics.

/// A sum with its lost low bits kept (Neumaier's variant of Kahan's).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum {
    sum: f64,
    lost: f64,
}

impl Sum {
    pub(super) fn add(&mut self, value: f64) {
        let total = self.sum + value;
        if total.is_infinite() {
            self.lost = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.lost += (self.sum - total) + value;
        } else {
            self.lost += (value - total) + self.sum;
        }
        self.sum = total;
    }

    pub(super) fn total(self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.lost }
    }
}

/// A mean: a compensated sum, that goes over to a running mean when the sum would overflow.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mean {
    sum: Sum,
    count: f64,
    running: bool,
}

impl Mean {
    pub(super) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.running {
            let mut next = self.sum;
            next.add(value);
            if self.count == 1.0 || !next.sum.is_infinite() {
                self.sum = next;
                return;
            }
            self.running = true;
            self.sum.sum /= self.count - 1.0;
            self.sum.lost /= self.count - 1.0;
        }
        let keep = (self.count - 1.0) / self.count;
        self.sum.sum *= keep;
        self.sum.lost *= keep;
        self.sum.add(value / self.count);
    }

    pub(super) fn mean(self) -> f64 {
        if self.running { self.sum.total() } else { self.sum.sum / self.count + self.sum.lost / self.count }
    }
}

/// A few numbers that any folding aggregation needs: a sum, a mean, an extreme, or the spread, and how many there were.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fold {
    /// The sum, the extreme, or the mean while it runs.
    pub(super) sum: f64,
    lost: f64,
    squares: f64,
    squares_lost: f64,
    pub(super) count: f64,
    running: bool,
}

impl Fold {
    pub(super) const EMPTY: Fold =
        Fold { sum: 0.0, lost: 0.0, squares: 0.0, squares_lost: 0.0, count: 0.0, running: false };

    #[inline]
    pub(super) fn add(&mut self, value: f64) {
        let mut sum = Sum { sum: self.sum, lost: self.lost };
        sum.add(value);
        (self.sum, self.lost) = (sum.sum, sum.lost);
        self.count += 1.0;
    }

    pub(super) fn sum(&self) -> f64 {
        Sum { sum: self.sum, lost: self.lost }.total()
    }

    pub(super) fn add_to_mean(&mut self, value: f64) {
        let mut mean = self.as_mean();
        mean.add(value);
        (self.sum, self.lost, self.count, self.running) = (mean.sum.sum, mean.sum.lost, mean.count, mean.running);
    }

    pub(super) fn mean(&self) -> f64 {
        self.as_mean().mean()
    }

    fn as_mean(&self) -> Mean {
        Mean { sum: Sum { sum: self.sum, lost: self.lost }, count: self.count, running: self.running }
    }

    pub(super) fn lower(&mut self, value: f64) {
        self.sum = if self.count == 0.0 { value } else { least(self.sum, value) };
        self.count += 1.0;
    }

    pub(super) fn raise(&mut self, value: f64) {
        self.sum = if self.count == 0.0 { value } else { greatest(self.sum, value) };
        self.count += 1.0;
    }

    /// One step of Welford's running variance.
    pub(super) fn spread(&mut self, value: f64) {
        let mut mean = Sum { sum: self.sum, lost: self.lost };
        let mut squares = Sum { sum: self.squares, lost: self.squares_lost };
        self.count += 1.0;
        let delta = value - (mean.sum + mean.lost);
        mean.add(delta / self.count);
        squares.add(delta * (value - (mean.sum + mean.lost)));
        (self.sum, self.lost, self.squares, self.squares_lost) = (mean.sum, mean.lost, squares.sum, squares.lost);
    }

    pub(super) fn variance(&self) -> f64 {
        (self.squares + self.squares_lost) / self.count
    }
}

/// The population variance, by Welford's running update with compensated sums.
pub(super) fn variance(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut fold = Fold::EMPTY;
    values.into_iter().for_each(|value| fold.spread(value));
    fold.variance()
}

/// The `q`-quantile with linear interpolation; NaN sorts first. Values are left sorted.
pub(super) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_by(|a, b| nan_first(*a, *b));
    let rank = q * (values.len() - 1) as f64;
    let low = rank.floor() as usize;
    let high = (low + 1).min(values.len() - 1);
    let weight = rank - rank.floor();
    values[low] * (1.0 - weight) + values[high] * weight
}

/// An order in which NaN is smaller than all else.
pub(super) fn nan_first(a: f64, b: f64) -> std::cmp::Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

/// The smaller; a NaN gives way to any number.
pub(super) fn least(a: f64, b: f64) -> f64 {
    if b < a || a.is_nan() { b } else { a }
}

/// The larger; a NaN gives way to any number.
pub(super) fn greatest(a: f64, b: f64) -> f64 {
    if b > a || a.is_nan() { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_keep_what_is_small() {
        let mut sum = Sum::default();
        for value in [1e100, 1.0, -1e100, 1.0] {
            sum.add(value);
        }
        assert_eq!(sum.total(), 2.0);
        let mut sum = Sum::default();
        for value in [f64::INFINITY, 1.0] {
            sum.add(value);
        }
        assert_eq!(sum.total(), f64::INFINITY);
    }

    #[test]
    fn a_mean_of_huge_values_does_not_overflow() {
        let mut mean = Mean::default();
        for _ in 0..4 {
            mean.add(1.7e308);
        }
        assert!((mean.mean() / 1.7e308 - 1.0).abs() < 1e-12);
    }

    #[test]
    fn quantiles_interpolate() {
        for (q, expected) in [(0.0, 1.0), (0.5, 2.5), (1.0, 4.0), (-1.0, f64::NEG_INFINITY), (2.0, f64::INFINITY)] {
            assert_eq!(quantile(q, &mut [4.0, 1.0, 3.0, 2.0]), expected);
        }
        assert!(quantile(0.5, &mut []).is_nan());
        assert!(quantile(0.0, &mut [1.0, f64::NAN]).is_nan());
    }
}
