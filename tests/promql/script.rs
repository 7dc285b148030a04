//! The scripts of PromQL's acceptance tests: series, queries over them, and what must come out.
//!
//! Items are `clear`, `load STEP` with lines of series, and `eval instant at TIME QUERY` or `eval range from TIME to TIME step
//! STEP QUERY` with lines of what is expected. Histograms of the native kind are read over: their series have no floats.

use backstop::base::label::NAME;
use backstop::base::{Labels, Span};
use backstop::store::stale;

/// One item of a script.
pub enum Item {
    Clear,
    Load(Vec<Series>),
    Eval(Box<Eval>),
}

/// A series with its points; the time of each in milliseconds.
pub struct Series {
    pub labels: Labels,
    pub points: Vec<(i64, f64)>,
    /// Whether it holds native histograms. Each is a stale marker among the points, which ends the floats before it.
    pub has_histograms: bool,
}

pub struct Eval {
    pub line: usize,
    pub query: String,
    pub when: When,
    pub expected: Expected,
    pub fails: bool,
    pub ordered: bool,
    pub warn: Annotations,
    pub info: Annotations,
    /// Whether a native histogram is expected.
    pub wants_histograms: bool,
}

#[derive(Clone, Copy)]
pub enum When {
    Instant(i64),
    Range { from: i64, to: i64, step: i64 },
}

/// What is said about annotations of one kind.
#[derive(Default)]
pub struct Annotations {
    /// Whether there must be some (true), none (false), or it is not said.
    pub some: Option<bool>,
    /// Texts that must be there.
    pub texts: Vec<String>,
}

/// Values of a result line: one for each time, where there is one.
pub type Row = (Labels, Vec<Option<f64>>);

pub enum Expected {
    Scalar(f64),
    Text(String),
    /// A vector, or the rows of a range.
    Rows(Vec<Row>),
    /// An instant query that gives rows: first time and step of them.
    RangeVector {
        from: i64,
        step: i64,
        rows: Vec<Row>,
    },
}

/// Reads a script.
pub fn read(text: &str) -> Result<Vec<Item>, String> {
    let lines: Vec<&str> =
        text.lines().map(str::trim).map(|line| if line.starts_with('#') { "" } else { line }).collect();
    let (mut items, mut i) = (Vec::new(), 0);
    while i < lines.len() {
        let line = lines[i];
        let first = line.split_whitespace().next().unwrap_or_default().to_lowercase();
        let end = (i + 1..lines.len()).find(|j| lines[*j].is_empty()).unwrap_or(lines.len());
        let body = &lines[i + 1..end];
        let within = |error: String| format!("line {}: {error}", i + 1);
        match first.as_str() {
            "" => i += 1,
            "clear" => {
                items.push(Item::Clear);
                i += 1;
            }
            word if word.starts_with("load") => {
                items.push(Item::Load(load(line, body).map_err(within)?));
                i = end;
            }
            word if word.starts_with("eval") => {
                let (eval, used) = eval(i + 1, word, line, body).map_err(within)?;
                items.push(Item::Eval(Box::new(eval)));
                i += 1 + used;
            }
            _ => return Err(within(format!("`{line}` is no item"))),
        }
    }
    Ok(items)
}

fn load(line: &str, body: &[&str]) -> Result<Vec<Series>, String> {
    let step = duration(line.split_whitespace().nth(1).ok_or("a load without a step")?)?;
    let mut all: Vec<Series> = Vec::new();
    for line in body {
        let (labels, values) = series(line)?;
        if values.starts_with("@st") {
            continue;
        }
        let values = expanded(values)?;
        let has_histograms = values.iter().any(|value| matches!(value, Point::Histogram));
        let at = |i: usize| i as i64 * step;
        let points = values.iter().enumerate().filter_map(|(i, value)| match value {
            Point::Nothing => None,
            Point::Float(value) => Some((at(i), *value)),
            Point::Histogram => Some((at(i), stale())),
        });
        let points: Vec<(i64, f64)> = points.collect();
        // Of two alike lines the last one holds.
        all.retain(|series| series.labels != labels);
        all.push(Series { labels, points, has_histograms });
    }
    Ok(all)
}

