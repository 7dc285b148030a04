//! JSON paths (RFC 9535) as people write them, without the leading `$.`.
//!
//! Enters: `events[?@.ok == true].domain`, `odd-key.0x`, `'odd key'.x`, `$`. Leaves: two queries: the whole, and, where
//! the path can give several values, the elements and what is looked up in each. A name that the standard wants in
//! brackets because it holds a `-` or the like may be written plain.
//!
//! What a document of many values could make slow is refused when the text is read: more than one `..`, one within a
//! filter, `$` within a filter but for a plain path, and the functions `match` and `search`, which compile an expression
//! for each element (`matches` does it once). So a look costs at most the size of the document times its depth.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::Value;
use serde_json_path::JsonPath;

use super::Wrong;

/// The most values that one path may give; more is a failure, not a cut.
pub const MAX_ELEMENTS: usize = 10_000;

/// How deep brackets may be nested in a path.
const MAX_BRACKETS: usize = 8;

/// A path that was read.
#[derive(Clone, Debug)]
pub(super) struct Path {
    /// As it was written, without `$.` in front.
    pub(super) text: String,
    whole: JsonPath,
    /// The elements, and what is looked up in each; only where the path can give several values.
    split: Option<(JsonPath, JsonPath)>,
}

/// One step of a path, as the standard writes it.
struct Segment {
    text: String,
    is_plural: bool,
}

const HELP: &str = "a path is JSONPath without its leading `$.`: items[0].name";

impl Path {
    /// Reads a path; the ranges of errors count from its start.
    pub(super) fn parse(text: &str) -> Result<Path, Wrong> {
        let segments = Walk { text, at: 0 }.segments()?;
        let join = |segments: &[Segment]| segments.iter().fold("$".to_string(), |path, s| path + &s.text);
        let parse = |path: &str| {
            JsonPath::parse(path).map_err(|e| {
                let why = e.message().lines().next().unwrap_or_default().to_string();
                wrong(0..text.len(), format!("this is no path: {why}"), HELP)
            })
        };
        let whole = parse(&join(&segments))?;
        let split = match segments.iter().rposition(|s| s.is_plural) {
            Some(last) => Some((parse(&join(&segments[..=last]))?, parse(&join(&segments[last + 1..]))?)),
            None => None,
        };
        let text = text.strip_prefix("$.").unwrap_or(text).to_string();
        Ok(Path { text, whole, split })
    }

    /// Whether it can give several values.
    pub(super) fn is_plural(&self) -> bool {
        self.split.is_some()
    }

    /// Every value that it gives.
    ///
    /// # Errors
    /// When there are more than [`MAX_ELEMENTS`].
    pub(super) fn all<'v>(&self, document: &'v Value) -> Result<Vec<&'v Value>, String> {
        bounded(self.whole.query(document).all())
    }

    /// For each element what stands at the rest of the path in it; without elements to tell apart, every value.
    ///
    /// # Errors
    /// When there are more than [`MAX_ELEMENTS`].
    pub(super) fn elements<'v>(&self, document: &'v Value) -> Result<Vec<Option<&'v Value>>, String> {
        let Some((elements, rest)) = &self.split else {
            return Ok(self.all(document)?.into_iter().map(Some).collect());
        };
        let elements = bounded(elements.query(document).all())?;
        Ok(elements.into_iter().map(|element| rest.query(element).all().into_iter().next()).collect())
    }
}

fn bounded(all: Vec<&Value>) -> Result<Vec<&Value>, String> {
    if all.len() > MAX_ELEMENTS {
        return Err(format!("saw more than {MAX_ELEMENTS} values"));
    }
    Ok(all)
}

fn wrong(range: Range<usize>, what: impl Into<String>, help: impl Into<String>) -> Wrong {
    Wrong { range, what: what.into(), help: help.into() }
}

/// A walk over the text of a path.
struct Walk<'t> {
    text: &'t str,
    at: usize,
}

