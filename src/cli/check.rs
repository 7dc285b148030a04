//! `backstop check`: reads the configuration as an agent would, and names every mistake at once.

use std::io::IsTerminal;

use super::out::Out;
use super::{Color, Context, Exit, Failure, Format, place};
use crate::base::{Problems, Severity};
use crate::config::{self, Files};

/// Checks the configuration and names every mistake at once.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Starts nothing and sends nothing.\n\n\
                        Exit codes: 0 good, 1 warnings with --strict, 2 mistakes.")]
pub struct Args {
    /// Shows the whole configuration as understood, packs included, each value with the line it came from.
    #[arg(long)]
    print: bool,
    /// A warning is a failure, too (exit 1).
    #[arg(long)]
    strict: bool,
}

/// Loads the configuration and says what is wrong with it.
pub async fn run(context: &mut Context, args: &Args) -> Result<Exit, Failure> {
    let loaded = config::load(&place::options(&context.globals));
    let coloured = match context.globals.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    };
    let is_text = context.globals.format == Format::Text;
    if !is_text {
        context.out.json(&as_json(&loaded.problems, &loaded.files));
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
        context.out.line("next: backstop test-alert · backstop rollback plan · backstop run");
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
