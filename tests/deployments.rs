//! The lines of five real deployments that can be observed, each with a good world and a bad one.
//!
//! `tests/deployments/NAME.toml` is the configuration of a deployment as its people would write it;
//! `NAME.rows.toml` holds the good world, and one row for each line: what is bad in its bad world, and what must then
//! be seen, which in the good world must not be. `docs/DEPLOYMENT-LINES.md` is made of the rows; `UPDATE_GOLDEN=1`
//! writes it anew.
//!
//! A row may say `fails` (the look fails for this reason), `expect` (this expectation is 1, then 0), `sample` (this
//! series has these two values), `rule` with `level` (the engine raises this rule, from looks at the world in virtual
//! time), `calm` (rules that the engine must not raise meanwhile), `deployed` (a deployment goes live), `not_armed` (the
//! rule says so in the watch of a bad world, with this reason). Everything goes through the sources that the agent makes of
//! the configuration; only what `history` of a world says was before the first look is made up.

mod fleet;
mod past;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use backstop::agent::wire;
use backstop::base::{Batch, Labels, Level, Outcome, Span, Timestamp};
use backstop::config::{self, Config, Options, SourceConfig};
use backstop::engine::command::{Command, Reply};
use backstop::engine::{self, Engine, Event, Input, State};
use backstop::promql;
use backstop::rule::Change;
use backstop::source::Source;
use backstop::source::log::{self, Teller};
use backstop::source::signal::{self, Look, Posted, Signal, Stands};
use backstop::source::systemd::Systemd;
use backstop::store::{Stretch, View};
use serde::Deserialize;

use backstop::sys::units::Address;
use fleet::Containers;

use crate::support::{Scratch, left_out, root, text};
use world::{Stage, World};

const PAGE: &str = "docs/DEPLOYMENT-LINES.md";

/// The deployments, in the order of the page.
const NAMES: [&str; 5] = ["ha", "ob", "sp", "bh", "pl"];

/// How long each of two worlds stands that come and go.
const FLAP: Span = Span::secs(15);

/// `NAME.rows.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Deployment {
    /// What it is called.
    title: String,
    /// What it is, in a sentence or two.
    about: String,
    /// The world in which everything is as it should be.
    good: World,
    /// One for each line.
    row: Vec<Row>,
    /// Lines that nothing observes yet.
    #[serde(default)]
    waits: Vec<Waits>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Waits {
    /// What they wait for.
    what: String,
    /// Which lines.
    lines: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// The line; behind a `/` what of it, where it has several rows.
    line: String,
    /// What the line asks.
    asks: String,
    /// The sources that are looked at.
    source: Vec<String>,
    /// What is bad in its bad world.
    bad: World,
    /// What its good world has beside the deployment's.
    #[serde(default)]
    good: World,
    /// The reason for which a target fails.
    fails: Option<String>,
    /// The expectation that does not hold.
    expect: Option<String>,
    sample: Option<Seen>,
    rule: Option<String>,
    level: Option<String>,
    /// How many minutes the world is good before it is bad.
    #[serde(default = "ten")]
    warm: i64,
    /// Within how many minutes the rule must be raised.
    #[serde(default = "thirty")]
    within: i64,
    /// How many minutes the world must be bad before the rule may be raised.
    #[serde(default)]
    earliest: i64,
    /// What must not be raised in the bad world, in all of `within`: `rule critical`, `rule due`.
    #[serde(default)]
    calm: Vec<String>,
    /// How many minutes before the world is bad a deployment goes live.
    deployed: Option<i64>,
    /// Why the rule is not armed in the watch of a bad world; in the good one it is.
    not_armed: Option<String>,
    /// What is not there yet: the row is left out, loudly.
    needs: Option<String>,
    /// Its logs are looked for where they are, not told by the world.
    #[serde(default)]
    finds_logs: bool,
    /// The bad world comes and goes, look by look.
    #[serde(default)]
    flaps: bool,
    /// The line asks that something is stopped: its target is not well in the good world.
    #[serde(default)]
    stopped: bool,
}

fn ten() -> i64 {
    10
}

fn thirty() -> i64 {
    30
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    of: String,
    good: f64,
    bad: f64,
}

