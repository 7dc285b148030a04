//! The channel that is a file, or standard error.
//!
//! Enters: a delivery. Leaves: one JSON line in a file, synced before it counts as accepted, or the human text
//! on standard error. A delivery that is sent again after a crash writes a second line with the same id.
//! Fails when the disk does, and is tried again; never for good.
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `file` | needed | a path, or `"stderr"` |
//! | `max_size` | `"10MiB"` | the file is rotated before it grows past this |
//! | `keep` | `"30d"` | rotated files are deleted after this |

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::outbox::{Delivery, Sending, Sent};
use super::subscription::Subscription;
use super::{Context, render};
use crate::base::table::{Node, Placed, Size, Table};
use crate::base::{Problems, Span, Timestamp};
use crate::sys::append::{self, Rotation};
use crate::sys::tasks;

/// The number every line begins with; a reader refuses a newer one.
pub const FORMAT: u32 = 1;

/// `[channel.log.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The keys that all channels have.
    pub subscription: Subscription,
    /// Where lines go.
    pub target: Target,
    /// When files are rotated and deleted.
    pub rotation: Rotation,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard error, as text for people.
    Stderr,
    /// A file, as JSON lines.
    File(PathBuf),
}

impl Config {
    /// Reads `[channel.log.NAME]`; what is wrong goes to `problems`.
    pub fn read(name: &str, node: &Node, problems: &mut Problems) -> Option<Config> {
        let heading = format!("[channel.log.{name}]");
        let mut table = Table::open(node, &heading, problems)?;
        let subscription = Subscription::read("log", name, &mut table, problems);
        let file: Option<Placed<String>> = table.required("file", "\"/var/log/backstop/alerts.log\"", problems);
        let max_size: Option<Placed<Size>> = table.get("max_size", problems);
        let keep = table.or("keep", Span::hours(30 * 24), problems);
        table.finish(problems);
        if let Some(size) = max_size.as_ref().filter(|s| s.value.0 < 64 << 10) {
            problems.error(&size.place, "a log file holds at least 64KiB", "too small");
        }
        let max_size = max_size.map_or(10 << 20, |s| s.value.0);
        let file = file?;
        let target = match file.value.as_str() {
            "stderr" => Target::Stderr,
            path if path.starts_with('/') => Target::File(path.into()),
            path => {
                problems
                    .error(&file.place, format!("`{path}` is no full path"), "relative to which folder?")
                    .help("write a path that begins with `/`, or \"stderr\"");
                return None;
            }
        };
        Some(Config { subscription, target, rotation: Rotation { max_size, keep } })
    }
}

/// A file, or standard error, as a channel.
#[derive(Clone, Debug)]
pub struct Log {
    config: Config,
    /// Deliveries take turns, as rotation demands.
    turn: Arc<Mutex<()>>,
}

impl Log {
    /// The channel; the file is opened with each delivery.
    pub fn new(config: Config) -> Log {
        Log { config, turn: Arc::default() }
    }

    /// What it wants to hear.
    pub fn subscription(&self) -> &Subscription {
        &self.config.subscription
    }

    /// Writes one delivery.
    pub async fn send(&self, sending: &Sending, context: &Context) -> Sent {
        let (target, rotation, now) = (self.config.target.clone(), self.config.rotation, context.now);
        let bytes = match target {
            Target::Stderr => human(&sending.delivery, context),
            Target::File(_) => line(sending, now),
        };
        let turn = self.turn.clone();
        let written = tasks::blocking(move || {
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            match &target {
                Target::Stderr => std::io::stderr().lock().write_all(bytes.as_bytes()),
                Target::File(path) => append::line(path, bytes.as_bytes(), rotation, now),
            }
        });
        let by = self.to_string();
        match written.await {
            Ok(Ok(())) => Sent::Accepted { by, said: "written".into() },
            Ok(Err(error)) => Sent::Retry { error: format!("{by}: {error}"), after: None },
            Err(error) => Sent::Retry { error, after: None },
        }
    }
}

impl std::fmt::Display for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.config.target {
            Target::Stderr => f.write_str("stderr"),
            Target::File(path) => write!(f, "{}", path.display()),
        }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    format: u32,
    delivery: String,
    id: &'a str,
    attempt: u32,
    written_at: String,
    channel: &'a str,
    because: String,
    notice: serde_json::Value,
}

/// One delivery as a line of JSON, without its line break.
fn line(sending: &Sending, now: Timestamp) -> String {
    let Sending { delivery, attempt } = sending;
    let line = Line {
        format: FORMAT,
        delivery: format!("D-{}", delivery.number),
        id: delivery.id.as_str(),
        attempt: *attempt,
        written_at: now.rfc3339(),
        channel: &delivery.channel,
        because: render::clean(&delivery.because, 400),
        notice: render::json(&delivery.notice),
    };
    serde_json::to_string(&line).expect("text, numbers and maps with text keys are always JSON")
}

