//! Turning a closed log into a sealed segment: on any thread, while appends and reads go on.
//!
//! The log is replayed into compressing columns, so memory is about the size of the segment. The segment is written
//! under a passing name, synced and renamed; only then the log goes. Whatever stops it before leaves the log, and it is
//! done again.

use std::path::{Path, PathBuf};

use super::log::{self, Go};
use super::place::{self, LOG, SEALED, SEALING, Trouble};
use super::replay::{Push, Replay, Strings, Times};
use super::segment::{self, Contents, SealedSeries, SealedTimes, SealedValues, SealedWriter};
use super::wire::{Header, Kind};
use crate::sys::blocks::{self, Blocks, Draft};
use crate::sys::files::{self, FileError};

/// Why a log was not sealed; it stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The log cannot be read.
    #[error("{file} {why}")]
    Log {
        /// The log.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// It has more series than an index holds.
    #[error("{file} has too many series for a sealed segment")]
    TooLarge {
        /// The log.
        file: String,
    },
}

/// A log that waits to be sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealing {
    pub(super) folder: PathBuf,
    pub(super) number: u64,
}

/// What a sealing made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The number of the segment.
    pub number: u64,
    /// Samples in it.
    pub samples: u64,
    /// Bytes of the log that went.
    pub log_bytes: u64,
    /// Bytes of the segment.
    pub bytes: u64,
    /// What of the log could not be read; it also stands in the segment.
    pub trouble: Vec<String>,
}

impl Sealing {
    /// The number of the log.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Seals the log. Takes as long as reading the log and writing the segment; may run beside everything else, but not
    /// twice at once for one log.
    ///
    /// # Errors
    /// When a file cannot be read or written, or the log is none; try again later.
    pub fn run(&self) -> Result<Sealed, SealError> {
        seal(&self.folder, self.number)
    }
}

fn seal(folder: &Path, number: u64) -> Result<Sealed, SealError> {
    let path = place::path(folder, number, LOG);
    let file = Blocks::open(&path)?;
    let bad = |why| SealError::Log { file: place::name(&path), why };
    let header = place::header(&file, number, Kind::Log).map_err(bad)?;
    let log_bytes = file.length()?;
    let contents = contents(&file, number)?;
    let trouble = contents.notes.clone();
    let draft_path = place::path(folder, number, SEALING);
    blocks::remove(&draft_path)?;
    let mut draft = Draft::create(&draft_path, 0o640)?;
    let written = segment::write(&mut draft, &Header { kind: Kind::Sealed, ..header }, contents)?;
    let Some((footer, bytes)) = written else { return Err(SealError::TooLarge { file: place::name(&path) }) };
    // Retention may have removed the log meanwhile: what it removed does not come back.
    if !files::exists(&path) {
        return Ok(Sealed { number, samples: 0, log_bytes, bytes: 0, trouble });
    }
    draft.publish(&place::path(folder, number, SEALED))?;
    blocks::remove(&path)?;
    Ok(Sealed { number, samples: footer.samples, log_bytes, bytes, trouble })
}

/// Replays the log into compressing columns.
fn contents(file: &Blocks, number: u64) -> Result<Contents, FileError> {
    let strings = Strings::default();
    let wants = |pairs: &[(&str, &str)]| Some(strings.labels(pairs));
    // Times are never outside: one at the very beginning of time would be, but no clock gives that.
    let mut replay: Replay<'_, SealedTimes, SealedValues> = Replay::new(&wants, i64::MIN, i64::MAX);
    let mut trouble = Trouble::default();
    let name = place::name(file.path());
    let walked = log::walk(file, number, |at, payload| {
        if let Err(why) = replay.feed(at, payload) {
            trouble.say(format!("{name}: the record at {at} cannot be read: {why}"));
        }
        Go::On
    })?;
    walked.sentences(file).for_each(|line| trouble.say(line));
    if walked.torn > 0 {
        trouble.say(format!("{name}: its last {} bytes are no whole record", walked.torn));
    }
    if replay.unknown > 0 {
        trouble.say(format!("{name}: {} samples belong to series whose definition is lost", replay.unknown));
    }
    let mut contents = Contents { notes: trouble.take(), ..Contents::default() };
    let writers = std::mem::take(&mut replay.writers);
    // The columns of the writers come first, so that a writer's number is its column's.
    let mut numbers = vec![None; writers.len()];
    for (i, writer) in writers.into_iter().enumerate() {
        let Some(writer) = writer else { continue };
        numbers[i] = Some(contents.writers.len() as u32);
        let mut column = SealedTimes::default();
        writer.times.iter().for_each(|time| column.push(*time));
        contents.columns.push(column);
        let (origin, interval, last, good) = (writer.origin, writer.interval, writer.last, writer.good);
        contents.writers.push(SealedWriter { origin, interval, last, good });
    }
    for track in std::mem::take(&mut replay.tracks) {
        if track.count == 0 {
            continue;
        }
        let (column, first) = match track.times {
            Times::Shared { writer, first } => (numbers[writer as usize].unwrap_or(0), first as u32),
            Times::Own(times) => {
                contents.columns.push(times);
                (contents.columns.len() as u32 - 1, 0)
            }
        };
        let (labels, writer, values) = (track.labels, numbers[track.writer as usize], track.values);
        contents.series.push(SealedSeries { labels, writer, column, first, count: track.count as u32, values });
    }
    Ok(contents)
}
