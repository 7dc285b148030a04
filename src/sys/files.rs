//! Files: capped reads, durable writes, locks, and who else could write one.
//!
//! Enters: paths, some of them in folders that less trusted processes write to. Leaves: whole contents below a
//! cap, or an error that names the operation and the path. Nothing here follows a symbolic link in the last part
//! of a path, waits for a FIFO or reads a device. What a call has written is on the disk when it returns: the
//! content is synced before the name appears, the folder after it.

#![expect(clippy::disallowed_types, reason = "this is the room that opens files")]

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Access, AtFlags, FlockOperation, OFlags, flock};

/// What went wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused an operation.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried: `open`, `read`, `rename`, …
        operation: &'static str,
        /// Of which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something else than a regular file has this name.
    #[error("{} is {found}, not a regular file", path.display())]
    NotRegular {
        /// The name.
        path: PathBuf,
        /// What it is: `a FIFO`, `a symbolic link`, …
        found: &'static str,
    },
    /// The file has more bytes than the reader takes.
    #[error("{} has more than {max} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The cap in bytes.
        max: u64,
    },
}

impl FileError {
    /// The error of a failed `operation` on `path`; for [`Result::map_err`].
    pub(crate) fn io<'a>(operation: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> FileError + use<'a> {
        move |source| FileError::Io { operation, path: path.to_owned(), source }
    }

    /// Whether the file, or a folder above it, does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, FileError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether a file stands where a new one was to be made.
    pub fn is_already_there(&self) -> bool {
        matches!(self, FileError::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists)
    }
}

/// Reads the whole of a regular file of at most `max` bytes.
///
/// # Errors
/// When it is missing or unreadable, is no regular file, or has more than `max` bytes.
pub fn read_capped(path: &Path, max: u64) -> Result<Vec<u8>, FileError> {
    read_open(open_to_read(path)?, path, max)
}

/// As [`read_capped`], for content that decides what is run: the file must belong to this process's user or
/// root, and nobody else may write it. Checked on the open file, so it cannot be exchanged in between.
///
/// # Errors
/// As [`read_capped`]; also when others could have written it.
pub fn read_trusted(path: &Path, max: u64) -> Result<Vec<u8>, FileError> {
    let file = open_to_read(path)?;
    let meta = file.metadata().map_err(FileError::io("look at", path))?;
    if let Some(why) = loose(&meta) {
        let source = io::Error::new(io::ErrorKind::PermissionDenied, why);
        return Err(FileError::Io { operation: "trust", path: path.to_owned(), source });
    }
    read_open(file, path, max)
}

fn read_open(file: File, path: &Path, max: u64) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    file.take(max.saturating_add(1)).read_to_end(&mut bytes).map_err(FileError::io("read", path))?;
    if bytes.len() as u64 > max {
        return Err(FileError::TooLarge { path: path.to_owned(), max });
    }
    Ok(bytes)
}

/// Opens a regular file: a link is refused by the open itself, a FIFO does not block it.
fn open_to_read(path: &Path) -> Result<File, FileError> {
    regular(OpenOptions::new().read(true).custom_flags(CAREFUL).open(path), path)
}

/// Never follow a link in the last part, never block, never become anybody's terminal.
const CAREFUL: i32 = (OFlags::NOFOLLOW.bits() | OFlags::NONBLOCK.bits() | OFlags::NOCTTY.bits()) as i32;

/// The opened file if it is a regular one.
pub(crate) fn regular(opened: io::Result<File>, path: &Path) -> Result<File, FileError> {
    let file = opened.map_err(|source| match std::fs::symlink_metadata(path) {
        Ok(meta) if !meta.is_file() => not_regular(path, meta.file_type()),
        _ => FileError::Io { operation: "open", path: path.to_owned(), source },
    })?;
    let kind = file.metadata().map_err(FileError::io("look at", path))?.file_type();
    if kind.is_file() { Ok(file) } else { Err(not_regular(path, kind)) }
}

