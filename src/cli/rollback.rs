//! `backstop rollback …`: what would be done, what is being done, and the words of the person who decides.
//!
//! `execute` is the other process: it runs one rung of a sealed plan with the rights of whoever started it, knows
//! no rules, and talks to the agent through files only.

use super::out::{Out, pad, plural};
use super::show::{self, When};
use super::{Context, Exit, Failure};
use crate::engine::command::Command;
use crate::engine::snapshot::{RollbackView, RunView, Snapshot};
use crate::rollback::executor;
use crate::rollback::record::Outcome;
use crate::sys::process;

/// The way back.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum What {
    /// Shows what a rollback would do now, and whether it could.
    #[command(after_help = "Exit codes: 0 it could run, 1 something is in its way, 3 no agent.")]
    Plan,
    /// Shows the newest run.
    #[command(after_help = "Exit codes: 0 none, under way or verified, 1 it ended otherwise, 3 no agent.")]
    Status,
    /// Starts a rollback now, as a person's decision.
    #[command(after_help = "Example: backstop rollback start --reason \"checkout is broken\"\n\
                            Exit codes: 0 started, 1 refused (with the guard's name), 3 no agent.")]
    Start {
        /// The application, where the agent watches several.
        app: Option<String>,
        /// Why; it stands in every message and in the report.
        #[arg(long)]
        reason: String,
        /// Overrides a guard by its name; may be repeated.
        #[arg(long = "override", value_name = "GUARD")]
        overrides: Vec<String>,
    },
    /// Approves the run that asks.
    Approve(Word),
    /// Refuses the run that asks or is announced.
    Deny(Word),
    /// Ends a run between two steps, or before the first.
    Stop(Word),
    /// Executes one rung of a sealed plan; started by the agent, never by hand.
    #[command(hide = true)]
    Execute {
        /// The execution's name.
        id: String,
        /// Become a session of its own, so that the agent's end does not end this.
        #[arg(long)]
        session: bool,
    },
}

/// A person's word about a run.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 it is so, 1 refused, 3 no agent.")]
struct Word {
    /// Which run, as in messages: R-9. The one that waits, where left out.
    #[arg(value_parser = run_number, value_name = "RUN")]
    run: Option<u32>,
    /// Why.
    #[arg(long)]
    reason: Option<String>,
}

/// Does what the subcommand says.
pub async fn run(context: &mut Context, args: &Args) -> Result<Exit, Failure> {
    // The agent replaces `by` with the caller as it knows him.
    let by = String::new();
    match args.what.clone() {
        What::Plan => plan(context).await,
        What::Status => status(context).await,
        What::Start { app, reason, overrides } => {
            context.check_app(app.as_deref()).await?;
            context.command(Command::RollbackStart { by, reason, overrides }).await
        }
        What::Approve(Word { run, reason }) => context.command(Command::RollbackApprove { run, by, reason }).await,
        What::Deny(Word { run, reason }) => context.command(Command::RollbackDeny { run, by, reason }).await,
        What::Stop(Word { run, reason }) => context.command(Command::RollbackStop { run, by, reason }).await,
        What::Execute { id, session } => execute(context, &id, session).await,
    }
}

impl Context {
    /// An application that was named must be the one that is watched.
    pub(super) async fn check_app(&self, named: Option<&str>) -> Result<(), Failure> {
        let Some(named) = named else { return Ok(()) };
        let app = self.snapshot().await?.app;
        if app == named {
            return Ok(());
        }
        Err(Failure::usage(format!("the agent watches {app}, not {named}"), None))
    }
}

async fn plan(context: &mut Context) -> Result<Exit, Failure> {
    let snapshot = context.snapshot().await?;
    if context.json() {
        context.out.json(&snapshot.rollback);
    } else {
        context.out.text(&render_plan(&snapshot));
    }
    Ok(if snapshot.rollback.obstacles.is_empty() { Exit::Good } else { Exit::Bad })
}

async fn status(context: &mut Context) -> Result<Exit, Failure> {
    let snapshot = context.snapshot().await?;
    if context.json() {
        context.out.json(&snapshot.rollback.run);
    } else {
        let text = render_status(&snapshot, &context.when(snapshot.at));
        context.out.text(&text);
    }
    let run = snapshot.rollback.run.as_ref();
    Ok(if run.is_none_or(|r| !r.ended || r.phase == "verified") { Exit::Good } else { Exit::Bad })
}

async fn execute(context: &mut Context, id: &str, session: bool) -> Result<Exit, Failure> {
    if session {
        process::own_session();
    }
    let state = context.place().state;
    match executor::execute(&state, id, &context.clock).await {
        Ok(Outcome::Completed) => Ok(Exit::Good),
        Ok(_) => Ok(Exit::Bad),
        Err(error) => {
            Out::error(&format!("backstop: the rollback {id}: {error}"));
            Ok(if error.exit_code() == 2 { Exit::Usage } else { Exit::Unknown })
        }
    }
}

