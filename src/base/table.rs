//! The reader of configuration tables.
//!
//! Enters: a tree of values with the places they stand at (made by `config` from TOML). Leaves: typed values.
//! A component reads its own table key by key; every mistake is gathered instead of ending the reading, and
//! keys that nobody asked for become "did you mean". Derived deserialisation is not used because it stops at
//! the first mistake (measured: one of five reported).

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::problem::{Place, Problems};
use super::{Labels, Quantity, SecretRef, SourceRef, Span, Unit};

/// One value of the configuration with the place it stands at.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where the value stands, quotes included.
    pub place: Place,
}

/// What TOML can hold, less dates (nothing in this grammar is one).
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A string, `${vars}` already replaced.
    Text(String),
    /// A whole number.
    Whole(i64),
    /// A float.
    Float(f64),
    /// `true` or `false`.
    Bool(bool),
    /// A list.
    List(Vec<Node>),
    /// A table, in order of appearance.
    Table(Vec<Entry>),
}

/// One key of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key's text.
    pub key: String,
    /// Where the key stands.
    pub place: Place,
    /// Its value.
    pub node: Node,
}

/// A value together with where it stands, for checks that come later.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

impl Node {
    /// What this is, for messages: `a string`, `a list`, …
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Text(_) => "a string",
            Value::Whole(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::Bool(_) => "true or false",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }

    /// The place of the text between the quotes; the whole value where it is no one-line string.
    ///
    /// Offsets into the text are offsets into this place as long as the string holds no escapes or variables;
    /// with them the place is cut at its end, never wrong by a panic.
    pub fn inside(&self) -> Place {
        let range = self.place.range.clone();
        match self.value {
            Value::Text(_) if range.len() >= 2 => {
                Place { file: self.place.file, range: range.start + 1..range.end - 1 }
            }
            _ => self.place.clone(),
        }
    }
}

/// A table being read by the component that owns it.
#[derive(Debug)]
pub struct Table<'a> {
    entries: &'a [Entry],
    place: Place,
    what: &'a str,
    asked: BTreeSet<String>,
}

impl<'a> Table<'a> {
    /// Begins to read `node`, which messages call `what` (`a rule`, `[http.api]`). A value that is no table is a problem.
    pub fn open(node: &'a Node, what: &'a str, problems: &mut Problems) -> Option<Table<'a>> {
        match &node.value {
            Value::Table(entries) => Some(Table { entries, place: node.place.clone(), what, asked: BTreeSet::new() }),
            _ => {
                problems.error(&node.place, format!("{what} is a table"), format!("this is {}", node.kind()));
                None
            }
        }
    }

    /// Where the table stands (its heading, or its braces).
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The raw value of `key`, which counts as asked for.
    pub fn node(&mut self, key: &str) -> Option<&'a Node> {
        self.asked.insert(key.to_string());
        self.entries.iter().find(|e| e.key == key).map(|e| &e.node)
    }

    /// The table `labels`: names of letters, digits and `_` that begin with no digit; a problem for each other.
    pub fn labels(&mut self, problems: &mut Problems) -> Labels {
        let Some(mut labels) = self.node("labels").and_then(|n| Table::open(n, "`labels`", problems)) else {
            return Labels::empty();
        };
        let mut pairs = Vec::new();
        for entry in labels.rest() {
            let word = entry.key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !word || entry.key.is_empty() || entry.key.starts_with(|c: char| c.is_ascii_digit()) {
                problems.error(
                    &entry.place,
                    format!("`{}` is no name of a label", entry.key),
                    "letters, digits and `_`",
                );
            } else if let Some(value) = String::read(&entry.node, problems) {
                pairs.push((entry.key.as_str(), value));
            }
        }
        Labels::new(pairs.iter().map(|(name, value)| (*name, value.as_str())))
    }

    /// The place of `key` itself, if it stands there.
    pub fn key_place(&self, key: &str) -> Option<&'a Place> {
        self.entries.iter().find(|e| e.key == key).map(|e| &e.place)
    }

    /// Reads `key` if it stands there; a value of the wrong kind is a problem and reads as absent.
    pub fn get<T: Read>(&mut self, key: &str, problems: &mut Problems) -> Option<T> {
        self.node(key).and_then(|node| T::read(node, problems))
    }

    /// Reads `key`, or takes `default` where it is absent or wrong.
    pub fn or<T: Read>(&mut self, key: &str, default: T, problems: &mut Problems) -> T {
        self.get(key, problems).unwrap_or(default)
    }

    /// Reads `key`, whose absence is a problem; `example` shows what to write.
    pub fn required<T: Read>(&mut self, key: &str, example: &str, problems: &mut Problems) -> Option<T> {
        match self.node(key) {
            Some(node) => T::read(node, problems),
            None => {
                problems
                    .error(&self.place, format!("{} needs `{key}`", self.what), "it is missing here")
                    .help(format!("for example: {key} = {example}"));
                None
            }
        }
    }

    /// Every key nobody asked for, each counted as asked for now: for tables whose keys are names.
    pub fn rest(&mut self) -> Vec<&'a Entry> {
        let rest: Vec<&Entry> = self.entries.iter().filter(|e| !self.asked.contains(&e.key)).collect();
        self.asked.extend(rest.iter().map(|e| e.key.clone()));
        rest
    }

    /// Whether keys stand here that nobody asked for so far.
    pub fn has_rest(&self) -> bool {
        self.entries.iter().any(|e| !self.asked.contains(&e.key))
    }

    /// Ends the reading: keys nobody asked for are errors, each with the nearest known key.
    pub fn finish(self, problems: &mut Problems) {
        for entry in self.entries.iter().filter(|e| !self.asked.contains(&e.key)) {
            let known: Vec<&str> = self.asked.iter().map(String::as_str).collect();
            let problem = problems.error(
                &entry.place,
                format!("unknown key `{}`", entry.key),
                format!("{} has no such key", self.what),
            );
            match nearest(&entry.key, &known) {
                Some(near) => problem.help(format!("did you mean `{near}`?")),
                None => problem.help(format!("it takes: {}", known.join(", "))),
            };
        }
    }
}

