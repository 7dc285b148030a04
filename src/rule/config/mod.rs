//! `[rule.NAME]`: what people write about one value and its conditions.
//!
//! Enters: the table. Leaves: a [`Config`] with a compiled [`Rule`], or problems, all at once, each at the word it
//! means. Whether what is named here exists (rungs, rules, sources, phases) is checked by `config`, which knows them.

mod baseline;
mod clause;
mod condition;
mod lint;
mod order;
mod scope;
#[cfg(test)]
mod tests;
mod value;

use super::{Baseline, Clause, Criterion, Dependency, NoData, Rule, Test};
use crate::base::table::{Placed, nearest};
use crate::base::{Level, Node, Place, Problems, Span, Table};
use baseline::Kind;
use condition::{Times, Written};

/// How long an answer of a remote server may take, unless its table says something else.
pub const REMOTE_TIMEOUT: Span = Span::secs(10);

/// The conditions of a rule, the mildest first.
const CONDITIONS: [&str; 4] = ["target", "warning", "critical", "rollback"];

/// A rule as it was written.
#[derive(Clone, Debug)]
pub struct Config {
    /// The rule itself, ready to be judged.
    pub rule: Rule,
    /// `enabled = false` leaves it out.
    pub enabled: bool,
    /// Where its table stands.
    pub place: Place,
    /// The remote server that it names.
    pub remote: Option<Placed<String>>,
    /// The rung that `rollback` names.
    pub rung: Option<Placed<String>>,
    /// Where `rollback` stands.
    pub rollback: Option<Place>,
    /// Each time that the condition must hold, where it was written.
    pub times: Vec<Placed<Span>>,
    /// The phases in which it is judged.
    pub phases: Vec<Placed<String>>,
    /// What holds it.
    pub depends_on: Vec<Placed<Dependency>>,
    /// The rules that must be critical as well for its criterion.
    pub with: Vec<Placed<String>>,
}

impl Config {
    /// Reads the table of the rule `name`; none when it cannot be judged.
    pub fn read(name: &str, node: &Node, problems: &mut Problems) -> Option<Config> {
        let before = problems.errors();
        let mut table = Table::open(node, "a rule", problems)?;
        refuse_not_yet(&mut table, problems);
        let times = Times::read(&mut table, problems);
        let read = |key| Written::read(key, table.node(key)?, problems);
        let conditions: Vec<Written> = CONDITIONS.into_iter().filter_map(read).collect();
        let all: Vec<&Written> = conditions.iter().collect();
        let scope = scope::Written::read(&mut table, problems);
        let over = read_over(&mut table, problems);
        let declared = table.node("unit").and_then(|node| value::read_unit(node, problems));
        let remote: Option<Placed<String>> = table.get("remote", problems);
        let kind = match &remote {
            _ if table.key_place("errors").is_some() || table.key_place("total").is_some() => Kind::Share,
            Some(_) => Kind::Remote,
            None => Kind::Here,
        };
        let meant = table.node("baseline").map(|node| (baseline::read(node, problems), node));
        let unit_errors = problems.errors();
        let units: Vec<_> =
            all.iter().flat_map(|w| w.tests()).flat_map(|r| &r.units).chain(scope.units()).cloned().collect();
        let scale = value::settle_unit(&units, declared, kind, problems);
        let are_comparable = problems.errors() == unit_errors;
        let baseline = match meant {
            Some((None, _)) => None,
            Some((Some(meant), node)) => baseline::settle(Some(&(meant, node)), scale, kind, problems),
            None => Some(Baseline::History),
        };
        if let Some(baseline) = &baseline {
            baseline::check(baseline, table.key_place("baseline"), &all, kind, scale, problems);
        }
        let value = value::read(&mut table, scale, &all, remote.as_ref(), problems);
        let labels = table.labels(problems);
        let no_data = read_no_data(&mut table, problems);
        let (summary, runbook) = (table.get("summary", problems), table.get("runbook", problems));
        let enabled = table.or("enabled", true, problems);
        // A key that is spelled wrong is probably the condition; that is said already.
        let is_bare = all.is_empty() && !table.has_rest();
        if is_bare && CONDITIONS.iter().all(|key| table.key_place(key).is_none()) {
            problems
                .error(table.place(), "a rule without a condition", "it would never say anything")
                .help("for example: critical = \"> 10%\"");
        }
        let is_history = matches!(baseline, Some(Baseline::History));
        // A mean since the deployment is a plain figure, also of a share.
        let is_share = kind == Kind::Share && over.is_none();
        let has_evidence = |test: &Test| brings_evidence(test, is_history, is_share);
        let settled: Vec<_> = all.iter().map(|written| (*written, written.settle(&times, has_evidence))).collect();
        if let Some(over) = &over {
            refuse_over_watch(over, &all, is_history, problems);
        }
        // Limits of different units have no order; that they differ has been said.
        if are_comparable {
            let pairs: Vec<_> = settled.iter().map(|(written, condition)| (*written, condition)).collect();
            order::check(&pairs, problems);
        }
        if let Some(value) = &value {
            let expr = table.node("expr");
            lint::check(&lint::Facts { value, expr, declared, scale, all: &all, times: &times }, problems);
        }
        let place = table.place().clone();
        table.finish(problems);
        if problems.errors() > before {
            return None;
        }
        let own = all.iter().filter_map(|written| written.own.held_for.clone());
        let written_times = times.held_for.iter().cloned().chain(own).collect();
        let condition = |key: &str| {
            let at = settled.iter().position(|(written, _)| written.key == key)?;
            Some(settled[at].clone())
        };
        let rollback = condition("rollback");
        let rule = Rule {
            name: name.into(),
            value: value?,
            unit: scale.unit,
            target: condition("target").map(|(_, c)| c),
            warning: condition("warning").map(|(_, c)| c),
            critical: condition("critical").map(|(_, c)| c),
            rollback: rollback.as_ref().map(|(written, condition)| Criterion {
                condition: condition.clone(),
                mode: written.mode.clone(),
                rung: written.rung.as_ref().map(|rung| rung.value.clone()),
                with: written.with.iter().map(|with| with.value.clone()).collect(),
            }),
            no_data,
            baseline: baseline?,
            scope: scope.settle(),
            over_watch: over.is_some(),
            labels,
            summary,
            runbook,
        };
        Some(Config {
            rule,
            enabled,
            place,
            remote,
            rung: rollback.as_ref().and_then(|(written, _)| written.rung.clone()),
            with: rollback.as_ref().map_or_else(Vec::new, |(written, _)| written.with.clone()),
            rollback: rollback.map(|(written, _)| written.place.clone()),
            times: written_times,
            phases: scope.phases,
            depends_on: scope.depends_on,
        })
    }
}

