//! Golden readings: small worlds of series, expressions over them, and what must come out.

use proptest::prelude::*;

use super::*;
use crate::base::label::NAME;
use crate::base::{Batch, Labels, Outcome, Sample, SourceRef, Timestamp};
use crate::store::{Limits, Store, stale};

/// Labels written as a selector of equalities.
fn labels(text: &str) -> Labels {
    let selector = compile_selector(text).unwrap();
    let name = selector.name.iter().map(|name| (NAME.to_string(), name.to_string()));
    let others = selector.matchers.iter().map(|matcher| (matcher.label.clone(), matcher.value().to_string()));
    Labels::new(name.chain(others).collect::<Vec<_>>())
}

/// A batch of the target `instance`, which looks every 10 s.
fn look(instance: &str, seconds: i64, samples: &[(&str, f64)]) -> Batch {
    Batch {
        checkpoint: None,
        holds: false,
        exhibits: Vec::new(),
        source: SourceRef::new("prometheus", "api"),
        instance: instance.into(),
        at: Timestamp(seconds * 1000),
        interval: Span::secs(10),
        outcome: Outcome::Good,
        samples: samples.iter().map(|(text, value)| Sample { labels: labels(text), value: *value, at: None }).collect(),
    }
}

/// A store of series, each of a target of its own: values every 10 s from 0, `_` for no look, `s` for a stale marker,
/// `0+10x30` for 31 values that rise by 10.
fn world(series: &[(&str, &str)]) -> Store {
    let mut store = Store::new(Limits::default());
    for (text, values) in series {
        for (value, i) in expanded(values).into_iter().zip(0..) {
            let Some(value) = value else { continue };
            let samples = if value.to_bits() == stale().to_bits() { vec![] } else { vec![(*text, value)] };
            store.append(&look(text, i * 10, &samples));
        }
    }
    store
}

fn expanded(values: &str) -> Vec<Option<f64>> {
    let expand = |word: &str| match (word, word.split_once('x')) {
        ("_", _) => vec![None],
        ("s", _) => vec![Some(stale())],
        (_, Some((line, times))) => {
            let (first, step) = line.split_once('+').unwrap();
            let (first, step): (f64, f64) = (first.parse().unwrap(), step.parse().unwrap());
            (0..=times.parse().unwrap()).map(|i| Some(first + step * f64::from(i))).collect()
        }
        (word, None) => vec![Some(word.parse().unwrap())],
    };
    values.split_whitespace().flat_map(expand).collect()
}

