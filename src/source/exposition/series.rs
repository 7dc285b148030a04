//! The text of a series into its name and labels.

use std::borrow::Cow;

use super::line::{number, skip_blanks, valid_name};
use super::{Fault, MAX_LABELS, MAX_NAME, MAX_VALUE};

/// The decoded labels of a series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series<'a> {
    /// The name.
    pub name: Cow<'a, str>,
    /// The labels in order of appearance, each name once.
    pub labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// What a `# TYPE` line declares, as far as it changes how labels are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A histogram: the label `le` is a number.
    Histogram,
    /// A summary: the label `quantile` is a number.
    Summary,
    /// Everything else.
    #[default]
    Other,
}

impl Kind {
    /// What a comment declares; none when it is no `# TYPE name kind`.
    pub(super) fn declared(comment: &[u8]) -> Option<Kind> {
        let rest = skip_blanks(comment.strip_prefix(b"#")?).strip_prefix(b"TYPE")?;
        let kind = rest.rsplit(|b| matches!(b, b' ' | b'\t')).next()?;
        Some(match kind {
            b"histogram" => Kind::Histogram,
            b"summary" => Kind::Summary,
            _ => Kind::Other,
        })
    }
}

impl Series<'_> {
    /// Writes the bounds of buckets and quantiles as OpenMetrics does, `le="1.0"` and not `le="1"`, as Prometheus 3 does:
    /// one rule then fits a service in either format.
    pub fn normalize(&mut self, kind: Kind) {
        let wanted = match kind {
            Kind::Histogram => "le",
            Kind::Summary => "quantile",
            Kind::Other => return,
        };
        for (_, value) in self.labels.iter_mut().filter(|(name, _)| name == wanted) {
            if let Ok(bound) = number(value.as_bytes()) {
                *value = Cow::Owned(canonical(bound));
            }
        }
    }
}

/// A float as OpenMetrics wants it in a label: the fewest digits that read back, with an exponent from a million on and
/// below a ten-thousandth, and never without a dot or an exponent.
fn canonical(number: f64) -> String {
    if !number.is_finite() {
        return if number.is_nan() { "NaN" } else { ["-Inf", "+Inf"][usize::from(number > 0.0)] }.to_string();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = number.to_string();
    if plain.contains('.') { plain } else { plain + ".0" }
}

/// Decodes the text of a series.
///
/// # Errors
/// When the labels are no labels, one stands there twice, or a bound is passed.
pub fn decode(series: &[u8]) -> Result<Series<'_>, Fault> {
    let open = series.iter().position(|b| *b == b'{').unwrap_or(series.len());
    let mut found = Series { name: utf8(series[..open].trim_ascii_end())?.into(), labels: Vec::new() };
    let mut rest = skip_blanks(series.get(open + 1..).unwrap_or(b"}"));
    while rest != b"}" {
        rest = label(rest, &mut found)?;
        rest = match rest {
            [b',', rest @ ..] => skip_blanks(rest),
            b"}" => rest,
            _ => return Err(Fault::body("labels are separated by commas")),
        };
    }
    if found.name.is_empty() {
        return Err(Fault::body("a series without a name"));
    }
    if found.name.len() > MAX_NAME {
        return Err(Fault::large("a name longer than 1 KiB"));
    }
    Ok(found)
}

/// Reads one `name="value"`, or the quoted name of the series, into `found`; returns what follows it.
fn label<'a>(text: &'a [u8], found: &mut Series<'a>) -> Result<&'a [u8], Fault> {
    let is_quoted = text.first() == Some(&b'"');
    let (name, rest) = if is_quoted { quoted(text)? } else { bare(text)? };
    let rest = skip_blanks(rest);
    let [b'=', rest @ ..] = rest else {
        if !is_quoted || name.is_empty() {
            return Err(Fault::body("a label without a value"));
        }
        if !found.name.is_empty() {
            return Err(Fault::body("a series with two names"));
        }
        found.name = name;
        return Ok(rest);
    };
    let (value, rest) = quoted(skip_blanks(rest))?;
    if name.is_empty() || name == crate::base::label::NAME {
        return Err(Fault::body("a label that is no label"));
    }
    if name.len() > MAX_NAME || value.len() > MAX_VALUE {
        return Err(Fault::large("a label's name longer than 1 KiB, or its value longer than 8 KiB"));
    }
    if found.labels.len() == MAX_LABELS {
        return Err(Fault { reason: "too-many", what: "more than 64 labels" });
    }
    if found.labels.iter().any(|(n, _)| *n == name) {
        return Err(Fault::body("the same label twice"));
    }
    found.labels.push((name, value));
    Ok(skip_blanks(rest))
}

fn bare(text: &[u8]) -> Result<(Cow<'_, str>, &[u8]), Fault> {
    let end = text.iter().position(|b| !(b.is_ascii_alphanumeric() || *b == b'_')).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if !valid_name(name) {
        return Err(Fault::body("a label's name is missing or has other characters than letters, digits and `_`"));
    }
    Ok((utf8(name)?.into(), rest))
}

/// Reads a quoted text with its escapes `\\`, `\"`, `\n`; any other backslash stands for itself.
fn quoted(text: &[u8]) -> Result<(Cow<'_, str>, &[u8]), Fault> {
    let Some(inside) = text.strip_prefix(b"\"") else {
        return Err(Fault::body("a quote is missing"));
    };
    let (mut i, mut escaped) = (0, false);
    loop {
        match inside.get(i) {
            Some(b'"') => break,
            Some(b'\\') => {
                escaped = true;
                i += 2;
            }
            Some(_) => i += 1,
            None => return Err(Fault::body("a quote does not end")),
        }
    }
    let plain = utf8(&inside[..i])?;
    let text = if escaped { Cow::Owned(unescape(plain)) } else { Cow::Borrowed(plain) };
    Ok((text, &inside[i + 1..]))
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, false) => plain.push(c),
            (_, true) => match chars.next() {
                Some('n') => plain.push('\n'),
                Some(c @ ('\\' | '"')) => plain.push(c),
                Some(c) => plain.extend(['\\', c]),
                None => plain.push('\\'),
            },
        }
    }
    plain
}

fn utf8(text: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(text).map_err(|_| Fault::body("not UTF-8"))
}
