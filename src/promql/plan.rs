//! The compiled form of an expression.

use std::sync::Arc;

use regex::Regex;

use super::annotation::Annotation;
use super::cache::{Cache, Groups};
use super::calendar::Calendar;
use super::function::{MapFn, MathFn};
use super::range::RangeFn;
use crate::base::{Labels, Span, Timestamp};
use crate::store::{Samples, Selector, SeriesId, Store, TargetId};

/// A compiled expression: immutable but for its caches, so it can be shared.
#[derive(Debug)]
pub struct Plan {
    pub(super) text: String,
    /// The whole expression, or what is compared where the root is a comparison with a constant.
    pub(super) root: Node,
    pub(super) comparison: Option<Comparison>,
    pub(super) selectors: Vec<SelectorUse>,
    pub(super) annotations: Vec<Annotation>,
    pub(super) caches: Vec<Cache<Arc<[SeriesId]>>>,
    pub(super) groups: Vec<Cache<Arc<Groups>>>,
    /// How many parts do not depend on the time of evaluation.
    pub(super) n_once: usize,
    /// How many subqueries there are.
    pub(super) n_subqueries: usize,
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
    /// The moment that `@` fixes it to.
    pub at: Option<At>,
    /// Between which times its samples can lie, subqueries around it included, look-back aside.
    pub reads: Reads,
    /// Whether there is no data without it.
    pub role: Role,
    /// As written in PromQL, with range, `@` and offset.
    pub text: String,
}

impl SelectorUse {
    /// A range sees its own samples; an instant selector looks back.
    fn look_back(&self, look_back: Span) -> Span {
        if self.range.is_some() { Span::ZERO } else { look_back }
    }
}

/// A span of time, counted back from the time of evaluation or from what `@` fixes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// What it is counted from; the time of evaluation where unset.
    pub at: Option<At>,
    /// How far before that it begins.
    pub from: Span,
    /// How far before that it ends; negative: after it.
    pub until: Span,
}

impl Reads {
    /// The span of a range with its offset, evaluated at all times of this one.
    pub(super) fn within(self, at: Option<At>, range: Span, offset: Span) -> Reads {
        let outer = if at.is_some() { Reads { at, ..Reads::default() } } else { self };
        Reads { at: outer.at, from: outer.from + range + offset, until: outer.until + offset }
    }
}

/// What `@` fixes a selector or a subquery to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// A moment.
    Time(Timestamp),
    /// The first time of the query.
    Start,
    /// The last time of the query.
    End,
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

