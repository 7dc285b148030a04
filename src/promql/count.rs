//! Exact counts of events for rules about a share of events: no extrapolation, so ten errors are ten.
//!
//! The rise of a counter over a window is summed from its samples. A counter that is known to have begun at zero right
//! before its first sample counts that sample too; any other first sample is only where counting begins.

use std::collections::BTreeMap;

use super::LOOK_BACK;
use super::reading::{Absence, Missing};
use crate::base::{Labels, Span, Timestamp};
use crate::store::{Cursor, Samples, Selector, Store, is_stale};

/// The outcome of counting.
#[derive(Clone, Debug, PartialEq)]
pub enum CountReading {
    /// One entry a group, sorted by labels.
    Counts(Vec<CountPoint>),
    /// Events were not seen.
    NoData(Absence),
    /// Counting has no meaning over this data, with the reason.
    Failed(String),
}

/// The events of one group.
#[derive(Clone, Debug, PartialEq)]
pub struct CountPoint {
    /// The labels of the group.
    pub labels: Labels,
    /// Events that are errors.
    pub errors: f64,
    /// All events; 0 where only errors of this group were seen.
    pub total: f64,
    /// The newest sample that took part.
    pub newest: Timestamp,
}

/// Counts over `(now - window, now]`, grouped by the labels `by`.
///
/// No series of `total` is no data. No series of `errors` is no errors, if a source that could give one was looked at
/// within two of its intervals.
pub fn count_events(
    errors: &Selector,
    total: &Selector,
    window: Span,
    by: &[String],
    store: &Store,
    now: Timestamp,
) -> CountReading {
    if window <= Span::ZERO {
        return CountReading::Failed("the window is not longer than zero".into());
    }
    let all = rises(total, window, by, store, now);
    if all.is_empty() {
        let missing = if store.was_collected(total, now) { Missing::Series } else { Missing::Source };
        return CountReading::NoData(Absence { selector: total.to_string(), missing });
    }
    let bad = rises(errors, window, by, store, now);
    if bad.is_empty() && !store.was_collected(errors, now) {
        return CountReading::NoData(Absence { selector: errors.to_string(), missing: Missing::Source });
    }
    let mut points: BTreeMap<Labels, CountPoint> = BTreeMap::new();
    let mut merge = |rises: BTreeMap<Labels, Rise>, put: fn(&mut CountPoint, f64)| {
        for (labels, rise) in rises {
            let point = points.entry(labels.clone()).or_insert(CountPoint {
                labels,
                errors: 0.0,
                total: 0.0,
                newest: rise.newest,
            });
            put(point, rise.count);
            point.newest = point.newest.max(rise.newest);
        }
    };
    merge(all, |point, count| point.total = count);
    merge(bad, |point, count| point.errors = count);
    CountReading::Counts(points.into_values().collect())
}

/// The rise of a group, and the newest sample behind it.
struct Rise {
    count: f64,
    newest: Timestamp,
}

fn rises(selector: &Selector, window: Span, by: &[String], store: &Store, now: Timestamp) -> BTreeMap<Labels, Rise> {
    let mut groups: BTreeMap<Labels, Rise> = BTreeMap::new();
    let mut cursor = Cursor::default();
    for id in store.select(selector) {
        let newborn = store.series(id).from_zero();
        let (start, labels) = (now - window, Samples::labels(store, id));
        let (times, values) = store.window(id, (start - LOOK_BACK).0.saturating_sub(1), now.0, &mut cursor);
        let Some(rise) = rise(times, values, start, newborn) else { continue };
        let labels = labels.filtered(|name| by.iter().any(|label| label == name));
        let group = groups.entry(labels).or_insert(Rise { count: 0.0, newest: rise.newest });
        group.count += rise.count;
        group.newest = group.newest.max(rise.newest);
    }
    groups
}

/// Errors and all events of each step, by group.
pub type Steps = BTreeMap<Labels, Vec<(f64, f64)>>;

/// The events of each of `steps` steps after `from`, by the labels `by`: what [`count_events`] gives for each of them, but
/// that a first sample is always only where counting begins. NaN where no counter of all events was seen in a step; no
/// counter of errors is no errors.
pub fn count_steps(
    (errors, total): (&Selector, &Selector),
    by: &[String],
    samples: &impl Samples,
    from: Timestamp,
    step: Span,
    steps: usize,
    look_back: Span,
) -> Steps {
    let mut counted: Steps = BTreeMap::new();
    let mut count = |selector: &Selector, put: fn(&mut (f64, f64), f64)| {
        let mut cursor = Cursor::default();
        let until = from + step.times(steps as i64);
        for id in samples.select(selector) {
            let labels = samples.labels(id).filtered(|name| by.iter().any(|label| label == name));
            let group = counted.entry(labels).or_insert_with(|| vec![(f64::NAN, f64::NAN); steps]);
            let start = (from - look_back).0.saturating_sub(1);
            let (times, values) = samples.window(id, start, until.0, &mut cursor);
            let mut before: Option<f64> = None;
            for (time, value) in times.iter().zip(values).filter(|(_, value)| !is_stale(**value) && !value.is_nan()) {
                let rise = rose(before.replace(*value), *value);
                // A step ends with its last moment: (start, end].
                let index = (time - from.0 - 1).div_euclid(step.0.max(1));
                if let Some(slot) = usize::try_from(index).ok().and_then(|i| group.get_mut(i)) {
                    put(slot, rise);
                }
            }
        }
    };
    count(total, |slot, rise| slot.1 = if slot.1.is_nan() { rise } else { slot.1 + rise });
    count(errors, |slot, rise| slot.0 = if slot.0.is_nan() { rise } else { slot.0 + rise });
    for slot in counted.values_mut().flatten() {
        match slot.1.is_nan() {
            true => slot.0 = f64::NAN,
            false if slot.0.is_nan() => slot.0 = 0.0,
            false => {}
        }
    }
    counted
}

/// How far a counter rose; a first sample is only where counting begins.
fn rose(before: Option<f64>, value: f64) -> f64 {
    match before {
        Some(before) if value >= before => value - before,
        // After a reset the counter began at zero again.
        Some(_) => value,
        None => 0.0,
    }
}

/// The rise of one series after `start`; none where no sample of it is later. The samples begin a look-back before, so that the
/// last one before the window can be its base. NaN and stale markers count nothing.
fn rise(times: &[i64], values: &[f64], start: Timestamp, newborn: Option<Timestamp>) -> Option<Rise> {
    let (mut before, mut rise): (Option<f64>, Option<Rise>) = (None, None);
    for (time, value) in times.iter().zip(values).filter(|(_, value)| !is_stale(**value) && !value.is_nan()) {
        if *time <= start.0 {
            before = Some(*value);
            continue;
        }
        let step = match before.replace(*value) {
            None if newborn == Some(Timestamp(*time)) => *value,
            before => rose(before, *value),
        };
        let count = rise.map_or(0.0, |rise| rise.count) + step;
        rise = Some(Rise { count, newest: Timestamp(*time) });
    }
    rise
}
