//! The reader of the Prometheus text formats 0.0.4 and 1.0.0, and of OpenMetrics 1.0.
//!
//! Enters: the bytes of a page, whole or in pieces of any size. Leaves: one call for each line that holds a sample, with the
//! text of its series undecoded, so that a caller who knows that text pays for a comparison and a number and nothing
//! else; [`decode`] is for those who do not. Nothing is copied but a line that two pieces share. A page with one line that
//! is no exposition fails as a whole, with its line number: half a page would look like a healthy service with fewer
//! errors. Why this is our own, and what it does with each form of a line: `docs/design/0001-exposition-parser.md`.
//!
//! Three rooms: [`Reader`] cuts pages into lines, `line` reads one line, `series` decodes the text of a series.

mod line;
mod reader;
mod series;

pub use line::Point;
pub(super) use line::{after, name_end, reading, series_end};
pub use reader::{Line, Reader, read};
pub use series::{Kind, Series, decode};

/// The longest line, in bytes.
pub const MAX_LINE: usize = 64 << 10;
/// The most labels of one series.
pub const MAX_LABELS: usize = 64;
/// The longest name of a series or a label, in bytes.
pub const MAX_NAME: usize = 1 << 10;
/// The longest value of a label, in bytes.
pub const MAX_VALUE: usize = 8 << 10;

/// Which of the formats the target said that it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4 or 1.0.0: timestamps are whole milliseconds.
    Text,
    /// OpenMetrics: timestamps are seconds, and the page ends with `# EOF`.
    OpenMetrics,
    /// No content type of an exposition; read as text, and an empty page is a mistake.
    Unsaid,
}

impl Format {
    /// The format that a `Content-Type` (in lower case) names.
    pub fn of(content_type: &str) -> Format {
        let mut parts = content_type.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let version = parts.find_map(|part| part.strip_prefix("version=")).map(|v| v.trim_matches('"'));
        match (media, version) {
            ("application/openmetrics-text", _) => Format::OpenMetrics,
            ("text/plain", Some("0.0.4" | "1.0.0")) => Format::Text,
            _ => Format::Unsaid,
        }
    }
}

/// What is wrong with a page or a line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `body`, `too-large` or `too-many`.
    pub reason: &'static str,
    /// What is wrong, as a fragment.
    pub what: &'static str,
}

impl Fault {
    pub(super) fn body(what: &'static str) -> Fault {
        Fault { reason: "body", what }
    }

    pub(super) fn large(what: &'static str) -> Fault {
        Fault { reason: "too-large", what }
    }
}

/// The beginning of a line, for people.
pub(super) fn excerpt(text: &[u8]) -> String {
    const SHOWN: usize = 60;
    let cut = &text[..text.len().min(SHOWN)];
    let more = if text.len() > SHOWN { "…" } else { "" };
    format!("`{}{more}`", String::from_utf8_lossy(cut))
}

#[cfg(test)]
mod tests;
