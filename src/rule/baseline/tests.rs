//! The whole: a history, its calibration, a watch. The edges that no measurement over noises reaches.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::base::{Span, Timestamp};

/// No turn at all.
const NEVER: [u32; 0] = [];

const T0: Timestamp = Timestamp(1_790_000_012_345);

/// Standard normal noise whose minutes remember the one before; the same on every run.
fn noise(seed: u64, memory: f64) -> impl Iterator<Item = f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    };
    let mut last = 0.0;
    std::iter::repeat_with(move || {
        // Box and Muller 1958.
        let shock = (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos();
        last = memory * last + (1.0 - memory * memory).sqrt() * shock;
        last
    })
}

/// `minutes` around 100, with a fifth of noise.
fn series(seed: u64, minutes: usize) -> Vec<f64> {
    noise(seed, 0.5).take(minutes).map(|x| 100.0 * (0.2 * x).exp()).collect()
}

fn calibrate_towards(direction: Direction, minutes: &[f64]) -> Result<Calibration, Refusal> {
    Calibration::of(&History { minutes, t0: T0, weekend: &|_| false }, direction, None)
}

fn calibrate(minutes: &[f64]) -> Arc<Calibration> {
    Arc::new(calibrate_towards(Direction::Above, minutes).unwrap())
}

fn warning(size: Size) -> Limit {
    Limit { direction: Direction::Above, size, strictness: Strictness::Warning }
}

fn rollback(size: Size) -> Limit {
    Limit { direction: Direction::Above, size, strictness: Strictness::Rollback }
}

fn limits() -> Vec<Limit> {
    vec![warning(Size::Relative(0.1)), rollback(Size::Relative(0.5))]
}

/// The ages at which something is found and at which it ends, of the first limit.
fn turns(detector: &mut Detector, watch: impl IntoIterator<Item = f64>) -> Vec<u32> {
    let mut turns = Vec::new();
    let mut held = detector.finding(0).is_some();
    for minute in watch {
        detector.see(minute);
        let holds = detector.finding(0).is_some();
        if holds != held {
            turns.push(detector.age());
            held = holds;
        }
    }
    turns
}

fn detector(history: &[f64], limits: Vec<Limit>) -> Detector {
    Detector::new(calibrate(history), &history[history.len().saturating_sub(60)..], limits)
}

#[test]
fn a_calibration_is_read_back_as_it_was_written_and_stays_small() {
    let week = |at: Timestamp| at.0 / 86_400_000 % 7 < 2;
    let minutes: Vec<f64> = series(3, 14 * DAY)
        .into_iter()
        .enumerate()
        .map(|(t, v)| {
            let at = T0 - Span::mins((14 * DAY - t) as i64);
            let night = if t % DAY < 20 { 4.0 } else { 1.0 };
            v * night * if week(at) { 0.5 } else { 1.0 } * (1.0 + 0.3 * (t as f64 / 229.0).sin())
        })
        .collect();
    let history = History { minutes: &minutes, t0: T0, weekend: &week };
    let calibration = Calibration::of(&history, Direction::Above, Some(1.0)).unwrap();
    let text = serde_json::to_string(&calibration).unwrap();
    assert_eq!(serde_json::from_str::<Calibration>(&text).unwrap(), calibration);
    assert!(text.len() < 10 * 1024, "{} bytes: {text}", text.len());
}

#[test]
fn what_is_expected_is_in_the_unit_of_the_value_and_knows_the_time_of_day() {
    let at = |t: usize| 100.0 * (1.0 + 0.4 * (t as f64 * std::f64::consts::TAU / DAY as f64).sin());
    let noisy: Vec<f64> = series(5, 7 * DAY).iter().enumerate().map(|(t, v)| v / 100.0 * at(t)).collect();
    for direction in [Direction::Above, Direction::Below] {
        let calibration = calibrate_towards(direction, &noisy).unwrap();
        for minute in [0, 200, 777, 1300, 2000] {
            let expected = calibration.expected(T0 + Span::mins(minute));
            let truth = at(minute as usize);
            assert!((expected / truth - 1.0).abs() < 0.07, "minute {minute}: {expected}, {truth}");
        }
    }
}

