//! What is told to people: plain data, filled in by the engine, rendered by [`super::render`].
//!
//! Enters: nothing; these are values. A [`Notice`] is one thing to tell, with what routing needs to know about
//! it; its [`Story`] has one variant for each message that people read. All of it is journaled with the
//! delivery that carries it, so a delivery after a crash tells the same words.

use serde::{Deserialize, Serialize};

use crate::base::{Because, Labels, Level, Span, Timestamp};

/// One thing to tell, before it is decided who gets it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// The incident or run it belongs to (`I-118`, `R-9`): the messages of one thread keep their order.
    pub thread: String,
    /// Which of the words in a channel's `events` asks for it.
    pub kind: EventKind,
    /// How bad things are now, where that has a meaning; alerts below a channel's `level` are not sent to it.
    pub level: Option<Level>,
    /// Says that an alert ended. It goes wherever that alert's trouble went.
    pub green: bool,
    /// The last state of its thread: never replaced by a newer message.
    pub settles: bool,
    /// The alert's labels; with thread and kind they say what a newer state replaces.
    pub labels: Labels,
    /// When it happened.
    pub at: Timestamp,
    /// The application it is about.
    pub app: String,
    /// The host it happened on.
    pub host: String,
    /// What is told.
    pub story: Story,
}

impl Notice {
    /// Whether `self`, decided later, tells a newer state of the same thing as `older`. That an alert cannot be
    /// judged is another thing than its level: neither may swallow the other.
    pub fn supersedes(&self, older: &Notice) -> bool {
        self.thread == older.thread && self.kind == older.kind && self.topic() == older.topic()
    }

    /// What it is about within its thread, as a number that is stable across runs.
    pub fn topic(&self) -> u64 {
        self.labels.fingerprint() ^ u64::from(matches!(self.story, Story::NoData { .. } | Story::DataBack { .. }))
    }

    /// Whether a person has to act on it.
    pub fn is_critical(&self) -> bool {
        self.level == Some(Level::Critical) && !self.green
    }
}

/// The words of a channel's `events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// The life of one alert.
    Alert,
    /// A rollback asked for, announced, run, verified, failed.
    Rollback,
    /// A version went live.
    Deployment,
    /// The end of a watch.
    Verdict,
    /// The life of an incident as a whole.
    Incident,
    /// A summary of how things are.
    Status,
    /// backstop about itself.
    Agent,
    /// What a person wrote to be sent.
    Message,
}

impl EventKind {
    /// All of them, in the order of the reference.
    pub const ALL: [EventKind; 8] = [
        EventKind::Alert,
        EventKind::Rollback,
        EventKind::Deployment,
        EventKind::Verdict,
        EventKind::Incident,
        EventKind::Status,
        EventKind::Agent,
        EventKind::Message,
    ];

    /// As the configuration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Alert => "alert",
            EventKind::Rollback => "rollback",
            EventKind::Deployment => "deployment",
            EventKind::Verdict => "verdict",
            EventKind::Incident => "incident",
            EventKind::Status => "status",
            EventKind::Agent => "agent",
            EventKind::Message => "message",
        }
    }
}

/// Why an alert is told now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// Its incident is new.
    First,
    /// It got worse.
    Escalated,
    /// It got better and is not over.
    Deescalated,
    /// It joined an incident that was told before.
    Added,
    /// Nobody acknowledged it.
    Reminder,
}

/// The version that runs, and since when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deployed {
    /// What runs.
    pub version: String,
    /// What ran before, if known.
    pub previous: Option<String>,
    /// When it went live.
    pub at: Timestamp,
}

/// How long the parts of a rollback took, or may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Took {
    /// From the first bad reading to the decision.
    pub decide: Span,
    /// From the first step's start to the last one's end.
    pub execute: Span,
    /// From then to the proof.
    pub verify: Span,
}

/// How a rollback was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// By rules, probes and the version read back.
    Full,
    /// There was no traffic for the rules to judge.
    ProbesOnly,
    /// The time for it ran out.
    Missing,
}

