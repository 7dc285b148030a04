//! Files that have no track: which of them are new, and where in the order of their family they come.
//!
//! Files are new unless they begin like a track beside them: then they are copies of it, and wait, or go on behind it. Before
//! the new file at a home come those that were put aside meanwhile, the oldest first. As long as it is not known where the
//! last file of a family went, nothing is taken in behind it.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::copy;
use super::find::{Sight, Trouble, Why};
use super::mark::{HEAD, TAIL};
use super::names::{self, Tag};
use super::place::{Beside, is_settled, name};
use super::track::{RACY, Track};
use super::{BUFFER, Follower, Polled, QUIET};
use crate::base::Timestamp;
use crate::sys::read::resolve;
use crate::sys::tail::{self, Facts, Refused, Tail, Unpacked};

/// How many files that were put aside are taken in at once for one home.
const MAX_GENERATIONS: usize = 64;

/// How many copies are remembered, so that they need not be compared again.
const MAX_COPIES: usize = 1024;

/// What a file is to one that is followed.
pub(super) enum Likeness {
    Other,
    /// All of it is in the other, as far as that can be seen.
    Copy,
    /// It begins with all of the other, so many bytes, and goes on.
    Longer(u64),
}

impl<S: Default + Clone> Follower<S> {
    /// Takes in files that have no track.
    pub(super) fn take_in(
        &mut self,
        now: Timestamp,
        at_end: bool,
        sight: &mut Sight,
        beside: &mut Beside,
        polled: &mut Polled,
    ) {
        let mut new: Vec<(PathBuf, Facts)> = Vec::new();
        for found in sight.found.iter().filter(|found| !found.is_claimed) {
            if !self.own.hold(&found.path, found.facts.id) {
                new.push((found.path.clone(), found.facts));
            }
        }
        let families: Vec<Arc<Path>> = new.iter().map(|(path, _)| self.family(path, sight)).collect();
        let mut new: Vec<(Arc<Path>, PathBuf, Facts)> =
            new.into_iter().zip(families).map(|((path, facts), family)| (family, path, facts)).collect();
        new.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| by_age(&a.0, (&a.1, a.2.modified), (&b.1, b.2.modified))));
        self.take_in_all_between(now, sight, beside, polled);
        for (family, path, facts) in new {
            // Where the last one went decides what was put aside after it.
            let is_beside = |home: &Path| home.parent() == path.parent() && name(&path).starts_with(name(home));
            if self.tracks.iter().any(|track| is_beside(&track.family) && !is_settled(track, now)) {
                continue;
            }
            self.take_in_one(now, at_end, &family, &path, facts, sight, polled);
        }
    }

    /// Takes in what was put aside in each family since its newest track was at home, or empty.
    fn take_in_all_between(&mut self, now: Timestamp, sight: &Sight, beside: &mut Beside, polled: &mut Polled) {
        let mut newest: HashMap<Arc<Path>, usize> = HashMap::new();
        // One that was never seen at the home of its family stands for it only where none was.
        for is_of_home in [false, true] {
            let tracks = self.tracks.iter().enumerate().filter(|(_, track)| !track.is_rest);
            for (at, track) in tracks.filter(|(_, track)| (track.home == track.family) == is_of_home) {
                newest.insert(track.family.clone(), at);
            }
        }
        let mut newest: Vec<usize> = newest.into_values().collect();
        // From the last on, so that what is taken in does not move what is still to come.
        newest.sort_by_key(|at| std::cmp::Reverse(*at));
        for at in newest {
            let family = self.tracks[at].family.clone();
            if self.tracks.iter().any(|track| track.family == family && !is_settled(track, now)) {
                continue;
            }
            let track = &mut self.tracks[at];
            let was_empty = track.empty_since.is_some_and(|since| since != track.modified);
            if track.is_home && !was_empty {
                continue;
            }
            let folder = track.home.parent().and_then(|folder| tail::facts(folder).ok());
            let is_racy = folder.is_none_or(|facts| tail::stamp_now().saturating_sub(facts.changed) <= RACY);
            let changed = folder.map(|facts| facts.changed).filter(|_| !is_racy);
            if !was_empty && changed.is_some() && track.listed == changed {
                continue;
            }
            track.listed = changed;
            self.take_in_between(now, at, sight, beside, polled);
        }
    }

    /// Takes in what was put aside since the track at `newest` was at home.
    fn take_in_between(
        &mut self,
        now: Timestamp,
        newest: usize,
        sight: &Sight,
        beside: &mut Beside,
        polled: &mut Polled,
    ) {
        let track = &mut self.tracks[newest];
        // Of a file that was empty only its inode is known, which may be that of a later one by now.
        let was_empty = track.empty_since.is_some();
        let since = track.empty_since.take().unwrap_or(track.modified);
        if track.size == 0 && track.position == 0 {
            track.empty_since = Some(track.modified);
        }
        let known_until = track.known_until;
        let track = &self.tracks[newest];
        let home = track.family.clone();
        let is_known = |facts: &Facts| {
            self.tracks.iter().any(|track| {
                let is_read = track.is_ended && !track.is_displaced && track.modified == facts.modified;
                track.id == facts.id && (track.is_placed || is_read)
            })
        };
        let Ok(all) = beside.of(&home) else { return };
        let last =
            all.iter().find(|(_, facts)| track.is_placed && !was_empty && facts.id == track.id).map(|(path, _)| path);
        let last = last.and_then(|path| names::tag(name(&home), name(path)));
        let is_newer = |path: &Path, facts: &Facts| {
            let by_name = names::tag(name(&home), name(path)).zip(last.as_ref()).and_then(|(tag, last)| last.age(&tag));
            by_name.map_or(facts.modified > since, Ordering::is_lt) && facts.modified > known_until
        };
        let mut between: Vec<(PathBuf, Facts)> = all
            .iter()
            .filter(|(path, facts)| {
                names::tag(name(&home), name(path)).is_some()
                    && !is_known(facts)
                    && sight.find(facts.id).is_none()
                    && is_newer(path, facts)
            })
            .cloned()
            .collect();
        between.sort_by(|a, b| by_age(&home, (&a.0, a.1.modified), (&b.0, b.1.modified)));
        let n_old = between.len().saturating_sub(MAX_GENERATIONS);
        for (path, facts) in between.into_iter().skip(n_old) {
            if self.own.hold(&path, facts.id) {
                continue;
            }
            if let Some(track) = self.take_in_one(now, false, &home, &path, facts, sight, polled) {
                track.is_listed = false;
                track.is_home = false;
                track.away = Some(path);
                track.home = home.clone();
            }
        }
    }

    /// Takes in one file, unless it is empty, a copy, or cannot be read.
    fn take_in_one(
        &mut self,
        now: Timestamp,
        at_end: bool,
        family: &Arc<Path>,
        path: &Path,
        facts: Facts,
        sight: &Sight,
        polled: &mut Polled,
    ) -> Option<&mut Track<S>> {
        // What is empty and lies aside may become a copy.
        let is_beside =
            |home: &Path| *home != *path && home.parent() == path.parent() && name(path).starts_with(name(home));
        let is_copy_to_be =
            facts.size == 0 && (*path != **family || self.tracks.iter().any(|track| is_beside(&track.home)));
        if is_copy_to_be || self.tracks.len() >= 2 * self.wanted.max_files + MAX_GENERATIONS {
            return None;
        }
        let (_, packed) = names::unpacked(name(path));
        let is_packed = names::is_packed(name(path));
        if packed.is_some() && !is_packed {
            if !at_end {
                let why = "it is packed in a way that cannot be read; only gzip can";
                polled.troubles.push(Trouble::new(path.to_owned(), Why::Packed(why.into())));
            }
            return None;
        }
        // What came in the place of a known file was written since.
        let at_end = at_end && !self.tracks.iter().any(|track| *track.home == *path);
        let file = match Tail::open(path) {
            Ok(file) => file,
            Err(Refused::Missing(_)) => return None,
            Err(refused) => {
                if at_end {
                    self.seal(facts.id, path, facts.size);
                }
                polled.troubles.push(Trouble::refused(refused));
                return None;
            }
        };
        let facts = file.facts().ok().filter(|now| now.id == facts.id)?;
        let mut track = Track::new(path, family.clone(), facts, is_packed, now);
        let mut head = [0; HEAD];
        let n_head;
        if is_packed {
            let (n, read) = Unpacked::new(file.clone()).read(&mut head);
            n_head = n;
            if let Err(error) = &read
                && n < HEAD
                && !at_end
            {
                let since = *self.pending.entry(facts.id).or_insert(now);
                if now - since >= QUIET {
                    let why = format!("it cannot be unpacked: {error}");
                    polled.troubles.push(Trouble::new(path.to_owned(), Why::Packed(why)));
                }
                return None;
            }
            self.pending.remove(&facts.id);
            track.mark.grow(&head[..n]);
        } else {
            n_head = file.read_at(&mut head, 0).unwrap_or(0);
            track.mark.grow(&head[..n_head]);
        }
        let is_known_home = *path == **family && self.tracks.iter().any(|track| *track.home == *path);
        let likeness = match is_known_home {
            true => Likeness::Other,
            false => self.likeness(&track, &head[..n_head], &file, facts, sight, at_end),
        };
        let read = match likeness {
            Likeness::Copy => return None,
            Likeness::Longer(read) => read,
            Likeness::Other => 0,
        };
        track.real = resolve(path).ok().filter(|real| real != path);
        let sealed = self.sealed.get(&facts.id).map(|sealed| sealed.size).filter(|size| *size <= facts.size);
        let sealed = sealed.map(|size| size.max(read));
        let known = self.beyond.get(&facts.id).copied().or(sealed);
        let from = known.unwrap_or(if at_end { facts.size } else { read });
        if is_packed {
            track.is_ended = at_end || known.is_some();
        } else if from > 0 {
            self.buffer.resize(BUFFER, 0);
            if let Err(error) = track.begin_at(&file, from, &mut self.buffer) {
                polled.troubles.push(Trouble::new(path.to_owned(), Why::Unreadable(error.to_string())));
                if at_end {
                    self.seal(facts.id, path, facts.size);
                }
                return None;
            }
        }
        track.file = Some(file);
        track.lies_in(facts, now);
        if is_packed && track.is_ended {
            track.position = 0;
        }
        self.beyond.remove(&facts.id);
        self.sealed.remove(&facts.id);
        // Before those of which nothing was read and that were put aside later, or not yet.
        let is_later = |other: &Track<S>| {
            let is_nowhere = other.is_nowhere || !other.is_home && *other.place() == *other.home;
            let is_newer = match is_nowhere {
                true => facts.modified <= other.modified,
                false => by_age(family, (path, facts.modified), (other.place(), other.modified)).is_lt(),
            };
            other.family == *family && other.position == 0 && !other.is_ended && is_newer
        };
        let at = self.tracks.iter().position(is_later).unwrap_or(self.tracks.len());
        self.tracks.insert(at, track);
        self.tracks.get_mut(at)
    }

    /// Whether a file has the content of a track beside it.
    pub(super) fn likeness(
        &mut self,
        new: &Track<S>,
        head: &[u8],
        file: &Tail,
        facts: Facts,
        sight: &Sight,
        at_end: bool,
    ) -> Likeness {
        if let Some((known, of, _)) = self.copies.get(&facts.id)
            && *known == facts
            && self.tracks.iter().any(|track| track.number == *of)
        {
            return Likeness::Copy;
        }
        let (folder, own_name) = (new.home.parent(), name(&new.home));
        let beside = |track: &&Track<S>| track.id != facts.id && track.home.parent() == folder;
        // Names that begin with that of a third say as much.
        let common: Vec<&Path> = self.tracks.iter().map(|track| &*track.family).collect();
        let is_of = |family: &&Path| family.parent() == folder && own_name.starts_with(name(family));
        let common: Vec<&Path> = common.into_iter().filter(is_of).collect();
        let was_seen = self.beyond.contains_key(&facts.id) || self.sealed.contains_key(&facts.id);
        let is_known_by_name = at_end || was_seen || new.is_packed || new.family != new.home;
        for track in self.tracks.iter().filter(beside) {
            let home = name(&track.home);
            let is_near = track.family == new.family || common.iter().any(|family| home.starts_with(name(family)));
            // A name that only begins alike says little, so the content has to say more.
            let is_akin = is_near || head.len() >= TAIL && own_name.starts_with(names::stem(home));
            // What the other has and was not read yet will be read there, if anything of it ever was.
            if !is_akin && (is_known_by_name || track.is_packed || track.position == 0) {
                continue;
            }
            // What can be opened is compared byte for byte, the rest by its mark.
            let open = track.file.clone().or_else(|| {
                let found = sight.find(track.id)?;
                Tail::open(&found.path).ok().filter(|file| file.facts().is_ok_and(|facts| facts.id == track.id))
            });
            let is_alike = match open.filter(|_| track.is_placed) {
                Some(other) if !is_akin => copy::is_whole_in(head, file, facts.size, &other, &mut self.to_compare),
                None if !is_akin => false,
                Some(other) if track.is_packed => {
                    let mut known = [0; HEAD];
                    let n = Unpacked::new(other).read(&mut known).0.min(head.len());
                    n > 0 && head[..n] == known[..n]
                }
                Some(other) => match likeness(head, file, facts, new.is_packed, &other) {
                    Likeness::Other => false,
                    Likeness::Copy => true,
                    longer @ Likeness::Longer(_) => return longer,
                },
                None => {
                    let length = usize::from(track.mark.head_length);
                    length > 0 && head.len() >= length && track.mark.fits_head(head)
                }
            };
            if is_alike {
                if self.copies.len() >= MAX_COPIES {
                    self.copies.clear();
                }
                let mut mark = new.mark;
                copy::mark_end(&mut mark, file, facts.size, new.is_packed);
                self.copies.insert(facts.id, (facts, track.number, mark));
                return Likeness::Copy;
            }
        }
        // Somebody writes on in what was a copy.
        match self.copies.get(&facts.id) {
            Some((known, _, mark)) if !new.is_packed && copy::goes_on(mark, head, file, known.size, facts.size) => {
                Likeness::Longer(known.size)
            }
            _ => Likeness::Other,
        }
    }

    /// The home of the files among which one belongs.
    fn family(&self, path: &Path, sight: &Sight) -> Arc<Path> {
        let is_home = |home: &Path| home.parent() == path.parent() && names::tag(name(home), name(path)).is_some();
        let tracks = self.tracks.iter().map(|track| &track.family).filter(|family| is_home(family)).cloned();
        let found = sight.found.iter().map(|found| &*found.path).filter(|home| is_home(home)).map(Arc::from);
        tracks.chain(found).min_by_key(|home: &Arc<Path>| home.as_os_str().len()).unwrap_or_else(|| path.into())
    }
}

