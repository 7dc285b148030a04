//! The state of a ratio rule for one label set: buckets in, findings out.
//!
//! A pure function of the buckets: what was lost in a restart is had again by handing in the same buckets. A finding
//! begins by either test and goes on until the newest events speak against it, see [`Evidence::see`].

use super::likelihood::Likelihood;
use super::ring::{Bucket, Latest, Ring, Sum};
use super::{DECIDES, Dispersion, FULL, HELD, MOST, MOST_NEAR, SHOWN, SPREAD, Z, clearly_above, inside, well_above};
use crate::rule::share;

/// Evidence that ends a finding: odds of about 20,000 to 1 that the share is no longer what it was.
const ENDS: f64 = 10.0;
/// The same where there is reason to expect a change: 20 to 1.
const ENDS_EXPECTED: f64 = 3.0;
/// How many buckets must show it then.
const LEAST_EXPECTED: u32 = 2;
/// For so many buckets after [`Evidence::renew`] there is.
const EXPECTED: u64 = 20;
/// Expected errors at the limit from which on the plain share over 30 buckets may be taken for the true one.
const ENOUGH: f64 = 3.0;

/// What the buckets so far say about each limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    ring: Ring,
    limits: Vec<Limit>,
    min_errors: f64,
}

/// That the share is above a limit, and what says so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finding {
    /// Which test says so, or said so last.
    pub by: By,
    /// Errors in the buckets that the test looked at.
    pub errors: f64,
    /// All events in them.
    pub total: f64,
    /// How many buckets that were; at most 30, gaps not counted.
    pub buckets: u32,
    /// The lowest share that these counts support, given how errors clump: lower end of the 99 % Wilson interval.
    pub bound: f64,
    /// The number of the bucket in which it was found; the first since the start is 0, and gaps count.
    pub since: u64,
}

/// The test that found something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The likelihood-ratio CUSUM: far above the limit.
    Cusum,
    /// The Wilson bound over 30 buckets, in ten buckets in succession: above the limit for long.
    Wilson,
}

impl Evidence {
    /// Nothing seen yet. Limits are shares between 0 and 1; what lies outside is moved to the next share inside, and
    /// nothing is above a limit that is no number. `min_errors`: fewer errors in the last 30 buckets begin no finding.
    pub fn new(limits: &[f64], min_errors: u32) -> Evidence {
        let limits = limits.iter().map(|limit| Limit::new(*limit)).collect();
        Evidence { ring: Ring::new(), limits, min_errors: f64::from(min_errors) }
    }

    /// Takes the next bucket. More errors than events are as many as events; a count that is NaN, infinite or negative
    /// makes it a gap.
    ///
    /// A finding ends when both hold: the share of the newest stretch, of at least five buckets and `1 / limit` events
    /// but at most 30 buckets, is at or below the limit; and the likelihood ratio of half the limit against the share
    /// that was found says so clearly. The first alone would end and begin again by chance where there is little
    /// traffic. Without traffic nothing ends.
    pub fn see(&mut self, errors: f64, total: f64, dispersion: &Dispersion) {
        let bucket = Bucket::of(errors, total);
        self.ring.push(bucket);
        let Some(bucket) = bucket else { return };
        let phi = dispersion.factor();
        for limit in &mut self.limits {
            limit.see(bucket, &self.ring, phi, self.min_errors);
        }
    }

    /// Lets `buckets` pass of which nothing is known. What was found stays found.
    pub fn skip(&mut self, buckets: u32) {
        self.ring.skip(buckets);
    }

    /// Begins anew because another version runs: what was seen before says nothing about it. A finding stays until the
    /// buckets since say that it is over; since that is now likely, less evidence is asked for during 20 buckets.
    pub fn renew(&mut self) {
        self.ring.clear();
        let age = self.ring.age;
        self.limits.iter_mut().for_each(|limit| limit.renew(age));
    }

    /// What holds now of the limit at that place in the list handed to [`Evidence::new`].
    pub fn finding(&self, limit: usize) -> Option<Finding> {
        match self.limits.get(limit)?.state {
            State::Quiet => None,
            State::Holds { finding, .. } => Some(finding),
        }
    }

    /// The newest five buckets.
    pub fn latest(&self) -> Latest {
        self.ring.latest()
    }

    /// How many buckets there were since the start, gaps included: the number of the next.
    pub fn age(&self) -> u64 {
        self.ring.age
    }
}

/// One limit: its two tests and what they found.
#[derive(Clone, Debug, PartialEq)]
struct Limit {
    share: f64,
    /// For a share far above the limit, and for one that is well above it.
    cusums: [Cusum; 2],
    /// How many buckets in succession the Wilson test has held.
    held: u32,
    /// Older buckets belong to what has ended.
    from: u64,
    state: State,
}

/// What has gathered for a share above the limit.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cusum {
    /// What events say for that share.
    above: Likelihood,
    /// What one bucket says at most.
    most: f64,
    value: f64,
    /// The bucket since which it is above zero.
    rising_since: u64,
}

impl Cusum {
    fn new(above: f64, limit: f64, most: f64) -> Cusum {
        Cusum { above: Likelihood::of(above, limit), most, value: 0.0, rising_since: 0 }
    }

