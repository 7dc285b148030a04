//! Samples on disk: a folder of numbered files, the newest of them a log, the older ones sealed.
//!
//! Enters: batches, one record each, written at once and made durable when the owner says so. Leaves: their samples by
//! selector and time, for whoever may read the files; a reader needs no agent and stops none. Damage is stated with file,
//! place and reason and costs what stood there, never the rest, never the start of the agent. The format stands in
//! `docs/design/samples-on-disk.md`.

mod import;
mod log;
mod place;
mod read;
mod record;
mod replay;
mod retain;
mod seal;
mod sealed;
mod segment;
mod wire;
mod write;

pub use import::{ImportError, Imported, Importer};
pub use read::{Found, Owner, Read, ReadError, ReadLimits, Recent, Remembered, TargetSeen, read, recent, series};
pub use retain::Retained;
pub use seal::{SealError, Sealed, Sealing};
pub use write::{AppendError, Archive, ArchiveError, Checkpoints, Counters, Options, Recovered, State, Torn};

use crate::base::{Labels, Sample, SourceRef, Span, Timestamp};

/// The longest checkpoint of a source, in bytes.
pub const MAX_CHECKPOINT: usize = 1 << 20;

/// Samples in one chunk of a sealed segment.
const PER_CHUNK: usize = 240;

/// Who wrote a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin<'a> {
    /// One look at a target.
    Target {
        /// Which source looked.
        source: &'a SourceRef,
        /// The `instance` label of the target.
        instance: &'a str,
        /// How often it looks.
        interval: Span,
        /// Whether the look succeeded.
        good: bool,
    },
    /// The engine's own series of this family.
    Family(&'a str),
}

impl Origin<'_> {
    fn owned(&self) -> record::OwnedOrigin {
        match self {
            Origin::Target { source, instance, .. } => {
                record::OwnedOrigin::Target { source: (*source).clone(), instance: (*instance).into() }
            }
            Origin::Family(name) => record::OwnedOrigin::Family((*name).into()),
        }
    }
}

/// What one record holds.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Who wrote it.
    pub origin: Origin<'a>,
    /// The time of the look.
    pub at: Timestamp,
    /// The samples that the store took; with their own time where they have one.
    pub samples: &'a [Sample],
    /// The series that ended with this look: each gets a stale marker at its time.
    pub ended: &'a [Labels],
    /// The source's state after this look, at most [`MAX_CHECKPOINT`] bytes; opaque here.
    pub checkpoint: Option<&'a [u8]>,
}
