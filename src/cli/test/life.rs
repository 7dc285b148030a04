//! Rules of backstop in virtual time: the engine itself, fed with looks at targets.
//!
//! The series of a test that share `job` and `instance` are one target. At each interval at which one of them has a point the
//! target was looked at; series without a point then were not given, and end. A look without any of them did not happen.
//! It failed where `up` or `probe_success` is 0.

use std::collections::BTreeMap;

use super::case::{Alert, Check, Failure, RuleCheck, Stand, Test};
use super::run::{broken, map, time};
use crate::base::{Batch, Labels, Level, Outcome, Sample, SourceRef, Span, Timestamp};
use crate::config::Config;
use crate::engine::snapshot::{AlertView, RuleView};
use crate::engine::{self, Engine, Input, SourceInfo, State};
use crate::rollback::machine::Settings;
use crate::store::{Limits, Store, is_stale};

/// An engine and what it will see.
#[derive(Debug)]
pub struct Life {
    engine: Engine,
    now: Timestamp,
    /// In the order of time, newest first.
    batches: Vec<Batch>,
}

impl Life {
    /// An engine with the rules of `config`, before the first look.
    pub fn new(config: &Config, test: &Test) -> Life {
        let mut batches = looks(config, test);
        let mut sources: Vec<SourceRef> = batches.iter().map(|b| b.source.clone()).collect();
        sources.extend(config.sources.iter().map(|s| s.reference().clone()));
        sources.sort();
        sources.dedup();
        batches.sort_by_key(|b| std::cmp::Reverse(b.at));
        let engine = Engine::new(engine_config(config, sources), State::default(), test.start, 1);
        let mut life = Life { engine, now: test.start, batches };
        drop(life.engine.step(life.now, Input::Started { version: env!("CARGO_PKG_VERSION").into() }));
        life
    }

    /// What the engine has seen and written.
    pub fn store(&self) -> &Store {
        self.engine.store()
    }

    /// Lets time pass, the moment `to` included.
    pub fn pass_until(&mut self, to: Timestamp) {
        loop {
            let tick = self.engine.next_deadline(self.now).max(self.now + Span::millis(1));
            let look = self.batches.last().map(|b| b.at);
            match look {
                Some(at) if at <= to && at <= tick => {
                    self.now = at;
                    if let Some(batch) = self.batches.pop() {
                        drop(self.engine.step(at, Input::Batch(batch)));
                    }
                }
                _ if tick <= to => {
                    self.now = tick;
                    drop(self.engine.step(tick, Input::Tick));
                }
                _ => return,
            }
        }
    }

    /// The alerts of a rule that are not ok; their level stands among their labels, as in the series `ALERTS`.
    pub fn firing(&self, rule: &str) -> Vec<Alert> {
        let view = self.view(rule);
        let alerts = view.iter().flat_map(|view| &view.alerts).filter(|alert| alert.level > Level::Ok);
        let with_level = |alert: &AlertView| alert.labels.with("level", alert.level.as_str());
        alerts.map(|alert| Alert { labels: map(&with_level(alert)), annotations: BTreeMap::new() }).collect()
    }

    /// Compares how a rule stands in the first of `lives` that has it.
    pub fn check_rule(lives: &[Life], test: &Test, check: &Check, expected: &RuleCheck) -> Vec<Failure> {
        let what = format!("rule {}", expected.rule);
        let Some(view) = lives.iter().find_map(|life| life.view(&expected.rule)) else {
            return vec![broken(test, &time(check.at), &what, "there is no such rule".into())];
        };
        let chosen: Vec<&AlertView> = view.alerts.iter().filter(|a| carries(&a.labels, &expected.labels)).collect();
        let (mut wanted, mut got) = (Vec::new(), Vec::new());
        if let Some(stand) = expected.stand
            && !stands(&view, &chosen, stand)
        {
            wanted.push(format!("level {}", word(stand)));
            got.push(seen(&view, &chosen));
        }
        if let Some(value) = expected.value {
            let values: Vec<f64> = chosen.iter().filter_map(|a| a.because.as_ref()?.value).map(|q| q.value).collect();
            if !values.iter().any(|v| is_near(*v, value)) {
                wanted.push(format!("value {value}"));
                let values: Vec<String> = values.iter().map(f64::to_string).collect();
                got.push(if values.is_empty() { "no value".into() } else { format!("value {}", values.join(", ")) });
            }
        }
        let due = chosen.iter().any(|a| a.due);
        if expected.due.is_some_and(|wanted| wanted != due) {
            let text = |due: bool| if due { "rollback due" } else { "no rollback due" }.to_string();
            wanted.push(text(!due));
            got.push(text(due));
        }
        if wanted.is_empty() {
            return Vec::new();
        }
        vec![Failure { test: test.name.clone(), at: time(check.at), what, expected: wanted, got }]
    }

