//! The one loop: takes inputs one at a time, lets the engine decide, makes it durable, then does it.
//!
//! Everything that waits for the outside (collecting, sending, executing) runs beside the loop and comes back as
//! an input over a bounded channel; when that is full, who sends waits, and nothing is lost. The watchdog is fed
//! by the turning of this loop and by nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::collect::{Collectors, Positions};
use super::executions::Executions;
use super::history;
use super::keeper::{self, Keeper};
use super::remotes::Remotes;
use super::scribe::Scribe;
use super::wire::{self, Built};
use crate::base::{SourceRef, Span, Timestamp};
use crate::engine::command::Reply;
use crate::engine::history::{Question, Told};
use crate::engine::snapshot::Snapshot;
use crate::engine::{Effect, Engine, Event, Input, Kept, Reach};
use crate::notify::outbox::{Receipt, Sending};
use crate::notify::{Channel, Context};
use crate::source::Source;
use crate::sys::clock::Clock;
use crate::sys::systemd;
use crate::sys::tasks::{self, Tasks};
use crate::web::{Request, query};

/// How long the loop waits at most: the clock is looked at, and the watchdog fed, at least this often.
const LONGEST_WAIT: Span = Span::secs(5);

/// How often the journal of a running execution is read.
const LOOK_EVERY: Span = Span::millis(200);

/// How often a disk that is away is tried again.
const RETRY_DISK: Span = Span::secs(1);

/// How far from now a batch may be dated; further away it was dated before the clock was set.
const BATCH_OFF: Span = Span::secs(60);

/// How long the tasks of an old configuration have to end.
const RELOAD_GRACE: Span = Span::secs(1);

/// What the loop owns.
pub(super) struct Shell {
    pub(super) engine: Engine,
    pub(super) clock: Arc<Clock>,
    pub(super) scribe: Scribe,
    /// Who keeps samples; nobody where the disk did not let it.
    pub(super) keeper: Option<Keeper>,
    pub(super) executions: Executions,
    pub(super) state: PathBuf,
    pub(super) channels: BTreeMap<String, Channel>,
    pub(super) remotes: Remotes,
    pub(super) zone: jiff::tz::TimeZone,
    pub(super) reload: Reload,
    pub(super) inputs: (mpsc::Sender<Input>, mpsc::Receiver<Input>),
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) collectors: Collectors,
    /// Where sources go on after a reload.
    pub(super) positions: Positions,
    pub(super) senders: Tasks,
    pub(super) tickets: BTreeMap<u64, oneshot::Sender<Reply>>,
    pub(super) next_ticket: u64,
    /// Whose turn it is to read the past of a rule.
    pub(super) pasts: Arc<tokio::sync::Semaphore>,
    pub(super) config_name: String,
    pub(super) config_refused: Option<String>,
    /// Where it listens, as the configuration of the start says.
    pub(super) listen: String,
    /// Its control socket, likewise.
    pub(super) socket: PathBuf,
    pub(super) fed: Timestamp,
    pub(super) tried_disk: Timestamp,
}

/// Reads the configuration again.
pub(super) type Reload = Box<dyn Fn() -> Result<Built, String> + Send>;

impl Shell {
    /// Runs until `stop`; then ends in order: sources, a last step, messages under way, the journal.
    pub(super) async fn run(mut self, stop: CancellationToken, mut hangup: mpsc::Receiver<()>) {
        self.take(Input::Started { version: env!("CARGO_PKG_VERSION").into() }).await;
        systemd::ready(&self.status());
        let watchdog = systemd::watchdog();
        loop {
            let wake = self.next_wake(watchdog);
            tokio::select! {
                () = stop.cancelled() => break,
                Some(input) = self.inputs.1.recv() => self.take(input).await,
                Some(request) = self.requests.recv() => self.answer(request).await,
                Some(()) = hangup.recv() => drop(self.reload().await),
                () = wait_until(&self.clock, wake) => self.take(Input::Tick).await,
            }
            self.look_after(watchdog).await;
        }
        systemd::stopping();
        self.stop().await;
    }

    fn next_wake(&self, watchdog: Option<Span>) -> Timestamp {
        let now = self.clock.now();
        let mut wake = self.engine.next_deadline(now).min(now + LONGEST_WAIT);
        if let Some(every) = watchdog {
            wake = wake.min(self.fed + every);
        }
        if self.engine.execution().is_some() {
            wake = wake.min(now + LOOK_EVERY);
        }
        if self.scribe.trouble().is_some() {
            wake = wake.min(now + RETRY_DISK);
        }
        wake
    }

