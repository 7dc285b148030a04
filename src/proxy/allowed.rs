//! What passes: a request that is in the list, and the one that is sent to the engine for it.
//!
//! The second is built from the first: from words of this file, from ids and numbers that were checked byte by byte, and
//! from filters that were read and written anew. No byte of a request is copied that was not looked at.

use std::collections::BTreeMap;

use super::request::{Head, Method, No};
use super::rewrite::{CONTAINER, IMAGE, INFO, Keep, LISTED, VERSION};
use crate::sys::engine::Happened;

/// The longest id or name of a container or an image, in bytes.
const MAX_ID: usize = 255;

/// The most filters of one kind, and the longest, in bytes.
const MAX_FILTERS: usize = 64;
const MAX_FILTER: usize = 256;

/// What a client wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// To run what the configuration declares under this name.
    Inside(String),
    /// To read.
    Read(Read),
}

/// A request to the engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// Path and query, as they are sent.
    pub path: String,
    /// What becomes of the answer.
    pub shape: Shape,
}

/// What an answer is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// Two letters.
    Ping,
    /// One object, of which these fields pass.
    Object(Keep),
    /// A list of objects, of each of which these fields pass.
    List(Keep),
    /// Objects one after the other, which are events.
    Events,
    /// Bytes as they come.
    Stream,
}

/// What a parameter may be.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Flag,
    Time,
    Tail,
    Filters,
}

type Parameters = &'static [(&'static str, Kind)];

const LIST: Parameters = &[("all", Kind::Flag), ("filters", Kind::Filters)];
const INSPECT: Parameters = &[];
const EVENTS: Parameters = &[("since", Kind::Time), ("until", Kind::Time), ("filters", Kind::Filters)];
const STATS: Parameters = &[("stream", Kind::Flag), ("one-shot", Kind::Flag)];
const LOGS: Parameters = &[
    ("stdout", Kind::Flag),
    ("stderr", Kind::Flag),
    ("follow", Kind::Flag),
    ("timestamps", Kind::Flag),
    ("tail", Kind::Tail),
    ("since", Kind::Time),
    ("until", Kind::Time),
];

const NOT_ALLOWED: No = No { status: 403, what: "this is not among what may be read here" };

const BAD_QUERY: No = No { status: 403, what: "this parameter is not among those that pass, or not as it should be" };

/// Compares a request with the list.
///
/// # Errors
/// When it is not in it.
pub fn wanted(head: &Head) -> Result<Wanted, No> {
    let (path, query) = match head.target.split_once('?') {
        Some((path, query)) => (path, query),
        None => (head.target.as_str(), ""),
    };
    // No `%`: whatever needs it in a path is nothing that passes.
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"/_.:-".contains(&b);
    let Some(path) = path.strip_prefix('/').filter(|path| path.bytes().all(fits)) else { return Err(NOT_ALLOWED) };
    let mut parts: Vec<&str> = path.split('/').collect();
    if head.method == Method::Post {
        return match parts.as_slice() {
            ["backstop", "inside", name] if is_name(name) && query.is_empty() => Ok(Wanted::Inside((*name).into())),
            _ => Err(No { status: 403, what: "the engine is only read here" }),
        };
    }
    let version = match parts.first().and_then(|part| part.strip_prefix("v1.")) {
        Some(minor) if (1..=3).contains(&minor.len()) && minor.bytes().all(|b| b.is_ascii_digit()) => {
            parts.remove(0);
            format!("/v1.{minor}")
        }
        _ => String::new(),
    };
    let (path, parameters, shape): (String, Parameters, Shape) = match parts.as_slice() {
        ["_ping"] => ("/_ping".into(), &[], Shape::Ping),
        ["version"] => ("/version".into(), &[], Shape::Object(VERSION)),
        ["info"] => ("/info".into(), &[], Shape::Object(INFO)),
        ["events"] => ("/events".into(), EVENTS, Shape::Events),
        ["containers", "json"] => ("/containers/json".into(), LIST, Shape::List(LISTED)),
        ["containers", id, what] if is_id(id) => match *what {
            "json" => (format!("/containers/{id}/json"), INSPECT, Shape::Object(CONTAINER)),
            "stats" => (format!("/containers/{id}/stats"), STATS, Shape::Stream),
            "logs" => (format!("/containers/{id}/logs"), LOGS, Shape::Stream),
            _ => return Err(NOT_ALLOWED),
        },
        ["images", id, "json"] if is_id(id.strip_prefix("sha256:").unwrap_or(id)) => {
            (format!("/images/{id}/json"), &[], Shape::Object(IMAGE))
        }
        _ => return Err(NOT_ALLOWED),
    };
    let query = rebuilt(query, parameters, shape)?;
    Ok(Wanted::Read(Read { path: format!("{version}{path}{query}"), shape }))
}

/// `[A-Za-z0-9][A-Za-z0-9_.-]*`
fn is_id(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    text.len() <= MAX_ID && text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.bytes().all(fits)
}

