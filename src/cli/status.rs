//! `backstop status`: everything at one moment, the worst first.
//!
//! Exit: 0 all ok, 1 something is warning or critical, 3 the agent cannot be reached, or cannot tell.

use super::out::{pad, plural};
use super::show::{self, When};
use super::{Context, Exit, Failure, no_answer};
use crate::base::{Level, Span, Timestamp};
use crate::engine::snapshot::{ChannelView, RuleView, Snapshot};
use crate::engine::state::Standing;
use crate::web::client::ClientError;

/// Shows how everything stands.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 all ok, 1 something is warning or critical, 3 no agent, or a rule cannot see.")]
pub struct Args {}

/// Asks the agent and shows its answer.
pub async fn run(context: &mut Context, _: &Args) -> Result<Exit, Failure> {
    let snapshot = match context.client()?.snapshot().await {
        Ok(snapshot) => snapshot,
        // Only where nobody is there: an agent that is slow, or will not answer this user, still watches.
        Err(error @ ClientError::NoAgent { .. }) => return Err(with_last_known(context, no_answer(&error))),
        Err(error) => return Err(no_answer(&error)),
    };
    if context.json() {
        context.out.json(&snapshot);
    } else {
        let text = render(&snapshot, &context.when(snapshot.at));
        context.out.text(&text);
    }
    Ok(exit(&snapshot))
}

/// Nobody answers: what the journal knew last is better than nothing, as long as it is called that.
fn with_last_known(context: &Context, failure: Failure) -> Failure {
    let place = context.place();
    let Some(state) = crate::agent::last_known(&place.state) else { return failure };
    let zone = context.when(Timestamp::default()).zone;
    let mut standing: Vec<_> = state.alerts.iter().flat_map(|(rule, of)| of.values().map(move |s| (rule, s))).collect();
    standing.sort_by_key(|(_, s)| std::cmp::Reverse(s.level));
    let what = match standing.as_slice() {
        [] => "nothing was wrong".to_string(),
        all => {
            let one =
                |(rule, s): &(&String, &Standing)| format!("{} {rule} since {}", s.level, s.since.date_clock(&zone));
            all.iter().take(5).map(one).collect::<Vec<_>>().join(", ")
        }
    };
    let known = format!("last known       {what} (read from {}; the agent is not watching now)", place.state.display());
    let help = failure.help.map_or_else(|| known.clone(), |help| format!("{help}\n{known}"));
    Failure { help: Some(help), ..failure }
}

/// What the exit code says about a snapshot.
pub fn exit(snapshot: &Snapshot) -> Exit {
    if snapshot.rules.iter().any(|r| r.level > Level::Ok) {
        Exit::Bad
    } else if snapshot.degraded.is_some() || snapshot.rules.iter().any(is_blind) {
        Exit::Unknown
    } else {
        Exit::Good
    }
}

/// The whole text.
pub fn render(snapshot: &Snapshot, when: &When) -> String {
    let mut text = show::heading(snapshot, when);
    if let Some(why) = &snapshot.degraded {
        text += &format!("DEGRADED  {why}; no rollback or approval is accepted until the disk is back\n");
    }
    if let Some(why) = &snapshot.not_kept {
        text += &format!("SAMPLES   not kept on disk, so a restart would forget them: {why}\n");
    }
    for usage in snapshot.usage.iter().filter(|usage| usage.ceiling.is_some()) {
        text += &format!(
            "FULL      the store is full: {} has {} series and gets no more ([agent] memory, [store] max_series)\n",
            usage.source, usage.series
        );
    }
    if let Some(why) = &snapshot.config_refused {
        text += &format!("CONFIG    the file on disk was refused, the one before goes on running: {why}\n");
    }
    for target in snapshot.targets.iter().filter(|target| !target.good) {
        let why = target.failure.as_deref().unwrap_or("the last look failed");
        text += &format!("{}{} ({}): {why}\n", pad("DOWN", 10), target.source, target.instance);
    }
    let mut wrong: Vec<&RuleView> = snapshot.rules.iter().filter(|r| r.level > Level::Ok).collect();
    wrong.sort_by_key(|rule| std::cmp::Reverse(rule.level));
    for rule in &wrong {
        text += &alerts(snapshot, rule, when);
    }
    for rule in snapshot.rules.iter().filter(|r| is_blind(r)) {
        text += &blind(rule, when);
    }
    for (remote, off) in snapshot.remotes.iter().filter_map(|r| Some((r, r.clock_off?))) {
        text += &format!("{}{}{}\n", pad("CLOCK", 10), pad(&remote.name, 14), show::clock_off(off));
    }
    text += &fine(snapshot);
    if !wrong.is_empty() {
        text += "\n";
    }
    text += &deployment(snapshot, when);
    text += &rollback(snapshot);
    text += &super::signal::lines(snapshot, when);
    text + &delivery(&snapshot.channels, when)
}

