//! The journal of a run, and everything that follows from it.
//!
//! Enters: records, oldest first. Leaves: the state of the run ([`fold`]) and what to do next ([`next`]), both
//! pure. `started` stands on the disk before a step begins, `finished` after it; so a step that is started and not
//! finished was interrupted, and nobody knows whether it happened. Fresh, continued and recovered runs are one
//! path: fold, next, journal, act, journal, again. An impossible pair of state and record is an error with both in it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::format::{self, FORMAT, FormatError};
use super::plan::{Hash, Rung};
use super::step::OnFailure;
use crate::base::{Span, Timestamp};
use crate::sys::process::{Exit, Identity};

/// How often a repeatable step is started before its interruptions count as stuck.
pub const MOST_STARTS: u32 = 20;

/// One line of a run's journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`FORMAT`].
    pub format: u32,
    /// When it was written.
    pub at: Timestamp,
    /// What happened or is about to.
    pub event: Event,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// The run begins. What was asked for is copied here: from now on the request is not read again.
    RunStarted(Started),
    /// Another process goes on with it, after the one before ended too early.
    RunContinued {
        /// The process that executes it from here.
        pid: u32,
        /// The boot of the host.
        boot: String,
    },
    /// A step is about to begin.
    StepStarted {
        /// Its place in the rung, from 0.
        index: usize,
        /// Its name.
        name: String,
        /// Which start this is, from 1.
        attempt: u32,
    },
    /// The step's process runs.
    StepSpawned {
        /// The step.
        index: usize,
        /// Its process.
        process: Identity,
        /// The boot of the host; the process means nothing on another.
        boot: String,
    },
    /// A step ended.
    StepFinished {
        /// The step.
        index: usize,
        /// How.
        exit: Exit,
        /// After how long.
        took: Span,
        /// How much it printed.
        output_bytes: u64,
        /// The end of what it printed, at most 500 characters.
        tail: String,
    },
    /// A step whose outcome was lost, or that failed, was asked whether it happened.
    StepChecked {
        /// The step.
        index: usize,
        /// Whether it did.
        done: bool,
    },
    /// Nobody knows whether a step happened.
    StepUnknown {
        /// The step.
        index: usize,
        /// Why not.
        why: String,
    },
    /// The run is over.
    RunFinished {
        /// How.
        outcome: Outcome,
    },
}

/// What a run runs, and for what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Started {
    /// The sealed plan.
    pub plan: Hash,
    /// Its rung.
    pub rung: String,
    /// The rule whose condition was due.
    pub criterion: String,
    /// The folder of the evidence.
    pub evidence: Option<String>,
    /// The process that executes it.
    pub pid: u32,
    /// The boot of the host.
    pub boot: String,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// Every step of the rung for this criterion ran; steps that may fail may have.
    Completed,
    /// A step failed; nothing after it ran.
    Failed {
        /// The step.
        step: usize,
    },
    /// Nobody knows whether a step happened; nothing after it ran. A person must say.
    Stuck {
        /// The step.
        step: usize,
    },
    /// Somebody wished it; nothing further ran.
    Stopped {
        /// The last step that ran, if any did.
        after: Option<usize>,
    },
    /// It never began.
    Refused {
        /// Why not.
        why: String,
    },
}

impl Outcome {
    /// The exit code of `backstop rollback execute`: 0 completed, 1 everything else.
    pub fn exit_code(&self) -> u8 {
        u8::from(*self != Outcome::Completed)
    }
}

/// For people, steps counted from 1: `failed at step 2`.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Completed => f.write_str("completed"),
            Outcome::Failed { step } => write!(f, "failed at step {}", step + 1),
            Outcome::Stuck { step } => write!(f, "stuck: nobody knows whether step {} happened", step + 1),
            Outcome::Stopped { after: None } => f.write_str("stopped before the first step"),
            Outcome::Stopped { after: Some(step) } => write!(f, "stopped after step {}", step + 1),
            Outcome::Refused { why } => write!(f, "refused: {why}"),
        }
    }
}

impl Record {
    /// A record of this moment.
    pub fn new(at: Timestamp, event: Event) -> Record {
        Record { format: FORMAT, at, event }
    }

