//! What came of a replay, for programs; `docs/BACKTEST.md` describes it. Times are RFC 3339, lengths seconds.

use serde_json::{Value, json};

use super::Report;
use super::nearest::{Near, Traffic};
use super::record::{Entry, RuleRecord};
use super::rollbacks::{Decision, Rollback};
use crate::base::{Labels, Timestamp};

/// The whole report.
pub fn json(report: &Report) -> Value {
    let record = &report.record;
    let targets = record.targets.iter().map(|((source, instance), seen)| {
        let gaps = seen.gaps.iter().map(|(from, to)| json!({ "from": from.rfc3339(), "to": to.rfc3339() }));
        json!({
            "source": source.to_string(),
            "instance": instance,
            "first": seen.first.rfc3339(),
            "last": seen.last.rfc3339(),
            "looks": seen.looks,
            "failed": seen.failed,
            "gaps": gaps.collect::<Vec<_>>(),
            "gap_seconds": seen.blind.as_secs(),
        })
    });
    let deployments = record.deployments.iter();
    let deployments = deployments.map(|(at, version)| json!({ "at": at.rfc3339(), "version": version }));
    json!({
        "format": 1,
        "drill": report.drill,
        "rules_from": report.rules_from,
        "from": report.span.0.rfc3339(),
        "to": report.span.1.rfc3339(),
        "samples": report.samples,
        "targets": targets.collect::<Vec<_>>(),
        "deployments": deployments.collect::<Vec<_>>(),
        "mode": report.mode,
        "has_steps": report.has_steps,
        "rules": record.rules.iter().map(|one| rule(one, report)).collect::<Vec<_>>(),
        "rollbacks": record.rollbacks.all().iter().map(|one| rollback(one, report.drill)).collect::<Vec<_>>(),
        "told": record.told,
        "timeline": record.timeline.iter().map(|one| entry(one, report.drill)).collect::<Vec<_>>(),
        "timeline_left_out": record.more,
        "notes": report.notes,
    })
}

fn rule(rule: &RuleRecord, report: &Report) -> Value {
    let periods = rule.periods.kept.iter().map(|period| {
        json!({
            "labels": labels(&period.labels),
            "from": period.from.rfc3339(),
            "to": time(period.to),
            "seconds": period.length(report.span.1).as_secs(),
            "level": period.highest.as_str(),
        })
    });
    let watcher = rule.watcher.as_ref();
    let traffic = watcher.map(|watcher| watcher.traffic()).unwrap_or_default();
    json!({
        "rule": rule.name,
        "fired": rule.periods.fired,
        "critical": rule.periods.critical,
        "first": time(rule.periods.first),
        "longest_seconds": rule.periods.longest.as_secs(),
        "total_seconds": rule.periods.total.as_secs(),
        "periods": periods.collect::<Vec<_>>(),
        "due": rule.due.0,
        "due_first": time(rule.due.1),
        "nearest": watcher.map(|watcher| watcher.near().iter().map(near).collect::<Vec<_>>()).unwrap_or_default(),
        "traffic": traffic.iter().map(of_traffic).collect::<Vec<_>>(),
        "pending_longest_seconds": rule.pending.map(|(longest, _)| longest.as_secs()),
        "no_data_seconds": rule.no_data.as_secs(),
        "failed": rule.failed.as_ref().map(|(at, why)| json!({ "at": at.rfc3339(), "why": why })),
        "judged": rule.evaluated,
    })
}

fn near(near: &Near) -> Value {
    json!({
        "kind": near.kind,
        "condition": near.condition,
        "for_seconds": near.needs.as_secs(),
        "value": near.value.map(|value| value.value),
        "share_of_limit": near.near,
        "at": time(near.at),
        "labels": labels(&near.labels),
        "errors": near.counts.map(|counts| counts.errors),
        "total": near.counts.map(|counts| counts.total),
        "held_longest_seconds": near.longest.as_secs(),
        "held_longest_from": time(near.longest_at),
    })
}

fn of_traffic(traffic: &Traffic) -> Value {
    json!({
        "condition": traffic.condition,
        "window_seconds": traffic.window.as_secs(),
        "median_events": traffic.median,
        "errors_needed": traffic.errors,
        "undecidable": traffic.undecidable,
    })
}

fn rollback(one: &Rollback, drill: bool) -> Value {
    let (guard, why) = match &one.decision {
        Decision::Held { guard, why } => (Some(guard), Some(why)),
        Decision::Observed | Decision::Asked | Decision::Announced => (None, None),
    };
    json!({
        "at": one.at.rfc3339(),
        "drill": drill,
        "rule": one.rule,
        "decision": one.decision.as_str(),
        "guard": guard,
        "why": why,
        "version": one.versions.as_ref().map(|(version, _)| version),
        "previous": one.versions.as_ref().map(|(_, previous)| previous),
        "because": one.because,
        "started": time(one.started),
        "outcome": one.ended.as_ref().map(|(word, at, why)| json!({ "word": word, "at": at.rfc3339(), "why": why })),
    })
}

fn entry(entry: &Entry, drill: bool) -> Value {
    json!({
        "at": entry.at.rfc3339(),
        "kind": entry.kind.as_str(),
        "drill": drill,
        "rule": entry.rule,
        "text": entry.text,
    })
}

fn labels(labels: &Labels) -> Value {
    labels.iter().map(|(name, value)| (name.to_string(), Value::from(value))).collect::<serde_json::Map<_, _>>().into()
}

fn time(at: Option<Timestamp>) -> Option<String> {
    at.map(Timestamp::rfc3339)
}
