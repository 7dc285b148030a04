//! What a Prometheus-compatible server is asked for an expression, and what its answer means.
//!
//! Enters: the text of an expression, later the bytes of one or two answers. Leaves: up to two queries, and a
//! [`Reading`] as the evaluator here would have given it. Pure: who sends is the agent.
//!
//! The first query is the expression without the comparison at its root, so that "below the limit" and "missing"
//! differ. A server says nothing of why an answer is empty; so where it is, or where an expression has a value in spite
//! of a missing series (`absent`, `unless`, `or`, `scalar`), a second query asks which selectors match now. Where the
//! absence of one would be an answer, it also asks whether the server could have seen it: whether it held a series of
//! that name in the last hour, of a target that is not known to be down (`up == 0`) now.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use promql_parser::label::Matchers;
use promql_parser::parser::token;
use promql_parser::parser::value::ValueType;
use promql_parser::parser::{self, BinaryExpr, Call, Expr, MatrixSelector, VectorSelector};
use serde::Deserialize;
use serde::de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::compile::{CompileError, compile};
use super::plan::Comparison;
use super::reading::{Absence, Missing, Point, Reading};
use crate::base::label::NAME;
use crate::base::{Labels, Timestamp};

/// The most series of one answer. Each becomes an alert that is held in memory, so it is far below what a store holds.
pub const MAX_SERIES: usize = 10_000;

/// The most labels of one series, as in the store.
pub const MAX_LABELS: usize = 64;

/// The most bytes of all names and values of one series, as in the store.
pub const MAX_LABEL_BYTES: usize = 8192;

/// The most selectors of one expression: each is a part of the second query.
const MAX_SELECTORS: usize = 50;

/// How far back the server may have seen a name for its absence to be believed.
const KNOWN_WITHIN: Duration = Duration::from_secs(3600);

/// The longest text of a server that is passed on, in characters.
const MAX_SAID: usize = 160;

/// The label by which the second answer says what it speaks of.
const SELECTOR: &str = "selector";

/// An expression as it is asked of a server.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteQuery {
    text: String,
    comparison: Option<Comparison>,
    need: Need,
    selectors: Vec<Asked>,
    /// The expression may have a value though a series it needs is missing.
    hides_absence: bool,
    presence: String,
}

/// One selector, with the function over it where it is a range: too few samples are no presence.
#[derive(Clone, Debug, PartialEq)]
struct Asked {
    shown: String,
    /// The server writes it while it has something to say: its absence is always an answer.
    own: bool,
}

/// Which selectors must match for the value to be believed.
#[derive(Clone, Debug, PartialEq)]
enum Need {
    Nothing,
    Selector(usize),
    All(Vec<Need>),
    /// One side suffices; the absence of the other must be known.
    Either(Box<[Need; 2]>),
    /// Absence is an answer.
    Exempt(Box<Need>),
}

impl RemoteQuery {
    /// Compiles an expression as for the evaluator here, so that mistakes are found at once, and prepares the queries.
    ///
    /// # Errors
    /// As [`compile`]; more than 50 selectors.
    pub fn compile(text: &str) -> Result<RemoteQuery, CompileError> {
        let plan = compile(text)?;
        let refuse = |message: String| CompileError { message, at: None, label: None, help: None };
        let expr = parser::parse(text).map_err(refuse)?;
        let comparison = plan.root_comparison();
        let mut lowering = Lowering { selectors: Vec::new(), parts: Vec::new(), hides_absence: false };
        let value = if comparison.is_some() { compared(&expr) } else { &expr };
        let need = lowering.need(value, false);
        if lowering.selectors.len() > MAX_SELECTORS {
            let help = "split the rule, or let the server record a part of it";
            let message = format!("a remote rule has at most {MAX_SELECTORS} selectors");
            return Err(CompileError { help: Some(help.into()), ..refuse(message) });
        }
        // The text as it was written, unless a part of it was taken away.
        let text = if comparison.is_some() { value.to_string() } else { text.trim().to_string() };
        let presence = lowering.parts.join(" or ");
        // What was printed anew (its matchers sorted) must read back as itself.
        let is_same = comparison.is_none() || parser::parse(&text).is_ok_and(|again| again.to_string() == text);
        if !is_same || !lowering.parts.iter().all(|part| parser::parse(part).is_ok()) {
            return Err(refuse("this expression cannot be written for a remote server".into()));
        }
        Ok(RemoteQuery {
            text,
            comparison,
            need,
            selectors: lowering.selectors,
            hides_absence: lowering.hides_absence,
            presence,
        })
    }

