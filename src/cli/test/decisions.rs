//! What a test expects of decisions: the levels a rule goes through, who is told, what is taken back; and the deployments
//! that they follow.

use std::collections::BTreeMap;

use super::case::{Check, Decided, Deploy, LevelsCheck, NotifiedCheck, RollbackCheck, What};
use super::ours::{children, labels, moment};
use crate::base::table::{Node, Placed, Table, nearest};
use crate::base::{Level, Problems, Span};
use crate::notify::story::EventKind;
use crate::rollback::guard::Guard;
use crate::rollback::machine::Mode;

/// Why an alert is told, and that it ended.
pub const REASONS: [&str; 6] = ["first", "escalated", "deescalated", "added", "reminder", "resolved"];

/// The words of `decision`, but for `held by GUARD`.
const DECISIONS: [(&str, Decided); 6] = [
    ("none", Decided::None),
    ("due", Decided::Due),
    ("observed", Decided::Observed),
    ("asked", Decided::Asked),
    ("announced", Decided::Announced),
    ("requested", Decided::Requested),
];

/// The expectations about decisions in the table of a test.
#[derive(Clone, Copy, Debug)]
pub struct Decisions<'a> {
    transitions: &'a [Node],
    notified: &'a [Node],
    rollbacks: &'a [Node],
}

impl<'a> Decisions<'a> {
    /// Finds them.
    pub fn find(table: &mut Table<'a>, problems: &mut Problems) -> Decisions<'a> {
        Decisions {
            transitions: children(table.node("transition"), "[[test.transition]]", problems),
            notified: children(table.node("notified"), "[[test.notified]]", problems),
            rollbacks: children(table.node("rollback"), "[[test.rollback]]", problems),
        }
    }

    /// Reads them.
    pub fn read(self, problems: &mut Problems) -> Vec<Check> {
        let mut checks: Vec<Check> = self.transitions.iter().filter_map(|node| transition(node, problems)).collect();
        checks.extend(self.notified.iter().filter_map(|node| notification(node, problems)));
        checks.extend(self.rollbacks.iter().filter_map(|node| rollback(node, problems)));
        checks
    }
}

/// A deployment.
pub fn deploy(node: &Node, problems: &mut Problems) -> Option<Deploy> {
    let mut table = Table::open(node, "[[test.deploy]]", problems)?;
    let at = moment(&mut table, problems);
    let version = table.required::<String>("version", "\"2.1.0\"", problems);
    let previous = table.get("previous", problems);
    let complete = table.get::<Placed<Span>>("complete", problems);
    if let (Some(at), Some(complete)) = (at, &complete)
        && complete.value < at
    {
        problems.error(&complete.place, "a deployment is complete after it was announced", "this is before `at`");
    }
    table.finish(problems);
    Some(Deploy { at: at?, version: version?, previous, complete: complete.map(|c| c.value) })
}

/// The mode of that word.
pub fn mode(word: &Placed<String>, problems: &mut Problems) -> Option<Mode> {
    let mode = Mode::named(&word.value);
    if mode.is_none() {
        unknown("mode", word, &["observe", "ask", "auto"], problems);
    }
    mode
}

fn transition(node: &Node, problems: &mut Problems) -> Option<Check> {
    let mut table = Table::open(node, "[[test.transition]]", problems)?;
    let rule: Option<String> = table.required("rule", "\"errors\"", problems);
    let labels = table.node("labels").map_or(BTreeMap::new(), |node| labels(node, problems));
    let written: Option<Vec<Placed<String>>> =
        table.required("levels", "[\"critical at 7m\", \"ok at 20m\"]", problems);
    table.finish(problems);
    let levels: Vec<(Level, Span)> =
        written.unwrap_or_default().iter().filter_map(|text| level_at(text, problems)).collect();
    let last = levels.iter().map(|(_, at)| *at).max().unwrap_or_default();
    Some(Check { at: last, what: What::Levels(LevelsCheck { rule: rule?, labels, levels }) })
}

/// `critical at 7m`.
fn level_at(text: &Placed<String>, problems: &mut Problems) -> Option<(Level, Span)> {
    let mistake = |why: String, problems: &mut Problems| {
        problems.error(&text.place, why, "").help("a level and a time from the start, as in \"critical at 7m\"");
    };
    let Some((level, at)) = text.value.split_once(" at ") else {
        mistake(format!("{:?} does not say when", text.value), problems);
        return None;
    };
    let known = [Level::Ok, Level::Warning, Level::Critical].into_iter().find(|known| known.as_str() == level.trim());
    let Some(level) = known else {
        mistake(format!("{:?} is no level: ok, warning or critical", level.trim()), problems);
        return None;
    };
    match Span::parse(at) {
        Ok(at) => Some((level, at)),
        Err(why) => {
            mistake(why, problems);
            None
        }
    }
}

fn notification(node: &Node, problems: &mut Problems) -> Option<Check> {
    let mut table = Table::open(node, "[[test.notified]]", problems)?;
    let at: Option<Span> = table.get("at", problems);
    let channel = table.get("channel", problems);
    let event = table.get::<Placed<String>>("event", problems).and_then(|word| event(&word, problems));
    let reason = table.get::<Placed<String>>("reason", problems).and_then(|word| reason(&word, problems));
    let contains = match table.node("contains") {
        Some(Node { value: crate::base::table::Value::Text(_), .. }) => {
            table.get::<String>("contains", problems).into_iter().collect()
        }
        _ => table.get::<Vec<String>>("contains", problems).unwrap_or_default(),
    };
    let count = table.get::<u32>("count", problems);
    table.finish(problems);
    let check = NotifiedCheck { at, channel, event, reason, contains, count };
    Some(Check { at: at.unwrap_or_default(), what: What::Notified(check) })
}

fn event(word: &Placed<String>, problems: &mut Problems) -> Option<EventKind> {
    let kind = EventKind::ALL.into_iter().find(|kind| kind.as_str() == word.value);
    if kind.is_none() {
        unknown("event", word, &EventKind::ALL.map(EventKind::as_str), problems);
    }
    kind
}

fn reason(word: &Placed<String>, problems: &mut Problems) -> Option<&'static str> {
    let reason = REASONS.into_iter().find(|reason| *reason == word.value);
    if reason.is_none() {
        unknown("reason", word, &REASONS, problems);
    }
    reason
}

