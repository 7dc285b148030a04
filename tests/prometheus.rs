//! The read API against a real Prometheus over the same samples, and `promtool` against both.
//!
//! Debian's Prometheus is of version 2, whose windows are closed on the left. So every evaluation lies between two samples,
//! where both versions mean the same, and what version 3 added or changed is left out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use backstop::base::Span;
use backstop::source::openmetrics_file;
use backstop::store::View;
use backstop::sys::clock::Clock;
use backstop::sys::tasks::Tasks;
use backstop::web::query::{Api, Fixed, Memory};
use backstop::web::serve_tcp;
use serde_json::Value;

use crate::support::mutate::Random;
use crate::support::{Scratch, outside};

/// The first sample; no multiple of a minute, so that no step of a subquery falls on a sample.
const START: i64 = 1_699_999_205;
const STEP: i64 = 15;
const SAMPLES: i64 = 400;

/// Between two samples, an hour and a half after the first.
const AT: f64 = 1_700_004_612.25;

/// Expressions with one value or many at one time.
const QUERIES: [&str; 112] = [
    // selectors
    "up",
    "up{job=\"shop\"}",
    "up{job!=\"shop\"}",
    "{__name__=~\"up|load\"}",
    "up{instance=~\"a.*\"}",
    "up{instance!~\"a.*\",job=~\".+\"}",
    "up offset 20m",
    "up offset -2m",
    "nothing",
    "gone",
    "gone offset 30m",
    "load[2m]",
    "requests_total{code=\"500\"}[1m] offset 5m",
    // @
    "load @ 1700001007.5",
    "rate(requests_total[5m] @ 1700002007.5)",
    // arithmetic and comparison
    "1 + 2 * 3 ^ 2 % 5",
    "-load",
    "load * 2 - 1",
    "load / 0",
    "load % 3",
    "load ^ 2",
    "load > 5",
    "load <= 5",
    "load > bool 5",
    "5 < load",
    "load != load",
    "load == load",
    "(load > 3) < 8",
    "time() - 1700000000",
    "1 / 0",
    "0 / 0",
    "\"a text\"",
    // vectors with vectors
    "requests_total{code=\"500\"} / ignoring(code) requests_total{code=\"200\"}",
    "requests_total{code=\"500\"} / on(instance, path) requests_total{code=\"200\"}",
    "requests_total * on(instance) group_left(job) up",
    "up * on(instance) group_right() requests_total",
    "up and load > 5",
    "up or nothing",
    "up unless load > 5",
    "up unless on(instance) load",
    "load > bool on(instance) (up * 4)",
    "load and on() vector(1)",
    // counters
    "rate(requests_total[5m])",
    "rate(requests_total[1m])",
    "increase(requests_total[10m])",
    "irate(requests_total[5m])",
    "resets(requests_total[1h])",
    "changes(up[1h])",
    "rate(requests_total[20s])",
    "increase(requests_total[5m] offset 10m)",
    // gauges
    "delta(load[10m])",
    "idelta(load[10m])",
    "deriv(load[10m])",
    "predict_linear(load[10m], 600)",
    "avg_over_time(load[10m])",
    "min_over_time(load[10m])",
    "max_over_time(load[10m])",
    "sum_over_time(load[10m])",
    "count_over_time(up[10m])",
    "last_over_time(load[10m])",
    "present_over_time(gone[50m])",
    "quantile_over_time(0.9, load[10m])",
    "stddev_over_time(load[10m])",
    "stdvar_over_time(load[10m])",
    "absent_over_time(nothing{a=\"b\"}[5m])",
    "absent_over_time(up[5m])",
    // aggregation
    "sum(load)",
    "sum by (job) (load)",
    "sum without (instance) (requests_total)",
    "avg by (path) (requests_total)",
    "min(load)",
    "max by (instance) (requests_total)",
    "count by (job) (up)",
    "count(up == 1)",
    "group by (job) (up)",
    "stddev(load)",
    "stdvar by (job) (load)",
    "topk(3, requests_total)",
    "bottomk(2, load)",
    "topk by (path) (1, requests_total)",
    "quantile(0.5, load)",
    "quantile by (job) (0.25, requests_total)",
    "count_values(\"value\", up)",
    "sum by (instance) (rate(requests_total{code=\"500\"}[5m])) / sum by (instance) (rate(requests_total[5m])) > 0.01",
    // histograms
    "histogram_quantile(0.95, rate(duration_seconds_bucket[5m]))",
    "histogram_quantile(0.5, sum by (le) (rate(duration_seconds_bucket[10m])))",
    "histogram_quantile(0.99, sum by (le, instance) (increase(duration_seconds_bucket[10m])))",
    "histogram_quantile(1.5, duration_seconds_bucket)",
    "histogram_quantile(-1, duration_seconds_bucket)",
    // functions of values
    "abs(-load)",
    "ceil(load)",
    "floor(load)",
    "round(load, 0.5)",
    "sqrt(load)",
    "exp(load / 10)",
    "ln(load)",
    "log2(load) + log10(load)",
    "clamp(load, 2, 6)",
    "clamp_min(load, 4)",
    "clamp_max(load, 4)",
    "sgn(load - 5)",
    "sin(load) + cos(load) + tan(load)",
    "deg(load) - rad(load) + pi()",
    "timestamp(up)",
    "scalar(sum(load)) + vector(1)",
    "absent(nothing{job=\"x\"})",
    "absent(up)",
    "label_replace(up, \"short\", \"$1\", \"instance\", \"(.*):.*\")",
    "label_join(up, \"both\", \"-\", \"job\", \"instance\")",
    "hour() + minute() * 100 + day_of_week() * 10000",
    // subqueries
    "max_over_time(rate(requests_total[5m])[30m:1m])",
    "avg_over_time((load * 2)[10m:30s] offset 5m)",
];

