//! Reading an archive, with nobody asked: beside a running agent, or without one.
//!
//! A file that is sealed or removed meanwhile is no trouble: a number is looked for in both forms, and one that is gone was
//! removed by retention. Only files that were there at the beginning are read, with the clock steps that were known then.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use super::log::{self, Go};
use super::place::{self, LOG, SEALED, Trouble};
use super::record::OwnedOrigin;
use super::replay::{Push, Replay, Replayed, Strings, Times};
use super::sealed::{self, Segment, may_match};
use super::segment::Footer;
use super::wire::{Header, Kind, Moves};
use crate::base::{Labels, SourceRef, Span, Timestamp, chain};
use crate::store::{Selector, Stretch};
use crate::sys::blocks::Blocks;
use crate::sys::files::FileError;

/// What one reading takes at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Samples in all.
    pub max_samples: u64,
    /// Series in all.
    pub max_series: usize,
}

impl Default for ReadLimits {
    fn default() -> ReadLimits {
        ReadLimits { max_samples: 50_000_000, max_series: 100_000 }
    }
}

/// What a reading gave.
#[derive(Clone, Debug, Default)]
pub struct Read {
    /// The series with their samples, by labels; none is empty.
    pub stretches: Vec<Stretch>,
    /// What could not be read, one sentence each, with file, place and reason.
    pub trouble: Vec<String>,
}

/// The label sets that a reading found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Sorted.
    pub labels: Vec<Labels>,
    /// As [`Read::trouble`].
    pub trouble: Vec<String>,
}

/// Who wrote a series last: an index into [`Recent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// Of [`Recent::targets`].
    Target(usize),
    /// Of [`Recent::families`].
    Family(usize),
}

/// A target as the files remember it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetSeen {
    /// Which source looked at it.
    pub source: SourceRef,
    /// Its `instance`.
    pub instance: String,
    /// How often it was looked at.
    pub interval: Span,
    /// The last look, good or not.
    pub last: Timestamp,
    /// The last good look in the files that were read.
    pub good: Option<Timestamp>,
}

/// A series to put back into memory.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// Its samples.
    pub stretch: Stretch,
    /// Who wrote it last; none where it was only imported.
    pub owner: Option<Owner>,
}

/// What memory is restored from.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    /// Series, by labels. Those of one target share their times where they can.
    pub series: Vec<Remembered>,
    /// Targets.
    pub targets: Vec<TargetSeen>,
    /// Families of the engine's own series.
    pub families: Vec<String>,
    /// As [`Read::trouble`].
    pub trouble: Vec<String>,
}

/// Why a reading was given up.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The folder cannot be listed.
    #[error(transparent)]
    Folder(#[from] FileError),
    /// It would give more samples than it may.
    #[error("more than {0} samples are asked for: ask for fewer series or a shorter time")]
    TooManySamples(u64),
    /// It would give more series than it may.
    #[error("more than {0} series are asked for: ask for fewer")]
    TooManySeries(usize),
}

/// The samples in `(from, to]` of all series that one of the selectors means; of all series where there is no selector.
/// A folder that does not exist is an error; one without files is empty.
///
/// # Errors
/// When the folder cannot be listed, or a limit is passed. What is wrong with single files is [`Read::trouble`].
pub fn read(
    folder: &Path,
    selectors: &[Selector],
    from: Timestamp,
    to: Timestamp,
    limits: ReadLimits,
) -> Result<Read, ReadError> {
    let mut assembly = Assembly::new(limits);
    each_file(folder, from.0, to.0, &mut assembly, |assembly, open| assembly.take(open, selectors))?;
    let trouble = std::mem::take(&mut assembly.trouble).take();
    Ok(Read { stretches: assembly.join().into_iter().map(|(stretch, _)| stretch).collect(), trouble })
}

