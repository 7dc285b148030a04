//! Ratio rules against made-up traffic with known truth: false alarms, finds, and ends.
//!
//! `BACKSTOP_WATCHES` says how many watches a cell (30 where unset, 300 for the figures of the documents); from 300 on a
//! bar is held as it is, below with three standard deviations of chance. With `--nocapture` the tables are printed.

use backstop::rule::ratio::{Dispersion, Evidence, Finding, detectable};

use crate::decisions::traffic::Traffic;

const WEEK: usize = 7 * 1440;
const WATCH: usize = 48 * 60;
const LIMIT: f64 = 0.1;
const RATES: [f64; 9] = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 100.0];
const PLAIN: Dispersion = Dispersion { phi: 1.0, share: None };

fn watches() -> u64 {
    std::env::var("BACKSTOP_WATCHES").ok().and_then(|text| text.parse().ok()).unwrap_or(30)
}

/// Whether `count` of `all` is no more than the bar allows.
fn is_at_most(count: usize, all: u64, bar: f64) -> bool {
    let expected = all as f64 * bar;
    let chance = if all >= 300 { 0.0 } else { 3.0 * (expected * (1.0 - bar)).sqrt() + 1.0 };
    count as f64 <= expected + chance + 1e-9
}

/// One seed for each watch of each cell.
fn seed(cell: usize, watch: u64) -> u64 {
    1_000_003 * (cell as u64 + 1) + watch
}

fn evidence() -> Evidence {
    Evidence::new(&[LIMIT], 3)
}

/// The first finding in those minutes.
fn first(minutes: &[(f64, f64)], dispersion: &Dispersion) -> Option<Finding> {
    let mut evidence = evidence();
    minutes.iter().find_map(|(errors, total)| {
        evidence.see(*errors, *total, dispersion);
        evidence.finding(0)
    })
}

/// How many minutes after the onset each watch finds `bad`; an hour of 1 % goes before.
fn finds(rate: f64, bad: f64, cell: usize, dispersion: impl Fn(u64) -> Dispersion) -> Vec<Option<u64>> {
    const BEFORE: usize = 60;
    let traffic = Traffic { rate, share: 0.01, bursts: false, onset: Some((BEFORE, bad)) };
    let find = |watch| {
        let minutes = traffic.minutes(seed(cell, watch), BEFORE + 240);
        let found = first(&minutes, &dispersion(watch))?;
        (found.since + 1).checked_sub(BEFORE as u64)
    };
    (0..watches()).map(find).collect()
}

fn not_within(finds: &[Option<u64>], minutes: u64) -> usize {
    finds.iter().filter(|find| find.is_none_or(|find| find > minutes)).count()
}

/// The dispersion of a week of such traffic.
fn history(rate: f64, share: f64, bursts: bool, seed: u64) -> Dispersion {
    Dispersion::of(Traffic { rate, share, bursts, onset: None }.minutes(seed, WEEK).into_iter())
}

#[test]
fn a_healthy_service_hardly_ever_alarms_in_two_days() {
    for (row, (share, bursts)) in
        [(0.01, false), (0.02, false), (0.03, false), (0.01, true), (0.02, true), (0.03, true)].into_iter().enumerate()
    {
        let mut line = format!("false in 48 h, {share} healthy, bursts {bursts}:");
        for (column, rate) in RATES.into_iter().enumerate() {
            let alarms = |watch: &u64| {
                let minutes = Traffic { rate, share, bursts, onset: None }
                    .minutes(seed(100 + row * 10 + column, *watch), WEEK + WATCH);
                let (before, after) = minutes.split_at(WEEK);
                first(after, &Dispersion::of(before.iter().copied())).is_some()
            };
            let alarms = (0..watches()).filter(alarms).count();
            line += &format!(" {:.1}", 100.0 * alarms as f64 / watches() as f64);
            assert!(is_at_most(alarms, watches(), 0.02), "{line} at {rate} a minute");
        }
        println!("{line}");
    }
}

