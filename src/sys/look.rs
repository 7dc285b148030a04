//! What is known of a file without opening it, and the newest of those that a pattern means.
//!
//! Enters: a path, or a [`Pattern`]. Leaves: [`Seen`], or why nothing could be seen. Symbolic links are followed to
//! what they point to; nothing is opened but folders, so a FIFO or a device is never touched. All of this can hang
//! where the file system does: callers do it apart ([`Apart`](super::apart::Apart)).

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use regex::bytes::Regex;
use rustix::fs::{Access, AtFlags};

use super::clock::Stopwatch;
use super::files::first_denied;
use super::users;
use crate::base::{Span, Timestamp};

/// The most entries of folders that one look goes through.
pub const MAX_ENTRIES: usize = 100_000;

/// How many folders deep `**` looks.
pub const MAX_DEPTH: usize = 32;

/// What is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which file this is: the path as given, or the newest of the pattern.
    pub path: PathBuf,
    /// When it was last modified.
    pub modified: Timestamp,
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Its size in bytes; none for what is no regular file.
    pub size: Option<u64>,
    /// The lowest twelve bits of its mode.
    pub mode: u32,
    /// Whether this process may write to it, as access(2) says for the effective user: read-only mounts and ACLs count.
    pub is_writable: bool,
}

/// Why nothing could be seen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Blind {
    /// Something on the way refuses.
    #[error("{who} may not look into {}", folder.display())]
    Denied {
        /// What refuses.
        folder: PathBuf,
        /// The user that was refused.
        who: String,
    },
    /// More entries than one look goes through.
    #[error("more than {MAX_ENTRIES} entries, in {}", folder.display())]
    TooMany {
        /// The folder in which the look ended.
        folder: PathBuf,
    },
    /// Folders lie deeper in each other than `**` looks.
    #[error("more than {MAX_DEPTH} folders deep, in {}", folder.display())]
    TooDeep {
        /// The folder in which the look ended.
        folder: PathBuf,
    },
    /// It took longer than allowed.
    #[error("the folders could not be read within {0}")]
    TooLong(Span),
    /// The system said something else.
    #[error("{}: {why}", path.display())]
    Io {
        /// Of which file.
        path: PathBuf,
        /// What it said.
        why: String,
    },
}

/// Looks at the file at `path`; nothing where there is none, and where a symbolic link points to nothing.
///
/// # Errors
/// When it cannot be said whether it is there.
pub fn at(path: &Path) -> Result<Option<Seen>, Blind> {
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) => return absent(path, &error).map(|()| None),
    };
    let nanos = i64::from(i32::try_from(meta.mtime_nsec()).unwrap_or(0));
    let modified = meta.mtime().checked_mul(1000).map_or(i64::MAX, |ms| ms.saturating_add(nanos / 1_000_000));
    let is_writable = rustix::fs::accessat(rustix::fs::CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok();
    Ok(Some(Seen {
        path: path.to_owned(),
        modified: Timestamp(modified),
        is_folder: meta.is_dir(),
        size: meta.is_file().then_some(meta.len()),
        mode: meta.mode() & 0o7777,
        is_writable,
    }))
}

/// Nothing, where the error says that nothing is there.
fn absent(path: &Path, error: &io::Error) -> Result<(), Blind> {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(()),
        io::ErrorKind::PermissionDenied => {
            let folder = first_denied(path).map_or_else(|| path.to_owned(), |denied| denied.path);
            Err(Blind::Denied { folder, who: users::current() })
        }
        _ => Err(Blind::Io { path: path.to_owned(), why: error.to_string() }),
    }
}

/// A path with wildcards.
#[derive(Clone, Debug)]
pub struct Pattern {
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Name(String),
    /// Some wildcard; whether a name that begins with a dot is meant too.
    Like(Regex, bool),
    /// `**`
    Folders,
}

