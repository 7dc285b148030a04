//! Kayenta's default judge, NetflixACAJudge: a metric of the new version is compared with that of the old by a
//! Mann-Whitney U test; here the old version's values are those from before the deployment, the judge's
//! retrospective use, since one host has no second copy.
//!
//! As its documentation says: values that do not exist are left out; the 98 % confidence interval of the shift
//! must lie above a quarter of the estimated shift for "high" (the test's tolerance), and, where an effect size is
//! set, the ratio of the means at or above it. The score is the share of metrics that pass; a run at or below
//! `marginal` ends the analysis, the last must reach `pass`. Advised: at least 50 values a run, a lifetime of 3 h,
//! an interval of 1 h, no warm-up; 95 and 75 as scores.

use super::super::watch::{Act, Counts, Log, Policy, Series, Watch};

/// Normal quantile of a two-sided 98 % interval.
const Z: f64 = 2.326_347_874_040_841;

/// The part of the estimated shift that the interval must exceed.
const TOLERANCE: f64 = 0.25;

/// Scores.
const PASS: f64 = 95.0;
const MARGINAL: f64 = 75.0;

/// See the story of the file.
pub struct Kayenta {
    name: &'static str,
    note: &'static str,
    /// Minutes of the whole analysis.
    lifetime: u32,
    /// Minutes between judgements.
    interval: u32,
    /// Minutes that one judgement looks back; without it, to T0.
    look_back: Option<u32>,
    /// Least ratio of the means for "high".
    allowed_increase: f64,
}

impl Kayenta {
    /// The advice of "Best practices for configuring canary".
    pub fn documented() -> Kayenta {
        Kayenta {
            name: "kayenta",
            note: "NetflixACAJudge, direction increase: 98 % interval, tolerance 0.25, no effect size (its default); lifetime 3 h, interval 1 h over a growing window, pass 95, marginal 75; compared with the 3 h before T0. It ends after 3 h. Its documentation advises against comparing with the time before, and for a second copy of the old version beside the new",
            lifetime: 180,
            interval: 60,
            look_back: None,
            allowed_increase: 1.0,
        }
    }

    /// The same with an effect size.
    pub fn with_effect_size() -> Kayenta {
        Kayenta {
            name: "kayenta-effect",
            note: "the same with effectSize.allowedIncrease 1.5: the means must also differ by half",
            allowed_increase: 1.5,
            ..Kayenta::documented()
        }
    }

    /// The same with an effect size for the whole watch.
    pub fn whole_watch() -> Kayenta {
        Kayenta {
            name: "kayenta-48h",
            note: "the same, with the effect size, for the whole watch: every hour the last hour (lookbackMins 60), compared with the same hour two days earlier",
            lifetime: 2880,
            look_back: Some(60),
            ..Kayenta::with_effect_size()
        }
    }

    /// Whether the metric is high: `None` is "no data".
    fn high(&self, control: &[f64], experiment: &[f64]) -> Option<bool> {
        if control.is_empty() || experiment.is_empty() {
            return None;
        }
        let Some(shift) = Shift::of(control, experiment) else { return Some(false) };
        if shift.lower <= TOLERANCE * shift.estimate.abs() {
            return Some(false);
        }
        let effect = mean(experiment) / mean(control);
        // A mean of zero gives no ratio, and the effect size is then not looked at.
        Some(!effect.is_finite() || effect == 0.0 || effect >= self.allowed_increase)
    }

    /// The score of the judgement at `now`: 100 without any metric to score.
    fn score(&self, watch: &Watch, now: u32) -> f64 {
        let from = now - self.look_back.unwrap_or(now);
        let back = i64::from(self.lifetime);
        let (from, to) = (i64::from(from), i64::from(now));
        let mut metrics = Vec::new();
        if let Some(counts) = &watch.requests {
            metrics.push(self.high(&shares(counts, from - back, to - back), &shares(counts, from, to)));
        }
        for series in [&watch.values, &watch.memory].into_iter().flatten() {
            metrics.push(self.high(&present(series, from - back, to - back), &present(series, from, to)));
        }
        let judged = metrics.iter().flatten().count();
        // Where half of the metrics or more have no data, the run fails whatever the others say.
        if 2 * judged <= metrics.len() {
            return 0.0;
        }
        let passed = metrics.iter().flatten().filter(|high| !**high).count();
        100.0 * passed as f64 / judged as f64
    }
}

