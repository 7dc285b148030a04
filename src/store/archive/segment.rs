//! Writing a sealed segment: header, chunks, index, footer.

use std::collections::HashMap;

use super::super::chunk::{TimeEncoder, ValueEncoder};
use super::PER_CHUNK;
use super::record::OwnedOrigin;
use super::replay::Push;
use super::wire::{self, HEADER, Header};
use crate::base::Labels;
use crate::sys::blocks::Draft;
use crate::sys::files::FileError;

/// The bytes of a footer.
pub(super) const FOOTER: usize = 52;

/// The last bytes of a footer before its checksum.
pub(super) const END: [u8; 4] = *b"end.";

/// The largest index.
pub(super) const MAX_INDEX: u64 = 64 << 20;

/// A chunk of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeChunk {
    /// With its checksum.
    pub length: u32,
    pub count: u32,
    pub min: i64,
    pub max: i64,
}

/// A column of times as it is compressed.
#[derive(Clone, Debug, Default)]
pub(super) struct SealedTimes {
    bytes: Vec<u8>,
    pub chunks: Vec<TimeChunk>,
    open: TimeEncoder,
    range: Option<(i64, i64)>,
}

impl Push<i64> for SealedTimes {
    fn push(&mut self, time: i64) {
        self.open.push(time);
        self.range = Some(self.range.map_or((time, time), |(min, max)| (min.min(time), max.max(time))));
        if self.open.count() == PER_CHUNK {
            self.close();
        }
    }
}

impl SealedTimes {
    fn close(&mut self) {
        let count = self.open.count() as u32;
        if let Some((min, max)) = self.range.take() {
            let length = put_chunk(&mut self.bytes, &self.open.finish());
            self.chunks.push(TimeChunk { length, count, min, max });
        }
    }
}

/// A column of values as it is compressed.
#[derive(Clone, Debug, Default)]
pub(super) struct SealedValues {
    bytes: Vec<u8>,
    lengths: Vec<u32>,
    open: ValueEncoder,
}

impl Push<f64> for SealedValues {
    fn push(&mut self, value: f64) {
        self.open.push(value);
        if self.open.count() == PER_CHUNK {
            self.close();
        }
    }
}

impl SealedValues {
    fn close(&mut self) {
        if self.open.count() > 0 {
            let length = put_chunk(&mut self.bytes, &self.open.finish());
            self.lengths.push(length);
        }
    }
}

/// Appends a chunk and its checksum; returns the length of both.
fn put_chunk(out: &mut Vec<u8>, chunk: &[u8]) -> u32 {
    out.extend_from_slice(chunk);
    out.extend_from_slice(&crc32fast::hash(chunk).to_le_bytes());
    chunk.len() as u32 + 4
}

/// A series of a segment.
#[derive(Clone, Debug)]
pub(super) struct SealedSeries {
    pub labels: Labels,
    /// Who wrote it last: an index into the writers.
    pub writer: Option<u32>,
    /// Which column of times, and its first of them.
    pub column: u32,
    pub first: u32,
    pub count: u32,
    pub values: SealedValues,
}

/// A writer of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SealedWriter {
    pub origin: OwnedOrigin,
    pub interval: i64,
    pub last: i64,
    pub good: Option<i64>,
}

/// What a segment holds.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub columns: Vec<SealedTimes>,
    pub series: Vec<SealedSeries>,
    pub writers: Vec<SealedWriter>,
    /// What was lost before.
    pub notes: Vec<String>,
}

/// What a segment says of itself at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub index_at: u64,
    pub index_length: u64,
    pub index_sum: u32,
    pub min: i64,
    pub max: i64,
    pub samples: u64,
}

impl Footer {
    fn bytes(&self) -> [u8; FOOTER] {
        let mut bytes = [0; FOOTER];
        let numbers = [self.index_at, self.index_length, self.min as u64, self.max as u64, self.samples];
        for (i, number) in numbers.into_iter().enumerate() {
            bytes[i * 8..i * 8 + 8].copy_from_slice(&number.to_le_bytes());
        }
        bytes[40..44].copy_from_slice(&self.index_sum.to_le_bytes());
        bytes[44..48].copy_from_slice(&END);
        let sum = crc32fast::hash(&bytes[..48]);
        bytes[48..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads the footer of a file of `length` bytes.
    pub(super) fn parse(bytes: &[u8], length: u64) -> Result<Footer, &'static str> {
        if bytes.len() != FOOTER || bytes[44..48] != END || wire::u32_at(bytes, 48) != crc32fast::hash(&bytes[..48]) {
            return Err("it ends before its index, or the place of its index is damaged");
        }
        let number = |i: usize| wire::u64_at(bytes, i * 8);
        let footer = Footer {
            index_at: number(0),
            index_length: number(1),
            index_sum: wire::u32_at(bytes, 40),
            min: number(2) as i64,
            max: number(3) as i64,
            samples: number(4),
        };
        let end = footer.index_at.checked_add(footer.index_length).and_then(|end| end.checked_add(FOOTER as u64));
        let good = end == Some(length) && footer.index_at >= HEADER as u64 && footer.index_length <= MAX_INDEX;
        if good { Ok(footer) } else { Err("its index lies outside") }
    }
}

/// Writes a file in pieces of about a mebibyte.
struct Out<'a> {
    draft: &'a mut Draft,
    bytes: Vec<u8>,
    at: u64,
}

