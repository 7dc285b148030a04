//! Files that the configuration names, read for many at once: each once at a time, and never on an async worker.
//!
//! Enters: a path and how much of it is read at most. Leaves: its content. A file on a mount whose server is gone cannot be
//! let go of, so such a read keeps its thread, is not begun a second time, and is said to be under way still. There are at
//! most [`MAX_UNDER_WAY`] such threads in all.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use super::clock::Stopwatch;
use super::{read, tasks};
use crate::base::Span;

/// How many reads may be under way at once.
pub const MAX_UNDER_WAY: usize = 24;

/// A read that is older than this hangs: nobody waits for it any more.
const HANGS: Span = Span::secs(1);

/// How long anybody waits for a read at most; those who look have a shorter timeout of their own.
const PATIENCE: Span = Span::secs(10);

/// What was read, or why nothing was: a fragment that goes on after the path.
pub type Content = Result<Arc<Vec<u8>>, String>;

type Reading = dyn Fn(&Path, usize) -> std::io::Result<Vec<u8>> + Send + Sync;

/// Reads files; clones share what is under way.
#[derive(Clone)]
pub struct Reader(Arc<Shared>);

struct Shared {
    under_way: Mutex<HashMap<Wanted, UnderWay>>,
    places: Arc<Semaphore>,
    reading: Box<Reading>,
}

/// A path, and how many bytes are read at most.
type Wanted = (PathBuf, usize);

#[derive(Clone)]
struct UnderWay {
    began: Stopwatch,
    content: watch::Receiver<Option<Content>>,
}

impl Reader {
    /// Reads regular files. There is one for the whole process, as are the threads that it bounds.
    pub fn of_process() -> Reader {
        static READER: LazyLock<Reader> = LazyLock::new(Reader::of_host);
        READER.clone()
    }

    fn of_host() -> Reader {
        Reader::with(|path, most| {
            let mut bytes = Vec::new();
            read::into(path, &mut bytes, most).map(|()| bytes)
        })
    }

    /// Reads through `reading`, which may block.
    pub fn with(reading: impl Fn(&Path, usize) -> std::io::Result<Vec<u8>> + Send + Sync + 'static) -> Reader {
        let places = Arc::new(Semaphore::new(MAX_UNDER_WAY));
        Reader(Arc::new(Shared { under_way: Mutex::default(), places, reading: Box::new(reading) }))
    }

    /// The content of the file at `path`, of at most `most` bytes.
    ///
    /// # Errors
    /// A fragment that goes on after the path: it cannot be read, or is still being read, or too many others are.
    pub async fn read(&self, path: &Path, most: usize) -> Content {
        let wanted = (path.to_path_buf(), most);
        let known = self.0.lock().get(&wanted).cloned();
        let UnderWay { began, mut content } = match known {
            Some(known) if known.began.elapsed() > HANGS => return Err(still(&known.began)),
            Some(known) => known,
            None => self.begin(wanted).await?,
        };
        let Ok(read) = timeout(PATIENCE.to_std(), content.wait_for(Option::is_some)).await else {
            return Err(still(&began));
        };
        // Copied out, so that no lock of the channel is held by who got the content.
        read.ok().and_then(|read| read.clone()).unwrap_or_else(|| Err("cannot be read: the reading broke off".into()))
    }

    async fn begin(&self, wanted: Wanted) -> Result<UnderWay, String> {
        let Ok(Ok(place)) = timeout(HANGS.to_std(), self.0.places.clone().acquire_owned()).await else {
            return Err(format!(
                "cannot be read: {MAX_UNDER_WAY} other files are still being read: does a mount hang?"
            ));
        };
        let mut under_way = self.0.lock();
        if let Some(known) = under_way.get(&wanted) {
            return Ok(known.clone());
        }
        let (said, content) = watch::channel(None);
        let begun = UnderWay { began: Stopwatch::start(), content };
        under_way.insert(wanted.clone(), begun.clone());
        drop(under_way);
        // Ended by dropping it, so that the path is free again even after a panic, or without a thread.
        let entry = Entry { shared: self.0.clone(), wanted, _place: place };
        let work = move || {
            let entry = entry;
            let (path, most) = &entry.wanted;
            let content = (entry.shared.reading)(path, *most);
            let content = content.map(Arc::new).map_err(|e| format!("cannot be read: {e}"));
            drop(entry);
            said.send_replace(Some(content));
        };
        // Nobody joins it: to wait for what hangs is what this room avoids. It ends with its read.
        tasks::thread("read", work).map_err(|e| format!("cannot be read: no thread could be started: {e}"))?;
        Ok(begun)
    }
}

