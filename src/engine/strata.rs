//! In which order rules are judged that read what other rules say.
//!
//! Enters: for each rule what it is called, what it writes and what it reads. Leaves: the stratum of each, so that it sees what
//! those of the strata before said in the same step, or the circle that makes it impossible. Pure.
//!
//! The engine writes three families about rules: `ALERTS`, `backstop_rule_level` and `backstop_rule_no_data`. A rule that
//! reads none of them, nor a recorded series behind which one of them is read, is in stratum 0, and the engine writes about it
//! in all three. A rule that reads one is written about in a family only where a selector of that family names it with an equal
//! matcher (`alertname="x"`, `rule="x"`). A selector that names its rules depends on those; any other on all that the engine
//! writes about in that family and that its matchers admit.
//!
//! Rules of Prometheus's groups run on their own ticks, in the order of their file, before all others of a step. They count as
//! steps on the way of a circle; a circle of them alone is none, because each reads what was recorded the time before.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::groups::GroupInfo;
use crate::base::label::NAME;
use crate::promql;
use crate::rule::prometheus::Kind;
use crate::rule::{Baseline, Rule, Value};
use crate::store::{MatchKind, Selector};

/// What the engine writes about rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// The alerts that are pending or fire.
    Alerts,
    /// The level of each rule.
    Level,
    /// Whether each rule is without data.
    NoData,
}

impl Family {
    /// All of them.
    pub const ALL: [Family; 3] = [Family::Alerts, Family::Level, Family::NoData];

    /// The name of its series.
    pub fn name(self) -> &'static str {
        match self {
            Family::Alerts => "ALERTS",
            Family::Level => "backstop_rule_level",
            Family::NoData => "backstop_rule_no_data",
        }
    }

    /// The label that says which rule a series is about.
    fn label(self) -> &'static str {
        match self {
            Family::Alerts => "alertname",
            Family::Level | Family::NoData => "rule",
        }
    }
}

/// What a rule is, as far as its place is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `[rule.NAME]`
    Own,
    /// An alert of a group.
    Alert,
    /// A series that a group records.
    Record,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    /// Its name: of a rule, of an alert, of the recorded series.
    pub name: &'a str,
    /// What it is.
    pub role: Role,
    /// What it reads.
    pub reads: Vec<&'a Selector>,
}

/// The order of some rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strata {
    /// The stratum of each rule; of a group's, that of what it reads.
    pub strata: Vec<u32>,
    /// For each rule and each of [`Family::ALL`], whether the engine writes about it there.
    pub written: Vec<[bool; 3]>,
    /// For each rule, whether it judges what groups record or say.
    pub judges_groups: Vec<bool>,
    /// For each of [`Family::ALL`], whether some rule reads it.
    pub read: [bool; 3],
}

/// Rules of which each depends on the next, by name; the last is the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circle(pub Vec<String>);

impl std::fmt::Display for Circle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join(" -> "))
    }
}

/// The rules of a configuration: its own in their order, then those of the groups in theirs.
pub fn nodes<'a>(rules: impl IntoIterator<Item = &'a Rule>, groups: &'a [GroupInfo]) -> Vec<Node<'a>> {
    let own = rules.into_iter().map(|rule| Node { name: &rule.name, role: Role::Own, reads: reads(rule) });
    let of_groups = groups.iter().flat_map(|info| &info.group.rules).map(|rule| Node {
        name: &rule.name,
        role: if matches!(rule.kind, Kind::Record) { Role::Record } else { Role::Alert },
        reads: rule.plan.selectors().iter().map(|used| &used.selector).collect(),
    });
    own.chain(of_groups).collect()
}

