//! What people write: loaded, checked, all mistakes at once.
//!
//! Enters: [`Options`]. Leaves: a [`Config`] in which nothing needs further checking, or problems that name every
//! mistake; never both a configuration and an error. Each component reads its own table; what concerns several of
//! them is in [`check`].
//!
//! Where no file was written, the embedded default holds. The ready-made rules of [`packs`] are laid under what was
//! written. A file that names no channel gets the log of the default, so that no alert is lost.

pub mod app;
pub mod check;
pub mod diagnose;
pub mod load;
pub mod packs;
pub mod print;
pub mod remote;
pub mod rule_files;
pub mod rules;
pub mod version;

use std::path::{Path, PathBuf};

pub use load::{File, Files, Options};

use crate::base::table::{Entry, Value};
use crate::base::{Node, Place, Problems, SourceRef, Span};
use crate::source::common::{Common, Defaults};
use crate::{notify, rollback, rule, source, watch};
use load::{child, empty, lookup, merge};

/// What holds where nothing was written.
const DEFAULT: &str = include_str!("../../config/default.toml");

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name as people gave it: a path, or that it is the embedded default.
    pub name: String,
    /// SHA-256 over all files, variables and the state folder, in hex.
    pub hash: String,
    /// The files it was read from, packs included.
    pub files: Files,
    /// The state folder.
    pub state: PathBuf,
    /// `[app]`
    pub app: app::App,
    /// `[agent]`
    pub agent: app::Agent,
    /// `[store]`
    pub store: app::Store,
    /// `[web]`
    pub web: app::Web,
    /// The enabled sources.
    pub sources: Vec<SourceConfig>,
    /// The enabled remote servers.
    pub remotes: Vec<remote::Remote>,
    /// The enabled rules.
    pub rules: Vec<rule::Rule>,
    /// `rule_files`: rule groups of Prometheus.
    pub rule_files: rule_files::RuleFiles,
    /// The enabled channels, their fallbacks settled.
    pub channels: Vec<notify::Config>,
    /// `[rollback]`
    pub rollback: rollback::config::Config,
    /// `[watch]`
    pub watch: watch::Settings,
    /// `packs`: the ready-made rules that hold.
    pub packs: packs::Packs,
    tree: Node,
}

/// The configuration of a source of any kind.
#[derive(Clone, Debug)]
pub enum SourceConfig {
    /// `[http.NAME]`
    Http(source::http::Config),
    /// `[prometheus.NAME]`
    Prometheus(source::prometheus::Config),
    /// `[host]`
    Host(source::host::Config),
    /// `[tcp.NAME]`
    Tcp(source::tcp::Config),
    /// `[file.NAME]`
    File(source::file::Config),
    /// `[command.NAME]`
    Command(source::command::Config),
    /// `[signal.NAME]`
    Signal(source::signal::Config),
    /// `[log.NAME]`
    Log(source::log::config::Config),
    /// `[container.NAME]`
    Container(source::container::config::Config),
    /// `[systemd.NAME]`
    Systemd(source::systemd::config::Config),
}

impl SourceConfig {
    /// The kinds that exist, for headings and references.
    pub const KINDS: [&str; 10] =
        ["http", "prometheus", "host", "container", "systemd", "command", "tcp", "file", "log", "signal"];

