//! A test in virtual time: ticks, evaluations, expectations.
//!
//! At 0, one interval, two intervals, … up to the last time that is asked about, each group is evaluated with only the samples
//! up to then. Alerts are compared after the last tick that is not later than their time. Expressions are evaluated after
//! the whole run.

use std::collections::BTreeMap;

use super::case::{Alert, Check, Failure, MAX_TICKS, Test, TestFile, What};
use super::life::Life;
use super::rules::Rules;
use crate::base::{Labels, Span, Timestamp};
use crate::promql::{self, Options, Plan, Point, Value};
use crate::rule::prometheus::{Group, Host, Kind, State};
use crate::store::{Limits, Store, Stretch};

/// How far the last expectation may lie behind the start where the engine judges, which writes its own series every 15 s.
const LONGEST_LIFE: Span = Span::hours(10 * 24);

/// Runs a test; gives what did not hold.
pub fn run(test: &Test, file: &TestFile, rules: &Rules) -> Vec<Failure> {
    let ticks = test.last().0 / file.evaluation_interval.0.max(1);
    if ticks > MAX_TICKS {
        let why = format!("more than {MAX_TICKS} evaluations; a longer `evaluation_interval` takes fewer");
        return vec![broken(test, "", "the test", why)];
    }
    if !rules.own.is_empty() && test.last() > LONGEST_LIFE {
        let why = format!("rules of backstop are tested over at most {}", LONGEST_LIFE.human());
        return vec![broken(test, "", "the test", why)];
    }
    let mut world = World::new(test, file, rules);
    let mut failures = match world.tick_through(ticks) {
        Ok(failures) => failures,
        Err(failures) => return failures,
    };
    for check in &test.checks {
        if let What::Query { text, plan, samples } = &check.what
            && !world.is_own()
        {
            let got = instant(plan, &world.store, test.start + check.at, file.evaluation_interval);
            failures.extend(compare_query(test, check, text, samples, got, file.fuzzy));
        }
    }
    let of_the_run: Vec<&Check> = test.checks.iter().filter(|check| check.what.is_of_the_run()).collect();
    if !of_the_run.is_empty() {
        world.lives.iter_mut().for_each(|life| life.pass_until(test.start + test.last()));
        failures.extend(of_the_run.iter().flat_map(|check| Life::check_run(&world.lives, test, check)));
    }
    failures
}

/// The value of an expression at a time; a scalar is one point without labels. The one place where tests evaluate.
pub fn instant(plan: &Plan, store: &Store, at: Timestamp, step: Span) -> Result<Vec<Point>, String> {
    let options = Options { step, ..Options::default() };
    match promql::query(plan, store, at, &options)?.value {
        Value::Scalar(value) => Ok(vec![Point { labels: Labels::empty(), value, newest: at }]),
        Value::Vector(points) => Ok(points),
        Value::Text(_) | Value::Matrix(_) => Err("the result is neither a vector nor a scalar".into()),
    }
}

/// A failure without an expectation beside it.
pub fn broken(test: &Test, at: &str, what: &str, why: String) -> Failure {
    Failure { test: test.name.clone(), at: at.into(), what: what.into(), expected: Vec::new(), got: vec![why] }
}

/// What a query must give against what it gave.
pub fn compare_query(
    test: &Test,
    check: &Check,
    text: &str,
    samples: &[(Labels, f64)],
    got: Result<Vec<Point>, String>,
    fuzzy: bool,
) -> Option<Failure> {
    let what = format!("query {}", text.split_whitespace().collect::<Vec<_>>().join(" "));
    let got = match got {
        Ok(points) => points,
        Err(why) => return Some(broken(test, &time(check.at), &what, format!("error: {why}"))),
    };
    let sorted = |mut list: Vec<(Labels, f64)>| {
        list.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        list
    };
    let expected = sorted(samples.to_vec());
    let got = sorted(got.into_iter().map(|p| (p.labels, p.value)).collect());
    let alike = |(e, g): (&(Labels, f64), &(Labels, f64))| e.0 == g.0 && is_same(e.1, g.1, fuzzy);
    if expected.len() == got.len() && expected.iter().zip(&got).all(alike) {
        return None;
    }
    let lines = |list: &[(Labels, f64)]| list.iter().map(|(labels, value)| format!("{labels} {value}")).collect();
    Some(Failure { test: test.name.clone(), at: time(check.at), what, expected: lines(&expected), got: lines(&got) })
}

/// Equal, both NaN, or with `fuzzy` neighbours among the floats.
fn is_same(a: f64, b: f64, fuzzy: bool) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (fuzzy && (a.next_up() == b || a.next_down() == b))
}

/// How a time of a test is written.
pub fn time(at: Span) -> String {
    if at == Span::ZERO { "0s".into() } else { at.to_string() }
}

/// The samples and rules of one test.
struct World<'a> {
    test: &'a Test,
    file: &'a TestFile,
    store: Store,
    groups: Vec<Group>,
    lives: Vec<Life>,
    /// How many points of each series are in the store.
    loaded: Vec<usize>,
}

