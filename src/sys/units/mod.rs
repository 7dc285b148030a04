//! What systemd says of its units: over its bus, which also says when something changes, else by `systemctl show`.
//!
//! Enters: names of units. Leaves: a [`Unit`] for each. Interface: org.freedesktop.systemd1(5), sd_bus(3). Reasons of a
//! [`Failure`](crate::base::Failure): `bus` (nobody answers, or what answers is not understood), `timeout`, `permission`.

mod bus;
mod program;
mod show;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod unit;

pub use bus::{Address, Bus, State};
pub use program::{Program, Programs, Seen, Wanted};
pub use show::Show;
pub use unit::{Active, Ended, Load, Unit};

/// The bytes of memory of this host.
pub fn memory_of_host() -> u64 {
    let info = rustix::system::sysinfo();
    #[expect(clippy::useless_conversion, reason = "the type is another one on other machines")]
    u64::from(info.totalram).saturating_mul(u64::from(info.mem_unit))
}
