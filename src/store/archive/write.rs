//! The writer of an archive: one log that grows, and what is needed to begin the next one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::log::{self, Go};
use super::place::{self, Forms, LOG, PART, SEALED, SEALING, Trouble};
use super::read::{self, ReadError, ReadLimits, Recent};
use super::record::{self, Dictionary, FRAME, MAX_PAYLOAD};
use super::replay::{Replay, Strings};
use super::retain::Catalog;
use super::seal::Sealing;
use super::wire::{Dated, Header, Kind};
use super::{Entry, MAX_CHECKPOINT, Origin, Retained, sealed};
use crate::base::{Labels, SourceRef, Span, Timestamp, chain};
use crate::store::stale;
use crate::sys::blocks::{self, Blocks, Tail};
use crate::sys::clock::boot_id;
use crate::sys::files::{self, FileError};

/// The file that names the boot of the newest log.
const BOOT: &str = "boot";

/// How an archive is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Files whose newest sample is older than this go.
    pub keep: Span,
    /// All files together; past it the oldest go.
    pub max_bytes: u64,
    /// Below this much free space, in bytes, nothing is appended.
    pub min_free: u64,
    /// The age at which a log is closed and sealed.
    pub seal_after: Span,
    /// The bytes at which a log is closed and sealed.
    pub seal_bytes: u64,
    /// How long a record may be written and not yet durable.
    pub sync_every: Span,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            keep: Span::hours(14 * 24),
            max_bytes: 2 << 30,
            min_free: 64 << 20,
            seal_after: Span::hours(1),
            seal_bytes: 16 << 20,
            sync_every: Span::secs(1),
        }
    }
}

/// Why an archive cannot be opened at all. What is wrong with its files is [`Recovered::trouble`].
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The folder cannot be made, or is not ours alone, or cannot be listed.
    #[error("cannot keep samples")]
    Folder(#[from] FileError),
}

/// Why a record was not appended. The archive is as before, and the next append tries again.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The disk has too little room left for samples.
    #[error("{free} bytes are free and {min} must stay free")]
    NoRoom {
        /// Bytes that are free.
        free: u64,
        /// [`Options::min_free`].
        min: u64,
    },
    /// A checkpoint over [`MAX_CHECKPOINT`], or a record over 32 MiB.
    #[error("the record has {bytes} bytes, and at most {max} are taken")]
    TooLarge {
        /// Bytes of the record or checkpoint.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The disk refused.
    #[error(transparent)]
    File(#[from] FileError),
}

/// How the last append went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It was written, or there was none yet.
    Writing,
    /// There was too little room.
    NoRoom,
    /// The disk refused.
    Failing,
}

/// What happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records written.
    pub records: u64,
    /// Samples in them.
    pub samples: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Records refused for lack of room.
    pub no_room: u64,
    /// Records that failed otherwise.
    pub failed: u64,
    /// Syncs.
    pub syncs: u64,
    /// Logs begun.
    pub logs: u64,
    /// Files that retention removed.
    pub removed: u64,
}

/// The newest checkpoint of each target.
pub type Checkpoints = BTreeMap<(SourceRef, String), Vec<u8>>;

/// A torn end that was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torn {
    /// The log.
    pub file: String,
    /// How many bytes: of an append that nobody was told about, or of records lost in a power cut.
    pub bytes: u64,
}

/// What stood in the folder.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Where the sources go on.
    pub checkpoints: Checkpoints,
    /// The torn end of the newest log, if it had one.
    pub torn: Option<Torn>,
    /// What cannot be read, one sentence each, with file, place and reason.
    pub trouble: Vec<String>,
    folder: PathBuf,
}

impl Recovered {
    /// The samples in `(since, until]` and who wrote them, to put them back into memory.
    ///
    /// # Errors
    /// As [`read::recent`].
    pub fn recent(&self, since: Timestamp, until: Timestamp, limits: ReadLimits) -> Result<Recent, ReadError> {
        read::recent(&self.folder, since, until, limits)
    }
}

