//! An engine for tests: containers, logs and events as a test says, over a real socket.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use crate::sys::clock::Clock;
use crate::sys::engine::{Address, Engine, Stream};
use crate::sys::tasks::Tasks;

/// What an engine knows.
#[derive(Default)]
pub(super) struct World {
    pub(super) containers: Vec<Fake>,
    events: Vec<String>,
    /// Further elements of the list, as they stand.
    pub(super) listed: Vec<String>,
    /// Instead of an answer to what begins with this path.
    pub(super) instead: Option<(&'static str, Vec<u8>)>,
    /// Nobody answers.
    pub(super) hangs: bool,
    /// The answer with a log that is not followed has no end.
    pub(super) stalls: bool,
    is_down: bool,
    /// With each death all connections end.
    deaths: u64,
    pub(super) requests: Vec<String>,
}

/// A container.
#[derive(Clone, Default)]
pub(super) struct Fake {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) service: Option<(String, String)>,
    pub(super) is_running: bool,
    pub(super) created: i64,
    pub(super) has_terminal: bool,
    pub(super) driver: String,
    pub(super) finished: String,
    pub(super) log: Vec<Entry>,
}

/// An entry of a log.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) stream: Stream,
    pub(super) at: i64,
    pub(super) text: Vec<u8>,
}

/// A running engine; ends with the value.
pub(super) struct FakeEngine {
    world: Arc<Mutex<World>>,
    changed: Arc<watch::Sender<u64>>,
    path: PathBuf,
    _folder: tempfile::TempDir,
    _tasks: Tasks,
}

/// The id that a number stands for.
pub(super) fn id(n: usize) -> String {
    format!("{n:064x}")
}

/// Now, in nanoseconds since 1970.
pub(super) fn now() -> i64 {
    Clock::new().now().millis() * 1_000_000
}

/// The time of an entry as engines write it.
pub(super) fn stamp(at: i64) -> String {
    format!("{:.9}", jiff::Timestamp::from_nanosecond(at.into()).unwrap())
}

impl Fake {
    /// One that runs.
    pub(super) fn service(n: usize, project: &str, service: &str) -> Fake {
        Fake {
            id: id(n),
            name: format!("{project}-{service}-{n}"),
            service: Some((project.into(), service.into())),
            is_running: true,
            created: now() / 1_000_000_000,
            driver: "json-file".into(),
            ..Fake::default()
        }
    }

    fn labels(&self) -> String {
        let Some((project, service)) = &self.service else { return "\"x\":\"y\"".into() };
        format!("\"com.docker.compose.project\":\"{project}\",\"com.docker.compose.service\":\"{service}\"")
    }
}

impl FakeEngine {
    pub(super) fn start() -> FakeEngine {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let world = Arc::new(Mutex::new(World::default()));
        let changed = Arc::new(watch::Sender::new(0));
        let mut tasks = Tasks::new();
        let (its_world, its_changed) = (world.clone(), changed.clone());
        tasks.spawn("fake engine", async move {
            let mut all = Tasks::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (world, changed) = (its_world.clone(), its_changed.subscribe());
                all.spawn("fake connection", async move { serve(stream, &world, changed).await });
            }
        });
        FakeEngine { world, changed, path, _folder: folder, _tasks: tasks }
    }

    pub(super) fn engine(&self) -> Engine {
        Engine::new(Some(Address::Socket(self.path.clone())))
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Changes something and lets all connections look.
    pub(super) fn change(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.world());
        self.changed.send_modify(|n| *n += 1);
    }

    /// Adds a container, with its event if it runs.
    pub(super) fn add(&self, fake: Fake) {
        self.change(|world| {
            if fake.is_running {
                world.events.push(event(&fake, "start"));
            }
            world.containers.push(fake);
        });
    }

    pub(super) fn write(&self, n: usize, stream: Stream, at: i64, text: &str) {
        self.change(|world| {
            let entry = Entry { stream, at, text: text.as_bytes().to_vec() };
            world.containers.iter_mut().find(|c| c.id == id(n)).unwrap().log.push(entry);
        });
    }

    /// The container ends, or starts again.
    pub(super) fn run(&self, n: usize, is_running: bool) {
        self.change(|world| {
            let container = world.containers.iter_mut().find(|c| c.id == id(n)).unwrap();
            container.is_running = is_running;
            if !is_running {
                container.finished = stamp(now());
            }
            let told = event(container, if is_running { "start" } else { "die" });
            world.events.push(told);
        });
    }

    pub(super) fn remove(&self, n: usize) {
        self.change(|world| {
            let at = world.containers.iter().position(|c| c.id == id(n)).unwrap();
            let gone = world.containers.remove(at);
            world.events.push(event(&gone, "destroy"));
        });
    }

    /// An event as it stands.
    pub(super) fn tell(&self, event: String) {
        self.change(|world| world.events.push(event));
    }

    /// All connections end, as when an engine is killed; events of before are forgotten.
    pub(super) fn kill(&self) {
        self.change(|world| {
            world.deaths += 1;
            world.events.clear();
        });
    }

    /// Nobody is there, or somebody again.
    pub(super) fn set_down(&self, is_down: bool) {
        self.change(|world| {
            world.is_down = is_down;
            world.deaths += 1;
        });
    }
}

