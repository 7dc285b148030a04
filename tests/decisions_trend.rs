//! Trend rules against made-up memory with known leaks: false alarms, finds, and ends.
//!
//! `BACKSTOP_WATCHES` says how many watches a cell (30 where unset, 100 for the figures of the documents); from 100 on a
//! bar is held as it is, below with three standard deviations of chance. With `--nocapture` the tables are printed.

use backstop::base::Span;
use backstop::rule::trend::{Floors, MayRollBack, Trend};

use crate::decisions::memory::{DAY, Memory};

const WEEK: usize = 7 * DAY;

fn watches() -> u64 {
    std::env::var("BACKSTOP_WATCHES").ok().and_then(|text| text.parse().ok()).unwrap_or(30)
}

/// The shapes, each with the share of watches that may find something where nothing leaks. The last two fill to a new
/// high within hours, as a leak does.
fn shapes() -> [(&'static str, Memory, f64); 9] {
    let plain = Memory::default();
    [
        ("flat", plain, 0.01),
        ("warm-up", Memory { warm_up: true, ..plain }, 0.01),
        ("saw-tooth", Memory { saw_tooth: true, ..plain }, 0.01),
        ("day cycle", Memory { day_cycle: true, ..plain }, 0.01),
        ("steps, saw-tooth", Memory { steps: true, saw_tooth: true, ..plain }, 0.01),
        ("warm-up, saw-tooth", Memory { warm_up: true, saw_tooth: true, ..plain }, 0.01),
        ("rare collection", Memory { rare_collection: true, ..plain }, 0.01),
        ("warm-up, saw-tooth, day", Memory { warm_up: true, saw_tooth: true, day_cycle: true, ..plain }, 0.1),
        ("warm-up, rare collection", Memory { warm_up: true, rare_collection: true, ..plain }, 0.3),
    ]
}

/// What one watch came to.
#[derive(Default)]
struct Seen {
    /// The minute of the first finding.
    found: Option<usize>,
    ends: usize,
    might_roll_back: bool,
}

/// A week of the shape, then so many hours of it with the leak, as long as it stays under the limit.
fn watch(memory: Memory, within: Span, hours: usize, seed: u64) -> Seen {
    let minutes = memory.minutes(seed, WEEK + hours * 60, WEEK);
    let (before, after) = minutes.split_at(WEEK);
    let mut trend = Trend::new(1.0, within, Floors::of(before, 1.0));
    let (mut seen, mut held) = (Seen::default(), false);
    for (minute, value) in after.iter().take_while(|value| **value < 1.0).enumerate() {
        trend.see(*value);
        let holds = trend.finding().is_some();
        seen.found = seen.found.or(holds.then_some(minute + 1));
        seen.ends += usize::from(held && !holds);
        seen.might_roll_back |= holds && trend.may_roll_back() == MayRollBack::Yes;
        held = holds;
    }
    seen
}

fn seeds(cell: usize) -> impl Iterator<Item = u64> {
    (0..watches()).map(move |watch| 1_000_003 * (cell as u64 + 1) + watch)
}

fn is_at_most(count: usize, bar: f64) -> bool {
    let expected = watches() as f64 * bar;
    let chance = if watches() >= 100 { 0.0 } else { 3.0 * (expected * (1.0 - bar)).sqrt() + 1.0 };
    count as f64 <= expected + chance + 1e-9
}

#[test]
fn what_does_not_leak_is_left_alone() {
    for (row, (name, memory, bar)) in shapes().into_iter().enumerate() {
        let mut line = format!("{name}, found in 48 h (might roll back), within 4, 24, 72 h:");
        for hours in [4, 24, 72] {
            let seen: Vec<Seen> = seeds(row).map(|seed| watch(memory, Span::hours(hours), 48, seed)).collect();
            let found = seen.iter().filter(|seen| seen.found.is_some()).count();
            let rolls = seen.iter().filter(|seen| seen.might_roll_back).count();
            line += &format!(" {found} ({rolls}) of {}", watches());
            assert!(is_at_most(found, bar), "{line}, bar {bar}");
        }
        println!("{line}");
    }
}

#[test]
fn a_leak_is_found_long_before_the_limit() {
    for (row, (name, memory, _)) in shapes().into_iter().enumerate() {
        let mut line = format!("{name}, found, median (ends a watch, might roll back), 20, 5, 1 % an hour:");
        for (column, (leak, bar)) in [(0.2, 2 * 60), (0.05, 8 * 60), (0.01, 30 * 60)].into_iter().enumerate() {
            let memory = Memory { leak, ..memory };
            let cell = 100 + row * 10 + column;
            let seen: Vec<Seen> = seeds(cell).map(|seed| watch(memory, Span::hours(72), 72, seed)).collect();
            let mut found: Vec<usize> = seen.iter().filter_map(|seen| seen.found).collect();
            found.sort_unstable();
            let median = found.get(seen.len() / 2).copied().unwrap_or(usize::MAX);
            let ends = seen.iter().map(|seen| seen.ends).sum::<usize>() as f64 / watches() as f64;
            let rolls = seen.iter().filter(|seen| seen.might_roll_back).count();
            line += &format!(" {} of {}, {median} min ({ends:.2}, {rolls})", found.len(), watches());
            assert!(is_at_most(seen.len() - found.len(), 0.05) && median <= bar, "{line}, bar {bar}");
            // A day cycle is steeper than 1 % an hour: in its evening that leak is out of sight, once a day.
            let ends_bar = if memory.day_cycle && leak < 0.02 { 3.0 } else { 0.6 };
            assert!(ends <= ends_bar, "{line}");
        }
        println!("{line}");
    }
}

/// The first minute at which something is found, to a limit of 500 within four hours, after a day of history.
fn found(history: impl Fn(usize) -> f64, watch: impl Fn(usize) -> f64, minutes: usize) -> Option<usize> {
    let before: Vec<f64> = (0..DAY).map(history).collect();
    let mut trend = Trend::new(500.0, Span::hours(4), Floors::of(&before, 500.0));
    (0..minutes).find(|minute| {
        trend.see(watch(*minute));
        trend.finding().is_some()
    })
}

#[test]
fn linear_growth_is_found_and_flat_warm_up_and_saw_tooth_are_not() {
    let flat = |_: usize| 100.0;
    let warm_up = |minute: usize| 100.0 + 150.0 * (1.0 - (-(minute as f64) / 60.0).exp());
    let saw_tooth = |minute: usize| 100.0 + 2.0 * (minute % 30) as f64;
    let growth = |minute: usize| 100.0 + minute as f64;
    // One unit a minute: the limit is four hours away from a floor of 260 on, which is that of the ten minutes from 160.
    assert_eq!(found(flat, growth, 400), Some(169));
    assert_eq!(found(saw_tooth, growth, 400), Some(169));
    assert_eq!(found(flat, flat, 2880), None);
    assert_eq!(found(flat, warm_up, 2880), None);
    assert_eq!(found(flat, saw_tooth, 2880), None);
    assert_eq!(found(saw_tooth, |minute| warm_up(minute) + saw_tooth(minute) - 100.0, 2880), None);
}

#[test]
fn a_process_that_is_taken_back_ends_what_was_found() {
    for seed in seeds(900) {
        let leaking = Memory { leak: 0.05, ..Memory::default() }.minutes(seed, WEEK + 600, WEEK);
        let (before, after) = leaking.split_at(WEEK);
        let mut trend = Trend::new(1.0, Span::hours(24), Floors::of(before, 1.0));
        after.iter().for_each(|value| trend.see(*value));
        assert!(trend.finding().is_some());
        let healthy = Memory::default().minutes(seed + 1, 48 * 60, 0);
        let ended = healthy.iter().position(|value| {
            trend.see(*value);
            trend.finding().is_none()
        });
        assert!(ended.is_some_and(|minutes| minutes < 10), "{ended:?}");
    }
}
