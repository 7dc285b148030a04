//! All that a table means: which containers there are, what is asked about them, and what is said when. Pure but for the
//! reading of figures, which is handed in.
//!
//! Enters: [`News`] of the engine, time. Leaves: questions to the engine, and batches: one of each target at each tick, and
//! one at once of a target to which something happened.

use std::collections::{BTreeMap, BTreeSet};

use super::config::Config;
use super::facts::Facts;
use super::looks::{Ask, Looks};
use super::meant::Place;
use super::measure::Measure;
use super::service::{Around, Saved, Service};
use super::slot::Slot;
use super::whole::Whole;
use crate::base::{Batch, Failure, Span, Timestamp};
use crate::sys::engine::{Container, Event, Happened, Id, Info};

/// The most targets of one table.
pub const MAX_SERVICES: usize = 200;

/// The most containers of one table.
pub const MAX_CONTAINERS: usize = 512;

/// The most images whose digests are known at once.
const MAX_IMAGES: usize = 256;

/// The most targets whose totals are kept when they are gone.
const MAX_RESUMABLE: usize = 64;

/// How many batches a second may come because something happened, over a while; also how many in one go.
const EVENTS_A_SECOND: i64 = 20;

/// How often a container whose health check fails is asked about.
const RESTLESS: Span = Span::secs(5);

/// What comes from the engine.
#[derive(Clone, Debug)]
pub enum News {
    /// It answers.
    Up(Info),
    /// All containers that are meant, how many more there are or could not be read, and when that was asked for, in
    /// nanoseconds since 1970.
    List(Vec<Container>, usize, i64),
    /// Something happened to one that is meant, or may be.
    Event(Event),
    /// It does not answer, because of this; it is tried again.
    Down(Failure),
    /// What is known of a container; nothing where it is not there.
    Container(Id, Result<Option<Box<Facts>>, Failure>),
    /// A digest of an image; nothing where it has none.
    Image(String, Option<String>),
}

/// All that a table means.
#[derive(Debug)]
pub struct Fleet {
    config: Config,
    services: BTreeMap<String, Service>,
    places: BTreeMap<Id, Place>,
    looks: Looks,
    whole: Whole,
    digests: BTreeMap<String, Option<String>>,
    resumable: BTreeMap<String, Saved>,
    /// To what something happened: it is said at once, so many times a second.
    due: BTreeSet<String>,
    /// What is said because it is time.
    ticked: BTreeSet<String>,
    next_tick: Option<Timestamp>,
    next_restless: Timestamp,
    /// When as many batches as may come at once could come.
    full_at: Timestamp,
    n_heard: u64,
    /// When the last list was asked for, in nanoseconds since 1970.
    listed_at: i64,
    /// A list is needed: something has another name.
    wants_list: bool,
}

impl Fleet {
    /// What a table means; nothing is known so far.
    pub fn new(config: Config) -> Fleet {
        let declared = config.meant.declared();
        let whole = Whole::new(&config, &declared);
        let services = declared.iter().map(|name| (name.clone(), Service::new(&config, name, true))).collect();
        Fleet {
            config,
            services,
            places: BTreeMap::new(),
            looks: Looks::default(),
            whole,
            digests: BTreeMap::new(),
            resumable: BTreeMap::new(),
            due: BTreeSet::new(),
            ticked: BTreeSet::new(),
            next_tick: None,
            next_restless: Timestamp(0),
            full_at: Timestamp(0),
            n_heard: 0,
            listed_at: 0,
            wants_list: false,
        }
    }

    /// Goes on at the checkpoint of a target.
    pub fn resume(&mut self, instance: &str, saved: Saved) {
        let has_room = self.services.len() < MAX_SERVICES && instance != self.whole.instance();
        match self.services.get_mut(instance) {
            Some(service) => service.resume(saved),
            // It may be gone: then that is to be said.
            None if has_room && !saved.is_over() => {
                let mut service = Service::new(&self.config, instance, false);
                service.resume(saved);
                self.services.insert(instance.to_string(), service);
            }
            None if self.resumable.len() < MAX_SERVICES => drop(self.resumable.insert(instance.to_string(), saved)),
            None => {}
        }
    }

    /// Takes what the engine tells.
    pub fn take(&mut self, news: News, now: Timestamp) {
        match news {
            News::Up(info) => {
                self.whole.up(info);
            }
            News::List(containers, n_left_out, at) => {
                self.listed_at = at;
                self.list(containers, n_left_out, now);
            }
            News::Event(event) => self.event(&event, now),
            News::Down(failure) => {
                self.looks.clear();
                self.whole.fall(failure, now);
                // Every word from now on rests on what the kernel proves.
                self.all_are_due();
            }
            News::Container(id, answer) => self.answer(&id, answer, now),
            News::Image(id, digest) => {
                self.looks.answered(&Ask::Image(id.clone()));
                if self.digests.len() == MAX_IMAGES {
                    let used: BTreeSet<&str> = self.slots().filter_map(Slot::image_id).collect();
                    let unused = self.digests.keys().find(|id| !used.contains(id.as_str())).cloned();
                    unused.map(|id| self.digests.remove(&id));
                }
                if self.digests.len() < MAX_IMAGES {
                    self.digests.insert(id, digest);
                }
            }
        }
    }

