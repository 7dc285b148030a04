//! A container engine, Docker or one that speaks like it, and what it is asked: versions, containers, events, figures, logs, images.
//!
//! Enters: where it listens, and a question. Leaves: values of [`told`], or the bytes of a log, or a [`Failure`]: reason
//! `missing`, `permission`, `refused`, `timeout` (nobody answers), `broken`, `protocol`, `too-large`, `version` (no such
//! answer is one), `status` (the engine refuses). Only `GET` is sent, and only to `/version`, `/info`, `/events`,
//! `/containers/json`, `/containers/ID/json`, `/containers/ID/logs`, `/containers/ID/stats` and `/images/ID/json`: a proxy that
//! answers no more is enough. The one exception is [`inside`].
//!
//! The library `bollard` is not used: it gathers a list whole before it is looked at and a frame before it is handed on, whatever
//! length they announce; panics on a frame of an unknown stream; has whole seconds only for where a log is to begin; and
//! writes what it reads to its own log. Here each answer is read piece by piece within bounds.
//!
//! - `address`: where, and what to do when it refuses · `call`: one question · `objects`, `told`: JSON · `frame`: logs ·
//!   `inside`: programs in containers

pub mod address;
pub mod call;
pub mod frame;
pub mod inside;
pub mod objects;
pub mod told;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

pub use self::address::Address;
use self::call::Call;
pub use self::frame::Stream;
pub use self::inside::{Bounds, Inside, Left};
use self::objects::{Object, Objects};
use self::told::Version;
pub use self::told::{Container, Event, Happened, Health, Id, Image, Info, Inspected, Limits, Policy, State};
use crate::base::{Failure, Span};
use crate::sys::cgroup::{Figures, Interface};

/// The lowest version of the API that is enough: Docker 20.10.
const OLDEST: Version = Version(1, 41);

/// The newest version that is asked for: what later ones change is unknown.
const NEWEST: Version = Version(1, 51);

/// How long a short answer may take.
const SHORT: Span = Span::secs(10);

/// How long a list may take.
const LONG: Span = Span::secs(30);

/// The longest description of one container, in bytes.
const MAX_INSPECTED: usize = 1 << 20;

/// The longest list, in bytes: some fifty thousand containers.
const MAX_LIST: usize = 128 << 20;

/// The longest text of an error, in bytes.
const MAX_MESSAGE: usize = 4 << 10;

/// What the proxy that answers reads only calls itself.
pub const PROXY: &str = "backstop-engine-proxy";

/// An engine; clones share the version that they speak.
#[derive(Clone, Debug)]
pub struct Engine {
    address: Option<Address>,
    agreed: Arc<Mutex<Agreed>>,
}

/// What is known since it was agreed on.
#[derive(Debug, Default)]
struct Agreed {
    /// `/v1.41`; before, the engine takes its own newest.
    version: String,
    is_proxy: bool,
}

/// Which part of a log is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// From this time on, in nanoseconds since 1970; 0 from its beginning.
    pub since: i64,
    /// Whether it goes on with what is written later.
    pub follows: bool,
}

impl Engine {
    /// The engine at `address`; without one the first that is found, each time anew.
    pub fn new(address: Option<Address>) -> Engine {
        Engine { address, agreed: Arc::default() }
    }

    /// Where it listens.
    pub fn address(&self) -> Address {
        self.address.clone().unwrap_or_else(Address::found)
    }

    /// Agrees on a version of the API. Once for each time that the engine is there again: it may be another one.
    ///
    /// # Errors
    /// When it does not answer, or is too old.
    pub async fn agree(&self) -> Result<(), Failure> {
        let (body, server) = self.short("/version").await?;
        let told::Versions { api, min, .. } = self.versions(&body)?;
        if api < OLDEST {
            let detail =
                format!("{} speaks version {api} of the API, and {OLDEST} is the oldest that does", self.address());
            return Err(Failure::new("version", detail));
        }
        let version = if min.is_some_and(|min| min > NEWEST) { api } else { api.min(NEWEST) };
        let agreed = Agreed { version: format!("/v{version}"), is_proxy: server == PROXY };
        *self.agreed.lock().unwrap_or_else(PoisonError::into_inner) = agreed;
        Ok(())
    }

    /// Whether the proxy that answers reads only was there when it was agreed on the version; until then not.
    pub fn is_proxy(&self) -> bool {
        self.agreed.lock().unwrap_or_else(PoisonError::into_inner).is_proxy
    }

    /// What the engine says of itself.
    ///
    /// # Errors
    /// When it does not answer, or with something else.
    pub async fn info(&self) -> Result<Info, Failure> {
        let versions = self.versions(&self.short("/version").await?.0)?;
        let (body, _) = self.short("/info").await?;
        told::info(&body, &versions).map_err(|odd| self.odd(odd))
    }

