//! Serves a dump over Prometheus's read API: for measurements and comparisons, no part of the program.
//!
//! `cargo run --release --example serve -- FILE [--listen 127.0.0.1:9478]`: reads an OpenMetrics file with times into
//! memory, says so on standard output, and answers until it is ended.

#![expect(clippy::print_stdout, reason = "the caller waits for the line that says it is ready")]

use std::path::PathBuf;
use std::sync::Arc;

use backstop::source::openmetrics_file;
use backstop::store::{Limits, Store};
use backstop::sys::clock::{Clock, Stopwatch};
use backstop::sys::stream;
use backstop::sys::tasks::Tasks;
use backstop::web::query::{Api, Fixed, Memory};
use backstop::web::serve_tcp;
use clap::Parser;

/// Serves an OpenMetrics file over Prometheus's read API.
#[derive(Parser)]
struct Args {
    /// The file.
    file: PathBuf,
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:9478")]
    listen: String,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let watch = Stopwatch::start();
    let mut memory = Memory::default();
    let summary = openmetrics_file::read(stream::open(&args.file)?, &mut memory, |_| {})?;
    let read = watch.seconds();
    let mut store = Store::new(Limits::default());
    for stretch in memory.stretches() {
        store.insert(&stretch);
    }
    let whole = watch.seconds();
    let router = Api::new(Fixed(Arc::new(store)), Arc::new(Clock::new())).router();
    let listener = tokio::net::TcpListener::bind(&args.listen).await?;
    println!(
        "{} series, {} samples, read in {read:.2} s, ready after {whole:.2} s: http://{}",
        summary.series,
        summary.samples,
        listener.local_addr()?
    );
    let tasks = Tasks::new();
    serve_tcp(listener, router, tasks.stop_signal()).await;
    Ok(())
}
