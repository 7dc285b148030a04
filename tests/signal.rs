//! What people and programs state: the engine in virtual time, and the real program with `kill -9`.

use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backstop::base::{Level, Span, Timestamp};
use backstop::config::{self, Options, SourceConfig};
use backstop::engine::command::{Command, Reply};
use backstop::engine::signals::{Say, Word};
use backstop::engine::{Config, Effect, Engine, Event, Input, SourceInfo, State};
use backstop::rule::Change;
use backstop::source::signal::{Posted, Signal};

use crate::support::{Scratch, mutate};

/// A moment in 2025 from which all scenarios count.
const BEGIN: Timestamp = Timestamp(1_761_640_000_000);

const SIGNALS: &str = r#"
[signal.security-critical]
text = "a vulnerability is exposed"

[signal.oncall]
lifetime = "8h"

[signal.tests]
expect = ['number failed == 0', 'number passed >= 180']

[signal.tickets]
kind = "count"

[rule.security]
expr     = 'backstop_signal{name="security-critical"}'
critical = { when = "== 1", for = "0s", keep = "0s" }

[rule.tickets]
expr     = 'sum_over_time(backstop_signal_new{name="tickets"}[30m])'
critical = { when = ">= 5", for = "0s", keep = "0s" }
"#;

fn loaded(folder: &Path, text: &str) -> config::Config {
    let path = folder.join("backstop.toml");
    std::fs::write(&path, text).unwrap();
    let options = Options {
        path: Some(path),
        sets: Vec::new(),
        state: Some("/var/lib/backstop".into()),
        stderr_is_terminal: false,
        host: "web-1".into(),
        env: |_| None,
    };
    let loaded = config::load(&options);
    loaded.config.clone().unwrap_or_else(|| panic!("{}", loaded.render(false)))
}

fn engine_config(text: &str, name: &str) -> Config {
    let folder = Scratch::new(name);
    let config = loaded(folder.path(), text);
    let signal = |source: &SourceConfig| match source {
        SourceConfig::Signal(config) => Some(Arc::new(Signal::new(config.clone()))),
        _ => None,
    };
    let signals: Vec<Arc<Signal>> = config.sources.iter().filter_map(signal).collect();
    let info = |signal: &Arc<Signal>| SourceInfo::own(signal.target().reference.clone(), signal.names());
    let sources = signals.iter().map(info).collect();
    Config { rules: config.rules, sources, signals, ..Config::new("shop", "web-1") }
}

/// An engine, its time, and what was journaled.
struct World {
    engine: Engine,
    now: Timestamp,
    events: Vec<Event>,
}

impl World {
    fn new(name: &str) -> World {
        let engine = Engine::new(engine_config(SIGNALS, name), State::default(), BEGIN, 7);
        let mut world = World { engine, now: BEGIN, events: Vec::new() };
        world.put(Input::Started { version: "test".into() });
        world
    }

    fn put(&mut self, input: Input) -> Vec<Effect> {
        let effects = self.engine.step(self.now, input);
        for effect in &effects {
            if let Effect::Journal(events) = effect {
                self.events.extend(events.iter().cloned());
            }
        }
        effects
    }

