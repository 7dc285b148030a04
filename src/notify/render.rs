//! Notices as people and machines read them.
//!
//! Enters: a [`Notice`] and the application's time zone. Leaves: one subject line, a text, or JSON. The first
//! line says what is wrong, where, and since when; the second what happens next; commands stand in full, with
//! the numbers they need. Every text from outside is bounded and freed of control characters first, so no
//! figure, name or log line can forge a header or a line of its own. Nothing here fails.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::outbox::Delivery;
use super::story::{Deployed, DeploymentEvent, Notice, Proof, Story, Took};
use crate::base::because::whole;
use crate::base::{Because, Labels, Level, Line, Quantity, Span, Timestamp};

/// The longest subject, in bytes.
pub const MAX_SUBJECT: usize = 200;
/// The longest text, in bytes.
pub const MAX_TEXT: usize = 16_000;
const MAX_NAME: usize = 80;
const MAX_LINE: usize = 400;
const MAX_LINES: usize = 12;

/// One line that says what it is and where.
pub fn subject(notice: &Notice) -> String {
    clean(&title(notice, None), MAX_SUBJECT)
}

/// The whole message without the line about its delivery.
pub fn text(notice: &Notice, zone: &TimeZone) -> String {
    let text = Writer { notice, zone }.text();
    cut(&text, MAX_TEXT).to_string()
}

/// The whole message, with the line that says why its channel got it.
pub fn message(delivery: &Delivery, zone: &TimeZone) -> String {
    let because = clean(&delivery.because, MAX_LINE);
    let thread = match delivery.notice.story.reference() {
        Some(number) if number.starts_with('I') => format!("Incident {number}, delivery"),
        Some(number) => format!("Rollback {number}, delivery"),
        None => "Delivery".to_string(),
    };
    let text = text(&delivery.notice, zone);
    format!("{text}\n\nSent to {} because: {because}. {thread} D-{}.\n", name(&delivery.channel), delivery.number)
}

/// The notice for machines: what routing knows, the story's fields, and subject and text in UTC.
pub fn json(notice: &Notice) -> Value {
    json!({
        "at": notice.at.rfc3339(),
        "thread": clean(&notice.thread, MAX_NAME),
        "kind": notice.kind.as_str(),
        "level": notice.level.map(Level::as_str),
        "green": notice.green,
        "settles": notice.settles,
        "app": name(&notice.app),
        "host": name(&notice.host),
        "labels": notice.labels.iter().take(30).map(|(n, v)| (name(n), json!(clean(v, MAX_LINE)))).collect::<serde_json::Map<_, _>>(),
        "subject": subject(notice),
        "text": text(notice, &TimeZone::UTC),
    })
}

/// One line of `text` without control characters or marks that turn the direction of writing, cut to `max` bytes.
pub fn clean(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max));
    for c in text.chars() {
        let c = if is_unfit(c) { ' ' } else { c };
        if out.len() + c.len_utf8() > max.saturating_sub('…'.len_utf8()) && out.len() + c.len_utf8() > max {
            break;
        }
        out.push(c);
    }
    if out.len() < text.len() && text.len() > max {
        out = format!("{}…", cut(&out, max.saturating_sub('…'.len_utf8())));
    }
    out.trim().to_string()
}

fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

fn name(text: &str) -> String {
    clean(text, MAX_NAME)
}

