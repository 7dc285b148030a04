//! The parser of expectations.

use std::ops::Range;

use regex::{Regex, RegexBuilder};

use super::clause::{Clause, Literal, OPERATORS, Operator, PREFIXES, Prefix, Subject, TYPES, Takes, Test, WORDS};
use super::item::moment;
use super::path::{Path, end_of_text};
use super::version::Version;
use super::{Kind, MAX_REGEX, MAX_TEXT, Wrong};
use crate::base::table::nearest;
use crate::base::{Quantity, Unit};

/// Reads the whole text: an expectation with its test, or a value without.
pub(super) fn clause(text: &str, kind: Kind, with_test: bool) -> Result<Clause, Wrong> {
    if text.len() > MAX_TEXT {
        return Err(wrong(
            0..text.len(),
            format!("this is longer than {MAX_TEXT} bytes"),
            "one subject, one condition",
        ));
    }
    Parser { text, at: 0, kind, time: "s" }.clause(with_test)
}

const CONDITIONS: &str = "== != > >= < <= in […] matches '…' contains \"…\" starts with \"…\" ends with \"…\" \
                          is TYPE exists missing; `not` before in, matches, contains, starts, ends and is";

/// What stands between `not` and nothing else.
const NEGATABLE: &str = "`not` stands before in, matches, contains, starts with, ends with and is";

struct Parser<'t> {
    text: &'t str,
    at: usize,
    kind: Kind,
    /// The unit of time that is proposed for the subject.
    time: &'static str,
}

impl<'t> Parser<'t> {
    fn clause(&mut self, with_test: bool) -> Result<Clause, Wrong> {
        let prefix = self.prefix();
        self.blank();
        let start = self.at;
        let subject = self.subject()?;
        self.check_prefix(prefix, &subject, start..self.at)?;
        self.blank();
        let counts = matches!(prefix, Some(Prefix::Every | Prefix::Any | Prefix::None | Prefix::Share));
        self.time = match subject {
            Subject::Cert => "d",
            Subject::Age => "h",
            _ => "s",
        };
        let takes = if prefix == Some(Prefix::Len) { Takes::Bytes } else { subject.takes() };
        let tests = (with_test || counts) && takes != Takes::Nothing;
        let test = if tests { Some(self.test(takes)?) } else { None };
        self.blank();
        let limit = if with_test && prefix == Some(Prefix::Share) { Some(self.limit()?) } else { None };
        self.blank();
        if self.at < self.text.len() {
            let help =
                if with_test { "one subject, one condition" } else { "a value is an expectation without its operator" };
            return Err(wrong(self.rest(), "nothing more was expected here", help));
        }
        Ok(Clause { text: self.text.trim().to_string(), prefix, subject, test, limit })
    }

    fn prefix(&mut self) -> Option<Prefix> {
        self.blank();
        let start = self.at;
        let (_, word) = self.word();
        let found = PREFIXES.iter().find(|(name, _)| *name == word).map(|(_, prefix)| *prefix);
        if found.is_none() {
            self.at = start;
        }
        found
    }

    fn check_prefix(&self, prefix: Option<Prefix>, subject: &Subject, range: Range<usize>) -> Result<(), Wrong> {
        let is_plural = matches!(subject, Subject::Json(path) if path.is_plural());
        match prefix {
            None => Ok(()),
            Some(Prefix::Len) if matches!(subject.takes(), Takes::Text | Takes::Json) => Ok(()),
            Some(Prefix::Len) => Err(wrong(range, "this has no length", "for example: len body > 200")),
            Some(_) if is_plural => Ok(()),
            Some(_) => {
                let help = "for example: every json events[*].domain == \"sensor\"";
                Err(wrong(range, "this is one value, and nothing to count", help))
            }
        }
    }

