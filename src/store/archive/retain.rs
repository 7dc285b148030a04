//! Which files go: those whose newest sample is too old, and the oldest while all together are too large.

use std::collections::BTreeMap;
use std::path::Path;

use super::place::{self, LOG, SEALED};
use super::sealed;
use super::wire::{Dated, Kind, Moves};
use super::write::Options;
use crate::base::Timestamp;
use crate::sys::blocks::{self, Blocks};
use crate::sys::files::FileError;

/// What a round removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// Files removed.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What stays, in bytes, the growing log included.
    pub left: u64,
    /// How many files stay.
    pub files_left: u64,
    /// Files that went because of the size and not of their age.
    pub for_size: u64,
}

/// What is known of a file; a sealed one never changes.
#[derive(Clone, Copy, Debug)]
struct Known {
    bytes: u64,
    step: i64,
    origin: Dated,
    /// The newest sample in the file's own times; none where it is not known.
    newest: Option<i64>,
}

/// The files by number.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    known: BTreeMap<u64, Known>,
}

/// A file that may go.
struct Candidate {
    number: u64,
    bytes: u64,
    /// Whether its header says how what stands before it is moved.
    moves_others: bool,
    /// In times of now; none where neither it nor a later file says.
    newest: Option<i64>,
}

impl Catalog {
    pub(super) fn retain(
        &mut self,
        folder: &Path,
        live: Option<u64>,
        pending_step: i64,
        options: &Options,
        now: Timestamp,
    ) -> Result<Retained, FileError> {
        let mut candidates = self.candidates(folder, live, pending_step)?;
        let live_bytes = live.and_then(|live| self.known.get(&live)).map_or(0, |known| known.bytes);
        let mut retained = Retained { left: live_bytes, ..Retained::default() };
        retained.left += candidates.iter().map(|candidate| candidate.bytes).sum::<u64>();
        let oldest = now - options.keep;
        loop {
            let is_too_large = retained.left > options.max_bytes;
            let is_old = |c: &Candidate| c.newest.is_some_and(|newest| newest < oldest.0);
            // Such a file goes only when it is the first.
            let first = candidates.first().map(|candidate| candidate.number);
            let may_go = |c: &Candidate| !c.moves_others || Some(c.number) == first;
            let chosen = candidates
                .iter()
                .enumerate()
                .filter(|(_, c)| may_go(c) && (is_too_large || is_old(c)))
                .min_by_key(|(_, c)| (c.newest.unwrap_or(i64::MAX), c.number))
                .map(|(i, _)| i);
            let Some(i) = chosen else { break };
            let gone = candidates.remove(i);
            for suffix in [LOG, SEALED] {
                blocks::remove(&place::path(folder, gone.number, suffix))?;
            }
            self.known.remove(&gone.number);
            retained.files += 1;
            retained.bytes += gone.bytes;
            retained.left -= gone.bytes;
            retained.for_size += u64::from(!is_old(&gone));
        }
        retained.files_left = candidates.len() as u64 + u64::from(live.is_some());
        Ok(retained)
    }

    /// All files but the growing log, oldest number first.
    fn candidates(&mut self, folder: &Path, live: Option<u64>, pending: i64) -> Result<Vec<Candidate>, FileError> {
        let forms = place::list(folder)?;
        self.known.retain(|number, _| forms.get(number).is_some_and(|forms| forms.log || forms.sealed));
        let (mut candidates, mut moves, mut later) = (Vec::new(), Moves::pending(pending), None);
        for (number, forms) in forms.iter().rev().filter(|(_, forms)| forms.log || forms.sealed) {
            let known = match self.known.get(number) {
                Some(known) if known.newest.is_some() => *known,
                _ => look(folder, *number, forms.sealed),
            };
            self.known.insert(*number, known);
            // A file that does not say its times is as old as the one after it, so it goes before that one.
            let shift = moves.next(known.step, known.origin);
            let newest = known.newest.map(|newest| newest.saturating_add(shift)).or(later);
            later = newest.or(later);
            if Some(*number) != live {
                let moves_others = known.step != 0 || known.origin == Dated::Boot;
                candidates.push(Candidate { number: *number, bytes: known.bytes, moves_others, newest });
            }
        }
        candidates.reverse();
        Ok(candidates)
    }
}

fn look(folder: &Path, number: u64, is_sealed: bool) -> Known {
    let mut known = Known { bytes: 0, step: 0, origin: Dated::Same, newest: None };
    for (suffix, kind) in [(LOG, Kind::Log), (SEALED, Kind::Sealed)] {
        let Ok(file) = Blocks::open(&place::path(folder, number, suffix)) else { continue };
        known.bytes += file.length().unwrap_or(0);
        let Ok(header) = place::header(&file, number, kind) else { continue };
        (known.step, known.origin) = (header.step, header.origin);
        if is_sealed && kind == Kind::Sealed {
            known.newest = sealed::footer(&file).ok().map(|footer| footer.max);
        }
    }
    known
}
