//! The outside in general: clock, child processes, HTTP, files, the journal, tasks and their owners.
//!
//! The only rooms that may ask the clock, start a process, spawn a task or open a file; clippy holds this.

pub mod apart;
pub mod append;
pub mod ask;
pub mod blocks;
pub mod cgroup;
pub mod clock;
pub mod connect;
pub mod engine;
pub mod feed;
pub mod files;
pub mod glob;
pub mod http;
pub mod journal;
pub mod listen;
pub mod look;
pub mod process;
pub mod program;
pub mod read;
pub mod reader;
pub mod records;
pub mod secret;
pub mod stream;
pub mod systemd;
pub mod tail;
pub mod tasks;
pub mod units;
pub mod users;
pub mod wake;
