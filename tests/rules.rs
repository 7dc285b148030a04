//! `backstop test`: promtool's files and ours, through the program; promtool itself must agree.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use backstop::cli::test::try_readers;
use backstop::rule::prometheus::Template;
use serde_json::Value;

use crate::support::{Scratch, mutate, outside, root};

fn backstop(folder: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_backstop"))
        .arg("test")
        .args(words)
        .env_remove("BACKSTOP_CONFIG")
        .env("BACKSTOP_STATE", folder)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("the program that was just built can be started")
}

/// Output and exit code as one text.
fn said(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}{err}exit {}", output.status.code().unwrap_or(-1))
}

fn promrules() -> Vec<PathBuf> {
    let folder = root().join("tests/promrules");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|p| p.to_string_lossy().ends_with("_test.yml")).collect();
    files.sort();
    assert_eq!(files.len(), 11);
    files
}

/// Every text that comes from `text` by turning one expectation about alerts into its opposite.
fn flips(text: &str) -> Vec<String> {
    const KEY: &str = "exp_alerts:";
    let mut all = Vec::new();
    for (at, _) in text.match_indices(KEY) {
        let (before, after) = (&text[..at], &text[at + KEY.len()..]);
        let line = after.split('\n').next().unwrap();
        let (expected, rest) = if line.trim().is_empty() {
            let indent = before.rsplit('\n').next().unwrap().len();
            let inside = |l: &&str| {
                let own = l.len() - l.trim_start().len();
                own > indent || (own == indent && l.trim_start().starts_with('-'))
            };
            let length: usize = after[1..].split_inclusive('\n').take_while(inside).map(str::len).sum();
            (&after[..1 + length], format!("\n{}", &after[1 + length..]))
        } else {
            let mut depth = 0;
            let close = |c: char| {
                depth += i32::from(c == '[') - i32::from(c == ']');
                c == ']' && depth == 0
            };
            let end = after.find(close).unwrap() + 1;
            (&after[..end], after[end..].to_string())
        };
        let opposite = if expected.trim() == "[]" { " [{}]" } else { " []" };
        all.push(format!("{before}{KEY}{opposite}{rest}"));
    }
    all
}

#[test]
fn the_rules_after_a_deployment_pass() {
    let files = promrules();
    let words: Vec<&str> = files.iter().map(|p| p.to_str().unwrap()).collect();
    let scratch = Scratch::new("promrules_pass");
    let text = said(&backstop(scratch.path(), &words));
    assert!(text.ends_with("exit 0"), "{text}");
    assert!(text.contains("11 of 11 files passed, "), "{text}");
}

#[test]
fn what_misleads_in_rules_is_as_it_was_measured() {
    let file = root().join("tests/pitfalls/pitfalls_test.yml");
    let scratch = Scratch::new("pitfalls");
    let text = said(&backstop(scratch.path(), &[file.to_str().unwrap()]));
    assert!(text.contains("9 tests, 21 checks") && text.ends_with("exit 0"), "{text}");
}

#[test]
fn every_expectation_that_is_turned_over_fails() {
    let scratch = Scratch::new("promrules_flipped");
    let files = write_flips(scratch.path());
    let mut words: Vec<&str> = files.iter().map(|p| p.to_str().unwrap()).collect();
    words.extend(["--format", "json"]);
    let output = backstop(scratch.path(), &words);
    assert_eq!(output.status.code(), Some(1));
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    for report in reports.as_array().unwrap() {
        assert!(report["invalid"].is_null(), "{report}");
        assert_eq!(report["failures"].as_array().unwrap().len(), 1, "{report}");
    }
}

fn write_flips(folder: &Path) -> Vec<PathBuf> {
    std::fs::copy(root().join("tests/promrules/rules.yml"), folder.join("rules.yml")).unwrap();
    let mut files = Vec::new();
    for path in promrules() {
        for text in flips(&std::fs::read_to_string(path).unwrap()) {
            files.push(folder.join(format!("{}_test.yml", files.len())));
            std::fs::write(files.last().unwrap(), text).unwrap();
        }
    }
    assert_eq!(files.len(), 38);
    files
}

