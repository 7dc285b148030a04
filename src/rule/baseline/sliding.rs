//! The last twelve hours of minutes, with the means of the windows that are asked for every minute.

/// How many minutes are kept: the longest window.
pub(super) const KEPT: usize = 720;

/// The windows whose sums are carried along, in minutes.
const CARRIED: [usize; 3] = [60, 240, KEPT];

/// A ring of minutes; a missing one is NaN.
#[derive(Clone, Debug)]
pub(super) struct Sliding {
    ring: Vec<f64>,
    /// Where the next minute goes.
    next: usize,
    sums: [f64; CARRIED.len()],
    counts: [u32; CARRIED.len()],
}

impl Sliding {
    /// Empty: all minutes are missing.
    pub(super) fn new() -> Sliding {
        Sliding { ring: vec![f64::NAN; KEPT], next: 0, sums: [0.0; CARRIED.len()], counts: [0; CARRIED.len()] }
    }

    /// Takes in the next minute; what is not finite is missing.
    pub(super) fn push(&mut self, minute: f64) {
        for (i, &width) in CARRIED.iter().enumerate() {
            let leaves = self.ring[(self.next + KEPT - width) % KEPT];
            if leaves.is_finite() {
                self.sums[i] -= leaves;
                self.counts[i] -= 1;
            }
            if minute.is_finite() {
                self.sums[i] += minute;
                self.counts[i] += 1;
            }
            // What subtraction leaves behind is not carried on.
            if self.counts[i] == 0 {
                self.sums[i] = 0.0;
            }
        }
        self.ring[self.next] = if minute.is_finite() { minute } else { f64::NAN };
        self.next = (self.next + 1) % KEPT;
    }

    /// The newest minute.
    pub(super) fn newest(&self) -> f64 {
        self.ring[(self.next + KEPT - 1) % KEPT]
    }

    /// The mean of the last `width` minutes; NaN unless at least the share `needed` of them is there.
    pub(super) fn mean(&self, width: usize, needed: f64) -> f64 {
        match CARRIED.iter().position(|w| *w == width) {
            Some(i) => share(self.sums[i], self.counts[i], width, needed),
            None => self.mean_ago(0, width, needed),
        }
    }

    /// The mean of `width` minutes, the last of them `ago` minutes before the newest. Both together at most 720.
    pub(super) fn mean_ago(&self, ago: usize, width: usize, needed: f64) -> f64 {
        let width = width.min(KEPT.saturating_sub(ago));
        let (mut sum, mut count) = (0.0, 0);
        for back in ago + 1..=ago + width {
            let minute = self.ring[(self.next + KEPT - back) % KEPT];
            if minute.is_finite() {
                sum += minute;
                count += 1;
            }
        }
        share(sum, count, width, needed)
    }
}

/// The last quarter of an hour, for medians.
#[derive(Clone, Debug)]
pub(super) struct Recent {
    ring: [f64; 15],
    next: usize,
}

impl Recent {
    /// Empty: all minutes are missing.
    pub(super) fn new() -> Recent {
        Recent { ring: [f64::NAN; 15], next: 0 }
    }

    /// Takes in the next minute; what is not finite is missing.
    pub(super) fn push(&mut self, minute: f64) {
        self.ring[self.next] = minute;
        self.next = (self.next + 1) % self.ring.len();
    }

    /// The median of the last `width` minutes, at most 15; NaN unless at least half of them are there.
    pub(super) fn median(&self, width: usize) -> f64 {
        let kept = self.ring.len();
        let mut sorted = [0.0; 15];
        let mut n = 0;
        for back in 1..=width.min(kept) {
            let minute = self.ring[(self.next + kept - back) % kept];
            if minute.is_finite() {
                let at = sorted[..n].partition_point(|s| *s < minute);
                sorted.copy_within(at..n, at + 1);
                sorted[at] = minute;
                n += 1;
            }
        }
        if n == 0 || n * 2 < width { f64::NAN } else { (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0 }
    }
}

fn share(sum: f64, count: u32, width: usize, needed: f64) -> f64 {
    if count == 0 || f64::from(count) < needed * width as f64 { f64::NAN } else { sum / f64::from(count) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::baseline::stats;

    #[test]
    fn means_and_medians_agree_with_those_of_the_whole_series() {
        let values: Vec<f64> =
            (0..3000).map(|t| if t % 11 < 3 { f64::NAN } else { f64::from(t * 37 % 101) - 50.0 }).collect();
        let means = CARRIED.map(|w| stats::sliding_mean(&values, w));
        let medians = [9, 15].map(|w| stats::sliding_median(&values, w));
        let (mut sliding, mut recent) = (Sliding::new(), Recent::new());
        for (t, v) in values.iter().enumerate() {
            sliding.push(*v);
            recent.push(*v);
            for (i, w) in CARRIED.iter().enumerate() {
                let (a, b) = (sliding.mean(*w, 0.5), means[i][t]);
                assert!(t + 1 < *w || (a - b).abs() < 1e-9 || (a.is_nan() && b.is_nan()), "{w} {t}: {a} {b}");
            }
            for (i, w) in [9, 15].into_iter().enumerate() {
                let (a, b) = (recent.median(w), medians[i][t]);
                assert!(t + 1 < w || a == b || (a.is_nan() && b.is_nan()), "{w} {t}: {a} {b}");
            }
        }
        assert!((sliding.mean_ago(10, 30, 0.5) - stats::sliding_mean(&values, 30)[2989]).abs() < 1e-9);
    }
}
