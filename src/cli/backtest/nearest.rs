//! How near each condition came, and whether the traffic could decide it.
//!
//! Enters: what the engine saw at each evaluation, label set by label set. Leaves, per condition: the worst value against the
//! limit, and the longest time for which it held. Of a share of events the figure is the one that is held against the limit:
//! the lowest share that the counts support. Conditions against a baseline or a trend have no limit that stands still; of them
//! only the engine's own decisions are counted. Pure.

use std::collections::{BTreeMap, HashMap};

use crate::base::because::Counts;
use crate::base::{Because, Labels, Quantity, Span, Timestamp};
use crate::rule::{Alert, Asks, Comparison, Condition, Rule, Test, Value, When, share};

/// A condition that was seen at two samples held between them, unless they are further apart.
const GAP: Span = Span::mins(5);

/// The most label sets whose pending conditions are followed.
const MOST_RUNS: usize = 100_000;

/// Buckets of counts in one factor of e: each is 5 % wide.
const FINE: f64 = 20.0;

/// One condition of a rule, and how near it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Near {
    /// `target`, `warning`, `critical` or `rollback`.
    pub kind: &'static str,
    /// As written, without its times.
    pub condition: String,
    /// For how long it must hold.
    pub needs: Span,
    /// The value that came nearest; the last one where that cannot be said.
    pub value: Option<Quantity>,
    /// How near that was: 1 at the limit, more beyond it; none where the condition has no limit that can be divided by.
    pub near: Option<f64>,
    /// When.
    pub at: Option<Timestamp>,
    /// Which label set.
    pub labels: Labels,
    /// The counts behind it, where it is a share.
    pub counts: Option<Counts>,
    /// The longest time for which it held, as far as that was seen.
    pub longest: Span,
    /// When that time began.
    pub longest_at: Option<Timestamp>,
}

/// What the traffic of a share can decide.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    /// The condition: its kind and its limit.
    pub condition: String,
    /// The window in which events are counted.
    pub window: Span,
    /// The median of the events in it.
    pub median: f64,
    /// From how many errors of these the condition holds; none where no number does.
    pub errors: Option<f64>,
    /// In which share of the readings no number of errors could have made it hold.
    pub undecidable: f64,
}

/// Follows one rule.
#[derive(Debug)]
pub struct Watcher {
    conditions: Vec<(&'static str, Condition)>,
    near: Vec<Near>,
    runs: HashMap<u64, Vec<Option<Run>>>,
    totals: BTreeMap<i32, u64>,
    /// The window and the fewest errors, where the rule is a share.
    share: Option<(Span, u32)>,
}

/// For how long a condition has held.
#[derive(Clone, Copy, Debug)]
struct Run {
    since: Timestamp,
    last: Timestamp,
}

impl Watcher {
    /// Follows the conditions of this rule.
    pub fn new(rule: &Rule) -> Watcher {
        let rollback = rule.rollback.as_ref().map(|criterion| &criterion.condition);
        let all = [
            ("target", rule.target.as_ref()),
            ("warning", rule.warning.as_ref()),
            ("critical", rule.critical.as_ref()),
            ("rollback", rollback),
        ];
        let conditions: Vec<_> = all.into_iter().filter_map(|(kind, c)| Some((kind, c?.clone()))).collect();
        let near = |(kind, condition): &(&'static str, Condition)| Near {
            kind,
            condition: condition.when.to_string(),
            needs: condition.held_for,
            value: None,
            near: None,
            at: None,
            labels: Labels::empty(),
            counts: None,
            longest: Span::ZERO,
            longest_at: None,
        };
        let share = match &rule.value {
            Value::Share { window, min_errors, .. } => Some((*window, *min_errors)),
            Value::Expression { .. } | Value::Remote { .. } => None,
        };
        let near = conditions.iter().map(near).collect();
        Watcher { conditions, near, runs: HashMap::new(), totals: BTreeMap::new(), share }
    }

    /// What was seen of one label set.
    pub fn see(&mut self, key: u64, alert: &Alert, rule: &Rule, asks: &Asks) {
        let Some(because) = &alert.because(rule, asks) else { return };
        let Some(evidence) = because.evidence else { return };
        if let Some(counts) = &because.counts {
            *self.totals.entry(bucket(counts.total)).or_default() += 1;
        }
        if self.runs.len() >= MOST_RUNS && !self.runs.contains_key(&key) {
            return;
        }
        let n = self.conditions.len();
        let runs = self.runs.entry(key).or_insert_with(|| vec![None; n]);
        let is_critical = alert.level().0 == crate::base::Level::Critical;
        for (((_, condition), near), run) in self.conditions.iter().zip(&mut self.near).zip(runs) {
            let holds = match &condition.when {
                When::Critical => is_critical,
                When::Present => because.value.is_some(),
                When::Test(test) => match judged(test, because, self.share.map(|(_, least)| least)) {
                    Some((value, nearness, holds)) => {
                        near.see(value, nearness, evidence, alert.labels(), because);
                        holds
                    }
                    None => continue,
                },
            };
            let going = run.filter(|run| evidence - run.last <= GAP);
            *run = holds.then(|| Run { since: going.map_or(evidence, |run| run.since), last: evidence });
            if let Some(run) = run
                && (run.last - run.since > near.longest || near.longest_at.is_none())
            {
                (near.longest, near.longest_at) = (run.last - run.since, Some(run.since));
            }
        }
    }

    /// How near each condition came.
    pub fn near(&self) -> &[Near] {
        &self.near
    }

