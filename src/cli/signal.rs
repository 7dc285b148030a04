//! `backstop signal …`: what a person or a program states: a tick, an approval, a result, a count.
//!
//! Enters: a name from `[signal.NAME]`, and what is said of it. Leaves: the agent's answer, given when it is on disk.
//! Exit: 0 it is so, 1 refused, or the posted result is not as expected (`list`: some signal is rejected or not as
//! expected), 2 no such signal or no such use of it, 3 no agent, or a file that cannot be read.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use super::out::{pad, plural};
use super::show::When;
use super::{Context, Exit, Failure};
use crate::base::{Quantity, Span, chain};
use crate::engine::command::Command;
use crate::engine::signals::{Mark, Say, Word, printable};
use crate::engine::snapshot::{SignalView, Snapshot};
use crate::source::signal::{KEY_HELP, Kind, MAX_JSON, Posted, Stands, is_key};
use crate::sys::stream;

/// What people and programs state.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum What {
    /// States that it is so; of a count, that it happened.
    Set(Set),
    /// States that it is not so.
    #[command(after_help = "Exit codes: 0 it is so, 1 refused, 2 no such signal, 3 no agent.")]
    Reject {
        /// The signal's name, as in [signal.NAME].
        name: String,
        /// Why; it is shown with the signal.
        #[arg(long)]
        reason: String,
        /// How long that holds; as `lifetime` says, or until the next deployment, where left out.
        #[arg(long = "for", value_name = "DURATION", value_parser = Span::parse)]
        lasting: Option<Span>,
    },
    /// Takes back what was stated; a count begins anew.
    #[command(after_help = "Exit codes: 0 it is so, 1 refused, 2 no such signal, 3 no agent.")]
    Clear {
        /// The signal's name, as in [signal.NAME].
        name: String,
        /// Why.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Shows all signals and how they stand.
    #[command(after_help = "Exit codes: 0 none is rejected or not as expected, 1 one is, 3 no agent.")]
    List,
}

/// What is stated.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
                        backstop signal set ui-ok --reason \"clicked through checkout\"\n  \
                        backstop signal set tests --value passed=184 --value failed=0\n  \
                        pytest-report | backstop signal set tests --json -\n  \
                        backstop signal set tickets --by 3\n\n\
                        Exit codes: 0 it is so, 1 refused, or the result is not as expected, 2 no such signal, 3 no agent.")]
struct Set {
    /// The signal's name, as in [signal.NAME].
    name: String,
    /// A figure of the result; may be repeated. Units as in the configuration: 87.5%, 300ms, 2GiB.
    #[arg(long = "value", value_name = "KEY=VALUE", value_parser = figure)]
    values: Vec<(String, f64)>,
    /// The result as a JSON file; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    json: Option<std::path::PathBuf>,
    /// Why; it is shown with the signal.
    #[arg(long)]
    reason: Option<String>,
    /// How long it holds; as `lifetime` says, or until the next deployment, where left out.
    #[arg(long = "for", value_name = "DURATION", value_parser = Span::parse)]
    lasting: Option<Span>,
    /// By how much a count rises; 1 where left out.
    #[arg(long = "by", value_name = "N")]
    rise: Option<u64>,
}

/// Does what the subcommand says.
pub async fn run(context: &mut Context, args: &Args) -> Result<Exit, Failure> {
    let word = match args.what.clone() {
        What::List => return list(context).await,
        What::Set(set) => {
            let posted = posted(set.values, set.json.as_deref())?;
            let say = Say::Set { posted, lasting: set.lasting, rise: set.rise };
            Word { name: set.name, say, reason: set.reason, by: String::new() }
        }
        What::Reject { name, reason, lasting } => {
            Word { name, say: Say::Reject { lasting }, reason: Some(reason), by: String::new() }
        }
        What::Clear { name, reason } => Word { name, say: Say::Clear, reason, by: String::new() },
    };
    // The agent writes down the caller as it knows him.
    context.command(Command::Signal(word)).await
}

