//! Pages into lines: a page is fed piece by piece as it comes from the wire, and is never held as a whole.

use super::line::{Point, point};
use super::series::Kind;
use super::{Fault, Format, MAX_LINE, excerpt};
use crate::base::Failure;

/// A line that holds a sample, without the blanks around it.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Its text.
    pub text: &'a [u8],
    /// In which format it is to be read.
    pub format: Format,
    /// What the last `# TYPE` before it said.
    pub kind: Kind,
}

impl<'a> Line<'a> {
    /// Reads all of it but the labels, see [`decode`](super::decode).
    ///
    /// # Errors
    /// When it is no line of an exposition.
    pub fn point(self) -> Result<Point<'a>, Fault> {
        point(self.text, self.format)
    }
}

/// Reads one page after the other; what it holds between two pieces is at most one line of [`MAX_LINE`].
#[derive(Debug)]
pub struct Reader {
    format: Format,
    /// The beginning of a line whose end did not come yet.
    open: Vec<u8>,
    lines: usize,
    count: usize,
    kind: Kind,
    ended: bool,
    hidden: Hidden,
}

/// Texts that no failure may quote: a server that repeats the request would have us show its secrets.
#[derive(Default)]
struct Hidden(Vec<Box<[u8]>>);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hidden({})", self.0.len())
    }
}

impl Hidden {
    /// The beginning of a line, or that it is not shown.
    fn quote(&self, line: &[u8]) -> String {
        if self.0.iter().any(|text| memchr::memmem::find(line, text).is_some()) {
            return "(not shown: it repeats what was sent)".into();
        }
        excerpt(line)
    }
}

impl Reader {
    /// A reader of a page in `format`.
    pub fn new(format: Format) -> Reader {
        Reader {
            format,
            open: Vec::new(),
            lines: 0,
            count: 0,
            kind: Kind::Other,
            ended: false,
            hidden: Hidden::default(),
        }
    }

    /// No failure quotes a line that holds one of these texts, from now on; those given before are forgotten.
    pub fn hide(&mut self, texts: impl IntoIterator<Item = Vec<u8>>) {
        self.hidden = Hidden(texts.into_iter().filter(|text| !text.is_empty()).map(Into::into).collect());
    }

    /// The same for the next page: what was fed before is forgotten, its buffer is kept.
    pub fn restart(&mut self, format: Format) {
        let (mut open, hidden) = (std::mem::take(&mut self.open), std::mem::take(&mut self.hidden));
        open.clear();
        *self = Reader { open, hidden, ..Reader::new(format) };
    }

    /// Takes in the next piece of the page, and calls `each` for every line with a sample that ends in it.
    ///
    /// # Errors
    /// The first line that is no exposition or past a bound (or that `each` refuses), as a failure of the target. The
    /// page is then not to be read on.
    pub fn feed(
        &mut self,
        mut piece: &[u8],
        each: &mut impl FnMut(Line<'_>) -> Result<(), Fault>,
    ) -> Result<(), Failure> {
        if !self.open.is_empty() {
            let Some(end) = memchr::memchr(b'\n', piece) else { return self.leave_open(piece) };
            self.leave_open(&piece[..end])?;
            let open = std::mem::take(&mut self.open);
            let done = self.line(&open, each);
            self.open = open;
            self.open.clear();
            done?;
            piece = &piece[end + 1..];
        }
        while let Some(end) = memchr::memchr(b'\n', piece) {
            self.line(&piece[..end], each)?;
            piece = &piece[end + 1..];
        }
        self.leave_open(piece)
    }

    /// Ends the page, whose last line may lack its end; returns how many samples there were.
    ///
    /// # Errors
    /// As [`Reader::feed`]; and when the page broke off, or holds nothing and was not said to be an exposition.
    pub fn finish(&mut self, each: &mut impl FnMut(Line<'_>) -> Result<(), Fault>) -> Result<usize, Failure> {
        if !self.open.is_empty() {
            let open = std::mem::take(&mut self.open);
            self.line(&open, each)?;
            self.open = open;
            self.open.clear();
        }
        if self.format == Format::OpenMetrics && !self.ended {
            return Err(Failure::new("body", "the page breaks off: `# EOF` is missing at its end"));
        }
        if self.count == 0 && self.format == Format::Unsaid && !self.ended {
            return Err(Failure::new("body", "the page holds no sample, and is not said to be an exposition"));
        }
        Ok(self.count)
    }

    fn leave_open(&mut self, piece: &[u8]) -> Result<(), Failure> {
        let room = (MAX_LINE + 1).saturating_sub(self.open.len());
        self.open.extend_from_slice(&piece[..piece.len().min(room)]);
        if self.open.len() > MAX_LINE { Err(self.too_long(self.lines + 1, &self.open)) } else { Ok(()) }
    }

    fn line(&mut self, line: &[u8], each: &mut impl FnMut(Line<'_>) -> Result<(), Fault>) -> Result<(), Failure> {
        self.lines += 1;
        if line.len() > MAX_LINE {
            return Err(self.too_long(self.lines, line));
        }
        let text = line.trim_ascii();
        let done = match text.first() {
            None => Ok(()),
            Some(_) if self.ended && self.format == Format::OpenMetrics => {
                Err(Fault::body("something follows `# EOF`"))
            }
            Some(b'#') => {
                self.comment(text);
                Ok(())
            }
            Some(_) => {
                self.count += 1;
                each(Line { text, format: self.format, kind: self.kind })
            }
        };
        done.map_err(|fault| {
            Failure::new(fault.reason, format!("line {}: {}: {}", self.lines, fault.what, self.hidden.quote(text)))
        })
    }

    fn too_long(&self, number: usize, line: &[u8]) -> Failure {
        Failure::new("too-large", format!("line {number}: longer than 64 KiB: {}", self.hidden.quote(line)))
    }

    /// In the text format `# EOF` is a comment like any other, so only OpenMetrics ends with it.
    fn comment(&mut self, text: &[u8]) {
        if text == b"# EOF" {
            self.ended = true;
        } else if let Some(kind) = Kind::declared(text) {
            self.kind = kind;
        }
    }
}

/// Reads a whole page: calls `each` for every sample, and returns how many there were.
///
/// # Errors
/// As [`Reader::feed`] and [`Reader::finish`].
pub fn read(
    page: &[u8],
    format: Format,
    mut each: impl FnMut(Point<'_>) -> Result<(), Fault>,
) -> Result<usize, Failure> {
    let mut reader = Reader::new(format);
    let mut each = |line: Line<'_>| line.point().and_then(&mut each);
    reader.feed(page, &mut each)?;
    reader.finish(&mut each)
}
