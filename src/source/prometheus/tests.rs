//! What one look gives, and how it fails.

use std::sync::Arc;

use super::*;
use crate::source::testing::{Manner, Server, defaults, nobody, outcome, read, value};

fn source(toml: &str) -> Prometheus {
    let (config, problems) = read(toml, |node, problems| Config::read("api", node, &defaults(), problems));
    assert_eq!(problems, Vec::<String>::new());
    Prometheus::new(config.unwrap(), Outside::of_process())
}

async fn scrape(url: &str, more: &str) -> Batch {
    source(&format!("url = \"{url}/metrics\"\n{more}")).collect(Timestamp(1000)).await
}

const TEXT: &str = "content-type: text/plain; version=0.0.4\r\n";

#[tokio::test]
async fn a_page_becomes_samples_with_our_labels() {
    let page = b"# TYPE a counter\na{route=\"/u/{id}\",job=\"theirs\"} 3\nb 4 1700000000000\n";
    let server = Server::answering("200 OK", TEXT, page).await;
    let batch = scrape(&server.url, "").await;
    assert_eq!(outcome(&batch), "good");
    assert_eq!(value(&batch, "a", &[("route", "/u/{id}"), ("exported_job", "theirs"), ("job", "api")]), Some(3.0));
    assert_eq!(value(&batch, "b", &[("instance", &batch.instance), ("app", "shop"), ("zone", "a")]), Some(4.0));
    assert_eq!(value(&batch, "up", &[]), Some(1.0));
    assert_eq!(value(&batch, "probe_success", &[]), Some(1.0));
    assert_eq!(value(&batch, "scrape_samples_scraped", &[]), Some(2.0));
    assert!(batch.samples.iter().any(|s| s.at == Some(Timestamp(1_700_000_000_000))));
}

#[tokio::test]
async fn what_no_rule_reads_is_left_out_where_only_referenced_series_are_kept() {
    let server = Server::answering("200 OK", TEXT, b"a{x=\"1\"} 1\na{x=\"2\"} 2\nb 3\nup 5\n").await;
    let filter = Referenced {
        name: Arc::new(|name| name == "a"),
        series: Arc::new(|labels| labels.name() == "a" && labels.get("x") == "2"),
    };
    for (keep, wanted) in [("referenced", [None, Some(2.0), None]), ("all", [Some(1.0), Some(2.0), Some(3.0)])] {
        let toml = format!("url = \"{}/metrics\"\nkeep = \"{keep}\"", server.url);
        let mut source = source(&toml).reading(&filter);
        for round in 0..2 {
            let batch = source.collect(Timestamp(1000)).await;
            let seen = [("a", "1"), ("a", "2")].map(|(name, x)| value(&batch, name, &[("x", x)]));
            assert_eq!([seen[0], seen[1], value(&batch, "b", &[])], wanted, "{keep}, round {round}");
            assert_eq!(value(&batch, "scrape_samples_scraped", &[]), Some(4.0));
            assert_eq!(value(&batch, "up", &[]), Some(1.0));
        }
    }
}

#[tokio::test]
async fn each_way_to_fail_costs_only_this_target_and_has_a_reason() {
    let html = Server::answering("200 OK", "content-type: text/html\r\n", b"<html>\n<p>502</p>").await;
    let empty = Server::answering("200 OK", "", b"").await;
    let error = Server::answering("500 Internal Server Error", TEXT, b"a 1\n").await;
    let garbage = Server::answering("200 OK", TEXT, b"a 1\nb 2\n=== 3\n").await;
    let many = Server::answering("200 OK", TEXT, b"a 1\nb 2\nc 3\n").await;
    let endless = Server::start(Manner::Endless).await;
    let hangs = Server::start(Manner::Hangs).await;
    let dead = nobody().await;
    for (url, more, wanted) in [
        (&html.url, "", "body: line 1: no value: `<html>`"),
        (&empty.url, "", "body: the page holds no sample, and is not said to be an exposition"),
        (&error.url, "", "status: expected status 200, saw 500"),
        (&garbage.url, "", "body: line 3: not a line of an exposition: `=== 3`"),
        (
            &many.url,
            "max_samples = 2",
            "too-many: 3 samples are more than max_samples allows (2): raise it, or keep less",
        ),
        (&many.url, "max_body = \"10B\"", "too-large: the body is longer than 10 bytes"),
        (&endless.url, "max_body = \"64KiB\"", "too-large: the body is longer than 65536 bytes"),
        (&hangs.url, "timeout = \"150ms\"", "timeout: no"),
        (&dead, "", "refused: "),
        (&many.url, "auth = { bearer = \"env:BACKSTOP_NO_SUCH\" }", "secret: env:BACKSTOP_NO_SUCH is not set"),
    ] {
        let batch = scrape(url, more).await;
        assert!(outcome(&batch).starts_with(wanted), "{}", outcome(&batch));
        assert_eq!(value(&batch, "up", &[]), Some(0.0), "{wanted}");
        assert_eq!(value(&batch, "probe_success", &[]), Some(0.0), "{wanted}");
        let reason = wanted.split(':').next().unwrap();
        assert_eq!(value(&batch, "probe_failure_info", &[("reason", reason)]), Some(1.0), "{wanted}");
        assert_eq!(batch.samples.len(), NAMES.len(), "no sample of a failed page: {wanted}");
    }
}

