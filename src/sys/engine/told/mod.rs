//! What an engine tells of containers, as far as it is read.
//!
//! Enters: JSON that anybody who may start a container has a hand in. Leaves: values that are safe to show: ids are hexadecimal, texts
//! are cut and freed of control characters, numbers are what a number may be. Nothing else of it is kept: environments, command
//! lines, and what health checks print are never looked at.
//!
//! - `container`: an entry of a list · `event`: what happened · `inspected`: one container · `stats`: what it uses ·
//!   `whole`: the engine, an image

mod container;
mod event;
mod inspected;
mod stats;
#[cfg(test)]
mod tests;
mod whole;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::container::{Container, Published, listed};
pub use self::event::{Event, Happened, event};
pub use self::inspected::{Inspected, Limits, Policy, inspected};
pub use self::stats::stats;
pub use self::whole::message;
pub use self::whole::{Image, Info, image};
pub(super) use self::whole::{Version, Versions, info, message_of, versions};
use crate::base::Timestamp;

/// The longest name, in bytes.
pub const MAX_NAME: usize = 128;

/// The longest name of an image, in bytes: a name, a tag and a digest.
pub const MAX_IMAGE: usize = 512;

/// The longest text of an error, in bytes.
pub const MAX_ERROR: usize = 256;

/// How many characters of an id people see.
const SHORT: usize = 12;

/// The id of a container: 12 to 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(Arc<str>);

impl Id {
    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As people see it.
    pub fn short(&self) -> &str {
        &self.0[..SHORT]
    }
}

impl TryFrom<String> for Id {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Id, &'static str> {
        let is_id = (SHORT..=64).contains(&text.len()) && text.bytes().all(is_digit);
        if is_id { Ok(Id(text.into())) } else { Err("the id of a container has 12 to 64 hexadecimal digits") }
    }
}

impl From<Id> for String {
    fn from(id: Id) -> String {
        id.0.to_string()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a container does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It was made and never started.
    Created,
    /// It runs.
    Running,
    /// Its processes stand still.
    Paused,
    /// It ended, and the engine is about to start it again.
    Restarting,
    /// The engine is removing it.
    Removing,
    /// It ended.
    Exited,
    /// The engine could not remove it.
    Dead,
    /// The engine says nothing of it, or a word that is not known.
    #[default]
    Unknown,
}

impl State {
    /// All of them.
    pub const ALL: [State; 8] = [
        State::Created,
        State::Running,
        State::Paused,
        State::Restarting,
        State::Removing,
        State::Exited,
        State::Dead,
        State::Unknown,
    ];

    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Created => "created",
            State::Running => "running",
            State::Paused => "paused",
            State::Restarting => "restarting",
            State::Removing => "removing",
            State::Exited => "exited",
            State::Dead => "dead",
            State::Unknown => "unknown",
        }
    }

    /// Whether there are processes, or will be again by the engine itself.
    pub fn is_running(self) -> bool {
        matches!(self, State::Running | State::Paused | State::Restarting)
    }

    /// Reads Docker's words, and Podman's further ones.
    fn parse(text: &str) -> State {
        match text {
            "created" | "configured" | "initialized" => State::Created,
            "running" | "stopping" => State::Running,
            "paused" => State::Paused,
            "restarting" => State::Restarting,
            "removing" => State::Removing,
            "exited" | "stopped" => State::Exited,
            "dead" => State::Dead,
            _ => State::Unknown,
        }
    }
}

/// What the health check of a container found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// Nothing yet, within the time that it may take to start.
    Starting,
    /// It is well.
    Healthy,
    /// It is not.
    Unhealthy,
}

impl Health {
    /// Docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Starting => "starting",
            Health::Healthy => "healthy",
            Health::Unhealthy => "unhealthy",
        }
    }

    /// Nothing for `none`, and for a word that is not known.
    fn parse(text: &str) -> Option<Health> {
        [Health::Starting, Health::Healthy, Health::Unhealthy].into_iter().find(|health| health.as_str() == text)
    }
}

/// Why a text is nothing that was expected. Says nothing of the text, which may hold secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the engine describes something as no engine does")]
pub struct Odd;

/// A text as it may be shown: at most [`MAX_NAME`] bytes, without control characters.
fn shown(text: &str) -> String {
    shown_to(text, MAX_NAME)
}

/// A text of at most `max` bytes, without control characters.
fn shown_to(text: &str, max: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(max));
    for c in text.chars() {
        let c = if c.is_control() { '?' } else { c };
        if shown.len() + c.len_utf8() > max {
            break;
        }
        shown.push(c);
    }
    shown
}

/// A time as an engine writes it, RFC 3339; nothing for what never was: the year 1, or no time at all.
fn time(text: &str) -> Option<Timestamp> {
    let at: jiff::Timestamp = text.parse().ok()?;
    (at.as_millisecond() > 0).then(|| Timestamp(at.as_millisecond()))
}

/// An id of an image as it stands in a path; nothing where it is none.
pub(super) fn image_id(text: &str) -> Option<&str> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    let is_id = (SHORT..=64).contains(&digits.len()) && digits.bytes().all(is_digit);
    is_id.then_some(text)
}

fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}
