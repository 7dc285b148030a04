//! What a reader of containers gives, against an engine that does what a test says.

use std::collections::BTreeMap;

use super::fake::{Fake, FakeEngine, id, now};
use super::*;
use crate::base::{Span, Timestamp};

/// How long a test waits at most.
const PATIENCE: Span = Span::secs(60);

fn wanted(texts: &[&str]) -> Vec<Selection> {
    texts.iter().map(|text| Selection::parse(text).unwrap()).collect()
}

fn reader(fake: &FakeEngine) -> Containers {
    Containers::new(wanted(&["shop/*"]), fake.engine())
}

/// The next piece.
async fn next(containers: &mut Containers) -> Piece {
    tokio::time::timeout(PATIENCE.to_std(), containers.next()).await.expect("a piece comes in time")
}

/// Takes pieces until one is `last`; all of them as people would write them.
async fn until(containers: &mut Containers, last: &str) -> Vec<String> {
    let mut got = Vec::new();
    loop {
        got.extend(shown(next(containers).await));
        if got.last().is_some_and(|text| text.contains(last)) {
            return got;
        }
        assert!(got.len() < 10_000, "{last} does not come: {:?}", &got[..20]);
    }
}

/// One text for each line, and for everything else.
fn shown(piece: Piece) -> Vec<String> {
    let number = |id: &str| usize::from_str_radix(id, 16).map_or(id.to_string(), |n| n.to_string());
    let stream = match piece.stream.split_once('/') {
        Some((id, stream)) => format!("{}/{stream}", number(id)),
        None => number(&piece.stream),
    };
    match piece.content {
        Content::Lines(text, _) => {
            let text = String::from_utf8(text).unwrap();
            assert!(text.ends_with('\n'), "{text}");
            text.lines().map(|line| format!("{stream}: {line}")).collect()
        }
        Content::Failed(failure) => vec![format!("{stream} failed: {failure}")],
        Content::Gap(why) => vec![format!("{stream} gap: {why}")],
        other => vec![format!("{stream} {other:?}")],
    }
}

/// Waits until the engine was asked for something.
async fn asked(fake: &FakeEngine, path: &str) {
    for _ in 0..6000 {
        if fake.world().requests.iter().any(|request| request.contains(path)) {
            return;
        }
        crate::sys::clock::pause(Span::millis(10)).await;
    }
    panic!("the engine was never asked for {path}");
}

/// A reader that stands at now: what comes later is new to it.
async fn begun(fake: &FakeEngine) -> Containers {
    let mut containers = reader(fake);
    until(&mut containers, "engine Well").await;
    containers
}

#[tokio::test]
async fn what_was_there_is_read_from_now_on_and_what_comes_from_its_beginning() {
    let fake = FakeEngine::start();
    fake.add(Fake::service(1, "shop", "api"));
    fake.add(Fake { name: "other".into(), service: None, ..Fake::service(2, "", "") });
    fake.write(1, Stream::Out, now() - 1_000_000_000, "old\n");
    let mut containers = reader(&fake);
    assert_eq!(until(&mut containers, "1/stderr Began").await, ["engine Well", "1/stdout Began", "1/stderr Began"]);
    fake.write(2, Stream::Out, now(), "not meant\n");
    fake.write(1, Stream::Out, now(), "one\n");
    fake.write(1, Stream::Err, now(), "two\n");
    let piece = next(&mut containers).await;
    assert_eq!(&*piece.place, "shop/api (000000000000)");
    assert_eq!(piece.service.as_deref(), Some("api"));
    assert!(matches!(piece.content, Content::Lines(_, Some(Timestamp(at))) if at > 1_700_000_000_000));
    let mut got = shown(piece);
    while got.len() < 2 {
        got.extend(shown(next(&mut containers).await));
    }
    got.sort();
    assert_eq!(got, ["1/stderr: two", "1/stdout: one"]);

    let mut young = Fake::service(3, "shop", "web");
    young.log = vec![super::fake::Entry { stream: Stream::Out, at: now(), text: b"hello\n".to_vec() }];
    fake.add(young);
    assert_eq!(until(&mut containers, "hello").await, ["3/stdout Began", "3/stderr Began", "3/stdout: hello"]);
    // What a program wrote last, without a newline, is a line when it has died.
    fake.write(3, Stream::Err, now(), "panic");
    fake.run(3, false);
    let ended = until(&mut containers, "3/stderr Ended").await;
    assert_eq!(ended, ["3/stderr: panic", "3/stdout Ended", "3/stderr Ended"]);
    fake.run(3, true);
    fake.write(3, Stream::Err, now(), "again\n");
    assert_eq!(until(&mut containers, "again").await, ["3/stdout Began", "3/stderr Began", "3/stderr: again"]);
    fake.remove(3);
    fake.write(1, Stream::Out, now(), "last\n");
    let mut rest = until(&mut containers, "3/stderr Ended").await;
    rest.retain(|text| !text.starts_with('1'));
    assert_eq!(rest, ["3/stdout Ended", "3/stderr Ended"]);
    for _ in 0..100 {
        drop(tokio::time::timeout(Span::millis(1).to_std(), containers.next()).await);
    }
    assert_eq!(containers.save().containers.len(), 1, "what is gone is forgotten");
}

