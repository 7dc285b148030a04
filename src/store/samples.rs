//! What an evaluation reads: series by selector, and their samples by time.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Selector;
use super::column::Piece;
use crate::base::Labels;

/// Which series: good as long as the [`Samples::generation`] of what it came from stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub(super) u32);

/// Series and their samples, as an evaluation reads them: the live [`Store`](super::Store), or a [`View`] of it.
pub trait Samples {
    /// The series that a selector means; in an order that stays as long as the generation does.
    fn select(&self, selector: &Selector) -> Vec<SeriesId>;

    /// The whole identity of a series.
    ///
    /// # Panics
    /// When the id is of another generation: that is a bug of the caller.
    fn labels(&self, id: SeriesId) -> &Labels;

    /// The samples with a time in `(start, end]` in milliseconds, oldest first, stale markers included.
    /// Use one cursor for all series of a query: series of one target share their times, so the edges are looked for once.
    ///
    /// # Panics
    /// When the id is of another generation: that is a bug of the caller.
    fn window<'a>(&'a self, id: SeriesId, start: i64, end: i64, cursor: &'a mut Cursor) -> (&'a [i64], &'a [f64]);

    /// Changes whenever a series appears or is forgotten; what is cached by id holds while it stays, also across stores.
    fn generation(&self) -> u64;
}

/// Room for the samples of one window, and what was found for the window before.
#[derive(Debug, Default)]
pub struct Cursor {
    known: Option<Edges>,
    pub(super) times: Vec<i64>,
    pub(super) values: Vec<f64>,
}

/// Where a window lies in a column of times. The column is known by its place: a view or a store does not change while a
/// cursor walks over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Edges {
    column: (usize, usize),
    start: i64,
    end: i64,
    from: usize,
    to: usize,
}

impl Cursor {
    /// The indices of the times in `(start, end]`.
    pub(super) fn edges(&mut self, times: &[i64], start: i64, end: i64) -> std::ops::Range<usize> {
        let column = (times.as_ptr() as usize, times.len());
        if let Some(known) = self.known
            && (known.column, known.start, known.end) == (column, start, end)
        {
            return known.from..known.to;
        }
        let to = count_until(times, end);
        let from = count_until(&times[..to], start);
        self.known = Some(Edges { column, start, end, from, to });
        from..to
    }
}

/// How many of the rising times are at most `at`. Most questions are about the end, so it looks there first.
pub(super) fn count_until(times: &[i64], at: i64) -> usize {
    let mut high = times.len();
    let mut step = 1;
    while step <= high && times[high - step] > at {
        high -= step;
        step *= 2;
    }
    let low = high.saturating_sub(step);
    low + times[low..high].partition_point(|time| *time <= at)
}

/// One series with samples that no longer change.
#[derive(Clone, Debug)]
pub struct Stretch {
    labels: Labels,
    times: Piece<i64>,
    values: Piece<f64>,
}

impl Stretch {
    /// A series with its samples: times in milliseconds, rising, as many as values.
    ///
    /// # Panics
    /// When there are not as many times as values: that is a bug of the caller.
    pub fn new(labels: Labels, times: impl Into<Arc<Vec<i64>>>, values: impl Into<Arc<Vec<f64>>>) -> Stretch {
        Stretch::of(labels, times.into().into(), values.into().into())
    }

    pub(super) fn of(labels: Labels, times: Piece<i64>, values: Piece<f64>) -> Stretch {
        assert_eq!(times.as_slice().len(), values.as_slice().len(), "a time for each value");
        Stretch { labels, times, values }
    }

    /// The whole identity.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Times in milliseconds, rising.
    pub fn times(&self) -> &[i64] {
        self.times.as_slice()
    }

    /// Values, one for each time; stale markers included.
    pub fn values(&self) -> &[f64] {
        self.values.as_slice()
    }

    pub(super) fn pieces(&self) -> (&Piece<i64>, &Piece<f64>) {
        (&self.times, &self.values)
    }

    /// The samples of both; where both have a time, `newer` wins.
    fn merged(&self, newer: &Stretch) -> Stretch {
        let (times, values) = merged((self.times(), self.values()), (newer.times(), newer.values()));
        Stretch::new(self.labels.clone(), times, values)
    }
}

