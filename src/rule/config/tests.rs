//! Rules read from tables.

use std::ops::Range;

use super::*;
use crate::base::Unit;
use crate::base::table::{Entry, Value as Raw};
use crate::rule::{Hits, Value};

fn at(range: Range<usize>) -> Place {
    Place { file: 0, range }
}

/// A table of strings; a value that begins with `{` is a table of `key=value` pairs.
fn rule(keys: &[(&str, &str)]) -> (Option<Config>, Vec<String>) {
    let text = |t: &str| Node { value: Raw::Text(t.into()), place: at(100..102 + t.len()) };
    let entry = |key: &str, node| Entry { key: key.into(), place: at(1..2), node };
    let entries = keys.iter().map(|(key, value)| match value.strip_prefix('{') {
        Some(inner) => {
            let inner = inner.split(';').filter_map(|pair| pair.split_once('='));
            let inner = inner.map(|(k, v)| entry(k, text(v))).collect();
            entry(key, Node { value: Raw::Table(inner), place: at(90..300) })
        }
        None => entry(key, text(value)),
    });
    let node = Node { value: Raw::Table(entries.collect()), place: at(0..1) };
    let mut problems = Problems::default();
    let config = Config::read("x", &node, &mut problems);
    (config, problems.list.into_iter().map(|p| p.title).collect())
}

#[test]
fn a_rule_is_read_with_its_units_and_times() {
    let (config, problems) = rule(&[
        ("expr", "latency_ms"),
        ("unit", "ms"),
        ("warning", "> 300ms and < 1h"),
        ("critical", "{when=> 500ms;for=5m;clear=< 400ms"),
        ("rollback", "critical"),
        ("no_data", "warning"),
    ]);
    assert_eq!(problems, Vec::<String>::new());
    let rule = config.unwrap().rule;
    assert_eq!(rule.unit, Unit::Seconds);
    assert_eq!(rule.no_data, NoData::As(Level::Warning));
    let critical = rule.critical.unwrap();
    assert_eq!((critical.held_for, critical.keep), (Span::mins(5), Span::mins(1)));
    assert_eq!(critical.clear.unwrap().to_string(), "< 400 ms");
    assert_eq!(rule.rollback.unwrap().condition.held_for, Span::ZERO);
    let Value::Expression { text, plan } = rule.value else { panic!("an expression") };
    assert_eq!(text, "latency_ms");
    assert!(plan.text().contains("1e-3"), "{}", plan.text());
}

#[test]
fn shares_take_percent_and_their_defaults() {
    let (config, problems) = rule(&[("errors", "e_total"), ("total", "t_total"), ("critical", "> 10%")]);
    assert_eq!(problems, Vec::<String>::new());
    let Value::Share { window, min_errors, .. } = config.unwrap().rule.value else { panic!("a share") };
    assert_eq!((window, min_errors), (Span::mins(5), 3));
}

#[test]
fn mistakes_are_named() {
    let same: &[(&str, &str)] = &[("expr", "up")];
    for (keys, title) in [
        (&[("critical", "> 5 bananas")][..], "`bananas` is no unit"),
        (&[("critical", "5%")], "`5%` is no condition"),
        (&[("critical", "critical")], "`critical` cannot be \"critical\""),
        (&[("critical", "> 10%"), ("rollback", "> 5%")], "rollback is reached before critical"),
        (&[("critical", "> 10%"), ("rollback", "{when=> 10%;for=10s")], "rollback is reached before critical"),
        (&[("critical", "> 10%"), ("rollback", "< 5%")], "rollback is reached before critical"),
        (&[("warning", "> 20%"), ("critical", "> 10%")], "warning is stricter than critical"),
        (&[("critical", "{when=> 90%;clear=> 80%")], "`clear` is on the wrong side"),
        (&[("critical", "{when=< 10%;clear=> 5%")], "`clear` is on the wrong side"),
        (&[("critical", "> 90%"), ("warning", "> 5s")], "a duration and a ratio cannot be compared"),
        (&[("critical", "> 1"), ("gate", "go-live")], "unknown key `gate`"),
        (&[("critical", "> 1"), ("for", "5")], "`5` has no unit"),
        (&[("rollback", "critical")], "`rollback` waits for a `critical` that is not there"),
        (&[], "a rule without a condition"),
    ] {
        let (config, problems) = rule(&[same, keys].concat());
        assert_eq!(problems, [title], "{keys:?}");
        assert!(config.is_none());
    }
}