    /// What the traffic could decide; nothing where the rule is no share, or saw none.
    pub fn traffic(&self) -> Vec<Traffic> {
        let Some((window, least)) = self.share else { return Vec::new() };
        let readings: u64 = self.totals.values().sum();
        let limits = self.conditions.iter().filter_map(|(kind, condition)| match &condition.when {
            When::Test(test) => test.only_value().filter(|(op, _)| op.rises()).map(|(op, limit)| (*kind, op, limit)),
            When::Critical | When::Present => None,
        });
        let of = |(kind, op, limit): (&'static str, Comparison, Quantity)| {
            let cannot =
                self.totals.iter().filter(|(b, _)| errors_needed(op, limit.value, count(**b), least).is_none());
            let median = self.median();
            Traffic {
                condition: format!("{kind} {} {limit}", op.as_str()),
                window,
                median,
                errors: errors_needed(op, limit.value, median, least),
                undecidable: cannot.map(|(_, n)| *n).sum::<u64>() as f64 / readings.max(1) as f64,
            }
        };
        if readings == 0 { Vec::new() } else { limits.map(of).collect() }
    }

    fn median(&self) -> f64 {
        let half = self.totals.values().sum::<u64>().div_ceil(2);
        let mut seen = 0;
        for (bucket, n) in &self.totals {
            seen += n;
            if seen >= half {
                return count(*bucket);
            }
        }
        0.0
    }
}

impl Near {
    fn see(&mut self, value: Quantity, nearness: Option<f64>, at: Timestamp, labels: &Labels, because: &Because) {
        let is_nearer = match (nearness, self.near) {
            (Some(new), Some(old)) => new > old,
            // What cannot be measured is shown as it was last.
            (Some(_) | None, None) => true,
            (None, Some(_)) => false,
        };
        if is_nearer {
            (self.value, self.near, self.at) = (Some(value), nearness, Some(at));
            (self.labels, self.counts) = (labels.clone(), because.counts);
        }
    }
}

/// The value that is held against the limits of a test, how near it comes to all of them, and whether the test holds; none
/// where a limit does not stand still, or there was no value.
fn judged(test: &Test, because: &Because, least: Option<u32>) -> Option<(Quantity, Option<f64>, bool)> {
    let limits: Vec<(Comparison, Quantity)> = test.values().collect();
    if limits.is_empty() || limits.len() < test.0.len() {
        return None;
    }
    let shown = because.value?;
    let mut holds = true;
    let mut nearest: Option<f64> = Some(f64::INFINITY);
    for (op, limit) in limits {
        // Towards a lower limit the other end of the interval would be meant; the value stands for it.
        let value = match because.counts {
            Some(counts) if op.rises() => counts.at_least,
            _ => shown.value,
        };
        holds &= op.holds(value, limit.value);
        nearest = match (nearest, nearness(op, value, limit.value)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            _ => None,
        };
    }
    let enough = because.counts.zip(least).is_none_or(|(counts, least)| counts.errors >= f64::from(least));
    Some((shown, nearest.filter(|n| n.is_finite()), holds && enough))
}

/// How near a value is to a limit: 1 at it, more beyond.
fn nearness(op: Comparison, value: f64, limit: f64) -> Option<f64> {
    match op {
        Comparison::Above | Comparison::AtLeast if limit > 0.0 && value.is_finite() => Some((value / limit).max(0.0)),
        Comparison::Below | Comparison::AtMost if limit > 0.0 && value > 0.0 => Some(limit / value),
        _ => None,
    }
}

/// The fewest errors of `total` events that make `op limit` hold; none where even `total` errors do not.
fn errors_needed(op: Comparison, limit: f64, total: f64, least: u32) -> Option<f64> {
    let holds = |errors: f64| op.holds(share::lower_bound(errors, total), limit);
    let (mut low, mut high) = (f64::from(least), total.floor());
    if high < low || !holds(high) {
        return None;
    }
    while low < high {
        let middle = ((low + high) / 2.0).floor();
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1.0;
        }
    }
    Some(high)
}

fn bucket(total: f64) -> i32 {
    if total < 1.0 || !total.is_finite() { -1 } else { (total.ln() * FINE).round() as i32 }
}

fn count(bucket: i32) -> f64 {
    if bucket < 0 { 0.0 } else { (f64::from(bucket) / FINE).exp().round() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearness_is_one_at_the_limit_from_either_side() {
        for (op, value, limit, near) in [
            (Comparison::Above, 320.0, 500.0, Some(0.64)),
            (Comparison::Below, 160.0, 80.0, Some(0.5)),
            (Comparison::Below, 0.0, 80.0, None),
            (Comparison::Equal, 1.0, 0.0, None),
            (Comparison::Above, f64::NAN, 1.0, None),
            (Comparison::Above, -1.0, 1.0, Some(0.0)),
        ] {
            assert_eq!(nearness(op, value, limit), near, "{op:?} {value}");
        }
    }

    #[test]
    fn few_events_cannot_decide_a_share() {
        // Three of three errors support at least 43.9 % (Wilson).
        assert_eq!(errors_needed(Comparison::Above, 0.10, 3.0, 3), Some(3.0));
        assert_eq!(errors_needed(Comparison::Above, 0.50, 3.0, 3), None);
        assert_eq!(errors_needed(Comparison::Above, 0.10, 2.0, 3), None);
        let needed = errors_needed(Comparison::Above, 0.10, 1493.0, 3).unwrap();
        assert!(share::lower_bound(needed, 1493.0) > 0.10 && share::lower_bound(needed - 1.0, 1493.0) <= 0.10);
    }

    #[test]
    fn counts_are_remembered_within_three_percent() {
        for total in [1.0, 2.0, 7.0, 61.0, 1493.0, 1e6] {
            let again = count(bucket(total));
            assert!((again - total).abs() <= 0.5 + total * 0.03, "{total} {again}");
        }
        assert_eq!(count(bucket(0.0)), 0.0);
        assert_eq!(count(bucket(f64::NAN)), 0.0);
    }
}
