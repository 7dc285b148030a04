//! Plain lines: the level stands in the head, behind times, hosts, programs, loggers and brackets.
//!
//! The head is walked token by token, [`HEAD`] bytes at most. What passes as a head: numbers and times, brackets, names with
//! a dot, a dash, a slash or a number in them, pairs of `key=value`, marks such as `-` and `|`, and [`MAX_WORDS`] plain words
//! (a host and a program). What has more plain words is prose, and prose says no level. The first word that is one in its
//! place wins:
//!
//! - in capitals: anywhere in the head, as a whole word (`ERROR`, `[main] WARN`, `app.CRITICAL:`), not in a name (`ERROR_CODE`);
//! - in other letters: between brackets (`[error]`, `[core:error]`), in front of a colon where no plain word stands before it
//!   (`error: it failed`, `sshd[1]: fatal: …`; not `an error: …`), between marks, or right behind a time;
//! - `level=error` in the line, outside quotes, goes before all words; JSON behind a prefix is read as JSON.
//!
//! Besides: `<3>` in front (syslog and systemd), `E0312 10:00:00.1` (glog, klog), the first lines of crashes (`Traceback …`,
//! `thread 'main' panicked at …`, `Exception in thread …`, `ValueError: …`, `fatal error: …`). Escapes that set colours are
//! passed over.

use super::shape::Shape;
use super::{json, time, words};
use crate::source::log::level::Level;

/// How much of a line is its head, in bytes.
pub(super) const HEAD: usize = 128;

/// Plain words that a head may have: a host and a program.
const MAX_WORDS: u32 = 2;

/// What stands before a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Before {
    #[default]
    Start,
    Time,
    Mark,
    Word,
}

/// Where the level stood in a line like those that follow, and how its head was read up to there.
#[derive(Debug, Default)]
pub(super) struct Alike {
    shape: Shape,
    before: Before,
    n_words: u32,
    depth: u32,
}

/// The level in the head of a plain line; unknown where it says none.
pub(super) fn level(line: &[u8]) -> Level {
    let line = without_mark(line);
    of_front(line).unwrap_or_else(|| Walk::new(line).level())
}

/// The same, looked for first where it stood in a line that was like this one.
#[inline]
pub(super) fn level_alike(line: &[u8], alike: &mut Alike) -> Level {
    let line = without_mark(line);
    if let Some(level) = of_front(line) {
        return level;
    }
    if alike.shape.fits(line) {
        let &mut Alike { ref shape, before, n_words, depth } = alike;
        return Walk { at: shape.len(), before, n_words, depth, ..Walk::new(line) }.level();
    }
    let mut walk = Walk::new(line);
    let level = walk.level();
    if walk.has_shape() && alike.shape.learn(line, walk.at) {
        (alike.before, alike.n_words, alike.depth) = (walk.before, walk.n_words, walk.depth);
    }
    level
}

/// Without the mark that says that a file is UTF-8.
#[inline]
fn without_mark(line: &[u8]) -> &[u8] {
    line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)
}

/// The level that the first bytes say, whatever follows.
#[inline]
fn of_front(line: &[u8]) -> Option<Level> {
    match line.first() {
        Some(b'0'..=b'9') => None,
        Some(b'<') => of_priority(line),
        Some(_) => of_first_word(line),
        None => Some(Level::Unknown),
    }
}

/// `<3>` or `<131>`: a severity in front.
fn of_priority(line: &[u8]) -> Option<Level> {
    let digits = line[1..].iter().take(4).take_while(|b| b.is_ascii_digit()).count();
    if !(1..=3).contains(&digits) || line.get(1 + digits) != Some(&b'>') {
        return None;
    }
    let number = line[1..=digits].iter().fold(0u32, |n, digit| n * 10 + u32::from(digit - b'0'));
    (number < 192).then(|| words::of_syslog(number))
}

