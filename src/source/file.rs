//! `[file.NAME]`: is a file there, how old is it, how large, who may write to it?
//!
//! Enters: what the file system knows of a path, or of the newest file that a pattern means; no file is opened. Leaves:
//! `file_mtime_seconds{path}`, `file_size_bytes{path}` (regular files) and `probe_expect_ok{expect}` for each subject that is
//! judged, beside the `probe_*` of every source. Each path is a target of its own; the newest of a pattern is one target,
//! and keeps the pattern as its `path`, so that its series go on when another file becomes the newest.
//!
//! Reasons: `missing`, `exists` (there, and should not be), `age`, `size`, `mode`, `writable`; `permission`, `timeout`,
//! `too-many`, `error` where nothing can be said.

use std::path::PathBuf;

use super::common::{Common, Defaults, Target, sample};
use super::expect::{Expectation, Judge, Kind, Observation, read_expect};
use crate::base::table::Placed;
use crate::base::{Batch, Failure, Labels, Node, Outcome, Problems, Sample, Span, Table, Timestamp};
use crate::sys::apart::{Apart, Late};
use crate::sys::clock::Stopwatch;
use crate::sys::look::{self, Blind, Pattern, Seen};

/// Names that exist from the start.
pub const NAMES: [&str; 6] = [
    "probe_success",
    "probe_duration_seconds",
    "probe_failure_info",
    "probe_expect_ok",
    "file_mtime_seconds",
    "file_size_bytes",
];

/// The most paths of one table.
const MAX_PATHS: usize = 100;

/// The table `[file.NAME]`.
#[derive(Clone, Debug)]
pub struct Config {
    /// What all sources take.
    pub common: Common,
    /// What is looked at; each is a target.
    pub places: Vec<Place>,
    /// What must be seen.
    pub expect: Vec<Expectation>,
}

/// What one target looks at.
#[derive(Clone, Debug)]
pub enum Place {
    /// This file.
    Path(PathBuf),
    /// The newest that a pattern means, with its text.
    Newest(Pattern, String),
}

impl Place {
    /// As it was written: the `instance`.
    fn written(&self) -> String {
        match self {
            Place::Path(path) => path.display().to_string(),
            Place::Newest(_, text) => text.clone(),
        }
    }

    fn look(&self, limit: Span) -> Result<Option<Seen>, Blind> {
        match self {
            Place::Path(path) => look::at(path),
            Place::Newest(pattern, _) => pattern.newest(limit),
        }
    }
}

impl Config {
    /// Reads the table of `name`; none when it cannot be used.
    pub fn read(name: &str, node: &Node, defaults: &Defaults, problems: &mut Problems) -> Option<Config> {
        let what = format!("[file.{name}]");
        let mut table = Table::open(node, &what, problems)?;
        let common = Common::read("file", name, &mut table, defaults, problems);
        let places = read_places(&mut table, &what, problems);
        let expect = read_expect(&mut table, Kind::File, problems);
        check(&mut table, &expect, problems);
        table.finish(problems);
        if places.is_empty() { None } else { Some(Config { common, places, expect }) }
    }
}

fn read_places(table: &mut Table<'_>, what: &str, problems: &mut Problems) -> Vec<Place> {
    let path: Option<Placed<String>> = table.get("path", problems);
    let paths: Option<Vec<Placed<String>>> = table.get("paths", problems);
    let newest: Option<Placed<String>> = table.get("newest", problems);
    let written: Vec<&str> =
        ["path", "paths", "newest"].into_iter().filter(|key| table.key_place(key).is_some()).collect();
    if written.len() != 1 {
        let label = if written.is_empty() {
            "none stands here".into()
        } else {
            format!("{} stand here", written.join(" and "))
        };
        problems
            .error(&table.place().clone(), format!("{what} takes one of `path`, `paths` and `newest`"), label)
            .help("for example: path = \"/var/backup/dump.sql\", or newest = \"/var/backup/*.sql\"");
        return Vec::new();
    }
    if let Some(Placed { value, place }) = newest {
        return match Pattern::parse(&value) {
            Ok(pattern) => vec![Place::Newest(pattern, value)],
            Err(why) => {
                problems.error(&place, why, "").help("for example: newest = \"/var/backup/*.sql\"");
                Vec::new()
            }
        };
    }
    read_paths(table, path.into_iter().chain(paths.into_iter().flatten()).collect(), problems)
}

