//! The text of a test: `> 5%`, `> baseline + 25% and > 100ms`, `reaches 95% within 4h`.
//!
//! Enters: the text and where it stands. Leaves: a [`Test`] with the place of each clause, or problems at the words
//! they mean, all at once.

use std::ops::Range;

use crate::base::{Place, Problems, Quantity, Span, Unit};
use crate::rule::{Clause, Comparison, Offset, Test};

/// How a condition is written.
pub(super) const CONDITION: &str =
    "a condition is written like \"> 5%\", \"> 300ms\", \"< 2GiB\", \"> baseline + 25%\", \"reaches 95% within 4h\"";

const BASELINE: &str = "for example \"> baseline + 25%\", \"< baseline - 10%\", \"> baseline * 1.5\"";
const REACHES: &str = "a trend is written like \"reaches 95% within 4h\"";

/// Words that people write for a value on its way down.
const FALLING: [&str; 4] = ["falls", "drops", "sinks", "declines"];

/// A test with the places that further checks point at.
#[derive(Clone, Debug)]
pub(super) struct Read {
    /// The test; never empty.
    pub(super) test: Test,
    /// Where each of its clauses stands.
    pub(super) places: Vec<Place>,
    /// The units of its figures; zero has none.
    pub(super) units: Vec<(Unit, Place)>,
}

impl Read {
    /// The clauses, each with its place.
    pub(super) fn clauses(&self) -> impl Iterator<Item = (&Clause, &Place)> {
        self.test.0.iter().zip(&self.places)
    }
}

/// Reads clauses joined by `and`.
pub(super) fn read(text: &str, place: &Place, problems: &mut Problems) -> Option<Read> {
    let mut read = Read { test: Test(Vec::new()), places: Vec::new(), units: Vec::new() };
    let mut is_good = true;
    for range in parts(text) {
        let part = Part { text: &text[range.clone()], place: place.part(range) };
        match part.clause(problems) {
            Some(clause) => {
                read.units.extend(unit(&clause).map(|unit| (unit, part.place.clone())));
                read.test.0.push(clause);
                read.places.push(part.place);
            }
            None => is_good = false,
        }
    }
    is_good.then_some(read)
}

/// What stands between the words `and`, trimmed.
fn parts(text: &str) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut from = 0;
    for word in words(text).filter(|word| &text[word.clone()] == "and") {
        parts.push(trimmed(text, from..word.start));
        from = word.end;
    }
    parts.push(trimmed(text, from..text.len()));
    parts
}

/// The words of `text`, as white space parts them.
fn words(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + text[at..].find(|c: char| !c.is_whitespace())?;
        let end = text[start..].find(char::is_whitespace).map_or(text.len(), |length| start + length);
        at = end;
        Some(start..end)
    })
}

fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let part = &text[range.clone()];
    let start = range.start + (part.len() - part.trim_start().len());
    start..(start + part.trim().len())
}

/// The unit that the rule's must be the same as.
fn unit(clause: &Clause) -> Option<Unit> {
    let quantity = match clause {
        Clause::Value(_, quantity) | Clause::Baseline(_, Offset::Plus(quantity)) => quantity,
        Clause::Reaches { limit, .. } => limit,
        Clause::Baseline(..) => return None,
    };
    // Zero is zero in every unit.
    (quantity.value != 0.0 || quantity.unit != Unit::Count).then_some(quantity.unit)
}

/// One clause, or a part of one, with where it stands.
struct Part<'t> {
    text: &'t str,
    place: Place,
}

