//! Alert rules as people write them for Prometheus. They tell; they never roll back.
//!
//! One sample a minute stands for the range selectors; a rule is evaluated every minute, Prometheus's default.
//! An empty answer is "not firing" and ends what `for` had counted, as Prometheus does. While the metrics cannot
//! be read there is no sample, and a window shorter than the silence is empty.

use super::super::watch::{Act, ERROR_LIMIT, Edge, Log, Policy, Series, Watch};
use super::{WORSE, hour_before};

/// `rate(errors[5m]) / rate(requests[5m]) > 0.1` for 5m; `avg_over_time(x[5m]) > 1.5 *` the hour before the
/// deployment for 5m; `predict_linear(memory[1h], 4 * 3600) > 1` for 5m.
pub struct Threshold;

/// As [`Threshold`], but the hour before is that before each moment: `avg_over_time(x[1h] offset 5m)`, which a
/// rule can say without being told of deployments.
pub struct Sliding;

/// As [`Threshold`], but the share of errors counts only above 20 requests in the window.
pub struct TrafficFloor;

/// Memory as the node-exporter mixin treats file systems: `predict_linear(x[6h], 24 * 3600)` beyond the limit
/// and over 60 % in use, for 1h; the predicted moment 4 h ahead and over 80 % likewise.
pub struct Mixin;

impl Policy for Threshold {
    fn name(&self) -> &'static str {
        "prometheus-threshold"
    }

    fn rolls_back(&self) -> bool {
        false
    }

    fn note(&self) -> &'static str {
        "alert rules: errors rate[5m] > 10 % for 5m; mean of 5m > 1.5 x the hour before T0 for 5m; predict_linear(memory[1h], 4h) > limit for 5m (the form of \"Reduce noise from disk space alerts\"). They tell, they do not roll back"
    }

    fn judge(&self, watch: &Watch, log: &mut Log) {
        errors_above(watch, 0.0, log);
        if let Some(values) = &watch.values
            && let Some(level) = hour_before(values)
        {
            let above = |now| values.mean(now - 5, now).filter(|mean| *mean > WORSE * level);
            held(watch, 5, log, above, |mean| format!("mean of 5m {mean:.4} > 1.5 x {level:.4}"));
        }
        if let Some(memory) = &watch.memory {
            let full = |now| predict(memory, now, 60, 240.0).filter(|ahead| *ahead > 1.0);
            held(watch, 5, log, full, |ahead| format!("in 4h {:.0} % of the limit", 100.0 * ahead));
        }
        log.settle();
    }
}

impl Policy for Sliding {
    fn name(&self) -> &'static str {
        "prometheus-sliding"
    }

    fn rolls_back(&self) -> bool {
        false
    }

    fn note(&self) -> &'static str {
        "alert rule: mean of 5m > 1.5 x the mean of the hour before these 5m (offset 5m), for 5m; only for values"
    }

    fn judges(&self, watch: &Watch) -> bool {
        watch.values.is_some()
    }

    fn judge(&self, watch: &Watch, log: &mut Log) {
        if let Some(values) = &watch.values {
            let above = |now| {
                let times = values.mean(now - 5, now)? / values.mean(now - 65, now - 5)?;
                (times > WORSE).then_some(times)
            };
            held(watch, 5, log, above, |times| format!("mean of 5m {times:.2} x that of the hour before"));
        }
    }
}

impl Policy for TrafficFloor {
    fn name(&self) -> &'static str {
        "prometheus-floor"
    }

    fn rolls_back(&self) -> bool {
        false
    }

    fn note(&self) -> &'static str {
        "alert rule: errors rate[5m] > 10 % and at least 20 requests in these 5m, for 5m; only for requests"
    }

    fn judges(&self, watch: &Watch) -> bool {
        watch.requests.is_some()
    }

    fn judge(&self, watch: &Watch, log: &mut Log) {
        errors_above(watch, 20.0, log);
    }
}