fn not_regular(path: &Path, kind: std::fs::FileType) -> FileError {
    let found = match kind {
        k if k.is_symlink() => "a symbolic link",
        k if k.is_dir() => "a folder",
        k if k.is_fifo() => "a FIFO",
        k if k.is_socket() => "a socket",
        _ => "a device",
    };
    FileError::NotRegular { path: path.to_owned(), found }
}

/// Replaces the content of `path`, or makes it: readers see the old content or the new, never a part.
/// `mode` holds whatever the umask says.
///
/// # Errors
/// The first operation that failed; the old content is then still there.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let temporary = write_beside(path, bytes, mode)?;
    std::fs::rename(&temporary, path).map_err(|source| {
        discard(&temporary);
        FileError::Io { operation: "replace", path: path.to_owned(), source }
    })?;
    sync_folder_of(path)
}

/// Makes `path` with this content, whole or not at all.
///
/// # Errors
/// When something has this name already ([`FileError::is_already_there`]), or an operation failed.
pub fn create_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let temporary = write_beside(path, bytes, mode)?;
    // A hard link fails where a rename would replace.
    let linked = std::fs::hard_link(&temporary, path).map_err(FileError::io("create", path));
    discard(&temporary);
    linked?;
    sync_folder_of(path)
}

/// Writes and syncs a file with a name of its own in the folder of `path`.
fn write_beside(path: &Path, bytes: &[u8], mode: u32) -> Result<PathBuf, FileError> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NUMBER: AtomicU64 = AtomicU64::new(0);

    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let temporary = path.with_file_name(format!(".{name}.{}-{number}.tmp", std::process::id()));
    // A file of this name is left over from a process that died and had the same id.
    discard(&temporary);
    let written = (|| {
        let options = OpenOptions::new().write(true).create_new(true).mode(mode).clone();
        let mut file = options.open(&temporary)?;
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()
    })();
    if let Err(source) = written {
        discard(&temporary);
        return Err(FileError::Io { operation: "write", path: path.to_owned(), source });
    }
    Ok(temporary)
}

/// Removes a temporary file; that it is gone already, or cannot go, changes nothing for anybody.
fn discard(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!(path = %path.display(), %error, "A temporary file stays behind.");
    }
}

/// Syncs the folder that `path` stands in, so that its name survives a power cut.
pub(crate) fn sync_folder_of(path: &Path) -> Result<(), FileError> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|f| f.sync_all()).map_err(FileError::io("sync", folder))
}

/// Appends `bytes` and a line break in one write, synced. The file is made with mode 0640.
///
/// # Errors
/// When it cannot be opened, is no regular file, or the write failed; a part may then stand at its end.
pub fn append_line(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut file = open_to_append(path, 0o640)?;
    let mut line = bytes.to_vec();
    line.push(b'\n');
    file.write_all(&line).and_then(|()| file.sync_data()).map_err(FileError::io("append to", path))
}

/// Opens a regular file for reading and appending, and makes it where there is none.
pub(crate) fn open_to_append(path: &Path, mode: u32) -> Result<File, FileError> {
    let options = OpenOptions::new().read(true).append(true).create(true).mode(mode).custom_flags(CAREFUL).clone();
    regular(options.open(path), path)
}

/// Opens a regular file for writing from its start; earlier content is gone.
pub(crate) fn open_to_write(path: &Path, mode: u32) -> Result<File, FileError> {
    let options = OpenOptions::new().write(true).create(true).mode(mode).custom_flags(CAREFUL).clone();
    let file = regular(options.open(path), path)?;
    file.set_len(0).map_err(FileError::io("empty", path))?;
    Ok(file)
}

/// The files that this process writes to as its standard output and standard error; those that are none are left out.
pub fn own_output() -> Vec<PathBuf> {
    let links = ["/proc/self/fd/1", "/proc/self/fd/2"].iter();
    links.filter_map(|link| std::fs::read_link(link).ok()).filter(|path| path.is_absolute() && path.is_file()).collect()
}

