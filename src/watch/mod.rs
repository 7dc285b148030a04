//! The time after a deployment: from its announcement over T0 to the verdict.
//!
//! Enters: what a pipeline says, what rules and rollback did, and `now`. Leaves: events, journaled, and from them
//! the verdict with its reasons. Pure.

pub mod config;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::{Id, Level, Span, Timestamp};

/// So long after T0 a change belongs to the deployment: what is read now and then is read late.
pub const BELONGS: Span = Span::mins(2);

/// What the running version is called among the things that run.
pub const VERSION: &str = "version";

/// The configured behaviour.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How long after T0 the verdict falls.
    pub verdict: Span,
    /// A rule observed for less than this share makes the verdict inconclusive.
    pub coverage: f64,
    /// How long after the announcement a deployment may settle before T0.
    pub settle: Span,
    /// The parts of the time after T0, in order.
    pub phases: Vec<Phase>,
}

/// A part of the time after T0, begun by the end of the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// The name that rules choose it by.
    pub name: String,
    /// So long after T0 it ends; with the verdict where unset.
    pub until: Option<Span>,
}

impl Settings {
    /// The name of the phase so long after T0; none before T0 and after the last phase.
    pub fn phase_at(&self, age: Span) -> Option<&str> {
        let ends = |phase: &&Phase| age < phase.until.unwrap_or(self.verdict);
        self.phases.iter().find(ends).map(|phase| phase.name.as_str()).filter(|_| age >= Span::ZERO)
    }
}

/// What a watch ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing stood against it.
    Stable,
    /// Alerts, and no criterion.
    StableWithWarnings,
    /// A criterion was due, or something critical stands, and it was not taken back.
    Failed,
    /// Taken back, and verified.
    RolledBack,
    /// Too little was seen to say.
    Inconclusive,
}

impl Verdict {
    /// As people read it.
    pub fn text(self) -> &'static str {
        match self {
            Verdict::Stable => "stable",
            Verdict::StableWithWarnings => "stable with warnings",
            Verdict::Failed => "failed",
            Verdict::RolledBack => "rolled back",
            Verdict::Inconclusive => "inconclusive",
        }
    }
}

/// One deployment and its watch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// Its identity.
    pub id: Id,
    /// The version that goes live.
    pub version: String,
    /// The version before.
    pub previous: Option<String>,
    /// The sealed plan's hash.
    pub plan: Option<String>,
    /// When it was announced.
    pub announced: Timestamp,
    /// Who announced it.
    pub by: String,
    /// When it was live.
    pub t0: Option<Timestamp>,
    /// For how long each rule was observed since T0.
    pub observed: BTreeMap<String, Span>,
    /// Until when that is counted.
    pub observed_until: Option<Timestamp>,
    /// Rules that were at warning or critical during the watch, with the highest level.
    pub alerted: BTreeMap<String, Level>,
    /// Criteria that were due, by rule.
    pub criteria: Vec<String>,
    /// Rules whose target was missed during the watch.
    #[serde(default)]
    pub missed: Vec<String>,
    /// The rollback that began its steps: its short name, and its outcome's word once it is over.
    pub rollback: Option<(String, Option<String>)>,
    /// The verdict, its reasons and when it fell.
    pub verdict: Option<(Verdict, Vec<String>, Timestamp)>,
    /// Nobody announced it: it was noticed.
    #[serde(default)]
    pub noticed: bool,
    /// What ran at T0, by thing: the version, the images of containers, the executables of units.
    #[serde(default)]
    pub facts: BTreeMap<String, String>,
    /// What changed since, announced by nobody; at most [`Watches::MAX_CHANGES`].
    #[serde(default)]
    pub changes: Vec<Change>,
}

/// Something that runs changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When that was seen.
    pub at: Timestamp,
    /// What: `version`, `container shop_web_1`, `unit shop.service`.
    pub thing: String,
    /// How it was.
    pub from: String,
    /// How it is.
    pub to: String,
}

/// `version 1.4.3 (before: 1.4.2)`.
impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} (before: {})", self.thing, self.to, self.from)
    }
}

