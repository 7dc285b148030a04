//! What people and programs stated: the state of every signal, and when its series are written.
//!
//! Enters: a word about a signal (set, reject, clear), time, a deployment, a new configuration. Leaves: events to
//! journal, a sentence for who spoke, and the batches of the signals' series. Pure. The state is the fold of the
//! events ([`Signals::apply`]); what a word may say is decided here and nowhere else. Series are written when a signal
//! changes and every 15 s, so a rule over one is judged at once and never mistakes silence for absence.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::table::nearest;
use crate::base::{Batch, Span, Timestamp};
use crate::source::signal::{Kind, Look, Posted, REPEAT, Signal, Stands};

/// The longest reason that is taken, in characters.
pub const MAX_REASON: usize = 1000;

/// The most that a count rises by one word.
pub const MAX_BY: u64 = 1_000_000;

/// The longest time that a word can be given.
pub const LONGEST: Span = Span::hours(24 * 366);

/// What somebody says about a signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Word {
    /// The signal's name.
    pub name: String,
    /// What is said of it.
    pub say: Say,
    /// Why.
    pub reason: Option<String>,
    /// Who says so.
    pub by: String,
}

/// What is said of a signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Say {
    /// It is so; of a count: it happened.
    Set {
        /// The result that it states.
        posted: Option<Posted>,
        /// How long it holds, where that is not as configured.
        lasting: Option<Span>,
        /// By how much a count rises.
        rise: Option<u64>,
    },
    /// It is not so, and somebody says so.
    Reject {
        /// How long that holds, where that is not as configured.
        lasting: Option<Span>,
    },
    /// It was never said; a count begins anew.
    Clear,
}

/// What is journaled of signals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A flag was set.
    Set {
        /// Which.
        name: String,
        /// What was said.
        mark: Mark,
        /// The result that it states.
        posted: Option<Posted>,
    },
    /// A flag was rejected.
    Rejected {
        /// Which.
        name: String,
        /// What was said.
        mark: Mark,
    },
    /// A count rose.
    Counted {
        /// Which.
        name: String,
        /// What was said.
        mark: Mark,
        /// By how much.
        rise: u64,
    },
    /// What was said of it does not hold any more.
    Cleared {
        /// Which.
        name: String,
        /// When.
        at: Timestamp,
        /// Why.
        how: Cleared,
    },
    /// The configuration does not have it any more, or has another kind of it: nothing is known of it.
    Forgotten {
        /// Which.
        name: String,
        /// When.
        at: Timestamp,
    },
}

/// Why a signal was cleared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cleared {
    /// Somebody did.
    Person {
        /// Who.
        by: String,
        /// Why.
        reason: Option<String>,
    },
    /// Its lifetime ran out.
    RanOut,
    /// A new deployment began.
    Deployment {
        /// Its version.
        version: String,
    },
}

/// Who said something, when, why, and until when it holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// Until when it holds; until the next deployment where unset (a count: until it is cleared).
    pub until: Option<Timestamp>,
}

/// How a signal stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Nothing was said, or it was cleared.
    Unset,
    /// It was set; of a count: it rose, and this was the last time.
    Set {
        /// What was said.
        mark: Mark,
        /// The result that it states.
        posted: Option<Posted>,
    },
    /// It was rejected.
    Rejected {
        /// What was said.
        mark: Mark,
    },
}

impl Standing {
    /// What was said, if anything.
    pub fn mark(&self) -> Option<&Mark> {
        match self {
            Standing::Unset => None,
            Standing::Set { mark, .. } | Standing::Rejected { mark } => Some(mark),
        }
    }

    fn mark_mut(&mut self) -> Option<&mut Mark> {
        match self {
            Standing::Unset => None,
            Standing::Set { mark, .. } | Standing::Rejected { mark } => Some(mark),
        }
    }
}

/// What is known of one signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// What it was when something was said of it.
    pub kind: Kind,
    /// How it stands.
    pub standing: Standing,
    /// A flag: how often it was set. A count: what it counts.
    pub total: u64,
}

