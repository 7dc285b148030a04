//! The real binary, a real service, a real rollback command, and `kill -9` at the worst moments.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::Scratch;

/// A service in a thread: health, metrics, and the version that a file names. Version 2.0 fails half of its requests.
struct Service {
    port: u16,
    over: Arc<AtomicBool>,
}

impl Service {
    fn start(current: PathBuf) -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let over = Arc::new(AtomicBool::new(false));
        let stop = over.clone();
        let (all, failed) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let version = std::fs::read_to_string(&current).unwrap_or_default().trim().to_string();
                // Each look brings traffic, so that what the agent sees does not depend on the machine's speed.
                all.fetch_add(20, Ordering::Relaxed);
                failed.fetch_add(if version == "2.0" { 10 } else { 0 }, Ordering::Relaxed);
                let Ok(stream) = stream else { continue };
                answer(stream, &version, all.load(Ordering::Relaxed), failed.load(Ordering::Relaxed));
            }
        });
        Service { port, over }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn answer(mut stream: TcpStream, version: &str, all: u64, failed: u64) {
    let mut request = [0u8; 2048];
    drop(stream.set_read_timeout(Some(Duration::from_secs(1))));
    let n = stream.read(&mut request).unwrap_or(0);
    let line = String::from_utf8_lossy(&request[..n]).lines().next().unwrap_or("").to_string();
    let (kind, body) = if line.contains("/metrics") {
        let good = all - failed;
        let text = format!("requests_total{{code=\"200\"}} {good}\nrequests_total{{code=\"500\"}} {failed}\n");
        ("text/plain; version=0.0.4", text)
    } else {
        ("application/json", format!("{{\"status\":\"ok\",\"version\":\"{version}\"}}"))
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    drop(stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())));
}

/// A folder with a configuration, a service, and the agent's processes.
struct Stage {
    folder: Scratch,
    _service: Service,
    agent: Option<Child>,
}

impl Stage {
    fn new(name: &str) -> Stage {
        Stage::prepared(name, |_| {})
    }

    /// The same, with the folder in a state that `prepare` brings about before the agent starts.
    fn prepared(name: &str, prepare: impl FnOnce(&Path)) -> Stage {
        let folder = Scratch::new(name);
        let path = folder.path();
        prepare(path);
        std::fs::write(path.join("current"), "1.0\n").unwrap();
        let service = Service::start(path.join("current"));
        let config = configuration(path, service.port);
        std::fs::write(path.join("backstop.toml"), config).unwrap();
        let mut stage = Stage { folder, _service: service, agent: None };
        stage.start_agent();
        stage
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    fn start_agent(&mut self) {
        use std::os::unix::process::CommandExt;
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path().join("agent.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_backstop"))
            .args(["run", "--config"])
            .arg(self.path().join("backstop.toml"))
            .arg("--state")
            .arg(self.state())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.agent = Some(child);
        self.wait_for("the agent answers", |s| s.snapshot().is_some());
    }

    /// `kill -9`, of the process or of its whole group.
    fn kill_agent(&mut self, group: bool) {
        let mut agent = self.agent.take().unwrap();
        let pid = agent.id();
        let target = if group { format!("-{pid}") } else { pid.to_string() };
        assert!(Command::new("kill").args(["-9", "--", &target]).status().unwrap().success());
        agent.wait().unwrap();
    }

    fn command(&self, args: &[&str]) -> (i32, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_backstop"))
            .args(args)
            .arg("--config")
            .arg(self.path().join("backstop.toml"))
            .arg("--state")
            .arg(self.state())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code().unwrap_or(-1), text)
    }

    fn snapshot(&self) -> Option<serde_json::Value> {
        let (_, text) = self.command(&["status", "--format", "json"]);
        serde_json::from_str(&text).ok()
    }

    fn verdict(&self) -> Option<String> {
        Some(self.snapshot()?.get("deployment")?.get("verdict")?.as_str()?.to_string())
    }

    fn wait_for(&self, what: &str, holds: impl Fn(&Stage) -> bool) {
        let begin = Instant::now();
        while !holds(self) {
            if begin.elapsed() > Duration::from_secs(40) {
                let log = std::fs::read_to_string(self.path().join("agent.log")).unwrap_or_default();
                panic!("waited in vain: {what}\n{:#?}\n{log}", self.snapshot());
            }
            pause();
        }
    }

    fn steps_run(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path().join("steps")).unwrap_or_default();
        text.lines().map(String::from).collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            drop(agent.kill());
            drop(agent.wait());
        }
    }
}

