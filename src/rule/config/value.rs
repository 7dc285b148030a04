//! The value of a rule: `expr`, or `errors` and `total`; and the unit of its figures.
//!
//! Enters: the keys, and the conditions whose figures it is held against. Leaves: a compiled [`Value`], or problems.

use std::sync::Arc;

use super::REMOTE_TIMEOUT;
use super::baseline::Kind;
use super::condition::{Written, WrittenWhen};
use crate::base::table::{Placed, Read as _};
use crate::base::{Node, Place, Problems, Quantity, Span, Table, Unit};
use crate::promql;
use crate::rule::{Clause, Value};

/// The unit of a rule: what its figures are, and what one of the series' own units is in base units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    pub(super) unit: Unit,
    pub(super) by: f64,
}

/// Reads `unit`: what one of the series' own units is in base units.
pub(super) fn read_unit(node: &Node, problems: &mut Problems) -> Option<Scale> {
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

/// The one unit of all figures, and of `unit` where it stands.
pub(super) fn settle_unit(
    units: &[(Unit, Place)],
    declared: Option<Scale>,
    kind: Kind,
    problems: &mut Problems,
) -> Scale {
    let wanted = match (declared, kind, units.first()) {
        (Some(scale), _, _) => scale,
        (None, Kind::Share, _) => Scale { unit: Unit::Ratio, by: 1.0 },
        (None, Kind::Here | Kind::Remote, Some((unit, _))) => Scale { unit: *unit, by: 1.0 },
        (None, Kind::Here | Kind::Remote, None) => Scale { unit: Unit::Count, by: 1.0 },
    };
    let Some((other, place)) = units.iter().find(|(unit, _)| *unit != wanted.unit) else { return wanted };
    let title = format!("{} and {} cannot be compared", noun(wanted.unit), noun(*other));
    let problem = problems.error(place, title, format!("this is {}", noun(*other)));
    if declared.is_some() {
        problem.help(format!("`unit` says that the value is {}", noun(wanted.unit)));
    } else if kind == Kind::Share {
        problem.help("the share of errors is written in percent: \"> 10%\"");
    } else if let Some((first, at)) = units.first() {
        problem.also(at, format!("this is {}", noun(*first))).help("write all limits of a rule in one unit");
    }
    wanted
}

/// What a unit measures, for messages.
pub(super) fn noun(unit: Unit) -> &'static str {
    match unit {
        Unit::Count => "a plain number",
        Unit::Ratio => "a ratio",
        Unit::Seconds => "a duration",
        Unit::Bytes => "a size",
    }
}

/// Reads the value.
pub(super) fn read(
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
        if let Some(place) = all.iter().find(|w| matches!(w.when, WrittenWhen::Present)).map(|w| &w.place) {
            problems.error(place, "a share is always present", "").help("write a limit: \"> 10%\"");
        }
        return share;
    }
    refuse_keys_of_shares(table, all, problems);
    let Some(expr) = expr else {
        problems
            .error(table.place(), "a rule without a value", "neither `expr` nor `errors` and `total`")
            .help("for example: expr = 'up'");
        return None;
    };
    read_expression(expr, scale, all, remote, problems)
}

/// Keys that say how events are counted say nothing of an expression.
fn refuse_keys_of_shares(table: &mut Table<'_>, all: &[&Written], problems: &mut Problems) {
    let trends = all.iter().flat_map(|w| w.tests()).flat_map(|r| r.clauses());
    let is_trend = trends.into_iter().any(|(clause, _)| matches!(clause, Clause::Reaches { .. }));
    for key in ["window", "by", "min_errors"] {
        let Some(place) = table.key_place(key) else { continue };
        table.node(key);
        if key == "window" && is_trend {
            problems
                .error(place, "`reaches` has no window to set", "would have no effect")
                .help("it looks at floors of 10 min, 30 min, 1 h and 2 h at once, and says which of them it was");
            continue;
        }
        problems
            .error(place, format!("`{key}` belongs to `errors` and `total`"), "has no effect on `expr`")
            .help("a range stands in the expression itself: rate(x[5m])");
    }
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

/// The text in base units.
pub(super) fn in_base_units(text: &str, by: f64) -> String {
    // The line break ends a comment in the last line of the expression.
    format!("({text}\n) * {by:e}")
}

/// Says why a text is no expression, at its words.
pub(super) fn refuse_expression(error: &promql::CompileError, text: &str, node: &Node, problems: &mut Problems) {
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
