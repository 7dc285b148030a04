//! `[log.NAME]`: what files, the journal, containers and programs write, each line once.
//!
//! Enters: lines. Leaves, for each target, `log_lines_total{level}`, `log_matches_total{pattern}`, `log_matches_new{pattern}`,
//! `log_last_match_timestamp_seconds{pattern}`, `log_value{name}`, `log_last_line_timestamp_seconds`, `log_troubles_total{kind}`,
//! `log_lag_bytes` and `log_streams`, beside the `probe_*` of every source. A log does not look: it is told, waits without
//! cost while nothing is written, and says at once what matters. Position and totals travel as one checkpoint with the
//! samples, so that a line counts once, also across `kill -9`.
//!
//! The way of a line: an origin ([`files`], [`journal`], [`container`], [`command`]) gives pieces of streams; [`read`] makes of them
//! levels, matches and values; a [`Teller`] makes batches of those; what is to be searched later goes to [`kept`].
//!
//! Reasons: `missing`, `permission`, `timeout`, `too-many`, `refused`, `hang`, `exit`, `driver`, `error`.

pub mod command;
pub mod config;
pub mod container;
pub mod files;
mod from_files;
pub mod journal;
mod keeping;
pub mod kept;
pub mod level;
pub mod origin;
mod pace;
pub mod read;
pub mod secrets;
pub mod teller;
mod told;

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::common::{Outside, Target};
use crate::base::{Batch, Span, Timestamp};
use crate::sys::clock::Clock;
use config::{Config, From};
use from_files::Files;
use told::Told;

pub use teller::Teller;

/// Names that exist from the start.
pub const NAMES: [&str; 12] = [
    "probe_success",
    "probe_duration_seconds",
    "probe_failure_info",
    "log_lines_total",
    "log_matches_total",
    "log_matches_new",
    "log_last_match_timestamp_seconds",
    "log_value",
    "log_last_line_timestamp_seconds",
    "log_troubles_total",
    "log_lag_bytes",
    "log_streams",
];

/// How long the first word about a log is waited for when somebody looks once.
const LOOK: Span = Span::secs(5);

/// A log that is followed.
#[derive(Debug)]
pub struct Log {
    target: Target,
    from: From,
    origin: Origin,
}

#[derive(Debug)]
enum Origin {
    Files(Box<Files>),
    Told(Box<Told>),
}

impl Log {
    /// A log of this table; nothing is opened yet.
    pub fn new(config: Config, outside: &Outside) -> Log {
        // The table's name: what it means may be written anew, and its series go on.
        let target = Target::new(&config.common, config.common.reference.name.clone());
        let from = config.from.clone();
        let origin = match &config.from {
            From::Files(_) => Origin::Files(Box::new(Files::new(config, outside))),
            From::Journal(_) | From::Containers(_) | From::Command(_) => {
                Origin::Told(Box::new(Told::new(config, outside)))
            }
        };
        Log { target, from, origin }
    }

    /// What is followed, as a whole.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The files whose rights decide whether lines can be read.
    pub fn files(&self) -> Vec<PathBuf> {
        config::files(&self.from)
    }

    /// The names of series that it declares.
    pub fn names(&self) -> Vec<&'static str> {
        NAMES.to_vec()
    }

    /// Goes on where an earlier process, or the configuration before, stopped: the last checkpoint of each target. One
    /// that cannot be read is said, and counts as none.
    pub fn resume(&mut self, checkpoints: &BTreeMap<&str, &[u8]>) {
        match &mut self.origin {
            Origin::Files(files) => files.resume(checkpoints),
            Origin::Told(told) => told.resume(checkpoints),
        }
    }

    /// The next batch of one of its targets; waits until there is something to tell. Whoever ends the wait ends the
    /// source: lines that were read and not told are read again by who goes on from the last checkpoint.
    pub async fn next(&mut self, clock: &Clock) -> Batch {
        match &mut self.origin {
            Origin::Files(files) => files.next(clock).await,
            Origin::Told(told) => told.next(clock).await,
        }
    }

    /// What was read and not told, when nobody waits for more: at a stop or a reload.
    pub fn last(&mut self, clock: &Clock) -> Vec<Batch> {
        match &mut self.origin {
            Origin::Files(files) => files.last(clock.now()),
            Origin::Told(told) => told.last(clock.now()),
        }
    }

    /// Looks once: the first word about it, which says whether it can be read. Lines of before are not read.
    pub async fn collect(&mut self, at: Timestamp) -> Batch {
        // A look leaves nothing behind.
        match &mut self.origin {
            Origin::Files(files) => files.keep_nothing(),
            Origin::Told(told) => told.keep_nothing(),
        }
        let clock = Clock::new();
        let batch = match tokio::time::timeout(LOOK.to_std(), self.next(&clock)).await {
            Ok(batch) => batch,
            Err(_) => {
                let why = format!("nothing was heard of it within {LOOK}");
                let failed = crate::base::Outcome::Failed(crate::base::Failure::new("timeout", why));
                self.target.batch(at, LOOK.as_secs(), failed, Vec::new())
            }
        };
        Batch { at, checkpoint: None, holds: false, ..batch }
    }
}
