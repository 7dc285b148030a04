//! What would have been decided about rollbacks.
//!
//! Enters: what the machine of rollbacks journals. Leaves: each decision with its figures and its end, and a line for the
//! timeline. Pure, and bounded.

use crate::base::{Id, Timestamp};
use crate::rollback::machine::{self, Phase};

/// The most decisions that are kept.
const MOST: usize = 10_000;

/// All decisions, in order.
#[derive(Debug, Default)]
pub struct Rollbacks {
    list: Vec<Rollback>,
}

/// What would have been decided about a rollback.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// The mode only observes.
    Observed,
    /// A guard held it.
    Held {
        /// Which.
        guard: &'static str,
        /// Why.
        why: String,
    },
    /// A person would have been asked.
    Asked,
    /// It would have begun by itself.
    Announced,
}

/// One decision about a rollback.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollback {
    /// When.
    pub at: Timestamp,
    /// The rule whose criterion was due.
    pub rule: String,
    /// The version, and the one before.
    pub versions: Option<(String, String)>,
    /// What was decided.
    pub decision: Decision,
    /// The criterion's figures.
    pub because: String,
    /// When its first step would have been started.
    pub started: Option<Timestamp>,
    /// How it ended: the word, the time, and why.
    pub ended: Option<(String, Timestamp, String)>,
    run: Option<Id>,
}

impl Rollbacks {
    /// The decisions.
    pub fn all(&self) -> &[Rollback] {
        &self.list
    }

    /// Something was decided: when, about which rule, and what, as people read it.
    pub fn take(&mut self, event: &machine::Event) -> Option<(Timestamp, String, String)> {
        use machine::Event as E;
        let (at, rule, text) = match event {
            E::Opened(run) => {
                let rule = run.criterion.clone().unwrap_or_default();
                let decision =
                    if matches!(run.phase, Phase::Asked { .. }) { Decision::Asked } else { Decision::Announced };
                let (word, versions) = (decision.text(), format!("{} -> {}", run.version, run.previous));
                let text = format!("{} {word}: {versions}: {}", run.short(), run.why);
                self.decide(Rollback {
                    versions: Some((run.version.clone(), run.previous.clone())),
                    because: run.because.as_ref().map(ToString::to_string).unwrap_or_default(),
                    run: Some(run.id.clone()),
                    ..Rollback::new(run.opened, &rule, decision)
                });
                (run.opened, rule, text)
            }
            E::Held { rule, guard, why, at, .. } => {
                let decision = Decision::Held { guard: guard.name(), why: why.clone() };
                self.decide(Rollback::new(*at, rule, decision));
                (*at, rule.clone(), format!("held by {}: {why}", guard.name()))
            }
            E::WouldRollBack { rule, because, at, .. } => {
                let because = because.to_string();
                let text = format!("would be taken back (the mode only observes): {rule}: {because}");
                self.decide(Rollback { because, ..Rollback::new(*at, rule, Decision::Observed) });
                (*at, rule.clone(), text)
            }
            E::Executing { run, rung, at, .. } => {
                let rule = self.with(run, |rollback| {
                    rollback.started.get_or_insert(*at);
                });
                (*at, rule, format!("the steps of rung {rung} would be started"))
            }
            E::Overdue { run, at } => (*at, self.with(run, |_| {}), "nobody approved it in time".to_string()),
            E::Ended { run, at, outcome, .. } => {
                let why = why(outcome);
                let rule = self.with(run, |rollback| rollback.ended = Some((outcome.word().into(), *at, why.clone())));
                let why = if why.is_empty() { why } else { format!(": {why}") };
                (*at, rule, format!("{}{why}", outcome.word()))
            }
            E::Relapsed { rule, at, because, .. } => (*at, rule.clone(), format!("a relapse: {rule}: {because}")),
            E::Approved { .. } | E::Stopping { .. } | E::Executed { .. } => return None,
        };
        Some((at, rule, text))
    }

    fn decide(&mut self, rollback: Rollback) {
        if self.list.len() < MOST {
            self.list.push(rollback);
        }
    }

    /// Changes the decision that this run came from; gives its rule.
    fn with(&mut self, run: &Id, change: impl FnOnce(&mut Rollback)) -> String {
        match self.list.iter_mut().rev().find(|rollback| rollback.run.as_ref() == Some(run)) {
            Some(rollback) => {
                change(rollback);
                rollback.rule.clone()
            }
            None => String::new(),
        }
    }
}

impl Rollback {
    fn new(at: Timestamp, rule: &str, decision: Decision) -> Rollback {
        Rollback {
            at,
            rule: rule.into(),
            versions: None,
            decision,
            because: String::new(),
            started: None,
            ended: None,
            run: None,
        }
    }
}

impl Decision {
    /// As people read it.
    pub fn text(&self) -> &'static str {
        match self {
            Decision::Observed => "would be taken back; the mode only observes",
            Decision::Held { .. } => "held",
            Decision::Asked => "asks a person",
            Decision::Announced => "is announced",
        }
    }

    /// The word for machines.
    pub fn as_str(&self) -> &'static str {
        match self {
            Decision::Observed => "observed",
            Decision::Held { .. } => "held",
            Decision::Asked => "asked",
            Decision::Announced => "announced",
        }
    }
}

/// Why a run ended so.
fn why(outcome: &machine::Outcome) -> String {
    use machine::Outcome as O;
    match outcome {
        O::Verified { seen, .. } => seen.join(", "),
        O::StillBad { bad } => bad.join(", "),
        O::Unverified { why } | O::NotRun { why } => why.clone(),
        O::Denied { reason, .. } => reason.clone().unwrap_or_default(),
        O::Execution { .. } => String::new(),
    }
}