/// What is journaled of deployments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A deployment was announced.
    Announced(Box<Deployment>),
    /// It is live.
    Live {
        /// Which.
        id: Id,
        /// T0.
        t0: Timestamp,
        /// When that was said; later than T0 where settling ran out.
        at: Timestamp,
        /// Nobody said so: settling ran out.
        ran_out: bool,
    },
    /// How far the watch has come; journaled now and then, so that a restart loses little.
    Observed {
        /// Which.
        id: Id,
        /// For how long each rule was observed since T0.
        observed: BTreeMap<String, Span>,
        /// Until when that is counted.
        at: Timestamp,
    },
    /// A rule reached a level during the watch.
    Alerted {
        /// Which.
        id: Id,
        /// The rule.
        rule: String,
        /// The level.
        level: Level,
    },
    /// A criterion was due during the watch.
    CriterionDue {
        /// Which.
        id: Id,
        /// The rule.
        rule: String,
    },
    /// A target was missed during the watch.
    Missed {
        /// Which.
        id: Id,
        /// The rule.
        rule: String,
    },
    /// A rollback of it began its steps, or ended.
    Rollback {
        /// Which.
        id: Id,
        /// Its short name.
        run: String,
        /// Its outcome's word, once it is over.
        outcome: Option<String>,
    },
    /// The watch is over.
    Ended {
        /// Which.
        id: Id,
        /// How.
        verdict: Verdict,
        /// Why, a line each.
        because: Vec<String>,
        /// When.
        at: Timestamp,
    },
}

/// What stands at the moment of a verdict.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// Rules that are critical now.
    pub critical: Vec<String>,
    /// Rules that are at warning now.
    pub warning: Vec<String>,
    /// A rollback that is not over.
    pub rollback_open: bool,
    /// Rules that are judged: each must have been observed.
    pub rules: Vec<String>,
}

/// All deployments that are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Watches {
    deployments: Vec<Deployment>,
    bad_versions: Vec<String>,
}

impl Watches {
    /// How many deployments are kept.
    pub const MAX: usize = 100;

    /// How many changes of one watch are kept.
    pub const MAX_CHANGES: usize = 50;

    /// The newest deployment.
    pub fn last(&self) -> Option<&Deployment> {
        self.deployments.last()
    }

    /// All deployments that are kept, oldest first.
    pub fn all(&self) -> &[Deployment] {
        &self.deployments
    }

    /// The deployment whose watch is not over.
    pub fn open(&self) -> Option<&Deployment> {
        self.last().filter(|d| d.verdict.is_none())
    }

    /// The deployment that was announced and is not live yet.
    pub fn settling(&self) -> Option<&Deployment> {
        self.open().filter(|d| d.t0.is_none())
    }

    /// The deployment that is live and under watch.
    pub fn live(&self) -> Option<&Deployment> {
        self.open().filter(|d| d.t0.is_some())
    }

    /// The version that ran last, as far as deployments tell: the one before, where it was taken back.
    pub fn running(&self) -> Option<&str> {
        let last = self.last()?;
        match &last.verdict {
            Some((Verdict::RolledBack, ..)) => last.previous.as_deref(),
            _ => Some(&last.version),
        }
    }

    /// Whether that version was taken back before.
    pub fn is_known_bad(&self, version: &str) -> bool {
        self.bad_versions.iter().any(|v| v == version)
    }

    /// A deployment is announced; one that is still under watch ends with it.
    pub fn announce(&self, deployment: Deployment, standing: &Standing, settings: &Settings) -> Vec<Event> {
        let mut events = Vec::new();
        if let Some(open) = self.open() {
            let at = deployment.announced;
            let (verdict, mut because) = judge(open, standing, settings);
            let verdict = if verdict == Verdict::Failed { verdict } else { Verdict::Inconclusive };
            because.insert(0, format!("{} was announced before the watch was over", deployment.version));
            events.push(Event::Ended { id: open.id.clone(), verdict, because, at });
        }
        events.push(Event::Announced(Box::new(deployment)));
        events
    }

