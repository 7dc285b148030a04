//! One line that holds a sample: where its series ends, its value, its time.

use super::{Fault, Format};
use crate::base::Timestamp;

/// One sample of the page.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point<'a> {
    /// The text of the series as it stands there: `name{a="1"}`. Equal texts are equal series.
    pub series: &'a [u8],
    /// The value.
    pub value: f64,
    /// The time that the target gave.
    pub at: Option<Timestamp>,
}

/// Reads one line that is neither empty nor a comment.
pub(super) fn point(line: &[u8], format: Format) -> Result<Point<'_>, Fault> {
    let (series, rest) = line.split_at(series_end(line)?);
    let (value, at) = reading(rest, format)?;
    Ok(Point { series: series.trim_ascii_end(), value, at })
}

/// Reads what follows the series: the value, the time, and nothing more than an exemplar.
pub fn reading(rest: &[u8], format: Format) -> Result<(f64, Option<Timestamp>), Fault> {
    let (value, rest) = token(rest);
    let value = number(value)?;
    if rest.is_empty() {
        return Ok((value, None));
    }
    let (time, mut rest) = token(rest);
    let at = match time.first() {
        None => None,
        // What follows `#` is an exemplar: a trace's id beside the count.
        Some(b'#') => {
            rest = b"";
            None
        }
        Some(_) => Some(timestamp(time, format)?),
    };
    match skip_blanks(rest).first() {
        None | Some(b'#') => Ok((value, at)),
        Some(_) => Err(Fault::body("more than a series, a value and a time")),
    }
}

/// Where the series ends and the value begins. Quotes hide braces; a backslash hides a quote.
pub fn series_end(line: &[u8]) -> Result<usize, Fault> {
    let name = name_end(line).ok_or(Fault::body("no value"))?;
    let open = line.len() - skip_blanks(&line[name..]).len();
    if line.get(open) != Some(&b'{') {
        return valid_name(&line[..name]).then_some(name).ok_or(Fault::body("not a line of an exposition"));
    }
    if name > 0 && !valid_name(&line[..name]) {
        return Err(Fault::body("not a line of an exposition"));
    }
    let (mut i, mut quoted) = (open + 1, false);
    while let Some(byte) = line.get(i) {
        match byte {
            b'\\' if quoted => i += 1,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Ok(i + 1),
            _ => {}
        }
        i += 1;
    }
    Err(Fault::body("the labels do not end"))
}

/// Where the name before the labels or the value ends; 0 where the name stands within the braces.
pub fn name_end(line: &[u8]) -> Option<usize> {
    memchr::memchr3(b'{', b' ', b'\t', line)
}

/// What follows `series`, the whole text of one, in a line that begins with it and means no other.
pub fn after<'l>(line: &'l [u8], series: &[u8]) -> Option<&'l [u8]> {
    let rest = line.strip_prefix(series)?;
    match series.last()? {
        b'}' => Some(rest),
        // A name alone: it may go on, or its labels may follow behind a gap.
        _ if !matches!(rest.first(), Some(b' ' | b'\t')) => None,
        _ if skip_blanks(rest).first() == Some(&b'{') => None,
        _ => Some(rest),
    }
}

/// The next word, and what follows it.
fn token(text: &[u8]) -> (&[u8], &[u8]) {
    let text = skip_blanks(text);
    text.split_at(text.iter().position(|b| is_blank(*b)).unwrap_or(text.len()))
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Within a line only spaces and tabs stand between words.
pub(super) fn skip_blanks(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|b| !is_blank(*b)).unwrap_or(text.len());
    &text[start..]
}

/// The most digits whose number a float holds exactly.
const EXACT_DIGITS: usize = 15;

/// A number as `strconv.ParseFloat` of Go reads it, but for hexadecimal and `_`, which Prometheus refuses as well.
pub(super) fn number(text: &[u8]) -> Result<f64, Fault> {
    if text.len() <= EXACT_DIGITS && text.iter().all(u8::is_ascii_digit) && !text.is_empty() {
        return Ok(text.iter().fold(0u64, |n, b| n * 10 + u64::from(b - b'0')) as f64);
    }
    if text.is_empty() {
        return Err(Fault::body("no value"));
    }
    let value: f64 =
        std::str::from_utf8(text).ok().and_then(|t| t.parse().ok()).ok_or(Fault::body("the value is no number"))?;
    if value.is_nan() {
        // One NaN whatever its sign: no text can stand for the marker that ends a series, which is a NaN as well.
        return Ok(f64::NAN);
    }
    if value.is_infinite() && text.iter().any(u8::is_ascii_digit) {
        return Err(Fault::body("the value is larger than a float can be"));
    }
    Ok(value)
}

fn timestamp(text: &[u8], format: Format) -> Result<Timestamp, Fault> {
    let fault = Fault::body("the time is no number");
    let text = std::str::from_utf8(text).map_err(|_| fault.clone())?;
    if format != Format::OpenMetrics {
        return text.parse().map(Timestamp).map_err(|_| fault);
    }
    let seconds: f64 = text.parse().map_err(|_| fault.clone())?;
    // Beyond this a float no longer tells milliseconds apart, and no clock is there either.
    if seconds.is_finite() && seconds.abs() < 1e12 {
        Ok(Timestamp((seconds * 1000.0).round() as i64))
    } else {
        Err(fault)
    }
}

/// `[a-zA-Z_:][a-zA-Z0-9_:]*`, as names are without quotes.
pub(super) fn valid_name(name: &[u8]) -> bool {
    let letters = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':');
    name.first().is_some_and(|b| !b.is_ascii_digit()) && name.iter().all(letters)
}
