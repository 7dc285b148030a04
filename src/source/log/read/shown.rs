//! The text of an event as evidence: harmless on a terminal, in a page and in a message, without secrets, and short.
//!
//! First escapes and control characters go, because one could hide a secret from what looks for it. Then secrets are hidden,
//! in whole lines. Only then it is shortened, so that no half of a secret is left that nothing recognizes.

use regex::bytes::Regex;

use super::Redact;
use super::head::behind_escape;
use crate::base::Exhibit;

/// The most lines that are shown of an event.
const MAX_LINES: usize = 20;

/// How much of an event is looked at for secrets, in bytes; more than is ever shown.
const MAX_LOOK: usize = 16 << 10;

/// Where more is left out than was looked at, this much before the cut may be half of a secret, in bytes.
const MAX_SECRET: usize = 4 << 10;

/// The text of an event: `secrets` are those that match in it, hidden even where `redact` does not know them.
pub(super) fn text(event: &[u8], secrets: &[(&str, &Regex)], redact: &Redact) -> String {
    let part = &event[..event.len().min(MAX_LOOK)];
    let mut text = String::new();
    for line in part.split(|b| *b == b'\n').filter(|line| !line.trim_ascii().is_empty()).take(MAX_LINES) {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&hidden(line, secrets));
    }
    let mut text = redact(&text);
    if event.len() > part.len() {
        // What is hidden may be shorter than what it hides.
        let sure = text.len().saturating_sub(MAX_SECRET);
        text.truncate(border(&text, sure));
        text.push('…');
    }
    if text.len() > Exhibit::MAX_TEXT {
        text.truncate(border(&text, Exhibit::MAX_TEXT - '…'.len_utf8()));
        text.push('…');
    }
    text
}

/// A line that is harmless, with the secrets that are known by their patterns hidden.
fn hidden(line: &[u8], secrets: &[(&str, &Regex)]) -> String {
    let mut clean = harmless(line);
    for (name, regex) in secrets {
        let replaced = regex.replace_all(clean.as_bytes(), regex::bytes::NoExpand(b"***")).into_owned();
        let is_in = regex.is_match(line.strip_suffix(b"\r").unwrap_or(line));
        if is_in && replaced == clean.as_bytes() {
            // It is in there, and cannot be pointed at any more.
            return format!("(a line with {name})");
        }
        clean = String::from_utf8_lossy(&replaced).into_owned();
    }
    clean
}

/// Text without escapes; control characters, and those that turn text around, become `\u{fffd}`, a tab a space.
fn harmless(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut bytes = Vec::with_capacity(line.len());
    let mut at = 0;
    while at < line.len() {
        if line[at] == 0x1b {
            at = behind_escape(line, at);
        } else {
            bytes.push(line[at]);
            at += 1;
        }
    }
    let is_harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let clean = |c: char| match c {
        '\t' => ' ',
        c if is_harmful(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    String::from_utf8_lossy(&bytes).chars().map(clean).collect()
}

/// The border of a character at `at` or before.
fn border(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}
