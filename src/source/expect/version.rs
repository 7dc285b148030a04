//! Versions: numbers with dots between them, compared part by part.
//!
//! `3.11` is more than `3.9`, and `3.11` equals `3.11.0`. What stands behind a `-` names something before that version
//! (`2.0.0-rc1` is less than `2.0.0`); what stands behind a `+` does not count. A `v` in front is skipped.

use std::cmp::Ordering;

/// The most numbers of one version.
const MAX_PARTS: usize = 8;

/// A version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    numbers: Vec<u64>,
    /// What stands behind `-`, cut at its dots.
    before: Vec<String>,
}

impl Version {
    /// A version that is the whole of `text`.
    pub(super) fn parse(text: &str) -> Option<Version> {
        let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let text = text.split('+').next().unwrap_or_default();
        let (numbers, before) = match text.split_once('-') {
            Some((_, "")) => return None,
            Some((numbers, before)) => (numbers, before),
            None => (text, ""),
        };
        let mut parts = Vec::new();
        for part in numbers.split('.') {
            if parts.len() == MAX_PARTS || part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            parts.push(part.parse().ok()?);
        }
        while parts.len() > 1 && parts.last() == Some(&0) {
            parts.pop();
        }
        let before = if before.is_empty() { Vec::new() } else { before.split('.').map(str::to_string).collect() };
        Some(Version { numbers: parts, before })
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Version) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Version) -> Ordering {
        let n_parts = self.numbers.len().max(other.numbers.len());
        let part = |version: &Version, i: usize| version.numbers.get(i).copied().unwrap_or(0);
        (0..n_parts).map(|i| part(self, i).cmp(&part(other, i))).find(|o| o.is_ne()).unwrap_or_else(|| {
            match (self.before.is_empty(), other.before.is_empty()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => order(&self.before, &other.before),
            }
        })
    }
}

/// Parts that are numbers are compared as numbers and stand before words, as in Semantic Versioning 2.0.0, section 11.
fn order(a: &[String], b: &[String]) -> Ordering {
    let part = |a: &String, b: &String| match (a.parse::<u64>(), b.parse::<u64>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => a.cmp(b),
    };
    a.iter().zip(b).map(|(a, b)| part(a, b)).find(|o| o.is_ne()).unwrap_or_else(|| a.len().cmp(&b.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_rise_part_by_part() {
        let rising = [
            "0.9",
            "1",
            "1.0.1",
            "1.2",
            "1.10",
            "2.0.0-1",
            "2.0.0-alpha",
            "2.0.0-alpha.1",
            "2.0.0-alpha.beta",
            "2.0.0-rc.2",
            "2.0.0-rc.11",
            "2",
            "v3.11.4",
            "18446744073709551615.1",
        ];
        for (i, a) in rising.iter().enumerate() {
            for (j, b) in rising.iter().enumerate() {
                let (x, y) = (Version::parse(a).unwrap(), Version::parse(b).unwrap());
                assert_eq!(x.cmp(&y), i.cmp(&j), "{a} and {b}");
            }
        }
        assert_eq!(Version::parse("1.0.0+build.5"), Version::parse("1"));
        for text in ["", "v", "1.", ".1", "1..2", "1.x", "1-", "18446744073709551616", "1.1.1.1.1.1.1.1.1", "-1"] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
