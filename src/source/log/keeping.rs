//! Keeping lines for search, apart: a disk that hangs holds up no reading.
//!
//! Enters: events as they are read. Leaves: how many of them could not be kept. Where the disk is slow, lines are given
//! up and counted; reading and judging go on.

use std::path::PathBuf;
use std::sync::Arc;

use super::config::Config;
use super::kept::{FOLDER, Keeper, Record};
use super::read::Event;
use crate::base::{Span, Timestamp};
use crate::source::common::Outside;
use crate::sys::apart::Apart;

/// How long the disk may take to take lines.
const LIMIT: Span = Span::secs(2);

/// How often old lines are removed, at the most.
const TIDY: Span = Span::mins(1);

/// Where the lines of one table are kept.
#[derive(Debug)]
pub(super) struct Keeping {
    apart: Apart<Place>,
    tidied: Timestamp,
}

#[derive(Debug)]
struct Place {
    folder: PathBuf,
    keep: Span,
    keeper: Option<Keeper>,
    /// Whether it was said that the folder cannot be used.
    said: bool,
}

impl Place {
    /// The keeper, opened where it is not.
    fn keeper(&mut self) -> Option<&mut Keeper> {
        if self.keeper.is_none() {
            match Keeper::open(&self.folder, self.keep) {
                Ok(keeper) => (self.keeper, self.said) = (Some(keeper), false),
                Err(_) if self.said => {}
                Err(error) => {
                    self.said = true;
                    let folder = self.folder.display();
                    tracing::warn!(%folder, error = %crate::base::chain(&error), "Lines cannot be kept for search.");
                }
            }
        }
        self.keeper.as_mut()
    }
}

impl Keeping {
    /// Where the lines of a table are kept; none where it says nothing of that, or where there is no agent.
    pub(super) fn of(config: &Config, outside: &Outside) -> Option<Keeping> {
        let state = outside.house.state.as_ref().filter(|_| config.keep > Span::ZERO)?;
        let folder = state.join(FOLDER).join(&config.common.reference.name);
        let place = Place { folder, keep: config.keep, keeper: None, said: false };
        Some(Keeping { apart: Apart::new(place), tidied: Timestamp(0) })
    }

    /// Keeps events. Returns how many are lost.
    pub(super) async fn keep(&mut self, records: Vec<Record>, now: Timestamp) -> u64 {
        let tidies = now - self.tidied >= TIDY || now < self.tidied;
        if records.is_empty() && !tidies {
            return 0;
        }
        self.tidied = if tidies { now } else { self.tidied };
        let n = records.len() as u64;
        // Reading does not wait for a disk that hangs.
        if self.apart.is_busy() {
            return n;
        }
        let work = move |place: &mut Place| {
            let Some(keeper) = place.keeper() else { return n };
            let kept = if records.is_empty() { Ok(()) } else { keeper.append(&records, now) };
            if tidies && let Err(error) = keeper.retain(now) {
                tracing::warn!(error = %crate::base::chain(&error), "Old lines cannot be removed.");
            }
            if kept.is_ok() { 0 } else { n }
        };
        self.apart.run("kept lines", LIMIT, work).await.unwrap_or(n)
    }
}

/// An event as it is kept, its secrets hidden.
pub(super) fn record(event: &Event<'_>, place: &Arc<str>) -> Record {
    Record::new(event.at, event.level, place, &String::from_utf8_lossy(event.text), None)
}
