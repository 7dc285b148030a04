//! How often the containers of one name ended, were started again and ran out of memory. Pure.
//!
//! Enters: what the engine says of a container when it is asked (a *look*), and what it tells when something happens (an
//! *event*). Both say the same things twice and neither is complete: events are lost while nobody listens, and a look
//! shows only the last life. So a look is the base from which events count, and the next look says how many there were
//! at least since the last one; the larger of both is right. An event that may be part of a look is not counted: the look after it
//! decides.
//!
//! A container has one life for each start. What a look proves of it: its number of starts by policy (which starting by
//! hand sets back to 0), and when the last life began and whether it ended.

use serde::{Deserialize, Serialize};

use super::facts::Facts;
use crate::base::Timestamp;
use crate::sys::engine::{Id, State};

/// The most events between two looks that are kept one by one.
const MAX_EVENTS: usize = 64;

/// The most former containers of a name that are known again.
const MAX_PAST: usize = 2;

/// An event that is so much older than the last one is no old one: the clock was set back. In nanoseconds.
const SET_BACK: i64 = 60_000_000_000;

/// Nanoseconds in a millisecond.
const MILLI: i64 = 1_000_000;

/// What was counted for one name, over all containers that had it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lives {
    deaths: u64,
    restarts: u64,
    /// Of all lives but the present one.
    ooms: u64,
    oom: Oom,
    /// When the last event was, in nanoseconds since 1970: an engine tells some twice.
    #[serde(default)]
    heard: i64,
    /// Deaths that looks proved and no event told of so far.
    #[serde(default)]
    credit: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<Look>,
    /// Those that had the name before, as they were seen last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    past: Vec<Look>,
    /// What was counted since that look, in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    since: Vec<Counted>,
    /// What was counted since and is not in the list any more.
    #[serde(default, skip_serializing_if = "Since::is_none")]
    dropped: Since,
}

/// What the last look proved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Look {
    id: Id,
    /// Starts by policy since it was started by hand.
    restarts: u64,
    started: Option<Timestamp>,
    stands: Stands,
    /// An event told of the end of that life too: the next start is another one.
    #[serde(default)]
    end_was_heard: bool,
}

/// How the last life goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Stands {
    /// Nothing was started so far.
    Made,
    Alive,
    /// It ended, and the engine starts the next one; that start is counted among the restarts already.
    Between,
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Counted {
    /// When, in milliseconds since 1970.
    Died(i64),
    /// The first start of a container is no restart.
    Started { at: i64, again: bool },
}

/// What events counted since a look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Since {
    deaths: u64,
    restarts: u64,
    has_start: bool,
}

impl Since {
    fn is_none(&self) -> bool {
        *self == Since::default()
    }

    fn add(&mut self, counted: Counted) {
        match counted {
            Counted::Died(_) => self.deaths += 1,
            Counted::Started { again, .. } => {
                self.restarts += u64::from(again);
                self.has_start = true;
            }
        }
    }
}

/// How often memory ran out in the present life: three witnesses of the same thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Oom {
    events: u64,
    kills: u64,
    ended_by_it: bool,
}

impl Oom {
    fn count(self) -> u64 {
        self.events.max(self.kills).max(u64::from(self.ended_by_it))
    }
}

impl Lives {
    /// How often a main process ended.
    pub fn deaths(&self) -> u64 {
        self.deaths
    }

    /// How often a container was started again, by the engine or by hand. Making it anew is none.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// How often memory ran out.
    pub fn ooms(&self) -> u64 {
        self.ooms + self.oom.count()
    }

    /// Whether memory ran out in the present life.
    pub fn is_oom(&self) -> bool {
        self.oom.count() > 0
    }

    /// The container that was looked at last.
    pub fn id(&self) -> Option<&Id> {
        self.last.as_ref().map(|look| &look.id)
    }

