//! The journal on disk: one SQLite database, one thread that writes, one transaction for the effects of a step.
//!
//! Enters: rows (a kind, a body, a time), and now and then a snapshot of what all rows so far fold to. Leaves: an
//! answer once they are durable (`synchronous=FULL` in WAL mode). It does not know what the rows mean.
//!
//! A full disk costs the ballast first: a file that exists only to be given up, so that what was decided can
//! still be written. Anything else that fails is the caller's to say.

use std::path::{Path, PathBuf};
use std::sync::mpsc;

use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use tokio::sync::oneshot;

use super::files;
use crate::base::Timestamp;

/// The schema this program writes. A database of a newer one is refused by name; older ones are migrated.
pub const SCHEMA: i64 = 1;

/// Size of the file that is given up when the disk is full.
pub const BALLAST: u64 = 16 << 20;

/// How many writes may wait for the thread; the agent sends one at a time, so this is never reached.
const QUEUE: usize = 8;

/// One journaled event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// When it happened.
    pub at: Timestamp,
    /// What it is, in one word, for those who read the database by hand.
    pub kind: &'static str,
    /// The event as JSON.
    pub body: String,
}

/// What is made durable together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Write {
    /// New events, in order.
    pub rows: Vec<Row>,
    /// What all events up to and with these fold to, as JSON.
    pub snapshot: Option<String>,
    /// Events of snapshots before this time may be forgotten.
    pub forget_before: Option<Timestamp>,
}

/// What was on disk at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The newest snapshot.
    pub snapshot: Option<String>,
    /// The bodies of all events after it, oldest first.
    pub events: Vec<String>,
}

/// Why the journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The database cannot be opened or read.
    #[error("cannot open the journal {path}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// It was written by a newer version.
    #[error(
        "the journal {path} has format {found}; this version knows formats up to {SCHEMA}: install the newer backstop again"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
    },
    /// The thread could not be started.
    #[error("cannot start the journal's thread: {0}")]
    Thread(std::io::Error),
}

/// A write, and where its answer goes.
type Job = (Write, oneshot::Sender<Result<(), String>>);

/// The writer's handle. Dropping it ends the thread after what it was given.
#[derive(Debug)]
pub struct Journal {
    sender: Option<mpsc::SyncSender<Job>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Makes the file before SQLite does, which would let everybody read it; the files beside it get its mode. What was said
/// in a reason or a message is not for all users of a host.
fn lock_out_others(path: &Path) {
    match files::create_new(path, b"", 0o640) {
        Ok(()) => {}
        Err(error) if error.is_already_there() => {}
        // Opening it says so with all that is known.
        Err(error) => tracing::debug!(%error, "The journal could not be made."),
    }
}

impl Journal {
    /// Opens (or makes) the database in `folder` and reads what it holds.
    ///
    /// # Errors
    /// When the file cannot be opened, read or written, or is of a newer format.
    pub fn open(folder: &Path) -> Result<(Journal, Recovered), JournalError> {
        let path = folder.join("backstop.db");
        let open = |source| JournalError::Open { path: path.clone(), source };
        lock_out_others(&path);
        let connection = Connection::open(&path).map_err(open)?;
        prepare(&connection, &path)?;
        let recovered = recover(&connection).map_err(open)?;
        let ballast = folder.join("ballast");
        lay_ballast(&ballast);
        let (sender, receiver) = mpsc::sync_channel::<Job>(QUEUE);
        let thread = super::tasks::thread("journal", move || {
            let mut connection = connection;
            for (write, reply) in receiver {
                let mut result = commit(&mut connection, &write);
                if is_full(&result) && give_up_ballast(&ballast) {
                    tracing::error!(
                        "The disk is full; the ballast file was given up so that decisions can still be written."
                    );
                    result = commit(&mut connection, &write);
                }
                // Whoever asked may have stopped waiting; the write itself counts.
                drop(reply.send(result.map_err(|e| e.to_string())));
            }
            // A clean end leaves one file: what is in the log is folded into the database.
            drop(connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)"));
        })
        .map_err(JournalError::Thread)?;
        Ok((Journal { sender: Some(sender), thread: Some(thread) }, recovered))
    }