/// The eval, and how many lines belong to it.
fn eval(line: usize, word: &str, text: &str, body: &[&str]) -> Result<(Eval, usize), String> {
    let rest = text[word.len()..].trim_start();
    let (when, query) = if let Some(rest) = strip_word(rest, "instant") {
        let rest = strip_word(rest, "at").ok_or("an instant without a time")?;
        let (at, query) = split_word(rest);
        (When::Instant(duration(at)?), query)
    } else {
        let rest = strip_word(rest, "range").ok_or("neither instant nor range")?;
        let (from, rest) = split_word(strip_word(rest, "from").ok_or("a range without from")?);
        let (to, rest) = split_word(strip_word(rest, "to").ok_or("a range without to")?);
        let (step, query) = split_word(strip_word(rest, "step").ok_or("a range without step")?);
        (When::Range { from: duration(from)?, to: duration(to)?, step: duration(step)? }, query)
    };
    let mut eval = Eval {
        line,
        query: query.to_string(),
        when,
        expected: Expected::Rows(Vec::new()),
        fails: word == "eval_fail",
        ordered: word == "eval_ordered",
        warn: Annotations { some: (word == "eval_warn").then_some(true), texts: Vec::new() },
        info: Annotations { some: (word == "eval_info").then_some(true), texts: Vec::new() },
        wants_histograms: false,
    };
    let mut rows = Vec::new();
    for (i, line) in body.iter().enumerate() {
        if let Some(rest) = strip_word(line, "expect") {
            expectation(rest, &mut eval)?;
        } else if let Some(number) = number(line) {
            eval.expected = Expected::Scalar(number);
            return Ok((eval, i + 1));
        } else {
            let (labels, values) = series(line)?;
            let values = expanded(values)?;
            eval.wants_histograms |= values.iter().any(|value| matches!(value, Point::Histogram));
            let float = |value: &Point| if let Point::Float(value) = value { Some(*value) } else { None };
            rows.push((labels, values.iter().map(float).collect()));
        }
    }
    match &mut eval.expected {
        Expected::Rows(expected) | Expected::RangeVector { rows: expected, .. } => *expected = rows,
        _ => {}
    }
    Ok((eval, body.len()))
}

fn expectation(text: &str, eval: &mut Eval) -> Result<(), String> {
    let (kind, rest) = split_word(text);
    let (kind, rest) = match kind.split_once("msg:") {
        Some((kind, _)) => (kind, &text[kind.len()..]),
        None => (kind, rest),
    };
    let told = rest.strip_prefix("msg:").or_else(|| rest.strip_prefix("regex:")).map(|text| text.trim().to_string());
    let note = |annotations: &mut Annotations| {
        annotations.some = Some(true);
        annotations.texts.extend(told.clone());
    };
    match kind {
        "fail" => eval.fails = true,
        "ordered" => eval.ordered = true,
        "warn" => note(&mut eval.warn),
        "info" => note(&mut eval.info),
        "no_warn" => eval.warn.some = Some(false),
        "no_info" => eval.info.some = Some(false),
        "string" => {
            let text = rest.trim();
            eval.expected = Expected::Text(unquoted(&text[..1], &text[1..text.len() - 1]));
        }
        "range" => {
            let words: Vec<&str> = rest.split_whitespace().collect();
            let ["vector", "from", from, "to", _, "step", step] = words[..] else {
                return Err(format!("`{rest}` is no range vector"));
            };
            eval.expected = Expected::RangeVector { from: duration(from)?, step: duration(step)?, rows: Vec::new() };
        }
        _ => return Err(format!("`{kind}` is no expectation")),
    }
    Ok(())
}

fn strip_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let rest = text.strip_prefix(word)?;
    rest.starts_with(char::is_whitespace).then(|| rest.trim_start())
}

fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// A duration in milliseconds; a bare number is seconds, a sign is allowed.
fn duration(text: &str) -> Result<i64, String> {
    if let Some(rest) = text.strip_prefix('-') {
        return duration(rest).map(|millis| -millis);
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return Ok((seconds * 1000.0) as i64);
    }
    Span::parse(text).map(|span| span.0).map_err(|error| format!("`{text}` is no duration: {error}"))
}

/// A number of PromQL.
fn number(text: &str) -> Option<f64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.starts_with(['-', '+']) {
        return None;
    }
    let value = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => i64::from_str_radix(hex, 16).ok()? as f64,
        None => digits.parse::<f64>().ok()?,
    };
    Some(sign * value)
}

enum Point {
    Nothing,
    Float(f64),
    Histogram,
}

