//! What is told of each event: the engine's facts put into the plain data that channels render.

use super::{Engine, Event};
use crate::base::{Because, Labels, Level, Span, Timestamp};
use crate::incident::{Incident, Reason as Changed};
use crate::notify::story::{Deployed, DeploymentEvent, EventKind, Notice, Proof, Reason, Story, Took};
use crate::rollback::machine::{self as rollback, ExecutionEnd, Mode, Outcome, Phase, Run};
use crate::rule::Transition;
use crate::watch::{self, Change};

/// An alert's life: it began, rose, fell, or ended.
pub(super) fn alert(engine: &Engine, t: &Transition, changed: Changed, before: Option<&Incident>) -> Notice {
    let now_open = engine.state.incidents.of_rule(&t.rule);
    let number = now_open.or(before).map_or(0, |i| i.number);
    let level = now_open.map_or(Level::Ok, Incident::level);
    let story = match changed {
        Changed::Resolved => {
            let (opened, highest, was) =
                before.map_or((t.at, t.from, t.because.clone()), |i| (i.opened, i.highest, i.worst.clone()));
            Story::Resolved {
                incident_number: number,
                rule: t.rule.clone(),
                labels: t.labels.clone(),
                highest,
                was,
                now: Some(t.because.clone()),
                since: t.at,
                lasted: t.at - opened,
                ended_by: ended_by(engine, opened),
                gone: t.gone,
            }
        }
        _ => {
            let rule = engine.judge_named(&t.rule).map(|j| &j.rule);
            let (summary, runbook) = match rule {
                Some(rule) => (rule.summary.clone(), rule.runbook.clone()),
                None => engine.groups.words(&t.rule, &t.labels),
            };
            Story::Alert {
                incident_number: number,
                reason: match changed {
                    Changed::First => Reason::First,
                    Changed::Escalated => Reason::Escalated,
                    Changed::Added => Reason::Added,
                    Changed::Deescalated | Changed::Resolved => Reason::Deescalated,
                },
                level,
                rule: t.rule.clone(),
                labels: t.labels.clone(),
                because: t.because.clone(),
                since: t.at - t.because.held.min(Span::hours(24)),
                also: [siblings(engine, t), also(engine, &t.rule)].concat(),
                deployed: deployed(engine),
                next: rule.and_then(|rule| next(engine, rule, level)),
                asks: None,
                summary: summary.unwrap_or_default(),
                runbook: runbook.unwrap_or_default(),
            }
        }
    };
    let green = changed == Changed::Resolved;
    // An incident is one thing to tell: its messages replace each other whatever label set changed.
    let labels = Labels::new([("alertname", t.rule.as_str())]);
    let level = if green { t.from } else { level };
    Notice {
        green,
        settles: green,
        labels,
        level: Some(level),
        ..notice(engine, t.at, EventKind::Alert, format!("I-{number}"), story)
    }
}