    /// Lets time pass, with a tick whenever the engine asks for one.
    fn pass(&mut self, span: Span) {
        let to = self.now + span;
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

    fn command(&mut self, command: Command) -> Reply {
        let effects = self.put(Input::Command { ticket: 1, command });
        let journal = effects.iter().position(|e| matches!(e, Effect::Journal(_)));
        let reply = effects.iter().position(|e| matches!(e, Effect::Reply { .. })).expect("every command is answered");
        assert!(journal.is_none_or(|journal| journal < reply), "journaled before it is answered");
        let Effect::Reply { reply, .. } = &effects[reply] else { unreachable!("it was just found") };
        reply.clone()
    }

    fn say(&mut self, name: &str, say: Say) -> Reply {
        let reason = Some("because".to_string());
        self.command(Command::Signal(Word { name: name.into(), say, reason, by: "anna".into() }))
    }

    fn deploy(&mut self, version: &str) {
        let command = Command::DeployStart {
            version: version.into(),
            previous: None,
            plan: None,
            live: true,
            force: false,
            by: "root".into(),
        };
        assert!(matches!(self.command(command), Reply::Done { .. }));
    }

    /// The same world after a crash: a new engine on the fold of what was journaled, by the whole or by a snapshot.
    fn restart(&mut self) {
        let mut state = State::default();
        self.events.iter().for_each(|event| state.apply(event));
        let snapshot = serde_json::to_string(self.engine.state()).unwrap();
        let again: State = serde_json::from_str(&snapshot).unwrap();
        assert_eq!(serde_json::to_value(&again.signals).unwrap(), serde_json::to_value(&state.signals).unwrap());
        self.engine = Engine::new(self.engine.config().clone(), again, self.now, 11);
        self.put(Input::Started { version: "test".into() });
    }

    /// State and total of a signal, as `status` sees it.
    fn stands(&self, name: &str) -> String {
        let snapshot = self.engine.snapshot(self.now);
        let signal = snapshot.signals.into_iter().find(|s| s.name == name).unwrap();
        format!("{:?} {} {}", signal.state, signal.holds, signal.total)
    }

    fn level(&self, rule: &str) -> Level {
        self.engine.snapshot(self.now).rules.iter().find(|r| r.name == rule).unwrap().level
    }

    /// When a rule became critical.
    fn critical_at(&self, rule: &str) -> Vec<Timestamp> {
        let at = |event: &Event| match event {
            Event::Rule(Change::Level(t)) if t.rule == rule && t.to == Level::Critical => Some(t.at),
            _ => None,
        };
        self.events.iter().filter_map(at).collect()
    }
}

fn set() -> Say {
    Say::Set { posted: None, lasting: None, rise: None }
}

fn rise(n: u64) -> Say {
    Say::Set { posted: None, lasting: None, rise: Some(n) }
}

fn result(passed: f64, failed: f64) -> Say {
    let values = [("passed".to_string(), passed), ("failed".to_string(), failed)].into();
    Say::Set { posted: Some(Posted { values, json: None }), lasting: None, rise: None }
}

#[test]
fn a_rule_over_a_signal_is_judged_in_the_step_that_brings_it() {
    let mut world = World::new("signal_at_once");
    world.pass(Span::millis(61_234));
    assert_eq!(world.critical_at("security"), []);
    world.say("security-critical", set());
    assert_eq!(world.critical_at("security"), [world.now], "at once, not at the next round");
    world.pass(Span::secs(3));
    world.say("security-critical", Say::Clear);
    assert_eq!(world.level("security"), Level::Ok, "and its end as well");
}

#[test]
fn a_rule_over_new_events_counts_each_of_them_once() {
    let mut world = World::new("signal_events");
    world.pass(Span::secs(40));
    for n in 1..=4 {
        world.say("tickets", rise(1));
        world.pass(Span::millis(if n % 2 == 0 { 7_001 } else { 1 }));
        assert_eq!(world.level("tickets"), Level::Ok, "{n} of 5");
    }
    world.say("tickets", rise(1));
    assert_eq!(world.critical_at("tickets"), [world.now], "the fifth, at once");
}

#[test]
fn two_words_in_one_millisecond_are_both_counted() {
    let mut world = World::new("signal_two_at_once");
    world.pass(Span::secs(40));
    world.say("tickets", rise(3));
    world.say("tickets", rise(2));
    assert_eq!(world.stands("tickets"), "Set true 5");
    world.pass(Span::millis(2));
    assert_eq!(world.level("tickets"), Level::Critical, "three and two are five");
    world.pass(Span::mins(31));
    assert_eq!(world.level("tickets"), Level::Ok, "and no more than that: the window passes over them");
}

#[test]
fn a_rule_over_a_signal_that_is_never_set_has_data_and_is_ok() {
    let mut world = World::new("signal_quiet");
    world.pass(Span::mins(10));
    let snapshot = world.engine.snapshot(world.now);
    for rule in &snapshot.rules {
        assert!(rule.no_data.is_none() && rule.failed.is_none(), "{}: {:?} {:?}", rule.name, rule.no_data, rule.failed);
        assert_eq!(rule.level, Level::Ok, "{}", rule.name);
    }
    assert!(snapshot.targets.is_empty(), "a signal is no target that proves a recovery");
    // Between two rounds nothing wakes the engine for its signals.
    let events = world.events.len();
    world.pass(Span::mins(10));
    assert_eq!(world.events.len(), events, "and nothing is journaled");
}

#[test]
fn a_result_that_is_not_as_expected_is_kept_and_said_to_be_bad() {
    let mut world = World::new("signal_result");
    let Reply::Bad { text } = world.say("tests", result(184.0, 2.0)) else { panic!("a bad result") };
    assert!(
        text.starts_with("tests is set, until the next deployment\nnot as expected: number failed == 0: "),
        "{text}"
    );
    assert_eq!(world.stands("tests"), "Set false 1");
    world.pass(Span::mins(3));
    assert_eq!(world.level("target-down"), Level::Critical, "a result that is bad is a target that is down");
    assert!(matches!(world.say("tests", result(184.0, 0.0)), Reply::Done { .. }));
    assert_eq!(world.stands("tests"), "Set true 2");
    world.pass(Span::mins(3));
    assert_eq!(world.level("target-down"), Level::Ok);
    assert!(matches!(world.say("tests", set()), Reply::Wrong { .. }), "nothing was posted");
}

#[test]
fn a_restart_after_any_word_changes_nothing() {
    let mut world = World::new("signal_restart");
    for (name, say, wanted) in [
        ("security-critical", set(), "Set true 1"),
        ("security-critical", Say::Reject { lasting: None }, "Rejected false 1"),
        ("security-critical", Say::Clear, "Unset false 1"),
        ("tests", result(200.0, 1.0), "Set false 1"),
        ("tests", result(200.0, 0.0), "Set true 2"),
        ("tickets", rise(4), "Set true 4"),
        ("tickets", Say::Clear, "Unset false 0"),
        ("tickets", rise(2), "Set true 2"),
        ("oncall", set(), "Set true 1"),
    ] {
        world.say(name, say);
        let before = world.engine.snapshot(world.now).signals;
        world.restart();
        assert_eq!(world.engine.snapshot(world.now).signals, before);
        assert_eq!(world.stands(name), wanted, "{name}");
        world.pass(Span::mins(1));
    }
    // A lifetime runs out at its time, also when the agent was away at that moment.
    world.now += Span::hours(9);
    world.restart();
    assert_eq!(world.stands("oncall"), "Unset false 1");
    let ran_out = world.events.iter().filter(|e| matches!(e, Event::Signal(e) if e.log_line().ends_with("ran out")));
    assert_eq!(ran_out.count(), 1);
}

#[test]
fn a_lifetime_runs_out_at_its_time() {
    let mut world = World::new("signal_lifetime");
    world.say("security-critical", Say::Set { posted: None, lasting: Some(Span::mins(2)), rise: None });
    world.pass(Span::mins(2) - Span::millis(1));
    assert_eq!(world.level("security"), Level::Critical);
    world.pass(Span::millis(1));
    world.put(Input::Tick);
    assert_eq!(world.stands("security-critical"), "Unset false 1");
    assert_eq!(world.level("security"), Level::Ok, "at once");
}

#[test]
fn a_deployment_ends_what_was_stated_of_the_version_before() {
    let mut world = World::new("signal_deployment");
    world.say("security-critical", set());
    world.say("oncall", set());
    world.say("tickets", rise(2));
    world.pass(Span::secs(5));
    world.deploy("2.0");
    assert_eq!(world.stands("security-critical"), "Unset false 1");
    assert_eq!(world.stands("oncall"), "Set true 1", "it has a lifetime of its own");
    assert_eq!(world.stands("tickets"), "Set true 2", "a count goes on");
    world.say("security-critical", set());
    world.restart();
    assert_eq!(world.stands("security-critical"), "Set true 2", "stated of the new one");
}

#[test]
fn degraded_takes_no_word() {
    let mut world = World::new("signal_degraded");
    world.put(Input::Degraded(Some("disk full".into())));
    for say in [set(), Say::Reject { lasting: None }, Say::Clear] {
        let Reply::Refused { why, .. } = world.say("security-critical", say) else { panic!("refused") };
        assert!(why.contains("disk full"), "{why}");
    }
    assert_eq!(world.stands("security-critical"), "Unset false 0");
    world.put(Input::Degraded(None));
    assert!(matches!(world.say("security-critical", set()), Reply::Done { .. }));
}

#[test]
fn a_clock_step_leaves_what_is_left_of_a_lifetime() {
    for by in [Span::hours(5), -Span::hours(5)] {
        let mut world = World::new(if by > Span::ZERO { "signal_clock_on" } else { "signal_clock_back" });
        world.say("oncall", set());
        world.pass(Span::hours(1));
        world.now += by;
        world.put(Input::ClockStepped { by });
        world.pass(Span::hours(7) - Span::secs(1));
        assert_eq!(world.stands("oncall"), "Set true 1", "{by}");
        world.pass(Span::secs(2));
        assert_eq!(world.stands("oncall"), "Unset false 1", "{by}");
    }
}

#[test]
fn a_reload_forgets_signals_that_are_not_declared_any_more() {
    let mut world = World::new("signal_reload");
    world.say("oncall", set());
    world.say("tickets", rise(3));
    let text = SIGNALS.replace("[signal.oncall]\nlifetime = \"8h\"\n", "");
    world.put(Input::Reload(Box::new(engine_config(&text, "signal_reload_without"))));
    world.put(Input::Reload(Box::new(engine_config(SIGNALS, "signal_reload_again"))));
    assert_eq!((world.stands("oncall"), world.stands("tickets")), ("Unset false 0".into(), "Set true 3".into()));
    world.restart();
    assert_eq!(world.stands("oncall"), "Unset false 0");
}

#[test]
fn more_signals_than_can_be_held_are_refused() {
    let folder = Scratch::new("signal_many");
    let text = |n: usize| (0..n).map(|i| format!("[signal.s{i}]\n")).collect::<String>();
    assert_eq!(loaded(folder.path(), &text(256)).sources.len(), 256);
    let refused = std::panic::catch_unwind(|| loaded(folder.path(), &text(257))).unwrap_err();
    let said = refused.downcast_ref::<String>().cloned().unwrap_or_default();
    assert!(said.contains("more than 256 signals"), "{said}");
}

/// 20,000 inputs: a posted result is taken whole or refused, and what is taken can be judged.
#[test]
fn mutation_of_posted_results() {
    let folder = Scratch::new("signal_mutation");
    let text = "[signal.x]\nexpect = ['json a.b == 1', 'every json c[*].ok == true', 'len body < 100', 'number failed == 0']\nvalues = { n = 'json a.b' }";
    let config = loaded(folder.path(), text);
    let Some(SourceConfig::Signal(config)) = config.sources.first() else { panic!("a signal") };
    let signal = Signal::new(config.clone());
    let corpus: [&[u8]; 5] = [
        br#"{"a": {"b": 1}, "c": [{"ok": true}, {"ok": false}]}"#,
        br#"[[[[[["\u00e4\\"]]]]]]"#,
        br#"{"a": 1e308, "b": -0.0, "c": null, "d": "\"{[", "e": []}"#,
        br#"  [1, 2.5, true]  "#,
        b"\"",
    ];
    let corpus: Vec<Vec<u8>> = corpus.iter().map(|bytes| bytes.to_vec()).collect();
    mutate::run("signal", &corpus, |bytes| {
        let Ok(json) = String::from_utf8(bytes.to_vec()) else { return };
        let posted = Posted { values: [("failed".to_string(), 0.0)].into(), json: Some(json.clone()) };
        let is_json = serde_json::from_str::<serde_json::Value>(&json).is_ok();
        let is_bounded = json.len() <= 65_536 && json.matches(['[', '{']).count() <= 64;
        assert!(is_json || posted.check().is_err(), "{json}");
        assert!(!(is_json && is_bounded) || posted.check().is_ok(), "{json}");
        if posted.check().is_ok() {
            let held = signal.hold(BEGIN, Some(&posted));
            assert_eq!(held.len(), 4);
            assert!(held.iter().all(|held| held.why.as_ref().is_none_or(|why| why.len() < 1000)), "{held:?}");
        }
    });
}

/// A folder with a configuration and the agent's process.
struct Stage {
    folder: Scratch,
    agent: Option<Child>,
}

impl Stage {
    fn new(name: &str) -> Stage {
        let folder = Scratch::new(name);
        let text = format!(
            "[app]\nname = \"shop\"\n[web]\nlisten = \"127.0.0.1:0\"\n{SIGNALS}\n[channel.log.alerts]\nfile = \"{}/alerts.jsonl\"\n",
            folder.path().display()
        );
        std::fs::write(folder.path().join("backstop.toml"), text).unwrap();
        let mut stage = Stage { folder, agent: None };
        stage.start();
        stage
    }

