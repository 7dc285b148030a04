//! `backstop backtest`: the rules over what was recorded, in virtual time. What would have fired, when and for how long, how
//! near the others came, and what would have been taken back.
//!
//! It is the engine of the agent that judges. Nothing is started, sent or written, and a running agent is not disturbed.
//!
//! Exit: 0 done, 2 the command line, the configuration or the data are wrong, 3 there are no data.

mod data;
mod deployments;
mod groups;
mod json;
mod looks;
mod nearest;
mod periods;
mod record;
mod rollbacks;
mod rules;
mod show;
#[cfg(test)]
mod tests;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::out::Out;
use super::replay::{self, Replay};
use super::{Context, Exit, Failure, place};
use crate::agent::wire;
use crate::base::{SourceRef, Span, Timestamp};
use crate::engine::{self, SourceInfo};
use crate::sys::clock::Stopwatch;
use crate::sys::tasks::Tasks;
use data::{Data, Recorded};
use deployments::Word;
use groups::Groups;
use looks::Looks;
use record::Record;
use rules::Rules;

/// How far back is read where nobody says.
const LAST: Span = Span::hours(14 * 24);

/// How often progress is said.
const SAY_EVERY: Span = Span::secs(2);

/// What is said when it was ended by hand.
const STOPPED: &str = "stopped before the end";

/// Bytes of samples that may be held at least: a back-test on a small host is to see what a long reach asks for.
const MOST_PAST: usize = 1 << 30;

/// Runs the rules over recorded data.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "A time is written 2025-10-28T09:41:00Z, as Unix seconds, or as an age: 5m; of a file, the age at its end.\n\
                        The data are the samples in the state folder, also while an agent runs there, or a file as\n\
                        `backstop import` takes it. Nothing is started, sent or written.\n\n\
                        Exit codes: 0 done, 2 command line, configuration or data wrong, 3 no data in that time."
)]
pub struct Args {
    /// Rules to run instead of the configured ones: a configuration, a file of nothing but [rule.NAME], or one of Prometheus.
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// How far back recorded samples are taken; 14d where it is not given.
    #[arg(long, value_name = "DURATION", conflicts_with = "data")]
    last: Option<String>,
    /// An OpenMetrics file with times, instead of what was recorded; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Adds a deployment at this time; may be repeated.
    #[arg(long, value_name = "TIME[=VERSION]")]
    deploy: Vec<String>,
    /// Shows the whole timeline.
    #[arg(long)]
    all: bool,
    /// Marks everything that would have happened as a drill.
    #[arg(long)]
    drill: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// What the rules are from, as people call it.
    pub rules_from: String,
    /// The first and the last look.
    pub span: (Timestamp, Timestamp),
    /// How many samples were played.
    pub samples: u64,
    /// The mode in force for rollbacks.
    pub mode: &'static str,
    /// Whether the configuration has steps.
    pub has_steps: bool,
    /// Everything that happened.
    pub record: Record,
    /// What was left out or could not be read.
    pub notes: Vec<String>,
    /// Whether it is a drill.
    pub drill: bool,
}

/// What helps where nothing was recorded.
const NO_SAMPLES: &str = "an agent records them while it runs; its folder is named by --state DIR or --config FILE; a recording is played by --data FILE";

/// Reads, plays, and says what happened.
pub async fn run(context: &mut Context, args: &Args) -> Result<Exit, Failure> {
    let rules = rules::find(&context.globals, args.rules.as_deref())?;
    // Ended by hand, it still removes its temporary files.
    let stop = Arc::new(AtomicBool::new(false));
    let (mut tasks, told) = (Tasks::new(), stop.clone());
    let over = tasks.stop_signal();
    tasks.spawn("interrupt", async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => told.store(true, Ordering::Relaxed),
            () = over.cancelled() => {}
        }
    });
    let result = tried(context, args, rules, stop);
    tasks.finish(Span::secs(1)).await;
    result
}

fn tried(context: &mut Context, args: &Args, rules: Rules, stop: Arc<AtomicBool>) -> Result<Exit, Failure> {
    let now = context.clock.now();
    let data = match &args.data {
        Some(file) => Data::of_file(file, now, &stop)?,
        None => {
            let last = args.last.as_deref().map_or(Ok(LAST), Span::parse);
            let help = || Some("a number and its unit: --last 14d, --last 6h".into());
            let last = last.map_err(|why| Failure::usage(format!("--last: {why}"), help()))?;
            let recorded = Data::recorded(&context.place().state, now - last, now);
            recorded.map_err(|why| Failure { help: Some(NO_SAMPLES.into()), ..Failure::unknown(why) })?
        }
    };
    let mut planned = deployments::added(&args.deploy, data.end()).map_err(|why| Failure::usage(why, None))?;
    if args.data.is_none() {
        planned.extend(deployments::recorded(&context.place().state));
    }
    let zone = place::zone(&context.globals);
    let mut progress = Progress::new(std::io::stderr().is_terminal(), stop);
    let Some(report) = play(rules, data, planned, args.drill, &zone, &mut progress)? else {
        let help = Some("choose a longer time, or play a recording: --last 14d, --data FILE".into());
        return Err(Failure { help, ..Failure::unknown("there are no samples in that time") });
    };
    if context.json() {
        context.out.json(&json::json(&report));
    } else {
        context.out.text(&show::render(&report, &zone, args.all));
    }
    Ok(Exit::Good)
}