    /// Whether the list of containers is needed again; it is asked for once.
    pub fn wants_list(&mut self) -> bool {
        std::mem::take(&mut self.wants_list)
    }

    /// The next question to the engine, to be asked now.
    pub fn ask(&mut self, now: Timestamp) -> Option<Ask> {
        self.looks.next(now)
    }

    /// When something is due without news.
    pub fn due(&self, now: Timestamp) -> Timestamp {
        let tick = self.next_tick.unwrap_or(now).min(now + self.config.common.interval);
        let rechecks = self.services.values().filter_map(|service| service.recheck).min();
        let said = (!self.due.is_empty()).then(|| self.may_at().max(now));
        let said = if self.ticked.is_empty() { said } else { Some(now) };
        [Some(tick), rechecks, said, self.looks.due(now)].into_iter().flatten().fold(tick, Timestamp::min)
    }

    /// The next batch that is due; nothing when all is said.
    pub fn pop(&mut self, now: Timestamp, measure: &mut dyn Measure) -> Option<Batch> {
        self.tick(now, measure);
        loop {
            let instance = match self.due.pop_first() {
                Some(instance) if self.may(now) => instance,
                early => {
                    self.due.extend(early);
                    self.ticked.pop_first()?
                }
            };
            self.due.remove(&instance);
            self.ticked.remove(&instance);
            if let Some(batch) = self.tell(&instance, now, measure) {
                return Some(batch);
            }
        }
    }

    /// What everything would say now, each target once.
    pub fn all(&mut self, now: Timestamp, measure: &mut dyn Measure) -> Vec<Batch> {
        let instances: Vec<String> = self.services.keys().cloned().chain([self.whole.instance().to_string()]).collect();
        instances.iter().filter_map(|instance| self.tell(instance, now, measure)).collect()
    }

    /// Whether everything that is there was asked about.
    pub fn is_settled(&self) -> bool {
        self.whole.was_heard()
            && self.slots().filter_map(Slot::one).all(|one| one.facts.is_some() || one.unread.is_some())
    }

    /// Whether figures of something are on their way.
    pub fn waits_for_figures(&self) -> bool {
        self.slots().any(Slot::is_coming)
    }

    fn tick(&mut self, now: Timestamp, measure: &mut dyn Measure) {
        let interval = self.config.common.interval;
        // The clock may have been set meanwhile.
        let next = self.next_tick.unwrap_or(now).min(now + interval);
        if next <= now {
            let next = next + interval;
            self.next_tick = Some(if next <= now { now + interval } else { next });
            self.all_are_due();
            let places = &self.places;
            measure.keep(&|id| places.contains_key(id));
            if self.next_restless <= now || self.next_restless > now + RESTLESS {
                self.next_restless = now + RESTLESS;
                let restless = self.slots().filter(|slot| slot.is_restless()).flat_map(Slot::ids);
                let asks: Vec<Ask> = restless.cloned().map(Ask::Container).collect();
                asks.into_iter().for_each(|ask| self.looks.want(ask));
            }
        }
        let late = self.services.iter().filter(|(_, service)| service.recheck.is_some_and(|at| at <= now));
        self.ticked.extend(late.map(|(name, _)| name.clone()));
    }

    fn all_are_due(&mut self) {
        self.ticked.extend(self.services.keys().cloned());
        self.ticked.insert(self.whole.instance().to_string());
    }

    fn may_at(&self) -> Timestamp {
        self.full_at - Span::secs(1) + Span::millis(1000 / EVENTS_A_SECOND)
    }

    /// Whether one more batch may come now; takes it as said.
    fn may(&mut self, now: Timestamp) -> bool {
        // The clock may have been set back.
        self.full_at = self.full_at.min(now + Span::secs(1));
        let may = self.may_at() <= now;
        if may {
            self.full_at = self.full_at.max(now) + Span::millis(1000 / EVENTS_A_SECOND);
        }
        may
    }

    fn tell(&mut self, instance: &str, now: Timestamp, measure: &mut dyn Measure) -> Option<Batch> {
        if instance == self.whole.instance() {
            let n_unmeasured = self.slots().filter(|slot| slot.is_unmeasured()).count();
            return self.whole.tell(now, n_unmeasured);
        }
        let service = self.services.get_mut(instance)?;
        let around = Around { down: self.whole.down(), grace: self.config.grace, digests: &self.digests };
        let (batch, is_over) = service.tell(now, &around, measure);
        if is_over && let Some(service) = self.services.remove(instance) {
            if self.resumable.len() == MAX_RESUMABLE {
                self.resumable.pop_first();
            }
            self.resumable.insert(instance.to_string(), service.save(now));
        }
        batch
    }

