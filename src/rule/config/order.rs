//! The order of a rule's conditions: each implies the milder one, and what ends a condition does not hold with it.
//!
//! Enters: the conditions as written and settled. Leaves: problems. What cannot be compared (a figure with a trend) is
//! not called wrong.

use super::condition::{Written, WrittenWhen};
use crate::base::{Place, Problems};
use crate::rule::{Clause, Comparison, Condition, Offset, Test};

/// A condition as written and as it will be judged.
pub(super) type Both<'a> = (&'a Written, &'a Condition);

/// Checks that each condition is as strict as the milder ones: `target`, `warning`, `critical`, `rollback`.
pub(super) fn check(conditions: &[Both<'_>], problems: &mut Problems) {
    let find = |key: &str| conditions.iter().find(|(written, _)| written.key == key).copied();
    let (target, warning, critical, rollback) = (find("target"), find("warning"), find("critical"), find("rollback"));
    if critical.is_none()
        && let Some((rollback, _)) = rollback.filter(|(r, _)| matches!(r.when, WrittenWhen::Critical))
    {
        problems
            .error(&rollback.place, "`rollback` waits for a `critical` that is not there", "")
            .help("add critical = \"…\" to the rule, or write the limit here");
    }
    if let (Some((mild, _)), Some((strict, _))) = (warning, critical) {
        is_milder(mild, strict, problems);
    }
    if let (Some((mild, _)), Some((strict, _))) = (target, warning.or(critical)) {
        is_milder(mild, strict, problems);
    }
    if let (Some(critical), Some(rollback)) = (critical, rollback) {
        check_rollback(critical, rollback, problems);
    }
    for (written, _) in conditions {
        check_clear(written, problems);
    }
    check_ways(conditions, problems);
}

/// A value that is bad when it is low does not rise towards a limit.
fn check_ways(conditions: &[Both<'_>], problems: &mut Problems) {
    let entered = || conditions.iter().filter_map(|(written, _)| written.test()).flat_map(|read| read.clauses());
    let trend = entered().find(|(clause, _)| matches!(clause, Clause::Reaches { .. }));
    let low = conditions
        .iter()
        .filter_map(|(written, _)| written.test())
        .find(|read| read.test.0.iter().all(|clause| direction(clause) == Some(Way::Down)));
    if let (Some((_, trend)), Some(low)) = (trend, low) {
        problems
            .error(trend, "a trend rises towards its limit", "here more is bad")
            .also(&low.places[0], "and here less is")
            .help(
                "write what is used instead of what is left: expr = '1 - free / size' and \"reaches 100% within 24h\"",
            );
    }
}

/// Checks that `mild`, which tells less, is not entered later than `strict`.
fn is_milder(mild: &Written, strict: &Written, problems: &mut Problems) {
    if let (Some(first), Some(second)) = (mild.test(), strict.test())
        && implies(&first.test, &second.test)
        && !implies(&second.test, &first.test)
    {
        problems
            .error(&mild.place, format!("{} is stricter than {}", mild.key, strict.key), "would never be seen")
            .also(&strict.place, "comes first")
            .help("exchange the two limits");
    }
}

fn check_rollback((critical, alert): Both<'_>, (rollback, due): Both<'_>, problems: &mut Problems) {
    const HELP: &str = "make it at least as strict, or write rollback = \"critical\"";
    let (is_implied, is_same) = match (critical.test(), rollback.test()) {
        (Some(mild), Some(strict)) => (
            !is_less_strict(&strict.test, &mild.test),
            implies(&strict.test, &mild.test) && implies(&mild.test, &strict.test),
        ),
        (None, None) if matches!(rollback.when, WrittenWhen::Present) => (true, true),
        _ => return,
    };
    let mut before = |place: &Place, label: &str, alerts: String| {
        problems.error(place, "rollback is reached before critical", label).also(&critical.place, alerts).help(HELP);
    };
    if !is_implied {
        before(&rollback.place, "would roll back first", "alerts from here".into());
    } else if is_same && alert.hits.is_none() && due.hits.is_none() && due.held_for < alert.held_for {
        let place = rollback.own.held_for.as_ref().map_or(&rollback.place, |f| &f.place);
        before(place, "the same limit for a shorter time", format!("alerts after {}", alert.held_for));
    } else if let (true, Some(first), Some(second)) = (is_same, alert.hits, due.hits)
        && second.count < first.count
        && second.of >= first.of
    {
        before(&rollback.place, "the same limit in fewer readings", format!("alerts after {first} readings"));
    }
}

/// `clear` must end the condition: no value may be both.
fn check_clear(written: &Written, problems: &mut Problems) {
    let Some((clear, place)) = &written.clear else { return };
    let Some(when) = written.test() else {
        problems.error(place, "`clear` needs a comparison to end", "this condition has none");
        return;
    };
    if let Some((_, trend)) = clear.clauses().find(|(clause, _)| matches!(clause, Clause::Reaches { .. })) {
        problems
            .error(trend, "a trend ends nothing", "`clear` is a comparison")
            .help("leave `clear` out: a trend ends by itself once it no longer leads to its limit");
        return;
    }
    let sides: Vec<Side> = when.test.0.iter().flat_map(|w| clear.test.0.iter().map(move |c| side(w, c))).collect();
    if sides.iter().all(|side| *side == Side::Same) {
        problems
            .error(place, "`clear` is on the wrong side", "this holds while the condition does")
            .also(&written.place, "begins here")
            .help("a condition \"> 90%\" is cleared by something like \"< 85%\"");
    }
}

/// How what ends a clause lies to it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    /// No value fulfils both.
    Apart,
    /// Some values fulfil both.
    Same,
    /// That depends on the baseline or the trend.
    Unknown,
}

fn side(when: &Clause, clear: &Clause) -> Side {
    let known = |is_apart: bool| if is_apart { Side::Apart } else { Side::Same };
    let (op, clear_op) = match (direction(when), direction(clear)) {
        (Some(op), Some(clear_op)) => (op, clear_op),
        // `== 0` ends by anything else.
        _ => return Side::Unknown,
    };
    if op == clear_op {
        return Side::Same;
    }
    match (when, clear) {
        (Clause::Value(_, limit) | Clause::Reaches { limit, .. }, Clause::Value(_, end)) => match op {
            Way::Up => known(end.value <= limit.value),
            Way::Down => known(end.value >= limit.value),
        },
        (Clause::Baseline(_, limit), Clause::Baseline(_, end)) => {
            let order = Beside::of(*end).against(Beside::of(*limit));
            match op {
                Way::Up if order.le => Side::Apart,
                Way::Up if order.gt => Side::Same,
                Way::Down if order.ge => Side::Apart,
                Way::Down if order.lt => Side::Same,
                Way::Up | Way::Down => Side::Unknown,
            }
        }
        _ => Side::Unknown,
    }
}

/// Which way values get worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Larger ones are the bad ones.
    Up,
    /// Smaller ones.
    Down,
}

