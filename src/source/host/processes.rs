//! The processes of the names that are configured, found by walking `/proc` (`namedprocess_namegroup_*`).
//!
//! A name is what the kernel calls the process (`ps -o comm`), of which it keeps fifteen bytes. Processes that ended and
//! were not collected by their parent do not count.
//!
//! A group's counter of processor time begins at 0 with the first walk, which only notes what each process has used so
//! far: after a restart or a reload a counter that began with all of it would stand below what it was before, and `rate()`
//! would add all of it as if it had been used just now. From then on it adds what each process used since the walk
//! before, and of a process that appears later all that it has used. So it does not fall when one of its processes ends. What a
//! process uses between the last walk and its end is lost. A process that some walks missed is remembered for a while,
//! so that it does not count from its start again.

use std::collections::HashMap;
use std::io::{Error, ErrorKind, Result};
use std::path::PathBuf;

use rustix::io::Errno;

use super::lines::{odd, whole, words};
use crate::base::{Failure, Labels, Sample, Span};
use crate::source::common::{Target, sample};
use crate::sys::clock::Stopwatch;
use crate::sys::read::Folder;

/// How much of a process's name the kernel keeps, in bytes.
pub(super) const MAX_NAME: usize = 15;

/// The most names that can be configured.
pub(super) const MAX_NAMES: usize = 64;

/// The most processes of all groups together that are looked into.
const MAX_MEMBERS: usize = 4096;

/// The most processes that are remembered, those of earlier walks included.
const MAX_REMEMBERED: usize = 4 * MAX_MEMBERS;

/// For how many walks a process that is not seen is remembered.
const REMEMBERED_WALKS: u64 = 3;

/// The most file descriptors of one process that are counted one by one.
const MAX_DESCRIPTORS: usize = 65_536;

/// The longest file of a process.
const MAX_FILE: usize = 4096;

/// The series of a group.
pub(super) const SERIES: [&str; 5] = [
    "namedprocess_namegroup_num_procs",
    "namedprocess_namegroup_cpu_seconds_total",
    "namedprocess_namegroup_memory_bytes",
    "namedprocess_namegroup_open_filedesc",
    "namedprocess_namegroup_oldest_start_time_seconds",
];

/// The groups of processes, and where they are found.
#[derive(Debug)]
pub(super) struct Processes {
    path: PathBuf,
    proc: Option<Folder>,
    ticks_per_second: f64,
    page: f64,
    groups: Vec<Group>,
    /// Which group a process belongs to, and what it had used when it was seen last. A number that was given to another
    /// process has another start.
    members: HashMap<Member, Used>,
    /// Until a walk was whole, a process that is seen for the first time may have been there before: what it has used is
    /// not added.
    is_first: bool,
    buffer: Vec<u8>,
    walk: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Member {
    pid: u32,
    start: u64,
    group: usize,
}

#[derive(Clone, Copy, Debug)]
struct Used {
    user: u64,
    system: u64,
    walk: u64,
}

/// A name, its counters and the labels of its series.
#[derive(Debug)]
struct Group {
    name: Vec<u8>,
    user: u64,
    system: u64,
    now: Now,
    n: Labels,
    cpu: [Labels; 2],
    memory: [Labels; 2],
    descriptors: Labels,
    oldest: Labels,
}

/// What one walk found of a group.
#[derive(Clone, Copy, Debug, Default)]
struct Now {
    n: u64,
    resident: f64,
    size: f64,
    /// None when those of one process could not be counted.
    descriptors: Option<u64>,
    oldest: Option<u64>,
}

/// What `/proc/PID/stat` says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    is_dead: bool,
    /// Ticks.
    user: u64,
    /// Ticks.
    system: u64,
    /// Ticks after the start of the host.
    start: u64,
    /// Bytes.
    size: u64,
    /// Pages.
    resident: u64,
}

