//! What holds a due rollback back. Each guard is a pure question with its reason; a person may override one by name.

use serde::{Deserialize, Serialize};

use crate::base::{Span, Timestamp};

/// How long before the announcement trouble must have stood to count as older than the deployment.
pub const OLDER_BY: Span = Span::mins(5);

/// The guards, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guard {
    /// The journal cannot be written: nothing is begun that could not be remembered.
    Degraded,
    /// This deployment was rolled back already; a relapse pages.
    AlreadyRolledBack,
    /// The deployment has no sealed plan, so nobody said what to run.
    NotSealed,
    /// Nobody knows which version was before.
    NoPrevious,
    /// The trouble stood before the deployment.
    OlderThanDeployment,
    /// Nearly everything outside the deployment fails too: the observer's own network, not the version.
    BlindObserver,
    /// What the rule depends on is in trouble: that would not be mended by another version.
    DependencyDown,
}

impl Guard {
    /// All, in the order in which they are asked.
    pub const ALL: [Guard; 7] = [
        Guard::Degraded,
        Guard::AlreadyRolledBack,
        Guard::NotSealed,
        Guard::NoPrevious,
        Guard::OlderThanDeployment,
        Guard::BlindObserver,
        Guard::DependencyDown,
    ];

    /// The name that `--override` takes.
    pub fn name(self) -> &'static str {
        match self {
            Guard::Degraded => "degraded",
            Guard::AlreadyRolledBack => "already-rolled-back",
            Guard::NotSealed => "not-sealed",
            Guard::NoPrevious => "no-previous",
            Guard::OlderThanDeployment => "older-than-deployment",
            Guard::BlindObserver => "blind-observer",
            Guard::DependencyDown => "dependency-down",
        }
    }

    /// Whether a person may override it: not where there would be nothing to run, or no memory of it.
    pub fn can_be_overridden(self) -> bool {
        matches!(self, Guard::OlderThanDeployment | Guard::BlindObserver | Guard::DependencyDown)
    }

    /// The guard of that name.
    pub fn named(name: &str) -> Option<Guard> {
        Guard::ALL.into_iter().find(|g| g.name() == name)
    }
}

/// What the guards are asked about.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// Why the journal is not to be trusted, if so.
    pub degraded: Option<String>,
    /// A run of this deployment has begun its steps before: its short name.
    pub run_before: Option<String>,
    /// Whether a plan was sealed when the deployment was announced.
    pub sealed: bool,
    /// The version before, if known.
    pub previous: Option<String>,
    /// When the deployment was announced, or first seen.
    pub announced: Timestamp,
    /// Since when the trouble stands without a break; none when a person asks.
    pub bad_since: Option<Timestamp>,
    /// What the criterion's rule depends on and is in trouble itself.
    pub dependency: Option<String>,
    /// Targets outside the deployment, and how many of them fail.
    pub outside: (usize, usize),
}

/// The first guard that holds, with its reason for people; `overridden` ones are passed over.
pub fn check(facts: &Facts, overridden: &[Guard]) -> Option<(Guard, String)> {
    let holds: [(Guard, Option<String>); 7] = [
        (Guard::Degraded, facts.degraded.as_ref().map(|why| format!("the journal cannot be written ({why})"))),
        (
            Guard::AlreadyRolledBack,
            facts.run_before.as_ref().map(|run| format!("{run} has taken this deployment back already")),
        ),
        (Guard::NotSealed, (!facts.sealed).then(|| "no plan was sealed when the deployment was announced".to_string())),
        (Guard::NoPrevious, facts.previous.is_none().then(|| "nobody knows which version ran before".to_string())),
        (Guard::OlderThanDeployment, older(facts)),
        (Guard::BlindObserver, blind(facts.outside)),
        (
            Guard::DependencyDown,
            facts.dependency.as_ref().map(|what| format!("{what}: what it depends on has to be mended first")),
        ),
    ];
    holds
        .into_iter()
        .filter(|(guard, _)| !(guard.can_be_overridden() && overridden.contains(guard)))
        .find_map(|(guard, why)| why.map(|why| (guard, why)))
}

fn older(facts: &Facts) -> Option<String> {
    let since = facts.bad_since?;
    let before = facts.announced - since;
    (before >= OLDER_BY)
        .then(|| format!("the trouble began {} before the deployment: the version before had it too", before.human()))
}

/// At least three outside targets, all but one failing; with fewer the guard cannot tell and does not hold.
fn blind((targets, failing): (usize, usize)) -> Option<String> {
    (targets >= 3 && failing + 1 >= targets)
        .then(|| format!("{failing} of {targets} targets outside the deployment fail as well: this looks like the observer's own network"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clear() -> Facts {
        Facts {
            degraded: None,
            run_before: None,
            sealed: true,
            previous: Some("1.0".into()),
            announced: Timestamp(10_000_000),
            bad_since: Some(Timestamp(10_060_000)),
            dependency: None,
            outside: (0, 0),
        }
    }

    #[test]
    fn each_guard_holds_for_its_reason_and_no_other() {
        let minutes = |n: i64| Some(Timestamp(10_000_000) - Span::mins(n));
        let rows: [(Facts, Option<Guard>); 12] = [
            (clear(), None),
            (Facts { degraded: Some("disk full".into()), ..clear() }, Some(Guard::Degraded)),
            (Facts { run_before: Some("R-1".into()), ..clear() }, Some(Guard::AlreadyRolledBack)),
            (Facts { sealed: false, ..clear() }, Some(Guard::NotSealed)),
            (Facts { previous: None, ..clear() }, Some(Guard::NoPrevious)),
            (Facts { bad_since: minutes(5), ..clear() }, Some(Guard::OlderThanDeployment)),
            (Facts { bad_since: minutes(4), ..clear() }, None),
            (Facts { bad_since: None, ..clear() }, None),
            (Facts { outside: (2, 2), ..clear() }, None),
            (Facts { outside: (3, 2), ..clear() }, Some(Guard::BlindObserver)),
            (Facts { outside: (5, 3), ..clear() }, None),
            (Facts { dependency: Some("tcp.db fails".into()), ..clear() }, Some(Guard::DependencyDown)),
        ];
        for (facts, expected) in rows {
            assert_eq!(check(&facts, &[]).map(|(g, _)| g), expected, "{facts:?}");
        }
    }

    #[test]
    fn a_person_overrides_only_what_is_a_judgement() {
        let older = Facts { bad_since: Some(Timestamp(0)), ..clear() };
        assert_eq!(check(&older, &[Guard::OlderThanDeployment]), None);
        let degraded = Facts { degraded: Some("disk full".into()), ..clear() };
        assert!(check(&degraded, &[Guard::Degraded]).is_some());
    }
}
