//! `[command.NAME]`: runs a program of the host, or one inside of a container, and judges what it answers.
//!
//! Enters: one run of a program, with arguments, a clean environment and nothing on its input. Leaves:
//! `command_exit_code` (128 + n when signal n ended it), `probe_expect_ok{expect}`, `probe_value{name}`; with
//! `format = "prometheus"` the samples of the page that it printed; with `format = "nagios"` `command_perfdata{label}`
//! and its `_warn`, `_crit` (with `bound` and, where the alert is within, `alert="inside"`), `_min`, `_max`, and
//! `command_perfdata_rejected`; beside the `probe_*` of every source.
//!
//! A look takes at most its timeout and three seconds, in which the program and its group are ended. At most
//! [`MAX_PROGRAMS`](super::common::MAX_PROGRAMS) programs run at once; waiting for a place does not count against the
//! timeout, and a look that got none within its interval fails as `busy`.
//!
//! Reasons: `not-found`, `permission`, `start`, `secret`, `busy`, `timeout`, `too-large`, `format`, `too-many`, and
//! for an answer that is not as expected `exit`, `text`, `number`, `version` or `body`. Secrets that the program was
//! given are hidden in whatever of its output leaves. With `inside` also `missing`, `undeclared` and the reasons of the
//! [engine](crate::sys::engine).

pub mod config;
pub mod inside;
pub mod nagios;
mod page;
mod run;
mod secretive;

use std::borrow::Cow;
use std::collections::HashSet;
use std::path::PathBuf;

use super::common::{Outside, Target, sample};
use super::expect::{Judge, Observation};
use super::masks::Masks;
use crate::base::{Batch, Failure, Labels, Outcome, Sample, Timestamp};
use crate::sys::ask::{Answer, Asker};
use crate::sys::clock::Stopwatch;
use crate::sys::process::Exit;
use config::Variable;
pub use config::{Config, Format};
use inside::{Declared, Insider};
use nagios::{Perfdata, Range, Report};
use run::Run;

/// Names that exist from the start; beside them those of expectations and values.
pub const NAMES: [&str; 4] = ["probe_success", "probe_duration_seconds", "probe_failure_info", "command_exit_code"];

/// Names that the format `nagios` adds.
pub const NAGIOS_NAMES: [&str; 6] = [
    "command_perfdata",
    "command_perfdata_warn",
    "command_perfdata_crit",
    "command_perfdata_min",
    "command_perfdata_max",
    "command_perfdata_rejected",
];

/// The longest line of an output that is quoted, in characters.
const MAX_QUOTE: usize = 200;

/// The most samples that one item of performance data gives: its value, two thresholds of two bounds, two limits.
const MAX_OF_ITEM: usize = 7;

/// A program that is asked.
#[derive(Debug)]
pub struct Command {
    config: Config,
    target: Target,
    outside: Outside,
    judge: Judge,
    asker: Asker,
    insider: Option<Insider>,
    exit_code: Labels,
    rejected: Labels,
}

impl Command {
    /// A program that was not asked yet.
    pub fn new(config: Config, outside: Outside) -> Command {
        let program = config.run.first().map(String::as_str).unwrap_or_default();
        let instance = program.rsplit('/').next().unwrap_or(program).to_string();
        let target = Target::new(&config.common, instance);
        let judge = Judge::new(&config.expect, &config.values, &target, &[]);
        let exit_code = target.series("command_exit_code", &[]);
        let rejected = target.series("command_perfdata_rejected", &[]);
        let insider = Declared::of(&config).map(|declared| Insider::new(declared, &outside));
        Command { config, target, outside, judge, asker: Asker::default(), insider, exit_code, rejected }
    }

    /// What is looked at.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The files that a look reads: its secrets.
    pub fn files(&self) -> Vec<PathBuf> {
        let secrets = self.config.env.iter().filter_map(|(_, variable)| match variable {
            Variable::Secret(place) => place.file(),
            Variable::Plain(_) => None,
        });
        secrets.collect()
    }

