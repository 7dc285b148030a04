//! Lines become levels, times, counts and evidence: the same for files, the journal, containers and programs.
//!
//! Enters: whole lines of a stream as bytes, which may be anything. Leaves: a [`Tally`]: how many lines of each level, how
//! many events matched each pattern, the numbers that lines say, and the last of them as evidence. What a stream needs
//! between two reads is in its [`StreamState`]; where its text is cut makes no difference.
//!
//! A line is judged without its end (`\n`, `\r\n`) and by its first `max_line` bytes. Empty lines are no lines. What is not
//! as its format says is counted as broken and has no level; patterns are matched all the same. Nothing here fails.
//!
//! How a level is found stands in `head.rs` and `json.rs`, which lines belong together in `event.rs`, and how patterns are
//! matched in `pattern.rs`. What makes it fast changes no result: `shape.rs` and `needles.rs`.

mod access;
mod event;
mod format;
mod head;
mod json;
mod logfmt;
mod marks;
mod needles;
mod own;
mod pattern;
mod reader;
mod shape;
mod shown;
mod state;
mod tally;
#[cfg(test)]
mod tests;
mod time;
mod words;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use jiff::tz::TimeZone;
use regex::bytes::Regex;

pub use format::Format;
pub use pattern::{MAX_EXPRESSION, Why};
pub use state::StreamState;
pub use tally::{Matches, Tally, UnknownVersion, Value};

use super::level::Level;
use super::origin::Entry;
use crate::base::Timestamp;
use pattern::{Expression, Group};
use reader::{Mode, Reading};

/// The most patterns and secrets of a plan.
pub const MAX_COUNTED: usize = 256;

/// The most values of a plan.
pub const MAX_VALUES: usize = 64;

/// Hides the secrets in a text that is shown.
pub type Redact = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// What a table wants of its lines.
#[derive(Clone)]
pub struct Wanted {
    /// How they are written.
    pub format: Format,
    /// Names and expressions: each event that matches counts once.
    pub patterns: Vec<(String, String)>,
    /// Names and expressions with one group, which captures a number.
    pub values: Vec<(String, String)>,
    /// Names and expressions of secrets: counted as patterns are, and what they match is never shown.
    pub secrets: Vec<(String, String)>,
    /// How much of a line is judged, in bytes; at least 1.
    pub max_line: usize,
    /// The zone of times that name none.
    pub zone: TimeZone,
    /// Hides secrets in what is shown.
    pub redact: Redact,
}

/// Which part of what was wanted is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// One of the patterns.
    Pattern,
    /// One of the values.
    Value,
    /// One of the secrets.
    Secret,
}

/// Something wanted that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The part it belongs to.
    pub part: Part,
    /// Its name.
    pub name: String,
    /// Why.
    pub why: Why,
}

/// Something wanted that is had, at a price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The part it belongs to.
    pub part: Part,
    /// Its name.
    pub name: String,
    /// A sentence fragment.
    pub note: &'static str,
}

/// What a read knows beside its text.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// When the lines arrived.
    pub arrived: Timestamp,
    /// When the last of them was written, where the origin knows.
    pub given: Option<Timestamp>,
    /// Where they stand, as people call it.
    pub place: &'a str,
    /// How many of them were already cut by who read them.
    pub cut: u64,
}

/// An event, or what a read has of it: its first line and those that continue it, as they stand. Nothing in it is hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'t> {
    /// The lines, without the end of the last.
    pub text: &'t [u8],
    /// Its level.
    pub level: Level,
    /// When it was written.
    pub at: Timestamp,
    /// Whether its first line was in an earlier read.
    pub is_continued: bool,
}

/// What a table wants, ready to be used; copies share it.
#[derive(Clone)]
pub struct Plan(Arc<Inner>);

struct Inner {
    format: Format,
    /// Patterns, then secrets.
    counted: Vec<String>,
    n_patterns: usize,
    secrets: Vec<Regex>,
    values: Vec<(String, Regex)>,
    groups: Vec<(Group, Vec<Member>)>,
    notes: Vec<Note>,
    max_line: usize,
    zone: TimeZone,
    redact: Redact,
    /// Tells plans with other patterns apart.
    fingerprint: u64,
}

/// What an expression of a group is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    /// This of the counted.
    Counted(usize),
    /// This of the values.
    Value(usize),
}

