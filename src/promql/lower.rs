//! From the parser's tree to the nodes of a plan.
//!
//! The tree is walked in the order of the text, so that the calls and selectors found there give their places.

use std::time::{Duration, SystemTime};

use promql_parser::label::MatchOp;
use promql_parser::parser::token::{self, TokenType};
use promql_parser::parser::value::ValueType;
use promql_parser::parser::{
    AggregateExpr, AtModifier, BinModifier, BinaryExpr, Call, Expr, LabelModifier, Offset, SubqueryExpr,
    VectorMatchCardinality, VectorSelector,
};
use regex::{Regex, RegexBuilder};

use super::annotation::{Annotation, Finding, is_counter_name};
use super::calendar::Calendar;
use super::compile::{CompileError, lower_selector};
use super::function::{self, MapFn};
use super::place::{CallPlace, Places, places};
use super::plan::{
    Aggregator, Arithmetic, At, ClockFn, Group, Grouping, HistogramFn, Matching, Node, Operator, Order, Place, Reads,
    Relabel, Relation, Role, SelectorUse, Source, Subquery,
};
use super::range::RangeFn;
use crate::base::label::NAME;
use crate::base::{Labels, Span, Timestamp};

/// A node, and whether it gives the same at every time of a query.
pub(super) struct Lowered {
    pub(super) node: Node,
    fixed: bool,
}

pub(super) struct Lowering<'a> {
    text: &'a str,
    /// Empty where they do not fit the tree.
    places: Places,
    n_calls: usize,
    pub(super) selectors: Vec<SelectorUse>,
    pub(super) annotations: Vec<Annotation>,
    pub(super) n_groups: usize,
    pub(super) n_once: usize,
    pub(super) n_subqueries: usize,
    depth: usize,
    /// How far back the subqueries around go, and whether one of them is fixed by `@`.
    reads: Reads,
}

type Result<T> = std::result::Result<T, CompileError>;

impl<'a> Lowering<'a> {
    /// Evaluation recurses as deep as the plan, so chains count too.
    const MAX_DEPTH: usize = 200;

    pub(super) fn new(text: &'a str, expr: &Expr) -> Lowering<'a> {
        let mut places = places(text);
        let mut counts = (0, 0);
        count(expr, &mut counts);
        if (places.calls.len(), places.selectors.len()) != counts {
            places = Places::default();
        }
        Lowering {
            text,
            places,
            n_calls: 0,
            selectors: Vec::new(),
            annotations: Vec::new(),
            n_groups: 0,
            n_once: 0,
            n_subqueries: 0,
            depth: 0,
            reads: Reads::default(),
        }
    }

    pub(super) fn root(&mut self, expr: &Expr) -> Result<Lowered> {
        let mut bare = expr;
        while let Expr::Paren(inner) = bare {
            bare = &inner.expr;
        }
        match bare {
            Expr::StringLiteral(text) => Ok(fixed(Node::Text(text.val.clone()))),
            Expr::MatrixSelector(_) | Expr::Subquery(_) => {
                let (source, _) = self.source(bare, "the query", true)?;
                Ok(Lowered { node: Node::Matrix(source), fixed: false })
            }
            _ => self.node(expr, true),
        }
    }

    /// `required`: whether a selector without series means that there is no data.
    fn node(&mut self, expr: &Expr, required: bool) -> Result<Lowered> {
        self.depth += 1;
        if self.depth > Self::MAX_DEPTH {
            return Err(CompileError::new(format!("the expression is nested deeper than {}", Self::MAX_DEPTH)));
        }
        let lowered = match expr {
            Expr::Paren(inner) => self.node(&inner.expr, required),
            Expr::NumberLiteral(number) => Ok(fixed(Node::Number(number.val))),
            Expr::Unary(unary) => self.node(&unary.expr, required).map(|lowered| Lowered {
                node: match lowered.node {
                    Node::Number(value) => Node::Number(-value),
                    other => Node::Negate(Box::new(other)),
                },
                ..lowered
            }),
            Expr::VectorSelector(selector) => {
                let index = self.selector(selector, None, required)?;
                Ok(Lowered { node: Node::Instant(index), fixed: self.selectors[index].at.is_some() })
            }
            Expr::Call(call) => self.call(call, required),
            Expr::Binary(binary) => self.binary(binary, required),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate, required),
            Expr::StringLiteral(_) => Err(CompileError::new("a text stands where a value is needed")),
            Expr::MatrixSelector(_) | Expr::Subquery(_) => {
                Err(CompileError::new("a range stands where a value is needed"))
            }
            Expr::Extension(_) => Err(CompileError::new("the expression is no PromQL")),
        };
        self.depth -= 1;
        lowered
    }

