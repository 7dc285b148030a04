//! Whether one condition of one alert holds, and for how long it has or has not.
//!
//! Enters: whether the condition holds at a reading, and what ends it. Leaves: off, pending or on. Time counts only where
//! there is evidence: a condition that was seen at two samples held between them, unless the gap between them is longer
//! than two intervals, and then it did not get worse or better by it.

use serde::{Deserialize, Serialize};

use super::{Condition, Hits};
use crate::base::{Span, Timestamp};

/// When and on what evidence a reading is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// The newest sample that took part.
    pub(super) newest: Timestamp,
    /// Of the rule: two of them without a sample is a gap.
    pub(super) interval: Span,
    /// The present.
    pub(super) now: Timestamp,
}

/// Time for which something was seen to hold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    counted: Span,
    newest: Timestamp,
    /// At how many samples.
    pub(super) readings: u32,
}

impl Held {
    fn begin(newest: Timestamp) -> Held {
        Held { counted: Span::ZERO, newest, readings: 1 }
    }

    pub(super) fn see(&mut self, newest: Timestamp, interval: Span) {
        if newest <= self.newest {
            return;
        }
        let gap = newest - self.newest;
        if gap <= longest_gap(interval) {
            self.counted += gap;
        }
        self.newest = newest;
        self.readings += 1;
    }

    /// What was counted, and what passed since the newest sample, as far as that may be trusted.
    pub(super) fn until(&self, m: Moment) -> Span {
        let since = m.now - self.newest;
        self.counted + Span(since.0.clamp(0, longest_gap(m.interval).0))
    }

    /// Zero asks for one reading; any other span for that time and `readings` of them.
    fn is_long_enough(&self, need: Span, readings: u32, m: Moment) -> bool {
        need == Span::ZERO || (self.readings >= readings && self.until(m) >= need)
    }
}

/// Two intervals, and a little for the jitter of real collects.
fn longest_gap(interval: Span) -> Span {
    Span(interval.0 * 2 + (interval.0 / 5).max(250))
}

/// How a condition stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stand {
    /// It does not hold.
    #[default]
    Off,
    /// It holds, and not yet for long enough.
    Pending(Held),
    /// It was entered; `ending` while what ends it holds.
    On {
        /// For how long its end was seen.
        ending: Option<Held>,
    },
}

/// One condition of one alert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    pub(super) stand: Stand,
    /// Whether the condition held at the newest samples, the newest in the lowest bit; of conditions that count readings.
    hits: u64,
    /// The newest sample among them.
    hit_until: Option<Timestamp>,
}

impl Gate {
    /// Entered, as the journal says.
    pub(super) fn on(is_on: bool) -> Gate {
        Gate { stand: if is_on { Stand::On { ending: None } } else { Stand::Off }, ..Gate::default() }
    }

    pub(super) fn is_on(&self) -> bool {
        matches!(self.stand, Stand::On { .. })
    }

    pub(super) fn is_pending(&self) -> bool {
        matches!(self.stand, Stand::Pending(_))
    }

    pub(super) fn is_off(&self) -> bool {
        self.stand == Stand::Off
    }

    /// Forgets that it is pending; what was entered stays.
    pub(super) fn calm(&mut self) {
        if !self.is_on() {
            *self = Gate::default();
        }
    }

    /// Forgets what was on its way: it is counted again from readings that are seen again.
    pub(super) fn settle(&mut self) {
        self.stand = if self.is_on() { Stand::On { ending: None } } else { Stand::Off };
        (self.hits, self.hit_until) = (0, None);
    }

    /// Moves what is remembered by `by`, because the wall clock was set.
    pub fn shift(&mut self, by: Span) {
        self.hit_until = self.hit_until.map(|at| at + by);
        match &mut self.stand {
            Stand::Pending(held) | Stand::On { ending: Some(held) } => held.newest += by,
            Stand::Off | Stand::On { ending: None } => {}
        }
    }

    /// One reading: whether the condition holds, and whether what ends it does.
    pub(super) fn step(&mut self, condition: &Condition, holds: bool, clears: bool, m: Moment) {
        if let Some(hits) = condition.hits {
            self.count(hits, holds, m);
        }
        let pends = holds || (condition.hits.is_some() && self.hits != 0);
        let next = match (self.stand, pends, clears) {
            (Stand::Off | Stand::Pending(_), false, _) => Stand::Off,
            (Stand::Off, true, _) => Stand::Pending(Held::begin(m.newest)),
            (Stand::Pending(mut held), true, _) => {
                held.see(m.newest, m.interval);
                Stand::Pending(held)
            }
            (Stand::On { .. }, _, false) => Stand::On { ending: None },
            (Stand::On { ending: None }, _, true) => Stand::On { ending: Some(Held::begin(m.newest)) },
            (Stand::On { ending: Some(mut held) }, _, true) => {
                held.see(m.newest, m.interval);
                Stand::On { ending: Some(held) }
            }
        };
        let is_met = |held: &Held| match condition.hits {
            Some(hits) => self.hits.count_ones() >= hits.count,
            None => held.is_long_enough(condition.held_for, 2, m),
        };
        self.stand = match next {
            Stand::Pending(held) if is_met(&held) => Stand::On { ending: None },
            Stand::On { ending: Some(held) } if held.is_long_enough(condition.keep, 1, m) => {
                self.hits = 0;
                Stand::Off
            }
            other => other,
        };
    }

    /// Readings are counted by their samples, however often they are judged. A look that was repeated at once, or another
    /// target of the same round, is the same reading, and the newer one says what it is.
    fn count(&mut self, hits: Hits, holds: bool, m: Moment) {
        let newest = m.newest;
        match self.hit_until {
            Some(until) if newest <= until => return,
            Some(until) if (newest - until).0 < m.interval.0 / 2 => {
                self.hits = (self.hits & !1) | u64::from(holds);
                return;
            }
            _ => {}
        }
        let mask = if hits.of >= u64::BITS { u64::MAX } else { (1 << hits.of) - 1 };
        self.hits = ((self.hits << 1) | u64::from(holds)) & mask;
        self.hit_until = Some(newest);
    }

    /// The next moment at which it may change without a new sample.
    pub(super) fn deadline(&self, condition: &Condition, interval: Span) -> Option<Timestamp> {
        let (held, need) = match &self.stand {
            Stand::Pending(held) if held.readings >= 2 && condition.hits.is_none() => (held, condition.held_for),
            Stand::On { ending: Some(held) } => (held, condition.keep),
            _ => return None,
        };
        let left = need - held.counted;
        (left <= longest_gap(interval)).then(|| held.newest + left)
    }
}
