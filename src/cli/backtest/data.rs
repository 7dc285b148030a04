//! What was recorded, slice by slice.
//!
//! Enters: the samples of a state folder, or an OpenMetrics file with times. Leaves: slices of time in their order, none
//! larger than memory bears: a slice becomes shorter where much was recorded, and longer where little was. A folder is only
//! read, also while an agent writes it. A file, in which each series may stand by itself, is first sorted by time: into a
//! folder of its own among the temporary files, removed when the value is dropped.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::{Labels, Span, Timestamp, chain};
use crate::cli::{Failure, import, place};
use crate::engine::Reach;
use crate::source::openmetrics_file::Sink;
use crate::store::Stretch;
use crate::store::archive::{self, ReadError, ReadLimits, Recent};
use crate::sys::clock::Stopwatch;
use crate::sys::files;

use super::super::replay::Past;

/// How long the first slice is.
const FIRST: Span = Span::hours(1);

/// The longest and the shortest slice.
const LONGEST: Span = Span::hours(12);
const SHORTEST: Span = Span::mins(1);

/// A slice with fewer samples is followed by one twice as long, one with more by one half as long.
const FEW: u64 = 200_000;
const MANY: u64 = 1_000_000;

/// The most samples of a slice, and the most series: past it the slice is read again in halves.
const MOST: ReadLimits = ReadLimits { max_samples: 8_000_000, max_series: 200_000 };

/// How much of what could not be read is named.
const MAX_TROUBLE: usize = 20;

/// The samples of a span of time.
#[derive(Debug)]
pub struct Data {
    folder: PathBuf,
    /// Removed with this value.
    _temporary: Option<Temporary>,
    next: Timestamp,
    to: Timestamp,
    width: Span,
    trouble: Vec<String>,
    /// Samples so far.
    pub samples: u64,
}

impl Data {
    /// What a state folder holds of `(from, to]`.
    ///
    /// # Errors
    /// When there is no folder of samples.
    pub fn recorded(state: &Path, from: Timestamp, to: Timestamp) -> Result<Data, String> {
        let folder = place::samples(state);
        if !folder.is_dir() {
            return Err(format!("there are no samples on disk at {}", folder.display()));
        }
        Ok(Data::new(folder, None, from, to))
    }

    /// All that an OpenMetrics file holds. `now` is the present time; `stop` ends the reading.
    ///
    /// # Errors
    /// When it cannot be read or is no such file, with the line; when there is no room for temporary files.
    pub fn of_file(path: &Path, now: Timestamp, stop: &AtomicBool) -> Result<Data, Failure> {
        let input: Box<dyn Read> = match path.as_os_str() == "-" {
            true => Box::new(std::io::stdin().lock()),
            false => Box::new(import::open(path)?),
        };
        let temporary = Temporary::new().map_err(Failure::unknown)?;
        let mut sorting = Sorting { keeper: import::Keeper::new(&temporary.0, now)?, stop };
        let summary = import::take(input, &mut sorting, &Stopwatch::start(), "read").map_err(|error| {
            let failure = import::refused(path, &error, true);
            Failure { help: None, ..failure }
        })?;
        sorting
            .keeper
            .0
            .finish()
            .map_err(|e| Failure::unknown(format!("the samples cannot be sorted: {}", chain(&e))))?;
        let folder = place::samples(&temporary.0);
        let (from, to) = (summary.first.unwrap_or(now), summary.last.unwrap_or(now));
        let mut data = Data::new(folder, Some(temporary), from - Span::millis(1), to);
        if summary.refused > 0 {
            let lines: Vec<String> = summary.refused_lines.iter().map(u64::to_string).collect();
            data.trouble.push(format!(
                "{} samples no newer than the one before of their series are left out: line {}",
                summary.refused,
                lines.join(", ")
            ));
        }
        Ok(data)
    }

    fn new(folder: PathBuf, temporary: Option<Temporary>, from: Timestamp, to: Timestamp) -> Data {
        Data { folder, _temporary: temporary, next: from, to, width: FIRST, trouble: Vec::new(), samples: 0 }
    }

    /// Where the samples are.
    #[cfg(test)]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// States how long the next slice is.
    #[cfg(test)]
    pub fn set_width(&mut self, width: Span) {
        self.width = width;
    }

