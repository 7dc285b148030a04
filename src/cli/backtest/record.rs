//! What happened in a replay: a rule at a time, and in the order of time.
//!
//! Enters: everything that the engine journals, sends and sees. Leaves: what a report is made of. Bounded: counts go on when
//! lists are full.

use std::collections::BTreeMap;

use super::super::replay::Witness;
use super::super::show;
use super::looks::Target;
use super::nearest::Watcher;
use super::periods::Periods;
use super::rollbacks::Rollbacks;
use crate::base::{Batch, Labels, Level, Outcome, Span, Timestamp};
use crate::engine::{Engine, Event};
use crate::notify::outbox::Sending;
use crate::notify::render;
use crate::rule::{Change, Rule, Transition};
use crate::watch;

/// The most entries of a timeline; the others are counted.
const MOST: usize = 10_000;

/// The most gaps of one target that are kept.
const MOST_GAPS: usize = 100;

/// What an entry of the timeline is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A rule's level.
    Level,
    /// A criterion that is due.
    Due,
    /// What would have been sent.
    Told,
    /// A deployment, and the verdict about it.
    Deployment,
    /// What would have been taken back.
    Rollback,
}

impl Kind {
    /// The word for machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Level => "level",
            Kind::Due => "due",
            Kind::Told => "told",
            Kind::Deployment => "deployment",
            Kind::Rollback => "rollback",
        }
    }
}

/// One line of the timeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// What it is about.
    pub kind: Kind,
    /// The rule, where it is about one.
    pub rule: Option<String>,
    /// As people read it.
    pub text: String,
}

/// One rule in the replay.
#[derive(Debug)]
pub struct RuleRecord {
    /// Its name.
    pub name: String,
    /// When it fired.
    pub periods: Periods,
    /// How near it came; none of an alert of Prometheus, whose limit is part of its expression.
    pub watcher: Option<Watcher>,
    /// How often its criterion became due, and when first.
    pub due: (u64, Option<Timestamp>),
    /// For how long it had no data.
    pub no_data: Span,
    /// How it could not be evaluated: when first, and why.
    pub failed: Option<(Timestamp, String)>,
    /// Whether it was evaluated at all.
    pub evaluated: bool,
    /// The longest time for which an alert was pending and did not fire, with the time it needs; of an alert of Prometheus.
    pub pending: Option<(Span, Span)>,
    blind_since: Option<Timestamp>,
}

/// How a target was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The first look.
    pub first: Timestamp,
    /// The last look.
    pub last: Timestamp,
    /// How many looks.
    pub looks: u64,
    /// How many of them failed.
    pub failed: u64,
    /// Times without a look: from, to.
    pub gaps: Vec<(Timestamp, Timestamp)>,
    /// How long all of them were.
    pub blind: Span,
}

/// Everything that happened.
#[derive(Debug, Default)]
pub struct Record {
    /// In the order of the configuration, those of Prometheus after them.
    pub rules: Vec<RuleRecord>,
    /// In the order of time.
    pub timeline: Vec<Entry>,
    /// Entries that found no room.
    pub more: u64,
    /// Decisions about rollbacks, in order.
    pub rollbacks: Rollbacks,
    /// How many messages each channel would have got.
    pub told: BTreeMap<String, u64>,
    /// How each target was seen.
    pub targets: BTreeMap<Target, Seen>,
    /// Deployments that went live.
    pub deployments: Vec<(Timestamp, String)>,
}

impl Record {
    /// A record of these rules.
    pub fn new(rules: &[Rule]) -> Record {
        let of = |rule: &Rule| RuleRecord { watcher: Some(Watcher::new(rule)), ..RuleRecord::new(rule.name.clone()) };
        Record { rules: rules.iter().map(of).collect(), ..Record::default() }
    }

    /// A look at a target.
    pub fn look(&mut self, batch: &Batch) {
        let key = (batch.source.clone(), batch.instance.clone());
        let failed = u64::from(batch.outcome != Outcome::Good);
        let seen = self.targets.entry(key).or_insert_with(|| Seen {
            first: batch.at,
            last: batch.at,
            looks: 0,
            failed: 0,
            gaps: Vec::new(),
            blind: Span::ZERO,
        });
        let away = batch.at - seen.last;
        if away > longest_pause(batch.interval) {
            seen.blind += away;
            if seen.gaps.len() < MOST_GAPS {
                seen.gaps.push((seen.last, batch.at));
            }
        }
        seen.last = seen.last.max(batch.at);
        seen.looks += 1;
        seen.failed += failed;
    }

    /// The time is over.
    pub fn close(&mut self, end: Timestamp) {
        for rule in &mut self.rules {
            rule.periods.close(end);
            rule.see_no_data(None, end);
        }
    }

    /// A line of the timeline.
    pub fn note(&mut self, at: Timestamp, kind: Kind, rule: Option<&str>, text: String) {
        if self.timeline.len() >= MOST {
            self.more += 1;
            return;
        }
        self.timeline.push(Entry { at, kind, rule: rule.map(String::from), text });
    }

    /// The record of a rule; one that the configuration names elsewhere than among its rules gets a new one.
    fn rule(&mut self, name: &str) -> &mut RuleRecord {
        let place = self.rules.iter().position(|rule| rule.name == name).unwrap_or_else(|| {
            self.rules.push(RuleRecord { evaluated: true, ..RuleRecord::new(name.into()) });
            self.rules.len() - 1
        });
        &mut self.rules[place]
    }

