//! Points and spans of time, in whole milliseconds, and how people write and read them.
//!
//! One syntax of durations serves the configuration, the command line and PromQL: `"1h30m"`. Calendar
//! questions (what clock time is this, in which zone) are asked of `jiff` at the edges, never here.

use std::fmt;
use std::ops::{Add, AddAssign, Neg, Sub};

use serde::{Deserialize, Serialize};

/// A moment: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// A signed length of time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(pub i64);

impl Timestamp {
    /// Milliseconds since the epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Seconds since the epoch, as PromQL's `time()` gives them.
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// RFC 3339 in UTC with milliseconds, for files that machines read.
    pub fn rfc3339(self) -> String {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => format!("{at:.3}"),
            Err(_) => format!("{} ms since 1970", self.0),
        }
    }

    /// Clock time `09:41:07` in `zone`, for texts that people read.
    pub fn clock(self, zone: &jiff::tz::TimeZone) -> String {
        self.strftime(zone, "%H:%M:%S")
    }

    /// Date and clock time `2025-10-28 09:41:07` in `zone`.
    pub fn date_clock(self, zone: &jiff::tz::TimeZone) -> String {
        self.strftime(zone, "%Y-%m-%d %H:%M:%S")
    }

    fn strftime(self, zone: &jiff::tz::TimeZone, format: &str) -> String {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => at.to_zoned(zone.clone()).strftime(format).to_string(),
            Err(_) => format!("{} ms since 1970", self.0),
        }
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);

    /// `n` whole milliseconds.
    pub const fn millis(n: i64) -> Span {
        Span(n)
    }

    /// `n` whole seconds.
    pub const fn secs(n: i64) -> Span {
        Span(n * 1000)
    }

    /// `n` whole minutes.
    pub const fn mins(n: i64) -> Span {
        Span(n * 60_000)
    }

    /// `n` whole hours.
    pub const fn hours(n: i64) -> Span {
        Span(n * 3_600_000)
    }

    /// Milliseconds.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Seconds as a float, the base unit of durations in PromQL.
    pub fn as_secs(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// The span as the standard library's duration; a negative one is zero.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0.max(0) as u64)
    }

    /// Rounds the standard library's duration down to whole milliseconds.
    pub fn from_std(d: std::time::Duration) -> Span {
        Span(i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
    }

    /// `self` taken `n` times.
    pub const fn times(self, n: i64) -> Span {
        Span(self.0 * n)
    }

    /// Parses `"500ms"`, `"30s"`, `"1h30m"`, `"7d"`, `"2w"`: whole numbers with units, largest first.
    ///
    /// # Errors
    /// A sentence fragment that says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Span, String> {
        const UNITS: [(&str, i64); 6] =
            [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 7 * 86_400_000)];
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err("a duration is empty".into());
        }
        let (mut total, mut before) = (0i64, i64::MAX);
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 {
                return Err(format!("`{text}` is no duration"));
            }
            let (number, tail) = rest.split_at(digits);
            let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, tail) = tail.split_at(letters);
            if unit.is_empty() {
                return Err(format!("`{text}` has no unit"));
            }
            let Some(&(_, size)) = UNITS.iter().find(|(name, _)| *name == unit) else {
                return Err(format!("`{unit}` is no unit of time"));
            };
            if size >= before {
                return Err(format!("`{text}` has its units out of order"));
            }
            before = size;
            let number: i64 = number.parse().map_err(|_| format!("`{text}` is too long"))?;
            total = number
                .checked_mul(size)
                .and_then(|n| total.checked_add(n))
                .filter(|n| *n <= 100 * 366 * 86_400_000)
                .ok_or_else(|| format!("`{text}` is too long"))?;
            rest = tail;
        }
        Ok(Span(total))
    }

    /// For people: `4 min 15 s`, `47 h 49 min`, `12 d`. The two largest units, the second dropped when zero.
    pub fn human(self) -> String {
        let ms = self.0.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        if ms < 1000 {
            return format!("{sign}{ms} ms");
        }
        if ms < 10_000 && !ms.is_multiple_of(1000) {
            return format!("{sign}{:.1} s", ms as f64 / 1000.0);
        }
        let s = ms / 1000;
        let (big, big_unit, small, small_unit) = match s {
            0..60 => return format!("{sign}{s} s"),
            60..3600 => (s / 60, "min", s % 60, "s"),
            3600..172_800 => (s / 3600, "h", s % 3600 / 60, "min"),
            _ => (s / 86_400, "d", s % 86_400 / 3600, "h"),
        };
        if small == 0 || (big_unit == "d" && big >= 10) {
            format!("{sign}{big} {big_unit}")
        } else {
            format!("{sign}{big} {big_unit} {small} {small_unit}")
        }
    }

    /// The age of a deployment: `T+11m`, `T+26h`, `T+2h07m`.
    pub fn since_t0(self) -> String {
        let s = self.0.max(0) / 1000;
        match (s / 3600, s % 3600 / 60) {
            (0, 0) => format!("T+{s}s"),
            (0, m) => format!("T+{m}m"),
            (h, 0) => format!("T+{h}h"),
            (h, m) => format!("T+{h}h{m:02}m"),
        }
    }
}

