//! What an engine tells of containers, as far as it is read: ids, names, two labels, states.
//!
//! Enters: JSON that anybody who may start a container has a hand in. Leaves: values that are safe to show: ids are hexadecimal, names are
//! cut to [`MAX_NAME`] bytes and freed of control characters. Nothing else of it is kept: environments and command
//! lines are never looked at.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest name, in bytes.
pub const MAX_NAME: usize = 128;

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
        let is_id = (SHORT..=64).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
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

/// A container, as a list or an event names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// The project and the service of compose, where it belongs to one.
    pub service: Option<(String, String)>,
    /// Whether it runs; also while it is paused.
    pub is_running: bool,
    /// When it was made, in seconds since 1970; 0 in an event.
    pub created: i64,
}

/// What is known of one container beyond its entry in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// Whether it has a terminal: its log is one stream without frames.
    pub has_terminal: bool,
    /// Whether it runs and is not between two tries to start.
    pub is_running: bool,
    /// When it ended the last time, as the engine writes it.
    pub finished: String,
    /// The driver of its log.
    pub driver: String,
}

/// What happened to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// It was started.
    Started,
    /// Its program ended.
    Died,
    /// It was removed.
    Destroyed,
    /// It has another name.
    Renamed,
}

/// Why a text is nothing that was expected. Says nothing of the text, which may hold secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the engine describes a container as none does")]
pub struct Odd;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Labels {
    #[serde(rename = "com.docker.compose.project")]
    project: Option<String>,
    #[serde(rename = "com.docker.compose.service")]
    service: Option<String>,
}

impl Labels {
    fn service(self) -> Option<(String, String)> {
        Some((shown(&self.project?), shown(&self.service?)))
    }
}

/// Reads an element of `/containers/json`.
///
/// # Errors
/// When it is none.
pub fn listed(json: &[u8]) -> Result<Container, Odd> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Listed {
        id: Id,
        #[serde(default)]
        names: Option<Vec<String>>,
        #[serde(default)]
        labels: Option<Labels>,
        #[serde(default)]
        state: String,
        #[serde(default)]
        created: i64,
    }
    let listed: Listed = serde_json::from_slice(json).map_err(|_| Odd)?;
    // A container has further names where others link to it: `/other/alias`.
    let names = listed.names.unwrap_or_default();
    let own = names.iter().map(|name| name.trim_start_matches('/')).find(|name| !name.contains('/'));
    Ok(Container {
        name: own.map(shown).unwrap_or_default(),
        service: listed.labels.and_then(Labels::service),
        is_running: matches!(listed.state.as_str(), "running" | "paused" | "restarting"),
        created: listed.created,
        id: listed.id,
    })
}

/// Reads what `/events` says; nothing where it is about something else.
///
/// # Errors
/// When it is no event.
pub fn event(json: &[u8]) -> Result<Option<(Happened, Container)>, Odd> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Event {
        #[serde(default, rename = "Type")]
        kind: String,
        #[serde(default)]
        action: String,
        #[serde(default)]
        actor: Option<Actor>,
    }
    #[derive(Deserialize)]
    struct Actor {
        #[serde(default, rename = "ID")]
        id: String,
        #[serde(default, rename = "Attributes")]
        attributes: Option<Attributes>,
    }
    #[derive(Deserialize, Default)]
    struct Attributes {
        #[serde(default)]
        name: Option<String>,
        #[serde(flatten)]
        labels: Labels,
    }
    let event: Event = serde_json::from_slice(json).map_err(|_| Odd)?;
    // The action of an exec carries its command line, so a text is only compared.
    let happened = match event.action.as_str() {
        "start" => Happened::Started,
        "die" | "died" => Happened::Died,
        "destroy" | "remove" => Happened::Destroyed,
        "rename" => Happened::Renamed,
        _ => return Ok(None),
    };
    if event.kind != "container" {
        return Ok(None);
    }
    let actor = event.actor.ok_or(Odd)?;
    let attributes = actor.attributes.unwrap_or_default();
    let container = Container {
        id: Id::try_from(actor.id).map_err(|_| Odd)?,
        name: shown(attributes.name.as_deref().unwrap_or_default().trim_start_matches('/')),
        service: attributes.labels.service(),
        is_running: happened == Happened::Started,
        created: 0,
    };
    Ok(Some((happened, container)))
}

