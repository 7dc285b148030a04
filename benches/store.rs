//! What samples cost that are kept: 2,000 series of 20 targets every 5 s for 48 hours, 69 million samples, batch by batch
//! through the store and its archive as an agent does it, in virtual time that ends now. Then a round of 50 rules over
//! windows of an hour, and a real agent that starts on what was written.
//!
//! The data are those of `benches/promql.rs`: half counters, 40 % buckets, 10 % gauges. Records are written one by one, and
//! made durable when a log is closed; a real agent syncs once a second. Run with `cargo bench --bench store [-- HOURS]`.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot run is to fail")]
#![expect(clippy::print_stdout, reason = "its figures are its output")]
#![expect(clippy::disallowed_methods, reason = "a measurement asks the clock and starts what it measures")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use backstop::base::{Batch, Labels, Outcome, Sample, SourceRef, Span, Timestamp};
use backstop::promql::{LOOK_BACK, Reading, compile, evaluate};
use backstop::store::archive::{Archive, Entry, Options, Origin};
use backstop::store::{Limits, Store};
use backstop::sys::clock::Clock;

const STEP: i64 = 5_000;
const TARGETS: usize = 20;
const BOUNDS: [&str; 10] = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf"];

fn main() {
    let hours = std::env::args().nth(1).and_then(|text| text.parse::<i64>().ok()).unwrap_or(48);
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let now = Clock::new().now();
    let (begin, busy) = (Instant::now(), cpu());
    let mut filling = Filling::new(&state.join("samples"), now - Span::hours(hours));
    let rounds = hours * 3_600_000 / STEP;
    for round in 0..rounds {
        filling.round(now - Span::hours(hours) + Span::millis(STEP * round));
    }
    let samples = filling.samples as f64;
    println!("{rounds} rounds of 2,000 series: {:.1} million samples", samples / 1e6);
    let spent = cpu() - busy;
    println!(
        "written           {:.1} s CPU, {:.0} ns a sample, {:.1} s",
        spent,
        spent * 1e9 / samples,
        begin.elapsed().as_secs_f64()
    );
    let bytes = bytes_of(&state.join("samples"));
    println!("on disk           {:.1} MB, {:.2} bytes a sample", bytes as f64 / 1e6, bytes as f64 / samples);
    let at = now - Span::millis(STEP);
    let plans: Vec<_> = rules().iter().map(|text| compile(text).unwrap()).collect();
    for name in ["cold", "warm"] {
        let busy = cpu();
        for plan in &plans {
            assert!(!matches!(evaluate(plan, &filling.store, at, LOOK_BACK), Reading::Failed(_)), "{}", plan.text());
        }
        println!("50 rules of 1 h   {:.1} ms CPU ({name})", (cpu() - busy) * 1e3);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    println!("memory            {} now, {} at its highest", field(&status, "VmRSS"), field(&status, "VmHWM"));
    drop(filling);
    restart(folder.path(), &state);
}

/// A real agent on what was written: how long until a query is answered from samples before its start.
fn restart(folder: &Path, state: &Path) {
    let mut text =
        String::from("[app]\nname = \"shop\"\n[web]\nlisten = \"127.0.0.1:19477\"\n[store]\nmin_free = \"1MiB\"\n");
    text.push_str("[http.api]\nurl = \"http://127.0.0.1:9/\"\n[channel.log.alerts]\nfile = \"/dev/null\"\n");
    for (i, rule) in rules().iter().enumerate() {
        text.push_str(&format!("[rule.r{i}]\nexpr = '''{rule}'''\nwarning = \"present\"\n"));
    }
    let config = folder.join("backstop.toml");
    std::fs::write(&config, text).unwrap();
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
    let begin = Instant::now();
    let mut agent = Command::new(env!("CARGO_BIN_EXE_backstop"))
        .args(["run", "--config"])
        .arg(&config)
        .arg("--state")
        .arg(state)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let answered = loop {
        if begin.elapsed() > Duration::from_secs(60) || agent.try_wait().unwrap().is_some() {
            println!("{}", std::fs::read_to_string(folder.join("log")).unwrap());
            panic!("the agent does not answer");
        }
        if answer().is_some_and(|text| text.contains("\"2000\"")) {
            break begin.elapsed();
        }
        std::thread::park_timeout(Duration::from_millis(2));
    };
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.id())).unwrap();
    println!("restart           {} ms to the first answer, agent {}", answered.as_millis(), field(&status, "VmRSS"));
    agent.kill().unwrap();
    agent.wait().unwrap();
}