impl Deployment {
    fn read(name: &str) -> Deployment {
        let path = format!("tests/deployments/{name}.rows.toml");
        toml::from_str(&text(&path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    fn ports(&self) -> Vec<&str> {
        self.good.port.keys().map(String::as_str).collect()
    }
}

/// What looks: a source, or a signal, which is told.
enum Eye {
    Source(Box<Source>),
    Signal {
        signal: Box<Signal>,
        told: u64,
    },
    /// A service of a log, whose lines the world says.
    Log {
        name: String,
        teller: Box<Teller>,
        read: bool,
    },
    /// The containers of a table, as the world has them.
    Containers(Box<Containers>),
}

impl Eye {
    /// All that the agent makes of a table; of a log for each service that `worlds` speak of: `log.NAME`, or
    /// `log.NAME SERVICE`. A log that they do not speak of is looked for.
    fn all(config: &Config, name: &str, worlds: [&World; 2], bin: &str) -> Vec<Eye> {
        let log = config.sources.iter().find_map(|source| match source {
            SourceConfig::Log(config) if config.common.reference.to_string() == name => Some(config),
            _ => None,
        });
        let spoken = worlds.into_iter().flat_map(|world| world.log.keys().chain(world.once.keys()));
        let names: BTreeSet<&String> = spoken.filter(|spoken| spoken.split(' ').next() == Some(name)).collect();
        if let Some(config) = log.filter(|_| !names.is_empty()) {
            let eye = |name: &String| {
                let service = name.split_once(' ').map(|(_, service)| service);
                let instance = service
                    .map_or_else(|| config.common.reference.name.clone(), |service| format!("project/{service}"));
                let teller = Box::new(Teller::new(config, &instance, service, now()));
                Eye::Log { name: name.clone(), teller, read: false }
            };
            return names.into_iter().map(eye).collect();
        }
        let containers = config.sources.iter().find_map(|source| match source {
            SourceConfig::Container(config) if config.common.reference.to_string() == name => Some(config),
            _ => None,
        });
        if let Some(config) = containers {
            return vec![Eye::Containers(Box::new(Containers::new(config)))];
        }
        let systemd = config.sources.iter().find_map(|source| match source {
            SourceConfig::Systemd(config) if config.common.reference.to_string() == name => Some(config),
            _ => None,
        });
        if let Some(config) = systemd {
            // What systemd says is what the world's systemctl prints: there is no bus at that place.
            let bus = Address::At(format!("unix:path={bin}/no-bus"));
            let systemd = Systemd::at(config.clone(), bus, Some(&format!("{bin}/systemctl")));
            return vec![Eye::Source(Box::new(Source::Systemd(Box::new(systemd))))];
        }
        let signal = config.sources.iter().find_map(|source| match source {
            SourceConfig::Signal(config) if config.common.reference.to_string() == name => {
                Some(Eye::Signal { signal: Box::new(Signal::new(config.clone())), told: 0 })
            }
            _ => None,
        });
        let sources = wire::sources(config)
            .into_iter()
            .filter(|s| s.reference().to_string() == name)
            .map(|s| Eye::Source(Box::new(s)));
        signal.into_iter().chain(sources).collect()
    }

    /// The table and the target: which one this is among all.
    fn name(&self) -> String {
        match self {
            Eye::Source(source) => format!("{} {}", source.reference(), source.instance()),
            Eye::Signal { signal, .. } => format!("signal.{}", signal.name()),
            Eye::Log { name, .. } => name.clone(),
            Eye::Containers(containers) => containers.name(),
        }
    }

    fn interval(&self) -> Span {
        match self {
            Eye::Source(source) => source.interval(),
            Eye::Signal { .. } => signal::REPEAT,
            Eye::Log { .. } => log::config::REPEAT,
            Eye::Containers(containers) => containers.interval(),
        }
    }

    /// What a world says once is said again.
    fn world_changes(&mut self) {
        if let Eye::Log { read, .. } = self {
            *read = false;
        }
    }

    async fn look(&mut self, at: Timestamp, world: &World) -> Vec<Batch> {
        vec![match self {
            Eye::Containers(containers) => return containers.look(at, &world.container),
            Eye::Source(source) => source.collect(at).await,
            Eye::Log { name, teller, read } => {
                let once = world.once.get(name).filter(|_| !std::mem::replace(read, true));
                for line in world.log.get(name).into_iter().chain(once).flatten() {
                    teller.read("x", format!("{line}\n").as_bytes(), at);
                }
                teller.batch(at)
            }
            Eye::Signal { signal, told } => {
                let said = world.signal.get(signal.name()).cloned().unwrap_or_default();
                let stands = match (said.set || said.count > 0, said.rejected) {
                    (_, true) => Stands::Rejected,
                    (true, _) => Stands::Set,
                    _ => Stands::Unset,
                };
                let new = said.count.saturating_sub(*told);
                *told = said.count;
                let posted = Posted { values: said.values, json: said.json };
                let posted = Some(&posted).filter(|p| **p != Posted::default());
                signal.batch(at, &Look { stands, posted, new, total: said.count })
            }
        }]
    }
}

/// A deployment on its stage.
struct Trial {
    deployment: Deployment,
    stage: Stage,
    config: Config,
    _folder: Scratch,
}

impl Trial {
    async fn new(name: &str) -> Trial {
        let folder = Scratch::new(&format!("deployment-{name}"));
        let deployment = Deployment::read(name);
        let mut stage = Stage::new(folder.path(), &deployment.ports()).await;
        stage.show(&deployment.good);
        let path = root().join(format!("tests/deployments/{name}.toml"));
        let config = load(path, stage.variables());
        Trial { deployment, stage, config, _folder: folder }
    }

    /// Tries every row, and that it would notice if nothing were bad; returns what is wrong.
    async fn run(&mut self) -> Vec<String> {
        let mut rows = std::mem::take(&mut self.deployment.row);
        let mut wrong = Vec::new();
        for row in &mut rows {
            if let Some(needs) = &row.needs {
                left_out(&format!("line {}", row.line), &format!("it needs {needs}"));
                continue;
            }
            wrong.extend(self.try_row(row).await.into_iter().map(|why| format!("{}: {why}", row.line)));
            row.bad = World::default();
            if self.try_row(row).await.is_empty() {
                wrong.push(format!("{}: what it says is also seen in the good world", row.line));
            }
        }
        wrong
    }

    async fn try_row(&mut self, row: &Row) -> Vec<String> {
        let good = self.deployment.good.with(&row.good);
        let bad = good.with(&row.bad);
        let mut wrong = Vec::new();
        if row.fails.is_some() || row.expect.is_some() || row.sample.is_some() {
            let looks = [self.look(row, &good).await, self.look(row, &bad).await];
            wrong.extend(judge(row, &looks[0], &looks[1]));
        }
        match (&row.rule, &row.not_armed) {
            (Some(rule), Some(why)) => {
                wrong.extend(self.arms(row, rule, &good, None).await.err());
                wrong.extend(self.arms(row, rule, &bad, Some(why)).await.err());
            }
            (Some(rule), None) => wrong.extend(self.watch(row, rule, &good, &bad).await.err()),
            (None, _) => {}
        }
        wrong
    }

    /// New sources of a row, in its order.
    fn eyes(&self, row: &Row, worlds: [&World; 2]) -> Vec<Eye> {
        let nothing = World::default();
        let worlds = if row.finds_logs { [&nothing; 2] } else { worlds };
        let all = |name: &String| {
            let eyes = Eye::all(&self.config, name, worlds, &self.stage.bin());
            assert!(!eyes.is_empty(), "{}: there is no {name}", row.line);
            eyes
        };
        row.source.iter().flat_map(all).collect()
    }

    /// One look of each source at a world.
    async fn look(&mut self, row: &Row, world: &World) -> Vec<Batch> {
        self.stage.begin();
        self.stage.show(world);
        let mut batches = Vec::new();
        for eye in &mut self.eyes(row, [world, world]) {
            for mut batch in eye.look(now(), world).await {
                world.figures(&mut batch, &mut BTreeMap::new());
                batches.push(batch);
            }
        }
        batches
    }

    /// Looks at the good world and then at the bad one in virtual time, until the rule is raised.
    async fn watch(&mut self, row: &Row, rule: &str, good: &World, bad: &World) -> Result<(), String> {
        let mut sources = self.eyes(row, [good, bad]);
        let mut rules = vec![rule];
        rules.extend(row.calm.iter().filter_map(|calm| calm.split(' ').next()));
        let mut time = Virtual::new(engine_config(&self.config, &rules)?, good);
        self.stage.begin();
        self.stage.show(good);
        let begin = time.begin + Span::mins(row.warm);
        if let Some(before) = row.deployed {
            let live = begin - Span::mins(before);
            time.pass(&mut sources, good, live, None).await;
            time.deploy(live);
        }
        time.pass(&mut sources, good, begin, None).await;
        if let Some((raised, _)) = time.raised.first() {
            return Err(format!("in the good world: {raised}\n{}", time.told(rule)));
        }
        self.stage.show(bad);
        sources.iter_mut().for_each(Eye::world_changes);
        let wanted = format!("{rule} {}", row.level.as_deref().unwrap_or("critical"));
        let end = begin + Span::mins(row.within);
        // What must stay calm must do so to the end.
        let until = Some(&wanted).filter(|_| row.calm.is_empty());
        if row.flaps {
            for look in 1..=row.within * 4 {
                let world = if look % 2 == 0 { good } else { bad };
                self.stage.show(world);
                time.pass(&mut sources, world, (begin + FLAP.times(look)).min(end), until).await;
            }
        } else {
            time.pass(&mut sources, bad, end, until).await;
        }
        if let Some(raised) = row.calm.iter().find(|calm| time.raised(calm).is_some()) {
            return Err(format!("`{raised}` is raised, which must stay calm\n{}", time.told(rule)));
        }
        match time.raised(&wanted) {
            Some(at) if at >= begin + Span::mins(row.earliest) => Ok(()),
            Some(at) => Err(format!("`{wanted}` after {} already\n{}", at - begin, time.told(rule))),
            None => Err(format!("`{wanted}` within {} m, but {:?}\n{}", row.within, time.raised, time.told(rule))),
        }
    }
}

impl Trial {
    /// Looks at one world while a deployment is watched: whether the rule is armed, or not for this reason.
    async fn arms(&mut self, row: &Row, rule: &str, world: &World, wanted: Option<&str>) -> Result<(), String> {
        let mut sources = self.eyes(row, [world, world]);
        let mut time = Virtual::new(engine_config(&self.config, &[rule])?, world);
        self.stage.begin();
        self.stage.show(world);
        let live = time.begin + Span::mins(row.warm);
        time.pass(&mut sources, world, live, None).await;
        time.deploy(live);
        time.pass(&mut sources, world, live + Span::mins(row.within), None).await;
        let snapshot = time.engine.snapshot(time.now);
        let said = snapshot.rules.iter().find(|r| r.name == rule).and_then(|r| r.not_armed.clone());
        match (wanted, &said) {
            (None, None) => Ok(()),
            (Some(why), Some(said)) if said.contains(why) => Ok(()),
            _ => Err(format!("not armed because {said:?}, not {wanted:?}\n{}", time.told(rule))),
        }
    }
}

fn judge(row: &Row, good: &[Batch], bad: &[Batch]) -> Vec<String> {
    let mut wrong = Vec::new();
    for batch in good {
        if let Outcome::Failed(failure) = &batch.outcome
            && !row.stopped
        {
            wrong.push(format!("{} fails in the good world: {failure}", batch.source));
        }
    }
    if let Some(reason) = &row.fails {
        let fails = |batch: &Batch| matches!(&batch.outcome, Outcome::Failed(failure) if failure.reason == reason);
        if !bad.iter().any(fails) {
            let seen: Vec<_> = bad.iter().map(|b| &b.outcome).collect();
            wrong.push(format!("in the bad world it is {seen:?}, not {reason}"));
        }
    }
    let expected = row.expect.as_ref().map(|expect| Seen {
        of: format!("probe_expect_ok{{expect={expect:?}}}"),
        good: 1.0,
        bad: 0.0,
    });
    for seen in row.sample.iter().chain(&expected) {
        for (batches, value, which) in [(good, seen.good, "good"), (bad, seen.bad, "bad")] {
            let found = values(batches, &seen.of);
            if found != [value] {
                wrong.push(format!("{} is {found:?} in the {which} world, not {value}", seen.of));
            }
        }
    }
    wrong
}

/// The values of all series of some looks that a selector means.
fn values(batches: &[Batch], selector: &str) -> Vec<f64> {
    let selector = promql::compile_selector(selector).unwrap_or_else(|e| panic!("{selector}: {e:?}"));
    batches.iter().flat_map(|b| &b.samples).filter(|s| selector.matches(&s.labels)).map(|s| s.value).collect()
}

/// An engine in virtual time.
struct Virtual {
    engine: Engine,
    begin: Timestamp,
    now: Timestamp,
    next: BTreeMap<String, Timestamp>,
    totals: BTreeMap<String, f64>,
    /// What was before the first look, as the world says it.
    history: BTreeMap<String, toml::Value>,
    /// All samples since.
    given: BTreeMap<Labels, (Vec<i64>, Vec<f64>)>,
    /// `rule critical`, `rule due`: what was raised, in order, and when.
    raised: Vec<(String, Timestamp)>,
}

impl Virtual {
    fn new(config: engine::Config, world: &World) -> Virtual {
        let begin = now();
        let engine = Engine::new(config, State::default(), begin, 7);
        let mut time = Virtual {
            engine,
            begin,
            now: begin,
            next: BTreeMap::new(),
            totals: BTreeMap::new(),
            history: world.history.clone(),
            given: BTreeMap::new(),
            raised: Vec::new(),
        };
        time.put(Input::Started { version: "test".into() });
        time
    }

    /// Looks with all sources, each at its interval, until `to` or until `wanted` is raised.
    async fn pass(&mut self, eyes: &mut [Eye], world: &World, to: Timestamp, wanted: Option<&String>) {
        loop {
            let next = |eye: &Eye| self.next.get(&eye.name()).copied().unwrap_or(self.begin);
            let Some(eye) = eyes.iter_mut().min_by_key(|eye| next(eye)) else { return };
            let at = next(eye);
            if at >= to || wanted.is_some_and(|wanted| self.raised(wanted).is_some()) {
                return;
            }
            self.next.insert(eye.name(), at + eye.interval());
            for mut batch in eye.look(at, world).await {
                world.figures(&mut batch, &mut self.totals);
                for sample in &batch.samples {
                    let (times, values) = self.given.entry(sample.labels.clone()).or_default();
                    times.push(sample.at.unwrap_or(at).0);
                    values.push(sample.value);
                }
                self.tick_until(at);
                self.put(Input::Batch(batch));
            }
        }
    }

    /// A new version is live at `at`, as `backstop deploy start --live` says it.
    fn deploy(&mut self, at: Timestamp) {
        self.tick_until(at);
        self.put(Input::Command {
            ticket: 1,
            command: Command::DeployStart {
                version: "2".into(),
                previous: Some("1".into()),
                plan: None,
                live: true,
                force: false,
                by: "anna".into(),
            },
        });
    }

    /// When this was raised first.
    fn raised(&self, wanted: &str) -> Option<Timestamp> {
        self.raised.iter().find(|(raised, _)| raised == wanted).map(|(_, at)| *at)
    }

    fn tick_until(&mut self, to: Timestamp) {
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

    fn put(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for effect in self.engine.step(self.now, input) {
                match effect {
                    engine::Effect::Journal(events) => {
                        self.raised.extend(events.iter().filter_map(raised).map(|raised| (raised, self.now)));
                    }
                    engine::Effect::Reply { reply, .. } => assert!(matches!(reply, Reply::Done { .. }), "{reply:?}"),
                    engine::Effect::History(question) => {
                        inputs.push(Input::History(question.answer_all(&self.past(question.from), Span::mins(5))));
                    }
                    _ => {}
                }
            }
        }
    }

    /// All that was, from this time on.
    fn past(&self, from: Timestamp) -> View {
        let made = past::made(&self.history, self.given.keys(), (from, self.begin));
        let given =
            self.given.iter().map(|(l, (times, values))| Stretch::new(l.clone(), times.clone(), values.clone()));
        View::new(made.into_iter().chain(given))
    }

    fn told(&self, rule: &str) -> String {
        let snapshot = self.engine.snapshot(self.now);
        snapshot.rules.iter().filter(|r| r.name == rule).map(|r| format!("{r:#?}")).collect()
    }
}

/// What an event raises, as a row writes it.
fn raised(event: &Event) -> Option<String> {
    match event {
        Event::Rule(Change::Level(t)) if t.to > t.from => {
            Some(format!("{} {}", t.rule, if t.to == Level::Critical { "critical" } else { "warning" }))
        }
        Event::Rule(Change::Criterion { rule, due: true, .. }) => Some(format!("{rule} due")),
        Event::Rule(Change::Target { rule, missed: true, .. }) => Some(format!("{rule} missed")),
        _ => None,
    }
}

/// The real time, which files and certificates have: virtual time begins there.
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp(i64::try_from(since.as_millis()).unwrap())
}

/// The engine as the agent makes it, with some of its rules and nobody to tell.
fn engine_config(config: &Config, rules: &[&str]) -> Result<engine::Config, String> {
    let mut made = wire::engine_config(config, "web-1", &wire::sources(config));
    made.signals.clear();
    made.rules.retain(|r| rules.contains(&r.name.as_str()));
    made.channels.clear();
    made.on_disk = false;
    match rules.iter().find(|wanted| made.rules.iter().all(|r| r.name != **wanted)) {
        Some(missing) => Err(format!("there is no rule {missing}")),
        None => Ok(made),
    }
}

fn load(path: PathBuf, sets: Vec<(String, String)>) -> Config {
    let options = Options {
        path: Some(path),
        sets,
        state: Some("/var/lib/backstop".into()),
        stderr_is_terminal: false,
        host: "web-1".into(),
        env: |_| None,
    };
    let loaded = config::load(&options);
    let told = loaded.render(false);
    loaded.config.unwrap_or_else(|| panic!("{told}"))
}

async fn hold(name: &str) {
    let mut trial = Trial::new(name).await;
    let wrong = trial.run().await;
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[tokio::test]
async fn the_lines_of_the_home_automation_ingestor_are_observed() {
    hold("ha").await;
}

#[tokio::test]
async fn the_lines_of_the_notes_assistant_are_observed() {
    hold("ob").await;
}

#[tokio::test]
async fn the_lines_of_the_storage_layer_are_observed() {
    hold("sp").await;
}

#[tokio::test]
async fn the_lines_of_the_bot_hive_are_observed() {
    hold("bh").await;
}

#[tokio::test]
async fn the_lines_of_the_planner_are_observed() {
    hold("pl").await;
}

#[test]
fn every_row_shows_a_bad_world_and_says_what_is_then_seen() {
    for name in NAMES {
        let deployment = Deployment::read(name);
        let mut seen = BTreeSet::new();
        for row in &deployment.row {
            let line = &row.line;
            let bad = format!("{:?}", row.bad);
            assert!(bad != format!("{:?}", World::default()), "{line} has no bad world");
            let says = row.fails.is_some() || row.expect.is_some() || row.sample.is_some() || row.rule.is_some();
            assert!(says, "{line} says nothing");
            assert!(row.sample.as_ref().is_none_or(|s| s.good != s.bad), "{line}: both worlds look the same");
            assert!(seen.insert(line.clone()), "{line} twice");
            assert!(!row.source.is_empty() && !row.asks.is_empty(), "{line}");
        }
    }
}

#[test]
fn the_page_lists_every_row_and_every_row_is_on_the_page() {
    let made = page();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(root().join(PAGE), &made).unwrap();
    }
    assert!(text(PAGE) == made, "{PAGE} is not what the rows say; UPDATE_GOLDEN=1 writes it anew");
}

#[test]
fn every_line_of_the_five_pages_is_observed_or_said_to_wait() {
    let pages = root().join("../shared/deployments");
    if !pages.exists() {
        left_out("the pages of the deployments", "they are not beside the repository");
        return;
    }
    let written: String = std::fs::read_dir(&pages)
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let asked: BTreeSet<String> = written.lines().filter_map(line_of).collect();
    let mut told = BTreeSet::new();
    for deployment in NAMES.map(Deployment::read) {
        told.extend(deployment.row.iter().map(|row| line(row).to_string()));
        told.extend(deployment.waits.into_iter().flat_map(|w| w.lines));
    }
    assert!(asked.len() > 200, "{}", asked.len());
    let missing: Vec<_> = asked.difference(&told).collect();
    let invented: Vec<_> = told.difference(&asked).collect();
    assert!(missing.is_empty() && invented.is_empty(), "missing: {missing:?}\ninvented: {invented:?}");
}

/// The line that a row of a page begins with: `| HA-01 | …`.
fn line_of(text: &str) -> Option<String> {
    let id = text.strip_prefix("| ")?.split(' ').next()?;
    let (name, number) = id.split_once('-')?;
    let is_id = name.len() == 2 && number.len() == 2 && number.bytes().all(|b| b.is_ascii_digit());
    is_id.then(|| id.to_string())
}

fn line(row: &Row) -> &str {
    row.line.split('/').next().unwrap_or_default()
}

/// What of a row is seen by, in words of the configuration.
fn observed_by(row: &Row) -> String {
    let mut text = row.source.iter().map(|s| format!("`{s}`")).collect::<Vec<_>>().join(", ");
    if let Some(expect) = &row.expect {
        write!(text, " expects `{expect}`").unwrap();
    }
    if let Some(seen) = &row.sample {
        write!(text, ", `{}`", seen.of).unwrap();
    }
    match (&row.rule, row.level.as_deref().unwrap_or("critical")) {
        (Some(rule), _) if row.not_armed.is_some() => write!(text, "; `rule.{rule}` is not armed").unwrap(),
        (Some(rule), "missed") => write!(text, "; `rule.{rule}` misses its target").unwrap(),
        (Some(rule), "due") => write!(text, "; `rule.{rule}` rolls back").unwrap(),
        (Some(rule), level) => write!(text, "; `rule.{rule}` is {level}").unwrap(),
        (None, _) => {}
    }
    text.replace('|', "\\|")
}

/// The page, as the rows say it.
fn page() -> String {
    let mut text = String::from(
        "# Lines of real deployments\n\nFive deployments, as their own plans describe them, were taken apart into numbered lines: what exists, what must \
         hold before and\nafter a release, when to alert, when to go back. This page says which of these lines backstop observes, by which \
         source or rule,\nand names the test row that holds it. Each row runs against a world in which all is well and one in which \
         this line is\nviolated (`tests/deployments.rs`); the configurations are those in `tests/deployments`, as their users would write \
         them.\n\nWhat cannot be ordered from a real host or clock (load, latency) is a real look with the figure in question replaced; what was before the\nfirst look is made up, seven days of one figure with a little noise.\n",
    );
    let mut waits: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in NAMES {
        let deployment = Deployment::read(name);
        let lines: BTreeSet<&str> = deployment.row.iter().map(line).collect();
        write!(
            text,
            "\n## {}\n\n{} Configuration: [{name}.toml](../tests/deployments/{name}.toml). ",
            deployment.title, deployment.about
        )
        .unwrap();
        write!(text, "{} lines in {} rows.\n\n", lines.len(), deployment.row.len()).unwrap();
        text += "| line | what is asked | observed by | test row |\n|---|---|---|---|\n";
        for row in &deployment.row {
            let left = row.needs.as_ref().map_or(String::new(), |needs| format!(" (left out: needs {needs})"));
            let asks = row.asks.replace('|', "\\|");
            writeln!(text, "| {} | {asks} | {} | `{name}` {}{left} |", line(row), observed_by(row), row.line).unwrap();
        }
        for wait in deployment.waits {
            waits.entry(wait.what).or_default().extend(wait.lines);
        }
    }
    text += "\n## Lines that wait\n\nNothing observes these yet. A line stands here once, for what it waits for most; where a part of a \
             line is observed, it stands\nabove.\n\n| waits for | how many | lines |\n|---|---|---|\n";
    for (what, lines) in waits {
        writeln!(text, "| {what} | {} | {} |", lines.len(), lines.join(" ")).unwrap();
    }
    text
}
