//! One record of a log: everything that one look gave, in a frame that is found again after damage.
//!
//! A frame is 16 bytes and the payload: marker, length and checksum of the payload, and a checksum of these three with the
//! file's number and the frame's place. So a frame counts only where it was written; bytes in a payload that look like one,
//! or a copied block, do not. Series and writers are defined by the first record that uses them, with explicit numbers: a
//! record that is lost takes no other one's meaning with it.

use std::collections::{BTreeMap, HashMap};

use super::super::chunk::Corrupt;
use super::wire::{self, Bytes};
use super::{Entry, Origin};
use crate::base::{Labels, Sample, SourceRef};

/// The bytes of a frame before its payload.
pub(super) const FRAME: usize = 16;

/// The longest payload.
pub(super) const MAX_PAYLOAD: usize = 32 << 20;

const MARKER: [u8; 4] = [0xb5, b'R', b'e', b'c'];

const BATCH: u8 = 1;
const CHECKPOINT: u8 = 2;

const IS_NEW: u8 = 1;
const IS_GOOD: u8 = 2;
const HAS_CHECKPOINT: u8 = 4;

/// The length and checksum of the payload behind a frame that stands at `offset` of file `number`.
pub(super) fn parse_frame(frame: &[u8; FRAME], number: u64, offset: u64) -> Option<(usize, u32)> {
    let length = wire::u32_at(frame, 4) as usize;
    let good = frame[..4] == MARKER && length <= MAX_PAYLOAD && wire::u32_at(frame, 12) == seal(frame, number, offset);
    good.then(|| (length, wire::u32_at(frame, 8)))
}

fn seal(frame: &[u8], number: u64, offset: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&frame[..12]);
    hasher.update(&number.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.finalize()
}

/// Fills the frame at the start of `bytes` for the payload behind it.
pub(super) fn close_frame(bytes: &mut [u8], number: u64, offset: u64) {
    let length = (bytes.len() - FRAME) as u32;
    let sum = crc32fast::hash(&bytes[FRAME..]);
    bytes[..4].copy_from_slice(&MARKER);
    bytes[4..8].copy_from_slice(&length.to_le_bytes());
    bytes[8..12].copy_from_slice(&sum.to_le_bytes());
    let seal = seal(bytes, number, offset);
    bytes[12..16].copy_from_slice(&seal.to_le_bytes());
}

/// The first place at or after `from` where a marker stands.
pub(super) fn find_marker(bytes: &[u8], from: usize) -> Option<usize> {
    let tail = bytes.get(from..)?;
    tail.windows(MARKER.len()).position(|window| window == MARKER).map(|i| from + i)
}

/// What the records of a log have defined, for its writer.
#[derive(Debug, Default)]
pub(super) struct Dictionary {
    targets: BTreeMap<SourceRef, BTreeMap<String, u32>>,
    families: BTreeMap<String, u32>,
    /// For each writer the series of its last record by position: most looks give the same ones in the same order.
    hints: Vec<Vec<u32>>,
    ids: HashMap<Labels, u32>,
    series: Vec<Labels>,
}

/// How large a [`Dictionary`] was, to go back to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    n_writers: usize,
    n_series: usize,
}

impl Dictionary {
    pub(super) fn mark(&self) -> Mark {
        Mark { n_writers: self.hints.len(), n_series: self.series.len() }
    }

    /// Forgets what was defined since: its record did not get onto the disk.
    pub(super) fn back_to(&mut self, mark: Mark) {
        for labels in self.series.drain(mark.n_series..) {
            self.ids.remove(&labels);
        }
        let n_writers = mark.n_writers as u32;
        self.hints.truncate(mark.n_writers);
        self.targets.values_mut().for_each(|instances| instances.retain(|_, id| *id < n_writers));
        self.families.retain(|_, id| *id < n_writers);
        self.hints.iter_mut().for_each(Vec::clear);
    }

    /// Takes up a definition that was read; the ids must follow each other.
    pub(super) fn restore_writer(&mut self, origin: &OwnedOrigin) {
        let id = self.hints.len() as u32;
        match origin {
            OwnedOrigin::Target { source, instance } => {
                self.targets.entry(source.clone()).or_default().insert(instance.clone(), id);
            }
            OwnedOrigin::Family(name) => drop(self.families.insert(name.clone(), id)),
        }
        self.hints.push(Vec::new());
    }

    /// As [`Dictionary::restore_writer`], for a series.
    pub(super) fn restore_series(&mut self, labels: Labels) {
        self.ids.insert(labels.clone(), self.series.len() as u32);
        self.series.push(labels);
    }

    /// The writer's number, and whether it is new.
    fn writer(&mut self, origin: &Origin<'_>) -> (u32, bool) {
        let known = match origin {
            Origin::Target { source, instance, .. } => self.targets.get(*source).and_then(|of| of.get(*instance)),
            Origin::Family(name) => self.families.get(*name),
        };
        if let Some(id) = known {
            return (*id, false);
        }
        let id = self.hints.len() as u32;
        self.restore_writer(&origin.owned());
        (id, true)
    }

