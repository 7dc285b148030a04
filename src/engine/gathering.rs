//! What a rule's alerts gather in since T0, and what was known of them before.
//!
//! Enters: a deployment that went live, a restart, an answer about the past. Leaves: what is to be asked, and the evidence
//! that an alert begins with.

use std::collections::BTreeMap;

use super::history::{Ask, Purpose, Question, Told, What};
use crate::base::{Labels, Span, Timestamp};
use crate::rule::evidence::{self, MINUTE, Past};
use crate::rule::{Alert, Asks, Evidence, Known, Rule, Value};

/// How long after its end a bucket is counted: looks that were due before may arrive after it.
const LATE: Span = Span::secs(2);

/// How long an answer is waited for: disks are slow, and many rules may ask.
const PATIENCE: Span = Span::mins(10);

/// The most buckets that are counted at once; older ones are a gap.
const CATCH_UP: i64 = 30;

/// Of one rule.
#[derive(Clone, Debug, Default)]
pub(super) struct Gathering {
    /// Minute 0: T0, or when it began to be judged.
    origin: Timestamp,
    /// Whether a deployment is live; `origin` is its T0, but for shares, which are counted on.
    is_watch: bool,
    /// The past ends here: T0, or where it began to be judged.
    until: Timestamp,
    /// What was gathered before a restart was asked for.
    is_replayed: bool,
    known: BTreeMap<u64, Known>,
    /// Buckets until here were counted.
    counted: Option<(Span, Timestamp)>,
    asked: Option<Asked>,
    asked_at: Timestamp,
    /// Until when the rule was judged in this life before it was asked.
    judged: Option<Timestamp>,
    /// How far the looks of the rule were apart when it began.
    interval: Span,
    /// Why nothing is known of the past.
    pub(super) failure: Option<String>,
}

/// A question that is not answered yet.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Asked {
    /// What was before `origin`.
    Past(u64),
    /// What was gathered from `origin` on, before a restart.
    Replay(u64),
}

/// What an answer was about.
#[derive(Clone, Debug)]
pub(super) enum Answered {
    /// What is known now of the time before, to be journaled while a watch is live.
    Known(Vec<(Labels, Known)>),
    /// What was gathered before.
    Replayed(Vec<(Labels, Past)>),
    /// It could not be told: what was gathered before is a gap.
    Lost,
}

impl Gathering {
    /// Begins at T0 or at the start, with what is known already; `live` is T0 of the watch.
    pub(super) fn new(
        origin: Timestamp,
        live: Option<Timestamp>,
        known: BTreeMap<u64, Known>,
        judged: Option<Timestamp>,
        interval: Span,
    ) -> Gathering {
        let (is_watch, until) = (live.is_some(), live.unwrap_or(origin));
        Gathering { origin, is_watch, until, known, judged, interval, ..Gathering::default() }
    }

    /// A deployment is live: what was gathered stays, and the past is asked for anew.
    pub(super) fn go_on(&mut self, t0: Timestamp) {
        (self.is_watch, self.until) = (true, t0);
        self.failure = None;
        // What is asked for now takes the place of that answer, which is asked for again after it.
        self.is_replayed &= !self.is_replaying();
    }

    pub(super) fn origin(&self) -> Timestamp {
        self.origin
    }

    /// What is known of a label set.
    pub(super) fn known(&self, key: u64) -> Option<&Known> {
        self.known.get(&key)
    }

    /// Until when the past is asked for.
    pub(super) fn until(&self) -> Timestamp {
        self.until
    }

    /// Until when the rule was judged in this life, before it began to gather.
    pub(super) fn judged(&self) -> Option<Timestamp> {
        self.judged
    }

    pub(super) fn is_watch(&self) -> bool {
        self.is_watch
    }

    /// Whether anything is known of the time before.
    pub(super) fn is_known(&self) -> bool {
        !self.known.is_empty()
    }

    /// Whether nothing may be entered or left until an answer comes: what stands may rest on what is asked.
    pub(super) fn holds_up(&self, asks: &Asks, now: Timestamp) -> bool {
        // An answer that does not come holds nothing up for ever.
        if now - self.asked_at > PATIENCE {
            return false;
        }
        match self.asked {
            // What was gathered before a restart is asked for next.
            Some(Asked::Past(_)) => asks.waits_for_past() || !self.is_replayed,
            Some(Asked::Replay(_)) => true,
            None => false,
        }
    }

