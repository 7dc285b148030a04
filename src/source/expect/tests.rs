use super::*;

const BODY: &str = r#"{
    "status": "ok", "up": true, "n": 5, "ratio": 0.25, "nothing": null, "size": 2048,
    "at": "2025-10-28T09:41:07Z", "api_token": "hunter2", "odd key": 1,
    "odd-key": {"0x": "a"}, "deep": {"a.b": [7]}, "schlüssel": "wert", "text5": "5", "numbers": [1, 2, null],
    "big": 18446744073709551615, "whole": 5.0,
    "databases": {"sqlite": "connected"}, "tags": ["a", "b"], "none": [],
    "events": [{"domain": "sensor", "n": 1}, {"domain": "light", "n": 2}, {"n": 3}]
}"#;

fn headers() -> HeaderMap {
    let pairs = [("location", "/login"), ("x-n", "7")];
    HeaderMap::from_iter(pairs.map(|(n, v)| (n.parse::<http::header::HeaderName>().unwrap(), v.parse().unwrap())))
}

fn seen(headers: &HeaderMap) -> Observation<'_> {
    Observation {
        status: Some(200),
        seconds: Some(0.5),
        body: Some(BODY.as_bytes()),
        headers: Some(headers),
        now: Timestamp(1_761_644_467_000 + 60_000),
        ..Observation::default()
    }
}

fn check(text: &str) -> Result<(), String> {
    Expectation::parse(text, Kind::Http).unwrap_or_else(|e| panic!("{text}: {e:?}")).check(&seen(&headers()))
}

fn measure(text: &str) -> Option<f64> {
    Measure::parse(text, Kind::Http).unwrap_or_else(|e| panic!("{text}: {e:?}")).take(&seen(&headers()))
}

#[test]
fn what_is_as_expected_holds() {
    for text in [
        "status == 200",
        "status==200",
        "status in [200, 204]",
        "status < 400",
        "time < 2s",
        "time <= 500ms",
        "header Location exists",
        "header X-Other missing",
        "header location matches '^/log'",
        "header x-n >= 7",
        "body contains \"sqlite\"",
        "len body > 200",
        "json databases.sqlite == \"connected\"",
        "json $.databases.sqlite == 'connected'",
        "json ['odd key'] == 1",
        "json status != \"down\"",
        "json up == true",
        "json up == 1",
        "json n > 4",
        "json n is integer",
        "json ratio is number",
        "json ratio < 30%",
        "json size >= 2KiB",
        "json nothing is null",
        "json nothing exists",
        "json absent missing",
        "json at > \"2025-01-01T00:00:00Z\"",
        "json at == 1761644467",
        "json tags contains \"a\"",
        "json tags is array",
        "len json tags == 2",
        "len json events[*] == 3",
        "len json status == 2",
        "json $ is object",
        "any json events[*].domain == \"light\"",
        "none json events[*].domain == \"door\"",
        "none json none[*].x exists",
        "every json events[*].n > 0",
        "any json events[*].domain missing",
        "every json events[?@.n < 3].domain exists",
        "any json ..domain == \"sensor\"",
        "share json events[*].domain exists >= 66%",
        "json events[1].domain in ['light', \"door\"]",
    ] {
        assert_eq!(check(text), Ok(()), "{text}");
    }
}

#[test]
fn what_is_not_says_what_was_seen() {
    for (text, seen) in [
        ("status == 503", "saw 200"),
        ("time < 100ms", "saw 500 ms"),
        ("json databases.sqlite == \"down\"", "saw \"connected\""),
        ("json absent == 1", "it is missing"),
        ("json absent != 1", "it is missing"),
        ("json tags == \"a\"", "saw a list of 2"),
        ("json events[*].n == 1", "saw 3 values; write `every`, `any` or `none` before it"),
        ("every json events[*].domain exists", "saw 2 of 3"),
        ("every json none[*].x exists", "saw no element at all"),
        ("none json events[*].domain == \"sensor\"", "saw 1 of 3"),
        ("share json events[*].domain exists > 90%", "saw 2 of 3"),
        ("share json events[*].n > 2 == 1", "saw 1 of 3"),
        ("share json none[*] exists >= 0%", "saw no element at all"),
        ("len json tags > 2", "saw a length of 2"),
        ("len json n > 2", "saw 5, which has no length"),
        ("json api_token == \"x\"", "saw something else (hidden)"),
        ("header location missing", "saw \"/login\""),
        ("json n == \"5\"", "saw 5"),
    ] {
        assert_eq!(check(text), Err(seen.to_string()), "{text}");
    }
}

