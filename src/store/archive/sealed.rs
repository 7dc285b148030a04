//! Reading a sealed segment: its index, and from it only the chunks that are asked for.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::super::chunk::{self, Corrupt};
use super::place::{self, Trouble};
use super::record::OwnedOrigin;
use super::replay::Strings;
use super::segment::{FOOTER, Footer, SealedWriter, TimeChunk};
use super::wire::Bytes;
use crate::base::label::NAME;
use crate::base::{Labels, chain};
use crate::store::Selector;
use crate::sys::blocks::Blocks;

/// The footer of an open segment.
///
/// # Errors
/// A sentence fragment behind the file's name.
pub(super) fn footer(file: &Blocks) -> Result<Footer, String> {
    let read = |error| format!("cannot be read: {}", chain(&error));
    let length = file.length().map_err(read)?;
    let mut bytes = [0; FOOTER];
    let from = length.saturating_sub(FOOTER as u64);
    let n = file.read_at(from, &mut bytes).map_err(read)?;
    Footer::parse(&bytes[..n], length).map_err(|why| format!("cannot be read: {why}"))
}

/// The times of a segment that several series share.
struct Column {
    at: u64,
    chunks: Vec<TimeChunk>,
    count: u32,
}

/// Times that follow each other in a column and lie in the window; those with bad checksums leave holes.
#[derive(Clone, Debug)]
pub(super) struct Span {
    /// The index of the first of them in the column.
    pub first: usize,
    pub times: Arc<Vec<i64>>,
}

/// An open segment with its index.
pub(super) struct Segment {
    file: Blocks,
    name: String,
    index: Vec<u8>,
    per_chunk: u32,
    pub notes: Vec<String>,
    pub writers: Vec<SealedWriter>,
    columns: Vec<Column>,
    /// Where the texts stand in the index.
    texts: Vec<Range<usize>>,
    /// Text, number of series, and where their entries stand.
    names: Vec<(usize, usize, Range<usize>)>,
    data_end: u64,
    spans: HashMap<u32, Vec<Span>>,
}

/// A series as the index has it.
#[derive(Clone, Debug)]
pub(super) struct IndexEntry {
    pub labels: Labels,
    pub writer: Option<u32>,
    column: u32,
    first: u32,
    count: u32,
    at: u64,
    lengths: Vec<u32>,
}

/// Samples of a series that follow each other: a part of a span, and their values.
pub(super) struct Part {
    pub times: Arc<Vec<i64>>,
    pub range: Range<usize>,
    pub values: Vec<f64>,
}

impl Segment {
    /// Reads the index of an open segment.
    ///
    /// # Errors
    /// A sentence fragment behind the file's name.
    pub(super) fn open(file: Blocks, footer: &Footer) -> Result<Segment, String> {
        let mut index = vec![0; footer.index_length as usize];
        let n =
            file.read_at(footer.index_at, &mut index).map_err(|error| format!("cannot be read: {}", chain(&error)))?;
        if n != index.len() || crc32fast::hash(&index) != footer.index_sum {
            return Err(format!("cannot be read: the index at {} does not match its checksum", footer.index_at));
        }
        Segment::parse(file, index, footer.index_at)
            .map_err(|why| format!("cannot be read: the index at {} is damaged: {why}", footer.index_at))
    }