    /// Hands a write to the thread; the receiver resolves when it is durable, or says why it is not.
    pub fn write(&self, write: Write) -> oneshot::Receiver<Result<(), String>> {
        let (reply, answer) = oneshot::channel();
        if let Some(sender) = &self.sender
            && let Err(error) = sender.try_send((write, reply))
        {
            let (mpsc::TrySendError::Full((_, reply)) | mpsc::TrySendError::Disconnected((_, reply))) = error;
            drop(reply.send(Err("the journal's thread does not answer".into())));
        }
        answer
    }

    /// Ends the thread after everything it was given.
    pub fn close(mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("The journal's thread panicked; this is a bug in backstop.");
        }
    }
}

/// Reads snapshot and events without writing, for commands that run without an agent. Copies and closes at once.
///
/// # Errors
/// As [`Journal::open`].
pub fn read_only(folder: &Path) -> Result<Recovered, JournalError> {
    let path = folder.join("backstop.db");
    let open = |source| JournalError::Open { path: path.clone(), source };
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&path, flags).map_err(open)?;
    connection.busy_timeout(std::time::Duration::from_millis(500)).map_err(open)?;
    let found = schema_of(&connection).map_err(open)?;
    if found > SCHEMA {
        return Err(JournalError::Newer { path, found });
    }
    recover(&connection).map_err(open)
}

fn prepare(connection: &Connection, path: &Path) -> Result<(), JournalError> {
    let open = |source| JournalError::Open { path: path.to_path_buf(), source };
    connection.busy_timeout(std::time::Duration::from_secs(1)).map_err(open)?;
    let found = schema_of(connection).map_err(open)?;
    if found > SCHEMA {
        return Err(JournalError::Newer { path: path.to_path_buf(), found });
    }
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA journal_size_limit = 4194304;
             PRAGMA wal_autocheckpoint = 256;
             PRAGMA cache_size = -512;",
        )
        .map_err(open)?;
    for version in found..SCHEMA {
        connection.execute_batch(MIGRATIONS[version as usize]).map_err(open)?;
    }
    // A journal that cannot be written is refused now, not at the first alert.
    connection
        .execute(
            "INSERT INTO meta (key, value) VALUES ('opened', 1) ON CONFLICT (key) DO UPDATE SET value = value + 1",
            [],
        )
        .map(drop)
        .map_err(open)
}

