//! How bad a line says it is.

use serde::{Deserialize, Serialize};

/// The level of a line: the label `level` of `log_lines_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// The line says none.
    Unknown,
    /// Finer than debug.
    Trace,
    /// For developers.
    Debug,
    /// Normal; syslog's notice too.
    Info,
    /// May become trouble.
    Warning,
    /// Something failed.
    Error,
    /// A part is lost; syslog's crit and alert too.
    Critical,
    /// All is lost; a panic, syslog's emerg.
    Fatal,
}

impl Level {
    /// All of them, the lowest first.
    pub const ALL: [Level; 8] = [
        Level::Unknown,
        Level::Trace,
        Level::Debug,
        Level::Info,
        Level::Warning,
        Level::Error,
        Level::Critical,
        Level::Fatal,
    ];

    /// As it stands in the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Unknown => "unknown",
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Error => "error",
            Level::Critical => "critical",
            Level::Fatal => "fatal",
        }
    }

    /// Its place in [`Level::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}
