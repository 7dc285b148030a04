//! A plan over samples at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::aggregate::{State, aggregate, folded, groups};
use super::annotation::{Annotation, Finding};
use super::binary::binary;
use super::histogram::{self, Found};
use super::leaf::Scratch;
use super::plan::{Aggregator, At, ClockFn, Comparison, Grouping, HistogramFn, Node, Place, Plan, Source};
use super::presence::{Notes, Seen};
use super::query::Options;
use super::range::RangeFn;
use super::reading::{Point, Reading};
use super::vector::{Element, NEVER, Tags, Value, Vector};
use crate::base::{Labels, Span, Timestamp};
use crate::store::{Cursor, Samples, SeriesId, Store};

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
    // What a rule reads is the operator's choice, and the store is bounded.
    let options = Options { look_back, max_series: usize::MAX, ..Options::default() };
    let mut evaluation = Evaluation::new(plan, store, &options, (now, now), Span::ZERO);
    let value = match evaluation.value(&plan.root) {
        Ok(value) => value,
        Err(message) => return Reading::Failed(message),
    };
    let notes =
        Notes { plan, store, now, selectors: &evaluation.selectors_seen, subqueries: &evaluation.subqueries_seen };
    if let Some(absence) = notes.absence(&plan.root, true) {
        return Reading::NoData(absence);
    }
    match points(filtered(value, filter), now) {
        Ok(points) => Reading::Points(points),
        Err(message) => Reading::Failed(message),
    }
}

/// The value with the condition at the root applied.
pub(super) fn filtered(value: Value<'_>, filter: Option<Comparison>) -> Value<'_> {
    match (value, filter) {
        (Value::Vector(mut vector), Some(filter)) => {
            vector.elements.retain(|element| filter.relation.holds(element.value, filter.with));
            Value::Vector(vector)
        }
        (value, _) => value,
    }
}

/// The points of a value, with the names dropped that are to be dropped.
///
/// # Errors
/// Two alike label sets.
pub(super) fn points(value: Value<'_>, now: Timestamp) -> Result<Vec<Point>, String> {
    let vector = match value {
        Value::Number(value, newest) => Vector::of_number(value, newest),
        Value::Vector(vector) => vector,
    };
    let point = |element: Element<'_>| Point {
        labels: element.labels.into_labels(),
        value: element.value,
        newest: if element.newest == NEVER { now } else { element.newest },
    };
    Ok(vector.named()?.elements.into_iter().map(point).collect())
}

/// The most annotations of one query.
const MAX_ANNOTATIONS: usize = 50;

/// One evaluation, or the steps of one over a range.
pub(super) struct Evaluation<'a> {
    pub(super) plan: &'a Plan,
    pub(super) samples: &'a dyn Samples,
    pub(super) options: &'a Options,
    /// The time that is evaluated.
    pub(super) now: i64,
    /// The first and the last time of the query, and its step; the step of a query at one time is 0.
    span: (i64, i64),
    step: i64,
    /// Whether more than one time is evaluated, so that it pays to remember.
    pub(super) repeats: bool,
    once: Vec<Option<Value<'a>>>,
    series: Vec<Option<Arc<[SeriesId]>>>,
    /// How many samples all windows held so far.
    pub(super) n_read: u64,
    pub(super) selectors_seen: Vec<Seen>,
    pub(super) subqueries_seen: Vec<Seen>,
    pub(super) cursor: Cursor,
    pub(super) scratch: Scratch,
    annotations: BTreeMap<(usize, String), Annotation>,
}

