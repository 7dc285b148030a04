//! The one writer of a source's kept lines.

use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::segment::{Line, Lines, Name, Sealed, identity, written};
use super::{MAX_PLACE, MAX_SOURCE, MIN_FREE, Record, cut};
use crate::base::{Span, Timestamp, chain};
use crate::sys::blocks::{self, Blocks, Draft, Tail};
use crate::sys::files::{self, FileError};

/// How large a live segment grows, in bytes.
const MAX_LIVE: u64 = 8 << 20;

/// How large it grows when it cannot be sealed; past it lines are lost.
const MAX_STUCK: u64 = 4 * MAX_LIVE;

/// How long a segment stays live.
const MAX_AGE: Span = Span::hours(1);

/// How many of the last kept events are known again after a restart: more than a source reads between two checkpoints.
const REMEMBERED: usize = 65_536;

/// How long they are remembered: what is given again is given at once.
const REMEMBERED_FOR: Span = Span::mins(10);

/// How much is zipped at once, in bytes.
const PIECE: usize = 256 << 10;

/// Keeps the lines of one source. All calls are blocking and short, but that sealing a segment zips 8 MiB (a tenth of a second).
#[derive(Debug)]
pub struct Keeper {
    folder: PathBuf,
    keep: Span,
    live: Option<Live>,
    before: Before,
    buffer: Vec<u8>,
    lost: u64,
    is_failing: bool,
}

/// The segment that grows.
#[derive(Debug)]
struct Live {
    name: Name,
    tail: Tail,
    /// When it was begun by the clock as it is now; the name is later where the clock was set back.
    began: Timestamp,
    range: Option<(Timestamp, Timestamp)>,
}

impl Live {
    fn spans(&mut self, at: Timestamp) {
        let (least, most) = self.range.unwrap_or((at, at));
        self.range = Some((least.min(at), most.max(at)));
    }
}

/// What was kept last before this process began, until as much has been kept since.
#[derive(Debug, Default)]
struct Before {
    known: HashSet<u64>,
    order: VecDeque<u64>,
    seen: usize,
    first: Option<Timestamp>,
}

impl Before {
    fn add(&mut self, identity: u64) {
        if self.order.len() == REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        if self.known.insert(identity) {
            self.order.push_back(identity);
        }
    }

    /// Whether this event was kept already.
    fn has(&mut self, line: &Line<'_>, now: Timestamp) -> bool {
        if self.known.is_empty() {
            return false;
        }
        self.seen += 1;
        let first = *self.first.get_or_insert(now);
        if self.seen > REMEMBERED || (now - first).0.abs() > REMEMBERED_FOR.0 {
            *self = Before::default();
            return false;
        }
        identity(line).is_some_and(|identity| self.known.remove(&identity))
    }
}

impl Keeper {
    /// Opens the folder of a source, made where it is missing, and goes on where its last writer stopped. `keep` is how long
    /// lines are kept. There is one writer of a folder at a time, which the lock of the state folder sees to.
    ///
    /// # Errors
    /// When the folder cannot be made or listed. A segment that cannot be read is left as it is, and said.
    pub fn open(folder: &Path, keep: Span) -> Result<Keeper, FileError> {
        files::ensure_path(folder, 0o750)?;
        let mut keeper = Keeper {
            folder: folder.to_owned(),
            keep,
            live: None,
            before: Before::default(),
            buffer: Vec::new(),
            lost: 0,
            is_failing: false,
        };
        keeper.tidy()?;
        keeper.resume()?;
        Ok(keeper)
    }

    /// Keeps events, in their order, at `now`; also seals and removes what is due. They survive the end of the process when this
    /// returns. What was kept before a restart and is given again is left out.
    ///
    /// # Errors
    /// When they are not kept: the disk is full or refuses. They are counted in [`Keeper::lost`], the first failure is logged,
    /// and the next call tries again.
    pub fn append(&mut self, records: &[Record], now: Timestamp) -> Result<(), FileError> {
        let kept = self.try_append(records, now);
        match &kept {
            Err(error) => {
                self.lost += records.len() as u64;
                if !self.is_failing {
                    tracing::warn!(folder = %self.folder.display(), error = chain(error), "Lines cannot be kept for search.");
                }
            }
            Ok(()) if self.is_failing => {
                tracing::info!(folder = %self.folder.display(), lost = self.lost, "Lines are kept for search again.");
            }
            Ok(()) => {}
        }
        self.is_failing = kept.is_err();
        kept
    }

