//! Units of a real systemd: told when they change, with the figures of their control groups and the version that runs.
//!
//! systemd runs in a container (the scripts of the lab beside the repository boot it), and these tests in it too: the
//! program with all tests is copied there and started again with the name of the one.

use std::process::Command;
use std::time::{Duration, Instant};

use backstop::base::table::{Entry, Value};
use backstop::base::{Batch, Labels, Node, Outcome, Place, Problems, Span};
use backstop::source::common::Defaults;
use backstop::source::systemd::Systemd;
use backstop::source::systemd::config::Config;
use backstop::sys::cgroup::{Figures, Gone, Groups};
use backstop::sys::clock::Clock;
use backstop::sys::units::Address;

use crate::support::{left_out, outside, root};

const IMAGE: &str = "lab-systemd:1";

/// Set in the container, where a test does what it promises.
const INSIDE: &str = "BACKSTOP_INSIDE";

/// A container with systemd in it, removed when the value is dropped.
struct Container(String);

impl Drop for Container {
    fn drop(&mut self) {
        drop(run("docker", &["rm", "-f", "-v", &self.0]));
    }
}

/// What a program printed, or why it failed.
fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new("timeout").arg("300").arg(program).args(args).output().map_err(|e| e.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stdout) + &text(&output.stderr)) }
}

/// Whether this is the container. Else boots one, called after `short`, and runs the test of this name in it.
fn inside(short: &str, name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if !outside("systemd-units") {
        return false;
    }
    let lab = root().join("../shared/lab");
    let script = lab.join("systemd-container.sh");
    if !script.exists() {
        left_out("systemd-units", "the scripts that boot a systemd are not beside the repository");
        return false;
    }
    if run("docker", &["image", "inspect", IMAGE]).is_err() {
        let base = lab.join("image-from-debootstrap.sh").display().to_string();
        let folder = lab.join("systemd").display().to_string();
        let made = run(&base, &["lab-base:1"]).and_then(|_| run("docker", &["build", "-q", "-t", IMAGE, &folder]));
        if let Err(why) = made {
            left_out("systemd-units", &format!("no image with systemd can be made: {why}"));
            return false;
        }
    }
    let container = Container(format!("backstop-units-{short}-{}", std::process::id()));
    run(&script.display().to_string(), &["start", &container.0, "--network", "none"]).expect("systemd boots");
    let program = std::env::current_exe().unwrap().display().to_string();
    run("docker", &["cp", &program, &format!("{}:/opt/tests", container.0)]).unwrap();
    let test = format!("systemd_units::{name}");
    let env = format!("{INSIDE}=1");
    let args = ["exec", "-e", &env, &container.0, "/opt/tests", "--exact", &test, "--nocapture"];
    match run("docker", &args) {
        Ok(said) => assert!(said.contains("1 passed"), "the test ran in the container: {said}"),
        Err(said) => panic!("{said}"),
    }
    false
}

/// Runs a shell script; what it printed.
fn shell(script: &str) -> String {
    run("sh", &["-c", script]).unwrap_or_else(|why| panic!("{script}: {why}"))
}

/// Writes a unit's file.
fn unit(name: &str, service: &str) {
    std::fs::write(format!("/etc/systemd/system/{name}"), format!("[Service]\n{service}\n")).unwrap();
    shell("systemctl daemon-reload");
}

fn source(units: &[&str], interval: &str) -> Systemd {
    Systemd::new(config(units, interval))
}

