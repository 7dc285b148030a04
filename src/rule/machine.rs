//! The life of one alert: one rule and one label set.
//!
//! Enters: a reading (or that there is none) and `now`. Leaves: changes of the level, of whether the criterion is due,
//! and of whether the target is missed. What is journaled is these; how long a condition has been pending, and what has
//! gathered since T0, is a function of the samples and is not.

use serde::{Deserialize, Serialize};

use super::evidence::{Asks, BUCKETS, Evidence, Past, Role, Strength};
use super::gate::{Gate, Moment, Stand};
use super::share;
use super::{Clause, Comparison, Condition, NoData, Rule, Test, Value, When};
use crate::base::because::Counts;
use crate::base::{Because, Labels, Level, Quantity, Span, Timestamp};

/// What was seen for one label set at one evaluation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Judged {
    /// A value, and the newest sample behind it.
    Value {
        /// In base units.
        value: f64,
        /// The newest sample that took part.
        newest: Timestamp,
    },
    /// A share of events with its counts.
    Share {
        /// Errors in the window.
        errors: f64,
        /// All events in the window.
        total: f64,
        /// The newest sample that took part.
        newest: Timestamp,
    },
    /// The expression has data, and gives nothing for this label set; only `present` conditions see it so.
    Absent {
        /// The newest sample that took part.
        newest: Timestamp,
    },
    /// Nothing: the label set was held and gave no value, or the whole expression has no data.
    Missing,
}

/// A change of the level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// The rule.
    pub rule: String,
    /// The alert's labels.
    pub labels: Labels,
    /// The level before.
    pub from: Level,
    /// The level now.
    pub to: Level,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub because: Because,
    /// The label set ended without having been seen to recover.
    pub gone: bool,
}

/// What one evaluation changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Change {
    /// The level changed.
    Level(Transition),
    /// The criterion became due (or ceased to be).
    Criterion {
        /// The rule.
        rule: String,
        /// The alert's labels.
        labels: Labels,
        /// Whether it is due now.
        due: bool,
        /// When.
        at: Timestamp,
        /// Why.
        because: Because,
    },
    /// The target is missed (or met again); nobody is told.
    Target {
        /// The rule.
        rule: String,
        /// The alert's labels.
        labels: Labels,
        /// Whether it is missed now.
        missed: bool,
        /// When.
        at: Timestamp,
        /// Why.
        because: Because,
    },
}

/// How the conditions of one alert stood at a change, so that a restart goes on from there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stood {
    /// The rule.
    pub rule: String,
    /// The alert's labels.
    pub labels: Labels,
    /// When.
    pub at: Timestamp,
    /// By role, from mild to strict.
    pub gates: [Gate; 4],
    /// Since when something was wrong without a break.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bad_since: Option<Timestamp>,
}

/// One alert's state.
#[derive(Clone, Debug)]
pub struct Alert {
    labels: Labels,
    level: Level,
    level_since: Timestamp,
    due: bool,
    missed: bool,
    confirmed: bool,
    /// Whether what decides a condition is too weak for more than a warning, by role.
    weak: [bool; 4],
    gates: [Gate; 4],
    /// When the journal last said how it stands.
    journaled: Option<Timestamp>,
    missing_since: Option<Timestamp>,
    bad_since: Option<Timestamp>,
    last: Last,
    evidence: Option<Box<Evidence>>,
}

/// What was seen last.
#[derive(Clone, Debug)]
enum Last {
    /// Nothing yet.
    Nothing,
    /// What the journal says.
    Journaled(Box<Because>),
    /// A reading.
    Seen(Seen),
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    judged: Judged,
    evidence: Option<Timestamp>,
    /// The condition it is shown beside.
    role: Option<Role>,
    held: Span,
    readings: u32,
}

/// How a reading is to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The present.
    pub now: Timestamp,
    /// The rule's own: two of them without a sample is a gap.
    pub interval: Span,
    /// What `baseline` is, where an expression gives it.
    pub figure: Option<f64>,
    /// Whether all rules that its criterion waits for are critical.
    pub with: bool,
    /// Whether it is judged.
    pub turn: Turn,
    /// Whether the expression has data: what is missing then is this label set alone.
    pub has_data: bool,
    /// Samples from before are from before a restart: they confirm nothing.
    pub since: Timestamp,
}

impl Setting {
    /// Judged without more ado.
    pub fn new(now: Timestamp, interval: Span) -> Setting {
        let since = Timestamp(i64::MIN);
        Setting { now, interval, figure: None, with: true, turn: Turn::Judged, has_data: false, since }
    }
}

/// Whether a rule is judged now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is.
    Judged,
    /// Too soon after T0, unless `arm` held.
    Warming,
    /// What it looks at beyond the present is being read: nothing is entered or left.
    Waiting,
    /// What it depends on is in trouble: nothing is entered or left.
    Held,
    /// Not in this phase: what stood ends.
    Out,
}

