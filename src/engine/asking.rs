//! A rule whose value comes from a remote server: one query at a time, its answer judged when it comes.
//!
//! Nothing here waits. A rule that is due asks; it is due again when the answer came, or when its time is over. What
//! comes later, or for a question that nobody asks any more, is dropped.

use std::sync::Arc;

use crate::base::{Span, Timestamp};
use crate::promql::{Reading, RemoteQuery};

/// How soon after a question the next one follows at the earliest, whatever timer of an alert runs out.
pub(super) const ASK_LEAST: Span = Span::secs(5);

/// A question to a remote server.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// What the answer is given with; never used twice in the life of an engine.
    pub ticket: u64,
    /// The server's name in the configuration.
    pub remote: String,
    /// What is asked.
    pub query: Arc<RemoteQuery>,
    /// The moment it is about.
    pub at: Timestamp,
    /// How long everything may take; afterwards the answer is not taken any more.
    pub timeout: Span,
}

/// An answer, or why there is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Of which question.
    pub ticket: u64,
    /// What the server says.
    pub reading: Reading,
    /// How far the server's clock is ahead of this host's, where that is more than can be overlooked; negative: behind.
    pub clock_off: Option<Span>,
}

/// What a rule knows of its question.
#[derive(Debug, Default)]
pub(super) struct Asking {
    asked: Option<Asked>,
    reading: Option<Reading>,
    /// When the last answer came that was none of "failed".
    pub(super) answered: Option<Timestamp>,
    /// As the last answer said.
    pub(super) clock_off: Option<Span>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    ticket: u64,
    at: Timestamp,
    deadline: Timestamp,
    /// By how much the clock was set meanwhile: the times of the answer are of before.
    shifted: Span,
}

/// What is known when a rule is due.
#[derive(Debug)]
pub(super) enum Due {
    /// Nothing was asked.
    Ask,
    /// The answer has time until then.
    Wait(Timestamp),
    /// What is to be judged, and when it was asked for.
    Judge(Reading, Timestamp),
}

impl Asking {
    pub(super) fn ask(&mut self, ticket: u64, now: Timestamp, timeout: Span) {
        self.asked = Some(Asked { ticket, at: now, deadline: now + timeout, shifted: Span::ZERO });
    }

    /// Takes an answer; false where it is to another question.
    pub(super) fn take(&mut self, answer: &Answer, now: Timestamp) -> bool {
        let Some(asked) = self.asked.filter(|asked| asked.ticket == answer.ticket && self.reading.is_none()) else {
            return false;
        };
        let mut reading = answer.reading.clone();
        match &mut reading {
            Reading::Points(points) => {
                points.iter_mut().for_each(|point| point.newest = (point.newest + asked.shifted).min(asked.at));
            }
            Reading::NoData(_) | Reading::Failed(_) => {}
        }
        if !matches!(reading, Reading::Failed(_)) {
            self.answered = Some(now);
        }
        self.clock_off = answer.clock_off;
        self.reading = Some(reading);
        true
    }

    pub(super) fn due(&mut self, remote: &str, now: Timestamp) -> Due {
        let Some(asked) = self.asked else { return Due::Ask };
        let reading = match self.reading.take() {
            Some(Reading::Failed(why)) => Reading::Failed(format!("{remote}: {why}")),
            Some(reading) => reading,
            None if now >= asked.deadline => {
                Reading::Failed(format!("{remote}: no answer within {}", asked.deadline - asked.at))
            }
            None => return Due::Wait(asked.deadline),
        };
        self.asked = None;
        Due::Judge(reading, asked.at)
    }

    /// What was asked is not of interest any more.
    pub(super) fn forget(&mut self) {
        self.asked = None;
        self.reading = None;
    }

    pub(super) fn shift(&mut self, by: Span) {
        if let Some(asked) = &mut self.asked {
            asked.at += by;
            asked.deadline += by;
            asked.shifted += by;
        }
        if let Some(Reading::Points(points)) = &mut self.reading {
            points.iter_mut().for_each(|point| point.newest += by);
        }
        if let Some(at) = &mut self.answered {
            *at += by;
        }
    }
}