impl Plan {
    /// Compiles what is wanted.
    ///
    /// # Errors
    /// All that cannot be had.
    pub fn new(wanted: Wanted) -> Result<Plan, Vec<Refused>> {
        let mut refused = Vec::new();
        let mut names = BTreeSet::new();
        let patterns = read(Part::Pattern, &wanted.patterns, &mut names, &mut refused);
        let secrets = read(Part::Secret, &wanted.secrets, &mut names, &mut refused);
        let values = read(Part::Value, &wanted.values, &mut BTreeSet::new(), &mut refused);
        check_bounds(&wanted, &mut refused);
        for (name, value) in &values {
            if value.n_groups != 1 {
                let why = format!("a value captures one group, and {} stand here", value.n_groups);
                let why = Why::new(why, "for example: 'took ([0-9.]+) ms'; (?:…) groups without capturing");
                refused.push(Refused { part: Part::Value, name: name.clone(), why });
            }
        }
        if !refused.is_empty() {
            return Err(refused);
        }
        Inner::new(&wanted, &patterns, &secrets, &values).map(|inner| Plan(Arc::new(inner)))
    }

    /// The names of what is counted: patterns, then secrets.
    pub fn counted(&self) -> impl Iterator<Item = &str> {
        self.0.counted.iter().map(String::as_str)
    }

