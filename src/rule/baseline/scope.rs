//! How far a baseline may be trusted, by how much history it rests on.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a baseline may decide at a moment of the watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Nothing: there is not one whole day.
    Nothing,
    /// Findings of [`Strictness::Warning`](super::Strictness::Warning) only.
    Warnings {
        /// Whole days of history.
        days: usize,
        /// Whether days of today's type are among them.
        knows_today: bool,
    },
    /// Of [`Strictness::Rollback`](super::Strictness::Rollback) only the start tests and windows of up to an hour.
    Short {
        /// Whole days of history.
        days: usize,
    },
    /// Everything.
    Everything,
}

impl Scope {
    /// The scope of a baseline of `days` whole days, which have (or have not) seen today's type of day.
    ///
    /// A weekend that nobody has seen looks like a regression: with one or two days of history it would have rolled
    /// back 15 of 100 healthy versions.
    pub fn of(days: usize, knows_today: bool) -> Scope {
        match days {
            0 => Scope::Nothing,
            3..=6 if knows_today => Scope::Short { days },
            1..=6 => Scope::Warnings { days, knows_today },
            _ => Scope::Everything,
        }
    }

    /// The longest window in minutes whose finding may be critical or roll back; none, when none may.
    pub(super) fn longest_strict(self) -> Option<u32> {
        match self {
            Scope::Nothing | Scope::Warnings { .. } => None,
            Scope::Short { .. } => Some(60),
            Scope::Everything => Some(u32::MAX),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |days: &usize| if *days == 1 { "day" } else { "days" };
        match self {
            Scope::Nothing => f.write_str("not armed: the history has no whole day"),
            Scope::Warnings { days, knows_today: false } if *days >= 3 => write!(
                f,
                "warnings only: the {days} days of history hold no day like today, and without seven days that rolls nothing back"
            ),
            Scope::Warnings { days, .. } => {
                write!(f, "warnings only: {days} {} of history, and it takes three to roll back", plural(days))
            }
            Scope::Short { days } => write!(
                f,
                "changes within an hour only: {days} {} of history, and it takes seven to roll back for slow changes",
                plural(days)
            ),
            Scope::Everything => f.write_str("everything"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scope_grows_with_the_days_and_says_why() {
        for (days, knows_today, text) in [
            (0, false, "not armed: the history has no whole day"),
            (1, true, "warnings only: 1 day of history, and it takes three to roll back"),
            (2, false, "warnings only: 2 days of history, and it takes three to roll back"),
            (
                4,
                false,
                "warnings only: the 4 days of history hold no day like today, and without seven days that rolls nothing back",
            ),
            (
                4,
                true,
                "changes within an hour only: 4 days of history, and it takes seven to roll back for slow changes",
            ),
            (7, false, "everything"),
        ] {
            assert_eq!(Scope::of(days, knows_today).to_string(), text);
        }
    }
}
