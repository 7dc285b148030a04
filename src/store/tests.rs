//! The store's memory, against what it says of itself and against a naive one.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::base::{Batch, Failure, Labels, Outcome, Sample, SourceRef, Span, Timestamp};

const SOURCE: &str = "api";

fn limits() -> Limits {
    Limits { max_series: 5, max_labels: 4, max_label_bytes: 100, ..Limits::default() }
}

fn store() -> Store {
    Store::new(limits())
}

fn sample(name: &str, value: f64) -> Sample {
    Sample { labels: Labels::new([("__name__", name), ("job", SOURCE)]), value, at: None }
}

fn batch(seconds: i64, samples: &[(&str, f64)]) -> Batch {
    Batch {
        checkpoint: None,
        holds: false,
        exhibits: Vec::new(),
        source: SourceRef::new("prometheus", SOURCE),
        instance: "i".into(),
        at: Timestamp(seconds * 1000),
        interval: Span::secs(15),
        outcome: Outcome::Good,
        samples: samples.iter().map(|(name, value)| sample(name, *value)).collect(),
    }
}

fn failed(seconds: i64) -> Batch {
    let outcome = Outcome::Failed(Failure::new("refused", "connection refused"));
    Batch { outcome, ..batch(seconds, &[("up", 0.0)]) }
}

fn by_name(name: &str) -> Selector {
    Selector { name: Some(name.into()), matchers: Vec::new() }
}

fn only<'a>(store: &'a Store, name: &str) -> &'a Series {
    let ids = store.select(&by_name(name));
    assert_eq!(ids.len(), 1, "{name}");
    store.series(ids[0])
}

/// The samples in seconds, a stale marker as `None`.
fn samples(store: &Store, name: &str) -> Vec<(i64, Option<f64>)> {
    let value = |v: &f64| (!is_stale(*v)).then_some(*v);
    let mut cursor = Cursor::default();
    let (times, values) = store.window(store.select(&by_name(name))[0], i64::MIN, i64::MAX, &mut cursor);
    times.iter().zip(values).map(|(t, v)| (t / 1000, value(v))).collect()
}

#[test]
fn a_series_that_is_missing_ends_and_comes_back() {
    let mut store = store();
    store.append(&batch(15, &[("a", 1.0), ("b", 1.0)]));
    assert_eq!(store.append(&batch(30, &[("a", 2.0)])).ended, 1);
    assert_eq!(store.append(&batch(45, &[("a", 3.0)])).ended, 0, "it ends once");
    store.append(&batch(60, &[("b", 4.0), ("a", 4.0)]));
    assert_eq!(samples(&store, "b"), [(15, Some(1.0)), (30, None), (45, None), (60, Some(4.0))]);
    assert_eq!(store.append(&failed(75)).ended, 2, "a failed look ends all that it does not hold");
    assert_eq!(samples(&store, "a").last(), Some(&(75, None)));
}

#[test]
fn time_in_a_series_only_rises_and_a_late_batch_ends_nothing() {
    let mut store = store();
    store.append(&batch(30, &[("a", 1.0), ("b", 1.0)]));
    for (seconds, refused) in [(30, 1), (20, 1)] {
        let appended = store.append(&batch(seconds, &[("a", 9.0)]));
        assert_eq!((appended.refused, appended.stored, appended.ended), (refused, 0, 0));
    }
    assert_eq!(store.append(&batch(45, &[("a", 2.0)])).ended, 1, "the target still gave b before");
    assert_eq!(samples(&store, "a"), [(30, Some(1.0)), (45, Some(2.0))]);
    let appended = store.append(&batch(60, &[("a", 3.0), ("a", 4.0)]));
    assert_eq!((appended.stored, appended.refused), (1, 1), "the same label set twice");
}

#[test]
fn a_targets_own_time_is_kept_within_bounds() {
    let mut store = store();
    let mut early = batch(30, &[("a", 1.0), ("far", 1.0)]);
    early.samples[0].at = Some(Timestamp(40_000));
    early.samples[1].at = Some(Timestamp(i64::MAX));
    assert_eq!(store.append(&early).refused, 1);
    store.append(&batch(35, &[]));
    let held = samples(&store, "a");
    assert_eq!(held, [(40, Some(1.0)), (40, None)], "the marker follows the sample, also where that ran ahead");
    assert!(store.select(&by_name("far")).is_empty());
}

