//! systemd over the bus of the system (org.freedesktop.systemd1(5)).
//!
//! One connection: what changes is said by signals, what is by answers. A signal only means that it is worth looking; what it
//! says is not believed. While an answer is waited for, signals are noted, so that neither holds the other up.

use std::collections::{BTreeSet, HashMap};
use std::future::poll_fn;
use std::pin::Pin;

use futures_core::Stream;
use zbus::message::{Message, Type};
use zbus::{Connection, MessageStream, OwnedObjectPath, OwnedVariant, Variant};

use super::unit::{Active, Kind, Load, Properties, Unit, Value};
use crate::base::{Failure, Span};

const MANAGER: &str = "org.freedesktop.systemd1";
const MANAGER_INTERFACE: &str = "org.freedesktop.systemd1.Manager";
const ROOT: &str = "/org/freedesktop/systemd1";
const UNITS: &str = "/org/freedesktop/systemd1/unit";
const BUS: &str = "org.freedesktop.DBus";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// The most units that are each listened to; the bus allows 512 rules to one connection. With more, all are.
const MAX_RULES: usize = 100;

/// Where the bus is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// That of the system: `DBUS_SYSTEM_BUS_ADDRESS`, else the usual place.
    System,
    /// As D-Bus writes addresses: `unix:path=/run/dbus/system_bus_socket`.
    At(String),
}

/// What the manager says of a unit in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Whether there is such a unit.
    pub load: Load,
    /// What it does; none where the word is not known.
    pub active: Option<Active>,
    /// The same in more detail.
    pub sub: String,
}

/// What `ListUnitsByNames` gives for a unit: name, description, three states, what it follows, path, and its job.
type Listed = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

/// A connection to the bus, on which a number of units are listened to.
#[derive(Debug)]
pub struct Bus {
    connection: Connection,
    stream: MessageStream,
    names: Vec<String>,
    /// The objects of the units, in their order.
    paths: Vec<OwnedObjectPath>,
    /// Units that may have changed.
    noted: BTreeSet<usize>,
    /// The manager came back under another name, and has to be asked for its signals anew.
    is_new: bool,
    timeout: Span,
}

impl Bus {
    /// Connects, and listens to these units. Each question may take `timeout`, as may all of this.
    ///
    /// # Errors
    /// When the bus or the manager does not answer, or refuses.
    pub async fn connect(address: &Address, names: &[String], timeout: Span) -> Result<Bus, Failure> {
        let connecting = async {
            let builder = match address {
                Address::System => zbus::conn::Builder::system(),
                Address::At(text) => zbus::conn::Builder::address(text.as_str()),
            };
            let connection = builder.build().await.map_err(|error| failure(&error))?;
            let stream = MessageStream::from(&connection);
            let mut bus = Bus {
                connection,
                stream,
                names: names.to_vec(),
                paths: Vec::new(),
                noted: BTreeSet::new(),
                is_new: false,
                timeout,
            };
            bus.listen().await?;
            Ok(bus)
        };
        within(timeout, connecting).await
    }

    async fn listen(&mut self) -> Result<(), Failure> {
        let mut rules = vec![
            format!("type='signal',sender='{BUS}',interface='{BUS}',member='NameOwnerChanged',arg0='{MANAGER}'"),
            format!("type='signal',sender='{MANAGER}',interface='{MANAGER}.Manager',member='Reloading'"),
        ];
        if self.names.len() > MAX_RULES {
            rules.push(changes(&format!("path_namespace='{UNITS}'")));
        }
        for rule in rules {
            self.ask(BUS, "/org/freedesktop/DBus", BUS, "AddMatch", &rule).await?;
        }
        // First the ears, then the question: nothing that happens between is lost.
        self.is_new = true;
        self.states().await?;
        self.noted = (0..self.names.len()).collect();
        Ok(())
    }

    /// Takes in the objects of the units. A name may become an alias of another unit, whose object says what changes.
    async fn find(&mut self, paths: Vec<OwnedObjectPath>) -> Result<(), Failure> {
        let known: BTreeSet<String> = self.paths.iter().map(ToString::to_string).collect();
        self.paths = paths;
        if self.names.len() <= MAX_RULES {
            let new: BTreeSet<String> = self.paths.iter().map(ToString::to_string).collect();
            for path in new.difference(&known) {
                self.ask(BUS, "/org/freedesktop/DBus", BUS, "AddMatch", &changes(&format!("path='{path}'"))).await?;
            }
        }
        self.noted = (0..self.names.len()).collect();
        Ok(())
    }

