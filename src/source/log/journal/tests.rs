//! The journal as a shell script gives it: one that dies, hangs, refuses, and writes what no journalctl writes.

use super::*;
use crate::base::Failure;
use crate::source::log::origin::Content;
use crate::sys::clock::{Stopwatch, pause};
use crate::sys::files::testing::Scratch;

const QUICK: Pace = Pace {
    retry: Span::millis(5),
    longest: Span::millis(20),
    refused: Span::millis(20),
    quiet: Span::secs(60),
    given: Span::millis(300),
    answer: Span::secs(10),
    steady: Span::secs(10),
};

struct Lab {
    scratch: Scratch,
    config: Config,
    n: u32,
}

impl Lab {
    fn new(name: &str, units: &[&str]) -> Lab {
        let scratch = Scratch::new(&format!("log-journal-{name}"));
        // A link, and no copy: a file that was written a moment ago may be open in a child of another test, and then it
        // cannot be started.
        let fake = std::path::Path::new(file!()).with_file_name("fake.sh").canonicalize().unwrap();
        let program = scratch.at("journalctl");
        std::os::unix::fs::symlink(fake, &program).unwrap();
        scratch.put("journal", b"");
        let units = units.iter().map(|unit| Unit::parse(unit).unwrap()).collect();
        Lab { scratch, config: Config { program, pace: QUICK, ..Config::new(units) }, n: 0 }
    }

    /// A unit writes a line.
    fn write(&mut self, unit: &str, text: &str) {
        self.n += 1;
        let n = self.n;
        self.line(&format!(
            r#"{{"__CURSOR":"s=a;i={n}","__REALTIME_TIMESTAMP":"{n}000","_SYSTEMD_UNIT":"{unit}.service","_TRANSPORT":"stdout","PRIORITY":"6","_PID":"5","MESSAGE":"{text}"}}"#
        ));
    }

    fn line(&self, json: &str) {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new().append(true).open(self.scratch.at("journal")).unwrap();
        file.write_all(format!("{}\t{json}\n", self.n).as_bytes()).unwrap();
    }

    fn set(&self, name: &str, text: &str) {
        self.scratch.put(name, text.as_bytes());
    }

    fn unset(&self, name: &str) {
        std::fs::remove_file(self.scratch.at(name)).unwrap();
    }

    fn n_calls(&self, with: &str) -> usize {
        let calls = if self.scratch.at("calls").exists() { self.scratch.text("calls") } else { String::new() };
        calls.lines().filter(|call| call.contains(with)).count()
    }

    /// A journal that was begun and has nothing to give yet.
    async fn begun(&self) -> Journal {
        let mut journal = Journal::new(self.config.clone());
        assert_eq!(next(&mut journal).await, Content::Well);
        journal
    }

    fn resumed(&self, saved: Saved) -> Journal {
        // As it comes back from the disk.
        let saved = serde_json::from_str(&serde_json::to_string(&saved).unwrap()).unwrap();
        Journal::resume(self.config.clone(), saved).unwrap()
    }
}

async fn next(journal: &mut Journal) -> Content {
    tokio::time::timeout(Span::secs(30).to_std(), journal.next()).await.expect("a piece comes in time").content
}

/// The text that comes until there are `n` lines of it, and what else came.
async fn read(journal: &mut Journal, n: usize) -> (String, Vec<Content>) {
    let (mut text, mut rest) = (String::new(), Vec::new());
    while text.lines().count() < n {
        match next(journal).await {
            Content::Lines(lines, _) => text.push_str(std::str::from_utf8(&lines).unwrap()),
            other => rest.push(other),
        }
    }
    (text, rest)
}

async fn text(journal: &mut Journal, n: usize) -> String {
    read(journal, n).await.0
}

/// Waits for a failure; what text came before it.
async fn failure(journal: &mut Journal) -> (Failure, String) {
    let mut text = String::new();
    loop {
        match next(journal).await {
            Content::Failed(failure) => return (failure, text),
            Content::Lines(lines, _) => text.push_str(std::str::from_utf8(&lines).unwrap()),
            _ => {}
        }
    }
}

