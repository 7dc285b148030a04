//! Watches which containers there are, and tells what changes.
//!
//! One task. It listens for events first and lists then, and what happens between the two is in both: nothing is missed. When the
//! engine goes away, the list is read again as soon as it is back. Between events it only waits.
//!
//! Events are told through a channel of bounded length. Where nobody takes them for so long that it is full, they are
//! given up and the list is read again: an engine drops events for who does not read, and says nothing.

use std::sync::Arc;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};

use super::Selection;
use crate::base::{Failure, Span};
use crate::source::backoff::Backoff;
use crate::sys::clock::{Clock, Stopwatch, pause};
use crate::sys::engine::{Container, Engine, Event, Happened};

/// The most containers of a list that are kept.
pub(super) const MAX_LISTED: usize = 512;

/// How long the engine may take to begin with its events; one that has none to tell may not answer before there is one.
const BEGIN: Span = Span::secs(2);

/// What changes what there is to read.
const KINDS: [Happened; 4] = [Happened::Started, Happened::Died, Happened::Destroyed, Happened::Renamed];

/// How far back events are asked for, in seconds: for the time between the question and when the engine hears it.
const BACK: i64 = 10;

/// How far the clock here, which counts whole milliseconds, may be before that of the engine, in milliseconds.
const UNSURE: i64 = 2;

/// A session that lasted for so long needs no longer pause than the first before the next.
const SETTLED: Span = Span::secs(10);

/// What the watcher tells.
#[derive(Debug)]
pub(super) enum News {
    /// All containers that are meant.
    List(List),
    /// Something happened to one that is meant.
    Event(Happened, Container),
    /// The engine cannot be read, because of this; it is tried again.
    Down(Failure),
}

/// The containers that are meant.
#[derive(Debug)]
pub(super) struct List {
    /// When it was asked for, in nanoseconds since 1970.
    pub(super) at: i64,
    /// At most [`MAX_LISTED`], those that run before those that do not.
    pub(super) containers: Vec<Container>,
    /// How many more there are.
    pub(super) n_left_out: usize,
    /// How many were described in a way that cannot be read.
    pub(super) n_unread: usize,
}

/// The watcher.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) engine: Engine,
    pub(super) wanted: Arc<[Selection]>,
    pub(super) news: mpsc::Sender<News>,
    /// Rings when the list is to be read again.
    pub(super) again: Arc<Notify>,
}

impl Watcher {
    /// Watches until nobody listens.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::default();
        let clock = Clock::new();
        loop {
            let watch = Stopwatch::start();
            if let Err(failure) = self.session(&clock).await
                && self.news.send(News::Down(failure)).await.is_err()
            {
                return;
            }
            if self.news.is_closed() {
                return;
            }
            if watch.elapsed() >= SETTLED {
                backoff = Backoff::default();
            }
            pause(backoff.next()).await;
        }
    }

    /// From the first word with the engine to the end of its events.
    async fn session(&self, clock: &Clock) -> Result<(), Failure> {
        self.engine.agree().await?;
        clock.step();
        let at = clock.now().millis();
        let mut events = self.engine.events(at / 1000 - BACK, &KINDS).await?;
        if let Ok(begun) = tokio::time::timeout(BEGIN.to_std(), events.begun()).await {
            begun?;
        }
        let list = self.list(at).await?;
        if self.news.send(News::List(list)).await.is_err() {
            return Ok(());
        }
        loop {
            let happened = tokio::select! {
                happened = events.next() => happened?,
                () = self.again.notified() => return Ok(()),
                () = self.news.closed() => return Ok(()),
            };
            let Some(happened) = happened else { return Ok(()) };
            for event in happened {
                // One that could not be read may have been about any container.
                let Some(Event { happened, container, .. }) = event else { return Ok(()) };
                // A name may be of interest now, or not any more.
                let is_meant = self.means(&container) || happened == Happened::Renamed;
                if is_meant && let Err(TrySendError::Full(_)) = self.news.try_send(News::Event(happened, container)) {
                    return Ok(());
                }
            }
        }
    }

    async fn list(&self, at: i64) -> Result<List, Failure> {
        let (mut running, mut ended, mut n_meant) = (Vec::new(), Vec::new(), 0);
        let listing = self.engine.list(|container| {
            if !self.means(&container) {
                return;
            }
            n_meant += 1;
            let kind = if container.is_running { &mut running } else { &mut ended };
            if kind.len() < MAX_LISTED {
                kind.push(container);
            }
        });
        let n_unread = listing.await?;
        let mut containers = running;
        containers.extend(ended);
        containers.truncate(MAX_LISTED);
        let n_left_out = n_meant - containers.len();
        Ok(List { at: (at - UNSURE).saturating_mul(1_000_000), containers, n_left_out, n_unread })
    }

    fn means(&self, container: &Container) -> bool {
        self.wanted.iter().any(|selection| selection.means(container))
    }
}
