//! A line that was seen, as evidence: what an alert shows beside its figures.
//!
//! Two forms of it cross borders: an [`Exhibit`] comes from a source and is kept in memory only; a [`Line`] is what a
//! decision shows of it, short enough to be journaled with the decision and sent with its message.

use serde::{Deserialize, Serialize};

use super::{Span, Timestamp};

/// A line, or an event of a few lines, that matched a pattern or says that something failed. Secrets in it are hidden and
/// control characters are harmless before it comes to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exhibit {
    /// When it was written; when it was read where it does not say.
    pub at: Timestamp,
    /// Where it stood, as people call it: a path, `shop/api (3f2a91c07d21)`, `shop.service`.
    pub place: String,
    /// The label `service` of the series that count it, where its target has several services.
    #[serde(default)]
    pub service: Option<String>,
    /// Its level as in the label: `error`, `unknown`, …
    pub level: String,
    /// The names of the patterns that match it.
    pub patterns: Vec<String>,
    /// The text; at most [`Exhibit::MAX_TEXT`] bytes.
    pub text: String,
}

impl Exhibit {
    /// The longest text, in bytes.
    pub const MAX_TEXT: usize = 1000;
    /// The longest place, and the longest name of a service, a level or a pattern, in bytes.
    pub const MAX_NAME: usize = 200;
    /// The most patterns that are named.
    pub const MAX_PATTERNS: usize = 20;

    /// The same with every part cut to its bound.
    #[must_use]
    pub fn bounded(mut self) -> Exhibit {
        cut(&mut self.text, Exhibit::MAX_TEXT);
        cut(&mut self.place, Exhibit::MAX_NAME);
        cut(&mut self.level, Exhibit::MAX_NAME);
        self.patterns.truncate(Exhibit::MAX_PATTERNS);
        self.patterns.iter_mut().chain(&mut self.service).for_each(|name| cut(name, Exhibit::MAX_NAME));
        self
    }
}

/// A line as a decision shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When it was written; when it was read where it does not say.
    pub at: Timestamp,
    /// Where it stood, as people call it; at most [`Line::MAX_PLACE`] characters.
    pub place: String,
    /// Its level as in the label: `error`, `unknown`, …
    pub level: String,
    /// What it says beside its time and its level; at most [`Line::MAX_TEXT`] characters without control characters.
    pub text: String,
    /// The pattern that counted it; none: it was counted for its level.
    pub pattern: Option<String>,
    /// How many the same pattern or level counted, where that is more than are shown.
    pub like: Option<Like>,
}

/// How many lines a pattern or a level counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Like {
    /// How many, those that are shown included.
    pub count: u64,
    /// Within which time before the decision.
    pub window: Span,
}

impl Line {
    /// The longest text, in characters.
    pub const MAX_TEXT: usize = 200;
    /// The longest place, in characters.
    pub const MAX_PLACE: usize = 80;

    /// What is shown of an exhibit that was counted by `pattern`, or for its level.
    pub fn of(exhibit: &Exhibit, pattern: Option<&str>) -> Line {
        Line {
            at: exhibit.at,
            place: short(&exhibit.place, Line::MAX_PLACE),
            level: short(&exhibit.level, Line::MAX_PLACE),
            text: told(&exhibit.text, &exhibit.level),
            pattern: pattern.map(|name| short(name, Line::MAX_PLACE)),
            like: None,
        }
    }

    /// `shop/api ERROR KeyError: 'total' in /checkout`: all but the time, which is told in the reader's zone.
    pub fn words(&self) -> String {
        let level = if self.level == "unknown" { String::new() } else { self.level.to_uppercase() };
        let parts = [&*self.place, &*level, &*self.text];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }

    /// `41 like it in 5 min`; nothing where no more are known than are shown.
    pub fn counted(&self) -> Option<String> {
        let like = self.like?;
        let count = super::because::whole(like.count as f64);
        let what = match self.pattern {
            Some(_) => "like it".to_string(),
            None => format!("of level {}", self.level),
        };
        Some(format!("{count} {what} in {}", like.window.human()))
    }
}

/// The text of an exhibit as one line: of several, the first and the one that names the cause. What stands in a column of
/// its own, the time and the level, is not said twice.
fn told(text: &str, level: &str) -> String {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let first = body(lines.next().unwrap_or_default(), level);
    // In traces the cause comes last and is not indented: `ValueError: …`, `Caused by: …`.
    match lines.rfind(|line| !line.starts_with(char::is_whitespace)) {
        None => short(first, Line::MAX_TEXT),
        Some(cause) => {
            const BETWEEN: &str = " … ";
            let cause = short(cause, Line::MAX_TEXT / 2);
            let first = short(first, Line::MAX_TEXT - BETWEEN.chars().count() - cause.chars().count());
            format!("{first}{BETWEEN}{cause}")
        }
    }
}

/// A line without the date, the time and the level that it begins with; the whole line where it would be nothing then.
fn body<'a>(line: &'a str, level: &str) -> &'a str {
    let mut rest = line.trim();
    while let Some((_, behind)) = rest.split_once(char::is_whitespace).filter(|(word, _)| is_time(word)) {
        rest = behind.trim_start();
    }
    match rest.split_once(char::is_whitespace) {
        Some((word, behind)) if says_level(word, level) => behind.trim_start(),
        _ => rest,
    }
}