impl Out<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.bytes.extend_from_slice(bytes);
        self.at += bytes.len() as u64;
        if self.bytes.len() < 1 << 20 { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), FileError> {
        self.draft.write(&self.bytes)?;
        self.bytes.clear();
        Ok(())
    }
}

/// Texts with numbers in the order of their first use.
#[derive(Default)]
struct Table {
    numbers: HashMap<String, u64>,
    bytes: Vec<u8>,
}

impl Table {
    fn number(&mut self, text: &str) -> u64 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.numbers.len() as u64;
        wire::put_text(&mut self.bytes, text);
        self.numbers.insert(text.into(), number);
        number
    }
}

/// Writes a whole segment and frees `contents` on the way; returns its footer and length. None when the index
/// would be larger than a reader takes.
///
/// # Errors
/// When the disk does not take it.
pub(super) fn write(
    draft: &mut Draft,
    header: &Header,
    mut contents: Contents,
) -> Result<Option<(Footer, u64)>, FileError> {
    let mut out = Out { draft, bytes: Vec::new(), at: 0 };
    out.put(&header.bytes())?;
    let columns = put_columns(&mut out, &mut contents.columns)?;
    contents.series.sort_by(|a, b| (a.labels.name(), &a.labels).cmp(&(b.labels.name(), &b.labels)));
    let samples = contents.series.iter().map(|series| u64::from(series.count)).sum();
    let (mut table, mut names, mut entries) = (Table::default(), Vec::new(), Vec::new());
    let mut n_names = 0;
    for group in contents.series.chunk_by_mut(|a, b| a.labels.name() == b.labels.name()) {
        let before = entries.len();
        for series in group.iter_mut() {
            put_series(&mut out, &mut table, &mut entries, series)?;
        }
        wire::put(&mut names, table.number(group[0].labels.name()));
        wire::put(&mut names, group.len() as u64);
        wire::put(&mut names, (entries.len() - before) as u64);
        n_names += 1;
    }
    let mut index = Vec::new();
    wire::put(&mut index, PER_CHUNK as u64);
    put_notes(&mut index, &contents);
    index.extend_from_slice(&columns);
    wire::put(&mut index, table.numbers.len() as u64);
    index.extend_from_slice(&table.bytes);
    wire::put(&mut index, n_names);
    index.extend_from_slice(&names);
    index.extend_from_slice(&entries);
    if index.len() as u64 > MAX_INDEX {
        return Ok(None);
    }
    let chunks = contents.columns.iter().flat_map(|column| &column.chunks);
    let range = chunks.map(|c| (c.min, c.max)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
    let (min, max) = range.unwrap_or((i64::MAX, i64::MIN));
    let (index_at, index_length, index_sum) = (out.at, index.len() as u64, crc32fast::hash(&index));
    let footer = Footer { index_at, index_length, index_sum, min, max, samples };
    out.put(&index)?;
    out.put(&footer.bytes())?;
    out.flush()?;
    Ok(Some((footer, out.at)))
}

fn put_columns(out: &mut Out<'_>, columns: &mut [SealedTimes]) -> Result<Vec<u8>, FileError> {
    let mut entries = Vec::new();
    wire::put(&mut entries, columns.len() as u64);
    for column in columns {
        column.close();
        wire::put(&mut entries, column.chunks.len() as u64);
        wire::put(&mut entries, out.at);
        let mut before = 0i64;
        for chunk in &column.chunks {
            wire::put(&mut entries, u64::from(chunk.length));
            wire::put(&mut entries, u64::from(chunk.count));
            wire::put_signed(&mut entries, chunk.min.wrapping_sub(before));
            wire::put(&mut entries, chunk.max.wrapping_sub(chunk.min) as u64);
            before = chunk.max;
        }
        out.put(&std::mem::take(&mut column.bytes))?;
    }
    Ok(entries)
}

fn put_series(
    out: &mut Out<'_>,
    table: &mut Table,
    entries: &mut Vec<u8>,
    series: &mut SealedSeries,
) -> Result<(), FileError> {
    series.values.close();
    wire::put(entries, series.labels.len() as u64);
    for (name, value) in series.labels.iter() {
        wire::put(entries, table.number(name));
        wire::put(entries, table.number(value));
    }
    wire::put(entries, series.writer.map_or(0, |writer| u64::from(writer) + 1));
    for number in [series.column, series.first, series.count] {
        wire::put(entries, u64::from(number));
    }
    wire::put(entries, out.at);
    series.values.lengths.iter().for_each(|length| wire::put(entries, u64::from(*length)));
    out.put(&std::mem::take(&mut series.values.bytes))
}

fn put_notes(index: &mut Vec<u8>, contents: &Contents) {
    wire::put(index, contents.notes.len() as u64);
    contents.notes.iter().for_each(|note| wire::put_text(index, note));
    wire::put(index, contents.writers.len() as u64);
    for writer in &contents.writers {
        writer.origin.put(index);
        wire::put_signed(index, writer.interval);
        wire::put_signed(index, writer.last);
        index.push(u8::from(writer.good.is_some()));
        wire::put_signed(index, writer.good.unwrap_or(0));
    }
}
