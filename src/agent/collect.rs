//! Who looks when: one task a source, and one that reads the running version.
//!
//! A source looks once an interval. When a target that was fine fails, it is looked at again at once, twice: a
//! connection that was dropped by chance and a service that died are told apart within half a second, and nothing
//! is spent while all is well. A source that looks only when it is asked sleeps until then; one that is told sleeps until
//! there is something to tell, and goes on where an earlier process, or the configuration before, stopped.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::version::Version;
use crate::base::{Batch, Failure, Outcome, SourceRef, Span, Timestamp};
use crate::engine::Input;
use crate::source::Source;
use crate::sys::clock::Clock;
use crate::sys::tasks::Tasks;

/// How long after a first failure the target is looked at again.
const CONFIRM_AFTER: Span = Span::millis(200);

/// How often a first failure is confirmed at most.
const CONFIRMATIONS: u32 = 2;

/// Where each target's source goes on: the checkpoint of the last batch that the loop took.
pub(super) type Positions = BTreeMap<(SourceRef, String), Arc<[u8]>>;

/// The tasks that look, and the bells of those that wait to be asked.
#[derive(Debug, Default)]
pub(super) struct Collectors {
    tasks: Tasks,
    /// One a target: a source may have several.
    bells: BTreeMap<SourceRef, Vec<Arc<Notify>>>,
}

impl Collectors {
    /// Starts a task for each source, which goes on at its position, and one for the running version.
    pub(super) fn start(
        sources: Vec<Source>,
        version: Option<Version>,
        clock: &Arc<Clock>,
        inputs: &mpsc::Sender<Input>,
        positions: &Positions,
    ) -> Collectors {
        let mut collectors = Collectors::default();
        for mut source in sources {
            if source.is_told() {
                let own = positions.iter().filter(|((of, _), _)| *of == source.reference());
                source.resume(&own.map(|((_, instance), bytes)| (instance.as_str(), &**bytes)).collect());
                let task = Task { clock: clock.clone(), inputs: inputs.clone(), stop: collectors.tasks.stop_signal() };
                collectors.tasks.spawn("source", task.listen(source));
                continue;
            }
            let bell = Arc::new(Notify::new());
            collectors.bells.entry(source.reference()).or_default().push(bell.clone());
            let task = Task { clock: clock.clone(), inputs: inputs.clone(), stop: collectors.tasks.stop_signal() };
            collectors.tasks.spawn("source", task.look(source, bell));
        }
        if let Some(version) = version {
            let task = Task { clock: clock.clone(), inputs: inputs.clone(), stop: collectors.tasks.stop_signal() };
            collectors.tasks.spawn("version", task.read(version));
        }
        collectors
    }

    /// Asks a source that looks only then; others look anyway.
    pub(super) fn ask(&self, source: &SourceRef) {
        for bell in self.bells.get(source).into_iter().flatten() {
            bell.notify_one();
        }
    }

    /// Takes out tasks that ended by themselves.
    pub(super) fn reap(&mut self) {
        self.tasks.reap();
    }

    /// Ends all looks, those under way too.
    pub(super) async fn stop(self, grace: Span) {
        self.tasks.stop(grace).await;
    }
}

/// What every task holds.
struct Task {
    clock: Arc<Clock>,
    inputs: mpsc::Sender<Input>,
    stop: CancellationToken,
}

impl Task {
    async fn look(self, mut source: Source, bell: Arc<Notify>) {
        let mut pace = Pace::new(Rhythm::of(&source), self.clock.now());
        loop {
            let work = async {
                match pace.next {
                    Next::At(at) => self.clock.sleep_until(at).await,
                    Next::Asked => bell.notified().await,
                }
                let at = pace.date(self.clock.now());
                let batch = source.collect(at).await;
                let good = batch.outcome == Outcome::Good;
                self.inputs.send(Input::Batch(batch)).await.map(|()| (at, good))
            };
            let seen = tokio::select! { () = self.stop.cancelled() => return, seen = work => seen };
            // The loop is gone: nobody wants to know.
            let Ok((at, good)) = seen else { return };
            pace.looked(at, good, self.clock.now());
        }
    }

    /// Passes on what a source tells.
    async fn listen(self, mut source: Source) {
        let mut farewell = Farewell { stop: self.stop.clone(), inputs: self.inputs.clone(), last: BTreeMap::new() };
        loop {
            let work = async {
                let batch = source.next(&self.clock).await;
                farewell.note(&batch);
                self.inputs.send(Input::Batch(batch)).await
            };
            let sent = tokio::select! { () = self.stop.cancelled() => None, sent = work => Some(sent) };
            match sent {
                Some(Ok(())) => {}
                Some(Err(_)) => return,
                // What was read and not told is told now: a program says nothing twice.
                None => {
                    for batch in source.last(&self.clock) {
                        if self.inputs.try_send(Input::Batch(batch)).is_err() {
                            tracing::debug!("The last lines of a log are read again after the start.");
                        }
                    }
                    return;
                }
            }
        }
    }

    async fn read(self, mut version: Version) {
        let mut at = self.clock.now();
        loop {
            let work = async {
                self.clock.sleep_until(at).await;
                self.inputs.send(Input::Version(version.read().await)).await
            };
            let sent = tokio::select! { () = self.stop.cancelled() => return, sent = work => sent };
            if sent.is_err() {
                return;
            }
            at = next_look(at, version.interval, self.clock.now());
        }
    }
}

/// Says of the targets of a source that is told that nobody listens any more, when its task ends by itself: what they
/// gave last would hold for ever.
struct Farewell {
    stop: CancellationToken,
    inputs: mpsc::Sender<Input>,
    /// The last batch of each target, as one that failed.
    last: BTreeMap<String, Batch>,
}