    /// What time brings: settling runs out, or the verdict falls.
    pub fn step(&self, now: Timestamp, standing: &Standing, settings: &Settings) -> Vec<Event> {
        let Some(open) = self.open() else { return Vec::new() };
        let Some(t0) = open.t0 else {
            // Where nobody said more, it was live when it was announced.
            let ran_out = now >= open.announced + settings.settle;
            return match ran_out {
                true => vec![Event::Live { id: open.id.clone(), t0: open.announced, at: now, ran_out }],
                false => Vec::new(),
            };
        };
        let rolled_back = matches!(&open.rollback, Some((_, Some(_))));
        if standing.rollback_open || (now < t0 + settings.verdict && !rolled_back) {
            return Vec::new();
        }
        let (verdict, because) = judge(open, standing, settings);
        vec![Event::Ended { id: open.id.clone(), verdict, because, at: now }]
    }

    /// The next moment at which something happens by itself.
    pub fn deadline(&self, settings: &Settings) -> Option<Timestamp> {
        let open = self.open()?;
        Some(match open.t0 {
            None => open.announced + settings.settle,
            Some(t0) => t0 + settings.verdict,
        })
    }

    /// Folds one event into the state.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Announced(deployment) => {
                self.deployments.push((**deployment).clone());
                let excess = self.deployments.len().saturating_sub(Watches::MAX);
                self.deployments.drain(..excess);
            }
            Event::Live { id, t0, at, .. } => self.with(id, |d| {
                d.t0 = Some(*t0);
                d.observed_until = Some(*at);
            }),
            Event::Observed { id, observed, at } => self.with(id, |d| {
                d.observed = observed.clone();
                d.observed_until = Some(*at);
            }),
            Event::Alerted { id, rule, level } => self.with(id, |d| {
                let highest = d.alerted.entry(rule.clone()).or_insert(*level);
                *highest = (*highest).max(*level);
            }),
            Event::CriterionDue { id, rule } => self.with(id, |d| {
                if !d.criteria.contains(rule) {
                    d.criteria.push(rule.clone());
                }
            }),
            Event::Missed { id, rule } => self.with(id, |d| {
                if !d.missed.contains(rule) {
                    d.missed.push(rule.clone());
                }
            }),
            Event::Rollback { id, run, outcome } => {
                self.with(id, |d| d.rollback = Some((run.clone(), outcome.clone())));
            }
            Event::Ended { id, verdict, because, at } => {
                if *verdict == Verdict::RolledBack
                    && let Some(d) = self.deployments.iter().find(|d| d.id == *id)
                {
                    self.bad_versions.push(d.version.clone());
                    let excess = self.bad_versions.len().saturating_sub(Watches::MAX);
                    self.bad_versions.drain(..excess);
                }
                self.with(id, |d| d.verdict = Some((*verdict, because.clone(), *at)));
            }
        }
    }

    /// What runs belongs to the deployment that is live.
    pub fn note_facts(&mut self, facts: BTreeMap<String, String>) {
        if let Some(live) = self.deployments.last_mut().filter(|d| d.t0.is_some() && d.verdict.is_none()) {
            live.facts = facts;
        }
    }

    /// Something that was seen so soon after T0 that it ran at T0.
    pub fn note_fact(&mut self, thing: &str, value: &str, at: Timestamp, belongs: Span) {
        if let Some(live) = self.deployments.last_mut().filter(|d| d.verdict.is_none())
            && live.t0.is_some_and(|t0| at - t0 < belongs)
        {
            live.facts.insert(thing.into(), value.into());
        }
    }

    /// What runs changed, and nobody announced it.
    pub fn note_change(&mut self, change: Change) {
        if let Some(live) = self.deployments.last_mut().filter(|d| d.t0.is_some() && d.verdict.is_none())
            && live.changes.len() < Watches::MAX_CHANGES
        {
            live.changes.push(change);
        }
    }

    /// Moves the times of a watch that is not over by `by`, because the wall clock was set.
    pub fn shift(&mut self, by: Span) {
        if let Some(open) = self.deployments.last_mut().filter(|d| d.verdict.is_none()) {
            open.announced += by;
            for at in [&mut open.t0, &mut open.observed_until].into_iter().flatten() {
                *at += by;
            }
            open.changes.iter_mut().for_each(|change| change.at += by);
        }
    }

    fn with(&mut self, id: &Id, change: impl FnOnce(&mut Deployment)) {
        if let Some(deployment) = self.deployments.iter_mut().find(|d| d.id == *id) {
            change(deployment);
        }
    }
}

