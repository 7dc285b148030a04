//! Pure: the life of incidents, from transitions of rules.
//!
//! Enters: transitions. Leaves: events that are journaled, and from which the state is folded. The alerts of one
//! rule belong together: an incident opens with the first of them that is not ok and closes with the last.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::{Because, Id, Labels, Level, Span, Timestamp};
use crate::rule::Transition;

/// How many entries of a timeline are kept; the first and the newest matter most, so the middle is dropped.
pub const MAX_TIMELINE: usize = 200;

/// Alerts that belong together, with what happened to them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Its identity.
    pub id: Id,
    /// The number people see: `I-118`.
    pub number: u32,
    /// The rule its alerts are of.
    pub rule: String,
    /// When the first alert entered it.
    pub opened: Timestamp,
    /// When the last alert left it.
    pub closed: Option<Timestamp>,
    /// The highest level it ever had.
    pub highest: Level,
    /// The reason at that level.
    pub worst: Because,
    /// The alerts, by their label set's fingerprint.
    pub alerts: BTreeMap<u64, Member>,
    /// What happened, oldest first.
    pub timeline: Vec<Entry>,
}

/// One alert of an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Its labels.
    pub labels: Labels,
    /// Its level now.
    pub level: Level,
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub because: Because,
}

/// One line of a timeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// What, as people read it.
    pub text: String,
}

/// What is journaled of incidents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A first alert opened one.
    Opened {
        /// Its identity.
        id: Id,
        /// The number people see.
        number: u32,
        /// The transition that opened it.
        transition: Transition,
    },
    /// An alert of it changed.
    Changed {
        /// Which incident.
        id: Id,
        /// The transition.
        transition: Transition,
    },
    /// Its last alert is ok again, or gone.
    Closed {
        /// Which incident.
        id: Id,
        /// When.
        at: Timestamp,
    },
}

/// Why people hear of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The incident opened.
    First,
    /// Its level rose.
    Escalated,
    /// Its level fell, and it is not over.
    Deescalated,
    /// A further alert joined, at a level the incident had already.
    Added,
    /// It is over.
    Resolved,
}

/// All incidents that are open, and those that closed lately.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Incidents {
    next_number: u32,
    open: BTreeMap<String, Incident>,
    closed: Vec<Incident>,
}

impl Incident {
    /// The highest level among its alerts now.
    pub fn level(&self) -> Level {
        self.alerts.values().map(|m| m.level).max().unwrap_or_default()
    }

    /// What people call it.
    pub fn short(&self) -> String {
        format!("I-{}", self.number)
    }
}

impl Incidents {
    /// How many closed incidents are kept for the report and the command line.
    pub const MAX_CLOSED: usize = 500;

    /// What `transition` means: the events to journal, and the reason people are told, if they are.
    ///
    /// `random` gives a new incident its identity.
    pub fn on(&self, transition: &Transition, random: u128) -> (Vec<Event>, Option<Reason>) {
        let Some(incident) = self.open.get(&transition.rule) else {
            if transition.to == Level::Ok {
                return (Vec::new(), None);
            }
            let id = Id::new(transition.at, random);
            let number = self.next_number + 1;
            return (vec![Event::Opened { id, number, transition: transition.clone() }], Some(Reason::First));
        };
        let before = incident.level();
        let key = transition.labels.fingerprint();
        let others = incident.alerts.iter().filter(|(k, _)| **k != key).map(|(_, m)| m.level).max().unwrap_or_default();
        let after = others.max(transition.to);
        let mut events = vec![Event::Changed { id: incident.id.clone(), transition: transition.clone() }];
        if after == Level::Ok {
            events.push(Event::Closed { id: incident.id.clone(), at: transition.at });
            return (events, Some(Reason::Resolved));
        }
        let joins = transition.from == Level::Ok && transition.to > Level::Ok;
        let reason = match after.cmp(&before) {
            std::cmp::Ordering::Greater => Some(Reason::Escalated),
            std::cmp::Ordering::Less => Some(Reason::Deescalated),
            std::cmp::Ordering::Equal => joins.then_some(Reason::Added),
        };
        (events, reason)
    }