impl Farewell {
    fn note(&mut self, batch: &Batch) {
        self.last.entry(batch.instance.clone()).or_insert_with(|| Batch {
            outcome: Outcome::Failed(Failure::new("error", "its task ended; this is a bug in backstop")),
            samples: Vec::new(),
            checkpoint: None,
            exhibits: Vec::new(),
            ..batch.clone()
        });
    }
}

impl Drop for Farewell {
    fn drop(&mut self) {
        if self.stop.is_cancelled() {
            return;
        }
        for (instance, batch) in std::mem::take(&mut self.last) {
            if self.inputs.try_send(Input::Batch(batch)).is_err() {
                tracing::error!(%instance, "A source ended by itself, and the loop could not be told.");
            }
        }
    }
}

/// How a source wants to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rhythm {
    /// How often.
    interval: Span,
    /// Only when somebody asks.
    manual: bool,
    /// A first failure is confirmed at once.
    confirms: bool,
}

impl Rhythm {
    fn of(source: &Source) -> Rhythm {
        let manual = source.is_manual();
        // Who asks for a look may mean it to change something: it is done once.
        let confirms = source.confirms_failures() && !manual;
        Rhythm { interval: source.interval(), manual, confirms }
    }
}

/// When the next look is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    At(Timestamp),
    Asked,
}

/// The state of one source's rhythm; pure.
#[derive(Debug)]
struct Pace {
    rhythm: Rhythm,
    next: Next,
    /// The last look that was not a confirmation.
    regular: Timestamp,
    /// Looks that failed without one that did not, confirmations included.
    failures: u32,
    confirming: bool,
}

impl Pace {
    fn new(rhythm: Rhythm, now: Timestamp) -> Pace {
        let next = if rhythm.manual { Next::Asked } else { Next::At(now) };
        Pace { rhythm, next, regular: now, failures: 0, confirming: false }
    }

    /// The time that the look now carries: when it was due, or when it was asked for.
    fn date(&self, now: Timestamp) -> Timestamp {
        match self.next {
            Next::At(at) => at,
            Next::Asked => now,
        }
    }

    /// After the look dated `at` ended at `now`.
    fn looked(&mut self, at: Timestamp, good: bool, now: Timestamp) {
        if !self.confirming {
            self.regular = at;
        }
        self.failures = if good { 0 } else { self.failures.saturating_add(1) };
        let regular = next_look(self.regular, self.rhythm.interval, now);
        let confirm = now + CONFIRM_AFTER;
        let doubtful = (1..=CONFIRMATIONS).contains(&self.failures);
        // A confirmation that would come with the next look anyway is none.
        self.confirming = self.rhythm.confirms && doubtful && confirm + CONFIRM_AFTER < regular;
        self.next = match (self.confirming, self.rhythm.manual) {
            (true, _) => Next::At(confirm),
            (false, true) => Next::Asked,
            (false, false) => Next::At(regular),
        };
    }
}

/// One interval after the last, never more than that from now: the clock may have been set meanwhile.
fn next_look(last: Timestamp, interval: Span, now: Timestamp) -> Timestamp {
    let next = last + interval;
    if next < now { now } else { next.min(now + interval) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RHYTHM: Rhythm = Rhythm { interval: Span::secs(15), manual: false, confirms: true };

    /// The times of the looks of a target that is good where `good` says so; each look takes 50 ms.
    fn looks(rhythm: Rhythm, good: &[bool]) -> Vec<i64> {
        let mut pace = Pace::new(rhythm, Timestamp(0));
        let mut now = Timestamp(0);
        let one = |good: &bool| {
            now = pace.date(now);
            pace.looked(now, *good, now + Span::millis(50));
            now.0
        };
        good.iter().map(one).collect()
    }

    #[test]
    fn the_next_look_is_never_far_away() {
        let at = Timestamp;
        for (last, now, expected) in [(1000, 1100, 16_000), (1000, 20_000, 20_000), (3_600_000, 1000, 16_000)] {
            assert_eq!(next_look(at(last), Span::secs(15), at(now)), at(expected), "{last} {now}");
        }
    }

    #[test]
    fn a_first_failure_is_confirmed_at_once_and_the_rhythm_goes_on() {
        let (good, bad) = (true, false);
        assert_eq!(looks(RHYTHM, &[good, good, good]), [0, 15_000, 30_000]);
        assert_eq!(looks(RHYTHM, &[good, bad, bad, bad, bad, bad]), [0, 15_000, 15_250, 15_500, 30_000, 45_000]);
        assert_eq!(looks(RHYTHM, &[bad, good, good, bad, good]), [0, 250, 15_000, 30_000, 30_250]);
    }

    #[test]
    fn who_looks_often_or_cheaply_needs_no_confirmation() {
        let often = Rhythm { interval: Span::millis(400), ..RHYTHM };
        assert_eq!(looks(often, &[false, false]), [0, 400]);
        assert_eq!(looks(Rhythm { confirms: false, ..RHYTHM }, &[false, false]), [0, 15_000]);
    }

    #[test]
    fn a_manual_source_sleeps_until_it_is_asked() {
        let mut pace = Pace::new(Rhythm { manual: true, confirms: false, ..RHYTHM }, Timestamp(0));
        assert_eq!(pace.next, Next::Asked);
        assert_eq!(pace.date(Timestamp(7000)), Timestamp(7000));
        pace.looked(Timestamp(7000), false, Timestamp(7050));
        assert_eq!(pace.next, Next::Asked);
    }
}
