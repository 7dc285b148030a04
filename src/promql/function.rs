//! Functions from a value to a value, and the quantile of a classic histogram.

use super::evaluate::{Element, Vector};
use crate::base::label::NAME;
use crate::base::{Labels, Timestamp};
use std::collections::BTreeMap;

/// A function of one number.
pub(super) type MathFn = fn(f64) -> f64;

/// Functions of a value and further numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MapFn {
    Clamp,
    ClampMin,
    ClampMax,
    Round,
}

/// The plain functions by name.
pub(super) fn math(name: &str) -> Option<MathFn> {
    Some(match name {
        "abs" => f64::abs,
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        "sqrt" => f64::sqrt,
        "exp" => f64::exp,
        "ln" => f64::ln,
        "log2" => f64::log2,
        "log10" => f64::log10,
        "sgn" => |v| {
            if v > 0.0 {
                1.0
            } else if v < 0.0 {
                -1.0
            } else {
                v
            }
        },
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tan" => f64::tan,
        "asin" => f64::asin,
        "acos" => f64::acos,
        "atan" => f64::atan,
        "sinh" => f64::sinh,
        "cosh" => f64::cosh,
        "tanh" => f64::tanh,
        "asinh" => f64::asinh,
        "acosh" => f64::acosh,
        "atanh" => f64::atanh,
        "deg" => |v| v * 180.0 / std::f64::consts::PI,
        "rad" => |v| v * std::f64::consts::PI / 180.0,
        _ => return None,
    })
}

impl MapFn {
    pub(super) fn named(name: &str) -> Option<MapFn> {
        Some(match name {
            "clamp" => MapFn::Clamp,
            "clamp_min" => MapFn::ClampMin,
            "clamp_max" => MapFn::ClampMax,
            "round" => MapFn::Round,
            _ => return None,
        })
    }

    /// The value; none where the limits of `clamp` cross.
    pub(super) fn apply(self, value: f64, parameters: &[f64]) -> Option<f64> {
        let parameter = |i: usize, default: f64| parameters.get(i).copied().unwrap_or(default);
        match self {
            MapFn::Clamp => {
                let (low, high) = (parameter(0, f64::NAN), parameter(1, f64::NAN));
                (low <= high || low.is_nan() || high.is_nan()).then(|| nan_max(low, nan_min(high, value)))
            }
            MapFn::ClampMin => Some(nan_max(parameter(0, f64::NAN), value)),
            MapFn::ClampMax => Some(nan_min(parameter(0, f64::NAN), value)),
            MapFn::Round => {
                // The inverse first, as Prometheus does: 0.1 has no exact float, 1 / 0.1 is 10.
                let inverse = 1.0 / parameter(0, 1.0);
                Some((value * inverse + 0.5).floor() / inverse)
            }
        }
    }
}

/// NaN on either side gives NaN.
fn nan_max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

fn nan_min(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}

#[derive(Clone, Copy)]
struct Bucket {
    bound: f64,
    count: f64,
}

/// `histogram_quantile` over classic buckets: one value for each label set without `le`.
pub(super) fn histogram_quantile(q: f64, buckets: Vector) -> Vector {
    let mut histograms: BTreeMap<Labels, (Vec<Bucket>, Timestamp)> = BTreeMap::new();
    for element in buckets {
        let Some(bound) = bucket_bound(element.labels.get("le")) else { continue };
        let labels = element.labels.filtered(|name| name != NAME && name != "le");
        let (all, newest) = histograms.entry(labels).or_insert_with(|| (Vec::new(), element.newest));
        all.push(Bucket { bound, count: element.value });
        *newest = (*newest).max(element.newest);
    }
    let value = |(labels, (all, newest)): (Labels, (Vec<Bucket>, Timestamp))| Element {
        labels,
        value: bucket_quantile(q, all),
        newest,
        drop_name: false,
    };
    histograms.into_iter().map(value).collect()
}

/// `le` as Go's number parser reads it, which takes no surrounding space.
fn bucket_bound(text: &str) -> Option<f64> {
    let bound: f64 = text.parse().ok()?;
    (!bound.is_nan()).then_some(bound)
}

fn bucket_quantile(q: f64, mut buckets: Vec<Bucket>) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    buckets.sort_by(|a, b| a.bound.total_cmp(&b.bound));
    if buckets.last().is_none_or(|last| last.bound != f64::INFINITY) {
        return f64::NAN;
    }
    let buckets = monotonic(merged(buckets));
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

/// Buckets with bounds that are equal as numbers (`1` and `1.0`) are one.
fn merged(buckets: Vec<Bucket>) -> Vec<Bucket> {
    let mut all: Vec<Bucket> = Vec::with_capacity(buckets.len());
    for bucket in buckets {
        match all.last_mut() {
            Some(last) if last.bound == bucket.bound => last.count += bucket.count,
            _ => all.push(bucket),
        }
    }
    all
}

/// Counts may fall from bucket to bucket by rounding or by a torn scrape; they are held at the highest before.
fn monotonic(mut buckets: Vec<Bucket>) -> Vec<Bucket> {
    let mut before = buckets[0].count;
    for bucket in &mut buckets[1..] {
        if bucket.count < before || nearly(before, bucket.count) {
            bucket.count = before;
        } else {
            before = bucket.count;
        }
    }
    buckets
}

fn nearly(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() / (a.abs() + b.abs()).min(f64::MAX) < 1e-12
}
