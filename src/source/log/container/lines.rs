//! From what an engine sends of a log to its lines.
//!
//! Enters: bytes, cut anywhere: frames, or plain text where the container has a terminal. Leaves: each line with its
//! stream and its time. Every entry begins with its time. A line longer than 16 KiB comes as several entries, of which
//! only the last ends with a newline: they are joined, for all of them have one time, and where the engine was killed
//! between two of them, the one before has its full length. Any other entry without a newline was the end of what a
//! program wrote before it died: a line too. So the same log gives the same lines however often it is read, which
//! [`super::position`] rests on.
//!
//! Of a line at most `max_line` bytes are kept, and less where all containers together hold more than there is room for.

use std::sync::Arc;

use memchr::memchr;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::sys::engine::Stream;
use crate::sys::engine::frame::{Broken, Frames, Part};

/// The longest time that is written before an entry, in bytes: `2026-11-21T17:24:00.123456789+01:00`.
const MAX_STAMP: usize = 40;

/// After how many bytes an engine cuts a line.
const CUT: usize = 16 << 10;

/// The form of a time behind a cut: zeros stand for digits.
const FORM: &[u8] = b"0000-00-00T00:00:00.000000000Z ";

/// What is kept of a line even where there is no room: its hash rests on it.
const KEPT: usize = 1 << 10;

/// A line as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'b> {
    /// Its stream.
    pub(super) stream: Stream,
    /// When the engine got it, in nanoseconds since 1970.
    pub(super) at: i64,
    /// Its text, without the newline.
    pub(super) text: &'b [u8],
    /// Whether that is not all of it.
    pub(super) is_cut: bool,
}

/// Why what comes is no log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Odd {
    /// The frames are none.
    #[error(transparent)]
    Frames(#[from] Broken),
    /// An entry does not begin with a time.
    #[error("a line does not begin with its time")]
    Stamp,
}

/// The reader of one log.
#[derive(Debug)]
pub(super) struct Lines {
    has_terminal: bool,
    frames: Frames,
    max_line: usize,
    out: Joint,
    err: Joint,
    last: Option<i64>,
}

impl Lines {
    /// A reader at the beginning of an answer. `room` counts bytes that unfinished lines of all logs may hold.
    pub(super) fn new(has_terminal: bool, max_line: usize, room: &Arc<Semaphore>) -> Lines {
        let joint = || Joint::new(room.clone());
        let max_line = max_line.max(KEPT);
        Lines { has_terminal, frames: Frames::default(), max_line, out: joint(), err: joint(), last: None }
    }

