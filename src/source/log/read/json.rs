//! Lines that are a JSON object: their fields, one after the other, as far as somebody asks.
//!
//! Nothing is built and nothing recurses: strings are skipped by their quotes and values in values by counting brackets, so
//! text inside a string is never taken for a field. What is looked at has to be JSON; what stands behind the field that was
//! asked for is not looked at.

use std::borrow::Cow;
use std::ops::ControlFlow;

use super::shape::Shape;
use super::words;
use crate::source::log::level::Level;

/// The line is no JSON, as far as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotJson;

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'l> {
    /// A string without its quotes, escapes as they stand.
    Text(&'l [u8]),
    /// A number, `true`, `false` or `null`.
    Bare(&'l [u8]),
    /// An object with its brackets.
    Object(&'l [u8]),
    /// A list.
    List,
}

/// Calls `see` with each field of the object that `line` begins with, until it breaks.
///
/// # Errors
/// When what was read is no JSON.
pub(super) fn fields<'l>(
    line: &'l [u8],
    mut see: impl FnMut(&'l [u8], Value<'l>) -> ControlFlow<()>,
) -> Result<(), NotJson> {
    fields_at(line, |_, key, value| see(key, value))
}

/// The same, with where the value begins.
#[inline]
fn fields_at<'l>(
    line: &'l [u8],
    mut see: impl FnMut(usize, &'l [u8], Value<'l>) -> ControlFlow<()>,
) -> Result<(), NotJson> {
    let mut at = space(line, 0);
    if line.get(at) != Some(&b'{') {
        return Err(NotJson);
    }
    at = space(line, at + 1);
    if line.get(at) == Some(&b'}') {
        return Ok(());
    }
    loop {
        let (key, behind) = string(line, at)?;
        at = space(line, behind);
        if line.get(at) != Some(&b':') {
            return Err(NotJson);
        }
        at = space(line, at + 1);
        let (value, behind) = value(line, at)?;
        if see(at, key, value).is_break() {
            return Ok(());
        }
        at = space(line, behind);
        match line.get(at) {
            Some(b',') => at = space(line, at + 1),
            Some(b'}') => return Ok(()),
            _ => return Err(NotJson),
        }
    }
}

