//! All integration tests, in one binary: each link of the whole costs as much as all tests together.

#![expect(clippy::disallowed_methods, reason = "tests read the repository and start programs; what ships may not")]
#![expect(clippy::unwrap_used, reason = "what stands around a test may fail it like the test itself")]

mod cli;
mod config;
mod crash;
mod dependencies;
mod dumps;
mod engine;
mod layers;
mod mail;
mod project;
mod prometheus;
mod promql;
mod remote;
mod rules;
mod store;
mod support;
mod systemd;
