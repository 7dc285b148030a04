//! The whole configuration as understood: `backstop check --print`.
//!
//! Each value stands with the file and line it came from; what nobody wrote is marked as default. The places of
//! secrets are shown, for they are no secrets; what may hold one (headers, environments, bodies, the query of an
//! address) is masked.

use super::app::size_text;
use super::{Config, Files};
use crate::base::table::{Entry, Value};
use crate::base::{Node, Place};
use crate::rollback::config::Mode;

/// Keys whose values may be secrets.
const MASKED: [&str; 3] = ["headers", "env", "body"];

/// The word of a mode.
pub fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Observe => "observe",
        Mode::Ask => "ask",
        Mode::Auto => "auto",
    }
}

/// Prints `tree`, and the defaults of `config` that do not stand in it.
pub fn print(config: &Config, tree: &Node) -> String {
    let mut out = Out { text: String::new(), files: &config.files };
    let place = config.packs.place.as_ref().map_or("default".into(), |place| config.files.line(place));
    out.text.push_str(&format!("packs = {:?}  # {place}\n", config.packs.names));
    if let Some(node) = super::load::child(tree, super::rule_files::KEY) {
        out.line(super::rule_files::KEY, &shown(node, false), &node.place);
        out.text.push_str(&config.rule_files.lines());
    }
    let defaults = defaults(config);
    for (table, keys) in &defaults {
        let own = super::load::child(tree, table);
        out.heading(table, "[", "]");
        if let Some(Node { value: Value::Table(entries), .. }) = own {
            out.values(entries, false);
            out.defaults(keys, entries);
            out.tables(table, entries);
        } else {
            out.defaults(keys, &[]);
        }
    }
    if let Value::Table(entries) = &tree.value {
        let is_said = |e: &&Entry| e.key == super::rule_files::KEY || defaults.iter().any(|(t, _)| *t == e.key);
        let others: Vec<&Entry> = entries.iter().filter(|e| !is_said(e)).collect();
        for entry in others {
            out.table(&entry.key, &entry.node);
        }
    }
    out.text
}

/// What holds in the tables that have no name, as text.
fn defaults(config: &Config) -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let quoted = |text: &dyn std::fmt::Display| format!("{:?}", text.to_string());
    let fresh = crate::watch::config::default();
    let groups = config.rule_files.defaults().map(|keys| ("rule_groups", keys));
    let tables = vec![
        (
            "app",
            vec![
                ("name", quoted(&config.app.name)),
                ("zone", quoted(&config.app.zone.iana_name().unwrap_or("the system's"))),
                ("interval", quoted(&config.app.interval)),
                ("timeout", quoted(&config.app.timeout)),
            ],
        ),
        (
            "agent",
            vec![
                ("state", quoted(&config.state.display())),
                ("socket", quoted(&config.socket().display())),
                ("log", quoted(&config.agent.log)),
                ("memory", quoted(&size_text(config.agent.memory))),
                ("engine", quoted(&config.agent.engine.as_deref().unwrap_or("the first that is there"))),
            ],
        ),
        (
            "store",
            vec![
                ("keep", quoted(&config.store.keep)),
                ("disk", quoted(&size_text(config.store.disk))),
                ("min_free", quoted(&size_text(config.store.min_free))),
                ("look_back", quoted(&config.store.look_back)),
                ("max_series", config.store.max_series.to_string()),
            ],
        ),
        ("web", vec![("listen", quoted(&config.web.listen))]),
        (
            "watch",
            vec![
                ("verdict", quoted(&fresh.verdict)),
                ("coverage", quoted(&format!("{}%", fresh.coverage * 100.0))),
                ("settle", quoted(&fresh.settle)),
                ("phase", "[{ name = \"watch\" }]".into()),
            ],
        ),
        (
            "rollback",
            vec![("mode", quoted(&mode(config.rollback.mode.value))), ("notice", quoted(&config.rollback.notice))],
        ),
    ];
    tables.into_iter().chain(groups).collect()
}

