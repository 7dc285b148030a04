//! `[host]`: processors, memory, load, disks, network and pressure of this host, and the processes that are named.
//!
//! Enters: small files under `/proc` and `/sys`, and `statvfs` of each real file system. Leaves: the `node_*` series that
//! dashboards already know from the node exporter, `namedprocess_namegroup_*` of named processes, and the `probe_*` of
//! every source. One room a subject; each turns the text of a file into samples and can be tried without files.
//!
//! Labels are made once; files of the kernel stay open and are read into kept buffers; a line that is known costs a
//! comparison. The table of processes is walked only where processes are named.
//!
//! What can hang (a dead disk, a sensor on it, a driver) is looked at apart, for at most a second, and then left alone
//! until it comes back. What a kernel or a container lacks costs only its own series, and
//! `node_scrape_collector_success{collector}` is 0. The look itself fails only when the processors or the memory cannot be
//! read (`proc`), and when processes are named but could not all be seen (`processes`): else their missing series would
//! say that they are gone.

mod config;
mod diskstats;
mod filesystems;
mod hanging;
mod kernel;
mod lines;
mod memory;
mod names;
mod network;
mod parts;
mod processes;
mod rooms;
mod sensors;
mod sockets;
mod stat;
#[cfg(test)]
mod testing;

use std::io::Result;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use config::Config;
use parts::Parts;
use rooms::Rooms;
pub use rooms::{FILES, File, Need};

use super::common::{Target, sample};
use crate::base::{Batch, Failure, Labels, Outcome, Sample, Span, Timestamp};
use crate::sys::apart::Apart;
use crate::sys::clock::Stopwatch;
use crate::sys::read::{self, Kept};

/// The longest file that is read under `/proc`: some 20,000 processors, or disks.
const MAX_FILE: usize = 4 << 20;

/// The longest table of mounts: the 100,000 that the kernel allows.
const MAX_MOUNTINFO: usize = 16 << 20;

/// The longest `os-release`.
const MAX_RELEASE: usize = 64 << 10;

/// How long what can hang may take before it counts as hung; in health it takes microseconds.
const HUNG: Span = Span::secs(1);

/// This host.
#[derive(Debug)]
pub struct Host {
    config: Config,
    target: Arc<Target>,
    buffer: Vec<u8>,
    files: Vec<(File, Kept)>,
    rooms: Rooms,
    parts: Parts,
    filesystems: filesystems::Filesystems,
    mountinfo: (Kept, Vec<u8>),
    settings: Apart<network::Settings>,
    hwmon: Apart<sensors::Hwmon>,
    zones: Apart<sensors::Zones>,
    processes: Option<Apart<processes::Processes>>,
    release: Release,
    time: Labels,
    uname: Labels,
    /// How many samples the last look gave.
    n_samples: usize,
}

/// What the system calls itself, as its file said last.
#[derive(Debug)]
struct Release {
    paths: [PathBuf; 2],
    text: Vec<u8>,
    samples: Vec<Sample>,
}

impl Host {
    /// This host, not looked at yet.
    pub fn new(config: Config) -> Host {
        Host::at(config, Path::new("/"))
    }

    /// The host whose `/proc`, `/sys` and `/etc/os-release` lie below `root`, so that hosts that are written down can be
    /// looked at.
    pub fn at(config: Config, root: &Path) -> Host {
        let uname = rustix::system::uname();
        let target = Arc::new(Target::new(&config.common, uname.nodename().to_string_lossy().into_owned()));
        let ticks = procfs::ticks_per_second();
        let page = usize::try_from(procfs::page_size()).unwrap_or(4096);
        let proc = root.join("proc");
        let named = (!config.processes.is_empty())
            .then(|| processes::Processes::new(proc.clone(), &config.processes, &target, ticks, page));
        Host {
            buffer: Vec::new(),
            files: FILES.map(|file| (file, Kept::new(proc.join(file.path), MAX_FILE))).into(),
            rooms: Rooms::new(&target, ticks, page),
            parts: Parts::default(),
            filesystems: filesystems::Filesystems::new(config.ignore.clone()),
            mountinfo: (Kept::new(proc.join("self/mountinfo"), MAX_MOUNTINFO), Vec::new()),
            settings: Apart::new(network::Settings::new(root.join("sys/class/net"))),
            hwmon: Apart::new(sensors::Hwmon::new(root.join("sys/class/hwmon"))),
            zones: Apart::new(sensors::Zones::new(root.join("sys/class/thermal"))),
            processes: named.map(Apart::new),
            release: Release::new(root),
            time: target.series("node_time_seconds", &[]),
            uname: uname_info(&target, &uname),
            n_samples: 0,
            config,
            target,
        }
    }

