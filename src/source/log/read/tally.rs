//! What the lines of a table add up to.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::Plan;
use crate::base::{Exhibit, Timestamp};
use crate::source::log::level::Level;

/// The version of a tally that is kept.
const VERSION: u32 = 1;

/// The most exhibits that wait to be taken.
pub(super) const MAX_EXHIBITS: usize = 10;

/// Totals since ever, and what is new. It is kept by the names of patterns, so that they may be added, removed and put in
/// another order without a total going down.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    v: u32,
    /// Events by level, in the order of [`Level::ALL`].
    lines: [u64; 8],
    matches: Vec<Matches>,
    values: Vec<Value>,
    last_line: Option<Timestamp>,
    broken: u64,
    cut: u64,
    broken_values: u64,
    #[serde(skip)]
    exhibits: VecDeque<Exhibit>,
}

/// What a pattern, or a secret, matched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matches {
    /// Its name.
    pub name: String,
    /// Events since ever.
    pub total: u64,
    /// When the one read last was written.
    pub last: Option<Timestamp>,
}

/// A number that lines say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Value {
    /// Its name.
    pub name: String,
    /// The number of the line read last.
    pub value: Option<f64>,
    /// When that line was written.
    pub at: Option<Timestamp>,
}

/// A tally of a version that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the counts are of version {0}, and version 1 is known")]
pub struct UnknownVersion(pub u32);

impl Tally {
    /// A tally that begins at zero, with everything that `plan` counts in it.
    pub fn new(plan: &Plan) -> Tally {
        Tally {
            v: VERSION,
            matches: plan.counted().map(|name| Matches { name: name.into(), ..Matches::default() }).collect(),
            values: plan.values().map(|name| Value { name: name.into(), ..Value::default() }).collect(),
            ..Tally::default()
        }
    }

    /// Goes on from a tally that was kept: what `plan` still names keeps its total, what it names anew begins at zero.
    ///
    /// # Errors
    /// When it was kept by a version of the program that wrote it in another way.
    pub fn resume(plan: &Plan, saved: Tally) -> Result<Tally, UnknownVersion> {
        if saved.v != VERSION {
            return Err(UnknownVersion(saved.v));
        }
        let mut tally = Tally::new(plan);
        for matches in &mut tally.matches {
            if let Some(known) = saved.matches.iter().find(|known| known.name == matches.name) {
                *matches = known.clone();
            }
        }
        for value in &mut tally.values {
            if let Some(known) = saved.values.iter().find(|known| known.name == value.name) {
                *value = known.clone();
            }
        }
        Ok(Tally {
            lines: saved.lines,
            last_line: saved.last_line,
            broken: saved.broken,
            cut: saved.cut,
            broken_values: saved.broken_values,
            ..tally
        })
    }

    /// Events of this level: lines, but for those that continue others.
    pub fn lines(&self, level: Level) -> u64 {
        self.lines[level.index()]
    }

    /// What each pattern matched, then each secret, in the order of the plan.
    pub fn matches(&self) -> &[Matches] {
        &self.matches
    }

    /// The numbers that were captured, in the order of the plan.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// When the line read last was written.
    pub fn last_line(&self) -> Option<Timestamp> {
        self.last_line
    }

    /// Lines that are not what the format says: no JSON, no pairs, no text.
    pub fn broken(&self) -> u64 {
        self.broken
    }

    /// Lines that were longer than `max_line`.
    pub fn cut(&self) -> u64 {
        self.cut
    }

    /// Captured text that is no number.
    pub fn broken_values(&self) -> u64 {
        self.broken_values
    }

    /// Takes the newest lines as evidence, the oldest first; ten at most.
    pub fn take_exhibits(&mut self) -> Vec<Exhibit> {
        std::mem::take(&mut self.exhibits).into()
    }

    #[inline]
    pub(super) fn add_line(&mut self, level: Level, is_broken: bool) {
        self.lines[level.index()] += 1;
        self.broken += u64::from(is_broken);
    }

    pub(super) fn add_match(&mut self, n: usize) {
        if let Some(matches) = self.matches.get_mut(n) {
            matches.total += 1;
        }
    }

    pub(super) fn add_cut(&mut self, n: u64) {
        self.cut = self.cut.saturating_add(n);
    }

    pub(super) fn add_broken_value(&mut self) {
        self.broken_values += 1;
    }

    pub(super) fn matched_at(&mut self, n: usize, at: Timestamp) {
        if let Some(matches) = self.matches.get_mut(n) {
            matches.last = Some(at);
        }
    }

    pub(super) fn line_at(&mut self, at: Timestamp) {
        self.last_line = Some(at);
    }

    pub(super) fn set_value(&mut self, n: usize, number: f64, at: Timestamp) {
        if let Some(value) = self.values.get_mut(n) {
            (value.value, value.at) = (Some(number), Some(at));
        }
    }

    pub(super) fn add_exhibit(&mut self, exhibit: Exhibit) {
        if self.exhibits.len() == MAX_EXHIBITS {
            self.exhibits.pop_front();
        }
        self.exhibits.push_back(exhibit);
    }
}