/// Whether anything has this name, be it a link that leads nowhere.
pub fn exists(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

/// Makes a folder with `mode` where there is none. An existing one keeps its mode; a link or a file of this name
/// is an error.
///
/// # Errors
/// When the folder above is missing, or something else has this name.
pub fn ensure_dir(path: &Path, mode: u32) -> Result<(), FileError> {
    match std::fs::create_dir(path) {
        Ok(()) => {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(path, mode).map_err(FileError::io("set the mode of", path))?;
            sync_folder_of(path)
        }
        Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {
            let is_dir = std::fs::symlink_metadata(path).is_ok_and(|m| m.is_dir());
            if is_dir { Ok(()) } else { Err(FileError::Io { operation: "make folder", path: path.to_owned(), source }) }
        }
        Err(source) => Err(FileError::Io { operation: "make folder", path: path.to_owned(), source }),
    }
}

/// As [`ensure_dir`], and makes the folders above that are missing, for everybody to walk through.
///
/// # Errors
/// The first folder of the way that cannot be made.
pub fn ensure_path(path: &Path, mode: u32) -> Result<(), FileError> {
    if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty() && !exists(above)) {
        ensure_path(above, 0o755)?;
    }
    ensure_dir(path, mode)
}

/// As [`ensure_dir`], for a folder that only this process's user may write to: an existing one that belongs to
/// somebody else, or that its group or others may write to, is an error. A new one gets the group of the folder
/// above, so that whoever shares that one can read this one.
///
/// # Errors
/// As [`ensure_dir`], and when others could exchange what is in it.
pub fn ensure_own_dir(path: &Path, mode: u32) -> Result<(), FileError> {
    let fresh = !exists(path);
    ensure_dir(path, mode)?;
    if fresh && let Some(group) = path.parent().and_then(|p| p.metadata().ok()).map(|m| m.gid()) {
        let group = Some(rustix::fs::Gid::from_raw(group));
        rustix::fs::chown(path, None, group).map_err(|e| FileError::io("set the group of", path)(e.into()))?;
        // Changing the owner clears the set-group-id bit.
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(path, mode).map_err(FileError::io("set the mode of", path))?;
    }
    let meta = std::fs::symlink_metadata(path).map_err(FileError::io("look at", path))?;
    match loose(&meta) {
        None => Ok(()),
        Some(why) => {
            let source = io::Error::new(io::ErrorKind::PermissionDenied, why);
            Err(FileError::Io { operation: "trust", path: path.to_owned(), source })
        }
    }
}

/// Why somebody else than this process's user (or root) could have written this.
fn loose(meta: &std::fs::Metadata) -> Option<String> {
    let trusted = meta.uid() == 0 || meta.uid() == rustix::process::geteuid().as_raw();
    match meta.mode() & 0o022 {
        _ if !trusted => Some(format!("it belongs to user {}", meta.uid())),
        0 => None,
        _ => Some(format!("its mode {:04o} lets others write", meta.mode() & 0o7777)),
    }
}

/// Why somebody else than root or this process's user could exchange the program at `path`; none where nobody can.
///
/// Looks at the file, every folder above it, and every link on the way. A folder with the sticky bit (`/tmp`) may
/// be open to all, because nobody can replace an entry there that is not theirs. Write access of a *group* is
/// accepted: somebody has put its members there on purpose, and `root:staff` is how some systems ship `/usr/local`.
pub fn others_can_write(path: &Path) -> Option<String> {
    let found = walk(path, rustix::process::geteuid().as_raw(), 0o002);
    found.unwrap_or_else(|error| Some(format!("{}: {error}", path.display())))
}

/// The same for everybody but root: neither this process's user nor a group may write.
pub fn others_than_root_can_write(path: &Path) -> Option<String> {
    walk(path, 0, 0o022).unwrap_or_else(|error| Some(format!("{}: {error}", path.display())))
}