/// The reading as lines `labels value`, sorted; or `no data: …`, `failed: …`.
fn read(store: &Store, text: &str, seconds: i64) -> Vec<String> {
    let plan = compile(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    written(evaluate(&plan, store, Timestamp(seconds * 1000), LOOK_BACK))
}

fn written(reading: Reading) -> Vec<String> {
    match reading {
        Reading::Points(points) => {
            let round = |v: f64| if v.is_finite() { (v * 1e9).round() / 1e9 } else { v };
            let mut lines: Vec<String> =
                points.iter().map(|point| format!("{} {}", point.labels, round(point.value))).collect();
            lines.sort();
            lines
        }
        Reading::NoData(absence) => vec![format!("no data: {absence}")],
        Reading::Failed(message) => vec![format!("failed: {message}")],
    }
}

#[track_caller]
fn check(store: &Store, seconds: i64, cases: &[(&str, &[&str])]) {
    for (text, expected) in cases {
        assert_eq!(read(store, text, seconds), *expected, "{text} at {seconds} s");
    }
}

#[test]
fn numbers_are_computed() {
    let store = world(&[]);
    check(
        &store,
        60,
        &[
            ("1 + 2 * 3 ^ 2 ^ 0.5 - -1", &["{} 11.457608776"]),
            ("-7 % 3", &["{} -1"]),
            ("1 / 0", &["{} inf"]),
            ("0 / 0", &["{} NaN"]),
            ("1 > bool 2", &["{} 0"]),
            ("NaN != bool NaN", &["{} 1"]),
            ("time() + pi() * 0", &["{} 60"]),
            ("scalar(vector(3)) * 2", &["{} 6"]),
            ("vector(1)", &["{} 1"]),
            ("abs(vector(-0x10))", &["{} 16"]),
        ],
    );
}

#[test]
fn selectors_match_labels_and_look_back() {
    let store = world(&[
        ("m{a=\"1\"}", "1 2 3"),
        ("m{a=\"2\",b=\"x\"}", "4 5 s"),
        ("m{a=\"3\"}", "7 _ 9"),
        ("other", "NaN NaN NaN"),
    ]);
    check(
        &store,
        20,
        &[
            ("m", &["m{a=\"1\"} 3", "m{a=\"3\"} 9"]),
            ("m{b=\"\"}", &["m{a=\"1\"} 3", "m{a=\"3\"} 9"]),
            ("m{b!=\"\"} or m{a=\"1\"}", &["m{a=\"1\"} 3"]),
            ("m{a=~\"1|3\", a!~\"3\"}", &["m{a=\"1\"} 3"]),
            ("{__name__=~\"m|o.*\", a!=\"1\"}", &["m{a=\"3\"} 9", "other NaN"]),
            ("m offset 10s", &["m{a=\"1\"} 2", "m{a=\"2\",b=\"x\"} 5", "m{a=\"3\"} 7"]),
            ("m{a=\"1\"} offset -10s", &["m{a=\"1\"} 3"]),
            ("{\"m\", a=\"1\"}", &["m{a=\"1\"} 3"]),
        ],
    );
    check(&store, 15, &[("m", &["m{a=\"1\"} 2", "m{a=\"2\",b=\"x\"} 5", "m{a=\"3\"} 7"])]);
    check(&store, 319, &[("m", &["m{a=\"1\"} 3", "m{a=\"3\"} 9"])]);
    check(&store, 320, &[("m", &["no data: nothing matches m, and no source that could give it was read lately"])]);
    check(&store, 25, &[("m offset -10s", &["m{a=\"1\"} 3", "m{a=\"3\"} 9"])]);
}

#[test]
fn windows_are_open_on_the_left_and_do_not_see_stale_markers() {
    let store = world(&[("m", "1 2 s 4 5 6")]);
    check(
        &store,
        50,
        &[
            ("count_over_time(m[50s])", &["{} 4"]),
            ("count_over_time(m[50001ms])", &["{} 5"]),
            ("sum_over_time(m[10s])", &["{} 6"]),
            ("avg_over_time(m[1m])", &["{} 3.6"]),
            ("min_over_time(m[40s])", &["{} 4"]),
            ("max_over_time(m[40s])", &["{} 6"]),
            ("last_over_time(m[20s] offset 20s)", &["m 4"]),
            ("first_over_time(m[1m])", &["m 1"]),
            ("present_over_time(m[20s])", &["{} 1"]),
            ("quantile_over_time(0.5, m[30s])", &["{} 5"]),
            ("stdvar_over_time(m[30s])", &["{} 0.666666667"]),
            ("stddev_over_time(m[30s])", &["{} 0.816496581"]),
            ("changes(m[1m])", &["{} 4"]),
            ("resets(m[1m])", &["{} 0"]),
            ("timestamp(m)", &["{} 50"]),
            ("timestamp(m offset 10s)", &["{} 40"]),
            ("timestamp(-m)", &["{} 50"]),
        ],
    );
    let ended = world(&[("m", "1 2 s")]);
    check(&ended, 20, &[("m", &["no data: nothing matches m"]), ("last_over_time(m[1m])", &["m 2"])]);
}

#[test]
fn rates_are_extrapolated_by_the_rules() {
    // Ten a look, from 0 s to 300 s: the rise is 1 a second however the window lies.
    let store = world(&[("c", "0+10x30")]);
    check(
        &store,
        300,
        &[
            ("rate(c[1m])", &["{} 1"]),
            // Six samples cover 50 s; the first lies 10 s behind the open edge, within 1.1 gaps: all of it counts.
            ("increase(c[1m])", &["{} 60"]),
            ("delta(c[1m])", &["{} 60"]),
            ("irate(c[1m])", &["{} 1"]),
            ("idelta(c[1m])", &["{} 10"]),
            ("deriv(c[1m])", &["{} 1"]),
            ("predict_linear(c[1m], 60)", &["{} 360"]),
            // One second more holds seven samples and 1 s before them.
            ("increase(c[61s])", &["{} 61"]),
        ],
    );
    // The window begins 60 s before the counter: it is stretched to its zero (the first sample), no further.
    check(&store, 40, &[("increase(c[100s])", &["{} 40"]), ("delta(c[100s])", &["{} 45"])]);
    // Samples end 55 s before the window's end: half a gap.
    check(&store, 355, &[("increase(c[100s])", &["{} 50"])]);
}

#[test]
fn counters_reset_and_single_samples_give_nothing() {
    let store = world(&[("c", "10 20 5 15"), ("single", "1"), ("level", "5 3")]);
    check(
        &store,
        30,
        &[
            ("resets(c[1m])", &["{} 1"]),
            // 10 + 5 + 10, from 30 s covered; to the start at most half a gap (5 s): 25 * 35 / 30.
            ("increase(c[1m])", &["{} 29.166666667"]),
            ("irate(c[15s])", &["{} 1"]),
            ("irate(c[25s] offset 10s)", &["{} 0.5"]),
            ("rate(single[1m])", &["no data: too few samples of single[1m] yet"]),
        ],
    );
    check(&store, 10, &[("idelta(level[1m])", &["{} -2"]), ("irate(level[1m])", &["{} 0.3"])]);
}

#[test]
fn aggregations_group() {
    let store = world(&[
        ("m{a=\"1\",b=\"x\"}", "1"),
        ("m{a=\"1\",b=\"y\"}", "2"),
        ("m{a=\"2\",b=\"x\"}", "4"),
        ("m{a=\"2\",b=\"y\"}", "NaN"),
    ]);
    check(
        &store,
        0,
        &[
            ("sum(m{a=\"1\"})", &["{} 3"]),
            ("sum by (a) (m)", &["{a=\"1\"} 3", "{a=\"2\"} NaN"]),
            ("sum without (b) (m{b=\"x\"})", &["{a=\"1\"} 1", "{a=\"2\"} 4"]),
            ("avg by (b) (m{b=\"x\"})", &["{b=\"x\"} 2.5"]),
            ("min by (a) (m)", &["{a=\"1\"} 1", "{a=\"2\"} 4"]),
            ("max(m)", &["{} 4"]),
            ("count by (missing) (m)", &["{} 4"]),
            ("group by (b) (m)", &["{b=\"x\"} 1", "{b=\"y\"} 1"]),
            ("stddev(m{b=\"x\"})", &["{} 1.5"]),
            ("stdvar(m{b=\"x\"})", &["{} 2.25"]),
            ("quantile(0.5, m{b=\"x\"})", &["{} 2.5"]),
            ("topk(1, m)", &["m{a=\"2\",b=\"x\"} 4"]),
            ("topk(9, m{a=\"2\"})", &["m{a=\"2\",b=\"x\"} 4", "m{a=\"2\",b=\"y\"} NaN"]),
            ("bottomk by (a) (1, m)", &["m{a=\"1\",b=\"x\"} 1", "m{a=\"2\",b=\"x\"} 4"]),
            ("topk(0, m)", &[]),
            ("topk(NaN, m)", &["failed: the number of elements to keep is NaN"]),
            ("sum(m > 9)", &[]),
            ("sum by (__name__, a) (m{a=\"1\"})", &["m{a=\"1\"} 3"]),
        ],
    );
}

#[test]
fn names_are_dropped_at_the_end() {
    let store = world(&[("m{a=\"1\"}", "1 2"), ("n{a=\"1\"}", "3 4")]);
    check(
        &store,
        10,
        &[
            ("m + 1", &["{a=\"1\"} 3"]),
            ("m > 1", &["m{a=\"1\"} 2"]),
            ("1 < m", &["m{a=\"1\"} 2"]),
            ("m > bool 1", &["{a=\"1\"} 1"]),
            ("-m", &["{a=\"1\"} -2"]),
            ("irate(m[20s]) > 0", &["{a=\"1\"} 0.1"]),
        ],
    );
    check(
        &store,
        10,
        &[
            ("sum by (__name__) (-{a=\"1\"})", &["failed: the result holds the labels {} more than once"]),
            ("sum by (a) (-{a=\"1\"})", &["{a=\"1\"} -6"]),
            ("{a=\"1\"} * 2", &["failed: the result holds the labels {a=\"1\"} more than once"]),
            ("{a=\"1\"} * 2 > 5", &["{a=\"1\"} 8"]),
        ],
    );
}

#[test]
fn vectors_match_by_labels() {
    let store = world(&[
        ("err{path=\"/\",code=\"500\"}", "1"),
        ("err{path=\"/\",code=\"502\"}", "2"),
        ("err{path=\"/b\",code=\"500\"}", "3"),
        ("all{path=\"/\"}", "10"),
        ("all{path=\"/b\"}", "20"),
        ("info{path=\"/\",team=\"t\"}", "1"),
        ("twice{path=\"/\",x=\"1\"}", "1"),
        ("twice{path=\"/\",x=\"2\"}", "1"),
    ]);
    check(
        &store,
        0,
        &[
            ("err{code=\"500\"} / ignoring(code) all", &["{path=\"/\"} 0.1", "{path=\"/b\"} 0.15"]),
            ("err{code=\"500\"} / on(path) all", &["{path=\"/\"} 0.1", "{path=\"/b\"} 0.15"]),
            ("err{code=\"500\"} < on(path) all", &["{path=\"/\"} 1", "{path=\"/b\"} 3"]),
            ("all - all", &["{path=\"/\"} 0", "{path=\"/b\"} 0"]),
            ("all > bool all", &["{path=\"/\"} 0", "{path=\"/b\"} 0"]),
            ("all >= all", &["all{path=\"/\"} 10", "all{path=\"/b\"} 20"]),
            ("err + all", &[]),
            (
                "err / on(path) group_left all",
                &["{code=\"500\",path=\"/\"} 0.1", "{code=\"500\",path=\"/b\"} 0.15", "{code=\"502\",path=\"/\"} 0.2"],
            ),
            ("all * on(path) group_left(team) info", &["{path=\"/\",team=\"t\"} 10"]),
            ("info * on(path) group_right(team) all", &["{path=\"/\",team=\"t\"} 10"]),
            ("info - on(path) group_right(team) all", &["{path=\"/\",team=\"t\"} -9"]),
            ("all and on(path) info", &["all{path=\"/\"} 10"]),
            ("all unless on(path) info", &["all{path=\"/b\"} 20"]),
            ("info or on(path) all", &["all{path=\"/b\"} 20", "info{path=\"/\",team=\"t\"} 1"]),
            (
                "err / on(path) all",
                &[
                    "failed: several elements on the left side match {path=\"/\"}: many-to-one matching must be explicit \
                   (group_left or group_right)",
                ],
            ),
            (
                "all / on(path) twice",
                &["failed: many-to-many matching is not allowed: twice{path=\"/\",x=\"1\"} and \
                   twice{path=\"/\",x=\"2\"} on the right side have the same matching labels {path=\"/\"}"],
            ),
            (
                "err{path=\"/\"} * on(path) group_left(code) all{path=\"/\"}",
                &[
                    "failed: several results have the same labels for {path=\"/\"}: grouping labels must keep them apart",
                ],
            ),
        ],
    );
}

#[test]
fn functions_of_a_value() {
    let store = world(&[("m", "-1.5 2.5")]);
    for (text, expected) in [
        ("abs(m)", "1.5"),
        ("ceil(m)", "-1"),
        ("floor(m)", "-2"),
        ("round(m)", "-1"),
        ("round(m, 2)", "-2"),
        ("sgn(m)", "-1"),
        ("clamp_min(m, 0)", "0"),
        ("clamp_max(m, -2)", "-2"),
        ("clamp(m, -1, 1)", "-1"),
        ("clamp_min(m, NaN)", "NaN"),
        ("sqrt(m)", "NaN"),
        ("exp(m * 0)", "1"),
        ("ln(m * 0)", "-inf"),
        ("log2(m * 0 + 8)", "3"),
        ("log10(m * 0 + 100)", "2"),
        ("deg(m * 0 + pi())", "180"),
        ("scalar(m)", "-1.5"),
        ("scalar(m > 5)", "NaN"),
        ("sort(m) + 0", "-1.5"),
        ("m atan2 m", "-2.35619449"),
    ] {
        assert_eq!(read(&store, text, 0), [format!("{{}} {expected}")], "{text}");
    }
    check(&store, 0, &[("clamp(m, 1, -1)", &[])]);
}

#[test]
fn quantiles_of_classic_histograms() {
    let store = world(&[
        ("h{le=\"1\",p=\"a\"}", "0"),
        ("h{le=\"2\",p=\"a\"}", "50"),
        ("h{le=\"2.0\",p=\"a\"}", "10"),
        ("h{le=\"4\",p=\"a\"}", "90"),
        ("h{le=\"+Inf\",p=\"a\"}", "100"),
        ("h{le=\"1\",p=\"open\"}", "5"),
        ("h{le=\"+Inf\",p=\"none\"}", "5"),
        ("h{le=\"1\",p=\"torn\"}", "10"),
        ("h{le=\"2\",p=\"torn\"}", "8"),
        ("h{le=\"+Inf\",p=\"torn\"}", "10"),
        ("h{le=\"junk\",p=\"a\"}", "1"),
    ]);
    for (q, expected) in [("0.75", "3"), ("0.95", "4"), ("0.6", "2"), ("-1", "-inf"), ("2", "inf"), ("NaN", "NaN")] {
        let text = format!("histogram_quantile({q}, h{{p=\"a\"}})");
        assert_eq!(read(&store, &text, 0), [format!("{{p=\"a\"}} {expected}")], "{text}");
    }
    check(
        &store,
        0,
        &[
            ("histogram_quantile(0.5, h{p=\"open\"})", &["{p=\"open\"} NaN"]),
            ("histogram_quantile(0.5, h{p=\"none\"})", &["{p=\"none\"} NaN"]),
            ("histogram_quantile(0.5, h{p=\"torn\"})", &["{p=\"torn\"} 0.5"]),
            ("histogram_quantile(0.75, sum by (le) (h{p=\"a\"}))", &["{} 3"]),
        ],
    );
}

#[test]
fn missing_data_is_told_from_zero() {
    let mut store = world(&[("up{job=\"api\"}", "1 1"), ("once{job=\"api\"}", "1 s")]);
    let unseen = |selector: &str| {
        format!("no data: nothing matches {selector}, and no source that could give it was read lately")
    };
    check(
        &store,
        10,
        &[
            ("up > 5", &[]),
            ("once > 5", &["no data: nothing matches once"]),
            ("never > 5", &[&unseen("never")]),
            ("up + once", &["no data: nothing matches once"]),
            ("absent(once{job=\"api\",x=\"1\"})", &["{job=\"api\",x=\"1\"} 1"]),
            ("absent(up)", &[]),
            ("absent(never)", &[&unseen("never")]),
            ("absent(up{job=\"another\"})", &[&unseen("up{job=\"another\"}")]),
            ("absent_over_time(once[5s])", &["{} 1"]),
            ("absent_over_time(once[1m])", &[]),
            ("up unless once", &["up{job=\"api\"} 1"]),
            ("up unless never", &[&unseen("never")]),
            ("once unless up", &["no data: nothing matches once"]),
            ("once or up", &["up{job=\"api\"} 1"]),
            ("once or vector(0)", &["{} 0"]),
            ("never or vector(0)", &[&unseen("never")]),
            ("once or once", &["no data: nothing matches once"]),
            ("(up > 5) or once", &[]),
            ("ALERTS > 0", &[]),
            ("absent(ALERTS{alertname=\"x\"})", &["{alertname=\"x\"} 1"]),
            ("count(backstop_rule_no_data)", &[]),
        ],
    );
    check(&store, 31, &[("absent(once)", &[&unseen("once")]), ("once or vector(0)", &[&unseen("once")])]);
    store.declare(&SourceRef::new("prometheus", "api"), ["never"]);
    check(
        &store,
        10,
        &[("never or vector(0)", &["{} 0"]), ("absent(never)", &["{} 1"]), ("up unless never", &["up{job=\"api\"} 1"])],
    );
}

#[test]
fn the_condition_at_the_root_is_split_off() {
    let store = world(&[("m", "1 2")]);
    for (text, condition) in [
        ("m > 5", Some("> 5")),
        ("5 > m", Some("< 5")),
        ("(m >= 2 * 3)", Some(">= 6")),
        ("m > bool 5", None),
        ("m > m", None),
        ("m + 1", None),
        ("sum(m > 5)", None),
    ] {
        let plan = compile(text).unwrap();
        let written = plan.root_comparison().map(|c| format!("{} {}", c.relation, c.with));
        assert_eq!(written.as_deref(), condition, "{text}");
    }
    let plan = compile("m > 5").unwrap();
    assert_eq!(written(evaluate_value(&plan, &store, Timestamp(10_000), LOOK_BACK)), ["m 2"]);
    assert_eq!(written(evaluate(&plan, &store, Timestamp(10_000), LOOK_BACK)), [] as [&str; 0]);
}

#[test]
fn a_plan_knows_its_selectors_targets_and_newest_samples() {
    let store = world(&[("m{a=\"1\"}", "1 2"), ("n", "3"), ("gone", "1 s")]);
    let plan = compile("rate(m[5m] offset 1h) + on() (m unless ALERTS) * scalar(gone)").unwrap();
    let texts: Vec<_> = plan.selectors().iter().map(|s| (s.text.as_str(), s.role)).collect();
    let expected =
        [("m[5m] offset 1h", Role::Required), ("m", Role::Required), ("ALERTS", Role::Own), ("gone", Role::Required)];
    assert_eq!(texts, expected);
    assert_eq!(plan.longest_range(), Span::mins(65));
    let instances: Vec<_> = plan.targets(&store).into_iter().map(|id| store.target(id).instance.as_str()).collect();
    assert_eq!(instances, ["m{a=\"1\"}"]);
    let newest = |text: &str| match evaluate(&compile(text).unwrap(), &store, Timestamp(15_000), LOOK_BACK) {
        Reading::Points(points) => points[0].newest.0 / 1000,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        [newest("n"), newest("m"), newest("n + on() m"), newest("sum(m)"), newest("vector(1)")],
        [0, 10, 10, 10, 15]
    );
}

#[test]
fn a_plan_notices_new_series_and_other_stores() {
    let plan = compile("count(m)").unwrap();
    let now = Timestamp(10_000);
    let mut store = world(&[("m{a=\"1\"}", "1 1")]);
    assert_eq!(written(evaluate(&plan, &store, now, LOOK_BACK)), ["{} 1"]);
    store.append(&look("new", 10, &[("m{a=\"2\"}", 1.0)]));
    assert_eq!(written(evaluate(&plan, &store, now, LOOK_BACK)), ["{} 2"]);
    let other = world(&[("x", "1"), ("m{a=\"1\"}", "1 1")]);
    assert_eq!(written(evaluate(&plan, &other, now, LOOK_BACK)), ["{} 1"]);
}

#[test]
fn what_cannot_be_evaluated_is_refused_with_its_place() {
    let place = |text: &str| {
        let error = compile(text).map(|_| ()).expect_err(text);
        let at = error.at.map_or("-", |at| &text[at]);
        [error.message.as_str(), at, error.label.as_deref().unwrap_or("-"), error.help.as_deref().unwrap_or("-")]
            .join(" | ")
    };
    let remote = "`remote` in the rule has a Prometheus server evaluate the expression";
    for (text, expected) in [
        (
            "rate(http_requests_total[5m",
            "the expression ends inside a range | [5m | `]` and `)` are missing | 'rate(http_requests_total[5m])'",
        ),
        ("sum(up", "the expression ends inside parentheses | (up | `)` is missing | 'sum(up)'"),
        ("up{job=\"a", "the expression ends inside a quoted text | \"a | `\"` and `}` are missing | 'up{job=\"a\"}'"),
        ("sum(rate(x[5m)])", "`)` cannot close `[` | ) | `]` is missing before it | -"),
        ("up)", "`)` closes nothing | ) | - | -"),
        ("  ", "the expression is empty | - | - | -"),
        ("raet(x[5m])", "there is no function `raet` | raet | - | did you mean `rate`?"),
        ("frobnicate(x)", "there is no function `frobnicate` | frobnicate | - | -"),
        ("histogram_sum(x)", &format!("`histogram_sum` is not supported yet | histogram_sum | - | {remote}")),
        ("limit_ratio(0.5, x)", &format!("`limit_ratio` is not supported yet | limit_ratio | - | {remote}")),
        ("x[1e99]", "this time is too far away | 1e99 | - | -"),
        ("label_replace(x, \"\", \"\", \"\", \"\")", "\"\" is no name of a label | \"\" | the label to write | -"),
        ("label_replace(x, \"a\", \"\", \"b\", \"(\")", "\"(\" is no pattern: unclosed group | \"(\" | - | -"),
        ("abs(1) + rate(x[5m])", "expected type vector in call to function 'abs', got scalar | abs | - | -"),
        ("exp(+Inf)", "`exp` takes a vector | exp | - | vector(…) makes one of a number"),
        (
            "x[5m]",
            "the expression is a range of samples, not a value | - | - | put it into a function of ranges, such as rate(…) or \
             avg_over_time(…)",
        ),
        ("\"text\"", "the expression is a text, not a value | - | - | -"),
        ("x{a=~\"(\"}", "illegal regex for ( | - | - | -"),
        ("x{a=~\"a)|(b\"}", "`a)|(b` is no pattern: unopened group | a)|(b | - | -"),
        ("x y", "the expression is no PromQL | y | this cannot stand here | -"),
        ("sum(x) +", "the expression is no PromQL | + | something is missing after this | -"),
        ("rate(x)", "expected type matrix in call to function 'rate', got vector | rate | - | -"),
        ("{a=\"\"}", "vector selector must contain at least one non-empty matcher | - | - | -"),
    ] {
        assert_eq!(place(text), expected, "{text}");
    }
}

#[test]
fn hostile_texts_are_bounded() {
    for text in [
        "(".repeat(5000),
        format!("{}1{}", "(".repeat(101), ")".repeat(101)),
        "1+".repeat(600) + "1",
        "-".repeat(8000) + "1",
        "x or ".repeat(300) + "x",
        "x".repeat(9000),
        "a and ".repeat(600) + "a",
        "{".repeat(200),
        "\"\\".to_string(),
        "é(".to_string(),
        "x{a=\"é\u{0}".to_string(),
    ] {
        assert!(compile(&text).is_err(), "{}", &text.chars().take(40).collect::<String>());
    }
    assert!(compile(&("1+".repeat(400) + "1")).is_err(), "deeper than the evaluator goes");
    assert!(compile(&("x+".repeat(150) + "x")).is_ok());
}

#[test]
fn selectors_alone() {
    assert_eq!(compile_selector("(x{a=\"1\"})").unwrap().to_string(), "x{a=\"1\"}");
    for text in ["rate(x[5m])", "x offset 5m", "x[5m]", "1", "x + x"] {
        let error = compile_selector(text).map(|_| ()).expect_err(text);
        assert_eq!(error.message, "a selector of series is needed here, no expression", "{text}");
    }
}

/// Errors of `total`, by job, over 60 s at `seconds`.
fn counted(store: &Store, errors: &str, total: &str, by: &[&str], seconds: i64) -> Vec<String> {
    let (errors, total) = (compile_selector(errors).unwrap(), compile_selector(total).unwrap());
    let by: Vec<String> = by.iter().map(|label| label.to_string()).collect();
    match count_events(&errors, &total, Span::secs(60), &by, store, Timestamp(seconds * 1000)) {
        CountReading::Counts(points) => {
            points.iter().map(|p| format!("{} {}/{} {}", p.labels, p.errors, p.total, p.newest.0 / 1000)).collect()
        }
        CountReading::NoData(absence) => vec![format!("no data: {absence}")],
        CountReading::Failed(message) => vec![format!("failed: {message}")],
    }
}

#[test]
fn events_are_counted_exactly() {
    let store = world(&[
        ("r{code=\"200\",i=\"a\"}", "1000+10x30"),
        ("r{code=\"500\",i=\"a\"}", "7 7 7 8 9 2 3"),
        ("r{code=\"500\",i=\"b\"}", "10000000 10000000"),
    ]);
    // At 60 s the base is the sample at 0 s: 1 + 1, a reset to 2, 1.
    let errors = "r{code=\"500\"}";
    assert_eq!(counted(&store, errors, "r", &[], 60), ["{} 5/65 60"]);
    assert_eq!(counted(&store, errors, "r", &["i"], 60), ["{i=\"a\"} 5/65 60", "{i=\"b\"} 0/0 10"]);
    assert_eq!(counted(&store, errors, "r", &[], 65), ["{} 5/65 60"], "no extrapolation");
    // The last sample of `b` is older than the window.
    assert_eq!(counted(&store, errors, "r", &["i"], 70), ["{i=\"a\"} 5/65 70"]);
    assert_eq!(counted(&store, "r{code=\"404\"}", "r", &[], 60), ["{} 0/65 60"]);
    assert_eq!(counted(&store, "never", "r", &[], 60)[0].split(',').next(), Some("no data: nothing matches never"));
    assert_eq!(counted(&store, errors, "q", &[], 60)[0].split(',').next(), Some("no data: nothing matches q"));
}

#[test]
fn a_base_that_is_too_old_counts_nothing() {
    let gap = "_ ".repeat(40);
    let store = world(&[("near", "5 5 9"), ("far", &format!("5 {gap} 9 10"))]);
    assert_eq!(counted(&store, "near", "near", &[], 70), ["{} 4/4 20"]);
    assert_eq!(counted(&store, "far", "far", &[], 430), ["{} 1/1 420"]);
}

#[test]
fn first_errors_count_only_of_a_newborn_counter() {
    let error = ("r{code=\"500\"}", 3.0);
    let old_agent = || {
        let mut store = Store::new(Limits::default());
        store.append(&look("t", 0, &[("r{code=\"200\"}", 50.0)]));
        store
    };
    let errors = |store: &Store| counted(store, "r{code=\"500\"}", "r", &[], 30);
    let mut newborn = old_agent();
    newborn.append(&look("t", 10, &[("r{code=\"200\"}", 60.0), error]));
    assert_eq!(errors(&newborn), ["{} 3/13 10"]);
    let mut fresh_agent = Store::new(Limits::default());
    fresh_agent.append(&look("t", 10, &[("r{code=\"200\"}", 60.0), error]));
    assert_eq!(errors(&fresh_agent), ["{} 0/0 10"]);
    let mut after_gap = old_agent();
    after_gap.append(&look("t", 21, &[("r{code=\"200\"}", 60.0), error]));
    assert_eq!(errors(&after_gap), ["{} 0/10 21"]);
    newborn.shift(Span::secs(7));
    newborn.append(&look("t", 20, &[("r{code=\"200\"}", 60.0)]));
    newborn.append(&look("t", 30, &[("r{code=\"200\"}", 60.0), ("r{code=\"500\"}", 4.0)]));
    assert_eq!(errors(&newborn), ["{} 4/14 30"], "it went away and came back one higher");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, rng_seed: prop::test_runner::RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn any_text_compiles_or_is_refused_within_itself(text in "[a-z(){}\\[\\]\"'`\\\\#@:,. +*/<>=!~^%0-9\u{e9}-]{0,40}") {
        bounded(&text);
    }

    #[test]
    fn any_mix_of_words_compiles_or_is_refused_within_itself(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "rate(", "sum", "by", "(a)", "(", ")", "x", "{a=\"b\"}", "[5m]", "[5m", "offset", "5m", "-", "+", "==", "bool",
                "or", "unless", "on", "ignoring()", "group_left()", "1", "NaN", "\"s\"", "absent(", "topk(", ",", "# c\n",
                "histogram_quantile(0.9,", "time()", "vector(",
            ]),
            0..12,
        )
    ) {
        bounded(&words.join(" "));
    }
}

/// Compiles and, where that succeeds, evaluates; where it does not, the place lies in the text.
fn bounded(text: &str) {
    match compile(text) {
        Ok(plan) => {
            let store = world(&[("x{a=\"b\"}", "1 2 3"), ("x", "4 5 s")]);
            evaluate(&plan, &store, Timestamp(20_000), LOOK_BACK);
        }
        Err(error) => assert!(error.at.is_none_or(|at| text.get(at).is_some()), "{text:?}"),
    }
}

#[test]
fn every_function_that_is_named_as_implemented_compiles() {
    const CALLS: [&str; 15] = [
        "()",
        "(1)",
        "(x)",
        "(x, 1)",
        "(x, 1, 2)",
        "(x[5m])",
        "(x[5m], 1)",
        "(x[5m], 0.1, 0.2)",
        "(1, x)",
        "(1, x[5m])",
        "(1, 2)",
        "(1, 2, x)",
        "(\"a\", x)",
        "(x, \"a\", \"b\", \"c\", \"d\")",
        "(x, \"a\")",
    ];
    for name in scan::FUNCTIONS {
        assert!(CALLS.iter().any(|call| compile(&format!("{name}{call}")).is_ok()), "{name}");
    }
}
