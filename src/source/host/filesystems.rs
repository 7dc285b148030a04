//! The file systems that keep data on a disk of this host, from `mountinfo` and `statvfs` (`node_filesystem_*`).
//!
//! Each device counts once: bound a second time it would fill, and page, twice. A mount that hangs (a dead disk) must not
//! take the agent with it: `statvfs` runs apart, and a mount that did not answer is left alone until it does. It then
//! has `node_filesystem_device_error` 1 and no sizes.

use std::cmp::Ordering as Order;
use std::ffi::OsStr;
use std::io::Result;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::HUNG;
use super::lines::{lines, text, too_many};
use crate::base::label::NAME;
use crate::base::{Labels, Sample, Span, wildcard};
use crate::source::common::{Target, sample};
use crate::sys::clock::Stopwatch;
use crate::sys::tasks;

/// File systems that keep data on a disk of this host. Everything else (overlay, squashfs, tmpfs, network, the
/// kernel's own) has no space of its own that could run out here.
const REAL: [&str; 19] = [
    "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "reiserfs", "bcachefs", "nilfs2", "vfat", "msdos",
    "exfat", "ntfs", "ntfs3", "fuseblk", "hfsplus", "ufs",
];

/// The most mounts that are looked at.
const MAX_MOUNTS: usize = 256;

/// The series of `statvfs`, in the order of [`Sizes`].
const SIZES: [&str; 5] = [
    "node_filesystem_size_bytes",
    "node_filesystem_free_bytes",
    "node_filesystem_avail_bytes",
    "node_filesystem_files",
    "node_filesystem_files_free",
];

/// What `statvfs` said, in the order of [`SIZES`].
type Sizes = [f64; 5];

/// The file systems that are looked at.
#[derive(Debug)]
pub(super) struct Filesystems {
    ignore: Vec<String>,
    /// `mountinfo` as it was read last; as long as it does not change, neither do the mounts.
    mountinfo: Vec<u8>,
    mounts: Vec<Mount>,
    more: bool,
}

/// A file system that is looked at.
#[derive(Clone, Debug)]
struct Mount {
    found: Found,
    is_readonly: bool,
    /// True while a look at it has not come back.
    busy: Arc<AtomicBool>,
    sizes: [Labels; 5],
    readonly: Labels,
    error: Labels,
}

/// A line of `mountinfo` that names a real file system.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    device: Vec<u8>,
    fstype: String,
    mountpoint: Vec<u8>,
}

/// A line of `mountinfo` with what decides between the mounts of one device.
#[derive(Debug)]
struct Line {
    found: Found,
    /// Only a part of the device is shown there.
    is_part: bool,
    is_readonly: bool,
}

impl Filesystems {
    pub(super) fn new(ignore: Vec<String>) -> Filesystems {
        Filesystems { ignore, mountinfo: Vec::new(), mounts: Vec::new(), more: false }
    }

    /// Takes over the mounts of `mountinfo`, which is exchanged with what was read before.
    ///
    /// What is read-only from the start has nothing that could fill, and is left out. What turns read-only while it is
    /// looked at stays: that is how a file system with errors protects itself.
    pub(super) fn refresh(&mut self, mountinfo: &mut Vec<u8>, target: &Target) -> Result<()> {
        if *mountinfo != self.mountinfo {
            std::mem::swap(mountinfo, &mut self.mountinfo);
            let mut old = std::mem::take(&mut self.mounts);
            let mut mounts = Vec::new();
            for line in real_mounts(&self.mountinfo, &self.ignore) {
                // A mount that stayed keeps its state: it may be hanging.
                match old.iter().position(|m| m.found == line.found) {
                    Some(i) => mounts.push(Mount { is_readonly: line.is_readonly, ..old.swap_remove(i) }),
                    None if !line.is_readonly => mounts.push(Mount::new(line.found, target)),
                    None => {}
                }
            }
            self.more = mounts.len() > MAX_MOUNTS;
            mounts.truncate(MAX_MOUNTS);
            self.mounts = mounts;
        }
        if self.more { too_many("/proc/self/mountinfo", "file systems", MAX_MOUNTS) } else { Ok(()) }
    }

