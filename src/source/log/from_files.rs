//! Files as the origin of a log: waits for the system to say that something may have changed, and reads apart.
//!
//! Enters: wake-ups, time, what a reading gave. Leaves: batches of one target with their checkpoint. Reading may hang
//! where a file system does, so it has a thread of its own; while that hangs the target fails with `timeout` and its
//! position is kept. A wake-up means nothing but that a reading may find something.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::config::{Config, From};
use super::files::{self, Content, Follower, Polled, Wanted};
use super::keeping::{Keeping, record};
use super::kept::Record;
use super::read::{Event, Plan, Seen, StreamState, Tally};
use super::teller::{Saved, Stand, Teller};
use crate::base::{Batch, Exhibit, Failure, Span, Timestamp};
use crate::source::common::Outside;
use crate::sys::apart::{Apart, Late};
use crate::sys::clock::{Clock, Stopwatch};
use crate::sys::look::Pattern;
use crate::sys::wake::{Unwatched, Wake};

/// How many bytes one reading takes at most: what it found is told before it goes on.
const BUDGET: usize = 8 << 20;

/// How long a reading may take before its file system is said to hang.
const LIMIT: Span = Span::secs(10);

/// The shortest time from one reading to the next: a writer that writes each line by itself costs no more than this often.
const SHORTEST: Span = Span::millis(5);

/// The longest, while it goes on and on.
const LONGEST: Span = Span::millis(100);

/// How often files are looked at whose changes the system does not announce: on network file systems, or where no more
/// watches are to be had.
const BLIND: Span = Span::secs(1);

/// How far away the next reading may be where one is due: further away the clock was set back.
const FARTHEST: Span = Span::secs(75);

/// How often what fails is tried again.
const AGAIN: Span = Span::secs(5);

/// Files that are followed for one table.
#[derive(Debug)]
pub struct Files {
    /// Until reading begins.
    reader: Option<Reader>,
    apart: Apart<Option<Reader>>,
    teller: Teller,
    lines: Option<Keeping>,
    wake: Option<Wake>,
    /// Behind what the teller knows of.
    saved: Option<files::Saved<StreamState>>,
    /// When the next reading is due without a wake-up.
    due: Option<Timestamp>,
    /// When the last one ended, and how long to wait after it.
    read: Timestamp,
    gap: Span,
    /// Whether a file was ever there.
    seen: bool,
    written: String,
    /// What the reader counted when it was heard last: gaps, and lines to be kept.
    heard: (u64, u64),
}

/// What the checkpoint holds of files.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct At {
    files: files::Saved<StreamState>,
    /// Whether a file was ever there.
    seen: bool,
    /// What was written: files that only other globs mean were there before, and say nothing.
    globs: String,
}

/// What travels with the reading.
#[derive(Debug)]
struct Reader {
    follower: Follower<StreamState>,
    plan: Plan,
    tally: Tally,
    keeps: bool,
    has_begun: bool,
    /// Gaps, and lines to be kept, so far: of a reading that comes too late nothing else is heard.
    counted: (u64, u64),
}

/// What one reading gave.
#[derive(Debug)]
struct Report {
    polled: Polled,
    tally: Tally,
    exhibits: Vec<Exhibit>,
    saved: files::Saved<StreamState>,
    /// What tells of changes; none where nothing does.
    wake: Option<Wake>,
    /// Whether some of it changes without being told of.
    is_blind: bool,
    /// Whether something else is watched than before: what happened in between is found by another reading.
    is_new: bool,
    records: Vec<Record>,
    gaps: Vec<String>,
    counted: (u64, u64),
    seconds: f64,
}

