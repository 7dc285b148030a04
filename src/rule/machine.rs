//! The life of one alert: one rule and one label set.
//!
//! Enters: a reading (or that there is none) and `now`. Leaves: changes of the level, and of whether the
//! criterion is due. What is journaled is the level and the criterion; how long a condition has been pending is
//! a function of the samples and is not.
//!
//! Time counts only where there is evidence: a condition that was seen at two samples held between them, unless
//! the gap between them is longer than two intervals, and then it did not get worse or better by it.

use serde::{Deserialize, Serialize};

use super::share;
use super::{Comparison, Condition, NoData, Rule, Test, When};
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
}

/// One alert's state.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    labels: Labels,
    level: Level,
    level_since: Timestamp,
    due: bool,
    warning: Gate,
    critical: Gate,
    rollback: Gate,
    /// What `warning` and `critical` were before the last reading: for how long they held when they are entered.
    before: (Gate, Gate),
    missing_since: Option<Timestamp>,
    bad_since: Option<Timestamp>,
    last: Option<Because>,
    confirmed: bool,
}

/// Whether one condition holds, and for how long it has or has not.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Gate {
    Off,
    Pending(Held),
    On { ending: Option<Held> },
}

/// Time for which something was seen to hold.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Held {
    counted: Span,
    newest: Timestamp,
    readings: u32,
}

impl Held {
    fn begin(newest: Timestamp) -> Held {
        Held { counted: Span::ZERO, newest, readings: 1 }
    }

    fn see(&mut self, newest: Timestamp, interval: Span) {
        if newest <= self.newest {
            return;
        }
        let gap = newest - self.newest;
        if gap <= longest_gap(interval) {
            self.counted += gap;
        }
        self.newest = newest;
        self.readings += 1;
    }

    /// What was counted, and what passed since the newest sample, as far as that may be trusted.
    fn until(&self, now: Timestamp, interval: Span) -> Span {
        let since = now - self.newest;
        self.counted + Span(since.0.clamp(0, longest_gap(interval).0))
    }
}