#[tokio::test]
async fn what_is_sent_and_secret_is_never_shown_though_the_server_repeats_it() {
    let server = Server::start(Manner::Echoes).await;
    for (url, shown) in [("/m", "GET /m HTTP/1.1"), ("/m?key=hunter2", "(not shown: it repeats what was sent)")] {
        let mut source = source(&format!("url = \"{}{url}\"\nauth = {{ bearer = \"env:TOKEN\" }}", server.url));
        source.outside.secrets = crate::sys::secret::Secrets::with_env(|_| Some("hunter2".into()));
        let batch = source.collect(Timestamp(0)).await;
        assert!(outcome(&batch).starts_with("body: line 1:"), "{}", outcome(&batch));
        assert!(outcome(&batch).contains(shown), "{}", outcome(&batch));
        assert!(!format!("{source:?} {batch:?}").contains("hunter2"));
    }
}

#[test]
fn a_line_with_a_secret_is_not_quoted_wherever_it_stands_in_it() {
    let mut page = Page::new(10, &Keep::All, &[]);
    let target = source("url = \"http://h/\"").target;
    for line in ["= hunter2", &format!("x {}hunter2 y", "y".repeat(5_000)), &format!("hunter2{}", "y".repeat(70_000))] {
        page.hide([b"hunter2".to_vec(), Vec::new()]);
        let failure = page.read("text/plain", [line.as_bytes()], &target, &mut Vec::new()).unwrap_err();
        assert!(failure.detail.ends_with("(not shown: it repeats what was sent)"), "{failure}");
        page.hide([]);
        let failure = page.read("text/plain", [line.as_bytes()], &target, &mut Vec::new()).unwrap_err();
        assert!(failure.detail.contains("`"), "{failure}");
    }
    page.hide([b"hunter2".to_vec()]);
    assert!(!format!("{page:?}").contains("hunter2"));
}

/// Reads a page; the series and values it gives, or the reason of its failure.
fn page(source: &mut Prometheus, text: &str) -> Result<Vec<String>, &'static str> {
    let mut samples = Vec::new();
    let read = source.page.read("text/plain; version=0.0.4", [text.as_bytes()], &source.target, &mut samples);
    let line = |s: &Sample| format!("{} {}", s.labels.filtered(|n| !OURS.contains(&n)), s.value);
    read.map(|_| samples.iter().map(line).collect()).map_err(|failure| failure.reason)
}

const OURS: [&str; 6] = ["app", "instance", "job", "service", "source", "zone"];

fn counts(source: &mut Prometheus, text: &str) -> [usize; 4] {
    let counts = source.page.read("text/plain", [text.as_bytes()], &source.target, &mut Vec::new()).unwrap();
    [counts.scraped, counts.kept, counts.added, counts.repeated]
}

#[test]
fn a_known_series_is_not_added_again_and_one_that_repeats_is_counted_and_left_out() {
    let mut source = source("url = \"http://127.0.0.1:1/\"");
    assert_eq!(counts(&mut source, "a 1\nb 2\nc 3\n"), [3, 3, 3, 0]);
    assert_eq!(counts(&mut source, "a 1\nc 3\nd 4\n"), [3, 3, 1, 0]);
    assert_eq!(
        counts(&mut source, "a 1\na 2\na 1 1000\na 2 2000\n"),
        [4, 4, 0, 1],
        "at other times it is another sample"
    );
    assert_eq!(page(&mut source, "a 1\nb 2\na 3\n"), Ok(vec!["a 1".into(), "b 2".into()]), "the first one stands");
}

