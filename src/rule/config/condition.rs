//! One condition of a rule: a text, or a table `{ when, for, hits, clear, keep }`; `rollback` also takes `mode`, `rung`
//! and `with`.
//!
//! Enters: the value of the key. Leaves: a [`Written`] with the places that further checks point at. What it does not
//! say itself is settled by [`Written::settle`] from the rule's own keys, once it is known what its tests stand on.

use super::clause::{self, CONDITION};
use crate::base::table::{Placed, Read as _, Value as Raw};
use crate::base::{Node, Place, Problems, Span, Table};
use crate::rule::{Condition, Hits, Test, When};

/// For how long a condition must hold, and be gone, where nothing is written.
const MINUTE: Span = Span::mins(1);

/// The times of a condition, or those of a rule for conditions that say nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    /// For how long it must hold.
    pub(super) held_for: Option<Placed<Span>>,
    /// In how many readings instead.
    pub(super) hits: Option<Hits>,
    /// For how long it must be gone.
    pub(super) keep: Option<Span>,
}

impl Times {
    /// Reads `for`, `hits` and `keep`.
    pub(super) fn read(table: &mut Table<'_>, problems: &mut Problems) -> Times {
        let held_for: Option<Placed<Span>> = table.get("for", problems);
        let hits = table
            .node("hits")
            .and_then(|node| Some(Placed { value: hits(node, problems)?, place: node.place.clone() }));
        if let (Some(held_for), Some(hits)) = (&held_for, &hits) {
            problems
                .error(&hits.place, "`hits` and `for` together", "counts readings instead of time")
                .also(&held_for.place, "counts time")
                .help("write one of them");
        }
        Times { held_for, hits: hits.map(|hits| hits.value), keep: table.get("keep", problems) }
    }
}

