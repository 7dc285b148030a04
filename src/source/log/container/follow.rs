//! Follows the log of one container from a position to the end of its run.
//!
//! One task for each container that runs. It asks how the log is to be read, reads, and when the log ends it asks again: a log ends
//! because the container did, and because the engine did. Of a container that ended the rest is read once more without following, since
//! an engine may leave off the end of a log that it follows. The task ends when there is nothing to wait for: its
//! owner starts another one when the container starts again, or the engine is back.
//!
//! What it gives goes through a channel with few places: while nobody takes it, nothing more is read.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{Notify, Semaphore, mpsc};

use super::lines::{Line, Lines};
use super::position::{Advance, MAX_LINES, Position, Skip, Verdict, mark};
use crate::base::{Failure, Span, Timestamp};
use crate::source::backoff::Backoff;
use crate::sys::clock::{Stopwatch, pause};
use crate::sys::engine::{Engine, Id, Inspected, Stream, Wanted};

/// How long a log may go on when the engine says that its container ended.
const LAST_WORDS: Span = Span::secs(2);

/// How long a log that is read to its end, and not followed, may pause: the engine has all of it.
const SILENCE: Span = Span::secs(20);

/// A log that was read for so long needs no pause before it is read again.
const SETTLED: Span = Span::secs(5);

/// Pieces that follow each other so soon belong to one burst.
const BURST: Span = Span::millis(5);

/// How long a burst is let gather before more of it is read. An engine sends a log line by line, and to wake up for each line
/// costs ten times what the line does.
const GATHER: Span = Span::millis(1);

/// A piece of so many bytes needs no gathering.
const ENOUGH: usize = 4 << 10;

/// What a follower tells its owner.
#[derive(Debug)]
pub(super) enum Told {
    /// It reads: with a terminal or without.
    Opened { has_terminal: bool, is_running: bool },
    /// Lines that were read at once, at most one piece a stream.
    Lines(Vec<Read>),
    /// Lines are gone that stood before those that come next.
    Gap(Stream),
    /// It cannot read, because of this; it tries again.
    Failed(Failure),
    /// It ended.
    Over(Over),
}

/// Lines of one stream.
#[derive(Debug)]
pub(super) struct Read {
    /// Each with its newline.
    pub(super) text: Vec<u8>,
    /// How many of them are cut.
    pub(super) n_cut: u64,
    /// When the last was written.
    pub(super) at: Timestamp,
    /// What handing them on means for the position.
    pub(super) advance: Advance,
}

/// Why a follower ended.
#[derive(Debug)]
pub(super) enum Over {
    /// The container ended then, and all of its log was read.
    Ended(String),
    /// There is no such container any more.
    Gone,
    /// The engine does not answer.
    Lost,
    /// The engine cannot read this log, and never will.
    Unreadable(Failure),
}

/// What a follower shares with all others.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) engine: Engine,
    pub(super) told: mpsc::Sender<(Id, Told)>,
    /// How many ask the engine at once.
    pub(super) asking: Arc<Semaphore>,
    /// How many bytes unfinished lines may hold.
    pub(super) room: Arc<Semaphore>,
    pub(super) max_line: usize,
}

/// A follower of one container.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) shared: Shared,
    pub(super) id: Id,
    pub(super) position: Position,
    /// Rings when the engine says that the container ended.
    pub(super) died: Arc<Notify>,
}

/// Why a reading ended.
enum Stop {
    /// The log ended, or the engine did.
    End,
    /// The owner is gone, or there is nothing more to read for good.
    Over(Option<Over>),
    /// What came cannot be read; it may be otherwise the next time.
    Odd(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        match failure.reason {
            "status" | "protocol" | "too-large" => Stop::Odd(failure),
            _ => Stop::Over(Some(Over::Lost)),
        }
    }
}

impl Follower {
    /// Follows until there is nothing to follow, or the owner is gone.
    pub(super) async fn run(mut self) {
        let over = self.follow().await;
        if let Some(over) = over {
            drop(self.tell(Told::Over(over)).await);
        }
    }

    async fn follow(&mut self) -> Option<Over> {
        let mut backoff = Backoff::eager();
        let mut failed = None;
        loop {
            let watch = Stopwatch::start();
            match self.read_run().await {
                Stop::End if watch.elapsed() >= SETTLED => backoff = Backoff::eager(),
                Stop::End => {}
                Stop::Over(over) => return over,
                Stop::Odd(failure) => {
                    if failed.replace(failure.reason) != Some(failure.reason) {
                        self.tell(Told::Failed(failure)).await.ok()?;
                    }
                }
            }
            pause(backoff.next()).await;
        }
    }

    /// Reads as long as the log goes on.
    async fn read_run(&mut self) -> Stop {
        let inspected = {
            let Ok(_one_of_few) = self.shared.asking.acquire().await else { return Stop::Over(None) };
            match self.shared.engine.inspect(&self.id).await {
                Ok(Some(inspected)) => inspected,
                Ok(None) => return Stop::Over(Some(Over::Gone)),
                Err(failure) => return failure.into(),
            }
        };
        let has_ended = !inspected.is_running;
        if has_ended && self.position.finished.as_ref() == Some(&inspected.finished) {
            return Stop::Over(Some(Over::Ended(inspected.finished)));
        }
        match self.read(&inspected).await {
            Ok(()) if has_ended => Stop::Over(Some(Over::Ended(inspected.finished))),
            Err(stop) => stop,
            Ok(()) => Stop::End,
        }
    }

