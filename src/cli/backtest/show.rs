//! What came of a replay, as people read it: one screen, the most important first.

use jiff::tz::TimeZone;

use super::Report;
use super::nearest::{Near, Traffic};
use super::record::{Kind, RuleRecord, Seen};
use super::rollbacks::{Decision, Rollback};
use crate::base::because::whole;
use crate::base::{Quantity, Span, Timestamp};
use crate::cli::out::{pad, plural};
use crate::cli::show::telling;

/// The most lines of the timeline without `--all`.
const LINES: usize = 50;

/// The most gaps, targets and rollbacks that are named.
const NAMED: usize = 5;

/// The widest name of a rule before its line is broken.
const WIDEST: usize = 24;

/// The whole text.
pub fn render(report: &Report, zone: &TimeZone, all: bool) -> String {
    let (from, to) = report.span;
    let record = &report.record;
    let drill = if report.drill { "  (a drill)" } else { "" };
    let rules = plural(record.rules.len(), "rule");
    let mut text = format!("backtest of {}: {rules} over {}{drill}\n", report.rules_from, (to - from).human());
    text += &row("data", &format!("{} to {}", from.date_clock(zone), to.date_clock(zone)));
    text += &coverage(report, zone);
    text += &deployments(report, zone);
    for note in &report.notes {
        text += &row("note", note);
    }
    text += "\nRules\n";
    let width = record.rules.iter().map(|r| r.name.chars().count()).max().unwrap_or(0).min(WIDEST) + 2;
    let mut sorted: Vec<&RuleRecord> = record.rules.iter().collect();
    sorted.sort_by_key(|rule| (rule.due.0 == 0, rule.periods.critical == 0, rule.periods.fired == 0));
    for rule in sorted {
        text += &of_rule(rule, report, width, zone);
    }
    text += &rollbacks(report, zone);
    text += &told(report);
    text += &timeline(report, zone, all);
    text
}

fn row(name: &str, what: &str) -> String {
    format!("{}{what}\n", pad(name, 12))
}

/// How much of the time something was seen, and what was not.
fn coverage(report: &Report, zone: &TimeZone) -> String {
    let record = &report.record;
    let whole_span = (report.span.1 - report.span.0).0.max(1) as f64;
    let unseen = |seen: &Seen| {
        let before = (seen.first - report.span.0).0 + (report.span.1 - seen.last).0;
        (seen.blind.0 + before) as f64 / whole_span
    };
    let shares: Vec<f64> = record.targets.values().map(unseen).collect();
    let mean = shares.iter().sum::<f64>() / shares.len().max(1) as f64;
    let seen = Quantity::ratio((1.0 - mean).clamp(0.0, 1.0));
    let (targets, samples) = (plural(record.targets.len(), "target"), whole(report.samples as f64));
    let mut text = row("", &format!("{targets}, {samples} samples; looked at {seen} of the time"));
    let mut gaps: Vec<(Span, String)> = Vec::new();
    for ((source, instance), seen) in &record.targets {
        let name = if instance.is_empty() { source.to_string() } else { format!("{source} ({instance})") };
        let of = |from: Timestamp, to: Timestamp| (to - from, format!("{name} not from {}", from.date_clock(zone)));
        gaps.extend(seen.gaps.iter().map(|(from, to)| of(*from, *to)));
        let edge = Span::mins(5);
        if seen.first - report.span.0 > edge {
            gaps.push((seen.first - report.span.0, format!("{name} only from {}", seen.first.date_clock(zone))));
        }
        if report.span.1 - seen.last > edge {
            gaps.push(of(seen.last, report.span.1));
        }
    }
    gaps.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    for (length, gap) in gaps.iter().take(NAMED) {
        text += &row("", &format!("gap: {gap}, {}", length.human()));
    }
    if gaps.len() > NAMED {
        text += &row("", &format!("and {}", plural(gaps.len() - NAMED, "shorter gap")));
    }
    text
}

