//! `backstop check`: reads the configuration as an agent would, and names every mistake at once.

use std::io::IsTerminal;

use super::out::Out;
use super::{Color, Context, Exit, Failure, Format, place, probe};
use crate::base::{Problems, Severity};
use crate::config::{self, Files};

/// Checks the configuration and names every mistake at once.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Starts nothing and sends nothing; with --probe it looks at each target once.\n\n\
                        Exit codes: 0 good, 1 warnings with --strict, or a target that is not fine, 2 mistakes.")]
pub struct Args {
    /// Shows the whole configuration as understood, packs included, each value with the line it came from.
    #[arg(long)]
    print: bool,
    /// A warning is a failure, too (exit 1).
    #[arg(long)]
    strict: bool,
    /// Looks at each target once: what was reached, how long it took, and what would mend the rest.
    #[arg(long)]
    probe: bool,
    #[command(flatten)]
    who: probe::Who,
}

/// Loads the configuration and says what is wrong with it.
pub async fn run(context: &mut Context, args: &Args) -> Result<Exit, Failure> {
    if args.who.is_said() && !args.probe {
        return Err(Failure::usage(
            "--as says with whose rights --probe looks",
            Some("backstop check --probe --as USER".into()),
        ));
    }
    let loaded = config::load(&place::options(&context.globals));
    let coloured = match context.globals.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    };
    let is_text = context.globals.format == Format::Text;
    let rows = match &loaded.config {
        Some(config) if args.probe => Some(probe::all(context, config, &args.who).await?),
        _ => None,
    };
    if !is_text {
        let mut said = as_json(&loaded.problems, &loaded.files);
        if let Some(rows) = &rows {
            said["probe"] = probe::as_json(rows);
        }
        context.out.json(&said);
    } else if !loaded.problems.list.is_empty() {
        Out::error(&loaded.render(coloured));
    }
    let Some(config) = &loaded.config else {
        if is_text {
            Out::error(&loaded.conclusion(None));
        }
        return Ok(Exit::Usage);
    };
    if args.print {
        context.out.line(config.print().trim_end());
    }
    if is_text {
        context.out.line(&loaded.conclusion(None));
        if let Some(why) = place::capped_under_systemd(config) {
            context.out.line(&format!("note: {why}"));
        }
        if let Some(rows) = &rows {
            context.out.text(&probe::render(rows));
        }
        let next = if args.probe { "" } else { "backstop check --probe · " };
        context.out.line(&format!("next: {next}backstop test-alert · backstop rollback plan · backstop run"));
    }
    if rows.is_some_and(|rows| !probe::is_good(&rows)) {
        return Ok(Exit::Bad);
    }
    Ok(if args.strict && loaded.problems.warnings() > 0 { Exit::Bad } else { Exit::Good })
}

/// For programs: one object a problem.
fn as_json(problems: &Problems, files: &Files) -> serde_json::Value {
    let one = |p: &crate::base::Problem| {
        serde_json::json!({
            "severity": if p.severity == Severity::Error { "error" } else { "warning" },
            "title": p.title,
            "label": p.label,
            "place": files.line(&p.place),
            "help": p.help,
        })
    };
    serde_json::json!({ "errors": problems.errors(), "warnings": problems.warnings(), "problems": problems.list.iter().map(one).collect::<Vec<_>>() })
}
