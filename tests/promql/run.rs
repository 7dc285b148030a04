//! Runs scripts and holds what comes out against what they expect.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use backstop::base::{Labels, Span, Timestamp};
use backstop::promql::{self, Annotation, Answer, Options, Plan, Value};
use backstop::store::{Stretch, View, is_stale};
use promql_parser::parser::{AtModifier, Expr};

use super::script::{self, Annotations, Eval, Expected, Item, Row, When};

/// What became of the evals of a folder.
#[derive(Default)]
pub struct Outcome {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
    /// One line a file.
    pub lines: Vec<String>,
    /// What failed, with all that one needs to see why.
    pub failures: Vec<String>,
    /// Evals that are in the skip list and would pass.
    pub would_pass: Vec<String>,
    /// Evals that passed but for an annotation about native histograms, which are not held.
    pub about_histograms: Vec<String>,
    /// Annotations of the right kind at another place than the script says.
    pub elsewhere: Vec<String>,
}

/// Runs all scripts of a folder, in the order of their names.
pub fn folder(folder: &Path) -> Outcome {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("cannot list {}: {e}", folder.display()));
    let mut scripts: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    scripts.retain(|path| path.extension().is_some_and(|end| end == "test"));
    scripts.sort();
    let skips = skips(&folder.join("skip.tsv"));
    let mut outcome = Outcome::default();
    for path in scripts {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
        let before = (outcome.passed, outcome.failed, outcome.skipped);
        match script::read(&text) {
            Ok(items) => run(&name, &items, &skips, &mut outcome),
            Err(error) => {
                outcome.failed += 1;
                outcome.failures.push(format!("{name}: the script cannot be read: {error}"));
            }
        }
        let (passed, failed, skipped) =
            (outcome.passed - before.0, outcome.failed - before.1, outcome.skipped - before.2);
        outcome.lines.push(format!("{name}: {passed} passed, {failed} failed, {skipped} skipped"));
    }
    outcome
}

/// File and line of the evals that need not pass.
fn skips(path: &Path) -> BTreeSet<(String, usize)> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let entry = |line: &str| {
        let mut fields = line.split('\t');
        Some((fields.next()?.to_string(), fields.next()?.parse().ok()?))
    };
    text.lines().filter(|line| !line.starts_with('#')).filter_map(entry).collect()
}

/// The series that the loads of a block gave.
#[derive(Default)]
struct World {
    series: BTreeMap<Labels, BTreeMap<i64, f64>>,
    /// Series that hold native histograms.
    histograms: Vec<Labels>,
    view: Option<View>,
}

impl World {
    fn view(&mut self) -> &View {
        let series = &self.series;
        self.view.get_or_insert_with(|| {
            let floats = series.iter().filter(|(_, points)| points.values().any(|value| !is_stale(*value)));
            View::new(floats.map(|(labels, points)| {
                let times: Vec<i64> = points.keys().copied().collect();
                let values: Vec<f64> = points.values().copied().collect();
                Stretch::new(labels.clone(), times, values)
            }))
        })
    }

    fn has_histograms_for(&self, plan: &Plan) -> bool {
        let selectors = || plan.selectors().iter();
        self.histograms.iter().any(|labels| selectors().any(|usage| usage.selector.matches(labels)))
    }
}

fn run(file: &str, items: &[Item], skips: &BTreeSet<(String, usize)>, outcome: &mut Outcome) {
    let mut world = World::default();
    for item in items {
        match item {
            Item::Clear => world = World::default(),
            Item::Load(series) => {
                world.view = None;
                for series in series {
                    if series.has_histograms {
                        world.histograms.push(series.labels.clone());
                    }
                    world.series.entry(series.labels.clone()).or_default().extend(series.points.iter().copied());
                }
            }
            Item::Eval(eval) => {
                let place = format!("{file}:{}", eval.line);
                let skipped = skips.contains(&(file.to_string(), eval.line));
                let mut notes = Notes::default();
                let result = check(eval, &mut world, &mut notes);
                match (result, skipped) {
                    (Ok(()), true) => {
                        outcome.skipped += 1;
                        if !notes.about_histograms {
                            outcome.would_pass.push(place);
                        }
                    }
                    (Err(_), true) => outcome.skipped += 1,
                    (Ok(()), false) => {
                        outcome.passed += 1;
                        if notes.about_histograms {
                            outcome.about_histograms.push(place.clone());
                        }
                        outcome.elsewhere.extend(notes.elsewhere.iter().map(|note| format!("{place}: {note}")));
                    }
                    (Err(error), false) => {
                        outcome.failed += 1;
                        outcome.failures.push(format!("{place}: {}\n{error}", eval.query));
                    }
                }
            }
        }
    }
}

