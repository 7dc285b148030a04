//! Whether the value of an evaluation may be believed.
//!
//! While the tree is computed each selector notes what it saw; afterwards the notes are read along the tree. What a part of
//! the expression needs decides: a selector that gave nothing is no data, unless its absence is an answer, and then it must be
//! known that it could have been seen.

use super::plan::{Node, Operator, Plan, Role, Source, Subquery};
use super::reading::{Absence, Missing};
use crate::base::Timestamp;
use crate::store::Store;

/// What a selector or a subquery saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Nothing,
    /// Samples, but too few for the function over them.
    TooFew,
    Values,
}

/// The notes of an evaluation.
pub(super) struct Notes<'a> {
    pub(super) plan: &'a Plan,
    pub(super) store: &'a Store,
    pub(super) now: Timestamp,
    pub(super) selectors: &'a [Seen],
    pub(super) subqueries: &'a [Seen],
}

impl Notes<'_> {
    /// What is missing for this node's value to be believed. Where absence is an answer (`required` is false) a selector
    /// without values is fine, if they could have been seen.
    pub(super) fn absence(&self, node: &Node, required: bool) -> Option<Absence> {
        match node {
            Node::Instant(selector) => self.of_selector(*selector, required),
            Node::Matrix(source) => self.of_source(source, required),
            Node::AbsentOverTime { source, .. } => self.of_source(source, false),
            Node::Absent { argument, .. } => self.absence(argument, false),
            Node::Range { source, parameters, .. } => {
                let number = |node| self.absence(node, required);
                self.of_source(source, required).or_else(|| parameters.iter().find_map(number))
            }
            Node::Binary { operator: Operator::Unless, left, right, .. } => {
                self.absence(left, required).or_else(|| self.absence(right, false))
            }
            Node::Binary { operator: Operator::Or, left, right, .. } => self.of_or(left, right, required),
            _ => node.children().into_iter().find_map(|child| self.absence(child, required)),
        }
    }

    /// One side that has ground suffices; of the other it must be known that it is not there.
    fn of_or(&self, left: &Node, right: &Node, required: bool) -> Option<Absence> {
        match (self.absence(left, required), self.absence(right, required)) {
            (None, None) => None,
            (Some(_), None) if self.has_ground(right) => self.absence(left, false),
            (None, Some(_)) if self.has_ground(left) => self.absence(right, false),
            (Some(absence), _) | (_, Some(absence)) => Some(absence),
        }
    }

    /// Whether a side rests on something: a constant, a selector that gave values, or absence as such. What the engine writes
    /// and did not write is no ground.
    fn has_ground(&self, node: &Node) -> bool {
        match node {
            Node::Absent { .. } | Node::AbsentOverTime { .. } => true,
            Node::Instant(selector) => self.selectors[*selector] == Seen::Values,
            Node::Range { source, .. } | Node::Matrix(source) => match source {
                Source::Selector(selector) => self.selectors[*selector] == Seen::Values,
                Source::Subquery(subquery) => self.has_ground(&subquery.inner),
            },
            _ => {
                let children = node.children();
                children.is_empty() || children.into_iter().any(|child| self.has_ground(child))
            }
        }
    }

    fn of_source(&self, source: &Source, required: bool) -> Option<Absence> {
        match source {
            Source::Selector(selector) => self.of_selector(*selector, required),
            Source::Subquery(subquery) => {
                self.absence(&subquery.inner, required).or_else(|| self.of_subquery(subquery, required))
            }
        }
    }

    fn of_subquery(&self, subquery: &Subquery, required: bool) -> Option<Absence> {
        let too_few = self.subqueries.get(subquery.index) == Some(&Seen::TooFew);
        (required && too_few).then(|| Absence { selector: subquery.text.clone(), missing: Missing::Samples })
    }

    fn of_selector(&self, selector: usize, required: bool) -> Option<Absence> {
        let usage = &self.plan.selectors[selector];
        let seen = self.selectors[selector];
        if seen == Seen::Values || usage.role == Role::Own {
            return None;
        }
        let missing = if seen == Seen::TooFew {
            required.then_some(Missing::Samples)?
        } else if !self.store.was_collected(&usage.selector, self.now) {
            Missing::Source
        } else {
            required.then_some(Missing::Series)?
        };
        Some(Absence { selector: usage.text.clone(), missing })
    }
}
