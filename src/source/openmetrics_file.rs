//! The reader of dumps: OpenMetrics files with a time on every sample, of any length.
//!
//! Enters: a stream of lines, as `promtool tsdb dump-openmetrics` and exporters of old data write them. Leaves: runs of
//! samples of one series into a [`Sink`]. Memory holds the series, never the samples. A line whose series is that of the
//! line before costs a comparison and two numbers. A line that is no OpenMetrics ends the reading with its number, and so
//! does an end without `# EOF`: half a dump would look like a healthy past. A sample that is no newer than the one before
//! of its series is left out and counted.

use std::collections::{HashMap, HashSet};
use std::io::{ErrorKind, Read};
use std::sync::Arc;

use super::exposition::{self, Fault, Format, MAX_LINE};
use crate::base::{Labels, Timestamp};

/// The most series of one dump.
pub const MAX_SERIES: usize = 2_000_000;

/// The most bytes of the texts of all series together.
pub const MAX_SERIES_BYTES: usize = 512 << 20;

/// How many samples a run holds at most.
const RUN: usize = 8192;

/// How much is read at once, in bytes.
const CHUNK: usize = 1 << 20;

/// How many refused lines are named.
const NAMED: usize = 5;

/// After how many lines progress is told.
const TELL_EVERY: u64 = 1 << 17;

/// Takes in what a dump holds.
pub trait Sink {
    /// Takes samples of one series: times in milliseconds, rising, later than those given for it before, as many as
    /// values. Runs of different series may alternate.
    ///
    /// # Errors
    /// Why it can take no more; the reading ends with it.
    fn add(&mut self, labels: &Labels, times: &[i64], values: &[f64]) -> Result<(), String>;
}

/// What was read so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Lines, comments included.
    pub lines: u64,
    /// Bytes.
    pub bytes: u64,
    /// Series.
    pub series: usize,
    /// Samples taken.
    pub samples: u64,
    /// The oldest time of all.
    pub first: Option<Timestamp>,
    /// The newest time of all.
    pub last: Option<Timestamp>,
    /// Samples left out: no newer than the one before of their series.
    pub refused: u64,
    /// The numbers of the first lines that were left out.
    pub refused_lines: Vec<u64>,
}

/// Why a dump was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The system could not read on.
    #[error("cannot read on after line {line}: {error}")]
    Read {
        /// The last whole line.
        line: u64,
        /// What the system said.
        error: std::io::Error,
    },
    /// A line that is no OpenMetrics, or past a bound.
    #[error("line {line}: {why}: {text}")]
    Line {
        /// Which one, counted from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
        /// Its beginning.
        text: String,
    },
    /// The end is missing.
    #[error("the dump breaks off after line {line}: `# EOF` is missing at its end")]
    Cut {
        /// The last line.
        line: u64,
    },
    /// The samples cannot be kept.
    #[error("{0}")]
    Sink(String),
}

/// Reads a dump to its end; `progress` is called now and then with what was read so far.
///
/// # Errors
/// As [`DumpError`] lists. What was given to the sink before is then to be thrown away.
pub fn read(input: impl Read, sink: &mut impl Sink, mut progress: impl FnMut(&Summary)) -> Result<Summary, DumpError> {
    let mut reader = Reader::new(sink);
    each_line(input, &mut reader, &mut progress)?;
    if !reader.ended {
        return Err(DumpError::Cut { line: reader.summary.lines });
    }
    reader.hand_over()?;
    Ok(reader.summary)
}