    /// Names that exist from the start.
    pub fn names(&self) -> Vec<&'static str> {
        let nagios: &[&str] = if self.config.format == Format::Nagios { &NAGIOS_NAMES } else { &[] };
        NAMES.into_iter().chain(self.judge.names()).chain(nagios.iter().copied()).collect()
    }

    /// Asks once. Dropping the future ends the program.
    pub async fn collect(&mut self, at: Timestamp) -> Batch {
        let watch = Stopwatch::start();
        if self.asker.is_busy().await {
            // Before it waits for a place: those that hang must not keep the others waiting.
            return self.target.batch(at, watch.seconds(), Outcome::Failed(run::busy()), Vec::new());
        }
        let place =
            tokio::time::timeout(self.target.interval.to_std(), self.outside.programs.clone().acquire_owned()).await;
        let watch = Stopwatch::start();
        let (outcome, samples) = match place {
            Ok(Ok(_place)) => match self.run().await {
                Ok(run) => self.seen(at, &run.answer, &run.masks),
                Err(failure) => (Outcome::Failed(failure), Vec::new()),
            },
            _ => (Outcome::Failed(self.busy()), Vec::new()),
        };
        self.target.batch(at, watch.seconds(), outcome, samples)
    }

    async fn run(&mut self) -> Result<Run, Failure> {
        match &mut self.insider {
            Some(insider) => insider.run(&self.outside, self.target.timeout).await,
            None => run::run(&self.config, &self.outside, self.target.timeout, &mut self.asker).await,
        }
    }

    fn busy(&self) -> Failure {
        let most = super::common::MAX_PROGRAMS;
        let waited = self.target.interval;
        Failure::new(
            "busy",
            format!("{most} other programs were running for {waited}; shorten their timeouts, or look less often"),
        )
    }

    /// Pure: an answer in, its samples and the first thing that is not as it should be out, without secrets.
    fn seen(&self, at: Timestamp, answer: &Answer, masks: &Masks) -> (Outcome, Vec<Sample>) {
        let (outcome, samples) = self.judged(at, answer, masks);
        let Outcome::Failed(failure) = outcome else {
            return (outcome, samples);
        };
        let detail = match masks.are_in(&answer.stdout) || masks.are_in(&answer.stderr) {
            // Hidden before anything is cut: half a secret is one as well.
            true => match self.judged(at, &hidden(answer, masks), masks).0 {
                Outcome::Failed(shown) if shown.reason == failure.reason => shown.detail,
                _ => "what it printed holds a secret, and is not shown".into(),
            },
            false => failure.detail,
        };
        (Outcome::Failed(Failure::new(failure.reason, masks.hide(&detail))), samples)
    }

    fn judged(&self, at: Timestamp, answer: &Answer, masks: &Masks) -> (Outcome, Vec<Sample>) {
        let code = match answer.exit {
            _ if answer.is_flood => return (Outcome::Failed(self.too_large(answer)), Vec::new()),
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128 + signal,
            Exit::Timeout => return (Outcome::Failed(self.too_slow(answer, masks)), Vec::new()),
            Exit::NotStarted(ref why) => return (Outcome::Failed(Failure::new("start", why.as_str())), Vec::new()),
        };
        let mut samples = vec![sample(self.exit_code.clone(), f64::from(code))];
        if answer.bytes > answer.stdout.len() as u64 {
            return (Outcome::Failed(self.too_large(answer)), samples);
        }
        let text = text(answer);
        let report = match self.config.format {
            Format::Nagios => nagios::parse(&text, self.config.max_samples),
            _ => Report::default(),
        };
        let numbers: Vec<(String, f64)> =
            report.perfdata.iter().filter_map(|p| Some((p.label.clone(), p.value?))).collect();
        let seen = Observation {
            exit: Some(code),
            body: Some(&answer.stdout),
            text: Some(if self.config.format == Format::Nagios { &report.text } else { &text }),
            numbers: &numbers,
            now: at,
            ..Observation::default()
        };
        let judged = match self.judge.judge(&seen, &mut samples) {
            Outcome::Failed(failure) if failure.reason == "exit" => {
                Outcome::Failed(self.explained(failure, answer, &text, masks))
            }
            judged => judged,
        };
        let is_as_expected = !matches!(&judged, Outcome::Failed(failure) if failure.reason == "exit");
        let read = match self.config.format {
            Format::Text => Ok(()),
            Format::Json => seen.document().map(|_| ()).map_err(|why| Failure::new("format", why)),
            Format::Nagios => {
                self.perfdata(report, masks, &mut samples);
                Ok(())
            }
            Format::Prometheus if is_as_expected => self.page(&answer.stdout, masks, &mut samples),
            Format::Prometheus => Ok(()),
        };
        match read {
            Err(failure) if is_as_expected => (Outcome::Failed(failure), samples),
            _ => (judged, samples),
        }
    }

    fn page(&self, page: &[u8], masks: &Masks, samples: &mut Vec<Sample>) -> Result<(), Failure> {
        samples.extend(page::samples(page, self.config.max_samples, &self.target, masks, &self.names())?);
        Ok(())
    }

    /// The samples of performance data, at most `max_samples`; what is beyond counts as rejected.
    fn perfdata(&self, report: Report, masks: &Masks, samples: &mut Vec<Sample>) {
        let (mut n_rejected, mut found) = (report.n_rejected, Vec::new());
        let mut labels = HashSet::new();
        for item in report.perfdata {
            let label = masks.hide(&item.label);
            if found.len() + MAX_OF_ITEM > self.config.max_samples.max(MAX_OF_ITEM) || !labels.insert(label.clone()) {
                n_rejected += 1;
            } else {
                self.item(&label, &item, &mut found);
            }
        }
        samples.extend(found);
        samples.push(sample(self.rejected.clone(), n_rejected as f64));
    }

    fn item(&self, label: &str, item: &Perfdata, samples: &mut Vec<Sample>) {
        let mut add = |name: &str, more: &[(&str, &str)], value: Option<f64>| {
            let labels: Vec<(&str, &str)> = more.iter().copied().chain([("label", label)]).collect();
            samples.extend(value.map(|value| sample(self.target.series(name, &labels), value)));
        };
        add("command_perfdata", &[], item.value);
        for (name, range) in [("command_perfdata_warn", item.warn), ("command_perfdata_crit", item.crit)] {
            let Some(Range { low, high, is_inside }) = range else { continue };
            let alert = ("alert", if is_inside { "inside" } else { "" });
            add(name, &[("bound", "low"), alert], low);
            add(name, &[("bound", "high"), alert], high);
        }
        add("command_perfdata_min", &[], item.min);
        add("command_perfdata_max", &[], item.max);
    }

    fn too_slow(&self, answer: &Answer, masks: &Masks) -> Failure {
        let said = quote(&masks.hide_tail(&String::from_utf8_lossy(&answer.stderr), answer.is_stderr_cut));
        let (timeout, end) = (self.target.timeout, self.end());
        Failure::new("timeout", format!("it did not end within {timeout}, and {end}{}", saying(said)))
    }

    fn too_large(&self, answer: &Answer) -> Failure {
        let (max, bytes) = (self.config.max_output, answer.bytes);
        let detail = match answer.is_flood {
            false => format!("it printed {bytes} bytes, and max_output is {max}"),
            true if bytes > max as u64 => {
                format!("it printed more than {bytes} bytes, and {}: max_output is {max}", self.end())
            }
            true => format!("it printed without end on standard error, and {}", self.end()),
        };
        Failure::new("too-large", detail)
    }

    /// What becomes of a program that nobody waits for any more.
    fn end(&self) -> &'static str {
        match self.insider {
            None => "was ended",
            Some(_) => "runs on: nothing here can end it inside of its container",
        }
    }

    /// The failure of an exit that was not expected: what the code means, and what the program said about it.
    fn explained(&self, failure: Failure, answer: &Answer, text: &str, masks: &Masks) -> Failure {
        let meaning = match answer.exit {
            Exit::Signal(signal) => format!(" (ended by signal {signal}{})", signal_name(signal)),
            Exit::Code(code) if self.config.format == Format::Nagios => format!(" ({})", nagios::state(code)),
            _ => String::new(),
        };
        let stderr = masks.hide_tail(&String::from_utf8_lossy(&answer.stderr), answer.is_stderr_cut);
        let said = match self.config.format {
            Format::Nagios => first_line(text).or_else(|| quote(&stderr)),
            Format::Text => quote(&stderr).or_else(|| quote(text)),
            Format::Json | Format::Prometheus => quote(&stderr),
        };
        Failure::new("exit", format!("{}{meaning}{}", failure.detail, saying(said)))
    }
}