    /// Takes a look at container `id`.
    pub fn look(&mut self, id: &Id, facts: &Facts) {
        let (restarts, started, stands) = (facts.restarts, facts.started, stands(facts));
        let mut new = Look { id: id.clone(), restarts, started, stands, end_was_heard: false };
        let (deaths, restarts) = match &self.last {
            Some(last) if last.id == new.id => proven(last, &new),
            _ => {
                let before = self.past.iter().position(|look| look.id == new.id).map(|i| self.past.remove(i));
                self.gone();
                match &before {
                    // Two wanted the name, and it has it again.
                    Some(before) => proven(before, &new),
                    None => (ends(&new), new.restarts),
                }
            }
        };
        let is_other_life = self.last.as_ref().is_some_and(|last| last.started != new.started);
        let was_heard = self.last.as_ref().is_some_and(|last| last.end_was_heard && last.started == new.started);
        let known = self.settle(&mut new);
        new.end_was_heard |= was_heard && new.stands != Stands::Alive;
        if is_other_life && !known.has_start {
            self.begin_life();
        }
        // A look of before the present life says how another one ended.
        let is_past = self.since.iter().any(|event| matches!(event, Counted::Started { .. }));
        self.oom.ended_by_it |= facts.is_oom_killed && !is_past;
        let unheard = deaths.saturating_sub(known.deaths);
        self.deaths += unheard;
        self.credit += unheard;
        self.restarts += restarts.saturating_sub(known.restarts);
        self.last = Some(new);
    }

    /// Takes an event: container `id` was made; nothing happened to it so far.
    pub fn made(&mut self, id: &Id) {
        self.look(id, &Facts { state: State::Created, ..Facts::default() });
    }

    /// Takes an event: the main process of `id` ended at `at` (nanoseconds since 1970). Whether it changes what is known.
    pub fn died(&mut self, id: &Id, at: i64) -> bool {
        if !self.is_new(id, at) {
            return false;
        }
        // Who ended was started before, told or not.
        if self.since.is_empty() && self.last.as_ref().is_some_and(|last| last.stands == Stands::Made) {
            self.note(Counted::Started { at: at / MILLI, again: false });
        }
        if self.is_alive(id) && self.since_when().is_some_and(|since| at / MILLI >= since) {
            // All that came before it was heard.
            self.credit = 0;
            self.deaths += 1;
            self.note(Counted::Died(at / MILLI));
            return true;
        }
        if let Some(last) = &mut self.last {
            last.end_was_heard |= last.started.is_some_and(|started| at / MILLI >= started.millis());
        }
        // A look knew more than the events: what it proved is taken off first.
        match self.credit.checked_sub(1) {
            Some(left) => self.credit = left,
            None => self.deaths += 1,
        }
        false
    }

    /// Takes an event: `id` was started at `at`. Whether a life begins that was not known.
    pub fn started(&mut self, id: &Id, at: i64) -> bool {
        if !self.is_new(id, at) {
            return false;
        }
        let again = match (self.since.last(), &self.last) {
            (Some(Counted::Died(_)), _) => true,
            (None, Some(last)) if last.stands == Stands::Made => false,
            // The start that was waited for is counted already.
            (None, Some(last)) if last.end_was_heard => last.stands == Stands::Ended,
            _ => return false,
        };
        self.restarts += u64::from(again);
        self.begin_life();
        self.note(Counted::Started { at: at / MILLI, again });
        true
    }

    /// Takes an event: memory ran out in `id` at `at`. Whether it is counted.
    pub fn ran_out_of_memory(&mut self, id: &Id, at: i64) -> bool {
        let is_new = self.is_new(id, at);
        self.oom.events += u64::from(is_new);
        is_new
    }

    /// Whether an event is about the container that is counted, and was not told before.
    fn is_new(&mut self, id: &Id, at: i64) -> bool {
        let is_new = self.id() == Some(id) && (at > self.heard || at < self.heard - SET_BACK);
        if is_new {
            self.heard = at;
        }
        is_new
    }

    /// How many processes the kernel killed for want of memory in the present life.
    pub fn kills(&mut self, n: u64) {
        self.oom.kills = self.oom.kills.max(n);
    }

    /// The container has another name now: what happens to it is not counted here any more.
    pub fn left(&mut self) {
        self.last = None;
        self.gone();
    }

    /// The container is not there any more: if it lived, it died.
    pub fn gone(&mut self) {
        let is_alive = self.last.as_ref().is_some_and(|last| self.is_alive(&last.id));
        self.deaths += u64::from(is_alive);
        if let Some(last) = self.last.take() {
            self.past.truncate(MAX_PAST - 1);
            // What events counted since is known of it too.
            let n_again =
                self.since.iter().filter(|event| matches!(event, Counted::Started { again: true, .. })).count();
            let has_ended = last.stands == Stands::Alive || !self.since.is_empty();
            let stands = if has_ended { Stands::Ended } else { last.stands };
            self.past.insert(0, Look { stands, restarts: last.restarts + n_again as u64, ..last });
        }
        self.since.clear();
        (self.dropped, self.credit) = (Since::default(), 0);
        self.begin_life();
    }