fn read_paths(table: &mut Table<'_>, paths: Vec<Placed<String>>, problems: &mut Problems) -> Vec<Place> {
    if let Some(node) = table.node("paths") {
        if matches!(&node.value, crate::base::table::Value::List(all) if all.is_empty()) {
            problems.error(&node.place, "`paths` is empty", "nothing would be looked at");
        } else if paths.len() > MAX_PATHS {
            let label = format!("{} stand here", paths.len());
            problems.error(&node.place, format!("`paths` takes at most {MAX_PATHS}"), label);
        }
    }
    let key = if table.key_place("paths").is_some() { "paths" } else { "path" };
    let mut known = std::collections::BTreeSet::new();
    let mut places = Vec::new();
    for Placed { value, place } in paths.into_iter().take(MAX_PATHS) {
        if !value.starts_with('/') || value.contains('\0') {
            problems
                .error(&place, "a path begins with `/`", "where would it begin?")
                .help("the agent has no folder of its own to begin at; `${state}` is the state folder");
        } else if value.contains(['*', '?', '[']) {
            problems
                .error(
                    &place,
                    format!("`{key}` takes no pattern"),
                    "no file is called so, and it would always be missing",
                )
                .help(format!("for the newest file of a pattern: newest = \"{value}\""));
        } else if !known.insert(value.clone()) {
            problems.error(&place, format!("`{value}` stands here twice"), "one target is enough");
        } else {
            places.push(Place::Path(value.into()));
        }
    }
    places
}

/// Expectations that can never hold together.
fn check(table: &mut Table<'_>, expect: &[Expectation], problems: &mut Problems) {
    let Some(node) = table.node("expect") else { return };
    let labels: Vec<String> = expect.iter().map(Expectation::label).collect();
    if labels.iter().any(|label| label == "missing")
        && let Some(other) = labels.iter().find(|label| *label != "missing")
    {
        problems.error(&node.place, format!("a missing file has no `{other}`"), "one of them always fails");
    }
}

/// A file that is looked at.
#[derive(Debug)]
pub struct File {
    place: Place,
    target: Target,
    judge: Judge,
    mtime: Labels,
    size: Labels,
    apart: Apart<()>,
}

impl File {
    /// The targets of a table: one for each path.
    pub fn all(config: &Config) -> Vec<File> {
        config.places.iter().map(|place| File::new(config, place)).collect()
    }

    fn new(config: &Config, place: &Place) -> File {
        let written = place.written();
        let target = Target::new(&config.common, written.clone());
        File {
            judge: Judge::new(&config.expect, &[], &target, &[]),
            mtime: target.series("file_mtime_seconds", &[("path", &written)]),
            size: target.series("file_size_bytes", &[("path", &written)]),
            target,
            place: place.clone(),
            apart: Apart::default(),
        }
    }

    /// What is looked at.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The files that a look asks about.
    pub fn files(&self) -> Vec<PathBuf> {
        match &self.place {
            Place::Path(path) => vec![path.clone()],
            Place::Newest(pattern, _) => vec![pattern.folder()],
        }
    }