/// `2025-03-12`, `2025-03-12T10:00:00.5Z`, `10:00:00,001`, in brackets or not.
fn is_time(word: &str) -> bool {
    let word = word.trim_matches(['[', ']', '(', ')']).as_bytes();
    let is = |shape: &[u8]| {
        word.len() >= shape.len()
            && shape.iter().zip(word).all(|(wanted, byte)| match wanted {
                b'0' => byte.is_ascii_digit(),
                wanted => wanted == byte,
            })
    };
    is(b"0000-00-00") || is(b"0000/00/00") || is(b"00:00:00")
}

/// `ERROR`, `[error]`, `Err:`: the level's name or what it is shortened to.
fn says_level(word: &str, level: &str) -> bool {
    let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let short = match level {
        "critical" => "crit",
        "error" => "err",
        "warning" => "warn",
        whole => whole,
    };
    word.eq_ignore_ascii_case(level) || word.eq_ignore_ascii_case(short)
}

/// `text` without what would move a terminal's cursor or turn the direction of writing, cut to `max` characters.
fn short(text: &str, max: usize) -> String {
    let is_unfit = |c: char| {
        c.is_control() || matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let clean = |c: char| if is_unfit(c) { ' ' } else { c };
    let text = text.trim();
    if text.chars().nth(max).is_none() {
        return text.chars().map(clean).collect();
    }
    text.chars().take(max - 1).map(clean).chain(['…']).collect()
}

fn cut(text: &mut String, max: usize) {
    text.truncate(text.floor_char_boundary(max));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exhibit(level: &str, text: &str) -> Exhibit {
        Exhibit {
            at: Timestamp(0),
            place: "shop/api".into(),
            service: None,
            level: level.into(),
            patterns: vec![],
            text: text.into(),
        }
    }

    #[test]
    fn a_line_says_time_and_level_once_and_of_a_trace_the_cause() {
        let trace = "ERROR:root:checkout failed\nTraceback (most recent call last):\n  File \"a.py\", line 3\n    x[1]\n\nKeyError: 'total'";
        let causes = "2025-03-12 10:00:00,001 ERROR Servlet failed\n\tat a.b(C.java:1)\nCaused by: java.io.IOException: gone\n\tat d.e(F.java:2)\n\t... 23 more";
        for (level, text, wanted) in [
            ("error", "KeyError: 'total'", "shop/api ERROR KeyError: 'total'"),
            ("error", "2025-03-12 10:00:00,001 ERROR [x] failed", "shop/api ERROR [x] failed"),
            ("error", "[2025-03-12T10:00:00Z] [error] failed", "shop/api ERROR failed"),
            ("warning", "2025/03/12 10:00:00 WARN: slow", "shop/api WARNING slow"),
            ("critical", "CRIT lost", "shop/api CRITICAL lost"),
            ("unknown", "500 errors, 12 of them new", "shop/api 500 errors, 12 of them new"),
            ("warning", "war is over", "shop/api WARNING war is over"),
            ("error", "errors", "shop/api ERROR errors"),
            ("error", "10:00:00", "shop/api ERROR 10:00:00"),
            ("error", "", "shop/api ERROR"),
            ("error", "a\u{1b}[31mb\u{202e}c\r", "shop/api ERROR a [31mb c"),
            ("error", trace, "shop/api ERROR ERROR:root:checkout failed … KeyError: 'total'"),
            ("error", causes, "shop/api ERROR Servlet failed … Caused by: java.io.IOException: gone"),
        ] {
            assert_eq!(Line::of(&exhibit(level, text), None).words(), wanted, "{text:?}");
        }
    }

    #[test]
    fn however_long_an_exhibit_is_it_and_its_line_keep_their_bounds() {
        let long = "ä".repeat(5000);
        let mut exhibit = exhibit(&long, &format!("{long}\n{long}"));
        exhibit.place = long.clone();
        exhibit.service = Some(long.clone());
        exhibit.patterns = vec![long.clone(); 1000];
        let line = Line::of(&exhibit, Some(&long));
        assert_eq!(line.text.chars().count(), Line::MAX_TEXT);
        assert_eq!(line.place.chars().count(), Line::MAX_PLACE);
        let bounded = exhibit.bounded();
        assert_eq!((bounded.text.len(), bounded.place.len(), bounded.patterns.len()), (1000, 200, 20));
        assert!(bounded.patterns.iter().chain(&bounded.service).all(|name| name.len() == 200));
    }

    #[test]
    fn how_many_are_like_it_is_said_of_its_pattern_or_its_level() {
        let like = Some(Like { count: 1041, window: Span::mins(5) });
        let line = |pattern| Line { like, ..Line::of(&exhibit("error", "x"), pattern) };
        assert_eq!(line(Some("oom")).counted().as_deref(), Some("1,041 like it in 5 min"));
        assert_eq!(line(None).counted().as_deref(), Some("1,041 of level error in 5 min"));
        assert_eq!(Line::of(&exhibit("error", "x"), None).counted(), None);
    }
}