/// Expressions over a range.
const RANGES: [&str; 16] = [
    "up",
    "gone",
    "load > 5",
    "rate(requests_total[5m])",
    "sum by (job) (rate(requests_total[5m]))",
    "increase(requests_total[10m])",
    "avg_over_time(load[10m])",
    "histogram_quantile(0.9, sum by (le) (rate(duration_seconds_bucket[5m])))",
    "topk(2, load)",
    "absent(gone)",
    "load offset 10m",
    "load - load @ 1700001007.5",
    "time()",
    "count(up == 0) or vector(0)",
    "max_over_time(sum(load)[10m:1m])",
    "up unless load > 5",
];

/// The value at the n-th time; none where there is no sample.
type Course = Box<dyn FnMut(i64, &mut Random) -> Option<f64>>;

/// The samples: counters that restart, gauges below zero too, histograms, series that end, begin and pause.
fn dump() -> String {
    let mut random = Random(20_231_114);
    let mut text = String::new();
    let mut series = |name: &str, labels: &str, mut value: Course| {
        for i in 0..SAMPLES {
            if let Some(value) = value(i, &mut random) {
                writeln!(text, "{name}{{{labels}}} {value} {}", START + i * STEP).unwrap();
            }
        }
    };
    for (i, job) in ["shop", "shop", "shop", "cron", "mail"].into_iter().enumerate() {
        let at = format!("instance=\"{}:90{i}\",job=\"{job}\"", ["a1", "a2", "b1", "c1", "d1"][i]);
        let down = i as i64 * 37 + 40;
        series("up", &at, Box::new(move |t, _| Some(f64::from(u8::from(t % 150 < down)))));
        let mut load = i as f64;
        series(
            "load",
            &at,
            Box::new(move |t, random| {
                load += random.below(100) as f64 / 50.0 - 0.98;
                // The third pauses for a while.
                (i != 2 || !(250..300).contains(&t)).then_some((load * 1000.0).round() / 1000.0)
            }),
        );
        for path in ["/", "/cart", "/pay"] {
            for (code, most) in [("200", 40), ("500", 3)] {
                let labels = format!("{at},code=\"{code}\",path=\"{path}\"");
                let mut total = random_start(i, most);
                series(
                    "requests_total",
                    &labels,
                    Box::new(move |t, random| {
                        total += random.below(most) as f64;
                        // Each restarts once, at its own time.
                        if t == 170 + 20 * i as i64 {
                            total = 0.0;
                        }
                        Some(total)
                    }),
                );
            }
        }
    }
    for instance in ["a1:900", "a2:901"] {
        for (k, le) in ["0.1", "0.25", "0.5", "1", "2.5", "+Inf"].into_iter().enumerate() {
            let mut held = 0.0;
            // Each bucket rises by more than the one below it.
            let labels = format!("instance=\"{instance}\",le=\"{le}\"");
            let rise = move |t: i64| ((t * 7 + 3) % 11) as f64 * (k as f64 + 1.0);
            series(
                "duration_seconds_bucket",
                &labels,
                Box::new(move |t, _| {
                    held += rise(t);
                    Some(held)
                }),
            );
        }
    }
    series("gone", "job=\"old\"", Box::new(|t, _| (t < 220).then_some(t as f64)));
    series("late", "job=\"new\"", Box::new(|t, _| (t > 180).then_some(t as f64 / 7.0)));
    text.push_str("# EOF\n");
    text
}

