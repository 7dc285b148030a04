//! Columns of numbers as few bits: values as the XOR with the one before, times as the change of their distance.
//!
//! Enters: a column, whole or number by number. Leaves: bytes, and from bytes the same column, bit for bit: NaN payloads,
//! stale markers, infinities and falling times included. The codes are those of Gorilla (Pelkonen et al., VLDB 2015) with
//! widths for milliseconds. Bytes that no encoder wrote are an error, never a panic, and take no more room than the
//! count that the caller gives.

/// The most numbers in one chunk.
pub const MAX_COUNT: usize = 1 << 16;

/// Bytes that are no column of the stated count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Corrupt(pub &'static str);

/// The bits of a column's values.
///
/// # Panics
/// With more than [`MAX_COUNT`] values: that is a bug of the caller.
pub fn encode_values(values: &[f64]) -> Vec<u8> {
    assert!(values.len() <= MAX_COUNT, "a chunk holds at most {MAX_COUNT} values");
    let mut encoder = ValueEncoder::default();
    values.iter().for_each(|value| encoder.push(*value));
    encoder.finish()
}

/// The bits of a column's times.
///
/// # Panics
/// With more than [`MAX_COUNT`] times: that is a bug of the caller.
pub fn encode_times(times: &[i64]) -> Vec<u8> {
    assert!(times.len() <= MAX_COUNT, "a chunk holds at most {MAX_COUNT} times");
    let mut encoder = TimeEncoder::default();
    times.iter().for_each(|time| encoder.push(*time));
    encoder.finish()
}

/// Appends the `count` values in `bytes` to `out`.
///
/// # Errors
/// When the bytes are not exactly such a column; some values may have been appended then.
pub fn decode_values(bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), Corrupt> {
    let Some(mut reader) = BitReader::new(bytes, count)? else { return Ok(()) };
    out.reserve(count);
    let mut bits = reader.take(64);
    out.push(f64::from_bits(bits));
    let (mut width, mut trail) = (0, 0);
    for _ in 1..count {
        let word = reader.peek();
        if word >> 63 == 0 {
            reader.at += 1;
        } else if word >> 62 == 0b10 {
            if width == 0 {
                return Err(Corrupt("a value refers to a window that was never given"));
            }
            reader.at += 2;
            let change = if width <= 55 {
                reader.at += width as usize;
                (word << 2) >> (64 - width)
            } else {
                reader.take(width)
            };
            bits ^= change << trail;
        } else {
            let lead = (word >> 57) as u32 & 31;
            width = ((word >> 51) as u32 & 63) + 1;
            if lead + width > 64 {
                return Err(Corrupt("a value has more than 64 bits"));
            }
            trail = 64 - lead - width;
            reader.at += 13;
            bits ^= reader.take(width) << trail;
        }
        out.push(f64::from_bits(bits));
    }
    reader.end()
}

/// Appends the `count` times in `bytes` to `out`.
///
/// # Errors
/// When the bytes are not exactly such a column; some times may have been appended then.
pub fn decode_times(bytes: &[u8], count: usize, out: &mut Vec<i64>) -> Result<(), Corrupt> {
    let Some(mut reader) = BitReader::new(bytes, count)? else { return Ok(()) };
    out.reserve(count);
    let mut time = reader.take(64) as i64;
    out.push(time);
    let mut step = 0i64;
    for _ in 1..count {
        let word = reader.peek();
        let class = word.leading_ones().min(4) as usize;
        reader.at += (class + 1).min(4);
        if class > 0 {
            let width = WIDTHS[class];
            let raw = reader.take(width);
            step = step.wrapping_add(((raw << (64 - width)) as i64) >> (64 - width));
        }
        time = time.wrapping_add(step);
        out.push(time);
    }
    reader.end()
}

/// Bits of a change of distance after 0 to 4 ones: none, a few milliseconds of jitter, seconds, hours, anything.
const WIDTHS: [u32; 5] = [0, 8, 14, 24, 64];

/// A column of values that grows.
#[derive(Clone, Debug, Default)]
pub struct ValueEncoder {
    bits: BitWriter,
    count: usize,
    previous: u64,
    lead: u32,
    /// The bits in the current window; 0 before the first.
    width: u32,
}

