//! Expectations: what an answer must be, in one line of text, and values taken from it.
//!
//! Enters: `status in [200, 204]`, `every json events[*].domain == "sensor"`, `len body > 200`, and an
//! [`Observation`]. Leaves: whether it holds, and what was seen instead; or, for a value, a number. One parser for
//! all, whose errors point into the text. Nothing that is missing ever satisfies: an expectation on a path that is
//! not there fails, and so does `every` over no elements; only `missing` and `none` are content with nothing.
//!
//! With `every`, `any`, `none` and `share` the path is split behind its last part that can give several values
//! (`events[*]`), and what follows (`.domain`) is looked up in each of these: an event without a domain counts as
//! one whose domain is wrong, instead of not counting.

use std::borrow::Cow;
use std::ops::Range;

use regex::Regex;
use serde_json::Value;
use serde_json_path::JsonPath;

use crate::base::{Quantity, Unit};

/// One look at a target, as far as expectations can speak of it.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// The status code.
    pub status: u16,
    /// How long the answer took, in seconds.
    pub seconds: f64,
    /// The body.
    pub body: &'a [u8],
    /// The body as JSON, or why it is none.
    pub json: &'a Result<Value, String>,
    /// The headers.
    pub headers: &'a reqwest::header::HeaderMap,
}

/// A condition on one observation.
#[derive(Clone, Debug)]
pub struct Expectation {
    clause: Clause,
}

/// A number taken from an observation: an expectation without its operator.
#[derive(Clone, Debug)]
pub struct Measure {
    clause: Clause,
}

/// What is wrong with the text of an expectation, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The bytes of the text that are meant.
    pub range: Range<usize>,
    /// What is wrong, as a fragment.
    pub what: String,
    /// What to write.
    pub help: String,
}

impl Expectation {
    /// Parses the text of an expectation.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Expectation, Wrong> {
        let mut parser = Parser { text, at: 0 };
        let clause = parser.clause(true)?;
        Ok(Expectation { clause })
    }

    /// The text as it was written.
    pub fn text(&self) -> &str {
        &self.clause.text
    }

    /// What it speaks of, as the label `expect` has it: `status`, `databases.sqlite`, `header location`.
    pub fn label(&self) -> String {
        self.clause.subject.label()
    }

    /// The reason of the failure when it does not hold: `status`, `time`, `header` or `body`.
    pub fn reason(&self) -> &'static str {
        match self.clause.subject {
            Subject::Status => "status",
            Subject::Time => "time",
            Subject::Header(_) => "header",
            Subject::Json(_) | Subject::Body => "body",
        }
    }

    /// Whether it speaks of the status.
    pub fn is_about_status(&self) -> bool {
        matches!(self.clause.subject, Subject::Status)
    }

    /// Whether it speaks of the body as JSON.
    pub fn reads_json(&self) -> bool {
        matches!(self.clause.subject, Subject::Json(_))
    }

    /// Holds it against an observation.
    ///
    /// # Errors
    /// What was seen instead, short, and hidden where the subject's name sounds like a secret.
    pub fn check(&self, seen: &Observation<'_>) -> Result<(), String> {
        self.clause.check(seen)
    }
}

impl Measure {
    /// Parses the text of a value.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Measure, Wrong> {
        let mut parser = Parser { text, at: 0 };
        let clause = parser.clause(false)?;
        Ok(Measure { clause })
    }

    /// Whether it is taken from the body as JSON.
    pub fn reads_json(&self) -> bool {
        matches!(self.clause.subject, Subject::Json(_))
    }

    /// The number; none where there is not exactly one thing, or it is no number.
    pub fn take(&self, seen: &Observation<'_>) -> Option<f64> {
        self.clause.measure(seen)
    }
}

