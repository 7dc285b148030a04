//! The shape of a line's beginning: its bytes, where any digit stands for all of them.
//!
//! The lines of a program differ in the digits of their times and numbers, and then in what follows the level. Where a line
//! begins with the shape of one whose level was found, its level begins at the same byte, and nothing before it has to be
//! read again. Whoever has a shape learned sees to it that no other digit, and nothing behind it, could change that.

/// The longest shape, in bytes.
pub(super) const MAX_SHAPE: usize = BLOCK * N_BLOCKS;

/// How many bytes are compared in one step.
const BLOCK: usize = 16;

const N_BLOCKS: usize = 4;

/// After so many lines in a row that are of another shape, most are not learned any more.
const MAX_OTHERS: u32 = 16;

/// How many of those are passed over for one that is learned.
const N_PASSED: u32 = 32;

/// The shape of a line that was read before; at first none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shape {
    blocks: [Block; N_BLOCKS],
    len: usize,
    n_others: u32,
}

/// Which bytes are wanted: those of `text` where `same` is `0xff`, digits where `digit` is, and any where neither is.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    text: [u8; BLOCK],
    same: [u8; BLOCK],
    digit: [u8; BLOCK],
}

impl Shape {
    /// How long it is, in bytes; 0 where none is known.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether `line` begins with it. Of a short line that is not known.
    #[inline]
    pub(super) fn fits(&self, line: &[u8]) -> bool {
        let n_blocks = self.len.div_ceil(BLOCK);
        let (parts, _) = line.as_chunks::<BLOCK>();
        if self.len == 0 || parts.len() < n_blocks {
            return false;
        }
        // Without a branch for each byte, so that all of a block are compared in one step.
        let mut wrong = [0u8; BLOCK];
        for (block, part) in self.blocks.iter().zip(parts).take(n_blocks) {
            for n in 0..BLOCK {
                let no_digit = if part[n].wrapping_sub(b'0') > 9 { 0xff } else { 0 };
                wrong[n] |= (part[n] ^ block.text[n]) & block.same[n] | no_digit & block.digit[n];
            }
        }
        u128::from_ne_bytes(wrong) == 0
    }

    /// Learns that of the first `len` bytes of `line`, which does not fit. What is too long is not learned.
    pub(super) fn learn(&mut self, line: &[u8], len: usize) -> bool {
        self.n_others = self.n_others.wrapping_add(1);
        if len > MAX_SHAPE || len > line.len() || self.n_others > MAX_OTHERS && !self.n_others.is_multiple_of(N_PASSED)
        {
            return false;
        }
        self.blocks = [Block::default(); N_BLOCKS];
        for (n, b) in line[..len].iter().enumerate() {
            let (block, at) = (&mut self.blocks[n / BLOCK], n % BLOCK);
            block.text[at] = *b;
            let wanted = if b.is_ascii_digit() { &mut block.digit } else { &mut block.same };
            wanted[at] = 0xff;
        }
        self.len = len;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_fits_where_digits_are_digits_and_all_else_is_the_same() {
        let mut shape = Shape::default();
        assert!(!shape.fits(b"2025-03-12 10:00:00,001 INFO it is fine"));
        assert!(shape.learn(b"2025-03-12 10:00:00,001 INFO it", 24));
        for (line, fits) in [
            ("2025-03-12 10:00:00,001 INFO it is fine", true),
            ("9999-99-99 99:99:99,999 what else there is", true),
            ("2025-03-12 10:00:00,001 INFO it", false),
            ("2025-03-12 10:00:00,00: INFO it is fine", false),
            ("2025-03-12 10:00:00,00/ INFO it is fine", false),
            ("2025-03-12 10:00:00.001 INFO it is fine", false),
            ("2025-03-12 10:00:00,001  INFO it is fine", true),
            ("2025-03-12 10:00:00,0011 INFO it is fine", false),
        ] {
            assert_eq!(shape.fits(line.as_bytes()), fits, "{line}");
        }
    }

    #[test]
    fn every_byte_counts_up_to_the_longest_shape() {
        let line = [b'a'; MAX_SHAPE + 1];
        for len in 1..=MAX_SHAPE {
            let mut shape = Shape::default();
            assert!(shape.learn(&line, len));
            for at in 0..MAX_SHAPE {
                let mut other = line;
                other[at] = b'b';
                assert_eq!(shape.fits(&other), at >= len, "{at} of {len}");
            }
        }
        assert!(!Shape::default().learn(&line, MAX_SHAPE + 1));
    }

    #[test]
    fn where_no_line_is_like_the_last_few_are_learned() {
        let mut shape = Shape::default();
        let n_learned = (0..1000).filter(|_| shape.learn(b"2025-03-12 INFO", 11)).count();
        assert!((30..60).contains(&n_learned), "{n_learned}");
    }
}
