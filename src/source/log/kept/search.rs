//! Searching what is kept, with or without a running agent.
//!
//! Segments are read from their beginning, those with the newest events first, and the search ends where no older segment can
//! hold anything newer than what was found. Memory holds the answer and one line, whatever is on the disk. A segment
//! that goes away while it is read was sealed or had become too old.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::{Path, PathBuf};

use regex::Regex;

use super::super::level::Level;
use super::segment::{Line, Lines, Name};
use super::write::names;
use crate::base::{Timestamp, chain};
use crate::sys::blocks;
use crate::sys::files::FileError;

/// The most that the texts and places of an answer take together, in bytes; past it the oldest are left out.
pub const MAX_ANSWER: usize = 64 << 20;

/// How many troubles of a search are told.
const MAX_TROUBLE: usize = 5;

/// What is searched for. All that is stated must hold.
#[derive(Clone, Debug)]
pub struct Query {
    /// In these sources; in all where it is empty.
    pub sources: Vec<String>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not after.
    pub until: Option<Timestamp>,
    /// At least this bad; lines that say no level are below all.
    pub level: Option<Level>,
    /// Whose text matches.
    pub matcher: Option<Matcher>,
    /// At most so many, the newest of all; at least 1.
    pub limit: usize,
}

/// What a text must match.
#[derive(Clone, Debug)]
pub enum Matcher {
    /// This stands in it, letter by letter.
    Contains(String),
    /// This matches somewhere in it.
    Regex(Regex),
}

impl Matcher {
    fn matches(&self, text: &str) -> bool {
        match self {
            Matcher::Contains(part) => memchr::memmem::find(text.as_bytes(), part.as_bytes()).is_some(),
            Matcher::Regex(regex) => regex.is_match(text),
        }
    }
}

/// An event that was kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kept {
    /// When it was written.
    pub at: Timestamp,
    /// Of which source.
    pub source: String,
    /// How bad it says it is.
    pub level: Level,
    /// Where it stood.
    pub place: String,
    /// The text, of one line or several, without secrets. Control characters are in it as they were.
    pub text: String,
}

/// What a search found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The newest that match, oldest first; those of one time in the order in which they were kept.
    pub events: Vec<Kept>,
    /// Whether older ones match too.
    pub has_more: bool,
    /// What could not be read, at most five; the rest was searched.
    pub trouble: Vec<String>,
}

/// Why nothing could be searched.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// No source keeps lines, or not this one.
    #[error("{}", match .0 { Some(source) => format!("[log.{source}] keeps no lines"), None => "no lines are kept".into() })]
    NothingKept(Option<String>),
    /// The folder cannot be listed.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The sources that keep lines, or did, below `folder` (the folder [`super::FOLDER`] of a state folder), sorted.
///
/// # Errors
/// When the folder is there and cannot be listed.
pub fn sources(folder: &Path) -> Result<Vec<String>, FileError> {
    let mut all = match blocks::names(folder) {
        Ok(all) => all,
        Err(error) if error.is_not_found() => Vec::new(),
        Err(error) => return Err(error),
    };
    all.sort();
    Ok(all)
}

/// Searches below `folder`, which is the folder [`super::FOLDER`] of a state folder.
///
/// # Errors
/// When a source that is named, or every source, keeps no lines; when a folder cannot be listed.
pub fn search(folder: &Path, query: &Query) -> Result<Found, SearchError> {
    let mut segments = segments(folder, query)?;
    // Those with the newest events first; a live one may hold anything.
    segments.sort_by_key(|segment| Reverse((segment.most(), segment.name.began)));
    let mut search = Search { query, newest: BinaryHeap::new(), bytes: 0, found: Found::default() };
    for segment in segments.iter().filter(|segment| segment.may_hold(query)) {
        if search.is_full_after(segment.most()) {
            search.found.has_more = true;
            break;
        }
        if let Err(why) = search.read(segment) {
            search.note(why);
        }
    }
    Ok(search.end())
}

/// A segment of a source.
struct Segment {
    folder: PathBuf,
    source: String,
    name: Name,
}

impl Segment {
    fn most(&self) -> Timestamp {
        self.name.sealed.map_or(Timestamp(i64::MAX), |sealed| sealed.most)
    }

    fn may_hold(&self, query: &Query) -> bool {
        let Some(sealed) = self.name.sealed else { return true };
        query.since.is_none_or(|since| sealed.most >= since) && query.until.is_none_or(|until| sealed.least <= until)
    }

