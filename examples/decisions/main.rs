//! How policies that watch a deployment decide: false alarms and times to find, of ours and of what else there is.
//!
//! `cargo run --release --example decisions -- --seed 1 --watches 200 --format table`. With `--values FILE.csv` it
//! judges recorded minutes instead. docs/DECISIONS.md says how to read it.

mod args;
mod bench;
mod memory;
#[expect(dead_code, reason = "tests use the rest of it")]
mod noise;
mod ours;
mod rivals;
mod scenario;
mod score;
mod table;
mod traffic;
mod values;
mod watch;
mod world;

use std::process::ExitCode;

use clap::Parser;

#[expect(clippy::print_stderr, reason = "what is wrong is said to the one who asked")]
fn main() -> ExitCode {
    let args = args::Args::parse();
    match args.run(&mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::from(2)
        }
    }
}