    /// Looks once.
    pub async fn collect(&mut self, at: Timestamp) -> Batch {
        let watch = Stopwatch::start();
        let (place, limit) = (self.place.clone(), self.target.timeout);
        let (outcome, samples) = match self.apart.run("file", limit, move |()| place.look(limit)).await {
            Ok(Ok(seen)) => self.judged(at, seen.as_ref()),
            Ok(Err(blind)) => (Outcome::Failed(failure(&blind)), Vec::new()),
            Err(late) => (Outcome::Failed(self.late(&late)), Vec::new()),
        };
        self.target.batch(at, watch.seconds(), outcome, samples)
    }

    fn late(&self, late: &Late) -> Failure {
        match late {
            Late::TimedOut(_) | Late::StillBusy => {
                Failure::new("timeout", format!("{}: {late}; does its file system answer?", self.place.written()))
            }
            Late::NoThread(_) | Late::Lost => Failure::new("error", late.to_string()),
        }
    }

    /// Pure: what is there in, samples and outcome out.
    fn judged(&self, at: Timestamp, seen: Option<&Seen>) -> (Outcome, Vec<Sample>) {
        let mut samples = Vec::new();
        if let Some(seen) = seen {
            samples.push(sample(self.mtime.clone(), seen.modified.seconds()));
            samples.extend(seen.size.map(|size| sample(self.size.clone(), size as f64)));
        }
        let observation = Observation {
            exists: Some(seen.is_some()),
            writable: seen.map(|seen| seen.is_writable),
            age: seen.map(|seen| (at.0.saturating_sub(seen.modified.0)) as f64 / 1000.0),
            size: seen.and_then(|seen| seen.size),
            mode: seen.map(|seen| seen.mode),
            now: at,
            ..Observation::default()
        };
        let outcome = match self.judge.judge(&observation, &mut samples) {
            Outcome::Good => Outcome::Good,
            Outcome::Failed(failed) => Outcome::Failed(self.told(failed, seen)),
        };
        (outcome, samples)
    }

    /// The failure in the words of this source, with the file that was meant.
    fn told(&self, failed: Failure, seen: Option<&Seen>) -> Failure {
        let written = self.place.written();
        match (failed.reason, seen, &self.place) {
            ("exists", _, Place::Path(_)) => Failure::new("missing", format!("{written} is not there")),
            ("exists", _, Place::Newest(..)) => Failure::new("missing", format!("no file is like {written}")),
            ("missing", Some(seen), _) => {
                Failure::new("exists", format!("{} is there, and should not be", seen.path.display()))
            }
            (reason, Some(seen), _) => Failure::new(reason, format!("{}: {}", seen.path.display(), failed.detail)),
            (reason, None, _) => Failure::new(reason, failed.detail),
        }
    }
}