/// The fold of all events about signals; those of which nothing was ever said are not in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Signals(BTreeMap<String, Known>);

/// What came of a word.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// It is so: what to journal (nothing where nothing changes), and a sentence.
    Done(Option<Event>, String),
    /// The word makes no sense: why, and what to write.
    Wrong(String, String),
}

impl Signals {
    /// What is known of a signal.
    pub fn get(&self, name: &str) -> Option<&Known> {
        self.0.get(name)
    }

    /// What follows from a word at `now`.
    pub fn hear(&self, now: Timestamp, declared: &[Arc<Signal>], word: &Word) -> Said {
        let Some(signal) = declared.iter().find(|signal| signal.name() == word.name) else {
            return unknown(&word.name, declared);
        };
        let length = word.reason.as_ref().map_or(0, |reason| reason.chars().count());
        if length > MAX_REASON {
            return wrong(format!("a reason of {length} characters"), format!("at most {MAX_REASON}"));
        }
        let mark = |lasting: Option<Span>| Mark {
            at: now,
            by: word.by.clone(),
            reason: word.reason.clone().filter(|reason| !reason.trim().is_empty()),
            until: lasting.or(signal.lifetime()).map(|lasting| now + lasting),
        };
        match &word.say {
            Say::Set { lasting: Some(lasting), .. } | Say::Reject { lasting: Some(lasting) }
                if *lasting <= Span::ZERO || *lasting > LONGEST =>
            {
                wrong("a time that is nothing, or over a year", "for example: --for 2h")
            }
            Say::Set { posted, lasting, rise } => match signal.kind() {
                Kind::Flag if rise.is_some() => {
                    wrong(format!("{} is a flag: it does not count", word.name), "leave out --by")
                }
                Kind::Flag => self.set(signal, mark(*lasting), posted.as_ref()),
                Kind::Count if posted.is_some() || lasting.is_some() => wrong(
                    format!("{} is a count: it takes no result and no time", word.name),
                    "leave out --value, --json and --for",
                ),
                Kind::Count => self.count(signal, mark(None), rise.unwrap_or(1)),
            },
            Say::Reject { .. } if signal.kind() == Kind::Count => {
                wrong(format!("{} is a count: it cannot be rejected", word.name), "clear it, to begin anew")
            }
            Say::Reject { .. } if word.reason.as_ref().is_none_or(|reason| reason.trim().is_empty()) => {
                wrong("a rejection without a reason", "say why: --reason \"…\"")
            }
            Say::Reject { lasting } => {
                let mark = mark(*lasting);
                let text = format!("{} is rejected, {}", word.name, holds(&mark));
                Said::Done(Some(Event::Rejected { name: word.name.clone(), mark }), text)
            }
            Say::Clear => self.clear(now, word),
        }
    }

    fn set(&self, signal: &Signal, mark: Mark, posted: Option<&Posted>) -> Said {
        let name = signal.name();
        if let Some(Err(why)) = posted.map(Posted::check) {
            return wrong(format!("the result for {name}: {why}"), "--value passed=184, or --json FILE");
        }
        if posted.is_none() && signal.expects() {
            return wrong(
                format!("{name} expects something of a result, and none was posted"),
                format!("backstop signal set {name} --value KEY=VALUE, or --json FILE"),
            );
        }
        let again = match self.get(name).map(|known| &known.standing) {
            Some(Standing::Set { .. }) => " again",
            Some(Standing::Rejected { .. }) => ", which was rejected before",
            Some(Standing::Unset) | None => "",
        };
        let text = format!("{name} is set{again}, {}", holds(&mark));
        Said::Done(Some(Event::Set { name: name.into(), mark, posted: posted.cloned() }), text)
    }

    fn count(&self, signal: &Signal, mark: Mark, rise: u64) -> Said {
        let name = signal.name();
        if rise == 0 || rise > MAX_BY {
            return wrong(format!("a count does not rise by {rise}"), format!("1 to {MAX_BY}"));
        }
        let total = self.get(name).map_or(0, |known| known.total).saturating_add(rise);
        let text = format!("{name} is {total} now");
        Said::Done(Some(Event::Counted { name: name.into(), mark: Mark { until: None, ..mark }, rise }), text)
    }

