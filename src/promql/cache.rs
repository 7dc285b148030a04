//! What a plan remembers as long as the set of series stays the same.

use std::sync::{Mutex, PoisonError};

use crate::base::Labels;

/// A value with the generation of the series that it was made from.
#[derive(Debug)]
pub(super) struct Cache<T>(Mutex<Option<(u64, T)>>);

/// Which group each series of a selector belongs to, in the order of the selection.
#[derive(Debug, Default)]
pub(super) struct Groups {
    pub(super) of_series: Vec<u32>,
    /// The labels of the groups.
    pub(super) labels: Vec<Labels>,
}

impl<T> Default for Cache<T> {
    fn default() -> Cache<T> {
        Cache(Mutex::new(None))
    }
}

impl<T: Clone> Cache<T> {
    /// What is held for this generation, or what `make` gives.
    pub(super) fn get(&self, generation: u64, make: impl FnOnce() -> T) -> T {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*held {
            Some((of, value)) if *of == generation => value.clone(),
            _ => {
                let value = make();
                *held = Some((generation, value.clone()));
                value
            }
        }
    }
}
