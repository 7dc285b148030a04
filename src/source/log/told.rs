//! The journal, containers and programs as the origin of a log: pieces come as they are written.
//!
//! Enters: pieces. Leaves: batches of one target, or of one for each service where the table means several; each with the
//! checkpoint of what it tells. A trouble of the origin as a whole is one of the target that is called as the
//! table is; one of a service is its own.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::command::{self, Command};
use super::config::{Config, From};
use super::container::{self, Containers, Selection};
use super::journal::{self, Journal, Unit};
use super::keeping::{Keeping, record};
use super::origin::{Content, Piece};
use super::read::Event;
use super::teller::{Saved, Teller};
use crate::base::{Batch, Failure, Span, Timestamp};
use crate::source::common::Outside;
use crate::sys::clock::Clock;
use crate::sys::engine::{Address, Engine};

/// How often what fails says so again.
const AGAIN: Span = Span::secs(15);

/// How long the first word of an origin is waited for.
const FIRST_WORD: Span = Span::secs(4);

/// How long after the engine was heard its containers have to be heard of.
const SETTLE: Span = Span::secs(3);

/// The most services of one table.
const MAX_SERVICES: usize = 200;

/// An origin that is told.
#[derive(Debug)]
enum Origin {
    Journal(Box<Journal>),
    Containers(Box<Containers>),
    Command(Box<Command>),
}

/// Where an origin goes on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Position {
    Journal(journal::Saved),
    Containers(container::Saved),
    Command,
}

/// What is told of one table.
#[derive(Debug)]
pub struct Told {
    config: Config,
    origin: Origin,
    /// By `instance`. The one that is called as the table is stands for all of it.
    tellers: BTreeMap<String, Teller>,
    /// What is known of services of which nothing is there yet.
    resumable: BTreeMap<String, Saved<Position>>,
    /// Whose containers are whose, by the first part of their streams.
    owners: BTreeMap<String, String>,
    lines: Option<Keeping>,
    name: String,
    /// When the first word must have come.
    patience: Option<Timestamp>,
    began: bool,
    /// When what fails says so again.
    again: Timestamp,
    /// Why the origin as a whole cannot be read.
    blind: Option<Failure>,
    /// When it is judged which containers are missing: some time after the engine was heard.
    judge_at: Option<Timestamp>,
    /// Whether that was judged before: until then nothing is said to be well.
    was_judged: bool,
    /// Lines that the origin had cut when it was heard last.
    cut: u64,
}

impl Told {
    /// The origin of a table; nothing is asked yet.
    pub fn new(config: Config, outside: &Outside) -> Told {
        let written = config.common.reference.name.clone();
        let mut tellers = BTreeMap::new();
        for instance in declared(&config) {
            let service = instance.split_once('/').map(|(_, service)| service).filter(|_| is_several(&config.from));
            tellers.insert(instance.clone(), Teller::new(&config, &instance, service, Timestamp(0)));
        }
        if is_several(&config.from) {
            tellers.insert(written.clone(), Teller::new(&config, &written, None, Timestamp(0)).bare());
        }
        let origin = origin(&config, outside);
        let lines = Keeping::of(&config, outside);
        Told {
            config,
            origin,
            tellers,
            resumable: BTreeMap::new(),
            owners: BTreeMap::new(),
            lines,
            name: written,
            patience: None,
            began: false,
            again: Timestamp(0),
            blind: None,
            judge_at: None,
            was_judged: false,
            cut: 0,
        }
    }

    /// Goes on at the checkpoints. Of the journal and of a program the newest counts: another one is of when the table meant
    /// another one.
    pub fn resume(&mut self, checkpoints: &BTreeMap<&str, &[u8]>) {
        let mut all: Vec<(String, Saved<Position>)> = Vec::new();
        for (instance, bytes) in checkpoints {
            match serde_json::from_slice::<Saved<Position>>(bytes) {
                Ok(saved) if saved.is_known() => all.push(((*instance).to_string(), saved)),
                Ok(_) => tracing::error!(%instance, "A newer version wrote the position in a log; it is not used."),
                Err(error) => {
                    tracing::error!(%instance, %error, "The position in a log cannot be read and is not used.");
                }
            }
        }
        all.sort_by_key(|(_, saved)| saved.t);
        if let Origin::Containers(_) = &self.origin {
            return self.resume_containers(all);
        }
        if let Some((_, saved)) = all.pop()
            && let Position::Journal(at) = self.whole().resume(saved)
        {
            self.resume_journal(at);
        }
    }