    /// What is asked first: the expression without the comparison at its root.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What is asked second: which selectors match, and which could.
    pub fn presence(&self) -> &str {
        &self.presence
    }

    /// The comparison at the root of the expression, which is made here.
    pub fn root_comparison(&self) -> Option<Comparison> {
        self.comparison
    }

    /// Whether the first answer can only be believed together with the second.
    pub fn needs_presence(&self, first: &RemoteAnswer) -> bool {
        !self.selectors.is_empty() && (self.hides_absence || first.points.is_empty())
    }

    /// What both answers say, asked for the moment `at`. No sample is newer than that, whatever the server says.
    pub fn reading(&self, first: RemoteAnswer, second: Option<&RemoteAnswer>, at: Timestamp) -> Reading {
        if self.needs_presence(&first) {
            let Some(second) = second else {
                return Reading::Failed("nobody asked which series there are".into());
            };
            if let Some(absence) = self.absence(&self.need, true, &Seen::of(second)) {
                return Reading::NoData(absence);
            }
        }
        let mut points = first.points;
        if let Some(filter) = self.comparison {
            points.retain(|point| filter.relation.holds(point.value, filter.with));
        }
        let mut known = BTreeSet::new();
        for point in &mut points {
            point.newest = point.newest.min(at);
            if !known.insert(&point.labels) {
                return Reading::Failed(format!("the answer holds the labels {} more than once", point.labels));
            }
        }
        Reading::Points(points)
    }

    fn absence(&self, need: &Need, required: bool, seen: &Seen<'_>) -> Option<Absence> {
        match need {
            Need::Nothing => None,
            Need::All(all) => all.iter().find_map(|need| self.absence(need, required, seen)),
            Need::Exempt(inner) => self.absence(inner, false, seen),
            Need::Either(sides) => {
                let [left, right] = &**sides;
                match (self.absence(left, required, seen), self.absence(right, required, seen)) {
                    (None, None) => None,
                    (Some(_), None) => self.absence(left, false, seen),
                    (None, Some(_)) => self.absence(right, false, seen),
                    (Some(left), Some(_)) => Some(left),
                }
            }
            Need::Selector(i) => {
                let asked = &self.selectors[*i];
                let missing = match (seen.matched(*i) || asked.own, required) {
                    (true, _) => return None,
                    (false, true) => Missing::Series,
                    (false, false) if seen.known(*i) => return None,
                    (false, false) => Missing::Source,
                };
                Some(Absence { selector: asked.shown.clone(), missing })
            }
        }
    }
}

/// The side of the comparison at the root that is no constant. A comparison that lets through is between a vector and
/// a number, so the types tell the sides apart.
fn compared(expr: &Expr) -> &Expr {
    match expr {
        Expr::Paren(inner) => compared(&inner.expr),
        Expr::Binary(BinaryExpr { lhs, rhs, .. }) if rhs.value_type() == ValueType::Scalar => lhs,
        Expr::Binary(BinaryExpr { rhs, .. }) => rhs,
        other => other,
    }
}

struct Lowering {
    selectors: Vec<Asked>,
    /// The parts of the second query.
    parts: Vec<String>,
    hides_absence: bool,
}

impl Lowering {
    /// `exempt`: the absence of what is below may be an answer.
    fn need(&mut self, expr: &Expr, exempt: bool) -> Need {
        match expr {
            Expr::Paren(inner) => self.need(&inner.expr, exempt),
            Expr::Unary(unary) => self.need(&unary.expr, exempt),
            Expr::VectorSelector(selector) => self.selector(expr.to_string(), &expr.to_string(), selector, exempt),
            Expr::MatrixSelector(matrix) => {
                let present = format!("present_over_time({expr})");
                self.selector(expr.to_string(), &present, &matrix.vs, exempt)
            }
            Expr::Subquery(subquery) => self.need(&subquery.expr, exempt),
            Expr::Call(call) => self.call(call, exempt),
            Expr::Binary(binary) => self.binary(binary, exempt),
            Expr::Aggregate(aggregate) => {
                let parameter = aggregate.param.as_ref().map_or(Need::Nothing, |p| self.need(p, exempt));
                Need::All(vec![self.need(&aggregate.expr, exempt), parameter])
            }
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => Need::Nothing,
        }
    }

