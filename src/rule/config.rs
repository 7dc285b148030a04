//! `[rule.NAME]`: what people write about one value and its conditions.
//!
//! Enters: the table. Leaves: a [`Config`] with a compiled [`Rule`], or problems, all at once, each at the word it
//! means. Whether a rung that is named here exists is checked by `config`, which knows the ladder.

use std::ops::Range;
use std::sync::Arc;

use super::condition::{Comparison, Condition, Test, When};
use super::{Criterion, NoData, Rule, Value};
use crate::base::table::{Placed, Read, Value as Raw, nearest};
use crate::base::{Labels, Level, Node, Place, Problems, Quantity, Span, Table, Unit};
use crate::promql;

/// Keys that the grammar has and this version has not: refused, and not taken for typing errors.
const NOT_YET: [&str; 10] =
    ["target", "hits", "after", "arm", "phases", "baseline", "over", "depends_on", "gate", "with"];

/// How long an answer of a remote server may take, unless its table says something else.
pub const REMOTE_TIMEOUT: Span = Span::secs(10);

/// How a condition is written.
const CONDITION: &str = "a condition is written like \"> 5%\", \"> 300ms\", \"< 2GiB\", \"> 100\"";

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
    /// Each time that the condition must hold, where it was written.
    pub times: Vec<Placed<Span>>,
}

/// What holds for each condition that says nothing else.
#[derive(Clone, Copy, Debug)]
struct Times {
    held_for: Span,
    keep: Span,
}

/// A condition with the places that further checks point at.
#[derive(Clone, Debug)]
struct Written {
    condition: Condition,
    place: Place,
    units: Vec<(Unit, Place)>,
    mode: Option<String>,
    rung: Option<Placed<String>>,
    held_for: Option<Placed<Span>>,
}

/// The unit of a rule: what its figures are, and what one of the series' own units is in base units.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scale {
    unit: Unit,
    by: f64,
}

impl Config {
    /// Reads the table of the rule `name`; none when it cannot be judged.
    pub fn read(name: &str, node: &Node, problems: &mut Problems) -> Option<Config> {
        let before = problems.errors();
        let mut table = Table::open(node, "a rule", problems)?;
        refuse_not_yet(&mut table, problems);
        let held_for: Option<Placed<Span>> = table.get("for", problems);
        let times = Times {
            held_for: held_for.as_ref().map_or(Span::mins(1), |f| f.value),
            keep: table.or("keep", Span::mins(1), problems),
        };
        let mut written = |key: &str| table.node(key).and_then(|n| Written::read(key, n, times, problems));
        let (warning, critical, rollback) = (written("warning"), written("critical"), written("rollback"));
        let declared = table.node("unit").and_then(|n| read_unit(n, problems));
        let is_share = table.key_place("errors").is_some() || table.key_place("total").is_some();
        let all: Vec<&Written> = [&warning, &critical, &rollback].into_iter().flatten().collect();
        let unit_errors = problems.errors();
        let scale = settle_unit(&all, declared, is_share, problems);
        let are_comparable = problems.errors() == unit_errors;
        let remote: Option<Placed<String>> = table.get("remote", problems);
        let value = read_value(&mut table, scale, &all, remote.as_ref(), problems);
        let labels = read_labels(&mut table, problems);
        let no_data = read_no_data(&mut table, problems);
        let (summary, runbook) = (table.get("summary", problems), table.get("runbook", problems));
        let enabled = table.or("enabled", true, problems);
        // A key that is spelled wrong is probably the condition; that is said already.
        let is_bare = all.is_empty() && !table.has_rest();
        if is_bare && ["warning", "critical", "rollback"].iter().all(|key| table.key_place(key).is_none()) {
            problems
                .error(table.place(), "a rule without a condition", "it would never say anything")
                .help("for example: critical = \"> 10%\"");
        }
        // Limits of different units have no order; that they differ has been said.
        if are_comparable {
            compare(warning.as_ref(), critical.as_ref(), rollback.as_ref(), problems);
        }
        let place = table.place().clone();
        table.finish(problems);
        let times = [&warning, &critical, &rollback].into_iter().flatten().filter_map(|w| w.held_for.clone());
        let times = held_for.into_iter().chain(times).collect();
        let rung = rollback.as_ref().and_then(|r| r.rung.clone());
        let rule = Rule {
            name: name.into(),
            value: value?,
            unit: scale.unit,
            warning: warning.map(|w| w.condition),
            critical: critical.map(|w| w.condition),
            rollback: rollback.map(|w| Criterion {
                condition: w.condition,
                mode: w.mode,
                rung: w.rung.map(|rung| rung.value),
            }),
            no_data,
            labels,
            summary,
            runbook,
        };
        (problems.errors() == before).then_some(Config { rule, enabled, place, remote, rung, times })
    }
}

