//! Flagger's canary analysis: every `interval` all metrics are checked; the first that is outside its range makes
//! the check a failed one and holds the traffic where it is, else the traffic grows by a step.
//!
//! As its documentation says: `interval: 1m`, `threshold: 10` failed checks (counted until the next revision,
//! never forgiven), `maxWeight: 50`, `stepWeight: 5`: ten good checks promote. A query over 1m that gives
//! nothing, or fails, is a failed check ("no values found ... probably not receiving traffic"). The decision to
//! roll back falls on the tick that finds the counter at its threshold.

use super::super::watch::{Act, ERROR_LIMIT, Log, Policy, Watch};
use super::{Answer, Check};

/// `threshold` of the documentation's example.
const THRESHOLD: u32 = 10;

/// `maxWeight / stepWeight` of the same.
const STEPS: u32 = 10;

/// See the story of the file.
pub struct Flagger {
    /// Goes on after the promotion, to the end of the watch.
    pub whole_watch: bool,
}

impl Policy for Flagger {
    fn name(&self) -> &'static str {
        if self.whole_watch { "flagger-48h" } else { "flagger" }
    }

    fn rolls_back(&self) -> bool {
        true
    }

    fn note(&self) -> &'static str {
        if self.whole_watch {
            "the same checks kept running to the end of the watch; failed checks add up"
        } else {
            "canary analysis: interval 1m (query over 1m), threshold 10, maxWeight 50, stepWeight 5; no values is a failed check; it ends with the tenth good check, after 10 min at the earliest. Its documentation advises a load tester where there is little traffic"
        }
    }

    fn judge(&self, watch: &Watch, log: &mut Log) {
        let checks = Check::of(watch, ERROR_LIMIT);
        let (mut failed, mut weight) = (0, 0);
        for minute in 1..=watch.minutes() {
            if failed >= THRESHOLD {
                return log.add(minute, Act::Rollback, || format!("{failed} failed checks"));
            }
            if weight >= STEPS && !self.whole_watch {
                return;
            }
            let good = checks.iter().all(|check| match check.ask(watch, minute * 60, 1) {
                Answer::Value(value) => value <= check.limit(),
                Answer::Nothing | Answer::Failed => false,
            });
            if good { weight += 1 } else { failed += 1 }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::watch::{Counts, Past, Series};
    use super::*;

    /// When it rolls back, with ten requests a minute of which so many fail; NaN is a minute without requests.
    fn check(whole_watch: bool, failing: &[f64]) -> Option<u32> {
        let total: Vec<f64> = failing.iter().map(|errors| if errors.is_nan() { 0.0 } else { 10.0 }).collect();
        let errors: Vec<f64> = failing.iter().map(|errors| if errors.is_nan() { 0.0 } else { *errors }).collect();
        let series = |after| Series { before: &[], after };
        let (requests, past) = (Some(Counts { total: series(&total), errors: series(&errors) }), Past::default());
        let mut log = Log::default();
        Flagger { whole_watch }
            .judge(&Watch { values: None, requests, memory: None, silence: None, past: &past }, &mut log);
        log.rollback()
    }

    #[test]
    fn ten_failed_checks_roll_back_on_the_next_tick() {
        assert_eq!(check(false, &[5.0; 60]), Some(11));
        assert_eq!(check(false, &[f64::NAN; 60]), Some(11), "no values is a failed check");
        assert_eq!(check(false, &[1.0; 60]), None);
    }

    #[test]
    fn a_bad_check_holds_the_traffic_and_is_never_forgiven() {
        let every_second: Vec<f64> = (0..60).map(|minute| f64::from(minute % 2) * 5.0).collect();
        assert_eq!(check(false, &every_second), None, "the tenth good check comes before the tenth bad one");
        assert_eq!(check(true, &every_second), Some(21));
        let late: Vec<f64> = (0..60).map(|minute| if minute < 10 { 0.0 } else { 5.0 }).collect();
        assert_eq!(check(false, &late), None, "it has promoted by then");
    }
}