/// The log that grows.
#[derive(Debug)]
struct Live {
    number: u64,
    begun: i64,
    tail: Tail,
    dictionary: Dictionary,
    /// When the oldest record was written that is not durable yet.
    dirty: Option<Timestamp>,
}

/// The one writer of an archive. Its folder must be locked against a second one by the owner.
#[derive(Debug)]
pub struct Archive {
    folder: PathBuf,
    options: Options,
    live: Option<Live>,
    next: u64,
    /// Clock steps that no log's header holds yet.
    step: i64,
    /// This boot's id, until the log is begun that is the first of it.
    new_boot: Option<String>,
    checkpoints: Checkpoints,
    catalog: Catalog,
    counters: Counters,
    state: State,
    buffer: Vec<u8>,
    /// Logs that were handed out to be sealed, and when.
    handed_out: BTreeMap<u64, Timestamp>,
}

/// How long nobody asks again for a log whose sealing failed.
const SEAL_AGAIN: Span = Span::mins(1);

impl Archive {
    /// Opens the folder, or makes it, and looks at what stands there. Only a torn end of the newest log is cut off;
    /// what else is damaged is left alone and said.
    ///
    /// # Errors
    /// When the folder cannot be made or listed. A disk that takes no new log is no error: appends are refused until it
    /// does.
    pub fn open(folder: &Path, options: Options, now: Timestamp) -> Result<(Archive, Recovered), ArchiveError> {
        files::ensure_own_dir(folder, 0o750)?;
        let mut recovered = Recovered { folder: folder.to_owned(), ..Recovered::default() };
        let mut trouble = Trouble::default();
        let forms = clean_up(folder, &mut trouble)?;
        check_sealed(folder, &forms, &mut trouble);
        let logs: Vec<u64> = forms.iter().filter(|(_, f)| f.log && !f.sealed).map(|(number, _)| *number).collect();
        let mut live = None;
        for number in &logs {
            let is_newest = Some(number) == logs.last();
            let revived = revive(folder, *number, is_newest, &mut recovered, &mut trouble);
            live = revived.filter(|_| is_newest);
        }
        let boot = boot_id();
        let known = files::read_capped(&folder.join(BOOT), 256).unwrap_or_default();
        let new_boot = (known != boot.as_bytes()).then_some(boot);
        let mut archive = Archive {
            folder: folder.to_owned(),
            options,
            live: live.filter(|_| new_boot.is_none()),
            next: forms.last_key_value().map_or(1, |(number, _)| number.saturating_add(1)),
            step: 0,
            new_boot,
            checkpoints: recovered.checkpoints.clone(),
            catalog: Catalog::default(),
            counters: Counters::default(),
            state: State::Writing,
            buffer: Vec::new(),
            handed_out: BTreeMap::new(),
        };
        if archive.live.is_none()
            && let Err(error) = archive.begin(now)
        {
            archive.state = State::Failing;
            trouble.say(format!("no new log can be begun: {}", chain(&error)));
        }
        recovered.trouble = trouble.take();
        Ok((archive, recovered))
    }

    /// Writes one record: it survives the end of this process at once, and a power cut after the next
    /// [`Archive::sync`].
    ///
    /// # Errors
    /// When there is no room, the record is too large, or the disk refuses; nothing of it stands on the disk then.
    pub fn append(&mut self, entry: &Entry<'_>, now: Timestamp) -> Result<(), AppendError> {
        let result = self.try_append(entry, now);
        match &result {
            Ok(()) => self.state = State::Writing,
            Err(AppendError::NoRoom { .. }) => {
                self.state = State::NoRoom;
                self.counters.no_room += 1;
            }
            Err(AppendError::TooLarge { .. }) => self.counters.failed += 1,
            Err(AppendError::File(_)) => {
                self.state = State::Failing;
                self.counters.failed += 1;
            }
        }
        result
    }

