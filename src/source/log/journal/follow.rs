//! Keeps a journalctl running, and notices when it dies or hangs.

use std::convert::Infallible;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::entry::{FIELDS, Line, Scanner};
use super::gather::{Cursor, Gather, Own, Taken, Tallies};
use super::query::{self, Trouble};
use super::unit::{self, Unit};
use super::{Config, Position};
use crate::base::{Failure, Span};
use crate::source::log::origin::{Content, Piece};
use crate::sys::clock::{Stopwatch, pause};
use crate::sys::feed::{Feed, Heard};
use crate::sys::process::Identity;

/// How often in a row journalctl may die before it is said.
const MOST_DEATHS: u32 = 2;

/// How often in a row it may hang before it is said.
const MOST_HANGS: u32 = 3;

/// A piece, if there is one, and the position behind it.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) piece: Option<Piece>,
    pub(super) position: Position,
}

pub(super) struct Worker {
    config: Config,
    sender: mpsc::Sender<Given>,
    /// Up to where everything was sent.
    position: Position,
    scanner: Scanner,
    gather: Gather,
    /// Reads on and on.
    feed: Feed,
    /// Answers questions.
    asked: Feed,
    health: Health,
    n_deaths: u32,
    n_hangs: u32,
    /// A position that was found to be gone, and said.
    missed: Option<Cursor>,
    /// What the pieces about the journal itself are of.
    place: Arc<str>,
}

/// What was said last about the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Unknown,
    Well,
    /// Cured when the journal can be asked.
    Refused,
    /// Cured when journalctl gives something or runs for a while.
    Died,
    /// Cured when journalctl gives something or turns out to have nothing to give.
    Hung,
}

/// What came of a chunk.
#[derive(Clone, Copy, Debug, Default)]
struct Came {
    /// Whether there was an entry behind the position.
    is_new: bool,
    /// How many lines were none.
    n_strange: u64,
}

impl Worker {
    pub(super) fn new(
        config: Config,
        position: Position,
        sender: mpsc::Sender<Given>,
        tallies: Arc<Tallies>,
    ) -> Worker {
        let own = Own {
            unit: unit::own(),
            pid: Identity::own().pid.to_string(),
            exe: std::env::current_exe().ok().and_then(|path| path.into_os_string().into_string().ok()),
        };
        let place: Vec<&str> = config.units.iter().map(Unit::name).collect();
        let mut gather = Gather::new(config.units.clone(), own, tallies);
        gather.go_to(position.cursor().cloned());
        Worker {
            sender,
            position,
            scanner: Scanner::new(config.max_message),
            gather,
            feed: Feed::default(),
            asked: Feed::default(),
            health: Health::Unknown,
            n_deaths: 0,
            n_hangs: 0,
            missed: None,
            place: place.join(", ").into(),
            config,
        }
    }

    pub(super) async fn run(mut self) -> Infallible {
        loop {
            let trouble = match self.session().await {
                Err(trouble) => trouble,
                Ok(never) => match never {},
            };
            self.feed.end().await;
            let wait = self.react(trouble).await;
            pause(wait).await;
        }
    }

    /// Says what went wrong, if it is time to; how long to wait.
    async fn react(&mut self, trouble: Trouble) -> Span {
        let (health, failure) = match trouble {
            Trouble::Refused(failure) => (Health::Refused, Some(failure)),
            Trouble::Died(failure) => {
                self.n_deaths = self.n_deaths.saturating_add(1);
                (Health::Died, Some(failure).filter(|_| self.n_deaths >= MOST_DEATHS))
            }
            Trouble::Hung(failure) => {
                self.n_hangs = self.n_hangs.saturating_add(1);
                (Health::Hung, Some(failure).filter(|_| self.n_hangs >= MOST_HANGS))
            }
        };
        let pace = self.config.pace;
        if let Some(failure) = failure {
            self.health = health;
            self.give(Content::Failed(failure)).await;
        }
        match health {
            Health::Refused => pace.refused,
            _ => {
                let n = (self.n_deaths + self.n_hangs).saturating_sub(1).min(16);
                Span(pace.retry.0 << n).min(pace.longest)
            }
        }
    }

