//! `backstop import`: old samples into the state folder, from an OpenMetrics file with times.
//!
//! Works beside a running agent: only files are written. All or nothing: a file is read twice, first to see that every line is
//! OpenMetrics and that it ends, then to keep it. Of a pipe, which cannot be read twice, parts may stay; it is said.
//!
//! Exit: 0 taken in, 2 the dump is none, 3 it could not be kept.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::out::{Out, plural};
use super::{Context, Exit, Failure, place};
use crate::base::{Labels, Span, Timestamp, chain};
use crate::source::openmetrics_file::{self, DumpError, Sink, Summary};
use crate::store::archive::Importer;
use crate::sys::clock::Stopwatch;
use crate::sys::files::{self, FileError};
use crate::sys::stream;

/// How often progress is said.
const SAY_EVERY: Span = Span::secs(2);

/// Takes in old samples from an OpenMetrics file.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "The file has a time on every sample and ends with `# EOF`, as\n  \
                        promtool tsdb dump-openmetrics /var/lib/prometheus/metrics2 >dump.om\n\
                        writes it. Lines of one series in the order of time; labels are kept as they are.\n\
                        May be called beside a running agent.\n\n\
                        Exit codes: 0 taken in, 2 the file is no such dump, 3 could not be kept.")]
pub struct Args {
    /// The file; `-` is standard input.
    file: PathBuf,
}

/// Reads the file, keeps its samples, and says what it held.
pub async fn run(context: &mut Context, args: &Args) -> Result<Exit, Failure> {
    let place = context.place();
    let watch = Stopwatch::start();
    // What can be read twice is checked as a whole before anything of it is kept.
    let is_checked = args.file.is_file();
    if is_checked {
        take(open(&args.file)?, &mut Nowhere, &watch, "checked").map_err(|error| refused(&args.file, &error, true))?;
    }
    // Opened before anything is made: a file that is not there is said to be that.
    let input: Box<dyn Read> =
        if args.file.as_os_str() == "-" { Box::new(std::io::stdin().lock()) } else { Box::new(open(&args.file)?) };
    let mut keeper = Keeper::new(&place.state, context.clock.now())?;
    let summary = take(input, &mut keeper, &watch, "taken in").map_err(|error| refused(&args.file, &error, false))?;
    keeper.0.finish().map_err(|e| Failure::unknown(format!("the samples cannot be kept: {}", chain(&e))))?;
    if context.json() {
        context.out.json(&as_json(&summary));
    } else {
        let zone = context.when(context.clock.now()).zone;
        context.out.text(&render(&summary, watch.seconds(), &zone));
        let keep = place::configuration(&context.globals).map(|config| config.store.keep).ok();
        notes(&summary, keep, context.clock.now()).iter().for_each(|note| Out::error(note));
    }
    Ok(Exit::Good)
}

/// What becomes of samples that somebody may look for in vain.
fn notes(summary: &Summary, keep: Option<Span>, now: Timestamp) -> Vec<String> {
    let mut notes = Vec::new();
    if let (Some(first), Some(keep)) = (summary.first, keep)
        && first < now - keep
    {
        notes.push(format!(
            "note: files with nothing newer than [store] keep = \"{keep}\" are removed by a running agent"
        ));
    }
    if summary.last.is_some_and(|last| last > now - Span::hours(1)) {
        notes.push(
            "note: an agent that runs now answers for its last hour out of memory; it sees these after its next start"
                .into(),
        );
    }
    notes
}

pub(super) fn open(file: &Path) -> Result<impl Read, Failure> {
    let help = "name a file of samples, in OpenMetrics or Prometheus's text format, that this user may read";
    stream::open(file).map_err(|e| Failure::usage(chain(&e), Some(help.into())))
}

pub(super) fn take(
    input: impl Read,
    sink: &mut impl Sink,
    watch: &Stopwatch,
    done: &str,
) -> Result<Summary, DumpError> {
    let mut next = watch.elapsed() + SAY_EVERY;
    openmetrics_file::read(input, sink, |so_far| {
        if watch.elapsed() >= next {
            next += SAY_EVERY;
            let mebibytes = so_far.bytes >> 20;
            Out::error(&format!("{mebibytes} MiB, {} series, {} samples {done}", so_far.series, so_far.samples));
        }
    })
}

