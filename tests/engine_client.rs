//! The client of container engines meets answers that are almost right, engines that hang, break off or list ten
//! thousand containers, and a real one.
//!
//! The test that begins with `outside_` uses the engine of the host and makes a container of its own.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use backstop::base::{Failure, Span};
use backstop::sys::clock::Stopwatch;
use backstop::sys::engine::told::{self, MAX_ERROR, MAX_IMAGE, MAX_NAME};
use backstop::sys::engine::{Address, Bounds, Engine, Event, Happened, Health, Id, Inside, Left, State};
use backstop::sys::process::Exit;
use backstop::sys::tasks::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use crate::support::mutate;
use crate::support::{Scratch, outside, text};

const ID: &str = "3f2a91c07d213f2a91c07d213f2a91c07d213f2a91c07d213f2a91c07d213f2a";

/// What a recorded engine answered.
fn recorded(name: &str) -> String {
    text(&format!("tests/fixtures/engine/{name}"))
}

/// Its objects one by one.
fn objects(name: &str) -> Vec<Vec<u8>> {
    let text = recorded(name);
    let values: Vec<serde_json::Value> = match serde_json::from_str(&text) {
        Ok(serde_json::Value::Array(list)) => list,
        Ok(one) => vec![one],
        Err(_) => text.lines().map(|line| serde_json::from_str(line).expect("a line is an object")).collect(),
    };
    values.iter().map(|value| value.to_string().into_bytes()).collect()
}

fn assert_shown(text: &str, max: usize) {
    assert!(text.len() <= max && !text.chars().any(char::is_control), "{text:?}");
}

fn assert_safe(container: &told::Container) {
    assert!(container.id.as_str().bytes().all(|b| b.is_ascii_hexdigit()));
    assert_shown(&container.name, MAX_NAME);
    assert_shown(&container.image, MAX_IMAGE);
    container.service.iter().for_each(|(project, service)| {
        assert_shown(project, MAX_NAME);
        assert_shown(service, MAX_NAME);
    });
}

#[test]
fn lists_that_are_almost_right_are_refused_or_safe_to_show() {
    mutate::run("engine-listed", &objects("list.json"), |input| {
        if let Ok(container) = told::listed(input) {
            assert_safe(&container);
        }
    });
}

#[test]
fn events_that_are_almost_right_are_refused_or_safe_to_show() {
    mutate::run("engine-events", &objects("events.json"), |input| {
        if let Ok(Some(event)) = told::event(input) {
            assert_safe(&event.container);
            assert!(event.at >= 0 && (event.exit_code.is_none() || event.happened == Happened::Died));
            assert!(event.health.is_none() || event.happened == Happened::Health);
        }
    });
}

#[test]
fn inspections_that_are_almost_right_are_refused_or_safe_to_show() {
    let corpus = [objects("inspect-healthy.json"), objects("inspect-oom.json")].concat();
    mutate::run("engine-inspected", &corpus, |input| {
        let Ok(it) = told::inspected(input) else { return };
        for text in [&it.name, &it.finished, &it.driver].into_iter().chain(&it.version).chain(&it.revision) {
            assert_shown(text, MAX_NAME);
        }
        it.volumes.iter().for_each(|volume| assert_shown(volume, MAX_NAME));
        assert_shown(&it.error, MAX_ERROR);
        assert_shown(&it.image, MAX_IMAGE);
        assert!(it.image_id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b':') && it.image_id.len() <= 71);
        assert!(it.pid != Some(0) && it.limits.cpus.is_none_or(|cpus| cpus.is_finite() && cpus > 0.0));
    });
}

#[test]
fn figures_that_are_almost_right_are_refused_or_numbers() {
    mutate::run("engine-figures", &objects("stats-v1.json"), |input| {
        let Ok((figures, interfaces)) = told::stats(input) else { return };
        assert!(figures.cpu_usage.is_none_or(|seconds| seconds.is_finite() && seconds >= 0.0));
        assert!(interfaces.len() <= 64);
        interfaces.iter().for_each(|interface| assert_shown(&interface.name, MAX_NAME));
    });
}

#[test]
fn images_that_are_almost_right_are_refused_or_safe_to_show() {
    let pulled = br#"{"Id":"sha256:1","RepoDigests":["a@sha256:1","b@sha256:2"],"Created":"2026-11-21T20:58:48Z"}"#;
    mutate::run("engine-images", &[objects("image.json"), vec![pulled.to_vec()]].concat(), |input| {
        if let Ok(image) = told::image(input) {
            assert!(image.digests.len() <= 16);
            image.digests.iter().for_each(|digest| assert_shown(digest, MAX_IMAGE));
        }
    });
}

