//! What the demo tells, from one snapshot to the next; pure, so that its words have a golden text.
//!
//! Enters: snapshots with the time since the demo began. Leaves: one line for each thing that is new, with the time
//! since the fault and the reason. At the end it knows whether everything happened that should, and nothing else.

use std::collections::BTreeSet;

use crate::base::Level;
use crate::base::{Quantity, Span, because::whole};
use crate::cli::demo_service::{BAD, Fault, GOOD};
use crate::cli::out::pad;
use crate::cli::show;
use crate::engine::snapshot::{AlertView, DeliveryState, RunView, Snapshot};

/// `   6.1 s`.
pub fn clock(elapsed: Span) -> String {
    format!("{:>6.1} s", elapsed.as_secs())
}

/// The story so far.
#[derive(Debug)]
pub struct Story {
    fault: Fault,
    fault_at: Span,
    told: BTreeSet<String>,
    rollbacks: BTreeSet<u32>,
    steps: Vec<String>,
    verified: bool,
    read_back: Option<String>,
    verdict: Option<String>,
}

impl Story {
    /// A story whose fault began at `fault_at` after the demo did.
    pub fn new(fault: Fault, fault_at: Span) -> Story {
        Story {
            fault,
            fault_at,
            told: BTreeSet::new(),
            rollbacks: BTreeSet::new(),
            steps: Vec::new(),
            verified: false,
            read_back: None,
            verdict: None,
        }
    }

    /// Whether there is a verdict.
    pub fn is_over(&self) -> bool {
        self.verdict.is_some()
    }

    /// The lines for what this snapshot shows for the first time.
    pub fn tell(&mut self, elapsed: Span, snapshot: &Snapshot) -> Vec<String> {
        let mut lines = Vec::new();
        let since = format!("{:<9}", format!("+{:.1} s", (elapsed - self.fault_at).as_secs().max(0.0)));
        let quiet = " ".repeat(9);
        for (key, text, big) in self.alerts(snapshot) {
            self.once(&mut lines, key, elapsed, if big { &since } else { &quiet }, &text);
        }
        if let Some(run) = &snapshot.rollback.run {
            for (key, text, big) in self.run(run, snapshot) {
                self.once(&mut lines, key, elapsed, if big { &since } else { &quiet }, &text);
            }
        }
        if let Some(d) = &snapshot.deployment {
            self.read_back.clone_from(&d.running);
            if let (Some(verdict), None) = (&d.verdict, &self.verdict) {
                self.verdict = Some(verdict.clone());
                let because = if d.because.is_empty() { String::new() } else { format!(": {}", d.because.join("; ")) };
                let text = format!("{}{because}", verdict.to_uppercase());
                self.once(&mut lines, "verdict".into(), elapsed, &since, &text);
            }
        }
        if let Some(text) = self.deliveries(snapshot) {
            lines.push(format!("{}  {quiet}{text}", clock(elapsed)));
        }
        lines
    }

    /// The verdict as a line of its own; and whether the story went as it should.
    pub fn end(&self) -> (Vec<String>, bool) {
        let missing = self.missing();
        let mut lines = vec![String::new()];
        lines.extend(missing.iter().map(|what| format!("missing: {what}")));
        lines.push(format!("verdict: {}", self.verdict.as_deref().unwrap_or("none within the time")));
        (lines, missing.is_empty())
    }

    /// What should have happened and did not, or the other way round.
    fn missing(&self) -> Vec<String> {
        let (verdict, back) = match self.fault {
            Fault::Errors | Fault::Exit => ("rolled back", true),
            Fault::None => ("stable", false),
            Fault::Blind => ("inconclusive", false),
        };
        let told = |key: &str| self.told.iter().any(|k| k.starts_with(key));
        let mut wanted = vec![(self.verdict.as_deref() == Some(verdict), format!("the verdict {verdict:?}"))];
        if back {
            let rule = if self.fault == Fault::Errors { "errors" } else { "target-down" };
            wanted.push((self.fault == Fault::Exit || told("errors/warning"), "a warning of errors".into()));
            wanted.push((told(&format!("{rule}/critical")), format!("a critical of {rule}")));
            wanted.push((self.rollbacks.len() == 1, "exactly one rollback".into()));
            wanted.push((self.steps == ["previous version: done"], "its one step, done once".into()));
            wanted.push((self.read_back.as_deref() == Some(GOOD), format!("version {GOOD} read back")));
            wanted.push((self.verified, "the verification".into()));
        } else {
            wanted.push((self.rollbacks.is_empty(), "that nothing is rolled back".into()));
            wanted.push((!told("errors/critical"), "that errors stays below critical".into()));
            wanted.push((self.read_back.as_deref() == Some(BAD), format!("version {BAD} still running")));
        }
        wanted.into_iter().filter(|(good, _)| !good).map(|(_, what)| what).collect()
    }

