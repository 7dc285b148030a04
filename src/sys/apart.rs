//! Work that may hang in the kernel or in a library, done apart so that nothing else hangs with it.
//!
//! Enters: a closure, what it works with, and how long its answer is waited for. Leaves: the answer, or that there was none in
//! time. Such work cannot be ended: a `stat` on a network file system whose server is gone waits for years, a name look-up
//! as long as its servers are silent, a sensor as long as its driver holds a lock. So it gets a thread of its own, which is
//! left alone when it is late. What it works with goes along and comes back when it ends; the owner starts no second one
//! before: whatever hangs costs one thread a target, however often it is looked at.

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::tasks;
use crate::base::Span;

/// The place of one target's work, and of what it works with.
#[derive(Debug)]
pub struct Apart<T> {
    state: State<T>,
    /// What makes another where a panic took it along.
    renew: Option<fn() -> T>,
}

#[derive(Debug)]
enum State<T> {
    /// It is here.
    Here(T),
    /// Work is under way with it.
    Away(oneshot::Receiver<T>),
    /// Work panicked, and took it along.
    Lost,
}

/// With what is made anew when work panicked.
impl<T: Default> Default for Apart<T> {
    fn default() -> Apart<T> {
        Apart { state: State::Here(T::default()), renew: Some(T::default) }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Late {
    /// The work was begun and has not come back.
    #[error("no answer within {0}")]
    TimedOut(Span),
    /// The work of before has not come back yet, so none was begun.
    #[error("the look before this one has not come back yet")]
    StillBusy,
    /// There is no thread for it.
    #[error("no thread could be started: {0}")]
    NoThread(String),
    /// Work of now or of before panicked, and what it works with is gone.
    #[error("a look at it failed for good; this is a bug in backstop, and a restart mends it")]
    Lost,
}

impl<T: Send + 'static> Apart<T> {
    /// With `thing`, which a panic would take along for good.
    pub fn new(thing: T) -> Apart<T> {
        Apart { state: State::Here(thing), renew: None }
    }

    /// Whether work of before has not come back.
    pub fn is_busy(&mut self) -> bool {
        let State::Away(away) = &mut self.state else { return false };
        match away.try_recv() {
            Ok(thing) => self.settle(Some(thing)),
            Err(TryRecvError::Closed) => self.settle(None),
            Err(TryRecvError::Empty) => return true,
        }
        false
    }

    /// Does `work` on a thread called `name` and waits for at most `limit`. Work of before that has not come back is
    /// waited for first; what it answers is too old to be used.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub async fn run<A: Send + 'static>(
        &mut self,
        name: &str,
        limit: Span,
        work: impl FnOnce(&mut T) -> A + Send + 'static,
    ) -> Result<A, Late> {
        let mut began = false;
        let whole = async {
            self.returned().await;
            began = true;
            let answered = self.begin(name, work)?;
            let answer = answered.await;
            self.returned().await;
            answer.map_err(|_| match self.state {
                State::Lost => Late::Lost,
                _ => Late::NoThread("its work panicked".into()),
            })
        };
        match tokio::time::timeout(limit.to_std(), whole).await {
            Ok(answer) => answer,
            Err(_) if began => Err(Late::TimedOut(limit)),
            Err(_) => Err(Late::StillBusy),
        }
    }

    fn begin<A: Send + 'static>(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut T) -> A + Send + 'static,
    ) -> Result<oneshot::Receiver<A>, Late> {
        let (hand_over, taken) = oneshot::channel::<T>();
        let (give_back, away) = oneshot::channel();
        let (answer, answered) = oneshot::channel();
        // Nobody joins it: to wait for what hangs is what this room avoids. It ends with its work.
        let started = tasks::thread(name, move || {
            let Ok(mut thing) = taken.blocking_recv() else { return };
            let said = work(&mut thing);
            drop(give_back.send(thing));
            drop(answer.send(said));
        });
        // Only now, so that it is not lost where there is no thread.
        started.map_err(|e| Late::NoThread(e.to_string()))?;
        let State::Here(thing) = std::mem::replace(&mut self.state, State::Lost) else { return Err(Late::Lost) };
        drop(hand_over.send(thing));
        self.state = State::Away(away);
        Ok(answered)
    }

    /// Waits until what is away came back.
    async fn returned(&mut self) {
        if let State::Away(away) = &mut self.state {
            let thing = away.await.ok();
            self.settle(thing);
        }
    }

    fn settle(&mut self, came_back: Option<T>) {
        self.state = came_back.or_else(|| self.renew.map(|renew| renew())).map_or(State::Lost, State::Here);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_that_hangs_is_begun_once_and_its_late_answer_is_not_used() {
        let (go, held) = mpsc::channel::<()>();
        let begun = Arc::new(AtomicUsize::new(0));
        let mut apart = Apart::<()>::default();
        let counted = begun.clone();
        let hanging = move |(): &mut ()| {
            counted.fetch_add(1, Ordering::SeqCst);
            assert!(held.recv().is_err(), "it waits until it is let go");
            1
        };
        assert!(!apart.is_busy());
        assert_eq!(apart.run("test", Span::secs(1), hanging).await, Err(Late::TimedOut(Span::secs(1))));
        assert!(apart.is_busy());
        for _ in 0..3 {
            let counted = begun.clone();
            let other = move || counted.fetch_add(1, Ordering::SeqCst);
            assert_eq!(apart.run("test", Span::secs(1), move |()| other() as i32).await, Err(Late::StillBusy));
        }
        drop(go);
        // The clock does not run by itself while a thread is waited for with so long a limit.
        tokio::time::resume();
        assert_eq!(apart.run("test", Span::secs(60), |()| 2).await, Ok(2), "the answer of now, not that of before");
        assert_eq!(begun.load(Ordering::SeqCst), 1, "nothing was begun beside it");
        assert!(!apart.is_busy());
    }

    #[tokio::test]
    async fn work_that_panics_is_no_answer() {
        let mut apart = Apart::<()>::default();
        let failed = apart.run("test", Span::secs(60), |()| -> i32 { panic!("on purpose") }).await;
        assert_eq!(failed, Err(Late::NoThread("its work panicked".into())));
        assert_eq!(apart.run("test", Span::secs(60), |()| 3).await, Ok(3));
    }

    #[tokio::test]
    async fn what_is_worked_with_comes_back_and_a_panic_takes_it_along() {
        let mut apart = Apart::new(vec![1]);
        for wanted in [2, 3] {
            let grown = apart.run("test", Span::secs(60), |all| {
                all.push(1);
                all.len()
            });
            assert_eq!(grown.await, Ok(wanted));
            assert!(!apart.is_busy());
        }
        assert_eq!(apart.run("test", Span::secs(60), |_| -> i32 { panic!("on purpose") }).await, Err(Late::Lost));
        assert_eq!(apart.run("test", Span::secs(60), |all| all.len()).await, Err(Late::Lost));
    }
}