fn refuse_not_yet(table: &mut Table<'_>, problems: &mut Problems) {
    for key in NOT_YET {
        if let Some(place) = table.key_place(key) {
            problems
                .error(place, format!("unknown key `{key}`"), "would have no effect")
                .help(format!("`{key}` is not in this version"));
            table.node(key);
        }
    }
}

impl Written {
    /// Reads a condition: a string, or a table around one.
    fn read(key: &str, node: &Node, times: Times, problems: &mut Problems) -> Option<Written> {
        let Raw::Table(_) = &node.value else { return Written::of_text(key, node, times, problems) };
        let what = format!("`{key}`");
        let mut table = Table::open(node, &what, problems)?;
        refuse_not_yet(&mut table, problems);
        let when = match table.node("when") {
            Some(when) => Written::of_text(key, when, times, problems),
            None => table.required::<String>("when", "\"> 10%\"", problems).and(None),
        };
        let held_for: Option<Placed<Span>> = table.get("for", problems);
        let keep: Option<Span> = table.get("keep", problems);
        let clear = table.node("clear").and_then(|n| Some((read_clear(n, problems)?, n.place.clone())));
        let (mode, rung) = if key == "rollback" {
            (read_mode(&mut table, problems), table.get("rung", problems))
        } else {
            (None, None)
        };
        table.finish(problems);
        let mut written = when?;
        if let Some(held_for) = &held_for {
            written.condition.held_for = held_for.value;
        }
        written.condition.keep = keep.unwrap_or(written.condition.keep);
        if let Some(((test, units), place)) = clear {
            check_clear(&written, &test, &place, problems);
            written.condition.clear = Some(test);
            written.units.extend(units);
        }
        Some(Written { mode, rung, held_for, ..written })
    }

    fn of_text(key: &str, node: &Node, times: Times, problems: &mut Problems) -> Option<Written> {
        let text = String::read(node, problems)?;
        let (when, units) = read_when(key, &text, &node.inside(), problems)?;
        // What is critical has held long enough already; only a `for` of its own makes it wait longer.
        let held_for = if when == When::Critical { Span::ZERO } else { times.held_for };
        let condition = Condition { when, held_for, clear: None, keep: times.keep };
        Some(Written { condition, place: node.place.clone(), units, mode: None, rung: None, held_for: None })
    }

    fn test(&self) -> Option<&Test> {
        match &self.condition.when {
            When::Test(test) => Some(test),
            When::Critical | When::Present => None,
        }
    }
}

type Units = Vec<(Unit, Place)>;

fn read_when(key: &str, text: &str, place: &Place, problems: &mut Problems) -> Option<(When, Units)> {
    match text.trim() {
        "present" => Some((When::Present, Vec::new())),
        "critical" if key == "rollback" => Some((When::Critical, Vec::new())),
        "critical" => {
            problems.error(place, format!("`{key}` cannot be \"critical\""), "only `rollback` can").help(CONDITION);
            None
        }
        _ => read_test(text, place, problems).map(|(test, units)| (When::Test(test), units)),
    }
}