/// The order of the rules `nodes`.
///
/// # Errors
/// The first circle that leads over a rule that is no group's.
pub fn order(nodes: &[Node<'_>]) -> Result<Strata, Circle> {
    let graph = Graph::new(nodes);
    let own = (0..nodes.len()).filter(|i| nodes[*i].role == Role::Own && graph.reads_rules[*i]);
    for start in own {
        if let Some(circle) = graph.circle(start) {
            return Err(Circle(circle.into_iter().map(|i| nodes[i].name.to_string()).collect()));
        }
    }
    let (strata, read) = (graph.strata(), read(nodes));
    Ok(Strata { strata, written: graph.written, judges_groups: graph.judges_groups, read })
}

/// Which families some rule reads.
fn read(nodes: &[Node<'_>]) -> [bool; 3] {
    Family::ALL.map(|family| nodes.iter().flat_map(|node| &node.reads).any(|selector| admits(selector, family.name())))
}

fn reads(rule: &Rule) -> Vec<&Selector> {
    let mut all: Vec<&Selector> = match &rule.value {
        Value::Expression { plan, .. } => plan.selectors().iter().map(|used| &used.selector).collect(),
        Value::Share { errors, total, .. } => vec![errors, total],
        // What a remote server says of `ALERTS` is not about the rules here.
        Value::Remote { .. } => Vec::new(),
    };
    if let Baseline::Expression { plan, .. } = &rule.baseline {
        all.extend(plan.selectors().iter().map(|used| &used.selector));
    }
    all
}

/// Who depends on whom.
struct Graph<'n, 'a> {
    nodes: &'n [Node<'a>],
    /// Reads what the engine writes, itself or through a recorded series.
    reads_rules: Vec<bool>,
    written: Vec<[bool; 3]>,
    judges_groups: Vec<bool>,
    /// The rules that each depends on.
    edges: Vec<Vec<usize>>,
}

impl<'n, 'a> Graph<'n, 'a> {
    fn new(nodes: &'n [Node<'a>]) -> Graph<'n, 'a> {
        let mut recorded: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (i, node) in nodes.iter().enumerate().filter(|(_, node)| node.role == Role::Record) {
            recorded.entry(node.name).or_default().push(i);
        }
        let read_by = |selector: &Selector| -> Vec<usize> {
            match &selector.name {
                Some(name) => recorded.get(&**name).cloned().unwrap_or_default(),
                None if has_name(selector) => recorded
                    .iter()
                    .filter(|(name, _)| selector.admits_name(name))
                    .flat_map(|(_, i)| i)
                    .copied()
                    .collect(),
                None => Vec::new(),
            }
        };
        let edges = nodes.iter().map(|node| node.reads.iter().flat_map(|selector| read_by(selector)).collect());
        let mut edges: Vec<Vec<usize>> = edges.collect();
        let reads_rules = reads_rules(nodes, &edges);
        let mut written: Vec<[bool; 3]> = reads_rules.iter().map(|reads| [!reads; 3]).collect();
        for (f, family) in Family::ALL.into_iter().enumerate() {
            let of_family = nodes.iter().flat_map(|n| &n.reads).filter(|s| admits(s, family.name()));
            let names: BTreeSet<&str> = of_family.filter_map(|selector| named(selector, family)).collect();
            for (node, written) in nodes.iter().zip(&mut written) {
                // Groups write their own alerts, always.
                let by_itself = node.role == Role::Alert && family == Family::Alerts;
                written[f] |= by_itself || names.contains(node.name);
                written[f] &= !(node.role == Role::Record && family == Family::Alerts);
            }
        }
        let mut judges_groups: Vec<bool> = edges.iter().map(|recorded| !recorded.is_empty()).collect();
        for (i, node) in nodes.iter().enumerate() {
            for (f, family) in Family::ALL.into_iter().enumerate() {
                for selector in node.reads.iter().filter(|s| admits(s, family.name())) {
                    let is_meant = |other: &usize| match named(selector, family) {
                        Some(name) => nodes[*other].name == name,
                        None => written[*other][f] && selector.admits(family.label(), nodes[*other].name),
                    };
                    let meant: Vec<usize> = (0..nodes.len()).filter(is_meant).collect();
                    let of_groups = meant.iter().any(|other| nodes[*other].role != Role::Own);
                    judges_groups[i] |= of_groups && family != Family::NoData;
                    edges[i].extend(meant);
                }
            }
            edges[i].sort_unstable();
            edges[i].dedup();
        }
        Graph { nodes, reads_rules, written, judges_groups, edges }
    }

    /// The shortest way from `start` back to it.
    fn circle(&self, start: usize) -> Option<Vec<usize>> {
        let mut from: Vec<Option<usize>> = vec![None; self.nodes.len()];
        let mut next = VecDeque::from([start]);
        while let Some(i) = next.pop_front() {
            for to in self.edges[i].iter().copied() {
                if to == start {
                    let mut way = vec![start, i];
                    while let Some(before) = from[*way.last()?].filter(|_| way.last() != Some(&start)) {
                        way.push(before);
                    }
                    if i == start {
                        way.truncate(1);
                        way.push(start);
                    }
                    way.reverse();
                    return Some(way);
                }
                if from[to].is_none() {
                    from[to] = Some(i);
                    next.push_back(to);
                }
            }
        }
        None
    }

    /// One more than the highest of those it depends on; a group's rule is no step of its own. Ends, because every circle
    /// that is left leads over rules of groups alone.
    fn strata(&self) -> Vec<u32> {
        let mut strata: Vec<u32> = self.reads_rules.iter().map(|reads| u32::from(*reads)).collect();
        let mut changed = true;
        while changed {
            changed = false;
            for i in (0..self.nodes.len()).filter(|i| self.reads_rules[*i]) {
                let after = |to: &usize| strata[*to] + u32::from(self.nodes[*to].role == Role::Own);
                let stratum = self.edges[i].iter().map(after).max().unwrap_or(1).max(1);
                if stratum > strata[i] {
                    strata[i] = stratum;
                    changed = true;
                }
            }
        }
        strata
    }
}

