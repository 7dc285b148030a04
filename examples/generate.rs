//! Writes an OpenMetrics file of a made-up shop: for measurements and comparisons, no part of the program.
//!
//! `cargo run --release --example generate -- SERIES FILE [--end UNIX] [--minutes 15] [--step 15]`: of a hundred series of
//! an instance 50 are request counters, 40 histogram buckets, 10 gauges. The same arguments give the same file.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use clap::Parser;

/// Writes an OpenMetrics file.
#[derive(Parser)]
struct Args {
    /// How many series; whole instances of a hundred each, at least one.
    series: u64,
    /// Where to; `-` is standard output.
    file: PathBuf,
    /// The newest time, in Unix seconds.
    #[arg(long, default_value_t = 1_700_000_400)]
    end: i64,
    /// How long the data reach back.
    #[arg(long, default_value_t = 15)]
    minutes: i64,
    /// Seconds between two samples.
    #[arg(long, default_value_t = 15)]
    step: i64,
}

/// The upper edges of the histogram.
const EDGES: [&str; 10] = ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1", "2", "5", "+Inf"];

/// xorshift64*, the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % bound
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    if args.file.as_os_str() == "-" {
        return write(&args, BufWriter::with_capacity(1 << 20, std::io::stdout().lock()));
    }
    #[expect(
        clippy::disallowed_types,
        reason = "an example writes its own file; the rooms of the program do not apply"
    )]
    let file = std::fs::File::create(&args.file)?;
    write(&args, BufWriter::with_capacity(1 << 20, file))
}

fn write(args: &Args, mut out: impl Write) -> Result<(), Box<dyn std::error::Error>> {
    let start = args.end - args.minutes * 60;
    let times: Vec<i64> = (0..).map(|i| start + i * args.step).take_while(|at| *at <= args.end).collect();
    let instances = (args.series / 100).max(1);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    writeln!(out, "# HELP shop_requests Requests by route and status.\n# TYPE shop_requests counter")?;
    for i in 0..instances {
        // Every tenth instance has errors worth an alert.
        let errors = if i % 10 == 3 { 14 } else { 2 };
        for route in 0..25 {
            for (status, rise) in [("200", 45), ("500", errors)] {
                let series = format!(
                    "shop_requests_total{{instance=\"shop-{i}:8080\",job=\"shop\",route=\"/r{route}\",status=\"{status}\"}}"
                );
                let mut value = random.below(1_000_000);
                for at in &times {
                    writeln!(out, "{series} {value} {at}")?;
                    value += random.below(rise);
                }
            }
        }
    }
    writeln!(out, "# TYPE shop_duration_seconds histogram")?;
    for i in 0..instances {
        for route in 0..4 {
            let mut counts = vec![[0u64; 10]; times.len()];
            let mut held = [0u64; 10];
            for column in &mut counts {
                let mut below = 0;
                for value in &mut held {
                    below += random.below(5);
                    *value += below;
                }
                *column = held;
            }
            for (k, edge) in EDGES.iter().enumerate() {
                let series = format!(
                    "shop_duration_seconds_bucket{{instance=\"shop-{i}:8080\",job=\"shop\",le=\"{edge}\",route=\"/r{route}\"}}"
                );
                for (at, column) in times.iter().zip(&counts) {
                    writeln!(out, "{series} {} {at}", column[k])?;
                }
            }
        }
    }
    writeln!(out, "# TYPE shop_memory_bytes gauge")?;
    for i in 0..instances {
        for part in 0..10 {
            let series = format!("shop_memory_bytes{{instance=\"shop-{i}:8080\",job=\"shop\",part=\"p{part}\"}}");
            let mut value = 1e8 + random.below(900_000_000) as f64;
            for at in &times {
                writeln!(out, "{series} {value} {at}")?;
                value += random.below(300_000) as f64 - 100_000.0;
            }
        }
    }
    writeln!(out, "# EOF")?;
    out.flush()?;
    Ok(())
}