/// A dump that was not taken, or not to its end.
pub(super) fn refused(file: &Path, error: &DumpError, is_check: bool) -> Failure {
    let is_dump = matches!(error, DumpError::Read { .. } | DumpError::Sink(_));
    let exit = if is_dump { Exit::Unknown } else { Exit::Usage };
    let text = plain(&format!("{}: {error}", file.display()));
    let help = if is_check {
        "nothing of it was taken in"
    } else {
        "part of what stands before may have been taken in; import the whole dump again, and every sample counts once"
    };
    Failure { text, help: Some(help.into()), exit }
}

fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn render(summary: &Summary, seconds: f64, zone: &jiff::tz::TimeZone) -> String {
    let mut text = format!("{} series, {}", summary.series, plural(summary.samples as usize, "sample"));
    if let (Some(first), Some(last)) = (summary.first, summary.last) {
        text += &format!(", {} to {}", first.date_clock(zone), last.date_clock(zone));
    }
    text += &format!(", in {seconds:.1} s\n");
    if summary.refused > 0 {
        let lines: Vec<String> = summary.refused_lines.iter().map(u64::to_string).collect();
        let more = if summary.refused > lines.len() as u64 { ", …" } else { "" };
        let count = plural(summary.refused as usize, "sample");
        text +=
            &format!("left out: {count} no newer than the one before of the series: line {}{more}\n", lines.join(", "));
    }
    text
}

fn as_json(summary: &Summary) -> serde_json::Value {
    serde_json::json!({
        "series": summary.series,
        "samples": summary.samples,
        "first": summary.first.map(|at| at.rfc3339()),
        "last": summary.last.map(|at| at.rfc3339()),
        "refused": summary.refused,
        "refused_lines": summary.refused_lines,
    })
}

/// Where the samples of an import go.
pub(super) struct Keeper(pub(super) Importer);

impl Keeper {
    pub(super) fn new(state: &Path, now: Timestamp) -> Result<Keeper, Failure> {
        let failed = |e: FileError| Failure::unknown(format!("the samples cannot be kept: {}", chain(&e)));
        files::ensure_path(state, 0o750).map_err(failed)?;
        Importer::new(&place::samples(state), now).map(Keeper).map_err(failed)
    }
}

impl Sink for Keeper {
    fn add(&mut self, labels: &Labels, times: &[i64], values: &[f64]) -> Result<(), String> {
        for (time, value) in times.iter().zip(values) {
            let added = self.0.add(labels, Timestamp(*time), *value);
            added.map_err(|e| format!("the samples cannot be kept: {}", chain(&e)))?;
        }
        Ok(())
    }
}

/// Keeps nothing: only whether the dump is one.
struct Nowhere;

impl Sink for Nowhere {
    fn add(&mut self, _: &Labels, _: &[i64], _: &[f64]) -> Result<(), String> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::query::Memory;

    #[test]
    fn samples_that_will_not_be_seen_are_noted() {
        let now = Timestamp(100 * 86_400_000);
        let span = |from: i64, to: i64| Summary {
            first: Some(now - Span::hours(from)),
            last: Some(now - Span::hours(to)),
            ..Summary::default()
        };
        let keep = Some(Span::hours(48));
        assert_eq!(notes(&span(40, 2), keep, now), [""; 0]);
        assert!(notes(&span(50, 2), keep, now)[0].contains("keep = \"2d\""));
        assert!(notes(&span(1, 0), None, now)[0].contains("after its next start"));
    }

    #[test]
    fn what_was_taken_and_what_was_left_out_is_said() {
        let text = "a 1 1700000000\na 2 1700000000\nb 1 1700000060\n# EOF\n";
        let summary = take(text.as_bytes(), &mut Memory::default(), &Stopwatch::start(), "").unwrap();
        let said = render(&summary, 1.25, &jiff::tz::TimeZone::UTC);
        let wanted = "2 series, 2 samples, 2023-11-14 22:13:20 to 2023-11-14 22:14:20, in 1.2 s\n\
                      left out: 1 sample no newer than the one before of the series: line 2\n";
        assert_eq!(said, wanted);
        assert_eq!(as_json(&summary)["last"], "2023-11-14T22:14:20.000Z");
    }

    #[test]
    fn a_dump_that_is_none_is_a_matter_of_use() {
        let error = take("a 1 1\n".as_bytes(), &mut Memory::default(), &Stopwatch::start(), "").unwrap_err();
        let failure = refused(Path::new("dump"), &error, true);
        assert_eq!(failure.text, "dump: the dump breaks off after line 1: `# EOF` is missing at its end");
        assert_eq!(failure.exit, Exit::Usage);
    }
}
