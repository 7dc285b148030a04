//! The level that an alert of a group has here, by its labels.

use crate::base::{Labels, Level};
use crate::promql;
use crate::store::Selector;

/// Alerts that one of these selections means are critical, or are none; all others are warnings.
#[derive(Clone, Debug)]
pub struct Levels {
    /// Critical.
    pub critical: Vec<Selector>,
    /// Not told at all: for watchdogs, which always fire.
    pub ignore: Vec<Selector>,
}

/// What is critical where nothing is written: the words that common rule files have for it.
pub const CRITICAL: &str = r#"severity=~"(?i)crit|critical|page|error|emergency|fatal|disaster|p1|sev1""#;

/// What is not told where nothing is written.
pub const IGNORE: &str = r#"severity="none""#;

impl Default for Levels {
    fn default() -> Levels {
        let read = |text: &str| promql::compile_selector(&format!("{{{text}}}")).into_iter().collect();
        Levels { critical: read(CRITICAL), ignore: read(IGNORE) }
    }
}

impl Levels {
    /// The level of an alert with these labels; `ok` for one that is not told.
    pub fn of(&self, labels: &Labels) -> Level {
        let any = |selections: &[Selector]| selections.iter().any(|selection| selection.matches(labels));
        match (any(&self.ignore), any(&self.critical)) {
            (true, _) => Level::Ok,
            (false, true) => Level::Critical,
            (false, false) => Level::Warning,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_words_have_their_level() {
        let levels = Levels::default();
        for (severity, level) in [
            ("critical", Level::Critical),
            ("CRITICAL", Level::Critical),
            ("page", Level::Critical),
            ("error", Level::Critical),
            ("p1", Level::Critical),
            ("warning", Level::Warning),
            ("info", Level::Warning),
            ("pages", Level::Warning),
            ("", Level::Warning),
            ("none", Level::Ok),
        ] {
            assert_eq!(levels.of(&Labels::new([("severity", severity)])), level, "{severity}");
        }
    }
}
