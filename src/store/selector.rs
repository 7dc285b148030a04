//! Which series an expression means: a name and conditions on labels, decided once and matched often.

use std::fmt;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use crate::base::Labels;
use crate::base::label::NAME;

/// A set of conditions that a series' labels must all meet.
#[derive(Clone, Debug)]
pub struct Selector {
    /// The exact metric name, where the selector gives one.
    pub name: Option<Arc<str>>,
    /// All other conditions, those on the name that are no equality included.
    pub matchers: Vec<Matcher>,
}

/// One condition on one label; a label that is missing has the value `""`.
#[derive(Clone, Debug)]
pub struct Matcher {
    /// The label's name.
    pub label: String,
    /// What its value must be.
    pub kind: MatchKind,
    value: String,
}

/// The four conditions of PromQL.
#[derive(Clone, Debug)]
pub enum MatchKind {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, anchored at both ends.
    Regex(Regex),
    /// `!~`, anchored at both ends.
    NotRegex(Regex),
}

/// A pattern that is no regular expression, or one too large to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRegex(pub String);

impl Selector {
    /// Whether a series with these labels is meant.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.name.as_deref().is_none_or(|name| labels.name() == name) && self.matches_labels(labels)
    }

    /// The same where the name is known to be right.
    pub(super) fn matches_labels(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(labels.get(&matcher.label)))
    }

    /// Whether series of this name can be meant, whatever their other labels are.
    pub fn admits_name(&self, name: &str) -> bool {
        self.name.as_deref().is_none_or(|mine| mine == name) && self.admits(NAME, name)
    }

    /// Whether the conditions on `label` alone allow this value.
    pub fn admits(&self, label: &str, value: &str) -> bool {
        self.matchers.iter().filter(|matcher| matcher.label == label).all(|matcher| matcher.matches(value))
    }
}

impl Matcher {
    /// The bound on a compiled pattern, in bytes: patterns come from configuration and from HTTP.
    const MAX_PATTERN: usize = 1 << 20;

    /// `label="value"`.
    pub fn equal(label: &str, value: &str) -> Matcher {
        Matcher { label: label.into(), kind: MatchKind::Equal, value: value.into() }
    }

    /// `label!="value"`.
    pub fn not_equal(label: &str, value: &str) -> Matcher {
        Matcher { label: label.into(), kind: MatchKind::NotEqual, value: value.into() }
    }

    /// `label=~"pattern"`.
    ///
    /// # Errors
    /// The pattern is no regular expression or compiles to more than a mebibyte.
    pub fn regex(label: &str, pattern: &str) -> Result<Matcher, BadRegex> {
        Ok(Matcher { label: label.into(), kind: MatchKind::Regex(Matcher::anchored(pattern)?), value: pattern.into() })
    }

    /// `label!~"pattern"`.
    ///
    /// # Errors
    /// As [`Matcher::regex`].
    pub fn not_regex(label: &str, pattern: &str) -> Result<Matcher, BadRegex> {
        let kind = MatchKind::NotRegex(Matcher::anchored(pattern)?);
        Ok(Matcher { label: label.into(), kind, value: pattern.into() })
    }

    /// Whether the condition holds for this value.
    pub fn matches(&self, value: &str) -> bool {
        match &self.kind {
            MatchKind::Equal => self.value == value,
            MatchKind::NotEqual => self.value != value,
            MatchKind::Regex(regex) => regex.is_match(value),
            MatchKind::NotRegex(regex) => !regex.is_match(value),
        }
    }

    /// The label and the value that it must have; none for other conditions, and where the label must be missing.
    pub(super) fn stated(&self) -> Option<(&str, &str)> {
        let is_stated = matches!(self.kind, MatchKind::Equal) && !self.value.is_empty() && self.label != NAME;
        is_stated.then_some((&*self.label, &*self.value))
    }

    /// The value or pattern as written.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whole-string, with a dot that takes line ends. The bare pattern is compiled too: `a)|(b` is no
    /// pattern, although it becomes one between the anchors.
    fn anchored(pattern: &str) -> Result<Regex, BadRegex> {
        let build = |text: &str| {
            RegexBuilder::new(text).size_limit(Matcher::MAX_PATTERN).build().map_err(|error| {
                BadRegex(error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_string())
            })
        };
        build(pattern)?;
        build(&format!("^(?s:{pattern})$"))
    }
}

/// As PromQL writes it.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name.as_deref().unwrap_or_default())?;
        if self.matchers.is_empty() {
            return if self.name.is_some() { Ok(()) } else { f.write_str("{}") };
        }
        for (i, matcher) in self.matchers.iter().enumerate() {
            f.write_str(if i == 0 { "{" } else { "," })?;
            let sign = match matcher.kind {
                MatchKind::Equal => "=",
                MatchKind::NotEqual => "!=",
                MatchKind::Regex(_) => "=~",
                MatchKind::NotRegex(_) => "!~",
            };
            write!(f, "{}{sign}{:?}", matcher.label, matcher.value)?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_conditions_see_a_missing_label_as_empty() {
        let labels = Labels::new([("__name__", "m"), ("a", "one\ntwo")]);
        for (matcher, expected) in [
            (Matcher::equal("a", "one\ntwo"), true),
            (Matcher::equal("b", ""), true),
            (Matcher::not_equal("b", ""), false),
            (Matcher::not_equal("b", "x"), true),
            (Matcher::regex("a", "one.two").unwrap(), true),
            (Matcher::regex("a", "one").unwrap(), false),
            (Matcher::regex("a", "one|one.two").unwrap(), true),
            (Matcher::regex("b", ".*").unwrap(), true),
            (Matcher::regex("b", ".+").unwrap(), false),
            (Matcher::not_regex("b", ".+").unwrap(), true),
        ] {
            let selector = Selector { name: Some("m".into()), matchers: vec![matcher] };
            assert_eq!(selector.matches(&labels), expected, "{selector}");
        }
    }

    #[test]
    fn a_pattern_that_only_closes_the_anchors_is_refused() {
        assert!(Matcher::regex("a", "a)|(b").is_err());
        assert!(Matcher::regex("a", "(((a{100}){100}){100}){100}").is_err());
    }
}
