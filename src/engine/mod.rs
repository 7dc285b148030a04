//! Pure: owns the memory of the store, evaluates, routes to the machines, and returns their effects.
//!
//! Driven alike by the agent, a simulation and a test: `step(now, input) -> effects`. It only routes; if it
//! knew a threshold, the design would have leaked. Within a step, all at one `now`: the batch is appended, due
//! rules are evaluated, their machines run, and what they produce is appended. The first effect, if anything
//! happened that must be remembered, is [`Effect::Journal`]; the others are performed when that is durable.

mod asking;
pub mod command;
mod coverage;
mod exhibits;
pub mod facts;
mod gathering;
pub mod groups;
pub mod held;
pub mod history;
mod judge;
mod past;
mod scope;
mod sight;
pub mod signals;
mod situation;
pub mod snapshot;
pub mod state;
mod stories;
pub mod strata;
mod verdicts;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::{Batch, Id, Labels, Level, Line, Outcome, Sample, SourceRef, Span, Timestamp};
use crate::notify::outbox::{Receipt, Sending};
use crate::notify::story::Notice;
use crate::notify::subscription::Subscription;
use crate::promql::{self, CountReading};
use crate::rollback::machine::{self as rollback, ExecutionEnd, Mode, StepSeen};
use crate::rule::{Change, Rule};
use crate::source::signal::Signal;
use crate::store::{Limits, Past, Selector, Store, Stretch};
use crate::watch;

pub use asking::{Answer, Query};
use command::{Command, Reply};
use judge::{Judge, Turn};
pub use sight::Sight;
pub use state::{Event, State};
use verdicts::Changed;

/// Everything the engine is configured with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The application.
    pub app: String,
    /// The host's name.
    pub host: String,
    /// How it is judged.
    pub rules: Vec<Rule>,
    /// Rule groups of Prometheus.
    pub groups: groups::Settings,
    /// What is looked at, and told.
    pub sources: Vec<SourceInfo>,
    /// What people and programs may state.
    pub signals: Vec<Arc<Signal>>,
    /// Who hears of it.
    pub channels: Vec<Subscription>,
    /// The way back.
    pub rollback: rollback::Settings,
    /// A more careful mode than configured, and why.
    pub capped: Option<(Mode, String)>,
    /// The steps, as people read them.
    pub steps: Vec<String>,
    /// Why the steps could not run, whatever else happens.
    pub obstacles: Vec<String>,
    /// The sources that verify a rollback; all of the application's own where empty.
    pub probes: Vec<SourceRef>,
    /// How long deciding, executing and verifying should take at most.
    pub budgets: (Span, Span, Span),
    /// The watch.
    pub watch: watch::Settings,
    /// How the running version is known, beside what is read: [`Input::Version`].
    pub running: facts::Running,
    /// The zone of days of the week.
    pub zone: jiff::tz::TimeZone,
    /// How far back an instant selector looks.
    pub look_back: Span,
    /// Limits of the store.
    pub limits: Limits,
    /// Whether samples are kept on disk: then [`Effect::Persist`] and [`Effect::Load`] are asked for.
    pub on_disk: bool,
    /// Where the evidence of a run is kept, for messages.
    pub evidence: String,
}

impl Config {
    /// What holds where nothing is said: nothing is looked at, nobody hears of it, nothing is rolled back or kept on disk.
    pub fn new(app: &str, host: &str) -> Config {
        Config {
            app: app.into(),
            host: host.into(),
            rules: Vec::new(),
            groups: groups::Settings::default(),
            sources: Vec::new(),
            signals: Vec::new(),
            channels: Vec::new(),
            rollback: rollback::Settings::new(),
            capped: None,
            steps: Vec::new(),
            obstacles: Vec::new(),
            running: facts::Running::default(),
            probes: Vec::new(),
            budgets: (Span::mins(5), Span::mins(10), Span::mins(5)),
            watch: watch::config::default(),
            zone: jiff::tz::TimeZone::UTC,
            look_back: Span::mins(5),
            limits: Limits::default(),
            on_disk: false,
            evidence: String::new(),
        }
    }
}

/// What the engine knows of a source.
#[derive(Clone, Debug)]
pub struct SourceInfo {
    /// Its kind and name.
    pub source: SourceRef,
    /// Not ours: its trouble never rolls anything back.
    pub external: bool,
    /// Its absence alerts nobody, and proves nothing about a rollback.
    pub optional: bool,
    /// How often it may be asked, where it looks only when it is asked.
    pub manual: Option<Span>,
    /// Metric names that exist from the start.
    pub names: Vec<&'static str>,
}

impl SourceInfo {
    /// A source of this host's own that looks by itself.
    pub fn own(source: SourceRef, names: Vec<&'static str>) -> SourceInfo {
        SourceInfo { source, external: false, optional: false, manual: None, names }
    }
}

