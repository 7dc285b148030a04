//! Groups as those see them who show them: one rule for each name, whatever groups and rules it stands in.

use std::collections::{BTreeMap, BTreeSet};

use super::running::{RECENT, Running};
use super::{Groups, because};
use crate::base::{Because, Level, Span, Timestamp};
use crate::engine::snapshot::{AlertView, GroupView, RuleView};
use crate::engine::{Engine, coverage};
use crate::rule::prometheus::{Kind, RuleConfig, State};

/// How many alerts of a rule are shown.
const MAX_ALERTS: usize = 50;

impl Groups {
    /// Names with whether one of their rules fails; those that were never evaluated are left out.
    pub(in crate::engine) fn blind(&self) -> BTreeMap<&str, bool> {
        let mut blind: BTreeMap<&str, bool> = BTreeMap::new();
        for running in self.list.iter().filter(|running| running.evaluated.is_some()) {
            for (rule, progress) in running.group.config().rules.iter().zip(&running.rules) {
                *blind.entry(&rule.name).or_default() |= progress.failed.is_some();
            }
        }
        blind
    }

    /// The names of alerts, whether they fire or not.
    pub(in crate::engine) fn alert_names(&self) -> BTreeSet<&str> {
        self.list.iter().flat_map(Running::alert_names).collect()
    }

    /// One view for each name, in the order of the files.
    pub(in crate::engine) fn views(&self, engine: &Engine, now: Timestamp) -> Vec<RuleView> {
        let mut order: Vec<&str> = Vec::new();
        let mut views: BTreeMap<&str, RuleView> = BTreeMap::new();
        for running in &self.list {
            for i in 0..running.rules.len() {
                let name = running.group.config().rules[i].name.as_str();
                let view = self.view(running, i, engine, now);
                match views.get_mut(name) {
                    Some(known) => join(known, view),
                    None => {
                        order.push(name);
                        views.insert(name, view);
                    }
                }
            }
        }
        let mut views: Vec<RuleView> = order.into_iter().filter_map(|name| views.remove(name)).collect();
        for view in &mut views {
            view.alerts.sort_by_key(|a| std::cmp::Reverse((a.level, a.pending)));
            view.alerts.truncate(MAX_ALERTS);
            view.level = engine.state.level_of(&view.name);
        }
        views
    }

    fn view(&self, running: &Running, index: usize, engine: &Engine, now: Timestamp) -> RuleView {
        let config = running.group.config();
        let (rule, progress) = (&config.rules[index], &running.rules[index]);
        RuleView {
            name: rule.name.clone(),
            judges: rule.plan.text().split_whitespace().collect::<Vec<_>>().join(" "),
            remote: None,
            group: Some(GroupView { group: running.source.name.clone(), missed: running.missed }),
            conditions: conditions(rule, config.limit),
            level: Level::Ok,
            held: None,
            not_armed: None,
            no_data: None,
            failed: progress.failed.clone(),
            evaluated: running.evaluated,
            every: running.interval,
            windows: coverage::of_plan(&rule.plan, engine.store(), now),
            alerts: self.alerts(running, index, engine, now),
            recent: progress.recent.iter().cloned().collect(),
        }
    }

    fn alerts(&self, running: &Running, index: usize, engine: &Engine, now: Timestamp) -> Vec<AlertView> {
        let rule = &running.group.config().rules[index];
        let seen = running.group.alerts(index).filter(|alert| alert.state != State::Resolved).map(|alert| {
            let labels = running.group.told(&alert.labels);
            let lines = engine.state.lines_of(&rule.name, &labels).to_vec();
            let fires = alert.state == State::Firing;
            AlertView {
                level: if fires { self.levels.of(&labels) } else { Level::Ok },
                since: alert.fired_at.unwrap_or(alert.active_at),
                because: Some(Because { lines, ..because(rule, alert, running.evaluated, now) }),
                usual: None,
                due: false,
                pending: !fires,
                missing_since: alert.kept_since,
                confirmed: true,
                labels,
            }
        });
        let restored = running.group.firing().filter(|f| f.rule == index && f.alert.is_none());
        let restored = restored.filter_map(|firing| {
            let standing = engine.state.alerts.get(&rule.name)?.get(&firing.labels.fingerprint())?;
            Some(AlertView {
                labels: firing.labels,
                level: standing.level,
                since: standing.since,
                because: Some(standing.because.clone()),
                usual: None,
                due: false,
                pending: false,
                missing_since: None,
                confirmed: false,
            })
        });
        seen.chain(restored).collect()
    }
}

/// What a rule does with its results, as people read it.
fn conditions(rule: &RuleConfig, limit: usize) -> Vec<(String, String)> {
    let mut conditions = match &rule.kind {
        Kind::Record => vec![("records".to_string(), rule.name.clone())],
        Kind::Alert { held_for, keep_firing_for, .. } => {
            let held = |word: &str, span: Span| match span {
                Span::ZERO => String::new(),
                span => format!("{word} {}", span.human()),
            };
            let (held, kept) = (held(" for", *held_for), held(", kept for", *keep_firing_for));
            vec![("alert".to_string(), format!("any result{held}{kept}"))]
        }
    };
    if limit > 0 {
        conditions.push(("limit".into(), format!("{limit} results")));
    }
    conditions
}

/// Adds a further rule of the same name.
fn join(view: &mut RuleView, other: RuleView) {
    view.judges = format!("{} | {}", view.judges, other.judges);
    view.conditions.extend(other.conditions);
    view.conditions.dedup();
    view.failed = view.failed.take().or(other.failed);
    view.evaluated = view.evaluated.max(other.evaluated);
    view.every = view.every.min(other.every);
    view.windows.extend(other.windows);
    view.alerts.extend(other.alerts);
    view.recent.extend(other.recent);
    view.recent.sort_by_key(|evaluation| evaluation.at);
    let excess = view.recent.len().saturating_sub(RECENT);
    view.recent.drain(..excess);
    if let (Some(group), Some(other)) = (&mut view.group, other.group)
        && group.group != other.group
    {
        group.group = format!("{}, {}", group.group, other.group);
        group.missed += other.missed;
    }
}
