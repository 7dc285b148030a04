//! `[signal.NAME]`: what a person or a program states: a tick, an approval, an imported test result, a count.
//!
//! Enters: how the signal stands, as it was stated and journaled; nothing is looked at. Leaves: a [`Batch`] whenever
//! something is stated, and every 15 s what still holds. Series: `backstop_signal` (1 set and as expected, else 0),
//! `backstop_signal_rejected`, `backstop_signal_new` (what happened since the sample before), `backstop_signal_total`,
//! and of a posted result `probe_value{name}` and `probe_expect_ok{expect}`. A signal that nobody set is no failure;
//! the only reason of one is `expect`: a posted result is not as it should be.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::common::{Common, Defaults, Target, sample};
use super::expect::{self, Expectation, Judge, Measure, Observation};
use crate::base::table::Placed;
use crate::base::{Batch, Failure, Labels, Node, Outcome, Problems, Sample, Span, Table, Timestamp};

/// How often the series of a signal are repeated while nothing happens.
pub const REPEAT: Span = Span::secs(15);

/// The most signals of one configuration.
pub const MAX_SIGNALS: usize = 256;

/// The most values of a posted result.
pub const MAX_VALUES: usize = 64;

/// The longest posted JSON, in bytes.
pub const MAX_JSON: usize = 64 * 1024;

/// The deepest posted JSON.
pub const MAX_DEPTH: usize = 64;

/// How the name of a posted value is written.
pub const KEY_HELP: &str = "a-z, 0-9, `_`, `.` and `-`, at most 63, beginning with a letter or digit";

/// Metric names of every signal.
pub const NAMES: [&str; 9] = [
    "probe_success",
    "probe_duration_seconds",
    "probe_failure_info",
    "probe_expect_ok",
    "probe_value",
    "backstop_signal",
    "backstop_signal_rejected",
    "backstop_signal_new",
    "backstop_signal_total",
];

/// Whether a signal is or is not, or counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It is set, rejected, or neither.
    Flag,
    /// It counts what happened.
    Count,
}

/// A result that somebody posted with a signal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Posted {
    /// Numbers by name; at most [`MAX_VALUES`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, f64>,
    /// A JSON text; at most [`MAX_JSON`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<String>,
}

impl Posted {
    /// Checks all bounds.
    ///
    /// # Errors
    /// The first bound that is passed, as a fragment.
    pub fn check(&self) -> Result<(), String> {
        if self.values.len() > MAX_VALUES {
            return Err(format!("{} values; at most {MAX_VALUES}", self.values.len()));
        }
        for (key, value) in &self.values {
            if !is_key(key) {
                let shown: String = key.chars().take(63).map(|c| if c.is_control() { ' ' } else { c }).collect();
                return Err(format!("`{shown}` is no name of a value ({KEY_HELP})"));
            }
            if !value.is_finite() {
                return Err(format!("{key} is no finite number"));
            }
        }
        let Some(json) = &self.json else { return Ok(()) };
        if json.len() > MAX_JSON {
            return Err(format!("{} bytes of JSON; at most {MAX_JSON}", json.len()));
        }
        if depth(json) > MAX_DEPTH {
            return Err(format!("JSON deeper than {MAX_DEPTH}"));
        }
        // Read whole: what is merely skipped may hold numbers that no reader takes.
        serde_json::from_str::<serde_json::Value>(json).map(|_| ()).map_err(|e| format!("no JSON: {e}"))
    }
}

/// A posted result as expectations see it.
struct Evidence {
    values: Vec<(String, f64)>,
    /// The JSON; the values as an object where none was posted; nothing where nothing was.
    document: Option<Vec<u8>>,
}

impl Evidence {
    fn of(posted: Option<&Posted>) -> Evidence {
        let Some(posted) = posted else { return Evidence { values: Vec::new(), document: None } };
        let document = match &posted.json {
            Some(json) => json.clone().into_bytes(),
            None => serde_json::to_vec(&posted.values).unwrap_or_default(),
        };
        Evidence {
            values: posted.values.iter().map(|(key, value)| (key.clone(), *value)).collect(),
            document: Some(document),
        }
    }

