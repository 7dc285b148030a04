//! The entries of systemd's journal: `journal = "shop.service"`, a list of units, or patterns such as `worker@*`.
//!
//! Enters: what `journalctl` prints about the units, and about nothing else where no pattern is asked for. Leaves: lines
//! and entries, one stream a process. The position is the cursor of the last entry that was given, so that each entry is
//! given once, across restarts of this process, of journalctl and of the host. The first start begins with what is written
//! from then on. Where journald has deleted what comes next, or the position is of another machine, there is a gap, and it
//! goes on with the nearest entry.
//!
//! journalctl is started twice: once to catch up, to its end, then with `--follow`. For the second alone would be blind to
//! what was written before the last boot (systemd 251 and later). It is told `--cursor` and not `--after-cursor`, which
//! skips one entry too many where a unit is asked for (before systemd 256); what is at the position itself is left out here.
//!
//! One that dies is started again. One that hangs is found: after a minute without entries another one is asked whether
//! there are any, and if so, the first has five seconds to give them. Nothing else happens while nothing is written.
//!
//! Reasons: `permission` (this user may not read the journal), `missing` (there is no journalctl, or no journal), `exit`
//! (journalctl ends again and again), `hang` (it was silent three times in a row although there was something).

mod entry;
mod follow;
mod gather;
mod query;
mod unit;

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::origin::Piece;
use crate::base::Span;
use follow::{Given, Worker};
use gather::Cursor;
pub use gather::{MAX_BYTES, MAX_ENTRIES, Tallies};
pub use unit::Unit;

/// The longest message that is kept where nothing else is said, in bytes.
pub const MAX_MESSAGE: usize = 64 << 10;

/// The format of [`Saved`].
const FORMAT: u32 = 1;

/// What to read.
#[derive(Clone, Debug)]
pub struct Config {
    /// The units; at least one.
    pub units: Vec<Unit>,
    /// The longest message that is kept, in bytes; the rest is cut and counted.
    pub max_message: usize,
    /// The program that reads the journal, as an absolute path or a name.
    pub program: PathBuf,
    /// How long it waits for what.
    pub pace: Pace,
}

impl Config {
    /// With the usual bounds.
    pub fn new(units: Vec<Unit>) -> Config {
        Config { units, max_message: MAX_MESSAGE, program: "journalctl".into(), pace: Pace::default() }
    }
}

/// How long is waited for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Between the death of journalctl and its next start at first; doubles every time.
    pub retry: Span,
    /// The same at the longest.
    pub longest: Span,
    /// Between tries where the journal may not be read or is not there.
    pub refused: Span,
    /// How long nothing comes before it is asked whether there is something; doubles while nothing comes, up to four times
    /// as long.
    pub quiet: Span,
    /// How long journalctl has to give what is there.
    pub given: Span,
    /// How long an answer may take.
    pub answer: Span,
    /// After this a journalctl that was started again is believed to work.
    pub steady: Span,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            retry: Span::millis(500),
            longest: Span::secs(10),
            refused: Span::secs(60),
            quiet: Span::secs(60),
            given: Span::secs(5),
            answer: Span::secs(30),
            steady: Span::secs(10),
        }
    }
}

/// Up to where everything was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// The format of this.
    format: u32,
    /// Up to where.
    position: Position,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Position {
    /// It was not looked yet: it begins with what comes.
    Unset,
    /// There was nothing when it was looked: all that is there is new.
    Empty,
    /// Up to this entry.
    At(Cursor),
}

impl Position {
    fn cursor(&self) -> Option<&Cursor> {
        match self {
            Position::At(cursor) => Some(cursor),
            Position::Unset | Position::Empty => None,
        }
    }
}

/// The journal, read from a position on.
pub struct Journal {
    /// What drives it: lives as long as this and goes on where a dropped [`Journal::next`] left it.
    work: Pin<Box<dyn Future<Output = Infallible> + Send>>,
    given: mpsc::Receiver<Given>,
    position: Position,
    tallies: Arc<Tallies>,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Journal { position, tallies, .. } = self;
        f.debug_struct("Journal").field("position", position).field("tallies", tallies).finish_non_exhaustive()
    }
}

impl Journal {
    /// Begins with what is written from the first [`Journal::next`] on.
    pub fn new(config: Config) -> Journal {
        Journal::at(config, Position::Unset)
    }

    /// Goes on where another one was saved.
    ///
    /// # Errors
    /// When the position cannot be used, as a fragment; [`Journal::new`] is what is left, and a gap.
    pub fn resume(config: Config, saved: Saved) -> Result<Journal, String> {
        if saved.format != FORMAT {
            return Err(format!(
                "the position in the journal has the format {}, and this version knows {FORMAT}",
                saved.format
            ));
        }
        match saved.position.cursor() {
            Some(cursor) if !gather::is_cursor(cursor) => Err("the position in the journal is none".into()),
            _ => Ok(Journal::at(config, saved.position)),
        }
    }

    fn at(config: Config, position: Position) -> Journal {
        // One at a time: what is not taken stays in the pipe, and journalctl waits.
        let (sender, given) = mpsc::channel(1);
        let tallies = Arc::new(Tallies::default());
        let worker = Worker::new(config, position.clone(), sender, Arc::clone(&tallies));
        Journal { work: Box::pin(worker.run()), given, position, tallies }
    }

    /// Waits for the next piece. Dropping the future loses nothing; the journal is only read while this is waited for.
    pub async fn next(&mut self) -> Piece {
        loop {
            let given = tokio::select! {
                biased;
                Some(given) = self.given.recv() => given,
                never = &mut self.work => match never {},
            };
            self.position = given.position;
            if let Some(piece) = given.piece {
                return piece;
            }
        }
    }

    /// Up to where everything was given by [`Journal::next`].
    pub fn save(&self) -> Saved {
        Saved { format: FORMAT, position: self.position.clone() }
    }

    /// What was seen since the start.
    pub fn tallies(&self) -> &Tallies {
        &self.tallies
    }
}

#[cfg(test)]
mod tests;
