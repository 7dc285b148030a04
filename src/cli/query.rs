//! `backstop query`: an expression, evaluated by the running agent, or without one over the samples on disk.
//!
//! Exit: 0 it was evaluated (also when nothing matches), 2 the expression or a time is wrong, 3 nobody can say.

use std::io::IsTerminal;
use std::path::Path;

use serde::Deserialize;

use super::out::{Out, plural};
use super::{Color, Context, Exit, Failure, no_answer, place};
use crate::base::{Labels, Place, Problems, Span, Timestamp};
use crate::config::{self, Files};
use crate::promql::{self, CompileError, Options, Plan};
use crate::store::archive::{self, ReadLimits};
use crate::store::{Selector, View};
use crate::web::client::ClientError;
use crate::web::query::json::{self, Notes};
use crate::web::query::params;
use crate::web::query::{self, Wanted};

/// How many points a range has that states no step, about.
const POINTS: i64 = 120;

/// How many notes about files that cannot be read are shown.
const MAX_TROUBLE: usize = 5;

/// The width of a line of bars, in characters.
const BARS: usize = 40;

/// Evaluates an expression over the samples.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "A time is written 2025-10-28T09:41:00Z, as Unix seconds, or as an age: 5m.\n\
                        Without a running agent the samples in the state folder are read.\n\n\
                        Exit codes: 0 evaluated, 2 the expression is wrong, 3 could not tell.")]
pub struct Args {
    /// The expression, in PromQL.
    #[arg(value_name = "EXPR")]
    expression: String,
    /// The time of the evaluation; now where it is not given.
    #[arg(long, value_name = "TIME", conflicts_with_all = ["range", "from", "to"])]
    at: Option<String>,
    /// Evaluates over this long until now, or until --to.
    #[arg(long, value_name = "DURATION", conflicts_with = "from")]
    range: Option<String>,
    /// Evaluates over a range that begins here.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// The end of the range; now where it is not given.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// The time between two points of a range; about 120 points where it is not given.
    #[arg(long, value_name = "DURATION")]
    step: Option<String>,
}

/// When an expression is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    At(Timestamp),
    Over { start: Timestamp, end: Timestamp, step: Span },
}

/// Evaluates and shows.
pub async fn run(context: &mut Context, args: &Args) -> Result<Exit, Failure> {
    let text = &args.expression;
    let when = when(args, context.clock.now()).map_err(|why| Failure::usage(why, None))?;
    let compiled = match when {
        When::At(_) => promql::compile_query(text),
        When::Over { .. } => promql::compile(text),
    };
    let plan = match compiled {
        Ok(plan) => plan,
        Err(error) => {
            Out::error(refusal(&error, text, context.globals.color).trim_end());
            return Ok(Exit::Usage);
        }
    };
    let answered = context.client()?.api(path(when), &form(text, when)).await;
    let (status, body) = match answered {
        Ok(answer) => answer,
        Err(error @ ClientError::NoAgent { .. }) => {
            let body = from_disk(&context.place().state, &plan, when).map_err(|why| {
                let mut failure = no_answer(&error);
                failure.text = format!("{}, and its samples cannot be read: {why}", failure.text);
                failure
            })?;
            (200, body)
        }
        Err(error) => return Err(no_answer(&error)),
    };
    let parsed: Body = serde_json::from_slice(&body)
        .map_err(|e| Failure::unknown(format!("the agent's answer cannot be read: {e}")))?;
    if let Some(why) = parsed.error {
        let exit = if status == 400 { Exit::Usage } else { Exit::Unknown };
        return Err(Failure { text: why, help: None, exit });
    }
    if context.json() {
        context.out.bytes(&body);
        return Ok(Exit::Good);
    }
    for note in parsed.warnings.iter().chain(&parsed.infos) {
        Out::error(&format!("note: {}", plain(note)));
    }
    let zone = context.when(Timestamp::default()).zone;
    let shown = parsed.data.map(|data| render(&data, when, &zone)).unwrap_or_default();
    context.out.text(&shown);
    Ok(Exit::Good)
}

/// The mistake of an expression with its place.
fn refusal(error: &CompileError, text: &str, color: Color) -> String {
    let coloured = match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    };
    let mut files = Files::default();
    let file = files.add("expression", None, text.to_string());
    let mut problems = Problems::default();
    let place = Place { file, range: error.at.clone().unwrap_or(0..text.len()) };
    let problem = problems.error(&place, &error.message, error.label.clone().unwrap_or_default());
    if let Some(help) = &error.help {
        problem.help(help);
    }
    config::diagnose::render(&problems, &files, coloured)
}

