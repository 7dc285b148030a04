use std::path::{Path, PathBuf};

use super::segment::Name;
use super::*;
use crate::base::Span;
use crate::sys::blocks;
use crate::sys::files::{self, testing::Scratch};

const NOW: Timestamp = Timestamp(1_700_000_000_000);

const KEEP: Span = Span::hours(48);

fn record(at: Timestamp, text: &str) -> Record {
    Record::new(at, Level::Info, &"/var/log/shop.log".into(), text, None)
}

fn with_id(position: u64, text: &str) -> Record {
    let id = LineId { stream: u64::MAX, position };
    Record::new(NOW, Level::Info, &"/var/log/shop.log".into(), text, Some(id))
}

fn all() -> Query {
    Query { sources: Vec::new(), since: None, until: None, level: None, matcher: None, limit: 100_000 }
}

fn texts(folder: &Path, query: &Query) -> Vec<String> {
    search(folder, query).unwrap().events.into_iter().map(|kept| kept.text).collect()
}

/// The folder of all sources, and the one of `shop`.
fn folders(scratch: &Scratch) -> (PathBuf, PathBuf) {
    let folder = scratch.at("lines");
    let shop = folder.join("shop");
    (folder, shop)
}

fn segments(folder: &Path) -> Vec<String> {
    let mut all = blocks::names(folder).unwrap();
    all.sort();
    all
}

#[test]
fn what_is_kept_is_found_without_its_secrets() {
    let scratch = Scratch::new("kept");
    let (folder, shop) = folders(&scratch);
    let mut keeper = Keeper::open(&shop, KEEP).unwrap();
    let place: Arc<str> = "shop/api (3f2a)".into();
    let text = "login failed: password=hunter2\n  at Login.java:7\n";
    keeper.append(&[Record::new(NOW, Level::Error, &place, text, None)], NOW).unwrap();
    let found = search(&folder, &all()).unwrap();
    let kept = Kept {
        at: NOW,
        source: "shop".into(),
        level: Level::Error,
        place: "shop/api (3f2a)".into(),
        text: "login failed: password=***\n  at Login.java:7".into(),
    };
    assert_eq!((found.events, found.has_more, found.trouble), (vec![kept], false, vec![]));
    let raw = files::read_capped(&shop.join(format!("{}.jsonl", NOW.0)), 1 << 20).unwrap();
    assert!(!String::from_utf8(raw).unwrap().contains("hunter2"));
}

#[test]
fn every_condition_of_a_search_must_hold() {
    let scratch = Scratch::new("query");
    let (folder, shop) = folders(&scratch);
    let mut keeper = Keeper::open(&shop, KEEP).unwrap();
    let place: Arc<str> = "x".into();
    let lines =
        [(1, Level::Unknown, "one"), (2, Level::Warning, "two"), (3, Level::Error, "three"), (4, Level::Fatal, "four")];
    let records = lines.map(|(at, level, text)| Record::new(NOW + Span::secs(at), level, &place, text, None));
    keeper.append(&records, NOW).unwrap();
    let mut other = Keeper::open(&folder.join("other"), KEEP).unwrap();
    other.append(&[record(NOW + Span::secs(2), "other")], NOW).unwrap();
    let at = |s| Some(NOW + Span::secs(s));
    for (query, wanted) in [
        (all(), vec!["one", "two", "other", "three", "four"]),
        (Query { sources: vec!["shop".into()], ..all() }, vec!["one", "two", "three", "four"]),
        (Query { since: at(3), ..all() }, vec!["three", "four"]),
        (Query { until: at(1), ..all() }, vec!["one"]),
        (Query { level: Some(Level::Error), ..all() }, vec!["three", "four"]),
        (Query { matcher: Some(Matcher::Contains("o".into())), since: at(2), ..all() }, vec!["two", "other", "four"]),
        (Query { matcher: Some(Matcher::Regex(regex::Regex::new("^t").unwrap())), ..all() }, vec!["two", "three"]),
        (Query { limit: 2, ..all() }, vec!["three", "four"]),
    ] {
        let mut found = texts(&folder, &query);
        // Two sources are begun in no order.
        found.sort_by_key(|text| wanted.iter().position(|w| w == text));
        assert_eq!(found, wanted, "{query:?}");
    }
    assert!(search(&folder, &Query { limit: 2, ..all() }).unwrap().has_more);
}

#[test]
fn a_source_that_keeps_nothing_is_said() {
    let scratch = Scratch::new("nothing");
    let (folder, shop) = folders(&scratch);
    assert_eq!(search(&folder, &all()).unwrap_err().to_string(), "no lines are kept");
    let _keeper = Keeper::open(&shop, KEEP).unwrap();
    assert_eq!(search(&folder, &all()).unwrap_err().to_string(), "no lines are kept");
    for source in ["shop", "none", "../lines/shop", "", "."] {
        let error = search(&folder, &Query { sources: vec![source.into()], ..all() }).unwrap_err();
        assert_eq!(error.to_string(), format!("[log.{source}] keeps no lines"));
    }
}

