//! Who may come in: a bounded number of connections, and none of them all for one.
//!
//! A user may take a place as long as they hold fewer than are free. Alone that is half of them; whoever comes second gets half of the rest,
//! and there is always a place for one more. (Dynamic thresholds, Choudhury and Hahne, 1998.)

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many connections there are at most. An agent has one for each container whose log or figures it follows.
pub const MAX_CONNECTIONS: usize = 1024;

/// The places.
#[derive(Clone, Debug)]
pub struct Places {
    most: usize,
    held: Arc<Mutex<HashMap<u32, usize>>>,
}

/// A place that is held; free again with the end of the value.
#[derive(Debug)]
pub struct Place {
    uid: u32,
    places: Places,
}

impl Places {
    /// So many, all free.
    pub fn new(most: usize) -> Places {
        Places { most, held: Arc::default() }
    }

    /// A place for a user; none where they hold their share.
    pub fn take(&self, uid: u32) -> Option<Place> {
        let mut held = self.held();
        let n_free = self.most.saturating_sub(held.values().sum());
        let own = held.get(&uid).copied().unwrap_or(0);
        if own >= n_free {
            return None;
        }
        held.insert(uid, own + 1);
        Some(Place { uid, places: self.clone() })
    }

    fn held(&self) -> MutexGuard<'_, HashMap<u32, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whose it is.
    pub fn uid(&self) -> u32 {
        self.uid
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.held();
        match held.get_mut(&self.uid) {
            Some(n) if *n > 1 => *n -= 1,
            _ => drop(held.remove(&self.uid)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_takes_half_the_next_half_of_the_rest_and_all_comes_back() {
        let places = Places::new(64);
        let mut kept = Vec::new();
        for (uid, wanted) in [(1000, 32), (1001, 16), (1002, 8), (1003, 4), (1004, 2), (1005, 1), (1006, 1), (1007, 0)]
        {
            let taken: Vec<Place> = std::iter::from_fn(|| places.take(uid)).collect();
            assert_eq!(taken.len(), wanted, "{uid}");
            kept.push(taken);
        }
        kept.clear();
        assert!(places.held().is_empty());
        assert_eq!(std::iter::from_fn(|| places.take(7).map(std::mem::forget)).count(), 32);
    }
}