    fn parse(file: Blocks, index: Vec<u8>, data_end: u64) -> Result<Segment, Corrupt> {
        let mut bytes = Bytes::new(&index);
        let place_of = |bytes: &Bytes<'_>| index.len() - bytes.left();
        let per_chunk = bytes.small()?;
        if per_chunk == 0 || per_chunk as usize > chunk::MAX_COUNT {
            return Err(Corrupt("no chunk has this many samples"));
        }
        let notes = (0..bytes.count()?).map(|_| bytes.text().map(String::from)).collect::<Result<_, _>>()?;
        let writers = (0..bytes.count()?).map(|_| read_writer(&mut bytes)).collect::<Result<_, _>>()?;
        let columns =
            (0..bytes.count()?).map(|_| read_column(&mut bytes, per_chunk, data_end)).collect::<Result<Vec<_>, _>>()?;
        let n_texts = bytes.count()?;
        let mut texts = Vec::with_capacity(n_texts);
        for _ in 0..n_texts {
            let n = bytes.count()?;
            let at = place_of(&bytes);
            bytes.take(n)?;
            texts.push(at..at + n);
        }
        let mut names = Vec::new();
        let mut at = 0;
        for _ in 0..bytes.count()? {
            let (text, n_series, length) = (bytes.small()? as usize, bytes.count()?, bytes.count()?);
            if text >= texts.len() {
                return Err(Corrupt("a name is not in it"));
            }
            names.push((text, n_series, at..at + length));
            at += length;
        }
        let base = place_of(&bytes);
        if at != bytes.left() {
            return Err(Corrupt("its parts do not fill it"));
        }
        names.iter_mut().for_each(|name| name.2 = name.2.start + base..name.2.end + base);
        let name = place::name(file.path());
        let spans = HashMap::new();
        Ok(Segment { file, name, index, per_chunk, notes, writers, columns, texts, names, data_end, spans })
    }

    fn text(&self, number: usize) -> Result<&str, Corrupt> {
        let range = self.texts.get(number).cloned().ok_or(Corrupt("a text is not in it"))?;
        std::str::from_utf8(&self.index[range]).map_err(|_| Corrupt("a text is not UTF-8"))
    }

    /// The series that any of the selectors means, all for none; what of the index cannot be read is said.
    pub(super) fn select(&self, selectors: &[Selector], strings: &Strings, trouble: &mut Trouble) -> Vec<IndexEntry> {
        let mut found = Vec::new();
        for (text, n_series, range) in &self.names {
            let chosen: Vec<&Selector> = match self.text(*text) {
                Ok(name) => selectors.iter().filter(|selector| selector.admits_name(name)).collect(),
                Err(why) => {
                    trouble.say(format!("{}: a name in the index cannot be read: {why}", self.name));
                    continue;
                }
            };
            if chosen.is_empty() && !selectors.is_empty() {
                continue;
            }
            let mut bytes = Bytes::new(&self.index[range.clone()]);
            for _ in 0..*n_series {
                match self.entry(&mut bytes, &chosen, strings) {
                    Ok(Some(entry)) => found.push(entry),
                    Ok(None) => {}
                    Err(why) => {
                        let at = range.end - bytes.left();
                        trouble.say(format!("{}: a series at {at} of the index cannot be read: {why}", self.name));
                        break;
                    }
                }
            }
        }
        found
    }

    fn entry(
        &self,
        bytes: &mut Bytes<'_>,
        chosen: &[&Selector],
        strings: &Strings,
    ) -> Result<Option<IndexEntry>, Corrupt> {
        let mut pairs = Vec::new();
        for _ in 0..bytes.count()? {
            let (name, value) = (bytes.small()?, bytes.small()?);
            pairs.push((self.text(name as usize)?, self.text(value as usize)?));
        }
        let writer = bytes.small()?.checked_sub(1);
        let (column, first, count) = (bytes.small()?, bytes.small()?, bytes.small()?);
        let at = bytes.number()?;
        let n_chunks = count.div_ceil(self.per_chunk) as usize;
        if n_chunks > bytes.left() {
            return Err(Corrupt("it counts more chunks than it holds"));
        }
        let lengths = (0..n_chunks).map(|_| bytes.small()).collect::<Result<Vec<_>, _>>()?;
        let end = lengths.iter().try_fold(at, |at, length| at.checked_add(u64::from(*length)));
        let times = self.columns.get(column as usize).ok_or(Corrupt("its times are not in it"))?;
        if first.checked_add(count).is_none_or(|last| last > times.count) {
            return Err(Corrupt("it has more values than times"));
        }
        if end.is_none_or(|end| end > self.data_end) || lengths.iter().any(|length| *length < 4) {
            return Err(Corrupt("its chunks lie outside"));
        }
        if writer.is_some_and(|writer| writer as usize >= self.writers.len()) {
            return Err(Corrupt("its writer is not in it"));
        }
        if !may_match(chosen, &pairs) {
            return Ok(None);
        }
        let labels = strings.labels(&pairs);
        Ok(Some(IndexEntry { labels, writer, column, first, count, at, lengths }))
    }

