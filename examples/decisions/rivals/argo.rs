//! Argo Rollouts' analysis: a metric is measured every `interval`, and each measurement is successful, failed,
//! inconclusive or an error.
//!
//! As its documentation says: a metric fails at more than `failureLimit` failed measurements in all (they are
//! never forgiven), and errs at more than `consecutiveErrorLimit` (4) errors in a row, repeated every 10 s.
//! Both abort the rollout. More than `inconclusiveLimit` (0) inconclusive ones pause it for a person. When the
//! steps end, a background analysis is stopped and counts as successful.

use super::super::watch::{Act, ERROR_LIMIT, Log, Policy, Watch};
use super::{Answer, Check};

/// Errors in a row that are borne: the documented default.
const CONSECUTIVE_ERROR_LIMIT: u32 = 4;

/// Seconds until a measurement that erred is repeated: the documented default.
const ERROR_RETRY: u32 = 10;

/// Below this share of success a measurement with both conditions is failed, above the limit successful, between
/// them inconclusive: the example for inconclusive runs.
const SURELY_BAD: f64 = 0.50;

/// The background analysis of the documentation: `interval: 5m`, `failureLimit: 3`, while four steps of 10 min
/// go by.
pub struct Background {
    /// Goes on after the steps, to the end of the watch.
    pub whole_watch: bool,
}

/// An analysis step: `interval: 60s`, `count: 5`, with both conditions, so that it may be inconclusive.
pub struct Step;

/// What one measurement was.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Successful,
    Failed,
    Inconclusive,
    Error,
}

impl Policy for Background {
    fn name(&self) -> &'static str {
        if self.whole_watch { "argo-rollouts-48h" } else { "argo-rollouts" }
    }

    fn rolls_back(&self) -> bool {
        true
    }

    fn note(&self) -> &'static str {
        if self.whole_watch {
            "the same analysis kept running to the end of the watch; failureLimit counts all failed measurements of it"
        } else {
            "background analysis: interval 5m (query over 5m), failureLimit 3, consecutiveErrorLimit 4; it ends with the rollout's four pauses of 10m, after 40 min"
        }
    }

    fn judge(&self, watch: &Watch, log: &mut Log) {
        let end = if self.whole_watch { watch.minutes() } else { watch.minutes().min(40) };
        for check in Check::of(watch, ERROR_LIMIT) {
            let run = Run { check, interval: 5, end, failure_limit: 3, both: false };
            run.judge(watch, log);
        }
        log.settle();
    }
}

impl Policy for Step {
    fn name(&self) -> &'static str {
        "argo-rollouts-step"
    }

    fn rolls_back(&self) -> bool {
        true
    }

    fn note(&self) -> &'static str {
        "analysis step: interval 60s, count 5, failureLimit 0; success and failure condition (errors under 10 %, over 50 %), between them inconclusive: the rollout pauses, which counts as an alarm. It ends after 5 min"
    }

    fn judge(&self, watch: &Watch, log: &mut Log) {
        for check in Check::of(watch, ERROR_LIMIT) {
            let run = Run { check, interval: 1, end: watch.minutes().min(5), failure_limit: 0, both: true };
            run.judge(watch, log);
        }
        log.settle();
    }
}

/// One metric of one analysis run.
struct Run {
    check: Check,
    /// Minutes.
    interval: u32,
    /// Minutes after T0.
    end: u32,
    failure_limit: u32,
    /// Whether there is a failure condition beside the success condition.
    both: bool,
}

impl Run {
    fn judge(&self, watch: &Watch, log: &mut Log) {
        let mut failed = 0;
        for minute in (self.interval..=self.end).step_by(self.interval as usize) {
            let (mut phase, mut answer) = self.measure(watch, minute * 60);
            let mut errors = 0;
            while phase == Phase::Error {
                errors += 1;
                if errors > CONSECUTIVE_ERROR_LIMIT {
                    let because = || format!("{errors} measurements in a row erred");
                    return log.add(minute + 1, Act::Rollback, because);
                }
                (phase, answer) = self.measure(watch, minute * 60 + errors * ERROR_RETRY);
            }
            let measured = || format!("{} {answer}, limit {:.4}", self.check.what(), self.check.limit());
            failed += u32::from(phase == Phase::Failed);
            if failed > self.failure_limit {
                return log.add(minute, Act::Rollback, || format!("{failed} failed measurements: {}", measured()));
            }
            if phase == Phase::Inconclusive {
                return log.add(minute, Act::Alarm, || format!("inconclusive: {}", measured()));
            }
        }
    }

    /// One measurement, at a second after T0.
    fn measure(&self, watch: &Watch, second: u32) -> (Phase, Answer) {
        let answer = self.check.ask(watch, second, 5);
        let phase = match answer {
            Answer::Failed => Phase::Error,
            // NaN compares false: the success condition is not met, and neither is the failure condition.
            Answer::Nothing if self.both => Phase::Inconclusive,
            Answer::Nothing => Phase::Failed,
            Answer::Value(value) if value <= self.check.limit() => Phase::Successful,
            Answer::Value(value) if self.both && value <= self.surely_bad() => Phase::Inconclusive,
            Answer::Value(_) => Phase::Failed,
        };
        (phase, answer)
    }

    /// The limit of the failure condition: half the requests fail, or twice what the success condition bears.
    fn surely_bad(&self) -> f64 {
        match self.check {
            Check::Errors { .. } => SURELY_BAD,
            Check::Values { limit } => 2.0 * limit,
            Check::Memory { .. } => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::watch::{Counts, Past, Series};
    use super::*;

    /// What an analysis does with ten requests a minute of which so many fail.
    fn check(policy: &dyn Policy, failing: &[f64], silence: Option<(u32, u32)>) -> Vec<(u32, Act)> {
        let (total, past) = (vec![10.0; failing.len()], Past::default());
        let series = |after| Series { before: &[], after };
        let requests = Some(Counts { total: series(&total), errors: series(failing) });
        let mut log = Log::default();
        policy.judge(&Watch { values: None, requests, memory: None, silence, past: &past }, &mut log);
        log.events.iter().map(|event| (event.minute, event.act)).collect()
    }

    #[test]
    fn the_fourth_failed_measurement_aborts() {
        let background = Background { whole_watch: false };
        assert_eq!(check(&background, &[2.0; 100], None), [(20, Act::Rollback)]);
        assert_eq!(check(&background, &[1.0; 100], None), [], "10 % is the limit");
        let late: Vec<f64> = (0..100).map(|minute| if minute < 30 { 0.0 } else { 9.0 }).collect();
        assert_eq!(check(&background, &late, None), [], "the rollout has ended before");
        assert_eq!(check(&Background { whole_watch: true }, &late, None), [(50, Act::Rollback)]);
    }

    #[test]
    fn the_fifth_error_in_a_row_aborts_and_four_do_not() {
        let background = Background { whole_watch: false };
        assert_eq!(check(&background, &[0.0; 100], Some((300, 340))), []);
        assert_eq!(check(&background, &[0.0; 100], Some((300, 341))), [(6, Act::Rollback)]);
        assert_eq!(check(&background, &[0.0; 100], Some((310, 590))), [], "between two measurements nobody asks");
    }

    #[test]
    fn between_the_conditions_a_step_pauses() {
        assert_eq!(check(&Step, &[3.0; 100], None), [(1, Act::Alarm)]);
        assert_eq!(check(&Step, &[6.0; 100], None), [(1, Act::Rollback)]);
        assert_eq!(check(&Step, &[f64::NAN; 100], None), [(1, Act::Alarm)], "no data meets no condition");
    }
}