    /// The parts of a node that is fixed when all of them are: else those that are fixed are kept for all times.
    fn settled<const N: usize>(&mut self, parts: [Lowered; N]) -> ([Node; N], bool) {
        let all = parts.iter().all(|part| part.fixed);
        (parts.map(|part| if all { part.node } else { self.kept(part) }), all)
    }

    fn kept(&mut self, part: Lowered) -> Node {
        if !part.fixed || matches!(part.node, Node::Number(_) | Node::Text(_) | Node::Clock(_)) {
            return part.node;
        }
        self.n_once += 1;
        Node::Once(self.n_once - 1, Box::new(part.node))
    }

    /// Of numbers that stand beside an argument.
    fn settled_all(&mut self, argument: Lowered, numbers: Vec<Lowered>) -> (Node, Vec<Node>, bool) {
        let all = argument.fixed && numbers.iter().all(|number| number.fixed);
        let numbers = numbers.into_iter().map(|part| if all { part.node } else { self.kept(part) }).collect();
        let argument = if all { argument.node } else { self.kept(argument) };
        (argument, numbers, all)
    }

    fn selector(&mut self, selector: &VectorSelector, range: Option<Duration>, required: bool) -> Result<usize> {
        let lowered = lower_selector(self.text, selector)?;
        let range = range.map(Span::from_std);
        let (offset, at) = (lower_offset(selector.offset.as_ref()), lower_at(selector.at.as_ref()));
        let is_own = lowered.name.as_deref().is_some_and(is_of_the_engine);
        let role = match (is_own, required) {
            (true, _) => Role::Own,
            (false, true) => Role::Required,
            (false, false) => Role::Exempt,
        };
        let mut text = lowered.to_string();
        if let Some(range) = range {
            text.push_str(&format!("[{range}]"));
        }
        text.push_str(&modifiers(at, offset));
        let reads = self.reads.within(at, range.unwrap_or_default(), offset);
        self.selectors.push(SelectorUse { selector: lowered, range, offset, at, reads, role, text });
        Ok(self.selectors.len() - 1)
    }

    /// A range of samples, and whether it is fixed.
    fn source(&mut self, expr: &Expr, of: &str, required: bool) -> Result<(Source, bool)> {
        let mut argument = expr;
        while let Expr::Paren(inner) = argument {
            argument = &inner.expr;
        }
        match argument {
            Expr::MatrixSelector(matrix) if matrix.range.is_zero() => {
                Err(CompileError::new("a range is longer than zero").at_part(self.text, "["))
            }
            Expr::MatrixSelector(matrix) => {
                let index = self.selector(&matrix.vs, Some(matrix.range), required)?;
                Ok((Source::Selector(index), self.selectors[index].at.is_some()))
            }
            Expr::Subquery(subquery) => self.subquery(subquery, required),
            _ => Err(CompileError::new(format!("`{of}` takes a range"))),
        }
    }