/// Reads comparisons joined by `and`.
fn read_test(text: &str, place: &Place, problems: &mut Problems) -> Option<(Test, Units)> {
    let mut comparisons = Vec::new();
    let mut units = Vec::new();
    let mut good = true;
    let mut at = 0;
    for part in text.split(" and ") {
        let range = trimmed(text, at..at + part.len());
        at += part.len() + " and ".len();
        match read_comparison(&text[range.clone()], &place.part(range.clone()), problems) {
            Some((comparison, quantity)) => {
                // Zero is zero in every unit.
                if quantity.value != 0.0 || quantity.unit != Unit::Count {
                    units.push((quantity.unit, place.part(range)));
                }
                comparisons.push((comparison, quantity));
            }
            None => good = false,
        }
    }
    good.then_some((Test(comparisons), units))
}

fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let part = &text[range.clone()];
    let start = range.start + (part.len() - part.trim_start().len());
    start..(start + part.trim().len())
}

fn read_comparison(text: &str, place: &Place, problems: &mut Problems) -> Option<(Comparison, Quantity)> {
    const OPERATORS: [Comparison; 6] = [
        Comparison::AtLeast,
        Comparison::AtMost,
        Comparison::Equal,
        Comparison::NotEqual,
        Comparison::Above,
        Comparison::Below,
    ];
    let Some(operator) = OPERATORS.into_iter().find(|op| text.starts_with(op.as_str())) else {
        let title =
            if text.is_empty() { "a comparison is missing".into() } else { format!("`{text}` is no condition") };
        let problem = problems.error(place, title, "");
        if text.starts_with("reaches") {
            problem.help("`reaches` is not in this version");
        } else {
            problem.help(CONDITION);
        }
        return None;
    };
    let value = &text[operator.as_str().len()..];
    let offset = operator.as_str().len();
    if value.trim_start().starts_with("baseline") {
        let place = place.part(trimmed(text, offset..text.len()));
        problems.error(&place, "a baseline has no value here", "").help("`baseline` is not in this version");
        return None;
    }
    match Quantity::parse(value) {
        Ok(quantity) if quantity.value.is_finite() => Some((operator, quantity)),
        Ok(_) => {
            problems.error(place, format!("`{}` is no limit", value.trim()), "too large").help(CONDITION);
            None
        }
        Err(why) => {
            let bad = Quantity::bad_part(value);
            problems.error(&place.part(offset + bad.start..offset + bad.end), why, "").help(CONDITION);
            None
        }
    }
}

fn read_clear(node: &Node, problems: &mut Problems) -> Option<(Test, Units)> {
    let text = String::read(node, problems)?;
    read_test(&text, &node.inside(), problems)
}

/// `clear` must end the condition: no value may be both.
fn check_clear(written: &Written, clear: &Test, place: &Place, problems: &mut Problems) {
    let Some(when) = written.test() else {
        problems.error(place, "`clear` needs a comparison to end", "this condition has none");
        return;
    };
    let ([(op, limit)], [(clear_op, clear_limit)]) = (when.0.as_slice(), clear.0.as_slice()) else { return };
    let apart = match (op.rises(), falls(*op), clear_op.rises(), falls(*clear_op)) {
        (true, _, _, true) => clear_limit.value <= limit.value,
        (_, true, true, _) => clear_limit.value >= limit.value,
        (true, _, true, _) | (_, true, _, true) => false,
        _ => true,
    };
    if !apart {
        problems
            .error(place, "`clear` is on the wrong side", "this holds while the condition does")
            .also(&written.place, "begins here")
            .help("a condition \"> 90%\" is cleared by something like \"< 85%\"");
    }
}

fn falls(op: Comparison) -> bool {
    matches!(op, Comparison::Below | Comparison::AtMost)
}

fn read_mode(table: &mut Table<'_>, problems: &mut Problems) -> Option<String> {
    let mode: Placed<String> = table.get("mode", problems)?;
    if ["observe", "ask", "auto"].contains(&mode.value.as_str()) {
        return Some(mode.value);
    }
    problems
        .error(&mode.place, format!("there is no mode `{}`", mode.value), "")
        .help("\"observe\" or \"ask\"; a rule may only be more careful than [rollback] mode");
    None
}

