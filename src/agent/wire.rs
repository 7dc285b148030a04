//! From the configuration to the parts: one line a component.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::Options;
use super::remotes::Remotes;
use super::version::{How, Version};
use crate::base::Span;
use crate::config::{self, Config, SourceConfig, version};
use crate::engine;
use crate::notify::{self, Channel};
use crate::rollback::config::{Mode as Written, Otherwise};
use crate::rollback::machine::{Mode, Settings};
use crate::source::common::{House, Outside};
use crate::source::prometheus::{Prometheus, Referenced};
use crate::source::signal::Signal;
use crate::source::{
    Source, command::Command, container::Container, file::File, host::Host, http::Http, log::Log, systemd::Systemd,
    tcp::Tcp,
};
use crate::store::{Limits, Selector, archive};
use crate::sys::files;
use crate::sys::secret::Secrets;
use crate::sys::systemd;

/// The unit that executes rollbacks with rights of its own.
pub const ROLLBACK_UNIT: &str = "backstop-rollback@.service";

/// The longest time that a recovery must stand before it counts, as a share of the time it may take.
const CONFIRM_SHARE: i64 = 2;

/// Everything an agent is made of.
pub(super) struct Built {
    /// How samples are kept.
    pub(super) archive: archive::Options,
    pub(super) name: String,
    pub(super) state: PathBuf,
    pub(super) socket: PathBuf,
    pub(super) listen: String,
    pub(super) engine: engine::Config,
    pub(super) sources: Vec<Source>,
    pub(super) channels: BTreeMap<String, Channel>,
    pub(super) remotes: Remotes,
    pub(super) version: Option<Version>,
    pub(super) zone: jiff::tz::TimeZone,
}

/// Where secrets are read.
pub(super) fn secrets() -> Secrets {
    Secrets::of_process()
}

/// Why the mode is more careful than configured, if it is: a service of systemd runs nothing without the unit for it.
pub fn cap(as_service: bool) -> Option<(Mode, String)> {
    let why = format!(
        "under systemd nothing is run without the unit {ROLLBACK_UNIT}, which this version does not ship: the mode is at most observe"
    );
    (as_service && !systemd::has_unit(ROLLBACK_UNIT)).then_some((Mode::Observe, why))
}

/// Reads and checks the configuration, and makes the parts.
///
/// # Errors
/// All mistakes of the configuration as one text.
pub(super) fn build(options: &Options) -> Result<Built, String> {
    let wanted = config::Options {
        path: options.config_path.clone(),
        state: options.state.clone(),
        sets: options.sets.clone(),
        ..config::Options::of_process()
    };
    let loaded = config::load(&wanted);
    let Some(config) = &loaded.config else {
        return Err(format!("{}{}", loaded.render(false), loaded.conclusion(None)));
    };
    for problem in &loaded.problems.list {
        tracing::warn!(place = %loaded.files.line(&problem.place), "{}: {}", problem.title, problem.label);
    }
    Ok(assemble(config, &wanted.host))
}

/// The sources of a configuration that look at something; nothing is opened yet. Signals are not among them.
pub fn sources(config: &Config) -> Vec<Source> {
    made(config, &outside(config))
}

/// The outside, as the agent of this configuration sees it.
fn outside(config: &Config) -> Outside {
    let written = config.channels.iter().filter_map(notify::Config::file);
    let house = House {
        state: Some(config.state.clone()),
        files: written.map(PathBuf::from).chain(files::own_output()).collect(),
        engine: config.agent.engine.clone(),
    };
    Outside::of_process().of(house)
}

fn made(config: &Config, outside: &Outside) -> Vec<Source> {
    let referenced = referenced(config);
    config.sources.iter().flat_map(|s| targets(s, outside, &referenced)).collect()
}

fn assemble(config: &Config, host: &str) -> Built {
    let outside = outside(config);
    let sources = made(config, &outside);
    let channels = config.channels.iter().map(|c| (c.subscription().name.clone(), Channel::new(c.clone()))).collect();
    Built {
        name: config.name.clone(),
        state: config.state.clone(),
        socket: config.socket(),
        listen: config.web.listen.to_string(),
        engine: engine_config(config, host, &sources),
        version: config.app.version.as_ref().and_then(|v| version(v, config, &outside)),
        sources,
        channels,
        remotes: Remotes::new(&config.remotes, &outside),
        zone: config.app.zone.clone(),
        archive: archive_options(config),
    }
}

/// Which series some rule reads.
fn referenced(config: &Config) -> Referenced {
    let selectors = config.rules.iter().flat_map(|rule| rule.reach(Span::ZERO)).map(|(selector, _)| selector);
    let selectors: Arc<[Selector]> = selectors.chain(config.rule_files.selectors().cloned()).collect();
    let again = selectors.clone();
    Referenced {
        name: Arc::new(move |name| again.iter().any(|selector| selector.admits_name(name))),
        series: Arc::new(move |labels| selectors.iter().any(|selector| selector.matches(labels))),
    }
}

