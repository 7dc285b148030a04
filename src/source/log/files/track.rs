//! One run of lines in one file: from where on it is read next, and by what it is known again.
//!
//! A file that is emptied and written again begins a new track; the old one goes on in the copy that was made, if one was.
//! So rotation by renaming and rotation by copying end in the same: the old track lies elsewhere, and a new one is at home.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::mark::{HEAD, Mark, TAIL, tail_length};
use super::{Content, lines, names};
use crate::base::{Span, Timestamp};
use crate::sys::tail::{Facts, FileId, Refused, Tail, Unpacked, stamp_now};

/// Content that was changed less long ago than this may be changed again without its times showing it.
pub(super) const RACY: i64 = 2_000_000_000;

/// How many files that look like a track and are not it are remembered of it.
const MAX_REJECTED: usize = 16;

/// The number of the next track.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// What was last seen to be a file's content, and what becomes of it.
#[derive(Debug)]
pub(super) struct Track<S> {
    /// Which track this is, among all of this process.
    pub number: u64,
    /// Where it was first seen; a new file there replaces it.
    pub home: Arc<Path>,
    /// The home of the files that rotate into each other: they are read one after the other.
    pub family: Arc<Path>,
    /// Where it lies now, if elsewhere.
    pub away: Option<PathBuf>,
    /// What its home meant behind symbolic links, if that is another path.
    pub real: Option<PathBuf>,
    /// Which file it lies in.
    pub id: FileId,
    /// Whether that is packed.
    pub is_packed: bool,
    /// How many bytes are done with.
    pub position: u64,
    pub mark: Mark,
    /// Whether the position is in a line that was cut.
    pub is_in_long: bool,
    /// Whether its end was told.
    pub is_ended: bool,
    /// When its content was last changed, in nanoseconds since 1970.
    pub modified: i64,
    /// What the caller remembers.
    pub state: S,

    /// Its length when it was last looked at; of a packed file that of the packed bytes.
    pub size: u64,
    pub file: Option<Tail>,
    seen: Option<Facts>,
    is_settled: bool,
    unpacking: Option<Box<Unpacking>>,
    /// Nothing can come as long as it does not change.
    pub is_drained: bool,
    /// When it was last seen to have grown.
    pub grown: Timestamp,
    /// Whether it lies at its home.
    pub is_home: bool,
    /// Since when something else is at its home, or nothing links to it any more.
    pub replaced: Option<Timestamp>,
    /// Since when it cannot be found, and how often it was looked for.
    pub missing: Option<(Timestamp, u32)>,
    /// Whether other content was found in its file: it lies elsewhere, if at all.
    pub is_displaced: bool,
    /// Whether it may be where nobody lets us look: it is not missing.
    pub is_veiled: bool,
    /// Whether it was found in this look.
    pub is_placed: bool,
    /// Whether it lies where a pattern means it.
    pub is_listed: bool,
    /// Whether it comes from a checkpoint and was not found since.
    pub is_resumed: bool,
    /// Whether it has no name any more.
    pub is_nowhere: bool,
    /// Whether it is what was written to a file that was emptied and deleted.
    pub is_rest: bool,
    /// When it was changed last, as long as it had no content: what was put aside since then is not known.
    pub empty_since: Option<i64>,
    /// What was put aside and changed no later than this is known, and was forgotten.
    pub known_until: i64,
    /// When the folder of its home was changed last before what lies there was looked at.
    pub listed: Option<i64>,
    /// Files that look like it and are not.
    pub rejected: Vec<FileId>,
    /// Up to where there are only NULs.
    nuls_until: u64,
    /// Whether what could not be unpacked was said.
    pub is_broken: bool,
}

/// A packed file that is being read.
#[derive(Debug)]
struct Unpacking {
    unpacked: Unpacked,
    /// The last bytes before what is held.
    before: Vec<u8>,
    /// A line that has not ended yet.
    held: Vec<u8>,
}

/// Whether a file is that of a track.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Confirmed {
    /// It is.
    Same,
    /// Its content is another.
    Other,
    /// That cannot be said now: it moved meanwhile, or is still being packed.
    Unclear,
    /// It must not be read.
    Refused(Refused),
}

