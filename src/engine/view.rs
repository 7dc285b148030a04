//! The engine's state as those see it who show it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::snapshot::{
    AlertView, ChannelView, DeliveryState, DeliveryView, DeploymentView, IncidentView, RemoteView, RollbackView,
    RuleView, RunView, SignalView, Snapshot, StepView, TargetView, UsageView,
};
use super::{Engine, Judge, coverage, signals};
use crate::base::{Because, Level, Timestamp};
use crate::incident::Incident;
use crate::notify::outbox;
use crate::notify::render;
use crate::rollback::guard::{self, Facts};
use crate::rollback::machine::{Phase, Run};
use crate::rule::{Condition, Value};
use crate::source::signal::{Signal, Stands};

/// How many alerts of a rule are shown.
const MAX_ALERTS: usize = 50;

/// How many deliveries of a channel are shown.
const MAX_DELIVERIES: usize = 50;

/// How many of the last lines are saved as evidence.
const MAX_LINES: usize = 200;

/// How many incidents that closed are shown.
const MAX_CLOSED: usize = 20;

/// Of more rules than this, it is looked at how much of their windows is covered only for those that are not ok.
const MOST_EXPLAINED: usize = 500;

impl Engine {
    /// Everything at `now`. What only the shell knows (where the configuration stands) is left empty.
    pub fn snapshot(&self, now: Timestamp) -> Snapshot {
        Snapshot {
            at: now,
            started: self.started,
            app: self.config.app.clone(),
            host: self.config.host.clone(),
            agent_version: env!("CARGO_PKG_VERSION").into(),
            config: String::new(),
            state: String::new(),
            running: self.running(),
            config_refused: None,
            degraded: self.degraded.clone(),
            not_kept: None,
            usage: self.usage(),
            targets: self.target_views(),
            rules: {
                let own = self.judges.iter().map(|judge| self.rule_view(judge, now));
                own.chain(self.groups.views(self, now)).collect()
            },
            remotes: self.remote_views(),
            incidents: self.incident_views(),
            signals: self.config.signals.iter().map(|signal| self.signal_view(now, signal)).collect(),
            deployment: self.deployment_view(),
            rollback: self.rollback_view(now),
            channels: self.channel_views(),
            counters: self.counters(),
        }
    }

    /// What was read back last; where the configuration does not say how, what the last deployment left.
    fn running(&self) -> Option<String> {
        let read = self.version.as_ref().and_then(|(_, version)| version.clone().ok());
        read.or_else(|| self.state.watches.running().map(String::from))
    }

    fn target_views(&self) -> Vec<TargetView> {
        let view = |((source, instance), target): (&(crate::base::SourceRef, String), &super::Target)| TargetView {
            source: source.to_string(),
            instance: instance.clone(),
            good: target.good,
            failure: target.failure.clone(),
            last: target.last,
        };
        self.targets.iter().map(view).collect()
    }

    fn remote_views(&self) -> Vec<RemoteView> {
        let mut views: BTreeMap<&str, RemoteView> = BTreeMap::new();
        for judge in &self.judges {
            let Value::Remote { remote, .. } = &judge.rule.value else { continue };
            let new = RemoteView { name: remote.clone(), answered: None, failure: None, clock_off: None };
            let view = views.entry(remote).or_insert(new);
            if judge.asking.answered >= view.answered {
                view.answered = judge.asking.answered;
                view.clock_off = judge.asking.clock_off;
            }
            view.failure = view.failure.take().or_else(|| judge.failed.clone());
        }
        views.into_values().collect()
    }

    fn incident_views(&self) -> Vec<IncidentView> {
        let closed = self.state.incidents.closed().iter().rev().take(MAX_CLOSED);
        self.state.incidents.open().chain(closed).map(incident_view).collect()
    }

    fn signal_view(&self, now: Timestamp, signal: &Signal) -> SignalView {
        let known = self.state.signals.get(signal.name());
        let state = known.map_or(Stands::Unset, signals::stands);
        let posted = known.and_then(|known| signals::posted(&known.standing));
        let expect = if state == Stands::Set { signal.hold(now, posted) } else { Vec::new() };
        SignalView {
            name: signal.name().into(),
            text: signal.text().map(String::from),
            kind: signal.kind(),
            state,
            holds: state == Stands::Set && expect.iter().all(|held| held.why.is_none()),
            mark: known.and_then(|known| known.standing.mark().cloned()),
            total: known.map_or(0, |known| known.total),
            values: posted.map(|posted| posted.values.clone()).unwrap_or_default(),
            expect,
        }
    }

