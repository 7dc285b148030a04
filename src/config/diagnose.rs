//! Problems as people read them: the line, underlined, what is wrong, what to write.
//!
//! Enters: [`Problems`] and the [`Files`] their places count. Leaves: text, plain or coloured. Control characters of
//! a file never reach the terminal, and a long line is cut around what matters.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::load::Files;
use crate::base::{Place, Problem, Problems, Severity};

/// The widest line of a source that is shown, in columns.
const WIDTH: usize = 140;

/// The longest title, label or help, in characters.
const LONGEST: usize = 600;

/// Renders all problems, each followed by an empty line.
pub fn render(problems: &Problems, files: &Files, coloured: bool) -> String {
    let renderer = if coloured { Renderer::styled() } else { Renderer::plain() }.term_width(WIDTH);
    let sources: Vec<String> = (0..).zip(&files.list).map(|(n, f)| shown(&f.text, n, problems)).collect();
    let mut text = String::new();
    for problem in &problems.list {
        let drawn = if is_whole(&problem.place) {
            of_file(problem, files, coloured)
        } else {
            renderer.render(&[group(problem, files, &sources)])
        };
        for line in drawn.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text.push('\n');
    }
    text
}

/// The last line: `backstop.toml: 4 errors, 1 warning`.
pub fn counts(problems: &Problems, files: &Files) -> String {
    let count = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    let name = line_of(files.name());
    match (problems.errors(), problems.warnings()) {
        (0, 0) => format!("{name}: good"),
        (0, w) => format!("{name}: {}", count(w, "warning")),
        (e, 0) => format!("{name}: {}", count(e, "error")),
        (e, w) => format!("{name}: {}, {}", count(e, "error"), count(w, "warning")),
    }
}

fn group<'a>(problem: &'a Problem, files: &'a Files, sources: &'a [String]) -> Group<'a> {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let first = problem.place.file;
    let title = level.primary_title(line_of(&problem.title));
    let mut group = Group::with_title(title).element(snippet(problem, first, true, files, sources));
    let mut others: Vec<usize> = problem.also.iter().map(|(p, _)| p.file).filter(|f| *f != first).collect();
    others.dedup();
    for file in others {
        group = group.element(snippet(problem, file, false, files, sources));
    }
    match &problem.help {
        Some(help) => group.element(Level::HELP.message(line_of(help))),
        None => group,
    }
}

/// A problem of a file as a whole: there is no line to show.
fn of_file(problem: &Problem, files: &Files, coloured: bool) -> String {
    let (word, colour) = match problem.severity {
        Severity::Error => ("error", "\u{1b}[1m\u{1b}[91m"),
        Severity::Warning => ("warning", "\u{1b}[1m\u{1b}[33m"),
    };
    let (colour, bold, plain) = if coloured { (colour, "\u{1b}[1m", "\u{1b}[0m") } else { ("", "", "") };
    let title = line_of(&problem.title);
    let mut text = format!("{colour}{word}{plain}{bold}: {title}{plain}\n --> {}\n", name(files, problem.place.file));
    if let Some(help) = &problem.help {
        text.push_str(&format!("  |\n  = {bold}help{plain}: {}\n", line_of(help)));
    }
    text
}

fn snippet<'a>(
    problem: &'a Problem,
    file: usize,
    primary: bool,
    files: &'a Files,
    sources: &'a [String],
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let source = sources.get(file).map_or("", String::as_str);
    let mut snippet = Snippet::source(source).path(name(files, file));
    if primary {
        let mark = AnnotationKind::Primary.span(within(source, &problem.place));
        snippet = snippet.annotation(mark.label(label(&problem.label)));
    }
    for (place, text) in problem.also.iter().filter(|(p, _)| p.file == file && !is_whole(p)) {
        snippet = snippet.annotation(AnnotationKind::Context.span(within(source, place)).label(label(text)));
    }
    snippet
}

fn is_whole(place: &Place) -> bool {
    place.range.is_empty() && place.range.start == 0
}

fn name(files: &Files, file: usize) -> String {
    line_of(files.list.get(file).map_or(super::load::EMBEDDED, |f| f.name.as_str()))
}

fn label(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| line_of(text))
}

/// The place's range, cut to characters of `source` and to its first line.
fn within(source: &str, place: &Place) -> Range<usize> {
    let floor = |at: usize| (0..=at.min(source.len())).rev().find(|i| source.is_char_boundary(*i)).unwrap_or(0);
    let (start, end) = (floor(place.range.start), floor(place.range.end));
    let end = end.max(start);
    let line = source[start..end].find('\n').map_or(end, |n| start + n);
    start..line
}

