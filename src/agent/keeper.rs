//! Keeps samples on disk, beside the loop, and brings old ones back.
//!
//! Enters: what the store took, clock steps, new limits. Leaves: records that survive `kill -9` as soon as they are
//! written and a power cut a second later; old samples on demand. The loop never waits for it: while the disk cannot
//! keep up, samples are not kept, counted and said. They are the first to be given up, and the journal the last.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::base::{SourceRef, Span, Timestamp, chain};
use crate::engine::{Engine, Input, Kept, Reach, Writer};
use crate::store::archive::{self, Archive, Checkpoints, Entry, Options, Origin, ReadLimits, Recent};
use crate::store::{Store, Stretch};
use crate::sys::clock::Clock;
use crate::sys::tasks;

/// How many records may wait for the disk.
const WAITING: usize = 4096;

/// How many samples may wait for the disk: about 20 MB.
const WAITING_SAMPLES: usize = 500_000;

/// How often an archive to which nothing comes is looked after: sealed, thinned out.
const LOOK_AFTER: Span = Span::mins(1);

/// How many samples of a rule's past are handed to the loop at once: coding them must not hold it up.
const PER_STEP: usize = 200_000;

/// The samples' owner on disk.
#[derive(Debug)]
pub struct Keeper {
    to: Option<SyncSender<Message>>,
    thread: Option<JoinHandle<()>>,
    status: Arc<Mutex<Status>>,
    waiting: Arc<AtomicUsize>,
    /// A clock step that found no room among what waits: it goes before all else, or disk and memory would differ by it.
    owed: Mutex<Span>,
    folder: PathBuf,
}

/// How it goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Records that came while too many waited for the disk.
    pub dropped: u64,
    /// What the archive counts.
    pub counters: archive::Counters,
    /// Why samples are not kept now, if so.
    pub trouble: Option<String>,
}

enum Message {
    Keep(Box<Kept>),
    ClockStepped(Span),
    Options(Options),
    /// Only these sources exist from now on.
    Sources(BTreeSet<SourceRef>),
}

impl Keeper {
    /// Opens the archive in `folder`, puts what it holds of the last hours into `engine`, and says where each source goes on.
    /// Damage is said in the log, and stops nothing.
    ///
    /// # Errors
    /// When the folder cannot be used, or the thread cannot be started.
    pub fn open(
        folder: &Path,
        options: Options,
        clock: Arc<Clock>,
        engine: &mut Engine,
    ) -> Result<(Keeper, Checkpoints), String> {
        let now = clock.now();
        let (archive, recovered) = Archive::open(folder, options, now).map_err(|e| chain(&e))?;
        if let Some(torn) = &recovered.torn {
            tracing::warn!(file = %torn.file, bytes = torn.bytes, "The last record was torn by a crash and is left out.");
        }
        let since = now - engine.config().limits.hot;
        let limits = &engine.config().limits;
        let most = ReadLimits { max_series: limits.max_series * 2, max_samples: (limits.max_bytes / 8) as u64 };
        match recovered.recent(since, now, most) {
            Ok(recent) => {
                for trouble in recovered.trouble.iter().chain(&recent.trouble) {
                    tracing::error!(%trouble, "Some samples on disk cannot be read; the others are.");
                }
                engine.restore(|store| restore(store, recent, now));
            }
            Err(error) => {
                tracing::error!(error = %chain(&error), "The samples of the last hour are not read back.");
                engine.restore(|store| store.set_held_since(now));
            }
        }
        let (to, from) = sync_channel(WAITING);
        let status = Arc::new(Mutex::new(Status::default()));
        let shared = status.clone();
        let waiting = Arc::new(AtomicUsize::new(0));
        let left = waiting.clone();
        let thread = tasks::thread("samples", move || {
            Worker { archive, clock, status: shared, waiting: left, sealing: None, looked: now }.run(&from)
        })
        .map_err(|e| format!("cannot start the thread that keeps samples: {e}"))?;
        let owed = Mutex::new(Span::ZERO);
        let keeper = Keeper { to: Some(to), thread: Some(thread), status, waiting, owed, folder: folder.to_owned() };
        Ok((keeper, recovered.checkpoints))
    }

    /// Has samples kept.
    pub fn keep(&self, kept: Box<Kept>) {
        let n = kept.samples.len();
        let fits = self.waiting.load(Ordering::Relaxed) + n <= WAITING_SAMPLES;
        if !fits || !self.pay() {
            return self.note_dropped();
        }
        self.waiting.fetch_add(n, Ordering::Relaxed);
        if !self.send(Message::Keep(kept)) {
            self.waiting.fetch_sub(n, Ordering::Relaxed);
            self.note_dropped();
        }
    }

