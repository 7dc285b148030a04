//! The table `[http.NAME]`, read.

use std::path::PathBuf;

use http::header::{HeaderName, HeaderValue};

use crate::base::table::{Entry, Placed, Value, wrong_kind};
use crate::base::{Node, Problems, SecretRef, Table};
use crate::source::common::{Auth, Common, Defaults, read_tls};
use crate::source::expect::{Expectation, Kind, Measure, read_expect, read_values};
use crate::source::prometheus::{read_max_body, read_url};
use crate::sys::http::{Method, Tls, Url, host_and_port};

/// The longest body that is read from `body_file`, in bytes.
pub const MAX_BODY_FILE: usize = 1 << 20;

/// More would be a loop in all but name.
const MAX_REDIRECTS: u32 = 20;

/// How many headers are sent at most.
const MAX_HEADERS: usize = 50;

/// The table `[http.NAME]`.
#[derive(Clone)]
pub struct Config {
    /// What all sources take.
    pub common: Common,
    /// The address.
    pub url: Url,
    /// The method.
    pub method: Method,
    /// Headers to send.
    pub headers: Vec<(HeaderName, Header)>,
    /// The body to send.
    pub body: Option<Body>,
    /// How to prove who asks.
    pub auth: Option<Auth>,
    /// How many redirects are followed.
    pub redirects: u32,
    /// Whom to believe, and how to prove oneself, where there is TLS.
    pub tls: Tls,
    /// What the answer must be.
    pub expect: Vec<Expectation>,
    /// Numbers taken from the answer.
    pub values: Vec<(String, Measure)>,
    /// The request changes something: it is never sent by the clock.
    pub writes: bool,
    /// The longest answer, in bytes after decompression.
    pub max_body: u64,
}

/// The value of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header {
    /// As written.
    Text(HeaderValue),
    /// Read at each look.
    Secret(SecretRef),
}

/// A body to send.
#[derive(Clone, PartialEq, Eq)]
pub enum Body {
    /// As written.
    Text(String),
    /// Read at each look.
    File(PathBuf),
}

/// Prints no path, query, header or body: each may hold a secret.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("source", &self.common.reference)
            .field("method", &self.method)
            .field("host", &host_and_port(&self.url))
            .finish_non_exhaustive()
    }
}

impl Config {
    /// Reads the table of `name`; none when it cannot be used.
    pub fn read(name: &str, node: &Node, defaults: &Defaults, problems: &mut Problems) -> Option<Config> {
        let what = format!("[http.{name}]");
        let mut table = Table::open(node, &what, problems)?;
        let common = Common::read("http", name, &mut table, defaults, problems);
        let is_chain = refuse_chain(&mut table, problems);
        // A chain has its addresses in its steps; to miss one here would be a second complaint about the same thing.
        let url = if is_chain { None } else { read_url(&mut table, "\"http://127.0.0.1:8080/health\"", problems) };
        let method = read_method(&mut table, problems);
        let headers = read_headers(&mut table, problems);
        let body = read_body(&mut table, problems);
        let auth = Auth::read(&mut table, problems);
        let redirects = read_redirects(&mut table, problems);
        let tls = read_tls(&mut table, problems);
        let expect = read_expect(&mut table, Kind::Http, problems);
        let values = read_values(&mut table, Kind::Http, problems);
        let writes = read_writes(&mut table, common.manual, problems);
        let max_body = read_max_body(&mut table, 1 << 20, problems);
        if is_chain {
            table.node("url");
        }
        table.finish(problems);
        let url = url?;
        Some(Config { common, url, method, headers, body, auth, redirects, tls, expect, values, writes, max_body })
    }
}

/// Chains of requests come with a later version: what belongs to one is named instead of being called unknown.
fn refuse_chain(table: &mut Table<'_>, problems: &mut Problems) -> bool {
    let mut found = false;
    for key in ["step", "capture", "retry"] {
        if table.node(key).is_some()
            && let Some(place) = table.key_place(key)
        {
            problems
                .error(place, format!("`{key}` is not in this version"), "belongs to a chain of requests")
                .help("write one [http.NAME] for each address");
            found = true;
        }
    }
    found
}

