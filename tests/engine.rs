//! The engine in virtual time: text-book situations, each with what must and must not follow.

use std::collections::BTreeMap;
use std::sync::Arc;

use backstop::base::{
    Batch, Exhibit, Failure, Id, Labels, Level, Line, Outcome, Quantity, Sample, SourceRef, Span, Timestamp, Unit,
};
use backstop::config;
use backstop::engine::command::{Command, Reply};
use backstop::engine::facts::{OnChange, Running, Told};
use backstop::engine::{Config, Effect, Engine, Event, Input, Kept, Reach, SourceInfo, State, Writer};
use backstop::notify::outbox::{Receipt, Sent};
use backstop::notify::story::Story;
use backstop::notify::subscription::Subscription;
use backstop::promql;
use backstop::rollback::machine::{self, ExecutionEnd, Mode, Outcome as RunOutcome, StepSeen};
use backstop::rule::{Change, Clause, Comparison, Condition, Criterion, NoData, Rule, Test, Value, When};
use backstop::store::{Limits, Stretch, View, is_stale};
use backstop::watch;

/// A moment in 2025 from which all scenarios count.
const BEGIN: Timestamp = Timestamp(1_761_640_000_000);

/// A sample of a scenario: name, labels, value.
type Given<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);

/// An engine, its time, and everything that happened.
struct World {
    engine: Engine,
    now: Timestamp,
    events: Vec<Event>,
    effects: Vec<Effect>,
    /// Every sample that was given: what is read back of the past.
    given: BTreeMap<Labels, (Vec<i64>, Vec<f64>)>,
    /// Deliveries are accepted as soon as they are tried.
    accepts: bool,
    /// What the executor makes of a rung: none leaves it running.
    executes: Option<ExecutionEnd>,
}

impl World {
    fn new(config: Config) -> World {
        let engine = Engine::new(config, State::default(), BEGIN, 7);
        let mut world = World {
            engine,
            now: BEGIN,
            events: Vec::new(),
            effects: Vec::new(),
            given: BTreeMap::new(),
            accepts: true,
            executes: None,
        };
        world.put(Input::Started { version: "test".into() });
        world
    }

    /// The same world after a crash: a new engine on the fold of what was journaled.
    fn restart(&mut self) {
        let mut state = State::default();
        self.events.iter().for_each(|e| state.apply(e));
        assert_eq!(serde_json::to_value(&state).unwrap(), serde_json::to_value(self.engine.state()).unwrap());
        self.engine = Engine::new(self.engine.config().clone(), state, self.now, 11);
        self.put(Input::Started { version: "test".into() });
    }

    fn put(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            if let Input::Batch(batch) = &input {
                for sample in &batch.samples {
                    let (times, values) = self.given.entry(sample.labels.clone()).or_default();
                    times.push(batch.at.0);
                    values.push(sample.value);
                }
            }
            for effect in self.engine.step(self.now, input) {
                match &effect {
                    Effect::History(question) => {
                        let given = self.given.iter();
                        let view = View::new(given.map(|(l, (t, v))| Stretch::new(l.clone(), t.clone(), v.clone())));
                        inputs.push(Input::History(question.answer_all(&view, Span::mins(5))));
                    }
                    Effect::Journal(events) => {
                        for event in events {
                            // What is journaled reads back as what it was.
                            let text = serde_json::to_string(event).unwrap();
                            assert_eq!(&serde_json::from_str::<Event>(&text).unwrap(), event);
                        }
                        self.events.extend(events.iter().cloned());
                    }
                    Effect::Deliver(sending) if self.accepts => {
                        let result = Sent::Accepted { by: "test".into(), said: "ok".into() };
                        inputs.push(Input::Receipt(Receipt { id: sending.delivery.id.clone(), at: self.now, result }));
                    }
                    Effect::Execute(execution) => {
                        let step =
                            StepSeen { name: "previous".into(), state: "done".into(), took: Some(Span::secs(1)) };
                        if let Some(end) = self.executes.clone() {
                            let execution = execution.execution.clone();
                            inputs.push(Input::Execution { execution, pid: None, steps: vec![step], end: Some(end) });
                        }
                    }
                    _ => {}
                }
                self.effects.push(effect);
            }
        }
    }

    /// Lets time pass until `to`, with a tick whenever the engine asks for one.
    fn pass_until(&mut self, to: Timestamp) {
        loop {
            let next = self.engine.next_deadline(self.now).max(self.now + Span::millis(1));
            if next > to {
                self.now = to;
                return;
            }
            self.now = next;
            self.put(Input::Tick);
        }
    }

    /// One look at a target `at`: its samples, or a failure.
    fn look(&mut self, at: Timestamp, source: &str, samples: &[Given<'_>], good: bool) {
        self.look_as("prometheus", at, source, samples, good);
    }

    /// The same of a source of that kind.
    fn look_as(&mut self, kind: &str, at: Timestamp, source: &str, samples: &[Given<'_>], good: bool) {
        self.pass_until(at);
        let job = ("job", source);
        let label = |name: &str, more: &[(&str, &str)]| {
            let own = [("__name__", name), job, ("instance", "a:1")];
            Labels::new(own.into_iter().chain(more.iter().copied()))
        };
        let mut all: Vec<Sample> = vec![
            Sample { labels: label("probe_success", &[]), value: f64::from(u8::from(good)), at: None },
            Sample { labels: label("up", &[]), value: f64::from(u8::from(good)), at: None },
        ];
        all.extend(samples.iter().map(|(name, more, value)| Sample {
            labels: label(name, more),
            value: *value,
            at: None,
        }));
        let outcome = match good {
            true => Outcome::Good,
            false => Outcome::Failed(Failure::new("refused", "connection refused")),
        };
        let batch = Batch {
            checkpoint: None,
            holds: false,
            exhibits: Vec::new(),
            source: SourceRef::new(kind, source),
            instance: "a:1".into(),
            at,
            interval: INTERVAL,
            outcome,
            samples: all,
        };
        self.put(Input::Batch(batch));
    }

    /// A log was read `at`: how many of its lines matched `oom` since ever, and the last of them.
    fn read(&mut self, at: Timestamp, matched: f64, lines: &[&str]) {
        self.pass_until(at);
        let own = [("job", "app"), ("instance", "app.log"), ("source", "log")];
        let sample = |name: &str, more: &[(&str, &str)], value: f64| {
            let labels = own.into_iter().chain([("__name__", name)]).chain(more.iter().copied());
            Sample { labels: Labels::new(labels), value, at: None }
        };
        let exhibit = |text: &&str| Exhibit {
            at,
            place: "shop/api".into(),
            service: None,
            level: "error".into(),
            patterns: vec!["oom".into()],
            text: text.to_string(),
        };
        let batch = Batch {
            source: SourceRef::new("log", "app"),
            instance: "app.log".into(),
            at,
            interval: INTERVAL,
            outcome: Outcome::Good,
            samples: vec![
                sample("probe_success", &[], 1.0),
                sample("log_matches_total", &[("pattern", "oom")], matched),
            ],
            checkpoint: None,
            holds: false,
            exhibits: lines.iter().map(exhibit).collect(),
        };
        self.put(Input::Batch(batch));
    }

    fn command(&mut self, command: Command) -> Reply {
        self.effects.clear();
        self.put(Input::Command { ticket: 1, command });
        let reply = self.effects.iter().find_map(|e| match e {
            Effect::Reply { reply, .. } => Some(reply.clone()),
            _ => None,
        });
        reply.expect("every command is answered in its step")
    }

    fn deploy(&mut self, version: &str, previous: &str) {
        let command = Command::DeployStart {
            version: version.into(),
            previous: Some(previous.into()),
            plan: Some("ab".repeat(32)),
            live: true,
            force: false,
            by: "root".into(),
        };
        assert!(matches!(self.command(command), Reply::Done { .. }));
    }

    /// Changes of level as `rule ok->CRITICAL`, in order.
    fn levels(&self) -> Vec<String> {
        let text = |e: &Event| match e {
            Event::Rule(Change::Level(t)) => Some(format!("{} {}->{}", t.rule, t.from, t.to)),
            _ => None,
        };
        self.events.iter().filter_map(text).collect()
    }

    fn rollback_events(&self) -> Vec<&machine::Event> {
        self.events.iter().filter_map(|e| if let Event::Rollback(e) = e { Some(e) } else { None }).collect()
    }

    fn run_outcome(&self) -> Option<&'static str> {
        self.rollback_events().into_iter().rev().find_map(|e| match e {
            machine::Event::Ended { outcome, .. } => Some(RunOutcome::word(outcome)),
            _ => None,
        })
    }

    fn verdict(&self) -> Option<&'static str> {
        self.events.iter().rev().find_map(|e| match e {
            Event::Watch(watch::Event::Ended { verdict, .. }) => Some(verdict.text()),
            _ => None,
        })
    }

    fn level(&self, rule: &str) -> Level {
        self.engine.snapshot(self.now).rules.iter().find(|r| r.name == rule).unwrap().level
    }
}

