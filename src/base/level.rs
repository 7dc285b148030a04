//! How bad it is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The level a rule holds for one label set. No data and an error are no levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing is wrong.
    #[default]
    Ok,
    /// A person should know.
    Warning,
    /// A person should act.
    Critical,
}

impl Level {
    /// As machines read it: `ok`, `warning`, `critical`.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Critical => "critical",
        }
    }

    /// The number behind `backstop_rule_level`: 0, 1, 2.
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// As people read it: `ok`, `WARNING`, `CRITICAL`; spelled out, so that colour is never needed.
impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Level::Ok => "ok",
            Level::Warning => "WARNING",
            Level::Critical => "CRITICAL",
        })
    }
}
