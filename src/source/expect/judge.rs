//! All expectations of a target: judged together, look after look, with labels that are made once.

use super::{Expectation, Measure, Observation};
use crate::base::{Failure, Labels, Outcome, Sample};
use crate::source::common::{Target, sample};

/// Judges the looks at one target.
#[derive(Clone, Debug)]
pub struct Judge {
    /// Each expectation with the number of its subject.
    expect: Vec<(Expectation, usize)>,
    /// `probe_expect_ok` of each subject.
    subjects: Vec<Labels>,
    /// `probe_value` of each value.
    values: Vec<(Measure, Labels)>,
}

impl Judge {
    /// A judge of these expectations; its samples are `probe_expect_ok{expect}` and `probe_value{name}` of `target`,
    /// with `more` labels where one target has several judges.
    pub fn new(expect: &[Expectation], values: &[(String, Measure)], target: &Target, more: &[(&str, &str)]) -> Judge {
        let series = |name: &str, label: &str, value: &str| {
            let labels: Vec<(&str, &str)> = more.iter().copied().chain([(label, value)]).collect();
            target.probe_series(name, &labels)
        };
        let (mut subjects, mut numbered): (Vec<String>, Vec<(Expectation, usize)>) = (Vec::new(), Vec::new());
        for expectation in expect {
            let label = expectation.label();
            let number = subjects.iter().position(|s| *s == label).unwrap_or(subjects.len());
            if number == subjects.len() {
                subjects.push(label);
            }
            numbered.push((expectation.clone(), number));
        }
        Judge {
            expect: numbered,
            subjects: subjects.iter().map(|subject| series("probe_expect_ok", "expect", subject)).collect(),
            values: values.iter().map(|(name, m)| (m.clone(), series("probe_value", "name", name))).collect(),
        }
    }

    /// Judges one look: adds a sample for each subject and each value that is there; the failure is that of the first
    /// expectation that does not hold, and names the subjects of others that do not hold either.
    pub fn judge(&self, seen: &Observation<'_>, samples: &mut Vec<Sample>) -> Outcome {
        let mut holds = vec![true; self.subjects.len()];
        let (mut first, mut others) = (None, Vec::new());
        for (expectation, subject) in &self.expect {
            let Err(what) = expectation.check(seen) else {
                continue;
            };
            if let Some(holds) = holds.get_mut(*subject) {
                *holds = false;
            }
            match first {
                None => first = Some((expectation, what)),
                Some(_) => others.push(expectation),
            }
        }
        let ok = self.subjects.iter().zip(holds);
        samples.extend(ok.map(|(labels, holds)| sample(labels.clone(), if holds { 1.0 } else { 0.0 })));
        for (measure, labels) in &self.values {
            samples.extend(measure.take(seen).map(|value| sample(labels.clone(), value)));
        }
        match first {
            None => Outcome::Good,
            Some((expectation, what)) => {
                let more = named(&others);
                let detail = format!("expected {}, {what}{more}", expectation.text());
                Outcome::Failed(Failure::new(expectation.reason(), detail))
            }
        }
    }

    /// The names of the series that it gives, so that they are known before the first look.
    pub fn names(&self) -> Vec<&'static str> {
        let expect = (!self.expect.is_empty()).then_some("probe_expect_ok");
        let values = (!self.values.is_empty()).then_some("probe_value");
        expect.into_iter().chain(values).collect()
    }
}

/// ` (and 2 more: cert, time)`: how many others do not hold, and what they speak of, bounded.
fn named(others: &[&Expectation]) -> String {
    const MAX: usize = 5;
    const LONGEST: usize = 40;
    if others.is_empty() {
        return String::new();
    }
    let mut subjects: Vec<String> = Vec::new();
    for label in others.iter().map(|other| other.label()) {
        let mut shown: String = label.chars().take(LONGEST).collect();
        if shown.len() < label.len() {
            shown.push('…');
        }
        if !subjects.contains(&shown) {
            subjects.push(shown);
        }
    }
    if subjects.len() > MAX {
        subjects.truncate(MAX);
        subjects.push("…".into());
    }
    format!(" (and {} more: {})", others.len(), subjects.join(", "))
}
