//! What a rule says that will probably not do what was meant: warnings, each with what to write instead.
//!
//! Enters: a rule as written, its expression's [`promql::Shape`], and the conditions. Nothing is refused here, and where
//! it is not certain that the words are wrong nothing is said.

use super::condition::{Times, Written};
use super::order::{Way, direction};
use super::value::Scale;
use crate::base::table::Value as Raw;
use crate::base::{Node, Place, Problems, Quantity, Span, Unit};
use crate::promql::{self, Quotient, Root, Shape};
use crate::rule::{Clause, Comparison, Value};

/// What the warnings are about.
pub(super) struct Facts<'a> {
    /// The value.
    pub(super) value: &'a Value,
    /// The expression, where it is one.
    pub(super) expr: Option<&'a Node>,
    /// What `unit` says.
    pub(super) declared: Option<Scale>,
    /// The unit of the figures.
    pub(super) scale: Scale,
    /// The conditions.
    pub(super) all: &'a [&'a Written],
    /// The rule's own times.
    pub(super) times: &'a Times,
}

/// Warns.
pub(super) fn check(facts: &Facts<'_>, problems: &mut Problems) {
    let (Some(node), Some(text)) = (facts.expr, facts.text()) else { return };
    let Some(shape) = promql::shape(text) else { return };
    if let (Some(quotient), Value::Expression { .. }) = (&shape.quotient, facts.value) {
        quotient_of_events(facts, quotient, node, problems);
    }
    match shape.root {
        Root::Increase => extrapolated(facts, node, problems),
        Root::CountOfMatches => empty_count(facts, node, problems),
        Root::Largest => partly_empty(facts, "max_over_time", Way::Down, node, problems),
        Root::Smallest => partly_empty(facts, "min_over_time", Way::Up, node, problems),
        Root::Other => {}
    }
    contradicted_unit(facts, &shape, node, problems);
    slow_rate(facts, &shape, node, problems);
}