    /// The wall clock was set: what is kept moves along.
    pub fn clock_stepped(&self, by: Span) {
        *self.owed.lock().unwrap_or_else(PoisonError::into_inner) += by;
        self.pay();
    }

    /// Sends a clock step that is owed. False when it still is.
    fn pay(&self) -> bool {
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        if *owed != Span::ZERO && self.send(Message::ClockStepped(*owed)) {
            *owed = Span::ZERO;
        }
        *owed == Span::ZERO
    }

    /// New limits.
    pub fn set_options(&self, options: Options) {
        if !self.send(Message::Options(options)) {
            tracing::warn!("The new limits of samples on disk hold from the next reload on: the disk is too slow now.");
        }
    }

    /// Which sources there are: where the others would go on is forgotten.
    pub fn set_sources(&self, sources: BTreeSet<SourceRef>) {
        if !self.send(Message::Sources(sources)) {
            tracing::debug!(
                "Where removed sources would go on is forgotten at the next reload: the disk is too slow now."
            );
        }
    }

    /// How it goes.
    pub fn status(&self) -> Status {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where the samples are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes all durable that it was given.
    pub fn close(mut self) {
        self.to = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("The thread that keeps samples panicked; this is a bug in backstop.");
        }
    }

    /// False when too much waits.
    fn send(&self, message: Message) -> bool {
        self.to.as_ref().is_some_and(|to| to.try_send(message).is_ok())
    }

    fn note_dropped(&self) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.dropped += 1;
        if status.trouble.is_none() {
            status.trouble = Some("the disk is too slow".into());
            tracing::error!("The disk cannot keep up: samples are not kept until it can. Judging goes on.");
        }
    }
}

/// Reads a rule's past and hands it to the loop in parts. Runs on a thread that may wait.
pub fn load(folder: &Path, ticket: u64, wanted: &[Reach], most: u64, send: impl Fn(Input)) {
    let mut left = most;
    for reach in wanted {
        let limits = ReadLimits { max_samples: left, ..ReadLimits::default() };
        match archive::read(folder, std::slice::from_ref(&reach.selector), reach.from, reach.to, limits) {
            Ok(read) => {
                for trouble in &read.trouble {
                    tracing::error!(%trouble, "Some samples on disk cannot be read; the others are.");
                }
                left -= read.stretches.iter().map(|stretch| stretch.times().len() as u64).sum::<u64>().min(left);
                for part in parts(read.stretches) {
                    send(Input::Loaded { ticket, stretches: part, end: None });
                }
            }
            Err(error) => {
                let why = format!("{}: {}", reach.selector, chain(&error));
                tracing::error!(%why, "The past that a rule asks for is not read back.");
                return send(Input::Loaded { ticket, stretches: Vec::new(), end: Some(Err(why)) });
            }
        }
    }
    send(Input::Loaded { ticket, stretches: Vec::new(), end: Some(Ok(())) });
}

fn parts(stretches: Vec<Stretch>) -> Vec<Vec<Stretch>> {
    let (mut parts, mut part, mut n) = (Vec::new(), Vec::new(), 0);
    for stretch in stretches {
        n += stretch.times().len();
        part.push(stretch);
        if n >= PER_STEP {
            parts.push(std::mem::take(&mut part));
            n = 0;
        }
    }
    parts.push(part);
    parts
}

fn restore(store: &mut Store, recent: Recent, now: Timestamp) {
    let seen = recent.targets.iter();
    let targets: Vec<_> =
        seen.map(|t| store.restore_target(&t.source, &t.instance, t.last.min(now), t.interval)).collect();
    let mut series = recent.series;
    // First those whose times most others share.
    let mut shared: HashMap<*const i64, usize> = HashMap::new();
    for remembered in &series {
        *shared.entry(remembered.stretch.times().as_ptr()).or_default() += 1;
    }
    let place = |times: &[i64]| (shared.get(&times.as_ptr()).copied().unwrap_or_default(), times.len());
    series.sort_by_key(|remembered| std::cmp::Reverse(place(remembered.stretch.times())));
    for remembered in series {
        match remembered.owner {
            Some(archive::Owner::Target(i)) if i < targets.len() => store.restore(targets[i], &remembered.stretch),
            Some(archive::Owner::Family(i)) if i < recent.families.len() => {
                store.restore_own(&recent.families[i], &remembered.stretch);
            }
            _ => store.insert(&remembered.stretch),
        }
    }
}