    fn subject(&mut self) -> Result<Subject, Wrong> {
        self.blank();
        let (range, word) = self.word();
        let known = self.kind.subjects();
        let help = || known.join(", ");
        if word.is_empty() {
            return Err(wrong(self.rest(), "a subject is missing", help()));
        }
        if !known.iter().any(|subject| subject.split(' ').next() == Some(word)) {
            if WORDS.contains(&word) {
                let what = format!("`{word}` is nothing that a source of kind {} sees", self.kind.name());
                return Err(wrong(range, what, help()));
            }
            let words: Vec<&str> = known.iter().filter_map(|subject| subject.split(' ').next()).collect();
            let help = nearest(word, &words).map_or_else(help, |near| format!("did you mean `{near}`?"));
            return Err(wrong(range, format!("`{word}` is no subject"), help));
        }
        Ok(match word {
            "status" => Subject::Status,
            "time" => Subject::Time,
            "header" => self.header()?,
            "cert" => Subject::Cert,
            "json" => self.path().map(Subject::Json)?,
            "body" => Subject::Body,
            "exit" => Subject::Exit,
            "text" => Subject::Text,
            "number" => self.number()?,
            "version" => Subject::Version { finder: finder(VERSION)? },
            "exists" => Subject::Exists,
            "missing" => Subject::Missing,
            "writable" => Subject::Writable,
            "age" => Subject::Age,
            "size" => Subject::Size,
            "mode" => Subject::Mode,
            "open" => Subject::Open,
            "closed" => Subject::Closed,
            _ => Subject::Banner,
        })
    }

    fn header(&mut self) -> Result<Subject, Wrong> {
        self.blank();
        let start = self.at;
        self.skip(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        let name = self.text[start..self.at].to_ascii_lowercase();
        if name.is_empty() {
            return Err(wrong(self.rest(), "the name of a header is missing", "for example: header Location missing"));
        }
        Ok(Subject::Header(name))
    }

    /// `number`, or `number NAME`: a name is whatever is neither an operator nor the word of a condition.
    fn number(&mut self) -> Result<Subject, Wrong> {
        const OWN: [&str; 9] = ["in", "not", "matches", "contains", "starts", "ends", "is", "exists", "missing"];
        self.blank();
        let start = self.at;
        if self.text[start..].starts_with(['"', '\'']) {
            let (_, name) = self.quoted("number \"a name\" < 5")?;
            return self.named(Some(&name));
        }
        self.skip(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':' | '%'));
        match &self.text[start..self.at] {
            "" => self.named(None),
            word if OWN.contains(&word) => {
                self.at = start;
                self.named(None)
            }
            name => self.named(Some(name)),
        }
    }

    /// A posted result has keys, so no text is searched.
    fn named(&self, name: Option<&str>) -> Result<Subject, Wrong> {
        let expression = match name {
            None => format!("(?:^|[^\\w.+-]){NUMBER}"),
            Some(name) => format!("(?:^|[^\\w.-]){}[\"']?\\s*[=:]?\\s*{NUMBER}", regex::escape(name)),
        };
        let finder = if self.kind == Kind::Signal { None } else { Some(finder(&expression)?) };
        Ok(Subject::Number { name: name.map(str::to_string), finder })
    }

    /// A path ends at the first blank or operator outside of its brackets and quotes.
    fn path(&mut self) -> Result<Path, Wrong> {
        self.blank();
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut depth = 0usize;
        while let Some(&byte) = bytes.get(self.at) {
            match byte {
                b'\'' | b'"' => {
                    self.at = end_of_text(bytes, self.at, byte).unwrap_or(bytes.len());
                    continue;
                }
                b'[' => depth += 1,
                b']' => depth = depth.saturating_sub(1),
                b' ' | b'\t' | b'\r' | b'\n' | b'=' | b'!' | b'<' | b'>' if depth == 0 => break,
                _ => {}
            }
            self.at += 1;
        }
        let text = &self.text[start..self.at];
        if text.is_empty() {
            let help = "for example: json databases.sqlite == \"connected\"; `$` is the whole";
            return Err(wrong(self.rest(), "a path is missing", help));
        }
        Path::parse(text)
            .map_err(|bad| Wrong { range: start + bad.range.start..start + bad.range.end.min(text.len()), ..bad })
    }

