//! Figures in a text: a number with the unit that stands behind it.
//!
//! Enters: the text of an output, and the expression that finds numbers. Leaves: the first [`Figure`]. A unit that
//! is attached always counts (`250ms`, `87%`); one behind a blank (`90 min`) only against a limit that has a unit
//! itself. A number with an unknown word attached (`12abc`, `1.5G`) is none, and the next one is taken.

use regex::Regex;

use super::item::shown;
use crate::base::{Quantity, Unit};

/// A number as it stands in a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Figure {
    /// As it is written.
    written: f64,
    /// In base units.
    base: f64,
    unit: Unit,
    is_attached: bool,
}

impl Figure {
    /// The first one that the first group of `finder` finds.
    pub(super) fn find(text: &str, finder: &Regex) -> Option<Figure> {
        finder.captures_iter(text).find_map(|found| {
            let number = found.get(1)?;
            Figure::read(number.as_str(), &text[number.end()..])
        })
    }

    fn read(number: &str, behind: &str) -> Option<Figure> {
        let written = number.parse().ok().filter(|n: &f64| n.is_finite())?;
        let attached = word(behind);
        if !attached.is_empty() {
            let (base, unit) = in_base_units(number, written, attached)?;
            return Some(Figure { written, base, unit, is_attached: true });
        }
        let apart = behind.strip_prefix(' ').map_or("", word);
        let (base, unit) = in_base_units(number, written, apart).unwrap_or((written, Unit::Count));
        Some(Figure { written, base, unit, is_attached: false })
    }

    /// As a value: in base units where a unit is attached.
    pub(super) fn value(self) -> f64 {
        if self.is_attached { self.base } else { self.written }
    }

    /// What is held against a `limit` of this unit; none where the two units contradict each other. A share may be
    /// held against what is written of it (`87%` against 90); times and sizes come in several units, so there only
    /// zero needs none.
    pub(super) fn against(self, limit: f64, unit: Unit) -> Option<f64> {
        match (self.unit, unit) {
            (ours, theirs) if ours == theirs => Some(self.base),
            (Unit::Count, _) | (Unit::Ratio, Unit::Count) => Some(self.written),
            (_, Unit::Count) if !self.is_attached => Some(self.written),
            (_, Unit::Count) if limit == 0.0 => Some(self.base),
            _ => None,
        }
    }

    /// Why it cannot be held against a limit of this unit.
    pub(super) fn contradiction(self, unit: Unit) -> String {
        let seen = shown(self.base, self.unit);
        match unit {
            Unit::Count => format!("saw {seen}, which has a unit: write one behind the limit too"),
            Unit::Ratio => format!("saw {seen}, which is no share"),
            Unit::Seconds => format!("saw {seen}, which is no duration"),
            Unit::Bytes => format!("saw {seen}, which is no size"),
        }
    }

    /// For people, held against a limit of this unit.
    pub(super) fn show(self, limit: Unit) -> String {
        match (self.unit, limit) {
            (Unit::Count, Unit::Count) => self.written.to_string(),
            (Unit::Count, limit) => {
                format!("{}, without a unit, which means {}", self.written, shown(self.base, limit))
            }
            (_, Unit::Count) if !self.is_attached => self.written.to_string(),
            (unit, _) => shown(self.base, unit),
        }
    }
}

/// What is directly behind a number: a sign of percent, or letters, digits and `_`.
fn word(text: &str) -> &str {
    if text.starts_with('%') {
        return &text[..1];
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    &text[..end]
}

/// The number in base units; none for a word that is no unit.
fn in_base_units(number: &str, written: f64, word: &str) -> Option<(f64, Unit)> {
    /// How programs write units beside those that people may write here.
    const MORE: [(&str, &str); 16] = [
        ("sec", "s"),
        ("secs", "s"),
        ("second", "s"),
        ("seconds", "s"),
        ("min", "m"),
        ("mins", "m"),
        ("minute", "m"),
        ("minutes", "m"),
        ("hour", "h"),
        ("hours", "h"),
        ("day", "d"),
        ("days", "d"),
        ("\u{b5}s", "us"),
        ("\u{3bc}s", "us"),
        ("kB", "KB"),
        ("bytes", "B"),
    ];
    if word.is_empty() {
        return None;
    }
    // `h30m` behind a number: several units, which only belong to the whole.
    if word.contains(|c: char| c.is_ascii_digit()) {
        let whole = Quantity::parse(&format!("{number}{word}")).ok()?;
        return Some((whole.value, whole.unit));
    }
    let unit = MORE.iter().find(|(name, _)| *name == word).map_or(word, |(_, unit)| *unit);
    let one = Quantity::parse(&format!("1{unit}")).ok()?;
    Some((written * one.value, one.unit)).filter(|(base, _)| base.is_finite())
}