    /// Looks at all mounts; one that hangs is passed over, and the rest tried again as long as there is time.
    pub(super) async fn look(&self, timeout: Span, watch: &Stopwatch, samples: &mut Vec<Sample>) {
        let mut left: Vec<&Mount> = self.mounts.iter().collect();
        while !left.is_empty() {
            let (busy, free): (Vec<&Mount>, Vec<&Mount>) = left.into_iter().partition(|m| m.is_busy());
            samples.extend(busy.iter().map(|mount| sample(mount.error.clone(), 1.0)));
            let budget = HUNG.min(timeout - watch.elapsed());
            if free.is_empty() || budget <= Span::ZERO {
                return;
            }
            let measured = measure(&free, budget, statvfs).await;
            for (mount, sizes) in free.iter().zip(&measured) {
                mount.report(sizes.as_ref(), samples);
            }
            left = free[measured.len()..].to_vec();
        }
    }
}

impl Mount {
    fn new(found: Found, target: &Target) -> Mount {
        let (device, mountpoint) = (text(&found.device), text(&found.mountpoint));
        let labels = [("device", &*device), ("fstype", &*found.fstype), ("mountpoint", &*mountpoint)];
        let error = target.series("node_filesystem_device_error", &labels);
        let readonly = error.with(NAME, "node_filesystem_readonly");
        let sizes = SIZES.map(|name| error.with(NAME, name));
        Mount { busy: Arc::default(), is_readonly: false, sizes, readonly, error, found }
    }

    fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    fn report(&self, sizes: Option<&Sizes>, samples: &mut Vec<Sample>) {
        samples.push(sample(self.error.clone(), if sizes.is_some() { 0.0 } else { 1.0 }));
        if let Some(sizes) = sizes {
            samples.push(sample(self.readonly.clone(), f64::from(self.is_readonly)));
            samples.extend(self.sizes.iter().zip(sizes).map(|(labels, n)| sample(labels.clone(), *n)));
        }
    }
}

/// Asks `look` about each mount in turn, apart from the async workers, for at most `budget`. Returns what came back
/// by then, in order; the one that did not is marked busy until it does, and none behind it is touched.
async fn measure(
    mounts: &[&Mount],
    budget: Span,
    look: impl Fn(&Path) -> Option<Sizes> + Send + 'static,
) -> Vec<Option<Sizes>> {
    let jobs: Vec<(Vec<u8>, Arc<AtomicBool>)> =
        mounts.iter().map(|m| (m.found.mountpoint.clone(), m.busy.clone())).collect();
    let given_up = Arc::new(AtomicBool::new(false));
    let stop = given_up.clone();
    // Room for every answer: the job never waits for its reader.
    let (sender, mut receiver) = tokio::sync::mpsc::channel(jobs.len().max(1));
    let job = tasks::blocking(move || {
        for (mountpoint, busy) in jobs {
            if stop.load(Ordering::Acquire) {
                return;
            }
            busy.store(true, Ordering::Release);
            let sizes = look(Path::new(OsStr::from_bytes(&mountpoint)));
            busy.store(false, Ordering::Release);
            if sender.try_send(sizes).is_err() {
                return;
            }
        }
    });
    let in_time = tokio::time::timeout(budget.to_std(), job).await.is_ok();
    given_up.store(true, Ordering::Release);
    let mut measured = Vec::new();
    while let Ok(sizes) = receiver.try_recv() {
        measured.push(sizes);
    }
    // After a panic in the job nothing is known of the rest, and nothing is to be repeated.
    if in_time {
        measured.resize(mounts.len(), None);
    } else if measured.is_empty() && !mounts[0].is_busy() {
        // Nobody even began (no free thread): this round ends without the rest.
        measured.resize(mounts.len(), None);
    }
    measured
}

fn statvfs(mountpoint: &Path) -> Option<Sizes> {
    let stat = rustix::fs::statvfs(mountpoint).ok()?;
    let bytes = |blocks: u64| blocks as f64 * stat.f_frsize as f64;
    Some([bytes(stat.f_blocks), bytes(stat.f_bfree), bytes(stat.f_bavail), stat.f_files as f64, stat.f_ffree as f64])
}