#[test]
fn a_value_is_a_number_or_nothing() {
    for (text, wanted) in [
        ("json n", Some(5.0)),
        ("json up", Some(1.0)),
        ("json at", Some(1_761_644_467.0)),
        ("json status", None),
        ("json absent", None),
        ("json events[*].n", None),
        ("len json events", Some(3.0)),
        ("share json events[*].domain exists", Some(2.0 / 3.0)),
        ("share json none[*].x exists", None),
        ("any json events[*].n == 3", Some(1.0)),
        ("every json events[*].n == 3", Some(0.0)),
        ("time", Some(0.5)),
        ("status", Some(200.0)),
    ] {
        assert_eq!(measure(text), wanted, "{text}");
    }
    assert_eq!(Measure::parse("json n > 5", Kind::Http).unwrap_err().what, "nothing more was expected here");
}

#[test]
fn a_mistake_is_pointed_at() {
    for (text, part, what) in [
        ("statsu == 200", "statsu", "`statsu` is no subject"),
        ("", "", "a subject is missing"),
        ("status", "", "a condition is missing"),
        ("status is200", "is200", "`is200` is no condition"),
        ("status = 200", "= 200", "this is no condition"),
        ("status == 5s", "5s", "`5s` is no status"),
        ("status == \"200\"", "\"200\"", "this is compared with a number"),
        ("time < 2", "2", "`2` has no unit of time"),
        ("time < 2 bananas", "2", "`2` has no unit of time"),
        ("json a == connected", "connected", "`connected` is no value"),
        ("json a == \"open", "\"open", "the quote does not end"),
        ("json a > \"x\"", "\"x\"", "only numbers and times are more or less"),
        ("json a > true", "true", "only numbers and times are more or less"),
        ("json == 1", "== 1", "a path is missing"),
        ("json a in 5", "5", "a list is missing"),
        ("json a in [5", "", "`,` or `]` is missing"),
        ("json a matches '('", "'('", "this is no regular expression"),
        ("json a is text", "text", "`text` is no type"),
        ("json a exists really", "really", "nothing more was expected here"),
        ("every json a == 1", "json a", "this is one value, and nothing to count"),
        ("share json a[*] exists", "", "a share is held against a limit"),
        ("share json a[*] exists > 5s", "5s", "this is no share"),
        ("header == 1", "== 1", "the name of a header is missing"),
        ("len body > 5%", "5%", "`5%` is no size"),
    ] {
        let wrong = Expectation::parse(text, Kind::Http).unwrap_err();
        assert_eq!((&text[wrong.range.clone()], wrong.what.as_str()), (part, what), "{text}");
    }
    let bad = Expectation::parse("json a[ == 1", Kind::Http).unwrap_err();
    assert!(bad.what.starts_with("this is no path"), "{bad:?}");
}

#[test]
fn each_subject_has_its_own_label() {
    for (text, label) in [
        ("status == 200", "status"),
        ("json status == \"ok\"", "json status"),
        ("len body > 5", "body"),
        ("header Location missing", "header location"),
        ("json databases.sqlite exists", "databases.sqlite"),
    ] {
        assert_eq!(Expectation::parse(text, Kind::Http).unwrap().label(), label);
    }
}

#[test]
fn a_body_that_is_no_json_fails_and_depth_is_bounded() {
    for (body, what) in [("<html>".to_string(), "expected value"), ("[".repeat(100_000), "nested deeper than 64")] {
        let seen = Observation { body: Some(body.as_bytes()), ..Observation::default() };
        let failed = Expectation::parse("json a missing", Kind::Http).unwrap().check(&seen).unwrap_err();
        assert!(failed.starts_with("this is no JSON: ") && failed.contains(what), "{failed}");
    }
}

#[test]
fn no_text_makes_the_parser_panic() {
    const WORDS: [&str; 24] = [
        "json", "a[*]", "every", "==", "\"x", "'", "[", "]", "\\", "ü", "in", "5s", "status", " ", "..", "share", "$",
        "<", "matches", "is", ",", "[?@.a]", "{", "\u{0}",
    ];
    let mut state = 1u64;
    for _ in 0..5_000 {
        let mut text = String::new();
        for _ in 0..8 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(WORDS[(state >> 33) as usize % WORDS.len()]);
            if state & (1 << 40) == 0 {
                text.push(' ');
            }
        }
        if let Err(wrong) = Expectation::parse(&text, Kind::Http) {
            assert!(text.get(wrong.range).is_some(), "{text}");
        }
        drop(Measure::parse(&text, Kind::Http));
    }
}