/// Writes lines with few different times, takes pieces, gives waits up, begins again from what was saved, kills the
/// engine: each line comes once, in the order of its stream.
#[tokio::test]
async fn a_container_that_says_nothing_is_there_and_one_that_is_not_is_missing() {
    use crate::source::common::{House, Outside};
    use crate::source::log::{Log, config};
    use crate::source::testing::{defaults, read};
    let fake = FakeEngine::start();
    fake.add(Fake::service(1, "shop", "api"));
    let house = House { engine: Some(fake.engine().address().to_string()), ..House::default() };
    let outside = Outside::of_process().of(house);
    for (table, is_there) in [("container = 'shop/*'", true), ("container = 'other/*'", false)] {
        let (config, problems) = read(table, |node, problems| config::Config::read("x", node, &defaults(), problems));
        assert_eq!(problems, [""; 0]);
        let outcome = Log::new(config.unwrap(), &outside).collect(Timestamp(1)).await.outcome;
        let is_missing = matches!(&outcome, crate::base::Outcome::Failed(failure) if failure.reason == "missing");
        assert_eq!((outcome == crate::base::Outcome::Good, is_missing), (is_there, !is_there), "{table}: {outcome:?}");
    }
}

#[tokio::test]
async fn each_line_comes_once_whatever_is_restarted() {
    let fake = FakeEngine::start();
    fake.add(Fake::service(1, "shop", "api"));
    fake.add(Fake { has_terminal: true, ..Fake::service(2, "shop", "tty") });
    let mut containers = begun(&fake).await;
    let mut random = Random(7);
    let (begin, n_lines) = (now() + 5_000_000, 1500);
    let mut got: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let (mut n_written, mut n_got) = (0, 0);
    while n_got < n_lines {
        for _ in 0..random.below(20) {
            if n_written == n_lines {
                break;
            }
            let stream = if random.below(3) == 0 { Stream::Err } else { Stream::Out };
            let n = 1 + random.below(2);
            let stream = if n == 2 { Stream::Out } else { stream };
            fake.write(n, stream, begin + (n_written / 7) as i64 * 1_000_000, &format!("line {n_written}\n"));
            n_written += 1;
        }
        match random.below(40) {
            0 => {
                let saved = serde_json::to_string(&containers.save()).unwrap();
                containers = reader(&fake);
                containers.resume(serde_json::from_str(&saved).unwrap()).unwrap();
            }
            1 if n_got % 3 == 0 => fake.kill(),
            _ => {}
        }
        let limit = Span::millis(random.below(30) as i64);
        if let Ok(piece) = tokio::time::timeout(limit.to_std(), containers.next()).await {
            for text in shown(piece).into_iter().filter(|text| text.contains(": line ")) {
                let (stream, line) = text.split_once(": line ").unwrap();
                got.entry(stream.to_string()).or_default().push(line.parse().unwrap());
                n_got += 1;
            }
        }
    }
    let mut all: Vec<usize> = got.values().flatten().copied().collect();
    all.sort_unstable();
    assert_eq!(all, (0..n_lines).collect::<Vec<_>>());
    for (stream, lines) in got {
        assert!(lines.is_sorted(), "{stream} is out of order: {lines:?}");
    }
}

