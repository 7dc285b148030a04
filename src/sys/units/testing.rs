//! A bus with a systemd on it that says what a test wants, over a socket of its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use futures_core::Stream;
use tokio::net::{UnixListener, UnixStream};
use zbus::message::{Message, Type};
use zbus::{Connection, MessageStream, ObjectPath, OwnedObjectPath, OwnedVariant, Variant};

use super::bus::Address;
use crate::sys::tasks::Tasks;

/// How the systemd of a test behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Manner {
    #[default]
    Answers,
    /// Reads questions and never answers.
    Hangs,
    /// Answers questions about units with something else.
    Babbles,
    /// Refuses, as a policy of the bus does.
    Refuses,
    /// Answers questions about one unit with an error.
    Denies,
    /// Takes its time for each unit.
    Slow,
}

#[derive(Debug, Default)]
struct Shared {
    manner: Manner,
    units: BTreeMap<String, BTreeMap<String, OwnedVariant>>,
    connections: Vec<Connection>,
    /// The methods that were called, with what about.
    calls: Vec<String>,
}

/// The bus; it ends with the value.
#[derive(Debug)]
pub(crate) struct Fake {
    place: tempfile::TempDir,
    shared: Arc<Mutex<Shared>>,
    tasks: Option<Tasks>,
}

impl Fake {
    pub(crate) fn new() -> Fake {
        let mut fake = Fake { place: tempfile::tempdir().unwrap(), shared: Arc::default(), tasks: None };
        fake.start();
        fake
    }

    pub(crate) fn address(&self) -> Address {
        Address::At(format!("unix:path={}", self.place.path().join("bus").display()))
    }

    pub(crate) fn start(&mut self) {
        let path = self.place.path().join("bus");
        drop(std::fs::remove_file(&path));
        let listener = UnixListener::bind(&path).unwrap();
        let shared = self.shared.clone();
        let mut tasks = Tasks::new();
        tasks.spawn("bus", async move {
            let mut inner = Tasks::new();
            while let Ok((stream, _)) = listener.accept().await {
                inner.spawn("connection", serve(stream, shared.clone()));
            }
        });
        self.tasks = Some(tasks);
    }

    /// The bus dies, with all connections.
    pub(crate) fn kill(&mut self) {
        self.tasks = None;
        self.shared.lock().unwrap().connections.clear();
        drop(std::fs::remove_file(self.place.path().join("bus")));
    }

    pub(crate) fn behave(&self, manner: Manner) {
        self.shared.lock().unwrap().manner = manner;
    }

