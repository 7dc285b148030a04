//! The compiled form of an expression.

use std::sync::{Arc, Mutex, PoisonError};

use super::function::{MapFn, MathFn};
use super::range::RangeFn;
use crate::base::{Labels, Span};
use crate::store::{Selector, SeriesId, Store, TargetId};

/// A compiled expression: immutable but for its caches, so it can be shared.
#[derive(Debug)]
pub struct Plan {
    pub(super) text: String,
    /// The whole expression, or what is compared where the root is a comparison with a constant.
    pub(super) root: Node,
    pub(super) comparison: Option<Comparison>,
    pub(super) selectors: Vec<SelectorUse>,
    pub(super) caches: Vec<Cache>,
}

/// One selector of an expression.
#[derive(Clone, Debug)]
pub struct SelectorUse {
    /// Which series.
    pub selector: Selector,
    /// How far back a range goes; none for an instant selector.
    pub range: Option<Span>,
    /// How far into the past it is moved; negative: into the future.
    pub offset: Span,
    /// Whether there is no data without it.
    pub role: Role,
    /// As written in PromQL, with range and offset.
    pub text: String,
}

/// What it means that a selector gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// There is no data.
    Required,
    /// Its absence is an answer, if a source that could give it was looked at lately: the argument of `absent`, the right
    /// side of `unless`. A side of `or` becomes exempt in an evaluation where the other is there.
    Exempt,
    /// The engine writes it: its absence is always an answer.
    Own,
}

/// A comparison at the root with a constant on its right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// How the value is compared.
    pub relation: Relation,
    /// With what.
    pub with: f64,
}

/// The six comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    Greater,
    /// `>=`
    AtLeast,
}

/// A node of the plan; selectors are indices into [`Plan::selectors`].
#[derive(Debug)]
pub(super) enum Node {
    Number(f64),
    Time,
    Instant(usize),
    Range {
        function: RangeFn,
        selector: usize,
        parameters: Vec<Node>,
    },
    AbsentOverTime {
        selector: usize,
        labels: Labels,
    },
    Absent {
        argument: Box<Node>,
        labels: Labels,
    },
    Negate(Box<Node>),
    ToScalar(Box<Node>),
    ToVector(Box<Node>),
    SampleTime(Box<Node>),
    /// Sorting changes no value and no label set.
    Same(Box<Node>),
    Math(MathFn, Box<Node>),
    Map {
        function: MapFn,
        argument: Box<Node>,
        parameters: Vec<Node>,
    },
    HistogramQuantile {
        quantile: Box<Node>,
        argument: Box<Node>,
    },
    Binary {
        operator: Operator,
        left: Box<Node>,
        right: Box<Node>,
        matching: Matching,
    },
    Aggregate {
        aggregator: Aggregator,
        parameter: Option<Box<Node>>,
        grouping: Grouping,
        argument: Box<Node>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Arithmetic(Arithmetic),
    Filter(Relation),
    Bool(Relation),
    And,
    Or,
    Unless,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
    Atan2,
}

#[derive(Clone, Debug)]
pub(super) struct Matching {
    /// Whether only `labels` count (`on`), or all others (`ignoring`).
    pub(super) on: bool,
    /// Sorted.
    pub(super) labels: Vec<String>,
    pub(super) group: Group,
}

#[derive(Clone, Debug)]
pub(super) enum Group {
    OneToOne,
    /// The many are on the left; these labels come from the one.
    Left(Vec<String>),
    Right(Vec<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aggregator {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Group,
    Stddev,
    Stdvar,
    TopK,
    BottomK,
    Quantile,
}

#[derive(Clone, Debug)]
pub(super) struct Grouping {
    pub(super) without: bool,
    /// Sorted.
    pub(super) labels: Vec<String>,
}

/// The series of one selector, known until the store's set of series changes.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<Option<(u64, Arc<[SeriesId]>)>>);

impl Cache {
    pub(super) fn series(&self, selector: &Selector, store: &Store) -> Arc<[SeriesId]> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*held {
            Some((generation, ids)) if *generation == store.generation() => ids.clone(),
            _ => {
                let ids: Arc<[SeriesId]> = store.select(selector).into();
                *held = Some((store.generation(), ids.clone()));
                ids
            }
        }
    }
}

impl Plan {
    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All selectors, in the order of the text.
    pub fn selectors(&self) -> &[SelectorUse] {
        &self.selectors
    }

    /// The comparison at the root, where the other side is a constant and `bool` is not asked for.
    pub fn root_comparison(&self) -> Option<Comparison> {
        self.comparison
    }

    /// The longest range of its selectors, offset included: how old a sample can be that takes part, look-back aside.
    pub fn longest_range(&self) -> Span {
        let reach = |selector: &SelectorUse| selector.range.unwrap_or_default() + selector.offset;
        self.selectors.iter().map(reach).max().unwrap_or_default().max(Span::ZERO)
    }

    /// The targets whose last look gave one of its series.
    pub fn targets(&self, store: &Store) -> Vec<TargetId> {
        let mut found: Vec<TargetId> = (0..self.selectors.len())
            .flat_map(|i| self.series_of(i, store).to_vec())
            .filter(|id| !store.series(*id).is_ended())
            .filter_map(|id| store.owner(id))
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    pub(super) fn series_of(&self, selector: usize, store: &Store) -> Arc<[SeriesId]> {
        self.caches[selector].series(&self.selectors[selector].selector, store)
    }
}

impl Relation {
    /// Whether it holds; with NaN only [`Relation::NotEqual`] does.
    pub fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Relation::Equal => left == right,
            Relation::NotEqual => left != right,
            Relation::Less => left < right,
            Relation::AtMost => left <= right,
            Relation::Greater => left > right,
            Relation::AtLeast => left >= right,
        }
    }

    /// The relation with its sides exchanged.
    pub fn flipped(self) -> Relation {
        match self {
            Relation::Less => Relation::Greater,
            Relation::AtMost => Relation::AtLeast,
            Relation::Greater => Relation::Less,
            Relation::AtLeast => Relation::AtMost,
            same => same,
        }
    }
}

impl std::fmt::Display for Relation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Relation::Equal => "==",
            Relation::NotEqual => "!=",
            Relation::Less => "<",
            Relation::AtMost => "<=",
            Relation::Greater => ">",
            Relation::AtLeast => ">=",
        })
    }
}
