//! What a scrape costs: a page of known series from memory, with the allocations counted; then pages over HTTP, from the
//! socket into the store, in processor time of this process alone. The server is a process of its own.
//!
//! Each series is about 106 bytes of the page, and three of ten change with each look. Run with
//! `cargo bench --bench scrape [-- SERIES…]`.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot run is to fail")]
#![expect(clippy::print_stdout, reason = "its figures are its output")]
#![expect(clippy::disallowed_methods, reason = "a measurement starts what it measures")]

use std::alloc::System;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use backstop::base::{Labels, Sample, SourceRef, Span, Timestamp};
use backstop::source::common::{Common, Outside, Target};
use backstop::source::exposition::{Format, read};
use backstop::source::prometheus::{Config, Keep, Page, Prometheus};
use backstop::store::{Limits, Store};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const WARM: usize = 5;
const ROUNDS: usize = 40;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    if let [serve, n] = &words[..]
        && serve == "serve"
    {
        return serve_pages(n.parse().unwrap());
    }
    println!("{:44}{:>12}{:>12}{:>14}", "page in memory", "MB/s", "ns/sample", "allocations");
    in_memory("1 MB, tokens only", 9_400, &mut Tokens);
    in_memory("1 MB, known series into samples", 9_400, &mut Known::new(true));
    in_memory("1 MB, known series, lines in disorder", 9_400, &mut Known::new(false));
    in_memory("6.4 MB, known series into samples", 60_000, &mut Known::new(true));
    let sizes =
        if words.is_empty() { vec![1_000, 10_000, 50_000] } else { words.iter().map(|n| n.parse().unwrap()).collect() };
    println!("\n{:44}{:>12}{:>12}{:>14}", "socket to store, one target", "ms/scrape", "us/sample", "of it store");
    for n in sizes {
        over_http(n);
    }
}

/// Two pages of the same `n` series: three of ten values differ.
fn pages(n: usize) -> [String; 2] {
    [0, 1].map(|turn| {
        let mut page = String::from("# HELP shop_requests_total Requests.\n# TYPE shop_requests_total counter\n");
        for i in 0..n {
            let value = i as f64 * 17.25 + if i % 10 < 3 { f64::from(turn) } else { 0.0 };
            let (route, code) = (i / 4, [200, 204, 404, 500][i % 4]);
            writeln!(
                page,
                "shop_requests_total{{method=\"GET\",route=\"/api/v1/items/{route:06}\",status=\"{code}\",instance_id=\"shop-{:02}\"}} {value}",
                i % 7
            )
            .unwrap();
        }
        page
    })
}

trait Reads {
    fn page(&mut self, page: &[u8]) -> usize;
    fn lines(&self, page: String, _turn: usize) -> String {
        page
    }
}

/// The reader alone: series, values and times, nothing looked up.
struct Tokens;

impl Reads for Tokens {
    fn page(&mut self, page: &[u8]) -> usize {
        let mut sum = 0.0;
        let n = read(page, Format::Text, |point| {
            sum += point.value;
            Ok(())
        });
        std::hint::black_box(sum);
        n.unwrap()
    }
}

/// As a target does it, into a list of samples that is used again.
struct Known {
    page: Page,
    target: Target,
    samples: Vec<Sample>,
    in_order: bool,
}

impl Known {
    fn new(in_order: bool) -> Known {
        let target = Target::new(&common(), "127.0.0.1:80".into());
        Known { page: Page::new(100_000, &Keep::All, &[]), target, samples: Vec::new(), in_order }
    }
}

impl Reads for Known {
    fn page(&mut self, page: &[u8]) -> usize {
        self.samples.clear();
        // As pieces come from a socket.
        self.page.read(TYPE, page.chunks(16 << 10), &self.target, &mut self.samples).unwrap();
        self.samples.len()
    }

    fn lines(&self, page: String, turn: usize) -> String {
        if self.in_order {
            return page;
        }
        let mut lines: Vec<&str> = page.lines().collect();
        let n = lines.len();
        for i in 0..n {
            lines.swap(i, (i * 7919 + turn * 104_729) % n);
        }
        lines.join("\n") + "\n"
    }
}

