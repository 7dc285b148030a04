//! The functions that templates call.

use std::rc::Rc;

use super::format::{float, four_digits, humanize, humanize_duration, humanize1024, printf};
use super::run::{Run, Sample, Value};
use super::{super::duration, MAX_TEXT};

/// All of them, sorted.
pub(super) const NAMES: [&str; 45] = [
    "and",
    "args",
    "eq",
    "externalURL",
    "first",
    "ge",
    "graphLink",
    "gt",
    "html",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "index",
    "label",
    "le",
    "len",
    "lt",
    "match",
    "ne",
    "not",
    "or",
    "parseDuration",
    "pathPrefix",
    "print",
    "printf",
    "println",
    "query",
    "reReplaceAll",
    "safeHtml",
    "slice",
    "sortByLabel",
    "stripDomain",
    "stripPort",
    "strvalue",
    "tableLink",
    "title",
    "toDuration",
    "toLower",
    "toTime",
    "toUpper",
    "urlQueryEscape",
    "urlquery",
    "value",
];

/// The name as it is kept, if there is such a function.
pub(super) fn known(name: &str) -> Option<&'static str> {
    NAMES.iter().find(|n| **n == name).copied()
}

/// The largest compiled pattern, in bytes.
const MAX_PATTERN: usize = 1 << 20;

/// Calls a function other than `and` and `or`.
pub(super) fn call(run: &mut Run<'_, '_>, name: &str, values: &[Value]) -> Result<Value, String> {
    let value = match (name, values) {
        ("query", [text]) => run.ask(string(text)?)?,
        ("first", [list]) => match list_of(list)?.first() {
            Some(first) => first.clone(),
            None => return Err("first() called on vector with no elements".into()),
        },
        ("label", [name, sample]) => {
            let name = string(name)?;
            Value::of(sample_of(sample)?.0.get(name).map_or("", String::as_str))
        }
        ("value", [sample]) => Value::Float(sample_of(sample)?.1),
        ("strvalue", [sample]) => Value::of(sample_of(sample)?.0.get("__value__").map_or("", String::as_str)),
        ("sortByLabel", [name, list]) => {
            let name = string(name)?;
            let mut sorted = list_of(list)?.to_vec();
            let key = |v: &Value| sample_of(v).map_or(String::new(), |s| s.0.get(name).cloned().unwrap_or_default());
            sorted.sort_by_key(key);
            Value::List(Rc::new(sorted))
        }
        ("args", values) => {
            Value::Args(Rc::new((0..).zip(values).map(|(i, v): (i32, _)| (format!("arg{i}"), v.clone())).collect()))
        }
        ("len", [value]) => Value::Int(length(value)?),
        ("index", [value, keys @ ..]) => index(value, keys)?,
        ("slice", [Value::Text(text), rest @ ..]) => slice(text, rest)?,
        ("not", [value]) => Value::Bool(!value.is_true()),
        ("eq", [left, rest @ ..]) if !rest.is_empty() => {
            let mut equal = false;
            for right in rest {
                equal = equal || is_equal(left, right)?;
            }
            Value::Bool(equal)
        }
        ("ne", [left, right]) => Value::Bool(!is_equal(left, right)?),
        ("lt", [left, right]) => Value::Bool(is_less(left, right)?),
        ("le", [left, right]) => Value::Bool(is_less(left, right)? || is_equal(left, right)?),
        ("gt", [left, right]) => Value::Bool(!(is_less(left, right)? || is_equal(left, right)?)),
        ("ge", [left, right]) => Value::Bool(!is_less(left, right)?),
        ("print", values) => Value::of(print(values)),
        ("println", values) => Value::of(values.iter().map(Value::text).collect::<Vec<_>>().join(" ") + "\n"),
        ("printf", [format, values @ ..]) => Value::of(printf(string(format)?, values)?),
        ("html", values) => Value::of(html(&print(values))),
        ("urlquery", values) => Value::of(url_query(&print(values))),
        ("urlQueryEscape", [text]) => Value::of(url_query(string(text)?)),
        ("humanize", [v]) => Value::of(humanize(number(v)?)),
        ("humanize1024", [v]) => Value::of(humanize1024(number(v)?)),
        ("humanizeDuration", [v]) => Value::of(humanize_duration(number(v)?)),
        ("humanizePercentage", [v]) => Value::of(format!("{}%", four_digits(number(v)? * 100.0))),
        ("humanizeTimestamp", [v]) => match number(v)? {
            v if v.is_finite() => Value::of(time(v)?.text()),
            v => Value::of(four_digits(v)),
        },
        ("toTime", [v]) => time(number(v)?)?,
        ("toDuration", [v]) => Value::of(humanize_duration(number(v)?)),
        ("parseDuration", [text]) => Value::Float(duration(string(text)?)?.as_secs()),
        ("title", [text]) => Value::of(title(string(text)?)),
        ("toUpper", [text]) => Value::of(string(text)?.to_uppercase()),
        ("toLower", [text]) => Value::of(string(text)?.to_lowercase()),
        ("safeHtml", [text]) => Value::of(string(text)?),
        ("match", [pattern, text]) => Value::Bool(regex(string(pattern)?)?.is_match(string(text)?)),
        ("reReplaceAll", [pattern, with, text]) => replace(string(pattern)?, string(with)?, string(text)?)?,
        ("stripPort", [text]) => Value::of(strip_port(string(text)?)),
        ("stripDomain", [text]) => Value::of(strip_domain(string(text)?)),
        ("externalURL", []) => Value::of(run.data.external.url.as_str()),
        ("pathPrefix", []) => Value::of(path_of(&run.data.external.url)),
        ("graphLink", [text]) => Value::of(format!("/graph?g0.expr={}&g0.tab=0", url_query(string(text)?))),
        ("tableLink", [text]) => Value::of(format!("/graph?g0.expr={}&g0.tab=1", url_query(string(text)?))),
        (_, values) => return Err(format!("wrong number or kind of args: got {}", kinds(values))),
    };
    if let Value::Text(text) = &value {
        if text.len() > MAX_TEXT {
            return Err(format!("more than {MAX_TEXT} bytes"));
        }
        run.step(text.len() / 64)?;
    }
    Ok(value)
}

