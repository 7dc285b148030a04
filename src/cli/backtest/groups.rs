//! Alert rules of Prometheus over recorded data, on the ticks of their groups.

use std::collections::HashMap;

use super::record::{Kind, Record, RuleRecord};
use crate::base::{Batch, Level, Span, Timestamp};
use crate::cli::show;
use crate::cli::test::run::Desk;
use crate::rule::prometheus::{External, Group, GroupConfig, Kind as RuleKind, State};
use crate::store::{Limits, Store};

/// How often a group is evaluated that does not say: Prometheus's own default.
const INTERVAL: Span = Span::mins(1);

/// Groups and what they see.
#[derive(Debug)]
pub struct Groups {
    groups: Vec<Ticking>,
    store: Store,
}

#[derive(Debug)]
struct Ticking {
    group: Group,
    every: Span,
    next: Option<Timestamp>,
    /// Where the records of its rules begin.
    first: usize,
    /// The alerts that fire, by rule and fingerprint.
    firing: HashMap<(usize, u64), ()>,
}

impl Groups {
    /// Groups before their first tick; their alerts get a place in `record`.
    pub fn new(configs: Vec<GroupConfig>, limits: Limits, look_back: Span, record: &mut Record) -> Groups {
        let mut store = Store::new(limits);
        let rules = configs.iter().flat_map(|config| &config.rules);
        store.set_reach(rules.flat_map(|rule| rule.plan.reach(look_back)).collect());
        let mut groups = Vec::new();
        for config in configs {
            let first = record.rules.len();
            record.rules.extend(config.rules.iter().map(|rule| {
                let needs = match &rule.kind {
                    RuleKind::Alert { held_for, .. } => Some((Span::ZERO, *held_for)),
                    RuleKind::Record => None,
                };
                let mut of_rule = RuleRecord::new(format!("{}/{}", config.name, rule.name));
                of_rule.pending = needs;
                of_rule
            }));
            let every = config.interval.unwrap_or(INTERVAL).max(Span::secs(1));
            let group = Group::new(config, External::default());
            groups.push(Ticking { group, every, next: None, first, firing: HashMap::new() });
        }
        Groups { groups, store }
    }

    /// A look at a target, after the ticks before it.
    pub fn look(&mut self, batch: &Batch, record: &mut Record) {
        if self.groups.is_empty() {
            return;
        }
        self.pass_before(batch.at, record);
        self.store.append(batch);
        self.store.retain(batch.at);
    }

    /// Lets time pass, the moment `to` included.
    pub fn pass_until(&mut self, to: Timestamp, record: &mut Record) {
        self.pass_before(to + Span::millis(1), record);
    }

    fn pass_before(&mut self, to: Timestamp, record: &mut Record) {
        loop {
            let due = |ticking: &mut Ticking| {
                // The first tick is the first multiple of the interval from the data on.
                let every = ticking.every.0;
                *ticking.next.get_or_insert(Timestamp((to.0 - 1).div_euclid(every) * every + every))
            };
            let soonest = self.groups.iter_mut().enumerate().map(|(i, ticking)| (due(ticking), i)).min();
            let Some((at, i)) = soonest.filter(|(at, _)| *at < to) else { return };
            let ticking = &mut self.groups[i];
            ticking.next = Some(at + ticking.every);
            ticking.tick(at, &mut self.store, record);
        }
    }
}

impl Ticking {
    fn tick(&mut self, at: Timestamp, store: &mut Store, record: &mut Record) {
        let errors = self.group.step(at, &mut Desk { store, step: self.every });
        let rules = &self.group.config().rules;
        for (i, rule) in rules.iter().enumerate() {
            let name = record.rules[self.first + i].name.clone();
            let failed = errors.iter().find(|error| error.rule == rule.name);
            let of_rule = &mut record.rules[self.first + i];
            of_rule.evaluated = true;
            if let (Some(error), None) = (failed, &of_rule.failed) {
                of_rule.failed = Some((at, error.message.clone()));
            }
            let mut news = Vec::new();
            for alert in self.group.alerts(i) {
                let key = (i, alert.labels.fingerprint());
                match alert.state {
                    State::Pending => {
                        if let Some((longest, _)) = &mut of_rule.pending {
                            *longest = (*longest).max(at - alert.active_at);
                        }
                    }
                    State::Firing if self.firing.insert(key, ()).is_none() => {
                        let level = level(alert.labels.get("severity"));
                        of_rule.periods.enter(&alert.labels, level, at);
                        let summary = alert.annotations.get("summary").map(|s| format!("  {s}")).unwrap_or_default();
                        news.push(format!("{level:<9} {name}{}{summary}", braces(&show::telling(&alert.labels))));
                    }
                    State::Resolved if self.firing.remove(&key).is_some() => {
                        of_rule.periods.enter(&alert.labels, Level::Ok, at);
                        news.push(format!("ok        {name}{}", braces(&show::telling(&alert.labels))));
                    }
                    State::Firing | State::Resolved => {}
                }
            }
            news.into_iter().for_each(|text| record.note(at, Kind::Level, Some(&name), text));
        }
    }
}

/// The level that an alert's severity means.
fn level(severity: &str) -> Level {
    if ["critical", "page", "error"].contains(&severity) { Level::Critical } else { Level::Warning }
}

fn braces(labels: &str) -> String {
    if labels.is_empty() { String::new() } else { format!(" {{{labels}}}") }
}
