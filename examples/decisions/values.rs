//! Recorded minutes instead of simulated ones: `--values FILE.csv`.
//!
//! Enters: lines `time,value`, the time as RFC 3339 or Unix seconds, and when the deployment was. Leaves: for our
//! baseline procedure and each rival, when it would have alarmed or rolled back and why, or why it refuses. Several
//! values of one minute become their mean; an empty value, `NaN` or an infinity is a missing one.

use std::io::{self, Write};
use std::path::Path;

use backstop::base::{Span, Timestamp};

use super::bench::policies;
use super::ours;
use super::watch::{Act, Log, Series, Watch};

/// More than 60 days of a value a second.
const MOST_BYTES: u64 = 256 << 20;

/// Longest record in minutes: five years.
const MOST_MINUTES: i64 = 5 * 366 * 1440;

/// How many mistakes of a file are said.
const MOST_MISTAKES: usize = 5;

/// A record in whole minutes around T0.
#[derive(Debug)]
pub struct Record {
    t0: Timestamp,
    before: Vec<f64>,
    after: Vec<f64>,
}

/// Reads a file; `t0` of the command line goes before the file's own.
///
/// # Errors
/// What is wrong, with the numbers of the lines.
#[expect(clippy::disallowed_methods, reason = "a tool that reads the one file it was told to, once")]
pub fn read(file: &Path, t0: Option<&str>) -> Result<Record, String> {
    let at = |problem: String| format!("{}: {problem}", file.display());
    let size = std::fs::metadata(file).map_err(|problem| at(format!("cannot be read: {problem}")))?.len();
    if size > MOST_BYTES {
        return Err(at(format!("has {size} bytes; at most {MOST_BYTES} are read, so hand in one value a minute")));
    }
    let bytes = std::fs::read(file).map_err(|problem| at(format!("cannot be read: {problem}")))?;
    let text = String::from_utf8(bytes).map_err(|_| at("is no text in UTF-8; hand in lines `time,value`".into()))?;
    parse(&text, t0).map_err(at)
}

/// See [`read`]; of the text itself.
///
/// # Errors
/// What is wrong, with the numbers of the lines.
pub fn parse(text: &str, t0: Option<&str>) -> Result<Record, String> {
    let mut lines = Lines::default();
    for (number, line) in (1..).zip(text.lines()) {
        lines.take(number, line.trim());
    }
    let said = t0.map(|t0| time(t0).ok_or(format!("--t0 {t0}: {TIME}"))).transpose()?;
    if !lines.mistakes.is_empty() {
        let more = lines.n_mistakes - lines.mistakes.len();
        let rest = if more > 0 { format!("\n... and {more} more lines") } else { String::new() };
        return Err(lines.mistakes.join("\n") + &rest);
    }
    let Some(t0) = said.or(lines.t0) else {
        return Err("says nowhere when the deployment was; add a line `# t0 = TIME` or `--t0 TIME`".into());
    };
    lines.around(t0)
}

const TIME: &str = "a time is RFC 3339 such as 2026-03-02T14:30:00Z, or seconds since 1970";

/// What the lines said so far.
#[derive(Default)]
struct Lines {
    points: Vec<(Timestamp, f64)>,
    t0: Option<Timestamp>,
    mistakes: Vec<String>,
    n_mistakes: usize,
}

impl Lines {
    fn take(&mut self, number: usize, line: &str) {
        if let Some(remark) = line.strip_prefix('#') {
            return self.remark(number, remark);
        }
        if line.is_empty() {
            return;
        }
        let Some((at, value)) = line.split_once(',') else {
            return self.wrong(number, format!("`{}` has no comma; a line is `time,value`", short(line)));
        };
        let (at, value) = (at.trim(), value.trim());
        let parsed = (time(at), value_of(value));
        match parsed {
            // The heading of the columns.
            (None, _) if self.points.is_empty() && at.chars().next().is_some_and(char::is_alphabetic) => {}
            (None, _) => self.wrong(number, format!("`{}`: {TIME}", short(at))),
            (_, None) => {
                self.wrong(number, format!("`{}` is no number; leave it empty where there is none", short(value)))
            }
            (Some(at), Some(value)) => match self.points.last() {
                Some((last, _)) if at < *last => {
                    self.wrong(number, "is earlier than the line before; sort the lines by time".into());
                }
                _ => self.points.push((at, value)),
            },
        }
    }

    fn remark(&mut self, number: usize, remark: &str) {
        let Some((key, value)) = remark.split_once('=') else { return };
        if key.trim() != "t0" {
            return;
        }
        match time(value.trim()) {
            Some(t0) => self.t0 = Some(t0),
            None => self.wrong(number, format!("t0 = {}: {TIME}", short(value.trim()))),
        }
    }

