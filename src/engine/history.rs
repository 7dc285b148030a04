//! What a rule's value was: asked for at T0 to know what was usual, and after a restart to know what has gathered since.
//!
//! Enters: a [`Question`], put to whoever holds the samples. Leaves: one value a minute, or the counts of each bucket, for
//! each label set. Answering is pure over a view of the samples, a slice of time at a time, so that memory stays bounded.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::Weekday;

use crate::base::{Labels, Span, Timestamp};
use crate::promql::{self, Plan};
use crate::rule::evidence::Past;
use crate::rule::{Asks, Known};
use crate::store::{Samples, Selector, View};

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
        told: &mut BTreeMap<Labels, Past>,
    ) -> Result<(), String> {
        let first = ((from - self.from).0 / self.step.0) as usize;
        let steps = ((to - from).0 / self.step.0) as usize;
        if steps == 0 {
            return Ok(());
        }
        match &self.ask {
            Ask::Value(plan) => {
                let reading = Span(self.reading.0.clamp(1, self.step.0));
                let options = promql::Options { look_back, step: reading, ..promql::Options::default() };
                let answer = promql::query_range(plan, samples, (from, to - reading), reading, &options)?;
                let promql::Value::Matrix(rows) = answer.value else { return Ok(()) };
                for row in rows {
                    let Some(past) = self.past_of(row.labels.without_name(), false, told) else { continue };
                    let step_of = |at: Timestamp| (at - self.from).0.div_euclid(self.step.0);
                    for readings in row.points.chunk_by(|a, b| step_of(a.0) == step_of(b.0)) {
                        let known = readings.iter().map(|(_, value)| *value).filter(|value| value.is_finite());
                        let (sum, count) = known.fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
                        let index = usize::try_from(step_of(readings[0].0)).ok();
                        if let (Some(slot), true) = (index.and_then(|i| past.values.get_mut(i)), count > 0) {
                            *slot = sum / f64::from(count);
                        }
                    }
                }
            }
            Ask::Events { errors, total, by } => {
                let counts = promql::count_steps((errors, total), by, samples, from, self.step, steps, look_back);
                for (labels, counts) in counts {
                    let Some(past) = self.past_of(labels, true, told) else { continue };
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

    /// The past of a label set, unknown where nothing was told of it; none once there are too many.
    fn past_of<'a>(
        &self,
        labels: Labels,
        is_share: bool,
        told: &'a mut BTreeMap<Labels, Past>,
    ) -> Option<&'a mut Past> {
        if told.len() >= MAX_SETS && !told.contains_key(&labels) {
            return None;
        }
        let unknown = || vec![f64::NAN; self.steps()];
        Some(
            told.entry(labels)
                .or_insert_with(|| Past { values: unknown(), errors: if is_share { unknown() } else { Vec::new() } }),
        )
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
        Told { ticket: self.ticket, what: result.map(|()| self.purpose.of(self.to, past)) }
    }

    /// Answers from one view of everything: where all samples are in memory.
    pub fn answer_all(&self, samples: &View, look_back: Span) -> Told {
        self.told(look_back, |_, _| Ok(samples.clone()))
    }
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
