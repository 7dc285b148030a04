//! What is not as its format says, and lines that are no text.

use super::*;

fn counted(format: Format, text: &[u8]) -> String {
    told(&read_all(&plan(format, &["boom"]), text))
}

#[test]
fn what_is_no_json_is_broken_where_json_was_declared() {
    let text = b"{\"level\":\"error\",\"m\":\"boom\"}\n{\"level\":\"error\",\"m\":\"boom\nERROR boom\n  boom\n[1]\n{\"a\":1}\n";
    assert_eq!(counted(Format::Json, text), "unknown 5, error 1, broken 4, p0 4");
}

#[test]
fn what_is_no_json_is_broken_where_all_was_json() {
    let good = "{\"level\":\"info\"}\n";
    let cut = "{\"level\":\"error\",\"m\":\"boom\n";
    assert_eq!(
        counted(Format::Auto, format!("{}{cut}{good}{cut}", good.repeat(10)).as_bytes()),
        "unknown 2, info 11, broken 2, p0 2"
    );
    assert_eq!(counted(Format::Auto, format!("{}{cut}", good.repeat(9)).as_bytes()), "unknown 1, info 9, p0 1");
    let mixed = format!("{}started\n{cut}", good.repeat(10));
    assert_eq!(counted(Format::Auto, mixed.as_bytes()), "unknown 2, info 10, p0 1");
}

#[test]
fn what_is_no_pair_is_broken_where_pairs_were_declared() {
    let text = b"level=error msg=boom\nERROR boom\nlevel=error msg=\"boom\nmsg=\"a \\\" b\" level=warn\n";
    assert_eq!(counted(Format::Logfmt, text), "unknown 2, warning 1, error 1, broken 2, p0 3");
}

#[test]
fn what_is_no_access_is_broken_where_an_access_log_was_declared() {
    let text = b"10.0.0.7 - - [12/Mar/2025:10:00:00 +0000] \"GET / HTTP/1.1\" 200 12\nERROR boom\n";
    assert_eq!(counted(Format::Access, text), "unknown 1, info 1, broken 1, p0 1");
}

#[test]
fn a_plain_format_knows_no_json() {
    assert_eq!(counted(Format::Plain, b"{\"level\":\"error\"}\n"), "unknown 1");
    assert_eq!(counted(Format::Python, b"ERROR:root:boom\n  boom\n"), "error 1, p0 1");
}

#[test]
fn what_is_no_text_is_broken() {
    assert_eq!(counted(Format::Auto, b"ERROR boom\0\nERROR boom\n"), "unknown 1, error 1, broken 1, p0 2");
    assert_eq!(counted(Format::Auto, b"\x01\x02boom\n\x01boom\nINFO x\n"), "unknown 2, info 1, broken 1, p0 2");
    assert_eq!(counted(Format::Auto, b"ERROR \xff\xfe boom\n"), "error 1, p0 1");
    assert_eq!(counted(Format::Auto, b"\x1b[31mERROR\x1b[0m boom\n"), "error 1, p0 1");
    assert_eq!(counted(Format::Auto, b"\xef\xbb\xbfERROR boom\n"), "error 1, p0 1");
}

#[test]
fn a_long_line_is_judged_by_its_beginning() {
    let plan = Plan::new(Wanted { max_line: 20, ..wanted(Format::Auto, &["boom", "bang"]) }).unwrap();
    let mut tally = Tally::new(&plan);
    let text = b"ERROR boom .........bang\nINFO 345678901234 boom\nINFO boom\n";
    plan.read(&mut StreamState::default(), text, Seen { cut: 3, ..seen(ARRIVED) }, &mut tally);
    assert_eq!(told(&tally), "info 2, error 1, cut 5, p0 2");
}

#[test]
fn empty_lines_are_no_lines() {
    assert_eq!(told(&read_all(&plan(Format::Auto, &["", "^$"]), b"\n\r\n\n")), "");
    assert_eq!(read_all(&plan(Format::Auto, &[]), b"").last_line(), None);
}

#[test]
fn a_time_that_cannot_be_is_that_of_the_arrival() {
    let plan = plan(Format::Auto, &[]);
    for line in [
        "2025-03-12 10:01:31 from the future",
        "2025-13-12 10:00:00 no month",
        "2025-02-30 10:00:00 no day",
        "2025-03-12 25:00:00 no hour",
        "{\"ts\":99999999999999999999,\"level\":\"info\"}",
        "{\"ts\":-5,\"level\":\"info\"}",
        "{\"ts\":\"yesterday\",\"level\":\"info\"}",
    ] {
        assert_eq!(read_all(&plan, line.as_bytes()).last_line(), Some(Timestamp(ARRIVED)), "{line}");
    }
    let ahead = read_all(&plan, b"2025-03-12 10:01:29 a clock that is a little ahead");
    assert_eq!(ahead.last_line(), Some(Timestamp(ARRIVED + 59_000)));
}

#[test]
fn a_time_without_a_zone_is_in_that_of_the_plan() {
    let zone = TimeZone::fixed(jiff::tz::offset(2));
    let plan = Plan::new(Wanted { zone, ..wanted(Format::Auto, &[]) }).unwrap();
    for line in ["2025-03-12 12:00:00 x", "Mar 12 12:00:00 web x: y", "E0312 12:00:00.000000 1 x.go:1] y"] {
        assert_eq!(read_all(&plan, line.as_bytes()).last_line(), Some(Timestamp(ARRIVED - 30_000)), "{line}");
    }
}

#[test]
fn the_time_that_the_origin_gives_is_that_of_the_last_line() {
    let plan = plan(Format::Auto, &["first", "second"]);
    let mut tally = Tally::new(&plan);
    let given = Some(Timestamp(ARRIVED - 10_000));
    let text = b"2025-03-12 10:00:00 first\n2025-03-12 10:00:05 second\n";
    plan.read(&mut StreamState::default(), text, Seen { given, ..seen(ARRIVED) }, &mut tally);
    assert_eq!(tally.last_line(), given);
    assert_eq!(tally.matches()[0].last, Some(Timestamp(ARRIVED - 30_000)));
    assert_eq!(tally.matches()[1].last, given);
}