/// What a program printed and how it ended.
fn output(text: &str) -> Observation<'_> {
    Observation { exit: Some(1), body: Some(text.as_bytes()), ..Observation::default() }
}

fn command(text: &str, seen: &Observation<'_>) -> Result<(), String> {
    Expectation::parse(text, Kind::Command).unwrap_or_else(|e| panic!("{text}: {e:?}")).check(seen)
}

#[test]
fn every_operator_holds_or_says_what_was_seen() {
    for (text, wanted) in [
        ("status == 2xx", Ok(())),
        ("status != 5xx", Ok(())),
        ("status in [3xx, 200]", Ok(())),
        ("status not in [4xx, 5xx]", Ok(())),
        ("status == 5xx", Err("saw 200")),
        ("status not in [2xx]", Err("saw 200")),
        ("json status not in ['down', 'degraded']", Ok(())),
        ("json absent not in ['down']", Err("it is missing")),
        ("json status starts with 'o'", Ok(())),
        ("json status ends with 'x'", Err("saw \"ok\"")),
        ("json status not contains 'x'", Ok(())),
        ("json status not matches '^o'", Err("saw \"ok\"")),
        ("json absent not matches 'x'", Err("it is missing")),
        ("json status is not empty", Ok(())),
        ("json status not is number", Ok(())),
        ("json none is empty", Ok(())),
        ("json absent is empty", Err("it is missing")),
        ("json nothing is empty", Err("saw null")),
        ("json at is time", Ok(())),
        ("json status is time", Err("saw \"ok\"")),
        ("json tags contains 'c'", Err("saw a list of 2")),
        ("json databases contains 'sqlite'", Ok(())),
        ("json n contains '5'", Err("saw 5")),
        ("json numbers contains 2", Ok(())),
        ("json numbers contains 5", Err("saw a list of 3")),
        ("json numbers contains null", Ok(())),
        ("body not contains 'Traceback'", Ok(())),
        ("header x-n is integer", Ok(())),
        ("header x-n == 7", Ok(())),
        ("json at > now - 5m", Ok(())),
        ("json at > now - 30s", Err("saw \"2025-10-28T09:41:07Z\"")),
        ("json at < now + 1h", Ok(())),
        ("json at <= now", Ok(())),
        ("json at == '2025-10-28T10:41:07+01:00'", Ok(())),
        ("json size == 2KiB", Ok(())),
        ("json size > 1GiB", Err("saw 2 KiB")),
        ("json ratio > 30%", Err("saw 25 %")),
        ("json n > 1m", Err("saw 5 s")),
        ("json n == 5e0", Ok(())),
        ("time < 250ms", Err("saw 500 ms")),
        ("cert > 14d", Err("it is missing")),
    ] {
        assert_eq!(check(text), wanted.map_err(str::to_string), "{text}");
    }
    let expiring = Observation { cert: Some(86_400.0 * 3.0), ..Observation::default() };
    let cert = |text: &str| Expectation::parse(text, Kind::Http).unwrap().check(&expiring);
    assert_eq!(cert("cert > 14d"), Err("saw 3 d".into()));
    assert_eq!(cert("cert > 2d"), Ok(()));
}

#[test]
fn a_value_of_another_type_is_never_equal_more_or_less() {
    for (text, wanted) in [
        ("json text5 == 5", false),
        ("json text5 != 5", true),
        ("json n == '5'", false),
        ("json n != '5'", true),
        ("json text5 > 4", false),
        ("json text5 < 6", false),
        ("json nothing == 0", false),
        ("json nothing != 0", true),
        ("json nothing == null", true),
        ("json nothing < 1", false),
        ("json n == null", false),
        ("json n != null", true),
        ("json absent != null", false),
        ("json absent missing", true),
        ("json nothing missing", false),
        ("json up == true", true),
        ("json up == 1", true),
        ("json up == 'true'", false),
        ("json n == true", false),
        ("json n in ['5', 5]", true),
        ("json n in ['5', null]", false),
        ("json tags == 'a'", false),
        ("json tags != 'a'", true),
        ("json tags > 0", false),
        ("json big == 18446744073709551615", true),
        ("json whole is integer", true),
    ] {
        assert_eq!(check(text).is_ok(), wanted, "{text}: {:?}", check(text));
    }
}

