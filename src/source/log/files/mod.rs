//! Files that are followed: each line once, through rotations, restarts and truncations.
//!
//! Enters: patterns of paths, now and then a moment to look (`poll`), and after a restart what was saved. Leaves: whole lines,
//! in the order in which they were written, each once; the end of a file; and, where the writer destroyed lines before they
//! could be read, a gap with its reason. Nothing is concluded from events: every look finds out by itself what is where.
//!
//! A file is known by its device and inode **and** by its content (see `mark`). It is read where it went when it is
//! renamed; when it is emptied, in the copy that was made before; when it is gone, in what it was packed into. What is said
//! to be at a position is checked with the same read that goes on from there.
//!
//! It fails softly: what may not be read is said and tried again with its position kept. Bounds: [`MAX_FILES`] files,
//! one buffer of [`BUFFER`] bytes, and for each poll a budget of bytes.
//!
//! What cannot be told apart: a file that was replaced by one with the same first bytes and the same bytes before the same
//! position; a file shorter than `mark::HEAD` beside another of its family that begins with all of it, which is taken for a
//! copy; and a copy that is as short, made by hand under a name that is meant too, whose original grew and went before both
//! were seen: it is read as a file of its own. Such a file is also in no order with its original. A new file that is all of another
//! that is followed is a copy of it, whatever it is called (see `copy`).

mod copy;
mod find;
mod lines;
mod lost;
mod mark;
mod names;
mod new;
mod place;
mod saved;
mod sealed;
mod track;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::{Span, Timestamp};
use crate::sys::look::{self, Pattern};
use crate::sys::tail::{Facts, FileId};

use find::OwnFiles;
use mark::Mark;
use track::Track;

pub use find::{Trouble, Why};
pub use saved::Saved;

/// How many files are followed where nothing else is said.
pub const MAX_FILES: usize = 256;

/// The size of the buffer that all files share, in bytes; no piece is longer.
pub const BUFFER: usize = 256 << 10;

/// The longest line that can be asked for, in bytes.
pub const MAX_LINE: usize = 128 << 10;

/// How long a file that was replaced or deleted stays followed after its last line.
pub const QUIET: Span = Span::secs(60);

/// How long a file that does not change stays open.
const IDLE: Span = Span::mins(5);

/// How many bytes one file may give before it is the turn of the next.
const TURN: usize = 128 << 10;

/// What is to be followed.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Which files; a file that several mean is read once.
    pub patterns: Vec<Pattern>,
    /// The longest line in bytes, without its newline; at least 1, at most [`MAX_LINE`].
    pub max_line: usize,
    /// How many files are followed at once: those that were modified last. At least 1.
    pub max_files: usize,
    /// Files and folders of this process, which are never followed.
    pub own: Vec<PathBuf>,
}

/// Something of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Where the file lies, as far as known.
    pub place: &'a Path,
    /// What there is.
    pub content: Content<'a>,
}

/// What there is of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// Whole lines, each with its newline; only the last line of a file that ends may have none.
    Lines(&'a [u8]),
    /// The beginning of one line that is too long: as much as a line may have. The rest is passed over.
    Cut(&'a [u8]),
    /// Lines in front of what comes next were destroyed by who writes, or may have been.
    Gap(Gap),
    /// The file is finished for good; what is remembered of it is forgotten.
    Ended,
}

/// Lines that are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// What happened.
    pub why: Loss,
    /// How many bytes that had been seen are gone, at least; 0 where none are known to be.
    pub n_bytes: u64,
}

/// How lines are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The file was emptied or written anew, and no copy was found.
    Truncated,
    /// The file is gone, and was found under no other name.
    Vanished,
    /// What it was packed into cannot be read to its end.
    Broken,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.why {
            Loss::Truncated => "it was emptied or written anew, and no copy of it was found",
            Loss::Vanished => "it is gone, and was found under no other name",
            Loss::Broken => "what it was packed into cannot be read to its end",
        })?;
        match self.n_bytes {
            0 => f.write_str("; what was written since the last look is lost, if anything was"),
            n => write!(f, "; at least {n} bytes are lost"),
        }
    }
}

