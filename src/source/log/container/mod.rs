//! What containers write, each line once, read through their engine.
//!
//! Enters: which containers are meant, an engine, and where the reading stood before. Leaves: pieces, with a stream for each of
//! the two streams of a container (`ID/stdout`, `ID/stderr`), one for troubles of a container (`ID`), and one for those of the
//! engine (`engine`).
//!
//! Containers that are there when they are looked for the first time are read from then on; all others from their
//! beginning, those too that came, or came and ended, while nobody looked. Of one service the rest of a container that
//! ended comes before what its successor wrote. What was handed on is known by [`Saved`], and a reading that begins
//! again with it gives what follows, nothing less and nothing twice: over a restart here, and over one of the engine.
//!
//! One task watches for containers, one follows each (at most [`MAX_FOLLOWED`]); all decisions are taken here, between two
//! messages of theirs. They wait on channels with few places, so nothing is read ahead of who takes it: the engine's own
//! files hold the rest. Fails: reason `driver` (a log that the engine cannot read), and those of the [engine](crate::sys::engine).
//!
//! What the engine throws away is lost: where it rotates a log that is not read, a gap is told; where it drops lines
//! itself (`mode=non-blocking`) nobody can know.
//!
//! - `selection`: which · `watch`: what there is · `follow`: one log · `lines`: from bytes to lines · `position`,
//!   `saved`: how far

#[cfg(test)]
mod fake;
mod follow;
mod lines;
mod position;
mod saved;
mod selection;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::{Notify, Semaphore, mpsc};

use self::follow::{Follower, Over, Read, Shared, Told};
use self::position::{Advance, Position};
pub use self::saved::Saved;
pub use self::selection::Selection;
use self::watch::{List, MAX_LISTED, News, Watcher};
use super::origin::{Content, Piece};
use crate::base::Failure;
use crate::sys::engine::{Container, Engine, Happened, Id, Stream};
use crate::sys::tasks::Tasks;

/// The most containers that are followed at once.
pub const MAX_FOLLOWED: usize = 200;

/// The longest line, in bytes, where nothing else is said.
pub const MAX_LINE: usize = 64 << 10;

/// How many bytes the unfinished lines of all containers may hold.
const ROOM: usize = 4 << 20;

/// How many followers ask the engine at once.
const ASKING: usize = 16;

/// How many messages of followers wait; each holds what one read gave, some 16 KiB.
const WAITING_LINES: usize = 16;

/// How many events wait.
const WAITING_NEWS: usize = 256;

/// The logs of containers.
#[derive(Debug)]
pub struct Containers {
    engine: Engine,
    wanted: Arc<[Selection]>,
    max_line: usize,
    /// What is tracked: what runs, and what has ended and is still there.
    tracked: BTreeMap<Id, Tracked>,
    /// How many were ever tracked.
    n_tracked: u64,
    /// When containers were listed for the first time ever.
    first: Option<i64>,
    /// What was meant when the reading stood where it goes on; none once it was looked at.
    meant_before: Option<Vec<String>>,
    ready: VecDeque<(Option<Piece>, Effect)>,
    /// Why the engine cannot be read, as far as it was told; none before the first word about it.
    engine_state: Option<Result<(), &'static str>>,
    /// How many containers were left out, as far as it was told.
    n_left_out: usize,
    n_cut: u64,
    running: Option<Running>,
}

/// The tasks, and the channels from them.
#[derive(Debug)]
struct Running {
    tasks: Tasks,
    news: mpsc::Receiver<News>,
    told: mpsc::Receiver<(Id, Told)>,
    shared: Shared,
    again: Arc<Notify>,
}

/// What the return of a piece means for the position.
#[derive(Debug)]
enum Effect {
    None,
    Advance(Id, Advance),
    Finish(Id, String),
    Forget(Id),
}

