//! The engine as a group evaluates and writes it, and its turn in a step.

use std::collections::BTreeMap;

use crate::base::label::NAME;
use crate::base::{Batch, Labels, Outcome, Sample, SourceRef, Span, Timestamp};
use crate::engine::{Engine, Out};
use crate::promql::{self, Plan, Point};
use crate::rule::Change;
use crate::rule::prometheus::{Host, OUTAGE};
use crate::store::{Cursor, Matcher, Past, Samples, Selector, is_stale};

/// What one group sees of the engine.
pub(super) struct Desk<'a> {
    pub(super) engine: &'a mut Engine,
    pub(super) out: &'a mut Out,
    pub(super) now: Timestamp,
    pub(super) source: SourceRef,
    pub(super) interval: Span,
    pub(super) instances: Vec<String>,
    /// How many samples each rule wrote.
    pub(super) written: BTreeMap<usize, usize>,
}

impl Host for Desk<'_> {
    fn query(&mut self, plan: &Plan, at: Timestamp) -> Result<Vec<Point>, String> {
        let (store, look_back) = (&self.engine.store, self.engine.config.look_back);
        let past_hot = || plan.reach(look_back).into_iter().any(|(_, reach)| reach > store.hot());
        match store.past() {
            Past::Unreadable(why) if past_hot() => {
                return Err(format!("the past that it asks for cannot be read: {why}"));
            }
            Past::Loading if past_hot() => return Err("the past that it asks for is still being read".into()),
            _ => {}
        }
        let options = promql::Options { look_back, step: self.engine.config.groups.step, ..promql::Options::default() };
        match promql::query(plan, store, at, &options)?.value {
            promql::Value::Scalar(value) => Ok(vec![Point { labels: Labels::empty(), value, newest: at }]),
            promql::Value::Vector(points) => Ok(points),
            promql::Value::Text(_) | promql::Value::Matrix(_) => {
                Err("the result is neither a vector nor a scalar".into())
            }
        }
    }

    fn write(&mut self, rule: usize, at: Timestamp, samples: &[(Labels, f64)]) {
        // What a target gave and gives no more is ended by the store.
        let kept = samples.iter().filter(|(_, value)| !is_stale(*value));
        let samples: Vec<Sample> =
            kept.map(|(l, value)| Sample { labels: l.clone(), value: *value, at: None }).collect();
        self.written.insert(rule, samples.len());
        let batch = Batch {
            source: self.source.clone(),
            instance: self.instances.get(rule).cloned().unwrap_or_default(),
            at,
            interval: self.interval,
            outcome: Outcome::Good,
            samples,
            checkpoint: None,
            holds: false,
            exhibits: Vec::new(),
        };
        self.engine.append(self.now, &batch, self.out);
    }

    fn for_state(&mut self, labels: &Labels, at: Timestamp) -> Option<(Timestamp, f64)> {
        let matchers = labels.iter().filter(|(name, _)| *name != NAME).map(|(n, v)| Matcher::equal(n, v)).collect();
        let selector = Selector { name: Some(labels.name().into()), matchers };
        let store = &self.engine.store;
        let id = store.select(&selector).into_iter().find(|id| Samples::labels(store, *id) == labels)?;
        let mut cursor = Cursor::default();
        let (times, values) = store.window(id, (at - OUTAGE).0, at.0, &mut cursor);
        let (time, value) = (*times.last()?, *values.last()?);
        (!is_stale(value)).then_some((Timestamp(time), value))
    }
}

impl Engine {
    /// Evaluates the groups that are due, and takes what follows from their alerts.
    pub(in crate::engine) fn run_groups(&mut self, now: Timestamp, out: &mut Out) {
        let mut ran = false;
        for i in 0..self.groups.list.len() {
            let Some(slot) = self.groups.list[i].take_slot(now) else { continue };
            // Not in its place while it reads and writes the rest of the engine; nothing there asks for it.
            let mut groups = std::mem::take(&mut self.groups);
            let running = &mut groups.list[i];
            let mut desk = Desk {
                source: running.source.clone(),
                interval: running.interval,
                instances: running.rules.iter().map(|rule| rule.instance.clone()).collect(),
                engine: self,
                out,
                now,
                written: BTreeMap::new(),
            };
            running.evaluate(slot, &mut desk);
            self.counts.evaluations += running.rules.len() as u64;
            self.groups = groups;
            ran = true;
        }
        if ran {
            self.settle_groups(now, out);
        }
    }

    /// Takes the difference between the alerts that fire and those that are known. While a deployment settles its downtime is
    /// planned: series are written, and nobody is told but of what no rule could give any more.
    pub(in crate::engine) fn settle_groups(&mut self, now: Timestamp, out: &mut Out) {
        let mut changes = self.groups.changes(&self.state.alerts, now);
        let settling = self.state.watches.settling().is_some();
        changes.retain(|change| !settling || matches!(change, Change::Level(t) if t.gone));
        if changes.is_empty() {
            return;
        }
        for change in changes {
            self.take_change(now, change, out);
        }
        self.judges.iter_mut().filter(|judge| judge.stratum > 0).for_each(|judge| judge.wake(now));
    }
}
