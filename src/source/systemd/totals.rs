//! Counts that go on where systemd's own begin again. Pure.
//!
//! systemd counts restarts since a unit was last started by hand, and the kernel counts kills for want of memory since the
//! control group was made. Here both only rise, also over restarts of the agent: a counter that falls would be taken for
//! one that began anew, and what it stood at for new events.

use serde::{Deserialize, Serialize};

use crate::sys::units::Unit;

/// The totals of one unit, as they are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Totals {
    /// The form of this.
    version: u32,
    /// Restarts by systemd.
    pub(super) restarts: u64,
    /// What systemd said last.
    restarts_seen: u64,
    /// Processes killed for want of memory.
    pub(super) oom_kills: u64,
    /// What the control group said last.
    oom_seen: u64,
    /// The last run in which one was counted.
    oom_run: String,
    /// The last run.
    run: String,
}

/// The form that is written.
const VERSION: u32 = 1;

impl Totals {
    /// From what was kept; none where it is of a newer version, or odd.
    pub(super) fn read(bytes: &[u8]) -> Option<Totals> {
        serde_json::from_slice(bytes).ok().filter(|totals: &Totals| totals.version == VERSION)
    }

    /// What is to be kept.
    pub(super) fn write(&self) -> Option<Vec<u8>> {
        serde_json::to_vec(&Totals { version: VERSION, ..self.clone() }).ok()
    }

    /// A unit as it is now, and the kills that its control group counts, where it does; `is_new` when that group was opened
    /// for the first time.
    pub(super) fn note(&mut self, unit: &Unit, kills: Option<u64>, is_new: bool) {
        if let Some(n) = unit.restarts {
            // Fewer than before: it was started by hand, and these came since.
            let more = if n >= self.restarts_seen { n - self.restarts_seen } else { n };
            self.restarts = self.restarts.saturating_add(more);
            self.restarts_seen = n;
        }
        // What a new group counts, it counts from nothing; unless it is the one that an earlier process saw.
        if is_new && unit.invocation != self.run {
            self.oom_seen = 0;
        }
        if let Some(n) = kills {
            let more = if n >= self.oom_seen { n - self.oom_seen } else { n };
            self.oom_seen = n;
            if more > 0 {
                self.oom_kills = self.oom_kills.saturating_add(more);
                self.oom_run.clone_from(&unit.invocation);
            }
        }
        // The group went with its last process, and its count with it.
        if unit.result == "oom-kill" && self.oom_run != unit.invocation {
            self.oom_kills = self.oom_kills.saturating_add(1);
            self.oom_run.clone_from(&unit.invocation);
        }
        self.run.clone_from(&unit.invocation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(restarts: u64, invocation: &str, result: &str) -> Unit {
        Unit { restarts: Some(restarts), invocation: invocation.into(), result: result.into(), ..Unit::default() }
    }

    #[test]
    fn restarts_only_rise() {
        let mut totals = Totals::default();
        let mut found = Vec::new();
        // Two restarts, one by hand, three more, and a restart of the agent between.
        for n in [0, 1, 2, 0, 0, 1, 3] {
            totals.note(&unit(n, "a", "success"), None, false);
            totals = Totals::read(&totals.write().unwrap()).unwrap();
            found.push(totals.restarts);
        }
        assert_eq!(found, [0, 1, 2, 2, 2, 3, 5]);
        totals.note(&Unit::default(), None, false);
        assert_eq!(totals.restarts, 5, "a unit that is gone counts nothing");
    }

    #[test]
    fn kills_are_counted_once_whoever_tells_of_them() {
        let mut totals = Totals::default();
        let mut step = |invocation: &str, result: &str, kills: Option<u64>, is_new: bool| {
            totals.note(&unit(0, invocation, result), kills, is_new);
            totals.oom_kills
        };
        assert_eq!(step("a", "success", Some(0), true), 0);
        assert_eq!(step("a", "success", Some(2), false), 2, "two workers were killed and the unit goes on");
        assert_eq!(step("a", "oom-kill", None, false), 2, "the end of that run is no third");
        assert_eq!(step("b", "success", Some(1), true), 3, "a new group counts from nothing");
        assert_eq!(step("c", "success", Some(0), true), 3);
        assert_eq!(step("c", "oom-kill", None, false), 4, "the group went before it was read");
        assert_eq!(step("c", "oom-kill", None, false), 4);
        assert_eq!(step("d", "success", Some(5), true), 9);
        assert_eq!(step("d", "success", Some(5), true), 9, "the same group, opened by a new process");
    }

    #[test]
    fn what_was_kept_in_an_odd_form_is_not_used() {
        for bytes in [&b""[..], b"{}", b"{\"version\":2}", b"null", b"{\"version\":1,\"restarts\":-1}"] {
            assert_eq!(Totals::read(bytes), None);
        }
    }
}
