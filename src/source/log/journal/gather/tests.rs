use super::super::entry::{Line, Scanner};
use super::*;

fn gather(units: &[&str]) -> Gather {
    let units = units.iter().map(|unit| Unit::parse(unit).unwrap()).collect();
    let own = Own { unit: Some("backstop.service".into()), pid: "999".into(), exe: Some("/usr/bin/backstop".into()) };
    Gather::new(units, own, Arc::default())
}

/// An entry at place `i`, with more fields.
fn json(i: u32, fields: &str) -> String {
    format!("{{\"__CURSOR\":\"s=a;i={i}\",\"__REALTIME_TIMESTAMP\":\"{i}000000\",{fields}}}\n")
}

fn printed(i: u32, pid: u32, text: &str) -> String {
    let fields = "\"_SYSTEMD_UNIT\":\"shop.service\",\"_TRANSPORT\":\"stdout\",\"PRIORITY\":\"6\"";
    json(i, &format!("{fields},\"_PID\":\"{pid}\",\"MESSAGE\":\"{text}\""))
}

fn take(gather: &mut Gather, text: &str) -> Vec<Taken> {
    let (mut scanner, mut bytes, mut taken) = (Scanner::new(100), text.as_bytes(), Vec::new());
    while let Some(line) = scanner.next(&mut bytes) {
        taken.push(match line {
            Line::Entry(entry) => gather.take(entry),
            Line::Strange => Taken::Strange,
        });
    }
    taken
}

/// What a program of the unit handed to the journal, as it leaves.
fn given(units: &[&str], fields: &str) -> Option<Piece> {
    let mut gather = gather(units);
    assert_eq!(take(&mut gather, &json(1, fields)), [Taken::New]);
    gather.pieces().pop_front().map(|(piece, _)| piece)
}