/// The short form that [`Span::parse`] reads back: `1h30m`, `500ms`, `0s`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
            if rest >= size {
                write!(f, "{}{unit}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

impl Add<Span> for Timestamp {
    type Output = Timestamp;
    fn add(self, by: Span) -> Timestamp {
        Timestamp(self.0.saturating_add(by.0))
    }
}

impl AddAssign<Span> for Timestamp {
    fn add_assign(&mut self, by: Span) {
        *self = *self + by;
    }
}

impl Sub<Span> for Timestamp {
    type Output = Timestamp;
    fn sub(self, by: Span) -> Timestamp {
        Timestamp(self.0.saturating_sub(by.0))
    }
}

impl Sub for Timestamp {
    type Output = Span;
    fn sub(self, earlier: Timestamp) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Add for Span {
    type Output = Span;
    fn add(self, other: Span) -> Span {
        Span(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Span {
    fn add_assign(&mut self, other: Span) {
        *self = *self + other;
    }
}

impl Sub for Span {
    type Output = Span;
    fn sub(self, other: Span) -> Span {
        Span(self.0.saturating_sub(other.0))
    }
}

impl Neg for Span {
    type Output = Span;
    fn neg(self) -> Span {
        Span(-self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, ms) in [
            ("500ms", 500),
            ("0s", 0),
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
            ("2w", 1_209_600_000),
        ] {
            let span = Span::parse(text).unwrap();
            assert_eq!(span, Span(ms), "{text}");
            assert_eq!(Span::parse(&span.to_string()), Ok(span), "{span}");
        }
    }

    #[test]
    fn a_bad_duration_says_what_is_wrong() {
        for (text, message) in [
            ("", "a duration is empty"),
            ("5", "`5` has no unit"),
            ("5 minutes", "`5 minutes` has no unit"),
            ("5q", "`q` is no unit of time"),
            ("1s1h", "`1s1h` has its units out of order"),
            ("99999999999999999999s", "`99999999999999999999s` is too long"),
            ("101000w", "`101000w` is too long"),
            ("-5s", "`-5s` is no duration"),
        ] {
            assert_eq!(Span::parse(text), Err(message.to_string()), "{text}");
        }
    }

    #[test]
    fn people_read_two_units() {
        for (ms, text) in [
            (300, "300 ms"),
            (1500, "1.5 s"),
            (30_000, "30 s"),
            (255_000, "4 min 15 s"),
            (300_000, "5 min"),
            (172_140_000, "47 h 49 min"),
            (1_036_800_000, "12 d"),
        ] {
            assert_eq!(Span(ms).human(), text);
        }
    }
}
