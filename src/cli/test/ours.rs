//! Test files of our own, in TOML: `[[test]]` with series, expected stands of rules, and queries. What is expected of
//! decisions is read in [`decisions`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::case::{Check, MAX_ALL_POINTS, MAX_SERIES, RuleCheck, Stand, Test, TestFile, What};
use super::decisions::{self, Decisions};
use super::notation;
use crate::base::table::{Node, Placed, Table, Value, nearest};
use crate::base::{Labels, Level, Place, Problems, Quantity, Span, Timestamp};
use crate::config;
use crate::promql;
use crate::rule::prometheus::External;

/// Reads a parsed test file; mistakes become problems.
pub fn read(node: &Node, problems: &mut Problems) -> Option<TestFile> {
    let mut table = Table::open(node, "a test file", problems)?;
    let tests = children(table.node("test"), "[[test]]", problems);
    if tests.is_empty() {
        problems
            .error(table.place(), "there is no test in this file", "")
            .help("a test begins with [[test]]; see docs/TESTING-RULES.md");
    }
    table.finish(problems);
    let tests = tests.iter().enumerate().filter_map(|(i, node)| test(i, node, problems)).collect();
    Some(TestFile { evaluation_interval: Span::secs(15), tests, ..TestFile::default() })
}

fn test(index: usize, node: &Node, problems: &mut Problems) -> Option<Test> {
    let mut table = Table::open(node, "[[test]]", problems)?;
    let name = table.or("name", format!("unnamed#{index}"), problems);
    let interval = table.or("interval", Placed { value: Span::secs(15), place: node.place.clone() }, problems);
    if interval.value <= Span::ZERO {
        problems.error(&interval.place, "an interval is longer than nothing", "");
        return None;
    }
    let packs: Option<Vec<Placed<String>>> = table.get("packs", problems);
    let rules: Option<Vec<PathBuf>> = match packs {
        Some(_) => table.get("rules", problems),
        None => table.required("rules", "[\"../backstop.toml\"]", problems),
    };
    let packs = packs.unwrap_or_default();
    let packs = packs.iter().filter_map(|name| config::packs::named(name, problems)).collect();
    let series = table.node("series").map_or(Vec::new(), |node| series(node, problems));
    let expects = children(table.node("expect"), "[[test.expect]]", problems);
    let queries = children(table.node("query"), "[[test.query]]", problems);
    let deploys = children(table.node("deploy"), "[[test.deploy]]", problems);
    let mode = table.get::<Placed<String>>("mode", problems).and_then(|word| decisions::mode(&word, problems));
    let drill = table.or("drill", false, problems);
    let decided = Decisions::find(&mut table, problems);
    table.finish(problems);
    let mut checks: Vec<Check> = expects.iter().filter_map(|node| expectation(node, problems)).collect();
    checks.extend(queries.iter().filter_map(|node| query(node, problems)));
    checks.extend(decided.read(problems));
    let mut deploys: Vec<_> = deploys.iter().filter_map(|node| decisions::deploy(node, problems)).collect();
    deploys.sort_by_key(|deploy| deploy.at);
    let rule_files = rules.unwrap_or_default().iter().map(|path| path.display().to_string()).collect();
    let (interval, external) = (interval.value, External::default());
    let start = Timestamp(0);
    Some(Test { name, rule_files, packs, interval, start, series, external, deploys, mode, drill, checks })
}

fn series(node: &Node, problems: &mut Problems) -> Vec<(Labels, notation::Points)> {
    let Some(mut table) = Table::open(node, "`series`", problems) else { return Vec::new() };
    let (mut all, mut count): (Vec<(Labels, notation::Points)>, usize) = (Vec::new(), 0);
    for entry in table.rest() {
        let labels = kept(notation::series(&entry.key), &entry.place, problems);
        let text = <String as crate::base::table::Read>::read(&entry.node, problems);
        let points = text.and_then(|text| kept(notation::values(&text), &entry.node.place, problems));
        let (Some(labels), Some(points)) = (labels, points) else { continue };
        if all.iter().any(|(known, _)| *known == labels) {
            problems.error(&entry.place, format!("the series {labels} is there twice"), "in this test");
        }
        count += points.len();
        if count > MAX_ALL_POINTS || all.len() >= MAX_SERIES {
            let title = format!("a test holds at most {MAX_SERIES} series and {MAX_ALL_POINTS} points");
            problems.error(&entry.place, title, "this is over it");
            break;
        }
        all.push((labels, points));
    }
    all
}

