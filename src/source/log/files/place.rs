//! What lies where: each look finds the files of the tracks again.
//!
//! In this order: a track is claimed by the file of its inode, if the content is its own; else it is searched, open or under
//! another name by its inode, then by its content; what stays missing for [`PATIENCE`] is lost, unless nobody lets us look
//! where it was. Files that are left have no track (see `new`).

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::copy::MAX_COMPARED;
use super::find::{PATIENCE, Sight, Trouble};
use super::mark::TAIL;
use super::names;
use super::track::{Confirmed, Track};
use super::{Follower, Polled, Take};
use crate::base::Timestamp;
use crate::sys::tail::{self, Facts, FileId, Refused, Tail};

/// How many files beside a home are looked at when something is searched.
const MAX_BESIDE: usize = 512;

/// How many times a missing file is looked for, at least.
const LOOKS: u32 = 2;

/// Files and what is known of them, or why they cannot be listed.
type Listed = Result<Vec<(PathBuf, Facts)>, Refused>;

/// Files beside a home, listed at most once in a look: by their folder and what their names begin with.
#[derive(Default)]
pub(super) struct Beside {
    listed: HashMap<(PathBuf, Vec<u8>), Listed>,
}

impl Beside {
    /// The regular files whose names begin like that of `home`.
    pub(super) fn of(&mut self, home: &Path) -> &Listed {
        let folder = home.parent().unwrap_or(Path::new("/")).to_owned();
        let stem = names::stem(name(home)).to_owned();
        self.listed.entry((folder, stem)).or_insert_with_key(|(folder, stem)| {
            let (names, _) = tail::list(folder, stem)?;
            let paths = names.into_iter().take(MAX_BESIDE).map(|name| folder.join(name));
            let known = paths.filter_map(|path| tail::facts(&path).ok().map(|facts| (path, facts)));
            Ok(known.filter(|(_, facts)| facts.is_regular).collect())
        })
    }
}

/// Where a track was found.
enum Search {
    Found,
    Missing,
    /// It cannot be said.
    Unclear,
}

impl<S: Default + Clone> Follower<S> {
    /// Finds every track, and takes in what is new; at its end, where `is_first`.
    pub(super) fn look(&mut self, now: Timestamp, is_first: bool, polled: &mut Polled, take: &mut Take<'_, S>) {
        let knows_not_beyond = self.is_crowded && self.beyond.is_empty();
        let mut sight = self.see(now);
        let mut beside = Beside::default();
        self.to_compare = MAX_COMPARED;
        self.drop_copies(&sight);
        self.claim(now, &mut sight, polled);
        if !sight.is_whole && self.tracks.iter().any(|track| track.is_displaced && !track.is_ended) {
            // Something happened: there may be more.
            sight = self.see_whole(now);
            self.claim(now, &mut sight, polled);
        }
        let mut at = 0;
        while at < self.tracks.len() {
            if !self.tracks[at].is_placed {
                self.search(at, now, &mut sight, &mut beside, polled);
            }
            at += 1;
        }
        if sight.is_whole {
            self.note_sealed(&sight);
            let at_end = is_first || knows_not_beyond;
            self.take_in(now, at_end, &mut sight, &mut beside, polled);
        }
        // Who begins has nobody yet to hear of what is lost.
        if !is_first {
            self.lose(now, &sight, take);
        }
        self.note_replaced(now, &sight);
    }

    /// Finds tracks by their inode where the patterns mean them.
    fn claim(&mut self, now: Timestamp, sight: &mut Sight, polled: &mut Polled) {
        for track in &mut self.tracks {
            track.is_placed = false;
            track.is_veiled = false;
            track.is_home = false;
            track.is_listed = false;
            track.is_nowhere = false;
            if track.is_displaced {
                continue;
            }
            let Some(found) = sight.at.get(&track.id).map(|at| &mut sight.found[*at]) else { continue };
            if found.is_claimed {
                continue;
            }
            if !track.may_lie_at(&found.path) {
                track.displace();
                continue;
            }
            match track.confirm(&found.path, found.facts, now) {
                Confirmed::Same => {}
                Confirmed::Other => {
                    track.displace();
                    continue;
                }
                // It is there, and whoever is at it is not done: the next look knows more.
                Confirmed::Unclear => {}
                Confirmed::Refused(refused) => polled.troubles.push(Trouble::refused(refused)),
            }
            found.is_claimed = true;
            track.missing = None;
            track.is_placed = true;
            track.is_listed = true;
            track.is_home = *found.path == *track.home;
            track.away = (!track.is_home).then(|| found.path.clone());
        }
    }