    fn wrong(&mut self, number: usize, what: String) {
        self.n_mistakes += 1;
        if self.mistakes.len() < MOST_MISTAKES {
            self.mistakes.push(format!("line {number}: {what}"));
        }
    }

    /// Minutes counted from T0, in both directions.
    fn around(self, t0: Timestamp) -> Result<Record, String> {
        let minute = |at: Timestamp| (at - t0).as_millis().div_euclid(60_000);
        let (Some((first, _)), Some((last, _))) = (self.points.first(), self.points.last()) else {
            return Err("has no values; a line is `time,value`".into());
        };
        let (first, last) = (minute(*first), minute(*last));
        if first >= 0 {
            return Err("has no values before T0; without a past there is nothing to compare with".into());
        }
        if last < 0 {
            return Err("has no values after T0; there is nothing to judge".into());
        }
        if last - first > MOST_MINUTES {
            return Err(format!("spans {} days; is one of its times in milliseconds?", (last - first) / 1440));
        }
        let mut sums = vec![(0.0, 0.0); (last - first + 1) as usize];
        for (at, value) in self.points.iter().filter(|(_, value)| value.is_finite()) {
            let (sum, n) = &mut sums[(minute(*at) - first) as usize];
            (*sum, *n) = (*sum + value, *n + 1.0);
        }
        // Nothing over nothing is NaN: a missing minute.
        let mut before: Vec<f64> = sums.into_iter().map(|(sum, n)| sum / n).collect();
        let after = before.split_off(first.unsigned_abs() as usize);
        Ok(Record { t0, before, after })
    }
}

/// Who would have done what, and why.
///
/// # Errors
/// Those of the writer.
pub fn report(record: &Record, out: &mut dyn Write) -> io::Result<()> {
    let past = ours::past(Some((&record.before, record.t0, &weekend)), None, None);
    let values = Some(Series { before: &record.before, after: &record.after });
    let watch = Watch { values, requests: None, memory: None, silence: None, past: &past };
    let missing = |minutes: &[f64]| minutes.iter().filter(|value| !value.is_finite()).count();
    writeln!(out, "T0 {}", record.t0.rfc3339())?;
    for (when, minutes) in [("before", &record.before), ("after", &record.after)] {
        writeln!(out, "{} minutes {when} it, {} of them without a value", minutes.len(), missing(minutes))?;
    }
    for policy in policies().iter().filter(|policy| policy.judges(&watch)) {
        writeln!(out, "\n{}", policy.name())?;
        if policy.name() == ours::VALUES
            && let Some(Ok(calibration)) = &past.baseline
        {
            writeln!(out, "  decides {}", calibration.scope(record.t0))?;
        }
        let mut log = Log::new(true);
        policy.judge(&watch, &mut log);
        if let Some(refusal) = &log.refusal {
            writeln!(out, "  not armed: {refusal}")?;
        } else if log.events.is_empty() {
            writeln!(out, "  silent")?;
        }
        for event in log.events.iter().take(MOST_EVENTS) {
            let at = record.t0 + Span::mins(i64::from(event.minute));
            let act = match event.act {
                Act::Alarm => "alarm",
                Act::Rollback => "rollback",
            };
            writeln!(out, "  {} {act}, {} min after T0: {}", at.rfc3339(), event.minute, event.because)?;
        }
        if log.events.len() > MOST_EVENTS {
            writeln!(out, "  ... and {} more", log.events.len() - MOST_EVENTS)?;
        }
    }
    Ok(())
}

/// How many acts of one policy are said.
const MOST_EVENTS: usize = 10;

/// Weekends in UTC.
fn weekend(at: Timestamp) -> bool {
    // 1970-01-01 was a Thursday.
    (at.millis().div_euclid(86_400_000) + 3).rem_euclid(7) >= 5
}

fn time(text: &str) -> Option<Timestamp> {
    if let Ok(seconds) = text.parse::<f64>() {
        // Past the year 9999 it is milliseconds, or a mistake.
        return (seconds.is_finite() && seconds.abs() < 253_402_300_800.0)
            .then(|| Timestamp((seconds * 1000.0).round() as i64));
    }
    text.parse::<jiff::Timestamp>().ok().map(|at| Timestamp(at.as_millisecond()))
}

/// `None` for what is no number; a missing one is NaN.
fn value_of(text: &str) -> Option<f64> {
    if text.is_empty() { Some(f64::NAN) } else { text.parse().ok() }
}

/// The beginning of what somebody else wrote.
fn short(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_debug).collect()
}
