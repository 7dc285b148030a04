//! Rules whose value a remote server gives: in virtual time with answers handed in, and with a real Prometheus.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use backstop::agent::{self, Running};
use backstop::base::{Level, Quantity, Span, Timestamp, Unit};
use backstop::engine::snapshot::{RemoteView, RuleView};
use backstop::engine::{Answer, Config, Effect, Engine, Event, Input, Query, State};
use backstop::notify::subscription::Subscription;
use backstop::promql::{Reading, RemoteAnswer, RemoteQuery};
use backstop::rule::{Change, Clause, Comparison, Condition, Rule, Test, Value, When};

use crate::support::{Scratch, mutate, outside};

/// A moment in 2025 from which all scenarios count.
const BEGIN: Timestamp = Timestamp(1_761_640_000_000);

const TIMEOUT: Span = Span::secs(10);

/// What the server of a scenario says.
#[derive(Clone, Copy)]
enum Says<'a> {
    /// These series by their label `x` and value; and to the second question, what matched and what could.
    Series(&'a [(&'a str, f64)], &'a str),
    /// A status and a body.
    Raw(u16, &'a str),
    /// Nothing, ever.
    Silence,
}

struct World {
    engine: Engine,
    now: Timestamp,
    events: Vec<Event>,
    /// Every question, in order.
    asked: Vec<Query>,
}

impl World {
    fn new(rules: Vec<Rule>) -> World {
        let engine = Engine::new(config(rules), State::default(), BEGIN, 7);
        World { engine, now: BEGIN, events: Vec::new(), asked: Vec::new() }
    }

    /// One step; its questions are answered at once with what the server says.
    fn put(&mut self, input: Input, says: Says<'_>) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for effect in self.engine.step(self.now, input) {
                match effect {
                    Effect::Journal(events) => self.events.extend(events),
                    Effect::Query(query) => {
                        inputs.extend(answer(&query, says).map(Input::Answer));
                        self.asked.push(query);
                    }
                    _ => {}
                }
            }
        }
    }

    /// Lets `span` pass, with a tick whenever the engine asks for one.
    fn pass(&mut self, span: Span, says: Says<'_>) {
        let to = self.now + span;
        loop {
            let next = self.engine.next_deadline(self.now).max(self.now + Span::millis(1));
            if next > to {
                self.now = to;
                return;
            }
            self.now = next;
            self.put(Input::Tick, says);
        }
    }

    fn rule(&self, name: &str) -> RuleView {
        self.engine.snapshot(self.now).rules.into_iter().find(|r| r.name == name).unwrap()
    }

    fn level(&self) -> Level {
        self.rule("queue").level
    }

    fn remote(&self) -> RemoteView {
        self.engine.snapshot(self.now).remotes.remove(0)
    }

    /// Changes of level as `ok->CRITICAL`, in order.
    fn levels(&self) -> Vec<String> {
        let text = |event: &Event| match event {
            Event::Rule(Change::Level(t)) => Some(format!("{}->{}", t.from, t.to)),
            _ => None,
        };
        self.events.iter().filter_map(text).collect()
    }
}

fn vector(series: &[(&str, f64)], label: &str) -> Vec<u8> {
    let one = |(x, value): &(&str, f64)| format!(r#"{{"metric":{{"{label}":"{x}"}},"value":[1999999999,"{value}"]}}"#);
    let all: Vec<String> = series.iter().map(one).collect();
    format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{}]}}}}"#, all.join(",")).into_bytes()
}

/// As the agent asks: the value, and what matched only where that is needed.
fn answer(query: &Query, says: Says<'_>) -> Option<Answer> {
    let read = |status, body: &[u8]| RemoteAnswer::read(status, body);
    let reading = match says {
        Says::Silence => return None,
        Says::Raw(status, body) => match read(status, body.as_bytes()) {
            Ok(first) => query.query.reading(first, None, query.at),
            Err(why) => Reading::Failed(why),
        },
        Says::Series(series, seen) => {
            let first = read(200, &vector(series, "x")).unwrap();
            let words: Vec<(&str, f64)> = seen.split_whitespace().map(|word| (word, 1.0)).collect();
            let second = read(200, &vector(&words, "selector")).unwrap();
            query.query.reading(first, Some(&second), query.at)
        }
    };
    Some(Answer { ticket: query.ticket, reading, clock_off: None })
}