#[test]
fn one_series_in_two_ways_of_writing_is_one_series() {
    let mut source = source("url = \"http://127.0.0.1:1/\"");
    let text = "a{x=\"1\",y=\"2\"} 1\nb 2\na{y=\"2\", x=\"1\"} 3\na{x=\"1\",y=\"2\",z=\"\"} 4\n";
    assert_eq!(counts(&mut source, text), [4, 4, 2, 2]);
    assert_eq!(counts(&mut source, text), [4, 4, 0, 2]);
    assert_eq!(page(&mut source, text), Ok(vec!["a{x=\"1\",y=\"2\"} 1".into(), "b 2".into()]));
    let other = "b 2\na{y=\"2\", x=\"1\"} 3\n";
    for _ in 0..30 {
        assert_eq!(page(&mut source, other), Ok(vec!["b 2".into(), "a{x=\"1\",y=\"2\"} 3".into()]));
    }
    assert_eq!(counts(&mut source, text), [4, 4, 0, 2], "the series was known all the time by its other text");
}

#[test]
fn lines_that_move_appear_and_vanish_are_read_alike() {
    let mut source = source("url = \"http://127.0.0.1:1/\"");
    let mut seed = 7u64;
    let mut random = |n: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % n
    };
    for round in 0..300 {
        let mut names: Vec<usize> = (0..40).filter(|_| random(5) > 0).collect();
        if random(3) == 0 {
            names.reverse();
        }
        if random(3) == 0 && names.len() > 2 {
            let (a, b) = (random(names.len()), random(names.len()));
            names.swap(a, b);
        }
        let text: String = names.iter().map(|n| format!("m{{n=\"{n}\"}} {}\n", n * round)).collect();
        let wanted: Vec<String> = names.iter().map(|n| format!("m{{n=\"{n}\"}} {}", n * round)).collect();
        assert_eq!(page(&mut source, &text), Ok(wanted), "round {round}");
    }
}

#[test]
fn what_is_gone_is_forgotten_after_some_looks_and_never_more_than_two_pages_are_kept() {
    let mut source = source("url = \"http://127.0.0.1:1/\"\nmax_samples = 3");
    assert_eq!(counts(&mut source, "a 1\nb 2\nc 3\n"), [3, 3, 3, 0]);
    for round in 1..=2 * cache::FORGET_AFTER {
        assert_eq!(counts(&mut source, "a 1\n"), [1, 1, 0, 0]);
        let known = source.page.cache.len();
        assert!(round > cache::FORGET_AFTER || known == 3, "round {round}: {known}");
    }
    assert_eq!(source.page.cache.len(), 1);
    for round in 0..50 {
        let text: String = (0..3).map(|i| format!("x{round}_{i} 1\n")).collect();
        assert_eq!(counts(&mut source, &text), [3, 3, 3, 0]);
        assert!(source.page.cache.len() <= 6, "{}", source.page.cache.len());
    }
}

#[test]
fn a_page_past_the_bound_gives_nothing_and_teaches_nothing() {
    let mut source = source("url = \"http://127.0.0.1:1/\"\nmax_samples = 3");
    for round in 0..20 {
        let text: String = (0..100).map(|i| format!("x{round}_{i} 1\n")).collect();
        assert_eq!(page(&mut source, &text), Err("too-many"));
        assert!(source.page.cache.len() <= 6);
        assert!(source.page.cache.likely() <= 3, "room for no more than is kept");
        assert_eq!(page(&mut source, "a 1\nb 2\n= 3\n"), Err("body"));
    }
    assert_eq!(page(&mut source, "a 1\n"), Ok(vec!["a 1".into()]));
}

#[test]
fn names_are_kept_and_dropped_by_patterns() {
    let text = "http_requests_total{code=\"200\"} 1\nhttp_size_bytes 2\ngo_threads 3\n{\"http.server.x\"} 4\n{\"go.x\",a=\"1\"} 5\n";
    for (more, wanted) in [
        ("keep = [\"http*\"]", &["http_requests_total", "http_size_bytes", "http.server.x"][..]),
        ("keep = [\"http_*\"]\ndrop = [\"*_bytes\"]", &["http_requests_total"]),
        ("drop = [\"go*\"]", &["http_requests_total", "http_size_bytes", "http.server.x"]),
        ("keep = \"all\"\ndrop = [\"*\"]", &[]),
    ] {
        let mut source = source(&format!("url = \"http://h/\"\n{more}"));
        for round in 0..3 {
            let mut samples = Vec::new();
            let read = source.page.read("text/plain", [text.as_bytes()], &source.target, &mut samples);
            let counts = read.unwrap();
            let names: Vec<&str> = samples.iter().map(|s| s.labels.name()).collect();
            assert_eq!(names, wanted, "{more}, round {round}");
            assert_eq!((counts.scraped, counts.kept), (5, wanted.len()));
        }
        let broken = format!("{text}go_x one\n");
        assert_eq!(page(&mut source, &broken), Err("body"), "what is left out must be an exposition all the same");
    }
}

