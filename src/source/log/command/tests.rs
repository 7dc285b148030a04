use super::*;
use crate::sys::files::testing::Scratch;
use crate::sys::process::Identity;

const QUICK: Pace = Pace { first: Span::millis(5), longest: Span::millis(20), soon: Span::secs(10) };

fn shell(script: &str) -> Command {
    let run = ["/bin/sh", "-c", script].map(String::from).to_vec();
    Command::new(Config { max_line: 20, pace: QUICK, ..Config::new(run) })
}

async fn next(command: &mut Command) -> (String, Content) {
    let piece = tokio::time::timeout(Span::secs(20).to_std(), command.next()).await.expect("a piece comes in time");
    (piece.stream.to_string(), piece.content)
}

/// Pieces up to the first that `is_last`.
async fn until(command: &mut Command, is_last: impl Fn(&Content) -> bool) -> Vec<(String, Content)> {
    let mut pieces = Vec::new();
    loop {
        pieces.push(next(command).await);
        if is_last(&pieces[pieces.len() - 1].1) {
            return pieces;
        }
    }
}

/// The lines of a stream in some pieces.
fn lines(pieces: &[(String, Content)], stream: &str) -> String {
    let of_stream = pieces.iter().filter(|(name, _)| name == stream);
    let lines = of_stream.filter_map(|(_, content)| match content {
        Content::Lines(lines, _) => Some(String::from_utf8_lossy(lines).into_owned()),
        _ => None,
    });
    lines.collect()
}

fn is_failed(content: &Content) -> bool {
    matches!(content, Content::Failed(_))
}

#[tokio::test]
async fn both_outputs_are_streams_of_whole_lines() {
    let mut command = shell("echo one; echo oops >&2; printf 'two\nthr'; sleep 0.05; printf ee; exec sleep 60");
    let first = [next(&mut command).await, next(&mut command).await, next(&mut command).await];
    assert_eq!(first.map(|(_, content)| content), [Content::Began, Content::Began, Content::Well]);
    let mut pieces = Vec::new();
    while lines(&pieces, "stdout") != "one\ntwo\n" || lines(&pieces, "stderr") != "oops\n" {
        pieces.push(next(&mut command).await);
    }
}

#[tokio::test]
async fn the_end_of_a_program_ends_its_streams_with_the_line_that_has_no_newline() {
    let mut command = shell("printf 'one\ntwo'");
    let mut pieces = Vec::new();
    while pieces.iter().filter(|(_, content)| *content == Content::Ended).count() < 2 {
        pieces.push(next(&mut command).await);
    }
    assert_eq!(lines(&pieces, "stdout"), "one\ntwo\n");
    // It is begun again.
    let again = until(&mut command, |content| *content == Content::Ended).await;
    assert_eq!((&again[0].1, lines(&again, "stdout").as_str()), (&Content::Began, "one\ntwo\n"));
}

#[tokio::test]
async fn a_line_that_is_too_long_is_cut_and_counted() {
    let mut command = shell("printf '%0100d\nshort\n%0100d' 1 2");
    let pieces = until(&mut command, |content| *content == Content::Ended).await;
    let zeros = "0".repeat(20);
    assert_eq!(lines(&pieces, "stdout"), format!("{zeros}\nshort\n{zeros}\n"));
    assert_eq!(command.n_cut(), 2);
}

#[test]
fn lines_are_the_same_however_they_come() {
    let text = b"one\n\ntwo two two two two two two two\nx\nrest";
    let wanted = "one\n\ntwo two t\nx\nrest\n";
    for size in 1..text.len() {
        let mut output = Lines::new("stdout", 9);
        let (mut found, mut n_cut) = (Vec::new(), 0);
        for chunk in text.chunks(size) {
            n_cut += output.take(chunk);
            found.extend(output.whole().unwrap_or_default());
        }
        found.extend(output.rest().unwrap_or_default());
        assert_eq!((String::from_utf8_lossy(&found).as_ref(), n_cut), (wanted, 1), "{size}");
        assert_eq!(output.rest(), None);
    }
}

