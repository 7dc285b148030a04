//! The agent's hand in the executor's files: asks for an execution, starts its process, reads its journal.
//!
//! Enters: what the engine wants executed, and folders. Leaves: what the run's journal says. Asking twice changes
//! nothing: a request is a file of one name, an execution is single-flight, and its journal says what ran. An
//! executor that died (the host went down, somebody killed it) is started again; what it may repeat is its journal's to say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::base::{Id, Span, Timestamp, chain};
use crate::engine::{self, Input};
use crate::rollback::executor::{self, Folders, RunView};
use crate::rollback::machine::{ExecutionEnd, StepSeen};
use crate::rollback::plan::{self, Hash, Plan, Rung};
use crate::rollback::record::{Outcome, StepState};
use crate::rollback::request::{self, Execution, Request, RequestError};
use crate::sys::process::{self, Detached};

/// How long after its start an executor may be silent before it is started again.
const RESTART_AFTER: Span = Span::secs(3);

/// The executions of this agent's life.
#[derive(Debug)]
pub struct Executions {
    state: PathBuf,
    program: PathBuf,
    child: Option<(String, Detached)>,
    started: Option<(String, Timestamp)>,
    refused: Option<(String, String)>,
}

impl Executions {
    /// For the state folder; `program` is this program's own file.
    pub fn new(state: &Path, program: PathBuf) -> Executions {
        Executions { state: state.to_path_buf(), program, child: None, started: None, refused: None }
    }

    /// Writes the request and starts the executor, unless it has been.
    pub fn begin(&mut self, now: Timestamp, wanted: &engine::Execution) {
        if let Err(why) = self.write_request(wanted) {
            tracing::error!(execution = %wanted.execution, %why, "The rollback could not be requested.");
            self.refused = Some((wanted.execution.clone(), why));
            return;
        }
        self.start(now, &wanted.execution);
    }

    /// Does not begin it: the next look says why.
    pub fn refuse(&mut self, wanted: &engine::Execution, why: &str) {
        self.refused = Some((wanted.execution.clone(), why.into()));
    }

    /// Leaves word that an execution should stop between two steps.
    pub fn stop(&self, execution: &str) {
        let wished =
            Execution::parse(execution).and_then(|e| request::wish_stop(&self.state, &e).map_err(|e| e.to_string()));
        if let Err(why) = wished {
            tracing::error!(execution, %why, "The wish to stop could not be left.");
        }
    }

    /// What the journal of `execution` says now; starts its executor again if that died.
    pub fn look(&mut self, now: Timestamp, execution: &str) -> Option<Input> {
        if let Some((_, child)) = &mut self.child {
            // Asked so that it does not stay a zombie; what it did stands in its journal.
            child.ended();
        }
        let over =
            |end| Input::Execution { execution: execution.to_string(), pid: None, steps: Vec::new(), end: Some(end) };
        if let Some((_, why)) = self.refused.take_if(|(e, _)| e == execution) {
            return Some(over(ExecutionEnd::Refused { why }));
        }
        let view = match executor::read_run(&self.state, execution) {
            Ok(view) => view,
            Err(error) => {
                tracing::warn!(execution, error = %chain(&error), "The run's journal cannot be read now.");
                return None;
            }
        };
        let due = self.started.as_ref().is_none_or(|(e, at)| e != execution || now - *at >= RESTART_AFTER);
        if view.state.outcome.is_none() && !view.is_alive && due {
            tracing::warn!(execution, "The executor is not there; it is started again.");
            self.start(now, execution);
        }
        let rung = self.rung(execution);
        let steps = steps_seen(&view, rung.as_ref());
        let pid = view.is_alive.then(|| view.state.executor.as_ref().map(|(pid, _)| *pid)).flatten();
        let end = view.state.outcome.as_ref().map(|outcome| self.end_of(execution, outcome, &view, rung.as_ref()));
        Some(Input::Execution { execution: execution.to_string(), pid, steps, end })
    }