    /// The kinds whose tables have names: all but `[host]`.
    pub fn named() -> impl Iterator<Item = &'static str> {
        SourceConfig::KINDS.into_iter().filter(|kind| *kind != "host")
    }

    /// What all sources take.
    pub fn common(&self) -> &Common {
        match self {
            SourceConfig::Http(config) => &config.common,
            SourceConfig::Prometheus(config) => &config.common,
            SourceConfig::Host(config) => &config.common,
            SourceConfig::Tcp(config) => &config.common,
            SourceConfig::File(config) => &config.common,
            SourceConfig::Command(config) => &config.common,
            SourceConfig::Signal(config) => &config.common,
            SourceConfig::Log(config) => &config.common,
            SourceConfig::Container(config) => &config.common,
            SourceConfig::Systemd(config) => &config.common,
        }
    }

    /// Whether it asks the container engine.
    pub fn asks_engine(&self) -> bool {
        match self {
            SourceConfig::Container(_) => true,
            SourceConfig::Log(log) => matches!(log.from, source::log::config::From::Containers(_)),
            SourceConfig::Command(command) => command.inside.is_some(),
            _ => false,
        }
    }

    /// Kind and name.
    pub fn reference(&self) -> &SourceRef {
        &self.common().reference
    }

    fn read(kind: &str, name: &str, node: &Node, defaults: &Defaults, problems: &mut Problems) -> Option<SourceConfig> {
        match kind {
            "http" => source::http::Config::read(name, node, defaults, problems).map(SourceConfig::Http),
            "prometheus" => {
                source::prometheus::Config::read(name, node, defaults, problems).map(SourceConfig::Prometheus)
            }
            "host" => source::host::Config::read(name, node, defaults, problems).map(SourceConfig::Host),
            "tcp" => source::tcp::Config::read(name, node, defaults, problems).map(SourceConfig::Tcp),
            "file" => source::file::Config::read(name, node, defaults, problems).map(SourceConfig::File),
            "command" => source::command::Config::read(name, node, defaults, problems).map(SourceConfig::Command),
            "log" => source::log::config::Config::read(name, node, defaults, problems).map(SourceConfig::Log),
            "container" => {
                source::container::config::Config::read(name, node, defaults, problems).map(SourceConfig::Container)
            }
            "systemd" => {
                source::systemd::config::Config::read(name, node, defaults, problems).map(SourceConfig::Systemd)
            }
            "signal" => source::signal::Config::read(name, node, defaults, problems).map(SourceConfig::Signal),
            _ => None,
        }
    }
}

/// What loading gave: a configuration, or at least one error; the files that the problems point into.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// None when there is an error.
    pub config: Option<Config>,
    /// Errors and warnings.
    pub problems: Problems,
    /// What was read.
    pub files: Files,
}

impl Loaded {
    /// All problems as people read them; empty where there are none.
    pub fn render(&self, coloured: bool) -> String {
        diagnose::render(&self.problems, &self.files, coloured)
    }

    /// The last line: what a good configuration holds, or how many problems there are and what follows. `running`
    /// is the age of the configuration that a running agent keeps.
    pub fn conclusion(&self, running: Option<Span>) -> String {
        let counts = diagnose::counts(&self.problems, &self.files);
        match (&self.config, running) {
            (Some(config), _) => config.summary(),
            (None, None) => format!("{counts}. Nothing was started."),
            (None, Some(age)) => {
                format!(
                    "{counts}. Nothing was started; a running agent keeps its configuration of {} ago.",
                    age.human()
                )
            }
        }
    }
}

impl Config {
    /// The control socket: as configured, else `/run/backstop/control.sock` for the system's state folder, else
    /// below the state folder.
    pub fn socket(&self) -> PathBuf {
        match &self.agent.socket {
            Some(path) => path.clone(),
            None if self.state == Path::new(SYSTEM_STATE) => "/run/backstop/control.sock".into(),
            None => self.state.join("control.sock"),
        }
    }

    /// `backstop.toml: good. 7 targets, 12 rules (5 can roll back), 3 channels, mode ask, 5 steps`.
    pub fn summary(&self) -> String {
        let count = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
        let n_signals = self.sources.iter().filter(|s| matches!(s, SourceConfig::Signal(_))).count();
        format!(
            "{}: good. {}{}{}, {} ({} can roll back), {}, mode {}, {}",
            self.name,
            count(self.sources.len() - n_signals, "target"),
            if n_signals == 0 { String::new() } else { format!(", {}", count(n_signals, "signal")) },
            if self.remotes.is_empty() { String::new() } else { format!(", {}", count(self.remotes.len(), "remote")) },
            count(self.rules.len(), "rule"),
            self.rules.iter().filter(|r| r.rollback.is_some()).count(),
            self.rule_files.summary().map(|text| format!("{text}, ")).unwrap_or_default()
                + &count(self.channels.len(), "channel"),
            print::mode(self.rollback.mode.value),
            count(self.rollback.steps.len(), "step"),
        )
    }

    /// The whole configuration as understood; each value with the line it came from.
    pub fn print(&self) -> String {
        print::print(self, &self.tree)
    }
}

/// The state folder of an agent that is a service of the system.
const SYSTEM_STATE: &str = "/var/lib/backstop";

/// Loads the configuration that `options` lead to.
pub fn load(options: &Options) -> Loaded {
    load_from(load::find(options).as_deref(), None, options)
}

/// Loads `text`, which includes nothing, as if it stood at `path`: what is to be written there is checked before.
pub fn load_text(path: &Path, text: &str, options: &Options) -> Loaded {
    load_from(Some(path), Some(text), options)
}

