//! Being woken when files may have changed.
//!
//! Enters: folders and files to watch. Leaves: that something may have changed, and what cannot be watched and so is to be
//! looked at now and then. Nothing is concluded from what the kernel says beyond that: events may be lost, and who is woken
//! looks for himself. A folder wakes when a name in it comes, goes or changes, a file when it is written, emptied or loses its
//! name; writing to other files of a watched folder wakes nobody. Many changes wake once.

use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The most places that are watched.
pub const MAX_WATCHES: usize = 8192;

/// Room for the events of one read, in bytes: several hundred.
const EVENTS: usize = 16 << 10;

/// How many reads one waking takes in at most, so that who writes without end cannot hold it up.
const MAX_READS: usize = 64;

/// Wakes when something that is watched may have changed.
#[derive(Debug)]
pub struct Wake {
    inotify: AsyncFd<OwnedFd>,
    watches: BTreeMap<PathBuf, Watched>,
    /// What is behind each watch of the kernel, and how many paths.
    by_number: BTreeMap<i32, PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Watched {
    number: i32,
    is_folder: bool,
}

/// What cannot be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwatched {
    /// What it is.
    pub path: PathBuf,
    /// Why.
    pub why: Deaf,
}

/// Why something cannot be watched, and has to be looked at now and then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Deaf {
    /// Others may write to it of whom this host hears nothing.
    #[error("its file system ({0}) does not tell what other hosts or processes write")]
    FileSystem(&'static str),
    /// The system lets this user watch no more.
    #[error("no more files can be watched; the limit is fs.inotify.max_user_watches")]
    Exhausted,
    /// More than [`MAX_WATCHES`].
    #[error("more than {MAX_WATCHES} places are to be watched")]
    TooMany,
    /// This user may not read it. Whether that changes is told where it lies.
    #[error("this user may not read it")]
    Denied,
    /// The system said something else.
    #[error("it cannot be watched: {0}")]
    Io(String),
}

impl Deaf {
    /// Whether something may change unheard that could be read: to look now and then finds more.
    pub fn needs_looks(&self) -> bool {
        !matches!(self, Deaf::Denied)
    }
}

/// How watching went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watching {
    /// What cannot be watched.
    pub unwatched: Vec<Unwatched>,
    /// Whether something is watched that was not before: a folder that was made anew under its old name, too. What happened
    /// there until now wakes nobody: look once more.
    pub is_changed: bool,
}

impl Wake {
    /// Watches nothing yet. Belongs to a tokio runtime.
    ///
    /// # Errors
    /// When the system gives no more instances, by fs.inotify.max_user_instances.
    pub fn new() -> io::Result<Wake> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe; an OwnedFd that nobody takes out stays open as demanded"
        )]
        let inotify = AsyncFd::with_interest(inotify, Interest::READABLE)?;
        Ok(Wake { inotify, watches: BTreeMap::new(), by_number: BTreeMap::new() })
    }

    /// Watches `folders` and `files` and nothing else. Watches that are there stay; a file that was replaced since is watched
    /// anew. Can hang where a file system does.
    ///
    /// What is not there is passed over: who wants to be woken when it comes watches a folder that is.
    pub fn watch(&mut self, folders: &[PathBuf], files: &[PathBuf]) -> Watching {
        let mut deaf = Vec::new();
        let mut watches = BTreeMap::new();
        let wanted = folders.iter().map(|path| (path, true)).chain(files.iter().map(|path| (path, false)));
        for (n, (path, is_folder)) in wanted.enumerate() {
            if watches.contains_key(path) {
                continue;
            }
            if n >= MAX_WATCHES {
                deaf.push(Unwatched { path: path.clone(), why: Deaf::TooMany });
                continue;
            }
            // The kernel finds the watch that is there, if the path still means the same.
            match self.add(path, is_folder) {
                Ok(Some(number)) => drop(watches.insert(path.clone(), Watched { number, is_folder })),
                Ok(None) => {}
                Err(why) => deaf.push(Unwatched { path: path.clone(), why }),
            }
            if let Some(name) = network(path) {
                deaf.push(Unwatched { path: path.clone(), why: Deaf::FileSystem(name) });
            }
        }
        let by_number: BTreeMap<i32, PathBuf> =
            watches.iter().map(|(path, watched)| (watched.number, path.clone())).collect();
        for number in self.by_number.keys().filter(|number| !by_number.contains_key(number)) {
            // One that the kernel took away by itself is gone already.
            inotify::remove_watch(self.inotify.get_ref(), *number).ok();
        }
        let is_changed = by_number.keys().any(|number| !self.by_number.contains_key(number));
        (self.watches, self.by_number) = (watches, by_number);
        Watching { unwatched: deaf, is_changed }
    }

    fn add(&self, path: &Path, is_folder: bool) -> Result<Option<i32>, Deaf> {
        let names = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::ONLYDIR
            | WatchFlags::ATTRIB;
        let content = WatchFlags::MODIFY | WatchFlags::ATTRIB;
        let own = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        let flags = own | if is_folder { names } else { content };
        match inotify::add_watch(self.inotify.get_ref(), path, flags) {
            Ok(number) => Ok(Some(number)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(Errno::ACCESS | Errno::PERM) => Err(Deaf::Denied),
            Err(Errno::NOSPC | Errno::NOMEM) => Err(Deaf::Exhausted),
            Err(error) => Err(Deaf::Io(error.to_string())),
        }
    }

    /// Waits until something may have changed. Safe to give up.
    ///
    /// # Errors
    /// When the kernel does not tell any more.
    pub async fn wait(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.inotify.readable().await?;
            if drain(ready.get_inner())? {
                return Ok(());
            }
            ready.clear_ready();
        }
    }
}