fn kinds(values: &[Value]) -> String {
    if values.is_empty() {
        return "none".into();
    }
    values.iter().map(Value::type_name).collect::<Vec<_>>().join(", ")
}

fn string(value: &Value) -> Result<&str, String> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(format!("wrong type for value; expected string; got {}", other.type_name())),
    }
}

fn list_of(value: &Value) -> Result<&[Value], String> {
    match value {
        Value::List(list) => Ok(list),
        other => Err(format!("wrong type for value; expected the result of a query; got {}", other.type_name())),
    }
}

fn sample_of(value: &Value) -> Result<&Sample, String> {
    match value {
        Value::Sample(sample) => Ok(sample),
        other => Err(format!("wrong type for value; expected a sample; got {}", other.type_name())),
    }
}

fn number(value: &Value) -> Result<f64, String> {
    match value {
        Value::Float(n) => Ok(*n),
        Value::Int(n) => Ok(*n as f64),
        Value::Text(text) => match text.trim_start_matches('+').parse() {
            Ok(n) if !text.contains(char::is_whitespace) => Ok(n),
            _ => Err(format!("{} is no number", super::format::quote(text))),
        },
        other => Err(format!("can't convert {} to float", other.type_name())),
    }
}

fn time(seconds: f64) -> Result<Value, String> {
    let nanos = seconds * 1e9;
    if !seconds.is_finite() || nanos > i64::MAX as f64 || nanos < i64::MIN as f64 {
        let said = float(seconds);
        return Err(format!("{said} cannot be represented as a nanoseconds timestamp since it overflows int64"));
    }
    Ok(Value::Time((nanos as i64).div_euclid(1_000_000)))
}

fn length(value: &Value) -> Result<i64, String> {
    let length = match value {
        Value::Text(text) => text.len(),
        Value::Labels(labels) => labels.len(),
        Value::List(list) => list.len(),
        Value::Args(args) => args.len(),
        other => return Err(format!("len of type {}", other.type_name())),
    };
    Ok(i64::try_from(length).unwrap_or(i64::MAX))
}

fn index(value: &Value, keys: &[Value]) -> Result<Value, String> {
    let mut value = value.clone();
    for key in keys {
        value = match (&value, key) {
            (Value::Labels(labels), Value::Text(name)) => Value::of(labels.get(&**name).map_or("", String::as_str)),
            (Value::Args(args), Value::Text(name)) => args.get(&**name).cloned().unwrap_or(Value::Nil),
            (Value::List(list), Value::Int(n)) => match usize::try_from(*n).ok().and_then(|n| list.get(n)) {
                Some(item) => item.clone(),
                None => return Err(format!("index out of range: {n}")),
            },
            (Value::Text(text), Value::Int(n)) => match usize::try_from(*n).ok().and_then(|n| text.as_bytes().get(n)) {
                Some(byte) => Value::Int(i64::from(*byte)),
                None => return Err(format!("index out of range: {n}")),
            },
            (of, by) => return Err(format!("cannot index {} with {}", of.type_name(), by.type_name())),
        };
    }
    Ok(value)
}