fn load_from(path: Option<&Path>, text: Option<&str>, options: &Options) -> Loaded {
    let mut problems = Problems::default();
    let mut files = Files::default();
    let mut tree = gather(path, text, options, &mut files, &mut problems);
    // A file or a part of one that cannot be read: what it does not have is not missing.
    let is_whole = problems.errors() == 0;
    let state = state_folder(&tree, path, options);
    let vars = load::Vars::take(&mut tree, &options.host, &state.to_string_lossy(), &options.sets, &mut problems);
    let mut echoes = vars.replace(&mut tree, &mut problems);
    echoes.extend(files.broken.iter().cloned());
    let said = problems.list.len();
    let (tree, packs) = packs::lay(tree, &mut files, &mut problems);
    let rule_files = rule_files::read(&tree, &mut files, &mut problems);
    let mut reader = Reader { files: &files, problems: &mut problems, is_whole };
    let config = reader.read(tree, rule_files, state, path, options);
    let mut at = 0;
    problems.list.retain(|problem| {
        at += 1;
        at <= said || !is_echo(&problem.place, &echoes)
    });
    problems.list.sort_by_key(|p| (p.severity, is_whole_file(&p.place), p.place.file, p.place.range.start));
    let config = config.filter(|_| problems.errors() == 0);
    Loaded { config: config.map(|c| Config { files: files.clone(), packs, ..c }), problems, files }
}

/// The rules of these packs and nothing else, as [`load`] reads them, whatever they need.
pub fn of_packs(names: &[&str], options: &Options) -> Loaded {
    let (mut problems, mut files) = (Problems::default(), Files::default());
    let tree = packs::alone(names, &mut files, &mut problems);
    let mut reader = Reader { files: &files, problems: &mut problems, is_whole: true };
    let config = reader.read(tree, rule_files::RuleFiles::default(), PathBuf::new(), None, options);
    let config = config.filter(|_| problems.errors() == 0);
    Loaded { config: config.map(|c| Config { files: files.clone(), ..c }), problems, files }
}

fn is_whole_file(place: &Place) -> bool {
    place.range.is_empty() && place.range.start == 0
}

/// Whether `place` lies in a table whose syntax is broken, or in a string that could not be completed.
fn is_echo(place: &Place, broken: &[Place]) -> bool {
    !is_whole_file(place) && broken.iter().any(|b| b.file == place.file && b.range.contains(&place.range.start))
}

/// What the user wrote, or the default; with the log of the default where no channel was written.
fn gather(
    path: Option<&Path>,
    text: Option<&str>,
    options: &Options,
    files: &mut Files,
    problems: &mut Problems,
) -> Node {
    let mut own = match (path, text) {
        (Some(path), Some(text)) => embedded((&path.to_string_lossy(), text), files, problems),
        (Some(path), None) => load::read_file(path, files, problems),
        (None, _) => embedded((load::EMBEDDED, DEFAULT), files, problems),
    };
    let mut tree = empty();
    if path.is_some() && child(&own, "channel").is_none() {
        let default = embedded((load::EMBEDDED, DEFAULT), files, problems);
        merge(&mut tree, only(default, "channel"));
    }
    // The terminal hears alerts by default only where there is one.
    let terminal = if path.is_none() { &mut own } else { &mut tree };
    if !options.stderr_is_terminal {
        remove(terminal, &["channel", "log", "terminal"]);
    }
    merge(&mut tree, own);
    tree
}

fn embedded((name, text): (&str, &str), files: &mut Files, problems: &mut Problems) -> Node {
    let number = files.add(name, None, text.into());
    load::parse(number, files, problems)
}

/// A tree with nothing but the key `key` of `node`.
fn only(mut node: Node, key: &str) -> Node {
    if let Value::Table(entries) = &mut node.value {
        entries.retain(|e| e.key == key);
    }
    node
}

fn remove(node: &mut Node, path: &[&str]) {
    let (Value::Table(entries), [key, rest @ ..]) = (&mut node.value, path) else { return };
    if rest.is_empty() {
        entries.retain(|e| e.key != *key);
    } else if let Some(entry) = entries.iter_mut().find(|e| e.key == *key) {
        remove(&mut entry.node, rest);
    }
}