    /// Takes the next bytes, and gives the lines that end in them to `each`.
    ///
    /// # Errors
    /// When they are no log; nothing behind them can be read.
    pub(super) fn feed(&mut self, bytes: &[u8], each: &mut impl FnMut(Line<'_>)) -> Result<(), Odd> {
        let Lines { has_terminal, frames, max_line, out, err, last } = self;
        if *has_terminal {
            return out.plain(bytes, *max_line, last, each);
        }
        frames.feed(bytes, |part| match part.stream {
            Stream::Out => out.part(part, *max_line, last, each),
            Stream::Err => err.part(part, *max_line, last, each),
        })
    }

    /// Gives what is left: of a container that ended, nothing continues it.
    pub(super) fn finish(&mut self, each: &mut impl FnMut(Line<'_>)) {
        if !self.frames.is_whole() {
            return;
        }
        for (joint, stream) in [(&mut self.out, Stream::Out), (&mut self.err, Stream::Err)] {
            joint.give(stream, each);
        }
    }

    /// How far what was given reaches: no line that comes later has a lower time, but for the disorder of the streams.
    pub(super) fn reached(&self) -> Option<i64> {
        let held = [&self.out, &self.err].into_iter().filter(|joint| joint.is_open).map(|joint| joint.at);
        self.last.map(|last| held.fold(last, i64::min))
    }
}

/// The unfinished line of one stream.
#[derive(Debug)]
struct Joint {
    /// The time of the entry, as far as it came.
    stamp: Vec<u8>,
    in_stamp: bool,
    /// Whether there is a line that is not given yet.
    is_open: bool,
    at: i64,
    text: Vec<u8>,
    is_cut: bool,
    /// Whether the last byte of the entry was a newline.
    has_ended: bool,
    /// How long the entry is so far.
    length: usize,
    /// Whether the entry before had the length at which the engine cuts.
    is_full: bool,
    /// With a terminal: what may be a time behind a cut.
    again: Vec<u8>,
    room: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

impl Joint {
    fn new(room: Arc<Semaphore>) -> Joint {
        Joint {
            stamp: Vec::new(),
            in_stamp: true,
            is_open: false,
            at: 0,
            text: Vec::new(),
            is_cut: false,
            has_ended: false,
            length: 0,
            is_full: false,
            again: Vec::new(),
            room,
            held: None,
        }
    }

    /// Takes a part of a frame, which is one entry.
    fn part(
        &mut self,
        part: Part<'_>,
        max_line: usize,
        last: &mut Option<i64>,
        each: &mut impl FnMut(Line<'_>),
    ) -> Result<(), Odd> {
        let Part { stream, begins, ends, bytes } = part;
        if begins {
            self.stamp.clear();
            self.in_stamp = true;
            self.is_full = self.length >= CUT;
            self.length = 0;
        }
        let bytes = match self.in_stamp {
            false => bytes,
            true => match self.take_stamp(stream, bytes, last, each)? {
                Some(rest) => rest,
                None if ends && !self.stamp.is_empty() => return Err(Odd::Stamp),
                None => return Ok(()),
            },
        };
        self.length += bytes.len();
        if ends && !self.has_text() && bytes.ends_with(b"\n") {
            // By far the most: the entry is here as a whole, and is a line as it stands.
            self.is_open = false;
            let (text, is_cut) = cut(&bytes[..bytes.len() - 1], max_line);
            each(Line { stream, at: self.at, text, is_cut });
            return Ok(());
        }
        self.keep(bytes, max_line);
        if ends && self.has_ended {
            self.give(stream, each);
        }
        Ok(())
    }

    /// Takes a part of a log without frames: entries end with a newline, or after [`CUT`] bytes.
    fn plain(
        &mut self,
        mut bytes: &[u8],
        max_line: usize,
        last: &mut Option<i64>,
        each: &mut impl FnMut(Line<'_>),
    ) -> Result<(), Odd> {
        while !bytes.is_empty() {
            if self.in_stamp {
                match self.take_stamp(Stream::Out, bytes, last, each)? {
                    Some(rest) => bytes = rest,
                    None => return Ok(()),
                }
                continue;
            }
            if self.length == CUT {
                bytes = self.pass_again(bytes, max_line);
                continue;
            }
            let room = (CUT - self.length).min(bytes.len());
            let end = memchr(b'\n', &bytes[..room]).map(|at| at + 1);
            let (part, rest) = bytes.split_at(end.unwrap_or(room));
            bytes = rest;
            self.length += part.len();
            if end.is_some() && !self.has_text() {
                self.is_open = false;
                let (text, is_cut) = cut(&part[..part.len() - 1], max_line);
                each(Line { stream: Stream::Out, at: self.at, text, is_cut });
            } else {
                self.keep(part, max_line);
                if end.is_some() {
                    self.give(Stream::Out, each);
                }
            }
            if end.is_some() {
                self.begin_plain();
            }
        }
        Ok(())
    }

    fn begin_plain(&mut self) {
        self.stamp.clear();
        (self.in_stamp, self.length) = (true, 0);
    }

    /// Behind a cut a time stands again, and is no part of the line.
    fn pass_again<'b>(&mut self, bytes: &'b [u8], max_line: usize) -> &'b [u8] {
        let wanted = FORM[self.again.len()];
        let is_form = if wanted == b'0' { bytes[0].is_ascii_digit() } else { bytes[0] == wanted };
        if !is_form {
            // It was the line itself: a driver that cuts elsewhere.
            let again = std::mem::take(&mut self.again);
            self.keep(&again, max_line);
            self.length = 0;
            return bytes;
        }
        self.again.push(bytes[0]);
        if self.again.len() == FORM.len() {
            self.again.clear();
            self.length = 0;
        }
        &bytes[1..]
    }

    /// Takes the time of an entry up to its space, and gives the line before it where that is another one.
    fn take_stamp<'b>(
        &mut self,
        stream: Stream,
        bytes: &'b [u8],
        last: &mut Option<i64>,
        each: &mut impl FnMut(Line<'_>),
    ) -> Result<Option<&'b [u8]>, Odd> {
        let within = &bytes[..bytes.len().min(MAX_STAMP + 1 - self.stamp.len())];
        let Some(end) = memchr(b' ', within) else {
            if self.stamp.len() + bytes.len() > MAX_STAMP {
                return Err(Odd::Stamp);
            }
            self.stamp.extend_from_slice(bytes);
            return Ok(None);
        };
        self.stamp.extend_from_slice(&bytes[..end]);
        let at = nanoseconds(&self.stamp).ok_or(Odd::Stamp)?;
        if self.is_open && self.at != at && !self.is_full {
            self.give(stream, each);
        }
        if !self.is_open {
            self.at = at;
        }
        (self.is_open, self.in_stamp) = (true, false);
        *last = Some(at);
        Ok(Some(&bytes[end + 1..]))
    }

    fn has_text(&self) -> bool {
        !self.text.is_empty() || self.is_cut
    }

    fn keep(&mut self, bytes: &[u8], max_line: usize) {
        self.has_ended = bytes.last().map_or(self.has_ended, |byte| *byte == b'\n');
        // One more than a line may have, for the newline at its end.
        let (mut kept, mut is_cut) = cut(bytes, (max_line + 1).saturating_sub(self.text.len()));
        let beyond = (self.text.len() + kept.len()).saturating_sub(KEPT).min(kept.len());
        if beyond > 0 && !self.hold(beyond) {
            (kept, is_cut) = (&kept[..kept.len() - beyond], true);
        }
        // What comes behind a cut never joins what is before it.
        if !self.is_cut {
            self.text.extend_from_slice(kept);
        }
        self.is_cut |= is_cut || (self.text.len() > max_line && !self.has_ended);
        if self.is_cut {
            self.text.truncate(max_line);
        }
    }

    /// Whether there is room for so many bytes more, over all logs.
    fn hold(&mut self, more: usize) -> bool {
        let Ok(more) = u32::try_from(more) else { return false };
        let Ok(taken) = self.room.clone().try_acquire_many_owned(more) else { return false };
        match &mut self.held {
            Some(held) => held.merge(taken),
            None => self.held = Some(taken),
        }
        true
    }

    /// Gives the unfinished line as it is.
    fn give(&mut self, stream: Stream, each: &mut impl FnMut(Line<'_>)) {
        if !std::mem::take(&mut self.is_open) {
            return;
        }
        let has_newline = !self.is_cut && self.text.last() == Some(&b'\n');
        let text = &self.text[..self.text.len() - usize::from(has_newline)];
        if has_newline || !text.is_empty() {
            each(Line { stream, at: self.at, text, is_cut: self.is_cut });
        }
        self.text.clear();
        self.text.shrink_to(KEPT);
        self.held = None;
        (self.is_cut, self.has_ended) = (false, false);
    }
}

fn cut(text: &[u8], max: usize) -> (&[u8], bool) {
    text.get(..max).filter(|_| text.len() > max).map_or((text, false), |text| (text, true))
}

/// Reads an RFC 3339 time as nanoseconds since 1970.
fn nanoseconds(stamp: &[u8]) -> Option<i64> {
    quick(stamp).or_else(|| {
        let at: jiff::Timestamp = std::str::from_utf8(stamp).ok()?.parse().ok()?;
        i64::try_from(at.as_nanosecond()).ok()
    })
}

/// The form that nearly all engines write, `2026-11-21T17:24:00.123456789Z`, at a tenth of the cost.
fn quick(stamp: &[u8]) -> Option<i64> {
    let number = |from: usize, to: usize| {
        stamp.get(from..to)?.iter().try_fold(0i64, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
    };
    let has_form = stamp.len() == 30
        && [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (29, b'Z')]
            .iter()
            .all(|(at, byte)| stamp[*at] == *byte);
    if !has_form {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let is_time = (1970..2262).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !is_time || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days since 1970 in the proleptic Gregorian calendar, years taken from March on so that a leap day comes last.
    let shifted = if month > 2 { year } else { year - 1 };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = 365 * shifted + shifted / 4 - shifted / 100 + shifted / 400 + day_of_year - 719_468;
    Some((days * 86_400 + hour * 3600 + minute * 60 + second) * 1_000_000_000 + number(20, 29)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::log::container::fake::{Entry, encoded};
    use crate::source::log::container::tests::Random;

    const ROOM: usize = 1 << 20;

    fn entry(stream: Stream, at: i64, text: &str) -> Entry {
        Entry { stream, at, text: text.as_bytes().to_vec() }
    }

    fn bytes(entries: &[Entry], has_terminal: bool) -> Vec<u8> {
        entries.iter().flat_map(|entry| encoded(entry, has_terminal)).collect()
    }

    /// The lines of an answer that comes in pieces of `size`, as (stream, time, text); a `~` marks one that was cut.
    fn read(bytes: &[u8], has_terminal: bool, size: usize, room: usize) -> Result<Vec<(Stream, i64, String)>, Odd> {
        let mut lines = Lines::new(has_terminal, 40_000, &Arc::new(Semaphore::new(room)));
        let mut got = Vec::new();
        let mut each = |line: Line<'_>| {
            let mark = if line.is_cut { "~" } else { "" };
            got.push((line.stream, line.at, String::from_utf8_lossy(line.text).into_owned() + mark));
        };
        for piece in bytes.chunks(size) {
            lines.feed(piece, &mut each)?;
        }
        lines.finish(&mut each);
        Ok(got)
    }

    fn check(entries: &[Entry], has_terminal: bool, wanted: &[(Stream, i64, String)]) {
        let bytes = bytes(entries, has_terminal);
        for size in [1, 7, 1000, 16 << 10, bytes.len()] {
            let got = read(&bytes, has_terminal, size, ROOM).unwrap();
            assert!(got == wanted, "by {size}: {:.300}", format!("{got:?}"));
        }
    }

    #[test]
    fn entries_of_one_time_are_one_line_and_those_of_another_are_not() {
        use Stream::{Err, Out};
        let part = "x".repeat(CUT);
        let entries = [
            entry(Out, 1, "one\n"),
            entry(Out, 2, &part),
            entry(Err, 3, "between\n"),
            entry(Out, 2, "end\n"),
            entry(Out, 4, "no end"),
            entry(Out, 5, "\n"),
            entry(Err, 6, &part),
            entry(Err, 6, &part),
            entry(Err, 6, &part),
            entry(Err, 6, "tail"),
            entry(Err, 7, "next\n"),
            entry(Out, 8, &part),
            entry(Out, 9, "killed between\n"),
            entry(Out, 10, "last"),
        ];
        let wanted = [
            (Out, 1, "one".to_string()),
            (Err, 3, "between".into()),
            (Out, 2, format!("{part}end")),
            (Out, 4, "no end".into()),
            (Out, 5, String::new()),
            (Err, 6, format!("{}~", "x".repeat(40_000))),
            (Err, 7, "next".into()),
            (Out, 8, format!("{part}killed between")),
            (Out, 10, "last".into()),
        ];
        check(&entries, false, &wanted);
    }

    #[test]
    fn a_terminal_has_no_frames_and_its_cuts_are_found() {
        let part = "x".repeat(CUT);
        let entries = [
            entry(Stream::Out, 1, "one\r\n"),
            entry(Stream::Out, 2, &part),
            entry(Stream::Out, 22, &part),
            entry(Stream::Out, 22, "end\n"),
            entry(Stream::Out, 3, &format!("{part}2026-\n")),
            entry(Stream::Out, 4, &format!("{part}\n")),
            entry(Stream::Out, 5, "last"),
        ];
        let wanted = [
            (Stream::Out, 1, "one\r".to_string()),
            (Stream::Out, 2, format!("{part}{part}end")),
            (Stream::Out, 3, format!("{part}2026-")),
            (Stream::Out, 4, part.clone()),
            (Stream::Out, 5, "last".into()),
        ];
        check(&entries, true, &wanted);
    }

    #[test]
    fn where_there_is_no_room_a_line_is_cut_and_its_beginning_kept() {
        let text = "y".repeat(CUT);
        let entries = [entry(Stream::Out, 1, &text), entry(Stream::Out, 1, "end\n"), entry(Stream::Out, 2, "two\n")];
        let got = read(&bytes(&entries, false), false, 100, 10).unwrap();
        assert!(got[0].2.ends_with("y~") && got[0].2.len() > KEPT / 2, "{}", got[0].2.len());
        assert_eq!(got[1].2, "two");
    }

    #[test]
    fn times_are_read_in_every_form_that_engines_write() {
        for (stamp, wanted) in [
            ("1970-01-01T00:00:00.000000001Z", Some(1)),
            ("2024-02-29T23:59:59.999999999Z", Some(1_709_251_199_999_999_999)),
            ("2026-11-21T17:24:00.123456789Z", Some(1_795_281_840_123_456_789)),
            ("2026-11-21T18:24:00.123456789+01:00", Some(1_795_281_840_123_456_789)),
            ("2026-11-21T17:24:00Z", Some(1_795_281_840_000_000_000)),
            ("2026-13-21T17:24:00.123456789Z", None),
            ("2026-11-21", None),
            ("hello", None),
            ("", None),
        ] {
            assert_eq!(nanoseconds(stamp.as_bytes()), wanted, "{stamp}");
        }
        for day in 0..80_000i64 {
            let at = jiff::Timestamp::from_nanosecond(i128::from(day) * 86_400_000_000_000 + 7).unwrap();
            assert_eq!(quick(format!("{at:.9}").as_bytes()), Some(day * 86_400_000_000_000 + 7));
        }
    }

    #[test]
    fn bytes_that_are_no_log_never_do_more_than_end_it() {
        let part = "x".repeat(CUT);
        let entries = [entry(Stream::Out, 1, "one\n"), entry(Stream::Err, 2, &part), entry(Stream::Err, 2, "end\n")];
        let mut random = Random(11);
        for has_terminal in [false, true] {
            let whole = bytes(&entries, has_terminal);
            for _ in 0..20_000 {
                let mut input = whole.clone();
                for _ in 0..=random.below(4) {
                    let at = random.below(input.len());
                    if input.len() < 2 {
                        break;
                    }
                    // Most of the input is one long text: aim at what means something.
                    let at = if random.below(3) > 0 { at % 120 } else { at }.max(1);
                    match random.below(4) {
                        0 => input[at] = random.below(256) as u8,
                        1 => input.insert(at, b"\n \0\x01"[random.below(4)]),
                        2 => drop(input.remove(at)),
                        _ => input.truncate(at),
                    }
                }
                if let Ok(lines) = read(&input, has_terminal, 1 + random.below(input.len()), ROOM) {
                    let n_bytes: usize = lines.iter().map(|(.., text)| text.len()).sum();
                    assert!(n_bytes <= 4 * input.len(), "more comes out than goes in");
                }
            }
        }
    }
}