/// Reads `unit`: what one of the series' own units is in base units.
fn read_unit(node: &Node, problems: &mut Problems) -> Option<Scale> {
    let text = String::read(node, problems)?;
    let word = if text == "percent" { "%" } else { text.as_str() };
    let letters = !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphabetic() || b == b'%');
    match Quantity::parse(&format!("1{word}")) {
        Ok(one) if letters => Some(Scale { unit: one.unit, by: one.value }),
        _ => {
            problems
                .error(&node.place, format!("`{text}` is no unit"), "")
                .help("what the series counts in: \"ms\", \"s\", \"percent\", \"KiB\", \"MB\", …");
            None
        }
    }
}

/// The one unit of all conditions, and of `unit` where it stands.
fn settle_unit(all: &[&Written], declared: Option<Scale>, is_share: bool, problems: &mut Problems) -> Scale {
    let units: Vec<&(Unit, Place)> = all.iter().flat_map(|w| &w.units).collect();
    let wanted = match (declared, is_share, units.first()) {
        (Some(scale), _, _) => scale,
        (None, true, _) => Scale { unit: Unit::Ratio, by: 1.0 },
        (None, false, Some((unit, _))) => Scale { unit: *unit, by: 1.0 },
        (None, false, None) => Scale { unit: Unit::Count, by: 1.0 },
    };
    let Some((other, place)) = units.iter().find(|(unit, _)| *unit != wanted.unit) else { return wanted };
    let title = format!("{} and {} cannot be compared", noun(wanted.unit), noun(*other));
    let problem = problems.error(place, title, format!("this is {}", noun(*other)));
    if declared.is_some() {
        problem.help(format!("`unit` says that the value is {}", noun(wanted.unit)));
    } else if is_share {
        problem.help("the share of errors is written in percent: \"> 10%\"");
    } else if let Some((first, at)) = units.first() {
        problem.also(at, format!("this is {}", noun(*first))).help("write all limits of a rule in one unit");
    }
    wanted
}

fn noun(unit: Unit) -> &'static str {
    match unit {
        Unit::Count => "a plain number",
        Unit::Ratio => "a ratio",
        Unit::Seconds => "a duration",
        Unit::Bytes => "a size",
    }
}

fn read_value(
    table: &mut Table<'_>,
    scale: Scale,
    all: &[&Written],
    remote: Option<&Placed<String>>,
    problems: &mut Problems,
) -> Option<Value> {
    let (expr, errors, total) = (table.node("expr"), table.node("errors"), table.node("total"));
    if errors.is_some() || total.is_some() {
        if let (Some(expr), Some(share)) = (expr, errors.or(total)) {
            problems
                .error(&expr.place, "a rule has one value", "`expr` is one")
                .also(&share.place, "and this is another")
                .help("write two rules");
        }
        let share = read_share(table, problems);
        if let Some(remote) = remote {
            problems
                .error(
                    &remote.place,
                    "a share is counted here, not by a remote server",
                    "counts are exact only over own samples",
                )
                .help("write the quotient as `expr`, or let a [prometheus.NAME] collect the counters");
        }
        if let Some(place) = all.iter().find(|w| w.condition.when == When::Present).map(|w| &w.place) {
            problems.error(place, "a share is always present", "").help("write a limit: \"> 10%\"");
        }
        return share;
    }
    for key in ["window", "by", "min_errors"] {
        if let Some(place) = table.key_place(key) {
            problems
                .error(place, format!("`{key}` belongs to `errors` and `total`"), "has no effect on `expr`")
                .help("a range stands in the expression itself: rate(x[5m])");
            table.node(key);
        }
    }
    let Some(expr) = expr else {
        problems
            .error(table.place(), "a rule without a value", "neither `expr` nor `errors` and `total`")
            .help("for example: expr = 'up'");
        return None;
    };
    read_expression(expr, scale, all, remote, problems)
}

