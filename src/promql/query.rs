//! A query as Prometheus's API answers it: at one time or over a range, without the question whether absence is proven.

use super::annotation::Annotation;
use super::evaluate::{Evaluation, filtered, points};
use super::plan::{Node, Plan};
use super::reading::Point;
use super::rows::{Rows, SetRow};
use super::vector::Vector;
use crate::base::{Labels, Span, Timestamp};
use crate::store::Samples;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// How a query is evaluated, and what it may cost at most.
#[derive(Clone, Debug)]
pub struct Options {
    /// How far back an instant selector looks.
    pub look_back: Span,
    /// The step of a subquery that states none.
    pub step: Span,
    /// How many samples all windows of one query may hold together.
    pub max_samples: u64,
    /// How many series one selector may mean.
    pub max_series: usize,
    /// Set from outside when the time for the query is over.
    pub stop: Option<Arc<AtomicBool>>,
}

/// What a query gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The value.
    pub value: Value,
    /// What looks like a mistake of the expression, in the order of the text.
    pub annotations: Vec<Annotation>,
}

/// The four types of values.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Scalar(f64),
    /// A text.
    Text(String),
    /// Label sets with one value each.
    Vector(Vec<Point>),
    /// Label sets with values at several times.
    Matrix(Vec<Row>),
}

/// The values of one label set over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its labels.
    pub labels: Labels,
    /// Times, rising, with values.
    pub points: Vec<(Timestamp, f64)>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            look_back: super::LOOK_BACK,
            step: Span::mins(1),
            max_samples: 50_000_000,
            max_series: 200_000,
            stop: None,
        }
    }
}

/// The most points of one label set in an answer over a range, as in Prometheus.
pub const MAX_POINTS: i64 = 11_000;

/// The value at one time. A vector is in the order of the evaluation, which `sort` and `topk` decide; the samples of a range are
/// ordered by labels.
///
/// # Errors
/// Why the expression has no value over this data, or the limit that it exceeds with the figure.
pub fn query(plan: &Plan, samples: &impl Samples, at: Timestamp, options: &Options) -> Result<Answer, String> {
    let mut evaluation = Evaluation::new(plan, samples, options, (at, at), Span::ZERO);
    let value = match &plan.root {
        Node::Text(text) => Value::Text(text.clone()),
        Node::Matrix(source) => Value::Matrix(rows(evaluation.raw(source)?)?),
        root => match filtered(evaluation.value(root)?, plan.comparison) {
            super::vector::Value::Number(number, _) => Value::Scalar(number),
            vector => Value::Vector(points(vector, at)?),
        },
    };
    Ok(Answer { value, annotations: evaluation.take_annotations() })
}

/// The values at `start`, `start + step`, … up to `end`, as a matrix ordered by labels.
///
/// # Errors
/// As [`query`]; a text or a range of samples; a step that is not longer than zero; more than [`MAX_POINTS`] steps.
pub fn query_range(
    plan: &Plan,
    samples: &impl Samples,
    (start, end): (Timestamp, Timestamp),
    step: Span,
    options: &Options,
) -> Result<Answer, String> {
    if step <= Span::ZERO {
        return Err("the step of a query over a range is longer than zero".into());
    }
    if end < start {
        return Err("the end of the range lies before its start".into());
    }
    let n_points = (end - start).0 / step.0 + 1;
    if n_points > MAX_POINTS {
        return Err(format!("the range has {n_points} steps; at most {MAX_POINTS} are answered: choose a longer step"));
    }
    if matches!(plan.root, Node::Text(_) | Node::Matrix(_)) {
        return Err("a query over a range needs a number or a vector at each step".into());
    }
    let mut evaluation = Evaluation::new(plan, samples, options, (start, end), step);
    evaluation.repeats = true;
    let mut found = Rows::default();
    for i in 0..n_points {
        let at = start.0 + i * step.0;
        evaluation.now = at;
        evaluation.charge(1)?;
        let vector = match filtered(evaluation.value(&plan.root)?, plan.comparison) {
            super::vector::Value::Number(number, newest) => Vector::of_number(number, newest),
            super::vector::Value::Vector(vector) => vector.named()?,
        };
        found.add(at, vector)?;
    }
    Ok(Answer { value: Value::Matrix(rows(found)?), annotations: evaluation.take_annotations() })
}

/// The rows of an answer, ordered by labels, with the names dropped that are to be dropped.
fn rows(found: Rows<'_>) -> Result<Vec<Row>, String> {
    let row = |row: SetRow<'_>| {
        let labels = row.labels.into_labels();
        let points = row.times.into_iter().map(Timestamp).zip(row.values).collect();
        Row { labels: if row.drop_name { labels.without_name() } else { labels }, points }
    };
    let mut rows: Vec<Row> = found.rows.into_iter().map(row).collect();
    rows.sort_by(|a, b| a.labels.cmp(&b.labels));
    match rows.windows(2).find(|pair| pair[0].labels == pair[1].labels) {
        Some(pair) => Err(format!("the result holds the labels {} more than once", pair[0].labels)),
        None => Ok(rows),
    }
}