/// A rollback's life; nothing for what nobody needs to hear.
pub(super) fn rollback(engine: &Engine, event: &rollback::Event) -> Option<Notice> {
    let find = |id| engine.state.rollbacks.get(id);
    let (at, run, story) = match event {
        rollback::Event::Opened(run) => {
            let story = match &run.phase {
                Phase::Asked { until } => Story::RollbackAsked {
                    run_number: run.number,
                    version: run.version.clone(),
                    previous: run.previous.clone(),
                    criterion: criterion(run),
                    because: because(run),
                    until: until.unwrap_or(run.opened),
                    steps: engine.config.steps.clone(),
                    guards: "all clear".into(),
                    otherwise: match engine.config.rollback.ask_otherwise_roll_back {
                        true => "No answer rolls back".into(),
                        false => "No answer pages again; nothing is run".into(),
                    },
                },
                Phase::Announced { until } if run.approved.is_none() => Story::RollbackAnnounced {
                    run_number: run.number,
                    version: run.version.clone(),
                    previous: run.previous.clone(),
                    criterion: criterion(run),
                    because: because(run),
                    until: *until,
                    steps: engine.config.steps.clone(),
                    guards: "all clear".into(),
                },
                _ => return None,
            };
            (run.opened, run.short(), story)
        }
        rollback::Event::Overdue { run, at } => {
            let run = find(run)?;
            let body = format!(
                "Nobody answered. {} The question stays open while it is due: backstop rollback approve {}",
                run.why,
                run.short()
            );
            let title = format!("ROLLBACK? {}: nobody answered about {} -> {}", run.short(), run.version, run.previous);
            (*at, run.short(), Story::Agent { title, body })
        }
        rollback::Event::Executing { run, at, .. } => {
            let run = find(run)?;
            if run.begun > 1 {
                return None;
            }
            let story = Story::RollbackStarted {
                run_number: run.number,
                version: run.version.clone(),
                previous: run.previous.clone(),
                criterion: criterion(run),
                because: because(run),
                approved_by: run.approved.as_ref().map(|a| match &a.reason {
                    Some(reason) => format!("{}, \"{reason}\"", a.by),
                    None => a.by.clone(),
                }),
                steps: engine.config.steps.clone(),
                evidence: Some(format!("{}/{}", engine.config.evidence, run.short())),
            };
            (*at, run.short(), story)
        }
        rollback::Event::Ended { run, at, outcome, .. } => {
            let run = find(run)?;
            (*at, run.short(), ended(engine, run, *at, outcome)?)
        }
        rollback::Event::Relapsed { run, rule, because, at } => {
            let run = find(run)?;
            let title = format!("RELAPSE after {}: {rule} {because}", run.short());
            let body = format!(
                "{} was verified and {rule} is over its limit again: the cause is probably not the version. Nothing is rolled back again; a person is needed.",
                run.previous
            );
            (*at, run.short(), Story::Agent { title, body })
        }
        rollback::Event::Held { rule, guard, why, at, .. } => {
            let version = engine.state.watches.last()?.version.clone();
            let story = Story::RollbackHeld {
                version: version.clone(),
                criterion: rule.clone(),
                why: why.clone(),
                guard: guard.name().into(),
            };
            (*at, format!("deployment {version}"), story)
        }
        rollback::Event::WouldRollBack { rule, because, at, .. } => {
            let d = engine.state.watches.last()?;
            let story = Story::WouldRollBack {
                version: d.version.clone(),
                previous: d.previous.clone().unwrap_or_else(|| "unknown".into()),
                criterion: rule.clone(),
                because: because.clone(),
                steps: engine.config.steps.clone(),
            };
            (*at, format!("deployment {}", d.version), story)
        }
        rollback::Event::Approved { .. } | rollback::Event::Stopping { .. } | rollback::Event::Executed { .. } => {
            return None;
        }
    };
    let settles = matches!(event, rollback::Event::Ended { .. });
    Some(Notice { settles, level: Some(Level::Critical), ..notice(engine, at, EventKind::Rollback, run, story) })
}