const INTERVAL: Span = Span::secs(15);

fn above(limit: &str, held_for: Span) -> Condition {
    let test = Test(vec![Clause::Value(Comparison::Above, Quantity::parse(limit).unwrap())]);
    Condition::held(When::Test(test), held_for)
}

fn rule(name: &str, value: Value, unit: Unit) -> Rule {
    Rule::new(name, value, unit)
}

fn expression(text: &str) -> Value {
    Value::Expression { text: text.into(), plan: Arc::new(promql::compile(text).unwrap()) }
}

fn share(errors: &str, total: &str) -> Value {
    Value::Share {
        texts: [errors.into(), total.into()],
        errors: Arc::new(promql::compile_selector(errors).unwrap()),
        total: Arc::new(promql::compile_selector(total).unwrap()),
        window: Span::mins(5),
        by: Vec::new(),
        min_errors: 3,
    }
}

fn when_critical(held_for: Span) -> Option<Criterion> {
    let condition = Condition::held(When::Critical, held_for);
    Some(Criterion { condition, mode: None, rung: None, with: Vec::new() })
}

/// The share of 5xx over 10 % for 1 min is critical, for 5 min more a criterion.
fn errors() -> Rule {
    let mut rule = rule("errors", share(r#"requests_total{code="500"}"#, "requests_total"), Unit::Ratio);
    rule.critical = Some(above("10%", Span::mins(1)));
    rule.rollback = when_critical(Span::mins(5));
    rule
}

fn target_down() -> Rule {
    let mut rule = rule("target-down", expression("probe_success"), Unit::Count);
    let zero = Test(vec![Clause::Value(Comparison::Equal, Quantity::count(0.0))]);
    rule.critical = Some(Condition::held(When::Test(zero), Span::mins(2)));
    rule.rollback = when_critical(Span::mins(5));
    rule
}

fn latency() -> Rule {
    let mut rule = rule("latency", expression("latency_seconds"), Unit::Seconds);
    rule.warning = Some(above("500ms", Span::mins(1)));
    rule.critical = Some(above("1s", Span::mins(1)));
    rule
}

fn config(rules: Vec<Rule>, mode: Mode) -> Config {
    let sources = ["api", "worker", "web"].map(|name| SourceRef::new("prometheus", name));
    Config {
        rules,
        sources: sources.map(|source| SourceInfo::own(source, vec!["up", "probe_success"])).to_vec(),
        channels: vec![Subscription::new("log", "alerts")],
        rollback: machine::Settings { mode, ..machine::Settings::new() },
        steps: vec!["previous version".into()],
        evidence: "/var/lib/backstop/evidence".into(),
        ..Config::new("shop", "web-1")
    }
}

/// Counters of a service: all requests and those that failed, looked at every 15 s.
struct Service {
    all: f64,
    failed: f64,
    at: Timestamp,
}

impl Service {
    fn new() -> Service {
        Service { all: 0.0, failed: 0.0, at: BEGIN }
    }

    /// Looks `n` times: each interval brings 100 requests, of which `failing` fail.
    fn serve(&mut self, world: &mut World, n: usize, failing: f64) {
        for _ in 0..n {
            self.all += 100.0;
            self.failed += failing;
            let good = self.all - self.failed;
            let samples: [Given<'_>; 2] =
                [("requests_total", &[("code", "200")], good), ("requests_total", &[("code", "500")], self.failed)];
            world.look(self.at, "api", &samples, true);
            self.at += INTERVAL;
        }
    }

    fn fail_to_answer(&mut self, world: &mut World, n: usize) {
        for _ in 0..n {
            world.look(self.at, "api", &[], false);
            self.at += INTERVAL;
        }
    }
}

#[test]
fn an_agent_started_beside_ten_million_old_errors_says_nothing() {
    let mut world = World::new(config(vec![errors()], Mode::Auto));
    let mut service = Service { all: 20_000_000.0, failed: 10_000_000.0, at: BEGIN };
    world.deploy("2.0", "1.0");
    service.serve(&mut world, 60, 0.0);
    assert_eq!(world.levels(), Vec::<String>::new());
    assert!(world.rollback_events().is_empty());
}

#[test]
fn a_missed_scrape_inside_a_for_resets_nothing() {
    let mut fires_after = Vec::new();
    for missed in [false, true] {
        let mut world = World::new(config(vec![latency()], Mode::Observe));
        let mut at = BEGIN;
        let began = at + INTERVAL.times(20);
        for i in 0..40 {
            let slow = at >= began;
            if missed && i == 22 {
                world.look(at, "api", &[], false);
            } else {
                world.look(at, "api", &[("latency_seconds", &[], if slow { 2.0 } else { 0.1 })], true);
            }
            at += INTERVAL;
        }
        let fired = world.events.iter().find_map(|e| match e {
            Event::Rule(Change::Level(t)) if t.to == Level::Critical => Some(t.at - began),
            _ => None,
        });
        fires_after.push(fired.expect("it fires"));
    }
    assert_eq!(fires_after[0], Span::mins(1));
    assert_eq!(fires_after[1], Span::mins(1), "one missed scrape changed the time");
}

#[test]
fn a_clock_step_of_an_hour_neither_fires_nor_resolves() {
    for by in [Span::hours(1), -Span::hours(1)] {
        for failing in [0.0, 50.0] {
            let mut world = World::new(config(vec![errors(), latency(), target_down()], Mode::Observe));
            let mut service = Service::new();
            service.serve(&mut world, 40, failing);
            let (before, level) = (world.levels(), world.level("errors"));
            world.now += by;
            service.at += by;
            world.put(Input::ClockStepped { by });
            service.serve(&mut world, 40, failing);
            assert_eq!(world.levels(), before, "by {by}, {failing} % errors");
            assert_eq!(world.level("errors"), level);
        }
    }
}

#[test]
fn a_clock_step_neither_shortens_nor_lengthens_a_for() {
    for by in [Span::ZERO, Span::hours(1), -Span::hours(1)] {
        let mut world = World::new(config(vec![latency()], Mode::Observe));
        let mut at = BEGIN;
        let look = |world: &mut World, at, value| world.look(at, "api", &[("latency_seconds", &[], value)], true);
        look(&mut world, at, 0.1);
        for _ in 0..3 {
            at += INTERVAL;
            look(&mut world, at, 2.0);
        }
        assert_eq!(world.level("latency"), Level::Ok);
        if by != Span::ZERO {
            world.now += by;
            at += by;
            world.put(Input::ClockStepped { by });
        }
        at += INTERVAL;
        look(&mut world, at, 2.0);
        assert_eq!(world.level("latency"), Level::Ok, "45 s are not a minute");
        at += INTERVAL;
        look(&mut world, at, 2.0);
        assert_eq!(world.level("latency"), Level::Critical, "a minute is");
    }
}

#[test]
fn a_bad_version_is_taken_back_and_verified() {
    let mut world = World::new(config(vec![errors(), target_down()], Mode::Auto));
    world.executes = Some(ExecutionEnd::Completed);
    let mut service = Service::new();
    service.serve(&mut world, 20, 0.0);
    world.deploy("2.0", "1.0");
    service.serve(&mut world, 36, 30.0);
    let executions =
        |w: &World| w.rollback_events().iter().filter(|e| matches!(e, machine::Event::Executing { .. })).count();
    assert_eq!(executions(&world), 1, "{:#?}", world.levels());
    service.serve(&mut world, 40, 0.0);
    assert_eq!(world.run_outcome(), Some("verified"));
    assert_eq!(world.verdict(), Some("rolled back"));
    // A relapse pages and is not rolled back again.
    service.serve(&mut world, 60, 50.0);
    assert_eq!(executions(&world), 1);
    let relapses = world.rollback_events().iter().filter(|e| matches!(e, machine::Event::Relapsed { .. })).count();
    assert_eq!(relapses, 1);
}

/// Looks at a container `n` times that crashes at each second look, or runs.
fn watch_container(world: &mut World, at: &mut Timestamp, restarts: &mut f64, n: usize, crashes: bool) {
    for look in 0..n {
        *restarts += f64::from(u8::from(crashes && look % 2 == 0));
        let name = [("name", "shop-web-1")];
        let samples: [Given<'_>; 2] =
            [("container_restarts_total", &name, *restarts), ("container_exit_code", &name, 1.0)];
        world.look(*at, "api", &samples, true);
        *at += INTERVAL;
    }
}

#[test]
fn a_crash_loop_after_a_deployment_is_taken_back_and_verified_and_one_from_before_is_not() {
    let begun = |w: &World| w.rollback_events().iter().any(|e| matches!(e, machine::Event::Executing { .. }));
    for is_older in [false, true] {
        let rules = config::of_packs(&["container"], &config::Options::of_process()).config.unwrap().rules;
        let mut config = config(rules, Mode::Auto);
        // What holds where nobody says more.
        config.rollback.verify_within = Span::mins(5);
        let mut world = World::new(config);
        world.executes = Some(ExecutionEnd::Completed);
        let (mut at, mut restarts) = (BEGIN, 0.0);
        watch_container(&mut world, &mut at, &mut restarts, 40, is_older);
        world.deploy("2.0", "1.0");
        // Four minutes from the third crash, and the notice.
        watch_container(&mut world, &mut at, &mut restarts, 20, true);
        assert!(!begun(&world));
        watch_container(&mut world, &mut at, &mut restarts, 8, true);
        assert_eq!(begun(&world), !is_older, "{:#?}", world.levels());
        watch_container(&mut world, &mut at, &mut restarts, 100, false);
        assert_eq!(world.run_outcome(), (!is_older).then_some("verified"), "{:#?}", world.rollback_events());
        assert_eq!(world.level("container-restarts"), Level::Ok);
    }
}

#[test]
fn what_does_not_help_is_called_so() {
    let mut world = World::new(config(vec![errors()], Mode::Auto));
    world.executes = Some(ExecutionEnd::Completed);
    let mut service = Service::new();
    service.serve(&mut world, 20, 0.0);
    world.deploy("2.0", "1.0");
    service.serve(&mut world, 120, 30.0);
    assert_eq!((world.run_outcome(), world.verdict()), (Some("still bad"), Some("failed")));
}

#[test]
fn what_the_executor_refused_is_not_tried_again_by_itself() {
    let mut world = World::new(config(vec![errors()], Mode::Auto));
    world.executes = Some(ExecutionEnd::Refused { why: "the plan is not what was sealed".into() });
    let mut service = Service::new();
    service.serve(&mut world, 20, 0.0);
    world.deploy("2.0", "1.0");
    service.serve(&mut world, 80, 30.0);
    let opened = |w: &World| w.rollback_events().iter().filter(|e| matches!(e, machine::Event::Opened(_))).count();
    assert_eq!((opened(&world), world.run_outcome()), (1, Some("refused")));
    assert_eq!(world.verdict(), Some("failed"));
}

#[test]
fn missing_metrics_roll_nothing_back() {
    let mut world = World::new(config(vec![errors()], Mode::Auto));
    let mut service = Service::new();
    service.serve(&mut world, 20, 0.0);
    world.deploy("2.0", "1.0");
    let mut at = service.at;
    for _ in 0..(48 * 240 + 2) {
        world.look(at, "api", &[("process_start_time_seconds", &[], 1.0)], true);
        at += INTERVAL;
    }
    assert!(world.rollback_events().is_empty());
    assert_eq!(world.verdict(), Some("inconclusive"));
}

#[test]
fn a_service_that_does_not_answer_is_data_and_is_rolled_back() {
    let mut world = World::new(config(vec![errors(), target_down()], Mode::Auto));
    world.executes = Some(ExecutionEnd::Completed);
    let mut service = Service::new();
    service.serve(&mut world, 20, 0.0);
    world.deploy("2.0", "1.0");
    service.fail_to_answer(&mut world, 33);
    assert_eq!(world.levels(), ["target-down ok->CRITICAL"]);
    assert!(world.rollback_events().iter().any(|e| matches!(e, machine::Event::Executing { .. })));
}

#[test]
fn trouble_that_was_there_before_is_not_rolled_back() {
    let mut world = World::new(config(vec![errors()], Mode::Auto));
    let mut service = Service::new();
    service.serve(&mut world, 60, 30.0);
    world.deploy("2.0", "1.0");
    service.serve(&mut world, 60, 30.0);
    let held = world
        .rollback_events()
        .iter()
        .any(|e| matches!(e, machine::Event::Held { guard, .. } if guard.name() == "older-than-deployment"));
    assert!(held, "{:?}", world.rollback_events());
    assert!(!world.rollback_events().iter().any(|e| matches!(e, machine::Event::Executing { .. })));
}

#[test]
fn a_few_unlucky_requests_decide_nothing() {
    let mut world = World::new(config(vec![errors()], Mode::Auto));
    let mut at = BEGIN;
    world.deploy("2.0", "1.0");
    // Two requests a minute, and two of the first four fail: 50 %, and next to nothing.
    for i in 0..80 {
        let (all, failed) = (f64::from(i / 2), f64::from((i / 2).min(2)));
        world.look(
            at,
            "api",
            &[("requests_total", &[("code", "200")], all - failed), ("requests_total", &[("code", "500")], failed)],
            true,
        );
        at += INTERVAL;
    }
    assert_eq!(world.levels(), Vec::<String>::new());
}

#[test]
fn ask_waits_for_a_person_and_a_refusal_is_kept() {
    for approve in [true, false] {
        let mut world = World::new(config(vec![errors()], Mode::Ask));
        world.executes = Some(ExecutionEnd::Completed);
        let mut service = Service::new();
        service.serve(&mut world, 20, 0.0);
        world.deploy("2.0", "1.0");
        service.serve(&mut world, 36, 30.0);
        let began = |w: &World| w.rollback_events().iter().any(|e| matches!(e, machine::Event::Executing { .. }));
        assert!(!began(&world));
        let (run, by, reason) = (None, "anna".to_string(), Some("checkout broken".to_string()));
        let command = match approve {
            true => Command::RollbackApprove { run, by, reason },
            false => Command::RollbackDeny { run, by, reason },
        };
        assert!(matches!(world.command(command), Reply::Done { .. }));
        service.serve(&mut world, 30, 30.0);
        assert_eq!(began(&world), approve);
        let opened = world.rollback_events().iter().filter(|e| matches!(e, machine::Event::Opened(_))).count();
        assert_eq!(opened, 1, "nobody is asked twice about the same");
    }
}

#[test]
fn nobody_who_answers_is_said_once_and_the_question_stays_open() {
    let mut world = World::new(config(vec![errors()], Mode::Ask));
    world.executes = Some(ExecutionEnd::Completed);
    let mut service = Service::new();
    service.serve(&mut world, 20, 0.0);
    world.deploy("2.0", "1.0");
    service.serve(&mut world, 80, 30.0);
    let overdue = world.rollback_events().iter().filter(|e| matches!(e, machine::Event::Overdue { .. })).count();
    assert_eq!((overdue, world.run_outcome()), (1, None));
    let command = Command::RollbackApprove { run: Some(1), by: "anna".into(), reason: None };
    assert!(matches!(world.command(command), Reply::Done { .. }));
    service.serve(&mut world, 40, 0.0);
    assert_eq!(world.run_outcome(), Some("verified"));
}

#[test]
fn the_next_rung_is_taken_only_when_the_milder_one_did_not_help() {
    for (helps, rungs) in [(1, vec!["restart"]), (2, vec!["restart", "version"])] {
        let mut config = config(vec![errors()], Mode::Auto);
        config.rollback.ladder = vec!["restart".into(), "version".into()];
        let mut world = World::new(config);
        world.executes = Some(ExecutionEnd::Completed);
        let mut service = Service::new();
        service.serve(&mut world, 20, 0.0);
        world.deploy("2.0", "1.0");
        service.serve(&mut world, 36 + (helps - 1) * 40, 30.0);
        service.serve(&mut world, 45, 0.0);
        let taken: Vec<&str> = world
            .rollback_events()
            .into_iter()
            .filter_map(|e| if let machine::Event::Executing { rung, .. } = e { Some(rung.as_str()) } else { None })
            .collect();
        assert_eq!((taken, world.run_outcome()), (rungs, Some("verified")));
    }
}

#[test]
fn a_version_that_reads_back_wrong_is_not_called_verified() {
    let mut world = World::new(config(vec![errors()], Mode::Auto));
    world.executes = Some(ExecutionEnd::Completed);
    let mut service = Service::new();
    service.serve(&mut world, 20, 0.0);
    world.deploy("2.0", "1.0");
    service.serve(&mut world, 36, 30.0);
    for _ in 0..60 {
        world.put(Input::Version(Ok("2.0".into())));
        service.serve(&mut world, 1, 0.0);
    }
    assert_eq!((world.run_outcome(), world.verdict()), (Some("unverified"), Some("failed")));
}

#[test]
fn a_probe_that_looks_only_when_asked_is_asked_for_a_verification() {
    let worker = SourceRef::new("prometheus", "worker");
    for (answers, outcome) in [(true, "verified"), (false, "unverified")] {
        let mut config = config(vec![errors()], Mode::Auto);
        config.probes = vec![worker.clone()];
        config.sources.iter_mut().find(|s| s.source == worker).unwrap().manual = Some(INTERVAL);
        let mut world = World::new(config);
        world.executes = Some(ExecutionEnd::Completed);
        let mut service = Service::new();
        service.serve(&mut world, 20, 0.0);
        assert_eq!(world.engine.asks_for(world.now), []);
        world.deploy("2.0", "1.0");
        service.serve(&mut world, 36, 30.0);
        let mut asked = 0;
        for _ in 0..60 {
            service.serve(&mut world, 1, 0.0);
            if !world.engine.asks_for(world.now).is_empty() {
                asked += 1;
                assert_eq!(world.engine.asks_for(world.now), [], "a look that is under way is not asked for again");
                if answers {
                    world.look(world.now, "worker", &[], true);
                }
                assert_eq!(world.engine.asks_for(world.now), [], "once an interval is enough");
            }
        }
        assert!(asked > 0);
        assert_eq!(world.run_outcome(), Some(outcome));
        assert_eq!(world.engine.asks_for(world.now), [], "nothing is verified any more");
    }
}

#[test]
fn a_criterion_that_ceases_while_asked_needs_no_rollback() {
    let mut world = World::new(config(vec![errors()], Mode::Ask));
    let mut service = Service::new();
    service.serve(&mut world, 20, 0.0);
    world.deploy("2.0", "1.0");
    service.serve(&mut world, 40, 30.0);
    assert!(matches!(world.rollback_events().last(), Some(machine::Event::Opened(_))));
    service.serve(&mut world, 60, 0.0);
    assert_eq!(world.run_outcome(), Some("not run"));
}

#[test]
fn observe_says_once_what_it_would_do() {
    let mut world = World::new(config(vec![errors()], Mode::Observe));
    let mut service = Service::new();
    service.serve(&mut world, 20, 0.0);
    world.deploy("2.0", "1.0");
    service.serve(&mut world, 100, 30.0);
    let events = world.rollback_events();
    assert!(matches!(events[..], [machine::Event::WouldRollBack { .. }]), "{events:?}");
}

#[test]
fn degraded_accepts_and_begins_no_rollback_but_goes_on_alerting() {
    let mut world = World::new(config(vec![errors()], Mode::Auto));
    let mut service = Service::new();
    service.serve(&mut world, 20, 0.0);
    world.deploy("2.0", "1.0");
    world.put(Input::Degraded(Some("disk full".into())));
    service.serve(&mut world, 40, 30.0);
    assert_eq!(world.levels(), ["errors ok->CRITICAL"]);
    assert!(!world.rollback_events().iter().any(|e| matches!(e, machine::Event::Executing { .. })));
    let reply = world.command(Command::RollbackStart { by: "root".into(), reason: "now".into(), overrides: vec![] });
    assert!(matches!(reply, Reply::Refused { .. }));
}

/// What the series about readiness say: `reason value`, sorted.
fn readiness(world: &World) -> Vec<String> {
    let plan = promql::compile("backstop_rollback_ready").unwrap();
    let promql::Reading::Points(points) = promql::evaluate(&plan, world.engine.store(), world.now, Span::mins(5))
    else {
        panic!("series of the engine's own may be missing")
    };
    let mut said: Vec<String> = points.iter().map(|p| format!("{} {}", p.labels.get("reason"), p.value)).collect();
    said.sort();
    said
}

#[test]
fn during_a_watch_the_engine_says_what_a_rollback_would_fail_for() {
    let rules = || config::of_packs(&["self"], &config::Options::of_process()).config.unwrap().rules;
    let announced = |plan: Option<String>, previous: Option<&str>| Command::DeployStart {
        version: "2.0".into(),
        previous: previous.map(String::from),
        plan,
        live: true,
        force: false,
        by: "root".into(),
    };
    let sealed = || Some("ab".repeat(32));
    for (mode, plan, previous, wanted, level) in [
        (Mode::Ask, sealed(), Some("1.0"), "degraded 1,no-previous 1,not-sealed 1,steps 1", Level::Ok),
        (Mode::Auto, sealed(), None, "degraded 1,no-previous 0,not-sealed 1,steps 1", Level::Warning),
        (Mode::Ask, None, Some("1.0"), "degraded 1,no-previous 1,not-sealed 0,steps 1", Level::Warning),
        (Mode::Observe, None, None, "", Level::Ok),
    ] {
        let mut world = World::new(config(rules(), mode));
        world.pass_until(BEGIN + Span::mins(1));
        assert!(readiness(&world).is_empty(), "nothing is watched");
        world.command(announced(plan, previous));
        world.pass_until(BEGIN + Span::mins(4));
        assert_eq!(readiness(&world).join(","), wanted);
        assert_eq!(world.level("not-ready"), level);
    }
    // What stands in the way for a while, and what has run already.
    let mut world = World::new(config(rules(), Mode::Ask));
    world.executes = Some(ExecutionEnd::Completed);
    world.command(announced(sealed(), Some("1.0")));
    world.put(Input::Degraded(Some("disk full".into())));
    world.pass_until(BEGIN + Span::mins(3));
    assert_eq!(world.level("not-ready"), Level::Warning);
    world.put(Input::Degraded(None));
    world.pass_until(BEGIN + Span::mins(6));
    assert_eq!(world.level("not-ready"), Level::Ok);
    let start = Command::RollbackStart { by: "anna".into(), reason: "it is bad".into(), overrides: Vec::new() };
    assert!(matches!(world.command(start), Reply::Done { .. }));
    world.pass_until(BEGIN + Span::mins(7));
    assert!(readiness(&world).is_empty(), "it is taken back once");
}

#[test]
fn a_firing_rule_is_firing_at_once_after_a_restart_and_says_nothing_twice() {
    let mut world = World::new(config(vec![errors()], Mode::Observe));
    let mut service = Service::new();
    service.serve(&mut world, 60, 30.0);
    assert_eq!(world.levels(), ["errors ok->CRITICAL"]);
    world.restart();
    assert_eq!(world.level("errors"), Level::Critical);
    service.serve(&mut world, 30, 30.0);
    assert_eq!(world.levels(), ["errors ok->CRITICAL"]);
    service.serve(&mut world, 60, 0.0);
    assert_eq!(world.levels(), ["errors ok->CRITICAL", "errors CRITICAL->ok"]);
}

#[test]
fn a_restart_while_the_steps_run_asks_for_the_same_execution_again() {
    let mut world = World::new(config(vec![errors()], Mode::Auto));
    let mut service = Service::new();
    service.serve(&mut world, 20, 0.0);
    world.deploy("2.0", "1.0");
    service.serve(&mut world, 42, 30.0);
    let asked = |w: &World| -> Vec<String> {
        let name = |e: &Effect| if let Effect::Execute(e) = e { Some(e.execution.clone()) } else { None };
        w.effects.iter().filter_map(name).collect()
    };
    let first = asked(&world);
    assert_eq!(first.len(), 1);
    world.effects.clear();
    world.restart();
    assert_eq!(asked(&world), first, "the same name, so that the executor knows it");
    let execution = first[0].clone();
    world.put(Input::Execution { execution, pid: None, steps: vec![], end: Some(ExecutionEnd::Completed) });
    service.serve(&mut world, 60, 0.0);
    assert_eq!(world.run_outcome(), Some("verified"));
}

#[test]
fn removing_a_rule_ends_its_alerts_as_gone() {
    let mut world = World::new(config(vec![errors(), latency()], Mode::Observe));
    let mut service = Service::new();
    service.serve(&mut world, 60, 30.0);
    world.put(Input::Reload(Box::new(config(vec![latency()], Mode::Observe))));
    let gone = world.events.iter().any(|e| matches!(e, Event::Rule(Change::Level(t)) if t.gone && t.rule == "errors"));
    assert!(gone && world.engine.state().alerts.is_empty());
}

/// Any line about missing memory is critical, and a criterion after 1 min; the log is one of the sources.
fn about_lines() -> Config {
    let mut rule = rule("oom", expression(r#"increase(log_matches_total{pattern="oom"}[2m])"#), Unit::Count);
    rule.critical = Some(above("0", Span::ZERO));
    rule.rollback = when_critical(Span::mins(1));
    let mut config = config(vec![rule], Mode::Ask);
    config.sources.push(SourceInfo::own(SourceRef::new("log", "app"), vec!["log_matches_total"]));
    config
}

/// The words of the lines that each notice of an alert or a question shows, with how many are like them.
fn told_lines(world: &World) -> Vec<(String, Vec<String>)> {
    let words = |lines: &[Line]| {
        lines.iter().map(|l| format!("{} ({})", l.words(), l.counted().unwrap_or_default())).collect::<Vec<_>>()
    };
    let told = |effect: &Effect| {
        let Effect::Deliver(sending) = effect else { return None };
        match &sending.delivery.notice.story {
            Story::Alert { because, .. } => Some(("alert".to_string(), words(&because.lines))),
            Story::RollbackAsked { because, .. } => Some(("question".into(), words(&because.lines))),
            Story::Resolved { now, .. } => Some(("end".into(), words(&now.as_ref()?.lines))),
            _ => None,
        }
    };
    world.effects.iter().filter_map(told).collect()
}

#[test]
fn an_alert_about_lines_shows_them_and_so_does_what_follows_from_it() {
    let mut world = World::new(about_lines());
    world.deploy("2.0", "1.0");
    let at = |n: i64| BEGIN + Span(INTERVAL.0 * n);
    (1..=4).for_each(|n| world.read(at(n), 0.0, &[]));
    world.read(at(5), 41.0, &["worker 17: out of memory", "worker 3: out of memory", "the cache is gone"]);
    let first = ["shop/api ERROR the cache is gone (41 like it in 2 min)", "shop/api ERROR worker 3: out of memory ()"];
    assert_eq!(world.levels(), ["oom ok->CRITICAL"]);
    assert_eq!(told_lines(&world), [("alert".to_string(), first.map(String::from).to_vec())]);
    let shown = |world: &World| world.engine.snapshot(world.now).rules[0].alerts[0].because.clone().unwrap().lines;
    assert_eq!(shown(&world).len(), 2);

    // The criterion shows what came until it was due, right before the last read; a restart keeps what was decided, not
    // the lines themselves.
    (6..=9).for_each(|n| world.read(at(n), 41.0 + n as f64, &["out of memory again"]));
    let question = told_lines(&world).pop().unwrap();
    assert_eq!(question.0, "question");
    assert_eq!(question.1[0], "shop/api ERROR out of memory again (49 like it in 2 min)");
    assert_eq!(question.1.len(), 3);

    assert!(matches!(
        world.command(Command::RollbackApprove { run: None, by: "anna".into(), reason: None }),
        Reply::Done { .. }
    ));
    let evidence =
        world.effects.iter().find_map(|e| if let Effect::Evidence { content, .. } = e { Some(content) } else { None });
    let evidence: serde_json::Value = serde_json::from_str(evidence.unwrap()).unwrap();
    assert_eq!(evidence["lines"].as_array().unwrap().len(), 7);
    assert_eq!(evidence["lines"][0]["text"], "worker 17: out of memory");
    assert_eq!(evidence["lines"][0]["source"], "log.app");

    world.restart();
    assert_eq!(shown(&world).len(), 3);

    // All is well again: nothing is shown beside it.
    (10..=30).for_each(|n| world.read(at(n), 50.0, &[]));
    assert_eq!(world.levels().last().unwrap(), "oom CRITICAL->ok");
    assert_eq!(told_lines(&world).pop(), Some(("end".into(), vec![])));
    assert_eq!(shown(&world), []);
}

#[test]
fn lines_outlive_a_reload_unless_their_source_is_gone() {
    for (keeps, wanted) in [(true, 1), (false, 0)] {
        let mut world = World::new(about_lines());
        let at = |n: i64| BEGIN + Span(INTERVAL.0 * n);
        (1..=4).for_each(|n| world.read(at(n), 0.0, &[]));
        // Nothing is judged yet: the counter did not move.
        world.read(at(5), 0.0, &["out of memory"]);
        let mut config = about_lines();
        config.sources.retain(|info| keeps || info.source.kind != "log");
        world.put(Input::Reload(Box::new(config)));
        world.put(Input::Reload(Box::new(about_lines())));
        world.read(at(6), 0.0, &[]);
        world.read(at(7), 1.0, &[]);
        assert_eq!(world.levels(), ["oom ok->CRITICAL"]);
        assert_eq!(told_lines(&world)[0].1.len(), wanted, "{keeps}");
    }
}

#[test]
fn a_message_that_fails_is_tried_again_with_the_same_id() {
    let mut world = World::new(config(vec![latency()], Mode::Observe));
    world.accepts = false;
    let mut at = BEGIN;
    for _ in 0..12 {
        world.look(at, "api", &[("latency_seconds", &[], 2.0)], true);
        at += INTERVAL;
    }
    let sent = |w: &World| -> Vec<Id> {
        let id = |e: &Effect| if let Effect::Deliver(s) = e { Some(s.delivery.id.clone()) } else { None };
        w.effects.iter().filter_map(id).collect()
    };
    let first = sent(&world);
    assert_eq!(first.len(), 1);
    let result = Sent::Retry { error: "connection refused".into(), after: None };
    world.put(Input::Receipt(Receipt { id: first[0].clone(), at: world.now, result }));
    world.restart();
    world.pass_until(world.now + Span::mins(1));
    let all = sent(&world);
    assert!(all.len() >= 2 && all.iter().all(|id| *id == first[0]), "{all:?}");
}

/// Three targets with 60 series, ten rules, every 15 s for 48 hours, one incident and one rollback.
/// Nobody waits for a virtual watch; `docs/PERFORMANCE.md` has the time it takes.
#[test]
fn a_48_hour_watch_takes_seconds() {
    let mut rules = vec![errors(), target_down(), latency()];
    for i in 0..7 {
        let text = format!("sum by (job) (rate(work_total{{shard=~\"{i}|1{i}\"}}[5m]))");
        let mut rule = rule(&format!("work-{i}"), expression(&text), Unit::Count);
        rule.warning = Some(above("1000", Span::mins(1)));
        rules.push(rule);
    }
    let mut world = World::new(config(rules, Mode::Auto));
    world.executes = Some(ExecutionEnd::Completed);
    world.deploy("2.0", "1.0");
    let shards: Vec<String> = (0..17).map(|i| i.to_string()).collect();
    let (mut all, mut failed) = (0.0, 0.0);
    let bad = 6 * 240..6 * 240 + 32;
    for i in 0..(48 * 240 + 1) {
        let at = BEGIN + INTERVAL.times(i);
        all += 100.0;
        failed += if bad.contains(&i) { 40.0 } else { 0.0 };
        for (n, source) in ["api", "worker", "web"].iter().enumerate() {
            let labels: Vec<[(&str, &str); 1]> = shards.iter().map(|s| [("shard", s.as_str())]).collect();
            let mut samples: Vec<Given<'_>> = labels.iter().map(|l| ("work_total", &l[..], (i * 10) as f64)).collect();
            if n == 0 {
                samples.push(("latency_seconds", &[], 0.1));
                samples.push(("requests_total", &[("code", "200")], all - failed));
                samples.push(("requests_total", &[("code", "500")], failed));
            }
            world.look(at + Span::secs(n as i64), source, &samples, true);
        }
        world.effects.clear();
    }
    assert_eq!(world.run_outcome(), Some("verified"));
    assert_eq!(world.verdict(), Some("rolled back"));
    assert!(world.levels().contains(&"errors ok->CRITICAL".to_string()));
}

/// Memory against ten minutes ago, beyond the hot window of five.
fn grown() -> Rule {
    let mut rule = rule("grown", expression("memory - memory offset 10m"), Unit::Count);
    rule.warning = Some(above("50", Span::ZERO));
    rule
}

fn on_disk(rules: Vec<Rule>) -> Config {
    let limits = Limits { hot: Span::mins(5), ..Limits::default() };
    Config { limits, on_disk: true, ..config(rules, Mode::Observe) }
}

#[test]
fn what_the_store_takes_is_handed_out_to_be_kept_stale_markers_and_checkpoint_included() {
    let mut world = World::new(on_disk(vec![latency()]));
    let kept = |world: &mut World| -> Vec<Kept> {
        let effects = std::mem::take(&mut world.effects).into_iter();
        let kept = effects.filter_map(|effect| if let Effect::Persist(kept) = effect { Some(*kept) } else { None });
        kept.filter(|kept| matches!(kept.writer, Writer::Target { .. })).collect()
    };
    world.effects.clear();
    world.look(BEGIN + INTERVAL, "api", &[("memory", &[], 5.0)], true);
    world.look(BEGIN + INTERVAL.times(2), "api", &[], false);
    let kept = kept(&mut world);
    let values = |kept: &Kept| -> Vec<(String, f64)> {
        kept.samples.iter().map(|sample| (sample.labels.name().to_string(), sample.value)).collect()
    };
    assert_eq!(kept.len(), 2);
    assert_eq!((kept[0].at, values(&kept[0]).len()), (BEGIN + INTERVAL, 3));
    assert!(values(&kept[1]).iter().any(|(name, value)| name == "memory" && is_stale(*value)), "{kept:?}");
    let Writer::Target { instance, good, .. } = &kept[1].writer else { panic!("{kept:?}") };
    assert_eq!((instance.as_str(), *good), ("a:1", false));
}

#[test]
fn a_rule_that_reaches_beyond_the_hot_window_has_no_data_until_its_past_is_read() {
    let mut world = World::new(on_disk(vec![grown()]));
    let wanted: Vec<Vec<Reach>> = world
        .effects
        .iter()
        .filter_map(|e| if let Effect::Load { wanted, .. } = e { Some(wanted.clone()) } else { None })
        .collect();
    assert_eq!(wanted.len(), 1, "asked for once, at the start");
    assert!(wanted[0].iter().any(|reach| reach.to - reach.from >= Span::mins(15)), "{wanted:?}");
    let look =
        |world: &mut World, i: i64| world.look(BEGIN + INTERVAL.times(i), "api", &[("memory", &[], 100.0)], true);
    (1..5).for_each(|i| look(&mut world, i));
    let why = |world: &World| world.engine.snapshot(world.now).rules[0].no_data.clone().map(|(_, why)| why);
    assert!(why(&world).is_some_and(|why| why.contains("loading")), "{:?}", why(&world));
    let labels = Labels::new([("__name__", "memory"), ("job", "api"), ("instance", "a:1")]);
    let times: Vec<i64> = (-40..1).map(|i| (BEGIN + INTERVAL.times(i)).0).collect();
    let past = Stretch::new(labels, times.clone(), vec![20.0; times.len()]);
    world.put(Input::Loaded { ticket: 0, stretches: Vec::new(), end: Some(Ok(())) });
    assert!(why(&world).is_some(), "the answer to an older question");
    world.put(Input::Loaded { ticket: 1, stretches: vec![past], end: None });
    world.put(Input::Loaded { ticket: 1, stretches: Vec::new(), end: Some(Ok(())) });
    (5..10).for_each(|i| look(&mut world, i));
    assert_eq!(why(&world), None);
    assert_eq!(world.level("grown"), Level::Warning, "80 more than ten minutes ago");
}

#[test]
fn a_past_that_cannot_be_read_fails_the_rule_and_no_other() {
    let mut world = World::new(on_disk(vec![grown(), latency()]));
    let end = Some(Err("samples/000001.seg: a checksum does not hold".to_string()));
    world.put(Input::Loaded { ticket: 1, stretches: Vec::new(), end });
    for i in 1..5 {
        world.look(BEGIN + INTERVAL.times(i), "api", &[("memory", &[], 1.0), ("latency_seconds", &[], 0.1)], true);
    }
    let rules = world.engine.snapshot(world.now).rules;
    assert!(rules[0].failed.as_ref().is_some_and(|why| why.contains("checksum")), "{:?}", rules[0].failed);
    assert_eq!((&rules[1].failed, &rules[1].no_data), (&None, &None));
}

/// What the container `shop_api_1` runs, looked at `at`.
fn image(world: &mut World, at: Timestamp, version: &str) {
    let image = format!("shop/api:{version}");
    let labels = [("name", "shop_api_1"), ("service", "api"), ("image", image.as_str()), ("version", version)];
    world.look_as("container", at, "api", &[("container_info", &labels, 1.0)], true);
}

/// Told by containers, as `app.version = { container = "api" }` would be where that names a service.
fn told_by_containers(on_change: OnChange) -> Running {
    let selector = promql::compile_selector("container_info{service=\"api\"}").unwrap();
    Running { is_read: false, told: Some(Told { selector, label: "version".into() }), on_change }
}

/// The titles of messages about changes, in the order they were sent; forgets them.
fn changes_told(world: &mut World) -> Vec<String> {
    let told = std::mem::take(&mut world.effects).into_iter().filter_map(|effect| match effect {
        Effect::Deliver(sending) if sending.delivery.notice.thread == "changes" => Some(sending.delivery.notice.story),
        _ => None,
    });
    told.map(|story| match story {
        Story::Agent { title, .. } => title,
        other => panic!("{other:?}"),
    })
    .collect()
}

#[test]
fn what_ran_at_t0_is_part_of_the_deployment_and_what_changes_with_it_too() {
    let mut world = World::new(Config { running: told_by_containers(OnChange::Report), ..config(vec![], Mode::Auto) });
    image(&mut world, BEGIN + INTERVAL, "1.4.1");
    world.deploy("1.4.2", "1.4.1");
    image(&mut world, BEGIN + INTERVAL.times(2), "1.4.2");
    let facts = |world: &World| world.engine.snapshot(world.now).deployment.unwrap().facts;
    let wanted = [("container shop_api_1", "shop/api:1.4.2"), ("version", "1.4.2")];
    assert_eq!(facts(&world), wanted.map(|(thing, how)| (thing.to_string(), how.to_string())).into());
    world.restart();
    world.pass_until(BEGIN + Span::mins(5));
    assert_eq!(changes_told(&mut world), Vec::<String>::new(), "the deployment was announced");
    assert_eq!(facts(&world)["version"], "1.4.2", "kept over a restart");
    // Long after T0 it is another matter: what is watched is no longer what was deployed.
    image(&mut world, BEGIN + Span::mins(10), "1.4.3");
    world.pass_until(BEGIN + Span::mins(11));
    assert_eq!(
        changes_told(&mut world),
        ["CHANGED, and nobody announced it: shop runs 1.4.3 (before: 1.4.2)"],
        "one message for the version and its container"
    );
    assert_eq!(facts(&world)["version"], "1.4.2", "the record of T0 stays");
    world.pass_until(BEGIN + Span::hours(49));
    assert_eq!(world.verdict(), Some("inconclusive"));
}

#[test]
fn a_change_while_the_agent_was_down_is_told_and_only_once() {
    let mut world = World::new(Config { running: told_by_containers(OnChange::Report), ..config(vec![], Mode::Auto) });
    image(&mut world, BEGIN + INTERVAL, "1.4.1");
    world.restart();
    image(&mut world, BEGIN + Span::mins(3), "1.4.2");
    assert_eq!(changes_told(&mut world), Vec::<String>::new(), "others may follow");
    // The message is owed, whatever happens to the agent.
    world.restart();
    world.pass_until(BEGIN + Span::mins(4));
    assert_eq!(changes_told(&mut world).len(), 1);
    image(&mut world, BEGIN + Span::mins(5), "1.4.2");
    world.pass_until(BEGIN + Span::mins(6));
    assert_eq!(changes_told(&mut world), Vec::<String>::new());
}

#[test]
fn a_version_that_series_tell_is_one_or_it_is_not_known() {
    let mut world = World::new(Config { running: told_by_containers(OnChange::Report), ..config(vec![], Mode::Auto) });
    let running = |world: &World| world.engine.snapshot(world.now).running;
    assert_eq!(running(&world), None);
    image(&mut world, BEGIN + INTERVAL, "1.4.1");
    assert_eq!(running(&world).as_deref(), Some("1.4.1"));
    let of = |name: &'static str, version: &'static str| [("name", name), ("service", "api"), ("version", version)];
    let (old, new) = (of("shop_api_1", "1.4.1"), of("shop_api_2", "1.4.2"));
    world.look_as(
        "container",
        BEGIN + INTERVAL.times(2),
        "api",
        &[("container_info", &old, 1.0), ("container_info", &new, 1.0)],
        true,
    );
    assert_eq!(running(&world), None, "two versions run");
    world.look_as("container", BEGIN + INTERVAL.times(3), "api", &[("container_info", &new, 1.0)], true);
    assert_eq!(running(&world).as_deref(), Some("1.4.2"));
    world.look_as("container", BEGIN + INTERVAL.times(4), "api", &[], false);
    assert_eq!(running(&world), None, "nothing runs");
}

#[test]
fn a_version_that_nobody_announced_is_watched_where_that_is_wanted_and_asks_before_it_goes_back() {
    let running = told_by_containers(OnChange::Watch);
    let mut world = World::new(Config { running, ..config(vec![errors()], Mode::Auto) });
    let mut service = Service::new();
    image(&mut world, BEGIN + INTERVAL, "1.4.1");
    service.serve(&mut world, 30, 0.0);
    let at = world.now + INTERVAL;
    image(&mut world, at, "1.4.2");
    world.pass_until(at + Span::mins(1));
    let deployment = world.engine.snapshot(world.now).deployment.unwrap();
    assert_eq!((deployment.version.as_str(), deployment.previous.as_deref()), ("1.4.2", Some("1.4.1")));
    assert_eq!(deployment.t0, Some(at));
    assert_eq!(changes_told(&mut world).len(), 1, "it is told as well");
    assert_eq!(world.engine.snapshot(world.now).rollback.mode, "ask", "configured is auto");
}

#[test]
fn what_stood_for_missing_data_ends_when_each_label_set_speaks_for_itself() {
    let mut rule = latency();
    rule.no_data = NoData::As(Level::Warning);
    let mut world = World::new(config(vec![rule], Mode::Observe));
    for i in 1..20 {
        world.look(BEGIN + INTERVAL.times(i), "api", &[], true);
    }
    assert_eq!(world.levels(), ["latency ok->WARNING"], "nothing was ever seen, and that is trouble here");
    for i in 20..40 {
        world.look(BEGIN + INTERVAL.times(i), "api", &[("latency_seconds", &[("route", "/")], 0.1)], true);
    }
    assert_eq!(world.levels(), ["latency ok->WARNING", "latency WARNING->ok"]);
}

#[test]
fn when_a_deployment_was_announced_and_live_is_a_series() {
    let mut world = World::new(config(vec![], Mode::Observe));
    let newest = |world: &World, event: &str| {
        let labels = [("__name__", "backstop_deployment_timestamp_seconds"), ("event", event)];
        world.engine.store().newest_of(&Labels::new(labels))
    };
    world.pass_until(BEGIN + Span::mins(1));
    assert_eq!(newest(&world, "start"), None);
    world.deploy("1.4.2", "1.4.1");
    world.pass_until(BEGIN + Span::mins(2));
    let at = (BEGIN + Span::mins(1)).0 as f64 / 1000.0;
    assert_eq!((newest(&world, "start"), newest(&world, "complete")), (Some(at), Some(at)));
}

#[test]
fn a_digest_that_is_known_later_and_a_change_that_was_taken_back_are_none() {
    let mut world = World::new(Config { running: told_by_containers(OnChange::Report), ..config(vec![], Mode::Auto) });
    let see = |world: &mut World, i: i64, digest: &str| {
        let labels = [("name", "shop_api_1"), ("service", "api"), ("image", "shop/api:1"), ("digest", digest)];
        world.look_as("container", BEGIN + INTERVAL.times(i), "api", &[("container_info", &labels, 1.0)], true);
    };
    for (i, digest) in [(1, ""), (2, "sha256:aa"), (12, ""), (13, "sha256:aa")] {
        see(&mut world, i, digest);
    }
    world.pass_until(BEGIN + Span::mins(10));
    assert_eq!(changes_told(&mut world), Vec::<String>::new());
    see(&mut world, 41, "");
    see(&mut world, 42, "sha256:bb");
    world.pass_until(BEGIN + Span::mins(20));
    assert_eq!(
        changes_told(&mut world),
        ["CHANGED, and nobody announced it: container shop_api_1 shop/api:1 sha256:bb (before: shop/api:1 sha256:aa)"]
    );
}

#[test]
fn a_version_that_ended_does_not_run_and_one_that_never_ran_is_no_way_back() {
    let mut world = World::new(Config { running: told_by_containers(OnChange::Report), ..config(vec![], Mode::Auto) });
    let own = [("name", "shop_api_1"), ("service", "api")];
    let info = |version: &'static str| [("name", "shop_api_1"), ("service", "api"), ("version", version)];
    let look = |world: &mut World, i: i64, version: &'static str, runs: f64| {
        let samples: [Given<'_>; 2] = [("container_info", &info(version), 1.0), ("container_running", &own, runs)];
        world.look_as("container", BEGIN + INTERVAL.times(i), "api", &samples, true);
    };
    look(&mut world, 1, "1.0", 1.0);
    let running = |world: &World| world.engine.snapshot(world.now).running;
    assert_eq!(running(&world).as_deref(), Some("1.0"));
    look(&mut world, 2, "1.0", 0.0);
    assert_eq!(running(&world), None, "its container has ended");
    look(&mut world, 3, "1.0", 1.0);
    // Announced, and never there.
    let start = |world: &mut World, version: &str| {
        world.command(Command::DeployStart {
            version: version.into(),
            previous: None,
            plan: Some("ab".repeat(32)),
            live: true,
            force: false,
            by: "root".into(),
        });
    };
    start(&mut world, "7.7");
    (4..30).for_each(|i| look(&mut world, i, "1.0", 1.0));
    let deployment = world.engine.snapshot(world.now).deployment.unwrap();
    assert_eq!(deployment.because, ["it was announced as 7.7 and 1.0 runs: did the deployment happen?"]);
    start(&mut world, "1.1");
    let deployment = world.engine.snapshot(world.now).deployment.unwrap();
    assert_eq!(deployment.previous.as_deref(), Some("1.0"), "what was read, not what was said");
}

#[test]
fn a_version_that_was_never_read_proves_no_rollback() {
    let mut rule = errors();
    rule.rollback = when_critical(Span::mins(1));
    let running = Running { is_read: true, ..Running::default() };
    let mut world = World::new(Config { running, ..config(vec![rule], Mode::Auto) });
    world.executes = Some(ExecutionEnd::Completed);
    let mut service = Service::new();
    service.serve(&mut world, 20, 0.0);
    world.deploy("2.0", "1.0");
    service.serve(&mut world, 30, 60.0);
    service.serve(&mut world, 60, 0.0);
    assert_ne!(world.run_outcome(), Some("verified"), "{:?}", world.rollback_events());
}

#[test]
fn a_version_that_begins_like_the_one_before_is_another() {
    let mut world = World::new(Config { running: told_by_containers(OnChange::Report), ..config(vec![], Mode::Auto) });
    for (i, version) in [(1, "1.1"), (40, "1.10"), (80, "1.1")] {
        image(&mut world, BEGIN + INTERVAL.times(i), version);
    }
    world.pass_until(BEGIN + Span::mins(30));
    assert_eq!(
        changes_told(&mut world),
        [
            "CHANGED, and nobody announced it: shop runs 1.10 (before: 1.1)",
            "CHANGED, and nobody announced it: shop runs 1.1 (before: 1.10)"
        ]
    );
}
