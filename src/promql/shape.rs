//! What an expression looks like to somebody who gives advice on it.
//!
//! Enters: a text. Leaves: the few turns of phrase that a rule trips over, told from the tree of the parser. It decides
//! nothing about a value; where it is not sure it sees nothing.

use std::collections::BTreeSet;

use promql_parser::parser::token;
use promql_parser::parser::{AggregateExpr, BinaryExpr, Expr, LabelModifier, MatrixSelector, VectorSelector};

use super::compile::parse;
use crate::base::Span;

/// The turns of phrase of one expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// It divides counted events by others of which they are a part.
    pub quotient: Option<Quotient>,
    /// What gives its value, below sums and parentheses.
    pub root: Root,
    /// The ranges that `rate` looks back over.
    pub rates: Vec<Span>,
    /// The names of the series whose unit its value has, as far as it keeps theirs.
    pub measured: Vec<String>,
}

/// A share of events, written as a quotient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quotient {
    /// The selector of the part.
    pub errors: String,
    /// The selector of the whole.
    pub total: String,
    /// How far back both are counted.
    pub window: Span,
    /// The labels that both sums keep.
    pub by: Vec<String>,
}

/// What gives the value of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// `increase(…)`, which extrapolates.
    Increase,
    /// `max_over_time(…)`: one sample is enough for it.
    Largest,
    /// `min_over_time(…)`: one sample is enough for it.
    Smallest,
    /// `count(x == 1)`: nothing at all where none fits.
    CountOfMatches,
    /// Anything else.
    Other,
}

/// The shape of `text`; none where it is no expression.
pub fn shape(text: &str) -> Option<Shape> {
    let expr = parse(text).ok()?;
    let (mut rates, mut measured) = (Vec::new(), Vec::new());
    collect_rates(&expr, &mut rates);
    collect_measured(&expr, &mut measured);
    Some(Shape { quotient: quotient(&expr), root: root(&expr), rates, measured })
}

fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Paren(inner) => bare(&inner.expr),
        other => other,
    }
}

fn is_number(expr: &Expr) -> bool {
    matches!(bare(expr), Expr::NumberLiteral(_))
}

fn quotient(expr: &Expr) -> Option<Quotient> {
    let Expr::Binary(binary) = bare(expr) else { return None };
    match binary.op.id() {
        // In percent.
        token::T_MUL if is_number(&binary.lhs) => quotient(&binary.rhs),
        token::T_MUL if is_number(&binary.rhs) => quotient(&binary.lhs),
        token::T_DIV => {
            let (part, whole) = (counted(&binary.lhs)?, counted(&binary.rhs)?);
            let is_alike = part.window == whole.window && part.by == whole.by;
            (is_alike && is_part_of(part.of, whole.of)).then(|| Quotient {
                errors: part.of.to_string(),
                total: whole.of.to_string(),
                window: part.window,
                by: part.by.into_iter().map(String::from).collect(),
            })
        }
        _ => None,
    }
}

/// Events of one selector in a range.
struct Counted<'e> {
    of: &'e VectorSelector,
    window: Span,
    by: BTreeSet<&'e str>,
}

fn counted(expr: &Expr) -> Option<Counted<'_>> {
    match bare(expr) {
        Expr::Aggregate(AggregateExpr { op, expr, modifier, .. }) if op.id() == token::T_SUM => {
            let mut inner = counted(expr)?;
            match modifier {
                None => inner.by.clear(),
                Some(LabelModifier::Include(labels)) => inner.by = labels.labels.iter().map(String::as_str).collect(),
                Some(LabelModifier::Exclude(_)) => return None,
            }
            Some(inner)
        }
        // Against division by zero.
        Expr::Binary(BinaryExpr { op, lhs, rhs, .. }) if op.is_comparison_operator() && is_number(rhs) => counted(lhs),
        Expr::Call(call) if call.func.name == "clamp_min" => counted(call.args.args.first()?),
        Expr::Call(call) if matches!(call.func.name, "rate" | "increase") => {
            let (of, window) = range(call.args.args.first()?)?;
            Some(Counted { of, window, by: BTreeSet::new() })
        }
        _ => None,
    }
}

fn range(expr: &Expr) -> Option<(&VectorSelector, Span)> {
    match bare(expr) {
        Expr::MatrixSelector(MatrixSelector { vs, range }) if vs.offset.is_none() && vs.at.is_none() => {
            Some((vs, Span::from_std(*range)))
        }
        _ => None,
    }
}

