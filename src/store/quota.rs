//! Who may have how much: when the store is full, the loudest source gives way.

use std::collections::BTreeMap;

use crate::base::SourceRef;

/// What one source has, and what it was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Series held.
    pub series: usize,
    /// Samples that were left out: past a cap, late, repeated, too far ahead, of too many labels.
    pub refused: u64,
    /// The most series it may have, since the store was full and it was the loudest.
    pub ceiling: Option<usize>,
}

/// All sources by what they have. The engine's own series are in nobody's account.
#[derive(Clone, Debug, Default)]
pub(super) struct Quota {
    of: BTreeMap<SourceRef, Usage>,
}

/// What is to be done so that a source can have one series more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// There is room.
    Free,
    /// If this other source, which has more, gives so many up.
    From(SourceRef, usize),
    /// None: it is the loudest itself.
    None,
}

impl Quota {
    pub(super) fn usage(&self) -> &BTreeMap<SourceRef, Usage> {
        &self.of
    }

    pub(super) fn entry(&mut self, source: &SourceRef) -> &mut Usage {
        if !self.of.contains_key(source) {
            self.of.insert(source.clone(), Usage::default());
        }
        self.of.get_mut(source).expect("it was just put in")
    }

    /// Whether a source may have one series more, when there is room for `free` more.
    pub(super) fn room_for(&self, source: &SourceRef, free: usize) -> Room {
        let mine = self.of.get(source).copied().unwrap_or_default();
        if mine.ceiling.is_some_and(|ceiling| mine.series >= ceiling) {
            return Room::None;
        }
        if free > 0 {
            return Room::Free;
        }
        match self.loudest() {
            // A hundredth at once: making room costs a walk over its series.
            Some((loudest, usage)) if loudest != source && usage.series > mine.series + 1 => {
                Room::From(loudest.clone(), (usage.series / 100).clamp(1, usage.series - mine.series - 1))
            }
            _ => Room::None,
        }
    }

    /// The source with the most series.
    pub(super) fn loudest(&self) -> Option<(&SourceRef, &Usage)> {
        self.of.iter().filter(|(_, usage)| usage.series > 0).max_by_key(|(_, usage)| usage.series)
    }

    /// The limits are others: nobody has a ceiling until the store is full again.
    pub(super) fn forgive(&mut self) {
        self.of.values_mut().for_each(|usage| usage.ceiling = None);
    }

    /// There is room again: ceilings rise by a tenth, and go when nobody reaches them.
    pub(super) fn relax(&mut self) {
        for usage in self.of.values_mut() {
            usage.ceiling = usage.ceiling.map(|ceiling| ceiling + ceiling / 10 + 1).filter(|c| usage.series * 2 > *c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loudest_gives_way_and_nobody_else() {
        let (loud, quiet) = (SourceRef::new("prometheus", "loud"), SourceRef::new("http", "quiet"));
        let mut quota = Quota::default();
        quota.entry(&loud).series = 1000;
        quota.entry(&quiet).series = 3;
        assert_eq!(quota.room_for(&quiet, 1), Room::Free);
        assert_eq!(quota.room_for(&quiet, 0), Room::From(loud.clone(), 10));
        assert_eq!(quota.room_for(&loud, 0), Room::None);
        quota.entry(&loud).ceiling = Some(990);
        assert_eq!(quota.room_for(&loud, 10), Room::None, "it gave up series for others");
        quota.relax();
        assert_eq!(quota.room_for(&loud, 10), Room::Free);
        quota.entry(&quiet).series = 999;
        assert_eq!(quota.room_for(&quiet, 0), Room::None, "equals do not take from each other");
    }
}
