//! Answers what a rule's value was, from the samples in memory and on disk.
//!
//! Enters: a question of the engine. Leaves: its answer as an input. One question is answered at a time, a slice of time
//! after the other, so that seven days of many rules never lie in memory together.

use crate::base::{Span, Timestamp};
use crate::engine::history::{Question, Told};
use crate::store::{Selector, View};
use crate::web::query::{Hot, Wanted, archived};

/// Answers a question; reads the disk, so it is called where that may block.
pub(super) fn answer(question: &Question, hot: &Hot, look_back: Span) -> Told {
    question.told(look_back, |slice, spans| match hot.older(&wanted(spans)) {
        Some((folder, older)) => {
            let older = archived(&folder, &older)?;
            Ok(if slice.1 > hot.since { hot.view.clone().with_older(older) } else { View::new(older) })
        }
        None => Ok(hot.view.clone()),
    })
}

/// What of memory a question reads.
pub(super) fn of_memory(question: &Question, look_back: Span) -> Vec<Wanted> {
    wanted(question.spans((question.from, question.to), look_back))
}

fn wanted(spans: Vec<(&Selector, Timestamp, Timestamp)>) -> Vec<Wanted> {
    let wanted = |(selector, from, to): (&Selector, _, _)| Wanted { selector: selector.clone(), from, to };
    spans.into_iter().map(wanted).collect()
}
