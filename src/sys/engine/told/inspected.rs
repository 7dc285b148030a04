//! What is known of one container.

use serde::Deserialize;

use super::container::Labels;
use super::{Health, MAX_ERROR, MAX_IMAGE, Odd, State, image_id, is_digit, shown, shown_to, time};
use crate::base::Timestamp;

/// The most volumes of one container that are named.
const MAX_VOLUMES: usize = 64;

/// What the kernel takes for the period of a quota where none is given, in microseconds.
const PERIOD: i64 = 100_000;

/// What is known of one container beyond its entry in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspected {
    /// Its name.
    pub name: String,
    /// The project and the service of compose, where it belongs to one.
    pub service: Option<(String, String)>,
    /// What it does.
    pub state: State,
    /// What its health check found; nothing where it has none.
    pub health: Option<Health>,
    /// How many health checks failed one after the other.
    pub failing_streak: u64,
    /// Its main process, numbered as the engine's host numbers it; nothing while it does not run.
    pub pid: Option<u32>,
    /// With what it ended the last time; 0 where it never did.
    pub exit_code: i64,
    /// Whether it ended the last time for want of memory.
    pub is_oom_killed: bool,
    /// Why the engine could not start it, at most [`MAX_ERROR`] bytes; empty where it could.
    pub error: String,
    /// How often the engine started it again by itself, since it was made or started by hand.
    pub restarts: u64,
    /// When the engine starts it again by itself.
    pub policy: Policy,
    /// When it was started the last time.
    pub started: Option<Timestamp>,
    /// When it ended the last time.
    pub finished_at: Option<Timestamp>,
    /// The image as it was named when it was made.
    pub image: String,
    /// The id of the image, `sha256:` and 64 digits or the digits alone; empty where the engine gives none.
    pub image_id: String,
    /// The version that its image says it has.
    pub version: Option<String>,
    /// The revision of the source that its image says it was made from.
    pub revision: Option<String>,
    /// What it may use.
    pub limits: Limits,
    /// Whether its network is that of the host.
    pub has_host_network: bool,
    /// The volumes that have a name of their own, at most 64, each once, in the order of their names.
    pub volumes: Vec<String>,
    /// Whether it has a terminal: its log is one stream without frames.
    pub has_terminal: bool,
    /// Whether it runs and is not between two tries to start.
    pub is_running: bool,
    /// When it ended the last time, as the engine writes it.
    pub finished: String,
    /// The driver of its log.
    pub driver: String,
}

/// What a container may use; nothing where there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Memory, in bytes.
    pub memory: Option<u64>,
    /// Processors, of which a part counts as one.
    pub cpus: Option<f64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

/// When an engine starts a container again by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Never.
    #[default]
    No,
    /// When it ended with another code than 0.
    OnFailure,
    /// Whenever it ended, unless somebody stopped it.
    UnlessStopped,
    /// Whenever it ended.
    Always,
}

