//! Secrets in lines: which there are, and lines without them.
//!
//! Enters: the text of a line, or of an event of several. Leaves: the same text with every value that looks like a secret
//! replaced by `***`. Finding and hiding differ on purpose. [`PATTERNS`] raise alarms, so they leave out what may be harmless; [`hide`] stands in front of everything that is
//! shown or kept, so it hides what may be a secret. It never fails: where values remain after a few passes, the whole text is
//! hidden.

mod patterns;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use regex::bytes::{Regex, RegexBuilder};

pub use patterns::{COSTLY, PATTERNS};

/// What stands for a hidden value.
const HIDDEN: &str = "***";

/// How often a text is gone over before the whole of it is hidden: taking values out may join what was apart.
const MAX_PASSES: usize = 4;

/// The lengths of a whole line of base64 that may belong to a key, in bytes: RFC 7468 writes 64, OpenSSH 70, MIME 76.
const KEY_LINE: Range<usize> = 60..81;

/// The text with `***` in place of every value that may be a secret; keys and everything else stay. What is hidden already
/// stays as it is, so hiding twice changes nothing.
pub fn hide(text: &str) -> Cow<'_, str> {
    let mut hidden = hide_key_lines(text);
    for _ in 0..MAX_PASSES {
        let spans = values(&hidden);
        if spans.is_empty() {
            return hidden;
        }
        hidden = Cow::Owned(hide_key_lines(&without(&hidden, &spans)).into_owned());
    }
    if values(&hidden).is_empty() { hidden } else { Cow::Borrowed(HIDDEN) }
}

/// One regular expression, and all of them as one that only says whether to look closer.
struct Rules {
    any: Regex,
    each: Vec<Regex>,
}

impl Rules {
    fn of_all() -> Option<Rules> {
        let all = || patterns::HIDDEN.iter().copied().chain(PATTERNS.iter().map(|(_, p)| *p)).chain([COSTLY.1]);
        let any = all().map(|p| format!("(?:{p})")).collect::<Vec<_>>().join("|");
        let build = |p: &str| RegexBuilder::new(p).unicode(false).size_limit(64 << 20).build().ok();
        Some(Rules { any: build(&any)?, each: all().map(build).collect::<Option<_>>()? })
    }
}

/// Where the values stand: sorted, apart from each other, at borders of characters.
fn values(text: &str) -> Vec<Range<usize>> {
    static RULES: LazyLock<Option<Rules>> = LazyLock::new(Rules::of_all);
    // All are constants that a test compiles; without them nothing is shown.
    let Some(rules) = &*RULES else { return std::iter::once(0..text.len()).collect() };
    let bytes = text.as_bytes();
    if !rules.any.is_match(bytes) {
        return Vec::new();
    }
    let mut spans = Vec::new();
    for rule in &rules.each {
        for found in rule.captures_iter(bytes) {
            spans.extend(found.iter().skip(1).flatten().next().map(|value| value.range()));
        }
    }
    spans.sort_by_key(|span| (span.start, span.end));
    let mut apart: Vec<Range<usize>> = Vec::with_capacity(spans.len());
    for span in spans.into_iter().map(|span| text.floor_char_boundary(span.start)..text.ceil_char_boundary(span.end)) {
        match apart.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => apart.push(span),
        }
    }
    apart
}

fn without(text: &str, spans: &[Range<usize>]) -> String {
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    for span in spans {
        out.push_str(&text[at..span.start]);
        out.push_str(HIDDEN);
        at = span.end;
    }
    out.push_str(&text[at..]);
    out
}

/// Hides the lines of a key: those behind its beginning, and any that alone looks like one of them, since a log that is read
/// line by line shows them apart.
fn hide_key_lines(text: &str) -> Cow<'_, str> {
    let mut inside = false;
    let mut lines = Vec::new();
    let mut changed = false;
    for line in text.split('\n') {
        let bare = line.trim();
        if bare.contains("-----END") {
            inside = false;
        }
        if bare != HIDDEN && !bare.is_empty() && (inside || is_key_line(bare)) {
            lines.push(HIDDEN);
            changed = true;
        } else {
            lines.push(line);
        }
        // On one line with its end, as JSON writes it, there is nothing behind it.
        if bare.contains("PRIVATE KEY-----") && !bare.contains("-----END") {
            inside = true;
        }
    }
    if changed { Cow::Owned(lines.join("\n")) } else { Cow::Borrowed(text) }
}

fn is_key_line(line: &str) -> bool {
    let has = |of: fn(&u8) -> bool| line.as_bytes().iter().any(of);
    KEY_LINE.contains(&line.len())
        && line.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='))
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_digit)
}
