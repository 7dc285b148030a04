//! When a rule is due, and what its evaluation changes.
//!
//! A rule is due (a) when every target that gave one of its series in the last round has delivered again, or a
//! tenth of `every` (at most 500 ms) after the first did; (b) at the latest `every` after its last evaluation;
//! (c) at once for event samples; (d) when a timer of one of its alerts runs out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::asking::{ASK_LEAST, Asking, Due, Query};
use super::gathering::Gathering;
use super::history::{sample_times, thinned};
use super::past::MOST_NOTED;
use super::snapshot::Evaluation;
use crate::base::{Labels, Level, Span, Timestamp};
use crate::promql::{self, Absence, CountReading, Missing, Reading};
use crate::rule::machine::GONE_AFTER;
use crate::rule::{Alert, Asks, Baseline, Change, Judged, NoData, Rule, Setting, Stood, Turn as May, Value, When};
use crate::store::{Past, Store, TargetId};

/// How often a rule is evaluated where its sources are unknown.
const EVERY_UNKNOWN: Span = Span::secs(15);

/// The shortest `every`.
const EVERY_LEAST: Span = Span::secs(1);

/// How often within `every` a rule is judged on rounds of which only a part has come.
const PARTIAL_ROUNDS: i64 = 8;

/// How many evaluations are kept for `explain`.
const RECENT: usize = 20;

/// One rule with its alerts and its schedule.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) rule: Rule,
    /// It is judged after those of the strata before; from 1 on it reads series that the engine writes.
    pub(super) stratum: u32,
    /// It is not judged while a deployment settles.
    pub(super) rests_while_settling: bool,
    pub(super) every: Span,
    pub(super) alerts: BTreeMap<u64, Alert>,
    pub(super) evaluated: Option<Timestamp>,
    pub(super) no_data: Option<(Timestamp, String)>,
    pub(super) failed: Option<String>,
    pub(super) recent: VecDeque<Evaluation>,
    /// For how long it was observed since the last count, and until when that is counted.
    pub(super) observed: Span,
    pub(super) observed_until: Option<Timestamp>,
    interval: Span,
    /// Of this life of the agent.
    started: Timestamp,
    targets: BTreeSet<TargetId>,
    giving: Option<u64>,
    delivered: BTreeSet<TargetId>,
    due_at: Timestamp,
    labels: Labels,
    /// Of a rule that asks a remote server.
    pub(super) asking: Asking,
    /// What its conditions look at beyond the present.
    pub(super) asks: Asks,
    pub(super) gathering: Gathering,
    /// Whether it is judged now, and why not; as of the last turn.
    pub(super) may: May,
    pub(super) held: Option<String>,
    /// Since when what it depends on holds it, or holds it no more; as journaled.
    pub(super) held_by_others: Option<(Timestamp, bool)>,
    /// Whether it was ok when it was counted last.
    counted_ok: bool,
}

/// What the engine knows that a rule's turn depends on.
#[derive(Clone, Debug)]
pub(super) struct Situation {
    /// Whether it is judged, as far as its scope says.
    pub(super) may: May,
    /// Why not, for people.
    pub(super) held: Option<String>,
    /// Whether the rules that its criterion waits for are critical.
    pub(super) with: bool,
}

/// What came of a rule that is due.
#[derive(Debug)]
pub(super) enum Turn {
    /// It was judged.
    Judged(Vec<Change>),
    /// Its value is asked of a remote server.
    Asks(Query),
    /// The answer has not come yet.
    Waits,
}

impl Judge {
    pub(super) fn new(rule: Rule, now: Timestamp) -> Judge {
        let labels = rule.labels.with("alertname", &rule.name);
        let asks = Asks::of(&rule);
        Judge {
            rule,
            stratum: 0,
            rests_while_settling: true,
            every: EVERY_UNKNOWN,
            alerts: BTreeMap::new(),
            evaluated: None,
            no_data: None,
            failed: None,
            recent: VecDeque::new(),
            observed: Span::ZERO,
            observed_until: None,
            interval: EVERY_UNKNOWN,
            started: now,
            targets: BTreeSet::new(),
            giving: None,
            delivered: BTreeSet::new(),
            due_at: now + EVERY_LEAST,
            labels,
            asking: Asking::default(),
            gathering: Gathering::default(),
            asks,
            may: May::Judged,
            held: None,
            held_by_others: None,
            counted_ok: false,
        }
    }