impl Policy {
    fn parse(text: &str) -> Policy {
        match text {
            "on-failure" => Policy::OnFailure,
            "unless-stopped" => Policy::UnlessStopped,
            "always" => Policy::Always,
            _ => Policy::No,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Whole {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    image: Option<String>,
    /// Where Podman has the name of the image.
    #[serde(default)]
    image_name: Option<String>,
    #[serde(default)]
    restart_count: Option<i64>,
    state: Told,
    #[serde(default)]
    config: Option<Config>,
    #[serde(default)]
    host_config: Option<HostConfig>,
    #[serde(default)]
    mounts: Option<Vec<Mount>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Told {
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    running: bool,
    #[serde(default)]
    restarting: bool,
    #[serde(default, rename = "OOMKilled")]
    oom_killed: Option<bool>,
    #[serde(default)]
    pid: Option<i64>,
    #[serde(default)]
    exit_code: Option<i64>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    started_at: Option<String>,
    #[serde(default)]
    finished_at: Option<String>,
    #[serde(default)]
    health: Option<Checked>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Checked {
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    failing_streak: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Config {
    tty: bool,
    image: Option<String>,
    labels: Option<Labels>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct HostConfig {
    log_config: Option<LogConfig>,
    restart_policy: Option<RestartPolicy>,
    network_mode: Option<String>,
    memory: Option<i64>,
    nano_cpus: Option<i64>,
    cpu_quota: Option<i64>,
    cpu_period: Option<i64>,
    pids_limit: Option<i64>,
}

#[derive(Deserialize)]
struct LogConfig {
    #[serde(default, rename = "Type")]
    kind: String,
}

#[derive(Deserialize)]
struct RestartPolicy {
    #[serde(default, rename = "Name")]
    name: Option<String>,
}

#[derive(Deserialize)]
struct Mount {
    #[serde(default, rename = "Type")]
    kind: Option<String>,
    #[serde(default, rename = "Name")]
    name: Option<String>,
}

impl HostConfig {
    fn limits(&self) -> Limits {
        let some = |number: Option<i64>| number.filter(|number| *number > 0);
        let quota = || {
            let period = some(self.cpu_period).unwrap_or(PERIOD);
            some(self.cpu_quota).map(|quota| quota as f64 / period as f64)
        };
        Limits {
            memory: some(self.memory).map(i64::cast_unsigned),
            cpus: some(self.nano_cpus).map(|nanos| nanos as f64 / 1e9).or_else(quota),
            pids: some(self.pids_limit).map(i64::cast_unsigned),
        }
    }
}

/// Reads `/containers/ID/json`.
///
/// # Errors
/// When it is none.
pub fn inspected(json: &[u8]) -> Result<Inspected, Odd> {
    let Whole { name, image, image_name, restart_count, state: told, config, host_config, mounts } =
        serde_json::from_slice(json).map_err(|_| Odd)?;
    let config = config.unwrap_or_default();
    let labels = config.labels.unwrap_or_default();
    let host = host_config.unwrap_or_default();
    let finished = told.finished_at.unwrap_or_default();
    let state = match told.status.as_deref().map(State::parse) {
        Some(state) if state != State::Unknown => state,
        _ if told.restarting => State::Restarting,
        _ if told.running => State::Running,
        _ => State::Unknown,
    };
    let positive = |number: Option<i64>| number.unwrap_or(0).max(0).cast_unsigned();
    Ok(Inspected {
        name: shown(name.unwrap_or_default().trim_start_matches('/')),
        service: labels.service(),
        state,
        health: told.health.as_ref().and_then(|checked| Health::parse(checked.status.as_deref()?)),
        failing_streak: positive(told.health.and_then(|checked| checked.failing_streak)),
        pid: told.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0),
        exit_code: told.exit_code.unwrap_or(0),
        is_oom_killed: told.oom_killed.unwrap_or(false),
        error: shown_to(told.error.unwrap_or_default().trim(), MAX_ERROR),
        restarts: positive(restart_count),
        policy: host.restart_policy.as_ref().and_then(|p| p.name.as_deref()).map(Policy::parse).unwrap_or_default(),
        started: told.started_at.as_deref().and_then(time),
        finished_at: time(&finished),
        image: shown_to(&image_name.or(config.image).unwrap_or_default(), MAX_IMAGE),
        image_id: image.as_deref().and_then(image_id).unwrap_or_default().to_string(),
        version: labels.version.as_deref().map(shown),
        revision: labels.revision.as_deref().map(shown),
        limits: host.limits(),
        has_host_network: host.network_mode.as_deref() == Some("host"),
        volumes: volumes(mounts.unwrap_or_default()),
        has_terminal: config.tty,
        is_running: told.running && !told.restarting,
        finished: shown(&finished),
        driver: shown(&host.log_config.map(|log| log.kind).unwrap_or_default()),
    })
}

/// The volumes that somebody gave a name: where nobody did, the name is a random one of 64 digits.
fn volumes(mounts: Vec<Mount>) -> Vec<String> {
    let named = mounts.into_iter().filter(|mount| mount.kind.as_deref() == Some("volume"));
    let names = named.filter_map(|mount| mount.name).filter(|name| !(name.len() == 64 && name.bytes().all(is_digit)));
    let mut names: Vec<String> = names.map(|name| shown(&name)).filter(|name| !name.is_empty()).collect();
    names.sort();
    names.dedup();
    names.truncate(MAX_VOLUMES);
    names
}
