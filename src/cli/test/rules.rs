//! The rule files of a test, found and read.

use std::path::{Path, PathBuf};

use crate::base::Problems;
use crate::config::{self, Config, Files, Loaded, Options};
use crate::rule::prometheus::{self, GroupConfig, yaml};
use crate::sys::read;

/// The most rule files of a test.
const MAX_FILES: usize = 200;

/// The most entries of a folder that a pattern is held against.
const MAX_ENTRIES: usize = 100_000;

/// Rules of both kinds.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Groups of Prometheus, in the order of the files.
    pub groups: Vec<GroupConfig>,
    /// Configurations of backstop.
    pub own: Vec<Config>,
    /// What looks like a mistake, and is none.
    pub warnings: Vec<String>,
}

/// Reads the files that `patterns` mean, seen from `folder`, and the ready-made rules of `packs`.
///
/// # Errors
/// All mistakes in them, as people read them.
pub fn load(patterns: &[String], packs: &[&str], folder: &Path, options: &Options) -> Result<Rules, String> {
    let mut rules = Rules::default();
    let mut said = String::new();
    let mut paths: Vec<PathBuf> = Vec::new();
    for pattern in patterns {
        let found = glob(&folder.join(pattern));
        if found.is_empty() {
            rules.warnings.push(format!("no file matches {pattern:?}"));
        }
        for path in found {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
    }
    if paths.len() > MAX_FILES {
        return Err(format!("error: more than {MAX_FILES} rule files\n"));
    }
    for path in paths {
        let result = if is_toml(&path) { own(&path, &mut rules, options) } else { groups(&path, &mut rules) };
        said += &result.err().unwrap_or_default();
    }
    if !packs.is_empty() {
        said += &keep(config::of_packs(packs, options), &mut rules).err().unwrap_or_default();
    }
    if said.is_empty() { Ok(rules) } else { Err(said) }
}

/// Whether the name ends in `.toml`.
pub fn is_toml(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("toml"))
}

/// The text of a file.
///
/// # Errors
/// Why it cannot be read, as people read it.
pub fn text(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let why = match read::into(path, &mut bytes, yaml::MAX_FILE) {
        Err(error) => error.to_string(),
        Ok(()) => match String::from_utf8(bytes) {
            Ok(text) => return Ok(text),
            Err(_) => "it is no UTF-8 text".into(),
        },
    };
    Err(format!("error: {} cannot be read: {why}\n", path.display()))
}

/// Reads a text with `reader` (text, number of the file, problems); mistakes are rendered with their lines.
///
/// # Errors
/// The mistakes.
pub fn parsed<T>(
    path: &Path,
    text: String,
    reader: impl FnOnce(&mut Files, usize, &mut Problems) -> Option<T>,
) -> Result<T, String> {
    let (mut files, mut problems) = (Files::default(), Problems::default());
    let number = files.add(&path.display().to_string(), Some(path.to_path_buf()), text);
    let value = reader(&mut files, number, &mut problems);
    match value.filter(|_| problems.errors() == 0) {
        Some(value) => Ok(value),
        None => Err(config::diagnose::render(&problems, &files, false)),
    }
}

fn groups(path: &Path, rules: &mut Rules) -> Result<(), String> {
    let text = text(path)?;
    let file = parsed(path, text, |files, number, problems| {
        prometheus::read(&files.list[number].text.clone(), number, problems)
    })?;
    rules.groups.extend(file.groups);
    Ok(())
}

fn own(path: &Path, rules: &mut Rules, options: &Options) -> Result<(), String> {
    keep(config::load(&Options { path: Some(path.to_path_buf()), ..options.clone() }), rules)
}

fn keep(loaded: Loaded, rules: &mut Rules) -> Result<(), String> {
    match loaded.config {
        Some(config) => rules.own.push(config),
        None => return Err(loaded.render(false)),
    }
    Ok(())
}

/// The files that a pattern means, sorted: `*`, `?` and `[…]` within one name, as in Go's `filepath.Glob`.
fn glob(pattern: &Path) -> Vec<PathBuf> {
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
