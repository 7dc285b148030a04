//! Makes the events of a step durable before anything else of it is done, and knows what to do when it cannot.
//!
//! Enters: events. Leaves: whether they are on disk. While the disk does not answer, events queue here, bounded,
//! and are written first when it is back: nothing that was decided is forgotten by a full disk.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use crate::base::{Span, Timestamp};
use crate::engine::{Event, State};
use crate::sys::journal::{Journal, Recovered, Row, Write};

/// How long a write may take before the agent goes on without it.
const PATIENCE: Span = Span::secs(2);

/// How many events wait at most while the disk is away; past it the oldest are lost, counted and said.
const MAX_WAITING: usize = 100_000;

/// A snapshot is written after this many events.
const SNAPSHOT_EVERY: usize = 10_000;

/// How long events are kept behind a snapshot, for those who read the journal by hand.
const KEEP: Span = Span::hours(30 * 24);

/// The journal's owner.
#[derive(Debug)]
pub struct Scribe {
    journal: Journal,
    waiting: VecDeque<Row>,
    under_way: Option<(usize, oneshot::Receiver<Result<(), String>>)>,
    since_snapshot: usize,
    trouble: Option<String>,
    lost: u64,
}

impl Scribe {
    /// An owner of an open journal that held `events` events after its snapshot.
    pub fn new(journal: Journal, events: usize) -> Scribe {
        Scribe { journal, waiting: VecDeque::new(), under_way: None, since_snapshot: events, trouble: None, lost: 0 }
    }

    /// Why the disk is not to be trusted now, if so.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Makes `events` durable. False when they could not be, by now: they wait, and are tried again.
    pub async fn write(&mut self, now: Timestamp, events: &[Event], state: &State) -> bool {
        for event in events {
            match serde_json::to_string(event) {
                Ok(body) => self.waiting.push_back(Row { at: now, kind: event.kind(), body }),
                Err(error) => {
                    tracing::error!(%error, "An event could not be written as JSON; this is a bug in backstop.")
                }
            }
        }
        let excess = self.waiting.len().saturating_sub(MAX_WAITING);
        if excess > 0 && self.under_way.is_none() {
            self.lost += excess as u64;
            self.waiting.drain(..excess);
            tracing::error!(lost = self.lost, "The disk has been away for so long that the oldest decisions are lost.");
        }
        self.flush(now, state).await
    }

    /// Tries again what waits. True when nothing does.
    pub async fn flush(&mut self, now: Timestamp, state: &State) -> bool {
        while !self.waiting.is_empty() || self.under_way.is_some() {
            let (n_rows, mut answer) = match self.under_way.take() {
                Some(under_way) => under_way,
                None => self.begin(now, state),
            };
            // In trouble the loop must not stand still for each try: it looks whether an answer came, and goes on.
            let patience = if self.trouble.is_some() { Span::millis(50) } else { PATIENCE };
            match tokio::time::timeout(patience.to_std(), &mut answer).await {
                Ok(Ok(Ok(()))) => {
                    self.waiting.drain(..n_rows);
                    self.trouble = None;
                }
                Ok(Ok(Err(why))) => {
                    self.trouble = Some(why);
                    return false;
                }
                Ok(Err(_)) => {
                    self.trouble = Some("the journal's thread is gone".into());
                    return false;
                }
                Err(_) => {
                    self.under_way = Some((n_rows, answer));
                    self.trouble.get_or_insert_with(|| format!("the disk did not answer in {}", PATIENCE.human()));
                    return false;
                }
            }
        }
        true
    }

    /// Writes a snapshot with what waits, and ends the thread.
    pub async fn close(mut self, now: Timestamp, state: &State) {
        self.since_snapshot = SNAPSHOT_EVERY;
        if self.waiting.is_empty() {
            // A snapshot alone needs no event; an empty write carries it.
            let (_, answer) = self.begin(now, state);
            if !matches!(tokio::time::timeout(PATIENCE.to_std(), answer).await, Ok(Ok(Ok(())))) {
                tracing::warn!("No snapshot was written; the next start reads the whole journal.");
            }
        } else if !self.flush(now, state).await {
            tracing::error!(
                waiting = self.waiting.len(),
                "The disk is away at the stop; these decisions are not on disk."
            );
        }
        if self.under_way.is_none() {
            self.journal.close();
        }
    }

