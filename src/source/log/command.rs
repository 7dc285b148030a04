//! The lines of a program that runs on: `command = ["/usr/bin/tail-of-something", "--follow"]`.
//!
//! Enters: what the program prints on its two outputs. Leaves: its whole lines, one stream an output. A line that is longer
//! than allowed is cut, and the rest of it thrown away and counted. Nothing is read faster than it is taken: a program that
//! prints faster waits.
//!
//! A program that ends is started again, after one second and up to a minute. There is no position: what it prints again
//! after that, or after a restart of this process, is counted again; what happened while it did not run is only known if
//! it says so itself. When the origin is dropped, the program ends with everything in its group.
//!
//! Reasons: `not-found`, `permission`, `start`, `busy` (it could not be begun); `exit` (it ended three times in a row soon
//! after its start).

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use super::origin::{Content, Piece};
use crate::base::{Failure, Secret, Span};
use crate::sys::ask::{NoAnswer, Question};
use crate::sys::clock::{Stopwatch, pause};
use crate::sys::feed::{Feed, Heard};
use crate::sys::process::{self, Exit};
use crate::sys::program::{self, Flaw};
use crate::sys::users;

/// The longest line that is kept where nothing else is said, in bytes.
pub const MAX_LINE: usize = 64 << 10;

/// How long the start of a program is waited for.
const START: Span = Span::secs(30);

/// How often in a row a program may end soon after its start before that is a failure.
const MOST_ENDS: u32 = 3;

/// How much of what the program said last on standard error is quoted, in bytes.
const QUOTED: usize = 200;

/// What to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// The program, as an absolute path or a name that is looked for in [`process::PATH`], and its arguments. Whether
    /// others could exchange it is asked with [`process::program_problem`] when the configuration is read.
    pub run: Vec<String>,
    /// The longest line that is kept, in bytes without its newline; at least 1.
    pub max_line: usize,
    /// How long is waited between its end and its next start.
    pub pace: Pace,
}

impl Config {
    /// With the usual bounds.
    pub fn new(run: Vec<String>) -> Config {
        Config { run, max_line: MAX_LINE, pace: Pace::default() }
    }
}

/// When a program that ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// After its first end; doubles with every further one.
    pub first: Span,
    /// At the latest.
    pub longest: Span,
    /// One that ran as long as this was well.
    pub soon: Span,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { first: Span::secs(1), longest: Span::secs(60), soon: Span::secs(10) }
    }
}

/// A program whose lines are read.
pub struct Command {
    /// What drives it: lives as long as this and goes on where a dropped [`Command::next`] left it.
    work: Pin<Box<dyn Future<Output = Infallible> + Send>>,
    pieces: mpsc::Receiver<Piece>,
    n_cut: Arc<AtomicU64>,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command").field("n_cut", &self.n_cut).finish_non_exhaustive()
    }
}

impl Command {
    /// A program that is started when the first piece is asked for.
    pub fn new(config: Config) -> Command {
        // One at a time: what is not taken stays in the pipe, and the program waits.
        let (sender, pieces) = mpsc::channel(1);
        let n_cut = Arc::new(AtomicU64::new(0));
        let place: Arc<str> = config.run.first().map(String::as_str).unwrap_or_default().into();
        let lines = |stream: &str| Lines::new(stream, config.max_line);
        let outputs = [lines("stdout"), lines("stderr")];
        let worker = Worker { config, place, sender, outputs, n_cut: Arc::clone(&n_cut) };
        Command { work: Box::pin(worker.run()), pieces, n_cut }
    }

    /// Waits for the next piece. Dropping the future loses nothing; the program is only read while this is waited for.
    pub async fn next(&mut self) -> Piece {
        tokio::select! {
            biased;
            Some(piece) = self.pieces.recv() => piece,
            never = &mut self.work => match never {},
        }
    }

    /// How many lines were cut since the start.
    pub fn n_cut(&self) -> u64 {
        self.n_cut.load(Ordering::Relaxed)
    }
}

struct Worker {
    config: Config,
    place: Arc<str>,
    sender: mpsc::Sender<Piece>,
    outputs: [Lines; 2],
    n_cut: Arc<AtomicU64>,
}

