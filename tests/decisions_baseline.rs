//! How often a baseline is wrong, and how fast it is right: measured over many watches of sixteen kinds of series.
//!
//! Warning at +10 %, critical at +50 %, seven days of history, watches of 48 hours. `BACKSTOP_WATCHES=1000` is the full
//! measurement, which prints its table and is held to the bars as they are. With fewer watches a bar is widened by
//! what chance does to a sample of that size: a service that just meets it would miss it once in a thousand runs. Seeds
//! are fixed, so a result is the same on every run.

use std::sync::{Arc, OnceLock};

use backstop::base::{Span, Timestamp};
use backstop::rule::baseline::{Calibration, Detector, Direction, History, Limit, Refusal, Size, Strictness};

use crate::decisions::noise::{self, DAY, Kind};

/// The length of a watch in minutes.
const WATCH: usize = 2 * DAY;
/// Minutes of history.
const T0: usize = 7 * DAY;
/// The minute of the watch at which a late change begins.
const LATE: usize = 600;
const WARNING: usize = 0;
const ROLLBACK: usize = 1;

/// A change of the series and the age by which it is found: factor, first minute of the watch, minutes from there.
const CHANGES: [(f64, usize, u32); 8] = [
    (3.0, 0, 15),
    (2.0, 0, 60),
    (1.5, 0, 360),
    (1.2, 0, 780),
    (1.2, 0, 1440),
    (1.2, 0, 2880),
    (3.0, LATE, 15),
    (2.0, LATE, 60),
];

/// Kinds whose own moves are smaller than what is asked for.
const QUIET: [Kind; 11] = [
    Kind::Iid,
    Kind::Ar90Flat,
    Kind::Ar97Flat,
    Kind::Ar90Day,
    Kind::Ar97Day,
    Kind::Mix,
    Kind::Week,
    Kind::Warmup,
    Kind::Coarse,
    Kind::NearConstant,
    Kind::Nightly,
];

/// What was counted for one kind; alarms and rollbacks.
#[derive(Clone, Copy)]
struct Row {
    kind: Kind,
    refused: usize,
    wrong: [usize; 2],
    found: [[usize; 2]; CHANGES.len()],
}

#[test]
fn healthy_watches_stay_quiet() {
    let quiet: Vec<&Row> = table().iter().filter(|row| QUIET.contains(&row.kind)).collect();
    for row in &quiet {
        at_most(row.kind.name(), row.wrong[WARNING], watches(), 0.04);
        at_most(row.kind.name(), row.wrong[ROLLBACK], watches(), 0.01);
    }
    let all = quiet.len() * watches();
    at_most("all quiet kinds", quiet.iter().map(|row| row.wrong[WARNING]).sum(), all, 0.04);
    at_most("all quiet kinds", quiet.iter().map(|row| row.wrong[ROLLBACK]).sum(), all, 0.01);
}

#[test]
fn series_that_move_by_themselves_alarm_seldom() {
    for kind in [Kind::Spikes, Kind::Shifts, Kind::Drift] {
        at_most(kind.name(), row(kind).wrong[WARNING], watches(), 0.10);
        at_most(kind.name(), row(kind).wrong[ROLLBACK], watches(), 0.02);
    }
    at_most("t3", row(Kind::T3).wrong[WARNING], watches(), 0.15);
    at_most("t3", row(Kind::T3).wrong[ROLLBACK], watches(), 0.06);
}

#[test]
fn a_queue_that_is_mostly_empty_has_no_baseline() {
    assert_eq!(row(Kind::Zeros).refused, watches());
    let values = noise::make(Kind::Zeros, 1, T0, T0);
    assert!(matches!(calibrate(&values, 1), Err(Refusal::Zeros { share }) if share > 0.2));
}

