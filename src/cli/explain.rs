//! `backstop explain RULE`: what a rule judges, how, what it saw last, and why it stands where it stands.

use super::out::{pad, plural};
use super::show::{self, When};
use super::{Context, Exit, Failure};
use crate::engine::snapshot::{AlertView, RuleView, Snapshot, WindowView};

/// Explains one rule.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 shown, 2 no such rule, 3 no agent.")]
pub struct Args {
    /// The rule's name, as in [rule.NAME].
    rule: String,
}

/// Asks the agent and explains.
pub async fn run(context: &mut Context, args: &Args) -> Result<Exit, Failure> {
    let snapshot = context.snapshot().await?;
    let rule = find(&snapshot, &args.rule)?;
    if context.json() {
        context.out.json(rule);
    } else {
        let text = render(&snapshot, rule, &context.when(snapshot.at));
        context.out.text(&text);
    }
    Ok(Exit::Good)
}

fn find<'a>(snapshot: &'a Snapshot, name: &str) -> Result<&'a RuleView, Failure> {
    snapshot.rules.iter().find(|r| r.name == name).ok_or_else(|| {
        let near = snapshot
            .rules
            .iter()
            .max_by(|a, b| strsim::jaro_winkler(&a.name, name).total_cmp(&strsim::jaro_winkler(&b.name, name)));
        let all: Vec<&str> = snapshot.rules.iter().map(|r| r.name.as_str()).collect();
        let help = near.map(|r| format!("did you mean {}? rules here: {}", r.name, all.join(", ")));
        Failure::usage(format!("there is no rule {name:?}"), help)
    })
}

/// The whole text.
pub fn render(snapshot: &Snapshot, rule: &RuleView, when: &When) -> String {
    let level = match (&rule.no_data, &rule.failed) {
        (Some((since, why)), _) => {
            format!("NO DATA since {}: {why}; the level stays {}", when.clock(*since), rule.level)
        }
        (None, Some(why)) => format!("cannot be evaluated: {why}"),
        (None, None) => rule.level.to_string(),
    };
    let mut text = format!("{} of {} on {}: {level}\n", rule.name, snapshot.app, snapshot.host);
    text += &row("judges", &rule.judges);
    if let Some(name) = &rule.remote {
        text += &row("asked of", &asked_of(name, snapshot, when));
    }
    if let Some(group) = &rule.group {
        let missed = if group.missed > 0 { format!(", {} evaluations left out", group.missed) } else { String::new() };
        text += &row("group", &format!("{}{missed}", group.group));
    }
    for (kind, condition) in &rule.conditions {
        text += &row(kind, condition);
    }
    if let Some(why) = &rule.held {
        text += &row("held", why);
    }
    if let Some(why) = &rule.not_armed {
        text += &row("not armed", &format!("what it holds against the past is not judged: {why}"));
    }
    let last = rule.evaluated.map_or("not evaluated yet".into(), |at| format!("last {} ago", when.age(at)));
    text += &row("evaluated", &format!("at least every {}, {last}", rule.every.human()));
    for window in &rule.windows {
        text += &row("window", &covered(window));
    }
    for alert in &rule.alerts {
        text += &explained(alert, when);
    }
    if !rule.recent.is_empty() {
        text += "\nlast evaluations\n";
    }
    for evaluation in &rule.recent {
        text += &format!("  {}  {}\n", evaluation.at.clock(&when.zone), evaluation.text);
    }
    text
}

/// How much of a window there are samples for.
fn covered(window: &WindowView) -> String {
    let (least, most, whole) = (window.least, window.most, window.window);
    let over = match (least >= whole, least == most) {
        (true, _) => "all of it".to_string(),
        (false, true) => format!("{} of {}", least.human(), whole.human()),
        (false, false) => format!("{} to {} of {}", least.human(), most.human(), whole.human()),
    };
    let samples = match window.series {
        0 => "no series".to_string(),
        1 => format!("samples over {over}"),
        series => format!("samples over {over}, of {series} series"),
    };
    format!("{}: {samples}", window.reads)
}

/// The remote server that gives the value, and what is known of it.
fn asked_of(name: &str, snapshot: &Snapshot, when: &When) -> String {
    let remote = snapshot.remotes.iter().find(|r| r.name == name);
    let last = match remote.and_then(|r| r.answered) {
        Some(at) => format!("last answer {} ago", when.age(at)),
        None => "no answer yet".into(),
    };
    let clock = remote.and_then(|r| r.clock_off).map(|off| format!("; {}", show::clock_off(off)));
    format!("{name}, {last}{}", clock.unwrap_or_default())
}