    fn clear(&self, now: Timestamp, word: &Word) -> Said {
        let name = &word.name;
        match self.get(name) {
            Some(known) if known.standing != Standing::Unset => {
                let how = Cleared::Person { by: word.by.clone(), reason: word.reason.clone() };
                let text = match known.kind {
                    Kind::Flag => format!("{name} is not set any more"),
                    Kind::Count => format!("{name} is 0 now; it was {}", known.total),
                };
                Said::Done(Some(Event::Cleared { name: name.clone(), at: now, how }), text)
            }
            _ => Said::Done(None, format!("{name} was not set; nothing changed")),
        }
    }

    /// What time brings: lifetimes run out.
    pub fn ran_out(&self, now: Timestamp) -> Vec<Event> {
        let over = |known: &Known| known.standing.mark().and_then(|mark| mark.until).is_some_and(|until| until <= now);
        let cleared = |name: &String| Event::Cleared { name: name.clone(), at: now, how: Cleared::RanOut };
        self.0.iter().filter(|(_, known)| over(known)).map(|(name, _)| cleared(name)).collect()
    }

    /// What a new deployment brings: what was said of the version before does not hold for this one. Counts go on.
    pub fn deployed(&self, now: Timestamp, version: &str) -> Vec<Event> {
        let ends =
            |known: &Known| known.kind == Kind::Flag && known.standing.mark().is_some_and(|mark| mark.until.is_none());
        let how = Cleared::Deployment { version: version.into() };
        let cleared = |name: &String| Event::Cleared { name: name.clone(), at: now, how: how.clone() };
        self.0.iter().filter(|(_, known)| ends(known)).map(|(name, _)| cleared(name)).collect()
    }

    /// What a configuration brings: signals that it does not have, or has as another kind, are forgotten.
    pub fn settle(&self, now: Timestamp, declared: &[Arc<Signal>]) -> Vec<Event> {
        let kept = |name: &str, known: &Known| declared.iter().any(|s| s.name() == name && s.kind() == known.kind);
        let gone = self.0.iter().filter(|(name, known)| !kept(name, known));
        gone.map(|(name, _)| Event::Forgotten { name: name.clone(), at: now }).collect()
    }

    /// The next moment at which something runs out.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.0.values().filter_map(|known| known.standing.mark()?.until).min()
    }

    /// Folds one event.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Set { name, mark, posted } => {
                let known = self.known(name, Kind::Flag);
                known.standing = Standing::Set { mark: mark.clone(), posted: posted.clone() };
                known.total = known.total.saturating_add(1);
            }
            Event::Rejected { name, mark } => {
                self.known(name, Kind::Flag).standing = Standing::Rejected { mark: mark.clone() };
            }
            Event::Counted { name, mark, rise } => {
                let known = self.known(name, Kind::Count);
                known.standing = Standing::Set { mark: mark.clone(), posted: None };
                known.total = known.total.saturating_add(*rise);
            }
            Event::Cleared { name, .. } => {
                if let Some(known) = self.0.get_mut(name) {
                    known.standing = Standing::Unset;
                    if known.kind == Kind::Count {
                        known.total = 0;
                    }
                }
            }
            Event::Forgotten { name, .. } => {
                self.0.remove(name);
            }
        }
    }

    fn known(&mut self, name: &str, kind: Kind) -> &mut Known {
        let new = || Known { kind, standing: Standing::Unset, total: 0 };
        let known = self.0.entry(name.to_string()).or_insert_with(new);
        if known.kind != kind {
            *known = new();
        }
        known
    }

    /// Moves all times by `by`, because the wall clock was set: what is left of a lifetime stays.
    pub fn shift(&mut self, by: Span) {
        for mark in self.0.values_mut().filter_map(|known| known.standing.mark_mut()) {
            mark.at += by;
            if let Some(until) = &mut mark.until {
                *until += by;
            }
        }
    }
}