    fn test(&mut self, takes: Takes) -> Result<Test, Wrong> {
        self.blank();
        if let Some(operator) = self.operator() {
            return self.comparison(operator, takes);
        }
        let start = self.at;
        let (range, word) = self.word();
        if word != "not" {
            return self.condition(range, word, takes);
        }
        self.blank();
        let (range, word) = self.word();
        if ["in", "matches", "contains", "starts", "ends", "is"].contains(&word) {
            return Ok(Test::Not(Box::new(self.condition(range, word, takes)?)));
        }
        Err(wrong(start..self.at.max(start), "`not` negates no such condition", NEGATABLE))
    }

    fn comparison(&mut self, operator: Operator, takes: Takes) -> Result<Test, Wrong> {
        let (range, literal) = self.literal(takes)?;
        if matches!(operator, Operator::Equal | Operator::Unequal) {
            return Ok(Test::Compare(operator, literal));
        }
        match literal {
            Literal::Text(text) => match moment(&text) {
                Some(seconds) => Ok(Test::Compare(operator, Literal::Number(seconds, Unit::Count))),
                None => Err(wrong(range, "only numbers and times are more or less", "for example: > 200")),
            },
            Literal::Bool(_) | Literal::Null => {
                Err(wrong(range, "only numbers and times are more or less", "for example: > 200"))
            }
            Literal::Class(_) => Err(wrong(range, "a class is met or not", "for example: status == 2xx")),
            literal => Ok(Test::Compare(operator, literal)),
        }
    }

    fn condition(&mut self, range: Range<usize>, word: &str, takes: Takes) -> Result<Test, Wrong> {
        let is_text = matches!(takes, Takes::Text | Takes::Json | Takes::Version);
        if ["matches", "contains", "starts", "ends", "is"].contains(&word) && !is_text {
            return Err(wrong(range, format!("`{word}` judges texts, and this is a number"), "== != > >= < <= in […]"));
        }
        match word {
            "in" => self.list(takes).map(Test::In),
            "matches" => self.regex().map(Test::Matches),
            "contains" => match self.literal(Takes::Json)? {
                (range, Literal::Number(..) | Literal::Bool(_) | Literal::Null) if takes != Takes::Json => {
                    Err(wrong(range, "a text contains a text", "for example: contains \"ok\""))
                }
                (range, Literal::Now(_)) => {
                    Err(wrong(range, "this is nothing to contain", "for example: contains \"ok\""))
                }
                (_, literal) => Ok(Test::Contains(literal)),
            },
            "starts" => self.with().map(Test::StartsWith),
            "ends" => self.with().map(Test::EndsWith),
            "is" => self.kind_of_value(),
            "exists" => Ok(Test::Exists),
            "missing" => Ok(Test::Missing),
            "" if self.at == self.text.len() => Err(wrong(self.rest(), "a condition is missing", CONDITIONS)),
            "" if self.text[self.at..].starts_with('=') => Err(wrong(
                self.rest(),
                "this is no condition",
                "`==` compares; `>=` and `<=` begin with the other sign",
            )),
            "" => Err(wrong(self.rest(), "this is no condition", CONDITIONS)),
            other => Err(wrong(range, format!("`{other}` is no condition"), CONDITIONS)),
        }
    }

    fn regex(&mut self) -> Result<Regex, Wrong> {
        let (range, text) = self.quoted("matches 'RE'")?;
        RegexBuilder::new(&text).size_limit(MAX_REGEX).dfa_size_limit(MAX_REGEX).nest_limit(50).build().map_err(|e| {
            let why = e.to_string();
            wrong(range, "this is no regular expression", why.lines().last().unwrap_or_default())
        })
    }

    /// `with "…"`, behind `starts` and `ends`.
    fn with(&mut self) -> Result<String, Wrong> {
        self.blank();
        let (range, word) = self.word();
        if word != "with" {
            return Err(wrong(range, "`with` is missing", "for example: starts with \"v2\""));
        }
        self.quoted("starts with \"v2\"").map(|(_, text)| text)
    }

