//! What a look costs: CPU time of the thread that looks, the server's thread not counted.
//!
//! `cargo bench --bench sources -- http` asks a server on loopback for a small JSON document, with one expectation on it:
//! as fast as it goes, and paced, when caches have cooled between two looks as they do in an agent. The figure to compare
//! is that of one look each second for a minute.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot run is to fail")]
#![expect(clippy::print_stdout, reason = "its figures are its output")]
#![expect(clippy::disallowed_methods, reason = "a measurement asks the clock, waits, and starts what it measures")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use backstop::agent::wire;
use backstop::base::{Outcome, Timestamp};
use backstop::config::{self, Options};
use backstop::source::Source;

const BODY: &str = r#"{"status": "ok", "version": "1.4.2", "databases": {"sqlite": "connected", "influxdb": "connected"}, "queue": {"length": 7}}"#;

fn main() {
    let part = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    if part.is_none_or(|part| part == "http") {
        http();
    }
}

fn http() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            drop(std::thread::spawn(move || answer(stream)));
        }
    }));
    // All of a look runs on this one thread, so its clock counts all of it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!("an HTTP look with an expectation on JSON");
    for (name, interval) in [("kept connection", "1s"), ("new connection", "15s")] {
        for (pace, looks) in [(Duration::ZERO, 5_000), (Duration::from_millis(100), 120)] {
            let mut source = source(&format!(
                "[http.x]\nurl = 'http://{address}/health'\ninterval = '{interval}'\nexpect = ['json databases.sqlite == \"connected\"']"
            ));
            // The first look loads what the others have.
            runtime.block_on(look(&mut source));
            let mut spent = 0.0;
            for _ in 0..looks {
                std::thread::sleep(pace);
                let begin = cpu();
                runtime.block_on(look(&mut source));
                spent += cpu() - begin;
            }
            let each = spent / f64::from(looks);
            let way = if pace.is_zero() { "one after the other" } else { "each 100 ms" };
            println!("{name:16} {way:20} {:6.1} us CPU, {:.4} CPU s/min at one a second", each * 1e6, each * 60.0);
        }
    }
}

async fn look(source: &mut Source) {
    let batch = source.collect(Timestamp(1_761_640_000_000)).await;
    assert_eq!(batch.outcome, Outcome::Good);
}

fn source(table: &str) -> Source {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backstop.toml");
    std::fs::write(&path, table).unwrap();
    let loaded = config::load(&Options {
        path: Some(path),
        sets: Vec::new(),
        state: Some("/var/lib/backstop".into()),
        stderr_is_terminal: false,
        host: "web-1".into(),
        env: |_| None,
    });
    wire::sources(loaded.config.as_ref().unwrap()).pop().unwrap()
}

fn answer(mut stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut request = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut request) {
        let closes = request[..n].windows(17).any(|w| w.eq_ignore_ascii_case(b"connection: close"));
        let text = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{BODY}",
            BODY.len()
        );
        if stream.write_all(text.as_bytes()).is_err() || closes {
            return;
        }
    }
}

fn cpu() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