/// Rules for the variants below.
const RULES: &str = r#"groups:
- name: first
  rules:
  - record: job:up:sum
    expr: sum by (job) (up)
    labels: {source: rule}
- name: second
  rules:
  - alert: Down
    expr: up == 0
    for: 2m
    keep_firing_for: 90s
    labels: {severity: page, who: '{{ $labels.job }}-{{ $externalLabels.region }}'}
    annotations: {text: '{{ $labels.instance }} is {{ $value }} at {{ $externalURL }}', empty: '{{ $labels.nothing }}'}
  - alert: Sum
    expr: job:up:sum < 2
  - alert: DownTwice
    expr: ALERTS{alertname="Down",alertstate="firing"} and on (instance) (time() - ALERTS_FOR_STATE >= 180)
"#;

/// Name, test file, whether it passes. `TESTS` of a file begin behind this head.
const HEAD: &str = "rule_files: [rules.yml]\nevaluation_interval: 30s\ngroup_eval_order: [first, second]\ntests:\n";

const SERIES: &str = "  interval: 30s\n  input_series:\n  - {series: 'up{job=\"a\",instance=\"x\"}', values: '1x3 0x9 1x30'}\n  \
                      - {series: 'up{job=\"a\",instance=\"y\"}', values: '1x40'}\n  external_labels: {region: eu}\n  external_url: http://here\n";

fn down(at: &str, fires: bool) -> String {
    let alert = "[{exp_labels: {severity: page, who: a-eu, job: a, instance: x}, exp_annotations: {text: 'x is 0 at http://here', empty: ''}}]";
    let alerts = if fires { alert } else { "[]" };
    format!("- name: t\n{SERIES}  alert_rule_test: [{{eval_time: {at}, alertname: Down, exp_alerts: {alerts}}}]\n")
}

fn query(expr: &str, at: &str, samples: &str) -> String {
    format!("- name: t\n{SERIES}  promql_expr_test: [{{eval_time: {at}, expr: '{expr}', exp_samples: [{samples}]}}]\n")
}

/// Small files with what promtool must make of them: passes, or not.
fn variants() -> Vec<(String, bool)> {
    let mut all = Vec::new();
    // Down from 2m on, so firing at 4m; good again at 7m, kept until before 8m30s.
    for (at, fires) in [
        ("2m", false),
        ("3m59s", false),
        ("4m", true),
        ("4m29s", true),
        ("6m59s", true),
        ("7m", true),
        ("8m29s", true),
        ("8m30s", false),
        ("9m", false),
    ] {
        all.push((down(at, fires), true));
        all.push((down(at, !fires), false));
    }
    let query = |expr: &str, at: &str, samples: &str, passes: bool| (query(expr, at, samples), passes);
    all.extend([
        query("job:up:sum", "3m", "{labels: 'job:up:sum{job=\"a\",source=\"rule\"}', value: 1}", true),
        query("job:up:sum", "3m", "{labels: 'job:up:sum{job=\"a\"}', value: 1}", false),
        query("job:up:sum", "3m", "{labels: 'job:up:sum{job=\"a\",source=\"rule\"}', value: 1.0000001}", false),
        query("ALERTS_FOR_STATE", "5m", "{labels: 'ALERTS_FOR_STATE{alertname=\"Down\",severity=\"page\",who=\"a-eu\",job=\"a\",instance=\"x\"}', value: 120}, {labels: 'ALERTS_FOR_STATE{alertname=\"Sum\",job=\"a\",source=\"rule\"}', value: 120}, {labels: 'ALERTS_FOR_STATE{alertname=\"DownTwice\",alertstate=\"firing\",severity=\"page\",who=\"a-eu\",job=\"a\",instance=\"x\"}', value: 300}", true),
        query("ALERTS{alertname=\"Down\",alertstate=\"pending\"}", "4m", "", true),
        query("ALERTS{alertname=\"Down\"}", "8m30s", "", true),
        query("1 + 1", "1m", "{labels: '{}', value: 2}", true),
        query("up > 5", "1m", "", true),
        query("absent(nothing)", "1m", "{labels: '{}', value: 1}", true),
        query("up{", "1m", "", false),
        (format!("- name: t\n{SERIES}  surprise: 1\n"), false),
        (format!("- name: t\n{SERIES}  alert_rule_test: [{{eval_time: 1m, exp_alerts: []}}]\n"), false),
        (format!("- name: t\n{SERIES}  alert_rule_test: [{{eval_time: 1x, alertname: Down, exp_alerts: []}}]\n"), false),
        ("- input_series: [{series: 'up', values: '1 2 x'}]\n  promql_expr_test: [{expr: up, eval_time: 0, exp_samples: []}]\n".into(), false),
        ("- input_series: [{series: 'a{b=\"c\"}', values: '1+1x4 _x2 9 stale'}]\n  interval: 1m\n  promql_expr_test:\n  - {expr: a, eval_time: 6m, exp_samples: [{labels: 'a{b=\"c\"}', value: 5}]}\n  - {expr: a, eval_time: 7m, exp_samples: [{labels: 'a{b=\"c\"}', value: 9}]}\n  - {expr: a, eval_time: 8m, exp_samples: []}\n".into(), true),
    ]);
    all
}