#[tokio::test]
async fn what_came_and_went_while_nobody_looked_is_read_and_the_old_before_the_new() {
    let fake = FakeEngine::start();
    fake.add(Fake::service(1, "shop", "api"));
    let mut containers = begun(&fake).await;
    fake.write(1, Stream::Out, now(), "one\n");
    until(&mut containers, "one").await;
    let saved = containers.save();
    drop(containers);
    fake.write(1, Stream::Out, now(), "two\n");
    fake.run(1, false);
    for (n, is_running, text) in [(2, false, "three\n"), (3, true, "four\n")] {
        fake.add(Fake { created: now() / 1_000_000_000 + n as i64, is_running, ..Fake::service(n, "shop", "api") });
        fake.write(n, Stream::Out, now(), text);
    }
    let mut containers = reader(&fake);
    containers.resume(saved.clone()).unwrap();
    let got = until(&mut containers, "four").await;
    let lines: Vec<_> = got.iter().filter(|text| text.contains(": ")).collect();
    assert_eq!(lines, ["1/stdout: two", "2/stdout: three", "3/stdout: four"]);
    // Once more from what is saved now: nothing comes twice.
    let saved = containers.save();
    let mut containers = reader(&fake);
    containers.resume(saved).unwrap();
    asked(&fake, "/events").await;
    fake.write(3, Stream::Out, now(), "five\n");
    let got = until(&mut containers, "five").await;
    assert_eq!(got.iter().filter(|text| text.contains(": ")).collect::<Vec<_>>(), ["3/stdout: five"]);
}

#[tokio::test]
async fn what_is_meant_anew_is_read_from_now_on() {
    let fake = FakeEngine::start();
    let mut containers = begun(&fake).await;
    fake.add(Fake::service(1, "web", "front"));
    fake.write(1, Stream::Out, now() - 1_000_000_000, "old\n");
    let saved = containers.save();
    containers = Containers::new(wanted(&["shop/*", "web/*"]), fake.engine());
    containers.resume(saved).unwrap();
    until(&mut containers, "1/stderr Began").await;
    fake.write(1, Stream::Out, now(), "new\n");
    assert_eq!(until(&mut containers, "new").await, ["1/stdout: new"]);
}

