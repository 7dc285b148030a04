//! Where samples enter an evaluation: instant selectors, ranges, and subqueries.

use super::annotation::{Finding, is_counter_name};
use super::evaluate::Evaluation;
use super::plan::{Node, Place, Source, Subquery};
use super::presence::Seen;
use super::range::{RangeFn, Window};
use super::rows::Rows;
use super::vector::{Element, Tags, Value, Vector};
use crate::base::Timestamp;
use crate::store::{SeriesId, is_stale};

/// After how many series a query is asked whether it may go on.
const CHARGE_EVERY: usize = 1024;

/// The most steps of one subquery.
const MAX_SUBQUERY_STEPS: i64 = 1_000_000;

/// The samples of a window freed of stale markers, where it holds any.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    times: Vec<i64>,
    values: Vec<f64>,
}

impl Scratch {
    #[inline]
    fn fresh<'s>(&'s mut self, times: &'s [i64], values: &'s [f64]) -> (&'s [i64], &'s [f64]) {
        if !values.iter().any(|value| is_stale(*value)) {
            return (times, values);
        }
        self.times.clear();
        self.values.clear();
        for (time, value) in times.iter().zip(values).filter(|(_, value)| !is_stale(**value)) {
            self.times.push(*time);
            self.values.push(*value);
        }
        (&self.times, &self.values)
    }
}