/// The label sets of all series that one of the selectors means and that may have samples in `(from, to]`: as exactly as
/// the chunks of sealed segments are cut.
///
/// # Errors
/// As [`read`].
pub fn series(
    folder: &Path,
    selectors: &[Selector],
    from: Timestamp,
    to: Timestamp,
    limits: ReadLimits,
) -> Result<Found, ReadError> {
    let mut assembly = Assembly::new(limits);
    each_file(folder, from.0, to.0, &mut assembly, |assembly, open| assembly.list(open, selectors))?;
    let mut labels: Vec<Labels> = assembly.slots.into_iter().map(|slot| slot.labels).collect();
    labels.sort();
    Ok(Found { labels, trouble: assembly.trouble.take() })
}

/// All samples in `(since, until]`, with who wrote them, and the targets' last looks.
///
/// # Errors
/// As [`read`].
pub fn recent(folder: &Path, since: Timestamp, until: Timestamp, limits: ReadLimits) -> Result<Recent, ReadError> {
    let mut assembly = Assembly::new(limits);
    each_file(folder, since.0, until.0, &mut assembly, |assembly, open| assembly.take(open, &[]))?;
    let mut recent = Recent { trouble: std::mem::take(&mut assembly.trouble).take(), ..Recent::default() };
    let mut owners = Vec::new();
    for (origin, seen) in std::mem::take(&mut assembly.writers) {
        owners.push(match origin {
            OwnedOrigin::Target { source, instance } => {
                let (interval, last, good) = (Span(seen.interval), Timestamp(seen.last), seen.good.map(Timestamp));
                recent.targets.push(TargetSeen { source, instance, interval, last, good });
                Owner::Target(recent.targets.len() - 1)
            }
            OwnedOrigin::Family(name) => {
                recent.families.push(name);
                Owner::Family(recent.families.len() - 1)
            }
        });
    }
    let series = assembly.join().into_iter();
    recent.series = series.map(|(stretch, owner)| Remembered { stretch, owner: owner.map(|i| owners[i]) }).collect();
    Ok(recent)
}

/// One file that reaches into the window.
struct Open {
    file: Blocks,
    number: u64,
    /// For a sealed segment.
    footer: Option<Footer>,
    /// What its times are to be moved by.
    shift: i64,
    /// The window in the file's own times.
    after: i64,
    until: i64,
}

/// Calls `take` for every file that may hold samples of `(after, until]`, the oldest first.
fn each_file(
    folder: &Path,
    after: i64,
    until: i64,
    assembly: &mut Assembly,
    take: impl Fn(&mut Assembly, Open) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut found = Vec::new();
    for number in place::list(folder)?.into_iter().filter(|(_, f)| f.log || f.sealed).map(|(number, _)| number) {
        let mut trouble = Vec::new();
        let opened = open_number(folder, number, &mut trouble);
        trouble.into_iter().for_each(|line| assembly.trouble.say(line));
        if let Some((_, header, footer)) = opened {
            found.push((number, header, footer));
        }
    }
    let mut moves = Moves::pending(0);
    let mut shifts: Vec<i64> =
        found.iter().rev().map(|(_, header, _)| moves.next(header.step, header.origin)).collect();
    shifts.reverse();
    for ((number, _, footer), shift) in found.into_iter().zip(shifts) {
        let back = |time: i64| if time == i64::MAX { time } else { time.saturating_sub(shift) };
        let (after, until) = (back(after), back(until));
        if footer.is_some_and(|footer| footer.min > until || footer.max <= after) {
            continue;
        }
        // Files are not kept open, because there may be more of them than a process may open.
        let mut again = Vec::new();
        match open_number(folder, number, &mut again) {
            Some((file, _, footer)) => take(assembly, Open { file, number, footer, shift, after, until })?,
            None => again.into_iter().for_each(|line| assembly.trouble.say(line)),
        }
    }
    Ok(())
}

/// Opens a number in the form that it has at this moment; none where it is gone or cannot be read.
fn open_number(folder: &Path, number: u64, trouble: &mut Vec<String>) -> Option<(Blocks, Header, Option<Footer>)> {
    for kind in [Kind::Sealed, Kind::Log, Kind::Sealed] {
        let path = place::path(folder, number, if kind == Kind::Log { LOG } else { SEALED });
        let file = match Blocks::open(&path) {
            Ok(file) => file,
            Err(error) if error.is_not_found() => continue,
            Err(error) => {
                trouble.push(format!("{} cannot be read: {}", place::name(&path), chain(&error)));
                continue;
            }
        };
        let header = place::header(&file, number, kind);
        let checked = header.and_then(|header| match kind {
            Kind::Log => Ok((header, None)),
            Kind::Sealed => sealed::footer(&file).map(|footer| (header, Some(footer))),
        });
        match checked {
            Ok((header, footer)) => return Some((file, header, footer)),
            Err(why) => trouble.push(format!("{} {why}", place::name(&path))),
        }
    }
    trouble.dedup();
    None
}

