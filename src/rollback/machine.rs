//! The agent's side of a rollback: asks, announces, has it executed, verifies, and says how it ended.
//!
//! Enters: the situation (criteria that are due, what the executor's journal says, how the application does) and
//! what people say. Leaves: events, journaled before anything is done. It never runs a step itself. State is the
//! fold of its events; what an execution did is the executor's own journal, read again after a restart.

use serde::{Deserialize, Serialize};

use super::guard::{self, Facts, Guard};
use crate::base::{Because, Id, Labels, Span, Timestamp};

/// What a due criterion does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Says what it would do.
    #[default]
    Observe,
    /// Waits for a person.
    Ask,
    /// Announces it, and does it.
    Auto,
}

impl Mode {
    /// The word of the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Observe => "observe",
            Mode::Ask => "ask",
            Mode::Auto => "auto",
        }
    }

    /// The mode of that word.
    pub fn named(word: &str) -> Option<Mode> {
        [Mode::Observe, Mode::Ask, Mode::Auto].into_iter().find(|m| m.as_str() == word)
    }
}

/// The configured behaviour.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The mode in force.
    pub mode: Mode,
    /// How long a person is waited for.
    pub ask_within: Span,
    /// Whether silence means yes.
    pub ask_otherwise_roll_back: bool,
    /// How long an automatic run is announced before its first step.
    pub notice: Span,
    /// How long the recovery may take.
    pub verify_within: Span,
    /// How long everything must be good without a break to count as recovered.
    pub confirm: Span,
    /// How long after a verified rollback a criterion that is due again is called a relapse.
    pub stable_for: Span,
    /// The rungs that have steps, from the mildest.
    pub ladder: Vec<String>,
}

impl Settings {
    /// What holds where nothing is said: a due criterion is only told.
    #[expect(clippy::new_without_default, reason = "what holds is said by name")]
    pub fn new() -> Settings {
        Settings {
            mode: Mode::Observe,
            ask_within: Span::mins(5),
            ask_otherwise_roll_back: false,
            notice: Span::secs(30),
            verify_within: Span::mins(10),
            confirm: Span::mins(1),
            stable_for: Span::mins(15),
            ladder: vec!["version".into()],
        }
    }
}

/// One criterion that is due.
#[derive(Clone, Debug, PartialEq)]
pub struct Due {
    /// Its rule.
    pub rule: String,
    /// The alert's labels.
    pub labels: Labels,
    /// Why.
    pub because: Because,
    /// Since when the trouble stands without a break.
    pub bad_since: Timestamp,
    /// What it depends on and is in trouble itself, as people read it.
    pub dependency: Option<String>,
    /// A more careful mode of the rule's own.
    pub mode: Option<Mode>,
    /// The highest rung it may use.
    pub rung: Option<String>,
}

/// The deployment that could be taken back.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployed {
    /// Its identity.
    pub id: Id,
    /// The version that went live.
    pub version: String,
    /// The version before.
    pub previous: Option<String>,
    /// The sealed plan's hash.
    pub plan: Option<String>,
    /// When it was announced.
    pub announced: Timestamp,
}

/// How the application does, as far as a verification asks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// Rules with a rollback condition that are not ok, each as people read it.
    pub bad: Vec<String>,
    /// Rules that are ok on fresh data since the steps ended, each as people read it.
    pub good: Vec<String>,
    /// Rules without fresh data since then.
    pub unseen: Vec<String>,
    /// Targets that fail, of those that verify.
    pub failing: Vec<String>,
    /// Targets that were seen to succeed since the steps ended.
    pub succeeding: usize,
    /// Targets not yet seen since the steps ended.
    pub waiting: usize,
    /// The running version as read back since the steps ended; none when the configuration does not say how.
    pub running: Option<Result<String, String>>,
}

