//! Where the samples of a query come from: the running agent, or a fixed set.
//!
//! What a query needs is known before it is evaluated ([`wanted`]), so a source hands out that and nothing else.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::{Labels, Timestamp};
use crate::promql::{Options, Plan};
use crate::source::openmetrics_file::Sink;
use crate::store::archive::{self, ReadLimits};
use crate::store::{Cursor, Samples, Selector, SeriesId, Stretch, View};
use crate::sys::tasks::blocking;
use crate::web::{Gate, Request};

/// How many samples one query of a running agent may read off the disk: 16 bytes each, for as long as it takes.
const MAX_OLDER: u64 = 5_000_000;

/// Before all samples, and far enough from the edge that a difference does not pass it.
pub(super) const FIRST: Timestamp = Timestamp(-900_000_000_000_000_000);

/// After all samples, likewise.
pub(super) const LAST: Timestamp = Timestamp(900_000_000_000_000_000);

/// The series of one selector within a span of time.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Which series.
    pub selector: Selector,
    /// Samples after this time.
    pub from: Timestamp,
    /// Samples up to this time, itself included.
    pub to: Timestamp,
}

/// What the API reads.
pub trait Data: Clone + Send + Sync + 'static {
    /// Samples that stay as they are while somebody holds this.
    type Held: Deref<Target: Samples + Sized> + Send + 'static;

    /// Samples that hold at least what is wanted.
    ///
    /// # Errors
    /// Why there are none now.
    fn held(&self, wanted: Vec<Wanted>) -> impl Future<Output = Result<Self::Held, String>> + Send;

    /// The label sets with at least one sample of what is wanted, each once, in no order.
    ///
    /// # Errors
    /// Why they are not known now.
    fn series(&self, wanted: Vec<Wanted>) -> impl Future<Output = Result<Vec<Labels>, String>> + Send {
        async move {
            let held = self.held(wanted.clone()).await?;
            Ok(present(&*held, &wanted))
        }
    }
}

/// What an evaluation of `plan` at the times `start` to `end` reads.
pub fn wanted(plan: &Plan, start: Timestamp, end: Timestamp, options: &Options) -> Vec<Wanted> {
    let spans = plan.spans(start, end, options.look_back).into_iter();
    spans.map(|(selector, from, to)| Wanted { selector: selector.clone(), from, to }).collect()
}

/// The label sets of `samples` with at least one sample of what is wanted, each once.
pub fn present(samples: &impl Samples, wanted: &[Wanted]) -> Vec<Labels> {
    let found = ids(samples, wanted, |id, one, cursor| !samples.window(id, one.from.0, one.to.0, cursor).0.is_empty());
    found.into_iter().map(|id| samples.labels(id).clone()).collect()
}

/// The ids of all selectors that pass, each once.
fn ids(
    samples: &impl Samples,
    wanted: &[Wanted],
    pass: impl Fn(SeriesId, &Wanted, &mut Cursor) -> bool,
) -> Vec<SeriesId> {
    let mut found = Vec::new();
    for one in wanted {
        let mut cursor = Cursor::default();
        found.extend(samples.select(&one.selector).into_iter().filter(|id| pass(*id, one, &mut cursor)));
    }
    if wanted.len() > 1 {
        found.sort_unstable();
        found.dedup();
    }
    found
}

/// What a running agent holds in memory of the series that a query reads, and where it keeps what is older.
#[derive(Clone, Debug, Default)]
pub struct Hot {
    /// The series with the samples in memory.
    pub view: View,
    /// Since when all samples are in memory.
    pub since: Timestamp,
    /// The folder of all samples, if they are kept.
    pub folder: Option<PathBuf>,
}

impl Hot {
    /// What of the wanted spans is not in memory, and the folder where it is.
    pub fn older(&self, wanted: &[Wanted]) -> Option<(PathBuf, Vec<Wanted>)> {
        let older = wanted.iter().filter(|one| one.from < self.since).cloned();
        let older: Vec<Wanted> = older.map(|one| Wanted { to: one.to.min(self.since), ..one }).collect();
        self.folder.clone().filter(|_| !older.is_empty()).map(|folder| (folder, older))
    }
}