fn rollback(node: &Node, problems: &mut Problems) -> Option<Check> {
    let mut table = Table::open(node, "[[test.rollback]]", problems)?;
    let at: Option<Span> = table.get("at", problems);
    let within: Option<Placed<Span>> = table.get("within", problems);
    if let (Some(_), Some(within)) = (at, &within) {
        problems.error(&within.place, "`at` and `within` exclude each other", "one of them says when");
    }
    let rule = table.get("rule", problems);
    let word = table.required::<Placed<String>>("decision", "\"requested\"", problems);
    table.finish(problems);
    let decision = decision(&word?, problems)?;
    let within = within.map(|within| within.value);
    let last = at.or(within).unwrap_or_default();
    Some(Check { at: last, what: What::Rollback(RollbackCheck { at, within, rule, decision }) })
}

fn decision(word: &Placed<String>, problems: &mut Problems) -> Option<Decided> {
    if let Some(name) = word.value.strip_prefix("held by ") {
        let guard = Guard::named(name.trim());
        if guard.is_none() {
            let names = Guard::ALL.map(Guard::name);
            unknown("guard", &Placed { value: name.trim().to_string(), place: word.place.clone() }, &names, problems);
        }
        return guard.map(Decided::Held);
    }
    let known = DECISIONS.into_iter().find(|(text, _)| *text == word.value);
    if known.is_none() {
        let words: Vec<&str> = DECISIONS.iter().map(|(text, _)| *text).chain(["held by GUARD"]).collect();
        unknown("decision", word, &words, problems);
    }
    known.map(|(_, decided)| decided)
}

fn unknown(what: &str, word: &Placed<String>, words: &[&str], problems: &mut Problems) {
    let problem = problems.error(&word.place, format!("`{what}` cannot be {:?}", word.value), "");
    match nearest(&word.value, words) {
        Some(near) => problem.help(format!("did you mean {near:?}?")),
        None => problem.help(format!("one of {}", words.join(", "))),
    };
}

impl Decided {
    /// As a test writes it.
    pub fn text(self) -> String {
        match self {
            Decided::Held(guard) => format!("held by {}", guard.name()),
            other => DECISIONS.iter().find(|(_, d)| *d == other).map_or_else(String::new, |(text, _)| text.to_string()),
        }
    }
}