impl<'a> Evaluation<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        samples: &'a dyn Samples,
        options: &'a Options,
        (start, end): (Timestamp, Timestamp),
        step: Span,
    ) -> Evaluation<'a> {
        Evaluation {
            plan,
            samples,
            options,
            now: start.0,
            span: (start.0, end.0),
            step: step.0,
            repeats: start != end,
            once: (0..plan.n_once).map(|_| None).collect(),
            series: vec![None; plan.selectors.len()],
            n_read: 0,
            selectors_seen: vec![Seen::Nothing; plan.selectors.len()],
            subqueries_seen: vec![Seen::Nothing; plan.n_subqueries],
            cursor: Cursor::default(),
            scratch: Scratch::default(),
            annotations: BTreeMap::new(),
        }
    }

    pub(super) fn value(&mut self, node: &'a Node) -> Result<Value<'a>, String> {
        Ok(match node {
            Node::Number(value) => Value::Number(*value, NEVER),
            Node::Time => Value::Number(Timestamp(self.now).seconds(), NEVER),
            Node::Clock(function) => Value::Number(self.clock(*function), NEVER),
            Node::Text(_) | Node::Matrix(_) => return Err("a text or a range stands where a value is needed".into()),
            Node::Instant(selector) => Value::Vector(self.instant(*selector)?),
            Node::Range { function, source, parameters, places } => {
                Value::Vector(self.range(*function, source, parameters, places)?)
            }
            Node::AbsentOverTime { source, labels } => {
                let found = self.any_samples(source)?;
                Value::Vector(absent(found, labels))
            }
            Node::Absent { argument, labels } => {
                let found = !self.vector(argument)?.elements.is_empty();
                Value::Vector(absent(found, labels))
            }
            Node::Negate(argument) => match self.value(argument)? {
                Value::Number(value, newest) => Value::Number(-value, newest),
                Value::Vector(vector) => Value::Vector(vector.mapped(|element| Some(-element.value))),
            },
            Node::ToScalar(argument) => match self.vector(argument)?.elements.as_slice() {
                [only] => Value::Number(only.value, only.newest),
                _ => Value::Number(f64::NAN, NEVER),
            },
            Node::ToVector(argument) => {
                let (value, newest) = self.number(argument)?;
                Value::Vector(Vector::of_number(value, newest))
            }
            Node::SampleTime(argument) => Value::Vector(self.sample_times(argument)?),
            Node::Sort { order, argument, place } => {
                if self.step > 0 {
                    self.annotate(Finding::OrderIsLost, place);
                }
                let mut vector = self.vector(argument)?;
                order.sort(&mut vector.elements);
                Value::Vector(vector)
            }
            Node::Math(function, argument) => {
                Value::Vector(self.vector(argument)?.mapped(|element| Some(function(element.value))))
            }
            Node::Map { function, argument, parameters } => {
                let vector = self.vector(argument)?;
                let parameters = self.parameters(parameters)?;
                Value::Vector(vector.mapped(|element| function.apply(element.value, parameters)))
            }
            Node::Extreme { is_max, sides } => {
                let (a, newest) = self.number(&sides[0])?;
                let (b, other) = self.number(&sides[1])?;
                Value::Number(super::function::extreme(*is_max, a, b), newest.max(other))
            }
            Node::Calendar(part, argument) => {
                let vector = match argument {
                    Some(argument) => self.vector(argument)?,
                    None => Vector::of_number(Timestamp(self.now).seconds(), NEVER),
                };
                Value::Vector(vector.mapped(|element| Some(part.of(element.value))))
            }
            Node::Histogram { function, parameters, argument, places } => {
                Value::Vector(self.histogram(*function, parameters, argument, places)?)
            }
            Node::Relabel { relabel, argument } => Value::Vector(relabel.apply(self.vector(argument)?)?),
            Node::Binary { operator, left, right, matching } => {
                let left = self.value(left)?;
                let right = self.value(right)?;
                binary(*operator, left, right, matching)?
            }
            Node::Aggregate { aggregator, parameter, grouping, argument, cache, place } => {
                let parameter = parameter.as_deref();
                Value::Vector(self.aggregate(*aggregator, parameter, grouping, argument, *cache, place)?)
            }
            Node::Once(index, argument) => return self.once(*index, argument),
        })
    }

    fn once(&mut self, index: usize, argument: &'a Node) -> Result<Value<'a>, String> {
        if !self.repeats {
            return self.value(argument);
        }
        if let Some(value) = &self.once[index] {
            return Ok(value.clone());
        }
        let value = self.value(argument)?;
        self.once[index] = Some(value.clone());
        Ok(value)
    }

    /// The parser checked the types; a mismatch here would be a bug that must not pass as a value.
    pub(super) fn vector(&mut self, node: &'a Node) -> Result<Vector<'a>, String> {
        match self.value(node)? {
            Value::Vector(vector) => Ok(vector),
            Value::Number(..) => Err("a number stands where a vector is needed".into()),
        }
    }

    fn number(&mut self, node: &'a Node) -> Result<(f64, Timestamp), String> {
        match self.value(node)? {
            Value::Number(value, newest) => Ok((value, newest)),
            Value::Vector(_) => Err("a vector stands where a number is needed".into()),
        }
    }

    /// Up to two numbers, NaN where there are fewer.
    pub(super) fn parameters(&mut self, nodes: &'a [Node]) -> Result<[f64; 2], String> {
        let mut numbers = [f64::NAN; 2];
        for (number, node) in numbers.iter_mut().zip(nodes) {
            *number = self.number(node)?.0;
        }
        Ok(numbers)
    }

    fn clock(&self, function: ClockFn) -> f64 {
        let (start, end) = self.span;
        let millis = match function {
            ClockFn::Start => start,
            ClockFn::End => end,
            ClockFn::Step => self.step,
            ClockFn::Range => end.saturating_sub(start),
        };
        millis as f64 / 1000.0
    }

    /// The time that a selector or subquery is evaluated at.
    pub(super) fn moment(&self, at: Option<At>, offset: Span) -> i64 {
        let base = match at {
            None => self.now,
            Some(At::Time(at)) => at.0,
            Some(At::Start) => self.span.0,
            Some(At::End) => self.span.1,
        };
        base.saturating_sub(offset.0)
    }

    /// The series of a selector.
    ///
    /// # Errors
    /// When there are more than allowed.
    pub(super) fn series_of(&mut self, selector: usize) -> Result<Arc<[SeriesId]>, String> {
        if let Some(ids) = &self.series[selector] {
            return Ok(ids.clone());
        }
        let ids = self.plan.series_of(selector, self.samples);
        if ids.len() > self.options.max_series {
            let (text, n, max) = (&self.plan.selectors[selector].text, ids.len(), self.options.max_series);
            return Err(format!("{text} means {n} series; a query may read {max} with one selector"));
        }
        self.series[selector] = Some(ids.clone());
        Ok(ids)
    }

    /// Counts samples, and looks whether the query may go on.
    pub(super) fn charge(&mut self, samples: u64) -> Result<(), String> {
        self.n_read = self.n_read.saturating_add(samples);
        if self.n_read > self.options.max_samples {
            return Err(format!("the query reads more than {} samples", self.options.max_samples));
        }
        if self.options.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            return Err("the time for the query is over".into());
        }
        Ok(())
    }

    pub(super) fn annotate(&mut self, finding: Finding, at: &Place) {
        if self.annotations.len() < MAX_ANNOTATIONS {
            let annotation = Annotation::new(finding, at.clone());
            self.annotations.insert((at.start, annotation.message.clone()), annotation);
        }
    }

    pub(super) fn take_annotations(&mut self) -> Vec<Annotation> {
        std::mem::take(&mut self.annotations).into_values().collect()
    }

    fn sample_times(&mut self, argument: &'a Node) -> Result<Vector<'a>, String> {
        let inner = if let Node::Once(_, inner) = argument { inner } else { argument };
        let own = matches!(inner, Node::Instant(_));
        let now = Timestamp(self.now);
        let time = |element: &Element<'a>| Some(if own { element.newest } else { now }.seconds());
        Ok(self.vector(argument)?.mapped(time))
    }

    fn histogram(
        &mut self,
        function: HistogramFn,
        parameters: &'a [Node],
        argument: &'a Node,
        places: &'a [Place; 2],
    ) -> Result<Vector<'a>, String> {
        let [first, second] = self.parameters(parameters)?;
        let buckets = self.vector(argument)?;
        let mut found = Found::default();
        let vector = match function {
            HistogramFn::Quantile => {
                self.check_quantile(first, &places[0]);
                histogram::quantiles(first, buckets, &mut found)
            }
            HistogramFn::Fraction => histogram::fractions(first, second, buckets, &mut found),
        };
        if let Some(bad) = found.bad_bound {
            self.annotate(Finding::BadBucketBound(bad), &places[1]);
        }
        if found.was_falling {
            self.annotate(Finding::BucketsNotRising, &places[1]);
        }
        Ok(vector)
    }

    pub(super) fn check_quantile(&mut self, q: f64, at: &Place) {
        if !(0.0..=1.0).contains(&q) {
            self.annotate(Finding::QuantileOutOfRange(q), at);
        }
    }

    fn aggregate(
        &mut self,
        aggregator: Aggregator,
        parameter: Option<&'a Node>,
        grouping: &'a Grouping,
        argument: &'a Node,
        cache: usize,
        place: &'a Place,
    ) -> Result<Vector<'a>, String> {
        if aggregator.folds() {
            match argument {
                Node::Instant(selector) => return self.fold_instant(aggregator, grouping, *selector, cache),
                Node::Range { function, source: Source::Selector(selector), parameters, places } => {
                    return self.fold_range(aggregator, grouping, (*function, parameters, places), *selector, cache);
                }
                _ => {}
            }
        }
        let parameter = match parameter {
            Some(node) => self.number(node)?.0,
            None => f64::NAN,
        };
        if aggregator == Aggregator::Quantile {
            self.check_quantile(parameter, place);
        }
        let vector = self.vector(argument)?;
        aggregate(aggregator, parameter, grouping, vector)
    }

    /// An aggregation right over an instant selector: no element is made for any series.
    fn fold_instant(
        &mut self,
        aggregator: Aggregator,
        grouping: &'a Grouping,
        selector: usize,
        cache: usize,
    ) -> Result<Vector<'a>, String> {
        let ids = self.series_of(selector)?;
        let groups = self.groups(grouping, &ids, cache);
        let mut states = vec![State::EMPTY; groups.labels.len()];
        self.latest(selector, |i, _, value, newest| {
            states[groups.of_series[i] as usize].add(aggregator, value, Timestamp(newest), false);
        })?;
        Ok(folded(aggregator, grouping, &groups.labels, &states))
    }

    /// The same over a function of a range.
    fn fold_range(
        &mut self,
        aggregator: Aggregator,
        grouping: &'a Grouping,
        (function, parameters, places): (RangeFn, &'a [Node], &'a [Place; 2]),
        selector: usize,
        cache: usize,
    ) -> Result<Vector<'a>, String> {
        let parameters = self.range_parameters(function, parameters, places)?;
        let ids = self.series_of(selector)?;
        let groups = self.groups(grouping, &ids, cache);
        let mut states = vec![State::EMPTY; groups.labels.len()];
        let drop_name = !function.keeps_name();
        self.each_range(function, selector, parameters, &places[0], |i, _, value, newest| {
            states[groups.of_series[i] as usize].add(aggregator, value, Timestamp(newest), drop_name);
        })?;
        Ok(folded(aggregator, grouping, &groups.labels, &states))
    }

    fn groups(&self, grouping: &Grouping, ids: &[SeriesId], cache: usize) -> Arc<super::cache::Groups> {
        let labels = || ids.iter().map(|id| self.samples.labels(*id));
        self.plan.groups[cache].get(self.samples.generation(), || Arc::new(groups(grouping, labels())))
    }
}

fn absent<'a>(found: bool, labels: &'a Labels) -> Vector<'a> {
    let one = Element { labels: Tags::Held(labels), value: 1.0, newest: NEVER, drop_name: false };
    Vector { elements: if found { Vec::new() } else { vec![one] }, distinct: true }
}