fn is_blind(rule: &RuleView) -> bool {
    rule.no_data.is_some() || rule.failed.is_some()
}

/// The alerts of a rule that is not ok, and what happens next.
fn alerts(snapshot: &Snapshot, rule: &RuleView, when: &When) -> String {
    const SHOWN: usize = 5;
    let mut text = String::new();
    let wrong: Vec<_> = rule.alerts.iter().filter(|a| show::is_wrong(a)).collect();
    for alert in wrong.iter().take(SHOWN) {
        let figure = alert.because.as_ref().map(show::figure).unwrap_or_default();
        let detail = [show::labels(alert), alert.because.as_ref().map(show::counts).unwrap_or_default()];
        let detail: Vec<String> = detail.into_iter().filter(|d| !d.is_empty()).collect();
        let since = format!("since {}, {}", when.clock(alert.since), when.age(alert.since));
        let line = format!(
            "{}{}{}{}{}",
            pad(&alert.level.to_string(), 10),
            pad(&rule.name, 14),
            pad(&figure, 25),
            pad(&since, 28),
            detail.join(", ")
        );
        text += &format!("{}{}\n", line.trim_end(), if alert.confirmed { "" } else { " (not seen since the start)" });
    }
    if wrong.is_empty() {
        text += &format!("{}{}\n", pad(&rule.level.to_string(), 10), rule.name);
    } else if wrong.len() > SHOWN {
        text += &format!("          {}and {} more\n", pad(&rule.name, 14), wrong.len() - SHOWN);
    }
    text + &next(snapshot, rule, when)
}

/// What happens next, and what a person can do about it.
fn next(snapshot: &Snapshot, rule: &RuleView, when: &When) -> String {
    let mut text = String::new();
    let mut commands = vec![format!("backstop explain {}", rule.name)];
    let back = &snapshot.rollback;
    match back.run.as_ref().filter(|run| run.criterion == rule.name) {
        Some(run) if !run.ended => {
            let until = run.until.map(|at| format!(" (until {})", when.clock(at))).unwrap_or_default();
            text += &format!("          next: rollback R-{} {}{until}\n", run.number, show::phase(run));
            match run.phase.as_str() {
                "asked" | "announced" => {
                    commands.push(format!("backstop rollback approve R-{}", run.number));
                    commands.push(format!("backstop rollback deny R-{}", run.number));
                }
                _ => commands.push("backstop rollback status".into()),
            }
        }
        Some(run) => text += &format!("          rollback R-{} {}\n", run.number, show::phase(run)),
        None => {
            let watched = snapshot.deployment.as_ref().filter(|d| d.t0.is_some() && d.verdict.is_none());
            if let (Some(condition), Some(d)) = (show::condition(rule, "rollback"), watched) {
                let back_to = d.previous.as_deref().map(|p| format!(" to {p}")).unwrap_or_default();
                text += &format!("          next: rollback{back_to} once {condition} (mode {})\n", back.mode);
                commands.push("backstop rollback plan".into());
            }
        }
    }
    text + &format!("          {}\n", commands.join(" · "))
}

fn blind(rule: &RuleView, when: &When) -> String {
    let why = match (&rule.no_data, &rule.failed) {
        (Some((since, why)), _) => format!("nothing since {}: {why}", when.clock(*since)),
        (None, Some(why)) => format!("cannot be evaluated: {why}"),
        (None, None) => String::new(),
    };
    format!("{}{}{why}\n", pad("NO DATA", 10), pad(&rule.name, 14))
}

/// The rules that are ok and see.
fn fine(snapshot: &Snapshot) -> String {
    let fine = snapshot.rules.iter().filter(|r| r.level == Level::Ok && !is_blind(r)).count();
    let fresh = if fine == snapshot.rules.len() && fine > 0 { ", every one with fresh data" } else { "" };
    let mut text = format!("{}{}{fresh}\n", pad("ok", 10), plural(fine, "rule"));
    // They may be ok and see nothing of what they are for.
    for rule in &snapshot.rules {
        if let Some(why) = &rule.not_armed {
            text += &format!("{}{}: {why}\n", pad("not armed", 10), rule.name);
        }
    }
    text
}