    /// The line of the journal.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).expect("a record has only string keys")
    }

    /// Reads a line of the journal.
    ///
    /// # Errors
    /// When a newer version of backstop wrote it, or it is no record.
    pub fn decode(text: &str) -> Result<Record, FormatError> {
        format::decode(text.as_bytes())
    }
}

/// The state of a run: what its journal adds up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunState {
    /// What it runs, once it began.
    pub started: Option<Started>,
    /// The process that executed it last, and on which boot.
    pub executor: Option<(u32, String)>,
    /// The steps that began, by their place in the rung.
    pub steps: BTreeMap<usize, StepState>,
    /// How it ended, once it did.
    pub outcome: Option<Outcome>,
}

/// Where a step is.
#[derive(Clone, Debug, PartialEq)]
pub enum StepState {
    /// Begun, and not ended: it runs, or was interrupted.
    Started {
        /// Which start.
        attempt: u32,
        /// Its process, once it ran, and the boot of the host.
        process: Option<(Identity, String)>,
        /// Since when.
        since: Timestamp,
    },
    /// It happened.
    Done,
    /// It ended as it should not have.
    Failed {
        /// Which start.
        attempt: u32,
        /// How.
        exit: Exit,
    },
    /// It was asked and did not happen.
    Undone {
        /// Which start that was.
        attempt: u32,
    },
    /// Nobody knows.
    Unknown {
        /// Why not.
        why: String,
    },
}

impl RunState {
    /// The step that is begun and not ended, and its process.
    pub fn in_flight(&self) -> Option<(usize, Identity, &str)> {
        self.steps.iter().find_map(|(index, s)| match s {
            StepState::Started { process: Some((process, boot)), .. } => Some((*index, *process, boot.as_str())),
            _ => None,
        })
    }

    /// The last step that ended, however.
    fn last_ended(&self) -> Option<usize> {
        self.steps.keys().next_back().copied()
    }
}

/// A record that cannot follow what stands before it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("record {number} of the journal cannot be there: {event:?} while {state}")]
pub struct FoldError {
    /// Its number, from 1.
    pub number: usize,
    /// The record.
    pub event: Box<Event>,
    /// The state it met.
    pub state: String,
}

/// The state that these records add up to.
///
/// # Errors
/// At the first record that cannot follow those before it.
pub fn fold(records: &[Record]) -> Result<RunState, FoldError> {
    let mut state = RunState::default();
    for (i, record) in records.iter().enumerate() {
        state.apply(record).map_err(|met| FoldError {
            number: i + 1,
            event: Box::new(record.event.clone()),
            state: met,
        })?;
    }
    Ok(state)
}

impl RunState {
    /// Takes one more record.
    ///
    /// # Errors
    /// The state it cannot follow, in words.
    pub fn apply(&mut self, record: &Record) -> Result<(), String> {
        if let Some(outcome) = &self.outcome {
            return Err(format!("the run is over ({outcome})"));
        }
        match (&record.event, self.started.is_some()) {
            (Event::RunStarted(started), false) => {
                self.executor = Some((started.pid, started.boot.clone()));
                self.started = Some(started.clone());
                Ok(())
            }
            (Event::RunContinued { pid, boot }, true) => {
                self.executor = Some((*pid, boot.clone()));
                Ok(())
            }
            (Event::RunFinished { outcome }, started) if started != matches!(outcome, Outcome::Refused { .. }) => {
                self.outcome = Some(outcome.clone());
                Ok(())
            }
            (Event::StepStarted { index, .. }, true)
            | (Event::StepSpawned { index, .. }, true)
            | (Event::StepFinished { index, .. }, true)
            | (Event::StepChecked { index, .. }, true)
            | (Event::StepUnknown { index, .. }, true) => self.apply_to_step(*index, record),
            (_, true) => Err("the run has begun".into()),
            (_, false) => Err("the run has not begun".into()),
        }
    }