/// A part of a series as a file gave it.
struct Piece {
    times: Arc<Vec<i64>>,
    from: usize,
    to: usize,
    values: Vec<f64>,
}

/// Which parts of which columns: the address of each, and the indices.
type PieceKeys = Vec<(usize, usize, usize)>;

struct Slot {
    labels: Labels,
    pieces: Vec<Piece>,
    owner: Option<usize>,
}

#[derive(Clone, Copy)]
struct Seen {
    interval: i64,
    last: i64,
    good: Option<i64>,
}

/// Series and writers as they are found, file by file.
struct Assembly {
    limits: ReadLimits,
    trouble: Trouble,
    strings: Strings,
    slots: Vec<Slot>,
    by_labels: HashMap<Labels, usize>,
    samples: u64,
    writers: Vec<(OwnedOrigin, Seen)>,
    by_origin: BTreeMap<OwnedOrigin, usize>,
}

impl Assembly {
    fn new(limits: ReadLimits) -> Assembly {
        Assembly {
            limits,
            trouble: Trouble::default(),
            strings: Strings::default(),
            slots: Vec::new(),
            by_labels: HashMap::new(),
            samples: 0,
            writers: Vec::new(),
            by_origin: BTreeMap::new(),
        }
    }

    fn slot(&mut self, labels: Labels) -> Result<&mut Slot, ReadError> {
        let i = match self.by_labels.get(&labels) {
            Some(i) => *i,
            None if self.slots.len() >= self.limits.max_series => {
                return Err(ReadError::TooManySeries(self.limits.max_series));
            }
            None => {
                self.by_labels.insert(labels.clone(), self.slots.len());
                self.slots.push(Slot { labels, pieces: Vec::new(), owner: None });
                self.slots.len() - 1
            }
        };
        Ok(&mut self.slots[i])
    }

    fn count(&mut self, n: usize) -> Result<(), ReadError> {
        self.samples += n as u64;
        if self.samples <= self.limits.max_samples {
            Ok(())
        } else {
            Err(ReadError::TooManySamples(self.limits.max_samples))
        }
    }

    fn writer(&mut self, origin: &OwnedOrigin, seen: Seen, shift: i64) -> usize {
        let moved = |time: i64| time.saturating_add(shift);
        let seen = Seen { last: moved(seen.last), good: seen.good.map(moved), ..seen };
        if let Some(i) = self.by_origin.get(origin) {
            let known = &mut self.writers[*i].1;
            if seen.last >= known.last {
                (known.last, known.interval) = (seen.last, seen.interval);
            }
            known.good = known.good.max(seen.good);
            return *i;
        }
        self.by_origin.insert(origin.clone(), self.writers.len());
        self.writers.push((origin.clone(), seen));
        self.writers.len() - 1
    }

    fn take(&mut self, open: Open, selectors: &[Selector]) -> Result<(), ReadError> {
        match open.footer {
            Some(footer) => self.take_sealed(open, &footer, selectors),
            None => self.take_log(&open, selectors),
        }
    }

    fn list(&mut self, open: Open, selectors: &[Selector]) -> Result<(), ReadError> {
        if let Some(footer) = open.footer {
            let (after, until) = (open.after, open.until);
            let Some(segment) = self.segment(open, &footer) else { return Ok(()) };
            for entry in segment.select(selectors, &self.strings, &mut self.trouble) {
                if segment.reaches(&entry, after, until) {
                    self.slot(entry.labels)?;
                }
            }
            return Ok(());
        }
        let replay = self.replay::<(), ()>(&open, selectors)?;
        for track in replay.tracks.into_iter().filter(|track| track.count > 0) {
            self.slot(track.labels)?;
        }
        Ok(())
    }