/// Annotations with what they must become for a value of 0.1534, labels of `up`, and a query of it.
const TEMPLATES: [(&str, &str); 24] = [
    ("{{ $value }}", "0.1534"),
    ("{{ $value | humanizePercentage }}", "15.34%"),
    ("{{ humanize 1234567.0 }} {{ humanize 0.001234 }}", "1.235M 1.234m"),
    ("{{ humanize1024 1536.0 }}", "1.5ki"),
    (
        "{{ humanizeDuration 93784.5 }} {{ humanizeDuration 59.5 }} {{ humanizeDuration 0.0035 }}",
        "1d 2h 3m 4s 59.5s 3.5ms",
    ),
    ("{{ humanizeTimestamp 1761644467.5 }}", "2025-10-28 09:41:07.5 +0000 UTC"),
    (
        "{{ printf \"%.3f|%5.1f|%-6s|%q|%d|%x|%e|%t|%%|%v|%05d|%+d\" $value 2.25 \"ab\" \"c\\\"\" 42 255 1234.5 true \"v\" 42 7 }}",
        "0.153|  2.2|ab    |\"c\\\"\"|42|ff|1.234500e+03|true|%|v|00042|+7",
    ),
    (
        "{{ printf \"%d\" $value }} {{ printf \"%s\" }} {{ printf \"x\" 1 }}",
        "%!d(float64=0.1534) %!s(MISSING) x%!(EXTRA int=1)",
    ),
    (
        "{{ 1000000.0 }} {{ 123456789.5 }} {{ 100000.0 }} {{ 1e21 }} {{ 0.00001 }} {{ 0.0001 }}",
        "1e+06 1.234567895e+08 100000 1e+21 1e-05 0.0001",
    ),
    ("{{ printf \"%g %.2g %G %v\" 0.00001234 0.00001234 1e30 123456789.0 }}", "1.234e-05 1.2e-05 1E+30 1.23456789e+08"),
    ("{{ title \"hello wOrld-x\" }} {{ toUpper \"ab\" }} {{ \"ABC\" | toLower }}", "Hello WOrld-X AB abc"),
    ("{{ reReplaceAll \"(.*)-.*\" \"$1\" $labels.instance }} {{ match \"^x\" $labels.instance }}", "x true"),
    ("{{ if gt $value 0.5 }}high{{ else if gt $value 0.1 }}mid{{ else }}low{{ end }}", "mid"),
    ("{{ range query \"up\" }}{{ .Labels.instance }}={{ .Value }};{{ end }}", "x-1=0.1534;"),
    ("{{ with query \"nothing\" }}x{{ else }}-{{ end }}", "-"),
    (
        "{{ query \"up\" | first | label \"job\" }} {{ len (query \"up\") }} {{ (index (query \"up\") 0).Value }}",
        "a 1 0.1534",
    ),
    ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", "2"),
    ("a {{- /* nothing */ -}} b {{- $value -}} c", "ab0.1534c"),
    ("{{ $labels }} {{ $labels.none }}|", "map[__name__:up instance:x-1 job:a] |"),
    ("{{ or $labels.none $labels.job }} {{ and 0 1 }} {{ not true }}", "a 0 false"),
    ("{{ print 1 2 \"x\" 3 }} {{ 'a' }} {{ 0x10 }} {{ index $labels \"job\" }}", "1 2x3 97 16 a"),
    ("{{ ge 1 1 }} {{ le \"a\" \"b\" }} {{ ne 1 2 }} {{ eq 3 1 2 3 }} {{ lt 1.5 2.5 }}", "true true true true true"),
    (
        "{{ printf \"%8.3f|%-8d|%08.3f|%+.1e|%6.2f%%|%3c|%U\" 3.14159 42 -3.14159 12345.678 99.5 65 65 }}",
        "   3.142|42      |-003.142|+1.2e+04| 99.50%|  A|U+0041",
    ),
    (
        "{{ stripPort \"a:9100\" }} {{ parseDuration \"1h30m\" }} {{ humanize \"1500\" }} {{ graphLink \"up == 0\" }}",
        "a 5400 1.5k /graph?g0.expr=up+%3D%3D+0&g0.tab=0",
    ),
];