#[derive(Clone, Debug)]
struct Clause {
    text: String,
    prefix: Option<Prefix>,
    subject: Subject,
    test: Option<Test>,
    /// What the share is held against.
    limit: Option<(Operator, f64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prefix {
    Len,
    Every,
    Any,
    None,
    Share,
}

const PREFIXES: [(&str, Prefix); 5] = [
    ("len", Prefix::Len),
    ("every", Prefix::Every),
    ("any", Prefix::Any),
    ("none", Prefix::None),
    ("share", Prefix::Share),
];

const SUBJECTS: &str = "status, time, header NAME, json PATH or body";

#[derive(Clone, Debug)]
enum Subject {
    Status,
    Time,
    Body,
    Header(String),
    Json(Path),
}

#[derive(Clone, Debug)]
struct Path {
    text: String,
    whole: JsonPath,
    /// The elements, and what is looked up in each; only where the path can give several values.
    split: Option<(JsonPath, JsonPath)>,
}

#[derive(Clone, Debug)]
enum Test {
    Compare(Operator, Literal),
    In(Vec<Literal>),
    Matches(Regex),
    Contains(String),
    Is(Type),
    Exists,
    Missing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    Unequal,
    Above,
    AtLeast,
    Below,
    AtMost,
}

/// Longest first, so that `>=` is not read as `>`.
const OPERATORS: [(&str, Operator); 6] = [
    ("==", Operator::Equal),
    ("!=", Operator::Unequal),
    (">=", Operator::AtLeast),
    ("<=", Operator::AtMost),
    (">", Operator::Above),
    ("<", Operator::Below),
];

#[derive(Clone, Debug, PartialEq)]
enum Literal {
    Number(f64),
    Text(String),
    Bool(bool),
    Null,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    String,
    Number,
    Integer,
    Boolean,
    Array,
    Object,
    Null,
}

const TYPES: [(&str, Type); 7] = [
    ("string", Type::String),
    ("number", Type::Number),
    ("integer", Type::Integer),
    ("boolean", Type::Boolean),
    ("array", Type::Array),
    ("object", Type::Object),
    ("null", Type::Null),
];

/// One thing that an observation holds.
#[derive(Clone, Debug)]
enum Item<'a> {
    Json(&'a Value),
    Text(Cow<'a, str>),
    Number(f64),
}

impl Clause {
    fn check(&self, seen: &Observation<'_>) -> Result<(), String> {
        let test = self.test.as_ref().unwrap_or(&Test::Exists);
        match self.prefix {
            None => self.check_one(test, seen),
            Some(Prefix::Len) => {
                let length = self.length(seen)?;
                let holds = test.holds(Some(&Item::Number(length as f64)));
                if holds { Ok(()) } else { Err(format!("saw a length of {length}")) }
            }
            Some(prefix) => self.check_elements(prefix, test, seen),
        }
    }

    fn check_one(&self, test: &Test, seen: &Observation<'_>) -> Result<(), String> {
        let items = self.subject.items(seen)?;
        let item = match (items.as_slice(), test) {
            ([], _) => None,
            ([item], _) | ([item, ..], Test::Exists | Test::Missing) => Some(item),
            (many, _) => return Err(format!("saw {} values; write `every`, `any` or `none` before it", many.len())),
        };
        match (test.holds(item), item) {
            (true, _) => Ok(()),
            (false, None) => Err("it is missing".into()),
            (false, Some(item)) => Err(format!("saw {}", self.show(item))),
        }
    }

    fn check_elements(&self, prefix: Prefix, test: &Test, seen: &Observation<'_>) -> Result<(), String> {
        let elements = self.subject.elements(seen)?;
        let n_good = elements.iter().filter(|e| test.holds(e.as_ref())).count();
        let total = elements.len();
        let holds = match prefix {
            Prefix::Every => total > 0 && n_good == total,
            Prefix::Any => n_good > 0,
            Prefix::None => n_good == 0,
            Prefix::Share | Prefix::Len => {
                let (operator, limit) = self.limit.unwrap_or((Operator::AtLeast, 1.0));
                total > 0 && operator.holds(n_good as f64 / total as f64, limit)
            }
        };
        if holds { Ok(()) } else { Err(format!("saw {n_good} of {total}")) }
    }

    fn length(&self, seen: &Observation<'_>) -> Result<usize, String> {
        let items = self.subject.items(seen)?;
        if matches!(&self.subject, Subject::Json(Path { split: Some(_), .. })) {
            return Ok(items.len());
        }
        match items.first() {
            None => Err("it is missing".into()),
            Some(Item::Json(Value::Array(all))) => Ok(all.len()),
            Some(Item::Json(Value::Object(all))) => Ok(all.len()),
            Some(Item::Json(Value::String(text))) => Ok(text.chars().count()),
            // A body's length is what was transferred, not its characters.
            Some(Item::Text(_)) if matches!(self.subject, Subject::Body) => Ok(seen.body.len()),
            Some(Item::Text(text)) => Ok(text.chars().count()),
            Some(item) => Err(format!("saw {}, which has no length", self.show(item))),
        }
    }

    fn measure(&self, seen: &Observation<'_>) -> Option<f64> {
        let Some(prefix) = self.prefix else {
            let items = self.subject.items(seen).ok()?;
            return if items.len() == 1 { items[0].number() } else { None };
        };
        if prefix == Prefix::Len {
            return self.length(seen).ok().map(|n| n as f64);
        }
        let test = self.test.as_ref()?;
        if prefix != Prefix::Share {
            self.subject.elements(seen).ok()?;
            return Some(if self.check_elements(prefix, test, seen).is_ok() { 1.0 } else { 0.0 });
        }
        let elements = self.subject.elements(seen).ok().filter(|all| !all.is_empty())?;
        let n_good = elements.iter().filter(|e| test.holds(e.as_ref())).count();
        Some(n_good as f64 / elements.len() as f64)
    }

    /// What was seen, for people.
    fn show(&self, item: &Item<'_>) -> String {
        const SECRET: [&str; 7] = ["secret", "token", "password", "passwd", "cookie", "auth", "key"];
        let label = self.subject.label().to_ascii_lowercase();
        if SECRET.iter().any(|word| label.contains(word)) { "something else (hidden)".into() } else { item.show() }
    }
}

impl Subject {
    fn label(&self) -> String {
        match self {
            Subject::Status => "status".into(),
            Subject::Time => "time".into(),
            Subject::Body => "body".into(),
            Subject::Header(name) => format!("header {name}"),
            // A field that is called like a subject must not share its sample.
            Subject::Json(path) if ["status", "time", "body"].contains(&path.text.as_str()) => {
                format!("json {}", path.text)
            }
            Subject::Json(path) => path.text.clone(),
        }
    }

    /// Everything that the subject means.
    fn items<'a>(&'a self, seen: &Observation<'a>) -> Result<Vec<Item<'a>>, String> {
        Ok(match self {
            Subject::Status => vec![Item::Number(f64::from(seen.status))],
            Subject::Time => vec![Item::Number(seen.seconds)],
            Subject::Body => vec![Item::Text(String::from_utf8_lossy(seen.body))],
            Subject::Header(name) => {
                let all: Vec<Cow<'_, str>> =
                    seen.headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes())).collect();
                if all.is_empty() { Vec::new() } else { vec![Item::Text(all.join(", ").into())] }
            }
            Subject::Json(path) => path.whole.query(document(seen)?).all().into_iter().map(Item::Json).collect(),
        })
    }

    /// What the quantifiers count: for each element, what stands at the rest of the path.
    fn elements<'a>(&'a self, seen: &Observation<'a>) -> Result<Vec<Option<Item<'a>>>, String> {
        let Subject::Json(Path { split: Some((elements, rest)), .. }) = self else {
            return self.items(seen).map(|items| items.into_iter().map(Some).collect());
        };
        let look = |element| rest.query(element).all().into_iter().next().map(Item::Json);
        Ok(elements.query(document(seen)?).all().into_iter().map(look).collect())
    }
}

fn document<'a>(seen: &Observation<'a>) -> Result<&'a Value, String> {
    seen.json.as_ref().map_err(|why| format!("the body is no JSON: {why}"))
}