#[test]
fn caps_refuse_and_count() {
    let mut store = store();
    let names = ["a", "b", "c", "d", "e", "f", "g"].map(|name| (name, 1.0));
    let appended = store.append(&batch(15, &names));
    assert_eq!((appended.stored, appended.refused), (5, 2));
    let wide = Labels::new((0..6).map(|i| (format!("l{i}"), "v".to_string())));
    let mut wide_batch = batch(30, &[]);
    wide_batch.samples.push(Sample { labels: wide, value: 1.0, at: None });
    assert_eq!(store.append(&wide_batch).refused, 1);
    store.append_own(Timestamp(30_000), "alerts", &[sample("ALERTS", 1.0)]);
    assert_eq!(samples(&store, "ALERTS"), [(30, Some(1.0))], "the engine's own are never refused");
}

#[test]
fn a_counter_begins_at_zero_only_beside_a_good_and_recent_look_without_it() {
    let born = |before: &[Batch], seconds: i64| {
        let mut store = store();
        for batch in before {
            store.append(batch);
        }
        store.append(&batch(seconds, &[("up", 1.0), ("errors", 7.0)]));
        only(&store, "errors").from_zero().is_some()
    };
    let good = |seconds| batch(seconds, &[("up", 1.0)]);
    assert!(born(&[good(15)], 30));
    assert!(born(&[good(15)], 45), "one look was missed");
    assert!(born(&[good(15), failed(30)], 45), "one look failed");
    assert!(!born(&[], 30), "the first look");
    assert!(!born(&[good(15)], 46), "a gap");
    assert!(!born(&[good(15), failed(30), failed(45)], 60), "too long ago");
    assert!(!born(&[failed(15)], 30), "never a good look");
    assert!(!born(&[batch(15, &[("errors", 5.0)]), good(30)], 45), "it was there before");
    let crowded = batch(15, &["a", "b", "c", "d", "e", "errors"].map(|name| (name, 1.0)));
    let mut store = store();
    store.append(&crowded);
    store.set_limits(Limits { max_series: 6, ..limits() });
    store.append(&Batch { at: Timestamp(30_000), ..crowded.clone() });
    assert_eq!(only(&store, "errors").from_zero(), None, "it may have been among the refused");
}

#[test]
fn a_series_that_retention_forgot_is_not_newborn() {
    let mut store = store();
    store.append(&batch(0, &[("up", 1.0), ("errors", 7.0)]));
    let minutes: i64 = 65;
    for i in 1..=minutes * 4 {
        store.append(&batch(i * 15, &[("up", 1.0)]));
        store.retain(Timestamp(i * 15_000));
    }
    assert!(store.select(&by_name("errors")).is_empty());
    store.append(&batch(minutes * 60 + 15, &[("up", 1.0), ("errors", 8.0)]));
    assert_eq!(only(&store, "errors").from_zero(), None);
}

#[test]
fn events_are_changes_of_a_verdict() {
    let mut store = store();
    for (seconds, value, expected) in [(15, 1.0, false), (30, 0.0, true), (45, 0.0, false), (60, 1.0, true)] {
        assert_eq!(store.append(&batch(seconds, &[("probe_success", value)])).events, expected, "{seconds}");
    }
    store.append(&batch(75, &[]));
    assert!(store.append(&batch(90, &[("probe_success", 0.0)])).events, "against the last value before it ended");
    assert!(store.append(&batch(105, &[("up", 0.0)])).events, "appears as 0");
    assert!(!store.append(&batch(120, &[("other", 0.0)])).events);
}

#[test]
fn own_series_end_with_their_family() {
    let mut store = store();
    let at = |s: i64| Timestamp(s * 1000);
    store.append_own(at(10), "alerts", &[sample("ALERTS", 1.0)]);
    store.append_own(at(10), "alerts", &[sample("ALERTS", 2.0)]);
    store.append_own(at(10), "other", &[sample("backstop_x", 1.0)]);
    store.append_own(at(20), "alerts", &[]);
    assert_eq!(samples(&store, "ALERTS"), [(10, Some(2.0)), (20, None)]);
    assert_eq!(samples(&store, "backstop_x"), [(10, Some(1.0))]);
    assert_eq!(store.append(&batch(30, &[("backstop_x", 5.0)])).refused, 1, "no source writes them");
    assert_eq!(store.targets_of([&by_name("backstop_x")]), []);
}

