//! Aggregations: many elements to one a group, or the foremost of each group.

use super::cache::Groups;
use super::math::{Fold, nan_first, quantile};
use super::number::written;
use super::plan::{Aggregator, Grouping};
use super::vector::{Element, Part, Table, Tags, Vector};
use crate::base::{Labels, Timestamp};

/// One group while it is filled.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    fold: Fold,
    newest: Timestamp,
    drop_name: bool,
}

impl State {
    pub(super) const EMPTY: State = State { fold: Fold::EMPTY, newest: Timestamp(i64::MIN), drop_name: false };

    #[inline]
    pub(super) fn add(&mut self, aggregator: Aggregator, value: f64, newest: Timestamp, drop_name: bool) {
        let fold = &mut self.fold;
        match aggregator {
            Aggregator::Sum => fold.add(value),
            Aggregator::Avg => fold.add_to_mean(value),
            Aggregator::Min => fold.lower(value),
            Aggregator::Max => fold.raise(value),
            Aggregator::Stddev | Aggregator::Stdvar => fold.spread(value),
            _ => fold.count += 1.0,
        }
        self.newest = self.newest.max(newest);
        self.drop_name |= drop_name;
    }

    fn value(&self, aggregator: Aggregator) -> f64 {
        match aggregator {
            Aggregator::Sum => self.fold.sum(),
            Aggregator::Avg => self.fold.mean(),
            Aggregator::Min | Aggregator::Max => self.fold.sum,
            Aggregator::Count => self.fold.count,
            Aggregator::Stddev => self.fold.variance().sqrt(),
            Aggregator::Stdvar => self.fold.variance(),
            _ => 1.0,
        }
    }
}

impl Grouping {
    pub(super) fn part(&self) -> Part<'_> {
        Part { listed: &self.labels, only: !self.without }
    }

    /// Whether groups can differ in nothing but the name.
    fn keeps_name(&self) -> bool {
        !self.without && self.labels.iter().any(|label| label == crate::base::label::NAME)
    }
}

impl Aggregator {
    /// Whether a group needs no more than a few numbers while it is filled.
    pub(super) fn folds(self) -> bool {
        !matches!(
            self,
            Aggregator::TopK
                | Aggregator::BottomK
                | Aggregator::LimitK
                | Aggregator::Quantile
                | Aggregator::CountValues
        )
    }
}

/// Finds the groups of elements one by one.
struct Sorter<'p> {
    part: Part<'p>,
    hints: Vec<usize>,
    table: Table,
    labels: Vec<Labels>,
    /// The group of the element before: series of one target come one after the other.
    last: usize,
}

impl<'p> Sorter<'p> {
    fn new(grouping: &'p Grouping) -> Sorter<'p> {
        let part = grouping.part();
        Sorter { part, hints: part.hints(), table: Table::default(), labels: Vec::new(), last: 0 }
    }

    fn group(&mut self, labels: &Labels) -> usize {
        let (part, held) = (self.part, &self.labels);
        if held.get(self.last).is_some_and(|before| part.holds(before, labels, &mut self.hints)) {
            return self.last;
        }
        let hash = part.hash(labels, &mut self.hints);
        self.last = match self.table.find(hash, |i| part.holds(&held[i], labels, &mut self.hints)) {
            Some(group) => group,
            None => {
                self.labels.push(part.of(labels));
                self.table.insert(hash)
            }
        };
        self.last
    }
}

/// The groups of series.
pub(super) fn groups<'l>(grouping: &Grouping, series: impl Iterator<Item = &'l Labels>) -> Groups {
    let mut sorter = Sorter::new(grouping);
    let of_series = series.map(|labels| u32::try_from(sorter.group(labels)).unwrap_or(u32::MAX)).collect();
    Groups { of_series, labels: sorter.labels }
}

/// The elements of filled groups.
pub(super) fn folded<'a>(
    aggregator: Aggregator,
    grouping: &Grouping,
    labels: &[Labels],
    states: &[State],
) -> Vector<'a> {
    let there = labels.iter().zip(states).filter(|(_, state)| state.fold.count > 0.0);
    let element = |(labels, state): (&Labels, &State)| Element {
        labels: Tags::Own(labels.clone()),
        value: state.value(aggregator),
        newest: state.newest,
        drop_name: state.drop_name,
    };
    Vector { elements: there.map(element).collect(), distinct: !grouping.keeps_name() }
}

