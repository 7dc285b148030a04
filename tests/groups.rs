//! Rule files of Prometheus in the engine, in virtual time: when they fire, what is told, and what a restart or a reload leaves.

use std::collections::BTreeMap;
use std::path::Path;

use backstop::base::{Batch, Labels, Level, Outcome, Problems, Sample, SourceRef, Span, Timestamp};
use backstop::config::{self, Loaded, Options};
use backstop::engine::snapshot::RuleView;
use backstop::engine::{Config, Effect, Engine, Event, Input, SourceInfo, State, Writer};
use backstop::notify::outbox::{self, Receipt, Sent};
use backstop::notify::story::{Reason, Story};
use backstop::notify::subscription::Subscription;
use backstop::promql::{self, Plan, Point};
use backstop::rule::Change;
use backstop::rule::prometheus::{self, External, Group, Host, State as Stands};
use backstop::store::{Limits, Store, Stretch, is_stale};

use crate::support::{Scratch, text};

/// A moment in 2025 from which all scenarios count.
const BEGIN: Timestamp = Timestamp(1_761_640_000_000);

/// How often the service is looked at.
const INTERVAL: Span = Span::secs(15);

/// A series of the service: name, labels, value.
type Given<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);

fn options(path: &Path) -> Options {
    Options {
        path: Some(path.into()),
        sets: Vec::new(),
        state: Some("/var/lib/backstop".into()),
        stderr_is_terminal: false,
        host: "web-1".into(),
        env: |_| None,
    }
}

/// A configuration with `text` beside a rule file `rules.yml`.
fn loaded(scratch: &Scratch, text: &str, rules: &str) -> Loaded {
    std::fs::write(scratch.path().join("rules.yml"), rules).unwrap();
    let path = scratch.path().join("backstop.toml");
    let text = format!(
        "rule_files = [\"rules.yml\"]\npacks = [\"self\"]\n{text}\n[prometheus.api]\nurl = \"http://127.0.0.1:9/metrics\"\n"
    );
    config::load_text(&path, &text, &options(&path))
}

/// What the engine makes of it.
fn engine_config(scratch: &Scratch, text: &str, rules: &str) -> Config {
    let loaded = loaded(scratch, text, rules);
    let config = loaded.config.as_ref().unwrap_or_else(|| panic!("{}", loaded.render(false)));
    Config {
        rules: config.rules.clone(),
        groups: config.rule_files.settings(),
        sources: vec![SourceInfo::own(SourceRef::new("prometheus", "api"), vec!["up", "probe_success"])],
        channels: vec![Subscription::new("log", "alerts")],
        limits: Limits::default(),
        on_disk: true,
        ..Config::new("shop", "web-1")
    }
}

/// Times and values by series.
type Columns = BTreeMap<Labels, (Vec<i64>, Vec<f64>)>;

/// An engine, its time, and everything that happened.
struct World {
    engine: Engine,
    now: Timestamp,
    events: Vec<Event>,
    /// What is on disk: by target, by series.
    disk: BTreeMap<(SourceRef, String), Columns>,
}

impl World {
    fn new(config: Config) -> World {
        let engine = Engine::new(config, State::default(), BEGIN, 7);
        let mut world = World { engine, now: BEGIN, events: Vec::new(), disk: BTreeMap::new() };
        world.put(Input::Started { version: "test".into() });
        world
    }