#[tokio::test]
async fn the_first_start_begins_with_what_is_written_from_then_on() {
    let mut lab = Lab::new("first", &["shop"]);
    lab.write("shop", "old");
    let mut journal = lab.begun().await;
    lab.write("shop", "one");
    lab.write("other", "not ours");
    lab.write("shop", "two");
    assert_eq!(text(&mut journal, 2).await, "one\ntwo\n");
}

#[tokio::test]
async fn each_line_is_given_once_wherever_it_is_stopped_and_resumed() {
    let mut lab = Lab::new("once", &["shop"]);
    lab.write("other", "first of all");
    let mut saved = lab.begun().await.save();
    let mut found = String::new();
    for i in 0..8 {
        // Some are written while nobody reads, some while somebody does, some follow those of others.
        lab.write("shop", &format!("a{i}"));
        lab.write("other", "x");
        let mut journal = lab.resumed(saved);
        found += &text(&mut journal, 1).await;
        lab.write("shop", &format!("b{i}"));
        if i % 2 == 0 {
            found += &text(&mut journal, 1).await;
        }
        saved = journal.save();
        drop(journal);
    }
    lab.write("shop", "end");
    let mut journal = lab.resumed(saved);
    while !found.ends_with("end\n") {
        found += &text(&mut journal, 1).await;
    }
    let wanted: String = (0..8).map(|i| format!("a{i}\nb{i}\n")).collect();
    assert_eq!(found, wanted + "end\n");
}

#[tokio::test]
async fn a_restart_before_the_first_line_of_the_unit_loses_nothing() {
    for old in [true, false] {
        let mut lab = Lab::new(if old { "before" } else { "empty" }, &["shop"]);
        if old {
            lab.write("shop", "old");
            lab.write("other", "old");
        }
        let saved = lab.begun().await.save();
        lab.write("shop", "one");
        let mut journal = lab.resumed(saved);
        let (text, rest) = read(&mut journal, 1).await;
        assert_eq!((text.as_str(), rest), ("one\n", vec![Content::Well]));
    }
}

#[tokio::test]
async fn what_was_written_before_the_last_boot_is_caught_up_with_before_it_follows() {
    let mut lab = Lab::new("boot", &["shop"]);
    let saved = lab.begun().await.save();
    lab.write("shop", "one");
    assert_eq!(text(&mut lab.resumed(saved), 1).await, "one\n");
    let calls = lab.scratch.text("calls");
    let reading: Vec<_> = calls.lines().filter(|call| call.contains("--all")).collect();
    assert!(reading.iter().any(|call| !call.contains("--follow")), "{calls}");
    assert!(
        reading.iter().all(|call| call.contains("--unit=shop.service") && !call.contains("--after-cursor")),
        "{calls}"
    );
}

#[tokio::test]
async fn a_pattern_sees_units_that_come_later() {
    let mut lab = Lab::new("pattern", &["worker@*"]);
    lab.write("worker@1", "old");
    let mut journal = lab.begun().await;
    lab.write("worker@2", "new");
    lab.write("shop", "not ours");
    let piece = journal.next().await;
    assert_eq!((&*piece.place, piece.service.as_deref()), ("worker@2.service", Some("worker@2")));
    assert_eq!(lab.n_calls("--unit"), 0);
}

#[tokio::test]
async fn a_gap_is_told_where_the_position_is_gone() {
    let mut lab = Lab::new("gone", &["shop"]);
    lab.write("shop", "old");
    let saved = lab.begun().await.save();
    for text in ["lost", "two", "three"] {
        lab.write("shop", text);
    }
    let kept: Vec<String> = lab.scratch.text("journal").lines().skip(2).map(|line| format!("{line}\n")).collect();
    lab.set("journal", &kept.concat());
    let mut journal = lab.resumed(saved);
    assert!(matches!(next(&mut journal).await, Content::Gap(why) if why.contains("deleted")));
    let (text, rest) = read(&mut journal, 2).await;
    assert_eq!((text.as_str(), rest), ("two\nthree\n", vec![Content::Well]));
}