/// One entry a schema version: from it to the next.
const MIGRATIONS: [&str; SCHEMA as usize] = ["BEGIN;
     CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
     CREATE TABLE event (seq INTEGER PRIMARY KEY AUTOINCREMENT, format INTEGER NOT NULL, at INTEGER NOT NULL,
                         kind TEXT NOT NULL, body TEXT NOT NULL) STRICT;
     CREATE TABLE snapshot (seq INTEGER PRIMARY KEY, format INTEGER NOT NULL, at INTEGER NOT NULL, body TEXT NOT NULL) STRICT;
     CREATE VIEW timeline AS SELECT seq, datetime(at / 1000, 'unixepoch') AS utc, kind, body FROM event;
     PRAGMA user_version = 1;
     COMMIT;"];

fn schema_of(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn recover(connection: &Connection) -> rusqlite::Result<Recovered> {
    let snapshot: Option<(i64, String)> = connection
        .query_row("SELECT seq, body FROM snapshot ORDER BY seq DESC LIMIT 1", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let after = snapshot.as_ref().map_or(0, |(seq, _)| *seq);
    let mut statement = connection.prepare("SELECT body FROM event WHERE seq > ?1 ORDER BY seq")?;
    let events = statement.query_map([after], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    Ok(Recovered { snapshot: snapshot.map(|(_, body)| body), events })
}

fn commit(connection: &mut Connection, write: &Write) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    {
        let mut insert =
            transaction.prepare_cached("INSERT INTO event (format, at, kind, body) VALUES (1, ?1, ?2, ?3)")?;
        for row in &write.rows {
            insert.execute(params![row.at.millis(), row.kind, row.body])?;
        }
    }
    if let Some(body) = &write.snapshot {
        let at = write.rows.last().map_or(0, |r| r.at.millis());
        transaction.execute(
            "INSERT OR REPLACE INTO snapshot (seq, format, at, body)
             SELECT COALESCE(MAX(seq), 0), 1, ?1, ?2 FROM event",
            params![at, body],
        )?;
        transaction.execute("DELETE FROM snapshot WHERE seq < (SELECT MAX(seq) FROM snapshot)", [])?;
        if let Some(before) = write.forget_before {
            transaction.execute(
                "DELETE FROM event WHERE at < ?1 AND seq < (SELECT MAX(seq) FROM snapshot)",
                [before.millis()],
            )?;
        }
    }
    transaction.commit()
}

fn is_full(result: &rusqlite::Result<()>) -> bool {
    matches!(result, Err(rusqlite::Error::SqliteFailure(e, _)) if e.code == ErrorCode::DiskFull)
}

/// Reserves the ballast's blocks; a disk too small for it is no reason not to start.
fn lay_ballast(path: &Path) {
    use rustix::fs::{FallocateFlags, Mode, OFlags};
    let laid =
        rustix::fs::open(path, OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::from(0o600))
            .and_then(|file| rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, BALLAST));
    if let Err(error) = laid {
        tracing::warn!(path = %path.display(), %error, "No ballast could be laid: when the disk fills up, nothing can be given up.");
        drop(std::fs::remove_file(path));
    }
}

fn give_up_ballast(path: &Path) -> bool {
    std::fs::remove_file(path).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: i64) -> Row {
        Row { at: Timestamp(n), kind: "test", body: format!("{n}") }
    }

    fn write(journal: &Journal, write: Write) {
        journal.write(write).blocking_recv().unwrap().unwrap();
    }

    #[test]
    fn other_users_cannot_read_the_journal() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o007, 0, "{:?}", entry.file_name());
        }
        drop(journal);
    }

    #[test]
    fn what_was_answered_is_there_after_a_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, recovered) = Journal::open(folder.path()).unwrap();
        assert_eq!(recovered, Recovered::default());
        write(&journal, Write { rows: vec![row(1), row(2)], ..Write::default() });
        write(&journal, Write { rows: vec![row(3)], snapshot: Some("s".into()), ..Write::default() });
        write(&journal, Write { rows: vec![row(4)], ..Write::default() });
        let seen = read_only(folder.path()).unwrap();
        assert_eq!(seen, Recovered { snapshot: Some("s".into()), events: vec!["4".into()] });
        journal.close();
        let (journal, recovered) = Journal::open(folder.path()).unwrap();
        assert_eq!(recovered, seen);
        journal.close();
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        Connection::open(folder.path().join("backstop.db")).unwrap().execute_batch("PRAGMA user_version = 9").unwrap();
        let error = Journal::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("has format 9") && error.contains("up to 1"), "{error}");
    }

    #[test]
    fn old_events_are_forgotten_only_behind_a_snapshot() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(folder.path()).unwrap();
        write(
            &journal,
            Write { rows: vec![row(1), row(2)], snapshot: Some("a".into()), forget_before: Some(Timestamp(2)) },
        );
        write(&journal, Write { rows: vec![row(3)], snapshot: None, forget_before: Some(Timestamp(9)) });
        journal.close();
        let recovered = read_only(folder.path()).unwrap();
        assert_eq!(recovered, Recovered { snapshot: Some("a".into()), events: vec!["3".into()] });
    }
}