/// Cuts the stream into lines. What a chunk leaves over is moved to the front, before the next one.
fn each_line<S: Sink>(
    mut input: impl Read,
    reader: &mut Reader<'_, S>,
    progress: &mut impl FnMut(&Summary),
) -> Result<(), DumpError> {
    let mut buffer = vec![0u8; CHUNK + MAX_LINE + 1];
    let mut filled = 0;
    loop {
        let end = (filled + CHUNK).min(buffer.len());
        let n = match input.read(&mut buffer[filled..end]) {
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(DumpError::Read { line: reader.summary.lines, error }),
        };
        reader.summary.bytes += n as u64;
        filled += n;
        let mut at = 0;
        while let Some(length) = memchr::memchr(b'\n', &buffer[at..filled]) {
            reader.line(&buffer[at..at + length])?;
            at += length + 1;
            if reader.summary.lines.is_multiple_of(TELL_EVERY) {
                progress(&reader.summary);
            }
        }
        if n == 0 || filled - at > MAX_LINE {
            // The end, where the last line may lack its end, or a line that is too long, which says so.
            return if filled > at { reader.line(&buffer[at..filled]) } else { Ok(()) };
        }
        buffer.copy_within(at..filled, 0);
        filled -= at;
    }
}

/// A series that was met.
struct Known {
    labels: Labels,
    last: Option<i64>,
}

struct Reader<'s, S> {
    sink: &'s mut S,
    summary: Summary,
    ended: bool,
    /// By the text as it stands in the file; different texts may mean one series.
    by_text: HashMap<Box<[u8]>, usize>,
    by_labels: HashMap<Labels, usize>,
    series: Vec<Known>,
    texts: Texts,
    bytes: usize,
    /// The series of the line before, and its samples that the sink does not have yet.
    text: Vec<u8>,
    current: usize,
    times: Vec<i64>,
    values: Vec<f64>,
}

impl<'s, S: Sink> Reader<'s, S> {
    fn new(sink: &'s mut S) -> Reader<'s, S> {
        Reader {
            sink,
            summary: Summary::default(),
            ended: false,
            by_text: HashMap::new(),
            by_labels: HashMap::new(),
            series: Vec::new(),
            texts: Texts::default(),
            bytes: 0,
            text: Vec::new(),
            current: 0,
            times: Vec::with_capacity(RUN),
            values: Vec::with_capacity(RUN),
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), DumpError> {
        self.summary.lines += 1;
        let text = line.trim_ascii();
        let done = match text.first() {
            _ if line.len() > MAX_LINE => Err(Trouble::Line(Fault::large("longer than 64 KiB"))),
            None => Ok(()),
            Some(_) if self.ended => Err(Trouble::Line(Fault::body("something follows `# EOF`"))),
            Some(b'#') => {
                self.ended = text == b"# EOF";
                Ok(())
            }
            Some(_) => self.sample(text),
        };
        done.map_err(|trouble| match trouble {
            Trouble::Line(fault) => {
                let text = exposition::excerpt(text);
                DumpError::Line { line: self.summary.lines, why: fault.what.into(), text }
            }
            Trouble::Sink(why) => DumpError::Sink(why),
        })
    }

    fn sample(&mut self, line: &[u8]) -> Result<(), Trouble> {
        let rest = match exposition::after(line, &self.text) {
            Some(rest) => rest,
            None => self.turn_to(line)?,
        };
        let (value, at) = exposition::reading(rest, Format::OpenMetrics)?;
        let at = at.ok_or(Fault::body("a sample of a dump needs a time"))?;
        let known = &mut self.series[self.current];
        if known.last.is_some_and(|last| at.0 <= last) {
            self.summary.refused += 1;
            if self.summary.refused_lines.len() < NAMED {
                self.summary.refused_lines.push(self.summary.lines);
            }
            return Ok(());
        }
        known.last = Some(at.0);
        self.times.push(at.0);
        self.values.push(value);
        self.summary.samples += 1;
        if self.times.len() == RUN {
            self.hand_over()?;
        }
        Ok(())
    }

    /// Makes the series of this line the current one; returns what follows it.
    fn turn_to<'l>(&mut self, line: &'l [u8]) -> Result<&'l [u8], Trouble> {
        self.hand_over()?;
        let (series, rest) = line.split_at(exposition::series_end(line)?);
        let series = series.trim_ascii_end();
        self.current = match self.by_text.get(series) {
            Some(known) => *known,
            None => self.meet(series)?,
        };
        self.text.clear();
        self.text.extend_from_slice(series);
        Ok(rest)
    }

