//! Values with units: what a person writes behind a comparison, and reads beside a figure.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Span;

/// What a value measures. All values are stored in base units; this decides how they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// A plain number.
    Count,
    /// A ratio, written in percent.
    Ratio,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

/// A number in base units together with what it measures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantity {
    /// In base units: a ratio, seconds, bytes, or a plain number.
    #[serde(with = "super::float")]
    pub value: f64,
    /// What it measures.
    pub unit: Unit,
}

impl Quantity {
    /// A plain number.
    pub fn count(value: f64) -> Quantity {
        Quantity { value, unit: Unit::Count }
    }

    /// A share between 0 and 1.
    pub fn ratio(value: f64) -> Quantity {
        Quantity { value, unit: Unit::Ratio }
    }

    /// Parses `"5%"`, `"300ms"`, `"512MiB"`, `"2GB"`, `"100"`, `"-3.5"`.
    ///
    /// # Errors
    /// A fragment such as `` `bananas` is no unit ``; [`Quantity::bad_part`] says which part of the text it means.
    pub fn parse(text: &str) -> Result<Quantity, String> {
        let text = text.trim();
        let Some((number, unit)) = Quantity::split(text) else {
            return Err(format!("`{text}` is no value"));
        };
        let scale = |unit, by: f64| Ok(Quantity { value: number * by, unit });
        match unit {
            "" => scale(Unit::Count, 1.0),
            "%" => scale(Unit::Ratio, 0.01),
            "B" => scale(Unit::Bytes, 1.0),
            "KB" => scale(Unit::Bytes, 1e3),
            "MB" => scale(Unit::Bytes, 1e6),
            "GB" => scale(Unit::Bytes, 1e9),
            "TB" => scale(Unit::Bytes, 1e12),
            "KiB" => scale(Unit::Bytes, 1024.0),
            "MiB" => scale(Unit::Bytes, 1024f64.powi(2)),
            "GiB" => scale(Unit::Bytes, 1024f64.powi(3)),
            "TiB" => scale(Unit::Bytes, 1024f64.powi(4)),
            "us" => scale(Unit::Seconds, 1e-6),
            "ms" => scale(Unit::Seconds, 1e-3),
            "s" => scale(Unit::Seconds, 1.0),
            "m" => scale(Unit::Seconds, 60.0),
            "h" => scale(Unit::Seconds, 3600.0),
            "d" => scale(Unit::Seconds, 86_400.0),
            "w" => scale(Unit::Seconds, 604_800.0),
            other => match Span::parse(text) {
                Ok(span) => Ok(Quantity { value: span.as_secs(), unit: Unit::Seconds }),
                Err(_) => Err(format!("`{other}` is no unit")),
            },
        }
    }

    /// The byte range of the part of `text` that [`Quantity::parse`] objects to.
    pub fn bad_part(text: &str) -> std::ops::Range<usize> {
        let trimmed = text.trim_start();
        let start = text.len() - trimmed.len();
        match Quantity::split(trimmed.trim_end()) {
            Some((_, unit)) if !unit.is_empty() => {
                let end = start + trimmed.trim_end().len();
                end - unit.len()..end
            }
            _ => start..text.trim_end().len().max(start),
        }
    }

    /// The leading number and what follows it.
    fn split(text: &str) -> Option<(f64, &str)> {
        let end = text
            .char_indices()
            .find(|(i, c)| !(c.is_ascii_digit() || *c == '.' || (*i == 0 && (*c == '-' || *c == '+'))))
            .map_or(text.len(), |(i, _)| i);
        let number: f64 = text[..end].parse().ok()?;
        Some((number, text[end..].trim_start()))
    }
}

/// For people: `14.2 %`, `340 ms`, `1.5 GiB`, `0.5`; three significant digits.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v = self.value;
        if v.is_nan() {
            return f.pad("NaN");
        }
        let text = match self.unit {
            Unit::Count => plain(v),
            Unit::Ratio => {
                let p = v * 100.0;
                let digits = if p.abs() >= 99.9 && p.abs() < 100.0 {
                    2
                } else if p.abs() >= 100.0 {
                    0
                } else {
                    1
                };
                let figure = format!("{p:.digits$}");
                format!("{} %", figure.strip_suffix(".0").unwrap_or(&figure))
            }
            Unit::Seconds => seconds(v),
            Unit::Bytes => bytes(v),
        };
        f.pad(&text)
    }
}

fn plain(v: f64) -> String {
    if v.is_infinite() {
        return if v > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    if v == v.trunc() && v.abs() < 1e15 {
        return super::because::whole(v);
    }
    if v.abs() >= 100.0 {
        format!("{v:.1}")
    } else if v.abs() >= 0.01 {
        format!("{v:.3}")
    } else {
        format!("{v:.2e}")
    }
}

fn seconds(v: f64) -> String {
    match v.abs() {
        a if a < 1e-3 => format!("{:.0} us", v * 1e6),
        a if a < 1.0 => format!("{:.0} ms", v * 1e3),
        a if a < 60.0 => format!("{v:.2} s"),
        a if a.is_finite() => Span((v * 1000.0) as i64).human(),
        _ => plain(v),
    }
}

fn bytes(v: f64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut scaled = v;
    let mut unit = 0;
    while scaled.abs() >= 1024.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{} B", plain(v)) } else { format!("{scaled:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read() {
        for (text, value, unit) in [
            ("5%", 0.05, Unit::Ratio),
            ("300ms", 0.3, Unit::Seconds),
            ("1h30m", 5400.0, Unit::Seconds),
            ("2GiB", 2.0 * 1024f64.powi(3), Unit::Bytes),
            ("2GB", 2e9, Unit::Bytes),
            ("100", 100.0, Unit::Count),
            ("-3.5", -3.5, Unit::Count),
            ("5 %", 0.05, Unit::Ratio),
        ] {
            let q = Quantity::parse(text).unwrap();
            assert!((q.value - value).abs() < 1e-12 && q.unit == unit, "{text}: {q:?}");
        }
        assert_eq!(Quantity::parse("5 bananas"), Err("`bananas` is no unit".into()));
        assert_eq!(&" 5 bananas"[Quantity::bad_part(" 5 bananas")], "bananas");
        assert_eq!(Quantity::parse("much"), Err("`much` is no value".into()));
    }

    #[test]
    fn figures_are_written_for_people() {
        for (q, text) in [
            (Quantity::ratio(0.142), "14.2 %"),
            (Quantity::ratio(0.9997), "99.97 %"),
            (Quantity::count(1493.0), "1,493"),
            (Quantity { value: 0.34, unit: Unit::Seconds }, "340 ms"),
            (Quantity { value: 255.0, unit: Unit::Seconds }, "4 min 15 s"),
            (Quantity { value: 1.5 * 1024f64.powi(3), unit: Unit::Bytes }, "1.5 GiB"),
        ] {
            assert_eq!(q.to_string(), text);
        }
    }
}
