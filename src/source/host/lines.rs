//! What all rooms share that read files of the kernel: lines, words, numbers, and rows whose labels are made once.

use std::borrow::Cow;
use std::io::{Error, ErrorKind, Result};

use memchr::memchr;

/// The whole lines of `text`. A last one without its line break was cut off: a number in it may lack digits.
pub(super) fn lines(mut text: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (line, rest) = text.split_at(memchr(b'\n', text)?);
        text = &rest[1..];
        Some(line)
    })
}

/// The words of a line, between blanks and tabs.
pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|b| b.is_ascii_whitespace()).filter(|word| !word.is_empty())
}

/// The finite number that `word` writes, if it is one.
pub(super) fn number(word: &[u8]) -> Option<f64> {
    match whole(word) {
        Some(n) => Some(n as f64),
        None => std::str::from_utf8(word).ok()?.parse().ok().filter(|n: &f64| n.is_finite()),
    }
}

/// The whole number without sign that `word` writes, if it is one and fits.
pub(super) fn whole(word: &[u8]) -> Option<u64> {
    if word.is_empty() {
        return None;
    }
    word.iter().try_fold(0u64, |n, b| {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 { None } else { n.checked_mul(10)?.checked_add(u64::from(digit)) }
    })
}

/// The first word of a small file as a number.
pub(super) fn only(text: &[u8]) -> Option<f64> {
    words(text).next().and_then(number)
}

/// Bytes of the kernel as the text of a label; what is no UTF-8 is replaced.
pub(super) fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// An error about a file that could be read and not be understood.
pub(super) fn odd(path: &str, why: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("{path}: {why}"))
}

/// The error of a table with more rows than are looked at.
pub(super) fn too_many(path: &str, what: &str, most: usize) -> Result<()> {
    Err(odd(path, &format!("more than {most} {what}; those behind are passed over")))
}

/// What is known of the rows of a table, in the order in which the table had them last: a row that stands where it
/// stood costs one comparison.
#[derive(Debug)]
pub(super) struct Known<T> {
    rows: Vec<(Box<[u8]>, T)>,
}

impl<T> Known<T> {
    pub(super) fn new() -> Known<T> {
        Known { rows: Vec::new() }
    }

    /// What is known of row `i`, called `key`; made where it is new. Rows are asked for in order: 0, 1, 2, …
    pub(super) fn row(&mut self, i: usize, key: &[u8], make: impl FnOnce() -> T) -> &mut T {
        if self.rows.get(i).is_none_or(|(known, _)| **known != *key) {
            let after = self.rows.iter().skip(i).position(|(known, _)| **known == *key);
            let found = after.map(|n| i + n).unwrap_or_else(|| {
                self.rows.push((key.into(), make()));
                self.rows.len() - 1
            });
            self.rows.swap(i, found);
        }
        &mut self.rows[i].1
    }

    /// Forgets what the table does not have any more, after its `n` rows were asked for.
    pub(super) fn end(&mut self, n: usize) {
        self.rows.truncate(n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_or_refused() {
        for (word, wanted) in [
            ("0", Some(0.0)),
            ("18446744073709551615", Some(18446744073709551615.0)),
            ("18446744073709551616", Some(18446744073709551616.0)),
            ("-1", Some(-1.0)),
            ("0.25", Some(0.25)),
            ("", None),
            ("inf", None),
            ("NaN", None),
            ("1e999", None),
            ("12x", None),
            ("0x10", None),
        ] {
            assert_eq!(number(word.as_bytes()), wanted, "{word}");
        }
        assert_eq!(whole(b"18446744073709551616"), None);
        assert_eq!(whole(b"+1"), None);
        assert_eq!(number(b"\xff"), None);
    }

    #[test]
    fn a_line_that_was_cut_off_is_none() {
        assert_eq!(lines(b"a 1\n\nb 2\nc 12").collect::<Vec<_>>(), [&b"a 1"[..], b"", b"b 2"]);
        assert_eq!(lines(b"").count(), 0);
        assert_eq!(words(b"  a\t b ").collect::<Vec<_>>(), [b"a", b"b"]);
    }

    #[test]
    fn rows_keep_what_is_known_of_them_wherever_they_stand() {
        let mut known = Known::new();
        let mut made = 0;
        let mut table = |keys: &[&str]| {
            let mut values = Vec::new();
            for (i, key) in keys.iter().enumerate() {
                values.push(*known.row(i, key.as_bytes(), || {
                    made += 1;
                    made
                }));
            }
            known.end(keys.len());
            values
        };
        assert_eq!(table(&["a", "b", "c"]), [1, 2, 3]);
        assert_eq!(table(&["a", "c"]), [1, 3]);
        assert_eq!(table(&["d", "a", "c"]), [4, 1, 3]);
        assert_eq!(table(&["c", "b"]), [3, 5], "what was gone is made again");
        assert_eq!(table(&[]), Vec::<i32>::new());
    }
}