/// What happened to a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeploymentEvent {
    /// A person or pipeline said when it will be.
    Planned,
    /// It was announced and begins.
    Started,
    /// It was said to be done; the watch runs.
    Complete,
}

/// One variant for each message that people read. All texts may come from outside: rendering bounds and cleans them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "story", rename_all = "kebab-case")]
pub enum Story {
    /// A rule left its level `ok`, or its alert changed.
    Alert {
        /// The number of `I-118`.
        incident_number: u32,
        /// Why it is told now.
        reason: Reason,
        /// The level held now.
        level: Level,
        /// The rule's name.
        rule: String,
        /// The alert's labels.
        labels: Labels,
        /// What was measured.
        because: Because,
        /// Since when the level is held.
        since: Timestamp,
        /// One line for each other alert that is not ok: `latency WARNING since 09:38:10`.
        also: Vec<String>,
        /// The version that runs.
        deployed: Option<Deployed>,
        /// What happens next by itself, as a sentence; none: nothing.
        next: Option<String>,
        /// The number of the run that waits for an approval.
        asks: Option<u32>,
        /// What the rule says about itself.
        summary: String,
        /// Text or address.
        runbook: String,
    },
    /// An alert ended.
    Resolved {
        /// The number of `I-118`.
        incident_number: u32,
        /// The rule's name.
        rule: String,
        /// The alert's labels.
        labels: Labels,
        /// The highest level it had.
        highest: Level,
        /// What was measured when it was worst.
        was: Because,
        /// What is measured now.
        now: Option<Because>,
        /// Since when it is ok.
        since: Timestamp,
        /// How long it was not.
        lasted: Span,
        /// What ended it: `rollback R-9 to 2.0.3`.
        ended_by: Option<String>,
        /// Its series or its rule is no more: that is not the same as fine.
        gone: bool,
    },
    /// A rule cannot be judged.
    NoData {
        /// The rule's name.
        rule: String,
        /// The alert's labels.
        labels: Labels,
        /// Since when.
        since: Timestamp,
        /// Which source says what.
        why: String,
        /// The level that stays.
        level_held: Level,
    },
    /// It can be judged again.
    DataBack {
        /// The rule's name.
        rule: String,
        /// The alert's labels.
        labels: Labels,
        /// Since when there is data.
        since: Timestamp,
        /// How long there was none.
        lasted: Span,
        /// The level now.
        level: Level,
    },
    /// A rollback waits for a person's approval.
    RollbackAsked {
        /// The number of `R-9`.
        run_number: u32,
        /// The bad version.
        version: String,
        /// The version to go back to.
        previous: String,
        /// The rule whose criterion is due.
        criterion: String,
        /// What was measured.
        because: Because,
        /// How long an answer is waited for.
        until: Timestamp,
        /// The steps' names, in order.
        steps: Vec<String>,
        /// What the guards found.
        guards: String,
        /// What happens without an answer: `pages pagerduty/oncall; nothing is run`.
        otherwise: String,
    },
    /// A rollback begins soon unless it is stopped.
    RollbackAnnounced {
        /// The number of `R-9`.
        run_number: u32,
        /// The bad version.
        version: String,
        /// The version to go back to.
        previous: String,
        /// The rule whose criterion is due.
        criterion: String,
        /// What was measured.
        because: Because,
        /// When it begins.
        until: Timestamp,
        /// The steps' names, in order.
        steps: Vec<String>,
        /// What the guards found.
        guards: String,
    },
    /// A rollback runs.
    RollbackStarted {
        /// The number of `R-9`.
        run_number: u32,
        /// The bad version.
        version: String,
        /// The version to go back to.
        previous: String,
        /// The rule whose criterion is due.
        criterion: String,
        /// What was measured.
        because: Because,
        /// Who approved it, when and with which words; none: it runs by itself.
        approved_by: Option<String>,
        /// The steps' names, in order.
        steps: Vec<String>,
        /// Where the evidence is.
        evidence: Option<String>,
    },
    /// The previous version runs again.
    RolledBack {
        /// The number of `R-9`.
        run_number: u32,
        /// The bad version.
        version: String,
        /// The version that runs again.
        restored: String,
        /// How it was proven.
        proof: Proof,
        /// How long it took.
        took: Took,
        /// How long it may take.
        budgets: Took,
        /// What is measured now, one figure each.
        now: Vec<String>,
        /// What happens next.
        next: Option<String>,
        /// What is left to a person.
        left: String,
    },
    /// The steps ran and did not help.
    StillBad {
        /// The number of `R-9`.
        run_number: u32,
        /// The bad version.
        version: String,
        /// The version that runs again.
        restored: String,
        /// The rule that is still over its limit.
        criterion: String,
        /// What is measured now.
        because: Because,
        /// Figures before, then and now.
        compare: Vec<String>,
    },
    /// A step failed.
    RollbackFailed {
        /// The number of `R-9`.
        run_number: u32,
        /// Which step, from 1.
        step: u32,
        /// How many there are.
        of: u32,
        /// The step's name.
        name: String,
        /// How it ended: `exit 1 after 14 s`.
        exit: String,
        /// The end of what it printed.
        output: String,
        /// What is done, what is not, and how the application is now.
        state: String,
    },
    /// Nobody knows whether a step happened.
    RollbackStuck {
        /// The number of `R-9`.
        run_number: u32,
        /// Which step, from 1.
        step: u32,
        /// The step's name.
        name: String,
        /// Why it is unknown.
        why: String,
        /// Where to look.
        look: String,
    },
    /// A guard held a rollback back.
    RollbackHeld {
        /// The bad version.
        version: String,
        /// The rule whose criterion is due.
        criterion: String,
        /// Why not.
        why: String,
        /// The guard's name, for `--override`.
        guard: String,
    },
    /// Mode `observe`: what would have been done.
    WouldRollBack {
        /// The bad version.
        version: String,
        /// The version to go back to.
        previous: String,
        /// The rule whose criterion is due.
        criterion: String,
        /// What was measured.
        because: Because,
        /// The steps' names, in order.
        steps: Vec<String>,
    },
    /// A person stopped a rollback.
    RollbackStopped {
        /// The number of `R-9`.
        run_number: u32,
        /// The bad version.
        version: String,
        /// The version to go back to.
        previous: String,
        /// Who, and with which words.
        by: String,
        /// The last step that ran, from 1; 0: none did.
        after_step: u32,
        /// How many there are.
        of: u32,
    },
    /// A version went live, or is about to.
    Deployment {
        /// The new version.
        version: String,
        /// What ran before, if known.
        previous: Option<String>,
        /// What happened.
        event: DeploymentEvent,
    },
    /// A watch ended.
    Verdict {
        /// The version that was watched.
        version: String,
        /// `stable`, `stable with warnings`, `failed`, `rolled back`, `inconclusive`.
        verdict: String,
        /// The reasons, most important first.
        because: Vec<String>,
        /// The watch's begin.
        from: Timestamp,
        /// The watch's end.
        to: Timestamp,
    },
    /// backstop about itself: its disk, undelivered messages.
    Agent {
        /// One line.
        title: String,
        /// What it means and what to do.
        body: String,
    },
    /// A test of the way of an alert.
    Test {
        /// The channel that is tested.
        channel: String,
    },
}

impl Story {
    /// The number of the incident (`I-118`) or run (`R-9`) it is about.
    pub fn reference(&self) -> Option<String> {
        match self {
            Story::Alert { incident_number: n, .. } | Story::Resolved { incident_number: n, .. } => {
                Some(format!("I-{n}"))
            }
            Story::RollbackAsked { run_number: n, .. }
            | Story::RollbackAnnounced { run_number: n, .. }
            | Story::RollbackStarted { run_number: n, .. }
            | Story::RolledBack { run_number: n, .. }
            | Story::StillBad { run_number: n, .. }
            | Story::RollbackFailed { run_number: n, .. }
            | Story::RollbackStuck { run_number: n, .. }
            | Story::RollbackStopped { run_number: n, .. } => Some(format!("R-{n}")),
            _ => None,
        }
    }
}
