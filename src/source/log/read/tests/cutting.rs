//! Where a text is cut makes no difference, and neither does what its bytes are.

use super::*;

const LINES: &[&str] = &[
    "2025-03-12 10:00:0{n} ERROR [x] boom took 1{n} ms",
    "2025-03-12 10:00:0{n} INFO [x] works took {n}.5 ms",
    "  at boom {n}",
    "\tat x",
    "",
    "Traceback (most recent call last):",
    "  File \"x.py\", line {n}, in boom",
    "ValueError: bang {n}",
    "During handling of the above exception, another exception occurred:",
    "java.lang.Error: boom",
    "Caused by: x: bang",
    "\t... 2 more",
    "panic: boom",
    "goroutine {n} [running]:",
    "main.main()",
    "thread 'main' panicked at src/main.rs:{n}:5:",
    "note: boom",
    "{\"level\":\"error\",\"ts\":\"2025-03-12T10:00:0{n}Z\",\"m\":\"boom took 7 ms\"}",
    "{\"level\":\"info\"}",
    "{\"level\":\"info\",\"m\":\"bo",
    "level=warn msg=boom",
    "10.0.0.7 - - [12/Mar/2025:10:00:0{n} +0000] \"GET /boom HTTP/1.1\" 500 12",
    "took many ms",
    "\u{0}\u{1}boom",
    "bang",
    "}",
];

fn text(random: &mut Random) -> String {
    let mut text = String::new();
    for n in 0..random.below(60) {
        // JSON comes in runs.
        let line = if random.below(4) == 0 { LINES[18] } else { random.one(LINES) };
        text.push_str(&line.replace("{n}", &(n / 8).to_string()));
        text.push_str(["\n", "\n", "\r\n"][random.below(3)]);
    }
    text
}

fn plan_of(format: Format) -> Plan {
    let mut wanted = wanted(format, &["boom", "bang$", "^"]);
    wanted.values = vec![("took".into(), "took ([a-z0-9.]+) ms".into())];
    wanted.secrets = vec![("s".into(), "File".into())];
    Plan::new(wanted).unwrap()
}

#[test]
fn a_text_counts_the_same_wherever_it_is_cut() {
    let mut random = Random(11);
    for format in Format::ALL {
        let plan = plan_of(format);
        for _ in 0..300 {
            let text = text(&mut random);
            let mut whole = Tally::new(&plan);
            let mut end = StreamState::default();
            plan.read(&mut end, text.as_bytes(), seen(ARRIVED), &mut whole);
            whole.take_exhibits();
            let (mut tally, mut state) = (Tally::new(&plan), StreamState::default());
            let mut piece = String::new();
            for line in text.split_inclusive('\n') {
                piece.push_str(line);
                if random.below(3) == 0 {
                    plan.read(&mut state, piece.as_bytes(), seen(ARRIVED), &mut tally);
                    piece.clear();
                    state = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
                    tally =
                        Tally::resume(&plan, serde_json::from_str(&serde_json::to_string(&tally).unwrap()).unwrap())
                            .unwrap();
                }
            }
            plan.read(&mut state, piece.as_bytes(), seen(ARRIVED), &mut tally);
            tally.take_exhibits();
            assert_eq!((&tally, &state), (&whole, &end), "{text}");
        }
    }
}

#[test]
fn the_state_of_a_stream_is_small() {
    let plan = plan_of(Format::Auto);
    let mut state = StreamState::default();
    assert_eq!(serde_json::to_string(&state).unwrap(), "{\"j\":0}");
    plan.read(&mut state, b"ERROR boom File bang\n  at x\n", seen(ARRIVED), &mut Tally::new(&plan));
    let kept = serde_json::to_string(&state).unwrap();
    assert!(kept.len() < 200, "{kept}");
}

#[test]
fn other_patterns_do_not_take_over_what_an_event_counted() {
    let mut state = StreamState::default();
    let before = plan(Format::Auto, &["boom", "bang"]);
    before.read(&mut state, b"ERROR boom\n", seen(ARRIVED), &mut Tally::new(&before));
    let after = plan(Format::Auto, &["bang", "boom"]);
    let mut tally = Tally::new(&after);
    after.read(&mut state, b"  bang\n", seen(ARRIVED), &mut tally);
    assert_eq!(told(&tally), "p0 1");
}

#[test]
fn events_are_handed_over_whole() {
    let plan = plan_of(Format::Auto);
    let (mut state, mut tally) = (StreamState::default(), Tally::new(&plan));
    let mut events: Vec<String> = Vec::new();
    for text in ["  x\nERROR a\r\n  b\n\n  c\nINFO d\n", "\n", "  e\n", "INFO f"] {
        plan.read_events(&mut state, text.as_bytes(), seen(ARRIVED), &mut tally, &mut |event| {
            let text = event.text.escape_ascii();
            events.push(format!("{} {} {text}", event.level.as_str(), event.is_continued));
        });
    }
    assert_eq!(
        events,
        [
            "unknown false   x",
            r"error false ERROR a\r\n  b\n\n  c",
            "info false INFO d",
            "info true   e",
            "info false INFO f"
        ]
    );
}

#[test]
fn no_bytes_do_harm() {
    for format in Format::ALL {
        let seeds: Vec<Vec<u8>> = LINES.iter().map(|line| line.as_bytes().to_vec()).collect();
        let plan = plan_of(format);
        let (mut random, mut state) = (Random(3), StreamState::default());
        for i in 0..20_000 {
            let now = ARRIVED + i64::from(i);
            harm(&plan, &mut state, &mutated(&seeds, &mut random), now);
        }
    }
}

fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = random.one(seeds).clone();
    for _ in 0..random.below(5) {
        let at = random.below(input.len() + 1);
        match random.below(6) {
            0 => input.insert(at, random.below(256) as u8),
            1 => input.insert(at, *random.one(b"\0\n\"\\{}[]=:\x1b<>'")),
            2 => input.truncate(at),
            3 if at < input.len() => input[at] ^= 1 << random.below(8),
            4 => input.extend(random.one(seeds).iter().skip(random.below(20))),
            _ => drop(input.drain(..at)),
        }
    }
    input
}

fn harm(plan: &Plan, state: &mut StreamState, input: &[u8], now: i64) {
    let mut tally = Tally::new(plan);
    plan.read(state, input, seen(now), &mut tally);
    let lines = input.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let n_lines = lines.filter(|line| !line.is_empty()).count() as u64;
    let n_events: u64 = Level::ALL.iter().map(|level| tally.lines(*level)).sum();
    assert!(n_events <= n_lines && n_events + 1 >= n_lines.min(1), "{}", input.escape_ascii());
    // `^` matches every event, also one that was begun before.
    assert!((n_events..=n_events + 1).contains(&tally.matches()[2].total), "{}", input.escape_ascii());
    assert!(tally.last_line().is_none_or(|at| at <= Timestamp(now + 60_000)), "{}", input.escape_ascii());
    for exhibit in tally.take_exhibits() {
        assert!(exhibit.text.len() <= crate::base::Exhibit::MAX_TEXT, "{}", input.escape_ascii());
        assert!(!exhibit.text.chars().any(|c| c.is_control() && c != '\n'), "{:?}", exhibit.text);
    }
    let entry = Entry { message: input.to_vec(), level: None, at: Timestamp(now) };
    let mut tally = Tally::new(plan);
    plan.entry(&entry, "shop.service", &mut tally);
    let n_events: u64 = Level::ALL.iter().map(|level| tally.lines(*level)).sum();
    assert_eq!(n_events, n_lines.min(1), "{}", input.escape_ascii());
}

#[test]
fn long_lines_cost_what_short_ones_do() {
    let spent = |piece: &str, length: usize, plan: &Plan| {
        let line = format!("{}\n", piece.repeat(length / piece.len()));
        let text = line.repeat((1 << 20) / line.len());
        let before = cpu_nanos();
        read_all(plan, text.as_bytes());
        cpu_nanos() - before
    };
    for format in Format::ALL {
        let plan = plan_of(format);
        for piece in [
            "{\"",
            "{\"a\":",
            "[",
            "\"",
            "\\",
            "=",
            "a=",
            "level=x ",
            "\x1b[",
            "x.",
            "(",
            "ERROR_",
            "\u{e9}",
            "{\"log\":{\"level\":1,",
        ] {
            spent(piece, 400, &plan);
            let (short, long) = (spent(piece, 400, &plan), spent(piece, 60_000, &plan));
            assert!(
                long < short * 20 + 100_000_000,
                "{format:?} {piece:?}: {long} ns for long, {short} ns for short lines"
            );
        }
    }
}

#[test]
fn a_line_is_judged_as_if_no_other_had_been_like_it() {
    let plan = plan(Format::Auto, &[]);
    let begins = [
        "2025-03-12 10:00:00,001 INFO [app.orders:12] it is fine, and has nothing to say",
        "2025-03-12 INFO it is fine, and has nothing to say to anybody who may read it",
        "12 INFO it is fine, and has nothing to say",
        "Nov 21 10:00:00 host app[812]: ERROR it failed, and has more to say",
        "fatal INFO: it is fine, and has nothing to say",
        "Exception INFO: it is fine, and has nothing to say",
        r#"{"ts":"2025-03-12T10:00:00.123Z","level":"INFO","msg":"it is fine, and has nothing to say"}"#,
        r#"{"a":1,"s":7,"level":30,"time":1741773630000,"msg":"it is fine, and has nothing to say"}"#,
        r#"{"log":{"level":"1"},"severity":"warn","msg":"it is fine, and has nothing to say"}"#,
    ];
    let bytes = b"0123456789 -:/[](){}|\"\\.,=INFOerror\x1b\t";
    let mut random = Random(11);
    for _ in 0..4000 {
        let begin = random.one(&begins).as_bytes();
        let mut text = [begin, b"\n"].concat();
        for _ in 0..6 {
            let mut line = begin.to_vec();
            for b in line.iter_mut().filter(|b| b.is_ascii_digit()) {
                *b = b'0' + random.below(10) as u8;
            }
            for _ in 0..random.below(3) {
                let at = random.below(line.len().min(40));
                line[at] = *random.one(bytes);
            }
            text.extend(line);
            text.push(b'\n');
        }
        let (mut state, mut tally) = (StreamState::default(), Tally::new(&plan));
        for line in text.split_inclusive(|b| *b == b'\n') {
            plan.read(&mut state, line, seen(ARRIVED), &mut tally);
        }
        assert_eq!(told(&read_all(&plan, &text)), told(&tally), "{}", text.escape_ascii());
    }
}

#[test]
fn what_stands_behind_a_shape_may_be_part_of_what_stands_before() {
    let plan = plan(Format::Auto, &[]);
    for (first, second, level) in [
        ("12 INFO it is fine, and more", "12 5-03-12 ab:cd:e5 warn it is a time", Level::Warning),
        ("fatal INFO: it is fine, and more", "fatal error: it is not fine at all", Level::Fatal),
        ("Exception INFO: it is fine", "Exception in thread main it is not", Level::Error),
    ] {
        let tally = read_all(&plan, format!("{first}\n{second}\n").as_bytes());
        assert_eq!((tally.lines(Level::Info), tally.lines(level)), (1, 1), "{second}: {}", told(&tally));
    }
}
