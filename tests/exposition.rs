//! The reader of expositions: against another reader where that one is right, against a table of what is right where it is
//! wrong, on pages as services really write them, in pieces of every size, and on input that is almost right.

mod table;

use backstop::base::{Labels, Sample, SourceRef, Span};
use backstop::source::common::{Common, Target};
use backstop::source::exposition::{Format, Line, Reader, Series, decode, read};
use backstop::source::prometheus::{Counts, Keep, Page};

use crate::support::mutate;

/// A page in our own form: `name|label=value value [@time]`, labels sorted.
fn ours(page: &str, format: Format) -> String {
    let (mut all, mut reader) = (Vec::new(), Reader::new(format));
    let mut each = |line: Line<'_>| {
        let point = line.point()?;
        let mut series = decode(point.series)?;
        series.normalize(line.kind);
        let at = point.at.map(|at| format!(" @{}", at.0)).unwrap_or_default();
        all.push(format!("{} {}{at}", form(&series), point.value));
        Ok(())
    };
    let done = reader.feed(page.as_bytes(), &mut each).and_then(|()| reader.finish(&mut each));
    match done {
        Err(failure) => format!("error: {}", failure.detail),
        Ok(0) => "nothing".into(),
        Ok(_) => all.join("; "),
    }
}

fn form(series: &Series<'_>) -> String {
    let mut labels: Vec<String> = series.labels.iter().map(|(name, value)| format!("|{name}={value}")).collect();
    labels.sort();
    format!("{}{}", series.name, labels.concat())
}

/// The same by the crate `prometheus-parse`.
fn theirs(page: &str) -> String {
    use prometheus_parse::{Sample, Scrape, Value};
    let lines = |text: &str| text.lines().map(|line| Ok(line.to_string())).collect::<Vec<_>>().into_iter();
    // A time that no page gives, to tell those apart that have none.
    let none = Scrape::parse(lines("t 1 7777")).unwrap().samples[0].timestamp;
    let form = |s: &Sample| {
        let mut labels: Vec<String> = s.labels.iter().map(|(name, value)| format!("|{name}={value}")).collect();
        labels.sort();
        let at = if s.timestamp == none { String::new() } else { format!(" @{}", s.timestamp.timestamp_millis()) };
        let series = format!("{}{}", s.metric, labels.concat());
        match &s.value {
            Value::Counter(v) | Value::Gauge(v) | Value::Untyped(v) => format!("{series} {v}{at}"),
            Value::Histogram(all) => format!("{series} histogram of {}", all.len()),
            Value::Summary(all) => format!("{series} summary of {}", all.len()),
        }
    };
    let scrape = Scrape::parse_at(lines(page), none).unwrap();
    let mut all: Vec<String> = scrape.samples.iter().map(form).collect();
    all.sort();
    if all.is_empty() { "nothing".into() } else { all.join("; ") }
}

#[test]
fn what_the_other_reader_gets_wrong_is_right_here() {
    assert!(table::WRONG.len() >= 60);
    for (format, page, wrong, right) in table::WRONG {
        assert_eq!(theirs(page), *wrong, "the crate changed: {page}");
        assert_eq!(ours(page, *format), *right, "{page}");
    }
}

#[test]
fn what_looks_difficult_and_is_not_is_read_alike_by_both() {
    for (format, page, right) in table::RIGHT {
        assert_eq!((theirs(page).as_str(), ours(page, *format).as_str()), (*right, *right), "{page}");
    }
}