    fn once(&mut self, lines: &mut Vec<String>, key: String, elapsed: Span, since: &str, text: &str) {
        if self.told.insert(key) {
            lines.push(format!("{}  {since}{text}", clock(elapsed)));
        }
    }

    /// Levels that rose, criteria that are due, rules that went blind, and their ends.
    fn alerts(&self, snapshot: &Snapshot) -> Vec<(String, String, bool)> {
        let mut news = Vec::new();
        for rule in &snapshot.rules {
            for alert in &rule.alerts {
                let key = format!("{}/{}/{}", rule.name, alert.level.as_str(), show::labels(alert));
                if show::is_wrong(alert) {
                    news.push((key, headline(&rule.name, alert), true));
                }
                if alert.due {
                    let condition = show::condition(rule, "rollback").unwrap_or("its condition");
                    news.push((format!("{}/due", rule.name), format!("rollback due: {} {condition}", rule.name), true));
                }
            }
            let was_wrong =
                self.told.iter().any(|k| k.starts_with(&format!("{}/", rule.name)) && !k.contains("no-data"));
            if was_wrong && rule.level == Level::Ok && rule.no_data.is_none() {
                news.push((format!("{}/ok", rule.name), format!("{}{}", pad("ok", 10), rule.name), false));
            }
            if let Some((_, why)) = &rule.no_data {
                let text = format!("{}{}: {why}", pad("NO DATA", 10), rule.name);
                news.push((format!("{}/no-data", rule.name), text, true));
            }
        }
        news
    }

    /// One line for all messages that were accepted since the last snapshot.
    fn deliveries(&mut self, snapshot: &Snapshot) -> Option<String> {
        let mut new = Vec::new();
        for delivery in snapshot.channels.iter().flat_map(|c| &c.recent) {
            let accepted = matches!(delivery.state, DeliveryState::Accepted { .. });
            if accepted && self.told.insert(format!("delivery/{}", delivery.id)) {
                new.push(delivery);
            }
        }
        new.sort_by_key(|delivery| delivery.number);
        let list: Vec<String> = new.iter().map(|d| format!("D-{} ({})", d.number, d.subject)).collect();
        (!list.is_empty()).then(|| format!("told in alerts.jsonl: {}, accepted", list.join(", ")))
    }

    /// The run, step by step.
    fn run(&mut self, run: &RunView, snapshot: &Snapshot) -> Vec<(String, String, bool)> {
        self.rollbacks.insert(run.number);
        let mut news = Vec::new();
        let n = run.number;
        news.push((format!("run/{n}"), format!("rollback R-{n}: {}", run.because), true));
        for (i, step) in run.steps.iter().enumerate() {
            let begun = format!("step {} of {}  \"{}\"", i + 1, snapshot.rollback.steps.len().max(i + 1), step.name);
            let pid = run.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
            news.push((format!("run/{n}/{i}"), format!("{begun}   runs in its own process{pid}"), false));
            if step.state != "running" {
                let took = step.took.map(|t| format!(" in {:.1} s", t.as_secs())).unwrap_or_default();
                let key = format!("run/{n}/{i}/end");
                if !self.told.contains(&key) {
                    self.steps.push(format!("{}: {}", step.name, step.state));
                }
                news.push((key, format!("step {} {}{took}", i + 1, step.state), false));
            }
        }
        let moved = self.told.contains(&format!("run/{n}/0/end"));
        let running = snapshot.deployment.as_ref().and_then(|d| d.running.as_deref());
        if let (true, Some(version)) = (moved, running.filter(|v| *v != BAD)) {
            news.push((format!("run/{n}/version"), format!("version read back: {version}"), false));
        }
        if run.phase == "verifying" {
            news.push((format!("run/{n}/verifying"), show::phase(run), false));
        }
        if run.ended {
            self.verified = run.phase == "verified";
            news.push((format!("run/{n}/ended"), show::phase(run), true));
        }
        news
    }
}