/// A container that is meant.
#[derive(Debug)]
struct Tracked {
    container: Container,
    /// How far what was returned reaches.
    position: Position,
    /// How far what was read reaches: what is ready to be returned included.
    read: Position,
    state: State,
    /// It started while it was followed: there is more to read when the follower ends.
    again: bool,
    /// The engine removed it.
    is_gone: bool,
    /// Which streams were told to have begun.
    begun: Vec<Stream>,
    /// Why it cannot be read, as far as it was told.
    failed: Option<&'static str>,
    /// Rings when it ended.
    died: Arc<Notify>,
    /// How many were tracked before it.
    n_before: u64,
    names: Names,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// There is nothing to read.
    Resting,
    /// It is to be followed.
    Due,
    /// A task follows it.
    Followed,
    /// It is gone, and only what was read of it is still to be returned.
    Leaving,
}

/// How its pieces are named.
#[derive(Debug)]
struct Names {
    own: Arc<str>,
    out: Arc<str>,
    err: Arc<str>,
    place: Arc<str>,
    service: Arc<str>,
}

impl Names {
    fn new(container: &Container) -> Names {
        let short = container.id.short();
        let (place, service) = match &container.service {
            Some((project, service)) => (format!("{project}/{service} ({short})"), service.clone()),
            None => (format!("{} ({short})", container.name), container.name.clone()),
        };
        let stream = |stream: Stream| format!("{}/{}", container.id, stream.as_str()).into();
        Names {
            own: container.id.as_str().into(),
            out: stream(Stream::Out),
            err: stream(Stream::Err),
            place: place.into(),
            service: service.into(),
        }
    }

    fn stream(&self, stream: Stream) -> &Arc<str> {
        match stream {
            Stream::Out => &self.out,
            Stream::Err => &self.err,
        }
    }

    fn piece(&self, stream: &Arc<str>, content: Content) -> Piece {
        let service = Some(self.service.clone());
        Piece { stream: stream.clone(), place: self.place.clone(), service, content }
    }
}

impl Containers {
    /// The logs of the containers that one of `wanted` means. Nothing is asked before the first [`Containers::next`].
    pub fn new(wanted: Vec<Selection>, engine: Engine) -> Containers {
        Containers {
            engine,
            wanted: wanted.into(),
            max_line: MAX_LINE,
            tracked: BTreeMap::new(),
            n_tracked: 0,
            first: None,
            meant_before: None,
            ready: VecDeque::new(),
            engine_state: None,
            n_left_out: 0,
            n_cut: 0,
            running: None,
        }
    }

    /// With lines of at most so many bytes; never fewer than 1024.
    #[must_use]
    pub fn with_max_line(mut self, bytes: usize) -> Containers {
        self.max_line = bytes;
        self
    }

    /// Goes on where the reading stood. Called before the first [`Containers::next`].
    ///
    /// # Errors
    /// When a newer program saved it: then nothing is changed.
    pub fn resume(&mut self, saved: Saved) -> Result<(), String> {
        let saved = saved.checked()?;
        self.first = saved.first;
        self.meant_before = Some(saved.selections);
        for (id, position) in saved.containers {
            let container = Container::unseen(id);
            self.track(container, position);
        }
        Ok(())
    }

    /// Where the reading stands after all pieces that were returned.
    pub fn save(&self) -> Saved {
        let containers = self.tracked.values().map(|t| (t.container.id.clone(), t.position.clone())).collect();
        Saved::new(self.wanted.iter().map(ToString::to_string).collect(), self.first, containers)
    }

    /// How many lines were longer than they may be, since this value was made.
    pub fn n_cut(&self) -> u64 {
        self.n_cut
    }

    /// The next piece. Waits for one; a wait that is given up loses nothing.
    pub async fn next(&mut self) -> Piece {
        loop {
            while let Some((piece, effect)) = self.ready.pop_front() {
                self.take_effect(effect);
                if let Some(piece) = piece {
                    return piece;
                }
            }
            let running = self.running.get_or_insert_with(|| start(&self.engine, &self.wanted, self.max_line));
            // Both are kept open from here.
            tokio::select! {
                biased;
                Some(news) = running.news.recv() => self.hear(news),
                Some((id, told)) = running.told.recv() => self.take(&id, told),
                else => std::future::pending().await,
            }
        }
    }