fn answer() -> Option<String> {
    let mut stream = TcpStream::connect("127.0.0.1:19477").ok()?;
    let query = "count(rate(%7Bjob=%22app%22%7D%5B1h%5D))";
    write!(stream, "GET /api/v1/query?query={query} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

struct Filling {
    store: Store,
    archive: Archive,
    batches: Vec<Batch>,
    random: Random,
    samples: u64,
    kept: Vec<Sample>,
}

impl Filling {
    fn new(folder: &Path, now: Timestamp) -> Filling {
        let options = Options { max_bytes: 4 << 30, keep: Span::hours(24 * 30), min_free: 0, ..Options::default() };
        let (archive, _) = Archive::open(folder, options, now).unwrap();
        let store = Store::new(Limits::default());
        let batches = (0..TARGETS).map(target).collect();
        Filling { store, archive, batches, random: Random(1), samples: 0, kept: Vec::new() }
    }

    fn round(&mut self, at: Timestamp) {
        for (target, batch) in self.batches.iter_mut().enumerate() {
            batch.at = at;
            for (i, sample) in batch.samples.iter_mut().enumerate() {
                sample.value += match i {
                    0..50 if i % 2 == 0 => self.random.below(40),
                    0..50 => self.random.below(if target.is_multiple_of(10) { 12 } else { 1 }),
                    50..90 => self.random.below(6) + ((i - 50) % 10) as f64 * 6.0,
                    _ => self.random.below(300_000) - 150_000.0,
                };
            }
            let kept = &mut self.kept;
            kept.clear();
            self.store.append_recorded(batch, &mut |labels, _, value| {
                kept.push(Sample { labels: labels.clone(), value, at: None });
            });
            self.samples += kept.len() as u64;
            let origin = Origin::Target {
                source: &batch.source,
                instance: &batch.instance,
                interval: batch.interval,
                good: true,
            };
            self.archive.append(&Entry { origin, at, samples: kept, ended: &[], checkpoint: None }, at).unwrap();
        }
        self.store.retain(at);
        if at.0 / 60_000 != (at.0 - STEP) / 60_000 {
            while let Some(sealing) = self.archive.next_sealing(at).unwrap() {
                sealing.run().unwrap();
            }
            self.archive.retain(at).unwrap();
        }
    }
}

/// A hundred series of one target.
fn target(i: usize) -> Batch {
    let instance = format!("h{i}:9100");
    let mut samples = Vec::new();
    let mut add = |name: &str, more: &[(&str, String)], value: f64| {
        let all = [("__name__", name.to_string()), ("job", "app".into()), ("instance", instance.clone())];
        samples.push(Sample { labels: Labels::new(all.into_iter().chain(more.iter().cloned())), value, at: None });
    };
    for path in 0..25 {
        for code in ["200", "500"] {
            add("app_requests_total", &[("path", format!("/p{path}")), ("code", code.into())], 0.0);
        }
    }
    for path in 0..4 {
        for bound in BOUNDS {
            add("app_latency_seconds_bucket", &[("path", format!("/p{path}")), ("le", bound.into())], 0.0);
        }
    }
    for kind in 0..10 {
        add("app_memory_bytes", &[("kind", format!("k{kind}"))], 5e8);
    }
    Batch {
        source: SourceRef::new("prometheus", "app"),
        instance,
        at: Timestamp(0),
        interval: Span::millis(STEP),
        outcome: Outcome::Good,
        samples,
        checkpoint: None,
        holds: false,
        exhibits: Vec::new(),
    }
}

/// Fifty rules with windows of an hour.
fn rules() -> Vec<String> {
    let mut rules = Vec::new();
    for i in 0..10 {
        let path = format!("/p{i}");
        rules.extend([
            format!("sum by (instance) (rate(app_requests_total{{code=\"500\",path=\"{path}\"}}[1h])) / sum by (instance) (rate(app_requests_total{{path=\"{path}\"}}[1h])) > 0.1"),
            format!("histogram_quantile(0.9{i}, sum by (le, instance) (rate(app_latency_seconds_bucket[1h]))) > 5"),
            format!("deriv(app_memory_bytes{{kind=\"k{i}\"}}[1h]) > 1e9"),
            format!("avg_over_time(app_memory_bytes{{kind=\"k{i}\"}}[1h]) > 1e12"),
            format!("increase(app_requests_total{{code=\"200\",path=\"{path}\"}}[1h]) == 0"),
        ]);
    }
    rules
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound) as f64
    }
}

/// Seconds of processor time of this process.
fn cpu() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn field(status: &str, name: &str) -> String {
    let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    let kib: f64 = line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).unwrap_or(f64::NAN);
    format!("{:.1} MiB", kib / 1024.0)
}

fn bytes_of(folder: &Path) -> u64 {
    std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum()
}
