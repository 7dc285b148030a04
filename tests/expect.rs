//! Expectations meet real answers, and texts and documents that are almost right.

use backstop::base::Timestamp;
use backstop::source::expect::{Expectation, Kind, Measure, Observation};

use crate::support::mutate;

const KINDS: [Kind; 5] = [Kind::Http, Kind::Command, Kind::Tcp, Kind::File, Kind::Signal];

const TEXTS: [&str; 16] = [
    "status in [200, 204, 3xx]",
    "time < 500ms",
    "header Location not matches '^/login'",
    "cert > 14d",
    "every json events[?@.domain == \"sensor\" && @.n > 1].state not in ['off', null]",
    "share json items[*].ok == true >= 95%",
    "any json $..name starts with \"a\\\"b\"",
    "json 'odd key'.x[0]['a.b'] is not empty",
    "json at > now - 5m",
    "len json a[1:5:2] > 2KiB",
    "exit in [0, 1]",
    "number \"queue length\" < 5",
    "version >= 3.11.0-rc1",
    "age < 25h",
    "mode <= 0640",
    "banner matches '^SSH-2'",
];

const DOCUMENTS: [&str; 4] = [
    r#"{"status": "healthy", "databases": {"influxdb": "connected", "sqlite": "connected"}, "at": "2025-10-28T09:41:07Z"}"#,
    r#"{"events": [{"domain": "sensor", "n": 2, "state": "on"}, {"domain": "light", "state": null}], "items": [{"ok": true}, {}]}"#,
    r#"[1, -2.5e3, 1e308, 18446744073709551615, "ü\u00fc\ud83d\ude00", [[[[[]]]]], {"": {"": 0}}, false]"#,
    r#"{"a": [0, 1, 2, 3, 4, 5], "odd key": {"x": [{"a.b": ""}]}, "name": "a\"bc", "queue length": 4, "v": "3.11.4"}"#,
];

/// Everything but the document.
fn seen(body: &[u8]) -> Observation<'_> {
    Observation {
        status: Some(200),
        seconds: Some(0.5),
        cert: Some(86_400.0),
        body: Some(body),
        exit: Some(1),
        exists: Some(true),
        writable: Some(false),
        age: Some(-5.0),
        size: Some(2048),
        mode: Some(0o100_640),
        open: Some(true),
        banner: Some(body),
        now: Timestamp(1_761_644_467_000),
        ..Observation::default()
    }
}

/// Holds every promise about a text that was read. Which kind reads it follows from the text, so that each input is read
/// once and all kinds meet many.
fn hold(text: &str, seen: &Observation<'_>) {
    let sum = text.bytes().fold(0usize, |sum, byte| sum + usize::from(byte));
    {
        let kind = KINDS[sum % KINDS.len()];
        match Expectation::parse(text, kind) {
            Ok(expectation) => {
                assert!(!expectation.label().is_empty() && !expectation.reason().is_empty());
                let again = Expectation::parse(expectation.text(), kind).expect("what was read is read again");
                assert_eq!(again.label(), expectation.label());
                let checked = expectation.check(seen);
                assert_eq!(checked, again.check(seen), "the same is judged alike");
                if let Err(why) = checked {
                    assert!(why.chars().count() <= 400 && !why.chars().any(char::is_control), "{why:?}");
                }
            }
            Err(wrong) => {
                assert!(text.get(wrong.range.clone()).is_some(), "{text:?}: {wrong:?}");
                assert!(!wrong.what.is_empty());
            }
        }
        if let Ok(measure) = Measure::parse(text, kind) {
            drop((measure.take(seen), measure.take_text(seen)));
        }
    }
}

#[test]
fn mutation_of_expectations() {
    let corpus: Vec<Vec<u8>> = TEXTS.iter().map(|text| text.as_bytes().to_vec()).collect();
    let answer = seen(DOCUMENTS[1].as_bytes());
    mutate::run("expectations", &corpus, |input| hold(&String::from_utf8_lossy(input), &answer));
}

#[test]
fn mutation_of_documents() {
    let corpus: Vec<Vec<u8>> = DOCUMENTS.iter().map(|text| text.as_bytes().to_vec()).collect();
    let expectations: Vec<Expectation> =
        KINDS.iter().flat_map(|kind| TEXTS.iter().flat_map(|text| Expectation::parse(text, *kind))).collect();
    assert!(expectations.len() > TEXTS.len(), "each text is one of some kind");
    let whole = Measure::parse("len json $", Kind::Http).expect("a value");
    mutate::run("documents", &corpus, |input| {
        let seen = seen(input);
        for expectation in &expectations {
            if let Err(why) = expectation.check(&seen) {
                assert!(why.chars().count() <= 400 && !why.chars().any(char::is_control), "{why:?}");
            }
        }
        // Whoever takes a document that is none, or refuses one within the bounds, judges by chance.
        let plain: Result<serde_json::Value, _> = serde_json::from_slice(input);
        let taken = seen.document();
        match (&plain, &taken) {
            (Ok(plain), Ok(taken)) => assert_eq!(plain, *taken),
            (Ok(_), Err(why)) => assert!(why.contains("nested deeper") || why.contains("more than"), "{why}"),
            (Err(_), Ok(_)) => assert!(input.starts_with(b"\xef\xbb\xbf"), "no document was taken"),
            (Err(_), Err(_)) => {}
        }
        if let (Ok(value), Some(length)) = (taken, whole.take(&seen)) {
            assert!(length as usize <= input.len(), "{value}");
        }
    });
}