/// The result that the command line states; none where it states none.
fn posted(values: Vec<(String, f64)>, json: Option<&Path>) -> Result<Option<Posted>, Failure> {
    if values.is_empty() && json.is_none() {
        return Ok(None);
    }
    let mut posted = Posted { values: BTreeMap::new(), json: json.map(read_json).transpose()? };
    for (key, value) in values {
        if posted.values.insert(key.clone(), value).is_some() {
            return Err(Failure::usage(format!("two values of {key}"), Some("each --value once".into())));
        }
    }
    match posted.check() {
        Ok(()) => Ok(Some(posted)),
        Err(why) => Err(Failure::usage(format!("the result: {why}"), None)),
    }
}

fn read_json(path: &Path) -> Result<String, Failure> {
    let limit = MAX_JSON as u64 + 1;
    let mut bytes = Vec::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        let file = stream::open(path).map_err(|e| Failure::unknown(chain(&e)))?;
        file.take(limit).read_to_end(&mut bytes)
    };
    read.map_err(|e| Failure::unknown(format!("read {}: {e}", path.display())))?;
    let wrong = |why: &str| Failure::usage(format!("{}: {why}", path.display()), None);
    if bytes.len() > MAX_JSON {
        return Err(wrong("over 64 KiB of JSON"));
    }
    String::from_utf8(bytes).map_err(|_| wrong("no UTF-8, so no JSON"))
}

/// `passed=184`, `coverage=87.5%`.
fn figure(text: &str) -> Result<(String, f64), String> {
    let (key, value) = text.split_once('=').ok_or("a figure is written KEY=VALUE")?;
    if !is_key(key) {
        return Err(format!("`{key}` is no name of a value: {KEY_HELP}"));
    }
    let value = value.parse().or_else(|_| Quantity::parse(value).map(|quantity| quantity.value))?;
    if f64::is_finite(value) { Ok((key.into(), value)) } else { Err("a figure is finite".into()) }
}

async fn list(context: &mut Context) -> Result<Exit, Failure> {
    let snapshot = context.snapshot().await?;
    if context.json() {
        context.out.json(&snapshot.signals);
    } else {
        let text = render(&snapshot, &context.when(snapshot.at));
        context.out.text(&text);
    }
    Ok(if snapshot.signals.iter().any(is_bad) { Exit::Bad } else { Exit::Good })
}

/// Rejected, or not as expected.
fn is_bad(signal: &SignalView) -> bool {
    signal.state == Stands::Rejected || (signal.state == Stands::Set && !signal.holds)
}

/// All signals.
pub fn render(snapshot: &Snapshot, when: &When) -> String {
    if snapshot.signals.is_empty() {
        return "no signal is declared; write one: [signal.NAME]\n".into();
    }
    snapshot.signals.iter().map(|signal| format!("{}{}", pad(&signal.name, 20), row(signal, when))).collect()
}

fn row(signal: &SignalView, when: &When) -> String {
    let meaning = signal.text.as_ref().map_or_else(String::new, |text| format!("  ({})", printable(text)));
    let values: Vec<String> = signal.values.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let values = if values.is_empty() { String::new() } else { format!("  {}", values.join(" ")) };
    let failed: String = signal
        .expect
        .iter()
        .filter_map(|held| Some((&held.expect, held.why.as_ref()?)))
        .map(|(expect, why)| format!("{}{}: {}\n", " ".repeat(32), printable(expect), printable(why)))
        .collect();
    format!("{}{}{values}{meaning}\n{failed}", pad(&state(signal), 12), said(signal, when))
}

fn state(signal: &SignalView) -> String {
    match (signal.kind, signal.state) {
        (Kind::Count, _) => signal.total.to_string(),
        (Kind::Flag, Stands::Unset) => "not set".into(),
        (Kind::Flag, Stands::Set) if signal.holds => "set".into(),
        (Kind::Flag, Stands::Set) => "BAD RESULT".into(),
        (Kind::Flag, Stands::Rejected) => "REJECTED".into(),
    }
}