/// Everything the machine looks at.
#[derive(Clone, Debug, PartialEq)]
pub struct Situation {
    /// Now.
    pub now: Timestamp,
    /// Why the journal is not to be trusted, if so.
    pub degraded: Option<String>,
    /// The deployment under watch, T0 past and no verdict yet.
    pub deployed: Option<Deployed>,
    /// All criteria that are due.
    pub due: Vec<Due>,
    /// Rules whose criterion was due when the agent stopped, and that were not seen since it started.
    pub unconfirmed: Vec<String>,
    /// Targets outside the deployment, and how many of them fail.
    pub outside: (usize, usize),
    /// How the application does.
    pub health: Health,
}

/// Who said yes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    /// The person.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// One step as the executor's journal has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepSeen {
    /// Its name.
    pub name: String,
    /// `running`, `done`, or what went wrong.
    pub state: String,
    /// How long it took, once it ended.
    pub took: Option<Span>,
}

/// How an execution of one rung ended, from the executor's journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "execution")]
pub enum ExecutionEnd {
    /// All its steps are done.
    Completed,
    /// A step failed, and nothing after it ran.
    Failed {
        /// The step's name, its number from 1, how many there are.
        step: String,
        /// Its number from 1.
        number: usize,
        /// How many there are.
        of: usize,
        /// `exit 1`, `timed out`, …
        exit: String,
        /// The end of its output.
        output: String,
    },
    /// Nobody knows whether a step happened.
    Stuck {
        /// The step's name.
        step: String,
        /// Its number from 1.
        number: usize,
        /// How many there are.
        of: usize,
        /// Why nobody knows.
        why: String,
    },
    /// It was stopped between two steps.
    Stopped {
        /// The last step that ran.
        after: String,
    },
    /// The executor would not begin.
    Refused {
        /// Why.
        why: String,
    },
}

/// Where a run is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "phase")]
pub enum Phase {
    /// It waits for a person; without a time when nobody answered in time, and somebody still may.
    Asked {
        /// Until when.
        until: Option<Timestamp>,
    },
    /// It was announced and begins by itself.
    Announced {
        /// When.
        until: Timestamp,
    },
    /// The executor has it.
    Executing {
        /// The execution's name: run and rung.
        execution: String,
        /// Since when.
        since: Timestamp,
        /// A person wants it stopped.
        stopping: bool,
    },
    /// The steps are done; does it help?
    Verifying {
        /// Since when.
        since: Timestamp,
        /// Until when.
        until: Timestamp,
    },
    /// It is over.
    Ended {
        /// When.
        at: Timestamp,
        /// How.
        outcome: Outcome,
    },
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Outcome {
    /// It helped: by the same rules, the probes and the version read back.
    Verified {
        /// What was seen, a line each.
        seen: Vec<String>,
        /// No traffic decided it: verified by probes only.
        probes_only: bool,
    },
    /// The steps ran, and it did not help.
    StillBad {
        /// What is still bad, a line each.
        bad: Vec<String>,
    },
    /// The steps ran, and nobody can say whether it helped.
    Unverified {
        /// Why.
        why: String,
    },
    /// The steps did not all run.
    Execution {
        /// How the execution ended.
        end: ExecutionEnd,
    },
    /// A person said no.
    Denied {
        /// Who.
        by: String,
        /// Why.
        reason: Option<String>,
    },
    /// Nothing ran: the criterion ceased, or a guard held at the last moment.
    NotRun {
        /// Why.
        why: String,
    },
}

impl Outcome {
    /// One word: `verified`, `still bad`, `unverified`, `failed`, `stuck`, `stopped`, `refused`, `denied`, `not run`.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Verified { .. } => "verified",
            Outcome::StillBad { .. } => "still bad",
            Outcome::Unverified { .. } => "unverified",
            Outcome::Execution { end } => match end {
                ExecutionEnd::Completed => "completed",
                ExecutionEnd::Failed { .. } => "failed",
                ExecutionEnd::Stuck { .. } => "stuck",
                ExecutionEnd::Stopped { .. } => "stopped",
                ExecutionEnd::Refused { .. } => "refused",
            },
            Outcome::Denied { .. } => "denied",
            Outcome::NotRun { .. } => "not run",
        }
    }
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its identity.
    pub id: Id,
    /// The number people see: `R-9`.
    pub number: u32,
    /// The deployment it takes back.
    pub deployment: Id,
    /// The sealed plan's hash.
    pub plan: String,
    /// The version it takes back.
    pub version: String,
    /// The version it goes back to.
    pub previous: String,
    /// The criterion's rule; none when a person wants it.
    pub criterion: Option<String>,
    /// Why, as people read it.
    pub why: String,
    /// The criterion's figures.
    pub because: Option<Because>,
    /// Since when the trouble stood.
    pub bad_since: Timestamp,
    /// When it was opened.
    pub opened: Timestamp,
    /// The rungs it may use, mildest first.
    pub rungs: Vec<String>,
    /// How many of them were begun.
    pub begun: usize,
    /// When the first execution was asked for.
    pub started: Option<Timestamp>,
    /// When the last execution ended.
    pub executed: Option<Timestamp>,
    /// Who approved it.
    pub approved: Option<Approval>,
    /// Guards a person overrode.
    pub overrides: Vec<Guard>,
    /// The steps, as last seen.
    pub steps: Vec<StepSeen>,
    /// When it relapsed after it was verified, if it did.
    pub relapsed: Option<Timestamp>,
    /// Where it is.
    pub phase: Phase,
}