impl<'a> Evaluation<'a> {
    pub(super) fn instant(&mut self, selector: usize) -> Result<Vector<'a>, String> {
        let samples = self.samples;
        let mut elements = Vec::new();
        self.latest(selector, |_, id, value, newest| {
            let labels = Tags::Held(samples.labels(id));
            elements.push(Element { labels, value, newest: Timestamp(newest), drop_name: false });
        })?;
        Ok(Vector { elements, distinct: self.has_one_name(selector) })
    }

    /// Whether all series of a selector have the same name, so that they differ in other labels.
    fn has_one_name(&self, selector: usize) -> bool {
        self.plan.selectors[selector].selector.name.is_some()
    }

    /// The newest sample of each series that has not ended, with its place in the selection.
    pub(super) fn latest(
        &mut self,
        selector: usize,
        mut visit: impl FnMut(usize, SeriesId, f64, i64),
    ) -> Result<(), String> {
        let ids = self.series_of(selector)?;
        let plan = self.plan;
        let usage = &plan.selectors[selector];
        let end = self.moment(usage.at, usage.offset);
        let start = end.saturating_sub(self.options.look_back.0);
        let samples = self.samples;
        let mut seen = false;
        for (chunk, first) in ids.chunks(CHARGE_EVERY).zip((0..).step_by(CHARGE_EVERY)) {
            self.charge(chunk.len() as u64)?;
            for (id, i) in chunk.iter().zip(first..) {
                let (times, values) = samples.window(*id, start, end, &mut self.cursor);
                if let (Some(time), Some(value)) = (times.last(), values.last())
                    && !is_stale(*value)
                {
                    seen = true;
                    visit(i, *id, *value, *time);
                }
            }
        }
        if seen {
            self.selectors_seen[selector] = Seen::Values;
        }
        Ok(())
    }

    pub(super) fn range(
        &mut self,
        function: RangeFn,
        source: &'a Source,
        parameters: &'a [Node],
        places: &'a [Place; 2],
    ) -> Result<Vector<'a>, String> {
        let parameters = self.range_parameters(function, parameters, places)?;
        let drop_name = !function.keeps_name();
        match source {
            Source::Selector(selector) => {
                let samples = self.samples;
                let mut elements = Vec::new();
                self.each_range(function, *selector, parameters, &places[0], |_, id, value, newest| {
                    let labels = Tags::Held(samples.labels(id));
                    elements.push(Element { labels, value, newest: Timestamp(newest), drop_name });
                })?;
                Ok(Vector { elements, distinct: self.has_one_name(*selector) })
            }
            Source::Subquery(subquery) => {
                let vector = self.range_of_subquery(function, subquery, parameters, &places[0])?;
                let seen = &mut self.subqueries_seen[subquery.index];
                if !vector.elements.is_empty() {
                    *seen = Seen::Values;
                }
                Ok(vector)
            }
        }
    }

    /// The numbers of a function of a range.
    ///
    /// # Errors
    /// Smoothing factors that are none.
    pub(super) fn range_parameters(
        &mut self,
        function: RangeFn,
        parameters: &'a [Node],
        places: &'a [Place; 2],
    ) -> Result<[f64; 2], String> {
        let numbers = self.parameters(parameters)?;
        if function == RangeFn::Quantile {
            self.check_quantile(numbers[0], &places[1]);
        }
        if function == RangeFn::Smoothed
            && let Some(bad) = numbers.iter().find(|factor| !(**factor > 0.0 && **factor < 1.0))
        {
            return Err(format!("a smoothing factor lies between 0 and 1, not at {bad}"));
        }
        Ok(numbers)
    }

    /// The value of a function over the window of each series, where it has one.
    pub(super) fn each_range(
        &mut self,
        function: RangeFn,
        selector: usize,
        parameters: [f64; 2],
        place: &Place,
        mut visit: impl FnMut(usize, SeriesId, f64, i64),
    ) -> Result<(), String> {
        let samples = self.samples;
        let mut odd_names = OddNames::new(function, self.plan.selectors[selector].selector.name.as_deref());
        self.each_window(selector, |i, id, window| {
            let Some(value) = function.apply(&window, parameters) else { return false };
            visit(i, id, value, window.times[window.times.len() - 1]);
            if odd_names.looks {
                odd_names.note(samples.labels(id).name());
            }
            true
        })?;
        for name in odd_names.found {
            self.annotate(Finding::NoCounterName(name), place);
        }
        Ok(())
    }

    /// The window of each series that has samples in it. `visit` says whether it could use them.
    fn each_window(
        &mut self,
        selector: usize,
        mut visit: impl FnMut(usize, SeriesId, Window<'_>) -> bool,
    ) -> Result<(), String> {
        let ids = self.series_of(selector)?;
        let plan = self.plan;
        let usage = &plan.selectors[selector];
        let end = self.moment(usage.at, usage.offset);
        let start = end.saturating_sub(usage.range.unwrap_or_default().0);
        let (samples, now) = (self.samples, self.now);
        let mut seen = self.selectors_seen[selector];
        for (chunk, first) in ids.chunks(CHARGE_EVERY).zip((0..).step_by(CHARGE_EVERY)) {
            let mut n_read = 0;
            for (id, i) in chunk.iter().zip(first..) {
                let (times, values) = samples.window(*id, start, end, &mut self.cursor);
                n_read += values.len() as u64;
                let (times, values) = self.scratch.fresh(times, values);
                if values.is_empty() {
                    continue;
                }
                if visit(i, *id, Window { times, values, start, end, now }) {
                    seen = Seen::Values;
                } else if seen == Seen::Nothing {
                    seen = Seen::TooFew;
                }
            }
            self.charge(n_read)?;
        }
        self.selectors_seen[selector] = seen;
        Ok(())
    }

    fn range_of_subquery(
        &mut self,
        function: RangeFn,
        subquery: &'a Subquery,
        parameters: [f64; 2],
        place: &Place,
    ) -> Result<Vector<'a>, String> {
        let (rows, (start, end)) = self.subquery(subquery)?;
        let mut odd_names = OddNames::new(function, None);
        let (now, mut elements) = (self.now, Vec::with_capacity(rows.rows.len()));
        for row in rows.rows {
            let window = Window { times: &row.times, values: &row.values, start, end, now };
            let Some(value) = function.apply(&window, parameters) else { continue };
            odd_names.note(row.labels.name());
            let drop_name = row.drop_name || !function.keeps_name();
            elements.push(Element { labels: row.labels, value, newest: row.newest, drop_name });
        }
        for name in odd_names.found {
            self.annotate(Finding::NoCounterName(name), place);
        }
        Ok(Vector { elements, distinct: false })
    }

    /// The values of the inner expression at the multiples of the step within the range, which is open on the left.
    pub(super) fn subquery(&mut self, subquery: &'a Subquery) -> Result<(Rows<'a>, (i64, i64)), String> {
        let end = self.moment(subquery.at, subquery.offset);
        let start = end.saturating_sub(subquery.range.0);
        let step = subquery.step.unwrap_or(self.options.step).0.max(1);
        let n_steps = end.saturating_sub(start) / step;
        if n_steps > MAX_SUBQUERY_STEPS {
            return Err(format!("{} has {n_steps} steps; at most {MAX_SUBQUERY_STEPS} are evaluated", subquery.text));
        }
        let mut rows = Rows::default();
        let outer = self.now;
        self.repeats = true;
        let mut at = start.div_euclid(step).saturating_mul(step).saturating_add(step);
        let mut outcome = Ok(());
        while at <= end {
            self.now = at;
            outcome = self.charge(1).and_then(|()| self.value(&subquery.inner)).and_then(|value| match value {
                Value::Number(value, newest) => rows.add(at, Vector::of_number(value, newest)),
                Value::Vector(vector) => rows.add(at, vector),
            });
            let Some(next) = at.checked_add(step) else { break };
            at = next;
            if outcome.is_err() {
                break;
            }
        }
        self.now = outer;
        outcome?;
        let seen = &mut self.subqueries_seen[subquery.index];
        if !rows.rows.is_empty() && *seen == Seen::Nothing {
            *seen = Seen::TooFew;
        }
        Ok((rows, (start, end)))
    }

    /// Whether a range holds any sample.
    pub(super) fn any_samples(&mut self, source: &'a Source) -> Result<bool, String> {
        let mut found = false;
        match source {
            Source::Selector(selector) => self.each_window(*selector, |_, _, _| {
                found = true;
                true
            })?,
            Source::Subquery(subquery) => found = !self.subquery(subquery)?.0.rows.is_empty(),
        }
        Ok(found)
    }

    /// The samples of a range as they are.
    pub(super) fn raw(&mut self, source: &'a Source) -> Result<Rows<'a>, String> {
        match source {
            Source::Subquery(subquery) => Ok(self.subquery(subquery)?.0),
            Source::Selector(selector) => {
                let samples = self.samples;
                let mut rows = Rows::default();
                self.each_window(*selector, |_, id, window| {
                    rows.put(Tags::Held(samples.labels(id)), window.times, window.values);
                    true
                })?;
                Ok(rows)
            }
        }
    }
}

/// Names of what is rated that are not those of counters.
struct OddNames {
    /// Whether names have to be looked at one by one.
    looks: bool,
    found: Vec<String>,
    /// The name of all series, which is odd, noted once a value came of it.
    of_all: Option<String>,
}

impl OddNames {
    fn new(function: RangeFn, name: Option<&str>) -> OddNames {
        let rates = matches!(function, RangeFn::Rate | RangeFn::Increase);
        let looks = rates && name.is_none_or(|name| !is_counter_name(name));
        let of_all = name.filter(|_| looks).map(Into::into);
        OddNames { looks, found: Vec::new(), of_all }
    }

    fn note(&mut self, name: &str) {
        if let Some(name) = self.of_all.take() {
            self.found.push(name);
            self.looks = false;
        } else if self.looks && self.is_odd(name) && self.found.len() < 10 {
            self.found.push(name.into());
        }
    }

    fn is_odd(&self, name: &str) -> bool {
        !name.is_empty() && !is_counter_name(name) && !self.found.iter().any(|found| found == name)
    }
}
