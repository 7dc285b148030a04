//! What is known of a file without opening it, and the newest of those that a pattern means.
//!
//! Enters: a path, or a [`Pattern`]. Leaves: [`Seen`], or why nothing could be seen. Symbolic links are followed to
//! what they point to; nothing is opened but folders, so a FIFO or a device is never touched. All of this can hang
//! where the file system does: callers do it apart ([`Apart`](super::apart::Apart)).

use std::ffi::OsString;
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

    /// Whether it means `path`, whatever is there. Says more than a look where that goes into no folder: behind
    /// symbolic links, and deeper than [`MAX_DEPTH`].
    pub fn means(&self, path: &Path) -> bool {
        let Ok(rest) = path.strip_prefix("/") else { return false };
        let names: Vec<&[u8]> = rest.iter().map(OsStrExt::as_bytes).collect();
        mean(&self.parts, &names)
    }

    /// The newest file that it means; of two of the same time the one whose path is the later in order. Folders are not
    /// meant. Nothing where there is none.
    ///
    /// # Errors
    /// When not everything could be seen: what could not may be the newest.
    pub fn newest(&self, limit: Span) -> Result<Option<Seen>, Blind> {
        let mut newest: Option<Seen> = None;
        let mut end = |path: &Path| {
            let Some(seen) = at(path)? else { return Ok(()) };
            let is_newer = newest.as_ref().is_none_or(|n| (n.modified, &n.path) < (seen.modified, &seen.path));
            if is_newer && !seen.is_folder {
                newest = Some(seen);
            }
            Ok(())
        };
        Walk::new(limit, &mut end).enter_parts(Path::new("/"), &self.parts, 0)?;
        Ok(newest)
    }

    /// Hands every path that it may mean to `take`: what is there, and, where the last part has no wildcard, what may
    /// not be there. Goes on behind what cannot be looked into.
    pub fn each(&self, limit: Span, take: &mut dyn FnMut(&Path)) -> Looked {
        let mut end = |path: &Path| {
            take(path);
            Ok(())
        };
        let mut walk = Walk { is_lenient: true, ..Walk::new(limit, &mut end) };
        let ended = walk.enter_parts(Path::new("/"), &self.parts, 0);
        let mut looked = walk.looked;
        if let Err(blind) = ended {
            looked.stopped.get_or_insert(blind);
        }
        looked
    }
}

/// Whether `parts` mean `names`; there is one [`Part::Folders`] at most, so this tries each length of it once.
fn mean(parts: &[Part], names: &[&[u8]]) -> bool {
    let Some((part, rest)) = parts.split_first() else { return names.is_empty() };
    let is_shown = |name: &[u8]| !name.starts_with(b".");
    match (part, names.split_first()) {
        (Part::Folders, _) => {
            let n_most = names.iter().take_while(|name| is_shown(name)).count();
            (0..=n_most).any(|n| mean(rest, &names[n..]))
        }
        (_, None) => false,
        (Part::Name(written), Some((name, behind))) => written.as_bytes() == *name && mean(rest, behind),
        (Part::Like(expression, with_dots), Some((name, behind))) => {
            (*with_dots || is_shown(name)) && expression.is_match(name) && mean(rest, behind)
        }
    }
}

/// The most symbolic links on one way; as many as the system follows.
const MAX_LINKS: usize = 40;

/// The folders in which a change can make `path` mean another file, or any, beside the one that it lies in: those in which
/// symbolic links on the way to it lie, and, where it is not there, the last that is. They are named without symbolic links.
/// What cannot be looked at ends the way.
pub fn way(path: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut at = PathBuf::from("/");
    let mut left: Vec<OsString> = path.iter().rev().map(OsString::from).collect();
    let mut n_links = 0;
    while let Some(part) = left.pop() {
        match part.as_bytes() {
            b"/" => at = PathBuf::from("/"),
            b"." => {}
            b".." => drop(at.pop()),
            _ => {
                let next = at.join(&part);
                match std::fs::symlink_metadata(&next) {
                    Ok(meta) if meta.is_symlink() => {
                        folders.push(at.clone());
                        n_links += 1;
                        let target = std::fs::read_link(&next);
                        let Some(target) = target.ok().filter(|_| n_links <= MAX_LINKS) else { break };
                        left.extend(target.iter().rev().map(OsString::from));
                    }
                    Ok(_) => at = next,
                    Err(error) => {
                        if absent(&next, &error).is_ok() {
                            folders.push(at);
                        }
                        break;
                    }
                }
            }
        }
    }
    folders.sort();
    folders.dedup();
    folders
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

struct Walk<'a> {
    n_entries: usize,
    limit: Span,
    watch: Stopwatch,
    /// What is done at the end of a path.
    end: &'a mut dyn FnMut(&Path) -> Result<(), Blind>,
    /// Whether it goes on behind what cannot be looked into.
    is_lenient: bool,
    looked: Looked,
}

/// The most places of a lenient walk that are said to be closed; one more says as much.
const MAX_MISSED: usize = 16;

/// The most folders of a lenient walk that are named.
const MAX_FOLDERS: usize = 4096;

