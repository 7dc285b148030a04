//! Ratio rules: errors of all events, held against a limit so that a few unlucky requests decide nothing.
//!
//! Enters: one *bucket* after the other, the errors and all events of a fifth of the rule's window, and how much the
//! errors of the history clump ([`Dispersion`]). Leaves: a [`Finding`] for each limit while the share is above it, with
//! the counts that say so. Two tests run side by side: a likelihood-ratio CUSUM (A. Wald, "Sequential tests of
//! statistical hypotheses", 1945; E. S. Page, "Continuous inspection schemes", 1954), which is fast when the share is
//! far above the limit, and the lower end of a Wilson interval over 30 buckets (1927), which sees a share a little above.
//! Both count as many events as the history's clumping leaves of them. A gap makes no evidence in either direction.

mod dispersion;
mod evidence;
mod likelihood;
mod power;
mod ring;

pub use dispersion::Dispersion;
pub use evidence::{By, Evidence, Finding};
pub use power::detectable;
pub use ring::Latest;

/// Buckets that the Wilson test looks at, and over which `min_errors` counts.
pub const LONG: u32 = 30;
/// Buckets that are shown to people: the rule's window.
pub const SHOWN: u32 = 5;
/// How many buckets the Wilson test must hold in succession.
const HELD: u32 = 10;
/// Quantile of the Wilson test: 99 %, two-sided.
const Z: f64 = 2.58;
/// Fewer buckets with errors than this never satisfy the Wilson test. One client that tries again for two minutes is no
/// lasting share, and where a request comes every two minutes, three or four errors in half an hour come by chance.
const SPREAD: u32 = 5;
/// The CUSUM finds above this: odds of about 1000 to 1.
const DECIDES: f64 = 7.0;
/// The most that one bucket adds to the CUSUM, so that no single bucket decides.
const MOST: f64 = 4.0;
/// The same of the CUSUM for a share well above the limit, which takes more events: five buckets decide at the earliest.
const MOST_NEAR: f64 = 1.6;
/// Upper bound of the CUSUM: what happened long ago weighs no more than this.
const FULL: f64 = 2.0 * DECIDES;

/// The share that the CUSUM holds against `limit`: clearly above it, and below 1.
fn clearly_above(limit: f64) -> f64 {
    if limit <= 0.2 { 3.0 * limit } else { 0.5 + limit / 2.0 }
}

/// The share of the second CUSUM: halfway more than the limit, for services with traffic enough to show it soon.
fn well_above(limit: f64) -> f64 {
    (1.5 * limit).min(f64::midpoint(limit, 1.0))
}

/// A limit that logarithms can be taken of: between 1e-9 and 1 - 1e-9; NaN stays NaN and nothing is above it.
fn inside(limit: f64) -> f64 {
    limit.clamp(1e-9, 1.0 - 1e-9)
}

#[cfg(test)]
mod tests;
