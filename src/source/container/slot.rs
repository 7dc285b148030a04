//! One container name of a service: who has it now, and what goes on from one to the next. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::facts::Facts;
use super::lives::Lives;
use super::measure::{Measure, Reading};
use super::series::{Known, Series};
use super::totals::Totals;
use super::verdict::{One, Proof};
use crate::base::{Failure, Sample, Timestamp};
use crate::source::common::Target;
use crate::sys::engine::{Container, Event, Happened, Health, Id, State};

/// With this code ends whom the kernel killed.
const KILLED: i64 = 137;

/// What goes on, also over a restart of the agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// Ends and starts.
    pub lives: Lives,
    /// The kernel's counters.
    pub totals: Totals,
}

/// A container that has the name.
#[derive(Debug)]
struct There {
    container: Container,
    /// The place in which it was heard of.
    order: u64,
    since: Timestamp,
    /// It was heard of when it was made: nothing happened to it before.
    is_new: bool,
    /// It was started, as an event told.
    was_started: bool,
    facts: Option<Facts>,
    unread: Option<Failure>,
}

impl There {
    /// Whether it was ever started, for all that is known.
    fn has_run(&self) -> bool {
        match &self.facts {
            _ if self.was_started => true,
            Some(facts) => facts.started.is_some(),
            None => !self.is_new && self.container.state != State::Created,
        }
    }
}

/// One name.
#[derive(Debug)]
pub struct Slot {
    name: String,
    kept: Kept,
    /// More than one while a container is made anew.
    there: Vec<There>,
    series: Option<Series>,
    reading: Reading,
    /// When the last one went.
    pub gone_at: Timestamp,
}

impl Slot {
    /// A name of which this is known.
    pub fn new(name: &str, kept: Kept) -> Slot {
        Slot {
            name: name.into(),
            kept,
            there: Vec::new(),
            series: None,
            reading: Reading::default(),
            gone_at: Timestamp(0),
        }
    }

    /// What goes on.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Whether nobody has the name.
    pub fn is_empty(&self) -> bool {
        self.there.is_empty()
    }

    /// Everybody who has it.
    pub fn ids(&self) -> impl Iterator<Item = &Id> {
        self.there.iter().map(|there| &there.container.id)
    }

    /// The process whose figures are those of the name, where it lives.
    pub fn image_id(&self) -> Option<&str> {
        Some(self.now()?.facts.as_ref()?.image_id.as_str()).filter(|id| !id.is_empty())
    }

    /// Whether its health check says something else soon: then it is asked again before an event says so.
    pub fn is_restless(&self) -> bool {
        let facts = self.now().and_then(|there| there.facts.as_ref());
        facts.is_some_and(|facts| facts.state == State::Running && matches!(facts.health, Some(Health::Unhealthy)))
    }

    /// A container that was listed, or of which an event told; `is_new` when that is the event of its making.
    pub fn add(&mut self, container: Container, is_new: bool, order: u64, now: Timestamp) {
        match self.there.iter_mut().find(|there| there.container.id == container.id) {
            // Of an event its age is not known.
            Some(there) if container.created == 0 => there.container.name = container.name,
            Some(there) => there.container = container,
            None => self.there.push(There {
                container,
                order,
                since: now,
                is_new,
                was_started: false,
                facts: None,
                unread: None,
            }),
        }
        self.settle();
    }

    /// It is gone, or has another name.
    pub fn remove(&mut self, id: &Id, is_renamed: bool, now: Timestamp) {
        self.there.retain(|there| there.container.id != *id);
        match self.kept.lives.id() == Some(id) {
            true if is_renamed => self.kept.lives.left(),
            true => self.kept.lives.gone(),
            false => {}
        }
        self.gone_at = now;
        self.settle();
    }

    /// Whoever was counted and is not there any more is gone: the engine told who is there.
    pub fn forget_unlisted(&mut self) {
        if self.kept.lives.id().is_some_and(|id| !self.ids().any(|there| there == id)) {
            self.kept.lives.gone();
        }
    }

    /// What the engine says; `is_old` when something happened since it was asked. Whether that is news.
    pub fn look(&mut self, id: &Id, facts: Facts, is_old: bool) -> bool {
        let is_now = self.now().is_some_and(|there| there.container.id == *id);
        let Some(there) = self.there.iter_mut().find(|there| there.container.id == *id) else { return false };
        there.unread = None;
        let before = there.facts.clone();
        if is_now && self.kept.lives.id() == Some(id) {
            self.kept.lives.look(id, &facts);
        }
        if !is_old || there.facts.is_none() {
            there.facts = Some(facts);
        }
        let is_news = there.facts != before;
        self.settle();
        is_news
    }

    /// The engine does not say.
    pub fn fail(&mut self, id: &Id, failure: Failure) {
        if let Some(there) = self.there.iter_mut().find(|there| there.container.id == *id) {
            there.unread = Some(failure);
        }
    }

    /// Something happened. Whether that is news.
    pub fn take(&mut self, event: &Event) -> bool {
        let id = &event.container.id;
        let Some(i) = self.there.iter().position(|there| there.container.id == *id) else { return false };
        let is_first_start = event.happened == Happened::Started && !self.there[i].has_run();
        if is_first_start {
            // It takes the name over.
            (self.there[i].container.is_running, self.there[i].was_started) = (true, true);
            if let Some(facts) = &mut self.there[i].facts {
                facts.state = State::Running;
            }
            self.settle();
        }
        if event.happened == Happened::Died {
            self.there[i].container.is_running = false;
        }
        let lives = &mut self.kept.lives;
        let is_counted = lives.id() == Some(id);
        let at = event.at;
        let is_counted_now = match event.happened {
            Happened::Died => lives.died(id, at),
            Happened::Started => lives.started(id, at),
            Happened::Oom => lives.ran_out_of_memory(id, event.at),
            _ => false,
        };
        let is_news = match &mut self.there[i].facts {
            Some(facts) => change(facts, event, is_counted, is_counted_now),
            None => is_counted_now,
        };
        self.settle();
        is_news
    }