/// What reading gave.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// How many bytes were read.
    pub n_read: usize,
    /// Whether there is more to read at once.
    pub is_more: bool,
    /// What the system said.
    pub failed: Option<String>,
}

impl<S: Default> Track<S> {
    /// A track at the beginning of the file that is at `path`.
    pub(super) fn new(path: &Path, family: Arc<Path>, facts: Facts, is_packed: bool, now: Timestamp) -> Track<S> {
        let home: Arc<Path> = if *family == *path { family.clone() } else { path.into() };
        Track {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            home,
            family,
            away: None,
            real: None,
            id: facts.id,
            is_packed,
            position: 0,
            mark: Mark::default(),
            is_in_long: false,
            is_ended: false,
            modified: facts.modified,
            state: S::default(),
            size: 0,
            file: None,
            seen: None,
            is_settled: false,
            unpacking: None,
            is_drained: false,
            grown: now,
            is_home: true,
            replaced: None,
            missing: None,
            is_displaced: false,
            is_veiled: false,
            is_placed: true,
            is_listed: true,
            is_resumed: false,
            is_nowhere: false,
            is_rest: false,
            empty_since: None,
            known_until: i64::MIN,
            listed: None,
            rejected: Vec::new(),
            nuls_until: 0,
            is_broken: false,
        }
    }

    /// Where it lies, as far as known.
    pub(super) fn place(&self) -> &Path {
        self.away.as_deref().unwrap_or(&self.home)
    }

    /// Whether a file of its inode may be its own at `path`. The number may have been used again: what is packed is no
    /// plain text, and where nothing is known of the content, only the place says that it is the same.
    pub(super) fn may_lie_at(&self, path: &Path) -> bool {
        let is_known = self.mark.head_length > 0 || self.file.is_some();
        names::is_packed(path.file_name().unwrap_or_default().as_bytes()) == self.is_packed
            && (is_known || *path == *self.home)
    }

    /// Bytes that are known and not done with; those of a packed file are not known.
    pub(super) fn n_unread(&self) -> u64 {
        if self.is_ended || self.is_packed { 0 } else { self.size.saturating_sub(self.position) }
    }

    /// Whether the file at `path`, of which `facts` are known, is still the one of this track.
    pub(super) fn confirm(&mut self, path: &Path, facts: Facts, now: Timestamp) -> Confirmed {
        if self.is_settled && self.seen == Some(facts) {
            self.lies_in(facts, now);
            return Confirmed::Same;
        }
        if self.file.as_ref().and_then(|file| file.facts().ok()).is_none_or(|open| open.id != facts.id) {
            self.unpacking = None;
            match Tail::open(path) {
                Ok(file) => self.file = Some(file),
                Err(Refused::Missing(_)) => return Confirmed::Unclear,
                Err(refused) => return Confirmed::Refused(refused),
            }
        }
        let Some(file) = self.file.clone() else { return Confirmed::Unclear };
        match self.compare(&file, facts.id) {
            Ok((Confirmed::Same, facts)) => {
                self.lies_in(facts, now);
                Confirmed::Same
            }
            Ok((other, _)) => other,
            Err(error) => {
                self.file = None;
                Confirmed::Refused(Refused::Io { path: path.to_owned(), why: error.to_string() })
            }
        }
    }