fn explained(alert: &AlertView, when: &When) -> String {
    let labels = show::labels(alert);
    let state = if show::is_wrong(alert) {
        format!("{} since {}, {}", alert.level, when.clock(alert.since), when.age(alert.since))
    } else if alert.pending {
        "pending: a condition holds, not yet for long enough".into()
    } else {
        "ok".into()
    };
    let mut text = format!("\n{}\n", [state, labels].join("  ").trim_end());
    if let Some(because) = &alert.because {
        text += &row("value", &because.to_string());
        if let Some(usual) = &alert.usual {
            text += &row("baseline", &usual.to_string());
        }
        let readings = match because.readings {
            0 => String::new(),
            n => format!(", {}", plural(n as usize, "reading")),
        };
        text += &row("held", &format!("{}{readings}", because.held.human()));
        if let Some(at) = because.evidence {
            text += &row("evidence", &format!("newest sample {}, {} ago", when.clock(at), when.age(at)));
        }
        for (i, line) in because.lines.iter().enumerate() {
            let counted = line.counted().map(|like| format!("   ({like})")).unwrap_or_default();
            let text_of_line = format!("{} {}{counted}", when.clock(line.at), line.words());
            text += &row(if i == 0 { "last lines" } else { "" }, &text_of_line);
        }
    }
    if alert.due {
        text += &row("rollback", "the criterion is due");
    }
    if let Some(since) = alert.missing_since {
        text += &row("missing", &format!("nothing was seen of it since {}", when.clock(since)));
    }
    if !alert.confirmed {
        text += &row("unconfirmed", "no data since the agent started; the level is the one before");
    }
    text
}

fn row(word: &str, text: &str) -> String {
    format!("  {}{text}\n", pad(word, 13))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::exhibit::Like;
    use crate::base::{Line, Span};
    use crate::web::samples;

    #[test]
    fn a_rule_is_explained_with_its_figures() {
        let snapshot = samples::in_trouble();
        let when = When { zone: jiff::tz::TimeZone::UTC, now: snapshot.at };
        insta::assert_snapshot!(render(&snapshot, &snapshot.rules[0], &when));
        insta::assert_snapshot!(render(&snapshot, &snapshot.rules[2], &when));
    }

    #[test]
    fn an_alert_is_explained_with_the_lines_that_it_is_about() {
        let mut snapshot = samples::in_trouble();
        let line = |at: &str, text: &str, count| Line {
            at: samples::at(at),
            place: "shop/api".into(),
            level: "error".into(),
            text: text.into(),
            pattern: Some("key".into()),
            like: Some(Like { count, window: Span::mins(5) }).filter(|like| like.count > 0),
        };
        let lines = vec![line("09:40:58", "KeyError: 'total'", 41), line("09:40:50", "request failed", 0)];
        snapshot.rules[0].alerts[0].because.as_mut().unwrap().lines = lines;
        let when = When { zone: jiff::tz::TimeZone::UTC, now: snapshot.at };
        let text = render(&snapshot, &snapshot.rules[0], &when);
        let wanted = "  last lines   09:40:58 shop/api ERROR KeyError: 'total'   (41 like it in 5 min)
               09:40:50 shop/api ERROR request failed\n";
        assert!(text.contains(wanted), "{text}");
    }

    #[test]
    fn a_remote_rule_names_its_server_the_last_answer_and_a_clock_that_is_off() {
        let mut snapshot = samples::quiet();
        snapshot.rules[0].remote = Some("central".into());
        let when = When { zone: jiff::tz::TimeZone::UTC, now: snapshot.at };
        let line = |snapshot: &Snapshot| {
            let text = render(snapshot, &snapshot.rules[0], &when);
            text.lines().find(|l| l.contains("asked of")).map(|l| l.trim().to_string())
        };
        assert_eq!(line(&snapshot).as_deref(), Some("asked of     central, no answer yet"));
        snapshot.remotes = vec![crate::engine::snapshot::RemoteView {
            name: "central".into(),
            answered: Some(snapshot.at - crate::base::Span::secs(7)),
            failure: None,
            clock_off: Some(crate::base::Span::secs(-12)),
        }];
        let wanted = "asked of     central, last answer 7 s ago; its clock is 12 s behind this host's";
        assert_eq!(line(&snapshot).as_deref(), Some(wanted));
        let status = crate::cli::status::render(&snapshot, &when);
        assert!(status.contains("CLOCK     central       its clock is 12 s behind this host's"), "{status}");
    }

    #[test]
    fn a_mistyped_rule_is_answered_with_the_near_one() {
        let failure = find(&samples::quiet(), "erors").unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.help.unwrap().starts_with("did you mean errors?"));
    }
}
