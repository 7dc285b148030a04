//! One target: the containers of a service, or one container by its name. Pure but for the reading of figures, which is
//! handed in.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::config::Config;
use super::facts::Facts;
use super::measure::Measure;
use super::slot::{Kept, Slot};
use super::verdict::{One, Verdict, World, judge};
use crate::base::{Batch, Failure, Labels, Outcome, Span, Timestamp};
use crate::source::common::{Common, Target, sample};
use crate::sys::engine::{Container, Event, Id};

/// The version of checkpoints. One that is newer is not used.
const VERSION: u32 = 1;

/// The longest checkpoint, in bytes; the store takes no longer one.
const MAX_CHECKPOINT: usize = 1 << 20;

/// The most names of a service that nobody has any more and whose totals are kept.
const MAX_GONE: usize = 32;

/// How long the first figures are waited for, where they come from the engine.
const FIRST_FIGURES: Span = Span::secs(3);

/// How often it is seen whether they are there.
const SEE_AGAIN: Span = Span::millis(100);

/// What a later process must know of a target.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Saved {
    v: u32,
    /// When it was written.
    t: Timestamp,
    names: BTreeMap<String, Kept>,
    /// Its series were ended: nothing of it was there any more.
    #[serde(default)]
    is_over: bool,
}

impl Saved {
    /// Reads a checkpoint.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn read(bytes: &[u8]) -> Result<Saved, String> {
        match serde_json::from_slice::<Saved>(bytes) {
            Ok(saved) if saved.v <= VERSION => Ok(saved),
            Ok(saved) => Err(format!("a newer version wrote it: {} instead of {VERSION}", saved.v)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Whether it was said that nothing of it is there.
    pub fn is_over(&self) -> bool {
        self.is_over
    }
}

/// What its table knows when a target is judged.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// Why the engine says nothing, and since when.
    pub down: Option<(&'a Failure, Timestamp)>,
    /// How long something may be missing.
    pub grace: Span,
    /// The digests of images by their ids.
    pub digests: &'a BTreeMap<String, Option<String>>,
}

/// A target.
#[derive(Debug)]
pub struct Service {
    target: Target,
    is_declared: bool,
    slots: BTreeMap<String, Slot>,
    /// Since when no container is there; nothing while one is, or the engine was not heard.
    missing_since: Option<Timestamp>,
    /// When its first container came, until something was said of it.
    began: Option<Timestamp>,
    /// When something was said of it last, by this process or one before.
    last_at: Option<Timestamp>,
    /// Whether this process said something of it.
    has_spoken: bool,
    /// The labels of what is told of the service as a whole.
    n_containers: Labels,
    running: Labels,
    healthy: Labels,
    /// When it is to be looked at without a tick or an event.
    pub recheck: Option<Timestamp>,
}

impl Service {
    /// The target `instance` of a table.
    pub fn new(config: &Config, instance: &str, is_declared: bool) -> Service {
        let common = &config.common;
        let service = instance.split_once('/').map_or(instance, |(_, service)| service);
        let service = if config.has_service { common.service.clone() } else { service.to_string() };
        let labels = common.labels.with("project", config.meant.project().unwrap_or_default());
        let target = Target::new(&Common { service, labels, ..common.clone() }, instance.into());
        Service {
            is_declared,
            slots: BTreeMap::new(),
            missing_since: None,
            began: None,
            last_at: None,
            has_spoken: false,
            n_containers: target.series("container_service_containers", &[]),
            running: target.series("container_running", &[]),
            healthy: target.series("container_healthy", &[]),
            recheck: None,
            target,
        }
    }

    /// Goes on with what an earlier process knew.
    pub fn resume(&mut self, saved: Saved) {
        self.last_at = Some(saved.t).filter(|_| !saved.is_over);
        for (name, kept) in saved.names {
            self.slots.entry(name.clone()).or_insert_with(|| Slot::new(&name, kept));
        }
    }

    /// What goes on.
    pub fn save(&self, now: Timestamp) -> Saved {
        let names = self.slots.iter().map(|(name, slot)| (name.clone(), slot.kept().clone())).collect();
        Saved { v: VERSION, t: now, names, is_over: false }
    }

    /// Whether it must be there.
    pub fn is_declared(&self) -> bool {
        self.is_declared
    }

    /// Whether something was said of it.
    pub fn was_told(&self) -> bool {
        self.last_at.is_some()
    }

    /// A container that was listed, or of which an event told; `is_new` when that is the event of its making.
    pub fn add(&mut self, name: &str, container: Container, is_new: bool, order: u64, now: Timestamp) {
        self.missing_since = None;
        self.began.get_or_insert(now);
        let slot = self.slots.entry(name.to_string()).or_insert_with(|| Slot::new(name, Kept::default()));
        slot.add(container, is_new, order, now);
    }

    /// A container is gone, or has another name.
    pub fn remove(&mut self, name: &str, id: &Id, is_renamed: bool, now: Timestamp) {
        if let Some(slot) = self.slots.get_mut(name) {
            slot.remove(id, is_renamed, now);
        }
        self.note_missing(now);
        self.forget_old_names();
    }

    /// The engine told of all containers that are there.
    pub fn listed(&mut self, now: Timestamp) {
        self.slots.values_mut().for_each(Slot::forget_unlisted);
        self.note_missing(now);
    }

    fn note_missing(&mut self, now: Timestamp) {
        if self.slots.values().all(Slot::is_empty) {
            self.missing_since.get_or_insert(now);
        }
    }

    fn forget_old_names(&mut self) {
        let mut gone: Vec<(Timestamp, String)> =
            self.slots.iter().filter(|(_, s)| s.is_empty()).map(|(name, s)| (s.gone_at, name.clone())).collect();
        gone.sort();
        for (_, name) in gone.iter().rev().skip(MAX_GONE) {
            self.slots.remove(name);
        }
    }

    /// What the engine says of a container; whether that is news.
    pub fn look(&mut self, name: &str, id: &Id, facts: Facts, is_old: bool) -> bool {
        self.slots.get_mut(name).is_some_and(|slot| slot.look(id, facts, is_old))
    }

    /// The engine says nothing of a container.
    pub fn fail(&mut self, name: &str, id: &Id, failure: Failure) {
        if let Some(slot) = self.slots.get_mut(name) {
            slot.fail(id, failure);
        }
    }

    /// Something happened to a container; whether that is news.
    pub fn take(&mut self, name: &str, event: &Event) -> bool {
        self.slots.get_mut(name).is_some_and(|slot| slot.take(event))
    }

    /// Its names.
    pub fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.values()
    }

    /// Whether it may be forgotten: nothing was ever said of it, and nobody is there.
    pub fn is_nothing(&self) -> bool {
        !self.is_declared && self.last_at.is_none() && self.slots.values().all(Slot::is_empty)
    }

    /// What is to be said of it now; whether it is over then. Takes `seconds` to have been read.
    pub fn tell(&mut self, now: Timestamp, around: &Around<'_>, measure: &mut dyn Measure) -> (Option<Batch>, bool) {
        self.recheck = None;
        let watch = crate::sys::clock::Stopwatch::start();
        self.slots.values_mut().for_each(|slot| slot.measure(measure));
        let is_coming = self.slots.values().any(Slot::is_coming);
        if is_coming && !self.has_spoken && self.began.is_some_and(|began| now < began + FIRST_FIGURES) {
            self.recheck = Some(now + SEE_AGAIN);
            return (None, false);
        }
        let ones: Vec<One<'_>> = self.slots.values().filter_map(Slot::one).collect();
        let world = World {
            now,
            grace: around.grace,
            is_declared: self.is_declared,
            missing_since: self.missing_since,
            down: around.down,
        };
        let n_there = ones.len();
        let outcome = match judge(&ones, &world) {
            Verdict::Nothing(until) => {
                // At the time itself or after, something else than time is waited for.
                self.recheck = Some(until).filter(|until| *until > now);
                return (None, false);
            }
            Verdict::Over => return (self.was_told().then(|| self.farewell(now)), true),
            Verdict::Good => Outcome::Good,
            Verdict::Failed(failure) => Outcome::Failed(failure),
        };
        let is_down = around.down.is_some();
        let mut samples = Vec::with_capacity(16 + 64 * n_there);
        let at = self.stamp(now);
        for slot in self.slots.values_mut() {
            slot.tell(&self.target, is_down, around.digests, at, &mut samples);
        }
        if !is_down {
            samples.push(sample(self.n_containers.clone(), n_there as f64));
        }
        if n_there == 0 && !is_down {
            samples.push(sample(self.running.clone(), 0.0));
            samples.push(sample(self.healthy.clone(), 0.0));
        }
        // What the engine does not say of it is no word about it.
        let mut batch = match outcome {
            Outcome::Failed(failure) if around.down.is_some_and(|(down, _)| *down == failure) => {
                self.target.blind(at, watch.seconds(), failure, samples)
            }
            outcome => self.target.batch(at, watch.seconds(), outcome, samples),
        };
        batch.checkpoint = self.checkpoint(self.save(now));
        (Some(batch), false)
    }

    /// The batch that ends all its series.
    fn farewell(&mut self, now: Timestamp) -> Batch {
        let at = self.stamp(now);
        let batch = self.target.batch(at, 0.0, Outcome::Good, Vec::new());
        let saved = Saved { is_over: true, ..self.save(now) };
        Batch { samples: Vec::new(), checkpoint: self.checkpoint(saved), ..batch }
    }

    /// Two batches never have the same time, or the store would keep only the first.
    fn stamp(&mut self, now: Timestamp) -> Timestamp {
        let at = self.last_at.map_or(now, |last| now.max(last + Span::millis(1)));
        // The clock was set back by more than a moment: time goes on from there.
        let at = if at > now + Span::secs(2) { now } else { at };
        (self.last_at, self.has_spoken) = (Some(at), true);
        at
    }

    fn checkpoint(&self, saved: Saved) -> Option<Arc<[u8]>> {
        match serde_json::to_vec(&saved) {
            Ok(bytes) if bytes.len() <= MAX_CHECKPOINT => Some(bytes.into()),
            Ok(bytes) => {
                let (instance, length) = (&self.target.instance, bytes.len());
                tracing::error!(%instance, length, "The totals of a service are too long to be kept over a restart.");
                None
            }
            Err(error) => {
                tracing::error!(instance = %self.target.instance, %error, "The totals of a service cannot be kept.");
                None
            }
        }
    }
}