    fn call(&mut self, call: &Call, exempt: bool) -> Need {
        let name = call.func.name;
        let arguments = &call.args.args;
        if name.starts_with("absent") {
            self.hides_absence = true;
            let all = arguments.iter().map(|a| self.need(a, true)).collect();
            return Need::Exempt(Box::new(Need::All(all)));
        }
        // A number that is missing is NaN, and goes on.
        self.hides_absence |= name == "scalar";
        let needs = arguments.iter().map(|argument| match bare(argument) {
            // The function itself says whether the window holds enough samples for it.
            Expr::MatrixSelector(matrix) => {
                self.selector(argument.to_string(), &Expr::Call(call.clone()).to_string(), &matrix.vs, exempt)
            }
            other => self.need(other, exempt),
        });
        Need::All(needs.collect())
    }

    fn binary(&mut self, binary: &BinaryExpr, exempt: bool) -> Need {
        match binary.op.id() {
            token::T_LUNLESS => {
                self.hides_absence = true;
                let left = self.need(&binary.lhs, exempt);
                Need::All(vec![left, Need::Exempt(Box::new(self.need(&binary.rhs, true)))])
            }
            token::T_LOR => {
                self.hides_absence = true;
                Need::Either(Box::new([self.need(&binary.lhs, true), self.need(&binary.rhs, true)]))
            }
            _ => Need::All(vec![self.need(&binary.lhs, exempt), self.need(&binary.rhs, exempt)]),
        }
    }

    fn selector(&mut self, shown: String, present: &str, selector: &VectorSelector, exempt: bool) -> Need {
        let i = self.selectors.len();
        let own = selector.name.as_deref().is_some_and(|name| name == "ALERTS" || name == "ALERTS_FOR_STATE");
        self.parts.push(marked(present, 'm', i));
        if exempt {
            self.parts.push(marked(&could_be_seen(selector), 'k', i));
        }
        self.selectors.push(Asked { shown, own });
        Need::Selector(i)
    }
}

fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Paren(inner) => bare(&inner.expr),
        other => other,
    }
}

/// How many elements `vector` has, under a label of its own; nothing where it has none.
fn marked(vector: &str, what: char, i: usize) -> String {
    format!("label_replace(count({vector}), \"{SELECTOR}\", \"{what}{i}\", \"\", \"\")")
}

/// The series of the selector's name in the last hour, less those of targets that are known to be down. A selector
/// without a name stands for itself. Series that nobody scrapes (recorded, pushed) have no `up`, and count.
fn could_be_seen(selector: &VectorSelector) -> String {
    let mut named = selector.clone();
    if named.name.is_some() {
        named.matchers = Matchers::empty();
    } else if named.matchers.matchers.iter().any(|m| m.name == NAME) {
        named.matchers.matchers.retain(|m| m.name == NAME);
    }
    let up = VectorSelector { name: Some("up".into()), matchers: Matchers::empty(), ..selector.clone() };
    let last_hour = Expr::MatrixSelector(MatrixSelector { vs: named, range: KNOWN_WITHIN });
    format!("last_over_time({last_hour}) unless on (job, instance) ({} == 0)", Expr::VectorSelector(up))
}

/// What the second answer says.
struct Seen<'a>(BTreeSet<&'a str>);

impl Seen<'_> {
    fn of(answer: &RemoteAnswer) -> Seen<'_> {
        Seen(answer.points.iter().filter(|p| p.value >= 1.0).map(|p| p.labels.get(SELECTOR)).collect())
    }

    fn matched(&self, i: usize) -> bool {
        self.0.contains(format!("m{i}").as_str())
    }

    fn known(&self, i: usize) -> bool {
        self.0.contains(format!("k{i}").as_str())
    }
}

