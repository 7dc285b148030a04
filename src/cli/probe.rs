//! `backstop probe KIND.NAME…` and `backstop check --probe`: each target once, with the rights of the agent, and what
//! became of it.
//!
//! Nothing is stored, judged or sent, and no running agent is asked. Called by root, it begins anew as the user that the
//! service runs as: what root may read says nothing about what the agent will see.

mod mend;

use std::ffi::OsString;
use std::path::PathBuf;

use crate::base::{Batch, Labels, Outcome, Sample, SourceRef, Span};
use crate::config::{Config, SourceConfig};
use crate::source::Source;
use crate::sys::clock::{Clock, Stopwatch};
use crate::sys::tasks::Tasks;
use crate::sys::{process, users};

use super::out::{pad, plural};
use super::{Context, Exit, Failure, place};
use crate::agent::wire;

/// The user that the service runs as (`systemd/backstop.service`).
const SERVICE_USER: &str = "backstop";

/// How many targets are looked at side by side.
const AT_ONCE: usize = 8;

/// What a look may take beyond its timeout: a program over its time is ended in two steps.
const GRACE: Span = Span::secs(5);

/// Looks at targets once and says what was reached.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  backstop probe http.api\n  backstop probe command.migrate file.backup\n  \
                        sudo backstop probe --as root host\n\n\
                        Nothing is stored, judged or sent. As root it looks with the rights of the user `backstop`, because\n\
                        that is what the agent will see; --as USER looks as somebody else. Of root's environment only what names the\n\
                        configuration goes along: secrets of the form env:NAME are then not there, as they come from the unit.\n\n\
                        Exit codes: 0 each target was fine, 1 one was not, 2 usage or configuration, 3 could not look.")]
pub struct Args {
    /// The targets as in the configuration's headings: http.api, host.
    #[arg(value_name = "KIND.NAME", required = true)]
    sources: Vec<String>,
    #[command(flatten)]
    who: Who,
}

/// With whose rights.
#[derive(Clone, Debug, clap::Args)]
pub struct Who {
    /// Looks with the rights of this user; only root can.
    #[arg(long = "as", value_name = "USER")]
    user: Option<String>,
}

impl Who {
    /// Whether somebody was named.
    pub fn is_said(&self) -> bool {
        self.user.is_some()
    }
}

/// Looks at the named targets.
pub async fn run(context: &mut Context, args: &Args) -> Result<Exit, Failure> {
    become_user(&args.who)?;
    let config = place::configuration(&context.globals)?;
    let wanted = pick(&config, &args.sources)?;
    let rows = look(&context.clock, &config, &wanted).await?;
    if context.json() {
        context.out.json(&as_json(&rows));
    } else {
        context.out.text(&(said(&rows) + &render(&rows)));
    }
    Ok(if is_good(&rows) { Exit::Good } else { Exit::Bad })
}

/// Looks at all targets of a configuration; for `check --probe`.
pub async fn all(context: &Context, config: &Config, who: &Who) -> Result<Vec<Row>, Failure> {
    become_user(who)?;
    let wanted = targets(config);
    look(&context.clock, config, &wanted).await
}

/// What of root's environment goes along: nothing that another user should not read.
const ENVIRONMENT: [&str; 7] =
    ["BACKSTOP_CONFIG", "BACKSTOP_STATE", "LANG", "TERM", "NO_COLOR", "STATE_DIRECTORY", "CREDENTIALS_DIRECTORY"];