#[tokio::test]
async fn a_log_that_was_rotated_away_is_told() {
    let fake = FakeEngine::start();
    fake.add(Fake::service(1, "shop", "api"));
    let mut containers = begun(&fake).await;
    fake.write(1, Stream::Out, now(), "one\n");
    until(&mut containers, "one").await;
    let saved = containers.save();
    drop(containers);
    fake.change(|world| world.containers[0].log.clear());
    fake.write(1, Stream::Out, now() + 1_000_000, "two\n");
    let mut containers = reader(&fake);
    containers.resume(saved).unwrap();
    let got = until(&mut containers, "two").await;
    assert!(got.iter().any(|text| text.starts_with("1/stdout gap: the engine threw lines")), "{got:?}");
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_told_once_and_found_again() {
    let fake = FakeEngine::start();
    fake.add(Fake::service(1, "shop", "api"));
    let missing = Engine::new(Some(crate::sys::engine::Address::Socket("/nowhere/x.sock".into())));
    let mut containers = Containers::new(wanted(&["shop/*"]), missing);
    let told = shown(next(&mut containers).await);
    assert!(told[0].starts_with("engine failed: missing: unix:///nowhere/x.sock is not there: start"), "{told:?}");
    assert!(tokio::time::timeout(Span::millis(1200).to_std(), containers.next()).await.is_err(), "it is told once");

    let mut containers = begun(&fake).await;
    until(&mut containers, "1/stderr Began").await;
    fake.set_down(true);
    let told = shown(next(&mut containers).await);
    assert!(told[0].starts_with("engine failed: broken: "), "{told:?}");
    fake.write(1, Stream::Out, now(), "meanwhile\n");
    fake.set_down(false);
    assert_eq!(until(&mut containers, "meanwhile").await, ["engine Well", "1/stdout: meanwhile"]);
}

#[tokio::test]
async fn answers_that_are_none_are_failures_and_not_more() {
    let long = "x".repeat(100);
    for (path, bytes, wanted) in [
        ("/version", "HTTP/1.0 200 X\r\n\r\n{}".to_string(), "protocol"),
        ("/version", "HTTP/1.0 200 X\r\n\r\n{\"ApiVersion\":\"1.24\"}".into(), "version"),
        ("/version", format!("HTTP/1.0 200 X\r\n\r\n{}", long.repeat(20_000)), "too-large"),
        ("/version", format!("HTTP/1.0 200 X\r\nx: {}\r\n\r\n", long.repeat(1000)), "too-large"),
        ("/version", "SSH-2.0-OpenSSH\r\n".into(), "protocol"),
        ("/version", String::new(), "broken"),
        ("/containers/json", "HTTP/1.0 200 X\r\n\r\n[{\"Id\":".into(), "broken"),
        ("/containers/json", "HTTP/1.0 200 X\r\n\r\n<html>".into(), "protocol"),
        ("/containers/json", "HTTP/1.0 500 X\r\n\r\n{\"message\":\"no\\nway\"}".into(), "status"),
        ("/events", "HTTP/1.0 200 X\r\n\r\n[1]".into(), "protocol"),
    ] {
        let fake = FakeEngine::start();
        fake.change(|world| world.instead = Some((path, bytes.clone().into_bytes())));
        let mut containers = reader(&fake);
        let told = until(&mut containers, "failed").await;
        let told = told.last().unwrap();
        assert!(told.starts_with(&format!("engine failed: {wanted}: ")), "{path} {:.60}: {told}", bytes);
        fake.change(|world| world.instead = None);
        until(&mut containers, "engine Well").await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_hangs_is_told() {
    let fake = FakeEngine::start();
    fake.change(|world| world.hangs = true);
    let mut containers = reader(&fake);
    let told = shown(next(&mut containers).await);
    assert!(told[0].starts_with("engine failed: timeout: "), "{told:?}");
    assert!(told[0].ends_with("does not answer within 10s"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_log_whose_end_does_not_come_is_read_again() {
    let fake = FakeEngine::start();
    fake.add(Fake::service(1, "shop", "api"));
    let mut containers = begun(&fake).await;
    fake.change(|world| world.stalls = true);
    fake.write(1, Stream::Out, now(), "last words");
    fake.run(1, false);
    let told = until(&mut containers, "1 failed").await;
    let said = "1 failed: timeout: the rest of the log of 000000000000 did not come within 20s";
    assert_eq!(told.last().map(String::as_str), Some(said));
    fake.change(|world| world.stalls = false);
    let told = until(&mut containers, "1/stdout: last words").await;
    assert!(told.contains(&"1 Well".to_string()), "{told:?}");
    assert_eq!(told.iter().filter(|text| text.contains("last words")).count(), 1, "{told:?}");
}

#[tokio::test]
async fn ten_thousand_containers_are_too_many_and_a_hostile_one_is_passed_over() {
    let fake = FakeEngine::start();
    fake.change(|world| {
        for n in 0..10_000 {
            world.containers.push(Fake { created: n as i64, ..Fake::service(n, "shop", "api") });
        }
        world.listed.push(format!("{{\"Id\":\"{}\",\"Labels\":{{\"a\":\"{}\"}}}}", id(1), "x".repeat(100_000)));
        world.listed.push("{\"Id\":\"../../x\"}".into());
    });
    let mut containers = reader(&fake);
    let told = until(&mut containers, "engine gap").await;
    let gap = told.last().unwrap();
    assert_eq!(
        gap,
        "engine gap: 9802 containers are not read, 2 of them because the engine describes them at too great a length"
    );
    let mut n_began = 0;
    while n_began < 2 * MAX_FOLLOWED {
        n_began += shown(next(&mut containers).await).iter().filter(|text| text.contains("Began")).count();
    }
    assert!(tokio::time::timeout(Span::millis(300).to_std(), containers.next()).await.is_err(), "no further one");
}

#[tokio::test]
async fn frames_that_are_none_fail_their_container_only_and_it_is_tried_again() {
    for bytes in [
        &[1u8, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, b'x'][..],
        b"<html>no log</html>",
        &[1, 0, 0, 0, 0, 0, 0, 4, b'a', b'b', b' ', b'\n'],
    ] {
        let fake = FakeEngine::start();
        fake.add(Fake::service(1, "shop", "api"));
        let answer = [b"HTTP/1.0 200 X\r\n\r\n", bytes].concat();
        fake.change(|world| world.instead = Some(("/logs", answer)));
        let mut containers = reader(&fake);
        let told = until(&mut containers, "failed").await;
        assert!(told.last().unwrap().starts_with("1 failed: protocol: the log of 000000000000: "), "{told:?}");
        fake.change(|world| world.instead = None);
        fake.write(1, Stream::Out, now(), "well\n");
        let told = until(&mut containers, "1/stdout: well").await;
        assert!(told.contains(&"1 Well".to_string()), "{told:?}");
    }
}

#[tokio::test]
async fn a_driver_that_cannot_be_read_is_named() {
    let fake = FakeEngine::start();
    fake.add(Fake { driver: "syslog".into(), ..Fake::service(1, "shop", "api") });
    let mut containers = reader(&fake);
    let told = until(&mut containers, "failed").await;
    let wanted = "1 failed: driver: its log goes to the driver `syslog`, from which the engine cannot read: ";
    assert!(told.last().unwrap().starts_with(wanted), "{told:?}");
    fake.kill();
    let quiet = tokio::time::timeout(Span::millis(1500).to_std(), containers.next()).await;
    assert!(quiet.is_err(), "it is told once: {quiet:?}");
}

#[tokio::test]
async fn an_event_that_is_too_long_is_as_good_as_a_list() {
    let fake = FakeEngine::start();
    let mut containers = begun(&fake).await;
    asked(&fake, "/events").await;
    fake.change(|world| world.containers.push(Fake::service(1, "shop", "api")));
    fake.write(1, Stream::Out, now(), "hello\n");
    fake.tell(format!("{{\"Type\":\"container\",\"Action\":\"start\",\"x\":\"{}\"}}\n", "x".repeat(100_000)));
    assert_eq!(until(&mut containers, "hello").await.last().unwrap(), "1/stdout: hello");
    let requests = fake.world().requests.join("\n");
    assert!(!requests.contains("exec") && requests.contains("%22start%22%2C%22die%22"), "{requests}");
}

#[tokio::test]
async fn lines_longer_than_they_may_be_are_cut_and_counted() {
    let fake = FakeEngine::start();
    fake.add(Fake::service(1, "shop", "api"));
    let mut containers = reader(&fake).with_max_line(20_000);
    until(&mut containers, "1/stderr Began").await;
    let (at, part) = (now(), "x".repeat(16 << 10));
    for text in [part.as_str(), part.as_str(), "end\n"] {
        fake.write(1, Stream::Out, at, text);
        fake.write(1, Stream::Err, at, "between\n");
    }
    fake.write(1, Stream::Out, at + 1, "next\n");
    let mut got = until(&mut containers, "1/stdout: next").await;
    got.retain(|text| text.starts_with("1/stdout"));
    assert_eq!(got.iter().map(String::len).collect::<Vec<_>>(), [20_010, "1/stdout: next".len()]);
    assert_eq!(containers.n_cut(), 1);
}

#[tokio::test]
async fn what_a_newer_program_saved_is_refused() {
    let fake = FakeEngine::start();
    let saved = serde_json::to_string(&reader(&fake).save()).unwrap();
    assert_eq!(saved, r#"{"format":1,"selections":["shop/*"],"first":null,"containers":[]}"#);
    let newer = serde_json::from_str(&saved.replace("\"format\":1", "\"format\":2")).unwrap();
    let error = reader(&fake).resume(newer).unwrap_err();
    assert_eq!(error, "the positions of containers have format 2, and 1 is known");
    // As format 1 has it: a field that is renamed breaks what hosts have on disk.
    let old = format!(
        r#"{{"format":1,"selections":["shop/*"],"first":5,"containers":[["{}",{{"floor":5,"reached":9,
        "finished":null,"out":{{"newest":9,"lines":[[9,77]]}},"err":{{"newest":0,"lines":[]}}}}]]}}"#,
        id(1)
    );
    let mut containers = reader(&fake);
    containers.resume(serde_json::from_str(&old).unwrap()).unwrap();
    assert_eq!(serde_json::to_string(&containers.save()).unwrap(), old.replace(['\n', ' '], ""));
}

/// Random numbers (xorshift64*).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as usize % bound
    }
}
