//! `[host]`: processors, memory, load and disks of this host.
//!
//! Enters: a few small files under `/proc`, and `statvfs` of each real file system. Leaves: the `node_*` series that
//! dashboards already know, beside the `probe_*` of every source. Labels are made once and the files are read into
//! kept buffers, so a look costs a few system calls; the table of processes is never walked.
//!
//! A mount that hangs (a dead disk) must not take the agent with it: `statvfs` runs apart, and a mount that did not
//! answer is left alone until it does. It then has `node_filesystem_device_error` 1 and no sizes; the look itself is
//! good. Reasons: `proc` (a file under `/proc` cannot be read or understood).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::common::{Common, Defaults, Target, sample};
use crate::base::label::NAME;
use crate::base::{Batch, Failure, Labels, Node, Outcome, Problems, Sample, Span, Table, Timestamp};
use crate::sys::clock::Stopwatch;
use crate::sys::{read, tasks};

/// Names that exist from the start.
pub const NAMES: [&str; 23] = [
    "probe_success",
    "probe_duration_seconds",
    "probe_failure_info",
    "node_cpu_seconds_total",
    "node_memory_MemTotal_bytes",
    "node_memory_MemFree_bytes",
    "node_memory_MemAvailable_bytes",
    "node_memory_Buffers_bytes",
    "node_memory_Cached_bytes",
    "node_memory_SwapTotal_bytes",
    "node_memory_SwapFree_bytes",
    "node_load1",
    "node_load5",
    "node_load15",
    "node_filesystem_size_bytes",
    "node_filesystem_free_bytes",
    "node_filesystem_avail_bytes",
    "node_filesystem_files",
    "node_filesystem_files_free",
    "node_filesystem_device_error",
    "node_boot_time_seconds",
    "node_uname_info",
    "node_time_seconds",
];

/// The columns of a processor in `/proc/stat`, in their order there.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];

/// The lines of `/proc/meminfo` that are kept.
const MEMORY: [&str; 7] = ["MemTotal", "MemFree", "MemAvailable", "Buffers", "Cached", "SwapTotal", "SwapFree"];

/// File systems that keep data on a disk of this host. Everything else (overlay, squashfs, tmpfs, network, the
/// kernel's own) has no space of its own that could run out here.
const REAL: [&str; 19] = [
    "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "reiserfs", "bcachefs", "nilfs2", "vfat", "msdos",
    "exfat", "ntfs", "ntfs3", "fuseblk", "hfsplus", "ufs",
];

/// The longest file that is read under `/proc`: some 20,000 processors, or as many mounts.
const MAX_FILE: usize = 4 << 20;

/// The most mounts that are looked at.
const MAX_MOUNTS: usize = 256;

/// How long one mount may take before it counts as hung; a healthy one takes microseconds.
const HUNG: Span = Span::secs(1);

/// The table `[host]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What all sources take.
    pub common: Common,
    /// Mountpoints that are left out; `*` stands for any characters, `?` for one.
    pub ignore: Vec<String>,
}

impl Config {
    /// How often it looks where nothing is said.
    pub const INTERVAL: Span = Span::secs(10);

    /// Reads the table; `name` is `host`.
    pub fn read(name: &str, node: &Node, defaults: &Defaults, problems: &mut Problems) -> Option<Config> {
        let mut table = Table::open(node, "[host]", problems)?;
        let defaults = Defaults { interval: Config::INTERVAL, ..defaults.clone() };
        let common = Common::read("host", name, &mut table, &defaults, problems);
        let ignore = read_ignore(&mut table, problems);
        table.finish(problems);
        Some(Config { common, ignore })
    }
}

fn read_ignore(table: &mut Table<'_>, problems: &mut Problems) -> Vec<String> {
    let Some(mut disks) = table.node("disks").and_then(|node| Table::open(node, "`disks`", problems)) else {
        return Vec::new();
    };
    let ignore = disks.or("ignore", Vec::new(), problems);
    disks.finish(problems);
    ignore
}