    fn limit(&mut self) -> Result<(Operator, f64), Wrong> {
        const HELP: &str = "for example: share json items[*].ok == true >= 95%";
        let Some(operator) = self.operator() else {
            return Err(wrong(self.rest(), "a share is held against a limit", HELP));
        };
        let (range, text) = self.bare();
        match Quantity::parse(text) {
            Ok(Quantity { value, unit: Unit::Ratio | Unit::Count }) if (0.0..=1.0).contains(&value) => {
                Ok((operator, value))
            }
            _ => Err(wrong(range, "this is no share", HELP)),
        }
    }

    fn operator(&mut self) -> Option<Operator> {
        self.blank();
        let rest = &self.text[self.at..];
        let (text, operator) = OPERATORS.iter().find(|(text, _)| rest.starts_with(text))?;
        self.at += text.len();
        Some(*operator)
    }

    fn list(&mut self, takes: Takes) -> Result<Vec<Literal>, Wrong> {
        const HELP: &str = "for example: in [200, 204]";
        self.blank();
        if !self.take('[') {
            return Err(wrong(self.rest(), "a list is missing", HELP));
        }
        let mut all = Vec::new();
        loop {
            all.push(self.literal(takes)?.1);
            self.blank();
            if self.take(']') {
                return Ok(all);
            }
            if !self.take(',') {
                return Err(wrong(self.rest(), "`,` or `]` is missing", HELP));
            }
        }
    }

    fn literal(&mut self, takes: Takes) -> Result<(Range<usize>, Literal), Wrong> {
        self.blank();
        if self.text[self.at..].starts_with(['"', '\'']) {
            let (range, text) = self.quoted("\"…\"")?;
            return match takes {
                Takes::Text | Takes::Json => Ok((range, Literal::Text(text))),
                Takes::Version => {
                    let literal = version(&text).map_err(|(what, help)| wrong(range.clone(), what, help))?;
                    Ok((range, literal))
                }
                _ => Err(wrong(range, "this is compared with a number", "write it without quotes")),
            };
        }
        let (range, text) = self.bare();
        if text.is_empty() {
            return Err(wrong(self.rest(), "a value is missing", "a number, \"a text\", true, false or null"));
        }
        if text == "now" && matches!(takes, Takes::Text | Takes::Json) {
            let offset = self.offset()?;
            return Ok((range.start..self.at, Literal::Now(offset)));
        }
        let literal = match takes {
            Takes::Status => status(text),
            Takes::Mode => mode(text),
            Takes::Version => version(text),
            _ => {
                self.check_blank(&range, text)?;
                number(text, takes, self.time)
            }
        };
        literal.map(|literal| (range.clone(), literal)).map_err(|(what, help)| wrong(range, what, help))
    }

    /// A unit stands directly behind its number.
    fn check_blank(&self, range: &Range<usize>, number: &str) -> Result<(), Wrong> {
        let behind = &self.text[self.at..];
        let unit = behind.trim_start();
        let start = self.at + behind.len() - unit.len();
        let unit = &unit[..unit.find(|c: char| c.is_whitespace() || matches!(c, ',' | ']')).unwrap_or(unit.len())];
        let is_plain = matches!(Quantity::parse(number), Ok(Quantity { unit: Unit::Count, .. }));
        if unit.is_empty() || start == self.at || !is_plain {
            return Ok(());
        }
        let help = match (Quantity::parse(&format!("{number}{unit}")), size_units(number, unit)) {
            (Ok(_), _) => format!("write {number}{unit} without a blank"),
            (Err(_), Some(sizes)) => sizes,
            (Err(_), None) => return Ok(()),
        };
        Err(wrong(range.start..start + unit.len(), "a blank stands before the unit", help))
    }

    /// `- 5m` or `+ 1h` behind `now`, in seconds.
    fn offset(&mut self) -> Result<f64, Wrong> {
        let start = self.at;
        self.blank();
        let sign = match () {
            () if self.take('-') => -1.0,
            () if self.take('+') => 1.0,
            () => {
                self.at = start;
                return Ok(0.0);
            }
        };
        let (range, text) = self.bare();
        match Quantity::parse(text) {
            Ok(Quantity { value, unit: Unit::Seconds }) if value >= 0.0 => Ok(sign * value),
            _ => Err(wrong(range, "this is no duration", "for example: now - 5m")),
        }
    }