#[test]
fn what_one_process_prints_becomes_lines_and_another_process_another_piece() {
    let mut gather = gather(&["shop"]);
    let text = [
        printed(1, 7, "Traceback"),
        printed(2, 7, "  File x"),
        printed(3, 8, "fine"),
        printed(4, 7, "ValueError"),
        json(5, r#""_SYSTEMD_UNIT":"shop.service","_TRANSPORT":"stdout","PRIORITY":"3","_PID":"7","MESSAGE":"bad""#),
    ];
    take(&mut gather, &text.concat());
    let pieces = gather.pieces();
    let shown: Vec<_> = pieces.iter().map(|(piece, cursor)| (&*piece.stream, &piece.content, &**cursor)).collect();
    let lines = |text: &str, at: i64| Content::Lines(text.into(), Some(Timestamp(at)));
    let bad = origin::Entry { message: b"bad".to_vec(), level: Some(Level::Error), at: Timestamp(5000) };
    assert_eq!(
        shown,
        [
            ("shop.service/7", &lines("Traceback\n  File x\n", 2000), "s=a;i=2"),
            ("shop.service/8", &lines("fine\n", 3000), "s=a;i=3"),
            ("shop.service/7", &lines("ValueError\n", 4000), "s=a;i=4"),
            ("shop.service/7", &Content::Entries(vec![bad]), "s=a;i=5"),
        ]
    );
    assert_eq!((&*pieces[0].0.place, pieces[0].0.service.as_deref()), ("shop.service", None));
}

#[test]
fn the_entry_at_the_position_is_given_once() {
    let mut gather = gather(&["shop"]);
    gather.go_to(Some("s=a;i=2".into()));
    let text = [printed(2, 7, "old"), printed(3, 7, "new")].concat();
    assert_eq!(take(&mut gather, &text), [Taken::Known, Taken::New]);
    let (piece, _) = gather.pieces().pop_front().unwrap();
    assert_eq!(piece.content, Content::Lines(b"new\n".to_vec(), Some(Timestamp(3000))));
}

#[test]
fn the_entry_where_it_began_is_not_given_again_when_the_position_has_moved_on() {
    let mut gather = gather(&["shop"]);
    gather.go_to(Some("s=a;i=2".into()));
    gather.begin();
    gather.go_to(Some("s=a;i=5".into()));
    let text = [printed(2, 7, "old"), printed(6, 7, "new")].concat();
    assert_eq!(take(&mut gather, &text), [Taken::Known, Taken::New]);
    assert_eq!(gather.pieces().len(), 1);
}

#[test]
fn a_message_that_a_program_handed_over_keeps_its_priority() {
    for (priority, level) in [
        ("0", Some(Level::Fatal)),
        ("1", Some(Level::Critical)),
        ("2", Some(Level::Critical)),
        ("3", Some(Level::Error)),
        ("4", Some(Level::Warning)),
        ("5", Some(Level::Info)),
        ("6", Some(Level::Info)),
        ("7", Some(Level::Debug)),
        ("8", None),
        ("x", None),
    ] {
        let fields =
            format!(r#""_SYSTEMD_UNIT":"shop.service","_TRANSPORT":"syslog","PRIORITY":"{priority}","MESSAGE":"m\nn""#);
        let entry = origin::Entry { message: b"m\nn".to_vec(), level, at: Timestamp(1000) };
        assert_eq!(given(&["shop"], &fields).unwrap().content, Content::Entries(vec![entry]), "{priority}");
    }
}

#[test]
fn the_unit_of_an_entry_is_the_one_that_may_be_believed() {
    let core = "fc2e22bc6ee647b6b90729ab34a250b1";
    for (fields, place) in [
        (r#""_SYSTEMD_UNIT":"shop.service""#.to_string(), Some("shop.service")),
        (r#""_SYSTEMD_UNIT":"init.scope","_PID":"1","UNIT":"shop.service""#.into(), Some("shop.service")),
        (r#""_SYSTEMD_UNIT":"evil.service","_PID":"2","UNIT":"shop.service""#.into(), None),
        (r#""_SYSTEMD_UNIT":"x.service","_UID":"0","OBJECT_SYSTEMD_UNIT":"shop.service""#.into(), Some("shop.service")),
        (r#""_SYSTEMD_UNIT":"x.service","_UID":"7","OBJECT_SYSTEMD_UNIT":"shop.service""#.into(), None),
        (format!(r#""_UID":"0","MESSAGE_ID":"{core}","COREDUMP_UNIT":"shop.service""#), Some("shop.service")),
        (r#""_UID":"0","COREDUMP_UNIT":"shop.service""#.into(), None),
        (r#""_SYSTEMD_UNIT":"w@1.service","_SYSTEMD_SLICE":"work.slice""#.into(), Some("w@1.service")),
        (r#""_SYSTEMD_UNIT":"other.service""#.into(), None),
    ] {
        let piece = given(&["shop", "work.slice"], &format!(r#"{fields},"MESSAGE":"m""#));
        assert_eq!(piece.as_ref().map(|piece| &*piece.place), place, "{fields}");
    }
}

#[test]
fn several_units_are_several_services() {
    let fields = r#""_SYSTEMD_UNIT":"worker@3.service","_PID":"7","MESSAGE":"m""#;
    let piece = given(&["worker@*"], fields).unwrap();
    assert_eq!((&*piece.stream, piece.service.as_deref()), ("worker@3.service/7", Some("worker@3")));
    assert_eq!(given(&["worker@3"], fields).unwrap().service, None);
    assert_eq!(given(&["a", "b"], fields), None);
}

#[test]
fn what_this_process_wrote_is_left_out_and_counted() {
    for (fields, is_own) in [
        (r#""_SYSTEMD_UNIT":"backstop.service""#, true),
        (r#""_SYSTEMD_UNIT":"session-1.scope","_PID":"999""#, true),
        (r#""_SYSTEMD_UNIT":"s.scope","_EXE":"/usr/bin/backstop","SYSLOG_IDENTIFIER":"backstop""#, true),
        (r#""_SYSTEMD_UNIT":"s.scope","_EXE":"/usr/bin/backstop","SYSLOG_IDENTIFIER":"x""#, false),
        (r#""_SYSTEMD_UNIT":"init.scope","_PID":"1","UNIT":"backstop.service""#, false),
    ] {
        let mut gather = gather(&["*"]);
        take(&mut gather, &json(1, &format!(r#"{fields},"MESSAGE":"m""#)));
        assert_eq!(
            (gather.tallies.own(), gather.pieces().len()),
            (u64::from(is_own), usize::from(!is_own)),
            "{fields}"
        );
        assert_eq!(gather.position().map(|cursor| &**cursor), Some("s=a;i=1"), "it was read all the same");
    }
}

#[test]
fn what_journald_threw_away_is_a_gap() {
    let told = r#""_SYSTEMD_UNIT":"systemd-journald.service","_UID":"0","_PID":"9","OBJECT_SYSTEMD_UNIT":"shop.service","MESSAGE_ID":"a596d6fe7bfa4994828e72309e95d61e","MESSAGE":"Suppressed 7 messages from shop.service""#;
    let piece = given(&["shop"], &format!(r#"{told},"_TRANSPORT":"driver""#)).unwrap();
    assert_eq!(
        piece.content,
        Content::Gap("journald threw lines away: Suppressed 7 messages from shop.service".into())
    );
    let claimed = given(&["shop"], &format!(r#"{told},"_TRANSPORT":"journal""#)).unwrap();
    assert!(matches!(claimed.content, Content::Entries(_)), "only journald itself is believed");
}

#[test]
fn pieces_are_bounded() {
    let mut gather = gather(&["shop"]);
    let text: String = (0..2500).map(|i| printed(i, 7, "x")).collect();
    take(&mut gather, &text);
    let n_lines: Vec<_> = gather
        .pieces()
        .iter()
        .map(|(piece, _)| match &piece.content {
            Content::Lines(lines, _) => lines.iter().filter(|byte| **byte == b'\n').count(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(n_lines, [MAX_ENTRIES, MAX_ENTRIES, 500]);
}

#[test]
fn a_message_that_was_cut_is_counted_and_one_without_text_is_passed_over() {
    let mut gather = gather(&["shop"]);
    let long = "x".repeat(200);
    take(&mut gather, &printed(1, 7, &long));
    assert_eq!((gather.tallies.cut(), gather.pieces().len()), (1, 1));
    take(&mut gather, &json(2, r#""_SYSTEMD_UNIT":"shop.service","N":"1""#));
    assert_eq!((gather.pieces().len(), gather.position().map(|c| &**c)), (0, Some("s=a;i=2")));
}

#[test]
fn an_entry_without_a_place_or_a_time_is_strange() {
    for text in [
        r#"{"__REALTIME_TIMESTAMP":"1","MESSAGE":"m"}"#.to_string(),
        r#"{"__CURSOR":"s=a;i=1","MESSAGE":"m"}"#.into(),
        r#"{"__CURSOR":"s=a;i=1","__REALTIME_TIMESTAMP":"-1","MESSAGE":"m"}"#.into(),
        r#"{"__CURSOR":"s=a; --flush","__REALTIME_TIMESTAMP":"1","MESSAGE":"m"}"#.into(),
        format!(r#"{{"__CURSOR":"s={}","__REALTIME_TIMESTAMP":"1","MESSAGE":"m"}}"#, "a".repeat(MAX_CURSOR)),
    ] {
        assert_eq!(take(&mut gather(&["shop"]), &format!("{text}\n")), [Taken::Strange], "{text}");
    }
}