/// What comes in.
#[derive(Debug)]
pub enum Input {
    /// A look at a target.
    Batch(Batch),
    /// Time passed.
    Tick,
    /// Older samples that were asked for.
    Loaded {
        /// The question that this answers; the answer to an older one is left alone.
        ticket: u64,
        /// Series with samples.
        stretches: Vec<Stretch>,
        /// Whether these were the last, or why the rest cannot come.
        end: Option<Result<(), String>>,
    },
    /// A delivery was tried.
    Receipt(Receipt),
    /// The executor's journal, as read now.
    Execution {
        /// The execution's name.
        execution: String,
        /// Its process, while it lives.
        pid: Option<u32>,
        /// The steps that began.
        steps: Vec<StepSeen>,
        /// How it ended, once it has.
        end: Option<ExecutionEnd>,
    },
    /// What a rule's value was.
    History(history::Told),
    /// A remote server answered, or did not.
    Answer(Answer),
    /// The running version was read.
    Version(Result<String, String>),
    /// Somebody wants something; the reply goes to `ticket`.
    Command {
        /// Where the reply goes.
        ticket: u64,
        /// What is wanted.
        command: Command,
    },
    /// The wall clock was set.
    ClockStepped {
        /// By how much.
        by: Span,
    },
    /// A new configuration; it was checked before.
    Reload(Box<Config>),
    /// The journal can, or cannot, be written.
    Degraded(Option<String>),
    /// The agent begins.
    Started {
        /// Its version.
        version: String,
    },
    /// The agent ends.
    Stopping,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Make these durable, before anything else of this step is done.
    Journal(Vec<Event>),
    /// Keep these samples. Nothing waits for it.
    Persist(Box<Kept>),
    /// Read samples from before the hot window, and hand them in as [`Input::Loaded`].
    Load {
        /// To be handed in with them.
        ticket: u64,
        /// Which.
        wanted: Vec<Reach>,
        /// How many samples there may be: more do not fit into memory.
        most: u64,
    },
    /// Read what a rule's value was; the answer comes back as [`Input::History`].
    History(Box<history::Question>),
    /// Ask a remote server; the answer comes back as [`Input::Answer`].
    Query(Query),
    /// Try a delivery.
    Deliver(Box<Sending>),
    /// Have one rung executed: write the request, start the executor. Doing it again changes nothing.
    Execute(Box<Execution>),
    /// Leave word that an execution should stop between two steps.
    StopExecution(String),
    /// Keep the evidence of a run.
    Evidence {
        /// The run's short name.
        run: String,
        /// The content, JSON.
        content: String,
    },
    /// Answer a command.
    Reply {
        /// Whose.
        ticket: u64,
        /// The answer.
        reply: Reply,
    },
}

/// Samples as the store took them, to be kept on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Who wrote them.
    pub writer: Writer,
    /// When.
    pub at: Timestamp,
    /// The samples, stale markers included; with a time of their own where it is another.
    pub samples: Vec<Sample>,
    /// The state of the source after this look, as it gave it.
    pub checkpoint: Option<Arc<[u8]>>,
}

/// Who wrote samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Writer {
    /// A look at a target.
    Target {
        /// The source.
        source: SourceRef,
        /// The target.
        instance: String,
        /// How often it is looked at.
        interval: Span,
        /// Whether the look was good.
        good: bool,
    },
    /// The engine, for this family.
    Family(String),
}

/// Series that a rule asks for beyond the hot window.
#[derive(Clone, Debug)]
pub struct Reach {
    /// Which.
    pub selector: Selector,
    /// After when.
    pub from: Timestamp,
    /// Until when.
    pub to: Timestamp,
}

impl PartialEq for Reach {
    fn eq(&self, other: &Reach) -> bool {
        (self.selector.to_string(), self.from, self.to) == (other.selector.to_string(), other.from, other.to)
    }
}

/// One rung for the executor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// Its name.
    pub execution: String,
    /// The run.
    pub run: Id,
    /// The sealed plan's hash.
    pub plan: String,
    /// The rung.
    pub rung: String,
    /// The criterion's rule, or who wanted it.
    pub criterion: String,
    /// Who approved it.
    pub approved_by: Option<String>,
    /// Why, as people read it.
    pub reason: String,
    /// The run's short name.
    pub run_short: String,
    /// When it was asked for.
    pub asked_at: Timestamp,
}

/// The pure core.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    store: Store,
    judges: Vec<Judge>,
    groups: groups::Groups,
    verdicts: verdicts::Verdicts,
    state: State,
    targets: BTreeMap<(SourceRef, String), Target>,
    exhibits: exhibits::Exhibits,
    version: Option<(Timestamp, Result<String, String>)>,
    /// The source that told the version last.
    version_from: Option<SourceRef>,
    executing: Option<(String, Option<u32>, Vec<StepSeen>)>,
    degraded: Option<String>,
    observed_saved: Timestamp,
    own_written: Timestamp,
    started: Timestamp,
    /// How many questions were asked: their tickets.
    asked: u64,
    random: u128,
    counts: Counts,
    /// The newest question for old samples.
    load: u64,
    board: signals::Board,
    held: held::Held,
    /// Where the rules stand, by name.
    names: scope::Names,
    /// How many rules are ok and have data.
    rules_ok: usize,
    /// Rules whose dependants were journaled in this step.
    stood_noted: std::collections::BTreeSet<String>,
    /// When probes of a verification were asked last.
    asked_for: BTreeMap<SourceRef, Timestamp>,
}

/// A target as last seen.
#[derive(Clone, Debug)]
struct Target {
    external: bool,
    optional: bool,
    good: bool,
    /// It says whether it is well; one that is about to be started does not.
    says: bool,
    failure: Option<String>,
    last: Timestamp,
}

/// What happened in this life, for the agent's own metrics.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    batches: u64,
    samples: u64,
    refused: u64,
    evaluations: u64,
    transitions: u64,
    events: u64,
    steps: u64,
}

/// When a deadline that has passed without effect is looked at again.
const RETRY: Span = Span::millis(100);

/// How often the engine writes its own series, at least.
const OWN_EVERY: Span = Span::secs(15);