impl Run {
    /// What people call it.
    pub fn short(&self) -> String {
        format!("R-{}", self.number)
    }

    /// Whether it is over.
    pub fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended { .. })
    }

    /// The execution that is under way.
    pub fn execution(&self) -> Option<&str> {
        match &self.phase {
            Phase::Executing { execution, .. } => Some(execution),
            _ => None,
        }
    }

    /// Whether the executor would not begin it, so that nothing of it ran.
    fn was_refused(&self) -> bool {
        let Phase::Ended { outcome: Outcome::Execution { end }, .. } = &self.phase else { return false };
        matches!(end, ExecutionEnd::Refused { .. })
    }

    fn shift(&mut self, by: Span) {
        self.bad_since += by;
        self.opened += by;
        for at in [&mut self.started, &mut self.executed].into_iter().flatten() {
            *at += by;
        }
        match &mut self.phase {
            Phase::Asked { until: Some(at) } | Phase::Announced { until: at } => *at += by,
            Phase::Executing { since, .. } => *since += by,
            Phase::Verifying { since, until } => {
                *since += by;
                *until += by;
            }
            Phase::Asked { until: None } | Phase::Ended { .. } => {}
        }
    }
}

/// What is journaled of rollbacks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A run was opened: asked for, announced, or (by a person) about to begin.
    Opened(Box<Run>),
    /// Nobody answered in time.
    Overdue {
        /// Which run.
        run: Id,
        /// When.
        at: Timestamp,
    },
    /// A person said yes.
    Approved {
        /// Which run.
        run: Id,
        /// Who and why.
        approval: Approval,
    },
    /// One rung is handed to the executor.
    Executing {
        /// Which run.
        run: Id,
        /// The rung.
        rung: String,
        /// The execution's name.
        execution: String,
        /// When.
        at: Timestamp,
    },
    /// A person wants the execution stopped between two steps.
    Stopping {
        /// Which run.
        run: Id,
        /// Who.
        by: String,
        /// When.
        at: Timestamp,
    },
    /// The steps are done, the verification begins.
    Executed {
        /// Which run.
        run: Id,
        /// The steps as they went.
        steps: Vec<StepSeen>,
        /// When.
        at: Timestamp,
        /// Until when the verification may take.
        until: Timestamp,
    },
    /// It is over.
    Ended {
        /// Which run.
        run: Id,
        /// The steps as they went.
        steps: Vec<StepSeen>,
        /// When.
        at: Timestamp,
        /// How.
        outcome: Outcome,
    },
    /// A criterion is due again shortly after a verified rollback: a person is needed, nothing is run.
    Relapsed {
        /// Which run.
        run: Id,
        /// The criterion's rule.
        rule: String,
        /// Why.
        because: Because,
        /// When.
        at: Timestamp,
    },
    /// A criterion was due, and a guard held.
    Held {
        /// The deployment.
        deployment: Id,
        /// The criterion's rule.
        rule: String,
        /// Which guard.
        guard: Guard,
        /// Why.
        why: String,
        /// When.
        at: Timestamp,
    },
    /// A criterion was due, and the mode only observes.
    WouldRollBack {
        /// The deployment.
        deployment: Id,
        /// The criterion's rule.
        rule: String,
        /// Why.
        because: Because,
        /// When.
        at: Timestamp,
    },
}

