//! What the engine says of one container when it is asked, as far as it matters here.

use crate::base::Timestamp;
use crate::sys::engine::{Health, Inspected, Limits, Policy, State};

/// What is known of one container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// What it does.
    pub state: State,
    /// What its health check found; nothing where it has none.
    pub health: Option<Health>,
    /// How many health checks failed one after the other.
    pub failing_streak: u64,
    /// Its main process, as the engine's host numbers it.
    pub pid: Option<u32>,
    /// With what it ended the last time.
    pub exit_code: i64,
    /// Whether it ended the last time for want of memory.
    pub is_oom_killed: bool,
    /// Why the engine could not start it; empty where it could.
    pub error: String,
    /// How often the engine started it again by itself.
    pub restarts: u64,
    /// When the engine starts it again by itself.
    pub policy: Policy,
    /// When it was started the last time.
    pub started: Option<Timestamp>,
    /// The image as it was named.
    pub image: String,
    /// The id of the image.
    pub image_id: String,
    /// The version that its image says it has.
    pub version: Option<String>,
    /// The revision that its image says it was made from.
    pub revision: Option<String>,
    /// What it may use.
    pub limits: Limits,
    /// The volumes that have a name.
    pub volumes: Vec<String>,
    /// Whether its network is that of the host, whose figures are not its own.
    pub has_host_network: bool,
}

impl From<Inspected> for Facts {
    fn from(inspected: Inspected) -> Facts {
        Facts {
            state: inspected.state,
            health: inspected.health,
            failing_streak: inspected.failing_streak,
            pid: inspected.pid,
            exit_code: inspected.exit_code,
            is_oom_killed: inspected.is_oom_killed,
            error: inspected.error,
            restarts: inspected.restarts,
            policy: inspected.policy,
            started: inspected.started,
            image: inspected.image,
            image_id: inspected.image_id,
            version: inspected.version,
            revision: inspected.revision,
            limits: inspected.limits,
            volumes: inspected.volumes,
            has_host_network: inspected.has_host_network,
        }
    }
}