#[cfg(test)]
mod tests {
    use super::super::compile_query;
    use super::*;
    use crate::store::{Stretch, View, stale};
    use std::sync::atomic::Ordering;

    /// Ten series `m`, each 0, 1, 2, … every 10 s up to 600 s; `gone` ends after two samples.
    fn view() -> View {
        let times: Vec<i64> = (0..=60).map(|i| i * 10_000).collect();
        let values: Vec<f64> = (0..=60).map(f64::from).collect();
        let series = (0..10).map(|i| {
            let labels = Labels::new([("__name__", "m".to_string()), ("i", i.to_string())]);
            Stretch::new(labels, times.clone(), values.clone())
        });
        let gone = Stretch::new(Labels::new([("__name__", "gone")]), vec![0, 10_000, 20_000], vec![1.0, 2.0, stale()]);
        View::new(series.chain([gone]))
    }

    fn ask(text: &str, options: &Options) -> Result<Value, String> {
        query(&compile_query(text).unwrap(), &view(), Timestamp(600_000), options).map(|answer| answer.value)
    }

    fn over(text: &str, end: i64, step: i64, options: &Options) -> Result<Value, String> {
        let span = (Timestamp(0), Timestamp(end * 1000));
        let answer = query_range(&compile_query(text).unwrap(), &view(), span, Span::secs(step), options);
        answer.map(|answer| answer.value)
    }

    #[test]
    fn limits_are_told_with_their_figures() {
        let options = Options { max_samples: 1000, max_series: 9, ..Options::default() };
        let error = |text: &str| ask(text, &options).unwrap_err();
        assert_eq!(error("m"), "m means 10 series; a query may read 9 with one selector");
        assert_eq!(error("max_over_time(vector(1)[1h:1s])"), "the query reads more than 1000 samples");
        assert!(ask("m{i=\"1\"}", &options).is_ok());
        assert_eq!(
            error("count_over_time(vector(1)[100d:1s])"),
            "(vector(1))[100d:1s] has 8640000 steps; at most 1000000 are evaluated"
        );
        let stop = Arc::new(AtomicBool::new(false));
        let options = Options { stop: Some(stop.clone()), ..Options::default() };
        assert!(ask("sum(m)", &options).is_ok());
        stop.store(true, Ordering::Relaxed);
        assert_eq!(ask("sum(m)", &options).unwrap_err(), "the time for the query is over");
        let error = over("1", 11_000, 1, &Options::default()).unwrap_err();
        assert_eq!(error, "the range has 11001 steps; at most 11000 are answered: choose a longer step");
        assert!(over("1", 10_999, 1, &Options::default()).is_ok());
        assert!(over("1", 10, 0, &Options::default()).is_err() && over("1", -10, 1, &Options::default()).is_err());
        assert!(over("m[1m]", 10, 1, &Options::default()).is_err());
    }

    #[test]
    fn what_is_fixed_by_at_is_evaluated_once() {
        let options = Options { max_samples: 2000, ..Options::default() };
        assert!(over("sum(m) + 0 * scalar(count(m))", 999, 1, &options).is_err());
        assert!(over("sum(m @ 60) + 0 * time()", 999, 1, &options).is_ok());
        assert!(over("max_over_time(sum(m @ end())[1s:1s])", 700, 1, &options).is_ok());
    }

    #[test]
    fn a_range_is_answered_as_it_lies_in_the_store() {
        let Value::Matrix(rows) = ask("gone[10m1s]", &Options::default()).unwrap() else { panic!("rows") };
        let points: Vec<(i64, f64)> = rows[0].points.iter().map(|(at, value)| (at.0, *value)).collect();
        assert_eq!((rows[0].labels.name(), points), ("gone", vec![(0, 1.0), (10_000, 2.0)]));
        let Value::Matrix(rows) = ask("m[20s]", &Options::default()).unwrap() else { panic!("rows") };
        assert_eq!((rows.len(), rows[0].points.len()), (10, 2));
        let Value::Matrix(rows) = over("topk(1, -m) + 1", 10, 10, &Options::default()).unwrap() else { panic!("rows") };
        assert!(rows.windows(2).all(|pair| pair[0].labels < pair[1].labels), "ordered by labels");
    }

    #[test]
    fn far_times_and_deep_expressions_are_survived() {
        for text in [
            "rate(m[290y])".to_string(),
            "rate(m[5m] offset 290y)".into(),
            "predict_linear(m[290y] @ -9e9, 1e300)".into(),
            "m @ 9e9 offset -290y".into(),
            "max_over_time(m[290y:290y] offset -290y)".into(),
            format!("{}m{}", "abs(".repeat(99), ")".repeat(99)),
            format!("{}m{}", "sum(".repeat(99), ")".repeat(99)),
            "m+".repeat(190) + "m",
            format!("{}m{}", "max_over_time(".repeat(49), "[1s:1s])".repeat(49)),
        ] {
            let plan = compile_query(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            for at in [0, 600_000, i64::MAX, i64::MIN] {
                drop(query(&plan, &view(), Timestamp(at), &Options::default()));
            }
        }
    }
}