/// Follows `path` part by part; the first part that others than root and `me` could exchange, whom one of the bits of
/// `open` lets in.
fn walk(path: &Path, me: u32, open: u32) -> io::Result<Option<String>> {
    const MOST_LINKS: usize = 40;
    let mut rest: VecDeque<OsString> = parts(path);
    let (mut at, mut links) = (PathBuf::from("/"), 0);
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        let meta = std::fs::symlink_metadata(&next)?;
        if meta.uid() != 0 && meta.uid() != me {
            return Ok(Some(format!("{} belongs to user {}", next.display(), meta.uid())));
        }
        if meta.is_symlink() {
            links += 1;
            if links > MOST_LINKS {
                return Err(io::Error::other("too many links"));
            }
            let target = std::fs::read_link(&next)?;
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            for part in parts(&target).into_iter().rev() {
                rest.push_front(part);
            }
            continue;
        }
        let sticky_folder = meta.is_dir() && meta.mode() & 0o1000 != 0;
        if meta.mode() & open != 0 && !sticky_folder {
            let who = if meta.mode() & 0o002 != 0 { "anybody".into() } else { format!("group {}", meta.gid()) };
            return Ok(Some(format!("{who} can write to {}", next.display())));
        }
        at = next;
    }
    Ok(None)
}

/// What of a path this process's user may not use, and how it is guarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The first part that refuses: a folder on the way, or the file itself.
    pub path: PathBuf,
    /// What is missing.
    pub right: Right,
    /// The group it belongs to, by number.
    pub gid: u32,
    /// Whether its mode would let a member of that group in.
    pub lets_group: bool,
}

/// What somebody would have to be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// To go through a folder.
    Pass,
    /// To list a folder.
    List,
    /// To read a file.
    Read,
    /// To talk to a socket, which takes the right to write.
    Talk,
}

/// The first part of `path` that this process may not enter (a folder) or read (the last part, which may be a folder
/// too); none where all may be used, or where something is missing rather than refused.
pub fn first_denied(path: &Path) -> Option<Denied> {
    let mut at = PathBuf::from("/");
    let mut rest = parts(path).into_iter().peekable();
    while let Some(part) = rest.next() {
        at.push(part);
        let meta = std::fs::metadata(&at).ok()?;
        let is_last = rest.peek().is_none();
        let (right, wanted, group_bits) = match is_last {
            false => (Right::Pass, Access::EXEC_OK, 0o010),
            true if meta.is_dir() => (Right::List, Access::READ_OK | Access::EXEC_OK, 0o050),
            true if meta.file_type().is_socket() => (Right::Talk, Access::WRITE_OK, 0o020),
            true => (Right::Read, Access::READ_OK, 0o040),
        };
        if rustix::fs::accessat(rustix::fs::CWD, &at, wanted, AtFlags::EACCESS).is_err() {
            let lets_group = meta.mode() & group_bits == group_bits;
            return Some(Denied { right, gid: meta.gid(), lets_group, path: at });
        }
    }
    None
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let named = |c: Component<'_>| match c {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().filter_map(named).collect()
}

