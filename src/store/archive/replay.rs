//! From the records of a log to columns: one of times for each writer, one of values for each series.
//!
//! What becomes of the numbers is the caller's: a reader keeps them as they are, the sealing compresses them at once, a
//! list of series drops them. A series that is in every look of its writer since it began shares the writer's times; one
//! that is not has times of its own.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::chunk::Corrupt;
use super::record::{self, Batch, Columns, OwnedOrigin, Record};
use crate::base::{Labels, SourceRef};

/// Where numbers go.
pub(super) trait Push<T> {
    fn push(&mut self, number: T);
}

impl<T> Push<T> for Vec<T> {
    fn push(&mut self, number: T) {
        Vec::push(self, number);
    }
}

/// Nobody wants the numbers.
impl<T> Push<T> for () {
    fn push(&mut self, _: T) {}
}

/// A writer and its looks.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    pub origin: OwnedOrigin,
    pub interval: i64,
    pub last: i64,
    pub good: Option<i64>,
    /// The times of its looks that are wanted.
    pub times: Vec<i64>,
}

/// The times of a series.
#[derive(Clone, Debug)]
pub(super) enum Times<T> {
    /// The looks of the writer from this one on.
    Shared {
        writer: u32,
        first: usize,
    },
    Own(T),
}

/// A series as it grows.
#[derive(Clone, Debug)]
pub(super) struct Track<T, V> {
    pub labels: Labels,
    /// Who wrote it last.
    pub writer: u32,
    pub count: usize,
    pub times: Times<T>,
    pub values: V,
}

/// What a number of the log means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// Its definition was lost.
    Unknown,
    /// It was not asked for.
    Unwanted,
    /// The place of its track.
    Wanted(u32),
}

/// The labels of a series that is wanted, from its pairs.
pub(super) type Wants<'q> = dyn Fn(&[(&str, &str)]) -> Option<Labels> + 'q;

/// Columns that grow no more.
pub(super) struct Replayed<T, V> {
    /// By number; none where the definition was lost.
    pub writers: Vec<Option<Writer>>,
    pub tracks: Vec<Track<T, V>>,
}

/// The columns of a log.
pub(super) struct Replay<'q, T, V> {
    pub writers: Vec<Option<Writer>>,
    pub tracks: Vec<Track<T, V>>,
    /// Samples whose series or writer was defined in a lost record.
    pub unknown: u64,
    /// Samples that were kept.
    pub kept: u64,
    /// The newest checkpoint of each target, where the log has any.
    pub checkpoints: HashMap<(SourceRef, String), Vec<u8>>,
    keeps_checkpoints: bool,
    slots: Vec<Slot>,
    columns: Columns,
    wants: &'q Wants<'q>,
    after: i64,
    until: i64,
}

impl<'q, T: Push<i64> + Default, V: Push<f64> + Default> Replay<'q, T, V> {
    /// Columns of the samples in `(after, until]` of the series that `wants` gives labels for.
    pub(super) fn new(wants: &'q Wants<'q>, after: i64, until: i64) -> Self {
        Replay {
            writers: Vec::new(),
            tracks: Vec::new(),
            unknown: 0,
            kept: 0,
            checkpoints: HashMap::new(),
            keeps_checkpoints: false,
            slots: Vec::new(),
            columns: Columns::default(),
            wants,
            after,
            until,
        }
    }

    /// The same, and the checkpoints.
    pub(super) fn with_checkpoints(mut self) -> Self {
        self.keeps_checkpoints = true;
        self
    }

    /// The definitions of all series by number, if each one is known.
    pub(super) fn is_complete(&self) -> bool {
        !self.slots.contains(&Slot::Unknown) && self.writers.iter().all(Option::is_some)
    }

    /// The columns alone.
    pub(super) fn done(self) -> Replayed<T, V> {
        Replayed { writers: self.writers, tracks: self.tracks }
    }

    /// Takes up the record that stands at `offset`.
    ///
    /// # Errors
    /// When no writer of this format wrote it.
    pub(super) fn feed(&mut self, offset: u64, payload: &[u8]) -> Result<(), Corrupt> {
        let mut columns = std::mem::take(&mut self.columns);
        let result = match record::read(payload, &mut columns) {
            Ok(Record::Batch(batch)) => self.batch(offset, &batch, &columns),
            Ok(Record::Checkpoint { source, instance, checkpoint }) => {
                if self.keeps_checkpoints {
                    self.checkpoints.insert((source, instance), checkpoint.to_vec());
                }
                Ok(())
            }
            Err(error) => Err(error),
        };
        self.columns = columns;
        result
    }