/// Begins anew with the rights of the service's user, or of the one that was asked for: the same arguments, and no way to
/// get more rights again, as the service has none.
fn become_user(who: &Who) -> Result<(), Failure> {
    let wanted = match &who.user {
        Some(user) => user.clone(),
        None if users::is_root() && users::account(SERVICE_USER).is_some() => SERVICE_USER.to_string(),
        None => return Ok(()),
    };
    let Some(account) = users::account(&wanted) else {
        return Err(Failure::usage(format!("there is no user {wanted} on this host"), None));
    };
    if account.uid == users::current_id() {
        return Ok(());
    }
    if !users::is_root() {
        let help = format!("sudo backstop probe … --as {wanted}");
        return Err(Failure::usage(format!("only root can look with the rights of {wanted}"), Some(help)));
    }
    let Ok(program) = std::env::current_exe() else {
        return Err(Failure::unknown("the path of this program cannot be read from /proc/self/exe"));
    };
    let mut argv: Vec<OsString> =
        ["setpriv", "--init-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
            .map(OsString::from)
            .to_vec();
    argv.extend([format!("--reuid={}", account.uid), format!("--regid={}", account.gid)].map(OsString::from));
    argv.extend(["--".into(), program.into_os_string()]);
    argv.extend(std::env::args_os().skip(1));
    let error = process::become_program(&argv, &ENVIRONMENT);
    let help = format!("setpriv is in Debian's package util-linux; or: sudo -u {wanted} backstop …");
    Err(Failure { help: Some(help), ..Failure::unknown(format!("cannot look as {wanted}: {error}")) })
}

/// What can be looked at: everything but signals, which are told.
fn targets(config: &Config) -> Vec<SourceRef> {
    let looks = config.sources.iter().filter(|source| !matches!(source, SourceConfig::Signal(_)));
    looks.map(|source| source.reference().clone()).collect()
}

/// The references that were written, all mistakes at once.
fn pick(config: &Config, written: &[String]) -> Result<Vec<SourceRef>, Failure> {
    let known = targets(config);
    let mut wanted = Vec::new();
    let mut unknown = Vec::new();
    for text in written {
        match known.iter().find(|source| source.to_string() == *text) {
            Some(source) if !wanted.contains(source) => wanted.push(source.clone()),
            Some(_) => {}
            None => unknown.push(text.as_str()),
        }
    }
    if unknown.is_empty() {
        return Ok(wanted);
    }
    let names: Vec<String> = known.iter().map(SourceRef::to_string).collect();
    let close = |text: &str| {
        let best = names.iter().map(|name| (strsim::jaro_winkler(name, text), name)).max_by(|a, b| a.0.total_cmp(&b.0));
        best.filter(|(score, _)| *score > 0.8).map(|(_, name)| format!("did you mean {name}?"))
    };
    let help = unknown.iter().find_map(|text| close(text));
    let help = help.unwrap_or_else(|| match names.is_empty() {
        true => format!("{} has no sources", config.name),
        false => format!("{} has {}", config.name, names.join(", ")),
    });
    Err(Failure::usage(format!("no source is called {}", unknown.join(", ")), Some(help)))
}

/// What one target gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    source: SourceRef,
    instance: String,
    outcome: Outcome,
    took: Span,
    samples: Vec<Sample>,
    /// The command that would mend it, or the one that says more.
    mend: Option<String>,
}

async fn look(clock: &Clock, config: &Config, wanted: &[SourceRef]) -> Result<Vec<Row>, Failure> {
    let chosen = wire::sources(config).into_iter().filter(|source| wanted.contains(&source.reference()));
    let mut rows = Vec::new();
    let mut waiting: Vec<Source> = chosen.collect();
    while !waiting.is_empty() {
        let later = waiting.split_off(waiting.len().min(AT_ONCE));
        rows.extend(look_at(waiting, clock).await);
        waiting = later;
    }
    Ok(rows)
}

/// Whether each target was fine.
pub fn is_good(rows: &[Row]) -> bool {
    rows.iter().all(|row| row.outcome == Outcome::Good)
}

/// Looks at some side by side; the rows come in the order of the sources.
async fn look_at(sources: Vec<Source>, clock: &Clock) -> Vec<Row> {
    let (send, mut seen) = tokio::sync::mpsc::channel(sources.len().max(1));
    let mut tasks = Tasks::new();
    let mut longest = Span::ZERO;
    for (i, mut source) in sources.into_iter().enumerate() {
        let (send, at) = (send.clone(), clock.now());
        longest = longest.max(source.timeout());
        tasks.spawn("look", async move {
            let watch = Stopwatch::start();
            let batch = source.collect(at).await;
            // Who asked is gone only when the whole command ends.
            drop(send.send((i, row(batch, watch.elapsed(), &source.files()))).await);
        });
    }
    drop(send);
    let mut rows = Vec::new();
    while let Some(row) = seen.recv().await {
        rows.push(row);
    }
    tasks.finish(longest + GRACE).await;
    rows.sort_by_key(|(i, _)| *i);
    rows.into_iter().map(|(_, row)| row).collect()
}

fn row(batch: Batch, took: Span, files: &[PathBuf]) -> Row {
    let mend = match &batch.outcome {
        Outcome::Failed(failure) => mend::command(failure, &batch.instance, files, &users::current()),
        Outcome::Good => None,
    };
    Row { source: batch.source, instance: batch.instance, outcome: batch.outcome, took, samples: batch.samples, mend }
}

/// The table, the worst not moved to the top: the order is that of the configuration.
pub fn render(rows: &[Row]) -> String {
    let width = |of: &dyn Fn(&Row) -> usize, least: usize| rows.iter().map(of).max().unwrap_or(0).max(least) + 2;
    let source = width(&|row| row.source.to_string().chars().count(), "source".len());
    let target = width(&|row| row.instance.chars().count(), "target".len()).min(50);
    let result = width(&|row| word(&row.outcome).chars().count(), "result".len());
    let mut text = format!(
        "{}{}{}{}samples\n",
        pad("source", source),
        pad("target", target),
        pad("result", result),
        pad("took", 9),
    );
    for row in rows {
        text.push_str(&format!(
            "{}{}{}{}{:>7}\n",
            pad(&row.source.to_string(), source),
            pad(&row.instance, target),
            pad(word(&row.outcome), result),
            pad(&row.took.human(), 9),
            row.samples.len(),
        ));
        if let Outcome::Failed(failure) = &row.outcome {
            text.push_str(&format!("    {}\n", failure.detail));
        }
        if let Some(mend) = &row.mend {
            text.push_str(&format!("    try: {mend}\n"));
        }
    }
    let good = rows.iter().filter(|row| row.outcome == Outcome::Good).count();
    text.push_str(&format!("{good} of {} fine, looked at as {}\n", plural(rows.len(), "target"), users::current()));
    text
}