impl Pattern {
    /// Reads an absolute path in which `*` stands for any characters but `/`, `?` for one, `[a-z]` for one of some
    /// (`[!a-z]` for another), and `**`, as a whole part, for any number of folders. As in a shell, a name that begins
    /// with a dot is only meant where the part begins with one too. A backslash takes the meaning from what follows.
    ///
    /// # Errors
    /// What is wrong with it, as a fragment.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(format!("`{text}` does not begin with `/`"));
        };
        let mut parts = Vec::new();
        for part in rest.split('/') {
            match part {
                "" => return Err("a part of the path is empty".into()),
                "." | ".." => return Err(format!("`{part}` is no part of a pattern")),
                "**" if matches!(parts.last(), Some(Part::Folders)) => return Err("`**` stands beside `**`".into()),
                "**" => parts.push(Part::Folders),
                part if part.contains("**") => return Err("`**` is a part of its own: /backup/**/*.gz".into()),
                part if part.contains(['*', '?', '[', '\\']) => {
                    parts.push(Part::Like(expression(part)?, part.starts_with('.')));
                }
                part => parts.push(Part::Name(part.to_string())),
            }
        }
        if matches!(parts.last(), Some(Part::Folders)) {
            return Err("`**` means folders: end with the name of a file, as in /backup/**/*.gz".into());
        }
        if parts.iter().filter(|part| matches!(part, Part::Folders)).count() > 1 {
            return Err("a pattern has one `**` at most".into());
        }
        Ok(Pattern { parts })
    }

    /// The folder that all of it lies in.
    pub fn folder(&self) -> PathBuf {
        let names = self.parts.iter().map_while(|part| match part {
            Part::Name(name) => Some(name),
            _ => None,
        });
        let folder: PathBuf = std::iter::once("/").chain(names.map(String::as_str)).collect();
        folder
    }

    /// The newest file that it means; of two of the same time the one whose path is the later in order. Folders are not
    /// meant. Nothing where there is none.
    ///
    /// # Errors
    /// When not everything could be seen: what could not may be the newest.
    pub fn newest(&self, limit: Span) -> Result<Option<Seen>, Blind> {
        let mut walk = Walk { n_entries: 0, limit, watch: Stopwatch::start(), newest: None };
        walk.enter_parts(Path::new("/"), &self.parts, 0)?;
        Ok(walk.newest)
    }
}

/// Whether it is a real folder: a link may lead back up, and is not gone into.
///
/// # Errors
/// When that cannot be said: the newest might be in there.
fn is_folder(path: &Path) -> Result<bool, Blind> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) => Ok(meta.is_dir()),
        Err(error) => absent(path, &error).map(|()| false),
    }
}

/// The regular expression of one part.
fn expression(part: &str) -> Result<Regex, String> {
    let mut text = String::from(r"(?s-u)\A");
    let mut chars = part.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' => text.push_str(".*"),
            // One character, which is several bytes beyond ASCII.
            '?' => text.push_str(r"(?:[\x00-\x7f\x80-\xbf\xf8-\xff]|[\xc0-\xf7][\x80-\xbf]*)"),
            '[' => text.push_str(&class(&mut chars).ok_or_else(|| format!("the bracket in `{part}` does not end"))?),
            '\\' => match chars.next() {
                Some(next) => text.push_str(&regex::escape(&next.to_string())),
                None => return Err(format!("nothing follows the backslash in `{part}`")),
            },
            c => text.push_str(&regex::escape(&c.to_string())),
        }
    }
    text.push_str(r"\z");
    regex::bytes::RegexBuilder::new(&text)
        .size_limit(1 << 20)
        .build()
        .map_err(|_| format!("`{part}` is no pattern that can be matched"))
}

/// A class behind its `[`.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<String> {
    let is_not = chars.next_if(|c| matches!(c, '!' | '^')).is_some();
    let mut text = String::from(if is_not { "(?u:[^" } else { "(?u:[" });
    let mut is_first = true;
    loop {
        match chars.next()? {
            ']' if !is_first => break,
            '-' => text.push('-'),
            '\\' => text.push_str(&escaped(chars.next()?)),
            c => text.push_str(&escaped(c)),
        }
        is_first = false;
    }
    text.push_str("])");
    Some(text)
}

fn escaped(c: char) -> String {
    if c.is_ascii_punctuation() { format!("\\{c}") } else { c.to_string() }
}

struct Walk {
    n_entries: usize,
    limit: Span,
    watch: Stopwatch,
    newest: Option<Seen>,
}

impl Walk {
    /// What `parts` mean below `folder`.
    fn enter_parts(&mut self, folder: &Path, parts: &[Part], depth: usize) -> Result<(), Blind> {
        let Some((part, rest)) = parts.split_first() else {
            return Ok(());
        };
        match part {
            Part::Name(name) => self.step(&folder.join(name), rest, depth),
            Part::Like(expression, with_dots) => {
                for entry in self.entries(folder)? {
                    let name = entry.as_os_str().as_bytes();
                    let is_meant = (*with_dots || !name.starts_with(b".")) && expression.is_match(name);
                    if is_meant {
                        self.step(&folder.join(&entry), rest, depth)?;
                    }
                }
                Ok(())
            }
            Part::Folders => {
                self.enter_parts(folder, rest, depth)?;
                for entry in self.entries(folder)? {
                    let path = folder.join(&entry);
                    if entry.as_os_str().as_bytes().starts_with(b".") || !is_folder(&path)? {
                        continue;
                    }
                    if depth == MAX_DEPTH {
                        return Err(Blind::TooDeep { folder: folder.to_owned() });
                    }
                    self.enter_parts(&path, parts, depth + 1)?;
                }
                Ok(())
            }
        }
    }