/// Whether events of `part` are, by name and labels, events of `whole` as well that went wrong.
fn is_part_of(part: &VectorSelector, whole: &VectorSelector) -> bool {
    let matchers = |selector: &VectorSelector| -> BTreeSet<String> {
        selector.matchers.matchers.iter().map(ToString::to_string).collect()
    };
    let (ours, theirs) = (matchers(part), matchers(whole));
    match (&part.name, &whole.name) {
        (Some(name), Some(other)) if name == other => ours.is_superset(&theirs) && ours != theirs,
        (Some(name), Some(_)) => name.split('_').any(|word| word.starts_with("error") || word.starts_with("fail")),
        _ => false,
    }
}

fn root(expr: &Expr) -> Root {
    match bare(expr) {
        Expr::Aggregate(AggregateExpr { op, expr, .. }) => match (op.id(), bare(expr)) {
            (token::T_COUNT, Expr::Binary(inner)) if inner.op.is_comparison_operator() && !inner.return_bool() => {
                Root::CountOfMatches
            }
            (token::T_SUM | token::T_MIN | token::T_MAX | token::T_AVG, inner)
                if !matches!(inner, Expr::Aggregate(_)) =>
            {
                root(inner)
            }
            _ => Root::Other,
        },
        Expr::Call(call) => match call.func.name {
            "increase" => Root::Increase,
            "max_over_time" => Root::Largest,
            "min_over_time" => Root::Smallest,
            _ => Root::Other,
        },
        _ => Root::Other,
    }
}

/// The parts that `expr` is made of.
fn parts(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::Aggregate(aggregate) => aggregate.param.iter().map(|param| &**param).chain([&*aggregate.expr]).collect(),
        Expr::Unary(unary) => vec![&unary.expr],
        Expr::Binary(binary) => vec![&binary.lhs, &binary.rhs],
        Expr::Paren(paren) => vec![&paren.expr],
        Expr::Subquery(subquery) => vec![&subquery.expr],
        Expr::Call(call) => call.args.args.iter().map(|argument| &**argument).collect(),
        _ => Vec::new(),
    }
}

fn collect_rates(expr: &Expr, into: &mut Vec<Span>) {
    if let Expr::Call(call) = expr
        && call.func.name == "rate"
        && let Some(Expr::MatrixSelector(matrix)) = call.args.args.first().map(|argument| bare(argument))
    {
        into.push(Span::from_std(matrix.range));
    }
    parts(expr).into_iter().for_each(|part| collect_rates(part, into));
}

/// The names of all series below `expr`.
fn collect_names(expr: &Expr, into: &mut Vec<String>) {
    match expr {
        Expr::VectorSelector(selector) | Expr::MatrixSelector(MatrixSelector { vs: selector, .. }) => {
            into.extend(selector.name.clone());
        }
        other => parts(other).into_iter().for_each(|part| collect_names(part, into)),
    }
}

fn collect_measured(expr: &Expr, into: &mut Vec<String>) {
    const KEEP: [&str; 12] = [
        "abs",
        "avg_over_time",
        "ceil",
        "clamp",
        "clamp_max",
        "clamp_min",
        "first_over_time",
        "floor",
        "last_over_time",
        "max_over_time",
        "min_over_time",
        "round",
    ];
    match expr {
        Expr::VectorSelector(_) | Expr::MatrixSelector(_) => collect_names(expr, into),
        Expr::Paren(inner) => collect_measured(&inner.expr, into),
        Expr::Aggregate(AggregateExpr { op, expr, .. }) => match op.id() {
            token::T_SUM | token::T_AVG | token::T_MIN | token::T_MAX | token::T_TOPK | token::T_BOTTOMK => {
                collect_measured(expr, into);
            }
            token::T_QUANTILE => collect_measured(expr, into),
            _ => {}
        },
        Expr::Call(call) => match (call.func.name, call.args.args.as_slice()) {
            (name, [first, ..]) if KEEP.contains(&name) => collect_measured(first, into),
            ("quantile_over_time", [_, range, ..]) => collect_measured(range, into),
            // Rates of buckets count observations; their quantile is one of them.
            ("histogram_quantile", [_, buckets, ..]) => collect_names(buckets, into),
            _ => {}
        },
        Expr::Binary(binary) => match binary.op.id() {
            token::T_ADD | token::T_SUB | token::T_LOR => {
                collect_measured(&binary.lhs, into);
                collect_measured(&binary.rhs, into);
            }
            token::T_DIV => collect_mean(binary, into),
            id if id == token::T_LAND || id == token::T_LUNLESS || binary.op.is_comparison_operator() => {
                collect_measured(&binary.lhs, into);
            }
            _ => {}
        },
        _ => {}
    }
}

