//! Control groups: what a container or a unit uses, read from the kernel's own files, of version 1, 2, or both at once.
//!
//! Enters: a process or a path of a group. Leaves: [`Figures`]. The files of a group are opened once and then read from
//! their beginning, each with one call of the kernel, so a look at a group costs some microseconds and allocates nothing.
//! Files: <https://docs.kernel.org/admin-guide/cgroup-v2.html> and <https://docs.kernel.org/admin-guide/cgroup-v1/>.

mod files;
mod group;
mod mounts;
mod network;
mod place;
#[cfg(test)]
mod tests;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use super::read::{self, Folder};
use group::Budget;
use mounts::Hierarchy;

pub use group::Group;
pub use network::{MAX_INTERFACES, Network};

/// What a group uses and may use. A field is none where the kernel does not say: no such file, no such line, no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Processor time since the group was made, in seconds.
    pub cpu_usage: Option<f64>,
    /// Of that the time in programs.
    pub cpu_user: Option<f64>,
    /// Of that the time in the kernel.
    pub cpu_system: Option<f64>,
    /// Periods of a quota in which something wanted to run.
    pub cpu_periods: Option<u64>,
    /// Of those the ones in which the quota was used up.
    pub cpu_throttled_periods: Option<u64>,
    /// How long that held processes back, in seconds, summed over processors.
    pub cpu_throttled: Option<f64>,
    /// Processors that the quota stands for (quota by period); none without a quota.
    pub cpu_limit: Option<f64>,
    /// Bytes of memory, with the page cache.
    pub memory_usage: Option<u64>,
    /// Bytes of the page cache that were not used of late and can be given back.
    pub memory_inactive_file: Option<u64>,
    /// Bytes that stand behind no file.
    pub memory_rss: Option<u64>,
    /// Bytes of the page cache.
    pub memory_cache: Option<u64>,
    /// Bytes that are swapped out.
    pub memory_swap: Option<u64>,
    /// The most bytes that were used at once.
    pub memory_max_usage: Option<u64>,
    /// How often the limit was reached.
    pub memory_failures: Option<u64>,
    /// Bytes that may be used; none where there is no limit. In version 1 the lowest limit of this group and those around
    /// it; in version 2 its own.
    pub memory_limit: Option<u64>,
    /// Processes that were killed for want of memory.
    pub oom_kills: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// How many of those there may be; none where there is no limit.
    pub pids_limit: Option<u64>,
    /// Bytes read from block devices, over all of them.
    pub read_bytes: Option<u64>,
    /// Bytes written to block devices.
    pub written_bytes: Option<u64>,
    /// Reads from block devices.
    pub reads: Option<u64>,
    /// Writes to block devices.
    pub writes: Option<u64>,
}

impl Figures {
    /// Bytes of memory that cannot be given back: the usage without inactive page cache, never below 0.
    pub fn working_set(&self) -> Option<u64> {
        Some(self.memory_usage?.saturating_sub(self.memory_inactive_file?))
    }
}

/// What went through a network interface since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// `eth0`
    pub name: String,
    /// Bytes that came in.
    pub received_bytes: u64,
    /// Packets that came in.
    pub received_packets: u64,
    /// Packets that came in broken.
    pub received_errors: u64,
    /// Packets that came in and found no room.
    pub received_dropped: u64,
    /// Bytes that went out.
    pub sent_bytes: u64,
    /// Packets that went out.
    pub sent_packets: u64,
    /// Packets that could not go out.
    pub sent_errors: u64,
    /// Packets that found no room on their way out.
    pub sent_dropped: u64,
}

/// The group or the process is not there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// Why a group cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// There is no such process.
    #[error("there is no process {pid}")]
    NoProcess {
        /// Its number.
        pid: u32,
    },
    /// The process is another one than was meant: its number was given anew, or belongs to another namespace.
    #[error(
        "process {pid} is not of {wanted} but of the control group {found}: numbers of processes here are not those of the engine, or it has just ended"
    )]
    Another {
        /// Its number.
        pid: u32,
        /// What its group had to contain.
        wanted: String,
        /// The group it is in, shortened.
        found: String,
    },
    /// There is no such group.
    #[error("there is no control group {path}")]
    Missing {
        /// Its path, shortened.
        path: String,
    },
    /// The path leads out of what can be seen here, or is none.
    #[error("the control group {path} cannot be seen from here: {why}")]
    Hidden {
        /// The path, shortened.
        path: String,
        /// Why.
        why: &'static str,
    },
    /// No control groups are mounted.
    #[error("no control groups are mounted: nothing of type cgroup or cgroup2 in {mounts}")]
    NotMounted {
        /// The file that lists mounts.
        mounts: String,
    },
    /// A file cannot be read.
    #[error("{0}")]
    Io(String),
}

/// Where control groups are mounted, and what is read through them; cheap to clone.
#[derive(Clone, Debug)]
pub struct Groups {
    root: PathBuf,
    hierarchies: Arc<[Hierarchy]>,
    budget: Arc<Budget>,
}

