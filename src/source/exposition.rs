//! The reader of the Prometheus text format, and of OpenMetrics as far as it is the same.
//!
//! Enters: the bytes of a page. Leaves: one call for each sample, with the text of its series undecoded, so that a
//! caller who knows that text pays for a look-up and a number and nothing else; [`decode`] is for those who do not.
//! Nothing is copied. A page with one line that is no exposition fails as a whole, with its line number: half a page
//! would look like a healthy service with fewer errors. Why this is our own: `docs/design/0001-exposition-parser.md`.

use std::borrow::Cow;

use crate::base::{Failure, Timestamp};

/// The longest line, in bytes.
pub const MAX_LINE: usize = 64 << 10;
/// The most labels of one series.
pub const MAX_LABELS: usize = 64;
/// The longest name of a series or a label, in bytes.
pub const MAX_NAME: usize = 1 << 10;
/// The longest value of a label, in bytes.
pub const MAX_VALUE: usize = 8 << 10;

/// Which of the two formats the target said that it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4: timestamps are whole milliseconds.
    Text,
    /// OpenMetrics: timestamps are seconds, and the page ends with `# EOF`.
    OpenMetrics,
    /// No content type of an exposition; read as text, and an empty page is a mistake.
    Unsaid,
}

impl Format {
    /// The format that a `Content-Type` (in lower case) names.
    pub fn of(content_type: &str) -> Format {
        if content_type.starts_with("application/openmetrics-text") {
            Format::OpenMetrics
        } else if content_type.starts_with("text/plain") && content_type.contains("version=0.0.4") {
            Format::Text
        } else {
            Format::Unsaid
        }
    }
}

/// One sample of the page.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point<'a> {
    /// The text of the series as it stands there: `name{a="1"}`. Equal texts are equal series.
    pub series: &'a [u8],
    /// The value.
    pub value: f64,
    /// The time that the target gave.
    pub at: Option<Timestamp>,
}

/// The decoded labels of a series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series<'a> {
    /// The name.
    pub name: Cow<'a, str>,
    /// The labels in order of appearance, each name once.
    pub labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// What is wrong with a page or a line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `body`, `too-large` or `too-many`.
    pub reason: &'static str,
    /// What is wrong, as a fragment.
    pub what: &'static str,
}

impl Fault {
    pub(super) fn body(what: &'static str) -> Fault {
        Fault { reason: "body", what }
    }

    pub(super) fn large(what: &'static str) -> Fault {
        Fault { reason: "too-large", what }
    }
}

/// Reads a page: calls `each` for every sample, and returns how many there were.
///
/// # Errors
/// The first line that is no exposition or past a bound (or that `each` refuses), as a failure of the target.
pub fn read<'a>(
    page: &'a [u8],
    format: Format,
    mut each: impl FnMut(Point<'a>) -> Result<(), Fault>,
) -> Result<usize, Failure> {
    let mut count = 0;
    let mut ended = false;
    for (i, line) in page.split(|b| *b == b'\n').enumerate() {
        let text = line.trim_ascii();
        let failed =
            |fault: Fault| Failure::new(fault.reason, format!("line {}: {}: {}", i + 1, fault.what, excerpt(text)));
        if line.len() > MAX_LINE {
            return Err(failed(Fault::large("longer than 64 KiB")));
        }
        match text.first() {
            None => {}
            Some(b'#') if text == b"# EOF" => {
                ended = true;
                break;
            }
            Some(b'#') => {}
            Some(_) => {
                point(text, format).and_then(&mut each).map_err(failed)?;
                count += 1;
            }
        }
    }
    if format == Format::OpenMetrics && !ended {
        return Err(Failure::new("body", "the page breaks off: `# EOF` is missing at its end"));
    }
    if count == 0 && format == Format::Unsaid && !ended {
        return Err(Failure::new("body", "the page holds no sample, and is not said to be an exposition"));
    }
    Ok(count)
}

