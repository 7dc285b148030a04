//! Copies that somebody makes by hand inside of what is meant: nothing of them is new.
//!
//! Enters: a file without a track, and one that is followed and was read from. Leaves: whether all of the first is how the
//! second begins, byte for byte; of what is longer than [`MAX_COMPARED`], samples. A file that is still being
//! copied is compared again each time it grew, so one that was seen while it was empty is looked at once more.

use super::Follower;
use super::find::Sight;
use super::mark::{HEAD, Mark, TAIL, tail_length};
use super::new::Likeness;
use super::track::Track;
use crate::base::Timestamp;
use crate::sys::tail::Tail;

/// How many bytes are compared in one look; what is beyond is sampled.
pub(super) const MAX_COMPARED: u64 = 64 << 20;

/// How many bytes are compared at once.
const CHUNK: usize = 64 << 10;

/// In how many places a file is sampled.
const SAMPLES: u64 = 32;

impl<S: Default + Clone> Follower<S> {
    /// Drops tracks of files that were empty, and are filled now with what was read elsewhere.
    pub(super) fn drop_copies(&mut self, sight: &Sight) {
        let is_empty = |track: &Track<S>| {
            let is_bare = track.position == 0 && track.mark.head_length == 0 && track.size == 0 && !track.is_packed;
            is_bare && !track.is_displaced && !track.is_ended
        };
        let filled: Vec<u64> = self
            .tracks
            .iter()
            .filter(|track| is_empty(track) && sight.find(track.id).is_some_and(|found| found.facts.size > 0))
            // What a family writes after a rotation may be what it wrote before.
            .filter(|track| self.tracks.iter().filter(|other| other.family == track.family).count() == 1)
            .map(|track| track.number)
            .collect();
        for number in filled {
            let Some(at) = self.tracks.iter().position(|track| track.number == number) else { continue };
            let Some(found) = sight.find(self.tracks[at].id) else { continue };
            let Ok(file) = Tail::open(&found.path) else { continue };
            let Some(facts) = file.facts().ok().filter(|facts| facts.id == found.facts.id) else { continue };
            let mut head = [0; HEAD];
            let n = file.read_at(&mut head, 0).unwrap_or(0);
            let mut new = Track::new(&found.path, self.tracks[at].family.clone(), facts, false, Timestamp::default());
            new.mark.grow(&head[..n]);
            if !matches!(self.likeness(&new, &head[..n], &file, facts, sight, false), Likeness::Other) {
                self.tracks.remove(at);
            }
        }
    }
}

/// Whether the `size` bytes of `file`, which begins with `head`, are the first ones of `other`. One that is shorter than what
/// says anything has to be all of the other. `left` is how many bytes may be compared.
pub(super) fn is_whole_in(head: &[u8], file: &Tail, size: u64, other: &Tail, left: &mut u64) -> bool {
    let is_long = size >= TAIL as u64;
    if size == 0 || other.facts().ok().is_none_or(|facts| facts.size < size || !is_long && facts.size != size) {
        return false;
    }
    let mut known = [0; HEAD];
    let n = head.len();
    if n == 0 || other.read_at(&mut known[..n], 0).ok() != Some(n) || known[..n] != *head {
        return false;
    }
    let mut buffers = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut is_same = |at: u64, most: usize| {
        let n = usize::try_from(size - at).unwrap_or(usize::MAX).min(most);
        let (a, b) = (&mut buffers.0[..n], &mut buffers.1[..n]);
        file.read_at(a, at).ok() == Some(n) && other.read_at(b, at).ok() == Some(n) && a == b
    };
    // Its end first: there, most of those differ that begin alike.
    if !is_same(size.saturating_sub(TAIL as u64), TAIL) {
        return false;
    }
    if size > *left {
        return (0..SAMPLES).all(|i| is_same(size / SAMPLES * i, TAIL));
    }
    *left -= size;
    (0..size).step_by(CHUNK).all(|at| is_same(at, CHUNK))
}

/// Puts what lies before `end` into the mark of a file.
pub(super) fn mark_end(mark: &mut Mark, file: &Tail, end: u64, is_packed: bool) {
    let mut tail = [0; TAIL];
    let tail = &mut tail[..tail_length(end)];
    if !is_packed && file.read_at(tail, end - tail.len() as u64).is_ok() {
        mark.move_to(tail);
    }
}

/// Whether a file of `size` bytes goes on behind the `end` that `mark` was made at.
pub(super) fn goes_on(mark: &Mark, head: &[u8], file: &Tail, end: u64, size: u64) -> bool {
    let mut tail = [0; TAIL];
    let tail = &mut tail[..tail_length(end)];
    let is_read = end > 0 && end < size && file.read_at(tail, end - tail.len() as u64).ok() == Some(tail.len());
    is_read && mark.head_length > 0 && mark.fits_head(head) && mark.fits_tail(tail)
}
