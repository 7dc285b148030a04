//! What evidence says about buckets that can be counted by hand.

use proptest::prelude::*;

use super::*;

const PLAIN: Dispersion = Dispersion { phi: 1.0, share: None };

/// Evidence against 10 % after those buckets.
fn after(buckets: impl IntoIterator<Item = (f64, f64)>) -> Evidence {
    let mut evidence = Evidence::new(&[0.1], 3);
    buckets.into_iter().for_each(|(errors, total)| evidence.see(errors, total, &PLAIN));
    evidence
}

/// How many of those buckets end the finding that there is.
fn ends_after(evidence: &mut Evidence, bucket: (f64, f64)) -> Option<usize> {
    assert!(evidence.finding(0).is_some());
    (1..=300).find(|_| {
        evidence.see(bucket.0, bucket.1, &PLAIN);
        evidence.finding(0).is_none()
    })
}

#[test]
fn no_single_bucket_decides() {
    let mut evidence = after([(1e6, 1e6)]);
    assert_eq!(evidence.finding(0), None);
    // Nor once it is the only one with errors in half an hour.
    (0..29).for_each(|_| evidence.see(0.0, 1.0, &PLAIN));
    assert_eq!(evidence.finding(0), None);
    let found = after([(9.0, 9.0), (5.0, 5.0)]).finding(0).unwrap();
    assert_eq!((found.by, found.errors, found.total), (By::Cusum, 14.0, 14.0));
    assert_eq!((found.buckets, found.since), (2, 1));
    assert!(found.bound > 0.6 && found.bound < 0.7, "{found:?}");
}

#[test]
fn a_share_a_little_above_is_found_by_its_bound_over_long() {
    // 12 % is nearer to 10 than to 15 %: both CUSUMs stay low. The bound counts from the fifth bucket with errors on.
    let evidence = after([(120.0, 1000.0); 14]);
    let found = evidence.finding(0).unwrap();
    assert_eq!((found.by, found.since, found.errors, found.total), (By::Wilson, 13, 1680.0, 14000.0));
    assert_eq!(after([(120.0, 1000.0); 13]).finding(0), None);
    // 15 % is what the second CUSUM looks for; one bucket decides nothing, five do.
    let found = after([(150.0, 1000.0); 5]).finding(0).unwrap();
    assert_eq!((found.by, found.since), (By::Cusum, 4));
    assert_eq!(after([(150.0, 1000.0); 4]).finding(0), None);
    assert_eq!(after([(10.0, 100.0); 200]).finding(0), None, "the limit itself is no finding");
}

#[test]
fn fewer_errors_than_asked_find_nothing() {
    let mut evidence = Evidence::new(&[0.1], 20);
    for errors in 1..=40 {
        evidence.see(1.0, 1.0, &PLAIN);
        assert_eq!(evidence.finding(0).is_some(), errors >= 20, "{errors}");
    }
    // Errors of long ago do not count: one every 31 minutes, forever.
    let mut evidence = Evidence::new(&[0.1], 3);
    for _ in 0..100 {
        evidence.see(1.0, 1.0, &PLAIN);
        evidence.skip(30);
        assert_eq!(evidence.finding(0), None);
    }
}

#[test]
fn clumping_errors_count_less() {
    let buckets = |phi: f64| {
        let mut evidence = Evidence::new(&[0.1], 3);
        (1..=300).find(|_| {
            evidence.see(3.0, 10.0, &Dispersion { phi, share: None });
            evidence.finding(0).is_some()
        })
    };
    // 10 events with 3 errors add 1.54.
    assert_eq!((buckets(1.0), buckets(2.0)), (Some(5), Some(10)));
    assert!(buckets(20.0).is_none_or(|buckets| buckets > 30));
}

#[test]
fn it_ends_when_the_newest_events_speak_against_it() {
    let found = after([(5.0, 10.0); 30]);
    // Four, and the last bad one: 5 of 50.
    assert_eq!(ends_after(&mut found.clone(), (0.0, 10.0)), Some(4));
    assert_eq!(ends_after(&mut found.clone(), (3.0, 10.0)), None, "still three times the limit");
    let ended = |bucket| {
        let mut evidence = found.clone();
        ends_after(&mut evidence, bucket).unwrap();
        evidence
    };
    // What has ended does not come back of itself, though its errors are still in sight.
    let mut evidence = ended((0.0, 10.0));
    for _ in 0..60 {
        evidence.see(0.0, 10.0, &PLAIN);
        assert_eq!(evidence.finding(0), None);
    }
}

