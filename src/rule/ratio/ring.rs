//! The last 30 buckets, with their gaps.

use super::{LONG, SHOWN};
use crate::rule::share;

/// More events than a bucket ever holds; so that sums and quotients stay finite.
const MANY: f64 = 1e15;

/// The events of one bucket; finite, not negative, errors at most total.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Bucket {
    pub(super) errors: f64,
    pub(super) total: f64,
}

impl Bucket {
    /// None when one of the counts is no count. More errors than events are as many: the two counters were read one
    /// after the other.
    pub(super) fn of(errors: f64, total: f64) -> Option<Bucket> {
        let is_count = |n: f64| n.is_finite() && n >= 0.0;
        (is_count(errors) && is_count(total)).then(|| {
            let total = total.min(MANY);
            Bucket { errors: errors.min(total), total }
        })
    }
}

/// Several buckets together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sum {
    pub(super) errors: f64,
    pub(super) total: f64,
    /// Buckets that were seen.
    pub(super) seen: u32,
    /// Buckets with errors.
    pub(super) spread: u32,
}

impl Sum {
    fn add(&mut self, bucket: Bucket) {
        self.errors += bucket.errors;
        self.total += bucket.total;
        self.seen += 1;
        self.spread += u32::from(bucket.errors > 0.0);
    }

    /// The plain quotient; none without events.
    pub(super) fn share(self) -> Option<f64> {
        (self.total > 0.0).then(|| self.errors / self.total)
    }
}

/// The newest buckets, for people: also when nothing holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latest {
    /// Errors in the newest five buckets.
    pub errors: f64,
    /// All events in them.
    pub total: f64,
    /// How many of the five were seen.
    pub buckets: u32,
    /// The lowest share that these counts still support: lower end of the 95 % Wilson interval, 0 without events.
    pub at_least: f64,
}

/// Buckets by their number; number `n` lies at `n % 30`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ring {
    buckets: [Option<Bucket>; LONG as usize],
    /// How many buckets there were since the start, seen or not: the number of the next.
    pub(super) age: u64,
}

impl Ring {
    pub(super) fn new() -> Ring {
        Ring { buckets: [None; LONG as usize], age: 0 }
    }

    pub(super) fn push(&mut self, bucket: Option<Bucket>) {
        self.buckets[(self.age % u64::from(LONG)) as usize] = bucket;
        self.age += 1;
    }

    pub(super) fn skip(&mut self, buckets: u32) {
        (0..buckets.min(LONG)).for_each(|_| self.push(None));
        // Nothing is left; only the number goes on.
        self.age += u64::from(buckets.saturating_sub(LONG));
    }

    pub(super) fn clear(&mut self) {
        self.buckets.fill(None);
    }

    /// The bucket numbered `from` and those after it, at most 30.
    pub(super) fn since(&self, from: u64) -> Sum {
        let mut sum = Sum::default();
        let count = (self.age - from.min(self.age)).min(u64::from(LONG));
        self.newest().take(count as usize).flatten().for_each(|bucket| sum.add(bucket));
        sum
    }

    /// The newest stretch of at least five seen buckets with at least `events` events; all 30 where there are fewer.
    pub(super) fn stretch(&self, events: f64) -> Sum {
        let mut sum = Sum::default();
        for bucket in self.newest().flatten() {
            sum.add(bucket);
            if sum.seen >= SHOWN && sum.total >= events {
                break;
            }
        }
        sum
    }

    pub(super) fn latest(&self) -> Latest {
        let sum = self.since(self.age.saturating_sub(u64::from(SHOWN)));
        let at_least = share::lower_bound(sum.errors, sum.total);
        Latest { errors: sum.errors, total: sum.total, buckets: sum.seen, at_least }
    }

    fn newest(&self) -> impl Iterator<Item = Option<Bucket>> + '_ {
        let next = (self.age % u64::from(LONG)) as usize;
        let (newer, older) = self.buckets.split_at(next);
        newer.iter().rev().chain(older.iter().rev()).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring with those numbers of events; negative ones are gaps.
    fn ring(totals: impl IntoIterator<Item = i32>) -> Ring {
        let mut ring = Ring::new();
        totals.into_iter().for_each(|total| ring.push(Bucket::of(0.0, f64::from(total))));
        ring
    }

    #[test]
    fn the_newest_thirty_are_kept_in_order() {
        let ring = ring(1..=45);
        let sum = ring.since(0);
        assert_eq!((sum.seen, sum.total), (30, (16..=45).sum::<i32>().into()));
        assert_eq!(ring.since(43).total, 89.0);
        assert_eq!(ring.since(45), Sum::default());
        assert_eq!(ring.since(99), Sum::default());
        assert_eq!(ring.latest().total, 215.0);
    }

    #[test]
    fn a_stretch_is_long_enough_and_gaps_do_not_count() {
        assert_eq!(ring([10; 30]).stretch(20.0).total, 50.0);
        assert_eq!(ring([1; 30]).stretch(20.0).seen, 20);
        assert_eq!(ring([1; 30]).stretch(1000.0).seen, 30);
        let gaps = ring([9, 1, -1, 1, -1, -1, 1, 1, -1, 1]).stretch(1.0);
        assert_eq!((gaps.seen, gaps.total), (5, 5.0));
    }

    #[test]
    fn a_long_gap_is_as_good_as_many_short_ones() {
        let full = ring(1..=45);
        for gap in [0, 1, 29, 30, 31, 1000] {
            let (mut at_once, mut one_by_one) = (full.clone(), full.clone());
            at_once.skip(gap);
            (0..gap).for_each(|_| one_by_one.push(None));
            (0..7).for_each(|total| {
                at_once.push(Bucket::of(0.0, f64::from(total)));
                one_by_one.push(Bucket::of(0.0, f64::from(total)));
            });
            assert_eq!(at_once, one_by_one, "{gap}");
        }
    }
}