struct Out<'a> {
    text: String,
    files: &'a Files,
}

impl Out<'_> {
    fn heading(&mut self, name: &str, open: &str, close: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(&format!("{open}{name}{close}\n"));
    }

    /// A table with a heading where it has values of its own, then the tables in it.
    fn table(&mut self, name: &str, node: &Node) {
        let Value::Table(entries) = &node.value else {
            self.line(name, &shown(node, false), &node.place);
            return;
        };
        if entries.iter().any(|e| !is_heading(&e.node)) || entries.is_empty() {
            self.heading(name, "[", "]");
            self.values(entries, false);
        }
        self.tables(name, entries);
    }

    fn tables(&mut self, name: &str, entries: &[Entry]) {
        for entry in entries.iter().filter(|e| is_heading(&e.node)) {
            let name = format!("{name}.{}", entry.key);
            match &entry.node.value {
                Value::List(nodes) => {
                    for node in nodes {
                        if let Value::Table(entries) = &node.value {
                            self.heading(&name, "[[", "]]");
                            self.values(entries, true);
                        }
                    }
                }
                _ => self.table(&name, &entry.node),
            }
        }
    }

    /// The values of a table; with `whole` also those that would have a heading of their own.
    fn values(&mut self, entries: &[Entry], whole: bool) {
        for entry in entries.iter().filter(|e| whole || !is_heading(&e.node)) {
            let masked = MASKED.contains(&entry.key.as_str());
            self.line(&entry.key, &shown(&entry.node, masked), &entry.node.place);
        }
    }

    fn line(&mut self, key: &str, value: &str, place: &Place) {
        let line = self.files.line(place);
        self.text.push_str(&format!("{key} = {value}  # {line}\n"));
    }

    fn defaults(&mut self, keys: &[(&str, String)], entries: &[Entry]) {
        for (key, value) in keys.iter().filter(|(key, _)| !entries.iter().any(|e| e.key == *key)) {
            self.text.push_str(&format!("{key} = {value}  # default\n"));
        }
    }
}

/// Whether this is printed under a heading of its own: a table of tables or with a line of its own, a list of tables.
fn is_heading(node: &Node) -> bool {
    match &node.value {
        Value::List(nodes) => nodes.iter().any(|n| matches!(n.value, Value::Table(_))),
        // The place of an inline table is its braces, on one line with its keys; a heading ends before them.
        Value::Table(entries) => {
            entries.iter().all(|e| !node.place.range.contains(&e.place.range.start) || e.place.file != node.place.file)
                || entries.is_empty() && node.place.range.len() != 2
        }
        _ => false,
    }
}

fn shown(node: &Node, masked: bool) -> String {
    match &node.value {
        Value::Text(_) if masked => "\"***\"".into(),
        Value::Text(text) => format!("{:?}", without_query(text)),
        Value::Whole(n) => n.to_string(),
        Value::Float(n) => n.to_string(),
        Value::Bool(b) => b.to_string(),
        Value::List(nodes) => {
            let nodes: Vec<String> = nodes.iter().map(|n| shown(n, masked)).collect();
            format!("[{}]", nodes.join(", "))
        }
        Value::Table(entries) => {
            let masked = |e: &Entry| masked || MASKED.contains(&e.key.as_str());
            let entries: Vec<String> =
                entries.iter().map(|e| format!("{} = {}", e.key, shown(&e.node, masked(e)))).collect();
            if entries.is_empty() { "{}".into() } else { format!("{{ {} }}", entries.join(", ")) }
        }
    }
}

/// An address without its query, which often holds a token.
fn without_query(text: &str) -> String {
    match text.split_once('?') {
        Some((before, query)) if before.contains("://") && !query.is_empty() => format!("{before}?***"),
        _ => text.to_string(),
    }
}