    fn put(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for effect in self.engine.step(self.now, input) {
                inputs.extend(self.take(effect));
            }
        }
    }

    /// Does what an effect asks for; every message is accepted at once.
    fn take(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Journal(events) => self.events.extend(events),
            Effect::Deliver(sending) => {
                let result = Sent::Accepted { by: "test".into(), said: "ok".into() };
                return Some(Input::Receipt(Receipt { id: sending.delivery.id.clone(), at: self.now, result }));
            }
            Effect::Persist(kept) => {
                if let Writer::Target { source, instance, .. } = kept.writer {
                    let target = self.disk.entry((source, instance)).or_default();
                    for sample in kept.samples {
                        let series = target.entry(sample.labels).or_default();
                        series.0.push(sample.at.unwrap_or(kept.at).0);
                        series.1.push(sample.value);
                    }
                }
            }
            _ => {}
        }
        None
    }

    /// A crash, and a start after `gap` with what was journaled and what is on disk.
    fn restart(&mut self, gap: Span) {
        self.now += gap;
        let mut state = State::default();
        self.events.iter().for_each(|e| state.apply(e));
        let config = self.engine.config().clone();
        self.engine = Engine::new(config, state, self.now, 11);
        let disk = &self.disk;
        self.engine.restore(|store| {
            for ((source, instance), series) in disk {
                let newest = series.values().filter_map(|(times, _)| times.last()).max();
                let Some(newest) = newest else { continue };
                let target = store.restore_target(source, instance, Timestamp(*newest), INTERVAL);
                for (labels, (times, values)) in series {
                    store.restore(target, &Stretch::new(labels.clone(), times.clone(), values.clone()));
                }
            }
        });
        self.put(Input::Started { version: "test".into() });
    }

    fn reload(&mut self, config: Config) {
        self.put(Input::Reload(Box::new(config)));
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

    /// One look at the service.
    fn look(&mut self, at: Timestamp, samples: &[Given<'_>]) {
        self.pass_until(at);
        self.put(Input::Batch(batch(at, samples)));
    }

    /// Looks every 15 s from now on for `time`, with the same samples.
    fn look_for(&mut self, time: Span, samples: &[Given<'_>]) {
        let end = self.now + time;
        while self.now + INTERVAL <= end {
            self.look(self.now + INTERVAL, samples);
        }
    }

    /// Changes of level as `name ok->CRITICAL`, in order, with the minute and second since the begin.
    fn levels(&self) -> Vec<String> {
        let line = |e: &Event| match e {
            Event::Rule(Change::Level(t)) => Some(format!("{} {}->{}{}", t.rule, t.from, t.to, gone(t.gone))),
            _ => None,
        };
        self.events.iter().filter_map(line).collect()
    }

    /// When the first change of that text happened.
    fn when(&self, text: &str) -> Option<Span> {
        self.events.iter().find_map(|e| match e {
            Event::Rule(Change::Level(t)) if format!("{} {}->{}", t.rule, t.from, t.to) == text => Some(t.at - BEGIN),
            _ => None,
        })
    }

    fn stories(&self) -> Vec<&Story> {
        let told = self.events.iter().filter_map(|e| match e {
            Event::Delivery(outbox::Event::Decided { delivery }) => Some(&delivery.notice.story),
            _ => None,
        });
        told.collect()
    }

    fn view(&self, name: &str) -> RuleView {
        let views = self.engine.snapshot(self.now).rules;
        views.into_iter().find(|view| view.name == name).unwrap_or_else(|| panic!("no rule {name}"))
    }

    /// The newest values of an expression.
    fn value(&self, text: &str) -> Vec<(Labels, f64)> {
        let plan = promql::compile(text).unwrap();
        points(&plan, self.engine.store(), self.now).unwrap().into_iter().map(|p| (p.labels, p.value)).collect()
    }
}

fn gone(is: bool) -> &'static str {
    if is { " gone" } else { "" }
}

fn batch(at: Timestamp, samples: &[Given<'_>]) -> Batch {
    let own = [("job", "api"), ("instance", "a:1")];
    let sample = |(name, more, value): &Given<'_>| {
        let pairs = [("__name__", *name)].into_iter().chain(own).chain(more.iter().copied());
        Sample { labels: Labels::new(pairs), value: *value, at: None }
    };
    let up = [("up", &[][..], 1.0), ("probe_success", &[][..], 1.0)];
    let up = up.iter().filter(|(name, ..)| !samples.iter().any(|(given, ..)| given == name));
    Batch {
        source: SourceRef::new("prometheus", "api"),
        instance: "a:1".into(),
        at,
        interval: INTERVAL,
        outcome: Outcome::Good,
        samples: up.chain(samples).map(sample).collect(),
        checkpoint: None,
        holds: false,
        exhibits: Vec::new(),
    }
}

fn points(plan: &Plan, store: &Store, at: Timestamp) -> Result<Vec<Point>, String> {
    match promql::query(plan, store, at, &promql::Options::default())?.value {
        promql::Value::Vector(points) => Ok(points),
        promql::Value::Scalar(value) => Ok(vec![Point { labels: Labels::empty(), value, newest: at }]),
        _ => Err("neither".into()),
    }
}

/// A store that a group alone reads and writes, as `backstop test` has it.
struct Alone(Store);

impl Host for Alone {
    fn query(&mut self, plan: &Plan, at: Timestamp) -> Result<Vec<Point>, String> {
        points(plan, &self.0, at)
    }

    fn write(&mut self, _rule: usize, at: Timestamp, samples: &[(Labels, f64)]) {
        for (labels, value) in samples {
            self.0.insert(&Stretch::new(labels.clone(), vec![at.0], vec![*value]));
        }
    }
}

/// The counters of tests/promrules/01_error_ratio_test.yml at its k-th look: 15 % errors from minute 10 on.
fn counters(k: i64) -> [f64; 2] {
    let k = k as f64;
    if k <= 40.0 { [100.0 * k, 0.0] } else { [4000.0 + 85.0 * (k - 40.0), 15.0 * (k - 40.0)] }
}

fn requests(k: i64) -> [Given<'static>; 2] {
    let [good, bad] = counters(k);
    [("http_requests_total", &[("code", "200")], good), ("http_requests_total", &[("code", "500")], bad)]
}

/// Every alert that fires, by name.
fn firing(groups: &[Group]) -> Vec<String> {
    let names = groups.iter().flat_map(|group| {
        let rules = group.config().rules.iter().enumerate();
        rules.flat_map(|(i, rule)| {
            group.alerts(i).filter(|a| a.state == Stands::Firing).map(|_| rule.name.clone()).collect::<Vec<_>>()
        })
    });
    names.collect()
}

#[test]
fn what_was_read_is_printed_and_counted() {
    let scratch = Scratch::new("groups_print");
    let loaded = loaded(&scratch, "[rule_groups]\ninterval = \"30s\"", HELD);
    let config = loaded.config.unwrap();
    let printed = config.print().replace(&scratch.path().display().to_string(), "DIR");
    let head = "packs = [\"self\"]  # DIR/backstop.toml:2\nrule_files = [\"rules.yml\"]  # DIR/backstop.toml:1\n# DIR/rules.yml: 1 group, 1 rule\n";
    assert!(printed.starts_with(head), "{printed}");
    let table = printed.split("[rule_groups]\n").nth(1).unwrap().lines().take(2).collect::<Vec<_>>();
    assert_eq!(table, ["interval = \"30s\"  # DIR/backstop.toml:4", "enabled = true  # default"]);
    assert_eq!(printed.matches("rule_files").count(), 1);
    assert!(config.summary().contains(", 1 rule in 1 group of rule files, "), "{}", config.summary());
}

#[test]
fn a_rule_file_fires_at_the_times_of_backstop_test() {
    let scratch = Scratch::new("groups_times");
    let rules = text("tests/promrules/rules.yml");
    let mut world = World::new(engine_config(&scratch, "", &rules));
    let mut problems = Problems::default();
    let file = prometheus::read(&rules, 0, &mut problems).unwrap();
    let mut alone: Vec<Group> = file.groups.into_iter().map(|g| Group::new(g, External::default())).collect();
    let mut desk = Alone(Store::new(Limits::default()));
    let names = ["job:http_errors:ratio_rate5m", "ErrorRatioHigh"];
    let (mut evaluated, mut changes) = ([None; 2], 0);
    for k in 0..=119 {
        let at = BEGIN + INTERVAL.times(k);
        let samples = requests(k);
        world.look(at, &samples);
        for sample in batch(at, &samples).samples {
            desk.0.insert(&Stretch::new(sample.labels, vec![at.0], vec![sample.value]));
        }
        // Whatever the engine evaluates until the next look, the group alone is asked at the same times.
        let mut due = Vec::new();
        while world.now < at + INTERVAL - Span::millis(1) {
            for (i, name) in names.iter().enumerate() {
                let slot = world.view(name).evaluated;
                if slot != evaluated[i] {
                    evaluated[i] = slot;
                    due.push((slot.unwrap(), i));
                }
            }
            for (slot, i) in std::mem::take(&mut due) {
                assert_eq!(alone[i].step(slot, &mut desk), []);
                changes += 1;
            }
            let here: Vec<String> = world
                .engine
                .state()
                .alerts
                .iter()
                .flat_map(|(name, of)| of.values().map(move |_| name.clone()))
                .collect();
            let mut wanted = firing(&alone);
            wanted.sort();
            assert_eq!(here, wanted, "{}", world.now - BEGIN);
            let next = world.engine.next_deadline(world.now).max(world.now + Span::millis(1));
            world.pass_until(next.min(at + INTERVAL - Span::millis(1)));
        }
    }
    assert!(changes > 200, "{changes}");
    // What the test file states, with less than one interval of the group between its own times and a tick of the test.
    let warning = world.when("ErrorRatioElevated ok->WARNING").unwrap();
    assert!((Span::mins(11)..=Span::mins(14)).contains(&warning), "{warning}");
    let critical = world.when("ErrorRatioHigh ok->CRITICAL").unwrap();
    assert!(critical > Span::mins(18) && critical <= Span::mins(19) + INTERVAL, "{critical}");
    // No such series is given in this test.
    let absent = ["HeartbeatMissing ok->WARNING", "TargetAbsent ok->CRITICAL"];
    assert_eq!(world.levels(), [absent, ["ErrorRatioElevated ok->WARNING", "ErrorRatioHigh ok->CRITICAL"]].concat());
    assert_eq!(world.value("job:http_errors:ratio_rate5m")[0].0.get("job"), "api");
    let own = world.value("ALERTS{alertname=\"ErrorRatioHigh\"}");
    assert_eq!(own.len(), 1);
    assert_eq!((own[0].0.get("alertstate"), own[0].0.get("severity"), own[0].1), ("firing", "critical", 1.0));
}

#[test]
fn a_notification_carries_the_annotations_of_the_alert() {
    let scratch = Scratch::new("groups_words");
    let rules = "groups:\n- name: g\n  interval: 15s\n  rules:\n  - alert: Queue\n    expr: queue > 3\n    labels: {severity: page}\n    \
                 annotations:\n      summary: '{{ $labels.queue }} holds {{ $value }} on {{ $externalLabels.team }}.'\n      \
                 description: 'Seen by {{ $labels.instance }}.'\n      runbook_url: 'https://r.example.org/{{ $labels.queue }}'\n";
    let config = engine_config(&scratch, "[app]\nlabels = { team = \"shop\" }", rules);
    let mut world = World::new(config);
    world.look_for(Span::mins(1), &[("queue", &[("queue", "mail")], 7.0)]);
    let stories = world.stories();
    let [Story::Alert { reason, level, rule, labels, summary, runbook, because, .. }] = stories.as_slice() else {
        panic!("{stories:?}")
    };
    assert_eq!((*reason, *level, rule.as_str()), (Reason::First, Level::Critical, "Queue"));
    assert_eq!(summary, "mail holds 7 on shop: Seen by a:1.");
    assert_eq!(runbook, "https://r.example.org/mail");
    assert_eq!((labels.get("team"), labels.get("alertname")), ("shop", "Queue"));
    assert_eq!(because.to_string(), "7 (limit > 3)");
}

const HELD: &str = "groups:\n- name: g\n  interval: 15s\n  rules:\n  - alert: Hot\n    expr: temperature > 70\n    for: 5m\n    \
                    labels: {severity: critical}\n";

const HOT: &[Given<'_>] = &[("temperature", &[], 90.0)];
const COOL: &[Given<'_>] = &[("temperature", &[], 20.0)];

#[test]
fn a_restart_neither_repeats_an_alert_nor_ends_it() {
    let scratch = Scratch::new("groups_restart");
    let mut world = World::new(engine_config(&scratch, "", HELD));
    world.look_for(Span::mins(7), HOT);
    assert_eq!(world.levels(), ["Hot ok->CRITICAL"]);
    let told = world.stories().len();
    world.restart(Span::secs(3));
    assert_eq!(
        world.view("Hot").alerts.iter().map(|a| (a.level, a.confirmed)).collect::<Vec<_>>(),
        [(Level::Critical, false)]
    );
    world.look_for(Span::mins(3), HOT);
    assert!(world.view("Hot").alerts[0].confirmed);
    // Longer than a query looks back: the first evaluation after the start has nothing to see.
    world.restart(Span::mins(20));
    world.look_for(Span::mins(3), HOT);
    assert_eq!(world.levels(), ["Hot ok->CRITICAL"]);
    assert_eq!(world.stories().len(), told);
    world.look_for(Span::mins(1), COOL);
    assert_eq!(world.levels(), ["Hot ok->CRITICAL", "Hot CRITICAL->ok"]);
    assert_eq!(world.stories().len(), told + 1);
}

#[test]
fn what_recovered_while_the_agent_was_away_is_resolved_once() {
    let scratch = Scratch::new("groups_recovered");
    let mut world = World::new(engine_config(&scratch, "", HELD));
    world.look_for(Span::mins(7), HOT);
    world.restart(Span::mins(20));
    let start = world.now;
    world.look_for(Span::mins(4), COOL);
    assert_eq!(world.levels(), ["Hot ok->CRITICAL", "Hot CRITICAL->ok"]);
    let ended = BEGIN + world.when("Hot CRITICAL->ok").unwrap();
    assert!(ended - start >= Span::mins(1) && ended - start <= Span::secs(75), "{}", ended - start);
}

#[test]
fn a_pending_alert_goes_on_to_wait_after_a_restart() {
    let scratch = Scratch::new("groups_pending");
    let mut world = World::new(engine_config(&scratch, "", HELD));
    world.look_for(Span::mins(3), HOT);
    assert!(world.view("Hot").alerts[0].pending);
    world.restart(Span::secs(3));
    world.look_for(Span::mins(4), HOT);
    let fired = world.when("Hot ok->CRITICAL").unwrap();
    assert!(fired >= Span::mins(5) && fired <= Span::secs(5 * 60 + 35), "{fired}");

    // What lay in a long gap was not seen and does not count.
    let mut world = World::new(engine_config(&scratch, "", HELD));
    world.look_for(Span::mins(3), HOT);
    world.restart(Span::mins(2));
    world.look_for(Span::mins(5), HOT);
    let fired = world.when("Hot ok->CRITICAL").unwrap();
    assert!(fired >= Span::mins(7) && fired <= Span::mins(8), "{fired}");
}

#[test]
fn a_reload_keeps_what_stays_and_ends_what_is_gone() {
    let scratch = Scratch::new("groups_reload");
    let other = "  - alert: Warm\n    expr: temperature > 30\n    labels: {severity: warning}\n";
    let mut world = World::new(engine_config(&scratch, "", &format!("{HELD}{other}")));
    world.look_for(Span::mins(4), HOT);
    assert_eq!(world.levels(), ["Warm ok->WARNING"]);
    // The expression of one is edited, the other is taken out.
    world.reload(engine_config(&scratch, "", &HELD.replace("> 70", "> 60")));
    assert_eq!(world.levels(), ["Warm ok->WARNING", "Warm WARNING->ok gone"]);
    world.look_for(Span::mins(2), HOT);
    let fired = world.when("Hot ok->CRITICAL").unwrap();
    assert!(fired >= Span::mins(5) && fired <= Span::mins(5) + Span::secs(30), "{fired}");
    // With another label it is another alert.
    world.reload(engine_config(&scratch, "", &HELD.replace("severity: critical", "severity: warning")));
    assert_eq!(world.levels()[2..], ["Hot ok->CRITICAL", "Hot CRITICAL->ok gone"]);
    // Switched off, nothing is left of the groups.
    world.reload(engine_config(&scratch, "[rule_groups]\nenabled = false", HELD));
    assert!(world.engine.snapshot(world.now).rules.iter().all(|view| view.group.is_none()));
    assert_eq!(world.value("ALERTS_FOR_STATE"), []);
}

#[test]
fn a_rule_that_fails_leaves_its_alerts_and_says_so() {
    let scratch = Scratch::new("groups_fails");
    let rules = "groups:\n- name: g\n  interval: 15s\n  rules:\n  - alert: Pair\n    expr: a * on (job) b > 0\n";
    let mut world = World::new(engine_config(&scratch, "", rules));
    let fine: &[Given<'_>] = &[("a", &[], 1.0), ("b", &[], 1.0)];
    // Two of `b` for one of `a`: many to one matching, which is an error.
    let broken: &[Given<'_>] = &[("a", &[], 1.0), ("b", &[("x", "1")], 1.0), ("b", &[("x", "2")], 1.0)];
    world.look_for(Span::mins(1), fine);
    assert_eq!(world.levels(), ["Pair ok->WARNING"]);
    world.look_for(Span::mins(14), broken);
    let view = world.view("Pair");
    assert!(view.failed.as_deref().is_some_and(|why| why.contains("many-to-many")), "{:?}", view.failed);
    assert_eq!(view.level, Level::Warning);
    assert_eq!(world.value("ALERTS{alertname=\"Pair\"}").len(), 1, "it is written as long as it stands");
    assert_eq!(world.value("backstop_rule_no_data{rule=\"Pair\"}")[0].1, 1.0);
    assert_eq!(world.levels(), ["Pair ok->WARNING", "no-data ok->WARNING"]);
    world.look_for(Span::mins(3), &[("a", &[], 0.0), ("b", &[], 1.0)]);
    assert_eq!(world.view("Pair").failed, None);
    assert_eq!(world.levels()[2..], ["Pair WARNING->ok", "no-data WARNING->ok"]);
}

#[test]
fn more_than_the_limit_is_an_error_and_no_recovery() {
    let scratch = Scratch::new("groups_limit");
    let rules = "groups:\n- name: g\n  interval: 15s\n  limit: 2\n  rules:\n  - record: n:doubled\n    expr: n * 2\n  - alert: Over\n    expr: n > 5\n";
    let mut world = World::new(engine_config(&scratch, "", rules));
    let given = |count: usize| -> Vec<Given<'static>> {
        let all: [&'static [(&str, &str)]; 3] = [&[("i", "1")], &[("i", "2")], &[("i", "3")]];
        all[..count].iter().map(|labels| ("n", *labels, 9.0)).collect()
    };
    world.look_for(Span::mins(1), &given(2));
    assert_eq!(world.levels(), ["Over ok->WARNING"; 2]);
    world.look_for(Span::mins(1), &given(3));
    assert_eq!(world.view("Over").failed.as_deref(), Some("exceeded limit of 2 with 3 alerts"));
    assert_eq!(world.view("n:doubled").failed.as_deref(), Some("exceeded limit of 2 with 3 series"));
    assert_eq!(world.levels().len(), 2);
    world.look_for(Span::mins(1), &given(1));
    assert_eq!(world.levels()[2..], ["Over WARNING->ok"]);
    assert_eq!(world.value("n:doubled").len(), 1);
}

#[test]
fn rules_of_backstop_read_what_groups_record_and_fire() {
    let scratch = Scratch::new("groups_read");
    let rules = "groups:\n- name: g\n  interval: 1m\n  rules:\n  - record: t:doubled\n    expr: temperature * 2\n  - alert: Hot\n    expr: t:doubled > 100\n    labels: {severity: critical}\n";
    let own = "[rule.doubled]\nexpr = 't:doubled'\ncritical = { when = \"> 100\", for = \"3m\" }\n\
               [rule.back]\nexpr = 'ALERTS{alertname=\"Hot\",alertstate=\"firing\"}'\nrollback = { when = \"present\", for = \"0s\" }\n\
               [rule.both]\nexpr = 'count(ALERTS{alertname=\"doubled\",alertstate=\"firing\"}) + count(backstop_rule_level{rule=\"Hot\"} > 1)'\nwarning = { when = \"> 0\", for = \"0s\" }\n";
    let mut world = World::new(engine_config(&scratch, own, rules));
    world.look_for(Span::mins(10), HOT);
    let fired = world.when("Hot ok->CRITICAL").unwrap();
    let due = world.events.iter().find_map(|e| match e {
        Event::Rule(Change::Criterion { rule, due: true, at, .. }) if rule == "back" => Some(*at - BEGIN),
        _ => None,
    });
    // Two readings are needed, and one comes with each evaluation of the group.
    let due = due.expect("the criterion is due");
    assert!(due >= fired && due - fired <= Span::mins(1) + Span::secs(1), "{fired} {due}");
    let held = world.when("doubled ok->CRITICAL").unwrap();
    assert!(held - fired >= Span::mins(3) && held - fired <= Span::mins(4), "{fired} {held}");
    // In the same step: the first reading of `both` is made when `doubled` is critical.
    let both = world.when("both ok->WARNING").unwrap();
    assert!(both - held <= Span::secs(16), "{held} {both}");
    world.look_for(Span::mins(6), &[]);
    // The service gives no temperature any more: Prometheus's rule sees no result, ours knows that it does not know.
    assert!(world.levels().contains(&"Hot CRITICAL->ok".to_string()));
    let view = world.view("doubled");
    assert_eq!((view.level, view.no_data.is_some()), (Level::Critical, true));
}

#[test]
fn what_is_missed_is_not_caught_up_and_the_clock_may_step() {
    let scratch = Scratch::new("groups_missed");
    let mut world = World::new(engine_config(&scratch, "", HELD));
    world.look_for(Span::mins(1), HOT);
    // The host slept.
    world.now += Span::mins(10);
    world.put(Input::Tick);
    let missed = world.view("Hot").group.unwrap().missed;
    assert!((39..=40).contains(&missed), "{missed}");
    world.now += Span::hours(1);
    world.put(Input::ClockStepped { by: Span::hours(1) });
    world.look_for(Span::mins(4), HOT);
    assert_eq!(world.view("Hot").group.unwrap().missed, missed);
    assert!(world.view("Hot").alerts[0].pending || world.levels() == ["Hot ok->CRITICAL"]);
    let slot = world.view("Hot").evaluated.unwrap();
    assert!(slot <= world.now && world.now - slot < INTERVAL + Span::secs(1));
}

#[test]
fn samples_on_disk_hold_one_stale_marker_where_a_recorded_series_ends() {
    let scratch = Scratch::new("groups_stale");
    let rules = "groups:\n- name: g\n  interval: 15s\n  rules:\n  - record: t:hot\n    expr: temperature > 70\n";
    let mut world = World::new(engine_config(&scratch, "", rules));
    world.look_for(Span::mins(1), HOT);
    world.look_for(Span::mins(1), COOL);
    let key = (SourceRef::new("group", "rules.yml:g"), "t:hot".to_string());
    let series: Vec<_> = world.disk[&key].values().collect();
    let [(_, values)] = series.as_slice() else { panic!("{series:?}") };
    assert_eq!(values.iter().filter(|value| is_stale(**value)).count(), 1);
    assert!(is_stale(*values.last().unwrap()));
}

#[test]
fn while_a_deployment_settles_series_are_written_and_nobody_is_told() {
    use backstop::engine::command::Command;
    let scratch = Scratch::new("groups_settle");
    let own = "[rule.back]\nexpr = 'ALERTS{alertname=\"Hot\",alertstate=\"firing\"}'\nrollback = { when = \"present\", for = \"0s\" }\n";
    let mut world = World::new(engine_config(&scratch, own, &HELD.replace("    for: 5m\n", "")));
    world.look_for(Span::mins(1), COOL);
    let command = Command::DeployStart {
        version: "2".into(),
        previous: Some("1".into()),
        plan: None,
        live: false,
        force: false,
        by: "root".into(),
    };
    world.put(Input::Command { ticket: 1, command });
    world.look_for(Span::mins(1), HOT);
    assert_eq!(world.levels(), Vec::<String>::new());
    assert_eq!(world.value("ALERTS{alertname=\"Hot\"}").len(), 1);
    let dues =
        |world: &World| world.engine.state().alerts.values().flat_map(BTreeMap::values).filter(|s| s.due).count();
    world.reload(world.engine.config().clone());
    assert_eq!(world.levels(), Vec::<String>::new());
    assert_eq!(dues(&world), 0, "what fires in planned downtime is no criterion");
    let command = Command::DeployComplete { by: "root".into() };
    world.put(Input::Command { ticket: 2, command });
    world.look_for(Span::mins(1), HOT);
    let mut levels = world.levels();
    levels.sort();
    assert_eq!(levels, ["Hot ok->CRITICAL", "back ok->CRITICAL"]);
    assert_eq!(dues(&world), 1);
}