/// The real file systems of `mountinfo`, one a device: a whole one before a part that is bound elsewhere, then the
/// shortest path.
fn real_mounts(mountinfo: &[u8], ignore: &[String]) -> Vec<Line> {
    let is_ignored = |line: &Line| ignore.iter().any(|glob| wildcard::fits(glob.as_bytes(), &line.found.mountpoint));
    let mut all: Vec<Line> = lines(mountinfo).filter_map(mount).filter(|line| !is_ignored(line)).collect();
    let order = |a: &Line, b: &Line| -> Order {
        let devices = a.found.device.cmp(&b.found.device);
        devices.then(a.is_part.cmp(&b.is_part)).then(a.found.mountpoint.len().cmp(&b.found.mountpoint.len()))
    };
    all.sort_by(order);
    all.dedup_by(|later, kept| later.found.device == kept.found.device);
    all
}

/// A line `36 35 98:0 /root /mountpoint options … - fstype device options`; none where it is not a real one.
///
/// Only the file system's own options say whether it can be written: the mount's say what this process may do, and
/// a unit with `ProtectSystem=strict` sees every mount read-only.
fn mount(line: &[u8]) -> Option<Line> {
    let dash = memchr::memmem::find(line, b" - ")?;
    let mut before = line[..dash].split(|b| *b == b' ').skip(3);
    let (root, mountpoint) = (before.next()?, before.next()?);
    let mut after = line[dash + 3..].split(|b| *b == b' ');
    let (fstype, device, options) = (after.next()?, after.next()?, after.next()?);
    let fstype = REAL.iter().find(|real| real.as_bytes() == fstype)?;
    let found = Found { device: unescape(device), fstype: fstype.to_string(), mountpoint: unescape(mountpoint) };
    Some(Line { found, is_part: root != b"/", is_readonly: options.split(|b| *b == b',').any(|o| o == b"ro") })
}