    fn kind_of_value(&mut self) -> Result<Test, Wrong> {
        self.blank();
        let (range, mut word) = self.word();
        let is_not = word == "not";
        let mut range = range;
        if is_not {
            self.blank();
            (range, word) = self.word();
        }
        let help = "string, number, integer, boolean, array, object, null, time or empty";
        let Some((_, kind)) = TYPES.iter().find(|(name, _)| *name == word) else {
            return Err(wrong(range, format!("`{word}` is no type"), help));
        };
        let test = Test::Is(*kind);
        Ok(if is_not { Test::Not(Box::new(test)) } else { test })
    }

    /// A text in quotes. Within `"…"` a backslash hides a quote or a backslash; within `'…'` nothing is hidden.
    fn quoted(&mut self, example: &str) -> Result<(Range<usize>, String), Wrong> {
        self.blank();
        let start = self.at;
        let mut chars = self.text[start..].char_indices();
        let Some((_, quote @ ('"' | '\''))) = chars.next() else {
            return Err(wrong(self.rest(), "a text in quotes is missing", format!("for example: {example}")));
        };
        let mut text = String::new();
        while let Some((i, c)) = chars.next() {
            if c == quote {
                self.at = start + i + c.len_utf8();
                return Ok((start..self.at, text));
            }
            match (quote, c, chars.clone().next()) {
                ('"', '\\', Some((_, next @ ('"' | '\\')))) => {
                    text.push(next);
                    chars.next();
                }
                _ => text.push(c),
            }
        }
        Err(wrong(start..self.text.len(), "the quote does not end", format!("for example: {example}")))
    }

    /// A word of letters.
    fn word(&mut self) -> (Range<usize>, &'t str) {
        let start = self.at;
        self.skip(|c| c.is_alphanumeric() || c == '_');
        (start..self.at, &self.text[start..self.at])
    }

    /// A value without quotes.
    fn bare(&mut self) -> (Range<usize>, &'t str) {
        self.blank();
        let start = self.at;
        self.skip(|c| !c.is_whitespace() && !matches!(c, ',' | ']'));
        (start..self.at, &self.text[start..self.at])
    }

    fn blank(&mut self) {
        self.skip(char::is_whitespace);
    }

    fn take(&mut self, c: char) -> bool {
        let found = self.text[self.at..].starts_with(c);
        self.at += if found { c.len_utf8() } else { 0 };
        found
    }

    fn skip(&mut self, fits: impl Fn(char) -> bool) {
        let rest = &self.text[self.at..];
        self.at += rest.find(|c| !fits(c)).unwrap_or(rest.len());
    }

    fn rest(&self) -> Range<usize> {
        self.at..self.text.len()
    }
}

/// What is wrong with a value, and what to write.
type Bad = (String, String);

fn number(text: &str, takes: Takes, time: &str) -> Result<Literal, Bad> {
    if matches!(takes, Takes::Json | Takes::Text) {
        match text {
            "true" => return Ok(Literal::Bool(true)),
            "false" => return Ok(Literal::Bool(false)),
            "null" => return Ok(Literal::Null),
            _ => {}
        }
    }
    let help = if matches!(takes, Takes::Json | Takes::Text) { "a text stands in quotes: \"…\"" } else { "a number" };
    let quantity = match (Quantity::parse(text), exponent(text)) {
        (Ok(quantity), _) if quantity.value.is_finite() => quantity,
        (_, Some(value)) => Quantity::count(value),
        (Err(why), None) => {
            let unit = &text[Quantity::bad_part(text)];
            let sizes = size_units(text.strip_suffix(unit).unwrap_or_default(), unit);
            return Err((why, sizes.unwrap_or_else(|| help.into())));
        }
        (Ok(_), None) => return Err((format!("`{text}` is too large"), help.into())),
    };
    match (takes, quantity.unit) {
        (Takes::Seconds, Unit::Seconds) | (Takes::Bytes, Unit::Bytes | Unit::Count) | (Takes::Count, Unit::Count) => {}
        (Takes::Seconds, _) => return Err((format!("`{text}` has no unit of time"), proposed(text, quantity, time))),
        (Takes::Bytes, _) => return Err((format!("`{text}` is no size"), "for example: > 200 or > 1MiB".into())),
        (Takes::Count, _) => return Err((format!("`{text}` is no plain number"), "for example: == 0".into())),
        _ => {}
    }
    Ok(Literal::Number(quantity.value, quantity.unit))
}