    /// Whether this is the answer that it waits for.
    pub(super) fn waits_for(&self, ticket: u64) -> bool {
        matches!(self.asked, Some(Asked::Past(asked) | Asked::Replay(asked)) if asked == ticket)
    }

    /// Whether what was gathered before a restart is still being read.
    pub(super) fn is_replaying(&self) -> bool {
        matches!(self.asked, Some(Asked::Replay(_)))
    }

    /// What was gathered before a restart is not waited for any more where it does not come in time.
    pub(super) fn give_up(&mut self, now: Timestamp) {
        if self.is_replaying() && now - self.asked_at > PATIENCE {
            self.asked = None;
        }
    }

    /// It is judged though an answer is out: what is seen of now is not to be judged again.
    pub(super) fn judge(&mut self, now: Timestamp) {
        if self.asked.is_some() {
            self.judged = Some(now);
        }
    }

    /// Whether an answer is out.
    pub(super) fn is_waiting(&self) -> bool {
        self.asked.is_some()
    }

    pub(super) fn shift(&mut self, by: Span) {
        self.origin += by;
        self.until += by;
        self.asked_at += by;
        self.judged = self.judged.map(|at| at + by);
        if let Some((_, until)) = &mut self.counted {
            *until += by;
        }
    }

    /// An alert that is seen for the first time, with what it gathers in.
    pub(super) fn alert(&self, asks: &Asks, labels: Labels, now: Timestamp) -> Alert {
        let evidence = self.begin(asks, labels.fingerprint(), now);
        let mut alert = Alert::new(labels, now);
        alert.set_evidence(evidence);
        alert
    }

    /// The evidence that an alert begins with; none where nothing is to be gathered.
    pub(super) fn begin(&self, asks: &Asks, key: u64, now: Timestamp) -> Option<Evidence> {
        if !asks.is_any() {
            return None;
        }
        let origin = if self.origin == Timestamp::default() { now } else { self.origin };
        let mut evidence = Evidence::new(asks, origin, self.known.get(&key).cloned());
        let began_before = self.asked_at - origin >= MINUTE;
        if began_before && self.asked.is_some() && (self.is_replaying() || !self.is_replayed) {
            evidence.lacks_past();
        }
        Some(evidence)
    }

    /// Asks for the time before T0: `past` of it, for that purpose.
    pub(super) fn ask_past(
        &mut self,
        rule: &Rule,
        (past, purpose): (Span, Purpose),
        interval: Span,
        ticket: u64,
        now: Timestamp,
    ) -> Option<Question> {
        let step = self.step(rule);
        let from = self.until - step.times(past.0 / step.0.max(1));
        let question = question(rule, ticket, (from, self.until), step, purpose, interval)?;
        (self.asked, self.asked_at) = (Some(Asked::Past(ticket)), now);
        Some(question)
    }

    /// Asks for what was gathered from `origin` to now, if that is a step or more.
    pub(super) fn ask_replay(&mut self, rule: &Rule, interval: Span, ticket: u64, now: Timestamp) -> Option<Question> {
        let step = self.step(rule);
        let is_share = matches!(rule.value, Value::Share { .. });
        if is_share {
            self.origin = floor(self.origin, step);
        }
        let steps = (now - self.origin).0.div_euclid(step.0.max(1));
        if steps < 1 || self.is_replayed {
            return None;
        }
        let to = self.origin + step.times(steps);
        let question = question(rule, ticket, (self.origin, to), step, Purpose::Replay, interval)?;
        self.is_replayed = true;
        (self.asked, self.asked_at) = (Some(Asked::Replay(ticket)), now);
        if is_share {
            self.counted = Some((step, to));
        }
        Some(question)
    }

