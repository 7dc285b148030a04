//! What concerns several tables: names, references, and who can change what is read.

use std::path::Path;

use super::app::App;
use super::version::{Teller, Version};
use super::{Files, SourceConfig};
use crate::base::table::{Value, nearest};
use crate::base::{Node, Place, Problems};
use crate::notify::story::EventKind;
use crate::rollback::config::Mode;
use crate::sys::engine::Address;
use crate::sys::files;
use crate::{notify, rollback, rule, watch};

/// How a name is written.
pub const NAME_HELP: &str = "a-z, 0-9 and hyphens, at most 63, not beginning with a hyphen";

/// The tables that exist.
const KINDS: [&str; 20] = [
    "app",
    "agent",
    "store",
    "web",
    "host",
    "http",
    "prometheus",
    "container",
    "systemd",
    "command",
    "tcp",
    "file",
    "log",
    "signal",
    "remote",
    "rule",
    "rule_groups",
    "channel",
    "watch",
    "rollback",
];

/// Tables of the grammar that this version has not.
const NOT_YET: [&str; 5] = ["apps", "message", "person", "remedy", "rota"];

/// Channels of the grammar that this version has not.
const CHANNELS_NOT_YET: [&str; 6] = ["slack", "pagerduty", "desktop", "webhook", "alertmanager", "command"];

/// A channel with the places that checks point at.
#[derive(Clone, Debug)]
pub struct Channel {
    /// Its name behind the kind.
    pub name: String,
    /// Where the name stands.
    pub place: Place,
    /// Where its fallback stands.
    pub fallback: Place,
    /// Its configuration.
    pub config: notify::Config,
}

/// Everything that was read, for the checks across it.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// All sources, enabled or not.
    pub sources: &'a [SourceConfig],
    /// All rules.
    pub rules: &'a [rule::config::Config],
    /// All channels.
    pub channels: &'a [Channel],
    /// The way back.
    pub rollback: &'a rollback::config::Config,
    /// The time after a deployment.
    pub watch: &'a watch::Settings,
    /// The application.
    pub app: &'a App,
    /// Where the container engine is read; the usual places where nothing is written.
    pub engine: Option<&'a str>,
    /// Whether nobody wrote it.
    pub is_default: bool,
    /// What was written, with the tables that have a mistake of their own: what names those is not wrong for that.
    pub tree: &'a Node,
}

/// Whether `text` is a name: `[a-z0-9][a-z0-9-]{0,62}`.
pub fn is_name(text: &str) -> bool {
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=63).contains(&text.len())
        && text.bytes().next().is_some_and(letter)
        && text.bytes().all(|b| letter(b) || b == b'-')
}

/// Refuses headings that do not exist.
pub fn kinds(tree: &Node, problems: &mut Problems) {
    known(tree, "table", &KINDS, &NOT_YET, problems);
    if let Some(channels) = super::load::child(tree, "channel") {
        known(channels, "kind of channel", &notify::Config::KINDS, &CHANNELS_NOT_YET, problems);
    }
}

fn known(node: &Node, what: &str, known: &[&str], not_yet: &[&str], problems: &mut Problems) {
    let Value::Table(entries) = &node.value else { return };
    for entry in entries.iter().filter(|e| !known.contains(&e.key.as_str()) && e.key != super::rule_files::KEY) {
        let key = &entry.key;
        let problem = problems.error(&entry.place, format!("unknown {what} `{key}`"), "");
        if not_yet.contains(&key.as_str()) {
            problem.help(format!("`{key}` is not in this version yet"));
        } else if let Some(near) = nearest(key, known) {
            problem.help(format!("did you mean `{near}`?"));
        } else {
            problem.help(format!("there are: {}", known.join(", ")));
        }
    }
}

/// Checks that what is named exists, and warns of what will probably not do what was meant.
pub fn across(facts: &Facts<'_>, problems: &mut Problems) {
    references(facts, problems);
    super::rules::check(facts, problems);
    version(facts, problems);
    engine(facts, problems);
    modes(facts, problems);
    facts.rollback.check_programs(problems);
    for source in facts.sources {
        match source {
            SourceConfig::Command(command) => command.check_program(problems),
            SourceConfig::Log(log) => log.check_program(problems),
            _ => {}
        }
    }
    let only_log = |c: &Channel| matches!(c.config, notify::Config::Log(_)) || !c.config.subscription().enabled;
    if !facts.is_default && facts.channels.iter().all(only_log) {
        problems
            .warning(&Place::default(), "no channel but the log", "")
            .help("nobody is told; add a [channel.email.NAME]");
    }
}

/// The names of the tables `[kind.NAME]`.
pub(super) fn names<'t>(tree: &'t Node, kind: &str) -> Vec<&'t str> {
    match super::load::child(tree, kind).map(|n| &n.value) {
        Some(Value::Table(entries)) => entries.iter().map(|e| e.key.as_str()).collect(),
        _ => Vec::new(),
    }
}