/// The labels of a line, and the rest of it.
fn series(line: &str) -> Result<(Labels, &str), String> {
    let name_end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(line.len());
    let (name, rest) = line.split_at(name_end);
    let mut pairs: Vec<(String, String)> = Vec::new();
    if !name.is_empty() {
        pairs.push((NAME.into(), name.into()));
    }
    let behind = rest.trim_start();
    let Some(mut inner) = behind.strip_prefix('{').filter(|_| !behind.starts_with("{{")) else {
        return Ok((Labels::new(pairs), behind));
    };
    loop {
        inner = inner.trim_start().trim_start_matches(',').trim_start();
        if let Some(rest) = inner.strip_prefix('}') {
            return Ok((Labels::new(pairs), rest.trim_start()));
        }
        let (label, rest) = word_or_text(inner)?;
        match rest.trim_start().strip_prefix('=') {
            Some(rest) => {
                let (value, rest) = word_or_text(rest.trim_start())?;
                pairs.push((label, value));
                inner = rest;
            }
            None => {
                pairs.push((NAME.into(), label));
                inner = rest;
            }
        }
    }
}

fn word_or_text(text: &str) -> Result<(String, &str), String> {
    let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'' | '`')) else {
        let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
        return if end == 0 { Err(format!("no label in `{text}`")) } else { Ok((text[..end].into(), &text[end..])) };
    };
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(1) {
        if c == quote && !escaped {
            return Ok((unquoted(&text[..1], &text[1..i]), &text[i + 1..]));
        }
        escaped = c == '\\' && !escaped && quote != '`';
    }
    Err(format!("`{text}` does not end"))
}

fn unquoted(quote: &str, text: &str) -> String {
    if quote == "`" {
        return text.into();
    }
    let (mut plain, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next() {
        plain.push(match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some(other) => other,
                None => '\\',
            },
            (c, _) => c,
        });
    }
    plain
}

/// The values of a line.
fn expanded(values: &str) -> Result<Vec<Point>, String> {
    let (mut points, mut rest) = (Vec::new(), values.trim());
    while !rest.is_empty() {
        // Histograms hold blanks, and one may follow another: `{{…}}+{{…}}x3`.
        let mut end = 0;
        loop {
            end += rest[end..].find(|c: char| c.is_whitespace() || c == '{').unwrap_or(rest.len() - end);
            if !rest[end..].starts_with("{{") {
                break;
            }
            end += rest[end..].find("}}").ok_or("a histogram does not end")? + 2;
        }
        let end = end.max(1);
        item(&rest[..end], &mut points)?;
        rest = rest[end..].trim_start();
    }
    Ok(points)
}

fn item(text: &str, points: &mut Vec<Point>) -> Result<(), String> {
    let bad = || format!("`{text}` is no value");
    if text.starts_with("{{") {
        let tail = &text[text.rfind("}}").ok_or_else(bad)? + 2..];
        let times: usize = tail.strip_prefix('x').map_or(Ok(0), str::parse).map_err(|_| bad())?;
        points.extend((0..=times).map(|_| Point::Histogram));
        return Ok(());
    }
    if text == "stale" {
        points.push(Point::Float(stale()));
        return Ok(());
    }
    if let Some(times) = text.strip_prefix('_') {
        let times: usize = times.strip_prefix('x').map_or(Ok(1), str::parse).map_err(|_| bad())?;
        points.extend((0..times).map(|_| Point::Nothing));
        return Ok(());
    }
    // `0x59` is sixty times 0, not a hexadecimal number.
    let repeated = text.rsplit_once('x').and_then(|(line, times)| Some((line, times.parse::<usize>().ok()?)));
    if let Some(value) = number(text).filter(|_| repeated.is_none()) {
        points.push(Point::Float(value));
        return Ok(());
    }
    let (line, times) = repeated.ok_or_else(bad)?;
    let (first, step) = match number(line) {
        Some(value) => (value, 0.0),
        None => {
            let cuts = line.char_indices().skip(1).filter(|(_, c)| matches!(c, '+' | '-'));
            let cut = cuts.map(|(i, _)| i).find(|i| number(&line[..*i]).is_some() && number(&line[*i..]).is_some());
            let (first, step) = line.split_at(cut.ok_or_else(bad)?);
            (number(first).ok_or_else(bad)?, number(step).ok_or_else(bad)?)
        }
    };
    let mut value = first;
    for i in 0..=times {
        if i > 0 {
            value += step;
        }
        points.push(Point::Float(value));
    }
    Ok(())
}
