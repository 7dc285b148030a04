//! Logs through the real binary: each line once, over rotations by Debian's logrotate and `kill -9`, and an agent that does
//! not hear itself.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{self, Scratch};

/// How long anything may take that takes an instant on a machine with time.
const PATIENCE: Duration = Duration::from_secs(60);

/// An agent of its own folder.
struct Agent {
    folder: Scratch,
    child: Option<Child>,
}

impl Agent {
    fn new(name: &str, tables: &str) -> Agent {
        let folder = Scratch::new(name);
        let dir = folder.path().display().to_string();
        let head = "[app]\nname = \"shop\"\n[web]\nlisten = \"127.0.0.1:0\"\n\n";
        std::fs::write(folder.path().join("backstop.toml"), format!("{head}{}", tables.replace("{dir}", &dir)))
            .unwrap();
        std::fs::create_dir(folder.path().join("logs")).unwrap();
        Agent { folder, child: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("logs/agent.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_backstop"))
            .args(["run", "--config"])
            .arg(self.path("backstop.toml"))
            .arg("--state")
            .arg(self.path("state"))
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// `kill -9`.
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// The sum of the series of an expression; none where there are none, or where the agent does not answer yet.
    fn value(&self, expression: &str) -> Option<f64> {
        let body = self.get(&format!("/api/v1/query?query={}", encoded(expression)))?;
        let answer: serde_json::Value = serde_json::from_str(&body).ok()?;
        let series = answer["data"]["result"].as_array()?;
        let values = series.iter().map(|one| one["value"][1].as_str().and_then(|v| v.parse::<f64>().ok()));
        let values: Vec<f64> = values.collect::<Option<_>>()?;
        (!values.is_empty()).then(|| values.iter().sum())
    }

    fn get(&self, path: &str) -> Option<String> {
        let mut stream = UnixStream::connect(self.path("state/control.sock")).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nhost: x\r\n\r\n").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_string())
    }

    /// Waits until an expression has this value; it is never above it.
    fn settles(&self, expression: &str, wanted: f64, when: &str) {
        let begun = Instant::now();
        loop {
            let found = self.value(expression);
            assert!(found.is_none_or(|found| found <= wanted), "{when}: {expression} is {found:?}, over {wanted}");
            if found == Some(wanted) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{when}: {expression} is {found:?}, not {wanted}\n{}", self.log());
            pause();
        }
    }

    fn log(&self) -> String {
        let text = std::fs::read_to_string(self.path("logs/agent.log")).unwrap_or_default();
        text.lines().rev().take(30).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Between two looks.
fn pause() {
    std::thread::park_timeout(Duration::from_millis(10));
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { (b as char).to_string() } else { format!("%{b:02X}") })
        .collect()
}

fn append(path: &Path, text: &str) {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

const COUNTING: &str =
    "[log.app]\nfile = \"{dir}/logs/app.log\"\npatterns = { hit = 'hit [0-9]+', odd = '[13579]$' }\n";

const HITS: &str = "log_matches_total{pattern=\"hit\"}";
const ODD: &str = "log_matches_total{pattern=\"odd\"}";

#[test]
fn lines_count_once_over_kill_9() {
    let mut agent = Agent::new("logs-kill", COUNTING);
    let file = agent.path("logs/app.log");
    append(&file, "hit 1\nhit 3\n");
    agent.start();
    agent.settles(HITS, 0.0, "what was there before says nothing");
    append(&file, "hit 2\nhit 5\n");
    agent.settles(HITS, 2.0, "two lines");
    agent.settles(ODD, 1.0, "two lines");
    agent.kill();
    append(&file, "hit 7\nhit ");
    agent.start();
    agent.settles(HITS, 3.0, "one while it was dead");
    append(&file, "9\n");
    agent.settles(HITS, 4.0, "the rest of a line");
    agent.settles(ODD, 3.0, "the rest of a line");
}

#[test]
fn an_alert_that_quotes_its_trigger_raises_nothing() {
    let tables = "[log.app]\nfile = \"{dir}/logs/*.log\"\npatterns = { boom = 'boom' }\n\
        [rule.boom]\nexpr = 'sum_over_time(log_matches_new{pattern=\"boom\"}[5m])'\n\
        critical = { when = \"> 0\", for = \"0s\" }\n\
        [channel.log.alerts]\nfile = \"{dir}/logs/alerts.log\"\n";
    let mut agent = Agent::new("logs-own", tables);
    append(&agent.path("logs/app.log"), "begun\n");
    agent.start();
    agent.settles("log_matches_total{pattern=\"boom\"}", 0.0, "at the start");
    append(&agent.path("logs/app.log"), "2026-01-01 00:00:00 ERROR boom: the disk is on fire\n");
    agent.settles("log_matches_total{pattern=\"boom\"}", 1.0, "the line");
    let begun = Instant::now();
    let told = || std::fs::read_to_string(agent.path("logs/alerts.log")).unwrap_or_default();
    while !told().contains("disk is on fire") {
        assert!(begun.elapsed() < PATIENCE, "the alert quotes the line: {}\n{}", told(), agent.log());
        pause();
    }
    // What an agent writes through syslog, and what is said of it by others.
    append(
        &agent.path("logs/app.log"),
        "Jan  1 00:00:01 web-1 backstop[77]: ERROR boom is critical: boom\nlast line\n",
    );
    agent.settles("sum(log_lines_total{level=\"unknown\"})", 1.0, "the line behind it was read");
    agent.settles("log_matches_total{pattern=\"boom\"}", 1.0, "after the alert");
    agent.settles("sum(log_lines_total{level=\"error\"})", 1.0, "after the alert");
}

#[test]
fn outside_logrotate_and_kill_9_lose_no_line_and_count_none_twice() {
    if !support::outside("logrotate") {
        return;
    }
    let rounds: u64 = std::env::var("BACKSTOP_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    for (mode, options) in [
        ("create", "create"),
        ("create and compress", "create\ncompress"),
        ("copytruncate", "copytruncate"),
        ("copytruncate and compress", "copytruncate\ncompress"),
    ] {
        rotate(mode, options, rounds.div_ceil(4));
    }
}

/// Rounds of writing, rotating, killing and starting, in some order; the counts are exact after each.
fn rotate(mode: &str, options: &str, rounds: u64) {
    let mut agent = Agent::new(&format!("logs-rotate-{}", mode.replace(' ', "-")), COUNTING);
    let file = agent.path("logs/app.log");
    let rotation = format!("{} {{\nsize 1\nrotate 5\nmissingok\n{options}\n}}\n", file.display());
    std::fs::write(agent.path("rotate.conf"), rotation).unwrap();
    append(&file, "begun\n");
    agent.start();
    agent.settles(HITS, 0.0, mode);
    let mut numbers = Numbers(7);
    let (mut n, mut odd) = (0u64, 0u64);
    for round in 0..rounds {
        for _ in 0..3 {
            let mut text = String::new();
            for _ in 0..numbers.below(200) {
                n += 1;
                odd += n % 2;
                text += &format!("2026-01-01 00:00:00 INFO hit {n}\n");
            }
            append(&file, &text);
            match numbers.below(4) {
                0 => agent.kill(),
                1 if agent.child.is_none() => agent.start(),
                // Who writes makes no lines while they are copied: those would be gone for everybody.
                2 => logrotate(&agent),
                _ => pause(),
            }
        }
        agent.kill();
        agent.start();
        let when = format!("{mode}, round {round}");
        agent.settles(HITS, n as f64, &when);
        agent.settles(ODD, odd as f64, &when);
    }
}

fn logrotate(agent: &Agent) {
    let output = Command::new("/usr/sbin/logrotate")
        .args(["--force", "--state"])
        .args([agent.path("rotate.state"), agent.path("rotate.conf")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