#[test]
fn many_left_out_series_cost_no_more_than_their_bound() {
    let mut source = source("url = \"http://h/\"\nmax_samples = 10\nkeep = \"referenced\"");
    source = source
        .reading(&Referenced { name: Arc::new(|name| name == "a"), series: Arc::new(|labels| labels.get("x") == "7") });
    let text: String = (0..500).map(|i| format!("a{{x=\"{i}\"}} {i}\nb{{x=\"{i}\"}} 1\n")).collect();
    for _ in 0..20 {
        assert_eq!(page(&mut source, &text), Ok(vec!["a{x=\"7\"} 7".into()]));
        assert!(source.page.cache.len() <= 60, "{}", source.page.cache.len());
    }
}

#[test]
fn no_page_says_how_the_look_at_its_target_went() {
    let mut source = source("url = \"http://h/\"");
    let text = "up 1\nup{x=\"\"} 2\nup{of=\"y\"} 3\nprobe_success 0\nprobe_failure_info{reason=\"x\"} 1\n";
    let wanted =
        ["exported_up 1", "up{of=\"y\"} 3", "exported_probe_success 0", "exported_probe_failure_info{reason=\"x\"} 1"];
    for _ in 0..2 {
        assert_eq!(page(&mut source, text), Ok(wanted.map(String::from).to_vec()));
    }
}

#[test]
fn bounds_of_buckets_are_written_alike_whatever_the_format() {
    let mut source = source("url = \"http://h/\"");
    let text = "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 1\n# TYPE s summary\ns{quantile=\"1\"} 2\n\
        # TYPE g gauge\ng{le=\"1\",quantile=\"1\"} 3\n";
    let wanted =
        ["h_bucket{le=\"1.0\"} 1", "h_bucket{le=\"+Inf\"} 1", "s{quantile=\"1.0\"} 2", "g{le=\"1\",quantile=\"1\"} 3"];
    for _ in 0..2 {
        assert_eq!(page(&mut source, text), Ok(wanted.map(String::from).to_vec()));
    }
}

#[test]
fn every_mistake_of_the_table_is_named() {
    for (toml, wanted) in [
        ("", "[prometheus.api] needs `url`"),
        ("url = \"http://u:p@h/\"", "an address holds no credentials"),
        ("url = \"http://h/\"\nkeep = \"some\"", "`some` is nothing that can be kept"),
        ("url = \"http://h/\"\nkeep = []", "an empty `keep` would keep nothing"),
        ("url = \"http://h/\"\nkeep = 3", "`keep` takes a word or a list of name patterns"),
        ("url = \"http://h/\"\nkeep = [\"a{x}\"]", "`a{x}` is no pattern of a name"),
        ("url = \"http://h/\"\nkeep = [3]", "this takes a name pattern"),
        ("url = \"http://h/\"\ndrop = \"go_*\"", "this takes a list of name patterns"),
        ("url = \"http://h/\"\ndrop = [\"\"]", "`` is no pattern of a name"),
        ("url = \"http://h/\"\nmax_samples = 0", "a page has between 1 and 1,000,000 samples"),
        ("url = \"http://h/\"\nmax_samples = 2000000", "a page has between 1 and 1,000,000 samples"),
        ("url = \"http://h/\"\nmax_body = \"1GiB\"", "a body is at most 256MiB"),
        ("url = \"http://h/\"\nauth = { bearer = \"hunter2\" }", "a secret is never written out here"),
        ("url = \"http://h/\"\nauth = { user = \"a\" }", "`auth` takes one of three forms"),
    ] {
        let (_, problems) = read(toml, |node, problems| Config::read("api", node, &defaults(), problems));
        assert_eq!(problems, [wanted], "{toml}");
    }
}

#[tokio::test]
async fn a_certificate_of_ones_own_is_believed_when_it_is_given_as_tls_ca() {
    use crate::sys::http::testing::{Act, Scripted, ok, self_signed};
    let folder = tempfile::tempdir().unwrap();
    let identity = self_signed(&["127.0.0.1"], (2020, 2040));
    let ca = folder.path().join("ca.pem");
    crate::sys::files::replace(&ca, identity.cert.as_bytes(), 0o600).unwrap();
    for (tls, wanted) in [
        (format!("tls = {{ ca = '{}' }}", ca.display()), "good"),
        (String::new(), "tls: the certificate is self-signed and not trusted here"),
    ] {
        let server = Scripted::tls(identity.server(rustls::ALL_VERSIONS, None), vec![Act::Read, ok("a 1\n")]).await;
        let batch = source(&format!("url = \"{}\"\n{tls}", server.url)).collect(Timestamp(1000)).await;
        assert!(outcome(&batch).starts_with(wanted), "{}", outcome(&batch));
    }
}
