//! `backstop test`: runs the unit tests of rules, promtool's format or ours, in virtual time.
//!
//! Files in YAML are promtool's, unchanged; files in TOML are ours. Nothing is started, sent or written.

mod case;
mod decided;
mod decisions;
mod life;
mod notation;
mod ours;
mod promtool;
pub(super) mod rules;
pub(super) mod run;
mod show;

use std::path::{Path, PathBuf};

use super::{Context, Exit, Failure, place};
use crate::config::{Options, load};
use case::{Test, TestFile};
use rules::Rules;
use show::FileReport;

/// Runs unit tests of rules.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "A file in YAML has the format of `promtool test rules`, its rule files those of Prometheus.\n\
                        A file in TOML has [[test]] tables, its rule files are configurations of backstop.\n\
                        Both are described in docs/TESTING-RULES.md. Nothing is started, sent or written.\n\n\
                        Exit codes: 0 all passed, 1 some failed, 2 a file cannot be read or holds mistakes.")]
pub struct Args {
    /// Test files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Runs only tests whose name this regular expression matches; may be repeated, then one must match.
    #[arg(long, value_name = "REGEX")]
    run: Vec<String>,
}

/// Runs all files and says what came of them.
pub async fn run(context: &mut Context, args: &Args) -> Result<Exit, Failure> {
    let wanted = match args.run.is_empty() {
        true => None,
        false => {
            let pattern = args.run.iter().map(|r| format!("(?:{r})")).collect::<Vec<_>>().join("|");
            Some(regex::Regex::new(&pattern).map_err(|e| Failure::usage(format!("--run: {e}"), None))?)
        }
    };
    let options = place::options(&context.globals);
    let reports: Vec<FileReport> = args.files.iter().map(|path| report(path, wanted.as_ref(), &options)).collect();
    if wanted.is_some() && reports.iter().all(|report| report.tests == 0 && report.invalid.is_none()) {
        return Err(Failure::usage("--run: no test has such a name", None));
    }
    if context.json() {
        context.out.json(&reports);
    } else {
        context.out.text(&show::render(&reports));
    }
    Ok(if reports.iter().any(|r| r.invalid.is_some()) {
        Exit::Usage
    } else if reports.iter().all(FileReport::is_good) {
        Exit::Good
    } else {
        Exit::Bad
    })
}

/// Reads and runs one file.
fn report(path: &Path, wanted: Option<&regex::Regex>, options: &Options) -> FileReport {
    let mut report = FileReport { file: path.display().to_string(), ..FileReport::default() };
    if let Err(why) = run_file(path, wanted, options, &mut report) {
        report.invalid = Some(why);
    }
    report
}

fn run_file(
    path: &Path,
    wanted: Option<&regex::Regex>,
    options: &Options,
    report: &mut FileReport,
) -> Result<(), String> {
    let file = read(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut loaded: Option<(&Test, Rules)> = None;
    for test in file.tests.iter().filter(|t| wanted.is_none_or(|w| w.is_match(&t.name))) {
        let is_same = |of: &Test| of.rule_files == test.rule_files && of.packs == test.packs;
        if !loaded.as_ref().is_some_and(|(of, _)| is_same(of)) {
            let rules = rules::load(&test.rule_files, &test.packs, folder, options)?;
            report.warnings.extend(rules.warnings.iter().cloned());
            loaded = Some((test, rules));
        }
        report.tests += 1;
        report.checks += test.checks.len();
        if let Some((_, rules)) = &loaded {
            report.failures.extend(run::run(test, &file, rules));
        }
    }
    Ok(())
}

/// Reads a test file of either kind.
fn read(path: &Path) -> Result<TestFile, String> {
    let text = rules::text(path)?;
    rules::parsed(path, text, |files, number, problems| match rules::is_toml(path) {
        true => {
            let node = load::parse(number, files, problems);
            ours::read(&node, problems)
        }
        false => promtool::read(&files.list[number].text.clone(), number, problems),
    })
}

/// Reads a text as a test file and as a rule file, as the mutation test does; what is read is dropped.
#[doc(hidden)]
pub fn try_readers(text: &str) {
    let mut problems = crate::base::Problems::default();
    drop(promtool::read(text, 0, &mut problems));
    drop(crate::rule::prometheus::read(text, 0, &mut problems));
}
