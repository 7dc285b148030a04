//! A rule file, read into types; all its mistakes at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::template::Template;
use super::yaml::{self, list, open, text};
use crate::base::label::NAME;
use crate::base::table::{Entry, Node, Table};
use crate::base::{Place, Problems, Span};
use crate::promql;

/// A checked rule file.
#[derive(Clone, Debug, Default)]
pub struct RuleFile {
    /// In the order of the file.
    pub groups: Vec<GroupConfig>,
}

/// One group: rules that are evaluated together, in order.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// Unique in its file.
    pub name: String,
    /// How often; the default of whoever runs it where unset.
    pub interval: Option<Span>,
    /// The most series or alerts that one rule may produce; 0: any number.
    pub limit: usize,
    /// How far in the past its expressions are evaluated.
    pub query_offset: Span,
    /// In order.
    pub rules: Vec<RuleConfig>,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct RuleConfig {
    /// The name of the alert, or of the recorded series.
    pub name: String,
    /// The expression.
    pub plan: Arc<promql::Plan>,
    /// Labels as written, those of the group included.
    pub labels: Vec<(String, String)>,
    /// What it produces.
    pub kind: Kind,
    /// Where its name stands.
    pub place: Place,
}

/// What a rule produces.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Series.
    Record,
    /// Alerts.
    Alert {
        /// How long a result must be there until the alert fires.
        held_for: Span,
        /// How long it goes on to fire without a result.
        keep_firing_for: Span,
        /// One template for each label of the rule, in the same order.
        labels: Vec<Template>,
        /// Name and template, sorted by name.
        annotations: Vec<(String, Template)>,
    },
}

/// Reads the text of a rule file. `file` is its number in the places of the problems; none when there is an error.
pub fn read(text: &str, file: usize, problems: &mut Problems) -> Option<RuleFile> {
    let before = problems.errors();
    let node = yaml::parse(text, file, problems)?;
    let mut reader = Reader { text, problems };
    let rules = reader.file(&node);
    (problems.errors() == before).then_some(rules)
}

/// A duration as Prometheus writes it: `1h30m`, `15s`, `1y`, a bare `0`.
///
/// # Errors
/// What is wrong with it, as a fragment.
pub fn duration(text: &str) -> Result<Span, String> {
    let text = text.trim();
    if text == "0" {
        return Ok(Span::ZERO);
    }
    let (years, rest) = match text.split_once('y') {
        Some((years, rest)) if !years.is_empty() && years.bytes().all(|b| b.is_ascii_digit()) => (years, rest),
        _ => return Span::parse(text),
    };
    let years: i64 = years.parse().map_err(|_| format!("`{text}` is too long"))?;
    let rest = if rest.is_empty() { Span::ZERO } else { Span::parse(rest)? };
    let millis = years.checked_mul(365 * 86_400_000).and_then(|y| y.checked_add(rest.0));
    millis.map(Span).ok_or_else(|| format!("`{text}` is too long"))
}

/// Whether this is a name of a metric.
pub fn is_metric_name(name: &str) -> bool {
    is_name(name, |b| b == b':')
}

/// Whether this is a name of a label.
pub fn is_label_name(name: &str) -> bool {
    is_name(name, |_| false)
}

fn is_name(name: &str, also: impl Fn(u8) -> bool) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || also(b);
    !name.is_empty() && !name.as_bytes()[0].is_ascii_digit() && name.bytes().all(good)
}

/// Reads the parts of a file.
struct Reader<'a> {
    text: &'a str,
    problems: &'a mut Problems,
}

