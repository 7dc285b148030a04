//! Recorded series, made into looks at targets again.
//!
//! Enters: the series of a slice of time, with who wrote them where that is known. Leaves: batches in the order of time, as
//! the engine got them when they were new. Series of one `job` and `instance` are one target. It was looked at whenever its
//! verdict was recorded (`up`, `probe_success`, or how long the look took); a sample with a time of its own comes with the
//! look after it. Where there is no verdict, as in a dump of a few series, samples within one interval are one look. What
//! the engine itself wrote is left out: it writes it again.
//!
//! What waits for the next look is held across slices, and nothing else.

use std::collections::{BTreeMap, HashMap};

use crate::base::{Batch, Failure, Labels, Outcome, Sample, SourceRef, Span, Timestamp};
use crate::promql::is_of_the_engine;
use crate::store::archive::{Owner, Recent};
use crate::store::{Stretch, is_stale};

/// Series that are there at every look at a target.
const VERDICTS: [&str; 4] = ["up", "probe_success", "scrape_duration_seconds", "probe_duration_seconds"];

/// The interval of a target of which too little is known.
const UNKNOWN: Span = Span::secs(15);

/// The longest interval that is believed; what comes more rarely ends in between.
const LONGEST: Span = Span::mins(5);

/// The most samples of a target that wait for its next look.
const MOST_WAITING: usize = 100_000;

/// Source and instance.
pub type Target = (SourceRef, String);

/// Makes looks of slices, one after the other.
#[derive(Debug, Default)]
pub struct Looks {
    /// The sources of the configuration.
    sources: Vec<SourceRef>,
    intervals: BTreeMap<Target, Span>,
    waiting: BTreeMap<Target, Vec<(Labels, i64, f64)>>,
}

/// One sample on its way into a look: the look's time, the series, its own time, the value.
type Placed<'a> = (i64, &'a Labels, i64, f64);

impl Looks {
    /// Looks at these sources; others that the data hold are taken for targets of Prometheus.
    pub fn new(sources: Vec<SourceRef>) -> Looks {
        Looks { sources, ..Looks::default() }
    }

    /// The targets so far, with their intervals.
    pub fn targets(&self) -> &BTreeMap<Target, Span> {
        &self.intervals
    }

    /// The looks of one slice, in the order of time.
    pub fn of(&mut self, recent: Recent) -> Vec<Batch> {
        let mut by_target: BTreeMap<Target, Vec<&Stretch>> = BTreeMap::new();
        for remembered in &recent.series {
            let labels = remembered.stretch.labels();
            let target = match remembered.owner {
                Some(Owner::Family(_)) => continue,
                _ if is_of_the_engine(labels.name()) => continue,
                Some(Owner::Target(i)) => (recent.targets[i].source.clone(), recent.targets[i].instance.clone()),
                None => (self.source(labels.get("job")), labels.get("instance").to_string()),
            };
            by_target.entry(target).or_default().push(&remembered.stretch);
        }
        for seen in recent.targets.iter().filter(|seen| seen.interval > Span::ZERO) {
            self.intervals.insert((seen.source.clone(), seen.instance.clone()), seen.interval);
        }
        let mut batches = Vec::new();
        for (target, series) in by_target {
            self.looks_at(&target, &series, &mut batches);
        }
        batches.sort_by_key(|batch| batch.at);
        batches
    }

    /// What never had a look after it, as one last look of each target.
    pub fn rest(&mut self) -> Vec<Batch> {
        let waiting = std::mem::take(&mut self.waiting);
        let mut batches = Vec::new();
        for (target, samples) in waiting {
            let Some(last) = samples.iter().map(|(_, time, _)| *time).max() else { continue };
            let placed: Vec<Placed<'_>> = samples.iter().map(|(l, time, value)| (last, l, *time, *value)).collect();
            batches.extend(self.batch(&target, last, &placed));
        }
        batches.sort_by_key(|batch| batch.at);
        batches
    }

    fn source(&self, job: &str) -> SourceRef {
        let known = self.sources.iter().find(|source| source.name == job);
        known.cloned().unwrap_or_else(|| SourceRef::new("prometheus", if job.is_empty() { "unnamed" } else { job }))
    }