/// The body as JSON; its depth is bounded by the parser, its size by the caller.
///
/// # Errors
/// Where and why it is none, without its content.
pub fn json(body: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(body).map_err(|e| e.to_string())
}

impl Item<'_> {
    /// As a number: RFC 3339 text is seconds, `true` is 1.
    fn number(&self) -> Option<f64> {
        match self {
            Item::Number(n) => Some(*n),
            Item::Json(Value::Number(n)) => n.as_f64(),
            Item::Json(Value::Bool(b)) => Some(if *b { 1.0 } else { 0.0 }),
            Item::Json(Value::String(text)) => moment(text),
            // A header is text by nature, so its digits are a number.
            Item::Text(text) => text.trim().parse().ok().filter(|n: &f64| n.is_finite()).or_else(|| moment(text)),
            Item::Json(_) => None,
        }
    }

    fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Item::Text(text) => Some(Cow::Borrowed(text)),
            Item::Json(Value::String(text)) => Some(Cow::Borrowed(text)),
            Item::Json(v @ (Value::Number(_) | Value::Bool(_))) => Some(v.to_string().into()),
            Item::Number(n) => Some(n.to_string().into()),
            Item::Json(_) => None,
        }
    }

    fn equals(&self, literal: &Literal) -> bool {
        match (literal, self) {
            (Literal::Number(n), _) => self.number() == Some(*n),
            (Literal::Text(t), Item::Text(s)) => s == t,
            (Literal::Text(t), Item::Json(Value::String(s))) => s == t,
            (Literal::Bool(b), Item::Json(Value::Bool(v))) => v == b,
            (Literal::Null, Item::Json(Value::Null)) => true,
            _ => false,
        }
    }

    fn is(&self, kind: Type) -> bool {
        let value = match self {
            Item::Json(value) => value,
            Item::Text(_) => return kind == Type::String,
            Item::Number(n) => return kind == Type::Number || (kind == Type::Integer && n.fract() == 0.0),
        };
        match kind {
            Type::String => value.is_string(),
            Type::Number => value.is_number(),
            Type::Integer => value.is_i64() || value.is_u64(),
            Type::Boolean => value.is_boolean(),
            Type::Array => value.is_array(),
            Type::Object => value.is_object(),
            Type::Null => value.is_null(),
        }
    }

    fn contains(&self, part: &str) -> bool {
        match self {
            Item::Json(Value::Array(all)) => all.iter().any(|v| v.as_str() == Some(part)),
            Item::Json(Value::Object(all)) => all.contains_key(part),
            other => other.text().is_some_and(|text| text.contains(part)),
        }
    }

    fn show(&self) -> String {
        const SHOWN: usize = 80;
        let text = match self {
            Item::Json(Value::Array(all)) => return format!("a list of {}", all.len()),
            Item::Json(Value::Object(all)) => return format!("an object of {}", all.len()),
            Item::Json(Value::String(text)) => text,
            Item::Text(text) => &**text,
            Item::Json(value) => return value.to_string(),
            Item::Number(n) => return n.to_string(),
        };
        let mut cut: String = text.chars().take(SHOWN).collect();
        if cut.len() < text.len() {
            cut.push('…');
        }
        format!("{cut:?}")
    }
}

