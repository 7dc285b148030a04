//! What typical queries cost: process CPU time of queries over 10,000 and 100,000 series, and of a round of 50 rules.
//!
//! The data: of each hundred series of a target 50 are counters (25 paths, 2 codes), 40 buckets (4 paths, 10 bounds), 10 gauges;
//! 60 samples each, 15 s apart, 20 of them in a window of 5 minutes. `warm` is a plan that ran before, `cold` one that was
//! compiled for this query. Run with `cargo bench --bench promql`.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot run is to fail")]
#![expect(clippy::print_stdout, reason = "its figures are its output")]

use std::sync::Arc;
use std::time::Duration;

use backstop::base::{Batch, Labels, Outcome, Sample, SourceRef, Span, Timestamp, Unit};
use backstop::engine::{self, Engine, Input, SourceInfo, State};
use backstop::notify::subscription::Subscription;
use backstop::promql::{LOOK_BACK, Options, Reading, Value, compile, evaluate, query, query_range};
use backstop::rule::{self, Condition, Rule, When};
use backstop::store::{Limits, Store};

const STEP: i64 = 15_000;
const N_STEPS: i64 = 60;
const BOUNDS: [&str; 10] = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf"];

fn main() {
    for n_series in [10_000, 100_000] {
        let store = filled(n_series / 100);
        println!("{n_series} series");
        for (name, text) in QUERIES {
            measure(&store, name, text);
        }
        let plan = compile("sum(rate(app_requests_total[5m]))").unwrap();
        let at = Timestamp((N_STEPS - 6) * STEP);
        let cost = cost(|| {
            query_range(&plan, &store, (at, at + Span::secs(90)), Span::secs(10), &Options::default()).unwrap();
        });
        println!("  {:<28} warm {:>8.3} ms", "sum(rate), 10 steps", millis(cost));
    }
    let store = filled(20);
    let rules: Vec<_> = rules().iter().map(|text| compile(text).unwrap()).collect();
    let round = cost(|| {
        for plan in &rules {
            let reading = evaluate(plan, &store, Timestamp(N_STEPS * STEP), LOOK_BACK);
            assert!(!matches!(reading, Reading::Failed(_)), "{}", plan.text());
        }
    });
    println!("2000 series of 20 targets: a round of {} rules {:.3} ms", rules.len(), millis(round));
    println!("the same in the engine, with appends, schedule and machines");
    engine_rounds("all at once", Span::ZERO);
    engine_rounds("within half a second", Span::millis(20));
    engine_rounds("spread over the interval", Span::millis(STEP / 20));
}

const QUERIES: [(&str, &str); 10] = [
    (
        "error ratio by instance",
        "sum by (instance) (rate(app_requests_total{code=\"500\"}[5m])) / sum by (instance) (rate(app_requests_total[5m])) > 0.1",
    ),
    ("p95 by instance", "histogram_quantile(0.95, sum by (le, instance) (rate(app_latency_seconds_bucket[5m]))) > 0.5"),
    ("sum(rate)", "sum(rate(app_requests_total[5m]))"),
    ("gauge > threshold", "app_memory_bytes > 2e9"),
    ("sum(avg_over_time) gauge", "sum(avg_over_time(app_memory_bytes[5m]))"),
    ("deriv gauge", "count(deriv(app_memory_bytes[5m]) > 0)"),
    ("predict_linear gauge", "count(predict_linear(app_memory_bytes[5m], 3600) > 0)"),
    ("increase == 0", "count(increase(app_requests_total{code=\"200\"}[5m]) == 0)"),
    ("rate of each counter", "rate(app_requests_total[5m])"),
    ("one series rate", "rate(app_requests_total{instance=\"h0:9100\",path=\"/p0\",code=\"200\"}[5m])"),
];

fn measure(store: &Store, name: &str, text: &str) {
    let at = Timestamp(N_STEPS * STEP);
    let ask = |plan: &backstop::promql::Plan| match query(plan, store, at, &Options::default()).unwrap().value {
        Value::Vector(points) => points.len(),
        _ => 1,
    };
    let plan = compile(text).unwrap();
    let n_results = ask(&plan);
    let warm = cost(|| {
        ask(&plan);
    });
    let cold = cost(|| {
        ask(&compile(text).unwrap());
    });
    println!("  {name:<28} warm {:>8.3} ms   cold {:>8.3} ms   {n_results} results", millis(warm), millis(cold));
}

fn millis(cost: Duration) -> f64 {
    cost.as_secs_f64() * 1000.0
}

/// Process CPU time of one run: the least mean of five rounds, as others use the machine too.
fn cost(mut run: impl FnMut()) -> Duration {
    run();
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let (start, mut runs) = (cpu(), 0);
        while cpu() - start < Duration::from_millis(60) {
            run();
            runs += 1;
        }
        best = best.min((cpu() - start) / runs);
    }
    best
}

fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The same numbers on every machine (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound) as f64
    }
}

fn filled(n_targets: usize) -> Store {
    let mut store = Store::new(Limits { max_series: 200_000, ..Limits::default() });
    let mut random = Random(1);
    for target in 0..n_targets {
        let mut batch = target_of(target);
        for step in 0..=N_STEPS {
            advance(&mut batch, target, Timestamp(step * STEP), &mut random);
            store.append(&batch);
        }
    }
    store
}

