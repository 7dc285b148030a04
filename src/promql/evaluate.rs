//! A plan over a store at one moment.
//!
//! While the tree is computed, each selector notes what it saw; afterwards the notes decide whether the value may be
//! believed. An error of the evaluation comes before missing data.

use super::aggregate::aggregate;
use super::binary::binary;
use super::function::histogram_quantile;
use super::plan::{Comparison, Node, Operator, Plan, Role};
use super::range::{RangeFn, Window};
use super::reading::{Absence, Missing, Point, Reading};
use crate::base::{Labels, Span, Timestamp};
use crate::store::{Series, Store, is_stale};

/// One element of a vector on its way.
#[derive(Clone, Debug)]
pub(super) struct Element {
    pub(super) labels: Labels,
    pub(super) value: f64,
    pub(super) newest: Timestamp,
    /// The metric name goes away at the end, not before: until then it keeps elements apart.
    pub(super) drop_name: bool,
}

pub(super) type Vector = Vec<Element>;

/// What a node gives: a number with the newest sample behind it, or a vector.
#[derive(Debug)]
pub(super) enum Value {
    Number(f64, Timestamp),
    Vector(Vector),
}

/// The time of a value behind which no sample stands.
const NEVER: Timestamp = Timestamp(i64::MIN);

/// Evaluates the whole expression at `now`; instant selectors look back by `look_back` ([`super::LOOK_BACK`]).
pub fn evaluate(plan: &Plan, store: &Store, now: Timestamp, look_back: Span) -> Reading {
    read(plan, store, now, look_back, plan.root_comparison())
}

/// Evaluates what stands before the comparison at the root ([`Plan::root_comparison`]); the whole expression where
/// there is none.
pub fn evaluate_value(plan: &Plan, store: &Store, now: Timestamp, look_back: Span) -> Reading {
    read(plan, store, now, look_back, None)
}

fn read(plan: &Plan, store: &Store, now: Timestamp, look_back: Span, filter: Option<Comparison>) -> Reading {
    let seen = vec![Seen::Nothing; plan.selectors.len()];
    let mut evaluation = Evaluation { plan, store, now, look_back, seen, scratch: Scratch::default() };
    let mut value = match evaluation.value(&plan.root) {
        Ok(value) => value,
        Err(message) => return Reading::Failed(message),
    };
    if let Some(absence) = evaluation.absence(&plan.root, true) {
        return Reading::NoData(absence);
    }
    if let (Some(filter), Value::Vector(vector)) = (filter, &mut value) {
        vector.retain(|element| filter.relation.holds(element.value, filter.with));
    }
    points(value, now)
}

/// Drops the names that are to be dropped; two alike label sets are an error.
fn points(value: Value, now: Timestamp) -> Reading {
    let at = |newest: Timestamp| if newest == NEVER { now } else { newest };
    let vector = match value {
        Value::Number(value, newest) => {
            return Reading::Points(vec![Point { labels: Labels::empty(), value, newest: at(newest) }]);
        }
        Value::Vector(vector) => vector,
    };
    let point = |element: Element| Point {
        labels: if element.drop_name { element.labels.without_name() } else { element.labels },
        value: element.value,
        newest: at(element.newest),
    };
    let points: Vec<Point> = vector.into_iter().map(point).collect();
    match first_twice(&points) {
        Some(labels) => Reading::Failed(format!("the result holds the labels {labels} more than once")),
        None => Reading::Points(points),
    }
}

fn first_twice(points: &[Point]) -> Option<&Labels> {
    if points.len() < 2 {
        return None;
    }
    let mut sorted: Vec<&Labels> = points.iter().map(|point| &point.labels).collect();
    sorted.sort_unstable();
    sorted.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

/// What a selector saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    /// Samples, but too few for the function over them.
    TooFew,
    Values,
}

struct Evaluation<'a> {
    plan: &'a Plan,
    store: &'a Store,
    now: Timestamp,
    look_back: Span,
    seen: Vec<Seen>,
    scratch: Scratch,
}

/// The samples of a window freed of stale markers, where it holds any.
#[derive(Default)]
struct Scratch {
    times: Vec<i64>,
    values: Vec<f64>,
}