/// A page of lines whose form both readers agree on: no braces, commas, `=` or escapes in values.
fn plain_page(random: &mut mutate::Random) -> String {
    const VALUES: [&str; 9] = ["0", "1", "-2.5", "1e9", "1.25e-3", "+Inf", "-Inf", "12345678901", "123456789012345678"];
    let mut page = String::new();
    for i in 0..random.below(30) {
        let kind = ["counter", "gauge", "untyped"][random.below(3)];
        page.push_str(&format!("# HELP m{i} Some text.\n# TYPE m{i} {kind}\n"));
        for j in 0..random.below(4) {
            let n = random.below(4);
            let labels: Vec<String> = (0..n).map(|k| format!("l{k}=\"v {}/{j}\"", random.below(99))).collect();
            let braces = if n == 0 { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let at = if random.below(5) == 0 {
                format!(" {}", 1_700_000_000_000 + random.below(99_999))
            } else {
                String::new()
            };
            page.push_str(&format!("m{i}{braces} {}{at}\n", VALUES[random.below(VALUES.len())]));
        }
    }
    page
}

#[test]
fn on_plain_pages_two_independent_readers_agree() {
    for seed in 1..1_000 {
        let page = plain_page(&mut mutate::Random(seed));
        let mut lines: Vec<String> = ours(&page, Format::Text).split("; ").map(String::from).collect();
        lines.sort();
        assert_eq!(lines.join("; "), theirs(&page), "seed {seed}");
    }
}

/// Pages as services write them: the content type, the page, how many samples, and some of them.
const PAGES: [(&str, &str, usize, &[&str]); 8] = [
    (TEXT, include_str!("exposition/pages/nginx.txt"), 11, &["nginx_connections_active 7", "nginx_up 1"]),
    (
        TEXT,
        include_str!("exposition/pages/node.txt"),
        25,
        &[
            "node_filesystem_avail_bytes{device=\"/dev/vda1\",fstype=\"ext4\",mountpoint=\"/srv/a b,c={d}\"} 23847239680",
            "node_textfile_mtime_seconds{file=\"/var/lib/node_exporter/backup.prom\"} 1760000000.123",
            "node_hwmon_temp_crit_celsius{chip=\"pci0000:00_0000:01:00_0\",sensor=\"temp1\"} NaN",
        ],
    ),
    (
        TEXT,
        include_str!("exposition/pages/postgres.txt"),
        17,
        &[
            "pg_stat_activity_max_tx_duration{datname=\"shop\",server=\"127.0.0.1:5432\",state=\"idle in transaction (aborted)\"} 0",
            "pg_stat_statements_calls_total{datname=\"shop\",query=\"SELECT \\\"id\\\", 'a\\\\b' FROM \\\"items\\\"\\n WHERE price >= $1 AND tags @> '{new,sale}'\",queryid=\"-3290146215421\"} 81200",
        ],
    ),
    (
        TEXT,
        include_str!("exposition/pages/redis.txt"),
        20,
        &["redis_db_keys{db=\"db0\"} 412", "redis_slowlog_last_id -1"],
    ),
    (
        OPENMETRICS,
        include_str!("exposition/pages/go.txt"),
        26,
        &[
            "shop_request_duration_seconds_bucket{code=\"200\",le=\"1.0\",method=\"get\"} 24054",
            "go_gc_duration_seconds{quantile=\"1.0\"} 0.000914541",
            "shop_requests_created{code=\"200\",method=\"get\"} 1761640000.25",
        ],
    ),
    (
        TEXT,
        include_str!("exposition/pages/python.txt"),
        21,
        &[
            "python_info{implementation=\"CPython\",major=\"3\",minor=\"12\",patchlevel=\"3\",version=\"3.12.3\"} 1",
            "jobs_total{queue=\"mail \\\"fast\\\"\"} 3",
        ],
    ),
    (
        TEXT,
        include_str!("exposition/pages/micrometer.txt"),
        20,
        &[
            "http_server_requests_seconds_count{error=\"none\",exception=\"none\",method=\"GET\",outcome=\"SUCCESS\",status=\"200\",uri=\"/orders/{id}\"} 1423",
            "jvm_memory_max_bytes{area=\"nonheap\",id=\"CodeHeap 'profiled nmethods'\"} -1",
        ],
    ),
    (
        TEXT,
        include_str!("exposition/pages/dotnet.txt"),
        17,
        &[
            "process_start_time_seconds 1761640001.54",
            "http_request_duration_seconds_bucket{code=\"200\",controller=\"Orders\",le=\"+Inf\"} 611",
        ],
    ),
];

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

fn target() -> Target {
    let common = Common {
        reference: SourceRef::new("prometheus", "api"),
        interval: Span::secs(15),
        manual: false,
        timeout: Span::secs(5),
        service: "api".into(),
        app: "shop".into(),
        labels: Labels::empty(),
        optional: false,
        external: false,
        enabled: true,
    };
    Target::new(&common, "h:1".into())
}

/// All samples that a reader gives, or why it gives none.
type Taken = Result<(Counts, Vec<Sample>), String>;

fn take<'p>(page: &mut Page, kind: &str, pieces: impl IntoIterator<Item = &'p [u8]>, target: &Target) -> Taken {
    let mut samples = Vec::new();
    let done = page.read(kind, pieces, target, &mut samples);
    done.map(|counts| (counts, samples)).map_err(|failure| failure.to_string())
}