/// The next look at a target.
fn advance(batch: &mut Batch, target: usize, at: Timestamp, random: &mut Random) {
    batch.at = at;
    for (i, sample) in batch.samples.iter_mut().enumerate() {
        sample.value += match i {
            0..50 if i % 2 == 0 => random.below(40),
            0..50 => random.below(if target.is_multiple_of(10) { 12 } else { 1 }),
            50..90 => random.below(6) + ((i - 50) % 10) as f64 * 6.0,
            _ => random.below(300_000) - 100_000.0,
        };
    }
}

/// A hundred series of one target.
fn target_of(target: usize) -> Batch {
    let instance = format!("h{target}:9100");
    let mut batch = Batch {
        checkpoint: None,
        holds: false,
        exhibits: Vec::new(),
        source: SourceRef::new("prometheus", "app"),
        instance: instance.clone(),
        at: Timestamp(0),
        interval: Span::millis(STEP),
        outcome: Outcome::Good,
        samples: Vec::new(),
    };
    let mut add = |name: &str, more: &[(&str, String)]| {
        let all = [("__name__", name.to_string()), ("job", "app".into()), ("instance", instance.clone())];
        let labels = Labels::new(all.into_iter().chain(more.iter().cloned()));
        batch.samples.push(Sample { labels, value: 0.0, at: None });
    };
    for path in 0..25 {
        for code in ["200", "500"] {
            add("app_requests_total", &[("path", format!("/p{path}")), ("code", code.into())]);
        }
    }
    for path in 0..4 {
        for bound in BOUNDS {
            add("app_latency_seconds_bucket", &[("path", format!("/p{path}")), ("le", bound.into())]);
        }
    }
    for kind in 0..10 {
        add("app_memory_bytes", &[("kind", format!("k{kind}"))]);
    }
    batch
}

/// The whole engine: appends, schedule, machines, its own series. A round is one look at each of 20 targets; they come at
/// once, or one after the other over the whole interval.
fn engine_rounds(name: &str, apart: Span) {
    let rule = |(i, text): (usize, &String)| {
        let value = rule::Value::Expression { text: text.clone(), plan: Arc::new(compile(text).unwrap()) };
        let warning = Some(Condition::held(When::Present, Span::mins(1)));
        Rule { warning, ..Rule::new(&format!("r{i}"), value, Unit::Count) }
    };
    let mut engine =
        Engine::new(engine_config(rules().iter().enumerate().map(rule).collect()), State::default(), Timestamp(0), 1);
    let mut batches: Vec<Batch> = (0..20).map(target_of).collect();
    let mut random = Random(1);
    let (mut spent, mut counted, mut last) = (Duration::ZERO, 0, Timestamp(0));
    for round in 1..=120 {
        let begin = Timestamp(round * STEP);
        let end = begin + Span::millis(STEP);
        let mut looks: Vec<(Timestamp, usize)> = (0..20).map(|i| (begin + apart.times(i as i64), i)).collect();
        looks.sort_unstable();
        let start = cpu();
        let mut looks = looks.into_iter().peekable();
        loop {
            // Whatever comes first: the next look, or what the engine wants to be woken for.
            let now = match looks.peek() {
                Some((at, _)) => *at,
                None => end,
            };
            let deadline = engine.next_deadline(last).max(last + Span::millis(1));
            if deadline < now {
                last = deadline;
                engine.step(deadline, Input::Tick);
            } else if let Some((at, target)) = looks.next() {
                last = at;
                advance(&mut batches[target], target, at, &mut random);
                engine.step(at, Input::Batch(batches[target].clone()));
            } else {
                break;
            }
        }
        if round > 60 {
            spent += cpu() - start;
            counted += 1;
        }
    }
    println!("  {name:<28} {:.3} ms a round", millis(spent) / f64::from(counted));
}

fn engine_config(rules: Vec<Rule>) -> engine::Config {
    let source = SourceRef::new("prometheus", "app");
    engine::Config {
        rules,
        sources: vec![SourceInfo::own(source, vec!["up", "probe_success"])],
        channels: vec![Subscription::new("log", "alerts")],
        look_back: LOOK_BACK,
        on_disk: true,
        ..engine::Config::new("shop", "web-1")
    }
}

/// Rules as people write them.
fn rules() -> Vec<String> {
    let mut rules = Vec::new();
    for i in 0..5 {
        let (path, quantile) = (format!("/p{}", i % 4), 0.9 + 0.01 * f64::from(i));
        rules.extend([
            QUERIES[0].1.to_string(),
            format!("histogram_quantile({quantile}, sum by (le, instance) (rate(app_latency_seconds_bucket[5m]))) > 0.5"),
            format!("sum(rate(app_requests_total{{path=\"{path}\",code=\"500\"}}[5m])) / sum(rate(app_requests_total{{path=\"{path}\"}}[5m])) > 0.0{}", i + 1),
            format!("app_memory_bytes{{kind=\"k{i}\"}} > 2e9"),
            format!("max by (instance) (app_memory_bytes{{kind=\"k{i}\"}}) > 2e9"),
            format!("predict_linear(app_memory_bytes{{kind=\"k{i}\"}}[10m], 3600) > 3e9"),
            format!("absent(app_memory_bytes{{instance=\"h{i}:9100\"}})"),
            format!("increase(app_requests_total{{code=\"200\",path=\"{path}\"}}[5m]) == 0"),
            format!("avg_over_time(app_memory_bytes{{kind=\"k{i}\"}}[5m]) > 1.1 * avg_over_time(app_memory_bytes{{kind=\"k{i}\"}}[5m] offset 5m)"),
            format!("count by (job) (changes(app_memory_bytes{{kind=\"k{i}\"}}[5m]) > 100) > 3"),
        ]);
    }
    rules
}