#[test]
fn segments_are_sealed_by_age_and_go_when_all_they_hold_is_too_old() {
    let scratch = Scratch::new("age");
    let (folder, shop) = folders(&scratch);
    let mut keeper = Keeper::open(&shop, Span::hours(3)).unwrap();
    let hour = |n| NOW + Span::hours(n);
    for n in 0..3 {
        keeper.append(&[record(hour(n), &n.to_string())], hour(n)).unwrap();
    }
    let name = |began: i64, sealed: i64, most: i64| {
        format!("{}_{}_{}_{}.jsonl.gz", hour(began).0, hour(sealed).0, hour(began).0, hour(most).0)
    };
    let third = format!("{}.jsonl", hour(2).0);
    // The second line still goes into the segment of the first, and is what seals it.
    assert_eq!(segments(&shop), [name(0, 1, 1), third.clone()]);
    assert_eq!(texts(&folder, &all()), ["0", "1", "2"]);
    keeper.retain(hour(4)).unwrap();
    assert_eq!(segments(&shop), [name(0, 1, 1), name(2, 4, 2)]);
    keeper.retain(hour(4) + Span::millis(1)).unwrap();
    assert_eq!(segments(&shop), [name(2, 4, 2)]);
    assert_eq!(texts(&folder, &all()), ["2"]);
}

#[test]
fn a_segment_that_is_full_is_sealed_and_read_as_before() {
    let scratch = Scratch::new("size");
    let (folder, shop) = folders(&scratch);
    let mut keeper = Keeper::open(&shop, KEEP).unwrap();
    let long = "x".repeat(60_000);
    for i in 0..150 {
        keeper.append(&[record(NOW + Span::secs(i), &format!("{i} {long}"))], NOW).unwrap();
    }
    let names = segments(&shop);
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.iter().any(|name| name.ends_with(".gz")));
    let found = texts(&folder, &all());
    assert_eq!(found.len(), 150);
    assert!(found.iter().enumerate().all(|(i, text)| text.starts_with(&format!("{i} "))));
    let last = texts(&folder, &Query { limit: 3, ..all() });
    assert!(last.len() == 3 && last[0].starts_with("147 "));
}

#[test]
fn the_next_writer_goes_on_behind_the_last_whole_line() {
    let scratch = Scratch::new("torn");
    let (folder, shop) = folders(&scratch);
    let mut keeper = Keeper::open(&shop, KEEP).unwrap();
    keeper.append(&[record(NOW, "first"), record(NOW, "second")], NOW).unwrap();
    drop(keeper);
    let path = shop.join(format!("{}.jsonl", NOW.0));
    let whole = files::read_capped(&path, 1 << 20).unwrap();
    let second = whole.iter().position(|b| *b == b'\n').unwrap() + 1;
    for cut in second..whole.len() {
        files::replace(&path, &whole[..cut], 0o640).unwrap();
        assert_eq!(texts(&folder, &all()), ["first"], "cut {cut}");
        let mut keeper = Keeper::open(&shop, KEEP).unwrap();
        keeper.append(&[record(NOW, "third")], NOW).unwrap();
        assert_eq!(texts(&folder, &all()), ["first", "third"], "cut {cut}");
    }
}

#[test]
fn what_is_given_again_after_a_restart_is_kept_once() {
    let scratch = Scratch::new("again");
    let (folder, shop) = folders(&scratch);
    let batch = [with_id(0, "same"), with_id(5, "same"), with_id(10, "other")];
    let mut keeper = Keeper::open(&shop, KEEP).unwrap();
    keeper.append(&batch, NOW).unwrap();
    keeper.append(&batch[..1], NOW).unwrap();
    assert_eq!(texts(&folder, &all()).len(), 4, "without a restart nothing is left out");
    // Sealed or not, it is remembered.
    for now in [NOW, NOW + Span::hours(1)] {
        keeper.retain(now).unwrap();
        keeper = Keeper::open(&shop, KEEP).unwrap();
        keeper.append(&batch, now).unwrap();
        assert_eq!(texts(&folder, &all()).len(), 4);
    }
    keeper.append(&batch, NOW).unwrap();
    assert_eq!(texts(&folder, &all()).len(), 7, "once");
    keeper = Keeper::open(&shop, KEEP).unwrap();
    keeper.append(&[with_id(15, "new"), record(NOW, "same")], NOW).unwrap();
    assert_eq!(texts(&folder, &all()).len(), 9, "another place, or none: not the same");
}