/// How long a label set may be missing from an expression that has data before its alert ends as gone.
pub const GONE_AFTER: Span = Span::mins(15);

impl Alert {
    /// An alert that is ok and has seen nothing.
    pub fn new(labels: Labels, now: Timestamp) -> Alert {
        Alert {
            labels,
            level: Level::Ok,
            level_since: now,
            due: false,
            missed: false,
            confirmed: true,
            weak: [false; 4],
            gates: [Gate::default(); 4],
            journaled: None,
            missing_since: None,
            bad_since: None,
            last: Last::Nothing,
            evidence: None,
        }
    }

    /// The alert as the journal knows it: its level stands at once, unconfirmed until data come.
    pub fn restored(
        labels: Labels,
        level: Level,
        since: Timestamp,
        due: bool,
        missed: bool,
        because: Because,
    ) -> Alert {
        let on = |role| match role {
            Role::Target => missed,
            Role::Warning => level >= Level::Warning,
            Role::Critical => level >= Level::Critical,
            Role::Rollback => due,
        };
        Alert {
            level,
            due,
            missed,
            confirmed: false,
            gates: Role::ALL.map(|role| Gate::on(on(role))),
            bad_since: (level > Level::Ok || due).then_some(since),
            last: Last::Journaled(Box::new(because)),
            ..Alert::new(labels, since)
        }
    }

    /// Takes over how its conditions stood when that was journaled.
    pub fn stood(&mut self, stood: &Stood) {
        let stands = self.level > Level::Ok || self.due || self.missed;
        // What the journal ended otherwise, with its rule, did not go on.
        self.gates = stood.gates.map(|gate| if gate.is_on() && !stands { Gate::default() } else { gate });
        self.journaled = Some(stood.at);
        self.bad_since = if stands { stood.bad_since.or(self.bad_since) } else { None };
        self.confirmed = false;
    }

    /// Not seen since a restart: what follows from samples before it confirms nothing.
    pub fn unconfirmed(self) -> Alert {
        Alert { confirmed: false, ..self }
    }

    /// How its conditions stand, to be journaled.
    pub fn stands(&self, rule: &Rule, at: Timestamp) -> Stood {
        let (labels, gates, bad_since) = (self.labels.clone(), self.gates, self.bad_since);
        Stood { rule: rule.name.clone(), labels, at, gates, bad_since }
    }

    /// What is seen again begins at `from`: what was on its way when the journal last said how it stands, before that, went its
    /// way since.
    pub fn settle_before(&mut self, from: Timestamp) {
        if self.journaled.is_some_and(|at| at < from) {
            self.gates.iter_mut().for_each(Gate::settle);
        }
    }

    /// Sees again, after a restart, what was seen after the journal last said how it stands, or how all alerts of the rule did,
    /// `since`; what was seen before is gathered only. It confirms nothing.
    pub fn replay(
        &mut self,
        rule: &Rule,
        asks: &Asks,
        seen: Judged,
        setting: Setting,
        since: Option<Timestamp>,
    ) -> Vec<Change> {
        if seen == Judged::Missing {
            return Vec::new();
        }
        if self.journaled.max(since).is_some_and(|at| setting.now <= at) {
            let seen = self.gather(rule, seen, setting.now);
            if setting.turn == Turn::Warming {
                self.arm(rule, asks, &seen, setting);
            }
            return Vec::new();
        }
        let confirmed = self.confirmed;
        let changes = self.judge(rule, asks, seen, setting);
        self.confirmed = confirmed;
        changes
    }

    /// The alert's labels.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The level and since when.
    pub fn level(&self) -> (Level, Timestamp) {
        (self.level, self.level_since)
    }

    /// Whether its criterion is due.
    pub fn is_due(&self) -> bool {
        self.due
    }

    /// Whether its target is missed.
    pub fn is_missed(&self) -> bool {
        self.missed
    }

    /// Since when nothing was seen of it, if that is so now.
    pub fn missing_since(&self) -> Option<Timestamp> {
        self.missing_since
    }

    /// Whether data were seen since the last restart.
    pub fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// Since when something is wrong without a break, pending time included.
    pub fn bad_since(&self) -> Option<Timestamp> {
        self.bad_since
    }

    /// The newest sample behind the last reading.
    pub fn newest(&self) -> Option<Timestamp> {
        match &self.last {
            Last::Nothing => None,
            Last::Journaled(because) => because.evidence,
            Last::Seen(seen) => seen.evidence,
        }
    }

    /// The last reason: value, counts and limit of the last evaluation that saw something.
    pub fn because(&self, rule: &Rule, asks: &Asks) -> Option<Because> {
        match &self.last {
            Last::Nothing => None,
            Last::Journaled(because) => Some((**because).clone()),
            Last::Seen(seen) => Some(self.reason(rule, asks, seen)),
        }
    }

