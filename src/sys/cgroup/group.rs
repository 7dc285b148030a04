//! A group whose files are kept open.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use rustix::fs::{Access, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::files::{self, Take};
use super::mounts::{Hierarchy, Kind};
use super::{Figures, Gone, GroupError, place};

/// The longest file that is read; `io.stat` has a line for each device. A longer one is as one that is not there.
const MAX_FILE: usize = 256 << 10;

/// The file that every group has: where it is not there, the group is not.
const ALWAYS_THERE: &str = "cgroup.procs";

/// The controllers whose figures are read, as version 1 names them.
const CONTROLLERS: [&[u8]; 5] = [b"cpu", b"cpuacct", b"memory", b"blkio", b"pids"];

/// How many descriptors may be kept, over all groups: a process has no end of containers, and an end of descriptors.
#[derive(Debug)]
pub(super) struct Budget {
    most: usize,
    kept: AtomicUsize,
}

impl Budget {
    /// That of this process: half of what it may open.
    pub(super) fn of_process() -> Arc<Budget> {
        static BUDGET: LazyLock<Arc<Budget>> = LazyLock::new(|| {
            let most = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20) / 2;
            Arc::new(Budget::new(usize::try_from(most).unwrap_or(usize::MAX)))
        });
        BUDGET.clone()
    }

    pub(super) fn new(most: usize) -> Budget {
        Budget { most, kept: AtomicUsize::new(0) }
    }

    /// How many are kept now.
    #[cfg(test)]
    pub(super) fn n_kept(&self) -> usize {
        self.kept.load(Ordering::Relaxed)
    }

    fn take(self: &Arc<Budget>) -> Option<Spent> {
        if self.kept.fetch_add(1, Ordering::Relaxed) < self.most {
            return Some(Spent(self.clone()));
        }
        self.kept.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

/// One descriptor of the budget; given back when dropped.
#[derive(Debug)]
struct Spent(Arc<Budget>);

impl Drop for Spent {
    fn drop(&mut self) {
        self.0.kept.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A control group whose files are kept open.
#[derive(Debug)]
pub struct Group {
    /// The group in each hierarchy that has it.
    folders: Vec<OwnedFd>,
    files: Vec<File>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct File {
    /// Which folder it is in.
    folder: usize,
    name: &'static str,
    take: Take,
    /// Open, unless the budget is spent: then it is opened for each look.
    kept: Option<(OwnedFd, Spent)>,
}

impl Group {
    /// Opens the group at these places, each a hierarchy and a path in it.
    pub(super) fn open<'a>(
        root: &Path,
        places: impl Iterator<Item = (&'a Hierarchy, &'a [u8])>,
        budget: &Arc<Budget>,
    ) -> Result<Group, GroupError> {
        let mut group = Group { folders: Vec::new(), files: Vec::new(), buffer: Vec::with_capacity(4096) };
        let mut failed = None;
        let mut two = None;
        let mut known = Vec::new();
        for (hierarchy, path) in places {
            match open_folder(root, hierarchy, path) {
                Ok(folder) => {
                    group.folders.push(folder);
                    let at = group.folders.len() - 1;
                    match &hierarchy.kind {
                        Kind::Two => two = Some(at),
                        Kind::One(own) => {
                            let meant = own.iter().filter_map(|o| CONTROLLERS.into_iter().find(|c| c == o));
                            for controller in meant {
                                group.add(at, files::of_one(controller), budget)?;
                                known.push(controller);
                            }
                        }
                    }
                }
                // A group need not be in every hierarchy.
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        // Beside version 1, version 2 says what is left; `cpu.stat` of it is both `cpu` and `cpuacct`.
        if let Some(at) = two {
            let left = |controller: &&[u8]| {
                let is_known = |c: &[u8]| known.contains(&c);
                !(is_known(controller) || *controller == b"cpu" && is_known(b"cpuacct"))
            };
            for controller in CONTROLLERS.into_iter().filter(left) {
                group.add(at, files::of_two(controller), budget)?;
            }
        }
        match failed {
            Some(error) if group.folders.is_empty() => Err(error),
            None if group.folders.is_empty() => Err(GroupError::Hidden {
                path: "of that process".into(),
                why: "none of its control groups is mounted here",
            }),
            _ => Ok(group),
        }
    }

    fn add(&mut self, folder: usize, all: &[files::File], budget: &Arc<Budget>) -> Result<(), GroupError> {
        for (names, take) in all {
            for name in *names {
                match open_file(&self.folders[folder], name) {
                    Ok(fd) => {
                        let kept = budget.take().map(|spent| (fd, spent));
                        self.files.push(File { folder, name, take: *take, kept });
                        break;
                    }
                    Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => {
                        return Err(GroupError::Io(format!("{name}: {error}")));
                    }
                    // Not there, or not for this user.
                    Err(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Reads all files anew into `figures`, which holds nothing of before afterwards.
    ///
    /// # Errors
    /// When the group is not there any more; `figures` is empty then.
    pub fn read(&mut self, figures: &mut Figures) -> Result<(), Gone> {
        *figures = Figures::default();
        let read = self.read_all(figures);
        match read {
            Ok(()) => files::complete(figures),
            Err(Gone) => *figures = Figures::default(),
        }
        read
    }

    fn read_all(&mut self, figures: &mut Figures) -> Result<(), Gone> {
        // A group that has no file worth reading says only whether it is there.
        if self.files.is_empty() {
            self.folders.iter().try_for_each(still_there)?;
        }
        for file in &self.files {
            let folder = &self.folders[file.folder];
            let read = match &file.kept {
                Some((fd, _)) => read_whole(fd, &mut self.buffer),
                None => open_file(folder, file.name).and_then(|fd| read_whole(&fd, &mut self.buffer)),
            };
            match read {
                Ok(()) => (file.take)(&self.buffer, figures),
                Err(Errno::NODEV) => return Err(Gone),
                Err(Errno::NOENT) => still_there(folder)?,
                // This file says nothing; others do.
                Err(_) => {}
            }
        }
        Ok(())
    }
}

fn still_there(folder: &OwnedFd) -> Result<(), Gone> {
    match rustix::fs::accessat(folder, ALWAYS_THERE, Access::EXISTS, AtFlags::empty()) {
        Err(Errno::NOENT | Errno::NODEV) => Err(Gone),
        _ => Ok(()),
    }
}

fn open_folder(root: &Path, hierarchy: &Hierarchy, path: &[u8]) -> Result<OwnedFd, GroupError> {
    let below = OsStr::from_bytes(place::below(path, &hierarchy.top)?);
    // Mount points are named from the root of the host, wherever that is for us.
    let point = hierarchy.point.strip_prefix("/").unwrap_or(&hierarchy.point);
    let whole: PathBuf = root.join(point).join(below);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(&whole, flags, Mode::empty()).map_err(|error| match error {
        Errno::NOENT | Errno::NOTDIR | Errno::NODEV => GroupError::Missing { path: place::shown(path) },
        error => GroupError::Io(format!("{}: {error}", place::shown(whole.as_os_str().as_bytes()))),
    })
}

fn open_file(folder: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(folder, name, flags, Mode::empty())
}

/// Reads from the beginning. The kernel writes such a file in one piece, so what does not fill the buffer is all of it.
fn read_whole(file: &OwnedFd, buffer: &mut Vec<u8>) -> Result<(), Errno> {
    loop {
        buffer.clear();
        match rustix::io::pread(file, rustix::buffer::spare_capacity(buffer), 0) {
            Ok(_) if buffer.len() < buffer.capacity() => return Ok(()),
            Ok(_) if buffer.capacity() >= MAX_FILE => {
                buffer.clear();
                return Err(Errno::FBIG);
            }
            Ok(_) => buffer.reserve(2 * buffer.capacity()),
            Err(Errno::INTR) => {}
            Err(error) => {
                buffer.clear();
                return Err(error);
            }
        }
    }
}
