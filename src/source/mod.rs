//! The world in, a [`Batch`] out: one file a source.
//!
//! A look never panics, never takes longer than its timeout, and always gives a batch: what goes wrong is the
//! outcome of that target, with a reason, and nothing else suffers.

pub mod common;
pub mod expect;
pub mod exposition;
pub mod host;
pub mod http;
pub mod openmetrics_file;
pub mod prometheus;
#[cfg(test)]
pub(crate) mod testing;

use crate::base::{Batch, SourceRef, Span, Timestamp};
use common::Target;

/// A source of any kind.
#[derive(Debug)]
pub enum Source {
    /// `[http.NAME]`
    Http(http::Http),
    /// `[prometheus.NAME]`
    Prometheus(prometheus::Prometheus),
    /// `[host]`
    Host(host::Host),
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

    /// The names of series that it declares: they exist from the start, so their absence can be believed. What a
    /// scraped page names comes on top.
    pub fn names(&self) -> Vec<&'static str> {
        match self {
            Source::Http(http) => http.names(),
            Source::Prometheus(_) => prometheus::NAMES.to_vec(),
            Source::Host(_) => host::NAMES.to_vec(),
        }
    }

    /// Looks once. Takes at most its timeout and always gives a batch, with `at` as its time.
    pub async fn collect(&mut self, at: Timestamp) -> Batch {
        match self {
            Source::Http(http) => http.collect(at).await,
            Source::Prometheus(prometheus) => prometheus.collect(at).await,
            Source::Host(host) => host.collect(at).await,
        }
    }

    fn target(&self) -> &Target {
        match self {
            Source::Http(http) => http.target(),
            Source::Prometheus(prometheus) => prometheus.target(),
            Source::Host(host) => host.target(),
        }
    }
}