#[test]
fn lower_is_worse_when_asked_so() {
    let history = series(7, 7 * DAY);
    let below = |size, strictness| Limit { direction: Direction::Below, size, strictness };
    let calibration = Arc::new(calibrate_towards(Direction::Below, &history).unwrap());
    let limits = vec![
        below(Size::Relative(0.25), Strictness::Rollback),
        below(Size::Absolute(25.0), Strictness::Rollback),
        // Not the calibration's direction.
        rollback(Size::Relative(0.25)),
        // More than all of it.
        below(Size::Relative(1.5), Strictness::Warning),
    ];
    let mut detector = Detector::new(calibration, &history[history.len() - 60..], limits);
    series(8, 400).into_iter().for_each(|v| detector.see(v * 0.5));
    let finding = detector.finding(0).unwrap();
    assert!((-0.6..-0.4).contains(&finding.estimate), "{finding:?}");
    assert!(finding.to_string().contains(" % below usual; in 7 days it "), "{finding}");
    assert!(detector.finding(1).is_some());
    assert!(detector.finding(2).is_none() && detector.finding(3).is_none() && detector.finding(4).is_none());

    series(9, 3000).into_iter().for_each(|v| detector.see(v * 3.0));
    assert!(detector.finding(0).is_none(), "three times more is no fall");
}

#[test]
fn an_absolute_size_is_held_against_what_is_usual_at_that_moment() {
    // 20 at night, 200 at noon; 30 more is 2.5 times at night and nothing at noon.
    let usual = |t: usize| 110.0 + 90.0 * (t as f64 * std::f64::consts::TAU / DAY as f64).sin();
    let noisy = |seed, n| noise(seed, 0.3).take(n).enumerate().map(|(t, x)| usual(t) * (0.03 * x).exp());
    let history: Vec<f64> = noisy(11, 7 * DAY).collect();
    for (more, holds) in [(30.0, false), (50.0, true)] {
        let mut detector = detector(&history, vec![warning(Size::Absolute(40.0))]);
        let watch: Vec<f64> = noisy(12, 2 * DAY).map(|v| v + more).collect();
        let turns = turns(&mut detector, watch);
        assert_eq!(detector.finding(0).is_some(), holds, "{more}: {turns:?}");
        assert_eq!(turns.is_empty(), !holds, "{more}: {turns:?}");
    }
}

#[test]
fn a_near_constant_history_takes_no_percent_for_a_change_and_finds_a_tenth() {
    let steady = |seed, n| noise(seed, 0.9).take(n).map(|x| 100.0 * (0.0005 * x).exp());
    let history: Vec<f64> = steady(13, 7 * DAY).collect();
    let mut quiet = detector(&history, vec![warning(Size::Relative(0.001))]);
    assert_eq!(turns(&mut quiet, steady(14, 2 * DAY).map(|v| v * 1.008)), NEVER);
    let mut found = detector(&history, limits());
    let ages = turns(&mut found, steady(15, 2 * DAY).map(|v| v * 1.12));
    assert!(matches!(ages[..], [age] if age <= 60), "{ages:?}");
    assert!(found.finding(1).is_none());
}

#[test]
fn a_history_of_two_values_is_judged_like_any_other() {
    let steps = |seed, n| noise(seed, 0.8).take(n).map(|x| if x > 0.5 { 125.0 } else { 100.0 });
    let history: Vec<f64> = steps(17, 7 * DAY).collect();
    let mut detector = detector(&history, limits());
    assert_eq!(turns(&mut detector, steps(18, 2 * DAY)), NEVER);
    detector = super::tests::detector(&history, limits());
    let ages = turns(&mut detector, steps(18, 2 * DAY).map(|v| v * 2.0));
    assert!(matches!(ages[..], [age] if age <= 60), "{ages:?}");
}

#[test]
fn zero_and_less_are_a_large_drop_and_no_panic() {
    let history = series(19, 7 * DAY);
    let calibration = Arc::new(calibrate_towards(Direction::Below, &history).unwrap());
    let limit = Limit { direction: Direction::Below, size: Size::Relative(0.5), strictness: Strictness::Rollback };
    for value in [0.0, -17.0, f64::MIN] {
        let mut detector = Detector::new(calibration.clone(), &history[history.len() - 15..], vec![limit]);
        (0..90).for_each(|_| detector.see(value));
        assert!(detector.finding(0).is_some_and(|finding| finding.estimate < -0.5), "{value}");
    }
}

