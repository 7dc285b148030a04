//! `[app]`, `[agent]`, `[store]`, `[web]`: the tables that belong to no single component.
//!
//! Enters: a table. Leaves: a checked struct with its defaults filled in; what is wrong is in the problems and reads
//! as its default.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::version::Version;
use crate::base::table::{Placed, Size, nearest};
use crate::base::{Labels, Node, Problems, Span, Table};
use crate::engine::facts::OnChange;
use jiff::tz::TimeZone;

/// `[app]`.
#[derive(Clone, Debug)]
pub struct App {
    /// The label `app`.
    pub name: String,
    /// The zone of texts and times of day.
    pub zone: TimeZone,
    /// How often sources look that say nothing.
    pub interval: Span,
    /// How long one look may take, likewise.
    pub timeout: Span,
    /// Added to every series and alert.
    pub labels: Labels,
    /// How the running version is read.
    pub version: Option<Version>,
    /// What a change of it does that nobody announced.
    pub on_change: OnChange,
}

/// `[agent]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// The control socket; below the state folder or `/run/backstop` where unset.
    pub socket: Option<PathBuf>,
    /// The least severe lines of the agent's own log.
    pub log: String,
    /// Bytes it may take in memory, about: past it the loudest source gives series up.
    pub memory: u64,
    /// The address of the container engine; the usual places where unset.
    pub engine: Option<String>,
}

/// `[store]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// How long samples are kept on disk.
    pub keep: Span,
    /// Bytes of samples on disk; past it the oldest go.
    pub disk: u64,
    /// Free bytes that samples leave on the disk; below it none are written.
    pub min_free: u64,
    /// How far back an instant selector looks.
    pub look_back: Span,
    /// The most series of all sources together.
    pub max_series: u32,
}

/// `[web]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Web {
    /// Where it listens.
    pub listen: SocketAddr,
}

impl App {
    /// What holds without the table, for the application `name`.
    pub fn new(name: &str) -> App {
        App {
            name: name.into(),
            zone: TimeZone::system(),
            interval: Span::secs(15),
            timeout: Span::secs(5),
            labels: Labels::empty(),
            version: None,
            on_change: OnChange::default(),
        }
    }

    /// Reads `[app]`; `stem` names it where it does not.
    pub fn read(node: Option<&Node>, stem: &str, problems: &mut Problems) -> App {
        let mut app = App::new(stem);
        let Some(mut table) = node.and_then(|n| Table::open(n, "[app]", problems)) else { return app };
        let p = problems;
        if let Some(name) = table.get::<Placed<String>>("name", p) {
            if !super::check::is_name(&name.value) {
                p.error(&name.place, format!("`{}` is no name", name.value), "a name").help(super::check::NAME_HELP);
            }
            app.name = name.value;
        }
        if let Some(zone) = table.get::<Placed<String>>("zone", p) {
            match TimeZone::get(&zone.value) {
                Ok(found) => app.zone = found,
                Err(_) => {
                    p.error(&zone.place, format!("there is no time zone `{}`", zone.value), "")
                        .help("for example: zone = \"Europe/Berlin\"");
                }
            }
        }
        app.interval = positive(&mut table, "interval", app.interval, p);
        app.timeout = positive(&mut table, "timeout", app.timeout, p);
        app.labels = table.labels(p);
        app.version = table.node("version").and_then(|n| Version::read(n, p));
        app.on_change = read_on_change(&mut table, p);
        table.finish(p);
        app
    }
}

/// What an unannounced change of the version does.
fn read_on_change(table: &mut Table<'_>, problems: &mut Problems) -> OnChange {
    const WORDS: [(&str, OnChange); 2] = [("report", OnChange::Report), ("watch", OnChange::Watch)];
    let Some(word) = table.get::<Placed<String>>("on_change", problems) else { return OnChange::default() };
    let Some((_, chosen)) = WORDS.iter().find(|(known, _)| *known == word.value) else {
        problems.error(&word.place, format!("`on_change` is no `{}`", word.value), "").help("\"report\" or \"watch\"");
        return OnChange::default();
    };
    if table.key_place("version").is_none() && *chosen == OnChange::Watch {
        problems
            .error(&word.place, "no change of the version can be seen", "nothing says how it is read")
            .help("set `version` as well, for example version = { command = [\"…\"] }");
    }
    *chosen
}