/// A word of a command, quoted for a shell where it has to be.
fn word(text: &str) -> String {
    let text = name(text);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@+".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// The subject, with clock times where the zone is known.
fn title(notice: &Notice, zone: Option<&TimeZone>) -> String {
    let (app, host) = (name(&notice.app), name(&notice.host));
    match &notice.story {
        Story::Alert { level, rule, labels, because, .. } => {
            format!("[{level}] {app}: {} {} on {host}", alert(rule, labels), value_and_limit(because))
        }
        Story::Resolved { rule, labels, was, gone, .. } => {
            let word = if *gone { "GONE" } else { "RESOLVED" };
            format!("[{word}] {app}: {} {} on {host}", alert(rule, labels), value_and_limit(was))
        }
        Story::NoData { rule, labels, .. } => {
            format!("[NO DATA] {app}: {} cannot be judged on {host}", alert(rule, labels))
        }
        Story::DataBack { rule, labels, .. } => {
            format!("[DATA BACK] {app}: {} can be judged again on {host}", alert(rule, labels))
        }
        Story::RollbackAsked { version, previous, until, .. } => {
            format!("[ROLLBACK?] {app} {} on {host}: {}", arrow(version, previous), at("approve until", *until, zone))
        }
        Story::RollbackAnnounced { version, previous, until, .. } => {
            let begins = at("begins at", *until, zone);
            format!("[ROLLBACK SOON] {app} {} on {host}: {begins} unless stopped", arrow(version, previous))
        }
        Story::RollbackStarted { version, previous, .. } => {
            format!("[ROLLBACK STARTED] {app} {} on {host}", arrow(version, previous))
        }
        Story::RolledBack { restored, proof, .. } => {
            let proof = match proof {
                Proof::Full => "verified",
                Proof::ProbesOnly => "verified by probes only",
                Proof::Missing => "NOT verified",
            };
            format!("[ROLLED BACK] {app} is on {} again, {proof}, on {host}", name(restored))
        }
        Story::StillBad { restored, criterion, because, .. } => format!(
            "[STILL BAD] {app} is on {}, and {} is still {} on {host}",
            name(restored),
            name(criterion),
            value_and_limit(because)
        ),
        Story::RollbackFailed { step, of, name: step_name, exit, .. } => format!(
            "[ROLLBACK FAILED] {app} on {host} stopped at step {step} of {of}, \"{}\": {}",
            name(step_name),
            clean(exit, MAX_LINE)
        ),
        Story::RollbackStuck { step, name: step_name, .. } => format!(
            "[ROLLBACK STUCK] {app} on {host}: nobody knows whether step {step}, \"{}\", happened",
            name(step_name)
        ),
        Story::RollbackHeld { version, criterion, .. } => format!(
            "[ROLLBACK HELD] {app} {} on {host}: {} is over its limit, but no rollback",
            name(version),
            name(criterion)
        ),
        Story::WouldRollBack { version, previous, .. } => {
            format!("[WOULD ROLL BACK] {app} {} on {host} (mode observe: nothing is run)", arrow(version, previous))
        }
        Story::RollbackStopped { version, previous, after_step, of, .. } => {
            let when = if *after_step == 0 {
                "before its first step".to_string()
            } else {
                format!("after step {after_step} of {of}")
            };
            format!("[ROLLBACK STOPPED] {app} {} on {host}, {when}", arrow(version, previous))
        }
        Story::Deployment { version, event, .. } => {
            let event = match event {
                DeploymentEvent::Planned => "is planned",
                DeploymentEvent::Started => "is being deployed",
                DeploymentEvent::Complete => "is deployed",
            };
            format!("[DEPLOYMENT] {app} {} {event} on {host}", name(version))
        }
        Story::Verdict { version, verdict, .. } => {
            format!("[VERDICT] {app} {} on {host}: {}", name(version), name(verdict))
        }
        Story::Agent { title, .. } => format!("[BACKSTOP] {} on {host}", clean(title, MAX_LINE)),
        Story::Test { channel } => format!("[TEST] {app}: a test of {} from {host}", name(channel)),
    }
}

fn at(words: &str, at: Timestamp, zone: Option<&TimeZone>) -> String {
    match zone {
        Some(zone) => format!("{words} {}", at.clock(zone)),
        // A subject is made without a zone; UTC is said.
        None => format!("{words} {} UTC", at.clock(&TimeZone::UTC)),
    }
}

fn arrow(version: &str, previous: &str) -> String {
    format!("{} -> {}", name(version), name(previous))
}

/// The rule, and the labels that tell this alert from others of the same rule.
fn alert(rule: &str, labels: &Labels) -> String {
    const SAID_ELSEWHERE: [&str; 6] = ["__name__", "alertname", "alertstate", "app", "host", "severity"];
    let own = labels.filtered(|n| !SAID_ELSEWHERE.contains(&n));
    if own.is_empty() { name(rule) } else { format!("{}{}", name(rule), clean(&own.to_string(), MAX_NAME)) }
}

fn value(because: &Because) -> String {
    because.value.as_ref().map_or_else(|| "without a value".into(), Quantity::to_string)
}

fn value_and_limit(because: &Because) -> String {
    format!("{} (limit {})", value(because), limit(because))
}

/// The limit as people say it: `> 10%` is `10 %`; below a limit, or with several parts, as it is written.
fn limit(because: &Because) -> String {
    let written = clean(&because.limit, MAX_NAME);
    for operator in [">=", ">"] {
        if let Some(figure) = written.strip_prefix(operator)
            && Quantity::parse(figure).is_ok()
        {
            return spaced(figure.trim());
        }
    }
    written
}

/// A figure with a space before its unit: `10 %`, `300 ms`, `1h30m` as it is.
fn spaced(figure: &str) -> String {
    let unit = figure.find(|c: char| !(c.is_ascii_digit() || "+-. ".contains(c))).unwrap_or(figure.len());
    let (number, unit) = figure.split_at(unit);
    if unit.chars().any(|c| c.is_ascii_digit()) || unit.is_empty() {
        return figure.to_string();
    }
    format!("{} {unit}", number.trim())
}

fn events(because: &Because) -> Option<String> {
    because.counts.map(|c| format!("{} of {}", whole(c.errors), whole(c.total)))
}

/// Why a criterion is due: `errors over 10 % for 5 min (now 14.2 %, 212 of 1,493)`.
fn why(criterion: &str, because: &Because, now: &str) -> String {
    let limit = limit(because);
    let side = if limit.starts_with(|c: char| c.is_ascii_digit()) { "over " } else { "" };
    let counts = events(because).map_or_else(String::new, |e| format!(", {e}"));
    format!("{} {side}{limit} for {} ({now}{}{counts})", name(criterion), because.held.human(), value(because))
}

/// `2 steps: 1 stop traffic · 2 previous images`.
fn steps(names: &[String]) -> String {
    let mut all: Vec<String> =
        names.iter().take(MAX_LINES).enumerate().map(|(i, n)| format!("{} {}", i + 1, name(n))).collect();
    if names.len() > MAX_LINES {
        all.push(format!("and {} more", names.len() - MAX_LINES));
    }
    all.join(" · ")
}

/// Up to [`MAX_LINES`] lines, each cleaned; the last are kept, because errors stand at the end.
fn tail(text: &str) -> Vec<String> {
    let lines: Vec<String> = text.lines().map(|l| clean(l, MAX_LINE)).filter(|l| !l.is_empty()).collect();
    lines[lines.len().saturating_sub(MAX_LINES)..].to_vec()
}

fn joined(parts: &[String], separator: &str) -> String {
    let parts: Vec<String> = parts.iter().take(MAX_LINES).map(|p| clean(p, MAX_LINE)).collect();
    parts.join(separator)
}

fn budgets(budgets: &Took) -> String {
    let parts = [budgets.decide, budgets.execute, budgets.verify];
    let minutes = parts.iter().all(|p| p.0 % 60_000 == 0 && p.0 < 3_600_000);
    parts.map(|p| if minutes { (p.0 / 60_000).to_string() } else { p.human() }).join(", ")
}

fn sentence(text: &str) -> String {
    let text = clean(text, MAX_LINE);
    if text.ends_with(['.', '!', '?', '…']) { text } else { format!("{text}.") }
}

/// Lines of a message, its parts in columns.
#[derive(Default)]
struct Lines(Vec<String>);

impl Lines {
    fn line(mut self, line: impl Into<String>) -> Lines {
        self.0.push(line.into());
        self
    }

    /// A part: its name in a column of its own, further lines below the first. Empty parts are left out.
    fn part(mut self, width: usize, name: &str, text: impl AsRef<str>) -> Lines {
        for (i, line) in text.as_ref().lines().enumerate() {
            let name = if i == 0 { name } else { "" };
            self.0.push(format!("{name:<width$}{line}"));
        }
        self
    }

    fn end(self) -> String {
        self.0.join("\n")
    }
}

struct Writer<'a> {
    notice: &'a Notice,
    zone: &'a TimeZone,
}