#[test]
fn many_values_are_counted_and_none_are_not_all() {
    for (text, wanted) in [
        ("every json none[*] == 1", Err("saw no element at all")),
        ("any json none[*] == 1", Err("saw no element at all")),
        ("none json none[*] == 1", Ok(())),
        ("every json absent[*] == 1", Err("saw no element at all")),
        ("none json absent[*] == 1", Ok(())),
        ("len json none[*] == 0", Ok(())),
        ("len json absent == 0", Err("it is missing")),
        ("len json absent[*] == 0", Ok(())),
        ("json events[*].domain exists", Ok(())),
        ("json events[*].absent missing", Ok(())),
        ("json events[?@.n == 1].domain == 'sensor'", Ok(())),
        ("json events[? @.n >= 1 && @.n < 3 ].n > 0", Err("saw 2 values; write `every`, `any` or `none` before it")),
        ("json events[-1].n == 3", Ok(())),
        ("every json events[0:2].domain exists", Ok(())),
        ("every json $..n is number", Ok(())),
        ("every json numbers[*] is number", Err("saw 2 of 3")),
    ] {
        assert_eq!(check(text), wanted.map_err(str::to_string), "{text}");
    }
}

#[test]
fn a_path_may_be_written_as_people_write_keys() {
    for text in [
        "json odd-key.0x == 'a'",
        "json 'odd key' == 1",
        "json \"odd key\" == 1",
        "json $['odd key'] == 1",
        "json $[\"odd key\"]==1",
        "json deep.'a.b'[0] == 7",
        "json $.deep['a.b'][0] == 7",
        "json schlüssel == 'wert'",
    ] {
        assert_eq!(check(text), Ok(()), "{text}");
    }
    for (text, part, what) in [
        ("json events.0.n == 1", "0", "`0` is no name"),
        ("json a..b..c == 1", "..c", "a path has one `..` at most"),
        ("every json a[?@..b == 1] exists", "?@..b == 1", "a filter holds no `..`"),
        ("every json a[?search(@.b, 'x')] exists", "?search(@.b, 'x')", "`search` is not available in a filter"),
        ("every json a[?@.b == $.c[*]] exists", "?@.b == $.c[*]", "a filter compares with a plain `$` path only"),
        ("json a. == 1", "", "this is no path: a name is missing"),
        ("json a['x == 1", "'x == 1", "the quote does not end"),
        ("json a[0 == 1", "[0 == 1", "this is no path: the bracket does not end"),
        ("json a]b == 1", "a]b", "this is no path: `a]b`"),
    ] {
        let wrong = Expectation::parse(text, Kind::Http).unwrap_err();
        assert_eq!((&text[wrong.range.clone()], wrong.what.as_str()), (part, what), "{text}");
    }
    // Plain words in a text of a filter are no functions and no steps.
    assert!(Expectation::parse("any json a[?@.b == 'search .. $ *'] exists", Kind::Http).is_ok());
    let nested = format!("json a{}@.b{} exists", "[?".repeat(9), "]".repeat(9));
    assert!(Expectation::parse(&nested, Kind::Http).unwrap_err().what.starts_with("more than 8 brackets"));
}

#[test]
fn a_path_that_gives_too_many_values_fails_instead_of_being_cut() {
    let body = format!("{{\"a\": [{}1]}}", "1,".repeat(MAX_ELEMENTS));
    let seen = Observation { body: Some(body.as_bytes()), ..Observation::default() };
    let failed = |text: &str| Expectation::parse(text, Kind::Http).unwrap().check(&seen);
    let wanted = Err(format!("saw more than {MAX_ELEMENTS} values"));
    assert_eq!(failed("every json a[*] == 1"), wanted);
    assert_eq!(failed("json a[*] exists"), wanted);
    assert_eq!(failed("none json a[*] == 2"), wanted);
    assert_eq!(failed("len json a == 10001"), Ok(()), "a list alone is one value");
}