/// The longest `/proc/self/mountinfo` that is read: a host of many containers has thousands of mounts.
const MAX_MOUNTS: usize = 16 << 20;

/// The longest `/proc/PID/cgroup`: fourteen controllers, each with its path.
const MAX_CGROUP: usize = 128 << 10;

impl Groups {
    /// Those of this host.
    ///
    /// # Errors
    /// When none are mounted, or that cannot be read.
    pub fn of_host() -> Result<Groups, GroupError> {
        Groups::at(Path::new("/"))
    }

    /// Those of a host whose root is at `root`: its `proc/self/mountinfo`, what is mounted there, its `proc/PID`.
    ///
    /// # Errors
    /// When none are mounted, or that cannot be read.
    pub fn at(root: &Path) -> Result<Groups, GroupError> {
        let path = root.join("proc/self/mountinfo");
        let mut text = Vec::new();
        read::into(&path, &mut text, MAX_MOUNTS).map_err(|e| GroupError::Io(format!("{}: {e}", path.display())))?;
        let hierarchies = mounts::hierarchies(&text);
        if hierarchies.is_empty() {
            return Err(GroupError::NotMounted { mounts: path.display().to_string() });
        }
        Ok(Groups { root: root.into(), hierarchies: hierarchies.into(), budget: Budget::of_process() })
    }

    /// The group of a process. Where `must_contain` is given (the id of a container), a part of its path must be that id,
    /// as in `/docker/ID`, `/system.slice/docker-ID.scope`, `/machine.slice/libpod-ID.scope`; a group inside it is taken as
    /// the container's own. Without it a process that is in no group gives the figures of the host.
    ///
    /// # Errors
    /// When there is no such process, it is another one, or its group cannot be seen.
    pub fn of_pid(&self, pid: u32, must_contain: Option<&str>) -> Result<Group, GroupError> {
        self.of_process(&self.process(pid)?, pid, must_contain)
    }

    /// The interfaces of the network that a process is in; `must_contain` as with [`Groups::of_pid`].
    ///
    /// # Errors
    /// When there is no such process, it is another one, or this user may not read them.
    pub fn network(&self, pid: u32, must_contain: Option<&str>) -> Result<Network, GroupError> {
        let process = self.process(pid)?;
        let network = Network::open(&process).map_err(|e| GroupError::Io(format!("/proc/{pid}/net/dev: {e}")))?;
        // Behind the opening: it is one process all the time, and this is which.
        if let Some(id) = must_contain {
            let text = cgroup_of(&process, pid)?;
            if !place::lines(&text).any(|(_, path)| place::of_container(path, id).is_some()) {
                return Err(another(pid, id, &text));
            }
        }
        Ok(network)
    }

    /// The group at `path`, as systemd writes it: `/system.slice/x.service`.
    ///
    /// # Errors
    /// When there is none.
    pub fn of_path(&self, path: &str) -> Result<Group, GroupError> {
        let places = self.hierarchies.iter().map(|hierarchy| (hierarchy, path.as_bytes()));
        self.open(places)
    }

    fn process(&self, pid: u32) -> Result<Folder, GroupError> {
        Folder::open(&self.root.join(format!("proc/{pid}"))).map_err(|error| match error.kind() {
            ErrorKind::NotFound => GroupError::NoProcess { pid },
            _ => GroupError::Io(error.to_string()),
        })
    }

    fn of_process(&self, process: &Folder, pid: u32, must_contain: Option<&str>) -> Result<Group, GroupError> {
        let text = cgroup_of(process, pid)?;
        let mut places = Vec::new();
        for (controllers, path) in place::lines(&text) {
            let path = match must_contain {
                Some(id) => place::of_container(path, id),
                None => Some(path),
            };
            let hierarchy = self.hierarchies.iter().find(|hierarchy| hierarchy.is(controllers));
            places.extend(hierarchy.zip(path));
        }
        match must_contain {
            Some(id) if places.is_empty() => Err(another(pid, id, &text)),
            _ => self.open(places.into_iter()),
        }
    }

    fn open<'a>(&'a self, places: impl Iterator<Item = (&'a Hierarchy, &'a [u8])>) -> Result<Group, GroupError> {
        Group::open(&self.root, places, &self.budget)
    }
}

/// The content of `/proc/PID/cgroup`.
fn cgroup_of(process: &Folder, pid: u32) -> Result<Vec<u8>, GroupError> {
    let mut text = Vec::new();
    process.read("cgroup", &mut text, MAX_CGROUP).map_err(|error| {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOENT | Errno::SRCH) => GroupError::NoProcess { pid },
            _ => GroupError::Io(format!("/proc/{pid}/cgroup: {error}")),
        }
    })?;
    Ok(text)
}

fn another(pid: u32, wanted: &str, text: &[u8]) -> GroupError {
    // The longest says the most: others may be `/`.
    let found = place::lines(text).map(|(_, path)| path).max_by_key(|path| path.len()).unwrap_or(b"/");
    GroupError::Another { pid, wanted: place::shown(wanted.as_bytes()), found: place::shown(found) }
}