impl<'t> Part<'t> {
    fn sub(&self, range: Range<usize>) -> Part<'t> {
        let range = trimmed(self.text, range);
        Part { text: &self.text[range.clone()], place: self.place.part(range) }
    }

    fn clause(&self, problems: &mut Problems) -> Option<Clause> {
        let word = words(self.text).next().map_or("", |range| &self.text[range]);
        if word == "reaches" {
            return self.sub(word.len()..self.text.len()).reaches(&self.place, problems);
        }
        if FALLING.contains(&word) {
            self.falling(problems);
            return None;
        }
        let Some(op) = Comparison::ALL.into_iter().find(|op| self.text.starts_with(op.as_str())) else {
            let empty = self.text.is_empty();
            let title =
                if empty { "a comparison is missing".into() } else { format!("`{}` is no condition", self.text) };
            problems.error(&self.place, title, "").help(CONDITION);
            return None;
        };
        let rest = self.sub(op.as_str().len()..self.text.len());
        match rest.text.strip_prefix("baseline") {
            Some(after) if !after.starts_with(|c: char| c.is_alphanumeric() || c == '_') => {
                let offset = rest.sub("baseline".len()..rest.text.len()).offset(&rest.place, problems)?;
                Some(Clause::Baseline(op, offset))
            }
            _ => rest.figure(CONDITION, problems).map(|limit| Clause::Value(op, limit)),
        }
    }

    /// `+ 25%`, `- 100ms`, `* 1.5`, or nothing.
    fn offset(&self, baseline: &Place, problems: &mut Problems) -> Option<Offset> {
        let Some(sign) = self.text.chars().next() else { return Some(Offset::None) };
        if !matches!(sign, '+' | '-' | '*') {
            problems.error(&self.place, "after `baseline` comes `+`, `-` or `*`", "not this").help(BASELINE);
            return None;
        }
        let size = self.sub(1..self.text.len());
        if size.text.is_empty() {
            problems.error(&self.place, format!("nothing stands after `{sign}`"), "how much?").help(BASELINE);
            return None;
        }
        let quantity = size.figure(BASELINE, problems)?;
        let mut wrong = |title: &str, help: &str| {
            problems.error(&size.place, title, "").also(baseline, "beside the baseline").help(help);
            None
        };
        match (sign, quantity.unit) {
            ('*', Unit::Count) if quantity.value > 0.0 => Some(Offset::Times(quantity.value)),
            ('*', Unit::Count) => wrong("a factor is above zero", BASELINE),
            ('*', _) => wrong("a factor has no unit", "half as much again is \"* 1.5\", or \"+ 50%\""),
            // `+ -5%` says two things.
            _ if quantity.value < 0.0 => wrong("a size beside the baseline has no sign of its own", BASELINE),
            ('-', Unit::Ratio) if quantity.value >= 1.0 => {
                wrong("nothing is that far below a baseline", "a percentage here is a share of the baseline itself")
            }
            ('-', Unit::Ratio) => Some(Offset::Share(-quantity.value)),
            (_, Unit::Ratio) => Some(Offset::Share(quantity.value)),
            ('-', unit) => Some(Offset::Plus(Quantity { value: -quantity.value, unit })),
            (_, _) => Some(Offset::Plus(quantity)),
        }
    }

    /// `95% within 4h`, behind `reaches`, which stands with it at `whole`.
    fn reaches(&self, whole: &Place, problems: &mut Problems) -> Option<Clause> {
        if let Some(op) = Comparison::ALL.into_iter().find(|op| self.text.starts_with(op.as_str())) {
            if op.falls() {
                self.falling(problems);
            } else {
                problems.error(&self.place, "a trend names its limit without an operator", "").help(REACHES);
            }
            return None;
        }
        let Some(within) = words(self.text).find(|word| &self.text[word.clone()] == "within") else {
            problems.error(whole, "a trend says within which time", "`within` is missing").help(REACHES);
            return None;
        };
        let (limit, span) = (self.sub(0..within.start), self.sub(within.end..self.text.len()));
        let figure = limit.figure(REACHES, problems);
        let time = match Span::parse(span.text) {
            Ok(time) if time > Span::ZERO => Some(time),
            Ok(_) => {
                problems.error(&span.place, "no time at all", "a trend looks ahead").help(REACHES);
                None
            }
            Err(why) => {
                problems.error(&span.place, why, "a duration").help(REACHES);
                None
            }
        };
        let (figure, within) = (figure?, time?);
        if figure.value <= 0.0 {
            limit.falling(problems);
            return None;
        }
        if within > FARTHEST {
            problems
                .warning(&span.place, format!("no trend is followed further than {FARTHEST}"), "means as much")
                .help(format!("write \"within {FARTHEST}\""));
        }
        Some(Clause::Reaches { limit: figure, within })
    }

    fn falling(&self, problems: &mut Problems) {
        problems.error(&self.place, "a trend rises towards a limit above zero", "this would be a way down").help(
            "write what is used instead of what is left: expr = '1 - free / size' and \"reaches 100% within 24h\"",
        );
    }

    fn figure(&self, help: &str, problems: &mut Problems) -> Option<Quantity> {
        match Quantity::parse(self.text) {
            Ok(quantity) if quantity.value.is_finite() => Some(quantity),
            Ok(_) => {
                problems.error(&self.place, format!("`{}` is no limit", self.text), "too large").help(help);
                None
            }
            Err(why) => {
                problems.error(&self.place.part(Quantity::bad_part(self.text)), why, "").help(help);
                None
            }
        }
    }
}

