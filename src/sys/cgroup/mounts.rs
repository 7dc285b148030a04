//! Where control groups are mounted: one hierarchy for all controllers (version 2), one for each or some (version 1), or
//! both beside each other. Enters: `/proc/self/mountinfo` (proc(5)). Leaves: [`Hierarchy`].

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// The most hierarchies that are looked at; the kernel has fourteen controllers.
const MAX_HIERARCHIES: usize = 32;

/// One tree of groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) kind: Kind,
    /// The group that is mounted: `/`, unless only a part of the tree is.
    pub(super) top: Vec<u8>,
    /// Where.
    pub(super) point: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Version 1: the controllers as `/proc/PID/cgroup` writes them (`cpu`, `cpuacct`, `name=systemd`).
    One(Vec<Vec<u8>>),
    /// Version 2.
    Two,
}

impl Hierarchy {
    /// Whether a line of `/proc/PID/cgroup` with these controllers is of this hierarchy.
    pub(super) fn is(&self, controllers: &[u8]) -> bool {
        match &self.kind {
            Kind::Two => controllers.is_empty(),
            Kind::One(own) => {
                !controllers.is_empty() && controllers.split(|b| *b == b',').all(|c| own.iter().any(|o| o == c))
            }
        }
    }
}

/// All hierarchies. Where one is mounted twice, the place that shows all of it counts, else the first.
pub(super) fn hierarchies(mountinfo: &[u8]) -> Vec<Hierarchy> {
    let mut all: Vec<Hierarchy> = Vec::new();
    for found in mountinfo.split(|b| *b == b'\n').filter_map(hierarchy) {
        match all.iter().position(|known| known.kind == found.kind) {
            Some(at) if all[at].top != b"/" && found.top == b"/" => all[at] = found,
            None if all.len() < MAX_HIERARCHIES => all.push(found),
            _ => {}
        }
    }
    all
}

/// `31 23 0:28 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory`
fn hierarchy(line: &[u8]) -> Option<Hierarchy> {
    let words: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let dash = words.iter().position(|word| *word == b"-")?;
    let (top, point) = (unescaped(words.get(3)?), unescaped(words.get(4)?));
    let kind = match *words.get(dash + 1)? {
        b"cgroup2" => Kind::Two,
        b"cgroup" => {
            let options = words.get(dash + 3)?.split(|b| *b == b',');
            Kind::One(options.filter(|option| !is_no_controller(option)).map(<[u8]>::to_vec).collect())
        }
        _ => return None,
    };
    Some(Hierarchy { kind, top, point: OsString::from_vec(point).into() })
}

/// Options of the mount that name no controller.
fn is_no_controller(option: &[u8]) -> bool {
    const OTHERS: [&[u8]; 8] =
        [b"rw", b"ro", b"none", b"noprefix", b"xattr", b"clone_children", b"cpuset_v2_mode", b"favordynmods"];
    OTHERS.contains(&option) || option.starts_with(b"release_agent=")
}

/// Blanks, tabs, line breaks and backslashes are written as three octal digits.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        match behind {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', behind @ ..] if *first == b'\\' => {
                plain.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = behind;
            }
            _ => plain.push(*first),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_every_version_are_found() {
        let one = |names: &[&str]| Kind::One(names.iter().map(|n| n.as_bytes().to_vec()).collect());
        for (line, kind, top, point) in [
            (
                "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate",
                Kind::Two,
                "/",
                "/sys/fs/cgroup",
            ),
            (
                "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
                one(&["cpu", "cpuacct"]),
                "/",
                "/sys/fs/cgroup/cpu,cpuacct",
            ),
            (
                "40 31 0:37 /docker/ab /sys/fs/cgroup/systemd ro master:2 - cgroup cgroup ro,xattr,name=systemd",
                one(&["name=systemd"]),
                "/docker/ab",
                "/sys/fs/cgroup/systemd",
            ),
            ("1 2 0:3 / /a\\040b\\134 rw - cgroup2 none rw", Kind::Two, "/", "/a b\\"),
        ] {
            let wanted = Hierarchy { kind, top: top.into(), point: point.into() };
            assert_eq!(hierarchies(line.as_bytes()), [wanted], "{line}");
        }
    }

    #[test]
    fn other_mounts_and_broken_lines_are_no_hierarchies() {
        for line in ["", "-", "a b c d e f - tmpfs cgroup rw", "1 2 0:3 / /x rw - cgroup", "1 2 - cgroup2"] {
            assert_eq!(hierarchies(line.as_bytes()), [], "{line}");
        }
        let many: String = (0..100).map(|n| format!("1 2 0:3 / /x rw - cgroup cgroup rw,name=x{n}\n")).collect();
        assert_eq!(hierarchies(many.as_bytes()).len(), MAX_HIERARCHIES);
    }

    #[test]
    fn of_two_mounts_the_one_that_shows_all_counts() {
        let text = "1 2 0:3 /docker/a /part rw - cgroup2 c rw\n1 2 0:3 / /whole rw - cgroup2 c rw\n1 2 0:3 / /third rw - cgroup2 c rw\n";
        let points: Vec<PathBuf> = hierarchies(text.as_bytes()).into_iter().map(|h| h.point).collect();
        assert_eq!(points, [PathBuf::from("/whole")]);
    }
}