#[test]
fn health_answers_of_real_applications_are_judged() {
    const HOME: &str = r#"{"status": "healthy", "websocket": "connected", "home_assistant": "authenticated",
        "databases": {"influxdb": "connected", "sqlite": "connected"}, "timestamp": "2025-10-28T09:41:00.123456+00:00"}"#;
    const DETAILED: &str = r#"{"status": "degraded", "services": {"cache": true, "database": false, "vector_store": true},
        "loaded": ["embedding", "llm"], "uptime_seconds": 86400.5, "memory_mb": 512}"#;
    const CONFIG: &str = r#"{"debug": false, "port": 8000, "log_level": "INFO", "api_key": "sk-hunter2"}"#;
    const BOTS: &str = r#"{"coordinator": "healthy", "bots": [{"name": "a", "port": 8001, "state": "idle", "failed": 0},
        {"name": "b", "port": 8002, "state": "busy", "failed": 2}, {"name": "c", "port": 8003, "state": "lost"}]}"#;
    const EVENTS: &str = r#"{"events": [{"domain": "sensor", "entity_id": "sensor.a", "context": {"id": "1"}},
        {"domain": "light", "entity_id": "light.b"}], "total": 2}"#;
    const REVISIONS: &str = r#"{"revision": "9f1c2ab", "head": "9f1c2ab", "tables": {"tasks": 1042, "users": 17}}"#;
    const CACHE: &str =
        r#"{"hit_rate": 0.863, "schema": {"version": 3, "migrated": true}, "connections": {"open": 12, "max": 50}}"#;
    for (body, text, wanted) in [
        (HOME, "json status == \"healthy\"", ""),
        (HOME, "json websocket == \"connected\"", ""),
        (HOME, "json home_assistant in [\"authenticated\"]", ""),
        (HOME, "every json databases.* == \"connected\"", ""),
        (HOME, "json timestamp is time", ""),
        (HOME, "json timestamp > now - 1m", ""),
        (HOME, "json timestamp > now - 5s", "saw \"2025-10-28T09:41:00.123456+00:00\""),
        (DETAILED, "json status in ['healthy', 'ok']", "saw \"degraded\""),
        (DETAILED, "every json services.* == true", "saw 2 of 3"),
        (DETAILED, "json loaded contains 'llm'", ""),
        (DETAILED, "json uptime_seconds > 1h", ""),
        (DETAILED, "json uptime_seconds > 7d", "saw 24 h"),
        (CONFIG, "json debug == false", ""),
        (CONFIG, "json log_level == 'DEBUG'", "saw \"INFO\""),
        (CONFIG, "json api_key missing", "saw something else (hidden)"),
        (BOTS, "len json bots == 3", ""),
        (BOTS, "none json bots[*].state == 'lost'", "saw 1 of 3"),
        (BOTS, "every json bots[*].failed == 0", "saw 1 of 3"),
        (BOTS, "share json bots[*].state in ['idle', 'busy'] >= 60%", ""),
        (BOTS, "every json bots[?@.state == 'busy'].port > 8000", ""),
        (EVENTS, "len json events > 0", ""),
        (EVENTS, "every json events[*].context.id exists", "saw 1 of 2"),
        (EVENTS, "share json events[*].context.id exists > 40%", ""),
        (REVISIONS, "json revision == '9f1c2ab'", ""),
        (REVISIONS, "json tables.tasks >= 1042", ""),
        (CACHE, "json hit_rate > 85%", ""),
        (CACHE, "json hit_rate > 90%", "saw 86.3 %"),
        (CACHE, "json schema.version == 3", ""),
        ("", "len body > 200", "saw a length of 0"),
        ("", "json status == 'healthy'", "this is no JSON: EOF while parsing a value at line 1 column 0"),
        ("<html>Bad gateway</html>", "body not contains 'Bad gateway'", "saw \"<html>Bad gateway</html>\""),
    ] {
        let expectation = Expectation::parse(text, Kind::Http).unwrap_or_else(|e| panic!("{text}: {e:?}"));
        let checked = expectation.check(&seen(body.as_bytes()));
        assert_eq!(checked.err().unwrap_or_default(), wanted, "{text}");
    }
    let python = Expectation::parse("version >= 3.11", Kind::Command).expect("a version");
    for (printed, good) in [("Python 3.10.12\n", false), ("Python 3.11.0\n", true), ("Python 3.9.2\n", false)] {
        assert_eq!(python.check(&seen(printed.as_bytes())).is_ok(), good, "{printed}");
    }
}