fn random_start(i: usize, most: usize) -> f64 {
    (i * 1000 + most * 17) as f64
}

/// Debian's Prometheus; it ends with this value.
struct Prometheus {
    child: Child,
    address: String,
}

impl Prometheus {
    fn start(folder: &Path) -> Prometheus {
        let data = folder.join("data");
        std::fs::create_dir(&data).unwrap();
        let made = Command::new("promtool")
            .args(["tsdb", "create-blocks-from", "openmetrics"])
            .args([&folder.join("dump"), &data])
            .output()
            .expect("promtool is installed (Debian: prometheus)");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let config = folder.join("prometheus.yml");
        std::fs::write(&config, "global: {}\n").unwrap();
        let address = {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap().to_string()
        };
        let mut child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--storage.tsdb.retention.time=100y")
            .stderr(Stdio::piped())
            .spawn()
            .expect("prometheus is installed (Debian: prometheus)");
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = log.by_ref().map_while(Result::ok).any(|line| line.contains("ready to receive web requests"));
        assert!(ready, "prometheus ended before it was ready");
        // The pipe is read on, or a full one would stop the server.
        drop(std::thread::spawn(move || log.for_each(drop)));
        Prometheus { child, address: format!("http://{address}") }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Both servers over the same samples.
struct Both {
    theirs: Prometheus,
    ours: String,
    client: reqwest::Client,
    tasks: Tasks,
    _folder: Scratch,
}

impl Both {
    async fn start(name: &str) -> Both {
        backstop::sys::http::install_crypto_provider();
        let folder = Scratch::new(name);
        let dump = dump();
        std::fs::write(folder.path().join("dump"), &dump).unwrap();
        let mut memory = Memory::default();
        let summary = openmetrics_file::read(dump.as_bytes(), &mut memory, |_| {}).expect("the dump is one");
        assert_eq!(summary.refused, 0);
        let view = View::new(memory.stretches());
        let mut tasks = Tasks::new();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = format!("http://{}", listener.local_addr().unwrap());
        let router = Api::new(Fixed(Arc::new(view)), Arc::new(Clock::new())).router();
        tasks.spawn("web", serve_tcp(listener, router, tasks.stop_signal()));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Both { theirs: Prometheus::start(folder.path()), ours, client, tasks, _folder: folder }
    }

    async fn ask(&self, server: &str, path: &str, form: &[(&str, String)]) -> Value {
        let pairs = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let url = format!("{server}/api/v1/{path}");
        // Label values are asked for with GET only, everything else as Grafana does it.
        let request = if path.starts_with("label/") {
            self.client.get(format!("{url}?{pairs}"))
        } else {
            self.client.post(url).header("content-type", "application/x-www-form-urlencoded").body(pairs)
        };
        let text = request.send().await.unwrap().text().await.unwrap();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}: {text}"))
    }

    /// What differs between the two answers to one request; none where they agree.
    async fn difference(&self, path: &str, form: &[(&str, String)]) -> Option<String> {
        let theirs = self.ask(&self.theirs.address, path, form).await;
        let ours = self.ask(&self.ours, path, form).await;
        let of = |answer: &Value| results(&answer["data"]);
        let text = form.first().map(|(_, text)| text.as_str()).unwrap_or_default();
        match (theirs["status"].as_str(), ours["status"].as_str()) {
            (Some("success"), Some("success")) => compare(&of(&theirs), &of(&ours)).map(|why| format!("{text}: {why}")),
            (Some("error"), Some("error")) if theirs["errorType"] == ours["errorType"] => None,
            _ => Some(format!("{text}: theirs {}, ours {}", short(&theirs), short(&ours))),
        }
    }

    async fn stop(self) {
        self.tasks.stop(Span::secs(5)).await;
    }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(300).collect()
}

/// The samples of each label set, whatever the type of the result; a list is a list of label sets without samples.
fn results(data: &Value) -> BTreeMap<String, Vec<(f64, String)>> {
    let sample =
        |value: &Value| (value[0].as_f64().unwrap_or(f64::NAN), value[1].as_str().unwrap_or_default().to_string());
    let Some(result) = data.get("result") else {
        let list = data.as_array().cloned().unwrap_or_default();
        return list.iter().map(|one| (one.to_string(), Vec::new())).collect();
    };
    let kind = data["resultType"].to_string();
    if matches!(data["resultType"].as_str(), Some("scalar" | "string")) {
        return BTreeMap::from([(kind, vec![sample(result)])]);
    }
    let rows = result.as_array().cloned().unwrap_or_default();
    let each = rows.iter().map(|row| {
        let samples = match row.get("value") {
            Some(value) => vec![sample(value)],
            None => row["values"].as_array().map(|all| all.iter().map(sample).collect()).unwrap_or_default(),
        };
        (format!("{kind} {}", row["metric"]), samples)
    });
    each.collect()
}

type Results = BTreeMap<String, Vec<(f64, String)>>;

fn compare(theirs: &Results, ours: &Results) -> Option<String> {
    let names = |all: &Results| all.keys().cloned().collect::<Vec<_>>();
    if names(theirs) != names(ours) {
        return Some(format!("theirs has {:?}\n   ours has {:?}", names(theirs), names(ours)));
    }
    for (name, theirs) in theirs {
        let ours = &ours[name];
        let times = |all: &[(f64, String)]| all.iter().map(|(at, _)| *at).collect::<Vec<_>>();
        if times(theirs) != times(ours) {
            return Some(format!("{name}: theirs at {:?}\n   ours at {:?}", times(theirs), times(ours)));
        }
        for ((at, theirs), (_, ours)) in theirs.iter().zip(ours) {
            if !is_same(theirs, ours) {
                return Some(format!("{name} at {at}: theirs {theirs}, ours {ours}"));
            }
        }
    }
    None
}

fn is_same(a: &str, b: &str) -> bool {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) if a.is_finite() && b.is_finite() => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()) + 1e-12,
        _ => a == b,
    }
}