impl Walk<'_> {
    fn segments(&mut self) -> Result<Vec<Segment>, Wrong> {
        let bytes = self.text.as_bytes();
        let (mut segments, mut n_descents) = (Vec::new(), 0);
        if self.text.starts_with('$') {
            self.at = 1;
        } else if !self.text.starts_with(['.', '[']) {
            segments.push(self.name("")?);
        }
        while let Some(byte) = bytes.get(self.at) {
            let descends = self.text[self.at..].starts_with("..");
            n_descents += usize::from(descends);
            if n_descents > 1 {
                let help = "name the steps between: a..b[*].c";
                return Err(wrong(self.at..self.text.len(), "a path has one `..` at most", help));
            }
            let start = self.at;
            segments.push(match byte {
                b'.' => {
                    self.at += if descends { 2 } else { 1 };
                    let dots = if descends { ".." } else { "" };
                    let is_bracket = bytes.get(self.at) == Some(&b'[');
                    if is_bracket && !descends {
                        return Err(wrong(start..self.at + 1, "this is no path: `.` before `[`", HELP));
                    }
                    if is_bracket { self.bracket(dots)? } else { self.name(dots)? }
                }
                b'[' => self.bracket("")?,
                _ => return Err(wrong(start..self.text.len(), "this is no path: a `.` or `[` is missing", HELP)),
            });
        }
        Ok(segments)
    }

    /// A name up to the next step, or in quotes, or `*`.
    fn name(&mut self, dots: &str) -> Result<Segment, Wrong> {
        let start = self.at;
        let name: Cow<'_, str> = match self.text.as_bytes().get(start) {
            Some(quote @ (b'"' | b'\'')) => {
                let end = self.quoted(*quote)?;
                return Ok(Segment {
                    text: format!("{dots}[{}]", &self.text[start..end]),
                    is_plural: !dots.is_empty(),
                });
            }
            _ => {
                let rest = &self.text[start..];
                self.at += rest.find(['.', '[']).unwrap_or(rest.len());
                rest[..self.at - start].into()
            }
        };
        match &*name {
            "" => Err(wrong(start..self.text.len(), "this is no path: a name is missing", HELP)),
            "*" => Ok(Segment { text: format!("{dots}[*]"), is_plural: true }),
            number if number.bytes().all(|b| b.is_ascii_digit()) => {
                let help = format!("an element of a list is written [{number}], a key ['{number}']");
                Err(wrong(start..self.at, format!("`{number}` is no name"), help))
            }
            odd if odd.contains(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-' || !c.is_ascii())) => Err(
                wrong(start..self.at, format!("this is no path: `{odd}`"), "other names stand in brackets: ['a b']"),
            ),
            name => Ok(Segment { text: format!("{dots}['{name}']"), is_plural: !dots.is_empty() }),
        }
    }

    /// A bracket with all that stands in it.
    fn bracket(&mut self, dots: &str) -> Result<Segment, Wrong> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let (mut depth, mut is_plural, mut filter) = (0usize, false, None);
        while let Some(&byte) = bytes.get(self.at) {
            match byte {
                b'\'' | b'"' => {
                    self.quoted(byte)?;
                    continue;
                }
                b'[' | b'(' => depth += 1,
                b']' | b')' => depth -= 1,
                b'*' | b',' | b':' if depth == 1 => is_plural = true,
                b'?' if depth == 1 => {
                    is_plural = true;
                    filter.get_or_insert(self.at);
                }
                _ => {}
            }
            if depth > MAX_BRACKETS {
                return Err(wrong(
                    start..self.at + 1,
                    format!("more than {MAX_BRACKETS} brackets in one another"),
                    HELP,
                ));
            }
            self.at += 1;
            if depth == 0 {
                if let Some(from) = filter {
                    self.filter(from..self.at - 1)?;
                }
                let text = format!("{dots}{}", &self.text[start..self.at]);
                return Ok(Segment { text, is_plural: is_plural || !dots.is_empty() });
            }
        }
        Err(wrong(start..self.text.len(), "this is no path: the bracket does not end", HELP))
    }

    /// Refuses what would cost more than the size of the document.
    fn filter(&self, range: Range<usize>) -> Result<(), Wrong> {
        let plain = without_texts(&self.text[range.clone()]);
        let refuse = |what: &str, help: &str| Err(wrong(range.clone(), what, help));
        if plain.contains("..") {
            return refuse("a filter holds no `..`", "name the steps: [?@.state.ok == true]");
        }
        for function in ["match", "search"] {
            if plain.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == function) {
                let help = "write it behind the path: any json items[*].name matches '^a'";
                return refuse(&format!("`{function}` is not available in a filter"), help);
            }
        }
        if plain.contains('$') && plain.contains(['*', ':', ','])
            || plain.matches('?').count() > 1 && plain.contains('$')
        {
            return refuse("a filter compares with a plain `$` path only", "for example: [?@.id == $.current]");
        }
        Ok(())
    }

    /// Steps over a text in quotes; its end.
    fn quoted(&mut self, quote: u8) -> Result<usize, Wrong> {
        let start = self.at;
        match end_of_text(self.text.as_bytes(), start, quote) {
            Some(end) => {
                self.at = end;
                Ok(end)
            }
            None => Err(wrong(start..self.text.len(), "the quote does not end", HELP)),
        }
    }
}

/// Behind the text in quotes that begins at `start`; a backslash hides what follows it.
pub(super) fn end_of_text(bytes: &[u8], start: usize, quote: u8) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'\\' => at += 2,
            byte if *byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// A filter without the texts in it.
fn without_texts(filter: &str) -> String {
    let bytes = filter.as_bytes();
    let (mut plain, mut at) = (String::new(), 0);
    while let Some(c) = filter[at..].chars().next() {
        match c {
            '\'' | '"' => at = end_of_text(bytes, at, c as u8).unwrap_or(filter.len()).min(filter.len()),
            c => {
                plain.push(c);
                at += c.len_utf8();
            }
        }
    }
    plain
}