    fn write_request(&self, wanted: &engine::Execution) -> Result<(), String> {
        Folders::new(&self.state).prepare().map_err(|e| e.to_string())?;
        let evidence = self.state.join("evidence").join(&wanted.run_short);
        let request = Request {
            format: crate::rollback::format::FORMAT,
            execution: Execution::parse(&wanted.execution)?,
            run: Id::clone(&wanted.run),
            plan: Hash::try_from(wanted.plan.clone())?,
            rung: wanted.rung.clone(),
            criterion: wanted.criterion.clone(),
            evidence: Some(evidence.display().to_string()),
            asked_at: wanted.asked_at,
            approved_by: wanted.approved_by.clone(),
            reason: wanted.reason.clone(),
        };
        match request::write(&self.state, &request) {
            // Asked for before, by an earlier life of this agent: the request that is there counts.
            Err(RequestError::File(error)) if error.is_already_there() => Ok(()),
            Err(error) => Err(chain(&error)),
            Ok(()) => Ok(()),
        }
    }

    fn start(&mut self, now: Timestamp, execution: &str) {
        let args = ["rollback", "execute", execution, "--session", "--state"].map(String::from);
        let args: Vec<String> = args.into_iter().chain([self.state.display().to_string()]).collect();
        let log = self.state.join("executor.log");
        self.started = Some((execution.to_string(), now));
        match process::spawn_detached(&self.program, &args, &BTreeMap::new(), &log) {
            Ok(child) => self.child = Some((execution.to_string(), child)),
            Err(error) => tracing::error!(execution, %error, "The executor could not be started; it is tried again."),
        }
    }

    fn rung(&self, execution: &str) -> Option<Rung> {
        let request = request::read(&self.state, &Execution::parse(execution).ok()?).ok()?;
        let plan: Plan = plan::load(&Folders::new(&self.state).plans(), &request.plan).ok()?;
        plan.rung(&request.rung).cloned()
    }

    fn end_of(&self, execution: &str, outcome: &Outcome, view: &RunView, rung: Option<&Rung>) -> ExecutionEnd {
        let of = rung.map_or(view.state.steps.len(), |r| r.steps.len());
        let name = |index: usize| step_name(rung, index);
        match outcome {
            Outcome::Completed => ExecutionEnd::Completed,
            Outcome::Failed { step } => ExecutionEnd::Failed {
                step: name(*step),
                number: step + 1,
                of,
                exit: view.state.steps.get(step).map_or_else(|| "unknown".into(), state_text),
                output: output_tail(view, *step),
            },
            Outcome::Stuck { step } => ExecutionEnd::Stuck {
                step: name(*step),
                number: step + 1,
                of,
                why: format!(
                    "{}; its output so far: {}",
                    view.state.steps.get(step).map_or_else(|| "its outcome is unknown".into(), state_text),
                    self.state.join("rollback/runs").join(execution).join(format!("{step}.out")).display()
                ),
            },
            Outcome::Stopped { after } => {
                ExecutionEnd::Stopped { after: after.map_or_else(|| "no step".into(), |i| format!("\"{}\"", name(i))) }
            }
            Outcome::Refused { why } => ExecutionEnd::Refused { why: why.clone() },
        }
    }
}

fn steps_seen(view: &RunView, rung: Option<&Rung>) -> Vec<StepSeen> {
    let took = |index: usize| {
        view.records.iter().rev().find_map(|r| match &r.event {
            crate::rollback::record::Event::StepFinished { index: i, took, .. } if *i == index => Some(*took),
            _ => None,
        })
    };
    let seen = |(index, state): (&usize, &StepState)| StepSeen {
        name: step_name(rung, *index),
        state: state_text(state),
        took: took(*index),
    };
    view.state.steps.iter().map(seen).collect()
}

fn step_name(rung: Option<&Rung>, index: usize) -> String {
    rung.and_then(|r| r.steps.get(index)).map_or_else(|| format!("step {}", index + 1), |s| s.name.clone())
}

fn state_text(state: &StepState) -> String {
    match state {
        StepState::Started { .. } => "running".into(),
        StepState::Done => "done".into(),
        StepState::Failed { exit, .. } => format!("failed: {exit}"),
        StepState::Undone { .. } => "not done".into(),
        StepState::Unknown { why } => format!("outcome unknown: {why}"),
    }
}

fn output_tail(view: &RunView, step: usize) -> String {
    let tail = view.records.iter().rev().find_map(|r| match &r.event {
        crate::rollback::record::Event::StepFinished { index, tail, .. } if *index == step => Some(tail.clone()),
        _ => None,
    });
    tail.unwrap_or_default()
}