fn read_expression(
    node: &Node,
    scale: Scale,
    all: &[&Written],
    remote: Option<&Placed<String>>,
    problems: &mut Problems,
) -> Option<Value> {
    let text = String::read(node, problems)?;
    let plan = match promql::compile(&text) {
        Ok(plan) => plan,
        Err(error) => {
            refuse_expression(&error, &text, node, problems);
            return None;
        }
    };
    for annotation in plan.annotations() {
        problems.warning(&node.inside().part(annotation.at.clone()), annotation.message.clone(), "");
    }
    if plan.root_comparison().is_some()
        && let Some(other) = all.iter().find(|w| w.test().is_some())
    {
        problems
            .error(&node.inside(), "a comparison at the top of `expr`", "gives only what it lets through")
            .also(&other.place, "so this cannot be judged")
            .help("take the comparison out of `expr`, or write \"present\" as the condition");
        return None;
    }
    if let Some(remote) = remote {
        let asked = if scale.by == 1.0 { text.clone() } else { in_base_units(&text, scale.by) };
        return match promql::RemoteQuery::compile(&asked) {
            Ok(query) => {
                let (remote, query) = (remote.value.clone(), Arc::new(query));
                Some(Value::Remote { text, remote, query, timeout: REMOTE_TIMEOUT })
            }
            Err(error) => {
                refuse_expression(&error, &text, node, problems);
                None
            }
        };
    }
    let plan = if scale.by == 1.0 { plan } else { scaled(&text, scale.by, plan) };
    Some(Value::Expression { text, plan: Arc::new(plan) })
}

/// The same expression in base units, so that figures and limits are held against each other as they are.
fn scaled(text: &str, by: f64, plain: promql::Plan) -> promql::Plan {
    promql::compile(&in_base_units(text, by)).unwrap_or(plain)
}

fn in_base_units(text: &str, by: f64) -> String {
    // The line break ends a comment in the last line of the expression.
    format!("({text}\n) * {by:e}")
}

fn refuse_expression(error: &promql::CompileError, text: &str, node: &Node, problems: &mut Problems) {
    let inside = node.inside();
    // An error at the very end is underlined under the last character, so that it can be seen.
    let at = error.at.clone().map_or(inside.clone(), |at| {
        let start = at.start.min(text.len().saturating_sub(1));
        inside.part(start..at.end.max(start + 1))
    });
    let problem = problems.error(&at, error.message.clone(), error.label.clone().unwrap_or_default());
    if let Some(help) = &error.help {
        problem.help(help.clone());
    }
}

fn read_share(table: &mut Table<'_>, problems: &mut Problems) -> Option<Value> {
    let mut selector = |key: &str, example: &str, problems: &mut Problems| {
        let text: String = table.required(key, example, problems)?;
        let node = table.node(key)?;
        match promql::compile_selector(&text) {
            Ok(selector) => Some((text, Arc::new(selector))),
            Err(error) => {
                refuse_expression(&error, &text, node, problems);
                None
            }
        }
    };
    let errors = selector("errors", "'http_requests_total{status=~\"5..\"}'", problems);
    let total = selector("total", "'http_requests_total'", problems);
    let window: Placed<Span> =
        table.or("window", Placed { value: Span::mins(5), place: table.place().clone() }, problems);
    if window.value <= Span::ZERO {
        problems.error(&window.place, "a window is longer than nothing", "no event falls into it");
    }
    let by = table.or("by", Vec::new(), problems);
    let min_errors = table.or("min_errors", 3, problems);
    let ((errors_text, errors), (total_text, total)) = (errors?, total?);
    let texts = [errors_text, total_text];
    Some(Value::Share { errors, total, texts, window: window.value, by, min_errors })
}