fn deployments(report: &Report, zone: &TimeZone) -> String {
    let all = &report.record.deployments;
    if all.is_empty() {
        return row(
            "deployments",
            "none: `after`, phases, baselines and rollbacks were not tried; --deploy TIME[=VERSION] adds one",
        );
    }
    let one = |(at, version): &(Timestamp, String)| format!("{version} at {}", at.date_clock(zone));
    let named: Vec<String> = all.iter().take(NAMED).map(one).collect();
    let more = if all.len() > NAMED { format!(" and {} more", all.len() - NAMED) } else { String::new() };
    row("deployments", &format!("{}{more}", named.join(", ")))
}

fn of_rule(rule: &RuleRecord, report: &Report, width: usize, zone: &TimeZone) -> String {
    let mut lines = Vec::new();
    let periods = &rule.periods;
    match periods.first {
        Some(first) => {
            let word = if report.drill { "drill: fired" } else { "fired" };
            let critical = match periods.critical {
                0 => String::new(),
                n => format!(", critical {}", times(n)),
            };
            let longest = periods.longest.human();
            let total = periods.total.human();
            let how_long =
                if periods.fired == 1 { format!("for {total}") } else { format!("longest {longest}, {total} in all") };
            lines.push(format!(
                "{word} {}{critical}: first {}, {how_long}",
                times(periods.fired),
                first.date_clock(zone)
            ));
        }
        None if !rule.evaluated => lines.push("was not judged".into()),
        None if rule.watcher.is_none() && rule.pending.is_none() => lines.push("is recorded".into()),
        None => lines.push("never fired".into()),
    }
    if let (n, Some(first)) = rule.due {
        lines.push(format!("rollback due {}: first {}", times(n), first.date_clock(zone)));
    }
    if let Some(watcher) = &rule.watcher {
        lines.extend(watcher.near().iter().filter_map(|near| nearest(near, rule, zone)));
        lines.extend(watcher.traffic().iter().map(traffic));
    }
    if let (Some((longest, needs)), 0) = (rule.pending, periods.fired)
        && longest > Span::ZERO
    {
        lines.push(format!("pending for {} of the {} it needs", longest.human(), needs.human()));
    }
    if rule.no_data > Span::ZERO {
        let share = rule.no_data.0 as f64 / (report.span.1 - report.span.0).0.max(1) as f64;
        lines.push(format!("no data for {} ({})", rule.no_data.human(), Quantity::ratio(share)));
    }
    if let Some((at, why)) = &rule.failed {
        lines.push(format!("could not be evaluated, first {}: {why}", at.date_clock(zone)));
    }
    let mut text = String::new();
    let mut name = rule.name.as_str();
    if name.chars().count() + 2 > width {
        text += &format!("  {name}\n");
        name = "";
    }
    for line in lines {
        text += &format!("  {}{line}\n", if name.is_empty() { " ".repeat(width) } else { pad(name, width) });
        name = "";
    }
    text
}

fn times(n: u64) -> String {
    match n {
        1 => "once".into(),
        n => format!("{} times", whole(n as f64)),
    }
}

/// How near a condition came that was never entered.
fn nearest(near: &Near, rule: &RuleRecord, zone: &TimeZone) -> Option<String> {
    let entered = match near.kind {
        "rollback" => rule.due.0 > 0,
        "critical" => rule.periods.critical > 0,
        // Who is critical has left the warning behind.
        "warning" => rule.periods.fired > 0,
        _ => false,
    };
    if entered {
        return None;
    }
    let needs = if near.needs > Span::ZERO { format!(" for {}", near.needs.human()) } else { String::new() };
    let what = format!("{} {}{needs}", near.kind, near.condition);
    if let (Some(since), true) = (near.longest_at, near.longest > Span::ZERO || near.near.is_none()) {
        let of = if near.needs > Span::ZERO { format!(" of {}", near.needs.human()) } else { String::new() };
        return Some(format!("{what}: held for {}{of}, {}", near.longest.human(), since.date_clock(zone)));
    }
    let (value, at) = (near.value?, near.at?);
    let which = telling(&near.labels);
    let which = if which.is_empty() { which } else { format!(", {which}") };
    let counts = near
        .counts
        .map(|c| format!(", {} of {}, at least {}", whole(c.errors), whole(c.total), Quantity::ratio(c.at_least)));
    let figure = format!("{value}{}{which} at {}", counts.unwrap_or_default(), at.date_clock(zone));
    Some(match near.near {
        Some(near) if near < 1.0 => {
            format!("{what}: never nearer than {} of its limit: {figure}", Quantity::ratio(near))
        }
        Some(_) => format!("{what}: over its limit in one reading: {figure}"),
        None => format!("{what}: last seen {figure}"),
    })
}