    /// What `baseline` is for it now, where its conditions ask for what it has gathered.
    pub fn usual(&self, rule: &Rule, asks: &Asks, now: Timestamp) -> Option<Quantity> {
        let value = self.evidence.as_ref().filter(|_| asks.holds_against_past())?.baseline(&rule.baseline, now)?;
        Some(Quantity { value, unit: rule.unit })
    }

    /// Whether some condition is pending: it holds, and not yet for long enough.
    pub fn is_pending(&self) -> bool {
        [Role::Warning, Role::Critical, Role::Rollback].iter().any(|role| self.gate(*role).is_pending())
    }

    /// Whether it is about to be critical, or due.
    pub fn is_pending_critical(&self) -> bool {
        self.gate(Role::Critical).is_pending() || self.gate(Role::Rollback).is_pending()
    }

    /// Whether the alert could be forgotten: ok, nothing pending and not seen any more.
    pub fn is_idle(&self) -> bool {
        self.level == Level::Ok && !self.due && !self.missed && self.missing_since.is_some() && !self.is_pending()
    }

    /// Whether some condition was entered and not left.
    pub fn is_entered(&self) -> bool {
        self.gates.iter().any(Gate::is_on)
    }

    /// What has gathered since T0.
    pub fn evidence(&self) -> Option<&Evidence> {
        self.evidence.as_deref()
    }

    /// Gives it what to gather in, or takes it away.
    pub fn set_evidence(&mut self, evidence: Option<Evidence>) {
        self.evidence = evidence.map(Box::new);
    }

    /// What has gathered since T0, to be added to.
    pub fn evidence_mut(&mut self) -> Option<&mut Evidence> {
        self.evidence.as_deref_mut()
    }

    /// Arms it where `arm` held in a minute, or over the window of a share, from the one with index `first` on: after a restart.
    /// Whether it holds against a baseline is asked of what is usual `now`.
    pub fn arm_again(&mut self, rule: &Rule, asks: &Asks, past: &Past, first: usize, now: Timestamp) {
        let sum = |of: &[f64]| of.iter().filter(|count| count.is_finite()).sum();
        let value = |value| Judged::Value { value, newest: now };
        for i in first..past.values.len() {
            let window = i.saturating_sub(BUCKETS - 1)..=i;
            let seen = match (past.errors.get(window.clone()), past.extremes.get(i)) {
                (Some(errors), _) => {
                    [Judged::Share { errors: sum(errors), total: sum(&past.values[window]), newest: now }; 2]
                }
                (None, Some((lowest, highest))) => [value(*lowest), value(*highest)],
                (None, None) => [value(past.values[i]); 2],
            };
            seen.iter().for_each(|seen| self.arm(rule, asks, seen, Setting::new(now, Span::ZERO)));
        }
    }

    /// Arms it if `arm` holds.
    fn arm(&mut self, rule: &Rule, asks: &Asks, seen: &Judged, setting: Setting) {
        let evidence = self.evidence.as_deref();
        let holds = |arm: &Test| Look { rule, asks, seen, setting, evidence }.test(None, arm);
        if rule.scope.arm.as_ref().is_some_and(holds)
            && let Some(evidence) = &mut self.evidence
        {
            evidence.arm();
        }
    }

    /// Moves all remembered times by `by`, because the wall clock was set.
    pub fn shift(&mut self, by: Span) {
        self.level_since += by;
        self.gates.iter_mut().for_each(|gate| gate.shift(by));
        for since in [&mut self.missing_since, &mut self.bad_since, &mut self.journaled].into_iter().flatten() {
            *since += by;
        }
        if let Some(evidence) = &mut self.evidence {
            evidence.shift(by);
        }
    }

    fn gate(&self, role: Role) -> &Gate {
        &self.gates[role as usize]
    }

    fn gate_mut(&mut self, role: Role) -> &mut Gate {
        &mut self.gates[role as usize]
    }

