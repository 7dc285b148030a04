//! The request: how the agent asks the executor for one execution, `requests/ID.json`.
//!
//! The agent has fewer rights than the executor and may be taken over, so a request carries no commands: it names
//! a sealed plan, one of its rungs, and the reason. Everything in it is checked; what becomes an argument of a
//! step (criterion, evidence) has a form that no program takes for an option.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::format::{self, FORMAT, FormatError};
use super::plan::Hash;
use crate::base::{Id, Timestamp};
use crate::sys::files::{self, FileError};

/// The largest request that is read: 64 KiB.
pub const MAX_REQUEST: u64 = 64 << 10;

/// The longest text of a person in a request, in bytes.
const MAX_TEXT: usize = 2000;

/// The name of one execution: the run and which of the ladder's rungs it is, `01k8…-0`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Execution {
    /// The run.
    pub run: Id,
    /// The rung's number, from 0.
    pub rung: u8,
}

impl Execution {
    /// Parses `<26 characters>-<number>`.
    ///
    /// # Errors
    /// A fragment that says what an execution looks like.
    pub fn parse(text: &str) -> Result<Execution, String> {
        let form = || "an execution is 26 characters of 0-9 and a-z, a hyphen, and the number of a rung".to_string();
        let (run, rung) = text.split_once('-').ok_or_else(form)?;
        let number: u8 = rung.parse().map_err(|_| form())?;
        // One execution has one name: no `+1`, no `01`.
        if number.to_string() != rung {
            return Err(form());
        }
        Ok(Execution { run: Id::try_from(run.to_string()).map_err(|_| form())?, rung: number })
    }
}

impl TryFrom<String> for Execution {
    type Error = String;

    fn try_from(text: String) -> Result<Execution, String> {
        Execution::parse(&text)
    }
}

impl From<Execution> for String {
    fn from(execution: Execution) -> String {
        execution.to_string()
    }
}

impl fmt::Display for Execution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.run, self.rung)
    }
}

/// What the agent asks for, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// [`FORMAT`].
    pub format: u32,
    /// Its own name; must be that of the file.
    pub execution: Execution,
    /// The run it belongs to; must be that of the execution.
    pub run: Id,
    /// The sealed plan.
    pub plan: Hash,
    /// The rung of the plan.
    pub rung: String,
    /// The rule whose condition is due: a name, with its application before a slash where there are several.
    pub criterion: String,
    /// The folder of the evidence, a whole path.
    pub evidence: Option<String>,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// Who approved it; none in automatic mode.
    pub approved_by: Option<String>,
    /// Why, for people.
    pub reason: String,
}

/// Why a request cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The file.
    #[error("cannot use the request")]
    File(#[from] FileError),
    /// Not what a request looks like.
    #[error("cannot use the request")]
    Format(#[from] FormatError),
    /// A field holds what it may not.
    #[error("cannot use the request: {0}")]
    Field(String),
}

impl RequestError {
    /// Whether trying again cannot help: the content is wrong, not the disk.
    pub fn is_final(&self) -> bool {
        !matches!(self, RequestError::File(FileError::Io { .. }))
    }
}

impl Request {
    /// Checks every field but whether plan and rung exist.
    ///
    /// # Errors
    /// A fragment about the first field that is wrong.
    pub fn check(&self) -> Result<(), String> {
        if self.run != self.execution.run {
            return Err(format!("it is for the execution {} and names the run {}", self.execution, self.run));
        }
        if !self.criterion.split('/').all(is_name) || self.criterion.split('/').count() > 2 {
            return Err("its criterion is no name of a rule".into());
        }
        if !is_name(&self.rung) {
            return Err("its rung is no name".into());
        }
        match &self.evidence {
            Some(path) if !path.starts_with('/') || !is_text(path) => {
                return Err("its evidence is no whole path of a folder".into());
            }
            _ => {}
        }
        let texts = [Some(&self.reason), self.approved_by.as_ref()];
        if !texts.into_iter().flatten().all(|t| is_text(t)) {
            return Err(format!("a text in it is longer than {MAX_TEXT} bytes or holds control characters"));
        }
        Ok(())
    }
}

/// Whether this is a name as the configuration takes it: `[a-z0-9][a-z0-9-]{0,62}`.
pub(super) fn is_name(text: &str) -> bool {
    let letters = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    (1..=63).contains(&text.len()) && letters && !text.starts_with('-')
}

fn is_text(text: &str) -> bool {
    text.len() <= MAX_TEXT && !text.chars().any(char::is_control)
}

/// Writes a request where the executor finds it; one that exists is never changed.
///
/// # Errors
/// When a field is wrong, the request exists, or it cannot be written.
pub fn write(state: &Path, request: &Request) -> Result<(), RequestError> {
    request.check().map_err(RequestError::Field)?;
    files::ensure_dir(&state.join("requests"), 0o750)?;
    let bytes = serde_json::to_vec_pretty(request).expect("a request has only string keys");
    Ok(files::create_new(&path_of(state, &request.execution, "json"), &bytes, 0o640)?)
}

/// Reads and checks the request for an execution.
///
/// # Errors
/// When it cannot be read, or anything in it is not as it must be.
pub fn read(state: &Path, execution: &Execution) -> Result<Request, RequestError> {
    let bytes = files::read_capped(&path_of(state, execution, "json"), MAX_REQUEST)?;
    let request: Request = format::decode(&bytes)?;
    debug_assert!(request.format <= FORMAT, "decode refuses newer ones");
    if request.execution != *execution {
        return Err(RequestError::Field(format!("it is for another execution, {}", request.execution)));
    }
    request.check().map_err(RequestError::Field)?;
    Ok(request)
}

/// Wishes that an execution stops after the step it is at; lasting.
///
/// # Errors
/// When the wish cannot be written.
pub fn wish_stop(state: &Path, execution: &Execution) -> Result<(), FileError> {
    match files::create_new(&path_of(state, execution, "stop"), b"", 0o640) {
        Err(error) if error.is_already_there() => Ok(()),
        done => done,
    }
}

/// Whether somebody wishes that this execution stops. Anything of that name counts: stopping is the safe side.
pub fn is_stop_wished(state: &Path, execution: &Execution) -> bool {
    files::exists(&path_of(state, execution, "stop"))
}

fn path_of(state: &Path, execution: &Execution, ending: &str) -> PathBuf {
    state.join("requests").join(format!("{execution}.{ending}"))
}