    fn id(&mut self, writer: u32, position: usize, labels: &Labels) -> u32 {
        let hints = &mut self.hints[writer as usize];
        if let Some(id) = hints.get(position)
            && self.series[*id as usize] == *labels
        {
            return *id;
        }
        let id = match self.ids.get(labels) {
            Some(id) => *id,
            None => {
                let id = self.series.len() as u32;
                self.ids.insert(labels.clone(), id);
                self.series.push(labels.clone());
                id
            }
        };
        match hints.get_mut(position) {
            Some(hint) => *hint = id,
            None => hints.push(id),
        }
        id
    }
}

/// Who wrote samples, as it stands on disk.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum OwnedOrigin {
    Target { source: SourceRef, instance: String },
    Family(String),
}

impl OwnedOrigin {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match self {
            OwnedOrigin::Target { source, instance } => {
                out.push(0);
                put_target(out, source, instance);
            }
            OwnedOrigin::Family(name) => {
                out.push(1);
                wire::put_text(out, name);
            }
        }
    }

    pub(super) fn read(bytes: &mut Bytes<'_>) -> Result<OwnedOrigin, Corrupt> {
        match bytes.byte()? {
            0 => read_target(bytes).map(|(source, instance)| OwnedOrigin::Target { source, instance }),
            1 => Ok(OwnedOrigin::Family(bytes.text()?.into())),
            _ => Err(Corrupt("a writer is neither a target nor a family")),
        }
    }
}

fn put_target(out: &mut Vec<u8>, source: &SourceRef, instance: &str) {
    wire::put_text(out, &source.kind);
    wire::put_text(out, &source.name);
    wire::put_text(out, instance);
}

fn read_target(bytes: &mut Bytes<'_>) -> Result<(SourceRef, String), Corrupt> {
    let source = SourceRef { kind: bytes.text()?.into(), name: bytes.text()?.into() };
    Ok((source, bytes.text()?.into()))
}

/// Appends the payload of a batch.
pub(super) fn put_batch(out: &mut Vec<u8>, dictionary: &mut Dictionary, entry: &Entry<'_>, stale: f64) {
    let (writer, is_new) = dictionary.writer(&entry.origin);
    let first_new = dictionary.series.len();
    let labels = entry.samples.iter().map(|sample| &sample.labels).chain(entry.ended);
    let ids: Vec<u32> = labels.enumerate().map(|(i, labels)| dictionary.id(writer, i, labels)).collect();
    let (interval, good) = match entry.origin {
        Origin::Target { interval, good, .. } => (interval.0, good),
        Origin::Family(_) => (0, true),
    };
    out.push(BATCH);
    wire::put(out, u64::from(writer));
    let checkpoint = if entry.checkpoint.is_some() { HAS_CHECKPOINT } else { 0 };
    out.push((u8::from(is_new) * IS_NEW) | (u8::from(good) * IS_GOOD) | checkpoint);
    if is_new {
        entry.origin.owned().put(out);
    }
    wire::put_signed(out, entry.at.0);
    wire::put_signed(out, interval);
    put_definitions(out, first_new, &dictionary.series[first_new..]);
    put_runs(out, &ids);
    entry.samples.iter().for_each(|sample| wire::put_value(out, sample.value));
    entry.ended.iter().for_each(|_| wire::put_value(out, stale));
    put_own_times(out, entry);
    if let Some(checkpoint) = entry.checkpoint {
        wire::put(out, checkpoint.len() as u64);
        out.extend_from_slice(checkpoint);
    }
}

fn put_definitions(out: &mut Vec<u8>, first: usize, new: &[Labels]) {
    wire::put(out, new.len() as u64);
    if !new.is_empty() {
        wire::put(out, first as u64);
    }
    for labels in new {
        wire::put(out, labels.len() as u64);
        for (name, value) in labels.iter() {
            wire::put_text(out, name);
            wire::put_text(out, value);
        }
    }
}

/// Series as runs of numbers that follow each other.
fn put_runs(out: &mut Vec<u8>, ids: &[u32]) {
    let runs = || ids.chunk_by(|a, b| a.wrapping_add(1) == *b);
    wire::put(out, runs().count() as u64);
    let mut next = 0i64;
    for run in runs() {
        wire::put_signed(out, i64::from(run[0]) - next);
        wire::put(out, run.len() as u64);
        next = i64::from(run[0]) + run.len() as i64;
    }
}

fn put_own_times(out: &mut Vec<u8>, entry: &Entry<'_>) {
    let own_time = |sample: &Sample| sample.at.filter(|at| *at != entry.at);
    let own = || entry.samples.iter().enumerate().filter_map(|(i, sample)| Some((i, own_time(sample)?)));
    wire::put(out, own().count() as u64);
    let mut next = 0;
    for (i, at) in own() {
        wire::put(out, (i - next) as u64);
        wire::put_signed(out, at.0.wrapping_sub(entry.at.0));
        next = i + 1;
    }
}