/// How a poll went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Polled {
    /// Whether the budget ended it: there is more to read now.
    pub is_more: bool,
    /// How many bytes are known and not handed over: the lag. Of packed files that is not known.
    pub n_unread: u64,
    /// How many files are followed.
    pub n_files: usize,
    /// What is wrong now, by path; each is told again as long as it lasts.
    pub troubles: Vec<Trouble>,
    /// When something is to be done that no change of a file announces; none: only when something changes.
    pub due: Option<Timestamp>,
    /// How many bytes were read in this poll.
    pub n_read: u64,
    /// How many lines were cut in this poll.
    pub n_cut: u64,
    /// How many gaps there were in this poll.
    pub n_gaps: u64,
    /// How many bytes are known to be lost, of this poll.
    pub n_lost: u64,
}

/// What to watch: when one of these changes, a poll finds something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watches {
    /// Folders in which files may appear, vanish or get other names, or in which that may happen to what lies on the way to
    /// them: to symbolic links, and to folders that are not there now.
    pub folders: Vec<PathBuf>,
    /// Files that are written.
    pub files: Vec<PathBuf>,
}

/// Follows files. Synchronous, and may hang where a file system does: it belongs on a thread apart.
#[derive(Debug)]
pub struct Follower<S> {
    wanted: Wanted,
    own: OwnFiles,
    /// In the order in which their content was begun: of one family, the older first.
    tracks: Vec<Track<S>>,
    /// Files that exist and are not followed, with how far they were when they were last seen.
    beyond: HashMap<FileId, u64>,
    /// Files that existed when watching began and may not be read yet.
    sealed: sealed::AllSealed,
    /// Whether there were more files than are followed, in the last whole look or in that of the checkpoint.
    is_crowded: bool,
    /// Files that are copies, and of which track.
    copies: HashMap<FileId, (Facts, u64, Mark)>,
    /// How many bytes may still be compared in this look.
    to_compare: u64,
    /// Packed files that cannot be read yet, since when.
    pending: HashMap<FileId, Timestamp>,
    /// The next poll looks through all folders, whenever it comes.
    looked: Option<find::Looked>,
    folders: Vec<PathBuf>,
    /// What could not be seen in the last whole look.
    unseen: Vec<Trouble>,
    buffer: Vec<u8>,
    /// Which family is the first to be read.
    turn: usize,
}

/// Where pieces go.
type Take<'a, S> = dyn FnMut(&mut S, Piece<'_>) + 'a;

impl<S: Default + Clone> Follower<S> {
    /// Nothing is looked at yet. Without [`begin`](Self::begin) and [`resume`](Self::resume) every file is read from its
    /// beginning.
    pub fn new(mut wanted: Wanted) -> Follower<S> {
        wanted.max_line = wanted.max_line.clamp(1, MAX_LINE);
        wanted.max_files = wanted.max_files.max(1);
        Follower {
            own: OwnFiles::new(&wanted.own),
            wanted,
            tracks: Vec::new(),
            beyond: HashMap::new(),
            sealed: HashMap::new(),
            is_crowded: false,
            copies: HashMap::new(),
            to_compare: 0,
            pending: HashMap::new(),
            looked: None,
            folders: Vec::new(),
            unseen: Vec::new(),
            buffer: Vec::new(),
            turn: 0,
        }
    }