/// What is written for `1M`, which other programs take.
fn size_units(number: &str, unit: &str) -> Option<String> {
    let letter = match unit {
        "K" | "k" | "Ki" | "kB" | "kb" | "Kb" => "K",
        "M" | "Mi" | "mb" | "Mb" => "M",
        "G" | "g" | "Gi" | "gb" | "Gb" => "G",
        "T" | "t" | "Ti" | "tb" | "Tb" => "T",
        _ => return None,
    };
    Some(format!("write {number}{letter}iB or {number}{letter}B"))
}

/// The duration that was perhaps meant.
fn proposed(text: &str, quantity: Quantity, time: &str) -> String {
    /// Nobody waits this many seconds for an answer.
    const LONG: f64 = 100.0;
    match (quantity.unit, time) {
        (Unit::Count, "s") if quantity.value >= LONG => format!("for example: {text}ms"),
        (Unit::Count, _) => format!("for example: {text}{time}"),
        _ => format!("for example: 14{time}"),
    }
}

/// A number as JSON writes large ones: `1e6`.
fn exponent(text: &str) -> Option<f64> {
    let is_one = text.contains(['e', 'E']) && text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    if is_one { text.parse().ok().filter(|n: &f64| n.is_finite()) } else { None }
}

fn status(text: &str) -> Result<Literal, Bad> {
    let bad = || (format!("`{text}` is no status"), "for example: status == 200, status == 2xx".into());
    match text.as_bytes() {
        [first @ b'1'..=b'9', b'x' | b'X', b'x' | b'X'] => Ok(Literal::Class(u16::from(first - b'0'))),
        digits if digits.len() == 3 && digits.iter().all(u8::is_ascii_digit) => {
            text.parse().map(|n| Literal::Number(n, Unit::Count)).map_err(|_| bad())
        }
        _ => Err(bad()),
    }
}

fn mode(text: &str) -> Result<Literal, Bad> {
    let is_octal =
        (4..=5).contains(&text.len()) && text.starts_with('0') && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    match u32::from_str_radix(text, 8) {
        Ok(mode) if is_octal && mode <= 0o7777 => Ok(Literal::Mode(mode)),
        _ => Err((format!("`{text}` is no mode"), "four octal digits: mode <= 0640".into())),
    }
}

fn version(text: &str) -> Result<Literal, Bad> {
    Version::parse(text)
        .map(Literal::Version)
        .ok_or_else(|| (format!("`{text}` is no version"), "numbers and dots: version >= 3.11".into()))
}

/// The number behind a name or a blank.
const NUMBER: &str = r"([-+]?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)";

/// The first version of a text: numbers with dots between them, or else a lone number.
const VERSION: &str =
    r"(?:^|[^\w.])[vV]?([0-9]+(?:\.[0-9]+)+(?:-[0-9A-Za-z.]+)?(?:\+[0-9A-Za-z.-]+)?)|(?:^|\s)[vV]?([0-9]+)(?:\s|$)";

fn finder(expression: &str) -> Result<Regex, Wrong> {
    RegexBuilder::new(expression).size_limit(MAX_REGEX).build().map_err(|e| wrong(0..0, e.to_string(), ""))
}

fn wrong(range: Range<usize>, what: impl Into<String>, help: impl Into<String>) -> Wrong {
    Wrong { range, what: what.into(), help: help.into() }
}