#[test]
fn a_shift_keeps_ages() {
    let mut store = store();
    store.append(&batch(100, &[("up", 1.0)]));
    store.append(&batch(115, &[("up", 1.0), ("a", 1.0)]));
    store.shift(Span::secs(-50));
    assert_eq!(samples(&store, "up"), [(50, Some(1.0)), (65, Some(1.0))]);
    assert_eq!(only(&store, "a").from_zero(), Some(Timestamp(65_000)));
    assert!(store.was_collected(&by_name("a"), Timestamp(95_000)));
    assert!(!store.was_collected(&by_name("a"), Timestamp(95_501)));
    assert_eq!(store.append(&batch(70, &[("up", 1.0)])).stored, 1);
}

#[test]
fn retention_drops_what_is_old_and_tells_by_the_generation() {
    let mut store = store();
    store.append(&batch(0, &[("a", 1.0), ("b", 1.0)]));
    store.append(&batch(3000, &[("a", 2.0)]));
    let before = (store.generation(), store.size().samples);
    store.retain(Timestamp(3_600_000));
    assert_eq!((store.generation(), store.size().samples), before, "an hour is kept");
    store.retain(Timestamp(3_600_001));
    assert_eq!(store.size().samples, before.1, "not at work in every step");
    store.retain(Timestamp(6_600_001));
    assert_eq!(store.size().series, 0);
    assert_eq!((store.size().samples, store.size().bytes), (0, 0));
    assert_ne!(store.generation(), before.0);
}

#[test]
fn absence_is_a_fact_only_of_what_could_have_been_seen() {
    let mut store = store();
    store.declare(&SourceRef::new("prometheus", SOURCE), ["declared"]);
    store.append(&batch(0, &[("up", 1.0), ("once", 1.0)]));
    store.append(&batch(15, &[("up", 1.0)]));
    let collected = |store: &Store, name: &str, job: &str, seconds: i64| {
        let matchers = if job.is_empty() { vec![] } else { vec![crate::store::Matcher::equal("job", job)] };
        store.was_collected(&Selector { name: Some(name.into()), matchers }, Timestamp(seconds * 1000))
    };
    for (name, job, seconds, expected) in [
        ("once", "", 15, true),
        ("declared", "", 15, true),
        ("never", "", 15, false),
        ("once", SOURCE, 45, true),
        ("once", "another", 15, false),
        ("once", "", 46, false),
        ("once", "", 14, false),
    ] {
        assert_eq!(collected(&store, name, job, seconds), expected, "{name} {job} {seconds}");
    }
    store.append(&failed(30));
    store.append(&failed(60));
    assert!(!collected(&store, "once", "", 60), "a failed look sees nothing");
    assert!(collected(&store, "up", "", 60), "but its own verdict");
}

#[test]
fn targets_are_those_that_give_a_series_now() {
    let mut store = store();
    let first = store.append(&batch(15, &[("a", 1.0)])).target;
    let second = store.append(&Batch { instance: "j".into(), ..batch(15, &[("b", 1.0)]) }).target;
    assert_eq!(store.targets_of([&by_name("a")]), [first]);
    assert_eq!(store.targets_of([&by_name("b"), &by_name("a")]), [first, second]);
    store.append(&failed(30));
    assert_eq!(store.targets_of([&by_name("a")]), []);
}

/// A look of `source` with series `name_0`, `name_1`, …
fn crowd(source: &str, seconds: i64, n: usize) -> Batch {
    let labels = |i: usize| Labels::new([("__name__", format!("m_{i}")), ("job", source.to_string())]);
    let samples = (0..n).map(|i| Sample { labels: labels(i), value: seconds as f64, at: None }).collect();
    Batch { source: SourceRef::new("prometheus", source), samples, ..batch(seconds, &[]) }
}

#[test]
fn when_the_store_is_full_the_loudest_source_gives_way_and_it_is_counted() {
    let mut store = Store::new(Limits { max_series: 100, ..Limits::default() });
    let (loud, quiet) = (SourceRef::new("prometheus", "loud"), SourceRef::new("prometheus", "quiet"));
    assert_eq!(store.append(&crowd("loud", 15, 150)).refused, 50);
    assert_eq!(store.append(&crowd("quiet", 15, 20)).refused, 0, "others do not pay for it");
    assert_eq!((store.usage()[&loud].series, store.usage()[&quiet].series), (80, 20));
    for i in 2..10 {
        assert_eq!(store.append(&crowd("loud", i * 15, 150)).refused, 70, "what it gave up it does not get back");
        assert_eq!(store.append(&crowd("quiet", i * 15, 20)).refused, 0);
    }
    assert_eq!((store.usage()[&loud].refused, store.usage()[&quiet].refused), (50 + 8 * 70, 0));
    assert_eq!(store.append(&crowd("quiet", 150, 60)).refused, 10, "an equal has no claim");
    store.append_own(Timestamp(200_000), "alerts", &[sample("ALERTS", 1.0)]);
    assert_eq!(samples(&store, "ALERTS").len(), 1, "the engine's own are never refused");
}