fn rule(expr: &str, when: When) -> Rule {
    let value = Value::Remote {
        text: expr.into(),
        remote: "central".into(),
        query: Arc::new(RemoteQuery::compile(expr).unwrap()),
        timeout: TIMEOUT,
    };
    Rule { critical: Some(Condition::held(when, Span::mins(1))), ..Rule::new("queue", value, Unit::Count) }
}

/// More than 5 for a minute is critical.
fn queue() -> Rule {
    rule("queue_length", When::Test(Test(vec![Clause::Value(Comparison::Above, Quantity::count(5.0))])))
}

fn config(rules: Vec<Rule>) -> Config {
    Config { rules, channels: vec![Subscription::new("log", "alerts")], ..Config::new("shop", "web-1") }
}

const HIGH: Says<'_> = Says::Series(&[("a", 9.0)], "m0");
const LOW: Says<'_> = Says::Series(&[("a", 1.0)], "m0");
/// Nothing, and the selector matches nothing.
const EMPTY: Says<'_> = Says::Series(&[], "");

/// A world in which the queue is critical.
fn firing() -> World {
    let mut world = World::new(vec![queue()]);
    world.pass(Span::mins(3), HIGH);
    assert_eq!(world.level(), Level::Critical);
    world
}

#[test]
fn a_remote_value_fires_and_recovers() {
    let mut world = firing();
    world.pass(Span::mins(3), LOW);
    assert_eq!(world.levels(), ["ok->CRITICAL", "CRITICAL->ok"]);
    let rule = world.rule("queue");
    assert_eq!((rule.remote.as_deref(), rule.no_data, rule.failed), (Some("central"), None, None));
    assert!(world.now - world.remote().answered.unwrap() <= Span::secs(15));
}

#[test]
fn it_is_asked_every_15_s_and_sooner_only_for_a_timer() {
    let mut world = World::new(vec![queue()]);
    world.pass(Span::mins(10), LOW);
    assert!((39..=42).contains(&world.asked.len()), "{}", world.asked.len());
    assert!(world.asked.windows(2).all(|w| w[1].at - w[0].at >= Span::secs(15)));
    world.asked.clear();
    world.pass(Span::mins(10), HIGH);
    assert!(world.asked.windows(2).all(|w| w[1].at - w[0].at >= Span::secs(5)));
    assert!(world.asked.len() <= 44, "{}", world.asked.len());
    assert_eq!((world.asked[0].remote.as_str(), world.asked[0].timeout), ("central", TIMEOUT));
}

#[test]
fn an_empty_answer_holds_a_firing_alert() {
    let mut world = firing();
    world.pass(Span::mins(3), EMPTY);
    assert_eq!(world.level(), Level::Critical);
    assert_eq!(world.rule("queue").no_data.unwrap().1, "nothing matches queue_length");
    world.pass(Span::mins(3), LOW);
    assert_eq!(world.levels(), ["ok->CRITICAL", "CRITICAL->ok"]);
}

#[test]
fn an_empty_answer_never_resolves_what_is_present_while_it_is_bad() {
    let mut world = World::new(vec![rule("queue_length > 5", When::Present)]);
    world.pass(Span::mins(3), HIGH);
    assert_eq!(world.level(), Level::Critical);
    world.pass(Span::mins(3), EMPTY);
    assert_eq!(world.level(), Level::Critical);
    // Seen, and below: that is an answer.
    world.pass(Span::mins(3), LOW);
    assert_eq!(world.levels(), ["ok->CRITICAL", "CRITICAL->ok"]);
}

