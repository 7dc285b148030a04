//! The program of a unit: which file it is behind its links, of which version, and whether it changed since it was started.
//!
//! Looks at files, which can hang where their file system does: all of it is done apart.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::base::{Failure, Span, Timestamp};
use crate::sys::apart::{Apart, Late};
use crate::sys::read::Folder;

/// The most symbolic links on one way; as many as the system follows.
const MAX_LINKS: usize = 40;

/// The longest `/proc/PID/cgroup` that is read.
const MAX_CGROUP: usize = 128 << 10;

/// A program as it lies there now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Where, without symbolic links.
    pub path: PathBuf,
    /// The version that a part of its path names, or else the time of its last change.
    pub version: String,
    /// Whether a part of the path names the version.
    pub is_named: bool,
    /// Device, inode, size and time of change: what makes it this file.
    identity: (u64, u64, u64, i64, i64),
    /// When the file, or a link on the way to it, was changed last.
    pub touched: Timestamp,
}

/// Which program to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// As the unit writes it.
    pub program: PathBuf,
    /// The process that runs it.
    pid: Option<u32>,
    /// The control group that this process must be in: its number may be that of another one by now, or in another namespace.
    group: String,
}

impl Wanted {
    /// The program of a unit, its main process and its control group.
    pub fn new(program: &str, pid: Option<u32>, group: &str) -> Wanted {
        Wanted { program: program.into(), pid, group: group.to_string() }
    }
}

/// What was seen of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The program that would be started now.
    pub installed: Option<Program>,
    /// The file that the main process was started from, and whether it is still there; none where this user may not see it.
    pub running: Option<(PathBuf, bool)>,
}

/// Looks at programs, one look at a time.
#[derive(Debug, Default)]
pub struct Programs(Apart<()>);

impl Programs {
    /// Looks at these, in their order.
    ///
    /// # Errors
    /// Reason `timeout`, when that takes longer than `limit`, or a look of before has not come back.
    pub async fn look(&mut self, all: Vec<Wanted>, limit: Span) -> Result<Vec<Seen>, Failure> {
        let looking = move |(): &mut ()| all.iter().map(look).collect();
        let late =
            |late: Late| Failure::new("timeout", format!("the programs of units could not be looked at: {late:?}"));
        self.0.run("units", limit, looking).await.map_err(late)
    }
}

fn look(wanted: &Wanted) -> Seen {
    let running = wanted.pid.and_then(|pid| running(pid, &wanted.group));
    let is_path = wanted.program.is_absolute();
    Seen { installed: is_path.then(|| installed(&wanted.program)).flatten(), running }
}

/// The file that a process was started from, and whether it is still there; none where it is not in this group.
fn running(pid: u32, group: &str) -> Option<(PathBuf, bool)> {
    let process = Folder::open(Path::new(&format!("/proc/{pid}"))).ok()?;
    let exe = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    // Behind the link: were the process another one by now, this one's folder could not be read any more.
    let mut text = Vec::new();
    process.read("cgroup", &mut text, MAX_CGROUP).ok()?;
    let is_in = |path: &str| path.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let text = String::from_utf8_lossy(&text);
    let mut paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    if group.is_empty() || !paths.any(is_in) {
        return None;
    }
    match exe.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
        Some(path) => Some((PathBuf::from(OsStr::from_bytes(path)), false)),
        None => Some((exe, true)),
    }
}

fn installed(written: &Path) -> Option<Program> {
    let way = Way::follow(written)?;
    let meta = std::fs::symlink_metadata(&way.end).ok().filter(std::fs::Metadata::is_file)?;
    let named = way.passed.iter().chain([&way.end]).find_map(|path| Program::version_in(path));
    Some(Program {
        is_named: named.is_some(),
        version: named.or_else(|| time_of(meta.mtime()))?,
        identity: (meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()),
        touched: Timestamp(way.touched.max(changed(&meta))),
        path: way.end,
    })
}

/// When the inode was changed, in milliseconds.
fn changed(meta: &std::fs::Metadata) -> i64 {
    meta.ctime().saturating_mul(1000).saturating_add(meta.ctime_nsec() / 1_000_000)
}

/// The way from a path to what it means.
struct Way {
    /// The path as it was before each link on the way was followed.
    passed: Vec<PathBuf>,
    end: PathBuf,
    touched: i64,
}

impl Way {
    fn follow(path: &Path) -> Option<Way> {
        let mut way = Way { passed: Vec::new(), end: PathBuf::from("/"), touched: 0 };
        let mut left: Vec<OsString> = path.iter().rev().map(OsString::from).collect();
        while let Some(part) = left.pop() {
            match part.as_bytes() {
                b"/" => way.end = PathBuf::from("/"),
                b"." => {}
                b".." => drop(way.end.pop()),
                _ => {
                    let next = way.end.join(&part);
                    let meta = std::fs::symlink_metadata(&next).ok()?;
                    if !meta.is_symlink() {
                        way.end = next;
                        continue;
                    }
                    if way.passed.len() == MAX_LINKS {
                        return None;
                    }
                    way.passed.push(left.iter().rev().fold(next.clone(), |path, part| path.join(part)));
                    way.touched = way.touched.max(changed(&meta));
                    left.extend(std::fs::read_link(&next).ok()?.iter().rev().map(OsString::from));
                }
            }
        }
        Some(way)
    }
}

