//! What is added up, kept, taken, and shown.

use super::*;

#[test]
fn a_tally_goes_on_by_the_names_of_its_patterns() {
    let with = |patterns: &[(&str, &str)], values: &[(&str, &str)]| {
        let named = |all: &[(&str, &str)]| all.iter().map(|(n, t)| ((*n).to_string(), (*t).to_string())).collect();
        Plan::new(Wanted { patterns: named(patterns), values: named(values), ..wanted(Format::Auto, &[]) }).unwrap()
    };
    let before = with(&[("boom", "boom"), ("gone", "x")], &[("took", "took ([0-9]+)")]);
    let tally = read_all(&before, b"ERROR boom x took 7\nINFO boom\n");
    let kept = serde_json::to_string(&tally).unwrap();
    let after = with(&[("new", "y"), ("boom", "BOOM")], &[("took", "took ([0-9]+)"), ("more", "(z)")]);
    let tally = Tally::resume(&after, serde_json::from_str(&kept).unwrap()).unwrap();
    let names: Vec<(&str, u64)> = tally.matches().iter().map(|m| (m.name.as_str(), m.total)).collect();
    assert_eq!(names, [("new", 0), ("boom", 2)]);
    let values: Vec<(&str, Option<f64>)> = tally.values().iter().map(|v| (v.name.as_str(), v.value)).collect();
    assert_eq!(values, [("took", Some(7.0)), ("more", None)]);
    assert_eq!((tally.lines(Level::Error), tally.lines(Level::Info)), (1, 1));
}

#[test]
fn a_tally_of_another_version_is_refused() {
    let plan = plan(Format::Auto, &[]);
    let kept = serde_json::to_string(&Tally::new(&plan)).unwrap();
    let newer: Tally = serde_json::from_str(&kept.replace("\"v\":1", "\"v\":2")).unwrap();
    assert_eq!(Tally::resume(&plan, newer), Err(UnknownVersion(2)));
}

#[test]
fn the_last_number_counts_and_what_is_none_is_counted() {
    let mut wanted = wanted(Format::Auto, &[]);
    wanted.values = vec![("took".into(), r"took (\S+)".into()), ("maybe".into(), "x=(?:([0-9]+)|-)".into())];
    let plan = Plan::new(wanted).unwrap();
    let value = |text: &str| {
        let tally = read_all(&plan, text.as_bytes());
        (tally.values()[0].value, tally.broken_values())
    };
    for (text, expected) in [
        ("took 12.5\n", (Some(12.5), 0)),
        ("took -3\n", (Some(-3.0), 0)),
        ("took 1e3\n", (Some(1000.0), 0)),
        ("took 1\ntook 2\n", (Some(2.0), 0)),
        ("took 1\ntook 42ms\n", (Some(1.0), 1)),
        ("took 1,234\n", (None, 1)),
        ("took 1_000\n", (None, 1)),
        ("took inf\n", (None, 1)),
        ("took NaN\n", (None, 1)),
        ("x=-\n", (None, 0)),
    ] {
        assert_eq!(value(text), expected, "{text}");
    }
    let tally = read_all(&plan, b"2025-03-12 10:00:00 INFO took 4\n  took 5\n2025-03-12 10:00:09 INFO x\n");
    assert_eq!((tally.values()[0].value, tally.values()[0].at), (Some(5.0), Some(Timestamp(ARRIVED - 30_000))));
}

#[test]
fn the_last_lines_that_matter_are_shown() {
    let plan = plan(Format::Auto, &["slow"]);
    let mut text = String::from("INFO works\nINFO slow\n  at x\n\n  at y\nERROR broke\n");
    let shown = |text: &str| -> Vec<String> {
        let exhibits = read_all(&plan, text.as_bytes()).take_exhibits();
        exhibits.iter().map(|e| format!("{} {:?} {:?}", e.level, e.patterns, e.text)).collect()
    };
    assert_eq!(shown(&text), [r#"info ["p0"] "INFO slow\n  at x\n  at y""#, r#"error [] "ERROR broke""#]);
    for n in 0..30 {
        text.push_str(&format!("FATAL {n} slow\n"));
    }
    let last = shown(&text);
    assert_eq!((last.len(), last[0].as_str()), (10, r#"fatal ["p0"] "FATAL 20 slow""#));
    let long = format!("ERROR {}\n", "ü".repeat(900));
    let tally = read_all(&plan, long.as_bytes()).take_exhibits();
    assert!(tally[0].text.len() <= 1000 && tally[0].text.ends_with('…'), "{}", tally[0].text.len());
    let many = format!("ERROR x\n{}", "  y\n".repeat(100));
    assert_eq!(read_all(&plan, many.as_bytes()).take_exhibits()[0].text.lines().count(), 20);
}

#[test]
fn what_is_shown_is_harmless() {
    let plan = plan(Format::Auto, &[]);
    let line = b"ERROR \x1b[31mred\x1b[0m \x1b]0;title\x07 bell\x07 tab\tturn\xe2\x80\xaeed \xff\x9b31m\n";
    let exhibit = &read_all(&plan, line).take_exhibits()[0];
    assert_eq!(exhibit.text, "ERROR red 0;title\u{fffd} bell\u{fffd} tab turn\u{fffd}ed \u{fffd}\u{fffd}31m");
    assert_eq!((exhibit.place.as_str(), exhibit.at), ("/var/log/app.log", Timestamp(ARRIVED)));
}

#[test]
fn secrets_are_counted_and_never_shown() {
    let mut wanted = wanted(Format::Auto, &["login"]);
    wanted.secrets = vec![("key".into(), "AKIA[A-Z]{8}".into()), ("end".into(), r"\x01secret$".into())];
    wanted.redact = Arc::new(|text: &str| text.replace("hunter2", "***"));
    let plan = Plan::new(wanted).unwrap();
    let shown = |text: &str| {
        let mut tally = read_all(&plan, text.as_bytes());
        let totals: Vec<u64> = tally.matches().iter().map(|matches| matches.total).collect();
        (tally.take_exhibits().pop().map(|e| e.text).unwrap(), totals)
    };
    assert_eq!(shown("INFO login AKIAABCDEFGH hunter2\n"), ("INFO login *** ***".into(), vec![1, 1, 0]));
    assert_eq!(shown("INFO login\n  AKIAABCDEFGH\n"), ("INFO login\n  ***".into(), vec![1, 1, 0]));
    // An escape within it does not hide it from what hides it.
    assert_eq!(shown("ERROR AKIA\x1b[0mABCDEFGH hunt\x1b[1mer2\n").0, "ERROR AKIAABCDEFGH ***");
    assert_eq!(shown("INFO \x01secret\n"), ("(a line with end)".into(), vec![0, 0, 1]));
    // Where more was left out than looked at, its end may be half of a secret.
    let long = format!("ERROR {} hunter2\n", "hunter2".repeat(2400));
    let text = shown(&long).0;
    assert!(text.starts_with("ERROR ***") && !text.contains("hun"), "{text}");
}
