//! `rule_files` and `[rule_groups]`: rule files of Prometheus, taken as they are.
//!
//! Enters: the patterns, each seen from the file that it stands in. Leaves: groups with their intervals settled, ready for the
//! engine; every mistake in every file at once, each with its line there. A pattern that matches nothing is a warning: a folder
//! of rules may be empty. What is read is bounded, in files, bytes and rules.
//!
//! `[rule_groups]`: `interval` (`"1m"`) of groups that state none, `critical` and `ignore` (label selections: which alerts are
//! critical, and which are not told at all), `enabled`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::load::{Files, child};
use crate::base::table::Placed;
use crate::base::{Labels, Node, Place, Problems, Span, Table};
use crate::engine::groups::{GroupInfo, Levels, Settings};
use crate::engine::strata;
use crate::promql;
use crate::rule;
use crate::rule::prometheus::{self, External, INTERVAL, Kind, RuleConfig, yaml};
use crate::store::Selector;
use crate::sys::{glob, read};

/// The key at the top of a configuration.
pub const KEY: &str = "rule_files";

/// The most files that all patterns mean together.
const MAX_FILES: usize = 200;

/// The most rules in them.
const MAX_RULES: usize = 10_000;

/// How often a group may be evaluated.
const INTERVALS: [Span; 2] = [Span::secs(1), Span::hours(24)];

/// How far into the past an expression may be moved.
const MAX_OFFSET: Span = Span::hours(24 * 30);

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct RuleFiles {
    /// The groups of all files, in order.
    groups: Vec<GroupInfo>,
    table: Written,
    instance: BTreeMap<String, String>,
    /// Names of the files, each with how many groups and rules it holds.
    files: Vec<(String, usize, usize)>,
    /// Whether the key stands there.
    is_written: bool,
}

/// `[rule_groups]`
#[derive(Clone, Debug)]
struct Written {
    enabled: bool,
    interval: Span,
    levels: Levels,
}

impl Default for Written {
    fn default() -> Written {
        Written { enabled: true, interval: INTERVAL, levels: Levels::default() }
    }
}

/// Reads the files that `tree` names.
pub(super) fn read(tree: &Node, files: &mut Files, problems: &mut Problems) -> RuleFiles {
    let table = child(tree, "rule_groups").map_or_else(Written::default, |node| Written::read(node, problems));
    let mut rule_files = RuleFiles { table, ..RuleFiles::default() };
    let Some(node) = child(tree, KEY) else { return rule_files };
    rule_files.is_written = true;
    let patterns: Vec<Placed<String>> = crate::base::table::Read::read(node, problems).unwrap_or_default();
    let mut known: Vec<PathBuf> = Vec::new();
    for pattern in patterns {
        let found = glob::paths(&folder(files, &pattern.place).join(&pattern.value));
        if found.is_empty() {
            problems
                .warning(&pattern.place, format!("no file matches `{}`", pattern.value), "has no effect")
                .help("patterns are seen from the file that they stand in; * ? and […] match within one name");
        }
        for path in found {
            if known.len() >= MAX_FILES {
                problems.error(&pattern.place, format!("more than {MAX_FILES} rule files"), "one too many");
                return rule_files;
            }
            if !known.contains(&path) {
                rule_files.add(&path, &pattern.place, files, problems);
                known.push(path);
            }
        }
    }
    rule_files
}

impl RuleFiles {
    fn add(&mut self, path: &Path, from: &Place, files: &mut Files, problems: &mut Problems) {
        let Some(text) = text(path, from, problems) else { return };
        let name = path.display().to_string();
        let main = files.list.first().map(|first| folder_of(&first.name)).unwrap_or_default();
        let short = path.strip_prefix(&main).unwrap_or(path).display().to_string();
        let number = files.add(&name, Some(path.to_path_buf()), text.clone());
        let Some(file) = prometheus::read(&text, number, problems) else { return };
        let n_rules = file.groups.iter().map(|group| group.rules.len()).sum();
        self.files.push((name, file.groups.len(), n_rules));
        if self.files.iter().map(|(.., rules)| rules).sum::<usize>() > MAX_RULES {
            let whole = Place { file: number, range: 0..0 };
            problems.error(&whole, format!("more than {MAX_RULES} rules in rule files"), "too many with this file");
            return;
        }
        for mut group in file.groups {
            let interval = group.interval.filter(|interval| *interval > Span::ZERO).unwrap_or(self.table.interval);
            group.interval = Some(interval.clamp(INTERVALS[0], INTERVALS[1]));
            if group.query_offset > MAX_OFFSET
                && let Some(rule) = group.rules.first()
            {
                let title = format!("the group {}: `query_offset` is at most {MAX_OFFSET}", group.name);
                problems.error(&rule.place, title, "the group of this rule");
            }
            self.groups.push(GroupInfo { file: short.clone(), group });
        }
    }

    /// The labels of the application: what rule files call external labels.
    pub(super) fn name_instance(&mut self, labels: &Labels) {
        self.instance = labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    }

    /// What concerns the rules of both kinds: names that are there twice, and circles.
    pub(super) fn check(&self, rules: &[rule::config::Config], files: &Files, problems: &mut Problems) {
        let groups = if self.table.enabled { self.groups.as_slice() } else { &[] };
        for rule in groups.iter().flat_map(|info| &info.group.rules) {
            self.check_name(rule, rules, problems);
        }
        let on: Vec<&rule::config::Config> = rules.iter().filter(|config| config.enabled).collect();
        let nodes = strata::nodes(on.iter().map(|config| &config.rule), groups);
        let Err(circle) = strata::order(&nodes) else { return };
        let place = on.iter().find(|config| circle.0.contains(&config.rule.name)).map(|config| config.place.clone());
        // Where a pack holds the rule, the other end of the circle was written by somebody.
        let own = on.iter().filter(|c| circle.0.contains(&c.rule.name));
        let own = own.map(|c| c.place.clone()).find(|p| files.list.get(p.file).is_some_and(|f| f.path.is_some()));
        problems
            .error(&own.or(place).unwrap_or_default(), format!("these rules judge each other: {circle}"), "one of them")
            .help("a rule cannot wait for its own result; name the rules that it means (alertname=\"…\"), or leave this one out (alertname!=\"…\")");
    }

