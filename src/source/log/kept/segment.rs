//! One segment: its name, its records, and reading it from its beginning.
//!
//! A live segment is called `BEGAN.jsonl`, a sealed one `BEGAN_SEALED_LEAST_MOST.jsonl.gz`: when it was begun and sealed by the
//! agent's clock, and the least and the most time that its events carry; all in milliseconds since 1970.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};

use super::super::level::Level;
use super::{LineId, MAX_PLACE, MAX_TEXT};
use crate::base::Timestamp;
use crate::sys::blocks::Blocks;
use crate::sys::files::FileError;

/// The longest line of a segment, in bytes: each byte of a text may take six as JSON.
pub const MAX_LINE: usize = 6 * (MAX_TEXT + MAX_PLACE) + 1024;

/// What the name of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// When it was begun; no two of a source have the same.
    pub began: Timestamp,
    /// What is only known at its end; none while it is live.
    pub sealed: Option<Sealed>,
}

/// What is known of a segment that does not grow any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sealed {
    /// When it was sealed.
    pub at: Timestamp,
    /// The least time in it.
    pub least: Timestamp,
    /// The most.
    pub most: Timestamp,
}

impl Name {
    /// Reads a name; none where it is not of a segment.
    pub fn parse(name: &str) -> Option<Name> {
        if let Some(began) = name.strip_suffix(".jsonl") {
            return Some(Name { began: Timestamp(began.parse().ok()?), sealed: None });
        }
        let numbers: Vec<i64> =
            name.strip_suffix(".jsonl.gz")?.split('_').map(|part| part.parse().ok()).collect::<Option<_>>()?;
        let [began, at, least, most] = numbers[..] else { return None };
        let sealed = Sealed { at: Timestamp(at), least: Timestamp(least), most: Timestamp(most) };
        Some(Name { began: Timestamp(began), sealed: Some(sealed) })
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.sealed {
            None => write!(f, "{}.jsonl", self.began.0),
            Some(Sealed { at, least, most }) => {
                write!(f, "{}_{}_{}_{}.jsonl.gz", self.began.0, at.0, least.0, most.0)
            }
        }
    }
}

/// An event as it stands in a segment. Strings that hold no escapes are not copied when it is read.
#[derive(Debug, Serialize, Deserialize)]
pub struct Line<'a> {
    /// When it was written.
    pub at: Timestamp,
    /// How bad it says it is.
    pub level: Level,
    /// Where it stood.
    #[serde(borrow)]
    pub place: Cow<'a, str>,
    /// The text.
    #[serde(borrow)]
    pub text: Cow<'a, str>,
    /// Its stream in hexadecimal, since JSON has no whole numbers of that size, and its position.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Cow<'a, str>>,
}

/// An id as it stands in a segment.
pub fn written(id: LineId) -> String {
    format!("{:016x}-{}", id.stream, id.position)
}

/// What tells an event that was given again: FNV-1a 64 over its id and its text. None for one without an id.
pub fn identity(line: &Line<'_>) -> Option<u64> {
    let id = line.id.as_deref()?;
    let bytes = id.bytes().chain([0]).chain(line.text.bytes());
    Some(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
}

/// Reads the lines of a segment from its beginning.
pub struct Lines {
    reader: BufReader<Box<dyn Read>>,
    line: Vec<u8>,
    length: u64,
    too_long: u64,
}

impl Lines {
    /// Opens a segment.
    ///
    /// # Errors
    /// When it is not there, or cannot be opened.
    pub fn open(path: &Path, name: &Name) -> Result<Lines, FileError> {
        let file = AtPlace { blocks: Blocks::open(path)?, at: 0 };
        let inner: Box<dyn Read> =
            if name.sealed.is_some() { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        Ok(Lines { reader: BufReader::with_capacity(64 << 10, inner), line: Vec::new(), length: 0, too_long: 0 })
    }

    /// The next whole line, without its break; none at the end. What stands behind the last break is torn, or still being
    /// written, and no line. One that is longer than [`MAX_LINE`] is passed over.
    ///
    /// # Errors
    /// When the disk does not give it, or the gzip is damaged.
    pub fn next(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            self.line.clear();
            let mut dropped = false;
            let is_whole = loop {
                let there = self.reader.fill_buf()?;
                if there.is_empty() {
                    break false;
                }
                let end = memchr::memchr(b'\n', there);
                let piece = &there[..end.unwrap_or(there.len())];
                if self.line.len() + piece.len() > MAX_LINE {
                    dropped = true;
                    self.line.clear();
                } else if !dropped {
                    self.line.extend_from_slice(piece);
                }
                let used = piece.len() + usize::from(end.is_some());
                self.reader.consume(used);
                self.length += used as u64;
                if end.is_some() {
                    break true;
                }
            };
            match (is_whole, dropped) {
                (false, _) => return Ok(None),
                (true, true) => self.too_long += 1,
                (true, false) => return Ok(Some(&self.line)),
            }
        }
    }

    /// How many bytes were read so far, before they were zipped: after a line, where the next one begins.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// How many lines were passed over because they are too long.
    pub fn too_long(&self) -> u64 {
        self.too_long
    }
}

/// A file, read from its beginning.
struct AtPlace {
    blocks: Blocks,
    at: u64,
}

impl Read for AtPlace {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.blocks.read_at(self.at, buffer).map_err(io::Error::other)?;
        self.at += n as u64;
        Ok(n)
    }
}
