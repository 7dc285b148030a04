//! Entries in, pieces out: what follows each other from one process becomes one piece.
//!
//! What a program prints (transport `stdout`) comes one entry a line and with the priority of the unit, which says nothing
//! of the line: such entries become lines again, so that a stack trace is one event. What a program hands to the journal or
//! to syslog itself is whole, and has the priority that the program gave it. Entries about a unit (its start, its crash)
//! come from PID 1 and are kept. What this process itself wrote is left out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::entry::{Entry, Field};
use super::unit::Unit;
use crate::base::Timestamp;
use crate::source::log::level::Level;
use crate::source::log::origin::{self, Content, Piece};

/// The most entries of a piece.
pub const MAX_ENTRIES: usize = 1000;

/// The most bytes of messages of a piece, but for one message that is longer.
pub const MAX_BYTES: usize = 1 << 20;

/// The longest cursor, in bytes.
const MAX_CURSOR: usize = 512;

/// What journald says when it threw away messages of a unit that wrote too many (SD_MESSAGE_JOURNAL_DROPPED).
const DROPPED: &[u8] = b"a596d6fe7bfa4994828e72309e95d61e";

/// What systemd-coredump says (SD_MESSAGE_COREDUMP).
const COREDUMP: &[u8] = b"fc2e22bc6ee647b6b90729ab34a250b1";

/// Where in the journal an entry is.
pub type Cursor = Arc<str>;

/// What was seen since the start.
#[derive(Debug, Default)]
pub struct Tallies {
    cut: AtomicU64,
    strange: AtomicU64,
    own: AtomicU64,
}

impl Tallies {
    /// Messages that were longer than allowed, and cut.
    pub fn cut(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }

    /// Lines of journalctl that were no entries.
    pub fn strange(&self) -> u64 {
        self.strange.load(Ordering::Relaxed)
    }

    /// Entries of this process, which were left out.
    pub fn own(&self) -> u64 {
        self.own.load(Ordering::Relaxed)
    }
}

/// Who this process is in the journal.
#[derive(Clone, Debug, Default)]
pub(super) struct Own {
    /// Its unit, if it is a service.
    pub(super) unit: Option<String>,
    /// Its process id, as text.
    pub(super) pid: String,
    /// Its program.
    pub(super) exe: Option<String>,
}

impl Own {
    /// Whether this process, or one of its service, wrote an entry.
    fn wrote(&self, entry: &Entry) -> bool {
        let is = |field, own: &Option<String>| own.as_ref().is_some_and(|own| entry.get(field) == own.as_bytes());
        is(Field::SystemdUnit, &self.unit)
            || entry.get(Field::Pid) == self.pid.as_bytes()
            || (is(Field::Exe, &self.exe) && entry.get(Field::Identifier) == b"backstop")
    }
}

/// What an entry was for the position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// The one at the position: it was given before.
    Known,
    /// A further one, whether it was of interest or not.
    New,
    /// One that cannot be used.
    Strange,
}

/// Makes pieces of entries.
#[derive(Debug)]
pub(super) struct Gather {
    units: Vec<Unit>,
    own: Own,
    tallies: Arc<Tallies>,
    /// The last entry that was taken.
    position: Option<Cursor>,
    /// Where journalctl was told to begin. The position may have moved on before it gives that entry.
    begun_at: Option<Cursor>,
    run: Option<Run>,
    ready: VecDeque<(Piece, Cursor)>,
}

/// Entries of one process after each other.
#[derive(Debug)]
struct Run {
    pid: Vec<u8>,
    piece: Piece,
    n: usize,
    bytes: usize,
    last: Cursor,
}

impl Gather {
    pub(super) fn new(units: Vec<Unit>, own: Own, tallies: Arc<Tallies>) -> Gather {
        Gather { units, own, tallies, position: None, begun_at: None, run: None, ready: VecDeque::new() }
    }

    /// The last entry that was taken.
    pub(super) fn position(&self) -> Option<&Cursor> {
        self.position.as_ref()
    }

    /// Sets the position to an entry up to which there is nothing that was not taken.
    pub(super) fn go_to(&mut self, position: Option<Cursor>) {
        self.position = position;
    }

    /// journalctl begins at the position.
    pub(super) fn begin(&mut self) {
        self.begun_at = self.position.clone();
    }