#[test]
fn an_error_keeps_the_level_and_says_why() {
    let partial = r#"{"status":"success","data":{"resultType":"vector","result":[]},"warnings":["store-2 is away"]}"#;
    for (says, wanted) in [
        (Says::Raw(503, "starting"), "central: status 503"),
        (Says::Raw(200, "<html>"), "central: this is no answer of Prometheus's query API"),
        (Says::Raw(200, partial), "central: the answer may be partial: store-2 is away"),
        (Says::Silence, "central: no answer within 10s"),
    ] {
        let mut world = firing();
        world.pass(Span::mins(3), says);
        assert_eq!(world.level(), Level::Critical, "{wanted}");
        assert_eq!(world.rule("queue").failed.as_deref(), Some(wanted));
        assert_eq!(world.remote().failure.as_deref(), Some(wanted));
        world.pass(Span::mins(3), LOW);
        assert_eq!(world.levels(), ["ok->CRITICAL", "CRITICAL->ok"], "{wanted}");
        assert_eq!(world.remote().failure, None);
    }
}

#[test]
fn errors_alone_never_fire() {
    let mut world = World::new(vec![queue()]);
    world.pass(Span::hours(1), Says::Raw(500, ""));
    assert_eq!(world.levels(), [""; 0]);
}

#[test]
fn absent_fires_only_where_presence_could_have_been_seen() {
    let mut world = World::new(vec![rule("absent(heartbeat)", When::Present)]);
    world.pass(Span::mins(5), Says::Series(&[("", 1.0)], ""));
    assert_eq!(world.levels(), [""; 0]);
    assert!(world.rule("queue").no_data.unwrap().1.contains("no source that could give it"));
    world.pass(Span::mins(5), Says::Series(&[], "m0 k0"));
    assert_eq!(world.rule("queue").no_data, None);
    world.pass(Span::mins(5), Says::Series(&[("", 1.0)], "k0"));
    assert_eq!(world.level(), Level::Critical);
    // The name is forgotten: no proof any more, neither of absence nor of presence.
    world.pass(Span::mins(5), Says::Series(&[("", 1.0)], ""));
    assert_eq!(world.level(), Level::Critical);
    world.pass(Span::mins(5), Says::Series(&[], "m0 k0"));
    assert_eq!(world.levels(), ["ok->CRITICAL", "CRITICAL->ok"]);
}

#[test]
fn unless_needs_its_left_side_and_proof_of_its_right() {
    let mut world = World::new(vec![rule("down unless maintenance", When::Present)]);
    world.pass(Span::mins(5), Says::Series(&[("a", 1.0)], "m0"));
    assert_eq!(world.level(), Level::Ok);
    world.pass(Span::mins(5), Says::Series(&[("a", 1.0)], "m0 k1"));
    assert_eq!(world.level(), Level::Critical);
    world.pass(Span::mins(5), Says::Series(&[], "m1 k1"));
    assert_eq!(world.level(), Level::Critical, "the left side is not seen");
    world.pass(Span::mins(5), Says::Series(&[], "m0 m1 k1"));
    assert_eq!(world.levels(), ["ok->CRITICAL", "CRITICAL->ok"]);
}

#[test]
fn a_label_set_that_is_missing_is_no_data_for_it_alone() {
    let mut world = World::new(vec![queue()]);
    world.pass(Span::mins(3), Says::Series(&[("a", 9.0), ("b", 9.0)], ""));
    world.pass(Span::mins(3), Says::Series(&[("a", 1.0)], ""));
    assert_eq!(world.levels(), ["ok->CRITICAL", "ok->CRITICAL", "CRITICAL->ok"]);
    let rule = world.rule("queue");
    assert_eq!((rule.level, rule.no_data), (Level::Critical, None));
}

