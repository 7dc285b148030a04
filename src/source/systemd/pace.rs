//! How often a unit that changes again and again is looked at. Pure.
//!
//! Enters: that it changed, and time. Leaves: when it is looked at. Ten changes in a row are looked at at once, so that a
//! restart is seen step by step; one that goes on and on costs four looks a second. The last change is always looked at.

use crate::base::{Span, Timestamp};

/// How many changes are looked at at once after a quiet time.
const AT_ONCE: i64 = 10;

/// How long it takes until one more may be.
const ONE_MORE: Span = Span::millis(250);

/// The rhythm of one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    /// Whether it changed and was not looked at.
    changed: bool,
    /// When all looks of a row will be there again.
    full: Timestamp,
}

impl Pace {
    /// Of a unit that did not change.
    pub(super) fn new() -> Pace {
        Pace { changed: false, full: Timestamp(0) }
    }

    /// It changed.
    pub(super) fn note(&mut self) {
        self.changed = true;
    }

    /// Whether it changed and was not looked at.
    pub(super) fn has_news(&self) -> bool {
        self.changed
    }

    /// When it is looked at, seen from `now`; none while nothing changed. Never more than one step away, also where the
    /// clock was set back.
    pub(super) fn due(&self, now: Timestamp) -> Option<Timestamp> {
        let due = self.full - ONE_MORE.times(AT_ONCE - 1);
        self.changed.then(|| Timestamp(due.0.clamp(now.0, now.0 + ONE_MORE.0)))
    }

    /// It is looked at, at `now`.
    pub(super) fn looked(&mut self, now: Timestamp) {
        self.changed = false;
        let full = self.full.0.clamp(now.0, now.0 + ONE_MORE.times(AT_ONCE).0);
        self.full = Timestamp(full) + ONE_MORE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_changes_is_seen_at_once_and_a_flood_four_times_a_second() {
        let mut pace = Pace::new();
        assert_eq!(pace.due(Timestamp(5)), None);
        let mut looks = Vec::new();
        for now in (1_000_000..1_010_000).step_by(10) {
            pace.note();
            if pace.due(Timestamp(now)) == Some(Timestamp(now)) {
                pace.looked(Timestamp(now));
                looks.push(now - 1_000_000);
            }
        }
        assert_eq!(looks[..10], [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
        let per_second = looks.iter().filter(|at| **at >= 5000).count() as f64 / 5.0;
        assert!((3.5..4.5).contains(&per_second), "{looks:?}");
        // The last one is not forgotten, and a clock that was set back delays nothing.
        pace.note();
        assert_eq!(pace.due(Timestamp(500_000)), Some(Timestamp(500_250)));
        pace.looked(Timestamp(500_250));
        pace.note();
        assert!(pace.due(Timestamp(600_000)) == Some(Timestamp(600_000)) && pace.has_news());
    }
}
