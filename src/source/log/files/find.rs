//! Which files there are: what the patterns mean now.
//!
//! A whole look goes through the folders. As that costs more than reading, a look in between only asks about the files that
//! are followed; when one of them is not where it was, it becomes a whole look.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

use super::Follower;
use crate::base::{Span, Timestamp};
use crate::sys::clock::Stopwatch;
use crate::sys::look::{Blind, Pattern};
use crate::sys::read::resolve;
use crate::sys::tail::{self, Facts, FileId, Refused};

/// How long a file may be missing before it is taken for gone: whoever rotates may be at it.
pub(super) const PATIENCE: Span = Span::secs(1);

/// How long until it is looked again at what could not be looked at.
pub(super) const VEILED: Span = Span::secs(10);

/// How long a whole look may take.
const LIMIT: Span = Span::secs(5);

/// How long there is none after a whole look, at least.
const BETWEEN: Span = Span::millis(200);

/// How many times as long as it took there is none, at least: so that looking costs a twentieth of a core at most.
const SHARE: i64 = 20;

/// The most troubles that are told.
pub(super) const MAX_TROUBLES: usize = 64;

/// Something that is wrong with a file or a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Which.
    pub path: PathBuf,
    /// What.
    pub why: Why,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It, or a folder on the way, does not let this user.
    Denied {
        /// The user.
        who: String,
    },
    /// More files than are followed.
    TooMany {
        /// How many there are.
        n: usize,
        /// How many are followed.
        most: usize,
    },
    /// Its folders were not looked through to the end.
    TooLarge(String),
    /// The system said something else.
    Unreadable(String),
    /// It is packed, and broken or in a way that cannot be read.
    Packed(String),
}

impl Why {
    /// In one word, for a label.
    pub fn reason(&self) -> &'static str {
        match self {
            Why::Denied { .. } => "permission",
            Why::TooMany { .. } | Why::TooLarge(_) => "too-many",
            Why::Unreadable(_) | Why::Packed(_) => "error",
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.why {
            Why::Denied { who } => write!(f, "{who} may not read {path}"),
            Why::TooMany { n, most } => {
                write!(f, "{path}: {n} files are meant, and the {most} that were modified last are followed")
            }
            Why::TooLarge(why) => write!(f, "{path}: {why}; not everything that is meant was seen"),
            Why::Unreadable(why) | Why::Packed(why) => write!(f, "{path}: {why}"),
        }
    }
}

impl Trouble {
    pub(super) fn new(path: PathBuf, why: Why) -> Trouble {
        Trouble { path, why }
    }

    pub(super) fn refused(refused: Refused) -> Trouble {
        match refused {
            Refused::Denied { path, who } => Trouble::new(path, Why::Denied { who }),
            Refused::Io { path, why } => Trouble::new(path, Why::Unreadable(why)),
            Refused::Missing(path) => Trouble::new(path, Why::Unreadable("it is not there".into())),
            Refused::NotRegular(path) => Trouble::new(path, Why::Unreadable("it is no regular file".into())),
        }
    }

    fn blind(blind: Blind, pattern: &Pattern) -> Trouble {
        match blind {
            Blind::Denied { folder, who } => Trouble::new(folder, Why::Denied { who }),
            Blind::TooMany { ref folder } | Blind::TooDeep { ref folder } => {
                Trouble::new(folder.clone(), Why::TooLarge(blind.to_string()))
            }
            Blind::TooLong(_) => Trouble::new(pattern.folder(), Why::TooLarge(blind.to_string())),
            Blind::Io { path, why } => Trouble::new(path, Why::Unreadable(why)),
        }
    }
}

/// A file that is meant.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub path: PathBuf,
    pub facts: Facts,
    /// Whether it is that of a track, or one that is not to be read.
    pub is_claimed: bool,
}

/// What one look saw.
#[derive(Debug, Default)]
pub(super) struct Sight {
    pub found: Vec<Found>,
    pub at: HashMap<FileId, usize>,
    /// Whether it went through all folders.
    pub is_whole: bool,
    /// Whether something that is meant may not have been seen.
    pub is_dim: bool,
}

impl Sight {
    pub(super) fn find(&self, id: FileId) -> Option<&Found> {
        self.at.get(&id).map(|at| &self.found[*at])
    }

    pub(super) fn at_path(&self, path: &Path) -> Option<&Found> {
        self.found.iter().find(|found| found.path == path)
    }

    fn push(&mut self, path: &Path, facts: Facts) {
        if !facts.is_regular {
            return;
        }
        let next = self.found.len();
        let at = *self.at.entry(facts.id).or_insert(next);
        match self.found.get_mut(at) {
            None => self.found.push(Found { path: path.to_owned(), facts, is_claimed: false }),
            // Of several names of one file, the shortest is most likely the one it is written under.
            Some(found) if path.as_os_str().len() < found.path.as_os_str().len() => found.path = path.to_owned(),
            Some(_) => {}
        }
    }
}

/// When the last whole look was, and what it cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looked {
    at: Timestamp,
    took: Span,
    /// Whether there was one less than whole since.
    is_old: bool,
}

impl<S: Default + Clone> Follower<S> {
    /// When the next whole look is due, if there was one in between.
    pub(super) fn next_whole_look(&self) -> Option<Timestamp> {
        let looked = self.looked.filter(|looked| looked.is_old)?;
        Some(looked.at + looked.pause())
    }

    /// Sees what is there.
    pub(super) fn see(&mut self, now: Timestamp) -> Sight {
        let is_too_soon = |looked: &Looked| now - looked.at < looked.pause() && now >= looked.at;
        if self.looked.as_ref().is_some_and(is_too_soon)
            && let Some(sight) = self.glance()
        {
            if let Some(looked) = &mut self.looked {
                looked.is_old = true;
            }
            return sight;
        }
        self.see_whole(now)
    }

