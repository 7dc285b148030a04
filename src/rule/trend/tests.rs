//! What a trend says about shapes that can be drawn by hand.

use proptest::prelude::*;

use super::*;

/// A flat week at 20 of 100.
fn flat() -> Option<Floors> {
    Floors::of(&vec![20.0; 7 * 1440], 100.0)
}

/// A trend to a limit of 100 within a day, after those minutes.
fn after(minutes: impl IntoIterator<Item = f64>, history: Option<Floors>) -> Trend {
    let mut trend = Trend::new(100.0, Span::hours(24), history);
    minutes.into_iter().for_each(|minute| trend.see(minute));
    trend
}

/// From 20 by so much a minute.
fn rising(by: f64, minutes: usize) -> impl Iterator<Item = f64> {
    (0..minutes).map(move |minute| 20.0 + by * minute as f64)
}

#[test]
fn the_first_verdict_comes_after_eighty_minutes_and_says_why() {
    let mut trend = after(rising(0.3, 79), flat());
    assert_eq!(trend.finding(), None);
    trend.see(20.0 + 0.3 * 79.0);
    let finding = trend.finding().unwrap();
    assert_eq!(finding.scale, Span::mins(10));
    // The newest floor is that of minute 70: 41 of 100, and the other 59 take 196 minutes and 40 seconds.
    assert!((finding.slope - 0.18).abs() < 1e-9 && (finding.floor - 0.41).abs() < 1e-9);
    assert_eq!(
        finding.to_string(),
        "its floor over 8 windows of 10 min rose by 18 % of the limit an hour; the limit in 3 h 16 min"
    );
}

#[test]
fn a_scale_with_a_floor_missing_says_nothing() {
    let seen = |present: usize| {
        after(rising(0.3, 80).enumerate().map(|(i, value)| if i % 10 < present { value } else { f64::NAN }), flat())
    };
    assert!(seen(5).finding().is_some(), "half of each window");
    assert_eq!(seen(4).finding(), None, "less than half");
    let gap = after(rising(0.3, 80).enumerate().map(|(i, v)| if (40..50).contains(&i) { f64::NAN } else { v }), flat());
    assert_eq!(gap.finding(), None);
}

#[test]
fn a_finding_stays_through_a_gap_and_ends_with_the_process_that_leaked() {
    let mut trend = after(rising(0.3, 100), flat());
    let found = trend.finding().cloned();
    assert!(found.is_some());
    trend.skip(10_000);
    trend.see(f64::INFINITY);
    assert_eq!(trend.finding(), found.as_ref());
    trend.see(12.0);
    assert_eq!(trend.finding(), None, "a restart is seen at once");
}

#[test]
fn a_finding_ends_where_the_rise_does() {
    let mut trend = after(rising(0.3, 100), flat());
    let top = 20.0 + 0.3 * 99.0;
    let ends = (1..1000).find(|_| {
        trend.see(top);
        trend.finding().is_none()
    });
    // Within twice the longer of the horizons of 10 and 30 minutes the flat line no longer arrives once half of the
    // eight windows of half an hour are flat.
    assert!(ends.is_some_and(|minutes| minutes <= 240), "{ends:?}");
    (0..3000).for_each(|_| {
        trend.see(top);
        assert_eq!(trend.finding(), None);
    });
}

#[test]
fn what_the_history_knows_is_usual() {
    // A batch that fills 60 % in two hours, once a day.
    let batch = |minute: usize| if minute % 1440 < 120 { 20.0 + 0.5 * (minute % 1440) as f64 } else { 20.0 };
    let history: Vec<f64> = (0..7 * 1440).map(batch).collect();
    assert!(after((0..120).map(batch), flat()).finding().is_some());
    assert_eq!(after((0..1440).map(batch), Floors::of(&history, 100.0)).finding(), None);
}

