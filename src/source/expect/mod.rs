//! Expectations: what one look must have seen, in one line of text, and values taken from it.
//!
//! Enters: `status in [200, 204]`, `every json events[*].domain == "sensor"`, `age < 25h`, and an [`Observation`].
//! Leaves: whether it holds, and what was seen instead; or, for a value, a number. One parser for all sources, whose
//! errors point into the text; each source has its own subjects ([`Kind`]).
//!
//! Nothing that is missing ever satisfies: an expectation on a path that is not there fails, and so does `every`
//! over no elements; only `missing` and `none` are content with nothing. A value of another type than the one that
//! it is compared with is never equal to it, and neither more nor less.
//!
//! The rooms: `clause` holds the words, `parse` reads them, `path` reads JSON paths, `json` a document within its
//! bounds, `figure` a number with its unit, `item` compares one thing, `secret` hides what is nobody's business, `evaluate` a whole clause, `read` the keys of a table, `judge` a whole look.

mod clause;
mod evaluate;
mod figure;
mod item;
mod json;
mod judge;
mod parse;
mod path;
mod read;
mod secret;
#[cfg(test)]
mod tests;
mod version;

use std::ops::Range;
use std::sync::OnceLock;

use http::header::HeaderMap;
use serde_json::Value;

use crate::base::Timestamp;
use clause::Clause;
pub use json::{MAX_DEPTH, MAX_VALUES};
pub use judge::Judge;
pub use path::MAX_ELEMENTS;
pub use read::{read_expect, read_values};

/// The longest text of an expectation, in bytes.
pub const MAX_TEXT: usize = 1024;

/// The most memory that one regular expression may take, in bytes; the time to match is linear in the text.
pub const MAX_REGEX: usize = 1 << 20;

/// Which source an expectation belongs to, and so which subjects it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `[http.NAME]`
    Http,
    /// `[command.NAME]`
    Command,
    /// `[tcp.NAME]`
    Tcp,
    /// `[file.NAME]`
    File,
    /// `[signal.NAME]`
    Signal,
}

impl Kind {
    /// The subjects of this kind, as people write them.
    pub fn subjects(self) -> &'static [&'static str] {
        match self {
            Kind::Http => &["status", "time", "header NAME", "cert", "json PATH", "body"],
            Kind::Command | Kind::Signal => &["exit", "text", "number", "number NAME", "version", "json PATH", "body"],
            Kind::Tcp => &["open", "closed", "banner"],
            Kind::File => &["exists", "missing", "writable", "age", "size", "mode"],
        }
    }

    /// What is expected where nothing is written about it, and the subjects that replace it.
    fn default(self) -> Option<(&'static str, &'static [&'static str])> {
        match self {
            Kind::Http => Some(("status == 2xx", &["status"])),
            Kind::Command => Some(("exit == 0", &["exit"])),
            Kind::Tcp => Some(("open", &["open", "closed"])),
            Kind::File => Some(("exists", &["exists", "missing"])),
            Kind::Signal => None,
        }
    }

    /// What messages call it: `http`, `command`, …
    fn name(self) -> &'static str {
        match self {
            Kind::Http => "http",
            Kind::Command => "command",
            Kind::Tcp => "tcp",
            Kind::File => "file",
            Kind::Signal => "signal",
        }
    }
}

/// Everything that one look may have seen; what a source cannot see stays `None`, which is "missing".
#[derive(Debug, Default)]
pub struct Observation<'a> {
    /// The status code of an answer.
    pub status: Option<u16>,
    /// How long the answer took, in seconds.
    pub seconds: Option<f64>,
    /// The headers of an answer.
    pub headers: Option<&'a HeaderMap>,
    /// How many seconds the certificate that ends first is still valid; negative when it ended.
    pub cert: Option<f64>,
    /// The body of an answer, the output of a command, a posted result; bounded by the source.
    pub body: Option<&'a [u8]>,
    /// The body as JSON: read from it when first asked for, once, unless the source has it already.
    pub json: JsonSlot,
    /// The exit code of a program.
    pub exit: Option<i32>,
    /// The text of an output; where there is none, the body is taken as UTF-8.
    pub text: Option<&'a str>,
    /// The figure that `number` means; where there is none, the first number in the text.
    pub number: Option<f64>,
    /// Figures with a name (`number NAME`), in base units; a name that is not among them is looked for in the text:
    /// `name = 5ms`; of a signal it is a key of the JSON.
    pub numbers: &'a [(String, f64)],
    /// The version; where there is none, the first version in the text.
    pub version: Option<&'a str>,
    /// Whether a file is there.
    pub exists: Option<bool>,
    /// Whether the agent may write to a file.
    pub writable: Option<bool>,
    /// How many seconds ago a file was last modified; negative when its time is in the future.
    pub age: Option<f64>,
    /// The size of a file in bytes.
    pub size: Option<u64>,
    /// The mode of a file; only its lowest twelve bits count.
    pub mode: Option<u32>,
    /// Whether a port is open.
    pub open: Option<bool>,
    /// What a server said first.
    pub banner: Option<&'a [u8]>,
    /// The time of the look, for `now`.
    pub now: Timestamp,
}