    /// What is looked after between two inputs: the clock, the disk, a running execution, the watchdog.
    async fn look_after(&mut self, watchdog: Option<Span>) {
        if let Some(by) = self.clock.step() {
            self.fed += by;
            self.tried_disk += by;
            if let Some(keeper) = &self.keeper {
                keeper.clock_stepped(by);
            }
            self.take(Input::ClockStepped { by }).await;
        }
        let now = self.clock.now();
        if self.scribe.trouble().is_some() && now - self.tried_disk >= RETRY_DISK {
            self.tried_disk = now;
            if self.scribe.flush(now, self.engine.state()).await {
                self.take(Input::Degraded(None)).await;
            }
        }
        if let Some(execution) = self.engine.execution().map(String::from)
            && let Some(input) = self.executions.look(now, &execution)
        {
            self.take(input).await;
        }
        if watchdog.is_some_and(|every| now - self.fed >= every) {
            self.fed = now;
            systemd::alive();
        }
        for source in self.engine.asks_for(now) {
            self.collectors.ask(&source);
        }
        self.remotes.reap();
        self.senders.reap();
        self.collectors.reap();
    }

    /// One step, made durable, then done. What the doing brings up at once is a further step.
    async fn take(&mut self, input: Input) {
        let now = self.clock.now();
        let input = match input {
            // A look is dated when it was due, so never after now but where the clock was set back meanwhile.
            Input::Batch(mut batch) if batch.at > now || (now - batch.at).0 > BATCH_OFF.0.max(batch.interval.0 * 2) => {
                batch.at = now;
                Input::Batch(batch)
            }
            other => other,
        };
        self.note_position(&input);
        let mut effects = self.engine.step(now, input);
        // Degradation and its end are steps of their own, with messages of their own; they do not nest deeper.
        for _ in 0..2 {
            let was = self.scribe.trouble().is_some();
            let durable = self.perform(now, effects).await;
            if durable || was {
                return;
            }
            let why = self.scribe.trouble().unwrap_or("unknown").to_string();
            tracing::error!(%why, "The journal cannot be written; no rollback is begun until it can.");
            effects = self.engine.step(now, Input::Degraded(Some(why)));
        }
    }

    fn note_position(&mut self, input: &Input) {
        if let Input::Batch(batch) = input
            && let Some(checkpoint) = &batch.checkpoint
        {
            self.positions.insert((batch.source.clone(), batch.instance.clone()), checkpoint.clone());
        }
    }

    /// Does the effects in order. False when the journal could not be written.
    async fn perform(&mut self, now: Timestamp, effects: Vec<Effect>) -> bool {
        let mut durable = true;
        for effect in effects {
            match effect {
                Effect::Journal(events) => {
                    log(&events);
                    durable = self.scribe.write(now, &events, self.engine.state()).await;
                }
                Effect::Persist(kept) => self.keep(kept),
                Effect::Load { ticket, wanted, most } => self.load(ticket, wanted, most),
                Effect::History(question) => self.look_back(*question),
                Effect::Query(query) => self.remotes.ask(query, &self.inputs.0, &self.clock),
                Effect::Deliver(sending) => self.deliver(now, *sending, durable),
                // A rollback that could not be remembered is not begun, now or later: when the disk is back it
                // may not be needed any more. A person is paged and may start it.
                Effect::Execute(execution) if durable => self.executions.begin(now, &execution),
                Effect::Execute(execution) => {
                    self.executions.refuse(&execution, "the journal could not be written, so nothing was begun");
                }
                Effect::StopExecution(execution) => self.executions.stop(&execution),
                Effect::Evidence { run, content } => self.keep_evidence(&run, &content),
                Effect::Reply { ticket, reply } => {
                    let reply = if durable { reply } else { not_durable() };
                    if let Some(asker) = self.tickets.remove(&ticket) {
                        // Who asked may have gone; the command counts all the same.
                        drop(asker.send(reply));
                    }
                }
            }
        }
        durable
    }

    fn keep(&self, kept: Box<Kept>) {
        if let Some(keeper) = &self.keeper {
            keeper.keep(kept);
        }
    }

