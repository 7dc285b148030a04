//! Decisions of the engine in virtual time: each row of the grammar of rules, guards, and what a restart must not change.
//!
//! Rules are written as people write them. Samples come once an interval; what was before T0 is answered from a history.

use std::collections::BTreeMap;
use std::path::Path;

use backstop::base::{Batch, Failure, Labels, Outcome, Sample, SourceRef, Span, Timestamp};
use backstop::config;
use backstop::engine::command::{Command, Reply};
use backstop::engine::{Config, Effect, Engine, Event, Input, SourceInfo, State};
use backstop::notify::outbox::{Receipt, Sent};
use backstop::notify::subscription::Subscription;
use backstop::rollback::machine::{self, ExecutionEnd, Mode};
use backstop::rule::{Change, Dependency};
use backstop::store::{Stretch, View};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// A Tuesday in October 2025, 09:46:40 UTC; T0 of all scenarios.
const T0: Timestamp = Timestamp(1_761_644_800_000);

/// How far looks are apart.
const INTERVAL: Span = Span::secs(15);

/// Values of series by their selector, as `name` or `name{a="b"}`.
type Look<'a> = &'a [(&'a str, f64)];

fn labels(selector: &str, source: &str) -> Labels {
    let (name, more) = selector.split_once('{').unwrap_or((selector, "}"));
    let more = more.trim_end_matches('}').split(',').filter_map(|pair| pair.split_once('='));
    let own = [("__name__", name), ("job", source), ("instance", "a:1")];
    Labels::new(own.into_iter().chain(more.map(|(n, v)| (n, v.trim_matches('"')))))
}

/// The configuration of these rules.
fn rules(text: &str) -> Config {
    let options = config::Options { stderr_is_terminal: false, ..config::Options::of_process() };
    let loaded = config::load_text(Path::new("rules.toml"), &format!("packs = []\n{text}"), &options);
    let config = loaded.config.as_ref().unwrap_or_else(|| panic!("{}", loaded.render(false)));
    let source = |name: &str, external| SourceInfo {
        external,
        ..SourceInfo::own(SourceRef::new("prometheus", name), vec!["up", "probe_success"])
    };
    let outside = ["one", "two", "three"].map(|name| source(name, true));
    Config {
        rules: config.rules.clone(),
        sources: [source("api", false), source("db", false)].into_iter().chain(outside).collect(),
        channels: vec![Subscription::new("log", "alerts")],
        rollback: machine::Settings { mode: Mode::Auto, ..machine::Settings::new() },
        steps: vec!["previous version".into()],
        watch: config.watch.clone(),
        ..Config::new("shop", "web-1")
    }
}

/// An engine, its time, all it was given, and what came of it.
struct Life {
    engine: Engine,
    now: Timestamp,
    history: Vec<Stretch>,
    given: BTreeMap<Labels, (Vec<i64>, Vec<f64>)>,
    batches: Vec<Batch>,
    events: Vec<Event>,
    said: Vec<String>,
    executed: usize,
    /// Whether answers about the past are long in coming, and those that are.
    is_slow: bool,
    answers: Vec<Input>,
}

impl Life {
    fn new(config: Config, history: Vec<Stretch>) -> Life {
        let now = T0 - Span::mins(10);
        let engine = Engine::new(config, State::default(), now, 7);
        let mut life = Life {
            engine,
            now,
            history,
            given: BTreeMap::new(),
            batches: Vec::new(),
            events: Vec::new(),
            said: Vec::new(),
            executed: 0,
            is_slow: false,
            answers: Vec::new(),
        };
        life.put(Input::Started { version: "test".into() });
        life
    }

    fn put(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for effect in self.engine.step(self.now, input) {
                match effect {
                    Effect::Journal(events) => {
                        self.said.extend(events.iter().filter_map(said));
                        self.events.extend(events);
                    }
                    Effect::Deliver(sending) => {
                        let result = Sent::Accepted { by: "test".into(), said: "ok".into() };
                        inputs.push(Input::Receipt(Receipt { id: sending.delivery.id.clone(), at: self.now, result }));
                    }
                    Effect::History(question) => {
                        let given = self.given.iter();
                        let given = given.map(|(l, (t, v))| Stretch::new(l.clone(), t.clone(), v.clone()));
                        let view = View::new(self.history.iter().cloned().chain(given));
                        let answer = Input::History(question.answer_all(&view, Span::mins(5)));
                        if self.is_slow { self.answers.push(answer) } else { inputs.push(answer) }
                    }
                    Effect::Execute(_) => self.executed += 1,
                    _ => {}
                }
            }
        }
    }

    /// Lets time pass; what is due at `to` itself comes after what happens then.
    fn pass_until(&mut self, to: Timestamp) {
        loop {
            let next = self.engine.next_deadline(self.now).max(self.now + Span::millis(1));
            if next >= to {
                self.now = to;
                return;
            }
            self.now = next;
            self.put(Input::Tick);
        }
    }

    fn look_at(&mut self, source: &str, at: Timestamp, values: Look<'_>, good: bool) {
        self.pass_until(at);
        let own = ["probe_success", "up"].map(|name| (name, f64::from(u8::from(good))));
        let all = own.iter().chain(values).map(|(selector, value)| (labels(selector, source), *value));
        let samples: Vec<Sample> = all.map(|(labels, value)| Sample { labels, value, at: None }).collect();
        for sample in &samples {
            let (times, values) = self.given.entry(sample.labels.clone()).or_default();
            times.push(at.0);
            values.push(sample.value);
        }
        let outcome = match good {
            true => Outcome::Good,
            false => Outcome::Failed(Failure::new("refused", "connection refused")),
        };
        let batch = Batch {
            source: SourceRef::new("prometheus", source),
            instance: "a:1".into(),
            at,
            interval: INTERVAL,
            outcome,
            samples,
            checkpoint: None,
            holds: false,
            exhibits: Vec::new(),
        };
        self.batches.push(batch.clone());
        self.put(Input::Batch(batch));
    }

    /// Looks at `api` from `from` to `to` minutes after T0.
    fn looks(&mut self, from: f64, to: f64, values: impl Fn(f64) -> Vec<(&'static str, f64)>) {
        let mut at = T0 + Span((from * 60_000.0) as i64);
        while at < T0 + Span((to * 60_000.0) as i64) {
            let minute = (at - T0).0 as f64 / 60_000.0;
            self.look_at("api", at, &values(minute), true);
            at += INTERVAL;
        }
    }

    fn deploy(&mut self) {
        self.pass_until(T0);
        let command = Command::DeployStart {
            version: "2.0".into(),
            previous: Some("1.0".into()),
            plan: Some("ab".repeat(32)),
            live: true,
            force: false,
            by: "root".into(),
        };
        let mut done = false;
        self.put(Input::Command { ticket: 1, command });
        done |= self.engine.state().watches.live().is_some();
        assert!(done, "{:?}", Reply::done(""));
    }

    /// A crash, and a new engine on what was journaled and stored.
    fn restart(&mut self) {
        let mut state = State::default();
        self.events.iter().for_each(|e| state.apply(e));
        let config = self.engine.config().clone();
        self.engine = Engine::new(config, state, self.now, 11);
        let since = self.now - Span::hours(1);
        let recent: Vec<&Batch> = self.batches.iter().filter(|b| b.at > since).collect();
        self.engine.restore(|store| recent.into_iter().for_each(|batch| assert_eq!(store.append(batch).refused, 0)));
        self.put(Input::Started { version: "test".into() });
    }

    fn held(&self, rule: &str) -> Option<String> {
        let snapshot = self.engine.snapshot(self.now);
        let rule = snapshot.rules.iter().find(|r| r.name == rule)?;
        rule.held.clone().or(rule.not_armed.clone())
    }

    /// Guards that held a rollback back.
    fn guards(&self) -> Vec<String> {
        let held = |e: &Event| match e {
            Event::Rollback(machine::Event::Held { guard, .. }) => Some(guard.name().to_string()),
            _ => None,
        };
        self.events.iter().filter_map(held).collect()
    }
}

/// `name warning 7m`: a change of a rule, with its time after T0.
fn said(event: &Event) -> Option<String> {
    let after = |at: Timestamp| {
        let seconds = (at - T0).0 / 1000;
        if seconds % 60 == 0 { format!("{}m", seconds / 60) } else { format!("{}m{:02}s", seconds / 60, seconds % 60) }
    };
    match event {
        Event::Rule(Change::Level(t)) if t.gone => Some(format!("{} gone {}", t.rule, after(t.at))),
        Event::Rule(Change::Level(t)) => Some(format!("{} {} {}", t.rule, t.to.as_str(), after(t.at))),
        Event::Rule(Change::Criterion { rule, due, at, .. }) => {
            Some(format!("{rule} {} {}", if *due { "due" } else { "not-due" }, after(*at)))
        }
        Event::Rule(Change::Target { rule, missed, at, .. }) => {
            Some(format!("{rule} {} {}", if *missed { "missed" } else { "met" }, after(*at)))
        }
        _ => None,
    }
}

/// One value a minute for `days` before T0.
fn history(selector: &str, days: usize, value: impl Fn(usize) -> f64) -> Vec<Stretch> {
    let minutes = days * 1440;
    let times: Vec<i64> = (0..minutes).map(|i| T0.0 - ((minutes - i) as i64) * 60_000 + 30_000).collect();
    let values: Vec<f64> = (0..minutes).map(value).collect();
    vec![Stretch::new(labels(selector, "api"), times, values)]
}

/// A value about 0.2 that wanders by a tenth, always the same.
fn wandering(i: usize) -> f64 {
    let (mut rng, i) = (ChaCha8Rng::seed_from_u64(i as u64 / 7), i as f64);
    0.2 * (1.0 + 0.1 * (rng.random::<f64>() - 0.5) + 0.05 * (i / 1440.0 * std::f64::consts::TAU).sin())
}

const LATENCY: &str = r#"
[rule.latency]
expr = "latency_seconds"
unit = "s"
warning  = "> baseline + 10%"
critical = "> baseline + 50%"
rollback = "critical"
"#;

#[test]
fn a_version_that_is_slower_than_its_own_past_is_found_with_its_reason() {
    let mut life = Life::new(rules(LATENCY), history("latency_seconds", 7, wandering));
    life.looks(-9.0, 0.0, |m| vec![("latency_seconds", wandering(10_080_usize.wrapping_add_signed(m as isize)))]);
    life.deploy();
    life.looks(0.0, 40.0, |m| vec![("latency_seconds", 2.0 * wandering(10_080 + m as usize))]);
    let levels: Vec<&str> = life.said.iter().map(|s| s.rsplit_once(' ').unwrap().0).collect();
    assert!(levels.starts_with(&["latency critical", "latency due"]) || levels.contains(&"latency due"), "{levels:?}");
    let why = life.events.iter().find_map(|e| match e {
        Event::Rule(Change::Criterion { because, .. }) => because.why.clone(),
        _ => None,
    });
    assert!(why.as_ref().is_some_and(|why| why.contains("above usual")), "{why:?}");
    assert!(life.events.iter().any(|e| matches!(e, Event::Known { .. })), "what was usual is kept with the watch");
}

#[test]
fn a_version_that_is_as_fast_as_before_is_left_alone() {
    let mut life = Life::new(rules(LATENCY), history("latency_seconds", 7, wandering));
    life.deploy();
    life.looks(0.0, 180.0, |m| vec![("latency_seconds", wandering(10_080 + m as usize))]);
    assert_eq!(life.said, Vec::<String>::new());
    assert_eq!(life.held("latency"), None);
}

#[test]
fn a_baseline_without_a_past_is_not_armed_and_says_so() {
    for (days, why) in [(0, "nothing is stored"), (2, "warnings only"), (5, "an hour")] {
        let past = if days == 0 { Vec::new() } else { history("latency_seconds", days, wandering) };
        let mut life = Life::new(rules(LATENCY), past);
        life.deploy();
        life.looks(0.0, 5.0, |m| vec![("latency_seconds", wandering(10_080 + m as usize))]);
        let held = life.held("latency").unwrap_or_default();
        assert!(held.contains(why), "{days} days: {held}");
    }
}

#[test]
fn a_history_of_zeros_is_refused_with_what_to_use_instead() {
    let mut life = Life::new(rules(LATENCY), history("latency_seconds", 7, |_| 0.0));
    life.deploy();
    life.looks(0.0, 5.0, |_| vec![("latency_seconds", 0.0)]);
    let held = life.held("latency").unwrap_or_default();
    assert!(held.contains("zero"), "{held}");
}

#[test]
fn without_a_watch_what_is_held_against_the_past_is_not_judged() {
    let mut life = Life::new(rules(LATENCY), history("latency_seconds", 7, wandering));
    life.looks(-9.0, -1.0, |_| vec![("latency_seconds", 2.0)]);
    assert_eq!(life.said, Vec::<String>::new());
    assert!(life.held("latency").is_some_and(|why| why.contains("watch")));
}

#[test]
fn the_hour_before_is_a_baseline_too() {
    let text = r#"
[rule.queue]
expr = "queue"
baseline = "before"
critical = { when = "> baseline * 2", for = "2m" }
"#;
    let mut life = Life::new(rules(text), history("queue", 1, |_| 10.0));
    life.deploy();
    life.looks(0.0, 10.0, |_| vec![("queue", 19.0)]);
    assert_eq!(life.said, Vec::<String>::new());
    life.looks(10.0, 20.0, |_| vec![("queue", 21.0)]);
    assert_eq!(life.said, ["queue critical 12m"]);
}

#[test]
fn a_count_that_drops_from_its_peak_is_found_and_a_failed_query_is_no_zero() {
    let text = r#"
[rule.rows]
expr = "rows"
baseline = "peak"
critical = { when = "< baseline - 5%", for = "2m" }
rollback = "critical"
"#;
    let mut lost = Life::new(rules(text), Vec::new());
    lost.deploy();
    lost.looks(0.0, 10.0, |m| vec![("rows", 150.0 + m)]);
    lost.looks(10.0, 20.0, |_| vec![("rows", 0.0)]);
    assert_eq!(lost.said, ["rows critical 12m", "rows due 12m"]);

    let mut unanswered = Life::new(rules(text), Vec::new());
    unanswered.deploy();
    unanswered.looks(0.0, 10.0, |m| vec![("rows", 150.0 + m)]);
    unanswered.looks(10.0, 25.0, |_| Vec::new());
    assert_eq!(unanswered.said, Vec::<String>::new());
}

#[test]
fn a_baseline_may_be_a_figure_or_another_group_of_labels() {
    let text = r#"
[rule.figure]
expr = "load"
baseline = "4"
critical = { when = "> baseline + 50%", for = "1m" }

[rule.canary]
expr = 'latency{group="canary"}'
baseline = 'scalar(latency{group="stable"})'
critical = { when = "> baseline * 1.5", for = "1m" }
"#;
    let mut life = Life::new(rules(text), Vec::new());
    let look = |load, canary| {
        move |_| vec![("load", load), (r#"latency{group="canary"}"#, canary), (r#"latency{group="stable"}"#, 0.2)]
    };
    life.looks(-9.0, -5.0, look(5.9, 0.29));
    assert_eq!(life.said, Vec::<String>::new());
    life.looks(-5.0, 0.0, look(6.1, 0.31));
    life.said.sort();
    assert_eq!(life.said, ["canary critical -4m", "figure critical -4m"]);
}

#[test]
fn a_cold_cache_is_judged_once_it_was_warm() {
    let text = r#"
[rule.cache]
expr = "hit_rate"
unit = "percent"
after = "1h"
arm = ">= 80%"
critical = { when = "< 70%", for = "1m" }

[rule.plain]
expr = "hit_rate"
unit = "percent"
critical = { when = "< 70%", for = "1m" }
"#;
    // 0 to 86 % in 43 minutes, then down to 69 %.
    let mut life = Life::new(rules(text), Vec::new());
    life.deploy();
    life.looks(0.0, 43.0, |m| vec![("hit_rate", 2.0 * m)]);
    assert_eq!(life.said.iter().filter(|s| s.starts_with("cache")).count(), 0, "{:?}", life.said);
    assert!(life.said.contains(&"plain critical 1m".to_string()), "{:?}", life.said);
    life.looks(43.0, 46.0, |_| vec![("hit_rate", 69.0)]);
    assert!(life.said.contains(&"cache critical 44m".to_string()), "{:?}", life.said);
}

#[test]
fn a_start_that_never_succeeds_is_found_at_its_deadline_to_the_second() {
    let text = r#"
[rule.started]
expr = "healthy"
after = "5m"
critical = { when = "== 0", for = "0s" }
rollback = "critical"
"#;
    let mut life = Life::new(rules(text), Vec::new());
    life.deploy();
    life.looks(0.0, 6.0, |_| vec![("healthy", 0.0)]);
    assert_eq!(life.said, ["started critical 5m", "started due 5m"]);

    let mut slow = Life::new(rules(text), Vec::new());
    slow.deploy();
    slow.looks(0.0, 8.0, |m| vec![("healthy", if m < 4.75 { 0.0 } else { 1.0 })]);
    assert_eq!(slow.said, Vec::<String>::new());
}

#[test]
fn readings_are_counted_by_their_samples() {
    let text = r#"
[rule.probe]
expr = "ok"
critical = { when = "== 0", hits = "3 of 5" }
"#;
    let mut life = Life::new(rules(text), Vec::new());
    let bad = |of: [u8; 8]| move |m: f64| vec![("ok", f64::from(of[((m + 9.0) * 4.0).round() as usize % 8]))];
    // Two of five, ever again, are not enough.
    life.looks(-9.0, -5.0, bad([0, 1, 1, 1, 0, 1, 1, 1]));
    assert_eq!(life.said, Vec::<String>::new());
    life.looks(-5.0, -4.0, bad([0, 0, 1, 0, 0, 0, 1, 0]));
    assert_eq!(life.said, ["probe critical -5m45s".replace("-5m45s", "-4m-15s")]);
}

#[test]
fn a_missed_target_is_told_to_nobody() {
    let text = r#"
[rule.latency]
expr = "latency"
unit = "s"
target = { when = "> 200ms", for = "1m" }
warning = { when = "> 1s", for = "1m" }
"#;
    let mut life = Life::new(rules(text), Vec::new());
    life.deploy();
    life.looks(0.0, 5.0, |_| vec![("latency", 0.3)]);
    assert_eq!(life.said, ["latency missed 1m"]);
    assert!(!life.events.iter().any(|e| matches!(e, Event::Incident(_))));
    assert_eq!(life.engine.state().watches.live().unwrap().missed, ["latency"]);
    assert_eq!(life.engine.state().incidents.open().count(), 0);
}

#[test]
fn a_rule_is_judged_in_its_phases_only() {
    let text = r#"
[[watch.phase]]
name = "start"
until = "10m"

[[watch.phase]]
name = "rest"

[rule.strict]
expr = "load"
phases = ["start"]
warning = { when = "> 5", for = "1m" }
"#;
    let mut life = Life::new(rules(text), Vec::new());
    life.looks(-9.0, 0.0, |_| vec![("load", 9.0)]);
    assert_eq!(life.said, Vec::<String>::new(), "no watch, no phase");
    life.deploy();
    life.looks(0.0, 20.0, |_| vec![("load", 9.0)]);
    assert_eq!(life.said, ["strict warning 1m", "strict gone 10m"]);
}

#[test]
fn the_mean_since_t0_is_judged_where_it_is_asked_for() {
    let text = r#"
[rule.available]
expr = "probe_success{job='api'}"
over = "watch"
warning = { when = "< 90%", for = "1m" }
"#;
    let mut life = Life::new(rules(text), Vec::new());
    life.deploy();
    let all = |life: &mut Life, from: i64, to: i64, good| {
        (from * 4..to * 4).for_each(|i| life.look_at("api", T0 + INTERVAL.times(i), &[], good));
    };
    all(&mut life, 0, 19, true);
    all(&mut life, 19, 21, false);
    assert_eq!(life.said, Vec::<String>::new(), "19 of 21 minutes");
    all(&mut life, 21, 25, false);
    assert_eq!(life.said.len(), 1, "{:?}", life.said);
    assert!(life.said[0].starts_with("available warning 22m"), "{:?}", life.said);
}

#[test]
fn what_depends_on_something_in_trouble_decides_nothing() {
    let text = r#"
[rule.db]
expr = "probe_success{job='db'}"
critical = { when = "== 0", for = "1m" }

[rule.errors]
expr = "failing"
depends_on = ["db"]
critical = { when = "> 0.1", for = "30s" }
rollback = "critical"
"#;
    let run = |db_fails: bool| {
        let mut life = Life::new(rules(text), Vec::new());
        let at = |i: i64| T0 + INTERVAL.times(i);
        (-8..0).for_each(|i| {
            life.look_at("db", at(i), &[], true);
            life.look_at("api", at(i), &[("failing", 0.0)], true);
        });
        life.deploy();
        (0..12).for_each(|i| {
            life.look_at("db", at(i), &[], !db_fails);
            life.look_at("api", at(i), &[("failing", 0.5)], true);
        });
        life
    };
    let mut blamed = run(true);
    blamed.said.retain(|s| s.starts_with("errors"));
    assert_eq!(blamed.said, Vec::<String>::new());
    assert_eq!(blamed.executed, 0);
    let alone = run(false);
    assert!(alone.said.contains(&"errors due 0m30s".to_string()), "{:?}", alone.said);
}

#[test]
fn a_criterion_waits_for_the_rules_it_is_joined_with() {
    let text = r#"
[rule.latency]
expr = "latency"
critical = { when = "> 1", for = "30s" }
rollback = { when = "critical", with = ["errors"] }

[rule.errors]
expr = "failing"
critical = { when = "> 0.1", for = "30s" }
"#;
    let mut life = Life::new(rules(text), Vec::new());
    life.deploy();
    life.looks(0.0, 3.0, |_| vec![("latency", 2.0), ("failing", 0.0)]);
    assert_eq!(life.said, ["latency critical 0m30s"]);
    life.looks(3.0, 5.0, |_| vec![("latency", 2.0), ("failing", 0.5)]);
    assert_eq!(life.said[1..], ["errors critical 3m30s", "latency due 3m30s"]);
}

const ERRORS: &str = r#"
[rule.errors]
errors = 'requests_total{code="500"}'
total = "requests_total"
critical = "> 10%"
rollback = "critical"

[rule.target-down]
expr = 'probe_success{job="api"}'
critical = { when = "== 0", for = "2m" }
rollback = { when = "critical", for = "5m" }

[rule.no-data]
expr = 'backstop_rule_no_data'
warning = { when = "== 1", for = "10m" }
"#;

/// Ten requests a minute, of which this share fails; counters from long ago.
fn served(failing: f64) -> impl Fn(f64) -> Vec<(&'static str, f64)> {
    move |m| {
        let all = 10.0 * (m + 100.0);
        let bad = if m > 0.0 { 10.0 * m * failing } else { 0.0 };
        let (good, bad) = ((all - bad).floor(), bad.floor());
        vec![(r#"requests_total{code="200"}"#, good), (r#"requests_total{code="500"}"#, bad)]
    }
}

#[test]
fn an_outage_of_the_metrics_rolls_nothing_back() {
    for (from, to) in [(5.0, 5.7), (5.0, 15.0)] {
        let mut life = Life::new(rules(ERRORS), Vec::new());
        life.looks(-9.0, 0.0, served(0.0));
        life.deploy();
        life.looks(0.0, from, served(0.01));
        life.pass_until(T0 + Span((to * 60_000.0) as i64));
        life.looks(to, 30.0, served(0.01));
        life.said.retain(|s| !s.starts_with("no-data"));
        assert_eq!(life.said, Vec::<String>::new(), "{from} to {to}");
        assert_eq!(life.executed, 0);
    }
}

#[test]
fn a_version_that_answers_only_errors_from_its_first_request_is_caught() {
    let mut life = Life::new(rules(ERRORS), Vec::new());
    life.looks(-9.0, 0.0, served(0.0));
    life.deploy();
    life.looks(0.0, 20.0, served(1.0));
    assert!(life.said.iter().any(|s| s.starts_with("errors due")), "{:?}", life.said);
    assert_eq!(life.executed, 1);
}

#[test]
fn a_version_that_exits_at_once_is_caught_though_its_series_vanish() {
    let mut life = Life::new(rules(ERRORS), Vec::new());
    life.looks(-9.0, 0.0, served(0.0));
    life.deploy();
    (0..60).for_each(|i| life.look_at("api", T0 + INTERVAL.times(i), &[], false));
    assert!(life.said.contains(&"target-down critical 2m".to_string()), "{:?}", life.said);
    assert_eq!(life.executed, 1, "{:?}", life.said);
}

#[test]
fn the_same_disappearance_by_the_observers_own_network_is_held() {
    let mut life = Life::new(rules(ERRORS), Vec::new());
    life.looks(-9.0, 0.0, served(0.0));
    life.deploy();
    for i in 0..60 {
        let at = T0 + INTERVAL.times(i);
        ["one", "two", "three"].iter().for_each(|outside| life.look_at(outside, at, &[], false));
        life.look_at("api", at, &[], false);
    }
    assert!(life.said.iter().any(|s| s.starts_with("target-down due")), "{:?}", life.said);
    assert_eq!(life.executed, 0);
    assert_eq!(life.guards(), ["blind-observer"]);
}

#[test]
fn trouble_from_before_the_deployment_is_held() {
    let text = "[rule.load]\nexpr = 'load'\ncritical = { when = '> 5', for = '1m' }\nrollback = 'critical'\n";
    let mut life = Life::new(rules(text), Vec::new());
    life.looks(-9.0, 0.0, |_| vec![("load", 9.0)]);
    life.deploy();
    life.looks(0.0, 10.0, |_| vec![("load", 9.0)]);
    assert_eq!((life.executed, life.guards()), (0, vec!["older-than-deployment".to_string()]));
}

#[test]
fn a_watch_goes_on_after_a_restart_as_if_there_had_been_none() {
    let run = |restart_at: Option<i64>| {
        let mut life = Life::new(rules(LATENCY), history("latency_seconds", 7, wandering));
        life.deploy();
        for i in 0..4 * 50 {
            if restart_at == Some(i) {
                life.restart();
            }
            let minute = i / 4;
            let slow = if minute >= 25 { 2.0 } else { 1.0 };
            let value = slow * wandering(10_080 + minute as usize);
            life.look_at("api", T0 + INTERVAL.times(i), &[("latency_seconds", value)], true);
        }
        life.said
    };
    let whole = run(None);
    assert!(whole.iter().any(|s| s.starts_with("latency due")), "{whole:?}");
    for restart_at in [1, 30, 70, 99, 101, 110, 130, 160, 190] {
        assert_eq!(run(Some(restart_at)), whole, "restart at look {restart_at}");
    }
}

#[test]
fn the_peak_of_the_version_before_is_no_measure_after_a_restart_soon_after_t0() {
    let text = r#"
[rule.rows]
expr = "rows"
baseline = "peak"
critical = { when = "< baseline - 60%", for = "10m" }
rollback = "critical"
"#;
    let mut life = Life::new(rules(text), Vec::new());
    life.looks(-9.0, 0.0, |_| vec![("rows", 1000.0)]);
    life.deploy();
    life.looks(0.0, 0.5, |_| vec![("rows", 150.0)]);
    life.restart();
    life.looks(0.5, 20.0, |_| vec![("rows", 150.0)]);
    assert_eq!(life.said, Vec::<String>::new());
}

#[test]
fn what_was_rolled_back_is_no_measure_after_a_restart() {
    let text = r#"
[rule.rows]
expr = "rows"
baseline = "peak"
critical = { when = "< baseline - 60%", for = "1m" }
rollback = "critical"
"#;
    let run = |restart_at: Option<i64>| {
        let mut life = Life::new(rules(text), Vec::new());
        life.deploy();
        for i in 0..60 {
            if restart_at == Some(i) {
                life.restart();
            }
            let (at, rows) = (T0 + INTERVAL.times(i), if i < 16 { 1000.0 } else { 150.0 });
            life.look_at("api", at, &[("rows", rows)], true);
            let execution = life.engine.execution().map(String::from);
            if let (Some(execution), 30) = (execution, i) {
                let end = Some(ExecutionEnd::Completed);
                life.put(Input::Execution { execution, pid: None, steps: Vec::new(), end });
            }
        }
        life.said
    };
    let whole = run(None);
    // 150 rows are what the version before has.
    assert_eq!(whole, ["rows critical 5m", "rows due 5m", "rows ok 8m45s", "rows not-due 8m45s"]);
    for restart_at in [31, 32, 33, 35, 40, 50] {
        let said = run(Some(restart_at));
        let alike = said.iter().map(|s| s.replace("8m30s", "8m45s")).eq(whole.iter().cloned());
        assert!(alike, "restart at look {restart_at}, none more than a look apart: {said:?}");
    }
}

#[test]
fn what_is_not_judged_yet_after_a_restart_verifies_no_rollback() {
    let text = r#"
[rule.rows]
expr = "rows"
baseline = "peak"
critical = { when = "< 100", for = "1m" }
warning = { when = "< baseline - 60%", for = "1m" }
rollback = "critical"
"#;
    let mut life = Life::new(rules(text), Vec::new());
    life.deploy();
    life.looks(0.0, 4.0, |_| vec![("rows", 50.0)]);
    let execution = life.engine.execution().map(String::from).unwrap();
    life.put(Input::Execution { execution, pid: None, steps: Vec::new(), end: Some(ExecutionEnd::Completed) });
    life.is_slow = true;
    life.restart();
    life.looks(4.0, 9.0, |_| vec![("rows", 50.0)]);
    let ended = |life: &Life| -> Vec<machine::Outcome> {
        let outcome = |e: &Event| match e {
            Event::Rollback(machine::Event::Ended { outcome, .. }) => Some(outcome.clone()),
            _ => None,
        };
        life.events.iter().filter_map(outcome).collect()
    };
    assert_eq!(ended(&life), [], "the rows are as few as before");
    life.is_slow = false;
    std::mem::take(&mut life.answers).into_iter().for_each(|answer| life.put(answer));
    life.looks(9.0, 16.0, |_| vec![("rows", 50.0)]);
    assert!(matches!(&ended(&life)[..], [machine::Outcome::StillBad { .. }]), "{:?}", ended(&life));
}

#[test]
fn what_depends_on_a_source_goes_on_to_wait_after_a_restart() {
    let text = r#"
[rule.errors]
expr = "failing"
critical = { when = "> 0.1", for = "5m" }
"#;
    let run = |restarts: bool, db_fails: bool| {
        let mut config = rules(text);
        config.rules[0].scope.depends_on = vec![Dependency::Source(SourceRef::new("prometheus", "db"))];
        let mut life = Life::new(config, Vec::new());
        life.deploy();
        for i in 0..40 {
            if restarts && i == 17 {
                life.restart();
            }
            // The source it depends on answers last.
            life.look_at("api", T0 + INTERVAL.times(i), &[("failing", 0.5)], true);
            life.look_at("db", T0 + INTERVAL.times(i) + Span::secs(2), &[], !db_fails);
        }
        life.said
    };
    assert_eq!(run(false, false).len(), 1);
    assert_eq!(run(true, false), run(false, false));
    assert_eq!(run(true, true), Vec::<String>::new(), "in trouble before the restart and after it");
}

#[test]
fn it_is_told_how_much_of_a_window_was_seen() {
    let text = r#"
[rule.slow]
expr = "rate(work_seconds_total[10m]) + on () group_left () backstop_deployment_age_seconds"
critical = "> 100"

[rule.share]
errors = 'served{code="500"}'
total = "served"
window = "10m"
critical = "> 10%"
"#;
    let mut life = Life::new(rules(text), Vec::new());
    let seen = |life: &Life, rule: &str| -> Vec<(String, usize, Span, Span)> {
        let snapshot = life.engine.snapshot(life.now);
        let rule = snapshot.rules.into_iter().find(|r| r.name == rule).unwrap();
        rule.windows.into_iter().map(|w| (w.reads, w.series, w.least, w.most)).collect()
    };
    let (work, served) = ("work_seconds_total[10m]", r#"served{code="500"} in 10 min"#);
    assert_eq!(seen(&life, "slow"), [(work.into(), 0, Span::ZERO, Span::ZERO)]);
    life.looks(0.0, 4.0, |m| vec![("work_seconds_total", m), (r#"served{code="200"}"#, m)]);
    let four = Span::mins(4);
    assert_eq!(seen(&life, "slow"), [(work.into(), 1, four, four)]);
    // The counter of errors begins later.
    life.looks(4.0, 20.0, |m| {
        let mut all = vec![("work_seconds_total", m), (r#"served{code="200"}"#, m)];
        all.extend((m >= 15.0).then_some((r#"served{code="500"}"#, m)));
        all
    });
    assert_eq!(seen(&life, "slow"), [(work.into(), 1, Span::mins(10), Span::mins(10))]);
    let five = Span::mins(5);
    assert_eq!(
        seen(&life, "share"),
        [(served.into(), 1, five, five), ("served in 10 min".into(), 2, five, Span::mins(10))]
    );
}

/// A random life: rules of every kind, values that cross their limits, looks that fail, time without looks.
fn random_scenario(seed: u64) -> (String, Vec<Option<[f64; 3]>>) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let spans = ["0s", "15s", "30s", "1m", "2m"];
    let mut span = || spans[rng.random_range(0..spans.len())];
    let text = format!(
        r#"
[rule.levels]
expr = "a"
target = {{ when = "> 2", for = "{}", keep = "{}" }}
warning = {{ when = "> 4", for = "{}", keep = "{}" }}
critical = {{ when = "> 7", for = "{}", clear = "< 5", keep = "{}" }}
rollback = {{ when = "> 8", for = "{}", keep = "{}" }}

[rule.hits]
expr = "b"
warning = {{ when = "> 5", hits = "2 of 4", keep = "{}" }}
critical = {{ when = "> 7", hits = "3 of 6", keep = "{}" }}
rollback = {{ when = "critical", for = "{}" }}

[rule.joined]
expr = "a + b"
warning = {{ when = "> 9", for = "{}" }}
critical = {{ when = "present", for = "{}" }}
no_data = "ok"

[rule.last]
expr = "c"
depends_on = ["hits"]
critical = {{ when = "< 3", for = "{}" }}
rollback = {{ when = "critical", with = ["levels"] }}

[rule.least]
expr = "a"
baseline = "peak"
warning = {{ when = "< baseline - 30%", for = "{}", keep = "{}" }}
critical = {{ when = "< baseline - 60%", for = "{}", keep = "{}" }}
rollback = {{ when = "critical", for = "{}" }}

[rule.armed]
expr = "b"
after = "6m"
arm = "> 6"
critical = {{ when = "< 4", for = "{}", keep = "{}" }}

[rule.mean]
expr = "c"
over = "watch"
warning = {{ when = "> 5", for = "{}" }}

[rule.share]
errors = 'served{{code="500"}}'
total = "served"
window = "1m"
warning = {{ when = "> 20%", for = "{}", keep = "{}" }}
critical = {{ when = "> 40%", for = "{}", keep = "{}" }}
rollback = {{ when = "critical", for = "{}" }}
"#,
        span(),
        span(),
        span(),
        span(),
        span(),
        span(),
        span(),
        span(),
        span(),
        span(),
        span(),
        span(),
        span(),
        span(),
        span(),
        span(),
        span(),
        span(),
        span(),
        span(),
        span(),
        span(),
        span(),
        span(),
        span(),
        span(),
        span(),
    );
    let mut at = [5.0f64; 3];
    let looks = (0..40).map(|_| {
        at.iter_mut().for_each(|v| *v = (*v + rng.random_range(-3.0..3.0)).clamp(0.0, 10.0));
        rng.random_bool(0.93).then_some(at)
    });
    let looks = looks.collect();
    (text.replace("critical = { when = \"present\"", "critical = { when = \"> 12\""), looks)
}

/// What was said of each rule, and when.
type Said = BTreeMap<String, Vec<(String, Timestamp)>>;

fn random_life(config: &Config, looks: &[Option<[f64; 3]>], restart_at: Option<usize>) -> Said {
    let mut life = Life::new(config.clone(), Vec::new());
    life.deploy();
    let (mut good, mut bad) = (1000.0, 1000.0);
    for (i, look) in looks.iter().enumerate() {
        if restart_at == Some(i) {
            life.restart();
        }
        let at = T0 + INTERVAL.times(i as i64);
        match look {
            Some([a, b, c]) => {
                (good, bad) = (good + 40.0, bad + (4.0 * b).floor());
                let served = [(r#"served{code="200"}"#, good), (r#"served{code="500"}"#, bad)];
                life.look_at("api", at, &[&[("a", *a), ("b", *b), ("c", *c)], &served[..]].concat(), true);
            }
            None => life.pass_until(at),
        }
    }
    let mut all = Said::new();
    for event in &life.events {
        let Event::Rule(change) = event else { continue };
        let (rule, at) = match change {
            Change::Level(t) => (&t.rule, t.at),
            Change::Criterion { rule, at, .. } | Change::Target { rule, at, .. } => (rule, *at),
        };
        let what = said(event).and_then(|said| said.split(' ').nth(1).map(String::from)).unwrap_or_default();
        all.entry(rule.clone()).or_default().push((what, at));
    }
    all
}

/// Where both said the same of a rule, none more than a look later than the other: none. What a timer brings between two looks
/// comes with the next one, where the agent was not there then.
fn difference(a: &Said, b: &Said) -> Option<String> {
    let none = Vec::new();
    a.keys().chain(b.keys()).find_map(|rule| {
        let (a, b) = (a.get(rule).unwrap_or(&none), b.get(rule).unwrap_or(&none));
        let is_alike = |((a, at), (b, then)): (&(String, Timestamp), &(String, Timestamp))| {
            a == b && (*at - *then).0.abs() <= INTERVAL.0
        };
        (a.len() != b.len() || !a.iter().zip(b).all(is_alike)).then(|| format!("{rule}\n{a:?}\n{b:?}"))
    })
}

/// `BACKSTOP_SCENARIOS=500` for the long run; each is restarted at every step.
#[test]
fn a_restart_at_any_step_leaves_the_sequence_of_transitions_as_it_was() {
    let count = std::env::var("BACKSTOP_SCENARIOS").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    let mut changes = 0;
    for seed in 0..count {
        let (text, looks) = random_scenario(seed);
        let config = rules(&text);
        let whole = random_life(&config, &looks, None);
        changes += whole.values().map(Vec::len).sum::<usize>();
        for step in 1..looks.len() {
            let restarted = random_life(&config, &looks, Some(step));
            let difference = difference(&restarted, &whole);
            assert_eq!(difference, None, "scenario {seed}, restart before look {step}\n{text}\n{looks:?}");
        }
    }
    assert!(changes as u64 > count * 3, "{changes} changes in {count} scenarios decide nothing");
}
