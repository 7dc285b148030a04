use super::*;

/// What each line of `text` is, when it comes in chunks of `size` bytes.
fn read(text: &[u8], size: usize, max: usize) -> Vec<Option<Entry>> {
    let mut scanner = Scanner::new(max);
    let mut lines = Vec::new();
    for mut chunk in text.chunks(size) {
        while let Some(line) = scanner.next(&mut chunk) {
            lines.push(match line {
                Line::Entry(entry) => Some(entry.clone()),
                Line::Strange => None,
            });
        }
    }
    lines
}

fn one(text: &str) -> Option<Entry> {
    let mut lines = read(format!("{text}\n").as_bytes(), usize::MAX, 1000);
    assert_eq!(lines.len(), 1, "{text}");
    lines.remove(0)
}

fn message(text: &str) -> Option<String> {
    one(text).map(|entry| String::from_utf8_lossy(entry.get(Field::Message)).into_owned())
}

/// As journalctl 252 prints it.
const REAL: &str = r#"{"_PID":"128","MESSAGE":"one","PRIORITY":"6","_TRANSPORT":"stdout","_UID":"0","_SYSTEMD_UNIT":"shop.service","_SYSTEMD_SLICE":"system.slice","_BOOT_ID":"da64f5301bf14413b5961972b76eb0cd","__MONOTONIC_TIMESTAMP":"1216948835","__CURSOR":"s=ad17b1e95cb340bbaea0042c826d9800;i=34;b=da64f5301bf14413b5961972b76eb0cd;m=48892a63;t=660cce85ddbee;x=243d0e6942878e40","__REALTIME_TIMESTAMP":"1795283048324078","SYSLOG_IDENTIFIER":"sh"}"#;

#[test]
fn an_entry_has_the_fields_that_are_of_use() {
    let entry = one(REAL).unwrap();
    assert_eq!(entry.text(Field::Message), Some("one"));
    assert_eq!(entry.number::<u8>(Field::Priority), Some(6));
    assert_eq!(entry.text(Field::SystemdUnit), Some("shop.service"));
    assert_eq!(entry.number::<i64>(Field::Realtime), Some(1_795_283_048_324_078));
    assert!(entry.text(Field::Cursor).unwrap().ends_with(";x=243d0e6942878e40"));
    assert_eq!((entry.text(Field::Exe), entry.is_cut), (None, false));
}