    fn deployment_view(&self) -> Option<DeploymentView> {
        let mut d = self.state.watches.last()?.clone();
        if d.verdict.is_none() && d.t0.is_some() {
            // What is journaled of this is some minutes old.
            d.observed = self.judges.iter().map(|j| (j.rule.name.clone(), j.observed)).collect();
            d.observed_until = self.judges.iter().filter_map(|j| j.observed_until).max().or(d.observed_until);
        }
        let d = &d;
        let (verdict, because) = match &d.verdict {
            Some((verdict, because, _)) => (Some(verdict.text().to_string()), because.clone()),
            None => {
                let so_far = d.verdict.is_none().then(|| d.so_far(&self.standing(), &self.config.watch));
                let against = so_far.filter(|(verdict, _)| *verdict != crate::watch::Verdict::Stable);
                (None, against.map(|(_, because)| because).unwrap_or_default())
            }
        };
        Some(DeploymentView {
            version: d.version.clone(),
            previous: d.previous.clone(),
            started: d.announced,
            t0: d.t0,
            verdict_at: d.t0.map(|t0| t0 + self.config.watch.verdict),
            verdict,
            because,
            coverage: d.observed.keys().map(|rule| (rule.clone(), d.coverage(rule))).collect(),
            running: self.version.as_ref().and_then(|(_, v)| v.clone().ok()),
            facts: d.facts.clone(),
            changes: d.changes.iter().map(ToString::to_string).collect(),
        })
    }

    fn rollback_view(&self, now: Timestamp) -> RollbackView {
        let settings = self.settings();
        let mut obstacles = self.config.obstacles.clone();
        if self.config.steps.is_empty() {
            obstacles.push("no [[rollback.step]] is configured".into());
        } else {
            match self.state.watches.live() {
                None => obstacles.push("no deployment is under watch".into()),
                Some(d) => {
                    let facts = Facts {
                        degraded: self.degraded.clone(),
                        run_before: self.state.rollbacks.begun(&d.id).map(Run::short),
                        sealed: d.plan.is_some(),
                        previous: d.previous.clone(),
                        announced: d.announced,
                        bad_since: None,
                        dependency: None,
                        outside: (0, 0),
                    };
                    obstacles.extend(guard::check(&facts, &[]).map(|(_, why)| why));
                }
            }
        }
        RollbackView {
            mode: settings.mode.as_str().into(),
            capped: self
                .config
                .capped
                .as_ref()
                .filter(|(cap, _)| *cap < self.config.rollback.mode)
                .map(|(_, why)| why.clone()),
            steps: self.config.steps.clone(),
            obstacles,
            run: self.state.rollbacks.last().map(|run| self.run_view(run, now)),
        }
    }

    fn run_view(&self, run: &Run, now: Timestamp) -> RunView {
        let executing = self.executing.as_ref().filter(|(e, ..)| run.execution() == Some(e));
        let under_way = executing.map(|(_, _, steps)| steps.as_slice()).unwrap_or_default();
        let (phase, text, until) = match &run.phase {
            Phase::Asked { until: Some(until) } => {
                ("asked".to_string(), format!("waits for approval, {} left", (*until - now).human()), Some(*until))
            }
            Phase::Asked { until: None } => {
                ("asked".into(), "waits for approval; nobody answered in time".into(), None)
            }
            Phase::Announced { until } => {
                ("announced".into(), format!("begins in {}", (*until - now).human()), Some(*until))
            }
            Phase::Executing { .. } if executing.is_none() => {
                ("requested".into(), "the executor was asked".into(), None)
            }
            Phase::Executing { stopping, .. } => {
                let text = if *stopping { "stops after the step that runs" } else { "its steps run" };
                ("running".into(), text.into(), None)
            }
            Phase::Verifying { until, .. } => {
                ("verifying".into(), "the steps are done; does it help?".into(), Some(*until))
            }
            Phase::Ended { outcome, .. } => (outcome.word().into(), outcome_text(outcome), None),
        };
        let steps = run.steps.iter().chain(under_way);
        RunView {
            number: run.number,
            phase,
            text,
            criterion: run.criterion.clone().unwrap_or_else(|| "a person".into()),
            because: run.why.clone(),
            opened: run.opened,
            until,
            steps: steps.map(|s| StepView { name: s.name.clone(), state: s.state.clone(), took: s.took }).collect(),
            ended: run.is_ended(),
            pid: executing.and_then(|(_, pid, _)| *pid),
        }
    }