impl ValueEncoder {
    /// How many values it holds.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Appends a value.
    pub fn push(&mut self, value: f64) {
        let bits = value.to_bits();
        if self.count == 0 {
            self.bits.put(bits, 64);
        } else {
            self.put(bits ^ self.previous);
        }
        self.previous = bits;
        self.count += 1;
    }

    fn put(&mut self, change: u64) {
        if change == 0 {
            return self.bits.put(0, 1);
        }
        let lead = change.leading_zeros().min(31);
        let width = 64 - lead - change.trailing_zeros();
        let trail = 64u32.saturating_sub(self.lead + self.width);
        let fits = self.width > 0 && lead >= self.lead && change.trailing_zeros() >= trail;
        // A window that is much too wide costs more than saying a new one.
        if fits && self.width <= width + 11 {
            self.bits.put(0b10, 2);
            return self.bits.put(change >> trail, self.width);
        }
        (self.lead, self.width) = (lead, width);
        self.bits.put((0b11 << 11) | (u64::from(lead) << 6) | u64::from(width - 1), 13);
        self.bits.put(change >> (64 - lead - width), width);
    }

    /// The bytes of all values; the encoder is empty afterwards.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(self).bits.finish()
    }
}

/// A column of times that grows.
#[derive(Clone, Debug, Default)]
pub struct TimeEncoder {
    bits: BitWriter,
    count: usize,
    previous: i64,
    step: i64,
}

impl TimeEncoder {
    /// How many times it holds.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Appends a time.
    pub fn push(&mut self, time: i64) {
        if self.count == 0 {
            self.bits.put(time as u64, 64);
        } else {
            let step = time.wrapping_sub(self.previous);
            self.put(step.wrapping_sub(self.step));
            self.step = step;
        }
        self.previous = time;
        self.count += 1;
    }

    fn put(&mut self, change: i64) {
        let fits = |width: u32| (change << (64 - width)) >> (64 - width) == change;
        let class = match change {
            0 => return self.bits.put(0, 1),
            _ => (1..4).find(|class| fits(WIDTHS[*class])).unwrap_or(4),
        };
        let prefix: [(u64, u32); 5] = [(0, 1), (0b10, 2), (0b110, 3), (0b1110, 4), (0b1111, 4)];
        self.bits.put(prefix[class].0, prefix[class].1);
        let width = WIDTHS[class];
        self.bits.put(change as u64 & (u64::MAX >> (64 - width)), width);
    }

    /// The bytes of all times; the encoder is empty afterwards.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(self).bits.finish()
    }
}

/// Bits, the highest first.
#[derive(Clone, Debug)]
struct BitWriter {
    bytes: Vec<u8>,
    buffer: u64,
    /// Bits of `buffer` that are not used yet; never 0.
    free: u32,
}

impl Default for BitWriter {
    fn default() -> BitWriter {
        BitWriter { bytes: Vec::new(), buffer: 0, free: 64 }
    }
}

impl BitWriter {
    /// Appends the lowest `n` bits of `value`, 1 to 64; all others are 0.
    fn put(&mut self, value: u64, n: u32) {
        if n < self.free {
            self.free -= n;
            self.buffer |= value << self.free;
            return;
        }
        let rest = n - self.free;
        self.bytes.extend_from_slice(&(self.buffer | value >> rest).to_be_bytes());
        self.free = 64 - rest;
        self.buffer = if rest == 0 { 0 } else { value << self.free };
    }

    fn finish(mut self) -> Vec<u8> {
        let used = (64 - self.free).div_ceil(8) as usize;
        self.bytes.extend_from_slice(&self.buffer.to_be_bytes()[..used]);
        self.bytes
    }
}

