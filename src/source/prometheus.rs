//! `[prometheus.NAME]`: scrapes a page of metrics.
//!
//! Enters: the page at `url`, in the Prometheus text format or OpenMetrics. Leaves: every sample of the page, and
//! `up`, `scrape_duration_seconds`, `scrape_samples_scraped` beside the `probe_*` of every source. A page that fails
//! anywhere (unreachable, not 200, not an exposition, past a bound) gives none of its samples.
//!
//! Reasons: those of [`http`](crate::sys::http), and `secret`, `status`, `body`, `too-large`, `too-many`.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::Arc;

use reqwest::header::{self, HeaderMap, HeaderValue};

use super::common::{Auth, Common, Defaults, Outside, Target, prove, sample};
use super::exposition::{self, Fault, Format, Point};
use crate::base::table::{Placed, Size};
use crate::base::{Batch, Failure, Labels, Node, Outcome, Problems, Sample, Table, Timestamp};
use crate::sys::clock::Stopwatch;
use crate::sys::http::{Method, Request, Url, address, host_and_port};

/// Names that exist from the start.
pub const NAMES: [&str; 6] = [
    "probe_success",
    "probe_duration_seconds",
    "probe_failure_info",
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
];

/// The text format first: it is the one that every target speaks alike.
const ACCEPT: &str = "text/plain;version=0.0.4,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1";

/// How often a page may move: as often as for other probes.
const REDIRECTS: u32 = 5;

/// The table `[prometheus.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What all sources take.
    pub common: Common,
    /// The page.
    pub url: Url,
    /// How to prove who asks.
    pub auth: Option<Auth>,
    /// The most samples of one page.
    pub max_samples: u32,
    /// The longest page, in bytes after decompression.
    pub max_body: u64,
    /// What of the page is kept.
    pub keep: Keep,
}

/// What of a page is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Everything.
    #[default]
    All,
    /// What some rule reads, and what is about the look itself.
    Referenced,
}

/// Whether some rule reads a series.
pub type IsReferenced = Arc<dyn Fn(&Labels) -> bool + Send + Sync>;

impl Config {
    /// Reads the table of `name`; none when it cannot be used.
    pub fn read(name: &str, node: &Node, defaults: &Defaults, problems: &mut Problems) -> Option<Config> {
        let what = format!("[prometheus.{name}]");
        let mut table = Table::open(node, &what, problems)?;
        let common = Common::read("prometheus", name, &mut table, defaults, problems);
        let url = read_url(&mut table, "\"http://127.0.0.1:8080/metrics\"", problems);
        let auth = Auth::read(&mut table, problems);
        let max_samples = table.or("max_samples", 50_000u32, problems);
        let max_body = read_max_body(&mut table, 16 << 20, problems);
        let keep = read_keep(&mut table, problems);
        table.finish(problems);
        Some(Config { common, url: url?, auth, max_samples, max_body, keep })
    }
}

/// Reads the key `keep`.
fn read_keep(table: &mut Table<'_>, problems: &mut Problems) -> Keep {
    let Some(word) = table.get::<Placed<String>>("keep", problems) else { return Keep::All };
    match &*word.value {
        "all" => Keep::All,
        "referenced" => Keep::Referenced,
        other => {
            problems
                .error(&word.place, format!("`{other}` is nothing that can be kept"), "")
                .help("keep = \"all\", or keep = \"referenced\": only the series that some rule reads");
            Keep::All
        }
    }
}

/// Reads the required key `url`.
pub fn read_url(table: &mut Table<'_>, example: &str, problems: &mut Problems) -> Option<Url> {
    let text: String = table.required("url", example, problems)?;
    match address(&text) {
        Ok(url) => Some(url),
        Err((why, help)) => {
            let place = table.node("url").map_or_else(|| table.place().clone(), Node::inside);
            problems.error(&place, why, "this address").help(help);
            None
        }
    }
}

/// The longest body that a configuration may allow: it is held in memory as a whole.
const MAX_BODY: Size = Size(256 << 20);

/// Reads the key `max_body`.
pub fn read_max_body(table: &mut Table<'_>, default: u64, problems: &mut Problems) -> u64 {
    let size = table.or("max_body", Size(default), problems);
    if size > MAX_BODY
        && let Some(node) = table.node("max_body")
    {
        problems.error(&node.place, "a body is at most 256MiB", "it is held in memory as a whole");
    }
    size.min(MAX_BODY).0
}