fn configuration(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    format!(
        r#"
[app]
name     = "shop"
interval = "250ms"
timeout  = "200ms"
version  = {{ http = "http://127.0.0.1:{port}/version", json = "version" }}

[web]
listen = "127.0.0.1:0"

[http.api]
url = "http://127.0.0.1:{port}/health"

[prometheus.api]
url = "http://127.0.0.1:{port}/metrics"

[rule.errors]
errors   = 'requests_total{{code="500"}}'
total    = 'requests_total'
window   = "2s"
critical = {{ when = "> 10%", for = "500ms", keep = "1s" }}
rollback = {{ when = "critical", for = "500ms", keep = "1s" }}

[channel.log.alerts]
file = "{folder}/alerts.jsonl"

[rollback]
mode   = "auto"
notice = "0s"

[[rollback.step]]
name    = "note"
command = ["/bin/sh", "-c", "echo note >> {folder}/steps"]

[[rollback.step]]
name    = "slow"
command = ["/bin/sh", "-c", "echo slow >> {folder}/steps; sleep 1"]

[[rollback.step]]
name    = "previous version"
command = ["/bin/sh", "-c", "echo previous >> {folder}/steps; echo \"$BACKSTOP_PREVIOUS\" > {folder}/current"]

[rollback.verify]
within = "20s"
"#
    )
}

/// Between two looks at a predicate; each look may start a process.
fn pause() {
    std::thread::park_timeout(Duration::from_millis(20));
}

/// Where in the run the agent dies.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// The run is on disk, its request too.
    Requested,
    /// The second of three steps runs.
    MidStep,
    /// All steps are done.
    Executed,
}

fn survives(name: &str, moment: Moment, group: bool) {
    let mut stage = Stage::new(name);
    let (code, said) = stage.command(&["deploy", "start", "--version", "2.0", "--previous", "1.0", "--live"]);
    assert_eq!(code, 0, "{said}");
    std::fs::write(stage.path().join("current"), "2.0\n").unwrap();
    let journal_says = |stage: &Stage, word: &str| {
        let runs = std::fs::read_dir(stage.state().join("rollback/runs")).into_iter().flatten().flatten();
        runs.filter_map(|run| std::fs::read_to_string(run.path().join("journal")).ok()).any(|text| text.contains(word))
    };
    stage.wait_for("the moment", |s| match moment {
        Moment::Requested => journal_says(s, "run_started"),
        Moment::MidStep => s.steps_run().len() == 2,
        Moment::Executed => journal_says(s, "run_finished"),
    });
    stage.kill_agent(group);
    let alone = Instant::now();
    while !journal_says(&stage, "run_finished") {
        assert!(alone.elapsed() < Duration::from_secs(30), "the run did not finish without the agent");
        pause();
    }
    stage.start_agent();
    stage.wait_for("the verdict", |s| s.verdict().is_some());
    let log = std::fs::read_to_string(stage.path().join("agent.log")).unwrap_or_default();
    assert_eq!(
        stage.verdict().as_deref(),
        Some("rolled back"),
        "{moment:?} group {group}\n{:#?}\n{log}",
        stage.snapshot()
    );
    assert_eq!(stage.steps_run(), ["note", "slow", "previous"], "{moment:?} group {group}: each step once");
}

#[test]
fn kill_9_of_the_agent_right_after_the_run_began() {
    survives("kill-requested", Moment::Requested, false);
}

#[test]
fn kill_9_of_the_agents_process_group_in_the_middle_of_a_step() {
    survives("kill-mid-step", Moment::MidStep, true);
}

#[test]
fn kill_9_of_the_agents_process_group_after_the_last_step() {
    survives("kill-executed", Moment::Executed, true);
}