/// Reads `3 of 5`.
fn hits(node: &Node, problems: &mut Problems) -> Option<Hits> {
    const EXAMPLE: &str = "for example hits = \"3 of 5\": in three of the newest five readings";
    let Raw::Text(text) = &node.value else {
        crate::base::table::wrong_kind(node, "a number of readings", "hits = \"3 of 5\"", problems);
        return None;
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let numbers = match words.as_slice() {
        [count, "of", of] => count.parse().ok().zip(of.parse().ok()),
        _ => None,
    };
    let mut wrong = |title: String, label: &str| {
        problems.error(&node.place, title, label).help(EXAMPLE);
        None
    };
    match numbers {
        None => wrong(format!("`{text}` is no number of readings"), ""),
        Some((0, _)) => wrong("no reading would be enough".into(), "at least 1"),
        Some((count, of)) if count > of => wrong(format!("{count} of {of} readings can never be"), "more than all"),
        Some((_, of)) if of > Hits::MOST => {
            wrong(format!("at most {} readings are counted", Hits::MOST), "a longer time is written with `for`")
        }
        Some((count, of)) => Some(Hits { count, of }),
    }
}

/// A condition as it was written.
#[derive(Clone, Debug)]
pub(super) struct Written {
    /// Which of the four it is.
    pub(super) key: &'static str,
    /// What must hold.
    pub(super) when: WrittenWhen,
    /// Where that stands.
    pub(super) place: Place,
    /// The times that it says itself.
    pub(super) own: Times,
    /// What ends it, and where that stands.
    pub(super) clear: Option<(clause::Read, Place)>,
    /// The mode that `rollback` names.
    pub(super) mode: Option<String>,
    /// The rung that it names.
    pub(super) rung: Option<Placed<String>>,
    /// The rules that must be critical as well.
    pub(super) with: Vec<Placed<String>>,
}

/// [`When`] with the places of its clauses.
#[derive(Clone, Debug)]
pub(super) enum WrittenWhen {
    /// Clauses.
    Test(clause::Read),
    /// The rule is critical.
    Critical,
    /// The expression returned something.
    Present,
}

impl Written {
    /// Reads the condition `key`.
    pub(super) fn read(key: &'static str, node: &Node, problems: &mut Problems) -> Option<Written> {
        let Raw::Table(_) = &node.value else { return Written::of_text(key, node, problems) };
        let what = format!("`{key}`");
        let mut table = Table::open(node, &what, problems)?;
        let when = match table.node("when") {
            Some(when) => Written::of_text(key, when, problems),
            None => table.required::<String>("when", "\"> 10%\"", problems).and(None),
        };
        let own = Times::read(&mut table, problems);
        let clear = table.node("clear").and_then(|node| {
            let text = String::read(node, problems)?;
            Some((clause::read(&text, &node.inside(), problems)?, node.place.clone()))
        });
        let (mut mode, mut rung, mut with) = (None, None, Vec::new());
        if key == "rollback" {
            mode = read_mode(&mut table, problems);
            rung = table.get("rung", problems);
            with = table.get("with", problems).unwrap_or_default();
        }
        table.finish(problems);
        Some(Written { own, clear, mode, rung, with, ..when? })
    }

    fn of_text(key: &'static str, node: &Node, problems: &mut Problems) -> Option<Written> {
        let text = String::read(node, problems)?;
        let when = match text.trim() {
            "present" => WrittenWhen::Present,
            "critical" if key == "rollback" => WrittenWhen::Critical,
            "critical" => {
                let title = format!("`{key}` cannot be \"critical\"");
                problems.error(&node.inside(), title, "only `rollback` can").help(CONDITION);
                return None;
            }
            _ => WrittenWhen::Test(clause::read(&text, &node.inside(), problems)?),
        };
        Some(Written {
            key,
            when,
            place: node.place.clone(),
            own: Times::default(),
            clear: None,
            mode: None,
            rung: None,
            with: Vec::new(),
        })
    }

    /// The clauses that must hold, where it has some.
    pub(super) fn test(&self) -> Option<&clause::Read> {
        match &self.when {
            WrittenWhen::Test(read) => Some(read),
            WrittenWhen::Critical | WrittenWhen::Present => None,
        }
    }

    /// The clauses of `when` and of `clear`.
    pub(super) fn tests(&self) -> impl Iterator<Item = &clause::Read> {
        self.test().into_iter().chain(self.clear.iter().map(|(read, _)| read))
    }

    /// The condition, with the times of the rule where it says none. `has_evidence` tells whether a test decides on
    /// statistics of its own, which are its `for`.
    pub(super) fn settle(&self, rule: &Times, has_evidence: impl Fn(&Test) -> bool) -> Condition {
        let when = match &self.when {
            WrittenWhen::Test(read) => When::Test(read.test.clone()),
            WrittenWhen::Critical => When::Critical,
            WrittenWhen::Present => When::Present,
        };
        let (held_for, hits) = match (&self.own.held_for, self.own.hits, &when) {
            (_, Some(hits), _) => (Span::ZERO, Some(hits)),
            (Some(own), None, _) => (own.value, None),
            // What is critical has held long enough already; only a `for` of its own makes it wait longer.
            (None, None, When::Critical) => (Span::ZERO, None),
            (None, None, When::Test(_) | When::Present) => match (&rule.held_for, rule.hits, &when) {
                (_, Some(hits), _) => (Span::ZERO, Some(hits)),
                (Some(held_for), None, _) => (held_for.value, None),
                (None, None, When::Test(test)) if has_evidence(test) => (Span::ZERO, None),
                (None, None, _) => (MINUTE, None),
            },
        };
        let clear = self.clear.as_ref().map(|(read, _)| read.test.clone());
        Condition { when, held_for, hits, clear, keep: self.own.keep.or(rule.keep).unwrap_or(MINUTE) }
    }
}

fn read_mode(table: &mut Table<'_>, problems: &mut Problems) -> Option<String> {
    let mode: Placed<String> = table.get("mode", problems)?;
    if ["observe", "ask", "auto"].contains(&mode.value.as_str()) {
        return Some(mode.value);
    }
    problems
        .error(&mode.place, format!("there is no mode `{}`", mode.value), "")
        .help("\"observe\" or \"ask\"; a rule may only be more careful than [rollback] mode");
    None
}