#[test]
fn what_a_program_printed_is_text_numbers_and_a_version() {
    for (text, printed, wanted) in [
        ("exit in [0, 1]", "", Ok(())),
        ("exit == 0", "", Err("saw 1")),
        ("text == 'ok'", "ok\n", Ok(())),
        ("text contains 'done'", "all done\n", Ok(())),
        ("text is empty", "\n", Ok(())),
        ("text == 'ok'", "no\n", Err("saw \"no\"")),
        ("number < 24", "23\n", Ok(())),
        ("number < 24", "age of sqlite3: 25.5 h", Err("saw 25.5")),
        ("number == -1.5e3", "x=-1.5e3", Ok(())),
        ("number < 24", "none", Err("it is missing; the output begins \"none\"")),
        ("number failed == 0", "passed=184\nfailed: 0\n", Ok(())),
        ("number failed == 0", "passed=184 failed=2", Err("saw 2")),
        ("number \"queue length\" < 5", "queue length 4", Ok(())),
        ("number failed == 0", "unfailed=0", Err("it is missing; the output begins \"unfailed=0\"")),
        ("number exists", "5", Ok(())),
        ("version >= 3.11", "Python 3.11.4\n", Ok(())),
        ("version >= 3.11", "Python 3.9.18\n", Err("saw 3.9.18")),
        ("version == 2.3.3", "numpy-2.3.3", Ok(())),
        ("version == 2.3.3", "numpy 2.3.3+local", Ok(())),
        ("version < 2", "v2.0.0-rc1", Ok(())),
        ("version in [3.11, 3.12]", "3.12.0", Ok(())),
        ("version starts with '3.'", "3.12.0", Ok(())),
        ("json failed == 0", "{\"failed\": 0}", Ok(())),
        ("len text == 2", "ab\n", Ok(())),
        ("len body == 3", "ab\n", Ok(())),
    ] {
        assert_eq!(command(text, &output(printed)), wanted.map_err(str::to_string), "{text}");
    }
    let numbers = [("/".to_string(), 48.0), ("load 1".to_string(), 0.5)];
    let nagios = Observation { numbers: &numbers, number: Some(7.0), version: Some("1.2"), ..output("DISK OK 3 9.9") };
    for text in ["number / == 48", "number 'load 1' < 1", "number == 7", "version == 1.2"] {
        assert_eq!(command(text, &nagios), Ok(()), "{text}");
    }
    let measure = |text: &str| Measure::parse(text, Kind::Command).unwrap();
    assert_eq!(measure("number").take(&output("5 of 7")), Some(5.0));
    assert_eq!(measure("exit").take(&output("")), Some(1.0));
    assert_eq!(measure("version").take(&output("1.2")), None);
    assert_eq!(measure("version").take_text(&output("x 1.2 y")), Some("1.2".into()));
    assert_eq!(measure("json id").take_text(&output("{\"id\": 7}")), Some("7".into()));
    assert_eq!(measure("json id").take_text(&output("{\"id\": \"a b\"}")), Some("a b".into()));
    assert_eq!(measure("json id").take_text(&output("{\"id\": [7]}")), None);
}

#[test]
fn each_source_has_its_own_subjects() {
    for (kind, good, bad) in [
        (Kind::Http, "cert > 14d", "exit == 0"),
        (Kind::Command, "version >= 3.11", "status == 200"),
        (Kind::Signal, "json failed == 0", "age < 1h"),
        (Kind::Tcp, "banner matches '^SSH-2'", "exists"),
        (Kind::File, "mode <= 0640", "open"),
    ] {
        assert!(Expectation::parse(good, kind).is_ok(), "{good}");
        let wrong = Expectation::parse(bad, kind).unwrap_err();
        assert!(wrong.what.contains(&format!("is nothing that a source of kind {} sees", kind.name())), "{wrong:?}");
        assert_eq!(wrong.help, kind.subjects().join(", "));
        for subject in kind.subjects() {
            let word = subject.split(' ').next().unwrap();
            assert!(clause::WORDS.contains(&word), "{word}");
        }
    }
    let near = Expectation::parse("exsits", Kind::File).unwrap_err();
    assert_eq!(near.help, "did you mean `exists`?");
}