impl Reader {
    fn read(&mut self, now: Timestamp, wake: Option<(Wake, bool)>) -> Report {
        let watch = Stopwatch::start();
        let (mut records, mut gaps) = (Vec::new(), Vec::new());
        let is_fresh = wake.as_ref().is_none_or(|wake| wake.1);
        let mut wake = wake.map(|wake| wake.0);
        let mut before = Vec::new();
        if !self.has_begun {
            self.has_begun = true;
            before = self.follower.begin(now).troubles;
        }
        let (plan, tally, keeps) = (&self.plan, &mut self.tally, self.keeps);
        let mut polled = self.follower.poll(now, BUDGET, &mut |state: &mut StreamState, piece: files::Piece<'_>| {
            let place = piece.place.to_string_lossy();
            let (text, cut) = match piece.content {
                Content::Lines(text) => (text, 0),
                Content::Cut(text) => (text, 1),
                Content::Gap(gap) => {
                    plan.end(state);
                    return gaps.push(format!("{place}: {gap}"));
                }
                Content::Ended => return plan.end(state),
            };
            let seen = Seen { arrived: now, given: None, place: &place, cut };
            if keeps {
                let name: Arc<str> = place.as_ref().into();
                let mut keep = |event: Event<'_>| records.push(record(&event, &name));
                plan.read_events(state, text, seen, tally, &mut keep);
            } else {
                plan.read(state, text, seen, tally);
            }
        });
        before.retain(|trouble| !polled.troubles.contains(trouble));
        polled.troubles.extend(before);
        let watches = self.follower.watches();
        let watching = wake.as_mut().map(|wake| wake.watch(&watches.folders, &watches.files));
        let is_deaf = |one: &Unwatched| one.why.needs_looks();
        let is_blind = watching.as_ref().is_none_or(|watching| watching.unwatched.iter().any(is_deaf));
        let is_new = is_fresh || watching.is_some_and(|watching| watching.is_changed);
        self.counted.0 += polled.n_gaps;
        self.counted.1 += records.len() as u64;
        Report {
            polled,
            exhibits: self.tally.take_exhibits(),
            tally: self.tally.clone(),
            saved: self.follower.save(),
            wake,
            is_blind,
            is_new,
            records,
            gaps,
            counted: self.counted,
            seconds: watch.seconds(),
        }
    }
}

impl Files {
    /// The files of a table; nothing is opened yet.
    pub fn new(config: Config, outside: &Outside) -> Files {
        let globs = match &config.from {
            From::Files(globs) => globs.clone(),
            _ => Vec::new(),
        };
        let written = config.from.written();
        let patterns = globs.iter().filter_map(|glob| Pattern::parse(glob).ok()).collect();
        let own = outside.house.state.iter().chain(&outside.house.files).cloned().collect();
        let wanted = Wanted { patterns, max_line: config.max_line, max_files: files::MAX_FILES, own };
        let teller = Teller::new(&config, &config.common.reference.name, None, Timestamp(0));
        let lines = Keeping::of(&config, outside);
        let reader = Reader {
            follower: Follower::new(wanted),
            plan: config.plan.clone(),
            tally: Tally::new(&config.plan),
            keeps: lines.is_some(),
            has_begun: false,
            counted: (0, 0),
        };
        Files {
            reader: Some(reader),
            apart: Apart::new(None),
            teller,
            lines,
            wake: None,
            saved: None,
            due: None,
            read: Timestamp(0),
            gap: SHORTEST,
            seen: false,
            written,
            heard: (0, 0),
        }
    }

    /// Goes on at the newest checkpoint: another one is of when the table meant other files.
    pub fn resume(&mut self, checkpoints: &BTreeMap<&str, &[u8]>) {
        let mut newest: Option<Saved<At>> = None;
        for (instance, bytes) in checkpoints {
            match serde_json::from_slice::<Saved<At>>(bytes) {
                Ok(saved) if saved.is_known() => {
                    newest = newest.filter(|newest| newest.t >= saved.t).or(Some(saved));
                }
                Ok(_) => tracing::error!(%instance, "A newer version wrote the positions in files; they are not used."),
                Err(error) => {
                    tracing::error!(%instance, %error, "The positions in files cannot be read and are not used.");
                }
            }
        }
        let (Some(saved), Some(reader)) = (newest, &mut self.reader) else { return };
        let at = self.teller.resume(saved);
        reader.tally = self.teller.tally().clone();
        match reader.follower.resume(at.files) {
            // What only other globs mean was there before, and says nothing.
            Ok(()) => (self.seen, reader.has_begun) = (at.seen && at.globs == self.written, at.globs == self.written),
            Err(why) => tracing::error!(log = %self.written, %why, "Reading begins at the end of what is there."),
        }
    }

    /// The next batch; waits until there is something to tell.
    pub async fn next(&mut self, clock: &Clock) -> Batch {
        if let Some(reader) = self.reader.take() {
            self.apart = Apart::new(Some(reader));
            self.teller.begin(clock.now());
            self.look(clock).await;
        }
        loop {
            let now = clock.now();
            let due = self.teller.due(now);
            if due.is_some_and(|due| due <= now) {
                return self.batch(now);
            }
            if self.wait(clock, due).await {
                self.look(clock).await;
            }
        }
    }
}

