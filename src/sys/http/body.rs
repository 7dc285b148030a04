//! Bodies: read whole or piece by piece, decompressed on the way, never longer than allowed.
//!
//! Enters: the chunks of an answer. Leaves: its bytes. The cap counts what comes out of decompression, byte for byte as
//! it comes out, so an answer that would unfold to gigabytes is left at the cap. `gzip` and `deflate` are undone (those
//! are asked for); anything else that an answer claims to be coded in stays as it is.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use http::header::{self, HeaderMap};

use crate::base::Failure;

/// What is asked for in `Accept-Encoding`.
pub(super) const ACCEPTED: &str = "gzip, deflate";

/// The reader of one body.
pub(super) struct Body {
    coding: Coding,
    max: u64,
    /// Whether anything came at all: an empty body is not coded, whatever the headers say.
    is_empty: bool,
}

enum Coding {
    Plain(Capped),
    Gzip(Box<MultiGzDecoder<Capped>>),
    Deflate(Inflate),
}

impl Body {
    /// The body of an answer with these headers, of at most `max` bytes.
    pub(super) fn new(headers: &HeaderMap, max: u64) -> Body {
        let out = Capped { bytes: Vec::new(), taken: 0, max };
        let coding = headers.get(header::CONTENT_ENCODING).map(|v| v.as_bytes().to_ascii_lowercase());
        let coding = match coding.as_deref() {
            Some(b"gzip" | b"x-gzip") => Coding::Gzip(Box::new(MultiGzDecoder::new(out))),
            Some(b"deflate") => Coding::Deflate(Inflate::new(out)),
            _ => Coding::Plain(out),
        };
        Body { coding, max, is_empty: true }
    }

    /// What is said of a body that is too long.
    pub(super) fn too_large(max: u64) -> Failure {
        Failure::new("too-large", format!("the body is longer than {max} bytes"))
    }

    /// Takes the next bytes as they came.
    ///
    /// # Errors
    /// Reason `too-large`; `body` where they are not what the headers announce.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<(), Failure> {
        self.is_empty &= chunk.is_empty();
        let pushed = match &mut self.coding {
            Coding::Plain(out) => out.write_all(chunk),
            Coding::Gzip(gzip) => gzip.write_all(chunk),
            Coding::Deflate(inflate) => inflate.push(chunk),
        };
        pushed.map_err(|error| self.failed(&error, "cannot be decompressed"))
    }

    /// Hands on what came so far, so that it need not be held.
    ///
    /// # Errors
    /// That of `taker`.
    pub(super) fn hand_on(&mut self, taker: &mut Taker<'_>) -> Result<(), Failure> {
        let out = self.out();
        if out.bytes.is_empty() {
            return Ok(());
        }
        out.taken += out.bytes.len() as u64;
        let taken = taker(&out.bytes);
        out.bytes.clear();
        taken
    }

    fn out(&mut self) -> &mut Capped {
        match &mut self.coding {
            Coding::Plain(out) => out,
            Coding::Gzip(gzip) => gzip.get_mut(),
            Coding::Deflate(inflate) => &mut inflate.out,
        }
    }

    /// What was not handed on: the whole body, or its end.
    ///
    /// # Errors
    /// Reason `body`, when its compression does not end as it should.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, Failure> {
        if self.is_empty {
            return Ok(Vec::new());
        }
        let ended = match &mut self.coding {
            Coding::Plain(_) => Ok(()),
            Coding::Gzip(gzip) => gzip.try_finish(),
            Coding::Deflate(inflate) => inflate.finish(),
        };
        ended.map_err(|error| self.failed(&error, "broke off"))?;
        Ok(std::mem::take(&mut self.out().bytes))
    }

    fn failed(&self, error: &io::Error, what: &str) -> Failure {
        if error.get_ref().is_some_and(|inner| inner.is::<TooLong>()) {
            return Body::too_large(self.max);
        }
        Failure::new("body", format!("the body {what}: {error}"))
    }
}

/// Takes a body piece by piece.
pub(super) type Taker<'t> = dyn FnMut(&[u8]) -> Result<(), Failure> + Send + 't;

/// Bytes up to a cap, those included that were handed on.
struct Capped {
    bytes: Vec<u8>,
    taken: u64,
    max: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("too long")]
struct TooLong;