    /// The highest level among its alerts.
    pub(super) fn level(&self) -> Level {
        self.alerts.values().map(|a| a.level().0).max().unwrap_or_default()
    }

    /// Whether it was counted as ok.
    pub(super) fn was_ok(&self) -> bool {
        self.counted_ok
    }

    /// Whether it is ok and has data: counted so from now on.
    pub(super) fn count_ok(&mut self) -> bool {
        self.counted_ok = self.level() == Level::Ok && self.no_data.is_none();
        self.counted_ok
    }

    /// Whether what it depends on held it when it was judged last.
    pub(super) fn is_held_by_others(&self) -> bool {
        self.held_by_others.is_some_and(|(_, held)| held)
    }

    /// How the conditions of its alerts stand that were entered; of a thousand at most, the others go on from their level.
    pub(super) fn entered(&self, at: Timestamp) -> Vec<Stood> {
        let entered = self.alerts.values().filter(|alert| alert.is_entered()).take(MOST_NOTED);
        entered.map(|alert| alert.stands(&self.rule, at)).collect()
    }

    /// What each of its alerts carries: the rule's own labels and its name.
    pub(super) fn labels(&self) -> &Labels {
        &self.labels
    }

    /// When it is due by itself.
    pub(super) fn due_at(&self) -> Timestamp {
        self.due_at
    }

    /// A target delivered: is the round complete?
    pub(super) fn delivered(&mut self, target: TargetId, event: bool, store: &Store, now: Timestamp) {
        self.look_up_targets(store);
        if !self.targets.contains(&target) {
            return;
        }
        self.delivered.insert(target);
        if event || self.delivered.len() >= self.targets.len() {
            self.due_at = now;
        } else {
            // Where targets deliver one after the other, not each of them brings an evaluation of its own.
            let wait = now + Span((self.every.0 / 10).min(500));
            let again = self.evaluated.map_or(wait, |at| at + Span(self.every.0 / PARTIAL_ROUNDS));
            self.due_at = self.due_at.min(wait.max(again));
        }
    }

    /// Not judged now: it is due again one `every` later.
    pub(super) fn postpone(&mut self, now: Timestamp) {
        self.due_at = now + self.every;
        self.asking.forget();
    }

    /// After a replay: when it is due in this life.
    pub(super) fn be_due(&mut self, at: Timestamp) {
        self.due_at = at;
    }

    /// Something it reads was written by the engine.
    pub(super) fn wake(&mut self, now: Timestamp) {
        self.due_at = now;
    }

    /// Evaluates the expression, or asks for its value; judges each label set, and plans the next evaluation.
    pub(super) fn turn(
        &mut self,
        store: &Store,
        look_back: Span,
        now: Timestamp,
        ticket: u64,
        situation: Situation,
    ) -> Turn {
        self.look_up_targets(store);
        self.count_buckets(store, now);
        let figures = self.figures(store, look_back, now);
        let with = situation.with;
        (self.may, self.held) = (situation.may, situation.held);
        if self.gathering.holds_up(&self.asks, now)
            && self.rests_on_past()
            && matches!(self.may, May::Judged | May::Warming)
        {
            (self.may, self.held) = (May::Waiting, Some("its past is being read".into()));
        } else if matches!(self.may, May::Judged | May::Warming) {
            self.gathering.judge(now);
        }
        let Value::Remote { remote, query, timeout, .. } = &self.rule.value else {
            let readings = self.read(store, look_back, now);
            let changes = self.judge(readings, &figures, with, now);
            self.plan_after(now);
            return Turn::Judged(changes);
        };
        match self.asking.due(remote, now) {
            Due::Ask => {
                let (remote, query, timeout) = (remote.clone(), query.clone(), *timeout);
                self.asking.ask(ticket, now, timeout);
                self.due_at = now + timeout;
                Turn::Asks(Query { ticket, remote, query, at: now, timeout })
            }
            Due::Wait(deadline) => {
                self.due_at = deadline;
                Turn::Waits
            }
            Due::Judge(reading, asked) => {
                let readings = self.readings(reading);
                let changes = self.judge(readings, &figures, with, now);
                let soonest = (asked + ASK_LEAST).max(now + Span::millis(1));
                self.plan((asked + self.every).max(soonest), soonest);
                Turn::Judged(changes)
            }
        }
    }

