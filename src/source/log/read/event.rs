//! Events of several lines: which line belongs to the one before it.
//!
//! A line continues the event before it when it
//! - begins with a space or a tab, unless a time or `INFO `/`WARN ` (levels that are aligned) follows;
//! - begins with `at `, `Caused by:`, `... 12 more`, `Suppressed:`, `note: `, `stack backtrace:` or `goroutine 1 [`;
//! - is nothing but closing brackets;
//! - begins a Python traceback and the event is a warning or worse without a traceback: otherwise a traceback is an event of
//!   its own, an error;
//! - is the exception that ends a traceback, or joins it with the next one;
//! - names an exception as Java does, right behind a warning or worse;
//! - is the message behind `panicked at …:`, or a frame of a Go routine.
//!
//! Lines of JSON, access logs and lines that begin with `key=` neither continue nor are continued. An event ends with the next
//! first line, [`MAX_LINES`], [`MAX_BYTES`], the end of its stream, and when nothing came for [`MAX_PAUSE`].

use serde::{Deserialize, Serialize};

use super::{head, time, words};
use crate::base::{Span, Timestamp};
use crate::source::log::level::Level;

/// The most lines of an event.
pub(super) const MAX_LINES: u32 = 500;

/// The most bytes of an event.
pub(super) const MAX_BYTES: u32 = 256 << 10;

/// After this long without a line, what comes next is another event.
pub(super) const MAX_PAUSE: Span = Span::secs(5);

/// What kind of trace an event is in, which says how unindented lines go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Trace {
    /// None: only lines that show that they continue do.
    #[default]
    None,
    /// In a Python traceback: its exception is to come.
    Python,
    /// Behind the exception of a Python traceback.
    PythonEnd,
    /// Between two Python tracebacks, of which one led to the other.
    PythonChain,
    /// In the frames of Go routines.
    Go,
    /// The message of a Rust panic is to come.
    Panic,
}

/// The event that is open in a stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Open {
    /// Its level.
    #[serde(rename = "l")]
    pub(super) level: Level,
    /// Its trace.
    #[serde(rename = "t")]
    pub(super) trace: Trace,
    /// How many lines it has.
    #[serde(rename = "n")]
    pub(super) n_lines: u32,
    /// How many bytes.
    #[serde(rename = "b")]
    pub(super) n_bytes: u32,
}

const TRACEBACK: &[u8] = b"Traceback (most recent call last):";

/// The trace that a first line begins.
#[inline]
pub(super) fn begun(line: &[u8]) -> Trace {
    if line[line.len() - 1] != b':' {
        return Trace::None;
    }
    if line.ends_with(TRACEBACK) {
        Trace::Python
    } else if memchr::memmem::find(line, b"panicked at ").is_some() {
        Trace::Panic
    } else {
        Trace::None
    }
}

/// Whether `line`, which is not empty, belongs to the event that is open; its trace from there on.
#[inline]
pub(super) fn continues(open: &Open, line: &[u8]) -> Option<Trace> {
    let may = match line[0] {
        b' ' | b'\t' | b'a' | b'C' | b'.' | b'S' | b'n' | b's' | b'g' | b'T' | b'D' | b'}' | b']' | b')' | b'[' => true,
        b'{' => return None,
        _ => open.trace != Trace::None || open.level >= Level::Warning && line[0].is_ascii_lowercase(),
    };
    if may && open.n_lines < MAX_LINES && open.n_bytes < MAX_BYTES { shown(open, line) } else { None }
}

fn shown(open: &Open, line: &[u8]) -> Option<Trace> {
    let starts = |text: &[u8]| line.starts_with(text);
    match line[0] {
        b' ' | b'\t' => return indented(open, line),
        b'a' if starts(b"at ") => return Some(open.trace),
        b'C' if starts(b"Caused by:") => return Some(open.trace),
        b'.' if starts(b"... ") && line.ends_with(b" more") => return Some(open.trace),
        b'S' if starts(b"Suppressed:") => return Some(open.trace),
        b'n' if starts(b"note: ") => return Some(Trace::None),
        b's' if starts(b"stack backtrace:") => return Some(Trace::None),
        b'g' if starts(b"goroutine ") && line.contains(&b'[') => return Some(Trace::Go),
        b'T' if starts(TRACEBACK) => {
            let is_related =
                open.trace == Trace::PythonChain || open.level >= Level::Warning && open.trace == Trace::None;
            return is_related.then_some(Trace::Python);
        }
        b'[' if starts(b"[signal ") && open.level == Level::Fatal => return Some(open.trace),
        b'D' if starts(b"During handling of the above exception") => return chained(open),
        b'T' if starts(b"The above exception was the direct cause") => return chained(open),
        b'}' | b']' | b')' if line.iter().all(|b| matches!(b, b'}' | b']' | b')' | b',' | b';' | b' ')) => {
            return Some(open.trace);
        }
        _ => {}
    }
    match open.trace {
        Trace::Python => is_python_exception(line).then_some(Trace::PythonEnd),
        Trace::Go => is_go_frame(line).then_some(Trace::Go),
        Trace::Panic => (time::iso_len(line) == 0 && head::level(line) == Level::Unknown).then_some(Trace::None),
        Trace::None => (open.level >= Level::Warning && is_java_exception(line)).then_some(Trace::None),
        Trace::PythonEnd | Trace::PythonChain => None,
    }
}

fn chained(open: &Open) -> Option<Trace> {
    matches!(open.trace, Trace::Python | Trace::PythonEnd).then_some(Trace::PythonChain)
}

fn indented(open: &Open, line: &[u8]) -> Option<Trace> {
    let text = line.trim_ascii_start();
    let is_aligned = line.len() == text.len() + 1 && (text.starts_with(b"INFO ") || text.starts_with(b"WARN "));
    if is_aligned || time::iso_len(text) > 0 {
        return None;
    }
    // Indented by whoever wrote it, or within a group of exceptions.
    Some(if text.ends_with(TRACEBACK) && open.trace != Trace::Go { Trace::Python } else { open.trace })
}

/// `ValueError: x`, `app.errors.Gone`, `KeyboardInterrupt`: a name, and what it says.
fn is_python_exception(line: &[u8]) -> bool {
    let end = line.iter().position(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.')));
    let end = end.unwrap_or(line.len());
    let is_name = end > 0 && !line[0].is_ascii_digit() && line.get(end).is_none_or(|b| *b == b':');
    is_name && words::level(&line[..end]).is_none()
}

/// `java.lang.IllegalStateException: x`
fn is_java_exception(line: &[u8]) -> bool {
    let dot = memchr::memchr(b'.', &line[..line.len().min(64)]);
    dot.is_some_and(|dot| dot > 0) && head::is_exception(line)
}

/// `main.(*Server).run(0xc000010000)`, `created by main.main`, `[signal SIGSEGV …]`, `exit status 2`
fn is_go_frame(line: &[u8]) -> bool {
    let is_call = || {
        let front = line.iter().position(|b| *b == b' ').unwrap_or(line.len());
        line.ends_with(b")") && line[..front].contains(&b'(') && line[..front].contains(&b'.')
    };
    [&b"created by "[..], b"[signal ", b"exit status ", b"goroutine "].iter().any(|text| line.starts_with(text))
        || is_call()
}

/// Whether the pause between two lines of a stream ends an event.
pub(super) fn is_over(last: Timestamp, now: Timestamp) -> bool {
    now - last > MAX_PAUSE
}
