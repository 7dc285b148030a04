//! The vocabulary: values that cross the borders between rooms.
//!
//! Nothing here acts. There is no IO, no clock and no decision; only types that are parsed, printed
//! and compared. A type lives here when it crosses at least two borders, else with its producer.

pub mod batch;
pub mod because;
pub mod exhibit;
pub mod float;
pub mod id;
pub mod label;
pub mod level;
pub mod problem;
pub mod secret;
pub mod table;
pub mod time;
pub mod unit;
pub mod wildcard;

pub use batch::{Batch, Failure, Outcome, Sample, SourceRef};
pub use because::Because;
pub use exhibit::{Exhibit, Line};
pub use id::Id;
pub use label::Labels;
pub use level::Level;
pub use problem::{Place, Problem, Problems, Severity, chain};
pub use secret::{Secret, SecretRef};
pub use table::{Node, Table};
pub use time::{Span, Timestamp};
pub use unit::{Quantity, Unit};