/// The references of all sources that are not switched off.
pub(super) fn source_names(facts: &Facts<'_>) -> Vec<String> {
    let off: Vec<String> =
        facts.sources.iter().filter(|s| !s.common().enabled).map(|s| s.reference().to_string()).collect();
    let named =
        SourceConfig::named().flat_map(|kind| names(facts.tree, kind).into_iter().map(move |n| format!("{kind}.{n}")));
    let host = super::load::child(facts.tree, "host").map(|_| "host".to_string());
    named.chain(host).filter(|name| !off.contains(name)).collect()
}

fn references(facts: &Facts<'_>, problems: &mut Problems) {
    let sources = source_names(facts);
    for probe in &facts.rollback.verify.probes {
        let name = probe.value.to_string();
        if !sources.contains(&name) {
            let known: Vec<&str> = sources.iter().map(String::as_str).collect();
            missing("source", &name, &known, &probe.place, problems);
        }
    }
    for rule in facts.rules {
        if let Some(rung) = &rule.rung {
            facts.rollback.check_rung(rung, problems);
        }
    }
    let names = names(facts.tree, "rule");
    for name in facts.rollback.steps.iter().flat_map(|s| &s.only_for) {
        match facts.rules.iter().find(|r| r.rule.name == name.value) {
            None if names.contains(&name.value.as_str()) => {}
            None => missing("rule", &name.value, &names, &name.place, problems),
            Some(rule) if rule.rule.rollback.is_none() => {
                problems
                    .error(
                        &name.place,
                        format!("the rule `{}` never rolls back", name.value),
                        "this step would never run",
                    )
                    .also(&rule.place, "it has no `rollback`")
                    .help("add rollback = \"critical\" to the rule, or take it out here");
            }
            Some(_) => {}
        }
    }
}

/// Says that what is named does not exist, and what was probably meant.
pub(super) fn missing(what: &str, name: &str, known: &[&str], place: &Place, problems: &mut Problems) {
    let problem = problems.error(place, format!("there is no {what} `{name}`"), "");
    match nearest(name, known) {
        Some(near) => problem.help(format!("did you mean `{near}`?")),
        None if known.is_empty() => problem.help(format!("there is no {what} at all")),
        None => problem.help(format!("there are: {}", known.join(", "))),
    };
}

/// A version that a source tells needs that source.
fn version(facts: &Facts<'_>, problems: &mut Problems) {
    let Some(Version::Told(told, Teller::Kind(kind, place))) = &facts.app.version else { return };
    if facts.sources.iter().any(|source| source.common().reference.kind == *kind) || !names(facts.tree, kind).is_empty()
    {
        return;
    }
    problems
        .error(
            place,
            format!("no source tells this version: there is no [{kind}.…]"),
            format!("read from {}", told.selector),
        )
        .help(format!("watch it as well: [{kind}.app]"));
}

/// Whoever may open the engine's own socket is as good as root.
fn engine(facts: &Facts<'_>, problems: &mut Problems) {
    if !facts.sources.iter().any(|source| source.common().enabled && source.asks_engine()) {
        return;
    }
    let address = facts.engine.and_then(|text| Address::parse(text).ok()).unwrap_or_else(Address::found);
    if !address.is_proxy() {
        problems
            .warning(&Place::default(), "the agent asks the container engine itself, not its proxy", "")
            .help(format!(
                "whoever may open {address} is as good as root; the proxy lets it be read and no more: systemctl enable --now backstop-engine-proxy.socket"
            ));
    }
}

fn modes(facts: &Facts<'_>, problems: &mut Problems) {
    let mode = &facts.rollback.mode;
    if mode.value == Mode::Observe {
        return;
    }
    let hears =
        |c: &Channel| c.config.subscription().enabled && c.config.subscription().events.contains(&EventKind::Rollback);
    if !facts.channels.iter().any(hears) && problems.errors() == 0 {
        problems
            .error(&mode.place, "a rollback that nobody hears of", "no channel takes `rollback`")
            .help("add \"rollback\" to the `events` of a channel, or leave `events` out");
    }
    if mode.value == Mode::Auto && facts.app.version.is_none() {
        problems
            .warning(&mode.place, "an automatic rollback cannot be proven", "the running version is not read")
            .help("set `version` in [app], for example { container = \"project/service\" } or { command = […] }");
    }
}

/// Settles the fallbacks of all channels to full names.
pub fn fallbacks(channels: &mut [Channel], problems: &mut Problems) {
    let mut all: Vec<(notify::subscription::Subscription, Place)> =
        channels.iter().map(|c| (c.config.subscription().clone(), c.fallback.clone())).collect();
    notify::subscription::resolve(&mut all, problems);
    for (channel, (subscription, _)) in channels.iter_mut().zip(all) {
        *channel.config.subscription_mut() = subscription;
    }
}

/// Refuses files that somebody else than root and this user could change, or exchange through a folder above.
pub fn files(files: &Files, problems: &mut Problems) {
    for (number, file) in files.list.iter().enumerate() {
        let Some(path) = file.path.as_deref().filter(|p| p.exists()) else { continue };
        let absolute = std::path::absolute(path).unwrap_or_else(|_| Path::new("/").join(path));
        if let Some(why) = files::others_can_write(&absolute) {
            problems
                .error(&Place { file: number, range: 0..0 }, format!("others decide what stands here: {why}"), "")
                .help("what stands here is run; take the right to write it away: chmod o-w");
        }
    }
}