#[tokio::test]
async fn one_that_ends_three_times_soon_after_its_start_is_a_failure_with_what_it_said() {
    let mut command = shell("echo 'no such topic' >&2; exit 4");
    let pieces = until(&mut command, is_failed).await;
    assert_eq!(pieces.iter().filter(|(_, content)| *content == Content::Ended).count(), 6);
    let Some((_, Content::Failed(failure))) = pieces.last() else { panic!("{pieces:?}") };
    let said =
        "exit: /bin/sh ended 3 times in a row within 10s of its start, at last with exit 4; it said: no such topic";
    assert_eq!(failure.to_string(), said);
}

#[tokio::test]
async fn one_that_runs_again_after_a_failure_is_well() {
    let scratch = Scratch::new("log-command-again");
    let script = format!("test -e {} && exec sleep 60; exit 1", scratch.at("go").display());
    let run = ["/bin/sh", "-c", &script].map(String::from).to_vec();
    let pace = Pace { soon: Span::millis(300), ..QUICK };
    let mut command = Command::new(Config { pace, ..Config::new(run) });
    until(&mut command, is_failed).await;
    scratch.put("go", b"");
    until(&mut command, |content| *content == Content::Well).await;
}

#[tokio::test]
async fn what_cannot_be_started_says_what_to_do() {
    let scratch = Scratch::new("log-command-start");
    let script = scratch.put("script", b"#!/bin/sh\n").display().to_string();
    for (program, why) in [
        ("no-such-program", "not-found: there is no `no-such-program` in /usr/local/sbin:"),
        ("/nowhere/program", "not-found: /nowhere/program is not there"),
        (&script, "permission: "),
        ("", "not-found: there is no `` in "),
    ] {
        let mut command = Command::new(Config { pace: QUICK, ..Config::new(vec![program.into()]) });
        for _ in 0..2 {
            let (_, content) = next(&mut command).await;
            let Content::Failed(failure) = content else { panic!("{content:?}") };
            assert!(failure.to_string().starts_with(why), "{failure}");
        }
    }
    let mut command = Command::new(Config::new(vec![script.clone()]));
    let (_, content) = next(&mut command).await;
    assert!(format!("{content:?}").contains(&format!("is not executable; chmod +x {script}")), "{content:?}");
}

#[tokio::test]
async fn a_wait_that_is_dropped_again_and_again_loses_no_line() {
    let mut command = shell("i=0; while [ $i -lt 300 ]; do echo $i; i=$((i+1)); done; exec sleep 60");
    let mut pieces = Vec::new();
    let watch = Stopwatch::start();
    while lines(&pieces, "stdout").lines().count() < 300 {
        assert!(watch.elapsed() < Span::secs(20));
        tokio::select! {
            biased;
            piece = command.next() => pieces.push((piece.stream.to_string(), piece.content)),
            () = tokio::task::yield_now() => {}
        }
    }
    let wanted: String = (0..300).map(|i| format!("{i}\n")).collect();
    assert_eq!(lines(&pieces, "stdout"), wanted);
}

#[tokio::test]
async fn dropping_it_ends_the_whole_group() {
    let mut command = shell("sleep 60 & echo $!; echo $$; wait");
    let mut pieces = Vec::new();
    while lines(&pieces, "stdout").lines().count() < 2 {
        pieces.push(next(&mut command).await);
    }
    let pids: Vec<String> = lines(&pieces, "stdout").lines().map(String::from).collect();
    let runs = |pid: &str| {
        let mut stat = Vec::new();
        let read = crate::sys::read::into(std::path::Path::new(&format!("/proc/{pid}/stat")), &mut stat, 4096);
        read.is_ok() && !String::from_utf8_lossy(&stat).contains(") Z ")
    };
    assert!(pids.iter().all(|pid| runs(pid)) && Identity::own().is_alive());
    drop(command);
    for pid in pids {
        let watch = Stopwatch::start();
        while runs(&pid) {
            assert!(watch.elapsed() < Span::secs(5), "{pid} lives");
            pause(Span::millis(5)).await;
        }
    }
}