impl Deployment {
    /// One that is announced and not live yet; nothing is known of what was before it.
    pub fn new(id: Id, version: String, announced: Timestamp, by: String) -> Deployment {
        Deployment {
            id,
            version,
            previous: None,
            plan: None,
            announced,
            by,
            t0: None,
            observed: BTreeMap::new(),
            observed_until: None,
            alerted: BTreeMap::new(),
            criteria: Vec::new(),
            missed: Vec::new(),
            rollback: None,
            verdict: None,
            noticed: false,
            facts: BTreeMap::new(),
            changes: Vec::new(),
        }
    }

    /// What stands for and against "stable" so far.
    pub fn so_far(&self, standing: &Standing, settings: &Settings) -> (Verdict, Vec<String>) {
        judge(self, standing, settings)
    }

    /// The share of the watch for which `rule` was observed, as far as it was counted; 1 when nothing was counted yet.
    pub fn coverage(&self, rule: &str) -> f64 {
        let (Some(t0), Some(until)) = (self.t0, self.observed_until) else { return 1.0 };
        let whole = until - t0;
        if whole <= Span::ZERO {
            return 1.0;
        }
        let seen = self.observed.get(rule).copied().unwrap_or(Span::ZERO);
        (seen.as_secs() / whole.as_secs()).clamp(0.0, 1.0)
    }
}