impl Writer<'_> {
    fn text(&self) -> String {
        match &self.notice.story {
            Story::Alert { .. } => self.alert(),
            Story::Resolved { .. } => self.resolved(),
            Story::NoData { .. } | Story::DataBack { .. } => self.data(),
            Story::RollbackAsked { .. } | Story::RollbackAnnounced { .. } | Story::RollbackStarted { .. } => {
                self.rollback_ahead()
            }
            Story::RolledBack { .. } | Story::StillBad { .. } => self.rollback_done(),
            Story::RollbackFailed { .. } | Story::RollbackStuck { .. } | Story::RollbackStopped { .. } => {
                self.rollback_halted()
            }
            Story::RollbackHeld { .. } | Story::WouldRollBack { .. } => self.no_rollback(),
            Story::Deployment { .. } | Story::Verdict { .. } | Story::Agent { .. } | Story::Test { .. } => self.other(),
        }
    }

    fn title(&self) -> Lines {
        Lines::default().line(clean(&title(self.notice, Some(self.zone)), MAX_LINE))
    }

    fn app(&self) -> String {
        word(&self.notice.app)
    }

    fn alert(&self) -> String {
        let Story::Alert {
            incident_number,
            level,
            rule,
            labels,
            because,
            since,
            also,
            deployed,
            next,
            asks,
            summary,
            runbook,
            ..
        } = &self.notice.story
        else {
            return String::new();
        };
        let age = (self.notice.at - *since).human();
        let what = format!("{} is {}, limit {}", alert(rule, labels), value(because), limit(because));
        let next = next.as_deref().unwrap_or("Nothing more happens by itself.");
        let mut lines = Lines::default()
            .line(format!("{level} since {} ({age}): {what}.", since.clock(self.zone)))
            .line(sentence(next))
            .line("");
        let facts = lines.0.len();
        lines = lines
            .part(13, "  what", clean(summary, MAX_LINE))
            .part(13, "  value", counted(because))
            .part(13, "  deployed", deployed.as_ref().map_or_else(String::new, |d| self.deployed(d, *since)))
            .part(13, "  also", joined(also, "; "))
            .part(13, "  last lines", self.lines(because));
        if lines.0.len() > facts {
            lines = lines.line("");
        }
        lines = lines.part(19, "Incident", format!("I-{incident_number}: backstop status"));
        if let Some(run) = asks {
            lines = lines.part(19, "Approve rollback", format!("backstop rollback approve R-{run}")).part(
                19,
                "Stop it",
                format!("backstop rollback deny R-{run} --reason \"…\""),
            );
        }
        lines
            .part(19, "Why", format!("backstop explain {}", word(rule)))
            .part(19, "Runbook", tail(runbook).join("\n"))
            .end()
    }

    /// The lines that it is about, a row each: `09:40:58 api ERROR KeyError: 'total'   (41 like it in 5 min)`.
    fn lines(&self, because: &Because) -> String {
        let row = |line: &Line| {
            let apart = self.notice.at.0.abs_diff(line.at.0);
            let is_of_today = apart < Span::hours(20).0.unsigned_abs();
            let at = if is_of_today { line.at.clock(self.zone) } else { line.at.date_clock(self.zone) };
            let counted = line.counted().map(|like| format!("   ({})", clean(&like, MAX_NAME))).unwrap_or_default();
            format!("{at} {}{counted}", clean(&line.words(), MAX_LINE))
        };
        because.lines.iter().take(MAX_LINES).map(row).collect::<Vec<_>>().join("\n")
    }

    /// Why a criterion is due, and the lines that it is about.
    fn why(&self, criterion: &str, because: &Because, now: &str, more: &str) -> String {
        format!("{}{more}\n{}", why(criterion, because, now), self.lines(because))
    }

    fn deployed(&self, deployed: &Deployed, began: Timestamp) -> String {
        let apart = began - deployed.at;
        let when = match apart {
            Span(ms) if ms < 0 => format!("{} after this began", (deployed.at - began).human()),
            apart => format!("{} before this began", apart.human()),
        };
        let version = name(&deployed.version);
        let previous = deployed.previous.as_ref().map_or_else(String::new, |p| format!("; before it {}", name(p)));
        format!("{version} at {}, {when}{previous}", deployed.at.clock(self.zone))
    }

    fn resolved(&self) -> String {
        let Story::Resolved { incident_number, rule, labels, highest, was, now, since, lasted, ended_by, gone } =
            &self.notice.story
        else {
            return String::new();
        };
        let what = alert(rule, labels);
        let was = format!("{what} was {highest} for {}; highest {}.", lasted.human(), value(was));
        let since = since.clock(self.zone);
        let first = if *gone {
            format!("no longer there since {since}. {was} What is gone is not judged: that is not the same as fine.")
        } else {
            let now =
                now.as_ref().map_or_else(String::new, |n| format!(" Now {} (limit to clear: {}).", value(n), limit(n)));
            format!("ok since {since}. {was}{now}")
        };
        let mut lines = Lines::default().line(first);
        if let Some(cause) = ended_by {
            lines = lines.line(format!("What ended it: {}", sentence(cause)));
        }
        lines.line(format!("Incident I-{incident_number} is over.")).end()
    }

    fn data(&self) -> String {
        match &self.notice.story {
            Story::NoData { since, why, level_held, .. } => Lines::default()
                .line(format!(
                    "No data since {} ({}): {} The level stays {level_held}, which may be wrong.",
                    since.clock(self.zone),
                    (self.notice.at - *since).human(),
                    sentence(why)
                ))
                .line(
                    "This does not roll anything back. While it lasts the verdict cannot be better than inconclusive.",
                )
                .end(),
            Story::DataBack { rule, labels, since, lasted, level } => Lines::default()
                .line(format!(
                    "Data since {}, after {} without any. {} is {level}.",
                    since.clock(self.zone),
                    lasted.human(),
                    alert(rule, labels)
                ))
                .end(),
            _ => String::new(),
        }
    }

    fn rollback_ahead(&self) -> String {
        match &self.notice.story {
            Story::RollbackAsked { run_number, criterion, because, steps: names, guards, otherwise, .. } => self
                .title()
                .part(10, "Why", self.why(criterion, because, "now ", ""))
                .part(10, "What", format!("{}; then verification", steps(names)))
                .part(10, "Guards", clean(guards, MAX_LINE))
                .part(10, "Approve", format!("backstop rollback approve R-{run_number}"))
                .part(10, "Deny", format!("backstop rollback deny R-{run_number} --reason \"…\""))
                .line(format!("No answer {}", clean(otherwise, MAX_LINE)))
                .end(),
            Story::RollbackAnnounced { run_number, criterion, because, steps: names, guards, .. } => self
                .title()
                .part(10, "Why", self.why(criterion, because, "now ", ""))
                .part(10, "What", format!("{}; then verification", steps(names)))
                .part(10, "Guards", clean(guards, MAX_LINE))
                .part(10, "Stop it", format!("backstop rollback stop R-{run_number}"))
                .end(),
            Story::RollbackStarted { run_number, criterion, because, approved_by, steps: names, evidence, .. } => {
                let by = approved_by.as_ref().map_or_else(
                    || "; it runs by itself".to_string(),
                    |by| format!("; approved by {}", clean(by, MAX_LINE)),
                );
                let evidence = evidence.as_deref().map_or_else(String::new, |e| clean(e, MAX_LINE));
                self.title()
                    .part(10, "Why", self.why(criterion, because, "", &by))
                    .part(10, "What", format!("{}; then verification", steps(names)))
                    .part(
                        10,
                        "Stop it",
                        format!("backstop rollback stop R-{run_number}      takes effect between steps"),
                    )
                    .part(10, "Evidence", evidence)
                    .end()
            }
            _ => String::new(),
        }
    }

    fn rollback_done(&self) -> String {
        match &self.notice.story {
            Story::RolledBack { took, budgets: allowed, now, next, left, .. } => {
                let took = format!(
                    "{} to decide, {} to run, {} to verify (budgets {})",
                    took.decide.human(),
                    took.execute.human(),
                    took.verify.human(),
                    budgets(allowed)
                );
                self.title()
                    .part(10, "Took", took)
                    .part(10, "Now", joined(now, ", "))
                    .part(10, "Next", next.as_deref().map_or_else(String::new, |n| clean(n, MAX_LINE)))
                    .part(10, "Left", clean(left, MAX_LINE))
                    .end()
            }
            Story::StillBad { restored, compare, .. } => self
                .title()
                .line(format!(
                    "The steps ran and {} is running, but it did not help: the cause is probably not the version.",
                    name(restored)
                ))
                .part(10, "Compare", joined(compare, " · "))
                .part(10, "Next", "nothing more happens by itself. A person is needed.")
                .end(),
            _ => String::new(),
        }
    }

    fn rollback_halted(&self) -> String {
        match &self.notice.story {
            Story::RollbackFailed { run_number: run, state, output, .. } => self
                .title()
                .part(10, "State", clean(state, MAX_LINE))
                .part(10, "Output", tail(output).join("\n"))
                .part(
                    10,
                    "Next",
                    format!("nothing more is run; finish by hand. R-{run} in full: backstop rollback status"),
                )
                .end(),
            Story::RollbackStuck { run_number: run, step, why, look, .. } => self
                .title()
                .part(10, "Why", clean(why, MAX_LINE))
                .part(10, "Look", clean(look, MAX_LINE))
                .part(
                    10,
                    "Next",
                    format!("nothing more is run; find out whether step {step} happened, and finish by hand"),
                )
                .part(10, "", format!("R-{run} in full: backstop rollback status"))
                .end(),
            Story::RollbackStopped { run_number: run, by, version, after_step, of, .. } => {
                let lines = self.title().part(10, "By", clean(by, MAX_LINE));
                if *after_step == 0 {
                    return lines
                        .part(10, "State", format!("nothing was run; {} is still what runs", name(version)))
                        .part(
                            10,
                            "Next",
                            format!("begin after all:   backstop rollback start {} --reason \"…\"", self.app()),
                        )
                        .end();
                }
                lines
                    .part(
                        10,
                        "State",
                        format!("{after_step} of {of} steps ran, the rest did not; neither version may be whole"),
                    )
                    .part(
                        10,
                        "Next",
                        format!("nothing more is run; finish by hand. R-{run} in full: backstop rollback status"),
                    )
                    .end()
            }
            _ => String::new(),
        }
    }

    fn no_rollback(&self) -> String {
        match &self.notice.story {
            Story::RollbackHeld { why, guard, .. } => self
                .title()
                .part(10, "Why not", clean(why, MAX_LINE))
                .part(
                    10,
                    "Anyway",
                    format!("backstop rollback start {} --override {} --reason \"…\"", self.app(), word(guard)),
                )
                .end(),
            Story::WouldRollBack { criterion, because, steps: names, .. } => self
                .title()
                .part(10, "Why", self.why(criterion, because, "now ", ""))
                .part(10, "What", format!("{}; then verification", steps(names)))
                .part(10, "Do it", format!("backstop rollback start {} --reason \"…\"", self.app()))
                .end(),
            _ => String::new(),
        }
    }

    fn other(&self) -> String {
        match &self.notice.story {
            Story::Deployment { previous, .. } => {
                let before = previous.as_deref().map_or("not known".to_string(), name);
                self.title()
                    .part(10, "At", self.notice.at.date_clock(self.zone))
                    .part(10, "Before", before)
                    .part(10, "Look", "backstop watch status")
                    .end()
            }
            Story::Verdict { because, from, to, .. } => self
                .title()
                .part(
                    10,
                    "Why",
                    because.iter().take(MAX_LINES).map(|b| clean(b, MAX_LINE)).collect::<Vec<_>>().join("\n"),
                )
                .part(
                    10,
                    "Watched",
                    format!(
                        "{} to {} ({})",
                        from.date_clock(self.zone),
                        to.date_clock(self.zone),
                        (*to - *from).human()
                    ),
                )
                .part(10, "In full", "backstop watch status")
                .end(),
            Story::Agent { body, .. } => tail(body).into_iter().fold(self.title(), Lines::line).end(),
            Story::Test { channel } => self
                .title()
                .line(format!(
                    "Nothing is wrong. Somebody asked at {} whether an alert would arrive by {}: it does.",
                    self.notice.at.clock(self.zone),
                    name(channel)
                ))
                .line("It went the way of a real alert: rule, incident, channel, outbox.")
                .end(),
            _ => String::new(),
        }
    }
}