    fn take_effect(&mut self, effect: Effect) {
        match effect {
            Effect::None => {}
            Effect::Advance(id, advance) => {
                if let Some(tracked) = self.tracked.get_mut(&id) {
                    tracked.position.advance(&advance);
                }
            }
            Effect::Finish(id, finished) => {
                if let Some(tracked) = self.tracked.get_mut(&id) {
                    tracked.position.finish(finished);
                }
            }
            Effect::Forget(id) => drop(self.tracked.remove(&id)),
        }
    }

    /// News of the engine.
    fn hear(&mut self, news: News) {
        match news {
            News::List(list) => self.compare(list),
            News::Event(happened, container) => self.happen(happened, container),
            News::Down(failure) => {
                if self.engine_state != Some(Err(failure.reason)) {
                    self.engine_state = Some(Err(failure.reason));
                    self.say_of_engine(Content::Failed(failure));
                }
            }
        }
    }

    /// Compares what there is with what is tracked.
    fn compare(&mut self, list: List) {
        if self.engine_state != Some(Ok(())) {
            self.engine_state = Some(Ok(()));
            self.say_of_engine(Content::Well);
        }
        let is_first = self.first.is_none();
        let first = *self.first.get_or_insert(list.at);
        let meant_before = self.meant_before.take();
        for tracked in self.tracked.values_mut() {
            let is_listed = list.n_left_out > 0 || list.containers.iter().any(|c| c.id == tracked.container.id);
            tracked.is_gone |= !is_listed;
        }
        // The oldest first: engines list the newest first, and know the age in whole seconds.
        for container in list.containers.into_iter().rev() {
            match self.tracked.get_mut(&container.id) {
                Some(tracked) => tracked.see(container),
                // What had ended before the first look is old.
                None if is_first && !container.is_running => {}
                None => {
                    let was_meant = meant_before.as_ref().is_none_or(|before| means(before, &container));
                    let floor = if was_meant { first } else { list.at };
                    let id = container.id.clone();
                    self.track(container, Position::new(floor));
                    if let Some(tracked) = self.tracked.get_mut(&id) {
                        tracked.state = State::Due;
                    }
                }
            }
        }
        self.forget_gone();
        self.say_left_out(list.n_left_out, list.n_unread);
        self.start_due();
    }

    fn happen(&mut self, happened: Happened, container: Container) {
        let id = container.id.clone();
        let tracked = self.tracked.get_mut(&id);
        match (happened, tracked) {
            (Happened::Started, Some(tracked)) => tracked.start(),
            (Happened::Started, None) => {
                // Without a first list there will be one.
                let Some(first) = self.first else { return };
                if self.tracked.len() >= MAX_LISTED {
                    return self.list_again();
                }
                self.track(container, Position::new(first));
                if let Some(tracked) = self.tracked.get_mut(&id) {
                    tracked.state = State::Due;
                }
            }
            (Happened::Died, Some(tracked)) => {
                tracked.container.is_running = false;
                if tracked.state == State::Followed {
                    tracked.died.notify_one();
                }
            }
            (Happened::Destroyed, Some(tracked)) => {
                tracked.is_gone = true;
                self.forget_gone();
            }
            (Happened::Renamed, _) => self.list_again(),
            (Happened::Died | Happened::Destroyed, None) => {}
            // Not asked for.
            (
                Happened::Created
                | Happened::Oom
                | Happened::Health
                | Happened::Paused
                | Happened::Unpaused
                | Happened::Restarted,
                _,
            ) => {}
        }
        self.start_due();
    }

