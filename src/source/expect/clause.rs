//! The words of an expectation once they are read: one subject, perhaps counted, and one test.

use regex::Regex;

use super::path::Path;
use super::version::Version;
use crate::base::Unit;

/// A whole expectation or value.
#[derive(Clone, Debug)]
pub(super) struct Clause {
    pub(super) text: String,
    pub(super) prefix: Option<Prefix>,
    pub(super) subject: Subject,
    /// None for a value, and where the subject itself is the statement (`open`).
    pub(super) test: Option<Test>,
    /// What a share is held against.
    pub(super) limit: Option<(Operator, f64)>,
}

/// What stands before the subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prefix {
    Len,
    Every,
    Any,
    None,
    Share,
}

pub(super) const PREFIXES: [(&str, Prefix); 5] = [
    ("len", Prefix::Len),
    ("every", Prefix::Every),
    ("any", Prefix::Any),
    ("none", Prefix::None),
    ("share", Prefix::Share),
];

/// What an expectation speaks of.
#[derive(Clone, Debug)]
pub(super) enum Subject {
    Status,
    Time,
    Header(String),
    Cert,
    Json(Path),
    Body,
    Exit,
    Text,
    /// Without a finder no text is searched: the number is a key of a JSON object.
    Number {
        name: Option<String>,
        finder: Option<Regex>,
    },
    Version {
        finder: Regex,
    },
    Exists,
    Missing,
    Writable,
    Age,
    Size,
    Mode,
    Open,
    Closed,
    Banner,
}

/// What a subject is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing: the subject is the statement.
    Nothing,
    /// A status code, or all of a hundred: `2xx`.
    Status,
    /// A plain number.
    Count,
    /// A number with any unit.
    Number,
    /// A duration.
    Seconds,
    /// A size.
    Bytes,
    /// The mode of a file.
    Mode,
    /// A version.
    Version,
    /// A text.
    Text,
    /// Whatever JSON can hold.
    Json,
}

/// The words that are subjects; a field of JSON that is called like one must not share its sample.
pub(super) const WORDS: [&str; 19] = [
    "status", "time", "header", "cert", "json", "body", "exit", "text", "number", "version", "exists", "missing",
    "writable", "age", "size", "mode", "open", "closed", "banner",
];

impl Subject {
    pub(super) fn label(&self) -> String {
        match self {
            Subject::Header(name) => format!("header {name}"),
            Subject::Number { name: Some(name), .. } => format!("number {name}"),
            Subject::Json(path) if WORDS.contains(&path.text.as_str()) => format!("json {}", path.text),
            Subject::Json(path) => path.text.clone(),
            subject => subject.word().into(),
        }
    }

    pub(super) fn reason(&self) -> &'static str {
        if matches!(self, Subject::Json(_)) { "body" } else { self.word() }
    }

    pub(super) fn word(&self) -> &'static str {
        match self {
            Subject::Status => "status",
            Subject::Time => "time",
            Subject::Header(_) => "header",
            Subject::Cert => "cert",
            Subject::Json(_) => "json",
            Subject::Body => "body",
            Subject::Exit => "exit",
            Subject::Text => "text",
            Subject::Number { .. } => "number",
            Subject::Version { .. } => "version",
            Subject::Exists => "exists",
            Subject::Missing => "missing",
            Subject::Writable => "writable",
            Subject::Age => "age",
            Subject::Size => "size",
            Subject::Mode => "mode",
            Subject::Open => "open",
            Subject::Closed => "closed",
            Subject::Banner => "banner",
        }
    }

    pub(super) fn takes(&self) -> Takes {
        match self {
            Subject::Status => Takes::Status,
            Subject::Time | Subject::Cert | Subject::Age => Takes::Seconds,
            Subject::Header(_) | Subject::Body | Subject::Text | Subject::Banner => Takes::Text,
            Subject::Json(_) => Takes::Json,
            Subject::Exit => Takes::Count,
            Subject::Number { .. } => Takes::Number,
            Subject::Version { .. } => Takes::Version,
            Subject::Size => Takes::Bytes,
            Subject::Mode => Takes::Mode,
            Subject::Exists | Subject::Missing | Subject::Writable | Subject::Open | Subject::Closed => Takes::Nothing,
        }
    }
}

/// What must be true of the subject.
#[derive(Clone, Debug)]
pub(super) enum Test {
    Compare(Operator, Literal),
    In(Vec<Literal>),
    Matches(Regex),
    Contains(Literal),
    StartsWith(String),
    EndsWith(String),
    Is(Type),
    Exists,
    Missing,
    /// The opposite, of what is there: a thing that is missing does not satisfy this either.
    Not(Box<Test>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    Unequal,
    Above,
    AtLeast,
    Below,
    AtMost,
}

/// Longest first, so that `>=` is not read as `>`.
pub(super) const OPERATORS: [(&str, Operator); 6] = [
    ("==", Operator::Equal),
    ("!=", Operator::Unequal),
    (">=", Operator::AtLeast),
    ("<=", Operator::AtMost),
    (">", Operator::Above),
    ("<", Operator::Below),
];

impl Operator {
    /// Compares two numbers; nothing but `!=` holds for NaN.
    pub(super) fn holds<T: PartialOrd>(self, value: &T, limit: &T) -> bool {
        match self {
            Operator::Equal => value == limit,
            Operator::Unequal => value != limit,
            Operator::Above => value > limit,
            Operator::AtLeast => value >= limit,
            Operator::Below => value < limit,
            Operator::AtMost => value <= limit,
        }
    }
}

/// A value as it is written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    /// In base units.
    Number(f64, Unit),
    /// `2xx`: the hundreds of a status.
    Class(u16),
    /// `0640`.
    Mode(u32),
    Version(Version),
    /// `now - 5m`: seconds from now.
    Now(f64),
    Text(String),
    Bool(bool),
    Null,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    String,
    Number,
    Integer,
    Boolean,
    Array,
    Object,
    Null,
    Time,
    Empty,
}

pub(super) const TYPES: [(&str, Type); 9] = [
    ("string", Type::String),
    ("number", Type::Number),
    ("integer", Type::Integer),
    ("boolean", Type::Boolean),
    ("array", Type::Array),
    ("object", Type::Object),
    ("null", Type::Null),
    ("time", Type::Time),
    ("empty", Type::Empty),
];