    /// Gives each container, whether it runs or not, to `each`; how many were described at too great a length or not as
    /// containers are.
    ///
    /// # Errors
    /// When the list cannot be read to its end.
    pub async fn list(&self, mut each: impl FnMut(Container)) -> Result<usize, Failure> {
        let (mut objects, mut n_unread, mut length) = (Objects::default(), 0, 0);
        let reading = async {
            let mut call = self.ask("/containers/json?all=1").await?;
            while let Some(piece) = call.piece().await? {
                length += piece.len();
                if length > MAX_LIST {
                    let detail = format!("{} lists containers at more than {MAX_LIST} bytes", self.address());
                    return Err(Failure::new("too-large", detail));
                }
                let fed = objects.feed(&piece, |object| match object {
                    Object::Whole(json) => match told::listed(json) {
                        Ok(container) => each(container),
                        Err(_) => n_unread += 1,
                    },
                    Object::TooLong => n_unread += 1,
                });
                fed.map_err(|error| Failure::new("protocol", error.to_string()))?;
            }
            if objects.is_whole_list() {
                Ok(())
            } else {
                Err(Failure::new("broken", format!("{} broke its list of containers off", self.address())))
            }
        };
        self.within(LONG, reading).await?;
        Ok(n_unread)
    }

    /// What is known of one container; nothing where there is none.
    ///
    /// # Errors
    /// When that cannot be said.
    pub async fn inspect(&self, id: &Id) -> Result<Option<Inspected>, Failure> {
        let Some(body) = self.described(&format!("/containers/{id}/json")).await? else { return Ok(None) };
        told::inspected(&body).map(Some).map_err(|odd| self.odd(odd))
    }

    /// What is known of the image of this id ([`Inspected::image_id`]); nothing where there is none, or where that is no
    /// id.
    ///
    /// # Errors
    /// When that cannot be said.
    pub async fn image(&self, id: &str) -> Result<Option<Image>, Failure> {
        let Some(id) = told::image_id(id) else { return Ok(None) };
        let Some(body) = self.described(&format!("/images/{id}/json")).await? else { return Ok(None) };
        told::image(&body).map(Some).map_err(|odd| self.odd(odd))
    }

    /// What happens to containers, from `since` on (seconds since 1970), as far as it is one of `kinds`.
    ///
    /// # Errors
    /// When the engine cannot be reached.
    pub async fn events(&self, since: i64, kinds: &[Happened]) -> Result<Events, Failure> {
        // Never those of execs: they hold command lines, and each health check makes three.
        let words: Vec<&str> = kinds.iter().flat_map(|kind| kind.words()).copied().collect();
        let filters = serde_json::json!({ "type": ["container"], "event": words }).to_string();
        let filters: String = form_urlencoded::byte_serialize(filters.as_bytes()).collect();
        let path = self.path(&format!("/events?since={since}&filters={filters}"));
        let call = Call::ask(&self.address(), &path).await?;
        Ok(Events { call, objects: Objects::default(), kinds: kinds.into(), ready: Vec::new() })
    }

    /// The log of a container, both streams, each line with its time; nothing where there is no such container.
    ///
    /// # Errors
    /// When the engine cannot be reached; reason `status` where it refuses.
    pub async fn log(&self, id: &Id, wanted: Wanted) -> Result<Option<Log>, Failure> {
        let Wanted { since, follows } = wanted;
        let mut path = format!("/containers/{id}/logs?stdout=1&stderr=1&timestamps=1&follow={}", u8::from(follows));
        if since > 0 {
            path.push_str(&format!("&since={}.{:09}", since / 1_000_000_000, since % 1_000_000_000));
        }
        // A log that is not followed was read to its end, or not at all; one that is followed is asked about afterwards.
        let (address, path) = (self.address(), self.path(&path));
        let mut call = match follows {
            true => Call::ask(&address, &path).await?,
            false => Call::ask_whole(&address, &path).await?,
        };
        // Podman answers only when there is a line, so one that is followed may take as long as a line does.
        let status = match follows {
            true => call.status().await?,
            false => self.within(LONG, call.status()).await?,
        };
        match status {
            200 => Ok(Some(Log(call))),
            404 => Ok(None),
            status => Err(self.within(SHORT, async { Ok(self.refused(status, call).await) }).await?),
        }
    }

    /// What a container uses, once a second for as long as it is read; nothing where there is no such container. One
    /// connection serves all of it, because an engine takes a second or two to begin.
    ///
    /// # Errors
    /// When the engine cannot be reached, or refuses.
    pub async fn stats(&self, id: &Id) -> Result<Option<Stats>, Failure> {
        let path = self.path(&format!("/containers/{id}/stats?stream=1"));
        let asking = async {
            let mut call = Call::ask(&self.address(), &path).await?;
            match call.status().await? {
                200 => Ok(Some(Stats { call, objects: Objects::default(), last: None })),
                404 => Ok(None),
                status => Err(self.refused(status, call).await),
            }
        };
        self.within(SHORT, asking).await
    }

    /// A short answer, and who gave it.
    async fn short(&self, path: &str) -> Result<(Vec<u8>, String), Failure> {
        let reading = async {
            let mut call = self.ask(path).await?;
            Ok((call.whole(MAX_INSPECTED).await?, call.server().to_string()))
        };
        self.within(SHORT, reading).await
    }

