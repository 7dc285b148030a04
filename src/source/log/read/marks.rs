//! A set of patterns, by their number.

use super::MAX_COUNTED;

const WORDS: usize = MAX_COUNTED / 64;

/// Which patterns are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks([u64; WORDS]);

impl Marks {
    /// Adds `n`, and says whether it is new. What is beyond the bound is never in.
    pub(super) fn add(&mut self, n: usize) -> bool {
        let Some(word) = self.0.get_mut(n / 64) else { return false };
        let bit = 1u64 << (n % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    /// Those that are in, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..MAX_COUNTED).filter(|n| self.0[n / 64] & 1 << (n % 64) != 0)
    }
}

impl FromIterator<usize> for Marks {
    fn from_iter<I: IntoIterator<Item = usize>>(all: I) -> Marks {
        let mut marks = Marks::default();
        for n in all {
            marks.add(n);
        }
        marks
    }
}