/// All runs, and what was said instead of one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rollbacks {
    next_number: u32,
    runs: Vec<Run>,
    said: Vec<(Id, String, Option<Guard>)>,
    /// Since when everything is good without a break, in this process's life.
    #[serde(skip)]
    good_since: Option<Timestamp>,
}

impl Rollbacks {
    /// How many runs are kept.
    pub const MAX_RUNS: usize = 100;

    /// The newest run.
    pub fn last(&self) -> Option<&Run> {
        self.runs.last()
    }

    /// All runs kept, oldest first.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The run that is not over.
    pub fn open(&self) -> Option<&Run> {
        self.runs.last().filter(|r| !r.is_ended())
    }

    /// The run with that identity.
    pub fn get(&self, id: &Id) -> Option<&Run> {
        self.runs.iter().find(|r| r.id == *id)
    }

    /// A run of `deployment` that began its steps.
    pub fn begun(&self, deployment: &Id) -> Option<&Run> {
        self.runs.iter().find(|r| r.deployment == *deployment && r.started.is_some() && !r.was_refused())
    }

    /// Moves the times of what is not over by `by`, because the wall clock was set.
    pub fn shift(&mut self, by: Span) {
        if let Some(run) = self.runs.last_mut().filter(|r| !r.is_ended()) {
            run.shift(by);
        }
        if let Some(since) = &mut self.good_since {
            *since += by;
        }
    }

    /// The next moment at which something happens by itself.
    pub fn deadline(&self, settings: &Settings) -> Option<Timestamp> {
        match &self.open()?.phase {
            Phase::Asked { until } => *until,
            Phase::Announced { until } => Some(*until),
            Phase::Verifying { until, .. } => {
                Some(self.good_since.map_or(*until, |since| (since + settings.confirm).min(*until)))
            }
            Phase::Executing { .. } | Phase::Ended { .. } => None,
        }
    }

    /// What follows from the situation. `random` gives a new run its identity.
    pub fn step(&mut self, s: &Situation, settings: &Settings, random: u128) -> Vec<Event> {
        let Some(run) = self.open() else {
            self.good_since = None;
            let mut events: Vec<Event> = self.relapse(s, settings).into_iter().collect();
            events.extend(self.consider(s, settings, random));
            return events;
        };
        match &run.phase {
            Phase::Asked { until } => self.wait(run, *until, s, settings, settings.ask_otherwise_roll_back),
            Phase::Announced { until } => self.wait(run, Some(*until), s, settings, true),
            Phase::Executing { .. } | Phase::Ended { .. } => Vec::new(),
            Phase::Verifying { since, until } => {
                let (since, until) = (*since, *until);
                self.verify(s, settings, since, until)
            }
        }
    }