    /// Reads until something goes wrong.
    async fn session(&mut self) -> Result<Infallible, Trouble> {
        self.find_position().await?;
        if matches!(self.health, Health::Unknown | Health::Refused) {
            self.well().await;
        }
        self.read(false).await?;
        self.read(true).await?;
        Err(Trouble::Died(Failure::new("exit", "journalctl ended")))
    }

    /// Looks whether the position is still there; where there is none, takes that of now.
    async fn find_position(&mut self) -> Result<(), Trouble> {
        let Some(cursor) = self.position.cursor().cloned() else {
            let last = self.ask(vec!["--lines=1".into()], 1).await?;
            if self.position == Position::Unset {
                self.move_to(last.last().cloned()).await;
            }
            return Ok(());
        };
        let nearest = match self.ask(vec![format!("--cursor={cursor}")], 1).await {
            Err(Trouble::Died(failure)) if failure.detail.contains("seek to cursor") => {
                self.give(Content::Gap("journalctl does not understand the position that was saved".into())).await;
                let last = self.ask(vec!["--lines=1".into()], 1).await?;
                self.move_to(last.last().cloned()).await;
                return Ok(());
            }
            nearest => nearest?,
        };
        if nearest.first() != Some(&cursor) && self.missed.as_ref() != Some(&cursor) {
            self.missed = Some(cursor);
            let why = "the journal does not have the last entry that was read any more: journald has deleted it, or this \
                       is the journal of another machine";
            self.give(Content::Gap(why.into())).await;
        }
        Ok(())
    }

    /// Runs journalctl, to its end or for as long as it goes.
    async fn read(&mut self, follow: bool) -> Result<(), Trouble> {
        self.scanner.reset();
        self.gather.begin();
        let args = self.args(follow);
        query::start(&mut self.feed, &self.config.program, args).await?;
        let (began, mut quiet) = (Stopwatch::start(), Stopwatch::start());
        let pace = self.config.pace;
        let mut wait = pace.quiet;
        let (mut out, mut said) = (Vec::new(), Vec::new());
        loop {
            let until_check = wait - quiet.elapsed();
            let until_steady = (self.health == Health::Died && follow).then(|| pace.steady - began.elapsed());
            let left = until_steady.map_or(until_check, |steady| steady.min(until_check)).max(Span::ZERO);
            let heard = tokio::select! {
                biased;
                heard = self.feed.hear(&mut out, &mut said) => Some(heard),
                () = pause(left) => None,
            };
            query::keep_end(&mut said);
            if self.take(&mut out).await.is_new {
                (quiet, wait) = (Stopwatch::start(), pace.quiet);
                if follow {
                    self.recovered().await;
                }
            }
            if let Some(Heard::Ended(exit)) = heard {
                if began.elapsed() >= pace.steady {
                    self.n_deaths = 0;
                }
                let is_whole = !follow && exit == Some(crate::sys::process::Exit::Code(0));
                return match query::refusal(&said) {
                    _ if is_whole => Ok(()),
                    Some(failure) => Err(Trouble::Refused(failure)),
                    None => Err(Trouble::Died(query::ended(exit.as_ref(), &said))),
                };
            }
            if self.health == Health::Died && follow && began.elapsed() >= pace.steady {
                self.n_deaths = 0;
                self.well().await;
            }
            if quiet.elapsed() >= wait {
                if !follow {
                    return Err(self.silent("to read on"));
                }
                if self.is_behind().await? && !self.catches_up(&mut out, &mut said).await {
                    return Err(self.silent("to give an entry that another journalctl has given"));
                }
                self.recovered().await;
                (quiet, wait) = (Stopwatch::start(), (wait + wait).min(Span(pace.quiet.0 * 4)));
            }
        }
    }

    /// Takes what journalctl printed, and sends it on.
    async fn take(&mut self, out: &mut Vec<u8>) -> Came {
        let mut came = Came::default();
        let mut bytes = out.as_slice();
        while let Some(line) = self.scanner.next(&mut bytes) {
            let taken = match line {
                Line::Entry(entry) => self.gather.take(entry),
                Line::Strange => Taken::Strange,
            };
            match taken {
                Taken::New => came.is_new = true,
                Taken::Known => {}
                Taken::Strange => {
                    self.gather.strange();
                    came.n_strange += 1;
                }
            }
        }
        out.clear();
        for (piece, cursor) in self.gather.pieces() {
            self.position = Position::At(cursor);
            self.send(Some(piece)).await;
        }
        if came.n_strange > 0 {
            self.give(Content::Gap(format!("{} lines of journalctl were no entries", came.n_strange))).await;
        }
        if came.is_new && self.gather.position() != self.position.cursor() {
            self.move_to(self.gather.position().cloned()).await;
        }
        came
    }