/// A document of JSON that is read at most once a look, and only when an expectation asks for it.
#[derive(Debug, Default)]
pub struct JsonSlot(OnceLock<Result<Value, String>>);

impl From<Value> for JsonSlot {
    /// A document that the source has read already.
    fn from(value: Value) -> JsonSlot {
        JsonSlot(OnceLock::from(Ok(value)))
    }
}

impl<'a> Observation<'a> {
    /// The body as JSON.
    ///
    /// # Errors
    /// Where and why it is none, without its content.
    pub fn document(&self) -> Result<&Value, String> {
        let read = || match self.bytes() {
            Some(bytes) => json::parse(bytes).map_err(|why| format!("this is no JSON: {why}")),
            None => Err("there is no JSON".into()),
        };
        self.json.0.get_or_init(read).as_ref().map_err(Clone::clone)
    }

    /// The body, or the text where there is no body.
    fn bytes(&self) -> Option<&'a [u8]> {
        self.body.or(self.text.map(str::as_bytes))
    }

    /// The text, or the body as text where there is none; blanks at its ends do not count.
    fn words(&self) -> Option<std::borrow::Cow<'a, str>> {
        use std::borrow::Cow;
        let text = match self.text {
            Some(text) => Cow::Borrowed(text),
            None => String::from_utf8_lossy(self.body?),
        };
        Some(match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
            Cow::Owned(text) => Cow::Owned(text.trim().to_string()),
        })
    }
}

/// A condition on one observation.
#[derive(Clone, Debug)]
pub struct Expectation {
    clause: Clause,
}

/// A number taken from an observation: an expectation without its operator.
#[derive(Clone, Debug)]
pub struct Measure {
    clause: Clause,
}

/// What is wrong with the text of an expectation, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The bytes of the text that are meant.
    pub range: Range<usize>,
    /// What is wrong, as a fragment.
    pub what: String,
    /// What to write.
    pub help: String,
}

impl Expectation {
    /// Parses the text of an expectation of a source of this kind.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str, kind: Kind) -> Result<Expectation, Wrong> {
        Ok(Expectation { clause: parse::clause(text, kind, true)? })
    }

    /// The text as it was written.
    pub fn text(&self) -> &str {
        &self.clause.text
    }

    /// What it speaks of, as the label `expect` has it: `status`, `databases.sqlite`, `header location`. Two
    /// expectations have the same label exactly when they speak of the same thing.
    pub fn label(&self) -> String {
        self.clause.subject.label()
    }

    /// The reason of the failure when it does not hold: the subject's word, and `body` for `json`.
    pub fn reason(&self) -> &'static str {
        self.clause.subject.reason()
    }

    /// Holds it against an observation.
    ///
    /// # Errors
    /// What was seen instead, such as `saw 503`: one line, short, and hidden where it may be a secret.
    pub fn check(&self, seen: &Observation<'_>) -> Result<(), String> {
        self.clause.check(seen)
    }
}

impl Measure {
    /// Parses the text of a value of a source of this kind.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str, kind: Kind) -> Result<Measure, Wrong> {
        Ok(Measure { clause: parse::clause(text, kind, false)? })
    }

    /// The text as it was written.
    pub fn text(&self) -> &str {
        &self.clause.text
    }

    /// The number, in base units: RFC 3339 text is seconds since 1970, `true` is 1. None where there is not exactly
    /// one thing, or it is no number.
    pub fn take(&self, seen: &Observation<'_>) -> Option<f64> {
        self.clause.measure(seen)
    }

    /// What stands there as text, for use in a later request: a string as it is, a number or `true` as JSON writes
    /// it. None where there is not exactly one thing, or it is a list, an object or null.
    pub fn take_text(&self, seen: &Observation<'_>) -> Option<String> {
        self.clause.measure_text(seen)
    }
}
