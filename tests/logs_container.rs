//! The logs of containers: the readers of what an engine sends meet what is almost right, and a real engine is killed
//! while its containers write.
//!
//! The tests that begin with `outside_` start a Docker engine of their own, beside the one of the host, in a folder of
//! their own; they need `dockerd`, `containerd`, `docker` and a static `busybox`.

use std::collections::BTreeMap;

use backstop::base::Span;
use backstop::source::log::container::{Containers, Selection};
use backstop::source::log::origin::{Content, Piece};
use backstop::sys::clock::Stopwatch;
use backstop::sys::engine::frame::{Broken, Frames};
use backstop::sys::engine::objects::{MAX_OBJECT, Object, Objects};
use backstop::sys::engine::told::MAX_NAME;
use backstop::sys::engine::{Engine, told};

use crate::support::docker::{Docker, has_docker};
use crate::support::mutate::{self, Random};

const ID: &str = "3f2a91c07d213f2a91c07d213f2a91c07d213f2a91c07d213f2a91c07d213f2a";

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind, 0, 0, 0][..], &(payload.len() as u32).to_be_bytes(), payload].concat()
}

#[test]
fn frames_that_are_almost_right_give_no_more_than_came() {
    let entry = b"2026-11-21T17:24:00.123456789Z GET /health 200\n";
    let corpus = [
        [frame(1, entry), frame(2, entry), frame(1, b""), frame(0, b"x\n")].concat(),
        frame(2, &[b'x'; 300]),
        frame(3, b"the engine says why"),
        vec![1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, b'x'],
    ];
    mutate::run("engine-frames", &corpus, |input| {
        let read = |size: usize| {
            let (mut frames, mut got) = (Frames::default(), Vec::new());
            let ended = input.chunks(size).try_for_each(|piece| {
                frames.feed(piece, |part| {
                    if part.begins {
                        got.push((part.stream, Vec::new()));
                    }
                    got.last_mut().expect("a part follows a beginning").1.extend_from_slice(part.bytes);
                    Ok::<(), Broken>(())
                })
            });
            (got, ended)
        };
        let whole = read(input.len().max(1));
        assert!(whole.0.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() <= input.len());
        assert_eq!(read(1), whole, "how it is cut makes no difference");
        assert_eq!(read(7), whole);
    });
}

#[test]
fn lists_and_events_that_are_almost_right_are_refused_or_safe_to_show() {
    let element = format!(
        r#"{{"Id":"{ID}","Names":["/a/b","/shop-api-1"],"State":"running","Created":1700000000,"Labels":{{
        "com.docker.compose.project":"shop","com.docker.compose.service":"a\u001bpi","x":"{{\"["}}}}"#
    );
    let event = format!(
        r#"{{"status":"start","Type":"container","Action":"start","Actor":{{"ID":"{ID}","Attributes":{{
        "com.docker.compose.project":"shop","com.docker.compose.service":"api","name":"x"}}}},"timeNano":1}}"#
    );
    let inspected = format!(
        r#"{{"Id":"{ID}","State":{{"Running":true,"Restarting":false,"FinishedAt":"2026-11-21T17:24:00Z"}},
        "Config":{{"Tty":false,"Env":["A=B"]}},"HostConfig":{{"LogConfig":{{"Type":"json-file","Config":{{}}}}}}}}"#
    );
    let corpus: Vec<Vec<u8>> = [
        format!("[{element},{element}]\n"),
        "[]".into(),
        format!("{event}\n{event}\n"),
        inspected,
        format!("[{{\"a\":\"{}\"}}]", "x".repeat(MAX_OBJECT)),
    ]
    .map(String::into_bytes)
    .into();
    mutate::run("engine-objects", &corpus, |input| {
        let read = |size: usize| {
            let (mut objects, mut got) = (Objects::default(), Vec::new());
            let ended = input.chunks(size).try_for_each(|piece| {
                objects.feed(piece, |object| {
                    got.push(match object {
                        Object::Whole(text) => text.to_vec(),
                        Object::TooLong => Vec::new(),
                    });
                })
            });
            (got, ended.map(|()| objects.is_whole_list()))
        };
        let whole = read(input.len().max(1));
        assert_eq!(read(1 + input.len() / 3), whole, "how it is cut makes no difference");
        for json in whole.0.iter().map(Vec::as_slice).chain([input]) {
            let shown = |text: &str| assert!(text.len() <= MAX_NAME && !text.chars().any(char::is_control), "{text:?}");
            let listed = told::listed(json).ok();
            let happened = told::event(json).ok().flatten().map(|event| event.container);
            for container in listed.into_iter().chain(happened) {
                assert!(container.id.as_str().bytes().all(|b| b.is_ascii_hexdigit()));
                shown(&container.name);
                container.service.iter().for_each(|(project, service)| {
                    shown(project);
                    shown(service);
                });
            }
            if let Ok(inspected) = told::inspected(json) {
                shown(&inspected.driver);
                shown(&inspected.finished);
            }
        }
    });
}

