//! What watching containers costs: `cargo bench --bench containers [N [SECONDS]]` starts N (20) containers of the machine's own
//! engine from the image of `BACKSTOP_BENCH_IMAGE`, or one that it makes of busybox, watches them each second for SECONDS (60), and removes them. It says
//! how much processor time the source took, and how much the engine did beside what it takes unwatched.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot run is to fail")]
#![expect(clippy::print_stdout, reason = "its figures are its output")]
#![expect(clippy::disallowed_methods, reason = "a measurement starts programs and waits")]

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use backstop::base::{Labels, SourceRef, Span};
use backstop::source::common::{Common, Outside};
use backstop::source::container::Container;
use backstop::source::container::config::Config;
use backstop::source::container::meant::Meant;
use backstop::sys::clock::Clock;

const PROJECT: &str = "backstop-bench";

/// The clock ticks of a second in `/proc/PID/stat`.
const TICKS: f64 = 100.0;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let n: usize = arguments.next().map_or(20, |n| n.parse().unwrap());
    let seconds: u64 = arguments.next().map_or(60, |n| n.parse().unwrap());
    let made = Made::new(n);
    let engine = std::fs::read_to_string("/var/run/docker.pid").ok().and_then(|text| text.trim().parse().ok());
    let engine = engine.unwrap_or_else(|| pid_of("dockerd"));
    let quiet = used(engine);
    std::thread::sleep(Duration::from_secs(seconds / 4));
    let quiet = (used(engine) - quiet) * 4.0;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (batches, samples, cpu, own) = runtime.block_on(watch(seconds, engine));
    println!("{n} containers, each second for {seconds} s: {batches} batches, {samples} samples");
    println!("source: {:.3} s of processor time ({:.3} s a minute)", cpu, cpu * 60.0 / seconds as f64);
    println!("engine: {own:.2} s while watched, {quiet:.2} s in the same time unwatched");
    drop(made);
}

async fn watch(seconds: u64, engine: u32) -> (usize, usize, f64, f64) {
    let common = Common {
        reference: SourceRef::new("container", "bench"),
        interval: Span::secs(1),
        manual: false,
        timeout: Span::secs(1),
        service: "bench".into(),
        app: "bench".into(),
        labels: Labels::empty(),
        optional: false,
        external: false,
        enabled: true,
    };
    let meant = Meant::Project { project: PROJECT.into(), services: BTreeSet::new() };
    let config = Config { common, has_service: false, meant, grace: Span::secs(30) };
    let mut source = Container::new(config, &Outside::of_process());
    let clock = Clock::new();
    let own = std::process::id();
    let (before, engine_before, start) = (used(own), used(engine), Instant::now());
    let (mut batches, mut samples) = (0, 0);
    while start.elapsed() < Duration::from_secs(seconds) {
        let batch = source.next(&clock).await;
        batches += 1;
        samples += batch.samples.len();
    }
    (batches, samples, used(own) - before, used(engine) - engine_before)
}

/// The containers; removed with the value.
struct Made(Vec<String>);

impl Made {
    fn new(n: usize) -> Made {
        let image = std::env::var("BACKSTOP_BENCH_IMAGE").unwrap_or_else(|_| import());
        let mut made = Made(Vec::new());
        for i in 0..n {
            let name = format!("{PROJECT}-{i}");
            let project = format!("com.docker.compose.project={PROJECT}");
            let service = format!("com.docker.compose.service=s{i}");
            let script = "while true; do busybox sleep 1; done";
            let arguments = [
                "run",
                "-d",
                "--network=none",
                "--name",
                &name,
                "--label",
                &project,
                "--label",
                &service,
                &image,
                "/bin/sh",
                "-c",
                script,
            ];
            made.0.push(name.clone());
            docker(&arguments);
        }
        made
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let names = self.0.iter().map(String::as_str);
        let arguments: Vec<&str> = ["rm", "-f"].into_iter().chain(names).collect();
        drop(Command::new("docker").args(arguments).output());
        drop(Command::new("docker").args(["rmi", "backstop-bench:1"]).output());
    }
}

/// An image with a shell.
fn import() -> String {
    let script = "set -e; d=$(mktemp -d); mkdir $d/bin; cp $(command -v busybox) $d/bin/busybox; \
                  ln -s busybox $d/bin/sh; tar -C $d -c . | docker import - backstop-bench:1; rm -r $d";
    assert!(Command::new("sh").args(["-c", script]).output().unwrap().status.success(), "no image could be made");
    "backstop-bench:1".into()
}

fn docker(arguments: &[&str]) {
    let output = Command::new("docker").args(arguments).output().unwrap();
    assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The first process of this name.
fn pid_of(name: &str) -> u32 {
    let output = Command::new("pidof").args(["-s", name]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or_else(|_| panic!("no {name} runs"))
}

/// The processor time of a process so far, in seconds.
fn used(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap() / TICKS).sum()
}