impl Processes {
    pub(super) fn new(
        path: PathBuf,
        names: &[String],
        target: &Target,
        ticks_per_second: u64,
        page: usize,
    ) -> Processes {
        Processes {
            path,
            proc: None,
            ticks_per_second: ticks_per_second.max(1) as f64,
            page: page as f64,
            groups: names.iter().map(|name| Group::new(name, target)).collect(),
            members: HashMap::new(),
            is_first: true,
            buffer: Vec::new(),
            walk: 0,
        }
    }

    /// Walks all processes once, for at most `budget`. `boot` is when the host was started, in seconds since 1970.
    ///
    /// A walk that could not see everything gives no samples: a group of 0 would say that a service is gone.
    pub(super) fn look(&mut self, boot: Option<f64>, budget: Span, samples: &mut Vec<Sample>) -> Result<()> {
        let watch = Stopwatch::start();
        let mut proc = match self.proc.take() {
            Some(proc) => proc,
            None => Folder::open(&self.path)?,
        };
        self.walk += 1;
        for group in &mut self.groups {
            group.now = Now { descriptors: Some(0), ..Now::default() };
        }
        self.can_see_others(&proc)?;
        let mut pids: Vec<u32> = Vec::new();
        proc.names(|name| {
            pids.extend(whole(name).and_then(|pid| u32::try_from(pid).ok()));
            true
        })?;
        for pid in pids {
            if watch.elapsed() > budget {
                return Err(Error::new(
                    ErrorKind::TimedOut,
                    format!("the walk through /proc took longer than {budget}"),
                ));
            }
            self.process(&proc, pid)?;
        }
        self.proc = Some(proc);
        let walk = self.walk;
        self.members.retain(|_, used| walk - used.walk <= REMEMBERED_WALKS);
        self.is_first = false;
        for group in &self.groups {
            group.report(boot, self.ticks_per_second, samples);
        }
        Ok(())
    }

    /// Where `/proc` is mounted with `hidepid`, the first process is hidden with the others.
    fn can_see_others(&mut self, proc: &Folder) -> Result<()> {
        proc.read("1/stat", &mut self.buffer, MAX_FILE).map_err(|e| match e.kind() {
            ErrorKind::NotFound | ErrorKind::PermissionDenied => {
                let why = format!("processes of other users are hidden (hidepid, ProtectProc): /proc/1/stat: {e}");
                Error::new(ErrorKind::PermissionDenied, why)
            }
            kind => Error::new(kind, format!("/proc/1/stat: {e}")),
        })
    }

    /// Replaces the buffer by a file of a process; false when the process ended meanwhile. No other error says that it
    /// ended: without a free descriptor every process would look so.
    fn read(&mut self, proc: &Folder, pid: u32, file: &str) -> Result<bool> {
        let path = format!("{pid}/{file}");
        match proc.read(&path, &mut self.buffer, MAX_FILE) {
            Ok(()) => Ok(true),
            Err(e) if is_ended(&e) => Ok(false),
            Err(e) => Err(Error::new(e.kind(), format!("/proc/{path}: {e}"))),
        }
    }

    /// Looks at one process; one that ended meanwhile is none.
    fn process(&mut self, proc: &Folder, pid: u32) -> Result<()> {
        if !self.read(proc, pid, "comm")? {
            return Ok(());
        }
        let comm = self.buffer.strip_suffix(b"\n").unwrap_or(&self.buffer);
        let Some(i) = self.groups.iter().position(|group| group.name == comm) else { return Ok(()) };
        if !self.read(proc, pid, "stat")? {
            return Ok(());
        }
        let Some(stat) = process_stat(&self.buffer) else { return check(&self.buffer) };
        if stat.is_dead {
            return Ok(());
        }
        let member = Member { pid, start: stat.start, group: i };
        let used = Used { user: stat.user, system: stat.system, walk: self.walk };
        let before = self.before(member, used)?;
        let group = &mut self.groups[i];
        group.user += stat.user.saturating_sub(before.user);
        group.system += stat.system.saturating_sub(before.system);
        let now = &mut group.now;
        now.n += 1;
        now.resident += stat.resident as f64 * self.page;
        now.size += stat.size as f64;
        now.oldest = Some(now.oldest.map_or(stat.start, |oldest| oldest.min(stat.start)));
        if let Some(sum) = now.descriptors {
            now.descriptors = match proc.count(&format!("{pid}/fd"), MAX_DESCRIPTORS) {
                Ok(n) => Some(sum + n as u64),
                // It ended just now.
                Err(e) if is_ended(&e) => Some(sum),
                // Before Linux 6.2 they may not be counted.
                Err(e) if e.kind() == ErrorKind::PermissionDenied => None,
                Err(e) => return Err(Error::new(e.kind(), format!("/proc/{pid}/fd: {e}"))),
            };
        }
        Ok(())
    }

