//! What is kept of a stream between two reads, so that it does not matter where its text is cut.

use serde::{Deserialize, Serialize};

use super::event::Open;
use super::marks::Marks;
use crate::base::Timestamp;

/// The state of one stream: the event that is open, and what its lines were so far.
///
/// Small (below 200 bytes as JSON unless one event matches dozens of patterns), and meant to be kept with the position in the
/// stream. The default is that of a stream that has just begun.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamState {
    /// The event that the next line may continue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) held: Option<Held>,
    /// How many lines of JSON stood at its end, as far as it matters.
    #[serde(default, rename = "j")]
    pub(super) json_run: u8,
}

/// An event between two reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Held {
    /// The event.
    #[serde(rename = "o")]
    pub(super) open: Open,
    /// When it was written.
    #[serde(rename = "a")]
    pub(super) at: Timestamp,
    /// When its last line arrived.
    #[serde(rename = "s")]
    pub(super) seen: Timestamp,
    /// The patterns that it counts for already, by their number in the plan.
    #[serde(default, rename = "c", skip_serializing_if = "Vec::is_empty")]
    counted: Vec<u16>,
    /// The plan that these numbers belong to.
    #[serde(default, rename = "p")]
    plan: u64,
}

impl Held {
    pub(super) fn new(open: Open, at: Timestamp, seen: Timestamp, counted: &Marks, plan: u64) -> Held {
        let counted = counted.iter().filter_map(|n| u16::try_from(n).ok()).collect();
        Held { open, at, seen, counted, plan }
    }

    /// What it counts for already; nothing where the patterns are others now.
    pub(super) fn counted(&self, plan: u64) -> Marks {
        if self.plan == plan { self.counted.iter().map(|n| usize::from(*n)).collect() } else { Marks::default() }
    }
}
