//! The past of rules: asked for when a deployment is live and after a restart, journaled for the watch.

use std::collections::BTreeMap;

use super::gathering::{Answered, Gathering};
use super::history::{Purpose, Question, Told};
use super::judge::Judge;
use super::{Effect, Engine, Event, Out};
use crate::base::{Labels, Span, Timestamp};
use crate::rule::evidence::MINUTE;
use crate::rule::{Change, Evidence, Known};

/// How many buckets of a share are counted from before the start: more than any test looks at.
const BUCKETS_BEFORE: i64 = 120;

/// The most alerts of rules that wait for another whose standing is journaled with a change of it.
const MOST_NOTED: usize = 1000;

/// The most evaluations of the past that a start takes time for, of all rules together.
const MOST_REPLAYED: usize = 200_000;

impl Engine {
    /// Begins to gather for every rule whose conditions look at more than the present; asks for what it needs of the past.
    pub(super) fn gather_all(&mut self, now: Timestamp, out: &mut Out) {
        let live = self.state.watches.live().and_then(|d| d.t0);
        for i in 0..self.judges.len() {
            let judge = &mut self.judges[i];
            if !judge.asks.is_any() {
                continue;
            }
            let is_begun = judge.gathering.origin() != Timestamp::default();
            match (judge.asks.counts_events(), live) {
                // A share is counted on across T0: trouble from before stands, and is known to be older.
                (true, Some(t0)) if is_begun && judge.gathering.until() != t0 => {
                    judge.gathering.go_on(t0);
                    self.ask_past(i, now, out);
                }
                (true, _) if is_begun => {}
                (true, _) => {
                    let before = judge.bucket_in(&self.store).times(BUCKETS_BEFORE);
                    self.begin(i, now - before, now, out);
                }
                (false, Some(t0)) if is_begun && judge.gathering.origin() == t0 => {}
                (false, None) if is_begun => {}
                (false, _) => self.begin(i, live.unwrap_or(now), now, out),
            }
        }
    }

    /// Begins to gather from `origin` on.
    fn begin(&mut self, i: usize, origin: Timestamp, now: Timestamp, out: &mut Out) {
        let is_watch = self.state.watches.live().is_some();
        let judge = &mut self.judges[i];
        let known = self.state.known.get(&judge.rule.name).into_iter().flatten();
        let known: BTreeMap<u64, Known> = known.map(|(labels, k)| (labels.fingerprint(), k.clone())).collect();
        judge.gathering = Gathering::new(origin, is_watch, known);
        judge.gather_anew();
        self.ask(i, now, out);
    }

    /// Asks for the time before T0.
    fn ask_past(&mut self, i: usize, now: Timestamp, out: &mut Out) {
        let purpose = self.calibration_of(i);
        let judge = &mut self.judges[i];
        let interval = judge.interval_in(&self.store);
        let question = judge.gathering.ask_past(&judge.rule, purpose, interval, self.asked, now);
        self.put(question, out);
    }

    fn put(&mut self, question: Option<Question>, out: &mut Out) {
        if let Some(question) = question {
            self.asked += 1;
            out.effects.push(Effect::History(Box::new(question)));
        }
    }

    /// Asks what is still unknown: first the time before T0, then what was gathered since.
    fn ask(&mut self, i: usize, now: Timestamp, out: &mut Out) {
        let judge = &mut self.judges[i];
        let interval = judge.interval_in(&self.store);
        let is_new = !judge.gathering.is_known() && judge.gathering.failure.is_none();
        if is_new && judge.asks.needs_past() {
            return self.ask_past(i, now, out);
        }
        let question = judge.gathering.ask_replay(&judge.rule, interval, self.asked, now);
        self.put(question, out);
    }

    /// An answer about the past of a rule.
    pub(super) fn take_history(&mut self, now: Timestamp, told: Told, out: &mut Out) {
        // Tickets are never given twice; one that nobody waits for any more changes nothing.
        let Some(i) = self.judges.iter().position(|judge| judge.gathering.waits_for(told.ticket)) else { return };
        let labels = self.judges[i].labels().clone();
        let key_of = |of: &Labels| of.without_name().merged(&labels);
        match self.judges[i].gathering.take(told, key_of) {
            Answered::Known(known) => {
                match self.judges[i].asks.counts_events() {
                    true => self.judges[i].learn(),
                    false => self.judges[i].gather_anew(),
                }
                if self.judges[i].gathering.is_watch() && !known.is_empty() {
                    let rule = self.judges[i].rule.name.clone();
                    self.record(Event::Known { rule, known }, out);
                }
                self.ask(i, now, out);
            }
            Answered::Replayed(past) => {
                let executed = self.state.rollbacks.last().and_then(|run| run.executed);
                let judge = &mut self.judges[i];
                judge.gather_anew();
                let rebased = executed.and_then(|at| judge.gathering.index(&judge.rule, at));
                judge.gather_again(past, rebased, now);
            }
            // The time that cannot be read back is a gap.
            Answered::Lost => {
                self.judges[i].gather_anew();
                self.judges[i].alerts.values_mut().filter_map(|a| a.evidence_mut()).for_each(|e| e.until(now));
            }
        }
        self.judges[i].wake(now);
    }