    /// What is looked at.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The names that exist from the start. A kernel may write lines beyond these; they are series as soon as they are
    /// read.
    pub fn names(&self) -> Vec<&'static str> {
        names::all(!self.config.processes.is_empty())
    }

    /// Looks once.
    pub async fn collect(&mut self, at: Timestamp) -> Batch {
        let watch = Stopwatch::start();
        let mut samples = Vec::with_capacity(self.n_samples + 16);
        samples.push(sample(self.time.clone(), at.seconds()));
        samples.push(sample(self.uname.clone(), 1.0));
        let essential = self.kernel(&mut samples);
        let unseen = self.outside(&watch, &mut samples).await;
        self.n_samples = samples.len();
        let outcome = match essential.map(|why| Failure::new("proc", why)).or(unseen) {
            None => Outcome::Good,
            Some(failure) => Outcome::Failed(failure),
        };
        self.target.batch(at, watch.seconds(), outcome, samples)
    }

    /// Everything that stands in the memory of the kernel, which never hangs. Returns what essential thing is missing.
    fn kernel(&mut self, samples: &mut Vec<Sample>) -> Option<String> {
        let Host { buffer, files, rooms, parts, target, .. } = self;
        let mut essential = None;
        for (file, kept) in files {
            let read = kept.read(buffer).and_then(|()| rooms.read(file.room, buffer, target, samples));
            if let (Err(e), true) = (&read, file.need == Need::Essential && essential.is_none()) {
                essential = Some(e.to_string());
            }
            if file.need != Need::Optional {
                parts.add(file.part, read);
            }
        }
        for (part, told) in rooms.told.drain(..) {
            parts.add(part, told);
        }
        let (kept, buffer) = &mut self.mountinfo;
        self.parts.add("filesystem", kept.read(buffer).and_then(|()| self.filesystems.refresh(buffer, &self.target)));
        self.parts.add("os", self.release.refresh(&self.target, samples));
        essential
    }

    /// What can hang, each apart from the others, and then how all parts went. Returns why the processes that are named
    /// could not be seen.
    async fn outside(&mut self, watch: &Stopwatch, samples: &mut Vec<Sample>) -> Option<Failure> {
        let timeout = self.target.timeout;
        let budget = HUNG.min(timeout - watch.elapsed()).max(Span::millis(1));
        let [mut disks, mut net, mut chips, mut warmth, mut named] = [const { Vec::new() }; 5];
        let boot = self.rooms.stat.boot;
        let target = || self.target.clone();
        let (for_net, for_chips, for_zones) = (target(), target(), target());
        let walk = async {
            match &mut self.processes {
                Some(groups) => {
                    Some(hanging::look(groups, budget, &mut named, move |p, seen| p.look(boot, budget, seen)).await)
                }
                None => None,
            }
        };
        let ((), settings, hwmon, zones, processes) = tokio::join!(
            self.filesystems.look(timeout, watch, &mut disks),
            hanging::look(&mut self.settings, budget, &mut net, move |s, seen| s.look(&for_net, seen)),
            hanging::look(&mut self.hwmon, budget, &mut chips, move |s, seen| s.look(&for_chips, seen)),
            hanging::look(&mut self.zones, budget, &mut warmth, move |s, seen| s.look(&for_zones, seen)),
            walk,
        );
        for more in [disks, net, chips, warmth, named] {
            samples.extend(more);
        }
        self.parts.add("netclass", settings);
        self.parts.add("hwmon", hwmon);
        self.parts.add("thermal_zone", zones);
        let unseen = processes.as_ref().and_then(|walk| walk.as_ref().err()).map(processes::failure);
        if let Some(processes) = processes {
            self.parts.add("namedprocess", processes);
        }
        self.parts.report(&self.target, samples);
        unseen
    }
}

/// The readers of all files, without the files: what a kernel writes, or something that pretends to be one, is read from
/// text. What a reader keeps from one text to the next is kept here as well.
#[derive(Debug)]
pub struct Readers {
    target: Target,
    rooms: Rooms,
    filesystems: filesystems::Filesystems,
}

impl Readers {
    /// Readers that have not read anything.
    pub fn new(config: &Config) -> Readers {
        let target = Target::new(&config.common, "here".into());
        let rooms = Rooms::new(&target, 100, 4096);
        Readers { target, rooms, filesystems: filesystems::Filesystems::new(config.ignore.clone()) }
    }

    /// Reads `text` as the file at `path`: one of [`FILES`], `self/mountinfo`, `PID/stat` or `os-release`.
    ///
    /// # Errors
    /// When the text is not as the kernel writes it; what could be read is in `samples` nevertheless.
    pub fn read(&mut self, path: &str, text: &[u8], samples: &mut Vec<Sample>) -> Result<()> {
        match path {
            "self/mountinfo" => self.filesystems.refresh(&mut text.to_vec(), &self.target),
            "os-release" => {
                samples.extend(kernel::os_release(text, &self.target));
                Ok(())
            }
            "PID/stat" => processes::check(text),
            _ => {
                let file = FILES.iter().find(|file| file.path == path);
                let file = file.ok_or_else(|| lines::odd(path, "nobody reads this file"))?;
                let read = self.rooms.read(file.room, text, &self.target, samples);
                self.rooms.told.drain(..).map(|(_, told)| told).fold(read, Result::and)
            }
        }
    }
}