    /// Judges one reading.
    pub fn judge(&mut self, rule: &Rule, asks: &Asks, seen: Judged, setting: Setting) -> Vec<Change> {
        let now = setting.now;
        if setting.turn == Turn::Out {
            return self.leave(rule, asks, now);
        }
        let newest = match seen {
            Judged::Missing => return self.judge_missing(rule, asks, setting),
            Judged::Value { newest, .. } | Judged::Share { newest, .. } | Judged::Absent { newest } => newest,
        };
        self.missing_since = None;
        self.confirmed |= newest > setting.since && matches!(setting.turn, Turn::Judged | Turn::Warming);
        let seen = self.gather(rule, seen, now);
        let moment = Moment { newest, interval: setting.interval, now };
        // Nor is a mean of which the beginning is lost.
        let is_blind = rule.over_watch && self.evidence.as_ref().is_some_and(|evidence| evidence.is_blind());
        if setting.turn == Turn::Waiting || (is_blind && matches!(setting.turn, Turn::Judged | Turn::Warming)) {
            self.note(rule, seen, self.gates, moment);
            return Vec::new();
        }
        let is_armed = setting.turn == Turn::Warming && {
            self.arm(rule, asks, &seen, setting);
            self.evidence.as_ref().is_some_and(|evidence| evidence.is_armed())
        };
        let judge = Look { rule, asks, seen: &seen, setting, evidence: self.evidence.as_deref() };
        let stood = self.level == Level::Critical || self.due;
        self.weak = match self.evidence.as_ref() {
            // What decided before is not known: it stays what it was.
            Some(evidence) if stood && evidence.is_blind() => self.weak,
            Some(evidence) if evidence.strength(asks) == Strength::WarningOnly => {
                Role::ALL.map(|role| rule.reaches(role))
            }
            _ => [false; 4],
        };
        let is_judged = setting.turn == Turn::Judged || is_armed;
        let before = self.gates;
        if is_judged {
            let holds = Role::ALL.map(|role| rule.condition(role).map(|c| judge.condition(role, c)));
            self.advance(rule, holds, moment);
        } else {
            self.gates.iter_mut().for_each(Gate::calm);
        }
        self.note(rule, seen, before, moment);
        self.changes(rule, asks, setting, false)
    }

    /// Adds what was seen to what has gathered; where the mean since T0 is judged, that is what was seen.
    fn gather(&mut self, rule: &Rule, seen: Judged, now: Timestamp) -> Judged {
        let (Some(evidence), Judged::Value { value, newest }) = (&mut self.evidence, seen) else { return seen };
        evidence.value(value, newest, now);
        match rule.over_watch {
            true => Judged::Value { value: evidence.mean(value).0, newest },
            false => seen,
        }
    }

    /// The next moment at which this alert may change without a new sample.
    pub fn deadline(&self, rule: &Rule, interval: Span) -> Option<Timestamp> {
        // Time without data is no evidence.
        if self.missing_since.is_some() && !matches!(rule.no_data, NoData::As(_) | NoData::Ok) {
            return None;
        }
        rule.conditions().filter_map(|(role, condition)| self.gate(role).deadline(condition, interval)).min()
    }

    /// No data: by the rule's policy the level stays, or is treated as ok or as bad.
    fn judge_missing(&mut self, rule: &Rule, asks: &Asks, setting: Setting) -> Vec<Change> {
        let now = setting.now;
        let since = *self.missing_since.get_or_insert(now);
        if setting.turn == Turn::Waiting {
            return Vec::new();
        }
        if setting.turn != Turn::Judged {
            self.gates.iter_mut().for_each(Gate::calm);
            return Vec::new();
        }
        let bad = match rule.no_data {
            NoData::Ok => Level::Ok,
            // Data are missing, not this label set alone.
            NoData::As(level) if !setting.has_data => level,
            NoData::As(_) | NoData::Hold => {
                let is_long = now - since >= GONE_AFTER;
                // What was about to be is not, once it was not seen for longer than a gap may be.
                if is_long || (setting.has_data && now - since > setting.interval.times(3)) {
                    self.gates.iter_mut().for_each(Gate::calm);
                }
                // The label set was held, its expression goes on without it, and it does not come back.
                let stands = self.level > Level::Ok || self.due || self.missed;
                let is_gone = is_long && setting.has_data && stands;
                return if is_gone { self.leave(rule, asks, now) } else { Vec::new() };
            }
        };
        // That nothing comes is seen anew at each evaluation, so evidence is as new as the evaluation.
        let moment = Moment { newest: now, interval: setting.interval, now };
        let holds = Role::ALL.map(|role| {
            rule.condition(role)?;
            Some(match role {
                Role::Target => (false, true),
                Role::Warning => (bad >= Level::Warning, bad < Level::Warning),
                Role::Critical => (bad >= Level::Critical, bad < Level::Critical),
                Role::Rollback => (false, bad < Level::Critical),
            })
        });
        self.weak = [false; 4];
        self.advance(rule, holds, moment);
        self.last =
            Last::Seen(Seen { judged: Judged::Missing, evidence: None, role: None, held: now - since, readings: 0 });
        self.changes(rule, asks, setting, false)
    }

    /// Ends what stands, without having been seen to recover.
    fn leave(&mut self, rule: &Rule, asks: &Asks, now: Timestamp) -> Vec<Change> {
        self.gates = [Gate::default(); 4];
        self.changes(rule, asks, Setting::new(now, Span::ZERO), true)
    }