fn deployment(snapshot: &Snapshot, when: &When) -> String {
    let Some(d) = &snapshot.deployment else {
        return format!("{}none seen yet; tell it: backstop deploy start --version V\n", pad("deployment", 12));
    };
    let before = d.previous.as_deref().map_or("before: not observed".into(), |p| format!("before: {p}"));
    let state = match (&d.verdict, d.t0) {
        (Some(verdict), _) => format!("verdict: {verdict}"),
        (None, None) => format!("announced {} ago, not complete yet", when.age(d.started)),
        (None, Some(t0)) => {
            let due = d.verdict_at.map(|at| format!("verdict in {}", when.until(at))).unwrap_or_default();
            let well = snapshot.rules.iter().all(|r| r.level == Level::Ok && !is_blind(r));
            let against = match d.because.as_slice() {
                [] if well => "; nothing stands against \"stable\"".to_string(),
                [] => String::new(),
                reasons => format!("; against \"stable\": {}", reasons.join("; ")),
            };
            format!("{}   {due}{against}", when.since(t0).since_t0())
        }
    };
    let mut text = format!("{}{} ({before})   {state}\n", pad("deployment", 12), d.version);
    for change in d.changes.iter().rev().take(3) {
        text += &format!("{}{change}, and nobody announced it\n", pad("changed", 12));
    }
    text
}

fn rollback(snapshot: &Snapshot) -> String {
    let back = &snapshot.rollback;
    let capped = back.capped.as_deref().map(|why| format!(" ({why})")).unwrap_or_default();
    let steps = plural(back.steps.len(), "step");
    let text = match back.obstacles.as_slice() {
        _ if back.mode == "observe" => format!("mode observe{capped}: says what it would do, runs nothing; {steps}"),
        [] => format!("armed: mode {}{capped}, {steps}", back.mode),
        [one] => format!("NOT READY: {one} (mode {}{capped}, {steps})", back.mode),
        several => format!("NOT READY: {} (mode {}{capped}, {steps})", several.join("; "), back.mode),
    };
    format!("{}{text}\n", pad("rollback", 12))
}

fn delivery(channels: &[ChannelView], when: &When) -> String {
    let week = Span::hours(24 * 7);
    let tested = |c: &ChannelView| {
        c.waiting == 0 && c.last_error.is_none() && c.last_accepted.is_some_and(|at| when.since(at) < week)
    };
    let text = if channels.is_empty() {
        "no channel: nobody is told".to_string()
    } else if channels.iter().all(tested) {
        format!("{} accepted something within 7 d", all(channels.len()))
    } else {
        channels.iter().map(|c| channel(c, when)).collect::<Vec<_>>().join(" · ")
    };
    format!("{}{text}\n", pad("delivery", 12))
}

fn all(n: usize) -> String {
    if n == 1 { "the one channel".into() } else { format!("all {n} channels") }
}

fn channel(c: &ChannelView, when: &When) -> String {
    if c.waiting > 0 {
        let oldest = c.oldest.map(|at| format!(" since {}", when.clock(at))).unwrap_or_default();
        let why = c.last_error.as_deref().map(|e| format!(": {e}")).unwrap_or_default();
        return format!("{} {} WAITING{oldest}{why}", c.name, plural(c.waiting, "message"));
    }
    match (c.last_accepted, &c.last_error) {
        (_, Some(error)) => format!("{} FAILED: {error}", c.name),
        (Some(at), None) => format!("{} ok {} ago", c.name, when.age(at)),
        (None, None) => format!("{} NEVER TESTED: backstop test-alert", c.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::samples;

    fn text(snapshot: &Snapshot) -> String {
        render(snapshot, &When { zone: jiff::tz::TimeZone::UTC, now: snapshot.at })
    }

    #[test]
    fn trouble_comes_first_with_what_happens_next() {
        insta::assert_snapshot!(text(&samples::in_trouble()));
        assert_eq!(exit(&samples::in_trouble()), Exit::Bad);
    }

    #[test]
    fn when_all_is_well_it_is_short() {
        insta::assert_snapshot!(text(&samples::quiet()));
        assert_eq!(exit(&samples::quiet()), Exit::Good);
    }

    #[test]
    fn a_rule_that_cannot_see_and_a_bad_disk_are_not_good() {
        let mut snapshot = samples::in_trouble();
        snapshot.rules.drain(..2);
        snapshot.degraded = Some("the journal's disk is full since 09:40:12".into());
        snapshot.deployment = None;
        snapshot.rollback.mode = "observe".into();
        snapshot.rollback.capped = Some("backstop-rollback@.service is not installed".into());
        snapshot.channels[0].waiting = 2;
        snapshot.channels[0].last_error = Some("connection refused".into());
        insta::assert_snapshot!(text(&snapshot));
        assert_eq!(exit(&snapshot), Exit::Unknown);
    }
}