    /// Judges each label set by what was read.
    fn judge(
        &mut self,
        (points, no_data, failed): Readings,
        figures: &Figures,
        with: bool,
        now: Timestamp,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        let saw = !points.is_empty() || (no_data.is_none() && failed.is_none());
        self.count_observed(saw, now);
        self.failed = failed;
        self.no_data = no_data.map(|why| (self.no_data.as_ref().map_or(now, |(since, _)| *since), why));
        self.note(&points, now);

        let has_data = self.no_data.is_none() && self.failed.is_none();
        let since = self.started;
        let mut setting = Setting { turn: self.may, with, has_data, since, ..Setting::new(now, self.interval) };
        let seen_any = !points.is_empty();
        let mut seen: Vec<u64> = Vec::with_capacity(points.len());
        for (labels, judged) in points {
            let key = labels.fingerprint();
            setting.figure = figures.of(key);
            let begin = |labels| self.gathering.alert(&self.asks, labels, now);
            let alert = self.alerts.entry(key).or_insert_with(|| begin(labels));
            changes.extend(alert.judge(&self.rule, &self.asks, judged, setting));
            seen.push(key);
        }
        seen.sort_unstable();
        // A policy that turns missing data into trouble holds also before anything was ever seen.
        if self.no_data.is_some() && self.alerts.is_empty() && matches!(self.rule.no_data, NoData::As(_)) {
            let labels = self.labels.clone();
            self.alerts.insert(labels.fingerprint(), Alert::new(labels, now));
        }
        let absent = match self.no_data.is_none() && self.failed.is_none() && asks_for_presence(&self.rule) {
            true => Judged::Absent { newest: now },
            false => Judged::Missing,
        };
        if self.alerts.len() > seen.len() {
            setting.figure = None;
            // What stood for everything before anything was seen has nothing to stand for any more.
            let stand_in = self.labels.fingerprint();
            for (key, alert) in self.alerts.iter_mut().filter(|(key, _)| seen.binary_search(key).is_err()) {
                let is_over = *key == stand_in && seen_any;
                let judged = if is_over { Judged::Absent { newest: now } } else { absent };
                changes.extend(alert.judge(&self.rule, &self.asks, judged, setting));
            }
            self.alerts.retain(|_, a| !(a.is_idle() && a.missing_since().is_some_and(|s| now - s >= GONE_AFTER)));
        }
        self.evaluated = Some(now);
        self.delivered.clear();
        changes
    }

    /// Sees again, after a restart, what the samples said `at` a moment, so that what was pending is pending. Gives what should
    /// have been said then and was not.
    pub(super) fn replay(
        &mut self,
        store: &Store,
        look_back: Span,
        at: Timestamp,
        situation: &Situation,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        if matches!(self.rule.value, Value::Remote { .. }) {
            return changes;
        }
        // Whether others held it is known from then on, and how it stood then.
        let since = self.held_by_others.map(|(since, _)| since);
        self.count_buckets(store, at);
        let (points, _, _) = self.read(store, look_back, at);
        let figures = self.figures(store, look_back, at);
        for (labels, judged) in points {
            let key = labels.fingerprint();
            let begin = |labels| self.gathering.alert(&self.asks, labels, at).unconfirmed();
            let alert = self.alerts.entry(key).or_insert_with(|| begin(labels));
            let (turn, with) = (situation.may, situation.with);
            let setting = Setting { turn, with, figure: figures.of(key), ..Setting::new(at, self.interval) };
            changes.extend(alert.replay(&self.rule, &self.asks, judged, setting, since));
        }
        self.plan_after(at);
        changes
    }

    /// Whether it is not judged while its past is being read: its conditions look at that, or it goes on after a restart, when
    /// what stands may rest on what was gathered before.
    pub(super) fn rests_on_past(&self) -> bool {
        let goes_on = self.gathering.is_watch() && self.gathering.judged().is_none();
        goes_on
            || self.asks.waits_for_past()
            || self.asks.sums_up()
            || self.alerts.values().any(|alert| !alert.is_confirmed())
    }

    /// The moments from `from` until `now` at which it is judged again: when its samples came, as it was judged then. Of more
    /// than `most` the newest.
    pub(super) fn moments(
        &self,
        store: &Store,
        look_back: Span,
        (from, now): (Timestamp, Timestamp),
        most: usize,
    ) -> Vec<Timestamp> {
        let selectors = self.rule.reach(look_back);
        let mut moments = sample_times(store, selectors.iter().map(|(selector, _)| selector), from, now);
        // It may tell of what is not there.
        if moments.is_empty() {
            let steps = (now - from).0.max(0) / self.every.0.max(1);
            moments.extend((0..=steps).map(|k| now - self.every.times(k)));
        }
        let mut moments = thinned(moments, Span(self.every.0 / 4));
        moments.drain(..moments.len().saturating_sub(most));
        moments
    }

