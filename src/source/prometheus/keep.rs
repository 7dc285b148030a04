//! What of a page is kept: `keep` and `drop`.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::base::table::Value;
use crate::base::{Labels, Node, Problems, Table, wildcard};

/// What of a page is kept, before `drop`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Everything.
    #[default]
    All,
    /// What some rule reads, and what is about the look itself.
    Referenced,
    /// Series whose name fits one of these.
    Names(Vec<Pattern>),
}

/// The most patterns of one key.
pub const MAX_PATTERNS: usize = 1000;

/// A name in which `*` stands for any characters, none included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// A pattern; none when the text can be the name of no series.
    pub fn new(text: &str) -> Option<Pattern> {
        let is_name = |c: char| c.is_alphanumeric() || "_:.*-/".contains(c);
        (!text.is_empty() && text.len() <= 256 && text.chars().all(is_name)).then(|| Pattern(text.into()))
    }

    /// Whether the whole `name` fits. Takes at most the product of both lengths.
    pub fn fits(&self, name: &str) -> bool {
        wildcard::fits(self.0.as_bytes(), name.as_bytes())
    }
}

/// Which series some rule reads.
#[derive(Clone)]
pub struct Referenced {
    /// Whether some rule may read a series of this name; true also where that cannot be told.
    pub name: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    /// Whether some rule reads this very series.
    pub series: Arc<dyn Fn(&Labels) -> bool + Send + Sync>,
}

/// What is left out of the pages of one target.
pub(super) struct Filter {
    keep: Keep,
    drop: Vec<Pattern>,
    referenced: Option<Referenced>,
    /// Verdicts on names, so that a name is compared with the patterns once.
    names: HashMap<Box<[u8]>, bool>,
}

/// The most names whose verdict is remembered; what is beyond is compared each time.
const REMEMBERED: usize = 10_000;

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter").field("keep", &self.keep).field("drop", &self.drop).finish_non_exhaustive()
    }
}

impl Filter {
    pub(super) fn new(keep: &Keep, drop: &[Pattern]) -> Filter {
        Filter { keep: keep.clone(), drop: drop.to_vec(), referenced: None, names: HashMap::new() }
    }

    /// Has it ask what rules read, if its configuration says so; until then everything counts as read.
    pub(super) fn refer_to(&mut self, referenced: &Referenced) {
        self.referenced = (self.keep == Keep::Referenced).then(|| referenced.clone());
        self.names.clear();
    }

    /// Whether it leaves anything out.
    pub(super) fn is_needed(&self) -> bool {
        !self.drop.is_empty() || self.referenced.is_some() || matches!(self.keep, Keep::Names(_))
    }

    /// Whether series of this name may be kept, as it stands undecoded on the page.
    pub(super) fn admits_name(&mut self, name: &[u8]) -> bool {
        if let Some(verdict) = self.names.get(name) {
            return *verdict;
        }
        let verdict = self.judge(&String::from_utf8_lossy(name));
        if self.names.len() < REMEMBERED {
            self.names.insert(name.into(), verdict);
        }
        verdict
    }

    /// Whether this series is kept.
    pub(super) fn admits(&mut self, labels: &Labels) -> bool {
        self.admits_name(labels.name().as_bytes()) && self.referenced.as_ref().is_none_or(|r| (r.series)(labels))
    }

    fn judge(&self, name: &str) -> bool {
        let kept = match &self.keep {
            Keep::All => true,
            Keep::Referenced => self.referenced.as_ref().is_none_or(|r| (r.name)(name)),
            Keep::Names(patterns) => patterns.iter().any(|pattern| pattern.fits(name)),
        };
        kept && !self.drop.iter().any(|pattern| pattern.fits(name))
    }
}

const KEEP_HELP: &str =
    "keep = \"all\", keep = \"referenced\" (only the series that some rule reads), or patterns: keep = [\"http_*\"]";

/// Reads the key `keep`.
pub(super) fn read_keep(table: &mut Table<'_>, problems: &mut Problems) -> Keep {
    let Some(node) = table.node("keep") else { return Keep::All };
    match &node.value {
        Value::Text(text) if text == "all" => Keep::All,
        Value::Text(text) if text == "referenced" => Keep::Referenced,
        Value::Text(text) => {
            let title = format!("`{text}` is nothing that can be kept");
            problems.error(&node.place, title, "neither word").help(KEEP_HELP);
            Keep::All
        }
        Value::List(list) if list.is_empty() => {
            problems.error(&node.place, "an empty `keep` would keep nothing", "empty").help(KEEP_HELP);
            Keep::All
        }
        Value::List(list) => Keep::Names(read_patterns(node, list, problems)),
        _ => {
            let title = "`keep` takes a word or a list of name patterns";
            problems.error(&node.place, title, format!("this is {}", node.kind())).help(KEEP_HELP);
            Keep::All
        }
    }
}

/// Reads the key `drop`.
pub(super) fn read_drop(table: &mut Table<'_>, problems: &mut Problems) -> Vec<Pattern> {
    let Some(node) = table.node("drop") else { return Vec::new() };
    match &node.value {
        Value::List(list) => read_patterns(node, list, problems),
        _ => {
            crate::base::table::wrong_kind(node, "a list of name patterns", "[\"go_*\"]", problems);
            Vec::new()
        }
    }
}

fn read_patterns(node: &Node, list: &[Node], problems: &mut Problems) -> Vec<Pattern> {
    if list.len() > MAX_PATTERNS {
        let title = format!("at most {MAX_PATTERNS} patterns stand here");
        problems.error(&node.place, title, format!("these are {}", list.len())).help("a `*` stands for many names");
        return Vec::new();
    }
    let mut patterns = Vec::new();
    for item in list {
        let Value::Text(text) = &item.value else {
            crate::base::table::wrong_kind(item, "a name pattern", "\"http_*\"", problems);
            continue;
        };
        match Pattern::new(text) {
            Some(pattern) => patterns.push(pattern),
            None => drop(
                problems
                    .error(&item.place, format!("`{text}` is no pattern of a name"), "fits no series")
                    .help("the name of a series, where `*` stands for any characters; labels cannot be asked for here"),
            ),
        }
    }
    patterns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_made_of_what_names_are_made_of() {
        for (pattern, name, wanted) in [
            ("up", "up", true),
            ("http_*", "http_requests_total", true),
            ("http_*", "nghttp_x", false),
            ("http.*.duration", "http.server.duration", true),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().fits(name), wanted, "{pattern} {name}");
        }
        for none in ["", "u?", "up{", "a b"] {
            assert_eq!(Pattern::new(none), None, "{none}");
        }
    }
}
