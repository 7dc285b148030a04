//! The past of rules: asked for when a deployment is live and after a restart, journaled for the watch.

use std::collections::{BTreeMap, BTreeSet};

use super::gathering::{Answered, Gathering};
use super::history::{Purpose, Question, Told};
use super::judge::Judge;
use super::scope;
use super::{Effect, Engine, Event, Out};
use crate::base::{Labels, Span, Timestamp};
use crate::rule::evidence::{MINUTE, Past};
use crate::rule::{Change, Evidence, Known};

/// How many buckets of a share are counted from before the start: more than any test looks at.
const BUCKETS_BEFORE: i64 = 120;

/// The most alerts of rules that wait for another whose standing is journaled with a change of it.
pub(super) const MOST_NOTED: usize = 1000;

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
        let live = self.state.watches.live().and_then(|d| d.t0);
        let judge = &mut self.judges[i];
        let known = self.state.known.get(&judge.rule.name).into_iter().flatten();
        let known = known.filter(|(_, known)| known.fits(&judge.asks));
        let known: BTreeMap<u64, Known> = known.map(|(labels, k)| (labels.fingerprint(), k.clone())).collect();
        let interval = judge.interval_in(&self.store);
        judge.gathering = Gathering::new(origin, live, known, judge.evaluated, interval);
        self.ask(i, now, out);
        self.judges[i].gather_anew();
    }

    /// Asks for the time before T0.
    fn ask_past(&mut self, i: usize, now: Timestamp, out: &mut Out) {
        let purpose = self.calibration_of(i);
        let judge = &mut self.judges[i];
        let interval = judge.interval_in(&self.store);
        let question = judge.gathering.ask_past(&judge.rule, (judge.asks.past(), purpose), interval, self.asked, now);
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
                let judge = &self.judges[i];
                if !judge.gathering.is_waiting() && !judge.asks.counts_events() && judge.rests_on_past() {
                    self.gather_again(i, Vec::new(), now, out);
                }
            }
            Answered::Replayed(past) => self.gather_again(i, past, now, out),
            Answered::Lost => self.lose_past(i, now),
        }
        self.judges[i].wake(now);
    }

    /// The time that cannot be read back is a gap.
    fn lose_past(&mut self, i: usize, now: Timestamp) {
        let judge = &mut self.judges[i];
        judge.gather_anew();
        for evidence in judge.alerts.values_mut().filter_map(|alert| alert.evidence_mut()) {
            evidence.until(now);
            evidence.lacks_past();
        }
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

    /// After a restart: what was pending is a function of the samples, which are there again. What waits for its past is seen
    /// again once that is there.
    pub(super) fn replay_conditions(&mut self, now: Timestamp, out: &mut Out) {
        let mut moments = BTreeSet::new();
        for i in 0..self.judges.len() {
            if !self.judges[i].gathering.is_waiting() {
                let from = self.replayed_from(i, now);
                moments.extend(self.moments(i, from, now));
            }
        }
        self.replay(moments, now, now, out);
    }

    /// Judges rules again at these moments, in the order of time, as one may wait for what another came to; and whenever they
    /// were due between, until `until`.
    fn replay(&mut self, mut moments: BTreeSet<(Timestamp, usize)>, until: Timestamp, now: Timestamp, out: &mut Out) {
        let due: Vec<Timestamp> = self.judges.iter().map(Judge::due_at).collect();
        let mut between: BTreeSet<(Timestamp, usize)> = BTreeSet::new();
        let mut left = MOST_REPLAYED;
        loop {
            let next = moments.first().copied().into_iter().chain(between.first().copied()).min();
            let Some((at, i)) = next else { break };
            let is_sample = moments.remove(&(at, i));
            between.remove(&(at, i));
            // What was planned before a sample came is not due any more.
            if !is_sample && self.judges[i].due_at() != at {
                continue;
            }
            self.replay_at(i, at, now, out);
            let due = self.judges[i].due_at();
            if due > at && due <= until && left > 0 {
                left -= 1;
                between.insert((due, i));
            }
        }
        for (judge, at) in self.judges.iter_mut().zip(due) {
            // Another rule may have woken it.
            judge.be_due(if judge.due_at() == now { now } else { at });
        }
    }

    /// From when on a rule's conditions are to be seen again.
    fn replayed_from(&mut self, i: usize, now: Timestamp) -> Timestamp {
        let judge = &mut self.judges[i];
        let interval = judge.interval_in(&self.store);
        let horizon = judge.rule.horizon(interval).min(self.store.hot());
        // Twice, since a gap pauses it.
        let from = now - horizon.times(2) - interval.times(2);
        // What is judged in a watch only was not judged before T0: the version before is no measure of this one.
        let t0 = self.state.watches.live().and_then(|d| d.t0).filter(|_| scope::asks_for_watch(&judge.rule));
        from.max(t0.unwrap_or(from)).max(self.store.held_since()).max(judge.gathering.judged().unwrap_or(from))
    }

    /// The moments at which a rule is judged again.
    fn moments(&mut self, i: usize, from: Timestamp, now: Timestamp) -> Vec<(Timestamp, usize)> {
        let most = MOST_REPLAYED / self.judges.len();
        let judge = &mut self.judges[i];
        let moments = judge.moments(&self.store, self.config.look_back, (from, now), most);
        let first = moments.first().copied().unwrap_or(from);
        judge.alerts.values_mut().for_each(|alert| alert.settle_before(first));
        moments.into_iter().map(|at| (at, i)).collect()
    }

    fn replay_at(&mut self, i: usize, at: Timestamp, now: Timestamp, out: &mut Out) {
        // Between its announcement and T0 the downtime of a deployment is planned.
        let planned = self.state.watches.open().map(|d| (d.announced, d.t0.unwrap_or(now + Span::millis(1))));
        if self.judges[i].rests_while_settling && planned.is_some_and(|(from, to)| from <= at && at < to) {
            return;
        }
        let situation = self.situation_then(i, at);
        let changes = self.judges[i].replay(&self.store, self.config.look_back, at, &situation);
        self.count_ok(i);
        for change in changes {
            self.take_change(now, change, out);
        }
    }

    /// What a rule gathered before a restart is there: it is gathered again, and the newest of it judged as time passes there,
    /// so that what was pending is pending.
    fn gather_again(&mut self, i: usize, past: Vec<(Labels, Past)>, now: Timestamp, out: &mut Out) {
        let executed = self.state.rollbacks.last().and_then(|run| run.executed);
        let rests = self.judges[i].rests_on_past();
        // What was judged meanwhile is not judged again.
        let from = if rests { self.replayed_from(i, now) } else { now };
        let judge = &mut self.judges[i];
        judge.gather_anew();
        let told = past.first().map_or(usize::MAX, |(_, past)| past.values.len());
        let (first, begin) = judge.gathering.go_on_from(&judge.rule, from, told);
        let from = from.min(begin);
        let rebased = executed.and_then(|at| judge.gathering.index(&judge.rule, at));
        judge.gather_again(past, first, rebased, now);
        if !rests {
            return;
        }
        let mut moments: BTreeSet<_> = self.moments(i, from, now).into_iter().collect();
        if let Some(executed) = executed.filter(|at| *at >= from) {
            let after = moments.split_off(&(executed + Span::millis(1), 0));
            self.replay(moments, executed, now, out);
            self.judges[i].rebase();
            moments = after;
        }
        self.replay(moments, now, now, out);
    }

    /// How the conditions of the alert of a change stood then is journaled with it.
    pub(super) fn note_stood(&mut self, now: Timestamp, change: &Change, out: &mut Out) {
        let (rule, labels, at) = match change {
            Change::Level(t) => (&t.rule, &t.labels, t.at),
            Change::Criterion { rule, labels, at, .. } | Change::Target { rule, labels, at, .. } => (rule, labels, *at),
        };
        let stood = self.judge_named(rule).and_then(|j| Some(j.alerts.get(&labels.fingerprint())?.stands(&j.rule, at)));
        // What waits for it was held or freed by it, which a replay from before would not know; what it saw at this moment is
        // seen again. Once in a step: many alerts of one rule change together.
        let is_first = self.stood_noted.insert(rule.clone());
        let dependants = if is_first { self.names.waiting(rule) } else { &[] };
        let dependants = dependants.iter().map(|i| &self.judges[*i]).flat_map(|j| {
            // A change that a replay says may lie before what others saw meanwhile.
            let at = j.evaluated.filter(|_| at < now).map_or(at, |seen| at.max(seen + Span::millis(1)));
            j.alerts.values().map(move |a| a.stands(&j.rule, at - Span::millis(1)))
        });
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
