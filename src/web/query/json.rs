//! Prometheus's JSON, written straight into one buffer.
//!
//! Enters: values. Leaves: bytes as Prometheus's API sends them: a sample is `[1700000000.5,"1.5"]`, its value in Go's
//! shortest form (`NaN`, `+Inf`, an exponent below 1e-6 and from 1e21). What would be longer than [`MAX_ANSWER`] is refused.

use std::io::Write;

use crate::base::{Labels, Timestamp};
use crate::promql::{Annotation, Answer, Value};

/// The longest answer, in bytes.
pub const MAX_ANSWER: usize = 64 << 20;

/// The answer would be longer than [`MAX_ANSWER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// What stands around the data of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// What is probably wrong.
    pub warnings: Vec<String>,
    /// What is worth knowing.
    pub infos: Vec<String>,
}

impl Notes {
    /// The notes of an evaluation, each with its line and column in `text`.
    pub fn of(annotations: &[Annotation], text: &str) -> Notes {
        let mut notes = Notes::default();
        for annotation in annotations {
            let kind = if annotation.is_warning { "warning" } else { "info" };
            let (line, column) = line_and_column(text, annotation.at.start);
            let said = annotation.message.as_str();
            let list = if annotation.is_warning { &mut notes.warnings } else { &mut notes.infos };
            list.push(format!("PromQL {kind}: {said} ({line}:{column})"));
        }
        notes
    }
}

/// The line and the column of a byte of `text`, both counted from 1, the column in bytes.
pub fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..at.min(text.len())];
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let start = before.iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
    (line, before.len() - start + 1)
}

