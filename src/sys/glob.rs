//! Files by pattern: `rules/*.yml`.
//!
//! Enters: a path whose names may hold `*`, `?` and `[…]`. Leaves: the paths that exist and match, sorted. A folder that cannot be
//! read, or of which the pattern would need more than its first 100,000 entries, gives what it gave.

use std::path::{Path, PathBuf};

/// The most entries of a folder that a pattern is held against.
const MAX_ENTRIES: usize = 100_000;

/// The files that a pattern means, sorted: `*`, `?` and `[…]` within one name, as in Go's `filepath.Glob`.
pub fn paths(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let name = part.as_os_str().to_string_lossy().into_owned();
        let is_pattern = name.contains(['*', '?', '[', '\\']);
        if !is_pattern {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        }
        let mut next = Vec::new();
        for folder in &found {
            let list = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            let Ok(entries) = std::fs::read_dir(list) else { continue };
            for entry in entries.flatten().take(MAX_ENTRIES) {
                let entry = entry.file_name();
                if matches(name.as_bytes(), entry.to_string_lossy().as_bytes()) {
                    next.push(folder.join(entry));
                }
            }
        }
        next.sort();
        found = next;
    }
    found.retain(|path| path.exists());
    found
}

/// Whether a name matches a pattern. Of several ways to match a `*` only the newest is remembered, which is enough.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p + 1, n));
            p += 1;
        } else if let Some(length) = one(&pattern[p..], name[n]) {
            p += length;
            n += 1;
        } else if let Some((after, at)) = star {
            (p, n) = (after, at + 1);
            star = Some((after, at + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

/// How long the part of the pattern is that matches this byte.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern.first()? {
        b'?' => Some(1),
        b'\\' => (pattern.get(1) == Some(&byte)).then_some(2),
        b'[' => {
            let close = 1 + pattern[1..].iter().skip(1).position(|b| *b == b']')? + 1;
            let inside = &pattern[1..close];
            let (negated, inside) = match inside.first() {
                Some(b'^') => (true, &inside[1..]),
                _ => (false, inside),
            };
            let mut i = 0;
            let mut hit = false;
            while i < inside.len() {
                if i + 2 < inside.len() && inside[i + 1] == b'-' {
                    hit |= (inside[i]..=inside[i + 2]).contains(&byte);
                    i += 3;
                } else {
                    hit |= inside[i] == byte;
                    i += 1;
                }
            }
            (hit != negated).then_some(close + 1)
        }
        literal => (literal == byte).then_some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_within_a_name() {
        for (pattern, name, expected) in [
            ("*.yml", "a.yml", true),
            ("*.yml", "a.yaml", false),
            ("a*b*c", "aXbYbZc", true),
            ("a?c", "abc", true),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("\\*", "*", true),
            ("*", "", true),
            ("[", "[", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
