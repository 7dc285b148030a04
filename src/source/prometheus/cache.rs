//! Known series by their text on the page, so that a known line costs a comparison and a number.
//!
//! Enters: the lines of a page, one by one. Leaves: a sample for each that is kept. Nearly every page has its lines in
//! the order of the page before, so the text that stood next last time is compared first; only what stands elsewhere is
//! looked up by its hash, and only what was never seen is decoded. Texts are always compared as a whole: no two series can be
//! taken for each other, whatever their hashes are.

use std::collections::HashMap;
use std::sync::Arc;

use super::keep::Filter;
use crate::base::label::NAME;
use crate::base::{Labels, Sample, Timestamp};
use crate::source::common::Target;
use crate::source::exposition::{self, Fault, Line, Series, reading};

/// After how many looks without it a text is forgotten, at the earliest; at the latest after twice as many.
pub(super) const FORGET_AFTER: u64 = 5;

/// How many left-out texts are remembered for each sample that a page may have.
const LEFT_OUT: usize = 4;

/// What one page held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines with a sample.
    pub scraped: usize,
    /// Of these, samples of what is kept, repeated ones included.
    pub kept: usize,
    /// Series that were not known before.
    pub added: usize,
    /// Samples left out because the same series stood on the page before, at no other time.
    pub repeated: usize,
}

/// See the story of this room.
#[derive(Debug)]
pub(super) struct Cache {
    texts: Vec<Option<Text>>,
    free: Vec<u32>,
    by_text: HashMap<Arc<[u8]>, u32>,
    /// The first text of each kept series: a page may write one series in two ways.
    by_labels: HashMap<Labels, u32>,
    /// How many of the texts are left out.
    n_left_out: usize,
    max: usize,
    /// Counts the pages.
    round: u64,
    /// How many texts have stood on this page.
    live: usize,
    /// The text before, and the one that is expected now.
    last: Option<u32>,
    expected: u32,
    counts: Counts,
    empty: Labels,
}

/// A text that stood on a page.
#[derive(Debug)]
struct Text {
    bytes: Arc<[u8]>,
    /// Of a series that is left out: empty.
    labels: Labels,
    is_kept: bool,
    /// The first text of the same series, most often this one.
    twin: u32,
    /// The text that stood behind it last time.
    next: u32,
    /// The page on which it, or another text of the same series, stood last.
    seen: u64,
}

impl Cache {
    /// A cache for pages of at most `max` kept samples.
    pub(super) fn new(max: usize) -> Cache {
        Cache {
            texts: Vec::new(),
            free: Vec::new(),
            by_text: HashMap::new(),
            by_labels: HashMap::new(),
            n_left_out: 0,
            max,
            round: 0,
            live: 0,
            last: None,
            expected: 0,
            counts: Counts::default(),
            empty: Labels::empty(),
        }
    }

    /// How many texts are remembered.
    pub(super) fn len(&self) -> usize {
        self.by_text.len()
    }

    /// How many kept samples a page may have.
    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// How many samples the next page has, most likely: never more than are kept, however long the last one was.
    pub(super) fn likely(&self) -> usize {
        self.counts.kept.min(self.max)
    }

    /// Begins a page.
    pub(super) fn begin(&mut self) {
        self.round += 1;
        self.live = 0;
        self.last = None;
        // The page most often begins as it did.
        self.expected = 0;
        self.counts = Counts::default();
    }

    /// Takes the next line of the page, and adds its sample to `samples` when it is kept.
    pub(super) fn line(
        &mut self,
        line: Line<'_>,
        target: &Target,
        filter: &mut Filter,
        samples: &mut Vec<Sample>,
    ) -> Result<(), Fault> {
        self.counts.scraped += 1;
        if let Some(Some(text)) = self.texts.get(self.expected as usize)
            && let Some(rest) = exposition::after(line.text, &text.bytes)
        {
            let (value, at) = reading(rest, line.format)?;
            self.take(self.expected, value, at, samples);
            return Ok(());
        }
        let point = line.point()?;
        if filter.is_needed() && is_left_out_by_name(point.series, filter) {
            return Ok(());
        }
        let id = match self.by_text.get(point.series) {
            Some(id) => Some(*id),
            None => self.meet(point.series, line, target, filter)?,
        };
        if let Some(id) = id {
            self.take(id, point.value, point.at, samples);
        }
        Ok(())
    }

    /// Ends a page that was read whole. Says more than `max` samples as the number that there were.
    pub(super) fn end(&mut self) -> Result<Counts, usize> {
        let counts = self.counts;
        let forget = self.round.saturating_sub(FORGET_AFTER);
        if self.len() > self.live && self.round.is_multiple_of(FORGET_AFTER) {
            self.forget(|text| text.seen <= forget);
        }
        self.bound();
        if counts.kept > self.max { Err(counts.kept) } else { Ok(counts) }
    }

    /// Ends a page that failed: what is known stays known, within the bounds.
    pub(super) fn fail(&mut self) {
        self.counts = Counts { kept: self.counts.kept, ..Counts::default() };
        self.bound();
    }

    /// However names change from page to page, no more than two pages are remembered.
    fn bound(&mut self) {
        if self.len() > 2 * self.max + self.n_left_out || self.n_left_out >= LEFT_OUT * self.max {
            let round = self.round;
            self.forget(|text| text.seen < round);
        }
    }

