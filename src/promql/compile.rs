//! From text to a plan.
//!
//! All that can be known beforehand is decided here: constants are folded, patterns compiled, functions found. What the
//! evaluator does not implement is refused here, so that an evaluation never meets it.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use promql_parser::label::{MatchOp, Matchers};
use promql_parser::parser::token::{self, TokenType};
use promql_parser::parser::value::ValueType;
use promql_parser::parser::{
    self, AggregateExpr, BinModifier, BinaryExpr, Call, Expr, LabelModifier, Offset, VectorMatchCardinality,
    VectorSelector,
};

use super::function::{self, MapFn};
use super::plan::{
    Aggregator, Arithmetic, Cache, Comparison, Group, Grouping, Matching, Node, Operator, Plan, Relation, Role,
    SelectorUse,
};
use super::range::RangeFn;
use super::scan::scan;
use crate::base::label::NAME;
use crate::base::{Labels, Span};
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

/// Compiles an expression.
///
/// # Errors
/// A text that is too long, too deep, no PromQL, or not implemented; with its place where it is known.
pub fn compile(text: &str) -> Result<Plan, CompileError> {
    let expr = parse(text)?;
    match expr.value_type() {
        ValueType::Vector | ValueType::Scalar => {}
        ValueType::String => return Err(CompileError::new("the expression is a text, not a value")),
        ValueType::Matrix => {
            let help = "put it into a function of ranges, such as rate(…) or avg_over_time(…)";
            return Err(CompileError::new("the expression is a range of samples, not a value").help(help));
        }
    }
    let mut lowering = Lowering { text, selectors: Vec::new(), depth: 0 };
    let root = lowering.node(&expr, true)?;
    let (root, comparison) = split_comparison(root);
    let selectors = lowering.selectors;
    let caches = selectors.iter().map(|_| Cache::default()).collect();
    Ok(Plan { text: text.to_string(), root, comparison, selectors, caches })
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
    fn at_part(self, text: &str, part: &str) -> CompileError {
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

fn parse(text: &str) -> Result<Expr, CompileError> {
    scan(text)?;
    parser::parse(text).map_err(|message| match message.as_str() {
        "invalid promql query" => CompileError::new("the expression is no PromQL"),
        other => CompileError::new(other),
    })
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

struct Lowering<'a> {
    text: &'a str,
    selectors: Vec<SelectorUse>,
    depth: usize,
}

impl Lowering<'_> {
    /// Evaluation recurses as deep as the plan, so chains count too.
    const MAX_DEPTH: usize = 200;

    /// `required`: whether a selector without series means that there is no data.
    fn node(&mut self, expr: &Expr, required: bool) -> Result<Node, CompileError> {
        self.depth += 1;
        if self.depth > Self::MAX_DEPTH {
            return Err(CompileError::new(format!("the expression is nested deeper than {}", Self::MAX_DEPTH)));
        }
        let node = match expr {
            Expr::Paren(inner) => self.node(&inner.expr, required),
            Expr::NumberLiteral(number) => Ok(Node::Number(number.val)),
            Expr::Unary(unary) => Ok(match self.node(&unary.expr, required)? {
                Node::Number(value) => Node::Number(-value),
                other => Node::Negate(Box::new(other)),
            }),
            Expr::VectorSelector(selector) => Ok(Node::Instant(self.selector(selector, None, required)?)),
            Expr::Call(call) => self.call(call, required),
            Expr::Binary(binary) => self.binary(binary, required),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate, required),
            Expr::StringLiteral(_) => Err(CompileError::new("a text stands where a value is needed")),
            Expr::MatrixSelector(_) => Err(CompileError::new("a range stands where a value is needed")),
            Expr::Subquery(_) => Err(CompileError::new("subqueries are not supported yet")),
            Expr::Extension(_) => Err(CompileError::new("the expression is no PromQL")),
        };
        self.depth -= 1;
        node
    }

    fn boxed(&mut self, expr: &Expr, required: bool) -> Result<Box<Node>, CompileError> {
        self.node(expr, required).map(Box::new)
    }

    fn selector(
        &mut self,
        selector: &VectorSelector,
        range: Option<Duration>,
        required: bool,
    ) -> Result<usize, CompileError> {
        if selector.at.is_some() {
            return Err(CompileError::new("`@` is not supported yet"));
        }
        let lowered = lower_selector(self.text, selector)?;
        let range = range.map(Span::from_std);
        let offset = match &selector.offset {
            None => Span::ZERO,
            Some(Offset::Pos(by)) => Span::from_std(*by),
            Some(Offset::Neg(by)) => -Span::from_std(*by),
        };
        let is_own = lowered.name.as_deref().is_some_and(|n| n.starts_with("ALERTS") || n.starts_with("backstop_"));
        let role = match (is_own, required) {
            (true, _) => Role::Own,
            (false, true) => Role::Required,
            (false, false) => Role::Exempt,
        };
        let mut text = lowered.to_string();
        if let Some(range) = range {
            text.push_str(&format!("[{range}]"));
        }
        if offset != Span::ZERO {
            text.push_str(&format!(" offset {offset}"));
        }
        self.selectors.push(SelectorUse { selector: lowered, range, offset, role, text });
        Ok(self.selectors.len() - 1)
    }

    fn call(&mut self, call: &Call, required: bool) -> Result<Node, CompileError> {
        let name = call.func.name;
        let arguments = &call.args.args;
        if let Some(function) = RangeFn::named(name) {
            return self.range_call(function, call, required);
        }
        if let Some(function) = function::math(name) {
            self.check_vector(call, 0)?;
            return Ok(Node::Math(function, self.boxed(&arguments[0], required)?));
        }
        if let Some(function) = MapFn::named(name) {
            self.check_vector(call, 0)?;
            let argument = self.boxed(&arguments[0], required)?;
            let parameters = arguments[1..].iter().map(|a| self.node(a, required)).collect::<Result<_, _>>()?;
            return Ok(Node::Map { function, argument, parameters });
        }
        match (name, arguments.len()) {
            ("time", _) => Ok(Node::Time),
            ("pi", _) => Ok(Node::Number(std::f64::consts::PI)),
            ("absent", 1) => {
                let labels = absent_labels(&arguments[0]);
                Ok(Node::Absent { argument: self.boxed(&arguments[0], false)?, labels })
            }
            ("absent_over_time", 1) => {
                let labels = absent_labels(&arguments[0]);
                Ok(Node::AbsentOverTime { selector: self.matrix(call, 0, false)?, labels })
            }
            ("scalar", 1) => Ok(Node::ToScalar(self.boxed(&arguments[0], required)?)),
            ("vector", 1) => Ok(Node::ToVector(self.boxed(&arguments[0], required)?)),
            ("timestamp", 1) => Ok(Node::SampleTime(self.boxed(&arguments[0], required)?)),
            ("sort" | "sort_desc", 1) => Ok(Node::Same(self.boxed(&arguments[0], required)?)),
            ("histogram_quantile", 2) => {
                let quantile = self.boxed(&arguments[0], required)?;
                Ok(Node::HistogramQuantile { quantile, argument: self.boxed(&arguments[1], required)? })
            }
            _ => Err(CompileError::new(format!("`{name}` is not supported yet")).at_part(self.text, name)),
        }
    }

    /// The parser lets some numbers pass where a vector must stand.
    fn check_vector(&self, call: &Call, i: usize) -> Result<(), CompileError> {
        if call.args.args.get(i).is_some_and(|argument| argument.value_type() == ValueType::Vector) {
            return Ok(());
        }
        let name = call.func.name;
        let error = CompileError::new(format!("`{name}` takes a vector")).at_part(self.text, name);
        Err(error.help("vector(…) makes one of a number"))
    }

    fn range_call(&mut self, function: RangeFn, call: &Call, required: bool) -> Result<Node, CompileError> {
        let i = function.range_argument();
        let selector = self.matrix(call, i, required)?;
        let others = call.args.args.iter().enumerate().filter(|(other, _)| *other != i);
        let parameters = others.map(|(_, argument)| self.node(argument, required)).collect::<Result<_, _>>()?;
        Ok(Node::Range { function, selector, parameters })
    }

    fn matrix(&mut self, call: &Call, i: usize, required: bool) -> Result<usize, CompileError> {
        let mut argument = call.args.args.get(i).map(|argument| &**argument);
        while let Some(Expr::Paren(inner)) = argument {
            argument = Some(&inner.expr);
        }
        match argument {
            Some(Expr::MatrixSelector(matrix)) if matrix.range.is_zero() => {
                Err(CompileError::new("a range is longer than zero").at_part(self.text, "["))
            }
            Some(Expr::MatrixSelector(matrix)) => self.selector(&matrix.vs, Some(matrix.range), required),
            Some(Expr::Subquery(_)) => Err(CompileError::new("subqueries are not supported yet")),
            _ => Err(CompileError::new(format!("`{}` takes a range", call.func.name))),
        }
    }

    fn binary(&mut self, binary: &BinaryExpr, required: bool) -> Result<Node, CompileError> {
        let default = BinModifier::default();
        let modifier = binary.modifier.as_ref().unwrap_or(&default);
        if modifier.fill_values.lhs.is_some() || modifier.fill_values.rhs.is_some() {
            return Err(CompileError::new("`fill` is not supported yet").at_part(self.text, "fill"));
        }
        let operator = lower_operator(binary.op, modifier.return_bool)?;
        let left = self.node(&binary.lhs, required)?;
        let right = self.node(&binary.rhs, required && operator != Operator::Unless)?;
        if let (Node::Number(a), Node::Number(b)) = (&left, &right)
            && let Some(value) = operator.of(*a, *b)
        {
            return Ok(Node::Number(value));
        }
        let matching = lower_matching(modifier);
        Ok(Node::Binary { operator, left: Box::new(left), right: Box::new(right), matching })
    }

    fn aggregate(&mut self, aggregate: &AggregateExpr, required: bool) -> Result<Node, CompileError> {
        let aggregator = match aggregate.op.id() {
            token::T_SUM => Aggregator::Sum,
            token::T_AVG => Aggregator::Avg,
            token::T_MIN => Aggregator::Min,
            token::T_MAX => Aggregator::Max,
            token::T_COUNT => Aggregator::Count,
            token::T_GROUP => Aggregator::Group,
            token::T_STDDEV => Aggregator::Stddev,
            token::T_STDVAR => Aggregator::Stdvar,
            token::T_TOPK => Aggregator::TopK,
            token::T_BOTTOMK => Aggregator::BottomK,
            token::T_QUANTILE => Aggregator::Quantile,
            _ => {
                let name = aggregate.op.to_string();
                return Err(CompileError::new(format!("`{name}` is not supported yet")).at_part(self.text, &name));
            }
        };
        let parameter = match &aggregate.param {
            Some(parameter) => Some(self.boxed(parameter, required)?),
            None => None,
        };
        let grouping = match &aggregate.modifier {
            None => Grouping { without: false, labels: Vec::new() },
            Some(modifier) => Grouping { without: !modifier.is_include(), labels: sorted(&modifier.labels().labels) },
        };
        Ok(Node::Aggregate { aggregator, parameter, grouping, argument: self.boxed(&aggregate.expr, required)? })
    }
}

