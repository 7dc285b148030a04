//! The reading of pages, without how they are fetched: bytes in, samples out.

use super::cache::{Cache, Counts};
use super::keep::{Filter, Keep, Pattern, Referenced};
use crate::base::{Failure, Sample};
use crate::source::common::Target;
use crate::source::exposition::{Format, Reader};

/// Reads the pages of one target, one after the other, each in pieces of any size. Between pages it remembers what their
/// lines mean; of a page that is being read it holds one line and its samples.
#[derive(Debug)]
pub struct Page {
    reader: Reader,
    pub(super) cache: Cache,
    filter: Filter,
}

impl Page {
    /// A reader of pages with at most `max_samples` samples that `keep` and `drop` leave over.
    pub fn new(max_samples: usize, keep: &Keep, drop: &[Pattern]) -> Page {
        Page { reader: Reader::new(Format::Unsaid), cache: Cache::new(max_samples), filter: Filter::new(keep, drop) }
    }

    /// Tells what rules read, which matters with [`Keep::Referenced`] only.
    pub fn refer_to(&mut self, referenced: &Referenced) {
        self.filter.refer_to(referenced);
    }

    /// No failure quotes a line that holds one of these texts, see [`Reader::hide`].
    pub fn hide(&mut self, texts: impl IntoIterator<Item = Vec<u8>>) {
        self.reader.hide(texts);
    }

    /// How many samples the next page gives, most likely.
    pub fn likely(&self) -> usize {
        self.cache.likely()
    }

    /// Reads a whole page, and adds what is kept of it to `samples`.
    ///
    /// # Errors
    /// As [`Page::feed`] and [`Page::end`].
    pub fn read<'p>(
        &mut self,
        content_type: &str,
        pieces: impl IntoIterator<Item = &'p [u8]>,
        target: &Target,
        samples: &mut Vec<Sample>,
    ) -> Result<Counts, Failure> {
        self.begin(content_type);
        for piece in pieces {
            self.feed(piece, target, samples)?;
        }
        self.end(target, samples)
    }

    /// Begins a page of this `Content-Type` (in lower case).
    pub fn begin(&mut self, content_type: &str) {
        self.reader.restart(Format::of(content_type));
        self.cache.begin();
    }

    /// Takes in the next piece of the page.
    ///
    /// # Errors
    /// The first line that is no exposition or past a bound. The page is then over, and `samples` is to be thrown away.
    pub fn feed(&mut self, piece: &[u8], target: &Target, samples: &mut Vec<Sample>) -> Result<(), Failure> {
        let Page { reader, cache, filter } = self;
        let done = reader.feed(piece, &mut |line| cache.line(line, target, filter, samples));
        done.inspect_err(|_| cache.fail())
    }

    /// Ends the page.
    ///
    /// # Errors
    /// As [`Page::feed`]; and when the page broke off, or had more samples than are allowed.
    pub fn end(&mut self, target: &Target, samples: &mut Vec<Sample>) -> Result<Counts, Failure> {
        let Page { reader, cache, filter } = self;
        let done = reader.finish(&mut |line| cache.line(line, target, filter, samples));
        done.inspect_err(|_| cache.fail())?;
        cache.end().map_err(|n| {
            let allowed = cache.max();
            let detail = format!("{n} samples are more than max_samples allows ({allowed}): raise it, or keep less");
            Failure::new("too-many", detail)
        })
    }
}
