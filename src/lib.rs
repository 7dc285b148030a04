//! Watches one Linux host after a deployment and takes a bad version back.
//!
//! A sample's way through the rooms, and the order of the modules; each may import only from those before it
//! (`tests/layers.rs` holds this):
//!
//! [`base`] the vocabulary · [`sys`] the outside in general · [`source`] the world in, a batch out ·
//! [`store`] samples in time order · [`promql`] expressions over the store, a reading out · [`rule`] readings
//! to levels · [`incident`] the life of alerts · [`notify`], [`rollback`], [`watch`] what follows from it ·
//! [`engine`] routes between them, pure · [`web`] HTTP · [`proxy`] the container engine for those who may only read it · [`config`] what people write · [`agent`] the
//! composition root and the one loop · [`cli`] the subcommands.

pub mod base;

pub mod sys;

pub mod source;

pub mod store;

pub mod promql;

pub mod rule;

pub mod incident;

pub mod notify;

pub mod rollback;

pub mod watch;

pub mod engine;

pub mod web;

pub mod proxy;

pub mod config;

pub mod agent;

pub mod cli;