/// The rules and the test file of [`TEMPLATES`].
fn templates() -> (String, String) {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let list = |which: fn(&(&str, &str)) -> String| {
        let lines = TEMPLATES.iter().enumerate().map(|(i, pair)| format!("a{i}: {}", quoted(&which(pair))));
        lines.collect::<Vec<_>>().join(", ")
    };
    let (from, to) = (list(|p| p.0.to_string()), list(|p| p.1.to_string()));
    let rules = format!("groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n    annotations: {{{from}}}\n");
    let test = format!(
        "{HEAD}- input_series: [{{series: 'up{{job=\"a\",instance=\"x-1\"}}', values: '0.1534'}}]\n  alert_rule_test:\n  \
         - eval_time: 0m\n    alertname: A\n    exp_alerts: [{{exp_labels: {{job: a, instance: x-1}}, exp_annotations: {{{to}}}}}]\n"
    );
    (rules, test.replace("rules.yml", "templates.yml"))
}

/// Writes all variants; gives each file with whether it passes.
fn write_variants(folder: &Path) -> Vec<(PathBuf, bool)> {
    std::fs::write(folder.join("rules.yml"), RULES).unwrap();
    let (rules, test) = templates();
    std::fs::write(folder.join("templates.yml"), rules).unwrap();
    let mut files = vec![(folder.join("templates_test.yml"), true)];
    std::fs::write(&files[0].0, test).unwrap();
    for (i, (text, passes)) in variants().into_iter().enumerate() {
        let path = folder.join(format!("v{i}_test.yml"));
        std::fs::write(&path, format!("{HEAD}{text}")).unwrap();
        files.push((path, passes));
    }
    files
}

#[test]
fn small_test_files_pass_and_fail_as_they_should() {
    let scratch = Scratch::new("small_test_files");
    let files = write_variants(scratch.path());
    let mut words: Vec<&str> = files.iter().map(|(p, _)| p.to_str().unwrap()).collect();
    words.extend(["--format", "json"]);
    let output = backstop(scratch.path(), &words);
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
    for ((path, passes), report) in files.iter().zip(reports.as_array().unwrap()) {
        let good = report["invalid"].is_null() && report["failures"].as_array().unwrap().is_empty();
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(good, *passes, "{text}\n{report:#}");
    }
}