impl Write for Capped {
    fn write(&mut self, chunk: &[u8]) -> io::Result<usize> {
        if self.taken + (self.bytes.len() + chunk.len()) as u64 > self.max {
            return Err(io::Error::other(TooLong));
        }
        self.bytes.extend_from_slice(chunk);
        Ok(chunk.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `deflate`: by the standard within a zlib wrapper (RFC 9110, 8.4.1.2), by many servers without.
struct Inflate {
    state: Option<Decompress>,
    begin: Vec<u8>,
    has_ended: bool,
    out: Capped,
}

impl Inflate {
    fn new(out: Capped) -> Inflate {
        Inflate { state: None, begin: Vec::new(), has_ended: false, out }
    }

    fn push(&mut self, chunk: &[u8]) -> io::Result<()> {
        if self.state.is_some() {
            return self.inflate(chunk);
        }
        // The first two bytes tell which of the two it is.
        self.begin.extend_from_slice(chunk);
        let [first, second, ..] = self.begin[..] else { return Ok(()) };
        let is_wrapped = first & 0x0f == 8 && (u16::from(first) << 8 | u16::from(second)).is_multiple_of(31);
        self.state = Some(Decompress::new(is_wrapped));
        let begin = std::mem::take(&mut self.begin);
        self.inflate(&begin)
    }

    fn inflate(&mut self, mut input: &[u8]) -> io::Result<()> {
        let Some(state) = &mut self.state else { return Ok(()) };
        let mut buffer = [0; 8192];
        while !input.is_empty() && !self.has_ended {
            let (taken, given) = (state.total_in(), state.total_out());
            let status = state.decompress(input, &mut buffer, FlushDecompress::None)?;
            let (taken, given) = ((state.total_in() - taken) as usize, (state.total_out() - given) as usize);
            self.out.write_all(buffer.get(..given).unwrap_or_default())?;
            input = input.get(taken..).unwrap_or_default();
            self.has_ended = status == Status::StreamEnd;
            if taken == 0 && given == 0 {
                break;
            }
        }
        // What is left in the state when its buffer was full comes out without further input.
        self.drain()?;
        if input.is_empty() { Ok(()) } else { Err(io::Error::other("something follows its end")) }
    }

    fn drain(&mut self) -> io::Result<()> {
        let Some(state) = &mut self.state else { return Ok(()) };
        let mut buffer = [0; 8192];
        while !self.has_ended {
            let before = state.total_out();
            let status = state.decompress(&[], &mut buffer, FlushDecompress::None)?;
            let given = (state.total_out() - before) as usize;
            self.has_ended = status == Status::StreamEnd;
            if given == 0 {
                break;
            }
            self.out.write_all(buffer.get(..given).unwrap_or_default())?;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.has_ended { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    fn coded(name: &str, plain: &[u8]) -> Vec<u8> {
        let level = Compression::best();
        let coded = match name {
            "gzip" => {
                let mut to = GzEncoder::new(Vec::new(), level);
                to.write_all(plain).and_then(|()| to.finish())
            }
            "zlib" => {
                let mut to = ZlibEncoder::new(Vec::new(), level);
                to.write_all(plain).and_then(|()| to.finish())
            }
            _ => {
                let mut to = DeflateEncoder::new(Vec::new(), level);
                to.write_all(plain).and_then(|()| to.finish())
            }
        };
        coded.unwrap()
    }

    fn read(coding: &str, bytes: &[u8], chunk: usize, max: u64) -> Result<Vec<u8>, String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, coding.parse().unwrap());
        let mut body = Body::new(&headers, max);
        for chunk in bytes.chunks(chunk) {
            body.push(chunk).map_err(|f| f.to_string())?;
        }
        body.finish().map_err(|f| f.to_string())
    }

    #[test]
    fn a_body_comes_out_as_it_went_in_however_it_is_cut() {
        let plain: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8 ^ (i >> 9) as u8).collect();
        for (coding, wrapping) in [("gzip", "gzip"), ("x-gzip", "gzip"), ("deflate", "zlib"), ("deflate", "raw")] {
            let bytes = coded(wrapping, &plain);
            for chunk in [1, 7, 1000, bytes.len()] {
                assert!(read(coding, &bytes, chunk, 100_000) == Ok(plain.clone()), "{wrapping} by {chunk}");
            }
            let too_large = "too-large: the body is longer than 99999 bytes".to_string();
            assert_eq!(read(coding, &bytes, 1000, 99_999), Err(too_large), "{wrapping}");
            for cut in [1, bytes.len() / 2, bytes.len() - 1] {
                let got = read(coding, &bytes[..cut], 1000, 100_000).unwrap_err();
                assert!(got.starts_with("body: the body broke off: "), "{wrapping} cut at {cut}: {got}");
            }
            let junk = read(coding, &[&bytes[..], b"junk"].concat(), 1 << 20, 100_000).unwrap_err();
            assert!(junk.starts_with("body: the body "), "{wrapping}: {junk}");
        }
    }

    #[test]
    fn what_unfolds_without_end_is_left_at_the_cap() {
        for (coding, wrapping) in [("gzip", "gzip"), ("deflate", "zlib")] {
            let bomb = coded(wrapping, &vec![0; 64 << 20]);
            assert!(bomb.len() < 100_000);
            let got = read(coding, &bomb, bomb.len(), 1 << 20);
            assert_eq!(got, Err("too-large: the body is longer than 1048576 bytes".into()));
        }
    }

    #[test]
    fn a_coding_that_was_not_asked_for_stays_as_it_is() {
        for coding in ["br", "identity", "utf-8"] {
            assert_eq!(read(coding, b"abc", 2, 3), Ok(b"abc".to_vec()), "{coding}");
        }
        assert_eq!(read("gzip", b"", 1, 3), Ok(Vec::new()));
        assert!(
            read("gzip", b"no gzip at all", 5, 100).unwrap_err().starts_with("body: the body cannot be decompressed")
        );
    }
}
