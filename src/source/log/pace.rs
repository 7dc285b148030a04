//! When what was read is told: at once where it matters, and seldom enough where it goes on and on.
//!
//! Enters: that something was read, and time. Leaves: when the next batch is due. Pure. The first loud thing after a quiet
//! time is told at once, so that a rule is judged within milliseconds; while loud things keep coming the gap between two
//! batches doubles up to a second, so that a flood costs one batch a second and no line is told later than that.

use crate::base::{Span, Timestamp};

/// The gap before the second of two loud batches.
const SHORTEST: Span = Span::millis(20);

/// The longest time for which something is not told.
const LONGEST: Span = Span::secs(1);

/// What was read and is not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Pending {
    #[default]
    Nothing,
    /// Lines that change counts and nothing else.
    Quiet,
    /// A match, an error, a number, or how the source goes.
    Loud,
}

/// The rhythm of one target's batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    told: Option<Timestamp>,
    pending: Pending,
    gap: Span,
}

impl Pace {
    /// Of a target that was never told of: its first batch is due at once.
    pub fn new() -> Pace {
        Pace { told: None, pending: Pending::Loud, gap: SHORTEST }
    }

    /// Something was read; loud where it is more than lines that mean nothing.
    pub fn note(&mut self, loud: bool) {
        self.pending = self.pending.max(if loud { Pending::Loud } else { Pending::Quiet });
    }

    /// When the next batch is due, seen from `now`; none while there is nothing to tell. Never more than a second away,
    /// also where the clock was set back.
    pub fn due(&self, now: Timestamp) -> Option<Timestamp> {
        let gap = match self.pending {
            Pending::Nothing => return None,
            Pending::Quiet => LONGEST,
            Pending::Loud => self.gap,
        };
        Some(self.told.map_or(now, |told| (told + gap).min(now + gap)))
    }

    /// Whether there is something to tell.
    pub fn has_news(&self) -> bool {
        self.pending != Pending::Nothing
    }

    /// When the last batch was given; none before the first.
    pub fn last(&self) -> Option<Timestamp> {
        self.told
    }

    /// A batch was given at `now`.
    pub fn told(&mut self, now: Timestamp) {
        // As soon as it could be told, or nearly: it goes on. Later: it was quiet in between.
        let is_again = self.told.is_some_and(|told| now - told < self.gap.times(2));
        self.gap = if is_again { Span((self.gap.0 * 2).min(LONGEST.0)) } else { SHORTEST };
        self.told = Some(now);
        self.pending = Pending::Nothing;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: i64) -> Timestamp {
        Timestamp(1_000_000 + ms)
    }

    #[test]
    fn the_first_batch_and_the_first_loud_thing_are_told_at_once() {
        let mut pace = Pace::new();
        assert_eq!(pace.due(at(0)), Some(at(0)));
        pace.told(at(0));
        assert_eq!(pace.due(at(1)), None);
        pace.note(true);
        assert_eq!(pace.due(at(5000)), Some(at(20)));
    }

    #[test]
    fn lines_that_mean_nothing_wait_for_a_second() {
        let mut pace = Pace::new();
        pace.told(at(0));
        pace.note(false);
        assert_eq!(pace.due(at(100)), Some(at(1000)));
        pace.note(true);
        assert_eq!(pace.due(at(100)), Some(at(20)));
        pace.note(false);
        assert_eq!(pace.due(at(100)), Some(at(20)), "the loud one still waits");
    }

    #[test]
    fn a_flood_costs_one_batch_a_second_and_ends_with_it() {
        let mut pace = Pace::new();
        pace.told(at(0));
        let (mut now, mut times) = (at(3000), Vec::new());
        for _ in 0..9 {
            pace.note(true);
            now = pace.due(now).unwrap().max(now);
            pace.told(now);
            times.push(now - at(3000));
        }
        let gaps: Vec<i64> = times.windows(2).map(|pair| (pair[1] - pair[0]).0).collect();
        assert_eq!(gaps, [20, 40, 80, 160, 320, 640, 1000, 1000]);
        // The next one after a quiet time is told at once again.
        pace.note(true);
        let quiet = now + Span::secs(5);
        assert!(pace.due(quiet).unwrap() <= quiet);
        pace.told(quiet);
        pace.note(true);
        assert_eq!(pace.due(quiet), Some(quiet + SHORTEST));
    }

    #[test]
    fn lines_that_come_now_and_then_are_each_told_at_once() {
        let mut pace = Pace::new();
        pace.told(at(0));
        for n in 1..20 {
            let now = at(n * 300);
            pace.note(true);
            assert!(pace.due(now).unwrap() <= now, "line {n}");
            pace.told(now);
        }
    }

    #[test]
    fn a_clock_that_was_set_back_holds_nothing_up() {
        let mut pace = Pace::new();
        pace.told(at(3_600_000));
        pace.note(false);
        assert_eq!(pace.due(at(0)), Some(at(1000)));
    }
}
