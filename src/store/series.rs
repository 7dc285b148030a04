//! One series: its labels, and its samples as two columns.
//!
//! Series of one target have the same times, so they share one column of them, the target's timeline; a value then
//! costs eight bytes. A series whose samples bring times of their own has a column for itself.

use std::sync::Arc;

use super::chunk;
use super::column::Column;
use super::samples::{Cursor, count_until, merged};
use crate::base::{Labels, Span, Timestamp};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    Nobody,
    Target(u32),
    Family(u32),
}

/// The times of a target's looks. Places in it are counted from its first look on, also when that is forgotten.
#[derive(Clone, Debug)]
pub(super) struct Timeline {
    pub(super) times: Column<i64>,
    /// The place of the first time still held.
    pub(super) first: u64,
}

/// Where the times of a series' values stand.
#[derive(Clone, Debug)]
pub(super) enum Times {
    /// In the timeline of a target, from this place on, one for each value.
    Shared { target: u32, first: u64 },
    /// In a column of its own.
    Own(Column<i64>),
}

/// Samples that are older than the columns, coded; they do not change any more.
#[derive(Clone, Debug)]
struct Sealed {
    first: i64,
    last: i64,
    count: usize,
    /// By how much the wall clock was set since it was sealed.
    shift: i64,
    times: Arc<[u8]>,
    values: Arc<[u8]>,
}

/// How many samples are sealed together.
const CHUNK: usize = 240;

/// A series: who it is, when it was born, and its samples, oldest first.
#[derive(Clone, Debug)]
pub struct Series {
    pub(super) labels: Labels,
    pub(super) times: Times,
    pub(super) values: Column<f64>,
    sealed: Vec<Sealed>,
    /// How far back a rule asks for it, where that is further than what all series are held for.
    pub(super) reach: Option<Span>,
    /// The time of the first sample, if the series is known to have begun at zero right before it.
    pub(super) from_zero: Option<Timestamp>,
    /// The last value that was no stale marker.
    pub(super) last_value: Option<f64>,
    /// When its sample is an event. Told once: with each sample it would cost a search in its labels, which are far away
    /// in memory.
    pub(super) news: News,
    /// Who wrote it last, and in which of its rounds.
    pub(super) owner: Owner,
    pub(super) round: u64,
}

impl Timeline {
    pub(super) fn new() -> Timeline {
        Timeline { times: Column::new(), first: 0 }
    }

    /// The place after the newest.
    pub(super) fn end(&self) -> u64 {
        self.first + self.times.len() as u64
    }

    /// Forgets what stands before this place.
    pub(super) fn forget_until(&mut self, place: u64) {
        let n = place.min(self.end()).saturating_sub(self.first);
        self.times.forget(n as usize);
        self.first += n;
    }
}

/// When a sample of a series is an event, which rules that read it are judged for at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Never.
    Nothing,
    /// It says how a look went: when that changes, and when the first one failed.
    Verdict,
    /// It is what somebody stated: when that changes, and when the first one is not nothing.
    Word,
    /// It counts what happened since the sample before: whenever something did.
    Happened,
    /// It counts what happens: when it rises.
    Rose,
}

/// The levels of lines that are events: from here on somebody may have to act.
const LOUD: [&str; 3] = ["error", "critical", "fatal"];

impl News {
    fn of(labels: &Labels) -> News {
        match labels.name() {
            "up" | "probe_success" => News::Verdict,
            "container_healthy" | "container_running" | "container_engine_up" | "systemd_unit_active" => News::Verdict,
            "container_deaths_total" | "container_oom_events_total" | "container_restarts_total" => News::Rose,
            "systemd_unit_oom_kills_total" | "systemd_unit_restarts_total" => News::Rose,
            "backstop_signal" | "backstop_signal_rejected" => News::Word,
            "backstop_signal_new" | "log_matches_new" => News::Happened,
            "log_matches_total" => News::Rose,
            "log_lines_total" if LOUD.contains(&labels.get("level")) => News::Rose,
            "log_value" => News::Word,
            _ => News::Nothing,
        }
    }
}

