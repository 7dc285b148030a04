//! Series and values as test files write them: `up{job="api"}` and `1x4 _x2 0+10x5 stale`.
//!
//! Point k of a series stands at k intervals. `A` is one point, `AxN` N+1 points, `A+BxN` N+1 points that rise by B, `_` none,
//! `_xN` N times none, `stale` the end of the series.

use crate::base::Labels;
use crate::base::label::NAME;
use crate::rule::prometheus::{is_label_name, is_metric_name};
use crate::store::stale;

/// The most points of one series.
pub const MAX_POINTS: usize = 100_000;

/// Points in steps of the interval; none where there is no sample.
pub type Points = Vec<Option<f64>>;

/// Reads the values of a series.
///
/// # Errors
/// What is wrong, with the item.
pub fn values(text: &str) -> Result<Points, String> {
    if text.contains("{{") {
        return Err("native histograms are not supported".into());
    }
    let mut points = Points::new();
    for item in text.split_whitespace() {
        append(item, &mut points).map_err(|why| format!("`{item}`: {why}"))?;
        if points.len() > MAX_POINTS {
            return Err(format!("more than {MAX_POINTS} points"));
        }
    }
    Ok(points)
}

fn append(item: &str, points: &mut Points) -> Result<(), String> {
    if item == "stale" {
        points.push(Some(stale()));
        return Ok(());
    }
    let (value, times) = match item.rsplit_once('x') {
        Some((value, times)) if !times.is_empty() && times.bytes().all(|b| b.is_ascii_digit()) => {
            let times: usize = times.parse().unwrap_or(usize::MAX);
            if times > MAX_POINTS {
                return Err(format!("more than {MAX_POINTS} points"));
            }
            (value, Some(times))
        }
        _ => (item, None),
    };
    if value == "_" {
        points.extend(std::iter::repeat_n(None, times.unwrap_or(1)));
        return Ok(());
    }
    let length = number_length(value);
    let (first, rest) = value.split_at(length);
    let mut at = number(first)?;
    let by = match (rest, times) {
        ("", _) => 0.0,
        (rest, Some(_)) if rest.starts_with(['+', '-']) && number_length(rest) == rest.len() => number(rest)?,
        _ => return Err("neither a value, A+BxN, `_` nor `stale`".into()),
    };
    for _ in 0..=times.unwrap_or(0) {
        points.push(Some(at));
        at += by;
    }
    Ok(())
}

/// How long the number at the start is, its sign included.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut end = usize::from(text.starts_with(['+', '-']));
    let word = text[end..].get(..3).filter(|w| w.eq_ignore_ascii_case("inf") || w.eq_ignore_ascii_case("nan"));
    if word.is_some() {
        return end + 3;
    }
    let digits = |mut at: usize| {
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        at
    };
    end = digits(end);
    if bytes.get(end) == Some(&b'.') {
        end = digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(end + 1 + sign);
        if exponent > end + 1 + sign {
            end = exponent;
        }
    }
    end
}

/// One number, as PromQL and YAML write it.
///
/// # Errors
/// When it is none.
pub fn number(text: &str) -> Result<f64, String> {
    let bare = text.trim_start_matches(['+', '-']).trim_start_matches('.').to_ascii_lowercase();
    let negative = text.starts_with('-');
    match bare.as_str() {
        "inf" => return Ok(if negative { f64::NEG_INFINITY } else { f64::INFINITY }),
        "nan" => return Ok(f64::NAN),
        "infinity" | "" => return Err(format!("`{text}` is no number")),
        _ => {}
    }
    if let Some(hex) = bare.strip_prefix("0x").and_then(|h| i64::from_str_radix(h, 16).ok()) {
        return Ok(if negative { -(hex as f64) } else { hex as f64 });
    }
    text.strip_prefix('+').unwrap_or(text).parse().map_err(|_| format!("`{text}` is no number"))
}

/// Reads a series: a name, labels in braces, or both.
///
/// # Errors
/// What is wrong.
pub fn series(text: &str) -> Result<Labels, String> {
    let text = text.trim();
    let (name, braces) = match text.find('{') {
        Some(at) => (text[..at].trim(), Some(&text[at + 1..])),
        None => (text, None),
    };
    if !name.is_empty() && !is_metric_name(name) {
        return Err(format!("`{name}` is no name of a series"));
    }
    let mut pairs: Vec<(String, String)> = Vec::new();
    if !name.is_empty() {
        pairs.push((NAME.into(), name.into()));
    }
    match braces {
        Some(inside) => labels(inside, &mut pairs)?,
        None if name.is_empty() => return Err("a series is empty".into()),
        None => {}
    }
    let mut names: Vec<&String> = pairs.iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("the label `{}` is there twice", twice[0]));
    }
    Ok(Labels::new(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))))
}