    /// Notes what a process has used, and returns what it had used before.
    fn before(&mut self, member: Member, used: Used) -> Result<Used> {
        if self.groups.iter().map(|group| group.now.n).sum::<u64>() >= MAX_MEMBERS as u64 {
            return Err(odd("/proc", &format!("more than {MAX_MEMBERS} processes have these names")));
        }
        if self.members.len() >= MAX_REMEMBERED {
            // Walk after walk failed, or they come and go by thousands: who was not met in this walk begins anew.
            let walk = self.walk;
            self.members.retain(|_, used| used.walk == walk);
            self.is_first = true;
        }
        let unknown = if self.is_first { used } else { Used { user: 0, system: 0, ..used } };
        Ok(self.members.insert(member, used).unwrap_or(unknown))
    }
}

impl Group {
    fn new(name: &str, target: &Target) -> Group {
        let series = |of: &str, more: &[(&str, &str)]| {
            let labels: Vec<(&str, &str)> = more.iter().copied().chain([("groupname", name)]).collect();
            target.series(of, &labels)
        };
        let [n, cpu, memory, descriptors, oldest] = SERIES;
        let bytes = name.as_bytes();
        Group {
            name: bytes[..bytes.len().min(MAX_NAME)].to_vec(),
            user: 0,
            system: 0,
            now: Now::default(),
            n: series(n, &[]),
            cpu: ["user", "system"].map(|mode| series(cpu, &[("mode", mode)])),
            memory: ["resident", "virtual"].map(|kind| series(memory, &[("memtype", kind)])),
            descriptors: series(descriptors, &[]),
            oldest: series(oldest, &[]),
        }
    }

    fn report(&self, boot: Option<f64>, ticks_per_second: f64, samples: &mut Vec<Sample>) {
        let now = &self.now;
        let mut push = |labels: &Labels, value: f64| samples.push(sample(labels.clone(), value));
        push(&self.n, now.n as f64);
        push(&self.cpu[0], self.user as f64 / ticks_per_second);
        push(&self.cpu[1], self.system as f64 / ticks_per_second);
        push(&self.memory[0], now.resident);
        push(&self.memory[1], now.size);
        if let Some(n) = now.descriptors {
            push(&self.descriptors, n as f64);
        }
        if let (Some(boot), Some(start)) = (boot, now.oldest) {
            push(&self.oldest, boot + start as f64 / ticks_per_second);
        }
    }
}

/// The failure of a look whose walk failed, with what to do.
pub(super) fn failure(error: &Error) -> Failure {
    let what_to_do = match error.kind() {
        ErrorKind::PermissionDenied => {
            "mount /proc with gid= of the group of backstop, or without hidepid; in the unit, ProtectProc=default"
        }
        ErrorKind::TimedOut => "this host is overloaded, or has too many processes to be walked through",
        _ => "`processes` can be left out of [host] where they cannot be seen",
    };
    Failure::new("processes", format!("{error}; {what_to_do}"))
}

/// Whether this is how a process that ended answers: its folder is gone (`ENOENT`), or was opened before (`ESRCH`).
fn is_ended(error: &Error) -> bool {
    let ended = [Errno::NOENT, Errno::SRCH].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| ended.contains(&code))
}

