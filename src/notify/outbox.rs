//! What was decided to be told, until it was: a pure state machine.
//!
//! Enters: notices with the channels that exist ([`Outbox::decide`]), receipts of sending
//! ([`Outbox::receipt`]), the time ([`Outbox::overdue`], [`Outbox::take_due`]). Leaves: [`Event`]s, which the
//! caller journals and then hands to [`Outbox::apply`], and deliveries to send. The outbox is the fold of its
//! events and nothing else; what is in flight is not journaled, so after a crash exactly that is sent again,
//! with the same id.
//!
//! Events are applied before the next is asked for: they take their numbers from the state.
//!
//! Every delivery ends once: accepted, replaced by a newer state of the same thing, or given up for its
//! fallback. Order is kept within a channel and thread; other threads and channels never wait. Nothing here
//! fails: a receipt for a delivery that ended already, or never was, changes nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::story::{EventKind, Notice, Reason, Story};
use super::subscription::Subscription;
use crate::base::{Id, Level, Span, Timestamp};

/// A critical that its channel did not take for this long goes to the fallback as well.
pub const CRITICAL_PATIENCE: Span = Span::mins(5);
/// An attempt without a receipt for this long counts as failed. Every channel's own deadline is far below it.
pub const ATTEMPT_LIMIT: Span = Span::mins(2);
/// How many ended deliveries are remembered one by one.
pub const REMEMBERED: usize = 100;
/// How many alerts are remembered as told in red; past it a green may go to more channels than its red.
const MAX_TOLD: usize = 50_000;
const FIRST_RETRY: Span = Span::secs(1);
const LAST_RETRY: Span = Span::mins(5);
/// The longest error or answer that is kept, in bytes.
const MAX_SAID: usize = 300;

/// One message on its way to one channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// The identity that every attempt carries.
    pub id: Id,
    /// The number of `D-5521`; rises with each decision.
    pub number: u32,
    /// The channel: `email/team`.
    pub channel: String,
    /// What is told.
    pub notice: Notice,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// Why this channel gets it.
    pub because: String,
    /// Given up when it is not accepted this long after the decision.
    pub patience: Span,
    /// The channel that says so then.
    pub fallback: Option<String>,
    /// The delivery that did not arrive, when this is its fallback.
    pub instead_of: Option<Id>,
}

/// What happened to deliveries: the only thing that changes an outbox for good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A message will be sent.
    Decided {
        /// To whom, and what.
        delivery: Box<Delivery>,
    },
    /// The channel has it.
    Accepted {
        /// Which delivery.
        id: Id,
        /// When.
        at: Timestamp,
        /// Who took it: a server, a file.
        by: String,
        /// In which words.
        said: String,
    },
    /// An attempt failed and is repeated.
    Failed {
        /// Which delivery.
        id: Id,
        /// When.
        at: Timestamp,
        /// Why.
        error: String,
        /// Which attempt, from 1.
        attempt: u32,
        /// When the next is due.
        retry_at: Timestamp,
    },
    /// A newer state of the same thing is sent instead.
    Replaced {
        /// The older delivery.
        id: Id,
        /// The newer one.
        by: Id,
    },
    /// It did not arrive and is no longer tried.
    GaveUp {
        /// Which delivery.
        id: Id,
        /// When.
        at: Timestamp,
        /// Why.
        why: String,
        /// The delivery that says so on the fallback channel.
        fallback: Option<Id>,
    },
}

/// What a channel says after an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    /// Which delivery.
    pub id: Id,
    /// When.
    pub at: Timestamp,
    /// How it went.
    pub result: Sent,
}

/// How an attempt went, sorted by what follows from it.
#[derive(Clone, Debug, PartialEq)]
pub enum Sent {
    /// The other side has it.
    Accepted {
        /// Who took it: `smtp.example.org:465, 2 recipients`.
        by: String,
        /// In which words: `250 2.0.0 queued as 4F1A`.
        said: String,
    },
    /// It may work later.
    Retry {
        /// Why not now.
        error: String,
        /// The pause that the other side asks for.
        after: Option<Span>,
    },
    /// It never will.
    Refused {
        /// Why.
        why: String,
    },
}

/// An attempt that is due now.
#[derive(Clone, Debug, PartialEq)]
pub struct Sending {
    /// What to send.
    pub delivery: Delivery,
    /// Which attempt this is, from 1.
    pub attempt: u32,
}

/// What is known of one channel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Deliveries that it took.
    pub accepted: u64,
    /// Deliveries that a newer one replaced.
    pub replaced: u64,
    /// Deliveries that never arrived.
    pub gave_up: u64,
    /// When it last took one.
    pub accepted_at: Option<Timestamp>,
    /// Why the last attempt failed; none after a success.
    pub error: Option<String>,
}

/// A delivery that ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// Its identity.
    pub id: Id,
    /// The number of `D-5521`.
    pub number: u32,
    /// The channel.
    pub channel: String,
    /// The thread it belongs to.
    pub thread: String,
    /// The event that ended it.
    pub how: Event,
}

/// A delivery that has not ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// What and to whom.
    pub delivery: Delivery,
    /// Since when its news waits: a newer state waits since its older one did, so that news which changes
    /// every few minutes cannot put off its fallback for ever.
    pub since: Timestamp,
    /// When it is given up.
    pub deadline: Timestamp,
    /// Failed attempts.
    pub attempts: u32,
    /// Not tried before this.
    pub retry_at: Timestamp,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// The delivery on the fallback channel, once there is one.
    pub fallback: Option<Id>,
}

