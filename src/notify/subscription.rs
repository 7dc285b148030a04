//! What a channel wants to hear: the keys that every `[channel.KIND.NAME]` has.
//!
//! Enters: the channel's table. Leaves: a [`Subscription`], which the outbox matches notices against.
//!
//! | key | default | meaning |
//! |---|---|---|
//! | `enabled` | `true` | whether the channel exists at all |
//! | `events` | all but `message` | which kinds of events |
//! | `level` | `"warning"` | the lowest level of alerts sent; the end of each always follows |
//! | `deadline` | `"24h"` | given up after this |
//! | `fallback` | none | the channel that is told then; for criticals after 5 minutes |

use std::collections::BTreeSet;

use super::story::{EventKind, Notice};
use crate::base::table::{Placed, nearest};
use crate::base::{Level, Problems, Span, Table};

/// One channel as routing sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscription {
    /// Kind and name: `email/team`.
    pub name: String,
    /// Whether it exists at all.
    pub enabled: bool,
    /// What it asks for.
    pub events: BTreeSet<EventKind>,
    /// The lowest level of alerts sent to it.
    pub level: Level,
    /// How long a delivery is tried.
    pub deadline: Span,
    /// The channel that is told when this one fails; its full name once [`resolve`] has run.
    pub fallback: Option<String>,
}

impl Subscription {
    /// A channel that names nothing: everything but `message`, alerts from `warning`, for a day.
    pub fn new(kind: &str, name: &str) -> Subscription {
        Subscription {
            name: format!("{kind}/{name}"),
            enabled: true,
            events: EventKind::ALL.into_iter().filter(|e| *e != EventKind::Message).collect(),
            level: Level::Warning,
            deadline: Span::hours(24),
            fallback: None,
        }
    }

    /// Reads the common keys of a channel's table.
    pub fn read(kind: &str, name: &str, table: &mut Table<'_>, problems: &mut Problems) -> Subscription {
        let default = Subscription::new(kind, name);
        Subscription {
            enabled: table.or("enabled", true, problems),
            events: read_events(table, problems).unwrap_or_else(|| default.events.clone()),
            level: read_level(table, problems).unwrap_or(default.level),
            deadline: read_deadline(table, problems).unwrap_or(default.deadline),
            fallback: table.get("fallback", problems),
            ..default
        }
    }

    /// Whether it asks for this notice by its own words.
    pub fn takes(&self, notice: &Notice) -> bool {
        let leveled = matches!(notice.kind, EventKind::Alert | EventKind::Incident);
        self.events.contains(&notice.kind) && (!leveled || notice.level.is_none_or(|level| level >= self.level))
    }
}

/// Turns what channels wrote as `fallback` into full names. `oncall`, `pagerduty/oncall` and `pagerduty.oncall`
/// mean the same. A channel that does not exist, or the channel itself, is an error at the place given with it.
pub fn resolve(all: &mut [(Subscription, crate::base::Place)], problems: &mut Problems) {
    let names: Vec<String> = all.iter().filter(|(s, _)| s.enabled).map(|(s, _)| s.name.clone()).collect();
    for (subscription, place) in all {
        let Some(written) = subscription.fallback.take() else { continue };
        let found = names.iter().find(|n| matches_name(n, &written));
        match found {
            Some(name) if *name != subscription.name => subscription.fallback = Some(name.clone()),
            Some(_) => {
                problems.error(place, "a channel cannot be its own fallback", "name another one");
            }
            None => {
                let known: Vec<&str> = names.iter().map(String::as_str).collect();
                let short: Vec<&str> = known.iter().filter_map(|n| n.split_once('/').map(|(_, s)| s)).collect();
                let near = nearest(&written, &known).or_else(|| nearest(&written, &short));
                let problem =
                    problems.error(place, format!("there is no channel `{written}`"), "its fallback would get nothing");
                if let Some(near) = near {
                    problem.help(format!("did you mean `{near}`?"));
                }
            }
        }
    }
}

fn matches_name(name: &str, written: &str) -> bool {
    let short = name.split_once('/').map_or(name, |(_, short)| short);
    name == written || short == written || name == written.replacen('.', "/", 1)
}

