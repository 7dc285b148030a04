//! Files of binary records: read by place, appended to, or written anew under a name of their own.
//!
//! Enters: bytes and places. Leaves: bytes, or an error that names the operation and the path. Nothing is mapped into
//! memory, nothing follows a symbolic link in the last part of a path.

#![expect(clippy::disallowed_types, reason = "this is a room that opens files")]

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

use super::files::{self, FileError};

/// A file that is read by place, while others may append to it or remove its name.
#[derive(Debug)]
pub struct Blocks {
    file: File,
    path: PathBuf,
}

impl Blocks {
    /// Opens a regular file.
    ///
    /// # Errors
    /// When it is missing or unreadable, or is no regular file.
    pub fn open(path: &Path) -> Result<Blocks, FileError> {
        let flags = (OFlags::NOFOLLOW.bits() | OFlags::NONBLOCK.bits() | OFlags::NOCTTY.bits()).cast_signed();
        let file = files::regular(OpenOptions::new().read(true).custom_flags(flags).open(path), path)?;
        Ok(Blocks { file, path: path.to_owned() })
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length in bytes at this moment.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn length(&self) -> Result<u64, FileError> {
        Ok(self.file.metadata().map_err(FileError::io("look at", &self.path))?.len())
    }

    /// Fills as much of `buffer` as there is from `offset` on; returns how many bytes that were.
    ///
    /// # Errors
    /// When the disk does not give them.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, FileError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(FileError::io("read", &self.path)(error)),
            }
        }
        Ok(filled)
    }
}

/// A file that grows at its end, in whole pieces.
#[derive(Debug)]
pub struct Tail {
    file: File,
    path: PathBuf,
    length: u64,
    lost: bool,
}

impl Tail {
    /// Opens an existing file whose good content ends at `length`; what stands behind it is cut off.
    ///
    /// # Errors
    /// When it cannot be opened or cut.
    pub fn open(path: &Path, length: u64) -> Result<Tail, FileError> {
        let flags = (OFlags::NOFOLLOW.bits() | OFlags::NONBLOCK.bits() | OFlags::NOCTTY.bits()).cast_signed();
        let file = files::regular(OpenOptions::new().append(true).custom_flags(flags).open(path), path)?;
        let found = file.metadata().map_err(FileError::io("look at", path))?.len();
        if found > length {
            file.set_len(length).and_then(|()| file.sync_all()).map_err(FileError::io("cut the torn end of", path))?;
        }
        Ok(Tail { file, path: path.to_owned(), length, lost: false })
    }

    /// The bytes it holds.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Whether a part of a failed write could not be taken back; nothing more can be appended then.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Appends `bytes`. They survive the end of this process, but no power cut before [`Tail::sync`].
    ///
    /// # Errors
    /// When they could not be written; the file is then as before, or [`Tail::is_lost`].
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        if self.lost {
            let source = io::Error::other("its end is unknown after a failed write");
            return Err(FileError::io("append to", &self.path)(source));
        }
        if let Err(source) = self.file.write_all(bytes) {
            self.lost = self.file.set_len(self.length).is_err();
            return Err(FileError::io("append to", &self.path)(source));
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Makes everything that was appended durable.
    ///
    /// # Errors
    /// When the disk does not confirm it.
    pub fn sync(&self) -> Result<(), FileError> {
        self.file.sync_data().map_err(FileError::io("sync", &self.path))
    }
}

/// A file under a passing name, locked while it is written; dropped before [`Draft::publish`], it goes away.
#[derive(Debug)]
pub struct Draft {
    file: File,
    path: PathBuf,
    published: bool,
}

impl Draft {
    /// Makes a new file.
    ///
    /// # Errors
    /// When the name is taken ([`FileError::is_already_there`]), or it cannot be made.
    pub fn create(path: &Path, mode: u32) -> Result<Draft, FileError> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)
            .map_err(FileError::io("create", path))?;
        let draft = Draft { file, path: path.to_owned(), published: false };
        flock(&draft.file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| FileError::io("lock", path)(error.into()))?;
        Ok(draft)
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// When they could not be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.file.write_all(bytes).map_err(FileError::io("write", &self.path))
    }

    /// Syncs the content and gives it its name, replacing what had it; durable when this returns.
    ///
    /// # Errors
    /// The operation that failed; the file is gone then, unless only the folder could not be synced.
    pub fn publish(mut self, to: &Path) -> Result<(), FileError> {
        self.file.sync_all().map_err(FileError::io("sync", &self.path))?;
        std::fs::rename(&self.path, to).map_err(FileError::io("rename", &self.path))?;
        self.published = true;
        files::sync_folder_of(to)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.published
            && let Err(error) = remove(&self.path)
        {
            tracing::debug!(%error, "A temporary file stays behind.");
        }
    }
}

