//! `app.version`: how the running version is read.
//!
//! Enters: a table with one of seven keys. Leaves: one of four ways; what is wrong is in the problems.

use std::path::PathBuf;

use serde_json_path::JsonPath;

use crate::base::table::Placed;
use crate::base::{Node, Place, Problems, Table};
use crate::engine::facts::{self, Told};
use crate::promql;
use crate::sys::http::{self, Url};

/// How the running version is read.
#[derive(Clone, Debug)]
pub enum Version {
    /// The first line that a program prints.
    Command(Vec<String>),
    /// A place in the JSON of a page.
    Http {
        /// The page.
        url: Url,
        /// The place.
        path: JsonPath,
    },
    /// The name of what a symbolic link leads to: `current -> releases/1.4.2`.
    Link(PathBuf),
    /// A label of a series that some source tells: the key `series`, `container` or `unit`, whose source must be there.
    Told(Told, Teller),
}

/// Who tells the version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Teller {
    /// Whatever source has the series.
    Any,
    /// The source of that kind: `container`, `systemd`.
    Kind(&'static str, Place),
}

/// The keys, of which one says how the version is read.
const KEYS: [&str; 6] = ["command", "http", "series", "container", "unit", "link"];

/// What to write instead.
const HELP: &str = "one of: command = [\"…\"] · http = \"http://…\" with json = \"version\" · series = 'app_build_info' with \
                    label = \"version\" · container = \"project/service\" · unit = \"app.service\" · link = \"/opt/app/current\"";

impl Version {
    /// Reads the table.
    pub fn read(node: &Node, problems: &mut Problems) -> Option<Version> {
        let mut table = Table::open(node, "`version`", problems)?;
        let there: Vec<&str> = KEYS.into_iter().filter(|key| table.key_place(key).is_some()).collect();
        let version = match there[..] {
            ["command"] => read_command(&mut table, problems),
            ["http"] => read_page(&mut table, problems),
            ["series"] => read_series(&mut table, problems),
            ["container"] => read_container(&mut table, problems),
            ["unit"] => read_unit(&mut table, problems),
            [_] => read_link(&mut table, problems),
            [] => {
                problems.error(table.place(), "`version` does not say how it is read", "").help(HELP);
                None
            }
            [first, .., last] => {
                let title = format!("`{first}` and `{last}` at once");
                problems.error(table.place(), title, "one of them reads the version");
                // The others are not unknown.
                KEYS.iter().chain(&["json", "label"]).for_each(|key| {
                    table.node(key);
                });
                None
            }
        };
        table.finish(problems);
        version
    }
}

fn read_command(table: &mut Table<'_>, problems: &mut Problems) -> Option<Version> {
    let argv: Vec<String> = table.get("command", problems)?;
    if argv.is_empty() {
        problems.error(table.place(), "a command that names no program", "").help("command = [\"/path/to/it\"]");
        return None;
    }
    Some(Version::Command(argv))
}

fn read_page(table: &mut Table<'_>, problems: &mut Problems) -> Option<Version> {
    let url: Option<Placed<String>> = table.get("http", problems);
    let path: Placed<String> = table.required("json", "\"version\"", problems)?;
    let url = url?;
    let address = match http::address(&url.value) {
        Ok(address) => Some(address),
        Err((why, help)) => {
            problems.error(&url.place, why, "an address").help(help);
            None
        }
    };
    let text = if path.value.starts_with('$') { path.value.clone() } else { format!("$.{}", path.value) };
    match JsonPath::parse(&text) {
        Ok(parsed) => Some(Version::Http { url: address?, path: parsed }),
        Err(_) => {
            problems
                .error(&path.place, format!("`{}` is no path", path.value), "")
                .help("JSONPath without the leading `$.`: build.version");
            None
        }
    }
}

fn read_series(table: &mut Table<'_>, problems: &mut Problems) -> Option<Version> {
    let series: Option<Placed<String>> = table.get("series", problems);
    let label: String = table.required("label", "\"version\"", problems)?;
    let series = series?;
    match promql::compile_selector(&series.value) {
        Ok(selector) => Some(Version::Told(Told { selector, label }, Teller::Any)),
        Err(error) => {
            problems
                .error(&series.place, format!("`series` is no selector: {error}"), "")
                .help("for example: series = 'app_build_info{job=\"api\"}'");
            None
        }
    }
}

fn read_container(table: &mut Table<'_>, problems: &mut Problems) -> Option<Version> {
    let named: Placed<String> = table.get("container", problems)?;
    let parts: Vec<&str> = named.value.split('/').collect();
    if parts.len() > 2 || parts.iter().any(|part| part.is_empty() || part.contains('*')) {
        problems
            .error(&named.place, format!("`{}` names no container", named.value), "")
            .help("container = \"project/service\", or the name of one");
        return None;
    }
    Some(Version::Told(facts::of_container(&named.value), Teller::Kind("container", named.place)))
}

fn read_unit(table: &mut Table<'_>, problems: &mut Problems) -> Option<Version> {
    let named: Placed<String> = table.get("unit", problems)?;
    if named.value.is_empty() || named.value.contains(['/', '*', ' ']) {
        problems
            .error(&named.place, format!("`{}` names no unit", named.value), "")
            .help("for example: unit = \"shop.service\"");
        return None;
    }
    let name = if named.value.contains('.') { named.value } else { format!("{}.service", named.value) };
    Some(Version::Told(facts::of_unit(&name), Teller::Kind("systemd", named.place)))
}

fn read_link(table: &mut Table<'_>, problems: &mut Problems) -> Option<Version> {
    let path: Placed<PathBuf> = table.get("link", problems)?;
    if !path.value.is_absolute() {
        problems
            .error(&path.place, "`link` takes the whole path of a symbolic link", "not from the root")
            .help("for example: link = \"/opt/app/current\"");
        return None;
    }
    Some(Version::Link(path.value))
}
