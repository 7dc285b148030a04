//! What is kept of the reading of containers over a restart.

use serde::{Deserialize, Serialize};

use super::position::Position;
use super::watch::MAX_LISTED;
use crate::sys::engine::Id;

/// The format of [`Saved`].
const FORMAT: u32 = 1;

/// The longest text of all selections together that is compared, in bytes.
const MAX_SELECTIONS: usize = 16 << 10;

/// Where the reading of containers stands: at most 4 KiB each, of which only those that are still there count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    format: u32,
    /// What was meant.
    pub(super) selections: Vec<String>,
    /// When containers were looked for the first time, in nanoseconds since 1970: what is older was there before.
    pub(super) first: Option<i64>,
    pub(super) containers: Vec<(Id, Position)>,
}

impl Saved {
    pub(super) fn new(selections: Vec<String>, first: Option<i64>, containers: Vec<(Id, Position)>) -> Saved {
        Saved { format: FORMAT, selections, first, containers }
    }

    /// The containers of which something is known.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.containers.iter().map(|(id, _)| id.as_str())
    }

    /// What concerns only the containers that `is_meant` says, by their id: a target keeps the positions of its own.
    #[must_use]
    pub fn only(mut self, is_meant: impl Fn(&str) -> bool) -> Saved {
        self.containers.retain(|(id, _)| is_meant(id.as_str()));
        self
    }

    /// What several targets kept, the later over the earlier; none where there is nothing.
    pub fn join(all: impl IntoIterator<Item = Saved>) -> Option<Saved> {
        all.into_iter().reduce(|mut joined, later| {
            joined.containers.retain(|(id, _)| later.containers.iter().all(|(known, _)| known != id));
            joined.containers.extend(later.containers);
            Saved { containers: joined.containers, first: later.first.or(joined.first), ..later }
        })
    }

    /// Within bounds, whatever it was read from.
    ///
    /// # Errors
    /// When a newer program wrote it.
    pub(super) fn checked(mut self) -> Result<Saved, String> {
        if self.format != FORMAT {
            return Err(format!("the positions of containers have format {}, and {FORMAT} is known", self.format));
        }
        if self.selections.iter().map(String::len).sum::<usize>() > MAX_SELECTIONS {
            self.selections.clear();
        }
        self.containers.truncate(MAX_LISTED);
        let containers = self.containers.into_iter().map(|(id, position)| (id, position.bounded())).collect();
        Ok(Saved { containers, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(first: i64, containers: &[(&str, i64)]) -> Saved {
        let all = containers.iter().map(|(id, floor)| {
            let id: Id = serde_json::from_value(serde_json::json!(id.repeat(64))).unwrap();
            (id, Position::new(*floor))
        });
        Saved::new(vec!["shop/*".into()], Some(first), all.collect())
    }

    #[test]
    fn what_targets_keep_apart_is_whole_again_when_it_is_joined() {
        let whole = saved(5, &[("a", 1), ("b", 2), ("c", 3)]);
        let is_b = |id: &str| id.starts_with('b');
        let (b, others) = (whole.clone().only(is_b), whole.clone().only(|id| !is_b(id)));
        assert_eq!(b.ids().map(|id| &id[..1]).collect::<Vec<_>>(), ["b"]);
        assert_eq!(Saved::join([others, b]), Some(saved(5, &[("a", 1), ("c", 3), ("b", 2)])));
        assert_eq!(Saved::join([]), None);
    }

    #[test]
    fn of_a_container_that_two_know_the_later_is_right() {
        let joined = Saved::join([saved(5, &[("a", 1), ("b", 2)]), saved(5, &[("a", 9)])]);
        assert_eq!(joined, Some(saved(5, &[("b", 2), ("a", 9)])));
    }
}