/// A whole answer of the query API: a vector, or a number as the only element of one.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteAnswer {
    points: Vec<Point>,
}

impl RemoteAnswer {
    /// Reads an answer with its HTTP status.
    ///
    /// # Errors
    /// A short reason: an error of the server, a partial answer, one that is none of the query API, or one over a bound.
    pub fn read(status: u16, body: &[u8]) -> Result<RemoteAnswer, String> {
        let is_success = (200..300).contains(&status);
        let envelope: Envelope = match serde_json::from_slice(body) {
            Ok(envelope) => envelope,
            Err(_) if !is_success => return Err(format!("status {status}")),
            Err(error) if error.is_eof() => return Err("the answer breaks off".into()),
            Err(_) => return Err("this is no answer of Prometheus's query API".into()),
        };
        if !is_success || envelope.status != "success" {
            let kind = said(&envelope.error_type.unwrap_or_default());
            let error = said(&envelope.error.unwrap_or_default());
            let parts = [kind, error].into_iter().filter(|part| !part.is_empty());
            let parts: Vec<String> = std::iter::once(format!("status {status}")).chain(parts).collect();
            return Err(parts.join(": "));
        }
        if envelope.is_partial == Some(true) {
            return Err("the answer is partial".into());
        }
        if let Some(first) = envelope.warnings.unwrap_or_default().first() {
            return Err(format!("the answer may be partial: {}", said(first)));
        }
        let data = envelope.data.ok_or("the answer holds no data")?;
        match data.kind.as_str() {
            "vector" => data.result.vector(),
            "scalar" => data.result.scalar(),
            kind => Err(format!("the answer is of the type {}, which is no value", said(kind))),
        }
    }
}

/// A server's own words, short and on one line.
fn said(text: &str) -> String {
    let harmless = |c: char| if c.is_control() { ' ' } else { c };
    let mut short: String = text.chars().take(MAX_SAID).map(harmless).collect();
    if text.chars().nth(MAX_SAID).is_some() {
        short.push('…');
    }
    short.trim().to_string()
}

#[derive(Deserialize)]
struct Envelope {
    status: String,
    data: Option<Data>,
    #[serde(rename = "errorType")]
    error_type: Option<String>,
    error: Option<String>,
    warnings: Option<Vec<String>>,
    #[serde(rename = "isPartial")]
    is_partial: Option<bool>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    kind: String,
    result: Items,
}

/// The elements of a result of any type, at most one more than may be.
struct Items(Vec<Item>);

enum Item {
    Series(Series),
    Number(f64),
    Text(String),
    Other,
}

#[derive(Deserialize)]
struct Series {
    #[serde(default)]
    metric: Metric,
    value: Option<(f64, String)>,
}

/// Labels within their bounds; none where they are over.
struct Metric(Option<Labels>);

impl Default for Metric {
    fn default() -> Metric {
        Metric(Some(Labels::empty()))
    }
}

impl Items {
    fn vector(self) -> Result<RemoteAnswer, String> {
        if self.0.len() > MAX_SERIES {
            return Err(format!("the answer holds more than {MAX_SERIES} series"));
        }
        let points = self.0.into_iter().map(|item| {
            let Item::Series(series) = item else { return Err(NO_SERIES.to_string()) };
            let Metric(Some(labels)) = series.metric else {
                return Err(format!("a series has more than {MAX_LABELS} labels, or {MAX_LABEL_BYTES} bytes of them"));
            };
            let Some((time, value)) = series.value else {
                return Err("the answer holds a native histogram, which is no value".into());
            };
            Ok(Point { labels, value: number(&value)?, newest: moment(time)? })
        });
        Ok(RemoteAnswer { points: points.collect::<Result<_, String>>()? })
    }

    fn scalar(self) -> Result<RemoteAnswer, String> {
        let [Item::Number(time), Item::Text(value)] = self.0.as_slice() else { return Err(NO_SERIES.to_string()) };
        let point = Point { labels: Labels::empty(), value: number(value)?, newest: moment(*time)? };
        Ok(RemoteAnswer { points: vec![point] })
    }
}