/// Reads `/containers/ID/json`.
///
/// # Errors
/// When it is none.
pub fn inspected(json: &[u8]) -> Result<Inspected, Odd> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Whole {
        state: State,
        #[serde(default)]
        config: Option<Config>,
        #[serde(default)]
        host_config: Option<HostConfig>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct State {
        #[serde(default)]
        running: bool,
        #[serde(default)]
        restarting: bool,
        #[serde(default)]
        finished_at: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Config {
        #[serde(default)]
        tty: bool,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct HostConfig {
        #[serde(default)]
        log_config: Option<LogConfig>,
    }
    #[derive(Deserialize)]
    struct LogConfig {
        #[serde(default, rename = "Type")]
        kind: String,
    }
    let whole: Whole = serde_json::from_slice(json).map_err(|_| Odd)?;
    let driver = whole.host_config.and_then(|host| host.log_config).map(|log| log.kind).unwrap_or_default();
    Ok(Inspected {
        has_terminal: whole.config.is_some_and(|config| config.tty),
        is_running: whole.state.running && !whole.state.restarting,
        finished: shown(&whole.state.finished_at),
        driver: shown(&driver),
    })
}

/// The version of the API that `/version` tells, and the lowest that the engine still speaks.
///
/// # Errors
/// When it tells none.
pub(super) fn versions(json: &[u8]) -> Result<(Version, Option<Version>), Odd> {
    #[derive(Deserialize)]
    struct Told {
        #[serde(rename = "ApiVersion")]
        api: String,
        #[serde(default, rename = "MinAPIVersion")]
        min: Option<String>,
    }
    let told: Told = serde_json::from_slice(json).map_err(|_| Odd)?;
    Ok((Version::parse(&told.api).ok_or(Odd)?, told.min.as_deref().and_then(Version::parse)))
}

/// A version of the API: `1.41`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub(super) u16, pub(super) u16);

impl Version {
    fn parse(text: &str) -> Option<Version> {
        let (major, minor) = text.split_once('.')?;
        // Podman writes three parts.
        let minor = minor.split('.').next()?;
        Some(Version(major.parse().ok()?, minor.parse().ok()?))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// What an engine says about an error: `{"message": …}`, as a line.
pub(super) fn message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Error {
        message: String,
    }
    let said = serde_json::from_slice::<Error>(body).map(|error| error.message).unwrap_or_default();
    shown(said.trim())
}

/// A text as it may be shown: at most [`MAX_NAME`] bytes, without control characters.
fn shown(text: &str) -> String {
    let mut name = String::with_capacity(text.len().min(MAX_NAME));
    for c in text.chars() {
        let c = if c.is_control() { '?' } else { c };
        if name.len() + c.len_utf8() > MAX_NAME {
            break;
        }
        name.push(c);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f2a91c07d213f2a91c07d213f2a91c07d213f2a91c07d213f2a91c07d213f2a";

    #[test]
    fn a_list_names_containers_by_compose_or_by_name() {
        let json = format!(
            r#"{{"Id":"{ID}","Names":["/web/db","/shop_api_1"],"State":"running","Created":1700000000,"Labels":{{
            "com.docker.compose.project":"shop","com.docker.compose.service":"api","x":"y"}}}}"#
        );
        let container = listed(json.as_bytes()).unwrap();
        assert_eq!(container.id.short(), "3f2a91c07d21");
        assert_eq!(container.name, "shop_api_1");
        assert_eq!(container.service, Some(("shop".into(), "api".into())));
        assert!(container.is_running);
        let plain = format!(r#"{{"Id":"{ID}","Names":null,"Labels":null,"State":"exited"}}"#);
        let container = listed(plain.as_bytes()).unwrap();
        assert_eq!((container.name.as_str(), container.service, container.is_running), ("", None, false));
    }

    #[test]
    fn hostile_names_are_cut_and_hostile_ids_refused() {
        let long = "\\u001b[31m".to_string() + &"ü".repeat(5000);
        let container = listed(format!(r#"{{"Id":"{ID}","Names":["/{long}"]}}"#).as_bytes()).unwrap();
        assert!(container.name.starts_with("?[31mü") && container.name.len() <= MAX_NAME, "{}", container.name);
        for id in ["", "abc", "../../../images/json", &format!("{ID}0"), "3F2A91C07D21", "3f2a91c07d2\u{e9}"] {
            assert_eq!(listed(format!(r#"{{"Id":"{id}"}}"#).as_bytes()), Err(Odd), "{id}");
            assert!(Id::try_from(id.to_string()).is_err());
        }
    }

    #[test]
    fn events_of_containers_are_told_apart() {
        let json = |kind: &str, action: &str| {
            format!(
                r#"{{"Type":"{kind}","Action":"{action}","Actor":{{"ID":"{ID}","Attributes":{{"name":"x",
                "com.docker.compose.project":"shop","com.docker.compose.service":"api","image":"i"}}}},"time":1}}"#
            )
        };
        for (action, wanted) in [
            ("start", Some(Happened::Started)),
            ("die", Some(Happened::Died)),
            ("destroy", Some(Happened::Destroyed)),
            ("rename", Some(Happened::Renamed)),
            ("exec_start: mysql -phunter2", None),
        ] {
            let got = event(json("container", action).as_bytes()).unwrap();
            assert_eq!(got.as_ref().map(|(happened, _)| *happened), wanted, "{action}");
            if let Some((_, container)) = got {
                assert_eq!(container.service, Some(("shop".into(), "api".into())));
                assert_eq!(container.name, "x");
            }
        }
        assert_eq!(event(json("network", "destroy").as_bytes()), Ok(None));
        assert_eq!(event(b"{}"), Ok(None));
        assert_eq!(event(br#"{"Type":"container","Action":"start"}"#), Err(Odd));
    }

    #[test]
    fn an_inspection_tells_terminal_driver_and_state() {
        let json = br#"{"State":{"Running":true,"Restarting":false,"FinishedAt":"0001-01-01T00:00:00Z"},
            "Config":{"Tty":true,"Env":["A=b"]},"HostConfig":{"LogConfig":{"Type":"json-file","Config":{}}}}"#;
        let wanted = Inspected {
            has_terminal: true,
            is_running: true,
            finished: "0001-01-01T00:00:00Z".into(),
            driver: "json-file".into(),
        };
        assert_eq!(inspected(json), Ok(wanted));
        assert_eq!(inspected(b"{\"State\":null}"), Err(Odd));
    }

    #[test]
    fn versions_are_told_by_every_engine() {
        let told = |json: &str| versions(json.as_bytes()).map(|(api, min)| (api.to_string(), min));
        assert_eq!(told(r#"{"ApiVersion":"1.41","MinAPIVersion":"1.12"}"#), Ok(("1.41".into(), Some(Version(1, 12)))));
        assert_eq!(told(r#"{"ApiVersion":"1.41.0"}"#), Ok(("1.41".into(), None)));
        assert_eq!(told(r#"{"ApiVersion":"x"}"#), Err(Odd));
    }
}