/// A file as it may be shown: harmless, and without what may be a secret.
fn shown(text: &str, file: usize, problems: &Problems) -> String {
    let secrets = problems.list.iter().filter(|p| p.is_secret && p.place.file == file);
    let mut hidden: Vec<Range<usize>> = secrets.map(|p| within(text, &p.place)).collect();
    for line in text.split_inclusive('\n') {
        let start = line.as_ptr() as usize - text.as_ptr() as usize;
        hidden.extend(secrets_of(line).into_iter().map(|r| start + r.start..start + r.end));
    }
    let mut bytes = harmless(text).into_bytes();
    for range in hidden {
        bytes[range].fill(b'*');
    }
    // Whole characters were replaced by as many ASCII bytes, so this is text still.
    String::from_utf8(bytes).unwrap_or_default()
}

/// The parts of a line that may be secrets written out: what stands before `@` in an address, and the value of a key
/// that holds a secret, if it is not the place of one.
fn secrets_of(line: &str) -> Vec<Range<usize>> {
    const KEYS: [&str; 6] = ["password", "bearer", "token", "secret", "webhook", "app_token"];
    let mut found = Vec::new();
    for (at, _) in line.match_indices("://") {
        let address = &line[at + 3..];
        let end = address.find(['/', '"', '\'', ' ', '\n']).unwrap_or(address.len());
        found.extend(address[..end].rfind('@').map(|n| at + 3..at + 3 + n));
    }
    for (at, key) in KEYS.iter().flat_map(|key| line.match_indices(key)) {
        let rest = &line[at + key.len()..];
        let Some(value) = rest.trim_start().strip_prefix('=') else { continue };
        let value = value.trim_start().trim_start_matches(['"', '\'']);
        if ["env:", "file:", "credential:", "$"].iter().any(|form| value.starts_with(form)) {
            continue;
        }
        let start = line.len() - value.len();
        let length = value.find(['"', '\'', '\n']).unwrap_or(value.len());
        found.push(start..start + length);
    }
    found
}

/// The text with every control and direction character replaced by as many bytes, so that places stay right.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\n' || c == '\t' || !is_harmful(c) {
            out.push(c);
        } else {
            (0..c.len_utf8()).for_each(|_| out.push(if c == '\r' { ' ' } else { '?' }));
        }
    }
    out
}

/// One line of bounded length without harmful characters.
fn line_of(text: &str) -> String {
    text.chars().map(|c| if is_harmful(c) { ' ' } else { c }).take(LONGEST).collect()
}

fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(text: &str) -> Files {
        let mut files = Files::default();
        files.add("backstop.toml", None, text.into());
        files
    }

    #[test]
    fn a_problem_shows_its_line_underlined() {
        let files = files("[rule.x]\ncritical = \"> 10%\"\nrollback = \"> 5%\"\n");
        let mut problems = Problems::default();
        let at = |range| Place { file: 0, range };
        problems
            .error(&at(39..45), "rollback is reached before critical", "would roll back first")
            .also(&at(20..27), "alerts from here")
            .help("make it at least as strict, or write rollback = \"critical\"");
        problems.warning(&at(0..0), "nobody notices", "").help("do something");
        let text = render(&problems, &files, false);
        let wanted = r#"error: rollback is reached before critical
 --> backstop.toml:3:12
  |
2 | critical = "> 10%"
  |            ------- alerts from here
3 | rollback = "> 5%"
  |            ^^^^^^ would roll back first
  |
  = help: make it at least as strict, or write rollback = "critical"

warning: nobody notices
 --> backstop.toml
  |
  = help: do something

"#;
        assert_eq!(text, wanted);
        assert_eq!(counts(&problems, &files), "backstop.toml: 1 error, 1 warning");
    }

    #[test]
    fn hostile_text_never_reaches_the_terminal() {
        let line = format!("a = \"\u{1b}[2J\u{202e}x\" #{}\n", "y".repeat(5000));
        let files = files(&line);
        let mut problems = Problems::default();
        problems.error(&Place { file: 0, range: 4..14 }, "bad \u{1b}[31m", "\r\n\u{7}").help("\u{9b}x");
        problems.error(&Place { file: 0, range: 9000..90000 }, "past the end", "x");
        problems.error(&Place { file: 7, range: 1..2 }, "no such file", "x").also(&Place { file: 9, range: 1..2 }, "y");
        let text = render(&problems, &files, false);
        assert!(text.chars().all(|c| c == '\n' || !is_harmful(c)), "{text:?}");
        assert!(text.lines().all(|l| l.chars().count() < 250), "{text}");
    }
}