fn in_memory(name: &str, n: usize, reads: &mut dyn Reads) {
    let pages: Vec<String> = (0..4).map(|turn| reads.lines(pages(n)[turn % 2].clone(), turn)).collect();
    for page in &pages {
        assert_eq!(reads.page(page.as_bytes()), n);
    }
    let begin = cpu();
    let region = Region::new(ALLOCATOR);
    for round in 0..ROUNDS {
        assert_eq!(reads.page(pages[round % 4].as_bytes()), n);
    }
    let change = region.change();
    let spent = cpu() - begin;
    let bytes: usize = (0..ROUNDS).map(|round| pages[round % 4].len()).sum();
    println!(
        "{name:44}{:>12.0}{:>12.1}{:>14}",
        bytes as f64 / spent / 1e6,
        spent * 1e9 / (n * ROUNDS) as f64,
        change.allocations + change.reallocations
    );
    assert_eq!(change.allocations + change.reallocations, 0, "a page of known series allocates nothing");
}

fn common() -> Common {
    Common {
        reference: SourceRef::new("prometheus", "shop"),
        interval: Span::secs(15),
        manual: false,
        timeout: Span::secs(10),
        service: "shop".into(),
        app: "shop".into(),
        labels: Labels::empty(),
        optional: false,
        external: false,
        enabled: true,
    }
}

fn over_http(n: usize) {
    let mut server = Server::start(n);
    let config = Config {
        common: common(),
        url: server.url.parse().unwrap(),
        auth: None,
        tls: Default::default(),
        max_samples: 200_000,
        max_body: 64 << 20,
        keep: Keep::All,
        drop: Vec::new(),
    };
    let mut source = Prometheus::new(config, Outside::of_process());
    let mut store = Store::new(Limits::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut begin, mut appending) = (0.0, 0.0);
    for round in 0..WARM + ROUNDS {
        if round == WARM {
            (begin, appending) = (cpu(), 0.0);
        }
        let batch = runtime.block_on(source.collect(Timestamp(1_700_000_000_000 + 15_000 * round as i64)));
        assert!(batch.samples.len() > n, "{:?}", batch.outcome);
        let before = cpu();
        assert_eq!(store.append(&batch).refused, 0);
        drop(batch);
        appending += cpu() - before;
    }
    let spent = cpu() - begin;
    let a_sample = |seconds: f64| seconds * 1e6 / (n * ROUNDS) as f64;
    println!(
        "{:44}{:>12.2}{:>12.3}{:>14.3}",
        format!("{n} series"),
        spent * 1e3 / ROUNDS as f64,
        a_sample(spent),
        a_sample(appending)
    );
    server.stop();
}

/// Seconds of processor time that this process had, all its threads.
fn cpu() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let time = |task: std::fs::DirEntry| -> f64 {
        let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0.0)
    };
    tasks.map(|task| time(task.unwrap())).sum::<f64>() / 1e9
}

struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(n: usize) -> Server {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["serve", &n.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Server { child, url: url.trim().to_string() }
    }

    fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// The other process: the two pages in turns, on one connection after the other.
fn serve_pages(n: usize) {
    let answers = pages(n)
        .map(|page| format!("HTTP/1.1 200 OK\r\ncontent-type: {TYPE}\r\ncontent-length: {}\r\n\r\n{page}", page.len()));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("http://{}/metrics", listener.local_addr().unwrap());
    let mut turn = 0;
    for stream in listener.incoming() {
        answer(stream.unwrap(), &answers, &mut turn);
    }
}

fn answer(mut stream: TcpStream, answers: &[String; 2], turn: &mut usize) {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut piece) {
        request.extend_from_slice(&piece[..n]);
        if request.ends_with(b"\r\n\r\n") {
            request.clear();
            *turn += 1;
            if stream.write_all(answers[*turn % 2].as_bytes()).is_err() {
                return;
            }
        }
    }
}