/// The moment that an RFC 3339 text names, in seconds since 1970.
fn moment(text: &str) -> Option<f64> {
    let at: jiff::Timestamp = text.trim().parse().ok()?;
    Some(at.as_millisecond() as f64 / 1000.0)
}

impl Test {
    fn holds(&self, item: Option<&Item<'_>>) -> bool {
        let Some(item) = item else {
            return matches!(self, Test::Missing);
        };
        match self {
            Test::Exists => true,
            Test::Missing => false,
            Test::Compare(Operator::Equal, literal) => item.equals(literal),
            Test::Compare(Operator::Unequal, literal) => !item.equals(literal),
            Test::Compare(operator, Literal::Number(limit)) => item.number().is_some_and(|n| operator.holds(n, *limit)),
            Test::Compare(..) => false,
            Test::In(all) => all.iter().any(|literal| item.equals(literal)),
            Test::Matches(re) => item.text().is_some_and(|text| re.is_match(&text)),
            Test::Contains(part) => item.contains(part),
            Test::Is(kind) => item.is(*kind),
        }
    }
}

impl Operator {
    fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Operator::Equal => value == limit,
            Operator::Unequal => value != limit,
            Operator::Above => value > limit,
            Operator::AtLeast => value >= limit,
            Operator::Below => value < limit,
            Operator::AtMost => value <= limit,
        }
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Parser<'t> {
    /// The whole text: an expectation with its test, or a value without.
    fn clause(&mut self, with_test: bool) -> Result<Clause, Wrong> {
        let prefix = self.prefix();
        let after_prefix = self.at;
        let subject = self.subject()?;
        self.blank();
        let counts = matches!(prefix, Some(Prefix::Every | Prefix::Any | Prefix::None | Prefix::Share));
        if counts && !matches!(&subject, Subject::Json(Path { split: Some(_), .. })) {
            let help = "for example: every json events[*].domain == \"sensor\"";
            return Err(wrong(after_prefix..self.at, "this is one value, and nothing to count", help));
        }
        let test = if with_test || counts { Some(self.test(&subject, prefix)?) } else { None };
        self.blank();
        let limit = if with_test && prefix == Some(Prefix::Share) { Some(self.limit()?) } else { None };
        self.blank();
        if self.at < self.text.len() {
            let help =
                if with_test { "one subject, one condition" } else { "a value is an expectation without its operator" };
            return Err(wrong(self.at..self.text.len(), "nothing more was expected here", help));
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

    fn subject(&mut self) -> Result<Subject, Wrong> {
        self.blank();
        let (range, word) = self.word();
        match word {
            "status" => Ok(Subject::Status),
            "time" => Ok(Subject::Time),
            "body" => Ok(Subject::Body),
            "header" => self.header(),
            "json" => self.path().map(Subject::Json),
            "" => Err(wrong(self.rest(), "a subject is missing", SUBJECTS)),
            other => Err(wrong(range, format!("`{other}` is no subject"), SUBJECTS)),
        }
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

    /// A path ends at the first blank or operator outside of its brackets.
    fn path(&mut self) -> Result<Path, Wrong> {
        self.blank();
        let start = self.at;
        let bytes = self.text.as_bytes();
        let (mut depth, mut quote) = (0usize, None);
        while let Some(&byte) = bytes.get(self.at) {
            match (quote, byte) {
                (Some(_), b'\\') => self.at += 1,
                (Some(open), _) if byte == open => quote = None,
                (Some(_), _) => {}
                (None, b'\'' | b'"') if depth > 0 => quote = Some(byte),
                (None, b'[') => depth += 1,
                (None, b']') => depth = depth.saturating_sub(1),
                (None, b' ' | b'\t' | b'=' | b'!' | b'<' | b'>') if depth == 0 => break,
                _ => {}
            }
            self.at += 1;
        }
        // A backslash at the very end would step over it.
        self.at = self.at.min(self.text.len());
        let range = start..self.at;
        let text = &self.text[range.clone()];
        if text.is_empty() {
            let help = "for example: json databases.sqlite == \"connected\"; `$` is the whole";
            return Err(wrong(self.rest(), "a path is missing", help));
        }
        Path::parse(text).map_err(|why| wrong(range, why, "a path is JSONPath without its leading `$.`: items[0].name"))
    }

    fn test(&mut self, subject: &Subject, prefix: Option<Prefix>) -> Result<Test, Wrong> {
        let start = self.at;
        if let Some(operator) = self.operator() {
            let (range, literal) = self.literal(subject, prefix)?;
            let is_order = !matches!(operator, Operator::Equal | Operator::Unequal);
            return match literal {
                Literal::Text(text) if is_order => match moment(&text) {
                    Some(seconds) => Ok(Test::Compare(operator, Literal::Number(seconds))),
                    None => Err(wrong(range, "only numbers and times are more or less", "for example: > 200")),
                },
                Literal::Bool(_) | Literal::Null if is_order => {
                    Err(wrong(range, "only numbers and times are more or less", "for example: > 200"))
                }
                literal => Ok(Test::Compare(operator, literal)),
            };
        }
        let (range, word) = self.word();
        match word {
            "in" => self.list(subject, prefix).map(Test::In),
            "matches" => {
                let (range, text) = self.quoted("matches 'RE'")?;
                Regex::new(&text).map(Test::Matches).map_err(|e| {
                    wrong(range, "this is no regular expression", e.to_string().lines().last().unwrap_or_default())
                })
            }
            "contains" => self.quoted("contains \"…\"").map(|(_, text)| Test::Contains(text)),
            "is" => self.kind().map(Test::Is),
            "exists" => Ok(Test::Exists),
            "missing" => Ok(Test::Missing),
            "" if start == self.text.len() => Err(wrong(self.rest(), "a condition is missing", CONDITIONS)),
            "" => Err(wrong(self.rest(), "this is no condition", CONDITIONS)),
            other => Err(wrong(range, format!("`{other}` is no condition"), CONDITIONS)),
        }
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

    fn list(&mut self, subject: &Subject, prefix: Option<Prefix>) -> Result<Vec<Literal>, Wrong> {
        const HELP: &str = "for example: status in [200, 204]";
        self.blank();
        if !self.take('[') {
            return Err(wrong(self.rest(), "a list is missing", HELP));
        }
        let mut all = Vec::new();
        loop {
            all.push(self.literal(subject, prefix)?.1);
            self.blank();
            if self.take(']') {
                return Ok(all);
            }
            if !self.take(',') {
                return Err(wrong(self.rest(), "`,` or `]` is missing", HELP));
            }
        }
    }

    fn literal(&mut self, subject: &Subject, prefix: Option<Prefix>) -> Result<(Range<usize>, Literal), Wrong> {
        self.blank();
        if self.text[self.at..].starts_with(['"', '\'']) {
            let (range, text) = self.quoted("\"…\"")?;
            if matches!(subject, Subject::Status | Subject::Time) || prefix == Some(Prefix::Len) {
                return Err(wrong(range, "this is compared with a number", "write it without quotes"));
            }
            return Ok((range, Literal::Text(text)));
        }
        let (range, text) = self.bare();
        let literal = match text {
            "" => return Err(wrong(self.rest(), "a value is missing", "a number, \"a text\", true, false or null")),
            "true" => Literal::Bool(true),
            "false" => Literal::Bool(false),
            "null" => Literal::Null,
            _ => {
                Literal::Number(number(text, subject, prefix).map_err(|(what, help)| wrong(range.clone(), what, help))?)
            }
        };
        Ok((range, literal))
    }

    fn kind(&mut self) -> Result<Type, Wrong> {
        self.blank();
        let (range, word) = self.word();
        let found = TYPES.iter().find(|(name, _)| *name == word);
        let help = "string, number, integer, boolean, array, object or null";
        found.map(|(_, kind)| *kind).ok_or_else(|| wrong(range, format!("`{word}` is no type"), help))
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

const CONDITIONS: &str = "== != > >= < <= in […] matches '…' contains \"…\" is TYPE exists missing";

fn number(text: &str, subject: &Subject, prefix: Option<Prefix>) -> Result<f64, (String, &'static str)> {
    let quantity = Quantity::parse(text).map_err(|why| (why, "a text stands in quotes: \"…\""))?;
    match (subject, quantity.unit) {
        (Subject::Time, Unit::Seconds) => Ok(quantity.value),
        (Subject::Time, _) => Err((format!("`{text}` has no unit of time"), "for example: time < 2s")),
        (Subject::Status, Unit::Count) => Ok(quantity.value),
        (Subject::Status, _) => Err((format!("`{text}` is no status"), "for example: status == 200")),
        (_, Unit::Count | Unit::Bytes) => Ok(quantity.value),
        (_, _) if prefix == Some(Prefix::Len) => Err((format!("`{text}` is no length"), "for example: len body > 200")),
        _ => Ok(quantity.value),
    }
}

fn wrong(range: Range<usize>, what: impl Into<String>, help: impl Into<String>) -> Wrong {
    Wrong { range, what: what.into(), help: help.into() }
}

impl Path {
    fn parse(text: &str) -> Result<Path, String> {
        let full = match text.as_bytes().first() {
            Some(b'$') => text.to_string(),
            Some(b'[' | b'.') => format!("${text}"),
            _ => format!("$.{text}"),
        };
        let parse = |text: &str| JsonPath::parse(text).map_err(|e| format!("this is no path: {}", e.message()));
        let whole = parse(&full)?;
        let split = match last_plural(&full) {
            Some(end) => Some((parse(&full[..end])?, parse(&format!("${}", &full[end..]))?)),
            None => None,
        };
        Ok(Path { text: text.to_string(), whole, split })
    }
}

/// The end of the last segment of a valid path that can give several values: `*`, `..`, a filter, a slice, a list.
fn last_plural(path: &str) -> Option<usize> {
    let bytes = path.as_bytes();
    let (mut i, mut last) = (1, None);
    while i < bytes.len() {
        let start = i;
        let descends = bytes[i..].starts_with(b"..");
        i += if descends { 2 } else { usize::from(bytes[i] == b'.') };
        let plural = if bytes.get(i) == Some(&b'[') {
            let (end, plural) = bracket(bytes, i);
            i = end;
            plural
        } else {
            let name = i;
            while i < bytes.len() && !matches!(bytes[i], b'.' | b'[') {
                i += 1;
            }
            &path[name..i] == "*"
        };
        i = i.max(start + 1);
        if plural || descends {
            last = Some(i);
        }
    }
    last
}

/// The end of the bracket that opens at `open`, and whether it can select several values.
fn bracket(bytes: &[u8], open: usize) -> (usize, bool) {
    let (mut i, mut depth, mut quote, mut plural) = (open, 0usize, None, false);
    while let Some(&byte) = bytes.get(i) {
        match (quote, byte) {
            (Some(_), b'\\') => i += 1,
            (Some(open), _) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'\'' | b'"') => quote = Some(byte),
            (None, b'*' | b'?' | b':' | b',') => plural = true,
            (None, b'[') => depth += 1,
            (None, b']') if depth == 1 => return (i + 1, plural),
            (None, b']') => depth -= 1,
            _ => {}
        }
        i += 1;
    }
    (bytes.len(), plural)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{
        "status": "ok", "up": true, "n": 5, "ratio": 0.25, "nothing": null, "size": 2048,
        "at": "2025-10-28T09:41:07Z", "api_token": "hunter2", "odd key": 1,
        "databases": {"sqlite": "connected"}, "tags": ["a", "b"], "none": [],
        "events": [{"domain": "sensor", "n": 1}, {"domain": "light", "n": 2}, {"n": 3}]
    }"#;

    fn check(text: &str) -> Result<(), String> {
        let headers = [("location", "/login"), ("x-n", "7")].map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap()));
        let (json, headers) = (json(BODY.as_bytes()), reqwest::header::HeaderMap::from_iter(headers));
        let seen = Observation { status: 200, seconds: 0.5, body: BODY.as_bytes(), json: &json, headers: &headers };
        Expectation::parse(text).unwrap_or_else(|e| panic!("{text}: {e:?}")).check(&seen)
    }

    fn measure(text: &str) -> Option<f64> {
        let (json, headers) = (json(BODY.as_bytes()), reqwest::header::HeaderMap::new());
        let seen = Observation { status: 200, seconds: 0.5, body: BODY.as_bytes(), json: &json, headers: &headers };
        Measure::parse(text).unwrap_or_else(|e| panic!("{text}: {e:?}")).take(&seen)
    }

    #[test]
    fn what_is_as_expected_holds() {
        for text in [
            "status == 200",
            "status==200",
            "status in [200, 204]",
            "status < 400",
            "time < 2s",
            "time <= 500ms",
            "header Location exists",
            "header X-Other missing",
            "header location matches '^/log'",
            "header x-n >= 7",
            "body contains \"sqlite\"",
            "len body > 200",
            "json databases.sqlite == \"connected\"",
            "json $.databases.sqlite == 'connected'",
            "json ['odd key'] == 1",
            "json status != \"down\"",
            "json up == true",
            "json up == 1",
            "json n > 4",
            "json n is integer",
            "json ratio is number",
            "json ratio < 30%",
            "json size >= 2KiB",
            "json nothing is null",
            "json nothing exists",
            "json absent missing",
            "json at > \"2025-01-01T00:00:00Z\"",
            "json at == 1761644467",
            "json tags contains \"a\"",
            "json tags is array",
            "len json tags == 2",
            "len json events[*] == 3",
            "len json status == 2",
            "json $ is object",
            "any json events[*].domain == \"light\"",
            "none json events[*].domain == \"door\"",
            "none json none[*].x exists",
            "every json events[*].n > 0",
            "any json events[*].domain missing",
            "every json events[?@.n < 3].domain exists",
            "any json ..domain == \"sensor\"",
            "share json events[*].domain exists >= 66%",
            "json events[1].domain in ['light', \"door\"]",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_not_says_what_was_seen() {
        for (text, seen) in [
            ("status == 503", "saw 200"),
            ("time < 100ms", "saw 0.5"),
            ("json databases.sqlite == \"down\"", "saw \"connected\""),
            ("json absent == 1", "it is missing"),
            ("json absent != 1", "it is missing"),
            ("json tags == \"a\"", "saw a list of 2"),
            ("json events[*].n == 1", "saw 3 values; write `every`, `any` or `none` before it"),
            ("every json events[*].domain exists", "saw 2 of 3"),
            ("every json none[*].x exists", "saw 0 of 0"),
            ("none json events[*].domain == \"sensor\"", "saw 1 of 3"),
            ("share json events[*].domain exists > 90%", "saw 2 of 3"),
            ("share json events[*].n > 2 == 1", "saw 1 of 3"),
            ("share json none[*] exists >= 0%", "saw 0 of 0"),
            ("len json tags > 2", "saw a length of 2"),
            ("len json n > 2", "saw 5, which has no length"),
            ("json api_token == \"x\"", "saw something else (hidden)"),
            ("header location missing", "saw \"/login\""),
            ("json n == \"5\"", "saw 5"),
        ] {
            assert_eq!(check(text), Err(seen.to_string()), "{text}");
        }
    }

    #[test]
    fn a_value_is_a_number_or_nothing() {
        for (text, wanted) in [
            ("json n", Some(5.0)),
            ("json up", Some(1.0)),
            ("json at", Some(1_761_644_467.0)),
            ("json status", None),
            ("json absent", None),
            ("json events[*].n", None),
            ("len json events", Some(3.0)),
            ("share json events[*].domain exists", Some(2.0 / 3.0)),
            ("share json none[*].x exists", None),
            ("any json events[*].n == 3", Some(1.0)),
            ("every json events[*].n == 3", Some(0.0)),
            ("time", Some(0.5)),
            ("status", Some(200.0)),
        ] {
            assert_eq!(measure(text), wanted, "{text}");
        }
        assert_eq!(Measure::parse("json n > 5").unwrap_err().what, "nothing more was expected here");
    }

    #[test]
    fn a_mistake_is_pointed_at() {
        for (text, part, what) in [
            ("statsu == 200", "statsu", "`statsu` is no subject"),
            ("", "", "a subject is missing"),
            ("status", "", "a condition is missing"),
            ("status is200", "is200", "`is200` is no condition"),
            ("status = 200", "= 200", "this is no condition"),
            ("status == 5s", "5s", "`5s` is no status"),
            ("status == \"200\"", "\"200\"", "this is compared with a number"),
            ("time < 2", "2", "`2` has no unit of time"),
            ("time < 2 bananas", "2", "`2` has no unit of time"),
            ("json a == connected", "connected", "`connected` is no value"),
            ("json a == \"open", "\"open", "the quote does not end"),
            ("json a > \"x\"", "\"x\"", "only numbers and times are more or less"),
            ("json a > true", "true", "only numbers and times are more or less"),
            ("json == 1", "== 1", "a path is missing"),
            ("json a in 5", "5", "a list is missing"),
            ("json a in [5", "", "`,` or `]` is missing"),
            ("json a matches '('", "'('", "this is no regular expression"),
            ("json a is text", "text", "`text` is no type"),
            ("json a exists really", "really", "nothing more was expected here"),
            ("every json a == 1", " json a ", "this is one value, and nothing to count"),
            ("share json a[*] exists", "", "a share is held against a limit"),
            ("share json a[*] exists > 5s", "5s", "this is no share"),
            ("header == 1", "== 1", "the name of a header is missing"),
            ("len body > 5%", "5%", "`5%` is no length"),
        ] {
            let wrong = Expectation::parse(text).unwrap_err();
            assert_eq!((&text[wrong.range.clone()], wrong.what.as_str()), (part, what), "{text}");
        }
        let bad = Expectation::parse("json a[ == 1").unwrap_err();
        assert!(bad.what.starts_with("this is no path"), "{bad:?}");
    }

    #[test]
    fn each_subject_has_its_own_label() {
        for (text, label) in [
            ("status == 200", "status"),
            ("json status == \"ok\"", "json status"),
            ("len body > 5", "body"),
            ("header Location missing", "header location"),
            ("json databases.sqlite exists", "databases.sqlite"),
        ] {
            assert_eq!(Expectation::parse(text).unwrap().label(), label);
        }
    }

    #[test]
    fn a_body_that_is_no_json_fails_and_depth_is_bounded() {
        let headers = reqwest::header::HeaderMap::new();
        for (body, what) in [("<html>".to_string(), "expected value"), ("[".repeat(100_000), "recursion limit")] {
            let json = json(body.as_bytes());
            let seen = Observation { status: 200, seconds: 0.1, body: body.as_bytes(), json: &json, headers: &headers };
            let failed = Expectation::parse("json a missing").unwrap().check(&seen).unwrap_err();
            assert!(failed.starts_with("the body is no JSON: ") && failed.contains(what), "{failed}");
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic() {
        const WORDS: [&str; 24] = [
            "json", "a[*]", "every", "==", "\"x", "'", "[", "]", "\\", "ü", "in", "5s", "status", " ", "..", "share",
            "$", "<", "matches", "is", ",", "[?@.a]", "{", "\u{0}",
        ];
        let mut state = 1u64;
        for _ in 0..5_000 {
            let mut text = String::new();
            for _ in 0..8 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text.push_str(WORDS[(state >> 33) as usize % WORDS.len()]);
                if state & (1 << 40) == 0 {
                    text.push(' ');
                }
            }
            if let Err(wrong) = Expectation::parse(&text) {
                assert!(text.get(wrong.range).is_some(), "{text}");
            }
            drop(Measure::parse(&text));
        }
    }
}