    fn load(&mut self, ticket: u64, wanted: Vec<Reach>, most: u64) {
        let Some(folder) = self.keeper.as_ref().map(|keeper| keeper.folder().to_owned()) else { return };
        let inputs = self.inputs.0.clone();
        self.senders.spawn("old samples", async move {
            // The loop is gone only at the very end; nobody needs them then.
            let to = inputs.clone();
            let send = move |input| drop(to.blocking_send(input));
            if let Err(why) = tasks::blocking(move || keeper::load(&folder, ticket, &wanted, most, send)).await {
                tracing::error!(%why, "The past that rules ask for is not read back.");
                drop(inputs.send(Input::Loaded { ticket, stretches: Vec::new(), end: Some(Err(why)) }).await);
            }
        });
    }

    /// What a rule's value was: read off the loop, one question after the other.
    fn look_back(&mut self, question: Question) {
        let look_back = self.engine.config().look_back;
        let hot = self.view(&history::of_memory(&question, look_back));
        let (inputs, turns) = (self.inputs.0.clone(), self.pasts.clone());
        self.senders.spawn("the past of a rule", async move {
            // Closed never: it is only dropped with the shell.
            let _turn = turns.acquire_owned().await;
            let ticket = question.ticket;
            let told = tasks::blocking(move || history::answer(&question, &hot, look_back)).await;
            let told = told.unwrap_or_else(|why| Told { ticket, what: Err(why) });
            if let Err(why) = &told.what {
                tracing::warn!(%why, "The past of a rule cannot be read; it is judged without.");
            }
            drop(inputs.send(Input::History(told)).await);
        });
    }

    fn deliver(&mut self, now: Timestamp, mut sending: Sending, durable: bool) {
        let Some(channel) = self.channels.get(&sending.delivery.channel).cloned() else { return };
        if !durable || self.scribe.trouble().is_some() {
            sending.delivery.because.push_str(" (not journaled: the disk cannot be written)");
        }
        let context = Context { zone: self.zone.clone(), secrets: wire::secrets(), now };
        let (inputs, clock) = (self.inputs.0.clone(), self.clock.clone());
        self.senders.spawn("delivery", async move {
            let result = channel.send(&sending, &context).await;
            let receipt = Receipt { id: sending.delivery.id.clone(), at: clock.now(), result };
            // The loop is gone only at the very end; the receipt is lost then, and the delivery sent again.
            drop(inputs.send(Input::Receipt(receipt)).await);
        });
    }

    fn keep_evidence(&self, run: &str, content: &str) {
        let all = self.state.join("evidence");
        let folder = all.join(run);
        let kept = crate::sys::files::ensure_dir(&all, 0o750)
            .and_then(|()| crate::sys::files::ensure_dir(&folder, 0o750))
            .and_then(|()| crate::sys::files::replace(&folder.join("evidence.json"), content.as_bytes(), 0o640));
        if let Err(error) = kept {
            tracing::error!(run, %error, "The evidence could not be kept; the rollback goes on without it.");
        }
    }

    async fn answer(&mut self, request: Request) {
        match request {
            Request::Snapshot(asker) => drop(asker.send(Arc::new(self.snapshot()))),
            Request::Command(command, asker) => {
                self.next_ticket += 1;
                let ticket = self.next_ticket;
                self.tickets.insert(ticket, asker);
                self.take(Input::Command { ticket, command }).await;
            }
            Request::Reload(asker) => {
                let result = self.reload().await;
                drop(asker.send(result));
            }
            Request::View(wanted, asker) => drop(asker.send(self.view(&wanted))),
        }
    }

    /// What queries read: the hot samples as they are between two steps, and where the older ones stand.
    fn view(&self, wanted: &[query::Wanted]) -> query::Hot {
        let store = self.engine.store();
        query::Hot {
            view: store.view(wanted.iter().map(|one| &one.selector)),
            since: store.held_since(),
            folder: self.keeper.as_ref().map(|keeper| keeper.folder().to_owned()),
        }
    }

    fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.engine.snapshot(self.clock.now());
        snapshot.config = self.config_name.clone();
        snapshot.state = self.state.display().to_string();
        snapshot.config_refused = self.config_refused.clone();
        match self.keeper.as_ref().map(Keeper::status) {
            Some(status) => {
                snapshot.not_kept = status.trouble;
                let counters = status.counters;
                let kept = [
                    ("backstop_archive_records_total", counters.records),
                    ("backstop_archive_samples_total", counters.samples),
                    ("backstop_archive_bytes_total", counters.bytes),
                    ("backstop_archive_syncs_total", counters.syncs),
                    ("backstop_archive_segments_removed_total", counters.removed),
                    ("backstop_archive_refused_total", counters.no_room + counters.failed),
                    ("backstop_archive_dropped_total", status.dropped),
                ];
                snapshot.counters.extend(kept.map(|(name, value)| (name.to_string(), value as f64)));
            }
            None => snapshot.not_kept = Some("the folder for samples could not be used at the start".into()),
        }
        snapshot
    }

    /// A bad configuration keeps the running one, and says so until a good one comes.
    async fn reload(&mut self) -> Result<String, String> {
        systemd::reloading();
        let built = (self.reload)();
        let result = match built {
            Ok(built) => {
                let mut text = format!("{}: in force", built.name);
                // Doors are opened at the start only.
                let doors =
                    [("[web] listen", built.listen != self.listen), ("[agent] socket", built.socket != self.socket)];
                let waiting: Vec<&str> = doors.iter().filter(|(_, changed)| *changed).map(|(key, _)| *key).collect();
                self.config_refused = None;
                self.install(built).await;
                tracing::info!("The configuration was read again and is in force.");
                if !waiting.is_empty() {
                    let keys = waiting.join(" and ");
                    tracing::warn!(%keys, "These take a restart; until then the old ones hold.");
                    text.push_str(&format!(", but for {keys}: that takes a restart"));
                }
                Ok(text)
            }
            Err(why) => {
                tracing::error!(%why, "The new configuration is refused; the running one stays in force.");
                self.config_refused = Some(why.clone());
                Err(why)
            }
        };
        systemd::ready(&self.status());
        result
    }

    async fn install(&mut self, mut built: Built) {
        std::mem::take(&mut self.collectors).stop(RELOAD_GRACE).await;
        std::mem::replace(&mut self.remotes, built.remotes).stop(RELOAD_GRACE).await;
        // What the old sources gave last belongs to the old configuration.
        while let Ok(input) = self.inputs.1.try_recv() {
            self.take(input).await;
        }
        built.engine.on_disk = self.keeper.is_some();
        self.channels = built.channels;
        self.zone = built.zone;
        self.config_name = built.name;
        let known: BTreeSet<SourceRef> = built.sources.iter().map(Source::reference).collect();
        self.positions.retain(|(source, _), _| known.contains(source));
        if let Some(keeper) = &self.keeper {
            keeper.set_options(built.archive);
            keeper.set_sources(known);
        }
        self.take(Input::Reload(Box::new(built.engine))).await;
        self.collectors = Collectors::start(built.sources, built.version, &self.clock, &self.inputs.0, &self.positions);
    }

    fn status(&self) -> String {
        let config = self.engine.config();
        format!("watching {}: {} sources, {} rules", config.app, config.sources.len(), config.rules.len())
    }

    async fn stop(mut self) {
        std::mem::take(&mut self.collectors).stop(Span::secs(1)).await;
        std::mem::take(&mut self.remotes).stop(Span::secs(1)).await;
        // Messages under way have a moment to arrive; what is not acknowledged by then is sent again at the next start.
        std::mem::take(&mut self.senders).finish(Span::secs(2)).await;
        while let Ok(input) = self.inputs.1.try_recv() {
            self.last_step(input).await;
        }
        self.last_step(Input::Stopping).await;
        self.scribe.close(self.clock.now(), self.engine.state()).await;
        if let Some(keeper) = self.keeper
            && let Err(why) = tasks::blocking(move || keeper.close()).await
        {
            tracing::error!(%why, "The last samples may not be on disk.");
        }
    }

    /// A step whose only effect is what is remembered of it.
    async fn last_step(&mut self, input: Input) {
        let now = self.clock.now();
        for effect in self.engine.step(now, input) {
            match effect {
                Effect::Journal(events) => drop(self.scribe.write(now, &events, self.engine.state()).await),
                Effect::Persist(kept) => self.keep(kept),
                _ => {}
            }
        }
    }
}

async fn wait_until(clock: &Clock, at: Timestamp) {
    clock.sleep_until(at).await;
}

fn not_durable() -> Reply {
    Reply::refused(
        "the journal could not be written, so this may not be remembered",
        "free space or mend the disk under the state folder, then say it again",
    )
}

fn log(events: &[Event]) {
    for line in events.iter().filter_map(Event::log_line) {
        tracing::info!("{line}");
    }
}