    /// Goes through all folders.
    pub(super) fn see_whole(&mut self, now: Timestamp) -> Sight {
        let watch = Stopwatch::start();
        let sight = self.see_all();
        self.looked = Some(Looked { at: now, took: watch.elapsed(), is_old: false });
        sight
    }

    /// Asks only about the files that are followed; nothing when one of them is not where it was, or
    /// something is where one has been.
    fn glance(&self) -> Option<Sight> {
        let mut sight = Sight::default();
        for track in &self.tracks {
            if !track.is_listed {
                if tail::facts(&track.home).is_ok_and(|facts| facts.id != track.id || track.is_ended) {
                    return None;
                }
                continue;
            }
            let facts = tail::facts(track.place()).ok()?;
            let had_content = track.empty_since.is_some_and(|since| since != facts.modified);
            if facts.id != track.id || had_content {
                return None;
            }
            sight.push(track.place(), facts);
        }
        Some(sight)
    }

    fn see_all(&mut self) -> Sight {
        let mut sight = Sight { is_whole: true, ..Sight::default() };
        let mut troubles: Vec<Trouble> = Vec::new();
        self.folders.clear();
        for pattern in &self.wanted.patterns {
            let mut refused = Vec::new();
            let looked = pattern.each(LIMIT, &mut |path| match tail::facts(path) {
                Ok(facts) => sight.push(path, facts),
                Err(Refused::Missing(_)) => {}
                Err(why) => {
                    sight.is_dim = true;
                    if refused.len() < MAX_TROUBLES {
                        refused.push(why);
                    }
                }
            });
            sight.is_dim |= !looked.missed.is_empty() || looked.stopped.is_some();
            troubles.extend(refused.into_iter().map(Trouble::refused));
            let missed = looked.missed.into_iter().chain(looked.stopped);
            troubles.extend(missed.map(|blind| Trouble::blind(blind, pattern)));
            self.folders.extend(looked.folders);
        }
        self.folders.sort();
        self.folders.dedup();
        self.cut_to_limit(&mut sight, &mut troubles);
        troubles.sort_by(|a, b| a.path.cmp(&b.path));
        troubles.dedup();
        troubles.truncate(MAX_TROUBLES);
        self.unseen = troubles;
        sight
    }

    /// Leaves the files that were modified last, and remembers how far the others are.
    fn cut_to_limit(&mut self, sight: &mut Sight, troubles: &mut Vec<Trouble>) {
        let most = self.wanted.max_files;
        let n = sight.found.len();
        if n <= most {
            if !sight.is_dim {
                self.beyond.clear();
                self.is_crowded = false;
            }
            return;
        }
        // A file that is followed and not read to its end stays.
        let busy: HashSet<FileId> =
            self.tracks.iter().filter(|track| track.n_unread() > 0).map(|track| track.id).collect();
        sight.found.sort_by_key(|found| {
            (!busy.contains(&found.facts.id), std::cmp::Reverse((found.facts.modified, found.facts.id)))
        });
        let positions: HashMap<FileId, u64> =
            self.tracks.iter().filter(|track| !track.is_packed).map(|track| (track.id, track.position)).collect();
        let first_time = self.beyond.is_empty();
        let mut beyond = HashMap::with_capacity(n - most);
        for found in sight.found.drain(most..) {
            let id = found.facts.id;
            let sealed = || self.sealed.get(&id).map(|sealed| sealed.size);
            let known = positions.get(&id).or_else(|| self.beyond.get(&id)).copied().or_else(sealed);
            // One that appeared meanwhile has nothing that was read, if it is known that it appeared.
            let at = known.unwrap_or(if first_time { found.facts.size } else { 0 });
            beyond.insert(id, at.min(found.facts.size));
        }
        self.tracks.retain(|track| !track.is_listed || !beyond.contains_key(&track.id));
        // Those that are followed now keep theirs until they are taken in.
        beyond.extend(sight.found.iter().filter_map(|found| {
            let id = found.facts.id;
            self.beyond.get(&id).map(|at| (id, *at))
        }));
        self.beyond = beyond;
        sight.at = sight.found.iter().enumerate().map(|(at, found)| (found.facts.id, at)).collect();
        let whole = self.wanted.patterns.first().map_or_else(PathBuf::new, Pattern::folder);
        troubles.push(Trouble::new(whole, Why::TooMany { n, most }));
        self.is_crowded = true;
    }
}

impl Looked {
    fn pause(&self) -> Span {
        self.took.times(SHARE).max(BETWEEN)
    }
}

/// The files of this process.
#[derive(Debug, Default)]
pub(super) struct OwnFiles {
    paths: Vec<PathBuf>,
    /// What was found to be own or not.
    known: HashMap<(FileId, PathBuf), bool>,
}

/// How many answers are remembered.
const MAX_KNOWN: usize = 1024;

impl OwnFiles {
    pub(super) fn new(paths: &[PathBuf]) -> OwnFiles {
        OwnFiles { paths: paths.to_vec(), known: HashMap::new() }
    }

    /// Whether the file at `path` is one of them, or lies in one of their folders, under whatever name.
    pub(super) fn hold(&mut self, path: &Path, id: FileId) -> bool {
        if self.paths.is_empty() {
            return false;
        }
        let key = (id, path.to_owned());
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let real = resolve(path).unwrap_or_else(|_| path.to_owned());
        let is_own = self.paths.iter().any(|own| {
            let is_same = || tail::facts(own).is_ok_and(|facts| facts.is_regular && facts.id == id);
            path.starts_with(own) || real.starts_with(resolve(own).unwrap_or_else(|_| own.clone())) || is_same()
        });
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(key, is_own);
        is_own
    }
}