#[tokio::test]
async fn journalctl_that_dies_is_started_again_and_loses_nothing() {
    let mut lab = Lab::new("dies", &["shop"]);
    let mut journal = lab.begun().await;
    let mut found = Vec::new();
    for i in 0..5 {
        lab.write("shop", &format!("{i}"));
        found.push(read(&mut journal, 1).await);
        lab.set("die-once", "");
        lab.write("shop", &format!("{i} and more"));
        found.push(read(&mut journal, 1).await);
    }
    let text: String = found.iter().map(|(text, _)| text.as_str()).collect();
    let wanted: String = (0..5).map(|i| format!("{i}\n{i} and more\n")).collect();
    assert_eq!(text, wanted);
    assert!(found.iter().all(|(_, rest)| rest.is_empty()), "one death is nothing to tell: {found:?}");
}

#[tokio::test]
async fn the_second_death_is_told_and_so_is_the_recovery() {
    let mut lab = Lab::new("dead", &["shop"]);
    lab.set("die", "");
    let mut journal = lab.begun().await;
    let (first, _) = failure(&mut journal).await;
    assert_eq!(first.to_string(), "exit: journalctl ended (exit 1): Failed to iterate through journal: Bad message");
    assert_eq!(lab.n_calls("--all"), 2);
    lab.unset("die");
    lab.write("shop", "one");
    let (mut text, mut is_well) = (String::new(), false);
    while text.is_empty() || !is_well {
        // It works when it gives something while it follows.
        lab.write("shop", "more");
        match next(&mut journal).await {
            Content::Lines(lines, _) => text.push_str(std::str::from_utf8(&lines).unwrap()),
            Content::Well => is_well = true,
            Content::Failed(_) => assert!(!is_well),
            other => panic!("{other:?}"),
        }
    }
    assert!(text.starts_with("one\n"), "{text}");
}

#[tokio::test]
async fn one_that_is_started_again_and_has_nothing_to_give_is_well_after_a_while() {
    let mut lab = Lab::new("steady", &["shop"]);
    lab.config.pace.steady = Span::millis(100);
    lab.set("die", "");
    let mut journal = lab.begun().await;
    failure(&mut journal).await;
    lab.unset("die");
    let watch = Stopwatch::start();
    while next(&mut journal).await != Content::Well {
        assert!(watch.elapsed() < Span::secs(20));
    }
}

#[tokio::test]
async fn one_that_hangs_is_found_and_what_it_did_not_give_comes_once() {
    let mut lab = Lab::new("hangs", &["shop"]);
    lab.config.pace.quiet = Span::millis(800);
    lab.set("hang-once", "");
    let mut journal = lab.begun().await;
    lab.write("shop", "one");
    let (found, rest) = read(&mut journal, 1).await;
    assert_eq!((found.as_str(), rest), ("one\n", vec![]));
    lab.write("shop", "two");
    assert_eq!(text(&mut journal, 1).await, "two\n");
}

#[tokio::test]
async fn the_third_time_that_it_hangs_is_told() {
    let mut lab = Lab::new("hung", &["shop"]);
    lab.config.pace = Pace { quiet: Span::millis(800), given: Span::millis(100), ..QUICK };
    lab.set("hang", "");
    let mut journal = lab.begun().await;
    let (mut found, mut told) = (String::new(), None);
    while told.is_none() {
        assert!(lab.n < 100, "{found}");
        lab.write("shop", "x");
        match next(&mut journal).await {
            Content::Failed(failure) => told = Some(failure),
            Content::Lines(lines, _) => found.push_str(std::str::from_utf8(&lines).unwrap()),
            other => panic!("{other:?}"),
        }
    }
    let told = told.unwrap().to_string();
    assert!(told.starts_with("hang: journalctl runs and fails to give an entry"), "{told}");
    assert!(told.contains("journalctl --verify"), "{told}");
    assert!(found.lines().count() >= 2, "what it did not give is caught up with: {found}");
    lab.unset("hang");
    while next(&mut journal).await != Content::Well {
        lab.write("shop", "y");
    }
}