/// An exclusive lock on a file (`flock`), held until drop or the end of the process, however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock, or none when another process holds it. The holder's process id stands in the file, for
    /// people and for [`Lock::holder`].
    ///
    /// # Errors
    /// When the file cannot be made, opened or locked.
    pub fn try_acquire(path: &Path) -> Result<Option<Lock>, FileError> {
        let options = OpenOptions::new().write(true).create(true).mode(0o644).custom_flags(CAREFUL).clone();
        let mut file = regular(options.open(path), path)?;
        if !lock(&file, path, FlockOperation::NonBlockingLockExclusive)? {
            return Ok(None);
        }
        file.set_len(0)
            .and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()))
            .map_err(FileError::io("write", path))?;
        Ok(Some(Lock { _file: file }))
    }

    /// Whether a living process holds the lock. For an instant the look itself counts as a holder, so whoever
    /// acquires tries more than once.
    ///
    /// # Errors
    /// When the file cannot be opened; one that is missing is held by nobody.
    pub fn is_held(path: &Path) -> Result<bool, FileError> {
        match open_to_read(path) {
            Ok(file) => Ok(!lock(&file, path, FlockOperation::NonBlockingLockShared)?),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The process id of the holder, while there is one.
    ///
    /// # Errors
    /// As [`Lock::is_held`]; also when the file cannot be read.
    pub fn holder(path: &Path) -> Result<Option<u32>, FileError> {
        if !Lock::is_held(path)? {
            return Ok(None);
        }
        let text = read_capped(path, 64)?;
        Ok(String::from_utf8_lossy(&text).trim().parse().ok())
    }
}

/// Whether the lock was free.
fn lock(file: &File, path: &Path, how: FlockOperation) -> Result<bool, FileError> {
    match flock(file, how) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(FileError::io("lock", path)(error.into())),
    }
}