    fn subquery(&mut self, subquery: &SubqueryExpr, required: bool) -> Result<(Source, bool)> {
        let range = Span::from_std(subquery.range);
        if range <= Span::ZERO {
            return Err(CompileError::new("a range is longer than zero").at_part(self.text, "["));
        }
        if subquery.step.is_some_and(|step| step.is_zero()) {
            return Err(CompileError::new("the step of a subquery is longer than zero").at_part(self.text, ":"));
        }
        let (offset, at) = (lower_offset(subquery.offset.as_ref()), lower_at(subquery.at.as_ref()));
        let outer = self.reads;
        self.reads = outer.within(at, range, offset);
        let inner = self.node(&subquery.expr, required);
        self.reads = outer;
        let inner = inner?;
        let step = subquery.step.map(Span::from_std);
        let step_text = step.map(|step| step.to_string()).unwrap_or_default();
        let text = format!("({})[{range}:{step_text}]{}", short(&subquery.expr), modifiers(at, offset));
        self.n_subqueries += 1;
        let index = self.n_subqueries - 1;
        let inner = self.kept(inner);
        let subquery = Subquery { index, inner, range, step, offset, at, text };
        Ok((Source::Subquery(Box::new(subquery)), at.is_some()))
    }

    /// The place of the next call; the whole text where it is not known.
    fn call_place(&mut self) -> CallPlace {
        let whole = 0..self.text.len();
        let place = self.places.calls.get(self.n_calls).cloned();
        self.n_calls += 1;
        place.unwrap_or(CallPlace { whole, arguments: Vec::new() })
    }

    fn call(&mut self, call: &Call, required: bool) -> Result<Lowered> {
        let (name, place) = (call.func.name, self.call_place());
        let arguments: Vec<&Expr> = call.args.args.iter().map(|argument| &**argument).collect();
        if let Some(function) = RangeFn::named(name) {
            return self.range_call(function, name, &arguments, &place, required);
        }
        if let Some(function) = function::math(name) {
            let argument = self.vector_argument(name, &arguments, 0, &place, required)?;
            return Ok(argument.into(|argument| Node::Math(function, argument)));
        }
        if let Some(function) = MapFn::named(name) {
            let argument = self.vector_argument(name, &arguments, 0, &place, required)?;
            let mut numbers = self.numbers(&arguments[1..], required)?;
            if numbers.is_empty() {
                numbers.push(fixed(Node::Number(1.0)));
            }
            let (argument, parameters, is_fixed) = self.settled_all(argument, numbers);
            return Ok(Lowered {
                node: Node::Map { function, argument: Box::new(argument), parameters },
                fixed: is_fixed,
            });
        }
        if let Some(part) = Calendar::named(name) {
            return match arguments.first() {
                None => Ok(Lowered { node: Node::Calendar(part, None), fixed: false }),
                Some(_) => {
                    let argument = self.vector_argument(name, &arguments, 0, &place, required)?;
                    Ok(argument.into(|argument| Node::Calendar(part, Some(argument))))
                }
            };
        }
        self.other_call(name, &arguments, &place, required)
    }