/// Whether a test decides on statistics of its own, which are its `for`: a trend, a calibrated baseline, or a share of
/// events against one limit above which it is bad.
fn brings_evidence(test: &Test, is_history: bool, is_share: bool) -> bool {
    let is_statistic = |clause: &Clause| match clause {
        Clause::Reaches { .. } => true,
        Clause::Baseline(..) => is_history,
        Clause::Value(..) => false,
    };
    test.0.iter().any(is_statistic) || (is_share && test.only_value().is_some_and(|(op, _)| op.rises()))
}

/// The one key that the grammar has and this version has not: refused, and not taken for a typing error.
fn refuse_not_yet(table: &mut Table<'_>, problems: &mut Problems) {
    if let Some(place) = table.key_place("gate") {
        problems.error(place, "unknown key `gate`", "would have no effect").help("`gate` is not in this version");
        table.node("gate");
    }
}

/// Reads `over`; where that stands.
fn read_over(table: &mut Table<'_>, problems: &mut Problems) -> Option<Place> {
    let over: Placed<String> = table.get("over", problems)?;
    if over.value == "watch" {
        return Some(over.place);
    }
    problems
        .error(&over.place, format!("a value is not taken over `{}`", over.value), "")
        .help("over = \"watch\": the mean since the deployment; a range stands in the expression itself: rate(x[5m])");
    None
}

/// A mean since T0 moves ever more slowly: neither its trend nor its past says anything.
fn refuse_over_watch(over: &Place, all: &[&Written], is_history: bool, problems: &mut Problems) {
    let clauses = all.iter().flat_map(|written| written.tests()).flat_map(|read| read.clauses());
    for (clause, place) in clauses {
        let (title, help) = match clause {
            Clause::Reaches { .. } => ("a mean over the watch has no trend", "leave `over` out, or write a limit"),
            Clause::Baseline(..) if is_history => (
                "a mean over the watch has no past to compare with",
                "leave `over` out, or choose another baseline: baseline = \"before\", or a figure",
            ),
            Clause::Baseline(..) | Clause::Value(..) => continue,
        };
        problems.error(place, title, "").also(over, "the mean since the deployment").help(help);
    }
}

fn read_no_data(table: &mut Table<'_>, problems: &mut Problems) -> NoData {
    const WORDS: [&str; 4] = ["hold", "ok", "warning", "critical"];
    let Some(word) = table.get::<Placed<String>>("no_data", problems) else { return NoData::default() };
    match word.value.as_str() {
        "hold" => NoData::Hold,
        "ok" => NoData::Ok,
        "warning" => NoData::As(Level::Warning),
        "critical" => NoData::As(Level::Critical),
        other => {
            let problem = problems.error(&word.place, format!("`no_data` cannot be \"{other}\""), "");
            match nearest(other, &WORDS) {
                Some(near) => problem.help(format!("did you mean \"{near}\"?")),
                None => problem.help("\"hold\", \"ok\", \"warning\" or \"critical\""),
            };
            NoData::default()
        }
    }
}