/// `WARNING   errors 13.1 % (limit 5 %)     8 of 61 requests, at least 6.8 %`.
fn headline(rule: &str, alert: &AlertView) -> String {
    let level = pad(&alert.level.to_string(), 10);
    let Some(because) = &alert.because else { return format!("{level}{rule}") };
    let what = pad(&format!("{rule} {}", show::figure(because)), 29);
    let counts = because.counts.map(|c| {
        format!("{} of {} requests, at least {}", whole(c.errors), whole(c.total), Quantity::ratio(c.at_least))
    });
    format!("{level}{what}{}", counts.unwrap_or_else(|| show::labels(alert))).trim_end().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::because::Counts;
    use crate::base::{Because, Labels};
    use crate::engine::snapshot::StepView;
    use crate::web::samples;

    fn shop() -> Snapshot {
        let mut snapshot = samples::quiet();
        snapshot.rules.truncate(1);
        snapshot.rollback.steps = vec!["previous version: demo-switch".into()];
        let d = snapshot.deployment.as_mut().unwrap();
        (d.version, d.previous, d.running) = (BAD.into(), Some(GOOD.into()), Some(BAD.into()));
        snapshot.channels.clear();
        snapshot
    }

    fn burning(level: Level, errors: f64, total: f64, due: bool) -> Snapshot {
        let mut snapshot = shop();
        let limit = if level == Level::Warning { "> 5%" } else { "> 10%" };
        snapshot.rules[0].level = level;
        snapshot.rules[0].alerts = vec![AlertView {
            labels: Labels::empty(),
            level,
            since: snapshot.at,
            because: Some(Because {
                value: Some(Quantity::ratio(errors / total)),
                counts: Some(Counts { errors, total, window: Span::secs(3), at_least: 0.068 }),
                limit: limit.into(),
                held: Span::secs(1),
                readings: 2,
                evidence: None,
                why: None,
                lines: Vec::new(),
            }),
            due,
            pending: false,
            usual: None,
            missing_since: None,
            confirmed: true,
        }];
        snapshot
    }

    fn running(phase: &str, state: Option<&str>, ended: bool) -> Snapshot {
        let mut snapshot = burning(Level::Critical, 36.0, 120.0, true);
        let mut run = samples::in_trouble().rollback.run.unwrap();
        (run.number, run.phase, run.ended, run.pid) = (1, phase.into(), ended, Some(51377));
        run.text = if ended { "errors 0 % for 5 s, 2 of 2 targets fine".into() } else { "at most 20 s".into() };
        run.because = "errors over 10 % for 3 s".into();
        let took = (state == Some("done")).then_some(Span::millis(500));
        run.steps.extend(state.map(|s| StepView { name: "previous version".into(), state: s.into(), took }));
        snapshot.rollback.run = Some(run);
        snapshot
    }

    fn told(fault: Fault, snapshots: &[Snapshot]) -> (String, bool) {
        let mut story = Story::new(fault, Span::millis(4600));
        let mut lines = Vec::new();
        for (i, snapshot) in snapshots.iter().enumerate() {
            lines.extend(story.tell(Span::millis(6100 + 1500 * i as i64), snapshot));
        }
        let (end, good) = story.end();
        lines.extend(end);
        (lines.join("\n"), good)
    }

    fn rolled_back() -> Vec<Snapshot> {
        let mut verifying = running("verifying", Some("done"), false);
        verifying.deployment.as_mut().unwrap().running = Some(GOOD.into());
        let mut over = running("verified", Some("done"), true);
        over.rules[0] = shop().rules.remove(0);
        let d = over.deployment.as_mut().unwrap();
        d.running = Some(GOOD.into());
        d.verdict = Some("rolled back".into());
        vec![
            burning(Level::Warning, 8.0, 61.0, false),
            burning(Level::Critical, 39.0, 131.0, false),
            burning(Level::Critical, 39.0, 131.0, true),
            running("running", Some("running"), false),
            running("running", Some("done"), false),
            verifying,
            over,
        ]
    }

    #[test]
    fn the_story_of_a_bad_release_is_told_with_its_reasons() {
        let (text, good) = told(Fault::Errors, &rolled_back());
        insta::assert_snapshot!(text);
        assert!(good);
    }

    #[test]
    fn a_story_with_a_missing_part_is_no_success() {
        for leave_out in [0, 1, 4, 6] {
            let mut snapshots = rolled_back();
            if leave_out == 4 {
                for s in &mut snapshots {
                    if let Some(run) = &mut s.rollback.run {
                        run.steps.clear();
                    }
                }
            } else {
                snapshots.remove(leave_out);
            }
            if leave_out == 1 {
                snapshots.iter_mut().for_each(|s| {
                    s.rules[0].level = Level::Warning;
                    s.rules[0].alerts.iter_mut().for_each(|a| a.level = Level::Warning);
                });
            }
            let (text, good) = told(Fault::Errors, &snapshots);
            assert!(!good && text.contains("missing: "), "{leave_out}: {text}");
        }
    }

    #[test]
    fn a_blind_release_ends_inconclusive_and_untouched() {
        let mut blind = shop();
        blind.rules[0].no_data = Some((blind.at, "no series http_requests_total".into()));
        let mut over = blind.clone();
        over.deployment.as_mut().unwrap().verdict = Some("inconclusive".into());
        let (text, good) = told(Fault::Blind, &[blind.clone(), over]);
        insta::assert_snapshot!(text);
        assert!(good);
        assert!(!told(Fault::Blind, &rolled_back()).1);
        assert!(!told(Fault::None, &[blind]).1);
    }
}