fn fresh() -> Page {
    Page::new(50_000, &Keep::All, &[])
}

/// Equal to the bit, so that a NaN is equal to itself.
fn bits(taken: &Taken) -> Result<Vec<(String, u64, Option<i64>)>, String> {
    let line = |s: &Sample| (s.labels.to_string(), s.value.to_bits(), s.at.map(|at| at.0));
    taken.as_ref().map(|(_, samples)| samples.iter().map(line).collect()).map_err(Clone::clone)
}

#[test]
fn pages_as_services_write_them_are_read_whole() {
    let target = target();
    for (kind, page, n, some) in PAGES {
        let (counts, samples) =
            take(&mut fresh(), kind, [page.as_bytes()], &target).unwrap_or_else(|e| panic!("{e}\n{page}"));
        assert_eq!((counts.scraped, counts.kept, counts.added, samples.len()), (n, n, n, n), "{page}");
        let ours = ["app", "instance", "job", "service", "source"];
        let lines: Vec<String> = samples
            .iter()
            .map(|s| format!("{} {}", s.labels.filtered(|name| !ours.contains(&name)), s.value))
            .collect();
        for line in some {
            assert!(lines.iter().any(|l| l == line), "{line} is not in\n{}", lines.join("\n"));
        }
        assert!(samples.iter().all(|s| s.labels.get("job") == "api" && s.labels.get("instance") == "h:1"));
    }
}

#[test]
fn a_page_is_the_same_however_it_is_cut() {
    let target = target();
    for (kind, page, ..) in PAGES {
        let page = page.as_bytes();
        let whole = bits(&take(&mut fresh(), kind, [page], &target));
        assert!(whole.is_ok());
        let mut reader = fresh();
        for at in 0..=page.len() {
            let (a, b) = page.split_at(at);
            assert_eq!(bits(&take(&mut reader, kind, [a, b], &target)), whole, "cut at {at}");
        }
        for size in [1, 2, 3, 7, 100] {
            assert_eq!(bits(&take(&mut fresh(), kind, page.chunks(size), &target)), whole, "pieces of {size}");
            assert_eq!(bits(&take(&mut reader, kind, page.chunks(size), &target)), whole, "pieces of {size}, known");
        }
    }
}

#[test]
fn a_bad_page_is_the_same_failure_however_it_is_cut() {
    let target = target();
    let long = format!("b 1\na{{x=\"{}\"}} 1\n", "v".repeat(70_000));
    let comment = format!("# {}\nb 1\n", "v".repeat(70_000));
    for page in ["a 1\nb x\n", "<html>", "a 1\n\"", &long, &comment] {
        let page = page.as_bytes();
        let whole = bits(&take(&mut fresh(), TEXT, [page], &target));
        assert!(whole.is_err());
        for at in (0..=page.len()).step_by(page.len() / 100 + 1) {
            let (a, b) = page.split_at(at);
            assert_eq!(bits(&take(&mut fresh(), TEXT, [a, b], &target)), whole, "cut at {at}");
        }
        assert_eq!(bits(&take(&mut fresh(), TEXT, page.chunks(1), &target)), whole);
    }
}

/// The ends of lines, of the page and of words that are allowed.
#[test]
fn ends_of_lines_do_not_matter() {
    let target = target();
    let wanted = bits(&take(&mut fresh(), TEXT, [&b"a 1\nb{x=\"1\"} 2\n"[..]], &target));
    for page in [
        "a 1\r\nb{x=\"1\"} 2\r\n",
        "a 1\nb{x=\"1\"} 2",
        "\n\na 1\n \t\nb{x=\"1\"} 2\n\n",
        "# x\na 1\n#\nb{x=\"1\"} 2\n# y",
        "a\t1 \n\tb {x=\"1\",}\t2\t",
    ] {
        assert_eq!(bits(&take(&mut fresh(), TEXT, [page.as_bytes()], &target)), wanted, "{page:?}");
    }
}

#[test]
fn no_text_stands_for_the_marker_that_ends_a_series() {
    for text in ["NaN", "nan", "+NaN", "-nan", "NAN"] {
        let mut values = Vec::new();
        read(format!("a {text}\n").as_bytes(), Format::Text, |point| {
            values.push(point.value.to_bits());
            Ok(())
        })
        .unwrap();
        assert_eq!(values, [f64::NAN.to_bits()], "{text}");
        assert!(!backstop::store::is_stale(f64::from_bits(values[0])));
    }
}

