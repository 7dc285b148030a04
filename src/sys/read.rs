//! Capped reads of small files: what the kernel shows under `/proc`, and secrets.
//!
//! Enters: a path. Leaves: at most `cap` bytes in a buffer that the caller keeps. A file that is longer is an
//! error, never a silent cut; a pipe or a device is refused before it could block.

use std::fs::OpenOptions;
use std::io::{Error, ErrorKind, Read, Result};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, RawDir};
use rustix::io::Errno;

/// Replaces the content of `buffer` by that of the regular file at `path`.
///
/// # Errors
/// When the file cannot be opened or read, is no regular file, or holds more than `cap` bytes. The buffer is
/// empty then.
pub fn into(path: &Path, buffer: &mut Vec<u8>, cap: usize) -> Result<()> {
    buffer.clear();
    let read = fill(path, buffer, cap);
    if read.is_err() {
        buffer.clear();
    }
    read
}

fn fill(path: &Path, buffer: &mut Vec<u8>, cap: usize) -> Result<()> {
    // Without NONBLOCK the mere opening of a named pipe would wait for its writer.
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    let limit = u64::try_from(cap).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(buffer)?;
    if buffer.len() > cap {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("longer than {cap} bytes")));
    }
    Ok(())
}

/// A file of the kernel that is read again and again: opened once, then read from its beginning.
///
/// Only for files that are never replaced, as those under `/proc` and `/sys`. When reading fails, it is opened afresh.
#[derive(Debug)]
pub struct Kept {
    path: PathBuf,
    cap: usize,
    file: Option<OwnedFd>,
}

impl Kept {
    /// The file at `path`, of which at most `cap` bytes are read; nothing is opened yet.
    pub fn new(path: impl Into<PathBuf>, cap: usize) -> Kept {
        Kept { path: path.into(), cap, file: None }
    }

    /// Replaces the content of `buffer` by that of the file.
    ///
    /// # Errors
    /// When the file cannot be opened or read, is no regular file, or holds more than its cap; the path stands in the
    /// text. The buffer is empty then.
    pub fn read(&mut self, buffer: &mut Vec<u8>) -> Result<()> {
        let kept = self.file.take().filter(|file| from_start(file.as_fd(), buffer, self.cap).is_ok());
        let read = match kept {
            Some(file) => Ok(file),
            None => open(&self.path).and_then(|file| from_start(file.as_fd(), buffer, self.cap).map(|()| file)),
        };
        self.file = read.map(Some).map_err(|e| {
            buffer.clear();
            Error::new(e.kind(), format!("{}: {e}", self.path.display()))
        })?;
        Ok(())
    }
}

fn open(path: &Path) -> Result<OwnedFd> {
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file.into())
}

/// Reads `file` from its beginning to its end, at most `cap` bytes.
pub(super) fn from_start(file: BorrowedFd<'_>, buffer: &mut Vec<u8>, cap: usize) -> Result<()> {
    const CHUNK: usize = 4096;
    buffer.clear();
    loop {
        buffer.reserve(CHUNK);
        let at = buffer.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(buffer), at) {
            Ok(0) => return Ok(()),
            Ok(_) if buffer.len() > cap => {
                return Err(Error::new(ErrorKind::FileTooLarge, format!("longer than {cap} bytes")));
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// A folder of the kernel, under `/proc` or `/sys`, whose entries are listed and whose small files are read.
#[derive(Debug)]
pub struct Folder {
    folder: OwnedFd,
    listing: Vec<MaybeUninit<u8>>,
}

impl Folder {
    /// Opens the folder at `path`.
    ///
    /// # Errors
    /// When there is none, or it cannot be read; the path stands in the text.
    pub fn open(path: &Path) -> Result<Folder> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(path, flags, Mode::empty()).map_err(Error::from);
        let folder = opened.map_err(|e| Error::new(e.kind(), format!("{}: {e}", path.display())))?;
        Ok(Folder { folder, listing: vec![MaybeUninit::uninit(); 32 << 10] })
    }

    /// Hands each name in it to `each`, without `.` and `..`, in the order of the kernel, as long as `each` wants more.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub fn names(&mut self, mut each: impl FnMut(&[u8]) -> bool) -> Result<()> {
        rustix::fs::seek(&self.folder, rustix::fs::SeekFrom::Start(0))?;
        let mut entries = RawDir::new(&self.folder, &mut self.listing);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if ![&b"."[..], b".."].contains(&name) && !each(name) {
                break;
            }
        }
        Ok(())
    }

    /// Replaces the content of `buffer` by that of the file at `path` below this folder.
    ///
    /// # Errors
    /// When it cannot be opened or read, or holds more than `cap` bytes.
    pub fn read(&self, path: &str, buffer: &mut Vec<u8>, cap: usize) -> Result<()> {
        from_start(self.open_file(path)?.as_fd(), buffer, cap)
    }

    /// Opens the file at `path` below this folder, for one who reads it again and again.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(super) fn open_file(&self, path: &str) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        Ok(rustix::fs::openat(&self.folder, path, flags, Mode::empty())?)
    }

    /// How many entries the folder at `path` below this one has; counting ends at `most`.
    ///
    /// Since Linux 6.2 the size of `/proc/PID/fd` is the number of its entries, and everybody may ask for it; before,
    /// it is 0 and the entries are counted, which only the owner of the process and root may.
    ///
    /// # Errors
    /// When it cannot be looked at or listed.
    pub fn count(&self, path: &str, most: usize) -> Result<usize> {
        let stat = rustix::fs::statat(&self.folder, path, AtFlags::empty())?;
        if let Ok(size) = usize::try_from(stat.st_size)
            && size > 0
        {
            return Ok(size.min(most));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let inner = rustix::fs::openat(&self.folder, path, flags, Mode::empty())?;
        let mut n = 0;
        let mut inner = Folder { folder: inner, listing: vec![MaybeUninit::uninit(); 8 << 10] };
        inner.names(|_| {
            n += 1;
            n < most
        })?;
        Ok(n)
    }
}