fn read_method(table: &mut Table<'_>, problems: &mut Problems) -> Method {
    const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    let Some(Placed { value, place }) = table.get::<Placed<String>>("method", problems) else {
        return Method::GET;
    };
    match METHODS.iter().find(|m| **m == value).and_then(|m| m.parse().ok()) {
        Some(method) => method,
        None => {
            problems.error(&place, format!("`{value}` is no method"), "").help(METHODS.join(", "));
            Method::GET
        }
    }
}

fn read_redirects(table: &mut Table<'_>, problems: &mut Problems) -> u32 {
    let Some(Placed { value, place }) = table.get::<Placed<u32>>("redirects", problems) else {
        return 5;
    };
    if value > MAX_REDIRECTS {
        problems.error(&place, format!("at most {MAX_REDIRECTS} redirects are followed"), "too many");
    }
    value.min(MAX_REDIRECTS)
}

fn read_headers(table: &mut Table<'_>, problems: &mut Problems) -> Vec<(HeaderName, Header)> {
    let Some(node) = table.node("headers") else {
        return Vec::new();
    };
    let Some(mut inner) = Table::open(node, "`headers`", problems) else {
        return Vec::new();
    };
    let entries = inner.rest();
    if entries.len() > MAX_HEADERS {
        problems.error(&node.place, format!("at most {MAX_HEADERS} headers are sent"), "too many");
    }
    entries.into_iter().take(MAX_HEADERS).filter_map(|entry| read_header(entry, problems)).collect()
}

fn read_header(entry: &Entry, problems: &mut Problems) -> Option<(HeaderName, Header)> {
    let (name, node) = (&entry.key, &entry.node);
    let Value::Text(text) = &node.value else {
        wrong_kind(node, "a string", "\"…\"", problems);
        return None;
    };
    let lower = name.to_ascii_lowercase();
    let place = SecretRef::parse(text);
    if let Err(why) = &place
        && SECRET.iter().any(|part| lower.contains(part))
    {
        let is_literal = why == SecretRef::LITERAL;
        let label = if is_literal { "anybody who reads this file could use it" } else { "no place of a secret" };
        problems
            .error(&node.place, why, label)
            .help(format!("write {name} = \"env:NAME\", \"file:/path\" or \"credential:NAME\""))
            .secret();
        return None;
    }
    let secret = place.ok();
    if OURS.contains(&lower.as_str()) {
        problems.error(&entry.place, format!("`{name}` is set by backstop itself"), "would contradict it");
        return None;
    }
    match (name.parse::<HeaderName>(), secret, HeaderValue::from_str(text)) {
        (Ok(name), Some(secret), _) => Some((name, Header::Secret(secret))),
        (Ok(name), None, Ok(value)) => Some((name, Header::Text(value))),
        _ => {
            problems.error(&entry.place, format!("`{name}` is no header, or its value none"), "cannot be sent");
            None
        }
    }
}

/// Parts of the names of headers that prove who asks.
const SECRET: [&str; 8] = ["auth", "cookie", "token", "key", "secret", "password", "session", "credential"];

/// Headers that say how the message itself is to be read, which only the client knows.
const OURS: [&str; 10] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn read_body(table: &mut Table<'_>, problems: &mut Problems) -> Option<Body> {
    let text: Option<Placed<String>> = table.get("body", problems);
    let file: Option<Placed<PathBuf>> = table.get("body_file", problems);
    match (text, file) {
        (Some(text), Some(file)) => {
            problems
                .error(&file.place, "a request has one body", "and this is the second")
                .also(&text.place, "the first")
                .help("keep `body` or `body_file`");
            None
        }
        (Some(text), None) => Some(Body::Text(text.value)),
        (None, Some(file)) if !file.value.is_absolute() => {
            problems
                .error(&file.place, "`body_file` takes a whole path", "not from the root")
                .help("for example body_file = \"/etc/backstop/health.json\"");
            None
        }
        (None, file) => file.map(|file| Body::File(file.value)),
    }
}

fn read_writes(table: &mut Table<'_>, manual: bool, problems: &mut Problems) -> bool {
    let Some(Placed { value, place }) = table.get::<Placed<bool>>("writes", problems) else {
        return false;
    };
    if value && !manual {
        problems
            .error(&place, "a request that writes is never sent by the clock", "it would write at each interval")
            .help("write interval = \"manual\": it is sent for a gate, a verification or `backstop probe`");
    }
    value
}
