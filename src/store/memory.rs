//! The store's memory: series by label set, targets by source and instance.
//!
//! A batch is one look at one target. Series of the target that the batch does not hold end with a stale marker at the
//! batch's time, so a failed look, which holds only its own verdict, ends all others. Time in a series only rises.
//!
//! Whether a new counter began at zero is decided here, because only here is it known what the target
//! gave before: an agent that starts beside a service with ten million old errors must see none of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::series::Owner;
use super::{Selector, Series, stale};
use crate::base::{Batch, Labels, Outcome, Sample, SourceRef, Span, Timestamp};

/// What a store holds at most.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Samples older than this are forgotten.
    pub keep: Span,
    /// Series of sources; the engine's own come on top.
    pub max_series: usize,
    /// Labels of one series.
    pub max_labels: usize,
    /// Bytes of all names and values of one series.
    pub max_label_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { keep: Span::hours(48), max_series: 100_000, max_labels: 64, max_label_bytes: 8192 }
    }
}

/// Which series: good as long as [`Store::generation`] stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(u32);

/// Which target: good as long as the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId(u32);

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The target it came from.
    pub target: TargetId,
    /// Samples stored.
    pub stored: u64,
    /// Samples left out: late, repeated, too far ahead, too many labels, past the cap on series, or of a series that the
    /// engine writes.
    pub refused: u64,
    /// Series that ended with this batch.
    pub ended: u64,
    /// Whether `up` or `probe_success` changed, or appeared as 0.
    pub events: bool,
}

/// How much a store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Series, ended ones included.
    pub series: usize,
    /// Samples, stale markers included.
    pub samples: usize,
    /// Approximate bytes of samples and labels.
    pub bytes: usize,
}

/// What is known of a target.
#[derive(Clone, Debug)]
pub struct Target {
    /// Which source looks at it.
    pub source: SourceRef,
    /// Its `instance`.
    pub instance: String,
    /// How often it is looked at.
    pub interval: Span,
    /// The last look, good or not.
    pub collected: Timestamp,
    /// The last good look.
    pub good: Option<Timestamp>,
    /// Series of the last look, in the order of its samples.
    live: Vec<SeriesId>,
    /// Names it ever gave.
    names: BTreeSet<Arc<str>>,
    /// Label sets it gave that retention forgot: when they come back they did not begin at zero.
    forgotten: BTreeSet<u64>,
    /// Whether everything that the last good look held was stored: else a new series may be an old one.
    complete: bool,
    round: u64,
}

/// Series that the engine writes together.
#[derive(Clone, Debug, Default)]
struct Family {
    live: Vec<SeriesId>,
    round: u64,
}

/// All samples in memory. A clone is a consistent copy; `&Store` is a consistent view.
#[derive(Clone, Debug)]
pub struct Store {
    limits: Limits,
    series: Vec<Option<Series>>,
    free: Vec<u32>,
    by_fingerprint: HashMap<u64, Vec<SeriesId>>,
    by_name: BTreeMap<Arc<str>, Vec<SeriesId>>,
    targets: Vec<Target>,
    target_index: BTreeMap<SourceRef, BTreeMap<String, TargetId>>,
    declared: BTreeMap<SourceRef, BTreeSet<String>>,
    families: Vec<Family>,
    family_index: BTreeMap<String, usize>,
    generation: u64,
    n_own: usize,
    samples: usize,
    label_bytes: usize,
    swept: Option<Timestamp>,
}

/// How far ahead of the batch a target's own time may be: a series that jumped to the year 3000 would refuse all else.
const MAX_AHEAD: Span = Span::mins(10);

/// How late a look may arrive without counting as missed.
const LATE: Span = Span::millis(500);

impl Store {
    /// An empty store.
    pub fn new(limits: Limits) -> Store {
        Store {
            limits,
            series: Vec::new(),
            free: Vec::new(),
            by_fingerprint: HashMap::new(),
            by_name: BTreeMap::new(),
            targets: Vec::new(),
            target_index: BTreeMap::new(),
            declared: BTreeMap::new(),
            families: Vec::new(),
            family_index: BTreeMap::new(),
            generation: 0xcbf2_9ce4_8422_2325,
            n_own: 0,
            samples: 0,
            label_bytes: 0,
            swept: None,
        }
    }