/// The longest look ahead: beyond it the largest scale of floors forecasts nothing.
const FARTHEST: Span = Span::hours(48);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    fn said(text: &str) -> (Option<Test>, Vec<String>) {
        let mut problems = Problems::default();
        let read = read(text, &Place { file: 0, range: 10..10 + text.len() }, &mut problems);
        (read.map(|read| read.test), problems.list.into_iter().map(|p| p.title).collect())
    }

    #[test]
    fn tests_are_read_as_they_are_meant() {
        for (text, exact) in [
            ("> 5%", "> 5%"),
            (">=300 ms", ">= 300ms"),
            ("< 2GiB and > 0", "< 2GiB and > 0"),
            ("> baseline", "> baseline"),
            (">baseline+25%", "> baseline + 25%"),
            ("< baseline - 10 %", "< baseline - 10%"),
            ("> baseline + 100ms", "> baseline + 100ms"),
            ("< baseline - 2GB", "< baseline - 1953125KiB"),
            (" > baseline*1.5  and\t> 100ms ", "> baseline * 1.5 and > 100ms"),
            ("reaches 95% within 4h", "reaches 95% within 4h"),
            ("reaches 1h30m within 1d", "reaches 1h30m within 1d"),
        ] {
            let (test, problems) = said(text);
            assert_eq!(problems, Vec::<String>::new(), "{text}");
            assert_eq!(format!("{:#}", test.unwrap()), exact);
        }
    }

    #[test]
    fn what_is_no_test_is_told_at_its_words() {
        for (text, title) in [
            ("", "a comparison is missing"),
            ("> 5% and", "a comparison is missing"),
            ("5%", "`5%` is no condition"),
            ("> 5 bananas", "`bananas` is no unit"),
            ("> baselines", "`baselines` is no value"),
            ("> baseline / 2", "after `baseline` comes `+`, `-` or `*`"),
            ("> baseline +", "nothing stands after `+`"),
            ("> baseline * 150%", "a factor has no unit"),
            ("> baseline * 0", "a factor is above zero"),
            ("> baseline + -5%", "a size beside the baseline has no sign of its own"),
            ("< baseline - 120%", "nothing is that far below a baseline"),
            ("reaches 95%", "a trend says within which time"),
            ("reaches > 95% within 4h", "a trend names its limit without an operator"),
            ("reaches < 5% within 4h", "a trend rises towards a limit above zero"),
            ("reaches 0 within 4h", "a trend rises towards a limit above zero"),
            ("falls to 5% within 4h", "a trend rises towards a limit above zero"),
            ("reaches 95% within 0s", "no time at all"),
            ("reaches 95% within soon", "`soon` is no duration"),
        ] {
            assert_eq!(said(text).1, [title], "{text}");
        }
    }

    /// Texts near the grammar, most of them wrong.
    fn near_the_grammar() -> impl Strategy<Value = String> {
        let word = prop_oneof![
            Just("and"),
            Just("baseline"),
            Just("reaches"),
            Just("within"),
            Just(">"),
            Just(">="),
            Just("<"),
            Just("!="),
            Just("=="),
            Just("+"),
            Just("-"),
            Just("*"),
            Just("5%"),
            Just("1.5"),
            Just("300ms"),
            Just("2GiB"),
            Just("4h"),
            Just("é"),
            Just("\u{2003}"),
            Just("\u{0}"),
            Just("falls"),
            Just("1e999"),
            Just("99999999999999999999w")
        ];
        let gap = prop_oneof![Just(" "), Just(""), Just("  "), Just("\t"), Just("\u{a0}")];
        prop::collection::vec((word, gap), 0..9)
            .prop_map(|words| words.iter().map(|(w, g)| format!("{w}{g}")).collect())
    }

    fn figure() -> impl Strategy<Value = String> {
        let number = prop_oneof![
            (0..100_000u32).prop_map(|n| n.to_string()),
            (0..1_000_000u32).prop_map(|n| format!("{}", f64::from(n) / 1000.0)),
            (1e-9..1e12f64).prop_map(|n| n.to_string()),
        ];
        let unit = prop_oneof![
            Just(""),
            Just("%"),
            Just("us"),
            Just("ms"),
            Just("s"),
            Just("m"),
            Just("h"),
            Just("d"),
            Just("w"),
            Just("B"),
            Just("KB"),
            Just("GB"),
            Just("KiB"),
            Just("TiB")
        ];
        (number, unit).prop_map(|(number, unit)| format!("{number}{unit}"))
    }

    fn clause() -> impl Strategy<Value = String> {
        let op = prop_oneof![Just(">"), Just(">="), Just("<"), Just("<="), Just("=="), Just("!=")];
        let side = prop_oneof![Just("+"), Just("-"), Just("*")];
        prop_oneof![
            (op.clone(), figure()).prop_map(|(op, figure)| format!("{op} {figure}")),
            (op.clone(), figure()).prop_map(|(op, figure)| format!("{op} -{figure}")),
            op.clone().prop_map(|op| format!("{op} baseline")),
            (op, side, figure()).prop_map(|(op, side, figure)| format!("{op} baseline {side} {figure}")),
            (figure(), 1..200_000_000u32).prop_map(|(figure, ms)| format!("reaches {figure} within {ms}ms")),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]

        #[test]
        fn whatever_is_written_is_a_test_or_a_problem(text in prop_oneof![near_the_grammar(), any::<String>()]) {
            let (test, problems) = said(&text);
            prop_assert!(test.is_some() || !problems.is_empty());
            if let Some(test) = test {
                prop_assert!(!test.0.is_empty() && !test.to_string().is_empty());
            }
        }

        #[test]
        fn what_is_printed_exactly_is_read_back_as_the_same(clauses in prop::collection::vec(clause(), 1..4)) {
            let (test, _) = said(&clauses.join(" and "));
            if let Some(test) = test {
                let (again, problems) = said(&format!("{test:#}"));
                prop_assert_eq!(again, Some(test), "{:?} {:?}", clauses, problems);
            }
        }
    }
}