/// The level that a line of JSON says: the first field that names one wins.
///
/// Words in any case, numbers of pino and bunyan, and under `PRIORITY` and `syslog_severity` those of syslog.
///
/// # Errors
/// When what was read of it is no JSON.
pub(super) fn level(line: &[u8]) -> Result<Option<Level>, NotJson> {
    let mut found = None;
    fields(line, |key, value| {
        found = of_field(key, value);
        if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(found)
}

/// The level as [`level`] has it, looked for first where it stood in the line that `shape` is of.
///
/// # Errors
/// Those of [`level`].
#[inline]
pub(super) fn level_alike(line: &[u8], shape: &mut Shape) -> Result<Option<Level>, NotJson> {
    if shape.fits(line)
        && let Some(level) = level_at(line, shape.len())
    {
        return Ok(Some(level));
    }
    level_anew(line, shape)
}

/// The level whose value begins at `at`, where it is a word without escapes or a number.
#[inline]
fn level_at(line: &[u8], at: usize) -> Option<Level> {
    let rest = line.get(at..)?;
    if rest.first() != Some(&b'"') {
        return match value(line, at) {
            Ok((Value::Bare(number), _)) => words::of_value(number),
            _ => None,
        };
    }
    let end = rest.iter().take(words::MAX_WORD + 2).skip(1).position(|b| !b.is_ascii_alphabetic())? + 1;
    if rest[end] == b'"' { words::of_value(&rest[1..end]) } else { None }
}

fn level_anew(line: &[u8], shape: &mut Shape) -> Result<Option<Level>, NotJson> {
    let (mut found, mut begin, mut n_keys) = (None, None, 0);
    fields_at(line, |at, key, value| {
        found = of_field(key, value);
        if is_level_key(key) {
            (begin, n_keys) = (is_value_key(key).then_some(at), n_keys + 1);
        }
        if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    // Other digits make no other names and no other strings. Those of a level before it, or within a list, would matter.
    if found.is_some()
        && n_keys == 1
        && let Some(at) = begin
        && !line[1..at].iter().any(|b| matches!(b, b'\\' | b'{' | b'['))
    {
        shape.learn(line, at);
    }
    Ok(found)
}

fn of_field(key: &[u8], value: Value<'_>) -> Option<Level> {
    if !(1..=24).contains(&key.len()) {
        return None;
    }
    let key = plain(key);
    if let Value::Object(inner) = value {
        return if key.as_ref() == b"log" { level_in_log(inner) } else { None };
    }
    if !is_level_key(&key) {
        return None;
    }
    let value = match value {
        Value::Text(text) => plain(text),
        Value::Bare(number) => Cow::Borrowed(number),
        _ => return None,
    };
    match key.as_ref() {
        b"PRIORITY" | b"syslog_severity" => words::of_severity(&value),
        // The priority of a job is a number too.
        b"priority" => words::of_word(&value),
        _ => words::of_value(&value),
    }
}

/// `"log":{"level":"error"}`, as Elastic's schema has it when nothing flattens it.
fn level_in_log(inner: &[u8]) -> Option<Level> {
    let mut found = None;
    let read = fields(inner, |key, value| match value {
        Value::Text(text) if key == b"level" => {
            found = words::of_value(&plain(text));
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    read.ok().and(found)
}

/// Whether a field of this name says how bad a line is.
fn is_level_key(key: &[u8]) -> bool {
    // Most keys are ruled out by their first letter.
    match key.first() {
        Some(b'l' | b'L') => [&b"level"[..], b"lvl", b"levelname", b"loglevel", b"log.level", b"log_level"]
            .iter()
            .any(|name| key.eq_ignore_ascii_case(name)),
        Some(b's' | b'S') => {
            key == b"s"
                || [&b"severity"[..], b"severity_text", b"severitytext", b"syslog_severity"]
                    .iter()
                    .any(|name| key.eq_ignore_ascii_case(name))
        }
        Some(b'p' | b'P') => key.eq_ignore_ascii_case(b"priority"),
        Some(b'@') => key == b"@level" || key == b"@l",
        _ => false,
    }
}

/// Whether the value of a level key is read as [`words::of_value`] reads it, and not as syslog's severity.
fn is_value_key(key: &[u8]) -> bool {
    !matches!(key, b"PRIORITY" | b"syslog_severity" | b"priority")
}

/// A string as it is meant: without its escapes.
pub(super) fn plain(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', text).is_none() {
        return Cow::Borrowed(text);
    }
    let quoted = [b"\"", text, b"\""].concat();
    serde_json::from_slice::<String>(&quoted).map_or(Cow::Borrowed(text), |text| Cow::Owned(text.into_bytes()))
}

/// Whether all of `line` is one JSON object.
pub(super) fn is_whole(line: &[u8]) -> bool {
    line.trim_ascii_start().first() == Some(&b'{') && serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
}

fn space(line: &[u8], mut at: usize) -> usize {
    while line.get(at).is_some_and(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')) {
        at += 1;
    }
    at
}

/// The string whose quote stands at `at`, and where what follows it begins.
fn string(line: &[u8], at: usize) -> Result<(&[u8], usize), NotJson> {
    if line.get(at) != Some(&b'"') {
        return Err(NotJson);
    }
    let end = behind_string(line, at + 1)?;
    Ok((&line[at + 1..end - 1], end))
}

/// Behind the quote that ends the string which `at` is in.
fn behind_string(line: &[u8], mut at: usize) -> Result<usize, NotJson> {
    // Most keys and values are shorter than a vector search is worth.
    let near = line.len().min(at + 16);
    while at < near {
        match line[at] {
            b'"' => return Ok(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    loop {
        let rest = line.get(at..).ok_or(NotJson)?;
        let found = at + memchr::memchr2(b'"', b'\\', rest).ok_or(NotJson)?;
        if line[found] == b'"' {
            return Ok(found + 1);
        }
        at = found + 2;
    }
}

fn value(line: &[u8], at: usize) -> Result<(Value<'_>, usize), NotJson> {
    match line.get(at) {
        Some(b'"') => string(line, at).map(|(text, behind)| (Value::Text(text), behind)),
        Some(b'{') => nested(line, at).map(|behind| (Value::Object(&line[at..behind]), behind)),
        Some(b'[') => nested(line, at).map(|behind| (Value::List, behind)),
        Some(b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
            let end = line[at..]
                .iter()
                .position(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.')))
                .map_or(line.len(), |n| at + n);
            Ok((Value::Bare(&line[at..end]), end))
        }
        _ => Err(NotJson),
    }
}

/// Behind the bracket that closes the one at `at`.
fn nested(line: &[u8], mut at: usize) -> Result<usize, NotJson> {
    let mut depth = 0usize;
    while let Some(b) = line.get(at) {
        at += 1;
        match b {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Ok(at);
                }
            }
            b'"' => at = behind_string(line, at)?,
            _ => {}
        }
    }
    Err(NotJson)
}