    fn looks_at(&mut self, target: &Target, series: &[&Stretch], batches: &mut Vec<Batch>) {
        let is_verdict = |s: &&&Stretch| VERDICTS.contains(&s.labels().name());
        let mut times: Vec<i64> = series.iter().filter(is_verdict).flat_map(|s| s.times().iter().copied()).collect();
        let has_verdict = !times.is_empty() || self.waiting.contains_key(target);
        if !has_verdict {
            times = series.iter().flat_map(|s| s.times().iter().copied()).collect();
        }
        times.sort_unstable();
        times.dedup();
        let known = self.intervals.get(target).copied();
        let interval = known.or_else(|| usual(series)).unwrap_or(UNKNOWN);
        self.intervals.insert(target.clone(), interval);
        if !has_verdict {
            times = joined(&times, Span(interval.0 * 4 / 5));
        }
        let waiting = self.waiting.remove(target).unwrap_or_default();
        let mut placed: Vec<Placed<'_>> = Vec::with_capacity(series.iter().map(|s| s.times().len()).sum());
        let mut left = Vec::new();
        let old = waiting.iter().map(|(labels, time, value)| (labels, *time, *value));
        let new = series.iter().flat_map(|s| s.times().iter().zip(s.values()).map(|(t, v)| (s.labels(), *t, *v)));
        for (labels, time, value) in old.chain(new) {
            match times.get(times.partition_point(|at| *at < time)) {
                Some(at) => placed.push((*at, labels, time, value)),
                None if left.len() < MOST_WAITING => left.push((labels.clone(), time, value)),
                None => {}
            }
        }
        // A stable order: within a look, series in the order of their labels and times.
        placed.sort_by_key(|(at, ..)| *at);
        for look in placed.chunk_by(|a, b| a.0 == b.0) {
            batches.extend(self.batch(target, look[0].0, look));
        }
        if !left.is_empty() {
            self.waiting.insert(target.clone(), left);
        }
    }

    /// One look. A target of which all series end is not there any more, which is no good look.
    fn batch(&self, target: &Target, at: i64, samples: &[Placed<'_>]) -> Option<Batch> {
        let given = samples.iter().filter(|(.., value)| !is_stale(*value));
        let sample = |(look, labels, time, value): &Placed<'_>| Sample {
            labels: (*labels).clone(),
            value: *value,
            at: (time != look).then_some(Timestamp(*time)),
        };
        let samples: Vec<Sample> = given.map(sample).collect();
        let says_no =
            |s: &Sample| ["up", "probe_success"].contains(&s.labels.name()) && s.value == 0.0 && s.at.is_none();
        let outcome = if samples.iter().any(says_no) {
            Outcome::Failed(Failure::new("recorded", "the recorded look failed"))
        } else if samples.is_empty() {
            Outcome::Failed(Failure::new("gone", "its series ended"))
        } else {
            Outcome::Good
        };
        let (source, instance) = target.clone();
        let interval = self.intervals.get(target).copied().unwrap_or(UNKNOWN);
        Some(Batch {
            source,
            instance,
            at: Timestamp(at),
            interval,
            outcome,
            samples,
            checkpoint: None,
            holds: false,
            exhibits: Vec::new(),
        })
    }
}

/// How far apart the samples of a series usually are: of the series for which that is longest.
fn usual(series: &[&Stretch]) -> Option<Span> {
    let mut seen: HashMap<(i64, usize), Option<i64>> = HashMap::new();
    let of = |times: &[i64]| {
        let mut gaps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        gaps.sort_unstable();
        gaps.get(gaps.len() / 2).copied().filter(|_| gaps.len() >= 3)
    };
    let gaps = series.iter().filter_map(|s| {
        // Series of one target share their times: each column is looked at once.
        let key = (s.times().first().copied()?, s.times().len());
        *seen.entry(key).or_insert_with(|| of(s.times()))
    });
    let longest = gaps.filter(|gap| *gap <= LONGEST.0).max()?;
    Some(Span(longest.clamp(1000, LONGEST.0)))
}

