//! The shell between an engine and what a table knows: it listens, lists and asks, and passes on what it hears.
//!
//! Events are listened for first and the list is read then: what happens between the two is in both. Where nobody takes
//! events for so long that there is no room, or one cannot be read, the session begins anew: an engine drops events for
//! who does not read, and says nothing.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};

use super::facts::Facts;
use super::fleet::{MAX_CONTAINERS, News};
use super::looks::Ask;
use super::meant::Meant;
use crate::base::{Failure, Span};
use crate::source::backoff::Backoff;
use crate::sys::clock::{Clock, Stopwatch, pause};
use crate::sys::engine::{Container, Engine, Happened};

/// How long an engine may take to begin with its events; one that has none to tell may not answer before there is one.
const BEGIN: Span = Span::secs(2);

/// How far back events are asked for, in seconds: for the time between the question and when the engine hears it.
const BACK: i64 = 2;

/// How often an engine that says nothing is asked whether it is there.
const ARE_YOU_THERE: Span = Span::secs(20);

/// How often a list is read at most because something has another name.
const LIST_PAUSE: Span = Span::secs(1);

/// A session that lasted for so long needs no longer pause than the first before the next.
const SETTLED: Span = Span::secs(10);

/// Listens to an engine for one table.
#[derive(Debug)]
pub struct Watcher {
    /// The engine.
    pub engine: Engine,
    /// Which containers are meant.
    pub meant: Meant,
    /// How long the engine may take to answer.
    pub timeout: Span,
    /// Where what is heard goes.
    pub news: mpsc::Sender<News>,
    /// Rings when the list is to be read again.
    pub again: Arc<Notify>,
}

impl Watcher {
    /// Watches until nobody listens.
    pub async fn run(self) {
        let mut backoff = Backoff::default();
        loop {
            let watch = Stopwatch::start();
            if let Err(failure) = self.session().await
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

    /// From the first word with the engine to the end of its events. Without an error it is to begin anew at once: nothing
    /// is wrong with the engine.
    async fn session(&self) -> Result<(), Failure> {
        within(self.timeout, &self.engine, self.engine.agree()).await?;
        let info = within(self.timeout, &self.engine, self.engine.info()).await?;
        // A clock of this moment: the engine's is the wall's.
        let since = Clock::new().now().millis() / 1000 - BACK;
        let events = self.engine.events(since, &Happened::ALL);
        let mut events = within(self.timeout, &self.engine, events).await?;
        if let Ok(begun) = tokio::time::timeout(BEGIN.to_std(), events.begun()).await {
            begun?;
        }
        let list = self.list().await?;
        if self.news.send(News::Up(info)).await.is_err() || self.news.send(list).await.is_err() {
            return Ok(());
        }
        loop {
            let happened = tokio::select! {
                happened = events.next() => happened?,
                () = self.again.notified() => {
                    let list = self.list().await?;
                    if self.news.send(list).await.is_err() {
                        return Ok(());
                    }
                    pause(LIST_PAUSE).await;
                    continue;
                }
                () = self.news.closed() => return Ok(()),
                () = pause(ARE_YOU_THERE) => {
                    within(self.timeout, &self.engine, self.engine.agree()).await?;
                    continue;
                }
            };
            let Some(happened) = happened else {
                let why = format!("{} ended its events: it stops, or was stopped", self.engine.address());
                return Err(Failure::new("broken", why));
            };
            for event in happened {
                // One that could not be read may have been about any container.
                let Some(event) = event else { return Ok(()) };
                let is_meant = self.meant.place(&event.container).is_some() || event.happened == Happened::Renamed;
                if is_meant && let Err(TrySendError::Full(_)) = self.news.try_send(News::Event(event)) {
                    return Ok(());
                }
            }
        }
    }

    async fn list(&self) -> Result<News, Failure> {
        let (mut running, mut ended, mut n_meant) = (Vec::new(), Vec::new(), 0);
        let at = Clock::new().now().millis().saturating_mul(1_000_000);
        let listing = self.engine.list(|container: Container| {
            if self.meant.place(&container).is_none() {
                return;
            }
            n_meant += 1;
            let kind = if container.is_running { &mut running } else { &mut ended };
            if kind.len() < MAX_CONTAINERS {
                kind.push(container);
            }
        });
        let n_unread = listing.await?;
        let mut containers: Vec<Container> = running;
        containers.extend(ended);
        containers.truncate(MAX_CONTAINERS);
        let n_left_out = n_meant - containers.len() + n_unread;
        Ok(News::List(containers, n_left_out, at))
    }
}

/// Asks one question and passes the answer on.
pub async fn ask(engine: Engine, ask: Ask, timeout: Span, news: mpsc::Sender<News>) {
    let answer = match ask {
        Ask::Container(id) => {
            let answer = within(timeout, &engine, engine.inspect(&id)).await;
            News::Container(id, answer.map(|inspected| inspected.map(|inspected| Box::new(Facts::from(inspected)))))
        }
        Ask::Image(id) => {
            // A digest is worth having and never worth a failure.
            let image = within(timeout, &engine, engine.image(&id)).await.ok().flatten();
            let digest = image.and_then(|image| image.digests.into_iter().next());
            let digest = digest.and_then(|digest| Some(digest.split_once('@')?.1.to_string()));
            News::Image(id, digest)
        }
    };
    // Where nobody listens any more, nobody needs it.
    drop(news.send(answer).await);
}

async fn within<T>(
    timeout: Span,
    engine: &Engine,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let late = || Failure::new("timeout", format!("{} does not answer within {timeout}", engine.address()));
    tokio::time::timeout(timeout.to_std(), work).await.unwrap_or_else(|_| Err(late()))
}
