//! Groups in virtual time, over results that are given.

use std::collections::BTreeMap;

use super::super::{External, Group, Host, State, read};
use crate::base::{Labels, Problems, Span, Timestamp};
use crate::promql::{Plan, Point};
use crate::store::is_stale;

/// Answers each expression with given values and remembers what was written.
#[derive(Default)]
struct Given {
    answers: BTreeMap<String, Result<Vec<(Labels, f64)>, String>>,
    written: Vec<String>,
}

impl Host for Given {
    fn query(&mut self, plan: &Plan, at: Timestamp) -> Result<Vec<Point>, String> {
        let point = |(labels, value): (Labels, f64)| Point { labels, value, newest: at };
        let answer = self.answers.get(plan.text()).cloned().unwrap_or(Ok(Vec::new()));
        answer.map(|points| points.into_iter().map(point).collect())
    }

    fn write(&mut self, _rule: usize, at: Timestamp, samples: &[(Labels, f64)]) {
        for (labels, value) in samples {
            let value = if is_stale(*value) { "stale".into() } else { value.to_string() };
            self.written.push(format!("{} {labels} {value}", at.millis() / 1000));
        }
    }
}

fn group(rules: &str) -> Group {
    let text = format!("groups:\n- name: g\n  rules:\n{rules}");
    let mut problems = Problems::default();
    let file = read(&text, 0, &mut problems).unwrap_or_else(|| panic!("{problems:?}"));
    Group::new(file.groups[0].clone(), External::default())
}

fn one(labels: &[(&str, &str)], value: f64) -> Result<Vec<(Labels, f64)>, String> {
    Ok(vec![(Labels::new(labels.iter().copied()), value)])
}

/// Steps every 15 s through a string of `1` (a result) and `0` (none); gives the states after each step.
fn states(rule: &str, results: &str) -> String {
    let mut group = group(rule);
    let mut host = Given::default();
    let mut out = String::new();
    for (i, result) in results.chars().enumerate() {
        let answer = match result {
            '1' => one(&[("a", "x")], 1.0),
            '!' => Err("it failed".into()),
            _ => Ok(Vec::new()),
        };
        host.answers.insert("up".into(), answer);
        let errors = group.step(Timestamp(0) + Span::secs(15).times(i as i64), &mut host);
        assert_eq!(errors.is_empty(), result != '!');
        out.push(match group.alerts(0).next().map(|a| a.state) {
            None => '.',
            Some(State::Pending) => 'p',
            Some(State::Firing) => 'F',
            Some(State::Resolved) => 'r',
        });
    }
    out
}

#[test]
fn alerts_wait_fire_and_are_kept() {
    let check = |rule: &str, results: &str, expected: &str| assert_eq!(states(rule, results), expected, "{rule}");
    check("  - {alert: A, expr: up}", "0110110", ".FFrFFr");
    check("  - {alert: A, expr: up, for: 30s}", "0111011100", ".ppFrppFrr");
    check("  - {alert: A, expr: up, for: 30s}", "0110111", ".pp.ppF");
    check("  - {alert: A, expr: up, keep_firing_for: 30s}", "1000", "FFFr");
    check("  - {alert: A, expr: up, keep_firing_for: 30s}", "1010000", "FFFFFrr");
    check("  - {alert: A, expr: up, for: 30s}", "11!!1", "ppppF");
}

#[test]
fn series_are_written_and_end_with_a_stale_marker() {
    let mut group = group(
        "  - {record: 'a:b', expr: up, labels: {c: d, x: ''}}\n  - {alert: A, expr: 'up > 0', for: 15s, labels: {v: '{{ $value }}', e: '{{ $labels.none }}'}}\n",
    );
    let mut host = Given::default();
    host.answers.insert("up".into(), one(&[("__name__", "up"), ("x", "y")], 2.0));
    host.answers.insert("up > 0".into(), one(&[("__name__", "up"), ("x", "y")], 2.0));
    for second in [5, 20, 35] {
        if second == 35 {
            host.answers.clear();
        }
        assert_eq!(group.step(Timestamp(second * 1000), &mut host), []);
    }
    insta::assert_snapshot!(host.written.join("\n"));
}