    fn view(&self, rule: &str) -> Option<RuleView> {
        self.engine.snapshot(self.now).rules.into_iter().find(|view| view.name == rule)
    }
}

fn carries(labels: &Labels, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(name, value)| labels.get(name) == value)
}

/// Equal, but for what counting in another order leaves.
fn is_near(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

fn stands(view: &RuleView, chosen: &[&AlertView], stand: Stand) -> bool {
    match stand {
        Stand::NoData => view.no_data.is_some(),
        Stand::Failed => view.failed.is_some(),
        Stand::Level(level) => chosen.iter().map(|a| a.level).max().unwrap_or_default() == level,
    }
}

fn word(stand: Stand) -> &'static str {
    match stand {
        Stand::Level(level) => level.as_str(),
        Stand::NoData => "no_data",
        Stand::Failed => "failed",
    }
}

fn seen(view: &RuleView, chosen: &[&AlertView]) -> String {
    let level = chosen.iter().map(|a| a.level).max().unwrap_or_default();
    let pending = if chosen.iter().any(|a| a.pending) { ", pending" } else { "" };
    let last = view.recent.last().map(|e| format!(" ({})", e.text)).unwrap_or_default();
    let blind = match (&view.failed, &view.no_data) {
        (Some(_), _) => ", failed",
        (None, Some(_)) => ", no data",
        (None, None) => "",
    };
    format!("level {}{pending}{blind}{last}", level.as_str())
}

/// All looks at all targets.
fn looks(config: &Config, test: &Test) -> Vec<Batch> {
    let mut targets: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    for (i, (labels, _)) in test.series.iter().enumerate() {
        targets.entry((labels.get("job"), labels.get("instance"))).or_default().push(i);
    }
    let mut batches = Vec::new();
    for ((job, instance), series) in targets {
        let known = config.sources.iter().map(|s| s.reference()).find(|r| r.name == job);
        let source =
            known.cloned().unwrap_or_else(|| SourceRef::new("prometheus", if job.is_empty() { "test" } else { job }));
        let length = series.iter().map(|i| test.series[*i].1.len()).max().unwrap_or(0);
        for k in 0..length {
            let at = test.start + test.interval.times(k as i64);
            let points: Vec<(&Labels, f64)> = series
                .iter()
                .filter_map(|i| test.series[*i].1.get(k).copied().flatten().map(|value| (&test.series[*i].0, value)))
                .collect();
            if points.is_empty() {
                continue;
            }
            let given = points.into_iter().filter(|(_, value)| !is_stale(*value));
            let samples: Vec<Sample> = given.map(|(l, value)| Sample { labels: l.clone(), value, at: None }).collect();
            let failed = |s: &Sample| ["up", "probe_success"].contains(&s.labels.name()) && s.value == 0.0;
            let outcome = match samples.iter().any(failed) {
                true => Outcome::Failed(crate::base::Failure::new("test", "the test says so")),
                false => Outcome::Good,
            };
            let (source, instance) = (source.clone(), instance.to_string());
            batches.push(Batch {
                source,
                instance,
                at,
                interval: test.interval,
                outcome,
                samples,
                checkpoint: None,
                holds: false,
                exhibits: Vec::new(),
            });
        }
    }
    batches
}

/// The rules as they are; nobody hears of them, and nothing is rolled back.
fn engine_config(config: &Config, sources: Vec<SourceRef>) -> engine::Config {
    let info = |source: SourceRef| SourceInfo::own(source, vec!["up", "probe_success"]);
    let budget = &config.rollback.budget;
    engine::Config {
        rules: config.rules.clone(),
        sources: sources.into_iter().map(info).collect(),
        rollback: Settings {
            ask_within: config.rollback.ask.within,
            notice: config.rollback.notice,
            verify_within: config.rollback.verify.within,
            stable_for: config.rollback.verify.stable_for,
            ladder: config.rollback.ladder.iter().map(|r| r.value.clone()).collect(),
            ..Settings::new()
        },
        budgets: (budget.decide, budget.execute, budget.verify),
        watch: config.watch.clone(),
        look_back: config.store.look_back,
        limits: Limits { max_series: config.store.max_series as usize, ..Limits::default() },
        ..engine::Config::new(&config.app.name, "test")
    }
}
