//! What was found on a host: values only, between the rooms that look and the one that writes.
//!
//! Every text in here comes from outside: whoever names a container, a unit or a program chose it. Those who write it
//! down make it safe.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::base::Failure;

/// Everything that was found. A part that could not be looked at says why.
#[derive(Clone, Debug)]
pub struct Findings {
    /// The name of the host.
    pub host: String,
    /// As who it was looked.
    pub user: String,
    /// The services of systemd that are worth a word, sorted by name.
    pub units: Result<Units, Failure>,
    /// The containers, sorted by project, service and name.
    pub containers: Result<Containers, Failure>,
    /// The ports, sorted by number and address.
    pub ports: Result<Ports, Failure>,
}

/// The services of systemd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Units {
    /// Those that people installed, and servers that are known.
    pub list: Vec<Unit>,
    /// How many services are loaded in all.
    pub n_loaded: usize,
}

/// A service of systemd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// Its whole name: `shop.service`.
    pub name: String,
    /// Whether it runs; what it is instead stands in `state`.
    pub is_running: bool,
    /// Its state as systemd calls it: `running`, `failed`, `dead`, …
    pub state: String,
    /// Whether somebody wrote its file, as opposed to a package.
    pub is_own: bool,
    /// A link to a folder that its program or its working folder lies behind: the release that is live.
    pub link: Option<PathBuf>,
}

/// The containers of an engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Containers {
    /// Where the engine listens, for people.
    pub engine: String,
    /// Each of them, but those of `compose run`.
    pub list: Vec<Container>,
    /// How many more there are, or are described as none is.
    pub n_passed_over: usize,
}

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The project and the service of compose, where it belongs to one.
    pub service: Option<(String, String)>,
    /// Whether it runs.
    pub is_running: bool,
    /// Its ports that this host has taken over: the address and port here, the port inside.
    pub ports: Vec<(SocketAddr, u16)>,
}

/// The ports on which somebody listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// Those of this host alone or of all its addresses.
    pub list: Vec<Port>,
    /// How many listen on one address of a network only, and were not asked.
    pub n_elsewhere: usize,
    /// How many were too many to be asked.
    pub n_passed_over: usize,
    /// How many have an owner that this user may not see.
    pub n_unowned: usize,
}

/// A port, and what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Where it was asked.
    pub address: SocketAddr,
    /// Whose it is.
    pub owner: Owner,
    /// What it said.
    pub says: Says,
}

/// Whose a port is, as exactly as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The container behind it.
    pub container: Option<Container>,
    /// The unit that its process belongs to.
    pub unit: Option<String>,
    /// The name of its program.
    pub program: Option<String>,
}

/// What a port said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// It speaks HTTP.
    Http(Pages),
    /// By its number or its program it speaks something else; it was only connected to.
    Known(Known),
    /// It speaks first, so it is no HTTP; nothing was sent.
    Greets,
    /// It takes connections, and what it answers is no HTTP.
    Other(Failure),
    /// It takes no connection.
    Closed,
}

/// Something that is known not to speak HTTP, or not in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// What it is called: `PostgreSQL`.
    pub title: &'static str,
    /// The name for its table: `postgres`.
    pub name: &'static str,
    /// Whether it belongs to every host, and nobody's application hangs on it.
    pub is_base: bool,
}

/// The pages of a port that speaks HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    /// The first page about its health that answers with 2xx.
    pub health: Option<Health>,
    /// Its page of metrics.
    pub metrics: Option<Metrics>,
    /// The status of `/`, where that was asked and is 2xx or 3xx.
    pub root: Option<u16>,
}

/// A page about health.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Its path.
    pub path: &'static str,
    /// What its JSON has as `status`, where that is a word for being well.
    pub status: Option<String>,
    /// Whether its JSON has a `version`.
    pub has_version: bool,
}

/// A page of metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// How many samples it has.
    pub n_samples: usize,
    /// A counter of requests and its label with the status of the answer.
    pub requests: Option<(&'static str, &'static str)>,
}