/// What is told beside the result.
#[derive(Default)]
struct Notes {
    about_histograms: bool,
    elsewhere: Vec<String>,
}

fn check(eval: &Eval, world: &mut World, notes: &mut Notes) -> Result<(), String> {
    let plan = match promql::compile_query(&eval.query) {
        Ok(plan) => plan,
        Err(_) if eval.fails => return Ok(()),
        Err(error) => return Err(format!("  refused: {error}")),
    };
    if eval.wants_histograms {
        return Err("  native histograms are not held".into());
    }
    let answer = ask(&plan, world.view(), eval.when);
    if eval.fails {
        return match answer {
            Err(_) => Ok(()),
            Ok(answer) => Err(format!("  expected: a failure\n  got:      {}", written(&answer.value))),
        };
    }
    let answer = answer.map_err(|error| format!("  failed: {error}"))?;
    compare(eval, &answer.value)?;
    let has_histograms = world.has_histograms_for(&plan);
    annotations("warn", &eval.warn, true, &answer, eval, has_histograms, notes)?;
    annotations("info", &eval.info, false, &answer, eval, has_histograms, notes)?;
    if let When::Instant(at) = eval.when {
        repeat_over_a_range(eval, &plan, world.view(), at, &answer.value)?;
        repeat_at_other_times(eval, world.view(), at, &answer.value)?;
    }
    Ok(())
}

fn options() -> Options {
    Options { look_back: Span::mins(5), step: Span::mins(1), ..Options::default() }
}

fn ask(plan: &Plan, view: &View, when: When) -> Result<Answer, String> {
    match when {
        When::Instant(at) => promql::query(plan, view, Timestamp(at), &options()),
        When::Range { from, to, step } => {
            promql::query_range(plan, view, (Timestamp(from), Timestamp(to)), Span(step), &options())
        }
    }
}

/// Label sets with their values by time.
type Values = Vec<(Labels, BTreeMap<i64, f64>)>;

fn values(value: &Value, at: i64) -> Values {
    match value {
        Value::Scalar(number) => vec![(Labels::empty(), BTreeMap::from([(at, *number)]))],
        Value::Text(_) => Vec::new(),
        Value::Vector(points) => points.iter().map(|p| (p.labels.clone(), BTreeMap::from([(at, p.value)]))).collect(),
        Value::Matrix(rows) => {
            rows.iter().map(|row| (row.labels.clone(), row.points.iter().map(|(t, v)| (t.0, *v)).collect())).collect()
        }
    }
}

fn compare(eval: &Eval, got: &Value) -> Result<(), String> {
    let differ = |expected: String| Err(format!("  expected: {expected}\n  got:      {}", written(got)));
    let (expected, at) = match (&eval.expected, got, eval.when) {
        (Expected::Scalar(number), Value::Scalar(found), _) if equal(*number, *found) => return Ok(()),
        (Expected::Scalar(number), _, _) => return differ(number.to_string()),
        (Expected::Text(text), Value::Text(found), _) if text == found => return Ok(()),
        (Expected::Text(text), _, _) => return differ(format!("{text:?}")),
        (Expected::Rows(rows), Value::Vector(_), When::Instant(at)) => (at_times(rows, at, 1), at),
        (Expected::Rows(rows), Value::Matrix(_), When::Range { from, step, .. }) => (at_times(rows, from, step), from),
        (Expected::RangeVector { from, step, rows }, Value::Matrix(_), When::Instant(_)) => {
            (at_times(rows, *from, *step), *from)
        }
        _ => return differ("a value of another type".into()),
    };
    let found = values(got, at);
    if alike(&expected, &found, eval.ordered) { Ok(()) } else { differ(written_values(&expected)) }
}

