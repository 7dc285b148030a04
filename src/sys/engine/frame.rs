//! The frames in which an engine sends what a container without a terminal writes.
//!
//! Enters: bytes, cut anywhere. Leaves: parts of payloads as they came, each with its stream and whether its frame begins
//! or ends with it; nothing is held but a header. A frame has eight bytes of header: the stream, three zeros, and its
//! length, high byte first.

use std::fmt;

/// The longest frame, in bytes; engines send at most 16 KiB and a time at once.
pub const MAX_FRAME: usize = 16 << 20;

const HEADER: usize = 8;

/// Which of its two streams a container wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Standard output; everything, where there is a terminal.
    Out,
    /// Standard error.
    Err,
}

impl Stream {
    /// Both.
    pub const ALL: [Stream; 2] = [Stream::Out, Stream::Err];

    /// `stdout`, `stderr`.
    pub fn as_str(self) -> &'static str {
        match self {
            Stream::Out => "stdout",
            Stream::Err => "stderr",
        }
    }
}

/// A part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'b> {
    /// The stream of its frame.
    pub stream: Stream,
    /// Whether its frame begins with it.
    pub begins: bool,
    /// Whether its frame ends with it.
    pub ends: bool,
    /// What it holds.
    pub bytes: &'b [u8],
}

/// Why bytes are no frames; nothing behind them can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A header is none.
    #[error("the header of a frame begins with {0:?}")]
    Header([u8; 4]),
    /// A frame that no engine sends.
    #[error("a frame announces {0} bytes, and {MAX_FRAME} are the most that is read")]
    TooLong(usize),
    /// The engine itself reports an error within the stream.
    #[error("the engine could not go on with the log")]
    Engine,
}

/// A reader of frames.
#[derive(Default)]
pub struct Frames {
    header: [u8; HEADER],
    n_header: usize,
    stream: Option<Stream>,
    left: usize,
    begins: bool,
}

impl Frames {
    /// Takes the next bytes, and gives the parts that they hold to `each`.
    ///
    /// # Errors
    /// When they are no frames, or when `each` gives an error.
    pub fn feed<E: From<Broken>>(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            let Some(stream) = self.stream else {
                bytes = self.take_header(bytes)?;
                // An empty frame has no bytes to wait for.
                if let (Some(stream), 0) = (self.stream, self.left) {
                    self.stream = None;
                    each(Part { stream, begins: true, ends: true, bytes: &[] })?;
                }
                continue;
            };
            let (part, rest) = bytes.split_at(self.left.min(bytes.len()));
            self.left -= part.len();
            let begins = std::mem::take(&mut self.begins);
            let ends = self.left == 0;
            if ends {
                self.stream = None;
            }
            bytes = rest;
            each(Part { stream, begins, ends, bytes: part })?;
        }
        Ok(())
    }

    /// Whether the last frame is whole.
    pub fn is_whole(&self) -> bool {
        self.stream.is_none() && self.n_header == 0
    }

    fn take_header<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Broken> {
        let (part, rest) = bytes.split_at((HEADER - self.n_header).min(bytes.len()));
        self.header[self.n_header..self.n_header + part.len()].copy_from_slice(part);
        self.n_header += part.len();
        if self.n_header == HEADER {
            self.n_header = 0;
            let [kind, a, b, c, length @ ..] = self.header;
            let stream = match (kind, [a, b, c]) {
                (0 | 1, [0, 0, 0]) => Stream::Out,
                (2, [0, 0, 0]) => Stream::Err,
                (3, [0, 0, 0]) => return Err(Broken::Engine),
                _ => return Err(Broken::Header([kind, a, b, c])),
            };
            let length = u32::from_be_bytes(length) as usize;
            if length > MAX_FRAME {
                return Err(Broken::TooLong(length));
            }
            (self.stream, self.left, self.begins) = (Some(stream), length, true);
        }
        Ok(rest)
    }
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames").field("stream", &self.stream).field("left", &self.left).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        [&[kind, 0, 0, 0][..], &(payload.len() as u32).to_be_bytes(), payload].concat()
    }

    /// The payloads as (stream, text), fed in pieces of `size`; what is not whole at the end is marked.
    fn read(bytes: &[u8], size: usize) -> Result<Vec<(Stream, String)>, Broken> {
        let (mut frames, mut got) = (Frames::default(), Vec::new());
        for piece in bytes.chunks(size) {
            frames.feed(piece, |part| {
                if part.begins {
                    got.push((part.stream, String::new()));
                }
                let Some((_, text)) = got.last_mut() else { panic!("a part without a beginning") };
                text.push_str(std::str::from_utf8(part.bytes).unwrap());
                if part.ends {
                    text.push('|');
                }
                Ok(())
            })?;
        }
        Ok(got)
    }

    #[test]
    fn frames_come_out_whole_however_they_are_cut() {
        let bytes = [frame(1, b"one\n"), frame(2, b""), frame(2, b"two"), frame(0, b"three\n")].concat();
        let wanted = [(Stream::Out, "one\n|"), (Stream::Err, "|"), (Stream::Err, "two|"), (Stream::Out, "three\n|")];
        let wanted = wanted.map(|(stream, text)| (stream, text.to_string()));
        for size in 1..=bytes.len() {
            assert_eq!(read(&bytes, size).unwrap(), wanted, "by {size}");
        }
    }

    #[test]
    fn what_is_no_frame_ends_the_reading_and_nothing_is_made_by_its_length() {
        for (bytes, wanted) in [
            (b"2026-11-21T17:00:00Z hello\n".to_vec(), Broken::Header(*b"2026")),
            (frame(4, b"x"), Broken::Header([4, 0, 0, 0])),
            (frame(3, b"x"), Broken::Engine),
            (vec![1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, b'x'], Broken::TooLong(u32::MAX as usize)),
        ] {
            for size in [1, 3, 8, 100] {
                assert_eq!(read(&bytes, size), Err(wanted), "by {size}");
            }
        }
        let mut frames = Frames::default();
        frames.feed(&[1, 0, 0, 0, 0, 0xff, 0xff, 0xff, b'x'], |_| Ok::<_, Broken>(())).unwrap();
        assert!(!frames.is_whole());
    }
}