    fn apply_to_step(&mut self, index: usize, record: &Record) -> Result<(), String> {
        if let Some((other, _)) =
            self.steps.iter().find(|(i, s)| **i != index && matches!(s, StepState::Started { .. }))
        {
            return Err(format!("step {other} is not finished"));
        }
        let before = self.steps.get(&index);
        let after = step_after(before, record).ok_or_else(|| match before {
            Some(state) => format!("step {index} is {state:?}"),
            None => format!("step {index} has not begun"),
        })?;
        self.steps.insert(index, after);
        Ok(())
    }
}

/// The state of a step after a record about it; none for an impossible pair.
fn step_after(before: Option<&StepState>, record: &Record) -> Option<StepState> {
    use StepState::*;
    Some(match (before, &record.event) {
        (None, Event::StepStarted { attempt: 1, .. }) => Started { attempt: 1, process: None, since: record.at },
        (
            Some(Started { attempt: last, .. } | Failed { attempt: last, .. } | Undone { attempt: last }),
            Event::StepStarted { attempt, .. },
        ) if Some(*attempt) == last.checked_add(1) => Started { attempt: *attempt, process: None, since: record.at },
        (Some(Started { attempt, process: None, since }), Event::StepSpawned { process, boot, .. }) => {
            Started { attempt: *attempt, process: Some((*process, boot.clone())), since: *since }
        }
        (Some(Started { .. }), Event::StepFinished { exit, .. }) if exit.is_success() => Done,
        (Some(Started { attempt, .. }), Event::StepFinished { exit, .. }) => {
            Failed { attempt: *attempt, exit: exit.clone() }
        }
        (Some(Started { .. } | Failed { .. }), Event::StepChecked { done: true, .. }) => Done,
        (Some(Started { attempt, .. } | Failed { attempt, .. }), Event::StepChecked { done: false, .. }) => {
            Undone { attempt: *attempt }
        }
        (Some(Started { .. } | Failed { .. }), Event::StepUnknown { why, .. }) => Unknown { why: why.clone() },
        _ => return None,
    })
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Start this step; it is its nth start.
    Run {
        /// The step.
        index: usize,
        /// From 1.
        attempt: u32,
    },
    /// Ask this step's `done_if` whether it happened.
    Check {
        /// The step.
        index: usize,
    },
    /// Nothing can say whether this step happened: journal that.
    GiveUp {
        /// The step.
        index: usize,
        /// Why.
        why: String,
    },
    /// The run is over: journal that.
    Finish(Outcome),
    /// The run is over, and its journal says so.
    Rest(Outcome),
}

/// What to do next in a run that has begun. `stop`: somebody wishes that it ends between two steps.
pub fn next(rung: &Rung, criterion: &str, state: &RunState, stop: bool) -> Action {
    if let Some(outcome) = &state.outcome {
        return Action::Rest(outcome.clone());
    }
    let mine = rung.steps.iter().enumerate().filter(|(_, step)| step.is_for(criterion));
    for (index, step) in mine {
        let may_repeat = step.is_repeatable();
        let start = |attempt| match stop {
            true => Action::Finish(Outcome::Stopped { after: state.last_ended() }),
            false => Action::Run { index, attempt },
        };
        match state.steps.get(&index) {
            None => return start(1),
            Some(StepState::Done) => {}
            Some(StepState::Unknown { .. }) => return Action::Finish(Outcome::Stuck { step: index }),
            Some(StepState::Undone { attempt }) if *attempt < MOST_STARTS => return start(attempt + 1),
            Some(StepState::Undone { .. }) => return Action::Finish(Outcome::Failed { step: index }),
            // An interrupted step is finished before a stop is heard: half a step is no place to rest.
            Some(StepState::Started { attempt, .. }) if may_repeat && *attempt < MOST_STARTS => {
                return Action::Run { index, attempt: attempt + 1 };
            }
            Some(StepState::Started { attempt, .. }) if may_repeat => {
                let why = format!("it was interrupted {attempt} times");
                return Action::GiveUp { index, why };
            }
            Some(StepState::Started { .. }) if step.done_if.is_some() => return Action::Check { index },
            Some(StepState::Started { .. }) => {
                let why = "it was interrupted, and may run only once".into();
                return Action::GiveUp { index, why };
            }
            Some(StepState::Failed { attempt, .. }) if *attempt <= step.retries && may_repeat => {
                return start(attempt + 1);
            }
            Some(StepState::Failed { attempt, .. }) if *attempt <= step.retries && step.done_if.is_some() => {
                return Action::Check { index };
            }
            Some(StepState::Failed { .. }) if step.on_failure == OnFailure::Halt => {
                return Action::Finish(Outcome::Failed { step: index });
            }
            Some(StepState::Failed { .. }) => {}
        }
    }
    Action::Finish(Outcome::Completed)
}