/// This host.
#[derive(Debug)]
pub struct Host {
    config: Config,
    target: Target,
    buffer: Vec<u8>,
    ticks: f64,
    cpus: Vec<(String, [Labels; MODES.len()])>,
    memory: [Labels; MEMORY.len()],
    loads: [Labels; 3],
    boot: Labels,
    time: Labels,
    uname: Labels,
    /// `mountinfo` as it was read last; as long as it does not change, neither do the mounts.
    mountinfo: Vec<u8>,
    mounts: Vec<Mount>,
}

/// A file system that is looked at.
#[derive(Clone, Debug)]
struct Mount {
    found: Found,
    /// True while a look at it has not come back.
    busy: Arc<AtomicBool>,
    sizes: [Labels; 5],
    error: Labels,
}

/// A line of `mountinfo` that names a real file system.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    device: String,
    fstype: String,
    mountpoint: String,
}

const SIZES: [&str; 5] = [
    "node_filesystem_size_bytes",
    "node_filesystem_free_bytes",
    "node_filesystem_avail_bytes",
    "node_filesystem_files",
    "node_filesystem_files_free",
];

/// What `statvfs` said, in the order of [`SIZES`].
type Sizes = [f64; 5];

impl Host {
    /// This host, not looked at yet.
    pub fn new(config: Config) -> Host {
        let uname = rustix::system::uname();
        let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
        let target = Target::new(&config.common, text(uname.nodename()));
        let labels = [
            ("nodename", &*text(uname.nodename())),
            ("release", &*text(uname.release())),
            ("machine", &*text(uname.machine())),
            ("sysname", &*text(uname.sysname())),
        ];
        Host {
            buffer: Vec::new(),
            ticks: procfs::ticks_per_second() as f64,
            cpus: Vec::new(),
            memory: MEMORY.map(|name| target.series(&format!("node_memory_{name}_bytes"), &[])),
            loads: ["node_load1", "node_load5", "node_load15"].map(|name| target.series(name, &[])),
            boot: target.series("node_boot_time_seconds", &[]),
            time: target.series("node_time_seconds", &[]),
            uname: target.series("node_uname_info", &labels),
            mountinfo: Vec::new(),
            mounts: Vec::new(),
            config,
            target,
        }
    }

    /// What is looked at.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Looks once.
    pub async fn collect(&mut self, at: Timestamp) -> Batch {
        let watch = Stopwatch::start();
        let mut samples = vec![sample(self.time.clone(), at.seconds()), sample(self.uname.clone(), 1.0)];
        let read = self.kernel(&mut samples);
        self.disks(&watch, &mut samples).await;
        let outcome = match read {
            Ok(()) => Outcome::Good,
            Err(failure) => Outcome::Failed(failure),
        };
        self.target.batch(at, watch.seconds(), outcome, samples)
    }

    /// Everything that stands in files under `/proc`; what one of them lacks does not cost the others.
    fn kernel(&mut self, samples: &mut Vec<Sample>) -> Result<(), Failure> {
        let stat = load("/proc/stat", &mut self.buffer).and_then(|()| self.stat(samples));
        let memory = load("/proc/meminfo", &mut self.buffer).and_then(|()| self.meminfo(samples));
        let loads = load("/proc/loadavg", &mut self.buffer).and_then(|()| self.loadavg(samples));
        let mounts = self.refresh_mounts();
        stat.and(memory).and(loads).and(mounts)
    }

    fn stat(&mut self, samples: &mut Vec<Sample>) -> Result<(), Failure> {
        let before = samples.len();
        for (i, (cpu, ticks)) in cpu_ticks(&self.buffer).enumerate() {
            if self.cpus.get(i).is_none_or(|(known, _)| known != cpu) {
                self.cpus.truncate(i);
                let series = |mode| self.target.series("node_cpu_seconds_total", &[("cpu", cpu), ("mode", mode)]);
                self.cpus.push((cpu.to_string(), MODES.map(series)));
            }
            let seconds = ticks.map(|n| n as f64 / self.ticks);
            samples.extend(self.cpus[i].1.iter().zip(seconds).map(|(labels, s)| sample(labels.clone(), s)));
        }
        let boot = field(&self.buffer, "btime").ok_or_else(|| unreadable("/proc/stat", "no btime"))?;
        samples.push(sample(self.boot.clone(), boot));
        if samples.len() == before + 1 { Err(unreadable("/proc/stat", "no processor")) } else { Ok(()) }
    }