    /// A person wants a rollback now, whatever the mode.
    ///
    /// # Errors
    /// Why there is none, and what to do.
    pub fn start(
        &self,
        s: &Situation,
        settings: &Settings,
        approval: Approval,
        overrides: Vec<Guard>,
        random: u128,
    ) -> Result<Vec<Event>, (String, String)> {
        if let Some(run) = self.open() {
            return Err((
                format!("{} is under way", run.short()),
                format!("backstop rollback approve {}", run.short()),
            ));
        }
        let Some(deployed) = &s.deployed else {
            return Err((
                "no deployment is under watch".into(),
                "announce one first: backstop deploy start --version VERSION".into(),
            ));
        };
        if settings.ladder.is_empty() {
            return Err(("no [[rollback.step]] is configured".into(), "add one, then deploy anew".into()));
        }
        let facts = self.facts(s, deployed, None, None);
        if let Some((guard, why)) = guard::check(&facts, &overrides) {
            let help = match guard.can_be_overridden() {
                true => format!("backstop rollback start --override {} --reason \"…\"", guard.name()),
                false => "this cannot be overridden".into(),
            };
            return Err((why, help));
        }
        let reason = approval.reason.clone().unwrap_or_else(|| "no reason given".into());
        let worst = s.due.first();
        let mut run = self.new_run(s.now, deployed, settings, None, random);
        run.because = worst.map(|due| due.because.clone());
        run.why = match worst {
            Some(due) => format!("{} wants it: {reason} ({}: {})", approval.by, due.rule, due.because),
            None => format!("{} wants it: {reason}", approval.by),
        };
        run.phase = Phase::Announced { until: s.now };
        run.approved = Some(approval);
        run.overrides = overrides;
        let executing = Rollbacks::executing(&run, s.now);
        Ok(vec![Event::Opened(Box::new(run)), executing])
    }

    /// A person approves the run that asks.
    ///
    /// # Errors
    /// Why it cannot be approved.
    pub fn approve(&self, s: &Situation, number: Option<u32>, approval: Approval) -> Result<Vec<Event>, String> {
        let run = self.waiting(number)?;
        let Some(deployed) = s.deployed.as_ref().filter(|d| d.id == run.deployment) else {
            return Err(format!("the watch that {} belongs to is over", run.short()));
        };
        let bad_since = run.criterion.is_some().then_some(run.bad_since);
        if let Some((_, why)) = guard::check(&self.facts(s, deployed, bad_since, dependency_of(s, run)), &run.overrides)
        {
            return Err(format!("{} cannot run now: {why}", run.short()));
        }
        Ok(vec![Event::Approved { run: run.id.clone(), approval }, Rollbacks::executing(run, s.now)])
    }

    /// A person refuses the run that asks or is announced.
    ///
    /// # Errors
    /// Why there is nothing to refuse.
    pub fn deny(
        &self,
        now: Timestamp,
        number: Option<u32>,
        by: String,
        reason: Option<String>,
    ) -> Result<Vec<Event>, String> {
        let run = self.waiting(number)?;
        Ok(vec![Rollbacks::ended(run, now, Outcome::Denied { by, reason })])
    }

    /// A person ends the run: at once before its first step, else between two steps.
    ///
    /// # Errors
    /// Why there is nothing to stop.
    pub fn stop(
        &self,
        now: Timestamp,
        number: Option<u32>,
        by: String,
        reason: Option<String>,
    ) -> Result<Vec<Event>, String> {
        let run = self.open().ok_or("no rollback is under way")?;
        if number.is_some_and(|n| n != run.number) {
            return Err(format!("the run under way is {}", run.short()));
        }
        match run.phase {
            Phase::Executing { .. } => Ok(vec![Event::Stopping { run: run.id.clone(), by, at: now }]),
            Phase::Verifying { .. } => Err(format!("the steps of {} are done; it is being verified", run.short())),
            _ => self.deny(now, number, by, reason),
        }
    }