fn read_events(table: &mut Table<'_>, problems: &mut Problems) -> Option<BTreeSet<EventKind>> {
    let words: Vec<Placed<String>> = table.get("events", problems)?;
    let known = EventKind::ALL.map(EventKind::as_str);
    let mut events = BTreeSet::new();
    for word in words {
        match EventKind::ALL.into_iter().find(|e| e.as_str() == word.value) {
            Some(event) => {
                events.insert(event);
            }
            None => {
                let problem = problems.error(&word.place, format!("there is no event `{}`", word.value), "unknown");
                match nearest(&word.value, &known) {
                    Some(near) => problem.help(format!("did you mean `{near}`?")),
                    None => problem.help(format!("one of: {}", known.join(", "))),
                };
            }
        }
    }
    Some(events)
}

fn read_level(table: &mut Table<'_>, problems: &mut Problems) -> Option<Level> {
    let word: Placed<String> = table.get("level", problems)?;
    match word.value.as_str() {
        "warning" => Some(Level::Warning),
        "critical" => Some(Level::Critical),
        other => {
            problems
                .error(&word.place, format!("there is no level `{other}`"), "the lowest level sent")
                .help("\"warning\" or \"critical\"");
            None
        }
    }
}

fn read_deadline(table: &mut Table<'_>, problems: &mut Problems) -> Option<Span> {
    let deadline: Placed<Span> = table.get("deadline", problems)?;
    if deadline.value < Span::mins(1) {
        problems
            .error(&deadline.place, "a deadline below one minute leaves no time to try again", "too short")
            .help("for example: deadline = \"24h\"");
        return None;
    }
    Some(deadline.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Place;
    use crate::base::table::{Entry, Node, Value};

    fn node(value: Value) -> Node {
        Node { value, place: Place::default() }
    }

    fn text(text: &str) -> Node {
        node(Value::Text(text.into()))
    }

    fn read(entries: Vec<(&str, Node)>) -> (Subscription, Vec<String>) {
        let entries =
            entries.into_iter().map(|(key, node)| Entry { key: key.into(), place: Place::default(), node }).collect();
        let table = node(Value::Table(entries));
        let mut problems = Problems::default();
        let mut reader = Table::open(&table, "a channel", &mut problems).unwrap();
        let subscription = Subscription::read("email", "team", &mut reader, &mut problems);
        reader.finish(&mut problems);
        (subscription, problems.list.into_iter().map(|p| p.title).collect())
    }

    #[test]
    fn a_channel_that_says_nothing_hears_all_but_messages() {
        let (subscription, problems) = read(vec![]);
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(subscription, Subscription::new("email", "team"));
        assert!(!subscription.events.contains(&EventKind::Message));
        assert_eq!(subscription.events.len(), 7);
    }

    #[test]
    fn every_common_key_is_read_and_checked() {
        let (subscription, problems) = read(vec![
            ("events", node(Value::List(vec![text("alert"), text("verdict")]))),
            ("level", text("critical")),
            ("deadline", text("1h")),
            ("fallback", text("oncall")),
            ("enabled", node(Value::Bool(false))),
        ]);
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(subscription.events, BTreeSet::from([EventKind::Alert, EventKind::Verdict]));
        assert_eq!((subscription.level, subscription.deadline), (Level::Critical, Span::hours(1)));
        let (_, problems) = read(vec![
            ("events", node(Value::List(vec![text("alerts")]))),
            ("level", text("info")),
            ("deadline", text("1s")),
            ("remind", text("4h")),
        ]);
        assert_eq!(
            problems,
            [
                "there is no event `alerts`",
                "there is no level `info`",
                "a deadline below one minute leaves no time to try again",
                "unknown key `remind`"
            ]
        );
    }

    #[test]
    fn a_fallback_is_found_by_each_way_to_write_it() {
        for (written, found, problem) in [
            ("oncall", Some("log/oncall"), None),
            ("log/oncall", Some("log/oncall"), None),
            ("log.oncall", Some("log/oncall"), None),
            ("team", None, Some("a channel cannot be its own fallback")),
            ("onkall", None, Some("there is no channel `onkall`")),
        ] {
            let mut team = Subscription::new("email", "team");
            team.fallback = Some(written.into());
            let mut all = [(team, Place::default()), (Subscription::new("log", "oncall"), Place::default())];
            let mut problems = Problems::default();
            resolve(&mut all, &mut problems);
            assert_eq!(all[0].0.fallback.as_deref(), found, "{written}");
            assert_eq!(problems.list.first().map(|p| p.title.as_str()), problem, "{written}");
        }
    }
}