    /// A text of a series that was not there before.
    fn meet(&mut self, text: &[u8]) -> Result<usize, Trouble> {
        self.bytes += text.len();
        if self.by_text.len() >= MAX_SERIES || self.bytes > MAX_SERIES_BYTES {
            return Err(
                Fault { reason: "too-many", what: "more than 2,000,000 series, or 512 MiB of their texts" }.into()
            );
        }
        let decoded = exposition::decode(text)?;
        let name = (self.texts.shared(crate::base::label::NAME), self.texts.shared(&decoded.name));
        let pairs = decoded.labels.iter().map(|(n, v)| (self.texts.shared(n), self.texts.shared(v)));
        let mut all: Vec<(Arc<str>, Arc<str>)> = pairs.collect();
        all.push(name);
        let labels = Labels::new(all);
        let index = match self.by_labels.get(&labels) {
            Some(known) => *known,
            None => {
                self.series.push(Known { labels: labels.clone(), last: None });
                self.by_labels.insert(labels, self.series.len() - 1);
                self.summary.series = self.series.len();
                self.series.len() - 1
            }
        };
        self.by_text.insert(text.into(), index);
        Ok(index)
    }

    /// Gives the sink the samples that wait.
    fn hand_over(&mut self) -> Result<(), Trouble> {
        let (Some(first), Some(last)) = (self.times.first(), self.times.last()) else { return Ok(()) };
        let (first, last) = (Timestamp(*first), Timestamp(*last));
        self.summary.first = Some(self.summary.first.map_or(first, |at| at.min(first)));
        self.summary.last = Some(self.summary.last.map_or(last, |at| at.max(last)));
        self.sink.add(&self.series[self.current].labels, &self.times, &self.values).map_err(Trouble::Sink)?;
        self.times.clear();
        self.values.clear();
        Ok(())
    }
}

/// Texts that many series have in common, each held once.
#[derive(Default)]
struct Texts(HashSet<Arc<str>>);

impl Texts {
    fn shared(&mut self, text: &str) -> Arc<str> {
        if let Some(held) = self.0.get(text) {
            return held.clone();
        }
        let new: Arc<str> = text.into();
        self.0.insert(new.clone());
        new
    }
}

/// What is wrong with a line, or with where its sample goes.
enum Trouble {
    Line(Fault),
    Sink(String),
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Trouble {
        Trouble::Line(fault)
    }
}