/// A node of the plan; selectors are indices into [`Plan::selectors`], places are bytes of the text.
#[derive(Debug)]
pub(super) enum Node {
    Number(f64),
    /// A text; only at the root.
    Text(String),
    Time,
    /// A time of the query itself: `start()`, `end()`, `step()`, `range()`.
    Clock(ClockFn),
    Instant(usize),
    /// Samples as they are; only at the root.
    Matrix(Source),
    Range {
        function: RangeFn,
        source: Source,
        parameters: Vec<Node>,
        /// Of the range, and of the first other argument.
        places: [Place; 2],
    },
    AbsentOverTime {
        source: Source,
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
    Sort {
        order: Order,
        argument: Box<Node>,
        place: Place,
    },
    Math(MathFn, Box<Node>),
    Map {
        function: MapFn,
        argument: Box<Node>,
        parameters: Vec<Node>,
    },
    /// `min_of`, `max_of`.
    Extreme {
        is_max: bool,
        sides: [Box<Node>; 2],
    },
    Calendar(Calendar, Option<Box<Node>>),
    Histogram {
        function: HistogramFn,
        parameters: Vec<Node>,
        argument: Box<Node>,
        /// Of the first number, and of the buckets.
        places: [Place; 2],
    },
    Relabel {
        relabel: Relabel,
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
        /// Where the groups of a leaf are kept, in [`Plan::groups`].
        cache: usize,
        place: Place,
    },
    /// A part that gives the same at every time of the query.
    Once(usize, Box<Node>),
}

impl Node {
    /// The nodes right below, in the order in which a missing one is told; what ranges are made of is not among them.
    pub(super) fn children(&self) -> Vec<&Node> {
        match self {
            Node::Number(_)
            | Node::Text(_)
            | Node::Time
            | Node::Clock(_)
            | Node::Instant(_)
            | Node::Matrix(_)
            | Node::AbsentOverTime { .. }
            | Node::Calendar(_, None) => Vec::new(),
            Node::Range { parameters, .. } => parameters.iter().collect(),
            Node::Absent { argument, .. }
            | Node::Negate(argument)
            | Node::ToScalar(argument)
            | Node::ToVector(argument)
            | Node::SampleTime(argument)
            | Node::Sort { argument, .. }
            | Node::Math(_, argument)
            | Node::Calendar(_, Some(argument))
            | Node::Relabel { argument, .. }
            | Node::Once(_, argument) => vec![argument],
            Node::Map { argument, parameters, .. } | Node::Histogram { argument, parameters, .. } => {
                std::iter::once(&**argument).chain(parameters).collect()
            }
            Node::Extreme { sides, .. } => sides.iter().map(|side| &**side).collect(),
            Node::Binary { left, right, .. } => vec![left, right],
            Node::Aggregate { parameter, argument, .. } => {
                std::iter::once(&**argument).chain(parameter.as_deref()).collect()
            }
        }
    }
}

/// Bytes of the text.
pub(super) type Place = std::ops::Range<usize>;

/// Where the samples of a range come from.
#[derive(Debug)]
pub(super) enum Source {
    Selector(usize),
    Subquery(Box<Subquery>),
}

#[derive(Debug)]
pub(super) struct Subquery {
    /// Which of the plan's.
    pub(super) index: usize,
    pub(super) inner: Node,
    pub(super) range: Span,
    pub(super) step: Option<Span>,
    pub(super) offset: Span,
    pub(super) at: Option<At>,
    pub(super) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClockFn {
    Start,
    End,
    Step,
    Range,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Rising,
    Falling,
    /// By the values of these labels, then by all labels.
    Labels {
        names: Vec<String>,
        falling: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HistogramFn {
    Quantile,
    Fraction,
}

#[derive(Debug)]
pub(super) enum Relabel {
    Replace { target: String, replacement: String, source: String, pattern: Regex },
    Join { target: String, separator: String, sources: Vec<String> },
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
    /// What stands for an element that is missing on the left, and on the right.
    pub(super) fill: [Option<f64>; 2],
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
    LimitK,
    Quantile,
    /// One group for each value; the value becomes this label.
    CountValues,
}

#[derive(Clone, Debug)]
pub(super) struct Grouping {
    pub(super) without: bool,
    /// Sorted.
    pub(super) labels: Vec<String>,
    /// The label that `count_values` adds.
    pub(super) value_label: Option<String>,
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

    /// What looks like a mistake already in the text, in its order.
    pub fn annotations(&self) -> &[Annotation] {
        &self.annotations
    }

    /// How old a sample can be that takes part, look-back aside: the longest range, with offsets and the subqueries
    /// around. What `@` fixes to a moment does not count.
    pub fn longest_range(&self) -> Span {
        let moving = self.selectors.iter().filter(|used| !matches!(used.reads.at, Some(At::Time(_))));
        moving.map(|used| used.reads.from).max().unwrap_or_default().max(Span::ZERO)
    }

    /// Each selector with how far back samples of it can take part; where `@` fixes it to a moment, as far as can be.
    pub fn reach(&self, look_back: Span) -> Vec<(Selector, Span)> {
        let reach = |used: &SelectorUse| match used.reads.at {
            Some(At::Time(_)) => Span(i64::MAX / 4),
            _ => used.reads.from + used.look_back(look_back),
        };
        self.selectors.iter().map(|used| (used.selector.clone(), reach(used).max(Span::ZERO))).collect()
    }

    /// Each selector with the times after and up to which an evaluation between `start` and `end` reads samples of it.
    pub fn spans(&self, start: Timestamp, end: Timestamp, look_back: Span) -> Vec<(&Selector, Timestamp, Timestamp)> {
        let each = self.selectors.iter().map(|used| {
            let (first, last) = match used.reads.at {
                None => (start, end),
                Some(At::Start) => (start, start),
                Some(At::End) => (end, end),
                Some(At::Time(at)) => (at, at),
            };
            let from = first.0.saturating_sub((used.reads.from + used.look_back(look_back)).0);
            (&used.selector, Timestamp(from), Timestamp(last.0.saturating_sub(used.reads.until.0)))
        });
        each.collect()
    }

    /// The targets whose last look gave one of its series.
    pub fn targets(&self, store: &Store) -> Vec<TargetId> {
        store.targets_of(self.selectors.iter().map(|usage| &usage.selector))
    }

    pub(super) fn series_of(&self, selector: usize, samples: &dyn Samples) -> Arc<[SeriesId]> {
        self.caches[selector].get(samples.generation(), || samples.select(&self.selectors[selector].selector).into())
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
