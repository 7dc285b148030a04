//! Rules of backstop in virtual time: the engine itself, fed with looks at targets.
//!
//! The series of a test that share `job` and `instance` are one target. At each interval at which one of them has a point the
//! target was looked at; series without a point then were not given, and end. A look without any of them did not happen.
//! It failed where `up` or `probe_success` is 0.

use std::collections::BTreeMap;

use super::super::replay::{self, NoPast, Replay};
use super::case::{Alert, Check, Failure, RuleCheck, Stand, Test, What};
use super::decided::Log;
use super::run::{broken, map, time};
use crate::agent::wire;
use crate::base::{Batch, Labels, Level, Outcome, Sample, SourceRef, Timestamp};
use crate::config::{Config, SourceConfig};
use crate::engine::command::{Command, Reply};
use crate::engine::snapshot::{AlertView, RuleView};
use crate::engine::{self, SourceInfo};
use crate::store::{Store, is_stale};

/// Who announces the deployments of a test.
const BY: &str = "test";

/// The hash of the plan of a test: nothing is run.
const PLAN: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// An engine and what it will see.
#[derive(Debug)]
pub struct Life {
    replay: Replay<NoPast>,
    log: Log,
    /// In the order of time, newest first.
    batches: Vec<Batch>,
    /// What is said about deployments, newest first.
    words: Vec<(Timestamp, Command)>,
    refused: Vec<String>,
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
        let mut log = Log::default();
        let replay = Replay::new(engine_config(config, sources, test), test.start, NoPast, &mut log);
        Life { replay, log, batches, words: words(test), refused: Vec::new() }
    }

    /// What the engine has seen and written.
    pub fn store(&self) -> &Store {
        self.replay.engine().store()
    }

    /// Lets time pass, the moment `to` included.
    pub fn pass_until(&mut self, to: Timestamp) {
        loop {
            let look = self.batches.last().map(|b| b.at).filter(|at| *at <= to);
            let word = self.words.last().map(|(at, _)| *at).filter(|at| *at <= to);
            // What is said at the time of a look is said before it.
            if let Some(at) = word.filter(|at| look.is_none_or(|look| *at <= look))
                && let Some((_, command)) = self.words.pop()
            {
                let reply = self.replay.command(at, command, &mut self.log);
                if let Some(Reply::Refused { why, .. }) = reply {
                    self.refused.push(why);
                }
            } else if let (Some(_), Some(batch)) = (look, self.batches.pop_if(|b| b.at <= to)) {
                self.replay.look(batch, &mut self.log);
            } else {
                return self.replay.pass_until(to, &mut self.log);
            }
        }
    }

    /// What of the run as a whole is not as expected, of the lives that could decide it.
    pub fn check_run(lives: &[Life], test: &Test, check: &Check) -> Vec<Failure> {
        let refused = lives.iter().flat_map(|life| &life.refused);
        let refused: Vec<Failure> =
            refused.map(|why| broken(test, "", "deployment", format!("error: {why}"))).collect();
        if !refused.is_empty() {
            return refused;
        }
        let of = |life: &Life| match &check.what {
            What::Levels(expected) => life.log.check_levels(test, expected),
            What::Notified(expected) => life.log.check_notified(test, expected),
            What::Rollback(expected) => life.log.check_rollback(test, expected),
            What::Alerts(..) | What::Query { .. } | What::Rule(_) => None,
        };
        let rule = match &check.what {
            What::Levels(expected) => Some(&expected.rule),
            What::Rollback(expected) => expected.rule.as_ref(),
            _ => None,
        };
        let mut having = lives.iter().filter(|life| rule.is_none_or(|rule| life.has(rule))).peekable();
        if having.peek().is_none() {
            let what = rule.map_or_else(|| "the run".to_string(), |rule| format!("rule {rule}"));
            return vec![broken(test, "", &what, "error: no rule file of backstop has it".into())];
        }
        // Of several configurations one is enough.
        let failures: Vec<Option<Failure>> = having.map(of).collect();
        if failures.iter().any(Option::is_none) { Vec::new() } else { failures.into_iter().flatten().take(1).collect() }
    }

    fn has(&self, rule: &str) -> bool {
        self.replay.engine().sights().any(|sight| sight.rule.name == rule)
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
        self.replay.engine().snapshot(self.replay.now()).rules.into_iter().find(|view| view.name == rule)
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

/// What is said about the deployments of a test, the newest first.
fn words(test: &Test) -> Vec<(Timestamp, Command)> {
    let mut words = Vec::new();
    for deploy in &test.deploys {
        let start = Command::DeployStart {
            version: deploy.version.clone(),
            previous: deploy.previous.clone(),
            plan: Some(PLAN.into()),
            live: deploy.complete.is_none_or(|at| at == deploy.at),
            force: false,
            by: BY.into(),
        };
        words.push((test.start + deploy.at, start));
        let complete = deploy.complete.filter(|at| *at > deploy.at);
        words.extend(complete.map(|at| (test.start + at, Command::DeployComplete { by: BY.into() })));
    }
    words.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    words
}

/// The configuration as it is; nothing is sent, and nothing is run.
fn engine_config(config: &Config, sources: Vec<SourceRef>, test: &Test) -> engine::Config {
    let info = |source: SourceRef| {
        let common = config.sources.iter().map(SourceConfig::common).find(|common| common.reference == source);
        let (external, optional) = common.map_or((false, false), |common| (common.external, common.optional));
        SourceInfo { external, optional, ..SourceInfo::own(source, vec!["up", "probe_success"]) }
    };
    let base = wire::engine_config(config, "test", &[]);
    replay::engine_config(base, sources.into_iter().map(info).collect(), test.mode)
}