    fn begin_life(&mut self) {
        self.ooms += std::mem::take(&mut self.oom).count();
    }

    /// Whether `id` lives, for all that is known.
    fn is_alive(&self, id: &Id) -> bool {
        let Some(last) = self.last.as_ref().filter(|last| last.id == *id) else { return false };
        match self.since.last() {
            Some(event) => matches!(event, Counted::Started { .. }),
            None => last.stands == Stands::Alive,
        }
    }

    /// When the present life began.
    fn since_when(&self) -> Option<i64> {
        match self.since.last() {
            Some(Counted::Started { at, .. }) => Some(*at),
            Some(Counted::Died(_)) => None,
            None => Some(self.last.as_ref()?.started.map_or(0, Timestamp::millis)),
        }
    }

    fn note(&mut self, counted: Counted) {
        if self.since.len() == MAX_EVENTS {
            let oldest = self.since.remove(0);
            self.dropped.add(oldest);
        }
        self.since.push(counted);
    }

    /// Takes out the events that `look` knows of. What is left came after it.
    fn settle(&mut self, look: &mut Look) -> Since {
        let mut known = std::mem::take(&mut self.dropped);
        let began = look.started.map_or(i64::MAX, Timestamp::millis);
        // The life that the look shows ended with the first death behind its start.
        let own_end = self.since.iter().position(|event| matches!(event, Counted::Died(at) if *at >= began));
        let is_as_before = self
            .last
            .as_ref()
            .is_some_and(|last| last.id == look.id && last.started == look.started && last.stands != Stands::Alive);
        let n_known = match (own_end, look.stands) {
            // It ended, or was made, before all of them.
            _ if is_as_before => 0,
            (Some(i), Stands::Alive) => i,
            (Some(i), _) => i + 1,
            (None, _) => self.since.len(),
        };
        look.end_was_heard = own_end.is_some() && look.stands != Stands::Alive && !is_as_before;
        self.since.drain(..n_known).for_each(|event| known.add(event));
        // The start that a look waits for is among its restarts.
        if look.stands == Stands::Between
            && let Some(Counted::Started { again, .. }) = self.since.first_mut()
            && std::mem::take(again)
        {
            known.restarts += 1;
        }
        known
    }
}

fn stands(facts: &Facts) -> Stands {
    match facts.state {
        State::Running | State::Paused => Stands::Alive,
        State::Restarting => Stands::Between,
        State::Created => Stands::Made,
        State::Exited | State::Dead | State::Removing | State::Unknown => match facts.started {
            Some(_) => Stands::Ended,
            None => Stands::Made,
        },
    }
}

/// How often it ended since it was started by hand.
fn ends(look: &Look) -> u64 {
    look.restarts + u64::from(look.stands == Stands::Ended)
}