#[test]
fn a_message_comes_in_every_form_that_journalctl_has() {
    for (value, wanted) in [
        (r#""plain""#, "plain"),
        (r#""""#, ""),
        (r#""a \"b\" \\ \/ \n\t\r\b\f""#, "a \"b\" \\ / \n\t\r\u{8}\u{c}"),
        (r#""\u001b[31mred\u00e9\u20ac""#, "\u{1b}[31mredé€"),
        (r#""\ud83d\ude00""#, "😀"),
        (r#""\ud83d x""#, "\u{fffd} x"),
        (r#""\ud83d\n""#, "\u{fffd}\n"),
        (r#""\ude00""#, "\u{fffd}"),
        (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
        (r#""grüße""#, "grüße"),
        ("[104,105,10]", "hi\n"),
        ("[ 104 , 105 ]", "hi"),
        ("[]", ""),
        (r#"["first","second"]"#, "first"),
        ("[[104,105],[111]]", "hi"),
        (r#"[[104],"x",null]"#, "h"),
        ("17", ""),
        ("true", ""),
    ] {
        assert_eq!(message(&format!("{{\"MESSAGE\":{value}}}")).as_deref(), Some(wanted), "{value}");
        assert_eq!(
            message(&format!("{{ \"A\" : \"b\" , \"MESSAGE\" : {value} }} ")).as_deref(),
            Some(wanted),
            "{value}"
        );
    }
    let bytes = one(r#"{"MESSAGE":[255,0,65]}"#).unwrap();
    assert_eq!(bytes.get(Field::Message), [255, 0, 65]);
}

#[test]
fn a_message_that_was_too_large_for_journalctl_is_known_to_be_cut() {
    let entry = one(r#"{"_EXE":null,"MESSAGE":null}"#).unwrap();
    assert_eq!((entry.get(Field::Message), entry.is_cut), (&b""[..], true));
}

#[test]
fn long_values_are_bounded_and_the_rest_of_the_entry_is_read() {
    let long = "x".repeat(5_000_000);
    let text = format!("{{\"MESSAGE\":\"{long}\",\"_EXE\":\"{long}\",\"{long}\":\"{long}\",\"_PID\":\"7\"}}\n{REAL}\n");
    for size in [4096, usize::MAX] {
        let lines = read(text.as_bytes(), size, 100);
        let first = lines[0].as_ref().unwrap();
        assert_eq!((first.get(Field::Message).len(), first.is_cut, first.get(Field::Exe).len()), (100, true, 0));
        assert_eq!(first.text(Field::Pid), Some("7"));
        let second = lines[1].as_ref().unwrap();
        assert_eq!((second.text(Field::Message), second.is_cut), (Some("one"), false));
    }
    let mut scanner = Scanner::new(100);
    let mut bytes = text.as_bytes();
    while scanner.next(&mut bytes).is_some() {}
    let held: usize = scanner.entry.values.iter().map(Vec::capacity).sum();
    assert!(held <= FIELDS.len() * 2 * MAX_FIELD, "{held}");
}

#[test]
fn what_is_no_entry_is_told_and_the_next_line_is_read() {
    for strange in [
        "-- Boot da64f5301bf14413b5961972b76eb0cd --",
        "{",
        "{\"MESSAGE\":\"half",
        "{\"MESSAGE\":\"x\"",
        "{\"MESSAGE\":{\"nested\":1}}",
        "{\"MESSAGE\":[[[1]]]}",
        "{\"MESSAGE\":[256]}",
        "{\"MESSAGE\":[-1.5,]}x",
        "{\"MESSAGE\":\"\\x\"}",
        "{\"MESSAGE\":\"\\u12g4\"}",
        "{\"MESSAGE\" \"x\"}",
        "{\"MESSAGE\":\"x\",}",
        "{\"MESSAGE\":\"x\"}}",
        "[]",
        "\0\u{ff}",
    ] {
        let text = format!("{strange}\n\n{REAL}\n");
        for size in [1, 7, usize::MAX] {
            let lines = read(text.as_bytes(), size, 1000);
            assert_eq!(lines.len(), 2, "{strange}");
            assert!(lines[0].is_none(), "{strange}");
            assert_eq!(lines[1].as_ref().unwrap().text(Field::Message), Some("one"), "{strange}");
        }
    }
    assert!(one("{}").is_some_and(|entry| entry.get(Field::Message).is_empty()));
}

#[test]
fn a_field_that_comes_twice_counts_once() {
    assert_eq!(message(r#"{"MESSAGE":"a","MESSAGE":"b"}"#).as_deref(), Some("a"));
}

/// Small, fast and the same everywhere (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ z >> 31) % n as u64).unwrap()
    }
}

/// Twenty thousand broken entries, in chunks of any size: nothing panics, the chunks make no difference, what serde reads
/// as such an entry is read alike, and the line behind is whole.
#[test]
fn broken_entries_never_harm_the_one_behind() {
    let seeds = [
        REAL.to_string(),
        r#"{"MESSAGE":[104,105,255],"__CURSOR":"s=1;i=2","PRIORITY":["3","4"],"X":null}"#.into(),
        r#"{"MESSAGE":"\u001b[0m \"q\" \\ \ud83d\ude00 grüße","_PID":"1","UNIT":[[104],[105]]}"#.into(),
    ];
    let pieces: [&[u8]; 14] = [
        b"\"",
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\\u",
        b"\\ud83d",
        b"null",
        b"999",
        b"\xff",
        b"\"MESSAGE\"",
    ];
    let mut random = Random(7);
    let mut n_agreed = 0;
    for _ in 0..20_000 {
        let mut text = seeds[random.below(seeds.len())].clone().into_bytes();
        for _ in 0..1 + random.below(4) {
            let at = random.below(text.len() + 1);
            match random.below(4) {
                0 => text.truncate(at),
                1 => drop(text.splice(at..at, pieces[random.below(pieces.len())].iter().copied())),
                2 if at < text.len() => text[at] = pieces[random.below(pieces.len())][0],
                _ if at < text.len() => drop(text.remove(at)),
                _ => {}
            }
        }
        assert!(!text.contains(&b'\n'));
        let line = String::from_utf8_lossy(&text).into_owned();
        text.extend_from_slice(b"\n");
        text.extend_from_slice(REAL.as_bytes());
        text.push(b'\n');
        let whole = read(&text, usize::MAX, 1000);
        let size = 1 + random.below(50);
        let cut = read(&text, size, 1000);
        let values = |lines: &[Option<Entry>]| -> Vec<_> {
            lines.iter().map(|line| line.as_ref().map(|entry| (entry.values.clone(), entry.is_cut))).collect()
        };
        assert_eq!(values(&whole), values(&cut), "{line}");
        let last = whole.last().unwrap().as_ref().unwrap();
        assert_eq!(last.text(Field::Message), Some("one"), "{line}");
        let read: Option<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(&line).ok();
        let wanted = read.as_ref().and_then(|object| object.get("MESSAGE")?.as_str());
        // The first of two counts here, and the last there.
        if let Some(wanted) = wanted.filter(|_| line.matches("\"MESSAGE\"").count() == 1) {
            if let Some(entry) = &whole[0] {
                let found = String::from_utf8_lossy(entry.get(Field::Message)).into_owned();
                assert_eq!(found, wanted, "{line}");
                n_agreed += 1;
            } else {
                let has_object = read.iter().flatten().any(|(_, value)| !is_flat(value));
                assert!(has_object, "an entry was not read: {line}");
            }
        }
    }
    assert!(n_agreed > 1000, "{n_agreed}");
}

/// Whether journalctl could print this as a value.
fn is_flat(value: &serde_json::Value) -> bool {
    use serde_json::Value;
    let is_plain = |value: &Value| !matches!(value, Value::Object(_) | Value::Array(_));
    let is_byte = |value: &Value| !value.is_number() || value.as_u64().is_some_and(|n| n < 256);
    let is_bytes = |value: &Value| match value {
        Value::Array(bytes) => bytes.iter().all(|value| is_plain(value) && !value.is_string() && is_byte(value)),
        value => is_plain(value) && is_byte(value),
    };
    match value {
        Value::Array(values) => values.iter().all(is_bytes),
        value => is_plain(value),
    }
}