impl Evaluation<'_> {
    fn value(&mut self, node: &Node) -> Result<Value, String> {
        Ok(match node {
            Node::Number(value) => Value::Number(*value, NEVER),
            Node::Time => Value::Number(self.now.seconds(), NEVER),
            Node::Instant(selector) => Value::Vector(self.instant(*selector)),
            Node::Range { function, selector, parameters } => {
                let parameter = match parameters.first() {
                    Some(node) => self.number(node)?.0,
                    None => f64::NAN,
                };
                Value::Vector(self.range(*function, *selector, parameter))
            }
            Node::AbsentOverTime { selector, labels } => {
                let found = self.range(RangeFn::Present, *selector, f64::NAN);
                Value::Vector(absent(&found, labels))
            }
            Node::Absent { argument, labels } => Value::Vector(absent(&self.vector(argument)?, labels)),
            Node::Negate(argument) => match self.value(argument)? {
                Value::Number(value, newest) => Value::Number(-value, newest),
                Value::Vector(vector) => Value::Vector(mapped(vector, |element| Some(-element.value))),
            },
            Node::ToScalar(argument) => match self.vector(argument)?.as_slice() {
                [only] => Value::Number(only.value, only.newest),
                _ => Value::Number(f64::NAN, NEVER),
            },
            Node::ToVector(argument) => {
                let (value, newest) = self.number(argument)?;
                Value::Vector(vec![Element { labels: Labels::empty(), value, newest, drop_name: false }])
            }
            Node::SampleTime(argument) => {
                let own = matches!(**argument, Node::Instant(_));
                let now = self.now;
                let time = |element: &Element| Some(if own { element.newest } else { now }.seconds());
                Value::Vector(mapped(self.vector(argument)?, time))
            }
            Node::Same(argument) => self.value(argument)?,
            Node::Math(function, argument) => {
                Value::Vector(mapped(self.vector(argument)?, |element| Some(function(element.value))))
            }
            Node::Map { function, argument, parameters } => {
                let vector = self.vector(argument)?;
                let parameters: Vec<f64> =
                    parameters.iter().map(|node| Ok(self.number(node)?.0)).collect::<Result<_, String>>()?;
                Value::Vector(mapped(vector, |element| function.apply(element.value, &parameters)))
            }
            Node::HistogramQuantile { quantile, argument } => {
                let quantile = self.number(quantile)?.0;
                Value::Vector(histogram_quantile(quantile, self.vector(argument)?))
            }
            Node::Binary { operator, left, right, matching } => {
                let left = self.value(left)?;
                let right = self.value(right)?;
                binary(*operator, left, right, matching)?
            }
            Node::Aggregate { aggregator, parameter, grouping, argument } => {
                let parameter = match parameter {
                    Some(node) => self.number(node)?.0,
                    None => f64::NAN,
                };
                Value::Vector(aggregate(*aggregator, parameter, grouping, self.vector(argument)?)?)
            }
        })
    }

    /// The parser checked the types; a mismatch here would be a bug that must not pass as a value.
    fn vector(&mut self, node: &Node) -> Result<Vector, String> {
        match self.value(node)? {
            Value::Vector(vector) => Ok(vector),
            Value::Number(..) => Err("a number stands where a vector is needed".into()),
        }
    }

    fn number(&mut self, node: &Node) -> Result<(f64, Timestamp), String> {
        match self.value(node)? {
            Value::Number(value, newest) => Ok((value, newest)),
            Value::Vector(_) => Err("a vector stands where a number is needed".into()),
        }
    }

    fn instant(&mut self, selector: usize) -> Vector {
        let at = self.now - self.plan.selectors[selector].offset;
        let latest = |series: &Series| {
            let (time, value) = series.latest(at.0, self.look_back.0)?;
            Some(Element { labels: series.labels().clone(), value, newest: Timestamp(time), drop_name: false })
        };
        let ids = self.plan.series_of(selector, self.store);
        let vector: Vector = ids.iter().filter_map(|id| latest(self.store.series(*id))).collect();
        if !vector.is_empty() {
            self.seen[selector] = Seen::Values;
        }
        vector
    }

    fn range(&mut self, function: RangeFn, selector: usize, parameter: f64) -> Vector {
        let plan = &self.plan.selectors[selector];
        let end = self.now - plan.offset;
        let start = end - plan.range.unwrap_or_default();
        let mut vector = Vec::new();
        for id in self.plan.series_of(selector, self.store).iter() {
            let series = self.store.series(*id);
            let Some((times, values)) = self.scratch.window(series, start.0, end.0) else { continue };
            let newest = Timestamp(times[times.len() - 1]);
            let window = Window { times, values, start: start.0, end: end.0, now: self.now.0 };
            match function.apply(&window, parameter) {
                Some(value) => {
                    let drop_name = !function.keeps_name();
                    vector.push(Element { labels: series.labels().clone(), value, newest, drop_name });
                    self.seen[selector] = Seen::Values;
                }
                None if self.seen[selector] == Seen::Nothing => self.seen[selector] = Seen::TooFew,
                None => {}
            }
        }
        vector
    }

    /// What is missing for this node's value to be believed. Where absence is an answer (`required` is false) a
    /// selector without values is fine, if they could have been seen.
    fn absence(&self, node: &Node, required: bool) -> Option<Absence> {
        match node {
            Node::Number(_) | Node::Time => None,
            Node::Instant(selector) | Node::AbsentOverTime { selector, .. } => {
                self.absent_selector(*selector, required && matches!(node, Node::Instant(_)))
            }
            Node::Range { selector, parameters, .. } => self
                .absent_selector(*selector, required)
                .or_else(|| parameters.iter().find_map(|parameter| self.absence(parameter, required))),
            Node::Absent { argument, .. } => self.absence(argument, false),
            Node::Negate(argument)
            | Node::ToScalar(argument)
            | Node::ToVector(argument)
            | Node::SampleTime(argument)
            | Node::Same(argument)
            | Node::Math(_, argument) => self.absence(argument, required),
            Node::Map { argument, parameters, .. } => self
                .absence(argument, required)
                .or_else(|| parameters.iter().find_map(|parameter| self.absence(parameter, required))),
            Node::HistogramQuantile { quantile, argument } => {
                self.absence(quantile, required).or_else(|| self.absence(argument, required))
            }
            Node::Binary { operator: Operator::Unless, left, right, .. } => {
                self.absence(left, required).or_else(|| self.absence(right, false))
            }
            Node::Binary { operator: Operator::Or, left, right, .. } => self.absence_of_or(left, right, required),
            Node::Binary { left, right, .. } => self.absence(left, required).or_else(|| self.absence(right, required)),
            Node::Aggregate { parameter, argument, .. } => {
                let parameter = parameter.as_ref().and_then(|node| self.absence(node, required));
                self.absence(argument, required).or(parameter)
            }
        }
    }

    /// One side suffices; of the other it must be known that it is not there.
    fn absence_of_or(&self, left: &Node, right: &Node, required: bool) -> Option<Absence> {
        match (self.absence(left, required), self.absence(right, required)) {
            (None, None) => None,
            (Some(_), None) => self.absence(left, false),
            (None, Some(_)) => self.absence(right, false),
            (Some(left), Some(_)) => Some(left),
        }
    }

    fn absent_selector(&self, selector: usize, required: bool) -> Option<Absence> {
        let usage = &self.plan.selectors[selector];
        let seen = self.seen[selector];
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

impl Scratch {
    /// The samples in `(start, end]` without stale markers; none where there are none.
    fn window<'a>(&'a mut self, series: &'a Series, start: i64, end: i64) -> Option<(&'a [i64], &'a [f64])> {
        let to = series.count_until(end);
        let from = series.count_until(start).min(to);
        let (times, values) = (&series.times()[from..to], &series.values()[from..to]);
        if !values.iter().any(|value| is_stale(*value)) {
            return (!values.is_empty()).then_some((times, values));
        }
        self.times.clear();
        self.values.clear();
        for (time, value) in times.iter().zip(values).filter(|(_, value)| !is_stale(**value)) {
            self.times.push(*time);
            self.values.push(*value);
        }
        (!self.values.is_empty()).then_some((&self.times, &self.values))
    }
}

/// Each element with a new value and its name to be dropped; those without a value go.
fn mapped(vector: Vector, value: impl Fn(&Element) -> Option<f64>) -> Vector {
    let apply = |mut element: Element| {
        element.value = value(&element)?;
        element.drop_name = true;
        Some(element)
    };
    vector.into_iter().filter_map(apply).collect()
}

fn absent(found: &Vector, labels: &Labels) -> Vector {
    if found.is_empty() {
        vec![Element { labels: labels.clone(), value: 1.0, newest: NEVER, drop_name: false }]
    } else {
        Vec::new()
    }
}
