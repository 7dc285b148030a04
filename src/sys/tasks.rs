//! Tasks and their owner: whoever starts one also cancels it, waits for it, and names it when it is late.

#![expect(clippy::disallowed_methods, reason = "this is the room that may spawn tasks")]

use std::future::Future;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::base::Span;

/// A group of named tasks with one stop signal.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<&'static str>,
    running: Vec<&'static str>,
    stop: CancellationToken,
}

impl Tasks {
    /// An empty group.
    pub fn new() -> Tasks {
        Tasks::default()
    }

    /// The signal that ends this group; tasks select on `cancelled()`.
    pub fn stop_signal(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Starts a task that belongs to this group.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.running.push(name);
        self.set.spawn(async move {
            task.await;
            name
        });
    }

    /// Takes out tasks that ended by themselves; the name of one that panicked is logged.
    pub fn reap(&mut self) {
        while let Some(done) = self.set.try_join_next() {
            self.note(done);
        }
    }

    /// Waits at most `grace` for all to end by themselves, then stops them.
    pub async fn finish(mut self, grace: Span) {
        let all = async {
            while let Some(done) = self.set.join_next().await {
                self.note(done);
            }
        };
        if tokio::time::timeout(grace.to_std(), all).await.is_err() {
            self.stop(Span::millis(100)).await;
        }
    }

    /// Signals the stop and waits at most `grace`; whoever is not done by then is aborted and named.
    pub async fn stop(mut self, grace: Span) {
        self.stop.cancel();
        let all = async {
            while let Some(done) = self.set.join_next().await {
                self.note(done);
            }
        };
        if tokio::time::timeout(grace.to_std(), all).await.is_err() {
            tracing::warn!(late = ?self.running, grace = %grace, "Tasks did not stop in time and are aborted.");
            self.set.abort_all();
        }
    }

    fn note(&mut self, done: Result<&'static str, tokio::task::JoinError>) {
        match done {
            Ok(name) => {
                if let Some(i) = self.running.iter().position(|r| *r == name) {
                    self.running.swap_remove(i);
                }
            }
            Err(error) if error.is_panic() => tracing::error!(%error, "A task panicked; this is a bug in backstop."),
            Err(_) => {}
        }
    }
}

/// Runs blocking work on the pool that is made for it.
///
/// # Errors
/// When the work panicked.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|e| format!("a background job failed: {e}"))
}

/// Starts a named thread; its owner joins it through the handle.
///
/// # Errors
/// When the system refuses another thread.
pub fn thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<T>> {
    std::thread::Builder::new().name(name.into()).spawn(work)
}
