//! How all of it works together; the lines of many programs stand in `programs`.

mod cutting;
mod formats;
mod matching;
mod programs;
mod stories;
mod tallies;

use super::*;

/// 2025-03-12T10:00:30Z
pub(super) const ARRIVED: i64 = 1_741_773_630_000;

pub(super) fn wanted(format: Format, patterns: &[&str]) -> Wanted {
    Wanted {
        format,
        patterns: patterns.iter().enumerate().map(|(n, text)| (format!("p{n}"), (*text).to_string())).collect(),
        values: Vec::new(),
        secrets: Vec::new(),
        max_line: 64 << 10,
        zone: TimeZone::UTC,
        redact: Arc::new(|text: &str| text.to_string()),
    }
}

pub(super) fn plan(format: Format, patterns: &[&str]) -> Plan {
    Plan::new(wanted(format, patterns)).unwrap()
}

pub(super) fn seen(arrived: i64) -> Seen<'static> {
    Seen { arrived: Timestamp(arrived), given: None, place: "/var/log/app.log", cut: 0 }
}

/// Reads `text` as one stream at one moment.
pub(super) fn read_all(plan: &Plan, text: &[u8]) -> Tally {
    let mut tally = Tally::new(plan);
    plan.read(&mut StreamState::default(), text, seen(ARRIVED), &mut tally);
    tally
}

/// What is counted, without what is zero: `error 1, info 2, broken 1`.
pub(super) fn told(tally: &Tally) -> String {
    let levels = Level::ALL.into_iter().map(|level| (level.as_str(), tally.lines(level)));
    let all = levels.chain([("broken", tally.broken()), ("cut", tally.cut()), ("no number", tally.broken_values())]);
    let mut parts: Vec<String> = all.filter(|(_, n)| *n > 0).map(|(name, n)| format!("{name} {n}")).collect();
    parts.extend(tally.matches().iter().filter(|m| m.total > 0).map(|m| format!("{} {}", m.name, m.total)));
    parts.join(", ")
}

/// The CPU time that this thread has used, in nanoseconds: other threads do not disturb it.
pub(super) fn cpu_nanos() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A generator of random numbers (xorshift64*), the same on every machine.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as usize % bound
    }

    pub(super) fn one<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}
