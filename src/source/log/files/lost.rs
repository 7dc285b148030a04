//! What becomes of tracks that lie nowhere, or at whose place something else lies.
//!
//! What stays missing is given up with a gap; what was replaced or deleted ends when it was quiet for long enough. What is
//! gone is remembered until something came after it, so that copies of it are known when they come.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::find::{Found, Sight};
use super::mark::HEAD;
use super::names;
use super::place::{is_lost, name};
use super::track::Track;
use super::{BUFFER, Content, Follower, Gap, Loss, Piece, QUIET, Take};
use crate::base::Timestamp;
use crate::sys::tail::{FileId, Tail, Unpacked};

/// How many files that are gone are remembered.
const MAX_GONE: usize = 64;

impl<S: Default + Clone> Follower<S> {
    /// Gives up what cannot be found.
    pub(super) fn lose(&mut self, now: Timestamp, sight: &Sight, take: &mut Take<'_, S>) {
        let mut newest: HashMap<Arc<Path>, usize> = HashMap::new();
        for (at, track) in self.tracks.iter().enumerate() {
            newest.insert(track.family.clone(), at);
        }
        for track in &mut self.tracks {
            if track.is_ended || !track.missing.is_some_and(|missing| is_lost(missing, now)) {
                continue;
            }
            let n_bytes = track.n_unread();
            let why = if track.is_displaced { Loss::Truncated } else { Loss::Vanished };
            if track.position > 0 || n_bytes > 0 {
                let place: Arc<Path> = track.place().into();
                let gap = Content::Gap(Gap { why, n_bytes });
                take(&mut track.state, Piece { place: &place, content: gap });
                take(&mut track.state, Piece { place: &place, content: Content::Ended });
            }
            track.state = S::default();
            track.is_ended = true;
            track.is_placed = false;
        }
        // What is gone is remembered as long as nothing came after it: what was put aside meanwhile is newer than that.
        let is_gone = |track: &Track<S>| track.is_ended && !track.is_placed;
        let gone: Vec<(Arc<Path>, i64)> =
            self.tracks.iter().filter(|t| is_gone(t)).map(|t| (t.family.clone(), t.modified)).collect();
        for track in &mut self.tracks {
            for (_, modified) in gone.iter().filter(|(family, _)| *family == track.family) {
                track.known_until = track.known_until.max(*modified);
            }
        }
        self.keep_copies(now, sight);
        let mut n_gone = self.tracks.iter().filter(|track| is_gone(track)).count();
        let mut at = 0;
        self.tracks.retain(|track| {
            let is_newest = newest.get(&track.family) == Some(&at);
            at += 1;
            let stays = !is_gone(track) || is_newest && n_gone <= MAX_GONE;
            n_gone -= usize::from(is_gone(track) && !stays);
            stays
        });
    }

    /// Copies of what is gone are known to be read, also after a restart.
    fn keep_copies(&mut self, now: Timestamp, sight: &Sight) {
        for at in 0..self.tracks.len() {
            let track = &self.tracks[at];
            if !track.is_ended || track.is_placed {
                continue;
            }
            let (of, family) = (track.number, track.family.clone());
            let copies: Vec<FileId> =
                self.copies.iter().filter(|(_, (_, other, _))| *other == of).map(|(id, _)| *id).collect();
            for id in copies {
                self.copies.remove(&id);
                let known = self.tracks.iter().any(|track| track.id == id && track.is_placed);
                let Some(found) = sight.find(id).filter(|_| !known) else { continue };
                let Ok(file) = Tail::open(&found.path) else { continue };
                let is_packed = names::is_packed(name(&found.path));
                let mut copy = Track::new(&found.path, family.clone(), found.facts, is_packed, now);
                let mut head = [0; HEAD];
                let n = match is_packed {
                    true => Unpacked::new(file.clone()).read(&mut head).0,
                    false => file.read_at(&mut head, 0).unwrap_or(0),
                };
                copy.mark.grow(&head[..n]);
                if !is_packed {
                    self.buffer.resize(BUFFER, 0);
                    copy.begin_at(&file, found.facts.size, &mut self.buffer).ok();
                }
                if !is_packed {
                    // A last line without its end is known too.
                    copy.position = found.facts.size;
                    copy.remark();
                    copy.file = None;
                }
                copy.is_ended = true;
                copy.lies_in(found.facts, now);
                self.tracks.insert(at, copy);
            }
        }
    }

    pub(super) fn note_replaced(&mut self, now: Timestamp, sight: &Sight) {
        for track in &mut self.tracks {
            if track.is_home {
                track.replaced = None;
            } else if track.replaced.is_none() {
                let is_other = |found: &Found| found.facts.id != track.id;
                let is_replaced = sight.at_path(&track.home).is_some_and(is_other);
                let is_deleted =
                    track.file.as_ref().and_then(|file| file.facts().ok()).is_some_and(|facts| facts.n_links == 0);
                if is_replaced || is_deleted {
                    track.replaced = Some(now);
                }
            }
        }
    }

    /// Ends files that are read to their end and get nothing more.
    pub(super) fn end_quiet(&mut self, now: Timestamp, take: &mut Take<'_, S>) {
        let max_line = self.wanted.max_line;
        for track in &mut self.tracks {
            if track.is_ended || !track.is_placed || !track.is_drained {
                continue;
            }
            let is_quiet = |since: Timestamp| now - since.max(track.grown) >= QUIET;
            let place: Arc<Path> = track.place().into();
            let mut hand = |state: &mut S, content: Content<'_>| take(state, Piece { place: &place, content });
            if track.is_packed {
                if track.is_broken && is_quiet(track.grown) {
                    hand(&mut track.state, Content::Gap(Gap { why: Loss::Broken, n_bytes: 0 }));
                } else if track.is_broken {
                    continue;
                }
                track.end(&mut self.buffer, max_line, &mut hand);
            } else if track.replaced.is_some_and(is_quiet) {
                track.end(&mut self.buffer, max_line, &mut hand);
            }
        }
    }
}