/// The verdict if the watch were over now, and every reason for it.
fn judge(d: &Deployment, standing: &Standing, settings: &Settings) -> (Verdict, Vec<String>) {
    match &d.rollback {
        Some((run, Some(outcome))) if outcome == "verified" => {
            let back = d.previous.as_deref().unwrap_or("the version before");
            return (Verdict::RolledBack, vec![format!("{run} took it back to {back}, verified")]);
        }
        Some((run, outcome)) => {
            let how = outcome.as_deref().unwrap_or("not over");
            return (Verdict::Failed, vec![format!("{run} was begun and is {how}")]);
        }
        None => {}
    }
    let mut because: Vec<String> =
        d.criteria.iter().map(|rule| format!("the criterion of {rule} was due, and nothing was rolled back")).collect();
    because.extend(standing.critical.iter().map(|rule| format!("{rule} is CRITICAL")));
    if !because.is_empty() {
        return (Verdict::Failed, because);
    }
    for rule in &standing.rules {
        let coverage = d.coverage(rule);
        if coverage < settings.coverage {
            because.push(format!(
                "{rule} was observed for {:.0} % of the watch (limit {:.0} %)",
                coverage * 100.0,
                settings.coverage * 100.0
            ));
        }
    }
    if let (Some(runs), Some(t0)) = (d.facts.get(VERSION), d.t0)
        && *runs != d.version
        && d.observed_until.is_none_or(|until| until - t0 >= BELONGS)
    {
        because.push(format!("it was announced as {} and {runs} runs: did the deployment happen?", d.version));
    }
    // What was watched then was another version.
    because.extend(
        d.changes.iter().filter(|change| change.thing == VERSION).map(|change| {
            format!("the version became {} at {}, and nobody announced it", change.to, change.at.rfc3339())
        }),
    );
    if !because.is_empty() {
        return (Verdict::Inconclusive, because);
    }
    because.extend(d.alerted.iter().map(|(rule, level)| format!("{rule} was {level} during the watch")));
    because.extend(
        standing.warning.iter().filter(|r| !d.alerted.contains_key(*r)).map(|rule| format!("{rule} is WARNING")),
    );
    match because.is_empty() {
        true => (Verdict::Stable, vec!["no criterion was due, no alert, every rule was observed".into()]),
        false => (Verdict::StableWithWarnings, because),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings =
        Settings { verdict: Span::hours(48), coverage: 0.9, settle: Span::mins(10), phases: Vec::new() };

    fn announced(at: i64, version: &str) -> Deployment {
        Deployment {
            previous: Some("1.0".into()),
            ..Deployment::new(Id::new(Timestamp(at), at as u128), version.into(), Timestamp(at), "root".into())
        }
    }

    fn live() -> Watches {
        let mut watches = Watches::default();
        let d = announced(0, "2.0");
        let id = d.id.clone();
        watches.apply(&Event::Announced(Box::new(d)));
        watches.apply(&Event::Live { id, t0: Timestamp(0), at: Timestamp(0), ran_out: false });
        watches
    }

    fn verdict(mut watches: Watches, events: Vec<Event>, standing: &Standing) -> Option<Verdict> {
        let id = watches.last().unwrap().id.clone();
        let end = Timestamp(0) + SETTINGS.verdict;
        let observed = [("errors".to_string(), SETTINGS.verdict)].into();
        watches.apply(&Event::Observed { id, observed, at: end });
        events.iter().for_each(|e| watches.apply(e));
        match watches.step(end, standing, &SETTINGS).as_slice() {
            [Event::Ended { verdict, because, .. }] => {
                assert!(!because.is_empty(), "a verdict carries its reason");
                Some(*verdict)
            }
            _ => None,
        }
    }

    #[test]
    fn each_verdict_has_its_cause() {
        let id = live().last().unwrap().id.clone();
        let run = |outcome: &str| Event::Rollback { id: id.clone(), run: "R-1".into(), outcome: Some(outcome.into()) };
        let alerted = Event::Alerted { id: id.clone(), rule: "errors".into(), level: Level::Warning };
        let due = Event::CriterionDue { id: id.clone(), rule: "errors".into() };
        let seen = Standing { rules: vec!["errors".into()], ..Standing::default() };
        let unseen = Standing { rules: vec!["queue".into()], ..Standing::default() };
        let critical = Standing { critical: vec!["errors".into()], ..seen.clone() };
        let open = Standing { rollback_open: true, ..seen.clone() };
        for (events, standing, expected) in [
            (vec![], &seen, Some(Verdict::Stable)),
            (vec![alerted.clone()], &seen, Some(Verdict::StableWithWarnings)),
            (vec![due], &seen, Some(Verdict::Failed)),
            (vec![], &critical, Some(Verdict::Failed)),
            (vec![alerted], &unseen, Some(Verdict::Inconclusive)),
            (vec![run("verified")], &seen, Some(Verdict::RolledBack)),
            (vec![run("stuck")], &seen, Some(Verdict::Failed)),
            (vec![], &open, None),
        ] {
            assert_eq!(verdict(live(), events.clone(), standing), expected, "{events:?} {standing:?}");
        }
    }

    #[test]
    fn settling_that_runs_out_counts_from_the_announcement() {
        let mut watches = Watches::default();
        watches.apply(&Event::Announced(Box::new(announced(1000, "2.0"))));
        let standing = Standing::default();
        assert_eq!(watches.step(Timestamp(1000) + Span::mins(9), &standing, &SETTINGS), vec![]);
        let events = watches.step(Timestamp(1000) + Span::mins(10), &standing, &SETTINGS);
        assert!(matches!(&events[..], [Event::Live { t0: Timestamp(1000), ran_out: true, .. }]), "{events:?}");
    }

    #[test]
    fn a_version_that_was_taken_back_is_remembered() {
        let mut watches = live();
        let id = watches.last().unwrap().id.clone();
        watches.apply(&Event::Ended { id, verdict: Verdict::RolledBack, because: vec![], at: Timestamp(5) });
        assert!(watches.is_known_bad("2.0") && !watches.is_known_bad("1.0"));
        assert_eq!(watches.running(), Some("1.0"));
    }
}