fn labels(mut rest: &str, pairs: &mut Vec<(String, String)>) -> Result<(), String> {
    loop {
        rest = rest.trim_start();
        if let Some(behind) = rest.strip_prefix('}') {
            let behind = behind.trim();
            return if behind.is_empty() { Ok(()) } else { Err(format!("`{behind}` stands behind the labels")) };
        }
        let quoted = rest.starts_with(['"', '\'', '`']);
        let (name, after) = if quoted {
            text(rest)?
        } else {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            (rest[..end].to_string(), &rest[end..])
        };
        let after = after.trim_start();
        if let Some(value) = after.strip_prefix('=') {
            if !quoted && !is_label_name(&name) {
                return Err(format!("`{name}` is no name of a label"));
            }
            let (value, after) = text(value.trim_start())?;
            pairs.push((name, value));
            rest = after.trim_start();
        } else if quoted {
            pairs.push((NAME.into(), name));
            rest = after;
        } else if name.is_empty() {
            return Err("the labels are not closed".into());
        } else {
            return Err(format!("the label `{name}` has no value: {name}=\"…\""));
        }
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.starts_with('}') => {}
            None => return Err("between two labels stands a comma, behind the last `}`".into()),
        }
    }
}

/// A text in one of the three quotes, and what follows it.
fn text(from: &str) -> Result<(String, &str), String> {
    let Some(quote) = from.chars().next().filter(|c| matches!(c, '"' | '\'' | '`')) else {
        return Err("a value stands in quotes".into());
    };
    let mut out = String::new();
    let mut chars = from.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Ok((out, &from[at + 1..])),
            '\\' if quote != '`' => match chars.next().map(|(_, c)| c) {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some(c @ ('\\' | '"' | '\'')) => out.push(c),
                _ => return Err("an unknown escape in a value".into()),
            },
            c => out.push(c),
        }
    }
    Err("a value is not closed".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_expanded() {
        let text = |v: &str| {
            let show = |p: &Option<f64>| match p {
                None => "_".into(),
                Some(v) if crate::store::is_stale(*v) => "stale".into(),
                Some(v) => v.to_string(),
            };
            values(v).map(|points| points.iter().map(show).collect::<Vec<String>>().join(" "))
        };
        for (from, to) in [
            ("1x3", "1 1 1 1"),
            ("0x2", "0 0 0"),
            ("0+10x3 5", "0 10 20 30 5"),
            ("10-2x2", "10 8 6"),
            ("-1-1x1", "-1 -2"),
            ("1 _ _x2 stale", "1 _ _ _ stale"),
            ("1.5e2x1 Inf -inf NaN", "150 150 inf -inf NaN"),
            ("", ""),
            ("5x0", "5"),
        ] {
            assert_eq!(text(from).as_deref(), Ok(to), "{from}");
        }
        for bad in ["x", "1+", "1+2", "stalex3", "{{schema:1}}x2", "1x99999999999", "1++2x3", "a", "__"] {
            assert!(values(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn series_are_read_in_all_their_forms() {
        for (from, to) in [
            ("up", "up"),
            ("up{}", "up"),
            ("up { job = \"api\" , x='y', }", "up{job=\"api\",x=\"y\"}"),
            ("{__name__=\"up\",a=`b\\`}", "up{a=\"b\\\\\"}"),
            ("{\"up\", \"a\"=\"b\"}", "up{a=\"b\"}"),
            ("{}", "{}"),
        ] {
            assert_eq!(series(from).map(|l| l.to_string()).as_deref(), Ok(to), "{from}");
        }
        for bad in [
            "",
            "1up",
            "up{",
            "up{a}",
            "up{a=b}",
            "up{a=\"b\"} 1",
            "up{a=\"b\" c=\"d\"}",
            "up{a=\"1\",a=\"2\"}",
            "up{a=\"b",
        ] {
            assert!(series(bad).is_err(), "{bad}");
        }
    }
}