fn at_times(rows: &[Row], from: i64, step: i64) -> Values {
    let row = |(labels, values): &Row| {
        let values = values.iter().enumerate().filter_map(|(i, value)| Some((from + i as i64 * step, (*value)?)));
        (labels.clone(), values.collect())
    };
    rows.iter().map(row).collect()
}

fn alike(expected: &Values, found: &Values, ordered: bool) -> bool {
    let same_row = |a: &BTreeMap<i64, f64>, b: &BTreeMap<i64, f64>| {
        a.len() == b.len() && a.iter().zip(b).all(|((t, v), (u, w))| t == u && equal(*v, *w))
    };
    if expected.len() != found.len() {
        return false;
    }
    if ordered {
        return expected.iter().zip(found).all(|(a, b)| a.0 == b.0 && same_row(&a.1, &b.1));
    }
    expected
        .iter()
        .all(|(labels, row)| found.iter().filter(|(other, _)| other == labels).any(|(_, other)| same_row(row, other)))
}

/// Equal up to one part in a million.
fn equal(a: f64, b: f64) -> bool {
    if is_stale(a) || is_stale(b) {
        return is_stale(a) && is_stale(b);
    }
    if a == b || a.is_nan() && b.is_nan() {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < 1e-6 * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < 1e-6
}

fn annotations(
    kind: &str,
    wanted: &Annotations,
    is_warning: bool,
    answer: &Answer,
    eval: &Eval,
    has_histograms: bool,
    notes: &mut Notes,
) -> Result<(), String> {
    let found: Vec<&Annotation> = answer.annotations.iter().filter(|a| a.is_warning == is_warning).collect();
    match wanted.some {
        None => return Ok(()),
        Some(false) if found.is_empty() => return Ok(()),
        Some(false) => return Err(format!("  expected: no {kind}\n  got:      {found:?}")),
        Some(true) if found.is_empty() && has_histograms => {
            notes.about_histograms = true;
            return Ok(());
        }
        Some(true) if found.is_empty() => {
            return Err(format!("  expected: {kind} {:?}\n  got:      none", wanted.texts));
        }
        Some(true) => {}
    }
    // The words are ours; the places are held against those of the script.
    let places: Vec<String> = found.iter().map(|annotation| place(&eval.query, annotation.at.start)).collect();
    for text in &wanted.texts {
        let plain = text.replace('\\', "");
        let told = plain.rsplit_once('(').map(|(_, place)| place.trim_end_matches(')').to_string());
        let is_place = |told: &String| {
            told.split_once(':').is_some_and(|(a, b)| (a.parse::<u32>().is_ok()) && b.parse::<u32>().is_ok())
        };
        if let Some(told) = told.filter(is_place)
            && !places.contains(&told)
        {
            notes.elsewhere.push(format!("{kind} at {places:?}, not at {told}"));
        }
    }
    Ok(())
}

fn place(text: &str, at: usize) -> String {
    let before = &text[..at];
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("{}:{column}", before.matches('\n').count() + 1)
}

/// The result must be the middle of a range around its time.
fn repeat_over_a_range(eval: &Eval, plan: &Plan, view: &View, at: i64, value: &Value) -> Result<(), String> {
    const OF_THE_RANGE: [&str; 4] = ["start()", "end()", "range()", "step()"];
    let is_of_range = OF_THE_RANGE.iter().any(|call| eval.query.contains(call));
    if is_of_range || eval.ordered || !matches!(value, Value::Scalar(_) | Value::Vector(_)) {
        return Ok(());
    }
    let minute = 60_000;
    let when = When::Range { from: at - minute, to: at + minute, step: minute };
    let answer = ask(plan, view, when).map_err(|error| format!("  over a range it failed: {error}"))?;
    let mut middle = values(&answer.value, at);
    middle.iter_mut().for_each(|(_, values)| values.retain(|time, _| *time == at));
    middle.retain(|(_, values)| !values.is_empty());
    let here = values(value, at);
    if alike(&here, &middle, false) {
        return Ok(());
    }
    Err(format!(
        "  at its time:          {}\n  there over a range:   {}",
        written_values(&here),
        written_values(&middle)
    ))
}

/// With `@` on all that has none, the result must not depend on the time of evaluation.
fn repeat_at_other_times(eval: &Eval, view: &View, at: i64, value: &Value) -> Result<(), String> {
    let Ok(mut expr) = promql_parser::parser::parse(&eval.query) else { return Ok(()) };
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(at.unsigned_abs());
    if at < 0 || !fix(&mut expr, time) || eval.ordered {
        return Ok(());
    }
    let query = expr.to_string();
    let plan = promql::compile_query(&query).map_err(|error| format!("  with @, {query} is refused: {error}"))?;
    for other in [-10 * at, 0, at / 5, at, 10 * at] {
        let answer = promql::query(&plan, view, Timestamp(other), &options())
            .map_err(|error| format!("  with @ at {other} ms it failed: {error}\n  as {query}"))?;
        let (here, there) = (values(value, at), values(&answer.value, at));
        if !alike(&here, &there, false) {
            let (here, there) = (written_values(&here), written_values(&there));
            return Err(format!("  at its time: {here}\n  with @ at {other} ms: {there}\n  as {query}"));
        }
    }
    Ok(())
}

/// Puts `@` where it is missing; false where the value depends on the time of evaluation in other ways.
fn fix(expr: &mut Expr, time: SystemTime) -> bool {
    const BY_TIME: [&str; 15] = [
        "time",
        "timestamp",
        "predict_linear",
        "minute",
        "hour",
        "day_of_week",
        "day_of_month",
        "day_of_year",
        "days_in_month",
        "month",
        "year",
        "start",
        "end",
        "range",
        "step",
    ];
    let fixed = |at: &mut Option<AtModifier>| {
        let is_free = !matches!(at, Some(AtModifier::Start | AtModifier::End));
        at.get_or_insert(AtModifier::At(time));
        is_free
    };
    match expr {
        Expr::Paren(inner) => fix(&mut inner.expr, time),
        Expr::Unary(unary) => fix(&mut unary.expr, time),
        Expr::Binary(binary) => fix(&mut binary.lhs, time) && fix(&mut binary.rhs, time),
        Expr::Aggregate(aggregate) => {
            aggregate.param.as_mut().is_none_or(|parameter| fix(parameter, time)) && fix(&mut aggregate.expr, time)
        }
        Expr::Call(call) => {
            !BY_TIME.contains(&call.func.name) && call.args.args.iter_mut().all(|argument| fix(argument, time))
        }
        Expr::VectorSelector(selector) => fixed(&mut selector.at),
        Expr::MatrixSelector(matrix) => fixed(&mut matrix.vs.at),
        // What stands inside is evaluated at the times of the subquery.
        Expr::Subquery(subquery) => fixed(&mut subquery.at) && is_free_of_time(&subquery.expr, &BY_TIME),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => true,
        Expr::Extension(_) => false,
    }
}

fn is_free_of_time(expr: &Expr, functions: &[&str]) -> bool {
    let text = expr.to_string();
    !functions.iter().any(|name| text.contains(&format!("{name}(")))
}

fn written(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("{text:?}"),
        Value::Scalar(number) => number.to_string(),
        other => written_values(&values(other, 0)),
    }
}

fn written_values(values: &Values) -> String {
    let mut lines = String::new();
    for (labels, row) in values {
        let row: Vec<String> = row.iter().map(|(at, value)| format!("{value}@{at}")).collect();
        write!(lines, "\n    {labels} {}", row.join(" ")).expect("a string takes all");
    }
    if lines.is_empty() { "nothing".into() } else { lines }
}
