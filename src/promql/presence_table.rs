//! What an expression reads where one of its names is there, is known to be absent, or cannot be seen.

use super::*;
use crate::base::label::NAME;
use crate::base::{Batch, Labels, Outcome, Sample, SourceRef, Timestamp};
use crate::store::{Limits, Store};

/// What `x` is in a world; `y` is always there.
#[derive(Clone, Copy, Debug)]
enum X {
    /// A fresh series.
    Matched,
    /// No series, of a source that declares it and was looked at.
    Empty,
    /// No series, and no source that could give one.
    Unseen,
}

/// 300 s of looks every 10 s. `x` rises by 1 a look from 0, `y` is 5.
fn world(x: X) -> Store {
    let source = SourceRef::new("prometheus", "api");
    let mut store = Store::new(Limits::default());
    if matches!(x, X::Empty) {
        store.declare(&source, ["x"]);
    }
    for i in 0..=30 {
        let sample =
            |name: &str, value: f64| Sample { labels: Labels::new([(NAME, name), ("a", "1")]), value, at: None };
        let mut samples = vec![sample("y", 5.0)];
        if matches!(x, X::Matched) {
            samples.push(sample("x", f64::from(i)));
        }
        let at = Timestamp(i64::from(i) * 10_000);
        let interval = Span::secs(10);
        store.append(&Batch {
            checkpoint: None,
            holds: false,
            exhibits: Vec::new(),
            source: source.clone(),
            instance: "i".into(),
            at,
            interval,
            outcome: Outcome::Good,
            samples,
        });
    }
    store
}