impl Series {
    pub(super) fn new(labels: Labels, reach: Option<Span>) -> Series {
        Series {
            news: News::of(&labels),
            labels,
            times: Times::Own(Column::new()),
            values: Column::new(),
            sealed: Vec::new(),
            reach,
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

    /// The time of the first sample, if the series is known to have begun at zero right before it.
    pub fn from_zero(&self) -> Option<Timestamp> {
        self.from_zero
    }

    /// Times in milliseconds, rising, one for each of [`Series::values`].
    pub(super) fn times<'a>(&'a self, timelines: &'a [Timeline]) -> &'a [i64] {
        match &self.times {
            Times::Own(column) => column.as_slice(),
            Times::Shared { target, first } => {
                let timeline = &timelines[*target as usize];
                let from = (*first - timeline.first) as usize;
                &timeline.times.as_slice()[from..from + self.values.len()]
            }
        }
    }

    /// Values, stale markers included.
    pub(super) fn values(&self) -> &[f64] {
        self.values.as_slice()
    }

    /// The time of the newest entry, stale markers included.
    pub(super) fn last_time(&self, timelines: &[Timeline]) -> Option<i64> {
        self.times(timelines).last().copied().or(self.sealed.last().map(|sealed| sealed.last + sealed.shift))
    }

    /// Whether the series ended: its newest entry is a stale marker, or there is none.
    pub fn is_ended(&self) -> bool {
        self.values().last().is_none_or(|value| is_stale(*value))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.len() == 0 && self.sealed.is_empty()
    }

    /// Bytes of its samples, about.
    pub(super) fn bytes(&self) -> usize {
        let own = if matches!(self.times, Times::Own(_)) { 8 } else { 0 };
        let sealed: usize = self.sealed.iter().map(|s| s.times.len() + s.values.len() + 80).sum();
        self.values.len() * (8 + own) + sealed
    }

    /// Adds a sample of the look that the timeline of `target` ends with.
    pub(super) fn push_shared(&mut self, target: u32, timelines: &[Timeline], value: f64) {
        let timeline = &timelines[target as usize];
        let place = timeline.end() - 1;
        let ended = self.is_ended();
        match &mut self.times {
            _ if self.values.len() == 0 => self.times = Times::Shared { target, first: place },
            Times::Shared { target: mine, first } if *mine == target && *first + self.values.len() as u64 == place => {}
            // Looks without it, since it ended: as many stale markers say the same, and keep the places together.
            Times::Shared { target: mine, first } if *mine == target && ended => {
                for _ in *first + (self.values.len() as u64)..place {
                    self.values.push(stale());
                }
            }
            _ => {
                let at = timeline.times.as_slice().last().copied().unwrap_or_default();
                return self.push_own(timelines, at, value);
            }
        }
        self.put(value);
    }

    /// Adds a sample with a time of its own.
    pub(super) fn push_own(&mut self, timelines: &[Timeline], at: i64, value: f64) {
        if matches!(self.times, Times::Shared { .. }) {
            self.times = Times::Own(self.times(timelines).to_vec().into());
        }
        if let Times::Own(column) = &mut self.times {
            column.push(at);
        }
        self.put(value);
    }

    fn put(&mut self, value: f64) {
        self.values.push(value);
        if !is_stale(value) {
            self.last_value = Some(value);
        }
    }

    /// Replaces the newest entry's value.
    pub(super) fn replace_last(&mut self, value: f64) {
        self.values.replace_last(value);
        if !is_stale(value) {
            self.last_value = Some(value);
        }
    }

    /// Joins rising times and their values with what is held in columns; at a time that both have, the new value wins.
    pub(super) fn join(&mut self, timelines: &[Timeline], times: &[i64], values: &[f64]) {
        let (times, values) = merged((self.times(timelines), self.values()), (times, values));
        self.last_value = values.iter().rev().copied().find(|value| !is_stale(*value));
        self.times = Times::Own(times.into());
        self.values = values.into();
    }

    /// Puts samples in that are older than all it holds.
    pub(super) fn put_before(&mut self, timelines: &[Timeline], times: &[i64], values: &[f64]) {
        let first = self.sealed.first().map(|sealed| sealed.first + sealed.shift);
        let first = first.or(self.times(timelines).first().copied());
        let n = first.map_or(times.len(), |first| times.partition_point(|time| *time < first));
        let chunks = times[..n].chunks(CHUNK).zip(values[..n].chunks(CHUNK));
        let older = chunks.map(|(times, values)| Sealed::new(times, values)).collect::<Vec<_>>();
        self.sealed.splice(0..0, older);
    }

    /// Forgets what is older than `oldest`; what its reach before `now` asks for is sealed instead.
    pub(super) fn forget_before(&mut self, timelines: &[Timeline], oldest: i64, now: i64) {
        let times = self.times(timelines);
        let mut n = times.partition_point(|time| *time < oldest);
        if let Some(reach) = self.reach {
            // Whole chunks only, and the rest of one that will never be full.
            let ended = n == times.len();
            n = if ended { n } else { n / CHUNK * CHUNK };
            let chunks = times[..n].chunks(CHUNK).zip(self.values()[..n].chunks(CHUNK));
            let sealed: Vec<Sealed> = chunks.map(|(times, values)| Sealed::new(times, values)).collect();
            self.sealed.extend(sealed);
            let until = now.saturating_sub(reach.0);
            self.sealed.retain(|sealed| sealed.last + sealed.shift >= until);
        }
        self.values.forget(n);
        match &mut self.times {
            // Without values it needs no times, and must not keep a target's timeline from being forgotten.
            _ if self.values.len() == 0 => self.times = Times::Own(Column::new()),
            Times::Own(column) => column.forget(n),
            Times::Shared { first, .. } => *first += n as u64,
        }
    }

    /// Drops what is sealed.
    pub(super) fn unseal(&mut self) {
        self.sealed.clear();
    }

    pub(super) fn shift(&mut self, by: i64) {
        if let Times::Own(column) = &mut self.times {
            column.for_each(|time| *time = time.saturating_add(by));
        }
        self.sealed.iter_mut().for_each(|sealed| sealed.shift = sealed.shift.saturating_add(by));
        if let Some(at) = &mut self.from_zero {
            at.0 = at.0.saturating_add(by);
        }
    }

    /// The samples in `(start, end]`, decoded into the cursor where they are not in the columns alone.
    pub(super) fn window<'a>(
        &'a self,
        timelines: &'a [Timeline],
        start: i64,
        end: i64,
        cursor: &'a mut Cursor,
    ) -> (&'a [i64], &'a [f64]) {
        let times = self.times(timelines);
        let old = self.sealed.last().is_some_and(|sealed| sealed.last + sealed.shift > start);
        if !old {
            let range = cursor.edges(times, start, end);
            return (&times[range.clone()], &self.values()[range]);
        }
        cursor.times.clear();
        cursor.values.clear();
        for sealed in self.sealed.iter().filter(|s| s.last + s.shift > start && s.first + s.shift <= end) {
            sealed.decode(&mut cursor.times, &mut cursor.values);
        }
        let held = count_until(times, end);
        cursor.times.extend_from_slice(&times[..held]);
        cursor.values.extend_from_slice(&self.values()[..held]);
        let to = count_until(&cursor.times, end);
        let from = count_until(&cursor.times[..to], start);
        (&cursor.times[from..to], &cursor.values[from..to])
    }
}

impl Sealed {
    fn new(times: &[i64], values: &[f64]) -> Sealed {
        Sealed {
            first: times.first().copied().unwrap_or_default(),
            last: times.last().copied().unwrap_or_default(),
            count: times.len(),
            shift: 0,
            times: chunk::encode_times(times).into(),
            values: chunk::encode_values(values).into(),
        }
    }

    /// What this process coded itself always decodes; if it did not, the samples would be missing and not be wrong.
    fn decode(&self, times: &mut Vec<i64>, values: &mut Vec<f64>) {
        let before = times.len();
        let whole = chunk::decode_times(&self.times, self.count, times).is_ok()
            && chunk::decode_values(&self.values, self.count, values).is_ok();
        debug_assert!(whole, "a chunk of our own is whole");
        times.truncate(times.len().min(values.len()));
        values.truncate(times.len());
        times[before..].iter_mut().for_each(|time| *time += self.shift);
    }
}
