//! The state of everything at one moment, for those who show it: status, explain, metrics, the control socket.
//!
//! Immutable, complete, without secrets; figures stand beside their limits and levels carry their reasons.

use serde::{Deserialize, Serialize};

use super::signals::Mark;
use crate::base::{Because, Labels, Level, Quantity, Span, Timestamp};
use crate::source::signal::{Held, Kind, Stands};

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The moment.
    pub at: Timestamp,
    /// When the agent started.
    pub started: Timestamp,
    /// The application's name.
    pub app: String,
    /// The host's name.
    pub host: String,
    /// The agent's own version.
    pub agent_version: String,
    /// Where the configuration was read from.
    pub config: String,
    /// The agent's state folder.
    pub state: String,
    /// The version that runs, as read back or as deployments tell.
    pub running: Option<String>,
    /// Why the running configuration is not the one on disk, if a reload was refused.
    pub config_refused: Option<String>,
    /// Why the disk is not to be trusted now, if so.
    pub degraded: Option<String>,
    /// Why samples are not kept on disk now, if so.
    #[serde(default)]
    pub not_kept: Option<String>,
    /// What each source has in the store, and what it was refused.
    #[serde(default)]
    pub usage: Vec<UsageView>,
    /// What is looked at.
    pub targets: Vec<TargetView>,
    /// How it is judged.
    pub rules: Vec<RuleView>,
    /// The remote servers that rules ask.
    #[serde(default)]
    pub remotes: Vec<RemoteView>,
    /// What is wrong.
    pub incidents: Vec<IncidentView>,
    /// What people and programs may state, and stated.
    #[serde(default)]
    pub signals: Vec<SignalView>,
    /// The newest deployment.
    pub deployment: Option<DeploymentView>,
    /// The way back.
    pub rollback: RollbackView,
    /// Who hears of it.
    pub channels: Vec<ChannelView>,
    /// Counters and gauges about the agent itself, by metric name (without labels).
    pub counters: std::collections::BTreeMap<String, f64>,
}

/// What one source has in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageView {
    /// Kind and name of the source.
    pub source: String,
    /// Series held.
    pub series: usize,
    /// Samples that were left out, since the start.
    pub refused: u64,
    /// The most series it may have, since the store was full and it was the loudest.
    pub ceiling: Option<usize>,
}

/// One target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetView {
    /// Kind and name of its source.
    pub source: String,
    /// The instance.
    pub instance: String,
    /// Whether the last look succeeded.
    pub good: bool,
    /// Why not.
    pub failure: Option<String>,
    /// When it was last looked at.
    pub last: Timestamp,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleView {
    /// Its name.
    pub name: String,
    /// What it judges, as written.
    pub judges: String,
    /// The remote server it is asked of, if it is.
    #[serde(default)]
    pub remote: Option<String>,
    /// The group of a rule file that it stands in, if it does.
    #[serde(default)]
    pub group: Option<GroupView>,
    /// Its conditions, as written with their times, by kind: `warning`, `critical`, `rollback`.
    pub conditions: Vec<(String, String)>,
    /// The highest level among its alerts.
    pub level: Level,
    /// Why it is not judged now, if so.
    #[serde(default)]
    pub held: Option<String>,
    /// Why a part of its conditions cannot be judged in this watch, if so.
    #[serde(default)]
    pub not_armed: Option<String>,
    /// Why there is no data, and since when.
    pub no_data: Option<(Timestamp, String)>,
    /// What its expression failed with.
    pub failed: Option<String>,
    /// When it was last evaluated.
    pub evaluated: Option<Timestamp>,
    /// How often it is evaluated at least.
    pub every: Span,
    /// How much of its windows there are samples for; of many rules only of those that are not ok.
    #[serde(default)]
    pub windows: Vec<WindowView>,
    /// Its alerts that are not ok, or are about to change, worst first; at most 50.
    pub alerts: Vec<AlertView>,
    /// The last evaluations, newest last.
    pub recent: Vec<Evaluation>,
}

/// A window that a rule looks at, and how long the samples in it reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowView {
    /// The selector with its window, as written.
    pub reads: String,
    /// How long the window is.
    pub window: Span,
    /// How many series it has.
    pub series: usize,
    /// How long the samples of the series reach that has the fewest.
    pub least: Span,
    /// And of the series that has the most.
    pub most: Span,
}

/// Where a rule of Prometheus stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupView {
    /// File and group: `rules/node.yml:disks`; several where the same name stands in several.
    pub group: String,
    /// How many evaluations were left out since the start, because the agent was late.
    pub missed: u64,
}

/// One remote server, as its rules saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RemoteView {
    /// Its name.
    pub name: String,
    /// When it last answered.
    pub answered: Option<Timestamp>,
    /// What the last evaluation of one of its rules failed with.
    pub failure: Option<String>,
    /// How far its clock is ahead of this host's, where that matters; negative: behind.
    pub clock_off: Option<Span>,
}

/// One alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertView {
    /// Its labels.
    pub labels: Labels,
    /// Its level.
    pub level: Level,
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub because: Option<Because>,
    /// What `baseline` is for it now, where its conditions ask for one.
    #[serde(default)]
    pub usual: Option<Quantity>,
    /// Whether its criterion is due.
    pub due: bool,
    /// Whether a condition holds, not yet for long enough.
    pub pending: bool,
    /// Since when nothing was seen of it.
    pub missing_since: Option<Timestamp>,
    /// Whether data were seen since the agent started.
    pub confirmed: bool,
}

