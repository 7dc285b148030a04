//! When a line was written, where it says so.
//!
//! Looked for in the head of plain lines and in fields of JSON and logfmt: RFC 3339 and its cousins with a space, a comma or
//! slashes, the date of access logs, syslog's without a year, glog's, and Unix times in seconds, ms, µs and ns (told apart by
//! their size). A time without a zone is in the zone of the plan. Nothing is parsed for each line: only for those whose time
//! is asked for.

use std::ops::ControlFlow;

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};

use super::json::{self, Value};
use super::logfmt;
use crate::base::{Span, Timestamp};

/// How far a line's time may be ahead of its arrival before it is not believed.
pub(super) const MAX_AHEAD: Span = Span::mins(1);

/// How far into a plain line a time may begin, in bytes.
const MAX_FRONT: usize = 80;

const KEYS: [&[u8]; 12] = [
    b"ts",
    b"time",
    b"timestamp",
    b"@timestamp",
    b"t",
    b"@t",
    b"datetime",
    b"date",
    b"asctime",
    b"eventtime",
    b"time_local",
    b"timestamp_utc",
];

/// The time that `line` says, in milliseconds; none where it says none, or one that is not to be believed.
pub(super) fn of(line: &[u8], arrived: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let found = match line.first()? {
        b'{' => of_json(line, arrived, zone),
        _ => None,
    };
    let found = found.or_else(|| of_head(line, arrived, zone)).or_else(|| of_logfmt(line, arrived, zone));
    found.filter(|at| at.0 >= 0 && *at <= arrived + MAX_AHEAD)
}

