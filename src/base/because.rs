//! Why something was decided: the same reason in the alert, the report, the API and the dashboard.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Line, Quantity, Span, Timestamp};

/// The reason behind a level, a criterion or its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Because {
    /// The value that was judged; none when it could not be seen.
    pub value: Option<Quantity>,
    /// The counts behind a share of events.
    pub counts: Option<Counts>,
    /// The limit it was held against, as written: `> 10%`.
    pub limit: String,
    /// How long the condition had held.
    pub held: Span,
    /// How many readings held it.
    pub readings: u32,
    /// The newest sample that took part.
    pub evidence: Option<Timestamp>,
    /// What a test of its own found, in words: `the mean of the last 4 h was 22 % above usual`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Lines that it is about, the newest first; at most three, and none while all is well. What was journaled before
    /// there were any has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<Line>,
}

/// The events behind a share.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Events that count as errors, in the window.
    #[serde(with = "super::float")]
    pub errors: f64,
    /// All events in the window.
    #[serde(with = "super::float")]
    pub total: f64,
    /// The window.
    pub window: Span,
    /// The lowest share that these counts still support (lower end of the 95 % Wilson interval).
    #[serde(with = "super::float")]
    pub at_least: f64,
}

/// `14.2 % (limit > 10%), 212 of 1493 in 5 min, at least 12.5 %`.
impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{value} (limit {})", self.limit)?,
            None => write!(f, "no value (limit {})", self.limit)?,
        }
        if let Some(c) = &self.counts {
            let share = Quantity::ratio(c.at_least);
            write!(f, ", {} of {} in {}, at least {share}", whole(c.errors), whole(c.total), c.window.human())?;
        }
        if let Some(why) = &self.why {
            write!(f, "; {why}")?;
        }
        Ok(())
    }
}

/// A count with thousands separated: `1,493`; fractions are rounded.
pub fn whole(n: f64) -> String {
    if !n.is_finite() || n.abs() >= 1e15 {
        return n.to_string();
    }
    let digits = format!("{:.0}", n.abs());
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if n < 0.0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_from_before_there_were_lines_is_read_and_written_as_it_was() {
        let old = r#"{"value":null,"counts":null,"limit":"> 0","held":0,"readings":2,"evidence":7}"#;
        let because: Because = serde_json::from_str(old).unwrap();
        assert_eq!(because.lines, []);
        assert_eq!(serde_json::to_string(&because).unwrap(), old);
    }
}
