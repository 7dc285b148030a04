//! One target of a log: what was counted in its lines, how it goes, and the batch that says so.
//!
//! Enters: pieces of streams, or the tally of what a reader of files read; time. Leaves: batches with all series of the
//! target, and the checkpoint from which a later process goes on with these totals. What is declared exists from the
//! start: every level and pattern has a series at 0.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::config::{Config, REPEAT};
use super::level::Level;
use super::origin::Content;
use super::pace::Pace;
use super::read::{Event, Plan, Seen, StreamState, Tally, Value};
use crate::base::{Batch, Exhibit, Failure, Labels, Outcome, Sample, Span, Timestamp};
use crate::source::common::{Target, sample};

/// The version of checkpoints. One that is newer is not used.
const VERSION: u32 = 1;

/// The most exhibits of one batch.
const MAX_EXHIBITS: usize = 10;

/// From so many streams on, those that were silent for a while are forgotten.
const MAX_STREAMS: usize = 64;

/// After this long nothing continues the last line of a stream.
const FORGET: Span = Span::secs(10);

/// The longest checkpoint, in bytes; the store takes no longer one.
const MAX_CHECKPOINT: usize = 1 << 20;

/// What goes wrong with lines, the label `kind` of `log_troubles_total`.
const TROUBLES: [&str; 5] = ["broken", "cut", "value", "gap", "unkept"];

/// What a later process must know of a target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Saved<P> {
    /// [`VERSION`].
    pub v: u32,
    /// When it was written: of two, the later is right.
    pub t: Timestamp,
    /// What was counted.
    pub tally: Tally,
    /// How often lines may have been lost.
    #[serde(default)]
    pub gaps: u64,
    /// Lines that could not be kept.
    #[serde(default)]
    pub unkept: u64,
    /// Lines that their origin cut.
    #[serde(default)]
    pub cut: u64,
    /// Open events by stream.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub streams: BTreeMap<String, StreamState>,
    /// Where the origin goes on.
    pub at: P,
}

impl<P> Saved<P> {
    /// Whether this version can use it.
    pub fn is_known(&self) -> bool {
        self.v <= VERSION
    }
}

/// A target of a log.
#[derive(Debug)]
pub struct Teller {
    target: Target,
    plan: Plan,
    series: Series,
    tally: Tally,
    /// The matches that were told.
    told: Vec<u64>,
    /// Lines worth showing that were not told yet.
    exhibits: Vec<Exhibit>,
    streams: BTreeMap<String, Stream>,
    gaps: u64,
    unkept: u64,
    cut: u64,
    /// Whether it only stands for the table: its services are targets of their own.
    is_bare: bool,
    /// Bytes that are written and not read.
    lag: u64,
    n_streams: u64,
    /// The last line's time, or when watching began.
    last_line: Timestamp,
    failure: Option<Failure>,
    seconds: f64,
    pace: Pace,
}

/// A stream between two pieces.
#[derive(Clone, Debug, Default)]
struct Stream {
    state: StreamState,
    /// When its last piece came.
    at: Timestamp,
}

/// The labels of all series, made once.
#[derive(Debug)]
struct Series {
    lines: Vec<Labels>,
    total: Vec<Labels>,
    new: Vec<Labels>,
    last_match: Vec<Labels>,
    values: Vec<Labels>,
    troubles: Vec<Labels>,
    last_line: Labels,
    lag: Labels,
    streams: Labels,
}

impl Series {
    fn new(target: &Target, plan: &Plan) -> Series {
        let of_patterns =
            |name: &str| plan.counted().map(|p| target.series(name, &[("pattern", p)])).collect::<Vec<_>>();
        Series {
            lines: Level::ALL.iter().map(|l| target.series("log_lines_total", &[("level", l.as_str())])).collect(),
            total: of_patterns("log_matches_total"),
            new: of_patterns("log_matches_new"),
            last_match: of_patterns("log_last_match_timestamp_seconds"),
            values: plan.values().map(|v| target.series("log_value", &[("name", v)])).collect(),
            troubles: TROUBLES.iter().map(|kind| target.series("log_troubles_total", &[("kind", kind)])).collect(),
            last_line: target.series("log_last_line_timestamp_seconds", &[]),
            lag: target.series("log_lag_bytes", &[]),
            streams: target.series("log_streams", &[]),
        }
    }
}