fn failure(blind: &Blind) -> Failure {
    let reason = match blind {
        Blind::Denied { .. } => "permission",
        Blind::TooMany { .. } | Blind::TooDeep { .. } => "too-many",
        Blind::TooLong(_) => "timeout",
        Blind::Io { .. } => "error",
    };
    Failure::new(reason, blind.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::{defaults, read};

    fn sources(toml: &str) -> Vec<File> {
        let (config, problems) = read(toml, |node, problems| Config::read("dump", node, &defaults(), problems));
        assert_eq!(problems, Vec::<String>::new(), "{toml}");
        File::all(&config.unwrap())
    }

    fn judged(expect: &str, seen: Option<&Seen>) -> String {
        let toml = format!("path = \"/x\"\nexpect = [{expect}]");
        match sources(&toml)[0].judged(Timestamp(100_000_000), seen).0 {
            Outcome::Good => "good".into(),
            Outcome::Failed(failure) => failure.to_string(),
        }
    }

    fn seen() -> Seen {
        Seen {
            path: "/x".into(),
            modified: Timestamp(100_000_000 - 7_200_000),
            is_folder: false,
            size: Some(2048),
            mode: 0o640,
            is_writable: false,
        }
    }

    #[test]
    fn a_file_is_judged_by_what_is_known_of_it() {
        for (expect, wanted) in [
            ("", "good"),
            ("'exists'", "good"),
            ("'age < 25h', 'size > 1KiB', 'mode <= 0640'", "good"),
            ("'size == 2048', 'mode == 0640', 'age == 2h'", "good"),
            ("'mode >= 0600', 'mode != 0644', 'mode in [0600, 0640]'", "good"),
            ("'age < 1h'", "age: /x: expected age < 1h, saw 2 h"),
            ("'size > 1MiB'", "size: /x: expected size > 1MiB, saw 2 KiB"),
            ("'mode <= 0600'", "mode: /x: expected mode <= 0600, saw 0640"),
            ("'mode <= 0604'", "mode: /x: expected mode <= 0604, saw 0640"),
            ("'writable'", "writable: /x: expected writable, it is not writable"),
            ("'missing'", "exists: /x is there, and should not be"),
        ] {
            assert_eq!(judged(expect, Some(&seen())), wanted, "{expect}");
        }
        assert_eq!(judged("'age < 1h'", None), "missing: /x is not there");
        assert_eq!(judged("'missing'", None), "good");
    }

    #[test]
    fn a_file_from_the_future_has_a_negative_age() {
        let future = Seen { modified: Timestamp(100_000_000 + 300_000), ..seen() };
        assert_eq!(judged("'age < 25h'", Some(&future)), "good");
        assert_eq!(judged("'age > -1m'", Some(&future)), "age: /x: expected age > -1m, saw -5 min");
        let never = Seen { modified: Timestamp(i64::MIN), ..seen() };
        assert!(judged("'age < 25h'", Some(&never)).starts_with("age: /x: expected age < 25h, saw "));
    }

    #[test]
    fn each_path_is_a_target_and_a_pattern_is_one() {
        let instances = |toml: &str| -> Vec<String> {
            sources(toml).iter().map(|source| source.target().instance.clone()).collect()
        };
        assert_eq!(instances("paths = [\"/a\", \"/b\"]"), ["/a", "/b"]);
        assert_eq!(instances("newest = \"/a/*\""), ["/a/*"]);
        let one = &sources("newest = \"/a/*\"")[0];
        let (_, samples) = one.judged(Timestamp(100_000_000), Some(&seen()));
        let mtime = samples.iter().find(|s| s.labels.name() == "file_mtime_seconds").unwrap();
        assert_eq!((mtime.labels.get("path"), mtime.value), ("/a/*", 92_800.0));
    }

    #[test]
    fn every_mistake_of_the_table_is_named() {
        const ONE: &str = "[file.dump] takes one of `path`, `paths` and `newest`";
        for (toml, wanted) in [
            ("", ONE),
            ("path = \"/a\"\nnewest = \"/b/*\"", ONE),
            ("path = \"a\"", "a path begins with `/`"),
            ("path = \"/a/*.pem\"\nexpect = \"missing\"", "`path` takes no pattern"),
            ("path = \"/a?\"", "`path` takes no pattern"),
            ("paths = [\"/a\", \"/[ab]\"]", "`paths` takes no pattern"),
            ("paths = []", "`paths` is empty"),
            ("paths = \"/a\"", "this takes a list"),
            ("paths = [\"/a\", \"/a\"]", "`/a` stands here twice"),
            ("newest = \"/a/**\"", "`**` means folders: end with the name of a file, as in /backup/**/*.gz"),
            ("path = \"/a\"\nexpect = [\"age < 25\"]", "`25` has no unit of time"),
            ("path = \"/a\"\nexpect = [\"mode <= 640\"]", "`640` is no mode"),
            ("path = \"/a\"\nexpect = [\"missing\", \"age < 1h\"]", "a missing file has no `age`"),
            ("path = \"/a\"\nexpects = []", "unknown key `expects`"),
        ] {
            let (_, problems) = read(toml, |node, problems| Config::read("dump", node, &defaults(), problems));
            assert_eq!(problems, [wanted], "{toml}");
        }
    }
}