    /// New limits, from now on; what is held already stays until retention takes it.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// States which metric names a source can give, though it may not have given any yet.
    pub fn declare<S: Into<String>>(&mut self, source: &SourceRef, names: impl IntoIterator<Item = S>) {
        self.declared.insert(source.clone(), names.into_iter().map(Into::into).collect());
    }

    /// Takes in one look at one target. A batch no newer than the target's last one ends no series.
    pub fn append(&mut self, batch: &Batch) -> Appended {
        let (id, known) = self.target_for(batch);
        let (slot, owner) = (id.0 as usize, Owner::Target(id.0));
        let late = known && batch.at <= self.targets[slot].collected;
        let births_from_zero = known && !late && self.targets[slot].births_from_zero(batch.at);
        let round = self.targets[slot].round + 1;
        self.targets[slot].round = round;
        let before = std::mem::take(&mut self.targets[slot].live);
        let mut live = Vec::with_capacity(before.len().max(batch.samples.len()));
        let mut appended = Appended { target: id, stored: 0, refused: 0, ended: 0, events: false };
        let mut complete = true;
        for (i, sample) in batch.samples.iter().enumerate() {
            let hint = before.get(i).copied();
            let Some((series, is_new)) = self.find_or_make(hint, &sample.labels, batch, sample) else {
                appended.refused += 1;
                complete = false;
                continue;
            };
            if is_new {
                self.note_birth(slot, series, births_from_zero, sample.at.unwrap_or(batch.at));
            }
            let at = sample.at.unwrap_or(batch.at).0;
            let entry = self.series_mut(series);
            if matches!(entry.owner, Owner::Family(_)) {
                appended.refused += 1;
                continue;
            }
            if (entry.owner, entry.round) != (owner, round) {
                live.push(series);
            }
            (entry.owner, entry.round) = (owner, round);
            let too_far = at > batch.at.0.saturating_add(MAX_AHEAD.0);
            if too_far || entry.last_time().is_some_and(|last| at <= last) {
                appended.refused += 1;
                continue;
            }
            appended.events |= is_event(entry, sample);
            entry.push(at, sample.value);
            self.samples += 1;
            appended.stored += 1;
        }
        if late {
            self.keep_live(slot, before, live);
            return appended;
        }
        appended.ended = self.end_missing(owner, round, &before, batch.at);
        let target = &mut self.targets[slot];
        target.live = live;
        target.collected = batch.at;
        target.interval = batch.interval;
        if batch.outcome == Outcome::Good {
            target.good = Some(batch.at);
            target.complete = complete;
        }
        appended
    }

    /// Takes in all that the engine writes of one family at `at`; series of the family that are missing end.
    /// Never refused: a time that is not newer replaces the newest value.
    pub fn append_own(&mut self, at: Timestamp, family: &str, samples: &[Sample]) {
        let known = self.family_index.get(family).copied();
        let slot = known.unwrap_or_else(|| {
            self.families.push(Family::default());
            self.family_index.insert(family.to_string(), self.families.len() - 1);
            self.families.len() - 1
        });
        let owner = Owner::Family(u32::try_from(slot).expect("fewer families than u32 can count"));
        self.families[slot].round += 1;
        let round = self.families[slot].round;
        let before = std::mem::take(&mut self.families[slot].live);
        let mut live = Vec::with_capacity(samples.len());
        for (i, sample) in samples.iter().enumerate() {
            let found = self.find(before.get(i).copied(), &sample.labels);
            let series = found.unwrap_or_else(|| self.make(&sample.labels));
            let entry = self.series_mut(series);
            if found.is_none() {
                entry.from_zero = known.map(|_| at);
            }
            let is_taken_over = !matches!(entry.owner, Owner::Family(_));
            if (entry.owner, entry.round) != (owner, round) {
                live.push(series);
            }
            (entry.owner, entry.round) = (owner, round);
            self.n_own += usize::from(is_taken_over);
            self.write_own(series, at, sample.value);
        }
        self.end_missing(owner, round, &before, at);
        self.families[slot].live = live;
    }