/// Temporary folders for tests, removed when they are dropped.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// A folder of its own for one test.
    pub(crate) struct Scratch(pub(crate) PathBuf);

    impl Scratch {
        pub(crate) fn new(name: &str) -> Scratch {
            static NUMBER: AtomicU64 = AtomicU64::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("backstop-{name}-{}-{number}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Scratch(path.canonicalize().unwrap())
        }

        pub(crate) fn at(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        /// Makes a file in the plainest way.
        pub(crate) fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
            let path = self.at(name);
            File::create(&path).unwrap().write_all(bytes).unwrap();
            path
        }

        /// The text of a file, empty where there is none.
        pub(crate) fn text(&self, name: &str) -> String {
            let mut text = String::new();
            if let Ok(mut file) = File::open(self.at(name)) {
                file.read_to_string(&mut text).unwrap();
            }
            text
        }

        /// Puts one of the things a hostile neighbour could put at `name`.
        pub(crate) fn put_hostile(&self, name: &str, what: &str) -> PathBuf {
            let path = self.at(name);
            match what {
                "symlink" => std::os::unix::fs::symlink("/etc/passwd", &path).unwrap(),
                "folder" => std::fs::create_dir(&path).unwrap(),
                "sparse" => File::create(&path).unwrap().set_len(1 << 30).unwrap(),
                "fifo" => {
                    let mode = rustix::fs::Mode::from_raw_mode(0o600);
                    let kind = rustix::fs::FileType::Fifo;
                    rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).unwrap();
                }
                other => panic!("no such thing: {other}"),
            }
            path
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Scratch;
    use super::*;

    #[test]
    fn the_folders_above_are_made_too() {
        let scratch = Scratch::new("ensure-path");
        let deep = scratch.0.join("a/b/c");
        ensure_path(&deep, 0o750).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&deep), mode(deep.parent().unwrap())), (0o750, 0o755));
        ensure_path(&deep, 0o700).unwrap();
        assert_eq!(mode(&deep), 0o750, "one that is there stays as it is");
        replace(&deep.join("file"), b"", 0o640).unwrap();
        assert!(ensure_path(&deep.join("file/d"), 0o750).is_err());
    }

    #[test]
    fn what_is_no_small_regular_file_is_refused_by_name() {
        let scratch = Scratch::new("read");
        for (what, message) in [
            ("symlink", "is a symbolic link, not a regular file"),
            ("folder", "is a folder, not a regular file"),
            ("fifo", "is a FIFO, not a regular file"),
            ("sparse", "has more than 1024 bytes"),
        ] {
            let path = scratch.put_hostile(what, what);
            let error = read_capped(&path, 1024).unwrap_err().to_string();
            assert_eq!(error, format!("{} {message}", path.display()));
        }
        assert!(read_capped(&scratch.at("missing"), 1).unwrap_err().is_not_found());
        assert!(read_capped(Path::new("/dev/null"), 1).unwrap_err().to_string().contains("a device"));
        let path = scratch.put("full", &[7; 1024]);
        assert_eq!(read_capped(&path, 1024).unwrap().len(), 1024, "the cap itself is allowed");
    }

    #[test]
    fn a_file_is_replaced_whole_and_leaves_nothing_beside_it() {
        let scratch = Scratch::new("replace");
        let path = scratch.at("state");
        replace(&path, b"one", 0o640).unwrap();
        replace(&path, b"two", 0o600).unwrap();
        assert_eq!(scratch.text("state"), "two");
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::read_dir(&scratch.0).unwrap().count(), 1);
    }

    #[test]
    fn a_new_file_never_replaces_another() {
        let scratch = Scratch::new("create");
        let path = scratch.at("request");
        create_new(&path, b"first", 0o640).unwrap();
        assert!(create_new(&path, b"second", 0o640).unwrap_err().is_already_there());
        let link = scratch.put_hostile("link", "symlink");
        assert!(create_new(&link, b"third", 0o640).unwrap_err().is_already_there());
        assert_eq!(scratch.text("request"), "first");
        assert_eq!(std::fs::read_dir(&scratch.0).unwrap().count(), 2);
    }

    #[test]
    fn lines_are_appended_and_links_are_not_followed() {
        let scratch = Scratch::new("append");
        append_line(&scratch.at("log"), b"a").unwrap();
        append_line(&scratch.at("log"), b"b").unwrap();
        assert_eq!(scratch.text("log"), "a\nb\n");
        std::os::unix::fs::symlink(scratch.at("log"), scratch.at("link")).unwrap();
        assert!(append_line(&scratch.at("link"), b"c").is_err());
        assert_eq!(scratch.text("log"), "a\nb\n");
    }

    #[test]
    fn a_lock_has_one_holder_and_others_can_see_it() {
        let scratch = Scratch::new("lock");
        let path = scratch.at("lock");
        assert!(!Lock::is_held(&path).unwrap());
        let held = Lock::try_acquire(&path).unwrap().expect("it is free");
        assert!(Lock::try_acquire(&path).unwrap().is_none());
        assert_eq!(Lock::holder(&path).unwrap(), Some(std::process::id()));
        drop(held);
        assert_eq!(Lock::holder(&path).unwrap(), None);
        assert!(Lock::try_acquire(&path).unwrap().is_some());
    }

    #[test]
    fn a_folder_that_others_write_to_is_not_ones_own() {
        let scratch = Scratch::new("own");
        let path = scratch.at("rollback");
        ensure_own_dir(&path, 0o2750).unwrap();
        ensure_own_dir(&path, 0o2750).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o2750);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = ensure_own_dir(&path, 0o2750).unwrap_err();
        assert!(error.to_string().starts_with("cannot trust"), "{error}");
        let link = scratch.put_hostile("link", "symlink");
        assert!(ensure_own_dir(&link, 0o2750).is_err());
    }

    #[test]
    fn a_program_is_only_as_safe_as_every_folder_and_link_on_the_way() {
        let scratch = Scratch::new("walk");
        let open = scratch.at("open");
        std::fs::create_dir(&open).unwrap();
        let program = scratch.put("open/program", b"");
        let inner_link = scratch.at("link");
        std::os::unix::fs::symlink("open/program", &inner_link).unwrap();
        assert_eq!(others_can_write(&program), None, "/tmp has the sticky bit");
        assert_eq!(others_can_write(&inner_link), None);
        assert_eq!(others_can_write(Path::new("/bin/sh")), None);

        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
        let why = format!("anybody can write to {}", open.display());
        assert_eq!(others_can_write(&program), Some(why.clone()));
        assert_eq!(others_can_write(&inner_link), Some(why.clone()), "also through a link");
        assert_eq!(others_can_write(&open.join("../open/program")), Some(why));
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o1777)).unwrap();
        assert_eq!(others_can_write(&program), None);
        assert!(others_can_write(&scratch.at("missing")).is_some());
    }
}