/// Every delivery that has not ended, and what is known of the channels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outbox {
    /// By number, which is the order of decisions; ids of one millisecond have none.
    waiting: BTreeMap<u32, Waiting>,
    last_number: u32,
    /// Channel, thread and topic of each alert whose trouble was told and whose end was not.
    told: BTreeSet<(String, String, u64)>,
    channels: BTreeMap<String, Summary>,
    ended: VecDeque<Ended>,
    /// Since when an attempt runs. Volatile: a restart ends all attempts.
    #[serde(skip)]
    in_flight: BTreeMap<u32, Timestamp>,
}

impl Outbox {
    /// An outbox in which nothing waits.
    pub fn new() -> Outbox {
        Outbox::default()
    }

    /// Decides which of `channels` get `notice`, and which unsent older messages it replaces.
    ///
    /// An end goes wherever its beginning went. An alert or rollback event that no channel takes goes to all.
    /// Without any channel nothing is decided. `random` makes the ids; at least 80 of its bits count.
    pub fn decide(&self, channels: &[Subscription], notice: &Notice, now: Timestamp, random: u128) -> Vec<Event> {
        let mut events = Vec::new();
        for (i, (channel, because)) in self.recipients(channels, notice).into_iter().enumerate() {
            let delivery = Delivery {
                id: Id::new(now, random.wrapping_add(i as u128)),
                number: self.last_number.saturating_add(1 + i as u32),
                channel: channel.name.clone(),
                notice: notice.clone(),
                decided_at: now,
                because,
                patience: channel.deadline,
                fallback: channel.fallback.clone().filter(|f| *f != channel.name),
                instead_of: None,
            };
            let replaced: Vec<Event> = self.replaced_by(&delivery).collect();
            events.push(Event::Decided { delivery: Box::new(delivery) });
            events.extend(replaced);
        }
        events
    }

