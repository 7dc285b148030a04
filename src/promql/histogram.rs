//! Quantiles and fractions of classic histograms: buckets that count what is at most their bound `le`.

use super::vector::{Element, Fnv, Table, Tags, Vector};
use crate::base::Labels;

const BOUND: &str = "le";

/// Buckets that fall by less than this share fell by rounding.
const ROUNDING: f64 = 1e-12;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    bound: f64,
    count: f64,
}

/// The buckets of one label set without `le`.
struct Histogram<'a> {
    element: Element<'a>,
    buckets: Vec<Bucket>,
}

/// What was found besides the values.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The value of the first `le` that is no bound.
    pub(super) bad_bound: Option<String>,
    pub(super) was_falling: bool,
}

/// `histogram_quantile`.
pub(super) fn quantiles<'a>(q: f64, buckets: Vector<'a>, found: &mut Found) -> Vector<'a> {
    each(buckets, found, |buckets, found| quantile(q, buckets, found))
}

/// `histogram_fraction`: the share of what lies between two values.
pub(super) fn fractions<'a>(low: f64, high: f64, buckets: Vector<'a>, found: &mut Found) -> Vector<'a> {
    each(buckets, found, |buckets, _| fraction(low, high, buckets))
}

fn each<'a>(vector: Vector<'a>, found: &mut Found, value: impl Fn(Vec<Bucket>, &mut Found) -> f64) -> Vector<'a> {
    let mut table = Table::default();
    let mut histograms: Vec<Histogram<'a>> = Vec::new();
    for element in vector.elements {
        let text = element.labels.get(BOUND);
        // As Go reads a number, without spaces around it.
        let Some(bound) = text.parse::<f64>().ok().filter(|bound| !bound.is_nan()) else {
            found.bad_bound.get_or_insert_with(|| text.chars().take(80).collect());
            continue;
        };
        let bucket = Bucket { bound, count: element.value };
        let hash = hash_without_bound(&element.labels);
        let place = table.find(hash, |i| same_without_bound(&histograms[i].element.labels, &element.labels));
        let held = match place {
            Some(place) => &mut histograms[place],
            None => {
                let place = table.insert(hash);
                histograms.push(Histogram { element, buckets: vec![bucket] });
                debug_assert_eq!(place + 1, histograms.len());
                continue;
            }
        };
        held.buckets.push(bucket);
        held.element.newest = held.element.newest.max(element.newest);
    }
    let element = |histogram: Histogram<'a>| {
        let mut element = histogram.element;
        element.value = value(histogram.buckets, found);
        element.labels = Tags::Own(element.labels.filtered(|name| name != BOUND));
        element.drop_name = true;
        element
    };
    Vector { elements: histograms.into_iter().map(element).collect(), distinct: false }
}

fn without_bound(labels: &Labels) -> impl Iterator<Item = (&str, &str)> {
    labels.iter().filter(|(name, _)| *name != BOUND)
}

fn hash_without_bound(labels: &Labels) -> u64 {
    let mut hash = Fnv::default();
    for (name, value) in without_bound(labels) {
        hash.eat(name);
        hash.eat(value);
    }
    hash.0
}

fn same_without_bound(a: &Labels, b: &Labels) -> bool {
    without_bound(a).eq(without_bound(b))
}

fn quantile(q: f64, mut buckets: Vec<Bucket>, found: &mut Found) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    if !ordered(&mut buckets) {
        return f64::NAN;
    }
    found.was_falling |= make_rising(&mut buckets);
    let top = buckets.len() - 1;
    let all = buckets[top].count;
    if top == 0 || all == 0.0 || all.is_nan() {
        return f64::NAN;
    }
    let rank = q * all;
    let i = buckets[..top].iter().position(|bucket| bucket.count >= rank).unwrap_or(top);
    if i == top {
        return buckets[top - 1].bound;
    }
    let Bucket { bound: end, count } = buckets[i];
    if i == 0 {
        return if end <= 0.0 { end } else { end * (rank / count) };
    }
    let Bucket { bound: start, count: below } = buckets[i - 1];
    start + (end - start) * ((rank - below) / (count - below))
}