impl Event {
    /// The signal.
    pub fn name(&self) -> &str {
        match self {
            Event::Set { name, .. }
            | Event::Rejected { name, .. }
            | Event::Counted { name, .. }
            | Event::Cleared { name, .. }
            | Event::Forgotten { name, .. } => name,
        }
    }

    /// How much `backstop_signal_new` is for it.
    fn rise(&self) -> u64 {
        match self {
            Event::Set { .. } => 1,
            Event::Counted { rise, .. } => *rise,
            Event::Rejected { .. } | Event::Cleared { .. } | Event::Forgotten { .. } => 0,
        }
    }

    /// One line for the agent's own log.
    pub fn log_line(&self) -> String {
        let said = |mark: &Mark| {
            let reason = mark.reason.as_ref().map_or_else(String::new, |reason| format!(": {}", printable(reason)));
            format!("by {}{reason}", mark.by)
        };
        match self {
            Event::Set { name, mark, .. } => format!("the signal {name} was set {}", said(mark)),
            Event::Rejected { name, mark } => format!("the signal {name} was rejected {}", said(mark)),
            Event::Counted { name, mark, rise } => format!("the signal {name} rose by {rise} {}", said(mark)),
            Event::Cleared { name, how, .. } => format!("the signal {name} was cleared: {how}"),
            Event::Forgotten { name, .. } => {
                format!("the configuration has no such signal {name} any more; what was said of it is forgotten")
            }
        }
    }
}

impl std::fmt::Display for Cleared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Cleared::Person { by, reason: None } => write!(f, "by {by}"),
            Cleared::Person { by, reason: Some(reason) } => write!(f, "by {by}, {}", printable(reason)),
            Cleared::RanOut => f.write_str("ran out"),
            Cleared::Deployment { version } => write!(f, "{} goes live", printable(version)),
        }
    }
}

/// `text` without what a terminal would obey: control characters, and those that turn the direction of writing.
pub fn printable(text: &str) -> String {
    let obeyed = |c: char| {
        c.is_control() || matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if obeyed(c) { ' ' } else { c }).collect()
}

fn holds(mark: &Mark) -> String {
    match mark.until {
        Some(until) => format!("for {}", (until - mark.at).human()),
        None => "until the next deployment".into(),
    }
}

fn wrong(why: impl Into<String>, help: impl Into<String>) -> Said {
    Said::Wrong(why.into(), help.into())
}

fn unknown(name: &str, declared: &[Arc<Signal>]) -> Said {
    let names: Vec<&str> = declared.iter().map(|signal| signal.name()).collect();
    let help = match nearest(name, &names) {
        Some(near) => format!("did you mean {near}?"),
        None if names.is_empty() => "the configuration has no [signal.NAME]".into(),
        None => format!("signals here: {}", names.join(", ")),
    };
    wrong(format!("there is no signal `{}`", printable(name)), help)
}

/// When the series of each signal were written, and what they do not tell yet.
#[derive(Debug)]
pub struct Board {
    signals: Vec<(Arc<Signal>, Writing)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Writing {
    /// When the last batch was.
    at: Option<Timestamp>,
    /// What happened since.
    new: u64,
    /// Whether something changed since.
    changed: bool,
}

impl Board {
    /// A board of these signals, of which nothing was written yet.
    pub fn new(signals: &[Arc<Signal>]) -> Board {
        Board { signals: signals.iter().map(|signal| (signal.clone(), Writing::default())).collect() }
    }

    /// The same for another configuration: what was not told yet of a signal that stays is still told.
    pub fn renew(&mut self, signals: &[Arc<Signal>]) {
        let old = std::mem::replace(self, Board::new(signals));
        for (signal, writing) in &mut self.signals {
            if let Some((_, before)) = old.signals.iter().find(|(s, _)| s.name() == signal.name()) {
                *writing = Writing { changed: true, ..*before };
            }
        }
    }