    /// Changes the state by one event. Events about deliveries that ended, or never were, change nothing.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Decided { delivery } => self.begin(delivery),
            Event::Failed { id, error, attempt, retry_at, .. } => {
                let Some(number) = self.number_of(id) else { return };
                self.in_flight.remove(&number);
                if let Some(waiting) = self.waiting.get_mut(&number) {
                    waiting.attempts = *attempt;
                    waiting.retry_at = *retry_at;
                    waiting.error = Some(error.clone());
                    self.channels.entry(waiting.delivery.channel.clone()).or_default().error = Some(error.clone());
                }
            }
            Event::Replaced { id, by } => {
                let since = self.number_of(id).and_then(|n| self.waiting.get(&n)).map(|w| w.since);
                if let (Some(since), Some(newer)) = (since, self.number_of(by))
                    && let Some(newer) = self.waiting.get_mut(&newer)
                {
                    newer.since = newer.since.min(since);
                }
                self.end(id, event);
            }
            Event::Accepted { id, .. } | Event::GaveUp { id, .. } => self.end(id, event),
        }
    }

    /// Takes what may be sent now and marks it as in flight: of each channel and thread only the oldest.
    pub fn take_due(&mut self, now: Timestamp) -> Vec<Sending> {
        let due: Vec<u32> = self.heads().filter(|(_, at)| *at <= now).map(|(number, _)| number).collect();
        due.into_iter()
            .filter_map(|number| {
                let waiting = self.waiting.get(&number)?;
                self.in_flight.insert(number, now);
                Some(Sending { delivery: waiting.delivery.clone(), attempt: waiting.attempts.saturating_add(1) })
            })
            .collect()
    }

    /// What follows from a channel's answer.
    pub fn receipt(&self, receipt: &Receipt) -> Vec<Event> {
        let Some(number) = self.number_of(&receipt.id) else { return Vec::new() };
        let Some(waiting) = self.waiting.get(&number) else { return Vec::new() };
        let (id, at) = (receipt.id.clone(), receipt.at);
        match &receipt.result {
            Sent::Accepted { by, said } => {
                vec![Event::Accepted { id, at, by: bounded(by), said: bounded(said) }]
            }
            Sent::Refused { why } => self.give_up(waiting, at, why),
            // An attempt that was taken for lost may still answer; its failure is counted already.
            Sent::Retry { .. } if !self.in_flight.contains_key(&number) => Vec::new(),
            Sent::Retry { error, after } => vec![failed(waiting, at, error, *after)],
        }
    }

    /// What follows from the time alone: attempts without an answer, deadlines, criticals that wait too long.
    pub fn overdue(&self, now: Timestamp) -> Vec<Event> {
        let mut events = Vec::new();
        let mut numbers = self.last_number;
        for (number, waiting) in &self.waiting {
            let flying = self.in_flight.get(number);
            if flying.is_some_and(|since| *since + ATTEMPT_LIMIT <= now) {
                let error = format!("the channel gave no answer in {}", ATTEMPT_LIMIT.human());
                events.push(failed(waiting, now, &error, None));
            } else if flying.is_none() && waiting.deadline <= now {
                let why = format!("not delivered in {}", waiting.delivery.patience.human());
                events.extend(self.give_up_numbered(waiting, now, &why, &mut numbers));
            } else if self.is_due_to_fallback(waiting, now) {
                events.extend(fallback(waiting, now, "waits", &mut numbers));
            }
        }
        events
    }

    /// When [`Outbox::take_due`] or [`Outbox::overdue`] has something next; never before `now`.
    pub fn next_deadline(&self, now: Timestamp) -> Option<Timestamp> {
        let attempts = self.heads().map(|(_, at)| at);
        let limits = self.waiting.iter().flat_map(|(number, w)| {
            let limit = match self.in_flight.get(number) {
                Some(since) => *since + ATTEMPT_LIMIT,
                None => w.deadline,
            };
            let patience = self.wants_fallback(w).then_some(w.since + CRITICAL_PATIENCE);
            [Some(limit), patience]
        });
        attempts.chain(limits.flatten()).min().map(|at| at.max(now))
    }

    /// How long the oldest news waits, by channel; zero for a channel on which nothing waits.
    pub fn oldest(&self, now: Timestamp) -> BTreeMap<String, Span> {
        let mut oldest: BTreeMap<String, Span> = self.channels.keys().map(|c| (c.clone(), Span::ZERO)).collect();
        for waiting in self.waiting.values() {
            let age = oldest.entry(waiting.delivery.channel.clone()).or_default();
            *age = (*age).max(now - waiting.since);
        }
        oldest
    }

    /// Moves all times by a step of the clock, so that every deadline keeps its remaining time.
    pub fn shift(&mut self, by: Span) {
        for waiting in self.waiting.values_mut() {
            waiting.since += by;
            waiting.deadline += by;
            waiting.retry_at += by;
        }
        self.in_flight.values_mut().for_each(|since| *since += by);
    }

    /// Gives up what waits for channels that no longer exist (a new configuration): their fallback gets it, if
    /// that still exists.
    pub fn retire(&self, channels: &[Subscription], now: Timestamp) -> Vec<Event> {
        let exists = |name: &str| channels.iter().any(|c| c.name == name);
        let mut numbers = self.last_number;
        let mut events = Vec::new();
        for waiting in self.waiting.values().filter(|w| !exists(&w.delivery.channel)) {
            let mut waiting = waiting.clone();
            waiting.delivery.fallback = waiting.delivery.fallback.filter(|f| exists(f));
            events.extend(self.give_up_numbered(&waiting, now, "the channel was taken out", &mut numbers));
        }
        events
    }

    /// What has not ended, oldest first.
    pub fn waiting(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.values()
    }

    /// What is known of each channel that ever got something.
    pub fn channels(&self) -> &BTreeMap<String, Summary> {
        &self.channels
    }

    /// The last [`REMEMBERED`] deliveries that ended, oldest first.
    pub fn ended(&self) -> impl Iterator<Item = &Ended> {
        self.ended.iter()
    }

    fn recipients<'c>(&self, channels: &'c [Subscription], notice: &Notice) -> Vec<(&'c Subscription, String)> {
        let with = |because: &str, takes: &dyn Fn(&Subscription) -> bool| -> Vec<(&'c Subscription, String)> {
            channels.iter().filter(|c| takes(c)).map(|c| (c, because.to_string())).collect()
        };
        let mut found = Vec::new();
        if notice.green {
            found = with("it was told of the trouble", &|c| self.told.contains(&told_key(&c.name, notice)));
            if found.is_empty() {
                found = with("the end is told", &|c| c.events.contains(&notice.kind));
            }
        } else {
            found.extend(with(&reason(notice), &|c| c.takes(notice)));
        }
        if found.is_empty() && matches!(notice.kind, EventKind::Alert | EventKind::Rollback) {
            found = with("no channel asks for it, so all get it", &|_| true);
        }
        found
    }

    fn replaced_by(&self, delivery: &Delivery) -> impl Iterator<Item = Event> {
        self.waiting
            .iter()
            .filter(|(number, old)| {
                old.delivery.channel == delivery.channel
                    && !old.delivery.notice.settles
                    // The fallback's message says that another channel failed: no newer state says that.
                    && old.delivery.instead_of.is_none()
                    && delivery.notice.supersedes(&old.delivery.notice)
                    && !self.in_flight.contains_key(number)
            })
            .map(|(_, old)| Event::Replaced { id: old.delivery.id.clone(), by: delivery.id.clone() })
    }

    /// The oldest delivery of each channel and thread, unless it is in flight, with the time it may be tried.
    fn heads(&self) -> impl Iterator<Item = (u32, Timestamp)> {
        let mut seen = BTreeSet::new();
        self.waiting
            .iter()
            .filter(move |(_, w)| seen.insert((&w.delivery.channel, &w.delivery.notice.thread)))
            .filter(|(number, _)| !self.in_flight.contains_key(number))
            .map(|(number, w)| (*number, w.retry_at))
    }

    fn begin(&mut self, delivery: &Delivery) {
        self.last_number = self.last_number.max(delivery.number);
        self.channels.entry(delivery.channel.clone()).or_default();
        if let Some(parent) = delivery.instead_of.as_ref().and_then(|id| self.number_of(id))
            && let Some(parent) = self.waiting.get_mut(&parent)
        {
            parent.fallback = Some(delivery.id.clone());
        }
        self.note_told(delivery);
        let waiting = Waiting {
            delivery: delivery.clone(),
            since: delivery.decided_at,
            deadline: delivery.decided_at + delivery.patience,
            attempts: 0,
            retry_at: delivery.decided_at,
            error: None,
            fallback: None,
        };
        self.waiting.insert(delivery.number, waiting);
    }

    fn note_told(&mut self, delivery: &Delivery) {
        let notice = &delivery.notice;
        let key = told_key(&delivery.channel, notice);
        if notice.green {
            self.told.remove(&key);
        } else if notice.kind == EventKind::Alert && notice.level.is_some_and(|l| l > Level::Ok) {
            self.told.insert(key);
            if self.told.len() > MAX_TOLD {
                self.told.pop_first();
            }
        }
    }

    fn end(&mut self, id: &Id, how: &Event) {
        let Some(number) = self.number_of(id) else { return };
        self.in_flight.remove(&number);
        let Some(Waiting { delivery, .. }) = self.waiting.remove(&number) else { return };
        let summary = self.channels.entry(delivery.channel.clone()).or_default();
        match how {
            Event::Accepted { at, .. } => {
                summary.accepted += 1;
                summary.accepted_at = Some(*at);
                summary.error = None;
            }
            Event::GaveUp { why, .. } => {
                summary.gave_up += 1;
                summary.error = Some(why.clone());
            }
            _ => summary.replaced += 1,
        }
        let Delivery { id, number, channel, notice, .. } = delivery;
        self.ended.push_back(Ended { id, number, channel, thread: notice.thread, how: how.clone() });
        if self.ended.len() > REMEMBERED {
            self.ended.pop_front();
        }
    }

    fn give_up(&self, waiting: &Waiting, at: Timestamp, why: &str) -> Vec<Event> {
        self.give_up_numbered(waiting, at, why, &mut self.last_number.clone())
    }

    fn give_up_numbered(&self, waiting: &Waiting, at: Timestamp, why: &str, numbers: &mut u32) -> Vec<Event> {
        let mut events = Vec::new();
        let mut used = waiting.fallback.clone();
        // A newer state that waits on the same channel has a fallback of its own.
        if used.is_none() && (waiting.delivery.notice.settles || !self.has_newer(waiting)) {
            events.extend(fallback(waiting, at, why, numbers));
            used = events.iter().find_map(|e| match e {
                Event::Decided { delivery } => Some(delivery.id.clone()),
                _ => None,
            });
        }
        events.push(Event::GaveUp { id: waiting.delivery.id.clone(), at, why: bounded(why), fallback: used });
        events
    }

    fn has_newer(&self, waiting: &Waiting) -> bool {
        let newer = waiting.delivery.number.saturating_add(1)..;
        self.waiting.range(newer).any(|(_, other)| {
            other.delivery.channel == waiting.delivery.channel
                && other.delivery.notice.supersedes(&waiting.delivery.notice)
        })
    }

    fn wants_fallback(&self, waiting: &Waiting) -> bool {
        let delivery = &waiting.delivery;
        delivery.notice.is_critical()
            && delivery.fallback.is_some()
            && waiting.fallback.is_none()
            && !self.has_newer(waiting)
    }

    fn is_due_to_fallback(&self, waiting: &Waiting, now: Timestamp) -> bool {
        waiting.since + CRITICAL_PATIENCE <= now && self.wants_fallback(waiting)
    }

    fn number_of(&self, id: &Id) -> Option<u32> {
        self.waiting.iter().find(|(_, w)| w.delivery.id == *id).map(|(number, _)| *number)
    }
}