impl<'a> Facts<'a> {
    fn text(&self) -> Option<&'a str> {
        match &self.expr?.value {
            Raw::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The clauses that must hold, each with its place.
    fn clauses(&self) -> impl Iterator<Item = (&'a Clause, &'a Place)> {
        self.all.iter().filter_map(|written| written.test()).flat_map(|read| read.clauses())
    }

    /// The comparisons with figures.
    fn limits(&self) -> impl Iterator<Item = (Comparison, Quantity, &'a Place)> {
        self.clauses().filter_map(|(clause, place)| match clause {
            Clause::Value(op, limit) => Some((*op, *limit, place)),
            Clause::Baseline(..) | Clause::Reaches { .. } => None,
        })
    }
}

/// Where `word` first stands in the expression; the whole of it where it does not.
fn at_word(node: &Node, word: &str) -> Place {
    let inside = node.inside();
    match &node.value {
        Raw::Text(text) => text.find(word).map_or(inside.clone(), |at| inside.part(at..at + word.len())),
        _ => inside,
    }
}

/// A share of events that could be judged with its counts.
fn quotient_of_events(facts: &Facts<'_>, quotient: &Quotient, node: &Node, problems: &mut Problems) {
    let mut clauses = facts.clauses().peekable();
    let is_limit = |clause: &Clause| matches!(clause, Clause::Value(op, limit) if op.rises() && limit.value > 0.0);
    // What is good when it is high, a share of hits, has no counts of errors.
    if clauses.peek().is_none() || !clauses.all(|(clause, _)| is_limit(clause)) {
        return;
    }
    let by = if quotient.by.is_empty() { String::new() } else { format!(", by = {:?}", quotient.by) };
    let window =
        if quotient.window == Span::mins(5) { String::new() } else { format!(", window = \"{}\"", quotient.window) };
    problems
        .warning(&node.inside(), "a share of events without its counts", "a few unlucky events are a large share")
        .help(format!(
            "write errors = '{}', total = '{}'{window}{by}: judged with its counts, and limits in percent",
            quotient.errors, quotient.total
        ));
}

/// `increase(…) > 5`: five events may be 5.56.
fn extrapolated(facts: &Facts<'_>, node: &Node, problems: &mut Problems) {
    /// Larger counts are no matter of one event.
    const FEW: f64 = 100.0;
    let is_crossed = |(op, limit, _): &(Comparison, Quantity, &Place)| {
        let n = limit.value;
        let is_count = limit.unit == Unit::Count && n.fract() == 0.0 && n <= FEW;
        // One less than `n` events reach it only where there are several.
        is_count && ((*op == Comparison::Above && n >= 1.0) || (*op == Comparison::AtLeast && n >= 5.0))
    };
    if let Some((_, limit, place)) = facts.limits().find(is_crossed) {
        problems
            .warning(&at_word(node, "increase"), "`increase` extrapolates to the whole range", "5 events may be 5.56")
            .also(place, format!("so {limit} is crossed too early"))
            .help("write floor(increase(…)); or, of new events a sample, sum_over_time(…); or `errors` and `total`");
    }
}

/// `count(x == 1) < 8`: where none is 1 there is nothing to compare.
fn empty_count(facts: &Facts<'_>, node: &Node, problems: &mut Problems) {
    let is_low = |(op, limit, _): &(Comparison, Quantity, &Place)| {
        op.falls() || (*op == Comparison::Equal && limit.value == 0.0) || *op == Comparison::NotEqual
    };
    if let Some((_, _, place)) = facts.limits().find(is_low) {
        problems
            .warning(&at_word(node, "count"), "a count of nothing is no value, not 0", "empty where none fits")
            .also(place, "so this says nothing when it is worst")
            .help("write sum(x == bool 1): it is 0 where none fits");
    }
}

/// `max_over_time(x[5m]) == 0`: true at the first sample.
fn partly_empty(facts: &Facts<'_>, function: &str, way: Way, node: &Node, problems: &mut Problems) {
    let is_met = |(op, _, _): &(Comparison, Quantity, &Place)| {
        *op == Comparison::Equal || direction(&Clause::Value(*op, Quantity::count(0.0))) == Some(way)
    };
    if let Some((_, _, place)) = facts.limits().find(is_met) {
        problems
            .warning(
                &at_word(node, function),
                format!("one sample is enough for `{function}`"),
                "its range may be partly empty",
            )
            .also(place, "so the first bad sample may meet this")
            .help("judge the series itself and write how long in `for`, or add `and count_over_time(x[5m]) >= N`");
    }
}

/// What names at the end of a series say of its unit.
const SUFFIXES: [(&str, &str); 16] = [
    ("_ms", "ms"),
    ("_millis", "ms"),
    ("_milliseconds", "ms"),
    ("_us", "us"),
    ("_micros", "us"),
    ("_microseconds", "us"),
    ("_minutes", "m"),
    ("_percent", "%"),
    ("_kb", "KB"),
    ("_kilobytes", "KB"),
    ("_kib", "KiB"),
    ("_mb", "MB"),
    ("_megabytes", "MB"),
    ("_mib", "MiB"),
    ("_gb", "GB"),
    ("_gib", "GiB"),
];

/// A series in milliseconds against a limit in seconds, or `unit = "ms"` of a series in seconds.
fn contradicted_unit(facts: &Facts<'_>, shape: &Shape, node: &Node, problems: &mut Problems) {
    for series in &shape.measured {
        let name = ["_bucket", "_sum", "_total", "_max", "_min"].iter().find_map(|end| series.strip_suffix(end));
        let name = name.unwrap_or(series);
        let said = SUFFIXES.iter().find(|(end, _)| name.ends_with(end)).map(|(_, unit)| *unit);
        let unit = said.and_then(|unit| Quantity::parse(&format!("1{unit}")).ok());
        match (facts.declared, unit, said) {
            (None, Some(one), Some(said)) if one.unit == facts.scale.unit && one.value != 1.0 => {
                let Some((_, limit, place)) = facts.limits().find(|(_, limit, _)| limit.unit == one.unit) else {
                    continue;
                };
                let word = if said == "%" { "percent" } else { said };
                problems
                    .warning(&at_word(node, series), format!("this series counts in {word}, by its name"), "")
                    .also(place, format!("and this is {}", in_base(limit)))
                    .help(format!("add unit = \"{word}\" to the rule, if the name is right"));
                return;
            }
            (Some(scale), None, None) if scale.by != 1.0 && is_base(name, scale.unit) => {
                problems
                    .warning(&at_word(node, series), "this series is in the base unit, by its name", "")
                    .help("take `unit` out of the rule, if the name is right");
                return;
            }
            _ => {}
        }
    }
}

fn is_base(name: &str, unit: Unit) -> bool {
    match unit {
        Unit::Seconds => name.ends_with("_seconds"),
        Unit::Bytes => name.ends_with("_bytes"),
        Unit::Ratio => name.ends_with("_ratio"),
        Unit::Count => false,
    }
}

/// What a limit is held against as it is.
fn in_base(limit: Quantity) -> String {
    match limit.unit {
        Unit::Seconds => format!("{} seconds", limit.value),
        Unit::Bytes => format!("{} bytes", limit.value),
        Unit::Ratio => format!("a share of {}", limit.value),
        Unit::Count => limit.to_string(),
    }
}

/// A rate over minutes reaches its limit minutes late, and a `for` not longer than that adds to it what it saves
/// nothing by. Measured near the limit: five minutes of range take nearly twice as long as one. That matters where
/// somebody waits for the decision: in a rule that can roll back.
fn slow_rate(facts: &Facts<'_>, shape: &Shape, node: &Node, problems: &mut Problems) {
    /// Shorter ranges hold too few samples of a source that looks every 30 s.
    const SHORT: Span = Span::mins(2);
    let Some(window) = shape.rates.iter().max().filter(|window| **window > SHORT) else { return };
    let decides = |written: &&&Written| matches!(written.key, "critical" | "rollback");
    if !facts.all.iter().any(|written| written.key == "rollback") {
        return;
    }
    let own = facts.all.iter().filter(decides).filter_map(|written| written.own.held_for.as_ref());
    let mut times = facts.times.held_for.iter().chain(own);
    if let Some(time) = times.find(|time| time.value > Span::ZERO && time.value <= *window) {
        problems
            .warning(&time.place, "`for` is not longer than the range of `rate`", "both delay the decision")
            .also(&at_word(node, "rate"), format!("looks back {window} already"))
            .help("write a range of 1 or 2 minutes, or a longer `for`: a range of 5 minutes nearly doubles the time to decide");
    }
}
