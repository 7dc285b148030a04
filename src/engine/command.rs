//! What people and pipelines tell the engine, and what it answers.

use serde::{Deserialize, Serialize};

use super::signals::{self, Said, Say, Word};
use super::{Engine, Event, Out, stories};
use crate::base::{Id, Timestamp};
use crate::notify::story::EventKind;
use crate::notify::subscription::Subscription;
use crate::rollback::guard::Guard;
use crate::rollback::machine::{self as rollback, Approval};
use crate::watch;

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

impl Engine {
    pub(super) fn command(&mut self, now: Timestamp, command: Command, out: &mut Out) -> Reply {
        if let Some(why) = &self.degraded
            && !matches!(command, Command::TestAlert { .. })
        {
            return Reply::refused(
                format!("the journal cannot be written ({why}); nothing is accepted that could not be remembered"),
                "free space or mend the disk under the state folder; the agent goes on by itself",
            );
        }
        match command {
            Command::DeployStart { version, previous, plan, live, force, by } => {
                self.deploy_start(now, version, previous, plan, live, force, by, out)
            }
            Command::DeployComplete { .. } => self.deploy_complete(now, out),
            Command::RollbackStart { by, reason, overrides } => {
                let mut guards = Vec::new();
                for name in overrides {
                    match Guard::named(&name) {
                        Some(guard) => guards.push(guard),
                        None => {
                            return Reply::refused(
                                format!("no guard is called `{name}`"),
                                "older-than-deployment, blind-observer",
                            );
                        }
                    }
                }
                let approval = Approval { by, reason: Some(reason), at: now };
                let (situation, settings, random) = (self.situation(now), self.settings(), self.random());
                match self.state.rollbacks.start(&situation, &settings, approval, guards, random) {
                    Ok(events) => self.replied(now, events, "the rollback begins", out),
                    Err((why, help)) => Reply::refused(why, help),
                }
            }
            Command::RollbackApprove { run, by, reason } => {
                let situation = self.situation(now);
                match self.state.rollbacks.approve(&situation, run, Approval { by, reason, at: now }) {
                    Ok(events) => self.replied(now, events, "approved; the rollback begins", out),
                    Err(why) => Reply::refused(why, "backstop rollback status"),
                }
            }
            Command::RollbackDeny { run, by, reason } => match self.state.rollbacks.deny(now, run, by, reason) {
                Ok(events) => {
                    self.replied(now, events, "denied; nothing is run, and this criterion does not ask again", out)
                }
                Err(why) => Reply::refused(why, "backstop rollback status"),
            },
            Command::RollbackStop { run, by, reason } => match self.state.rollbacks.stop(now, run, by, reason) {
                Ok(events) => self.replied(now, events, "it stops; a step that is running is finished first", out),
                Err(why) => Reply::refused(why, "backstop rollback status"),
            },
            Command::TestAlert { channel, .. } => self.test_alert(now, channel, out),
            Command::Signal(word) => self.signal(now, &word, out),
        }
    }

    fn replied(&mut self, now: Timestamp, events: Vec<rollback::Event>, text: &str, out: &mut Out) -> Reply {
        self.take_rollback_events(now, events, out);
        let run = self.state.rollbacks.last().map(|r| format!("{}: ", r.short())).unwrap_or_default();
        Reply::done(format!("{run}{text}"))
    }

