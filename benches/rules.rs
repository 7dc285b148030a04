//! What judging costs: 10,000 rules that hold 100,000 label sets, a round in which nothing changes and one in which all
//! do; the memory that their states take; and what passes between one sample's arrival and the transition of the one rule
//! that reads it, alone and among 10,000 others.
//!
//! A round is one step of the engine that a batch of all series brings. Storing the batch and evaluating the expressions are
//! measured beside it, on the same data, and taken off: what is left is readings in, transitions out.
//! Run with `cargo bench --bench rules`.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot run is to fail")]
#![expect(clippy::print_stdout, reason = "its figures are its output")]

use std::alloc::System;
use std::sync::Arc;

use backstop::base::{Batch, Labels, Outcome, Quantity, Sample, SourceRef, Span, Timestamp, Unit};
use backstop::engine::{Config, Effect, Engine, Event, Input, SourceInfo, State};
use backstop::promql::{self, LOOK_BACK};
use backstop::rule::{Change, Clause, Comparison, Condition, Rule, Test, Value, When};
use backstop::store::{Limits, Store};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static MEMORY: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const RULES: usize = 10_000;
const SETS: usize = 10;
const EVERY: Span = Span::secs(15);
const BEGIN: Timestamp = Timestamp(1_761_640_000_000);

fn main() {
    let limits = Limits { max_series: RULES * SETS + 1000, max_bytes: 1 << 31, ..Limits::default() };
    let rules: Vec<Rule> = (0..RULES).map(|i| rule(i, Span::ZERO)).collect();
    let plans: Vec<_> = (0..RULES).map(|i| promql::compile(&expression(i)).unwrap()).collect();

    let mut store = Store::new(limits.clone());
    store.append(&batch(BEGIN, 1.0));
    let region = Region::new(MEMORY);
    let mut bare = engine(Vec::new(), limits.clone());
    drop(bare.step(BEGIN, Input::Batch(batch(BEGIN, 1.0))));
    let without = held(&region);
    let mut full = engine(rules, limits);
    drop(full.step(BEGIN, Input::Batch(batch(BEGIN, 1.0))));
    let with = held(&region) - without;
    println!("rules             {RULES}, {} label sets", RULES * SETS);
    println!(
        "memory            {:.1} MiB for their states, {:.0} bytes a label set",
        (with - without) / MIB,
        (with - without) / (RULES * SETS) as f64
    );

    // The first round makes the alerts; the second finds everything as it was.
    let mut at = BEGIN;
    for (name, value) in
        [("nothing changes", 1.0), ("nothing changes", 1.0), ("all become critical", 9.0), ("all stay so", 9.0)]
    {
        at += EVERY;
        let (given, other, third) = (batch(at, value), batch(at, value), batch(at, value));
        let stored = spent(|| assert_eq!(store.append(&given).refused, 0));
        let mut seen = 0;
        let evaluated = spent(|| {
            for plan in &plans {
                if let promql::Reading::Points(points) = promql::evaluate(plan, &store, at, LOOK_BACK) {
                    seen += points.len();
                }
            }
        });
        assert_eq!(seen, RULES * SETS);
        let without_rules = spent(|| drop(bare.step(at, Input::Batch(third))));
        let mut changes = 0;
        let all = spent(|| changes = count(&full.step(at, Input::Batch(other))));
        println!(
            "round             {name}: {:.0} ms CPU in all, {changes} transitions; storing {:.0} ms, evaluating {:.0} ms, \
             readings in to transitions out {:.0} ms",
            all * 1e3,
            stored.max(without_rules) * 1e3,
            evaluated * 1e3,
            (all - without_rules.max(stored) - evaluated) * 1e3
        );
    }
    for others in [0, RULES] {
        let rules = (0..=others).map(|i| rule(i, Span::ZERO)).collect();
        let mut engine = engine(rules, Limits { max_series: 200_000, ..Limits::default() });
        let mut at = BEGIN;
        if others > 0 {
            drop(engine.step(at, Input::Batch(batch(at, 1.0))));
        }
        let mut worst: Vec<f64> = (0..200)
            .map(|i| {
                at += Span::secs(1);
                let one = one(&expression(others), at, if i % 2 == 0 { 9.0 } else { 1.0 });
                let mut changes = 0;
                let spent = spent(|| changes = count(&engine.step(at, Input::Batch(one))));
                assert_eq!(changes, 1, "each sample brings its transition");
                spent
            })
            .collect();
        worst.sort_by(f64::total_cmp);
        println!(
            "one sample        to its transition: {:.1} us median, {:.1} us the 99th of a hundred, among {others} other rules",
            worst[100] * 1e6,
            worst[198] * 1e6
        );
    }
}

const MIB: f64 = 1024.0 * 1024.0;

fn expression(i: usize) -> String {
    if i == RULES { "single".into() } else { format!("figure_{i}") }
}

fn rule(i: usize, held_for: Span) -> Rule {
    let (text, plan) = (expression(i), Arc::new(promql::compile(&expression(i)).unwrap()));
    let test = |limit| When::Test(Test(vec![Clause::Value(Comparison::Above, Quantity::count(limit))]));
    let condition = |limit| Condition { keep: Span::ZERO, ..Condition::held(test(limit), held_for) };
    Rule {
        warning: Some(condition(4.0)),
        critical: Some(condition(6.0)),
        ..Rule::new(&format!("rule-{i}"), Value::Expression { text, plan }, Unit::Count)
    }
}

fn engine(rules: Vec<Rule>, limits: Limits) -> Engine {
    let sources = ["all", "single"].map(|name| SourceInfo::own(SourceRef::new("prometheus", name), vec!["up"]));
    let config = Config { rules, limits, sources: sources.to_vec(), ..Config::new("bench", "host") };
    let mut engine = Engine::new(config, State::default(), BEGIN, 7);
    drop(engine.step(BEGIN, Input::Started { version: "bench".into() }));
    engine
}

fn batch(at: Timestamp, value: f64) -> Batch {
    let series = (0..RULES * SETS).map(|i| {
        let (name, set) = (format!("figure_{}", i / SETS), format!("set-{}", i % SETS));
        let labels = [("__name__", name.as_str()), ("job", "all"), ("instance", "a:1"), ("set", &set)];
        Sample { labels: Labels::new(labels), value, at: None }
    });
    given("all", at, series.collect())
}

fn one(name: &str, at: Timestamp, value: f64) -> Batch {
    let labels = Labels::new([("__name__", name), ("job", "single"), ("instance", "a:1")]);
    given("single", at, vec![Sample { labels, value, at: None }])
}

fn given(source: &str, at: Timestamp, samples: Vec<Sample>) -> Batch {
    Batch {
        source: SourceRef::new("prometheus", source),
        instance: "a:1".into(),
        at,
        interval: EVERY,
        outcome: Outcome::Good,
        samples,
        checkpoint: None,
        holds: false,
        exhibits: Vec::new(),
    }
}

fn count(effects: &[Effect]) -> usize {
    let of = |effect: &Effect| match effect {
        Effect::Journal(events) => events.iter().filter(|e| matches!(e, Event::Rule(Change::Level(_)))).count(),
        _ => 0,
    };
    effects.iter().map(of).sum()
}

fn held(region: &Region<'_, System>) -> f64 {
    let change = region.change();
    change.bytes_allocated as f64 - change.bytes_deallocated as f64
}

fn spent(work: impl FnOnce()) -> f64 {
    let begin = cpu();
    work();
    cpu() - begin
}

/// CPU seconds of this thread so far.
fn cpu() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