/// Who reads what the engine writes, itself or through recorded series; `edges` lead to those.
fn reads_rules(nodes: &[Node<'_>], edges: &[Vec<usize>]) -> Vec<bool> {
    let mut reads: Vec<bool> = nodes.iter().map(|node| node.reads.iter().any(|s| is_about_the_engine(s))).collect();
    let mut changed = true;
    while changed {
        changed = false;
        for i in 0..nodes.len() {
            if !reads[i] && edges[i].iter().any(|to| reads[*to]) {
                reads[i] = true;
                changed = true;
            }
        }
    }
    reads
}

fn is_about_the_engine(selector: &Selector) -> bool {
    match &selector.name {
        Some(name) => promql::is_of_the_engine(name),
        None => Family::ALL.into_iter().any(|family| admits(selector, family.name())),
    }
}

/// A selector without any condition on the name means whatever has its labels, and is not held to read rules.
fn has_name(selector: &Selector) -> bool {
    selector.name.is_some() || selector.matchers.iter().any(|matcher| matcher.label == NAME)
}

fn admits(selector: &Selector, family: &str) -> bool {
    has_name(selector) && selector.admits_name(family)
}

/// The rule that a selector of this family names.
fn named(selector: &Selector, family: Family) -> Option<&str> {
    let is_equal = |m: &&crate::store::Matcher| m.label == family.label() && matches!(m.kind, MatchKind::Equal);
    selector.matchers.iter().find(is_equal).map(crate::store::Matcher::value)
}

/// The order where there is none: those that read what the engine writes come after those that do not.
pub(super) fn flat(nodes: &[Node<'_>]) -> Strata {
    let graph = Graph::new(nodes);
    let strata = graph.reads_rules.iter().map(|reads| u32::from(*reads)).collect();
    Strata { strata, written: graph.written, judges_groups: graph.judges_groups, read: read(nodes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::Plan;

    /// Rules in lines: `own a: EXPRESSION`, `record b: …`, `alert c: …`.
    fn ordered(text: &str) -> String {
        let rules: Vec<(Role, &str, Plan)> = text.lines().map(str::trim).filter(|l| !l.is_empty()).map(rule).collect();
        let nodes: Vec<Node<'_>> = rules
            .iter()
            .map(|(role, name, plan)| Node {
                name,
                role: *role,
                reads: plan.selectors().iter().map(|used| &used.selector).collect(),
            })
            .collect();
        match order(&nodes) {
            Err(circle) => circle.to_string(),
            Ok(strata) => {
                let line = |(node, stratum): (&Node<'_>, &u32)| format!("{} {stratum}", node.name);
                nodes.iter().zip(&strata.strata).map(line).collect::<Vec<_>>().join(", ")
            }
        }
    }

    fn rule(line: &str) -> (Role, &str, Plan) {
        let (head, expression) = line.split_once(": ").unwrap();
        let (role, name) = head.split_once(' ').unwrap();
        let role = match role {
            "own" => Role::Own,
            "alert" => Role::Alert,
            _ => Role::Record,
        };
        (role, name, promql::compile(expression).unwrap())
    }

    #[test]
    fn a_rule_comes_after_those_that_it_names() {
        let text = "
            own c: ALERTS{alertname=\"b\"}
            own b: ALERTS{alertname=\"a\",alertstate=\"firing\"} and on () backstop_rule_level{rule=\"x\"} > 1
            own a: up == 0
            own x: down";
        assert_eq!(ordered(text), "c 2, b 1, a 0, x 0");
    }

    #[test]
    fn a_rule_that_names_none_sees_those_that_read_nothing_and_those_that_are_named() {
        let text = "
            own blind: backstop_rule_no_data == 1
            own a: up
            own reader: ALERTS{alertname=\"a\"}
            own all: count(ALERTS{alertname!=\"all\"})
            own deep: ALERTS{alertname=\"reader\"}
            own waiting: backstop_delivery_oldest_seconds > 5";
        assert_eq!(ordered(text), "blind 1, a 0, reader 1, all 2, deep 2, waiting 1");
    }

    #[test]
    fn recorded_series_are_steps_on_the_way() {
        let text = "
            own slow: job:latency:p95 > 1
            own odd: job:trouble > 2
            record job:latency:p95: histogram_quantile(0.95, x)
            record job:trouble: count(ALERTS{alertname=\"slow\"})
            alert Grave: job:trouble > 3
            own grave: ALERTS{alertname=\"Grave\"}";
        assert_eq!(ordered(text), "slow 0, odd 1, job:latency:p95 0, job:trouble 1, Grave 1, grave 1");
    }

    #[test]
    fn circles_are_found_with_their_way() {
        for (text, way) in [
            ("own a: ALERTS{alertname=\"a\"}", "a -> a"),
            ("own a: ALERTS{alertname=\"b\"}\n own b: backstop_rule_level{rule=\"a\"}", "a -> b -> a"),
            (
                "own a: ALERTS{alertname=\"b\"}\n own b: ALERTS{alertname=\"c\"}\n own c: x + on () ALERTS{alertname=\"a\"}",
                "a -> b -> c -> a",
            ),
            // Who counts all alerts counts its own, once somebody asks for it.
            ("own all: count(ALERTS) > 3\n own page: ALERTS{alertname=\"all\"}", "all -> all"),
            ("own a: t\n record t: ALERTS{alertname=\"a\"}", "a -> t -> a"),
            ("own a: ALERTS{alertname=\"B\"}\n alert B: ALERTS{alertname=\"a\"}", "a -> B -> a"),
        ] {
            assert_eq!(ordered(text), way, "{text}");
        }
    }

    #[test]
    fn rules_of_groups_alone_may_read_what_was_recorded_before() {
        let text = "record total: total offset 1m + x\n alert A: ALERTS{alertname=\"A\"} or up == 0\n own a: total > 1";
        assert_eq!(ordered(text), "total 0, A 1, a 0");
    }

    #[test]
    fn who_judges_what_groups_say_is_known() {
        let alert = rule("alert A: up == 0");
        let own = ["ALERTS{alertname=\"A\"}", "count(ALERTS)", "backstop_rule_no_data == 1", "ALERTS{alertname=\"x\"}"]
            .map(|text| promql::compile(text).unwrap());
        let node = |role, name, plan: &'static Plan| Node {
            name,
            role,
            reads: plan.selectors().iter().map(|used| &used.selector).collect(),
        };
        let mut nodes = vec![node(Role::Alert, "A", Box::leak(Box::new(alert.2)))];
        nodes.extend(own.map(|plan| node(Role::Own, "own", Box::leak(Box::new(plan)))));
        assert_eq!(order(&nodes).unwrap().judges_groups, [false, true, true, false, false]);
    }

    #[test]
    fn nobody_reads_the_rules_by_labels_alone() {
        assert_eq!(ordered("own a: {job=\"api\"}\n own b: {__name__=~\"ALERTS|up\"}"), "a 0, b 1");
        assert_eq!(ordered("own a: {__name__=\"ALERTS\",alertname=\"a\"}"), "a -> a");
    }
}