/// First lines whose first word says it all.
fn of_first_word(line: &[u8]) -> Option<Level> {
    match line[0] {
        b'I' | b'W' | b'E' | b'F' if time::is_klog(line) => words::of_value(&line[..1]),
        b'T' if line.starts_with(b"Traceback (most recent call last)") => Some(Level::Error),
        b't' if is_panic(line) => Some(Level::Fatal),
        b'E' if line.starts_with(b"Exception in thread ") => Some(Level::Error),
        b'U' if line.starts_with(b"Unhandled exception") => Some(Level::Error),
        _ => None,
    }
}

/// `thread 'main' panicked at src/main.rs:1:2:`
fn is_panic(line: &[u8]) -> bool {
    line.starts_with(b"thread '") && memchr::memmem::find(&line[..line.len().min(HEAD)], b" panicked at ").is_some()
}

/// Whether a line begins with the name of an exception: `ValueError: x`, `java.io.IOException`.
pub(super) fn is_exception(line: &[u8]) -> bool {
    let end = line.iter().take(HEAD).position(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'$')));
    let name = &line[..end.unwrap_or(line.len().min(HEAD))];
    let is_ended = match line.get(name.len()) {
        None => true,
        Some(b':') => line.get(name.len() + 1).is_none_or(|b| *b == b' '),
        Some(_) => false,
    };
    let ends = |tail: &[u8]| name.len() > tail.len() && name.ends_with(tail);
    is_ended && (ends(b"Error") || ends(b"Exception"))
}

struct Walk<'l> {
    line: &'l [u8],
    end: usize,
    at: usize,
    before: Before,
    n_words: u32,
    /// Brackets that are open.
    depth: u32,
    /// Whether a word at the cursor says the level.
    is_found: bool,
    /// Whether something was passed that may be read in another way where other digits or another level stand.
    is_loose: bool,
    /// Up to where bytes were looked at besides.
    reach: usize,
}

impl<'l> Walk<'l> {
    #[inline]
    fn new(line: &'l [u8]) -> Walk<'l> {
        let (end, before) = (line.len().min(HEAD), Before::Start);
        Walk { line, end, at: 0, before, n_words: 0, depth: 0, is_found: false, is_loose: false, reach: 0 }
    }

    /// Whether a line that begins with the shape of this one up to the cursor is read in the same way up to there: a word was
    /// found, behind a byte that ends whatever stands before it.
    fn has_shape(&self) -> bool {
        self.is_found
            && !self.is_loose
            && self.at > 0
            && self.reach <= self.at
            && matches!(self.line[self.at - 1], b' ' | b'\t' | b'[' | b'(' | b'|')
    }

    #[inline]
    fn level(&mut self) -> Level {
        while self.at < self.end && self.n_words <= MAX_WORDS {
            match self.line[self.at] {
                b'a'..=b'z' | b'A'..=b'Z' => {
                    if let Some(level) = self.word() {
                        self.is_found = true;
                        return level;
                    }
                }
                b'0'..=b'9' => self.number(),
                b' ' | b'\t' => self.at += 1,
                b'[' | b'(' => {
                    self.depth += 1;
                    self.at += 1;
                }
                b']' | b')' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.mark();
                }
                0x1b => {
                    self.is_loose = true;
                    self.at = behind_escape(self.line, self.at);
                }
                b'{' => match self.json() {
                    Some(level) => return level,
                    None => self.mark(),
                },
                // What is quoted is what somebody said.
                b'"' | b'\'' | b'`' => break,
                // Letters beyond ASCII are words of prose.
                0x80.. => {
                    self.n_words += 1;
                    self.at = self.token_end();
                }
                _ => self.mark(),
            }
        }
        self.of_exception()
    }

    /// Nothing was said; the name of an exception in front says enough.
    fn of_exception(&self) -> Level {
        let is_name = self.line[0].is_ascii_alphabetic() || self.line[0] == b'_';
        if is_name && is_exception(self.line) { Level::Error } else { Level::Unknown }
    }