    /// Whether a chunk of the series reaches into `(after, until]`.
    pub(super) fn reaches(&self, entry: &IndexEntry, after: i64, until: i64) -> bool {
        let (first, last) = (entry.first, entry.first + entry.count);
        let mut index = 0;
        self.columns[entry.column as usize].chunks.iter().any(|chunk| {
            let range = index..index + chunk.count;
            index = range.end;
            range.start < last && range.end > first && chunk.min <= until && chunk.max > after
        })
    }

    /// The samples of a series in `(after, until]`, and in wider chunks; times are as they stand.
    pub(super) fn samples(&mut self, entry: &IndexEntry, after: i64, until: i64, trouble: &mut Trouble) -> Vec<Part> {
        self.load_column(entry.column, after, until, trouble);
        let spans = self.spans.get(&entry.column).map_or(&[][..], Vec::as_slice);
        let (first, last) = (entry.first as usize, (entry.first + entry.count) as usize);
        let mut parts = Vec::new();
        for span in spans {
            let range = span.first.max(first)..(span.first + span.times.len()).min(last);
            if range.is_empty() {
                continue;
            }
            for (from, values) in self.values(entry, range.start - first..range.end - first, trouble) {
                let start = from + first - span.first;
                parts.push(Part { times: span.times.clone(), range: start..start + values.len(), values });
            }
        }
        parts
    }

    /// Decodes the chunks of a column that reach into the window, once.
    fn load_column(&mut self, number: u32, after: i64, until: i64, trouble: &mut Trouble) {
        if self.spans.contains_key(&number) {
            return;
        }
        let column = &self.columns[number as usize];
        let (mut spans, mut open): (Vec<Span>, Option<(usize, Vec<i64>)>) = (Vec::new(), None);
        let mut close = |open: &mut Option<(usize, Vec<i64>)>| {
            if let Some((first, times)) = open.take() {
                spans.push(trimmed(first, times, after, until));
            }
        };
        let (mut index, mut at) = (0, column.at);
        for chunk in &column.chunks {
            if chunk.min <= until && chunk.max > after {
                let mut times = open.take().unwrap_or((index, Vec::new()));
                let before = times.1.len();
                match self
                    .chunk(at, chunk.length, |bytes| chunk::decode_times(bytes, chunk.count as usize, &mut times.1))
                {
                    Ok(()) => open = Some(times),
                    Err(why) => {
                        trouble.say(format!("{}: {} times at {at} are lost: {why}", self.name, chunk.count));
                        times.1.truncate(before);
                        open = Some(times);
                        close(&mut open);
                    }
                }
            } else {
                close(&mut open);
            }
            index += chunk.count as usize;
            at += u64::from(chunk.length);
        }
        close(&mut open);
        self.spans.insert(number, spans);
    }

    /// The values with these indices, in runs that leave out bad chunks.
    fn values(&self, entry: &IndexEntry, wanted: Range<usize>, trouble: &mut Trouble) -> Vec<(usize, Vec<f64>)> {
        let per_chunk = self.per_chunk as usize;
        let chunks = wanted.start / per_chunk..(wanted.end - 1) / per_chunk + 1;
        let skipped: u64 = entry.lengths[..chunks.start].iter().map(|length| u64::from(*length)).sum();
        let total: usize = entry.lengths[chunks.clone()].iter().map(|length| *length as usize).sum();
        let mut bytes = vec![0; total];
        let start = entry.at + skipped;
        if let Err(error) = self.file.read_at(start, &mut bytes) {
            trouble.say(format!("{}: {} values are lost: {}", self.name, wanted.len(), chain(&error)));
            return Vec::new();
        }
        let mut runs: Vec<(usize, Vec<f64>)> = Vec::new();
        let (mut place, mut scratch, mut joins) = (0, Vec::new(), false);
        for i in chunks {
            let length = entry.lengths[i] as usize;
            let first = i * per_chunk;
            let count = per_chunk.min(entry.count as usize - first);
            scratch.clear();
            match checked(&bytes[place..place + length], |bytes| chunk::decode_values(bytes, count, &mut scratch)) {
                Ok(()) => {
                    let part = wanted.start.max(first)..wanted.end.min(first + count);
                    if !joins {
                        runs.push((part.start, Vec::with_capacity(wanted.end - part.start)));
                    }
                    if let Some((_, values)) = runs.last_mut() {
                        values.extend_from_slice(&scratch[part.start - first..part.end - first]);
                    }
                    joins = true;
                }
                Err(why) => {
                    let at = start + place as u64;
                    trouble.say(format!("{}: {count} values of {} at {at} are lost: {why}", self.name, entry.labels));
                    joins = false;
                }
            }
            place += length;
        }
        runs
    }