/// A whole answer of success whose `data` is what `write` writes.
///
/// # Errors
/// What `write` gives.
pub fn success<E>(notes: &Notes, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<Vec<u8>, E> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(br#"{"status":"success","data":"#);
    write(&mut out)?;
    for (key, list) in [("warnings", &notes.warnings), ("infos", &notes.infos)] {
        if !list.is_empty() {
            put(&mut out, format_args!(",\"{key}\":"));
            list_of(&mut out, list, |out, text| string(out, text));
        }
    }
    out.push(b'}');
    Ok(out)
}

/// A whole answer of failure.
pub fn failure(kind: &str, message: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(128 + message.len());
    out.extend_from_slice(br#"{"status":"error","errorType":"#);
    string(&mut out, kind);
    out.extend_from_slice(br#","error":"#);
    string(&mut out, message);
    out.push(b'}');
    out
}

/// The `data` of a query: its type and its result; `at` is the time of the evaluation.
///
/// # Errors
/// When it would be too large.
pub fn answer(out: &mut Vec<u8>, answer: &Answer, at: Timestamp) -> Result<(), TooLarge> {
    let kind = match &answer.value {
        Value::Scalar(_) => "scalar",
        Value::Text(_) => "string",
        Value::Vector(_) => "vector",
        Value::Matrix(_) => "matrix",
    };
    put(out, format_args!("{{\"resultType\":\"{kind}\",\"result\":"));
    match &answer.value {
        Value::Scalar(value) => sample(out, at, *value),
        Value::Text(text) => {
            out.push(b'[');
            time(out, at);
            out.push(b',');
            string(out, text);
            out.push(b']');
        }
        Value::Vector(points) => rows(out, points, |out, point| {
            metric(out, &point.labels);
            out.extend_from_slice(b",\"value\":");
            sample(out, at, point.value);
            out.push(b'}');
        })?,
        Value::Matrix(all) => rows(out, all, |out, row| {
            metric(out, &row.labels);
            out.extend_from_slice(b",\"values\":");
            list_of(out, &row.points, |out, (at, value)| sample(out, *at, *value));
            out.push(b'}');
        })?,
    }
    out.push(b'}');
    Ok(())
}

/// A list of label sets.
///
/// # Errors
/// When it would be too large.
pub fn label_sets(out: &mut Vec<u8>, sets: &[Labels]) -> Result<(), TooLarge> {
    rows(out, sets, labels)
}

/// A list of texts.
///
/// # Errors
/// When it would be too large.
pub fn strings(out: &mut Vec<u8>, all: &[&str]) -> Result<(), TooLarge> {
    rows(out, all, |out, text| string(out, text))
}

fn rows<T>(out: &mut Vec<u8>, all: &[T], mut each: impl FnMut(&mut Vec<u8>, &T)) -> Result<(), TooLarge> {
    out.push(b'[');
    for (i, one) in all.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        each(out, one);
        if out.len() > MAX_ANSWER {
            return Err(TooLarge);
        }
    }
    out.push(b']');
    Ok(())
}

fn list_of<T>(out: &mut Vec<u8>, all: &[T], mut each: impl FnMut(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (i, one) in all.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        each(out, one);
    }
    out.push(b']');
}

fn metric(out: &mut Vec<u8>, set: &Labels) {
    out.extend_from_slice(b"{\"metric\":");
    labels(out, set);
}

fn labels(out: &mut Vec<u8>, set: &Labels) {
    out.push(b'{');
    for (i, (name, value)) in set.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        string(out, name);
        out.push(b':');
        string(out, value);
    }
    out.push(b'}');
}

fn sample(out: &mut Vec<u8>, at: Timestamp, value: f64) {
    out.push(b'[');
    time(out, at);
    out.extend_from_slice(b",\"");
    float(out, value);
    out.extend_from_slice(b"\"]");
}

/// Seconds, with three digits behind the point where it is no whole second.
fn time(out: &mut Vec<u8>, at: Timestamp) {
    let sign = if at.0 < 0 { "-" } else { "" };
    let (seconds, millis) = (at.0.unsigned_abs() / 1000, at.0.unsigned_abs() % 1000);
    if millis == 0 {
        put(out, format_args!("{sign}{seconds}"));
    } else {
        put(out, format_args!("{sign}{seconds}.{millis:03}"));
    }
}

/// A value in Go's shortest form.
pub fn float(out: &mut Vec<u8>, value: f64) {
    const WHOLE: f64 = 1e15;
    let size = value.abs();
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    } else if size < WHOLE && value.trunc() == value && !(value == 0.0 && value.is_sign_negative()) {
        put(out, format_args!("{}", value as i64));
    } else if value != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
        put(out, format_args!("{digits}e{sign}{exponent:0>2}"));
    } else {
        put(out, format_args!("{value}"));
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        serde_json::to_writer(out, text).expect("memory takes every text");
    }
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("memory takes every text");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::{Finding, Point, Row};

    fn written(value: f64) -> String {
        let mut out = Vec::new();
        float(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_written_as_go_writes_them() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-17.0, "-17"),
            (0.1, "0.1"),
            (1.5e-6, "0.0000015"),
            (1e-6, "0.000001"),
            (9.99e-7, "9.99e-07"),
            (1e-7, "1e-07"),
            (-2.5e-10, "-2.5e-10"),
            (5e-324, "5e-324"),
            (1e15, "1000000000000000"),
            (123456789012345680.0, "123456789012345680"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (f64::MAX, "1.7976931348623157e+308"),
            (1.0 / 3.0, "0.3333333333333333"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(written(value), text);
        }
    }

    #[test]
    fn every_value_that_is_written_reads_back() {
        let mut bits = 1u64;
        for _ in 0..20_000 {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let value = f64::from_bits(bits);
            if value.is_finite() {
                assert_eq!(written(value).parse::<f64>().unwrap().to_bits(), value.to_bits(), "{value:e}");
            }
        }
    }

    #[test]
    fn times_have_three_digits_or_none() {
        for (ms, text) in [
            (0, "0"),
            (1_700_000_000_000, "1700000000"),
            (1_700_000_000_005, "1700000000.005"),
            (1_700_000_000_100, "1700000000.100"),
            (-1, "-0.001"),
            (-1500, "-1.500"),
        ] {
            let mut out = Vec::new();
            time(&mut out, Timestamp(ms));
            assert_eq!(out, text.as_bytes());
        }
    }

    fn whole(value: Value) -> String {
        let given = Answer { value, annotations: Vec::new() };
        let done = success(&Notes::default(), |out| answer(out, &given, Timestamp(1_500)));
        String::from_utf8(done.unwrap()).unwrap()
    }

    #[test]
    fn the_four_types_have_their_shapes() {
        let labels = Labels::new([("__name__", "up"), ("job", "a\"b\\c\nd\u{1}")]);
        let point = Point { labels: labels.clone(), value: 1.0, newest: Timestamp(0) };
        let row = Row { labels, points: vec![(Timestamp(1000), 2.0), (Timestamp(1250), f64::NAN)] };
        let metric = r#"{"__name__":"up","job":"a\"b\\c\nd\u0001"}"#;
        for (value, kind, result) in [
            (Value::Scalar(3.5), "scalar", r#"[1.500,"3.5"]"#.to_string()),
            (Value::Text("x\ty".into()), "string", r#"[1.500,"x\ty"]"#.to_string()),
            (Value::Vector(Vec::new()), "vector", "[]".into()),
            (Value::Vector(vec![point]), "vector", format!(r#"[{{"metric":{metric},"value":[1.500,"1"]}}]"#)),
            (
                Value::Matrix(vec![row]),
                "matrix",
                format!(r#"[{{"metric":{metric},"values":[[1,"2"],[1.250,"NaN"]]}}]"#),
            ),
        ] {
            let wanted = format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#);
            assert_eq!(whole(value), wanted);
        }
    }

    #[test]
    fn notes_stand_behind_the_data_with_their_place() {
        let text = "sum(\n  rate(x[5m]))";
        let finding = || Finding::OrderIsLost;
        let note = |is_warning, at| Annotation { is_warning, message: "odd".into(), at, finding: finding() };
        let notes = Notes::of(&[note(false, 12..13), note(true, 0..3)], text);
        let done = success::<()>(&notes, |out| {
            out.extend_from_slice(b"[]");
            Ok(())
        });
        let wanted = r#"{"status":"success","data":[],"warnings":["PromQL warning: odd (1:1)"],"infos":["PromQL info: odd (2:8)"]}"#;
        assert_eq!(String::from_utf8(done.unwrap()).unwrap(), wanted);
    }

    #[test]
    fn an_answer_has_a_bound() {
        let text = "x".repeat(1 << 20);
        let all = vec![text.as_str(); 65];
        assert_eq!(strings(&mut Vec::new(), &all), Err(TooLarge));
        assert_eq!(strings(&mut Vec::new(), &all[..3]), Ok(()));
    }
}
