//! What a source hands to the store: everything one look at one target gave.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Exhibit, Labels, Span, Timestamp};

/// A source as the configuration names it: kind and name, `http.api`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SourceRef {
    /// The kind: `http`, `prometheus`, `host`, …
    pub kind: String,
    /// The name behind the kind in the heading; the kind itself where it has none (`[host]`).
    pub name: String,
}

impl SourceRef {
    /// The reference `kind.name`.
    pub fn new(kind: &str, name: &str) -> SourceRef {
        SourceRef { kind: kind.into(), name: name.into() }
    }
}

impl fmt::Display for SourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind == self.name { f.write_str(&self.kind) } else { write!(f, "{}.{}", self.kind, self.name) }
    }
}

/// One sample of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The whole identity, with `__name__`, `job` and `instance`.
    pub labels: Labels,
    /// The value in base units; any float, NaN and infinities included.
    pub value: f64,
    /// The time the target itself gave, if it gave one; else the batch's.
    pub at: Option<Timestamp>,
}

/// Why a look at a target gave nothing: one word for machines, one line for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// One word of a small closed set per kind: `refused`, `timeout`, `status`, `body`, `tls`, `too-large`, …
    pub reason: &'static str,
    /// What exactly happened, without secrets, bounded in length.
    pub detail: String,
}

impl Failure {
    /// The longest detail kept, in bytes: it is shown, journaled and sent.
    pub const MAX_DETAIL: usize = 500;

    /// A failure with its detail cut to [`Failure::MAX_DETAIL`] and freed of control characters.
    pub fn new(reason: &'static str, detail: impl Into<String>) -> Failure {
        let detail: String = detail.into().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let end = (0..=detail.len().min(Failure::MAX_DETAIL)).rev().find(|i| detail.is_char_boundary(*i)).unwrap_or(0);
        Failure { reason, detail: detail[..end].to_string() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.detail)
    }
}

/// Whether the look succeeded. A failed look still carries samples (`probe_success 0`, its duration).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The target answered as it should.
    Good,
    /// It did not; series it gave before are stale now.
    Failed(Failure),
}

/// Everything that one look at one target gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Which source looked.
    pub source: SourceRef,
    /// Which target: the `instance` label.
    pub instance: String,
    /// The scheduled time of the look.
    pub at: Timestamp,
    /// How often this source looks: two of these without a batch is a gap.
    pub interval: Span,
    /// Whether it succeeded.
    pub outcome: Outcome,
    /// The samples, those about the look itself included.
    pub samples: Vec<Sample>,
    /// What the source must know to go on after this look (positions, totals); opaque to all others. It is kept in one
    /// record with the samples, so that both survive or neither does. At most a mebibyte.
    pub checkpoint: Option<Arc<[u8]>>,
    /// The source is told rather than looks: what it gave holds until it says otherwise, and is repeated every interval
    /// without asking it. Of a series whose name ends in `_new` the repeated value is 0: it counts what came since.
    pub holds: bool,
    /// Lines worth showing beside the figures; the newest last.
    pub exhibits: Vec<Exhibit>,
}
