//! Conditions: what a value is held against, for how long, and what ends it.

use std::fmt;

use crate::base::{Quantity, Span};

/// One condition of a rule with its times.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// What must hold.
    pub when: When,
    /// For how long, in at least two readings; zero means one reading is enough.
    pub held_for: Span,
    /// What ends it; the opposite of `when` where unset.
    pub clear: Option<Test>,
    /// How long it must be ended before the level is left.
    pub keep: Span,
}

/// What must hold.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// Comparisons, all of which hold.
    Test(Test),
    /// The rule is critical.
    Critical,
    /// The expression returned something for this label set.
    Present,
}

/// Comparisons joined by `and`.
#[derive(Clone, Debug, PartialEq)]
pub struct Test(pub Vec<(Comparison, Quantity)>);

/// How a value is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `>`
    Above,
    /// `>=`
    AtLeast,
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
}

impl Comparison {
    /// As written.
    pub fn as_str(self) -> &'static str {
        match self {
            Comparison::Above => ">",
            Comparison::AtLeast => ">=",
            Comparison::Below => "<",
            Comparison::AtMost => "<=",
            Comparison::Equal => "==",
            Comparison::NotEqual => "!=",
        }
    }

    /// Whether `value` compares so with `limit`; NaN never does, save by `!=`.
    pub fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Comparison::Above => value > limit,
            Comparison::AtLeast => value >= limit,
            Comparison::Below => value < limit,
            Comparison::AtMost => value <= limit,
            Comparison::Equal => value == limit,
            Comparison::NotEqual => value != limit,
        }
    }

    /// Whether larger values are the bad ones.
    pub fn rises(self) -> bool {
        matches!(self, Comparison::Above | Comparison::AtLeast)
    }
}

impl Test {
    /// Whether all comparisons hold. `value` is asked for each comparison, so that a share can offer the
    /// bound that favours the service.
    pub fn holds(&self, value: impl Fn(Comparison) -> f64) -> bool {
        self.0.iter().all(|(op, limit)| op.holds(value(*op), limit.value))
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (op, limit)) in self.0.iter().enumerate() {
            write!(f, "{}{} {limit}", if i > 0 { " and " } else { "" }, op.as_str())?;
        }
        Ok(())
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            When::Test(test) => test.fmt(f),
            When::Critical => f.write_str("critical"),
            When::Present => f.write_str("present"),
        }
    }
}
