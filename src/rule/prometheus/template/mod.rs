//! Templates of labels and annotations: the part of Go's text templates that rule files use.
//!
//! A template is parsed when its rule file is read, where an unknown function, an unknown variable or a slip of the syntax is an
//! error with its place; it is expanded for each alert. What it may cost is bounded: [`MAX_TEXT`] bytes in and out,
//! [`MAX_STEPS`] steps, [`MAX_QUERIES`] queries. An expansion that fails has its error as its text, as in Prometheus.
//!
//! Not there: `define`, `template`, `block`, and methods of values.

mod format;
mod function;
mod lex;
mod parse;
mod run;

use std::collections::BTreeMap;
use std::ops::Range;

use crate::base::Timestamp;
use crate::promql::Point;

/// The longest template, and the longest text that it or one of its functions gives, in bytes.
pub const MAX_TEXT: usize = 64 << 10;

/// How many steps one expansion may take: nodes, commands, and a step for each 64 bytes that a function makes.
pub const MAX_STEPS: usize = 100_000;

/// How many queries one expansion may ask.
pub const MAX_QUERIES: usize = 100;

/// A parsed template.
#[derive(Clone, Debug)]
pub struct Template {
    text: String,
    nodes: Vec<parse::Node>,
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// What is wrong.
    pub message: String,
    /// The bytes of the text that are.
    pub at: Range<usize>,
}

/// What is the same for all alerts of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct External {
    /// Labels of the instance, by name.
    pub labels: BTreeMap<String, String>,
    /// Where people reach it.
    pub url: String,
}

/// What a template is expanded with.
#[derive(Debug)]
pub struct Data<'a> {
    /// The labels of the result, its name included.
    pub labels: BTreeMap<String, String>,
    /// The value of the result.
    pub value: f64,
    /// What is the same for all alerts.
    pub external: &'a External,
    /// The time of the evaluation.
    pub at: Timestamp,
}

/// Answers the `query` of a template.
pub type Query<'a> = dyn FnMut(&str) -> Result<Vec<Point>, String> + 'a;

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// What is wrong, with its place.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        if text.len() > MAX_TEXT {
            let message = format!("a template is at most {MAX_TEXT} bytes long");
            return Err(TemplateError { message, at: 0..text.len() });
        }
        Ok(Template { text: text.to_string(), nodes: parse::parse(text)? })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text for one alert; an expansion that fails gives `<error expanding template: …>`.
    pub fn expand(&self, data: &Data<'_>, query: &mut Query<'_>) -> String {
        match run::run(&self.nodes, data, query) {
            Ok(text) => text,
            Err(why) => format!("<error expanding template: {why}>"),
        }
    }
}

#[cfg(test)]
mod tests;