/// Samples of the archive in `folder`.
///
/// # Errors
/// When they are more than a query may read, or the folder cannot be read.
pub fn archived(folder: &Path, wanted: &[Wanted]) -> Result<Vec<Stretch>, String> {
    let limits = ReadLimits { max_samples: MAX_OLDER, ..ReadLimits::default() };
    let mut found = Vec::new();
    for one in wanted {
        let selector = std::slice::from_ref(&one.selector);
        let read = archive::read(folder, selector, one.from, one.to, limits).map_err(|e| e.to_string())?;
        for trouble in &read.trouble {
            tracing::warn!(%trouble, "A query leaves out samples that cannot be read.");
        }
        found.extend(read.stretches);
    }
    Ok(found)
}

/// The running agent's samples: the hot ones shared with the loop as they were between two steps, older ones off the disk.
impl Data for Gate {
    type Held = Arc<View>;

    async fn held(&self, wanted: Vec<Wanted>) -> Result<Arc<View>, String> {
        let hot = self.hot(wanted.clone()).await?;
        let Some((folder, older)) = hot.older(&wanted) else { return Ok(Arc::new(hot.view)) };
        let older = blocking(move || archived(&folder, &older)).await??;
        Ok(Arc::new(hot.view.with_older(older)))
    }

    async fn series(&self, wanted: Vec<Wanted>) -> Result<Vec<Labels>, String> {
        let hot = self.hot(wanted.clone()).await?;
        let mut found: BTreeSet<Labels> = present(&hot.view, &wanted).into_iter().collect();
        if let Some((folder, older)) = hot.older(&wanted) {
            let read = move || {
                let mut found = Vec::new();
                for one in older {
                    let selectors = std::slice::from_ref(&one.selector);
                    let read = archive::series(&folder, selectors, one.from, one.to, ReadLimits::default());
                    found.extend(read.map_err(|error| error.to_string())?.labels);
                }
                Ok::<Vec<Labels>, String>(found)
            };
            found.extend(blocking(read).await??);
        }
        Ok(found.into_iter().collect())
    }
}

impl Gate {
    async fn hot(&self, wanted: Vec<Wanted>) -> Result<Hot, String> {
        self.ask(|reply| Request::View(wanted, reply)).await.ok_or_else(|| "the agent is stopping".to_string())
    }
}

/// Samples that never change, read where they are.
#[derive(Debug)]
pub struct Fixed<S>(pub Arc<S>);

impl<S> Clone for Fixed<S> {
    fn clone(&self) -> Fixed<S> {
        Fixed(self.0.clone())
    }
}

impl<S: Samples + Send + Sync + 'static> Data for Fixed<S> {
    type Held = Arc<S>;

    async fn held(&self, _: Vec<Wanted>) -> Result<Arc<S>, String> {
        Ok(self.0.clone())
    }
}

/// Takes in a dump, for those who want its samples in memory.
#[derive(Debug, Default)]
pub struct Memory {
    series: Vec<(Labels, Vec<i64>, Vec<f64>)>,
    known: HashMap<Labels, usize>,
}

impl Memory {
    /// The series; those with the same times share one list of them.
    pub fn stretches(self) -> Vec<Stretch> {
        let mut columns: HashMap<Vec<i64>, Arc<Vec<i64>>> = HashMap::new();
        let each = self.series.into_iter().map(|(labels, times, values)| {
            let shared = match columns.get(&times) {
                Some(shared) => shared.clone(),
                None => columns.entry(times.clone()).or_insert(Arc::new(times)).clone(),
            };
            Stretch::new(labels, shared, values)
        });
        each.collect()
    }
}