#[test]
fn changes_are_found_in_time() {
    // By the columns of CHANGES.
    let slow = [0.95, 0.95, 0.95, 0.85, 0.95, 0.95, 0.90, 0.90];
    let slower = [0.95, 0.85, 0.75, 0.0, 0.60, 0.93, 0.75, 0.0];
    let bars = [
        (Kind::Iid, slow),
        (Kind::NearConstant, slow),
        (Kind::Ar90Flat, slow),
        (Kind::Ar90Day, slow),
        (Kind::Ar97Flat, slower),
        (Kind::Ar97Day, slower),
    ];
    for (kind, bars) in bars {
        for ((found, change), bar) in row(kind).found.iter().zip(CHANGES).zip(bars) {
            at_least(&format!("{} {change:?}", kind.name()), found[WARNING], watches(), bar);
        }
    }
}

#[test]
fn missing_minutes_are_no_evidence_and_hide_no_large_change() {
    for kind in [Kind::Ar90Day, Kind::Week, Kind::NearConstant] {
        let rows = spread(|seed| {
            let values = noise::make(kind, seed, T0 + WATCH, T0);
            let values = noise::with_holes(&values, seed, 0.2);
            let calibration = Arc::new(calibrate(&values[..T0], seed).unwrap());
            let tripled = noise::changed(&values, T0 + LATE, values.len(), 3.0);
            (first(&calibration, &values), first(&calibration, &tripled))
        });
        let wrong = |limit: usize| rows.iter().filter(|(healthy, _)| healthy[limit].is_some()).count();
        at_most(&format!("{} with holes", kind.name()), wrong(WARNING), watches(), 0.04);
        at_most(&format!("{} with holes", kind.name()), wrong(ROLLBACK), watches(), 0.01);
        let found = rows.iter().filter(|(_, bad)| bad[ROLLBACK].is_some_and(|age| age <= LATE as u32 + 60)).count();
        at_least(&format!("{} with holes, 3x in an hour", kind.name()), found, watches(), 0.95);
    }
}

#[test]
fn findings_end_when_the_change_is_undone_and_hold_while_it_lasts() {
    for (factor, minutes, share, held) in [(2.0, 60, 0.90, 0.97), (3.0, 20, 0.95, 0.99)] {
        for kind in [Kind::Iid, Kind::Ar90Day, Kind::Ar97Day, Kind::T3, Kind::Spikes, Kind::Nightly] {
            let all: Vec<Ended> = spread(|seed| ended(kind, seed, factor));
            for limit in [WARNING, ROLLBACK] {
                let what = format!("{} {factor}x limit {limit}", kind.name());
                let mut ends: Vec<u32> = all.iter().filter_map(|one| one.minutes[limit]).collect();
                ends.sort_unstable();
                let within = |minutes: u32| ends.iter().filter(|end| **end <= minutes).count();
                let mean = all.iter().map(|one| one.held[limit]).sum::<f64>() / watches() as f64;
                let flapped = all.iter().filter(|one| one.flaps[limit] > 0).count();
                if watches() >= 300 {
                    println!(
                        "{what}: of {} ended in 20 min {}, 30 min {}, 60 min {}, median {} min; while it lasts held {:.2} % of the time, {flapped} watches with a gap",
                        ends.len(),
                        within(20),
                        within(30),
                        within(60),
                        ends[ends.len() / 2],
                        100.0 * mean
                    );
                }
                at_least(&what, within(minutes), ends.len(), share);
                assert!(mean >= held, "{what}: held {mean} of the time while the change lasts");
            }
        }
    }
}

/// What became of the findings of one watch; by limit.
struct Ended {
    /// Minutes from the undoing of a change to the end of its finding; none when it was not found before.
    minutes: [Option<u32>; 2],
    /// How often a finding ended while a change lasted.
    flaps: [usize; 2],
    /// The share of the time since it was found in which it held.
    held: [f64; 2],
}