    fn segment(&mut self, open: Open, footer: &Footer) -> Option<Segment> {
        let name = place::name(open.file.path());
        match Segment::open(open.file, footer) {
            Ok(segment) => {
                segment.notes.iter().for_each(|note| self.trouble.say(note.clone()));
                Some(segment)
            }
            Err(why) => {
                self.trouble.say(format!("{name} {why}"));
                None
            }
        }
    }

    fn take_sealed(&mut self, open: Open, footer: &Footer, selectors: &[Selector]) -> Result<(), ReadError> {
        let (after, until, shift) = (open.after, open.until, open.shift);
        let Some(mut segment) = self.segment(open, footer) else { return Ok(()) };
        let writers = std::mem::take(&mut segment.writers);
        let owners: Vec<usize> = writers
            .iter()
            .map(|w| self.writer(&w.origin, Seen { interval: w.interval, last: w.last, good: w.good }, shift))
            .collect();
        segment.writers = writers;
        let mut moved: HashMap<*const Vec<i64>, Arc<Vec<i64>>> = HashMap::new();
        for entry in segment.select(selectors, &self.strings, &mut self.trouble) {
            let parts = segment.samples(&entry, after, until, &mut self.trouble);
            if parts.is_empty() {
                continue;
            }
            self.count(parts.iter().map(|part| part.values.len()).sum())?;
            let pieces = parts.into_iter().map(|part| {
                let times = match shift {
                    0 => part.times,
                    _ => moved.entry(Arc::as_ptr(&part.times)).or_insert_with(|| shifted(&part.times, shift)).clone(),
                };
                let (from, to) = (part.range.start, part.range.end);
                within(
                    Piece { times, from, to, values: part.values },
                    after.saturating_add(shift),
                    until.saturating_add(shift),
                )
            });
            let pieces: Vec<Piece> = pieces.collect();
            let slot = self.slot(entry.labels)?;
            slot.pieces.extend(pieces);
            slot.owner = entry.writer.map(|writer| owners[writer as usize]).or(slot.owner);
        }
        Ok(())
    }

    fn take_log(&mut self, open: &Open, selectors: &[Selector]) -> Result<(), ReadError> {
        let replay = self.replay::<Vec<i64>, Vec<f64>>(open, selectors)?;
        let mut owners = Vec::new();
        let mut columns = Vec::new();
        for writer in replay.writers {
            owners.push(writer.as_ref().map(|w| {
                self.writer(&w.origin, Seen { interval: w.interval, last: w.last, good: w.good }, open.shift)
            }));
            columns.push(shifted(&writer.map(|writer| writer.times).unwrap_or_default(), open.shift));
        }
        for track in replay.tracks.into_iter().filter(|track| track.count > 0) {
            let (times, from) = match track.times {
                Times::Shared { writer, first } => (columns[writer as usize].clone(), first),
                Times::Own(times) => (shifted(&times, open.shift), 0),
            };
            let owner = owners[track.writer as usize];
            let slot = self.slot(track.labels)?;
            slot.pieces.push(Piece { times, from, to: from + track.count, values: track.values });
            slot.owner = owner.or(slot.owner);
        }
        Ok(())
    }

    /// Replays a log; a torn end is that of a record in work.
    fn replay<T: Push<i64> + Default, V: Push<f64> + Default>(
        &mut self,
        open: &Open,
        selectors: &[Selector],
    ) -> Result<Replayed<T, V>, ReadError> {
        let strings = &self.strings;
        let selectors: Vec<&Selector> = selectors.iter().collect();
        let wants = |pairs: &[(&str, &str)]| may_match(&selectors, pairs).then(|| strings.labels(pairs));
        let mut replay: Replay<'_, T, V> = Replay::new(&wants, open.after, open.until);
        let name = place::name(open.file.path());
        let left = self.limits.max_samples.saturating_sub(self.samples);
        let trouble = &mut self.trouble;
        let walked = log::walk(&open.file, open.number, |at, payload| {
            if let Err(why) = replay.feed(at, payload) {
                trouble.say(format!("{name}: the record at {at} cannot be read: {why}"));
            }
            if replay.kept > left { Go::Stop } else { Go::On }
        });
        match walked {
            Ok(walked) => walked.sentences(&open.file).for_each(|line| trouble.say(line)),
            Err(error) => trouble.say(format!("{name} cannot be read to its end: {}", chain(&error))),
        }
        if replay.unknown > 0 {
            trouble.say(format!("{name}: {} samples belong to series whose definition is lost", replay.unknown));
        }
        let (kept, replay) = (replay.kept, replay.done());
        self.count(kept as usize)?;
        Ok(replay)
    }