    /// What `baseline` is now, where an expression gives it.
    fn figures(&self, store: &Store, look_back: Span, now: Timestamp) -> Figures {
        let Baseline::Expression { plan, .. } = &self.rule.baseline else { return Figures::default() };
        let Reading::Points(points) = promql::evaluate_value(plan, store, now, look_back) else {
            return Figures::default();
        };
        match points.as_slice() {
            [point] if point.labels.without_name().is_empty() => Figures { all: Some(point.value), of: Vec::new() },
            points => {
                let figure = |p: &promql::Point| (self.alert_labels(&p.labels).fingerprint(), p.value);
                let mut of: Vec<(u64, f64)> = points.iter().map(figure).collect();
                of.sort_by_key(|(key, _)| *key);
                Figures { all: None, of }
            }
        }
    }

    /// The events of each bucket that is over, for those alerts whose limit is a share.
    fn count_buckets(&mut self, store: &Store, now: Timestamp) {
        let Value::Share { errors, total, window, by, .. } = &self.rule.value else { return };
        // Those that are over meanwhile are counted when the answer is there.
        if !self.asks.counts_events() || self.gathering.is_replaying() {
            return;
        }
        let step = self.gathering.bucket(*window, self.interval);
        for end in self.gathering.buckets_over(step, now) {
            let counts = match promql::count_events(errors, total, step, by, store, end) {
                CountReading::Counts(points) => points,
                CountReading::NoData(_) | CountReading::Failed(_) => Vec::new(),
            };
            let key = |p: &promql::CountPoint| p.labels.without_name().merged(&self.labels).fingerprint();
            let counts: BTreeMap<u64, (f64, f64)> = counts.iter().map(|p| (key(p), (p.errors, p.total))).collect();
            for (key, alert) in &mut self.alerts {
                let Some(evidence) = alert.evidence_mut() else { continue };
                let (errors, total) = counts.get(key).copied().unwrap_or((f64::NAN, f64::NAN));
                let dispersion = evidence.dispersion();
                evidence.bucket(errors, total, &dispersion);
            }
        }
    }

    /// Adds what is known now to what has gathered.
    pub(super) fn learn(&mut self) {
        for (key, alert) in &mut self.alerts {
            if let (Some(evidence), Some(known)) = (alert.evidence_mut(), self.gathering.known(*key)) {
                evidence.learn(known.clone());
            }
        }
    }

    /// Gathers again the `first` minutes, or buckets, of what was gathered before a restart, also of label sets that were not
    /// seen yet since. At the one with index `rebased` the steps of a rollback were done.
    pub(super) fn gather_again(
        &mut self,
        past: Vec<(Labels, crate::rule::evidence::Past)>,
        first: usize,
        rebased: Option<usize>,
        now: Timestamp,
    ) {
        let since_t0 = self.gathering.index(&self.rule, self.gathering.until()).unwrap_or(0);
        for (labels, mut past) in past {
            past.values.truncate(first);
            past.errors.truncate(first);
            let key = labels.fingerprint();
            let begin = |labels| self.gathering.alert(&self.asks, labels, now).unconfirmed();
            let alert = self.alerts.entry(key).or_insert_with(|| begin(labels));
            if let Some(evidence) = alert.evidence_mut() {
                evidence.replay(&self.asks, &past, rebased);
            }
            alert.arm_again(&self.rule, &self.asks, &past, since_t0, now);
        }
    }

    /// How long a bucket of its share is.
    pub(super) fn bucket_in(&mut self, store: &Store) -> Span {
        self.look_up_targets(store);
        match &self.rule.value {
            Value::Share { window, .. } => self.gathering.bucket(*window, self.interval),
            Value::Expression { .. } | Value::Remote { .. } => Span::mins(1),
        }
    }

    /// The steps of a rollback are done: what gathered under the version that was taken back is no measure of the one before.
    pub(super) fn rebase(&mut self) {
        for evidence in self.alerts.values_mut().filter_map(Alert::evidence_mut) {
            evidence.rebase(&self.asks);
        }
    }

    /// Begins to gather anew, with what is known of the time before.
    pub(super) fn gather_anew(&mut self) {
        for (key, alert) in &mut self.alerts {
            alert.set_evidence(self.gathering.begin(&self.asks, *key, self.gathering.origin()));
        }
    }