fn lower_operator(op: TokenType, return_bool: bool) -> Result<Operator, CompileError> {
    let comparison = |relation| if return_bool { Operator::Bool(relation) } else { Operator::Filter(relation) };
    Ok(match op.id() {
        token::T_ADD => Operator::Arithmetic(Arithmetic::Add),
        token::T_SUB => Operator::Arithmetic(Arithmetic::Subtract),
        token::T_MUL => Operator::Arithmetic(Arithmetic::Multiply),
        token::T_DIV => Operator::Arithmetic(Arithmetic::Divide),
        token::T_MOD => Operator::Arithmetic(Arithmetic::Modulo),
        token::T_POW => Operator::Arithmetic(Arithmetic::Power),
        token::T_ATAN2 => Operator::Arithmetic(Arithmetic::Atan2),
        token::T_EQLC => comparison(Relation::Equal),
        token::T_NEQ => comparison(Relation::NotEqual),
        token::T_LSS => comparison(Relation::Less),
        token::T_LTE => comparison(Relation::AtMost),
        token::T_GTR => comparison(Relation::Greater),
        token::T_GTE => comparison(Relation::AtLeast),
        token::T_LAND => Operator::And,
        token::T_LOR => Operator::Or,
        token::T_LUNLESS => Operator::Unless,
        _ => return Err(CompileError::new(format!("the operator `{op}` is not supported yet"))),
    })
}