    /// The methods that were called since this was asked last.
    pub(crate) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().unwrap().calls)
    }

    /// Sets properties of a unit without a word about it.
    pub(crate) fn set(&self, unit: &str, properties: &[(&str, Variant<'static>)]) {
        let mut shared = self.shared.lock().unwrap();
        let own = shared.units.entry(unit.to_string()).or_insert_with(|| plain(unit));
        for (name, value) in properties {
            own.insert((*name).to_string(), value.try_to_owned().unwrap());
        }
    }

    /// Sets properties of a unit, and says that it changed.
    pub(crate) async fn change(&self, unit: &str, properties: &[(&str, Variant<'static>)]) {
        self.set(unit, properties);
        self.signal(unit).await;
    }

    pub(crate) async fn signal(&self, unit: &str) {
        let connections = self.shared.lock().unwrap().connections.clone();
        for connection in connections {
            let body = ("org.freedesktop.systemd1.Unit", HashMap::<&str, Variant<'_>>::new(), Vec::<&str>::new());
            let to = None::<&str>;
            let interface = "org.freedesktop.DBus.Properties";
            drop(connection.emit_signal(to, path(unit), interface, "PropertiesChanged", &body).await);
        }
    }
}

/// A service that runs.
fn plain(unit: &str) -> BTreeMap<String, OwnedVariant> {
    let texts = [
        ("Id", unit),
        ("LoadState", "loaded"),
        ("ActiveState", "active"),
        ("SubState", "running"),
        ("Type", "simple"),
        ("Result", "success"),
        ("FragmentPath", "/etc/systemd/system/x.service"),
    ];
    let mut all: BTreeMap<String, OwnedVariant> =
        texts.iter().map(|(n, v)| ((*n).to_string(), Variant::new(*v).try_to_owned().unwrap())).collect();
    for (name, value) in [
        ("NRestarts", Variant::new(0u32)),
        ("MemoryCurrent", Variant::new(4096u64)),
        ("MemoryMax", Variant::new(u64::MAX)),
        ("TasksCurrent", Variant::new(3u64)),
        ("CPUUsageNSec", Variant::new(1_500_000_000u64)),
        ("ExecMainStartTimestamp", Variant::new(1_700_000_000_000_000u64)),
        ("InvocationID", Variant::new(vec![0xabu8; 16])),
        ("TriggeredBy", Variant::new(Vec::<String>::new())),
    ] {
        all.insert(name.to_string(), value.try_to_owned().unwrap());
    }
    all
}

fn path(unit: &str) -> OwnedObjectPath {
    let text: String = unit
        .bytes()
        .map(|b| if b.is_ascii_alphanumeric() { (b as char).to_string() } else { format!("_{b:02x}") })
        .collect();
    ObjectPath::try_from(format!("/org/freedesktop/systemd1/unit/{text}")).unwrap().into()
}

async fn serve(stream: UnixStream, shared: Arc<Mutex<Shared>>) {
    let Ok(stream) = stream.into_std() else { return };
    let builder = zbus::conn::Builder::unix_stream(stream).server(zbus::Guid::generate()).p2p();
    let Ok(mut messages) = builder.build_message_stream().await else { return };
    let connection = Connection::from(&messages);
    shared.lock().unwrap().connections.push(connection.clone());
    while let Some(Ok(message)) = next(&mut messages).await {
        if message.message_type() == Type::MethodCall {
            answer(&connection, &message, &shared).await;
        }
    }
}

async fn next(stream: &mut MessageStream) -> Option<zbus::Result<Message>> {
    std::future::poll_fn(|cx| Stream::poll_next(std::pin::Pin::new(&mut *stream), cx)).await
}

async fn answer(connection: &Connection, message: &Message, shared: &Arc<Mutex<Shared>>) {
    let header = message.header();
    let method = header.member().unwrap().as_str().to_string();
    let manner = {
        let mut shared = shared.lock().unwrap();
        let about = message.body().deserialize::<String>().ok().filter(|about| !about.is_empty());
        let about = about.or_else(|| header.path().map(|path| path.to_string()).filter(|_| method == "GetAll"));
        shared.calls.push(format!("{method} {}", about.unwrap_or_default()).trim().to_string());
        shared.manner
    };
    let said = match (method.as_str(), manner) {
        ("Hello", _) => connection.reply(&header, &":1.7").await,
        ("AddMatch", _) => connection.reply(&header, &()).await,
        (_, Manner::Hangs) => Ok(()),
        (_, Manner::Refuses) => {
            connection.reply_error(&header, "org.freedesktop.DBus.Error.AccessDenied", &"not for you").await
        }
        (_, Manner::Babbles) => connection.reply(&header, &(1u8, "what?")).await,
        ("GetAll", Manner::Denies) => {
            connection.reply_error(&header, "org.freedesktop.systemd1.NoSuchUnit", &"no such unit").await
        }
        ("LoadUnit", _) => connection.reply(&header, &path(&message.body().deserialize::<String>().unwrap())).await,
        ("ListUnitsByNames", _) => {
            let names: Vec<String> = message.body().deserialize().unwrap();
            let listed: Vec<_> = names.iter().map(|name| listed(name, &shared.lock().unwrap())).collect();
            connection.reply(&header, &listed).await
        }
        ("GetAll", _) => {
            if manner == Manner::Slow {
                crate::sys::clock::pause(crate::base::Span::millis(30)).await;
            }
            let at = header.path().unwrap().to_string();
            let found = {
                let shared = shared.lock().unwrap();
                let found = shared.units.iter().find(|(name, _)| path(name).as_str() == at);
                found.map_or_else(missing, |(_, all)| all.clone())
            };
            connection.reply(&header, &found.into_iter().collect::<HashMap<_, _>>()).await
        }
        _ => connection.reply(&header, &()).await,
    };
    drop(said);
}

fn missing() -> BTreeMap<String, OwnedVariant> {
    let texts = [("Id", "?"), ("LoadState", "not-found"), ("ActiveState", "inactive"), ("SubState", "dead")];
    texts.iter().map(|(n, v)| ((*n).to_string(), Variant::new(*v).try_to_owned().unwrap())).collect()
}

fn listed(
    name: &str,
    shared: &Shared,
) -> (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath) {
    let missing = missing();
    let all = shared.units.get(name).unwrap_or(&missing);
    let text = |key: &str| match &*all[key] {
        Variant::Str(text) => text.to_string(),
        _ => String::new(),
    };
    let at = path(name);
    (
        name.into(),
        String::new(),
        text("LoadState"),
        text("ActiveState"),
        text("SubState"),
        String::new(),
        at.clone(),
        0,
        String::new(),
        at,
    )
}
