//! What came of the test files, as people read it.

use super::case::Failure;
use crate::cli::out::{pad, plural};

/// What came of one file.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct FileReport {
    /// As it was named.
    pub file: String,
    /// How many tests were run.
    pub tests: usize,
    /// How many expectations they hold.
    pub checks: usize,
    /// What did not hold.
    pub failures: Vec<Failure>,
    /// What looks like a mistake, and is none.
    pub warnings: Vec<String>,
    /// Why it could not be run, as people read it.
    pub invalid: Option<String>,
}

impl FileReport {
    /// Whether everything held.
    pub fn is_good(&self) -> bool {
        self.failures.is_empty() && self.invalid.is_none()
    }
}

/// The whole text, a line for each file that passed.
pub fn render(reports: &[FileReport]) -> String {
    let width = reports.iter().map(|r| r.file.chars().count()).max().unwrap_or(0) + 2;
    let mut text = String::new();
    for report in reports {
        let word = match (&report.invalid, report.failures.is_empty()) {
            (Some(_), _) => "INVALID",
            (None, false) => "FAILED",
            (None, true) => "passed",
        };
        let counts = match &report.invalid {
            Some(_) => "could not be run".into(),
            None => counts(report),
        };
        text += &format!("{}{}{counts}\n", pad(word, 9), pad(&report.file, width));
        for warning in &report.warnings {
            text += &format!("  warning: {warning}\n");
        }
        for failure in &report.failures {
            text += &failed(failure);
        }
        if let Some(why) = &report.invalid {
            text += &format!("\n{}\n", why.trim_end());
        }
        if !report.is_good() {
            text.push('\n');
        }
    }
    if reports.len() > 1 {
        let good = reports.iter().filter(|r| r.is_good()).count();
        let checks = reports.iter().map(|r| r.checks).sum();
        text += &format!("{good} of {} passed, {}\n", plural(reports.len(), "file"), plural(checks, "check"));
    }
    text
}

fn counts(report: &FileReport) -> String {
    let tests = plural(report.tests, "test");
    let failed = report.failures.len();
    if failed == 0 {
        return format!("{tests}, {}", plural(report.checks, "check"));
    }
    format!("{tests}, {failed} of {} failed", plural(report.checks, "check"))
}

/// One failure: where, then what was expected against what was there.
fn failed(failure: &Failure) -> String {
    let at = if failure.at.is_empty() { String::new() } else { format!(", at {}", failure.at) };
    let mut text = format!("\n  {}{at}: {}\n", failure.test, failure.what);
    let mut got: Vec<&String> = failure.got.iter().collect();
    let mut only_expected = Vec::new();
    let nothing = if failure.expected.iter().any(|line| got.contains(&line)) { "nothing more" } else { "nothing" };
    for line in &failure.expected {
        match got.iter().position(|g| *g == line) {
            Some(i) => text += &format!("    as expected  {}\n", got.remove(i)),
            None => only_expected.push(line),
        }
    }
    let is_error = failure.expected.is_empty() && matches!(&got[..], [one] if one.starts_with("error: "));
    if is_error {
        return text + &format!("    {}\n", got[0]);
    }
    for (word, lines) in [("  - expected", only_expected), ("  + got", got)] {
        for line in &lines {
            text += &format!("  {}{line}\n", pad(word, 15));
        }
        if lines.is_empty() {
            text += &format!("  {}{nothing}\n", pad(word, 15));
        }
    }
    text
}
