//! PromQL against scripts: our own, and where they are at hand the acceptance scripts of Prometheus.

mod run;
mod script;

use std::path::{Path, PathBuf};

use backstop::base::{Labels, Span, Timestamp};
use backstop::promql::{self, Options};
use backstop::store::{Limits, Store, Stretch, View, stale};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::support;

fn told(outcome: &run::Outcome) -> String {
    let list = |what: &str, entries: &[String]| match entries {
        [] => String::new(),
        entries => format!("{} {what}: {}\n", entries.len(), entries.join(", ")),
    };
    let mut text = outcome.lines.join("\n") + "\n";
    text += &list("in the skip list would pass", &outcome.would_pass);
    text += &list("passed but for an annotation about native histograms", &outcome.about_histograms);
    text += &list("annotations stand at another place", &outcome.elsewhere);
    text += &format!("{} passed, {} failed, {} skipped", outcome.passed, outcome.failed, outcome.skipped);
    text
}

#[expect(clippy::print_stdout, reason = "the figures are seen with --nocapture, and where it fails")]
fn holds(folder: &Path) {
    let outcome = run::folder(folder);
    println!("{}", told(&outcome));
    assert!(outcome.passed + outcome.failed > 0, "{} holds no evals", folder.display());
    assert!(outcome.failed == 0, "{} failed\n\n{}\n", outcome.failed, outcome.failures.join("\n\n"));
}

#[test]
fn our_own_scripts_hold() {
    holds(&support::root().join("tests/promql"));
}

#[test]
fn the_scripts_of_promqltest_hold() {
    let folder = std::env::var_os("BACKSTOP_PROMQLTEST")
        .map_or_else(|| support::root().join("../shared/promqltest"), PathBuf::from);
    if !folder.is_dir() {
        return support::left_out(
            "promqltest",
            &format!("{} is missing; BACKSTOP_PROMQLTEST names it", folder.display()),
        );
    }
    holds(&folder);
}

/// A small world: counters, buckets, a gauge with gaps and an end.
fn world() -> View {
    let series = |text: &str, values: &[f64]| {
        let selector = promql::compile_selector(text).unwrap();
        let name = selector.name.iter().map(|name| ("__name__".to_string(), name.to_string()));
        let others = selector.matchers.iter().map(|matcher| (matcher.label.clone(), matcher.value().to_string()));
        let times: Vec<i64> = (0..values.len() as i64).map(|i| i * 10_000).collect();
        Stretch::new(Labels::new(name.chain(others).collect::<Vec<_>>()), times, values.to_vec())
    };
    View::new([
        series("x{a=\"b\"}", &[1.0, 2.0, 3.0]),
        series("x", &[4.0, 5.0, stale(), f64::NAN]),
        series("y_total{a=\"b\",c=\"d\"}", &[0.0, 10.0, 3.0, f64::INFINITY]),
        series("z_bucket{le=\"1\",a=\"b\"}", &[1.0, 2.0, 3.0, 4.0]),
        series("z_bucket{le=\"+Inf\",a=\"b\"}", &[2.0, 2.0, 3.0, 9.0]),
    ])
}

/// Expressions of all shapes to start from.
const SEEDS: &[&str] = &[
    "sum by (instance) (rate(x{a=\"b\"}[5m])) / sum by (instance) (rate(x[5m])) > 0.1",
    "histogram_quantile(0.95, sum by (le) (rate(z_bucket[5m] offset 1m)))",
    "max_over_time(deriv(x[30s])[1m:10s] @ end()) or vector(0)",
    "x * on(a) group_left(c) y_total unless absent(x{a!~\"b|c.*\"})",
    "label_replace(x, \"d\", \"$1-${2}\", \"a\", \"(b)(.*)\") and ignoring(d) x",
    "label_join(count_values(\"v\", round(x, 0.5)), \"j\", \"-\", \"v\", \"a\")",
    "topk by (a) (scalar(x), x) > bool -2 ^ 3 % 4",
    "quantile_over_time(0.5, x[1m]) == bool quantile(0.5, x) without (a)",
    "predict_linear(x[1m], 1h) - timestamp(x) + time() + day_of_week()",
    "double_exponential_smoothing(x[1m], 0.5, 0.1) > absent_over_time(nothing[1h:5s])",
    "histogram_fraction(0, +Inf, {__name__=~\"z.*\"}) # comment\n",
    "sort_by_label_desc(x, 'a', `c`) != NaN atan2 0x1F",
    "x{\"quoted name\"=\"\\u00e9\"} @ 1e3 offset -5m",
    "x[1m] @ start()",
    "\"just \\\"text\"",
    "clamp(x, 1, 2) + min_of(1, 2) + vector(step()) == ignoring(a) fill(0) limitk(1, x)",
];

