//! `backstop watch status`: how the newest deployment does, and what its verdict still needs.

use super::out::pad;
use super::show::{self, When};
use super::{Context, Exit, Failure};
use crate::base::{Level, Span};
use crate::engine::snapshot::{DeploymentView, RuleView, Snapshot};

/// The watch over a deployment.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum What {
    /// Shows how far the watch is and what stands against "stable".
    #[command(
        after_help = "Exit codes: 0 stable so far, 1 failed or rolled back, 3 no deployment, inconclusive, or no agent."
    )]
    Status,
}

/// Asks the agent and shows the watch.
pub async fn run(context: &mut Context, args: &Args) -> Result<Exit, Failure> {
    let What::Status = args.what;
    let snapshot = context.snapshot().await?;
    if context.json() {
        context.out.json(&snapshot.deployment);
    } else {
        let text = render(&snapshot, &context.when(snapshot.at));
        context.out.text(&text);
    }
    Ok(match &snapshot.deployment {
        None => Exit::Unknown,
        Some(d) => d.verdict.as_deref().map_or(Exit::Good, exit_of_verdict),
    })
}

/// The exit code of a verdict.
pub fn exit_of_verdict(verdict: &str) -> Exit {
    match verdict {
        "stable" | "stable with warnings" => Exit::Good,
        "failed" | "rolled back" => Exit::Bad,
        _ => Exit::Unknown,
    }
}

/// The whole text.
pub fn render(snapshot: &Snapshot, when: &When) -> String {
    let Some(d) = &snapshot.deployment else {
        return format!("{}: no deployment is watched; begin one: backstop deploy start --version V\n", snapshot.app);
    };
    let mut text = heading(snapshot, d, when);
    text += &match &d.verdict {
        Some(verdict) => format!("verdict: {verdict}\n"),
        None => format!("so far: {}\n", so_far(snapshot, d)),
    };
    for why in &d.because {
        text += &format!("  - {why}\n");
    }
    text.push('\n');
    text += &section("criteria", snapshot.rules.iter().filter_map(criterion));
    text += &section("coverage", coverage(d));
    text += &section("at T0", d.facts.iter().map(|(thing, how)| format!("{thing}   {how}")));
    text += &section("changed", d.changes.iter().map(|change| format!("{change}, and nobody announced it")));
    text += &section("incidents", incidents(snapshot, d, when));
    text
}

fn heading(snapshot: &Snapshot, d: &DeploymentView, when: &When) -> String {
    let before = d.previous.as_deref().unwrap_or("not observed");
    let what = pad(&format!("{} {}, before {before}", snapshot.app, d.version), 66);
    match (d.t0, d.verdict_at) {
        (Some(t0), Some(end)) => {
            let (gone, whole) = (when.since(t0), end - t0);
            let (gone_text, whole_text) = (Span(gone.0.min(whole.0)).since_t0(), whole.human());
            format!("{what}{gone_text} of {whole_text}   {}\n", bar(gone, whole))
        }
        (Some(t0), None) => format!("{what}{}\n", when.since(t0).since_t0()),
        (None, _) => format!("{what}announced {} ago, not complete yet\n", when.age(d.started)),
    }
}

/// Twenty places, filled as far as the watch is.
fn bar(gone: Span, whole: Span) -> String {
    let filled = if whole.0 <= 0 { 20 } else { (gone.0.clamp(0, whole.0) * 20 / whole.0) as usize };
    format!("{}{}", "█".repeat(filled), "░".repeat(20 - filled))
}

fn so_far(snapshot: &Snapshot, d: &DeploymentView) -> &'static str {
    let worst = snapshot.rules.iter().map(|r| r.level).max().unwrap_or_default();
    match (worst, d.because.is_empty()) {
        (Level::Critical, _) => "critical",
        (Level::Ok, true) => "stable",
        (Level::Warning, _) | (Level::Ok, false) => "something stands against \"stable\"",
    }
}

/// One line for each rule that can roll back.
fn criterion(rule: &RuleView) -> Option<String> {
    let condition = show::condition(rule, "rollback")?;
    let now = match (&rule.no_data, rule.recent.last()) {
        (Some((_, why)), _) => format!("cannot see: {why}"),
        (None, Some(last)) => format!("now {}", last.text),
        (None, None) => "not observed yet".into(),
    };
    let due = if rule.alerts.iter().any(|a| a.due) { "   DUE" } else { "" };
    Some(format!("{}{}{now}{due}", pad(&rule.name, 19), pad(&format!("({condition})"), 22)))
}

fn coverage(d: &DeploymentView) -> Vec<String> {
    let poor: Vec<&(String, f64)> = d.coverage.iter().filter(|(_, share)| *share < 0.99).collect();
    if d.coverage.is_empty() {
        return vec!["not observed".into()];
    }
    if poor.is_empty() {
        return vec!["all rules over 99 %".into()];
    }
    let list: Vec<String> = poor.iter().map(|(rule, share)| format!("{rule} {:.0} %", share * 100.0)).collect();
    vec![format!("all rules over 99 %, except {}", list.join(", "))]
}

fn incidents(snapshot: &Snapshot, d: &DeploymentView, when: &When) -> Vec<String> {
    let during = snapshot.incidents.iter().filter(|i| i.closed.is_none_or(|at| at >= d.started));
    let lines: Vec<String> = during
        .map(|i| {
            let end = match i.closed {
                Some(at) => format!("{}, resolved", (at - i.opened).human()),
                None => format!("since {}, {}", when.clock(i.opened), when.age(i.opened)),
            };
            format!("I-{} {} {}, {end}", i.number, i.rule, i.highest)
        })
        .collect();
    if lines.is_empty() { vec!["none".into()] } else { lines }
}

/// Lines under one word in the margin.
fn section(word: &str, lines: impl IntoIterator<Item = String>) -> String {
    let mut text = String::new();
    for (i, line) in lines.into_iter().enumerate() {
        text += &format!("{}{}\n", pad(if i == 0 { word } else { "" }, 13), line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::samples;

    #[test]
    fn the_watch_shows_what_stands_against_stable() {
        let mut snapshot = samples::in_trouble();
        let d = snapshot.deployment.as_mut().unwrap();
        d.because = vec!["errors is critical".into(), "queue-depth was seen for 71 % (limit 90 %)".into()];
        d.coverage.push(("queue-depth".into(), 0.71));
        let when = When { zone: jiff::tz::TimeZone::UTC, now: snapshot.at };
        insta::assert_snapshot!(render(&snapshot, &when));
    }

    #[test]
    fn a_verdict_decides_the_exit_code() {
        for (verdict, exit) in [
            ("stable", Exit::Good),
            ("stable with warnings", Exit::Good),
            ("failed", Exit::Bad),
            ("rolled back", Exit::Bad),
            ("inconclusive", Exit::Unknown),
        ] {
            assert_eq!(exit_of_verdict(verdict), exit, "{verdict}");
        }
    }
}