impl Agent {
    /// Reads `[agent]`. Its `state` is read before all else, because `${state}` stands for it.
    pub fn read(node: Option<&Node>, problems: &mut Problems) -> Agent {
        let mut agent = Agent { socket: None, log: "info".into(), memory: 64 << 20, engine: None };
        let Some(mut table) = node.and_then(|n| Table::open(n, "[agent]", problems)) else { return agent };
        for key in ["state", "socket"] {
            let path: Option<Placed<PathBuf>> = table.get(key, problems);
            let Some(path) = path else { continue };
            if !path.value.is_absolute() {
                problems.error(&path.place, "a relative path", "relative to where it happens to be started");
            }
            if key == "socket" {
                agent.socket = Some(path.value);
            }
        }
        if let Some(log) = table.get::<Placed<String>>("log", problems) {
            const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
            if !LEVELS.contains(&log.value.as_str()) {
                let near = nearest(&log.value, &LEVELS).map(|n| format!("did you mean \"{n}\"?"));
                problems
                    .error(&log.place, format!("there is no log level `{}`", log.value), "")
                    .help(near.unwrap_or_else(|| LEVELS.join(", ")));
            }
            agent.log = log.value;
        }
        agent.memory = at_least(&mut table, "memory", LEAST_MEMORY, agent.memory, problems);
        agent.engine = read_engine(&mut table, problems);
        not_yet(&mut table, &["heartbeat"], problems);
        table.finish(problems);
        agent
    }
}

/// The address of the container engine, where one is written.
fn read_engine(table: &mut Table<'_>, problems: &mut Problems) -> Option<String> {
    let engine: Placed<String> = table.get("engine", problems)?;
    match crate::sys::engine::Address::parse(&engine.value) {
        Ok(_) => Some(engine.value),
        Err(why) => {
            problems
                .error(&engine.place, format!("`{}` is no address of a container engine", engine.value), why)
                .help("for example: engine = \"unix:///run/backstop-engine/engine.sock\"");
            None
        }
    }
}

/// Less than this the agent cannot hold even a small host's samples.
const LEAST_MEMORY: u64 = 32 << 20;

impl Store {
    /// Reads `[store]`.
    pub fn read(node: Option<&Node>, problems: &mut Problems) -> Store {
        let mut store = Store {
            keep: Span::hours(24 * 30),
            disk: 1 << 30,
            min_free: 256 << 20,
            look_back: Span::mins(5),
            max_series: 20_000,
        };
        let Some(mut table) = node.and_then(|n| Table::open(n, "[store]", problems)) else { return store };
        store.keep = positive(&mut table, "keep", store.keep, problems);
        store.disk = at_least(&mut table, "disk", 32 << 20, store.disk, problems);
        store.min_free = at_least(&mut table, "min_free", 0, store.min_free, problems);
        store.look_back = positive(&mut table, "look_back", store.look_back, problems);
        let most = table.get::<Placed<u32>>("max_series", problems);
        if let Some(most) = most {
            if !(100..=2_000_000).contains(&most.value) {
                problems.error(&most.place, "a store holds 100 to 2000000 series", "out of range");
            }
            store.max_series = most.value;
        }
        table.finish(problems);
        store
    }
}

impl Web {
    /// Reads `[web]`.
    pub fn read(node: Option<&Node>, problems: &mut Problems) -> Web {
        let mut web = Web { listen: SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 9477) };
        let Some(mut table) = node.and_then(|n| Table::open(n, "[web]", problems)) else { return web };
        if let Some(listen) = table.get::<Placed<String>>("listen", problems) {
            match listen.value.parse::<SocketAddr>() {
                Ok(address) if address.ip().is_loopback() => web.listen = address,
                Ok(_) => {
                    problems
                        .error(&listen.place, "listening beyond this host needs a token", "anybody could ask")
                        .help("tokens are not in this version: listen on 127.0.0.1 and put a proxy before it");
                }
                Err(_) => {
                    problems
                        .error(&listen.place, format!("`{}` is no address to listen on", listen.value), "")
                        .help("for example: listen = \"127.0.0.1:9477\"");
                }
            }
        }
        not_yet(&mut table, &["url", "token", "tls"], problems);
        table.finish(problems);
        web
    }
}

/// Refuses keys that the grammar has and this version has not.
fn not_yet(table: &mut Table<'_>, keys: &[&str], problems: &mut Problems) {
    for key in keys {
        if let Some(place) = table.key_place(key) {
            problems
                .error(place, format!("unknown key `{key}`"), "would have no effect")
                .help(format!("`{key}` is not in this version"));
            table.node(key);
        }
    }
}

fn positive(table: &mut Table<'_>, key: &str, default: Span, problems: &mut Problems) -> Span {
    let Some(span) = table.get::<Placed<Span>>(key, problems) else { return default };
    if span.value <= Span::ZERO {
        problems.error(&span.place, format!("`{key}` is longer than nothing"), "too short");
        return default;
    }
    span.value
}

fn at_least(table: &mut Table<'_>, key: &str, least: u64, default: u64, problems: &mut Problems) -> u64 {
    let Some(size) = table.get::<Placed<Size>>(key, problems) else { return default };
    if size.value.0 < least {
        let least = size_text(least);
        problems.error(&size.place, format!("`{key}` is at least {least}"), "too small");
        return default;
    }
    size.value.0
}

/// A size as the configuration takes it, in the largest unit that it is a whole number of.
pub fn size_text(bytes: u64) -> String {
    let units = [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.iter().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes}B"),
    }
}
