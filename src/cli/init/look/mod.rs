//! Looks at the host: services, containers, ports. Nothing is changed, and whatever cannot be seen is said and no failure.
//!
//! - `units`: systemd · `containers`: the engine · `sockets`, `known`, `ask`, `ports`: who listens, whether that speaks
//!   HTTP, what it says

mod ask;
mod containers;
mod known;
mod ports;
mod sockets;
mod units;

use std::path::PathBuf;

use super::findings::Findings;
use crate::base::Failure;
use crate::sys::engine::{Address, Engine};
use crate::sys::{systemd, users};

/// Where to look.
#[derive(Clone, Debug)]
pub struct Places {
    /// The name of this host.
    pub host: String,
    /// What the kernel shows.
    pub proc: PathBuf,
    /// The program that asks systemd; none where systemd does not run the host.
    pub systemctl: Option<PathBuf>,
    /// The container engine; the usual places where none is said.
    pub engine: Option<Address>,
}

impl Places {
    /// Those of this host, which is called `host`.
    pub fn of_host(host: String) -> Places {
        let systemctl = systemd::runs_this_host().then(|| "systemctl".into());
        Places { host, proc: "/proc".into(), systemctl, engine: None }
    }
}

/// Looks at everything; `say` hears what is looked at next.
pub async fn look(places: &Places, say: &mut dyn FnMut(&str)) -> Findings {
    let units = match &places.systemctl {
        Some(program) => {
            say("services of systemd");
            units::look(program).await
        }
        None => Err(Failure::new("missing", "systemd does not run this host")),
    };
    let engine = Engine::new(places.engine.clone());
    say(&format!("containers at {}", engine.address()));
    let containers = containers::look(&engine).await;
    let known = containers.as_ref().map(|all| all.list.clone()).unwrap_or_default();
    let ports = ports::look(&places.proc, known, say).await;
    Findings { host: places.host.clone(), user: users::current(), units, containers, ports }
}