fn told_key(channel: &str, notice: &Notice) -> (String, String, u64) {
    (channel.to_string(), notice.thread.clone(), notice.topic())
}

/// Why a channel that asked for it gets it.
fn reason(notice: &Notice) -> String {
    match &notice.story {
        Story::Alert { reason, .. } => match reason {
            Reason::First => "first notice of this incident".into(),
            Reason::Escalated => "it got worse".into(),
            Reason::Deescalated => "it got better, and is not over".into(),
            Reason::Added => "it joined this incident".into(),
            Reason::Reminder => "nobody acknowledged it".into(),
        },
        Story::Test { .. } => "somebody tests this channel".into(),
        _ => format!("it takes {} events", notice.kind.as_str()),
    }
}

fn failed(waiting: &Waiting, at: Timestamp, error: &str, after: Option<Span>) -> Event {
    let id = waiting.delivery.id.clone();
    let attempt = waiting.attempts.saturating_add(1);
    let pause = backoff(&id, attempt).max(after.unwrap_or_default());
    let retry_at = (at + pause).min(waiting.deadline.max(at));
    Event::Failed { id, at, error: bounded(error), attempt, retry_at }
}

/// The message on the fallback channel, if there is one. Its own fallback is none: chains could be circles.
fn fallback(waiting: &Waiting, now: Timestamp, why: &str, numbers: &mut u32) -> Option<Event> {
    let failed = &waiting.delivery;
    let channel = failed.fallback.clone()?;
    *numbers = numbers.saturating_add(1);
    let said = waiting.error.as_deref().unwrap_or("no answer");
    let because = match why {
        "waits" => format!("{} has not taken it for {}: {said}", failed.channel, (now - waiting.since).human()),
        why => format!("{} did not take it (D-{}): {why}", failed.channel, failed.number),
    };
    let tail = (u128::from(hash(&failed.id, 1)) << 64) | u128::from(hash(&failed.id, 2));
    let delivery = Delivery {
        id: Id::new(now, tail),
        number: *numbers,
        channel,
        decided_at: now,
        because: bounded(&because),
        fallback: None,
        instead_of: Some(failed.id.clone()),
        ..failed.clone()
    };
    Some(Event::Decided { delivery: Box::new(delivery) })
}

/// The pause after a failed attempt: 1 s, doubling to 5 min, less up to a fifth by which deliveries differ, so
/// that those which failed together do not come back together.
fn backoff(id: &Id, attempt: u32) -> Span {
    let doubled = FIRST_RETRY.0.saturating_mul(1 << attempt.saturating_sub(1).min(20)).min(LAST_RETRY.0);
    let less = hash(id, attempt) % (doubled as u64 / 5 + 1);
    Span(doubled - less as i64)
}