impl Policy for Mixin {
    fn name(&self) -> &'static str {
        "prometheus-mixin"
    }

    fn rolls_back(&self) -> bool {
        false
    }

    fn note(&self) -> &'static str {
        "the node-exporter mixin's rules for file systems, applied to memory: over 60 % in use and predict_linear(x[6h], 24h) > limit, or over 80 % and predict_linear(x[6h], 4h) > limit, for 1h"
    }

    fn judges(&self, watch: &Watch) -> bool {
        watch.memory.is_some()
    }

    fn judge(&self, watch: &Watch, log: &mut Log) {
        let Some(memory) = &watch.memory else { return };
        for (used, hours) in [(0.60, 24.0), (0.80, 4.0)] {
            let full = |now| {
                memory.mean(now - 1, now).filter(|fill| *fill > used)?;
                predict(memory, now, 360, hours * 60.0).filter(|ahead| *ahead > 1.0)
            };
            let because = |ahead| format!("over {:.0} %, in {hours} h {:.0} %", 100.0 * used, 100.0 * ahead);
            held(watch, 60, log, full, because);
        }
        log.settle();
    }
}

fn errors_above(watch: &Watch, floor: f64, log: &mut Log) {
    let Some(counts) = &watch.requests else { return };
    let above = |now| {
        let share = counts.share(now - 5, now).filter(|share| *share > ERROR_LIMIT)?;
        counts.total.sum(now - 5, now).filter(|total| *total >= floor).and(Some(share))
    };
    held(watch, 5, log, above, |share| format!("{:.0} % of the requests of 5m failed", 100.0 * share));
}

/// Logs an alarm whenever there was a `figure` at each minute for so many of them.
fn held(
    watch: &Watch,
    minutes: i64,
    log: &mut Log,
    figure: impl Fn(i64) -> Option<f64>,
    because: impl Fn(f64) -> String,
) {
    let (mut since, mut edge) = (None, Edge::default());
    for now in 1..=i64::from(watch.minutes()) {
        let figure = figure(now);
        since = figure.and(since.or(Some(now)));
        if edge.rises(since.is_some_and(|since| now - since >= minutes))
            && let Some(figure) = figure
        {
            log.add(now as u32, Act::Alarm, || format!("{} for {minutes}m", because(figure)));
        }
    }
}

/// The least-squares line through the last `window` minutes, `ahead` minutes after `now`.
fn predict(series: &Series, now: i64, window: i64, ahead: f64) -> Option<f64> {
    let (mut n, mut sx, mut sy, mut sxx, mut sxy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (minute, y) in series.present(now - window, now) {
        let x = (minute - now) as f64;
        (n, sx, sy, sxx, sxy) = (n + 1.0, sx + x, sy + y, sxx + x * x, sxy + x * y);
    }
    let spread = n * sxx - sx * sx;
    if n < 2.0 || spread <= 0.0 {
        return None;
    }
    let slope = (n * sxy - sx * sy) / spread;
    Some((sy - slope * sx) / n + slope * ahead)
}

#[cfg(test)]
mod tests {
    use super::super::super::watch::Past;
    use super::*;

    fn alarms(policy: &dyn Policy, before: &[f64], after: &[f64]) -> Vec<u32> {
        let (values, past) = (Some(Series { before, after }), Past::default());
        let mut log = Log::default();
        policy.judge(&Watch { values, requests: None, memory: None, silence: None, past: &past }, &mut log);
        log.events.iter().map(|event| event.minute).collect()
    }

    #[test]
    fn a_rule_fires_when_its_window_is_above_for_five_minutes_and_again_after_an_end() {
        let burst = |minute: usize| if (100..120).contains(&minute) || minute >= 200 { 3.0 } else { 1.0 };
        let after: Vec<f64> = (0..300).map(burst).collect();
        // Two of five minutes at 3 make the mean 1.8: at the end of the second, and 5 minutes on.
        assert_eq!(alarms(&Threshold, &[1.0; 60], &after), [107, 207]);
        assert_eq!(alarms(&Sliding, &[1.0; 65], &after), [107, 207]);
    }

    #[test]
    fn a_gap_ends_what_was_counted() {
        let after: Vec<f64> = (0..60).map(|minute| if (5..20).contains(&minute) { f64::NAN } else { 3.0 }).collect();
        assert_eq!(alarms(&Threshold, &[1.0; 60], &after), [7, 26], "the empty window is not firing");
    }

    #[test]
    fn a_line_is_continued() {
        let line: Vec<f64> = (0..100).map(|minute| 0.2 + 0.001 * f64::from(minute)).collect();
        let ahead = predict(&Series { before: &[], after: &line }, 100, 60, 240.0).unwrap();
        assert!((ahead - (0.2 + 0.001 * 340.0)).abs() < 1e-9, "{ahead}");
        assert_eq!(predict(&Series { before: &[], after: &line[..1] }, 1, 60, 240.0), None);
    }
}