    fn seen(&self, now: Timestamp) -> Observation<'_> {
        let exit = self.values.iter().find(|(key, value)| key == "exit" && value.fract() == 0.0);
        Observation {
            body: self.document.as_deref(),
            numbers: &self.values,
            number: match self.values.as_slice() {
                [(_, only)] => Some(*only),
                _ => None,
            },
            exit: exit.map(|(_, value)| *value as i32),
            now,
            ..Observation::default()
        }
    }
}

/// How deep arrays and objects lie in each other; strings are skipped.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Whether `key` is a name of a posted value.
pub fn is_key(key: &str) -> bool {
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=63).contains(&key.len())
        && key.bytes().next().is_some_and(letter)
        && key.bytes().all(|b| letter(b) || matches!(b, b'_' | b'.' | b'-'))
}

/// `[signal.NAME]`.
#[derive(Clone, Debug)]
pub struct Config {
    /// What all sources take; its interval is [`REPEAT`].
    pub common: Common,
    /// What it means, for people.
    pub text: Option<String>,
    /// Flag or count.
    pub kind: Kind,
    /// How long a word about it holds; until the next deployment where unset.
    pub lifetime: Option<Span>,
    /// What a posted result must be.
    pub expect: Vec<Expectation>,
    /// Numbers taken from a posted JSON.
    pub values: Vec<(String, Measure)>,
}

impl Config {
    /// Reads the table of the signal `name`.
    pub fn read(name: &str, node: &Node, defaults: &Defaults, problems: &mut Problems) -> Option<Config> {
        let mut table = Table::open(node, "a signal", problems)?;
        let common = Common::read_event("signal", name, &mut table, defaults, REPEAT, problems);
        refused_keys(&mut table, problems);
        let kind = read_kind(&mut table, problems);
        let lifetime = read_lifetime(&mut table, problems);
        let config = Config {
            common,
            text: read_text(&mut table, problems),
            kind,
            lifetime,
            expect: expect::read_expect(&mut table, expect::Kind::Signal, problems),
            values: expect::read_values(&mut table, expect::Kind::Signal, problems),
        };
        for key in ["lifetime", "expect", "values"] {
            if let (Kind::Count, Some(place)) = (kind, table.key_place(key)) {
                problems
                    .error(place, format!("a count has no `{key}`"), "it goes on until it is cleared")
                    .help("leave it out, or write kind = \"flag\"");
            }
        }
        table.finish(problems);
        Some(config)
    }
}

/// Keys that other sources have, and keys that the grammar has and this version has not.
fn refused_keys(table: &mut Table<'_>, problems: &mut Problems) {
    for key in ["interval", "timeout"] {
        if let Some(place) = table.key_place(key) {
            problems
                .error(place, format!("a signal has no `{key}`"), "nothing is looked at")
                .help("leave it out: a signal is told, and judged at once");
            table.node(key);
        }
    }
    for (key, why) in [
        ("by", "`by` is not in this version: whoever may talk to the agent may set a signal"),
        ("gate", "`gate` is not in this version: judge `backstop_signal` in a rule"),
    ] {
        if let Some(place) = table.key_place(key) {
            problems.error(place, format!("unknown key `{key}`"), "would have no effect").help(why);
            table.node(key);
        }
    }
}

fn read_kind(table: &mut Table<'_>, problems: &mut Problems) -> Kind {
    let Some(kind) = table.get::<Placed<String>>("kind", problems) else { return Kind::Flag };
    match kind.value.as_str() {
        "flag" => Kind::Flag,
        "count" => Kind::Count,
        other => {
            problems
                .error(&kind.place, format!("there is no kind of signal `{other}`"), "")
                .help("\"flag\" is set or not; \"count\" counts");
            Kind::Flag
        }
    }
}

