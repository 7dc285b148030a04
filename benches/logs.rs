//! What reading lines costs: CPU time of one thread for a GB of lines that lie in memory, and for one that is read from a file.
//!
//! `cargo bench --bench logs -- scan [FILE]` makes lines (half of an access log, a quarter JSON, a quarter of Python's logging,
//! one in a thousand bad), or takes those of FILE, and reads them in buffers of 256 KiB: with ten patterns, with secrets
//! searched for too, and with levels alone.
//!
//! `cargo bench --bench logs -- live` starts the agent itself: how long after a line its rule changes and the alert is written;
//! what following 1 MB/s costs; what it costs while nothing is written; how fast it catches up with a file that was written
//! while it was not there, and in how much memory.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot run is to fail")]
#![expect(clippy::print_stdout, reason = "its figures are its output")]
#![expect(clippy::disallowed_methods, reason = "a measurement reads its own file")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backstop::base::Timestamp;
use backstop::source::log::level::Level;
use backstop::source::log::read::{Format, Plan, Seen, StreamState, Tally, Wanted};
use backstop::source::log::secrets::PATTERNS as PATTERNS_OF_SECRETS;
use jiff::tz::TimeZone;

const PATTERNS: [&str; 10] = [
    r"\b(ERROR|CRITICAL|FATAL)\b",
    r#"" 5[0-9][0-9] "#,
    r"Traceback \(most recent call last\)",
    r#""level": ?"(error|critical|fatal|ERROR|CRITICAL|FATAL)""#,
    r"[Oo]ut of memory|oom-kill",
    r"connection (refused|reset|timed out)",
    r"panic:|segfault",
    r"too many open files",
    r"deadlock detected|could not serialize access",
    r"disk full|No space left on device",
];

/// As much as a file is read at once.
const BUFFER: usize = 256 << 10;

/// How much is made, in bytes.
const SIZE: usize = 300 << 20;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if arguments.first().is_none_or(|part| part == "scan") {
        let text = arguments.get(1).map_or_else(made, |path| std::fs::read(path).unwrap());
        scan(&text);
    }
    if arguments.first().is_some_and(|part| part == "live") {
        live();
    }
}

/// An agent that follows one file.
struct Agent {
    folder: PathBuf,
    child: Option<Child>,
}