    fn other_call(&mut self, name: &str, arguments: &[&Expr], place: &CallPlace, required: bool) -> Result<Lowered> {
        match (name, arguments) {
            ("time", _) => Ok(Lowered { node: Node::Time, fixed: false }),
            ("pi", _) => Ok(fixed(Node::Number(std::f64::consts::PI))),
            ("start", []) => Ok(fixed(Node::Clock(ClockFn::Start))),
            ("end", []) => Ok(fixed(Node::Clock(ClockFn::End))),
            ("step", []) => Ok(fixed(Node::Clock(ClockFn::Step))),
            ("range", []) => Ok(fixed(Node::Clock(ClockFn::Range))),
            ("min_of" | "max_of", [a, b]) => {
                let parts = [self.node(a, required)?, self.node(b, required)?];
                let (sides, is_fixed) = self.settled(parts);
                let node = Node::Extreme { is_max: name == "max_of", sides: sides.map(Box::new) };
                Ok(Lowered { node, fixed: is_fixed })
            }
            ("absent", [_]) => {
                let labels = absent_labels(arguments[0]);
                let argument = self.vector_argument(name, arguments, 0, place, false)?;
                Ok(argument.into(|argument| Node::Absent { argument, labels }))
            }
            ("absent_over_time", [range]) => {
                let labels = absent_labels(range);
                let (source, is_fixed) = self.source(range, name, false)?;
                Ok(Lowered { node: Node::AbsentOverTime { source, labels }, fixed: is_fixed })
            }
            ("scalar", [_]) => Ok(self.vector_argument(name, arguments, 0, place, required)?.into(Node::ToScalar)),
            ("vector", [number]) => Ok(self.node(number, required)?.into(Node::ToVector)),
            ("timestamp", [_]) => {
                let argument = self.vector_argument(name, arguments, 0, place, required)?;
                // Of anything but a selector it is the time of evaluation.
                let is_fixed = argument.fixed && matches!(argument.node, Node::Instant(_));
                let inner = if is_fixed { argument.node } else { self.kept(argument) };
                Ok(Lowered { node: Node::SampleTime(Box::new(inner)), fixed: is_fixed })
            }
            ("sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc", [_, labels @ ..]) => {
                let falling = name.ends_with("_desc");
                let order = match (name.contains("label"), falling) {
                    (true, _) => Order::Labels { names: texts(labels)?, falling },
                    (false, false) => Order::Rising,
                    (false, true) => Order::Falling,
                };
                let argument = self.vector_argument(name, arguments, 0, place, required)?;
                let place = place.whole.clone();
                Ok(argument.into(|argument| Node::Sort { order, argument, place }))
            }
            ("histogram_quantile", [_, _]) => {
                self.histogram_call(HistogramFn::Quantile, name, arguments, place, required)
            }
            ("histogram_fraction", [_, _, _]) => {
                self.histogram_call(HistogramFn::Fraction, name, arguments, place, required)
            }
            ("label_replace" | "label_join", [_, labels @ ..]) => {
                let argument = self.vector_argument(name, arguments, 0, place, required)?;
                let relabel = self.relabel(name, &texts(labels)?, place)?;
                Ok(argument.into(|argument| Node::Relabel { relabel, argument }))
            }
            _ => Err(CompileError::new(format!("`{name}` is not supported yet")).at_part(self.text, name)),
        }
    }

    fn numbers(&mut self, arguments: &[&Expr], required: bool) -> Result<Vec<Lowered>> {
        arguments.iter().map(|argument| self.node(argument, required)).collect()
    }

    /// The parser lets some numbers pass where a vector must stand.
    fn vector_argument(
        &mut self,
        name: &str,
        arguments: &[&Expr],
        i: usize,
        place: &CallPlace,
        required: bool,
    ) -> Result<Lowered> {
        match arguments.get(i) {
            Some(argument) if argument.value_type() == ValueType::Vector => self.node(argument, required),
            _ => {
                let start = place.whole.start;
                let at =
                    if self.text[start..].starts_with(name) { start..start + name.len() } else { place.whole.clone() };
                let error = CompileError::new(format!("`{name}` takes a vector")).at(at);
                Err(error.help("vector(…) makes one of a number"))
            }
        }
    }

    fn histogram_call(
        &mut self,
        function: HistogramFn,
        name: &str,
        arguments: &[&Expr],
        place: &CallPlace,
        required: bool,
    ) -> Result<Lowered> {
        let last = arguments.len() - 1;
        let numbers = self.numbers(&arguments[..last], required)?;
        let argument = self.vector_argument(name, arguments, last, place, required)?;
        let places = [self.argument(place, 0), self.argument(place, last)];
        if function == HistogramFn::Quantile {
            self.check_quantile(&numbers[0].node, &places[0]);
        }
        if lacks_bound(&argument.node) {
            self.annotations.push(Annotation::new(Finding::BadBucketBound(String::new()), places[1].clone()));
        }
        let (argument, parameters, is_fixed) = self.settled_all(argument, numbers);
        let argument = Box::new(argument);
        Ok(Lowered { node: Node::Histogram { function, parameters, argument, places }, fixed: is_fixed })
    }