    /// Waits until a unit may have changed; at the first call all may. Whoever ends the wait loses nothing.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn changed(&mut self) -> Result<(), Failure> {
        while self.noted.is_empty() {
            let message = next(&mut self.stream).await?;
            self.note(&message);
        }
        Ok(())
    }

    /// Takes the units that may have changed.
    pub fn take_changed(&mut self) -> BTreeSet<usize> {
        std::mem::take(&mut self.noted)
    }

    /// The unit at this place was not asked for after all.
    pub fn note_again(&mut self, at: usize) {
        self.noted.insert(at);
    }

    /// How long each question may take from now on.
    pub fn with_timeout(&mut self, timeout: Span) {
        self.timeout = timeout;
    }

    /// The states of all units, in their order: one question.
    ///
    /// # Errors
    /// When there is no answer, or it cannot be understood.
    pub async fn states(&mut self) -> Result<Vec<State>, Failure> {
        let timeout = self.timeout;
        within(timeout, async {
            if self.is_new {
                self.call(ROOT, MANAGER_INTERFACE, "Subscribe", &()).await?;
                self.is_new = false;
            }
            let names = self.names.clone();
            let mut listed: Vec<Listed> = body(&self.call(ROOT, MANAGER_INTERFACE, "ListUnitsByNames", &names).await?)?;
            if listed.len() != names.len() {
                let (n, of) = (listed.len(), names.len());
                return Err(Failure::new("bus", format!("systemd told of {n} units and was asked for {of}")));
            }
            let paths: Vec<OwnedObjectPath> = listed.iter().map(|unit| unit.6.clone()).collect();
            if paths != self.paths {
                // Asked again once these are listened to.
                self.find(paths).await?;
                listed = body(&self.call(ROOT, MANAGER_INTERFACE, "ListUnitsByNames", &names).await?)?;
            }
            let state =
                |unit: Listed| State { load: Load::parse(&unit.2), active: Active::parse(&unit.3), sub: unit.4 };
            Ok(listed.into_iter().map(state).collect())
        })
        .await
    }

    /// All that is said of the unit at this place of the list; none where nothing is said that can be understood.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn unit(&mut self, at: usize) -> Result<Option<Unit>, Failure> {
        let Some(path) = self.paths.get(at).cloned() else { return Ok(None) };
        let timeout = self.timeout;
        // An empty name means the properties of all its interfaces.
        let asking = self.call(path.as_str(), PROPERTIES, "GetAll", &"");
        let reply = match tokio::time::timeout(timeout.to_std(), asking).await {
            Ok(Err(Refusal::Answer(failure))) if failure.reason != "permission" => {
                tracing::debug!(%failure, unit = %self.names[at], "systemd does not tell of a unit.");
                return Ok(None);
            }
            Ok(reply) => reply?,
            Err(_) => return Err(late(timeout)),
        };
        let found: HashMap<String, OwnedVariant> = body(&reply)?;
        let mut all = Properties::default();
        for (name, value) in &found {
            all.put(name, |kind| value_of(kind, value));
        }
        Ok(Unit::new(&all))
    }

    async fn call<B>(&mut self, path: &str, interface: &str, method: &str, args: &B) -> Result<Message, Refusal>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        self.ask(MANAGER, path, interface, method, args).await
    }

    /// Asks, and notes signals until the answer is there: what is not taken out of the stream would hold it up.
    async fn ask<B>(
        &mut self,
        to: &str,
        path: &str,
        interface: &str,
        method: &str,
        args: &B,
    ) -> Result<Message, Refusal>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        let connection = self.connection.clone();
        let asking = connection.call_method(Some(to), path, Some(interface), method, args);
        tokio::pin!(asking);
        loop {
            tokio::select! {
                biased;
                reply = &mut asking => return reply.map_err(|error| refusal(&error)),
                message = next(&mut self.stream) => self.note(&message.map_err(Refusal::Broken)?),
            }
        }
    }

    /// Notes the units that a signal is about.
    fn note(&mut self, message: &Message) {
        if message.message_type() != Type::Signal {
            return;
        }
        let header = message.header();
        let member = header.member().map(|member| member.as_str()).unwrap_or_default();
        match member {
            "PropertiesChanged" => {
                let path = header.path().map(|path| path.as_str()).unwrap_or_default();
                // Two names may be of one unit.
                let meant = self.paths.iter().enumerate().filter(|(_, own)| own.as_str() == path);
                self.noted.extend(meant.map(|(at, _)| at));
            }
            "Reloading" => self.noted = (0..self.names.len()).collect(),
            "NameOwnerChanged" => {
                self.noted = (0..self.names.len()).collect();
                let owner = message.body().deserialize::<(String, String, String)>().map(|(_, _, owner)| owner);
                self.is_new |= owner.is_ok_and(|owner| !owner.is_empty());
            }
            _ => {}
        }
    }
}