#[test]
fn what_is_broken_is_found_in_time() {
    for (row, bad) in [0.2, 0.3, 1.0].into_iter().enumerate() {
        let mut line = format!("found {bad}, median and % within 20/60 min:");
        for (column, rate) in RATES.into_iter().enumerate() {
            let cell = 300 + row * 10 + column;
            let mut finds = finds(rate, bad, cell, |watch| history(rate, 0.01, false, seed(cell + 50, watch)));
            let misses = |minutes| not_within(&finds, minutes);
            let found = |minutes| 100.0 * (1.0 - misses(minutes) as f64 / watches() as f64);
            line += &format!(" {rate}: {:.0}/{:.0}", found(20), found(60));
            let holds = |minutes, bar: f64| {
                assert!(is_at_most(misses(minutes), watches(), 1.0 - bar), "{line} within {minutes}, bar {bar}");
            };
            match (bad, rate) {
                (0.3, 2.0) => holds(60, 0.97),
                (0.3, 5.0) => holds(20, 0.90),
                (0.3, 10.0..) => holds(20, 0.99),
                (1.0, 1.0..) => holds(20, 0.99),
                _ => {}
            }
            finds.sort_by_key(|find| find.unwrap_or(u64::MAX));
            line += &format!(" ({})", finds[finds.len() / 2].map_or("-".into(), |find| find.to_string()));
        }
        println!("{line}");
    }
}

#[test]
fn bursts_in_the_history_cost_time_and_no_finds() {
    for (row, (name, share)) in
        [("1 % with bursts", 0.01), ("2 % with bursts", 0.02), ("no history", 0.0)].into_iter().enumerate()
    {
        let mut line = format!("found 30 %, {name}, % within 20/60 min:");
        for (column, rate) in [1.0, 2.0, 5.0, 10.0, 30.0, 100.0].into_iter().enumerate() {
            let cell = 400 + row * 10 + column;
            let finds = finds(rate, 0.3, cell, |watch| match share {
                0.0 => Dispersion::unknown(),
                share => history(rate, share, true, seed(cell + 50, watch)),
            });
            let found = |minutes| 100.0 * (1.0 - not_within(&finds, minutes) as f64 / watches() as f64);
            line += &format!(" {rate}: {:.0}/{:.0}", found(20), found(60));
            let bar = if rate >= 5.0 { 0.97 } else { 0.5 };
            assert!(is_at_most(not_within(&finds, 60), watches(), 1.0 - bar), "{line}");
        }
        println!("{line}");
    }
}

#[test]
fn what_lasts_does_not_come_and_go() {
    for (row, (bad, bar)) in [(0.2, 2.0), (0.3, 0.05), (1.0, 0.0)].into_iter().enumerate() {
        let mut line = format!("ends in 48 h of {bad}:");
        for (column, rate) in [0.2, 1.0, 2.0, 5.0, 10.0, 100.0].into_iter().enumerate() {
            let traffic = Traffic { rate, share: 0.01, bursts: false, onset: Some((0, bad)) };
            let ends = |watch| {
                let (mut evidence, mut ends, mut held) = (evidence(), 0, false);
                for (errors, total) in traffic.minutes(seed(500 + row * 10 + column, watch), WATCH) {
                    evidence.see(errors, total, &PLAIN);
                    let holds = evidence.finding(0).is_some();
                    ends += usize::from(held && !holds);
                    held = holds;
                }
                assert!(held || ends > 0, "{bad} at {rate} a minute is found");
                ends
            };
            let ends: usize = (0..watches()).map(ends).sum();
            line += &format!(" {rate}: {:.2}", ends as f64 / watches() as f64);
            let chance = if watches() >= 300 { 0.0 } else { 1.0 + 3.0 * (bar * watches() as f64).sqrt() };
            assert!(ends as f64 <= bar * watches() as f64 + chance, "{line}, bar {bar}");
        }
        println!("{line}");
    }
}