#[test]
fn what_found_no_room_is_not_believed_absent_and_the_verdict_of_a_look_always_has_room() {
    let mut store = Store::new(Limits { max_series: 10, ..Limits::default() });
    let loud = SourceRef::new("prometheus", "loud");
    store.declare(&loud, ["up"]);
    let look = |seconds: i64, n: usize| {
        let mut look = Batch { source: loud.clone(), ..batch(seconds, &[]) };
        let of = |i: usize| Labels::new([("__name__", "m".to_string()), ("i", i.to_string())]);
        look.samples.extend((0..n).map(|i| Sample { labels: of(i), value: 1.0, at: None }));
        look.samples.push(sample("up", 1.0));
        look
    };
    let thirtieth = Selector { name: Some("m".into()), matchers: vec![Matcher::equal("i", "30")] };
    store.append(&look(15, 40));
    assert_eq!(samples(&store, "up").len(), 1, "the page came first and took all the room");
    assert!(!store.was_collected(&thirtieth, Timestamp(16_000)), "it is among those left out");
    assert_eq!(store.usage()[&loud].ceiling, Some(10));
    store.append(&look(30, 5));
    assert!(store.was_collected(&thirtieth, Timestamp(31_000)), "now everything had room");
}

#[test]
fn past_the_cap_on_bytes_the_loudest_gives_up_until_it_fits() {
    let mut store = Store::new(Limits { max_bytes: 400_000, ..Limits::default() });
    for i in 0..240 {
        store.append(&crowd("loud", i * 15, 300));
        store.append(&crowd("quiet", i * 15, 5));
        store.retain(Timestamp(i * 15_000));
    }
    let size = store.size();
    assert!(size.bytes <= 440_000, "{size:?}");
    assert_eq!(store.usage()[&SourceRef::new("prometheus", "quiet")].series, 5);
    assert!(store.usage()[&SourceRef::new("prometheus", "loud")].series > 30, "{:?}", store.usage());
}

#[test]
fn what_a_rule_reaches_back_for_is_held_coded_and_reads_the_same() {
    let mut store = Store::new(Limits { hot: Span::mins(10), ..Limits::default() });
    store.set_reach(vec![(by_name("a"), Span::hours(2))]);
    let value = |i: i64| (i % 7) as f64;
    for i in 0..1000 {
        store.append(&batch(i * 15, &[("a", value(i)), ("b", value(i))]));
        store.retain(Timestamp(i * 15_000));
    }
    let all: Vec<(i64, Option<f64>)> = samples(&store, "a");
    let expected: Vec<_> = (0..1000).map(|i| (i * 15, Some(value(i)))).collect();
    assert!(all.len() >= 480, "{}", all.len());
    assert!(all.len() < 480 + 300, "what is beyond the reach is forgotten: {}", all.len());
    assert_eq!(all, expected[1000 - all.len()..]);
    assert!(samples(&store, "b").len() < 60, "others are held for the hot window");
    let mut cursor = Cursor::default();
    let id = store.select(&by_name("a"))[0];
    let (times, _) = store.window(id, 9_000_000, 9_060_000, &mut cursor);
    assert_eq!(times, [9_015_000, 9_030_000, 9_045_000, 9_060_000]);
    store.shift(Span::secs(1));
    assert_eq!(samples(&store, "a")[0].0, all[0].0 + 1);
    store.set_reach(Vec::new());
    assert!(samples(&store, "a").len() < 300, "nobody reaches for it any more");
}

