//! The minutes before T0: what a baseline can be made of, what it refuses, and how known trouble is left out.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::{Span, Timestamp};

use super::{DAY, Direction, stats};

/// More days than this are not looked at: what was usual then is not usual now.
const MOST_DAYS: usize = 28;
/// The constant under the logarithm, as a share of the median.
const OFFSET: f64 = 0.02;
/// The largest share of minutes at or below zero.
const MOST_ZEROS: f64 = 0.2;
/// The smallest share of minutes that must be there.
const FEWEST: f64 = 0.7;
/// Values beyond this count as this, so that no sum of them overflows.
const HUGE: f64 = 1e300;

/// The minutes before a deployment.
#[derive(Clone, Copy)]
pub struct History<'a> {
    /// One value a minute (the mean of the minute's samples), the oldest first, in the value's own unit; NaN is missing.
    /// The last minute ends at T0.
    pub minutes: &'a [f64],
    /// When the deployment went live.
    pub t0: Timestamp,
    /// Whether a moment is of a weekend or holiday, in the application's zone.
    pub weekend: &'a dyn Fn(Timestamp) -> bool,
}

/// Why there is no baseline.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The value is mostly zero, so "so much above usual" has no meaning.
    Zeros {
        /// The share of minutes at or below zero.
        share: f64,
    },
    /// The value never moved, so nothing says how far it usually moves.
    Constant {
        /// The one value.
        value: f64,
    },
    /// Less than one whole day.
    TooShort {
        /// Minutes from the first value to T0.
        minutes: usize,
    },
    /// Too many minutes are missing.
    Holes {
        /// The share that is there.
        present: f64,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Zeros { share } => write!(
                f,
                "its history is a baseline of zeros ({:.0} % of the minutes); use a fixed limit, a count or a ratio rule",
                share * 100.0
            ),
            Refusal::Constant { value } => write!(
                f,
                "its history is the one value {value}, which does not say how far it usually moves; use a fixed limit"
            ),
            Refusal::TooShort { minutes } => write!(
                f,
                "its history begins {} before the deployment and a baseline needs a whole day; \
                 use a fixed limit until then, or import older samples",
                Span::mins(i64::try_from(*minutes).unwrap_or(i64::MAX / 60_000)).human()
            ),
            Refusal::Holes { present } => write!(
                f,
                "only {:.0} % of the minutes of its history are there and a baseline needs {:.0} %; \
                 use a fixed limit, or find out why samples are missing",
                present * 100.0,
                FEWEST * 100.0
            ),
        }
    }
}

impl std::error::Error for Refusal {}

/// The whole days of a history in logarithms.
pub(super) struct Logarithms {
    /// `ln(max(x, 0) + c)`, negated where less is worse; whole days that end at T0; NaN is missing.
    pub(super) minutes: Vec<f64>,
    /// How many days.
    pub(super) days: usize,
    /// `c`, in the value's own unit.
    pub(super) offset: f64,
    /// `c` as a share of the median.
    pub(super) share: f64,
}

impl Logarithms {
    /// Takes the whole days since the first value, at most 28.
    pub(super) fn of(minutes: &[f64], direction: Direction, floor: Option<f64>) -> Result<Logarithms, Refusal> {
        let first = minutes.iter().position(|v| v.is_finite()).unwrap_or(minutes.len());
        let days = ((minutes.len() - first) / DAY).min(MOST_DAYS);
        if days == 0 {
            return Err(Refusal::TooShort { minutes: minutes.len() - first });
        }
        let minutes = &minutes[minutes.len() - days * DAY..];
        let mut present: Vec<f64> = minutes.iter().copied().filter(|v| v.is_finite()).collect();
        let share = present.len() as f64 / minutes.len() as f64;
        if share < FEWEST {
            return Err(Refusal::Holes { present: share });
        }
        let zeros = present.iter().filter(|v| **v <= 0.0).count() as f64 / present.len() as f64;
        let value = present[0];
        let is_constant = present.iter().all(|v| *v == value);
        let median = stats::median(&mut present).min(HUGE);
        if median <= 0.0 || zeros > MOST_ZEROS {
            return Err(Refusal::Zeros { share: zeros });
        }
        if is_constant {
            return Err(Refusal::Constant { value });
        }
        let floor = floor.filter(|f| f.is_finite()).map_or(0.0, |f| f.min(HUGE));
        let offset = (OFFSET * median).max(floor).max(f64::MIN_POSITIVE);
        let minutes = minutes.iter().map(|v| logarithm(*v, offset) * direction.sign()).collect();
        Ok(Logarithms { minutes, days, offset, share: offset / median })
    }
}

/// `ln(max(value, 0) + offset)`; NaN for what is not finite.
pub(super) fn logarithm(value: f64, offset: f64) -> f64 {
    if value.is_finite() { (value.clamp(0.0, HUGE) + offset).ln() } else { f64::NAN }
}