/// Two intervals, and a little for the jitter of real collects.
fn longest_gap(interval: Span) -> Span {
    Span(interval.0 * 2 + (interval.0 / 5).max(250))
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
            warning: Gate::Off,
            critical: Gate::Off,
            rollback: Gate::Off,
            before: (Gate::Off, Gate::Off),
            missing_since: None,
            bad_since: None,
            last: None,
            confirmed: true,
        }
    }

    /// The alert as the journal knows it: its level stands at once, unconfirmed until data come.
    pub fn restored(labels: Labels, level: Level, since: Timestamp, due: bool, because: Because) -> Alert {
        let on = |is: bool| if is { Gate::On { ending: None } } else { Gate::Off };
        Alert {
            labels,
            level,
            level_since: since,
            due,
            warning: on(level >= Level::Warning),
            critical: on(level >= Level::Critical),
            rollback: on(due),
            before: (Gate::Off, Gate::Off),
            missing_since: None,
            bad_since: (level > Level::Ok || due).then_some(since),
            last: Some(because),
            confirmed: false,
        }
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

    /// The last reason: value, counts and limit of the last evaluation that saw something.
    pub fn last(&self) -> Option<&Because> {
        self.last.as_ref()
    }

    /// Whether some condition is pending: it holds, and not yet for long enough.
    pub fn is_pending(&self) -> bool {
        [self.warning, self.critical, self.rollback].iter().any(|g| matches!(g, Gate::Pending(_)))
    }

    /// Whether the alert could be forgotten: ok, nothing pending and not seen any more.
    pub fn is_idle(&self) -> bool {
        self.level == Level::Ok && !self.due && self.missing_since.is_some() && !self.is_pending()
    }

    /// Moves all remembered times by `by`, because the wall clock was set.
    pub fn shift(&mut self, by: Span) {
        self.level_since += by;
        for gate in [&mut self.warning, &mut self.critical, &mut self.rollback] {
            match gate {
                Gate::Pending(held) | Gate::On { ending: Some(held) } => held.newest += by,
                Gate::Off | Gate::On { ending: None } => {}
            }
        }
        for since in [&mut self.missing_since, &mut self.bad_since].into_iter().flatten() {
            *since += by;
        }
    }

    /// Judges one reading. `interval` is the rule's own: two of them without a sample is a gap.
    pub fn judge(&mut self, rule: &Rule, seen: Judged, interval: Span, now: Timestamp) -> Vec<Change> {
        let newest = match seen {
            Judged::Value { newest, .. } | Judged::Share { newest, .. } | Judged::Absent { newest } => newest,
            Judged::Missing => return self.judge_missing(rule, interval, now),
        };
        self.missing_since = None;
        self.confirmed = true;
        let moment = Moment { newest, interval, now };
        let holds = |c: &Condition| when_holds(rule, &c.when, &seen);
        let clears =
            |c: &Condition| c.clear.as_ref().map_or(!when_holds(rule, &c.when, &seen), |t| test_holds(rule, t, &seen));
        let warning = rule.warning.as_ref().map(|c| (c, holds(c), clears(c)));
        let critical = rule.critical.as_ref().map(|c| (c, holds(c), clears(c)));
        self.advance(rule, warning, critical, |c| (holds(c), clears(c)), moment);
        let level = self.gated_level();
        let shown = if level > Level::Ok { level } else { self.strictest() };
        self.last = Some(self.because(rule, &seen, shown, moment));
        self.changes(rule, now, false)
    }

    /// The next moment at which this alert may change without a new sample.
    pub fn deadline(&self, rule: &Rule, interval: Span) -> Option<Timestamp> {
        let of = |gate: &Gate, condition: Option<&Condition>| -> Option<Timestamp> {
            let condition = condition?;
            let (held, need) = match gate {
                Gate::Pending(held) if held.readings >= 2 => (held, condition.held_for),
                Gate::On { ending: Some(held) } => (held, condition.keep),
                _ => return None,
            };
            let left = need - held.counted;
            (left <= longest_gap(interval)).then(|| held.newest + left)
        };
        [
            of(&self.warning, rule.warning.as_ref()),
            of(&self.critical, rule.critical.as_ref()),
            of(&self.rollback, rule.rollback.as_ref().map(|c| &c.condition)),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// No data: by the rule's policy the level stays, or is treated as ok or as bad.
    fn judge_missing(&mut self, rule: &Rule, interval: Span, now: Timestamp) -> Vec<Change> {
        let since = *self.missing_since.get_or_insert(now);
        let bad = match rule.no_data {
            NoData::Hold => {
                // The label set was held, its expression goes on without it, and it does not come back.
                if now - since >= GONE_AFTER && (self.level > Level::Ok || self.due) {
                    self.warning = Gate::Off;
                    self.critical = Gate::Off;
                    self.rollback = Gate::Off;
                    return self.changes(rule, now, true);
                }
                return Vec::new();
            }
            NoData::Ok => Level::Ok,
            NoData::As(level) => level,
        };
        // That nothing comes is seen anew at each evaluation, so evidence is as new as the evaluation.
        let moment = Moment { newest: now, interval, now };
        let warning = rule.warning.as_ref().map(|c| (c, bad >= Level::Warning, bad < Level::Warning));
        let critical = rule.critical.as_ref().map(|c| (c, bad >= Level::Critical, bad < Level::Critical));
        self.advance(rule, warning, critical, |_| (false, bad < Level::Critical), moment);
        let limit = "no data".to_string();
        self.last = Some(Because {
            value: None,
            counts: None,
            limit,
            held: now - since,
            readings: 0,
            evidence: None,
            lines: vec![],
        });
        self.changes(rule, now, false)
    }

    fn advance<'r>(
        &mut self,
        rule: &'r Rule,
        warning: Option<(&'r Condition, bool, bool)>,
        critical: Option<(&'r Condition, bool, bool)>,
        rollback: impl Fn(&'r Condition) -> (bool, bool),
        moment: Moment,
    ) {
        let was = (is_on(&self.critical), is_on(&self.rollback));
        self.before = (self.warning, self.critical);
        step_gate(&mut self.warning, warning, moment);
        step_gate(&mut self.critical, critical, moment);
        let is_critical = is_on(&self.critical);
        match rule.rollback.as_ref().map(|c| &c.condition) {
            // What is due as long as the rule is critical ends with it; its `keep` has passed already.
            Some(condition) if condition.when == When::Critical => {
                step_gate(&mut self.rollback, Some((condition, is_critical, false)), moment);
                if !is_critical {
                    self.rollback = Gate::Off;
                }
            }
            Some(condition) => {
                let (holds, clears) = rollback(condition);
                step_gate(&mut self.rollback, Some((condition, holds, clears)), moment);
            }
            None => self.rollback = Gate::Off,
        }
        // A criterion implies critical, and critical replaces warning: what is implied is entered at once, and
        // left by its own condition.
        if is_on(&self.rollback) && !was.1 && rule.critical.is_some() && !is_on(&self.critical) {
            self.critical = Gate::On { ending: None };
        }
        if is_on(&self.critical) && !was.0 && rule.warning.is_some() && !is_on(&self.warning) {
            self.warning = Gate::On { ending: None };
        }
    }

    /// The level that the conditions give now.
    fn gated_level(&self) -> Level {
        match (is_on(&self.rollback) || is_on(&self.critical), is_on(&self.warning)) {
            (true, _) => Level::Critical,
            (false, true) => Level::Warning,
            (false, false) => Level::Ok,
        }
    }

    /// The highest condition that holds or is about to: what a reader wants to see the value beside while all is ok.
    fn strictest(&self) -> Level {
        match (self.critical, self.warning) {
            (Gate::On { .. } | Gate::Pending(_), _) => Level::Critical,
            (_, Gate::On { .. } | Gate::Pending(_)) => Level::Warning,
            _ => Level::Ok,
        }
    }

    fn because(&self, rule: &Rule, seen: &Judged, level: Level, moment: Moment) -> Because {
        let condition = match level {
            Level::Critical => rule.critical.as_ref().or(rule.rollback.as_ref().map(|c| &c.condition)),
            Level::Warning => rule.warning.as_ref(),
            Level::Ok => rule.warning.as_ref().or(rule.critical.as_ref()),
        };
        let condition = condition.or(rule.rollback.as_ref().map(|c| &c.condition));
        let (gate, before) =
            if level == Level::Critical { (self.critical, self.before.1) } else { (self.warning, self.before.0) };
        let (held, readings) = match (gate, before) {
            (Gate::Pending(held), _) => (held.until(moment.now, moment.interval), held.readings),
            // Entered by this reading, which counts like those before it.
            (Gate::On { .. }, Gate::Pending(mut held)) if level > self.level => {
                held.see(moment.newest, moment.interval);
                (held.until(moment.now, moment.interval), held.readings)
            }
            (Gate::On { .. }, Gate::Off) if level > self.level => (Span::ZERO, 1),
            _ => (moment.now - self.level_since, 0),
        };
        let (value, counts) = match *seen {
            Judged::Value { value, .. } => (Some(Quantity { value, unit: rule.unit }), None),
            Judged::Share { errors, total, .. } => {
                let value = if total > 0.0 { (errors / total).min(1.0) } else { 0.0 };
                let super::Value::Share { window, .. } = &rule.value else { unreachable!("a share comes of a share") };
                let at_least = share::lower_bound(errors, total);
                (Some(Quantity::ratio(value)), Some(Counts { errors, total, window: *window, at_least }))
            }
            Judged::Absent { .. } | Judged::Missing => (None, None),
        };
        Because {
            value,
            counts,
            limit: condition.map_or_else(String::new, limit_text),
            held,
            readings,
            evidence: Some(moment.newest),
            lines: Vec::new(),
        }
    }

    /// Compares the gates with what was said last, and says what changed.
    fn changes(&mut self, rule: &Rule, now: Timestamp, gone: bool) -> Vec<Change> {
        let is_bad = [self.warning, self.critical, self.rollback].iter().any(|g| *g != Gate::Off);
        self.bad_since = if is_bad { Some(self.bad_since.unwrap_or(now)) } else { None };
        let due = is_on(&self.rollback);
        let level = self.gated_level();
        let because = self.last.clone().unwrap_or_else(|| Because {
            value: None,
            counts: None,
            limit: String::new(),
            held: Span::ZERO,
            readings: 0,
            evidence: None,
            lines: Vec::new(),
        });
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
        if due != self.due {
            self.due = due;
            let because =
                Because { held: rule.rollback.as_ref().map_or(Span::ZERO, |c| c.condition.held_for), ..because };
            changes.push(Change::Criterion {
                rule: rule.name.clone(),
                labels: self.labels.clone(),
                due,
                at: now,
                because,
            });
        }
        changes
    }
}

/// When and on what evidence a reading is judged.
#[derive(Clone, Copy)]
struct Moment {
    newest: Timestamp,
    interval: Span,
    now: Timestamp,
}

fn is_on(gate: &Gate) -> bool {
    matches!(gate, Gate::On { .. })
}

fn step_gate(gate: &mut Gate, input: Option<(&Condition, bool, bool)>, m: Moment) {
    let Some((condition, holds, clears)) = input else {
        *gate = Gate::Off;
        return;
    };
    let next = match (*gate, holds, clears) {
        (Gate::Off, false, _) | (Gate::Pending(_), false, _) => Gate::Off,
        (Gate::Off, true, _) => Gate::Pending(Held::begin(m.newest)),
        (Gate::Pending(mut held), true, _) => {
            held.see(m.newest, m.interval);
            Gate::Pending(held)
        }
        (Gate::On { .. }, _, false) => Gate::On { ending: None },
        (Gate::On { ending: None }, _, true) => Gate::On { ending: Some(Held::begin(m.newest)) },
        (Gate::On { ending: Some(mut held) }, _, true) => {
            held.see(m.newest, m.interval);
            Gate::On { ending: Some(held) }
        }
    };
    *gate = match next {
        Gate::Pending(held) if is_long_enough(&held, condition.held_for, 2, m) => Gate::On { ending: None },
        Gate::On { ending: Some(held) } if is_long_enough(&held, condition.keep, 1, m) => Gate::Off,
        other => other,
    };
}

/// Zero asks for one reading; any other span for that time and `readings` of them.
fn is_long_enough(held: &Held, need: Span, readings: u32, m: Moment) -> bool {
    need == Span::ZERO || (held.readings >= readings && held.until(m.now, m.interval) >= need)
}

fn when_holds(rule: &Rule, when: &When, seen: &Judged) -> bool {
    match when {
        When::Test(test) => test_holds(rule, test, seen),
        When::Present => matches!(seen, Judged::Value { .. }),
        When::Critical => false,
    }
}

fn test_holds(rule: &Rule, test: &Test, seen: &Judged) -> bool {
    match *seen {
        Judged::Value { value, .. } => test.holds(|_| value),
        Judged::Share { errors, total, .. } => {
            let min_errors = match &rule.value {
                super::Value::Share { min_errors, .. } => f64::from(*min_errors),
                super::Value::Expression { .. } | super::Value::Remote { .. } => 0.0,
            };
            test.holds(|op: Comparison| match op.rises() {
                true if errors < min_errors => 0.0,
                true => share::lower_bound(errors, total),
                false => share::upper_bound(errors, total),
            })
        }
        Judged::Absent { .. } | Judged::Missing => false,
    }
}

/// `10 %`: what people read beside a value.
fn limit_text(condition: &Condition) -> String {
    match &condition.when {
        When::Test(Test(parts)) => parts.iter().map(|(_, q)| q.to_string()).collect::<Vec<_>>().join(" and "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Value;

    const INTERVAL: Span = Span::secs(10);

    fn test(text: &str) -> Test {
        let (op, limit) = text.split_once(' ').unwrap();
        let ops = [Comparison::Above, Comparison::AtLeast, Comparison::Below, Comparison::AtMost, Comparison::Equal];
        let op = ops.into_iter().find(|o| o.as_str() == op).unwrap();
        Test(vec![(op, Quantity::parse(limit).unwrap())])
    }

    fn condition(when: &str, held_for: i64) -> Condition {
        let when = if when == "critical" { When::Critical } else { When::Test(test(when)) };
        Condition { when, held_for: Span::secs(held_for), clear: None, keep: Span::secs(10) }
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
            warning: Some(condition("> 5", 20)),
            critical: Some(critical),
            rollback: Some(super::super::Criterion { condition: condition("critical", 30), mode: None, rung: None }),
            no_data: NoData::Hold,
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
            for change in alert.judge(rule, seen, INTERVAL, now) {
                let at = now.millis() / 1000;
                said.push(match change {
                    Change::Level(t) if t.gone => format!("{at}:gone"),
                    Change::Level(t) => format!("{at}:{}", t.to.as_str()),
                    Change::Criterion { due, .. } => format!("{at}:{}", if due { "due" } else { "not-due" }),
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
            for change in alert.judge(&rule(), Judged::Value { value, newest: now }, INTERVAL, now) {
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
        assert!(alert.judge(&rule, seen(0), INTERVAL, Timestamp(0)).is_empty());
        assert!(alert.judge(&rule, seen(15_000), INTERVAL, Timestamp(15_000)).is_empty());
        assert_eq!(alert.deadline(&rule, INTERVAL), Some(Timestamp(20_000)));
        assert_eq!(alert.judge(&rule, seen(15_000), INTERVAL, Timestamp(20_000)).len(), 1);
    }

    #[test]
    fn a_restored_alert_stands_at_its_level_until_data_say_otherwise() {
        let because = Because {
            value: None,
            counts: None,
            limit: String::new(),
            held: Span::ZERO,
            readings: 0,
            evidence: None,
            lines: vec![],
        };
        let mut alert = Alert::restored(Labels::empty(), Level::Critical, Timestamp(0), true, because);
        assert!(!alert.is_confirmed() && alert.is_due());
        assert!(alert.judge(&rule(), Judged::Missing, INTERVAL, Timestamp(10_000)).is_empty());
        let seen = Judged::Value { value: 11.0, newest: Timestamp(20_000) };
        assert!(alert.judge(&rule(), seen, INTERVAL, Timestamp(20_000)).is_empty());
        assert!(alert.is_confirmed());
    }
}