fn config(units: &[&str], interval: &str) -> Config {
    let text = |text: &str| Node { value: Value::Text(text.into()), place: Place::default() };
    let entry = |key: &str, node| Entry { key: key.into(), place: Place::default(), node };
    let units = Value::List(units.iter().map(|unit| text(unit)).collect());
    let entries =
        vec![entry("units", Node { value: units, place: Place::default() }), entry("interval", text(interval))];
    let node = Node { value: Value::Table(entries), place: Place::default() };
    let defaults = Defaults {
        interval: Span::secs(15),
        timeout: Span::secs(5),
        app: "shop".into(),
        labels: Labels::default(),
        zone: jiff::tz::TimeZone::UTC,
    };
    let mut problems = Problems::default();
    let config = Config::read("shop", &node, &defaults, &mut problems);
    config.unwrap_or_else(|| panic!("{:?}", problems.list))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The first batch for which this holds.
async fn until(source: &mut Systemd, clock: &Clock, holds: impl Fn(&Batch) -> bool) -> Batch {
    let begin = Instant::now();
    let mut seen = Vec::new();
    while begin.elapsed() < Duration::from_secs(60) {
        let Ok(batch) = tokio::time::timeout(Duration::from_secs(60), source.next(clock)).await else { break };
        if holds(&batch) {
            return batch;
        }
        seen.push((batch.instance.clone(), batch.outcome.clone()));
    }
    panic!("it never came: {seen:?}");
}

fn value(batch: &Batch, name: &str) -> Option<f64> {
    batch.samples.iter().find(|sample| sample.labels.name() == name).map(|sample| sample.value)
}

fn label(batch: &Batch, name: &str, label: &str) -> String {
    batch.samples.iter().find(|s| s.labels.name() == name).map_or_else(String::new, |s| s.labels.get(label).to_string())
}

fn reason(batch: &Batch) -> &str {
    match &batch.outcome {
        Outcome::Good => "good",
        Outcome::Failed(failure) => failure.reason,
    }
}

fn is(wanted: &'static str) -> impl Fn(&Batch) -> bool {
    move |batch| reason(batch) == wanted
}

#[test]
fn outside_units_are_told_of_when_they_fail_restart_and_are_loaded_anew() {
    if !inside("fail", "outside_units_are_told_of_when_they_fail_restart_and_are_loaded_anew") {
        return;
    }
    runtime().block_on(async {
        let clock = Clock::new();
        unit(
            "shop.service",
            "ExecStart=/bin/sleep 1000000\nMemoryMax=64M\nMemoryAccounting=yes\nCPUAccounting=yes\nTasksAccounting=yes",
        );
        unit("free.service", "ExecStart=/bin/sleep 1000000\nMemoryAccounting=yes");
        shell("systemctl start shop free");
        // An interval so long that nothing comes by it.
        let mut shop = source(&["shop"], "1h");
        let first = until(&mut shop, &clock, is("good")).await;
        let limit = (value(&first, "systemd_unit_memory_limit_bytes"), value(&first, "systemd_unit_memory_is_limited"));
        assert_eq!(limit, (Some(67_108_864.0), Some(1.0)));
        assert!(value(&first, "systemd_unit_memory_bytes").is_some_and(|n| n < 10e6), "{first:?}");
        assert_eq!(value(&first, "systemd_unit_tasks"), Some(1.0));
        let started = value(&first, "systemd_unit_start_time_seconds").unwrap();
        assert!((clock.now().seconds() - started).abs() < 60.0);
        let free = until(&mut source(&["free"], "1h"), &clock, is("good")).await;
        assert_eq!(value(&free, "systemd_unit_memory_is_limited"), Some(0.0));
        assert!(value(&free, "systemd_unit_memory_limit_bytes").is_some_and(|n| n > 500e6));
        // How fast a failure is seen.
        let mut took = Vec::new();
        for round in 1..=11 {
            shell("systemctl kill -s KILL shop");
            let failed = until(&mut shop, &clock, is("failed")).await;
            let Outcome::Failed(failure) = &failed.outcome else { unreachable!() };
            assert!(failure.detail.contains("killed by signal 9"), "{failure}");
            let when = shell("systemctl show -p StateChangeTimestampMonotonic --value shop");
            let monotonic = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            let now = monotonic.tv_sec * 1_000_000 + monotonic.tv_nsec / 1000;
            // The question itself takes time: an upper bound.
            let upper = (now - when.trim().parse::<i64>().unwrap()) as f64 / 1e3;
            let told = failed.at.0 as f64 - micros("shop", "StateChangeTimestamp") as f64 / 1e3;
            took.push(told);
            assert!(upper < 10_000.0, "{round}: {upper} ms");
            shell("systemctl reset-failed shop; systemctl start shop");
            until(&mut shop, &clock, is("good")).await;
        }
        took.sort_by(f64::total_cmp);
        println!("failed to sample: median {:.1} ms, longest {:.1} ms", took[took.len() / 2], took[took.len() - 1]);
        assert!(took[took.len() / 2] < 50.0, "{took:?}");
        // Stopped, masked, and a unit that comes later.
        shell("systemctl stop shop");
        until(&mut shop, &clock, is("inactive")).await;
        shell("rm /etc/systemd/system/shop.service; systemctl mask shop");
        until(&mut shop, &clock, is("masked")).await;
        shell("systemctl unmask shop");
        until(&mut shop, &clock, is("missing")).await;
        unit("shop.service", "ExecStart=/bin/sleep 1000000");
        until(&mut shop, &clock, is("inactive")).await;
        // An alias means its unit.
        std::os::unix::fs::symlink("shop.service", "/etc/systemd/system/store.service").unwrap();
        shell("systemctl daemon-reload; systemctl start shop");
        let mut store = source(&["store"], "1h");
        let batch = until(&mut store, &clock, is("good")).await;
        assert_eq!(batch.instance, "store.service");
        shell("systemctl kill -s KILL shop");
        until(&mut store, &clock, is("failed")).await;
        until(&mut shop, &clock, is("failed")).await;
        // systemd is executed anew, and heard as before.
        shell("systemctl daemon-reexec; systemctl start shop");
        until(&mut shop, &clock, is("good")).await;
        shell("systemctl kill -s KILL shop");
        until(&mut shop, &clock, is("failed")).await;
        // Without a bus systemctl says the same.
        let series = |batch: &Batch| {
            let mut all: Vec<String> = batch.samples.iter().map(|sample| sample.labels.to_string()).collect();
            all.sort();
            all
        };
        shell("systemctl start shop");
        let by_bus = until(&mut source(&["shop", "none"], "1h"), &clock, is("good")).await;
        let program = "/tmp/no-bus";
        std::fs::write(program, "#!/bin/sh\nexec systemctl \"$@\"\n").unwrap();
        shell(&format!("chmod 755 {program}"));
        let nowhere = Address::At("unix:path=/none".into());
        let mut shown = Systemd::at(config(&["shop", "none"], "1s"), nowhere, Some(program));
        let by_show = until(&mut shown, &clock, is("good")).await;
        assert_eq!(series(&by_bus), series(&by_show));
        let started = |batch: &Batch| value(batch, "systemd_unit_start_time_seconds").map(f64::floor);
        assert_eq!((started(&by_bus), by_bus.instance), (started(&by_show), by_show.instance));
        until(&mut shown, &clock, is("missing")).await;
        shell("systemctl kill -s KILL shop");
        until(&mut shown, &clock, is("failed")).await;
        // The bus dies; what happens meanwhile is seen when it is back.
        shell("systemctl start shop");
        until(&mut shop, &clock, is("good")).await;
        shell("kill -9 $(systemctl show -p MainPID --value dbus.service); systemctl kill -s KILL shop");
        shell("systemctl start dbus");
        until(&mut shop, &clock, is("failed")).await;
        shell("systemctl start shop");
        until(&mut shop, &clock, is("good")).await;
    });
}

/// A time of a unit in microseconds since 1970.
fn micros(unit: &str, property: &str) -> i64 {
    let said = shell(&format!(
        "busctl get-property org.freedesktop.systemd1 /org/freedesktop/systemd1/unit/{unit}_2eservice org.freedesktop.systemd1.Unit {property}"
    ));
    said.trim().trim_start_matches("t ").parse().unwrap()
}

#[test]
fn outside_restarts_in_a_loop_are_counted_and_a_restart_by_hand_takes_none_back() {
    if !inside("loop", "outside_restarts_in_a_loop_are_counted_and_a_restart_by_hand_takes_none_back") {
        return;
    }
    runtime().block_on(async {
        let clock = Clock::new();
        unit("loop.service", "ExecStart=/bin/sh -c 'sleep 0.2; exit 3'\nRestart=always\nRestartSec=100ms\n[Unit]\nStartLimitIntervalSec=0");
        let mut all = source(&["loop"], "1h");
        until(&mut all, &clock, is("inactive")).await;
        shell("systemctl start loop");
        let at_least = |n: f64| move |batch: &Batch| value(batch, "systemd_unit_restarts_total").is_some_and(|now| now >= n);
        let failed = until(&mut all, &clock, is("failed")).await;
        assert_eq!(value(&failed, "systemd_unit_exit_status"), Some(3.0));
        let before = value(&until(&mut all, &clock, at_least(12.0)).await, "systemd_unit_restarts_total").unwrap();
        // One that waits to be started again keeps its count over `systemctl restart`.
        shell("systemctl stop loop; systemctl start loop");
        assert!(shell("systemctl show -p NRestarts --value loop").trim().parse::<f64>().unwrap() < before);
        let mut last = before;
        while last < before + 3.0 {
            let now = value(&until(&mut all, &clock, |_| true).await, "systemd_unit_restarts_total").unwrap();
            assert!(now >= last, "{last} {now}");
            last = now;
        }
        // A oneshot that is done is well, and so is what a timer starts.
        unit("job.service", "Type=oneshot\nExecStart=/bin/true");
        unit("sweep.service", "ExecStart=/bin/true");
        std::fs::write("/etc/systemd/system/sweep.timer", "[Timer]\nOnCalendar=yearly\n").unwrap();
        shell("systemctl daemon-reload; systemctl start job sweep sweep.timer");
        let mut done = source(&["job", "sweep.timer", "sweep"], "1h");
        for name in ["job.service", "sweep.timer", "sweep.service"] {
            until(&mut done, &clock, |batch| batch.instance == name && reason(batch) == "good").await;
        }
        // One that starts for a while says nothing of itself.
        unit("slow.service", "Type=notify\nExecStart=/bin/sleep 1000000\nTimeoutStartSec=1h");
        let mut slow = source(&["slow", "worker@1", "none"], "1h");
        until(&mut slow, &clock, |batch| batch.instance == "none.service" && reason(batch) == "missing").await;
        shell("systemctl start --no-block slow");
        let starting = |batch: &Batch| batch.instance == "slow.service" && reason(batch) == "good";
        assert_eq!(value(&until(&mut slow, &clock, starting).await, "probe_success"), None);
        unit("worker@.service", "ExecStart=/bin/sleep 1000000");
        shell("systemctl start worker@1");
        until(&mut slow, &clock, |batch| batch.instance == "worker@1.service" && reason(batch) == "good").await;
    });
}

#[test]
fn outside_the_version_is_of_the_running_process_also_for_a_user_without_rights() {
    if !inside("version", "outside_the_version_is_of_the_running_process_also_for_a_user_without_rights") {
        return;
    }
    if std::env::var(INSIDE).is_ok_and(|inside| inside == "user") {
        return without_rights();
    }
    shell(
        "mkdir -p /srv/shop/releases/1.0 /srv/shop/releases/1.1; cp /bin/sleep /srv/shop/releases/1.0/shop; cp /bin/sleep /srv/shop/releases/1.1/shop",
    );
    shell("ln -s releases/1.0 /srv/shop/current; cp /bin/sleep /opt/plain");
    unit("shop.service", "ExecStart=/srv/shop/current/shop 1000000");
    unit("plain.service", "ExecStart=/opt/plain 1000000\nUser=nobody");
    shell("sleep 0.1; systemctl start shop plain");
    runtime().block_on(async {
        let clock = Clock::new();
        let mut all = source(&["shop", "plain"], "300ms");
        let of = |unit: &'static str| move |batch: &Batch| batch.instance == unit && reason(batch) == "good";
        let shown = |batch: &Batch| {
            (label(batch, "systemd_unit_info", "version"), value(batch, "systemd_unit_executable_changed"))
        };
        let shop = until(&mut all, &clock, of("shop.service")).await;
        assert_eq!(shown(&shop), ("1.0".into(), Some(0.0)));
        assert_eq!(label(&shop, "systemd_unit_info", "executable"), "/srv/shop/releases/1.0/shop");
        let plain = until(&mut all, &clock, of("plain.service")).await;
        let version = label(&plain, "systemd_unit_info", "version");
        assert!(version.ends_with('Z') && version.len() == 20, "{version}");
        // The link is switched, the other replaced in place; nothing is started again.
        shell("ln -sfn releases/1.1 /srv/shop/current; cp /bin/cat /opt/new; mv /opt/new /opt/plain");
        let changed = |unit: &'static str| {
            move |b: &Batch| of(unit)(b) && value(b, "systemd_unit_executable_changed") == Some(1.0)
        };
        assert_eq!(shown(&until(&mut all, &clock, changed("shop.service")).await).0, "1.0");
        assert_eq!(shown(&until(&mut all, &clock, changed("plain.service")).await).0, version);
        shell("sleep 0.1; systemctl restart shop");
        let running = |b: &Batch| of("shop.service")(b) && label(b, "systemd_unit_info", "version") == "1.1";
        assert_eq!(shown(&until(&mut all, &clock, running).await).1, Some(0.0));
    });
    let program = std::env::current_exe().unwrap().display().to_string();
    let test = "systemd_units::outside_the_version_is_of_the_running_process_also_for_a_user_without_rights";
    let user = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    let said = shell(&format!("chmod 755 {program}; {INSIDE}=user {user} {program} --exact {test} --nocapture"));
    assert!(said.contains("1 passed"), "{said}");
}