fn read_labels(table: &mut Table<'_>, problems: &mut Problems) -> Labels {
    let Some(mut labels) = table.node("labels").and_then(|n| Table::open(n, "`labels`", problems)) else {
        return Labels::empty();
    };
    let mut pairs = Vec::new();
    for entry in labels.rest() {
        let word = entry.key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !word || entry.key.is_empty() || entry.key.starts_with(|c: char| c.is_ascii_digit()) {
            problems.error(&entry.place, format!("`{}` is no name of a label", entry.key), "letters, digits and `_`");
        } else if let Some(value) = String::read(&entry.node, problems) {
            pairs.push((entry.key.as_str(), value));
        }
    }
    Labels::new(pairs.iter().map(|(name, value)| (*name, value.as_str())))
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

/// Checks the order of the conditions: each one implies the milder.
fn compare(warning: Option<&Written>, critical: Option<&Written>, rollback: Option<&Written>, problems: &mut Problems) {
    let Some(critical) = critical else {
        if let Some(rollback) = rollback.filter(|r| r.condition.when == When::Critical) {
            problems
                .error(&rollback.place, "`rollback` waits for a `critical` that is not there", "")
                .help("add critical = \"…\" to the rule, or write the limit here");
        }
        return;
    };
    if let Some(warning) = warning
        && let (Some(mild), Some(strict)) = (warning.test(), critical.test())
        && implies(mild, strict)
        && !implies(strict, mild)
    {
        problems
            .error(&warning.place, "warning is stricter than critical", "would never be seen")
            .also(&critical.place, "comes first")
            .help("exchange the two limits");
    }
    if let Some(rollback) = rollback {
        compare_rollback(critical, rollback, problems);
    }
}

fn compare_rollback(critical: &Written, rollback: &Written, problems: &mut Problems) {
    const HELP: &str = "make it at least as strict, or write rollback = \"critical\"";
    let limits = match (critical.test(), rollback.test()) {
        (Some(mild), Some(strict)) => (implies(strict, mild), implies(mild, strict)),
        (None, None) if rollback.condition.when == When::Present => (true, true),
        _ => return,
    };
    if !limits.0 {
        problems
            .error(&rollback.place, "rollback is reached before critical", "would roll back first")
            .also(&critical.place, "alerts from here")
            .help(HELP);
    } else if limits.1 && rollback.condition.held_for < critical.condition.held_for {
        let place = rollback.held_for.as_ref().map_or(&rollback.place, |f| &f.place);
        problems
            .error(place, "rollback is reached before critical", "the same limit for a shorter time")
            .also(&critical.place, format!("alerts after {}", critical.condition.held_for))
            .help(HELP);
    }
}

/// Whether every value that fulfils `strict` also fulfils `mild`, as far as single comparisons show it.
fn implies(strict: &Test, mild: &Test) -> bool {
    mild.0.iter().all(|(op, limit)| strict.0.iter().any(|(s, l)| comparison_implies(*s, l.value, *op, limit.value)))
}

fn comparison_implies(strict: Comparison, limit: f64, mild: Comparison, mild_limit: f64) -> bool {
    use Comparison::{Above, AtLeast, AtMost, Below, Equal, NotEqual};
    match (strict, mild) {
        (Equal, _) => mild.holds(limit, mild_limit),
        (Above, Above) | (AtLeast, AtLeast) | (Above, AtLeast) => limit >= mild_limit,
        (AtLeast, Above) => limit > mild_limit,
        (Below, Below) | (AtMost, AtMost) | (Below, AtMost) => limit <= mild_limit,
        (AtMost, Below) => limit < mild_limit,
        (NotEqual, NotEqual) => limit == mild_limit,
        (Above, NotEqual) => limit >= mild_limit,
        (AtLeast, NotEqual) => limit > mild_limit,
        (Below, NotEqual) => limit <= mild_limit,
        (AtMost, NotEqual) => limit < mild_limit,
        (Above | AtLeast, Below | AtMost | Equal)
        | (Below | AtMost, Above | AtLeast | Equal)
        | (NotEqual, Above | AtLeast | Below | AtMost | Equal) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::table::Entry;

    fn at(range: Range<usize>) -> Place {
        Place { file: 0, range }
    }

    /// A table of strings; a value that begins with `{` is a table of `key=value` pairs.
    fn rule(keys: &[(&str, &str)]) -> (Option<Config>, Vec<String>) {
        let text = |t: &str| Node { value: Raw::Text(t.into()), place: at(100..102 + t.len()) };
        let entry = |key: &str, node| Entry { key: key.into(), place: at(1..2), node };
        let entries = keys.iter().map(|(key, value)| match value.strip_prefix('{') {
            Some(inner) => {
                let inner = inner.split(';').filter_map(|pair| pair.split_once('='));
                let inner = inner.map(|(k, v)| entry(k, text(v))).collect();
                entry(key, Node { value: Raw::Table(inner), place: at(90..300) })
            }
            None => entry(key, text(value)),
        });
        let node = Node { value: Raw::Table(entries.collect()), place: at(0..1) };
        let mut problems = Problems::default();
        let config = Config::read("x", &node, &mut problems);
        (config, problems.list.into_iter().map(|p| p.title).collect())
    }

    #[test]
    fn a_rule_is_read_with_its_units_and_times() {
        let (config, problems) = rule(&[
            ("expr", "latency_ms"),
            ("unit", "ms"),
            ("warning", "> 300ms and < 1h"),
            ("critical", "{when=> 500ms;for=5m;clear=< 400ms"),
            ("rollback", "critical"),
            ("no_data", "warning"),
        ]);
        assert_eq!(problems, Vec::<String>::new());
        let rule = config.unwrap().rule;
        assert_eq!(rule.unit, Unit::Seconds);
        assert_eq!(rule.no_data, NoData::As(Level::Warning));
        let critical = rule.critical.unwrap();
        assert_eq!((critical.held_for, critical.keep), (Span::mins(5), Span::mins(1)));
        assert_eq!(critical.clear.unwrap().to_string(), "< 400 ms");
        assert_eq!(rule.rollback.unwrap().condition.held_for, Span::ZERO);
        let Value::Expression { text, plan } = rule.value else { panic!("an expression") };
        assert_eq!(text, "latency_ms");
        assert!(plan.text().contains("1e-3"), "{}", plan.text());
    }

    #[test]
    fn shares_take_percent_and_their_defaults() {
        let (config, problems) = rule(&[("errors", "e_total"), ("total", "t_total"), ("critical", "> 10%")]);
        assert_eq!(problems, Vec::<String>::new());
        let Value::Share { window, min_errors, .. } = config.unwrap().rule.value else { panic!("a share") };
        assert_eq!((window, min_errors), (Span::mins(5), 3));
    }

    #[test]
    fn mistakes_are_named() {
        let same: &[(&str, &str)] = &[("expr", "up")];
        for (keys, title) in [
            (&[("critical", "> 5 bananas")][..], "`bananas` is no unit"),
            (&[("critical", "5%")], "`5%` is no condition"),
            (&[("critical", "critical")], "`critical` cannot be \"critical\""),
            (&[("critical", "> 10%"), ("rollback", "> 5%")], "rollback is reached before critical"),
            (&[("critical", "> 10%"), ("rollback", "{when=> 10%;for=10s")], "rollback is reached before critical"),
            (&[("critical", "> 10%"), ("rollback", "< 5%")], "rollback is reached before critical"),
            (&[("warning", "> 20%"), ("critical", "> 10%")], "warning is stricter than critical"),
            (&[("critical", "{when=> 90%;clear=> 80%")], "`clear` is on the wrong side"),
            (&[("critical", "{when=< 10%;clear=> 5%")], "`clear` is on the wrong side"),
            (&[("critical", "> 90%"), ("warning", "> 5s")], "a duration and a ratio cannot be compared"),
            (&[("critical", "> baseline + 5%")], "a baseline has no value here"),
            (&[("critical", "> 1"), ("after", "1h")], "unknown key `after`"),
            (&[("critical", "> 1"), ("for", "5")], "`5` has no unit"),
            (&[("rollback", "critical")], "`rollback` waits for a `critical` that is not there"),
            (&[], "a rule without a condition"),
        ] {
            let (config, problems) = rule(&[same, keys].concat());
            assert_eq!(problems, [title], "{keys:?}");
            assert!(config.is_none());
        }
    }

    #[test]
    fn a_rule_has_exactly_one_value() {
        assert_eq!(rule(&[("critical", "> 1")]).1, ["a rule without a value"]);
        let both = &[("expr", "up"), ("errors", "e_total"), ("total", "t_total"), ("critical", "> 1%")];
        assert_eq!(rule(both).1, ["a rule has one value"]);
        assert_eq!(rule(&[("errors", "e_total"), ("critical", "> 1%")]).1, ["a rule needs `total`"]);
        assert_eq!(rule(&[("expr", "up == 0"), ("critical", "present")]).1, Vec::<String>::new());
        assert_eq!(rule(&[("expr", "up == 0"), ("critical", "> 1")]).1, ["a comparison at the top of `expr`"]);
    }
}