    /// The description of one thing; nothing where it is not there.
    async fn described(&self, path: &str) -> Result<Option<Vec<u8>>, Failure> {
        let reading = async {
            let mut call = Call::ask(&self.address(), &self.path(path)).await?;
            match call.status().await? {
                200 => Ok(Some(call.whole(MAX_INSPECTED).await?)),
                404 => Ok(None),
                status => Err(self.refused(status, call).await),
            }
        };
        self.within(SHORT, reading).await
    }

    /// A question whose answer has status 200.
    async fn ask(&self, path: &str) -> Result<Call, Failure> {
        let path = if path == "/version" { path.into() } else { self.path(path) };
        let mut call = Call::ask(&self.address(), &path).await?;
        match call.status().await? {
            200 => Ok(call),
            status => Err(self.refused(status, call).await),
        }
    }

    fn path(&self, path: &str) -> String {
        let agreed = self.agreed.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{}{path}", agreed.version)
    }

    fn versions(&self, body: &[u8]) -> Result<told::Versions, Failure> {
        let odd = |_| Failure::new("protocol", format!("{} tells no version of its API", self.address()));
        told::versions(body).map_err(odd)
    }

    fn odd(&self, odd: told::Odd) -> Failure {
        Failure::new("protocol", format!("{}: {odd}", self.address()))
    }

    async fn refused(&self, status: u16, mut call: Call) -> Failure {
        let body = call.whole(MAX_MESSAGE).await.unwrap_or_default();
        Failure::new(reason_of(status), format!("{} answers {status}: {}", self.address(), told::message(&body)))
    }

    async fn within<T>(&self, limit: Span, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let late = || Failure::new("timeout", format!("{} does not answer within {limit}", self.address()));
        tokio::time::timeout(limit.to_std(), work).await.unwrap_or_else(|_| Err(late()))
    }
}

/// What a status that is not 200 means. A proxy says with 502 and 504 that the engine behind it is not there.
fn reason_of(status: u16) -> &'static str {
    match status {
        502 => "broken",
        504 => "timeout",
        _ => "status",
    }
}

/// What happens, as it happens.
#[derive(Debug)]
pub struct Events {
    call: Call,
    objects: Objects,
    kinds: Box<[Happened]>,
    ready: Vec<Option<Event>>,
}

impl Events {
    /// Waits until the engine has begun to tell.
    ///
    /// # Errors
    /// When it does not.
    pub async fn begun(&mut self) -> Result<(), Failure> {
        match self.call.status().await? {
            200 => Ok(()),
            status => {
                Err(Failure::new(reason_of(status), format!("the engine answers {status} when asked for events")))
            }
        }
    }

    /// The next ones, in their order; a nothing among them is one that could not be read. No more where it ends.
    /// A wait that is given up loses none.
    ///
    /// # Errors
    /// When what comes are no events.
    pub async fn next(&mut self) -> Result<Option<Vec<Option<Event>>>, Failure> {
        self.begun().await?;
        while self.ready.is_empty() {
            let Some(piece) = self.call.piece().await? else { return Ok(None) };
            let (ready, kinds) = (&mut self.ready, &self.kinds);
            let fed = self.objects.feed(&piece, |object| match object {
                Object::Whole(json) => match told::event(json) {
                    Ok(Some(event)) if kinds.contains(&event.happened) => ready.push(Some(event)),
                    Ok(_) => {}
                    Err(_) => ready.push(None),
                },
                Object::TooLong => ready.push(None),
            });
            fed.map_err(|error| Failure::new("protocol", error.to_string()))?;
        }
        Ok(Some(std::mem::take(&mut self.ready)))
    }
}

/// What a container uses, as it goes on.
#[derive(Debug)]
pub struct Stats {
    call: Call,
    objects: Objects,
    last: Option<Used>,
}

/// What a container uses, and what went through its interfaces; all that the engine does not say is none.
type Used = (Figures, Vec<Interface>);

impl Stats {
    /// The next figures; where several came at once, the last. No more where the engine ends. A wait that is given up loses
    /// none.
    ///
    /// # Errors
    /// When what comes are no figures.
    pub async fn next(&mut self) -> Result<Option<Used>, Failure> {
        loop {
            if let Some(last) = self.last.take() {
                return Ok(Some(last));
            }
            let Some(piece) = self.call.piece().await? else { return Ok(None) };
            let (last, mut is_odd) = (&mut self.last, false);
            let fed = self.objects.feed(&piece, |object| match object {
                Object::Whole(json) => match told::stats(json) {
                    Ok(used) => *last = Some(used),
                    Err(_) => is_odd = true,
                },
                Object::TooLong => is_odd = true,
            });
            fed.map_err(|error| Failure::new("protocol", error.to_string()))?;
            if is_odd {
                return Err(Failure::new("protocol", "the engine sends figures that are none"));
            }
        }
    }
}

/// A log as the engine sends it: frames, or plain where there is a terminal.
#[derive(Debug)]
pub struct Log(Call);

impl Log {
    /// The next bytes; nothing at the end, which is also where the engine broke off. A wait that is given up loses none.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, Failure> {
        self.0.piece().await
    }
}