/// The text for people, its subject first unless the text begins with it.
fn human(delivery: &Delivery, context: &Context) -> String {
    let message = render::message(delivery, &context.zone);
    let subject = render::subject(&delivery.notice);
    let tag = subject.split(']').next().unwrap_or_default();
    if message.starts_with(tag) { format!("{message}\n") } else { format!("{subject}\n{message}\n") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::table::{Entry, Value};
    use crate::base::{Id, Place};
    use crate::notify::story::{EventKind, Notice, Story};
    use crate::sys::secret::Secrets;

    fn sending() -> Sending {
        let at = Timestamp(1_761_640_867_000);
        let notice = Notice {
            thread: "test".into(),
            kind: EventKind::Agent,
            level: None,
            green: false,
            settles: true,
            labels: crate::base::Labels::empty(),
            at,
            app: "shop".into(),
            host: "web-1".into(),
            story: Story::Test { channel: "log/file".into() },
        };
        let delivery = Delivery {
            id: Id::new(at, 7),
            number: 5521,
            channel: "log/file".into(),
            notice,
            decided_at: at,
            because: "somebody tests this channel".into(),
            patience: Span::hours(24),
            fallback: None,
            instead_of: None,
        };
        Sending { delivery, attempt: 2 }
    }

    fn context() -> Context {
        Context {
            zone: jiff::tz::TimeZone::UTC,
            secrets: Secrets::with_env(|_| None),
            now: Timestamp(1_761_640_868_000),
        }
    }

    fn config(target: Target) -> Config {
        let subscription = Subscription::new("log", "file");
        Config { subscription, target, rotation: Rotation { max_size: 10 << 20, keep: Span::hours(1) } }
    }

    #[test]
    fn a_line_begins_with_its_format_and_carries_the_deliverys_id() {
        let line = line(&sending(), context().now);
        let begin = r#"{"format":1,"delivery":"D-5521","id":"01k8mzms5r0000000000000007","attempt":2,"written_at":"2025-10-28T08:41:08.000Z","channel":"log/file","because":"somebody tests this channel","notice":{"app":"shop","at":"2025-10-28T08:41:07.000Z""#;
        assert!(line.starts_with(begin), "{line}");
        assert!(!line.contains('\n'));
    }

    #[tokio::test]
    async fn a_delivery_is_one_line_and_a_full_disk_is_tried_again() {
        let path = std::env::temp_dir().join(format!("backstop-log-{}", std::process::id()));
        drop(std::fs::remove_file(&path));
        let log = Log::new(config(Target::File(path.clone())));
        for _ in 0..2 {
            let by = path.display().to_string();
            assert_eq!(log.send(&sending(), &context()).await, Sent::Accepted { by, said: "written".into() });
        }
        let mut bytes = Vec::new();
        crate::sys::read::into(&path, &mut bytes, 1 << 20).unwrap();
        assert_eq!(bytes.iter().filter(|b| **b == b'\n').count(), 2);
        let full = Log::new(config(Target::File("/dev/full".into())));
        assert!(matches!(full.send(&sending(), &context()).await, Sent::Retry { .. }));
    }

    #[test]
    fn the_table_is_read_and_its_mistakes_are_named() {
        let read = |entries: &[(&str, &str)]| {
            let entries = entries
                .iter()
                .map(|(key, text)| Entry {
                    key: key.to_string(),
                    place: Place::default(),
                    node: Node { value: Value::Text(text.to_string()), place: Place::default() },
                })
                .collect();
            let mut problems = Problems::default();
            let config =
                Config::read("file", &Node { value: Value::Table(entries), place: Place::default() }, &mut problems);
            (config.map(|c| (c.target, c.rotation)), problems.list.into_iter().map(|p| p.title).collect::<Vec<_>>())
        };
        let rotation = Rotation { max_size: 10 << 20, keep: Span::hours(720) };
        assert_eq!(read(&[("file", "stderr")]), (Some((Target::Stderr, rotation)), vec![]));
        let (config, problems) = read(&[("file", "/var/log/x"), ("max_size", "1MiB"), ("keep", "7d")]);
        let rotation = Rotation { max_size: 1 << 20, keep: Span::hours(168) };
        assert_eq!((config, problems), (Some((Target::File("/var/log/x".into()), rotation)), vec![]));
        let (config, problems) = read(&[("file", "x.log"), ("max_size", "1KiB"), ("path", "y")]);
        assert!(config.is_none());
        assert_eq!(problems, ["unknown key `path`", "a log file holds at least 64KiB", "`x.log` is no full path"]);
        assert_eq!(read(&[]).1, ["[channel.log.file] needs `file`"]);
    }
}