    /// Goes on where an earlier process was. What the patterns mean no more, under its own name or under the one that it
    /// was rotated from, is dropped with all that is remembered of it. Where they mean more than they did,
    /// [`begin`](Self::begin) takes what is new to them as read.
    ///
    /// # Errors
    /// When a newer version of this program wrote it; nothing is changed then.
    pub fn resume(&mut self, saved: Saved<S>) -> Result<(), String> {
        if saved.version > saved::VERSION {
            return Err(format!(
                "the positions in files are of version {}, newer than {}",
                saved.version,
                saved::VERSION
            ));
        }
        self.is_crowded = saved.is_crowded;
        let is_meant = |path: &Path| self.wanted.patterns.iter().any(|pattern| pattern.means(path));
        let sealed = saved.sealed.into_iter().map(saved::Shut::sealed);
        self.sealed = sealed.filter(|(_, sealed)| is_meant(&sealed.path)).collect();
        let tracks = saved.files.into_iter().map(saved::Kept::track);
        self.tracks = tracks.filter(|track: &Track<S>| is_meant(&track.home) || is_meant(&track.family)).collect();
        Ok(())
    }

    /// Takes the files that exist now and are not known as read, but for a last line that has not ended: the first time,
    /// without a checkpoint, or behind one of other patterns. Files that appear later are read from their beginning, and so
    /// are those that came in the place of known ones. What may not be read now is remembered with its size, and begins there
    /// when it opens. Nothing is handed over, and nothing is given up.
    pub fn begin(&mut self, now: Timestamp) -> Polled {
        let mut polled = Polled::default();
        self.buffer.resize(BUFFER, 0);
        self.look(now, true, &mut polled, &mut |_, _| {});
        self.sum_up(now, &mut polled);
        polled
    }

    /// Looks where everything is, and reads at most `budget` bytes, but at least one line, beside the up to 2 KiB by which
    /// each file is known again. Files take turns.
    pub fn poll(&mut self, now: Timestamp, budget: usize, take: &mut dyn FnMut(&mut S, Piece<'_>)) -> Polled {
        let mut polled = Polled::default();
        self.buffer.resize(BUFFER, 0);
        let mut counts = Counts::default();
        let mut take = |state: &mut S, piece: Piece<'_>| {
            counts.add(&piece.content);
            take(state, piece);
        };
        self.look(now, false, &mut polled, &mut take);
        self.read(budget, &mut polled, &mut take);
        self.end_quiet(now, &mut take);
        (polled.n_cut, polled.n_gaps, polled.n_lost) = (counts.n_cut, counts.n_gaps, counts.n_lost);
        self.sum_up(now, &mut polled);
        polled
    }

    /// All positions, exactly behind what was handed over.
    pub fn save(&self) -> Saved<S> {
        let files = self.tracks.iter().map(saved::Kept::of).collect();
        let mut sealed: Vec<saved::Shut> = self.sealed.iter().map(saved::Shut::of).collect();
        sealed.sort_unstable_by_key(saved::Shut::id);
        Saved { version: saved::VERSION, is_crowded: self.is_crowded, files, sealed }
    }

    /// What to watch after the last poll. Asks the file system about the ways there, so it may hang as a poll may.
    pub fn watches(&self) -> Watches {
        let is_live = |track: &&Track<S>| !track.is_ended && track.is_placed && !track.is_packed && !track.is_nowhere;
        let mut files: Vec<PathBuf> =
            self.tracks.iter().filter(is_live).map(|track| track.place().to_owned()).collect();
        let beside = files.iter().filter_map(|file| file.parent()).map(Path::to_owned);
        let mut folders: BTreeSet<PathBuf> = self.folders.iter().cloned().chain(beside).collect();
        // A folder that is removed and made again is told of where it lies, and a link that is switched, too.
        let linked =
            self.tracks.iter().filter(|track| is_live(track) && track.real.is_some()).map(|track| &*track.home);
        let ways: Vec<PathBuf> = folders.iter().map(PathBuf::as_path).chain(linked).flat_map(look::way).collect();
        folders.extend(ways);
        let folders = folders.into_iter().collect();
        files.sort();
        files.dedup();
        Watches { folders, files }
    }