#[test]
fn a_gap_is_no_evidence() {
    let history = series(21, 7 * DAY);
    for missing in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut detector = detector(&history, limits());
        assert_eq!(turns(&mut detector, std::iter::repeat_n(missing, 2 * DAY)), NEVER, "nothing was seen");
    }
    // Three bad minutes before a gap do not become a window of bad minutes.
    let mut detector = detector(&history, limits());
    let watch = series(22, 600).into_iter().chain([900.0; 3]).chain([f64::NAN; 3000]);
    assert_eq!(turns(&mut detector, watch), NEVER);
}

#[test]
fn a_window_speaks_with_half_of_its_minutes() {
    let history = series(23, 7 * DAY);
    // Of each nine minutes so many are there; after 200 the value is threefold.
    let age_of = |there: usize| {
        let watch: Vec<f64> = series(24, 400)
            .into_iter()
            .enumerate()
            .map(|(t, v)| (t, if t < 200 { v } else { 3.0 * v }))
            .map(|(t, v)| if t % 9 < there { v } else { f64::NAN })
            .collect();
        turns(&mut detector(&history, vec![warning(Size::Relative(0.1))]), watch).first().copied()
    };
    assert!(age_of(5).is_some_and(|age| age <= 260), "{:?}", age_of(5));
    assert_eq!(age_of(3), None);
}

#[test]
fn a_start_test_that_lacks_minutes_moves_on_by_its_length() {
    let steady = |seed, n| noise(seed, 0.0).take(n).map(|x| 100.0 * (0.2 * x).exp());
    let history: Vec<f64> = steady(25, 7 * DAY).collect();
    let found = |gap: std::ops::Range<usize>| {
        let mut detector = detector(&history, vec![warning(Size::Relative(0.5))]);
        let watch = steady(26, 60).enumerate();
        let ages = turns(&mut detector, watch.map(|(t, v)| if gap.contains(&t) { f64::NAN } else { v * 2.25 }));
        (ages.first().copied(), detector.finding(0).map(|finding| (finding.family, finding.window)))
    };
    assert_eq!(found(0..0), (Some(15), Some((Family::Start, 10))), "minutes 6 to 15");
    assert_eq!(found(5..8), (Some(15), Some((Family::Start, 10))), "seven of ten are enough");
    assert_eq!(found(5..9), (Some(25), Some((Family::Start, 10))), "six of ten are not: minutes 16 to 25");
}

#[test]
fn a_look_without_enough_minutes_leaves_it_to_the_next() {
    let history: Vec<f64> = noise(27, 0.0).take(7 * DAY).map(|x| 100.0 * (0.6 * x).exp()).collect();
    // A fifth more: too little for the windows of minutes, plain in the mean of hours.
    let watch = |seen: std::ops::Range<usize>| {
        let values = noise(28, 0.0).take(700).enumerate();
        let mut detector = detector(&history, vec![warning(Size::Relative(0.1))]);
        let ages = turns(
            &mut detector,
            values.map(|(t, x)| if seen.contains(&t) { 130.0 * (0.6 * x).exp() } else { f64::NAN }),
        );
        (ages.first().copied(), detector.finding(0).map(|finding| finding.family))
    };
    let (all, family) = watch(0..700);
    assert!(all.is_some_and(|age| age <= 260), "{all:?} {family:?}");
    let (late, _) = watch(400..700);
    assert!(late.is_none_or(|age| age > 400), "{late:?}");
}

#[test]
fn trouble_that_was_there_before_is_said() {
    let mut history = series(29, 7 * DAY);
    assert_eq!(detector(&history, limits()).trouble_before(), None);
    // For the last two hours, twice the usual.
    let from = 7 * DAY - 120;
    history[from..].iter_mut().for_each(|v| *v *= 2.0);
    let trouble = detector(&history, limits()).trouble_before().unwrap();
    assert!((0.6..1.5).contains(&trouble.estimate) && trouble.threshold < trouble.estimate, "{trouble:?}");
    // A rule that asks for more does not call it trouble.
    let asks_more = detector(&history, vec![rollback(Size::Relative(3.0))]);
    assert_eq!(asks_more.trouble_before(), None);
    // Nor is a single spike, nor nothing at all.
    let calibration = calibrate(&series(29, 7 * DAY));
    let mut before = [100.0; 15];
    before[14] = 1e9;
    for before in [&before[..], &[f64::NAN; 15], &[]] {
        assert_eq!(Detector::new(calibration.clone(), before, limits()).trouble_before(), None);
    }
}