#[test]
fn outside_promtool_agrees() {
    if !outside("prometheus") {
        return;
    }
    let scratch = Scratch::new("promtool_agrees");
    let mut files = write_variants(scratch.path());
    files.extend(promrules().into_iter().map(|path| (path, true)));
    let flipped = scratch.path().join("flipped");
    std::fs::create_dir(&flipped).unwrap();
    files.extend(write_flips(&flipped).into_iter().map(|path| (path, false)));
    let mut differ = Vec::new();
    for (path, _) in &files {
        let theirs =
            Command::new("promtool").args(["test", "rules"]).arg(path).output().expect("promtool can be started");
        let ours = backstop(scratch.path(), &[path.to_str().unwrap()]);
        if theirs.status.success() != ours.status.success() {
            let text = std::fs::read_to_string(path).unwrap();
            differ.push(format!("{text}\npromtool: {}\nbackstop: {}", said(&theirs), said(&ours)));
        }
    }
    assert!(differ.is_empty(), "{} of {} differ:\n{}", differ.len(), files.len(), differ.join("\n\n"));
}

/// Runs a test file of this text beside `rules.yml` and `rules.toml`; gives what was said.
fn run(name: &str, file: &str, text: &str, more: &[&str]) -> String {
    let scratch = Scratch::new(name);
    std::fs::write(scratch.path().join("rules.yml"), RULES).unwrap();
    std::fs::write(scratch.path().join("rules.toml"), OWN).unwrap();
    std::fs::write(scratch.path().join(file), text).unwrap();
    said(&backstop(scratch.path(), &[&[file], more].concat()))
}

#[test]
fn a_failure_shows_what_was_expected_and_what_was_there() {
    let text = format!(
        "{HEAD}{}{}{}{}",
        down("5m", false).replace("name: t", "name: an alert too many"),
        down("2m", true).replace("name: t", "name: an alert too early"),
        down("5m", true).replace("severity: page", "severity: ticket").replace("name: t", "name: another label"),
        query("job:up:sum + 1", "3m", "{labels: '{job=\"a\"}', value: 3}").replace("name: t", "name: another value"),
    );
    insta::assert_snapshot!(run("a_failure_shows", "some_test.yml", &text, &[]));
    insta::assert_snapshot!(run(
        "a_failure_shows_json",
        "some_test.yml",
        &text,
        &["--format", "json", "--run", "early", "--run", "nothing"]
    ));
}

#[test]
fn mistakes_come_at_once_with_their_lines() {
    let text = format!(
        "rule_files: [rules.yml, nowhere/*.yml]\nevaluation_intervall: 15s\ntests:\n- name: a\n  interval: 5\n{}  \
         promql_expr_test:\n  - {{expr: 'sum(up', eval_time: 1m}}\n  - {{expr: up, eval_time: 1m, exp_samples: [{{labels: 'up{{', value: x, histogram: '{{{{}}}}'}}]}}\n  \
         alert_rule_test:\n  - {{eval_time: 1m, exp_alerts: [{{exp_label: {{a: b}}}}]}}\n",
        "  input_series:\n  - {series: 'up{job=a}', values: '1x3 {{schema:1}}'}\n"
    );
    insta::assert_snapshot!(run("mistakes_come_at_once", "bad_test.yml", &text, &[]));
    insta::assert_snapshot!(run("mistakes_toml", "bad.toml", BAD, &[]));
}

#[test]
fn a_rule_that_cannot_be_evaluated_ends_its_test() {
    let rules = "groups:\n- name: g\n  limit: 1\n  rules:\n  - {record: x, expr: up}\n";
    let scratch = Scratch::new("a_rule_that_cannot");
    std::fs::write(scratch.path().join("rules.yml"), rules).unwrap();
    std::fs::write(scratch.path().join("t.yml"), format!("{HEAD}{}", query("x", "1m", ""))).unwrap();
    insta::assert_snapshot!(said(&backstop(scratch.path(), &["t.yml"])));
}

