//! The world in, a [`Batch`] out: one file a source.
//!
//! A look never panics, never takes longer than its timeout, and always gives a batch: what goes wrong is the
//! outcome of that target, with a reason, and nothing else suffers.

mod backoff;
pub mod command;
pub mod common;
pub mod container;
pub mod expect;
pub mod exposition;
pub mod file;
pub mod host;
pub mod http;
pub mod log;
pub mod masks;
pub mod openmetrics_file;
pub mod prometheus;
pub mod signal;
pub mod systemd;
pub mod tcp;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::base::{Batch, SourceRef, Span, Timestamp};
use crate::sys::clock::Clock;
use common::Target;

/// A source of any kind.
#[derive(Debug)]
pub enum Source {
    /// `[http.NAME]`
    Http(Box<http::Http>),
    /// `[prometheus.NAME]`
    Prometheus(Box<prometheus::Prometheus>),
    /// `[host]`
    Host(Box<host::Host>),
    /// `[tcp.NAME]`
    Tcp(Box<tcp::Tcp>),
    /// One path of `[file.NAME]`
    File(Box<file::File>),
    /// `[command.NAME]`
    Command(Box<command::Command>),
    /// `[log.NAME]`
    Log(Box<log::Log>),
    /// `[container.NAME]`
    Container(Box<container::Container>),
    /// `[systemd.NAME]`
    Systemd(Box<systemd::Systemd>),
}

impl Source {
    /// Kind and name, as in the heading.
    pub fn reference(&self) -> SourceRef {
        self.target().reference.clone()
    }

    /// The `instance` label of its target.
    pub fn instance(&self) -> &str {
        &self.target().instance
    }

    /// How often it looks.
    pub fn interval(&self) -> Span {
        self.target().interval
    }

    /// How long a look may take.
    pub fn timeout(&self) -> Span {
        self.target().timeout
    }

    /// The files that a look reads or asks about, secrets included: whose rights decide whether it can.
    pub fn files(&self) -> Vec<PathBuf> {
        match self {
            Source::Http(http) => http.files(),
            Source::Prometheus(prometheus) => prometheus.files(),
            Source::Host(_) => Vec::new(),
            Source::Tcp(tcp) => tcp.files(),
            Source::File(file) => file.files(),
            Source::Command(command) => command.files(),
            Source::Log(log) => log.files(),
            Source::Container(container) => container.files(),
            Source::Systemd(_) => Vec::new(),
        }
    }

    /// Whether it looks only when it is asked.
    pub fn is_manual(&self) -> bool {
        self.target().manual
    }

    /// Whether a failed look says so little that a second one is worth its cost: a connection may be lost by chance.
    pub fn confirms_failures(&self) -> bool {
        matches!(self, Source::Http(_) | Source::Tcp(_))
    }

    /// The names of series that it declares: they exist from the start, so their absence can be believed. What a
    /// scraped page names comes on top.
    pub fn names(&self) -> Vec<&'static str> {
        match self {
            Source::Http(http) => http.names(),
            Source::Prometheus(_) => prometheus::NAMES.to_vec(),
            Source::Host(host) => host.names(),
            Source::Tcp(_) => tcp::NAMES.to_vec(),
            Source::File(_) => file::NAMES.to_vec(),
            Source::Command(command) => command.names(),
            Source::Log(log) => log.names(),
            Source::Container(container) => container.names(),
            Source::Systemd(_) => systemd::NAMES.to_vec(),
        }
    }

    /// Looks once. Takes at most its timeout and always gives a batch, with `at` as its time.
    pub async fn collect(&mut self, at: Timestamp) -> Batch {
        match self {
            Source::Http(http) => http.collect(at).await,
            Source::Prometheus(prometheus) => prometheus.collect(at).await,
            Source::Host(host) => host.collect(at).await,
            Source::Tcp(tcp) => tcp.collect(at).await,
            Source::File(file) => file.collect(at).await,
            Source::Command(command) => command.collect(at).await,
            Source::Log(log) => log.collect(at).await,
            Source::Container(container) => container.collect(at).await,
            Source::Systemd(systemd) => systemd.collect(at).await,
        }
    }

    /// Whether it does not look but is told: [`Source::next`] waits until there is something, and what it said holds.
    pub fn is_told(&self) -> bool {
        matches!(self, Source::Log(_) | Source::Container(_) | Source::Systemd(_))
    }

    /// Where it goes on: the last checkpoint of each of its targets, by `instance`. Before the first [`Source::next`].
    pub fn resume(&mut self, checkpoints: &BTreeMap<&str, &[u8]>) {
        match self {
            Source::Log(log) => log.resume(checkpoints),
            Source::Container(container) => container.resume(checkpoints),
            Source::Systemd(systemd) => systemd.resume(checkpoints),
            _ => {}
        }
    }

    /// What a source that is told says next; waits for it. One that looks never says anything by itself. Whoever ends the
    /// wait loses nothing.
    pub async fn next(&mut self, clock: &Clock) -> Batch {
        match self {
            Source::Log(log) => log.next(clock).await,
            Source::Container(container) => container.next(clock).await,
            Source::Systemd(systemd) => systemd.next(clock).await,
            _ => std::future::pending().await,
        }
    }

    /// What a source that is told read and did not tell, when nobody waits for more.
    pub fn last(&mut self, clock: &Clock) -> Vec<Batch> {
        match self {
            Source::Log(log) => log.last(clock),
            _ => Vec::new(),
        }
    }

    fn target(&self) -> &Target {
        match self {
            Source::Http(http) => http.target(),
            Source::Prometheus(prometheus) => prometheus.target(),
            Source::Host(host) => host.target(),
            Source::Tcp(tcp) => tcp.target(),
            Source::File(file) => file.target(),
            Source::Command(command) => command.target(),
            Source::Log(log) => log.target(),
            Source::Container(container) => container.target(),
            Source::Systemd(systemd) => systemd.target(),
        }
    }
}