    /// Each series with its samples in one piece, rising, and who wrote it last.
    fn join(self) -> Vec<(Stretch, Option<usize>)> {
        let mut shared: HashMap<PieceKeys, Option<Arc<Vec<i64>>>> = HashMap::new();
        let mut slots = self.slots;
        slots.sort_by(|a, b| a.labels.cmp(&b.labels));
        let mut joined = Vec::with_capacity(slots.len());
        // All columns live when this begins and none is made on the way, so an address names one of them.
        for mut slot in slots {
            let key = slot.pieces.iter().map(|p| (Arc::as_ptr(&p.times) as usize, p.from, p.to)).collect();
            let times = shared.entry(key).or_insert_with(|| rising(&slot.pieces)).clone();
            let (times, values) = match times {
                Some(times) => (times, joined_values(&mut slot.pieces)),
                None => sorted(&slot.pieces),
            };
            if !times.is_empty() {
                joined.push((Stretch::new(slot.labels, times, values), slot.owner));
            }
        }
        joined
    }
}

fn shifted(times: &[i64], by: i64) -> Arc<Vec<i64>> {
    Arc::new(times.iter().map(|time| time.saturating_add(by)).collect())
}

/// The part of a piece in the window; only one whose times do not rise can reach out of it.
fn within(piece: Piece, after: i64, until: i64) -> Piece {
    let inside = |time: &i64| *time > after && *time <= until;
    let times = &piece.times[piece.from..piece.to];
    if times.iter().all(inside) {
        return piece;
    }
    let both = times.iter().zip(&piece.values).filter(|(time, _)| inside(time));
    let (times, values): (Vec<i64>, Vec<f64>) = both.map(|(time, value)| (*time, *value)).unzip();
    Piece { from: 0, to: times.len(), times: Arc::new(times), values }
}

/// The times of all pieces in one column, if they rise.
fn rising(pieces: &[Piece]) -> Option<Arc<Vec<i64>>> {
    if let [piece] = pieces
        && (piece.from, piece.to) == (0, piece.times.len())
        && piece.times.is_sorted_by(|a, b| a < b)
    {
        return Some(piece.times.clone());
    }
    let mut times = Vec::with_capacity(pieces.iter().map(|piece| piece.to - piece.from).sum());
    pieces.iter().for_each(|piece| times.extend_from_slice(&piece.times[piece.from..piece.to]));
    times.is_sorted_by(|a, b| a < b).then(|| Arc::new(times))
}

fn joined_values(pieces: &mut [Piece]) -> Arc<Vec<f64>> {
    if let [piece] = pieces {
        return Arc::new(std::mem::take(&mut piece.values));
    }
    let mut values = Vec::with_capacity(pieces.iter().map(|piece| piece.values.len()).sum());
    for piece in pieces {
        values.extend_from_slice(&std::mem::take(&mut piece.values));
    }
    Arc::new(values)
}

/// Samples in the order of their times; of several at one time, what was written last.
fn sorted(pieces: &[Piece]) -> (Arc<Vec<i64>>, Arc<Vec<f64>>) {
    let mut all: Vec<(i64, f64)> = Vec::new();
    for piece in pieces {
        all.extend(piece.times[piece.from..piece.to].iter().copied().zip(piece.values.iter().copied()));
    }
    all.sort_by_key(|(time, _)| *time);
    all.reverse();
    all.dedup_by_key(|(time, _)| *time);
    all.reverse();
    let (times, values): (Vec<i64>, Vec<f64>) = all.into_iter().unzip();
    (Arc::new(times), Arc::new(values))
}