fn lower_matching(modifier: &BinModifier) -> Matching {
    let group = match &modifier.card {
        VectorMatchCardinality::ManyToOne(include) => Group::Left(include.labels.clone()),
        VectorMatchCardinality::OneToMany(include) => Group::Right(include.labels.clone()),
        VectorMatchCardinality::OneToOne | VectorMatchCardinality::ManyToMany => Group::OneToOne,
    };
    let labels = modifier.matching.as_ref().map_or_else(Vec::new, |matching| sorted(&matching.labels().labels));
    Matching { on: matches!(modifier.matching, Some(LabelModifier::Include(_))), labels, group }
}

fn sorted(labels: &[String]) -> Vec<String> {
    let mut labels = labels.to_vec();
    labels.sort();
    labels.dedup();
    labels
}

fn lower_selector(text: &str, selector: &VectorSelector) -> Result<Selector, CompileError> {
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

/// `absent` answers with the labels that its selector states by equality, each stated once.
fn absent_labels(argument: &Expr) -> Labels {
    let matchers = match argument {
        Expr::Paren(inner) => return absent_labels(&inner.expr),
        Expr::VectorSelector(selector) => &selector.matchers.matchers,
        Expr::MatrixSelector(matrix) => &matrix.vs.matchers.matchers,
        _ => return Labels::empty(),
    };
    let once = |name: &str| matchers.iter().filter(|matcher| matcher.name == name).count() == 1;
    let stated = matchers.iter().filter(|m| matches!(m.op, MatchOp::Equal) && m.name != NAME && once(&m.name));
    Labels::new(stated.map(|matcher| (matcher.name.as_str(), matcher.value.as_str())))
}