    /// What the past of a rule is to be made of.
    fn calibration_of(&self, i: usize) -> Purpose {
        let judge = &self.judges[i];
        let left_out = self.unusual(&judge.rule.name, judge.gathering.until());
        Purpose::Calibrate { asks: judge.asks.clone(), left_out, zone: self.config.zone.clone() }
    }

    /// Times before T0 that were not usual for a rule: its incidents, and deployments until they settled.
    fn unusual(&self, rule: &str, t0: Timestamp) -> Vec<(Timestamp, Timestamp)> {
        let from = t0 - crate::rule::evidence::PAST;
        let incidents = self.state.incidents.between(from, t0).into_iter().filter(|i| i.rule == rule);
        let incidents = incidents.map(|i| (i.opened, i.closed.unwrap_or(t0)));
        let deployments = self.state.watches.all().iter().filter(|d| d.t0 != Some(t0) && d.announced < t0);
        let deployments = deployments.map(|d| {
            let settled = d.t0.unwrap_or(d.announced) + MINUTE.times(30);
            // What was taken back was not usual until it was.
            let end = d.verdict.as_ref().filter(|_| d.rollback.is_some()).map_or(settled, |(.., at)| *at);
            (d.announced, end.min(t0))
        });
        incidents.chain(deployments).collect()
    }

    /// After a restart: what was pending is a function of the samples, which are there again.
    pub(super) fn replay_conditions(&mut self, now: Timestamp, out: &mut Out) {
        // In the order of time, so that what one rule depends on in another is as it was.
        let mut turns: Vec<(Timestamp, usize)> = Vec::new();
        for i in 0..self.judges.len() {
            let (interval, step) = (self.judges[i].interval_in(&self.store), self.judges[i].replay_step());
            let horizon = self.judges[i].rule.horizon(interval).min(self.store.hot());
            // Twice, since a gap pauses it.
            let from = (now - horizon.times(2) - interval.times(2)).max(self.store.held_since());
            self.judges[i].alerts.values_mut().for_each(|alert| alert.settle_before(from));
            let steps = ((now - from).0 / step.0).clamp(0, (MOST_REPLAYED / self.judges.len()) as i64);
            turns.extend((0..=steps).map(|k| (now - step.times(k), i)));
        }
        turns.sort_unstable();
        // Between its announcement and T0 the downtime of a deployment is planned.
        let planned = self.state.watches.open().map(|d| (d.announced, d.t0.unwrap_or(now + Span::millis(1))));
        for (at, i) in turns {
            if self.judges[i].rests_while_settling && planned.is_some_and(|(from, to)| from <= at && at < to) {
                continue;
            }
            let situation = self.situation_of(i, at);
            for change in self.judges[i].replay(&self.store, self.config.look_back, at, &situation) {
                self.take_change(now, change, out);
            }
        }
    }

    /// How the conditions of the alert of a change stand now is journaled with it.
    pub(super) fn note_stood(&mut self, now: Timestamp, change: &Change, out: &mut Out) {
        let (rule, labels) = match change {
            Change::Level(t) => (&t.rule, &t.labels),
            Change::Criterion { rule, labels, .. } | Change::Target { rule, labels, .. } => (rule, labels),
        };
        let stood =
            self.judge_named(rule).and_then(|j| Some(j.alerts.get(&labels.fingerprint())?.stands(&j.rule, now)));
        // What waits for it was held or freed by it, which a replay from before would not know; what it saw at this moment is
        // seen again. Once in a step: many alerts of one rule change together.
        let is_first = self.stood_noted.insert(rule.clone());
        let dependants = if is_first { self.names.waiting(rule) } else { &[] };
        let dependants = dependants
            .iter()
            .map(|i| &self.judges[*i])
            .flat_map(|j| j.alerts.values().map(|a| a.stands(&j.rule, now - Span::millis(1))));
        let dependants = dependants.take(MOST_NOTED);
        let all: Vec<_> = stood.into_iter().chain(dependants).collect();
        for stood in all {
            self.record(Event::Stood(stood), out);
        }
    }

    /// Why a part of a rule's conditions cannot be judged in this watch.
    pub(super) fn not_armed(&self, judge: &Judge, now: Timestamp) -> Option<String> {
        if !judge.asks.waits_for_past() || !judge.gathering.is_watch() {
            return None;
        }
        if judge.gathering.is_waiting() {
            return Some("its past is being read".into());
        }
        if let Some(why) = &judge.gathering.failure {
            return Some(why.clone());
        }
        judge.alerts.values().find_map(|alert| match alert.evidence().map(Evidence::known) {
            Some(Some(known)) => known.refusal(&judge.asks, now),
            Some(None) | None => Some("nothing is stored of its past".into()),
        })
    }
}
