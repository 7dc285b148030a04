//! What is searched for, compiled once: the expressions as they were written, and one search for the lines that may match.
//!
//! Each line is to be judged as if it stood alone, but most lines match nothing, and a search that starts anew for each
//! is four times as dear as one over all of them. So all expressions are joined to one *union* that runs over whole buffers,
//! and only lines in which it finds something are matched by the set of the expressions themselves. The union may find too
//! much and must not miss anything: see [`relaxed`].
//!
//! An expression is read byte by byte, where `\w`, `\d`, `\b` and `(?i)` mean ASCII; where that cannot be (`\p{L}`, `[äö]`), and
//! where it says `(?u)`, in Unicode. Compiled sizes are bounded; matching takes time linear in the text, whatever is written.

use super::needles;
use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use regex_syntax::ParserBuilder;
use regex_syntax::hir::literal::Extractor;
use regex_syntax::hir::print::Printer;
use regex_syntax::hir::{
    Class, ClassBytes, ClassBytesRange, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Look, Repetition,
};

/// The longest expression, in bytes.
pub const MAX_EXPRESSION: usize = 8 << 10;

/// The largest compiled expression, in bytes.
const MAX_COMPILED: usize = 1 << 20;

/// In so many bytes a needle may be found in vain, on average, before the search does without needles.
const VAIN: usize = 512;

/// How many may be before that is asked.
const MANY: usize = 16;

/// How deep an expression may be nested.
const MAX_NESTED: u32 = 50;

/// An expression that cannot be used, or not well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// A sentence fragment.
    pub why: String,
    /// Where in the expression, as bytes from its start.
    pub at: Option<usize>,
    /// What to do.
    pub help: Option<String>,
}

impl Why {
    pub(super) fn new(why: impl Into<String>, help: &str) -> Why {
        Why { why: why.into(), at: None, help: Some(help.into()) }
    }
}

/// An expression, understood.
#[derive(Clone, Debug)]
pub(super) struct Expression {
    /// What it says, with every flag written out.
    pub(super) exact: String,
    /// How many groups it captures.
    pub(super) n_groups: usize,
    /// What finds every line that it matches; none where that is every line.
    finds: Option<Hir>,
    /// What `check` says of it.
    pub(super) note: Option<&'static str>,
}

impl Expression {
    /// Reads one.
    ///
    /// # Errors
    /// When it is too long, too large, or no expression.
    pub(super) fn read(text: &str) -> Result<Expression, Why> {
        if text.len() > MAX_EXPRESSION {
            let why = format!("it has {} bytes; {MAX_EXPRESSION} are taken", text.len());
            return Err(Why::new(why, "several shorter patterns are as fast as a long one"));
        }
        let hir = match parser(false).parse(text) {
            Ok(hir) => hir,
            // What ASCII cannot say, Unicode may.
            Err(_) => parser(true).parse(text).map_err(|error| told(&error))?,
        };
        let exact = printed(&hir);
        if RegexBuilder::new(&exact).size_limit(MAX_COMPILED).nest_limit(MAX_NESTED * 4).build().is_err() {
            let why = "it becomes larger than 1 MiB when it is compiled";
            return Err(Why::new(
                why,
                "make repetitions such as {1000} smaller, or use [0-9] and [a-z] for \\d and \\w",
            ));
        }
        let n_groups = hir.properties().explicit_captures_len();
        let finds = trimmed(relaxed(&hir));
        let (finds, note) = match finds.properties().minimum_len() {
            None => (Some(finds), Some("it can never match: a line holds no end of a line")),
            Some(0) => (None, Some("it can match without any text, so every line is matched by itself, which is slow")),
            Some(_) if !has_literals(&finds) => (
                Some(finds),
                Some("it begins with no fixed text, so nothing can be passed over on the way to it: slower"),
            ),
            Some(_) => (Some(finds), None),
        };
        Ok(Expression { exact, n_groups, finds, note })
    }

    /// Whether lines that it matches can be found in a buffer.
    pub(super) fn is_found(&self) -> bool {
        self.finds.is_some()
    }

    /// The expression by itself.
    ///
    /// # Errors
    /// When it cannot be compiled, which [`Expression::read`] has ruled out.
    pub(super) fn regex(&self) -> Result<Regex, Why> {
        RegexBuilder::new(&self.exact)
            .size_limit(MAX_COMPILED)
            .nest_limit(MAX_NESTED * 4)
            .build()
            .map_err(|error| Why { why: error.to_string(), at: None, help: None })
    }
}

fn parser(is_unicode: bool) -> regex_syntax::Parser {
    ParserBuilder::new().utf8(false).unicode(is_unicode).nest_limit(MAX_NESTED).build()
}

