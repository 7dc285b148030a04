//! Which minutes are of a working day and which of a weekend, kept as the minutes at which that changes.
//!
//! The question is asked once, at T0, for the history and five weeks to come; later minutes are as those whole weeks
//! before. T0 is in the middle of a day, so the type belongs to a minute, not to a "day" that is counted from T0.
//! Slots of the day do not follow a change to summer time: the history before it is an hour off for as long as it lasts.

use serde::{Deserialize, Serialize};

use crate::base::{Span, Timestamp};

use super::DAY;

/// Minutes after T0 for which the calendar is asked.
const AHEAD: i64 = 35 * DAY as i64;
const WEEK: i64 = 7 * DAY as i64;
/// A type of day lasts at least this many minutes, so it is asked this often.
const STEP: i64 = 60;

/// The types of minutes, counted from T0; history is negative.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Calendar {
    /// The first minute that was asked.
    first: i64,
    /// Whether that is of a weekend.
    weekend: bool,
    /// Minutes at which the type changes, rising.
    changes: Vec<i64>,
}

impl Calendar {
    /// Asks `weekend` about `days` before `t0` and five weeks after.
    pub(super) fn of(t0: Timestamp, days: usize, weekend: &dyn Fn(Timestamp) -> bool) -> Calendar {
        let ask = |minute: i64| weekend(t0 + Span::mins(minute));
        let first = -((days * DAY) as i64);
        let mut calendar = Calendar { first, weekend: ask(first), changes: Vec::new() };
        let mut before = calendar.weekend;
        let mut minute = first;
        while minute < AHEAD {
            let next = minute + STEP;
            let after = ask(next);
            if after != before {
                // The first minute of the new type, by halves.
                let (mut old, mut new) = (minute, next);
                while new - old > 1 {
                    let middle = old + (new - old) / 2;
                    if ask(middle) == before { old = middle } else { new = middle }
                }
                calendar.changes.push(new);
            }
            (minute, before) = (next, after);
        }
        calendar
    }

    /// The type of a minute counted from T0: 0 of a working day, 1 of a weekend.
    pub(super) fn kind(&self, minute: i64) -> usize {
        let minute = match minute {
            late if late >= AHEAD => AHEAD - WEEK + (late - AHEAD) % WEEK,
            early if early < self.first => self.first + (early - self.first).rem_euclid(WEEK),
            known => known,
        };
        let changed = self.changes.partition_point(|c| *c <= minute) % 2 == 1;
        usize::from(self.weekend != changed)
    }

    /// Whether at least half a day of that type lies before T0.
    pub(super) fn has_seen(&self, kind: usize) -> bool {
        let step = SLOT_STEP as usize;
        let seen = (self.first..0).step_by(step).filter(|minute| self.kind(*minute) == kind).count();
        seen * step >= DAY / 2
    }
}

/// How finely the history is walked.
const SLOT_STEP: i64 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_a_minute_is_what_was_answered_for_it() {
        // Saturday begins 437 minutes after T0.
        let weekend = |at: Timestamp| (at.0 / 60_000 - 1_000_000 - 437).rem_euclid(WEEK) < 2 * DAY as i64;
        let t0 = Timestamp(1_000_000 * 60_000);
        let calendar = Calendar::of(t0, 7, &weekend);
        for minute in -7 * DAY as i64..80 * DAY as i64 {
            assert_eq!(calendar.kind(minute) == 1, weekend(t0 + Span::mins(minute)), "{minute}");
        }
        assert!(calendar.has_seen(0) && calendar.has_seen(1));
        let short = Calendar::of(t0, 1, &weekend);
        assert!(short.has_seen(0) && !short.has_seen(1));
    }

    #[test]
    fn a_minute_of_any_age_has_a_type() {
        let calendar = Calendar::of(Timestamp(i64::MAX - 5), 3, &|_| true);
        for minute in [i64::MIN / 2, -1, 0, i64::MAX] {
            assert_eq!(calendar.kind(minute), 1);
        }
    }
}