#[test]
fn the_format_is_what_the_content_type_says() {
    for (kind, wanted) in [
        ("text/plain; version=0.0.4", Format::Text),
        ("text/plain;version=0.0.4;charset=utf-8", Format::Text),
        ("text/plain; charset=utf-8; version=\"1.0.0\"; escaping=allow-utf-8", Format::Text),
        ("text/plain", Format::Unsaid),
        ("text/plain; version=0.0.44", Format::Unsaid),
        ("text/html; charset=utf-8", Format::Unsaid),
        ("application/json", Format::Unsaid),
        ("", Format::Unsaid),
        ("application/openmetrics-text", Format::OpenMetrics),
        ("application/openmetrics-text; version=0.0.1", Format::OpenMetrics),
        ("application/openmetrics-textual", Format::Unsaid),
    ] {
        assert_eq!(Format::of(kind), wanted, "{kind}");
    }
}

#[test]
fn bounds_and_quantiles_are_written_as_prometheus_writes_them() {
    for (given, wanted) in [
        ("1", "1.0"),
        ("0", "0.0"),
        ("-1", "-1.0"),
        ("0.005", "0.005"),
        ("10.0", "10.0"),
        ("1e3", "1000.0"),
        ("100000", "100000.0"),
        ("1000000", "1e+06"),
        ("1234567", "1.234567e+06"),
        ("2.5e7", "2.5e+07"),
        ("0.0001", "0.0001"),
        ("0.00001", "1e-05"),
        ("Inf", "+Inf"),
        ("+Inf", "+Inf"),
        ("-inf", "-Inf"),
        ("often", "often"),
        ("1e999", "1e999"),
        ("", ""),
    ] {
        let page = format!("# TYPE h histogram\nh_bucket{{le=\"{given}\"}} 1\n# TYPE g gauge\ng{{le=\"{given}\"}} 1\n");
        assert_eq!(ours(&page, Format::Text), format!("h_bucket|le={wanted} 1; g|le={given} 1"));
    }
}

#[test]
fn series_that_vanish_end_and_all_end_with_a_page_that_fails() {
    use backstop::base::{Batch, Failure, Outcome, Timestamp};
    use backstop::store::{Limits, Store};
    let (target, mut page, mut store) = (target(), fresh(), Store::new(Limits::default()));
    let mut ended = Vec::new();
    for (i, text) in
        ["a 1\nb 2\nc 3 1000\n", "a 1\nb 2\n", "b 2\n", "b 2\nd 4\nbroken\n", "b 2\na 1\n"].iter().enumerate()
    {
        let at = Timestamp(1_000 + 15_000 * i as i64);
        let (samples, outcome) = match take(&mut page, TEXT, [text.as_bytes()], &target) {
            Ok((_, samples)) => (samples, Outcome::Good),
            Err(why) => (Vec::new(), Outcome::Failed(Failure::new("body", why))),
        };
        let batch: Batch = target.batch(at, 0.1, outcome, samples);
        ended.push(store.append(&batch).ended);
    }
    // With the last look only the reason of the failure before ends.
    assert_eq!(ended, [0, 1, 1, 1, 1]);
}

#[test]
fn mutation_of_expositions() {
    let target = target();
    let mut corpus: Vec<Vec<u8>> = table::WRONG.iter().map(|(_, page, ..)| page.as_bytes().to_vec()).collect();
    corpus.extend(PAGES.iter().map(|(_, page, ..)| page.as_bytes()[..page.len().min(700)].to_vec()));
    mutate::run("exposition", &corpus, |input| {
        for kind in [TEXT, OPENMETRICS, ""] {
            let mut known = fresh();
            let whole = take(&mut known, kind, [input], &target);
            let again = take(&mut known, kind, [input], &target);
            assert_eq!(bits(&whole), bits(&again), "a known page is the same page");
            let pieces = take(&mut fresh(), kind, input.chunks(1 + input.len() / 3), &target);
            assert_eq!(bits(&whole), bits(&pieces), "pieces make the same page");
            if let Ok((counts, samples)) = &whole {
                assert!(counts.scraped <= input.iter().filter(|b| **b == b'\n').count() + 1);
                assert_eq!(counts.kept - counts.repeated, samples.len());
                assert!(samples.iter().all(|s| !s.labels.name().is_empty() && s.labels.get("job") == "api"));
                assert_eq!(again.unwrap().0.added, 0, "nothing is added twice");
            }
        }
    });
}