#[test]
fn a_change_that_is_undone_ends_and_what_comes_later_is_found_again() {
    let history = series(31, 7 * DAY);
    let mut detector = detector(&history, limits());
    let watch = series(32, 2 * DAY).into_iter().enumerate();
    let factor = |t| if t < 240 || (1200..1260).contains(&t) { 2.0 } else { 1.0 };
    let ages = turns(&mut detector, watch.map(|(t, v)| v * factor(t)));
    let [found, ended, again, ended_again] = ages[..] else { panic!("{ages:?}") };
    assert!(found <= 60 && (241..=260).contains(&ended), "{ages:?}");
    assert!((1200..1225).contains(&again) && (1261..=1280).contains(&ended_again), "{ages:?}");
}

#[test]
fn little_history_decides_little() {
    let found = |days: usize, weekend: &dyn Fn(Timestamp) -> bool| {
        let history = series(33, days * DAY);
        let of = History { minutes: &history, t0: T0, weekend };
        let calibration = Arc::new(Calibration::of(&of, Direction::Above, None).unwrap());
        let scope = calibration.scope(T0);
        let mut detector = Detector::new(calibration, &history[history.len() - 60..], limits());
        let mut strict = None;
        for minute in series(34, 300) {
            detector.see(minute * 2.5);
            strict = strict.or(detector.finding(1).map(|finding| finding.window));
        }
        (scope, detector.finding(0).is_some(), strict.is_some())
    };
    let never = |_: Timestamp| false;
    let since_t0 = |at: Timestamp| at >= T0;
    assert_eq!(found(1, &never), (Scope::Warnings { days: 1, knows_today: true }, true, false));
    assert_eq!(found(4, &never), (Scope::Short { days: 4 }, true, true));
    assert_eq!(found(4, &since_t0), (Scope::Warnings { days: 4, knows_today: false }, true, false));
    assert_eq!(found(7, &since_t0), (Scope::Everything, true, true));
}

#[test]
fn a_slow_change_rolls_back_only_with_seven_days() {
    for (days, rolls_back) in [(4, false), (7, true)] {
        let noisy = |seed, n, factor: f64| noise(seed, 0.0).take(n).map(move |x| factor * 100.0 * (0.9 * x).exp());
        let history: Vec<f64> = noisy(35, days * DAY, 1.0).collect();
        let mut detector = detector(&history, vec![rollback(Size::Relative(0.1))]);
        let ages = turns(&mut detector, noisy(36, 2 * DAY, 1.2));
        assert_eq!(!ages.is_empty(), rolls_back, "{days} days: {ages:?}");
    }
}

#[test]
fn replayed_minutes_give_the_same_state() {
    let history = series(37, 7 * DAY);
    let watch: Vec<f64> =
        series(38, 1500).into_iter().enumerate().map(|(t, v)| if t < 500 { 1.8 * v } else { v }).collect();
    let mut whole = detector(&history, limits());
    for part in [1, 200, 460, 700, 1499] {
        let mut whole = whole.clone();
        watch.iter().for_each(|v| whole.see(*v));
        let mut replayed = detector(&history, limits());
        watch[..part].iter().for_each(|v| replayed.see(*v));
        watch[part..].iter().for_each(|v| replayed.see(*v));
        assert_eq!(format!("{whole:?}"), format!("{replayed:?}"), "interrupted at {part}");
    }
    for gap in [0, 1, 37, 4320, 9000] {
        let mut seen = detector(&history, limits());
        let mut skipped = seen.clone();
        watch[..300].iter().for_each(|v| [&mut seen, &mut skipped].into_iter().for_each(|d| d.see(*v)));
        (0..gap).for_each(|_| seen.see(f64::NAN));
        skipped.skip(gap);
        // Longer gaps are not walked through; what is found after them is the same.
        if gap <= 4320 {
            assert_eq!(format!("{seen:?}"), format!("{skipped:?}"), "a gap of {gap}");
        }
        for v in watch.iter().map(|v| v * 2.0) {
            [&mut seen, &mut skipped].into_iter().for_each(|d| d.see(v));
            assert_eq!(seen.finding(0), skipped.finding(0));
            assert_eq!((seen.age(), seen.finding(1)), (skipped.age(), skipped.finding(1)));
        }
    }
    whole.skip(u32::MAX);
    whole.skip(u32::MAX);
    watch.iter().for_each(|v| whole.see(*v));
    assert_eq!(whole.age(), u32::MAX);
}

