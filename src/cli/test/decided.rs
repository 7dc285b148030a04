//! What was decided in a test, and how that is held against what was expected.
//!
//! A time in a test stands for the interval of the series that begins with it: what follows from a look at 5m happens a few
//! moments later, where several targets make up a round.

use std::collections::BTreeMap;

use super::super::replay::Witness;
use super::case::{Decided, Failure, LevelsCheck, NotifiedCheck, RollbackCheck, Test};
use super::run::time;
use crate::base::{Id, Labels, Level, Span, Timestamp};
use crate::engine::{Engine, Event};
use crate::notify::outbox::{Delivery, Sending};
use crate::notify::render;
use crate::notify::story::{Reason, Story};
use crate::rollback::machine::{self, Phase};
use crate::rule::Change;

/// The most of each that is remembered; a test with more fails.
const MOST: usize = 50_000;

/// How many lines of what was there are shown.
const SHOWN: usize = 20;

/// Everything that was decided.
#[derive(Debug, Default)]
pub struct Log {
    levels: Vec<(Timestamp, String, Labels, Level)>,
    decided: Vec<(Timestamp, String, Decided)>,
    sent: Vec<(Timestamp, Delivery)>,
    runs: BTreeMap<Id, String>,
    is_full: bool,
}

impl Witness for Log {
    fn event(&mut self, _: Timestamp, event: &Event, _: &Engine) {
        self.is_full |= self.levels.len() >= MOST || self.decided.len() >= MOST || self.sent.len() >= MOST;
        if self.is_full {
            return;
        }
        match event {
            Event::Rule(Change::Level(t)) => self.levels.push((t.at, t.rule.clone(), t.labels.clone(), t.to)),
            Event::Rule(Change::Criterion { rule, due: true, at, .. }) => {
                self.decided.push((*at, rule.clone(), Decided::Due));
            }
            Event::Rollback(event) => self.decided.extend(self.runs.take(event)),
            _ => {}
        }
    }

    fn sent(&mut self, at: Timestamp, sending: &Sending) {
        if self.sent.len() < MOST {
            self.sent.push((at, sending.delivery.clone()));
        }
    }

    fn stepped(&mut self, _: Timestamp, _: &Engine) {}
}

/// Remembers which rule each run is about.
trait Runs {
    fn take(&mut self, event: &machine::Event) -> Option<(Timestamp, String, Decided)>;
}

impl Runs for BTreeMap<Id, String> {
    fn take(&mut self, event: &machine::Event) -> Option<(Timestamp, String, Decided)> {
        match event {
            machine::Event::Opened(run) => {
                let rule = run.criterion.clone().unwrap_or_default();
                self.insert(run.id.clone(), rule.clone());
                let asked = matches!(run.phase, Phase::Asked { .. });
                Some((run.opened, rule, if asked { Decided::Asked } else { Decided::Announced }))
            }
            machine::Event::Executing { run, at, .. } => {
                Some((*at, self.get(run).cloned().unwrap_or_default(), Decided::Requested))
            }
            machine::Event::Held { rule, guard, at, .. } => Some((*at, rule.clone(), Decided::Held(*guard))),
            machine::Event::WouldRollBack { rule, at, .. } => Some((*at, rule.clone(), Decided::Observed)),
            _ => None,
        }
    }
}

impl Log {
    /// Holds the levels of a rule against those expected, all of them.
    pub fn check_levels(&self, test: &Test, expected: &LevelsCheck) -> Option<Failure> {
        let of_rule = self.levels.iter().filter(|(_, rule, labels, _)| {
            *rule == expected.rule && expected.labels.iter().all(|(name, value)| labels.get(name) == value)
        });
        let got: Vec<(Level, Span)> = of_rule.map(|(at, _, _, level)| (*level, *at - test.start)).collect();
        let fits = |(e, g): (&(Level, Span), &(Level, Span))| e.0 == g.0 && is_at(g.1, e.1, test);
        if !self.is_full && expected.levels.len() == got.len() && expected.levels.iter().zip(&got).all(fits) {
            return None;
        }
        let line = |(level, at): &(Level, Span)| format!("{} at {}", level.as_str(), time(*at));
        // What fits is written as it was expected, so that only the others stand out.
        let shown = |(i, got): (usize, &(Level, Span))| match expected.levels.get(i) {
            Some(wanted) if fits((wanted, got)) => line(wanted),
            _ => line(got),
        };
        let lines = got.iter().enumerate().map(shown).collect();
        let what = format!("levels of {}", expected.rule);
        Some(self.failure(test, String::new(), what, expected.levels.iter().map(line).collect(), lines))
    }