    fn mark(&mut self) {
        if self.before != Before::Time {
            self.before = Before::Mark;
        }
        self.at += 1;
    }

    fn number(&mut self) {
        let length = time::iso_len(&self.line[self.at..]);
        if length > 0 {
            self.at += length;
            self.before = Before::Time;
            return;
        }
        let begin = self.at;
        // What shows that no date begins here has to be a part of the shape.
        match self.line.get(begin + 3..begin + 5) {
            Some([b, _]) if !b.is_ascii_digit() => self.reach = begin + 4,
            Some([_, b'-' | b'/']) => self.is_loose = true,
            _ => self.reach = begin + 5,
        }
        self.at = self.token_end();
        let is_clock = self.line[begin..self.at].get(2) == Some(&b':');
        self.before = if is_clock { Before::Time } else { Before::Mark };
    }

    /// JSON behind a prefix; whatever else begins like it is no head any more.
    fn json(&self) -> Option<Level> {
        let rest = &self.line[self.at..];
        if rest.get(1) != Some(&b'"') {
            return None;
        }
        let is_whole = self.at > 0 && rest.trim_ascii_end().last() == Some(&b'}');
        let level = if is_whole { json::level(rest).ok().flatten() } else { None };
        Some(level.unwrap_or(Level::Unknown))
    }

    /// The word at the cursor: its level, or nothing, and the cursor is behind its token.
    #[inline]
    fn word(&mut self) -> Option<Level> {
        let begin = self.at;
        let mut end = begin + 1;
        while end < self.line.len() && end - begin < 24 && self.line[end].is_ascii_alphabetic() {
            end += 1;
        }
        let word = &self.line[begin..end];
        if let Some(level) = words::level(word) {
            if self.stands(begin, end) {
                return Some(level);
            }
            self.is_loose = true;
        }
        // `Fatal error: …`, of PHP, Go and C compilers.
        if word.len() == 5 && word.eq_ignore_ascii_case(b"fatal") && self.line[end..].starts_with(b" error:") {
            return Some(Level::Fatal);
        }
        self.pass(begin, end);
        None
    }

    /// Whether the word between `begin` and `end` is one that says the level.
    #[inline]
    fn stands(&self, begin: usize, end: usize) -> bool {
        let line = self.line;
        let byte = |at: usize| line.get(at).copied().unwrap_or(b'\n');
        let (before, next, then) = (if begin == 0 { b' ' } else { line[begin - 1] }, byte(end), byte(end + 1));
        let is_upper = line[begin..end].iter().all(u8::is_ascii_uppercase);
        let is_front = matches!(before, b' ' | b'\t' | b'[' | b'(' | b'<' | b'|' | b':' | b']' | b'>' | b'*' | b'#')
            || begin > 0 && before == b'm' && self.is_behind_escape(begin);
        if is_upper {
            let is_front = is_front || before == b'.' && next == b':' || before == b'/' && self.depth > 0;
            let is_behind = matches!(
                next,
                b' ' | b'\t' | b'\n' | b':' | b'|' | b'[' | b']' | b')' | b'>' | b',' | b';' | b'!' | b'/' | 0x1b
            ) || next == b'-' && !then.is_ascii_alphanumeric();
            // `LOG:` is PostgreSQL's; `CONFIG` and `NOTE` alone are words like others.
            let is_odd = matches!(&line[begin..end], b"LOG" | b"NOTE" | b"FAIL" | b"CONFIG" | b"FINE");
            return is_front && is_behind && (!is_odd || next == b':' || next == b']' || self.before == Before::Time);
        }
        let is_lower = line[begin..end].iter().all(u8::is_ascii_lowercase);
        let word = &line[begin..end];
        if self.depth > 0 {
            let is_front = is_front || before == b'/';
            return is_front
                && matches!(next, b']' | b')' | b'>' | b'/' | b':' | 0x1b)
                && (before != b' ' || self.before != Before::Word)
                && !matches!(word, b"log" | b"config" | b"fail" | b"fine");
        }
        if !is_front || matches!(before, b':' | b'.') || self.before == Before::Word {
            return false;
        }
        if word.eq_ignore_ascii_case(b"fail") || word.eq_ignore_ascii_case(b"note") {
            // .NET's; in other letters a word of test runners.
            return word == b"fail" && begin == 0 && next == b':' && then == b' ';
        }
        if matches!(word.to_ascii_lowercase().as_slice(), b"log" | b"config" | b"fine") {
            return false;
        }
        match next {
            b':' => matches!(then, b' ' | b'\t' | b'\n' | 0x1b),
            b'\t' | b'|' => true,
            b' ' => {
                let is_marked = matches!(then, b'-' | b'|') && matches!(byte(end + 2), b' ' | b'-' | b'|');
                is_marked && self.before != Before::Start || is_lower && self.before == Before::Time
            }
            0x1b => self.before != Before::Start || self.is_behind_escape(begin),
            _ => false,
        }
    }