#[test]
fn ask_waits_until_a_person_approves_on_the_command_line() {
    let stage = Stage::new("ask");
    let path = stage.path().join("backstop.toml");
    let text = std::fs::read_to_string(&path).unwrap().replace("mode   = \"auto\"", "mode   = \"ask\"");
    std::fs::write(&path, text).unwrap();
    let pid = stage.agent.as_ref().unwrap().id().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    stage.wait_for("the mode is ask", |s| s.snapshot().is_some_and(|s| s["rollback"]["mode"] == "ask"));
    let (code, said) = stage.command(&["deploy", "start", "--version", "2.0", "--live"]);
    assert!(code == 0 && said.contains("before: 1.0"), "the version before was read back: {said}");
    std::fs::write(stage.path().join("current"), "2.0\n").unwrap();
    stage.wait_for("it asks", |s| s.snapshot().is_some_and(|s| s["rollback"]["run"]["phase"] == "asked"));
    assert!(stage.steps_run().is_empty());
    let (code, said) = stage.command(&["rollback", "approve", "R-1", "--reason", "checkout broken"]);
    assert_eq!(code, 0, "{said}");
    stage.wait_for("the verdict", |s| s.verdict().is_some());
    assert_eq!(stage.verdict().as_deref(), Some("rolled back"));
    let alerts = std::fs::read_to_string(stage.path().join("alerts.jsonl")).unwrap();
    assert!(alerts.contains("ROLLBACK?") && alerts.contains("ROLLED BACK"), "{alerts}");
}

/// The only value of an expression at a time (now where none is given), as the command line gives it.
fn queried(stage: &Stage, expression: &str, at: Option<f64>) -> Option<f64> {
    let at = at.map(|at| format!("{at:.3}"));
    let mut args = vec!["query", expression, "--format", "json"];
    args.extend(at.iter().flat_map(|at| ["--at", at.as_str()]));
    let (_, text) = stage.command(&args);
    let answer: serde_json::Value = serde_json::from_str(&text).ok()?;
    answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
}

/// `BACKSTOP_ROUNDS=200` for a long run.
#[test]
fn samples_outlive_kill_9_with_the_values_they_had() {
    let mut stage = Stage::new("samples-outlive");
    let rounds =
        std::env::var("BACKSTOP_ROUNDS").map_or(3, |n| n.parse::<usize>().expect("BACKSTOP_ROUNDS is a number"));
    let counter = "requests_total{code=\"200\"}";
    let mut known: Vec<(f64, f64)> = Vec::new();
    for _ in 0..rounds {
        let newest = known.last().map_or(0.0, |(at, _)| *at);
        let time = || queried(&stage, &format!("timestamp({counter})"), None).filter(|at| *at > newest);
        stage.wait_for("a new sample", |_| time().is_some());
        let at = time().unwrap();
        known.push((at, queried(&stage, counter, Some(at)).unwrap()));
        stage.kill_agent(false);
        stage.start_agent();
        for (at, value) in &known {
            assert_eq!(queried(&stage, counter, Some(*at)), Some(*value), "at {at} after {} rounds", known.len());
        }
    }
    stage.kill_agent(false);
    for (at, value) in &known {
        assert_eq!(queried(&stage, counter, Some(*at)), Some(*value), "without an agent, at {at}");
    }
}

#[test]
fn a_reload_says_what_takes_a_restart() {
    let stage = Stage::new("reload-restart");
    let path = stage.path().join("backstop.toml");
    let text = std::fs::read_to_string(&path).unwrap().replace("listen = \"127.0.0.1:0\"", "listen = \"127.0.0.1:1\"");
    std::fs::write(&path, text).unwrap();
    let pid = stage.agent.as_ref().unwrap().id().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    let log = |stage: &Stage| std::fs::read_to_string(stage.path().join("agent.log")).unwrap();
    stage.wait_for("it is said", |s| log(s).contains("These take a restart"));
    assert!(log(&stage).contains("[web] listen"), "{}", log(&stage));
    assert!(!log(&stage).contains("[agent] socket"), "{}", log(&stage));
}

#[test]
fn an_agent_that_is_gone_leaves_what_it_knew_last() {
    let mut stage = Stage::new("last-known");
    std::fs::write(stage.path().join("current"), "2.0\n").unwrap();
    let is_critical = |s: &Stage| s.snapshot().is_some_and(|s| s["incidents"].to_string().contains("errors"));
    stage.wait_for("errors is critical", |s| is_critical(s));
    stage.kill_agent(false);
    let (code, said) = stage.command(&["status"]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("no agent answers") && said.contains("last known       CRITICAL errors since"), "{said}");
}