/// How long after the last bad minute a finding ends, sorted.
fn minutes_to_end(rate: f64, bad: f64, cell: usize, is_renewed: bool) -> Vec<usize> {
    const BAD: usize = 180;
    let ends = |watch| {
        let bad = Traffic { rate, share: bad, bursts: false, onset: None }.minutes(seed(cell, watch), BAD);
        let good = Traffic { rate, share: 0.01, bursts: false, onset: None }.minutes(seed(cell + 50, watch), WATCH);
        let mut evidence = evidence();
        bad.iter().for_each(|(errors, total)| evidence.see(*errors, *total, &PLAIN));
        evidence.finding(0)?;
        if is_renewed {
            evidence.renew();
        }
        let ended = good.iter().position(|(errors, total)| {
            evidence.see(*errors, *total, &PLAIN);
            evidence.finding(0).is_none()
        });
        Some(ended.map_or(WATCH, |minute| minute + 1))
    };
    let mut ends: Vec<usize> = (0..watches()).filter_map(ends).collect();
    ends.sort_unstable();
    ends
}

#[test]
fn after_a_rollback_it_ends_in_about_six_minutes_where_there_is_traffic() {
    for (row, (bad, is_renewed)) in [(0.3, true), (1.0, true), (0.3, false), (1.0, false)].into_iter().enumerate() {
        let mut line = format!("ends after {bad}, renewed {is_renewed}, median and 90 %:");
        for (column, rate) in [0.2, 1.0, 2.0, 5.0, 10.0, 100.0].into_iter().enumerate() {
            let ends = minutes_to_end(rate, bad, 600 + row * 10 + column, is_renewed);
            assert!(!ends.is_empty());
            let (median, most) = (ends[ends.len() / 2], ends[ends.len() * 9 / 10]);
            line += &format!(" {rate}: {median}/{most}");
            // Without a word about the change, two events a minute take their time to say that 30 % is over.
            let (median_bar, most_bar) = match (is_renewed, bad, rate) {
                (_, _, 10.0..) => (5, 8),
                (true, _, 5.0..) | (_, 1.0, 5.0..) => (5, 8),
                (true, _, 2.0) => (6, 14),
                (false, 1.0, 2.0) => (8, 14),
                (false, 0.3, 2.0) => (25, 40),
                _ => (WATCH - 1, WATCH),
            };
            assert!(median <= median_bar && most <= most_bar, "{line}");
        }
        println!("{line}");
    }
}

#[test]
fn after_a_rollback_in_vain_it_seldom_ends() {
    for (row, (bad, bar)) in [(0.3, 0.15), (1.0, 0.0)].into_iter().enumerate() {
        let mut line = format!("ends within an hour of a rollback in vain, still {bad}, %:");
        for (column, rate) in [0.2, 1.0, 2.0, 5.0, 10.0, 100.0].into_iter().enumerate() {
            let traffic = Traffic { rate, share: bad, bursts: false, onset: None };
            let ends = |watch: &u64| {
                let minutes = traffic.minutes(seed(800 + row * 10 + column, *watch), 300);
                let (before, after) = minutes.split_at(240);
                let mut evidence = evidence();
                before.iter().for_each(|(errors, total)| evidence.see(*errors, *total, &PLAIN));
                let was_found = evidence.finding(0).is_some();
                evidence.renew();
                after.iter().any(|(errors, total)| {
                    evidence.see(*errors, *total, &PLAIN);
                    was_found && evidence.finding(0).is_none()
                })
            };
            let ends = (0..watches()).filter(ends).count();
            line += &format!(" {rate}: {:.0}", 100.0 * ends as f64 / watches() as f64);
            assert!(is_at_most(ends, watches(), bar), "{line}, bar {bar}");
        }
        println!("{line}");
    }
}

#[test]
fn what_can_be_found_is_said_beforehand() {
    for (row, bad) in [0.12, 0.2, 0.3, 1.0].into_iter().enumerate() {
        let mut line = format!("{bad} within 20 and 60 min, said/simulated %:");
        for (column, rate) in [0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0].into_iter().enumerate() {
            let finds = finds(rate, bad, 700 + row * 10 + column, |_| PLAIN);
            for within in [20u32, 60] {
                let said = detectable(LIMIT, bad, rate, within);
                let found = 1.0 - not_within(&finds, within.into()) as f64 / watches() as f64;
                line += &format!(" {rate}: {:.0}/{:.0}", 100.0 * said, 100.0 * found);
                let chance = 3.0 * (said * (1.0 - said) / watches() as f64).sqrt() + 1.0 / watches() as f64;
                assert!(found - said <= 0.16 + chance && said - found <= 0.08 + chance, "{line}");
            }
        }
        println!("{line}");
    }
}
