//! Pieces of text that several subcommands share: ages, limits, counts.

use crate::base::because::whole;
use crate::base::{Because, Labels, Quantity, Span, Timestamp};
use crate::engine::snapshot::{AlertView, RuleView, RunView, Snapshot};

/// The moment and the zone that a text is written for.
#[derive(Clone, Debug)]
pub struct When {
    /// The zone of clock times.
    pub zone: jiff::tz::TimeZone,
    /// The moment that ages are counted to.
    pub now: Timestamp,
}

impl When {
    /// `09:36:52`, with the date when that is another day.
    pub fn clock(&self, at: Timestamp) -> String {
        if (self.now - at).0.abs() < Span::hours(20).0 { at.clock(&self.zone) } else { at.date_clock(&self.zone) }
    }

    /// How long ago, never negative: `4 min 15 s`.
    pub fn age(&self, at: Timestamp) -> String {
        self.since(at).human()
    }

    /// The time from `at` to now, at least zero; whole seconds beyond the first ten.
    pub fn since(&self, at: Timestamp) -> Span {
        Span((self.now - at).0.max(0))
    }

    /// The time from now to `at`, at least zero.
    pub fn until(&self, at: Timestamp) -> String {
        Span((at - self.now).0.max(0)).human()
    }
}

/// `> 10%` as people read it behind "limit": `10 %`. What is no single comparison stays as it was written.
pub fn limit(written: &str) -> String {
    let value = written.trim_start_matches(['>', '<', '=', '!', ' ']);
    match Quantity::parse(value) {
        Ok(quantity) => quantity.to_string(),
        Err(_) => written.to_string(),
    }
}

/// `14.2 % (limit 10 %)`.
pub fn figure(because: &Because) -> String {
    match &because.value {
        Some(value) => format!("{value} (limit {})", limit(&because.limit)),
        None => format!("not observed (limit {})", limit(&because.limit)),
    }
}

/// `212 of 1,493 in 5 min`, or nothing.
pub fn counts(because: &Because) -> String {
    match &because.counts {
        Some(c) => format!("{} of {} in {}", whole(c.errors), whole(c.total), c.window.human()),
        None => String::new(),
    }
}

/// The labels that tell an alert from others of its rule: `mountpoint=/`, or nothing.
pub fn labels(alert: &AlertView) -> String {
    telling(&alert.labels)
}

/// Those of an alert's labels that tell it from others of its rule.
pub fn telling(labels: &Labels) -> String {
    // `source` stays: an address may be asked for its health and for its metrics.
    let skip = ["alertname", "app", "job", "external", "optional", crate::base::label::NAME];
    let shown: Vec<String> =
        labels.iter().filter(|(n, _)| !skip.contains(n)).map(|(n, v)| format!("{n}={v}")).collect();
    shown.join(" ")
}

/// Whether this alert says that something is wrong.
pub fn is_wrong(alert: &AlertView) -> bool {
    alert.level > crate::base::Level::Ok
}

/// The condition of this kind, as written with its times.
pub fn condition<'a>(rule: &'a RuleView, kind: &str) -> Option<&'a str> {
    rule.conditions.iter().find(|(k, _)| k == kind).map(|(_, text)| text.as_str())
}

/// `verified: errors 0.3 %, …`: the phase of a run once, and what people read about it.
pub fn phase(run: &RunView) -> String {
    if run.text.starts_with(&run.phase) { run.text.clone() } else { format!("{}: {}", run.phase, run.text) }
}

/// `its clock is 12s ahead of this host's`.
pub fn clock_off(off: crate::base::Span) -> String {
    let (by, way) = if off < crate::base::Span::ZERO { (-off, "behind") } else { (off, "ahead of") };
    format!("its clock is {} {way} this host's", by.human())
}

/// The line that everything begins with: `shop on web-1 …  agent up 12 d, watching 3 targets, 9 rules`.
pub fn heading(snapshot: &Snapshot, when: &When) -> String {
    use super::out::{pad, plural};
    let what = format!("{} on {}", snapshot.app, snapshot.host);
    let (targets, rules) = (plural(snapshot.targets.len(), "target"), plural(snapshot.rules.len(), "rule"));
    format!("{}agent up {}, watching {targets}, {rules}\n", pad(&what, 52), when.age(snapshot.started))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_read_without_its_comparison() {
        for (written, read) in [
            ("> 10%", "10 %"),
            (">= 512MiB", "512.0 MiB"),
            ("== 0", "0"),
            ("> baseline + 25% and > 100ms", "> baseline + 25% and > 100ms"),
        ] {
            assert_eq!(limit(written), read);
        }
    }
}