/// The rule for changes of units, of which `which` says which.
fn changes(which: &str) -> String {
    format!("type='signal',sender='{MANAGER}',interface='{PROPERTIES}',member='PropertiesChanged',{which}")
}

async fn next(stream: &mut MessageStream) -> Result<Message, Failure> {
    match poll_fn(|cx| Stream::poll_next(Pin::new(&mut *stream), cx)).await {
        Some(Ok(message)) => Ok(message),
        Some(Err(error)) => Err(failure(&error)),
        None => Err(Failure::new("bus", "the bus ended the connection")),
    }
}

async fn within<T>(limit: Span, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(limit.to_std(), work).await.unwrap_or_else(|_| Err(late(limit)))
}

fn late(limit: Span) -> Failure {
    Failure::new("timeout", format!("the bus, or systemd on it, did not answer within {limit}"))
}

/// Why a question has no good answer.
enum Refusal {
    /// It was answered with an error.
    Answer(Failure),
    /// The connection does not work.
    Broken(Failure),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        match refusal {
            Refusal::Answer(failure) | Refusal::Broken(failure) => failure,
        }
    }
}

fn refusal(error: &zbus::Error) -> Refusal {
    match error {
        zbus::Error::FDO(_) | zbus::Error::MethodError(..) => Refusal::Answer(failure(error)),
        _ => Refusal::Broken(failure(error)),
    }
}

fn body<T>(message: &Message) -> Result<T, Failure>
where
    T: serde::de::DeserializeOwned + zbus::Type,
{
    let odd = |error: zbus::Error| Failure::new("bus", format!("an answer of systemd cannot be understood: {error}"));
    message.body().deserialize_ignore_signature().map_err(odd)
}

/// Why nothing was answered.
fn failure(error: &zbus::Error) -> Failure {
    use std::io::ErrorKind;
    let reason = match error {
        zbus::Error::InputOutput(error) if error.kind() == ErrorKind::PermissionDenied => "permission",
        zbus::Error::InputOutput(error) if error.kind() == ErrorKind::TimedOut => "timeout",
        zbus::Error::FDO(error)
            if matches!(**error, zbus::fdo::Error::AccessDenied(_) | zbus::fdo::Error::AuthFailed(_)) =>
        {
            "permission"
        }
        _ => "bus",
    };
    Failure::new(reason, format!("the bus of the system: {error}"))
}

fn value_of(kind: Kind, value: &Variant<'_>) -> Option<Value> {
    match (kind, value) {
        (_, Variant::Str(text)) => Some(Value::Text(text.to_string())),
        (_, Variant::ObjectPath(path)) => Some(Value::Text(path.to_string())),
        (_, Variant::Bool(is)) => Some(Value::Bool(*is)),
        (_, Variant::U32(n)) => Some(Value::Number(u64::from(*n))),
        (_, Variant::U64(n)) => Some(Value::Number(*n)),
        (_, Variant::I32(n)) => u64::try_from(*n).ok().map(Value::Number),
        (Kind::Program, Variant::Array(commands)) => match commands.inner().first()? {
            Variant::Structure(command) => match command.fields().first()? {
                Variant::Str(path) => Some(Value::Text(path.to_string())),
                _ => None,
            },
            _ => None,
        },
        (Kind::Text, Variant::Array(parts)) => {
            let mut text = String::new();
            for part in parts.inner() {
                match part {
                    // An id.
                    Variant::U8(byte) => text.push_str(&format!("{byte:02x}")),
                    Variant::Str(word) if text.is_empty() => text.push_str(word),
                    Variant::Str(word) => {
                        text.push(' ');
                        text.push_str(word);
                    }
                    _ => return None,
                }
            }
            Some(Value::Text(text))
        }
        _ => None,
    }
}