    /// Whether `file`, if it is still `id`, has the content of this track.
    pub(super) fn compare(&mut self, file: &Tail, id: FileId) -> io::Result<(Confirmed, Facts)> {
        let facts = file.facts()?;
        if facts.id != id {
            return Ok((Confirmed::Unclear, facts));
        }
        let mut head = [0; HEAD];
        if self.is_packed {
            let n = match Unpacked::new(file.clone()).read(&mut head) {
                (n, Ok(())) => n,
                (n, Err(_)) if n >= usize::from(self.mark.head_length) => n,
                (_, Err(_)) => return Ok((Confirmed::Unclear, facts)),
            };
            let is_same = self.mark.fits_head(&head[..n]);
            if is_same {
                self.mark.grow(&head[..n]);
            }
            return Ok((if is_same { Confirmed::Same } else { Confirmed::Other }, facts));
        }
        if facts.size < self.position.max(self.mark.head_length.into()) {
            return Ok((Confirmed::Other, facts));
        }
        let n = file.read_at(&mut head, 0)?;
        let mut tail = [0; TAIL];
        let tail = &mut tail[..tail_length(self.position)];
        let n_tail = file.read_at(tail, self.position - tail.len() as u64)?;
        if n_tail < tail.len() || !self.mark.fits_head(&head[..n]) || !self.mark.fits_tail(tail) {
            return Ok((Confirmed::Other, facts));
        }
        self.mark.grow(&head[..n]);
        Ok((Confirmed::Same, facts))
    }

    /// It was found in the file of which `facts` are known.
    pub(super) fn lies_in(&mut self, facts: Facts, now: Timestamp) {
        let is_changed = self.seen.is_none_or(|seen| (seen.size, seen.modified) != (facts.size, facts.modified));
        if is_changed || self.id != facts.id {
            self.is_drained = self.is_packed && self.is_ended;
            self.unpacking = None;
            self.is_broken = false;
            self.grown = now;
        }
        self.id = facts.id;
        self.size = facts.size;
        if facts.size == 0 && self.mark == Mark::default() {
            self.empty_since.get_or_insert(facts.modified);
        }
        self.modified = facts.modified;
        self.is_settled = stamp_now().saturating_sub(facts.changed) > RACY;
        self.seen = Some(facts);
        self.missing = None;
        self.is_displaced = false;
        self.is_placed = true;
        self.is_resumed = false;
        if self.is_ended && !self.is_packed && self.size > self.position {
            // Somebody still writes to it, after all.
            self.is_ended = false;
            self.is_drained = false;
        }
    }

    /// Other content was found in its file.
    pub(super) fn displace(&mut self) {
        self.is_displaced = true;
        self.is_placed = false;
        self.file = None;
        self.unpacking = None;
        self.seen = None;
        self.is_settled = false;
    }

    /// Whether `id` was found to hold something else.
    pub(super) fn has_rejected(&self, id: FileId) -> bool {
        self.rejected.contains(&id) || self.is_displaced && !self.is_packed && self.id == id
    }

    /// It goes on in another file, which was confirmed.
    pub(super) fn move_to(&mut self, path: &Path, file: Tail, facts: Facts, is_packed: bool, now: Timestamp) {
        self.is_home = *path == *self.home;
        self.away = (!self.is_home).then(|| path.to_owned());
        self.is_packed = is_packed;
        self.seen = None;
        self.nuls_until = 0;
        self.file = Some(file);
        self.lies_in(facts, now);
    }

    /// Reads at most `most` bytes, which is more than the longest line, into `buffer`, and hands over what is whole.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        most: usize,
        max_line: usize,
        take: &mut dyn FnMut(&mut S, Content<'_>),
    ) -> Step {
        if self.is_drained || self.is_ended || !self.is_placed {
            return Step::default();
        }
        if self.file.is_none() {
            let opened = Tail::open(self.place());
            // A file that moved between the look and now is found by the next look.
            let Ok(file) = opened else { return Step::default() };
            if file.facts().ok().is_none_or(|facts| facts.id != self.id) {
                return Step::default();
            }
            self.file = Some(file);
        }
        let Some(file) = self.file.clone() else { return Step::default() };
        let step = if self.is_packed {
            self.read_packed(file, buffer, most, max_line, take)
        } else {
            self.read_plain(&file, buffer, most, max_line, take)
        };
        step.unwrap_or_else(|error| Step { failed: Some(error.to_string()), ..Step::default() })
    }

