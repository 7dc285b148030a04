//! A look over the text before it is parsed.
//!
//! The parser names no places, takes quadratic time on long chains and ends the process on deep nesting. So this scan
//! bounds length, depth and chains, finds what is left open, and refuses what we do not implement, each with its place.

use std::ops::Range;

use super::compile::CompileError;

/// The longest text, in bytes.
pub(super) const MAX_LENGTH: usize = 8 * 1024;
/// The deepest nesting of brackets.
pub(super) const MAX_DEPTH: usize = 100;
/// The most operators, signs and equal signs of matchers included.
pub(super) const MAX_OPERATORS: usize = 500;

/// The longest duration written as a bare number: some three hundred years.
const MAX_SECONDS: f64 = 1e10;

/// Functions and aggregations that are implemented.
pub(super) const FUNCTIONS: &[&str] = &[
    "abs",
    "absent",
    "absent_over_time",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "avg",
    "avg_over_time",
    "bottomk",
    "ceil",
    "changes",
    "clamp",
    "clamp_max",
    "clamp_min",
    "cos",
    "cosh",
    "count",
    "count_over_time",
    "count_values",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "deg",
    "delta",
    "deriv",
    "double_exponential_smoothing",
    "end",
    "exp",
    "first_over_time",
    "floor",
    "group",
    "histogram_fraction",
    "histogram_quantile",
    "hour",
    "idelta",
    "increase",
    "irate",
    "label_join",
    "label_replace",
    "last_over_time",
    "limitk",
    "ln",
    "log10",
    "log2",
    "mad_over_time",
    "max",
    "max_of",
    "max_over_time",
    "min",
    "min_of",
    "min_over_time",
    "minute",
    "month",
    "pi",
    "predict_linear",
    "present_over_time",
    "quantile",
    "quantile_over_time",
    "rad",
    "range",
    "rate",
    "resets",
    "round",
    "scalar",
    "sgn",
    "sin",
    "sinh",
    "sort",
    "sort_by_label",
    "sort_by_label_desc",
    "sort_desc",
    "sqrt",
    "start",
    "stddev",
    "stddev_over_time",
    "stdvar",
    "stdvar_over_time",
    "step",
    "sum",
    "sum_over_time",
    "tan",
    "tanh",
    "time",
    "timestamp",
    "topk",
    "ts_of_first_over_time",
    "ts_of_last_over_time",
    "ts_of_max_over_time",
    "ts_of_min_over_time",
    "vector",
    "year",
];

/// What Prometheus has besides.
const NOT_YET: &[&str] = &[
    "histogram_avg",
    "histogram_count",
    "histogram_quantiles",
    "histogram_stddev",
    "histogram_stdvar",
    "histogram_sum",
    "info",
    "integral",
    "limit_ratio",
    "start_timestamp",
];

/// Words that stand before parentheses without being functions.
const WORDS: &[&str] = &[
    "and",
    "atan2",
    "bool",
    "by",
    "fill",
    "fill_left",
    "fill_right",
    "group_left",
    "group_right",
    "ignoring",
    "inf",
    "nan",
    "offset",
    "on",
    "or",
    "unless",
    "without",
];

/// Checks the text.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub(super) fn scan(text: &str) -> Result<(), CompileError> {
    if text.len() > MAX_LENGTH {
        let message = format!("the expression is longer than {} KiB", MAX_LENGTH / 1024);
        return Err(CompileError::new(message).help("record parts of it as series of their own"));
    }
    if text.trim().is_empty() {
        return Err(CompileError::new("the expression is empty"));
    }
    Scanner { text, at: 0, open: Vec::new(), operators: 0, completes: true }.run_through()
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// Where brackets opened.
    open: Vec<usize>,
    operators: usize,
    /// Whether an unfinished text is completed; not again for a completed one, whose end may be in a comment.
    completes: bool,
}