    /// The next evaluation after one at `now`: a little later than the data are due, so that they are judged when they come,
    /// once.
    fn plan_after(&mut self, now: Timestamp) {
        self.plan(now + self.every + Span((self.every.0 / 10).min(500)), now + Span::millis(1));
    }

    /// The next evaluation: `next`, or when a timer of an alert runs out, but not before `soonest`: a deadline that has
    /// come without effect waits for a sample.
    fn plan(&mut self, next: Timestamp, soonest: Timestamp) {
        let deadlines = self.alerts.values().filter_map(|alert| alert.deadline(&self.rule, self.interval));
        self.due_at = deadlines.filter(|at| *at >= soonest).fold(next, Timestamp::min);
    }

    /// An answer of a remote server came; false where this rule does not wait for it.
    pub(super) fn take_answer(&mut self, answer: &super::asking::Answer, now: Timestamp) -> bool {
        let is_mine = self.asking.take(answer, now);
        if is_mine {
            self.due_at = now;
        }
        is_mine
    }

    /// Moves all remembered times by `by`, because the wall clock was set.
    pub(super) fn shift(&mut self, by: Span) {
        self.due_at += by;
        self.started += by;
        self.asking.shift(by);
        self.gathering.shift(by);
        if let Some((at, _)) = &mut self.held_by_others {
            *at += by;
        }
        self.alerts.values_mut().for_each(|a| a.shift(by));
        for at in [&mut self.evaluated, &mut self.observed_until].into_iter().flatten() {
            *at += by;
        }
        if let Some((since, _)) = &mut self.no_data {
            *since += by;
        }
    }

    /// Takes over what another life of the same rule knew: an edited rule keeps its alerts.
    pub(super) fn inherit(&mut self, old: Judge) {
        self.alerts = old.alerts;
        self.no_data = old.no_data;
        self.recent = old.recent;
        self.observed = old.observed;
        self.observed_until = old.observed_until;
        self.started = old.started;
        self.evaluated = old.evaluated;
        self.held_by_others = old.held_by_others;
        if self.asks == old.asks && judges_alike(&self.rule, &old.rule) {
            self.gathering = old.gathering;
        } else {
            self.alerts.values_mut().for_each(|alert| alert.set_evidence(None));
        }
    }

    /// Begins to count anew for how long the rule is observed.
    pub(super) fn begin_watch(&mut self, now: Timestamp, observed: Span) {
        self.observed = observed;
        self.observed_until = Some(now);
    }

    fn count_observed(&mut self, saw: bool, now: Timestamp) {
        let Some(until) = self.observed_until else { return };
        // Between two evaluations that saw something, it was observed; a gap longer than two intervals was not.
        if saw && now - until <= Span(self.every.0.max(self.interval.0) * 2 + 1000) {
            self.observed += now - until;
        }
        self.observed_until = Some(now);
    }

    fn read(&self, store: &Store, look_back: Span, now: Timestamp) -> Readings {
        if *store.past() != Past::Complete
            && let Some((selector, _)) = self.rule.reach(look_back).into_iter().find(|(_, reach)| *reach > store.hot())
        {
            return self.readings(match store.past() {
                Past::Unreadable(why) => Reading::Failed(format!("the past that it asks for cannot be read: {why}")),
                _ => Reading::NoData(Absence { selector: selector.to_string(), missing: Missing::Loading }),
            });
        }
        match &self.rule.value {
            Value::Expression { plan, .. } => self.readings(promql::evaluate(plan, store, now, look_back)),
            Value::Remote { .. } => (Vec::new(), None, Some("it is asked of a remote server, not read here".into())),
            Value::Share { errors, total, window, by, .. } => {
                match promql::count_events(errors, total, *window, by, store, now) {
                    CountReading::Counts(points) => {
                        let judge = |p: promql::CountPoint| {
                            let judged = Judged::Share { errors: p.errors, total: p.total, newest: p.newest };
                            (self.alert_labels(&p.labels), judged)
                        };
                        (points.into_iter().map(judge).collect(), None, None)
                    }
                    CountReading::NoData(absence) => (Vec::new(), Some(absence.to_string()), None),
                    CountReading::Failed(why) => (Vec::new(), None, Some(why)),
                }
            }
        }
    }