    fn begin(&mut self, now: Timestamp, state: &State) -> (usize, oneshot::Receiver<Result<(), String>>) {
        let rows: Vec<Row> = self.waiting.iter().cloned().collect();
        let n_rows = rows.len();
        self.since_snapshot += n_rows;
        let mut write = Write { rows, ..Write::default() };
        if self.since_snapshot >= SNAPSHOT_EVERY {
            self.since_snapshot = 0;
            write.snapshot = serde_json::to_string(state).ok();
            write.forget_before = Some(now - KEEP);
        }
        (n_rows, self.journal.write(write))
    }
}

/// Folds what the journal held into the state.
///
/// # Errors
/// When a record cannot be read: a state that lacks a part of its past would decide wrongly.
pub fn recover(recovered: &Recovered) -> Result<State, String> {
    let mut state: State = match &recovered.snapshot {
        Some(body) => serde_json::from_str(body).map_err(|e| format!("the journal's snapshot cannot be read: {e}"))?,
        None => State::default(),
    };
    for (i, body) in recovered.events.iter().enumerate() {
        let event: Event =
            serde_json::from_str(body).map_err(|e| format!("event {} of the journal cannot be read: {e}", i + 1))?;
        state.apply(&event);
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(n: i64) -> Vec<Event> {
        (0..n).map(|i| Event::Started { at: Timestamp(i), version: "1".into() }).collect()
    }

    fn folded(events: &[Event]) -> State {
        let mut state = State::default();
        events.iter().for_each(|e| state.apply(e));
        state
    }

    #[tokio::test]
    async fn the_fold_of_all_is_the_fold_of_snapshot_and_tail() {
        let folder = tempfile::tempdir().unwrap();
        let mut all = events(SNAPSHOT_EVERY as i64 - 1);
        let (journal, _) = Journal::open(folder.path()).unwrap();
        let mut scribe = Scribe::new(journal, 0);
        assert!(scribe.write(Timestamp(0), &all, &folded(&all)).await);
        all.push(Event::Stopped { at: Timestamp(1) });
        assert!(scribe.write(Timestamp(1), &all[all.len() - 1..], &folded(&all)).await);
        all.push(Event::Started { at: Timestamp(2), version: "2".into() });
        assert!(scribe.write(Timestamp(2), &all[all.len() - 1..], &folded(&all)).await);
        drop(scribe);
        let (journal, recovered) = Journal::open(folder.path()).unwrap();
        assert!(recovered.snapshot.is_some() && recovered.events.len() == 1, "{}", recovered.events.len());
        assert_eq!(recover(&recovered).unwrap(), folded(&all));
        journal.close();
    }

    #[tokio::test]
    async fn what_could_not_be_written_waits_and_is_written_when_the_disk_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(folder.path()).unwrap();
        let mut scribe = Scribe::new(journal, 0);
        let all = events(2);
        let other = rusqlite::Connection::open(folder.path().join("backstop.db")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE; UPDATE meta SET value = 7").unwrap();
        assert!(!scribe.write(Timestamp(0), &all[..1], &folded(&all[..1])).await);
        assert!(scribe.trouble().is_some_and(|why| why.contains("locked")), "{:?}", scribe.trouble());
        assert!(!scribe.write(Timestamp(1), &all[1..], &folded(&all)).await);
        other.execute_batch("ROLLBACK").unwrap();
        let mut tries = 0;
        while !scribe.flush(Timestamp(2), &folded(&all)).await {
            tries += 1;
            assert!(tries < 1000, "the disk is back");
        }
        assert_eq!(scribe.trouble(), None);
        drop(scribe);
        let (journal, recovered) = Journal::open(folder.path()).unwrap();
        assert_eq!(recover(&recovered).unwrap(), folded(&all));
        assert_eq!(recovered.events.len(), 2, "each once, in order");
        journal.close();
    }
}