impl Sink for Memory {
    fn add(&mut self, labels: &Labels, times: &[i64], values: &[f64]) -> Result<(), String> {
        let is_last = self.series.last().is_some_and(|(last, ..)| last == labels);
        let i = if is_last {
            self.series.len() - 1
        } else {
            *self.known.entry(labels.clone()).or_insert_with(|| {
                self.series.push((labels.clone(), Vec::new(), Vec::new()));
                self.series.len() - 1
            })
        };
        let (_, held_times, held_values) = &mut self.series[i];
        held_times.extend_from_slice(times);
        held_values.extend_from_slice(values);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::{compile, compile_selector};

    fn stretch(name: &str, times: &[i64]) -> Stretch {
        let labels = Labels::new([("__name__", name), ("job", "a")]);
        Stretch::new(labels, times.to_vec(), vec![1.0; times.len()])
    }

    fn of(selector: &str, from: i64, to: i64) -> Wanted {
        Wanted { selector: compile_selector(selector).unwrap(), from: Timestamp(from), to: Timestamp(to) }
    }

    #[test]
    fn a_plan_says_what_it_reads() {
        for (text, spans) in [
            ("rate(a[5m] offset 1m) / b", vec![(640_000, 1_940_000), (700_000, 2_000_000)]),
            ("a offset -1m", vec![(760_000, 2_060_000)]),
            (
                "a @ 5 - a @ start() - rate(a[1m] @ end() offset 1m)",
                vec![(-295_000, 5_000), (700_000, 1_000_000), (1_880_000, 1_940_000)],
            ),
            ("max_over_time(rate(a[5m])[10m:1m] offset 1m)", vec![(40_000, 1_940_000)]),
            ("max_over_time(a[10m:1m])", vec![(100_000, 2_000_000)]),
            ("max_over_time(a[10m:1m] @ 5)", vec![(-895_000, 5_000)]),
            ("max_over_time(a[10m:1m] offset -5m)", vec![(400_000, 2_300_000)]),
            ("1 + 1", vec![]),
        ] {
            let plan = compile(text).unwrap();
            let found = wanted(&plan, Timestamp(1_000_000), Timestamp(2_000_000), &Options::default());
            assert_eq!(found.iter().map(|w| (w.from.0, w.to.0)).collect::<Vec<_>>(), spans, "{text}");
        }
    }

    #[test]
    fn only_series_with_samples_in_time_are_present_and_each_once() {
        let view = View::new([stretch("a", &[1, 5]), stretch("b", &[5]), stretch("c", &[9])]);
        let names = |wanted: &[Wanted]| -> Vec<String> {
            present(&view, wanted).iter().map(|l| l.name().to_string()).collect()
        };
        assert_eq!(names(&[of("{job=\"a\"}", 4, 8)]), ["a", "b"]);
        assert_eq!(names(&[of("a", 0, 9), of("{job=\"a\"}", 5, 9), of("c", 8, 9)]), ["a", "c"]);
    }

    #[test]
    fn only_what_is_not_in_memory_is_read_off_the_disk() {
        let hot = Hot { since: Timestamp(100), folder: Some("samples".into()), ..Hot::default() };
        let older = |wanted: &[Wanted]| -> Vec<(i64, i64)> {
            let older = hot.older(wanted).map(|(_, older)| older).unwrap_or_default();
            older.iter().map(|one| (one.from.0, one.to.0)).collect()
        };
        assert_eq!(older(&[of("a", 100, 200)]), []);
        assert_eq!(older(&[of("a", 50, 200), of("b", 10, 20), of("c", 150, 200)]), [(50, 100), (10, 20)]);
    }

    #[test]
    fn series_with_the_same_times_share_them() {
        let mut memory = Memory::default();
        for name in ["a", "b"] {
            let labels = Labels::new([("__name__", name)]);
            memory.add(&labels, &[1, 2], &[0.0, 1.0]).unwrap();
            memory.add(&labels, &[3], &[2.0]).unwrap();
        }
        let stretches = memory.stretches();
        assert_eq!(stretches[1].values(), [0.0, 1.0, 2.0]);
        assert!(std::ptr::eq(stretches[0].times(), stretches[1].times()));
    }
}
