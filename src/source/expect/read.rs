//! The keys `expect` and `values` of a table.

use super::{Expectation, Kind, Measure, Wrong};
use crate::base::table::{Node, Value, wrong_kind};
use crate::base::{Place, Problems, Table};

/// The most expectations, and the most values, of one source: each is a series.
const MAX: usize = 100;

/// Reads the key `expect`: a list of texts, or one text. What the kind expects by default is added where nothing is
/// written about it, and stands first, as does what is written about it.
pub fn read_expect(table: &mut Table<'_>, kind: Kind, problems: &mut Problems) -> Vec<Expectation> {
    let mut found = Vec::new();
    for node in written(table.node("expect"), kind, problems) {
        match &node.value {
            Value::Text(text) => found.extend(parsed(Expectation::parse(text, kind), &node.inside(), problems)),
            _ => wrong_kind(node, "an expectation", example(kind), problems),
        }
    }
    with_default(found, kind)
}

/// Reads the key `values`: a table of texts, each of them an expectation without its operator.
pub fn read_values(table: &mut Table<'_>, kind: Kind, problems: &mut Problems) -> Vec<(String, Measure)> {
    let Some(node) = table.node("values") else {
        return Vec::new();
    };
    let Some(mut inner) = Table::open(node, "`values`", problems) else {
        return Vec::new();
    };
    let entries = inner.rest();
    if entries.len() > MAX {
        problems.error(
            &node.place,
            format!("a source has at most {MAX} values"),
            format!("{} stand here", entries.len()),
        );
    }
    let mut found = Vec::new();
    for entry in entries.into_iter().take(MAX) {
        match &entry.node.value {
            Value::Text(text) => {
                let measure = parsed(Measure::parse(text, kind), &entry.node.inside(), problems);
                found.extend(measure.map(|m| (entry.key.clone(), m)));
            }
            _ => wrong_kind(&entry.node, "a value that was seen", "'json queue.length'", problems),
        }
    }
    found
}

fn written<'n>(node: Option<&'n Node>, kind: Kind, problems: &mut Problems) -> Vec<&'n Node> {
    match node.map(|node| (node, &node.value)) {
        None => Vec::new(),
        Some((node, Value::Text(_))) => vec![node],
        Some((node, Value::List(all))) => {
            if all.len() > MAX {
                let label = format!("{} stand here", all.len());
                problems.error(&node.place, format!("a source has at most {MAX} expectations"), label);
            }
            all.iter().take(MAX).collect()
        }
        Some((node, _)) => {
            wrong_kind(node, "a list of expectations", &format!("[{}]", example(kind)), problems);
            Vec::new()
        }
    }
}

fn example(kind: Kind) -> &'static str {
    match kind {
        Kind::Http => "\"status == 200\"",
        Kind::Command => "\"exit == 0\"",
        Kind::Tcp => "\"open\"",
        Kind::File => "\"age < 25h\"",
        Kind::Signal => "'json failed == 0'",
    }
}

fn with_default(mut found: Vec<Expectation>, kind: Kind) -> Vec<Expectation> {
    let Some((default, instead)) = kind.default() else {
        return found;
    };
    let is_about = |expectation: &Expectation| instead.contains(&expectation.clause.subject.word());
    if !found.iter().any(is_about) {
        found.extend(Expectation::parse(default, kind).ok());
    }
    // What is wrong with these explains the rest.
    found.sort_by_key(|expectation| !is_about(expectation));
    found
}

fn parsed<T>(result: Result<T, Wrong>, place: &Place, problems: &mut Problems) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(wrong) => {
            problems.error(&place.part(wrong.range), wrong.what, "").help(wrong.help);
            None
        }
    }
}