    /// Whether the byte in front of `begin` ends an escape that sets a colour.
    fn is_behind_escape(&self, begin: usize) -> bool {
        let front = &self.line[begin.saturating_sub(24)..begin];
        memchr::memrchr(0x1b, front).is_some_and(|at| behind_escape(front, at) == front.len())
    }

    /// Passes the token that the word between `begin` and `end` is a part of.
    fn pass(&mut self, begin: usize, end: usize) {
        self.at = end;
        let next = self.line.get(end).copied().unwrap_or(b'\n');
        if matches!(next, b' ' | b'\t' | b'\n' | b',' | b'\'' | b';' | 0x80..) {
            if next >= 0x80 {
                self.at = self.token_end();
            }
            let word = &self.line[begin..end];
            if !is_month(word) && word != b"PHP" && (word.len() > 1 || next >= 0x80) {
                self.n_words += u32::from(self.depth == 0);
                self.before = Before::Word;
            }
            return;
        }
        if matches!(next, b'[' | b']' | b'(' | b')' | b'<' | b'>' | b':' | 0x1b | b'|') {
            // `app[12]:` and `imap(user):`: a program; what follows is looked at by itself.
            self.before = Before::Mark;
            return;
        }
        self.at = self.token_end();
        if self.before != Before::Time {
            self.before = Before::Mark;
        }
    }

    /// Where the token at the cursor ends.
    fn token_end(&self) -> usize {
        let mut at = self.at;
        while at < self.line.len()
            && !matches!(self.line[at], b' ' | b'\t' | b'[' | b']' | b'(' | b')' | b'|' | b'{' | b'"' | 0x1b)
        {
            // `app.CRITICAL:` and `10:00:00,001:ERROR:` end where their word in capitals begins.
            let is_word = matches!(self.line[at], b'.' | b':') && is_upper_word(&self.line[at + 1..]);
            at += 1;
            if is_word {
                break;
            }
        }
        at
    }
}

fn is_upper_word(rest: &[u8]) -> bool {
    let end = rest.iter().take(12).position(|b| !b.is_ascii_uppercase());
    matches!(end, Some(end) if end > 2 && rest[end] == b':')
}

fn is_month(word: &[u8]) -> bool {
    const NAMES: [&[u8; 3]; 19] = [
        b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec", b"Mon", b"Tue",
        b"Wed", b"Thu", b"Fri", b"Sat", b"Sun",
    ];
    word.len() == 3 && NAMES.iter().any(|name| word == *name)
}

/// Behind the escape at `at`.
pub(super) fn behind_escape(line: &[u8], at: usize) -> usize {
    if line.get(at + 1) != Some(&b'[') {
        return (at + 2).min(line.len());
    }
    let end = line[at + 2..].iter().take(32).position(|b| (0x40..=0x7e).contains(b));
    end.map_or(line.len().min(at + 2), |n| at + 2 + n + 1)
}