fn fraction(low: f64, high: f64, mut buckets: Vec<Bucket>) -> f64 {
    if !ordered(&mut buckets) {
        return f64::NAN;
    }
    let all = buckets[buckets.len() - 1].count;
    if all == 0.0 || all.is_nan() || low.is_nan() || high.is_nan() {
        return f64::NAN;
    }
    if low >= high {
        return 0.0;
    }
    (count_below(&buckets, high).min(all) - count_below(&buckets, low).min(all)) / all
}

/// How many lie below `value`, spread evenly within a bucket. A bucket without end on one side cannot be divided: a value in
/// the lowest has all of it below, one in the highest none.
fn count_below(buckets: &[Bucket], value: f64) -> f64 {
    if value == f64::NEG_INFINITY {
        return 0.0;
    }
    let i = buckets.iter().position(|bucket| value <= bucket.bound).unwrap_or(buckets.len() - 1);
    let Bucket { bound: end, count } = buckets[i];
    let (start, below) = match i.checked_sub(1) {
        Some(before) => (buckets[before].bound, buckets[before].count),
        // Where the lowest bound is above zero, nothing is below zero.
        None if end > 0.0 => (0.0, 0.0),
        None => return count,
    };
    if value == end {
        count
    } else if end.is_infinite() || value <= start {
        below
    } else {
        below + (count - below) * (value - start) / (end - start)
    }
}

/// Sorts, and joins buckets with bounds that are equal as numbers (`1` and `1.0`). Whether there is a highest one.
fn ordered(buckets: &mut Vec<Bucket>) -> bool {
    buckets.sort_by(|a, b| a.bound.total_cmp(&b.bound));
    buckets.dedup_by(|next, kept| {
        let same = next.bound == kept.bound;
        if same {
            kept.count += next.count;
        }
        same
    });
    buckets.last().is_some_and(|last| last.bound == f64::INFINITY)
}

/// Counts may fall from bucket to bucket by rounding or by a torn scrape; they are held at the highest before. Whether one
/// fell by more than rounding.
fn make_rising(buckets: &mut [Bucket]) -> bool {
    let mut fell = false;
    let mut before = buckets[0].count;
    for bucket in &mut buckets[1..] {
        if nearly(before, bucket.count) {
            bucket.count = before;
        } else if bucket.count < before {
            bucket.count = before;
            fell = true;
        } else {
            before = bucket.count;
        }
    }
    fell
}

fn nearly(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() / (a.abs() + b.abs()).min(f64::MAX) < ROUNDING
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(counts: &[(f64, f64)]) -> Vec<Bucket> {
        counts.iter().map(|(bound, count)| Bucket { bound: *bound, count: *count }).collect()
    }

    #[test]
    fn what_falls_by_rounding_is_held_in_silence() {
        let mut found = Found::default();
        let torn = buckets(&[(1.0, 10.0), (2.0, 10.0 - 1e-12), (f64::INFINITY, 10.0)]);
        assert_eq!(quantile(0.5, torn, &mut found), 0.5);
        assert!(!found.was_falling);
        let torn = buckets(&[(1.0, 10.0), (2.0, 8.0), (f64::INFINITY, 10.0)]);
        assert_eq!(quantile(0.5, torn, &mut found), 0.5);
        assert!(found.was_falling);
    }

    #[test]
    fn fractions_spread_evenly() {
        let of = |low, high| fraction(low, high, buckets(&[(1.0, 10.0), (2.0, 30.0), (f64::INFINITY, 40.0)]));
        for ((low, high), expected) in [
            ((0.0, 1.0), 0.25),
            ((0.5, 1.5), 0.375),
            ((-5.0, 1.0), 0.25),
            ((f64::NEG_INFINITY, f64::INFINITY), 1.0),
            ((3.0, f64::INFINITY), 0.25),
            ((3.0, 9.0), 0.0),
            ((2.0, 1.0), 0.0),
        ] {
            assert_eq!(of(low, high), expected, "{low} to {high}");
        }
        assert!(of(f64::NAN, 1.0).is_nan());
        assert!(fraction(0.0, 1.0, buckets(&[(1.0, 1.0)])).is_nan(), "no highest bucket");
    }
}