#[test]
fn nothing_ends_without_events() {
    let mut evidence = after([(5.0, 10.0); 30]);
    let found = evidence.finding(0);
    (0..500).for_each(|_| evidence.see(0.0, 0.0, &PLAIN));
    evidence.skip(u32::MAX);
    (0..500).for_each(|_| evidence.see(f64::NAN, 10.0, &PLAIN));
    assert_eq!(evidence.finding(0), found);
    assert_eq!(evidence.age(), 1030 + u64::from(u32::MAX));
    assert_eq!(evidence.latest(), Latest { errors: 0.0, total: 0.0, buckets: 0, at_least: 0.0 });
}

#[test]
fn after_a_change_of_version_it_ends_sooner_and_only_by_what_came_since() {
    // Two events a minute, a third of them errors: without a change, many successes are needed.
    let found = after((0..60).map(|i| (f64::from(u8::from(i % 3 != 0)), 2.0)));
    let slow = ends_after(&mut found.clone(), (0.0, 2.0)).unwrap();
    let mut renewed = found.clone();
    renewed.renew();
    assert!(renewed.finding(0).is_some());
    let soon = ends_after(&mut renewed, (0.0, 2.0)).unwrap();
    assert!((5..=6).contains(&soon) && slow > soon, "{soon} {slow}");
    let mut still_bad = found.clone();
    still_bad.renew();
    assert_eq!(ends_after(&mut still_bad, (1.0, 2.0)), None);
}

#[test]
fn a_gap_makes_no_evidence() {
    let buckets = [(2.0, 5.0); 5];
    let mut gaps = Evidence::new(&[0.1], 3);
    for (errors, total) in buckets {
        gaps.see(errors, total, &PLAIN);
        gaps.skip(3);
    }
    let (Some(found), Some(with_gaps)) = (after(buckets).finding(0), gaps.finding(0)) else {
        panic!("10 of 25 are more than 10 %");
    };
    assert_eq!(Finding { since: found.since, ..with_gaps }, found);
    assert_eq!((found.since, with_gaps.since), (4, 16));
}

#[test]
fn limits_are_judged_each_for_itself() {
    let buckets = || (0..200).map(|i| (f64::from(i % 7), 10.0));
    let limits = [0.1, 0.25, 0.6];
    let mut all = Evidence::new(&limits, 3);
    let mut each = limits.map(|limit| Evidence::new(&[limit], 3));
    for (errors, total) in buckets() {
        all.see(errors, total, &PLAIN);
        for (place, one) in each.iter_mut().enumerate() {
            one.see(errors, total, &PLAIN);
            assert_eq!(all.finding(place), one.finding(0));
        }
    }
    assert!(all.finding(0).is_some() && all.finding(2).is_none() && all.finding(3).is_none());
}

#[test]
fn odd_limits_and_counts_find_nothing_or_something_that_can_be() {
    for limit in [f64::NAN, f64::INFINITY, 1.0, 2.0] {
        let mut evidence = Evidence::new(&[limit], 0);
        (0..100).for_each(|_| evidence.see(9.0, 9.0, &PLAIN));
        assert_eq!(evidence.finding(0), None, "{limit}");
    }
    // More errors than events are as many as events.
    assert_eq!(after([(90.0, 5.0); 4]), after([(5.0, 5.0); 4]));
}

proptest! {
    #[test]
    fn no_counts_break_it(
        buckets in proptest::collection::vec((any::<f64>(), any::<f64>(), 0u32..40, any::<f64>()), 0..80),
        limit in any::<f64>(),
        min_errors in any::<u32>(),
    ) {
        let mut evidence = Evidence::new(&[limit, 0.1], min_errors);
        for (errors, total, gap, phi) in buckets {
            evidence.see(errors.abs(), total.abs(), &Dispersion { phi, share: None });
            evidence.see(errors, total, &PLAIN);
            evidence.skip(gap);
            let latest = evidence.latest();
            prop_assert!(latest.errors <= latest.total && (0.0..=1.0).contains(&latest.at_least));
            for finding in [evidence.finding(0), evidence.finding(1)].into_iter().flatten() {
                prop_assert!(finding.errors <= finding.total && finding.buckets <= 30);
                prop_assert!((0.0..=1.0).contains(&finding.bound));
            }
        }
    }
}
