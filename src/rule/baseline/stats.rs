//! The small statistics that everything here is made of. Missing values are NaN on the way in and out.

/// The median of the finite values, which it reorders; NaN when there are none.
pub(super) fn median(values: &mut Vec<f64>) -> f64 {
    values.retain(|v| v.is_finite());
    let n = values.len();
    if n == 0 {
        return f64::NAN;
    }
    let (below, &mut middle, _) = values.select_nth_unstable_by(n / 2, f64::total_cmp);
    if n % 2 == 1 {
        return middle;
    }
    let other = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    other + (middle - other) / 2.0
}

/// The mean without the smallest and the largest of at least four finite values, else their median.
pub(super) fn trimmed_mean(values: &mut Vec<f64>) -> f64 {
    values.retain(|v| v.is_finite());
    let n = values.len();
    if n < 4 {
        return median(values);
    }
    values.sort_unstable_by(f64::total_cmp);
    values[1..n - 1].iter().sum::<f64>() / (n - 2) as f64
}

/// Whether the values rise or fall steadily: Mann 1945, Kendall 1948, normal approximation, two-sided at 10 %.
pub(super) fn has_trend(values: &[f64]) -> bool {
    let n = values.len() as f64;
    let mut s = 0.0;
    for (i, earlier) in values.iter().enumerate() {
        for later in &values[i + 1..] {
            s += f64::from(i8::from(later > earlier)) - f64::from(i8::from(later < earlier));
        }
    }
    f64::abs(s) > 1.65 * (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt()
}

/// The median of the slopes between all pairs of points `(x, y)`: Theil 1950, Sen 1968. NaN for fewer than two.
pub(super) fn slope(points: &[(f64, f64)]) -> f64 {
    let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
    for (i, (x0, y0)) in points.iter().enumerate() {
        slopes.extend(points[i + 1..].iter().map(|(x1, y1)| (y1 - y0) / (x1 - x0)));
    }
    median(&mut slopes)
}

/// Means of `values` over any stretch of minutes, in constant time.
pub(super) struct Cumulated {
    sums: Vec<f64>,
    counts: Vec<u32>,
}

impl Cumulated {
    /// Sums up `values` once.
    pub(super) fn of(values: &[f64]) -> Cumulated {
        let (mut sum, mut count) = (0.0, 0);
        let (mut sums, mut counts) = (vec![0.0], vec![0]);
        for v in values {
            if v.is_finite() {
                sum += v;
                count += 1;
            }
            sums.push(sum);
            counts.push(count);
        }
        Cumulated { sums, counts }
    }

    /// The mean of the minutes `from..to`; NaN unless at least half of them are there.
    pub(super) fn mean(&self, from: usize, to: usize) -> f64 {
        let count = self.counts[to] - self.counts[from];
        if count == 0 || (count as usize) * 2 < to - from {
            return f64::NAN;
        }
        (self.sums[to] - self.sums[from]) / f64::from(count)
    }
}

/// The median over the last `width` values at each minute; NaN unless at least half of them are there.
pub(super) fn sliding_median(values: &[f64], width: usize) -> Vec<f64> {
    let mut sorted: Vec<f64> = Vec::with_capacity(width + 1);
    let place = |sorted: &[f64], v: f64| sorted.partition_point(|s| s.total_cmp(&v).is_lt());
    values
        .iter()
        .enumerate()
        .map(|(t, &new)| {
            if t >= width && values[t - width].is_finite() {
                sorted.remove(place(&sorted, values[t - width]));
            }
            if new.is_finite() {
                sorted.insert(place(&sorted, new), new);
            }
            let n = sorted.len();
            if t + 1 < width || n * 2 < width { f64::NAN } else { (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0 }
        })
        .collect()
}

/// The mean over the last `width` values at each minute; NaN unless at least half of them are there.
pub(super) fn sliding_mean(values: &[f64], width: usize) -> Vec<f64> {
    let cumulated = Cumulated::of(values);
    (1..=values.len()).map(|t| if t < width { f64::NAN } else { cumulated.mean(t - width, t) }).collect()
}

/// The largest of the finite values and zero.
pub(super) fn largest(values: &[f64]) -> f64 {
    values.iter().copied().filter(|v| v.is_finite()).fold(0.0, f64::max)
}

/// The root of the mean square of the finite values, each limited to `at_most` on both sides; 0 for none.
pub(super) fn rms(values: &[f64], at_most: f64) -> f64 {
    let (mut sum, mut n) = (0.0, 0.0);
    for v in values.iter().filter(|v| v.is_finite()) {
        sum += v.abs().min(at_most).powi(2);
        n += 1.0;
    }
    if n > 0.0 { (sum / n).sqrt() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_leaves_out_what_is_missing() {
        assert_eq!(median(&mut vec![3.0, f64::NAN, 1.0, f64::INFINITY]), 2.0);
        assert_eq!(median(&mut vec![5.0, 1.0, 3.0]), 3.0);
        assert!(median(&mut vec![f64::NAN]).is_nan());
        assert_eq!(median(&mut vec![f64::MAX, f64::MAX]), f64::MAX);
    }

    #[test]
    fn a_trimmed_mean_drops_both_ends_only_of_four_or_more() {
        assert_eq!(trimmed_mean(&mut vec![1.0, 2.0, 4.0, 100.0]), 3.0);
        assert_eq!(trimmed_mean(&mut vec![1.0, 2.0, 100.0]), 2.0);
    }

    #[test]
    fn a_steady_rise_is_a_trend_and_a_zigzag_is_none() {
        assert!(has_trend(&[1.0, 2.0, 3.0, 4.0, 5.0]));
        assert!(!has_trend(&[1.0, 3.0, 2.0, 4.0, 1.5]));
        assert_eq!(slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0), (3.0, 90.0)]), (2.0 + 29.666666666666668) / 2.0);
    }

    #[test]
    fn a_sliding_median_agrees_with_the_median_of_each_window() {
        let values: Vec<f64> = (0..200).map(|t| if t % 7 == 3 { f64::NAN } else { f64::from(t * t % 31) }).collect();
        for width in [9, 15] {
            let sliding = sliding_median(&values, width);
            for t in width - 1..values.len() {
                let mut window = values[t + 1 - width..=t].to_vec();
                assert_eq!(sliding[t], median(&mut window), "width {width}, minute {t}");
            }
        }
    }

    #[test]
    fn a_window_with_less_than_half_of_its_minutes_has_no_mean() {
        let values = [1.0, f64::NAN, 3.0, f64::NAN, f64::NAN];
        let means = sliding_mean(&values, 4);
        assert_eq!(means[3], 2.0);
        assert!(means[4].is_nan());
    }
}