/// The name in `known` that `word` was probably meant to be.
pub fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|k| (strsim::jaro_winkler(word, k), *k))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k)
}

/// A type that a configuration value can be read as.
pub trait Read: Sized {
    /// Reads `node`, or adds what is wrong with it to `problems`.
    fn read(node: &Node, problems: &mut Problems) -> Option<Self>;
}

/// Says that `node` is not `wanted`, as in `` `"yes"` is not true or false ``.
pub fn wrong_kind(node: &Node, wanted: &str, example: &str, problems: &mut Problems) {
    problems
        .error(&node.place, format!("this takes {wanted}"), format!("this is {}", node.kind()))
        .help(format!("for example: {example}"));
}

impl Read for String {
    fn read(node: &Node, problems: &mut Problems) -> Option<String> {
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            _ => {
                wrong_kind(node, "a string", "\"…\"", problems);
                None
            }
        }
    }
}

impl Read for PathBuf {
    fn read(node: &Node, problems: &mut Problems) -> Option<PathBuf> {
        String::read(node, problems).map(PathBuf::from)
    }
}

impl Read for bool {
    fn read(node: &Node, problems: &mut Problems) -> Option<bool> {
        match node.value {
            Value::Bool(b) => Some(b),
            _ => {
                wrong_kind(node, "true or false", "true", problems);
                None
            }
        }
    }
}

impl Read for u32 {
    fn read(node: &Node, problems: &mut Problems) -> Option<u32> {
        match node.value {
            Value::Whole(n) => match u32::try_from(n) {
                Ok(n) => Some(n),
                Err(_) => {
                    problems.error(&node.place, format!("{n} is out of range"), "0 to 4294967295");
                    None
                }
            },
            _ => {
                wrong_kind(node, "a whole number", "3", problems);
                None
            }
        }
    }
}

impl Read for Span {
    fn read(node: &Node, problems: &mut Problems) -> Option<Span> {
        let why = match &node.value {
            Value::Text(text) => match Span::parse(text) {
                Ok(span) => return Some(span),
                Err(why) => why,
            },
            Value::Whole(n) => format!("`{n}` has no unit"),
            _ => {
                wrong_kind(node, "a duration", "\"30s\"", problems);
                return None;
            }
        };
        problems
            .error(&node.place, why, "a duration")
            .help("a duration is written like \"500ms\", \"30s\", \"5m\", \"1h30m\", \"7d\"");
        None
    }
}