/// Appends the payload that repeats a checkpoint in a new log.
pub(super) fn put_checkpoint(out: &mut Vec<u8>, source: &SourceRef, instance: &str, checkpoint: &[u8]) {
    out.push(CHECKPOINT);
    put_target(out, source, instance);
    out.extend_from_slice(checkpoint);
}

/// A record as it is read.
pub(super) enum Record<'a> {
    Batch(Batch<'a>),
    Checkpoint { source: SourceRef, instance: String, checkpoint: &'a [u8] },
}

/// A batch as it is read; its samples stand in [`Columns`].
pub(super) struct Batch<'a> {
    pub writer: u32,
    pub definition: Option<OwnedOrigin>,
    pub good: bool,
    pub at: i64,
    pub interval: i64,
    /// The number of the first new series, and what they are.
    pub first_new: u32,
    pub new: Vec<Vec<(&'a str, &'a str)>>,
    pub checkpoint: Option<&'a [u8]>,
}

/// The samples of the record that was read last; reused from record to record.
#[derive(Debug, Default)]
pub(super) struct Columns {
    /// First series and length.
    pub runs: Vec<(u32, u32)>,
    pub values: Vec<f64>,
    /// Position and time of samples that have their own, rising.
    pub own: Vec<(usize, i64)>,
}

/// Reads a payload.
///
/// # Errors
/// When no writer of this format wrote it.
pub(super) fn read<'a>(payload: &'a [u8], columns: &mut Columns) -> Result<Record<'a>, Corrupt> {
    let mut bytes = Bytes::new(payload);
    match bytes.byte()? {
        BATCH => read_batch(bytes, columns).map(Record::Batch),
        CHECKPOINT => {
            let (source, instance) = read_target(&mut bytes)?;
            let checkpoint = bytes.take(bytes.left())?;
            Ok(Record::Checkpoint { source, instance, checkpoint })
        }
        _ => Err(Corrupt("it is of no known kind")),
    }
}

fn read_batch<'a>(mut bytes: Bytes<'a>, columns: &mut Columns) -> Result<Batch<'a>, Corrupt> {
    let writer = bytes.small()?;
    let flags = bytes.byte()?;
    let definition = if flags & IS_NEW != 0 { Some(OwnedOrigin::read(&mut bytes)?) } else { None };
    let (at, interval) = (bytes.signed()?, bytes.signed()?);
    let (first_new, new) = read_definitions(&mut bytes)?;
    read_samples(&mut bytes, at, columns)?;
    let checkpoint = if flags & HAS_CHECKPOINT != 0 { Some(bytes.sized()?) } else { None };
    if !bytes.is_empty() {
        return Err(Corrupt("it goes on after its end"));
    }
    Ok(Batch { writer, definition, good: flags & IS_GOOD != 0, at, interval, first_new, new, checkpoint })
}

type Definition<'a> = Vec<(&'a str, &'a str)>;

fn read_definitions<'a>(bytes: &mut Bytes<'a>) -> Result<(u32, Vec<Definition<'a>>), Corrupt> {
    let n_new = bytes.count()?;
    let first_new = if n_new > 0 { bytes.small()? } else { 0 };
    let mut new = Vec::new();
    for _ in 0..n_new {
        let n_labels = bytes.count()?;
        let pair = |_| Ok((bytes.text()?, bytes.text()?));
        new.push((0..n_labels).map(pair).collect::<Result<Definition<'a>, Corrupt>>()?);
    }
    Ok((first_new, new))
}

fn read_samples(bytes: &mut Bytes<'_>, at: i64, columns: &mut Columns) -> Result<(), Corrupt> {
    columns.runs.clear();
    columns.values.clear();
    columns.own.clear();
    let (mut next, mut n_samples) = (0i64, 0usize);
    for _ in 0..bytes.count()? {
        let first = next.checked_add(bytes.signed()?).and_then(|first| u32::try_from(first).ok());
        let first = first.ok_or(Corrupt("a series has no number"))?;
        let length = bytes.small()?;
        next = i64::from(first) + i64::from(length);
        n_samples += length as usize;
        if n_samples > bytes.left() {
            return Err(Corrupt("it counts more samples than it holds"));
        }
        columns.runs.push((first, length));
    }
    for _ in 0..n_samples {
        columns.values.push(bytes.value()?);
    }
    let mut position = 0usize;
    for _ in 0..bytes.count()? {
        position = position.saturating_add(bytes.small()? as usize);
        if position >= n_samples {
            return Err(Corrupt("a time belongs to no sample"));
        }
        columns.own.push((position, at.wrapping_add(bytes.signed()?)));
        position += 1;
    }
    Ok(())
}