/// A scraped target.
#[derive(Debug)]
pub struct Prometheus {
    config: Config,
    target: Target,
    outside: Outside,
    cache: Cache,
    filter: Filter,
}

/// What of a page is left out, if anything.
struct Filter(Option<IsReferenced>);

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Filter(referenced)" } else { "Filter(all)" })
    }
}

impl Prometheus {
    /// A target that was not scraped yet.
    pub fn new(config: Config, outside: Outside) -> Prometheus {
        let target = Target::new(&config.common, host_and_port(&config.url));
        Prometheus { config, target, outside, cache: Cache::default(), filter: Filter(None) }
    }

    /// The same target, that gives only referenced series if its configuration says so.
    #[must_use]
    pub fn reading(mut self, is_referenced: &IsReferenced) -> Prometheus {
        self.filter = Filter((self.config.keep == Keep::Referenced).then(|| is_referenced.clone()));
        self
    }

    /// What is looked at.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Scrapes once.
    pub async fn collect(&mut self, at: Timestamp) -> Batch {
        let watch = Stopwatch::start();
        let scraped = self.scrape().await;
        let seconds = watch.seconds();
        let (outcome, mut samples) = match scraped {
            Ok(samples) => (Outcome::Good, samples),
            Err(failure) => (Outcome::Failed(failure), Vec::new()),
        };
        let count = if outcome == Outcome::Good { self.cache.lines as f64 } else { 0.0 };
        let up = if outcome == Outcome::Good { 1.0 } else { 0.0 };
        for (name, value) in [("up", up), ("scrape_duration_seconds", seconds), ("scrape_samples_scraped", count)] {
            samples.push(sample(self.target.series(name, &[]), value));
        }
        self.target.batch(at, seconds, outcome, samples)
    }

    async fn scrape(&mut self) -> Result<Vec<Sample>, Failure> {
        let mut headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(ACCEPT))]);
        let secrets = &self.outside.secrets;
        let timeout = prove(self.config.auth.as_ref(), secrets, &mut headers, self.target.timeout).await?;
        let request = Request {
            method: Method::GET,
            url: &self.config.url,
            headers,
            body: None,
            redirects: REDIRECTS,
            max_body: self.config.max_body,
            timeout,
        };
        let response = self.outside.http.fetch(request).await?;
        if response.status != 200 {
            return Err(Failure::new("status", format!("expected status 200, saw {}", response.status)));
        }
        let format = Format::of(&response.content_type());
        self.cache.read(&response.body, format, self.config.max_samples as usize, &self.target, &self.filter)
    }
}

/// The labels of known series by their text on the page, so that a known line costs a look-up and a number.
#[derive(Debug, Default)]
struct Cache {
    known: HashMap<Box<[u8]>, Known>,
    /// Hashes of the texts of series that are not kept: eight bytes each, so a large page costs little more than what
    /// is kept of it. Two texts with one hash could lose a series that is read; the hash has a random key, so that takes
    /// a chance of one in 10^10 even for a page of 50,000.
    left_out: HashSet<u64>,
    hasher: RandomState,
    /// Samples on the last page.
    lines: usize,
    round: u64,
    /// How many of the known stood on the page of this round.
    live: usize,
}

#[derive(Debug)]
struct Known {
    labels: Labels,
    /// The round in which it stood on the page last.
    seen: u64,
}

impl Cache {
    /// Reads a page. What is not on it is forgotten; a page that fails leaves at most `max` series behind.
    fn read(
        &mut self,
        page: &[u8],
        format: Format,
        max: usize,
        target: &Target,
        filter: &Filter,
    ) -> Result<Vec<Sample>, Failure> {
        self.round += 1;
        self.live = 0;
        let mut samples = Vec::with_capacity(self.known.len());
        let mut read = 0;
        let done = exposition::read(page, format, |point| {
            read += 1;
            if read > max {
                return Err(Fault { reason: "too-many", what: "more samples than max_samples allows" });
            }
            samples.extend(self.sample(point, target, filter)?);
            Ok(())
        });
        if done.is_ok() && self.known.len() > self.live {
            let round = self.round;
            self.known.retain(|_, known| known.seen == round);
        } else if self.known.len() > max {
            self.known.clear();
        }
        if self.left_out.len() > max {
            self.left_out.clear();
        }
        self.lines = read;
        done.map(|_| samples)
    }