    /// The names of the values.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.0.values.iter().map(|(name, _)| name.as_str())
    }

    /// What costs more than it must, and why.
    pub fn notes(&self) -> &[Note] {
        &self.0.notes
    }

    /// Reads whole lines of a stream; the last may lack its newline.
    pub fn read(&self, state: &mut StreamState, text: &[u8], seen: Seen<'_>, tally: &mut Tally) {
        Reading::new(&self.0, text, seen, tally, None, Mode::Stream).run(state);
    }

    /// Reads as [`Plan::read`] does, and hands every event to `on_event`, which costs its time to be parsed.
    pub fn read_events(
        &self,
        state: &mut StreamState,
        text: &[u8],
        seen: Seen<'_>,
        tally: &mut Tally,
        on_event: &mut dyn FnMut(Event<'_>),
    ) {
        Reading::new(&self.0, text, seen, tally, Some(on_event), Mode::Stream).run(state);
    }

    /// Counts one message of a journal: one event, however many lines it has.
    pub fn entry(&self, entry: &Entry, place: &str, tally: &mut Tally) {
        self.message(entry, place, tally, None);
    }

    /// Counts one message as [`Plan::entry`] does, and hands it to `on_event`.
    pub fn entry_event(&self, entry: &Entry, place: &str, tally: &mut Tally, on_event: &mut dyn FnMut(Event<'_>)) {
        self.message(entry, place, tally, Some(on_event));
    }

    fn message(&self, entry: &Entry, place: &str, tally: &mut Tally, on_event: Option<&mut dyn FnMut(Event<'_>)>) {
        let seen = Seen { arrived: entry.at, given: None, place, cut: 0 };
        let mode = Mode::Message(entry.level, entry.at);
        Reading::new(&self.0, &entry.message, seen, tally, on_event, mode).run(&mut StreamState::default());
    }

    /// The stream has ended, or something of it is missing: no line continues its last event.
    pub fn end(&self, state: &mut StreamState) {
        *state = StreamState::default();
    }
}

fn read(
    part: Part,
    all: &[(String, String)],
    names: &mut BTreeSet<String>,
    refused: &mut Vec<Refused>,
) -> Vec<(String, Expression)> {
    let mut expressions = Vec::new();
    for (name, text) in all {
        if !names.insert(name.clone()) {
            let why = Why::new("another one has this name", "give each its own");
            refused.push(Refused { part, name: name.clone(), why });
            continue;
        }
        match Expression::read(text) {
            Ok(expression) => expressions.push((name.clone(), expression)),
            Err(why) => refused.push(Refused { part, name: name.clone(), why }),
        }
    }
    expressions
}

fn check_bounds(wanted: &Wanted, refused: &mut Vec<Refused>) {
    let n_counted = wanted.patterns.len() + wanted.secrets.len();
    for (part, n, most) in [(Part::Pattern, n_counted, MAX_COUNTED), (Part::Value, wanted.values.len(), MAX_VALUES)] {
        if n > most {
            let why = Why::new(format!("{n} are wanted, and {most} can be had"), "spread them over several tables");
            refused.push(Refused { part, name: String::new(), why });
        }
    }
}

type Named = (String, Expression);

impl Inner {
    fn new(wanted: &Wanted, patterns: &[Named], secrets: &[Named], values: &[Named]) -> Result<Inner, Vec<Refused>> {
        let all = |part: Part| match part {
            Part::Pattern => patterns,
            Part::Secret => secrets,
            Part::Value => values,
        };
        let parts = [Part::Pattern, Part::Value, Part::Secret];
        let notes = parts.into_iter().flat_map(|part| {
            all(part).iter().filter_map(move |(name, one)| one.note.map(|note| Note { part, name: name.clone(), note }))
        });
        let counted = |n: usize| Member::Counted(n);
        let members: Vec<(Member, &Expression, bool)> = (patterns.iter().enumerate())
            .map(|(n, (_, one))| (counted(n), one, false))
            .chain(values.iter().enumerate().map(|(n, (_, one))| (Member::Value(n), one, false)))
            .chain(secrets.iter().enumerate().map(|(n, (_, one))| (counted(patterns.len() + n), one, true)))
            .collect();
        // Secrets are searched for by themselves: what they begin with would spoil the search for the others. What is matched
        // on every line stands apart, so that the others are not.
        let groups = [
            group(&members, |one, is_secret| one.is_found() && !is_secret),
            group(&members, |one, is_secret| one.is_found() && is_secret),
            group(&members, |one, _| !one.is_found()),
        ];
        let refuse = |why| vec![Refused { part: Part::Pattern, name: String::new(), why }];
        let groups: Result<Vec<_>, Why> = groups.into_iter().collect();
        let compiled = |named: &[Named]| -> Result<Vec<(String, Regex)>, Why> {
            named.iter().map(|(name, one)| one.regex().map(|regex| (name.clone(), regex))).collect()
        };
        let fingerprint = fingerprint(patterns.iter().chain(secrets));
        Ok(Inner {
            format: wanted.format,
            counted: patterns.iter().chain(secrets).map(|(name, _)| name.clone()).collect(),
            n_patterns: patterns.len(),
            secrets: compiled(secrets).map_err(refuse)?.into_iter().map(|(_, regex)| regex).collect(),
            values: compiled(values).map_err(refuse)?,
            groups: groups.map_err(refuse)?.into_iter().filter(|(_, members)| !members.is_empty()).collect(),
            notes: notes.collect(),
            max_line: wanted.max_line.max(1),
            zone: wanted.zone.clone(),
            redact: Arc::clone(&wanted.redact),
            fingerprint,
        })
    }

    /// The name and the expression of what is counted as `n`, where it is a secret.
    fn secret(&self, n: usize) -> Option<(&str, &Regex)> {
        let regex = self.secrets.get(n.checked_sub(self.n_patterns)?)?;
        Some((self.counted.get(n)?.as_str(), regex))
    }

    /// The number that value `n` captures in a line; nothing where its group took no part.
    fn number(&self, n: usize, line: &[u8]) -> Option<Result<f64, ()>> {
        let (_, regex) = self.values.get(n)?;
        let text = regex.captures(line)?.get(1)?.as_bytes();
        let number = std::str::from_utf8(text).ok().and_then(|text| text.trim().parse::<f64>().ok());
        Some(number.filter(|number| number.is_finite()).ok_or(()))
    }
}

fn group(
    members: &[(Member, &Expression, bool)],
    is_in: impl Fn(&Expression, bool) -> bool,
) -> Result<(Group, Vec<Member>), Why> {
    let chosen: Vec<_> = members.iter().filter(|(_, one, is_secret)| is_in(one, *is_secret)).collect();
    let expressions: Vec<&Expression> = chosen.iter().map(|(_, one, _)| *one).collect();
    Ok((Group::new(&expressions)?, chosen.iter().map(|(member, ..)| *member).collect()))
}

/// FNV-1a over names and expressions.
fn fingerprint<'n>(all: impl Iterator<Item = &'n Named>) -> u64 {
    let bytes = all.flat_map(|(name, one)| name.bytes().chain([0]).chain(one.exact.bytes()).chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("format", &self.0.format)
            .field("counted", &self.0.counted)
            .field("max_line", &self.0.max_line)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wanted").field("format", &self.format).field("patterns", &self.patterns).finish_non_exhaustive()
    }
}