/// An engine that gives each request the answer of the first entry whose text its path contains, and then ends, or hangs.
struct Fake {
    engine: Engine,
    n_asked: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
    _scratch: Scratch,
    _tasks: Tasks,
}

impl Fake {
    fn new(name: &str, answers: Vec<(&'static str, Vec<u8>, bool)>) -> Fake {
        let scratch = Scratch::new(name);
        let path = scratch.path().join("engine.sock");
        let listener = UnixListener::bind(&path).expect("a socket can be made");
        let (n_asked, answers) = (Arc::new(AtomicUsize::new(0)), Arc::new(answers));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (mut tasks, n, its) = (Tasks::new(), n_asked.clone(), requests.clone());
        tasks.spawn("fake engine", async move {
            let mut all = Tasks::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let (answers, n, its_requests) = (answers.clone(), n.clone(), its.clone());
                all.spawn("fake connection", async move {
                    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
                    while !is_whole(&request) {
                        match stream.read(&mut buffer).await {
                            Ok(0) | Err(_) => return,
                            Ok(n) => request.extend_from_slice(&buffer[..n]),
                        }
                    }
                    n.fetch_add(1, Ordering::SeqCst);
                    let request = String::from_utf8_lossy(&request).into_owned();
                    its_requests.lock().expect("nobody failed").push(request.clone());
                    let found = answers.iter().find(|(part, _, _)| request.contains(part));
                    let Some((_, answer, hangs)) = found else { return };
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                    if *hangs {
                        while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
                    }
                });
            }
        });
        Fake { engine: Engine::new(Some(Address::Socket(path))), n_asked, requests, _scratch: scratch, _tasks: tasks }
    }
}

/// Whether a request is there with its body.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    body.len() >= length.map_or(0, |length| length.parse().expect("a length is a number"))
}

fn ok(body: impl AsRef<[u8]>) -> Vec<u8> {
    [b"HTTP/1.0 200 OK\r\nServer: backstop-engine-proxy\r\n\r\n", body.as_ref()].concat()
}

fn id() -> Id {
    Id::try_from(ID.to_string()).expect("it is an id")
}

#[tokio::test]
async fn ten_thousand_containers_are_listed_one_by_one() {
    let element = String::from_utf8(objects("list.json").swap_remove(2)).expect("it is text");
    let all: Vec<String> = (0..10_000).map(|n| element.replace("af88332f", &format!("{n:08x}"))).collect();
    let fake = Fake::new("ten-thousand", vec![("/containers/json", ok(format!("[{}]\n", all.join(","))), false)]);
    let (mut n, mut last) = (0, None);
    let n_unread = fake.engine.list(|container| (n, last) = (n + 1, Some(container))).await.expect("it is a list");
    let last = last.expect("there are some");
    assert_eq!((n, n_unread, last.name.as_str(), &last.id.as_str()[..8]), (10_000, 0, "shop_api_1", "0000270f"));
}

#[tokio::test]
async fn answers_that_are_none_are_failures_with_a_reason() {
    let inspected = recorded("inspect-healthy.json");
    let cut = &inspected[..inspected.len() / 2];
    let length = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{cut}", inspected.len());
    let large = ok(vec![b' '; 2 << 20]);
    let no = |status: &str| format!("HTTP/1.0 {status}\r\n\r\n{{\"message\":\"no\\u0007\"}}").into_bytes();
    for (answer, wanted) in [
        (ok(cut), "protocol"),
        (length.into_bytes(), "broken"),
        (ok("[]"), "protocol"),
        (large, "too-large"),
        (b"hello\r\n\r\n".to_vec(), "protocol"),
        (Vec::new(), "broken"),
        (no("403 Forbidden"), "status"),
        (no("500 Internal"), "status"),
    ] {
        let fake = Fake::new("odd-answers", vec![("/json", answer.clone(), false), ("/info", answer, false)]);
        let reason = |failure: Failure| failure.reason;
        assert_eq!(fake.engine.inspect(&id()).await.map_err(reason), Err(wanted));
        assert_eq!(fake.engine.image(ID).await.map_err(reason), Err(wanted));
    }
    let fake = Fake::new("nothing-there", vec![("/json", no("404 Not Found"), false)]);
    assert_eq!(fake.engine.inspect(&id()).await, Ok(None));
    assert_eq!(fake.engine.image(&format!("sha256:{ID}")).await, Ok(None));
    let n_asked = fake.n_asked.load(Ordering::SeqCst);
    for name in ["", "../containers", "a/b", "shop/api:2.4.1", "sha256:../..", "SHA256:00"] {
        assert_eq!(fake.engine.image(name).await, Ok(None), "{name}");
    }
    assert_eq!(fake.n_asked.load(Ordering::SeqCst), n_asked, "what is no id is not asked for");
}

