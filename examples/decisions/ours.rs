//! Our procedures, called as the agent calls them: the modules of `src/rule`, minute by minute.
//!
//! Enters: a watch with what is known from before T0. Leaves: where an alarm or a rollback would begin.
//! The conditions are those of the embedded default: values `warning = "> baseline + 10%"`, `rollback = "> baseline
//! + 50%"`; errors `> 10%` for both; memory `warning = "reaches 100% within 72h"`, `rollback` the same within 24 h.

use std::sync::Arc;

use backstop::base::{Span, Timestamp};
use backstop::rule::baseline::{Calibration, Detector, Direction, History, Limit, Refusal, Size, Strictness};
use backstop::rule::ratio::{Dispersion, Evidence, Finding};
use backstop::rule::trend::{Floors, MayRollBack, Trend};

use super::watch::{Act, Counts, ERROR_LIMIT, Edge, Log, Past, Policy, Series, Watch};

/// What a calibration of the values gave: done, or why not.
pub type Baseline = Result<Arc<Calibration>, Refusal>;

/// What is known of the requests: how their errors clump, and the rule's state at T0.
#[derive(Clone)]
pub struct Errors {
    dispersion: Dispersion,
    evidence: Evidence,
}

/// The name of the policy for values.
pub const VALUES: &str = "backstop-baseline";

/// Minutes of a day.
const DAY: i64 = 1440;

/// How much above usual tells, and takes back.
const WORSE: (f64, f64) = (0.10, 0.50);

/// How soon memory must be full to tell, and to take back.
const FULL_WITHIN: (Span, Span) = (Span::hours(72), Span::hours(24));

/// Errors that are needed at least, whatever their share: the default of rules.
const MIN_ERRORS: u32 = 3;

/// All of ours that exist in the table, before the rivals.
pub fn all() -> Vec<Box<dyn Policy>> {
    vec![Box::new(Ours::Values), Box::new(Ours::Requests), Box::new(Ours::Memory), Box::new(Ours::Combined)]
}

/// Works out what the procedures know from before T0. Its `values` end at `t0`.
pub fn past(values: Option<(&[f64], Timestamp, Weekend)>, requests: Option<&Counts>, memory: Option<&[f64]>) -> Past {
    Past {
        baseline: values.map(|(minutes, t0, weekend)| {
            Calibration::of(&History { minutes, t0, weekend }, Direction::Above, None).map(Arc::new)
        }),
        errors: requests.map(Errors::of),
        floors: memory.and_then(|minutes| Floors::of(minutes, 1.0)),
    }
}

/// Says which moments lie on a weekend.
pub type Weekend<'a> = &'a dyn Fn(Timestamp) -> bool;

/// Our policies: one for each kind of signal, and all of them together.
#[derive(Clone, Copy, PartialEq)]
enum Ours {
    Values,
    Requests,
    Memory,
    Combined,
}

impl Policy for Ours {
    fn name(&self) -> &'static str {
        match self {
            Ours::Values => VALUES,
            Ours::Requests => "backstop-ratio",
            Ours::Memory => "backstop-trend",
            Ours::Combined => "backstop-combined",
        }
    }

    fn rolls_back(&self) -> bool {
        true
    }

    fn judges(&self, watch: &Watch) -> bool {
        let kinds = [watch.values.is_some(), watch.requests.is_some(), watch.memory.is_some()];
        match self {
            // One signal alone is the row of its own policy; together they share one.
            Ours::Combined => kinds.iter().filter(|kind| **kind).count() > 1,
            Ours::Values => kinds == [true, false, false],
            Ours::Requests => kinds == [false, true, false],
            Ours::Memory => kinds == [false, false, true],
        }
    }

    fn note(&self) -> &'static str {
        match self {
            Ours::Values => {
                "baseline of 7 days; alarm: 10 % above usual, rollback: 50 % above usual; trouble from before T0 does not roll back"
            }
            Ours::Requests => {
                "errors against 10 % with their counts, dispersion from 7 days; alarm and rollback alike; what held at T0 already does not roll back"
            }
            Ours::Memory => {
                "floors of 7 days; alarm: full within 72 h, rollback: full within 24 h and old enough for it"
            }
            Ours::Combined => "the three together, each on its own signal",
        }
    }

    fn judge(&self, watch: &Watch, log: &mut Log) {
        if let (Some(values), Some(baseline)) = (&watch.values, &watch.past.baseline) {
            judge_values(values, baseline, log);
        }
        if let (Some(counts), Some(errors)) = (&watch.requests, &watch.past.errors) {
            judge_requests(counts, errors, log);
        }
        if let Some(memory) = &watch.memory {
            judge_memory(memory, watch.past.floors.clone(), log);
        }
        log.settle();
    }
}

