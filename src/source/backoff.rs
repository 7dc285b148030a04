//! Pauses between tries.

use crate::base::Span;

/// The first pause.
const FIRST: Span = Span::millis(500);

/// The longest pause.
const LONGEST: Span = Span::secs(10);

/// Pauses that become longer, from half a second to ten.
#[derive(Debug)]
pub(crate) struct Backoff(Span);

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff(FIRST)
    }
}

impl Backoff {
    /// The first time without a pause.
    pub(crate) fn eager() -> Backoff {
        Backoff(Span::ZERO)
    }

    /// The next pause.
    pub(crate) fn next(&mut self) -> Span {
        let pause = self.0;
        self.0 = pause.times(2).clamp(FIRST, LONGEST);
        pause
    }
}