/// How far back a rule's samples are held at most, also where `@` fixes it to a moment long ago.
const LONGEST_REACH: Span = Span::hours(24 * 30);

/// Bytes of memory for each sample of a past that is read: twice what it takes while it is handed over.
const BYTES_WHILE_LOADED: usize = 32;

/// How often the rules of a stratum are gone through in one step, where one waits for another.
const MOST_PASSES: usize = 4;

/// How often the coverage of a watch is journaled.
const OBSERVED_EVERY: Span = Span::mins(5);

impl Engine {
    /// An engine with what the journal holds. `seed` feeds the random tails of identities.
    pub fn new(config: Config, state: State, now: Timestamp, seed: u128) -> Engine {
        let mut store = Store::new(config.limits.clone());
        for source in &config.sources {
            store.declare(&source.source, source.names.iter().copied());
        }
        let mut judges: Vec<Judge> = config.rules.iter().map(|r| Judge::new(r.clone(), now)).collect();
        for judge in &mut judges {
            for (key, s) in state.alerts.get(&judge.rule.name).into_iter().flatten() {
                let (labels, because) = (s.labels.clone(), s.because.clone());
                let alert = crate::rule::Alert::restored(labels, s.level, s.since, s.due, s.missed, because);
                judge.alerts.insert(*key, alert);
            }
            for (key, stood) in state.stood.get(&judge.rule.name).into_iter().flatten() {
                let new = || crate::rule::Alert::new(stood.labels.clone(), stood.at);
                judge.alerts.entry(*key).or_insert_with(new).stood(stood);
            }
            let held = state.held.get(&judge.rule.name).copied();
            judge.held_by_others = held.filter(|_| !judge.rule.scope.depends_on.is_empty());
            if let Some(live) = state.watches.live() {
                let observed = live.observed.get(&judge.rule.name).copied().unwrap_or(Span::ZERO);
                judge.begin_watch(now, observed);
            }
        }
        let rules_ok = judges.iter_mut().map(Judge::count_ok).filter(|now_ok| *now_ok).count();
        let board = signals::Board::new(&config.signals);
        let names = scope::Names::new(&judges);
        let groups = groups::Groups::new(&config.groups, &state.alerts, now);
        let verdicts = verdicts::Verdicts::new(&config, &mut judges);
        Engine {
            config,
            store,
            judges,
            groups,
            verdicts,
            state,
            targets: BTreeMap::new(),
            exhibits: exhibits::Exhibits::default(),
            version: None,
            version_from: None,
            executing: None,
            degraded: None,
            observed_saved: now,
            own_written: now - OWN_EVERY,
            started: now,
            asked: 0,
            random: seed,
            counts: Counts::default(),
            load: 0,
            board,
            held: held::Held::default(),
            names,
            rules_ok,
            stood_noted: std::collections::BTreeSet::new(),
            asked_for: BTreeMap::new(),
        }
    }

    /// One step: what follows from `input` at `now`. Effects are in the order they are to be done.
    pub fn step(&mut self, now: Timestamp, input: Input) -> Vec<Effect> {
        self.counts.steps += 1;
        self.stood_noted.clear();
        let mut out = Out::default();
        self.take_in(now, input, &mut out);
        self.store.retain(now);
        self.write_signals(now, &mut out);
        self.repeat_held(now, &mut out);
        self.run_groups(now, &mut out);
        self.evaluate_due(now, &mut out);
        self.run_machines(now, &mut out);
        self.write_own(now, &mut out);
        self.renew_verdicts(now, &mut out);
        out.effects.extend(self.state.outbox.take_due(now).into_iter().map(|s| Effect::Deliver(Box::new(s))));
        self.counts.events += out.events.len() as u64;
        if !out.events.is_empty() {
            out.effects.insert(0, Effect::Journal(out.events));
        }
        out.effects
    }

    /// When a step is needed even if nothing comes in.
    pub fn next_deadline(&self, now: Timestamp) -> Timestamp {
        let own = self.own_written + OWN_EVERY;
        let judges = self.judges.iter().map(Judge::due_at);
        let machines = [
            self.groups.deadline(),
            self.state.outbox.next_deadline(now),
            self.state.watches.deadline(&self.config.watch),
            self.state.rollbacks.deadline(&self.settings()),
            self.state.signals.deadline(),
            self.board.deadline(),
            self.held.deadline(),
            self.state.facts.deadline(),
        ];
        // What has passed was tried in the step before, and waits for something else.
        let machines = machines.into_iter().flatten().map(|at| if at <= now { now + RETRY } else { at });
        judges.chain(machines).chain([own]).min().unwrap_or(own)
    }

    /// What is journaled, for a snapshot of the journal.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The store, for those who read it.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// States that samples cannot be kept, whatever the configuration says; before the first step.
    pub fn set_on_disk(&mut self, on_disk: bool) {
        self.config.on_disk = on_disk;
    }