impl Teller {
    /// A target of a table, of whose lines nothing is known at `now`; with a `service` of its own where the table means
    /// several.
    pub fn new(config: &Config, instance: &str, service: Option<&str>, now: Timestamp) -> Teller {
        let mut common = config.common.clone();
        if let Some(service) = service.filter(|_| !config.has_service) {
            common.service = service.to_string();
        }
        let target = Target::new(&common, instance.to_string());
        Teller {
            series: Series::new(&target, &config.plan),
            tally: Tally::new(&config.plan),
            told: vec![0; config.plan.counted().count()],
            exhibits: Vec::new(),
            plan: config.plan.clone(),
            target,
            streams: BTreeMap::new(),
            gaps: 0,
            unkept: 0,
            cut: 0,
            is_bare: false,
            lag: 0,
            n_streams: 0,
            last_line: now,
            failure: None,
            seconds: 0.0,
            pace: Pace::new(),
        }
    }

    /// What is told of.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Goes on with the totals of an earlier process.
    pub fn resume<P>(&mut self, saved: Saved<P>) -> P {
        self.tally = Tally::resume(&self.plan, saved.tally).unwrap_or_else(|error| {
            tracing::error!(%error, target = %self.target.instance, "The counts of before are not used.");
            Tally::new(&self.plan)
        });
        self.told = totals(&self.tally);
        (self.gaps, self.unkept, self.cut) = (saved.gaps, saved.unkept, saved.cut);
        let at = saved.t;
        self.streams = saved.streams.into_iter().map(|(name, state)| (name, Stream { state, at })).collect();
        self.last_line = self.tally.last_line().unwrap_or(self.last_line);
        saved.at
    }

    /// What a later process must know, with where the origin goes on.
    ///
    /// # Errors
    /// When it is longer than a checkpoint may be, or cannot be written as JSON: a bug.
    pub fn save<P: Serialize>(&self, at: P, now: Timestamp) -> Result<Arc<[u8]>, String> {
        let open = self.streams.iter().filter(|(_, stream)| stream.may_go_on(now));
        let saved = Saved {
            v: VERSION,
            t: now,
            tally: self.tally.clone(),
            gaps: self.gaps,
            unkept: self.unkept,
            cut: self.cut,
            streams: open.map(|(name, stream)| (name.clone(), stream.state.clone())).collect(),
            at,
        };
        let bytes = serde_json::to_vec(&saved).map_err(|e| e.to_string())?;
        match bytes.len() {
            n if n > MAX_CHECKPOINT => Err(format!("it takes {n} bytes, and at most {MAX_CHECKPOINT} are kept")),
            _ => Ok(bytes.into()),
        }
    }

    /// The same target, which only stands for the table as long as nothing counts for it.
    #[must_use]
    pub fn bare(mut self) -> Teller {
        self.is_bare = true;
        self
    }

    /// Whether anything was ever counted for it.
    pub fn has_lines(&self) -> bool {
        self.tally.last_line().is_some() || self.tally.broken() > 0
    }

    /// Reads whole lines of a stream that came at `now`.
    pub fn read(&mut self, stream: &str, text: &[u8], now: Timestamp) {
        let content = Content::Lines(text.to_vec(), None);
        self.take(stream, stream, &content, now, None);
    }