fn ended(engine: &Engine, run: &Run, at: Timestamp, outcome: &Outcome) -> Option<Story> {
    let steps = engine.config.steps.len();
    Some(match outcome {
        Outcome::Verified { seen, probes_only } => Story::RolledBack {
            run_number: run.number,
            version: run.version.clone(),
            restored: run.previous.clone(),
            proof: if *probes_only { Proof::ProbesOnly } else { Proof::Full },
            took: took(run, at),
            budgets: budgets(engine),
            now: seen.clone(),
            next: Some("a relapse pages; nothing is rolled back again".into()),
            left: format!("{} is marked bad: deploying it again needs --force", run.version),
        },
        Outcome::Unverified { why } => Story::RolledBack {
            run_number: run.number,
            version: run.version.clone(),
            restored: run.previous.clone(),
            proof: Proof::Missing,
            took: took(run, at),
            budgets: budgets(engine),
            now: vec![why.clone()],
            next: Some("nothing more happens by itself; a person is needed".into()),
            left: "look whether the version before runs, and whether it is well".into(),
        },
        Outcome::StillBad { bad } => Story::StillBad {
            run_number: run.number,
            version: run.version.clone(),
            restored: run.previous.clone(),
            criterion: criterion(run),
            because: because(run),
            compare: bad.clone(),
        },
        Outcome::Execution { end } => match end {
            ExecutionEnd::Failed { step, number, of, exit, output } => Story::RollbackFailed {
                run_number: run.number,
                step: u32::try_from(*number).unwrap_or(u32::MAX),
                of: u32::try_from(*of).unwrap_or(u32::MAX),
                name: step.clone(),
                exit: exit.clone(),
                output: output.clone(),
                state: steps_state(run),
            },
            ExecutionEnd::Stuck { step, number, why, .. } => Story::RollbackStuck {
                run_number: run.number,
                step: u32::try_from(*number).unwrap_or(u32::MAX),
                name: step.clone(),
                why: why.clone(),
                look: "backstop rollback status".into(),
            },
            ExecutionEnd::Stopped { .. } => Story::RollbackStopped {
                run_number: run.number,
                version: run.version.clone(),
                previous: run.previous.clone(),
                by: "a person".into(),
                after_step: u32::try_from(run.steps.len()).unwrap_or(u32::MAX),
                of: u32::try_from(steps).unwrap_or(u32::MAX),
            },
            ExecutionEnd::Refused { why } => Story::Agent {
                title: format!("ROLLBACK REFUSED: {} of {} did not begin", run.short(), run.version),
                body: format!("{why}. Nothing was run; {} stays. A person is needed.", run.version),
            },
            ExecutionEnd::Completed => return None,
        },
        Outcome::Denied { by, reason } => Story::Agent {
            title: format!("ROLLBACK DENIED: {} by {by}", run.short()),
            body: format!("{} stays. {}", run.version, reason.as_deref().unwrap_or("No reason was given.")),
        },
        Outcome::NotRun { why } => Story::Agent {
            title: format!("ROLLBACK NOT RUN: {} of {}", run.short(), run.version),
            body: format!("{why}. Nothing was run."),
        },
    })
}

/// A deployment's life.
pub(super) fn deployment(engine: &Engine, event: &watch::Event) -> Option<Notice> {
    let find = |id: &crate::base::Id| engine.state.watches.last().filter(|d| d.id == *id);
    match event {
        // One that was noticed was told when it was.
        watch::Event::Announced(d) if d.noticed => None,
        watch::Event::Announced(d) => Some(of_deployment(engine, d.announced, d, DeploymentEvent::Started)),
        watch::Event::Live { id, at, ran_out, .. } => {
            let d = find(id).filter(|d| !d.noticed)?;
            if !ran_out {
                return Some(of_deployment(engine, *at, d, DeploymentEvent::Complete));
            }
            let story = Story::Agent {
                title: format!("DEPLOYMENT NOT COMPLETED: {}", d.version),
                body: format!(
                    "`backstop deploy complete` did not come within {}. {} is judged from now on, as if it were live since its announcement.",
                    engine.config.watch.settle.human(),
                    d.version
                ),
            };
            let thread = format!("deployment {}", d.version);
            let told = notice(engine, *at, EventKind::Deployment, thread, story);
            Some(Notice { level: Some(Level::Critical), ..told })
        }
        watch::Event::Ended { id, verdict, because, at } => {
            // The one that ended may not be the newest: a further announcement ends a watch.
            let d = find(id)?;
            let story = Story::Verdict {
                version: d.version.clone(),
                verdict: verdict.text().into(),
                because: because.clone(),
                from: d.t0.unwrap_or(d.announced),
                to: *at,
            };
            let thread = format!("deployment {}", d.version);
            Some(Notice { settles: true, ..notice(engine, *at, EventKind::Verdict, thread, story) })
        }
        _ => None,
    }
}

/// The most changes that one message names.
const MAX_CHANGES: usize = 10;

/// What runs changed, and nobody announced it; `version` is the change of the version, where it is one of them.
pub(super) fn changed(engine: &Engine, at: Timestamp, changes: &[Change], version: Option<&Change>) -> Notice {
    let what = match version {
        Some(change) => format!("{} runs {} (before: {})", engine.config.app, change.to, change.from),
        None => match changes {
            [one] => one.to_string(),
            several => format!("{} things that run", several.len()),
        },
    };
    let mut lines: Vec<String> = changes.iter().take(MAX_CHANGES).map(Change::to_string).collect();
    if changes.len() > MAX_CHANGES {
        lines.push(format!("{} more", changes.len() - MAX_CHANGES));
    }
    lines.push("If it was meant, announce it the next time: backstop deploy start --version VERSION".into());
    let story = Story::Agent { title: format!("CHANGED, and nobody announced it: {what}"), body: lines.join("\n") };
    notice(engine, at, EventKind::Deployment, "changes".into(), story)
}

