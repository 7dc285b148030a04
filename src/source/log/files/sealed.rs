//! Files that existed when watching began and may not be read yet: what they held then says nothing, whenever they open.
//!
//! Enters: files that were refused when others were begun at their end. Leaves: from where on one is read when it opens. A file
//! that shrinks meanwhile was written anew, and one that is gone is forgotten.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::Follower;
use super::find::Sight;
use crate::sys::tail::FileId;

/// The most files that are remembered.
const MAX_SEALED: usize = 4096;

/// In how many whole looks one must be missing to be gone: one look may pass a file that is just being renamed.
const LOOKS: u8 = 2;

/// A file that may not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    /// Where it was last seen.
    pub path: PathBuf,
    /// How many of its bytes were there when watching began.
    pub size: u64,
    /// In how many whole looks in a row it was not seen.
    pub n_missed: u8,
}

/// All of them.
pub(super) type AllSealed = HashMap<FileId, Sealed>;

impl<S: Default + Clone> Follower<S> {
    /// Remembers that `size` bytes of a file that is refused are old.
    pub(super) fn seal(&mut self, id: FileId, path: &Path, size: u64) {
        if size > 0 && (self.sealed.len() < MAX_SEALED || self.sealed.contains_key(&id)) {
            self.sealed.entry(id).or_insert_with(|| Sealed { path: path.to_owned(), size, n_missed: 0 });
        }
    }

    /// Notes what became of them in a whole look.
    pub(super) fn note_sealed(&mut self, sight: &Sight) {
        let (beyond, is_dim) = (&self.beyond, sight.is_dim);
        self.sealed.retain(|id, sealed| {
            let Some(found) = sight.find(*id) else {
                sealed.n_missed += u8::from(!is_dim && !beyond.contains_key(id));
                return sealed.n_missed < LOOKS;
            };
            sealed.n_missed = 0;
            if found.path != sealed.path {
                sealed.path.clone_from(&found.path);
            }
            found.facts.size >= sealed.size
        });
    }
}
