//! The days before a test began, made up: what `history` of a world says of series, with a little noise.
//!
//! Enters: figures by selector, and the labels of the series that were seen since. Leaves: a sample a minute of each of
//! those that a selector means. The noise is a function of the series and the minute, so that each run is the same.

use std::collections::BTreeMap;

use super::world::Figure;
use backstop::base::{Labels, Span, Timestamp};
use backstop::promql;
use backstop::store::Stretch;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// How far samples are apart.
const STEP: Span = Span::mins(1);

/// How many looks a figure of a world that grows has in one step: it is written as growing with each.
const LOOKS: f64 = 4.0;

/// How far a sample may be from its figure, as a share of it.
const NOISE: f64 = 0.05;

/// How long before the time that is asked of samples begin: a rate at its first minute looks back.
const EARLIER: Span = Span::hours(1);

/// What `history` says of the series of `seen`, from an hour before the one time to the other.
pub fn made<'a>(
    history: &BTreeMap<String, toml::Value>,
    seen: impl Iterator<Item = &'a Labels>,
    (from, to): (Timestamp, Timestamp),
) -> Vec<Stretch> {
    let compile = |text: &String| promql::compile_selector(text).unwrap_or_else(|e| panic!("{text}: {e:?}"));
    let told: Vec<_> = history.iter().map(|(text, value)| (compile(text), Figure::of(value))).collect();
    let from = from - EARLIER;
    let steps = usize::try_from((to - from).0 / STEP.0).unwrap_or(0);
    let stretch = |labels: &Labels| {
        let (_, figure) = told.iter().find(|(selector, _)| selector.matches(labels))?;
        // Ports are others on each run.
        let seed = labels.filtered(|name| name != "instance").fingerprint();
        let (mut noise, mut total) = (ChaCha8Rng::seed_from_u64(seed), 0.0);
        let mut near = |of: f64| of * (1.0 + NOISE * (2.0 * noise.random::<f64>() - 1.0));
        let value = |_| match figure {
            Figure::Is(value) => near(*value),
            Figure::Grows { .. } => figure.after(near(LOOKS), &mut total),
        };
        let times: Vec<i64> = (0..steps).map(|i| (from + STEP.times(i as i64)).0).collect();
        let values: Vec<f64> = (0..steps).map(value).collect();
        Some(Stretch::new(labels.clone(), times, values))
    };
    seen.filter_map(stretch).collect()
}