    /// The sample of a line; none when the same series stood on this page before, at no other time, or is ours.
    fn sample(&mut self, point: Point<'_>, target: &Target, filter: &Filter) -> Result<Option<Sample>, Fault> {
        if filter.0.is_some() && self.left_out.contains(&self.hasher.hash_one(point.series)) {
            return Ok(None);
        }
        let labels = match self.known.get_mut(point.series) {
            Some(known) if known.seen == self.round && point.at.is_none() => return Ok(None),
            Some(known) => {
                self.live += usize::from(known.seen != self.round);
                known.seen = self.round;
                known.labels.clone()
            }
            None => {
                let series = exposition::decode(point.series)?;
                if NAMES.contains(&&*series.name) && series.labels.is_empty() {
                    // With our labels it would be the series that says how the look at this target went.
                    return Ok(None);
                }
                let theirs: Vec<(&str, &str)> = series.labels.iter().map(|(n, v)| (&**n, &**v)).collect();
                let labels = target.scraped(&series.name, &theirs);
                if filter.0.as_ref().is_some_and(|is_referenced| !is_referenced(&labels)) {
                    self.left_out.insert(self.hasher.hash_one(point.series));
                    return Ok(None);
                }
                self.live += 1;
                self.known.insert(point.series.into(), Known { labels: labels.clone(), seen: self.round });
                labels
            }
        };
        Ok(Some(Sample { labels, value: point.value, at: point.at }))
    }
}

#[cfg(test)]
mod tests {
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
        let filter: IsReferenced = Arc::new(|labels| labels.name() == "a" && labels.get("x") == "2");
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
            (&many.url, "max_samples = 2", "too-many: line 3: more samples than max_samples allows: `c 3`"),
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
            assert_eq!(batch.samples.len(), 6, "no sample of a failed page: {wanted}");
        }
    }

    #[tokio::test]
    async fn a_bearer_token_is_sent_and_never_shown() {
        let server = Server::start(Manner::Echoes).await;
        let mut source = source(&format!("url = \"{}/m\"\nauth = {{ bearer = \"env:TOKEN\" }}", server.url));
        source.outside.secrets = crate::sys::secret::Secrets::with_env(|_| Some("hunter2".into()));
        let batch = source.collect(Timestamp(0)).await;
        assert!(outcome(&batch).starts_with("body: line 1:"), "{}", outcome(&batch));
        assert!(!format!("{source:?} {batch:?}").contains("hunter2"));
    }

    #[test]
    fn known_series_are_remembered_and_gone_ones_forgotten() {
        let mut source = source("url = \"http://127.0.0.1:1/\"");
        let mut read = |page: &str| {
            let samples = source.cache.read(page.as_bytes(), Format::Text, 3, &source.target, &source.filter);
            (samples.map(|s| s.len()).map_err(|f| f.reason), source.cache.known.len())
        };
        assert_eq!(read("a 1\nb 2\nc 3\n"), (Ok(3), 3));
        assert_eq!(read("a 1\na 2\n"), (Ok(1), 1), "a series stands on a page once");
        assert_eq!(read("a 1 1000\na 2 2000\n"), (Ok(2), 1), "but for different times");
        assert_eq!(read("b 1\nc 1\nd 1\ne 1\n"), (Err("too-many"), 0), "never more than allowed are kept");
        assert_eq!(read("x{}1\nbad\n"), (Err("body"), 1));
        assert_eq!(read("x{}1\nup 1\nup{of=\"y\"} 1\n"), (Ok(2), 2), "no page says whether its target is up");
    }

    #[test]
    fn every_mistake_of_the_table_is_named() {
        for (toml, wanted) in [
            ("", "[prometheus.api] needs `url`"),
            ("url = \"http://u:p@h/\"", "an address holds no credentials"),
            ("url = \"http://h/\"\nkeep = \"some\"", "`some` is nothing that can be kept"),
            ("url = \"http://h/\"\nmax_body = \"1GiB\"", "a body is at most 256MiB"),
            ("url = \"http://h/\"\nauth = { bearer = \"hunter2\" }", "a secret is never written out here"),
            ("url = \"http://h/\"\nauth = { user = \"a\" }", "`auth` takes one of three forms"),
        ] {
            let (_, problems) = read(toml, |node, problems| Config::read("api", node, &defaults(), problems));
            assert_eq!(problems, [wanted], "{toml}");
        }
    }
}