#[test]
fn one_question_at_a_time_and_late_or_unknown_answers_change_nothing() {
    let mut world = World::new(vec![queue()]);
    world.pass(Span::secs(5), Says::Silence);
    assert_eq!(world.asked.len(), 1);
    let late = answer(&world.asked[0], HIGH).unwrap();
    let unknown = Answer { ticket: 999, ..late.clone() };
    world.put(Input::Answer(unknown), Says::Silence);
    assert_eq!(world.rule("queue").evaluated, None);
    world.pass(Span::secs(6), Says::Silence);
    let evaluated = world.rule("queue").evaluated.expect("its time is over");
    assert_eq!(evaluated - world.asked[0].at, TIMEOUT);
    world.put(Input::Answer(late), Says::Silence);
    let rule = world.rule("queue");
    assert_eq!((rule.alerts.len(), rule.evaluated), (0, Some(evaluated)));
    assert_eq!(world.asked.len(), 1);
}

#[test]
fn an_answer_is_judged_when_it_comes() {
    let mut world = World::new(vec![queue()]);
    world.pass(Span::secs(5), Says::Silence);
    let answer = answer(&world.asked[0], HIGH).unwrap();
    world.put(Input::Answer(answer), Says::Silence);
    let rule = world.rule("queue");
    assert_eq!(rule.evaluated, Some(world.now));
    let because = rule.alerts[0].because.clone().unwrap();
    assert_eq!(because.evidence, Some(world.asked[0].at), "no sample is newer than the question");
}

#[test]
fn a_reload_drops_the_question_under_way() {
    let mut world = World::new(vec![queue()]);
    world.pass(Span::secs(5), Says::Silence);
    let old = answer(&world.asked[0], HIGH).unwrap();
    let other = rule("other_queue_length", When::Present);
    world.put(Input::Reload(Box::new(config(vec![other]))), Says::Silence);
    world.put(Input::Answer(old), Says::Silence);
    assert_eq!(world.rule("queue").evaluated, None);
    world.pass(Span::secs(2), Says::Silence);
    assert_eq!(world.asked.len(), 2);
    assert_eq!(world.asked[1].query.text(), "other_queue_length");
    assert_ne!(world.asked[0].ticket, world.asked[1].ticket);
}

#[test]
fn a_clock_that_is_set_moves_the_question_along() {
    let mut world = World::new(vec![queue()]);
    world.pass(Span::secs(5), Says::Silence);
    let answer = answer(&world.asked[0], HIGH).unwrap();
    world.now += Span::hours(1);
    world.put(Input::ClockStepped { by: Span::hours(1) }, Says::Silence);
    assert_eq!(world.rule("queue").evaluated, None, "its time is not over");
    world.put(Input::Answer(answer), Says::Silence);
    let because = world.rule("queue").alerts[0].because.clone().unwrap();
    assert_eq!(because.evidence, Some(world.asked[0].at + Span::hours(1)));
}

#[test]
fn no_answer_makes_the_reader_panic() {
    let corpus = [
        vector(&[("a", 1.5), ("b", f64::NAN)], "x"),
        br#"{"status":"error","errorType":"bad_data","error":"x"}"#.to_vec(),
        br#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"+Inf"]},"warnings":["w"],"infos":[]}"#
            .to_vec(),
        br#"{"status":"success","isPartial":true,"data":{"resultType":"matrix","result":[{"values":[[1,"2"]]}]}}"#
            .to_vec(),
    ];
    let query = RemoteQuery::compile("a or absent(b)").unwrap();
    mutate::run("remote-answer", &corpus, |bytes| {
        if let Ok(first) = RemoteAnswer::read(200, bytes) {
            let second = first.clone();
            drop(query.reading(first, Some(&second), BEGIN));
        }
    });
}

/// A page of metrics in a thread.
struct Page {
    port: u16,
    length: Arc<AtomicU64>,
    flag: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
}

impl Page {
    fn start() -> Page {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (length, flag, over) = (Arc::new(AtomicU64::new(3)), Arc::new(AtomicBool::new(true)), Arc::default());
        let page = Page { port, length: length.clone(), flag: flag.clone(), over: Arc::clone(&over) };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let flag = if flag.load(Ordering::Relaxed) { "demo_flag 1\n" } else { "" };
                give(stream, &format!("demo_queue_length {}\n{flag}", length.load(Ordering::Relaxed)));
            }
        });
        page
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn give(mut stream: TcpStream, body: &str) {
    drop(stream.read(&mut [0u8; 4096]));
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())));
}