impl Files {
    /// Waits until a reading may find something, or until `told`, when something is due to be told. True: read.
    async fn wait(&mut self, clock: &Clock, told: Option<Timestamp>) -> bool {
        let now = clock.now();
        // The clock may have been set back since.
        let earliest = (self.read + self.gap).min(now + self.gap);
        self.due = self.due.map(|due| due.min(now + FARTHEST));
        let read_due = self.due.map(|due| due.max(earliest));
        let first = [told, read_due].into_iter().flatten().min();
        let wake = self.wake.as_mut();
        let woken = async {
            match wake {
                // What cannot tell any more is replaced with the next reading, which is soon.
                Some(wake) => wake.wait().await.is_ok(),
                None => std::future::pending().await,
            }
        };
        let timer = async {
            match first {
                Some(at) => clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = timer => return read_due.is_some_and(|due| due <= clock.now()),
            is_well = woken => {
                if !is_well {
                    self.wake = None;
                    self.due = Some(now + BLIND);
                    return false;
                }
            }
        }
        // Many small writes are one reading: what comes within the gap is waited for. What is due to be told goes first.
        if earliest > clock.now() {
            self.due = Some(earliest);
            return false;
        }
        true
    }

    /// Reads what there is, as much as one reading may take.
    async fn look(&mut self, clock: &Clock) {
        let now = clock.now();
        let fresh = || Wake::new().ok().map(|wake| (wake, true));
        let wake = self.wake.take().map(|wake| (wake, false)).or_else(fresh);
        let read = move |reader: &mut Option<Reader>| reader.as_mut().map(|reader| reader.read(now, wake));
        let read = self.apart.run("log", LIMIT, read).await;
        let ended = clock.now();
        let is_again = ended - self.read < LONGEST.times(2);
        self.gap = if is_again { Span((self.gap.0 * 2).clamp(SHORTEST.0, LONGEST.0)) } else { SHORTEST };
        self.read = ended;
        let report = match read {
            Ok(Some(report)) => report,
            Ok(None) => return,
            Err(late) => {
                self.teller.fail(late_failure(&self.written, &late));
                self.teller.repeat(ended);
                self.due = Some(ended + AGAIN);
                return;
            }
        };
        for gap in &report.gaps {
            tracing::warn!(log = %self.written, %gap, "Lines may be missing.");
        }
        self.seen |= report.polled.n_files > 0;
        self.judge(&report.polled, ended);
        let stand = Stand {
            lag: report.polled.n_unread,
            n_streams: report.polled.n_files as u64,
            gaps: report.counted.0 - self.heard.0,
            seconds: report.seconds,
        };
        self.teller.adopt(report.tally, report.exhibits, stand);
        self.saved = Some(report.saved);
        self.wake = report.wake;
        let unheard = report.counted.1 - self.heard.1 - report.records.len() as u64;
        self.heard = report.counted;
        self.due = if report.polled.is_more || report.is_new {
            self.gap = Span::ZERO;
            Some(ended)
        } else {
            let blind = report.is_blind.then_some(ended + BLIND);
            let failing = self.teller.fails().then_some(ended + AGAIN);
            [blind, failing, report.polled.due].into_iter().flatten().min()
        };
        if let Some(lines) = &mut self.lines {
            let lost = lines.keep(report.records, ended).await;
            self.teller.lose(lost + unheard);
        }
    }

    /// Whether it goes well, by how the last reading went.
    fn judge(&mut self, polled: &Polled, now: Timestamp) {
        if let Some(trouble) = polled.troubles.first() {
            let more = polled.troubles.len() - 1;
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            self.teller.fail(Failure::new(trouble.why.reason(), format!("{trouble}{more}")));
            self.teller.repeat(now);
        } else if !self.seen {
            let why = format!("no file is there that {} means, and none was since reading began", self.written);
            self.teller.fail(Failure::new("missing", why));
            self.teller.repeat(now);
        } else {
            self.teller.recover();
        }
    }

    /// No line is kept for search.
    pub fn keep_nothing(&mut self) {
        self.lines = None;
    }

    /// What was read and not told.
    pub fn last(&mut self, now: Timestamp) -> Vec<Batch> {
        if self.teller.has_news() { vec![self.batch(now)] } else { Vec::new() }
    }

    fn batch(&mut self, now: Timestamp) -> Batch {
        let mut batch = self.teller.batch(now);
        if let Some(files) = &self.saved {
            match self.teller.save(At { files: files.clone(), seen: self.seen, globs: self.written.clone() }, now) {
                Ok(bytes) => batch.checkpoint = Some(bytes),
                Err(error) => tracing::error!(log = %self.written, %error, "The position cannot be kept."),
            }
        }
        batch
    }
}

fn late_failure(written: &str, late: &Late) -> Failure {
    match late {
        Late::TimedOut(_) | Late::StillBusy => {
            Failure::new("timeout", format!("{written}: {late}; does its file system answer?"))
        }
        Late::NoThread(_) | Late::Lost => Failure::new("error", late.to_string()),
    }
}
