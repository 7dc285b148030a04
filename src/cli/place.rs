//! Where the agent of this command line is: its state folder, its control socket, its zone.
//!
//! The configuration says it; what it leaves open follows from where the command runs. A configuration that
//! cannot be read right now must not keep anybody from asking the running agent, so it is then passed over.

use std::path::{Path, PathBuf};

use super::{Exit, Failure, Globals};
use crate::agent::wire;
use crate::config::{self, Config};
use crate::rollback::config::Config as Rollback;
use crate::sys::systemd;

/// Where an agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its state folder.
    pub state: PathBuf,
    /// Its control socket.
    pub socket: PathBuf,
}

/// The place that the command line, the configuration and the surroundings name, in this order.
pub fn find(globals: &Globals) -> Place {
    let config = config::load(&options(globals)).config;
    // Without a word about it, the service's socket is meant where there is one: the folder of this user's own
    // agent would only say that nobody is there.
    let unsaid = globals.state.is_none() && globals.config.is_none();
    let service = PathBuf::from("/run/backstop/control.sock");
    if unsaid && service.exists() && config.as_ref().is_none_or(|c| !c.socket().exists()) {
        return Place { state: "/var/lib/backstop".into(), socket: service };
    }
    match config {
        Some(config) => Place { state: config.state.clone(), socket: config.socket() },
        None => {
            let state = globals.state.clone().unwrap_or_else(|| "/var/lib/backstop".into());
            Place { socket: state.join("control.sock"), state }
        }
    }
}

/// Where the samples of a state folder are.
pub fn samples(state: &Path) -> PathBuf {
    state.join("samples")
}

/// Where the kept lines of a state folder are.
pub fn lines(state: &Path) -> PathBuf {
    state.join(crate::source::log::kept::FOLDER)
}

/// The zone for texts.
pub fn zone(globals: &Globals) -> jiff::tz::TimeZone {
    config::load(&options(globals)).config.map_or_else(jiff::tz::TimeZone::system, |c| c.app.zone)
}

/// What the configuration says about the way back.
///
/// # Errors
/// All mistakes of the configuration, rendered.
pub fn rollback(globals: &Globals) -> Result<Rollback, Failure> {
    configuration(globals).map(|config| config.rollback)
}

/// The whole configuration.
///
/// # Errors
/// All its mistakes, rendered.
pub fn configuration(globals: &Globals) -> Result<Config, Failure> {
    let loaded = config::load(&options(globals));
    let text = format!("{}{}", loaded.render(false), loaded.conclusion(None));
    loaded.config.ok_or(Failure { text, help: None, exit: Exit::Usage })
}

/// What the configuration of this command line is loaded with.
pub fn options(globals: &Globals) -> config::Options {
    config::Options {
        path: globals.config.clone(),
        state: globals.state.clone(),
        sets: globals.sets.clone(),
        ..config::Options::of_process()
    }
}

/// Why a configured mode would not be in force under systemd, if so.
pub fn capped_under_systemd(config: &Config) -> Option<String> {
    let wants = config.rollback.mode.value != crate::rollback::config::Mode::Observe;
    (wants && systemd::runs_this_host()).then(|| wire::cap(true)).flatten().map(|(_, why)| why)
}