/// The beginning of a line, for people.
pub(super) fn excerpt(text: &[u8]) -> String {
    const SHOWN: usize = 60;
    let cut = &text[..text.len().min(SHOWN)];
    let more = if text.len() > SHOWN { "…" } else { "" };
    format!("`{}{more}`", String::from_utf8_lossy(cut))
}

/// Reads one line that is neither empty nor a comment.
fn point(line: &[u8], format: Format) -> Result<Point<'_>, Fault> {
    let end = series_end(line)?;
    let (series, rest) = line.split_at(end);
    let (value, at) = reading(rest, format)?;
    Ok(Point { series: series.trim_ascii_end(), value, at })
}

/// Reads what follows the series: the value, the time, and nothing more than an exemplar.
pub(super) fn reading(rest: &[u8], format: Format) -> Result<(f64, Option<Timestamp>), Fault> {
    let (value, rest) = token(rest);
    let value = number(value)?;
    let (time, mut rest) = token(rest);
    let at = match time.first() {
        None => None,
        // What follows `#` is an exemplar: a trace's id beside the count.
        Some(b'#') => {
            rest = b"";
            None
        }
        Some(_) => Some(timestamp(time, format)?),
    };
    match rest.trim_ascii_start().first() {
        None | Some(b'#') => Ok((value, at)),
        Some(_) => Err(Fault::body("more than a series, a value and a time")),
    }
}

/// Where the series ends and the value begins. Quotes hide braces; a backslash hides a quote.
pub(super) fn series_end(line: &[u8]) -> Result<usize, Fault> {
    let name = line.iter().position(|b| matches!(b, b'{' | b' ' | b'\t')).ok_or(Fault::body("no value"))?;
    let gap = line[name..].iter().position(|b| !matches!(b, b' ' | b'\t')).unwrap_or(0);
    let open = name + gap;
    if line.get(open) != Some(&b'{') {
        return valid_name(&line[..name]).then_some(name).ok_or(Fault::body("not a line of an exposition"));
    }
    if name > 0 && !valid_name(&line[..name]) {
        return Err(Fault::body("not a line of an exposition"));
    }
    let (mut i, mut quoted) = (open + 1, false);
    while let Some(byte) = line.get(i) {
        match byte {
            b'\\' if quoted => i += 1,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Ok(i + 1),
            _ => {}
        }
        i += 1;
    }
    Err(Fault::body("the labels do not end"))
}

/// The next word, and what follows it.
fn token(text: &[u8]) -> (&[u8], &[u8]) {
    let text = text.trim_ascii_start();
    text.split_at(text.iter().position(|b| matches!(b, b' ' | b'\t')).unwrap_or(text.len()))
}

fn number(text: &[u8]) -> Result<f64, Fault> {
    if text.is_empty() {
        return Err(Fault::body("no value"));
    }
    std::str::from_utf8(text).ok().and_then(|t| t.parse().ok()).ok_or(Fault::body("the value is no number"))
}

fn timestamp(text: &[u8], format: Format) -> Result<Timestamp, Fault> {
    let fault = Fault::body("the time is no number");
    let text = std::str::from_utf8(text).map_err(|_| fault.clone())?;
    if format != Format::OpenMetrics {
        return text.parse().map(Timestamp).map_err(|_| fault);
    }
    let seconds: f64 = text.parse().map_err(|_| fault.clone())?;
    // Beyond this a float no longer tells milliseconds apart, and no clock is there either.
    if seconds.is_finite() && seconds.abs() < 1e12 {
        Ok(Timestamp((seconds * 1000.0).round() as i64))
    } else {
        Err(fault)
    }
}

/// `[a-zA-Z_:][a-zA-Z0-9_:]*`, as names are without quotes.
fn valid_name(name: &[u8]) -> bool {
    let letters = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':');
    name.first().is_some_and(|b| !b.is_ascii_digit()) && name.iter().all(letters)
}

