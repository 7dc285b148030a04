//! Where the series of a name and of a label stand.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::Selector;
use super::samples::SeriesId;
use crate::base::Labels;
use crate::base::label::NAME;

/// Series by fingerprint, by name and by label; each list in the order in which they were put in.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    by_fingerprint: HashMap<u64, Vec<SeriesId>>,
    by_name: BTreeMap<Arc<str>, Vec<SeriesId>>,
    /// By a hash of a label's name and value; what it finds is matched again, so two labels may share one.
    by_label: HashMap<u64, Vec<SeriesId>>,
}

/// A name with fewer series than this is walked: that is as fast as looking its labels up.
const FEW: usize = 32;

impl Index {
    pub(super) fn put(&mut self, id: SeriesId, labels: &Labels) {
        self.by_fingerprint.entry(labels.fingerprint()).or_default().push(id);
        match self.by_name.get_mut(labels.name()) {
            Some(ids) => ids.push(id),
            None => drop(self.by_name.insert(Arc::from(labels.name()), vec![id])),
        }
        for (name, value) in labels.iter().filter(|(name, _)| *name != NAME) {
            self.by_label.entry(key(name, value)).or_default().push(id);
        }
    }

    /// Takes series out. Many at once cost little more than one: each list is walked once.
    pub(super) fn take(&mut self, gone: &HashMap<SeriesId, Labels>) {
        let fingerprints: HashSet<u64> = gone.values().map(Labels::fingerprint).collect();
        let names: BTreeSet<&str> = gone.values().map(Labels::name).collect();
        let labels: HashSet<u64> = gone.values().flat_map(|l| l.iter().map(|(name, value)| key(name, value))).collect();
        let left = |ids: &mut Vec<SeriesId>| {
            ids.retain(|id| !gone.contains_key(id));
            !ids.is_empty()
        };
        for name in names {
            if self.by_name.get_mut(name).is_some_and(|ids| !left(ids)) {
                self.by_name.remove(name);
            }
        }
        for (map, keys) in [(&mut self.by_fingerprint, fingerprints), (&mut self.by_label, labels)] {
            for key in keys {
                if map.get_mut(&key).is_some_and(|ids| !left(ids)) {
                    map.remove(&key);
                }
            }
        }
    }

    /// The series with this fingerprint; different label sets may share one.
    pub(super) fn alike(&self, fingerprint: u64) -> &[SeriesId] {
        self.by_fingerprint.get(&fingerprint).map_or(&[], Vec::as_slice)
    }

    /// The series that a selector means.
    pub(super) fn select<'a>(&self, selector: &Selector, labels: impl Fn(SeriesId) -> &'a Labels) -> Vec<SeriesId> {
        let named = selector.name.as_ref().map(|name| self.by_name.get(name).map_or(&[][..], Vec::as_slice));
        if named.is_none_or(|ids| ids.len() > FEW)
            && let Some(labelled) = self.fewest(selector)
            && named.is_none_or(|ids| labelled.len() < ids.len())
        {
            return labelled.iter().copied().filter(|id| selector.matches(labels(*id))).collect();
        }
        super::samples::select(&self.by_name, selector, labels)
    }

    /// The shortest list among those of the labels that the selector states.
    fn fewest(&self, selector: &Selector) -> Option<&[SeriesId]> {
        let stated = selector.matchers.iter().filter_map(|matcher| matcher.stated());
        let lists = stated.map(|(name, value)| self.by_label.get(&key(name, value)).map_or(&[][..], Vec::as_slice));
        lists.min_by_key(|ids| ids.len())
    }
}

/// FNV-1a 64 over `name 0xff value`.
fn key(name: &str, value: &str) -> u64 {
    let bytes = name.bytes().chain([0xff]).chain(value.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
