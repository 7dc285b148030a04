//! What an evaluation gives: points, no data, or a failure.

use std::fmt;

use crate::base::{Labels, Timestamp};

/// The outcome of an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// The expression's values; empty when its series were seen and none passed a filter.
    Points(Vec<Point>),
    /// A series that the expression needs was not seen.
    NoData(Absence),
    /// The expression has no value over this data, with the reason.
    Failed(String),
}

/// One value of an expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Its labels, without the metric name where PromQL drops it.
    pub labels: Labels,
    /// The value; NaN is a value.
    pub value: f64,
    /// The newest sample that took part; the time of evaluation where none did.
    pub newest: Timestamp,
}

/// Why there is no data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absence {
    /// The selector that gave nothing, as written in PromQL.
    pub selector: String,
    /// What is missing.
    pub missing: Missing,
}

/// What is missing where there is no data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// No series matches, though a source that could give one was looked at.
    Series,
    /// No series matches, and no source that could give one was looked at lately.
    Source,
    /// Series match, but their windows hold too few samples for the function.
    Samples,
    /// Older samples that the window needs are not in memory yet.
    Loading,
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let selector = &self.selector;
        match self.missing {
            Missing::Series => write!(f, "nothing matches {selector}"),
            Missing::Source => {
                write!(f, "nothing matches {selector}, and no source that could give it was read lately")
            }
            Missing::Samples => write!(f, "too few samples of {selector} yet"),
            Missing::Loading => write!(f, "loading {selector}"),
        }
    }
}