fn expectation(node: &Node, problems: &mut Problems) -> Option<Check> {
    let mut table = Table::open(node, "[[test.expect]]", problems)?;
    let at = moment(&mut table, problems);
    let rule: Option<String> = table.required("rule", "\"errors\"", problems);
    let stand = table.get::<Placed<String>>("level", problems).and_then(|word| read_stand(&word, problems));
    let labels = table.node("labels").map_or(BTreeMap::new(), |node| labels(node, problems));
    let value = table.get::<Quantity>("value", problems).map(|q| q.value);
    let due = table.get::<bool>("due", problems);
    if ["level", "value", "due"].iter().all(|key| table.node(key).is_none()) {
        problems.error(table.place(), "nothing is expected here", "").help("add level = \"critical\", value or due");
    }
    table.finish(problems);
    Some(Check { at: at?, what: What::Rule(RuleCheck { rule: rule?, labels, stand, value, due }) })
}

fn read_stand(word: &Placed<String>, problems: &mut Problems) -> Option<Stand> {
    const WORDS: [&str; 5] = ["ok", "warning", "critical", "no_data", "failed"];
    Some(match word.value.as_str() {
        "ok" => Stand::Level(Level::Ok),
        "warning" => Stand::Level(Level::Warning),
        "critical" => Stand::Level(Level::Critical),
        "no_data" => Stand::NoData,
        "failed" => Stand::Failed,
        other => {
            let problem = problems.error(&word.place, format!("`level` cannot be {other:?}"), "");
            match nearest(other, &WORDS) {
                Some(near) => problem.help(format!("did you mean {near:?}?")),
                None => problem.help(format!("one of {}", WORDS.join(", "))),
            };
            return None;
        }
    })
}

fn query(node: &Node, problems: &mut Problems) -> Option<Check> {
    let mut table = Table::open(node, "[[test.query]]", problems)?;
    let at = moment(&mut table, problems);
    let text: Option<String> = table.required("expr", "'up == 0'", problems);
    let samples = table.node("samples").map_or(Vec::new(), |node| samples(node, problems));
    let place = table.node("expr").map_or(Place::default(), Node::inside);
    table.finish(problems);
    let text = text?;
    match promql::compile(&text) {
        Ok(plan) => Some(Check { at: at?, what: What::Query { text, plan: Arc::new(plan), samples } }),
        Err(error) => {
            let place = error.at.map_or(place.clone(), |at| place.part(at));
            let problem = problems.error(&place, error.message, error.label.unwrap_or_default());
            if let Some(help) = error.help {
                problem.help(help);
            }
            None
        }
    }
}

fn samples(node: &Node, problems: &mut Problems) -> Vec<(Labels, f64)> {
    let Some(mut table) = Table::open(node, "`samples`", problems) else { return Vec::new() };
    let mut all = Vec::new();
    for entry in table.rest() {
        let labels = kept(notation::series(&entry.key), &entry.place, problems);
        let value = <Quantity as crate::base::table::Read>::read(&entry.node, problems);
        all.extend(labels.zip(value.map(|q| q.value)));
    }
    all
}

pub(super) fn labels(node: &Node, problems: &mut Problems) -> BTreeMap<String, String> {
    let Some(mut table) = Table::open(node, "`labels`", problems) else { return BTreeMap::new() };
    let entries = table.rest().into_iter();
    entries
        .filter_map(|e| Some((e.key.clone(), <String as crate::base::table::Read>::read(&e.node, problems)?)))
        .collect()
}

pub(super) fn moment(table: &mut Table<'_>, problems: &mut Problems) -> Option<Span> {
    table.required("at", "\"5m\"", problems)
}

/// The tables of an array of tables.
pub(super) fn children<'a>(node: Option<&'a Node>, what: &str, problems: &mut Problems) -> &'a [Node] {
    match node {
        Some(Node { value: Value::List(nodes), .. }) => nodes,
        Some(node) => {
            problems.error(&node.place, format!("{what} has double brackets"), format!("this is {}", node.kind()));
            &[]
        }
        None => &[],
    }
}

fn kept<T>(result: Result<T, String>, at: &Place, problems: &mut Problems) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(why) => {
            problems.error(at, why, "");
            None
        }
    }
}
