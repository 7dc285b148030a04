//! Functions over a window of samples.
//!
//! A window is `(t - range, t]` without stale markers. A function gives nothing where the window holds too
//! few samples for it; that is no value of zero.

use super::math::{Mean, Sum, greatest, least, quantile, variance};

/// The functions that take a range and give one value a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RangeFn {
    Rate,
    Increase,
    Delta,
    Irate,
    Idelta,
    Deriv,
    PredictLinear,
    Changes,
    Resets,
    Avg,
    Sum,
    Min,
    Max,
    Count,
    Last,
    First,
    Present,
    Quantile,
    Stddev,
    Stdvar,
    /// The median distance from the median.
    Mad,
    /// Double exponential smoothing.
    Smoothed,
    /// When the first, last, smallest, largest sample was.
    TimeOfFirst,
    TimeOfLast,
    TimeOfMin,
    TimeOfMax,
}

/// The samples of a window and the window's edges, all in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window<'a> {
    pub(super) times: &'a [i64],
    pub(super) values: &'a [f64],
    /// The edge that is open.
    pub(super) start: i64,
    pub(super) end: i64,
    /// The time of evaluation, which an offset moves away from the end.
    pub(super) now: i64,
}

impl RangeFn {
    pub(super) fn named(name: &str) -> Option<RangeFn> {
        Some(match name {
            "rate" => RangeFn::Rate,
            "increase" => RangeFn::Increase,
            "delta" => RangeFn::Delta,
            "irate" => RangeFn::Irate,
            "idelta" => RangeFn::Idelta,
            "deriv" => RangeFn::Deriv,
            "predict_linear" => RangeFn::PredictLinear,
            "changes" => RangeFn::Changes,
            "resets" => RangeFn::Resets,
            "avg_over_time" => RangeFn::Avg,
            "sum_over_time" => RangeFn::Sum,
            "min_over_time" => RangeFn::Min,
            "max_over_time" => RangeFn::Max,
            "count_over_time" => RangeFn::Count,
            "last_over_time" => RangeFn::Last,
            "first_over_time" => RangeFn::First,
            "present_over_time" => RangeFn::Present,
            "quantile_over_time" => RangeFn::Quantile,
            "stddev_over_time" => RangeFn::Stddev,
            "stdvar_over_time" => RangeFn::Stdvar,
            "mad_over_time" => RangeFn::Mad,
            "double_exponential_smoothing" => RangeFn::Smoothed,
            "ts_of_first_over_time" => RangeFn::TimeOfFirst,
            "ts_of_last_over_time" => RangeFn::TimeOfLast,
            "ts_of_min_over_time" => RangeFn::TimeOfMin,
            "ts_of_max_over_time" => RangeFn::TimeOfMax,
            _ => return None,
        })
    }

    /// Which argument is the range; the others are numbers.
    pub(super) fn range_argument(self) -> usize {
        usize::from(self == RangeFn::Quantile)
    }

    pub(super) fn keeps_name(self) -> bool {
        matches!(self, RangeFn::Last | RangeFn::First)
    }

    /// Whether the value depends on the time of evaluation itself, not only on the window.
    pub(super) fn needs_now(self) -> bool {
        self == RangeFn::PredictLinear
    }

    /// The value over a window of at least one sample; none where it needs more.
    #[inline]
    pub(super) fn apply(self, window: &Window<'_>, parameters: [f64; 2]) -> Option<f64> {
        let values = window.values;
        match self {
            RangeFn::Rate => extrapolated(window, true, true),
            RangeFn::Increase => extrapolated(window, true, false),
            RangeFn::Delta => extrapolated(window, false, false),
            RangeFn::Irate => last_two(window, true),
            RangeFn::Idelta => last_two(window, false),
            RangeFn::Deriv => line(window, window.times[0]).map(|(slope, _)| slope),
            RangeFn::PredictLinear => line(window, window.now).map(|(slope, at_now)| slope * parameters[0] + at_now),
            RangeFn::Changes => {
                Some(pairs(values).filter(|(a, b)| a != b && !(a.is_nan() && b.is_nan())).count() as f64)
            }
            RangeFn::Resets => Some(pairs(values).filter(|(a, b)| b < a).count() as f64),
            RangeFn::Avg => Some(values.iter().fold(Mean::default(), |mut m, v| (m.add(*v), m).1).mean()),
            RangeFn::Sum => Some(values.iter().fold(Sum::default(), |mut s, v| (s.add(*v), s).1).total()),
            RangeFn::Min => values.iter().copied().reduce(least),
            RangeFn::Max => values.iter().copied().reduce(greatest),
            RangeFn::Count => Some(values.len() as f64),
            RangeFn::Last => values.last().copied(),
            RangeFn::First => values.first().copied(),
            RangeFn::Present => Some(1.0),
            RangeFn::Quantile => Some(quantile(parameters[0], &mut values.to_vec())),
            RangeFn::Stddev => Some(variance(values.iter().copied()).sqrt()),
            RangeFn::Stdvar => Some(variance(values.iter().copied())),
            RangeFn::Mad => {
                let median = quantile(0.5, &mut values.to_vec());
                Some(quantile(0.5, &mut values.iter().map(|value| (value - median).abs()).collect::<Vec<_>>()))
            }
            RangeFn::Smoothed => smoothed(values, parameters),
            RangeFn::TimeOfFirst => window.times.first().map(|time| seconds(*time)),
            RangeFn::TimeOfLast => window.times.last().map(|time| seconds(*time)),
            RangeFn::TimeOfMin => time_of(window, |new, held| new <= held || held.is_nan()),
            RangeFn::TimeOfMax => time_of(window, |new, held| new >= held || held.is_nan()),
        }
    }
}

fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

/// The time of the last sample that is preferred to all others.
fn time_of(window: &Window<'_>, prefers: impl Fn(f64, f64) -> bool) -> Option<f64> {
    let mut samples = window.times.iter().zip(window.values);
    let first = samples.next()?;
    let best = samples.fold(first, |held, new| if prefers(*new.1, *held.1) { new } else { held });
    Some(seconds(*best.0))
}

/// Holt's linear method: a level and a trend, each smoothed by its factor.
fn smoothed(values: &[f64], [of_level, of_trend]: [f64; 2]) -> Option<f64> {
    let [first, second, ..] = *values else { return None };
    let (mut before, mut level, mut trend) = (0.0, first, second - first);
    for (i, value) in values[1..].iter().enumerate() {
        if i > 0 {
            trend = of_trend * (level - before) + (1.0 - of_trend) * trend;
        }
        (before, level) = (level, of_level * value + (1.0 - of_level) * (level + trend));
    }
    Some(level)
}

fn pairs(values: &[f64]) -> impl Iterator<Item = (f64, f64)> {
    values.windows(2).map(|pair| (pair[0], pair[1]))
}

/// The rise from the first to the last sample, stretched to the window's edges where the samples come near them: nearer
/// than 1.1 mean gaps to the edge itself, else by half a gap; a counter never before its own zero.
#[inline]
fn extrapolated(window: &Window<'_>, is_counter: bool, per_second: bool) -> Option<f64> {
    let (times, values) = (window.times, window.values);
    let n = values.len();
    if n < 2 {
        return None;
    }
    let mut rise = values[n - 1] - values[0];
    if is_counter {
        for pair in values.windows(2) {
            if pair[1] < pair[0] {
                rise += pair[0];
            }
        }
    }
    let seconds = |from: i64, to: i64| to.saturating_sub(from) as f64 / 1000.0;
    let covered = seconds(times[0], times[n - 1]);
    let gap = covered / (n - 1) as f64;
    let threshold = gap * 1.1;
    let mut to_start = seconds(window.start, times[0]);
    if to_start >= threshold {
        to_start = gap / 2.0;
    }
    if is_counter && rise > 0.0 && values[0] >= 0.0 {
        let to_zero = covered * (values[0] / rise);
        if to_zero < to_start {
            to_start = to_zero;
        }
    }
    let mut to_end = seconds(times[n - 1], window.end);
    if to_end >= threshold {
        to_end = gap / 2.0;
    }
    let mut factor = (covered + to_start + to_end) / covered;
    if per_second {
        factor /= seconds(window.start, window.end);
    }
    Some(rise * factor)
}

fn last_two(window: &Window<'_>, is_rate: bool) -> Option<f64> {
    let n = window.values.len();
    let before = window.values.get(n.checked_sub(2)?).copied()?;
    let last = window.values[n - 1];
    let rise = if is_rate && last < before { last } else { last - before };
    let seconds = (window.times[n - 1] - window.times[n - 2]) as f64 / 1000.0;
    Some(if is_rate { rise / seconds } else { rise })
}

/// The least-squares line: its slope per second and its value at `origin`.
fn line(window: &Window<'_>, origin: i64) -> Option<(f64, f64)> {
    let n = window.values.len();
    if n < 2 {
        return None;
    }
    let first = window.values[0];
    if window.values.iter().all(|value| *value == first) {
        return Some(if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) });
    }
    let [mut sum_x, mut sum_y, mut sum_xy, mut sum_xx] = [Sum::default(); 4];
    for (time, value) in window.times.iter().zip(window.values) {
        let x = time.saturating_sub(origin) as f64 / 1000.0;
        sum_x.add(x);
        sum_y.add(*value);
        sum_xy.add(x * value);
        sum_xx.add(x * x);
    }
    let n = n as f64;
    let (x, y) = (sum_x.total(), sum_y.total());
    let covariance = sum_xy.total() - x * y / n;
    let slope = covariance / (sum_xx.total() - x * x / n);
    Some((slope, y / n - slope * x / n))
}
