//! Expressions over the store; a reading out.
//!
//! A text is compiled once ([`compile`], [`compile_query`]) and evaluated often: [`evaluate`] for rules, [`query`] and
//! [`query_range`] for answers without the question whether absence is proven. The semantics are those of Prometheus 3:
//! windows and look-back are open on the left, metric names are dropped at the end of an evaluation. What is not
//! implemented is refused at compile with its position, never computed wrongly.
//!
//! A [`Reading`] is points, or no data with what was not seen, or a failure; see [`Absence`] for when data is missing.
//! [`count_events`] counts events exactly, without the extrapolation of `increase`.

mod aggregate;
mod annotation;
mod binary;
mod cache;
mod calendar;
mod compile;
mod count;
mod evaluate;
mod function;
mod histogram;
mod label;
mod leaf;
mod lower;
mod math;
mod number;
mod place;
mod plan;
mod presence;
mod query;
mod range;
mod reading;
mod remote;
mod rows;
mod scan;
mod shape;
mod vector;

pub use annotation::{Annotation, Finding};
pub use compile::{CompileError, compile, compile_query, compile_selector};
pub use count::{CountPoint, CountReading, Steps, count_events, count_steps};
pub use evaluate::{evaluate, evaluate_value};
pub use lower::is_of_the_engine;
pub use plan::{At, Comparison, Plan, Reads, Relation, Role, SelectorUse};
pub use query::{Answer, MAX_POINTS, Options, Row, Value, query, query_range};
pub use reading::{Absence, Missing, Point, Reading};
pub use remote::{RemoteAnswer, RemoteQuery};
pub use shape::{Quotient, Root, Shape, shape};

use crate::base::Span;

/// How far back an instant selector looks for a series' newest sample, as in Prometheus.
pub const LOOK_BACK: Span = Span::mins(5);

#[cfg(test)]
mod presence_table;
#[cfg(test)]
mod tests;
