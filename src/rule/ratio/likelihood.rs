//! The logarithm of a likelihood ratio of two shares: what each event says for the one and against the other.

/// What an error and a success add for one share against another, as natural logarithms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Likelihood {
    /// Added by each error.
    pub(super) error: f64,
    /// Added by each success.
    pub(super) success: f64,
}

impl Likelihood {
    /// For the share `this` against the share `other`; both between 0 and 1, exclusive.
    pub(super) fn of(this: f64, other: f64) -> Likelihood {
        Likelihood { error: (this / other).ln(), success: ((1.0 - this) / (1.0 - other)).ln() }
    }

    /// What `errors` of `total` events say.
    pub(super) fn says(self, errors: f64, total: f64) -> f64 {
        errors * self.error + (total - errors) * self.success
    }
}
