//! Rule groups of Prometheus in the running agent: when they are evaluated, and what their alerts mean here.
//!
//! Enters: time, the store, what the journal knows. Leaves: recorded series, `ALERTS` and `ALERTS_FOR_STATE`, appended rule by
//! rule so that each sees what those before wrote; and the changes of level that follow. Pure, as the engine is.
//!
//! Each rule is a target of the store: source `group.FILE:GROUP`, the rule's name as its instance. So what it records is kept on
//! disk, restored, ended and capped as what a source gives, and a rule of backstop that reads it knows when it was recorded last.
//!
//! An alert stands under its name, together with those that other rules give under the same name. What stands is what the
//! journal knows ([`super::state::State::alerts`]): after each evaluation the alerts that fire are compared with it, and the
//! difference is journaled and told. So nothing is told twice, however often the agent restarts.

mod desk;
mod level;
mod running;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use super::state::Standing;
use crate::base::{Because, Labels, Level, Quantity, SourceRef, Span, Timestamp};
use crate::rule::prometheus::{ActiveAlert, External, GroupConfig, INTERVAL, Kind, RuleConfig};
use crate::rule::{Change, Transition};
use crate::store::Selector;

pub use level::{CRITICAL, IGNORE, Levels};
use running::Running;

/// A group of a rule file.
#[derive(Clone, Debug)]
pub struct GroupInfo {
    /// Its file, as the configuration names it.
    pub file: String,
    /// The group, its interval settled.
    pub group: GroupConfig,
}

/// Which groups run, and what their alerts mean.
#[derive(Clone, Debug)]
pub struct Settings {
    /// In the order of the files.
    pub groups: Vec<GroupInfo>,
    /// The level of an alert, by its labels.
    pub levels: Levels,
    /// What is added to alerts when they are told, and what templates know of this instance.
    pub external: External,
    /// The step of subqueries that state none: the interval of groups that state none, as in Prometheus.
    pub step: Span,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { groups: Vec::new(), levels: Levels::default(), external: External::default(), step: INTERVAL }
    }
}

/// The groups, with where they stand.
#[derive(Debug, Default)]
pub(super) struct Groups {
    list: Vec<Running>,
    levels: Levels,
}

/// By name, by fingerprint.
type Standings = BTreeMap<String, BTreeMap<u64, Standing>>;

impl Groups {
    /// The groups at the start of a life: what fired before goes on to fire.
    pub(super) fn new(settings: &Settings, standing: &Standings, now: Timestamp) -> Groups {
        let list = settings.groups.iter().map(|info| Running::new(info, &settings.external, now)).collect();
        let mut groups = Groups { list, levels: settings.levels.clone() };
        groups.restore(standing);
        groups
    }

    /// A new configuration: rules with the same name and labels keep what they know.
    pub(super) fn reload(&mut self, settings: &Settings, standing: &Standings, now: Timestamp) {
        let mut old: Vec<Running> = std::mem::take(&mut self.list);
        *self = Groups::new(settings, &Standings::default(), now);
        for running in &mut self.list {
            if let Some(at) = old.iter().position(|was| was.source == running.source) {
                running.inherit(old.remove(at));
            }
        }
        // A rule that is new here may give what another gave before.
        self.restore(standing);
    }

    fn restore(&mut self, standing: &Standings) {
        let firing = |name: &str| standing.get(name).into_iter().flat_map(BTreeMap::values);
        for running in &mut self.list {
            for name in running.alert_names().map(String::from).collect::<BTreeSet<_>>() {
                for s in firing(&name).filter(|s| s.level > Level::Ok) {
                    running.group.restore(&s.labels, s.since);
                }
            }
        }
    }