/// `212 of 1,493 requests in 5 min`: the counts behind a share; nothing where there are none.
fn counted(because: &Because) -> String {
    let (Some(c), Some(events)) = (because.counts, events(because)) else { return String::new() };
    let least = Quantity::ratio(c.at_least);
    format!("{events} in {}; at least {least} with 95 % confidence", c.window.human())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::because::Counts;
    use crate::base::exhibit::Like;
    use crate::base::{Exhibit, Id};
    use crate::notify::story::{EventKind, Reason};

    /// 2025-10-28 00:00:00 UTC.
    const MIDNIGHT: Timestamp = Timestamp(1_761_609_600_000);

    fn clock(h: i64, m: i64, s: i64) -> Timestamp {
        MIDNIGHT + Span::secs(h * 3600 + m * 60 + s)
    }

    fn because(share: f64) -> Because {
        Because {
            value: Some(Quantity::ratio(share)),
            counts: Some(Counts { errors: 212.0, total: 1493.0, window: Span::mins(5), at_least: 0.125 }),
            limit: "> 10%".into(),
            held: Span::mins(5),
            readings: 20,
            evidence: None,
            why: None,
            lines: Vec::new(),
        }
    }

    fn notice(story: Story) -> Notice {
        Notice {
            thread: "I-118".into(),
            kind: EventKind::Alert,
            level: Some(Level::Critical),
            green: false,
            settles: false,
            labels: Labels::empty(),
            at: clock(9, 40, 58),
            app: "shop".into(),
            host: "web-1".into(),
            story,
        }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| n.to_string()).collect()
    }

    /// Holds a message to the text that people are promised; a text that begins with its subject says it once.
    #[track_caller]
    fn check(story: Story, wanted_subject: &str, wanted: &str) {
        let notice = notice(story);
        assert_eq!(subject(&notice), wanted_subject);
        assert_eq!(text(&notice, &TimeZone::UTC), wanted.trim_matches('\n'));
    }

    #[track_caller]
    fn check_titled(story: Story, wanted: &str) {
        let wanted = wanted.trim_matches('\n');
        let first = wanted.lines().next().unwrap();
        check(story, first, wanted);
    }

    fn alert_story() -> Story {
        Story::Alert {
            incident_number: 118,
            reason: Reason::First,
            level: Level::Critical,
            rule: "errors".into(),
            labels: Labels::new([("alertname", "errors"), ("app", "shop"), ("severity", "critical")]),
            because: because(0.142),
            since: clock(9, 36, 52),
            also: names(&["latency WARNING since 09:38:10", "host ok", "database ok"]),
            deployed: Some(Deployed { version: "2.1.0".into(), previous: Some("2.0.3".into()), at: clock(9, 29, 40) }),
            next: Some(
                "Rollback to 2.0.3 becomes due at 09:41:52 and will wait for approval until 09:46:52, then page."
                    .into(),
            ),
            asks: Some(9),
            summary: String::new(),
            runbook: "https://docs.example.org/errors".into(),
        }
    }

    #[test]
    fn an_alert_says_what_since_when_and_what_to_type() {
        check(
            alert_story(),
            "[CRITICAL] shop: errors 14.2 % (limit 10 %) on web-1",
            r#"
CRITICAL since 09:36:52 (4 min 6 s): errors is 14.2 %, limit 10 %.
Rollback to 2.0.3 becomes due at 09:41:52 and will wait for approval until 09:46:52, then page.

  value      212 of 1,493 in 5 min; at least 12.5 % with 95 % confidence
  deployed   2.1.0 at 09:29:40, 7 min 12 s before this began; before it 2.0.3
  also       latency WARNING since 09:38:10; host ok; database ok

Incident           I-118: backstop status
Approve rollback   backstop rollback approve R-9
Stop it            backstop rollback deny R-9 --reason "…"
Why                backstop explain errors
Runbook            https://docs.example.org/errors
"#,
        );
    }

    fn line(at: Timestamp, level: &str, text: &str, pattern: Option<&str>, count: u64) -> Line {
        let exhibit = Exhibit {
            at,
            place: "api".into(),
            service: None,
            level: level.into(),
            patterns: vec![],
            text: text.into(),
        };
        let like = (count > 0).then_some(Like { count, window: Span::mins(5) });
        Line { like, ..Line::of(&exhibit, pattern) }
    }

    fn with_lines() -> Because {
        let lines = vec![
            line(clock(9, 40, 58), "error", "KeyError: 'total' in /checkout", Some("key"), 41),
            line(clock(9, 40, 50), "error", "2025-10-28 09:40:50 ERROR request failed status=500", None, 1060),
            line(clock(-20, 0, 0), "unknown", "a line that was written yesterday", Some("key"), 0),
        ];
        Because { lines, ..because(0.142) }
    }

    #[test]
    fn an_alert_shows_the_lines_that_it_is_about() {
        let Story::Alert { incident_number, reason, level, rule, labels, since, .. } = alert_story() else { return };
        let story = Story::Alert {
            incident_number,
            reason,
            level,
            rule,
            labels,
            because: with_lines(),
            since,
            also: names(&["8 rules ok"]),
            deployed: None,
            next: None,
            asks: None,
            summary: String::new(),
            runbook: String::new(),
        };
        check(
            story,
            "[CRITICAL] shop: errors 14.2 % (limit 10 %) on web-1",
            r#"
CRITICAL since 09:36:52 (4 min 6 s): errors is 14.2 %, limit 10 %.
Nothing more happens by itself.

  value      212 of 1,493 in 5 min; at least 12.5 % with 95 % confidence
  also       8 rules ok
  last lines 09:40:58 api ERROR KeyError: 'total' in /checkout   (41 like it in 5 min)
             09:40:50 api ERROR request failed status=500   (1,060 of level error in 5 min)
             2025-10-27 04:00:00 api a line that was written yesterday

Incident           I-118: backstop status
Why                backstop explain errors
"#,
        );
    }

    #[test]
    fn a_rollback_shows_the_lines_that_it_is_about() {
        check_titled(
            Story::WouldRollBack {
                version: "2.1.0".into(),
                previous: "2.0.3".into(),
                criterion: "errors".into(),
                because: with_lines(),
                steps: names(&["stop traffic", "previous images"]),
            },
            r#"
[WOULD ROLL BACK] shop 2.1.0 -> 2.0.3 on web-1 (mode observe: nothing is run)
Why       errors over 10 % for 5 min (now 14.2 %, 212 of 1,493)
          09:40:58 api ERROR KeyError: 'total' in /checkout   (41 like it in 5 min)
          09:40:50 api ERROR request failed status=500   (1,060 of level error in 5 min)
          2025-10-27 04:00:00 api a line that was written yesterday
What      1 stop traffic · 2 previous images; then verification
Do it     backstop rollback start shop --reason "…"
"#,
        );
    }

    #[test]
    fn a_bare_alert_has_no_empty_parts_and_tells_its_label_set() {
        let bare = Because {
            value: Some(Quantity { value: 0.4, unit: crate::base::Unit::Seconds }),
            counts: None,
            limit: "< 80ms and > baseline".into(),
            ..because(0.0)
        };
        check(
            Story::Alert {
                incident_number: 7,
                reason: Reason::First,
                level: Level::Warning,
                rule: "latency".into(),
                labels: Labels::new([("alertname", "latency"), ("service", "api")]),
                because: bare,
                since: clock(9, 40, 0),
                also: vec![],
                deployed: None,
                next: None,
                asks: None,
                summary: String::new(),
                runbook: String::new(),
            },
            "[WARNING] shop: latency{service=\"api\"} 400 ms (limit < 80ms and > baseline) on web-1",
            r#"
WARNING since 09:40:00 (58 s): latency{service="api"} is 400 ms, limit < 80ms and > baseline.
Nothing more happens by itself.

Incident           I-7: backstop status
Why                backstop explain latency
"#,
        );
    }

    #[test]
    fn the_delivery_says_why_its_channel_got_it() {
        let delivery = Delivery {
            id: Id::new(MIDNIGHT, 1),
            number: 5521,
            channel: "email/team".into(),
            notice: notice(alert_story()),
            decided_at: MIDNIGHT,
            because: "first notice of this incident".into(),
            patience: Span::hours(24),
            fallback: None,
            instead_of: None,
        };
        let message = message(&delivery, &TimeZone::UTC);
        let last = "\n\nSent to email/team because: first notice of this incident. Incident I-118, delivery D-5521.\n";
        assert!(message.ends_with(last), "{message}");
    }

    fn resolved(gone: bool) -> Story {
        Story::Resolved {
            incident_number: 118,
            rule: "errors".into(),
            labels: Labels::empty(),
            highest: Level::Critical,
            was: because(0.142),
            now: Some(because(0.003)),
            since: clock(9, 52, 31),
            lasted: Span::secs(939),
            ended_by: Some("rollback R-9 to 2.0.3, verified at 09:50:02".into()),
            gone,
        }
    }

    #[test]
    fn the_end_of_an_alert_says_what_ended_it_and_gone_is_not_resolved() {
        check(
            resolved(false),
            "[RESOLVED] shop: errors 14.2 % (limit 10 %) on web-1",
            "
ok since 09:52:31. errors was CRITICAL for 15 min 39 s; highest 14.2 %. Now 0.3 % (limit to clear: 10 %).
What ended it: rollback R-9 to 2.0.3, verified at 09:50:02.
Incident I-118 is over.
",
        );
        check(
            resolved(true),
            "[GONE] shop: errors 14.2 % (limit 10 %) on web-1",
            "
no longer there since 09:52:31. errors was CRITICAL for 15 min 39 s; highest 14.2 %. What is gone is not judged: that is not the same as fine.
What ended it: rollback R-9 to 2.0.3, verified at 09:50:02.
Incident I-118 is over.
",
        );
    }

    #[test]
    fn a_rule_that_cannot_see_is_never_called_down() {
        check(
            Story::NoData {
                rule: "queue-depth".into(),
                labels: Labels::empty(),
                since: clock(9, 30, 58),
                why: "http.worker answers \"connection refused\"".into(),
                level_held: Level::Ok,
            },
            "[NO DATA] shop: queue-depth cannot be judged on web-1",
            "
No data since 09:30:58 (10 min): http.worker answers \"connection refused\". The level stays ok, which may be wrong.
This does not roll anything back. While it lasts the verdict cannot be better than inconclusive.
",
        );
        check(
            Story::DataBack {
                rule: "queue-depth".into(),
                labels: Labels::empty(),
                since: clock(9, 40, 58),
                lasted: Span::mins(10),
                level: Level::Ok,
            },
            "[DATA BACK] shop: queue-depth can be judged again on web-1",
            "Data since 09:40:58, after 10 min without any. queue-depth is ok.",
        );
    }

    #[test]
    fn a_rollback_ahead_says_why_what_and_how_to_answer() {
        let steps = names(&["stop traffic", "previous images"]);
        check(
            Story::RollbackAsked {
                run_number: 9,
                version: "2.1.0".into(),
                previous: "2.0.3".into(),
                criterion: "errors".into(),
                because: because(0.142),
                until: clock(9, 46, 52),
                steps: steps.clone(),
                guards: "all clear: began 7 min after the deployment, database ok".into(),
                otherwise: "pages pagerduty/oncall; nothing is run".into(),
            },
            "[ROLLBACK?] shop 2.1.0 -> 2.0.3 on web-1: approve until 09:46:52 UTC",
            r#"
[ROLLBACK?] shop 2.1.0 -> 2.0.3 on web-1: approve until 09:46:52
Why       errors over 10 % for 5 min (now 14.2 %, 212 of 1,493)
What      1 stop traffic · 2 previous images; then verification
Guards    all clear: began 7 min after the deployment, database ok
Approve   backstop rollback approve R-9
Deny      backstop rollback deny R-9 --reason "…"
No answer pages pagerduty/oncall; nothing is run
"#,
        );
        check(
            Story::RollbackAnnounced {
                run_number: 9,
                version: "2.1.0".into(),
                previous: "2.0.3".into(),
                criterion: "errors".into(),
                because: because(0.142),
                until: clock(9, 42, 22),
                steps: steps.clone(),
                guards: "all clear".into(),
            },
            "[ROLLBACK SOON] shop 2.1.0 -> 2.0.3 on web-1: begins at 09:42:22 UTC unless stopped",
            "
[ROLLBACK SOON] shop 2.1.0 -> 2.0.3 on web-1: begins at 09:42:22 unless stopped
Why       errors over 10 % for 5 min (now 14.2 %, 212 of 1,493)
What      1 stop traffic · 2 previous images; then verification
Guards    all clear
Stop it   backstop rollback stop R-9
",
        );
        check_titled(
            Story::RollbackStarted {
                run_number: 9,
                version: "2.1.0".into(),
                previous: "2.0.3".into(),
                criterion: "errors".into(),
                because: because(0.142),
                approved_by: Some("anna 09:43:10, \"checkout broken\"".into()),
                steps,
                evidence: Some("/var/lib/backstop/evidence/R-9 (38 MiB, saved before the first step)".into()),
            },
            r#"
[ROLLBACK STARTED] shop 2.1.0 -> 2.0.3 on web-1
Why       errors over 10 % for 5 min (14.2 %, 212 of 1,493); approved by anna 09:43:10, "checkout broken"
What      1 stop traffic · 2 previous images; then verification
Stop it   backstop rollback stop R-9      takes effect between steps
Evidence  /var/lib/backstop/evidence/R-9 (38 MiB, saved before the first step)
"#,
        );
    }

    #[test]
    fn a_rollback_that_ran_says_whether_it_helped() {
        check_titled(
            Story::RolledBack {
                run_number: 9,
                version: "2.1.0".into(),
                restored: "2.0.3".into(),
                proof: Proof::Full,
                took: Took { decide: Span::secs(132), execute: Span::secs(108), verify: Span::mins(5) },
                budgets: Took { decide: Span::mins(5), execute: Span::mins(10), verify: Span::mins(5) },
                now: names(&[
                    "errors 0.3 %",
                    "latency 0.9 x baseline",
                    "version read back 2.0.3",
                    "3 of 3 targets fine",
                ]),
                next: Some("watched for 15 min more; a relapse pages, nothing is rolled back again".into()),
                left: "2.1.0 is marked bad: deploying it again needs --force.".into(),
            },
            "
[ROLLED BACK] shop is on 2.0.3 again, verified, on web-1
Took      2 min 12 s to decide, 1 min 48 s to run, 5 min to verify (budgets 5, 10, 5)
Now       errors 0.3 %, latency 0.9 x baseline, version read back 2.0.3, 3 of 3 targets fine
Next      watched for 15 min more; a relapse pages, nothing is rolled back again
Left      2.1.0 is marked bad: deploying it again needs --force.
",
        );
        check_titled(
            Story::StillBad {
                run_number: 9,
                version: "2.1.0".into(),
                restored: "2.0.3".into(),
                criterion: "errors".into(),
                because: because(0.128),
                compare: names(&["before the deployment 0.4 %", "on 2.1.0 14.2 %", "now 12.8 %"]),
            },
            "
[STILL BAD] shop is on 2.0.3, and errors is still 12.8 % (limit 10 %) on web-1
The steps ran and 2.0.3 is running, but it did not help: the cause is probably not the version.
Compare   before the deployment 0.4 % · on 2.1.0 14.2 % · now 12.8 %
Next      nothing more happens by itself. A person is needed.
",
        );
    }

    fn stopped(after_step: u32) -> Story {
        Story::RollbackStopped {
            run_number: 9,
            version: "2.1.0".into(),
            previous: "2.0.3".into(),
            by: "anna, \"false alarm\"".into(),
            after_step,
            of: 2,
        }
    }

    #[test]
    fn a_rollback_that_halted_says_what_to_type() {
        check_titled(
            Story::RollbackFailed {
                run_number: 9,
                step: 2,
                of: 2,
                name: "previous images".into(),
                exit: "exit 1 after 14 s".into(),
                output: "pulling\nError response from daemon: No such image: shop/api@sha256:4be1…\n\n".into(),
                state: "step 1 done · step 2 failed · nothing after it ran. shop is DOWN: api is stopped".into(),
            },
            r#"
[ROLLBACK FAILED] shop on web-1 stopped at step 2 of 2, "previous images": exit 1 after 14 s
State     step 1 done · step 2 failed · nothing after it ran. shop is DOWN: api is stopped
Output    pulling
          Error response from daemon: No such image: shop/api@sha256:4be1…
Next      nothing more is run; finish by hand. R-9 in full: backstop rollback status
"#,
        );
        check_titled(
            Story::RollbackStuck {
                run_number: 9,
                step: 2,
                name: "restore database".into(),
                why: "the host went down 8 s after it began (09:45:12); it may run only once, so it was not repeated"
                    .into(),
                look: "the step's output so far: /var/lib/backstop/rollback/R-9/2.out".into(),
            },
            r#"
[ROLLBACK STUCK] shop on web-1: nobody knows whether step 2, "restore database", happened
Why       the host went down 8 s after it began (09:45:12); it may run only once, so it was not repeated
Look      the step's output so far: /var/lib/backstop/rollback/R-9/2.out
Next      nothing more is run; find out whether step 2 happened, and finish by hand
          R-9 in full: backstop rollback status
"#,
        );
        check_titled(
            stopped(1),
            r#"
[ROLLBACK STOPPED] shop 2.1.0 -> 2.0.3 on web-1, after step 1 of 2
By        anna, "false alarm"
State     1 of 2 steps ran, the rest did not; neither version may be whole
Next      nothing more is run; finish by hand. R-9 in full: backstop rollback status
"#,
        );
        check_titled(
            stopped(0),
            r#"
[ROLLBACK STOPPED] shop 2.1.0 -> 2.0.3 on web-1, before its first step
By        anna, "false alarm"
State     nothing was run; 2.1.0 is still what runs
Next      begin after all:   backstop rollback start shop --reason "…"
"#,
        );
    }

    #[test]
    fn no_rollback_says_why_not_and_how_to_do_it_anyway() {
        check_titled(
            Story::RollbackHeld {
                version: "2.1.0".into(),
                criterion: "errors".into(),
                why: "the trouble began at 09:12, 17 min before the deployment: 2.0.3 had it too".into(),
                guard: "older-than-deployment".into(),
            },
            r#"
[ROLLBACK HELD] shop 2.1.0 on web-1: errors is over its limit, but no rollback
Why not   the trouble began at 09:12, 17 min before the deployment: 2.0.3 had it too
Anyway    backstop rollback start shop --override older-than-deployment --reason "…"
"#,
        );
        check_titled(
            Story::WouldRollBack {
                version: "2.1.0".into(),
                previous: "2.0.3".into(),
                criterion: "errors".into(),
                because: because(0.142),
                steps: names(&["stop traffic", "previous images"]),
            },
            r#"
[WOULD ROLL BACK] shop 2.1.0 -> 2.0.3 on web-1 (mode observe: nothing is run)
Why       errors over 10 % for 5 min (now 14.2 %, 212 of 1,493)
What      1 stop traffic · 2 previous images; then verification
Do it     backstop rollback start shop --reason "…"
"#,
        );
    }

    #[test]
    fn deployments_verdicts_the_agent_and_tests_have_their_words() {
        check_titled(
            Story::Deployment {
                version: "2.1.0".into(),
                previous: Some("2.0.3".into()),
                event: DeploymentEvent::Started,
            },
            "
[DEPLOYMENT] shop 2.1.0 is being deployed on web-1
At        2025-10-28 09:40:58
Before    2.0.3
Look      backstop watch status
",
        );
        check_titled(
            Story::Verdict {
                version: "2.1.0".into(),
                verdict: "stable with warnings".into(),
                because: names(&["latency was WARNING for 12 min", "no rollback criterion was due"]),
                from: clock(-39, 0, 0),
                to: clock(9, 0, 0),
            },
            "
[VERDICT] shop 2.1.0 on web-1: stable with warnings
Why       latency was WARNING for 12 min
          no rollback criterion was due
Watched   2025-10-26 09:00:00 to 2025-10-28 09:00:00 (2 d)
In full   backstop watch status
",
        );
        check_titled(
            Story::Agent {
                title: "its disk does not answer".into(),
                body: "Notifications go out at once, not journaled.\nNo rollback is begun until it is back.".into(),
            },
            "
[BACKSTOP] its disk does not answer on web-1
Notifications go out at once, not journaled.
No rollback is begun until it is back.
",
        );
        check_titled(
            Story::Test { channel: "email/team".into() },
            "
[TEST] shop: a test of email/team from web-1
Nothing is wrong. Somebody asked at 09:40:58 whether an alert would arrive by email/team: it does.
It went the way of a real alert: rule, incident, channel, outbox.
",
        );
    }

    #[test]
    fn what_others_wrote_is_one_bounded_line() {
        for (text, max, wanted) in [
            ("plain", 10, "plain"),
            ("a\r\nBcc: b\u{0}\u{1b}[31m", 40, "a  Bcc: b  [31m"),
            ("abc\u{202e}def\u{2028}g", 40, "abc def g"),
            ("0123456789", 10, "0123456789"),
            ("0123456789x", 10, "0123456…"),
            ("ääääää", 8, "ää…"),
            ("  spaces  ", 40, "spaces"),
        ] {
            assert_eq!(clean(text, max), wanted, "{text:?}");
            assert!(clean(text, max).len() <= max);
        }
        assert_eq!(word("it's; rm -rf /"), r"'it'\''s; rm -rf /'");
    }

    #[test]
    fn no_story_however_hostile_breaks_its_bounds_or_forges_a_line() {
        let evil = format!("x\r\n[RESOLVED] all is well\n\u{1b}[2J{}", "y".repeat(100_000));
        let many = vec![evil.clone(); 1000];
        let labels = Labels::new([("alertname", evil.clone()), ("service", evil.clone())]);
        let line = Line {
            place: evil.clone(),
            level: evil.clone(),
            text: evil.clone(),
            pattern: None,
            like: Some(Like { count: u64::MAX, window: Span(i64::MAX) }),
            at: Timestamp(i64::MIN),
        };
        let because = Because {
            limit: evil.clone(),
            value: Some(Quantity::count(f64::NAN)),
            lines: vec![line; 1000],
            ..because(0.1)
        };
        for story in [
            Story::Alert {
                incident_number: 1,
                reason: Reason::Added,
                level: Level::Warning,
                rule: evil.clone(),
                labels: labels.clone(),
                because: because.clone(),
                since: Timestamp(i64::MIN),
                also: many.clone(),
                deployed: Some(Deployed {
                    version: evil.clone(),
                    previous: Some(evil.clone()),
                    at: Timestamp(i64::MAX),
                }),
                next: Some(evil.clone()),
                asks: None,
                summary: evil.clone(),
                runbook: evil.clone(),
            },
            Story::WouldRollBack {
                version: evil.clone(),
                previous: evil.clone(),
                criterion: evil.clone(),
                because,
                steps: many.clone(),
            },
            Story::Verdict {
                version: evil.clone(),
                verdict: evil.clone(),
                because: many,
                from: Timestamp(0),
                to: Timestamp(i64::MAX),
            },
        ] {
            let notice = Notice { app: evil.clone(), host: evil.clone(), labels: labels.clone(), ..notice(story) };
            let (subject, text) = (subject(&notice), text(&notice, &TimeZone::UTC));
            assert!(subject.len() <= MAX_SUBJECT && !subject.contains(char::is_control), "{subject}");
            assert!(text.len() <= MAX_TEXT, "{}", text.len());
            assert!(text.lines().all(|l| !l.starts_with("[RESOLVED]") && !l.contains(char::is_control)), "{text}");
            assert!(json(&notice).to_string().len() < 60_000);
        }
    }
}