    fn channel_views(&self) -> Vec<ChannelView> {
        let view = |channel: &crate::notify::subscription::Subscription| {
            let summary = self.state.outbox.channels().get(&channel.name).cloned().unwrap_or_default();
            let waiting: Vec<&outbox::Waiting> =
                self.state.outbox.waiting().filter(|w| w.delivery.channel == channel.name).collect();
            let of_waiting = waiting.iter().map(|w| DeliveryView {
                id: w.delivery.id.to_string(),
                number: w.delivery.number,
                subject: render::subject(&w.delivery.notice),
                decided: w.delivery.decided_at,
                state: DeliveryState::Waiting { error: w.error.clone() },
            });
            let ended: Vec<&outbox::Ended> = self.state.outbox.ended().filter(|e| e.channel == channel.name).collect();
            let of_ended = ended.iter().rev().take(MAX_DELIVERIES).map(|e| ended_view(e));
            ChannelView {
                name: channel.name.clone(),
                last_accepted: summary.accepted_at,
                waiting: waiting.len(),
                oldest: waiting.iter().map(|w| w.since).min(),
                last_error: summary.error.clone(),
                recent: of_waiting.take(MAX_DELIVERIES).chain(of_ended).collect(),
            }
        };
        self.config.channels.iter().map(view).collect()
    }

    fn rule_view(&self, judge: &Judge, now: Timestamp) -> RuleView {
        let rule = &judge.rule;
        let mut alerts: Vec<AlertView> = judge
            .alerts
            .values()
            .map(|a| AlertView {
                labels: a.labels().clone(),
                level: a.level().0,
                since: a.level().1,
                because: a
                    .because(rule, &judge.asks)
                    .map(|because| Because { lines: self.state.lines_of(&rule.name, a.labels()).to_vec(), ..because }),
                usual: a.usual(rule, &judge.asks, now),
                due: a.is_due(),
                pending: a.is_pending(),
                missing_since: a.missing_since(),
                confirmed: a.is_confirmed(),
            })
            .collect();
        alerts.sort_by_key(|a| std::cmp::Reverse((a.level, a.pending)));
        alerts.truncate(MAX_ALERTS);
        let condition = |kind: &str, c: Option<&Condition>| c.map(|c| (kind.to_string(), condition_text(c)));
        RuleView {
            name: rule.name.clone(),
            judges: match &rule.value {
                Value::Expression { text, .. } | Value::Remote { text, .. } => text.clone(),
                Value::Share { texts: [errors, total], window, .. } => {
                    format!("errors {errors} of {total} in {}", window.human())
                }
            },
            remote: match &rule.value {
                Value::Remote { remote, .. } => Some(remote.clone()),
                _ => None,
            },
            group: None,
            conditions: [
                condition("target", rule.target.as_ref()),
                condition("warning", rule.warning.as_ref()),
                condition("critical", rule.critical.as_ref()),
                condition("rollback", rule.rollback.as_ref().map(|c| &c.condition)),
            ]
            .into_iter()
            .flatten()
            .collect(),
            level: judge.level(),
            held: judge.held.clone(),
            not_armed: self.not_armed(judge, now),
            no_data: judge.no_data.clone(),
            failed: judge.failed.clone(),
            evaluated: judge.evaluated,
            every: judge.every,
            windows: match self.judges.len() <= MOST_EXPLAINED || judge.level() > Level::Ok {
                true => coverage::of_rule(rule, &self.store, now),
                false => Vec::new(),
            },
            alerts,
            recent: judge.recent.iter().cloned().collect(),
        }
    }

    fn usage(&self) -> Vec<UsageView> {
        let view = |(source, usage): (&crate::base::SourceRef, &crate::store::Usage)| UsageView {
            source: source.to_string(),
            series: usage.series,
            refused: usage.refused,
            ceiling: usage.ceiling,
        };
        self.store.usage().iter().map(view).collect()
    }

