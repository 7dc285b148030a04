//! The one clock: wall time at an anchor plus elapsed boot time, which runs on while the host sleeps.
//!
//! The wall clock may be set at any moment; time that decisions rest on may not jump unseen. So [`Clock::now`]
//! follows the boot clock, and [`Clock::step`] notices when the wall has moved away by more than
//! [`Clock::TOLERANCE`], re-anchors, and says by how much.

#![expect(clippy::disallowed_methods, reason = "this is the room that may ask the clock and wait")]

use std::sync::Mutex;

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::base::{Span, Timestamp};

/// The agent's clock. One per process; shared by reference.
#[derive(Debug)]
pub struct Clock {
    anchor: Mutex<Anchor>,
}

#[derive(Clone, Copy, Debug)]
struct Anchor {
    wall: i64,
    boot: i64,
}

impl Clock {
    /// How far the wall may be from the anchored time before it counts as a step.
    pub const TOLERANCE: Span = Span::secs(2);

    /// A clock anchored to the wall time of this moment.
    pub fn new() -> Clock {
        Clock { anchor: Mutex::new(Anchor { wall: wall(), boot: boot() }) }
    }

    /// The time now: rises steadily between two calls of [`Clock::step`], also across a suspend.
    pub fn now(&self) -> Timestamp {
        let anchor = self.anchor();
        Timestamp(anchor.wall + boot() - anchor.boot)
    }

    /// By how much the wall clock was set since the last look, if by more than the tolerance; re-anchors to it.
    pub fn step(&self) -> Option<Span> {
        let (wall, boot) = (wall(), boot());
        let mut anchor = self.anchor.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let by = Span(wall - (anchor.wall + boot - anchor.boot));
        if by.0.abs() <= Clock::TOLERANCE.0 {
            return None;
        }
        *anchor = Anchor { wall, boot };
        Some(by)
    }

    /// Waits until `at`; returns at once when that is past.
    pub async fn sleep_until(&self, at: Timestamp) {
        let left = at - self.now();
        if left > Span::ZERO {
            tokio::time::sleep(left.to_std()).await;
        }
    }

    fn anchor(&self) -> Anchor {
        *self.anchor.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::new()
    }
}

/// Measures how long something took, on the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Starts to measure.
    pub fn start() -> Stopwatch {
        Stopwatch(std::time::Instant::now())
    }

    /// The time since the start, in seconds with full resolution.
    pub fn seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Span {
        Span::from_std(self.0.elapsed())
    }
}

/// What tells this boot of the kernel from others; empty where the kernel does not say.
pub fn boot_id() -> String {
    let read = super::files::read_trusted(std::path::Path::new("/proc/sys/kernel/random/boot_id"), 256);
    String::from_utf8_lossy(&read.unwrap_or_default()).trim().to_string()
}

/// Waits for `span` of monotonic time: for pauses whose end is no moment of the calendar.
pub async fn pause(span: Span) {
    tokio::time::sleep(span.to_std()).await;
}

fn wall() -> i64 {
    millis(clock_gettime(ClockId::Realtime))
}

fn boot() -> i64 {
    millis(clock_gettime(ClockId::Boottime))
}

fn millis(t: Timespec) -> i64 {
    t.tv_sec * 1000 + t.tv_nsec / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_that_was_set_is_noticed_once() {
        let clock = Clock::new();
        assert_eq!(clock.step(), None);
        clock.anchor.lock().unwrap().wall -= 3_600_000;
        let by = clock.step().expect("an hour is more than the tolerance");
        assert!((by.0 - 3_600_000).abs() < 1000, "{by}");
        assert_eq!(clock.step(), None);
    }
}
