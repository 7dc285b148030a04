//! Files that others write and this process reads along: what is known of them, their bytes from any place, and what is
//! packed with gzip.
//!
//! Enters: a path. Leaves: [`Facts`], bytes, or why not. Only regular files are ever opened for reading, so a FIFO without a
//! writer and a device are never waited for. Nothing here keeps a position: the caller says from where he reads. All of this
//! can hang where the file system does: callers do it apart ([`Apart`](super::apart::Apart)).

use std::ffi::OsString;
use std::fs::{Metadata, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;
use rustix::fs::{OFlags, SeekFrom};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use super::clock::Stopwatch;
use super::files::first_denied;
use super::users;
use crate::base::Span;

/// The most entries of one folder that [`list`] goes through.
pub const MAX_ENTRIES: usize = 100_000;

/// How long [`list`] takes at most.
const LIST_LIMIT: Span = Span::secs(2);

/// How much of a packed file is read at once, in bytes.
const PACKED_CHUNK: usize = 32 << 10;

/// Which file this is, on this host, as long as it exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    /// The device.
    pub dev: u64,
    /// The inode; its number is used again when the file is gone.
    pub ino: u64,
}

/// What is known of a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Which file.
    pub id: FileId,
    /// Its size in bytes.
    pub size: u64,
    /// When its content was last changed, in nanoseconds since 1970; anybody who owns it can set it.
    pub modified: i64,
    /// When anything of it was last changed, in nanoseconds since 1970, by the clock of its file system.
    pub changed: i64,
    /// How many names it has; 0 for one that was deleted and is open.
    pub n_links: u64,
    /// Whether it is a regular file.
    pub is_regular: bool,
}

impl Facts {
    fn of(meta: &Metadata) -> Facts {
        let nanos = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
        Facts {
            id: FileId { dev: meta.dev(), ino: meta.ino() },
            size: meta.len(),
            modified: nanos(meta.mtime(), meta.mtime_nsec()),
            changed: nanos(meta.ctime(), meta.ctime_nsec()),
            n_links: meta.nlink(),
            is_regular: meta.is_file(),
        }
    }
}

/// Why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not there.
    #[error("{} is not there", .0.display())]
    Missing(PathBuf),
    /// It, or a folder on the way, does not let this user.
    #[error("{who} may not read {}", path.display())]
    Denied {
        /// What refuses.
        path: PathBuf,
        /// The user that was refused.
        who: String,
    },
    /// It is a pipe, a device, a socket or a folder.
    #[error("{} is no regular file", .0.display())]
    NotRegular(PathBuf),
    /// The system said something else.
    #[error("{}: {why}", path.display())]
    Io {
        /// Of which file.
        path: PathBuf,
        /// What it said.
        why: String,
    },
}

impl Refused {
    fn new(path: &Path, error: &io::Error) -> Refused {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Refused::Missing(path.to_owned()),
            io::ErrorKind::PermissionDenied => Refused::Denied {
                path: first_denied(path).map_or_else(|| path.to_owned(), |denied| denied.path),
                who: users::current(),
            },
            _ => Refused::Io { path: path.to_owned(), why: error.to_string() },
        }
    }
}

/// What is known of what `path` means, behind symbolic links; nothing is opened.
///
/// # Errors
/// [`Refused::Missing`] where nothing is there, and when it cannot be said.
pub fn facts(path: &Path) -> Result<Facts, Refused> {
    std::fs::metadata(path).map(|meta| Facts::of(&meta)).map_err(|error| Refused::new(path, &error))
}

/// The time by the clock that the kernel stamps local files with, in nanoseconds since 1970.
pub fn stamp_now() -> i64 {
    let now = clock_gettime(ClockId::RealtimeCoarse);
    now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec)
}

/// The names in `folder` that begin with `prefix`; whether these are all of them. None where there is no such folder.
///
/// # Errors
/// When the folder cannot be listed.
pub fn list(folder: &Path, prefix: &[u8]) -> Result<(Vec<OsString>, bool), Refused> {
    let watch = Stopwatch::start();
    let listing = match std::fs::read_dir(folder).map_err(|error| Refused::new(folder, &error)) {
        Ok(listing) => listing,
        Err(Refused::Missing(_)) => return Ok((Vec::new(), true)),
        Err(refused) => return Err(refused),
    };
    let mut names = Vec::new();
    for (i, entry) in listing.enumerate() {
        if i >= MAX_ENTRIES || watch.elapsed() > LIST_LIMIT {
            return Ok((names, false));
        }
        let name = entry.map_err(|error| Refused::new(folder, &error))?.file_name();
        if name.as_bytes().starts_with(prefix) {
            names.push(name);
        }
    }
    Ok((names, true))
}

/// A regular file, open for reading. Clones share it; the last one closes it.
#[derive(Clone, Debug)]
pub struct Tail {
    file: Arc<OwnedFd>,
}

