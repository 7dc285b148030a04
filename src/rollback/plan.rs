//! The sealed plan: what a rollback of one deployment runs, fixed while the deployment is armed.
//!
//! Enters: a resolved plan, from those who may seal. Leaves: the same plan, exactly, to the executor. A plan is
//! named by the SHA-256 of its bytes, so a request can only ask for something that was sealed. It fails loudly:
//! bytes that do not match their name, a file others could have written, a newer format.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::format::{self, FORMAT, FormatError};
use super::step::{Facts, Step};
use crate::base::Timestamp;
use crate::sys::files::{self, FileError};

/// The largest plan that is sealed or read: 1 MiB.
pub const MAX_PLAN: u64 = 1 << 20;

/// Everything a rollback of one deployment may run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`FORMAT`].
    pub format: u32,
    /// The application.
    pub app: String,
    /// The version that is watched.
    pub version: String,
    /// The version that was there before, if it is known.
    pub previous: Option<String>,
    /// What else was true at T0: image digests, commit, unit version.
    pub facts: BTreeMap<String, String>,
    /// The rungs of the ladder, lowest first.
    pub rungs: Vec<Rung>,
    /// When it was sealed.
    pub sealed_at: Timestamp,
}

/// The steps that one execution runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rung {
    /// Its name in the ladder.
    pub name: String,
    /// In order.
    pub steps: Vec<Step>,
}

impl Plan {
    /// The rung of this name.
    pub fn rung(&self, name: &str) -> Option<&Rung> {
        self.rungs.iter().find(|r| r.name == name)
    }

    /// The facts for a run for `criterion`.
    pub fn facts_for(&self, criterion: &str, evidence: Option<&str>) -> Facts {
        Facts {
            version: Some(self.version.clone()),
            previous: self.previous.clone(),
            criterion: Some(criterion.to_string()),
            // Evidence that could not be saved is no reason to leave a bad version running.
            evidence: Some(evidence.unwrap_or_default().to_string()),
        }
    }
}

/// The name of a plan: 64 hex digits of the SHA-256 of its bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash(String);

impl Hash {
    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> Hash {
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        Hash(digest.as_ref().iter().map(|b| format!("{b:02x}")).collect())
    }
}

impl TryFrom<String> for Hash {
    type Error = String;

    fn try_from(text: String) -> Result<Hash, String> {
        let good = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if good { Ok(Hash(text)) } else { Err("the name of a plan has 64 characters of 0-9 and a-f".into()) }
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> String {
        hash.0
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a plan could not be sealed or read.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The file.
    #[error("cannot use the plan")]
    File(#[from] FileError),
    /// The content.
    #[error("cannot use the plan {hash}")]
    Format {
        /// Its name.
        hash: Hash,
        /// What is wrong with it.
        source: FormatError,
    },
    /// The bytes are not those that were sealed.
    #[error("the plan {named} was changed after it was sealed: its content has the hash {found}")]
    Changed {
        /// The name it stands under.
        named: Hash,
        /// The hash of what stands there.
        found: Hash,
    },
    /// More than [`MAX_PLAN`].
    #[error("a plan of {0} bytes is too large to be sealed")]
    TooLarge(usize),
}

impl PlanError {
    /// Whether trying again cannot help: it was never sealed or its content is wrong, rather than the disk.
    pub fn is_final(&self) -> bool {
        match self {
            PlanError::File(error @ FileError::Io { operation, .. }) => *operation == "trust" || error.is_not_found(),
            _ => true,
        }
    }
}

/// Writes a plan to `folder` under its hash; sealing the same plan twice is the same as once.
///
/// # Errors
/// When it is too large or cannot be written.
pub fn seal(folder: &Path, plan: &Plan) -> Result<Hash, PlanError> {
    let bytes = serde_json::to_vec_pretty(plan).expect("a plan has only string keys");
    if bytes.len() as u64 > MAX_PLAN {
        return Err(PlanError::TooLarge(bytes.len()));
    }
    let hash = Hash::of(&bytes);
    files::replace(&path_of(folder, &hash), &bytes, 0o640)?;
    Ok(hash)
}

/// Reads the plan of this hash from `folder`.
///
/// # Errors
/// When it cannot be read, others could have written it, it is not what was sealed, or a newer version of
/// backstop sealed it.
pub fn load(folder: &Path, hash: &Hash) -> Result<Plan, PlanError> {
    let bytes = files::read_trusted(&path_of(folder, hash), MAX_PLAN)?;
    let found = Hash::of(&bytes);
    if found != *hash {
        return Err(PlanError::Changed { named: hash.clone(), found });
    }
    let plan: Plan = format::decode(&bytes).map_err(|source| PlanError::Format { hash: hash.clone(), source })?;
    debug_assert!(plan.format <= FORMAT, "decode refuses newer ones");
    Ok(plan)
}

fn path_of(folder: &Path, hash: &Hash) -> PathBuf {
    folder.join(format!("{hash}.json"))
}
