//! `baseline`: what the word means in the conditions of a rule, and whether they can be held against it.
//!
//! Enters: the key, and the conditions. Leaves: a [`Baseline`], or problems at the words that do not fit it.

use std::sync::Arc;

use super::condition::{Written, WrittenWhen};
use super::order::{Way, direction};
use super::value::{Scale, in_base_units, noun, refuse_expression};
use crate::base::table::{Read as _, Value as Raw, nearest, wrong_kind};
use crate::base::{Node, Place, Problems, Quantity, Unit};
use crate::promql;
use crate::rule::{Baseline, Clause, Comparison, Offset};

/// The baselines that have a name.
const NAMES: [&str; 3] = ["history", "before", "peak"];

/// What a rule's value is, as far as baselines ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A share of events.
    Share,
    /// An expression that is evaluated here.
    Here,
    /// An expression that a remote server evaluates.
    Remote,
}

/// The key `baseline` as it was written.
#[derive(Clone, Debug)]
pub(super) enum Meant {
    /// A name.
    Named(Baseline),
    /// A figure.
    Figure(Quantity),
    /// An expression.
    Expression(String),
}

/// Reads the key `baseline`.
pub(super) fn read(node: &Node, problems: &mut Problems) -> Option<Meant> {
    let text = match &node.value {
        Raw::Text(text) => text,
        Raw::Whole(_) | Raw::Float(_) => return Quantity::read(node, problems).map(Meant::Figure),
        _ => {
            wrong_kind(node, "a baseline", "baseline = \"before\"", problems);
            return None;
        }
    };
    match text.trim() {
        "history" => return Some(Meant::Named(Baseline::History)),
        "before" => return Some(Meant::Named(Baseline::Before)),
        "peak" => return Some(Meant::Named(Baseline::Peak)),
        _ => {}
    }
    if let Ok(quantity) = Quantity::parse(text)
        && quantity.value.is_finite()
    {
        return Some(Meant::Figure(quantity));
    }
    // One word may be the name of a series; one that is nearly a name is not.
    if text.bytes().all(|b| b.is_ascii_lowercase())
        && let Some(near) = nearest(text, &NAMES)
    {
        problems
            .error(&node.place, format!("there is no baseline `{text}`"), "")
            .help(format!("did you mean \"{near}\"? a series of that name is written {text}{{}}"));
        return None;
    }
    Some(Meant::Expression(text.clone()))
}

/// Settles what `baseline` means in the unit of the rule.
pub(super) fn settle(
    written: Option<&(Meant, &Node)>,
    scale: Scale,
    kind: Kind,
    problems: &mut Problems,
) -> Option<Baseline> {
    let Some((written, node)) = written else { return Some(Baseline::History) };
    match written {
        Meant::Named(baseline) => Some(baseline.clone()),
        Meant::Figure(figure) if figure.value == 0.0 || figure.unit == scale.unit => {
            Some(Baseline::Value(Quantity { value: figure.value, unit: scale.unit }))
        }
        Meant::Figure(figure) => {
            let title = format!("{} and {} cannot be compared", noun(scale.unit), noun(figure.unit));
            problems
                .error(&node.place, title, format!("this is {}", noun(figure.unit)))
                .help("a baseline has the unit of the rule's limits");
            None
        }
        Meant::Expression(_) if kind == Kind::Remote => {
            problems
                .error(&node.place, "the baseline of a remote rule is not asked for", "this would be evaluated here")
                .help("let the expression of the rule hold both: expr = 'x / y' and \"> 125%\"");
            None
        }
        Meant::Expression(text) => {
            let compiled = promql::compile(text).and_then(|plan| match scale.by {
                1.0 => Ok(plan),
                by => promql::compile(&in_base_units(text, by)),
            });
            match compiled {
                Ok(plan) if plan.root_comparison().is_some() => {
                    problems
                        .error(
                            &node.inside(),
                            "a comparison at the top of `baseline`",
                            "gives only what it lets through",
                        )
                        .help("a baseline is a value");
                    None
                }
                Ok(plan) => Some(Baseline::Expression { text: text.clone(), plan: Arc::new(plan) }),
                Err(error) => {
                    refuse_expression(&error, text, node, problems);
                    None
                }
            }
        }
    }
}