fn word(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Good => "ok",
        Outcome::Failed(failure) => failure.reason,
    }
}

/// How many samples of a target are shown to people.
const SHOWN: usize = 40;

/// The samples of each target, without the labels that all of them have: what came, for who asks for one target.
fn said(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        text.push_str(&format!("{} at {}\n", row.source, row.instance));
        for sample in row.samples.iter().take(SHOWN) {
            let own: Vec<(&str, &str)> = sample.labels.iter().filter(|(name, _)| !COMMON.contains(name)).collect();
            let labels = if own.is_empty() { String::new() } else { Labels::new(own).to_string() };
            let shown = format!("{}{labels}", sample.labels.name());
            text.push_str(&format!("    {}{}\n", pad(&printable(&shown), 60), sample.value));
        }
        if row.samples.len() > SHOWN {
            let more = row.samples.len() - SHOWN;
            text.push_str(&format!("    and {more} more: --format json has them all\n"));
        }
        text.push('\n');
    }
    text
}

/// The labels that all series of a target share, and its name.
const COMMON: [&str; 8] = ["__name__", "app", "instance", "job", "service", "source", "external", "optional"];

/// A page may name its series as it likes; a terminal shall not obey it.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn as_pair(sample: &Sample) -> serde_json::Value {
    serde_json::json!({ "series": sample.labels.to_string(), "value": sample.value.to_string() })
}

/// For programs: one object a target.
pub fn as_json(rows: &[Row]) -> serde_json::Value {
    let one = |row: &Row| {
        let failure = match &row.outcome {
            Outcome::Good => None,
            Outcome::Failed(failure) => Some(failure),
        };
        serde_json::json!({
            "source": row.source.to_string(),
            "instance": row.instance,
            "good": failure.is_none(),
            "reason": failure.map(|f| f.reason),
            "detail": failure.map(|f| f.detail.as_str()),
            "seconds": row.took.0 as f64 / 1000.0,
            "samples": row.samples.iter().map(as_pair).collect::<Vec<_>>(),
            "try": row.mend,
        })
    };
    serde_json::json!({ "user": users::current(), "targets": rows.iter().map(one).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Failure as Reason;

    fn series(i: usize) -> Sample {
        let labels = [("__name__", "probe_value"), ("job", "api"), ("name", &format!("v\u{1b}{i}"))];
        Sample { labels: Labels::new(labels), value: 7.5, at: None }
    }

    fn rows() -> Vec<Row> {
        let row = |kind: &str, name: &str, instance: &str, outcome, took, samples| Row {
            source: SourceRef::new(kind, name),
            instance: instance.into(),
            outcome,
            took: Span::millis(took),
            samples: (0..samples).map(series).collect(),
            mend: None,
        };
        let refused = Outcome::Failed(Reason::new("permission", "/srv/backup cannot be entered by backstop"));
        let mend = Some("setfacl -m u:backstop:x /srv/backup".to_string());
        vec![
            row("http", "api", "127.0.0.1:8080", Outcome::Good, 12, 14),
            Row { mend, ..row("file", "backup", "/srv/backup/db.sql", refused, 0, 3) },
            row("host", "host", "web-1", Outcome::Good, 1, 312),
        ]
    }

    #[test]
    fn the_table_says_what_was_reached_and_what_would_mend_the_rest() {
        let text = render(&rows());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "source       target              result      took     samples");
        assert_eq!(lines[1], "http.api     127.0.0.1:8080      ok          12 ms         14");
        assert_eq!(lines[3], "    /srv/backup cannot be entered by backstop");
        assert_eq!(lines[4], "    try: setfacl -m u:backstop:x /srv/backup");
        assert!(lines[6].starts_with("2 of 3 targets fine, looked at as "), "{text}");
    }

    #[test]
    fn who_asks_for_a_target_sees_what_came() {
        let text = said(&rows());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "http.api at 127.0.0.1:8080");
        assert!(lines[1].starts_with("    probe_value{name=\"v\\u{1b}0\"}   ") && lines[1].ends_with(" 7.5"), "{text}");
        assert!(text.contains("\n    and 272 more: --format json has them all\n"), "{text}");
    }

    #[test]
    fn programs_read_the_same() {
        let json = as_json(&rows());
        assert_eq!(json["targets"][1]["reason"], "permission");
        assert_eq!(json["targets"][1]["try"], "setfacl -m u:backstop:x /srv/backup");
        assert_eq!(json["targets"][2]["good"], true);
        assert_eq!(json["targets"][0]["seconds"], 0.012);
        assert_eq!(json["targets"][1]["samples"][2]["value"], "7.5");
    }
}