/// FNV-1a 64 of an id and a number: the same in every run.
fn hash(id: &Id, salt: u32) -> u64 {
    let bytes = id.as_str().bytes().chain(salt.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3))
}

fn bounded(text: &str) -> String {
    super::render::clean(text, MAX_SAID)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::base::{Because, Labels, Quantity};

    const START: Timestamp = Timestamp(1_761_640_867_000);

    pub(crate) fn notice(thread: &str, rule: &str, level: Level) -> Notice {
        let because = Because {
            value: Some(Quantity::ratio(0.142)),
            counts: None,
            limit: "> 10%".into(),
            held: Span::mins(5),
            readings: 20,
            evidence: None,
            why: None,
            lines: Vec::new(),
        };
        let labels = Labels::new([("alertname", rule)]);
        let green = level == Level::Ok;
        let story = if green {
            Story::Resolved {
                incident_number: 118,
                rule: rule.into(),
                labels: labels.clone(),
                highest: Level::Critical,
                was: because,
                now: None,
                since: START,
                lasted: Span::mins(15),
                ended_by: None,
                gone: false,
            }
        } else {
            Story::Alert {
                incident_number: 118,
                reason: Reason::First,
                level,
                rule: rule.into(),
                labels: labels.clone(),
                because,
                since: START,
                also: vec![],
                deployed: None,
                next: None,
                asks: None,
                summary: String::new(),
                runbook: String::new(),
            }
        };
        Notice {
            thread: thread.into(),
            kind: EventKind::Alert,
            level: Some(level),
            green,
            settles: green,
            labels,
            at: START,
            app: "shop".into(),
            host: "web-1".into(),
            story,
        }
    }

    pub(crate) fn delivery() -> Delivery {
        Delivery {
            id: Id::new(START, 7),
            number: 5521,
            channel: "email/team".into(),
            notice: notice("I-118", "errors", Level::Critical),
            decided_at: START,
            because: "first notice of this incident".into(),
            patience: Span::hours(24),
            fallback: None,
            instead_of: None,
        }
    }

    fn channel(kind: &str, name: &str, change: impl FnOnce(&mut Subscription)) -> Subscription {
        let mut subscription = Subscription::new(kind, name);
        change(&mut subscription);
        subscription
    }

    /// An outbox with its clock, which applies what it says at once.
    struct Desk {
        outbox: Outbox,
        now: Timestamp,
        channels: Vec<Subscription>,
        random: u128,
        journal: Vec<Event>,
    }

    impl Desk {
        fn new(channels: Vec<Subscription>) -> Desk {
            Desk { outbox: Outbox::new(), now: START, channels, random: 0, journal: vec![] }
        }

        fn apply(&mut self, events: Vec<Event>) -> Vec<Event> {
            events.iter().for_each(|e| self.outbox.apply(e));
            self.journal.extend(events.iter().cloned());
            events
        }

        /// Decides and gives the channels that get it.
        fn tell(&mut self, notice: Notice) -> Vec<String> {
            self.random += 1000;
            let events = self.outbox.decide(&self.channels, &notice, self.now, self.random);
            names(&self.apply(events))
        }

        fn due(&mut self) -> Vec<Sending> {
            self.outbox.take_due(self.now)
        }

        fn answer(&mut self, sending: &Sending, result: Sent) -> Vec<Event> {
            let events = self.outbox.receipt(&Receipt { id: sending.delivery.id.clone(), at: self.now, result });
            self.apply(events)
        }

        fn pass(&mut self, span: Span) -> Vec<Event> {
            self.now += span;
            let events = self.outbox.overdue(self.now);
            self.apply(events)
        }
    }

    fn names(events: &[Event]) -> Vec<String> {
        events
            .iter()
            .filter_map(|e| match e {
                Event::Decided { delivery } => Some(delivery.channel.clone()),
                _ => None,
            })
            .collect()
    }

    fn accepted() -> Sent {
        Sent::Accepted { by: "server".into(), said: "250 ok".into() }
    }

    fn later(after: Option<Span>) -> Sent {
        Sent::Retry { error: "451 busy".into(), after }
    }

    fn refused() -> Sent {
        Sent::Refused { why: "550 no such mailbox".into() }
    }

    #[test]
    fn a_channel_gets_what_it_asks_for_and_what_nobody_takes_goes_to_all() {
        let all = vec![
            channel("email", "team", |c| c.level = Level::Critical),
            channel("log", "file", |c| c.events = BTreeSet::from([EventKind::Rollback])),
        ];
        for (level, wanted) in [(Level::Critical, vec!["email/team"]), (Level::Warning, vec!["email/team", "log/file"])]
        {
            assert_eq!(Desk::new(all.clone()).tell(notice("I-1", "errors", level)), wanted, "{level}");
        }
        let mut verdict = notice("watch", "errors", Level::Critical);
        verdict.kind = EventKind::Message;
        assert_eq!(Desk::new(all).tell(verdict), Vec::<String>::new());
        assert_eq!(Desk::new(vec![]).tell(notice("I-1", "errors", Level::Critical)), Vec::<String>::new());
    }

    #[test]
    fn the_end_of_an_alert_goes_where_its_begin_went() {
        let mut desk =
            Desk::new(vec![channel("email", "team", |c| c.level = Level::Critical), channel("log", "file", |_| {})]);
        assert_eq!(desk.tell(notice("I-1", "latency", Level::Warning)), ["log/file"]);
        assert_eq!(desk.tell(notice("I-1", "errors", Level::Critical)), ["email/team", "log/file"]);
        assert_eq!(desk.tell(notice("I-1", "latency", Level::Ok)), ["log/file"]);
        assert_eq!(desk.tell(notice("I-1", "errors", Level::Ok)), ["email/team", "log/file"]);
        assert!(desk.outbox.told.is_empty());
    }

    #[test]
    fn one_thread_keeps_its_order_and_no_thread_waits_for_another() {
        let mut desk = Desk::new(vec![channel("email", "team", |_| {})]);
        desk.tell(notice("I-1", "errors", Level::Critical));
        desk.tell(notice("I-1", "latency", Level::Warning));
        desk.tell(notice("I-2", "errors", Level::Critical));
        let due = desk.due();
        assert_eq!(due.iter().map(|s| s.delivery.number).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(desk.due(), vec![]);
        desk.answer(&due[0], later(None));
        assert_eq!(desk.due(), vec![], "the second message waits for the first one's retry");
        desk.pass(Span::secs(1));
        let again = desk.due();
        assert_eq!((again.len(), again[0].delivery.number, again[0].attempt), (1, 1, 2));
        assert_eq!(again[0].delivery.id, due[0].delivery.id);
        desk.answer(&again[0], refused());
        assert_eq!(desk.due()[0].delivery.number, 2, "a refusal for good steps aside");
    }

    #[test]
    fn a_newer_state_replaces_an_unsent_one_but_never_the_last_and_never_one_in_flight() {
        let mut desk = Desk::new(vec![channel("email", "team", |_| {})]);
        desk.tell(notice("I-1", "errors", Level::Warning));
        let flying = desk.due();
        desk.tell(notice("I-1", "errors", Level::Critical));
        desk.tell(notice("I-1", "latency", Level::Warning));
        desk.tell(notice("I-1", "errors", Level::Ok));
        let numbers = |desk: &Desk| desk.outbox.waiting().map(|w| w.delivery.number).collect::<Vec<_>>();
        assert_eq!(numbers(&desk), [1, 3, 4]);
        desk.tell(notice("I-1", "errors", Level::Warning));
        assert_eq!(numbers(&desk), [1, 3, 4, 5]);
        desk.answer(&flying[0], accepted());
        assert_eq!(desk.due()[0].delivery.number, 3);
    }

    #[test]
    fn a_critical_that_waits_goes_to_the_fallback_once_also_when_its_news_changes() {
        let mut desk = Desk::new(vec![
            channel("email", "team", |c| c.fallback = Some("log/file".into())),
            channel("log", "file", |c| c.events = BTreeSet::from([EventKind::Verdict])),
        ]);
        desk.tell(notice("I-1", "errors", Level::Critical));
        let first = desk.due();
        desk.answer(&first[0], later(Some(Span::hours(1))));
        assert_eq!(names(&desk.pass(Span::mins(4))), Vec::<String>::new());
        desk.tell(notice("I-1", "errors", Level::Critical));
        assert_eq!(names(&desk.pass(Span::mins(1))), ["log/file"]);
        assert_eq!(names(&desk.pass(Span::mins(60))), Vec::<String>::new());
        let because: Vec<&str> = desk.outbox.waiting().map(|w| w.delivery.because.as_str()).collect();
        assert_eq!(because, ["first notice of this incident", "email/team has not taken it for 5 min: no answer"]);
        assert_eq!(desk.tell(notice("I-1", "errors", Level::Ok)), ["email/team", "log/file"], "its green follows");
    }

    #[test]
    fn at_its_deadline_a_delivery_is_given_up_for_its_fallback() {
        let mut desk = Desk::new(vec![
            channel("email", "team", |c| c.fallback = Some("log/file".into())),
            channel("log", "file", |c| c.level = Level::Critical),
        ]);
        assert_eq!(desk.tell(notice("I-1", "errors", Level::Warning)), ["email/team"]);
        let sending = desk.due();
        let failed = desk.answer(&sending[0], later(Some(Span::hours(48))));
        let deadline = START + Span::hours(24);
        assert!(matches!(failed[0], Event::Failed { retry_at, .. } if retry_at == deadline), "{failed:?}");
        assert_eq!(desk.outbox.next_deadline(desk.now), Some(deadline));
        let events = desk.pass(Span::hours(24));
        assert_eq!(names(&events), ["log/file"]);
        let Event::GaveUp { why, fallback: Some(fallback), .. } = &events[1] else { panic!("{events:?}") };
        assert_eq!(why, "not delivered in 24 h");
        let sending = desk.due();
        assert_eq!(&sending[0].delivery.id, fallback);
        assert_eq!(sending[0].delivery.because, "email/team did not take it (D-1): not delivered in 24 h");
        let events = desk.answer(&sending[0], refused());
        assert!(matches!(&events[..], [Event::GaveUp { fallback: None, .. }]), "{events:?}");
        assert_eq!(desk.outbox.next_deadline(desk.now), None);
        assert_eq!(desk.outbox.channels()["email/team"].gave_up, 1);
    }

    #[test]
    fn pauses_double_up_to_five_minutes_and_differ_between_deliveries() {
        let pauses: Vec<i64> = (1..=12).map(|n| backoff(&delivery().id, n).0).collect();
        for (i, pause) in pauses.iter().enumerate() {
            let most = (1000 << i).min(300_000);
            assert!((most - most / 5..=most).contains(pause), "attempt {}: {pause}", i + 1);
        }
        let other = Id::new(START, 8);
        assert!((1..=12).any(|n| backoff(&other, n).0 != pauses[n as usize - 1]));
        assert_eq!(backoff(&other, u32::MAX).0, backoff(&other, u32::MAX).0);
    }

    #[test]
    fn an_attempt_without_an_answer_is_made_again_and_a_late_yes_still_counts() {
        let mut desk = Desk::new(vec![channel("email", "team", |_| {})]);
        desk.tell(notice("I-1", "errors", Level::Critical));
        let sending = desk.due();
        assert_eq!(desk.outbox.next_deadline(desk.now), Some(START + ATTEMPT_LIMIT));
        let events = desk.pass(ATTEMPT_LIMIT);
        assert!(matches!(&events[..], [Event::Failed { attempt: 1, .. }]), "{events:?}");
        assert_eq!(desk.answer(&sending[0], later(None)), vec![], "its failure is counted already");
        assert!(matches!(desk.answer(&sending[0], accepted())[..], [Event::Accepted { .. }]));
        assert_eq!(desk.answer(&sending[0], refused()), vec![], "what ended stays ended");
    }

    #[test]
    fn a_step_of_the_clock_leaves_every_deadline_its_remaining_time() {
        for by in [Span::hours(-30), Span::hours(30)] {
            let mut desk = Desk::new(vec![channel("email", "team", |_| {})]);
            desk.tell(notice("I-1", "errors", Level::Critical));
            let sending = desk.due();
            desk.answer(&sending[0], later(None));
            let before = desk.outbox.next_deadline(desk.now).unwrap();
            desk.outbox.shift(by);
            desk.now += by;
            assert_eq!(desk.outbox.next_deadline(desk.now), Some(before + by));
            assert_eq!(desk.pass(Span::ZERO), vec![]);
            assert_eq!(desk.outbox.oldest(desk.now)["email/team"], Span::ZERO);
        }
    }

    #[test]
    fn what_waits_for_a_channel_that_was_taken_out_goes_to_its_fallback() {
        let all = vec![
            channel("email", "team", |c| c.fallback = Some("log/file".into())),
            channel("email", "boss", |c| c.fallback = Some("email/team".into())),
            channel("log", "file", |c| c.events.clear()),
        ];
        let mut desk = Desk::new(all);
        desk.tell(notice("I-1", "errors", Level::Critical));
        let events = desk.outbox.retire(&desk.channels[2..], desk.now);
        assert_eq!(names(&desk.apply(events)), ["log/file"]);
        assert_eq!(desk.outbox.waiting().map(|w| w.delivery.number).collect::<Vec<_>>(), [3]);
        assert_eq!(desk.outbox.ended().count(), 2);
    }

    #[test]
    fn events_and_the_whole_state_survive_being_written_down() {
        let mut desk = Desk::new(vec![channel("email", "team", |_| {}), channel("log", "file", |_| {})]);
        desk.tell(notice("I-1", "errors", Level::Critical));
        let sending = desk.due();
        desk.answer(&sending[0], accepted());
        desk.answer(&sending[1], later(None));
        let text = serde_json::to_string(&desk.journal).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Event>>(&text).unwrap(), desk.journal);
        let text = serde_json::to_string(&desk.outbox).unwrap();
        assert_eq!(serde_json::from_str::<Outbox>(&text).unwrap(), desk.outbox);
    }

    /// A small generator of random numbers: the same in every run (SplitMix64).
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, below: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) % below
        }
    }

    /// What is journaled: events and steps of the clock.
    enum Record {
        Event(Event),
        Step(Span),
    }

    /// A world around an outbox that loses receipts, crashes and sets its clock.
    struct World {
        dice: Dice,
        outbox: Outbox,
        journal: Vec<Record>,
        now: Timestamp,
        flying: Vec<Sending>,
        channels: Vec<Subscription>,
        decided: BTreeMap<Id, Delivery>,
        ends: BTreeMap<Id, Event>,
    }

    impl World {
        fn new(seed: u64) -> World {
            let channels = vec![
                channel("email", "team", |c| c.fallback = Some("log/file".into())),
                channel("email", "boss", |c| {
                    c.level = Level::Critical;
                    c.deadline = Span::mins(20);
                    c.fallback = Some("email/team".into());
                }),
                channel("log", "file", |c| c.deadline = Span::hours(1)),
            ];
            World {
                dice: Dice(seed),
                outbox: Outbox::new(),
                journal: vec![],
                now: START,
                flying: vec![],
                channels,
                decided: BTreeMap::new(),
                ends: BTreeMap::new(),
            }
        }

        fn apply(&mut self, events: Vec<Event>) {
            for event in events {
                self.check(&event);
                self.outbox.apply(&event);
                self.journal.push(Record::Event(event));
            }
        }

        fn check(&mut self, event: &Event) {
            let id = match event {
                Event::Decided { delivery } => {
                    let before = self.decided.insert(delivery.id.clone(), (**delivery).clone());
                    assert!(before.is_none(), "an id is used once");
                    let fallbacks = self.decided.values().filter(|d| d.instead_of == delivery.instead_of).count();
                    assert!(delivery.instead_of.is_none() || fallbacks == 1, "one fallback for one delivery");
                    return;
                }
                Event::Failed { .. } => return,
                Event::Replaced { id, by } => {
                    let (old, new) = (&self.decided[id], &self.decided[by]);
                    assert!(!old.notice.settles && old.channel == new.channel && new.number > old.number);
                    assert!(self.flying.iter().all(|s| s.delivery.id != *id), "nothing in flight is replaced");
                    id
                }
                Event::Accepted { id, .. } => id,
                Event::GaveUp { id, fallback, .. } => {
                    let delivery = &self.decided[id];
                    let newer = self.outbox.waiting().any(|w| {
                        w.delivery.number > delivery.number
                            && w.delivery.channel == delivery.channel
                            && w.delivery.notice.supersedes(&delivery.notice)
                    });
                    let excused = delivery.fallback.is_none() || newer;
                    assert!(fallback.is_some() || excused, "a fallback says that it did not arrive");
                    assert!(fallback.as_ref().is_none_or(|f| self.decided.contains_key(f)));
                    id
                }
            };
            assert!(self.ends.insert(id.clone(), event.clone()).is_none(), "a delivery ends once");
        }

        fn send(&mut self) {
            for sending in self.outbox.take_due(self.now) {
                let delivery = &sending.delivery;
                assert!(self.flying.iter().all(|s| s.delivery.id != delivery.id), "in flight once");
                let older = self.outbox.waiting().any(|w| {
                    w.delivery.number < delivery.number
                        && (&w.delivery.channel, &w.delivery.notice.thread)
                            == (&delivery.channel, &delivery.notice.thread)
                });
                assert!(!older, "nothing older of its thread waits on its channel");
                self.flying.push(sending);
            }
        }

        fn answer(&mut self, result: impl FnOnce(&mut Dice) -> Sent) {
            if self.flying.is_empty() {
                return;
            }
            let i = self.dice.roll(self.flying.len() as u64) as usize;
            let sending = self.flying.swap_remove(i);
            let result = result(&mut self.dice);
            let events = self.outbox.receipt(&Receipt { id: sending.delivery.id, at: self.now, result });
            assert_eq!(events.len(), events.len().clamp(1, 2), "what is in flight has an answer's consequence");
            self.apply(events);
        }

        fn pass(&mut self, span: Span) {
            self.now += span;
            let events = self.outbox.overdue(self.now);
            // An attempt that counts as lost has no answer any more.
            let lost: Vec<Id> = events
                .iter()
                .filter_map(|e| if let Event::Failed { id, .. } = e { Some(id.clone()) } else { None })
                .collect();
            self.flying.retain(|s| !lost.contains(&s.delivery.id));
            self.apply(events);
        }

        fn crash(&mut self) {
            let mut again = Outbox::new();
            for record in &self.journal {
                match record {
                    Record::Event(event) => again.apply(event),
                    Record::Step(by) => again.shift(*by),
                }
            }
            let mut live = self.outbox.clone();
            live.in_flight.clear();
            assert_eq!(again, live, "the state is the fold of its journal");
            self.outbox = again;
            self.flying.clear();
        }

        fn act(&mut self) {
            match self.dice.roll(100) {
                0..25 => {
                    let thread = ["I-1", "I-2", "I-3"][self.dice.roll(3) as usize];
                    let rule = ["errors", "latency"][self.dice.roll(2) as usize];
                    let level = [Level::Ok, Level::Warning, Level::Critical][self.dice.roll(3) as usize];
                    let random = u128::from(self.dice.roll(u64::MAX)) << 16;
                    let events = self.outbox.decide(&self.channels, &notice(thread, rule, level), self.now, random);
                    assert!(!events.is_empty(), "an alert is told to somebody");
                    self.apply(events);
                }
                25..55 => self.send(),
                55..80 => self.answer(|dice| match dice.roll(10) {
                    0..5 => accepted(),
                    5..8 => later(None),
                    8 => later(Some(Span::secs(dice.roll(4000) as i64))),
                    _ => refused(),
                }),
                80..95 => {
                    let span = Span::millis(self.dice.roll(180_000) as i64);
                    self.pass(span);
                }
                95..97 => self.crash(),
                97..99 => {
                    let by = Span::secs(self.dice.roll(200_000) as i64 - 100_000);
                    self.outbox.shift(by);
                    self.now += by;
                    self.journal.push(Record::Step(by));
                }
                // A receipt is lost; only the time limit helps.
                _ => drop(self.flying.pop()),
            }
        }

        /// Everything is taken from now on; whoever follows the deadlines must reach the end.
        fn drain(&mut self) {
            for _ in 0..100_000 {
                self.send();
                while !self.flying.is_empty() {
                    self.answer(|_| accepted());
                }
                let Some(next) = self.outbox.next_deadline(self.now) else { break };
                self.pass(next - self.now);
            }
            assert_eq!(self.outbox.waiting().count(), 0, "nothing waits for ever");
            for (id, delivery) in &self.decided {
                assert!(self.ends.contains_key(id), "D-{} was lost", delivery.number);
            }
        }
    }

    #[test]
    fn nothing_decided_is_ever_lost_or_out_of_order() {
        let histories = std::env::var("BACKSTOP_HISTORIES").ok().and_then(|n| n.parse().ok()).unwrap_or(300u64);
        let mut reached = [0u64; 4];
        for seed in 0..histories {
            let history = std::panic::catch_unwind(|| {
                let mut world = World::new(seed);
                (0..300).for_each(|_| world.act());
                world.crash();
                world.drain();
                world.ends.into_values().collect::<Vec<_>>()
            });
            let Ok(ends) = history else { panic!("the history of seed {seed} broke a promise") };
            for end in ends {
                reached[match end {
                    Event::Accepted { .. } => 0,
                    Event::Replaced { .. } => 1,
                    Event::GaveUp { fallback: Some(_), .. } => 2,
                    _ => 3,
                }] += 1;
            }
        }
        assert!(reached.iter().all(|n| *n > histories), "the histories reach every end: {reached:?}");
    }
}