#[test]
fn a_deployment_of_the_past_can_be_left_out() {
    let clean = series(39, 7 * DAY);
    let mut history = clean.clone();
    history[5000..5600].iter_mut().for_each(|v| *v *= 6.0);
    let largest = |history: &[f64]| calibrate(history).windows.windows[2].largest;
    let with = largest(&history);
    let at = |minute: i64| T0 - Span::mins(7 * DAY as i64 - minute);
    leave_out(&mut history, T0, &[(at(5000), at(5600))]);
    assert!(with > 4.0 * largest(&history), "{with}, {}", largest(&history));
    assert!(largest(&history) < 1.2 * largest(&clean));
}

fn wild() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => 0.0..200.0,
        1 => any::<f64>(),
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(0.0), Just(-1.0)],
        1 => prop_oneof![Just(f64::MAX), Just(f64::MIN), Just(f64::MIN_POSITIVE), Just(5e-324), Just(1e300)],
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics_on_any_value(
        pattern in prop::collection::vec(wild(), 0..400),
        length in 0..4 * DAY,
        watch in prop::collection::vec(wild(), 0..300),
        sizes in prop::collection::vec(wild(), 0..3),
        (floor, at, below) in (prop::option::of(wild()), any::<i64>(), any::<bool>()),
    ) {
        let mut minutes: Vec<f64> = pattern.iter().copied().cycle().take(if pattern.is_empty() { 0 } else { length }).collect();
        let t0 = Timestamp(at);
        leave_out(&mut minutes, t0, &[(t0 - Span::hours(9), t0 - Span::hours(3))]);
        let direction = if below { Direction::Below } else { Direction::Above };
        let history = History { minutes: &minutes, t0, weekend: &|at| at.0 / 86_400_000 % 7 < 2 };
        match Calibration::of(&history, direction, floor) {
            Err(refusal) => prop_assert!(!refusal.to_string().is_empty()),
            Ok(calibration) => {
                let text = serde_json::to_string(&calibration).unwrap();
                prop_assert_eq!(&serde_json::from_str::<Calibration>(&text).unwrap(), &calibration);
                prop_assert!(calibration.expected(Timestamp(at.wrapping_mul(7))) >= 0.0);
                let limits = sizes.iter().flat_map(|s| [Size::Relative(*s), Size::Absolute(*s)]);
                let limits: Vec<Limit> =
                    limits.map(|size| Limit { direction, size, strictness: Strictness::Warning }).collect();
                let n = limits.len();
                let mut detector = Detector::new(Arc::new(calibration), &watch[..watch.len() / 9], limits);
                for (i, minute) in watch.iter().enumerate() {
                    detector.see(*minute);
                    detector.skip((i % 40 / 39 * 500) as u32);
                    for finding in (0..n).filter_map(|limit| detector.finding(limit)) {
                        prop_assert!(finding.estimate.is_finite() && !finding.to_string().is_empty());
                    }
                }
            }
        }
    }
}

#[test]
fn what_stood_before_t0_takes_nothing_back() {
    let whole = series(11, 9 * DAY);
    let (mut history, mut watch) = (whole[..7 * DAY].to_vec(), whole[7 * DAY..].to_vec());
    // Twice as slow since two hours before T0, and as it was ever after.
    history[7 * DAY - 120..].iter_mut().chain(&mut watch).for_each(|v| *v *= 2.0);
    let calibration = calibrate(&history);
    let limits = [Strictness::Warning, Strictness::Rollback].map(|strictness| Limit {
        direction: Direction::Above,
        size: Size::Relative(0.5),
        strictness,
    });
    let mut detector = Detector::new(calibration, &history[history.len() - 60..], limits.to_vec());
    let mut found = [0, 0];
    for minute in watch {
        detector.see(minute);
        (0..2).for_each(|i| found[i] += u32::from(detector.finding(i).is_some()));
    }
    assert!(found[0] > 1000, "people are told for {} minutes", found[0]);
    assert_eq!(found[1], 0, "and nothing is taken back");
}
