//! When one rule fired, how often and for how long.
//!
//! Enters: levels of its alerts as they change. Leaves: counts and times of all of them, and the first of them one by one.
//! Pure.

use std::collections::BTreeMap;

use crate::base::{Labels, Level, Span, Timestamp};

/// The most periods of one rule that are kept one by one; all are counted.
const KEPT: usize = 1_000;

/// One alert, from leaving `ok` to its return.
#[derive(Clone, Debug, PartialEq)]
pub struct Period {
    /// The alert's labels.
    pub labels: Labels,
    /// When it left `ok`.
    pub from: Timestamp,
    /// When it was ok again; none where it was not.
    pub to: Option<Timestamp>,
    /// The highest level.
    pub highest: Level,
}

impl Period {
    /// How long it lasted; until `end` where it did not end.
    pub fn length(&self, end: Timestamp) -> Span {
        self.to.unwrap_or(end) - self.from
    }
}

/// All periods of one rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Periods {
    /// How often an alert left `ok`.
    pub fired: u64,
    /// How often one became critical.
    pub critical: u64,
    /// The first that ended or began.
    pub first: Option<Timestamp>,
    /// The longest.
    pub longest: Span,
    /// All together; those of several label sets at one time count each.
    pub total: Span,
    /// In the order of their beginning, as many as are kept.
    pub kept: Vec<Period>,
    /// By fingerprint: those that have not ended, with their place among the kept.
    open: BTreeMap<u64, (Period, Option<usize>)>,
}

impl Periods {
    /// An alert is at `level` from now on.
    pub fn enter(&mut self, labels: &Labels, level: Level, at: Timestamp) {
        let key = labels.fingerprint();
        if level == Level::Ok {
            if let Some((period, place)) = self.open.remove(&key) {
                self.end(Period { to: Some(at), ..period }, place, at);
            }
            return;
        }
        let was = self.open.get(&key).map(|(period, _)| period.highest);
        self.critical += u64::from(level == Level::Critical && was != Some(Level::Critical));
        match self.open.get_mut(&key) {
            Some((period, place)) => {
                period.highest = period.highest.max(level);
                if let Some(kept) = place.and_then(|i| self.kept.get_mut(i)) {
                    kept.highest = period.highest;
                }
            }
            None => {
                self.fired += 1;
                self.first.get_or_insert(at);
                let period = Period { labels: labels.clone(), from: at, to: None, highest: level };
                let place = (self.kept.len() < KEPT).then_some(self.kept.len());
                self.kept.extend(place.map(|_| period.clone()));
                self.open.insert(key, (period, place));
            }
        }
    }

    /// The time is over: what has not ended counts until now.
    pub fn close(&mut self, end: Timestamp) {
        for (_, (period, place)) in std::mem::take(&mut self.open) {
            self.end(period, place, end);
        }
    }

    fn end(&mut self, period: Period, place: Option<usize>, at: Timestamp) {
        let length = period.length(at);
        self.longest = self.longest.max(length);
        self.total += length;
        if let Some(kept) = place.and_then(|i| self.kept.get_mut(i)) {
            *kept = period;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_count_alerts_and_what_did_not_end_counts_to_the_end() {
        let (a, b) = (Labels::new([("i", "a")]), Labels::new([("i", "b")]));
        let mut periods = Periods::default();
        let minute = |n: i64| Timestamp(n * 60_000);
        periods.enter(&a, Level::Warning, minute(1));
        periods.enter(&a, Level::Critical, minute(2));
        periods.enter(&b, Level::Warning, minute(3));
        periods.enter(&a, Level::Ok, minute(5));
        periods.enter(&a, Level::Ok, minute(6));
        periods.close(minute(10));
        assert_eq!((periods.fired, periods.critical), (2, 1));
        assert_eq!(periods.first, Some(minute(1)));
        assert_eq!((periods.longest, periods.total), (Span::mins(7), Span::mins(11)));
        let kept: Vec<_> = periods.kept.iter().map(|p| (p.to, p.highest)).collect();
        assert_eq!(kept, [(Some(minute(5)), Level::Critical), (None, Level::Warning)]);
    }

    #[test]
    fn only_some_are_kept_and_all_are_counted() {
        let labels = Labels::new([("i", "a")]);
        let mut periods = Periods::default();
        for n in 0..3_000 {
            periods.enter(&labels, Level::Warning, Timestamp(n * 2_000));
            periods.enter(&labels, Level::Ok, Timestamp(n * 2_000 + 1_000));
        }
        assert_eq!((periods.fired, periods.kept.len()), (3_000, KEPT));
        assert_eq!(periods.total, Span::secs(3_000));
    }
}