impl Policy for Kayenta {
    fn name(&self) -> &'static str {
        self.name
    }

    fn rolls_back(&self) -> bool {
        true
    }

    fn note(&self) -> &'static str {
        self.note
    }

    fn judge(&self, watch: &Watch, log: &mut Log) {
        let end = self.lifetime.min(watch.minutes());
        for now in (self.interval..=end).step_by(self.interval as usize) {
            // A query that fails is tried ten times with growing pauses: short silences do no harm.
            let score = self.score(watch, now);
            let last = now + self.interval > end;
            if score <= MARGINAL || (last && score < PASS) {
                return log.add(now, Act::Rollback, || format!("score {score:.0} at {} h", now / 60));
            }
        }
    }
}

/// The shift between two samples after Hodges and Lehmann (1963), and the lower end of its 98 % interval: order
/// statistics of all pairwise differences at the ranks that the normal approximation of U gives (Mann and Whitney
/// 1947; Hollander and Wolfe 1973, with the correction for ties).
struct Shift {
    estimate: f64,
    lower: f64,
}

impl Shift {
    fn of(control: &[f64], experiment: &[f64]) -> Option<Shift> {
        let mut pooled: Vec<f64> = control.iter().chain(experiment).copied().collect();
        pooled.sort_unstable_by(f64::total_cmp);
        let n = pooled.len() as f64;
        let ties: f64 = pooled.chunk_by(|a, b| a == b).map(|run| (run.len() as f64).powi(3) - run.len() as f64).sum();
        let pairs = control.len() as f64 * experiment.len() as f64;
        let variance = pairs / 12.0 * (n + 1.0 - ties / (n * (n - 1.0)));
        if variance <= 0.0 {
            return None;
        }
        let mut differences: Vec<f64> = experiment.iter().flat_map(|x| control.iter().map(move |y| x - y)).collect();
        let rank = (pairs / 2.0 - Z * variance.sqrt()).floor().max(0.0) as usize;
        let middle = differences.len() / 2;
        let (below, upper, _) = differences.select_nth_unstable_by(middle, f64::total_cmp);
        let upper = *upper;
        let even = (pairs as usize).is_multiple_of(2);
        let estimate = if even { f64::midpoint(below.iter().copied().fold(f64::MIN, f64::max), upper) } else { upper };
        let lower = if rank < middle { *below.select_nth_unstable_by(rank, f64::total_cmp).1 } else { upper };
        Some(Shift { estimate, lower })
    }
}

fn present(series: &Series, from: i64, to: i64) -> Vec<f64> {
    series.present(from, to).map(|(_, value)| value).collect()
}

/// The share of errors of each minute with requests.
fn shares(counts: &Counts, from: i64, to: i64) -> Vec<f64> {
    (from..to).filter_map(|minute| counts.share(minute, minute + 1)).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: [f64; 20] = [
        0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46, 1.12, 1.7, 1.3, 2.1, 1.05, 1.61, 0.95, 1.77, 1.2,
        1.5,
    ];
    const OLD: [f64; 16] =
        [1.15, 0.88, 0.90, 0.74, 1.21, 0.6, 0.95, 0.81, 1.02, 0.77, 0.69, 1.1, 0.85, 0.92, 0.58, 1.25];

    #[test]
    fn the_shift_is_that_of_the_inverted_test() {
        // Reference: all shifts in steps of 0.0001 tried by hand, the lowest that U does not reject at 98 %.
        let shift = Shift::of(&OLD, &NEW).unwrap();
        assert!((shift.estimate - 0.475).abs() < 1e-9, "{}", shift.estimate);
        assert!((shift.lower - 0.17).abs() < 1e-9, "{}", shift.lower);
    }

    #[test]
    fn what_is_higher_is_found_and_what_is_alike_passes() {
        let (plain, effect) = (Kayenta::documented(), Kayenta::with_effect_size());
        assert_eq!(plain.high(&OLD, &NEW), Some(true));
        assert_eq!(effect.high(&OLD, &NEW), Some(true), "1.37 / 0.90 is above 1.5");
        assert_eq!(plain.high(&NEW, &OLD), Some(false), "lower is not worse");
        assert_eq!(plain.high(&OLD, &OLD), Some(false));
        let slightly: Vec<f64> = OLD.iter().map(|value| value * 1.4).collect();
        assert_eq!(effect.high(&OLD, &slightly), Some(false), "1.4 is below the effect size");
        assert_eq!(plain.high(&[1.0; 9], &[1.0; 9]), Some(false), "one value has no test");
        assert_eq!(plain.high(&[], &NEW), None);
    }
}