/// Two series of samples in one, in order; at a time that both have, the second one's value wins.
pub(super) fn merged(a: (&[i64], &[f64]), b: (&[i64], &[f64])) -> (Vec<i64>, Vec<f64>) {
    let n = a.0.len() + b.0.len();
    let (mut times, mut values) = (Vec::with_capacity(n), Vec::with_capacity(n));
    let (mut i, mut j) = (0, 0);
    while i < a.0.len() || j < b.0.len() {
        let (from_a, from_b) = (a.0.get(i).copied(), b.0.get(j).copied());
        if from_b.is_none() || from_a.is_some_and(|time| from_b.is_some_and(|other| time < other)) {
            times.push(a.0[i]);
            values.push(a.1[i]);
            i += 1;
        } else {
            times.push(b.0[j]);
            values.push(b.1[j]);
            i += usize::from(from_a == from_b);
            j += 1;
        }
    }
    (times, values)
}

/// Samples taken out of a store or off the disk, that stay as they are while a query reads them.
#[derive(Clone, Debug)]
pub struct View {
    series: Vec<Stretch>,
    by_name: BTreeMap<Arc<str>, Vec<SeriesId>>,
    generation: u64,
}

impl Default for View {
    fn default() -> View {
        View::empty()
    }
}

impl View {
    /// A view of these series; of two with the same labels the samples are joined, the later one's win.
    pub fn new(stretches: impl IntoIterator<Item = Stretch>) -> View {
        let mut view = View::empty();
        let mut known: HashMap<Labels, usize> = HashMap::new();
        for stretch in stretches {
            match known.get(stretch.labels()) {
                Some(i) => view.series[*i] = view.series[*i].merged(&stretch),
                None => {
                    known.insert(stretch.labels().clone(), view.series.len());
                    view.add(stretch);
                }
            }
        }
        view
    }

    /// A view of these series, of which no two have the same labels.
    pub(super) fn distinct(stretches: impl IntoIterator<Item = Stretch>) -> View {
        let mut view = View::empty();
        stretches.into_iter().for_each(|stretch| view.add(stretch));
        view
    }

    /// This view with the samples of another, as they were before: where both have a time, this one's win.
    #[must_use]
    pub fn with_older(self, older: Vec<Stretch>) -> View {
        if older.is_empty() { self } else { View::new(older.into_iter().chain(self.series)) }
    }

    /// No two views have the same generation, nor a view and a store (but for one chance in 2^63).
    fn empty() -> View {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let generation = NEXT.fetch_add(1, Ordering::Relaxed) | 1 << 63;
        View { series: Vec::new(), by_name: BTreeMap::new(), generation }
    }

    fn add(&mut self, stretch: Stretch) {
        let id = SeriesId(u32::try_from(self.series.len()).expect("fewer series than u32 can count"));
        let name = stretch.labels().name();
        match self.by_name.get_mut(name) {
            Some(ids) => ids.push(id),
            None => drop(self.by_name.insert(Arc::from(name), vec![id])),
        }
        self.series.push(stretch);
    }

    /// All series.
    pub fn series(&self) -> &[Stretch] {
        &self.series
    }
}

impl Samples for View {
    fn select(&self, selector: &Selector) -> Vec<SeriesId> {
        select(&self.by_name, selector, |id| self.labels(id))
    }

    fn labels(&self, id: SeriesId) -> &Labels {
        self.series[id.0 as usize].labels()
    }

    fn window<'a>(&'a self, id: SeriesId, start: i64, end: i64, cursor: &'a mut Cursor) -> (&'a [i64], &'a [f64]) {
        let series = &self.series[id.0 as usize];
        let range = cursor.edges(series.times(), start, end);
        (&series.times()[range.clone()], &series.values()[range])
    }

    fn generation(&self) -> u64 {
        self.generation
    }
}

/// The ids under the names that a selector admits, whose labels it matches.
pub(super) fn select<'a>(
    by_name: &BTreeMap<Arc<str>, Vec<SeriesId>>,
    selector: &Selector,
    labels: impl Fn(SeriesId) -> &'a Labels,
) -> Vec<SeriesId> {
    let mut found = Vec::new();
    match &selector.name {
        // The ids stand under their name: it is not compared again, and labels are looked at only where one is asked for.
        Some(name) => {
            let ids = by_name.get(name).map_or(&[][..], Vec::as_slice);
            if selector.matchers.is_empty() {
                found.extend_from_slice(ids);
            } else {
                found.extend(ids.iter().filter(|id| selector.matches_labels(labels(**id))));
            }
        }
        None => by_name.values().for_each(|ids| found.extend(ids.iter().filter(|id| selector.matches(labels(**id))))),
    }
    found
}