    fn advance(&mut self, rule: &Rule, holds: [Option<(bool, bool)>; 4], moment: Moment) {
        let was = (self.gate(Role::Critical).is_on(), self.gate(Role::Rollback).is_on());
        for role in [Role::Target, Role::Warning, Role::Critical] {
            match (rule.condition(role), holds[role as usize]) {
                (Some(condition), Some((holds, clears))) => self.gate_mut(role).step(condition, holds, clears, moment),
                _ => *self.gate_mut(role) = Gate::default(),
            }
        }
        let is_critical = self.gate(Role::Critical).is_on();
        match (rule.condition(Role::Rollback), holds[Role::Rollback as usize]) {
            // What is due as long as the rule is critical ends with it; its `keep` has passed already.
            (Some(condition), _) if condition.when == When::Critical => match is_critical {
                true => self.gate_mut(Role::Rollback).step(condition, true, false, moment),
                false => *self.gate_mut(Role::Rollback) = Gate::default(),
            },
            (Some(condition), Some((holds, clears))) => {
                self.gate_mut(Role::Rollback).step(condition, holds, clears, moment);
            }
            _ => *self.gate_mut(Role::Rollback) = Gate::default(),
        }
        // A criterion implies critical, critical replaces warning, and a warning misses the target: what is implied is
        // entered at once, and left by its own condition.
        let due = self.gate(Role::Rollback).is_on();
        if due && !was.1 && rule.critical.is_some() && !self.gate(Role::Critical).is_on() {
            *self.gate_mut(Role::Critical) = Gate::on(true);
        }
        if self.gate(Role::Critical).is_on() && !was.0 && rule.warning.is_some() && !self.gate(Role::Warning).is_on() {
            *self.gate_mut(Role::Warning) = Gate::on(true);
        }
    }

    /// The level that the conditions give now.
    fn gated_level(&self) -> Level {
        let on = |role| self.gate(role).is_on();
        let strict = |role| on(role) && !self.weak[role as usize];
        if strict(Role::Rollback) || strict(Role::Critical) {
            Level::Critical
        } else if on(Role::Rollback) || on(Role::Critical) || on(Role::Warning) {
            Level::Warning
        } else {
            Level::Ok
        }
    }

    /// Remembers what was seen, beside which condition, and for how long that held.
    fn note(&mut self, rule: &Rule, judged: Judged, before: [Gate; 4], moment: Moment) {
        let level = self.gated_level();
        let role = if level > Level::Ok { shown_beside(rule, level) } else { shown_beside(rule, self.nearest()) };
        let entered = level > self.level;
        let of = |role: Role| (self.gate(role).stand, before[role as usize].stand);
        let (held, readings) = match role.map(of) {
            Some((Stand::Pending(held), _)) => (held.until(moment), held.readings),
            // Entered by this reading, which counts like those before it.
            Some((Stand::On { .. }, Stand::Pending(mut held))) if entered => {
                held.see(moment.newest, moment.interval);
                (held.until(moment), held.readings)
            }
            Some((Stand::On { .. }, Stand::Off)) if entered => (Span::ZERO, 1),
            _ => (moment.now - self.level_since, 0),
        };
        self.last = Last::Seen(Seen { judged, evidence: Some(moment.newest), role, held, readings });
    }

    /// The highest condition that holds or is about to: what a reader wants to see the value beside while all is ok.
    fn nearest(&self) -> Level {
        let is_near = |role| !self.gate(role).is_off();
        match (is_near(Role::Critical), is_near(Role::Warning)) {
            (true, _) => Level::Critical,
            (false, true) => Level::Warning,
            (false, false) => Level::Ok,
        }
    }

    fn reason(&self, rule: &Rule, asks: &Asks, seen: &Seen) -> Because {
        if matches!(seen.judged, Judged::Missing) {
            return Because { limit: "no data".into(), held: seen.held, ..Because::default() };
        }
        let (value, counts) = match seen.judged {
            Judged::Value { value, .. } => (Some(Quantity { value, unit: rule.unit }), None),
            Judged::Share { errors, total, .. } => {
                let value = if total > 0.0 { (errors / total).min(1.0) } else { 0.0 };
                let window = if let Value::Share { window, .. } = &rule.value { *window } else { Span::ZERO };
                let at_least = share::lower_bound(errors, total);
                (Some(Quantity::ratio(value)), Some(Counts { errors, total, window, at_least }))
            }
            Judged::Absent { .. } | Judged::Missing => (None, None),
        };
        let condition = seen.role.and_then(|role| rule.condition(role));
        let why = self.evidence.as_ref().zip(seen.role).and_then(|(evidence, role)| evidence.why(asks, role));
        Because {
            value,
            counts,
            limit: condition.map_or_else(String::new, limit_text),
            held: seen.held,
            readings: seen.readings,
            evidence: seen.evidence,
            why,
            lines: Vec::new(),
        }
    }