    /// What a follower tells.
    fn take(&mut self, id: &Id, told: Told) {
        let Some(tracked) = self.tracked.get_mut(id) else { return };
        match told {
            Told::Opened { has_terminal, is_running } => {
                tracked.container.is_running = is_running;
                let streams = if has_terminal { &Stream::ALL[..1] } else { &Stream::ALL[..] };
                for stream in streams {
                    if !tracked.begun.contains(stream) {
                        tracked.begun.push(*stream);
                        let piece = tracked.names.piece(tracked.names.stream(*stream), Content::Began);
                        self.ready.push_back((Some(piece), Effect::None));
                    }
                }
                if tracked.failed.take().is_some() {
                    let piece = tracked.names.piece(&tracked.names.own, Content::Well);
                    self.ready.push_back((Some(piece), Effect::None));
                }
            }
            Told::Lines(reads) => {
                for Read { text, n_cut, at, advance } in reads {
                    self.n_cut += n_cut;
                    tracked.read.advance(&advance);
                    let content = Content::Lines(text, Some(at));
                    let piece = tracked.names.piece(tracked.names.stream(advance.stream), content);
                    self.ready.push_back((Some(piece), Effect::Advance(id.clone(), advance)));
                }
            }
            Told::Gap(stream) => {
                let why = "the engine threw lines of its log away that were not read yet".into();
                let piece = tracked.names.piece(tracked.names.stream(stream), Content::Gap(why));
                self.ready.push_back((Some(piece), Effect::None));
            }
            Told::Failed(failure) => self.fail(id, failure),
            Told::Over(over) => self.end(id, over),
        }
        self.start_due();
    }

    fn fail(&mut self, id: &Id, failure: Failure) {
        let Some(tracked) = self.tracked.get_mut(id) else { return };
        if tracked.failed.replace(failure.reason) == Some(failure.reason) {
            return;
        }
        let piece = tracked.names.piece(&tracked.names.own, Content::Failed(failure));
        self.ready.push_back((Some(piece), Effect::None));
    }

    /// The follower of a container ended.
    fn end(&mut self, id: &Id, over: Over) {
        let Some(tracked) = self.tracked.get_mut(id) else { return };
        tracked.state = if std::mem::take(&mut tracked.again) { State::Due } else { State::Resting };
        match over {
            Over::Ended(finished) => {
                tracked.container.is_running = tracked.state == State::Due;
                tracked.read.finish(finished.clone());
                tracked.end_streams(&mut self.ready);
                self.ready.push_back((None, Effect::Finish(id.clone(), finished)));
            }
            Over::Gone => tracked.is_gone = true,
            // A list says whether it is still there, and its follower goes on where this one stood.
            Over::Lost => self.list_again(),
            Over::Unreadable(failure) => self.fail(id, failure),
        }
        self.forget_gone();
        self.start_due();
    }

    /// Ends what the engine removed, once nobody follows it any more.
    fn forget_gone(&mut self) {
        let gone = self.tracked.values_mut().filter(|t| t.is_gone);
        for tracked in gone.filter(|t| !matches!(t.state, State::Followed | State::Leaving)) {
            tracked.state = State::Leaving;
            tracked.end_streams(&mut self.ready);
            self.ready.push_back((None, Effect::Forget(tracked.container.id.clone())));
        }
    }

    /// Starts followers for what is due, the oldest first, as many as there may be.
    fn start_due(&mut self) {
        let Some(running) = &mut self.running else { return };
        running.tasks.reap();
        let mut n_followed = self.tracked.values().filter(|t| t.state == State::Followed).count();
        let mut due: Vec<_> = self.tracked.values().filter(|t| t.state == State::Due).collect();
        due.sort_by_key(|tracked| tracked.age());
        let due: Vec<Id> = due.into_iter().map(|tracked| tracked.container.id.clone()).collect();
        for id in due {
            if n_followed >= MAX_FOLLOWED {
                break;
            }
            if self.waits_for_predecessor(&id) {
                continue;
            }
            let Some((tracked, running)) = self.tracked.get_mut(&id).zip(self.running.as_mut()) else { continue };
            tracked.state = State::Followed;
            n_followed += 1;
            let follower = Follower {
                shared: running.shared.clone(),
                id,
                position: tracked.read.clone(),
                died: tracked.died.clone(),
            };
            running.tasks.spawn("container log", follower.run());
        }
    }

    /// Whether an older container of the same service has ended, and its rest is still being read.
    fn waits_for_predecessor(&self, id: &Id) -> bool {
        let Some(own) = self.tracked.get(id) else { return false };
        self.tracked.values().any(|other| {
            matches!(other.state, State::Due | State::Followed)
                && !other.container.is_running
                && other.container.service.is_some()
                && other.container.service == own.container.service
                && other.age() < own.age()
        })
    }