impl Reader<'_> {
    fn file(&mut self, node: &Node) -> RuleFile {
        let Some(mut table) = open(node, "a rule file", self.problems) else { return RuleFile::default() };
        let nodes = list(table.node("groups"), "`groups`", self.problems);
        table.finish(self.problems);
        let mut names = BTreeSet::new();
        let mut groups = Vec::new();
        for node in nodes {
            let Some(group) = self.group(node) else { continue };
            if !names.insert(group.name.clone()) {
                let title = format!("the group `{}` is there twice", group.name);
                self.problems.error(&node.place, title, "the second");
            }
            groups.push(group);
        }
        RuleFile { groups }
    }

    fn group(&mut self, node: &Node) -> Option<GroupConfig> {
        let mut table = open(node, "a group", self.problems)?;
        let name: String = table.required("name", "post_deploy", self.problems).unwrap_or_default();
        if name.is_empty() && table.node("name").is_some() {
            self.problems.error(table.place(), "a group without a name", "`name` is empty");
        }
        let interval = self.span(&mut table, "interval");
        let query_offset = self.span(&mut table, "query_offset").unwrap_or_default();
        let limit = table.node("limit").map_or(0, |node| self.whole(node));
        let labels = self.labels(table.node("labels"), &format!("group {name}"));
        let rules = list(table.node("rules"), "`rules`", self.problems);
        table.finish(self.problems);
        let rules = rules.iter().filter_map(|node| self.rule(node, &labels, &name)).collect();
        Some(GroupConfig { name, interval, limit, query_offset, rules })
    }

    fn rule(&mut self, node: &Node, of_group: &[(String, Node)], group: &str) -> Option<RuleConfig> {
        let mut table = open(node, "a rule", self.problems)?;
        let before = self.problems.errors();
        let record: Option<String> = table.get("record", self.problems);
        let alert: Option<String> = table.get("alert", self.problems);
        let record = record.filter(|name| !name.is_empty());
        let alert = alert.filter(|name| !name.is_empty());
        let name = record.as_ref().or(alert.as_ref()).cloned().unwrap_or_default();
        let called = format!("rule {} of group {group}", if name.is_empty() { "without a name" } else { &name });
        match (&record, &alert) {
            (Some(_), Some(_)) => {
                self.problems.error(table.place(), format!("{called} has both `record` and `alert`"), "one of them");
            }
            (None, None) => {
                self.problems.error(table.place(), "a rule has `record` or `alert`", format!("in group {group}"));
            }
            (Some(name), None) if !is_metric_name(name) => {
                let place = table.node("record").map_or(table.place().clone(), |n| n.place.clone());
                self.problems.error(&place, format!("`{name}` is no name of a series"), "letters, digits, `_` and `:`");
            }
            _ => {}
        }
        let plan = match table.node("expr") {
            Some(expr) => self.expression(expr, &called),
            None => {
                self.problems.error(table.place(), format!("{called} needs `expr`"), "it is missing here");
                None
            }
        };
        let held_for = self.span(&mut table, "for");
        let keep_firing_for = self.span(&mut table, "keep_firing_for");
        let mut labels = of_group.to_vec();
        for (name, node) in self.labels(table.node("labels"), &called) {
            labels.retain(|(n, _)| *n != name);
            labels.push((name, node));
        }
        let annotations = self.labels(table.node("annotations"), &called);
        if record.is_some() {
            for key in ["for", "keep_firing_for", "annotations"] {
                if let Some(place) = table.key_place(key) {
                    self.problems.error(place, format!("{called}: `{key}` belongs to an alert"), "it records a series");
                }
            }
        }
        let named = table.node("record").or(table.node("alert"));
        let place = named.map_or_else(|| table.place().clone(), |node| node.place.clone());
        table.finish(self.problems);
        let kind = match record.is_some() {
            true => Kind::Record,
            false => Kind::Alert {
                held_for: held_for.unwrap_or_default(),
                keep_firing_for: keep_firing_for.unwrap_or_default(),
                labels: labels.iter().filter_map(|(_, node)| self.template(node, &called)).collect(),
                annotations: annotations
                    .iter()
                    .filter_map(|(name, node)| Some((name.clone(), self.template(node, &called)?)))
                    .collect(),
            },
        };
        let labels = labels.into_iter().map(|(name, node)| (name, text(&node).to_string())).collect();
        (self.problems.errors() == before).then_some(RuleConfig { name, plan: plan?, labels, kind, place })
    }

    fn expression(&mut self, node: &Node, called: &str) -> Option<Arc<promql::Plan>> {
        let text = self.scalar(node)?;
        if text.trim().is_empty() {
            self.problems.error(&node.place, format!("{called}: the expression is empty"), "");
            return None;
        }
        match promql::compile(&text) {
            Ok(plan) => Some(Arc::new(plan)),
            Err(error) => {
                let place = self.inside(node, &text, error.at.clone());
                let title = format!("{called}: {}", error.message);
                let problem = self.problems.error(&place, title, error.label.unwrap_or_default());
                if let Some(help) = error.help {
                    problem.help(help);
                }
                None
            }
        }
    }

    fn template(&mut self, node: &Node, called: &str) -> Option<Template> {
        let text = self.scalar(node)?;
        match Template::parse(&text) {
            Ok(template) => Some(template),
            Err(error) => {
                let place = self.inside(node, &text, Some(error.at.clone()));
                self.problems.error(&place, format!("{called}: {}", error.message), "");
                None
            }
        }
    }

    /// The place of a part of a text, where the text stands in the file as it is; else that of the whole.
    fn inside(&self, node: &Node, text: &str, part: Option<std::ops::Range<usize>>) -> Place {
        let range = node.place.range.clone();
        let found = self.text.get(range.clone()).and_then(|written| written.find(text));
        match (found, part) {
            (Some(offset), Some(part)) => {
                let start = part.start.min(text.len().saturating_sub(1));
                let whole = Place { file: node.place.file, range: range.start + offset..range.end };
                whole.part(start..part.end.max(start + 1))
            }
            _ => node.place.clone(),
        }
    }

    fn scalar(&mut self, node: &Node) -> Option<String> {
        <String as crate::base::table::Read>::read(node, self.problems)
    }

    fn span(&mut self, table: &mut Table<'_>, key: &str) -> Option<Span> {
        let node = table.node(key)?;
        let text = self.scalar(node)?;
        if text.is_empty() {
            return None;
        }
        match duration(&text) {
            Ok(span) => Some(span),
            Err(why) => {
                self.problems.error(&node.place, why, "a duration").help("like 15s, 5m, 1h30m");
                None
            }
        }
    }

    fn whole(&mut self, node: &Node) -> usize {
        let text = self.scalar(node).unwrap_or_default();
        match text.parse() {
            Ok(n) => n,
            Err(_) if text.is_empty() => 0,
            Err(_) => {
                self.problems.error(&node.place, format!("`{text}` is no whole number"), "0 means: any number");
                0
            }
        }
    }

    /// Names and texts, sorted by name.
    fn labels(&mut self, node: Option<&Node>, called: &str) -> Vec<(String, Node)> {
        let Some(mut table) = node.and_then(|node| open(node, "this", self.problems)) else { return Vec::new() };
        let mut all = Vec::new();
        for Entry { key, place, node } in table.rest() {
            if !is_label_name(key) || key == NAME {
                let title = format!("{called}: `{key}` is no name of a label");
                self.problems.error(place, title, "letters, digits and `_`");
            } else if self.scalar(node).is_some() {
                all.push((key.clone(), node.clone()));
            }
        }
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_prometheus_writes_them() {
        for (text, millis) in
            [("0", 0), ("15s", 15_000), ("1h30m", 5_400_000), ("1y", 31_536_000_000), ("1y1d", 31_622_400_000)]
        {
            assert_eq!(duration(text), Ok(Span(millis)), "{text}");
        }
        for text in ["", "5", "1y1y", "y", "99999999999999y", "-5m", "1m1h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn all_mistakes_come_at_once_with_their_rule() {
        let text = "groups:\n- name: a\n  intervall: 15s\n  rules:\n  - alert: X\n    expr: sum(\n    labels: {1a: x}\n  - record: y\n    \
                    expr: up\n    for: 5m\n  - expr: up\n  - alert: Z\n    expr: up == 0\n    annotations: {summary: '{{ $value | humanise }}'}\n- name: a\n";
        let mut problems = Problems::default();
        assert!(read(text, 0, &mut problems).is_none());
        let said: Vec<String> =
            problems.list.iter().map(|p| format!("{} | {}", p.title, &text[p.place.range.clone()])).collect();
        insta::assert_snapshot!(said.join("\n"));
    }

    #[test]
    fn an_empty_file_holds_no_groups() {
        for text in ["", "groups:\n", "groups: []\n", "# nothing\n"] {
            let mut problems = Problems::default();
            assert!(read(text, 0, &mut problems).is_some_and(|f| f.groups.is_empty()), "{text:?} {problems:?}");
        }
    }
}