/// `--state`, `[agent] state`, systemd's, the system's for a configuration in `/etc`, else the user's.
fn state_folder(tree: &Node, path: Option<&Path>, options: &Options) -> PathBuf {
    if let Some(state) = &options.state {
        return std::path::absolute(state).unwrap_or_else(|_| state.clone());
    }
    // The folder may itself hold variables; its mistakes are reported when the whole tree is replaced.
    let mut scratch = (tree.clone(), Problems::default());
    let vars = load::Vars::take(&mut scratch.0, &options.host, "", &options.sets, &mut scratch.1);
    if let Some(mut node) = lookup(tree, "agent", "state").cloned() {
        vars.replace(&mut node, &mut scratch.1);
        if let Value::Text(text) = node.value {
            return text.into();
        }
    }
    let env = |name: &str| (options.env)(name).filter(|v| v.starts_with('/'));
    if let Some(folder) = env("STATE_DIRECTORY") {
        return folder.into();
    }
    if path.is_some_and(|p| p.starts_with("/etc")) {
        return SYSTEM_STATE.into();
    }
    match (env("XDG_STATE_HOME"), env("HOME")) {
        (Some(folder), _) => Path::new(&folder).join("backstop"),
        (None, Some(home)) => Path::new(&home).join(".local/state/backstop"),
        (None, None) => SYSTEM_STATE.into(),
    }
}

/// Reads the tree's tables, each by its component.
struct Reader<'a> {
    files: &'a Files,
    problems: &'a mut Problems,
    /// No file has a syntax error, so that what is missing really is.
    is_whole: bool,
}

/// What stands in a table of named tables: name, its place, the table.
type Named<'t> = Vec<(&'t str, &'t Place, &'t Node)>;