const NO_SERIES: &str = "the answer holds something else than series";

/// `NaN`, `+Inf` and `-Inf` are numbers.
fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| format!("{} is no number", said(text)))
}

fn moment(seconds: f64) -> Result<Timestamp, String> {
    if !seconds.is_finite() || seconds.abs() > 1e12 {
        return Err("a time is out of range".into());
    }
    Ok(Timestamp((seconds * 1000.0).round() as i64))
}

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Items, D::Error> {
        struct OfItems;
        impl<'de> Visitor<'de> for OfItems {
            type Value = Items;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a result")
            }
            fn visit_str<E: de::Error>(self, _: &str) -> Result<Items, E> {
                Ok(Items(Vec::new()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Items, A::Error> {
                let mut items = Vec::new();
                while items.len() <= MAX_SERIES {
                    match list.next_element()? {
                        Some(item) => items.push(item),
                        None => return Ok(Items(items)),
                    }
                }
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Items(items))
            }
        }
        deserializer.deserialize_any(OfItems)
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Item, D::Error> {
        struct OfItem;
        impl<'de> Visitor<'de> for OfItem {
            type Value = Item;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a series")
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Item, E> {
                Ok(Item::Number(number))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Item, E> {
                Ok(Item::Number(number as f64))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Item, E> {
                Ok(Item::Number(number as f64))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Item, E> {
                Ok(Item::Text(text.chars().take(MAX_SAID).collect()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Item, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Item::Other)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Item, A::Error> {
                Series::deserialize(de::value::MapAccessDeserializer::new(map)).map(Item::Series)
            }
        }
        deserializer.deserialize_any(OfItem)
    }
}

impl<'de> Deserialize<'de> for Metric {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Metric, D::Error> {
        struct OfMetric;
        impl<'de> Visitor<'de> for OfMetric {
            type Value = Metric;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metric, A::Error> {
                let mut pairs: Vec<(String, String)> = Vec::new();
                let mut bytes = 0;
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    bytes += name.len() + value.len();
                    if pairs.len() == MAX_LABELS || bytes > MAX_LABEL_BYTES {
                        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                        return Ok(Metric(None));
                    }
                    pairs.push((name, value));
                }
                Ok(Metric(Some(Labels::new(pairs))))
            }
        }
        deserializer.deserialize_map(OfMetric)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Span;

    const AT: Timestamp = Timestamp(1_761_640_000_000);

    fn vector(series: &[(&str, &str)]) -> Vec<u8> {
        let one =
            |(labels, value): &(&str, &str)| format!(r#"{{"metric":{{{labels}}},"value":[1761640000,"{value}"]}}"#);
        let all: Vec<String> = series.iter().map(one).collect();
        format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{}]}}}}"#, all.join(",")).into()
    }

    fn answer(series: &[(&str, &str)]) -> RemoteAnswer {
        RemoteAnswer::read(200, &vector(series)).unwrap()
    }

    /// The second answer where these selectors matched (`m`) or could have (`k`).
    fn seen(words: &str) -> RemoteAnswer {
        let labels: Vec<String> = words.split_whitespace().map(|w| format!(r#""selector":"{w}""#)).collect();
        let series: Vec<(&str, &str)> = labels.iter().map(|l| (l.as_str(), "1")).collect();
        answer(&series)
    }

    /// What an expression gives for values of one unlabelled series (or none), and what the second answer says.
    fn read(text: &str, value: Option<&str>, words: &str) -> String {
        let query = RemoteQuery::compile(text).unwrap();
        let first = answer(&value.map(|v| ("", v)).into_iter().collect::<Vec<_>>());
        let second = query.needs_presence(&first).then(|| seen(words));
        match query.reading(first, second.as_ref(), AT) {
            Reading::Points(points) => points.iter().map(|p| p.value.to_string()).collect::<Vec<_>>().join(" "),
            Reading::NoData(absence) => format!("no data: {absence}"),
            Reading::Failed(why) => format!("failed: {why}"),
        }
    }

    #[test]
    fn the_comparison_at_the_root_stays_here() {
        for (text, sent) in [
            ("up", "up"),
            ("  sum by (job) (rate(x_total{code=~\"5..\"}[5m]))\n", "sum by (job) (rate(x_total{code=~\"5..\"}[5m]))"),
            ("up == 0", "up"),
            ("0 == (up)", "(up)"),
            ("(up{job=\"a\"} + 1 > 2 * 3)", "up{job=\"a\"} + 1"),
            ("a / on (job) group_left (x) b < 5m", "a / on (job) group_left (x) b"),
            ("up == bool 0", "up == bool 0"),
            (r#"up{b=~"x\\.y{2}|\"",a!="\n"} > 1e-7"#, r#"up{a!="\n",b=~"x\\.y{2}|\""}"#),
            ("-a ^ 2 * (b - -c) > 0", "-a ^ 2 * (b - -c)"),
            ("a > b", "a > b"),
        ] {
            let query = RemoteQuery::compile(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(query.text(), sent, "{text}");
        }
        assert_eq!(read("up < 1", Some("0"), ""), "0");
        assert_eq!(read("up < 1", Some("1"), ""), "");
        assert_eq!(read("1 > up", Some("0"), ""), "0");
    }

    #[test]
    fn an_empty_answer_is_no_data_only_where_a_series_is_missing() {
        assert_eq!(read("up", None, ""), "no data: nothing matches up");
        assert_eq!(read("up", None, "m0"), "");
        assert_eq!(read("a > 5 and on () b", None, "m0"), "no data: nothing matches b");
        assert_eq!(read("a > 5 and on () b", None, "m0 m1"), "");
        assert_eq!(read("rate(a_total[5m])", None, ""), "no data: nothing matches a_total[5m]");
        assert_eq!(read("vector(1) > 0", Some("1"), ""), "1");
        assert_eq!(read("scalar(a) + 1", Some("NaN"), ""), "no data: nothing matches a");
    }

    #[test]
    fn absence_is_believed_only_of_a_server_that_could_have_seen_presence() {
        let unseen = "and no source that could give it was read lately";
        assert_eq!(read("absent(a)", Some("1"), "k0"), "1");
        assert_eq!(read("absent(a)", None, "m0 k0"), "");
        assert_eq!(read("absent(a)", Some("1"), ""), format!("no data: nothing matches a, {unseen}"));
        assert_eq!(read("a unless b", Some("3"), "m0 k1"), "3");
        assert_eq!(read("a unless b", Some("3"), "m0"), format!("no data: nothing matches b, {unseen}"));
        assert_eq!(read("a unless b", None, "m1 k1"), "no data: nothing matches a");
        assert_eq!(read("a or b", Some("3"), "m0 k0 k1"), "3");
        assert_eq!(read("a or b", Some("3"), "m1"), format!("no data: nothing matches a, {unseen}"));
        assert_eq!(read("a or b", None, "k0 k1"), "no data: nothing matches a");
        assert_eq!(read("count(a) or vector(0)", Some("0"), "k0"), "0");
        assert_eq!(read("ALERTS", None, ""), "");
    }

    #[test]
    fn the_second_query_asks_for_matches_and_for_the_name() {
        let query = RemoteQuery::compile("a{x=\"1\"} unless rate(b{y=\"2\"}[5m] offset 1m)").unwrap();
        let wanted = [
            r#"label_replace(count(a{x="1"}), "selector", "m0", "", "")"#,
            r#"label_replace(count(rate(b{y="2"}[5m] offset 1m)), "selector", "m1", "", "")"#,
            r#"label_replace(count(last_over_time(b[1h] offset 1m) unless on (job, instance) (up offset 1m == 0)), "selector", "k1", "", "")"#,
        ];
        assert_eq!(query.presence(), wanted.join(" or "));
        let nameless = RemoteQuery::compile("absent({job=\"a\"})").unwrap();
        assert!(nameless.presence().contains("last_over_time({job=\"a\"}[1h])"), "{}", nameless.presence());
    }

    #[test]
    fn numbers_and_times_are_read_and_no_sample_is_newer_than_the_question() {
        let query = RemoteQuery::compile("a").unwrap();
        let body = vector(&[(r#""a":"1""#, "NaN"), (r#""a":"2""#, "+Inf"), (r#""a":"3""#, "-Inf"), ("", "1e+06")]);
        let answer = RemoteAnswer::read(200, &body).unwrap();
        let Reading::Points(points) = query.reading(answer, None, AT - Span::secs(3)) else { panic!("points") };
        let values: Vec<f64> = points.iter().map(|p| p.value).collect();
        assert!(values[0].is_nan());
        assert_eq!(values[1..], [f64::INFINITY, f64::NEG_INFINITY, 1e6]);
        assert!(points.iter().all(|p| p.newest == AT - Span::secs(3)));
        let scalar =
            br#"{"status":"success","data":{"result":[1761640000.5,"7"],"resultType":"scalar"},"infos":["i"]}"#;
        let scalar = RemoteAnswer::read(200, scalar).unwrap();
        assert_eq!(scalar.points[0].value, 7.0);
        assert_eq!(scalar.points[0].newest, AT + Span::millis(500));
    }

    #[test]
    fn what_cannot_be_believed_is_a_failure_with_a_reason() {
        let data = r#""data":{"resultType":"vector","result":[]}"#;
        let labels: Vec<String> = (0..65).map(|i| format!(r#""l{i}":"v""#)).collect();
        let many = vector(&vec![("", "1"); MAX_SERIES + 5]);
        for (status, body, wanted) in [
            (
                200,
                format!(r#"{{"status":"success",{data},"warnings":["store x\nis away"]}}"#),
                "the answer may be partial: store x is away",
            ),
            (200, format!(r#"{{"status":"success",{data},"isPartial":true}}"#), "the answer is partial"),
            (
                200,
                r#"{"status":"error","errorType":"timeout","error":"too slow"}"#.into(),
                "status 200: timeout: too slow",
            ),
            (
                422,
                r#"{"status":"error","errorType":"execution","error":"many-to-many"}"#.into(),
                "status 422: execution: many-to-many",
            ),
            (502, "<html>bad gateway</html>".into(), "status 502"),
            (200, "<html>log in</html>".into(), "this is no answer of Prometheus's query API"),
            (200, r#"{"status":"succ"#.into(), "the answer breaks off"),
            (200, r#"{"status":"success"}"#.into(), "the answer holds no data"),
            (
                200,
                r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"1"]]}]}}"#
                    .into(),
                "the answer is of the type matrix, which is no value",
            ),
            (
                200,
                r#"{"status":"success","data":{"resultType":"string","result":[1,"x"]}}"#.into(),
                "the answer is of the type string, which is no value",
            ),
            (
                200,
                r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"histogram":[1,{}]}]}}"#
                    .into(),
                "the answer holds a native histogram, which is no value",
            ),
            (
                200,
                r#"{"status":"success","data":{"resultType":"vector","result":[[1,"1"]]}}"#.into(),
                "the answer holds something else than series",
            ),
            (200, String::from_utf8(vector(&[("", "seven")])).unwrap(), "seven is no number"),
            (
                200,
                String::from_utf8(vector(&[(&labels.join(","), "1")])).unwrap(),
                "a series has more than 64 labels, or 8192 bytes of them",
            ),
            (200, String::from_utf8(many).unwrap(), "the answer holds more than 10000 series"),
        ] {
            assert_eq!(RemoteAnswer::read(status, body.as_bytes()), Err(wanted.to_string()), "{status} {:.200}", body);
        }
        let twice = answer(&[("", "1"), ("", "2")]);
        let query = RemoteQuery::compile("a").unwrap();
        assert_eq!(
            query.reading(twice, None, AT),
            Reading::Failed("the answer holds the labels {} more than once".into())
        );
    }

    #[test]
    fn what_is_refused_here_is_refused_for_a_server_too() {
        assert!(RemoteQuery::compile("quantile_over_thyme(0.9, x[5m])").is_err());
        assert!(RemoteQuery::compile("rate(x)").is_err());
        let long = vec!["a"; MAX_SELECTORS + 1].join(" + ");
        assert_eq!(RemoteQuery::compile(&long).unwrap_err().message, "a remote rule has at most 50 selectors");
    }
}