    fn track(&mut self, container: Container, position: Position) {
        let tracked = Tracked {
            names: Names::new(&container),
            read: position.clone(),
            position,
            state: State::Resting,
            again: false,
            is_gone: false,
            begun: Vec::new(),
            failed: None,
            died: Arc::default(),
            n_before: self.n_tracked,
            container,
        };
        self.n_tracked += 1;
        self.tracked.insert(tracked.container.id.clone(), tracked);
    }

    fn list_again(&self) {
        if let Some(running) = &self.running {
            running.again.notify_one();
        }
    }

    fn say_left_out(&mut self, n_left_out: usize, n_unread: usize) {
        let n_over = self
            .tracked
            .values()
            .filter(|t| matches!(t.state, State::Due | State::Followed) && t.container.is_running)
            .count();
        let n_all = n_left_out + n_unread + n_over.saturating_sub(MAX_FOLLOWED);
        if std::mem::replace(&mut self.n_left_out, n_all) == n_all || n_all == 0 {
            return;
        }
        let why = if n_unread > 0 {
            format!(
                "{n_all} containers are not read, {n_unread} of them because the engine describes them at too great a length"
            )
        } else {
            format!("{n_all} containers are not read: {MAX_FOLLOWED} are the most that are followed at once")
        };
        self.say_of_engine(Content::Gap(why));
    }

    fn say_of_engine(&mut self, content: Content) {
        let place = self.engine.address().to_string().into();
        let piece = Piece { stream: "engine".into(), place, service: None, content };
        self.ready.push_back((Some(piece), Effect::None));
    }
}

impl Tracked {
    /// Takes over what a list says of it.
    fn see(&mut self, container: Container) {
        self.names = Names::new(&container);
        self.container = container;
        // What had ended may have run meanwhile; its follower finds out.
        if self.state == State::Resting {
            self.state = State::Due;
        }
    }

    /// It was started.
    fn start(&mut self) {
        // An event may be an old one: whether it runs is known where nothing of it is to be read, and else its follower says.
        match self.state {
            State::Resting => (self.state, self.container.is_running) = (State::Due, true),
            State::Followed => self.again = true,
            State::Due | State::Leaving => {}
        }
    }

    /// The age among those of its service: what was listed by when it was made, what an event told of is the youngest.
    fn age(&self) -> (i64, u64) {
        let created = if self.container.created == 0 { i64::MAX } else { self.container.created };
        (created, self.n_before)
    }

    fn end_streams(&mut self, ready: &mut VecDeque<(Option<Piece>, Effect)>) {
        for stream in std::mem::take(&mut self.begun) {
            let piece = self.names.piece(self.names.stream(stream), Content::Ended);
            ready.push_back((Some(piece), Effect::None));
        }
        if self.failed.take().is_some() {
            // What failed is not there any more; its successor is judged anew.
            ready.push_back((Some(self.names.piece(&self.names.own, Content::Well)), Effect::None));
        }
    }
}

fn means(selections: &[String], container: &Container) -> bool {
    selections.iter().filter_map(|text| Selection::parse(text).ok()).any(|selection| selection.means(container))
}

fn start(engine: &Engine, wanted: &Arc<[Selection]>, max_line: usize) -> Running {
    let (news_to, news) = mpsc::channel(WAITING_NEWS);
    let (told_to, told) = mpsc::channel(WAITING_LINES);
    let again = Arc::new(Notify::new());
    let (asking, room) = (Arc::new(Semaphore::new(ASKING)), Arc::new(Semaphore::new(ROOM)));
    let shared = Shared { engine: engine.clone(), told: told_to, asking, room, max_line };
    let watcher = Watcher { engine: engine.clone(), wanted: wanted.clone(), news: news_to, again: again.clone() };
    let mut tasks = Tasks::new();
    tasks.spawn("container watch", watcher.run());
    Running { tasks, news, told, shared, again }
}