    /// Counts a line that was no entry.
    pub(super) fn strange(&self) {
        self.tallies.strange.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes an entry.
    pub(super) fn take(&mut self, entry: &Entry) -> Taken {
        let Some(cursor) = cursor(entry) else { return Taken::Strange };
        let Some(at) = entry.number::<i64>(Field::Realtime).filter(|at| *at >= 0) else { return Taken::Strange };
        if [&self.position, &self.begun_at].into_iter().any(|known| known.as_deref() == Some(cursor)) {
            return Taken::Known;
        }
        let cursor: Cursor = cursor.into();
        self.position = Some(Arc::clone(&cursor));
        if entry.is_cut {
            self.tallies.cut.fetch_add(1, Ordering::Relaxed);
        }
        let Some(unit) = unit(&self.units, entry) else { return Taken::New };
        if self.own.wrote(entry) {
            self.tallies.own.fetch_add(1, Ordering::Relaxed);
        } else if !entry.get(Field::Message).is_empty() || entry.is_cut {
            self.add(unit.into(), entry, Timestamp(at / 1000), cursor);
        }
        Taken::New
    }

    fn add(&mut self, unit: String, entry: &Entry, at: Timestamp, cursor: Cursor) {
        let pid = entry.get(Field::Pid);
        let message = entry.get(Field::Message);
        if entry.get(Field::MessageId) == DROPPED && entry.get(Field::Transport) == b"driver" {
            self.flush();
            let why =
                format!("journald threw lines away: {}", String::from_utf8_lossy(&message[..message.len().min(200)]));
            let piece = self.piece(&unit, pid, Content::Gap(why));
            self.ready.push_back((piece, cursor));
            return;
        }
        let priority = entry.number::<u8>(Field::Priority);
        let is_printed = entry.get(Field::Transport) == b"stdout" && priority.is_none_or(|priority| priority == 6);
        let is_next = self.run.as_ref().is_some_and(|run| {
            let is_same = *run.piece.place == *unit && run.pid == pid;
            let is_lines = matches!(run.piece.content, Content::Lines(..));
            is_same && is_lines == is_printed && run.n < MAX_ENTRIES && run.bytes + message.len() < MAX_BYTES
        });
        if !is_next {
            self.flush();
            let content = if is_printed { Content::Lines(Vec::new(), None) } else { Content::Entries(Vec::new()) };
            let piece = self.piece(&unit, pid, content);
            self.run = Some(Run { pid: pid.to_vec(), piece, n: 0, bytes: 0, last: Arc::clone(&cursor) });
        }
        let Some(run) = &mut self.run else { return };
        match &mut run.piece.content {
            Content::Lines(lines, last) => {
                lines.extend_from_slice(message);
                lines.push(b'\n');
                *last = Some(at);
            }
            Content::Entries(entries) => {
                entries.push(origin::Entry { message: message.to_vec(), level: priority.and_then(level), at });
            }
            _ => {}
        }
        run.n += 1;
        run.bytes += message.len() + 1;
        run.last = cursor;
    }

    /// A piece of a process of a unit. Where there are several units each is a service of its own.
    fn piece(&self, unit: &str, pid: &[u8], content: Content) -> Piece {
        let has_several = self.units.len() > 1 || self.units.iter().any(Unit::is_pattern);
        let service = has_several.then(|| unit.strip_suffix(".service").unwrap_or(unit).into());
        let stream = format!("{unit}/{}", String::from_utf8_lossy(pid)).into();
        Piece { stream, place: unit.into(), service, content }
    }

    fn flush(&mut self) {
        if let Some(run) = self.run.take() {
            self.ready.push_back((run.piece, run.last));
        }
    }

    /// All pieces that are there, each with the last entry in it.
    pub(super) fn pieces(&mut self) -> VecDeque<(Piece, Cursor)> {
        self.flush();
        std::mem::take(&mut self.ready)
    }
}

/// Where an entry is, if it says so in the way that journald does. It becomes an argument of a program later.
pub(super) fn cursor(entry: &Entry) -> Option<&str> {
    entry.text(Field::Cursor).filter(|cursor| is_cursor(cursor))
}

/// Whether a text can be a cursor: `s=…;i=…;b=…;m=…;t=…;x=…`.
pub(super) fn is_cursor(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"=;-_".contains(&byte);
    text.len() <= MAX_CURSOR && text.contains('=') && text.bytes().all(is_allowed)
}

/// The unit that an entry is of, or about, if it is one of `units`. What one program says about another is believed where
/// it may say so: PID 1, and programs of root, as journalctl does.
fn unit<'a>(units: &[Unit], entry: &'a Entry) -> Option<&'a str> {
    let is_meant = |name: &&str| units.iter().any(|unit| unit.means(name));
    let own = entry.text(Field::SystemdUnit);
    let is_root = entry.get(Field::Uid) == b"0";
    let told = [
        (Field::Unit, entry.get(Field::Pid) == b"1"),
        (Field::ObjectUnit, is_root),
        (Field::CoredumpUnit, is_root && entry.get(Field::MessageId) == COREDUMP),
    ];
    let told = told.into_iter().filter_map(|(field, is_believed)| entry.text(field).filter(|_| is_believed));
    let in_slice = own.filter(|_| entry.text(Field::Slice).as_ref().is_some_and(is_meant));
    own.into_iter().chain(told).find(is_meant).or(in_slice)
}

/// What a priority of syslog means.
fn level(priority: u8) -> Option<Level> {
    Some(match priority {
        0 => Level::Fatal,
        1 | 2 => Level::Critical,
        3 => Level::Error,
        4 => Level::Warning,
        5 | 6 => Level::Info,
        7 => Level::Debug,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
