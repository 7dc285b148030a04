//! How much of its windows a rule has samples for: a rate over five minutes of which one was seen says less.
//!
//! Enters: the windows that a rule looks at, and the store. Leaves: for each how long its samples reach, for `explain`.

use super::snapshot::WindowView;
use crate::base::{Span, Timestamp};
use crate::promql::Plan;
use crate::rule::{Rule, Value};
use crate::store::{Cursor, Samples as _, Selector, Store};

/// At how many series of a selector is looked.
const MOST_SERIES: usize = 64;

/// The windows of a rule's value; none where it looks at the newest samples only.
pub(super) fn of_rule(rule: &Rule, store: &Store, now: Timestamp) -> Vec<WindowView> {
    match &rule.value {
        Value::Expression { plan, .. } => of_plan(plan, store, now),
        Value::Share { texts, errors, total, window, .. } => {
            let of = |(text, selector): (&String, &Selector)| {
                view(&format!("{text} in {}", window.human()), selector, store, *window, now)
            };
            [(&texts[0], &**errors), (&texts[1], &**total)].map(of).to_vec()
        }
        Value::Remote { .. } => Vec::new(),
    }
}

/// The windows of an expression that end at the time of evaluation, or a fixed time before it.
pub(super) fn of_plan(plan: &Plan, store: &Store, now: Timestamp) -> Vec<WindowView> {
    let windows = plan.selectors().iter().filter(|used| used.at.is_none());
    windows.filter_map(|used| Some(view(&used.text, &used.selector, store, used.range?, now - used.offset))).collect()
}

fn view(text: &str, selector: &Selector, store: &Store, window: Span, end: Timestamp) -> WindowView {
    let mut cursor = Cursor::default();
    let ids = store.select(selector);
    let covered = ids.iter().take(MOST_SERIES).map(|id| {
        let (times, _) = store.window(*id, (end - window).0, end.0, &mut cursor);
        match times {
            [first, .., last] => {
                // Each sample stands for the time until the next.
                let between = (last - first) / (times.len() as i64 - 1);
                Span(last - first + between).min(window)
            }
            _ => Span::ZERO,
        }
    });
    let (least, most) = covered.fold((None, Span::ZERO), |(least, most): (Option<Span>, Span), of| {
        (Some(least.map_or(of, |least| least.min(of))), most.max(of))
    });
    WindowView { reads: text.to_string(), window, series: ids.len(), least: least.unwrap_or(Span::ZERO), most }
}
