//! One thing that an observation holds: compared, and shown to people.

use std::borrow::Cow;

use serde_json::Value;

use super::clause::{Literal, Operator, Test, Type};
use super::figure::Figure;
use super::version::Version;
use crate::base::{Quantity, Timestamp, Unit};

/// One thing that an observation holds.
#[derive(Clone, Debug)]
pub(super) enum Item<'a> {
    Json(&'a Value),
    Text(Cow<'a, str>),
    Number(f64),
    Figure(Figure),
    Bool(bool),
    Mode(u32),
    Version(Version, Cow<'a, str>),
}

impl Test {
    /// Whether this is true of `item`; of nothing only `missing` is.
    pub(super) fn holds(&self, item: Option<&Item<'_>>, now: Timestamp) -> bool {
        let Some(item) = item else {
            return matches!(self, Test::Missing);
        };
        match self {
            Test::Exists => true,
            Test::Missing => false,
            Test::Compare(operator, literal) => item.compares(*operator, literal, now),
            Test::In(all) => all.iter().any(|literal| item.compares(Operator::Equal, literal, now)),
            Test::Matches(re) => item.text().is_some_and(|text| re.is_match(text)),
            Test::Contains(part) => item.contains(part, now),
            Test::StartsWith(start) => item.text().is_some_and(|text| text.starts_with(start)),
            Test::EndsWith(end) => item.text().is_some_and(|text| text.ends_with(end)),
            Test::Is(kind) => item.is(*kind),
            Test::Not(test) => !test.holds(Some(item), now),
        }
    }
}

impl Item<'_> {
    fn compares(&self, operator: Operator, literal: &Literal, now: Timestamp) -> bool {
        match (literal, self) {
            (Literal::Mode(limit), Item::Mode(mode)) => mode_holds(operator, *mode, *limit),
            (Literal::Version(limit), Item::Version(version, _)) => operator.holds(version, limit),
            (Literal::Class(hundreds), Item::Number(n)) => match operator {
                Operator::Unequal => (n / 100.0).floor() != f64::from(*hundreds),
                _ => (n / 100.0).floor() == f64::from(*hundreds),
            },
            (Literal::Now(offset), _) => match self.number() {
                Some(n) => operator.holds(&n, &(now.seconds() + offset)),
                None => operator == Operator::Unequal,
            },
            (Literal::Number(limit, unit), Item::Figure(figure)) => {
                figure.against(*limit, *unit).is_some_and(|n| operator.holds(&n, limit))
            }
            (Literal::Number(limit, _), _) => match self.number() {
                Some(n) => operator.holds(&n, limit),
                None => operator == Operator::Unequal,
            },
            (literal, _) if operator == Operator::Equal => self.equals(literal),
            (literal, _) => operator == Operator::Unequal && !self.equals(literal),
        }
    }

    /// Types are never converted, but for a time: two texts that name the same moment are equal.
    fn equals(&self, literal: &Literal) -> bool {
        match (literal, self) {
            (Literal::Text(t), Item::Text(s) | Item::Version(_, s)) => s == t || is_same_moment(s, t),
            (Literal::Text(t), Item::Json(Value::String(s))) => s == t || is_same_moment(s, t),
            (Literal::Bool(b), Item::Json(Value::Bool(v))) => v == b,
            (Literal::Null, Item::Json(Value::Null)) => true,
            _ => false,
        }
    }

    /// As a number: RFC 3339 text is seconds, `true` is 1.
    pub(super) fn number(&self) -> Option<f64> {
        let yes = |b: bool| if b { 1.0 } else { 0.0 };
        match self {
            Item::Number(n) => Some(*n),
            Item::Figure(figure) => Some(figure.value()),
            Item::Bool(b) => Some(yes(*b)),
            Item::Mode(mode) => Some(f64::from(*mode)),
            Item::Json(Value::Number(n)) => n.as_f64(),
            Item::Json(Value::Bool(b)) => Some(yes(*b)),
            Item::Json(Value::String(text)) => moment(text),
            // A header or an output is text by nature, so its digits are a number.
            Item::Text(text) => figure(text).or_else(|| moment(text)),
            Item::Json(_) | Item::Version(..) => None,
        }
    }

    /// The text that it is; a number is none.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Item::Text(text) | Item::Version(_, text) => Some(text),
            Item::Json(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    fn is(&self, kind: Type) -> bool {
        match self {
            Item::Json(value) => is(value, kind),
            Item::Text(text) | Item::Version(_, text) => match kind {
                Type::String => true,
                Type::Number => figure(text).is_some(),
                Type::Integer => figure(text).is_some_and(|n| n.fract() == 0.0),
                Type::Time => moment(text).is_some(),
                Type::Empty => text.is_empty(),
                _ => false,
            },
            Item::Figure(figure) => Item::Number(figure.value()).is(kind),
            Item::Number(n) => kind == Type::Number || (kind == Type::Integer && n.fract() == 0.0),
            Item::Bool(_) => kind == Type::Boolean,
            Item::Mode(_) => false,
        }
    }

    fn contains(&self, part: &Literal, now: Timestamp) -> bool {
        match (self, part) {
            (Item::Json(Value::Array(all)), part) => {
                all.iter().any(|value| Item::Json(value).compares(Operator::Equal, part, now))
            }
            (Item::Json(Value::Object(all)), Literal::Text(key)) => all.contains_key(key),
            (item, Literal::Text(part)) => item.text().is_some_and(|text| text.contains(part)),
            _ => false,
        }
    }

    /// How many parts it has: elements, keys, or characters.
    pub(super) fn length(&self) -> Option<usize> {
        match self {
            Item::Json(Value::Array(all)) => Some(all.len()),
            Item::Json(Value::Object(all)) => Some(all.len()),
            item => item.text().map(|text| text.chars().count()),
        }
    }

    /// For people, with `text` in place of its own.
    pub(super) fn show_text(&self, text: &str) -> String {
        if matches!(self, Item::Version(..)) { cut(text) } else { quoted(text) }
    }

    /// For people: one line, bounded, a number in `unit`.
    pub(super) fn show(&self, unit: Unit) -> String {
        match self {
            Item::Json(Value::Array(all)) => format!("a list of {}", all.len()),
            Item::Json(Value::Object(all)) => format!("an object of {}", all.len()),
            Item::Json(Value::Number(n)) => match (unit, n.as_f64()) {
                (Unit::Count, _) | (_, None) => n.to_string(),
                (unit, Some(n)) => shown(n, unit),
            },
            Item::Json(Value::String(text)) => quoted(text),
            Item::Json(value) => value.to_string(),
            Item::Text(text) => quoted(text),
            Item::Version(_, text) => cut(text),
            Item::Number(n) => shown(*n, unit),
            Item::Figure(figure) => figure.show(unit),
            Item::Bool(b) => b.to_string(),
            Item::Mode(mode) => format!("{mode:04o}"),
        }
    }
}

/// Bits: `<=` says that there is none beside those of `limit`, `>=` that all of those are there.
fn mode_holds(operator: Operator, mode: u32, limit: u32) -> bool {
    match operator {
        Operator::Equal => mode == limit,
        Operator::Unequal => mode != limit,
        Operator::AtMost => mode & !limit == 0,
        Operator::AtLeast => limit & !mode == 0,
        Operator::Below => mode & !limit == 0 && mode != limit,
        Operator::Above => limit & !mode == 0 && mode != limit,
    }
}

fn is(value: &Value, kind: Type) -> bool {
    match kind {
        Type::String => value.is_string(),
        Type::Number => value.is_number(),
        // `5.0` is a float to JSON readers and a whole number to people.
        Type::Integer => value.as_f64().is_some_and(|n| n.fract() == 0.0),
        Type::Boolean => value.is_boolean(),
        Type::Array => value.is_array(),
        Type::Object => value.is_object(),
        Type::Null => value.is_null(),
        Type::Time => value.as_str().is_some_and(|text| moment(text).is_some()),
        Type::Empty => match value {
            Value::String(text) => text.is_empty(),
            Value::Array(all) => all.is_empty(),
            Value::Object(all) => all.is_empty(),
            _ => false,
        },
    }
}

/// A finite number that is the whole text.
fn figure(text: &str) -> Option<f64> {
    let text = text.trim();
    // `inf` and `nan` are numbers to the standard library, and words to people.
    let is_one = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
    if is_one { text.parse().ok().filter(|n: &f64| n.is_finite()) } else { None }
}

/// The moment that an RFC 3339 text names, in seconds since 1970.
pub(super) fn moment(text: &str) -> Option<f64> {
    /// Longer than any moment with all its fractions.
    const MAX: usize = 64;
    let text = text.trim();
    if text.len() > MAX || !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let at: jiff::Timestamp = text.parse().ok()?;
    Some(at.as_millisecond() as f64 / 1000.0)
}

fn is_same_moment(a: &str, b: &str) -> bool {
    moment(a).is_some_and(|a| moment(b) == Some(a))
}

/// A number for people, in its unit: `500 ms`, `2 KiB`, `503`.
pub(super) fn shown(value: f64, unit: Unit) -> String {
    if unit == Unit::Count {
        return value.to_string();
    }
    let text = Quantity { value, unit }.to_string();
    let (figure, unit) = text.split_once(' ').unwrap_or((&text, ""));
    match figure.split_once('.') {
        Some((whole, zeros)) if zeros.bytes().all(|b| b == b'0') => format!("{whole} {unit}"),
        _ => text,
    }
}

/// The longest text that is shown, in characters.
const SHOWN: usize = 80;

/// A text in quotes, cut, on one line.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", cut(text))
}

fn cut(text: &str) -> String {
    let mut cut: String = text.chars().take(SHOWN).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}
