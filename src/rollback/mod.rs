//! The way back: sealed plans, runs, their verification.
//!
//! Two processes share a folder and nothing else. The agent decides and writes a [`request`]; the [`executor`],
//! which alone has the rights to act, runs one rung of a sealed [`plan`] and appends to the run's journal
//! ([`record`]). What [`config`] reads becomes a plan when a deployment is armed. The agent's side is
//! pure: [`machine`], held back by [`guard`]. One file a kind of [`step`].

pub mod config;
pub mod executor;
pub mod format;
pub mod guard;
pub mod machine;
pub mod plan;
pub mod record;
pub mod request;
pub mod step;