fn judge_values(values: &Series, baseline: &Baseline, log: &mut Log) {
    let calibration = match baseline {
        Ok(calibration) => calibration,
        Err(refusal) => {
            log.refusal = Some(refusal.to_string());
            return;
        }
    };
    let limit = |size, strictness| Limit { direction: Direction::Above, size: Size::Relative(size), strictness };
    let limits = vec![limit(WORSE.0, Strictness::Warning), limit(WORSE.1, Strictness::Rollback)];
    let before = &values.before[values.before.len().saturating_sub(60)..];
    let mut detector = Detector::new(Arc::clone(calibration), before, limits);
    let mut alarm = Edge::default();
    for (minute, value) in (1..).zip(values.after) {
        detector.see(*value);
        if let Some(finding) = detector.finding(1)
            && detector.trouble_before().is_none()
        {
            return log.add(minute, Act::Rollback, || finding.to_string());
        }
        if alarm.rises(detector.finding(0).is_some())
            && let Some(finding) = detector.finding(0)
        {
            log.add(minute, Act::Alarm, || finding.to_string());
        }
    }
}

impl Errors {
    /// The rule ran before the deployment. What it found in the last day is a known incident: it is left out of what
    /// is usual.
    fn of(counts: &Counts) -> Errors {
        let days = counts.total.before.len() as i64;
        let before = Dispersion::of((-days..-DAY).filter_map(|minute| bucket(counts, minute)));
        let mut evidence = Evidence::new(&[ERROR_LIMIT], MIN_ERRORS);
        let quiet = |minute: i64| {
            see(&mut evidence, counts, minute, &before);
            evidence.finding(0).is_none().then(|| bucket(counts, minute)).flatten()
        };
        let last_day: Vec<_> = (-DAY.min(days)..0).filter_map(quiet).collect();
        let dispersion = Dispersion::of((-days..-DAY).filter_map(|minute| bucket(counts, minute)).chain(last_day));
        Errors { dispersion, evidence }
    }
}

fn bucket(counts: &Counts, minute: i64) -> Option<(f64, f64)> {
    let (errors, total) = (counts.errors.at(minute), counts.total.at(minute));
    (errors.is_finite() && total.is_finite()).then_some((errors, total))
}

fn see(evidence: &mut Evidence, counts: &Counts, minute: i64, dispersion: &Dispersion) {
    match bucket(counts, minute) {
        Some((errors, total)) => evidence.see(errors, total, dispersion),
        None => evidence.skip(1),
    }
}

fn judge_requests(counts: &Counts, past: &Errors, log: &mut Log) {
    let mut evidence = past.evidence.clone();
    // What holds since before T0 is not this version's doing; what begins anew after it is.
    let mut alarm = Edge::default();
    alarm.rises(evidence.finding(0).is_some());
    for minute in 0..counts.total.after.len() as i64 {
        see(&mut evidence, counts, minute, &past.dispersion);
        let finding = evidence.finding(0);
        if alarm.rises(finding.is_some())
            && let Some(finding) = finding
        {
            return log.add(minute as u32 + 1, Act::Rollback, || counts_of(&finding));
        }
    }
}

fn counts_of(finding: &Finding) -> String {
    let Finding { errors, total, buckets, bound, .. } = finding;
    format!("{errors} of {total} requests in {buckets} min failed, at least {:.0} %", 100.0 * bound)
}

fn judge_memory(memory: &Series, floors: Option<Floors>, log: &mut Log) {
    let mut warning = Trend::new(1.0, FULL_WITHIN.0, floors.clone());
    let mut rollback = Trend::new(1.0, FULL_WITHIN.1, floors);
    let mut alarm = Edge::default();
    for (minute, value) in (1..).zip(memory.after) {
        warning.see(*value);
        rollback.see(*value);
        if let Some(finding) = rollback.finding()
            && rollback.may_roll_back() == MayRollBack::Yes
        {
            return log.add(minute, Act::Rollback, || finding.to_string());
        }
        if alarm.rises(warning.finding().is_some())
            && let Some(finding) = warning.finding()
        {
            log.add(minute, Act::Alarm, || finding.to_string());
        }
    }
}
