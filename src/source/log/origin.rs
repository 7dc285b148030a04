//! What comes from where lines are told rather than read: the journal, containers, a program.

use std::sync::Arc;

use super::level::Level;
use crate::base::{Failure, Timestamp};

/// Something that an origin gave at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// Which stream: lines of different streams never continue each other.
    pub stream: Arc<str>,
    /// Where it comes from, as people call it: `shop/api (3f2a91c07d21)`, `shop.service`.
    pub place: Arc<str>,
    /// The label `service` of what it counts for, where the origin has several services.
    pub service: Option<Arc<str>>,
    /// What there is.
    pub content: Content,
}

/// What there is of a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Whole lines, each with its newline; where the origin knows, the time of the last of them.
    Lines(Vec<u8>, Option<Timestamp>),
    /// Messages that are whole: one event each, with what the origin knows of it.
    Entries(Vec<Entry>),
    /// The stream has begun, or is there again: nothing of it was missed.
    Began,
    /// Lines may have been lost in front of what comes next, because of this.
    Gap(String),
    /// The stream has ended: nothing continues its last line.
    Ended,
    /// Nothing can be read now, because of this; it is tried again.
    Failed(Failure),
    /// It can be read, again or for the first time.
    Well,
}

/// One message of a journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The text; may have several lines.
    pub message: Vec<u8>,
    /// How bad the journal says it is; none where it does not say.
    pub level: Option<Level>,
    /// When it was written.
    pub at: Timestamp,
}