#[tokio::test]
async fn a_journal_that_cannot_even_be_asked_hangs() {
    let mut lab = Lab::new("asked", &["shop"]);
    lab.config.pace.answer = Span::secs(1);
    lab.set("hang-query", "");
    let mut journal = Journal::new(lab.config.clone());
    let (told, _) = failure(&mut journal).await;
    assert_eq!(told.to_string(), "hang: journalctl did not answer within 1s");
    assert_eq!(lab.n_calls("--lines=1"), 3);
}

#[tokio::test]
async fn while_nothing_is_written_the_position_moves_on_and_it_asks_less_and_less() {
    let mut lab = Lab::new("quiet", &["shop"]);
    lab.config.pace.quiet = Span::millis(800);
    lab.write("shop", "old");
    let mut journal = lab.begun().await;
    let before = journal.save();
    lab.write("other", "x");
    lab.write("other", "y");
    let watch = Stopwatch::start();
    while journal.save() == before {
        assert!(watch.elapsed() < Span::secs(20));
        tokio::select! {
            piece = journal.next() => panic!("{piece:?}"),
            () = pause(Span::millis(10)) => {}
        }
    }
    assert_eq!(journal.save().position, Position::At("s=a;i=3".into()));
    lab.write("shop", "new");
    assert_eq!(text(&mut journal, 1).await, "new\n");
}

#[tokio::test]
async fn a_journal_that_may_not_be_read_says_the_command_that_mends_it() {
    let lab = Lab::new("refused", &["shop"]);
    lab.set(
        "refuse",
        "Hint: You are currently not seeing messages from other users and the system.\n      Users in groups…\n",
    );
    let mut journal = Journal::new(lab.config.clone());
    let (told, _) = failure(&mut journal).await;
    assert_eq!(told.reason, "permission");
    assert!(told.detail.contains("usermod -aG systemd-journal "), "{told}");
    lab.set("refuse", "No journal files were found.\n");
    loop {
        let (told, _) = failure(&mut journal).await;
        if told.reason == "missing" {
            break assert!(told.detail.contains("Storage=none"), "{told}");
        }
    }
    lab.unset("refuse");
    while next(&mut journal).await != Content::Well {}
}

#[tokio::test]
async fn a_host_without_journalctl_says_what_to_read_instead() {
    let units = vec![Unit::parse("shop").unwrap()];
    let config = Config { program: "no-such-journalctl".into(), ..Config::new(units) };
    let (told, _) = failure(&mut Journal::new(config)).await;
    assert!(told.to_string().starts_with("missing: there is no no-such-journalctl in /usr/local/sbin:"), "{told}");
}