    fn meminfo(&self, samples: &mut Vec<Sample>) -> Result<(), Failure> {
        for (name, labels) in MEMORY.iter().zip(&self.memory) {
            let kib = field(&self.buffer, name).ok_or_else(|| unreadable("/proc/meminfo", format!("no {name}")))?;
            samples.push(sample(labels.clone(), kib * 1024.0));
        }
        Ok(())
    }

    fn loadavg(&self, samples: &mut Vec<Sample>) -> Result<(), Failure> {
        let text = String::from_utf8_lossy(&self.buffer);
        let loads: Vec<f64> = text.split_ascii_whitespace().take(3).filter_map(|n| n.parse().ok()).collect();
        if loads.len() < 3 {
            return Err(unreadable("/proc/loadavg", "fewer than three numbers"));
        }
        samples.extend(self.loads.iter().zip(loads).map(|(labels, load)| sample(labels.clone(), load)));
        Ok(())
    }

    fn refresh_mounts(&mut self) -> Result<(), Failure> {
        load("/proc/self/mountinfo", &mut self.buffer)?;
        if self.buffer == self.mountinfo {
            return Ok(());
        }
        std::mem::swap(&mut self.buffer, &mut self.mountinfo);
        let found = real_mounts(&self.mountinfo, &self.config.ignore);
        let mut old = std::mem::take(&mut self.mounts);
        // A mount that stayed keeps its state: it may be hanging.
        self.mounts = found
            .into_iter()
            .map(|found| match old.iter().position(|m| m.found == found) {
                Some(i) => old.swap_remove(i),
                None => Mount::new(found, &self.target),
            })
            .collect();
        Ok(())
    }