    /// Something happened that the series must tell.
    pub fn note(&mut self, event: &Event) {
        if let Some((_, writing)) = self.signals.iter_mut().find(|(signal, _)| signal.name() == event.name()) {
            writing.new = writing.new.saturating_add(event.rise());
            writing.changed = true;
        }
    }

    /// What was journaled before a restart and never told: the total as journaled, over the newest that was written.
    pub fn catch_up(&mut self, signals: &Signals, newest_total: impl Fn(&Signal) -> Option<f64>) {
        for (signal, writing) in &mut self.signals {
            let total = signals.get(signal.name()).map_or(0, |known| known.total);
            if let Some(told) = newest_total(signal).filter(|told| *told >= 0.0 && told.is_finite()) {
                // A count that was cleared meanwhile is below what was told: all of it is new.
                let told = told as u64;
                writing.new = if told <= total { total - told } else { total };
            }
        }
    }

    /// The batches that are due at `now`. Two never have the same time: the store would keep only the first.
    pub fn due(&mut self, now: Timestamp, signals: &Signals) -> Vec<Batch> {
        let mut batches = Vec::new();
        for (signal, writing) in self.signals.iter_mut().filter(|(_, writing)| writing.due() <= now) {
            let known = signals.get(signal.name());
            let look = Look {
                stands: known.map_or(Stands::Unset, stands),
                posted: known.and_then(|known| posted(&known.standing)),
                new: writing.new,
                total: known.map_or(0, |known| known.total),
            };
            *writing = Writing { at: Some(now), new: 0, changed: false };
            batches.push(signal.batch(now, &look));
        }
        batches
    }

    /// When the next batch is due; none without signals.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.signals.iter().map(|(_, writing)| writing.due()).min()
    }

    /// The wall clock was set.
    pub fn shift(&mut self, by: Span) {
        self.signals.iter_mut().filter_map(|(_, writing)| writing.at.as_mut()).for_each(|at| *at += by);
    }
}

impl Writing {
    fn due(&self) -> Timestamp {
        match self.at {
            None => Timestamp(i64::MIN),
            Some(at) if self.changed => at + Span::millis(1),
            Some(at) => at + REPEAT,
        }
    }
}

/// How what is known stands, for its series.
pub fn stands(known: &Known) -> Stands {
    match known.standing {
        Standing::Unset => Stands::Unset,
        Standing::Set { .. } => Stands::Set,
        Standing::Rejected { .. } => Stands::Rejected,
    }
}

