//! By what a file is known again: its first bytes, and the last ones before a position.
//!
//! An inode says too little: its number is used again, and a file that was emptied and written again keeps it. Two files
//! that begin alike for [`HEAD`] bytes and have the same [`TAIL`] bytes in front of the same position are taken for one; what
//! writes nothing but the same line without a time, in files of the same length, cannot be told apart by anybody.

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

/// How many of the first bytes of a file are compared.
pub(super) const HEAD: usize = 1024;

/// How many bytes before a position are compared.
pub(super) const TAIL: usize = 256;

/// What a file looked like when it was last read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// How many of its first bytes `head` is of; grows with the file up to [`HEAD`].
    #[serde(rename = "n")]
    pub head_length: u16,
    /// Of its first bytes.
    #[serde(rename = "h")]
    pub head: u64,
    /// Of the bytes before the position: as many as there are, at most [`TAIL`].
    #[serde(rename = "t")]
    pub tail: u64,
}

impl Mark {
    /// Whether a file begins so as this one did. `head` are its first bytes, as many as there are up to [`HEAD`].
    pub(super) fn fits_head(&self, head: &[u8]) -> bool {
        let length = usize::from(self.head_length);
        length == 0 || head.get(..length).is_some_and(|head| hash(head) == self.head)
    }

    /// Whether the bytes before the position are these. `before` are all of them that are compared.
    pub(super) fn fits_tail(&self, before: &[u8]) -> bool {
        before.is_empty() || hash(before) == self.tail
    }

    /// Takes in more of the first bytes. NULs at their end may be room that the writer has not filled yet.
    pub(super) fn grow(&mut self, head: &[u8]) {
        let head = head.get(..HEAD).unwrap_or(head);
        let length = head.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        if length > usize::from(self.head_length) {
            self.head_length = u16::try_from(length).unwrap_or(0);
            self.head = hash(&head[..length]);
        }
    }

    /// The position has moved to behind `before`.
    pub(super) fn move_to(&mut self, before: &[u8]) {
        let from = before.len().saturating_sub(TAIL);
        self.tail = if before.is_empty() { 0 } else { hash(&before[from..]) };
    }
}

/// How many bytes are compared before `position`.
pub(super) fn tail_length(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX).min(TAIL)
}

/// Enough of a hash that is kept on disk and that nobody can aim at.
fn hash(bytes: &[u8]) -> u64 {
    let digest = digest(&SHA256, bytes);
    digest.as_ref().iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_grows_with_its_file_and_stays_known() {
        let mut mark = Mark::default();
        assert!(mark.fits_head(b"anything"), "nothing is known of it");
        mark.grow(b"abc\n");
        assert!(mark.fits_head(b"abc\n") && mark.fits_head(b"abc\nmore") && !mark.fits_head(b"abc"));
        mark.grow(b"abc\nmore");
        assert!(!mark.fits_head(b"abc\n") && mark.fits_head(b"abc\nmore"));
        mark.grow(b"abc\n");
        assert_eq!(mark.head_length, 8, "it does not shrink");
        let long = vec![b'x'; 3 * HEAD];
        mark.grow(&long);
        assert_eq!(usize::from(mark.head_length), HEAD);
    }

    #[test]
    fn room_that_is_not_filled_yet_is_no_content() {
        let mut mark = Mark::default();
        mark.grow(b"a\n\0\0\0\0");
        assert_eq!(mark.head_length, 2);
        mark.grow(b"\0\0");
        assert!(mark.fits_head(b"a\nb\n\0\0"));
    }

    #[test]
    fn a_position_is_known_by_what_lies_before_it() {
        let mut mark = Mark::default();
        assert!(mark.fits_tail(b""), "nothing lies before the beginning");
        let text: Vec<u8> = (0..600u32).map(|i| (i % 251) as u8).collect();
        mark.move_to(&text);
        assert!(mark.fits_tail(&text[600 - TAIL..]) && !mark.fits_tail(&text[..TAIL]));
        mark.move_to(&text[..10]);
        assert!(mark.fits_tail(&text[..10]));
        assert_eq!((tail_length(10), tail_length(256), tail_length(u64::MAX)), (10, 256, 256));
    }
}