/// A watch whose change is undone after three hours, and one whose change lasts.
fn ended(kind: Kind, seed: u64, factor: f64) -> Ended {
    const LASTS: usize = 180;
    let values = noise::make(kind, seed, T0 + WATCH, T0);
    let calibration = Arc::new(calibrate(&values[..T0], seed).unwrap());
    let undone = holds(&calibration, &noise::changed(&values, T0, T0 + LASTS, factor));
    let lasting = holds(&calibration, &noise::changed(&values, T0, values.len(), factor));
    let since = |limit: usize| lasting.iter().skip_while(move |held| !held[limit]).map(move |held| held[limit]);
    Ended {
        minutes: [WARNING, ROLLBACK].map(|limit| {
            let after = &undone[LASTS - 1..];
            // One that never ends counts as a very late end.
            after[0][limit].then(|| after.iter().position(|held| !held[limit]).unwrap_or(after.len()) as u32)
        }),
        flaps: [WARNING, ROLLBACK]
            .map(|limit| lasting.windows(2).filter(|two| two[0][limit] && !two[1][limit]).count()),
        held: [WARNING, ROLLBACK].map(|limit| {
            let all = since(limit).count();
            if all == 0 { 1.0 } else { since(limit).filter(|held| *held).count() as f64 / all as f64 }
        }),
    }
}

/// Whether each limit holds, by minute of the watch.
fn holds(calibration: &Arc<Calibration>, values: &[f64]) -> Vec<[bool; 2]> {
    let mut detector = Detector::new(calibration.clone(), &values[T0 - 60..T0], limits(Direction::Above));
    let see = |value: &f64| {
        detector.see(*value);
        [WARNING, ROLLBACK].map(|limit| detector.finding(limit).is_some())
    };
    values[T0..].iter().map(see).collect()
}

/// Measured once for all tests.
fn table() -> &'static [Row] {
    static TABLE: OnceLock<Vec<Row>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let rows: Vec<Row> = Kind::ALL.into_iter().map(measure).collect();
        if watches() >= 300 {
            print(&rows);
        }
        rows
    })
}

fn row(kind: Kind) -> &'static Row {
    table().iter().find(|row| row.kind == kind).unwrap()
}

#[expect(clippy::print_stdout, reason = "the full measurement is for people to read")]
fn print(rows: &[Row]) {
    let percent = |n: usize| 100.0 * n as f64 / watches() as f64;
    print!("{:14} {:>9}", "", "false");
    for (factor, from, minutes) in CHANGES {
        print!(" {:>13}", format!("{factor}x {}@{minutes}", if from > 0 { "late" } else { "" }));
    }
    println!("   (alarm / rollback in % of {} watches)", watches());
    for row in rows {
        print!("{:14} {:4.1}/{:4.1}", row.kind.name(), percent(row.wrong[0]), percent(row.wrong[1]));
        for found in row.found {
            print!(" {:>13}", format!("{:.1}/{:.1}", percent(found[0]), percent(found[1])));
        }
        println!("{}", if row.refused > 0 { "  refused" } else { "" });
    }
}

fn measure(kind: Kind) -> Row {
    let none = Row { kind, refused: 0, wrong: [0; 2], found: [[0; 2]; CHANGES.len()] };
    spread(|seed| one(kind, seed)).into_iter().fold(none, |sum, row| {
        let add = |a: [usize; 2], b: [usize; 2]| [a[0] + b[0], a[1] + b[1]];
        let mut found = sum.found;
        for (sum, one) in found.iter_mut().zip(row.found) {
            *sum = add(*sum, one);
        }
        Row { kind, refused: sum.refused + row.refused, wrong: add(sum.wrong, row.wrong), found }
    })
}

/// One watch of that seed: healthy, and with each change.
fn one(kind: Kind, seed: u64) -> Row {
    let mut row = Row { kind, refused: 0, wrong: [0; 2], found: [[0; 2]; CHANGES.len()] };
    let values = noise::make(kind, seed, T0 + WATCH, T0);
    let Ok(calibration) = calibrate(&values[..T0], seed) else {
        return Row { refused: 1, ..row };
    };
    let calibration = Arc::new(calibration);
    row.wrong = first(&calibration, &values).map(|age| usize::from(age.is_some()));
    let mut seen: Option<(f64, usize, [Option<u32>; 2])> = None;
    for (found, (factor, from, minutes)) in row.found.iter_mut().zip(CHANGES) {
        // The same change at several ages is one run.
        let ages = match seen {
            Some((f, at, ages)) if f == factor && at == from => ages,
            _ => first(&calibration, &noise::changed(&values, T0 + from, values.len(), factor)),
        };
        seen = Some((factor, from, ages));
        // An alarm before a late change counts too: it is the false one that is counted elsewhere.
        *found = ages.map(|age| usize::from(age.is_some_and(|age| age <= from as u32 + minutes)));
    }
    row
}