/// Digits, a point and digits, with or without a `v` before and more behind.
fn is_version(part: &str) -> bool {
    let digits = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let text = part.strip_prefix('v').unwrap_or(part);
    let major = digits(text);
    let Some(rest) = text[major..].strip_prefix('.').filter(|_| major > 0) else { return false };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-+_~".contains(c);
    digits(rest) > 0 && part.len() <= 128 && rest.chars().all(is_plain)
}

/// Seconds since 1970 as `2026-11-20T10:12:01Z`.
fn time_of(seconds: i64) -> Option<String> {
    jiff::Timestamp::from_second(seconds).ok().map(|time| time.to_string())
}

impl Program {
    /// The version that a part of a path is: one that looks like `1.4` or `v1.4.2-rc1`, or stands below `releases` or
    /// `versions`. The first such part, and at most 128 bytes.
    pub fn version_in(path: &Path) -> Option<String> {
        let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
        let is_below = |at: usize| at > 0 && ["releases", "versions"].contains(&parts[at - 1]);
        let found = (0..parts.len()).find(|at| is_version(parts[*at]) || is_below(*at))?;
        Some(parts[found].to_string()).filter(|version| version.len() <= 128)
    }

    /// Whether this is the same file, under the same path.
    pub fn is_same(&self, other: &Program) -> bool {
        self.path == other.path && self.identity == other.identity
    }

    /// A program that is nowhere; the version tells it from others.
    #[cfg(test)]
    pub(crate) fn for_test(path: &str, version: &str, touched: Timestamp) -> Program {
        Program { path: path.into(), version: version.into(), is_named: true, identity: (0, 0, 0, 0, 0), touched }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests write the programs that are looked at")]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_part_of_the_path_that_looks_like_one() {
        for (path, wanted) in [
            ("/opt/shop-1.4/bin/shop", None),
            ("/opt/shop/1.4.2/bin/shop", Some("1.4.2")),
            ("/opt/shop/v1.4.2-rc1/bin/shop", Some("v1.4.2-rc1")),
            ("/srv/shop/releases/20261120-a1b2c3/bin/shop", Some("20261120-a1b2c3")),
            ("/srv/shop/versions/42/shop", Some("42")),
            ("/srv/releases", None),
            ("/opt/42/shop", None),
            ("/opt/v/shop", None),
            ("/opt/1./shop", None),
            ("/opt/.1/shop", None),
            ("/opt/1.2 3/shop", None),
            ("/usr/lib/python3.11/x", None),
        ] {
            assert_eq!(Program::version_in(Path::new(path)).as_deref(), wanted, "{path}");
        }
        let long = format!("/opt/releases/{}/x", "a".repeat(300));
        assert_eq!(Program::version_in(Path::new(&long)), None);
    }

    #[tokio::test]
    async fn a_program_is_known_behind_its_links_and_when_it_is_another() {
        let place = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(place.path()).unwrap();
        let put = |name: &str| {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, name).unwrap();
            path
        };
        let link = |to: &str| {
            drop(std::fs::remove_file(root.join("current")));
            std::os::unix::fs::symlink(to, root.join("current")).unwrap();
        };
        let (one, plain) = (put("releases/1/bin/shop"), put("plain"));
        std::os::unix::fs::symlink(&plain, root.join("releases/1/bin/python")).unwrap();
        put("releases/2/bin/shop");
        link("releases/1");
        let mut programs = Programs::default();
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().next().unwrap().splitn(3, ':').nth(2).unwrap().to_string();
        let mut seen = async |path: &str| {
            let wanted = Wanted::new(&root.join(path).display().to_string(), Some(std::process::id()), &own);
            programs.look(vec![wanted], Span::secs(60)).await.unwrap().remove(0)
        };
        let first = seen("current/bin/shop").await;
        let program = first.installed.unwrap();
        assert_eq!((&program.path, program.version.as_str(), program.is_named), (&one, "1", true));
        assert_eq!(first.running, Some((std::env::current_exe().unwrap(), true)));
        assert!(program.is_same(&seen("releases/1/bin/shop").await.installed.unwrap()));
        // What a link of the release leads out of it is of that release.
        let python = seen("current/bin/python").await.installed.unwrap();
        assert_eq!((&python.path, python.version.as_str()), (&plain, "1"));
        link("releases/2");
        let other = seen("current/bin/shop").await.installed.unwrap();
        assert_eq!((other.version.as_str(), other.is_same(&program)), ("2", false));
        assert!(other.touched >= program.touched);
        // Replaced in place.
        let before = seen("plain").await.installed.unwrap();
        assert_eq!((before.version.len(), before.is_named), ("2026-11-20T10:12:01Z".len(), false));
        std::fs::write(root.join("new"), "longer than before").unwrap();
        std::fs::rename(root.join("new"), &plain).unwrap();
        assert!(!seen("plain").await.installed.unwrap().is_same(&before));
        std::os::unix::fs::symlink("loop", root.join("loop")).unwrap();
        for path in ["loop", "none", "releases"] {
            assert_eq!(seen(path).await.installed, None, "{path}");
        }
        let other = Wanted::new("", Some(std::process::id()), "/system.slice/other.service");
        assert_eq!(look(&other), Seen::default(), "a process of another group is not the unit's");
    }
}
