//! Exact counts of events for rules about a share of events: no extrapolation, so ten errors are ten.
//!
//! The rise of a counter over a window is summed from its samples. A counter that is known to have begun at zero right
//! before its first sample counts that sample too; any other first sample is only where counting begins.

use std::collections::BTreeMap;

use super::LOOK_BACK;
use super::reading::{Absence, Missing};
use crate::base::{Labels, Span, Timestamp};
use crate::store::{Selector, Series, Store, is_stale};

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
    for id in store.select(selector) {
        let series = store.series(id);
        let Some(rise) = rise(series, window, now) else { continue };
        let labels = series.labels().filtered(|name| by.iter().any(|label| label == name));
        let group = groups.entry(labels).or_insert(Rise { count: 0.0, newest: rise.newest });
        group.count += rise.count;
        group.newest = group.newest.max(rise.newest);
    }
    groups
}

/// The rise of one series; none where the window holds no sample of it. NaN and stale markers count nothing.
fn rise(series: &Series, window: Span, now: Timestamp) -> Option<Rise> {
    let start = now - window;
    let (from, to) = (series.count_until(start.0), series.count_until(now.0));
    let (times, values) = (series.times(), series.values());
    let mut before = base(series, from, start);
    let mut rise: Option<Rise> = None;
    for (time, value) in times[from..to].iter().zip(&values[from..to]).filter(|(_, value)| !value.is_nan()) {
        let newborn = series.from_zero() == Some(Timestamp(*time));
        let step = match before {
            Some(before) if *value >= before => value - before,
            // After a reset the counter began at zero again; so did a newborn one.
            Some(_) => *value,
            None if newborn => *value,
            None => 0.0,
        };
        before = Some(*value);
        let count = rise.map_or(0.0, |rise| rise.count) + step;
        rise = Some(Rise { count, newest: Timestamp(*time) });
    }
    rise
}

/// The value at the start of the window: the last sample before it, if it is not older than the look-back.
fn base(series: &Series, from: usize, start: Timestamp) -> Option<f64> {
    let times = series.times()[..from].iter().rev();
    let recent =
        times.zip(series.values()[..from].iter().rev()).take_while(|(time, _)| **time >= (start - LOOK_BACK).0);
    recent.map(|(_, value)| *value).find(|value| !is_stale(*value) && !value.is_nan())
}
