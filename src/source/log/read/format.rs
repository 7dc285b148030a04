//! How lines are written, and what one line says: its level, whether others may continue it, whether it is broken.

use serde::{Deserialize, Serialize};

use super::event::{Open, Trace};
use super::shape::Shape;
use super::{access, event, head, json, logfmt};
use crate::source::log::level::Level;

/// How many lines of JSON in a row make a stream one of JSON: from then on what begins like JSON has to be it.
const JSON_RUN: u8 = 10;

/// How the lines of a table are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Each line is looked at: JSON, an access log, pairs, or plain text.
    #[default]
    Auto,
    /// Text with the level in its head; lines may continue the one before.
    Plain,
    /// One JSON object a line.
    Json,
    /// `key=value` pairs.
    Logfmt,
    /// What Python's logging writes: plain text and tracebacks.
    Python,
    /// The access log of a web server, common or combined.
    Access,
}

impl Format {
    /// All of them, in the order of the manual.
    pub const ALL: [Format; 6] =
        [Format::Auto, Format::Plain, Format::Json, Format::Logfmt, Format::Python, Format::Access];

    /// As it stands in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Auto => "auto",
            Format::Plain => "plain",
            Format::Json => "json",
            Format::Logfmt => "logfmt",
            Format::Python => "python",
            Format::Access => "access",
        }
    }
}

/// What a line is to its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It belongs to the event before it, whose trace goes on like this.
    More(Trace),
    /// It begins an event.
    First(First),
}

/// The first line of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct First {
    pub(super) level: Level,
    /// Whether lines may continue it, and what they would be.
    pub(super) trace: Option<Trace>,
    pub(super) is_broken: bool,
}

impl First {
    fn alone(level: Level) -> First {
        First { level, trace: None, is_broken: false }
    }

    fn broken() -> First {
        First { level: Level::Unknown, trace: None, is_broken: true }
    }
}

/// What the lines of a text have looked like so far, so that those which look alike are judged at less cost. It changes no
/// judgement.
#[derive(Debug, Default)]
pub(super) struct Alike {
    json: Shape,
    head: head::Alike,
}

/// Whether there is a byte that text does not have: control characters but white space and escapes. Where there is
/// none, no line has to be asked whether it is text.
pub(super) fn is_odd(text: &[u8]) -> bool {
    text.chunks(4096).any(|part| has_rare(part) && part.iter().any(|b| is_control(*b)))
}

/// Whether there is a control character, or an escape. Without a branch for each byte, and with little to do for one, so that
/// many are looked at in one step.
fn has_rare(part: &[u8]) -> bool {
    let (mut least, mut most, mut delete) = (u8::MAX, 0, u8::MAX);
    for b in part {
        // 14 to 31 become 0 to 17, and 0 to 8 become 247 to 255.
        least = least.min(b.wrapping_sub(14));
        most = most.max(b.wrapping_sub(9));
        delete = delete.min(b ^ 0x7f);
    }
    least < 18 || most >= 247 || delete == 0
}

#[inline]
fn is_control(b: u8) -> bool {
    // What is left out in the middle are tabs, ends of lines and form feeds.
    (b < 0x20) & (b.wrapping_sub(b'\t') > 4) & (b != 0x1b) | (b == 0x7f)
}

/// Whether a line is no text: a NUL in it, or more than 30 % control characters.
fn is_binary(line: &[u8]) -> bool {
    if memchr::memchr(0, line).is_some() {
        return true;
    }
    let controls = line.iter().filter(|b| is_control(**b)).count();
    controls * 10 > line.len() * 3
}

/// Looks at a line that is not empty, and may be binary where `is_odd`. `json_run` is how many lines of JSON stood right before
/// it, and is counted on; `alike` is what the lines of this text were like.
#[inline]
pub(super) fn judge(
    format: Format,
    is_odd: bool,
    line: &[u8],
    open: Option<&Open>,
    json_run: &mut u8,
    alike: &mut Alike,
) -> Said {
    if is_odd && is_binary(line) {
        *json_run = 0;
        return Said::First(First::broken());
    }
    match format {
        Format::Auto => auto(line, open, json_run, alike),
        Format::Plain | Format::Python => text(line, open, alike),
        Format::Json => Said::First(if json::is_whole(line) {
            First::alone(json::level(line).ok().flatten().unwrap_or(Level::Unknown))
        } else {
            First::broken()
        }),
        Format::Logfmt => Said::First(if logfmt::is_logfmt(line) {
            First::alone(logfmt::level(line).unwrap_or(Level::Unknown))
        } else {
            First::broken()
        }),
        Format::Access => Said::First(access::level(line).map_or_else(First::broken, First::alone)),
    }
}

#[inline]
fn auto(line: &[u8], open: Option<&Open>, json_run: &mut u8, alike: &mut Alike) -> Said {
    if line[0] == b'{' {
        let is_ended = line.trim_ascii_end().last() == Some(&b'}');
        let seen = if is_ended { json::level_alike(line, &mut alike.json) } else { Err(json::NotJson) };
        return match seen {
            Ok(level) => {
                *json_run = json_run.saturating_add(1).min(JSON_RUN);
                Said::First(First::alone(level.unwrap_or(Level::Unknown)))
            }
            // One line that is cut short does not make the stream another.
            Err(json::NotJson) if *json_run == JSON_RUN => Said::First(First::broken()),
            Err(json::NotJson) => {
                *json_run = 0;
                text(line, open, alike)
            }
        };
    }
    *json_run = 0;
    if let Some(level) = access::level(line) {
        return Said::First(First::alone(level));
    }
    text(line, open, alike)
}

#[inline]
fn text(line: &[u8], open: Option<&Open>, alike: &mut Alike) -> Said {
    if let Some(open) = open
        && let Some(trace) = event::continues(open, line)
    {
        return Said::More(trace);
    }
    if let Some(level) = logfmt::level(line) {
        let trace = if logfmt::begins_with_pair(line) { None } else { Some(event::begun(line)) };
        return Said::First(First { level, trace, is_broken: false });
    }
    Said::First(First {
        level: head::level_alike(line, &mut alike.head),
        trace: Some(event::begun(line)),
        is_broken: false,
    })
}