#[tokio::test]
async fn half_a_line_is_read_again_as_a_whole() {
    let mut lab = Lab::new("half", &["shop"]);
    lab.set("instead", r#"{"__CURSOR":"s=a;i=1","MESSAGE":"hal"#);
    let mut journal = lab.begun().await;
    lab.write("shop", "half");
    let (text, rest) = read(&mut journal, 1).await;
    assert_eq!((text.as_str(), rest, journal.tallies().strange()), ("half\n", vec![], 0));
}

#[tokio::test]
async fn what_is_no_entry_is_a_gap_and_is_counted() {
    let mut lab = Lab::new("garbage", &["shop"]);
    let mut journal = lab.begun().await;
    lab.n += 1;
    lab.line(r#"shop.service is no JSON"#);
    assert_eq!(next(&mut journal).await, Content::Gap("1 lines of journalctl were no entries".into()));
    lab.write("shop", "one");
    assert_eq!(text(&mut journal, 1).await, "one\n");
    // Once while it catches up, and once more while it follows, if it stands behind the position then.
    assert!((1..=2).contains(&journal.tallies().strange()), "{:?}", journal.tallies());
}

#[tokio::test]
async fn a_flood_comes_in_bounded_pieces_and_whole() {
    let mut lab = Lab::new("flood", &["shop"]);
    let saved = lab.begun().await.save();
    let journal: String = (1..=20_000)
        .map(|n| format!("{n}\t{{\"__CURSOR\":\"s=a;i={n}\",\"__REALTIME_TIMESTAMP\":\"{n}000\",\"_SYSTEMD_UNIT\":\"shop.service\",\"_TRANSPORT\":\"stdout\",\"_PID\":\"5\",\"MESSAGE\":\"line {n}\"}}\n"))
        .collect();
    lab.set("journal", &journal);
    lab.n = 20_000;
    let mut journal = lab.resumed(saved);
    let (mut found, mut n_pieces) = (String::new(), 0);
    while found.lines().count() < 20_000 {
        if let Content::Lines(lines, _) = next(&mut journal).await {
            assert!(lines.len() <= MAX_BYTES && lines.iter().filter(|byte| **byte == b'\n').count() <= MAX_ENTRIES);
            found.push_str(std::str::from_utf8(&lines).unwrap());
            n_pieces += 1;
        }
    }
    let wanted: String = (1..=20_000).map(|n| format!("line {n}\n")).collect();
    assert!(found == wanted, "each once and in order");
    assert!(n_pieces < 2000, "{n_pieces}");
}

#[tokio::test]
async fn a_wait_that_is_dropped_again_and_again_loses_nothing() {
    let mut lab = Lab::new("dropped", &["shop"]);
    let mut journal = Journal::new(lab.config.clone());
    let (mut found, mut n) = (String::new(), 0);
    let watch = Stopwatch::start();
    while found.lines().count() < 50 {
        assert!(watch.elapsed() < Span::secs(60));
        tokio::select! {
            biased;
            piece = journal.next() => if let Content::Lines(lines, _) = piece.content {
                found.push_str(std::str::from_utf8(&lines).unwrap());
            },
            // Shorter than any of its steps takes.
            () = pause(Span::millis(1)) => if journal.save().position != Position::Unset && n < 50 {
                lab.write("shop", &format!("{n}"));
                n += 1;
            },
        }
    }
    let wanted: String = (0..50).map(|n| format!("{n}\n")).collect();
    assert_eq!(found, wanted);
}

#[tokio::test]
async fn dropping_it_ends_journalctl() {
    let mut lab = Lab::new("ends", &["shop"]);
    let mut journal = lab.begun().await;
    lab.write("shop", "one");
    text(&mut journal, 1).await;
    let program = lab.config.program.display().to_string();
    let runs = || {
        let processes =
            std::fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path().join("cmdline")));
        let mut lines = processes.filter_map(|path| {
            let mut line = Vec::new();
            crate::sys::read::into(&path, &mut line, 64 << 10).ok()?;
            Some(String::from_utf8_lossy(&line).into_owned())
        });
        lines.any(|line| line.contains(&program) && line.contains("--follow"))
    };
    let watch = Stopwatch::start();
    while !runs() {
        assert!(watch.elapsed() < Span::secs(20));
        tokio::select! {
            piece = journal.next() => panic!("{piece:?}"),
            () = pause(Span::millis(5)) => {}
        }
    }
    drop(journal);
    let watch = Stopwatch::start();
    while runs() {
        assert!(watch.elapsed() < Span::secs(5));
        pause(Span::millis(5)).await;
    }
}

#[test]
fn a_position_that_is_none_is_refused() {
    let config = || Config::new(vec![Unit::parse("shop").unwrap()]);
    let read = |text: &str| Journal::resume(config(), serde_json::from_str(text).unwrap()).map(drop);
    assert_eq!(read(r#"{"format":1,"position":"unset"}"#), Ok(()));
    assert_eq!(read(r#"{"format":1,"position":"empty"}"#), Ok(()));
    assert_eq!(read(r#"{"format":1,"position":{"at":"s=1;i=2"}}"#), Ok(()));
    for cursor in ["", "x", "s=1 --flush", "s=\u{fc}"] {
        let text = format!(r#"{{"format":1,"position":{{"at":"{cursor}"}}}}"#);
        assert_eq!(read(&text), Err("the position in the journal is none".into()), "{cursor}");
    }
    let newer = read(r#"{"format":2,"position":"unset"}"#).unwrap_err();
    assert_eq!(newer, "the position in the journal has the format 2, and this version knows 1");
}
