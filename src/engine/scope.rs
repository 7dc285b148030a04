//! Whether a rule is judged now: by the age and phase of the watch, by what it depends on, by what its criterion waits for.

use std::collections::HashMap;

use super::Engine;
use super::judge::{Judge, Situation};
use crate::base::{Level, SourceRef, Span, Timestamp};
use crate::rule::{Alert, Change, Dependency, Rule, Turn};

/// How long after a start a source may not have been seen yet without being in trouble.
const UNSEEN_FOR: Span = Span::mins(1);

/// Where the rules stand, by name, and which of them wait for another: thousands of alerts may change in one step.
#[derive(Debug, Default)]
pub(super) struct Names {
    of: HashMap<String, usize>,
    waiting: HashMap<String, Vec<usize>>,
}

impl Names {
    pub(super) fn new(judges: &[Judge]) -> Names {
        let mut names = Names::default();
        for (i, judge) in judges.iter().enumerate() {
            names.of.insert(judge.rule.name.clone(), i);
            for name in judge.rule.waited_for() {
                let waiting = names.waiting.entry(name.to_string()).or_default();
                if waiting.last() != Some(&i) {
                    waiting.push(i);
                }
            }
        }
        names
    }

    /// The rules that depend on that one, or whose criterion waits for it.
    pub(super) fn waiting(&self, rule: &str) -> &[usize] {
        self.waiting.get(rule).map_or(&[], Vec::as_slice)
    }
}

impl Engine {
    /// How the rule with index `i` is to be judged at `now`.
    pub(super) fn situation_of(&self, i: usize, now: Timestamp) -> Situation {
        let judge = &self.judges[i];
        let trouble = match self.waits_for_source(&judge.rule, now) {
            true => self.held_before(judge).or_else(|| self.trouble_of_seen(&judge.rule)),
            false => self.dependency_in_trouble(&judge.rule),
        };
        self.situation_at(i, now, trouble)
    }

    /// Soon after a start sources were not seen yet: what holds a rule then is what held it before.
    fn waits_for_source(&self, rule: &Rule, now: Timestamp) -> bool {
        let mut sources = rule.scope.depends_on.iter().filter_map(|on| match on {
            Dependency::Source(source) => Some(source),
            Dependency::Rule(_) => None,
        });
        now - self.started < UNSEEN_FOR && sources.any(|source| !self.is_seen(source))
    }

    fn is_seen(&self, source: &SourceRef) -> bool {
        self.targets.keys().any(|(of, _)| of == source)
    }

    fn held_before(&self, judge: &Judge) -> Option<String> {
        judge.is_held_by_others().then(|| "what it depends on was in trouble".into())
    }

    /// As [`Engine::dependency_in_trouble`], of what was seen in this life.
    fn trouble_of_seen(&self, rule: &Rule) -> Option<String> {
        rule.scope.depends_on.iter().find_map(|on| match on {
            Dependency::Source(source) if !self.is_seen(source) => None,
            on => self.trouble_of_dependency(on),
        })
    }

    /// How it was to be judged `at` a moment before a restart, after it was last held or freed.
    pub(super) fn situation_then(&self, i: usize, at: Timestamp) -> Situation {
        self.situation_at(i, at, self.held_before(&self.judges[i]))
    }

    fn situation_at(&self, i: usize, now: Timestamp, trouble: Option<String>) -> Situation {
        let judge = &self.judges[i];
        let rule = &judge.rule;
        let with = rule.rollback.as_ref().is_none_or(|c| c.with.iter().all(|name| self.is_critical(name)));
        let (may, held) = match self.kept_out(judge, now) {
            Some(why) => (Turn::Out, Some(why)),
            None => match (trouble, self.warms_up(rule, now)) {
                (Some(why), _) => (Turn::Held, Some(why)),
                (None, Some(why)) => (Turn::Warming, Some(why)),
                (None, None) => (Turn::Judged, None),
            },
        };
        Situation { may, held, with }
    }

