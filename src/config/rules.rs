//! What rules name, and what only the rest of the configuration can tell of them.
//!
//! Enters: all that was read. Leaves: problems: names that do not exist, circles, rules that are never judged; and
//! warnings of times that the sources or the budget of a rollback do not go with.

use std::collections::BTreeMap;

use super::check::{Facts, missing, names, source_names};
use super::{SourceConfig, shortest_interval};
use crate::base::{Place, Problems, Span};
use crate::rollback::config::Mode;
use crate::rule::config::Config;
use crate::rule::{Dependency, When};
use crate::store::Selector;

/// Checks the rules against the rest of the configuration.
pub fn check(facts: &Facts<'_>, problems: &mut Problems) {
    dependencies(facts, problems);
    with(facts, problems);
    let edges = |of: fn(&Config) -> Vec<(&str, &Place)>| {
        facts.rules.iter().map(|rule| (rule.rule.name.as_str(), of(rule))).collect::<Graph<'_>>()
    };
    circles("depends_on", &edges(waits_for), problems);
    circles("with", &edges(asks_for), problems);
    phases(facts, problems);
    times(facts, problems);
    budget(facts, problems);
}

fn waits_for(rule: &Config) -> Vec<(&str, &Place)> {
    let named = rule.depends_on.iter().filter_map(|on| match &on.value {
        Dependency::Rule(name) => Some((name.as_str(), &on.place)),
        Dependency::Source(_) => None,
    });
    named.collect()
}

fn asks_for(rule: &Config) -> Vec<(&str, &Place)> {
    // Itself is told apart.
    let others = rule.with.iter().filter(|with| with.value != rule.rule.name);
    others.map(|with| (with.value.as_str(), &with.place)).collect()
}

fn dependencies(facts: &Facts<'_>, problems: &mut Problems) {
    let (rules, sources) = (names(facts.tree, "rule"), source_names(facts));
    for (rule, on) in facts.rules.iter().flat_map(|rule| rule.depends_on.iter().map(move |on| (rule, on))) {
        match &on.value {
            Dependency::Source(source) => {
                let name = source.to_string();
                if !sources.contains(&name) {
                    let known: Vec<&str> = sources.iter().map(String::as_str).collect();
                    missing("source", &name, &known, &on.place, problems);
                }
            }
            Dependency::Rule(name) => match facts.rules.iter().find(|r| r.rule.name == *name) {
                None if rules.contains(&name.as_str()) => {}
                None => missing("rule", name, &rules, &on.place, problems),
                Some(other) if !other.enabled && rule.enabled => {
                    problems
                        .warning(&on.place, format!("the rule `{name}` is switched off"), "holds nothing")
                        .also(&other.place, "enabled = false")
                        .help("take it out here, or switch it on");
                }
                Some(other) if !is_ever_critical(other) => {
                    problems
                        .warning(&on.place, format!("the rule `{name}` is never critical"), "holds only without data")
                        .also(&other.place, "it has no `critical`")
                        .help("add critical = \"…\" to that rule, or take it out here");
                }
                Some(_) => {}
            },
        }
    }
}

/// Whether a rule has a condition that makes it critical.
fn is_ever_critical(rule: &Config) -> bool {
    rule.rule.critical.is_some() || rule.rule.rollback.is_some()
}

fn with(facts: &Facts<'_>, problems: &mut Problems) {
    let rules = names(facts.tree, "rule");
    for (rule, with) in facts.rules.iter().flat_map(|rule| rule.with.iter().map(move |with| (rule, with))) {
        let name = with.value.as_str();
        if name == rule.rule.name {
            problems
                .error(&with.place, "`with` names the rule itself", "it is critical in any case")
                .help("`with` names other rules that must be critical as well");
            continue;
        }
        match facts.rules.iter().find(|r| r.rule.name == name) {
            None if rules.contains(&name) => {}
            None => missing("rule", name, &rules, &with.place, problems),
            Some(other) if !other.enabled && rule.enabled => {
                problems
                    .error(&with.place, format!("the rule `{name}` is switched off"), "this would never roll back")
                    .also(&other.place, "enabled = false")
                    .help("take it out here, or switch it on");
            }
            Some(other) if !is_ever_critical(other) => {
                problems
                    .error(&with.place, format!("the rule `{name}` is never critical"), "this would never roll back")
                    .also(&other.place, "it has no `critical`")
                    .help("add critical = \"…\" to that rule, or take it out here");
            }
            Some(_) => {}
        }
    }
}

