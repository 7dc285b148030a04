//! Expressions over the store; a reading out.
//!
//! A text is compiled once ([`compile`]) and evaluated often ([`evaluate`]). The semantics are those of Prometheus 3:
//! windows and look-back are open on the left, metric names are dropped at the end of an evaluation. What is not
//! implemented is refused at compile with its position, never computed wrongly.
//!
//! A [`Reading`] is points, or no data with what was not seen, or a failure; see [`Absence`] for when data is missing.
//! [`count_events`] counts events exactly, without the extrapolation of `increase`.

mod aggregate;
mod binary;
mod compile;
mod count;
mod evaluate;
mod function;
mod math;
mod plan;
mod range;
mod reading;
mod scan;

pub use compile::{CompileError, compile, compile_selector};
pub use count::{CountPoint, CountReading, count_events};
pub use evaluate::{evaluate, evaluate_value};
pub use plan::{Comparison, Plan, Relation, Role, SelectorUse};
pub use reading::{Absence, Missing, Point, Reading};

use crate::base::Span;

/// How far back an instant selector looks for a series' newest sample, as in Prometheus.
pub const LOOK_BACK: Span = Span::mins(5);

#[cfg(test)]
mod tests;