    /// Opens it; none where it is gone.
    fn open(&self) -> Result<Option<Lines>, FileError> {
        let open = |name: &Name| match Lines::open(&self.folder.join(name.to_string()), name) {
            Err(error) if error.is_not_found() => Ok(None),
            opened => opened.map(Some),
        };
        if let Some(lines) = open(&self.name)? {
            return Ok(Some(lines));
        }
        // Sealed meanwhile: the same events under another name.
        match names(&self.folder)?.iter().find(|name| name.began == self.name.began) {
            Some(name) => open(name),
            None => Ok(None),
        }
    }
}

/// All segments of the sources that are meant.
fn segments(folder: &Path, query: &Query) -> Result<Vec<Segment>, SearchError> {
    let mut all = if query.sources.is_empty() { sources(folder)? } else { query.sources.clone() };
    all.sort();
    all.dedup();
    let mut segments = Vec::new();
    for source in all {
        let inner = folder.join(&source);
        let names = match is_name(&source).then(|| names(&inner)) {
            None => Vec::new(),
            Some(Err(error)) if error.is_not_found() => Vec::new(),
            Some(names) => names?,
        };
        if names.is_empty() && !query.sources.is_empty() {
            return Err(SearchError::NothingKept(Some(source)));
        }
        for name in &names {
            // A crash, or the moment, has left it under both names.
            let is_double = name.sealed.is_none() && names.iter().any(|o| o.sealed.is_some() && o.began == name.began);
            if !is_double {
                segments.push(Segment { folder: inner.clone(), source: source.clone(), name: *name });
            }
        }
    }
    if segments.is_empty() { Err(SearchError::NothingKept(None)) } else { Ok(segments) }
}

/// One part of a path, so that nothing is read outside of the folder.
fn is_name(source: &str) -> bool {
    !source.is_empty() && !source.starts_with('.') && !source.contains(['/', '\0'])
}

/// What orders events: their time, then when they were kept (the segment and the line in it).
type Ranked = (Timestamp, Timestamp, u64, Kept);

struct Search<'a> {
    query: &'a Query,
    /// The newest so far, the oldest of them on top.
    newest: BinaryHeap<Reverse<Ranked>>,
    bytes: usize,
    found: Found,
}

impl Search<'_> {
    /// Whether nothing that is as old as `most` or older would be taken.
    fn is_full_after(&self, most: Timestamp) -> bool {
        let oldest = self.newest.peek().map(|Reverse(oldest)| oldest.0);
        self.newest.len() >= self.query.limit && oldest.is_some_and(|oldest| most < oldest)
    }

    fn read(&mut self, segment: &Segment) -> Result<(), String> {
        let path = || segment.folder.join(segment.name.to_string()).display().to_string();
        let Some(mut lines) = segment.open().map_err(|error| chain(&error))? else { return Ok(()) };
        let (mut number, mut damaged) = (0, 0);
        let read = loop {
            let line = match lines.next() {
                Ok(Some(line)) => line,
                Ok(None) => break Ok(()),
                Err(error) => break Err(format!("{} cannot be read to its end: {error}", path())),
            };
            number += 1;
            match serde_json::from_slice::<Line<'_>>(line) {
                Ok(line) => self.take(line, segment, number),
                Err(_) => damaged += 1,
            }
        };
        let left_out = damaged + lines.too_long();
        read?;
        if left_out > 0 { Err(format!("{}: {left_out} lines are damaged", path())) } else { Ok(()) }
    }

    fn take(&mut self, line: Line<'_>, segment: &Segment, number: u64) {
        if !self.wants(&line) {
            return;
        }
        let (at, level) = (line.at, line.level);
        if self.is_full_after(at) {
            self.found.has_more = true;
            return;
        }
        let (place, text) = (line.place.into_owned(), line.text.into_owned());
        self.bytes += place.len() + text.len();
        let kept = Kept { at, source: segment.source.clone(), level, place, text };
        self.newest.push(Reverse((at, segment.name.began, number, kept)));
        while self.newest.len() > self.query.limit || (self.bytes > MAX_ANSWER && self.newest.len() > 1) {
            let Some(Reverse((_, _, _, oldest))) = self.newest.pop() else { break };
            self.bytes -= oldest.place.len() + oldest.text.len();
            self.found.has_more = true;
        }
    }

    fn wants(&self, line: &Line<'_>) -> bool {
        let query = self.query;
        query.since.is_none_or(|since| line.at >= since)
            && query.until.is_none_or(|until| line.at <= until)
            && query.level.is_none_or(|level| line.level >= level)
            && query.matcher.as_ref().is_none_or(|matcher| matcher.matches(&line.text))
    }

    fn note(&mut self, why: String) {
        if self.found.trouble.len() < MAX_TROUBLE {
            self.found.trouble.push(why);
        }
    }

    fn end(mut self) -> Found {
        let sorted = self.newest.into_sorted_vec();
        self.found.events = sorted.into_iter().rev().map(|Reverse((_, _, _, kept))| kept).collect();
        self.found
    }
}