/// How a look at all that a pattern means went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// What could not be looked into.
    pub missed: Vec<Blind>,
    /// Why it ended early: [`MAX_ENTRIES`], or its time was over.
    pub stopped: Option<Blind>,
    /// The folders in which something may appear that is meant.
    pub folders: Vec<PathBuf>,
}

impl<'a> Walk<'a> {
    fn new(limit: Span, end: &'a mut dyn FnMut(&Path) -> Result<(), Blind>) -> Walk<'a> {
        let watch = Stopwatch::start();
        Walk { n_entries: 0, limit, watch, end, is_lenient: false, looked: Looked::default() }
    }

    /// What `parts` mean below `folder`.
    fn enter_parts(&mut self, folder: &Path, parts: &[Part], depth: usize) -> Result<(), Blind> {
        let Some((part, rest)) = parts.split_first() else {
            return Ok(());
        };
        match part {
            Part::Name(name) => {
                if rest.is_empty() {
                    self.name_folder(folder);
                }
                self.step(&folder.join(name), rest, depth)
            }
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
                    let is_hidden = entry.as_os_str().as_bytes().starts_with(b".");
                    if is_hidden || !is_folder(&path).or_else(|blind| self.miss(blind).map(|()| false))? {
                        continue;
                    }
                    if depth == MAX_DEPTH {
                        self.miss(Blind::TooDeep { folder: folder.to_owned() })?;
                        return Ok(());
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
        (self.end)(path)
    }

    /// The names in a folder; none where it is no folder. A lenient walk takes those that it could see.
    fn entries(&mut self, folder: &Path) -> Result<Vec<PathBuf>, Blind> {
        let mut names = Vec::new();
        if self.looked.stopped.is_some() {
            return Ok(names);
        }
        self.name_folder(folder);
        match self.list(folder, &mut names) {
            Err(blind @ (Blind::TooMany { .. } | Blind::TooLong(_))) if self.is_lenient => {
                self.looked.stopped = Some(blind)
            }
            Err(blind) => self.miss(blind)?,
            Ok(()) => {}
        }
        Ok(names)
    }

    fn name_folder(&mut self, folder: &Path) {
        let folders = &mut self.looked.folders;
        if self.is_lenient && folders.len() < MAX_FOLDERS && folders.last().is_none_or(|last| last != folder) {
            folders.push(folder.to_owned());
        }
    }

    fn list(&mut self, folder: &Path, names: &mut Vec<PathBuf>) -> Result<(), Blind> {
        let listing = match std::fs::read_dir(folder) {
            Ok(listing) => listing,
            Err(error) => return absent(folder, &error),
        };
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
        Ok(())
    }

    /// Something could not be looked into: a strict walk ends there.
    fn miss(&mut self, blind: Blind) -> Result<(), Blind> {
        if !self.is_lenient {
            return Err(blind);
        }
        if self.looked.missed.len() < MAX_MISSED {
            self.looked.missed.push(blind);
        }
        Ok(())
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
    fn a_pattern_says_what_it_means_without_looking() {
        let all = |text: &str, paths: &[&str]| -> Vec<bool> {
            let pattern = Pattern::parse(text).unwrap();
            paths.iter().map(|path| pattern.means(Path::new(path))).collect()
        };
        assert_eq!(
            all("/l/a.log", &["/l/a.log", "/l/b.log", "/l/a.log/x", "/l", "l/a.log"]),
            [true, false, false, false, false]
        );
        assert_eq!(
            all("/l/*/?.log", &["/l/x/a.log", "/l/a.log", "/l/x/aa.log", "/l/.x/a.log"]),
            [true, false, false, false]
        );
        assert_eq!(
            all("/l/**/*.log", &["/l/a.log", "/l/x/y/a.log", "/l/x/.y/a.log", "/l/x/.a.log", "/m/a.log"]),
            [true, true, false, false, false]
        );
        assert_eq!(all("/l/**/x/.*", &["/l/x/x/.a", "/l/x/.a", "/l/x/a"]), [true, true, false]);
    }

    #[test]
    fn the_way_to_a_file_leads_over_links_and_ends_where_nothing_is() {
        let base = tempfile::tempdir().unwrap();
        let base = std::fs::canonicalize(base.path()).unwrap();
        let path = |name: &str| base.join(name);
        std::fs::create_dir_all(path("app/releases/1/log")).unwrap();
        assert_eq!(way(&path("app/releases/1/log")), Vec::<PathBuf>::new());
        assert_eq!(way(&path("app/releases/2/log")), [path("app/releases")]);
        std::os::unix::fs::symlink("releases/1", path("app/current")).unwrap();
        std::os::unix::fs::symlink(path("app/../app/current/log"), path("logs")).unwrap();
        assert_eq!(way(&path("logs/a.log")), [base.clone(), path("app"), path("app/releases/1/log")]);
        assert_eq!(way(&path("logs")), [base.clone(), path("app")]);
        std::os::unix::fs::symlink("loop", path("loop")).unwrap();
        assert_eq!(way(&path("loop/a")), std::slice::from_ref(&base));
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