    fn resume_containers(&mut self, all: Vec<(String, Saved<Position>)>) {
        let mut positions = Vec::new();
        for (instance, saved) in all {
            if let Position::Containers(at) = &saved.at {
                for id in at.ids() {
                    self.owners.insert(id.to_string(), instance.clone());
                }
                positions.push(at.clone());
            }
            match self.tellers.get_mut(&instance) {
                Some(teller) => drop(teller.resume(saved)),
                // It goes on when something of that service is there again.
                None => drop(self.resumable.insert(instance, saved)),
            }
        }
        if let Origin::Containers(origin) = &mut self.origin
            && let Some(all) = container::Saved::join(positions)
            && let Err(why) = origin.resume(all)
        {
            tracing::error!(log = %self.name, %why, "Reading begins with what is written from now on.");
        }
    }

    fn resume_journal(&mut self, at: journal::Saved) {
        if let Origin::Journal(origin) = &mut self.origin {
            match Journal::resume(journal_config(&self.config), at) {
                Ok(journal) => **origin = journal,
                Err(why) => {
                    tracing::error!(log = %self.name, %why, "Reading begins with what is written from now on.");
                }
            }
        }
    }

    /// The next batch; waits until there is something to tell.
    pub async fn next(&mut self, clock: &Clock) -> Batch {
        if !self.began {
            self.began = true;
            let now = clock.now();
            self.tellers.values_mut().for_each(|teller| teller.begin(now));
            self.patience = Some(now + FIRST_WORD);
        }
        loop {
            let now = clock.now();
            if let Some(batch) = self.told(now) {
                return batch;
            }
            let due = self.due(now);
            let piece = async {
                match &mut self.origin {
                    Origin::Journal(journal) => journal.next().await,
                    Origin::Containers(containers) => containers.next().await,
                    Origin::Command(command) => command.next().await,
                }
            };
            let timer = async {
                match due {
                    Some(due) => clock.sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let piece = tokio::select! { biased; () = timer => None, piece = piece => Some(piece) };
            match piece {
                Some(piece) => self.take(&piece, clock.now()).await,
                None => self.pass(clock.now()),
            }
        }
    }

    /// Time passed: the first word is overdue, or what fails says so again.
    fn pass(&mut self, now: Timestamp) {
        if self.patience.is_some_and(|patience| patience <= now) {
            self.patience = None;
            let what = self.config.from.written();
            let why = format!("{what}: nothing was heard for {FIRST_WORD}; it is waited for");
            self.whole().fail(Failure::new("timeout", why));
        }
        if self.judge_at.is_some_and(|at| at <= now || at > now + SETTLE) {
            self.judge_at = None;
            self.judge();
        }
        if self.again <= now || self.again > now + AGAIN {
            self.again = now + AGAIN;
            self.tellers.values_mut().filter(|teller| teller.fails()).for_each(|teller| teller.repeat(now));
        }
    }

    /// When to wake without a piece.
    fn due(&self, now: Timestamp) -> Option<Timestamp> {
        if let Some(patience) = self.patience {
            return Some(patience.min(now + FIRST_WORD));
        }
        let failing = self.tellers.values().any(Teller::fails).then(|| self.again.min(now + AGAIN));
        let judge = self.judge_at.map(|at| at.min(now + SETTLE));
        // What may not be told yet is nothing to wake for: it would be due at once, again and again.
        let tellers = self.tellers.values().filter(|_| !self.is_early());
        tellers.filter_map(|teller| teller.due(now)).chain(failing).chain(judge).min()
    }

    /// No line is kept for search.
    pub fn keep_nothing(&mut self) {
        self.lines = None;
    }

    /// What was read and not told.
    pub fn last(&mut self, now: Timestamp) -> Vec<Batch> {
        let all: Vec<String> =
            self.tellers.iter().filter(|(_, t)| t.has_news()).map(|(name, _)| name.clone()).collect();
        all.iter().filter_map(|instance| self.batch(instance, now)).collect()
    }

    /// The batch of a target of which something is due to be told; none before the origin said its first word.
    fn told(&mut self, now: Timestamp) -> Option<Batch> {
        if self.is_early() {
            return None;
        }
        let due = self.tellers.iter().filter_map(|(instance, teller)| Some((teller.due(now)?, instance)));
        let (_, instance) = due.filter(|(due, _)| *due <= now).min()?;
        let instance = instance.clone();
        self.batch(&instance, now)
    }

    /// Whether nothing may be told yet: the origin did not say its first word, or it is not known yet who is missing.
    fn is_early(&self) -> bool {
        self.patience.is_some() || (self.judge_at.is_some() && !self.was_judged)
    }

    fn batch(&mut self, instance: &str, now: Timestamp) -> Option<Batch> {
        let position = self.position(instance);
        let teller = self.tellers.get_mut(instance)?;
        let mut batch = teller.batch(now);
        match teller.save(position, now) {
            Ok(bytes) => batch.checkpoint = Some(bytes),
            Err(error) => tracing::error!(log = %self.name, %error, "The position cannot be kept."),
        }
        Some(batch)
    }

    fn position(&self, instance: &str) -> Position {
        match &self.origin {
            Origin::Journal(journal) => Position::Journal(journal.save()),
            Origin::Command(_) => Position::Command,
            Origin::Containers(containers) => {
                let owner = |id: &str| self.owners.get(id).map_or(self.name.as_str(), String::as_str);
                Position::Containers(containers.save().only(|id| owner(id) == instance))
            }
        }
    }

    /// The target that stands for the table as a whole.
    fn whole(&mut self) -> &mut Teller {
        let config = &self.config;
        self.tellers
            .entry(self.name.clone())
            .or_insert_with_key(|written| Teller::new(config, written, None, Timestamp(0)))
    }

    async fn take(&mut self, piece: &Piece, now: Timestamp) {
        self.patience = None;
        if let Content::Gap(why) = &piece.content {
            tracing::warn!(log = %self.name, place = %piece.place, %why, "Lines may be missing.");
        }
        let instance = self.instance(piece);
        if let (Origin::Containers(_), None) = (&self.origin, &piece.service) {
            self.spread(&piece.content, now);
        }
        let all_cut = self.n_cut();
        let cut = all_cut.saturating_sub(std::mem::replace(&mut self.cut, all_cut));
        let mut records = Vec::new();
        let config = &self.config;
        let is_new = !self.tellers.contains_key(&instance);
        let teller = self
            .tellers
            .entry(instance.clone())
            .or_insert_with(|| Teller::new(config, &instance, piece.service.as_deref(), now));
        if is_new {
            teller.begin(now);
            if let Some(saved) = self.resumable.remove(&instance) {
                teller.resume(saved);
            }
        }
        let mut keep = |event: Event<'_>| records.push(record(&event, &piece.place));
        let each: Option<&mut dyn FnMut(Event<'_>)> = if self.lines.is_some() { Some(&mut keep) } else { None };
        teller.take(&piece.stream, &piece.place, &piece.content, now, each);
        teller.cut(cut);
        // Something of it is there.
        if matches!(piece.content, Content::Began | Content::Lines(..))
            && teller.failure().is_some_and(|failure| failure.reason == "missing")
        {
            teller.recover();
        }
        if let Some(lines) = &mut self.lines
            && !records.is_empty()
        {
            let lost = lines.keep(records, now).await;
            teller.lose(lost);
        }
        if teller.fails() {
            self.again = now + AGAIN;
        }
    }

    /// The target that a piece counts for.
    fn instance(&mut self, piece: &Piece) -> String {
        let Origin::Containers(_) = &self.origin else { return self.name.clone() };
        // What concerns the engine, and what comes when there are too many, is no container's.
        if piece.service.is_none() || !is_several(&self.config.from) {
            self.own(piece, &self.name.clone());
            return self.name.clone();
        }
        let named = piece.place.split(" (").next().unwrap_or_default();
        let is_known = self.tellers.contains_key(named) || self.tellers.len() < MAX_SERVICES;
        let instance = if is_known { named.to_string() } else { self.name.clone() };
        self.own(piece, &instance);
        if matches!(piece.content, Content::Ended)
            && let Origin::Containers(containers) = &self.origin
        {
            let there: BTreeSet<String> = containers.save().ids().map(ToString::to_string).collect();
            self.owners.retain(|id, _| there.contains(id));
        }
        instance
    }
}

impl Told {
    /// Notes whose container a piece is of.
    fn own(&mut self, piece: &Piece, instance: &str) {
        let id = piece.stream.split('/').next().unwrap_or_default();
        if piece.service.is_some() && self.owners.get(id).is_none_or(|owner| owner != instance) {
            self.owners.insert(id.to_string(), instance.to_string());
        }
    }

    /// The engine as a whole fails or is well: so does, and is, every service of which nothing else is known.
    fn spread(&mut self, content: &Content, now: Timestamp) {
        match content {
            Content::Failed(failure) => {
                self.blind = Some(failure.clone());
                (self.judge_at, self.was_judged) = (None, true);
                let well = self.tellers.values_mut().filter(|teller| !teller.fails());
                well.for_each(|teller| teller.fail(failure.clone()));
            }
            Content::Well => {
                let blind = self.blind.take();
                let same = self.tellers.values_mut().filter(|teller| teller.failure() == blind.as_ref());
                same.for_each(Teller::recover);
                self.judge_at = Some(now + SETTLE);
            }
            _ => {}
        }
    }

    /// Containers that are named and of which nothing was ever seen: a typo, or they come later.
    fn judge(&mut self) {
        self.was_judged = true;
        let Origin::Containers(_) = &self.origin else { return };
        let (nobody, meant) = (self.owners.is_empty(), self.config.from.written());
        for (instance, teller) in &mut self.tellers {
            let is_whole = *instance == self.name;
            let seen = if is_whole { !nobody } else { self.owners.values().any(|owner| owner == instance) };
            if !seen && !teller.has_lines() && !teller.fails() {
                let what = if is_whole { &meant } else { instance };
                let why = format!("no container is there that {what} means, and none was since reading began");
                teller.fail(Failure::new("missing", why));
            }
        }
    }

    /// How many lines the origin cut, since this process began.
    fn n_cut(&self) -> u64 {
        match &self.origin {
            Origin::Journal(journal) => journal.tallies().cut(),
            Origin::Containers(containers) => containers.n_cut(),
            Origin::Command(command) => command.n_cut(),
        }
    }
}

/// The targets that exist from the start: one that is called as the table is, or where several containers are named, each of
/// them.
fn declared(config: &Config) -> Vec<String> {
    match &config.from {
        From::Containers(all) if is_several(&config.from) => {
            all.iter().filter(|one| !one.contains('*')).cloned().collect()
        }
        _ => vec![config.common.reference.name.clone()],
    }
}

/// Whether a table may mean several services, each a target of its own.
fn is_several(from: &From) -> bool {
    matches!(from, From::Containers(all) if all.len() > 1 || all.iter().any(|one| one.contains('*')))
}

fn journal_config(config: &Config) -> journal::Config {
    let units = match &config.from {
        From::Journal(units) => units.iter().filter_map(|unit| Unit::parse(unit).ok()).collect(),
        _ => Vec::new(),
    };
    journal::Config { max_message: config.max_line, ..journal::Config::new(units) }
}

fn origin(config: &Config, outside: &Outside) -> Origin {
    match &config.from {
        From::Containers(all) => {
            let wanted = all.iter().filter_map(|one| Selection::parse(one).ok()).collect();
            let address = outside.house.engine.as_deref().and_then(|engine| Address::parse(engine).ok());
            Origin::Containers(Box::new(Containers::new(wanted, Engine::new(address)).with_max_line(config.max_line)))
        }
        From::Command(argv) => {
            let config = command::Config { max_line: config.max_line, ..command::Config::new(argv.clone()) };
            Origin::Command(Box::new(Command::new(config)))
        }
        From::Files(_) | From::Journal(_) => Origin::Journal(Box::new(Journal::new(journal_config(config)))),
    }
}