#[test]
fn what_is_shown_is_short_printable_and_no_secret() {
    let secret = |body: &str, text: &str| {
        let seen = Observation { body: Some(body.as_bytes()), ..Observation::default() };
        Expectation::parse(text, Kind::Http).unwrap().check(&seen).unwrap_err()
    };
    const HIDDEN: &str = "saw something else (hidden)";
    for (body, text, wanted) in [
        ("{\"password\": \"hunter2\"}", "json password == 'x'", HIDDEN),
        ("{\"a\": \"Bearer hunter2\"}", "json a == 'x'", "saw \"Bearer (hidden)\""),
        ("{\"a\": \"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9\"}", "json a == 'x'", "saw \"(hidden)\""),
        ("api_key=hunter2", "body == 'x'", "saw \"api_key=(hidden)\""),
        ("xoxb123456789012abcdefghijklmn", "body == 'x'", "saw \"(hidden)\""),
        ("NOAUTH Authentication required.", "body == 'PONG'", "saw \"NOAUTH Authentication required.\""),
    ] {
        assert_eq!(secret(body, text), wanted, "{body}");
    }
    for (text, printed, wanted) in [
        ("number < 3", "\n no such table \nx", "it is missing; the output begins \"no such table \""),
        ("number < 3", "token=hunter2", "it is missing; the output begins \"token=(hidden)\""),
        ("number token < 3", "hunter2", "it is missing"),
        ("number < 3", " ", "it is missing"),
        ("version > 3", "none", "it is missing; the output begins \"none\""),
    ] {
        assert_eq!(command(text, &output(printed)), Err(wanted.into()), "{text}");
    }
    let shown = secret("line one\n\u{1b}[31mred", "body == 'x'");
    assert_eq!(shown, "saw \"line one\\n\\u{1b}[31mred\"");
    let long = secret(&"ü ".repeat(500), "body == 'x'");
    assert!(long.chars().count() < 100 && long.ends_with("…\""), "{long}");
    // A commit is what people deploy and look for.
    assert!(secret("{\"c\": \"da39a3ee5e6b4b0d3255bfef95601890afd80709\"}", "json c == 'x'").contains("da39a3ee"));
    assert!(secret("\u{fffd}", "body matches '^x'").starts_with("saw "));
}

#[test]
fn mistakes_of_the_new_words_are_pointed_at() {
    for (kind, text, part, what) in [
        (Kind::Http, "status == 2x", "2x", "`2x` is no status"),
        (Kind::Http, "status > 2xx", "2xx", "a class is met or not"),
        (Kind::Http, "status matches '2'", "matches", "`matches` judges texts, and this is a number"),
        (Kind::Http, "json a not exists", "not exists", "`not` negates no such condition"),
        (Kind::Http, "json a starts 'x'", "", "`with` is missing"),
        (Kind::Http, "json a > now - 5", "5", "this is no duration"),
        (Kind::Http, "body contains 5", "5", "a text contains a text"),
        (Kind::Http, "len status > 5", "status", "this has no length"),
        (Kind::Http, "json a matches '(a{999}){999}'", "'(a{999}){999}'", "this is no regular expression"),
        (Kind::File, "mode == 0888", "0888", "`0888` is no mode"),
        (Kind::File, "age < 25", "25", "`25` has no unit of time"),
        (Kind::File, "size > 5s", "5s", "`5s` is no size"),
        (Kind::File, "exists true", "true", "nothing more was expected here"),
        (Kind::Command, "version >= new", "new", "`new` is no version"),
        (Kind::Command, "exit == 1s", "1s", "`1s` is no plain number"),
        (Kind::Tcp, "every open", "open", "this is one value, and nothing to count"),
    ] {
        let wrong = Expectation::parse(text, kind).unwrap_err();
        assert_eq!((&text[wrong.range.clone()], wrong.what.as_str()), (part, what), "{text}");
    }
    let large = Expectation::parse(&format!("json a == {}", "9".repeat(400)), Kind::Http).unwrap_err();
    assert!(large.what.ends_with("is too large"), "{large:?}");
    let long = format!("json a == '{}'", "x".repeat(MAX_TEXT));
    assert_eq!(Expectation::parse(&long, Kind::Http).unwrap_err().what, "this is longer than 1024 bytes");
}

#[test]
fn two_expectations_share_a_label_exactly_when_they_speak_of_the_same() {
    let label = |text: &str, kind| Expectation::parse(text, kind).unwrap().label();
    for (text, wanted) in [
        ("json status exists", "json status"),
        ("json $.status exists", "json status"),
        ("json cert exists", "json cert"),
        ("json exit exists", "json exit"),
        ("json $ is object", "$"),
        ("json $.a.b exists", "a.b"),
        ("cert > 1d", "cert"),
        ("len json a > 5", "a"),
    ] {
        assert_eq!(label(text, Kind::Http), wanted, "{text}");
    }
    assert_eq!(label("number queue < 5", Kind::Command), "number queue");
    assert_eq!(label("number < 5", Kind::Command), "number");
    assert_eq!(label("mode <= 0640", Kind::File), "mode");
}