    fn counters(&self) -> BTreeMap<String, f64> {
        let figures = self.store.size();
        let accepted: u64 = self.state.outbox.channels().values().map(|c| c.accepted).sum();
        let gave_up: u64 = self.state.outbox.channels().values().map(|c| c.gave_up).sum();
        let waiting = self.state.outbox.waiting().count();
        [
            ("backstop_batches_total", self.counts.batches as f64),
            ("backstop_samples_total", self.counts.samples as f64),
            ("backstop_samples_refused_total", self.counts.refused as f64),
            ("backstop_evaluations_total", self.counts.evaluations as f64),
            ("backstop_transitions_total", self.counts.transitions as f64),
            ("backstop_journal_events_total", self.counts.events as f64),
            ("backstop_steps_total", self.counts.steps as f64),
            ("backstop_store_series", figures.series as f64),
            ("backstop_store_samples", figures.samples as f64),
            ("backstop_store_bytes", figures.bytes as f64),
            ("backstop_deliveries_accepted_total", accepted as f64),
            ("backstop_deliveries_given_up_total", gave_up as f64),
            ("backstop_deliveries_waiting", waiting as f64),
            ("backstop_degraded", f64::from(u8::from(self.degraded.is_some()))),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_string(), value))
        .collect()
    }
}

/// What is saved before anything is run: how everything stood, with every rule's last evaluations, and the last lines.
pub(super) fn evidence(engine: &Engine) -> String {
    #[derive(Serialize)]
    struct Evidence<'a> {
        format: u32,
        snapshot: Snapshot,
        lines: Vec<super::exhibits::Shown<'a>>,
    }
    let now = engine.state.rollbacks.last().and_then(|r| r.started).unwrap_or(engine.started);
    let evidence = Evidence { format: 1, snapshot: engine.snapshot(now), lines: engine.exhibits.last(MAX_LINES) };
    serde_json::to_string_pretty(&evidence).unwrap_or_else(|e| format!("{{\"error\": \"{e}\"}}"))
}

fn condition_text(condition: &Condition) -> String {
    match (condition.hits, condition.held_for) {
        (Some(hits), _) => format!("{} in {hits} readings", condition.when),
        (None, crate::base::Span::ZERO) => condition.when.to_string(),
        (None, held) => format!("{} for {}", condition.when, held.human()),
    }
}

fn incident_view(incident: &Incident) -> IncidentView {
    IncidentView {
        number: incident.number,
        rule: incident.rule.clone(),
        level: if incident.closed.is_some() { Level::Ok } else { incident.level() },
        highest: incident.highest,
        opened: incident.opened,
        closed: incident.closed,
        timeline: incident.timeline.iter().map(|e| (e.at, e.text.clone())).collect(),
    }
}

fn ended_view(ended: &outbox::Ended) -> DeliveryView {
    let (decided, state) = match &ended.how {
        outbox::Event::Accepted { at, by, said, .. } => {
            (*at, DeliveryState::Accepted { at: *at, by: by.clone(), said: said.clone() })
        }
        outbox::Event::GaveUp { at, why, .. } => (*at, DeliveryState::GaveUp { why: why.clone() }),
        outbox::Event::Failed { at, error, .. } => (*at, DeliveryState::Waiting { error: Some(error.clone()) }),
        outbox::Event::Replaced { .. } | outbox::Event::Decided { .. } => {
            (Timestamp::default(), DeliveryState::Replaced)
        }
    };
    DeliveryView { id: ended.id.to_string(), number: ended.number, subject: ended.thread.clone(), decided, state }
}

fn outcome_text(outcome: &crate::rollback::machine::Outcome) -> String {
    use crate::rollback::machine::{ExecutionEnd, Outcome};
    match outcome {
        Outcome::Verified { seen, probes_only } => {
            let how = if *probes_only { "verified by probes only" } else { "verified" };
            format!("{how}: {}", seen.join(", "))
        }
        Outcome::StillBad { bad } => format!("still bad: {}", bad.join(", ")),
        Outcome::Unverified { why } => why.clone(),
        Outcome::Execution { end } => match end {
            ExecutionEnd::Completed => "the steps are done".into(),
            ExecutionEnd::Failed { step, number, of, exit, .. } => {
                format!("stopped at step {number} of {of}, \"{step}\": {exit}")
            }
            ExecutionEnd::Stuck { step, number, why, .. } => {
                format!("nobody knows whether step {number}, \"{step}\", happened: {why}")
            }
            ExecutionEnd::Stopped { after } => format!("stopped by a person after {after}"),
            ExecutionEnd::Refused { why } => format!("the executor would not begin: {why}"),
        },
        Outcome::Denied { by, reason } => match reason {
            Some(reason) => format!("denied by {by}: {reason}"),
            None => format!("denied by {by}"),
        },
        Outcome::NotRun { why } => format!("not run: {why}"),
    }
}