    /// Puts samples from before a restart in; before the first step.
    pub fn restore(&mut self, put: impl FnOnce(&mut Store)) {
        put(&mut self.store);
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The execution whose journal is to be read, if one is under way.
    pub fn execution(&self) -> Option<&str> {
        self.state.rollbacks.open().and_then(rollback::Run::execution)
    }

    /// The execution that is under way, to be asked for again after a restart.
    pub fn pending_execution(&self) -> Option<Execution> {
        self.state.rollbacks.open().and_then(execution_of)
    }

    fn take_in(&mut self, now: Timestamp, input: Input, out: &mut Out) {
        match input {
            Input::Batch(batch) => self.take_batch(now, batch, out),
            Input::Loaded { ticket, stretches, end } if ticket == self.load => self.take_loaded(&stretches, end),
            Input::Loaded { .. } => {}
            Input::Tick => {}
            Input::Receipt(receipt) => {
                for event in self.state.outbox.receipt(&receipt) {
                    self.record(Event::Delivery(event), out);
                }
            }
            Input::Execution { execution, pid, steps, end } => {
                self.take_execution(now, &execution, pid, steps, end, out);
            }
            Input::History(told) => self.take_history(now, told, out),
            Input::Answer(answer) => {
                // One that nobody waits for any more changes nothing.
                self.judges.iter_mut().any(|judge| judge.take_answer(&answer, now));
            }
            Input::Version(version) => self.take_version(now, version, out),
            Input::Command { ticket, command } => {
                let reply = self.command(now, command, out);
                out.effects.push(Effect::Reply { ticket, reply });
            }
            Input::ClockStepped { by } => self.take_clock_step(now, by, out),
            Input::Reload(config) => self.reload(now, *config, out),
            Input::Degraded(why) => self.take_degraded(now, why, out),
            Input::Started { version } => {
                self.record(Event::Started { at: now, version }, out);
                self.begin_signals(now, out);
                self.end_removed_targets(now, out);
                self.reach_back(now, out);
                self.gather_all(now, out);
                self.replay_conditions(now, out);
                for event in self.state.outbox.retire(&self.config.channels, now) {
                    self.record(Event::Delivery(event), out);
                }
                self.end_alerts_of_removed_rules(now, out);
                out.effects.extend(self.pending_execution().map(|e| Effect::Execute(Box::new(e))));
            }
            Input::Stopping => {
                self.save_observed(now, out);
                self.record(Event::Stopped { at: now }, out);
            }
        }
    }

    fn take_batch(&mut self, now: Timestamp, mut batch: Batch, out: &mut Out) {
        self.held.note(&mut batch);
        self.exhibits.keep(&batch);
        self.append(now, &batch, out);
        self.take_facts(now, &batch, out);
        let info = self.config.sources.iter().find(|info| info.source == batch.source);
        let (external, optional) = info.map_or((false, false), |info| (info.external, info.optional));
        let failure = match &batch.outcome {
            Outcome::Good => None,
            Outcome::Failed(failure) => Some(failure.to_string()),
        };
        let says = batch.samples.iter().rev().any(|sample| sample.labels.name() == "probe_success");
        let target = Target { external, optional, good: failure.is_none(), says, failure, last: batch.at.min(now) };
        self.targets.insert((batch.source, batch.instance), target);
    }

    /// Appends a batch, has it kept, and wakes the rules that read it.
    fn append(&mut self, now: Timestamp, batch: &Batch, out: &mut Out) {
        self.counts.batches += 1;
        self.counts.samples += batch.samples.len() as u64;
        let appended = if self.config.on_disk {
            let mut samples = Vec::with_capacity(batch.samples.len());
            let appended = self.store.append_recorded(batch, &mut |labels, at, value| {
                samples.push(Sample { labels: labels.clone(), value, at: (at != batch.at).then_some(at) });
            });
            let writer = Writer::Target {
                source: batch.source.clone(),
                instance: batch.instance.clone(),
                interval: batch.interval,
                good: batch.outcome == Outcome::Good,
            };
            let kept = Kept { writer, at: batch.at, samples, checkpoint: batch.checkpoint.clone() };
            out.effects.push(Effect::Persist(Box::new(kept)));
            appended
        } else {
            self.store.append(batch)
        };
        self.counts.refused += appended.refused;
        for judge in &mut self.judges {
            judge.delivered(appended.target, appended.events, &self.store, now);
        }
    }

    fn take_loaded(&mut self, stretches: &[Stretch], end: Option<Result<(), String>>) {
        if !stretches.iter().all(|stretch| self.store.insert_older(stretch)) {
            self.load += 1;
            let why = "it does not fit into memory; raise [agent] memory, or let the rule reach less far back";
            return self.store.set_past(Past::Unreadable(why.into()));
        }
        match end {
            None => {}
            Some(Ok(())) => self.store.set_past(Past::Complete),
            Some(Err(why)) => self.store.set_past(Past::Unreadable(why)),
        }
    }

    /// Series of sources that the configuration no longer has end: nobody looks whether they are still there.
    fn end_removed_targets(&mut self, now: Timestamp, out: &mut Out) {
        let known = |source: &SourceRef| self.config.sources.iter().any(|info| info.source == *source);
        let of_group = |t: &crate::store::Target| self.groups.has_target(&t.source, &t.instance);
        let targets = self.store.targets().filter(|(_, t)| t.gives() && !known(&t.source) && !of_group(t));
        let gone: Vec<_> = targets.map(|(id, _)| id).collect();
        for id in gone {
            let mut samples = Vec::new();
            self.store.end_target(id, now, &mut |labels, at, value| {
                samples.push(Sample { labels: labels.clone(), value, at: (at != now).then_some(at) });
            });
            if self.config.on_disk && !samples.is_empty() {
                let target = self.store.target(id);
                let writer = Writer::Target {
                    source: target.source.clone(),
                    instance: target.instance.clone(),
                    interval: target.interval,
                    good: false,
                };
                out.effects.push(Effect::Persist(Box::new(Kept { writer, at: now, samples, checkpoint: None })));
            }
        }
    }

    /// Asks for what rules reach back for beyond the hot window, when that may have changed.
    fn reach_back(&mut self, now: Timestamp, out: &mut Out) {
        // What was held until now is held; a hot window that a reload made longer is not yet.
        let hot = self.config.limits.hot.min(Span(now.0.saturating_sub(self.store.held_since().0)));
        self.load += 1;
        let rules = self.config.rules.iter();
        let reach = rules.flat_map(|rule| rule.reach(self.config.look_back));
        let reach = reach.chain(self.groups.reach(self.config.look_back)).filter(|(_, reach)| *reach > hot);
        let reach: Vec<(Selector, Span)> =
            reach.map(|(selector, reach)| (selector, reach.min(LONGEST_REACH))).collect();
        self.store.set_reach(reach.clone());
        self.store.set_past(Past::Complete);
        if reach.is_empty() || !self.config.on_disk {
            return;
        }
        self.store.set_past(Past::Loading);
        let wanted = |(selector, reach): (Selector, Span)| Reach { selector, from: now - reach, to: now };
        let wanted = reach.into_iter().map(wanted).collect();
        let most = (self.config.limits.max_bytes / BYTES_WHILE_LOADED) as u64;
        out.effects.push(Effect::Load { ticket: self.load, wanted, most });
    }

    fn take_execution(
        &mut self,
        now: Timestamp,
        execution: &str,
        pid: Option<u32>,
        steps: Vec<StepSeen>,
        end: Option<ExecutionEnd>,
        out: &mut Out,
    ) {
        let settings = self.settings();
        let events = self.state.rollbacks.on_execution(now, &settings, execution, steps.clone(), end);
        self.executing = Some((execution.to_string(), pid, steps));
        self.take_rollback_events(now, events, out);
    }

    fn take_clock_step(&mut self, now: Timestamp, by: Span, out: &mut Out) {
        self.store.shift(by);
        self.judges.iter_mut().for_each(|j| j.shift(by));
        self.groups.shift(by, now);
        self.targets.values_mut().for_each(|t| t.last += by);
        self.exhibits.shift(by);
        self.started += by;
        self.own_written += by;
        self.observed_saved += by;
        self.board.shift(by);
        self.held.shift(by);
        self.asked_for.values_mut().for_each(|at| *at += by);
        if let Some((at, _)) = &mut self.version {
            *at += by;
        }
        if *self.store.past() == Past::Loading {
            // What is being read has the times from before.
            self.reach_back(now, out);
        }
        self.record(Event::ClockStepped { at: now, by }, out);
    }

    fn take_degraded(&mut self, now: Timestamp, why: Option<String>, out: &mut Out) {
        let was = std::mem::replace(&mut self.degraded, why.clone());
        let notice = match (was, why) {
            (None, Some(why)) => stories::degraded(self, now, &why),
            (Some(_), None) => stories::no_longer_degraded(self, now),
            _ => return,
        };
        self.tell(now, notice, out);
    }

    fn reload(&mut self, now: Timestamp, config: Config, out: &mut Out) {
        let mut old: BTreeMap<String, Judge> =
            std::mem::take(&mut self.judges).into_iter().map(|j| (j.rule.name.clone(), j)).collect();
        self.judges = config
            .rules
            .iter()
            .map(|rule| {
                let mut judge = Judge::new(rule.clone(), now);
                if let Some(old) = old.remove(&rule.name) {
                    judge.inherit(old);
                } else if self.state.watches.live().is_some() {
                    judge.begin_watch(now, Span::ZERO);
                }
                judge
            })
            .collect();
        self.groups.reload(&config.groups, &self.state.alerts, now);
        self.verdicts = verdicts::Verdicts::new(&config, &mut self.judges);
        for source in &config.sources {
            self.store.declare(&source.source, source.names.iter().copied());
        }
        self.store.set_limits(config.limits.clone());
        self.targets.retain(|(source, _), _| config.sources.iter().any(|s| s.source == *source));
        self.exhibits.retain(|source| config.sources.iter().any(|s| s.source == *source));
        if !config.running.is_known() {
            (self.version, self.version_from) = (None, None);
        }
        self.config = config;
        self.names = scope::Names::new(&self.judges);
        self.rules_ok = self.judges.iter_mut().map(Judge::count_ok).filter(|now_ok| *now_ok).count();
        self.board.renew(&self.config.signals);
        self.held.begin_anew();
        self.settle_signals(now, out);
        self.end_removed_targets(now, out);
        self.reach_back(now, out);
        self.gather_all(now, out);
        for event in self.state.outbox.retire(&self.config.channels, now) {
            self.record(Event::Delivery(event), out);
        }
        self.end_alerts_of_removed_rules(now, out);
    }

    /// Names are identities: the alerts of a rule that is not there any more end as gone.
    fn end_alerts_of_removed_rules(&mut self, now: Timestamp, out: &mut Out) {
        let removed: Vec<(String, Labels, Level, bool, crate::base::Because)> = self
            .state
            .alerts
            .iter()
            .filter(|(rule, _)| self.judge_named(rule).is_none() && !self.groups.has_alert(rule))
            .flat_map(|(rule, of)| {
                of.values().map(|s| (rule.clone(), s.labels.clone(), s.level, s.due, s.because.clone()))
            })
            .collect();
        for (rule, labels, from, due, because) in removed {
            if due {
                let change = Change::Criterion {
                    rule: rule.clone(),
                    labels: labels.clone(),
                    due: false,
                    at: now,
                    because: because.clone(),
                };
                self.take_change(now, change, out);
            }
            if from > Level::Ok {
                let t = crate::rule::Transition { rule, labels, from, to: Level::Ok, at: now, because, gone: true };
                self.take_change(now, Change::Level(t), out);
            }
        }
        self.settle_groups(now, out);
    }

    /// Rules that judge others come after those, so that they see what those said in the same step.
    fn evaluate_due(&mut self, now: Timestamp, out: &mut Out) {
        // While a deployment settles its downtime is planned, and nothing is judged but the agent itself.
        let settling = self.state.watches.settling().is_some();
        for stratum in 0..=self.verdicts.highest() {
            let mut changed = Changed::default();
            // A change wakes the rules that wait for it; they may stand before it.
            for _ in 0..MOST_PASSES {
                let rests = |j: &Judge| settling && j.rests_while_settling;
                let is_due = |j: &Judge| j.stratum == stratum && j.due_at() <= now && !rests(j);
                let due: Vec<usize> = (0..self.judges.len()).filter(|i| is_due(&self.judges[*i])).collect();
                if due.is_empty() {
                    break;
                }
                for i in due {
                    changed |= self.evaluate(i, now, out);
                }
            }
            if stratum == 0 && self.verdicts.are_urgent(changed) {
                self.own_written = now - OWN_EVERY;
                self.write_own(now, out);
            } else if stratum > 0 && (changed.levels || changed.data) {
                self.write_verdicts(now, stratum, out);
            }
        }
        if settling {
            self.judges
                .iter_mut()
                .filter(|j| j.rests_while_settling && j.due_at() <= now)
                .for_each(|j| j.postpone(now));
        }
    }

    /// One rule's turn; what changed that others may read.
    fn evaluate(&mut self, i: usize, now: Timestamp, out: &mut Out) -> Changed {
        self.judges[i].gathering.give_up(now);
        let situation = self.situation_of(i, now);
        let judge = &mut self.judges[i];
        let had_data = judge.no_data.is_none();
        let is_held = situation.may == crate::rule::Turn::Held;
        // Freed, it goes on from how it stood; held, from what is left of that. What it sees at this moment is seen again.
        let since = now - Span::millis(1);
        let freed = (judge.is_held_by_others() && !is_held).then(|| judge.entered(since));
        let turn = judge.turn(&self.store, self.config.look_back, now, self.asked, situation);
        if judge.is_held_by_others() != is_held {
            let (rule, stood) = (judge.rule.name.clone(), freed.unwrap_or_else(|| judge.entered(since)));
            judge.held_by_others = Some((since, is_held));
            self.record(Event::Held { rule, at: since, held: is_held, stood }, out);
        }
        self.count_ok(i);
        let changes = match turn {
            Turn::Judged(changes) => changes,
            Turn::Asks(query) => {
                self.asked += 1;
                out.effects.push(Effect::Query(query));
                return Changed::default();
            }
            Turn::Waits => return Changed::default(),
        };
        self.counts.evaluations += 1;
        let changed = Changed { levels: !changes.is_empty(), data: had_data != self.judges[i].no_data.is_none() };
        for change in changes {
            self.take_change(now, change, out);
        }
        changed
    }

    /// Counts a rule that was judged.
    fn count_ok(&mut self, i: usize) {
        let (was, is) = (self.judges[i].was_ok(), self.judges[i].count_ok());
        self.rules_ok = self.rules_ok + usize::from(is) - usize::from(was);
    }

    fn take_change(&mut self, now: Timestamp, mut change: Change, out: &mut Out) {
        self.counts.transitions += 1;
        match &mut change {
            Change::Level(t) if t.to > Level::Ok => t.because.lines = self.lines(now, &t.rule, &t.labels),
            Change::Level(t) => t.because.lines.clear(),
            Change::Criterion { rule, labels, due: true, because, .. } => because.lines = self.lines(now, rule, labels),
            Change::Criterion { rule, labels, due: false, because, .. }
            | Change::Target { rule, labels, because, .. } => {
                because.lines = self.state.lines_of(rule, labels).to_vec();
            }
        }
        let live = self.state.watches.live().map(|d| d.id.clone());
        self.wake_dependants(now, &change);
        self.note_stood(now, &change, out);
        match &change {
            Change::Level(t) => {
                let random = self.random();
                let (events, reason) = self.state.incidents.on(t, random);
                // It is told of as it was; the others are there as they are.
                let is_over = reason == Some(crate::incident::Reason::Resolved);
                let before = self.state.incidents.of_rule(&t.rule).filter(|_| is_over).cloned();
                self.record(Event::Rule(change.clone()), out);
                for event in events {
                    self.record(Event::Incident(event), out);
                }
                if let (Some(id), true) = (live, t.to > Level::Ok) {
                    let event = watch::Event::Alerted { id, rule: t.rule.clone(), level: t.to };
                    self.record(Event::Watch(event), out);
                }
                if let Some(reason) = reason {
                    let notice = stories::alert(self, t, reason, before.as_ref());
                    self.tell(now, notice, out);
                }
            }
            Change::Criterion { rule, due, .. } => {
                if let (Some(id), true) = (live, *due) {
                    self.record(Event::Watch(watch::Event::CriterionDue { id, rule: rule.clone() }), out);
                }
                self.record(Event::Rule(change.clone()), out);
            }
            Change::Target { rule, missed, .. } => {
                if let (Some(id), true) = (live, *missed) {
                    self.record(Event::Watch(watch::Event::Missed { id, rule: rule.clone() }), out);
                }
                self.record(Event::Rule(change.clone()), out);
            }
        }
    }

    /// The lines that an alert is about.
    fn lines(&self, now: Timestamp, rule: &str, labels: &Labels) -> Vec<Line> {
        let judged = self.judge_named(rule).map(|judge| &judge.rule);
        let evidence = match judged {
            Some(rule) => rule.evidence(self.config.look_back),
            None => self.groups.evidence(rule, self.config.look_back),
        };
        // What the rule itself adds to an alert says nothing of where its lines are.
        let adds = |name: &str| judged.map_or_else(|| self.groups.adds(rule, name), |r| !r.labels.get(name).is_empty());
        let labels = labels.filtered(|name| name != "alertname" && !adds(name));
        let count = |counter: &Selector, window: Span| match promql::count_events(
            counter,
            counter,
            window,
            &[],
            &self.store,
            now,
        ) {
            CountReading::Counts(points) => points.iter().map(|point| point.total).sum::<f64>().round() as u64,
            CountReading::NoData(_) | CountReading::Failed(_) => 0,
        };
        self.exhibits.of_alert(&evidence, &labels, now, count)
    }

    fn run_machines(&mut self, now: Timestamp, out: &mut Out) {
        self.tell_changes(now, out);
        for event in self.state.outbox.overdue(now) {
            self.record(Event::Delivery(event), out);
        }
        let any_due = self.state.alerts.values().flat_map(|a| a.values()).any(|s| s.due);
        if any_due || self.state.rollbacks.open().is_some() {
            let situation = self.situation(now);
            let (settings, random) = (self.settings(), self.random());
            let events = self.state.rollbacks.step(&situation, &settings, random);
            self.take_rollback_events(now, events, out);
        }
        let Some(open) = self.state.watches.open() else { return };
        if open.t0.is_some() && now - self.observed_saved >= OBSERVED_EVERY {
            self.save_observed(now, out);
        }
        if self.state.watches.deadline(&self.config.watch).is_some_and(|at| at <= now)
            || self.state.watches.open().is_some_and(|d| d.rollback.is_some())
        {
            self.end_watch_if_due(now, out);
        }
    }

    fn end_watch_if_due(&mut self, now: Timestamp, out: &mut Out) {
        let standing = self.standing();
        if self.state.watches.step(now, &standing, &self.config.watch).is_empty() {
            return;
        }
        // The verdict counts up to this moment.
        self.save_observed(now, out);
        let standing = self.standing();
        for event in self.state.watches.step(now, &standing, &self.config.watch) {
            self.take_watch_event(now, event, out);
        }
    }

    fn take_watch_event(&mut self, now: Timestamp, event: watch::Event, out: &mut Out) {
        self.record(Event::Watch(event.clone()), out);
        if let watch::Event::Live { at, .. } = &event {
            let at = *at;
            self.judges.iter_mut().for_each(|j| j.begin_watch(at, Span::ZERO));
            self.observed_saved = at;
            self.gather_all(now, out);
        }
        if let Some(notice) = stories::deployment(self, &event) {
            self.tell(now, notice, out);
        }
    }

    fn take_rollback_events(&mut self, now: Timestamp, events: Vec<rollback::Event>, out: &mut Out) {
        for event in events {
            self.record(Event::Rollback(event.clone()), out);
            match &event {
                rollback::Event::Executing { run, .. } => self.begin_execution(run, out),
                rollback::Event::Executed { .. } => self.judges.iter_mut().for_each(Judge::rebase),
                rollback::Event::Stopping { run, .. } => {
                    let execution = self.state.rollbacks.get(run).and_then(|r| r.execution().map(String::from));
                    out.effects.extend(execution.map(Effect::StopExecution));
                }
                rollback::Event::Ended { run, outcome, .. } => {
                    let begun = self.state.rollbacks.get(run).filter(|r| r.started.is_some());
                    if let Some(run) = begun {
                        let (id, short, word) = (run.deployment.clone(), run.short(), outcome.word());
                        let event = watch::Event::Rollback { id, run: short, outcome: Some(word.into()) };
                        self.record(Event::Watch(event), out);
                    }
                }
                _ => {}
            }
            if let Some(notice) = stories::rollback(self, &event) {
                self.tell(now, notice, out);
            }
        }
    }

    fn begin_execution(&mut self, run: &Id, out: &mut Out) {
        let Some(run) = self.state.rollbacks.get(run) else { return };
        let first = run.begun == 1;
        let (id, short) = (run.deployment.clone(), run.short());
        let execution = execution_of(run);
        if first {
            self.record(Event::Watch(watch::Event::Rollback { id, run: short.clone(), outcome: None }), out);
            out.effects.push(Effect::Evidence { run: short, content: view::evidence(self) });
        }
        self.executing = None;
        out.effects.extend(execution.map(|e| Effect::Execute(Box::new(e))));
    }

    fn take_signal_event(&mut self, event: signals::Event, out: &mut Out) {
        self.board.note(&event);
        self.record(Event::Signal(event), out);
    }

    /// What the journal knows and the samples do not tell yet; and what the configuration does not have any more.
    fn begin_signals(&mut self, now: Timestamp, out: &mut Out) {
        let store = &self.store;
        let newest = |signal: &Signal| store.newest_of(signal.total_series());
        self.board.catch_up(&self.state.signals, newest);
        self.settle_signals(now, out);
    }

    fn settle_signals(&mut self, now: Timestamp, out: &mut Out) {
        for event in self.state.signals.settle(now, &self.config.signals) {
            self.take_signal_event(event, out);
        }
    }

    /// Lifetimes run out, and the series of signals are written: at once where something happened.
    fn write_signals(&mut self, now: Timestamp, out: &mut Out) {
        for event in self.state.signals.ran_out(now) {
            self.take_signal_event(event, out);
        }
        for batch in self.board.due(now, &self.state.signals) {
            self.append(now, &batch, out);
        }
    }

    /// What sources that are told gave last holds: while they are well, it is written again from time to time.
    fn repeat_held(&mut self, now: Timestamp, out: &mut Out) {
        for batch in self.held.due(now) {
            self.take_batch(now, batch, out);
        }
    }

    /// Decides who hears of it, and journals the deliveries.
    fn tell(&mut self, now: Timestamp, notice: Notice, out: &mut Out) {
        let random = self.random();
        for event in self.state.outbox.decide(&self.config.channels, &notice, now, random) {
            self.record(Event::Delivery(event), out);
        }
    }

    fn record(&mut self, event: Event, out: &mut Out) {
        self.state.apply(&event);
        out.events.push(event);
    }

    fn save_observed(&mut self, now: Timestamp, out: &mut Out) {
        self.observed_saved = now;
        let Some(live) = self.state.watches.live() else { return };
        let observed = self.judges.iter().map(|j| (j.rule.name.clone(), j.observed)).collect();
        let event = watch::Event::Observed { id: live.id.clone(), observed, at: now };
        self.record(Event::Watch(event), out);
    }

    /// Appends the series that the engine itself writes.
    fn write_own(&mut self, now: Timestamp, out: &mut Out) {
        if now - self.own_written < OWN_EVERY {
            return;
        }
        self.own_written = now;
        self.write_verdicts(now, 0, out);
        let sample = |labels: Labels, value: f64| Sample { labels, value, at: None };
        let ages = self.state.outbox.oldest(now);
        let oldest = ages.into_iter().map(|(channel, age)| {
            let labels = Labels::new([("__name__", "backstop_delivery_oldest_seconds"), ("channel", &channel)]);
            sample(labels, age.as_secs())
        });
        let oldest: Vec<Sample> = oldest.collect();
        let mut deployment = Vec::new();
        if let Some(d) = self.state.watches.live() {
            let previous = d.previous.as_deref().unwrap_or("");
            let info = [("__name__", "backstop_deployment_info"), ("version", &*d.version), ("previous", previous)];
            deployment.push(sample(Labels::new(info), 1.0));
            let age = now - d.t0.unwrap_or(now);
            deployment.push(sample(Labels::new([("__name__", "backstop_deployment_age_seconds")]), age.as_secs()));
            for (reason, ready) in self.readiness(d) {
                let labels = Labels::new([("__name__", "backstop_rollback_ready"), ("reason", reason)]);
                deployment.push(sample(labels, f64::from(u8::from(ready))));
            }
        }
        if let Some(d) = self.state.watches.open() {
            for (event, at) in [("start", Some(d.announced)), ("complete", d.t0)] {
                let labels = Labels::new([("__name__", "backstop_deployment_timestamp_seconds"), ("event", event)]);
                deployment.extend(at.map(|at| sample(labels, at.0 as f64 / 1000.0)));
            }
        }
        for (family, samples) in [("backstop_delivery_oldest_seconds", oldest), ("backstop_deployment", deployment)] {
            self.append_own(now, family, &samples, out);
        }
        self.judges.iter_mut().filter(|j| j.stratum > 0).for_each(|j| j.wake(now));
    }

    fn append_own(&mut self, now: Timestamp, family: &str, samples: &[Sample], out: &mut Out) {
        if !self.config.on_disk {
            return self.store.append_own(now, family, samples);
        }
        let mut kept = Vec::with_capacity(samples.len());
        self.store.append_own_recorded(now, family, samples, &mut |labels, at, value| {
            kept.push(Sample { labels: labels.clone(), value, at: (at != now).then_some(at) });
        });
        if !kept.is_empty() {
            let writer = Writer::Family(family.to_string());
            out.effects.push(Effect::Persist(Box::new(Kept { writer, at: now, samples: kept, checkpoint: None })));
        }
    }

    /// The next random number: SplitMix64 twice (G. Steele, D. Lea, C. Flood, 2014), so that a seed gives the
    /// same identities in every replay.
    fn random(&mut self) -> u128 {
        let mut next = || {
            self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.random as u64;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        (u128::from(next()) << 64) | u128::from(next())
    }
}

/// What one step gathers.
#[derive(Debug, Default)]
struct Out {
    events: Vec<Event>,
    effects: Vec<Effect>,
}

fn execution_of(run: &rollback::Run) -> Option<Execution> {
    let execution = run.execution()?.to_string();
    Some(Execution {
        execution,
        run: run.id.clone(),
        plan: run.plan.clone(),
        rung: run.rungs.get(run.begun.saturating_sub(1))?.clone(),
        // A name, as the executor asks for one: {criterion} reaches the steps.
        criterion: run.criterion.clone().unwrap_or_else(|| "person".into()),
        approved_by: run.approved.as_ref().map(|a| a.by.clone()),
        reason: run.why.clone(),
        run_short: run.short(),
        asked_at: run.started.unwrap_or(run.opened),
    })
}