fn read_lifetime(table: &mut Table<'_>, problems: &mut Problems) -> Option<Span> {
    let lifetime = table.get::<Placed<Span>>("lifetime", problems)?;
    if lifetime.value <= Span::ZERO {
        problems.error(&lifetime.place, "a lifetime is longer than nothing", "it would never be set");
        return None;
    }
    Some(lifetime.value)
}

/// The longest text of a signal, in characters: it stands in every list.
const MAX_TEXT: usize = 200;

fn read_text(table: &mut Table<'_>, problems: &mut Problems) -> Option<String> {
    let text = table.get::<Placed<String>>("text", problems)?;
    let length = text.value.chars().count();
    if length > MAX_TEXT || text.value.chars().any(char::is_control) {
        problems
            .error(&text.place, "the text of a signal is one line", format!("{length} characters"))
            .help(format!("at most {MAX_TEXT} characters, no line breaks"));
        return None;
    }
    Some(text.value)
}

/// How a signal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stands {
    /// Nothing holds.
    Unset,
    /// It was set, or counted.
    Set,
    /// It was rejected.
    Rejected,
}

/// What its series tell at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// How it stands.
    pub stands: Stands,
    /// The result that was posted, if one stands.
    pub posted: Option<&'a Posted>,
    /// What happened since the batch before.
    pub new: u64,
    /// A flag: how often it was set. A count: what it counts.
    pub total: u64,
}

/// One expectation, held against what was posted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// As it was written.
    pub expect: String,
    /// Why it does not hold, if so.
    pub why: Option<String>,
}

/// A declared signal: pure, for its world is what the journal says.
#[derive(Debug)]
pub struct Signal {
    config: Config,
    target: Target,
    judge: Judge,
    series: [Labels; 4],
}

impl Signal {
    /// The signal of this configuration.
    pub fn new(config: Config) -> Signal {
        let name = config.common.reference.name.clone();
        let target = Target::new(&config.common, name.clone());
        let names = ["backstop_signal", "backstop_signal_rejected", "backstop_signal_new", "backstop_signal_total"];
        let series = names.map(|series| target.series(series, &[("name", &name)]));
        let judge = Judge::new(&config.expect, &config.values, &target, &[]);
        Signal { config, target, judge, series }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.config.common.reference.name
    }

    /// Flag or count.
    pub fn kind(&self) -> Kind {
        self.config.kind
    }

    /// How long a word holds.
    pub fn lifetime(&self) -> Option<Span> {
        self.config.lifetime
    }

    /// What it means, for people.
    pub fn text(&self) -> Option<&str> {
        self.config.text.as_deref()
    }

    /// Whether a posted result must be as expected.
    pub fn expects(&self) -> bool {
        !self.config.expect.is_empty()
    }

    /// Its source.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The series of its total, as it was written last before a restart.
    pub fn total_series(&self) -> &Labels {
        &self.series[3]
    }

    /// The names of series that exist from the start, or are believed to be absent until a result is posted.
    pub fn names(&self) -> Vec<&'static str> {
        NAMES.to_vec()
    }

    /// Holds every expectation against a posted result.
    pub fn hold(&self, at: Timestamp, posted: Option<&Posted>) -> Vec<Held> {
        let evidence = Evidence::of(posted);
        let seen = evidence.seen(at);
        let held = |expect: &Expectation| Held { expect: expect.text().into(), why: expect.check(&seen).err() };
        self.config.expect.iter().map(held).collect()
    }
}

impl Signal {
    /// Its series at one moment. Also the place where a posted result is judged.
    pub fn batch(&self, at: Timestamp, look: &Look<'_>) -> Batch {
        let mut samples = Vec::with_capacity(8);
        let is_result = look.stands == Stands::Set && (look.posted.is_some() || self.expects());
        let outcome = if is_result { self.judge(at, look.posted, &mut samples) } else { Outcome::Good };
        let is_set = look.stands == Stands::Set && outcome == Outcome::Good;
        let is_rejected = look.stands == Stands::Rejected;
        let figures =
            [f64::from(u8::from(is_set)), f64::from(u8::from(is_rejected)), look.new as f64, look.total as f64];
        samples.extend(self.series.iter().cloned().zip(figures).map(|(labels, value)| sample(labels, value)));
        self.target.batch(at, 0.0, outcome, samples)
    }

