//! When a rule is judged, and what holds it: `after`, `arm`, `phases`, `depends_on`.
//!
//! Enters: the keys. Leaves: a [`Scope`]. Whether the phases, rules and sources exist is checked by `config`, which
//! knows them all.

use super::clause;
use crate::base::table::{Placed, Read, Value as Raw, wrong_kind};
use crate::base::{Node, Place, Problems, SourceRef, Span, Table, Unit};
use crate::rule::{Clause, Dependency, Scope};

/// A scope with the places of the names in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    pub(super) after: Span,
    /// What arms it earlier.
    pub(super) arm: Option<clause::Read>,
    pub(super) phases: Vec<Placed<String>>,
    pub(super) depends_on: Vec<Placed<Dependency>>,
}

impl Written {
    /// Reads the keys.
    pub(super) fn read(table: &mut Table<'_>, problems: &mut Problems) -> Written {
        let after: Span = table.or("after", Span::ZERO, problems);
        let arm = table.node("arm").and_then(|node| read_arm(node, problems));
        if let (Some(place), true) = (table.key_place("arm"), after == Span::ZERO) {
            problems
                .error(place, "`arm` without `after`", "it is judged from the beginning")
                .help("write after = \"1h\": the longest that the rule waits");
        }
        let phases: Vec<Placed<String>> = table.get("phases", problems).unwrap_or_default();
        if let (Some(place), true) = (table.key_place("phases"), phases.is_empty())
            && matches!(table.node("phases").map(|node| &node.value), Some(Raw::List(list)) if list.is_empty())
        {
            problems.error(place, "no phase at all", "never judged").help("leave `phases` out: all of them");
        }
        let depends_on = table.get("depends_on", problems).unwrap_or_default();
        Written { after, arm, phases, depends_on }
    }

    /// The units of its figures.
    pub(super) fn units(&self) -> impl Iterator<Item = &(Unit, Place)> {
        self.arm.iter().flat_map(|arm| &arm.units)
    }

    /// What is judged.
    pub(super) fn settle(&self) -> Scope {
        Scope {
            after: self.after,
            arm: self.arm.as_ref().map(|arm| arm.test.clone()),
            phases: self.phases.iter().map(|phase| phase.value.clone()).collect(),
            depends_on: self.depends_on.iter().map(|on| on.value.clone()).collect(),
        }
    }
}

/// Reads `arm`: comparisons with figures.
fn read_arm(node: &Node, problems: &mut Problems) -> Option<clause::Read> {
    let text = String::read(node, problems)?;
    let read = clause::read(&text, &node.inside(), problems)?;
    let Some((_, place)) = read.clauses().find(|(clause, _)| !matches!(clause, Clause::Value(..))) else {
        return Some(read);
    };
    problems
        .error(place, "`arm` takes a figure", "a rule that warms up has nothing to compare with yet")
        .help("for example arm = \">= 80%\"");
    None
}

/// `errors` is a rule; `http.api` and `host` are sources.
impl Read for Dependency {
    fn read(node: &Node, problems: &mut Problems) -> Option<Dependency> {
        let Raw::Text(text) = &node.value else {
            wrong_kind(node, "the name of a rule or of a source", "depends_on = [\"http.api\"]", problems);
            return None;
        };
        if text.contains('.') || text == "host" {
            return SourceRef::read(node, problems).map(Dependency::Source);
        }
        Some(Dependency::Rule(text.clone()))
    }
}