    /// How many events could not be kept since this was opened.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Seals the live segment when it is due, and removes what is older than `keep` or too much. To be called now and then: a
    /// source that has fallen silent appends nothing.
    ///
    /// # Errors
    /// The first operation that failed; the rest was done.
    pub fn retain(&mut self, now: Timestamp) -> Result<(), FileError> {
        let is_due = self.live.as_ref().is_some_and(|live| {
            live.tail.length() >= MAX_LIVE || (now - live.began).0.abs() >= MAX_AGE.0 || live.tail.is_lost()
        });
        let sealed = if is_due { self.seal(now) } else { Ok(()) };
        sealed.and(self.remove_old(now))
    }

    fn try_append(&mut self, records: &[Record], now: Timestamp) -> Result<(), FileError> {
        self.buffer.clear();
        let mut times = Vec::with_capacity(records.len());
        for record in records {
            let line = Line {
                at: record.at,
                level: record.level,
                place: Cow::Borrowed(cut(&record.place, MAX_PLACE)),
                text: Cow::Borrowed(&record.text),
                id: record.id.map(|id| Cow::Owned(written(id))),
            };
            if self.before.has(&line, now) {
                continue;
            }
            serde_json::to_writer(&mut self.buffer, &line)
                .map_err(|error| FileError::io("write", &self.folder)(error.into()))?;
            self.buffer.push(b'\n');
            times.push(record.at);
        }
        if times.is_empty() {
            return Ok(());
        }
        self.check_space()?;
        if self.live.as_ref().is_some_and(|live| live.tail.is_lost() || live.tail.length() >= MAX_STUCK) {
            self.seal(now)?;
        }
        let live = match &mut self.live {
            Some(live) => live,
            none => none.insert(begin(&self.folder, now)?),
        };
        live.tail.append(&self.buffer)?;
        times.into_iter().for_each(|at| live.spans(at));
        if self.buffer.capacity() > PIECE {
            self.buffer = Vec::new();
        }
        // What could not be sealed or removed now is tried again with the next lines; these are kept.
        if let Err(error) = self.retain(now) {
            tracing::debug!(folder = %self.folder.display(), error = chain(&error), "Kept lines could not be tidied.");
        }
        Ok(())
    }

    fn check_space(&self) -> Result<(), FileError> {
        // A folder that was removed is made again below.
        let Ok(free) = blocks::free_space(&self.folder) else { return Ok(()) };
        if free >= self.buffer.len() as u64 + MIN_FREE {
            return Ok(());
        }
        let why = std::io::Error::new(std::io::ErrorKind::StorageFull, format!("only {} MiB are free", free >> 20));
        Err(FileError::io("append to", &self.folder)(why))
    }

    /// Zips the live segment under its last name. A crash on the way leaves the live one, or both; [`Keeper::tidy`] removes
    /// the one too much.
    fn seal(&mut self, now: Timestamp) -> Result<(), FileError> {
        let Some(live) = &self.live else { return Ok(()) };
        let (path, length) = (self.folder.join(live.name.to_string()), live.tail.length());
        let Some((least, most)) = live.range else {
            self.live = None;
            return blocks::remove(&path);
        };
        let sealed = Sealed { at: now, least, most };
        let to = self.folder.join(Name { sealed: Some(sealed), ..live.name }.to_string());
        let zipped = zip(&path, length, &to);
        // Somebody has removed it: what is left is a file without a name, that would grow unseen.
        if zipped.is_ok() || zipped.as_ref().is_err_and(FileError::is_not_found) {
            self.live = None;
        }
        zipped?;
        blocks::remove(&path)
    }