    fn try_append(&mut self, entry: &Entry<'_>, now: Timestamp) -> Result<(), AppendError> {
        if let Some(checkpoint) = entry.checkpoint
            && checkpoint.len() > MAX_CHECKPOINT
        {
            return Err(AppendError::TooLarge { bytes: checkpoint.len(), max: MAX_CHECKPOINT });
        }
        let free = blocks::free_space(&self.folder)?;
        if free < self.options.min_free {
            return Err(AppendError::NoRoom { free, min: self.options.min_free });
        }
        self.close_if_due(now)?;
        let live = match &mut self.live {
            Some(live) => live,
            None => {
                self.begin(now)?;
                self.live.as_mut().ok_or_else(|| no_log(&self.folder))?
            }
        };
        let mark = live.dictionary.mark();
        self.buffer.clear();
        self.buffer.resize(FRAME, 0);
        record::put_batch(&mut self.buffer, &mut live.dictionary, entry, stale());
        let payload = self.buffer.len() - FRAME;
        if payload > MAX_PAYLOAD {
            live.dictionary.back_to(mark);
            return Err(AppendError::TooLarge { bytes: payload, max: MAX_PAYLOAD });
        }
        record::close_frame(&mut self.buffer, live.number, live.tail.length());
        if let Err(error) = live.tail.append(&self.buffer) {
            live.dictionary.back_to(mark);
            if live.tail.is_lost() {
                self.live = None;
            }
            return Err(error.into());
        }
        live.dirty.get_or_insert(now);
        self.counters.records += 1;
        self.counters.samples += (entry.samples.len() + entry.ended.len()) as u64;
        self.counters.bytes += self.buffer.len() as u64;
        self.note_checkpoint(entry);
        Ok(())
    }

    fn note_checkpoint(&mut self, entry: &Entry<'_>) {
        if let (Some(checkpoint), Origin::Target { source, instance, .. }) = (entry.checkpoint, entry.origin) {
            self.checkpoints.insert((source.clone(), instance.into()), checkpoint.to_vec());
        }
    }

    /// When [`Archive::sync`] is due; none while all records are durable.
    pub fn sync_due(&self) -> Option<Timestamp> {
        self.live.as_ref()?.dirty.map(|since| since + self.options.sync_every)
    }

    /// Makes all records durable. May take as long as the disk does.
    ///
    /// # Errors
    /// When the disk does not confirm it; it stays due.
    pub fn sync(&mut self) -> Result<(), FileError> {
        if let Some(live) = &mut self.live
            && live.dirty.is_some()
        {
            live.tail.sync()?;
            live.dirty = None;
            self.counters.syncs += 1;
        }
        Ok(())
    }

    /// The wall clock was set by `by`: what was written before is moved by that for every reader from now on.
    ///
    /// # Errors
    /// When no new log can be begun; appends are then refused until one can, and the step is not lost unless the
    /// process ends before.
    pub fn clock_stepped(&mut self, by: Span, now: Timestamp) -> Result<(), FileError> {
        self.step = self.step.saturating_add(by.0);
        self.handed_out.values_mut().for_each(|at| *at += by);
        let synced = self.sync();
        self.live = None;
        synced.and(self.begin(now))
    }