/// How many deaths and restarts lie between two looks at one container, at least.
fn proven(last: &Look, new: &Look) -> (u64, u64) {
    let is_other_life = new.started != last.started;
    // A first start is no restart, and the one that is waited for is counted already, whoever does it.
    let began = u64::from(matches!(last.stands, Stands::Alive | Stands::Ended));
    let by_hand = match last.stands {
        // Nobody but a person starts what ended for good or was never started.
        Stands::Ended | Stands::Made => is_other_life,
        Stands::Alive | Stands::Between => {
            new.restarts < last.restarts || (is_other_life && new.restarts == last.restarts)
        }
    };
    // The start that a container between two lives waits for is counted already.
    let is_awaited = last.stands == Stands::Between && is_other_life && new.restarts == last.restarts;
    if !by_hand || is_awaited {
        return (ends(new).saturating_sub(ends(last)), new.restarts.saturating_sub(last.restarts));
    }
    let ended = u64::from(last.stands == Stands::Alive);
    // Where the number of restarts is as before, it says nothing about this start by hand.
    let since = if new.restarts == last.restarts { 0 } else { new.restarts };
    (ended + since + u64::from(new.stands == Stands::Ended), began + since)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> Id {
        Id::try_from(format!("{n:012x}")).unwrap()
    }

    /// A look: state, restarts by policy, start in milliseconds.
    fn facts(state: State, restarts: u64, started: i64) -> Facts {
        let started = (started > 0).then_some(Timestamp(started));
        Facts { state, restarts, started, ..Facts::default() }
    }

    enum Step {
        Look(u8, State, u64, i64),
        Oom(u8, State, u64, i64),
        Died(u8, i64),
        Started(u8, i64),
        OomEvent(u8, i64),
        Kills(u64),
        Gone,
    }

    /// Deaths, restarts and ooms after these steps; a restart of the agent behind each of them changes nothing.
    fn told(steps: &[Step]) -> (u64, u64, u64) {
        let mut lives = Lives::default();
        for step in steps {
            match *step {
                Step::Look(n, state, restarts, started) => lives.look(&id(n), &facts(state, restarts, started)),
                Step::Oom(n, state, restarts, started) => {
                    lives.look(&id(n), &Facts { is_oom_killed: true, ..facts(state, restarts, started) });
                }
                Step::Died(n, at) => drop(lives.died(&id(n), at * MILLI)),
                Step::Started(n, at) => drop(lives.started(&id(n), at * MILLI)),
                Step::OomEvent(n, at) => drop(lives.ran_out_of_memory(&id(n), at * MILLI)),
                Step::Kills(n) => lives.kills(n),
                Step::Gone => lives.gone(),
            }
            let saved = serde_json::to_string(&lives).unwrap();
            assert_eq!(serde_json::from_str::<Lives>(&saved).unwrap(), lives);
        }
        (lives.deaths(), lives.restarts(), lives.ooms())
    }

    #[test]
    fn what_is_told_twice_counts_once_and_what_nobody_told_counts_too() {
        use State::{Created, Exited, Paused, Restarting, Running};
        use Step::{Died, Gone, Kills, Look, Oom, OomEvent, Started};
        for (what, steps, wanted) in [
            ("one that runs", vec![Look(1, Running, 0, 10), Look(1, Running, 0, 10)], (0, 0, 0)),
            ("seen late", vec![Look(1, Running, 3, 10)], (3, 3, 0)),
            ("seen late and ended", vec![Look(1, Exited, 3, 10)], (4, 3, 0)),
            ("event, then look", vec![Look(1, Running, 0, 10), Died(1, 20), Look(1, Exited, 0, 10)], (1, 0, 0)),
            ("look, then event", vec![Look(1, Running, 0, 10), Look(1, Exited, 0, 10), Died(1, 20)], (1, 0, 0)),
            ("only a look", vec![Look(1, Running, 0, 10), Look(1, Exited, 0, 10)], (1, 0, 0)),
            (
                "a look of before",
                vec![Look(1, Running, 0, 10), Died(1, 20), Look(1, Running, 0, 10), Look(1, Exited, 0, 10)],
                (1, 0, 0),
            ),
            (
                "policy",
                vec![
                    Look(1, Running, 0, 10),
                    Died(1, 20),
                    Look(1, Restarting, 1, 10),
                    Started(1, 30),
                    Look(1, Running, 1, 30),
                ],
                (1, 1, 0),
            ),
            (
                "policy by events",
                vec![
                    Look(1, Running, 0, 10),
                    Died(1, 20),
                    Started(1, 30),
                    Died(1, 40),
                    Started(1, 50),
                    Look(1, Running, 2, 50),
                ],
                (2, 2, 0),
            ),
            ("policy by looks", vec![Look(1, Running, 0, 10), Look(1, Running, 5, 90)], (5, 5, 0)),
            ("policy gave up", vec![Look(1, Running, 0, 10), Look(1, Exited, 3, 90)], (4, 3, 0)),
            (
                "a look between events",
                vec![
                    Look(1, Running, 0, 10),
                    Died(1, 20),
                    Started(1, 30),
                    Look(1, Restarting, 1, 10),
                    Died(1, 40),
                    Look(1, Running, 2, 50),
                ],
                (2, 2, 0),
            ),
            ("by hand", vec![Look(1, Running, 0, 10), Look(1, Running, 0, 90)], (1, 1, 0)),
            ("by hand, count set back", vec![Look(1, Running, 4, 10), Look(1, Running, 0, 90)], (5, 5, 0)),
            (
                "by hand by events",
                vec![
                    Look(1, Running, 4, 10),
                    Died(1, 20),
                    Started(1, 30),
                    Died(1, 40),
                    Started(1, 50),
                    Look(1, Running, 0, 50),
                ],
                (6, 6, 0),
            ),
            ("by hand after its end", vec![Look(1, Exited, 0, 10), Look(1, Running, 0, 90)], (1, 1, 0)),
            ("by hand after its end, and died", vec![Look(1, Exited, 0, 10), Look(1, Exited, 2, 90)], (4, 3, 0)),
            (
                "short, look first",
                vec![Look(1, Exited, 0, 10), Started(1, 12), Died(1, 13), Look(1, Exited, 0, 10)],
                (1, 0, 0),
            ),
            (
                "first start",
                vec![Look(1, Created, 0, 0), Started(1, 10), Died(1, 20), Look(1, Exited, 0, 10)],
                (1, 0, 0),
            ),
            ("first start by look", vec![Look(1, Created, 0, 0), Look(1, Running, 0, 10)], (0, 0, 0)),
            ("never started", vec![Look(1, Created, 0, 0), Look(1, Exited, 0, 0), Gone], (0, 0, 0)),
            ("paused", vec![Look(1, Running, 0, 10), Look(1, Paused, 0, 10), Look(1, Running, 0, 10)], (0, 0, 0)),
            (
                "old events",
                vec![Look(1, Running, 1, 30), Died(1, 20), Started(1, 25), Look(1, Running, 1, 30)],
                (1, 1, 0),
            ),
            (
                "events again",
                vec![Look(1, Running, 0, 10), Died(1, 20), Started(1, 25), Died(1, 20), Started(1, 25)],
                (1, 1, 0),
            ),
            (
                "a look ahead",
                vec![
                    Look(1, Running, 0, 10),
                    Look(1, Running, 0, 50),
                    Died(1, 20),
                    Started(1, 30),
                    Died(1, 40),
                    Started(1, 50),
                ],
                (2, 1, 0),
            ),
            (
                "a look ahead of its making",
                vec![
                    Look(1, Created, 0, 0),
                    Look(1, Exited, 0, 30),
                    Started(1, 10),
                    Died(1, 20),
                    Started(1, 30),
                    Died(1, 40),
                ],
                (2, 0, 0),
            ),
            (
                "the clock was set back",
                vec![Look(1, Running, 0, 900_010), Died(1, 900_020), Started(1, 20), Died(1, 30)],
                (2, 1, 0),
            ),
            ("of another", vec![Look(1, Running, 0, 10), Died(2, 20), Started(2, 30)], (0, 0, 0)),
            ("made anew", vec![Look(1, Running, 0, 10), Died(1, 20), Gone, Look(2, Running, 0, 30)], (1, 0, 0)),
            ("made anew unseen", vec![Look(1, Running, 2, 10), Look(2, Running, 1, 30)], (4, 3, 0)),
            ("removed alive", vec![Look(1, Running, 0, 10), Gone, Gone], (1, 0, 0)),
            ("removed ended", vec![Look(1, Exited, 0, 10), Gone, Look(2, Running, 0, 20)], (1, 0, 0)),
            ("memory", vec![Look(1, Running, 0, 10), OomEvent(1, 15), Died(1, 20), Oom(1, Exited, 0, 10)], (1, 0, 1)),
            ("memory by look", vec![Look(1, Running, 0, 10), Oom(1, Exited, 0, 10), OomEvent(1, 15)], (1, 0, 1)),
            ("memory of a child", vec![Look(1, Running, 0, 10), Kills(1), OomEvent(1, 15), Kills(2)], (0, 0, 2)),
            (
                "memory, twice",
                vec![
                    Look(1, Running, 0, 10),
                    OomEvent(1, 15),
                    Kills(1),
                    Died(1, 20),
                    Started(1, 30),
                    OomEvent(1, 15),
                    OomEvent(1, 35),
                    Look(1, Running, 1, 30),
                ],
                (1, 1, 2),
            ),
            (
                "memory, made anew",
                vec![Look(1, Running, 0, 10), Kills(2), Look(2, Running, 0, 30), Kills(1)],
                (1, 0, 3),
            ),
        ] {
            assert_eq!(told(&steps), wanted, "{what}");
        }
    }

    #[test]
    fn a_flood_between_two_looks_is_counted_whole_and_kept_small() {
        let mut lives = Lives::default();
        lives.look(&id(1), &facts(State::Running, 0, 10));
        for n in 0..10_000 {
            assert!(lives.died(&id(1), (20 + 10 * n) * MILLI) && lives.started(&id(1), (25 + 10 * n) * MILLI));
        }
        assert_eq!(lives.since.len(), MAX_EVENTS);
        lives.look(&id(1), &facts(State::Running, 10_000, 25 + 10 * 9_999));
        assert_eq!((lives.deaths(), lives.restarts()), (10_000, 10_000));
    }
}