#[test]
fn labels_find_the_same_series_as_a_walk_over_all() {
    let mut store = Store::new(Limits { hot: Span::mins(1), ..Limits::default() });
    let look = |store: &mut Store, seconds: i64, codes: &[&str]| {
        let mut look = batch(seconds, &[]);
        for (path, code) in (0..40).flat_map(|path| codes.iter().map(move |code| (path, *code))) {
            let labels = Labels::new([("__name__", "m"), ("path", &format!("/{path}")), ("code", code)]);
            look.samples.push(Sample { labels, value: 1.0, at: None });
        }
        store.append(&look);
        store.retain(Timestamp(seconds * 1000));
    };
    look(&mut store, 0, &["200", "500"]);
    for i in 1..20 {
        look(&mut store, i * 15, &["200", "404"]);
    }
    let (is, not) = (Matcher::equal, Matcher::not_equal);
    for (name, matchers, n) in [
        (Some("m"), vec![is("path", "/7")], 2),
        (Some("m"), vec![is("path", "/7"), is("code", "404")], 1),
        (Some("m"), vec![is("code", "500")], 0),
        (Some("m"), vec![not("code", "200"), is("path", "/1")], 1),
        (None, vec![is("path", "/3")], 2),
        (None, vec![is("__name__", "m"), is("path", "/3")], 2),
        (Some("m"), vec![is("path", "/none")], 0),
        (Some("m"), vec![is("path", "")], 0),
        (Some("m"), vec![Matcher::regex("code", "4..").unwrap()], 40),
    ] {
        let selector = Selector { name: name.map(Into::into), matchers };
        let walked = store.select(&by_name("m")).into_iter().filter(|id| selector.matches(store.series(*id).labels()));
        let walked: Vec<SeriesId> = walked.collect();
        assert_eq!((store.select(&selector), walked.len()), (walked, n), "{selector}");
    }
}

#[test]
fn who_gives_a_series_is_told_when_it_changes() {
    let mut store = Store::new(Limits::default());
    let looks = [batch(15, &[("a", 1.0)]), batch(30, &[("a", 1.0)]), failed(45), batch(60, &[("a", 1.0)])];
    let mut changes = Vec::new();
    for look in looks {
        let (before, given) = (store.giving(), store.targets_of([&by_name("a")]).len());
        store.append(&look);
        let changed = store.targets_of([&by_name("a")]).len() != given;
        assert!(!changed || store.giving() != before, "at {:?}", look.at);
        changes.push(store.giving() != before);
    }
    assert_eq!(changes, [true, false, true, true]);
}

#[test]
fn a_target_that_is_no_longer_looked_at_ends() {
    let mut store = Store::new(Limits::default());
    let target = store.append(&batch(15, &[("a", 1.0), ("b", 2.0)])).target;
    let mut ended = Vec::new();
    store.end_target(target, Timestamp(20_000), &mut |labels, at, value| {
        ended.push((labels.name().to_string(), at.0, is_stale(value)));
    });
    assert_eq!(ended, [("a".to_string(), 20_000, true), ("b".to_string(), 20_000, true)]);
    assert_eq!(store.targets_of([&by_name("a")]), []);
    store.append(&batch(30, &[("a", 3.0)]));
    assert_eq!(samples(&store, "a"), [(15, Some(1.0)), (20, None), (30, Some(3.0))]);
}

#[test]
fn older_samples_come_in_before_what_is_held() {
    let mut store = Store::new(Limits::default());
    store.set_reach(vec![(by_name("a"), Span::hours(2))]);
    store.append(&batch(3600, &[("a", 1.0), ("b", 1.0)]));
    let old = |name: &str| Stretch::new(sample(name, 0.0).labels, vec![15_000, 30_000, 3_600_000], vec![7.0, 8.0, 9.0]);
    store.insert_older(&old("a"));
    store.insert_older(&old("b"));
    store.insert_older(&old("c"));
    assert_eq!(samples(&store, "a"), [(15, Some(7.0)), (30, Some(8.0)), (3600, Some(1.0))]);
    assert_eq!(samples(&store, "b"), [(3600, Some(1.0))], "nobody reaches for it");
    assert!(store.select(&by_name("c")).is_empty());
    store.set_reach(vec![(by_name("c"), Span::hours(2))]);
    store.insert_older(&old("c"));
    assert_eq!(samples(&store, "c").len(), 3, "also of a series that is gone today");
}

#[test]
fn a_view_stays_as_it_is_while_the_store_goes_on() {
    let mut store = Store::new(Limits::default());
    store.append(&batch(15, &[("a", 1.0), ("b", 1.0)]));
    store.append(&batch(30, &[("a", 2.0), ("b", 2.0)]));
    let view = store.view([&by_name("a"), &by_name("a"), &by_name("zzz")]);
    store.append(&batch(45, &[("a", 3.0)]));
    store.shift(Span::secs(5));
    assert_eq!(view.series().len(), 1);
    assert_eq!((view.series()[0].times(), view.series()[0].values()), (&[15_000, 30_000][..], &[1.0, 2.0][..]));
    let older = Stretch::new(sample("a", 0.0).labels, vec![5_000, 15_000], vec![9.0, 9.0]);
    let view = view.with_older(vec![older]);
    assert_eq!(view.series()[0].values(), [9.0, 1.0, 2.0]);
    assert_eq!(samples(&store, "a"), [(20, Some(1.0)), (35, Some(2.0)), (50, Some(3.0))]);
}

