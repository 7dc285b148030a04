//! Aggregations: many elements to one a group, or the foremost of each group.

use std::collections::HashMap;

use super::evaluate::{Element, Vector};
use super::math::{Mean, Sum, greatest, least, nan_first, quantile, variance};
use super::plan::{Aggregator, Grouping};
use crate::base::Labels;
use crate::base::label::NAME;

/// The elements of one group.
struct Members {
    labels: Labels,
    elements: Vec<Element>,
}

/// Aggregates; `parameter` is k or the quantile.
///
/// # Errors
/// A k that is no number.
pub(super) fn aggregate(
    aggregator: Aggregator,
    parameter: f64,
    grouping: &Grouping,
    vector: Vector,
) -> Result<Vector, String> {
    let groups = group(grouping, vector);
    match aggregator {
        Aggregator::TopK | Aggregator::BottomK => {
            if parameter.is_nan() {
                return Err("the number of elements to keep is NaN".into());
            }
            let k = if parameter < 1.0 { 0 } else { parameter as usize };
            Ok(groups.into_iter().flat_map(|members| foremost(aggregator, k, members.elements)).collect())
        }
        _ => Ok(groups.into_iter().map(|members| members.reduced(aggregator, parameter)).collect()),
    }
}

/// The labels of the group that `labels` belongs to.
pub(super) fn group_labels(grouping: &Grouping, labels: &Labels) -> Labels {
    let listed = |name: &str| grouping.labels.binary_search_by(|l| l.as_str().cmp(name)).is_ok();
    if grouping.without {
        labels.filtered(|name| name != NAME && !listed(name))
    } else if grouping.labels.is_empty() {
        Labels::empty()
    } else {
        labels.filtered(listed)
    }
}

fn group(grouping: &Grouping, vector: Vector) -> Vec<Members> {
    if !grouping.without && grouping.labels.is_empty() {
        let all = Members { labels: Labels::empty(), elements: vector };
        return if all.elements.is_empty() { Vec::new() } else { vec![all] };
    }
    let mut groups: Vec<Members> = Vec::new();
    let mut index: HashMap<u64, Vec<usize>> = HashMap::new();
    for element in vector {
        let same = |i: &&usize| belongs(grouping, &groups[**i].labels, &element.labels);
        let places = index.entry(key(grouping, &element.labels)).or_default();
        match places.iter().find(same).copied() {
            Some(i) => groups[i].elements.push(element),
            None => {
                places.push(groups.len());
                groups.push(Members { labels: group_labels(grouping, &element.labels), elements: vec![element] });
            }
        }
    }
    groups
}

/// The pairs that decide the group, in order.
fn deciding<'a>(grouping: &'a Grouping, labels: &'a Labels) -> impl Iterator<Item = (&'a str, &'a str)> {
    labels.iter().filter(|(name, _)| {
        let listed = grouping.labels.iter().any(|l| l == name);
        listed != grouping.without && !(grouping.without && *name == NAME)
    })
}

/// A hash over the deciding pairs, without building the group's labels for every element.
fn key(grouping: &Grouping, labels: &Labels) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for (name, value) in deciding(grouping, labels) {
        for byte in name.bytes().chain([0xff]).chain(value.bytes()).chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash
}

fn belongs(grouping: &Grouping, group: &Labels, labels: &Labels) -> bool {
    deciding(grouping, labels).eq(group.iter())
}

impl Members {
    fn reduced(self, aggregator: Aggregator, parameter: f64) -> Element {
        let values = || self.elements.iter().map(|element| element.value);
        let value = match aggregator {
            Aggregator::Sum => values().fold(Sum::default(), |mut s, v| (s.add(v), s).1).total(),
            Aggregator::Avg => values().fold(Mean::default(), |mut m, v| (m.add(v), m).1).mean(),
            Aggregator::Min => values().reduce(least).unwrap_or(f64::NAN),
            Aggregator::Max => values().reduce(greatest).unwrap_or(f64::NAN),
            Aggregator::Count => self.elements.len() as f64,
            Aggregator::Group => 1.0,
            Aggregator::Stddev => variance(values()).sqrt(),
            Aggregator::Stdvar => variance(values()),
            Aggregator::Quantile => quantile(parameter, &mut values().collect::<Vec<_>>()),
            Aggregator::TopK | Aggregator::BottomK => unreachable!("they keep elements and reduce none"),
        };
        Element {
            value,
            newest: self.elements.iter().map(|element| element.newest).max().unwrap_or_default(),
            drop_name: self.elements.iter().any(|element| element.drop_name),
            labels: self.labels,
        }
    }
}

/// The k largest or smallest, best first; NaN comes last either way.
fn foremost(aggregator: Aggregator, k: usize, mut elements: Vec<Element>) -> Vec<Element> {
    elements.sort_by(|a, b| match aggregator {
        Aggregator::TopK => nan_first(b.value, a.value),
        _ => a.value.is_nan().cmp(&b.value.is_nan()).then(nan_first(a.value, b.value)),
    });
    elements.truncate(k);
    elements
}