    /// Moves everything by `by`, because the wall clock was set: ages stay what they are.
    pub fn shift(&mut self, by: Span) {
        for series in self.series.iter_mut().flatten() {
            series.shift(by.0);
        }
        for target in &mut self.targets {
            target.collected += by;
            target.good = target.good.map(|at| at + by);
        }
        self.swept = self.swept.map(|at| at + by);
    }

    /// Forgets samples older than the limit, and series without any. Works at most every twentieth of the limit,
    /// so it may be called in every step.
    pub fn retain(&mut self, now: Timestamp) {
        if self.swept.is_some_and(|at| now - at < Span(self.limits.keep.0 / 20)) {
            return;
        }
        self.swept = Some(now);
        let oldest = now - self.limits.keep;
        let mut empty = Vec::new();
        for (i, series) in self.series.iter_mut().enumerate() {
            let Some(series) = series else { continue };
            self.samples -= series.forget_before(oldest.0);
            if series.from_zero.is_some_and(|at| at < oldest) {
                series.from_zero = None;
            }
            if series.times().is_empty() {
                empty.push(SeriesId(u32::try_from(i).expect("ids are u32")));
            }
        }
        for id in empty {
            self.remove(id);
        }
    }

    /// The series that a selector means, in the order they were first seen within a name.
    pub fn select(&self, selector: &Selector) -> Vec<SeriesId> {
        let matching = |ids: &[SeriesId], found: &mut Vec<SeriesId>| {
            found.extend(ids.iter().filter(|id| selector.matches(self.series(**id).labels())));
        };
        let mut found = Vec::new();
        match &selector.name {
            Some(name) => matching(self.by_name.get(name).map_or(&[], Vec::as_slice), &mut found),
            None => {
                for ids in self.by_name.values() {
                    matching(ids, &mut found);
                }
            }
        }
        found
    }

    /// One series.
    ///
    /// # Panics
    /// When the id is of another generation: that is a bug of the caller.
    pub fn series(&self, id: SeriesId) -> &Series {
        self.series[id.0 as usize].as_ref().expect("series ids are used within their generation")
    }

    /// One target.
    pub fn target(&self, id: TargetId) -> &Target {
        &self.targets[id.0 as usize]
    }

    /// The id of a target that delivered before.
    pub fn target_id(&self, source: &SourceRef, instance: &str) -> Option<TargetId> {
        self.target_index.get(source)?.get(instance).copied()
    }

    /// All targets that ever delivered.
    pub fn targets(&self) -> impl Iterator<Item = (TargetId, &Target)> {
        self.targets.iter().zip(0u32..).map(|(target, i)| (TargetId(i), target))
    }

    /// The target that wrote a series last; none for the engine's own.
    pub fn owner(&self, id: SeriesId) -> Option<TargetId> {
        match self.series(id).owner {
            Owner::Target(i) => Some(TargetId(i)),
            Owner::Family(_) | Owner::Nobody => None,
        }
    }