/// The values, or what is missing and of which selector.
fn read(text: &str, store: &Store) -> String {
    let plan = compile(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    match evaluate(&plan, store, Timestamp(300_000), LOOK_BACK) {
        Reading::Points(points) => {
            let mut lines: Vec<String> = points.iter().map(|p| format!("{} {}", p.labels, p.value)).collect();
            lines.sort();
            lines.join(" | ")
        }
        Reading::NoData(Absence { selector, missing }) => match missing {
            Missing::Series => format!("no series of {selector}"),
            Missing::Source => format!("no source of {selector}"),
            Missing::Samples => format!("no samples of {selector}"),
            Missing::Loading => "loading".into(),
        },
        Reading::Failed(why) => format!("failed: {why}"),
    }
}

/// Expressions, and what they read where `x` is matched, empty and unseen; nothing between the quotes is a value
/// without elements.
const TABLE: &[(&str, [&str; 3])] = &[
    ("x", [r#"x{a="1"} 30"#, "no series of x", "no source of x"]),
    ("x > 100", ["", "no series of x", "no source of x"]),
    ("x > bool 100", [r#"{a="1"} 0"#, "no series of x", "no source of x"]),
    ("-x", [r#"{a="1"} -30"#, "no series of x", "no source of x"]),
    ("sum(x)", ["{} 30", "no series of x", "no source of x"]),
    ("sum(x) > 100", ["", "no series of x", "no source of x"]),
    ("count(x) by (a)", [r#"{a="1"} 1"#, "no series of x", "no source of x"]),
    ("topk(1, x)", [r#"x{a="1"} 30"#, "no series of x", "no source of x"]),
    ("quantile(0.5, x)", ["{} 30", "no series of x", "no source of x"]),
    (r#"count_values("v", x)"#, [r#"{v="30"} 1"#, "no series of x", "no source of x"]),
    ("rate(x[1m])", [r#"{a="1"} 0.1"#, "no series of x[1m]", "no source of x[1m]"]),
    ("rate(x[1m]) > 100", ["", "no series of x[1m]", "no source of x[1m]"]),
    ("rate(x[15s])", [r#"{a="1"} 0.1"#, "no series of x[15s]", "no source of x[15s]"]),
    ("irate(x[5s])", ["no samples of x[5s]", "no series of x[5s]", "no source of x[5s]"]),
    ("increase(x[1m] offset 1m)", [r#"{a="1"} 6"#, "no series of x[1m] offset 1m", "no source of x[1m] offset 1m"]),
    ("x offset 1m", [r#"x{a="1"} 24"#, "no series of x offset 1m", "no source of x offset 1m"]),
    ("x offset -1m", [r#"x{a="1"} 30"#, "no series of x offset -1m", "no source of x offset -1m"]),
    ("x @ 300", [r#"x{a="1"} 30"#, "no series of x @ 300", "no source of x @ 300"]),
    ("x @ end()", [r#"x{a="1"} 30"#, "no series of x @ end()", "no source of x @ end()"]),
    ("last_over_time(x[1m])", [r#"x{a="1"} 30"#, "no series of x[1m]", "no source of x[1m]"]),
    ("x + y", [r#"{a="1"} 35"#, "no series of x", "no source of x"]),
    ("y + x", [r#"{a="1"} 35"#, "no series of x", "no source of x"]),
    ("x / on() sum(y)", ["{} 6", "no series of x", "no source of x"]),
    ("x and y", [r#"x{a="1"} 30"#, "no series of x", "no source of x"]),
    ("y and x", [r#"y{a="1"} 5"#, "no series of x", "no source of x"]),
    ("y and on() x", [r#"y{a="1"} 5"#, "no series of x", "no source of x"]),
    ("y unless x", ["", r#"y{a="1"} 5"#, "no source of x"]),
    ("x unless y", ["", "no series of x", "no source of x"]),
    ("x or vector(0)", [r#"x{a="1"} 30 | {} 0"#, "{} 0", "no source of x"]),
    ("vector(0) or x", [r#"x{a="1"} 30 | {} 0"#, "{} 0", "no source of x"]),
    ("x or y", [r#"x{a="1"} 30"#, r#"y{a="1"} 5"#, "no source of x"]),
    ("y or x", [r#"y{a="1"} 5"#, r#"y{a="1"} 5"#, "no source of x"]),
    ("x or 0 * y", [r#"x{a="1"} 30"#, r#"{a="1"} 0"#, "no source of x"]),
    ("(x > 100) or vector(0)", ["{} 0", "{} 0", "no source of x"]),
    ("x or absent(x)", [r#"x{a="1"} 30"#, "{} 1", "no source of x"]),
    ("absent(x)", ["", "{} 1", "no source of x"]),
    ("absent(sum(x))", ["", "{} 1", "no source of x"]),
    ("absent(x > 100)", ["{} 1", "{} 1", "no source of x"]),
    ("absent(x) * 2", ["", "{} 2", "no source of x"]),
    ("absent_over_time(x[1m])", ["", "{} 1", "no source of x[1m]"]),
    ("absent(rate(x[1m]))", ["", "{} 1", "no source of x[1m]"]),
    (r#"absent(x{a="gone"})"#, [r#"{a="gone"} 1"#, r#"{a="gone"} 1"#, r#"no source of x{a="gone"}"#]),
    ("scalar(x)", ["{} 30", "no series of x", "no source of x"]),
    ("vector(scalar(x))", ["{} 30", "no series of x", "no source of x"]),
    ("y > scalar(x)", ["", "no series of x", "no source of x"]),
    ("max_over_time(x[1m:10s])", [r#"{a="1"} 30"#, "no series of x", "no source of x"]),
    ("max_over_time(rate(x[1m])[1m:10s])", [r#"{a="1"} 0.1"#, "no series of x[1m]", "no source of x[1m]"]),
    ("rate(x[15s:10s])", [r#"{a="1"} 0.1"#, "no series of x", "no source of x"]),
    ("rate(x[5s:10s])", ["no samples of (x)[5s:10s]", "no series of x", "no source of x"]),
    ("max_over_time((x > 100)[1m:10s])", ["", "no series of x", "no source of x"]),
    ("absent_over_time(x[1m:10s])", ["", "{} 1", "no source of x"]),
    (r#"label_replace(x, "b", "1", "", "")"#, [r#"x{a="1",b="1"} 30"#, "no series of x", "no source of x"]),
    (r#"label_join(x, "b", "-", "a")"#, [r#"x{a="1",b="1"} 30"#, "no series of x", "no source of x"]),
    ("histogram_quantile(0.5, x)", ["", "no series of x", "no source of x"]),
    ("round(x, 5)", [r#"{a="1"} 30"#, "no series of x", "no source of x"]),
    ("clamp(x, 0, 10)", [r#"{a="1"} 10"#, "no series of x", "no source of x"]),
    ("timestamp(x)", [r#"{a="1"} 300"#, "no series of x", "no source of x"]),
    ("hour(x)", [r#"{a="1"} 0"#, "no series of x", "no source of x"]),
    ("sort(x)", [r#"x{a="1"} 30"#, "no series of x", "no source of x"]),
    (r#"{__name__=~"x|y"}"#, [r#"x{a="1"} 30 | y{a="1"} 5"#, r#"y{a="1"} 5"#, r#"y{a="1"} 5"#]),
    (r#"{__name__=~"x"}"#, [r#"x{a="1"} 30"#, r#"no series of {__name__=~"x"}"#, r#"no source of {__name__=~"x"}"#]),
    (r#"x{a=~"1|2"}"#, [r#"x{a="1"} 30"#, r#"no series of x{a=~"1|2"}"#, r#"no source of x{a=~"1|2"}"#]),
    (r#"x{a="gone"}"#, [r#"no series of x{a="gone"}"#, r#"no series of x{a="gone"}"#, r#"no source of x{a="gone"}"#]),
    (r#"x or y{a="gone"}"#, [r#"x{a="1"} 30"#, "no series of x", "no source of x"]),
    ("x or ALERTS", [r#"x{a="1"} 30"#, "no series of x", "no source of x"]),
    ("ALERTS or x", [r#"x{a="1"} 30"#, "no series of x", "no source of x"]),
    ("y unless ALERTS", [r#"y{a="1"} 5"#, r#"y{a="1"} 5"#, r#"y{a="1"} 5"#]),
    ("y * on() group_left() x", [r#"{a="1"} 150"#, "no series of x", "no source of x"]),
    ("y unless on() (x > 100)", [r#"y{a="1"} 5"#, r#"y{a="1"} 5"#, "no source of x"]),
    ("x unless x", ["", "no series of x", "no source of x"]),
    ("(x or y) and on() vector(1)", [r#"x{a="1"} 30"#, r#"y{a="1"} 5"#, "no source of x"]),
    ("backstop_rule_level + x", ["", "no series of x", "no source of x"]),
    ("absent(ALERTS)", ["{} 1", "{} 1", "{} 1"]),
    ("time() - x", [r#"{a="1"} 270"#, "no series of x", "no source of x"]),
    ("vector(1)", ["{} 1", "{} 1", "{} 1"]),
    ("time() > bool 5", ["{} 1", "{} 1", "{} 1"]),
];

#[test]
fn presence_of_every_shape_of_expression() {
    let worlds = [X::Matched, X::Empty, X::Unseen].map(world);
    let mut wrong = String::new();
    for (text, expected) in TABLE {
        let found = [0, 1, 2].map(|i| read(text, &worlds[i]));
        if found != *expected {
            wrong.push_str(&format!("{text}\n  {found:?}\n"));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