/// What the test above does again, in a process without rights.
fn without_rights() {
    assert!(!rustix::process::geteuid().is_root());
    runtime().block_on(async {
        let batch = until(&mut source(&["shop"], "1h"), &Clock::new(), is("good")).await;
        assert_eq!(label(&batch, "systemd_unit_info", "version"), "1.1");
        assert_eq!(label(&batch, "systemd_unit_info", "executable"), "/srv/shop/releases/1.1/shop");
        assert!(value(&batch, "systemd_unit_start_time_seconds").is_some());
    });
}

#[test]
fn outside_a_control_group_that_vanished_is_gone() {
    if !inside("gone", "outside_a_control_group_that_vanished_is_gone") {
        return;
    }
    unit("shop.service", "ExecStart=/bin/sleep 1000000\nMemoryMax=64M\nTasksMax=7\nCPUQuota=50%");
    shell("systemctl start shop");
    let groups = Groups::of_host().unwrap();
    let mut group = groups.of_path("/system.slice/shop.service").unwrap();
    let mut figures = Figures::default();
    group.read(&mut figures).unwrap();
    assert_eq!(
        (figures.memory_limit, figures.pids_limit, figures.cpu_limit),
        (Some(64 << 20), Some(7), Some(0.5)),
        "{figures:?}"
    );
    assert_eq!(figures.pids, Some(1));
    shell("systemctl stop shop");
    assert_eq!((group.read(&mut figures), figures), (Err(Gone), Figures::default()));
    assert!(groups.of_path("/system.slice/shop.service").is_err());
    shell("systemctl start shop");
    assert_eq!(group.read(&mut figures), Err(Gone), "the group of the same name is another one");
    groups.of_path("/system.slice/shop.service").unwrap().read(&mut figures).unwrap();
    assert_eq!(figures.pids, Some(1));
}