fn reader(docker: &Docker) -> Containers {
    Containers::new(vec![Selection::parse("shop/*").unwrap()], Engine::new(Some(docker.address())))
}

/// The text of each stream, as service and stream.
type Texts = BTreeMap<(String, String), String>;

fn take(piece: Piece, texts: &mut Texts) {
    if let Content::Lines(text, _) = piece.content {
        let stream = piece.stream.rsplit('/').next().unwrap().to_string();
        let text = String::from_utf8(text).unwrap();
        texts.entry((piece.service.unwrap().to_string(), stream)).or_default().push_str(&text);
    } else if let Content::Gap(why) = piece.content {
        panic!("nothing is lost: {why}");
    }
}

/// A container writes without a pause, long lines among short ones. The reader is dropped
/// and begins again from what it saved, waits are given up, the engine is killed and started again. What was read is
/// what the engine has in its logs: each line once, in its order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outside_each_line_of_a_container_comes_once_whatever_is_killed() {
    if !has_docker() {
        return;
    }
    let mut docker = Docker::start("cl").await;
    docker.import();
    let mut containers = reader(&docker);
    // The first word: from here on whatever starts is new.
    assert_eq!(containers.next().await.content, Content::Well);
    let script = |n: usize| {
        format!(
            "i=0; while [ $i -lt {n} ]; do echo line $i; \
             if [ $((i%3)) = 0 ]; then echo error $i >&2; fi; \
             if [ $((i%97)) = 0 ]; then printf 'long %d %040000d\\n' $i $i; fi; \
             if [ $((i%20)) = 0 ]; then busybox usleep 20000; fi; i=$((i+1)); done; echo the end"
        )
    };
    docker.run("backstop-test-api", "api", &[], &script(12_000));
    let (mut texts, mut random, watch) = (Texts::new(), Random(3), Stopwatch::start());
    let (mut n_kills, mut n_restarts) = (0, 0);
    let is_over = |texts: &Texts| {
        ["api"].iter().all(|service| {
            texts.get(&(service.to_string(), "stdout".into())).is_some_and(|text| text.contains("the end"))
        })
    };
    while !is_over(&texts) {
        assert!(watch.elapsed() < Span::mins(4), "the end does not come: {containers:?}");
        let limit = Span::millis(random.below(40) as i64);
        if let Ok(piece) = tokio::time::timeout(limit.to_std(), containers.next()).await {
            take(piece, &mut texts);
        }
        if random.below(40) == 0 {
            let saved = serde_json::to_string(&containers.save()).unwrap();
            containers = reader(&docker);
            containers.resume(serde_json::from_str(&saved).unwrap()).unwrap();
            n_restarts += 1;
        }
        if n_kills < 4 && watch.elapsed() > Span::secs(3 + 3 * n_kills) {
            docker.kill().await;
            docker.start_again().await;
            n_kills += 1;
        }
    }
    // What else was written before the end, on the other stream.
    while let Ok(piece) = tokio::time::timeout(Span::secs(3).to_std(), containers.next()).await {
        take(piece, &mut texts);
    }
    let (out, err) = docker.docker(&["logs", "backstop-test-api"]);
    eprintln!("{n_kills} kills, {n_restarts} restarts, {} bytes", texts.values().map(String::len).sum::<usize>());
    assert!(n_kills > 0 && n_restarts > 5, "{n_kills} kills, {n_restarts} restarts");
    for ((service, stream), wanted) in [(("api", "stdout"), out), (("api", "stderr"), err)] {
        let got = texts.remove(&(service.to_string(), stream.to_string())).unwrap_or_default();
        let differs = got.lines().zip(wanted.lines()).position(|(got, wanted)| got != wanted);
        let near = |text: &str| -> Vec<String> {
            let from = differs.unwrap_or(0).saturating_sub(2);
            text.lines().skip(from).take(5).map(|line| format!("{line:.40}")).collect()
        };
        assert!(
            got == wanted,
            "{service}/{stream} differs at line {differs:?}: {} lines instead of {}: {:?} instead of {:?}",
            got.lines().count(),
            wanted.lines().count(),
            near(&got),
            near(&wanted),
        );
    }
}