    /// The next log that waits to be sealed, to be run on another thread: one at a time. One that failed is handed out
    /// again after a minute.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn next_sealing(&mut self, now: Timestamp) -> Result<Option<Sealing>, FileError> {
        let forms = place::list(&self.folder)?;
        let live = self.live.as_ref().map(|live| live.number);
        let waits = |number: &u64, forms: &Forms| forms.log && !forms.sealed && Some(*number) != live;
        let waiting: Vec<u64> = forms.iter().filter(|(n, f)| waits(n, f)).map(|(number, _)| *number).collect();
        self.handed_out.retain(|number, _| waiting.contains(number));
        let is_free = |number: &u64| self.handed_out.get(number).is_none_or(|at| now - *at >= SEAL_AGAIN);
        let Some(number) = waiting.into_iter().find(is_free) else { return Ok(None) };
        self.handed_out.insert(number, now);
        Ok(Some(Sealing { folder: self.folder.clone(), number }))
    }

    /// Removes what is too old or too much; never the log that grows. Worth calling every minute or so.
    ///
    /// # Errors
    /// When the folder cannot be listed or a file cannot be removed.
    pub fn retain(&mut self, now: Timestamp) -> Result<Retained, FileError> {
        let live = self.live.as_ref().map(|live| live.number);
        let retained = self.catalog.retain(&self.folder, live, self.step, &self.options, now)?;
        self.counters.removed += retained.files;
        Ok(retained)
    }

    /// Closes the log when it is old or large, and begins the next one. Appends do this by themselves; called from time
    /// to time, it also seals the log of an agent whose sources are silent.
    ///
    /// # Errors
    /// When the next log cannot be begun; the old one stays as it is, and appends are refused until one can.
    pub fn close_if_due(&mut self, now: Timestamp) -> Result<(), FileError> {
        let Some(live) = &self.live else { return Ok(()) };
        let age = (now - Timestamp(live.begun)).0.saturating_abs();
        if live.tail.length() >= self.options.seal_bytes || age >= self.options.seal_after.0 {
            self.begin(now)
        } else {
            Ok(())
        }
    }

    /// Keeps only the checkpoints of these targets in the logs to come.
    pub fn keep_checkpoints(&mut self, keep: impl Fn(&SourceRef, &str) -> bool) {
        self.checkpoints.retain(|(source, instance), _| keep(source, instance));
    }

    /// Other limits from now on.
    pub fn set_options(&mut self, options: Options) {
        self.options = options;
    }

    /// What happened since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// How the last append went.
    pub fn state(&self) -> State {
        self.state
    }

    /// Where the files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Begins a log with all checkpoints; the old one is made durable and closed.
    fn begin(&mut self, now: Timestamp) -> Result<(), FileError> {
        self.sync()?;
        loop {
            let number = self.next;
            let path = place::path(&self.folder, number, LOG);
            let bytes = self.first_bytes(number, now);
            match files::create_new(&path, &bytes, 0o640) {
                Ok(()) => {}
                Err(error) if error.is_already_there() => {
                    self.next = number.saturating_add(1);
                    continue;
                }
                Err(error) => return Err(error),
            }
            self.next = number.saturating_add(1);
            // An import may have taken the number at the same moment; it looks for this log as we look for it.
            if [PART, SEALED].iter().any(|suffix| files::exists(&place::path(&self.folder, number, suffix))) {
                blocks::remove(&path)?;
                continue;
            }
            let tail = Tail::open(&path, bytes.len() as u64)?;
            self.step = 0;
            if let Some(boot) = self.new_boot.take() {
                // Without it the next start begins a boot once more: that only limits how far back a step reaches.
                drop(files::replace(&self.folder.join(BOOT), boot.as_bytes(), 0o640));
            }
            self.counters.logs += 1;
            let dictionary = Dictionary::default();
            self.live = Some(Live { number, begun: now.0, tail, dictionary, dirty: None });
            return Ok(());
        }
    }

    fn first_bytes(&self, number: u64, now: Timestamp) -> Vec<u8> {
        let origin = if self.new_boot.is_some() { Dated::Boot } else { Dated::Same };
        let header = Header { kind: Kind::Log, number, step: self.step, begun: now.0, origin };
        let mut bytes = header.bytes().to_vec();
        for ((source, instance), checkpoint) in &self.checkpoints {
            let at = bytes.len();
            bytes.resize(at + FRAME, 0);
            record::put_checkpoint(&mut bytes, source, instance, checkpoint);
            record::close_frame(&mut bytes[at..], number, at as u64);
        }
        bytes
    }
}

fn no_log(folder: &Path) -> FileError {
    FileError::io("begin a log in", folder)(std::io::ErrorKind::Other.into())
}