#[test]
fn a_rule_has_exactly_one_value() {
    assert_eq!(rule(&[("critical", "> 1")]).1, ["a rule without a value"]);
    let both = &[("expr", "up"), ("errors", "e_total"), ("total", "t_total"), ("critical", "> 1%")];
    assert_eq!(rule(both).1, ["a rule has one value"]);
    assert_eq!(rule(&[("errors", "e_total"), ("critical", "> 1%")]).1, ["a rule needs `total`"]);
    assert_eq!(rule(&[("expr", "up == 0"), ("critical", "present")]).1, Vec::<String>::new());
    assert_eq!(rule(&[("expr", "up == 0"), ("critical", "> 1")]).1, ["a comparison at the top of `expr`"]);
}

/// What `for` and `hits` come to in the conditions of a rule over `up`, or of a share.
fn times(keys: &[(&str, &str)], is_share: bool) -> Vec<(Span, Option<Hits>)> {
    let value: &[(&str, &str)] =
        if is_share { &[("errors", "e_total"), ("total", "t_total")] } else { &[("expr", "up")] };
    let (config, problems) = rule(&[value, keys].concat());
    assert_eq!(problems, Vec::<String>::new(), "{keys:?}");
    let rule = config.unwrap().rule;
    let rollback = rule.rollback.map(|criterion| criterion.condition);
    let conditions = [rule.target, rule.warning, rule.critical, rollback];
    conditions.into_iter().flatten().map(|condition| (condition.held_for, condition.hits)).collect()
}

#[test]
fn a_condition_with_evidence_of_its_own_waits_for_nothing_more() {
    let held = |held: i64| (Span::mins(held), None);
    for (keys, is_share, wanted) in [
        (&[("target", "> 1"), ("critical", "> 5")][..], false, vec![held(1), held(1)]),
        (&[("critical", "reaches 95 within 4h"), ("rollback", "critical")], false, vec![held(0), held(0)]),
        (&[("critical", "> baseline + 50% and > 3")], false, vec![held(0)]),
        (&[("critical", "> baseline + 50%"), ("baseline", "before")], false, vec![held(1)]),
        (&[("critical", "> baseline + 50%"), ("for", "5m")], false, vec![held(5)]),
        (&[("critical", "> 10%"), ("warning", "< 1%")], true, vec![held(1), held(0)]),
        (&[("critical", "> 10%"), ("rollback", "{when=> 20%;for=3m")], true, vec![held(0), held(3)]),
        (&[("critical", "> 10% and < 90%")], true, vec![held(1)]),
        (&[("critical", "> 10%"), ("over", "watch")], true, vec![held(1)]),
    ] {
        assert_eq!(times(keys, is_share), wanted, "{keys:?}");
    }
}

#[test]
fn what_a_condition_says_itself_overrides_the_rule() {
    let hits = |count, of| (Span::ZERO, Some(Hits { count, of }));
    let keys = &[("hits", "3 of 5"), ("warning", "> 1"), ("critical", "{when=> 2;for=2m"), ("rollback", "critical")];
    assert_eq!(times(keys, false), [hits(3, 5), (Span::mins(2), None), (Span::ZERO, None)]);
    let keys = &[("for", "9m"), ("warning", "> 1"), ("critical", "{when=> 2;hits= 2  of 2 ")];
    assert_eq!(times(keys, false), [(Span::mins(9), None), hits(2, 2)]);
}

#[test]
fn a_baseline_is_what_its_word_says_in_the_unit_of_the_rule() {
    let baseline = |text: &str| {
        let keys = [("expr", "x_ms"), ("unit", "ms"), ("baseline", text), ("critical", "< baseline - 50%")];
        rule(&keys).0.unwrap().rule.baseline
    };
    assert!(matches!(baseline("history"), Baseline::History));
    assert!(matches!(baseline("before"), Baseline::Before));
    assert!(matches!(baseline("peak"), Baseline::Peak));
    let Baseline::Value(figure) = baseline("250ms") else { panic!("a figure") };
    assert_eq!((figure.value, figure.unit), (0.25, Unit::Seconds));
    let Baseline::Expression { text, plan } = baseline("max(y_ms)") else { panic!("an expression") };
    assert_eq!(text, "max(y_ms)");
    assert!(plan.text().contains("1e-3"), "{}", plan.text());
}

#[test]
fn a_rule_says_when_it_is_judged_and_what_holds_it() {
    let (config, problems) = rule(&[("expr", "up"), ("critical", "> 1"), ("after", "1h"), ("arm", ">= 80%")]);
    assert_eq!((config.is_none(), problems), (true, vec!["a plain number and a ratio cannot be compared".into()]));
    let (config, problems) = rule(&[("expr", "up"), ("critical", "> 1%"), ("after", "1h"), ("arm", ">= 80%")]);
    assert_eq!(problems, Vec::<String>::new());
    let scope = config.unwrap().rule.scope;
    assert_eq!((scope.after, scope.arm.unwrap().to_string().as_str()), (Span::hours(1), ">= 80 %"));
}