impl From<Trouble> for DumpError {
    fn from(trouble: Trouble) -> DumpError {
        match trouble {
            Trouble::Sink(why) => DumpError::Sink(why),
            Trouble::Line(fault) => DumpError::Sink(fault.what.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps everything as text, one run a line.
    #[derive(Default)]
    struct Lines(Vec<String>);

    impl Sink for Lines {
        fn add(&mut self, labels: &Labels, times: &[i64], values: &[f64]) -> Result<(), String> {
            self.0.push(format!("{labels} {times:?} {values:?}"));
            Ok(())
        }
    }

    /// Gives a few bytes at a time, as a pipe may.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let n = buffer.len().min(self.0.len()).min(7);
            buffer[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn lines(text: &str) -> Result<(Vec<String>, Summary), String> {
        let mut sink = Lines::default();
        let slow = read(Slow(text.as_bytes()), &mut sink, |_| {});
        let mut again = Lines::default();
        let whole = read(text.as_bytes(), &mut again, |_| {});
        assert_eq!(sink.0, again.0, "the size of the reads does not matter");
        assert_eq!(slow.as_ref().ok(), whole.as_ref().ok());
        slow.map(|summary| (sink.0, summary)).map_err(|e| e.to_string())
    }

    #[test]
    fn a_dump_is_read_run_by_run() {
        let text = "# HELP a Some text.\n# TYPE a counter\n# UNIT a seconds\n\
            a_total{x=\"1\"} 1 1700000000\na_total{x=\"1\"} 2.5 1700000015.25 # {id=\"t\"} 1 2\r\n\
            a_created{x=\"1\"} 1.5e9 1700000000\nb 1 0.001\nb{y=\"}\"} 2 0.001\nb NaN 0.002\nb_c +Inf 0.002\n\
            {\"my.name\",\"l.x\"=\"a\\\"b\"} -1 -5\n# EOF\n";
        let (runs, summary) = lines(text).unwrap();
        let wanted = [
            "a_total{x=\"1\"} [1700000000000, 1700000015250] [1.0, 2.5]",
            "a_created{x=\"1\"} [1700000000000] [1500000000.0]",
            "b [1] [1.0]",
            "b{y=\"}\"} [1] [2.0]",
            "b [2] [NaN]",
            "b_c [2] [inf]",
            "my.name{l.x=\"a\\\"b\"} [-5000] [-1.0]",
        ];
        assert_eq!(runs, wanted);
        assert_eq!((summary.series, summary.samples, summary.refused), (6, 8, 0));
        assert_eq!((summary.first, summary.last), (Some(Timestamp(-5000)), Some(Timestamp(1_700_000_015_250))));
        assert_eq!((summary.lines, summary.bytes), (12, text.len() as u64));
    }

    #[test]
    fn one_series_under_two_texts_is_one_series() {
        let text = "a{x=\"1\",y=\"2\"} 1 1\na{y=\"2\", x=\"1\"} 2 2\na{x=\"1\",y=\"2\",z=\"\"} 3 2\n# EOF";
        let (runs, summary) = lines(text).unwrap();
        assert_eq!(runs, ["a{x=\"1\",y=\"2\"} [1000] [1.0]", "a{x=\"1\",y=\"2\"} [2000] [2.0]"]);
        assert_eq!((summary.series, summary.refused, summary.refused_lines), (1, 1, vec![3]));
    }

    #[test]
    fn what_is_no_newer_is_left_out_and_named() {
        let (runs, summary) = lines("a 1 10\na 2 10\na 3 9\na 4 11\n# EOF\n").unwrap();
        assert_eq!(runs, ["a [10000, 11000] [1.0, 4.0]"]);
        assert_eq!((summary.refused, summary.refused_lines), (2, vec![2, 3]));
    }

    #[test]
    fn long_runs_are_handed_over_in_parts() {
        let mut text: String = (0..20_000).map(|i| format!("a {i} {i}\n")).collect();
        text.push_str("# EOF\n");
        let (runs, summary) = lines(&text).unwrap();
        assert_eq!((runs.len(), summary.samples), (3, 20_000));
    }

    #[test]
    fn a_dump_that_is_none_ends_with_its_line() {
        for (text, why) in [
            ("", "the dump breaks off after line 0: `# EOF` is missing at its end"),
            ("a 1 1\n", "the dump breaks off after line 1: `# EOF` is missing at its end"),
            ("a 1 1\n# EOF\na 2 2\n", "line 3: something follows `# EOF`: `a 2 2`"),
            ("a 1\n# EOF\n", "line 1: a sample of a dump needs a time: `a 1`"),
            ("a 1 1\na x 2\n# EOF\n", "line 2: the value is no number: `a x 2`"),
            ("a 1 soon\n# EOF\n", "line 1: the time is no number: `a 1 soon`"),
            ("a{x=\"1} 1 1\n# EOF\n", "line 1: the labels do not end: `a{x=\"1} 1 1`"),
            ("a{x=\"\u{1}\"} 1 1 1 1\n", "line 1: more than a series, a value and a time: `a{x=\"\u{1}\"} 1 1 1 1`"),
        ] {
            assert_eq!(lines(text).map(|_| ()), Err(why.to_string()), "{text}");
        }
        let long = format!("a{{x=\"{}\"}} 1 1\n# EOF\n", "v".repeat(MAX_LINE));
        assert!(lines(&long).unwrap_err().starts_with("line 1: longer than 64 KiB"));
        let endless = "v".repeat(3 << 20);
        assert!(lines(&endless).unwrap_err().starts_with("line 1: longer than 64 KiB"));
    }
}