    fn add(&mut self, bucket: Bucket, phi: f64, now: u64) {
        if self.value <= 0.0 {
            self.rising_since = now;
        }
        let says = (self.above.says(bucket.errors, bucket.total) / phi).min(self.most);
        self.value = (self.value + says).clamp(0.0, FULL);
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Quiet,
    Holds { finding: Finding, recovery: Recovery },
}

/// The evidence that what was found is over: a CUSUM of half the limit against the share that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Recovery {
    cusum: f64,
    /// The share found; at least the limit.
    found: f64,
    change: Change,
}

/// Whether there is reason to expect that what was found is over.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    Unknown,
    /// Another version runs since that bucket.
    Since(u64),
}

impl Limit {
    fn new(share: f64) -> Limit {
        let share = inside(share);
        let cusums = [Cusum::new(clearly_above(share), share, MOST), Cusum::new(well_above(share), share, MOST_NEAR)];
        Limit { share, cusums, held: 0, from: 0, state: State::Quiet }
    }

    fn see(&mut self, bucket: Bucket, ring: &Ring, phi: f64, min_errors: f64) {
        if self.share.is_nan() {
            return;
        }
        let now = ring.age - 1;
        let long = ring.since(self.from);
        self.cusums.iter_mut().for_each(|cusum| cusum.add(bucket, phi, now));
        let holds = long.spread >= SPREAD && bound(long, phi) > self.share;
        self.held = if holds { self.held.saturating_add(1) } else { 0 };
        let found = self.test(ring, phi, long, now).filter(|_| long.errors >= min_errors);
        self.state = match (self.state, found) {
            (State::Quiet, None) => State::Quiet,
            (State::Quiet, Some(finding)) => State::Holds { finding, recovery: Recovery::new(self.found(long)) },
            (State::Holds { finding, mut recovery }, found) => {
                recovery.see(bucket, now, self.share, || self.found(long));
                if recovery.is_over(ring, self.share) {
                    self.begin(ring.age);
                    State::Quiet
                } else {
                    // Without events there is nothing newer to show.
                    let newer = found.filter(|_| bucket.total > 0.0);
                    let finding = newer.map_or(finding, |newer| Finding { since: finding.since, ..newer });
                    State::Holds { finding, recovery }
                }
            }
        };
    }

    /// What one of the tests says at this bucket.
    fn test(&self, ring: &Ring, phi: f64, long: Sum, now: u64) -> Option<Finding> {
        let decided = self.cusums.iter().find(|cusum| cusum.value > DECIDES);
        let (by, sum) = if let Some(cusum) = decided {
            (By::Cusum, ring.since(cusum.rising_since.max(self.from)))
        } else if self.held >= HELD {
            (By::Wilson, long)
        } else {
            return None;
        };
        let (errors, total, buckets) = (sum.errors, sum.total, sum.seen);
        Some(Finding { by, errors, total, buckets, bound: bound(sum, phi), since: now })
    }

    /// How bad it is: clearly above the limit, unless the counts say that it is more or less than that.
    fn found(&self, long: Sum) -> f64 {
        let clear = clearly_above(self.share);
        // A total failure that has become a partial one is not over.
        let most = (2.0 * clear).min(f64::midpoint(1.0, clear));
        let least = share::lower_bound(long.errors, long.total).clamp(self.share, most);
        let usual = long.share().filter(|_| long.total >= ENOUGH / self.share).map_or(clear, |share| share.min(clear));
        usual.max(least)
    }

    fn begin(&mut self, from: u64) {
        self.cusums.iter_mut().for_each(|cusum| cusum.value = 0.0);
        (self.held, self.from) = (0, from);
    }

    fn renew(&mut self, age: u64) {
        self.begin(age);
        if let State::Holds { recovery, .. } = &mut self.state {
            (recovery.cusum, recovery.change) = (0.0, Change::Since(age));
        }
    }
}

impl Recovery {
    fn new(found: f64) -> Recovery {
        Recovery { cusum: 0.0, found, change: Change::Unknown }
    }

    fn see(&mut self, bucket: Bucket, now: u64, limit: f64, found: impl Fn() -> f64) {
        if matches!(self.change, Change::Since(then) if now.saturating_sub(then) >= EXPECTED) {
            self.change = Change::Unknown;
        }
        // Right after a change the newest buckets do not say how bad it was.
        if self.cusum <= 0.0 && self.change == Change::Unknown {
            self.found = found();
        }
        let says = Likelihood::of(limit / 2.0, self.found).says(bucket.errors, bucket.total);
        self.cusum = (self.cusum + says).clamp(0.0, 2.0 * ENDS);
    }

    fn is_over(&self, ring: &Ring, limit: f64) -> bool {
        let events = (1.0 / limit).ceil();
        let (needs, least, newest) = match self.change {
            Change::Unknown => (ENDS, SHOWN, ring.stretch(events)),
            Change::Since(then) => (ENDS_EXPECTED, LEAST_EXPECTED, ring.since(then)),
        };
        let is_enough = newest.seen >= least && (newest.total >= events || least == SHOWN);
        self.cusum >= needs && is_enough && newest.share().is_some_and(|share| share <= limit)
    }
}

/// Lower end of the Wilson interval of as many events as the clumping of errors leaves.
fn bound(sum: Sum, phi: f64) -> f64 {
    share::lower_bound_at(Z, sum.errors / phi, sum.total / phi)
}