    fn readings(&self, reading: Reading) -> Readings {
        match reading {
            Reading::Points(points) => {
                let judge = |p: promql::Point| {
                    (self.alert_labels(&p.labels), Judged::Value { value: p.value, newest: p.newest })
                };
                (points.into_iter().map(judge).collect(), None, None)
            }
            Reading::NoData(absence) => (Vec::new(), Some(absence.to_string()), None),
            Reading::Failed(why) => (Vec::new(), None, Some(why)),
        }
    }

    pub(super) fn alert_labels(&self, labels: &Labels) -> Labels {
        labels.without_name().merged(&self.labels)
    }

    /// How far its looks are apart.
    pub(super) fn interval_in(&mut self, store: &Store) -> Span {
        self.look_up_targets(store);
        self.interval
    }

    fn look_up_targets(&mut self, store: &Store) {
        if self.giving == Some(store.giving()) {
            return;
        }
        self.giving = Some(store.giving());
        self.targets = match &self.rule.value {
            Value::Expression { plan, .. } => plan.targets(store).into_iter().collect(),
            Value::Remote { .. } => BTreeSet::new(),
            Value::Share { errors, total, .. } => store.targets_of([&**total, &**errors]).into_iter().collect(),
        };
        let intervals = || self.targets.iter().map(|t| store.target(*t).interval);
        self.every = intervals().min().map_or(EVERY_UNKNOWN, |i| i.max(EVERY_LEAST));
        self.interval = intervals().max().unwrap_or(EVERY_UNKNOWN);
    }

    fn note(&mut self, points: &[(Labels, Judged)], now: Timestamp) {
        let text = match (&self.no_data, &self.failed) {
            (Some((_, why)), _) => format!("no data: {why}"),
            (_, Some(why)) => format!("failed: {why}"),
            _ if points.is_empty() => "nothing matched".to_string(),
            _ => {
                let worst = points.iter().max_by(|a, b| figure(&a.1).total_cmp(&figure(&b.1)));
                let text = worst.map_or_else(String::new, |(_, judged)| self.figure_text(judged));
                if points.len() > 1 { format!("{text}, the highest of {}", points.len()) } else { text }
            }
        };
        if self.recent.back().is_some_and(|last| last.text == text && self.recent.len() > 1) {
            self.recent.pop_back();
        }
        self.recent.push_back(Evaluation { at: now, text });
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
    }

    fn figure_text(&self, judged: &Judged) -> String {
        match *judged {
            Judged::Value { value, .. } => crate::base::Quantity { value, unit: self.rule.unit }.to_string(),
            Judged::Share { errors, total, .. } => format!(
                "{} ({} of {}, at least {})",
                crate::base::Quantity::ratio(figure(judged)),
                crate::base::because::whole(errors),
                crate::base::because::whole(total),
                crate::base::Quantity::ratio(crate::rule::share::lower_bound(errors, total)),
            ),
            Judged::Absent { .. } | Judged::Missing => String::new(),
        }
    }
}

/// Label sets with what was seen of each, why there was no data, and what the evaluation failed with.
type Readings = (Vec<(Labels, Judged)>, Option<String>, Option<String>);

fn figure(judged: &Judged) -> f64 {
    match *judged {
        Judged::Value { value, .. } => value,
        Judged::Share { errors, total, .. } => {
            if total > 0.0 {
                (errors / total).min(1.0)
            } else {
                0.0
            }
        }
        Judged::Absent { .. } | Judged::Missing => f64::NEG_INFINITY,
    }
}

fn asks_for_presence(rule: &Rule) -> bool {
    rule.conditions().any(|(_, condition)| condition.when == When::Present)
}

/// Whether both look at the same value, so that what one gathered holds for the other.
fn judges_alike(a: &Rule, b: &Rule) -> bool {
    match (&a.value, &b.value) {
        (Value::Expression { text: a, .. }, Value::Expression { text: b, .. }) => a == b,
        (
            Value::Share { texts: a, window, by, .. },
            Value::Share { texts: b, window: other_window, by: other_by, .. },
        ) => a == b && window == other_window && by == other_by,
        _ => false,
    }
}

/// What `baseline` is for each alert.
#[derive(Debug, Default)]
struct Figures {
    /// For all alike.
    all: Option<f64>,
    /// By the alert's fingerprint, sorted.
    of: Vec<(u64, f64)>,
}

impl Figures {
    fn of(&self, key: u64) -> Option<f64> {
        self.all.or_else(|| self.of.binary_search_by_key(&key, |(k, _)| *k).ok().map(|i| self.of[i].1))
    }
}
