//! What the machines of the rollback and of the watch are told of everything else, as it is now.
//!
//! Enters: the rules with their alerts, the targets as last seen, the deployment. Leaves: what is due, what is well and what is
//! not, and who is to be asked.

use super::{Engine, Judge};
use crate::base::{Level, SourceRef, Span, Timestamp};
use crate::rollback::guard::{Guard, OLDER_BY};
use crate::rollback::machine::{self as rollback, Deployed, Due, Health, Mode, Situation};
use crate::rule::Turn;
use crate::watch;

/// How long trouble that stood at T0 must outlast it to speak against the new version at all: its data need time to show.
const OUTLASTS: Span = Span::mins(10);

impl Engine {
    /// The probes of a verification that look only when they are asked, and whose turn it is. Each is named once in its
    /// interval, however often this is called and however long its look takes.
    pub fn asks_for(&mut self, now: Timestamp) -> Vec<SourceRef> {
        let Some(since) = self.state.rollbacks.open().and_then(|run| run.executed) else {
            self.asked_for.clear();
            return Vec::new();
        };
        let mut wanted = Vec::new();
        for info in self.config.sources.iter().filter(|info| self.config.probes.contains(&info.source)) {
            let Some(every) = info.manual else { continue };
            let looks = self.targets.iter().filter(|((source, _), _)| *source == info.source).map(|(_, t)| t.last);
            let asked = self.asked_for.get(&info.source).copied();
            let newest = looks.chain(asked).max();
            if newest.is_none_or(|at| at <= since || now - at >= every) {
                self.asked_for.insert(info.source.clone(), now);
                wanted.push(info.source.clone());
            }
        }
        wanted
    }

    /// The settings in force: the configured mode, unless something caps it.
    pub(super) fn settings(&self) -> rollback::Settings {
        let mut settings = self.config.rollback.clone();
        if let Some((cap, _)) = &self.config.capped {
            settings.mode = settings.mode.min(*cap);
        }
        // Nobody said that this version is meant to run: a person decides.
        if self.state.watches.live().is_some_and(|d| d.noticed) {
            settings.mode = settings.mode.min(Mode::Ask);
        }
        settings
    }

    pub(super) fn situation(&self, now: Timestamp) -> Situation {
        let deployed = self.state.watches.live().map(|d| Deployed {
            id: d.id.clone(),
            version: d.version.clone(),
            previous: d.previous.clone(),
            plan: d.plan.clone(),
            announced: d.announced,
        });
        let outside: Vec<bool> = self.targets.values().filter(|t| t.external).map(|t| t.good).collect();
        Situation {
            now,
            degraded: self.degraded.clone(),
            deployed,
            due: self.due(now),
            unconfirmed: self.unconfirmed(),
            outside: (outside.len(), outside.iter().filter(|good| !**good).count()),
            health: self.health(),
        }
    }

    pub(super) fn due(&self, now: Timestamp) -> Vec<Due> {
        let mut due = Vec::new();
        for judge in &self.judges {
            let Some(criterion) = &judge.rule.rollback else { continue };
            let live = self.state.watches.live().and_then(|d| Some((d.t0?, d.announced)));
            let speaks = |a: &&crate::rule::Alert| {
                let (newest, since) = (a.newest(), self.bad_since(judge, a));
                // What is clearly older is held by its guard, and said.
                let of_this = live.is_none_or(|(t0, announced)| {
                    let is_judged = since >= t0 || announced - since >= OLDER_BY || now - t0 >= OUTLASTS;
                    newest.is_some_and(|at| at > t0) && is_judged
                });
                a.is_due() && a.is_confirmed() && of_this
            };
            for alert in judge.alerts.values().filter(speaks) {
                let Some(mut because) = alert.because(&judge.rule, &judge.asks) else { continue };
                because.lines = self.state.lines_of(&judge.rule.name, alert.labels()).to_vec();
                due.push(Due {
                    rule: judge.rule.name.clone(),
                    labels: alert.labels().clone(),
                    because,
                    bad_since: self.bad_since(judge, alert),
                    dependency: self.dependency_in_trouble(&judge.rule),
                    mode: criterion.mode.as_deref().and_then(Mode::named),
                    rung: criterion.rung.clone(),
                });
            }
        }
        due
    }