/// How two files have the same bytes, as far as both go; `head` are the first ones of the first.
fn likeness(head: &[u8], file: &Tail, facts: Facts, is_packed: bool, other: &Tail) -> Likeness {
    let mut known = [0; HEAD];
    let Ok(n) = other.read_at(&mut known, 0) else { return Likeness::Other };
    let n = n.min(head.len());
    if n == 0 || head[..n] != known[..n] {
        return Likeness::Other;
    }
    if is_packed {
        return Likeness::Copy;
    }
    let Ok(other_facts) = other.facts() else { return Likeness::Other };
    // The last bytes that both have, too: logs that always begin with the same long greeting differ there.
    let end = facts.size.min(other_facts.size);
    if end > HEAD as u64 {
        let (mut a, mut b) = ([0; TAIL], [0; TAIL]);
        let at = end - TAIL as u64;
        if file.read_at(&mut a, at).is_err() || other.read_at(&mut b, at).is_err() || a != b {
            return Likeness::Other;
        }
    }
    if facts.size > end { Likeness::Longer(end) } else { Likeness::Copy }
}

/// What was put aside first comes first; what lies at the home comes last.
fn by_age(home: &Path, a: (&Path, i64), b: (&Path, i64)) -> Ordering {
    let by_time = || (a.1, a.0).cmp(&(b.1, b.0));
    match (*a.0 == *home, *b.0 == *home) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => {
            let tag = |path: &Path| names::tag(name(home), name(path));
            let by_name = |a: Tag, b: Tag| a.age(&b);
            tag(a.0).zip(tag(b.0)).and_then(|(a, b)| by_name(a, b)).filter(|o| o.is_ne()).unwrap_or_else(by_time)
        }
    }
}