fn uname_info(target: &Target, uname: &rustix::system::Uname) -> Labels {
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let labels = [
        ("domainname", &*text(uname.domainname())),
        ("machine", &*text(uname.machine())),
        ("nodename", &*text(uname.nodename())),
        ("release", &*text(uname.release())),
        ("sysname", &*text(uname.sysname())),
        ("version", &*text(uname.version())),
    ];
    target.series("node_uname_info", &labels)
}

impl Release {
    fn new(root: &Path) -> Release {
        let paths = [root.join("etc/os-release"), root.join("usr/lib/os-release")];
        Release { paths, text: Vec::new(), samples: Vec::new() }
    }

    /// Reads the file, which an upgrade replaces; understands it only when it changed.
    fn refresh(&mut self, target: &Target, samples: &mut Vec<Sample>) -> Result<()> {
        let mut text = Vec::new();
        read::into(&self.paths[0], &mut text, MAX_RELEASE)
            .or_else(|_| read::into(&self.paths[1], &mut text, MAX_RELEASE))
            .map_err(|e| std::io::Error::new(e.kind(), format!("{}: {e}", self.paths[1].display())))?;
        if text != self.text || self.samples.is_empty() {
            self.samples = kernel::os_release(&text, target);
            self.text = text;
        }
        samples.extend(self.samples.iter().cloned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::testing::config;
    use super::*;
    use crate::source::testing::{outcome, value};

    #[tokio::test]
    async fn this_host_is_seen() {
        let mut host = Host::new(config("processes = [\"systemd\"]"));
        assert_eq!(host.target().interval, Span::secs(10));
        let names = host.names();
        for _ in 0..2 {
            let batch = host.collect(Timestamp(5000)).await;
            assert_eq!(outcome(&batch), "good");
            assert_eq!(value(&batch, "node_time_seconds", &[]), Some(5.0));
            assert!(value(&batch, "node_memory_MemTotal_bytes", &[]) > Some(1e7));
            assert!(value(&batch, "node_boot_time_seconds", &[]) > Some(1e9));
            assert!(value(&batch, "node_cpu_seconds_total", &[("cpu", "0"), ("mode", "idle")]).is_some());
            assert!(value(&batch, "node_load1", &[("job", "host"), ("source", "host")]).is_some());
            assert_eq!(value(&batch, "node_scrape_collector_success", &[("collector", "stat")]), Some(1.0));
            assert_eq!(value(&batch, "probe_success", &[]), Some(1.0));
            let open = |name: &str| {
                ["node_memory_", "node_vmstat_", "node_netstat_", "node_sockstat_"].iter().any(|p| name.starts_with(p))
            };
            let undeclared: Vec<&str> =
                batch.samples.iter().map(|s| s.labels.name()).filter(|n| !names.contains(n) && !open(n)).collect();
            assert_eq!(undeclared, Vec::<&str>::new());
        }
    }

    #[tokio::test]
    async fn named_processes_that_cannot_be_seen_fail_the_look_and_nothing_else_is_lost() {
        // `/proc` of a host with `hidepid`: the kernel's files are there, the first process is not.
        let root = tempfile::tempdir().unwrap();
        let proc = root.path().join("proc");
        std::fs::create_dir_all(&proc).unwrap();
        for file in ["stat", "meminfo"] {
            std::fs::copy(Path::new("/proc").join(file), proc.join(file)).unwrap();
        }
        let batch = Host::at(config("processes = [\"nginx\"]"), root.path()).collect(Timestamp(5000)).await;
        assert!(outcome(&batch).starts_with("processes: processes of other users are hidden"), "{}", outcome(&batch));
        assert!(outcome(&batch).contains("gid="), "it says what to do: {}", outcome(&batch));
        assert_eq!(value(&batch, "probe_success", &[]), Some(0.0));
        assert_eq!(value(&batch, "probe_failure_info", &[("reason", "processes")]), Some(1.0));
        assert_eq!(value(&batch, "node_scrape_collector_success", &[("collector", "namedprocess")]), Some(0.0));
        assert!(value(&batch, "node_memory_MemTotal_bytes", &[]).is_some());
        let named = batch.samples.iter().filter(|s| s.labels.name().starts_with("namedprocess_")).count();
        assert_eq!(named, 0, "0 would say that they are gone");
        let batch = Host::at(config(""), root.path()).collect(Timestamp(5000)).await;
        assert_eq!(outcome(&batch), "good", "where nobody asks for processes, nothing is amiss");
    }

    #[test]
    fn a_name_is_declared_once() {
        let mut names = names::all(true);
        let n = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), n);
    }
}
