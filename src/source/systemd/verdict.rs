//! Whether a unit is well. Pure.
//!
//! Reasons: `missing`, `masked`, `failed`, `inactive`.

use crate::base::{Failure, Span, Timestamp};
use crate::sys::units::{Active, Ended, Load, Unit};

/// How long a unit may be starting that has no limit of its own; what systemd takes where nobody says anything.
const START_TIMEOUT: Span = Span::secs(90);

/// What is thought of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It does what it should.
    Well,
    /// It is being started, and has time left: nothing is said.
    Starting,
    /// It does not.
    Bad(Failure),
}

impl Verdict {
    /// Judges a unit that was called `name`, at `now`.
    pub(super) fn of(unit: &Unit, name: &str, now: Timestamp) -> Verdict {
        let bad = |reason, detail| Verdict::Bad(Failure::new(reason, detail));
        match (&unit.active, &unit.load) {
            // Also where its file was deleted, or it was masked, while it runs.
            (Active::Active, _) => Verdict::Well,
            (_, Load::Missing) => bad("missing", format!("systemd knows no unit {name}: systemctl list-unit-files")),
            (_, Load::Masked) => {
                bad("masked", format!("{name} is masked, and cannot be started: systemctl unmask {name}"))
            }
            (_, Load::Odd(odd)) => {
                bad("failed", format!("the file of {name} cannot be used ({odd}): systemd-analyze verify {name}"))
            }
            (Active::Failed, _) => bad("failed", format!("{name} failed: {}; journalctl -u {name}", ended(unit))),
            (Active::Activating, _) if unit.sub.starts_with("auto-restart") => {
                bad("failed", format!("{name} ended and is started again: {}; journalctl -u {name}", ended(unit)))
            }
            // Its work is its start.
            (Active::Activating, _) if unit.kind == "oneshot" => Verdict::Well,
            (Active::Activating, _) => starting(unit, name, now),
            (Active::Deactivating, _) => bad("inactive", format!("{name} is being stopped ({})", unit.sub)),
            (Active::Inactive, _) if is_done(unit) => Verdict::Well,
            (Active::Inactive, _) => bad("inactive", format!("{name} does not run: systemctl start {name}")),
        }
    }
}

/// Whether it has nothing to do now: its work is done at each start, or a timer starts it.
fn is_done(unit: &Unit) -> bool {
    let ends = unit.kind == "oneshot" && !unit.remains;
    (ends || unit.has_timer) && unit.result == "success"
}

fn starting(unit: &Unit, name: &str, now: Timestamp) -> Verdict {
    let since = unit.since.and_then(|us| i64::try_from(us / 1000).ok()).map_or(now, Timestamp);
    let limit = unit.start_timeout.unwrap_or(START_TIMEOUT);
    match now - since {
        for_so_long if for_so_long > limit => {
            let detail =
                format!("{name} has been starting for {for_so_long} ({}): does it wait for something?", unit.sub);
            Verdict::Bad(Failure::new("inactive", detail))
        }
        _ => Verdict::Starting,
    }
}

/// How its last run ended, in words.
fn ended(unit: &Unit) -> String {
    let process = match unit.ended {
        Some(Ended::Exited(status)) => format!(", its main process exited with status {status}"),
        Some(Ended::Killed(signal)) => format!(", its main process was killed by signal {signal}"),
        Some(Ended::Dumped(signal)) => {
            format!(", its main process was killed by signal {signal} and dumped its memory")
        }
        None => String::new(),
    };
    format!("{}{process}", if unit.result.is_empty() { "no reason given" } else { &unit.result })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(active: Active) -> Unit {
        Unit { load: Load::Loaded, active, result: "success".into(), kind: "simple".into(), ..Unit::default() }
    }

    fn shown(unit: &Unit, now: i64) -> String {
        match Verdict::of(unit, "x.service", Timestamp(now)) {
            Verdict::Well => "well".into(),
            Verdict::Starting => "starting".into(),
            Verdict::Bad(failure) => failure.to_string(),
        }
    }

    #[test]
    fn each_state_of_a_unit_has_its_verdict() {
        let kind = |active, kind: &str| Unit { kind: kind.into(), ..unit(active) };
        let dead = || unit(Active::Inactive);
        for (unit, wanted) in [
            (unit(Active::Active), "well"),
            (Unit { load: Load::Missing, ..unit(Active::Active) }, "well"),
            (Unit::missing("x.service"), "missing: systemd knows no unit x.service"),
            (Unit { load: Load::Masked, ..dead() }, "masked: x.service is masked"),
            (
                Unit { load: Load::Odd("bad-setting".into()), ..dead() },
                "failed: the file of x.service cannot be used (bad-setting)",
            ),
            (
                Unit { result: "exit-code".into(), ended: Some(Ended::Exited(7)), ..unit(Active::Failed) },
                "failed: x.service failed: exit-code, its main process exited with status 7;",
            ),
            (
                Unit { result: "oom-kill".into(), ended: Some(Ended::Killed(9)), ..unit(Active::Failed) },
                "failed: x.service failed: oom-kill, its main process was killed by signal 9;",
            ),
            (Unit { result: String::new(), ..unit(Active::Failed) }, "failed: x.service failed: no reason given;"),
            (
                Unit {
                    sub: "auto-restart".into(),
                    result: "signal".into(),
                    ended: Some(Ended::Dumped(11)),
                    ..unit(Active::Activating)
                },
                "failed: x.service ended and is started again: signal, its main process was killed by signal 11 and dumped",
            ),
            (unit(Active::Deactivating), "inactive: x.service is being stopped"),
            (dead(), "inactive: x.service does not run"),
            (kind(Active::Activating, "oneshot"), "well"),
            (kind(Active::Inactive, "oneshot"), "well"),
            (Unit { remains: true, ..kind(Active::Inactive, "oneshot") }, "inactive:"),
            (Unit { result: "exit-code".into(), ..kind(Active::Inactive, "oneshot") }, "inactive:"),
            (Unit { has_timer: true, ..dead() }, "well"),
            (Unit { has_timer: true, result: "timeout".into(), ..dead() }, "inactive:"),
        ] {
            let found = shown(&unit, 0);
            assert!(found.starts_with(wanted), "{found}\n{unit:?}");
        }
    }

    #[test]
    fn a_start_has_its_time() {
        let starting =
            |limit: Option<Span>| Unit { since: Some(1_000_000), start_timeout: limit, ..unit(Active::Activating) };
        for (limit, now, wanted) in [
            (Some(Span::secs(30)), 31_000, "starting"),
            (Some(Span::secs(30)), 31_001, "inactive: x.service has been starting for 30s"),
            (None, 91_000, "starting"),
            (None, 92_000, "inactive: x.service has been starting for 1m31s"),
            (None, 0, "starting"),
        ] {
            let found = shown(&starting(limit), now);
            assert!(found.starts_with(wanted), "{limit:?} {now}: {found}");
        }
        assert_eq!(shown(&Unit { since: None, ..starting(None) }, 1_000_000), "starting");
    }
}