/// Replaces the minutes of known incidents and deployments by the median of the same minute on the other days.
///
/// `minutes` end at `t0`; `spans` are from and to, and need not be in order or apart. Where no other day has that
/// minute outside the spans, it becomes missing.
pub fn leave_out(minutes: &mut [f64], t0: Timestamp, spans: &[(Timestamp, Timestamp)]) {
    let n = minutes.len();
    let mut is_out = vec![false; n];
    for (from, to) in spans {
        // Minute i lasts from t0 - (n - i) min to one minute later; each that overlaps the span is left out.
        let back = |at: Timestamp| i128::from((t0 - at).as_millis());
        let first = n as i128 - (back(*from) + 59_999).div_euclid(60_000);
        let end = n as i128 - back(*to).div_euclid(60_000);
        let (first, end) = (first.clamp(0, n as i128) as usize, end.clamp(0, n as i128) as usize);
        if first < end {
            is_out[first..end].fill(true);
        }
    }
    let old = minutes.to_vec();
    for i in (0..n).filter(|i| is_out[*i]) {
        let mut others: Vec<f64> = (i % DAY..n).step_by(DAY).filter(|j| !is_out[*j]).map(|j| old[j]).collect();
        minutes[i] = stats::median(&mut others);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(minutes: &[f64]) -> Refusal {
        Logarithms::of(minutes, Direction::Above, None).err().unwrap()
    }

    fn noisy(minutes: usize) -> Vec<f64> {
        (0..minutes).map(|t| 100.0 + (t * 7919 % 31) as f64).collect()
    }

    #[test]
    fn a_history_without_a_whole_day_is_too_short() {
        assert_eq!(refusal(&[]), Refusal::TooShort { minutes: 0 });
        assert_eq!(refusal(&[f64::NAN; 5000]), Refusal::TooShort { minutes: 0 });
        let mut late = vec![f64::NAN; 5 * DAY];
        late.extend(noisy(1439));
        assert_eq!(refusal(&late), Refusal::TooShort { minutes: 1439 });
        assert_eq!(
            refusal(&late).to_string(),
            "its history begins 23 h 59 min before the deployment and a baseline needs a whole day; \
             use a fixed limit until then, or import older samples"
        );
    }

    #[test]
    fn days_are_counted_from_the_first_value() {
        let mut late = vec![f64::NAN; 5 * DAY];
        late.extend(noisy(2 * DAY + 100));
        assert_eq!(Logarithms::of(&late, Direction::Above, None).unwrap().days, 2);
        assert_eq!(Logarithms::of(&noisy(40 * DAY), Direction::Above, None).unwrap().days, 28);
    }

    #[test]
    fn a_history_of_zeros_of_one_value_or_with_holes_is_refused_with_what_to_use_instead() {
        let zeros: Vec<f64> = (0..DAY).map(|t| if t % 4 == 0 { 0.0 } else { 3.0 }).collect();
        assert_eq!(refusal(&zeros), Refusal::Zeros { share: 0.25 });
        assert_eq!(refusal(&[-5.0; DAY]), Refusal::Zeros { share: 1.0 });
        assert_eq!(refusal(&[3.0; DAY]), Refusal::Constant { value: 3.0 });
        let holes: Vec<f64> =
            noisy(DAY).into_iter().enumerate().map(|(t, v)| if t % 2 == 1 { f64::NAN } else { v }).collect();
        assert_eq!(refusal(&holes), Refusal::Holes { present: 0.5 });
        for (history, text) in [
            (
                zeros,
                "its history is a baseline of zeros (25 % of the minutes); use a fixed limit, a count or a ratio rule",
            ),
            (
                vec![3.0; DAY],
                "its history is the one value 3, which does not say how far it usually moves; use a fixed limit",
            ),
            (
                holes,
                "only 50 % of the minutes of its history are there and a baseline needs 70 %; \
                 use a fixed limit, or find out why samples are missing",
            ),
        ] {
            assert_eq!(refusal(&history).to_string(), text);
        }
    }

    #[test]
    fn infinities_are_missing_and_huge_values_stay_finite() {
        let mut minutes = noisy(DAY);
        minutes[3] = f64::INFINITY;
        minutes[4] = f64::MAX;
        minutes[5] = -f64::MAX;
        let logs = Logarithms::of(&minutes, Direction::Above, None).unwrap();
        assert!(logs.minutes[3].is_nan());
        assert!(logs.minutes[4].is_finite() && logs.minutes[5].is_finite());
        let huge: Vec<f64> = noisy(DAY).iter().map(|v| v * 1e306).collect();
        let tiny: Vec<f64> = noisy(DAY).iter().map(|v| v * 5e-324).collect();
        for minutes in [huge, tiny] {
            let logs = Logarithms::of(&minutes, Direction::Below, Some(f64::NAN)).unwrap();
            assert!(logs.minutes.iter().all(|y| y.is_finite()));
        }
    }

    #[test]
    fn a_known_incident_becomes_the_median_of_the_other_days() {
        let t0 = Timestamp(10 * 86_400_000 + 7_000);
        let at = |minute: i64| t0 + Span::mins(minute) - Span::mins(3 * DAY as i64);
        let mut minutes: Vec<f64> = (0..3 * DAY).map(|t| (t % DAY + t / DAY) as f64).collect();
        let old = minutes.clone();
        // From the middle of minute 1500 to the end of minute 1509; and one that begins before the history.
        leave_out(&mut minutes, t0, &[(at(1500) + Span::secs(30), at(1510)), (Timestamp(0), at(0))]);
        for t in 0..minutes.len() {
            let expected = if (1500..1510).contains(&t) { (old[t - DAY] + old[t + DAY]) / 2.0 } else { old[t] };
            assert_eq!(minutes[t], expected, "minute {t}");
        }
        leave_out(&mut minutes, t0, &[(Timestamp(i64::MIN), Timestamp(i64::MAX))]);
        assert!(minutes.iter().all(|v| v.is_nan()));
        leave_out(&mut [], t0, &[(at(0), at(5))]);
    }
}