/// What one table makes: one target, or one for each thing that it names; none for a signal, whose world is the journal:
/// the engine writes it.
fn targets(config: &SourceConfig, outside: &Outside, referenced: &Referenced) -> Vec<Source> {
    vec![match config {
        SourceConfig::Signal(_) => return Vec::new(),
        SourceConfig::Http(c) => Source::Http(Box::new(Http::new(c.clone(), outside.clone()))),
        SourceConfig::Prometheus(c) => {
            Source::Prometheus(Box::new(Prometheus::new(c.clone(), outside.clone()).reading(referenced)))
        }
        SourceConfig::Host(c) => Source::Host(Box::new(Host::new(c.clone()))),
        SourceConfig::Command(c) => Source::Command(Box::new(Command::new(c.clone(), outside.clone()))),
        SourceConfig::Log(c) => Source::Log(Box::new(Log::new(c.clone(), outside))),
        SourceConfig::Container(c) => Source::Container(Box::new(Container::new(c.clone(), outside))),
        SourceConfig::Systemd(c) => Source::Systemd(Box::new(Systemd::new(c.clone()))),
        SourceConfig::Tcp(c) => Source::Tcp(Box::new(Tcp::new(c.clone()))),
        SourceConfig::File(c) => return File::all(c).into_iter().map(Box::new).map(Source::File).collect(),
    }]
}

fn signal(config: &SourceConfig) -> Option<Arc<Signal>> {
    match config {
        SourceConfig::Signal(config) => Some(Arc::new(Signal::new(config.clone()))),
        _ => None,
    }
}

/// Who reads the running version; nobody where a source tells it.
fn version(written: &version::Version, config: &Config, outside: &Outside) -> Option<Version> {
    let how = match written {
        version::Version::Command(argv) => How::Command(argv.clone()),
        version::Version::Http { url, path } => How::Http { url: url.clone(), path: path.clone() },
        version::Version::Link(path) => How::Link(path.clone()),
        version::Version::Told(..) => return None,
    };
    Some(Version::new(how, config.app.interval, config.app.timeout, outside.http.clone()))
}

/// How the engine learns what runs.
fn running(config: &Config) -> engine::facts::Running {
    let told = match &config.app.version {
        Some(version::Version::Told(told, _)) => Some(told.clone()),
        _ => None,
    };
    let is_read = config.app.version.is_some() && told.is_none();
    engine::facts::Running { is_read, told, on_change: config.app.on_change }
}

/// The engine of a configuration, for these sources of it on this host.
pub fn engine_config(config: &Config, host: &str, sources: &[Source]) -> engine::Config {
    let info = |source: &Source| {
        let own = engine::SourceInfo::own(source.reference(), source.names());
        let common = config.sources.iter().map(SourceConfig::common).find(|c| c.reference == own.source);
        common.map_or(own.clone(), |c| engine::SourceInfo {
            external: c.external,
            optional: c.optional,
            manual: c.manual.then_some(c.interval.max(c.timeout)),
            ..own
        })
    };
    let signals: Vec<Arc<Signal>> = config.sources.iter().filter_map(signal).collect();
    let told = |signal: &Arc<Signal>| engine::SourceInfo::own(signal.target().reference.clone(), signal.names());
    let budget = &config.rollback.budget;
    engine::Config {
        app: config.app.name.clone(),
        host: host.to_string(),
        rules: config.rules.clone(),
        groups: config.rule_files.settings(),
        sources: sources.iter().map(info).chain(signals.iter().map(told)).collect(),
        signals,
        channels: config.channels.iter().map(|c| c.subscription().clone()).collect(),
        rollback: settings(config),
        capped: cap(systemd::is_service()),
        steps: config.rollback.steps.iter().map(|s| s.step.name.clone()).collect(),
        obstacles: Vec::new(),
        probes: config.rollback.verify.probes.iter().map(|p| p.value.clone()).collect(),
        budgets: (budget.decide, budget.execute, budget.verify),
        watch: config.watch.clone(),
        running: running(config),
        zone: config.app.zone.clone(),
        look_back: config.store.look_back,
        limits: limits(config),
        on_disk: true,
        evidence: config.state.join("evidence").display().to_string(),
    }
}

/// What of the agent's memory is not for samples: the program, what it reads at once, what waits to be sent.
const NOT_FOR_SAMPLES: u64 = 24 << 20;

fn limits(config: &Config) -> Limits {
    let max_bytes = usize::try_from(config.agent.memory.saturating_sub(NOT_FOR_SAMPLES)).unwrap_or(usize::MAX);
    // Twice the look-back, so that a series that came back in time is known.
    let hot = Limits::default().hot.max(config.store.look_back.times(2));
    Limits { hot, max_series: config.store.max_series as usize, max_bytes, ..Limits::default() }
}

fn archive_options(config: &Config) -> archive::Options {
    archive::Options {
        keep: config.store.keep,
        max_bytes: config.store.disk,
        min_free: config.store.min_free,
        ..archive::Options::default()
    }
}

fn settings(config: &Config) -> Settings {
    let rollback = &config.rollback;
    // What a rule takes to leave its level is what a recovery takes to be believed.
    let longest = |keeps: &mut dyn Iterator<Item = Span>| keeps.max().unwrap_or(Span::ZERO);
    let keeps = &mut config
        .rules
        .iter()
        .filter_map(|r| r.rollback.as_ref().map(|_| r.critical.as_ref().map_or(Span::ZERO, |c| c.keep)));
    let within = rollback.verify.within;
    Settings {
        mode: match rollback.mode.value {
            Written::Observe => Mode::Observe,
            Written::Ask => Mode::Ask,
            Written::Auto => Mode::Auto,
        },
        ask_within: rollback.ask.within,
        ask_otherwise_roll_back: rollback.ask.otherwise == Otherwise::RollBack,
        notice: rollback.notice,
        verify_within: within,
        confirm: longest(keeps).min(Span(within.0 / CONFIRM_SHARE)),
        stable_for: rollback.verify.stable_for,
        ladder: rollback.ladder.iter().map(|r| r.value.clone()).collect(),
    }
}