/// Each rule with the rules that it names, and where.
type Graph<'a> = BTreeMap<&'a str, Vec<(&'a str, &'a Place)>>;

/// How far the walk from a rule has come.
#[derive(Clone, Copy, PartialEq)]
enum Seen {
    OnTheWay,
    Done,
}

/// Refuses circles, each with its path. The walk keeps its own stack: a chain may be as long as there are rules.
fn circles(key: &str, graph: &Graph<'_>, problems: &mut Problems) {
    let mut seen: BTreeMap<&str, Seen> = BTreeMap::new();
    for start in graph.keys() {
        if seen.contains_key(start) {
            continue;
        }
        seen.insert(start, Seen::OnTheWay);
        // The rules on the way, each with how many of those that it names were followed.
        let mut way: Vec<(&str, usize)> = vec![(start, 0)];
        while let Some((rule, followed)) = way.last_mut() {
            let Some((next, place)) = graph[*rule].get(*followed) else {
                seen.insert(*rule, Seen::Done);
                way.pop();
                continue;
            };
            *followed += 1;
            match seen.get(next) {
                Some(Seen::Done) => {}
                Some(Seen::OnTheWay) => {
                    let from = way.iter().position(|(rule, _)| rule == next).unwrap_or(0);
                    let path: Vec<&str> = way[from..].iter().map(|(rule, _)| *rule).chain([*next]).collect();
                    refuse_circle(key, &path, place, problems);
                }
                None if graph.contains_key(next) => {
                    seen.insert(next, Seen::OnTheWay);
                    way.push((next, 0));
                }
                None => {}
            }
        }
    }
}

fn refuse_circle(key: &str, path: &[&str], place: &Place, problems: &mut Problems) {
    /// More names than this are not read by anybody.
    const SHOWN: usize = 8;
    let way = match path {
        [first @ .., last] if path.len() > SHOWN => {
            let left = path.len() - SHOWN;
            format!("{} -> ({left} more) -> {last}", first[..SHOWN - 1].join(" -> "))
        }
        _ => path.join(" -> "),
    };
    problems.error(place, format!("a circle of `{key}`: {way}"), "closes the circle").help("take one of them out");
}

/// The phases that rules name exist, and do not end before the rules are judged.
fn phases(facts: &Facts<'_>, problems: &mut Problems) {
    let known: Vec<&str> = facts.watch.phases.iter().map(|phase| phase.name.as_str()).collect();
    for rule in facts.rules {
        let mut ends = Some(Span::ZERO);
        for named in &rule.phases {
            match facts.watch.phases.iter().find(|phase| phase.name == named.value) {
                Some(phase) => ends = ends.zip(phase.until).map(|(end, until)| end.max(until)),
                None => {
                    ends = None;
                    missing("phase", &named.value, &known, &named.place, problems);
                }
            }
        }
        if let (Some(first), Some(end)) = (rule.phases.first(), ends)
            && rule.rule.scope.arm.is_none()
            && end <= rule.rule.scope.after
        {
            problems
                .error(&first.place, "a rule that is never judged", format!("the last of its phases ends at {end}"))
                .help(format!("`after` says: not before {}", rule.rule.scope.after));
        }
    }
}

/// A condition that is held shorter than two looks is held by two readings in any case.
fn times(facts: &Facts<'_>, problems: &mut Problems) {
    for rule in facts.rules {
        let interval = interval_of(rule, facts);
        for time in &rule.times {
            if time.value > Span::ZERO && time.value < interval.times(2) {
                problems
                    .warning(&time.place, "`for` is shorter than two looks", format!("sources look every {interval}"))
                    .help(format!("write at least \"{}\"; it takes two readings in any case", interval.times(2)));
            }
        }
    }
}

/// How often the sources look that may give a series of this rule; all sources where that is not known.
fn interval_of(rule: &Config, facts: &Facts<'_>) -> Span {
    let selectors = rule.rule.reach(Span::ZERO);
    let gives = |source: &&SourceConfig| selectors.iter().any(|(selector, _)| may_give(source, selector));
    let looks = |source: &&SourceConfig| !source.common().manual && !matches!(source, SourceConfig::Signal(_));
    let intervals = facts.sources.iter().filter(looks).filter(gives).map(|source| source.common().interval);
    intervals.min().unwrap_or_else(|| shortest_interval(facts.sources, facts.app.interval))
}

