//! Which questions wait to be asked, so many at once and so many a second. Pure.
//!
//! Whatever happens to a container, the engine is asked about it soon, and once: a flood of events makes no flood of
//! questions. Who is asked about goes to the end of the line, so none keeps others waiting.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::base::{Span, Timestamp};
use crate::sys::engine::Id;

/// The most questions at once.
const AT_ONCE: usize = 4;

/// The most questions a second, over a while; also how many may come in one go.
const A_SECOND: i64 = 100;

/// How long after a question without an answer it is asked again.
const AGAIN: Span = Span::secs(2);

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ask {
    /// What is known of a container.
    Container(Id),
    /// What is known of an image, by its id.
    Image(String),
}

/// What waits.
#[derive(Debug, Default)]
pub struct Looks {
    waiting: VecDeque<Ask>,
    /// What is in `waiting`.
    queued: BTreeSet<Ask>,
    asked: BTreeSet<Ask>,
    later: BTreeMap<Ask, Timestamp>,
    /// When as many as may be asked could be asked.
    full_at: Timestamp,
}

impl Looks {
    /// Asks soon.
    pub fn want(&mut self, ask: Ask) {
        self.later.remove(&ask);
        if self.queued.insert(ask.clone()) {
            self.waiting.push_back(ask);
        }
    }

    /// Asks after a pause: the last time there was no answer.
    pub fn want_later(&mut self, ask: Ask, now: Timestamp) {
        if !self.queued.contains(&ask) {
            self.later.insert(ask, now + AGAIN);
        }
    }

    /// Whether something happened since it was asked.
    pub fn is_wanted(&self, ask: &Ask) -> bool {
        self.queued.contains(ask)
    }

    /// The next question to be asked now.
    pub fn next(&mut self, now: Timestamp) -> Option<Ask> {
        let due: Vec<Ask> = self.later.iter().filter(|(_, at)| **at <= now).map(|(ask, _)| ask.clone()).collect();
        due.into_iter().for_each(|ask| self.want(ask));
        // The clock may have been set back.
        self.full_at = self.full_at.min(now + Span::secs(1));
        if self.asked.len() == AT_ONCE || !self.may(now) {
            return None;
        }
        // What is being asked is asked again when the answer is there.
        let i = self.waiting.iter().position(|ask| !self.asked.contains(ask))?;
        let ask = self.waiting.remove(i)?;
        self.queued.remove(&ask);
        self.asked.insert(ask.clone());
        self.full_at = self.full_at.max(now) + Span::millis(1000 / A_SECOND);
        Some(ask)
    }

    /// The answer is there.
    pub fn answered(&mut self, ask: &Ask) {
        self.asked.remove(ask);
    }

    /// Forgets what waits: the engine is away.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.queued.clear();
        self.later.clear();
    }

    /// Forgets one.
    pub fn forget(&mut self, ask: &Ask) {
        self.later.remove(ask);
        if self.queued.remove(ask) {
            self.waiting.retain(|waiting| waiting != ask);
        }
    }

    /// When to look again for what may be asked; nothing where only an answer or an event brings more.
    pub fn due(&self, now: Timestamp) -> Option<Timestamp> {
        let later = self.later.values().min().copied();
        let can_ask = self.asked.len() < AT_ONCE && self.waiting.iter().any(|ask| !self.asked.contains(ask));
        let paced = can_ask.then(|| now.max(self.full_at - Span::secs(1) + Span::millis(1000 / A_SECOND)));
        [later, paced].into_iter().flatten().min()
    }

    fn may(&self, now: Timestamp) -> bool {
        self.full_at + Span::millis(1000 / A_SECOND) <= now + Span::secs(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(n: usize) -> Ask {
        Ask::Container(Id::try_from(format!("{n:012x}")).unwrap())
    }

    #[test]
    fn a_flood_is_so_many_questions_a_second_and_every_one_has_its_turn() {
        let (mut looks, mut n_asked, mut of_others) = (Looks::default(), 0, BTreeSet::new());
        (1..=50).for_each(|n| looks.want(container(n)));
        for ms in 0..2000 {
            let now = Timestamp(1_000_000 + ms);
            looks.want(container(0));
            while let Some(ask) = looks.next(now) {
                n_asked += 1;
                of_others.insert(ask.clone());
                looks.answered(&ask);
            }
        }
        assert_eq!(of_others.len(), 51);
        assert!((250..=310).contains(&n_asked), "{n_asked} in two seconds, beginning with a hundred at once");
    }

    #[test]
    fn what_happens_while_a_question_is_asked_is_asked_again() {
        let (mut looks, now) = (Looks::default(), Timestamp(1_000_000));
        (0..9).for_each(|n| looks.want(container(n)));
        let first: Vec<Ask> = std::iter::from_fn(|| looks.next(now)).collect();
        assert_eq!(first, [0, 1, 2, 3].map(container));
        looks.want(container(1));
        assert!(looks.is_wanted(&container(1)) && !looks.is_wanted(&container(0)));
        assert_eq!(looks.due(now), None);
        first.iter().for_each(|ask| looks.answered(ask));
        assert_eq!(looks.due(now), Some(now));
        looks.forget(&container(4));
        looks.want_later(container(2), now);
        let second: Vec<Ask> = std::iter::from_fn(|| looks.next(now)).collect();
        assert_eq!(second, [5, 6, 7, 8].map(container));
        second.iter().for_each(|ask| looks.answered(ask));
        assert_eq!(looks.next(now), Some(container(1)));
        looks.answered(&container(1));
        assert_eq!((looks.next(now), looks.due(now)), (None, Some(now + AGAIN)));
        assert_eq!(looks.next(now + AGAIN), Some(container(2)));
    }
}
