//! What every kind of source owes: the contract, held for each kind of `SourceConfig::KINDS`.
//!
//! A kind without a row here, or without a page below `docs/sources`, fails.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backstop::agent::wire;
use backstop::base::{Batch, Outcome, Timestamp};
use backstop::config::{self, Config, Loaded, Options, SourceConfig};
use backstop::source::Source;
use backstop::sys::clock::{Clock, Stopwatch};

use crate::support::port::Port;
use crate::support::{self, Scratch};

/// What no output may ever hold.
const SECRET: &str = "hunter2-never-shown";

/// One kind of source, in a world that is well and in one that is not.
struct Kind {
    kind: &'static str,
    /// Its table where all is well; a look is good.
    good: &'static str,
    /// Its table where it is not, and the reason.
    bad: Option<(&'static str, &'static str)>,
    /// Its table where the world never answers, and the reason.
    hangs: Option<(&'static str, &'static str)>,
    /// Its table with every place that takes a secret, and what sends it back.
    secret: Option<&'static str>,
    /// Whether the world itself names series.
    foreign: bool,
}

/// `{base}` a server, `{closed}` a port without one, `{mute}` a port that never says a word, `{dir}` a folder.
const KINDS: [Kind; 7] = [
    Kind {
        kind: "http",
        good: "[http.x]\nurl = '{base}/health'\nexpect = ['json status == \"ok\"']\nvalues = { queue = 'json queue' }",
        bad: Some(("[http.x]\nurl = 'http://{closed}/'", "refused")),
        hangs: Some(("[http.x]\nurl = 'http://{mute}/'\ntimeout = '300ms'", "timeout")),
        secret: Some(
            "[http.x]\nurl = '{base}/echo?key=hunter2-never-shown'\nauth = { bearer = 'file:{dir}/secret' }\nexpect = ['body contains \"nothing of it\"']",
        ),
        foreign: false,
    },
    Kind {
        kind: "prometheus",
        good: "[prometheus.x]\nurl = '{base}/metrics'",
        bad: Some(("[prometheus.x]\nurl = '{base}/health'", "body")),
        hangs: Some(("[prometheus.x]\nurl = 'http://{mute}/'\ntimeout = '300ms'", "timeout")),
        secret: Some(
            "[prometheus.x]\nurl = '{base}/echo?key=hunter2-never-shown'\nauth = { user = 'a', password = 'file:{dir}/secret' }",
        ),
        foreign: true,
    },
    // Of a host without /proc nothing works; what fails one by one is tested beside it.
    Kind { kind: "host", good: "[host]", bad: None, hangs: None, secret: None, foreign: false },
    Kind {
        kind: "tcp",
        good: "[tcp.x]\naddress = '{addr}'",
        bad: Some(("[tcp.x]\naddress = '{closed}'", "refused")),
        hangs: Some(("[tcp.x]\naddress = '{mute}'\ntimeout = '300ms'\nexpect = [\"banner matches '^SSH'\"]", "banner")),
        secret: None,
        foreign: false,
    },
    Kind {
        kind: "file",
        good: "[file.x]\npath = '{dir}/secret'\nexpect = ['age < 1h', 'size > 1B']",
        bad: Some(("[file.x]\npath = '{dir}/none'", "missing")),
        // What is asked of a file takes no time unless its mount hangs, which no test without one can show.
        hangs: None,
        secret: None,
        foreign: false,
    },
    Kind {
        kind: "log",
        good: "[log.x]\nfile = '{dir}/secret'\npatterns = { oom = 'out of memory' }\nvalues = { queue = 'queue ([0-9]+)' }",
        bad: Some(("[log.x]\nfile = '{dir}/none.log'", "missing")),
        // A log waits for lines as long as none are written; what asks others is held beside it.
        hangs: None,
        secret: None,
        foreign: false,
    },
    Kind {
        kind: "command",
        good: "[command.x]\nrun = ['/bin/echo', 'queue 7']\nvalues = { queue = 'number queue' }",
        bad: Some(("[command.x]\nrun = ['/bin/false']", "exit")),
        hangs: Some(("[command.x]\nrun = ['/bin/sleep', '600']\ntimeout = '300ms'", "timeout")),
        secret: Some(
            "[command.x]\nrun = ['/bin/sh', '-c', 'echo $KEY; echo $KEY >&2; exit 3']\nenv = { KEY = 'file:{dir}/secret' }",
        ),
        foreign: false,
    },
];

/// What is told, or needs a world of its own to be well: that is held in `tests/signal.rs`, `tests/container.rs` and
/// `tests/systemd_units.rs`; how it fails, and its page, here.
const TOLD: [Kind; 3] = [
    Kind { kind: "signal", good: "[signal.x]", bad: None, hangs: None, secret: None, foreign: false },
    Kind {
        kind: "container",
        good: "[container.x]\nproject = 'shop'",
        bad: Some((
            "[agent]\nengine = 'tcp://{closed}'\n[container.x]\nproject = 'shop'\nservices = ['web']",
            "refused",
        )),
        hangs: Some(("[agent]\nengine = 'tcp://{mute}'\n[container.x]\nnames = ['web']\ntimeout = '300ms'", "timeout")),
        secret: None,
        foreign: false,
    },
    Kind { kind: "systemd", good: "[systemd.x]\nunit = 'shop'", bad: None, hangs: None, secret: None, foreign: false },
];

