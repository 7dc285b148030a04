//! What people and pipelines tell the engine, and what it answers.

use serde::{Deserialize, Serialize};

use super::signals::Word;

/// An operator's command. `by` is the caller as the control socket knows it (never what a client claims).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "command")]
pub enum Command {
    /// A deployment begins; until it is complete nothing is judged, at most for `[watch] settle`.
    DeployStart {
        /// The version that goes live.
        version: String,
        /// The version before, if the caller knows it better than the agent.
        previous: Option<String>,
        /// The sealed plan's hash; none when there is nothing to roll back with.
        plan: Option<String>,
        /// The version is live already: T0 is now.
        live: bool,
        /// Deploy a version that was rolled back before.
        force: bool,
        /// Who says so.
        by: String,
    },
    /// The new version is live: T0 is now, and the watch begins.
    DeployComplete {
        /// Who says so.
        by: String,
    },
    /// A person wants the rollback now.
    RollbackStart {
        /// Who says so.
        by: String,
        /// Why.
        reason: String,
        /// Guards that are overridden, by name.
        overrides: Vec<String>,
    },
    /// A person approves the run that asks.
    RollbackApprove {
        /// Which run; the one that waits where unset.
        run: Option<u32>,
        /// Who says so.
        by: String,
        /// Why.
        reason: Option<String>,
    },
    /// A person refuses the run that asks or is announced.
    RollbackDeny {
        /// Which run; the one that waits where unset.
        run: Option<u32>,
        /// Who says so.
        by: String,
        /// Why.
        reason: Option<String>,
    },
    /// A person ends a run between two steps (or before the first).
    RollbackStop {
        /// Which run; the one in flight where unset.
        run: Option<u32>,
        /// Who says so.
        by: String,
        /// Why.
        reason: Option<String>,
    },
    /// A message to one channel, or to all, by the way that alerts go.
    TestAlert {
        /// Which; all where unset.
        channel: Option<String>,
        /// Who says so.
        by: String,
    },
    /// Somebody states something.
    Signal(Word),
}

/// The answer to a command, given when it is durable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reply")]
pub enum Reply {
    /// It is so.
    Done {
        /// What happened, as people read it; several lines at most.
        text: String,
        /// The ids of deliveries that follow from it (of a test alert).
        deliveries: Vec<String>,
    },
    /// It is not.
    Refused {
        /// Why not.
        why: String,
        /// What to do instead.
        help: Option<String>,
    },
    /// It is so and durable, and what was stated is not good: a result that is not as expected.
    Bad {
        /// What happened, as people read it.
        text: String,
    },
    /// Nothing was done, for the command makes no sense as it is.
    Wrong {
        /// What is wrong with it.
        why: String,
        /// What to write.
        help: String,
    },
}

impl Reply {
    /// A plain success.
    pub fn done(text: impl Into<String>) -> Reply {
        Reply::Done { text: text.into(), deliveries: Vec::new() }
    }

    /// A refusal with what to do.
    pub fn refused(why: impl Into<String>, help: impl Into<String>) -> Reply {
        Reply::Refused { why: why.into(), help: Some(help.into()) }
    }
}