    /// What the executor's journal says of the execution under way.
    pub fn on_execution(
        &self,
        now: Timestamp,
        settings: &Settings,
        execution: &str,
        steps: Vec<StepSeen>,
        end: Option<ExecutionEnd>,
    ) -> Vec<Event> {
        let Some(run) = self.open().filter(|r| r.execution() == Some(execution)) else { return Vec::new() };
        match end {
            None => Vec::new(),
            Some(ExecutionEnd::Completed) => {
                vec![Event::Executed { run: run.id.clone(), steps, at: now, until: now + settings.verify_within }]
            }
            Some(end) => {
                vec![Event::Ended { run: run.id.clone(), steps, at: now, outcome: Outcome::Execution { end } }]
            }
        }
    }

    /// Folds one event into the state.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Opened(run) => {
                self.next_number = self.next_number.max(run.number);
                self.runs.push((**run).clone());
                let excess = self.runs.len().saturating_sub(Rollbacks::MAX_RUNS);
                self.runs.drain(..excess);
            }
            Event::Overdue { run, .. } => self.with(run, |r| r.phase = Phase::Asked { until: None }),
            Event::Approved { run, approval } => self.with(run, |r| r.approved = Some(approval.clone())),
            Event::Executing { run, execution, at, .. } => self.with(run, |r| {
                r.begun += 1;
                r.started.get_or_insert(*at);
                r.phase = Phase::Executing { execution: execution.clone(), since: *at, stopping: false };
            }),
            Event::Stopping { run, .. } => self.with(run, |r| {
                if let Phase::Executing { stopping, .. } = &mut r.phase {
                    *stopping = true;
                }
            }),
            Event::Executed { run, steps, at, until } => {
                self.good_since = None;
                self.with(run, |r| {
                    r.steps.extend(steps.iter().cloned());
                    r.executed = Some(*at);
                    r.phase = Phase::Verifying { since: *at, until: *until };
                });
            }
            Event::Ended { run, steps, at, outcome } => self.with(run, |r| {
                r.steps.extend(steps.iter().cloned());
                r.phase = Phase::Ended { at: *at, outcome: outcome.clone() };
            }),
            Event::Relapsed { run, at, .. } => self.with(run, |r| r.relapsed = Some(*at)),
            Event::Held { deployment, rule, guard, .. } => {
                self.said.push((deployment.clone(), rule.clone(), Some(*guard)));
            }
            Event::WouldRollBack { deployment, rule, .. } => {
                self.said.push((deployment.clone(), rule.clone(), None));
            }
        }
        let excess = self.said.len().saturating_sub(Rollbacks::MAX_RUNS);
        self.said.drain(..excess);
    }

    /// A criterion that is due again within `stable_for` of a verified rollback; said once.
    fn relapse(&self, s: &Situation, settings: &Settings) -> Option<Event> {
        let run = self.last().filter(|r| r.relapsed.is_none())?;
        let Phase::Ended { at, outcome: Outcome::Verified { .. } } = &run.phase else { return None };
        let due = s.due.first().filter(|_| s.now < *at + settings.stable_for)?;
        let (run, rule, because) = (run.id.clone(), due.rule.clone(), due.because.clone());
        Some(Event::Relapsed { run, rule, because, at: s.now })
    }

    /// No run is open: does a due criterion open one?
    fn consider(&self, s: &Situation, settings: &Settings, random: u128) -> Vec<Event> {
        let Some(deployed) = &s.deployed else { return Vec::new() };
        if settings.ladder.is_empty() {
            return Vec::new();
        }
        let mut events = Vec::new();
        for due in &s.due {
            let said = |guard: Option<Guard>| {
                self.said.iter().any(|(d, r, g)| *d == deployed.id && *r == due.rule && *g == guard)
            };
            if self.was_refused(deployed, due) {
                continue;
            }
            let facts = self.facts(s, deployed, Some(due.bad_since), due.dependency.clone());
            if let Some((guard, why)) = guard::check(&facts, &[]) {
                if !said(Some(guard)) {
                    events.push(Event::Held {
                        deployment: deployed.id.clone(),
                        rule: due.rule.clone(),
                        guard,
                        why,
                        at: s.now,
                    });
                }
                continue;
            }
            let mode = due.mode.unwrap_or(settings.mode).min(settings.mode);
            if mode == Mode::Observe {
                if !said(None) {
                    events.push(Event::WouldRollBack {
                        deployment: deployed.id.clone(),
                        rule: due.rule.clone(),
                        because: due.because.clone(),
                        at: s.now,
                    });
                }
                continue;
            }
            let mut run = self.new_run(s.now, deployed, settings, Some(due), random);
            if mode == Mode::Ask {
                run.phase = Phase::Asked { until: Some(s.now + settings.ask_within) };
            }
            events.push(Event::Opened(Box::new(run)));
            break;
        }
        events
    }

    /// A person said no to this criterion on this deployment, or the executor would not begin: neither is tried
    /// twice by itself. A person may.
    fn was_refused(&self, deployed: &Deployed, due: &Due) -> bool {
        self.runs.iter().any(|r| {
            r.deployment == deployed.id
                && r.criterion.as_deref() == Some(&due.rule)
                && (r.was_refused() || matches!(&r.phase, Phase::Ended { outcome: Outcome::Denied { .. }, .. }))
        })
    }

    /// A run that waits: its criterion may cease, its time may come.
    fn wait(
        &self,
        run: &Run,
        until: Option<Timestamp>,
        s: &Situation,
        settings: &Settings,
        then_begin: bool,
    ) -> Vec<Event> {
        let not_run = |why: &str| vec![Rollbacks::ended(run, s.now, Outcome::NotRun { why: why.into() })];
        let Some(deployed) = s.deployed.as_ref().filter(|d| d.id == run.deployment) else {
            return not_run("the watch it belongs to is over");
        };
        if settings.mode == Mode::Observe {
            return not_run("the mode is observe now");
        }
        if run.criterion.as_ref().is_some_and(|rule| s.unconfirmed.contains(rule)) {
            return Vec::new();
        }
        if run.criterion.is_some() && !s.due.iter().any(|d| Some(&d.rule) == run.criterion.as_ref()) {
            return not_run("its criterion is not due any more");
        }
        if until.is_none_or(|until| s.now < until) {
            return Vec::new();
        }
        if !then_begin {
            return vec![Event::Overdue { run: run.id.clone(), at: s.now }];
        }
        match guard::check(&self.facts(s, deployed, Some(run.bad_since), dependency_of(s, run)), &run.overrides) {
            Some((_, why)) => not_run(&why),
            None => vec![Rollbacks::executing(run, s.now)],
        }
    }

    fn verify(&mut self, s: &Situation, settings: &Settings, since: Timestamp, until: Timestamp) -> Vec<Event> {
        let Some(run) = self.runs.last() else { return Vec::new() };
        let health = &s.health;
        let right_version = match &health.running {
            None => true,
            Some(Ok(version)) => *version == run.previous,
            Some(Err(_)) => false,
        };
        let all_seen = health.waiting == 0 && (!health.good.is_empty() || health.succeeding > 0);
        let good = health.bad.is_empty() && health.failing.is_empty() && right_version && all_seen;
        self.good_since = if good { Some(self.good_since.unwrap_or(s.now)) } else { None };
        let Some(run) = self.runs.last() else { return Vec::new() };
        if self.good_since.is_some_and(|g| s.now - g >= settings.confirm && s.now > since) {
            let probes_only = health.good.is_empty() || !health.unseen.is_empty();
            let mut seen = health.good.clone();
            if let Some(Ok(version)) = &health.running {
                seen.push(format!("version read back {version}"));
            }
            if health.succeeding > 0 {
                seen.push(format!("{0} of {0} targets fine", health.succeeding));
            }
            return vec![Rollbacks::ended(run, s.now, Outcome::Verified { seen, probes_only })];
        }
        // What is good shortly before the end gets its time to prove it.
        if s.now < until || (good && s.now < until + settings.confirm) {
            return Vec::new();
        }
        if run.begun < run.rungs.len() && !(health.bad.is_empty() && health.failing.is_empty()) {
            return vec![Rollbacks::executing(run, s.now)];
        }
        let outcome = if !right_version {
            let why = match &health.running {
                Some(Ok(version)) => format!("the running version reads {version}, not {}", run.previous),
                Some(Err(why)) => format!("the running version cannot be read: {why}"),
                None => "the running version is unknown".into(),
            };
            Outcome::Unverified { why }
        } else if !health.bad.is_empty() || !health.failing.is_empty() {
            let failing = health.failing.iter().map(|t| format!("{t} fails"));
            Outcome::StillBad { bad: health.bad.iter().cloned().chain(failing).collect() }
        } else {
            Outcome::Unverified { why: "no fresh data came since the steps ended".into() }
        };
        vec![Rollbacks::ended(run, s.now, outcome)]
    }

    fn facts(
        &self,
        s: &Situation,
        deployed: &Deployed,
        bad_since: Option<Timestamp>,
        dependency: Option<String>,
    ) -> Facts {
        Facts {
            degraded: s.degraded.clone(),
            run_before: self.begun(&deployed.id).map(Run::short),
            sealed: deployed.plan.is_some(),
            previous: deployed.previous.clone(),
            announced: deployed.announced,
            bad_since,
            dependency,
            outside: s.outside,
        }
    }

    fn new_run(&self, now: Timestamp, d: &Deployed, settings: &Settings, due: Option<&Due>, random: u128) -> Run {
        let highest = due.and_then(|due| due.rung.as_ref());
        let end =
            highest.and_then(|r| settings.ladder.iter().position(|l| l == r)).map_or(settings.ladder.len(), |i| i + 1);
        Run {
            id: Id::new(now, random),
            number: self.next_number + 1,
            deployment: d.id.clone(),
            plan: d.plan.clone().unwrap_or_default(),
            version: d.version.clone(),
            previous: d.previous.clone().unwrap_or_default(),
            criterion: due.map(|due| due.rule.clone()),
            why: due.map(|due| format!("{}: {}", due.rule, due.because)).unwrap_or_default(),
            because: due.map(|due| due.because.clone()),
            bad_since: due.map_or(now, |due| due.bad_since),
            opened: now,
            rungs: settings.ladder[..end].to_vec(),
            begun: 0,
            started: None,
            executed: None,
            approved: None,
            overrides: Vec::new(),
            steps: Vec::new(),
            relapsed: None,
            phase: Phase::Announced { until: now + settings.notice },
        }
    }

    fn executing(run: &Run, at: Timestamp) -> Event {
        Event::Executing {
            run: run.id.clone(),
            rung: run.rungs[run.begun].clone(),
            execution: format!("{}-{}", run.id, run.begun),
            at,
        }
    }

    fn ended(run: &Run, at: Timestamp, outcome: Outcome) -> Event {
        Event::Ended { run: run.id.clone(), steps: Vec::new(), at, outcome }
    }

    fn waiting(&self, number: Option<u32>) -> Result<&Run, String> {
        let run = self.open().ok_or("no rollback waits for an answer")?;
        if number.is_some_and(|n| n != run.number) {
            return Err(format!("the run that waits is {}", run.short()));
        }
        match run.phase {
            Phase::Asked { .. } | Phase::Announced { .. } => Ok(run),
            _ => Err(format!("{} has begun its steps", run.short())),
        }
    }

    fn with(&mut self, id: &Id, change: impl FnOnce(&mut Run)) {
        if let Some(run) = self.runs.iter_mut().find(|r| r.id == *id) {
            change(run);
        }
    }
}

/// What the criterion of a run depends on and is in trouble, as of now.
fn dependency_of(s: &Situation, run: &Run) -> Option<String> {
    s.due.iter().find(|due| Some(&due.rule) == run.criterion.as_ref())?.dependency.clone()
}