/// The ages at which the warning and the rollback are found.
fn first(calibration: &Arc<Calibration>, values: &[f64]) -> [Option<u32>; 2] {
    let mut detector = Detector::new(calibration.clone(), &values[T0 - 60..T0], limits(Direction::Above));
    let mut ages = [None; 2];
    for value in &values[T0..] {
        detector.see(*value);
        for (limit, age) in ages.iter_mut().enumerate() {
            if age.is_none() && detector.finding(limit).is_some() {
                *age = Some(detector.age());
            }
        }
        if ages.iter().all(Option::is_some) {
            break;
        }
    }
    ages
}

fn limits(direction: Direction) -> Vec<Limit> {
    vec![
        Limit { direction, size: Size::Relative(0.10), strictness: Strictness::Warning },
        Limit { direction, size: Size::Relative(0.50), strictness: Strictness::Rollback },
    ]
}

/// T0 of all series, in the middle of a day and of a minute.
fn t0() -> Timestamp {
    Timestamp(1_790_000_012_345)
}

fn calibrate(history: &[f64], seed: u64) -> Result<Calibration, Refusal> {
    let n = history.len() as i64;
    let weekend = |at: Timestamp| {
        let minute = (at - t0()).as_millis().div_euclid(Span::mins(1).as_millis()) + n;
        noise::is_weekend(seed, minute.rem_euclid(7 * DAY as i64) as usize)
    };
    Calibration::of(&History { minutes: history, t0: t0(), weekend: &weekend }, Direction::Above, None)
}

/// How many watches of each kind.
fn watches() -> usize {
    std::env::var("BACKSTOP_WATCHES").ok().and_then(|n| n.parse().ok()).unwrap_or(40)
}

/// `f` of every seed, on all processors, in the order of seeds.
fn spread<T: Send>(f: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let seeds: Vec<u64> = (1..=watches() as u64).collect();
    std::thread::scope(|scope| {
        let parts = seeds.chunks(seeds.len().div_ceil(threads));
        let parts: Vec<_> =
            parts.map(|seeds| scope.spawn(|| seeds.iter().map(|s| f(*s)).collect::<Vec<T>>())).collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    })
}

/// At most that share; of fewer than 1,000 watches as many more as chance gives once in a thousand runs.
#[track_caller]
fn at_most(what: &str, count: usize, watches: usize, share: f64) {
    let bar = (share * watches as f64).round() as usize;
    let allowed = if watches >= 1000 { bar } else { (bar..).find(|k| above(watches, share, *k) <= 0.001).unwrap() };
    assert!(count <= allowed, "{what}: {count} of {watches}, at most {allowed} are allowed for {share}");
}

/// At least that share; of fewer than 1,000 watches as many fewer as chance gives once in a thousand runs.
#[track_caller]
fn at_least(what: &str, count: usize, watches: usize, share: f64) {
    let misses = ((1.0 - share) * watches as f64).round() as usize;
    let allowed =
        if watches >= 1000 { misses } else { (misses..).find(|k| above(watches, 1.0 - share, *k) <= 0.001).unwrap() };
    assert!(
        watches - count <= allowed,
        "{what}: {count} of {watches}, at most {allowed} misses are allowed for {share}"
    );
}

/// The chance that a binomial count of `n` with `p` is above `k`.
fn above(n: usize, p: f64, k: usize) -> f64 {
    if p <= 0.0 || k >= n {
        return 0.0;
    }
    if p >= 1.0 {
        return 1.0;
    }
    // Each term from the one before, in logarithms, since the first may be too small for a float.
    let mut log_term = n as f64 * (1.0 - p).ln();
    let mut up_to = log_term.exp();
    for i in 1..=k {
        log_term += ((n - i + 1) as f64 / i as f64 * p / (1.0 - p)).ln();
        up_to += log_term.exp();
    }
    1.0 - up_to
}
