//! What is allowed in an expression and seldom meant.

use std::fmt;
use std::ops::Range;

/// Something about an expression that is allowed, and seldom meant.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotation {
    /// Whether Prometheus calls it a warning; else an information.
    pub is_warning: bool,
    /// What was found, in words.
    pub message: String,
    /// The bytes of the text it is about.
    pub at: Range<usize>,
    /// What was found.
    pub finding: Finding,
}

/// What an [`Annotation`] says.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// A quantile outside 0 to 1.
    QuantileOutOfRange(f64),
    /// A series without a usable `le` in the input of a histogram function: the value of its `le`.
    BadBucketBound(String),
    /// Buckets that do not rise, held at the highest before.
    BucketsNotRising,
    /// A rate of something whose name is not that of a counter.
    NoCounterName(String),
    /// An order that a query over a range does not keep.
    OrderIsLost,
}

impl Annotation {
    pub(super) fn new(finding: Finding, at: Range<usize>) -> Annotation {
        Annotation { is_warning: finding.is_warning(), message: finding.to_string(), at, finding }
    }
}

impl Finding {
    /// Whether Prometheus calls it a warning; else an information.
    pub fn is_warning(&self) -> bool {
        !matches!(self, Finding::BucketsNotRising | Finding::NoCounterName(_))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::QuantileOutOfRange(q) => {
                let q = super::number::written(*q);
                write!(f, "quantile value should be between 0 and 1, got {q}")
            }
            Finding::BadBucketBound(le) if le.is_empty() => f.write_str("the buckets have no label `le`"),
            Finding::BadBucketBound(le) => write!(f, "{le:?} is no bucket bound (label `le`)"),
            Finding::BucketsNotRising => {
                f.write_str("the buckets do not rise: each is taken to be at least the one before")
            }
            Finding::NoCounterName(name) => {
                write!(f, "`{name}` may be no counter: its name ends in none of _total, _sum, _count, _bucket")
            }
            Finding::OrderIsLost => f.write_str("sorting has no effect over a range: the result is ordered by labels"),
        }
    }
}

/// Whether a name is that of a counter.
pub(super) fn is_counter_name(name: &str) -> bool {
    // The node exporter calls the kernel's events as the kernel does.
    name.starts_with("node_vmstat_") || ["_total", "_sum", "_count", "_bucket"].iter().any(|end| name.ends_with(end))
}