    /// The end of the span.
    pub fn end(&self) -> Timestamp {
        self.to
    }

    /// What could not be read, one sentence each.
    pub fn trouble(&self) -> &[String] {
        &self.trouble
    }

    /// The samples before `begin`, for rules that reach back beyond it.
    pub fn past(&self, begin: Timestamp) -> Recorded {
        Recorded { folder: self.folder.clone(), before: begin - Span::millis(1) }
    }

    /// The next slice with its end; none after the last.
    ///
    /// # Errors
    /// When the folder cannot be read, or the shortest slice is too large.
    pub fn slice(&mut self) -> Result<Option<(Recent, Timestamp)>, String> {
        loop {
            if self.next >= self.to {
                return Ok(None);
            }
            let until = (self.next + self.width).min(self.to);
            match archive::recent(&self.folder, self.next, until, MOST) {
                Ok(mut recent) => {
                    let samples: u64 = recent.series.iter().map(|s| s.stretch.times().len() as u64).sum();
                    self.samples += samples;
                    self.next = until;
                    if samples < FEW {
                        self.width = (self.width.times(2)).min(LONGEST);
                    } else if samples > MANY {
                        self.width = Span(self.width.0 / 2).max(SHORTEST);
                    }
                    self.note(std::mem::take(&mut recent.trouble));
                    return Ok(Some((recent, until)));
                }
                Err(ReadError::TooManySamples(_) | ReadError::TooManySeries(_)) if self.width > SHORTEST => {
                    self.width = Span(self.width.0 / 2).max(SHORTEST);
                }
                Err(error) => return Err(chain(&error)),
            }
        }
    }

    /// The same file is read for many slices; what is wrong with it is said once.
    fn note(&mut self, trouble: Vec<String>) {
        for line in trouble {
            if self.trouble.len() < MAX_TROUBLE && !self.trouble.contains(&line) {
                self.trouble.push(line);
            }
        }
    }
}

/// Keeps the samples of a file until somebody ends it.
struct Sorting<'a> {
    keeper: import::Keeper,
    stop: &'a AtomicBool,
}

impl Sink for Sorting<'_> {
    fn add(&mut self, labels: &Labels, times: &[i64], values: &[f64]) -> Result<(), String> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(super::STOPPED.into());
        }
        self.keeper.add(labels, times, values)
    }
}

/// The samples of a folder up to a moment.
#[derive(Clone, Debug)]
pub struct Recorded {
    folder: PathBuf,
    before: Timestamp,
}

impl Past for Recorded {
    fn load(&mut self, asked: &[Reach], most: u64) -> Result<Vec<Stretch>, String> {
        let before = self.before;
        let asked: Vec<Reach> = asked.iter().map(|r| Reach { to: r.to.min(before), ..r.clone() }).collect();
        self.recorded(&asked, most)
    }

    fn recorded(&mut self, asked: &[Reach], most: u64) -> Result<Vec<Stretch>, String> {
        let mut stretches = Vec::new();
        let limits = ReadLimits { max_samples: most, ..ReadLimits::default() };
        let window = |reach: &Reach| (reach.from, reach.to);
        for (i, one) in asked.iter().enumerate() {
            // Selectors over the same time are read together, with the first of them: a series comes once.
            if asked[..i].iter().any(|other| window(other) == window(one)) {
                continue;
            }
            let same = asked[i..].iter().filter(|other| window(other) == window(one));
            let selectors: Vec<_> = same.map(|other| other.selector.clone()).collect();
            let (from, to) = window(one);
            if from < to {
                let read = archive::read(&self.folder, &selectors, from, to, limits).map_err(|e| chain(&e))?;
                stretches.extend(read.stretches);
            }
        }
        Ok(stretches)
    }
}

/// A folder that is removed with everything in it.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Result<Temporary, String> {
        let mut bytes = [0u8; 8];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
            .map_err(|e| format!("a temporary folder cannot be named: {e}"))?;
        let name: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        let path = std::env::temp_dir().join(format!("backstop-backtest-{name}"));
        files::ensure_own_dir(&path, 0o700).map_err(|e| {
            format!("a temporary folder cannot be made: {} (another place for it: TMPDIR=…)", chain(&e))
        })?;
        Ok(Temporary(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "A temporary folder could not be removed.");
        }
    }
}