    /// Looks at all mounts; one that hangs is passed over, and the rest tried again as long as there is time.
    async fn disks(&self, watch: &Stopwatch, samples: &mut Vec<Sample>) {
        let mut left: Vec<&Mount> = self.mounts.iter().collect();
        while !left.is_empty() {
            let (busy, free): (Vec<&Mount>, Vec<&Mount>) = left.into_iter().partition(|m| m.is_busy());
            samples.extend(busy.iter().map(|mount| sample(mount.error.clone(), 1.0)));
            let budget = HUNG.min(self.target.timeout - watch.elapsed());
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
        let labels = [("device", &*found.device), ("fstype", &*found.fstype), ("mountpoint", &*found.mountpoint)];
        let error = target.series("node_filesystem_device_error", &labels);
        let sizes = SIZES.map(|name| error.with(NAME, name));
        Mount { busy: Arc::default(), sizes, error, found }
    }

    fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    fn report(&self, sizes: Option<&Sizes>, samples: &mut Vec<Sample>) {
        samples.push(sample(self.error.clone(), if sizes.is_some() { 0.0 } else { 1.0 }));
        if let Some(sizes) = sizes {
            samples.extend(self.sizes.iter().zip(sizes).map(|(labels, n)| sample(labels.clone(), *n)));
        }
    }
}

/// Asks `look` about each mount in turn, apart from the async workers, for at most `budget`. Returns what came back
/// by then, in order; the one that did not is marked busy until it does, and none behind it is touched.
async fn measure(
    mounts: &[&Mount],
    budget: Span,
    look: impl Fn(&str) -> Option<Sizes> + Send + 'static,
) -> Vec<Option<Sizes>> {
    let jobs: Vec<(String, Arc<AtomicBool>)> =
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
            let sizes = look(&mountpoint);
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

fn statvfs(mountpoint: &str) -> Option<Sizes> {
    let stat = rustix::fs::statvfs(mountpoint).ok()?;
    let bytes = |blocks: u64| blocks as f64 * stat.f_frsize as f64;
    Some([bytes(stat.f_blocks), bytes(stat.f_bfree), bytes(stat.f_bavail), stat.f_files as f64, stat.f_ffree as f64])
}

fn load(path: &'static str, buffer: &mut Vec<u8>) -> Result<(), Failure> {
    read::into(Path::new(path), buffer, MAX_FILE).map_err(|e| unreadable(path, e.to_string()))
}

fn unreadable(path: &str, why: impl Into<String>) -> Failure {
    Failure::new("proc", format!("{path}: {}", why.into()))
}

/// Each processor of `/proc/stat` by its number, with its ticks by mode; modes that an old kernel lacks are 0.
fn cpu_ticks(stat: &[u8]) -> impl Iterator<Item = (&str, [u64; MODES.len()])> {
    stat.split(|b| *b == b'\n').filter_map(|line| {
        let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
        let cpu = words.next()?.strip_prefix("cpu").filter(|n| !n.is_empty())?;
        let mut ticks = [0; MODES.len()];
        for (slot, word) in ticks.iter_mut().zip(words) {
            *slot = word.parse().ok()?;
        }
        Some((cpu, ticks))
    })
}

/// The number behind `name` (or `name:`) at the beginning of a line.
fn field(file: &[u8], name: &str) -> Option<f64> {
    file.split(|b| *b == b'\n').find_map(|line| {
        let rest = line.strip_prefix(name.as_bytes())?;
        let rest = rest.strip_prefix(b":").unwrap_or(rest);
        let rest = rest.first().filter(|b| b.is_ascii_whitespace()).map(|_| rest)?;
        std::str::from_utf8(rest).ok()?.split_ascii_whitespace().next()?.parse().ok()
    })
}

/// The real file systems of `mountinfo`, one a device: a whole one before a part that is bound elsewhere, then the
/// shortest path.
fn real_mounts(mountinfo: &[u8], ignore: &[String]) -> Vec<Found> {
    let lines = mountinfo.split(|b| *b == b'\n').filter_map(|line| mount(std::str::from_utf8(line).ok()?));
    let mut all: Vec<(bool, Found)> =
        lines.filter(|(_, m)| !ignore.iter().any(|glob| matches_glob(glob, &m.mountpoint))).collect();
    all.sort_by_key(|(is_part, m)| (m.device.clone(), *is_part, m.mountpoint.len()));
    all.dedup_by(|later, kept| later.1.device == kept.1.device);
    all.truncate(MAX_MOUNTS);
    all.into_iter().map(|(_, found)| found).collect()
}

/// A line `36 35 98:0 /root /mountpoint options … - fstype device options`; none where it is not a real one that
/// can be written. Whether it shows only a part of its device comes first.
///
/// Only the file system's own options say whether it can be written: the mount's say what this process may do, and
/// a unit with `ProtectSystem=strict` sees every mount read-only.
fn mount(line: &str) -> Option<(bool, Found)> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let (root, mountpoint) = (before.next()?, before.next()?);
    let mut after = after.split(' ');
    let (fstype, device, super_options) = (after.next()?, after.next()?, after.next()?);
    if super_options.split(',').any(|o| o == "ro") || !REAL.contains(&fstype) {
        return None;
    }
    let found = Found { device: unescape(device), fstype: fstype.into(), mountpoint: unescape(mountpoint) };
    Some((root != "/", found))
}

/// The kernel writes blanks, line breaks and backslashes as three octal digits: `\040`.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
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
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether `text` fits `glob`, where `*` stands for any characters, `/` included, and `?` for one.
fn matches_glob(glob: &str, text: &str) -> bool {
    let (glob, text) = (glob.as_bytes(), text.as_bytes());
    let (mut g, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match glob.get(g) {
            Some(b'*') => {
                star = Some((g, t));
                g += 1;
            }
            Some(c) if *c == b'?' || *c == text[t] => {
                g += 1;
                t += 1;
            }
            // The last star takes one more.
            _ => match &mut star {
                Some((at, taken)) => {
                    *taken += 1;
                    (g, t) = (*at + 1, *taken);
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::{defaults, outcome, read, value};

    fn host(toml: &str) -> Host {
        let (config, problems) = read(toml, |node, problems| Config::read("host", node, &defaults(), problems));
        assert_eq!(problems, Vec::<String>::new());
        Host::new(config.unwrap())
    }

    #[tokio::test]
    async fn this_host_is_seen() {
        let mut host = host("");
        assert_eq!(host.target().interval, Span::secs(10));
        for _ in 0..2 {
            let batch = host.collect(Timestamp(5000)).await;
            assert_eq!(outcome(&batch), "good");
            assert_eq!(value(&batch, "node_time_seconds", &[]), Some(5.0));
            assert!(value(&batch, "node_memory_MemTotal_bytes", &[]) > Some(1e7));
            assert!(value(&batch, "node_boot_time_seconds", &[]) > Some(1e9));
            assert!(value(&batch, "node_cpu_seconds_total", &[("cpu", "0"), ("mode", "idle")]).is_some());
            assert!(value(&batch, "node_load1", &[("job", "host"), ("source", "host")]).is_some());
            assert_eq!(value(&batch, "probe_success", &[]), Some(1.0));
            assert!(batch.samples.iter().all(|s| NAMES.contains(&s.labels.name())));
        }
    }

    #[test]
    fn processors_and_fields_are_read() {
        let stat = b"cpu  9 9 9 9\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu12 1 2 3 4\nintr 5\nbtime 1700000000\n";
        let cpus: Vec<_> = cpu_ticks(stat).collect();
        assert_eq!(cpus, [("0", [1, 2, 3, 4, 5, 6, 7, 8]), ("12", [1, 2, 3, 4, 0, 0, 0, 0])]);
        assert_eq!(field(stat, "btime"), Some(1.7e9));
        assert_eq!(field(b"MemFree:  12 kB\nCachedX: 1\n", "MemFree"), Some(12.0));
        assert_eq!(field(b"SwapCached: 1 kB\nCached: 2 kB\n", "Cached"), Some(2.0));
        assert_eq!(field(b"CachedX: 1\n", "Cached"), None);
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
a line that is none
";
        let found = real_mounts(mountinfo.as_bytes(), &["/mnt/*".to_string()]);
        let paths: Vec<&str> = found.iter().map(|m| m.mountpoint.as_str()).collect();
        assert_eq!(paths, ["/", "/data", "/media", "/with blank"]);
    }

    #[test]
    fn globs_leave_mounts_out() {
        for (glob, text, wanted) in [
            ("/data", "/data", true),
            ("/data", "/data/x", false),
            ("/data/*", "/data/x/y", true),
            ("*", "/", true),
            ("/d?ta", "/data", true),
            ("/*/b*c", "/a/bbc", true),
            ("/*/b*c", "/a/bbd", false),
            ("", "/", false),
        ] {
            assert_eq!(matches_glob(glob, text), wanted, "{glob} {text}");
        }
    }

    fn mounts(target: &Target, paths: &[&str]) -> Vec<Mount> {
        let found = |p: &&str| Found { device: format!("/dev{p}"), fstype: "ext4".into(), mountpoint: p.to_string() };
        paths.iter().map(|p| Mount::new(found(p), target)).collect()
    }

    #[tokio::test]
    async fn a_mount_that_hangs_is_left_alone_until_it_returns() {
        let host = host("");
        let all = mounts(&host.target, &["/a", "/dead", "/b"]);
        let (release, gate) = std::sync::mpsc::channel::<()>();
        let gate = std::sync::Mutex::new(gate);
        let look = move |path: &str| {
            if path == "/dead" {
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
        let host = host("");
        let all = mounts(&host.target, &["/a"]);
        let measured = measure(&[&all[0]], Span::secs(5), |_| None).await;
        let mut samples = Vec::new();
        all[0].report(measured[0].as_ref(), &mut samples);
        assert_eq!(samples.len(), 1);
        assert_eq!((samples[0].labels.name(), samples[0].value), ("node_filesystem_device_error", 1.0));
    }

    #[test]
    fn every_mistake_of_the_table_is_named() {
        for (toml, wanted) in [
            ("disks = { ignored = [] }", "unknown key `ignored`"),
            ("disks = [\"/x\"]", "`disks` is a table"),
            ("processes = [\"nginx\"]", "unknown key `processes`"),
        ] {
            let (_, problems) = read(toml, |node, problems| Config::read("host", node, &defaults(), problems));
            assert_eq!(problems, [wanted], "{toml}");
        }
    }
}