    fn check_name(&self, rule: &RuleConfig, rules: &[rule::config::Config], problems: &mut Problems) {
        match rule.kind {
            Kind::Alert { .. } => {
                let Some(other) = rules.iter().find(|other| other.rule.name == rule.name) else { return };
                problems
                    .error(&rule.place, format!("two rules are called `{}`", rule.name), "an alert of a rule file")
                    .also(&other.place, "a rule of its own")
                    .help("alerts stand under their names; rename one of them");
            }
            Kind::Record if promql::is_of_the_engine(&rule.name) => {
                problems
                    .error(&rule.place, format!("`{}` cannot be recorded", rule.name), "backstop writes it itself")
                    .help("series that begin with ALERTS or backstop_ are its own; choose another name");
            }
            Kind::Record => {}
        }
    }

    /// What the engine runs; nothing where it is switched off.
    pub fn settings(&self) -> Settings {
        let external = External { labels: self.instance.clone(), url: String::new() };
        let groups = if self.table.enabled { self.groups.clone() } else { Vec::new() };
        Settings { groups, levels: self.table.levels.clone(), external, step: self.table.interval }
    }

    /// The series that some rule reads.
    pub fn selectors(&self) -> impl Iterator<Item = &Selector> {
        let groups = self.groups.iter().filter(|_| self.table.enabled);
        let rules = groups.flat_map(|info| &info.group.rules);
        rules.flat_map(|rule| rule.plan.selectors().iter().map(|used| &used.selector))
    }

    /// `13 rules in 2 groups`; nothing where there are no rule files.
    pub fn summary(&self) -> Option<String> {
        let rules: usize = self.groups.iter().map(|info| info.group.rules.len()).sum();
        let off = if self.table.enabled { "" } else { " (switched off)" };
        self.is_written
            .then(|| format!("{} in {} of rule files{off}", plural(rules, "rule"), plural(self.groups.len(), "group")))
    }

    /// The files, a comment each, for `check --print`.
    pub(super) fn lines(&self) -> String {
        let line = |(name, groups, rules): &(String, usize, usize)| {
            format!("# {name}: {}, {}\n", plural(*groups, "group"), plural(*rules, "rule"))
        };
        self.files.iter().map(line).collect()
    }

    /// What holds in `[rule_groups]` where it says nothing; nothing without rule files.
    pub(super) fn defaults(&self) -> Option<Vec<(&'static str, String)>> {
        use crate::engine::groups::{CRITICAL, IGNORE};
        self.is_written.then(|| {
            vec![
                ("enabled", "true".into()),
                ("interval", format!("{:?}", INTERVAL.to_string())),
                ("critical", format!("['{CRITICAL}']")),
                ("ignore", format!("['{IGNORE}']")),
            ]
        })
    }
}

fn plural(n: usize, word: &str) -> String {
    format!("{n} {word}{}", if n == 1 { "" } else { "s" })
}

impl Written {
    fn read(node: &Node, problems: &mut Problems) -> Written {
        let mut written = Written::default();
        let Some(mut table) = Table::open(node, "[rule_groups]", problems) else { return written };
        written.enabled = table.or("enabled", true, problems);
        if let Some(interval) = table.get::<Placed<Span>>("interval", problems) {
            written.interval = interval.value;
            if !(INTERVALS[0]..=INTERVALS[1]).contains(&interval.value) {
                let title = format!("an interval is {} to {}", INTERVALS[0], INTERVALS[1]);
                problems.error(&interval.place, title, "not within that");
            }
        }
        for (key, list) in [("critical", &mut written.levels.critical), ("ignore", &mut written.levels.ignore)] {
            if let Some(texts) = table.get::<Vec<Placed<String>>>(key, problems) {
                *list = texts.iter().filter_map(|text| selection(text, problems)).collect();
            }
        }
        table.finish(problems);
        written
    }
}

/// A label selection: what PromQL allows between braces.
fn selection(text: &Placed<String>, problems: &mut Problems) -> Option<Selector> {
    match promql::compile_selector(&format!("{{{}}}", text.value)) {
        Ok(selector) => Some(selector),
        Err(error) => {
            problems
                .error(&text.place, format!("this is no selection of labels: {}", error.message), "")
                .help("like 'severity=\"page\"', 'team=~\"db|api\",severity=\"high\"'");
            None
        }
    }
}

/// The folder of the file that a place is in.
fn folder(files: &Files, place: &Place) -> PathBuf {
    files.list.get(place.file).map(|file| folder_of(&file.name)).unwrap_or_default()
}

fn folder_of(name: &str) -> PathBuf {
    Path::new(name).parent().map(Path::to_path_buf).unwrap_or_default()
}

fn text(path: &Path, from: &Place, problems: &mut Problems) -> Option<String> {
    let mut bytes = Vec::new();
    let why = match read::into(path, &mut bytes, yaml::MAX_FILE) {
        Err(error) => error.to_string(),
        Ok(()) => match String::from_utf8(bytes) {
            Ok(text) => return Some(text),
            Err(error) => format!("it is no UTF-8 text, from byte {} on", error.utf8_error().valid_up_to()),
        },
    };
    problems.error(from, format!("{} cannot be read: {why}", path.display()), "named here");
    None
}