#[test]
fn sigterm_ends_the_agent_within_five_seconds() {
    let mut stage = Stage::new("sigterm");
    let mut agent = stage.agent.take().unwrap();
    let begin = Instant::now();
    assert!(Command::new("kill").args(["-TERM", &agent.id().to_string()]).status().unwrap().success());
    assert!(agent.wait().unwrap().success());
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[test]
fn a_second_agent_on_the_same_state_folder_is_refused() {
    let stage = Stage::new("second-agent");
    let (code, said) = stage.command(&["run"]);
    assert_eq!(code, 3, "{said}");
    let pid = stage.agent.as_ref().unwrap().id().to_string();
    assert!(said.contains("another agent") && said.contains(&pid), "{said}");
}

#[test]
fn a_bad_configuration_keeps_the_running_one_and_is_said() {
    let stage = Stage::new("reload");
    let path = stage.path().join("backstop.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    let hangup = |stage: &Stage| {
        let pid = stage.agent.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    };
    let refused = |s: &Stage| s.snapshot().is_some_and(|s| s["config_refused"].is_string());
    std::fs::write(&path, good.replace("critical =", "critcal =")).unwrap();
    hangup(&stage);
    stage.wait_for("the refusal is shown", |s| refused(s));
    let rules = stage.snapshot().unwrap()["rules"].as_array().unwrap().len();
    assert!(rules > 0, "the old rules go on");
    std::fs::write(&path, good.replace("[rule.errors]", "[rule.failures]")).unwrap();
    hangup(&stage);
    let has = |s: &Stage| s.snapshot().is_some_and(|s| s["rules"].to_string().contains("failures"));
    stage.wait_for("the new rule is there", |s| has(s));
    assert!(!refused(&stage));
}

#[test]
fn a_state_folder_that_cannot_be_used_is_refused_at_the_start() {
    let folder = Scratch::new("no-state");
    std::fs::write(folder.path().join("file"), "").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_backstop"))
        .args(["run", "--state"])
        .arg(folder.path().join("file/state"))
        .current_dir(folder.path())
        .env_remove("BACKSTOP_CONFIG")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "a later try may find it better: {said}");
    assert!(said.contains("the state folder") && said.contains("--state DIR"), "{said}");
}

/// A small file system of its own, unmounted when the value is dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: PathBuf) -> Disk {
        std::fs::create_dir_all(&at).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(&at).status().unwrap();
        assert!(mount.success(), "a tmpfs can be mounted");
        Disk(at)
    }

    /// Leaves no byte free; the next write fails.
    fn fill(&self, name: &str) {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(self.0.join(name)).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            let bytes = vec![7u8; size];
            while file.write_all(&bytes).is_ok() {}
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").args(["-l"]).arg(&self.0).status());
    }
}

#[test]
fn outside_disk_full_costs_the_ballast_then_degrades_and_heals() {
    if !crate::support::outside("disk") {
        return;
    }
    let mut disk = None;
    let mut stage = Stage::prepared("disk-full", |path| disk = Some(Disk::mount(path.join("state"))));
    let disk = disk.unwrap();
    let say = |stage: &Stage| stage.command(&["test-alert"]);
    let degraded = |s: &Stage| s.snapshot().is_some_and(|s| s["degraded"].is_string());

    disk.fill("first");
    for _ in 0..200 {
        if !stage.state().join("ballast").exists() {
            break;
        }
        say(&stage);
    }
    assert!(!stage.state().join("ballast").exists(), "the ballast was given up");
    assert!(!degraded(&stage), "and that was enough");

    disk.fill("second");
    for _ in 0..200 {
        if degraded(&stage) {
            break;
        }
        say(&stage);
    }
    assert!(degraded(&stage), "a disk without a byte is said");
    let (code, said) = stage.command(&["deploy", "start", "--version", "2.0", "--previous", "1.0", "--live"]);
    assert!(code != 0 && !said.contains("is live"), "nothing is accepted that could not be remembered: {said}");

    std::fs::remove_file(stage.state().join("first")).unwrap();
    stage.wait_for("the disk is back", |s| !degraded(s));
    let (code, said) = stage.command(&["deploy", "start", "--version", "2.0", "--previous", "1.0", "--live"]);
    assert_eq!(code, 0, "{said}");
    stage.kill_agent(false);
}