/// What a rollback would do.
pub fn render_plan(snapshot: &Snapshot) -> String {
    let back = &snapshot.rollback;
    let versions = match &snapshot.deployment {
        Some(d) => format!("{} {} -> {}", snapshot.app, d.version, d.previous.as_deref().unwrap_or("not observed")),
        None => format!("{}: no deployment yet, so no version to go back to", snapshot.app),
    };
    let mut text = format!("{versions} on {}\n", snapshot.host);
    let capped = back.capped.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
    text += &row("mode", &format!("{}{capped}", back.mode));
    if back.steps.is_empty() {
        text += &row("what", "no step is configured; write one: [[rollback.step]]");
    } else {
        text += &row("what", &plural(back.steps.len(), "step"));
    }
    for (i, step) in back.steps.iter().enumerate() {
        text += &format!("          {} {step}\n", i + 1);
    }
    text + &obstacles(back)
}

fn obstacles(back: &RollbackView) -> String {
    match back.obstacles.as_slice() {
        [] => row("ready", "yes; nothing is in its way now"),
        several => several.iter().map(|why| row("NOT READY", why)).collect(),
    }
}

/// How the newest run stands.
pub fn render_status(snapshot: &Snapshot, when: &When) -> String {
    let Some(run) = &snapshot.rollback.run else {
        return format!(
            "no rollback so far (mode {}); what one would do: backstop rollback plan\n",
            snapshot.rollback.mode
        );
    };
    let mut text = format!("R-{} {}\n", run.number, show::phase(run));
    text += &row("Why", &format!("{} ({})", run.because, run.criterion));
    let until = run.until.filter(|_| !run.ended).map(|at| format!(", until {}", when.clock(at))).unwrap_or_default();
    text += &row("Since", &format!("{}, {} ago{until}", when.clock(run.opened), when.age(run.opened)));
    for (i, step) in run.steps.iter().enumerate() {
        let took = step.took.map(|t| format!(" in {}", t.human())).unwrap_or_default();
        text += &row(if i == 0 { "Steps" } else { "" }, &format!("{} {}: {}{took}", i + 1, step.name, step.state));
    }
    text + &commands(run)
}

fn commands(run: &RunView) -> String {
    let n = run.number;
    match run.phase.as_str() {
        _ if run.ended => String::new(),
        "asked" | "announced" => {
            row("Approve", &format!("backstop rollback approve R-{n}"))
                + &row("Refuse", &format!("backstop rollback deny R-{n} --reason \"…\""))
        }
        _ => row("Stop it", &format!("backstop rollback stop R-{n}      takes effect between steps")),
    }
}

fn row(word: &str, text: &str) -> String {
    format!("{}{text}\n", pad(word, 10))
}

/// `R-9`, `r-9` or `9`.
fn run_number(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("R-").or_else(|| text.strip_prefix("r-")).unwrap_or(text);
    digits.parse().map_err(|_| "a run is written like R-9".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Span;
    use crate::engine::snapshot::StepView;
    use crate::web::samples;

    #[test]
    fn the_plan_says_what_is_in_its_way() {
        let mut snapshot = samples::quiet();
        let ready = render_plan(&snapshot);
        snapshot.rollback.mode = "observe".into();
        snapshot.rollback.capped = Some("backstop-rollback@.service is not installed".into());
        snapshot.rollback.obstacles = vec!["the previous version is not known".into()];
        insta::assert_snapshot!(format!("{ready}---\n{}", render_plan(&snapshot)));
    }

    #[test]
    fn a_run_is_shown_with_its_steps_and_the_next_word() {
        let mut snapshot = samples::in_trouble();
        let when = When { zone: jiff::tz::TimeZone::UTC, now: snapshot.at };
        let asked = render_status(&snapshot, &when);
        let run = snapshot.rollback.run.as_mut().unwrap();
        run.phase = "running".into();
        run.text = "step 2 of 2 runs".into();
        run.until = None;
        let step = |name: &str, state: &str, took| StepView { name: name.into(), state: state.into(), took };
        run.steps = vec![step("stop traffic", "done", Some(Span::millis(600))), step("images", "running", None)];
        insta::assert_snapshot!(format!("{asked}---\n{}", render_status(&snapshot, &when)));
    }

    #[test]
    fn a_run_is_named_as_in_messages() {
        assert_eq!(run_number("R-9"), Ok(9));
        assert_eq!(run_number("9"), Ok(9));
        assert!(run_number("nine").is_err());
    }
}