/// Which way a clause looks; none where it asks for one value.
pub(super) fn direction(clause: &Clause) -> Option<Way> {
    match clause {
        Clause::Reaches { .. } => Some(Way::Up),
        Clause::Value(op, _) | Clause::Baseline(op, _) if op.rises() => Some(Way::Up),
        Clause::Value(op, _) | Clause::Baseline(op, _) if op.falls() => Some(Way::Down),
        Clause::Value(..) | Clause::Baseline(..) => None,
    }
}

/// Whether it is certain that `strict` may hold where `mild` does not.
fn is_less_strict(strict: &Test, mild: &Test) -> bool {
    let kinds = |test: &Test| test.0.iter().map(std::mem::discriminant).collect::<Vec<_>>();
    let (ours, theirs) = (kinds(strict), kinds(mild));
    // A figure and a trend, or a baseline, cannot be compared.
    ours.iter().any(|kind| theirs.contains(kind)) && !implies(strict, mild)
}

/// Whether every value that fulfils `strict` also fulfils `mild`, as far as single clauses show it.
fn implies(strict: &Test, mild: &Test) -> bool {
    mild.0.iter().all(|mild| strict.0.iter().any(|strict| clause_implies(strict, mild)))
}

fn clause_implies(strict: &Clause, mild: &Clause) -> bool {
    match (strict, mild) {
        (Clause::Value(s, limit), Clause::Value(m, mild)) => {
            comparison_implies(*s, *m, Order::of(limit.value, mild.value))
        }
        (Clause::Baseline(s, limit), Clause::Baseline(m, mild)) => {
            comparison_implies(*s, *m, Beside::of(*limit).against(Beside::of(*mild)))
        }
        (Clause::Reaches { limit, within }, Clause::Reaches { limit: mild_limit, within: mild_within }) => {
            within <= mild_within && limit.value >= mild_limit.value
        }
        _ => false,
    }
}

/// What is certain about two limits.
#[derive(Clone, Copy, Debug)]
struct Order {
    ge: bool,
    gt: bool,
    le: bool,
    lt: bool,
}

impl Order {
    fn of(a: f64, b: f64) -> Order {
        Order { ge: a >= b, gt: a > b, le: a <= b, lt: a < b }
    }
}

/// A place beside a baseline that is not below zero: a share of it, and figures on top.
#[derive(Clone, Copy, Debug)]
struct Beside {
    share: f64,
    plus: f64,
}