/// The end of an output as it is journaled and shown: at most 500 characters, without control characters.
pub fn tail(bytes: &[u8]) -> String {
    const MOST: usize = 500;
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end();
    let skip = text.chars().count().saturating_sub(MOST);
    text.chars().skip(skip).map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::step::{Command, Step, StepKind};
    use super::*;

    fn started() -> Event {
        let plan = Hash::of(b"plan");
        let (rung, criterion, boot) = ("version".into(), "errors".into(), "boot".into());
        Event::RunStarted(Started { plan, rung, criterion, evidence: None, pid: 7, boot })
    }

    fn begin(index: usize, attempt: u32) -> Event {
        Event::StepStarted { index, name: "step".into(), attempt }
    }

    fn end(index: usize, code: i32) -> Event {
        let (took, tail) = (Span::ZERO, String::new());
        Event::StepFinished { index, exit: Exit::Code(code), took, output_bytes: 0, tail }
    }

    fn over(outcome: Outcome) -> Event {
        Event::RunFinished { outcome }
    }

    fn folded(events: &[Event]) -> Result<RunState, FoldError> {
        let records: Vec<Record> = events.iter().map(|e| Record::new(Timestamp(1), e.clone())).collect();
        fold(&records)
    }

    #[test]
    fn an_impossible_record_is_named_with_the_state_it_met() {
        for (events, message) in [
            (vec![begin(0, 1)], "the run has not begun"),
            (vec![started(), started()], "the run has begun"),
            (vec![over(Outcome::Completed)], "the run has not begun"),
            (vec![started(), over(Outcome::Refused { why: "x".into() })], "the run has begun"),
            (vec![started(), over(Outcome::Completed), begin(0, 1)], "the run is over (completed)"),
            (vec![started(), begin(0, 2)], "step 0 has not begun"),
            (vec![started(), end(0, 0)], "step 0 has not begun"),
            (vec![started(), begin(0, 1), begin(1, 1)], "step 0 is not finished"),
            (vec![started(), begin(0, 1), begin(0, 3)], "step 0 is Started"),
            (vec![started(), begin(0, 1), end(0, 0), begin(0, 2)], "step 0 is Done"),
            (vec![started(), begin(0, 1), end(0, 0), Event::StepChecked { index: 0, done: true }], "step 0 is Done"),
        ] {
            let error = folded(&events).unwrap_err();
            assert_eq!(error.number, events.len());
            assert!(error.to_string().contains(message), "{error}");
        }
    }

    fn step(repeatable: bool, asked: bool, retries: u32, on_failure: OnFailure) -> Step {
        Step {
            name: "step".into(),
            kind: StepKind::Command(Command { argv: vec!["/bin/true".into()] }),
            timeout: Span::secs(1),
            retries,
            on_failure,
            repeatable,
            done_if: asked.then(|| vec!["/bin/true".into()]),
            only_for: vec![],
            env: BTreeMap::new(),
            dir: None,
        }
    }

    #[test]
    fn what_comes_next_follows_from_the_records_alone() {
        use OnFailure::{Continue, Halt};
        let once = step(false, false, 0, Halt);
        let repeat = step(true, false, 1, Halt);
        let asked = step(false, true, 1, Halt);
        let pass = step(false, false, 0, Continue);
        let unknown = Event::StepUnknown { index: 0, why: "x".into() };
        let checked = |done| Event::StepChecked { index: 0, done };
        let run = |attempt| Action::Run { index: 0, attempt };
        let finish = Action::Finish;
        let many: Vec<Event> = (1..=MOST_STARTS).map(|n| begin(0, n)).collect();
        for (step, events, stop, action) in [
            (&once, vec![], false, run(1)),
            (&once, vec![], true, finish(Outcome::Stopped { after: None })),
            (&once, vec![begin(0, 1), end(0, 0)], true, finish(Outcome::Completed)),
            (&once, vec![begin(0, 1), end(0, 1)], false, finish(Outcome::Failed { step: 0 })),
            (&pass, vec![begin(0, 1), end(0, 1)], false, finish(Outcome::Completed)),
            (&once, vec![begin(0, 1), unknown.clone()], false, finish(Outcome::Stuck { step: 0 })),
            (&repeat, vec![begin(0, 1)], false, run(2)),
            (&repeat, vec![begin(0, 1)], true, run(2)),
            (&repeat, vec![begin(0, 1), end(0, 1)], false, run(2)),
            (&repeat, vec![begin(0, 1), end(0, 1)], true, finish(Outcome::Stopped { after: Some(0) })),
            (&repeat, vec![begin(0, 1), end(0, 1), begin(0, 2), end(0, 1)], false, finish(Outcome::Failed { step: 0 })),
            (&repeat, many, false, Action::GiveUp { index: 0, why: "it was interrupted 20 times".into() }),
            (&asked, vec![begin(0, 1)], false, Action::Check { index: 0 }),
            (&asked, vec![begin(0, 1), end(0, 1)], false, Action::Check { index: 0 }),
            (&asked, vec![begin(0, 1), checked(false)], false, run(2)),
            (&asked, vec![begin(0, 1), checked(true)], false, finish(Outcome::Completed)),
            (
                &once,
                vec![over(Outcome::Stopped { after: None })],
                false,
                Action::Rest(Outcome::Stopped { after: None }),
            ),
        ] {
            let rung = Rung { name: "version".into(), steps: vec![step.clone()] };
            let events: Vec<Event> = std::iter::once(started()).chain(events).collect();
            assert_eq!(next(&rung, "errors", &folded(&events).unwrap(), stop), action, "{events:?}");
        }
        let state = folded(&[started(), begin(0, 1)]).unwrap();
        let rung = Rung { name: "version".into(), steps: vec![once] };
        assert!(matches!(next(&rung, "errors", &state, false), Action::GiveUp { index: 0, .. }));
    }

    /// Lines as format 1 wrote them: they are read for as long as there is a format 1.
    #[test]
    fn records_of_format_1_are_read() {
        for line in [
            r#"{"format":1,"at":5,"event":{"run_continued":{"pid":7,"boot":"b"}}}"#,
            r#"{"format":1,"at":5,"event":{"step_started":{"index":0,"name":"a","attempt":1}}}"#,
            r#"{"format":1,"at":5,"event":{"step_spawned":{"index":0,"process":{"pid":7,"started":9},"boot":"b"}}}"#,
            r#"{"format":1,"at":5,"event":{"step_finished":{"index":0,"exit":{"code":1},"took":9,"output_bytes":2,"tail":"x"}}}"#,
            r#"{"format":1,"at":5,"event":{"step_finished":{"index":0,"exit":"timeout","took":9,"output_bytes":2,"tail":"x"}}}"#,
            r#"{"format":1,"at":5,"event":{"step_checked":{"index":0,"done":true}}}"#,
            r#"{"format":1,"at":5,"event":{"step_unknown":{"index":0,"why":"w"}}}"#,
            r#"{"format":1,"at":5,"event":{"run_finished":{"outcome":"completed"}}}"#,
            r#"{"format":1,"at":5,"event":{"run_finished":{"outcome":{"stopped":{"after":null}}}}}"#,
        ] {
            assert_eq!(Record::decode(line).unwrap().encode(), line);
        }
        let newer = r#"{"format":2,"at":5,"event":{"else":{}}}"#;
        assert_eq!(Record::decode(newer), Err(FormatError::Newer { found: 2 }));
    }

    #[test]
    fn the_end_of_an_output_is_short_and_plain() {
        assert_eq!(tail(b"ok\x1b[31m red\n\n"), "ok [31m red");
        assert_eq!(tail("ä".repeat(600).as_bytes()).chars().count(), 500);
    }
}
