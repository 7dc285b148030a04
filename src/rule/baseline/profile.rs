//! What is expected at each time of day, and which of three models says it.
//!
//! One level at all times, a level by slot of day, or that for working days and weekends apart: a richer model is
//! chosen only when it foretells days that it has not seen clearly better (leave-one-day-out).

use serde::{Deserialize, Serialize};

use super::calendar::Calendar;
use super::stats;
use super::{DAY, SLOT, SLOTS};

/// A slot of a day counts with at least this many of its minutes.
const SLOT_NEEDS: usize = SLOT / 3;
/// Days that a drift is looked for in.
const DRIFT_DAYS: usize = 5;

/// How the expectation depends on time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Model {
    /// Not at all.
    Flat,
    /// By slot of day.
    Daily,
    /// By slot of day, working days and weekends apart.
    Weekly,
}

/// What is expected, in logarithms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Profile {
    pub(super) model: Model,
    /// One level, those of 48 slots, or of 48 slots of a working day and 48 of a weekend.
    levels: Vec<f32>,
}

impl Profile {
    /// The level at a minute of the day that is counted from T0, by linear interpolation between slot centres.
    pub(super) fn at(&self, minute: usize, kind: usize) -> f64 {
        let first = match self.model {
            Model::Flat => return self.levels.first().map_or(0.0, |level| f64::from(*level)),
            Model::Daily => 0,
            Model::Weekly => kind * SLOTS,
        };
        let since = (minute % DAY + DAY - SLOT / 2) % DAY;
        let (slot, part) = (since / SLOT, (since % SLOT) as f64 / SLOT as f64);
        let level = |slot: usize| self.levels.get(first + slot % SLOTS).map_or(0.0, |level| f64::from(*level));
        (1.0 - part) * level(slot) + part * level(slot + 1)
    }

    /// The number of levels behind it, of which each rests on as many days as there are.
    pub(super) fn is_flat(&self) -> bool {
        self.model == Model::Flat
    }
}

/// The medians of the slots of each day, with the type of day of each.
pub(super) struct Slots {
    levels: Vec<[f64; SLOTS]>,
    kinds: Vec<[usize; SLOTS]>,
}

impl Slots {
    /// Medians over the minutes of the type of the slot's middle; NaN with fewer than a third of them.
    pub(super) fn of(minutes: &[f64], calendar: &Calendar) -> Slots {
        let days = minutes.len() / DAY;
        let mut slots = Slots { levels: vec![[f64::NAN; SLOTS]; days], kinds: vec![[0; SLOTS]; days] };
        let since_t0 = |t: usize| t as i64 - (days * DAY) as i64;
        for day in 0..days {
            for slot in 0..SLOTS {
                let from = day * DAY + slot * SLOT;
                let kind = calendar.kind(since_t0(from + SLOT / 2));
                let mut values: Vec<f64> = (from..from + SLOT)
                    .filter(|t| calendar.kind(since_t0(*t)) == kind && minutes[*t].is_finite())
                    .map(|t| minutes[t])
                    .collect();
                slots.kinds[day][slot] = kind;
                if values.len() >= SLOT_NEEDS {
                    slots.levels[day][slot] = stats::median(&mut values);
                }
            }
        }
        slots
    }

    fn days(&self) -> usize {
        self.levels.len()
    }

    /// The model that foretells unseen days best; a richer one must earn it.
    pub(super) fn choose(&self) -> Model {
        let flat = self.error(Model::Flat);
        let (mut best, mut error) = (Model::Flat, flat);
        if self.days() >= 2 {
            let daily = self.error(Model::Daily);
            if daily < 0.95 * flat {
                (best, error) = (Model::Daily, daily);
            }
        }
        if self.knows_weeks() && self.error(Model::Weekly) < 0.90 * error {
            best = Model::Weekly;
        }
        best
    }

    /// At least three working days and two days of weekend, and most of each seen.
    fn knows_weeks(&self) -> bool {
        [(0, 3), (1, 2)].into_iter().all(|(kind, days)| {
            let (mut all, mut seen) = (0, 0);
            for (kinds, levels) in self.kinds.iter().zip(&self.levels) {
                for (_, level) in kinds.iter().zip(levels).filter(|(k, _)| **k == kind) {
                    all += 1;
                    seen += usize::from(level.is_finite());
                }
            }
            all >= days * SLOTS && seen * 10 >= all * 7
        })
    }

    /// Mean distance of each slot from what the other days say about it.
    fn error(&self, model: Model) -> f64 {
        let (mut sum, mut n) = (0.0, 0.0);
        for day in 0..self.days() {
            let profile = self.profile_without(model, day);
            for slot in 0..SLOTS {
                let level = self.levels[day][slot];
                if level.is_finite() {
                    sum += (level - profile.slot(slot, self.kinds[day][slot])).abs();
                    n += 1.0;
                }
            }
        }
        sum / f64::max(n, 1.0)
    }

    /// The profile out of all days.
    pub(super) fn profile(&self, model: Model) -> Profile {
        self.build(model, None)
    }

    /// The profile out of the other days; of the day itself when it is the only one.
    pub(super) fn profile_without(&self, model: Model, day: usize) -> Profile {
        self.build(model, (self.days() > 1).then_some(day))
    }