/// The ends of runs of times that lie within `within` of their first.
fn joined(times: &[i64], within: Span) -> Vec<i64> {
    let mut ends: Vec<i64> = Vec::new();
    let mut first = None;
    for time in times {
        match (first, ends.last_mut()) {
            (Some(begun), Some(end)) if *time - begun < within.0 => *end = *time,
            _ => {
                first = Some(*time);
                ends.push(*time);
            }
        }
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::archive::Remembered;
    use crate::store::stale;

    fn stretch(name: &str, job: &str, points: &[(i64, f64)]) -> Remembered {
        let labels = Labels::new([("__name__", name), ("job", job), ("instance", "a")]);
        let (times, values): (Vec<i64>, Vec<f64>) = points.iter().copied().unzip();
        Remembered { stretch: Stretch::new(labels, times, values), owner: None }
    }

    /// The looks as `time good name=value@own …`.
    fn lines(batches: &[Batch]) -> Vec<String> {
        let sample = |s: &Sample| {
            let own = s.at.map(|at| format!("@{}", at.0)).unwrap_or_default();
            format!(" {}={}{own}", s.labels.name(), s.value)
        };
        let line = |b: &Batch| {
            let good = if b.outcome == Outcome::Good { "good" } else { "failed" };
            format!("{} {} {good}{}", b.at.0, b.source, b.samples.iter().map(sample).collect::<String>())
        };
        batches.iter().map(line).collect()
    }

    fn looks(series: Vec<Remembered>) -> (Looks, Vec<String>) {
        let mut looks = Looks::new(vec![SourceRef::new("http", "web")]);
        let found = lines(&looks.of(Recent { series, ..Recent::default() }));
        (looks, found)
    }

    #[test]
    fn series_of_a_target_are_looked_at_together_and_a_failed_look_is_one() {
        let up = stretch("up", "api", &[(0, 1.0), (15_000, 0.0), (30_000, 1.0), (45_000, 1.0)]);
        let x = stretch("x", "api", &[(0, 5.0), (15_000, stale()), (30_000, 7.0), (44_000, 8.0)]);
        let web = stretch("probe_success", "web", &[(10_000, 1.0)]);
        let (looks, found) = looks(vec![up, x, web]);
        assert_eq!(
            found,
            [
                "0 prometheus.api good up=1 x=5",
                "10000 http.web good probe_success=1",
                "15000 prometheus.api failed up=0",
                "30000 prometheus.api good up=1 x=7",
                "45000 prometheus.api good up=1 x=8@44000",
            ]
        );
        let intervals: Vec<Span> = looks.targets().values().copied().collect();
        assert_eq!(intervals, [Span::secs(15), Span::secs(15)]);
    }

    #[test]
    fn what_comes_after_the_last_look_waits_for_the_next_slice() {
        let first = vec![stretch("up", "api", &[(0, 1.0)]), stretch("x", "api", &[(0, 1.0), (9_000, 2.0)])];
        let (mut looks, found) = looks(first);
        assert_eq!(found, ["0 prometheus.api good up=1 x=1"]);
        let next = vec![stretch("up", "api", &[(15_000, 1.0)])];
        let found = lines(&looks.of(Recent { series: next, ..Recent::default() }));
        assert_eq!(found, ["15000 prometheus.api good x=2@9000 up=1"]);
        assert!(looks.rest().is_empty());
    }

    #[test]
    fn without_a_verdict_samples_of_one_interval_are_one_look() {
        let a = stretch("a", "", &[(0, 1.0), (15_000, 1.0), (30_000, 1.0), (45_000, 1.0)]);
        let b = stretch("b", "", &[(2_000, 1.0), (17_000, 2.0), (32_000, 3.0), (47_000, 4.0)]);
        let (_, found) = looks(vec![a, b]);
        assert_eq!(found[0], "2000 prometheus.unnamed good a=1@0 b=1");
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn what_the_engine_wrote_is_left_out_and_a_target_that_ends_is_no_good_look() {
        let alerts = stretch("ALERTS", "api", &[(0, 1.0)]);
        let level = stretch("backstop_rule_level", "api", &[(0, 1.0)]);
        let up = stretch("up", "api", &[(0, 1.0), (15_000, stale())]);
        let (_, found) = looks(vec![alerts, level, up]);
        assert_eq!(found, ["0 prometheus.api good up=1", "15000 prometheus.api failed"]);
    }
}
