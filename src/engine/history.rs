//! What a rule's value was: asked for at T0 to know what was usual, and after a restart to know what has gathered since.
//!
//! Enters: a [`Question`], put to whoever holds the samples. Leaves: one value a minute, or the counts of each bucket, for
//! each label set. Answering is pure over a view of the samples, a slice of time at a time, so that memory stays bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::civil::Weekday;

use crate::base::{Labels, Span, Timestamp};
use crate::promql::{self, Plan, Point};
use crate::rule::evidence::Past;
use crate::rule::{Asks, Known};
use crate::store::{Cursor, Samples, Selector, View};

/// What is asked of the past.
#[derive(Clone, Debug)]
pub struct Question {
    /// To be handed in with the answer.
    pub ticket: u64,
    /// For which rule.
    pub rule: String,
    /// What.
    pub ask: Ask,
    /// The grid begins here.
    pub from: Timestamp,
    /// And ends here; a whole number of steps later.
    pub to: Timestamp,
    /// Between two points of the grid.
    pub step: Span,
    /// What for.
    pub purpose: Purpose,
    /// The value of a step is the mean of its readings, so far apart; a part of the step.
    pub reading: Span,
    /// How far looks are apart.
    pub interval: Span,
}

/// What the past is asked for.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// What was usual before T0, worked out where the samples are read: it takes some milliseconds a label set.
    Calibrate {
        /// What the rule's conditions ask for.
        asks: Asks,
        /// Times that were not usual.
        left_out: Vec<(Timestamp, Timestamp)>,
        /// The zone of days of the week.
        zone: jiff::tz::TimeZone,
    },
    /// What was gathered before a restart.
    Replay,
}

/// What is asked for each step.
#[derive(Clone, Debug)]
pub enum Ask {
    /// The mean of the values of an expression in the step.
    Value(Arc<Plan>),
    /// The events of the step.
    Events {
        /// Selector of the errors.
        errors: Arc<Selector>,
        /// Selector of all events.
        total: Arc<Selector>,
        /// The labels kept.
        by: Vec<String>,
    },
}

/// Questions are told apart by their tickets.
impl PartialEq for Question {
    fn eq(&self, other: &Question) -> bool {
        (self.ticket, &self.rule, self.from, self.to) == (other.ticket, &other.rule, other.from, other.to)
    }
}

/// The answer to a question, by the labels that the expression gives.
#[derive(Clone, Debug)]
pub struct Told {
    /// Which question.
    pub ticket: u64,
    /// What was asked, or why it cannot be told.
    pub what: Result<What, String>,
}

/// What was told.
#[derive(Clone, Debug)]
pub enum What {
    /// What is known of the time before T0.
    Known(Vec<(Labels, Known)>),
    /// The values themselves.
    Past(Vec<(Labels, Past)>),
}

/// The longest stretch that is answered at once.
const SLICE: Span = Span::hours(12);

/// Of how many series of a selector the times are looked at.
const MOST_ASKED: usize = 64;

/// The most label sets whose past is kept.
pub const MAX_SETS: usize = 2000;

impl Question {
    /// How many steps the grid has.
    pub fn steps(&self) -> usize {
        ((self.to - self.from).0.max(0) / self.step.0.max(1)) as usize
    }

    /// The stretches of time that are to be answered one after the other.
    pub fn slices(&self) -> Vec<(Timestamp, Timestamp)> {
        let length = self.step.times((SLICE.0 / self.step.0.max(1)).max(1));
        let mut slices = Vec::new();
        let mut from = self.from;
        while from < self.to {
            let to = (from + length).min(self.to);
            slices.push((from, to));
            from = to;
        }
        slices
    }

    /// The series that a slice asks for, each with the times between which its samples take part.
    pub fn spans(&self, (from, to): (Timestamp, Timestamp), look_back: Span) -> Vec<(&Selector, Timestamp, Timestamp)> {
        match &self.ask {
            Ask::Value(plan) => plan.spans(from, to, look_back),
            Ask::Events { errors, total, .. } => {
                [errors, total].map(|selector| (&**selector, from - look_back, to)).to_vec()
            }
        }
    }