/// The outside that the tables speak of; ends with the value.
struct World {
    folder: Scratch,
    server: String,
    closed: Port,
    mute: TcpListener,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl World {
    fn new(name: &str) -> World {
        let folder = Scratch::new(name);
        std::fs::write(folder.path().join("secret"), format!("{SECRET}\n")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap().to_string();
        let closed = Port::closed();
        // A listener that nobody accepts from: connections stand, and no byte ever comes.
        let mute = TcpListener::bind("127.0.0.1:0").unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let ends = stop.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                // A client that went away is no matter of the server.
                drop(answer(stream));
            }
        });
        World { folder, server, closed, mute, stop, thread: Some(thread) }
    }

    fn load(&self, table: &str) -> Loaded {
        let text = table
            .replace("{base}", &format!("http://{}", self.server))
            .replace("{addr}", &self.server)
            .replace("{closed}", &self.closed.address().to_string())
            .replace("{mute}", &self.mute.local_addr().unwrap().to_string())
            .replace("{dir}", &self.folder.path().display().to_string());
        let path = self.folder.path().join("backstop.toml");
        std::fs::write(&path, text).unwrap();
        load(&path)
    }

    fn source(&self, table: &str) -> (Source, Config) {
        let loaded = self.load(table);
        let Some(config) = loaded.config.clone() else { panic!("{table}\n{}", loaded.render(false)) };
        (wire::sources(&config).pop().expect("one source"), config)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(&self.server));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn load(path: &Path) -> Loaded {
    config::load(&Options {
        path: Some(path.into()),
        sets: Vec::new(),
        state: Some("/var/lib/backstop".into()),
        stderr_is_terminal: false,
        host: "web-1".into(),
        env: |_| None,
    })
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut request = vec![0; 8192];
    let n = stream.read(&mut request)?;
    let request = String::from_utf8_lossy(&request[..n]).into_owned();
    let (kind, body) = match request.split_whitespace().nth(1).unwrap_or_default() {
        "/health" => ("application/json", r#"{"status": "ok", "queue": 7}"#.to_string()),
        "/metrics" => ("text/plain; version=0.0.4", "requests_total{code=\"200\"} 5\n".to_string()),
        _ => ("text/plain", request.clone()),
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

fn value(batch: &Batch, name: &str) -> Option<f64> {
    batch.samples.iter().find(|s| s.labels.name() == name).map(|s| s.value)
}

/// What a reason of failure is; none where all was well.
fn reason(batch: &Batch) -> Option<&'static str> {
    match &batch.outcome {
        Outcome::Good => None,
        Outcome::Failed(failure) => Some(failure.reason),
    }
}

/// Now: the files of the tests are as old as the tests.
fn now() -> Timestamp {
    Clock::new().now()
}

#[test]
fn every_kind_keeps_the_contract() {
    let rows: BTreeSet<&str> = KINDS.iter().chain(&TOLD).map(|kind| kind.kind).collect();
    let kinds: BTreeSet<&str> = SourceConfig::KINDS.into_iter().collect();
    assert_eq!(rows, kinds, "each kind has a row");
}

#[tokio::test]
async fn a_good_look_yields_success_and_only_series_that_were_declared() {
    let world = World::new("sources_good");
    for kind in &KINDS {
        let (mut source, _) = world.source(kind.good);
        let declared: BTreeSet<&str> = source.names().into_iter().collect();
        for name in ["probe_success", "probe_duration_seconds", "probe_failure_info"] {
            assert!(declared.contains(name), "{} declares {name} before the first look", kind.kind);
        }
        let at = now();
        let batch = source.collect(at).await;
        assert_eq!(batch.outcome, Outcome::Good, "{}", kind.kind);
        assert_eq!(value(&batch, "probe_success"), Some(1.0), "{}", kind.kind);
        assert!(value(&batch, "probe_duration_seconds").is_some_and(|v| (0.0..10.0).contains(&v)), "{}", kind.kind);
        assert_eq!((batch.at, &batch.source), (at, &source.reference()), "{}", kind.kind);
        for sample in &batch.samples {
            let labels = &sample.labels;
            for own in ["job", "service", "source", "instance", "app"] {
                assert!(!labels.get(own).is_empty(), "{labels} has {own}");
            }
            assert!(kind.foreign || declared.contains(labels.name()), "{labels} was not declared");
        }
    }
}

#[tokio::test]
async fn a_failed_look_says_why_and_says_it_as_samples() {
    let world = World::new("sources_bad");
    for kind in KINDS.iter().chain(&TOLD) {
        let Some((table, why)) = kind.bad else { continue };
        let (mut source, _) = world.source(table);
        let declared = source.names();
        let batch = source.collect(now()).await;
        assert_eq!(reason(&batch), Some(why), "{}: {:?}", kind.kind, batch.outcome);
        assert_eq!(value(&batch, "probe_success"), Some(0.0), "{}", kind.kind);
        assert_eq!(value(&batch, "probe_failure_info"), Some(1.0), "{}", kind.kind);
        let undeclared = batch.samples.iter().map(|s| s.labels.name()).find(|name| !declared.contains(name));
        assert_eq!(undeclared.filter(|_| !kind.foreign), None, "{}", kind.kind);
    }
}

#[tokio::test]
async fn a_world_that_never_answers_costs_the_timeout_and_no_more() {
    let world = World::new("sources_hang");
    for kind in KINDS.iter().chain(&TOLD) {
        let Some((table, why)) = kind.hangs else { continue };
        let (mut source, _) = world.source(table);
        let watch = Stopwatch::start();
        let batch = source.collect(now()).await;
        let (took, timeout) = (watch.seconds(), 0.3);
        assert_eq!(reason(&batch), Some(why), "{}: {:?}", kind.kind, batch.outcome);
        // A program is asked to end before it is made to.
        assert!(took >= timeout && took < timeout + 4.0, "{} took {took} s", kind.kind);
    }
}

#[tokio::test]
async fn a_look_that_is_no_longer_wanted_ends_at_once_and_the_next_one_works() {
    let world = World::new("sources_cancelled");
    for kind in KINDS.iter().chain(&TOLD) {
        let Some((table, _)) = kind.hangs else { continue };
        let (mut source, _) = world.source(&table.replace("300ms", "4s"));
        let watch = Stopwatch::start();
        let patience = tokio::time::timeout(Duration::from_millis(50), source.collect(now())).await;
        assert!(patience.is_err(), "{} hangs", kind.kind);
        assert!(watch.seconds() < 1.0, "{} took {} s to be dropped", kind.kind, watch.seconds());
        let again = tokio::time::timeout(Duration::from_millis(50), source.collect(now())).await;
        assert!(again.is_err(), "{} looks again and hangs again", kind.kind);
    }
}

#[tokio::test]
async fn secrets_are_in_nothing_that_a_source_gives_or_shows() {
    let world = World::new("sources_secret");
    for kind in &KINDS {
        let Some(table) = kind.secret else { continue };
        let (mut source, config) = world.source(table);
        let batch = source.collect(now()).await;
        assert_ne!(
            batch.outcome,
            Outcome::Good,
            "{}: what was sent back is quoted in the failure or not at all",
            kind.kind
        );
        for (what, text) in [
            ("the batch", format!("{batch:?}")),
            ("the source", format!("{source:?}")),
            ("its configuration", format!("{:?}", config.sources)),
        ] {
            assert!(!text.contains(SECRET), "{} shows the secret in {what}: {text}", kind.kind);
        }
    }
}

/// The keys that a table of this kind takes, as its reader says them.
fn keys(world: &World, kind: &Kind) -> BTreeSet<String> {
    let heading = kind.good.lines().next().unwrap();
    let table = format!("{}\n", kind.good).replacen(heading, &format!("{heading}\nqqqqqqqq = 1"), 1);
    let loaded = world.load(&table);
    let help = loaded.problems.list.iter().find(|p| p.title == "unknown key `qqqqqqqq`").and_then(|p| p.help.clone());
    let help = help.unwrap_or_else(|| panic!("{table}\n{}", loaded.render(false)));
    help.trim_start_matches("it takes: ").split(", ").map(String::from).collect()
}

/// The words in backquotes of the first column of the tables that begin with `| key`.
fn documented(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut inside = false;
    for line in text.lines() {
        inside = line.starts_with("| key") || (inside && line.starts_with('|'));
        if inside {
            let first = line.trim_start_matches('|').split('|').next().unwrap_or_default();
            // A key of an inline table stands for the table: `disks.ignore`.
            let keys = first.split('`').skip(1).step_by(2).filter_map(|key| key.split('.').next());
            found.extend(keys.map(String::from));
        }
    }
    found
}

#[test]
fn the_pages_name_every_key_and_no_other() {
    let world = World::new("sources_pages");
    let common = documented(&support::text("docs/SOURCES.md"));
    for kind in KINDS.iter().chain(&TOLD) {
        let page = format!("docs/sources/{}.md", kind.kind);
        let own = documented(&support::text(&page));
        let taken = keys(&world, kind);
        let missing: Vec<&String> = taken.iter().filter(|key| !own.contains(*key) && !common.contains(*key)).collect();
        assert!(missing.is_empty(), "{page} and docs/SOURCES.md lack {missing:?}");
        let invented: Vec<&String> = own.iter().filter(|key| !taken.contains(*key)).collect();
        assert!(invented.is_empty(), "{page} names keys that [{}] does not take: {invented:?}", kind.kind);
    }
}