/// Who said it, when, until when, why.
fn said(signal: &SignalView, when: &When) -> String {
    let Some(Mark { at, by, reason, until }) = &signal.mark else { return String::new() };
    let until = match (signal.kind, until) {
        (Kind::Count, _) => String::new(),
        (Kind::Flag, None) => ", until the next deployment".into(),
        (Kind::Flag, Some(until)) => format!(", until {}", when.clock(*until)),
    };
    let reason = reason.as_ref().map_or_else(String::new, |reason| format!(": {}", printable(reason)));
    format!("by {} {} ago{until}{reason}", printable(by), when.age(*at))
}

/// How many signals `status` shows.
const SHOWN: usize = 10;

/// The signals of which something was said, a line each, for `status`; the bad ones first.
pub fn lines(snapshot: &Snapshot, when: &When) -> String {
    let mut said_of: Vec<&SignalView> = snapshot.signals.iter().filter(|s| s.state != Stands::Unset).collect();
    said_of.sort_by_key(|signal| !is_bad(signal));
    let line = |signal: &&SignalView| {
        format!("{}{} {} {}\n", pad("signal", 12), signal.name, state(signal), said(signal, when))
    };
    let mut text: String = said_of.iter().take(SHOWN).map(line).collect();
    if said_of.len() > SHOWN {
        let rest = plural(said_of.len() - SHOWN, "more signal");
        text += &format!("{}{rest}: backstop signal list\n", pad("", 12));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::signal::Held;
    use crate::web::samples;

    fn view(name: &str, kind: Kind, state: Stands, reason: &str) -> SignalView {
        let at = samples::at("09:30:00");
        let mark = Mark {
            at,
            by: "anna".into(),
            reason: Some(reason.into()),
            until: (name == "approval").then(|| at + Span::hours(2)),
        };
        SignalView {
            name: name.into(),
            text: None,
            kind,
            state,
            holds: state == Stands::Set,
            mark: (state != Stands::Unset).then_some(mark),
            total: 7,
            values: BTreeMap::new(),
            expect: Vec::new(),
        }
    }

    #[test]
    fn signals_are_listed_with_who_when_and_why() {
        let mut snapshot = samples::quiet();
        let when = When { zone: jiff::tz::TimeZone::UTC, now: snapshot.at };
        let none = render(&snapshot, &when);
        let mut tests = view("tests", Kind::Flag, Stands::Set, "nightly");
        tests.holds = false;
        tests.values.insert("failed".into(), 3.0);
        tests.expect = vec![Held { expect: "json failed == 0".into(), why: Some("saw 3".into()) }];
        let mut ui = view("ui-ok", Kind::Flag, Stands::Unset, "");
        ui.text = Some("the events tab streams".into());
        snapshot.signals = vec![
            view("approval", Kind::Flag, Stands::Set, "looks \u{1b}[31mgood\u{202e}"),
            view("release", Kind::Flag, Stands::Rejected, "checkout is broken"),
            tests,
            view("tickets", Kind::Count, Stands::Set, "mail"),
            ui,
        ];
        let text = format!("{none}---\n{}---\n{}", render(&snapshot, &when), lines(&snapshot, &when));
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_figure_has_a_name_and_a_value_in_base_units() {
        for (text, wanted) in [
            ("passed=184", Some(("passed", 184.0))),
            ("a.b_c-1=-2.5", Some(("a.b_c-1", -2.5))),
            ("coverage=87.5%", Some(("coverage", 0.875))),
            ("p95=300ms", Some(("p95", 0.3))),
            ("x=1e3", Some(("x", 1000.0))),
            ("x=nan", None),
            ("x=inf", None),
            ("x=", None),
            ("x=abc", None),
            ("=1", None),
            ("Passed=1", None),
            ("passed", None),
        ] {
            let wanted = wanted.map(|(key, value): (&str, f64)| (key.to_string(), value));
            assert_eq!(figure(text).ok(), wanted, "{text}");
        }
    }
}