    /// Answers for one slice into `told`; slices come in order.
    ///
    /// # Errors
    /// Why the expression has no values over this data.
    fn answer(
        &self,
        samples: &impl Samples,
        (from, to): (Timestamp, Timestamp),
        look_back: Span,
        told: &mut BTreeMap<Labels, Gathered>,
    ) -> Result<(), String> {
        let first = ((from - self.from).0 / self.step.0) as usize;
        let steps = ((to - from).0 / self.step.0) as usize;
        if steps == 0 {
            return Ok(());
        }
        match (&self.ask, &self.purpose) {
            (Ask::Value(plan), Purpose::Calibrate { .. }) => {
                let reading = Span(self.reading.0.clamp(1, self.step.0));
                let options = promql::Options { look_back, step: reading, ..promql::Options::default() };
                let answer = promql::query_range(plan, samples, (from, to - reading), reading, &options)?;
                let promql::Value::Matrix(rows) = answer.value else { return Ok(()) };
                for row in rows {
                    let Some(gathered) = self.of(row.labels.without_name(), told) else { continue };
                    row.points.iter().for_each(|(at, value)| gathered.see(self, *at, *value));
                }
            }
            // As they were judged: each sample once, when it came.
            (Ask::Value(plan), Purpose::Replay) => {
                let options = promql::Options { look_back, ..promql::Options::default() };
                let selectors = plan.selectors().iter().map(|used| &used.selector);
                let mut times = sample_times(samples, selectors, from, to - Span::millis(1));
                if times.is_empty() {
                    times.extend((0..(to - from).0 / self.reading.0.max(1)).map(|i| from + self.reading.times(i)));
                }
                for at in thinned(times, Span(self.interval.0 / 4)) {
                    let points = match promql::query(plan, samples, at, &options)?.value {
                        promql::Value::Vector(points) => points,
                        promql::Value::Scalar(value) => vec![Point { labels: Labels::empty(), value, newest: at }],
                        _ => continue,
                    };
                    for point in points {
                        let Some(gathered) = self.of(point.labels.without_name(), told) else { continue };
                        if gathered.newest.is_none_or(|before| point.newest > before) {
                            gathered.newest = Some(point.newest);
                            gathered.see(self, at, point.value);
                        }
                    }
                }
            }
            (Ask::Events { errors, total, by }, _) => {
                let counts = promql::count_steps((errors, total), by, samples, from, self.step, steps, look_back);
                for (labels, counts) in counts {
                    let Some(gathered) = self.of(labels, told) else { continue };
                    let past = &mut gathered.past;
                    for (i, (errors, total)) in counts.into_iter().enumerate() {
                        if let (Some(e), Some(t)) = (past.errors.get_mut(first + i), past.values.get_mut(first + i)) {
                            (*e, *t) = (errors, total);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// What is gathered of a label set, unknown where nothing was told of it; none once there are too many.
    fn of<'a>(&self, labels: Labels, told: &'a mut BTreeMap<Labels, Gathered>) -> Option<&'a mut Gathered> {
        if told.len() >= MAX_SETS && !told.contains_key(&labels) {
            return None;
        }
        let unknown = || vec![f64::NAN; self.steps()];
        let past = || match (&self.ask, &self.purpose) {
            (Ask::Events { .. }, _) => Past { values: unknown(), errors: unknown(), ..Past::default() },
            (Ask::Value(_), Purpose::Calibrate { .. }) => Past { values: unknown(), ..Past::default() },
            (Ask::Value(_), Purpose::Replay) => {
                Past { values: unknown(), extremes: vec![(f64::NAN, f64::NAN); self.steps()], ..Past::default() }
            }
        };
        Some(told.entry(labels).or_insert_with(|| Gathered { past: past(), step: 0, sum: 0.0, count: 0, newest: None }))
    }

    /// Answers slice by slice; `view` hands out the samples of a slice, of these series.
    pub fn told<S: Samples>(
        &self,
        look_back: Span,
        mut view: impl FnMut((Timestamp, Timestamp), Vec<(&Selector, Timestamp, Timestamp)>) -> Result<S, String>,
    ) -> Told {
        let mut past = BTreeMap::new();
        let result = self.slices().into_iter().try_for_each(|slice| {
            let samples = view(slice, self.spans(slice, look_back))?;
            self.answer(&samples, slice, look_back, &mut past)
        });
        let past = past.into_iter().map(|(labels, gathered)| (labels, gathered.past)).collect();
        Told { ticket: self.ticket, what: result.map(|()| self.purpose.of(self.to, past)) }
    }

    /// Answers from one view of everything: where all samples are in memory.
    pub fn answer_all(&self, samples: &View, look_back: Span) -> Told {
        self.told(look_back, |_, _| Ok(samples.clone()))
    }
}

/// What is gathered of one label set.
#[derive(Debug)]
struct Gathered {
    past: Past,
    /// The step that is being filled: the sum of its values, and how many they are.
    step: usize,
    sum: f64,
    count: u32,
    newest: Option<Timestamp>,
}

impl Gathered {
    /// A value of the step in which `at` lies; they come in order.
    fn see(&mut self, question: &Question, at: Timestamp, value: f64) {
        let step = (at - question.from).0.div_euclid(question.step.0.max(1));
        let Ok(step) = usize::try_from(step) else { return };
        if !value.is_finite() || step >= self.past.values.len() {
            return;
        }
        if step != self.step {
            (self.step, self.sum, self.count) = (step, 0.0, 0);
        }
        (self.sum, self.count) = (self.sum + value, self.count + 1);
        self.past.values[step] = self.sum / f64::from(self.count);
        if let Some((lowest, highest)) = self.past.extremes.get_mut(step) {
            (*lowest, *highest) = (lowest.min(value), highest.max(value));
        }
    }
}

/// Of moments that follow each other closer than `apart` the last: targets that are looked at one after the other make one
/// round.
pub(super) fn thinned(times: BTreeSet<Timestamp>, apart: Span) -> Vec<Timestamp> {
    let mut kept: Vec<Timestamp> = Vec::with_capacity(times.len());
    for at in times.into_iter().rev() {
        if kept.last().is_none_or(|later| *later - at >= apart) {
            kept.push(at);
        }
    }
    kept.reverse();
    kept
}

/// When samples of these series came, from `from` to `to`.
pub(super) fn sample_times<'a>(
    samples: &impl Samples,
    selectors: impl Iterator<Item = &'a Selector>,
    from: Timestamp,
    to: Timestamp,
) -> BTreeSet<Timestamp> {
    let mut times = BTreeSet::new();
    let mut cursor = Cursor::default();
    for selector in selectors {
        // The series of a target share their times; others have ended, or begin later.
        let ids = samples.select(selector);
        let stride = ids.len().div_ceil(MOST_ASKED).max(1);
        for id in ids.into_iter().rev().step_by(stride) {
            let (of_series, _) = samples.window(id, from.0.saturating_sub(1), to.0, &mut cursor);
            times.extend(of_series.iter().map(|at| Timestamp(*at)));
        }
    }
    times
}

impl Purpose {
    /// What the past until `t0` says for it.
    fn of(&self, t0: Timestamp, past: BTreeMap<Labels, Past>) -> What {
        match self {
            Purpose::Replay => What::Past(past.into_iter().collect()),
            Purpose::Calibrate { asks, left_out, zone } => {
                let weekend = |at: Timestamp| is_weekend(at, zone);
                let known = |(labels, past): (Labels, Past)| (labels, Known::of(asks, &past, t0, left_out, &weekend));
                What::Known(past.into_iter().map(known).collect())
            }
        }
    }
}

fn is_weekend(at: Timestamp, zone: &jiff::tz::TimeZone) -> bool {
    let Ok(moment) = jiff::Timestamp::from_millisecond(at.0) else { return false };
    matches!(moment.to_zoned(zone.clone()).weekday(), Weekday::Saturday | Weekday::Sunday)
}
