//! One series: its labels, and its samples as two columns.

use crate::base::{Labels, Timestamp};

/// The bit pattern of the NaN that says "the series ends here", as Prometheus writes it.
pub const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The stale marker.
pub fn stale() -> f64 {
    f64::from_bits(STALE_BITS)
}

/// Whether a value is the stale marker; other NaNs are values.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_BITS
}

/// Who wrote a series last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Nobody,
    Target(u32),
    Family(u32),
}

/// A series: who it is, when it was born, and its samples, oldest first.
#[derive(Clone, Debug)]
pub struct Series {
    labels: Labels,
    times: Vec<i64>,
    values: Vec<f64>,
    /// Samples before this index are forgotten; they are moved away in bulk.
    start: usize,
    /// The time of the first sample, if the series is known to have begun at zero right before it.
    pub(super) from_zero: Option<Timestamp>,
    /// The last value that was no stale marker.
    pub(super) last_value: Option<f64>,
    /// Who wrote it last, and in which of its rounds.
    pub(super) owner: Owner,
    pub(super) round: u64,
}

impl Series {
    pub(super) fn new(labels: Labels) -> Series {
        Series {
            labels,
            times: Vec::new(),
            values: Vec::new(),
            start: 0,
            from_zero: None,
            last_value: None,
            owner: Owner::Nobody,
            round: 0,
        }
    }

    /// The whole identity.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Times in milliseconds, rising.
    pub fn times(&self) -> &[i64] {
        &self.times[self.start..]
    }

    /// Values, one for each time; stale markers included.
    pub fn values(&self) -> &[f64] {
        &self.values[self.start..]
    }

    /// The time of the newest entry, stale markers included.
    pub fn last_time(&self) -> Option<i64> {
        self.times().last().copied()
    }

    /// Whether the series ended: its newest entry is a stale marker, or there is none.
    pub fn is_ended(&self) -> bool {
        self.values().last().is_none_or(|value| is_stale(*value))
    }

    /// The time of the first sample, if the series is known to have begun at zero right before it.
    pub fn from_zero(&self) -> Option<Timestamp> {
        self.from_zero
    }

    /// How many of the samples have a time of at most `at`. Most questions are about the end, so it looks there first.
    pub fn count_until(&self, at: i64) -> usize {
        let times = self.times();
        let mut high = times.len();
        let mut step = 1;
        while step <= high && times[high - step] > at {
            high -= step;
            step *= 2;
        }
        let low = high.saturating_sub(step);
        low + times[low..high].partition_point(|time| *time <= at)
    }

    /// The newest value with a time in `(at - look_back, at]`, unless the series ended before `at`.
    pub fn latest(&self, at: i64, look_back: i64) -> Option<(i64, f64)> {
        let i = self.count_until(at).checked_sub(1)?;
        let (time, value) = (self.times()[i], self.values()[i]);
        (time > at.saturating_sub(look_back) && !is_stale(value)).then_some((time, value))
    }

    pub(super) fn push(&mut self, at: i64, value: f64) {
        self.times.push(at);
        self.values.push(value);
        if !is_stale(value) {
            self.last_value = Some(value);
        }
    }

    /// Replaces the newest entry's value.
    pub(super) fn replace_last(&mut self, value: f64) {
        if let Some(last) = self.values.last_mut() {
            *last = value;
        }
        if !is_stale(value) {
            self.last_value = Some(value);
        }
    }

    /// Forgets what is older than `oldest`; returns how many samples that were.
    pub(super) fn forget_before(&mut self, oldest: i64) -> usize {
        let dropped = self.times().partition_point(|time| *time < oldest);
        self.start += dropped;
        if self.start * 2 > self.times.len() {
            self.times.drain(..self.start);
            self.values.drain(..self.start);
            self.start = 0;
        }
        dropped
    }

    pub(super) fn shift(&mut self, by: i64) {
        for time in &mut self.times {
            *time = time.saturating_add(by);
        }
        if let Some(at) = &mut self.from_zero {
            at.0 = at.0.saturating_add(by);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_from_the_end_agrees_with_a_plain_search() {
        let mut series = Series::new(Labels::empty());
        for i in 0..200 {
            series.push(i * 10, i as f64);
        }
        series.forget_before(300);
        for at in -20..2100 {
            let plain = series.times().partition_point(|time| *time <= at);
            assert_eq!(series.count_until(at), plain, "{at}");
        }
    }

    #[test]
    fn look_back_is_open_on_the_left_and_a_stale_marker_ends_the_series() {
        let mut series = Series::new(Labels::empty());
        series.push(1000, 1.0);
        assert_eq!(series.latest(1000, 300), Some((1000, 1.0)));
        assert_eq!(series.latest(1299, 300), Some((1000, 1.0)));
        assert_eq!(series.latest(1300, 300), None);
        assert_eq!(series.latest(999, 300), None);
        series.push(1100, stale());
        assert_eq!(series.latest(1099, 300), Some((1000, 1.0)));
        assert_eq!(series.latest(1100, 300), None);
        series.push(1200, f64::NAN);
        assert!(series.latest(1200, 300).is_some_and(|(_, value)| value.is_nan()));
    }
}
