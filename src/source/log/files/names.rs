//! What those who rotate call the files that they put aside.
//!
//! `app.log.1`, `app.log.2.gz` (the higher, the older), `app.log-20251121`, `app-20251121.log.gz`, `app.log.2025-11-21`
//! (the lower, the older), `app.log.old`. A name alone proves nothing; it says where to look and what comes after what.

use std::cmp::Ordering;

/// The endings of packed files that are known; only the first can be read.
const PACKED: [&[u8]; 6] = [b".gz", b".xz", b".bz2", b".zst", b".lz4", b".Z"];

/// From this number on it is a date.
const MAX_INDEX: u64 = 99_999;

/// The mark that somebody who rotates put on a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// A number that grows with each rotation.
    Index(u64),
    /// A date or a time.
    Date(Vec<u8>),
}

impl Tag {
    /// Which of two was put aside first; none where the names do not say.
    pub(super) fn age(&self, other: &Tag) -> Option<Ordering> {
        match (self, other) {
            (Tag::Index(a), Tag::Index(b)) => Some(b.cmp(a)),
            (Tag::Date(a), Tag::Date(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

/// The name without the ending of what packs; that ending.
pub(super) fn unpacked(name: &[u8]) -> (&[u8], Option<&'static [u8]>) {
    let ending = PACKED.into_iter().find(|ending| name.len() > ending.len() && name.ends_with(ending));
    (&name[..name.len() - ending.map_or(0, <[u8]>::len)], ending)
}

/// Whether a file of this name is packed so that it can be read.
pub(super) fn is_packed(name: &[u8]) -> bool {
    unpacked(name).1 == Some(PACKED[0])
}

/// With what the names of the files begin among which those lie that `name` was rotated to.
pub(super) fn stem(name: &[u8]) -> &[u8] {
    let from = name.iter().take_while(|byte| **byte == b'.').count();
    let end = name[from..].iter().position(|byte| *byte == b'.').map_or(name.len(), |dot| from + dot);
    if end == from { name } else { &name[..end] }
}

/// The mark on `name`, if it is what `home` is called when it was rotated.
pub(super) fn tag(home: &[u8], name: &[u8]) -> Option<Tag> {
    let (name, packed) = unpacked(name);
    if name == home {
        // `app.log.gz`: as old as the only one there is.
        return packed.map(|_| Tag::Index(0));
    }
    if let Some(rest) = name.strip_prefix(home) {
        return parse(rest);
    }
    // The mark may stand before the extension.
    let dot = home.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0)?;
    let (before, extension) = home.split_at(dot);
    parse(name.strip_prefix(before)?.strip_suffix(extension)?)
}

fn parse(rest: &[u8]) -> Option<Tag> {
    match rest {
        b".old" | b".prev" | b"~" => return Some(Tag::Index(1)),
        _ => {}
    }
    let rest = rest.strip_prefix(b".").or_else(|| rest.strip_prefix(b"-")).or_else(|| rest.strip_prefix(b"_"))?;
    let is_date = |byte: &u8| byte.is_ascii_digit() || b"-_.:T".contains(byte);
    if !rest.first()?.is_ascii_digit() || !rest.iter().all(is_date) {
        return None;
    }
    let number = std::str::from_utf8(rest).ok().and_then(|text| text.parse().ok());
    Some(number.filter(|number| *number <= MAX_INDEX).map_or_else(|| Tag::Date(rest.to_vec()), Tag::Index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_rotation_gives_are_known() {
        let date = |text: &str| Some(Tag::Date(text.as_bytes().to_vec()));
        for (home, name, wanted) in [
            ("app.log", "app.log.1", Some(Tag::Index(1))),
            ("app.log", "app.log.12.gz", Some(Tag::Index(12))),
            ("app.log", "app.log-20251121", date("20251121")),
            ("app.log", "app.log-20251121-1763740000.gz", date("20251121-1763740000")),
            ("app.log", "app-20251121.log", date("20251121")),
            ("app.log", "app.1.log.gz", Some(Tag::Index(1))),
            ("app.log", "app.log.2025-11-21T10:00:00", date("2025-11-21T10:00:00")),
            ("app.log", "app.log.old", Some(Tag::Index(1))),
            ("app.log", "app.log.gz", Some(Tag::Index(0))),
            ("messages", "messages.1", Some(Tag::Index(1))),
            ("messages", "messages-20251121", date("20251121")),
            ("app.log", "app.log", None),
            ("app.log", "app.log.bak", None),
            ("app.log", "app.log1", None),
            ("app.log", "app2.log", None),
            ("app.log", "app.log.", None),
            ("app.log", "apple.log.1", None),
            (".log", ".log.1", Some(Tag::Index(1))),
        ] {
            assert_eq!(tag(home.as_bytes(), name.as_bytes()), wanted, "{home} {name}");
        }
    }

    #[test]
    fn names_say_what_is_older() {
        let age = |a: &str, b: &str| {
            let tag = |name: &str| tag(b"app.log", name.as_bytes()).unwrap();
            tag(a).age(&tag(b))
        };
        assert_eq!(age("app.log.2.gz", "app.log.1"), Some(Ordering::Less));
        assert_eq!(age("app.log-20251121", "app.log-20251122"), Some(Ordering::Less));
        assert_eq!(age("app.log-20251121", "app.log.1"), None);
    }

    #[test]
    fn stems_are_what_all_those_names_begin_with() {
        for (name, wanted) in [("app.log", "app"), ("messages", "messages"), (".hidden.log", ".hidden"), ("..", "..")] {
            assert_eq!(stem(name.as_bytes()), wanted.as_bytes(), "{name}");
        }
        assert!(is_packed(b"a.gz") && !is_packed(b".gz") && !is_packed(b"a.xz"));
    }
}
