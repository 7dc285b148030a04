//! Numbers, texts and headers as bytes.
//!
//! A number takes one to nine bytes: seven bits each, the lowest first, the highest bit says that more follow; the ninth
//! byte has eight. Signed numbers are folded (0, -1, 1, -2, …). A text is its length and its UTF-8.

use super::super::chunk::Corrupt;

/// The first bytes of every file.
pub(super) const MAGIC: [u8; 8] = *b"bsamples";

/// The format that this version writes, and the newest that it reads.
pub(super) const FORMAT: u16 = 1;

/// The bytes of a [`Header`].
pub(super) const HEADER: usize = 40;

/// Which of the two forms a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Log,
    Sealed,
}

/// The beginning of every file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub kind: Kind,
    pub number: u64,
    /// By how many milliseconds the wall clock was set right before.
    pub step: i64,
    /// When the log was begun, in milliseconds.
    pub begun: i64,
    /// Where its times come from.
    pub origin: Dated,
}

/// Where the times of a file come from, and so which clock steps move them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Dated {
    /// From the same boot as the file before.
    #[default]
    Same,
    /// It is the first of its boot: steps from here on say nothing about what is older, whose clock was another.
    Boot,
    /// From an import: no step moves it.
    Imported,
}

/// How far a file's times are moved by the steps of later ones. Asked for the files from the newest to the oldest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moves {
    by: i64,
}

impl Moves {
    /// With a step that no file holds yet.
    pub(super) fn pending(by: i64) -> Moves {
        Moves { by }
    }

    pub(super) fn next(&mut self, step: i64, origin: Dated) -> i64 {
        let mine = self.by;
        match origin {
            Dated::Same => self.by = self.by.saturating_add(step),
            Dated::Boot => self.by = 0,
            Dated::Imported => return 0,
        }
        mine
    }
}

/// Why a header cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// A newer version wrote it.
    Newer(u16),
    /// It is damaged.
    Damaged(&'static str),
}

impl Header {
    pub(super) fn bytes(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[10] = match self.kind {
            Kind::Log => 1,
            Kind::Sealed => 2,
        };
        bytes[11] = match self.origin {
            Dated::Same => 0,
            Dated::Boot => 1,
            Dated::Imported => 2,
        };
        bytes[12..20].copy_from_slice(&self.number.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.step.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.begun.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..36]);
        bytes[36..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Header, BadHeader> {
        let bytes: &[u8; HEADER] = match bytes.first_chunk() {
            Some(bytes) => bytes,
            None => return Err(BadHeader::Damaged("it ends within its header")),
        };
        if bytes[..8] != MAGIC {
            return Err(BadHeader::Damaged("it does not begin like a file of samples"));
        }
        let format = u16::from_le_bytes([bytes[8], bytes[9]]);
        if format > FORMAT {
            return Err(BadHeader::Newer(format));
        }
        if u32_at(bytes, 36) != crc32fast::hash(&bytes[..36]) {
            return Err(BadHeader::Damaged("its header does not match its checksum"));
        }
        let kind = match bytes[10] {
            1 => Kind::Log,
            2 => Kind::Sealed,
            _ => return Err(BadHeader::Damaged("its header names no kind of file")),
        };
        let number = u64_at(bytes, 12);
        let origin = match bytes[11] {
            0 => Dated::Same,
            1 => Dated::Boot,
            2 => Dated::Imported,
            _ => return Err(BadHeader::Damaged("its header names no kind of clock")),
        };
        Ok(Header { kind, number, step: u64_at(bytes, 20) as i64, begun: u64_at(bytes, 28) as i64, origin })
    }
}

/// The four bytes at `at` as a number; the caller knows that they are there.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// The eight bytes at `at` as a number; the caller knows that they are there.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_le_bytes)
}

pub(super) fn put(out: &mut Vec<u8>, mut number: u64) {
    for _ in 0..8 {
        if number < 0x80 {
            return out.push(number as u8);
        }
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(super) fn put_signed(out: &mut Vec<u8>, number: i64) {
    put(out, ((number << 1) ^ (number >> 63)) as u64);
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// A value whose last bits are zero, as those of whole numbers are, is short when its bits are turned round.
pub(super) fn put_value(out: &mut Vec<u8>, value: f64) {
    put(out, value.to_bits().reverse_bits());
}

/// Bytes that are read from their start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<'a> {
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Bytes<'a> {
        Bytes { rest }
    }

    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, Corrupt> {
        let (first, rest) = self.rest.split_first().ok_or(Corrupt("it ends within a number"))?;
        self.rest = rest;
        Ok(*first)
    }

    #[inline]
    pub(super) fn number(&mut self) -> Result<u64, Corrupt> {
        let mut number = 0u64;
        for i in 0..8 {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Ok(number | u64::from(self.byte()?) << 56)
    }

    pub(super) fn signed(&mut self) -> Result<i64, Corrupt> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    #[inline]
    pub(super) fn value(&mut self) -> Result<f64, Corrupt> {
        Ok(f64::from_bits(self.number()?.reverse_bits()))
    }

    /// A number that counts things of at least one byte each that are still to come.
    pub(super) fn count(&mut self) -> Result<usize, Corrupt> {
        let count = self.number()?;
        let left = self.rest.len() as u64;
        if count <= left { Ok(count as usize) } else { Err(Corrupt("it counts more than it holds")) }
    }

    /// A number of at most 32 bits.
    pub(super) fn small(&mut self) -> Result<u32, Corrupt> {
        u32::try_from(self.number()?).map_err(|_| Corrupt("a number is too large"))
    }

    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], Corrupt> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(Corrupt("it ends within a text"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn sized(&mut self) -> Result<&'a [u8], Corrupt> {
        let n = self.count()?;
        self.take(n)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Corrupt> {
        std::str::from_utf8(self.sized()?).map_err(|_| Corrupt("a text is not UTF-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(number in any::<u64>(), shift in 0u32..64) {
            let number = number >> shift;
            let mut out = Vec::new();
            put(&mut out, number);
            put_signed(&mut out, number as i64);
            put_value(&mut out, f64::from_bits(number));
            let mut bytes = Bytes::new(&out);
            prop_assert!(out.len() <= 27);
            prop_assert_eq!(bytes.number(), Ok(number));
            prop_assert_eq!(bytes.signed(), Ok(number as i64));
            prop_assert_eq!(bytes.value().map(f64::to_bits), Ok(number));
            prop_assert!(bytes.is_empty());
        }
    }

    #[test]
    fn whole_numbers_are_short() {
        let lengths: Vec<usize> = [0.0, 1.0, 1000.0, 1_000_000.0, 0.1]
            .map(|value| {
                let mut out = Vec::new();
                put_value(&mut out, value);
                out.len()
            })
            .to_vec();
        assert_eq!(lengths, [1, 2, 3, 4, 9]);
    }

    #[test]
    fn a_header_comes_back_and_a_newer_format_has_its_name() {
        let header = Header { kind: Kind::Sealed, number: 7, step: -5, begun: 1, origin: Dated::Boot };
        let mut bytes = header.bytes();
        assert_eq!(Header::parse(&bytes), Ok(header));
        bytes[8] = 2;
        assert_eq!(Header::parse(&bytes), Err(BadHeader::Newer(2)));
    }
}
