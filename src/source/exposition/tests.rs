//! What holds for one line and for one page; whole pages, other readers and input that is almost right stand in
//! `tests/exposition.rs`.

use super::*;

/// Every sample of a page as `name|a=1|b=2 value [@ms]`, or the failure.
fn lines(page: &str, format: Format) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    let done = read(page.as_bytes(), format, |p| {
        let series = decode(p.series)?;
        let labels: String = series.labels.iter().map(|(n, v)| format!("|{n}={v}")).collect();
        let at = p.at.map(|t| format!(" @{}", t.0)).unwrap_or_default();
        all.push(format!("{}{labels} {}{at}", series.name, p.value));
        Ok(())
    });
    done.map(|_| all).map_err(|f| f.to_string())
}

/// All of these are lost or changed by the crate `prometheus-parse`; see the design note.
const DIFFICULT: [(&str, &str); 13] = [
    (r#"a{route="/u/{id}"} 1"#, "a|route=/u/{id} 1"),
    (r#"a{x="1,2",y="3"} 1"#, "a|x=1,2|y=3 1"),
    (r#"a{q="k=v",y="3"} 1"#, "a|q=k=v|y=3 1"),
    (r#"a{x="say \"hi\""} 1"#, "a|x=say \"hi\" 1"),
    (r#"a{x="c:\\dir"} 1"#, "a|x=c:\\dir 1"),
    (r#"a{x="two\nlines"} 1"#, "a|x=two\nlines 1"),
    ("job:requests:rate5m 1", "job:requests:rate5m 1"),
    ("a{} 1", "a 1"),
    (r#"a{x="1", y="2"} 1"#, "a|x=1|y=2 1"),
    (r#"a{x="1"}1"#, "a|x=1 1"),
    (r#"{"my.name"} 1"#, "my.name 1"),
    (r#"{"my.name", x="1"} 1"#, "my.name|x=1 1"),
    (r#"a{"x.y"="1"} 1"#, "a|x.y=1 1"),
];

#[test]
fn what_other_readers_lose_is_read() {
    for (line, wanted) in DIFFICULT {
        assert_eq!(lines(line, Format::Text), Ok(vec![wanted.to_string()]), "{line}");
    }
}

#[test]
fn every_form_of_a_line_is_read() {
    for (line, wanted) in [
        ("a 1", "a 1"),
        ("  a\t 1.5e3 \r", "a 1500"),
        ("a{x=\"1\",} 2", "a|x=1 2"),
        ("a { x = \"1\" , y=\"2\" } 2", "a|x=1|y=2 2"),
        ("a +Inf", "a inf"),
        ("a -Inf", "a -inf"),
        ("a NaN", "a NaN"),
        ("a{x=\"\"} 1", "a|x= 1"),
        ("a{x=\"ü€\"} 1", "a|x=ü€ 1"),
        ("a{x=\"\\q\"} 1", "a|x=\\q 1"),
        ("a 1 1761640867000", "a 1 @1761640867000"),
        ("a 1 -5", "a 1 @-5"),
        ("a 1 # {trace_id=\"x\"} 0.5", "a 1"),
        ("a 1 1000 # {trace_id=\"x\"} 0.5 1.5", "a 1 @1000"),
    ] {
        assert_eq!(lines(line, Format::Text), Ok(vec![wanted.to_string()]), "{line}");
    }
}

#[test]
fn openmetrics_counts_time_in_seconds_and_must_end() {
    let page = "# TYPE c counter\n# UNIT c seconds\nc_total 1 1761640867.2219 # {id=\"x\"} 1\n# EOF\n\n";
    assert_eq!(lines(page, Format::OpenMetrics), Ok(vec!["c_total 1 @1761640867222".into()]));
    let more = lines(&format!("{page}a 1\n"), Format::OpenMetrics);
    assert_eq!(more, Err("body: line 6: something follows `# EOF`: `a 1`".into()));
    let text = lines("a 1\n# EOF\nb 2\n", Format::Text);
    assert_eq!(text, Ok(vec!["a 1".into(), "b 2".into()]), "in text it is a comment");
    let cut = lines("c_total 1\n", Format::OpenMetrics);
    assert_eq!(cut, Err("body: the page breaks off: `# EOF` is missing at its end".into()));
}

#[test]
fn a_page_that_is_no_exposition_is_an_error_with_its_line() {
    for (page, wanted) in [
        ("<html>\n<body>502</body>", "body: line 1: no value: `<html>`"),
        ("<!DOCTYPE html>", "body: line 1: not a line of an exposition: `<!DOCTYPE html>`"),
        ("{\"status\": \"ok\"}", "body: line 1: no value: `{\"status\": \"ok\"}`"),
        ("a 1\nb one\n", "body: line 2: the value is no number: `b one`"),
        ("a 0x10", "body: line 1: the value is no number: `a 0x10`"),
        ("a 1_000", "body: line 1: the value is no number: `a 1_000`"),
        ("a 1 2 3", "body: line 1: more than a series, a value and a time: `a 1 2 3`"),
        ("a 1 1.5", "body: line 1: the time is no number: `a 1 1.5`"),
        ("a", "body: line 1: no value: `a`"),
        ("1a 1", "body: line 1: not a line of an exposition: `1a 1`"),
        ("a{x=\"1\" 1", "body: line 1: the labels do not end: `a{x=\"1\" 1`"),
        ("a{x=1} 1", "body: line 1: a quote is missing: `a{x=1} 1`"),
        ("a{x} 1", "body: line 1: a label without a value: `a{x} 1`"),
        ("a{x=\"1\"y=\"2\"} 1", "body: line 1: labels are separated by commas: `a{x=\"1\"y=\"2\"} 1`"),
        ("a{x=\"1\",x=\"2\"} 1", "body: line 1: the same label twice: `a{x=\"1\",x=\"2\"} 1`"),
        ("a{__name__=\"b\"} 1", "body: line 1: a label that is no label: `a{__name__=\"b\"} 1`"),
        ("{x=\"1\"} 1", "body: line 1: a series without a name: `{x=\"1\"} 1`"),
        ("", "body: the page holds no sample, and is not said to be an exposition"),
        ("# only a comment\n", "body: the page holds no sample, and is not said to be an exposition"),
    ] {
        assert_eq!(lines(page, Format::Unsaid), Err(wanted.to_string()), "{page}");
    }
    assert_eq!(lines("", Format::Text), Ok(vec![]), "said to be an exposition, so empty is true");
}

#[test]
fn every_bound_is_an_error_and_not_a_cut() {
    let labels = |n: usize| (0..n).map(|i| format!("l{i}=\"1\",")).collect::<String>();
    for (page, reason) in [
        (format!("a{{x=\"{}\"}} 1", "v".repeat(MAX_LINE)), "too-large: line 1: longer"),
        (format!("a{{x=\"{}\"}} 1", "v".repeat(MAX_VALUE + 1)), "too-large: line 1: a label's"),
        (format!("a{{{}=\"1\"}} 1", "n".repeat(MAX_NAME + 1)), "too-large: line 1: a label's"),
        (format!("{} 1", "n".repeat(MAX_NAME + 1)), "too-large: line 1: a name"),
        (format!("a{{{}}} 1", labels(MAX_LABELS + 1)), "too-many: line 1: more than 64 labels"),
    ] {
        let failure = lines(&page, Format::Text).unwrap_err();
        assert!(failure.starts_with(reason), "{reason}: {failure}");
    }
    assert_eq!(lines(&format!("a{{{}}} 1", labels(MAX_LABELS)), Format::Text).map(|l| l.len()), Ok(1));
}