/// Decodes the text of a series.
///
/// # Errors
/// When the labels are no labels, one stands there twice, or a bound is passed.
pub fn decode(series: &[u8]) -> Result<Series<'_>, Fault> {
    let open = series.iter().position(|b| *b == b'{').unwrap_or(series.len());
    let mut found = Series { name: utf8(series[..open].trim_ascii_end())?.into(), labels: Vec::new() };
    let mut rest = series.get(open + 1..).unwrap_or(b"}").trim_ascii_start();
    while rest != b"}" {
        rest = label(rest, &mut found)?;
        rest = match rest {
            [b',', rest @ ..] => rest.trim_ascii_start(),
            b"}" => rest,
            _ => return Err(Fault::body("labels are separated by commas")),
        };
    }
    if found.name.is_empty() {
        return Err(Fault::body("a series without a name"));
    }
    if found.name.len() > MAX_NAME {
        return Err(Fault::large("a name longer than 1 KiB"));
    }
    Ok(found)
}

/// Reads one `name="value"`, or the quoted name of the series, into `found`; returns what follows it.
fn label<'a>(text: &'a [u8], found: &mut Series<'a>) -> Result<&'a [u8], Fault> {
    let is_quoted = text.first() == Some(&b'"');
    let (name, rest) = if is_quoted { quoted(text)? } else { bare(text)? };
    let rest = rest.trim_ascii_start();
    let [b'=', rest @ ..] = rest else {
        let first = found.name.is_empty() && found.labels.is_empty();
        if !is_quoted || !first || name.is_empty() {
            return Err(Fault::body("a label without a value"));
        }
        found.name = name;
        return Ok(rest);
    };
    let (value, rest) = quoted(rest.trim_ascii_start())?;
    if name.is_empty() || name == crate::base::label::NAME {
        return Err(Fault::body("a label that is no label"));
    }
    if name.len() > MAX_NAME || value.len() > MAX_VALUE {
        return Err(Fault::large("a label's name longer than 1 KiB, or its value longer than 8 KiB"));
    }
    if found.labels.len() == MAX_LABELS {
        return Err(Fault { reason: "too-many", what: "more than 64 labels" });
    }
    if found.labels.iter().any(|(n, _)| *n == name) {
        return Err(Fault::body("the same label twice"));
    }
    found.labels.push((name, value));
    Ok(rest.trim_ascii_start())
}

fn bare(text: &[u8]) -> Result<(Cow<'_, str>, &[u8]), Fault> {
    let end = text.iter().position(|b| !(b.is_ascii_alphanumeric() || *b == b'_')).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if !valid_name(name) {
        return Err(Fault::body("a label's name is missing or has other characters than letters, digits and `_`"));
    }
    Ok((utf8(name)?.into(), rest))
}

/// Reads a quoted text with its escapes `\\`, `\"`, `\n`; any other backslash stands for itself.
fn quoted(text: &[u8]) -> Result<(Cow<'_, str>, &[u8]), Fault> {
    let Some(inside) = text.strip_prefix(b"\"") else {
        return Err(Fault::body("a quote is missing"));
    };
    let (mut i, mut escaped) = (0, false);
    loop {
        match inside.get(i) {
            Some(b'"') => break,
            Some(b'\\') => {
                escaped = true;
                i += 2;
            }
            Some(_) => i += 1,
            None => return Err(Fault::body("a quote does not end")),
        }
    }
    let plain = utf8(&inside[..i])?;
    let text = if escaped { Cow::Owned(unescape(plain)) } else { Cow::Borrowed(plain) };
    Ok((text, &inside[i + 1..]))
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, false) => plain.push(c),
            (_, true) => match chars.next() {
                Some('n') => plain.push('\n'),
                Some(c @ ('\\' | '"')) => plain.push(c),
                Some(c) => plain.extend(['\\', c]),
                None => plain.push('\\'),
            },
        }
    }
    plain
}

fn utf8(text: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(text).map_err(|_| Fault::body("not UTF-8"))
}

