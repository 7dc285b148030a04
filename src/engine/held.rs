//! What sources that are told rather than look gave last: it holds until they say otherwise, and is repeated without
//! waking them.
//!
//! Enters: batches, time. Leaves: the batches that are due again. Pure. A series whose name ends in `_new` counts what came
//! since the sample before, so its repeated value is 0. A source that failed is not repeated: it says itself how it goes on.

use std::collections::BTreeMap;

use crate::base::label::NAME;
use crate::base::{Batch, Outcome, SourceRef, Span, Timestamp};

/// The last batch of each target that holds.
#[derive(Debug, Default)]
pub struct Held {
    targets: BTreeMap<(SourceRef, String), Last>,
}

#[derive(Debug)]
struct Last {
    /// When it was written last.
    at: Timestamp,
    /// What is repeated; none while the target fails.
    again: Option<Batch>,
}

impl Held {
    /// Notes a batch of a source that is told. Two never have the same time, or the store would keep only the first: one
    /// that comes in the same millisecond is moved behind it.
    pub fn note(&mut self, batch: &mut Batch) {
        if !batch.holds {
            return;
        }
        let key = (batch.source.clone(), batch.instance.clone());
        if let Some(last) = self.targets.get(&key) {
            batch.at = batch.at.max(last.at + Span::millis(1));
        }
        let again = (batch.outcome == Outcome::Good).then(|| repeated(batch));
        self.targets.insert(key, Last { at: batch.at, again });
    }

    /// The batches that are due at `now`, to be noted again when they are taken.
    pub fn due(&self, now: Timestamp) -> Vec<Batch> {
        let is_due = |last: &Last, again: &Batch| last.at + again.interval <= now;
        let due = self.targets.values().filter_map(|last| last.again.as_ref().filter(|again| is_due(last, again)));
        due.map(|again| Batch { at: now, ..again.clone() }).collect()
    }

    /// When the next one is due; none where nothing is held.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.targets.values().filter_map(|last| last.again.as_ref().map(|again| last.at + again.interval)).min()
    }

    /// The wall clock was set.
    pub fn shift(&mut self, by: Span) {
        self.targets.values_mut().for_each(|last| last.at += by);
    }

    /// Nothing is repeated until each target gives a batch again: its source begins anew.
    pub fn begin_anew(&mut self) {
        self.targets.values_mut().for_each(|last| last.again = None);
    }
}

fn repeated(batch: &Batch) -> Batch {
    let mut again = Batch { checkpoint: None, exhibits: Vec::new(), ..batch.clone() };
    for sample in &mut again.samples {
        if sample.labels.get(NAME).ends_with("_new") {
            sample.value = 0.0;
        }
    }
    again
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Exhibit, Failure, Labels, Sample};

    const EVERY: Span = Span::secs(15);

    fn batch(at: i64, outcome: Outcome) -> Batch {
        let sample = |name: &str, value| Sample { labels: Labels::new([(NAME, name)]), value, at: None };
        let exhibit = Exhibit {
            at: Timestamp(at),
            place: "x".into(),
            service: None,
            level: "error".into(),
            patterns: vec![],
            text: "y".into(),
        };
        Batch {
            source: SourceRef::new("log", "app"),
            instance: "app".into(),
            at: Timestamp(at),
            interval: EVERY,
            outcome,
            samples: vec![sample("log_matches_total", 7.0), sample("log_matches_new", 2.0)],
            checkpoint: Some([1].into()),
            holds: true,
            exhibits: vec![exhibit],
        }
    }

    fn failed() -> Outcome {
        Outcome::Failed(Failure::new("permission", "no"))
    }

    #[test]
    fn what_holds_is_repeated_and_what_was_new_is_not_new_again() {
        let mut held = Held::default();
        held.note(&mut batch(1000, Outcome::Good));
        assert_eq!(held.deadline(), Some(Timestamp(16_000)));
        assert_eq!(held.due(Timestamp(15_999)), []);
        let mut due = held.due(Timestamp(16_003));
        let [again] = due.as_mut_slice() else { panic!("{due:?}") };
        held.note(again);
        assert_eq!(again.at, Timestamp(16_003));
        assert_eq!(again.samples.iter().map(|s| s.value).collect::<Vec<_>>(), [7.0, 0.0]);
        assert!(again.checkpoint.is_none() && again.exhibits.is_empty());
        assert_eq!(held.deadline(), Some(Timestamp(31_003)));
    }

    #[test]
    fn a_failed_target_is_not_repeated() {
        let mut held = Held::default();
        held.note(&mut batch(1000, Outcome::Good));
        held.note(&mut batch(2000, failed()));
        assert_eq!((held.deadline(), held.due(Timestamp(60_000))), (None, Vec::new()));
        held.note(&mut batch(61_000, Outcome::Good));
        assert_eq!(held.deadline(), Some(Timestamp(76_000)));
    }

    #[test]
    fn two_batches_never_have_the_same_time() {
        let mut held = Held::default();
        let mut at = |at: i64, outcome: Outcome| {
            let mut batch = batch(at, outcome);
            held.note(&mut batch);
            batch.at.0
        };
        assert_eq!([at(5, Outcome::Good), at(5, Outcome::Good), at(3, failed()), at(9, Outcome::Good)], [5, 6, 7, 9]);
        held.shift(Span::millis(-4));
        let mut after = batch(6, Outcome::Good);
        held.note(&mut after);
        assert_eq!(after.at, Timestamp(6));
    }

    #[test]
    fn a_source_that_begins_anew_says_itself_how_it_is() {
        let mut held = Held::default();
        held.note(&mut batch(1000, Outcome::Good));
        held.begin_anew();
        assert_eq!(held.due(Timestamp(60_000)), []);
    }

    #[test]
    fn sources_that_look_are_none_of_its_business() {
        let mut held = Held::default();
        held.note(&mut Batch { holds: false, ..batch(1000, Outcome::Good) });
        assert_eq!(held.deadline(), None);
    }
}