fn told(error: &regex_syntax::Error) -> Why {
    let (why, at) = match error {
        regex_syntax::Error::Parse(error) => (error.kind().to_string(), Some(error.span().start.offset)),
        regex_syntax::Error::Translate(error) => (error.kind().to_string(), Some(error.span().start.offset)),
        other => (other.to_string(), None),
    };
    let help = if why.contains("look-around") {
        "look-around is not known here, so that matching is never slow: say what is to match, and leave out lines in the rule"
    } else if why.contains("backreference") {
        "what a group matched cannot be asked for again, so that matching is never slow"
    } else {
        "write it between '…', where a backslash is one; \\. and \\( mean the characters themselves"
    };
    Why { why, at, help: Some(help.into()) }
}

fn printed(hir: &Hir) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _written = Printer::new().print(hir, &mut text);
    text
}

/// Several expressions that are searched for together.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// The expressions themselves, for the lines that were found.
    pub(super) set: RegexSet,
    /// What finds these lines; none where every line is to be looked at.
    union: Option<Regex>,
    /// Finds short texts of which every line that the union finds has one; none where there are no such.
    needles: Option<Regex>,
    /// Whether there is anything to search for.
    is_empty: bool,
}

impl Group {
    /// Joins them.
    ///
    /// # Errors
    /// When all together they are too large.
    pub(super) fn new(all: &[&Expression]) -> Result<Group, Why> {
        let limit = MAX_COMPILED * (all.len() + 1);
        let large = |error: regex::Error| Why {
            why: format!("all patterns together cannot be compiled: {error}"),
            at: None,
            help: Some("use fewer, or spread them over several tables".into()),
        };
        let exact = all.iter().map(|one| &one.exact);
        let set = RegexSetBuilder::new(exact).size_limit(limit).nest_limit(MAX_NESTED * 4).build().map_err(large)?;
        let finds: Option<Vec<Hir>> = all.iter().map(|one| one.finds.clone()).collect();
        let needles = finds.as_ref().and_then(|finds| needles::of(finds)).and_then(|needles| {
            let literals = needles.into_iter().map(Hir::literal).collect();
            RegexBuilder::new(&printed(&Hir::alternation(literals))).size_limit(limit).build().ok()
        });
        let union = match finds {
            Some(finds) => RegexBuilder::new(&printed(&Hir::alternation(finds)))
                .size_limit(limit)
                .nest_limit(MAX_NESTED * 4)
                .build()
                .ok(),
            None => None,
        };
        Ok(Group { set, union, needles, is_empty: all.is_empty() })
    }

    /// A search of `text` from its start.
    pub(super) fn search<'g, 't>(&'g self, text: &'t [u8]) -> Search<'g, 't> {
        Search { group: self, text, next: 0, n_vain: 0 }
    }
}

/// A search for the lines that may match, in their order.
pub(super) struct Search<'g, 't> {
    group: &'g Group,
    text: &'t [u8],
    /// Where the next find ends; before the line that is asked for, it is not known.
    next: usize,
    /// How many needles were found in vain.
    n_vain: usize,
}

impl Search<'_, '_> {
    /// Whether the line from `begin` to the newline at `end` may match. Lines are asked for in their order.
    #[inline]
    pub(super) fn may_match(&mut self, begin: usize, end: usize) -> bool {
        if self.next <= begin {
            self.next = self.find(begin);
        }
        // A find never crosses a newline, and has one byte at least, which lies before its end. It may end with `\r`.
        self.next <= end
    }

    /// Where the next find ends; at or before the line that was asked for where that is to be found out anew.
    pub(super) fn next(&self) -> usize {
        self.next
    }

    #[cold]
    fn find(&mut self, begin: usize) -> usize {
        match (&self.group.union, &self.group.needles) {
            _ if self.group.is_empty => usize::MAX,
            (Some(union), Some(needles)) => self.find_by(needles, union, begin),
            (Some(union), None) => union.shortest_match_at(self.text, begin).unwrap_or(usize::MAX),
            (None, _) => begin + 1,
        }
    }

    /// Finds a line by its needle, and asks the union about this line alone.
    fn find_by(&mut self, needles: &Regex, union: &Regex, mut begin: usize) -> usize {
        let text = self.text;
        // Where needles are found in many lines in vain, the union by itself is faster.
        while self.n_vain * VAIN <= begin + MANY * VAIN {
            let Some(needle) = needles.find_at(text, begin) else { return usize::MAX };
            let first = memchr::memrchr(b'\n', &text[begin..needle.start()]).map_or(begin, |at| begin + at + 1);
            let end = memchr::memchr(b'\n', &text[needle.end()..]).map_or(text.len(), |at| needle.end() + at);
            if union.shortest_match_at(&text[..end], first).is_some() {
                return end;
            }
            self.n_vain += 1;
            if end == text.len() {
                return usize::MAX;
            }
            begin = end + 1;
        }
        union.shortest_match_at(text, begin).unwrap_or(usize::MAX)
    }
}

