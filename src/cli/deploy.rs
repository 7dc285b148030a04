//! `backstop deploy start|complete`: a pipeline tells the agent what it does, and may wait for the verdict.
//!
//! `start` seals the plan of the rollback: what would run is written down before the deployment, by whoever
//! deploys, from the configuration that he can change and the agent cannot.

use std::collections::BTreeMap;

use super::out::Out;
use super::watch::exit_of_verdict;
use super::{Context, Exit, Failure, no_answer, place};
use crate::base::Span;
use crate::engine::command::{Command, Reply};
use crate::engine::snapshot::Snapshot;
use crate::rollback::executor::Folders;
use crate::rollback::plan;
use crate::sys::clock::{Stopwatch, pause};

/// How often the verdict is asked for.
const POLL: Span = Span::secs(1);

/// How long the agent may be away while somebody waits for its verdict.
const PATIENCE: Span = Span::mins(5);

/// A deployment.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum What {
    /// A version is about to go live: nothing is judged until `complete`.
    Start(Start),
    /// The new version is live: the watch begins.
    Complete {
        /// Wait for the verdict, and make it the exit code.
        #[arg(long)]
        wait: bool,
    },
}

/// What goes live.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  backstop deploy start --version 2.1.0\n  backstop deploy start --version 2.1.0 --live --wait\n\n\
                        Exit codes: 0 taken (with --wait: stable), 1 refused (with --wait: failed, rolled back), \
                        2 configuration, 3 no agent, inconclusive."
)]
pub struct Start {
    /// The application, where the agent watches several.
    pub app: Option<String>,
    /// The version that goes live.
    #[arg(long)]
    pub version: String,
    /// The version to go back to; what the agent read back, where left out.
    #[arg(long)]
    pub previous: Option<String>,
    /// It is live already: the watch begins now.
    #[arg(long)]
    pub live: bool,
    /// Deploy a version that was rolled back before.
    #[arg(long)]
    pub force: bool,
    /// Wait for the verdict, and make it the exit code.
    #[arg(long)]
    pub wait: bool,
}

/// Does what the subcommand says.
pub async fn run(context: &mut Context, args: &Args) -> Result<Exit, Failure> {
    let (exit, wait) = match &args.what {
        What::Start(args) => (start(context, args).await?, args.wait),
        What::Complete { wait } => (context.command(Command::DeployComplete { by: String::new() }).await?, *wait),
    };
    if !wait || exit != Exit::Good {
        return Ok(exit);
    }
    verdict(context).await
}

/// Announces a version, with the plan of its rollback sealed.
pub async fn start(context: &mut Context, args: &Start) -> Result<Exit, Failure> {
    context.check_app(args.app.as_deref()).await?;
    let snapshot = context.snapshot().await?;
    let (command, hint) = announce(context, &snapshot, args)?;
    let reply = context.client()?.command(&command).await.map_err(|e| no_answer(&e))?;
    context.show(&reply);
    if !context.json() {
        for line in mode_lines(&snapshot, hint.as_deref()) {
            context.out.line(&line);
        }
    }
    Ok(if matches!(reply, Reply::Done { .. }) { Exit::Good } else { Exit::Bad })
}

/// The command that announces a version, and why no rollback is possible, if none is.
pub fn announce(context: &Context, snapshot: &Snapshot, args: &Start) -> Result<(Command, Option<String>), Failure> {
    let previous = args.previous.clone().or_else(|| previous(snapshot, &args.version));
    let (plan, hint) = match seal(context, snapshot, &args.version, previous.as_deref())? {
        Ok(hash) => (Some(hash), None),
        Err(why) => (None, Some(why)),
    };
    let (version, live, force) = (args.version.clone(), args.live, args.force);
    Ok((Command::DeployStart { version, previous, plan, live, force, by: String::new() }, hint))
}

/// The version that runs now; not `next` itself, where that was put in place before it was announced.
fn previous(snapshot: &Snapshot, next: &str) -> Option<String> {
    snapshot.running.clone().filter(|version| version != next)
}

/// Seals the plan; the inner error says why there is none (which does not hold a deployment up).
fn seal(
    context: &Context,
    snapshot: &Snapshot,
    version: &str,
    previous: Option<&str>,
) -> Result<Result<String, String>, Failure> {
    let config = place::rollback(&context.globals)?;
    if config.steps.is_empty() {
        return Ok(Err("no [[rollback.step]] is configured".into()));
    }
    let plan = match config.plan(&snapshot.app, version, previous, BTreeMap::new(), context.clock.now()) {
        Ok(plan) => plan,
        Err(why) => return Ok(Err(why)),
    };
    // The agent's own word about its folder counts: it is where the executor will look.
    let folders = Folders::new(std::path::Path::new(&snapshot.state));
    folders.prepare().map_err(|e| Failure::unknown(format!("seal the plan: {e}")))?;
    match plan::seal(&folders.plans(), &plan) {
        Ok(hash) => Ok(Ok(hash.to_string())),
        Err(error) => Err(Failure::unknown(format!("seal the plan: {error}"))),
    }
}

/// What a due criterion would do now.
fn mode_lines(snapshot: &Snapshot, hint: Option<&str>) -> Vec<String> {
    let back = &snapshot.rollback;
    let capped = back.capped.as_deref().map(|why| format!(" ({why})")).unwrap_or_default();
    let meaning = match back.mode.as_str() {
        "observe" => "a due rollback is only told, nothing is run",
        "ask" => "a due rollback waits for a person",
        _ => "a due rollback runs by itself",
    };
    let mut lines = vec![format!("mode {}{capped}: {meaning}", back.mode)];
    lines.extend(hint.map(|why| format!("no rollback is armed for this deployment: {why}")));
    lines
}

/// Waits until the newest deployment has its verdict.
async fn verdict(context: &mut Context) -> Result<Exit, Failure> {
    let client = context.client()?;
    let mut away = Stopwatch::start();
    loop {
        match client.snapshot().await {
            Ok(snapshot) => {
                away = Stopwatch::start();
                if let Some((text, because)) =
                    snapshot.deployment.and_then(|d| d.verdict.map(|verdict| (verdict, d.because)))
                {
                    context.out.line(&format!("verdict: {text}"));
                    for why in because {
                        context.out.line(&format!("  - {why}"));
                    }
                    return Ok(exit_of_verdict(&text));
                }
            }
            Err(error) if away.elapsed() > PATIENCE => return Err(no_answer(&error)),
            Err(error) => Out::error(&format!("backstop: {error}; still waiting")),
        }
        pause(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::samples;

    #[test]
    fn the_way_back_leads_to_what_ran_before() {
        let mut snapshot = samples::quiet();
        assert_eq!(previous(&snapshot, "2.2.0").as_deref(), Some("2.1.0"), "as read back");
        assert_eq!(previous(&snapshot, "2.1.0"), None, "a version is not its own way back");
        snapshot.running = None;
        assert_eq!(previous(&snapshot, "2.2.0"), None);
    }

    #[test]
    fn a_deployment_says_what_a_due_rollback_would_do() {
        let mut snapshot = samples::quiet();
        snapshot.rollback.mode = "observe".into();
        snapshot.rollback.capped = Some("configured is auto; the unit is not installed".into());
        let lines = mode_lines(&snapshot, Some("no [[rollback.step]] is configured"));
        assert_eq!(
            lines,
            [
                "mode observe (configured is auto; the unit is not installed): a due rollback is only told, nothing is run",
                "no rollback is armed for this deployment: no [[rollback.step]] is configured",
            ]
        );
    }
}