    /// Takes what a stream gave. `each` gets every event of it, for those who keep lines.
    pub fn take(
        &mut self,
        stream: &str,
        place: &str,
        content: &Content,
        now: Timestamp,
        each: Option<&mut dyn FnMut(Event<'_>)>,
    ) {
        let before = loudness(&self.tally);
        match content {
            Content::Lines(text, given) => {
                let seen = Seen { arrived: now, given: *given, place, cut: 0 };
                let stream = self.streams.entry(stream.to_string()).or_default();
                stream.at = now;
                match each {
                    Some(each) => self.plan.read_events(&mut stream.state, text, seen, &mut self.tally, each),
                    None => self.plan.read(&mut stream.state, text, seen, &mut self.tally),
                }
                bound(&mut self.streams, now);
            }
            Content::Entries(entries) => match each {
                Some(each) => {
                    entries.iter().for_each(|entry| self.plan.entry_event(entry, place, &mut self.tally, each));
                }
                None => entries.iter().for_each(|entry| self.plan.entry(entry, place, &mut self.tally)),
            },
            Content::Began => self.n_streams += 1,
            Content::Ended => {
                self.streams.remove(stream);
                self.n_streams = self.n_streams.saturating_sub(1);
            }
            Content::Gap(_) => {
                self.streams.remove(stream);
                self.gaps += 1;
            }
            Content::Failed(failure) => return self.fail(failure.clone()),
            Content::Well => return self.recover(),
        }
        let exhibits = self.tally.take_exhibits();
        self.show(exhibits);
        self.note(before, matches!(content, Content::Gap(_)));
    }

    fn show(&mut self, exhibits: Vec<Exhibit>) {
        self.exhibits.extend(exhibits);
        let surplus = self.exhibits.len().saturating_sub(MAX_EXHIBITS);
        self.exhibits.drain(..surplus);
    }

    /// What was counted so far, for a reader that goes on counting by itself.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Takes the tally of a reader that counts by itself, lines worth showing, and how it stands.
    pub fn adopt(&mut self, tally: Tally, exhibits: Vec<Exhibit>, stand: Stand) {
        let before = loudness(&self.tally);
        self.show(exhibits);
        let changed = (self.lag, self.n_streams) != (stand.lag, stand.n_streams);
        self.tally = tally;
        self.gaps = self.gaps.saturating_add(stand.gaps);
        (self.lag, self.n_streams, self.seconds) = (stand.lag, stand.n_streams, stand.seconds);
        self.note(before, stand.gaps > 0);
        if changed {
            self.pace.note(false);
        }
    }

    /// Lines could not be kept.
    pub fn lose(&mut self, n: u64) {
        if n > 0 {
            self.unkept += n;
            self.pace.note(false);
        }
    }

    /// Lines were cut by their origin.
    pub fn cut(&mut self, n: u64) {
        if n > 0 {
            self.cut += n;
            self.pace.note(false);
        }
    }

    /// It cannot be read now.
    pub fn fail(&mut self, failure: Failure) {
        if self.failure.as_ref() != Some(&failure) {
            self.failure = Some(failure);
            self.pace.note(true);
        }
    }

    /// It can be read.
    pub fn recover(&mut self) {
        if self.failure.take().is_some() {
            self.pace.note(true);
        }
    }

    /// Says again how it goes, though nothing changed, where that was not said for a while: while it fails nobody repeats it.
    pub fn repeat(&mut self, now: Timestamp) {
        if self.pace.last().is_none_or(|last| now - last >= REPEAT || now < last) {
            self.pace.note(true);
        }
    }

    /// Whether it cannot be read now.
    pub fn fails(&self) -> bool {
        self.failure.is_some()
    }

    /// Why it cannot be read now.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// Watching begins: where no line is known, its silence begins here.
    pub fn begin(&mut self, now: Timestamp) {
        self.last_line = self.tally.last_line().unwrap_or(now);
    }

    /// When the next batch is due, seen from `now`; none while there is nothing to tell.
    pub fn due(&self, now: Timestamp) -> Option<Timestamp> {
        self.pace.due(now)
    }

    /// Whether something was read and not told.
    pub fn has_news(&self) -> bool {
        self.pace.last().is_some() && self.pace.has_news()
    }

    fn note(&mut self, before: (u64, u64, u64), loud: bool) {
        let after = loudness(&self.tally);
        if loud || (after.0, after.1) != (before.0, before.1) {
            self.pace.note(true);
        } else if after.2 != before.2 {
            self.pace.note(false);
        }
    }

    /// All series at `now`. What was new is told with this, and not again.
    pub fn batch(&mut self, now: Timestamp) -> Batch {
        self.pace.told(now);
        self.last_line = self.tally.last_line().map_or(self.last_line, |last| last.max(self.last_line));
        let totals = totals(&self.tally);
        let new: Vec<u64> = totals.iter().zip(&self.told).map(|(now, told)| now.saturating_sub(*told)).collect();
        self.told = totals;
        let outcome = self.failure.clone().map_or(Outcome::Good, Outcome::Failed);
        if self.is_bare && !self.has_lines() {
            let mut batch = self.target.batch(now, self.seconds, outcome, Vec::new());
            batch.holds = true;
            return batch;
        }
        let mut samples = Vec::with_capacity(self.series.len());
        let counts = |labels: &[Labels], values: &mut dyn Iterator<Item = u64>, samples: &mut Vec<Sample>| {
            samples.extend(labels.iter().zip(values).map(|(labels, n)| sample(labels.clone(), n as f64)));
        };
        let tally = &self.tally;
        counts(&self.series.lines, &mut Level::ALL.iter().map(|level| tally.lines(*level)), &mut samples);
        counts(&self.series.total, &mut self.told.iter().copied(), &mut samples);
        counts(&self.series.new, &mut new.into_iter(), &mut samples);
        let troubles = [tally.broken(), tally.cut() + self.cut, tally.broken_values(), self.gaps, self.unkept];
        counts(&self.series.troubles, &mut troubles.into_iter(), &mut samples);
        let known = self.series.last_match.iter().zip(tally.matches());
        samples.extend(known.filter_map(|(labels, one)| Some(sample(labels.clone(), seconds(one.last?)))));
        let known = self.series.values.iter().zip(tally.values());
        samples.extend(known.filter_map(|(labels, one)| Some(sample(labels.clone(), one.value?))));
        samples.push(sample(self.series.last_line.clone(), seconds(self.last_line)));
        samples.push(sample(self.series.lag.clone(), self.lag as f64));
        samples.push(sample(self.series.streams.clone(), self.n_streams as f64));
        let mut batch = self.target.batch(now, self.seconds, outcome, samples);
        batch.holds = true;
        batch.exhibits = std::mem::take(&mut self.exhibits);
        batch
    }
}

impl Series {
    fn len(&self) -> usize {
        self.lines.len() + 3 * self.total.len() + self.values.len() + self.troubles.len() + 6
    }
}

/// How a reader that counts by itself stands.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stand {
    /// Bytes that are written and not read.
    pub lag: u64,
    /// Files that are followed.
    pub n_streams: u64,
    /// How often lines may have been lost since the last time.
    pub gaps: u64,
    /// How long the reading took.
    pub seconds: f64,
}