    pub(super) fn unconfirmed(&self) -> Vec<String> {
        let waits = |j: &&Judge| j.alerts.values().any(|a| a.is_due() && !a.is_confirmed());
        self.judges.iter().filter(waits).map(|j| j.rule.name.clone()).collect()
    }

    pub(super) fn health(&self) -> Health {
        let Some(since) = self.state.rollbacks.open().and_then(|r| r.executed) else { return Health::default() };
        let mut health = Health::default();
        for judge in self.judges.iter().filter(|j| j.rule.rollback.is_some()) {
            let name = &judge.rule.name;
            let fresh = |a: &crate::rule::Alert| a.newest().is_some_and(|e| e > since);
            let because = |a: &crate::rule::Alert| a.because(&judge.rule, &judge.asks);
            let worst = judge.alerts.values().max_by_key(|a| a.level().0);
            match worst {
                // What stood before a restart and is not judged yet: that is to be awaited.
                Some(alert) if judge.may == Turn::Waiting && (alert.level().0 > Level::Ok || alert.is_due()) => {
                    health.waiting += 1;
                }
                // Not judged now: that is no sign of health.
                _ if matches!(judge.may, Turn::Out | Turn::Held | Turn::Waiting) => health.unseen.push(name.clone()),
                Some(alert) if alert.level().0 > Level::Ok || alert.is_due() => {
                    let why = because(alert).map_or_else(String::new, |b| format!(": {b}"));
                    health.bad.push(format!("{name}{why}"));
                }
                Some(alert) if judge.no_data.is_none() && judge.alerts.values().any(fresh) => {
                    let value = because(alert).and_then(|b| b.value).map_or_else(String::new, |v| format!(" {v}"));
                    health.good.push(format!("{name}{value}"));
                }
                _ => health.unseen.push(name.clone()),
            }
        }
        for ((source, _), target) in &self.targets {
            let wanted = match self.config.probes.is_empty() {
                true => !target.external && !target.optional,
                false => self.config.probes.contains(source),
            };
            match (wanted, target.last > since && (target.says || !target.good), target.good) {
                (false, ..) => {}
                (true, false, _) => health.waiting += 1,
                (true, true, true) => health.succeeding += 1,
                (true, true, false) => health.failing.push(source.to_string()),
            }
        }
        let seen = |source: &SourceRef| self.targets.keys().any(|(known, _)| known == source);
        health.waiting += self.config.probes.iter().filter(|probe| !seen(probe)).count();
        health.running = match &self.version {
            Some((at, version)) if *at > since => Some(version.clone()),
            Some(_) => Some(Err("not read yet".into())),
            // It is to be read, and never was: that proves nothing.
            None => self.config.running.is_known().then(|| Err("it was not read so far".into())),
        };
        health
    }

    pub(super) fn standing(&self) -> watch::Standing {
        let of = |level: Level| {
            let judges = self.judges.iter().filter(|j| j.level() == level && j.stratum == 0);
            let groups = self.groups.alert_names().into_iter().filter(|name| self.state.level_of(name) == level);
            judges.map(|j| j.rule.name.clone()).chain(groups.map(String::from)).collect::<Vec<_>>()
        };
        let seen = |j: &&Judge| j.stratum == 0 && (j.evaluated.is_some() || j.no_data.is_some());
        watch::Standing {
            critical: of(Level::Critical),
            warning: of(Level::Warning),
            rollback_open: self.state.rollbacks.open().is_some_and(|r| r.started.is_some()),
            rules: self.judges.iter().filter(seen).map(|j| j.rule.name.clone()).collect(),
        }
    }

    /// What a rollback of `deployment` could fail for before it begins, each with whether all is well with it. Nothing
    /// where none would be begun: the mode only observes, there are no steps, or they have run already.
    pub(super) fn readiness(&self, deployment: &watch::Deployment) -> Vec<(&'static str, bool)> {
        let is_meant = self.settings().mode > Mode::Observe && !self.config.steps.is_empty();
        if !is_meant || self.state.rollbacks.begun(&deployment.id).is_some() {
            return Vec::new();
        }
        vec![
            ("steps", self.config.obstacles.is_empty()),
            (Guard::Degraded.name(), self.degraded.is_none()),
            (Guard::NotSealed.name(), deployment.plan.is_some()),
            (Guard::NoPrevious.name(), deployment.previous.is_some()),
        ]
    }
}