/// Rules of ours for the tests below.
const OWN: &str = r#"
[rule.errors]
errors   = 'http_requests_total{code=~"5.."}'
total    = 'http_requests_total'
critical = "> 10%"
rollback = { when = "critical", for = "2m" }

[rule.latency]
expr     = 'latency_seconds'
warning  = { when = "> 300ms", for = "1m" }
labels   = { team = "web" }
"#;

const OURS: &str = r#"
[[test]]
name  = "sustained errors"
rules = ["rules.toml"]

[test.series]
'http_requests_total{job="api",instance="a",code="200"}' = "0+100x20 2085+85x60"
'http_requests_total{job="api",instance="a",code="500"}' = "0x20 15+15x60"
'latency_seconds{job="api",instance="a"}'                = "0.1x40 0.5x40"

[[test.expect]]
at    = "5m"
rule  = "errors"
level = "ok"

[[test.expect]]
at    = "15m"
rule  = "errors"
level = "critical"
due   = true

[[test.expect]]
at     = "14m"
rule   = "latency"
level  = "warning"
labels = { team = "web" }
value  = "500ms"

[[test.query]]
at      = "5m"
expr    = 'sum(http_requests_total)'
samples = { '{}' = 2000 }

[[test]]
name  = "a target that falls silent"
rules = ["rules.toml"]
series = { 'latency_seconds{job="api",instance="a"}' = "0.1x10" }
expect = [
  { at = "2m", rule = "latency", level = "ok" },
  { at = "20m", rule = "latency", level = "no_data" },
]
"#;

const BAD: &str = r#"
[[test]]
name = "x"
interval = "15"
rule = ["rules.toml"]
series = { 'up{' = "1x3", 'up' = "1y3" }
expect = [{ at = "5m", rule = "errors", level = "criticall" }, { at = "5m", rule = "errors" }]
query = [{ at = "1m", expr = 'sum(up', samples = { 'a b' = 1 } }]
"#;

#[test]
fn rules_of_ours_are_tested_by_the_engine() {
    let text = run("rules_of_ours", "ours.toml", OURS, &[]);
    assert!(text.ends_with("exit 0"), "{text}");
    let turned = OURS
        .replace("due   = true", "due   = false")
        .replace("\"500ms\"", "\"0.4s\"")
        .replace("level = \"ok\" },", "level = \"warning\" },")
        .replace("= 2000", "= 2001");
    insta::assert_snapshot!(run("rules_of_ours_turned", "ours.toml", &turned, &[]));
}

#[test]
fn a_file_of_promtool_may_name_rules_of_ours() {
    let text = "rule_files: [rules.toml]\nevaluation_interval: 15s\ntests:\n- interval: 15s\n  input_series:\n  \
                - {series: 'latency_seconds{job=\"api\",instance=\"a\"}', values: '0.5x40'}\n  alert_rule_test:\n  \
                - {eval_time: 5m, alertname: latency, exp_alerts: [{exp_labels: {job: api, instance: a, team: web, level: warning}}]}\n  \
                - {eval_time: 30s, alertname: latency, exp_alerts: []}\n";
    let said = run("a_file_of_promtool", "own_test.yml", text, &[]);
    assert!(said.ends_with("exit 0"), "{said}");
}

#[test]
fn the_examples_pass() {
    let folder = root().join("examples/tests");
    let text = said(&backstop(&folder, &["errors.toml", "errors_test.yml", "deployment.toml"]));
    assert!(text.ends_with("exit 0"), "{text}");
    assert!(text.contains("3 of 3 files passed, "), "{text}");
}