    /// Goes on at `path`, or takes it where it is the end.
    fn step(&mut self, path: &Path, rest: &[Part], depth: usize) -> Result<(), Blind> {
        if !rest.is_empty() {
            return self.enter_parts(path, rest, depth);
        }
        self.check_time()?;
        let Some(seen) = at(path)? else { return Ok(()) };
        let is_newer = self.newest.as_ref().is_none_or(|n| (n.modified, &n.path) < (seen.modified, &seen.path));
        if is_newer && !seen.is_folder {
            self.newest = Some(seen);
        }
        Ok(())
    }

    /// The names in a folder; none where it is no folder.
    fn entries(&mut self, folder: &Path) -> Result<Vec<PathBuf>, Blind> {
        let listing = match std::fs::read_dir(folder) {
            Ok(listing) => listing,
            Err(error) => return absent(folder, &error).map(|()| Vec::new()),
        };
        let mut names = Vec::new();
        for entry in listing {
            self.n_entries += 1;
            if self.n_entries > MAX_ENTRIES {
                return Err(Blind::TooMany { folder: folder.to_owned() });
            }
            self.check_time()?;
            match entry {
                Ok(entry) => names.push(PathBuf::from(entry.file_name())),
                Err(error) => return Err(Blind::Io { path: folder.to_owned(), why: error.to_string() }),
            }
        }
        Ok(names)
    }

    fn check_time(&self) -> Result<(), Blind> {
        if self.watch.elapsed() > self.limit { Err(Blind::TooLong(self.limit)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn like(pattern: &str, name: &str) -> bool {
        match Pattern::parse(&format!("/{pattern}")).unwrap().parts.as_slice() {
            [Part::Like(expression, _)] => expression.is_match(name.as_bytes()),
            [Part::Name(written)] => written == name,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn wildcards_mean_what_they_mean_in_a_shell() {
        for (pattern, good, bad) in [
            ("*.sql", "dump.sql", "dump.sql.gz"),
            ("dump-????.sql", "dump-2025.sql", "dump-25.sql"),
            ("dump-[0-9][!a-c].sql", "dump-1d.sql", "dump-1a.sql"),
            ("?", "ü", "üü"),
            ("[ä-ü]", "ö", "o"),
            ("[]]x", "]x", "x"),
            ("a.b*", "a.bc", "aXbc"),
            ("\\*", "*", "x"),
            ("*", "", "/"),
        ] {
            assert!(like(pattern, good) || good.is_empty(), "{pattern} {good}");
            assert!(!like(pattern, bad) || bad == "/", "{pattern} {bad}");
        }
    }

    #[test]
    fn folders_deeper_than_are_looked_into_are_said() {
        let base = tempfile::tempdir().unwrap();
        let deep = |n: usize| base.path().join("f/".repeat(n));
        std::fs::create_dir_all(deep(MAX_DEPTH)).unwrap();
        std::os::unix::fs::symlink("/dev/null", deep(MAX_DEPTH).join("x.gz")).unwrap();
        let pattern = Pattern::parse(&format!("{}/**/*.gz", base.path().display())).unwrap();
        let newest = || pattern.newest(Span::secs(60));
        assert_eq!(newest().unwrap().unwrap().path, deep(MAX_DEPTH).join("x.gz"));
        std::fs::create_dir(deep(MAX_DEPTH + 1)).unwrap();
        assert!(matches!(newest(), Err(Blind::TooDeep { .. })), "{:?}", newest());
    }

    #[test]
    fn what_cannot_be_told_from_a_folder_is_said() {
        let base = tempfile::tempdir().unwrap();
        // Longer than any path that the system takes: neither there nor not there, for root too.
        let long = base.path().join("x".repeat(300));
        assert!(matches!(is_folder(&long), Err(Blind::Io { .. })), "{:?}", is_folder(&long));
        assert_eq!(is_folder(&base.path().join("gone")), Ok(false));
        std::os::unix::fs::symlink(base.path(), base.path().join("up")).unwrap();
        assert_eq!(is_folder(&base.path().join("up")), Ok(false));
        assert_eq!(is_folder(base.path()), Ok(true));
    }

    #[test]
    fn a_pattern_that_means_nothing_says_why() {
        for (text, why) in [
            ("backup/*.sql", "`backup/*.sql` does not begin with `/`"),
            ("/backup//x*", "a part of the path is empty"),
            ("/backup/../x*", "`..` is no part of a pattern"),
            ("/backup/**", "`**` means folders: end with the name of a file, as in /backup/**/*.gz"),
            ("/backup/**.gz", "`**` is a part of its own: /backup/**/*.gz"),
            ("/a/**/b/**/c", "a pattern has one `**` at most"),
            ("/backup/[a.gz", "the bracket in `[a.gz` does not end"),
            ("/backup/a\\", "nothing follows the backslash in `a\\`"),
            ("/backup/[z-a]", "`[z-a]` is no pattern that can be matched"),
        ] {
            assert_eq!(Pattern::parse(text).unwrap_err(), why, "{text}");
        }
        assert_eq!(Pattern::parse("/var/backup/*/x").unwrap().folder(), Path::new("/var/backup"));
    }
}