fn still(began: &Stopwatch) -> String {
    format!("is still being read, since {} ago: does its mount hang?", Span::secs(began.elapsed().as_millis() / 1000))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<Wanted, UnderWay>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

/// A read under way, and its place among all.
struct Entry {
    shared: Arc<Shared>,
    wanted: Wanted,
    _place: OwnedSemaphorePermit,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.shared.lock().remove(&self.wanted);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    /// A reader that hangs until it is let go, and counts how often it began.
    fn held() -> (Reader, mpsc::Sender<()>, Arc<AtomicUsize>) {
        let (go, wait) = mpsc::channel();
        let (wait, begun) = (Mutex::new(wait), Arc::new(AtomicUsize::new(0)));
        let counted = begun.clone();
        let reading = move |path: &Path, _: usize| {
            counted.fetch_add(1, Ordering::SeqCst);
            wait.lock().unwrap().recv().unwrap_or_default();
            Ok(path.to_string_lossy().into_owned().into_bytes())
        };
        (Reader::with(reading), go, begun)
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_hangs_is_begun_once_and_said() {
        let (reader, go, begun) = held();
        let path = Path::new("/mnt/gone/token");
        for _ in 0..20 {
            let why = reader.read(path, 10).await.unwrap_err();
            assert!(why.starts_with("is still being read, since ") && why.ends_with("does its mount hang?"), "{why}");
        }
        assert!(begun.load(Ordering::SeqCst) <= 1);
        assert_eq!(reader.0.places.available_permits(), MAX_UNDER_WAY - 1, "it costs one thread");
        drop(go);
        tokio::time::resume();
        while reader.0.places.available_permits() < MAX_UNDER_WAY {
            tokio::task::yield_now().await;
        }
        assert_eq!(**reader.read(path, 10).await.as_ref().unwrap(), b"/mnt/gone/token", "it is read again");
    }

    #[tokio::test]
    async fn all_who_want_a_file_share_one_read() {
        let (reader, go, begun) = held();
        let path = Path::new("/a");
        let (first, second) = (reader.read(path, 10), reader.read(path, 10));
        let both = async { tokio::join!(first, second) };
        let let_go = async {
            while begun.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
            go.send(()).unwrap();
        };
        let ((first, second), ()) = tokio::join!(both, let_go);
        assert_eq!((first.unwrap(), second.unwrap()), (Arc::new(b"/a".to_vec()), Arc::new(b"/a".to_vec())));
        assert_eq!(begun.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn reads_that_hang_cost_a_bounded_number_of_threads() {
        let (reader, go, begun) = held();
        for i in 0..MAX_UNDER_WAY {
            reader.begin((PathBuf::from(format!("/mnt/{i}")), 10)).await.unwrap();
        }
        for _ in 0..10 {
            let why = reader.read(Path::new("/mnt/more"), 10).await.unwrap_err();
            assert_eq!(why, "cannot be read: 24 other files are still being read: does a mount hang?");
        }
        assert!(begun.load(Ordering::SeqCst) <= MAX_UNDER_WAY);
        drop(go);
    }

    #[tokio::test]
    async fn a_read_that_fails_says_why_and_leaves_nothing() {
        let reader = Reader::with(|_, _| panic!("on purpose"));
        assert_eq!(reader.read(Path::new("/a"), 1).await.unwrap_err(), "cannot be read: the reading broke off");
        assert!(reader.0.lock().is_empty());
        let why = Reader::of_host().read(Path::new("/dev/zero"), 1).await.unwrap_err();
        assert_eq!(why, "cannot be read: not a regular file");
    }
}
