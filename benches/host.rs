//! What a look at this host costs: `[host]` looked at again and again without a pause between, its processor time taken as if it
//! looked once a second; alone, and with processes that are named. Beside it the node exporter, if it is installed: as many
//! scrapes over loopback, the processor time of its process.
//!
//! Run with `cargo bench --bench host [-- LOOKS]`.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot run is to fail")]
#![expect(clippy::print_stdout, reason = "its figures are its output")]
#![expect(clippy::disallowed_methods, reason = "a measurement starts what it measures")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use backstop::base::{Labels, SourceRef, Span, Timestamp};
use backstop::source::common::Common;
use backstop::source::host::{Config, Host};

const LOOKS: u64 = 2000;

fn main() {
    let looks = std::env::args().filter_map(|text| text.parse().ok()).next().unwrap_or(LOOKS);
    let n_processes = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().parse::<u32>().is_ok());
    println!("{looks} looks, {} processes on this host", n_processes.count());
    println!("{:<28}{:>14}{:>10}{:>10}{:>12}", "", "CPU s/min", "ms/look", "series", "resident");
    own("[host]", &[], looks);
    own("[host], 2 names", &["systemd", "postgres"], looks);
    exporter(looks / 10);
}

fn row(name: &str, seconds: f64, looks: u64, series: usize, resident: u64) {
    let each = seconds / looks as f64;
    println!("{name:<28}{:>14.4}{:>10.3}{series:>10}{:>9.1} MB", each * 60.0, each * 1e3, resident as f64 / 1e6);
}

fn own(name: &str, processes: &[&str], looks: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let common = Common {
        manual: false,
        reference: SourceRef::new("host", "host"),
        interval: Span::secs(1),
        timeout: Span::secs(1),
        service: "host".into(),
        app: "bench".into(),
        labels: Labels::empty(),
        optional: false,
        external: false,
        enabled: true,
    };
    let processes = processes.iter().map(|name| name.to_string()).collect();
    let mut host = Host::new(Config { common, ignore: Vec::new(), processes });
    let collect = async {
        let mut series = 0;
        // The first look makes the labels.
        host.collect(Timestamp(0)).await;
        let busy = ticks(std::process::id());
        for i in 0..looks {
            series = host.collect(Timestamp(i.cast_signed() * 1000)).await.samples.len();
        }
        (series, ticks(std::process::id()) - busy)
    };
    let (series, busy) = runtime.block_on(collect);
    row(name, busy, looks, series, resident(std::process::id()));
}

struct Exporter(Child);

impl Drop for Exporter {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn exporter(scrapes: u64) {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let started = Command::new("prometheus-node-exporter")
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(child) = started else {
        println!("prometheus-node-exporter is not installed, and left out");
        return;
    };
    let exporter = Exporter(child);
    let scrape = || -> Option<String> {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
        let mut page = String::new();
        stream.read_to_string(&mut page).ok()?;
        page.starts_with("HTTP/1.0 200").then_some(page)
    };
    let page = (0..200).find_map(|_| {
        let page = scrape();
        if page.is_none() {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        page
    });
    let series = page.unwrap().lines().filter(|line| line.starts_with("node_")).count();
    let busy = ticks(exporter.0.id());
    for _ in 0..scrapes {
        scrape().unwrap();
    }
    row("prometheus-node-exporter", ticks(exporter.0.id()) - busy, scrapes, series, resident(exporter.0.id()));
}

/// The processor time of a process, in seconds.
fn ticks(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap()..].split_whitespace().collect();
    (fields[12].parse::<f64>().unwrap() + fields[13].parse::<f64>().unwrap()) / 100.0
}

/// What a process holds in memory, in bytes.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