/// The path without symbolic links.
///
/// # Errors
/// When it does not exist or a folder of it cannot be entered.
pub fn resolve(path: &Path) -> Result<PathBuf> {
    std::fs::canonicalize(path)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests write the files that are read")]
mod tests {
    use super::*;

    #[test]
    fn a_kept_file_is_read_afresh_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("counter");
        std::fs::write(&path, "1\n").unwrap();
        let mut kept = Kept::new(&path, 1 << 14);
        let mut buffer = Vec::new();
        kept.read(&mut buffer).unwrap();
        assert_eq!(buffer, b"1\n");
        let long = vec![b'x'; 10_000];
        std::fs::write(&path, &long).unwrap();
        kept.read(&mut buffer).unwrap();
        assert_eq!(buffer, long);
        std::fs::write(&path, vec![b'x'; 20_000]).unwrap();
        let error = kept.read(&mut buffer).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        assert!(error.to_string().ends_with("counter: longer than 16384 bytes"), "{error}");
        assert!(buffer.is_empty());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(kept.read(&mut buffer).unwrap_err().kind(), ErrorKind::NotFound);
        std::fs::write(&path, "2\n").unwrap();
        kept.read(&mut buffer).unwrap();
        assert_eq!(buffer, b"2\n");
    }

    #[test]
    fn a_file_of_the_kernel_can_be_kept() {
        let mut kept = Kept::new("/proc/self/stat", 1 << 14);
        let mut buffer = Vec::new();
        for _ in 0..3 {
            kept.read(&mut buffer).unwrap();
            assert!(buffer.starts_with(std::process::id().to_string().as_bytes()) && buffer.ends_with(b"\n"));
        }
        assert!(Kept::new("/dev/zero", 10).read(&mut buffer).is_err());
    }

    #[test]
    fn a_folder_lists_reads_and_counts() {
        let place = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            std::fs::write(place.path().join(name), name).unwrap();
        }
        std::fs::create_dir(place.path().join("empty")).unwrap();
        let mut folder = Folder::open(place.path()).unwrap();
        for _ in 0..2 {
            let mut names = Vec::new();
            folder
                .names(|name| {
                    names.push(String::from_utf8(name.to_vec()).unwrap());
                    true
                })
                .unwrap();
            names.sort();
            assert_eq!(names, ["a", "b", "c", "empty"]);
        }
        let mut n = 0;
        folder
            .names(|_| {
                n += 1;
                n < 2
            })
            .unwrap();
        assert_eq!(n, 2, "listing ends when enough was seen");
        let mut buffer = Vec::new();
        folder.read("b", &mut buffer, 10).unwrap();
        assert_eq!(buffer, b"b");
        assert_eq!(folder.read("none", &mut buffer, 10).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(folder.read("b", &mut buffer, 0).is_err());
        let own = Folder::open(Path::new("/proc/self")).unwrap();
        assert!(own.count("fd", 1000).unwrap() >= 3);
        assert_eq!(own.count("fd", 2).unwrap(), 2);
        assert!(own.count("none", 2).is_err());
        assert!(Folder::open(Path::new("/none")).unwrap_err().to_string().starts_with("/none: "));
    }

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("rustfmt.toml");
        let mut buffer = b"old".to_vec();
        into(&path, &mut buffer, 1 << 16).unwrap();
        assert!(buffer.starts_with(b"max_width"));
        assert_eq!(into(&path, &mut buffer, 5).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert!(buffer.is_empty());
    }

    #[test]
    fn what_could_block_or_never_end_is_refused() {
        let mut buffer = Vec::new();
        assert_eq!(into(Path::new("/dev/zero"), &mut buffer, 10).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert!(into(Path::new("/"), &mut buffer, 10).is_err());
    }
}