impl Read for Quantity {
    fn read(node: &Node, problems: &mut Problems) -> Option<Quantity> {
        match &node.value {
            Value::Whole(n) => Some(Quantity::count(*n as f64)),
            Value::Float(n) => Some(Quantity::count(*n)),
            Value::Text(text) => match Quantity::parse(text) {
                Ok(q) => Some(q),
                Err(why) => {
                    problems
                        .error(&node.inside().part(Quantity::bad_part(text)), why, "")
                        .help("a value is written like \"5%\", \"300ms\", \"2GiB\", \"100\"");
                    None
                }
            },
            _ => {
                wrong_kind(node, "a value with its unit", "\"5%\"", problems);
                None
            }
        }
    }
}

/// A size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Read for Size {
    fn read(node: &Node, problems: &mut Problems) -> Option<Size> {
        if let Value::Text(text) = &node.value
            && let Ok(q) = Quantity::parse(text)
            && q.unit == Unit::Bytes
            && q.value >= 0.0
        {
            return Some(Size(q.value as u64));
        }
        problems
            .error(&node.place, "this takes a size with its unit", "no size")
            .help("a size is written like \"512MiB\", \"2GB\", \"64KiB\"");
        None
    }
}

impl Read for SecretRef {
    fn read(node: &Node, problems: &mut Problems) -> Option<SecretRef> {
        let why = match &node.value {
            Value::Text(text) => match SecretRef::parse(text) {
                Ok(secret) => return Some(secret),
                Err(why) => why,
            },
            _ => "this takes the place of a secret".into(),
        };
        let is_literal = why == SecretRef::LITERAL;
        let label = if is_literal { "anybody who reads this file could use it" } else { "no place of a secret" };
        problems
            .error(&node.place, why, label)
            .help("write \"env:NAME\", \"file:/path\" or \"credential:NAME\"")
            .secret();
        None
    }
}

impl Read for SourceRef {
    fn read(node: &Node, problems: &mut Problems) -> Option<SourceRef> {
        if let Value::Text(text) = &node.value {
            match text.split_once('.') {
                Some((kind, name)) if !kind.is_empty() && !name.is_empty() => return Some(SourceRef::new(kind, name)),
                None if text == "host" => return Some(SourceRef::new("host", "host")),
                _ => {}
            }
        }
        problems
            .error(&node.place, "this takes the name of a source", "not a source")
            .help("kind and name, as in the heading: \"http.api\"");
        None
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(node: &Node, problems: &mut Problems) -> Option<Vec<T>> {
        match &node.value {
            Value::List(nodes) => {
                let all: Vec<Option<T>> = nodes.iter().map(|n| T::read(n, problems)).collect();
                all.into_iter().collect()
            }
            _ => {
                wrong_kind(node, "a list", "[\"…\"]", problems);
                None
            }
        }
    }
}

impl<T: Read> Read for Placed<T> {
    fn read(node: &Node, problems: &mut Problems) -> Option<Placed<T>> {
        T::read(node, problems).map(|value| Placed { value, place: node.place.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(value: Value) -> Node {
        Node { value, place: Place::default() }
    }

    fn entry(key: &str, value: Value) -> Entry {
        Entry { key: key.into(), place: Place::default(), node: node(value) }
    }

    #[test]
    fn every_mistake_of_a_table_is_gathered() {
        let table = node(Value::Table(vec![
            entry("interval", Value::Text("5".into())),
            entry("timout", Value::Text("5s".into())),
            entry("retries", Value::Bool(true)),
        ]));
        let mut problems = Problems::default();
        let mut reader = Table::open(&table, "a step", &mut problems).unwrap();
        assert_eq!(reader.get::<Span>("interval", &mut problems), None);
        assert_eq!(reader.or("timeout", Span::secs(5), &mut problems), Span::secs(5));
        assert_eq!(reader.or("retries", 0u32, &mut problems), 0);
        assert_eq!(reader.required::<String>("name", "\"x\"", &mut problems), None);
        reader.finish(&mut problems);
        let titles: Vec<&str> = problems.list.iter().map(|p| p.title.as_str()).collect();
        assert_eq!(
            titles,
            ["`5` has no unit", "this takes a whole number", "a step needs `name`", "unknown key `timout`"]
        );
        assert_eq!(problems.list[3].help.as_deref(), Some("did you mean `timeout`?"));
    }

    #[test]
    fn a_literal_secret_is_refused_without_being_repeated() {
        let mut problems = Problems::default();
        assert_eq!(SecretRef::read(&node(Value::Text("hunter2".into())), &mut problems), None);
        assert!(!format!("{problems:?}").contains("hunter2"));
    }
}
