//! The kinds of steps, one file each, and what every step has.
//!
//! A kind reads its own value from the configuration, has its facts filled in when the plan is sealed, and says
//! what is to be done; the executor does it. Nothing here acts.

pub mod command;
pub mod wait;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::table::Table;
use crate::base::{Problems, Span};
use crate::sys::process::Program;

pub use command::Command;
pub use wait::Wait;

/// One step of a sealed plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What people call it.
    pub name: String,
    /// What it does.
    pub kind: StepKind,
    /// After this its processes are ended, and it has failed.
    pub timeout: Span,
    /// How often it is tried again after it failed.
    pub retries: u32,
    /// What a failure means for the steps after it.
    pub on_failure: OnFailure,
    /// Whether it may be started again when its outcome was lost.
    pub repeatable: bool,
    /// Says whether it happened, when its outcome was lost: exit 0 it did, 1 it did not, else nobody knows.
    pub done_if: Option<Vec<String>>,
    /// The criteria it is for; empty: all.
    pub only_for: Vec<String>,
    /// Its environment, besides the facts.
    pub env: BTreeMap<String, String>,
    /// Its working folder.
    pub dir: Option<PathBuf>,
}

impl Step {
    /// Whether it is part of a run for `criterion`.
    pub fn is_for(&self, criterion: &str) -> bool {
        self.only_for.is_empty() || self.only_for.iter().any(|c| c == criterion)
    }

    /// Whether it may be started more than once without asking whether it happened.
    pub fn is_repeatable(&self) -> bool {
        self.repeatable || matches!(self.kind, StepKind::Wait(_))
    }
}

/// What a failed step means for the steps after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The run ends here.
    #[default]
    Halt,
    /// The run goes on; the failure stands in its journal.
    Continue,
}

/// The kinds of steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// Runs a program.
    Command(Command),
    /// Lets time pass.
    Wait(Wait),
}

impl StepKind {
    /// The key of every kind in `[[rollback.step]]`.
    pub const KEYS: [&str; 2] = ["command", "wait"];

    /// Reads the kind whose `key` stands in a step's table; none (and a problem) when its value is wrong.
    pub fn read(key: &str, table: &mut Table<'_>, problems: &mut Problems) -> Option<StepKind> {
        let node = table.node(key)?;
        match key {
            "command" => Command::read(node, problems).map(StepKind::Command),
            "wait" => Wait::read(node, problems).map(StepKind::Wait),
            _ => None,
        }
    }

    /// What people call a step of this kind that has no name.
    pub fn default_name(&self) -> String {
        match self {
            StepKind::Command(command) => command.default_name(),
            StepKind::Wait(wait) => wait.default_name(),
        }
    }
}

/// What is known of a deployment and of the reason to take it back: what `{version}` and its like stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The version to be taken back.
    pub version: Option<String>,
    /// The version to return to.
    pub previous: Option<String>,
    /// The rule whose condition is due.
    pub criterion: Option<String>,
    /// The folder of the evidence; empty text where none was saved.
    pub evidence: Option<String>,
}

impl Facts {
    /// The facts by name.
    pub const NAMES: [&str; 4] = ["version", "previous", "criterion", "evidence"];

    fn get(&self, name: &str) -> Option<&str> {
        match name {
            "version" => self.version.as_deref(),
            "previous" => self.previous.as_deref(),
            "criterion" => self.criterion.as_deref(),
            "evidence" => self.evidence.as_deref(),
            _ => None,
        }
    }

    /// Replaces each argument that is exactly `{name}` of a known fact. An argument is never split or joined.
    pub fn fill(&self, argv: &[String]) -> Vec<String> {
        argv.iter().map(|a| fact_name(a).and_then(|n| self.get(n)).unwrap_or(a).to_string()).collect()
    }

    /// The same facts as `BACKSTOP_VERSION`, …
    pub fn env(&self) -> BTreeMap<String, String> {
        let named = |name: &str| Some((format!("BACKSTOP_{}", name.to_uppercase()), self.get(name)?.to_string()));
        Facts::NAMES.into_iter().filter_map(named).collect()
    }
}

/// The name in an argument that has the form of a fact: `previous` in `{previous}`.
pub fn fact_name(argument: &str) -> Option<&str> {
    let name = argument.strip_prefix('{')?.strip_suffix('}')?;
    (!name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'.' || b == b'-')).then_some(name)
}

/// What is to be done for a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Run this to its end.
    Run(Program),
    /// Let this much time pass.
    Pause(Span),
}

/// How much of a step's output is kept from its beginning: 1 MiB.
pub const MAX_OUTPUT: usize = 1 << 20;

impl Step {
    /// What is to be done, its output going to `output`.
    pub fn act(&self, facts: &Facts, output: PathBuf) -> Act {
        match &self.kind {
            StepKind::Command(command) => Act::Run(self.program(&command.argv, facts, Some(output))),
            StepKind::Wait(wait) => Act::Pause(wait.span),
        }
    }

    /// The program that says whether this step happened.
    pub fn check(&self, facts: &Facts) -> Option<Program> {
        self.done_if.as_ref().map(|argv| self.program(argv, facts, None))
    }

    fn program(&self, argv: &[String], facts: &Facts, output: Option<PathBuf>) -> Program {
        let mut env = self.env.clone();
        env.extend(facts.env());
        let dir = self.dir.clone();
        Program { argv: facts.fill(argv), env, dir, timeout: self.timeout, max_output: MAX_OUTPUT, output }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_argument_that_is_exactly_a_fact_is_replaced() {
        let facts = Facts { version: Some("2.1.0; rm -rf /".into()), previous: None, ..Facts::default() };
        let argv = ["sh", "{version}", "v{version}", "{previous}", "{}", "{Version}"].map(String::from);
        assert_eq!(facts.fill(&argv), ["sh", "2.1.0; rm -rf /", "v{version}", "{previous}", "{}", "{Version}"]);
        assert_eq!(facts.env(), BTreeMap::from([("BACKSTOP_VERSION".into(), "2.1.0; rm -rf /".into())]));
    }
}