/// Aggregates; `parameter` is k or the quantile.
///
/// # Errors
/// A k that is no number.
pub(super) fn aggregate<'a>(
    aggregator: Aggregator,
    parameter: f64,
    grouping: &Grouping,
    vector: Vector<'a>,
) -> Result<Vector<'a>, String> {
    if matches!(aggregator, Aggregator::TopK | Aggregator::BottomK | Aggregator::LimitK) {
        if parameter.is_nan() {
            return Err("the number of elements to keep is NaN".into());
        }
        if parameter >= i64::MAX as f64 {
            return Err(format!("{parameter} elements cannot be kept"));
        }
        let k = if parameter < 1.0 { 0 } else { parameter as usize };
        let distinct = vector.distinct;
        let (_, groups) = split(grouping, vector);
        let kept = groups.into_iter().flat_map(|elements| foremost(aggregator, k, elements)).collect();
        return Ok(Vector { elements: kept, distinct });
    }
    if aggregator == Aggregator::Quantile {
        let (labels, groups) = split(grouping, vector);
        let states: Vec<State> = groups.iter().map(|elements| quantile_of(parameter, elements)).collect();
        return Ok(folded(Aggregator::Max, grouping, &labels, &states));
    }
    if aggregator == Aggregator::CountValues {
        return Ok(count_values(grouping, vector));
    }
    let mut sorter = Sorter::new(grouping);
    let mut states: Vec<State> = Vec::new();
    for element in &vector.elements {
        let group = sorter.group(&element.labels);
        if group == states.len() {
            states.push(State::EMPTY);
        }
        states[group].add(aggregator, element.value, element.newest, element.drop_name);
    }
    Ok(folded(aggregator, grouping, &sorter.labels, &states))
}

/// The elements of each group, and the groups' labels.
fn split<'a>(grouping: &Grouping, vector: Vector<'a>) -> (Vec<Labels>, Vec<Vec<Element<'a>>>) {
    let mut sorter = Sorter::new(grouping);
    let mut groups: Vec<Vec<Element<'_>>> = Vec::new();
    for element in vector.elements {
        let group = sorter.group(&element.labels);
        if group == groups.len() {
            groups.push(Vec::new());
        }
        groups[group].push(element);
    }
    (sorter.labels, groups)
}

fn quantile_of(q: f64, elements: &[Element<'_>]) -> State {
    let mut values: Vec<f64> = elements.iter().map(|element| element.value).collect();
    let mut state = State::EMPTY;
    for element in elements {
        state.newest = state.newest.max(element.newest);
        state.drop_name |= element.drop_name;
    }
    state.fold.sum = quantile(q, &mut values);
    state.fold.count = 1.0;
    state
}

/// The k largest or smallest, best first; NaN comes last either way.
fn foremost<'a>(aggregator: Aggregator, k: usize, mut elements: Vec<Element<'a>>) -> Vec<Element<'a>> {
    match aggregator {
        Aggregator::TopK => elements.sort_by(|a, b| nan_first(b.value, a.value)),
        Aggregator::BottomK => {
            elements.sort_by(|a, b| a.value.is_nan().cmp(&b.value.is_nan()).then(nan_first(a.value, b.value)));
        }
        _ => {}
    }
    elements.truncate(k);
    elements
}

/// How many elements of a group have which value; the value becomes a label.
fn count_values<'a>(grouping: &Grouping, vector: Vector<'a>) -> Vector<'a> {
    let name = grouping.value_label.as_deref().unwrap_or_default();
    let by_value = vector.elements.into_iter().map(|mut element| {
        let labels = grouping.part().of(&element.labels).with(name, &written(element.value));
        element.labels = Tags::Own(labels);
        element
    });
    let relabelled = Vector { elements: by_value.collect(), distinct: false };
    // All labels decide now; a name among them was asked for.
    let mut table = Table::default();
    let mut labels: Vec<Labels> = Vec::new();
    let mut states: Vec<State> = Vec::new();
    for element in &relabelled.elements {
        let hash = super::vector::hash_all(&element.labels);
        let place = table.find(hash, |i| labels[i] == *element.labels).unwrap_or_else(|| {
            labels.push((*element.labels).clone());
            states.push(State::EMPTY);
            table.insert(hash)
        });
        states[place].add(Aggregator::Count, element.value, element.newest, element.drop_name);
    }
    folded(Aggregator::Count, grouping, &labels, &states)
}