    /// Compares the gates with what was said last, and says what changed.
    fn changes(&mut self, rule: &Rule, asks: &Asks, setting: Setting, gone: bool) -> Vec<Change> {
        let now = setting.now;
        let is_bad = [Role::Warning, Role::Critical, Role::Rollback].iter().any(|role| !self.gate(*role).is_off());
        self.bad_since = if is_bad { Some(self.bad_since.unwrap_or(now)) } else { None };
        let due = match setting.turn {
            // A guard holds what is due; that it is due does not change by what it depends on.
            Turn::Held | Turn::Waiting => self.due,
            _ => self.gate(Role::Rollback).is_on() && setting.with && !self.weak[Role::Rollback as usize],
        };
        let (level, missed) = (self.gated_level(), self.gate(Role::Target).is_on());
        if level == self.level && due == self.due && missed == self.missed {
            return Vec::new();
        }
        let because = self.because(rule, asks).unwrap_or_default();
        let mut changes = Vec::new();
        if level != self.level {
            changes.push(Change::Level(Transition {
                rule: rule.name.clone(),
                labels: self.labels.clone(),
                from: self.level,
                to: level,
                at: now,
                because: because.clone(),
                gone,
            }));
            self.level = level;
            self.level_since = now;
        }
        let (rule_name, labels) = (&rule.name, &self.labels);
        if missed != self.missed {
            self.missed = missed;
            let (rule, labels, because) = (rule_name.clone(), labels.clone(), because.clone());
            changes.push(Change::Target { rule, labels, missed, at: now, because });
        }
        if due != self.due {
            self.due = due;
            let held = rule.rollback.as_ref().map_or(Span::ZERO, |c| c.condition.held_for);
            let (rule, labels, because) = (rule_name.clone(), labels.clone(), Because { held, ..because });
            changes.push(Change::Criterion { rule, labels, due, at: now, because });
        }
        changes
    }
}

/// The condition that a level is shown beside.
fn shown_beside(rule: &Rule, level: Level) -> Option<Role> {
    let order = match level {
        Level::Critical => [Role::Critical, Role::Rollback, Role::Warning, Role::Target],
        Level::Warning => [Role::Warning, Role::Critical, Role::Rollback, Role::Target],
        Level::Ok => [Role::Warning, Role::Critical, Role::Rollback, Role::Target],
    };
    order.into_iter().find(|role| rule.condition(*role).is_some())
}

/// One reading with everything that conditions look at.
#[derive(Clone, Copy)]
struct Look<'a> {
    rule: &'a Rule,
    asks: &'a Asks,
    seen: &'a Judged,
    setting: Setting,
    evidence: Option<&'a Evidence>,
}

impl Look<'_> {
    /// Whether a condition holds, and whether what ends it does.
    fn condition(&self, role: Role, condition: &Condition) -> (bool, bool) {
        let holds = match &condition.when {
            When::Test(test) => self.test(Some(role), test),
            When::Present => matches!(self.seen, Judged::Value { .. }),
            When::Critical => false,
        };
        // What is no number says nothing for either side.
        let is_number = !matches!(self.seen, Judged::Value { value, .. } if value.is_nan());
        let clears = match &condition.clear {
            Some(clear) if self.knows_baseline(clear) => self.test(None, clear),
            _ => !holds && is_number && !self.is_above(&condition.when) && !self.is_lost(&condition.when),
        };
        (holds, clears)
    }

    /// Whether the plain share of the window is above the limit, while too little has gathered to say that it is over: what
    /// was gathered before a restart could not be read.
    fn is_above(&self, when: &When) -> bool {
        if self.evidence.is_none_or(|evidence| evidence.has_gathered()) {
            return false;
        }
        let (Judged::Share { errors, total, .. }, When::Test(test)) = (self.seen, when) else { return false };
        super::evidence::rising_share(test).is_some_and(|limit| *total > 0.0 && errors / total > limit)
    }

    /// Whether what it holds against is known.
    fn knows_baseline(&self, test: &Test) -> bool {
        let asks = test.0.iter().any(|clause| matches!(clause, Clause::Baseline(..)));
        !asks || self.setting.figure.is_some() || self.baseline().is_some()
    }

    /// Whether it rests on what gathered before, of which too little is there to say that it is over.
    fn is_lost(&self, when: &When) -> bool {
        let When::Test(test) = when else { return false };
        let gathers = |clause: &Clause| match clause {
            Clause::Value(..) => false,
            Clause::Baseline(..) => matches!(self.rule.baseline, super::Baseline::History | super::Baseline::Peak),
            Clause::Reaches { .. } => true,
        };
        self.evidence.is_some_and(Evidence::is_blind) && test.0.iter().any(gathers)
    }

    /// Whether all clauses hold. Without a role the present value is held against the baseline: that ends or arms.
    fn test(&self, role: Option<Role>, test: &Test) -> bool {
        if role.is_some()
            && matches!(self.seen, Judged::Share { .. })
            && let Some(limit) = super::evidence::rising_share(test)
            && let Some(exceeds) = self.evidence.and_then(|evidence| evidence.exceeds(self.asks, limit))
        {
            return exceeds;
        }
        test.0.iter().all(|clause| self.clause(role, clause))
    }

    fn clause(&self, role: Option<Role>, clause: &Clause) -> bool {
        match clause {
            Clause::Value(op, limit) => self.value(*op).is_some_and(|value| op.holds(value, limit.value)),
            Clause::Baseline(op, offset) => {
                let change = role.and_then(|role| self.evidence?.change(self.asks, role, *op, *offset));
                change.unwrap_or_else(|| {
                    let baseline = self.setting.figure.or_else(|| self.baseline());
                    self.value(*op).zip(baseline).is_some_and(|(value, base)| op.holds(value, offset.of(base)))
                })
            }
            Clause::Reaches { limit, within } => {
                self.evidence.is_some_and(|evidence| evidence.reaches(self.asks, limit.value, *within))
            }
        }
    }

    fn baseline(&self) -> Option<f64> {
        match &self.rule.baseline {
            super::Baseline::Value(quantity) => Some(quantity.value),
            baseline => self.evidence?.baseline(baseline, self.setting.now),
        }
    }

    /// The value; of a share the bound that favours the service.
    fn value(&self, op: Comparison) -> Option<f64> {
        match *self.seen {
            Judged::Value { value, .. } => Some(value),
            Judged::Share { errors, total, .. } => {
                let min_errors = match &self.rule.value {
                    Value::Share { min_errors, .. } => f64::from(*min_errors),
                    Value::Expression { .. } | Value::Remote { .. } => 0.0,
                };
                Some(match op.rises() {
                    true if errors < min_errors => 0.0,
                    true => share::lower_bound(errors, total),
                    false => share::upper_bound(errors, total),
                })
            }
            Judged::Absent { .. } | Judged::Missing => None,
        }
    }
}