/// The result that stands.
pub fn posted(standing: &Standing) -> Option<&Posted> {
    match standing {
        Standing::Set { posted, .. } => posted.as_ref(),
        Standing::Unset | Standing::Rejected { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Labels;
    use crate::source::signal;
    use crate::source::testing::{defaults, read};

    const NOW: Timestamp = Timestamp(1_761_640_000_000);

    fn signal(name: &str, toml: &str) -> Arc<Signal> {
        let (config, problems) =
            read(toml, |node, problems| signal::Config::read(name, node, &defaults(), problems).unwrap());
        assert_eq!(problems, Vec::<String>::new(), "{toml}");
        Arc::new(Signal::new(config))
    }

    fn declared() -> Vec<Arc<Signal>> {
        vec![
            signal("approval", ""),
            signal("oncall", "lifetime = \"8h\""),
            signal("tests", "expect = ['number failed == 0']"),
            signal("tickets", "kind = \"count\""),
        ]
    }

    fn word(name: &str, say: Say) -> Word {
        Word { name: name.into(), say, reason: Some("because".into()), by: "anna".into() }
    }

    fn set() -> Say {
        Say::Set { posted: None, lasting: None, rise: None }
    }

    fn rise(n: u64) -> Say {
        Say::Set { posted: None, lasting: None, rise: Some(n) }
    }

    fn lasting(span: Span) -> Say {
        Say::Set { posted: None, lasting: Some(span), rise: None }
    }

    fn result(key: &str, value: f64) -> Say {
        let posted = Posted { values: BTreeMap::from([(key.to_string(), value)]), json: None };
        Say::Set { posted: Some(posted), lasting: None, rise: None }
    }

    fn reject() -> Say {
        Say::Reject { lasting: None }
    }

    /// Signals and everything that was journaled of them.
    #[derive(Default)]
    struct World {
        signals: Signals,
        events: Vec<Event>,
    }

    impl World {
        /// What is journaled reads back, and folded anew gives what it gave.
        fn take(&mut self, events: impl IntoIterator<Item = Event>) {
            for event in events {
                self.signals.apply(&event);
                self.events.push(event);
                let text = serde_json::to_string(&self.events).unwrap();
                let mut again = Signals::default();
                serde_json::from_str::<Vec<Event>>(&text).unwrap().iter().for_each(|event| again.apply(event));
                assert_eq!(again, self.signals, "a restart here changes something");
                let snapshot = serde_json::to_string(&self.signals).unwrap();
                assert_eq!(serde_json::from_str::<Signals>(&snapshot).unwrap(), self.signals);
            }
        }

        fn say(&mut self, at: Timestamp, name: &str, say: Say) -> String {
            match self.signals.hear(at, &declared(), &word(name, say)) {
                Said::Done(event, text) => {
                    self.take(event);
                    text
                }
                Said::Wrong(why, help) => format!("{why} | {help}"),
            }
        }

        fn state(&self, name: &str) -> (&'static str, u64) {
            let Some(known) = self.signals.get(name) else { return ("unset", 0) };
            let state = match known.standing {
                Standing::Unset => "unset",
                Standing::Set { .. } => "set",
                Standing::Rejected { .. } => "rejected",
            };
            (state, known.total)
        }
    }

    #[test]
    fn every_word_leads_to_the_state_it_states() {
        let mut world = World::default();
        for (name, say, said, state) in [
            ("approval", set(), "approval is set, until the next deployment", ("set", 1)),
            ("approval", set(), "approval is set again, until the next deployment", ("set", 2)),
            ("approval", reject(), "approval is rejected, until the next deployment", ("rejected", 2)),
            ("approval", reject(), "approval is rejected, until the next deployment", ("rejected", 2)),
            ("approval", set(), "approval is set, which was rejected before, until the next deployment", ("set", 3)),
            ("approval", lasting(Span::hours(2)), "approval is set again, for 2 h", ("set", 4)),
            ("approval", Say::Clear, "approval is not set any more", ("unset", 4)),
            ("approval", Say::Clear, "approval was not set; nothing changed", ("unset", 4)),
            ("approval", reject(), "approval is rejected, until the next deployment", ("rejected", 4)),
            ("approval", Say::Clear, "approval is not set any more", ("unset", 4)),
            ("oncall", set(), "oncall is set, for 8 h", ("set", 1)),
            ("tests", result("failed", 0.0), "tests is set, until the next deployment", ("set", 1)),
            ("tickets", set(), "tickets is 1 now", ("set", 1)),
            ("tickets", rise(3), "tickets is 4 now", ("set", 4)),
            ("tickets", Say::Clear, "tickets is 0 now; it was 4", ("unset", 0)),
            ("tickets", Say::Clear, "tickets was not set; nothing changed", ("unset", 0)),
            ("tickets", rise(2), "tickets is 2 now", ("set", 2)),
        ] {
            assert_eq!(world.say(NOW, name, say.clone()), said, "{name} {say:?}");
            assert_eq!(world.state(name), state, "{name} {say:?}");
        }
    }

    #[test]
    fn a_word_that_makes_no_sense_changes_nothing_and_says_what_to_write() {
        let year = Span::hours(24 * 400);
        let nan = result("x", f64::NAN);
        let deep = Posted { json: Some(format!("{}{}", "[".repeat(65), "]".repeat(65))), ..Posted::default() };
        let deep = Say::Set { posted: Some(deep), lasting: None, rise: None };
        for (name, say, said) in [
            ("aproval", set(), "there is no signal `aproval` | did you mean approval?"),
            ("x\u{1b}[2J", set(), "there is no signal `x [2J` | signals here: approval, oncall, tests, tickets"),
            ("approval", rise(2), "approval is a flag: it does not count | leave out --by"),
            ("approval", lasting(Span::ZERO), "a time that is nothing, or over a year | for example: --for 2h"),
            ("approval", lasting(year), "a time that is nothing, or over a year | for example: --for 2h"),
            (
                "tests",
                set(),
                "tests expects something of a result, and none was posted | backstop signal set tests --value KEY=VALUE, or --json FILE",
            ),
            ("tests", nan, "the result for tests: x is no finite number | --value passed=184, or --json FILE"),
            ("tests", deep, "the result for tests: JSON deeper than 64 | --value passed=184, or --json FILE"),
            ("tickets", rise(0), "a count does not rise by 0 | 1 to 1000000"),
            ("tickets", rise(MAX_BY + 1), "a count does not rise by 1000001 | 1 to 1000000"),
            ("tickets", reject(), "tickets is a count: it cannot be rejected | clear it, to begin anew"),
            (
                "tickets",
                lasting(Span::hours(1)),
                "tickets is a count: it takes no result and no time | leave out --value, --json and --for",
            ),
        ] {
            let mut world = World::default();
            assert_eq!(world.say(NOW, name, say.clone()), said, "{name} {say:?}");
            assert_eq!(world.events, Vec::new(), "{name}");
        }
        let long = Word { reason: Some("ä".repeat(1001)), ..word("approval", set()) };
        let Said::Wrong(why, _) = Signals::default().hear(NOW, &declared(), &long) else { panic!("refused") };
        assert_eq!(why, "a reason of 1001 characters");
        let silent = Word { reason: Some(" ".into()), ..word("approval", reject()) };
        assert!(
            matches!(Signals::default().hear(NOW, &declared(), &silent), Said::Wrong(why, _) if why == "a rejection without a reason")
        );
        let Said::Wrong(_, help) = Signals::default().hear(NOW, &[], &word("x", set())) else { panic!("refused") };
        assert_eq!(help, "the configuration has no [signal.NAME]");
    }

    #[test]
    fn who_when_why_and_until_when_is_kept() {
        let mut world = World::default();
        world.say(NOW, "oncall", set());
        let mark = world.signals.get("oncall").unwrap().standing.mark().unwrap().clone();
        let until = Some(NOW + Span::hours(8));
        assert_eq!(mark, Mark { at: NOW, by: "anna".into(), reason: Some("because".into()), until });
    }

    #[test]
    fn a_lifetime_runs_out_once_and_in_time_that_passed() {
        let mut world = World::default();
        world.say(NOW, "oncall", set());
        world.say(NOW, "approval", set());
        assert_eq!(world.signals.deadline(), Some(NOW + Span::hours(8)));
        // The wall clock goes back by a day: what is left of the lifetime stays.
        let back = -Span::hours(24);
        world.signals.shift(back);
        let until = NOW + back + Span::hours(8);
        assert_eq!(world.signals.deadline(), Some(until));
        assert_eq!(world.signals.ran_out(until - Span::millis(1)), []);
        let over = world.signals.ran_out(until);
        assert_eq!(over, [Event::Cleared { name: "oncall".into(), at: until, how: Cleared::RanOut }]);
        over.iter().for_each(|event| world.signals.apply(event));
        assert_eq!((world.state("oncall"), world.state("approval")), (("unset", 1), ("set", 1)));
        assert_eq!(world.signals.ran_out(until + Span::hours(1)), []);
        assert_eq!(world.signals.deadline(), None);
    }

    #[test]
    fn a_deployment_clears_what_was_said_of_the_version_before() {
        let mut world = World::default();
        world.say(NOW, "approval", reject());
        world.say(NOW, "oncall", set());
        world.say(NOW, "tests", result("failed", 0.0));
        world.say(NOW, "tickets", rise(5));
        let at = NOW + Span::mins(1);
        world.take(world.signals.deployed(at, "2.0"));
        assert_eq!(world.state("approval"), ("unset", 0));
        assert_eq!(world.state("tests"), ("unset", 1));
        assert_eq!(world.state("oncall"), ("set", 1), "it has a time of its own");
        assert_eq!(world.state("tickets"), ("set", 5), "a count goes on");
        world.say(at, "approval", set());
        assert_eq!(world.state("approval"), ("set", 1), "said after the deployment began");
    }

    #[test]
    fn a_signal_that_is_not_declared_any_more_is_forgotten() {
        let mut world = World::default();
        world.say(NOW, "approval", set());
        world.say(NOW, "tickets", rise(5));
        world.take(world.signals.settle(NOW, &declared()));
        assert_eq!(world.state("tickets"), ("set", 5));
        let others = [signal("tickets", "")];
        world.take(world.signals.settle(NOW, &others));
        assert_eq!(world.signals, Signals::default(), "approval is gone, and tickets is no count any more");
    }

    /// The value of a series in a batch.
    fn of(batch: &Batch, name: &str) -> f64 {
        let named = |labels: &Labels| labels.name() == name;
        batch.samples.iter().find(|s| named(&s.labels)).map(|s| s.value).expect("the series is there")
    }

    #[test]
    fn series_come_at_the_start_at_each_change_and_every_15_s() {
        let signals = [signal("tickets", "kind = \"count\"")];
        let mut world = World::default();
        let mut board = Board::new(&signals);
        let told = |board: &mut Board, world: &World, at: Timestamp| -> Vec<(f64, f64, f64)> {
            let batches = board.due(at, &world.signals);
            batches
                .iter()
                .map(|b| (of(b, "backstop_signal"), of(b, "backstop_signal_new"), of(b, "backstop_signal_total")))
                .collect()
        };
        assert_eq!(told(&mut board, &world, NOW), [(0.0, 0.0, 0.0)]);
        assert_eq!(told(&mut board, &world, NOW + Span::millis(14_999)), []);
        assert_eq!(board.deadline(), Some(NOW + REPEAT));
        // Three words in the millisecond of a batch: all of them are in the next one.
        for _ in 0..3 {
            world.say(NOW, "tickets", rise(2));
            board.note(world.events.last().unwrap());
        }
        assert_eq!(told(&mut board, &world, NOW), [], "not twice at one time");
        assert_eq!(board.deadline(), Some(NOW + Span::millis(1)));
        assert_eq!(told(&mut board, &world, NOW + Span::millis(1)), [(1.0, 6.0, 6.0)]);
        assert_eq!(told(&mut board, &world, NOW + REPEAT + Span::millis(1)), [(1.0, 0.0, 6.0)]);
        // A reload keeps what was not told yet; a clock step moves the times.
        world.say(NOW, "tickets", rise(1));
        board.note(world.events.last().unwrap());
        board.renew(&signals);
        board.shift(Span::hours(1));
        let later = NOW + REPEAT + Span::hours(1) + Span::millis(2);
        assert_eq!(told(&mut board, &world, later), [(1.0, 1.0, 7.0)]);
    }

    #[test]
    fn what_was_journaled_and_never_told_is_told_after_a_restart() {
        for (rises, told, new) in [
            (vec![5], None, 0.0),
            (vec![5], Some(5.0), 0.0),
            (vec![5], Some(3.0), 2.0),
            (vec![5], Some(9.0), 5.0),
            (vec![], Some(4.0), 0.0),
            (vec![5], Some(f64::NAN), 0.0),
        ] {
            let signals = [signal("tickets", "kind = \"count\"")];
            let mut world = World::default();
            for n in &rises {
                world.say(NOW, "tickets", rise(*n));
            }
            let mut board = Board::new(&signals);
            board.catch_up(&world.signals, |_| told);
            let batches = board.due(NOW, &world.signals);
            assert_eq!(of(&batches[0], "backstop_signal_new"), new, "{rises:?} {told:?}");
        }
    }

    #[test]
    fn what_people_wrote_cannot_move_a_cursor() {
        assert_eq!(printable("a\u{1b}[2J\r\nb\u{202e}c\u{9b}d ä"), "a [2J  b c d ä");
    }
}