#[cfg(test)]
mod tests {
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
    fn what_other_readers_lose_is_really_lost_there() {
        for (line, wanted) in DIFFICULT {
            let theirs = other(line);
            assert_ne!(theirs, [wanted.to_string()], "{line}");
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
        let page = "# TYPE c counter\n# UNIT c seconds\nc_total 1 1761640867.2219 # {id=\"x\"} 1\n# EOF\n<after>";
        assert_eq!(lines(page, Format::OpenMetrics), Ok(vec!["c_total 1 @1761640867222".into()]));
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

    /// What the crate `prometheus-parse` reads, in the same form, labels sorted.
    fn other(page: &str) -> Vec<String> {
        let scrape = prometheus_parse::Scrape::parse(page.lines().map(|l| Ok(l.to_string()))).unwrap();
        let form = |s: &prometheus_parse::Sample| {
            use prometheus_parse::Value::{Counter, Gauge, Untyped};
            let mut labels: Vec<String> = s.labels.iter().map(|(n, v)| format!("|{n}={v}")).collect();
            labels.sort();
            match s.value {
                Counter(v) | Gauge(v) | Untyped(v) => format!("{}{} {v}", s.metric, labels.concat()),
                _ => format!("{} folded", s.metric),
            }
        };
        scrape.samples.iter().map(form).collect()
    }

    /// A small generator, seeded, so that a failure can be repeated.
    struct Random(u64);

    impl Random {
        fn below(&mut self, n: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((self.0 >> 33) as usize) % n
        }
    }

    /// A page of lines whose form both readers agree on: no braces, commas, `=` or escapes in values.
    fn safe_page(random: &mut Random) -> String {
        const VALUES: [&str; 8] = ["0", "1", "-2.5", "1e9", "1.25e-3", "+Inf", "-Inf", "12345678901"];
        let mut page = String::new();
        for i in 0..random.below(30) {
            let kind = ["counter", "gauge", "untyped"][random.below(3)];
            page.push_str(&format!("# HELP m{i} Some text.\n# TYPE m{i} {kind}\n"));
            for j in 0..random.below(4) {
                let n = random.below(4);
                let labels: Vec<String> = (0..n).map(|k| format!("l{k}=\"v {}/{j}\"", random.below(99))).collect();
                let braces = if n == 0 { String::new() } else { format!("{{{}}}", labels.join(",")) };
                page.push_str(&format!("m{i}{braces} {}\n", VALUES[random.below(VALUES.len())]));
            }
        }
        page
    }

    #[test]
    fn on_plain_pages_two_independent_readers_agree() {
        for seed in 0..200 {
            let page = safe_page(&mut Random(seed));
            let mut ours = lines(&page, Format::Text).unwrap();
            let mut theirs = other(&page);
            ours.sort();
            theirs.sort();
            assert_eq!(ours, theirs, "seed {seed}");
        }
    }

    #[test]
    fn no_mutation_of_a_page_panics_or_invents_samples() {
        let mut corpus: Vec<u8> = safe_page(&mut Random(7)).into_bytes();
        for (line, _) in DIFFICULT {
            corpus.extend_from_slice(line.as_bytes());
            corpus.push(b'\n');
        }
        const BYTES: &[u8] = b"{}\",=\\\n #\t\r\xff\0a1.+-";
        for seed in 0..2_000 {
            let mut random = Random(seed);
            let mut page = corpus.clone();
            for _ in 0..=random.below(4) {
                let at = random.below(page.len().max(2) - 1);
                match random.below(12) {
                    0 => page.truncate(at.max(2)),
                    1..5 => page[at] = BYTES[random.below(BYTES.len())],
                    5..9 => page.insert(at, BYTES[random.below(BYTES.len())]),
                    _ => drop(page.remove(at)),
                }
            }
            let format = [Format::Text, Format::OpenMetrics, Format::Unsaid][random.below(3)];
            let mut seen = 0;
            let done = read(&page, format, |p| {
                seen += 1;
                decode(p.series).map(drop)
            });
            assert!(seen <= page.iter().filter(|b| **b == b'\n').count() + 1, "seed {seed}");
            assert!(done.is_err() || done == Ok(seen), "seed {seed}");
        }
    }
}