impl Reader<'_> {
    fn read(
        &mut self,
        tree: Node,
        mut rule_files: rule_files::RuleFiles,
        state: PathBuf,
        path: Option<&Path>,
        options: &Options,
    ) -> Option<Config> {
        check::kinds(&tree, self.problems);
        let stem = path.and_then(Path::file_stem).map_or("host".into(), |s| s.to_string_lossy().into_owned());
        let stem = if check::is_name(&stem) { stem } else { "app".into() };
        let app = app::App::read(child(&tree, "app"), &stem, self.problems);
        let agent = app::Agent::read(child(&tree, "agent"), self.problems);
        let store = app::Store::read(child(&tree, "store"), self.problems);
        let web = app::Web::read(child(&tree, "web"), self.problems);
        let sources = self.sources(&tree, &app);
        let mut rules = self.rules(&tree, &app);
        let remotes = self.remotes(&tree, &mut rules);
        let channels = self.channels(&tree);
        let rollback = child(&tree, "rollback")
            .map_or_else(Default::default, |n| rollback::config::Config::read(n, self.problems));
        let watch =
            child(&tree, "watch").map_or_else(watch::config::default, |n| watch::config::read(n, self.problems));
        let facts = check::Facts {
            sources: &sources,
            rules: &rules,
            channels: &channels,
            rollback: &rollback,
            watch: &watch,
            app: &app,
            engine: agent.engine.as_deref(),
            is_default: path.is_none(),
            tree: &tree,
        };
        rule_files.name_instance(&app.labels);
        if self.is_whole {
            check::across(&facts, self.problems);
            rule_files.check(&rules, self.files, self.problems);
        }
        check::files(self.files, self.problems);
        let mut channels = channels;
        // A channel with a mistake is missing here; what names it as its fallback is not wrong for that.
        if self.problems.errors() == 0 {
            check::fallbacks(&mut channels, self.problems);
        }
        Some(Config {
            name: self.files.name().to_string(),
            hash: hash(self.files, options, &state),
            files: Files::default(),
            state,
            app,
            agent,
            store,
            web,
            sources: sources.into_iter().filter(|s| s.common().enabled).collect(),
            remotes: remotes.into_iter().filter(|r| r.enabled).collect(),
            rules: rules.into_iter().filter(|r| r.enabled).map(|r| r.rule).collect(),
            rule_files,
            channels: channels.into_iter().map(|c| c.config).filter(|c| c.subscription().enabled).collect(),
            rollback,
            watch,
            packs: packs::Packs::default(),
            tree,
        })
    }

    fn sources(&mut self, tree: &Node, app: &app::App) -> Vec<SourceConfig> {
        let defaults = Defaults {
            interval: app.interval,
            timeout: app.timeout.min(app.interval),
            app: app.name.clone(),
            labels: app.labels.clone(),
            zone: app.zone.clone(),
        };
        let mut sources = Vec::new();
        for kind in SourceConfig::named() {
            let named = self.named(tree, kind);
            if let (Some((_, place, _)), "signal") = (named.get(source::signal::MAX_SIGNALS), kind) {
                let title = format!("more than {} signals", source::signal::MAX_SIGNALS);
                self.problems.error(place, title, "one too many");
            }
            for (name, _, node) in named {
                sources.extend(SourceConfig::read(kind, name, node, &defaults, self.problems));
            }
        }
        if let Some(node) = child(tree, "host") {
            sources.extend(SourceConfig::read("host", "host", node, &defaults, self.problems));
        }
        sources
    }

    /// All rules; their alerts carry the application's labels, too.
    fn rules(&mut self, tree: &Node, app: &app::App) -> Vec<rule::config::Config> {
        let mut rules = Vec::new();
        for (name, _, node) in self.named(tree, "rule") {
            if let Some(mut config) = rule::config::Config::read(name, node, self.problems) {
                config.rule.labels = app.labels.merged(&config.rule.labels);
                rules.push(config);
            }
        }
        rules
    }

    /// The remote servers, each rule's timeout settled.
    fn remotes(&mut self, tree: &Node, rules: &mut [rule::config::Config]) -> Vec<remote::Remote> {
        let named = self.named(tree, "remote");
        let read = |(name, place, node): &(&str, &Place, &Node)| remote::Remote::read(name, place, node, self.problems);
        let remotes: Vec<remote::Remote> = named.iter().filter_map(read).collect();
        if self.is_whole {
            let written: Vec<&str> = named.iter().map(|(name, ..)| *name).collect();
            remote::settle(rules, &remotes, &written, self.problems);
        }
        remotes
    }

    fn channels(&mut self, tree: &Node) -> Vec<check::Channel> {
        let Some(kinds) = child(tree, "channel") else { return Vec::new() };
        let mut channels: Vec<check::Channel> = Vec::new();
        for kind in notify::Config::KINDS {
            for (name, place, node) in self.named(kinds, kind) {
                if let Some(other) = channels.iter().find(|c| c.name == name) {
                    let is_later = (place.file, place.range.start) > (other.place.file, other.place.range.start);
                    let (first, second) = if is_later { (&other.place, place) } else { (place, &other.place) };
                    self.problems
                        .error(second, format!("two channels are called `{name}`"), "again here")
                        .also(first, "first here")
                        .help("the names of channels are unique over all kinds");
                }
                if let Some(config) = notify::Config::read(kind, name, node, self.problems) {
                    let fallback = child(node, "fallback").map_or(place, |n| &n.place).clone();
                    channels.push(check::Channel { name: name.into(), place: place.clone(), fallback, config });
                }
            }
        }
        channels
    }

    /// The tables `[kind.NAME]`, those with a usable name.
    fn named<'t>(&mut self, tree: &'t Node, kind: &str) -> Named<'t> {
        let Some(node) = child(tree, kind) else { return Vec::new() };
        let Value::Table(entries) = &node.value else {
            self.problems.error(
                &node.place,
                format!("`{kind}` is a table of tables"),
                format!("this is {}", node.kind()),
            );
            return Vec::new();
        };
        entries.iter().filter(|e| self.is_named(e, kind)).map(|e| (e.key.as_str(), &e.place, &e.node)).collect()
    }

    fn is_named(&mut self, entry: &Entry, kind: &str) -> bool {
        if !matches!(entry.node.value, Value::Table(_)) {
            self.problems
                .error(&entry.place, format!("`{}` stands where a name belongs", entry.key), "this is no table")
                .help(format!("give it a name: [{kind}.NAME]"));
            return false;
        }
        if !check::is_name(&entry.key) {
            self.problems.error(&entry.place, format!("`{}` is no name", entry.key), "a name").help(check::NAME_HELP);
            return false;
        }
        true
    }
}

/// SHA-256 over everything that decides what the configuration is, each part with its length before it.
fn hash(files: &Files, options: &Options, state: &Path) -> String {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let mut eat = |text: &str| {
        context.update(&(text.len() as u64).to_le_bytes());
        context.update(text.as_bytes());
    };
    files.list.iter().for_each(|f| eat(&f.text));
    for (name, value) in &options.sets {
        eat(name);
        eat(value);
    }
    eat(&options.host);
    eat(&state.to_string_lossy());
    context.finish().as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

/// The shortest interval of the `sources` that look; `default` where there are none.
fn shortest_interval(sources: &[SourceConfig], default: Span) -> Span {
    // A signal is told, and judged at once.
    let looks = sources.iter().filter(|s| !matches!(s, SourceConfig::Signal(_)));
    looks.map(|s| s.common().interval).min().unwrap_or(default)
}