/// What a program printed for people: standard output, or standard error where that is blank, as `nginx -v` has it.
fn text(answer: &Answer) -> Cow<'_, str> {
    let is_blank = answer.stdout.trim_ascii().is_empty();
    String::from_utf8_lossy(if is_blank { &answer.stderr } else { &answer.stdout })
}

/// The answer without secrets.
fn hidden(answer: &Answer, masks: &Masks) -> Answer {
    let stdout = masks.hide(&String::from_utf8_lossy(&answer.stdout)).into_bytes();
    let stderr = masks.hide_tail(&String::from_utf8_lossy(&answer.stderr), answer.is_stderr_cut).into_bytes();
    let n_cut = answer.bytes - answer.stdout.len() as u64;
    Answer {
        exit: answer.exit.clone(),
        bytes: stdout.len() as u64 + n_cut,
        stdout,
        stderr,
        is_stderr_cut: false,
        is_flood: answer.is_flood,
    }
}

/// What a program said, as it is quoted: the first line that speaks of an error, else the first one, and the last one.
/// Lines without a letter or a digit (`psql` points with `^`) say nothing.
fn quote(text: &str) -> Option<String> {
    const WORDS: [&str; 3] = ["error", "fatal", "fail"];
    let says_why = |line: &&str| {
        let line = line.to_ascii_lowercase();
        WORDS.iter().any(|word| line.contains(word))
    };
    let lines = || text.lines().map(str::trim).filter(|line| line.contains(char::is_alphanumeric));
    let first = lines().find(says_why).or_else(|| lines().next())?;
    match lines().next_back().filter(|last| *last != first) {
        Some(last) => Some(printable(&format!("{first} / {last}"))),
        None => Some(printable(first)),
    }
}