    fn take_level(&mut self, t: &Transition) {
        self.rule(&t.rule).periods.enter(&t.labels, t.to, t.at);
        let which = of_labels(&t.labels);
        let text = match t.to {
            Level::Ok if t.gone => format!("ok        {}{which} is gone", t.rule),
            Level::Ok => format!("ok        {}{which}", t.rule),
            level => format!("{level:<9} {}{which}  {}", t.rule, t.because),
        };
        self.note(t.at, Kind::Level, Some(&t.rule), text);
    }

    fn take_watch(&mut self, at: Timestamp, event: &watch::Event, version: impl Fn(&crate::base::Id) -> String) {
        let text = match event {
            watch::Event::Announced(d) => format!("{} is announced", d.version),
            watch::Event::Live { id, t0, .. } => {
                let version = version(id);
                self.deployments.push((*t0, version.clone()));
                format!("{version} is live")
            }
            watch::Event::Ended { id, verdict, because, .. } => {
                let why = if because.is_empty() { String::new() } else { format!(": {}", because.join("; ")) };
                format!("{}: verdict {}{why}", version(id), verdict.text())
            }
            watch::Event::Observed { .. }
            | watch::Event::Alerted { .. }
            | watch::Event::CriterionDue { .. }
            | watch::Event::Missed { .. }
            | watch::Event::Rollback { .. } => return,
        };
        self.note(at, Kind::Deployment, None, text);
    }
}

impl Witness for Record {
    fn event(&mut self, at: Timestamp, event: &Event, engine: &Engine) {
        match event {
            Event::Rule(Change::Level(t)) => self.take_level(t),
            Event::Rule(Change::Criterion { rule, labels, due: true, at, because }) => {
                let of_rule = self.rule(rule);
                of_rule.due.0 += 1;
                of_rule.due.1.get_or_insert(*at);
                let live = engine.state().watches.live().is_some();
                let nothing = if live { "" } else { "; no deployment is under watch" };
                let text = format!("due       {rule}{}  {because}{nothing}", of_labels(labels));
                self.note(*at, Kind::Due, Some(rule), text);
            }
            Event::Watch(event) => {
                let last = engine.state().watches.last();
                let version = |id: &crate::base::Id| {
                    last.filter(|d| d.id == *id).map_or_else(|| "an earlier version".to_string(), |d| d.version.clone())
                };
                self.take_watch(at, event, version);
            }
            Event::Rollback(event) => {
                if let Some((at, rule, text)) = self.rollbacks.take(event) {
                    self.note(at, Kind::Rollback, Some(&rule), format!("ROLLBACK  {text}"));
                }
            }
            Event::Rule(Change::Criterion { due: false, .. } | Change::Target { .. })
            | Event::Stood(_)
            | Event::Held { .. }
            | Event::Known { .. }
            | Event::Started { .. }
            | Event::Stopped { .. }
            | Event::ClockStepped { .. }
            | Event::Incident(_)
            | Event::Delivery(_)
            | Event::Signal(_)
            | Event::Fact(_) => {}
        }
    }

    fn sent(&mut self, at: Timestamp, sending: &Sending) {
        let delivery = &sending.delivery;
        *self.told.entry(delivery.channel.clone()).or_default() += 1;
        let subject = render::subject(&delivery.notice);
        // One line for all channels that get the same at once.
        let same = self.timeline.iter_mut().rev().take_while(|entry| entry.at == at);
        let mut same = same.filter(|entry| entry.kind == Kind::Told && entry.text.ends_with(&subject));
        match same.next() {
            Some(entry) => {
                let channels = entry.text.len() - subject.len() - 2;
                entry.text.insert_str(channels, &format!(", {}", delivery.channel));
            }
            None => self.note(at, Kind::Told, None, format!("told      {}: {subject}", delivery.channel)),
        }
    }

    fn stepped(&mut self, at: Timestamp, engine: &Engine) {
        // The rules of the configuration come first, in its order.
        for (sight, rule) in engine.sights().zip(&mut self.rules) {
            if sight.evaluated != Some(at) || sight.rule.name != rule.name {
                continue;
            }
            rule.evaluated = true;
            rule.see_no_data(sight.no_data.map(|(since, _)| *since), at);
            if let (Some(why), None) = (sight.failed, &rule.failed) {
                rule.failed = Some((at, why.to_string()));
            }
            if let Some(watcher) = &mut rule.watcher {
                sight.alerts().for_each(|(key, alert)| watcher.see(key, alert, sight.rule, sight.asks));
            }
        }
    }
}

impl RuleRecord {
    /// A rule that has done nothing.
    pub fn new(name: String) -> RuleRecord {
        RuleRecord {
            name,
            periods: Periods::default(),
            watcher: None,
            due: (0, None),
            no_data: Span::ZERO,
            failed: None,
            evaluated: false,
            pending: None,
            blind_since: None,
        }
    }

    fn see_no_data(&mut self, since: Option<Timestamp>, at: Timestamp) {
        match (self.blind_since, since) {
            (Some(begun), None) => {
                self.no_data += at - begun;
                self.blind_since = None;
            }
            (None, Some(since)) => self.blind_since = Some(since),
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
}

/// What tells an alert from others of its rule, in braces.
fn of_labels(labels: &Labels) -> String {
    let text = show::telling(labels);
    if text.is_empty() { text } else { format!(" {{{text}}}") }
}

/// Two intervals and a little: a longer time without a look is a gap.
fn longest_pause(interval: Span) -> Span {
    Span(interval.0 * 2 + (interval.0 / 5).max(250))
}
