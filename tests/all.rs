//! All integration tests, in one binary: each link of the whole costs as much as all tests together.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests use files and start programs; what ships may not"
)]
#![expect(clippy::unwrap_used, reason = "what stands around a test may fail it like the test itself")]

mod backtest;
mod cli;
mod command;
mod config;
mod container;
mod crash;
mod decide;
mod decisions;
mod decisions_baseline;
mod decisions_ratio;
mod decisions_trend;
mod dependencies;
mod deployments;
mod dumps;
mod engine;
mod engine_client;
mod engine_proxy;
mod engine_proxy_run;
mod expect;
mod exposition;
mod files;
mod groups;
mod host;
mod http;
mod init;
mod layers;
mod logs;
mod logs_container;
mod logs_journal;
mod logs_model;
mod logs_rotate;
mod mail;
mod packs;
mod project;
mod prometheus;
mod promql;
mod remote;
mod rules;
mod signal;
mod sources;
mod store;
mod support;
mod systemd;
mod systemd_units;