/// A sum of observations by their number is a mean of them.
fn collect_mean(binary: &BinaryExpr, into: &mut Vec<String>) {
    let (mut sums, mut counts) = (Vec::new(), Vec::new());
    collect_names(&binary.lhs, &mut sums);
    collect_names(&binary.rhs, &mut counts);
    let is_mean = |sum: &String| sum.strip_suffix("_sum").is_some_and(|name| counts.contains(&format!("{name}_count")));
    if !sums.is_empty() && sums.iter().all(is_mean) {
        into.extend(sums);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotients_of_events_are_seen() {
        for (text, errors, total, by) in [
            (
                r#"rate(http_requests_total{status=~"5.."}[5m]) / rate(http_requests_total[5m])"#,
                r#"http_requests_total{status=~"5.."}"#,
                "http_requests_total",
                &[][..],
            ),
            (
                r#"100 * (sum by (job) (increase(t_total{a="b",c="d"}[5m])) / (sum by (job) (increase(t_total{a="b"}[5m])) > 0))"#,
                r#"t_total{a="b",c="d"}"#,
                r#"t_total{a="b"}"#,
                &["job"],
            ),
            (
                "sum(rate(app_errors_total[5m])) / clamp_min(sum(rate(app_requests_total[5m])), 1)",
                "app_errors_total",
                "app_requests_total",
                &[],
            ),
        ] {
            let quotient = shape(text).unwrap().quotient.unwrap();
            assert_eq!((quotient.errors.as_str(), quotient.total.as_str()), (errors, total), "{text}");
            assert_eq!(
                (quotient.by.as_slice(), quotient.window),
                (&by.iter().map(ToString::to_string).collect::<Vec<_>>()[..], Span::mins(5))
            );
        }
    }

    #[test]
    fn other_quotients_are_not() {
        for text in [
            "rate(a_total[5m]) / rate(b_total[5m])",
            "rate(a_total[5m]) / rate(a_total[5m])",
            r#"rate(a_total{x="1"}[5m]) / rate(a_total[1m])"#,
            r#"rate(a_total{x="1"}[5m] offset 1h) / rate(a_total[5m])"#,
            r#"1 - rate(a_total{x="1"}[5m]) / rate(a_total[5m])"#,
            "errors / total",
            "rate(x_seconds_sum[5m]) / rate(x_seconds_count[5m])",
            r#"sum by (job) (rate(a_total{x="1"}[5m])) / sum(rate(a_total[5m]))"#,
        ] {
            assert_eq!(shape(text).unwrap().quotient, None, "{text}");
        }
        assert_eq!(shape("no ("), None);
    }

    #[test]
    fn the_root_is_what_gives_the_value() {
        for (text, root) in [
            ("increase(a_total[5m])", Root::Increase),
            ("sum by (job) ((increase(a_total[5m])))", Root::Increase),
            ("floor(increase(a_total[5m]))", Root::Other),
            ("max_over_time(x[5m])", Root::Largest),
            ("min(min_over_time(x[5m]))", Root::Smallest),
            ("max_over_time(x[3m]) + 0 * (count_over_time(x[3m]) >= 3)", Root::Other),
            ("count(x == 1)", Root::CountOfMatches),
            ("count by (job) (x > 5)", Root::CountOfMatches),
            ("count(x == bool 1)", Root::Other),
            ("count(x)", Root::Other),
            ("count(x == 1) or vector(0)", Root::Other),
        ] {
            assert_eq!(shape(text).unwrap().root, root, "{text}");
        }
    }

    #[test]
    fn the_series_that_give_the_unit_are_named() {
        for (text, names) in [
            ("latency_ms", &["latency_ms"][..]),
            ("max(avg_over_time(latency_ms[5m]))", &["latency_ms"]),
            ("histogram_quantile(0.95, sum by (le) (rate(latency_ms_bucket[5m])))", &["latency_ms_bucket"]),
            ("rate(x_ms_sum[5m]) / rate(x_ms_count[5m])", &["x_ms_sum"]),
            ("latency_ms / 1000", &[]),
            ("rate(cpu_ms_total[5m])", &[]),
            ("latency_ms > 5 and up", &["latency_ms"]),
        ] {
            assert_eq!(shape(text).unwrap().measured, names, "{text}");
        }
        assert_eq!(shape("rate(a[5m]) + sum(rate(b[1m]))").unwrap().rates, [Span::mins(5), Span::mins(1)]);
    }
}