/// Compiles, and evaluates what compiles in all ways that there are.
fn survives(text: &str, view: &View) {
    let options = Options { max_samples: 20_000, ..Options::default() };
    let plan = match promql::compile_query(text) {
        Ok(plan) => plan,
        Err(error) => {
            assert!(!error.message.is_empty(), "an error says what is wrong");
            assert!(error.at.is_none_or(|at| text.get(at).is_some()), "its place lies in the text");
            return;
        }
    };
    let told = |answer: Result<promql::Answer, String>| match answer {
        Ok(answer) => {
            let places = answer.annotations.iter().chain(plan.annotations());
            places
                .for_each(|note| assert!(text.get(note.at.clone()).is_some() && !note.message.is_empty(), "{note:?}"));
        }
        Err(message) => assert!(!message.is_empty()),
    };
    told(promql::query(&plan, view, Timestamp(30_000), &options));
    let span = (Timestamp(0), Timestamp(30_000));
    told(promql::query_range(&plan, view, span, Span::secs(15), &options));
    if let Ok(plan) = promql::compile(text) {
        promql::evaluate(&plan, &Store::new(Limits::default()), Timestamp(30_000), promql::LOOK_BACK);
    }
}

#[test]
fn mutation_of_expressions() {
    let view = world();
    let seeds: Vec<Vec<u8>> = SEEDS.iter().map(|text| text.as_bytes().to_vec()).collect();
    SEEDS.iter().for_each(|text| drop(promql::compile_query(text).unwrap_or_else(|error| panic!("{text}: {error:?}"))));
    support::mutate::run("promql", &seeds, |input| {
        if let Ok(text) = std::str::from_utf8(input) {
            survives(text, &view);
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, rng_seed: RngSeed::Fixed(11), ..ProptestConfig::default() })]

    #[test]
    fn a_selector_is_read_back_as_it_is_printed(
        name in "[a-z_]{1,6}",
        matchers in prop::collection::vec(("[a-z]{1,4}", 0..4usize, "[a-z0-9.\"\\\\ é]{0,6}"), 0..4),
    ) {
        let written: Vec<String> = matchers
            .iter()
            .map(|(label, kind, value)| {
                let value = if *kind > 1 { value.replace(['\\', '"'], "") } else { value.clone() };
                format!("{label}{}{value:?}", ["=", "!=", "=~", "!~"][*kind])
            })
            .collect();
        let text = format!("{name}{{{}}}", written.join(","));
        if let Ok(selector) = promql::compile_selector(&text) {
            let printed = selector.to_string();
            prop_assert_eq!(promql::compile_selector(&printed).unwrap().to_string(), printed);
        }
    }

    #[test]
    fn sums_of_groups_add_up_to_the_sum_of_all(values in prop::collection::vec((0..4u8, 0..3u8, -1e6..1e6f64), 1..40)) {
        let series = values.iter().enumerate().map(|(i, (a, b, value))| {
            let labels = [("__name__", "m".to_string()), ("a", a.to_string()), ("b", b.to_string()), ("i", i.to_string())];
            Stretch::new(Labels::new(labels), vec![0], vec![*value])
        });
        let view = View::new(series);
        let ask = |text: &str| {
            let plan = promql::compile_query(text).unwrap();
            match promql::query(&plan, &view, Timestamp(0), &Options::default()).unwrap().value {
                promql::Value::Vector(points) => points[0].value,
                other => panic!("{other:?}"),
            }
        };
        let all = ask("sum(m)");
        // The first goes over groups of series, the others over elements.
        for text in ["sum(sum by (a) (m))", "sum(sum without (i) (m))", "sum(sum by (b, a) (m + 0))", "sum by (none) (m * 1)"] {
            prop_assert!((ask(text) - all).abs() <= 1e-9 * values.len() as f64 * 1e6, "{text}");
        }
        prop_assert_eq!(ask("count(m)"), values.len() as f64);
        prop_assert_eq!(ask("max(m)"), ask("max(max by (a) (m))"));
    }
}