fn slice(text: &str, bounds: &[Value]) -> Result<Value, String> {
    let bound = |value: Option<&Value>, default: usize| match value {
        None => Ok(default),
        Some(Value::Int(n)) => usize::try_from(*n).map_err(|_| format!("index out of range: {n}")),
        Some(other) => Err(format!("cannot index slice with {}", other.type_name())),
    };
    let (from, to) = (bound(bounds.first(), 0)?, bound(bounds.get(1), text.len())?);
    text.get(from..to).map(Value::of).ok_or_else(|| format!("index out of range: {to}"))
}

fn is_equal(left: &Value, right: &Value) -> Result<bool, String> {
    Ok(match (left, right) {
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::Text(a), Value::Text(b)) => a == b,
        (Value::Time(a), Value::Time(b)) => a == b,
        (Value::Nil, Value::Nil) => true,
        (Value::Nil, _) | (_, Value::Nil) => false,
        _ => return Err("incompatible types for comparison".into()),
    })
}

fn is_less(left: &Value, right: &Value) -> Result<bool, String> {
    Ok(match (left, right) {
        (Value::Int(a), Value::Int(b)) => a < b,
        (Value::Float(a), Value::Float(b)) => a < b,
        (Value::Text(a), Value::Text(b)) => a < b,
        (Value::Bool(_), _) | (_, Value::Bool(_)) => return Err("invalid type for comparison".into()),
        _ => return Err("incompatible types for comparison".into()),
    })
}

/// Blanks stand between two values of which neither is a text.
fn print(values: &[Value]) -> String {
    let mut out = String::new();
    for (i, value) in values.iter().enumerate() {
        let is_text = |v: &Value| matches!(v, Value::Text(_));
        if i > 0 && !is_text(value) && !is_text(&values[i - 1]) {
            out.push(' ');
        }
        out.push_str(&value.text());
    }
    out
}

fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '\0' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

fn url_query(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Each letter that begins a word becomes a capital.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut begins = true;
    for c in text.chars() {
        if begins {
            out.extend(c.to_uppercase())
        } else {
            out.push(c)
        }
        begins = if c.is_ascii() { !(c.is_ascii_alphanumeric() || c == '_') } else { c.is_whitespace() };
    }
    out
}

fn regex(pattern: &str) -> Result<regex::Regex, String> {
    let built = regex::RegexBuilder::new(pattern).size_limit(MAX_PATTERN).build();
    built.map_err(|why| why.to_string().lines().last().unwrap_or("no pattern").trim().to_string())
}

fn replace(pattern: &str, with: &str, text: &str) -> Result<Value, String> {
    let pattern = regex(pattern)?;
    let mut out = String::new();
    let mut at = 0;
    for found in pattern.captures_iter(text) {
        let Some(whole) = found.get(0) else { continue };
        out.push_str(&text[at..whole.start()]);
        found.expand(with, &mut out);
        at = whole.end();
        if out.len() > MAX_TEXT {
            return Err(format!("more than {MAX_TEXT} bytes"));
        }
    }
    out.push_str(&text[at..]);
    Ok(Value::of(out))
}

/// `host:9100` without its port; what has none stays.
fn strip_port(text: &str) -> &str {
    match text.rsplit_once(':') {
        Some((host, _)) if host.starts_with('[') && host.ends_with(']') => &host[1..host.len() - 1],
        Some((host, _)) if !host.contains(':') => host,
        _ => text,
    }
}

/// `host.example.org:9100` without its domain; an address stays.
fn strip_domain(text: &str) -> String {
    let host = strip_port(text);
    if host.parse::<std::net::IpAddr>().is_ok() {
        return text.to_string();
    }
    let port = &text[if text.starts_with('[') { text.len() } else { host.len() }..];
    format!("{}{port}", host.split('.').next().unwrap_or(host))
}

fn path_of(url: &str) -> &str {
    let behind = url.split_once("://").map_or(url, |(_, rest)| rest);
    behind.find('/').map_or("", |n| &behind[n..])
}
