//! Walking over the records of a log, from its header to its end, over damage.

use super::place;
use super::record::{self, FRAME};
use super::wire::HEADER;
use crate::sys::blocks::Blocks;
use crate::sys::files::FileError;

/// What a walk found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Walked {
    /// Where the last whole record ends.
    pub end: u64,
    /// Bytes behind it that are no record: what a crash leaves of the last append, or one that is just being written.
    pub torn: u64,
    /// Places and lengths in the middle that are no records.
    pub damage: Vec<(u64, u64)>,
}

impl Walked {
    /// The damage in sentences.
    pub(super) fn sentences(&self, file: &Blocks) -> impl Iterator<Item = String> {
        let name = place::name(file.path());
        self.damage.iter().map(move |(at, length)| {
            format!("{name}: {length} bytes at {at} match no checksum; the samples in them are lost")
        })
    }
}

/// How far a walk goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Go {
    On,
    Stop,
}

/// Bytes read ahead at once.
const AHEAD: usize = 1 << 18;

/// A part of a file in memory.
struct Window<'a> {
    file: &'a Blocks,
    length: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// The `n` bytes at `at`; none where the file ends before.
    fn get(&mut self, at: u64, n: usize) -> Result<Option<&[u8]>, FileError> {
        if at.saturating_add(n as u64) > self.length {
            return Ok(None);
        }
        let end = self.start + self.bytes.len() as u64;
        if at < self.start || at + n as u64 > end {
            let wanted = (n.max(AHEAD) as u64).min(self.length - at) as usize;
            self.bytes.resize(wanted, 0);
            self.start = at;
            let filled = self.file.read_at(at, &mut self.bytes)?;
            self.bytes.truncate(filled);
        }
        let from = (at - self.start) as usize;
        Ok(self.bytes.get(from..from + n))
    }
}

/// Hands every whole record of log `number` to `each`, with its place.
///
/// # Errors
/// When the disk does not give the bytes.
pub(super) fn walk(file: &Blocks, number: u64, mut each: impl FnMut(u64, &[u8]) -> Go) -> Result<Walked, FileError> {
    let mut window = Window { file, length: file.length()?, start: 0, bytes: Vec::new() };
    let mut walked = Walked { end: HEADER as u64, ..Walked::default() };
    let mut at = walked.end;
    while at < window.length {
        match record_at(&mut window, number, at)? {
            Some(length) => {
                if at > walked.end {
                    walked.damage.push((walked.end, at - walked.end));
                }
                let payload = window.get(at + FRAME as u64, length)?.unwrap_or_default();
                let go = each(at, payload);
                at += (FRAME + length) as u64;
                walked.end = at;
                if go == Go::Stop {
                    return Ok(walked);
                }
            }
            None => match next_marker(&mut window, at + 1)? {
                Some(next) => at = next,
                None => break,
            },
        }
    }
    walked.torn = window.length.saturating_sub(walked.end);
    Ok(walked)
}

/// The length of the payload of the whole record at `at`.
fn record_at(window: &mut Window<'_>, number: u64, at: u64) -> Result<Option<usize>, FileError> {
    let Some(frame) = window.get(at, FRAME)?.and_then(|bytes| bytes.first_chunk().copied()) else { return Ok(None) };
    let Some((length, sum)) = record::parse_frame(&frame, number, at) else { return Ok(None) };
    let payload = window.get(at + FRAME as u64, length)?;
    Ok(payload.filter(|payload| crc32fast::hash(payload) == sum).map(|_| length))
}

fn next_marker(window: &mut Window<'_>, mut from: u64) -> Result<Option<u64>, FileError> {
    loop {
        let n = window.length.saturating_sub(from).min(AHEAD as u64) as usize;
        if n < FRAME {
            return Ok(None);
        }
        let Some(bytes) = window.get(from, n)? else { return Ok(None) };
        if let Some(i) = record::find_marker(bytes, 0) {
            return Ok(Some(from + i as u64));
        }
        // A marker may lie across the edge.
        from += (n - 3) as u64;
    }
}
