//! The parameters of the read API: from the address and, where it is a form, from the body.
//!
//! Times are Unix seconds or RFC 3339, lengths of time are seconds or durations of Prometheus (`1h30m`). Each mistake names
//! its parameter.

use crate::base::{Span, Timestamp};

/// The most parameters of one request.
const MAX_PARAMETERS: usize = 1024;

/// The years 0001 to 9999, in milliseconds: where a query may be.
const TIMES: std::ops::RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

/// What a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params(Vec<(String, String)>);

/// A parameter that is missing or cannot be read, as a sentence.
pub type Mistake = String;

impl Params {
    /// The parameters of a body (a form, or empty) and of the part of the address behind `?`; the body's come first.
    ///
    /// # Errors
    /// When there are more than 1024.
    pub fn read(body: &[u8], query: &str) -> Result<Params, Mistake> {
        let all = form_urlencoded::parse(body).chain(form_urlencoded::parse(query.as_bytes()));
        let found: Vec<(String, String)> =
            all.take(MAX_PARAMETERS + 1).map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        if found.len() > MAX_PARAMETERS {
            return Err(format!("more than {MAX_PARAMETERS} parameters"));
        }
        Ok(Params(found))
    }

    /// The first value of a parameter that is not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, value)| n == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that must be there.
    ///
    /// # Errors
    /// When it is missing.
    pub fn required(&self, name: &str) -> Result<&str, Mistake> {
        self.get(name).ok_or_else(|| missing(name))
    }

    /// A time that a query is evaluated at.
    ///
    /// # Errors
    /// When it is no time, or not within the years 1 to 9999.
    pub fn time(&self, name: &str) -> Result<Option<Timestamp>, Mistake> {
        let Some(at) = self.bound(name)? else { return Ok(None) };
        if TIMES.contains(&at.0) { Ok(Some(at)) } else { Err(bad(name, "it is not within the years 1 to 9999")) }
    }

    /// The edge of a span of time, however far away.
    ///
    /// # Errors
    /// When it is no time.
    pub fn bound(&self, name: &str) -> Result<Option<Timestamp>, Mistake> {
        self.get(name).map(|text| time(text).map_err(|why| bad(name, &why))).transpose()
    }

    /// A length of time above zero.
    ///
    /// # Errors
    /// When it is none.
    pub fn span(&self, name: &str) -> Result<Option<Span>, Mistake> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let span = span(text).map_err(|why| bad(name, &why))?;
        if span > Span::ZERO { Ok(Some(span)) } else { Err(bad(name, "it must be longer than 0 (at least 1ms)")) }
    }

    /// How many results are wanted at most; none for all.
    ///
    /// # Errors
    /// When it is no whole number.
    pub fn limit(&self) -> Result<Option<usize>, Mistake> {
        let Some(text) = self.get("limit") else { return Ok(None) };
        match text.parse() {
            Ok(0) => Ok(None),
            Ok(n) => Ok(Some(n)),
            Err(_) => Err(bad("limit", "it is no whole number from 0")),
        }
    }
}

/// A parameter is missing.
pub fn missing(name: &str) -> Mistake {
    format!("the parameter \"{name}\" is missing")
}

fn bad(name: &str, why: &str) -> Mistake {
    format!("invalid parameter \"{name}\": {why}")
}

/// Unix seconds with a fraction, or RFC 3339.
///
/// # Errors
/// When it is neither.
pub fn time(text: &str) -> Result<Timestamp, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        if !seconds.is_finite() {
            return Err(format!("`{}` is no time", shown(text)));
        }
        // Casts saturate; far edges mean "everything".
        return Ok(Timestamp((seconds * 1000.0).round().clamp(-9e17, 9e17) as i64));
    }
    match text.parse::<jiff::Timestamp>() {
        Ok(at) => Ok(Timestamp(at.as_millisecond())),
        // What clients in Go write for their first and last moment.
        Err(_) if text == "-292273086-05-16T16:47:06Z" => Ok(Timestamp(-9 * 10i64.pow(17))),
        Err(_) if text == "+292277025-08-18T07:12:54.999999999Z" => Ok(Timestamp(9 * 10i64.pow(17))),
        Err(_) => Err(format!("`{}` is neither Unix seconds nor RFC 3339", shown(text))),
    }
}

/// Seconds with a fraction, or a duration of Prometheus, years (of 365 days) included.
///
/// # Errors
/// When it is neither, or longer than a hundred years.
pub fn span(text: &str) -> Result<Span, String> {
    const LONGEST: f64 = 100.0 * 366.0 * 86_400_000.0;
    if let Ok(seconds) = text.parse::<f64>() {
        let ms = seconds * 1000.0;
        let is_right = ms.is_finite() && ms.abs() <= LONGEST;
        return if is_right { Ok(Span(ms as i64)) } else { Err(format!("`{}` is no length of time", shown(text))) };
    }
    let (years, rest) = match text.split_once('y') {
        Some((years, rest)) => (years.parse::<u8>().map_err(|_| format!("`{}` is no duration", shown(text)))?, rest),
        None => (0, text),
    };
    let rest = if years > 0 && rest.is_empty() { Span::ZERO } else { Span::parse(rest)? };
    Ok(Span(i64::from(years) * 365 * 86_400_000) + rest)
}

/// The beginning of a text, for a message.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_comes_before_the_address_and_everything_is_decoded() {
        let params = Params::read(b"query=sum%28x%29+%2B+1&match[]=a", "query=other&match%5B%5D=b&empty=").unwrap();
        assert_eq!(params.get("query"), Some("sum(x) + 1"));
        assert_eq!(params.all("match[]").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(params.get("empty"), None);
        assert_eq!(params.required("time"), Err("the parameter \"time\" is missing".into()));
        assert!(Params::read("a=1&".repeat(1025).as_bytes(), "").is_err());
    }

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        for (text, ms) in [
            ("0", 0),
            ("1700000000.123", 1_700_000_000_123),
            ("1.7e9", 1_700_000_000_000),
            ("-1.5", -1500),
            ("2015-07-01T20:10:51.781Z", 1_435_781_451_781),
            ("2015-07-01T22:10:51+02:00", 1_435_781_451_000),
        ] {
            assert_eq!(time(text), Ok(Timestamp(ms)), "{text}");
        }
        for text in ["", "NaN", "inf", "yesterday", "2015-07-01", "12:00"] {
            assert!(time(text).is_err(), "{text}");
        }
        assert!(time("1e300").unwrap().0 > 0, "far edges are cut");
        let params = Params::read(b"time=1e300&start=1e300", "").unwrap();
        assert!(params.time("time").is_err());
        assert!(params.bound("start").is_ok());
    }

    #[test]
    fn lengths_are_seconds_or_durations() {
        for (text, ms) in
            [("15", 15_000), ("0.5", 500), ("1h30m", 5_400_000), ("1y", 31_536_000_000), ("1y1d", 31_622_400_000)]
        {
            assert_eq!(span(text), Ok(Span(ms)), "{text}");
        }
        for text in ["", "x", "1e300", "NaN", "5q", "y", "999y"] {
            assert!(span(text).is_err(), "{text}");
        }
        let params = Params::read(b"step=0&limit=x", "").unwrap();
        assert_eq!(
            params.span("step").unwrap_err(),
            "invalid parameter \"step\": it must be longer than 0 (at least 1ms)"
        );
        assert!(params.limit().is_err());
    }
}