impl Agent {
    /// With a log, which is searched for secrets or not; or without one.
    fn new(log: Option<bool>) -> Agent {
        let folder = std::env::temp_dir().join(format!("backstop-bench-logs-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir(&folder).unwrap();
        let patterns: String = PATTERNS.iter().enumerate().map(|(n, p)| format!("p{n} = '{p}', ")).collect();
        let table = |secrets: bool| {
            format!(
                "[log.app]\nsecrets = {secrets}\nfile = \"{}/app*.log\"\npatterns = {{ {patterns} }}\nvalues = {{ n = '^switch ([01])' }}\n",
                folder.display()
            )
        };
        let rest = format!(
            "[app]\nname = \"x\"\n[web]\nlisten = \"127.0.0.1:0\"\n\
             [rule.switch]\nexpr = 'log_value{{name=\"n\"}}'\ncritical = {{ when = \"== 1\", for = \"0s\", keep = \"0s\" }}\n\
             [channel.log.alerts]\nfile = \"{}/alerts.jsonl\"\n",
            folder.display()
        );
        std::fs::write(
            folder.join("backstop.toml"),
            log.map_or_else(|| rest.clone(), |secrets| format!("{}{rest}", table(secrets))),
        )
        .unwrap();
        Agent { folder, child: None }
    }

    fn start(&mut self) {
        let child = Command::new(env!("CARGO_BIN_EXE_backstop"))
            .args(["run", "--config"])
            .arg(self.folder.join("backstop.toml"))
            .arg("--state")
            .arg(self.folder.join("state"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.join("app.log")
    }

    fn append(&self, text: &[u8]) {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(self.file()).unwrap();
        file.write_all(text).unwrap();
    }

    fn alerts(&self) -> usize {
        std::fs::read(self.folder.join("alerts.jsonl")).unwrap_or_default().len()
    }

    /// One value of the agent's series.
    fn value(&self, series: &str) -> Option<f64> {
        let mut stream = UnixStream::connect(self.folder.join("state/control.sock")).ok()?;
        let query: String = series.bytes().map(|b| format!("%{b:02X}")).collect();
        stream.write_all(format!("GET /api/v1/query?query={query} HTTP/1.0\r\n\r\n").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        let body: serde_json::Value = serde_json::from_str(body).ok()?;
        body["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }

    fn waits_for(&self, series: &str, value: f64) {
        while self.value(series) != Some(value) {
            pause(Duration::from_millis(2));
        }
    }

    /// Processor seconds, with those of threads that ended.
    fn cpu(&self) -> f64 {
        let stat = self.proc("stat");
        let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
    }

    /// How often its threads went to sleep, and the bytes it wrote.
    fn wakes(&self) -> (u64, u64) {
        let pid = self.child.as_ref().unwrap().id();
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let of = |status: String| -> u64 {
            let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap().to_string();
            line.split_ascii_whitespace().last().unwrap().parse().unwrap()
        };
        let wakes =
            tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok()).map(of).sum();
        let io = self.proc("io");
        let written = io.lines().find(|line| line.starts_with("write_bytes")).unwrap().split(' ').next_back().unwrap();
        (wakes, written.parse().unwrap())
    }

    /// Resident and peak memory, MiB.
    fn memory(&self) -> (f64, f64) {
        let status = self.proc("status");
        let of = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_ascii_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
        };
        (of("VmRSS"), of("VmHWM"))
    }

    fn proc(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.child.as_ref().unwrap().id())).unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn pause(span: Duration) {
    std::thread::park_timeout(span);
}

const ALL_LINES: &str = "sum(log_lines_total)";

fn live() {
    let text = made();
    let mut agent = Agent::new(Some(true));
    agent.append(b"begun\n");
    agent.start();
    agent.waits_for(ALL_LINES, 0.0);
    latency(&agent);
    follow(&agent, &text);
    pause(Duration::from_secs(5));
    let with = idle(&agent);
    for secrets in [true, false] {
        drop(agent);
        agent = Agent::new(Some(secrets));
        agent.append(b"begun\n");
        agent.start();
        agent.waits_for(ALL_LINES, 0.0);
        if secrets {
            files(&agent);
        }
        catch_up(&mut agent, &text, secrets);
    }
    drop(agent);
    agent = Agent::new(None);
    agent.start();
    pause(Duration::from_secs(10));
    println!("an agent without a log: {:.1} MiB resident", agent.memory().0);
    let without = idle(&agent);
    println!(
        "while nothing is written, a minute: {:.0} wake-ups and {:.1} kB written with the log, {:.0} and {:.1} without",
        with.0, with.1, without.0, without.1
    );
}

/// What each further file takes in memory.
fn files(agent: &Agent) {
    let before = agent.memory().0;
    for n in 0..100 {
        std::fs::write(agent.folder.join(format!("app{n}.log")), "2025-03-12 10:00:00,000 INFO begun\n").unwrap();
    }
    agent.waits_for("log_streams", 101.0);
    agent.waits_for(ALL_LINES, 100.0);
    let after = agent.memory().0;
    println!(
        "one file: {before:.1} MiB resident, a hundred more: {after:.1} MiB, {:.2} each",
        (after - before) / 100.0
    );
}

/// From a line to the alert in its file: the transition, its journal, the message.
fn latency(agent: &Agent) {
    let mut times = Vec::new();
    for n in 0..60 {
        pause(Duration::from_millis(400 + n * 13 % 300));
        let (before, begun) = (agent.alerts(), Instant::now());
        agent.append(if n % 2 == 0 { b"switch 1\n" } else { b"switch 0\n" });
        while agent.alerts() == before {
            assert!(begun.elapsed() < Duration::from_secs(5), "no message for line {n}");
            pause(Duration::from_micros(200));
        }
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    println!(
        "a line to its alert on disk: {:.1} / {:.1} / {:.1} ms",
        times[0],
        times[times.len() / 2],
        times[times.len() - 1]
    );
}

/// 1 MB/s for a minute, in twenty writes a second.
fn follow(agent: &Agent, text: &[u8]) {
    let (before, begun, mut at) = (agent.cpu(), Instant::now(), 0);
    for n in 1..=1200 {
        let end = at + memchr::memrchr(b'\n', &text[at..at + 50_000]).unwrap() + 1;
        agent.append(&text[at..end]);
        at = end;
        pause(Duration::from_millis(50 * n).saturating_sub(begun.elapsed()));
    }
    pause(Duration::from_secs(2));
    let (cpu, took) = (agent.cpu() - before, begun.elapsed().as_secs_f64());
    println!(
        "following {:.2} MB/s: {:.2} % of a core; {:.1} MiB resident",
        at as f64 / 1e6 / took,
        100.0 * cpu / took,
        agent.memory().0
    );
}

/// Wake-ups and kB written in a minute without a line.
fn idle(agent: &Agent) -> (f64, f64) {
    let before = agent.wakes();
    pause(Duration::from_secs(60));
    let after = agent.wakes();
    ((after.0 - before.0) as f64, (after.1 - before.1) as f64 / 1e3)
}

/// A file that was written while the agent was dead; what its start costs without that is taken off.
fn catch_up(agent: &mut Agent, text: &[u8], secrets: bool) {
    let before = agent.value(ALL_LINES).unwrap();
    agent.kill();
    agent.start();
    agent.waits_for(ALL_LINES, before);
    pause(Duration::from_secs(1));
    let start = agent.cpu();
    agent.kill();
    agent.append(text);
    let lines = memchr::memchr_iter(b'\n', text).count() as f64;
    agent.start();
    agent.waits_for(ALL_LINES, before + lines);
    pause(Duration::from_secs(1));
    let (cpu, gb, memory) = (agent.cpu() - start, text.len() as f64 / 1e9, agent.memory());
    let what = if secrets { "10 patterns and secrets" } else { "10 patterns" };
    println!("catching up with {gb:.2} GB, {what}: {:.2} CPU s/GB; at most {:.1} MiB", cpu / gb, memory.1);
}

fn scan(text: &[u8]) {
    let gb = text.len() as f64 / 1e9;
    let n_lines = memchr::memchr_iter(b'\n', text).count() as f64;
    println!("{gb:.2} GB in {:.2} M lines", n_lines / 1e6);
    for (name, plan) in [
        ("levels alone", plan(&[], &[])),
        ("levels, 10 patterns", plan(&PATTERNS, &[])),
        ("levels, 10 patterns, secrets", plan(&PATTERNS, &secrets())),
    ] {
        let mut spent: Vec<f64> = (0..5).map(|_| read(&plan, text)).collect();
        spent.sort_by(f64::total_cmp);
        let middle = spent[spent.len() / 2];
        println!(
            "{name:30} {:.3} / {:.3} / {:.3} CPU s/GB, {:.0} ns a line",
            spent[0] / gb,
            middle / gb,
            spent[spent.len() - 1] / gb,
            middle * 1e9 / n_lines
        );
    }
}

fn read(plan: &Plan, text: &[u8]) -> f64 {
    let (mut tally, mut state) = (Tally::new(plan), StreamState::default());
    let seen = Seen { arrived: Timestamp(1_741_824_000_000), given: None, place: "/var/log/app.log", cut: 0 };
    let before = cpu();
    let mut rest = text;
    while !rest.is_empty() {
        let whole = &rest[..rest.len().min(BUFFER)];
        let end = if whole.len() < BUFFER { whole.len() } else { memchr::memrchr(b'\n', whole).unwrap() + 1 };
        plan.read(&mut state, &rest[..end], seen, &mut tally);
        rest = &rest[end..];
    }
    let spent = cpu() - before;
    assert!(tally.lines(Level::Info) > tally.lines(Level::Error), "most lines are harmless");
    spent
}

fn plan(patterns: &[&str], secrets: &[(String, String)]) -> Plan {
    let named = |(n, text): (usize, &&str)| (format!("p{n}"), (*text).to_string());
    Plan::new(Wanted {
        format: Format::Auto,
        patterns: patterns.iter().enumerate().map(named).collect(),
        values: Vec::new(),
        secrets: secrets.to_vec(),
        max_line: 64 << 10,
        zone: TimeZone::UTC,
        redact: Arc::new(|text: &str| text.to_string()),
    })
    .unwrap()
}

/// Secrets as every log is searched for them.
fn secrets() -> Vec<(String, String)> {
    PATTERNS_OF_SECRETS.iter().map(|(name, text)| ((*name).to_string(), (*text).to_string())).collect()
}

/// Lines of three formats, the same each time.
fn made() -> Vec<u8> {
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut below = move |bound: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 11) % bound
    };
    let (mut text, mut millis) = (Vec::with_capacity(SIZE + 4096), 0u64);
    let (paths, modules) =
        (["/api/v1/orders", "/health", "/login", "/search?q=blue+shoes"], ["app.orders", "app.cache"]);
    while text.len() < SIZE {
        millis += below(20);
        let is_bad = below(1000) == 0;
        let clock =
            format!("{:02}:{:02}:{:02}", 10 + millis / 3_600_000 % 14, millis / 60_000 % 60, millis / 1000 % 60);
        let (n, module) = (below(5000), modules[below(2) as usize]);
        let (level, message) = if is_bad {
            ("ERROR", format!("connection refused by 10.0.3.{}:5432 after {n} ms", below(250)))
        } else {
            (
                ["INFO", "INFO", "DEBUG", "WARNING"][below(4) as usize],
                format!("processed order {n} in {} ms", below(900)),
            )
        };
        match below(4) {
            0 | 1 => writeln!(
                text,
                "10.{}.{}.{} - - [12/Mar/2025:{clock} +0000] \"GET {} HTTP/1.1\" {} {n} \"https://shop.example.com/\" \
                 \"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120.0\" 0.{:03}",
                below(256),
                below(256),
                below(256),
                paths[below(4) as usize],
                if is_bad { 502 } else { 200 },
                below(1000)
            ),
            2 => writeln!(
                text,
                "{{\"ts\":\"2025-03-12T{clock}.{:03}Z\",\"level\":\"{level}\",\"logger\":\"{module}\",\"request_id\":\"{:016x}\",\
                 \"msg\":\"{message}\",\"duration_ms\":{}}}",
                millis % 1000,
                below(1 << 50),
                below(900)
            ),
            _ => writeln!(text, "2025-03-12 {clock},{:03} {level} [{module}:{}] {message}", millis % 1000, below(500)),
        }
        .unwrap();
    }
    text
}

/// The CPU time that this thread has used, in seconds.
fn cpu() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
