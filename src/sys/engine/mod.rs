//! A container engine, Docker or one that speaks like it, and what it is asked: versions, containers, events, logs.
//!
//! Enters: where it listens, and a question. Leaves: values of [`told`], or the bytes of a log, or a [`Failure`]: reason
//! `missing`, `permission`, `refused`, `timeout` (nobody answers), `broken`, `protocol`, `too-large`, `version` (no such
//! answer is one), `status` (the engine refuses). Only `GET` is ever sent, and only to `/version`, `/events`,
//! `/containers/json`, `/containers/ID/json` and `/containers/ID/logs`: a proxy that answers no more is enough.
//!
//! The library `bollard` is not used: it gathers a list whole before it is looked at and a frame before it is handed on, whatever
//! length they announce; panics on a frame of an unknown stream; has whole seconds only for where a log is to begin; and
//! writes what it reads to its own log. Here each answer is read piece by piece within bounds.
//!
//! - `address`: where, and what to do when it refuses · `call`: one question · `objects`, `told`: JSON · `frame`: logs

pub mod address;
mod call;
pub mod frame;
pub mod objects;
pub mod told;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

pub use self::address::Address;
use self::call::Call;
pub use self::frame::Stream;
use self::objects::{Object, Objects};
use self::told::Version;
pub use self::told::{Container, Happened, Id, Inspected};
use crate::base::{Failure, Span};

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

/// An engine; clones share the version that they speak.
#[derive(Clone, Debug)]
pub struct Engine {
    address: Option<Address>,
    /// `/v1.41` once it was agreed on; before, the engine takes its own newest.
    version: Arc<Mutex<String>>,
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
        Engine { address, version: Arc::default() }
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
        let body = self.short("/version").await?;
        let odd = |_| Failure::new("protocol", format!("{} tells no version of its API", self.address()));
        let (api, min) = told::versions(&body).map_err(odd)?;
        if api < OLDEST {
            let detail =
                format!("{} speaks version {api} of the API, and {OLDEST} is the oldest that does", self.address());
            return Err(Failure::new("version", detail));
        }
        let version = if min.is_some_and(|min| min > NEWEST) { api } else { api.min(NEWEST) };
        *self.version.lock().unwrap_or_else(PoisonError::into_inner) = format!("/v{version}");
        Ok(())
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
        let reading = async {
            let mut call = Call::ask(&self.address(), &self.path(&format!("/containers/{id}/json"))).await?;
            match call.status().await? {
                200 => Ok(Some(call.whole(MAX_INSPECTED).await?)),
                404 => Ok(None),
                status => Err(self.refused(status, call).await),
            }
        };
        let Some(body) = self.within(SHORT, reading).await? else { return Ok(None) };
        match told::inspected(&body) {
            Ok(inspected) => Ok(Some(inspected)),
            Err(odd) => Err(Failure::new("protocol", odd.to_string())),
        }
    }

    /// What happens to containers, from `since` on (seconds since 1970).
    ///
    /// # Errors
    /// When the engine cannot be reached.
    pub async fn events(&self, since: i64) -> Result<Events, Failure> {
        // Never those of execs: they hold command lines, and each health check makes three.
        const FILTERS: &str = r#"{"type":["container"],"event":["start","die","destroy","rename"]}"#;
        let filters: String = form_urlencoded::byte_serialize(FILTERS.as_bytes()).collect();
        let path = self.path(&format!("/events?since={since}&filters={filters}"));
        Ok(Events { call: Call::ask(&self.address(), &path).await?, objects: Objects::default(), ready: Vec::new() })
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

    async fn short(&self, path: &str) -> Result<Vec<u8>, Failure> {
        self.within(SHORT, async { self.ask(path).await?.whole(MAX_INSPECTED).await }).await
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
        let version = self.version.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{version}{path}")
    }

    async fn refused(&self, status: u16, mut call: Call) -> Failure {
        let body = call.whole(MAX_MESSAGE).await.unwrap_or_default();
        Failure::new("status", format!("{} answers {status}: {}", self.address(), told::message(&body)))
    }

    async fn within<T>(&self, limit: Span, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let late = || Failure::new("timeout", format!("{} does not answer within {limit}", self.address()));
        tokio::time::timeout(limit.to_std(), work).await.unwrap_or_else(|_| Err(late()))
    }
}

/// What happens, as it happens.
#[derive(Debug)]
pub struct Events {
    call: Call,
    objects: Objects,
    ready: Vec<Option<(Happened, Container)>>,
}

impl Events {
    /// Waits until the engine has begun to tell.
    ///
    /// # Errors
    /// When it does not.
    pub async fn begun(&mut self) -> Result<(), Failure> {
        match self.call.status().await? {
            200 => Ok(()),
            status => Err(Failure::new("status", format!("the engine answers {status} when asked for events"))),
        }
    }

    /// The next ones, in their order; a nothing among them is one that could not be read. No more where it ends.
    /// A wait that is given up loses none.
    ///
    /// # Errors
    /// When what comes are no events.
    pub async fn next(&mut self) -> Result<Option<Vec<Option<(Happened, Container)>>>, Failure> {
        self.begun().await?;
        while self.ready.is_empty() {
            let Some(piece) = self.call.piece().await? else { return Ok(None) };
            let ready = &mut self.ready;
            let fed = self.objects.feed(&piece, |object| match object {
                Object::Whole(json) => match told::event(json) {
                    Ok(Some(event)) => ready.push(Some(event)),
                    Ok(None) => {}
                    Err(_) => ready.push(None),
                },
                Object::TooLong => ready.push(None),
            });
            fed.map_err(|error| Failure::new("protocol", error.to_string()))?;
        }
        Ok(Some(std::mem::take(&mut self.ready)))
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