/// The name of a table.
fn is_name(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(fits)
}

/// The query as it is sent; begins with `?` unless it is empty.
fn rebuilt(query: &str, parameters: Parameters, shape: Shape) -> Result<String, No> {
    let mut given = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let known = parameters.iter().find(|(known, _)| *known == name).ok_or(BAD_QUERY)?;
        // Twice is two meanings.
        if given.insert(known.0, value.into_owned()).is_some() {
            return Err(BAD_QUERY);
        }
    }
    let mut built = form_urlencoded::Serializer::new(String::new());
    for (name, kind) in parameters {
        let value = match (given.remove(name), kind) {
            (None, Kind::Filters) if shape == Shape::Events => Some(String::new()),
            (value, _) => value,
        };
        let Some(value) = value else { continue };
        let value = match kind {
            Kind::Flag => flag(&value)?.to_string(),
            Kind::Time => time(value)?,
            Kind::Tail => tail(value)?,
            Kind::Filters if shape == Shape::Events => event_filters(&value)?,
            Kind::Filters => list_filters(&value)?,
        };
        built.append_pair(name, &value);
    }
    let built = built.finish();
    Ok(if built.is_empty() { built } else { format!("?{built}") })
}

fn flag(value: &str) -> Result<&'static str, No> {
    match value {
        "1" | "true" => Ok("1"),
        "0" | "false" => Ok("0"),
        _ => Err(BAD_QUERY),
    }
}

/// Seconds since 1970, with a fraction or without.
fn time(value: String) -> Result<String, No> {
    let (seconds, fraction) = value.split_once('.').unwrap_or((&value, "0"));
    let digits = |text: &str, most| (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if digits(seconds, 12) && digits(fraction, 9) { Ok(value) } else { Err(BAD_QUERY) }
}

fn tail(value: String) -> Result<String, No> {
    let is_number = (1..=9).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit());
    if is_number || value == "all" { Ok(value) } else { Err(BAD_QUERY) }
}

/// Filters as engines take them: `{"status":["running"]}`.
fn filters(value: &str) -> Result<BTreeMap<String, Vec<String>>, No> {
    if value.is_empty() {
        return Ok(BTreeMap::new());
    }
    let filters: BTreeMap<String, Vec<String>> = serde_json::from_str(value).map_err(|_| BAD_QUERY)?;
    let is_bounded = |values: &Vec<String>| values.len() <= MAX_FILTERS && values.iter().all(|v| v.len() <= MAX_FILTER);
    if filters.values().all(is_bounded) { Ok(filters) } else { Err(BAD_QUERY) }
}

fn list_filters(value: &str) -> Result<String, No> {
    const KEYS: [&str; 5] = ["health", "id", "label", "name", "status"];
    let filters = filters(value)?;
    if !filters.keys().all(|key| KEYS.contains(&key.as_str())) {
        return Err(BAD_QUERY);
    }
    serde_json::to_string(&filters).map_err(|_| BAD_QUERY)
}

