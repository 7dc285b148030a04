//! Samples of the past as sealed segments: any times, any order, beside a running agent.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::place::{self, LOG, PART, SEALED};
use super::replay::Push;
use super::segment::{self, Contents, SealedSeries, SealedTimes, SealedValues};
use super::wire::{Dated, Header, Kind};
use crate::base::{Labels, Timestamp};
use crate::sys::blocks::Draft;
use crate::sys::files::{self, FileError};

/// Samples that are held before a segment is written: 32 MiB.
const MAX_HELD: usize = 2 << 20;

/// Series that are held before a segment is written.
const MAX_HELD_SERIES: usize = 100_000;

/// Bytes of label sets that are held before a segment is written.
const MAX_HELD_LABELS: usize = 16 << 20;

/// Why an import stopped. Segments that were finished before stay.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file could not be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// One part has more series than an index holds.
    #[error("the label sets of one segment are too long for its index")]
    TooLarge,
}

/// What an import wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Samples; of several of one series at one time only the last counts.
    pub samples: u64,
    /// Segments.
    pub segments: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// The oldest and the newest sample's time.
    pub range: Option<(Timestamp, Timestamp)>,
}

#[derive(Debug, Default)]
struct Column {
    times: Vec<i64>,
    values: Vec<f64>,
}

/// Writes samples of the past. What is not yet in a segment when it is dropped is not imported, and leaves nothing.
#[derive(Debug)]
pub struct Importer {
    folder: PathBuf,
    now: Timestamp,
    ids: HashMap<Labels, usize>,
    columns: Vec<(Labels, Column)>,
    last: usize,
    held: usize,
    label_bytes: usize,
    done: Imported,
}

impl Importer {
    /// An import into the archive in `folder`, which is made where there is none.
    ///
    /// # Errors
    /// When the folder cannot be made or is not ours alone.
    pub fn new(folder: &Path, now: Timestamp) -> Result<Importer, FileError> {
        files::ensure_own_dir(folder, 0o750)?;
        Ok(Importer {
            folder: folder.to_owned(),
            now,
            ids: HashMap::new(),
            columns: Vec::new(),
            last: 0,
            held: 0,
            label_bytes: 0,
            done: Imported::default(),
        })
    }

    /// Takes up a sample. Now and then a segment is written on the way.
    ///
    /// # Errors
    /// When it could not be.
    pub fn add(&mut self, labels: &Labels, time: Timestamp, value: f64) -> Result<(), ImportError> {
        if self.columns.get(self.last).is_none_or(|(last, _)| last != labels) {
            self.last = match self.ids.get(labels) {
                Some(id) => *id,
                None => self.begin_series(labels),
            };
        }
        let column = &mut self.columns[self.last].1;
        column.times.push(time.0);
        column.values.push(value);
        self.held += 1;
        let is_full =
            self.held >= MAX_HELD || self.columns.len() >= MAX_HELD_SERIES || self.label_bytes >= MAX_HELD_LABELS;
        if is_full { self.flush() } else { Ok(()) }
    }

    fn begin_series(&mut self, labels: &Labels) -> usize {
        self.ids.insert(labels.clone(), self.columns.len());
        self.label_bytes += labels.iter().map(|(name, value)| name.len() + value.len() + 8).sum::<usize>();
        self.columns.push((labels.clone(), Column::default()));
        self.columns.len() - 1
    }

    /// Writes what is still held; durable when this returns.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn finish(mut self) -> Result<Imported, ImportError> {
        self.flush()?;
        Ok(self.done)
    }

    fn flush(&mut self) -> Result<(), ImportError> {
        self.ids.clear();
        (self.last, self.held, self.label_bytes) = (0, 0, 0);
        let columns = std::mem::take(&mut self.columns);
        if columns.is_empty() {
            return Ok(());
        }
        let (number, mut draft) = claim(&self.folder)?;
        let header = Header { kind: Kind::Sealed, number, step: 0, begun: self.now.0, origin: Dated::Imported };
        let written = segment::write(&mut draft, &header, contents(columns))?;
        let (footer, bytes) = written.ok_or(ImportError::TooLarge)?;
        draft.publish(&place::path(&self.folder, number, SEALED))?;
        self.done.samples += footer.samples;
        self.done.segments += 1;
        self.done.bytes += bytes;
        let (min, max) = (Timestamp(footer.min), Timestamp(footer.max));
        self.done.range = Some(self.done.range.map_or((min, max), |range| (range.0.min(min), range.1.max(max))));
        Ok(())
    }
}

/// Sorts and compresses; series with the same times share them.
fn contents(columns: Vec<(Labels, Column)>) -> Contents {
    let mut contents = Contents::default();
    // By a checksum and length of the times, the ones that were last seen with it.
    let mut known: HashMap<(u32, usize), (Vec<i64>, u32)> = HashMap::new();
    for (labels, column) in columns {
        let (times, values) = sorted(column);
        let mut sum = crc32fast::Hasher::new();
        times.iter().for_each(|time| sum.update(&time.to_le_bytes()));
        let key = (sum.finalize(), times.len());
        let number = match known.get(&key) {
            Some((same, number)) if *same == times => *number,
            _ => {
                let mut sealed = SealedTimes::default();
                times.iter().for_each(|time| sealed.push(*time));
                contents.columns.push(sealed);
                contents.columns.len() as u32 - 1
            }
        };
        let mut sealed = SealedValues::default();
        values.iter().for_each(|value| sealed.push(*value));
        let count = times.len() as u32;
        known.insert(key, (times, number));
        contents.series.push(SealedSeries { labels, writer: None, column: number, first: 0, count, values: sealed });
    }
    contents
}

fn sorted(column: Column) -> (Vec<i64>, Vec<f64>) {
    if column.times.is_sorted_by(|a, b| a < b) {
        return (column.times, column.values);
    }
    let mut all: Vec<(i64, f64)> = column.times.into_iter().zip(column.values).collect();
    all.sort_by_key(|(time, _)| *time);
    all.reverse();
    all.dedup_by_key(|(time, _)| *time);
    all.reverse();
    all.into_iter().unzip()
}

/// Takes the next free number: two imports cannot have the same, because its file is made new; a log that is begun at the
/// same moment is seen here, or sees this file and takes another number.
fn claim(folder: &Path) -> Result<(u64, Draft), FileError> {
    let mut number = place::list(folder)?.last_key_value().map_or(1, |(last, _)| last.saturating_add(1));
    loop {
        match Draft::create(&place::path(folder, number, PART), 0o640) {
            Ok(draft) => {
                if ![LOG, SEALED].iter().any(|suffix| files::exists(&place::path(folder, number, suffix))) {
                    return Ok((number, draft));
                }
            }
            Err(error) if error.is_already_there() => {}
            Err(error) => return Err(error),
        }
        number = number.saturating_add(1);
    }
}