/// The expression, changed so that in a buffer of many lines it finds at least every line that it matches alone.
///
/// Nothing matches an end of a line any more, which no line has, so no find crosses one. The start and the end of the text
/// become those of lines, `\r\n` included. Borders of Unicode words, which would slow down everything, hold everywhere.
fn relaxed(hir: &Hir) -> Hir {
    match hir.kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) if literal.0.contains(&b'\n') => Hir::fail(),
        HirKind::Literal(literal) => Hir::literal(literal.0.clone()),
        HirKind::Class(Class::Bytes(class)) => {
            let mut class = class.clone();
            class.difference(&ClassBytes::new([ClassBytesRange::new(b'\n', b'\n')]));
            Hir::class(Class::Bytes(class))
        }
        HirKind::Class(Class::Unicode(class)) => {
            let mut class = class.clone();
            class.difference(&ClassUnicode::new([ClassUnicodeRange::new('\n', '\n')]));
            Hir::class(Class::Unicode(class))
        }
        HirKind::Look(look) => match look {
            Look::Start | Look::StartLF => Hir::look(Look::StartLF),
            Look::StartCRLF => Hir::look(Look::StartCRLF),
            Look::End | Look::EndLF | Look::EndCRLF => Hir::look(Look::EndCRLF),
            Look::WordUnicode
            | Look::WordUnicodeNegate
            | Look::WordStartUnicode
            | Look::WordEndUnicode
            | Look::WordStartHalfUnicode
            | Look::WordEndHalfUnicode => Hir::empty(),
            ascii => Hir::look(*ascii),
        },
        HirKind::Repetition(repetition) => {
            let sub = Box::new(relaxed(&repetition.sub));
            Hir::repetition(Repetition { sub, ..repetition.clone() })
        }
        HirKind::Capture(capture) => relaxed(&capture.sub),
        HirKind::Concat(all) => Hir::concat(all.iter().map(relaxed).collect()),
        HirKind::Alternation(all) => Hir::alternation(all.iter().map(relaxed).collect()),
    }
}

/// Without what may be missing at its ends: where `.*x+` matches, `x` does too, and a search for `x` can pass over more.
fn trimmed(hir: Hir) -> Hir {
    match hir.into_kind() {
        HirKind::Concat(mut all) => {
            while let Some(n) = spare(all.iter()) {
                all.drain(..n);
            }
            while let Some(n) = spare(all.iter().rev()) {
                all.truncate(all.len() - n);
            }
            if let Some(first) = all.first_mut() {
                *first = shortest(std::mem::replace(first, Hir::empty()));
            }
            if let Some(last) = all.last_mut() {
                *last = shortest(std::mem::replace(last, Hir::empty()));
            }
            Hir::concat(all)
        }
        HirKind::Alternation(all) => Hir::alternation(all.into_iter().map(trimmed).collect()),
        HirKind::Repetition(repetition) => shortest(Hir::repetition(repetition)),
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => Hir::literal(literal.0),
        HirKind::Class(class) => Hir::class(class),
        HirKind::Look(look) => Hir::look(look),
        HirKind::Capture(capture) => trimmed(*capture.sub),
    }
}

/// How many of the outermost parts may be missing: one that may match nothing, and what only looks around outside of it.
fn spare<'h>(parts: impl Iterator<Item = &'h Hir>) -> Option<usize> {
    for (n, part) in parts.enumerate() {
        match part.kind() {
            HirKind::Look(_) => {}
            HirKind::Repetition(repetition) if repetition.min == 0 => return Some(n + 1),
            _ => return None,
        }
    }
    None
}

/// As often as it must be, and no more.
fn shortest(hir: Hir) -> Hir {
    match hir.into_kind() {
        HirKind::Repetition(repetition) => {
            let max = Some(repetition.min);
            Hir::repetition(Repetition { max, ..repetition })
        }
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => Hir::literal(literal.0),
        HirKind::Class(class) => Hir::class(class),
        HirKind::Look(look) => Hir::look(look),
        HirKind::Capture(capture) => Hir::capture(capture),
        HirKind::Concat(all) => Hir::concat(all),
        HirKind::Alternation(all) => Hir::alternation(all),
    }
}

/// Whether a search can look for text that all its finds begin with.
fn has_literals(hir: &Hir) -> bool {
    let mut sequence = Extractor::new().extract(hir);
    sequence.optimize_for_prefix_by_preference();
    sequence.is_finite() && sequence.min_literal_len().is_some_and(|n| n >= 2)
}