/// Of containers, and of what is known here: never of what runs inside of them, which would be its command line.
fn event_filters(value: &str) -> Result<String, No> {
    const KEYS: [&str; 4] = ["container", "event", "label", "type"];
    let mut filters = filters(value)?;
    if !filters.keys().all(|key| KEYS.contains(&key.as_str())) {
        return Err(BAD_QUERY);
    }
    if filters.insert("type".into(), vec!["container".into()]).is_some_and(|kinds| kinds != ["container"]) {
        return Err(BAD_QUERY);
    }
    let known: Vec<String> = Happened::ALL.iter().flat_map(|kind| kind.words()).map(|word| word.to_string()).collect();
    let words = match filters.remove("event") {
        None => known,
        Some(asked) => asked.into_iter().filter(|word| known.contains(word)).collect(),
    };
    if words.is_empty() {
        return Err(BAD_QUERY);
    }
    filters.insert("event".into(), words);
    serde_json::to_string(&filters).map_err(|_| BAD_QUERY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(method: Method, target: &str) -> Result<String, u16> {
        match wanted(&Head { method, target: target.into(), is_old: false }) {
            Ok(Wanted::Read(read)) => Ok(read.path),
            Ok(Wanted::Inside(name)) => Ok(format!("inside {name}")),
            Err(no) => Err(no.status),
        }
    }

    #[test]
    fn what_passes_is_built_anew() {
        for (target, wanted) in [
            ("/_ping", "/_ping"),
            ("/v1.41/info", "/v1.41/info"),
            ("/version?", "/version"),
            ("/containers/json?all=true", "/containers/json?all=1"),
            ("/v1.51/containers/json?filters=%7B%7D&all=1", "/v1.51/containers/json?all=1&filters=%7B%7D"),
            (
                "/containers/json?filters=%7B%22label%22:%5B%22a=b%26c%22%5D%7D",
                "/containers/json?filters=%7B%22label%22%3A%5B%22a%3Db%26c%22%5D%7D",
            ),
            ("/containers/3f2a/json", "/containers/3f2a/json"),
            ("/containers/shop_api-1.x/logs?tail=all&stdout=1", "/containers/shop_api-1.x/logs?stdout=1&tail=all"),
            ("/containers/x/logs?since=1700000000.000000001", "/containers/x/logs?since=1700000000.000000001"),
            ("/containers/x/stats?stream=1", "/containers/x/stats?stream=1"),
            ("/images/sha256:00ff/json", "/images/sha256:00ff/json"),
        ] {
            assert_eq!(sent(Method::Get, target).as_deref(), Ok(wanted), "{target}");
        }
        assert_eq!(sent(Method::Post, "/backstop/inside/orders-2").as_deref(), Ok("inside orders-2"));
    }

    #[test]
    fn events_are_those_of_containers_and_never_of_commands_inside() {
        let all = sent(Method::Get, "/events?since=1").unwrap();
        assert!(all.starts_with("/events?since=1&filters=%7B%22event%22%3A%5B%22create%22%2C"), "{all}");
        assert!(!all.contains("exec") && all.contains("%22type%22%3A%5B%22container%22%5D"), "{all}");
        for (filters, wanted) in [
            (r#"{"event":["die"]}"#, Ok(r#"{"event":["die"],"type":["container"]}"#)),
            (r#"{"event":["die","exec_start","exec_create: x"]}"#, Ok(r#"{"event":["die"],"type":["container"]}"#)),
            (r#"{"event":["exec_start"]}"#, Err(403)),
            (r#"{"type":["network"]}"#, Err(403)),
            (r#"{"type":["container","network"]}"#, Err(403)),
            (r#"{"event":{"die":true}}"#, Err(403)),
            (r#"{"daemon":["x"]}"#, Err(403)),
            (r#"{"#, Err(403)),
        ] {
            let encoded: String = form_urlencoded::byte_serialize(filters.as_bytes()).collect();
            let got = sent(Method::Get, &format!("/events?filters={encoded}"));
            let wanted = wanted.map(|text| {
                format!("/events?filters={}", form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>())
            });
            assert_eq!(got, wanted, "{filters}");
        }
    }

    #[test]
    fn what_is_not_in_the_list_does_not_pass() {
        for target in [
            "/",
            "//info",
            "/info/",
            "/./info",
            "/../info",
            "/v1.41/../info",
            "/v1.41//info",
            "/v2.0/info",
            "/v1./info",
            "/v1.4a/info",
            "/v1.41/v1.41/info",
            "/v1.41",
            "/containers",
            "/containers/",
            "/containers//json",
            "/containers/x",
            "/containers/../json",
            "/containers/.x/json",
            "/containers/-x/json",
            "/containers/x/../../info",
            "/containers/%2e%2e/json",
            "/containers/x%2fexport/json",
            "/containers/x%252fexport/json",
            "/containers/x/json%00",
            "/containers/x:y/json",
            "/containers/x/export",
            "/containers/x/archive?path=/etc",
            "/containers/x/attach/ws",
            "/containers/x/top",
            "/containers/x/changes",
            "/exec/3f2a/json",
            "/images/json",
            "/images/a/b/json",
            "/images/sha256:../json",
            "/images/x/get",
            "/images/x/history",
            "/swarm",
            "/secrets",
            "/configs",
            "/volumes",
            "/networks",
            "/plugins",
            "/session",
            "/build",
            "/system/df",
            "/backstop/inside/orders",
            "/info#x",
            "/info;x",
            "/info?x=1",
            "/info?all=1",
            "/containers/json?all=2",
            "/containers/json?all=1&all=1",
            "/containers/json?a%6cl=1&all=1",
            "/containers/json?limit=1",
            "/containers/json?filters={\"volume\":[\"x\"]}",
            "/containers/json?filters=x",
            "/containers/x/json?size=yes",
            "/containers/x/logs?since=-1",
            "/containers/x/logs?since=1.",
            "/containers/x/logs?tail=-1",
            "/containers/x/logs?details=1",
            "/containers/x/stats?stream=1%0d%0aX:y",
        ] {
            assert_eq!(sent(Method::Get, target), Err(403), "{target}");
        }
        for target in [
            "/containers/create",
            "/containers/x/start",
            "/containers/x/exec",
            "/v1.41/containers/x/kill",
            "/build",
            "/images/create?fromImage=x",
            "/info",
            "/backstop/inside",
            "/backstop/inside/",
            "/backstop/inside/../x",
            "/backstop/inside/a/b",
            "/backstop/inside/-a",
            "/backstop/inside/A",
            "/backstop/inside/a?user=root",
            "/v1.41/backstop/inside/a",
        ] {
            assert_eq!(sent(Method::Post, target), Err(403), "{target}");
        }
        assert_eq!(sent(Method::Get, &format!("/containers/{}/json", "x".repeat(300))), Err(403));
    }
}
