//! Deployments that are played again: those that the journal knows, and those that the command line adds.

use std::path::Path;

use super::super::query;
use crate::base::{Span, Timestamp};
use crate::engine::State;
use crate::engine::command::{Command, Reply};
use crate::watch::Deployment;

/// Who announces them.
const BY: &str = "backtest";

/// The version before the first one that is known.
const BEFORE: &str = "previous";

/// The hash of a plan that nobody sealed: whether one would have been there is no question of the rules.
const PLAN: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// One deployment to come.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// When it is announced.
    pub announced: Timestamp,
    /// When it is live; none where settling runs out.
    pub live: Option<Timestamp>,
    /// What goes live.
    pub version: String,
    /// What was there before, where that is known.
    pub previous: Option<String>,
    /// The command line added it.
    pub added: bool,
}

/// Something about a deployment that is said at a moment.
#[derive(Clone, Debug, PartialEq)]
pub enum Word {
    /// It begins.
    Start(Planned),
    /// It is live.
    Complete,
}

/// Reads `TIME[=VERSION]`; an age counts back from `reference`. The first of those without a version is `new-1`.
///
/// # Errors
/// What is wrong with it.
pub fn added(texts: &[String], reference: Timestamp) -> Result<Vec<Planned>, String> {
    let one = |(i, text): (usize, &String)| {
        let (time, version) = match text.split_once('=') {
            Some((time, version)) if !version.trim().is_empty() => (time, version.trim().to_string()),
            Some(_) => return Err(format!("--deploy {text}: the version behind `=` is missing")),
            None => (text.as_str(), format!("new-{}", i + 1)),
        };
        let at = query::point(time.trim(), reference).map_err(|why| format!("--deploy {text}: {why}"))?;
        Ok(Planned { announced: at, live: Some(at), version, previous: None, added: true })
    };
    texts.iter().enumerate().map(one).collect()
}

/// The deployments that the journal of a state folder knows, oldest first; none where there is no journal to read.
pub fn recorded(state: &Path) -> Vec<Planned> {
    let Some(state) = crate::agent::last_known(state) else { return Vec::new() };
    of(&state)
}

fn of(state: &State) -> Vec<Planned> {
    // What was only noticed is noticed again, where it stands in the samples.
    let announced = state.watches.all().iter().filter(|d| !d.noticed);
    let one = |d: &Deployment| Planned {
        announced: d.announced,
        live: d.t0,
        version: d.version.clone(),
        previous: d.previous.clone(),
        added: false,
    };
    announced.map(one).collect()
}

/// What is said about them between `begin` and `end`, in the order of time; those outside are given apart.
pub fn words(planned: Vec<Planned>, begin: Timestamp, end: Timestamp) -> (Vec<(Timestamp, Word)>, Vec<Planned>) {
    let mut words = Vec::new();
    let mut outside = Vec::new();
    for one in planned {
        if one.announced < begin || one.announced > end {
            outside.push(one);
            continue;
        }
        // T0 where settling ran out is the announcement itself, and then it is live at once.
        let live = one.live.filter(|live| *live > one.announced && *live <= end);
        words.extend(live.map(|live| (live, Word::Complete)));
        words.push((one.announced, Word::Start(one)));
    }
    words.sort_by_key(|(at, word)| (*at, matches!(word, Word::Complete)));
    (words, outside)
}

impl Word {
    /// The command that says it, given what the engine knows.
    pub fn command(&self, state: &State) -> Command {
        match self {
            Word::Start(planned) => Command::DeployStart {
                version: planned.version.clone(),
                previous: planned
                    .previous
                    .clone()
                    .or_else(|| state.watches.running().is_none().then(|| BEFORE.to_string())),
                plan: Some(PLAN.into()),
                live: planned.live == Some(planned.announced),
                force: true,
                by: BY.into(),
            },
            Word::Complete => Command::DeployComplete { by: BY.into() },
        }
    }

    /// What to say where it was not accepted.
    pub fn refusal(&self, at: Timestamp, reply: Option<&Reply>, zone: &jiff::tz::TimeZone) -> Option<String> {
        let (Some(Reply::Refused { why, .. } | Reply::Wrong { why, .. }), Word::Start(planned)) = (reply, self) else {
            return None;
        };
        Some(format!("the deployment of {} at {} was not played: {why}", planned.version, at.date_clock(zone)))
    }
}

/// Why deployments outside of the data were left out.
pub fn left_out(outside: &[Planned], begin: Timestamp, zone: &jiff::tz::TimeZone) -> Vec<String> {
    let of = |one: &Planned| {
        // Those of long ago are many, and nobody expects them.
        let near = one.added || begin - one.announced < Span::hours(48);
        near.then(|| {
            let side = if one.announced < begin { "before the data begin" } else { "after the data end" };
            format!(
                "the deployment of {} at {} was not played: it is {side}",
                one.version,
                one.announced.date_clock(zone)
            )
        })
    };
    outside.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    #[test]
    fn a_deployment_is_a_time_and_perhaps_a_version() {
        let texts = ["2023-11-14T20:00:00Z=2.1.0", "30m", "1699999000"].map(String::from);
        let all = added(&texts, NOW).unwrap();
        let seen: Vec<_> = all.iter().map(|p| (p.announced.0, p.version.as_str())).collect();
        assert_eq!(
            seen,
            [(1_699_992_000_000, "2.1.0"), ((NOW - Span::mins(30)).0, "new-2"), (1_699_999_000_000, "new-3")]
        );
        for (text, why) in [("yesterday", "--deploy yesterday: "), ("5m=", "the version behind `=` is missing")] {
            let error = added(&[text.to_string()], NOW).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn words_come_in_order_and_what_lies_outside_is_apart() {
        let planned = |announced: i64, live: Option<i64>, version: &str| Planned {
            announced: Timestamp(announced),
            live: live.map(Timestamp),
            version: version.into(),
            previous: None,
            added: true,
        };
        let all = vec![planned(50, Some(60), "b"), planned(10, Some(10), "a"), planned(5, None, "old")];
        let (words, outside) = words(all, Timestamp(10), Timestamp(100));
        let times: Vec<i64> = words.iter().map(|(at, _)| at.0).collect();
        assert_eq!(times, [10, 50, 60]);
        assert_eq!(words[2].1, Word::Complete);
        assert_eq!(outside.len(), 1);
        let said = left_out(&outside, Timestamp(10), &jiff::tz::TimeZone::UTC);
        assert!(said[0].ends_with("it is before the data begin"), "{said:?}");
    }
}