#[test]
fn without_a_history_it_only_warns_and_with_one_it_waits() {
    assert_eq!(after(rising(0.1, 600), None).may_roll_back(), MayRollBack::NoHistory);
    assert!(after(rising(0.1, 600), None).finding().is_some());
    assert_eq!(after(rising(0.1, 239), flat()).may_roll_back(), MayRollBack::From(Span::hours(4)));
    assert_eq!(after(rising(0.1, 240), flat()).may_roll_back(), MayRollBack::Yes);
    assert_eq!(after([20.0; 600], flat()).may_roll_back(), MayRollBack::Unconfirmed);
    // A collection every five hours: twice that is waited for.
    let teeth: Vec<f64> = (0..7 * 1440).map(|minute| 20.0 + (minute % 300) as f64 / 30.0).collect();
    let history = Floors::of(&teeth, 100.0).unwrap();
    assert_eq!(history.tooth(), Span::hours(5));
    assert_eq!(after([20.0; 300], Some(history)).may_roll_back(), MayRollBack::From(Span::hours(10)));
    // A restart every three days is no saw-tooth.
    let restarts: Vec<f64> = (0..7 * 1440).map(|minute| 20.0 + (minute % 4320) as f64 / 100.0).collect();
    let history = Floors::of(&restarts, 100.0);
    assert_eq!(after([20.0; 300], history).may_roll_back(), MayRollBack::From(Span::hours(24)));
}

#[test]
fn too_little_history_is_none() {
    assert_eq!(Floors::of(&[], 100.0), None);
    assert_eq!(Floors::of(&[20.0; 1439], 100.0), None);
    assert_eq!(Floors::of(&[f64::NAN; 10_000], 100.0), None);
    for limit in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(Floors::of(&[20.0; 1440], limit).filter(|_| !limit.is_infinite()), None, "{limit}");
    }
    let floors = Floors::of(&[20.0; 1440], 100.0).unwrap();
    let text = serde_json::to_string(&floors).unwrap();
    assert_eq!(serde_json::from_str::<Floors>(&text).unwrap(), floors);
}

#[test]
fn a_limit_that_is_none_finds_nothing() {
    for limit in [0.0, -5.0, f64::NAN, f64::INFINITY] {
        let mut trend = Trend::new(limit, Span::hours(24), None);
        rising(0.3, 500).for_each(|minute| trend.see(minute));
        assert_eq!(trend.finding(), None, "{limit}");
    }
    let mut trend = Trend::new(100.0, Span::ZERO, flat());
    rising(0.3, 400).for_each(|minute| trend.see(minute));
    assert_eq!(trend.finding().map(|finding| finding.reached_in), Some(Span::ZERO), "no time left, and it is reached");
}

proptest! {
    #[test]
    fn a_gap_is_as_many_missing_minutes(before in 0usize..300, gap in 0u32..3000, minutes in 0usize..300) {
        let mut at_once = after(rising(0.2, before), flat());
        let mut one_by_one = at_once.clone();
        at_once.skip(gap);
        (0..gap).for_each(|_| one_by_one.see(f64::NAN));
        rising(0.4, minutes).for_each(|value| {
            at_once.see(value);
            one_by_one.see(value);
        });
        prop_assert_eq!(at_once, one_by_one);
    }

    #[test]
    fn no_values_break_it(
        values in proptest::collection::vec(any::<f64>(), 0..600),
        limit in any::<f64>(),
        within in any::<i64>(),
        gap in any::<u32>(),
    ) {
        let days: Vec<f64> = values.iter().copied().cycle().take(if values.is_empty() { 0 } else { 3000 }).collect();
        let mut trend = Trend::new(limit, Span(within), Floors::of(&days, limit));
        for value in values {
            trend.see(value);
            trend.may_roll_back();
        }
        trend.skip(gap);
        if let Some(finding) = trend.finding() {
            prop_assert!(finding.reached_in >= Span::ZERO && !finding.to_string().is_empty());
        }
    }
}