    /// Why a rule is not judged at all now: it asks for a watch, or for another phase.
    fn kept_out(&self, judge: &Judge, now: Timestamp) -> Option<String> {
        let rule = &judge.rule;
        let live = self.state.watches.live().and_then(|d| d.t0);
        match live {
            None if asks_for_watch(rule) => Some("it is judged during a watch only, and none is live".into()),
            Some(t0) if !rule.scope.phases.is_empty() => {
                let phase = self.config.watch.phase_at(now - t0);
                let is_in = phase.is_some_and(|phase| rule.scope.phases.iter().any(|of| of == phase));
                (!is_in).then(|| format!("it is judged in {} only", rule.scope.phases.join(", ")))
            }
            _ => None,
        }
    }

    fn warms_up(&self, rule: &Rule, now: Timestamp) -> Option<String> {
        let t0 = self.state.watches.live()?.t0?;
        let left = rule.scope.after - (now - t0);
        // A replay may ask for a moment before T0, when it was judged without a watch.
        (left > Span::ZERO && now >= t0).then(|| format!("it is judged {} after T0", rule.scope.after.human()))
    }

    /// The first of what a rule depends on that is in trouble, or about to be: critical, failing, or without data.
    pub(super) fn dependency_in_trouble(&self, rule: &Rule) -> Option<String> {
        rule.scope.depends_on.iter().find_map(|dependency| self.trouble_of_dependency(dependency))
    }

    fn trouble_of_dependency(&self, dependency: &Dependency) -> Option<String> {
        match dependency {
            Dependency::Rule(name) => self.judge_named(name).and_then(trouble),
            Dependency::Source(source) => self.trouble_of(source),
        }
    }

    fn trouble_of(&self, source: &SourceRef) -> Option<String> {
        let mut targets = self.targets.iter().filter(|((of, _), _)| of == source).peekable();
        if targets.peek().is_none() {
            return Some(format!("{source} was not seen yet"));
        }
        let failing = targets.find(|(_, target)| !target.good);
        failing.map(|(_, target)| match &target.failure {
            Some(why) => format!("{source} fails ({why})"),
            None => format!("{source} fails"),
        })
    }

    pub(super) fn judge_named(&self, name: &str) -> Option<&Judge> {
        self.names.of.get(name).and_then(|i| self.judges.get(*i))
    }

    fn is_critical(&self, name: &str) -> bool {
        self.judge_named(name).is_some_and(|judge| judge.level() == Level::Critical)
    }

    /// Rules that wait for, or depend on, the rule of `change` are judged again.
    pub(super) fn wake_dependants(&mut self, now: Timestamp, change: &Change) {
        let (Change::Level(crate::rule::Transition { rule, .. }) | Change::Criterion { rule, .. }) = change else {
            return;
        };
        for i in self.names.waiting(rule) {
            self.judges[*i].wake(now);
        }
    }

    /// Since when an alert's trouble stands: before T0 too, where its own past shows that.
    pub(super) fn bad_since(&self, judge: &Judge, alert: &Alert) -> Timestamp {
        let since = alert.bad_since().unwrap_or(alert.level().1);
        let began = alert.evidence().and_then(|evidence| evidence.trouble_before());
        began.map_or(since, |before| since.min(judge.gathering.origin() - before))
    }
}

/// Whether a rule is judged during a watch only.
pub(super) fn asks_for_watch(rule: &Rule) -> bool {
    rule.holds_against_past() || rule.over_watch || !rule.scope.phases.is_empty()
}

/// Why a rule that others depend on counts as in trouble.
fn trouble(judge: &Judge) -> Option<String> {
    let name = &judge.rule.name;
    if judge.level() == Level::Critical {
        return Some(format!("{name} is critical"));
    }
    if judge.alerts.values().any(|alert| alert.missing_since().is_none() && alert.is_pending_critical()) {
        return Some(format!("{name} is about to be critical"));
    }
    match (&judge.no_data, &judge.failed) {
        (Some((_, why)), _) => Some(format!("{name} has no data ({why})")),
        (None, Some(why)) => Some(format!("{name} failed ({why})")),
        (None, None) => None,
    }
}