    /// Holds what was sent against what was expected.
    pub fn check_notified(&self, test: &Test, expected: &NotifiedCheck) -> Option<Failure> {
        let fits = |(at, delivery): &&(Timestamp, Delivery)| {
            expected.at.is_none_or(|wanted| is_at(*at - test.start, wanted, test))
                && expected.channel.as_ref().is_none_or(|channel| delivery.channel == *channel)
                && expected.event.is_none_or(|event| delivery.notice.kind == event)
                && expected.reason.is_none_or(|reason| reason_of(&delivery.notice.story) == Some(reason))
                && contains(delivery, &expected.contains)
        };
        let found = self.sent.iter().filter(fits).count();
        if !self.is_full && expected.count.map_or(found > 0, |count| count as usize == found) {
            return None;
        }
        let mut wanted = vec![match expected.count {
            Some(0) => "nothing".to_string(),
            Some(n) => format!("{n} times"),
            None => "at least once".to_string(),
        }];
        let channel = expected.channel.as_ref().map(|channel| format!("to {channel}"));
        let event = expected.event.map(|event| format!("event {}", event.as_str()));
        let reason = expected.reason.map(|reason| format!("reason {reason}"));
        wanted.extend([channel, event, reason].into_iter().flatten());
        wanted.extend(expected.contains.iter().map(|text| format!("contains {text:?}")));
        let line = |(at, d): &(Timestamp, Delivery)| {
            let reason = reason_of(&d.notice.story).map(|reason| format!(", {reason}")).unwrap_or_default();
            let kind = d.notice.kind.as_str();
            format!("{} to {} ({kind}{reason}): {}", time(*at - test.start), d.channel, render::subject(&d.notice))
        };
        let got = shown(self.sent.iter().map(line));
        let at = expected.at.map(time).unwrap_or_default();
        Some(self.failure(test, at, "notified".into(), vec![wanted.join(", ")], got))
    }

    /// Holds what was decided about rollbacks against what was expected.
    pub fn check_rollback(&self, test: &Test, expected: &RollbackCheck) -> Option<Failure> {
        let is_meant = |(at, rule, _): &&(Timestamp, String, Decided)| {
            let at = *at - test.start;
            expected.rule.as_ref().is_none_or(|wanted| wanted == rule)
                && expected.at.is_none_or(|wanted| is_at(at, wanted, test))
                && expected.within.is_none_or(|within| at <= within)
        };
        let mut meant = self.decided.iter().filter(is_meant);
        let holds = match expected.decision {
            Decided::None => meant.next().is_none(),
            decision => meant.any(|(_, _, decided)| *decided == decision),
        };
        if !self.is_full && holds {
            return None;
        }
        let within = expected.within.map(|within| format!(" within {}", time(within))).unwrap_or_default();
        let rule = expected.rule.as_ref().map(|rule| format!("{rule}: ")).unwrap_or_default();
        let line = |(at, rule, decided): &(Timestamp, String, Decided)| {
            format!("{rule}: {} at {}", decided.text(), time(*at - test.start))
        };
        let got = shown(self.decided.iter().map(line));
        let at = expected.at.map(time).unwrap_or_default();
        let wanted = vec![format!("{rule}{}{within}", expected.decision.text())];
        Some(self.failure(test, at, "rollback".into(), wanted, got))
    }

    fn failure(&self, test: &Test, at: String, what: String, expected: Vec<String>, got: Vec<String>) -> Failure {
        let mark = |lines: Vec<String>| match test.drill {
            true => lines.into_iter().map(|line| format!("drill: {line}")).collect(),
            false => lines,
        };
        let what = if test.drill { format!("drill: {what}") } else { what };
        let mut got = mark(got);
        if self.is_full {
            got.push(format!("error: more than {MOST} things happened"));
        }
        Failure { test: test.name.clone(), at, what, expected: mark(expected), got }
    }
}

/// Whether something happened in the interval that begins with `wanted`.
fn is_at(at: Span, wanted: Span, test: &Test) -> bool {
    at >= wanted && at < wanted + test.interval
}

fn reason_of(story: &Story) -> Option<&'static str> {
    match story {
        Story::Alert { reason, .. } => Some(match reason {
            Reason::First => "first",
            Reason::Escalated => "escalated",
            Reason::Deescalated => "deescalated",
            Reason::Added => "added",
            Reason::Reminder => "reminder",
        }),
        Story::Resolved { .. } => Some("resolved"),
        _ => None,
    }
}

fn contains(delivery: &Delivery, parts: &[String]) -> bool {
    if parts.is_empty() {
        return true;
    }
    let notice = &delivery.notice;
    let text = format!("{}\n{}", render::subject(notice), render::text(notice, &jiff::tz::TimeZone::UTC));
    parts.iter().all(|part| text.contains(part))
}

fn shown(lines: impl ExactSizeIterator<Item = String>) -> Vec<String> {
    let n = lines.len();
    let mut all: Vec<String> = lines.take(SHOWN).collect();
    if n > SHOWN {
        all.push(format!("and {} more", n - SHOWN));
    }
    all
}