    /// One sample of a known text.
    fn take(&mut self, id: u32, value: f64, at: Option<Timestamp>, samples: &mut Vec<Sample>) {
        self.learn(id);
        let round = self.round;
        let Some(text) = &mut self.texts[id as usize] else { return };
        if !text.is_kept {
            self.live += usize::from(text.seen != round);
            text.seen = round;
            return;
        }
        self.counts.kept += 1;
        let is_repeated = if text.twin == id { mark(text, round, &mut self.live) } else { self.mark_twins(id) };
        if is_repeated && at.is_none() {
            self.counts.repeated += 1;
        } else if self.counts.kept <= self.max
            && let Some(text) = &self.texts[id as usize]
        {
            samples.push(Sample { labels: text.labels.clone(), value, at });
        }
    }

    /// Remembers that this text stands behind the one before, and expects what stood behind it.
    fn learn(&mut self, id: u32) {
        if id != self.expected
            && let Some(last) = self.last
            && let Some(text) = &mut self.texts[last as usize]
        {
            text.next = id;
        }
        self.last = Some(id);
        self.expected = self.texts[id as usize].as_ref().map_or(0, |text| text.next);
    }

    /// Marks another text of a series and its first one; whether the series was on this page already.
    fn mark_twins(&mut self, id: u32) -> bool {
        let round = self.round;
        let Some(text) = &mut self.texts[id as usize] else { return false };
        mark(text, round, &mut self.live);
        let twin = text.twin;
        self.texts[twin as usize].as_mut().is_some_and(|first| mark(first, round, &mut self.live))
    }

    /// A text that is not known. None when it is not kept, and not remembered either.
    fn meet(
        &mut self,
        bytes: &[u8],
        line: Line<'_>,
        target: &Target,
        filter: &mut Filter,
    ) -> Result<Option<u32>, Fault> {
        let mut series = exposition::decode(bytes)?;
        series.normalize(line.kind);
        let labels = labels_of(&series, target, &super::NAMES);
        if filter.is_needed() && !filter.admits(&labels) {
            if self.n_left_out >= LEFT_OUT * self.max {
                return Ok(None);
            }
            self.n_left_out += 1;
            return Ok(Some(self.remember(bytes, None)));
        }
        if self.counts.kept >= self.max {
            // Past the bound lines are counted, so that the failure can say how many there are, and nothing is learnt.
            self.counts.kept += 1;
            return Ok(None);
        }
        self.counts.added += 1;
        Ok(Some(self.remember(bytes, Some(labels))))
    }

    fn remember(&mut self, bytes: &[u8], labels: Option<Labels>) -> u32 {
        let id = self.free.pop().unwrap_or_else(|| {
            self.texts.push(None);
            u32::try_from(self.texts.len() - 1).expect("a page holds fewer lines than u32 can count")
        });
        let bytes: Arc<[u8]> = bytes.into();
        let twin = labels.as_ref().map_or(id, |labels| *self.by_labels.entry(labels.clone()).or_insert(id));
        if twin != id {
            self.counts.added -= 1;
        }
        self.by_text.insert(bytes.clone(), id);
        let is_kept = labels.is_some();
        let labels = labels.unwrap_or_else(|| self.empty.clone());
        self.texts[id as usize] = Some(Text { bytes, labels, is_kept, twin, next: id + 1, seen: 0 });
        id
    }

    fn forget(&mut self, is_gone: impl Fn(&Text) -> bool) {
        for id in 0..self.texts.len() {
            let Some(text) = self.texts[id].take_if(|text| is_gone(text)) else { continue };
            self.by_text.remove(&text.bytes);
            if !text.is_kept {
                self.n_left_out -= 1;
            } else if text.twin as usize == id {
                // Its twins were seen no later than it was, so none of them is left.
                self.by_labels.remove(&text.labels);
            }
            self.free.push(id as u32);
        }
        if self.by_text.is_empty() {
            self.texts.clear();
            self.free.clear();
        }
    }
}

/// Marks a text as seen; whether it was already.
fn mark(text: &mut Text, round: u64, live: &mut usize) -> bool {
    let again = text.seen == round;
    *live += usize::from(!again);
    text.seen = round;
    again
}

/// Whether the name, where it stands before the braces, tells that the series is left out.
fn is_left_out_by_name(series: &[u8], filter: &mut Filter) -> bool {
    let end = exposition::name_end(series).unwrap_or(series.len());
    end > 0 && !filter.admits_name(&series[..end])
}

/// The labels under which a series is kept. One that would say how the look at this target went is renamed: it must
/// neither be believed for that nor be lost. `own` are the names of such series.
pub(in crate::source) fn labels_of(series: &Series<'_>, target: &Target, own: &[&str]) -> Labels {
    let theirs: Vec<(&str, &str)> =
        series.labels.iter().map(|(n, v)| (&**n, &**v)).filter(|(_, v)| !v.is_empty()).collect();
    let labels = target.scraped(&series.name, &theirs);
    if own.contains(&&*series.name) && is_own(&labels, target) {
        return labels.with(NAME, &format!("exported_{}", series.name));
    }
    labels
}

/// Whether these are the labels of a series of ours, whatever the labels say that tell several of one name apart.
fn is_own(labels: &Labels, target: &Target) -> bool {
    const APART: [&str; 3] = ["reason", "expect", "name"];
    let (name, bare) = (labels.name(), labels.filtered(|label| !APART.contains(&label)));
    bare == target.series(name, &[]) || bare == target.probe_series(name, &[])
}
