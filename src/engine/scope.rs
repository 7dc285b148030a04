//! Whether a rule is judged now: by the age and phase of the watch, by what it depends on, by what its criterion waits for.

use super::Engine;
use super::judge::{Judge, Situation};
use crate::base::{Level, SourceRef, Span, Timestamp};
use crate::rule::{Alert, Baseline, Change, Dependency, Rule, Turn};

impl Engine {
    /// How the rule with index `i` is to be judged at `now`.
    pub(super) fn situation_of(&self, i: usize, now: Timestamp) -> Situation {
        let rule = &self.judges[i].rule;
        let with = rule.rollback.as_ref().is_none_or(|c| c.with.iter().all(|name| self.is_critical(name)));
        let (may, held) = match self.kept_out(rule, now) {
            Some(why) => (Turn::Out, Some(why)),
            None => match (self.dependency_in_trouble(rule, now), self.warms_up(rule, now)) {
                (Some(why), _) => (Turn::Held, Some(why)),
                (None, Some(why)) => (Turn::Warming, Some(why)),
                (None, None) => (Turn::Judged, None),
            },
        };
        Situation { may, held, with }
    }

    /// Why a rule is not judged at all now: it asks for a watch, or for another phase.
    fn kept_out(&self, rule: &Rule, now: Timestamp) -> Option<String> {
        let live = self.state.watches.live().and_then(|d| d.t0);
        let asks_for_watch = rule.over_watch
            || !rule.scope.phases.is_empty()
            || (matches!(rule.baseline, Baseline::History | Baseline::Before | Baseline::Peak) && uses_baseline(rule));
        match live {
            None if asks_for_watch => Some("it is judged during a watch only, and none is live".into()),
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
        (left > Span::ZERO).then(|| format!("it is judged {} after T0", rule.scope.after.human()))
    }

    /// The first of what a rule depends on that is in trouble, or about to be: critical, failing, or without data.
    pub(super) fn dependency_in_trouble(&self, rule: &Rule, now: Timestamp) -> Option<String> {
        rule.scope.depends_on.iter().find_map(|dependency| match dependency {
            Dependency::Rule(name) => self.judge_named(name).and_then(|judge| trouble(judge, now)),
            Dependency::Source(source) => self.trouble_of(source),
        })
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

    fn judge_named(&self, name: &str) -> Option<&Judge> {
        self.judges.iter().find(|judge| judge.rule.name == name)
    }

    fn is_critical(&self, name: &str) -> bool {
        self.judge_named(name).is_some_and(|judge| judge.level() == Level::Critical)
    }

    /// Rules that wait for, or depend on, the rule of `change` are judged again.
    pub(super) fn wake_dependants(&mut self, now: Timestamp, change: &Change) {
        let (Change::Level(crate::rule::Transition { rule, .. }) | Change::Criterion { rule, .. }) = change else {
            return;
        };
        self.judges.iter_mut().filter(|judge| judge.rule.waits_for(rule)).for_each(|judge| judge.wake(now));
    }

    /// Since when an alert's trouble stands: before T0 too, where its own past shows that.
    pub(super) fn bad_since(&self, judge: &Judge, alert: &Alert) -> Timestamp {
        let since = alert.bad_since().unwrap_or(alert.level().1);
        let began = alert.evidence().and_then(|evidence| evidence.trouble_before());
        began.map_or(since, |before| since.min(judge.gathering.origin() - before))
    }
}

/// Why a rule that others depend on counts as in trouble.
fn trouble(judge: &Judge, now: Timestamp) -> Option<String> {
    let name = &judge.rule.name;
    // A replay asks for a time before now.
    if judge.alerts.values().any(|alert| alert.level().0 == Level::Critical && alert.level().1 <= now) {
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

fn uses_baseline(rule: &Rule) -> bool {
    use crate::rule::{Clause, When};
    rule.conditions().any(|(_, condition)| match &condition.when {
        When::Test(test) => test.0.iter().any(|clause| matches!(clause, Clause::Baseline(..))),
        When::Critical | When::Present => false,
    })
}