impl Beside {
    fn of(offset: Offset) -> Beside {
        match offset {
            Offset::None => Beside { share: 0.0, plus: 0.0 },
            Offset::Share(share) => Beside { share, plus: 0.0 },
            Offset::Times(factor) => Beside { share: factor - 1.0, plus: 0.0 },
            Offset::Plus(quantity) => Beside { share: 0.0, plus: quantity.value },
        }
    }

    fn against(self, other: Beside) -> Order {
        let (share, plus) = (Order::of(self.share, other.share), Order::of(self.plus, other.plus));
        Order {
            ge: share.ge && plus.ge,
            gt: share.ge && plus.ge && (share.gt || plus.gt),
            le: share.le && plus.le,
            lt: share.le && plus.le && (share.lt || plus.lt),
        }
    }
}

fn comparison_implies(strict: Comparison, mild: Comparison, limits: Order) -> bool {
    use Comparison::{Above, AtLeast, AtMost, Below, Equal, NotEqual};
    match (strict, mild) {
        (Equal, Above) | (AtLeast, Above) | (AtLeast, NotEqual) => limits.gt,
        (Equal, AtLeast) | (Above, Above | AtLeast | NotEqual) | (AtLeast, AtLeast) => limits.ge,
        (Equal, Below) | (AtMost, Below) | (AtMost, NotEqual) => limits.lt,
        (Equal, AtMost) | (Below, Below | AtMost | NotEqual) | (AtMost, AtMost) => limits.le,
        (Equal, Equal) | (NotEqual, NotEqual) => limits.ge && limits.le,
        (Equal, NotEqual) => limits.gt || limits.lt,
        (Above | AtLeast, Below | AtMost | Equal)
        | (Below | AtMost, Above | AtLeast | Equal)
        | (NotEqual, Above | AtLeast | Below | AtMost | Equal) => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;
    use crate::base::{Quantity, Span};

    /// Eighths, so that no figure is rounded.
    fn eighths(range: std::ops::Range<i32>) -> impl Strategy<Value = f64> {
        range.prop_map(|n| f64::from(n) / 8.0)
    }

    fn clause() -> impl Strategy<Value = Clause> {
        let op = prop::sample::select(Comparison::ALL.to_vec());
        let offset = prop_oneof![
            Just(Offset::None),
            eighths(-7..9).prop_map(Offset::Share),
            eighths(1..20).prop_map(Offset::Times),
            eighths(-9..9).prop_map(|n| Offset::Plus(Quantity::count(n))),
        ];
        prop_oneof![
            (op.clone(), eighths(-9..9)).prop_map(|(op, n)| Clause::Value(op, Quantity::count(n))),
            (op, offset).prop_map(|(op, offset)| Clause::Baseline(op, offset)),
            (eighths(1..20), 1..9i64)
                .prop_map(|(n, hours)| Clause::Reaches { limit: Quantity::count(n), within: Span::hours(hours) }),
        ]
    }

    /// Whether a clause holds for `value` beside `baseline`, where the value rises by `rise` an hour.
    fn holds(clause: &Clause, value: f64, baseline: f64, rise: f64) -> bool {
        match clause {
            Clause::Value(op, limit) => op.holds(value, limit.value),
            Clause::Baseline(op, offset) => op.holds(value, offset.of(baseline)),
            Clause::Reaches { limit, within } => value + rise * within.as_secs() / 3600.0 >= limit.value,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, rng_seed: RngSeed::Fixed(3), ..ProptestConfig::default() })]

        #[test]
        fn what_is_called_stricter_never_holds_alone(
            strict in clause(),
            mild in clause(),
            value in eighths(-40..40),
            baseline in eighths(0..20),
            rise in eighths(0..20),
        ) {
            if clause_implies(&strict, &mild) && holds(&strict, value, baseline, rise) {
                prop_assert!(holds(&mild, value, baseline, rise), "{strict:?} {mild:?}");
            }
        }

        #[test]
        fn what_is_called_apart_never_holds_together(
            when in clause(),
            clear in clause(),
            value in eighths(-40..40),
            baseline in eighths(0..20),
        ) {
            let is_trend = matches!(when, Clause::Reaches { .. }) || matches!(clear, Clause::Reaches { .. });
            if !is_trend && side(&when, &clear) == Side::Apart && holds(&when, value, baseline, 0.0) {
                // At the limit itself both may hold where both name it.
                let is_at_limit = |clause: &Clause| match clause {
                    Clause::Value(_, limit) => value == limit.value,
                    Clause::Baseline(_, offset) => value == offset.of(baseline),
                    Clause::Reaches { .. } => false,
                };
                prop_assert!(!holds(&clear, value, baseline, 0.0) || is_at_limit(&clear), "{when:?} {clear:?}");
            }
        }
    }
}