#[test]
fn a_rule_that_fails_is_named_and_writes_nothing() {
    let mut group =
        group("  - {record: x, expr: up, labels: {a: same}}\n  - {alert: A, expr: up, labels: {a: same}}\n");
    let mut host = Given::default();
    let two = [("1", 1.0), ("2", 2.0)].map(|(a, v)| (Labels::new([("a", a)]), v)).to_vec();
    host.answers.insert("up".into(), Ok(two));
    let errors = group.step(Timestamp(0), &mut host);
    assert_eq!(errors.iter().map(|e| e.rule.as_str()).collect::<Vec<_>>(), ["x", "A"]);
    assert!(errors.iter().all(|e| e.message.contains("same labelset")), "{errors:?}");
    assert!(host.written.is_empty());
}

#[test]
fn what_fired_before_a_restart_goes_on_to_fire_until_it_is_settled() {
    let fired = Labels::new([("alertname", "Down"), ("job", "api"), ("severity", "page")]);
    let restored = |settled: i64| {
        let mut group = group("  - alert: Down\n    expr: up == 0\n    for: 1h\n    labels: {severity: page}\n");
        group = group.unsettled_until(Timestamp(settled));
        group.restore(&fired, Timestamp(5000));
        // No rule could have given these.
        group.restore(&fired.with("severity", "warn"), Timestamp(5000));
        group.restore(&fired.with("alertname", "Up"), Timestamp(5000));
        group
    };
    let names = |group: &Group| group.firing().map(|f| (f.labels.clone(), f.alert.is_some())).collect::<Vec<_>>();
    let mut unseen = restored(60_000);
    assert_eq!(names(&unseen), [(fired.clone(), false)]);
    let mut given = Given::default();
    given.answers.insert("up == 0".into(), Ok(Vec::new()));
    for (at, fires) in [(30_000, true), (59_999, true), (60_000, false), (90_000, false)] {
        assert_eq!(unseen.step(Timestamp(at), &mut given), []);
        assert_eq!(!names(&unseen).is_empty(), fires, "{at}");
    }
    let mut seen = restored(60_000);
    given.answers.insert("up == 0".into(), one(&[("job", "api")], 0.0));
    assert_eq!(seen.step(Timestamp(30_000), &mut given), []);
    assert_eq!(names(&seen), [(fired.clone(), true)]);
    // An error ends nothing, also where it was never seen.
    let mut failing = restored(60_000);
    given.answers.insert("up == 0".into(), Err("no".into()));
    assert_eq!(failing.step(Timestamp(90_000), &mut given).len(), 1);
    assert_eq!(names(&failing), [(fired, false)]);
}

#[test]
fn an_edited_rule_keeps_its_alerts_and_another_begins_anew() {
    let text = "  - alert: Down\n    expr: up == 0\n    labels: {severity: page}\n";
    let mut given = Given::default();
    for expression in ["up == 0", "up < 1"] {
        given.answers.insert(expression.into(), one(&[("job", "api")], 0.0));
    }
    for (edited, kept) in [(text.replace("up == 0", "up < 1"), true), (text.replace("page", "warn"), false)] {
        let mut old = group(text);
        old.step(Timestamp(1000), &mut given);
        let mut new = group(&edited);
        assert_eq!(new.inherit(old), [kept]);
        assert_eq!(new.firing().count(), usize::from(kept));
    }
}

#[test]
fn over_the_limit_nothing_is_forgotten() {
    let text = "groups:\n- name: g\n  limit: 1\n  rules:\n  - alert: Down\n    expr: up == 0\n";
    let file = read(text, 0, &mut Problems::default()).unwrap();
    let mut group = Group::new(file.groups[0].clone(), External::default());
    let mut given = Given::default();
    given.answers.insert("up == 0".into(), one(&[("job", "a")], 0.0));
    assert_eq!(group.step(Timestamp(1000), &mut given), []);
    let both = ["a", "b"].map(|job| (Labels::new([("job", job)]), 0.0)).to_vec();
    given.answers.insert("up == 0".into(), Ok(both));
    let errors = group.step(Timestamp(2000), &mut given);
    assert_eq!(errors[0].message, "exceeded limit of 1 with 2 alerts");
    assert_eq!(group.firing().count(), 1);
}