fn traffic(traffic: &Traffic) -> String {
    let events = format!("{} events in {} (median)", whole(traffic.median), traffic.window.human());
    let needs = match traffic.errors {
        Some(errors) => {
            let share = Quantity::ratio(errors / traffic.median.max(1.0));
            format!("{} holds from {} errors on ({share})", traffic.condition, whole(errors))
        }
        None => format!("too few for {}: even nothing but errors would not show it", traffic.condition),
    };
    let never = match traffic.undecidable {
        share if share >= 0.001 && traffic.errors.is_some() => {
            format!("; too few events {} of the time", Quantity::ratio(share))
        }
        _ => String::new(),
    };
    format!("traffic: {events}: {needs}{never}")
}

fn rollbacks(report: &Report, zone: &TimeZone) -> String {
    let all = report.record.rollbacks.all();
    let steps = if report.has_steps { "" } else { "; there are no [[rollback.step]]" };
    let drill = if report.drill { "drill: " } else { "" };
    let mut text = format!("\nRollbacks (mode {}{steps})\n", report.mode);
    if all.is_empty() {
        text += "  none\n";
    }
    for one in all.iter().take(NAMED * 2) {
        text += &format!("  {}  {drill}{}\n", one.at.date_clock(zone), decided(one, zone));
        if !one.because.is_empty() {
            text += &format!("  {}{}\n", " ".repeat(21), one.because);
        }
        if let Some((word, at, why)) = &one.ended {
            let why = if why.is_empty() { String::new() } else { format!(": {why}") };
            text += &format!("  {}{word} at {}{why}\n", " ".repeat(21), at.date_clock(zone));
        }
    }
    if all.len() > NAMED * 2 {
        text += &format!("  and {} more\n", all.len() - NAMED * 2);
    }
    if all.iter().any(|one| one.started.is_some()) {
        text += "  What was recorded after a rollback is still the version that really ran.\n";
    }
    text
}

fn decided(one: &Rollback, zone: &TimeZone) -> String {
    let versions = one.versions.as_ref().map(|(from, to)| format!(" {from} -> {to}")).unwrap_or_default();
    match &one.decision {
        Decision::Held { guard, why } => format!("{}: held by {guard}: {why}", one.rule),
        decision => {
            let started = one.started.map(|at| format!("; steps from {}", at.date_clock(zone)));
            format!("{}{versions}: {}{}", one.rule, decision.text(), started.unwrap_or_default())
        }
    }
}

fn told(report: &Report) -> String {
    let all: u64 = report.record.told.values().sum();
    if all == 0 {
        return String::new();
    }
    let drill = if report.drill { "drill: " } else { "" };
    let one = |(channel, n): (&String, &u64)| format!("{} to {channel}", whole(*n as f64));
    let channels: Vec<String> = report.record.told.iter().map(one).collect();
    format!("\n{drill}{} would have been sent: {}\n", plural(all as usize, "message"), channels.join(", "))
}

fn timeline(report: &Report, zone: &TimeZone, all: bool) -> String {
    let entries: Vec<_> = report.record.timeline.iter().filter(|e| all || e.kind != Kind::Told).collect();
    if entries.is_empty() {
        return String::new();
    }
    let shown = if all { entries.len() } else { entries.len().min(LINES) };
    let more = entries.len() - shown + report.record.more as usize;
    let hidden = if all { "" } else { "; --all for every line, and what would have been sent" };
    let of = if more > 0 { format!(", {shown} of {}", shown + more) } else { String::new() };
    let mut text = format!("\nTimeline{of}{hidden}\n");
    for entry in entries.iter().take(shown) {
        let drill = if report.drill { "drill: " } else { "" };
        text += &format!("  {}  {drill}{}\n", entry.at.date_clock(zone), entry.text);
    }
    text
}