    fn batch(&mut self, offset: u64, batch: &Batch<'_>, columns: &Columns) -> Result<(), Corrupt> {
        self.define(offset, batch)?;
        let Some(writer) = self.writers.get_mut(batch.writer as usize).and_then(Option::as_mut) else {
            self.unknown += columns.values.len() as u64;
            return Ok(());
        };
        writer.interval = batch.interval;
        writer.last = writer.last.max(batch.at);
        if batch.good {
            writer.good = Some(writer.good.map_or(batch.at, |good| good.max(batch.at)));
        }
        if let (true, Some(checkpoint), OwnedOrigin::Target { source, instance }) =
            (self.keeps_checkpoints, batch.checkpoint, &writer.origin)
        {
            self.checkpoints.insert((source.clone(), instance.clone()), checkpoint.to_vec());
        }
        let is_wanted = batch.at > self.after && batch.at <= self.until;
        if is_wanted {
            writer.times.push(batch.at);
        } else if columns.own.is_empty() {
            return Ok(());
        }
        self.samples(batch, columns);
        Ok(())
    }

    /// Numbers are explicit, and each definition takes at least a byte of the log, so no number is beyond `offset`.
    fn define(&mut self, offset: u64, batch: &Batch<'_>) -> Result<(), Corrupt> {
        let beyond = |number: u32| u64::from(number) > offset;
        if let Some(origin) = &batch.definition {
            let i = batch.writer as usize;
            if beyond(batch.writer) || self.writers.get(i).is_some_and(Option::is_some) {
                return Err(Corrupt("it defines a writer that cannot be new"));
            }
            if self.writers.len() <= i {
                self.writers.resize(i + 1, None);
            }
            let (origin, times) = (origin.clone(), Vec::new());
            self.writers[i] = Some(Writer { origin, interval: 0, last: i64::MIN, good: None, times });
        }
        if batch.new.is_empty() {
            return Ok(());
        }
        let first = batch.first_new as usize;
        if beyond(batch.first_new) || first < self.slots.len() {
            return Err(Corrupt("it defines a series that cannot be new"));
        }
        self.slots.resize(first, Slot::Unknown);
        for pairs in &batch.new {
            let slot = match (self.wants)(pairs) {
                None => Slot::Unwanted,
                Some(labels) => {
                    let times = Times::Shared { writer: batch.writer, first: 0 };
                    let (values, writer) = (V::default(), batch.writer);
                    self.tracks.push(Track { labels, writer, count: 0, times, values });
                    Slot::Wanted(self.tracks.len() as u32 - 1)
                }
            };
            self.slots.push(slot);
        }
        Ok(())
    }

    fn samples(&mut self, batch: &Batch<'_>, columns: &Columns) {
        let mut position = 0;
        let mut own = columns.own.iter().peekable();
        for (first, length) in &columns.runs {
            for i in 0..*length {
                let value = columns.values[position];
                let at = match own.next_if(|(of, _)| *of == position) {
                    Some((_, at)) => *at,
                    None => batch.at,
                };
                position += 1;
                if at <= self.after || at > self.until {
                    continue;
                }
                match self.slots.get((first + i) as usize) {
                    Some(Slot::Wanted(track)) => self.sample(batch, *track as usize, at, value),
                    Some(Slot::Unwanted) => {}
                    Some(Slot::Unknown) | None => self.unknown += 1,
                }
            }
        }
    }

    #[inline]
    fn sample(&mut self, batch: &Batch<'_>, track: usize, at: i64, value: f64) {
        let track = &mut self.tracks[track];
        let looks = match &self.writers[batch.writer as usize] {
            Some(writer) => writer.times.as_slice(),
            None => &[],
        };
        let look = looks.len().wrapping_sub(1);
        let in_look = at == batch.at;
        match &mut track.times {
            Times::Shared { writer, first } if in_look && track.count == 0 => {
                (*writer, *first) = (batch.writer, look);
            }
            Times::Shared { writer, first } if in_look && *writer == batch.writer && *first + track.count == look => {}
            Times::Shared { writer, first } => {
                let mut times = T::default();
                let before = self.writers[*writer as usize].as_ref().map_or(&[][..], |writer| writer.times.as_slice());
                before.iter().skip(*first).take(track.count).for_each(|time| times.push(*time));
                times.push(at);
                track.times = Times::Own(times);
            }
            Times::Own(times) => times.push(at),
        }
        track.values.push(value);
        track.count += 1;
        track.writer = batch.writer;
        self.kept += 1;
    }
}

/// Strings that are shared by all label sets of one reading.
#[derive(Debug, Default)]
pub(super) struct Strings(std::cell::RefCell<std::collections::HashSet<Arc<str>>>);

impl Strings {
    pub(super) fn get(&self, text: &str) -> Arc<str> {
        let mut known = self.0.borrow_mut();
        if let Some(text) = known.get(text) {
            return text.clone();
        }
        let text: Arc<str> = text.into();
        known.insert(text.clone());
        text
    }

    pub(super) fn labels(&self, pairs: &[(&str, &str)]) -> Labels {
        Labels::new(pairs.iter().map(|(name, value)| (self.get(name), self.get(value))))
    }
}