fn when(args: &Args, now: Timestamp) -> Result<When, String> {
    let point = |text: &Option<String>| text.as_deref().map(|text| point(text, now)).transpose();
    let end = point(&args.to)?.unwrap_or(now);
    let start = match (&args.range, point(&args.from)?) {
        (Some(range), _) => end - params::span(range)?,
        (None, Some(from)) => from,
        (None, None) if args.to.is_some() || args.step.is_some() => {
            return Err("a range needs its beginning: --from TIME, or --range DURATION".into());
        }
        (None, None) => return Ok(When::At(point(&args.at)?.unwrap_or(now))),
    };
    let step = match &args.step {
        Some(step) => params::span(step)?,
        None => Span::secs(((end - start).0 / POINTS / 1000).max(1)),
    };
    if step <= Span::ZERO {
        return Err("a step is longer than 0".into());
    }
    query::check_range(start, end, step)?;
    Ok(When::Over { start, end, step })
}

/// A time, or how long ago it was.
pub(super) fn point(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    match Span::parse(text) {
        Ok(age) => Ok(now - age),
        Err(_) => params::time(text).map_err(|why| format!("{why}, nor an age like 5m")),
    }
}

fn path(when: When) -> &'static str {
    match when {
        When::At(_) => "query",
        When::Over { .. } => "query_range",
    }
}

fn form(text: &str, when: When) -> Vec<(&'static str, String)> {
    let seconds = |at: Timestamp| format!("{}.{:03}", at.0.div_euclid(1000), at.0.rem_euclid(1000));
    let query = ("query", text.to_string());
    match when {
        When::At(at) => vec![query, ("time", seconds(at))],
        When::Over { start, end, step } => {
            let step = format!("{}.{:03}", step.0 / 1000, step.0 % 1000);
            vec![query, ("start", seconds(start)), ("end", seconds(end)), ("step", step)]
        }
    }
}

/// The same answer without an agent, over the samples in its state folder.
fn from_disk(state: &Path, plan: &Plan, when: When) -> Result<Vec<u8>, String> {
    let options = Options::default();
    let (start, end) = match when {
        When::At(at) => (at, at),
        When::Over { start, end, .. } => (start, end),
    };
    let view = on_disk(state, &query::wanted(plan, start, end, &options))?;
    let answer = match when {
        When::At(at) => promql::query(plan, &view, at, &options)?,
        When::Over { start, end, step } => promql::query_range(plan, &view, (start, end), step, &options)?,
    };
    let notes = Notes::of(&answer.annotations, plan.text());
    json::success(&notes, |out| json::answer(out, &answer, end)).map_err(|_| "the answer is too long".to_string())
}

/// The samples of a state folder. What of it cannot be read is said, the rest is used.
fn on_disk(state: &Path, wanted: &[Wanted]) -> Result<View, String> {
    let folder = place::samples(state);
    if !folder.is_dir() {
        return Err(format!("there are no samples on disk at {}", folder.display()));
    }
    let (mut stretches, mut trouble) = (Vec::new(), Vec::new());
    for (i, one) in wanted.iter().enumerate() {
        let is_same = |other: &&Wanted| (other.from, other.to) == (one.from, one.to);
        // Selectors over the same time are read together, with the first of them.
        if wanted[..i].iter().any(|other| is_same(&other)) {
            continue;
        }
        let selectors: Vec<Selector> = wanted[i..].iter().filter(is_same).map(|other| other.selector.clone()).collect();
        let read = archive::read(&folder, &selectors, one.from, one.to, ReadLimits::default());
        let read = read.map_err(|e| e.to_string())?;
        stretches.extend(read.stretches);
        trouble.extend(read.trouble);
    }
    trouble.dedup();
    for what in trouble.iter().take(MAX_TROUBLE) {
        Out::error(&format!("note: {}", plain(what)));
    }
    Ok(View::new(stretches))
}

/// Prometheus's answer, as far as it is shown.
#[derive(Debug, Deserialize)]
struct Body {
    data: Option<Data>,
    error: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Scalar((f64, String)),
    String((f64, String)),
    Vector(Vec<Point>),
    Matrix(Vec<Row>),
}