    /// Takes the answer that it waits for; `key_of` makes of the labels of an expression those of the alert.
    pub(super) fn take(&mut self, told: Told, key_of: impl Fn(&Labels) -> Labels) -> Answered {
        let is_replay = self.is_replaying();
        self.asked = None;
        match told.what {
            Ok(What::Known(known)) => {
                let known: Vec<(Labels, Known)> = known.into_iter().map(|(l, known)| (key_of(&l), known)).collect();
                self.known = known.iter().map(|(labels, known)| (labels.fingerprint(), known.clone())).collect();
                self.failure = known.is_empty().then(|| "nothing is stored of it".to_string());
                Answered::Known(known)
            }
            Ok(What::Past(past)) => Answered::Replayed(past.into_iter().map(|(l, past)| (key_of(&l), past)).collect()),
            Err(_) if is_replay => Answered::Lost,
            Err(why) => {
                self.failure = Some(why);
                Answered::Known(Vec::new())
            }
        }
    }

    /// The length of a bucket: a fifth of the window, and no shorter than looks are apart.
    pub(super) fn bucket(&self, window: Span, interval: Span) -> Span {
        Span(evidence::bucket(window).0.max(interval.0))
    }

    fn step(&self, rule: &Rule) -> Span {
        match &rule.value {
            Value::Share { window, .. } => self.counted.map_or(self.bucket(*window, self.interval), |(step, _)| step),
            Value::Expression { .. } | Value::Remote { .. } => MINUTE,
        }
    }

    /// Which minute or bucket a moment lies in; none before the first.
    pub(super) fn index(&self, rule: &Rule, at: Timestamp) -> Option<usize> {
        usize::try_from((at - self.origin).0.div_euclid(self.step(rule).0.max(1))).ok()
    }

    /// The minute or bucket in which `at` lies, and when it begins; the one after the last of `told` where it is later. Those
    /// from it on are gathered as time passes there.
    pub(super) fn go_on_from(&mut self, rule: &Rule, at: Timestamp, told: usize) -> (usize, Timestamp) {
        let index = self.index(rule, at).unwrap_or(0).min(told);
        let step = self.step(rule);
        let begin = self.origin + step.times(index as i64);
        if let Some((_, until)) = &mut self.counted {
            *until = begin;
        }
        (index, begin)
    }

    /// The ends of the buckets that are over and not counted yet; those that are too old are left out.
    pub(super) fn buckets_over(&mut self, step: Span, now: Timestamp) -> Vec<Timestamp> {
        if step <= Span::ZERO || now.0 <= 0 {
            return Vec::new();
        }
        let late = Span(LATE.0.min(step.0 / 10));
        // Aligned to the clock, so that there are the same buckets after a restart.
        let over = floor(now - late, step);
        let counted = match self.counted {
            Some((of, until)) if of == step => until,
            _ => over,
        };
        self.counted = Some((step, over.max(counted)));
        let missing = ((over - counted).0 / step.0).clamp(0, CATCH_UP);
        (0..missing).map(|i| over - step.times(missing - 1 - i)).collect()
    }
}

/// The last whole multiple of `step` until `at`.
fn floor(at: Timestamp, step: Span) -> Timestamp {
    Timestamp(at.0.div_euclid(step.0.max(1)) * step.0.max(1))
}

/// How far readings of a minute are apart in the past: as the looks are, and no closer than a quarter of a minute.
fn reading(interval: Span) -> Span {
    Span::secs(match interval.0 {
        ..=15_000 => 15,
        15_001..=30_000 => 30,
        _ => 60,
    })
}

/// What is put to whoever holds the samples; none where a remote server does.
fn question(
    rule: &Rule,
    ticket: u64,
    (from, to): (Timestamp, Timestamp),
    step: Span,
    purpose: Purpose,
    interval: Span,
) -> Option<Question> {
    let (ask, reading) = (ask_of(rule)?, reading(interval));
    Some(Question { ticket, rule: rule.name.clone(), ask, from, to, step, purpose, reading, interval })
}

fn ask_of(rule: &Rule) -> Option<Ask> {
    match &rule.value {
        Value::Expression { plan, .. } => Some(Ask::Value(plan.clone())),
        Value::Share { errors, total, by, .. } => {
            Some(Ask::Events { errors: errors.clone(), total: total.clone(), by: by.clone() })
        }
        // What a remote server holds is not asked back.
        Value::Remote { .. } => None,
    }
}
