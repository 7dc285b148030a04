//! `backstop engine-proxy` as a process: its socket, the signals that it hears, and what it refuses to be started with.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::docker::{self, Docker};
use crate::support::{Scratch, left_out, wanted};

const PATIENCE: Duration = Duration::from_secs(20);

/// An engine that answers everything in the same way; it ends with the process.
fn engine(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut buffer) = (stream.unwrap(), [0; 4096]);
            drop(stream.read(&mut buffer));
            drop(stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n{\"ApiVersion\":\"1.41\"}"));
        }
    });
}

/// A proxy that was started; killed with the value.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn arguments(folder: &Path) -> Vec<String> {
    let at = |name: &str| folder.join(name).to_str().unwrap().to_string();
    let engine = format!("unix://{}", at("engine.sock"));
    let config = at("backstop.toml");
    ["engine-proxy", "--listen", &at("proxy.sock"), "--group", "root", "--engine", &engine, "--config", &config]
        .map(String::from)
        .into()
}

fn command(arguments: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backstop"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Asks once; nothing where nobody listens yet.
fn asked(socket: &Path, request: &str) -> Option<String> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("{request} HTTP/1.1\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Asks until the answer holds `part`.
fn until(socket: &Path, request: &str, part: &str) {
    let begin = Instant::now();
    let mut last = None;
    while !last.as_ref().is_some_and(|answer: &String| answer.contains(part)) {
        assert!(begin.elapsed() < PATIENCE, "{request} has no {part}: {last:?}");
        std::thread::sleep(Duration::from_millis(20));
        last = asked(socket, request);
    }
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

const DECLARED: &str = "[command.who]\ninside = \"shop/api\"\nrun = [\"id\"]\n";

#[test]
fn the_proxy_serves_reads_its_configuration_anew_and_ends_when_it_is_told() {
    let scratch = Scratch::new("proxy-run");
    let folder = scratch.path();
    engine(&folder.join("engine.sock"));
    std::fs::write(folder.join("backstop.toml"), "").unwrap();
    let socket = folder.join("proxy.sock");
    let mut proxy = Started(command(&arguments(folder)).spawn().unwrap());
    until(&socket, "GET /version", "\"ApiVersion\":\"1.41\"");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    let refused = asked(&socket, "GET /containers/x/export").unwrap();
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");

    until(&socket, "POST /backstop/inside/who", "\"undeclared\"");
    std::fs::write(folder.join("backstop.toml"), DECLARED).unwrap();
    signal(&proxy.0, "-HUP");
    // The engine knows no containers: what it answers to that is no list.
    until(&socket, "POST /backstop/inside/who", "\"reason\":\"broken\"");
    std::fs::set_permissions(folder.join("backstop.toml"), std::fs::Permissions::from_mode(0o666)).unwrap();
    signal(&proxy.0, "-HUP");
    until(&socket, "POST /backstop/inside/who", "\"undeclared\"");

    // A second one leaves the first alone.
    assert_eq!(command(&arguments(folder)).status().unwrap().code(), Some(3));
    assert!(asked(&socket, "GET /_ping").unwrap().ends_with("OK"));
    signal(&proxy.0, "-TERM");
    assert_eq!(proxy.0.wait().unwrap().code(), Some(0));
}

#[test]
fn what_the_proxy_cannot_be_started_with_is_said() {
    let scratch = Scratch::new("proxy-usage");
    let own = format!("unix://{}", scratch.path().join("proxy.sock").display());
    for (option, value, code) in [
        ("--engine", own.as_str(), 2),
        ("--engine", "tcp://10.0.0.1:2375", 2),
        ("--group", "no-such-group", 3),
        ("--listen", "/nowhere/at/all/x.sock", 3),
    ] {
        let mut arguments = arguments(scratch.path());
        let at = arguments.iter().position(|argument| argument == option).unwrap() + 1;
        arguments[at] = value.into();
        assert_eq!(command(&arguments).status().unwrap().code(), Some(code), "{option} {value}");
    }
}

/// As systemd starts it: the socket is there before the program is, and outlives it.
#[test]
fn the_proxy_takes_the_socket_that_systemd_hands_over() {
    if !wanted("systemd") {
        return;
    }
    let scratch = Scratch::new("proxy-handed");
    let folder = scratch.path();
    engine(&folder.join("engine.sock"));
    std::fs::write(folder.join("backstop.toml"), "").unwrap();
    let socket: PathBuf = folder.join("handed.sock");
    let mut activate = Command::new("systemd-socket-activate");
    activate.arg("-l").arg(&socket).arg(env!("CARGO_BIN_EXE_backstop")).args(arguments(folder));
    activate.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(child) = activate.spawn() else {
        return left_out("systemd", "there is no systemd-socket-activate (apt-get install systemd)");
    };
    let mut proxy = Started(child);
    until(&socket, "GET /_ping", "\r\nServer: backstop-engine-proxy\r\n");
    assert!(!folder.join("proxy.sock").exists(), "it made none of its own");
    signal(&proxy.0, "-TERM");
    assert_eq!(proxy.0.wait().unwrap().code(), Some(0));
}

/// The two processes as they are installed: root has the engine's socket, the agent has that of the proxy and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outside_an_agent_without_rights_watches_a_project_through_the_proxy() {
    if !docker::has_docker() {
        return;
    }
    const NOBODY: &str = "65534";
    let docker = Docker::start("proxy-agent").await;
    docker.import();
    docker.run("backstop-test-web", "web", &["--restart=always"], "while true; do busybox sleep 1; done");
    docker.run("backstop-test-api", "api", &[], "while true; do busybox sleep 1; done");
    let scratch = Scratch::new("proxy-agent-run");
    let folder = scratch.path();
    let at = |name: &str| folder.join(name).to_str().unwrap().to_string();
    std::fs::copy(env!("CARGO_BIN_EXE_backstop"), folder.join("backstop")).unwrap();
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir(folder.join("state")).unwrap();
    std::os::unix::fs::chown(folder.join("state"), Some(65534), Some(65534)).unwrap();
    let config = format!(
        "[app]\nname = \"shop\"\nversion = {{ container = \"shop/web\" }}\n[agent]\nengine = \"unix://{}\"\nsocket = \"{}\"\n\
         [web]\nlisten = \"127.0.0.1:0\"\n[container.shop]\nproject = \"shop\"\nservices = [\"web\", \"api\"]\ninterval = \"1s\"\ntimeout = \"1s\"\n\
         [command.inside]\ninside = \"shop/api\"\nrun = [\"/bin/busybox\", \"echo\", \"queue\", \"7\"]\nvalues = {{ queue = \"number queue\" }}\n\
         interval = \"2s\"\ntimeout = \"2s\"\n[channel.log.alerts]\nfile = \"{}\"\n",
        at("proxy.sock"),
        at("state/control.sock"),
        at("state/alerts.jsonl"),
    );
    std::fs::write(folder.join("backstop.toml"), config).unwrap();
    let engine = docker.address().to_string();
    let config = at("backstop.toml");
    // The group that the agent is in.
    let group = "nogroup";
    let arguments =
        ["engine-proxy", "--listen", &at("proxy.sock"), "--group", group, "--engine", &engine, "--config", &config];
    let _proxy = Started(command(&arguments.map(String::from)).spawn().unwrap());
    until(&folder.join("proxy.sock"), "GET /_ping", "OK");
    let as_nobody = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--no-new-privs", &at("backstop")]);
        command.args(arguments).args(["--config", &config, "--state", &at("state")]).stdin(Stdio::null());
        command
    };
    let direct = as_nobody(&["check", "--probe"]).output().unwrap();
    let said = String::from_utf8_lossy(&direct.stdout).into_owned();
    assert!(direct.status.success(), "{said}{}", String::from_utf8_lossy(&direct.stderr));
    let agent = as_nobody(&["run"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let _agent = Started(agent);
    let ask = |expression: &str| {
        let output = as_nobody(&["query", expression, "--format", "json"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let answers = |expression: &str| {
        let begin = Instant::now();
        let mut last = String::new();
        while !last.contains("\"1\"") {
            assert!(begin.elapsed() < PATIENCE * 3, "{expression}: {last}");
            std::thread::sleep(Duration::from_millis(200));
            last = ask(expression);
        }
    };
    answers("count(container_running == 1) == bool 2");
    answers("count(container_memory_working_set_bytes > 0) == bool 2");
    answers("probe_value{name=\"queue\"} == bool 7");
    let pid = docker.docker(&["inspect", "-f", "{{.State.Pid}}", "backstop-test-web"]).0;
    assert!(Command::new("kill").args(["-9", pid.trim()]).status().unwrap().success());
    answers("sum(container_deaths_total) == bool 1");
    answers("sum(container_restarts_total) == bool 1");
    let version = ask("container_info{service=\"web\"}");
    assert!(version.contains("backstop-test-sh:1"), "{version}");
    // The engine's own socket is closed to it.
    let closed = Command::new("setpriv")
        .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "docker", "-H", &engine, "ps"])
        .output()
        .unwrap();
    assert!(!closed.status.success(), "the agent may not open the engine's socket");
}