#[derive(Debug, Deserialize)]
struct Point {
    metric: Labels,
    value: (f64, String),
}

#[derive(Debug, Deserialize)]
struct Row {
    metric: Labels,
    values: Vec<(f64, String)>,
}

/// The answer for people.
fn render(data: &Data, when: When, zone: &jiff::tz::TimeZone) -> String {
    let span = match when {
        When::At(at) => format!("at {}", at.date_clock(zone)),
        When::Over { start, end, step } => {
            format!("from {} to {}, every {}", start.date_clock(zone), end.date_clock(zone), step.human())
        }
    };
    match data {
        Data::Scalar((_, value)) => format!("{value}\n"),
        Data::String((_, text)) => format!("{}\n", plain(text)),
        Data::Vector(points) if points.is_empty() => format!("nothing {span}\n"),
        Data::Matrix(rows) if rows.is_empty() => format!("nothing {span}\n"),
        Data::Vector(points) => {
            let rows = points.iter().map(|p| vec![name(&p.metric), p.value.1.clone()]).collect();
            format!("{}\n{} {span}\n", table(rows), plural(points.len(), "value"))
        }
        Data::Matrix(all) => {
            let head = ["", "least", "most", "last", ""].map(String::from).to_vec();
            let rows = std::iter::once(head).chain(all.iter().map(|row| over_time(row, when))).collect();
            // `series` is its own plural.
            format!("{}\n{} series {span}\n", table(rows), all.len())
        }
    }
}

fn over_time(row: &Row, when: When) -> Vec<String> {
    let values: Vec<(f64, f64)> = row.values.iter().map(|(at, text)| (*at, number(text))).collect();
    let seen = || values.iter().map(|(_, value)| *value).filter(|value| !value.is_nan());
    let last = row.values.last().map_or_else(String::new, |(_, text)| text.clone());
    let (least, most) = (seen().reduce(f64::min), seen().reduce(f64::max));
    let shown = |value: Option<f64>| value.map_or_else(|| "NaN".to_string(), written);
    vec![name(&row.metric), shown(least), shown(most), last, bars(&values, when)]
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or(f64::NAN)
}

fn written(value: f64) -> String {
    let mut out = Vec::new();
    json::float(&mut out, value);
    String::from_utf8(out).unwrap_or_default()
}

/// The course of a series: a bar for each part of the time, the mean of its values, between the least and the most; a gap
/// where there is none.
fn bars(values: &[(f64, f64)], when: When) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let (start, end) = match when {
        When::Over { start, end, .. } => (start.seconds(), end.seconds()),
        When::At(at) => (values.first().map_or(at.seconds(), |(first, _)| *first), at.seconds()),
    };
    let mut parts = [(0.0, 0u32); BARS];
    for (at, value) in values.iter().filter(|(_, value)| value.is_finite()) {
        let share = if end > start { (at - start) / (end - start) } else { 0.0 };
        let part = &mut parts[((share * BARS as f64) as usize).min(BARS - 1)];
        *part = (part.0 + value, part.1 + 1);
    }
    let means: Vec<Option<f64>> = parts.iter().map(|(sum, n)| (*n > 0).then(|| sum / f64::from(*n))).collect();
    let known = || means.iter().flatten().copied();
    let (Some(least), Some(most)) = (known().reduce(f64::min), known().reduce(f64::max)) else { return String::new() };
    let bar = |mean: &Option<f64>| match mean {
        None => ' ',
        Some(_) if most <= least => HEIGHTS[0],
        Some(mean) => HEIGHTS[(((mean - least) / (most - least) * 7.0).round() as usize).min(7)],
    };
    means.iter().map(bar).collect::<String>().trim_end().to_string()
}

/// A label set without anything that a terminal would obey.
fn name(labels: &Labels) -> String {
    plain(&labels.to_string())
}

fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Columns of equal width: the first and the last to the left, those between to the right.
fn table(rows: Vec<Vec<String>>) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let length = |text: &String| text.chars().count();
    let width = |i: usize| rows.iter().filter_map(|row| row.get(i)).map(length).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (i, cell) in row.iter().enumerate() {
            let room = " ".repeat(widths[i].saturating_sub(length(cell)));
            let is_left = i == 0 || (columns > 2 && i + 1 == columns);
            line += &if is_left { format!("{cell}{room}  ") } else { format!("{room}{cell}  ") };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn args(list: &[(&str, &str)]) -> Args {
        let find = |name: &str| list.iter().find(|(n, _)| *n == name).map(|(_, v)| v.to_string());
        let expression = "up".into();
        let (at, range, from, to, step) = (find("at"), find("range"), find("from"), find("to"), find("step"));
        Args { expression, at, range, from, to, step }
    }

    #[test]
    fn times_are_moments_or_ages() {
        let over = |start: i64, end: i64, step| -> Result<When, String> {
            Ok(When::Over { start: NOW - Span::secs(start), end: NOW - Span::secs(end), step: Span::secs(step) })
        };
        for (list, wanted) in [
            (vec![], Ok(When::At(NOW))),
            (vec![("at", "5m")], Ok(When::At(NOW - Span::mins(5)))),
            (vec![("at", "1699999990")], Ok(When::At(NOW - Span::secs(10)))),
            (vec![("at", "2023-11-14T22:13:20Z")], Ok(When::At(NOW))),
            (vec![("range", "1h")], over(3600, 0, 30)),
            (vec![("range", "1m")], over(60, 0, 1)),
            (vec![("from", "2h"), ("to", "1h"), ("step", "15s")], over(7200, 3600, 15)),
            (vec![("step", "15s")], Err("a range needs its beginning: --from TIME, or --range DURATION".into())),
            (vec![("at", "noon")], Err("`noon` is neither Unix seconds nor RFC 3339, nor an age like 5m".into())),
            (vec![("from", "0"), ("step", "1s")], Err("1700000001".into())),
        ] {
            let got = when(&args(&list), NOW);
            match (&got, &wanted) {
                (Err(got), Err(wanted)) => assert!(got.contains(wanted.as_str()), "{got}"),
                _ => assert_eq!(got, wanted, "{list:?}"),
            }
        }
    }

    fn shown(result: &str, when: When) -> String {
        let data: Data = serde_json::from_str(result).unwrap();
        render(&data, when, &jiff::tz::TimeZone::UTC)
    }

    #[test]
    fn an_answer_is_a_table() {
        let vector = r#"{"resultType":"vector","result":[
            {"metric":{"__name__":"up","job":"a"},"value":[1.5,"1"]},
            {"metric":{"__name__":"up","job":"blog\u001b[2J"},"value":[1.5,"-0.25"]}]}"#;
        let wanted = "up{job=\"a\"}                  1\n\
                      up{job=\"blog\\u{1b}[2J\"}  -0.25\n\n2 values at 2023-11-14 22:13:20\n";
        assert_eq!(shown(vector, When::At(NOW)), wanted);
        let empty = shown(r#"{"resultType":"vector","result":[]}"#, When::At(NOW));
        assert_eq!(empty, "nothing at 2023-11-14 22:13:20\n");
        assert_eq!(shown(r#"{"resultType":"scalar","result":[1.5,"+Inf"]}"#, When::At(NOW)), "+Inf\n");
        assert_eq!(shown(r#"{"resultType":"string","result":[1.5,"a\nb"]}"#, When::At(NOW)), "a b\n");
    }

    #[test]
    fn a_range_is_a_line_of_bars() {
        let matrix = r#"{"resultType":"matrix","result":[
            {"metric":{"job":"a"},"values":[[1699999900,"0"],[1699999950,"5"],[1700000000,"10"]]},
            {"metric":{},"values":[[1699999900,"NaN"]]}]}"#;
        let when = When::Over { start: NOW - Span::secs(100), end: NOW, step: Span::secs(50) };
        let text = shown(matrix, when);
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows[0], "           least  most  last");
        assert_eq!(rows[1], format!("{{job=\"a\"}}      0    10    10  ▁{}▅{}█", " ".repeat(19), " ".repeat(18)));
        assert_eq!(rows[2], "{}           NaN   NaN   NaN");
        assert_eq!(rows[4], "2 series from 2023-11-14 22:11:40 to 2023-11-14 22:13:20, every 50 s");
    }

    #[test]
    fn a_wrong_expression_is_shown_with_its_place() {
        let text = "sum(nothing_like_this(up))";
        let error = promql::compile(text).unwrap_err();
        let shown = refusal(&error, text, Color::Never);
        assert!(shown.contains("--> expression:1:"), "{shown}");
        assert!(shown.contains(text), "{shown}");
    }
}
