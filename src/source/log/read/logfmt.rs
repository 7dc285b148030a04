//! Lines of `key=value`: `time=2025-03-12T10:00:00Z level=error msg="it failed"`.

use super::words;
use crate::source::log::level::Level;

/// How far into a line a key is looked for, in bytes.
const MAX_LOOK: usize = 4096;

/// Calls `see` with the keys and values of a line and where the key begins, until it says that it has enough.
///
/// A key begins the line or stands behind a space or an opening bracket, and not in quotes.
pub(super) fn pairs<'l, T>(line: &'l [u8], mut see: impl FnMut(usize, &'l [u8], &'l [u8]) -> Option<T>) -> Option<T> {
    let line = &line[..line.len().min(MAX_LOOK)];
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'=', b'"', line.get(at..)?) {
        let found = at + found;
        if line[found] == b'"' {
            at = behind_quotes(line, found + 1);
            continue;
        }
        // Only behind a key is the end of a value looked for: a line of nothing but `=` would be gone through for each of them.
        let Some(begin) = key_before(line, found) else {
            at = found + 1;
            continue;
        };
        let (value, behind) = value(line, found + 1);
        if let Some(seen) = see(begin, &line[begin..found], value) {
            return Some(seen);
        }
        at = behind;
    }
    None
}

/// The level that a pair of the line says, as a word: a number may be the level of anything.
#[inline]
pub(super) fn level(line: &[u8]) -> Option<Level> {
    pairs(line, |_, key, value| if is_level_key(key) { words::of_word(value) } else { None })
}

fn is_level_key(key: &[u8]) -> bool {
    const KEYS: [&[u8]; 7] = [b"level", b"lvl", b"severity", b"loglevel", b"log.level", b"log_level", b"levelname"];
    matches!(key.len(), 3..=9) && KEYS.iter().any(|name| key.eq_ignore_ascii_case(name))
}

/// Whether a line begins with a pair, or has one behind a bare word, and all its quotes end.
pub(super) fn is_logfmt(line: &[u8]) -> bool {
    let begins = pairs(line, |begin, _, _| Some(begin)).is_some();
    begins && memchr::memchr_iter(b'"', line).count() % 2 == memchr::memmem::find_iter(line, b"\\\"").count() % 2
}

/// Whether a line begins with a pair.
pub(super) fn begins_with_pair(line: &[u8]) -> bool {
    let end = line.iter().take(64).position(|b| !is_key_byte(*b));
    matches!(end, Some(end) if end > 0 && line[end] == b'=')
}

fn is_key_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'@' | b'-')
}

fn key_before(line: &[u8], end: usize) -> Option<usize> {
    let begin = line[..end].iter().rposition(|b| !is_key_byte(*b)).map_or(0, |n| n + 1);
    let is_key = begin < end
        && line[begin] != b'-'
        && (begin == 0 || matches!(line[begin - 1], b' ' | b'\t' | b'[' | b'(' | b'{' | b'|' | b','));
    is_key.then_some(begin)
}

/// The value at `at`, without quotes, and where what follows it begins.
fn value(line: &[u8], at: usize) -> (&[u8], usize) {
    if line.get(at) == Some(&b'"') {
        let behind = behind_quotes(line, at + 1);
        let end = if behind > at + 1 && line[behind - 1] == b'"' { behind - 1 } else { behind };
        return (&line[at + 1..end.max(at + 1)], behind);
    }
    let end = line[at..]
        .iter()
        .position(|b| matches!(b, b' ' | b'\t' | b',' | b']' | b')' | b'}' | b'|' | b'"' | 0x1b))
        .map_or(line.len(), |n| at + n);
    (&line[at..end], end)
}

/// Behind the quote that ends what `at` is in; the end of the line where none does.
fn behind_quotes(line: &[u8], mut at: usize) -> usize {
    while let Some(found) = line.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        if line[at + found] == b'"' {
            return at + found + 1;
        }
        at += found + 2;
    }
    line.len()
}