    fn process(&self, args: &[&str]) -> Process {
        let mut process = Process::new(env!("CARGO_BIN_EXE_backstop"));
        process.args(args).arg("--config").arg(self.folder.path().join("backstop.toml"));
        process.arg("--state").arg(self.folder.path().join("state")).stdin(Stdio::null());
        process
    }

    fn start(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        self.agent = Some(self.process(&["run"]).stdout(Stdio::null()).stderr(log).spawn().unwrap());
        self.wait_for("the agent answers", |stage| stage.say(&["signal", "list"]).0 != 3);
    }

    fn log(&self) -> std::path::PathBuf {
        self.folder.path().join("agent.log")
    }

    fn kill_9(&mut self) {
        let mut agent = self.agent.take().unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    /// Exit code, and everything that was said.
    fn say(&self, args: &[&str]) -> (i32, String) {
        let output = self.process(args).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap_or(-1), text)
    }

    /// One signal, as `list` has it.
    fn signal(&self, name: &str) -> serde_json::Value {
        let (_, text) = self.say(&["signal", "list", "--format", "json"]);
        let all: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        all.as_array().unwrap().iter().find(|signal| signal["name"] == name).unwrap().clone()
    }

    fn wait_for(&self, what: &str, holds: impl Fn(&Stage) -> bool) {
        let begin = Instant::now();
        while !holds(self) {
            let log = std::fs::read_to_string(self.log()).unwrap_or_default();
            assert!(begin.elapsed() < Duration::from_secs(40), "waited in vain: {what}\n{log}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            drop(agent.kill());
            drop(agent.wait());
        }
    }
}

#[test]
fn a_word_outlives_kill_9_right_after_its_answer() {
    let mut stage = Stage::new("signal_kill_9");
    for round in 1..=3 {
        let (code, said) = stage.say(&["signal", "set", "tickets", "--by", "2", "--reason", "mail"]);
        assert_eq!((code, said), (0, format!("tickets is {} now\n", round * 2)));
        let (code, said) = stage.say(&["signal", "set", "security-critical", "--reason", "CVE", "--for", "2h"]);
        assert_eq!(code, 0, "{said}");
        stage.kill_9();
        stage.start();
        assert_eq!(stage.signal("tickets")["total"], round * 2);
        let signal = stage.signal("security-critical");
        assert_eq!((&signal["state"], &signal["mark"]["reason"]), (&"set".into(), &"CVE".into()), "{signal}");
        assert!(signal["mark"]["until"].is_i64() && signal["mark"]["by"].is_string(), "{signal}");
    }
    stage.wait_for("the rule over it is critical", |s| s.say(&["status"]).1.contains("CRITICAL  security"));
    let (code, said) = stage.say(&["status"]);
    assert!(code == 1 && said.contains("signal      security-critical set by "), "{said}");
}

#[test]
fn exit_codes_tell_a_bad_result_from_a_wrong_word_and_a_missing_agent() {
    let mut stage = Stage::new("signal_exit_codes");
    let json = stage.folder.path().join("result.json");
    std::fs::write(&json, r#"{"failed": 0, "passed": 200}"#).unwrap();
    let json = json.to_str().unwrap();
    let long = "x".repeat(1001);
    for (args, code, said) in [
        (vec!["signal", "list"], 0, "tickets             0"),
        (vec!["signal", "set", "test"], 2, "did you mean tests?"),
        (vec!["signal", "set", "tests"], 2, "expects something of a result"),
        (
            vec!["signal", "set", "tests", "--value", "failed=1", "--value", "passed=190"],
            1,
            "not as expected: number failed == 0",
        ),
        (vec!["signal", "list"], 1, "BAD RESULT"),
        (vec!["signal", "set", "tests", "--value", "failed=0", "--value", "passed=190"], 0, "tests is set again"),
        (vec!["signal", "set", "tests", "--json", json, "--value", "failed=0", "--value", "passed=200"], 0, "again"),
        (vec!["signal", "set", "tests", "--json", "/nonexistent"], 3, "/nonexistent"),
        (vec!["signal", "set", "tests", "--value", "failed"], 2, "a figure is written KEY=VALUE"),
        (vec!["signal", "set", "tests", "--value", "failed=0", "--value", "failed=1"], 2, "two values of failed"),
        (vec!["signal", "reject", "oncall"], 2, "--reason"),
        (vec!["signal", "reject", "oncall", "--reason", "asleep"], 0, "oncall is rejected, for 8 h"),
        (vec!["signal", "list"], 1, "REJECTED"),
        (vec!["signal", "clear", "oncall"], 0, "oncall is not set any more"),
        (vec!["signal", "set", "oncall", "--by", "2"], 2, "it does not count"),
        (vec!["signal", "set", "oncall", "--reason", &long], 2, "at most 1000"),
        (vec!["signal", "set", "oncall", "--for", "soon"], 2, "soon"),
        (vec!["signal", "reject", "tickets", "--reason", "no"], 2, "cannot be rejected"),
    ] {
        let (found, text) = stage.say(&args);
        assert!(found == code && text.contains(said), "{args:?}: {found} instead of {code}, {said:?} in: {text}");
    }
    stage.kill_9();
    let (code, said) = stage.say(&["signal", "set", "oncall"]);
    assert!(code == 3 && said.contains("no agent answers"), "{said}");
}

#[test]
fn the_largest_result_is_taken_from_standard_input() {
    use std::io::Write;
    let stage = Stage::new("signal_largest");
    // Quotes take two bytes each on their way.
    let quotes = "\\\"".repeat(32_000);
    let document = format!("{{\"failed\": 0, \"passed\": 200, \"x\": \"{quotes}\"}}");
    assert!(document.len() > 64_000 && document.len() <= 65_536);
    for (document, wanted) in [(document.clone(), 0), (document + &" ".repeat(2000), 2)] {
        let args = ["signal", "set", "tests", "--json", "-", "--value", "failed=0", "--value", "passed=200"];
        let mut child = stage.process(&args).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        // A program that read enough may close before the end.
        drop(child.stdin.take().unwrap().write_all(document.as_bytes()));
        assert_eq!(child.wait().unwrap().code(), Some(wanted));
    }
    assert_eq!(stage.signal("tests")["total"], 1);
}

#[test]
fn words_said_at_the_same_time_are_all_taken() {
    let stage = Stage::new("signal_concurrent");
    let children: Vec<Child> =
        (0..8).map(|_| stage.process(&["signal", "set", "tickets"]).stdout(Stdio::null()).spawn().unwrap()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(stage.signal("tickets")["total"], 8);
    stage.wait_for("each is told once", |s| {
        s.say(&["query", "sum_over_time(backstop_signal_new{name=\"tickets\"}[10m])"]).1.contains('8')
    });
}