/// Checks the conditions that name the baseline against what it is.
pub(super) fn check(
    baseline: &Baseline,
    key: Option<&Place>,
    all: &[&Written],
    kind: Kind,
    scale: Scale,
    problems: &mut Problems,
) {
    let uses: Vec<(Comparison, Offset, &Place)> = all
        .iter()
        .flat_map(|written| written.tests())
        .flat_map(|read| read.clauses())
        .filter_map(|(clause, place)| match clause {
            Clause::Baseline(op, offset) => Some((*op, *offset, place)),
            Clause::Value(..) | Clause::Reaches { .. } => None,
        })
        .collect();
    let Some((_, _, first)) = uses.first() else {
        if let Some(key) = key {
            problems
                .warning(key, "no condition of this rule names its baseline", "has no effect")
                .help("for example critical = \"> baseline + 25%\"");
        }
        return;
    };
    if matches!(baseline, Baseline::History) && refuse_past(first, all, kind, problems) {
        return;
    }
    for (op, _, place) in &uses {
        refuse_equal(baseline, *op, place, problems);
    }
    let entered = all.iter().filter_map(|written| written.test()).flat_map(|read| read.clauses());
    for (clause, place) in entered {
        refuse_always(baseline, clause, place, problems);
    }
    let share = uses.iter().find_map(|(_, offset, place)| match offset {
        Offset::Share(share) => Some((*share, *place)),
        _ => None,
    });
    if let (Unit::Ratio, Some((share, place))) = (scale.unit, share) {
        warn_of_points(share, place, kind, problems);
    }
}

/// Refuses values whose own past says nothing that could be calibrated on.
fn refuse_past(first: &Place, all: &[&Written], kind: Kind, problems: &mut Problems) -> bool {
    const OTHER: &str = "choose another one: baseline = \"before\", a figure, or an expression";
    let mut refuse = |why: &str, help: &str| {
        problems.error(first, "this value has no past to compare with", why).help(help);
        true
    };
    match kind {
        Kind::Share => refuse(
            "the share of few events is mostly noise, and mostly zero",
            "write a limit (\"> 10%\"): it is judged with its counts; or choose another baseline: baseline = \"5%\"",
        ),
        Kind::Remote => refuse("its samples are kept by the remote server", OTHER),
        Kind::Here if all.iter().any(|written| matches!(written.when, WrittenWhen::Present)) => {
            refuse("what is there only now and then has none", "write two rules")
        }
        Kind::Here => false,
    }
}

/// `== baseline` is met by chance, unless both are counted alike.
fn refuse_equal(baseline: &Baseline, op: Comparison, place: &Place, problems: &mut Problems) {
    if !matches!(op, Comparison::Equal | Comparison::NotEqual) {
        return;
    }
    let what = match baseline {
        Baseline::History => "what is usual is never met exactly",
        Baseline::Before => "a mean is never met exactly",
        Baseline::Peak | Baseline::Value(_) | Baseline::Expression { .. } => return,
    };
    problems
        .error(place, format!("a baseline is not compared with `{}`", op.as_str()), what)
        .help("for example \"> baseline + 25%\" or \"< baseline - 25%\"");
}

/// Conditions that hold while all is as it was, or can never hold.
fn refuse_always(baseline: &Baseline, clause: &Clause, place: &Place, problems: &mut Problems) {
    let (Clause::Baseline(_, offset), Some(way)) = (clause, direction(clause)) else { return };
    let beside = match *offset {
        Offset::None => 0.0,
        Offset::Share(share) => share,
        Offset::Plus(quantity) => quantity.value,
        Offset::Times(factor) => factor - 1.0,
    };
    let (title, label, help) = match (baseline, way) {
        (Baseline::Peak, Way::Up) => (
            "nothing is above its own peak",
            "the peak is the highest value since the deployment",
            "write how far below it is bad: \"< baseline - 20%\"",
        ),
        (Baseline::History | Baseline::Before, Way::Up) if beside < 0.0 => (
            "this holds while all is as it was",
            "less than the baseline",
            "write a limit above it: \"> baseline + 25%\"",
        ),
        (Baseline::History | Baseline::Before | Baseline::Peak, Way::Down) if beside > 0.0 => (
            "this holds while all is as it was",
            "more than the baseline",
            "write a limit below it: \"< baseline - 25%\"",
        ),
        _ => return,
    };
    problems.error(place, title, label).help(help);
}

fn warn_of_points(share: f64, place: &Place, kind: Kind, problems: &mut Problems) {
    let size = Quantity::ratio(share.abs());
    let sign = if share < 0.0 { '-' } else { '+' };
    let example = Quantity::ratio(0.1 + 0.1 * share);
    let points = match kind {
        Kind::Share => "a limit of its own is written without the baseline: \"> 10%\"".into(),
        Kind::Here | Kind::Remote => {
            format!("for points write all limits of the rule as plain numbers: {sign} {}", share.abs())
        }
    };
    problems
        .warning(place, "a percentage beside a baseline is a share of it, not points", "")
        .help(format!("beside a baseline of 10 %, {sign} {size} is {example}; {points}"));
}