impl Tail {
    /// Opens what `path` means, behind symbolic links, without waiting for anybody.
    ///
    /// # Errors
    /// When it is not there, no regular file, or must not be read.
    pub fn open(path: &Path) -> Result<Tail, Refused> {
        // Looked at before it is opened: to open a device may already do something.
        if !facts(path)?.is_regular {
            return Err(Refused::NotRegular(path.to_owned()));
        }
        #[cfg(test)]
        if denied::is_denied(path) {
            return Err(Refused::Denied { path: path.to_owned(), who: users::current() });
        }
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
        let file = opened.map_err(|error| Refused::new(path, &error))?;
        let meta = file.metadata().map_err(|error| Refused::new(path, &error))?;
        if !meta.is_file() {
            return Err(Refused::NotRegular(path.to_owned()));
        }
        Ok(Tail { file: Arc::new(file.into()) })
    }

    /// What is known of it now.
    ///
    /// # Errors
    /// What the system says.
    pub fn facts(&self) -> io::Result<Facts> {
        let stat = rustix::fs::fstat(&*self.file)?;
        let nanos = |seconds: i64, nanos: u64| {
            seconds.saturating_mul(1_000_000_000).saturating_add(i64::try_from(nanos).unwrap_or(0))
        };
        Ok(Facts {
            id: FileId { dev: stat.st_dev, ino: stat.st_ino },
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: nanos(stat.st_mtime, stat.st_mtime_nsec),
            changed: nanos(stat.st_ctime, stat.st_ctime_nsec),
            n_links: stat.st_nlink,
            is_regular: true,
        })
    }

    /// Fills `buffer` with what lies from byte `at` on; how many bytes that were. Fewer than asked for only at the end.
    ///
    /// # Errors
    /// What the system says.
    pub fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut n = 0;
        while n < buffer.len() {
            match rustix::io::pread(&*self.file, &mut buffer[n..], at + n as u64) {
                Ok(0) => break,
                Ok(more) => n += more,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(n)
    }

    /// Where the next bytes lie, from byte `at` on, that are no hole; none where only holes follow. A file system that knows
    /// no holes has none.
    pub fn next_data(&self, at: u64) -> Option<u64> {
        match rustix::fs::seek(&*self.file, SeekFrom::Data(at)) {
            Ok(next) => Some(next),
            Err(Errno::NXIO) => None,
            Err(_) => Some(at),
        }
    }

    /// The last bytes of the file, as little-endian: what gzip says there is the length of its content, of its last member
    /// and without what is above 4 GiB. None for a file that is too short to be packed.
    pub fn packed_length(&self) -> Option<u32> {
        let size = self.facts().ok()?.size;
        let mut bytes = [0; 4];
        let n = self.read_at(&mut bytes, size.checked_sub(4).filter(|at| *at >= 14)?).ok()?;
        (n == 4).then(|| u32::from_le_bytes(bytes))
    }
}

impl AsFd for Tail {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The content of a file that was packed with gzip, from its beginning on. Holds about 80 KiB, however much that is.
pub struct Unpacked {
    decoder: MultiGzDecoder<BufReader<Cursor>>,
    at: u64,
}

impl Unpacked {
    /// From the beginning.
    pub fn new(tail: Tail) -> Unpacked {
        let cursor = Cursor { tail, at: 0 };
        Unpacked { decoder: MultiGzDecoder::new(BufReader::with_capacity(PACKED_CHUNK, cursor)), at: 0 }
    }

    /// How many bytes of the content were given.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Fills `buffer` with what comes next; how many bytes that were. Fewer than asked for only at the end.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] where the file ends in the middle, as while it is still written; others where it is
    /// broken. What was given before stays right; nothing comes behind an error.
    pub fn read(&mut self, buffer: &mut [u8]) -> (usize, io::Result<()>) {
        let mut n = 0;
        while n < buffer.len() {
            match self.decoder.read(&mut buffer[n..]) {
                Ok(0) => break,
                Ok(more) => n += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.at += n as u64;
                    return (n, Err(error));
                }
            }
        }
        self.at += n as u64;
        (n, Ok(()))
    }
}

impl std::fmt::Debug for Unpacked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unpacked").field("at", &self.at).finish_non_exhaustive()
    }
}

/// Reads a file from its beginning without touching the position that its descriptor has.
struct Cursor {
    tail: Tail,
    at: u64,
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.tail.read_at(buffer, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// Files that tests let nobody open, root included; each thread has its own.
#[cfg(test)]
pub mod denied {
    use std::cell::RefCell;
    use std::collections::HashSet;
    use std::path::Path;

    use super::{FileId, facts};

    thread_local! {
        static DENIED: RefCell<HashSet<FileId>> = RefCell::default();
    }

    pub(super) fn is_denied(path: &Path) -> bool {
        facts(path).is_ok_and(|facts| DENIED.with_borrow(|denied| denied.contains(&facts.id)))
    }

    /// From now on the file at `path` may be opened, or not.
    pub fn set(path: &Path, is_denied: bool) {
        let id = facts(path).unwrap().id;
        DENIED.with_borrow_mut(|denied| if is_denied { denied.insert(id) } else { denied.remove(&id) });
    }
}