    fn check_quantile(&mut self, q: &Node, at: &Place) {
        if let Node::Number(q) = q
            && !(0.0..=1.0).contains(q)
        {
            self.annotations.push(Annotation::new(Finding::QuantileOutOfRange(*q), at.clone()));
        }
    }

    fn argument(&self, place: &CallPlace, i: usize) -> Place {
        place.arguments.get(i).cloned().unwrap_or(place.whole.clone())
    }

    fn range_call(
        &mut self,
        function: RangeFn,
        name: &str,
        arguments: &[&Expr],
        place: &CallPlace,
        required: bool,
    ) -> Result<Lowered> {
        let range = function.range_argument();
        let (mut source, mut numbers) = (None, Vec::new());
        for (i, argument) in arguments.iter().enumerate() {
            if i == range {
                source = Some(self.source(argument, name, required)?);
            } else {
                numbers.push(self.node(argument, required)?);
            }
        }
        let Some((source, source_fixed)) = source else {
            return Err(CompileError::new(format!("`{name}` takes a range")).at(place.whole.clone()));
        };
        let other = usize::from(range == 0);
        let places = [self.argument(place, range), self.argument(place, other)];
        if function == RangeFn::Quantile
            && let Some(q) = numbers.first()
        {
            self.check_quantile(&q.node, &places[1]);
        }
        self.check_counter(function, &source, &places[0]);
        let all = source_fixed && !function.needs_now() && numbers.iter().all(|number| number.fixed);
        let parameters = numbers.into_iter().map(|part| if all { part.node } else { self.kept(part) }).collect();
        Ok(Lowered { node: Node::Range { function, source, parameters, places }, fixed: all })
    }

    fn check_counter(&mut self, function: RangeFn, source: &Source, at: &Place) {
        let rates = matches!(function, RangeFn::Rate | RangeFn::Increase | RangeFn::Irate | RangeFn::Resets);
        if rates
            && let Source::Selector(selector) = source
            && let Some(name) = &self.selectors[*selector].selector.name
            && !is_counter_name(name)
        {
            let finding = Finding::NoCounterName(name.to_string());
            self.annotations.push(Annotation::new(finding, at.clone()));
        }
    }

    fn relabel(&self, name: &str, labels: &[String], place: &CallPlace) -> Result<Relabel> {
        let label = |i: usize, what: &str| match labels.get(i) {
            Some(label) if is_label_name(label, self.text) => Ok(label.clone()),
            other => {
                let label = other.map(String::as_str).unwrap_or_default();
                let error = CompileError::new(format!("{label:?} is no name of a label"));
                Err(error.at(self.argument(place, i + 1)).label(what))
            }
        };
        let target = label(0, "the label to write")?;
        if name == "label_join" {
            let sources = (2..labels.len()).map(|i| label(i, "a label to join")).collect::<Result<_>>()?;
            let separator = labels.get(1).cloned().unwrap_or_default();
            return Ok(Relabel::Join { target, separator, sources });
        }
        let [_, replacement, source, pattern] = labels else {
            return Err(CompileError::new("`label_replace` takes a vector and four texts").at(place.whole.clone()));
        };
        let pattern = anchored(pattern).map_err(|why| {
            CompileError::new(format!("{pattern:?} is no pattern: {why}")).at(self.argument(place, 4))
        })?;
        let replacement = replacement.clone();
        Ok(Relabel::Replace { target, replacement, source: source.clone(), pattern })
    }