fn event(fake: &Fake, action: &str) -> String {
    format!(
        "{{\"Type\":\"container\",\"Action\":\"{action}\",\"Actor\":{{\"ID\":\"{}\",\"Attributes\":{{{},\"name\":\"{}\"}}}}}}\n",
        fake.id,
        fake.labels(),
        fake.name
    )
}

async fn serve(mut stream: UnixStream, world: &Mutex<World>, mut changed: watch::Receiver<u64>) {
    let death = world.lock().unwrap().deaths;
    let is_alive = |world: &World| world.deaths == death && !world.is_down;
    let Some(path) = request(&mut stream).await else { return };
    let (mut sent, mut is_first) = (0, true);
    loop {
        changed.borrow_and_update();
        let (bytes, is_over) = {
            let mut world = world.lock().unwrap();
            if is_first {
                world.requests.push(path.clone());
            }
            if !is_alive(&world) {
                return;
            }
            match world.hangs {
                true => (Vec::new(), false),
                false => answer(&world, &path, &mut sent, is_first),
            }
        };
        is_first &= bytes.is_empty();
        if stream.write_all(&bytes).await.is_err() || is_over {
            drop(stream.shutdown().await);
            return;
        }
        // The end of the other side is an end too.
        let mut byte = [0];
        tokio::select! {
            changed = changed.changed() => if changed.is_err() { return },
            _ = stream.read(&mut byte) => return,
        }
    }
}

async fn request(stream: &mut UnixStream) -> Option<String> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 1024]);
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer).await.ok()? {
            0 => return None,
            n => bytes.extend_from_slice(&buffer[..n]),
        }
    }
    let text = String::from_utf8(bytes).ok()?;
    assert!(text.starts_with("GET "), "only GET is sent: {text}");
    text.split(' ').nth(1).map(str::to_string)
}

/// What is to be sent now, and whether that is all.
fn answer(world: &World, path: &str, sent: &mut usize, is_first: bool) -> (Vec<u8>, bool) {
    let path = path.strip_prefix("/v1.41").unwrap_or(path);
    if let Some((begin, bytes)) = &world.instead
        && path.contains(begin)
    {
        return (bytes.clone(), true);
    }
    let head = |status: &str| format!("HTTP/1.0 {status} X\r\n\r\n").into_bytes();
    let with = |body: String| ([head("200"), body.into_bytes()].concat(), true);
    if path == "/version" {
        return with("{\"ApiVersion\":\"1.41\",\"MinAPIVersion\":\"1.12\"}".into());
    }
    if path.starts_with("/events") {
        let begin = if is_first { head("200") } else { Vec::new() };
        let new = world.events[(*sent).min(world.events.len())..].concat();
        *sent = world.events.len();
        return ([begin, new.into_bytes()].concat(), false);
    }
    if path.starts_with("/containers/json") {
        let state = |c: &Fake| if c.is_running { "running" } else { "exited" };
        let element = |c: &Fake| {
            let (id, name, state, labels) = (&c.id, &c.name, state(c), c.labels());
            let created = c.created;
            format!(
                "{{\"Id\":\"{id}\",\"Names\":[\"/{name}\"],\"State\":\"{state}\",\"Created\":{created},\"Labels\":{{{labels}}}}}"
            )
        };
        let all: Vec<_> = world.containers.iter().map(element).chain(world.listed.iter().cloned()).collect();
        return with(format!("[{}]", all.join(",")));
    }
    let Some(container) = world.containers.iter().find(|c| path.contains(&c.id)) else {
        if !is_first {
            return (Vec::new(), true);
        }
        return ([head("404"), b"{\"message\":\"No such container\"}".to_vec()].concat(), true);
    };
    if path.ends_with("/json") {
        let Fake { is_running, has_terminal, driver, finished, .. } = container;
        return with(format!(
            "{{\"State\":{{\"Running\":{is_running},\"FinishedAt\":\"{finished}\"}},\"Config\":{{\"Tty\":{has_terminal}}},
            \"HostConfig\":{{\"LogConfig\":{{\"Type\":\"{driver}\"}}}}}}"
        ));
    }
    if container.driver == "syslog" {
        let said = "{\"message\":\"configured logging driver does not support reading\"}";
        return ([head("501"), said.as_bytes().to_vec()].concat(), true);
    }
    let follows = path.contains("follow=1");
    let since = path.split("since=").nth(1).map_or(0, |since| {
        let (seconds, nanos) = since.split_once('.').unwrap();
        seconds.parse::<i64>().unwrap() * 1_000_000_000 + nanos.parse::<i64>().unwrap()
    });
    let mut bytes = if is_first { head("200") } else { Vec::new() };
    for entry in &container.log[(*sent).min(container.log.len())..] {
        if entry.at >= since {
            bytes.extend(encoded(entry, container.has_terminal));
        }
    }
    *sent = container.log.len();
    (bytes, if follows { !container.is_running } else { !world.stalls })
}

/// As an engine sends it.
pub(super) fn encoded(entry: &Entry, has_terminal: bool) -> Vec<u8> {
    let payload = [stamp(entry.at).as_bytes(), b" ", &entry.text].concat();
    if has_terminal {
        return payload;
    }
    let kind = entry.stream as u8 + 1;
    [&[kind, 0, 0, 0][..], &(payload.len() as u32).to_be_bytes(), &payload].concat()
}