impl Scanner<'_> {
    fn run_through(mut self) -> Result<(), CompileError> {
        while self.at < self.text.len() {
            self.step()?;
        }
        self.finish()
    }

    fn step(&mut self) -> Result<(), CompileError> {
        let byte = self.text.as_bytes()[self.at];
        match byte {
            b'"' | b'\'' | b'`' => self.quoted(byte),
            b'#' => {
                self.at += self.rest().find('\n').unwrap_or(self.rest().len());
                Ok(())
            }
            b'(' | b'[' | b'{' => self.opened(),
            b')' | b']' | b'}' => self.closed(byte),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => self.word(),
            b'0'..=b'9' => self.number(),
            b'+' | b'-' | b'*' | b'/' | b'%' | b'^' | b'<' | b'>' | b'=' | b'!' => {
                self.at += 1;
                self.operator()
            }
            _ => {
                self.at += 1;
                Ok(())
            }
        }
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn run(&self, belongs: impl Fn(u8) -> bool) -> usize {
        self.text.as_bytes()[self.at..].iter().take_while(|byte| belongs(**byte)).count()
    }

    fn operator(&mut self) -> Result<(), CompileError> {
        self.operators += 1;
        if self.operators > MAX_OPERATORS {
            let message = format!("the expression has more than {MAX_OPERATORS} operators");
            return Err(CompileError::new(message).help("record parts of it as series of their own"));
        }
        Ok(())
    }

    fn quoted(&mut self, quote: u8) -> Result<(), CompileError> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut at = start + 1;
        while at < bytes.len() && bytes[at] != quote {
            at += if bytes[at] == b'\\' && quote != b'`' { 2 } else { 1 };
        }
        if at >= bytes.len() {
            let quote = char::from(quote);
            return Err(self.unfinished(start, "a quoted text", Some(quote)));
        }
        self.at = at + 1;
        Ok(())
    }

    /// The parser makes a duration of a bare number by a conversion that panics past some size.
    fn number(&mut self) -> Result<(), CompileError> {
        let start = self.at;
        self.at += self.run(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.');
        let before = self.text[..start].trim_end().trim_end_matches(['+', '-', ' ', '.']).to_ascii_lowercase();
        let is_time = before.ends_with(['[', ':', '@']) || before.ends_with("offset");
        if is_time && self.text[start..self.at].parse::<f64>().is_ok_and(|seconds| seconds.abs() > MAX_SECONDS) {
            return Err(CompileError::new("this time is too far away").at(start..self.at));
        }
        Ok(())
    }

    fn opened(&mut self) -> Result<(), CompileError> {
        self.open.push(self.at);
        self.at += 1;
        if self.open.len() > MAX_DEPTH {
            let message = format!("the expression is nested deeper than {MAX_DEPTH}");
            return Err(CompileError::new(message).at(self.at - 1..self.at));
        }
        Ok(())
    }

    fn closed(&mut self, byte: u8) -> Result<(), CompileError> {
        let here = self.at..self.at + 1;
        let found = char::from(byte);
        let Some(opened) = self.open.pop() else {
            return Err(CompileError::new(format!("`{found}` closes nothing")).at(here));
        };
        let expected = closer(self.text.as_bytes()[opened]);
        if expected != found {
            let opener = char::from(self.text.as_bytes()[opened]);
            let label = format!("`{expected}` is missing before it");
            return Err(CompileError::new(format!("`{found}` cannot close `{opener}`")).at(here).label(label));
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self) -> Result<(), CompileError> {
        let start = self.at;
        self.at += self.run(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':');
        let word = &self.text[start..self.at];
        let lower = word.to_ascii_lowercase();
        if matches!(&*lower, "and" | "or" | "unless" | "atan2") {
            return self.operator();
        }
        let is_call = self.rest().trim_start().starts_with('(');
        if !is_call || FUNCTIONS.contains(&&*lower) || WORDS.contains(&&*lower) {
            return Ok(());
        }
        if NOT_YET.contains(&&*lower) {
            return Err(self.not_yet(start..self.at, &format!("`{word}` is not supported yet")));
        }
        // A modifier of an aggregation may be written between its name and its parentheses; a name cannot.
        let error = CompileError::new(format!("there is no function `{word}`")).at(start..self.at);
        let near = FUNCTIONS.iter().map(|name| (strsim::damerau_levenshtein(name, &lower), *name)).min();
        Err(match near {
            Some((distance, name)) if distance <= 2.max(word.len() / 4) => {
                error.help(format!("did you mean `{name}`?"))
            }
            _ => error,
        })
    }

    fn not_yet(&self, at: Range<usize>, message: &str) -> CompileError {
        CompileError::new(message).at(at).help("`remote` in the rule has a Prometheus server evaluate the expression")
    }

    fn finish(self) -> Result<(), CompileError> {
        let Some(innermost) = self.open.last().copied() else { return Ok(()) };
        let place = match self.text.as_bytes()[innermost] {
            b'[' => "a range",
            b'{' => "a selector",
            _ => "parentheses",
        };
        Err(self.unfinished(innermost, place, None))
    }

    /// The text ends inside something that began at `from`: names all closers, and the whole text with them.
    fn unfinished(&self, from: usize, place: &str, quote: Option<char>) -> CompileError {
        let open = self.open.iter().rev().map(|at| closer(self.text.as_bytes()[*at]));
        let closers: Vec<char> = quote.into_iter().chain(open).collect();
        let names: Vec<String> =
            closers.iter().map(|c| if *c == '`' { "a backtick".into() } else { format!("`{c}`") }).collect();
        let label = match names.as_slice() {
            [one] => format!("{one} is missing"),
            [first @ .., last] => format!("{} and {last} are missing", first.join(", ")),
            [] => "the end is missing".to_string(),
        };
        let text = self.text.trim_end();
        let completed: String = text.chars().chain(closers).collect();
        let error = CompileError::new(format!("the expression ends inside {place}")).at(from..text.len().max(from + 1));
        let error = error.label(label);
        if self.completes && is_expression(&completed) { error.help(format!("'{completed}'")) } else { error }
    }
}

fn is_expression(text: &str) -> bool {
    let scanner = Scanner { text, at: 0, open: Vec::new(), operators: 0, completes: false };
    scanner.run_through().is_ok() && promql_parser::parser::parse(text).is_ok()
}

fn closer(opener: u8) -> char {
    match opener {
        b'[' => ']',
        b'{' => '}',
        _ => ')',
    }
}