/// The journal cannot be written.
pub(super) fn degraded(engine: &Engine, at: Timestamp, why: &str) -> Notice {
    let story = Story::Agent {
        title: "DEGRADED: backstop cannot write its journal".into(),
        body: format!(
            "{why}. Alerts go on and are marked \"not journaled\"; no rollback, approval or silence is accepted until the disk is back."
        ),
    };
    Notice { level: Some(Level::Critical), ..notice(engine, at, EventKind::Agent, "agent".into(), story) }
}

/// The journal can be written again.
pub(super) fn no_longer_degraded(engine: &Engine, at: Timestamp) -> Notice {
    let story = Story::Agent {
        title: "ok: backstop writes its journal again".into(),
        body: "Everything that waited is on disk; rollbacks and approvals are accepted again.".into(),
    };
    let told = notice(engine, at, EventKind::Agent, "agent".into(), story);
    Notice { green: true, settles: true, level: Some(Level::Critical), ..told }
}

/// A message that only shows that messages arrive.
pub(super) fn test(engine: &Engine, at: Timestamp, channel: &str) -> Notice {
    let story = Story::Test { channel: channel.into() };
    Notice { settles: true, ..notice(engine, at, EventKind::Agent, format!("test {channel}"), story) }
}

fn of_deployment(engine: &Engine, at: Timestamp, d: &watch::Deployment, event: DeploymentEvent) -> Notice {
    let story = Story::Deployment { version: d.version.clone(), previous: d.previous.clone(), event };
    notice(engine, at, EventKind::Deployment, format!("deployment {}", d.version), story)
}

fn notice(engine: &Engine, at: Timestamp, kind: EventKind, thread: String, story: Story) -> Notice {
    Notice {
        thread,
        kind,
        level: None,
        green: false,
        settles: false,
        labels: Labels::empty(),
        at,
        app: engine.config.app.clone(),
        host: engine.config.host.clone(),
        story,
    }
}

/// The most other alerts of a rule that a message names.
const MAX_SIBLINGS: usize = 10;

/// The rule's other alerts that are not ok, by the labels that tell them apart: the message stands for all of them, as a
/// newer one replaces an older one that was not sent yet.
fn siblings(engine: &Engine, t: &Transition) -> Vec<String> {
    let others: Vec<(&Labels, Level)> = match engine.judge_named(&t.rule) {
        Some(judge) => judge.alerts.values().map(|alert| (alert.labels(), alert.level().0)).collect(),
        None => engine.state.alerts.get(&t.rule).into_iter().flatten().map(|(_, s)| (&s.labels, s.level)).collect(),
    };
    let others = others.into_iter().filter(|(labels, level)| *level > Level::Ok && **labels != t.labels);
    let named = |(labels, level): (&Labels, Level)| {
        let own = labels.iter().filter(|(name, value)| t.labels.get(name) != *value);
        let own: Vec<String> = own.map(|(name, value)| format!("{name}={value:?}")).collect();
        format!("{}{{{}}} {}", t.rule, own.join(","), level)
    };
    let more = others.clone().count().saturating_sub(MAX_SIBLINGS);
    let named = others.take(MAX_SIBLINGS).map(named);
    named.chain((more > 0).then(|| format!("{more} more of {}", t.rule))).collect()
}

/// The other rules that are not ok, a line each, and how many are.
fn also(engine: &Engine, rule: &str) -> Vec<String> {
    let mut lines: Vec<String> = engine
        .state
        .incidents
        .open()
        .filter(|i| i.rule != rule)
        .map(|i| format!("{} {}", i.rule, i.level()))
        .take(5)
        .collect();
    let ok = engine.rules_ok;
    if ok > 0 {
        lines.push(format!("{ok} rules ok"));
    }
    lines
}

fn deployed(engine: &Engine) -> Option<Deployed> {
    let d = engine.state.watches.open()?;
    Some(Deployed { version: d.version.clone(), previous: d.previous.clone(), at: d.t0.unwrap_or(d.announced) })
}