fn of_json(line: &[u8], arrived: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let mut found = None;
    let read = json::fields(line, |key, value| {
        if is_time_key(key) {
            found = of_value(value, arrived, zone);
        }
        if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    read.ok().and(found)
}

fn of_value(value: Value<'_>, arrived: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    match value {
        Value::Text(text) => of_text(&json::plain(text), arrived, zone),
        Value::Bare(number) => of_number(number),
        // MongoDB's `{"$date":"…"}`.
        Value::Object(inner) => {
            let mut found = None;
            let read = json::fields(inner, |_, value| {
                if let Value::Text(text) = value {
                    found = of_text(text, arrived, zone);
                }
                ControlFlow::Break(())
            });
            read.ok().and(found)
        }
        Value::List => None,
    }
}

fn of_logfmt(line: &[u8], arrived: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    logfmt::pairs(line, |_, key, value| if is_time_key(key) { of_text(value, arrived, zone) } else { None })
}

fn is_time_key(key: &[u8]) -> bool {
    KEYS.iter().any(|name| key.eq_ignore_ascii_case(name))
}

fn of_text(text: &[u8], arrived: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let text = text.trim_ascii();
    of_number(text).or_else(|| stamp_at(text, arrived, zone))
}

/// Unix time, in the unit that its size says.
fn of_number(text: &[u8]) -> Option<Timestamp> {
    if text.len() < 9 || text.len() > 24 || !text[0].is_ascii_digit() {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(whole) = text.parse::<i64>() {
        return Some(Timestamp(match whole {
            0..100_000_000_000 => whole * 1000,
            100_000_000_000..100_000_000_000_000 => whole,
            100_000_000_000_000..100_000_000_000_000_000 => whole / 1000,
            _ => whole / 1_000_000,
        }));
    }
    let is_decimal = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+'));
    let number: f64 = if is_decimal { text.parse().ok()? } else { return None };
    let millis = match number {
        n if n < 1e11 => n * 1e3,
        n if n < 1e14 => n,
        n if n < 1e17 => n / 1e3,
        n if n < 1e20 => n / 1e6,
        _ => return None,
    };
    Some(Timestamp(millis.round() as i64))
}

/// A time in the head of a plain line.
fn of_head(line: &[u8], arrived: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    if is_klog(line) {
        return klog(line, arrived, zone);
    }
    let leading = line.iter().take(24).take_while(|b| b.is_ascii_digit() || **b == b'.').count();
    if leading >= 13 && line.get(leading).is_none_or(|b| matches!(b, b' ' | b'\t')) {
        return of_number(&line[..leading]);
    }
    let mut is_edge = true;
    for at in 0..line.len().min(MAX_FRONT) {
        let b = line[at];
        if is_edge
            && b.is_ascii_alphanumeric()
            && let Some(found) = stamp_at(&line[at..], arrived, zone)
        {
            return Some(found);
        }
        // An escape that sets a colour ends in `m`.
        is_edge = !b.is_ascii_alphanumeric() || b == b'm';
    }
    None
}

/// A time that `text` begins with.
fn stamp_at(text: &[u8], arrived: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    match text.first()? {
        b'0'..=b'9' => iso(text, zone).or_else(|| of_access(text, zone)),
        _ => month(text).and_then(|_| of_syslog(text, arrived, zone)),
    }
}

/// How long the time `2025-03-12 10:00:00,001+00:00` at the start of `text` is; 0 where none stands there.
#[inline]
pub(super) fn iso_len(text: &[u8]) -> usize {
    let Some(t) = text.get(..19) else { return 0 };
    let is_one = matches!(t[4], b'-' | b'/')
        && t[7] == t[4]
        && matches!(t[10], b' ' | b'T' | b't' | b'_')
        && t[13] == b':'
        && t[16] == b':'
        && t[0].is_ascii_digit()
        && t[3].is_ascii_digit()
        && t[18].is_ascii_digit();
    if !is_one {
        return 0;
    }
    let mut at = 19;
    if let Some(b'.' | b',') = text.get(at) {
        let digits = text[at + 1..].iter().take(9).take_while(|b| b.is_ascii_digit()).count();
        if digits > 0 {
            at += 1 + digits;
        }
    }
    match text.get(at) {
        Some(b'Z' | b'z') => at + 1,
        Some(b'+' | b'-') if text.get(at + 1).is_some_and(u8::is_ascii_digit) => {
            at + 1 + text[at + 1..].iter().take(5).take_while(|b| b.is_ascii_digit() || **b == b':').count()
        }
        _ => at,
    }
}

fn iso(text: &[u8], zone: &TimeZone) -> Option<Timestamp> {
    let length = iso_len(text);
    if length == 0 {
        return None;
    }
    let date = (digits(text, 0, 4)?, digits(text, 5, 2)?, digits(text, 8, 2)?);
    let clock = (digits(text, 11, 2)?, digits(text, 14, 2)?, digits(text, 17, 2)?);
    let (millis, behind) = fraction(text, 19);
    let rest = text.get(behind..).unwrap_or_default();
    let offset = match rest {
        [b'Z' | b'z', ..] | [b' ', b'U', b'T', b'C', ..] | [b' ', b'Z', ..] => Some(0),
        [b' ', tail @ ..] => offset(tail),
        rest => offset(rest),
    };
    moment(date, clock, millis, offset, zone)
}

/// `12/Mar/2025:10:00:00 +0000`, `12-Mar-2025 10:00:00`, `12 Mar 2025 10:00:00.123`.
fn of_access(text: &[u8], zone: &TimeZone) -> Option<Timestamp> {
    let is_one = matches!(text.get(2)?, b'/' | b'-' | b' ') && text.get(6)? == text.get(2)? && text.get(14)? == &b':';
    if !is_one {
        return None;
    }
    let date = (digits(text, 7, 4)?, month(&text[3..])?, digits(text, 0, 2)?);
    let clock = (digits(text, 12, 2)?, digits(text, 15, 2)?, digits(text, 18, 2)?);
    let (millis, behind) = fraction(text, 20);
    let offset = match text.get(behind..).unwrap_or_default() {
        [b' ', b'U', b'T', b'C', ..] => Some(0),
        [b' ', tail @ ..] => offset(tail),
        _ => None,
    };
    moment(date, clock, millis, offset, zone)
}

/// `Mar 12 10:00:00`, also with a fraction and a year behind; the year is that of the arrival.
fn of_syslog(text: &[u8], arrived: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let month = month(text)?;
    let day = if text.get(4)? == &b' ' { digits(text, 5, 1)? } else { digits(text, 4, 2)? };
    if text.get(3)? != &b' ' || text.get(6)? != &b' ' || text.get(9)? != &b':' || text.get(12)? != &b':' {
        return None;
    }
    let clock = (digits(text, 7, 2)?, digits(text, 10, 2)?, digits(text, 13, 2)?);
    let (millis, behind) = fraction(text, 15);
    if text.get(behind) == Some(&b' ')
        && let Some(year) = digits(text, behind + 1, 4)
        && text.get(behind + 5).is_none_or(|b| !b.is_ascii_alphanumeric())
    {
        return moment((year, month, day), clock, millis, None, zone);
    }
    without_year((month, day), clock, millis, arrived, zone)
}

/// Whether a line begins as glog's and klog's do: `E0312 10:00:00.000000`.
pub(super) fn is_klog(line: &[u8]) -> bool {
    match line.get(..14) {
        Some(t) => {
            matches!(t[0], b'I' | b'W' | b'E' | b'F')
                && t[1..5].iter().all(u8::is_ascii_digit)
                && t[5] == b' '
                && t[8] == b':'
                && t[11] == b':'
                && t[6].is_ascii_digit()
        }
        None => false,
    }
}

fn klog(line: &[u8], arrived: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let date = (digits(line, 1, 2)?, digits(line, 3, 2)?);
    let clock = (digits(line, 6, 2)?, digits(line, 9, 2)?, digits(line, 12, 2)?);
    without_year(date, clock, fraction(line, 14).0, arrived, zone)
}

/// The year is the arrival's, or the one before where that would lie ahead: a line of December that arrives in January.
fn without_year(
    date: (i32, i32),
    clock: (i32, i32, i32),
    millis: i32,
    arrived: Timestamp,
    zone: &TimeZone,
) -> Option<Timestamp> {
    let year = i32::from(jiff::Timestamp::from_millisecond(arrived.0).ok()?.to_zoned(zone.clone()).year());
    let of_year = |year: i32| moment((year, date.0, date.1), clock, millis, None, zone);
    of_year(year).filter(|at| *at <= arrived + Span::hours(24)).or_else(|| of_year(year - 1))
}

fn moment(
    date: (i32, i32, i32),
    clock: (i32, i32, i32),
    millis: i32,
    offset: Option<i32>,
    zone: &TimeZone,
) -> Option<Timestamp> {
    let small = |n: i32| i8::try_from(n).ok();
    let (year, month, day) = (i16::try_from(date.0).ok()?, small(date.1)?, small(date.2)?);
    // A leap second is the last of its minute.
    let (hour, minute, second) = (small(clock.0)?, small(clock.1)?, small(clock.2.min(60))?.min(59));
    let civil = DateTime::new(year, month, day, hour, minute, second, millis * 1_000_000).ok()?;
    let at = match offset {
        Some(seconds) => Offset::from_seconds(seconds).ok()?.to_timestamp(civil).ok()?,
        None => civil.to_zoned(zone.clone()).ok()?.timestamp(),
    };
    Some(Timestamp(at.as_millisecond()))
}

/// `+01:00`, `-0530`, `+02`: seconds east of Greenwich.
fn offset(text: &[u8]) -> Option<i32> {
    let sign = match text.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let hours = digits(text, 1, 2)?;
    let minutes = if text.get(3) == Some(&b':') { digits(text, 4, 2) } else { digits(text, 3, 2) };
    Some(sign * (hours * 3600 + minutes.unwrap_or(0) * 60))
}

/// Milliseconds of the fraction at `at`, and where what follows it begins.
fn fraction(text: &[u8], at: usize) -> (i32, usize) {
    if !matches!(text.get(at), Some(b'.' | b',')) {
        return (0, at);
    }
    let (mut millis, mut end, mut unit) = (0, at + 1, 100);
    while let Some(digit) = text.get(end).filter(|b| b.is_ascii_digit() && end < at + 10) {
        millis += i32::from(digit - b'0') * unit;
        unit /= 10;
        end += 1;
    }
    if end == at + 1 { (0, at) } else { (millis, end) }
}

fn digits(text: &[u8], at: usize, n: usize) -> Option<i32> {
    text.get(at..at + n)?.iter().try_fold(0, |number, b| b.is_ascii_digit().then(|| number * 10 + i32::from(b - b'0')))
}

fn month(text: &[u8]) -> Option<i32> {
    const NAMES: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let name = text.get(..3)?;
    NAMES.chunks(3).position(|known| known == name).map(|n| n as i32 + 1)
}