    fn build(&self, model: Model, without: Option<usize>) -> Profile {
        let kinds: &[Option<usize>] = if model == Model::Weekly { &[Some(0), Some(1)] } else { &[None] };
        let mut levels = Vec::new();
        for kind in kinds {
            let mut raw = [f64::NAN; SLOTS];
            for (slot, level) in raw.iter_mut().enumerate() {
                let mut values: Vec<f64> = (0..self.days())
                    .filter(|day| Some(*day) != without && kind.is_none_or(|k| self.kinds[*day][slot] == k))
                    .map(|day| self.levels[day][slot])
                    .collect();
                *level = stats::trimmed_mean(&mut values);
            }
            fill(&mut raw);
            if model == Model::Flat {
                levels.push((raw.iter().sum::<f64>() / SLOTS as f64) as f32);
            } else {
                let at = |slot: usize| raw[slot % SLOTS];
                levels.extend((0..SLOTS).map(|s| (0.25 * at(s + SLOTS - 1) + 0.5 * at(s) + 0.25 * at(s + 1)) as f32));
            }
        }
        Profile { model, levels }
    }

    /// The change a day, when the days before T0 rose or fell steadily; else 0.
    pub(super) fn drift(&self, model: Model) -> f64 {
        if self.days() < DRIFT_DAYS {
            return 0.0;
        }
        let profile = self.profile(model);
        let mut points = Vec::new();
        for day in 0..self.days() {
            let mut values = (0..SLOTS).map(|s| self.levels[day][s] - profile.slot(s, self.kinds[day][s])).collect();
            let middle = stats::median(&mut values);
            if middle.is_finite() {
                points.push((day as f64, middle));
            }
        }
        let levels: Vec<f64> = points.iter().map(|(_, level)| *level).collect();
        if levels.len() >= DRIFT_DAYS && stats::has_trend(&levels) { stats::slope(&points) } else { 0.0 }
    }

    /// Takes a drift out, so that the levels are those of the middle of the history.
    pub(super) fn remove(&mut self, drift: f64) {
        let middle = self.days() as f64 / 2.0;
        for (day, levels) in self.levels.iter_mut().enumerate() {
            for level in levels {
                *level -= drift * (day as f64 + 0.5 - middle);
            }
        }
    }
}

impl Profile {
    /// The level at the middle of a slot.
    fn slot(&self, slot: usize, kind: usize) -> f64 {
        self.at(slot * SLOT + SLOT / 2, kind)
    }
}

/// Missing slots become the line between their neighbours around the day; all missing, 0.
fn fill(levels: &mut [f64; SLOTS]) {
    let old = *levels;
    let next = |from: usize, step: usize| (1..SLOTS).find(|i| old[(from + i * step) % SLOTS].is_finite());
    for slot in (0..SLOTS).filter(|s| !old[*s].is_finite()) {
        // A step of 47 around a day of 48 is one back.
        levels[slot] = match (next(slot, SLOTS - 1), next(slot, 1)) {
            (Some(back), Some(ahead)) => {
                let (before, after) = (old[(slot + SLOTS - back) % SLOTS], old[(slot + ahead) % SLOTS]);
                before + (after - before) * back as f64 / (back + ahead) as f64
            }
            _ => 0.0,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Timestamp;

    fn slots(days: usize, value: impl Fn(usize) -> f64) -> Slots {
        let minutes: Vec<f64> = (0..days * DAY).map(value).collect();
        Slots::of(&minutes, &Calendar::of(Timestamp(0), days, &|_| false))
    }

    fn wave(t: usize) -> f64 {
        (t as f64 * std::f64::consts::TAU / DAY as f64).sin()
    }

    #[test]
    fn a_day_that_repeats_is_expected_by_slot_and_one_that_does_not_is_flat() {
        assert_eq!(slots(7, wave).choose(), Model::Daily);
        assert_eq!(slots(7, |t| f64::from((t as u32 / 30).wrapping_mul(2_654_435_761) >> 16)).choose(), Model::Flat);
        let profile = slots(7, wave).profile(Model::Daily);
        for minute in 0..DAY {
            assert!((profile.at(minute, 0) - wave(minute)).abs() < 0.02, "{minute}: {}", profile.at(minute, 0));
        }
    }

    #[test]
    fn slots_that_were_never_seen_lie_between_their_neighbours() {
        let seen = slots(7, wave).profile(Model::Daily);
        let with_hole =
            slots(7, |t| if (600..720).contains(&(t % DAY)) { f64::NAN } else { wave(t) }).profile(Model::Daily);
        for minute in 0..DAY {
            assert!((seen.at(minute, 0) - with_hole.at(minute, 0)).abs() < 0.1, "{minute}");
        }
        let mut none = [f64::NAN; SLOTS];
        fill(&mut none);
        assert_eq!(none, [0.0; SLOTS]);
    }

    #[test]
    fn a_steady_rise_is_a_drift_of_so_much_a_day() {
        let rising = slots(7, |t| wave(t) + 0.03 * t as f64 / DAY as f64);
        assert!((rising.drift(Model::Daily) - 0.03).abs() < 0.001);
        assert_eq!(slots(7, wave).drift(Model::Daily), 0.0);
        assert_eq!(slots(4, |t| t as f64).drift(Model::Daily), 0.0);
    }
}
