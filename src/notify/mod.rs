//! Pure decisions about messages, and the channels that carry them.
//!
//! Enters: a [`story::Notice`] of what happened. [`outbox`] decides who gets it and remembers it until a channel
//! took it; a [`Channel`] carries it; [`render`] finds the words. Leaves: messages to people, and receipts.

pub mod email;
pub mod log;
pub mod outbox;
pub mod render;
pub mod story;
pub mod subscription;

use std::path::Path;

use jiff::tz::TimeZone;

use crate::base::{Node, Problems, Timestamp};
use crate::sys::secret::Secrets;
use outbox::{Sending, Sent};
use subscription::Subscription;

/// What a channel is handed beside the delivery.
#[derive(Clone, Debug)]
pub struct Context {
    /// The application's time zone, for the texts.
    pub zone: TimeZone,
    /// Where secrets are read.
    pub secrets: Secrets,
    /// The time of the attempt.
    pub now: Timestamp,
}

/// The configuration of one channel, `[channel.KIND.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Config {
    /// A mailbox.
    Email(email::Config),
    /// A file or standard error.
    Log(log::Config),
}

impl Config {
    /// The kinds that exist, for headings and did-you-mean.
    pub const KINDS: [&str; 2] = ["email", "log"];

    /// The file that it writes, where it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Config::Log(log::Config { target: log::Target::File(path), .. }) => Some(path),
            _ => None,
        }
    }

    /// Reads the table of a channel of `kind`; none for an unknown kind (which the caller names) or a mistake.
    pub fn read(kind: &str, name: &str, node: &Node, problems: &mut Problems) -> Option<Config> {
        match kind {
            "email" => email::Config::read(name, node, problems).map(Config::Email),
            "log" => log::Config::read(name, node, problems).map(Config::Log),
            _ => None,
        }
    }

    /// What it wants to hear.
    pub fn subscription(&self) -> &Subscription {
        match self {
            Config::Email(config) => &config.subscription,
            Config::Log(config) => &config.subscription,
        }
    }

    /// The same, to settle its fallback.
    pub fn subscription_mut(&mut self) -> &mut Subscription {
        match self {
            Config::Email(config) => &mut config.subscription,
            Config::Log(config) => &mut config.subscription,
        }
    }
}

/// A channel that carries deliveries.
#[derive(Clone, Debug)]
pub enum Channel {
    /// A mailbox.
    Email(email::Email),
    /// A file or standard error.
    Log(log::Log),
}

impl Channel {
    /// The channel that its configuration describes.
    pub fn new(config: Config) -> Channel {
        match config {
            Config::Email(config) => Channel::Email(email::Email::new(config)),
            Config::Log(config) => Channel::Log(log::Log::new(config)),
        }
    }

    /// What it wants to hear.
    pub fn subscription(&self) -> &Subscription {
        match self {
            Channel::Email(channel) => channel.subscription(),
            Channel::Log(channel) => channel.subscription(),
        }
    }

    /// Makes one attempt; ends by itself well before [`outbox::ATTEMPT_LIMIT`].
    pub async fn send(&self, sending: &Sending, context: &Context) -> Sent {
        match self {
            Channel::Email(channel) => channel.send(sending, context).await,
            Channel::Log(channel) => channel.send(sending, context).await,
        }
    }
}