struct Worker {
    archive: Archive,
    clock: Arc<Clock>,
    status: Arc<Mutex<Status>>,
    waiting: Arc<AtomicUsize>,
    sealing: Option<JoinHandle<()>>,
    /// When it was last looked after.
    looked: Timestamp,
}

impl Worker {
    fn run(mut self, from: &Receiver<Message>) {
        loop {
            let now = self.clock.now();
            let look = self.looked + LOOK_AFTER;
            let due = self.archive.sync_due().map_or(look, |due| due.min(look));
            match from.recv_timeout((due - now).max(Span::ZERO).to_std()) {
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = self.clock.now();
            if self.archive.sync_due().is_some_and(|due| due <= now) {
                self.sync();
            }
            if now - self.looked >= LOOK_AFTER {
                self.looked = now;
                self.look_after();
            }
        }
        self.sync();
        if let Some(sealing) = self.sealing.take() {
            join(sealing);
        }
    }

    fn take(&mut self, message: Message) {
        let now = self.clock.now();
        if let Message::Keep(kept) = &message {
            self.waiting.fetch_sub(kept.samples.len(), Ordering::Relaxed);
        }
        let result = match &message {
            Message::Keep(kept) => self.archive.append(&entry(kept), now).map_err(|e| chain(&e)),
            Message::ClockStepped(by) => {
                self.looked += *by;
                self.archive.clock_stepped(*by, now).map_err(|e| chain(&e))
            }
            Message::Options(options) => {
                self.archive.set_options(*options);
                return;
            }
            Message::Sources(sources) => {
                self.archive.keep_checkpoints(|source, _| sources.contains(source));
                return;
            }
        };
        self.note(result);
    }

    fn sync(&mut self) {
        let result = self.archive.sync().map_err(|e| chain(&e));
        self.note(result);
    }

    /// Says it when trouble begins and when it ends, and not in between.
    fn note(&self, result: Result<(), String>) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.counters = self.archive.counters();
        match (result, status.trouble.take()) {
            (Ok(()), None) => {}
            (Ok(()), Some(_)) => tracing::info!("Samples are kept on disk again."),
            (Err(why), before) => {
                if before.is_none() {
                    tracing::error!(%why, "Samples are not kept on disk until this is mended. Judging goes on.");
                }
                status.trouble = Some(why);
            }
        }
    }

    /// Closes a log that is due, seals one that waits, removes what is too old or too much.
    fn look_after(&mut self) {
        let now = self.clock.now();
        if self.sealing.as_ref().is_some_and(|sealing| !sealing.is_finished()) {
            return;
        }
        if let Some(sealing) = self.sealing.take() {
            join(sealing);
        }
        match self.archive.retain(now) {
            Ok(removed) if removed.files > 0 => tracing::debug!(files = removed.files, "Old samples were removed."),
            Ok(_) => {}
            Err(error) => tracing::error!(error = %chain(&error), "Old samples cannot be removed."),
        }
        let next = self.archive.close_if_due(now).and_then(|()| self.archive.next_sealing(now));
        match next {
            Ok(Some(sealing)) => {
                let work = move || match sealing.run() {
                    Ok(sealed) => sealed.trouble.iter().for_each(|trouble| {
                        tracing::error!(%trouble, "Some samples on disk cannot be read; the others are.");
                    }),
                    Err(error) => {
                        tracing::error!(error = %chain(&error), "Samples stay as they are on disk, larger than need be.");
                    }
                };
                match tasks::thread("sealing", work) {
                    Ok(thread) => self.sealing = Some(thread),
                    Err(error) => tracing::error!(%error, "No thread can be started to seal samples."),
                }
            }
            Ok(None) => {}
            Err(error) => tracing::error!(error = %chain(&error), "The samples' folder cannot be looked after."),
        }
    }
}

fn join(thread: JoinHandle<()>) {
    if thread.join().is_err() {
        tracing::error!("Sealing samples panicked; this is a bug in backstop.");
    }
}

fn entry(kept: &Kept) -> Entry<'_> {
    let origin = match &kept.writer {
        Writer::Target { source, instance, interval, good } => {
            Origin::Target { source, instance, interval: *interval, good: *good }
        }
        Writer::Family(family) => Origin::Family(family),
    };
    Entry { origin, at: kept.at, samples: &kept.samples, ended: &[], checkpoint: kept.checkpoint.as_deref() }
}
