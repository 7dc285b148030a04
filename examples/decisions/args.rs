//! What the command line says, and what follows from it.

use std::io::Write;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use super::bench::{Plan, policies, run};
use super::scenario::{World, settings};
use super::{table, values};

/// Measures how policies that watch a deployment decide.
#[derive(Debug, Parser)]
pub struct Args {
    /// Of all random numbers: the same seed gives the same figures
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Watches a row
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub watches: u32,
    /// A table with its notes, or one JSON object a line
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
    /// Only these kinds of signals
    #[arg(long, value_enum)]
    pub world: Vec<World>,
    /// Judge the values of this file instead: `time,value` a line, RFC 3339 or Unix seconds
    #[arg(long, value_name = "FILE.csv")]
    pub values: Option<PathBuf>,
    /// When the deployment was, of `--values`; a line `# t0 = TIME` in the file says it as well
    #[arg(long, requires = "values", value_name = "TIME")]
    pub t0: Option<String>,
    /// Threads that share the work; the figures do not depend on it
    #[arg(long)]
    pub threads: Option<usize>,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

impl Args {
    /// Does what was asked.
    ///
    /// # Errors
    /// What is wrong with the file of `--values`, or that the output cannot be written.
    pub fn run(&self, out: &mut dyn Write) -> Result<(), String> {
        if let Some(file) = &self.values {
            let record = values::read(file, self.t0.as_deref())?;
            return written(values::report(&record, out));
        }
        let all = || World::value_variants().to_vec();
        let worlds = if self.world.is_empty() { all() } else { self.world.clone() };
        let threads = self.threads.or_else(|| std::thread::available_parallelism().ok().map(Into::into)).unwrap_or(1);
        let settings = worlds.into_iter().flat_map(settings).collect();
        let rows = run(&Plan { seed: self.seed, watches: self.watches as usize, settings, threads });
        written(match self.format {
            Format::Json => table::json(&rows, out),
            Format::Table => {
                let policies = policies();
                let notes: Vec<_> = policies.iter().map(|policy| (policy.name(), policy.note())).collect();
                table::text(&rows, &notes, out)
            }
        })
    }
}

/// A reader that went away (`| head`) is no mistake.
fn written(result: std::io::Result<()>) -> Result<(), String> {
    match result {
        Err(problem) if problem.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|problem| format!("the output cannot be written: {problem}")),
    }
}