    fn chunk(&self, at: u64, length: u32, decode: impl FnOnce(&[u8]) -> Result<(), Corrupt>) -> Result<(), String> {
        let mut bytes = vec![0; length as usize];
        self.file.read_at(at, &mut bytes).map_err(|error| chain(&error))?;
        checked(&bytes, decode)
    }
}

/// Decodes a chunk whose last four bytes are its checksum.
fn checked(bytes: &[u8], decode: impl FnOnce(&[u8]) -> Result<(), Corrupt>) -> Result<(), String> {
    let (chunk, sum) = bytes.split_last_chunk::<4>().ok_or("it is too short")?;
    if crc32fast::hash(chunk) != u32::from_le_bytes(*sum) {
        return Err("the checksum does not match".into());
    }
    decode(chunk).map_err(|why| why.to_string())
}

/// Times that rise are cut to the window at once; others are sorted out later.
fn trimmed(first: usize, mut times: Vec<i64>, after: i64, until: i64) -> Span {
    if !times.is_sorted() {
        return Span { first, times: Arc::new(times) };
    }
    times.truncate(times.partition_point(|time| *time <= until));
    let from = times.partition_point(|time| *time <= after);
    times.drain(..from);
    Span { first: first + from, times: Arc::new(times) }
}

/// Whether a label set, as pairs, is meant by one of the selectors.
pub(super) fn may_match(selectors: &[&Selector], pairs: &[(&str, &str)]) -> bool {
    let value = |label: &str| pairs.iter().find(|(name, _)| *name == label).map_or("", |(_, value)| *value);
    selectors.is_empty()
        || selectors.iter().any(|selector| {
            selector.name.as_deref().is_none_or(|name| name == value(NAME))
                && selector.matchers.iter().all(|matcher| matcher.matches(value(&matcher.label)))
        })
}

fn read_writer(bytes: &mut Bytes<'_>) -> Result<SealedWriter, Corrupt> {
    let origin = OwnedOrigin::read(bytes)?;
    let (interval, last) = (bytes.signed()?, bytes.signed()?);
    let has_good = bytes.byte()? != 0;
    let good = bytes.signed()?;
    Ok(SealedWriter { origin, interval, last, good: has_good.then_some(good) })
}

fn read_column(bytes: &mut Bytes<'_>, per_chunk: u32, data_end: u64) -> Result<Column, Corrupt> {
    let n_chunks = bytes.count()?;
    let at = bytes.number()?;
    let (mut end, mut count, mut before) = (at, 0u32, 0i64);
    let mut chunks = Vec::new();
    for _ in 0..n_chunks {
        let (length, n) = (bytes.small()?, bytes.small()?);
        let min = before.wrapping_add(bytes.signed()?);
        let max = min.wrapping_add(bytes.number()? as i64);
        before = max;
        end = end
            .checked_add(u64::from(length))
            .filter(|end| *end <= data_end)
            .ok_or(Corrupt("its times lie outside"))?;
        count = count.checked_add(n).ok_or(Corrupt("it has too many times"))?;
        if n == 0 || n > per_chunk || length < 4 {
            return Err(Corrupt("a chunk of times is too long or empty"));
        }
        chunks.push(TimeChunk { length, count: n, min, max });
    }
    Ok(Column { at, chunks, count })
}