    /// Reads what the kernel says, where it lives.
    pub fn measure(&mut self, measure: &mut dyn Measure) {
        self.reading.clear();
        let now = current(&self.there);
        let Some((there, facts)) = now.and_then(|there| Some((there, there.facts.as_ref()?))) else { return };
        if !matches!(facts.state, State::Running | State::Paused) {
            return;
        }
        let (id, Some(pid)) = (&there.container.id, facts.pid) else { return };
        measure.read(id, pid, facts.has_host_network, &mut self.reading);
        if self.reading.has_figures {
            let life = (id.clone(), facts.started);
            self.kept.totals.read(&life, &self.reading.figures, &self.reading.interfaces);
            if self.kept.lives.id() == Some(id) {
                self.kept.lives.kills(self.reading.figures.oom_kills.unwrap_or(0));
            }
        }
    }

    /// Whether the kernel will say something in a moment.
    pub fn is_coming(&self) -> bool {
        self.reading.is_coming
    }

    /// Whether it lives and cannot be measured.
    pub fn is_unmeasured(&self) -> bool {
        let lives =
            self.now().and_then(|there| there.facts.as_ref()).is_some_and(|facts| facts.state == State::Running);
        lives && !self.reading.has_figures
    }

    /// As it is judged.
    pub fn one(&self) -> Option<One<'_>> {
        let there = self.now()?;
        let code = there.facts.as_ref().map(|facts| facts.exit_code);
        Some(One {
            name: &self.name,
            facts: there.facts.as_ref(),
            since: there.since,
            unread: there.unread.as_ref(),
            is_oom: self.kept.lives.is_oom() && code == Some(KILLED),
            proof: self.reading.proof,
        })
    }

    /// Adds its series to `samples`. `is_down` when the engine does not answer: only what the kernel proves is certain then.
    pub fn tell(
        &mut self,
        target: &Target,
        is_down: bool,
        digests: &BTreeMap<String, Option<String>>,
        at: Timestamp,
        samples: &mut Vec<Sample>,
    ) {
        let Some((there, facts)) = current(&self.there).and_then(|there| Some((there, there.facts.as_ref()?))) else {
            return;
        };
        let is_alive = matches!(facts.state, State::Running | State::Paused);
        let is_dead = is_down && is_alive && self.reading.proof == Proof::Dead;
        let ended = Facts { state: State::Exited, ..facts.clone() };
        let lives = &self.kept.lives;
        let is_oom = lives.is_oom() && !is_alive && facts.exit_code == KILLED;
        let known = Known {
            id: &there.container.id,
            facts: if is_dead { &ended } else { facts },
            digest: digests.get(&facts.image_id).and_then(Option::as_deref),
            counted: (lives.deaths(), lives.restarts(), lives.ooms()),
            is_oom,
            figures: Some(&self.reading.figures).filter(|_| self.reading.has_figures),
            is_certain: !is_down || !is_alive || self.reading.proof != Proof::Unseen,
            at,
        };
        let series = self.series.get_or_insert_with(|| Series::new(target, &self.name));
        series.tell(target, &known, &self.kept.totals, samples);
    }

    fn now(&self) -> Option<&There> {
        current(&self.there)
    }

    /// Whoever has the name now is the one that counts.
    fn settle(&mut self) {
        let Some(there) = current(&self.there).filter(|there| self.kept.lives.id() != Some(&there.container.id)) else {
            return;
        };
        match &there.facts {
            // What an event began, that event is counted for.
            Some(facts) if facts.started.is_none() => self.kept.lives.made(&there.container.id),
            Some(facts) => self.kept.lives.look(&there.container.id, facts),
            None if there.is_new => self.kept.lives.made(&there.container.id),
            None => {}
        }
    }
}

/// Changes what is known of a container by an event; whether that is news. An event that is not counted although its
/// container's are is of before what is known.
fn change(facts: &mut Facts, event: &Event, is_counted: bool, is_counted_now: bool) -> bool {
    let is_alive = matches!(facts.state, State::Running | State::Paused);
    match event.happened {
        Happened::Died if is_counted_now || (!is_counted && is_alive) => {
            (facts.state, facts.pid) = (State::Exited, None);
            facts.exit_code = event.exit_code.unwrap_or(facts.exit_code);
            true
        }
        Happened::Started if is_counted_now => {
            (facts.state, facts.pid, facts.is_oom_killed) = (State::Running, None, false);
            // Some moments late; the look that follows has it right.
            facts.started = Some(Timestamp(event.at / 1_000_000));
            facts.health = facts.health.map(|_| Health::Starting);
            true
        }
        Happened::Health if is_alive && event.health.is_some() => {
            std::mem::replace(&mut facts.health, event.health) != event.health
        }
        Happened::Paused if facts.state == State::Running => {
            facts.state = State::Paused;
            true
        }
        Happened::Unpaused if facts.state == State::Paused => {
            facts.state = State::Running;
            true
        }
        _ => is_counted_now,
    }
}

/// Of several the one that runs, then one that ran, then the youngest; an event does not tell how old one is, so it is.
fn current(there: &[There]) -> Option<&There> {
    there.iter().max_by_key(|there| {
        let runs = match &there.facts {
            Some(facts) => facts.state.is_running(),
            None => there.container.is_running,
        };
        let created = if there.container.created == 0 { i64::MAX } else { there.container.created };
        (runs, there.has_run(), created, there.order)
    })
}