#[test]
fn what_a_crash_leaves_of_a_sealing_is_tidied() {
    let scratch = Scratch::new("sealing");
    let (folder, shop) = folders(&scratch);
    let mut keeper = Keeper::open(&shop, KEEP).unwrap();
    keeper.append(&[record(NOW, "one")], NOW).unwrap();
    let live = shop.join(format!("{}.jsonl", NOW.0));
    let content = files::read_capped(&live, 1 << 20).unwrap();
    keeper.retain(NOW + Span::hours(1)).unwrap();
    drop(keeper);
    // Sealed, but the live one still there, and a draft of another.
    files::replace(&live, &content, 0o640).unwrap();
    files::replace(&shop.join("17.part"), b"half", 0o640).unwrap();
    assert_eq!(texts(&folder, &all()), ["one"]);
    let _keeper = Keeper::open(&shop, KEEP).unwrap();
    assert_eq!(segments(&shop).len(), 1);
    assert_eq!(texts(&folder, &all()), ["one"]);
}

#[test]
fn lines_that_cannot_be_kept_are_counted_and_tried_again() {
    let scratch = Scratch::new("refused");
    let (folder, shop) = folders(&scratch);
    let mut keeper = Keeper::open(&shop, KEEP).unwrap();
    std::fs::remove_dir(&shop).unwrap();
    let blocker = scratch.put("lines/shop", b"in the way");
    assert!(keeper.append(&[record(NOW, "a"), record(NOW, "b")], NOW).is_err());
    assert_eq!(keeper.lost(), 2);
    std::fs::remove_file(blocker).unwrap();
    keeper.append(&[record(NOW, "c")], NOW).unwrap();
    assert_eq!((keeper.lost(), texts(&folder, &all())), (2, vec!["c".into()]));
    // Somebody removes everything: the hour ends, and a new segment begins.
    std::fs::remove_dir_all(&shop).unwrap();
    assert!(keeper.retain(NOW + Span::hours(1)).is_err());
    keeper.append(&[record(NOW, "d")], NOW).unwrap();
    assert_eq!(texts(&folder, &all()), ["d"]);
}

#[test]
fn a_clock_that_is_set_back_neither_mixes_up_segments_nor_makes_many() {
    let scratch = Scratch::new("clock");
    let (folder, shop) = folders(&scratch);
    let mut keeper = Keeper::open(&shop, KEEP).unwrap();
    keeper.append(&[record(NOW, "before")], NOW).unwrap();
    let back = NOW - Span::hours(5);
    for i in 0..10 {
        keeper.append(&[record(back + Span::secs(i), "after")], back + Span::secs(i)).unwrap();
    }
    assert_eq!(segments(&shop).len(), 2, "{:?}", segments(&shop));
    assert_eq!(texts(&folder, &all()).len(), 11);
}

#[test]
fn damage_is_said_and_the_rest_is_found() {
    let scratch = Scratch::new("damage");
    let (folder, shop) = folders(&scratch);
    let mut keeper = Keeper::open(&shop, KEEP).unwrap();
    keeper.append(&[record(NOW, "good")], NOW).unwrap();
    let path = shop.join(format!("{}.jsonl", NOW.0));
    let mut content = files::read_capped(&path, 1 << 20).unwrap();
    let line = content.clone();
    content.extend_from_slice(b"{\"at\":1}\n\xff\n");
    content.extend(std::iter::repeat_n(b'x', segment::MAX_LINE + 1));
    content.push(b'\n');
    content.extend_from_slice(&line);
    files::replace(&path, &content, 0o640).unwrap();
    files::replace(&shop.join("1_2_3_9000000000000.jsonl.gz"), b"no gzip", 0o640).unwrap();
    let found = search(&folder, &all()).unwrap();
    assert_eq!(found.events.len(), 2);
    assert_eq!(found.trouble.len(), 2);
    assert!(found.trouble.iter().any(|why| why.ends_with("3 lines are damaged")), "{:?}", found.trouble);
    assert!(Keeper::open(&shop, KEEP).unwrap().append(&[record(NOW, "more")], NOW).is_ok());
    assert_eq!(texts(&folder, &all()).len(), 3);
}

#[test]
fn long_texts_are_cut_and_line_breaks_at_the_end_left_out() {
    let text = |text: &str| record(NOW, text).text;
    assert_eq!(text("a\r\n"), "a");
    let cut = text(&"é".repeat(MAX_TEXT));
    assert!(cut.ends_with("é…") && cut.len() == MAX_TEXT + '…'.len_utf8());
}

#[test]
fn names_are_read_as_they_are_written() {
    for name in ["1700000000000.jsonl", "1_2_3_4.jsonl.gz", "-5.jsonl"] {
        assert_eq!(Name::parse(name).map(|name| name.to_string()).as_deref(), Some(name));
    }
    for name in ["1.part", "1_2_3.jsonl.gz", "x.jsonl", "1.jsonl.gz", "1_2_3_4_5.jsonl.gz", ".jsonl"] {
        assert_eq!(Name::parse(name), None, "{name}");
    }
}