    /// Whether there is an entry that was not given. What is there before the next entry of the units is passed over.
    async fn is_behind(&mut self) -> Result<bool, Trouble> {
        let last = self.ask(vec!["--lines=1".into()], 1).await?;
        let Some(last) = last.last().filter(|last| Some(*last) != self.position.cursor()) else { return Ok(false) };
        if self.reads_all() {
            return Ok(true);
        }
        let from = match self.position.cursor() {
            Some(cursor) => format!("--cursor={cursor}"),
            None => "--lines=1".into(),
        };
        let next = self.ask([from].into_iter().chain(self.units()).collect(), 2).await?;
        if next.iter().any(|cursor| Some(cursor) != self.position.cursor()) {
            return Ok(true);
        }
        // `last` was there before it was seen that nothing of the units comes behind the position.
        self.move_to(Some(Arc::clone(last))).await;
        Ok(false)
    }

    /// Whether journalctl gives an entry in time.
    async fn catches_up(&mut self, out: &mut Vec<u8>, said: &mut Vec<u8>) -> bool {
        let watch = Stopwatch::start();
        loop {
            let left = (self.config.pace.given - watch.elapsed()).max(Span::ZERO);
            let heard = tokio::select! {
                biased;
                heard = self.feed.hear(out, said) => heard,
                () = pause(left) => return false,
            };
            query::keep_end(said);
            // One that has ended is noticed by whoever reads next.
            if self.take(out).await.is_new || heard != Heard::More {
                return true;
            }
        }
    }

    fn silent(&self, what: &str) -> Trouble {
        let help = "if this stays, a file of the journal may be damaged: journalctl --verify names it";
        Trouble::Hung(Failure::new("hang", format!("journalctl runs and fails {what}; it was started again; {help}")))
    }

    /// journalctl has shown that it works.
    async fn recovered(&mut self) {
        (self.n_deaths, self.n_hangs) = (0, 0);
        if self.health != Health::Well {
            self.well().await;
        }
    }

    async fn well(&mut self) {
        self.health = Health::Well;
        self.give(Content::Well).await;
    }

    async fn ask(&mut self, args: Vec<String>, most: usize) -> Result<Vec<Cursor>, Trouble> {
        query::entries(&mut self.asked, &self.config.program, args, most, self.config.pace.answer).await
    }

    async fn move_to(&mut self, cursor: Option<Cursor>) {
        self.gather.go_to(cursor.clone());
        self.position = cursor.map_or(Position::Empty, Position::At);
        self.send(None).await;
    }

    /// Sends something about the journal itself.
    async fn give(&mut self, content: Content) {
        let place = Arc::clone(&self.place);
        self.send(Some(Piece { stream: "journal".into(), place, service: None, content })).await;
    }

    async fn send(&self, piece: Option<Piece>) {
        let position = self.position.clone();
        // The receiver lives as long as this future.
        drop(self.sender.send(Given { piece, position }).await);
    }

    /// Whether all of the journal is read, and the units are picked out here.
    fn reads_all(&self) -> bool {
        self.config.units.iter().any(Unit::is_pattern)
    }

    fn units(&self) -> Vec<String> {
        let units = self.config.units.iter().filter(|_| !self.reads_all());
        units.map(|unit| format!("--unit={}", unit.name())).collect()
    }

    fn args(&self, follow: bool) -> Vec<String> {
        let fields: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).filter(|name| !name.starts_with("__")).collect();
        let fixed = ["--output=json", "--all", "--quiet", "--no-pager", "--no-tail"];
        let mut args: Vec<String> = fixed.map(String::from).to_vec();
        args.push(format!("--output-fields={}", fields.join(",")));
        args.extend(follow.then(|| "--follow".to_string()));
        args.extend(self.position.cursor().map(|cursor| format!("--cursor={cursor}")));
        args.extend(self.units());
        args
    }
}