    /// Folds one event into the state.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Opened { id, number, transition: t } => {
                self.next_number = self.next_number.max(*number);
                let mut incident = Incident {
                    id: id.clone(),
                    number: *number,
                    rule: t.rule.clone(),
                    opened: t.at,
                    closed: None,
                    highest: t.to,
                    worst: t.because.clone(),
                    alerts: BTreeMap::new(),
                    timeline: Vec::new(),
                };
                incident.note(t);
                self.open.insert(t.rule.clone(), incident);
            }
            Event::Changed { id, transition } => {
                if let Some(incident) = self.open.get_mut(&transition.rule).filter(|i| i.id == *id) {
                    incident.note(transition);
                }
            }
            Event::Closed { id, at } => {
                let rule = self.open.iter().find(|(_, i)| i.id == *id).map(|(rule, _)| rule.clone());
                if let Some(mut incident) = rule.and_then(|rule| self.open.remove(&rule)) {
                    incident.closed = Some(*at);
                    self.closed.push(incident);
                    let excess = self.closed.len().saturating_sub(Incidents::MAX_CLOSED);
                    self.closed.drain(..excess);
                }
            }
        }
    }

    /// The open incidents, by rule.
    pub fn open(&self) -> impl Iterator<Item = &Incident> {
        self.open.values()
    }

    /// The open incident of `rule`.
    pub fn of_rule(&self, rule: &str) -> Option<&Incident> {
        self.open.get(rule)
    }

    /// Closed incidents, oldest first; at most [`Incidents::MAX_CLOSED`].
    pub fn closed(&self) -> &[Incident] {
        &self.closed
    }

    /// Open and closed incidents that were open at some moment of `from..to`.
    pub fn between(&self, from: Timestamp, to: Timestamp) -> Vec<&Incident> {
        let all = self.closed.iter().chain(self.open.values());
        all.filter(|i| i.opened < to && i.closed.is_none_or(|c| c >= from)).collect()
    }

    /// Moves the times of open incidents by `by`, because the wall clock was set.
    pub fn shift(&mut self, by: Span) {
        for incident in self.open.values_mut() {
            incident.opened += by;
            for member in incident.alerts.values_mut() {
                member.since += by;
            }
        }
    }
}

impl Incident {
    fn note(&mut self, t: &Transition) {
        let end = match (t.gone, t.to) {
            (true, _) => "gone: not seen any more".to_string(),
            (false, Level::Ok) => format!("ok: {}", t.because),
            (false, level) => format!("{level}: {}", t.because),
        };
        let who = t.labels.filtered(|n| n != "alertname");
        let text = if who.is_empty() { end } else { format!("{end} {who}") };
        self.timeline.push(Entry { at: t.at, text });
        if self.timeline.len() > MAX_TIMELINE {
            self.timeline.remove(MAX_TIMELINE / 2);
        }
        // Lines are told with the worst: an incident of many alerts would repeat them for each.
        let because = Because { lines: Vec::new(), ..t.because.clone() };
        let member = Member { labels: t.labels.clone(), level: t.to, since: t.at, because };
        self.alerts.insert(t.labels.fingerprint(), member);
        if t.to >= self.highest {
            self.highest = t.to;
            self.worst = t.because.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transition(labels: &Labels, from: Level, to: Level, at: i64) -> Transition {
        let because = Because {
            value: None,
            counts: None,
            limit: "1".into(),
            held: Span::ZERO,
            readings: 2,
            evidence: None,
            why: None,
            lines: vec![],
        };
        Transition { rule: "errors".into(), labels: labels.clone(), from, to, at: Timestamp(at), because, gone: false }
    }

    #[test]
    fn alerts_of_one_rule_are_one_incident_from_first_to_last() {
        use Level::{Critical, Ok, Warning};
        let (a, b) = (Labels::new([("instance", "a")]), Labels::new([("instance", "b")]));
        let rows = [
            (&a, Ok, Warning, Some(Reason::First)),
            (&b, Ok, Warning, Some(Reason::Added)),
            (&a, Warning, Critical, Some(Reason::Escalated)),
            (&b, Warning, Ok, None),
            (&a, Critical, Warning, Some(Reason::Deescalated)),
            (&a, Warning, Ok, Some(Reason::Resolved)),
            (&a, Ok, Critical, Some(Reason::First)),
        ];
        let mut incidents = Incidents::default();
        for (i, (labels, from, to, expected)) in rows.into_iter().enumerate() {
            let (events, reason) = incidents.on(&transition(labels, from, to, i as i64), i as u128);
            assert_eq!(reason, expected, "row {i}");
            events.iter().for_each(|e| incidents.apply(e));
        }
        assert_eq!(incidents.closed().len(), 1);
        assert_eq!(incidents.closed()[0].highest, Critical);
        assert_eq!(incidents.of_rule("errors").map(|i| i.number), Some(2));
    }
}