    fn deploy_start(
        &mut self,
        now: Timestamp,
        version: String,
        previous: Option<String>,
        plan: Option<String>,
        live: bool,
        force: bool,
        by: String,
        out: &mut Out,
    ) -> Reply {
        if let Some(run) = self.state.rollbacks.open() {
            return Reply::refused(
                format!("{} is under way", run.short()),
                "wait for its end, or stop it: backstop rollback stop",
            );
        }
        if self.state.watches.is_known_bad(&version) && !force {
            return Reply::refused(
                format!("{version} was rolled back before"),
                format!("deploy another version, or say so: backstop deploy start --version {version} --force"),
            );
        }
        let previous = previous.or_else(|| self.version_before(&version));
        let random = self.random();
        let deployment = watch::Deployment {
            previous: previous.clone(),
            plan,
            ..watch::Deployment::new(Id::new(now, random), version.clone(), now, by)
        };
        let id = deployment.id.clone();
        for event in self.state.watches.announce(deployment, &self.standing(), &self.config.watch) {
            self.take_watch_event(now, event, out);
        }
        for event in self.state.signals.deployed(now, &version) {
            self.take_signal_event(event, out);
        }
        let failed = |version: &str| {
            let mut all = self.state.watches.all().iter().rev();
            let ended = all.find(|d| d.version == version && d.verdict.is_some()).and_then(|d| d.verdict.as_ref());
            matches!(ended, Some((watch::Verdict::Failed, ..)))
        };
        let before = match previous {
            None => "version before unknown".to_string(),
            Some(p) if failed(&p) => {
                format!("before: {p}, which failed its watch; name a better one: --previous VERSION")
            }
            Some(p) => format!("before: {p}"),
        };
        if live {
            let event = watch::Event::Live { id, t0: now, at: now, ran_out: false };
            self.take_watch_event(now, event, out);
            return Reply::done(format!("{version} is live ({before}); the watch begins"));
        }
        Reply::done(format!(
            "{version} is announced ({before}); say when it is live, within {}: backstop deploy complete",
            self.config.watch.settle.human()
        ))
    }

    fn deploy_complete(&mut self, now: Timestamp, out: &mut Out) -> Reply {
        let Some(open) = self.state.watches.settling() else {
            return Reply::refused(
                "no deployment is announced and not live yet",
                "announce it first: backstop deploy start --version VERSION",
            );
        };
        let (id, version) = (open.id.clone(), open.version.clone());
        self.take_watch_event(now, watch::Event::Live { id, t0: now, at: now, ran_out: false }, out);
        Reply::done(format!("{version} is live; the watch begins, verdict in {}", self.config.watch.verdict.human()))
    }

    fn test_alert(&mut self, now: Timestamp, channel: Option<String>, out: &mut Out) -> Reply {
        let wanted: Vec<Subscription> = self
            .config
            .channels
            .iter()
            .filter(|c| {
                channel.as_ref().is_none_or(|name| c.name == *name || c.name.split('/').next_back() == Some(name))
            })
            .cloned()
            .collect();
        if wanted.is_empty() {
            let known: Vec<&str> = self.config.channels.iter().map(|c| c.name.as_str()).collect();
            return Reply::refused("no such channel", format!("channels: {}", known.join(", ")));
        }
        let mut deliveries = Vec::new();
        for subscription in wanted {
            let notice = stories::test(self, now, &subscription.name);
            let random = self.random();
            // A test asks whether messages arrive, not whether this one is wanted.
            let to_it = Subscription { events: EventKind::ALL.into(), ..subscription };
            for event in self.state.outbox.decide(std::slice::from_ref(&to_it), &notice, now, random) {
                if let crate::notify::outbox::Event::Decided { delivery } = &event {
                    deliveries.push(delivery.id.to_string());
                }
                self.record(Event::Delivery(event), out);
            }
        }
        Reply::Done { text: format!("{} test messages are on their way", deliveries.len()), deliveries }
    }

    fn signal(&mut self, now: Timestamp, word: &Word, out: &mut Out) -> Reply {
        match self.state.signals.hear(now, &self.config.signals, word) {
            Said::Done(event, text) => {
                event.into_iter().for_each(|event| self.take_signal_event(event, out));
                match self.trouble_of_signal(now, &word.name) {
                    Some(trouble) if matches!(word.say, Say::Set { .. }) => Reply::Bad { text: text + &trouble },
                    _ => Reply::done(text),
                }
            }
            Said::Wrong(why, help) => Reply::Wrong { why, help },
        }
    }

    /// What of a posted result is not as expected, a line each.
    fn trouble_of_signal(&self, now: Timestamp, name: &str) -> Option<String> {
        let posted = self.state.signals.get(name).and_then(|known| signals::posted(&known.standing));
        let signal = self.config.signals.iter().find(|signal| signal.name() == name)?;
        let failed = signal.hold(now, posted).into_iter().filter_map(|held| Some((held.expect, held.why?)));
        let lines: String = failed.map(|(expect, why)| format!("\nnot as expected: {expect}: {why}")).collect();
        (!lines.is_empty()).then_some(lines)
    }
}