/// One evaluation of a rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// When.
    pub at: Timestamp,
    /// What came of it, as people read it: value, counts and limit, or why there was no data.
    pub text: String,
}

/// One incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentView {
    /// The number people see.
    pub number: u32,
    /// The rule.
    pub rule: String,
    /// The level now.
    pub level: Level,
    /// The highest level.
    pub highest: Level,
    /// When it opened.
    pub opened: Timestamp,
    /// When it closed.
    pub closed: Option<Timestamp>,
    /// What happened, oldest first.
    pub timeline: Vec<(Timestamp, String)>,
}

/// One signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SignalView {
    /// Its name.
    pub name: String,
    /// What it means.
    pub text: Option<String>,
    /// `flag` or `count`.
    pub kind: Kind,
    /// `unset`, `set` or `rejected`.
    pub state: Stands,
    /// A flag: whether it is set, and its result as expected. A count: whether it counted anything.
    pub holds: bool,
    /// Who said so last, when, why, and until when it holds.
    pub mark: Option<Mark>,
    /// A flag: how often it was set. A count: what it counts.
    pub total: u64,
    /// The values of the posted result.
    pub values: std::collections::BTreeMap<String, f64>,
    /// What the posted result must be, and whether it is; empty where none stands.
    pub expect: Vec<Held>,
}

/// The newest deployment and its watch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeploymentView {
    /// The version that went live.
    pub version: String,
    /// The version before.
    pub previous: Option<String>,
    /// When it was announced.
    pub started: Timestamp,
    /// When it was live; none while it settles.
    pub t0: Option<Timestamp>,
    /// When the verdict is due.
    pub verdict_at: Option<Timestamp>,
    /// The verdict, once there is one: `stable`, `stable with warnings`, `failed`, `rolled back`, `inconclusive`.
    pub verdict: Option<String>,
    /// Why: of the verdict, or of what stands against "stable" so far.
    pub because: Vec<String>,
    /// How much of the watch each rule was observed, 0 to 1.
    pub coverage: Vec<(String, f64)>,
    /// The version that runs, as read back, if the configuration says how.
    pub running: Option<String>,
    /// What ran at T0, by thing: the version, the images of containers, the executables of units.
    #[serde(default)]
    pub facts: std::collections::BTreeMap<String, String>,
    /// What changed since and nobody announced, as people read it.
    #[serde(default)]
    pub changes: Vec<String>,
}

/// The way back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RollbackView {
    /// The mode in force: `observe`, `ask`, `auto`.
    pub mode: String,
    /// Why it is more careful than configured, if it is.
    pub capped: Option<String>,
    /// The steps, as people read them.
    pub steps: Vec<String>,
    /// Why a rollback could not run now; empty when it could.
    pub obstacles: Vec<String>,
    /// The newest run.
    pub run: Option<RunView>,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    /// The number people see: `R-9`.
    pub number: u32,
    /// Where it is, in one word: `asked`, `announced`, `requested`, `running`, `verifying`, or its outcome.
    pub phase: String,
    /// The same as people read it, with what it waits for.
    pub text: String,
    /// The criterion's rule, or `a person`.
    pub criterion: String,
    /// Why.
    pub because: String,
    /// When it began.
    pub opened: Timestamp,
    /// Until when it waits or verifies, if it does.
    pub until: Option<Timestamp>,
    /// Name, state and seconds of each step that began.
    pub steps: Vec<StepView>,
    /// Whether it is over.
    pub ended: bool,
    /// The executor's process.
    pub pid: Option<u32>,
}

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepView {
    /// Its name.
    pub name: String,
    /// `running`, `done`, `failed: exit 1`, …
    pub state: String,
    /// How long it took, once it ended.
    pub took: Option<Span>,
}

/// One channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelView {
    /// Kind and name: `email/team`.
    pub name: String,
    /// When it last accepted something.
    pub last_accepted: Option<Timestamp>,
    /// How many messages wait.
    pub waiting: usize,
    /// Since when the oldest waits.
    pub oldest: Option<Timestamp>,
    /// What the last attempt failed with.
    pub last_error: Option<String>,
    /// The last deliveries: id, number, state as people read it (`accepted by …`, `waits: …`, `refused: …`).
    pub recent: Vec<DeliveryView>,
}

/// One delivery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeliveryView {
    /// Its id.
    pub id: String,
    /// The number people see: `D-5521`.
    pub number: u32,
    /// What it says, in one line.
    pub subject: String,
    /// When it was decided.
    pub decided: Timestamp,
    /// How it stands.
    pub state: DeliveryState,
}

/// How a delivery stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum DeliveryState {
    /// It waits for its first or next attempt.
    Waiting {
        /// What the last attempt failed with.
        error: Option<String>,
    },
    /// The other side took it.
    Accepted {
        /// When.
        at: Timestamp,
        /// Who took it.
        by: String,
        /// What it said.
        said: String,
    },
    /// A newer state of the same thread took its place.
    Replaced,
    /// It will not be sent any more.
    GaveUp {
        /// Why.
        why: String,
    },
}