impl Worker {
    async fn run(mut self) -> Infallible {
        let mut feed = Feed::default();
        let mut trouble = Trouble::default();
        loop {
            let ended = match feed.start(&self.question(), not_started).await {
                Ok(()) => self.follow(&mut feed, &mut trouble).await,
                Err(why) => Some(why_not(why)),
            };
            if let Some(failure) = ended {
                trouble.is_said = true;
                self.give("stdout", Content::Failed(failure)).await;
            }
            let wait = Span(self.config.pace.first.0 << trouble.n_waits.min(16)).min(self.config.pace.longest);
            trouble.n_waits = trouble.n_waits.saturating_add(1);
            pause(wait).await;
        }
    }

    /// Reads a program until it ends; the failure that its end is, if it is one.
    async fn follow(&mut self, feed: &mut Feed, trouble: &mut Trouble) -> Option<Failure> {
        let watch = Stopwatch::start();
        for stream in ["stdout", "stderr"] {
            self.give(stream, Content::Began).await;
        }
        let mut is_well = false;
        if !trouble.is_said {
            is_well = true;
            self.give("stdout", Content::Well).await;
        }
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = loop {
            let left = self.config.pace.soon - watch.elapsed();
            let heard = tokio::select! {
                heard = feed.hear(&mut out, &mut err) => Some(heard),
                // One that failed before is believed when it has run for a while.
                () = pause(left.max(Span::ZERO)), if !is_well => None,
            };
            self.print(&mut out, &mut err).await;
            if !is_well && watch.elapsed() >= self.config.pace.soon {
                (is_well, trouble.is_said) = (true, false);
                self.give("stdout", Content::Well).await;
            }
            if let Some(Heard::Ended(exit)) = heard {
                break exit;
            }
        };
        let said = self.outputs[1].last.clone();
        for i in 0..2 {
            if let Some(line) = self.outputs[i].rest() {
                self.give_from(i, Content::Lines(line, None)).await;
            }
            self.give_from(i, Content::Ended).await;
        }
        if watch.elapsed() >= self.config.pace.soon {
            *trouble = Trouble { is_said: trouble.is_said, ..Trouble::default() };
            return None;
        }
        trouble.n_ends += 1;
        (trouble.n_ends >= MOST_ENDS).then(|| self.short_lived(trouble.n_ends, exit.as_ref(), &said))
    }

    async fn print(&mut self, out: &mut Vec<u8>, err: &mut Vec<u8>) {
        for (i, bytes) in [out, err].into_iter().enumerate() {
            let n_cut = self.outputs[i].take(bytes);
            bytes.clear();
            self.n_cut.fetch_add(n_cut, Ordering::Relaxed);
            if let Some(lines) = self.outputs[i].whole() {
                self.give_from(i, Content::Lines(lines, None)).await;
            }
        }
    }

    async fn give_from(&self, i: usize, content: Content) {
        let stream = Arc::clone(&self.outputs[i].stream);
        let piece = Piece { stream, place: Arc::clone(&self.place), service: None, content };
        // The receiver lives as long as this future.
        drop(self.sender.send(piece).await);
    }

    async fn give(&self, stream: &str, content: Content) {
        self.give_from(usize::from(stream == "stderr"), content).await;
    }

    fn short_lived(&self, n_ends: u32, exit: Option<&Exit>, said: &[u8]) -> Failure {
        let how = exit.map_or_else(|| "it cannot be killed".to_string(), ToString::to_string);
        let said = match said {
            [] => String::new(),
            said => format!("; it said: {}", String::from_utf8_lossy(said)),
        };
        let (program, soon) = (&self.place, self.config.pace.soon);
        Failure::new(
            "exit",
            format!("{program} ended {n_ends} times in a row within {soon} of its start, at last with {how}{said}"),
        )
    }

    fn question(&self) -> Question {
        let name = users::current();
        let home = users::account(&name).map_or_else(|| "/".to_string(), |account| account.home);
        let program = PathBuf::from(self.config.run.first().map(String::as_str).unwrap_or_default());
        let args = self.config.run.iter().skip(1).cloned().collect();
        let env = vec![("HOME".to_string(), Secret::from(home)), ("USER".to_string(), Secret::from(name))];
        Question { env, ..Question::new(program, args, START, 0) }
    }
}