/// Whether a source may give a series that `selector` chooses, as far as its name, kind and `job` tell.
fn may_give(source: &SourceConfig, selector: &Selector) -> bool {
    let reference = source.reference();
    let name = selector.name.as_deref().unwrap_or("");
    let own: Option<&str> = match name.split('_').next() {
        Some("node") => Some("host"),
        Some(kind @ ("container" | "systemd" | "log" | "file" | "command")) => Some(kind),
        _ if name.starts_with("probe_http_") || name.starts_with("probe_ssl_") => Some("http"),
        // What every source gives, and what backstop says itself.
        Some("" | "probe" | "up" | "scrape" | "backstop" | "ALERTS") => Some(reference.kind.as_str()),
        _ => None,
    };
    // A page of metrics holds whatever its program counts.
    let is_page = matches!(source, SourceConfig::Prometheus(_) | SourceConfig::Command(_));
    (own == Some(reference.kind.as_str()) || (is_page && !name.starts_with("probe_")))
        && selector.admits("job", &reference.name)
        && selector.admits("source", &reference.kind)
}

/// A criterion that is due later than the budget for the decision allows, a person's answer included.
fn budget(facts: &Facts<'_>, problems: &mut Problems) {
    // Where nobody wrote a budget, nobody set their mind on one.
    let written = super::load::lookup(facts.tree, "rollback", "budget").and_then(|n| super::load::child(n, "decide"));
    let Some(written) = written else { return };
    let budget = facts.rollback.budget.decide;
    for rule in facts.rules.iter().filter(|rule| rule.enabled) {
        let (Some(criterion), Some(place)) = (&rule.rule.rollback, &rule.rollback) else { continue };
        let asks = match facts.rollback.mode.value {
            Mode::Observe => continue,
            Mode::Ask => true,
            Mode::Auto => criterion.mode.as_deref() == Some("ask"),
        };
        let critical = match (&criterion.condition.when, &rule.rule.critical) {
            (When::Critical, Some(critical)) => critical.held_for,
            _ => Span::ZERO,
        };
        let held = critical + criterion.condition.held_for;
        let total = if asks { held + facts.rollback.ask.within } else { held };
        if total > budget {
            let answer =
                if asks { format!(", and an answer may take {}", facts.rollback.ask.within) } else { String::new() };
            problems
                .warning(place, "the decision takes longer than its budget", format!("{total} in all"))
                .also(&written.place, "allows less")
                .help(format!(
                    "the condition must hold for {held}{answer}; shorten `for` or `ask.within`, or allow more"
                ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The circles of a graph that is written `a: b c, b: a`.
    fn found(graph: &str) -> Vec<String> {
        let place = Place::default();
        let edges = graph.split(',').map(|line| {
            let (rule, others) = line.split_once(':').unwrap();
            (rule.trim(), others.split_whitespace().map(|other| (other, &place)).collect())
        });
        let mut problems = Problems::default();
        circles("with", &edges.collect(), &mut problems);
        problems.list.into_iter().map(|p| p.title).collect()
    }

    #[test]
    fn circles_are_found_once_with_their_path() {
        for (graph, paths) in [
            ("a: b, b: c, c:", &[][..]),
            ("a: b c, b: d, c: d, d:", &[]),
            ("a: unknown", &[]),
            ("a: a", &["a -> a"]),
            ("a: b, b: c, c: b", &["b -> c -> b"]),
            ("a: b, b: a, c: d, d: c", &["a -> b -> a", "c -> d -> c"]),
        ] {
            let wanted: Vec<String> = paths.iter().map(|path| format!("a circle of `with`: {path}")).collect();
            assert_eq!(found(graph), wanted, "{graph}");
        }
    }

    #[test]
    fn a_long_chain_is_walked_without_a_deep_stack() {
        let n = 20_000;
        let names: Vec<String> = (0..n).map(|i| format!("r{i:05}")).collect();
        let place = Place::default();
        let graph = (0..n).map(|i| (names[i].as_str(), vec![(names[(i + 1) % n].as_str(), &place)])).collect();
        let mut problems = Problems::default();
        circles("depends_on", &graph, &mut problems);
        assert_eq!(problems.errors(), 1);
    }
}
