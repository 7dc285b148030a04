//! Lines that are kept for search, where a `[log.NAME]` says `keep = "48h"`.
//!
//! Enters: events of one line or several, with their time, level and place. Leaves: files in `STATE/lines/NAME/`, and the
//! events that somebody searches for. Secrets are hidden before an event can be kept: a [`Record`] is only made that way.
//!
//! A source has one *live* segment that grows, one JSON object a line, and sealed ones, which are gzipped and carry their range
//! of times in their name, so that a search leaves out what cannot matter. A segment is sealed after an hour or
//! 8 MiB; whole segments go when all they hold is older than `keep`, or when the source takes more than its share of the disk.
//!
//! What was kept survives the end of the process at once and a power cut when the system has written it, in half a minute or
//! so: nothing is synced line by line. A source that resumes after a crash gives again what it cannot know to be kept; the
//! writer knows the last of what it kept and leaves those out. Where the disk is full or refuses, lines are not kept, counted,
//! and said once; nothing else suffers.

mod search;
mod segment;
mod write;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use search::{Found, Kept, Matcher, Query, SearchError, search, sources};
pub use write::Keeper;

use super::level::Level;
use super::secrets;
use crate::base::Timestamp;

/// The folder of kept lines in the state folder; each source has one of its name in it.
pub const FOLDER: &str = "lines";

/// The longest text of one event, in bytes; the rest is cut off and marked by `…`.
pub const MAX_TEXT: usize = 64 << 10;

/// The longest place, in bytes.
pub const MAX_PLACE: usize = 1000;

/// The most that one source takes of the disk, in bytes; past it the oldest segments go, however young.
pub const MAX_SOURCE: u64 = 256 << 20;

/// What kept lines leave free on their file system, in bytes: they never take the last of a disk.
pub const MIN_FREE: u64 = 64 << 20;

/// Which line of which stream an event begins at: what is given again after a crash has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineId {
    /// The stream, by a hash that outlives the process.
    pub stream: u64,
    /// Where in the stream: an offset, a sequence number.
    pub position: u64,
}

/// An event that is to be kept. Its secrets are hidden.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    at: Timestamp,
    level: Level,
    place: Arc<str>,
    text: String,
    id: Option<LineId>,
}

impl Record {
    /// An event with its secrets hidden. `text` may have several lines; past [`MAX_TEXT`] it is cut. Without an `id` what is
    /// given twice is kept twice.
    pub fn new(at: Timestamp, level: Level, place: &Arc<str>, text: &str, id: Option<LineId>) -> Record {
        let text = text.trim_end_matches(['\r', '\n']);
        // Hidden first: the beginning of a secret that is cut through would not be known as one.
        let hidden = secrets::hide(text);
        let mut text = cut(&hidden, MAX_TEXT).to_string();
        if text.len() < hidden.len() {
            text.push('…');
        }
        Record { at, level, place: place.clone(), text, id }
    }
}

/// The beginning of `text`, of at most `most` bytes.
fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}