/// A service that is made anew while nobody looks: the rest of the old one, then the new one. One whose log goes
/// nowhere is named. One that is removed is forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outside_a_service_is_followed_over_its_containers() {
    if !has_docker() {
        return;
    }
    let docker = Docker::start("cm").await;
    docker.import();
    let mut containers = reader(&docker);
    assert_eq!(containers.next().await.content, Content::Well);
    docker.run("backstop-test-1", "api", &[], "echo one; busybox sleep 300");
    let mut texts = Texts::new();
    let key = ("api".to_string(), "stdout".to_string());
    let watch = Stopwatch::start();
    let mut until = async |containers: &mut Containers, text: &str| {
        while !texts.get(&key).is_some_and(|all| all.ends_with(text)) {
            assert!(watch.elapsed() < Span::mins(2), "{text} does not come: {texts:?}");
            let piece = tokio::time::timeout(Span::secs(60).to_std(), containers.next()).await.unwrap();
            take(piece, &mut texts);
        }
        texts[&key].clone()
    };
    until(&mut containers, "one\n").await;
    let saved = containers.save();
    drop(containers);
    docker.docker(&["rm", "-f", "backstop-test-1"]);
    docker.run("backstop-test-2", "api", &[], "echo two; printf 'no end'");
    docker.docker(&["wait", "backstop-test-2"]);
    docker.docker(&["start", "backstop-test-2"]);
    docker.docker(&["wait", "backstop-test-2"]);
    docker.run("backstop-test-3", "api", &[], "echo three; busybox sleep 300");
    let mut containers = reader(&docker);
    containers.resume(saved).unwrap();
    let all = until(&mut containers, "three\n").await;
    assert_eq!(all, "one\ntwo\nno end\ntwo\nno end\nthree\n");

    docker.run("backstop-test-4", "quiet", &["--log-driver=none"], "echo nothing; busybox sleep 300");
    loop {
        let piece = tokio::time::timeout(Span::secs(60).to_std(), containers.next()).await.unwrap();
        if let Content::Failed(failure) = piece.content {
            assert_eq!((failure.reason, piece.service.as_deref()), ("driver", Some("quiet")), "{failure}");
            break;
        }
    }
    docker.docker(&["rm", "-f", "backstop-test-2", "backstop-test-3", "backstop-test-4"]);
    let watch = Stopwatch::start();
    while serde_json::to_string(&containers.save()).unwrap().contains("floor") {
        assert!(watch.elapsed() < Span::mins(1), "what is gone is forgotten");
        drop(tokio::time::timeout(Span::millis(100).to_std(), containers.next()).await);
    }
}