/// The kernel writes blanks, line breaks and backslashes as three octal digits: `\040`.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.get(..3).filter(|_| *first == b'\\').and_then(|d| std::str::from_utf8(d).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::host::testing::{shown, target};

    fn paths(filesystems: &Filesystems) -> Vec<String> {
        filesystems.mounts.iter().map(|m| text(&m.found.mountpoint).into_owned()).collect()
    }

    #[test]
    fn only_real_writable_file_systems_count_and_each_device_once() {
        let mountinfo = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 254:0 /var/lib/docker /var/lib/docker rw - ext4 /dev/vda rw
24 22 254:16 / /data rw - xfs /dev/vdb rw
25 22 254:16 / /backup\\040two rw - xfs /dev/vdb rw
26 22 254:32 / /media ro - ext4 /dev/vdc rw
27 22 254:33 / /broken rw - ext4 /dev/vdd ro,errors=remount-ro
28 22 0:40 / /run rw - tmpfs tmpfs rw
29 22 0:41 / /merged rw - overlay overlay rw
30 22 0:42 / /nfs rw - nfs4 server:/x rw
31 22 7:1 / /snap/x ro - squashfs /dev/loop1 ro
32 22 254:48 / /with\\040blank rw - ext4 /dev/vde rw
33 22 254:64 / /mnt/old rw - ext4 /dev/vdf rw
34 22 254:80 / /caf\\351 rw - ext4 /dev/vdg rw
a line that is none
";
        let mut filesystems = Filesystems::new(vec!["/mnt/*".to_string()]);
        filesystems.refresh(&mut mountinfo.as_bytes().to_vec(), &target()).unwrap();
        assert_eq!(paths(&filesystems), ["/", "/data", "/media", "/with blank", "/caf\u{fffd}"]);
        assert_eq!(filesystems.mounts[4].found.mountpoint, b"/caf\xe9", "it is asked for by its real name");
    }

    fn mounts(target: &Target, paths: &[&str]) -> Vec<Mount> {
        let found = |p: &&str| Found {
            device: format!("/dev{p}").into_bytes(),
            fstype: "ext4".into(),
            mountpoint: p.as_bytes().to_vec(),
        };
        paths.iter().map(|p| Mount::new(found(p), target)).collect()
    }

    #[tokio::test]
    async fn a_mount_that_hangs_is_left_alone_until_it_returns() {
        let all = mounts(&target(), &["/a", "/dead", "/b"]);
        let (release, gate) = std::sync::mpsc::channel::<()>();
        let gate = std::sync::Mutex::new(gate);
        let look = move |path: &Path| {
            if path == Path::new("/dead") {
                assert!(gate.lock().unwrap().recv().is_err(), "nothing is sent, only let go");
            }
            Some([1.0; 5])
        };
        let free: Vec<&Mount> = all.iter().collect();
        let measured = measure(&free, Span::millis(100), look).await;
        assert_eq!(measured, [Some([1.0; 5])], "the one before it answered");
        assert_eq!(all.iter().map(Mount::is_busy).collect::<Vec<_>>(), [false, true, false]);
        let rest = measure(&[&all[2]], Span::secs(5), |_| Some([2.0; 5])).await;
        assert_eq!(rest, [Some([2.0; 5])], "those behind it do not suffer");
        drop(release);
        let returned = async {
            while all[1].is_busy() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Span::secs(5).to_std(), returned).await.expect("it returned");
    }

    #[tokio::test]
    async fn a_mount_that_cannot_be_looked_at_is_an_error_of_that_mount() {
        let all = mounts(&target(), &["/a"]);
        let measured = measure(&[&all[0]], Span::secs(5), |_| None).await;
        let mut samples = Vec::new();
        all[0].report(measured[0].as_ref(), &mut samples);
        assert_eq!(samples.len(), 1);
        assert_eq!((samples[0].labels.name(), samples[0].value), ("node_filesystem_device_error", 1.0));
    }

    #[test]
    fn a_file_system_that_turns_read_only_stays() {
        let line = |options: &str| format!("1 0 8:1 / /data rw - ext4 /dev/sda1 {options}\n").into_bytes();
        let mut filesystems = Filesystems::new(Vec::new());
        filesystems.refresh(&mut line("ro,errors=remount-ro"), &target()).unwrap();
        assert_eq!(paths(&filesystems), Vec::<String>::new(), "read-only from the start");
        for (options, wanted) in [("rw", 0.0), ("ro", 1.0), ("ro", 1.0), ("rw", 0.0)] {
            filesystems.refresh(&mut line(options), &target()).unwrap();
            let mut samples = Vec::new();
            filesystems.mounts[0].report(Some(&[1.0; 5]), &mut samples);
            assert_eq!((samples[1].labels.name(), samples[1].value), ("node_filesystem_readonly", wanted));
        }
    }

    #[test]
    fn a_table_of_many_mounts_is_bounded() {
        let bound: String = (0..100_000).map(|n| format!("1 0 8:1 /p{n} /p{n} rw - ext4 /dev/sda1 rw\n")).collect();
        let many: String = (0..10_000).map(|n| format!("1 0 8:{n} / /m{n} rw - ext4 /dev/sd{n} rw\n")).collect();
        let mut filesystems = Filesystems::new(Vec::new());
        filesystems.refresh(&mut bound.into_bytes(), &target()).unwrap();
        assert_eq!(paths(&filesystems), ["/p0"]);
        let error = filesystems.refresh(&mut many.clone().into_bytes(), &target()).unwrap_err();
        assert!(error.to_string().contains("more than 256 file systems"), "{error}");
        assert!(filesystems.refresh(&mut many.into_bytes(), &target()).is_err(), "it is said on each look");
        assert_eq!(filesystems.mounts.len(), MAX_MOUNTS);
    }

    #[test]
    fn names_with_quotes_become_labels() {
        let mount = Mount::new(mount(b"1 0 8:1 / /a\"b\\134c rw - xfs /dev/x rw").unwrap().found, &target());
        let mut samples = Vec::new();
        mount.report(None, &mut samples);
        assert_eq!(
            shown(&samples),
            ["node_filesystem_device_error{device=\"/dev/x\",fstype=\"xfs\",mountpoint=\"/a\\\"b\\\\c\"} 1"]
        );
    }
}