/// What happens next, as far as a rollback goes.
fn next(engine: &Engine, rule: &crate::rule::Rule, level: Level) -> Option<String> {
    let criterion = rule.rollback.as_ref().filter(|_| level == Level::Critical)?;
    let live = engine.state.watches.live()?;
    let previous = live.previous.as_deref().unwrap_or("the version before");
    let held = criterion.condition.held_for.human();
    let settings = engine.settings();
    Some(match settings.mode {
        _ if settings.ladder.is_empty() => return None,
        Mode::Observe => format!("Nothing is rolled back by itself (mode observe); the criterion is due after {held}."),
        Mode::Ask => format!(
            "Rollback to {previous} becomes due when this holds for {held}, and waits {} for approval.",
            settings.ask_within.human()
        ),
        Mode::Auto => format!("Rollback to {previous} becomes due when this holds for {held}, and begins by itself."),
    })
}

/// A verified rollback during the incident is what ended it, as far as anybody knows.
fn ended_by(engine: &Engine, opened: Timestamp) -> Option<String> {
    let run = engine.state.rollbacks.last().filter(|r| r.started.is_some_and(|s| s >= opened))?;
    Some(format!("rollback {} to {}", run.short(), run.previous))
}

fn criterion(run: &Run) -> String {
    run.criterion.clone().unwrap_or_else(|| "a person".into())
}

fn because(run: &Run) -> Because {
    run.because.clone().unwrap_or_else(|| Because {
        value: None,
        counts: None,
        limit: run.why.clone(),
        held: Span::ZERO,
        readings: 0,
        evidence: None,
        why: None,
        lines: Vec::new(),
    })
}

fn took(run: &Run, at: Timestamp) -> Took {
    let started = run.started.unwrap_or(at);
    let executed = run.executed.unwrap_or(at);
    Took { decide: started - run.bad_since, execute: executed - started, verify: at - executed }
}

fn budgets(engine: &Engine) -> Took {
    let (decide, execute, verify) = engine.config.budgets;
    Took { decide, execute, verify }
}

fn steps_state(run: &Run) -> String {
    run.steps.iter().map(|s| format!("{} {}", s.name, s.state)).collect::<Vec<_>>().join(" · ")
}

/// One line for the agent's own log, for events that an operator would look for there.
pub(super) fn log_line(event: &Event) -> Option<String> {
    match event {
        Event::Rule(crate::rule::Change::Level(t)) => {
            let labels = if t.labels.pairs().is_empty() { String::new() } else { t.labels.to_string() };
            Some(format!("{}{labels} is {} (was {}): {}", t.rule, t.to, t.from, t.because))
        }
        Event::Rule(crate::rule::Change::Criterion { rule, due, because, .. }) => {
            Some(format!("the criterion of {rule} is {}: {because}", if *due { "due" } else { "not due any more" }))
        }
        Event::Rollback(rollback::Event::Opened(run)) => Some(format!("{} opened: {}", run.short(), run.why)),
        Event::Rollback(rollback::Event::Executing { execution, rung, .. }) => {
            Some(format!("rung {rung} is handed to the executor as {execution}"))
        }
        Event::Rollback(rollback::Event::Ended { outcome, .. }) => {
            Some(format!("the rollback ended: {}", outcome.word()))
        }
        Event::Rollback(rollback::Event::Held { rule, why, .. }) => {
            Some(format!("the rollback for {rule} is held: {why}"))
        }
        Event::Watch(watch::Event::Announced(d)) => Some(format!("deployment {} announced by {}", d.version, d.by)),
        Event::Watch(watch::Event::Live { .. }) => Some("the deployment is live; the watch begins".into()),
        Event::Watch(watch::Event::Ended { verdict, because, .. }) => {
            Some(format!("verdict: {}: {}", verdict.text(), because.join("; ")))
        }
        Event::ClockStepped { by, .. } => {
            Some(format!("the wall clock was set by {}; everything remembered moved with it", by.human()))
        }
        Event::Signal(event) => Some(event.log_line()),
        _ => None,
    }
}

impl Event {
    /// One line for the agent's own log, for what an operator would look for there.
    pub fn log_line(&self) -> Option<String> {
        log_line(self)
    }
}
