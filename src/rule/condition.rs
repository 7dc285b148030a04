//! Conditions: what a value is held against, for how long, and what ends it.

use std::fmt;

use crate::base::{Quantity, Span, Unit};

/// One condition of a rule with its times.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// What must hold.
    pub when: When,
    /// For how long, in at least two readings; zero means one reading is enough.
    pub held_for: Span,
    /// Counts readings instead: then `held_for` is zero.
    pub hits: Option<Hits>,
    /// What ends it; the opposite of `when` where unset.
    pub clear: Option<Test>,
    /// How long it must be ended before the level is left.
    pub keep: Span,
}

impl Condition {
    /// A condition that must hold for that time, and be gone for a minute.
    pub fn held(when: When, held_for: Span) -> Condition {
        Condition { when, held_for, hits: None, clear: None, keep: Span::mins(1) }
    }
}

/// So many of the newest readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hits {
    /// How many must hold; at least 1, at most `of`.
    pub count: u32,
    /// Of how many; at most [`Hits::MOST`].
    pub of: u32,
}

impl Hits {
    /// The most readings that can be counted.
    pub const MOST: u32 = 64;
}

impl fmt::Display for Hits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.count, self.of)
    }
}

/// What must hold.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// Clauses, all of which hold.
    Test(Test),
    /// The rule is critical.
    Critical,
    /// The expression returned something for this label set.
    Present,
}

/// Clauses joined by `and`.
#[derive(Clone, Debug, PartialEq)]
pub struct Test(pub Vec<Clause>);

/// One part of a test.
#[derive(Clone, Debug, PartialEq)]
pub enum Clause {
    /// The value is held against a figure.
    Value(Comparison, Quantity),
    /// The value is held against what the rule's `baseline` means.
    Baseline(Comparison, Offset),
    /// The value rises so that it comes to `limit` within that time.
    Reaches {
        /// What it must not come to; above zero.
        limit: Quantity,
        /// From now on.
        within: Span,
    },
}

/// How far beside the baseline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Offset {
    /// At the baseline itself.
    None,
    /// `+ 25%`, `- 10%`: a share of the baseline.
    Share(f64),
    /// `+ 100ms`: in base units.
    Plus(Quantity),
    /// `* 1.5`.
    Times(f64),
}

impl Offset {
    /// The limit beside a baseline of `baseline`.
    pub fn of(self, baseline: f64) -> f64 {
        match self {
            Offset::None => baseline,
            Offset::Share(share) => baseline + share * baseline.abs(),
            Offset::Plus(quantity) => baseline + quantity.value,
            Offset::Times(factor) => baseline * factor,
        }
    }
}

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
    /// All of them, those of two characters first: so they are told apart when they are read.
    pub const ALL: [Comparison; 6] = [
        Comparison::AtLeast,
        Comparison::AtMost,
        Comparison::Equal,
        Comparison::NotEqual,
        Comparison::Above,
        Comparison::Below,
    ];

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

    /// Whether smaller values are the bad ones.
    pub fn falls(self) -> bool {
        matches!(self, Comparison::Below | Comparison::AtMost)
    }
}

impl Test {
    /// The comparisons with figures.
    pub fn values(&self) -> impl Iterator<Item = (Comparison, Quantity)> + '_ {
        self.0.iter().filter_map(|clause| match clause {
            Clause::Value(op, limit) => Some((*op, *limit)),
            Clause::Baseline(..) | Clause::Reaches { .. } => None,
        })
    }

    /// The only clause, where it is a comparison with a figure.
    pub fn only_value(&self) -> Option<(Comparison, Quantity)> {
        match self.0.as_slice() {
            [Clause::Value(op, limit)] => Some((*op, *limit)),
            _ => None,
        }
    }
}

/// `> 42 ms and > baseline + 25 %` for people; `{:#}` is exact and reads back: `> 42.5ms and > baseline + 25%`.
impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, clause) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(" and ")?;
            }
            clause.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Clause::Value(op, limit) => {
                write!(f, "{} ", op.as_str())?;
                figure(f, *limit)
            }
            Clause::Baseline(op, offset) => {
                write!(f, "{} baseline", op.as_str())?;
                offset.fmt(f)
            }
            Clause::Reaches { limit, within } => {
                f.write_str("reaches ")?;
                figure(f, *limit)?;
                write!(f, " within {within}")
            }
        }
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, size) = match self {
            Offset::None => return Ok(()),
            Offset::Times(factor) => return write!(f, " * {factor}"),
            Offset::Share(share) => (*share, Quantity::ratio(share.abs())),
            Offset::Plus(q) => (q.value, Quantity { value: q.value.abs(), unit: q.unit }),
        };
        f.write_str(if value < 0.0 { " - " } else { " + " })?;
        figure(f, size)
    }
}

/// A quantity for people, or, in the alternate form, one that reads back as the same.
fn figure(f: &mut fmt::Formatter<'_>, quantity: Quantity) -> fmt::Result {
    if !f.alternate() {
        return write!(f, "{quantity}");
    }
    let value = quantity.value;
    match quantity.unit {
        Unit::Count => write!(f, "{value}"),
        Unit::Ratio => write!(f, "{}%", percents(value)),
        Unit::Seconds => {
            let span = Span((value * 1000.0).round() as i64);
            // A span of several units reads back up to a hundred years.
            let is_span = value > 0.0 && value < 1e9 && span.as_secs() == value;
            if is_span { write!(f, "{span}") } else { write!(f, "{value}s") }
        }
        Unit::Bytes => {
            const UNITS: [(&str, f64); 4] =
                [("TiB", 1_099_511_627_776.0), ("GiB", 1_073_741_824.0), ("MiB", 1_048_576.0), ("KiB", 1024.0)];
            match UNITS.iter().find(|(_, unit)| value != 0.0 && value % unit == 0.0) {
                Some((name, unit)) => write!(f, "{}{name}", value / unit),
                None => write!(f, "{value}B"),
            }
        }
    }
}

/// What must be written before the percent sign for `ratio`: not every product with 0.01 can be divided again exactly.
fn percents(ratio: f64) -> f64 {
    let near = ratio * 100.0;
    [near, near.next_down(), near.next_up()].into_iter().find(|p| p * 0.01 == ratio).unwrap_or(near)
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