#[tokio::test]
async fn an_engine_that_hangs_is_given_up_within_its_time() {
    let fake = Fake::new(
        "hanging",
        vec![("/containers/json", ok("[{"), true), ("/version", Vec::new(), true), ("/json", ok("{"), true)],
    );
    tokio::time::pause();
    let reason = |failure: Failure| failure.reason;
    assert_eq!(fake.engine.agree().await.map_err(reason), Err("timeout"));
    assert_eq!(fake.engine.info().await.map_err(reason), Err("timeout"));
    assert_eq!(fake.engine.inspect(&id()).await.map_err(reason), Err("timeout"));
    assert_eq!(fake.engine.list(|_| {}).await.map_err(reason), Err("timeout"));
}

#[tokio::test]
async fn a_newer_engine_and_the_proxy_are_agreed_with() {
    let version = r#"{"ApiVersion":"1.99","MinAPIVersion":"1.44","Version":"31","New":[1]}"#;
    let info = r#"{"CgroupVersion":"2","LiveRestoreEnabled":true,"Containers":7,"New":{}}"#;
    let fake = Fake::new("newer", vec![("/version", ok(version), false), ("/v1.51/info", ok(info), false)]);
    assert!(!fake.engine.is_proxy());
    fake.engine.agree().await.expect("it is new enough");
    assert!(fake.engine.is_proxy());
    let info = fake.engine.info().await.expect("it says");
    assert_eq!((info.version.as_str(), info.api.as_str(), info.cgroup), ("31", "1.99", Some(2)));
    assert_eq!((info.live_restore, info.containers), (true, 7));
    let old = Fake::new("older", vec![("/version", ok(r#"{"ApiVersion":"1.40"}"#), false)]);
    assert_eq!(old.engine.agree().await.map_err(|failure| failure.reason), Err("version"));
}

#[tokio::test]
async fn only_the_events_that_were_asked_for_are_told() {
    let all = recorded("events.json");
    let fake = Fake::new("events-asked", vec![("/events", ok(&all), false)]);
    for (kinds, wanted) in [
        (
            &[Happened::Health][..],
            vec![(Happened::Health, Some(Health::Healthy)), (Happened::Health, Some(Health::Unhealthy))],
        ),
        (&[Happened::Oom, Happened::Paused], vec![(Happened::Paused, None), (Happened::Oom, None)]),
        (&[], vec![]),
    ] {
        let (mut events, mut got) = (fake.engine.events(0, kinds).await.expect("it is there"), Vec::new());
        while let Some(more) = events.next().await.expect("they are events") {
            let more = more.into_iter().map(|event| event.expect("each can be read"));
            got.extend(more.map(|Event { happened, health, .. }| (happened, health)));
        }
        assert_eq!(got, wanted);
    }
}

#[tokio::test]
async fn figures_come_as_long_as_the_engine_sends_them() {
    let two = recorded("stats-v1.json");
    let fake = Fake::new("figures", vec![("/stats?stream=1", ok(&two), false)]);
    let mut stats = fake.engine.stats(&id()).await.expect("it answers").expect("it is there");
    let (figures, interfaces) = stats.next().await.expect("it sends figures").expect("there are some");
    assert_eq!((figures.memory_usage.is_some(), interfaces[0].name.as_str()), (true, "eth0"));
    while stats.next().await.expect("they are figures").is_some() {}
    let odd = Fake::new("odd-figures", vec![("/stats", ok(r#"{"cpu_stats":7}"#), false)]);
    let mut stats = odd.engine.stats(&id()).await.expect("it answers").expect("it is there");
    assert_eq!(stats.next().await.map_err(|failure| failure.reason), Err("protocol"));
}

/// As an engine sends it.
fn frame(kind: u8, payload: &str) -> Vec<u8> {
    [&[kind, 0, 0, 0][..], &(payload.len() as u32).to_be_bytes(), payload.as_bytes()].concat()
}

#[tokio::test]
async fn a_program_runs_inside_of_a_container_and_each_way_to_fail_has_a_reason() {
    let status = |status: &str, body: &str| format!("HTTP/1.0 {status}\r\n\r\n{body}").into_bytes();
    let made = || status("201 Created", &format!("{{\"Id\":\"{ID}\"}}"));
    let stream = |frames: &[Vec<u8>]| {
        [b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n", frames.concat().as_slice()]
            .concat()
    };
    let seen = |running: bool, code: &str, pid: u32| {
        ok(format!(
            "{{\"Running\":{running},\"ExitCode\":{code},\"Pid\":{pid},\"ProcessConfig\":{{\"arguments\":[\"hunter2\"]}}}}"
        ))
    };
    let both = stream(&[frame(1, "hello\n"), frame(2, "oops\n"), frame(1, "again\n")]);
    let runtime = |why: &str| stream(&[frame(1, &format!("OCI runtime exec failed: {why}: unknown\r\n"))]);
    let no = "{\"message\":\"Container x is not running\"}";
    let flood = stream(&[frame(1, &"x".repeat(15 << 20)), frame(1, &"x".repeat(2 << 20))]);
    let late = "timeout";
    for (name, made, started, seen, wanted) in [
        (
            "it ends",
            made(),
            (both.clone(), false),
            seen(false, "0", 7),
            Ok((Exit::Code(0), "hello\nagain\n", "oops\n")),
        ),
        (
            "it fails",
            made(),
            (both.clone(), false),
            seen(false, "126", 7),
            Ok((Exit::Code(126), "hello\nagain\n", "oops\n")),
        ),
        ("it is killed", made(), (stream(&[]), false), seen(false, "137", 7), Ok((Exit::Code(137), "", ""))),
        ("it is late", made(), (both, true), seen(false, "0", 7), Ok((Exit::Timeout, "hello\nagain\n", "oops\n"))),
        ("it floods", made(), (flood, false), seen(true, "null", 7), Ok((Exit::Timeout, "xxxxxxxxxxxxxxxxxxxx", ""))),
        (
            "no program",
            made(),
            (runtime("executable file not found in $PATH"), false),
            seen(false, "126", 0),
            Err("not-found"),
        ),
        ("no right", made(), (runtime("permission denied"), false), seen(false, "126", 0), Err("permission")),
        ("no container", status("404 Not Found", no), (Vec::new(), false), Vec::new(), Err("missing")),
        ("it ended", status("409 Conflict", no), (Vec::new(), false), Vec::new(), Err("missing")),
        ("it ends meanwhile", made(), (stream(&[]), false), status("404 Not Found", no), Err("missing")),
        ("no frames", made(), (stream(&[b"hello\n  x".to_vec()]), false), Vec::new(), Err("protocol")),
        (
            "no id",
            status("201 Created", "{\"Id\":\"../../containers/x\"}"),
            (Vec::new(), false),
            Vec::new(),
            Err("protocol"),
        ),
        ("no engine", status("500 Oops", no), (Vec::new(), false), Vec::new(), Err("status")),
        ("no word", Vec::new(), (Vec::new(), false), Vec::new(), Err("broken")),
        ("it never begins", Vec::new(), (Vec::new(), true), Vec::new(), Err(late)),
    ] {
        let fake = Fake::new(
            "inside",
            vec![
                ("/start HTTP", started.0, started.1),
                ("/exec HTTP", made, wanted == Err(late)),
                ("/exec/3f2a91c07d21", seen, false),
            ],
        );
        let inside = Inside {
            argv: vec!["psql".into(), "-c select".into()],
            user: Some("70".into()),
            env: vec![("PGPASSWORD".into(), "hunter2".to_string().into())],
            dir: None,
        };
        let bounds = Bounds { timeout: Span::millis(700), max_output: 20 };
        let mut left = Left::default();
        let got = fake.engine.run(&id(), &inside, bounds, &mut left).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let got = got.map(|a| (a.exit, text(&a.stdout), text(&a.stderr))).map_err(|failure| failure.reason);
        assert_eq!(got, wanted.map(|(exit, out, err)| (exit, out.to_string(), err.to_string())), "{name}");
        let requests = fake.requests.lock().expect("nobody failed").clone();
        let body = requests[0].split("\r\n\r\n").nth(1).expect("it has a body");
        let body: serde_json::Value = serde_json::from_str(body).expect("it is JSON");
        let wanted = serde_json::json!({
            "AttachStdout": true, "AttachStderr": true, "Cmd": ["psql", "-c select"],
            "Env": ["PGPASSWORD=hunter2"], "User": "70",
        });
        assert_eq!(body, wanted);
        if name == "it is late" || name == "it floods" {
            let again = fake.engine.run(&id(), &inside, bounds, &mut left).await;
            let is_gone = name == "it is late";
            assert_eq!(again.map_err(|failure| failure.reason).err(), (!is_gone).then_some("busy"));
        }
    }
}

/// A container on the engine of the host; gone with the value.
struct Lab {
    name: String,
}

impl Lab {
    fn docker(arguments: &[&str]) -> String {
        let output =
            Command::new("timeout").args(["60", "docker"]).args(arguments).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_string()
    }

    /// Runs `sh -c script` with a health check that wants `/ok`.
    fn run(scratch: &Scratch, script: &str) -> Lab {
        let name = format!("backstop-test-client-{}", std::process::id());
        let (root, tar) = (scratch.path().join("image"), scratch.path().join("image.tar"));
        std::fs::create_dir_all(root.join("bin")).unwrap();
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from).into_iter().find(|path| path.exists());
        let busybox = busybox.expect("busybox is needed: apt-get install busybox-static");
        std::fs::copy(busybox, root.join("bin/busybox")).unwrap();
        for applet in ["sh", "sleep", "test", "touch", "rm"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        let (tar, root) = (tar.to_str().unwrap(), root.to_str().unwrap());
        assert!(Command::new("tar").args(["-cf", tar, "-C", root, "."]).status().unwrap().success());
        Lab::docker(&["import", "-c", "ENV PATH=/bin", tar, &name]);
        let lab = Lab { name };
        let options = "-d --network=none --restart=on-failure --memory=32m --cpus=0.5 --pids-limit=50 \
            --health-interval=1s --health-retries=1 --label=com.docker.compose.project=shop \
            --label=com.docker.compose.service=api --label=com.docker.compose.container-number=2 -e TOKEN=hunter2";
        let options: Vec<&str> = options.split_whitespace().collect();
        let rest = ["--name", &lab.name, "--health-cmd", "test -e /ok # hunter2", &lab.name, "sh", "-c", script];
        Lab::docker(&[&["run"][..], &options, &rest].concat());
        lab
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for arguments in [["rm", "-fv", &self.name], ["image", "rm", &self.name]] {
            let mut docker = Command::new("timeout");
            drop(docker.args(["60", "docker"]).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status());
        }
    }
}

/// A health check fails, the program is killed and started again, all is paused, and the container is removed: each is
/// told at once, and nothing of the commands that ran inside.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outside_a_real_engine_tells_what_happens_to_a_container() {
    if !outside("docker") {
        return;
    }
    let scratch = Scratch::new("engine-client");
    let lab = Lab::run(&scratch, "touch /ok; while :; do sleep 1; done");
    let engine = Engine::new(Some(Address::Socket("/var/run/docker.sock".into())));
    engine.agree().await.expect("the host has an engine");
    assert!(!engine.is_proxy());
    let mut found = None;
    let n_unread =
        engine.list(|container| found = found.take().or(Some(container).filter(|c| c.name == lab.name))).await;
    let container = found.expect("it is listed");
    assert_eq!((n_unread, container.state, container.number), (Ok(0), State::Running, Some(2)));
    assert_eq!((container.image.as_str(), container.service), (lab.name.as_str(), Some(("shop".into(), "api".into()))));
    let id = container.id;
    let inspected = engine.inspect(&id).await.expect("it answers").expect("it is there");
    let limits = (inspected.limits.memory, inspected.limits.cpus, inspected.limits.pids);
    assert_eq!(limits, (Some(32 << 20), Some(0.5), Some(50)));
    let image = engine.image(&inspected.image_id).await.expect("it answers").expect("it is there");
    assert!(image.digests.is_empty() && image.created.is_some(), "{image:?}");
    let info = engine.info().await.expect("it answers");
    assert!(info.containers > 0 && info.cgroup.is_some(), "{info:?}");

    let mut stats = engine.stats(&id).await.expect("it answers").expect("it is there");
    let (figures, _) = stats.next().await.expect("it sends figures").expect("there are some");
    assert!(figures.memory_usage > Some(100_000) && figures.cpu_usage > Some(0.0), "{figures:?}");

    let mut events = engine.events(container.created, &Happened::ALL).await.expect("it answers");
    let mut all = Vec::new();
    let pid = inspected.pid.expect("it runs").to_string();
    // An empty command waits for what the engine does by itself.
    let ran = |script: &str| {
        let argv = ["sh", "-c", script].map(String::from).to_vec();
        Inside { argv, user: None, env: vec![("A".into(), "b".to_string().into())], dir: Some("/bin".into()) }
    };
    let mut left = Left::default();
    for (inside, wanted) in [
        (ran("echo $A; pwd; echo err >&2; exit 3"), Ok((Exit::Code(3), "b\n/bin\n", "err\n"))),
        (ran("kill -9 $$"), Ok((Exit::Code(137), "", ""))),
        (Inside { argv: vec!["nope".into()], ..ran("") }, Err("not-found")),
        (Inside { argv: vec!["/dev/null".into()], ..ran("") }, Err("permission")),
        (Inside { user: Some("nobody7".into()), ..ran("true") }, Err("not-found")),
        (Inside { dir: Some("/nope".into()), ..ran("true") }, Err("not-found")),
        (ran("while :; do sleep 1; [ -e /end ] && exit; done"), Ok((Exit::Timeout, "", ""))),
        (ran("echo"), Err("busy")),
    ] {
        let bounds = Bounds { timeout: Span::secs(2), max_output: 100 };
        let got = engine.run(&id, &inside, bounds, &mut left).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let got = got.map(|a| (a.exit, text(&a.stdout), text(&a.stderr))).map_err(|failure| failure.reason);
        assert_eq!(got, wanted.map(|(exit, out, err)| (exit, out.to_string(), err.to_string())), "{inside:?}");
    }
    Lab::docker(&["exec", &lab.name, "touch", "/end"]);
    let watch = Stopwatch::start();
    loop {
        let bounds = Bounds { timeout: Span::secs(20), max_output: 10 };
        match engine.run(&id, &ran("echo 1234567890123; echo x >&2"), bounds, &mut left).await {
            Err(failure) if failure.reason == "busy" && watch.elapsed() < Span::secs(30) => {}
            other => {
                let answer = other.expect("it is over, so the next one runs");
                assert_eq!((answer.stdout.as_slice(), answer.bytes), (b"1234567890".as_slice(), 14));
                break;
            }
        }
    }
    assert_eq!(engine.of_service("shop", "api").await.map(|container| container.id), Ok(id.clone()));

    let steps: [(&[&str], Happened, Option<Health>); 8] = [
        (&[], Happened::Started, None),
        (&[], Happened::Health, Some(Health::Healthy)),
        (&["docker", "exec", &lab.name, "rm", "/ok"], Happened::Health, Some(Health::Unhealthy)),
        (&["docker", "pause", &lab.name], Happened::Paused, None),
        (&["docker", "unpause", &lab.name], Happened::Unpaused, None),
        (&["kill", "-9", &pid], Happened::Died, None),
        (&[], Happened::Started, None),
        (&["docker", "rm", "-f", &lab.name], Happened::Destroyed, None),
    ];
    let mut n_seen = 0;
    for (command, happened, health) in steps {
        if let [program, arguments @ ..] = command {
            assert!(Command::new(program).args(arguments).stdout(Stdio::null()).status().unwrap().success());
        }
        let watch = Stopwatch::start();
        loop {
            let new: &[Event] = &all[n_seen..];
            if let Some(at) = new.iter().position(|event| event.happened == happened && event.health == health) {
                n_seen += at + 1;
                break;
            }
            assert!(watch.elapsed() < Span::secs(30), "{happened:?} is not told: {all:?}");
            let more = tokio::time::timeout(Span::secs(30).to_std(), events.next()).await;
            let Ok(more) = more else { panic!("{happened:?} is not told: {all:?}") };
            let more = more.expect("they are events").expect("they go on").into_iter();
            all.extend(more.map(|event| event.expect("it can be read")).filter(|event| event.container.id == id));
        }
    }
    let died = all.iter().find(|event| event.happened == Happened::Died).expect("it died");
    assert_eq!(died.exit_code, Some(137));
    assert!(all.windows(2).all(|two| two[0].at <= two[1].at), "they come in their order");
    assert!(!format!("{all:?}").contains("hunter2"));
}