#[test]
fn defaults_stand_in_where_nothing_is_written_about_them() {
    let read = |toml: &str, kind| {
        crate::source::testing::read(toml, |node, problems| {
            let mut table = crate::base::Table::open(node, "[x]", problems).unwrap();
            let all = read_expect(&mut table, kind, problems);
            all.iter().map(|e| e.text().to_string()).collect::<Vec<_>>()
        })
    };
    for (toml, kind, wanted) in [
        ("", Kind::Http, vec!["status == 2xx"]),
        ("expect = ['time < 1s']", Kind::Http, vec!["status == 2xx", "time < 1s"]),
        ("expect = ['time < 1s', 'status == 401']", Kind::Http, vec!["status == 401", "time < 1s"]),
        ("expect = 'number < 5'", Kind::Command, vec!["exit == 0", "number < 5"]),
        ("expect = ['closed']", Kind::Tcp, vec!["closed"]),
        ("expect = ['age < 1h']", Kind::File, vec!["exists", "age < 1h"]),
        ("expect = ['missing']", Kind::File, vec!["missing"]),
        ("", Kind::Signal, vec![]),
    ] {
        let (got, problems) = read(toml, kind);
        assert_eq!((got.iter().map(String::as_str).collect::<Vec<_>>(), problems), (wanted, vec![]), "{toml}");
    }
    for (toml, wanted) in [
        ("expect = 5".to_string(), "this takes a list of expectations"),
        ("expect = [5]".to_string(), "this takes an expectation"),
        (format!("expect = [{}]", "'exit == 0',".repeat(101)), "a source has at most 100 expectations"),
    ] {
        assert_eq!(read(&toml, Kind::Command).1, [wanted]);
    }
}

#[test]
fn a_judge_gives_one_sample_a_subject_and_the_first_failure() {
    use crate::source::common::{Common, Target};
    let (common, _) = crate::source::testing::read("", |node, problems| {
        let mut table = crate::base::Table::open(node, "[x]", problems).unwrap();
        Common::read("http", "api", &mut table, &crate::source::testing::defaults(), problems)
    });
    let target = Target::new(&common, "h:1".into());
    let parse = |text: &str| Expectation::parse(text, Kind::Http).unwrap();
    let expect = [parse("status == 2xx"), parse("json n > 1"), parse("json n < 3"), parse("json up == false")];
    let values = [("n".to_string(), Measure::parse("json n", Kind::Http).unwrap())];
    let judge = Judge::new(&expect, &values, &target, &[("step", "login")]);
    let (mut samples, headers) = (Vec::new(), headers());
    let outcome = judge.judge(&seen(&headers), &mut samples);
    let shown: Vec<String> = samples
        .iter()
        .map(|s| format!("{} {}{} {}", s.labels.name(), s.labels.get("expect"), s.labels.get("name"), s.value))
        .collect();
    let wanted = ["probe_expect_ok status 1", "probe_expect_ok n 0", "probe_expect_ok up 0", "probe_value n 5"];
    assert_eq!(shown, wanted);
    assert!(samples.iter().all(|s| s.labels.get("step") == "login"));
    let crate::base::Outcome::Failed(failure) = outcome else { panic!("it fails") };
    assert_eq!(failure.to_string(), "body: expected json n < 3, saw 5 (and 1 more: up)");
    let all = (0..7).map(|i| parse(&format!("json absent{i} exists")));
    let all: Vec<Expectation> = all.chain([parse("json up == false"), parse("json up == 7")]).collect();
    let outcome = Judge::new(&all, &[], &target, &[]).judge(&seen(&headers), &mut Vec::new());
    let crate::base::Outcome::Failed(failure) = outcome else { panic!("it fails") };
    let wanted = "(and 8 more: absent1, absent2, absent3, absent4, absent5, …)";
    assert!(failure.detail.ends_with(wanted), "{failure}");
    let long = [parse("json a exists"), parse(&format!("json {} exists", "x".repeat(500)))];
    let outcome = Judge::new(&long, &[], &target, &[]).judge(&seen(&headers), &mut Vec::new());
    let crate::base::Outcome::Failed(failure) = outcome else { panic!("it fails") };
    assert!(failure.detail.ends_with("xxx…)") && failure.detail.len() < 150, "{failure}");
    assert_eq!(judge.names(), ["probe_expect_ok", "probe_value"]);
}