    /// Finds a track that is not where the patterns mean it.
    fn search(&mut self, at: usize, now: Timestamp, sight: &mut Sight, beside: &mut Beside, polled: &mut Polled) {
        if self.tracks[at].is_ended {
            // Only so that a packed form of it is known when it is seen.
            if sight.is_whole {
                self.search_content(at, now, sight, None);
            } else {
                self.tracks[at].is_placed = true;
            }
            return;
        }
        let mut search = self.search_open(at, now, sight, beside);
        if matches!(search, Search::Missing) {
            search = self.search_inode(at, now, sight, beside, polled);
        }
        if matches!(search, Search::Missing) && self.search_content(at, now, sight, Some(beside)) {
            search = Search::Found;
        }
        let track = &mut self.tracks[at];
        match search {
            Search::Found => track.missing = None,
            Search::Missing if is_veiled(&track.home, beside) => track.is_veiled = true,
            Search::Missing => {
                let (since, n) = track.missing.unwrap_or((now, 0));
                track.missing = Some((since.min(now), n + 1));
            }
            Search::Unclear => track.is_veiled = true,
        }
    }

    /// By its descriptor: it was renamed or deleted, and goes on.
    fn search_open(&mut self, at: usize, now: Timestamp, sight: &mut Sight, beside: &mut Beside) -> Search {
        let track = &mut self.tracks[at];
        let Some(facts) = track.file.as_ref().and_then(|file| file.facts().ok()) else { return Search::Missing };
        if track.is_displaced || facts.id != track.id {
            return Search::Missing;
        }
        if facts.n_links == 0 && self.is_rewritten(at, now, sight) {
            return Search::Found;
        }
        let track = &mut self.tracks[at];
        track.is_nowhere = facts.n_links == 0;
        if track.is_nowhere {
            // Its last name is as good as any to call it by.
        } else if tail::facts(track.place()).ok().is_none_or(|other| other.id != facts.id) {
            let all = beside.of(&track.home).iter().flatten();
            let named = all.filter(|(_, other)| other.id == facts.id).map(|(path, _)| path.clone()).next();
            track.away = named.or(track.away.take());
        }
        let path = track.place().to_owned();
        let file = track.file.clone();
        match track.confirm(&path, facts, now) {
            Confirmed::Same => Search::Found,
            Confirmed::Other => {
                track.displace();
                if facts.n_links == 0 {
                    // Emptied, then deleted, and still written: only here it can be read.
                    let mut rest = Track::new(&track.home, track.family.clone(), facts, false, now);
                    rest.home = track.home.clone();
                    (rest.is_home, rest.is_listed, rest.is_rest, rest.file) = (false, false, true, file);
                    rest.lies_in(facts, now);
                    self.tracks.insert(at + 1, rest);
                }
                Search::Missing
            }
            Confirmed::Unclear | Confirmed::Refused(_) => Search::Unclear,
        }
    }

    /// Whether what is at its home now is the same content in a new file, as some editors leave it.
    fn is_rewritten(&mut self, at: usize, now: Timestamp, sight: &mut Sight) -> bool {
        let track = &mut self.tracks[at];
        let Some(found) = sight.found.iter_mut().find(|found| *found.path == *track.home && !found.is_claimed) else {
            return false;
        };
        if track.is_packed || track.position < TAIL as u64 {
            return false;
        }
        let Ok(file) = Tail::open(&found.path) else { return false };
        let Ok((Confirmed::Same, facts)) = track.compare(&file, found.facts.id) else { return false };
        found.is_claimed = true;
        let path = found.path.clone();
        track.move_to(&path, file, facts, false, now);
        track.is_listed = true;
        true
    }

    /// By its inode, where it was or beside its home.
    fn search_inode(
        &mut self,
        at: usize,
        now: Timestamp,
        sight: &Sight,
        beside: &mut Beside,
        polled: &mut Polled,
    ) -> Search {
        let track = &mut self.tracks[at];
        if track.is_displaced || sight.find(track.id).is_some() {
            return Search::Missing;
        }
        let mut known = Vec::new();
        for path in [Some(track.place()), track.real.as_deref()].into_iter().flatten() {
            match tail::facts(path) {
                Ok(facts) => known.push((path.to_owned(), facts)),
                Err(Refused::Missing(_)) => {}
                Err(refused) => polled.troubles.push(Trouble::refused(refused)),
            }
        }
        let id = track.id;
        let mut found = known.into_iter().find(|(_, facts)| facts.id == id && facts.is_regular);
        for home in [Some(&*track.home), track.real.as_deref()].into_iter().flatten() {
            if found.is_some() {
                break;
            }
            match beside.of(home) {
                Ok(all) => found = all.iter().find(|(_, facts)| facts.id == id).cloned(),
                Err(refused) => polled.troubles.push(Trouble::refused(refused.clone())),
            }
        }
        let Some((path, facts)) = found else { return Search::Missing };
        if !track.may_lie_at(&path) {
            track.displace();
            return Search::Missing;
        }
        match track.confirm(&path, facts, now) {
            Confirmed::Same => {
                track.away = (*path != *track.home).then_some(path);
                Search::Found
            }
            Confirmed::Other => {
                track.displace();
                Search::Missing
            }
            Confirmed::Unclear => Search::Unclear,
            Confirmed::Refused(refused) => {
                // It is there and keeps its position, and what came after it need not wait.
                polled.troubles.push(Trouble::refused(refused));
                track.away = (*path != *track.home).then_some(path);
                track.is_placed = true;
                Search::Found
            }
        }
    }