/// Removes what work that was broken off has left, and lists the rest.
fn clean_up(folder: &Path, trouble: &mut Trouble) -> Result<BTreeMap<u64, Forms>, FileError> {
    let mut say = |result: Result<(), FileError>| {
        if let Err(error) = result {
            trouble.say(chain(&error));
        }
    };
    for name in blocks::names(folder)? {
        if name.starts_with('.') && name.ends_with(".tmp") {
            say(blocks::remove(&folder.join(name)));
        }
    }
    let mut forms = place::list(folder)?;
    for (number, forms) in &mut forms {
        if forms.sealing {
            say(blocks::remove(&place::path(folder, *number, SEALING)));
        }
        if forms.part {
            match blocks::remove_abandoned(&place::path(folder, *number, PART)) {
                Ok(gone) => forms.part = !gone,
                Err(error) => say(Err(error)),
            }
        }
    }
    forms.retain(|_, forms| forms.log || forms.sealed || forms.part);
    Ok(forms)
}

/// Looks at beginning and end of each sealed segment. A log beside a good one has been sealed and goes.
fn check_sealed(folder: &Path, forms: &BTreeMap<u64, Forms>, trouble: &mut Trouble) {
    for (number, _) in forms.iter().filter(|(_, forms)| forms.sealed) {
        let path = place::path(folder, *number, SEALED);
        let opened = Blocks::open(&path).map_err(|error| format!("cannot be read: {}", chain(&error)));
        let checked = opened.and_then(|file| {
            place::header(&file, *number, Kind::Sealed)?;
            sealed::footer(&file)
        });
        match checked {
            Err(why) => trouble.say(format!("{} {why}", place::name(&path))),
            Ok(_) if forms[number].log => {
                if let Err(error) = blocks::remove(&place::path(folder, *number, LOG)) {
                    trouble.say(chain(&error));
                }
            }
            Ok(_) => {}
        }
    }
}

/// Walks over a log, takes its checkpoints, and says what is damaged. The newest one goes on if nothing in it is: a
/// number whose definition was lost must not get a second meaning.
fn revive(
    folder: &Path,
    number: u64,
    is_newest: bool,
    recovered: &mut Recovered,
    trouble: &mut Trouble,
) -> Option<Live> {
    let path = place::path(folder, number, LOG);
    let name = place::name(&path);
    let file =
        Blocks::open(&path).map_err(|error| trouble.say(format!("{name} cannot be read: {}", chain(&error)))).ok()?;
    let header = place::header(&file, number, Kind::Log).map_err(|why| trouble.say(format!("{name} {why}"))).ok()?;
    let strings = Strings::default();
    let defined = std::cell::RefCell::new(Vec::<Labels>::new());
    let wants = |pairs: &[(&str, &str)]| {
        defined.borrow_mut().push(strings.labels(pairs));
        None
    };
    let mut replay = Replay::<(), ()>::new(&wants, i64::MIN, i64::MAX).with_checkpoints();
    let mut is_good = true;
    let walked = log::walk(&file, number, |at, payload| {
        if let Err(why) = replay.feed(at, payload) {
            is_good = false;
            trouble.say(format!("{name}: the record at {at} cannot be read: {why}"));
        }
        Go::On
    });
    let walked =
        walked.map_err(|error| trouble.say(format!("{name} cannot be read to its end: {}", chain(&error)))).ok()?;
    recovered.checkpoints.extend(std::mem::take(&mut replay.checkpoints));
    walked.sentences(&file).for_each(|line| trouble.say(line));
    if !is_newest {
        if walked.torn > 0 {
            trouble.say(format!("{name}: its last {} bytes are no whole record", walked.torn));
        }
        return None;
    }
    let tail = Tail::open(&path, walked.end)
        .map_err(|error| trouble.say(format!("{name} cannot go on: {}", chain(&error))))
        .ok()?;
    if walked.torn > 0 {
        recovered.torn = Some(Torn { file: name, bytes: walked.torn });
    }
    if !is_good || !walked.damage.is_empty() || !replay.is_complete() {
        return None;
    }
    let mut dictionary = Dictionary::default();
    replay.writers.iter().flatten().for_each(|writer| dictionary.restore_writer(&writer.origin));
    drop(replay);
    defined.into_inner().into_iter().for_each(|labels| dictionary.restore_series(labels));
    // What was written before the crash is in the page cache at best.
    tail.sync().map_err(|error| trouble.say(chain(&error))).ok()?;
    Some(Live { number, begun: header.begun, tail, dictionary, dirty: None })
}
