//! Test files in promtool's format.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::case::{Alert, Check, MAX_ALL_POINTS, MAX_SERIES, Test, TestFile, What};
use super::notation;
use crate::base::table::{Node, Table, Value};
use crate::base::{Labels, Place, Problems, Span, Timestamp};
use crate::promql;
use crate::rule::prometheus::yaml::{self, list, open, text};
use crate::rule::prometheus::{External, duration};

/// Reads the text of a test file. `file` is its number in the places of the problems; none when there is an error.
pub fn read(source: &str, file: usize, problems: &mut Problems) -> Option<TestFile> {
    let before = problems.errors();
    let node = yaml::parse(source, file, problems)?;
    let mut reader = Reader { problems, interval: Span::mins(1), rule_files: Vec::new() };
    let file = reader.file(&node)?;
    (problems.errors() == before).then_some(file)
}

struct Reader<'a> {
    problems: &'a mut Problems,
    interval: Span,
    rule_files: Vec<String>,
}

impl Reader<'_> {
    fn file(&mut self, node: &Node) -> Option<TestFile> {
        let mut table = open(node, "a test file", self.problems)?;
        self.rule_files = self.texts(table.node("rule_files"), "`rule_files`");
        self.interval = self.interval(&mut table, "evaluation_interval", Span::mins(1));
        let group_order = self.texts(table.node("group_eval_order"), "`group_eval_order`");
        let fuzzy = table.node("fuzzy_compare").is_some_and(|node| self.flag(node));
        let tests = list(table.node("tests"), "`tests`", self.problems);
        if let Some(twice) = twice(&group_order) {
            let place = table.key_place("group_eval_order").unwrap_or(&node.place);
            self.problems.error(place, format!("the group `{twice}` is there twice"), "in this order");
        }
        table.finish(self.problems);
        let tests = tests.iter().enumerate().filter_map(|(i, node)| self.test(i, node)).collect();
        Some(TestFile { evaluation_interval: self.interval, group_order, fuzzy, tests })
    }

    fn test(&mut self, index: usize, node: &Node) -> Option<Test> {
        let mut table = open(node, "a test", self.problems)?;
        let name = self.string(&mut table, "name").filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| format!("unnamed#{index}"));
        let interval = self.interval(&mut table, "interval", self.interval);
        let start = table.node("start_timestamp").map_or(Timestamp(0), |node| self.moment(node));
        let series = list(table.node("input_series"), "`input_series`", self.problems);
        let external = External {
            labels: self.pairs(table.node("external_labels")),
            url: self.string(&mut table, "external_url").unwrap_or_default(),
        };
        let alerts = list(table.node("alert_rule_test"), "`alert_rule_test`", self.problems);
        let queries = list(table.node("promql_expr_test"), "`promql_expr_test`", self.problems);
        table.finish(self.problems);
        let series = self.all_series(series);
        let mut checks: Vec<Check> = alerts.iter().filter_map(|node| self.alerts(node)).collect();
        checks.extend(queries.iter().filter_map(|node| self.query(node)));
        let rule_files = self.rule_files.clone();
        Some(Test {
            name,
            rule_files,
            packs: Vec::new(),
            interval,
            start,
            series,
            external,
            deploys: Vec::new(),
            mode: None,
            drill: false,
            checks,
        })
    }

    fn all_series(&mut self, nodes: &[Node]) -> Vec<(Labels, notation::Points)> {
        let (mut all, mut known, mut count) = (Vec::new(), BTreeSet::new(), 0);
        for node in nodes {
            let Some(mut table) = open(node, "a series", self.problems) else { continue };
            let series = table.required::<String>("series", "'up{job=\"api\"}'", self.problems);
            let values = table.required::<String>("values", "1x10", self.problems);
            let (series_at, values_at) = (place(&mut table, "series"), place(&mut table, "values"));
            table.finish(self.problems);
            let labels = series.and_then(|text| self.kept(notation::series(&text), &series_at));
            let points = values.and_then(|text| self.kept(notation::values(&text), &values_at));
            let (Some(labels), Some(points)) = (labels, points) else { continue };
            if !known.insert(labels.clone()) {
                self.problems.error(&series_at, format!("the series {labels} is there twice"), "in this test");
            }
            count += points.len();
            if count > MAX_ALL_POINTS || all.len() >= MAX_SERIES {
                let title = format!("a test holds at most {MAX_SERIES} series and {MAX_ALL_POINTS} points");
                self.problems.error(&node.place, title, "this is over it");
                break;
            }
            all.push((labels, points));
        }
        all
    }

    fn alerts(&mut self, node: &Node) -> Option<Check> {
        let mut table = open(node, "an expectation", self.problems)?;
        let at = self.eval_time(&mut table);
        let name = self.string(&mut table, "alertname").unwrap_or_default();
        if name.is_empty() {
            self.problems.error(table.place(), "an expectation needs `alertname`", "it is missing here");
        }
        let alerts = list(table.node("exp_alerts"), "`exp_alerts`", self.problems);
        table.finish(self.problems);
        let mut expected = Vec::new();
        for node in alerts {
            let Some(mut table) = open(node, "an alert", self.problems) else { continue };
            let mut labels = self.pairs(table.node("exp_labels"));
            labels.insert("alertname".into(), name.clone());
            expected.push(Alert { labels, annotations: self.pairs(table.node("exp_annotations")) });
            table.finish(self.problems);
        }
        Some(Check { at, what: What::Alerts(name, expected) })
    }

    fn query(&mut self, node: &Node) -> Option<Check> {
        let mut table = open(node, "an expectation", self.problems)?;
        let at = self.eval_time(&mut table);
        let text = table.required::<String>("expr", "up == 0", self.problems);
        let expr_at = place(&mut table, "expr");
        let samples = list(table.node("exp_samples"), "`exp_samples`", self.problems);
        table.finish(self.problems);
        let samples = samples.iter().filter_map(|node| self.sample(node)).collect();
        let text = text?;
        match promql::compile(&text) {
            Ok(plan) => Some(Check { at, what: What::Query { text, plan: Arc::new(plan), samples } }),
            Err(error) => {
                let problem = self.problems.error(&expr_at, error.message, error.label.unwrap_or_default());
                if let Some(help) = error.help {
                    problem.help(help);
                }
                None
            }
        }
    }

    fn sample(&mut self, node: &Node) -> Option<(Labels, f64)> {
        let mut table = open(node, "a sample", self.problems)?;
        let labels = self.string(&mut table, "labels").unwrap_or_default();
        let labels_at = place(&mut table, "labels");
        let value = self.string(&mut table, "value").filter(|v| !v.is_empty());
        let value_at = place(&mut table, "value");
        if table.node("histogram").is_some() {
            let at = place(&mut table, "histogram");
            self.problems.error(&at, "native histograms are not supported", "only values can be expected");
        }
        table.finish(self.problems);
        // Left out, a value is zero, as in promtool.
        let value = value.map_or(Some(0.0), |text| self.kept(notation::number(&text), &value_at));
        let labels =
            if labels.is_empty() { Some(Labels::empty()) } else { self.kept(notation::series(&labels), &labels_at) };
        Some((labels?, value?))
    }

    fn eval_time(&mut self, table: &mut Table<'_>) -> Span {
        let at = self.span(table, "eval_time").unwrap_or_default();
        if at < Span::ZERO {
            self.problems.error(&place(table, "eval_time"), "a time before the start", "");
        }
        at
    }

    fn interval(&mut self, table: &mut Table<'_>, key: &str, default: Span) -> Span {
        match self.span(table, key) {
            Some(span) if span > Span::ZERO => span,
            _ => default,
        }
    }

    fn span(&mut self, table: &mut Table<'_>, key: &str) -> Option<Span> {
        let text = self.string(table, key).filter(|t| !t.is_empty())?;
        let at = place(table, key);
        match duration(&text) {
            Ok(span) => Some(span),
            Err(why) => {
                self.problems.error(&at, why, "a duration").help("like 15s, 5m, 1h30m");
                None
            }
        }
    }

    /// A time as RFC 3339, or as seconds since 1970.
    fn moment(&mut self, node: &Node) -> Timestamp {
        let written = text(node);
        let seconds = written.parse::<f64>().ok().filter(|s| s.abs() < 1e11);
        let parsed = seconds.map(|s| (s * 1000.0).round() as i64);
        let parsed = parsed.or_else(|| written.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond));
        if parsed.is_none() {
            self.problems.error(&node.place, format!("`{written}` is no time"), "like 2025-10-28T09:41:07Z");
        }
        Timestamp(parsed.unwrap_or_default())
    }

    fn flag(&mut self, node: &Node) -> bool {
        match text(node) {
            "true" => true,
            "false" | "" => false,
            other => {
                self.problems.error(&node.place, format!("`{other}` is neither true nor false"), "");
                false
            }
        }
    }

    fn string(&mut self, table: &mut Table<'_>, key: &str) -> Option<String> {
        table.get(key, self.problems)
    }

    fn texts(&mut self, node: Option<&Node>, what: &str) -> Vec<String> {
        let nodes = list(node, what, self.problems);
        nodes.iter().filter_map(|n| <String as crate::base::table::Read>::read(n, self.problems)).collect()
    }

    fn pairs(&mut self, node: Option<&Node>) -> BTreeMap<String, String> {
        let Some(mut table) = node.and_then(|node| open(node, "this", self.problems)) else { return BTreeMap::new() };
        let mut pairs = BTreeMap::new();
        for entry in table.rest() {
            match &entry.node.value {
                Value::Text(value) => drop(pairs.insert(entry.key.clone(), value.clone())),
                _ => {
                    let label = format!("this is {}", entry.node.kind());
                    self.problems.error(&entry.node.place, "this takes a string", label);
                }
            }
        }
        pairs
    }

    fn kept<T>(&mut self, result: Result<T, String>, at: &Place) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(why) => {
                self.problems.error(at, why, "");
                None
            }
        }
    }
}

fn place(table: &mut Table<'_>, key: &str) -> Place {
    table.node(key).map_or_else(|| table.place().clone(), |node| node.place.clone())
}

fn twice(names: &[String]) -> Option<&String> {
    let mut known = BTreeSet::new();
    names.iter().find(|name| !known.insert(*name))
}