/// Removes a draft that nobody writes any more; whether it is gone.
///
/// # Errors
/// When it cannot be opened or removed.
pub fn remove_abandoned(path: &Path) -> Result<bool, FileError> {
    let blocks = match Blocks::open(path) {
        Ok(blocks) => blocks,
        Err(error) if error.is_not_found() => return Ok(true),
        Err(error) => return Err(error),
    };
    match flock(&blocks.file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => remove(path).map(|()| true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(FileError::io("lock", path)(error.into())),
    }
}

/// Removes a file; that it is gone already is fine.
///
/// # Errors
/// When it cannot be removed.
pub fn remove(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// The names in a folder that are UTF-8, in no order.
///
/// # Errors
/// When the folder cannot be read.
pub fn names(folder: &Path) -> Result<Vec<String>, FileError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(FileError::io("list", folder))? {
        let entry = entry.map_err(FileError::io("list", folder))?;
        found.extend(entry.file_name().into_string());
    }
    Ok(found)
}

/// The bytes that an unprivileged process can still write to the file system of `folder`.
///
/// # Errors
/// When the system does not say.
pub fn free_space(folder: &Path) -> Result<u64, FileError> {
    let stat = rustix::fs::statvfs(folder).map_err(|error| FileError::io("look at", folder)(error.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::super::files::testing::Scratch;
    use super::*;

    #[test]
    fn a_tail_cuts_what_is_torn_and_grows_by_whole_pieces() {
        let scratch = Scratch::new("tail");
        let path = scratch.put("log", b"goodTORN");
        let mut tail = Tail::open(&path, 4).unwrap();
        tail.append(b" more").unwrap();
        tail.sync().unwrap();
        assert_eq!((scratch.text("log").as_str(), tail.length()), ("good more", 9));
        let blocks = Blocks::open(&path).unwrap();
        let mut buffer = [0; 6];
        assert_eq!((blocks.read_at(5, &mut buffer).unwrap(), &buffer[..4]), (4, b"more".as_slice()));
        assert_eq!(blocks.length().unwrap(), 9);
    }

    #[test]
    fn a_draft_that_is_not_published_goes_away_and_one_in_work_stays() {
        let scratch = Scratch::new("draft");
        let (path, to) = (scratch.at("x.part"), scratch.at("x"));
        let draft = Draft::create(&path, 0o640).unwrap();
        assert!(Draft::create(&path, 0o640).unwrap_err().is_already_there());
        assert!(!remove_abandoned(&path).unwrap());
        drop(draft);
        assert!(!files::exists(&path));
        let mut draft = Draft::create(&path, 0o640).unwrap();
        draft.write(b"whole").unwrap();
        draft.publish(&to).unwrap();
        assert_eq!((scratch.text("x").as_str(), files::exists(&path)), ("whole", false));
        scratch.put("left.part", b"half");
        assert!(remove_abandoned(&scratch.at("left.part")).unwrap());
        assert_eq!(names(&scratch.0).unwrap(), ["x"]);
        assert!(free_space(&scratch.0).unwrap() > 0);
    }
}