    fn remove_old(&self, now: Timestamp) -> Result<(), FileError> {
        let mut all = names(&self.folder)?;
        all.sort_by_key(|name| std::cmp::Reverse(name.began));
        let (mut total, mut result) = (0, Ok(()));
        for name in all {
            let path = self.folder.join(name.to_string());
            total += Blocks::open(&path).and_then(|blocks| blocks.length()).unwrap_or(0);
            let Some(sealed) = name.sealed else { continue };
            if sealed.at < now - self.keep || total > MAX_SOURCE {
                result = result.and(blocks::remove(&path));
            }
        }
        result
    }

    /// Removes what a crash left: drafts, and a live segment that is sealed already.
    fn tidy(&self) -> Result<(), FileError> {
        let all = names(&self.folder)?;
        for name in blocks::names(&self.folder)?.iter().filter(|name| name.ends_with(".part")) {
            blocks::remove_abandoned(&self.folder.join(name))?;
        }
        for live in all.iter().filter(|name| name.sealed.is_none()) {
            if all.iter().any(|other| other.sealed.is_some() && other.began == live.began) {
                blocks::remove(&self.folder.join(live.to_string()))?;
            }
        }
        Ok(())
    }

    /// Goes on with the newest live segment, seals others, and learns what was kept last.
    fn resume(&mut self) -> Result<(), FileError> {
        let mut all = names(&self.folder)?;
        all.sort();
        let newest = all.len().saturating_sub(2);
        for (i, name) in all.iter().enumerate() {
            if name.sealed.is_some() && i < newest {
                continue;
            }
            if let Err(error) = self.take_up(name) {
                let path = self.folder.join(name.to_string());
                tracing::warn!(path = %path.display(), error = chain(&error), "Kept lines cannot be read.");
            }
        }
        Ok(())
    }

    fn take_up(&mut self, name: &Name) -> Result<(), FileError> {
        let path = self.folder.join(name.to_string());
        let mut lines = Lines::open(&path, name)?;
        let (mut range, mut length) = (None::<(Timestamp, Timestamp)>, 0);
        while let Some(line) = lines.next().map_err(FileError::io("read", &path))? {
            if let Ok(line) = serde_json::from_slice::<Line<'_>>(line) {
                let (least, most) = range.unwrap_or((line.at, line.at));
                range = Some((least.min(line.at), most.max(line.at)));
                identity(&line).into_iter().for_each(|identity| self.before.add(identity));
            }
            length = lines.length();
        }
        if name.sealed.is_none() {
            if let Some(earlier) = &self.live {
                let at = earlier.name.began;
                self.seal(at)?;
            }
            self.live = Some(Live { name: *name, tail: Tail::open(&path, length)?, began: name.began, range });
        }
        Ok(())
    }
}

/// Makes an empty segment with a name of its own.
fn begin(folder: &Path, now: Timestamp) -> Result<Live, FileError> {
    files::ensure_path(folder, 0o750)?;
    let newest = names(folder)?.into_iter().map(|name| name.began).max();
    let began = newest.map_or(now, |newest| if newest < now { now } else { newest + Span::millis(1) });
    let name = Name { began, sealed: None };
    let path = folder.join(name.to_string());
    files::replace(&path, b"", 0o640)?;
    Ok(Live { name, tail: Tail::open(&path, 0)?, began: now, range: None })
}

fn zip(from: &Path, length: u64, to: &Path) -> Result<(), FileError> {
    let part = from.with_extension("part");
    blocks::remove_abandoned(&part)?;
    let blocks = Blocks::open(from)?;
    let mut draft = Draft::create(&part, 0o640)?;
    let mut zipped = GzEncoder::new(Vec::new(), Compression::fast());
    let (mut at, mut piece) = (0, vec![0; PIECE]);
    while at < length {
        let wanted = PIECE.min((length - at) as usize);
        let n = blocks.read_at(at, &mut piece[..wanted])?;
        if n == 0 {
            break;
        }
        at += n as u64;
        zipped.write_all(&piece[..n]).map_err(FileError::io("zip", from))?;
        draft.write(&std::mem::take(zipped.get_mut()))?;
    }
    draft.write(&zipped.finish().map_err(FileError::io("zip", from))?)?;
    draft.publish(to)
}

/// The segments of a folder, in no order.
pub fn names(folder: &Path) -> Result<Vec<Name>, FileError> {
    Ok(blocks::names(folder)?.iter().filter_map(|name| Name::parse(name)).collect())
}
