//! Samples in time order.
//!
//! Batches enter through [`Store::append`], the engine's own series through [`Store::append_own`]; what leaves are
//! slices of a series' times and values, found by a [`Selector`]. The memory part is pure: no clock, no file. It
//! fails by refusing: samples past a cap, late, repeated or far in the future are counted and left out.

pub mod archive;
pub mod chunk;
mod column;
mod index;
mod memory;
mod quota;
mod samples;
mod selector;
mod series;

pub use memory::{Appended, Limits, Past, Size, Store, Target, TargetId};
pub use quota::Usage;
pub use samples::{Cursor, Samples, SeriesId, Stretch, View};
pub use selector::{BadRegex, MatchKind, Matcher, Selector};
pub use series::{STALE_BITS, Series, is_stale, stale};

#[cfg(test)]
mod tests;