    fn binary(&mut self, binary: &BinaryExpr, required: bool) -> Result<Lowered> {
        let default = BinModifier::default();
        let modifier = binary.modifier.as_ref().unwrap_or(&default);
        let operator = lower_operator(binary.op, modifier.return_bool)?;
        let left = self.node(&binary.lhs, required)?;
        let right = self.node(&binary.rhs, required && operator != Operator::Unless)?;
        if let (Node::Number(a), Node::Number(b)) = (&left.node, &right.node)
            && let Some(value) = operator.of(*a, *b)
        {
            return Ok(fixed(Node::Number(value)));
        }
        let matching = lower_matching(modifier);
        let ([left, right], is_fixed) = self.settled([left, right]);
        let (left, right) = (Box::new(left), Box::new(right));
        Ok(Lowered { node: Node::Binary { operator, left, right, matching }, fixed: is_fixed })
    }

    fn aggregate(&mut self, aggregate: &AggregateExpr, required: bool) -> Result<Lowered> {
        let call = self.call_place();
        let aggregator = lower_aggregator(aggregate.op).ok_or_else(|| {
            let name = aggregate.op.to_string();
            CompileError::new(format!("`{name}` is not supported yet")).at_part(self.text, &name)
        })?;
        let place = self.argument(&call, 0);
        let (mut parameter, mut value_label) = (None, None);
        match &aggregate.param {
            Some(label) if aggregator == Aggregator::CountValues => {
                let label = text(label)?;
                if !is_label_name(&label, self.text) {
                    return Err(CompileError::new(format!("{label:?} is no name of a label")).at(place));
                }
                value_label = Some(label);
            }
            Some(number) => parameter = Some(self.node(number, required)?),
            None => {}
        }
        if let (Aggregator::Quantile, Some(q)) = (aggregator, &parameter) {
            self.check_quantile(&q.node, &place);
        }
        let (without, labels) = match &aggregate.modifier {
            None => (false, Vec::new()),
            Some(modifier) => (!modifier.is_include(), sorted(&modifier.labels().labels)),
        };
        let grouping = Grouping { without, labels, value_label };
        let argument = self.node(&aggregate.expr, required)?;
        let (argument, mut parameters, is_fixed) = self.settled_all(argument, parameter.into_iter().collect());
        self.n_groups += 1;
        let node = Node::Aggregate {
            aggregator,
            parameter: parameters.pop().map(Box::new),
            grouping,
            argument: Box::new(argument),
            cache: self.n_groups - 1,
            place,
        };
        Ok(Lowered { node, fixed: is_fixed })
    }
}

impl Lowered {
    /// The node around this one, which depends on nothing else.
    fn into(self, around: impl FnOnce(Box<Node>) -> Node) -> Lowered {
        Lowered { node: around(Box::new(self.node)), fixed: self.fixed }
    }
}

fn fixed(node: Node) -> Lowered {
    Lowered { node, fixed: true }
}

/// How many calls and selectors a tree has.
fn count(expr: &Expr, counts: &mut (usize, usize)) {
    match expr {
        Expr::Paren(inner) => count(&inner.expr, counts),
        Expr::Unary(unary) => count(&unary.expr, counts),
        Expr::Binary(binary) => {
            count(&binary.lhs, counts);
            count(&binary.rhs, counts);
        }
        Expr::Call(call) => {
            counts.0 += 1;
            call.args.args.iter().for_each(|argument| count(argument, counts));
        }
        Expr::Aggregate(aggregate) => {
            counts.0 += 1;
            if let Some(parameter) = &aggregate.param {
                count(parameter, counts);
            }
            count(&aggregate.expr, counts);
        }
        Expr::Subquery(subquery) => count(&subquery.expr, counts),
        Expr::VectorSelector(_) | Expr::MatrixSelector(_) => counts.1 += 1,
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
    }
}

/// An expression as the parser prints it, cut where it is long.
fn short(expr: &Expr) -> String {
    const LONGEST: usize = 80;
    let mut bare = expr;
    while let Expr::Paren(inner) = bare {
        bare = &inner.expr;
    }
    let written = bare.to_string();
    match written.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &written[..end]),
        None => written,
    }
}