/// How often it went wrong in a row.
#[derive(Clone, Copy, Debug, Default)]
struct Trouble {
    /// How often it ended soon after its start.
    n_ends: u32,
    /// How often it was waited for.
    n_waits: u32,
    /// Whether a failure was given that was not taken back.
    is_said: bool,
}

/// The lines of one output.
#[derive(Debug)]
struct Lines {
    stream: Arc<str>,
    max: usize,
    /// Whole lines, then the beginning of one.
    bytes: Vec<u8>,
    /// Where the last line begins that has no newline yet.
    begin: usize,
    /// Whether that line was cut, and its rest is thrown away.
    is_cut: bool,
    /// The beginning of the last whole line.
    last: Vec<u8>,
}

impl Lines {
    fn new(stream: &str, max: usize) -> Lines {
        let max = max.max(1);
        Lines { stream: stream.into(), max, bytes: Vec::new(), begin: 0, is_cut: false, last: Vec::new() }
    }

    /// Takes what was printed; how many lines were cut.
    fn take(&mut self, mut printed: &[u8]) -> u64 {
        let mut n_cut = 0;
        while !printed.is_empty() {
            let end = memchr::memchr(b'\n', printed);
            let part = &printed[..end.unwrap_or(printed.len())];
            let room = self.max.saturating_sub(self.bytes.len() - self.begin).min(part.len());
            self.bytes.extend_from_slice(&part[..room]);
            if room < part.len() && !std::mem::replace(&mut self.is_cut, true) {
                n_cut += 1;
            }
            let Some(end) = end else { break };
            self.end_line();
            printed = &printed[end + 1..];
        }
        n_cut
    }

    fn end_line(&mut self) {
        let line = &self.bytes[self.begin..];
        self.last.clear();
        self.last.extend_from_slice(&line[..line.len().min(QUOTED)]);
        self.bytes.push(b'\n');
        (self.begin, self.is_cut) = (self.bytes.len(), false);
    }

    /// The whole lines that were not given yet.
    fn whole(&mut self) -> Option<Vec<u8>> {
        if self.begin == 0 {
            return None;
        }
        let rest = self.bytes.split_off(self.begin);
        self.begin = 0;
        Some(std::mem::replace(&mut self.bytes, rest))
    }

    /// The last line of a program that ended without a newline.
    fn rest(&mut self) -> Option<Vec<u8>> {
        if self.bytes.len() > self.begin || self.is_cut {
            self.end_line();
        }
        self.last.clear();
        self.whole()
    }
}

/// Why a program did not begin. Looks at files.
fn not_started(question: &Question, error: std::io::Error) -> Failure {
    use std::io::ErrorKind;
    let written = question.program.to_string_lossy();
    let Some(path) = process::find(&written) else {
        return Failure::new("not-found", format!("there is no `{written}` in {}", process::PATH));
    };
    let flaw = program::flaw(&path);
    let reason = match (&flaw, error.kind()) {
        (Some(Flaw::NotThere), _) | (_, ErrorKind::NotFound) => "not-found",
        (_, ErrorKind::PermissionDenied) => "permission",
        _ => "start",
    };
    let path = path.display();
    let detail = match &flaw {
        Some(flaw) => {
            let help = flaw.help(&question.program).map(|help| format!("; {help}")).unwrap_or_default();
            format!("{path} {flaw}{help}")
        }
        None => format!("{path} cannot be started: {error}"),
    };
    Failure::new(reason, detail)
}

fn why_not(why: NoAnswer<Failure>) -> Failure {
    match why {
        NoAnswer::NotStarted(failure) => failure,
        NoAnswer::Busy => Failure::new(
            "busy",
            "the program of before could not be ended: it hangs in the kernel (state D in `ps`), most often on a mount \
             that does not answer",
        ),
        NoAnswer::Late => Failure::new(
            "start",
            format!("it could not be started within {START}: it may lie on a mount that does not answer"),
        ),
        NoAnswer::NoThread(why) => Failure::new("start", format!("no thread could be started for it: {why}")),
    }
}

#[cfg(test)]
mod tests;