impl<'a> World<'a> {
    fn new(test: &'a Test, file: &'a TestFile, rules: &Rules) -> World<'a> {
        let mut configs: Vec<_> = rules.groups.clone();
        let order = |name: &str| file.group_order.iter().position(|n| n == name).unwrap_or(0);
        configs.sort_by_key(|config| order(&config.name));
        let groups: Vec<Group> = configs.into_iter().map(|c| Group::new(c, test.external.clone())).collect();
        let lives = rules.own.iter().map(|config| Life::new(config, test)).collect();
        World { test, file, store: Store::new(Limits::default()), groups, lives, loaded: vec![0; test.series.len()] }
    }

    /// Whether only rules of backstop are there, so that expressions are asked of their store.
    fn is_own(&self) -> bool {
        self.groups.is_empty() && !self.lives.is_empty()
    }

    /// All ticks with the expectations about alerts. An error ends the test.
    fn tick_through(&mut self, ticks: i64) -> Result<Vec<Failure>, Vec<Failure>> {
        let mut checks: Vec<&Check> = self.test.checks.iter().collect();
        checks.sort_by_key(|check| check.at);
        let mut checks = checks.into_iter().peekable();
        let mut failures = Vec::new();
        for tick in 0..=ticks {
            let step = self.file.evaluation_interval;
            let at = step.times(tick);
            self.load(at);
            let errors = self.evaluate(at);
            if !errors.is_empty() {
                failures.extend(errors);
                return Err(failures);
            }
            while let Some(check) = checks.next_if(|check| check.at < at + step) {
                failures.extend(self.check(check));
            }
        }
        Ok(failures)
    }

    /// Takes in all samples up to `until`.
    fn load(&mut self, until: Span) {
        for ((labels, points), loaded) in self.test.series.iter().zip(&mut self.loaded) {
            let count = points.len().min((until.0 / self.test.interval.0) as usize + 1);
            if *loaded >= count {
                continue;
            }
            let new = (*loaded..).zip(&points[*loaded..count]);
            let new = new.filter_map(|(k, point)| point.map(|value| (k as i64, value)));
            let (times, values): (Vec<i64>, Vec<f64>) =
                new.map(|(k, value)| ((self.test.start + self.test.interval.times(k)).0, value)).unzip();
            if !times.is_empty() {
                self.store.insert(&Stretch::new(labels.clone(), times, values));
            }
            *loaded = count;
        }
    }

    fn evaluate(&mut self, at: Span) -> Vec<Failure> {
        let mut failures = Vec::new();
        for group in &mut self.groups {
            let mut desk = Desk { store: &mut self.store, step: self.file.evaluation_interval };
            for error in group.step(self.test.start + at, &mut desk) {
                let what = format!("rule {} of group {}", error.rule, group.config().name);
                failures.push(broken(self.test, &time(at), &what, format!("error: {}", error.message)));
            }
        }
        failures
    }

    fn check(&mut self, check: &Check) -> Vec<Failure> {
        self.lives.iter_mut().for_each(|life| life.pass_until(self.test.start + check.at));
        match &check.what {
            What::Alerts(name, expected) => self.check_alerts(check, name, expected).into_iter().collect(),
            What::Rule(rule) => Life::check_rule(&self.lives, self.test, check, rule),
            What::Query { text, plan, samples } if self.is_own() => {
                let at = self.test.start + check.at;
                let got = instant(plan, self.lives[0].store(), at, self.file.evaluation_interval);
                compare_query(self.test, check, text, samples, got, self.file.fuzzy).into_iter().collect()
            }
            // Asked after the whole run.
            What::Query { .. } | What::Levels(_) | What::Notified(_) | What::Rollback(_) => Vec::new(),
        }
    }

    fn check_alerts(&self, check: &Check, name: &str, expected: &[Alert]) -> Option<Failure> {
        let mut got: Vec<Alert> = self.groups.iter().flat_map(|group| firing(group, name)).collect();
        got.extend(self.lives.iter().flat_map(|life| life.firing(name)));
        let mut expected = expected.to_vec();
        expected.sort();
        got.sort();
        if expected == got {
            return None;
        }
        let at = time(check.at);
        let (expected, got) = (expected.iter().map(line).collect(), got.iter().map(line).collect());
        Some(Failure { test: self.test.name.clone(), at, what: format!("alert {name}"), expected, got })
    }
}

/// The firing alerts of a name.
fn firing(group: &Group, name: &str) -> Vec<Alert> {
    let rules = group.config().rules.iter().enumerate();
    let rules = rules.filter(|(_, rule)| rule.name == name && matches!(rule.kind, Kind::Alert { .. }));
    let alerts = rules.flat_map(|(i, _)| group.alerts(i)).filter(|alert| alert.state == State::Firing);
    alerts.map(|alert| Alert { labels: map(&alert.labels), annotations: alert.annotations.clone() }).collect()
}

/// Labels by name.
pub fn map(labels: &Labels) -> BTreeMap<String, String> {
    labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// An alert in one line; its name stands in the heading.
fn line(alert: &Alert) -> String {
    let pair = |(name, value): (&String, &String)| format!("{name}={value:?}");
    let labels: Vec<String> = alert.labels.iter().filter(|(name, _)| *name != "alertname").map(pair).collect();
    let annotations: Vec<String> = alert.annotations.iter().map(pair).collect();
    let tail = if annotations.is_empty() { String::new() } else { format!("  {}", annotations.join(" ")) };
    format!("{{{}}}{tail}", labels.join(", "))
}

/// The store as groups evaluate and write it.
#[derive(Debug)]
pub struct Desk<'a> {
    /// What is read and written.
    pub store: &'a mut Store,
    /// The step of subqueries that state none.
    pub step: Span,
}

impl Host for Desk<'_> {
    fn query(&mut self, plan: &Plan, at: Timestamp) -> Result<Vec<Point>, String> {
        instant(plan, self.store, at, self.step)
    }

    fn write(&mut self, _rule: usize, at: Timestamp, samples: &[(Labels, f64)]) {
        for (labels, value) in samples {
            self.store.insert(&Stretch::new(labels.clone(), vec![at.0], vec![*value]));
        }
    }
}