    fn read_plain(
        &mut self,
        file: &Tail,
        buffer: &mut [u8],
        most: usize,
        max_line: usize,
        take: &mut dyn FnMut(&mut S, Content<'_>),
    ) -> io::Result<Step> {
        // One read shows what lies before the position and behind it: nothing can come between.
        let begin = if self.position <= HEAD as u64 { 0 } else { self.position - TAIL as u64 };
        let before = usize::try_from(self.position - begin).unwrap_or(0);
        let room = buffer.len().min(before + most);
        let n = file.read_at(&mut buffer[..room], begin)?;
        let tail = buffer.get(before - tail_length(self.position)..before).unwrap_or_default();
        let head = &buffer[..n.min(HEAD)];
        let is_other_head = begin == 0 && n >= usize::from(self.mark.head_length) && !self.mark.fits_head(head);
        if n < before || !self.mark.fits_tail(tail) || is_other_head {
            self.displace();
            return Ok(Step::default());
        }
        if begin == 0 {
            self.mark.grow(head);
        }
        let mut step = Step { n_read: n - before, is_more: n == room, failed: None };
        let data = &buffer[before..n];
        let done = lines::split(data, max_line, &mut self.is_in_long, &mut |content| take(&mut self.state, content));
        if done > 0 {
            self.position += done as u64;
            self.mark.move_to(&buffer[..before + done]);
        } else if step.is_more && data.first() == Some(&0) {
            let until = self.nuls_until.max(begin + n as u64);
            return self.pass_nuls(file, until, buffer, most, step);
        }
        self.is_drained = !step.is_more;
        if self.is_drained {
            self.size = self.size.max(begin + n as u64);
        }
        step.is_more = !self.is_drained;
        Ok(step)
    }

    /// Looks behind NULs, which may be a hole of many gigabytes, for something that is none.
    fn pass_nuls(
        &mut self,
        file: &Tail,
        mut at: u64,
        buffer: &mut [u8],
        most: usize,
        mut step: Step,
    ) -> io::Result<Step> {
        while step.n_read <= most {
            let Some(next) = file.next_data(at) else { break };
            let room = buffer.len().min(most);
            let n = file.read_at(&mut buffer[..room], next)?;
            step.n_read += n;
            if let Some(first) = buffer[..n].iter().position(|byte| *byte != 0) {
                self.position = next + first as u64;
                let mut tail = [0; TAIL];
                let tail = &mut tail[..tail_length(self.position)];
                file.read_at(tail, self.position - tail.len() as u64)?;
                self.mark.move_to(tail);
                self.nuls_until = 0;
                step.is_more = true;
                return Ok(step);
            }
            at = next + n as u64;
            if n < room {
                break;
            }
            self.nuls_until = at;
            if step.n_read > most {
                step.is_more = true;
                return Ok(step);
            }
        }
        self.is_drained = true;
        step.is_more = false;
        Ok(step)
    }

    fn read_packed(
        &mut self,
        file: Tail,
        buffer: &mut [u8],
        most: usize,
        max_line: usize,
        take: &mut dyn FnMut(&mut S, Content<'_>),
    ) -> io::Result<Step> {
        let fresh = || Box::new(Unpacking { unpacked: Unpacked::new(file), before: Vec::new(), held: Vec::new() });
        let unpacking = self.unpacking.get_or_insert_with(fresh);
        let left = self.position.saturating_sub(unpacking.unpacked.at());
        if left > 0 && unpacking.held.is_empty() {
            let room = usize::try_from(left).unwrap_or(usize::MAX).min(most).min(buffer.len());
            let (n, read) = unpacking.unpacked.read(&mut buffer[..room]);
            unpacking.remember(&buffer[..n]);
            if let Err(error) = read {
                return Ok(self.is_cut_off(n, &error));
            }
            let is_there = unpacking.unpacked.at() == self.position;
            if n < room || is_there && !self.mark.fits_tail(&unpacking.before) {
                // It begins alike and is another.
                if self.rejected.len() < MAX_REJECTED {
                    self.rejected.push(self.id);
                }
                self.displace();
            }
            return Ok(Step { n_read: n, is_more: self.is_placed, failed: None });
        }
        let n_held = unpacking.held.len();
        let room = buffer.len().min(n_held + most);
        buffer[..n_held].copy_from_slice(&unpacking.held);
        let (n, read) = unpacking.unpacked.read(&mut buffer[n_held..room]);
        let data = &buffer[..n_held + n];
        let done = lines::split(data, max_line, &mut self.is_in_long, &mut |content| take(&mut self.state, content));
        unpacking.remember(&data[..done]);
        unpacking.held.clear();
        unpacking.held.extend_from_slice(&data[done..]);
        self.position += done as u64;
        self.mark.move_to(&unpacking.before);
        if let Err(error) = read {
            return Ok(self.is_cut_off(n, &error));
        }
        self.is_drained = n_held + n < room;
        Ok(Step { n_read: n, is_more: !self.is_drained, failed: None })
    }

    /// Packed content ends in the middle: it may still be written. What is done with stays so.
    fn is_cut_off(&mut self, n_read: usize, error: &io::Error) -> Step {
        self.unpacking = None;
        self.is_drained = true;
        self.is_broken = true;
        let failed = (error.kind() != io::ErrorKind::UnexpectedEof).then(|| error.to_string());
        Step { n_read, is_more: false, failed }
    }

    /// Nothing will come any more: hands over a last line without its newline, and the end.
    pub(super) fn end(&mut self, buffer: &mut [u8], max_line: usize, take: &mut dyn FnMut(&mut S, Content<'_>)) {
        let held = self.unpacking.take().map(|unpacking| unpacking.held).unwrap_or_default();
        let mut n = 0;
        if self.is_packed {
            n = held.len().min(buffer.len());
            buffer[..n].copy_from_slice(&held[..n]);
        } else if let Some(file) = &self.file {
            let room = buffer.len().min(max_line + 1);
            n = file.read_at(&mut buffer[..room], self.position).unwrap_or(0);
        }
        let last = &buffer[..n];
        let is_text = last.first().is_some_and(|byte| *byte != 0) && !last.contains(&b'\n');
        if is_text && !self.is_in_long {
            take(&mut self.state, Content::Lines(last));
        }
        if is_text {
            self.position += n as u64;
            self.remark();
        }
        self.is_in_long = false;
        self.is_ended = true;
        take(&mut self.state, Content::Ended);
        self.state = S::default();
        self.file = None;
    }

    /// The position was moved: takes in what lies before it.
    pub(super) fn remark(&mut self) {
        let mut tail = [0; TAIL];
        let tail = &mut tail[..tail_length(self.position)];
        if let Some(file) = &self.file
            && !self.is_packed
            && file.read_at(tail, self.position - tail.len() as u64).is_ok()
        {
            self.mark.move_to(tail);
        }
    }

    /// Puts the position behind the last line that has ended before byte `end`, so that nothing older is read.
    pub(super) fn begin_at(&mut self, file: &Tail, end: u64, buffer: &mut [u8]) -> io::Result<()> {
        let room = usize::try_from(end).unwrap_or(usize::MAX).min(buffer.len());
        let from = end - room as u64;
        let n = file.read_at(&mut buffer[..room], from)?;
        match memchr::memrchr(b'\n', &buffer[..n]) {
            Some(newline) => self.position = from + newline as u64 + 1,
            // The line has begun out of sight: what is left of it is no line.
            None if from > 0 => (self.position, self.is_in_long) = (end, true),
            None => self.position = 0,
        }
        let mut head = [0; HEAD];
        let n = file.read_at(&mut head, 0)?;
        self.mark.grow(&head[..n]);
        self.file = Some(file.clone());
        self.remark();
        Ok(())
    }

    /// Gives up the descriptor of a file that has been quiet for `idle`.
    pub(super) fn rest(&mut self, now: Timestamp, idle: Span) {
        if self.is_settled && self.is_drained && self.is_home && now - self.grown > idle {
            self.file = None;
        }
    }
}

impl Unpacking {
    /// Keeps the last bytes that were given and are done with.
    fn remember(&mut self, bytes: &[u8]) {
        self.before.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL)..]);
        let excess = self.before.len().saturating_sub(TAIL);
        self.before.drain(..excess);
    }
}