/// `10 %`: what people read beside a value.
fn limit_text(condition: &Condition) -> String {
    match &condition.when {
        When::Test(test) if test.values().count() == test.0.len() => {
            test.values().map(|(_, q)| q.to_string()).collect::<Vec<_>>().join(" and ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Span = Span::secs(10);

    fn test(text: &str) -> Test {
        let (op, limit) = text.split_once(' ').unwrap();
        let ops = [Comparison::Above, Comparison::AtLeast, Comparison::Below, Comparison::AtMost, Comparison::Equal];
        let op = ops.into_iter().find(|o| o.as_str() == op).unwrap();
        Test(vec![Clause::Value(op, Quantity::parse(limit).unwrap())])
    }

    fn condition(when: &str, held_for: i64) -> Condition {
        let when = if when == "critical" { When::Critical } else { When::Test(test(when)) };
        Condition { when, held_for: Span::secs(held_for), hits: None, clear: None, keep: Span::secs(10) }
    }

    /// Warning above 5 for 20 s, critical above 10 for 20 s and cleared below 8, due after 30 s of critical.
    fn rule() -> Rule {
        let critical = Condition { clear: Some(test("< 8")), ..condition("> 10", 20) };
        Rule {
            name: "r".into(),
            value: Value::Expression {
                text: "x".into(),
                plan: std::sync::Arc::new(crate::promql::compile("x").unwrap()),
            },
            unit: crate::base::Unit::Count,
            target: None,
            warning: Some(condition("> 5", 20)),
            critical: Some(critical),
            rollback: Some(super::super::Criterion {
                condition: condition("critical", 30),
                mode: None,
                rung: None,
                with: vec![],
            }),
            no_data: NoData::Hold,
            baseline: super::super::Baseline::History,
            scope: super::super::Scope::default(),
            over_watch: false,
            labels: Labels::empty(),
            summary: None,
            runbook: None,
        }
    }

    /// One value each 10 s (`_` a missing one), judged as it comes: what changed, with its second.
    fn check(rule: &Rule, values: &str, expected: &str) {
        let mut alert = Alert::new(Labels::empty(), Timestamp(0));
        let mut said = Vec::new();
        for (i, value) in values.split_whitespace().enumerate() {
            let now = Timestamp(i as i64 * 10_000);
            let seen = match value {
                "_" => Judged::Missing,
                value => Judged::Value { value: value.parse().unwrap(), newest: now },
            };
            // Where it is missing for ever, it is this label set alone.
            let has_data = values.len() > 100;
            for change in alert.judge(rule, &Asks::of(rule), seen, Setting { has_data, ..Setting::new(now, INTERVAL) })
            {
                let at = now.millis() / 1000;
                said.push(match change {
                    Change::Level(t) if t.gone => format!("{at}:gone"),
                    Change::Level(t) => format!("{at}:{}", t.to.as_str()),
                    Change::Criterion { due, .. } => format!("{at}:{}", if due { "due" } else { "not-due" }),
                    Change::Target { missed, .. } => format!("{at}:{}", if missed { "missed" } else { "met" }),
                });
            }
        }
        assert_eq!(said.join(" "), expected, "{values}");
    }

    #[test]
    fn levels_rise_and_fall_by_their_conditions() {
        for (values, expected) in [
            ("1 6 6 6", "30:warning"),
            ("1 6 6 1 6 6 1", ""),
            ("6 6 6 1 1", "20:warning 40:ok"),
            ("6 6 6 1 6 1 1", "20:warning 60:ok"),
            ("11 11 11", "20:critical"),
            ("11 11 11 9 9 9", "20:critical 50:due"),
            ("11 11 11 7 7 7 1 1", "20:critical 40:warning 70:ok"),
            ("11 11 11 11 11 11 1 1", "20:critical 50:due 70:ok 70:not-due"),
            ("6 6 6 11 11 11", "20:warning 50:critical"),
            ("NaN NaN NaN NaN", ""),
            ("11 11 11 NaN NaN", "20:critical"),
        ] {
            check(&rule(), values, expected);
        }
    }

    #[test]
    fn an_alert_says_how_long_its_condition_held_and_not_how_long_all_was_well() {
        let mut alert = Alert::new(Labels::empty(), Timestamp(0));
        let mut entered = Vec::new();
        for (i, value) in [1.0, 1.0, 1.0, 6.0, 6.0, 6.0, 11.0, 11.0, 11.0].into_iter().enumerate() {
            let now = Timestamp(i as i64 * 10_000);
            for change in alert.judge(
                &rule(),
                &Asks::default(),
                Judged::Value { value, newest: now },
                Setting::new(now, INTERVAL),
            ) {
                if let Change::Level(t) = change {
                    entered.push((t.to, t.because.held, t.because.readings));
                }
            }
        }
        let held = Span::secs(20);
        assert_eq!(entered, [(Level::Warning, held, 3), (Level::Critical, held, 3)]);
    }

    #[test]
    fn a_gap_longer_than_two_intervals_pauses_a_for() {
        for (values, expected) in [
            ("11 _ 11", "20:critical"),
            ("11 _ _ 11 11 11", "50:critical"),
            ("11 11 _ _ _ 11 11", "60:critical"),
            ("11 11 11 _ _ _ _", "20:critical"),
        ] {
            check(&rule(), values, expected);
        }
    }

    #[test]
    fn missing_data_means_what_the_rule_says() {
        let with = |no_data| Rule { no_data, ..rule() };
        check(&with(NoData::Hold), "11 11 11 _ _ _", "20:critical");
        check(&with(NoData::Ok), "11 11 11 _ _ _", "20:critical 40:ok");
        check(&with(NoData::As(Level::Warning)), "1 _ _ _ _", "30:warning");
        check(&with(NoData::As(Level::Critical)), "1 _ _ _ _", "30:critical");
    }

    #[test]
    fn what_never_comes_back_ends_as_gone_and_not_as_resolved() {
        let values = format!("11 11 11 {}", "_ ".repeat(92));
        check(&rule(), &values, "20:critical 930:gone");
    }

    #[test]
    fn a_for_of_zero_asks_for_one_reading() {
        let mut now = rule();
        now.critical = Some(condition("> 10", 0));
        check(&now, "1 11 1 1", "10:critical 30:ok");
    }

    #[test]
    fn a_timer_fires_between_two_samples() {
        let rule = rule();
        let mut alert = Alert::new(Labels::empty(), Timestamp(0));
        let seen = |at: i64| Judged::Value { value: 11.0, newest: Timestamp(at) };
        assert!(alert.judge(&rule, &Asks::default(), seen(0), Setting::new(Timestamp(0), INTERVAL)).is_empty());
        assert!(
            alert.judge(&rule, &Asks::default(), seen(15_000), Setting::new(Timestamp(15_000), INTERVAL)).is_empty()
        );
        assert_eq!(alert.deadline(&rule, INTERVAL), Some(Timestamp(20_000)));
        assert_eq!(
            alert.judge(&rule, &Asks::default(), seen(15_000), Setting::new(Timestamp(20_000), INTERVAL)).len(),
            1
        );
    }

    #[test]
    fn a_restored_alert_stands_at_its_level_until_data_say_otherwise() {
        let because = Because::default();
        let mut alert = Alert::restored(Labels::empty(), Level::Critical, Timestamp(0), true, false, because);
        assert!(!alert.is_confirmed() && alert.is_due());
        assert!(
            alert
                .judge(&rule(), &Asks::default(), Judged::Missing, Setting::new(Timestamp(10_000), INTERVAL))
                .is_empty()
        );
        let seen = Judged::Value { value: 11.0, newest: Timestamp(20_000) };
        assert!(alert.judge(&rule(), &Asks::default(), seen, Setting::new(Timestamp(20_000), INTERVAL)).is_empty());
        assert!(alert.is_confirmed());
    }
}