/// Reads bits; past the end there are zeros, which [`BitReader::end`] finds out.
struct BitReader<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl<'a> BitReader<'a> {
    /// None for the column without numbers.
    fn new(bytes: &'a [u8], count: usize) -> Result<Option<BitReader<'a>>, Corrupt> {
        match count {
            0 if bytes.is_empty() => Ok(None),
            1..=MAX_COUNT if bytes.len() >= 8 && count - 1 <= (bytes.len() - 8) * 8 => {
                Ok(Some(BitReader { bytes, at: 0 }))
            }
            _ => Err(Corrupt("the bytes cannot hold the stated count")),
        }
    }

    /// The next bits, the first one highest; at least 57 are good.
    #[inline(always)]
    fn peek(&self) -> u64 {
        let byte = self.at >> 3;
        let word = match self.bytes.get(byte..byte + 8) {
            Some(eight) => u64::from_be_bytes(eight.try_into().unwrap_or_default()),
            None => self.last(byte),
        };
        word << (self.at & 7)
    }

    #[cold]
    fn last(&self, byte: usize) -> u64 {
        let mut eight = [0; 8];
        let rest = self.bytes.get(byte..).unwrap_or_default();
        eight[..rest.len()].copy_from_slice(rest);
        u64::from_be_bytes(eight)
    }

    /// The next `n` bits, 1 to 64.
    #[inline(always)]
    fn take(&mut self, n: u32) -> u64 {
        if n <= 57 {
            let bits = self.peek() >> (64 - n);
            self.at += n as usize;
            return bits;
        }
        let high = self.peek() >> 32;
        self.at += 32;
        let low = self.peek() >> (96 - n);
        self.at += n as usize - 32;
        high << (n - 32) | low
    }

    /// Whether exactly all bytes were read.
    fn end(&self) -> Result<(), Corrupt> {
        let whole = self.at.div_ceil(8) == self.bytes.len();
        if whole && (self.at & 7 == 0 || self.peek() == 0) {
            Ok(())
        } else {
            Err(Corrupt("the bits do not end with the last number"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values_return(values: &[f64]) {
        let bytes = encode_values(values);
        let mut out = vec![7.0];
        decode_values(&bytes, values.len(), &mut out).unwrap();
        let bits: Vec<u64> = out[1..].iter().map(|v| v.to_bits()).collect();
        assert_eq!(bits, values.iter().map(|v| v.to_bits()).collect::<Vec<_>>());
    }

    fn times_return(times: &[i64]) {
        let bytes = encode_times(times);
        let mut out = vec![7];
        decode_times(&bytes, times.len(), &mut out).unwrap();
        assert_eq!(&out[1..], times);
    }

    /// Values as services give them and bits as nobody would.
    fn any_value() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            (0u32..100_000).prop_map(f64::from),
            Just(super::super::stale()),
            Just(f64::NAN),
            Just(-0.0),
            Just(0.0),
            Just(f64::INFINITY),
        ]
    }

    proptest! {
        #[test]
        fn any_values_come_back_bit_for_bit(values in prop::collection::vec(any_value(), 0..300)) {
            values_return(&values);
        }

        #[test]
        fn any_rising_times_come_back(start in any::<i64>(), steps in prop::collection::vec(
            prop_oneof![Just(5000u64), 4990u64..5010, 0u64..1 << 30, any::<u64>()], 0..300)) {
            let mut time = start;
            let rising: Vec<i64> = steps.iter().map_while(|step| {
                time = time.checked_add_unsigned(*step)?;
                Some(time)
            }).collect();
            times_return(&rising);
        }

        #[test]
        fn times_that_fall_come_back_too(times in prop::collection::vec(any::<i64>(), 0..300)) {
            times_return(&times);
        }

        #[test]
        fn no_bytes_make_a_decoder_panic_or_give_more_than_asked(
            bytes in prop::collection::vec(any::<u8>(), 0..200), count in prop_oneof![0usize..400, any::<usize>()]) {
            let (mut values, mut times) = (Vec::new(), Vec::new());
            if decode_values(&bytes, count, &mut values).is_ok() {
                prop_assert_eq!(values.len(), count);
            }
            if decode_times(&bytes, count, &mut times).is_ok() {
                prop_assert_eq!(times.len(), count);
            }
            prop_assert!(values.capacity() <= 2048 && times.capacity() <= 2048);
        }
    }

    #[test]
    fn even_looks_of_a_constant_take_two_bits_a_sample() {
        let times: Vec<i64> = (0..240).map(|i| 1_700_000_000_000 + i * 5000).collect();
        assert!(encode_times(&times).len() <= 8 + 3 + 30);
        assert!(encode_values(&[1.0; 240]).len() <= 8 + 30);
    }

    #[test]
    fn a_cut_or_longer_column_is_corrupt() {
        let bytes = encode_values(&[1.0, 2.0, 2.5, 1e300]);
        let mut out = Vec::new();
        for cut in 0..bytes.len() {
            assert!(decode_values(&bytes[..cut], 4, &mut out).is_err(), "{cut}");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(decode_values(&longer, 4, &mut out).is_err());
    }
}