    /// When the next group is evaluated.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.list.iter().map(|running| running.due).min()
    }

    /// The wall clock was set: groups follow it, durations stay what they are.
    pub(super) fn shift(&mut self, by: Span, now: Timestamp) {
        for running in &mut self.list {
            running.group.shift(by);
            running.evaluated = running.evaluated.map(|at| at + by);
            running.due = running.slot(now) + running.interval;
            running.rules.iter_mut().for_each(|rule| rule.failed_since = rule.failed_since.map(|at| at + by));
        }
    }

    /// Whether a group gives alerts of this name.
    pub(super) fn has_alert(&self, name: &str) -> bool {
        self.list.iter().any(|running| running.alert_names().any(|own| own == name))
    }

    /// Whether a rule of a group writes into this target of the store.
    pub(super) fn has_target(&self, source: &SourceRef, instance: &str) -> bool {
        let is_of = |running: &&Running| running.source == *source;
        self.list.iter().filter(is_of).any(|running| running.rules.iter().any(|rule| rule.instance == instance))
    }

    /// The series that the rules read, each with how far back.
    pub(super) fn reach(&self, look_back: Span) -> Vec<(Selector, Span)> {
        let rules = self.list.iter().flat_map(|running| {
            let offset = running.group.config().query_offset;
            running.group.config().rules.iter().map(move |rule| (rule, offset))
        });
        let of_rule = |(rule, offset): (&RuleConfig, Span)| {
            rule.plan.reach(look_back).into_iter().map(move |(selector, reach)| (selector, reach + offset))
        };
        rules.flat_map(of_rule).collect()
    }

    /// The series behind the alerts of a name, each with how far back.
    pub(super) fn evidence(&self, name: &str, look_back: Span) -> Vec<(Selector, Span)> {
        let rules = self.list.iter().flat_map(|running| &running.group.config().rules);
        let rules = rules.filter(|rule| rule.name == name && matches!(rule.kind, Kind::Alert { .. }));
        rules.flat_map(|rule| rule.plan.reach(look_back)).collect()
    }

    /// What the rule adds to an alert of it: nothing of where its lines are.
    pub(super) fn adds(&self, name: &str, label: &str) -> bool {
        let rules = self.list.iter().flat_map(|running| &running.group.config().rules);
        label == "alertname" || rules.filter(|rule| rule.name == name).any(|r| r.labels.iter().any(|(n, _)| n == label))
    }

    /// What the annotations of an alert say to people: `summary` with `description`, and `runbook_url`.
    pub(super) fn words(&self, name: &str, labels: &Labels) -> (Option<String>, Option<String>) {
        let firing = self.list.iter().flat_map(|running| running.group.firing());
        let mut firing = firing.filter(|f| f.labels.get("alertname") == name && f.labels == *labels);
        let Some(alert) = firing.find_map(|f| f.alert) else { return (None, None) };
        let word = |name: &str| alert.annotations.get(name).filter(|text| !text.is_empty()).cloned();
        let summary = match (word("summary"), word("description").or(word("message"))) {
            (Some(summary), Some(description)) if summary != description => {
                Some(format!("{}: {description}", summary.trim_end_matches(['.', ':', ' '])))
            }
            (summary, description) => summary.or(description),
        };
        (summary, word("runbook_url").or(word("runbook")))
    }

    /// What follows from the alerts that fire now, held against what is known.
    fn changes(&self, standing: &Standings, now: Timestamp) -> Vec<Change> {
        let mut wanted: BTreeMap<String, BTreeMap<u64, Wanted>> = BTreeMap::new();
        for running in &self.list {
            for firing in running.group.firing() {
                let rule = &running.group.config().rules[firing.rule];
                let level = self.levels.of(&firing.labels);
                let because = firing.alert.map(|alert| because(rule, alert, running.evaluated, now));
                let wanted = wanted.entry(rule.name.clone()).or_default();
                let entry = wanted.entry(firing.labels.fingerprint());
                let slot = entry.or_insert(Wanted { labels: firing.labels, level, because: None });
                slot.because = slot.because.take().or(because);
            }
        }
        let names: BTreeSet<&str> = self.list.iter().flat_map(Running::alert_names).collect();
        let mut changes = Vec::new();
        let none = BTreeMap::new();
        for name in names {
            let known = standing.get(name).unwrap_or(&none);
            let wanted = wanted.remove(name).unwrap_or_default();
            for (key, standing) in known.iter().filter(|(key, _)| !wanted.contains_key(key)) {
                debug_assert_eq!(standing.labels.fingerprint(), *key);
                changes.extend(self.ended(name, standing, now));
            }
            for (key, wanted) in wanted {
                let known = known.get(&key);
                let from = known.map_or(Level::Ok, |s| s.level);
                let because = wanted.because.or_else(|| known.map(|s| s.because.clone()));
                let Some(because) = because.filter(|_| from != wanted.level) else { continue };
                let (rule, labels, to) = (name.to_string(), wanted.labels, wanted.level);
                changes.push(Change::Level(Transition { rule, labels, from, to, at: now, because, gone: false }));
            }
        }
        changes
    }

    /// An alert that fires no more. Where no rule is left that could give it, nobody saw it recover.
    fn ended(&self, name: &str, standing: &Standing, now: Timestamp) -> Vec<Change> {
        let (rule, labels) = (name.to_string(), standing.labels.clone());
        let gone = !self.list.iter().any(|running| running.group.could_give(&labels));
        let because = match gone {
            true => standing.because.clone(),
            // The expression gives nothing for it any more: there is no value that would be fine.
            false => Because { value: None, counts: None, held: Span::ZERO, lines: vec![], ..standing.because.clone() },
        };
        let mut changes = Vec::new();
        if standing.due {
            let (rule, labels, because) = (rule.clone(), labels.clone(), because.clone());
            changes.push(Change::Criterion { rule, labels, due: false, at: now, because });
        }
        if standing.level > Level::Ok {
            let (from, to) = (standing.level, Level::Ok);
            changes.push(Change::Level(Transition { rule, labels, from, to, at: now, because, gone }));
        }
        changes
    }
}

/// An alert that should stand.
struct Wanted {
    labels: Labels,
    level: Level,
    /// None where it was not seen since a restart.
    because: Option<Because>,
}

fn because(rule: &RuleConfig, alert: &ActiveAlert, evaluated: Option<Timestamp>, now: Timestamp) -> Because {
    let limit = rule.plan.root_comparison().map(|c| format!("{} {}", c.relation, c.with));
    Because {
        value: Some(Quantity::count(alert.value)),
        counts: None,
        limit: limit.unwrap_or_else(|| "present".into()),
        held: now - alert.active_at,
        readings: 0,
        evidence: evaluated,
        why: None,
        lines: Vec::new(),
    }
}