/// Plays the data through the rules; nothing where there are none.
///
/// # Errors
/// When the data cannot be read.
fn play(
    rules: Rules,
    mut data: Data,
    planned: Vec<deployments::Planned>,
    drill: bool,
    zone: &jiff::tz::TimeZone,
    progress: &mut Progress,
) -> Result<Option<Report>, Failure> {
    let sources = wire::sources(&rules.config);
    let base = wire::engine_config(&rules.config, "backtest", &sources);
    let mut looks = Looks::new(rules.config.sources.iter().map(|source| source.reference().clone()).collect());
    let mut record = Record::new(&base.rules);
    let mut groups = Groups::new(rules.groups, base.limits.clone(), base.look_back, &mut record);
    let has_steps = !base.rollback.ladder.is_empty();
    let mut base = Some(base);
    let mut player: Option<Player> = None;
    let mut planned = Some(planned);
    let mut notes = Vec::new();
    let mut span = None;
    loop {
        let slice = data.slice().map_err(|why| Failure::usage(format!("the data cannot be read: {why}"), None))?;
        let is_last = slice.is_none();
        let (batches, until) = match slice {
            Some((recent, until)) => (looks.of(recent), until),
            None => (looks.rest(), data.end()),
        };
        if let (Some(first), Some(config), None) = (batches.first(), &mut base, &player) {
            let begin = first.at;
            let (words, outside) = deployments::words(planned.take().unwrap_or_default(), begin, data.end());
            notes.extend(deployments::left_out(&outside, begin, zone));
            let config = engine_config(config.clone(), &looks);
            let replay = Replay::new(config, begin, data.past(begin), &mut record);
            player = Some(Player { replay, words: words.into_iter().rev().collect() });
        }
        for batch in batches {
            let Some(player) = &mut player else { break };
            if progress.stop.load(Ordering::Relaxed) {
                return Err(Failure::unknown(STOPPED));
            }
            let (first, _) = span.unwrap_or((batch.at, batch.at));
            span = Some((first, batch.at));
            player.say_until(batch.at, &mut record, &mut notes, zone);
            record.look(&batch);
            groups.look(&batch, &mut record);
            player.replay.look(batch, &mut record);
        }
        progress.say(data.samples, until, zone);
        if is_last {
            break;
        }
    }
    let (Some(mut player), Some(span)) = (player, span) else { return Ok(None) };
    player.say_until(span.1, &mut record, &mut notes, zone);
    player.replay.pass_until(span.1, &mut record);
    groups.pass_until(span.1, &mut record);
    record.close(span.1);
    notes.extend(data.trouble().iter().cloned());
    let mode = player.replay.engine().config().rollback.mode.as_str();
    let (rules_from, samples) = (rules.name, data.samples);
    Ok(Some(Report { rules_from, span, samples, mode, has_steps, record, notes, drill }))
}

/// The engine for these looks: the configured sources, and those that only the data hold.
fn engine_config(mut base: engine::Config, looks: &Looks) -> engine::Config {
    let known: Vec<SourceRef> = base.sources.iter().map(|info| info.source.clone()).collect();
    let mut new: Vec<SourceRef> = looks.targets().keys().map(|(source, _)| source.clone()).collect();
    new.dedup();
    let new = new.into_iter().filter(|source| !known.contains(source));
    let new = new.map(|source| SourceInfo::own(source, vec!["up", "probe_success"]));
    let sources = std::mem::take(&mut base.sources).into_iter().chain(new).collect();
    base.limits.max_bytes = base.limits.max_bytes.max(MOST_PAST);
    replay::engine_config(base, sources, None)
}

/// The engine, and what is still to be said to it; the next last.
struct Player {
    replay: Replay<Recorded>,
    words: Vec<(Timestamp, Word)>,
}

impl Player {
    fn say_until(&mut self, to: Timestamp, record: &mut Record, notes: &mut Vec<String>, zone: &jiff::tz::TimeZone) {
        while let Some((at, word)) = self.words.pop_if(|(at, _)| *at <= to) {
            let command = word.command(self.replay.engine().state());
            let reply = self.replay.command(at, command, record);
            notes.extend(word.refusal(at, reply.as_ref(), zone));
        }
    }
}

/// Says how far it is, where somebody looks.
struct Progress {
    watch: Stopwatch,
    next: Span,
    is_wanted: bool,
    /// Set when nobody waits for the end any more.
    stop: Arc<AtomicBool>,
}

impl Progress {
    fn new(is_wanted: bool, stop: Arc<AtomicBool>) -> Progress {
        Progress { watch: Stopwatch::start(), next: SAY_EVERY, is_wanted, stop }
    }

    fn say(&mut self, samples: u64, until: Timestamp, zone: &jiff::tz::TimeZone) {
        if self.is_wanted && self.watch.elapsed() >= self.next {
            self.next = self.watch.elapsed() + SAY_EVERY;
            Out::error(&format!("{samples} samples played, up to {}", until.date_clock(zone)));
        }
    }
}