#[test]
fn after_a_restart_what_a_target_no_longer_gives_ends_and_nothing_is_newborn() {
    let mut store = Store::new(Limits::default());
    let source = SourceRef::new("prometheus", SOURCE);
    let target = store.restore_target(&source, "i", Timestamp(30_000), Span::secs(15));
    for (name, times) in [("a", vec![15_000, 30_000]), ("b", vec![15_000, 30_000]), ("gone", vec![15_000])] {
        let values = times.iter().map(|_| 1.0).collect::<Vec<_>>();
        store.restore(target, &Stretch::new(sample(name, 0.0).labels, times, values));
    }
    store.restore_own("alerts", &Stretch::new(sample("ALERTS", 0.0).labels, vec![30_000], vec![1.0]));
    let appended = store.append(&batch(45, &[("a", 2.0), ("new", 5.0)]));
    assert_eq!((appended.stored, appended.ended), (2, 2));
    assert_eq!(samples(&store, "a"), [(15, Some(1.0)), (30, Some(1.0)), (45, Some(2.0))]);
    assert_eq!(samples(&store, "b"), [(15, Some(1.0)), (30, Some(1.0)), (45, None)]);
    assert_eq!(samples(&store, "gone"), [(15, Some(1.0)), (45, None)], "its own times may lie behind the look");
    assert_eq!(only(&store, "new").from_zero(), None, "what happened in between is not known");
    store.append_own(Timestamp(45_000), "alerts", &[]);
    assert_eq!(samples(&store, "ALERTS"), [(30, Some(1.0)), (45, None)]);
    assert_eq!(store.usage()[&source].series, 4);
}

/// One step of a history: how many seconds later, and which of five series with which of a few own times.
fn looks() -> impl Strategy<Value = Vec<(i64, Vec<(usize, i64)>)>> {
    let present = prop::collection::vec((0usize..5, prop_oneof![9 => Just(0i64), 1 => -40i64..40]), 0..6);
    prop::collection::vec((prop_oneof![9 => 1i64..60, 1 => -20i64..1], present), 1..60)
}

proptest! {
    #[test]
    fn a_store_reads_like_plain_lists_of_samples(history in looks()) {
        let mut store = Store::new(Limits { hot: Span::secs(400), ..Limits::default() });
        store.set_reach(vec![(by_name("m_1"), Span::hours(1))]);
        let mut plain: BTreeMap<String, Vec<(i64, u64)>> = BTreeMap::new();
        let (mut now, mut latest) = (1_000_000, 0);
        for (later, present) in history {
            now += later * 1000;
            latest = latest.max(now);
            let mut look = batch(0, &[]);
            look.at = Timestamp(now);
            look.samples = present.iter().map(|(i, own)| {
                let mut sample = sample(&format!("m_{i}"), now as f64);
                sample.at = (*own != 0).then_some(Timestamp(now + own * 1000));
                sample
            }).collect();
            store.append_recorded(&look, &mut |labels, at, value| {
                plain.entry(labels.name().to_string()).or_default().push((at.0, value.to_bits()));
            });
            store.retain(Timestamp(now));
            for (name, all) in &plain {
                let mut cursor = Cursor::default();
                let Some(id) = store.select(&by_name(name)).first().copied() else { continue };
                let since = latest - if name == "m_1" { 3_600_000 } else { 400_000 };
                let (times, values) = store.window(id, since, i64::MAX, &mut cursor);
                let held: Vec<(i64, u64)> = times.iter().copied().zip(values.iter().map(|v| v.to_bits())).collect();
                // Stale markers that follow one say nothing new.
                let told = |list: &[(i64, u64)]| {
                    let mut list = list.to_vec();
                    list.dedup_by(|later, before| later.1 == STALE_BITS && before.1 == STALE_BITS);
                    list
                };
                let mut expected: Vec<(i64, u64)> = all.iter().copied().filter(|(at, _)| *at > since).collect();
                let first = expected.first().map_or(i64::MAX, |(at, _)| *at);
                let held: Vec<_> = held.into_iter().filter(|(at, _)| *at >= first).collect();
                expected.retain(|(at, _)| *at > since);
                prop_assert_eq!(told(&held), told(&expected), "{} at {}", name, now);
            }
        }
    }
}
