//! What a trend rule found, for machines and for people.

use std::fmt;

use super::WINDOWS;
use crate::base::{Quantity, Span};

/// A floor that rises to the limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The length of one window; there are eight.
    pub scale: Span,
    /// How much the floor rises in an hour, as a share of the limit.
    pub slope: f64,
    /// The newest floor, as a share of the limit.
    pub floor: f64,
    /// In what time the limit is reached at that slope; zero when it is.
    pub reached_in: Span,
    /// How long the trend had been watched when all this was last found; between looks, and while it merely has not ended,
    /// it lies back.
    pub confirmed: Span,
    /// The floor from which the rise began, as a share of the limit.
    pub(super) began: f64,
}

/// `its floor over 8 windows of 30 min rose by 4 % of the limit an hour; the limit in 2 h 10 min`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scale, slope) = (self.scale.human(), Quantity::ratio(self.slope));
        write!(f, "its floor over {WINDOWS} windows of {scale} rose by {slope} of the limit an hour; ")?;
        match self.reached_in {
            Span::ZERO => f.write_str("the limit is reached"),
            left => write!(f, "the limit in {}", left.human()),
        }
    }
}
