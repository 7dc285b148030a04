//! What systemd is told and asked, where the agent is one of its services: readiness, the watchdog, the stop.
//!
//! Everywhere else these calls do nothing.

use rustix::time::{ClockId, clock_gettime};
use sd_notify::NotifyState;

use crate::base::Span;

/// Whether this process is a service of systemd, and not merely started from one's terminal.
pub fn is_service() -> bool {
    let is_ours = |pid: String| pid.parse() == Ok(std::process::id());
    std::env::var_os("NOTIFY_SOCKET").is_some() || std::env::var("SYSTEMD_EXEC_PID").is_ok_and(is_ours)
}

/// Whether systemd runs this host.
pub fn runs_this_host() -> bool {
    sd_notify::booted().unwrap_or(false)
}

/// Whether a unit of that file name is installed.
pub fn has_unit(file: &str) -> bool {
    [
        "/etc/systemd/system",
        "/run/systemd/system",
        "/usr/local/lib/systemd/system",
        "/usr/lib/systemd/system",
        "/lib/systemd/system",
    ]
    .iter()
    .any(|folder| std::path::Path::new(folder).join(file).exists())
}

/// How often the watchdog wants to hear something: half of what the unit demands.
pub fn watchdog() -> Option<Span> {
    sd_notify::watchdog_enabled().map(|limit| Span(Span::from_std(limit).0 / 2))
}

/// The agent watches.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The loop turned.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// The configuration is read again; [`ready`] follows.
pub fn reloading() {
    let t = clock_gettime(ClockId::Monotonic);
    let usec = i128::from(t.tv_sec) * 1_000_000 + i128::from(t.tv_nsec) / 1000;
    tell(&[NotifyState::Reloading, NotifyState::MonotonicUsec(usec)]);
}

/// The agent ends.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd was not told.");
    }
}