fn all_agree(differences: &[String], count: usize) {
    assert!(differences.is_empty(), "{} of {count} differ:\n{}", differences.len(), differences.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_prometheus_gives_the_same_values() {
    if !outside("prometheus") {
        return;
    }
    let both = Both::start("prometheus_values").await;
    let mut differences = Vec::new();
    for at in [AT, AT - 1800.0] {
        for text in QUERIES {
            let form = [("query", text.to_string()), ("time", at.to_string())];
            let theirs = both.ask(&both.theirs.address, "query", &form).await;
            assert_eq!(theirs["status"], "success", "{text}: {theirs}");
            differences.extend(both.difference("query", &form).await);
        }
    }
    both.stop().await;
    all_agree(&differences, 2 * QUERIES.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_prometheus_gives_the_same_ranges() {
    if !outside("prometheus") {
        return;
    }
    let both = Both::start("prometheus_ranges").await;
    let mut differences = Vec::new();
    for (start, end, step) in [(AT - 2400.0, AT, "45"), (AT - 5400.0, AT + 600.0, "2m30s"), (AT, AT, "1")] {
        for text in RANGES {
            let form = [
                ("query", text.to_string()),
                ("start", start.to_string()),
                ("end", end.to_string()),
                ("step", step.to_string()),
            ];
            differences.extend(both.difference("query_range", &form).await);
        }
    }
    both.stop().await;
    all_agree(&differences, 3 * RANGES.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_prometheus_gives_the_same_series_and_labels() {
    if !outside("prometheus") {
        return;
    }
    let both = Both::start("prometheus_series").await;
    let form = |list: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
        list.iter().map(|(name, value)| (*name, value.to_string())).collect()
    };
    let whole = [("start", "1699999200"), ("end", "1700005300")];
    let mut differences = Vec::new();
    let asked = [
        ("series", form(&[("match[]", "up"), whole[0], whole[1]])),
        ("series", form(&[("match[]", "{job=\"shop\"}"), ("match[]", "gone"), whole[0], whole[1]])),
        ("series", form(&[("match[]", "{__name__=~\"load|late\",job!=\"shop\"}")])),
        ("series", form(&[("match[]", "nothing")])),
        ("series", form(&[("match[]", "up"), ("start", "1000000000"), ("end", "1000000100")])),
        ("series", form(&[])),
        ("labels", form(&[])),
        ("labels", form(&[("match[]", "gone"), whole[0], whole[1]])),
        ("label/job/values", form(&[])),
        ("label/__name__/values", form(&[whole[0], whole[1]])),
        ("label/le/values", form(&[("match[]", "duration_seconds_bucket")])),
        ("label/nothing/values", form(&[])),
        ("query", form(&[])),
        ("query", form(&[("query", "up +")])),
        ("query", form(&[("query", "up"), ("time", "soon")])),
        ("query_range", form(&[("query", "up"), ("start", "1"), ("end", "0"), ("step", "1")])),
        ("query_range", form(&[("query", "up"), ("start", "0"), ("end", "20000"), ("step", "1")])),
    ];
    for (path, form) in &asked {
        differences.extend(both.difference(path, form).await.map(|why| format!("{path} {form:?}: {why}")));
    }
    both.stop().await;
    all_agree(&differences, asked.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_prometheus_its_promtool_reads_from_here_what_it_reads_there() {
    if !outside("prometheus") {
        return;
    }
    let both = Both::start("prometheus_promtool").await;
    let at = format!("--time={AT}");
    let asked: [(&[&str], &[&str]); 5] = [
        (&["query", "instant", &at], &["sum by (job) (rate(requests_total[5m]))"]),
        (&["query", "instant", &at], &["load > 5"]),
        (&["query", "range", "--start=1700004012", "--end=1700004612", "--step=1m"], &["sum(up)"]),
        (
            &["query", "series", "--match=up", "--match=load{job=\"cron\"}", "--start=1699999200", "--end=1700005300"],
            &[],
        ),
        (&["query", "labels", "--start=1699999200", "--end=1700005300"], &["job"]),
    ];
    for (flags, rest) in asked {
        let mut said = Vec::new();
        for server in [&both.theirs.address, &both.ours] {
            let mut command = tokio::process::Command::new("promtool");
            let output = command.args(flags).arg(server).args(rest).output().await.expect("promtool is installed");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{flags:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
            let mut lines: Vec<String> = text.lines().map(String::from).collect();
            lines.sort();
            assert!(!lines.is_empty(), "{flags:?} says nothing");
            said.push(lines);
        }
        assert_eq!(said[0], said[1], "{flags:?}");
    }
    both.stop().await;
}