    fn read(&mut self, budget: usize, polled: &mut Polled, take: &mut Take<'_, S>) {
        let max_line = self.wanted.max_line;
        let least = max_line + 1;
        let mut left = budget.max(least);
        let families = self.families();
        let mut is_done = vec![false; families.len()];
        while left >= least && is_done.iter().any(|done| !done) {
            for offset in 0..families.len() {
                let at = (self.turn + offset) % families.len();
                if is_done[at] {
                    continue;
                }
                if left < least {
                    // The next poll begins with who did not get his turn.
                    self.turn = at;
                    break;
                }
                let n_read = self.read_family(&families[at], left.min(TURN.max(least)), polled, take);
                is_done[at] = n_read.is_none();
                left = left.saturating_sub(n_read.unwrap_or(0).max(1));
                polled.n_read += n_read.unwrap_or(0) as u64;
            }
        }
        polled.is_more = is_done.iter().any(|done| !done);
    }

    /// Reads on in the oldest file of a family that has something; none when none has more.
    fn read_family(
        &mut self,
        family: &[usize],
        most: usize,
        polled: &mut Polled,
        take: &mut Take<'_, S>,
    ) -> Option<usize> {
        let mut n_read = 0;
        for &at in family {
            let track = &mut self.tracks[at];
            if track.is_ended {
                continue;
            }
            if track.missing.is_some() || track.is_displaced {
                // What comes later waits until it is found, or known to be lost.
                return None;
            }
            let place: Arc<Path> = track.place().into();
            let mut hand = |state: &mut S, content: Content<'_>| take(state, Piece { place: &place, content });
            let step = track.read(&mut self.buffer, most - n_read, self.wanted.max_line, &mut hand);
            n_read += step.n_read;
            if let Some(why) = step.failed {
                polled.troubles.push(Trouble::new(place.to_path_buf(), Why::Unreadable(why)));
                continue;
            }
            if track.is_displaced {
                return None;
            }
            if step.is_more || most - n_read <= self.wanted.max_line {
                return Some(n_read);
            }
        }
        None
    }

    /// The places of the tracks of each family, in order.
    fn families(&self) -> Vec<Vec<usize>> {
        let mut families: BTreeMap<&Path, Vec<usize>> = BTreeMap::new();
        for (at, track) in self.tracks.iter().enumerate() {
            families.entry(&track.family).or_default().push(at);
        }
        families.into_values().collect()
    }

    fn sum_up(&mut self, now: Timestamp, polled: &mut Polled) {
        polled.n_files = self.tracks.iter().filter(|track| track.is_placed && !track.is_ended).count();
        polled.n_unread = self.tracks.iter().map(Track::n_unread).sum();
        polled.troubles.extend(self.unseen.iter().cloned());
        // What refuses a folder refuses each file in it.
        polled.troubles.sort_by(|a, b| a.path.cmp(&b.path));
        polled.troubles.dedup();
        polled.troubles.truncate(find::MAX_TROUBLES);
        let mut due = |at: Timestamp| polled.due = Some(polled.due.map_or(at, |due| due.min(at)));
        for track in &mut self.tracks {
            if track.is_ended {
                continue;
            }
            if track.missing.is_some() {
                due(now + find::PATIENCE);
            } else if track.is_veiled {
                due(now + find::VEILED);
            } else if track.is_displaced {
                due(now);
            } else if let Some(replaced) = track.replaced {
                due(replaced.max(track.grown) + QUIET);
            }
            track.rest(now, IDLE);
        }
        if let Some(at) = self.next_whole_look() {
            due(at);
        }
    }
}

#[derive(Default)]
struct Counts {
    n_cut: u64,
    n_gaps: u64,
    n_lost: u64,
}

impl Counts {
    fn add(&mut self, content: &Content<'_>) {
        match content {
            Content::Cut(_) => self.n_cut += 1,
            Content::Gap(gap) => {
                self.n_gaps += 1;
                self.n_lost += gap.n_bytes;
            }
            Content::Lines(_) | Content::Ended => {}
        }
    }
}

#[cfg(test)]
mod tests;