/// Takes in what the kernel has to tell; whether that was anything.
fn drain(inotify: &OwnedFd) -> io::Result<bool> {
    let mut room = [MaybeUninit::<u8>::uninit(); EVENTS];
    let mut reader = Reader::new(inotify, &mut room);
    let (mut is_any, mut n_reads) = (false, 0);
    loop {
        if reader.is_buffer_empty() {
            n_reads += 1;
            if n_reads > MAX_READS {
                return Ok(true);
            }
        }
        match reader.next() {
            // A watch that ends with its file says so; the file's end was told before.
            Ok(event) => is_any |= event.events() != ReadFlags::IGNORED,
            Err(Errno::AGAIN) => return Ok(is_any),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// How the file system of `path` is called, if others can write to it unseen. What cannot be asked is not one.
fn network(path: &Path) -> Option<&'static str> {
    const UNHEARD: [(u32, &str); 12] = [
        (0x6969, "NFS"),
        (0xff53_4d42, "CIFS"),
        (0xfe53_4d42, "SMB2"),
        (0x517b, "SMB"),
        (0x6573_5546, "FUSE"),
        (0x0102_1997, "9p"),
        (0x00c3_6400, "Ceph"),
        (0x5346_414f, "AFS"),
        (0x6b41_4653, "AFS"),
        (0x7461_636f, "OCFS2"),
        (0x0116_1970, "GFS2"),
        (0x0bd0_0bd0, "Lustre"),
    ];
    let kind = u32::try_from(rustix::fs::statfs(path).ok()?.f_type & 0xffff_ffff).ok()?;
    UNHEARD.into_iter().find(|(magic, _)| *magic == kind).map(|(_, name)| name)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests write the files that are watched")]
mod tests {
    use std::future::Future;
    use std::time::Duration;

    use super::*;

    /// Whether it wakes within `limit`.
    async fn wakes(wait: impl Future<Output = io::Result<()>>, limit: Duration) -> bool {
        match tokio::time::timeout(limit, wait).await {
            Ok(woken) => woken.is_ok(),
            Err(_) => false,
        }
    }

    const SOON: Duration = Duration::from_secs(10);

    /// Long enough for what is already in the queue; nothing else is waited for.
    const NOW: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn what_is_watched_wakes_once_and_what_is_not_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["a", "b"] {
            std::fs::write(path(name), "").unwrap();
        }
        let mut wake = Wake::new().unwrap();
        let changed = |is_changed| Watching { unwatched: Vec::new(), is_changed };
        assert_eq!(wake.watch(&[folder.path().to_owned()], &[path("a")]), changed(true));
        assert!(!wakes(wake.wait(), NOW).await, "nothing happened");
        for _ in 0..100 {
            std::fs::write(path("a"), "text").unwrap();
        }
        assert!(wakes(wake.wait(), SOON).await);
        assert!(!wakes(wake.wait(), NOW).await, "many changes wake once");
        std::fs::write(path("b"), "text").unwrap();
        assert!(!wakes(wake.wait(), NOW).await, "writing to another file of the folder is no change of it");
        std::fs::rename(path("b"), path("c")).unwrap();
        assert!(wakes(wake.wait(), SOON).await, "a name changed");
        std::fs::remove_file(path("a")).unwrap();
        assert!(wakes(wake.wait(), SOON).await);
        std::fs::write(path("a"), "new").unwrap();
        assert!(wakes(wake.wait(), SOON).await, "one came");
    }

    #[tokio::test]
    async fn watches_follow_what_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["a", "b"] {
            std::fs::write(path(name), "").unwrap();
        }
        let mut wake = Wake::new().unwrap();
        let changed = |is_changed| Watching { unwatched: Vec::new(), is_changed };
        for n in 0..3 {
            assert_eq!(wake.watch(&[], &[path("a"), path("a"), path("none")]), changed(n == 0));
        }
        assert_eq!(wake.by_number.len(), 1, "asking again changes nothing");
        assert_eq!(wake.watch(&[], &[path("b")]), changed(true));
        assert_eq!(wake.watch(&[], &[]), changed(false), "what is not watched any more cannot be missed");
        assert_eq!(wake.watch(&[], &[path("b")]), changed(true));
        wakes(wake.wait(), NOW).await;
        std::fs::write(path("a"), "text").unwrap();
        assert!(!wakes(wake.wait(), NOW).await, "nobody asked for it any more");
        // A file that was replaced is watched anew by asking again.
        std::fs::rename(path("a"), path("b")).unwrap();
        assert_eq!(wake.watch(&[], &[path("b")]), changed(true), "the same name, another file");
        wakes(wake.wait(), NOW).await;
        std::fs::write(path("b"), "text").unwrap();
        assert!(wakes(wake.wait(), SOON).await);
    }

    #[tokio::test]
    async fn more_events_than_the_kernel_keeps_wake_too() {
        let folder = tempfile::tempdir().unwrap();
        let mut wake = Wake::new().unwrap();
        wake.watch(&[folder.path().to_owned()], &[]);
        // Alternating names, or the kernel would take equal events for one.
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::write(&a, "").unwrap();
        for _ in 0..10_000 {
            std::fs::rename(&a, &b).unwrap();
            std::fs::rename(&b, &a).unwrap();
        }
        assert!(wakes(wake.wait(), SOON).await);
        while wakes(wake.wait(), NOW).await {}
        std::fs::rename(&a, &b).unwrap();
        assert!(wakes(wake.wait(), SOON).await, "it goes on");
    }

    #[test]
    fn file_systems_that_do_not_tell_are_known() {
        assert_eq!(network(Path::new("/proc")), None);
        assert_eq!(network(Path::new("/none")), None);
    }
}