    fn list(&mut self, containers: Vec<Container>, n_left_out: usize, now: Timestamp) {
        self.whole.listed(n_left_out);
        let there: BTreeSet<Id> = containers.iter().map(|container| container.id.clone()).collect();
        let gone: Vec<Id> = self.places.keys().filter(|id| !there.contains(id)).cloned().collect();
        // Who takes over a name is known before the one that had it is forgotten.
        for container in containers {
            self.add(container, false, now);
        }
        gone.iter().for_each(|id| self.remove(id, false, now));
        self.services.values_mut().for_each(|service| service.listed(now));
        let asks: Vec<Ask> = self.places.keys().cloned().map(Ask::Container).collect();
        asks.into_iter().for_each(|ask| self.looks.want(ask));
        self.all_are_due();
    }

    fn event(&mut self, event: &Event, now: Timestamp) {
        let id = &event.container.id;
        match event.happened {
            Happened::Renamed => self.wants_list = true,
            Happened::Destroyed => self.remove(id, false, now),
            // One that is not known yet was made before anybody listened, or its name was not meant.
            // What was made before the list and is not in it is gone.
            Happened::Created | Happened::Started if !self.places.contains_key(id) && event.at >= self.listed_at => {
                self.add(event.container.clone(), event.happened == Happened::Created, now);
            }
            _ => {}
        }
        let Some(place) = self.places.get(id) else { return };
        let is_news = self.services.get_mut(&place.instance).is_some_and(|service| service.take(&place.name, event));
        if is_news {
            self.due.insert(place.instance.clone());
        }
        self.looks.want(Ask::Container(id.clone()));
    }

    fn add(&mut self, container: Container, is_new: bool, now: Timestamp) {
        let id = container.id.clone();
        let Some(place) = self.config.meant.place(&container) else {
            // It had another name once.
            return self.remove(&id, true, now);
        };
        if self.places.get(&id).is_some_and(|before| *before != place) {
            self.remove(&id, true, now);
        }
        let is_first = !self.services.contains_key(&place.instance);
        let has_room = self.places.len() < MAX_CONTAINERS || self.places.contains_key(&id);
        if !has_room || (is_first && self.services.len() == MAX_SERVICES) {
            return self.whole.leave_out(1);
        }
        if is_first {
            let mut service = Service::new(&self.config, &place.instance, false);
            self.resumable.remove(&place.instance).into_iter().for_each(|saved| service.resume(saved));
            self.services.insert(place.instance.clone(), service);
        }
        self.n_heard += 1;
        let order = self.n_heard;
        if let Some(service) = self.services.get_mut(&place.instance) {
            service.add(&place.name, container, is_new, order, now);
        }
        self.places.insert(id, place);
    }

    fn remove(&mut self, id: &Id, is_renamed: bool, now: Timestamp) {
        self.looks.forget(&Ask::Container(id.clone()));
        let Some(place) = self.places.remove(id) else { return };
        let Some(service) = self.services.get_mut(&place.instance) else { return };
        service.remove(&place.name, id, is_renamed, now);
        if service.is_nothing() {
            let kept = self.services.remove(&place.instance).map(|service| service.save(now));
            kept.into_iter().for_each(|kept| drop(self.resumable.insert(place.instance.clone(), kept)));
        } else {
            self.due.insert(place.instance);
        }
    }

    fn answer(&mut self, id: &Id, answer: Result<Option<Box<Facts>>, Failure>, now: Timestamp) {
        let ask = Ask::Container(id.clone());
        self.looks.answered(&ask);
        let Some(place) = self.places.get(id).cloned() else { return };
        let Some(service) = self.services.get_mut(&place.instance) else { return };
        match answer {
            Ok(Some(facts)) => {
                let is_old = self.looks.is_wanted(&ask);
                let image =
                    Some(&facts.image_id).filter(|id| !id.is_empty() && !self.digests.contains_key(*id)).cloned();
                if service.look(&place.name, id, *facts, is_old) {
                    self.due.insert(place.instance);
                }
                image.into_iter().for_each(|id| self.looks.want(Ask::Image(id)));
            }
            Ok(None) => self.remove(id, false, now),
            Err(failure) => {
                service.fail(&place.name, id, failure);
                // When it is there again, all are asked about.
                if self.whole.down().is_none() {
                    self.looks.want_later(ask, now);
                }
            }
        }
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.services.values().flat_map(Service::slots)
    }
}