    async fn read(&mut self, inspected: &Inspected) -> Result<(), Stop> {
        let follows = inspected.is_running;
        let since = self.position.since();
        let asked = self.shared.engine.log(&self.id, Wanted { since, follows }).await;
        let mut log = match asked {
            Ok(Some(log)) => log,
            Ok(None) => return Err(Stop::Over(Some(Over::Gone))),
            Err(failure) => return Err(unreadable(failure, inspected)),
        };
        self.tell(Told::Opened { has_terminal: inspected.has_terminal, is_running: follows }).await?;
        let mut lines = Lines::new(inspected.has_terminal, self.shared.max_line, &self.shared.room);
        let mut harvest = Harvest::new(&self.position, since);
        let died = self.died.clone();
        let mut is_late = std::pin::pin!(async move {
            died.notified().await;
            pause(LAST_WORDS).await;
        });
        let mut since_last = None;
        loop {
            let piece = tokio::select! {
                piece = log.piece() => piece?,
                () = &mut is_late, if follows => return Err(Stop::End),
                () = pause(SILENCE), if !follows => {
                    let detail = format!("the rest of the log of {} did not come within {SILENCE}", self.id.short());
                    return Err(Stop::Odd(Failure::new("timeout", detail)));
                }
            };
            let Some(piece) = piece else { break };
            let is_burst = since_last.replace(Stopwatch::start()).is_some_and(|last: Stopwatch| last.elapsed() < BURST);
            let fed = lines.feed(&piece, &mut |line| harvest.take(line));
            self.hand_on(&mut harvest, lines.reached()).await?;
            fed.map_err(|odd| Stop::Odd(Failure::new("protocol", format!("the log of {}: {odd}", self.id.short()))))?;
            if is_burst && piece.len() < ENOUGH {
                pause(GATHER).await;
            }
        }
        if !follows {
            // The end of an answer is also how an engine dies; one that still answers did not.
            match self.shared.engine.inspect(&self.id).await? {
                Some(now) if now.finished == inspected.finished => {}
                // It ran again meanwhile.
                Some(_) => return Err(Stop::End),
                None => return Err(Stop::Over(Some(Over::Gone))),
            }
            lines.finish(&mut |line| harvest.take(line));
            self.hand_on(&mut harvest, lines.reached()).await?;
        }
        Ok(())
    }

    async fn hand_on(&mut self, harvest: &mut Harvest, reached: Option<i64>) -> Result<(), Stop> {
        for stream in std::mem::take(&mut harvest.gaps) {
            self.tell(Told::Gap(stream)).await?;
        }
        let reads = harvest.reap(reached);
        if reads.is_empty() {
            return Ok(());
        }
        for read in &reads {
            self.position.advance(&read.advance);
        }
        self.tell(Told::Lines(reads)).await
    }

    async fn tell(&self, told: Told) -> Result<(), Stop> {
        self.shared.told.send((self.id.clone(), told)).await.map_err(|_| Stop::Over(None))
    }
}

/// Whether an engine that refuses will ever do otherwise: it will not where the driver of the log keeps nothing to read.
fn unreadable(failure: Failure, inspected: &Inspected) -> Stop {
    let is_driver = failure.reason == "status" && failure.detail.contains("does not support reading");
    if !is_driver && inspected.driver != "none" {
        return failure.into();
    }
    let driver = &inspected.driver;
    let what = format!("its log goes to the driver `{driver}`, from which the engine cannot read");
    let remedy = "use json-file, local or journald, or read where that driver writes to";
    Stop::Over(Some(Over::Unreadable(Failure::new("driver", format!("{what}: {remedy}")))))
}

/// Lines that were read and not yet handed on.
struct Harvest {
    skips: [Skip; 2],
    gaps: Vec<Stream>,
    baskets: [Basket; 2],
}

#[derive(Default)]
struct Basket {
    text: Vec<u8>,
    n_cut: u64,
    at: i64,
    newest: i64,
    last: VecDeque<super::position::Mark>,
}

impl Harvest {
    fn new(position: &Position, since: i64) -> Harvest {
        let skips = Stream::ALL.map(|stream| position.skip(stream, since));
        Harvest { skips, gaps: Vec::new(), baskets: Default::default() }
    }

    fn take(&mut self, line: Line<'_>) {
        let mark = mark(line.at, line.text);
        let skip = &mut self.skips[line.stream as usize];
        match skip.judge(mark) {
            Verdict::Known => return,
            Verdict::New => {}
            Verdict::NewBehindGap => self.gaps.push(line.stream),
        }
        let basket = &mut self.baskets[line.stream as usize];
        basket.text.extend_from_slice(line.text);
        basket.text.push(b'\n');
        basket.n_cut += u64::from(line.is_cut);
        basket.at = line.at;
        basket.newest = basket.newest.max(line.at);
        if basket.last.len() == MAX_LINES {
            basket.last.pop_front();
        }
        basket.last.push_back(mark);
    }

    /// What there is; the last of it says how far all of it reaches.
    fn reap(&mut self, reached: Option<i64>) -> Vec<Read> {
        let mut reads = Vec::new();
        for stream in Stream::ALL {
            let basket = std::mem::take(&mut self.baskets[stream as usize]);
            if basket.text.is_empty() {
                continue;
            }
            let advance = Advance { stream, newest: basket.newest, last: basket.last, reached: None };
            let at = Timestamp(basket.at.div_euclid(1_000_000));
            reads.push(Read { text: basket.text, n_cut: basket.n_cut, at, advance });
        }
        if let Some(last) = reads.last_mut() {
            last.advance.reached = reached;
        }
        reads
    }
}