#[test]
fn a_unit_behind_a_number_counts() {
    for (text, printed, wanted) in [
        ("number lag < 2m", "lag 90min", Err("saw 1 h 30 min")),
        ("number lag < 2m", "lag 90 min", Err("saw 1 h 30 min")),
        ("number lag < 2m", "lag 90sec", Ok(())),
        ("number < 1GiB", "2000MiB", Err("saw 2 GiB")),
        ("number used > 90%", "used=87%", Err("saw 87 %")),
        ("number used < 90%", "used 87%", Ok(())),
        ("number used < 90%", "used 87 %", Ok(())),
        ("number used < 90", "used 87%", Ok(())),
        ("number used < 80", "used 87%", Err("saw 87 %")),
        ("number used in [87, 88]", "used 87%", Ok(())),
        ("number lag < 1s", "lag=250ms", Ok(())),
        ("number lag < 100ms", "lag=250ms", Err("saw 250 ms")),
        ("number lag > 1h", "lag=1h30m", Ok(())),
        ("number lag < 1s", "lag=250", Err("saw 250, without a unit, which means 4 min 10 s")),
        ("number lag < 1s", "lag=0.5", Ok(())),
        ("number lag < 1GiB", "lag=250ms", Err("saw 250 ms, which is no size")),
        ("number size < 5m", "size=2MB", Err("saw 1.9 MiB, which is no duration")),
        ("number size < 5%", "size=2MB", Err("saw 1.9 MiB, which is no share")),
        ("number size != 5", "size=2MB", Err("saw 1.9 MiB, which has a unit: write one behind the limit too")),
        ("number size not in [5, 6]", "size=2MB", Err("saw 1.9 MiB, which has a unit: write one behind the limit too")),
        ("number lag == 0", "lag=0s", Ok(())),
        ("number lag > 0", "lag=3s", Ok(())),
        ("number == 7", "12abc 7", Ok(())),
        ("number exists", "12abc", Err("it is missing")),
        ("number exists", "1.5G", Err("it is missing")),
        ("number exists", "5ms2x", Err("it is missing")),
        ("number lag exists", "lag=12_3", Err("it is missing")),
        ("number < 10", "3 m of 4", Ok(())),
    ] {
        let got = command(text, &output(printed));
        match wanted {
            Ok(()) => assert_eq!(got, Ok(()), "{text} of {printed}"),
            Err(why) => assert!(got.as_ref().is_err_and(|e| e.starts_with(why)), "{text} of {printed}: {got:?}"),
        }
    }
    for (printed, wanted) in [
        ("87%", Some(0.87)),
        ("250ms", Some(0.25)),
        ("90min", Some(5400.0)),
        ("2KiB", Some(2048.0)),
        ("3 kB", Some(3.0)),
        ("1h30m", Some(5400.0)),
        ("12abc", None),
        ("7", Some(7.0)),
    ] {
        let measure = Measure::parse("number", Kind::Command).unwrap();
        assert_eq!(measure.take(&output(printed)), wanted, "{printed}");
    }
}

#[test]
fn a_mistake_of_a_unit_says_what_to_write() {
    for (kind, text, what, help) in [
        (Kind::File, "size > 1M", "`M` is no unit", "write 1MiB or 1MB"),
        (Kind::File, "size > 1.5G", "`G` is no unit", "write 1.5GiB or 1.5GB"),
        (Kind::File, "size > 1 MB", "a blank stands before the unit", "write 1MB without a blank"),
        (Kind::File, "size > 1 M", "a blank stands before the unit", "write 1MiB or 1MB"),
        (Kind::File, "size in [1MB, 2 MB]", "a blank stands before the unit", "write 2MB without a blank"),
        (Kind::File, "size > 1 bananas", "nothing more was expected here", "one subject, one condition"),
        (Kind::File, "age < 25", "`25` has no unit of time", "for example: 25h"),
        (Kind::Http, "cert > 14", "`14` has no unit of time", "for example: 14d"),
        (Kind::Http, "time < 2", "`2` has no unit of time", "for example: 2s"),
        (Kind::Http, "time < 500", "`500` has no unit of time", "for example: 500ms"),
        (Kind::Http, "time < 2 s", "a blank stands before the unit", "write 2s without a blank"),
        (Kind::Http, "cert > 5%", "`5%` has no unit of time", "for example: 14d"),
        (Kind::Command, "number used < 90 %", "a blank stands before the unit", "write 90% without a blank"),
        (Kind::Http, "status = 200", "this is no condition", "`==` compares; `>=` and `<=` begin with the other sign"),
    ] {
        let wrong = Expectation::parse(text, kind).unwrap_err();
        assert_eq!((wrong.what.as_str(), wrong.help.as_str()), (what, help), "{text}");
    }
}