/// Whether this is what the kernel writes into `/proc/PID/stat`.
pub(super) fn check(file: &[u8]) -> Result<()> {
    process_stat(file).map(|_| ()).ok_or_else(|| odd("/proc/PID/stat", "not as the kernel writes it"))
}

/// Reads `/proc/PID/stat`: `12 (a name) S 1 …`. The name may hold anything, parentheses and blanks included.
fn process_stat(file: &[u8]) -> Option<Stat> {
    let end = memchr::memrchr(b')', file)?;
    let fields: Vec<&[u8]> = words(&file[end + 1..]).take(22).collect();
    let field = |i: usize| fields.get(i - 3).copied();
    let number = |i: usize| field(i).and_then(whole);
    Some(Stat {
        is_dead: [&b"Z"[..], b"X", b"x"].contains(&field(3)?),
        user: number(14)?,
        system: number(15)?,
        start: number(22)?,
        size: number(23)?,
        // A kernel thread has none; some kernels have written a small negative number.
        resident: number(24).unwrap_or(0),
    })
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests write the files that are read")]
mod tests {
    use super::*;
    use crate::source::host::testing::{shown, target};

    struct Fake(tempfile::TempDir);

    impl Fake {
        fn new() -> Fake {
            let fake = Fake(tempfile::tempdir().unwrap());
            fake.put(1, "systemd", 'S', [1, 1], 0);
            fake
        }

        fn put(&self, pid: u32, comm: &str, state: char, ticks: [u64; 2], start: u64) {
            let folder = self.0.path().join(pid.to_string());
            std::fs::create_dir_all(folder.join("fd")).unwrap();
            std::fs::write(folder.join("fd/0"), "").unwrap();
            std::fs::write(folder.join("comm"), format!("{comm}\n")).unwrap();
            let [user, system] = ticks;
            let stat = format!(
                "{pid} ({comm}) {state} 1 1 1 0 -1 4194560 1 2 3 4 {user} {system} 7 8 20 0 1 0 {start} 1000 10 184\n"
            );
            std::fs::write(folder.join("stat"), stat).unwrap();
        }

        fn end(&self, pid: u32) {
            std::fs::remove_dir_all(self.0.path().join(pid.to_string())).unwrap();
        }

        fn processes(&self, names: &[&str]) -> Processes {
            let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
            Processes::new(self.0.path().into(), &names, &target(), 100, 4096)
        }
    }

    fn look(processes: &mut Processes) -> Vec<String> {
        let mut samples = Vec::new();
        processes.look(Some(1000.0), Span::secs(60), &mut samples).unwrap();
        // How many descriptors a folder of files has is no matter of these tests.
        shown(&samples)
            .into_iter()
            .filter(|s| !s.contains("open_filedesc"))
            .map(|s| s.replace("namedprocess_namegroup_", ""))
            .collect()
    }

    #[test]
    fn the_processes_of_a_name_are_summed() {
        let fake = Fake::new();
        fake.put(10, "nginx", 'S', [100, 50], 500);
        fake.put(11, "nginx", 'R', [200, 0], 700);
        fake.put(12, "nginx", 'Z', [999, 999], 1);
        fake.put(13, "nginx-helper", 'S', [1, 1], 1);
        let mut processes = fake.processes(&["nginx", "postgres"]);
        look(&mut processes);
        fake.put(10, "nginx", 'S', [115, 100], 500);
        fake.put(11, "nginx", 'R', [210, 0], 700);
        assert_eq!(
            look(&mut processes),
            [
                "num_procs{groupname=\"nginx\"} 2",
                "cpu_seconds_total{groupname=\"nginx\",mode=\"user\"} 0.25",
                "cpu_seconds_total{groupname=\"nginx\",mode=\"system\"} 0.5",
                "memory_bytes{groupname=\"nginx\",memtype=\"resident\"} 81920",
                "memory_bytes{groupname=\"nginx\",memtype=\"virtual\"} 2000",
                "oldest_start_time_seconds{groupname=\"nginx\"} 1005",
                "num_procs{groupname=\"postgres\"} 0",
                "cpu_seconds_total{groupname=\"postgres\",mode=\"user\"} 0",
                "cpu_seconds_total{groupname=\"postgres\",mode=\"system\"} 0",
                "memory_bytes{groupname=\"postgres\",memtype=\"resident\"} 0",
                "memory_bytes{groupname=\"postgres\",memtype=\"virtual\"} 0",
            ]
        );
    }

    #[test]
    fn a_counter_does_not_fall_when_a_process_ends() {
        let fake = Fake::new();
        let mut processes = fake.processes(&["nginx"]);
        let mut user = |wanted: f64| {
            assert_eq!(
                look(&mut processes)[1],
                format!("cpu_seconds_total{{groupname=\"nginx\",mode=\"user\"}} {wanted}")
            )
        };
        fake.put(10, "nginx", 'S', [100, 0], 500);
        fake.put(11, "nginx", 'S', [200, 0], 600);
        user(0.0);
        fake.put(10, "nginx", 'S', [150, 0], 500);
        fake.end(11);
        user(0.5);
        fake.put(11, "nginx", 'S', [20, 0], 900);
        user(0.7);
        fake.put(10, "nginx", 'S', [10, 0], 950);
        user(0.8);
        fake.put(10, "nginx", 'S', [5, 0], 950);
        user(0.8);
        fake.end(10);
        fake.end(11);
        user(0.8);
    }

    fn user(processes: &mut Processes) -> f64 {
        look(processes)[1].rsplit_once(' ').unwrap().1.parse().unwrap()
    }

    #[test]
    fn a_restart_begins_a_counter_at_nothing_whatever_the_living_have_used() {
        let fake = Fake::new();
        fake.put(10, "nginx", 'S', [1181, 0], 500);
        for _ in 0..2 {
            let mut restarted = fake.processes(&["nginx"]);
            assert_eq!(user(&mut restarted), 0.0);
            assert_eq!(user(&mut restarted), 0.0);
            fake.put(11, "nginx", 'S', [30, 0], 600);
            assert_eq!(user(&mut restarted), 0.3, "one that came later counts from its start");
            fake.end(11);
        }
    }

    #[test]
    fn a_first_walk_that_failed_is_no_first_walk() {
        let fake = Fake::new();
        fake.put(10, "nginx", 'S', [1000, 0], 500);
        let mut processes = fake.processes(&["nginx"]);
        processes.look(None, Span::ZERO - Span::secs(1), &mut Vec::new()).unwrap_err();
        assert_eq!(user(&mut processes), 0.0);
    }

    #[test]
    fn a_process_that_walks_missed_does_not_count_from_its_start_again() {
        let fake = Fake::new();
        fake.put(10, "nginx", 'S', [1000, 0], 500);
        let mut processes = fake.processes(&["nginx"]);
        user(&mut processes);
        fake.end(10);
        for _ in 0..REMEMBERED_WALKS {
            user(&mut processes);
        }
        fake.put(10, "nginx", 'S', [1020, 0], 500);
        assert_eq!(user(&mut processes), 0.2);
        fake.end(10);
        for _ in 0..=REMEMBERED_WALKS {
            user(&mut processes);
        }
        assert_eq!(processes.members.len(), 0, "it is not remembered for ever");
    }

    #[test]
    fn what_is_remembered_is_bounded_and_begins_anew_without_a_jump() {
        let fake = Fake::new();
        fake.put(10, "nginx", 'S', [1000, 0], 500);
        let mut processes = fake.processes(&["nginx"]);
        user(&mut processes);
        let used = Used { user: 0, system: 0, walk: 1 };
        processes.members.extend((0..MAX_REMEMBERED as u64).map(|start| (Member { pid: 9, start, group: 0 }, used)));
        assert_eq!(user(&mut processes), 0.0);
        assert_eq!(processes.members.len(), 1);
        fake.put(10, "nginx", 'S', [1010, 0], 500);
        assert_eq!(user(&mut processes), 0.1);
    }

    #[test]
    fn a_long_name_is_what_the_kernel_keeps_of_it() {
        let fake = Fake::new();
        fake.put(10, "prometheus-node", 'S', [1, 1], 1);
        assert_eq!(
            look(&mut fake.processes(&["prometheus-node-exporter"]))[0],
            "num_procs{groupname=\"prometheus-node-exporter\"} 1"
        );
    }

    #[test]
    fn a_walk_that_cannot_see_everything_gives_nothing() {
        let fake = Fake::new();
        let told = |processes: &mut Processes, budget: Span| {
            let mut samples = Vec::new();
            let error = processes.look(None, budget, &mut samples).unwrap_err().to_string();
            assert_eq!(samples, []);
            error
        };
        assert!(told(&mut fake.processes(&["nginx"]), Span::ZERO - Span::secs(1)).contains("took longer"));
        fake.put(10, "nginx", 'S', [1, 1], 1);
        std::fs::write(fake.0.path().join("10/stat"), "10 (nginx) S 1").unwrap();
        assert!(told(&mut fake.processes(&["nginx"]), Span::secs(60)).contains("not as the kernel writes it"));
        fake.end(1);
        assert!(told(&mut fake.processes(&["nginx"]), Span::secs(60)).contains("are hidden"));
    }

    #[test]
    fn a_process_that_ended_is_none_and_one_that_cannot_be_read_fails_the_walk() {
        for file in ["comm", "stat"] {
            let fake = Fake::new();
            fake.put(10, "nginx", 'S', [1, 1], 1);
            fake.put(11, "nginx", 'S', [1, 1], 1);
            let path = fake.0.path().join(format!("11/{file}"));
            std::fs::remove_file(&path).unwrap();
            assert_eq!(look(&mut fake.processes(&["nginx"]))[0], "num_procs{groupname=\"nginx\"} 1");
            std::fs::create_dir(&path).unwrap();
            let mut samples = Vec::new();
            let error = fake.processes(&["nginx"]).look(None, Span::secs(60), &mut samples).unwrap_err().to_string();
            assert!(error.starts_with(&format!("/proc/11/{file}: ")), "{error}");
            assert_eq!(samples, []);
        }
        for (errno, wanted) in
            [(Errno::NOENT, true), (Errno::SRCH, true), (Errno::MFILE, false), (Errno::ACCESS, false)]
        {
            assert_eq!(is_ended(&errno.into()), wanted, "{errno}");
        }
    }

    #[test]
    fn without_a_free_descriptor_nothing_is_said_to_be_hidden_or_gone() {
        let fake = Fake::new();
        std::fs::remove_file(fake.0.path().join("1/stat")).unwrap();
        std::fs::create_dir(fake.0.path().join("1/stat")).unwrap();
        let error = fake.processes(&["nginx"]).look(None, Span::secs(60), &mut Vec::new()).unwrap_err();
        assert!(
            error.to_string().starts_with("/proc/1/stat: ") && !failure(&error).detail.contains("hidepid"),
            "{error}"
        );
    }

    #[test]
    fn names_with_parentheses_and_blanks_are_read() {
        let read = process_stat(b"7 (a) S (b \n) c) R 1 1 1 0 -1 4 1 2 3 4 14 15 7 8 20 0 1 0 22 23 24 184\n").unwrap();
        assert_eq!(read, Stat { is_dead: false, user: 14, system: 15, start: 22, size: 23, resident: 24 });
        for odd in ["", "7 (a", "7 (a)", "7 (a) S 1 2", "7 (a) R 1 1 1 0 -1 4 1 2 3 4 x 15 7 8 20 0 1 0 22 23 24"] {
            assert_eq!(process_stat(odd.as_bytes()), None, "{odd}");
        }
    }
}