/// What is loud in a tally: what rises with each match and each error, and what changes with each number. Then all lines.
fn loudness(tally: &Tally) -> (u64, u64, u64) {
    let all: u64 = Level::ALL.iter().map(|level| tally.lines(*level)).sum();
    let bad: u64 = Level::ALL.iter().filter(|level| **level >= Level::Error).map(|level| tally.lines(*level)).sum();
    let matches: u64 = tally.matches().iter().map(|one| one.total).sum();
    let number = |one: &Value| one.value.map_or(0, f64::to_bits).rotate_left(7) ^ one.at.map_or(0, |at| at.0 as u64);
    let numbers = tally.values().iter().map(number).fold(tally.broken_values(), |all, one| all.rotate_left(1) ^ one);
    (bad + matches, numbers, all + tally.broken())
}

fn totals(tally: &Tally) -> Vec<u64> {
    tally.matches().iter().map(|one| one.total).collect()
}

fn seconds(at: Timestamp) -> f64 {
    at.0 as f64 / 1000.0
}

impl Stream {
    /// Whether a line that comes now may continue its last one.
    fn may_go_on(&self, now: Timestamp) -> bool {
        now - self.at < FORGET && self.state != StreamState::default()
    }
}

/// Forgets streams of which nothing came for a while: a journal has one for each process, and never says that one ended.
fn bound(streams: &mut BTreeMap<String, Stream>, now: Timestamp) {
    if streams.len() > MAX_STREAMS {
        streams.retain(|_, stream| stream.at == now || stream.may_go_on(now));
    }
    while streams.len() > 4 * MAX_STREAMS {
        streams.pop_first();
    }
}