    fn judge(&self, at: Timestamp, posted: Option<&Posted>, samples: &mut Vec<Sample>) -> Outcome {
        let evidence = Evidence::of(posted);
        let outcome = self.judge.judge(&evidence.seen(at), samples);
        let named = |key: &str| self.config.values.iter().any(|(name, _)| name == key);
        for (key, value) in evidence.values.iter().filter(|(key, _)| !named(key)) {
            samples.push(sample(self.target.probe_series("probe_value", &[("name", key)]), *value));
        }
        match outcome {
            Outcome::Failed(failure) => Outcome::Failed(Failure::new("expect", failure.detail)),
            Outcome::Good => Outcome::Good,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::{defaults, outcome, read, value};

    fn config(toml: &str) -> (Option<Config>, Vec<String>) {
        read(toml, |node, problems| Config::read("tests", node, &defaults(), problems))
    }

    fn signal(toml: &str) -> Signal {
        let (config, problems) = config(toml);
        assert_eq!(problems, Vec::<String>::new(), "{toml}");
        Signal::new(config.unwrap())
    }

    fn posted(values: &[(&str, f64)], json: Option<&str>) -> Posted {
        Posted {
            values: values.iter().map(|(key, value)| (key.to_string(), *value)).collect(),
            json: json.map(String::from),
        }
    }

    fn look(stands: Stands, posted: Option<&Posted>) -> Look<'_> {
        Look { stands, posted, new: 1, total: 3 }
    }

    #[test]
    fn every_mistake_of_the_table_is_named() {
        for (toml, wanted) in [
            ("kind = \"tick\"", "there is no kind of signal `tick`"),
            ("kind = 1", "this takes a string"),
            ("interval = \"15s\"", "a signal has no `interval`"),
            ("timeout = \"15s\"", "a signal has no `timeout`"),
            ("by = [\"qa\"]", "unknown key `by`"),
            ("gate = \"go-live\"", "unknown key `gate`"),
            ("lifetime = \"0s\"", "a lifetime is longer than nothing"),
            ("lifetime = 5", "`5` has no unit"),
            ("kind = \"count\"\nlifetime = \"1h\"", "a count has no `lifetime`"),
            ("kind = \"count\"\nexpect = ['number x == 0']", "a count has no `expect`"),
            ("kind = \"count\"\nvalues = { a = 'json a' }", "a count has no `values`"),
            ("text = \"two\\nlines\"", "the text of a signal is one line"),
            ("lifetme = \"1h\"", "unknown key `lifetme`"),
            ("labels = { job = \"x\" }", "the label `job` is given by backstop"),
        ] {
            assert_eq!(config(toml).1, [wanted], "{toml}");
        }
        let (_, problems) = config("expect = ['status == 200']");
        assert_eq!(problems.len(), 1, "a subject that no signal has: {problems:?}");
    }

    #[test]
    fn a_declared_signal_has_its_series_from_the_start() {
        let signal = signal("labels = { team = \"shop\" }\nservice = \"api\"");
        let batch = signal.batch(Timestamp(5), &Look { stands: Stands::Unset, posted: None, new: 0, total: 0 });
        assert_eq!((outcome(&batch).as_str(), batch.at, batch.interval), ("good", Timestamp(5), REPEAT));
        for name in ["backstop_signal", "backstop_signal_rejected", "backstop_signal_new", "backstop_signal_total"] {
            assert_eq!(value(&batch, name, &[("name", "tests")]), Some(0.0), "{name}");
        }
        assert_eq!(value(&batch, "probe_success", &[("source", "signal")]), Some(1.0), "not set is no failure");
        let labels = batch.samples[0].labels.to_string();
        let wanted = r#"backstop_signal{app="shop",instance="tests",job="tests",name="tests",service="api",source="signal",team="shop",zone="a"}"#;
        assert_eq!(labels, wanted);
        for sample in &batch.samples {
            assert!(signal.names().contains(&sample.labels.name()), "{}", sample.labels);
        }
    }

    #[test]
    fn the_series_tell_how_it_stands() {
        let flag = signal("");
        for (stands, holds, rejected) in
            [(Stands::Unset, 0.0, 0.0), (Stands::Set, 1.0, 0.0), (Stands::Rejected, 0.0, 1.0)]
        {
            let batch = flag.batch(Timestamp(5), &look(stands, None));
            assert_eq!(value(&batch, "backstop_signal", &[]), Some(holds), "{stands:?}");
            assert_eq!(value(&batch, "backstop_signal_rejected", &[]), Some(rejected), "{stands:?}");
            assert_eq!(value(&batch, "backstop_signal_new", &[]), Some(1.0));
            assert_eq!(value(&batch, "backstop_signal_total", &[]), Some(3.0));
            assert_eq!(value(&batch, "probe_success", &[]), Some(1.0), "{stands:?}");
        }
    }

    #[test]
    fn a_posted_result_is_held_against_what_is_expected() {
        let json = Some(r#"{"summary": {"passed": 184, "failed": 1}, "suites": [{"ok": true}, {"ok": true}]}"#);
        for (expect, posted, wanted) in [
            ("number failed == 0", posted(&[("failed", 0.0)], None), Ok(())),
            ("number failed == 0", posted(&[("failed", 2.0)], None), Err("2")),
            ("number == 5", posted(&[("load", 5.0)], None), Ok(())),
            ("exit == 0", posted(&[("exit", 0.0), ("x", 1.0)], None), Ok(())),
            ("exit == 0", posted(&[("exit", 3.0)], None), Err("3")),
            ("json failed == 0", posted(&[("failed", 0.0)], None), Ok(())),
            ("json summary.failed == 0", posted(&[], json), Err("1")),
            ("json summary.passed >= 180", posted(&[], json), Ok(())),
            ("every json suites[*].ok == true", posted(&[], json), Ok(())),
            ("json summary.skipped == 0", posted(&[], json), Err("missing")),
            ("number coverage >= 80%", posted(&[("coverage", 0.875)], json), Ok(())),
        ] {
            let signal = signal(&format!("expect = ['{expect}']"));
            let batch = signal.batch(Timestamp(5), &look(Stands::Set, Some(&posted)));
            let (ok, said) = (f64::from(u8::from(wanted.is_ok())), outcome(&batch));
            assert_eq!(value(&batch, "probe_expect_ok", &[]), Some(ok), "{expect}: {said}");
            assert_eq!(value(&batch, "backstop_signal", &[]), Some(ok), "{expect}: {said}");
            assert_eq!(value(&batch, "probe_success", &[]), Some(ok), "{expect}: {said}");
            let held = signal.hold(Timestamp(5), Some(&posted));
            assert_eq!(held[0].why.is_none(), wanted.is_ok(), "{held:?}");
            match wanted {
                Ok(()) => assert_eq!(said, "good", "{expect}"),
                Err(part) => assert!(said.starts_with("expect: ") && said.contains(part), "{expect}: {said}"),
            }
            // While it is rejected or not set nothing stands that could be judged.
            let batch = signal.batch(Timestamp(6), &look(Stands::Rejected, None));
            assert_eq!((outcome(&batch).as_str(), value(&batch, "probe_expect_ok", &[])), ("good", None));
        }
    }

    #[test]
    fn a_number_of_a_result_is_a_value_or_a_key_at_the_top_and_nothing_in_its_text() {
        let expect = |expect: &str, posted: &Posted| {
            let signal = signal(&format!("expect = ['{expect}']"));
            outcome(&signal.batch(Timestamp(5), &look(Stands::Set, Some(posted))))
        };
        let nested = r#"{"previous":{"failed":0},"failed":7,"passed":200}"#;
        let inner = r#"{"suites":[{"failed":0}]}"#;
        let in_text = r#"{"note":"passed 300 failed 0","failed":7}"#;
        for (text, json, wanted) in [
            ("number failed == 0", nested, "expect: expected number failed == 0, saw 7"),
            ("number passed >= 180", nested, "good"),
            ("number failed == 0", inner, "expect: expected number failed == 0, it is missing"),
            ("number failed == 0", in_text, "expect: expected number failed == 0, saw 7"),
            ("number passed >= 180", in_text, "expect: expected number passed >= 180, it is missing"),
            ("number == 0", inner, "expect: expected number == 0, it is missing"),
            ("number failed == 0", r#"{"failed":"0"}"#, "expect: expected number failed == 0, it is missing"),
            ("number failed == 0", r#"[{"failed":0}]"#, "expect: expected number failed == 0, it is missing"),
            ("number failed == 0", "\"failed 0\"", "expect: expected number failed == 0, it is missing"),
        ] {
            assert_eq!(expect(text, &posted(&[], Some(json))), wanted, "{text} of {json}");
        }
        assert_eq!(expect("number failed == 0", &posted(&[("failed", 0.0)], Some(in_text))), "good", "the value wins");
    }

    #[test]
    fn a_result_that_is_expected_and_missing_does_not_hold() {
        let signal = signal("expect = ['number failed == 0']");
        let batch = signal.batch(Timestamp(5), &look(Stands::Set, None));
        assert_eq!(value(&batch, "backstop_signal", &[]), Some(0.0));
        assert!(outcome(&batch).starts_with("expect: "), "{}", outcome(&batch));
    }

    #[test]
    fn figures_of_a_result_become_series() {
        let signal = signal("values = { passed = 'json summary.passed' }");
        let posted = posted(&[("passed", 7.0), ("failed", 2.0)], Some(r#"{"summary": {"passed": 184}}"#));
        let batch = signal.batch(Timestamp(5), &look(Stands::Set, Some(&posted)));
        assert_eq!(value(&batch, "probe_value", &[("name", "passed")]), Some(184.0), "as the configuration says");
        assert_eq!(value(&batch, "probe_value", &[("name", "failed")]), Some(2.0));
    }

    #[test]
    fn a_result_has_bounds() {
        let many: Vec<(String, f64)> = (0..65).map(|i| (format!("k{i}"), 1.0)).collect();
        let many: Vec<(&str, f64)> = many.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        let nested = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
        let long = format!("\"{}\"", "x".repeat(MAX_JSON));
        let whole = format!("\"{}\"", "x".repeat(MAX_JSON - 2));
        let braces = format!("\"{}\\\"{}\"", "[".repeat(70), "{".repeat(70));
        for (posted, wanted) in [
            (posted(&many[..64], None), Ok(())),
            (posted(&many, None), Err("65 values; at most 64")),
            (posted(&[("A", 1.0)], None), Err("`A` is no name of a value")),
            (posted(&[("", 1.0)], None), Err("`` is no name of a value")),
            (posted(&[("a\u{1b}", 1.0)], None), Err("`a ` is no name of a value")),
            (posted(&[("a", f64::INFINITY)], None), Err("a is no finite number")),
            (posted(&[], Some(&nested(64))), Ok(())),
            (posted(&[], Some(&nested(65))), Err("JSON deeper than 64")),
            (posted(&[], Some(&nested(30_000))), Err("JSON deeper than 64")),
            (posted(&[], Some(&braces)), Ok(())),
            (posted(&[], Some(&whole)), Ok(())),
            (posted(&[], Some(&long)), Err("65538 bytes of JSON; at most 65536")),
            (posted(&[], Some("{\"a\": 1} x")), Err("no JSON: trailing characters")),
            (posted(&[], Some("")), Err("no JSON: EOF")),
        ] {
            match (posted.check(), wanted) {
                (Ok(()), Ok(())) => {}
                (Err(why), Err(wanted)) if why.starts_with(wanted) => {}
                (found, wanted) => panic!("{found:?} instead of {wanted:?}"),
            }
        }
    }
}
