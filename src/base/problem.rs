//! Mistakes in a configuration: gathered, never thrown at the first.

use std::ops::Range;

/// Where something stands in the configuration: a file, by its number in the list of files read, and a byte range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Index into the loader's list of files.
    pub file: usize,
    /// Bytes of that file; empty at 0 means the file as a whole.
    pub range: Range<usize>,
}

impl Place {
    /// A part of this place's text: `within` counts from its start. Past the end it is cut.
    pub fn part(&self, within: Range<usize>) -> Place {
        let end = self.range.end;
        let start = (self.range.start + within.start).min(end);
        Place { file: self.file, range: start..(self.range.start + within.end).clamp(start, end) }
    }
}

/// Whether a problem stops the configuration from running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing runs with this.
    Error,
    /// It runs, and probably not as meant.
    Warning,
}

/// One mistake: what is wrong, where, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong, as a fragment without a full stop.
    pub title: String,
    /// The text that is underlined.
    pub place: Place,
    /// What stands beside the underline.
    pub label: String,
    /// Other places that matter, each with what stands beside it.
    pub also: Vec<(Place, String)>,
    /// What to do.
    pub help: Option<String>,
    /// What stands at the place may be a secret: it is never shown.
    pub is_secret: bool,
}

/// All mistakes found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    /// In the order they were found.
    pub list: Vec<Problem>,
}

impl Problems {
    /// Adds an error and hands it out, so that help and further places can be added.
    pub fn error(&mut self, place: &Place, title: impl Into<String>, label: impl Into<String>) -> &mut Problem {
        self.push(Severity::Error, place, title.into(), label.into())
    }

    /// Adds a warning, likewise.
    pub fn warning(&mut self, place: &Place, title: impl Into<String>, label: impl Into<String>) -> &mut Problem {
        self.push(Severity::Warning, place, title.into(), label.into())
    }

    /// How many of them are errors.
    pub fn errors(&self) -> usize {
        self.list.iter().filter(|p| p.severity == Severity::Error).count()
    }

    /// How many of them are warnings.
    pub fn warnings(&self) -> usize {
        self.list.len() - self.errors()
    }

    fn push(&mut self, severity: Severity, place: &Place, title: String, label: String) -> &mut Problem {
        self.list.push(Problem {
            severity,
            title,
            place: place.clone(),
            label,
            also: Vec::new(),
            help: None,
            is_secret: false,
        });
        let last = self.list.len() - 1;
        &mut self.list[last]
    }
}

impl Problem {
    /// Says what to do.
    pub fn help(&mut self, text: impl Into<String>) -> &mut Problem {
        self.help = Some(text.into());
        self
    }

    /// Keeps the text at the place from being shown, for it may be a secret.
    pub fn secret(&mut self) -> &mut Problem {
        self.is_secret = true;
        self
    }

    /// Points at another place that matters.
    pub fn also(&mut self, place: &Place, label: impl Into<String>) -> &mut Problem {
        self.also.push((place.clone(), label.into()));
        self
    }
}

/// An error with all its causes, in one line: what failed, and why.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
