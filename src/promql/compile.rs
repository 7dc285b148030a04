//! From text to a plan.
//!
//! All that can be known beforehand is decided here: constants are folded, patterns compiled, functions found. What the
//! evaluator does not implement is refused here, so that an evaluation never meets it.

use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use promql_parser::label::{MatchOp, Matchers};
use promql_parser::parser::value::ValueType;
use promql_parser::parser::{self, Expr, VectorSelector};

use super::cache::Cache;
use super::lower::{Lowered, Lowering};
use super::place::places;
use super::plan::{Comparison, Node, Operator, Plan};
use super::scan::scan;
use crate::base::label::NAME;
use crate::store::{Matcher, Selector};

/// Why a text is no expression that can be evaluated here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    /// What is wrong, as a fragment.
    pub message: String,
    /// The bytes of the text that are wrong, where they are known.
    pub at: Option<Range<usize>>,
    /// What to write under them.
    pub label: Option<String>,
    /// What to do.
    pub help: Option<String>,
}

/// Compiles the expression of a rule: its value is a number or a vector.
///
/// # Errors
/// A text that is too long, too deep, no PromQL, or not implemented; with its place where it is known.
pub fn compile(text: &str) -> Result<Plan, CompileError> {
    let expr = parse(text)?;
    match expr.value_type() {
        ValueType::Vector | ValueType::Scalar => plan(text, &expr),
        ValueType::String => Err(CompileError::new("the expression is a text, not a value")),
        ValueType::Matrix => {
            let help = "put it into a function of ranges, such as rate(…) or avg_over_time(…)";
            Err(CompileError::new("the expression is a range of samples, not a value").help(help))
        }
    }
}

/// Compiles an expression of any type, for [`super::query`].
///
/// # Errors
/// As [`compile`].
pub fn compile_query(text: &str) -> Result<Plan, CompileError> {
    plan(text, &parse(text)?)
}

fn plan(text: &str, expr: &Expr) -> Result<Plan, CompileError> {
    let mut lowering = Lowering::new(text, expr);
    let Lowered { node, .. } = lowering.root(expr)?;
    let (root, comparison) = split_comparison(node);
    let caches = lowering.selectors.iter().map(|_| Cache::default()).collect();
    let groups = (0..lowering.n_groups).map(|_| Cache::default()).collect();
    lowering.annotations.sort_by_key(|annotation| annotation.at.start);
    Ok(Plan {
        text: text.to_string(),
        root,
        comparison,
        selectors: lowering.selectors,
        annotations: lowering.annotations,
        caches,
        groups,
        n_once: lowering.n_once,
        n_subqueries: lowering.n_subqueries,
    })
}

/// Compiles a selector alone, as the keys `errors` and `total` of a rule take it.
///
/// # Errors
/// As [`compile`], and for anything but an instant selector without offset.
pub fn compile_selector(text: &str) -> Result<Selector, CompileError> {
    let mut expr = parse(text)?;
    while let Expr::Paren(inner) = expr {
        expr = *inner.expr;
    }
    match expr {
        Expr::VectorSelector(selector) if selector.offset.is_none() && selector.at.is_none() => {
            lower_selector(text, &selector)
        }
        _ => Err(CompileError::new("a selector of series is needed here, no expression")
            .help("like 'http_requests_total{status=~\"5..\"}': events are counted from the series themselves")),
    }
}

impl CompileError {
    pub(super) fn new(message: impl Into<String>) -> CompileError {
        CompileError { message: message.into(), at: None, label: None, help: None }
    }

    pub(super) fn at(mut self, at: Range<usize>) -> CompileError {
        self.at = Some(at);
        self
    }

    pub(super) fn label(mut self, label: impl Into<String>) -> CompileError {
        self.label = Some(label.into());
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> CompileError {
        self.help = Some(help.into());
        self
    }

    /// At the first place where `part` stands in the text.
    pub(super) fn at_part(self, text: &str, part: &str) -> CompileError {
        match text.find(part) {
            Some(start) if !part.is_empty() => self.at(start..start + part.len()),
            _ => self,
        }
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CompileError {}

pub(super) fn parse(text: &str) -> Result<Expr, CompileError> {
    scan(text)?;
    // The parser panics on some durations; the scan refuses those that are known, and this the rest.
    let parsed = catch_unwind(AssertUnwindSafe(|| parser::parse(text)))
        .unwrap_or_else(|_| Err("the expression holds a number that is out of range".into()));
    parsed.map_err(|message| match message.as_str() {
        "invalid promql query" => no_promql(text),
        other => place_of(other, text),
    })
}

/// The parser only says that a text is none; where it goes wrong is found by its tokens.
fn no_promql(text: &str) -> CompileError {
    let error = CompileError::new("the expression is no PromQL");
    match places(text).wrong {
        Some(at) if at.is_empty() => {
            let start = text[..at.start].char_indices().next_back().map_or(0, |(start, _)| start);
            error.at(start..at.start).label("something is missing after this")
        }
        Some(at) => error.at(at).label("this cannot stand here"),
        None => error,
    }
}

/// Some messages of the parser name a function: its place is that of its name.
fn place_of(message: &str, text: &str) -> CompileError {
    let error = CompileError::new(message);
    let named =
        message.split(['\'', '"']).nth(1).filter(|_| message.contains("call to") || message.contains("function"));
    match named {
        Some(name) => error.at_part(text, name),
        None => error,
    }
}

/// A filter at the root against a constant is the condition; what it is asked of is the value.
fn split_comparison(root: Node) -> (Node, Option<Comparison>) {
    let Node::Binary { operator: Operator::Filter(relation), left, right, matching } = root else {
        return (root, None);
    };
    match (*left, *right) {
        (value, Node::Number(with)) => (value, Some(Comparison { relation, with })),
        (Node::Number(with), value) => (value, Some(Comparison { relation: relation.flipped(), with })),
        (left, right) => {
            let (left, right) = (Box::new(left), Box::new(right));
            (Node::Binary { operator: Operator::Filter(relation), left, right, matching }, None)
        }
    }
}

pub(super) fn lower_selector(text: &str, selector: &VectorSelector) -> Result<Selector, CompileError> {
    let Matchers { matchers, or_matchers } = &selector.matchers;
    if !or_matchers.is_empty() {
        return Err(CompileError::new("`or` between label conditions is no PromQL")
            .help("use a pattern (status=~\"5..|429\"), or the operator `or` between two selectors"));
    }
    let mut lowered = Selector { name: selector.name.as_deref().map(Into::into), matchers: Vec::new() };
    for matcher in matchers {
        let (name, value) = (&matcher.name, &matcher.value);
        let made = match &matcher.op {
            MatchOp::Equal if name == NAME && !value.is_empty() && lowered.name.is_none() => {
                lowered.name = Some(value.as_str().into());
                continue;
            }
            MatchOp::Equal => Ok(Matcher::equal(name, value)),
            MatchOp::NotEqual => Ok(Matcher::not_equal(name, value)),
            MatchOp::Re(_) => Matcher::regex(name, value),
            MatchOp::NotRe(_) => Matcher::not_regex(name, value),
        };
        let bad = |error: crate::store::BadRegex| {
            CompileError::new(format!("`{value}` is no pattern: {}", error.0)).at_part(text, value)
        };
        lowered.matchers.push(made.map_err(bad)?);
    }
    Ok(lowered)
}
