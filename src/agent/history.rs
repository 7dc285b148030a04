//! Answers what a rule's value was, from the samples in memory and on disk.
//!
//! Enters: a question of the engine. Leaves: its answer as an input. One question is answered at a time, a slice of time
//! after the other, so that seven days of many rules never lie in memory together.

use std::collections::BTreeMap;

use crate::base::Span;
use crate::engine::history::{Question, Told};
use crate::web::query::{Hot, Wanted, archived};

/// Answers a question; reads the disk, so it is called where that may block.
pub(super) fn answer(question: &Question, hot: &Hot, look_back: Span) -> Told {
    let mut past = BTreeMap::new();
    let told = question.slices().into_iter().try_for_each(|slice| {
        let spans = question.spans(slice, look_back).into_iter();
        let wanted: Vec<Wanted> =
            spans.map(|(selector, from, to)| Wanted { selector: selector.clone(), from, to }).collect();
        let view = match hot.older(&wanted) {
            Some((folder, older)) => {
                let older = archived(&folder, &older)?;
                match slice.1 > hot.since {
                    true => hot.view.clone().with_older(older),
                    false => crate::store::View::new(older),
                }
            }
            None => hot.view.clone(),
        };
        question.answer(&view, slice, look_back, &mut past)
    });
    Told { ticket: question.ticket, past: told.map(|()| past) }
}

/// What of memory a question reads.
pub(super) fn wanted(question: &Question, look_back: Span) -> Vec<Wanted> {
    let spans = question.spans((question.from, question.to), look_back).into_iter();
    spans.map(|(selector, from, to)| Wanted { selector: selector.clone(), from, to }).collect()
}