/// The example of a deployment with `what` of it turned into `into`; the output.
fn turned_deployment(name: &str, what: &str, into: &str) -> String {
    let scratch = Scratch::new(name);
    let folder = root().join("examples/tests");
    let text = std::fs::read_to_string(folder.join("deployment.toml")).unwrap();
    assert!(text.contains(what), "{what}");
    std::fs::write(scratch.path().join("deployment.toml"), text.replace(what, into)).unwrap();
    std::fs::copy(folder.join("shop.toml"), scratch.path().join("shop.toml")).unwrap();
    said(&backstop(scratch.path(), &["deployment.toml"]))
}

#[test]
fn every_expected_decision_that_is_turned_over_fails() {
    for (i, (what, into)) in [
        ("\"critical at 25m15s\"", "\"warning at 25m\""),
        ("\"critical at 25m15s\", ", ""),
        ("\"ok at 31m15s\"", "\"ok at 31m15s\", \"critical at 40m\""),
        ("decision = \"due\"", "decision = \"none\""),
        ("decision = \"requested\"", "decision = \"asked\""),
        ("\"held by older-than-deployment\"", "\"held by blind-observer\""),
        ("decision = \"none\"", "decision = \"due\""),
        ("count    = 3", "count    = 4"),
        ("count = 1", "count = 0"),
        ("reason   = \"first\"", "reason   = \"escalated\""),
        ("contains = [\"CRITICAL\", \"errors\"]", "contains = \"latency\""),
        ("channel  = \"log/alerts\"", "channel  = \"log/other\""),
    ]
    .iter()
    .enumerate()
    {
        let text = turned_deployment(&format!("turned_decision_{i}"), what, into);
        assert!(text.ends_with("exit 1"), "{what} -> {into}: {text}");
        assert!(text.contains(" 1 of "), "{what} -> {into}: {text}");
    }
}

#[test]
fn a_decision_that_was_not_taken_is_shown_beside_what_was() {
    insta::assert_snapshot!(turned_deployment(
        "decision_shown",
        "\"critical at 25m15s\"",
        "\"warning at 22m\", \"critical at 25m15s\""
    ));
    insta::assert_snapshot!(turned_deployment("drill_shown", "\"held by older-than-deployment\"", "\"requested\""));
}

/// Each line holds one mistake.
const BAD_DECISIONS: &str = r#"
[[test]]
name  = "decisions"
rules = ["rules.toml"]
mode  = "automatic"

[[test.deploy]]
at       = "5m"
complete = "4m"

[[test.transition]]
rule   = "errors"
levels = ["critical", "bad at 5m", "ok at 5"]

[[test.transition]]
rule = "errors"
level = ["ok at 5m"]

[[test.notified]]
event  = "alerts"
reason = "worse"
count  = -1

[[test.rollback]]
at       = "5m"
within   = "6m"
decision = "held by nobody"

[[test.rollback]]
decision = "request"
"#;

#[test]
fn mistakes_in_decisions_come_at_once_with_their_lines() {
    insta::assert_snapshot!(run("mistakes_in_decisions", "bad.toml", BAD_DECISIONS, &[]));
}

#[test]
fn mutation_of_test_files() {
    let small = format!("{HEAD}{}", down("4m", true));
    mutate::run("test_files", &[small.into_bytes(), RULES.as_bytes().to_vec()], |input| {
        try_readers(&String::from_utf8_lossy(input));
    });
}

#[test]
fn mutation_of_templates() {
    let corpus: Vec<Vec<u8>> = TEMPLATES.iter().map(|(text, _)| text.as_bytes().to_vec()).collect();
    let external = backstop::rule::prometheus::External::default();
    mutate::run("templates", &corpus, |input| {
        let Ok(template) = Template::parse(&String::from_utf8_lossy(input)) else { return };
        let labels = [("a".to_string(), "b".to_string())].into();
        let at = backstop::base::Timestamp(0);
        let data = backstop::rule::prometheus::template::Data { labels, value: 0.15, external: &external, at };
        let text = template.expand(&data, &mut |_| Ok(Vec::new()));
        assert!(text.len() <= 2 * backstop::rule::prometheus::template::MAX_TEXT);
    });
}