/// A Prometheus that looks at the page every second; ended with the value.
struct Prometheus(Child);

impl Prometheus {
    fn start(folder: &Path, port: u16, page: u16) -> Prometheus {
        let config = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: demo, static_configs: [{{targets: ['127.0.0.1:{page}']}}]}}]\n"
        );
        std::fs::write(folder.join("prometheus.yml"), config).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Prometheus(child.expect("prometheus starts"))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Waits until what the agent says of its rules fulfils `wanted`. Reading the configuration again asks every rule anew.
async fn until(agent: &Running, what: &str, wanted: impl Fn(&dyn Fn(&str) -> RuleView) -> bool) {
    let mut last = None;
    for _ in 0..20 {
        agent.gate.reload().await.unwrap().unwrap();
        for _ in 0..20 {
            backstop::sys::clock::pause(Span::millis(100)).await;
            let snapshot = agent.gate.snapshot().await.unwrap();
            let rule = |name: &str| snapshot.rules.iter().find(|r| r.name == name).unwrap().clone();
            if wanted(&rule) {
                return;
            }
            last = Some(snapshot.rules.clone());
        }
    }
    panic!("not seen: {what}\n{last:#?}");
}

fn last(rule: &RuleView) -> &str {
    rule.recent.last().map_or("", |e| e.text.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_a_real_prometheus_gives_values_absence_and_failures() {
    if !outside("prometheus") {
        return;
    }
    let folder = Scratch::new("remote-prometheus");
    let page = Page::start();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let toml = format!(
        r#"
[remote.central]
url = "http://127.0.0.1:{free}"
timeout = "5s"

[rule.queue]
expr     = 'demo_queue_length'
remote   = "central"
critical = {{ when = "> 5", for = "0s" }}

[rule.busy]
expr     = 'rate(demo_queue_length[10s]) > 1e6'
remote   = "central"
critical = "present"

[rule.flag]
expr     = 'absent(demo_flag)'
remote   = "central"
critical = "present"

[rule.unknown]
expr     = 'absent(demo_never)'
remote   = "central"
critical = "present"
"#
    );
    std::fs::write(folder.path().join("backstop.toml"), toml).unwrap();
    let options = agent::Options {
        config_path: Some(folder.path().join("backstop.toml")),
        state: Some(folder.path().join("state")),
        in_process: true,
        ..agent::Options::default()
    };
    let agent = agent::start(options).await.unwrap();
    let failed = |rule: RuleView| rule.failed.unwrap_or_default().contains("refused");
    until(&agent, "nobody listens", |rule| failed(rule("queue"))).await;

    let prometheus = Prometheus::start(folder.path(), free, page.port);
    until(&agent, "a value", |rule| last(&rule("queue")) == "3" && rule("queue").failed.is_none()).await;
    until(&agent, "seen and below", |rule| last(&rule("busy")) == "nothing matched").await;
    until(&agent, "a flag that is there", |rule| last(&rule("flag")) == "nothing matched").await;
    until(&agent, "absence that nobody can prove", |rule| {
        rule("unknown").no_data.is_some_and(|(_, why)| why.contains("no source that could give it"))
    })
    .await;

    page.flag.store(false, Ordering::Relaxed);
    page.length.store(9, Ordering::Relaxed);
    until(&agent, "a flag that is gone", |rule| last(&rule("flag")) == "1").await;
    until(&agent, "a value over the limit", |rule| last(&rule("queue")) == "9").await;

    drop(prometheus);
    until(&agent, "the server is stopped", |rule| failed(rule("queue")) && failed(rule("flag"))).await;
    let prometheus = Prometheus::start(folder.path(), free, page.port);
    until(&agent, "the server is back", |rule| last(&rule("queue")) == "9" && rule("queue").failed.is_none()).await;
    agent.stop().await;
    drop(prometheus);
}
