//! What is said when a value is worse than usual: the reason that people read.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::Span;

use super::Direction;

/// Which test found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// The first hour against the minutes before T0.
    Start,
    /// A window of the last minutes or hours.
    Sliding,
    /// A look at everything since the warm-up.
    Look,
}

/// The value is worse than usual.
///
/// Changes are relative and signed: 0.22 is 22 % above usual, -0.4 is 40 % below.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Which test found it.
    pub family: Family,
    /// The length of its window in minutes.
    pub window: u32,
    /// Minutes after T0 at which it was found.
    pub age: u32,
    /// Which side is worse.
    pub direction: Direction,
    /// The change over that window. In means a minute counts at most five times its usual noise, so that one spike is no
    /// trend; of a very large change this is less than the whole.
    pub estimate: f64,
    /// The change that it had to exceed: the rule's own, or what this series does by itself.
    pub threshold: f64,
    /// The largest change of such a window in the history; none where the history is too short to have one.
    pub largest: Option<f64>,
    /// Whole days of that history.
    pub days: usize,
}

/// "the mean of the last 4 h was 22 % above usual; in 7 days it was never more than 9 % above".
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (percent, side) = (Percent(self.estimate), self.direction);
        let span = |minutes: u32| Span::mins(i64::from(minutes)).human();
        match self.family {
            Family::Sliding => {
                let kind = if self.window as usize <= super::windows::MEDIANS { "median" } else { "mean" };
                write!(f, "the {kind} of the last {} was {percent} {side} usual", span(self.window))?;
            }
            Family::Look => write!(f, "the mean of {} was {percent} {side} usual", span(self.window))?,
            Family::Start => {
                let (to, from) = (self.age, self.age.saturating_sub(self.window));
                write!(f, "from minute {from} to {to} after the deployment the mean was {percent} {side} usual")?;
            }
        }
        let Some(largest) = self.largest else { return Ok(()) };
        let days = if self.days == 1 { "a day" } else { &format!("{} days", self.days) };
        let largest = Percent(largest);
        match self.family {
            Family::Start => {
                write!(f, "; in {days} it never went more than {largest} {side} what the minutes before it foretold")
            }
            Family::Sliding | Family::Look => write!(f, "; in {days} it was never more than {largest} {side}"),
        }
    }
}

/// The value was worse than usual before T0: what is found after it may be nothing new.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TroubleBefore {
    /// Which side is worse.
    pub direction: Direction,
    /// The change over the last 15 minutes before T0, relative and signed.
    pub estimate: f64,
    /// The change that would still have been usual.
    pub threshold: f64,
}

/// "in the 15 minutes before the deployment the median was already 140 % above usual (usual up to 32 %)".
impl fmt::Display for TroubleBefore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "in the 15 minutes before the deployment the median was already {} {} usual (usual up to {})",
            Percent(self.estimate),
            self.direction,
            Percent(self.threshold)
        )
    }
}

/// A relative change without its sign.
struct Percent(f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.0.abs() * 100.0;
        match size {
            s if s < 9.95 => write!(f, "{s:.1} %"),
            s if s < 1e6 => write!(f, "{s:.0} %"),
            s => write!(f, "{s:.0e} %"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_reads_as_a_reason() {
        let finding = |family, window, age, estimate, largest, direction| Finding {
            family,
            window,
            age,
            direction,
            estimate,
            threshold: 0.1,
            largest,
            days: 7,
        };
        use Direction::{Above, Below};
        for (finding, text) in [
            (
                finding(Family::Sliding, 240, 600, 0.22, Some(0.09), Above),
                "the mean of the last 4 h was 22 % above usual; in 7 days it was never more than 9.0 % above",
            ),
            (
                finding(Family::Sliding, 9, 600, -0.412, Some(-0.2), Below),
                "the median of the last 9 min was 41 % below usual; in 7 days it was never more than 20 % below",
            ),
            (finding(Family::Look, 2160, 2180, 0.18, None, Above), "the mean of 36 h was 18 % above usual"),
            (
                finding(Family::Start, 15, 35, 1.9, Some(0.6), Above),
                "from minute 20 to 35 after the deployment the mean was 190 % above usual; \
                 in 7 days it never went more than 60 % above what the minutes before it foretold",
            ),
        ] {
            assert_eq!(finding.to_string(), text);
        }
        let before = TroubleBefore { direction: Above, estimate: 1.4, threshold: 0.32 };
        assert_eq!(
            before.to_string(),
            "in the 15 minutes before the deployment the median was already 140 % above usual (usual up to 32 %)"
        );
    }
}