fn first_line(text: &str) -> Option<String> {
    let line = text.lines().next().unwrap_or_default();
    Some(printable(line.split('|').next().unwrap_or_default())).filter(|line| !line.is_empty())
}

/// A line without control characters, at most [`MAX_QUOTE`] characters long.
fn printable(line: &str) -> String {
    let plain: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let plain = plain.trim();
    match plain.char_indices().nth(MAX_QUOTE) {
        Some((end, _)) => format!("{}…", &plain[..end]),
        None => plain.to_string(),
    }
}

fn saying(said: Option<String>) -> String {
    said.map(|line| format!("; it said: {line}")).unwrap_or_default()
}

/// The name of a signal that ends programs, after a comma.
fn signal_name(signal: i32) -> &'static str {
    match signal {
        1 => ", SIGHUP",
        2 => ", SIGINT",
        3 => ", SIGQUIT",
        4 => ", SIGILL",
        6 => ", SIGABRT",
        7 => ", SIGBUS",
        8 => ", SIGFPE",
        9 => ", SIGKILL",
        11 => ", SIGSEGV",
        13 => ", SIGPIPE",
        14 => ", SIGALRM",
        15 => ", SIGTERM",
        24 => ", SIGXCPU",
        25 => ", SIGXFSZ",
        31 => ", SIGSYS",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