    /// By its content: in what it was copied or packed into.
    fn search_content(&mut self, at: usize, now: Timestamp, sight: &mut Sight, beside: Option<&mut Beside>) -> bool {
        let taken: HashSet<FileId> = self.tracks.iter().filter(|track| track.is_placed).map(|track| track.id).collect();
        let track = &mut self.tracks[at];
        if track.mark.head_length == 0 {
            return false;
        }
        let folder = track.home.parent();
        let stem = names::stem(name(&track.home));
        let is_near = |path: &Path| path.parent() == folder && name(path).starts_with(stem);
        let meant = sight.found.iter().filter(|found| !found.is_claimed && is_near(&found.path));
        let mut known: Vec<(PathBuf, Facts)> = meant.map(|found| (found.path.clone(), found.facts)).collect();
        if let Some(beside) = beside {
            for home in [Some(&*track.home), track.real.as_deref()].into_iter().flatten() {
                known.extend(beside.of(home).iter().flatten().filter(|(_, f)| sight.find(f.id).is_none()).cloned());
            }
        }
        // The longest first, which has the most that was not read; of the same, what needs no unpacking.
        known.sort_by_cached_key(|(path, facts)| {
            let is_packed = names::is_packed(name(path));
            let length = || Tail::open(path).ok().and_then(|file| file.packed_length()).unwrap_or(0);
            (std::cmp::Reverse(if is_packed { length().into() } else { facts.size }), is_packed)
        });
        for (path, facts) in known {
            if taken.contains(&facts.id) || track.has_rejected(facts.id) || self.own.hold(&path, facts.id) {
                continue;
            }
            let is_packed = names::is_packed(name(&path));
            let is_weak = *path == *track.home && track.position < TAIL as u64 && facts.id.ino != track.id.ino;
            if is_weak || !is_packed && (track.is_packed || facts.size < track.position) {
                continue;
            }
            let Ok(file) = Tail::open(&path) else { continue };
            let was_packed = std::mem::replace(&mut track.is_packed, is_packed);
            let compared = track.compare(&file, facts.id);
            track.is_packed = was_packed;
            let Ok((Confirmed::Same, facts)) = compared else { continue };
            let is_all_read = is_packed && file.packed_length() == Some(track.position as u32);
            let is_listed = sight.at.get(&facts.id).map(|at| sight.found[*at].is_claimed = true).is_some();
            if track.is_ended && is_packed && !is_all_read {
                // More in it than was read: it is read on behind what was.
                track.is_ended = false;
            }
            track.move_to(&path, file, facts, is_packed, now);
            track.is_listed = is_listed;
            if is_all_read {
                track.is_drained = true;
            }
            return true;
        }
        false
    }
}

/// Whether what was at `home` may be there still, or beside it, though nobody finds it. Where only the names are kept from
/// us, what has no other content at its home any more is lost: else nothing would ever be read there again.
fn is_veiled(home: &Path, beside: &mut Beside) -> bool {
    let is_refused = |refused: &Refused| !matches!(refused, Refused::Missing(_) | Refused::NotRegular(_));
    let cannot_list = |refused: &Refused| matches!(refused, Refused::Io { .. });
    tail::facts(home).as_ref().err().is_some_and(is_refused) || beside.of(home).as_ref().err().is_some_and(cannot_list)
}

/// Whether it is known where a track is, or that it is lost.
pub(super) fn is_settled<S>(track: &Track<S>, now: Timestamp) -> bool {
    let is_known = track.is_placed && !track.is_displaced && track.missing.is_none();
    is_known || track.is_ended || track.missing.is_some_and(|missing| is_lost(missing, now))
}

pub(super) fn is_lost((since, looks): (Timestamp, u32), now: Timestamp) -> bool {
    looks >= LOOKS && now - since >= PATIENCE
}

pub(super) fn name(path: &Path) -> &[u8] {
    path.file_name().unwrap_or(OsStr::new("")).as_bytes()
}