    /// The targets, in order, whose last look gave a series that one of the selectors means.
    pub fn targets_of<'a>(&self, selectors: impl IntoIterator<Item = &'a Selector>) -> Vec<TargetId> {
        let mut found = BTreeSet::new();
        for selector in selectors {
            let ids = self.select(selector).into_iter();
            found.extend(ids.filter(|id| !self.series(*id).is_ended()).filter_map(|id| self.owner(id)));
        }
        found.into_iter().collect()
    }

    /// Whether a source that could have given a series of this selector was looked at, well, within two of its
    /// intervals before `now`: then its absence is a fact. A source could have if it is of the selector's
    /// `job`, and declares a name that the selector admits, or one of its targets ever gave one.
    pub fn was_collected(&self, selector: &Selector, now: Timestamp) -> bool {
        self.targets.iter().any(|target| {
            target.collected <= now
                && now - target.collected <= target.patience()
                && selector.admits("job", &target.source.name)
                && self.could_give(target, selector)
                && (target.is_good(now) || self.gives_now(target, selector))
        })
    }

    /// Changes whenever a series appears or is forgotten. Two stores with the same generation went through the same
    /// changes, so a cache keyed by it holds across stores too.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How much is held.
    pub fn size(&self) -> Size {
        let series = self.series.len() - self.free.len();
        Size { series, samples: self.samples, bytes: self.samples * 16 + self.label_bytes + series * 256 }
    }

    fn could_give(&self, target: &Target, selector: &Selector) -> bool {
        let declared = self.declared.get(&target.source);
        match &selector.name {
            Some(name) => target.names.contains(name) || declared.is_some_and(|names| names.contains(&**name)),
            None => {
                let mut all = target.names.iter().map(|name| &**name);
                all.any(|name| selector.admits_name(name))
                    || declared.is_some_and(|names| names.iter().any(|name| selector.admits_name(name)))
            }
        }
    }

    /// A failed look still gives its verdict: about these names it knows.
    fn gives_now(&self, target: &Target, selector: &Selector) -> bool {
        target.live.iter().any(|id| selector.admits_name(self.series(*id).labels().name()))
    }

    fn target_for(&mut self, batch: &Batch) -> (TargetId, bool) {
        if let Some(id) = self.target_id(&batch.source, &batch.instance) {
            return (id, true);
        }
        let id = TargetId(u32::try_from(self.targets.len()).expect("fewer targets than u32 can count"));
        self.targets.push(Target {
            source: batch.source.clone(),
            instance: batch.instance.clone(),
            interval: batch.interval,
            collected: batch.at,
            good: None,
            live: Vec::new(),
            names: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            complete: false,
            round: 0,
        });
        self.target_index.entry(batch.source.clone()).or_default().insert(batch.instance.clone(), id);
        (id, false)
    }

    /// The series of these labels, made if the limits allow it; and whether it was made.
    fn find_or_make(
        &mut self,
        hint: Option<SeriesId>,
        labels: &Labels,
        batch: &Batch,
        sample: &Sample,
    ) -> Option<(SeriesId, bool)> {
        if let Some(id) = self.find(hint, labels) {
            return Some((id, false));
        }
        let at = sample.at.unwrap_or(batch.at);
        let good_time = at <= batch.at + MAX_AHEAD && at >= batch.at - self.limits.keep;
        let room = self.size().series - self.n_own < self.limits.max_series;
        (good_time && room && self.fits(labels)).then(|| (self.make(labels), true))
    }

    fn fits(&self, labels: &Labels) -> bool {
        labels.len() <= self.limits.max_labels && bytes_of(labels) <= self.limits.max_label_bytes
    }

    fn find(&self, hint: Option<SeriesId>, labels: &Labels) -> Option<SeriesId> {
        if let Some(id) = hint
            && self.series[id.0 as usize].as_ref().is_some_and(|series| same(series.labels(), labels))
        {
            return Some(id);
        }
        let ids = self.by_fingerprint.get(&labels.fingerprint())?;
        ids.iter().copied().find(|id| self.series(*id).labels() == labels)
    }

    fn make(&mut self, labels: &Labels) -> SeriesId {
        let id = match self.free.pop() {
            Some(i) => SeriesId(i),
            None => {
                self.series.push(None);
                SeriesId(u32::try_from(self.series.len() - 1).expect("fewer series than u32 can count"))
            }
        };
        self.series[id.0 as usize] = Some(Series::new(labels.clone()));
        let fingerprint = labels.fingerprint();
        self.by_fingerprint.entry(fingerprint).or_default().push(id);
        self.by_name.entry(Arc::from(labels.name())).or_default().push(id);
        self.label_bytes += bytes_of(labels);
        self.advance(fingerprint);
        id
    }

    fn remove(&mut self, id: SeriesId) {
        let Some(series) = self.series[id.0 as usize].take() else { return };
        let labels = series.labels();
        let fingerprint = labels.fingerprint();
        let gone = |ids: &mut Vec<SeriesId>| {
            ids.retain(|other| *other != id);
            ids.is_empty()
        };
        if self.by_fingerprint.get_mut(&fingerprint).is_some_and(gone) {
            self.by_fingerprint.remove(&fingerprint);
        }
        if self.by_name.get_mut(labels.name()).is_some_and(gone) {
            self.by_name.remove(labels.name());
        }
        self.label_bytes -= bytes_of(labels);
        self.free.push(id.0);
        self.advance(!fingerprint);
        match series.owner {
            Owner::Family(i) => {
                self.families[i as usize].live.retain(|other| *other != id);
                self.n_own -= 1;
            }
            Owner::Target(i) => {
                let target = &mut self.targets[i as usize];
                target.live.retain(|other| *other != id);
                // Bounded: a target that forgot more than this never again takes a new series for a newborn one.
                if target.forgotten.len() < self.limits.max_series {
                    target.forgotten.insert(fingerprint);
                }
            }
            Owner::Nobody => {}
        }
    }

    /// A chain over all changes: equal chains mean equal histories, so equal ids.
    fn advance(&mut self, change: u64) {
        for byte in change.to_le_bytes() {
            self.generation = (self.generation ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn note_birth(&mut self, slot: usize, id: SeriesId, from_zero: bool, at: Timestamp) {
        let labels = self.series(id).labels().clone();
        let target = &mut self.targets[slot];
        let back = target.forgotten.len() >= self.limits.max_series || target.forgotten.contains(&labels.fingerprint());
        if !target.names.contains(labels.name()) && target.names.len() < self.limits.max_series {
            target.names.insert(Arc::from(labels.name()));
        }
        self.series_mut(id).from_zero = (from_zero && !back).then_some(at);
    }

    fn series_mut(&mut self, id: SeriesId) -> &mut Series {
        self.series[id.0 as usize].as_mut().expect("series ids are used within their generation")
    }

    fn write_own(&mut self, id: SeriesId, at: Timestamp, value: f64) {
        let entry = self.series_mut(id);
        if entry.last_time().is_some_and(|last| at.0 <= last) {
            entry.replace_last(value);
        } else {
            entry.push(at.0, value);
            self.samples += 1;
        }
    }

    /// Ends the series that this owner gave before and not in this round. Where the target's own times ran ahead of
    /// ours, the marker comes right after them: a vanished series must not look fresh.
    fn end_missing(&mut self, owner: Owner, round: u64, before: &[SeriesId], at: Timestamp) -> u64 {
        let mut ended = 0;
        for id in before {
            let series = self.series_mut(*id);
            if series.owner != owner || series.round == round || series.is_ended() {
                continue;
            }
            let time = series.last_time().map_or(at.0, |last| at.0.max(last.saturating_add(1)));
            series.push(time, stale());
            self.samples += 1;
            ended += 1;
        }
        ended
    }

    /// After a late batch the target gives what it gave before, and what the late batch added.
    fn keep_live(&mut self, slot: usize, before: Vec<SeriesId>, added: Vec<SeriesId>) {
        let mut live = before;
        for id in added {
            if !live.contains(&id) {
                live.push(id);
            }
        }
        self.targets[slot].live = live;
    }
}

impl Target {
    /// Whether a good look lies within two intervals before `now`, and the moment that a look may be late.
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.good.is_some_and(|at| at <= now && now - at <= self.patience())
    }

    /// Two intervals and a little: looks are dated when they were due, and arrive when the target has answered.
    fn patience(&self) -> Span {
        self.interval.times(2) + LATE
    }

    fn births_from_zero(&self, at: Timestamp) -> bool {
        self.complete && self.is_good(at)
    }
}

fn is_event(series: &Series, sample: &Sample) -> bool {
    if !matches!(series.labels().name(), "up" | "probe_success") {
        return false;
    }
    match series.last_value {
        Some(before) => before != sample.value && !(before.is_nan() && sample.value.is_nan()),
        None => sample.value == 0.0,
    }
}

/// Equality that takes the short way where both share their strings.
fn same(a: &Labels, b: &Labels) -> bool {
    std::ptr::eq(a.pairs(), b.pairs()) || a == b
}

fn bytes_of(labels: &Labels) -> usize {
    labels.iter().map(|(name, value)| name.len() + value.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Failure, Labels};
    use crate::store::is_stale;

    const SOURCE: &str = "api";

    fn store() -> Store {
        Store::new(Limits { keep: Span::hours(1), max_series: 5, max_labels: 4, max_label_bytes: 100 })
    }

    fn sample(name: &str, value: f64) -> Sample {
        Sample { labels: Labels::new([("__name__", name), ("job", SOURCE)]), value, at: None }
    }

    fn batch(seconds: i64, samples: &[(&str, f64)]) -> Batch {
        Batch {
            source: SourceRef::new("prometheus", SOURCE),
            instance: "i".into(),
            at: Timestamp(seconds * 1000),
            interval: Span::secs(15),
            outcome: Outcome::Good,
            samples: samples.iter().map(|(name, value)| sample(name, *value)).collect(),
        }
    }

    fn failed(seconds: i64) -> Batch {
        let outcome = Outcome::Failed(Failure::new("refused", "connection refused"));
        Batch { outcome, ..batch(seconds, &[("up", 0.0)]) }
    }

    fn by_name(name: &str) -> Selector {
        Selector { name: Some(name.into()), matchers: Vec::new() }
    }

    fn only<'a>(store: &'a Store, name: &str) -> &'a Series {
        let ids = store.select(&by_name(name));
        assert_eq!(ids.len(), 1, "{name}");
        store.series(ids[0])
    }

    /// The samples in seconds, a stale marker as `None`.
    fn samples(store: &Store, name: &str) -> Vec<(i64, Option<f64>)> {
        let series = only(store, name);
        let value = |v: &f64| (!is_stale(*v)).then_some(*v);
        series.times().iter().zip(series.values()).map(|(t, v)| (t / 1000, value(v))).collect()
    }

    #[test]
    fn a_series_that_is_missing_ends_and_comes_back() {
        let mut store = store();
        store.append(&batch(15, &[("a", 1.0), ("b", 1.0)]));
        assert_eq!(store.append(&batch(30, &[("a", 2.0)])).ended, 1);
        assert_eq!(store.append(&batch(45, &[("a", 3.0)])).ended, 0, "it ends once");
        store.append(&batch(60, &[("b", 4.0), ("a", 4.0)]));
        assert_eq!(samples(&store, "b"), [(15, Some(1.0)), (30, None), (60, Some(4.0))]);
        assert_eq!(store.append(&failed(75)).ended, 2, "a failed look ends all that it does not hold");
        assert_eq!(samples(&store, "a").last(), Some(&(75, None)));
    }

    #[test]
    fn time_in_a_series_only_rises_and_a_late_batch_ends_nothing() {
        let mut store = store();
        store.append(&batch(30, &[("a", 1.0), ("b", 1.0)]));
        for (seconds, refused) in [(30, 1), (20, 1)] {
            let appended = store.append(&batch(seconds, &[("a", 9.0)]));
            assert_eq!((appended.refused, appended.stored, appended.ended), (refused, 0, 0));
        }
        assert_eq!(store.append(&batch(45, &[("a", 2.0)])).ended, 1, "the target still gave b before");
        assert_eq!(samples(&store, "a"), [(30, Some(1.0)), (45, Some(2.0))]);
        let appended = store.append(&batch(60, &[("a", 3.0), ("a", 4.0)]));
        assert_eq!((appended.stored, appended.refused), (1, 1), "the same label set twice");
    }

    #[test]
    fn a_targets_own_time_is_kept_within_bounds() {
        let mut store = store();
        let mut early = batch(30, &[("a", 1.0), ("far", 1.0)]);
        early.samples[0].at = Some(Timestamp(40_000));
        early.samples[1].at = Some(Timestamp(i64::MAX));
        assert_eq!(store.append(&early).refused, 1);
        store.append(&batch(35, &[]));
        assert_eq!(
            only(&store, "a").times(),
            [40_000, 40_001],
            "the marker follows the sample, also where that ran ahead"
        );
        assert!(store.select(&by_name("far")).is_empty());
    }

    #[test]
    fn caps_refuse_and_count() {
        let mut store = store();
        let names = ["a", "b", "c", "d", "e", "f", "g"].map(|name| (name, 1.0));
        let appended = store.append(&batch(15, &names));
        assert_eq!((appended.stored, appended.refused), (5, 2));
        let wide = Labels::new((0..6).map(|i| (format!("l{i}"), "v".to_string())));
        let mut wide_batch = batch(30, &[]);
        wide_batch.samples.push(Sample { labels: wide, value: 1.0, at: None });
        assert_eq!(store.append(&wide_batch).refused, 1);
        store.append_own(Timestamp(30_000), "alerts", &[sample("ALERTS", 1.0)]);
        assert_eq!(samples(&store, "ALERTS"), [(30, Some(1.0))], "the engine's own are never refused");
    }

    #[test]
    fn a_counter_begins_at_zero_only_beside_a_good_and_recent_look_without_it() {
        let born = |before: &[Batch], seconds: i64| {
            let mut store = store();
            for batch in before {
                store.append(batch);
            }
            store.append(&batch(seconds, &[("up", 1.0), ("errors", 7.0)]));
            only(&store, "errors").from_zero().is_some()
        };
        let good = |seconds| batch(seconds, &[("up", 1.0)]);
        assert!(born(&[good(15)], 30));
        assert!(born(&[good(15)], 45), "one look was missed");
        assert!(born(&[good(15), failed(30)], 45), "one look failed");
        assert!(!born(&[], 30), "the first look");
        assert!(!born(&[good(15)], 46), "a gap");
        assert!(!born(&[good(15), failed(30), failed(45)], 60), "too long ago");
        assert!(!born(&[failed(15)], 30), "never a good look");
        assert!(!born(&[batch(15, &[("errors", 5.0)]), good(30)], 45), "it was there before");
        let crowded = batch(15, &["a", "b", "c", "d", "e", "errors"].map(|name| (name, 1.0)));
        let mut store = store();
        store.append(&crowded);
        store.limits.max_series = 6;
        store.append(&Batch { at: Timestamp(30_000), ..crowded.clone() });
        assert_eq!(only(&store, "errors").from_zero(), None, "it may have been among the refused");
    }

    #[test]
    fn a_series_that_retention_forgot_is_not_newborn() {
        let mut store = store();
        store.append(&batch(0, &[("up", 1.0), ("errors", 7.0)]));
        let minutes: i64 = 65;
        for i in 1..=minutes * 4 {
            store.append(&batch(i * 15, &[("up", 1.0)]));
            store.retain(Timestamp(i * 15_000));
        }
        assert!(store.select(&by_name("errors")).is_empty());
        store.append(&batch(minutes * 60 + 15, &[("up", 1.0), ("errors", 8.0)]));
        assert_eq!(only(&store, "errors").from_zero(), None);
    }

    #[test]
    fn events_are_changes_of_a_verdict() {
        let mut store = store();
        for (seconds, value, expected) in [(15, 1.0, false), (30, 0.0, true), (45, 0.0, false), (60, 1.0, true)] {
            assert_eq!(store.append(&batch(seconds, &[("probe_success", value)])).events, expected, "{seconds}");
        }
        store.append(&batch(75, &[]));
        assert!(store.append(&batch(90, &[("probe_success", 0.0)])).events, "against the last value before it ended");
        assert!(store.append(&batch(105, &[("up", 0.0)])).events, "appears as 0");
        assert!(!store.append(&batch(120, &[("other", 0.0)])).events);
    }

    #[test]
    fn own_series_end_with_their_family() {
        let mut store = store();
        let at = |s: i64| Timestamp(s * 1000);
        store.append_own(at(10), "alerts", &[sample("ALERTS", 1.0)]);
        store.append_own(at(10), "alerts", &[sample("ALERTS", 2.0)]);
        store.append_own(at(10), "other", &[sample("backstop_x", 1.0)]);
        store.append_own(at(20), "alerts", &[]);
        assert_eq!(samples(&store, "ALERTS"), [(10, Some(2.0)), (20, None)]);
        assert_eq!(samples(&store, "backstop_x"), [(10, Some(1.0))]);
        assert_eq!(store.append(&batch(30, &[("backstop_x", 5.0)])).refused, 1, "no source writes them");
        assert_eq!(store.targets_of([&by_name("backstop_x")]), []);
    }

    #[test]
    fn a_shift_keeps_ages() {
        let mut store = store();
        store.append(&batch(100, &[("up", 1.0)]));
        store.append(&batch(115, &[("up", 1.0), ("a", 1.0)]));
        store.shift(Span::secs(-50));
        assert_eq!(samples(&store, "up"), [(50, Some(1.0)), (65, Some(1.0))]);
        assert_eq!(only(&store, "a").from_zero(), Some(Timestamp(65_000)));
        assert!(store.was_collected(&by_name("a"), Timestamp(95_000)));
        assert!(!store.was_collected(&by_name("a"), Timestamp(95_501)));
        assert_eq!(store.append(&batch(70, &[("up", 1.0)])).stored, 1);
    }

    #[test]
    fn retention_drops_what_is_old_and_tells_by_the_generation() {
        let mut store = store();
        store.append(&batch(0, &[("a", 1.0), ("b", 1.0)]));
        store.append(&batch(3000, &[("a", 2.0)]));
        let before = (store.generation(), store.size().samples);
        store.retain(Timestamp(3_600_000));
        assert_eq!((store.generation(), store.size().samples), before, "an hour is kept");
        store.retain(Timestamp(3_600_001));
        assert_eq!(store.size().samples, before.1, "not at work in every step");
        store.retain(Timestamp(6_600_001));
        assert_eq!(store.size().series, 0);
        assert_eq!((store.size().samples, store.size().bytes), (0, 0));
        assert_ne!(store.generation(), before.0);
    }

    #[test]
    fn absence_is_a_fact_only_of_what_could_have_been_seen() {
        let mut store = store();
        store.declare(&SourceRef::new("prometheus", SOURCE), ["declared"]);
        store.append(&batch(0, &[("up", 1.0), ("once", 1.0)]));
        store.append(&batch(15, &[("up", 1.0)]));
        let collected = |store: &Store, name: &str, job: &str, seconds: i64| {
            let matchers = if job.is_empty() { vec![] } else { vec![crate::store::Matcher::equal("job", job)] };
            store.was_collected(&Selector { name: Some(name.into()), matchers }, Timestamp(seconds * 1000))
        };
        for (name, job, seconds, expected) in [
            ("once", "", 15, true),
            ("declared", "", 15, true),
            ("never", "", 15, false),
            ("once", SOURCE, 45, true),
            ("once", "another", 15, false),
            ("once", "", 46, false),
            ("once", "", 14, false),
        ] {
            assert_eq!(collected(&store, name, job, seconds), expected, "{name} {job} {seconds}");
        }
        store.append(&failed(30));
        store.append(&failed(60));
        assert!(!collected(&store, "once", "", 60), "a failed look sees nothing");
        assert!(collected(&store, "up", "", 60), "but its own verdict");
    }

    #[test]
    fn targets_are_those_that_give_a_series_now() {
        let mut store = store();
        let first = store.append(&batch(15, &[("a", 1.0)])).target;
        let second = store.append(&Batch { instance: "j".into(), ..batch(15, &[("b", 1.0)]) }).target;
        assert_eq!(store.targets_of([&by_name("a")]), [first]);
        assert_eq!(store.targets_of([&by_name("b"), &by_name("a")]), [first, second]);
        store.append(&failed(30));
        assert_eq!(store.targets_of([&by_name("a")]), []);
    }
}