fn modifiers(at: Option<At>, offset: Span) -> String {
    let at = match at {
        None => String::new(),
        Some(At::Time(at)) => format!(" @ {}", at.seconds()),
        Some(At::Start) => " @ start()".into(),
        Some(At::End) => " @ end()".into(),
    };
    if offset == Span::ZERO { at } else { format!("{at} offset {offset}") }
}

fn lower_offset(offset: Option<&Offset>) -> Span {
    match offset {
        None => Span::ZERO,
        Some(Offset::Pos(by)) => Span::from_std(*by),
        Some(Offset::Neg(by)) => -Span::from_std(*by),
    }
}

fn lower_at(at: Option<&AtModifier>) -> Option<At> {
    Some(match at? {
        AtModifier::Start => At::Start,
        AtModifier::End => At::End,
        AtModifier::At(time) => At::Time(match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => Timestamp(Span::from_std(after).0),
            Err(before) => Timestamp(Span::from_std(before.duration()).0.saturating_neg()),
        }),
    })
}

/// The text that an argument is.
fn text(expr: &Expr) -> Result<String> {
    match expr {
        Expr::Paren(inner) => text(&inner.expr),
        Expr::StringLiteral(text) => Ok(text.val.clone()),
        _ => Err(CompileError::new("a value stands where a text is needed")),
    }
}

fn texts(arguments: &[&Expr]) -> Result<Vec<String>> {
    arguments.iter().map(|argument| text(argument)).collect()
}

/// Any UTF-8 text is a name, as in Prometheus 3. The parser makes a character of an escaped byte that is no UTF-8 by itself.
fn is_label_name(name: &str, text: &str) -> bool {
    let from_bytes = text.contains("\\x") && name.chars().any(|c| ('\u{80}'..='\u{ff}').contains(&c));
    !name.is_empty() && !from_bytes
}

/// Whole-string, with a dot that takes line ends.
fn anchored(pattern: &str) -> std::result::Result<Regex, String> {
    const MAX_PATTERN: usize = 1 << 20;
    let build = |text: &str| {
        let made = RegexBuilder::new(text).size_limit(MAX_PATTERN).build();
        made.map_err(|error| {
            let error = error.to_string();
            error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_string()
        })
    };
    // Alone too: `a)|(b` becomes a pattern only between the anchors.
    build(pattern)?;
    build(&format!("^(?s:{pattern})$"))
}

/// Whether an aggregation takes away the label that buckets are told apart by.
fn lacks_bound(node: &Node) -> bool {
    match node {
        Node::Aggregate { aggregator, grouping, .. } if aggregator.folds() || *aggregator == Aggregator::Quantile => {
            grouping.labels.iter().any(|label| label == "le") == grouping.without
        }
        Node::Once(_, inner) => lacks_bound(inner),
        _ => false,
    }
}

fn lower_aggregator(op: TokenType) -> Option<Aggregator> {
    Some(match op.id() {
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
        token::T_LIMITK => Aggregator::LimitK,
        token::T_QUANTILE => Aggregator::Quantile,
        token::T_COUNT_VALUES => Aggregator::CountValues,
        _ => return None,
    })
}

fn lower_operator(op: TokenType, return_bool: bool) -> Result<Operator> {
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
    let on = matches!(modifier.matching, Some(LabelModifier::Include(_)));
    Matching { on, labels, group, fill: [modifier.fill_values.lhs, modifier.fill_values.rhs] }
}

fn sorted(labels: &[String]) -> Vec<String> {
    let mut labels = labels.to_vec();
    labels.sort();
    labels.dedup();
    labels
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

/// Whether the engine itself writes series of this name, about rules, deliveries and deployments. Signals it writes for
/// those who stated them: a rule over one is a rule like any other, and a signal that is not there is missing.
pub fn is_of_the_engine(name: &str) -> bool {
    name.starts_with("ALERTS") || (name.starts_with("backstop_") && !name.starts_with("backstop_signal"))
}
