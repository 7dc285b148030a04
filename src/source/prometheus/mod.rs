//! `[prometheus.NAME]`: scrapes a page of metrics.
//!
//! Enters: the page at `url`, in the Prometheus text format or OpenMetrics. Leaves: every sample of the page that `keep`
//! and `drop` allow, and the series of [`NAMES`]. A page that fails anywhere (unreachable, not 200, not an exposition, past a
//! bound) gives none of its samples; what it gave before then ends.
//!
//! The page is read in the pieces in which it comes, by a [`Reader`]; what its lines mean is remembered from look to look, so
//! that a page of known series costs a comparison and a number for each line (`cache`).
//!
//! Reasons: those of [`http`](crate::sys::http), and `secret`, `status`, `body`, `too-large`, `too-many`.

mod cache;
mod keep;
mod page;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

pub use self::cache::Counts;
pub(in crate::source) use self::cache::labels_of;
pub use self::keep::{Keep, MAX_PATTERNS, Pattern, Referenced};
pub use self::page::Page;

use self::keep::{read_drop, read_keep};
use super::common::{Auth, Common, Defaults, Outside, Target, prove, read_tls, sample};
use crate::base::table::Size;
use crate::base::{Batch, Failure, Node, Outcome, Problems, Sample, Table, Timestamp};
use crate::sys::clock::Stopwatch;
use crate::sys::http::{Client, Head, Method, Request, Tls, Url, address, host_and_port};

/// Names that exist from the start.
pub const NAMES: [&str; 10] = [
    "probe_success",
    "probe_duration_seconds",
    "probe_failure_info",
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
    "scrape_sample_limit",
    "backstop_scrape_samples_repeated",
];

/// What Prometheus asks for by default, in its order: a target that speaks both formats names its series by the format
/// that it answers in, and rules that were written for Prometheus must find them.
const ACCEPT: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
    application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
    text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

/// Tells the target how long it may take, in seconds; exporters that look further stop in time.
const TIMEOUT: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

/// How often a page may move: as often as for other probes.
const REDIRECTS: u32 = 5;

/// The table `[prometheus.NAME]`.
#[derive(Clone, PartialEq)]
pub struct Config {
    /// What all sources take.
    pub common: Common,
    /// The page.
    pub url: Url,
    /// How to prove who asks.
    pub auth: Option<Auth>,
    /// Whom to believe, and how to prove oneself, over TLS.
    pub tls: Tls,
    /// The most samples of one page that are kept.
    pub max_samples: u32,
    /// The longest page, in bytes after decompression.
    pub max_body: u64,
    /// What of the page is kept.
    pub keep: Keep,
    /// What of that is left out nevertheless.
    pub drop: Vec<Pattern>,
}

/// Without path and query of the address, which may hold what is secret.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("common", &self.common)
            .field("url", &host_and_port(&self.url))
            .field("auth", &self.auth)
            .field("tls", &self.tls)
            .field("keep", &self.keep)
            .field("drop", &self.drop)
            .finish_non_exhaustive()
    }
}

/// The most that `max_samples` may be: each known series costs about half a kilobyte.
const MAX_SAMPLES: u32 = 1_000_000;

impl Config {
    /// Reads the table of `name`; none when it cannot be used.
    pub fn read(name: &str, node: &Node, defaults: &Defaults, problems: &mut Problems) -> Option<Config> {
        let what = format!("[prometheus.{name}]");
        let mut table = Table::open(node, &what, problems)?;
        let common = Common::read("prometheus", name, &mut table, defaults, problems);
        let url = read_url(&mut table, "\"http://127.0.0.1:8080/metrics\"", problems);
        let auth = Auth::read(&mut table, problems);
        let tls = read_tls(&mut table, problems);
        let max_samples = read_max_samples(&mut table, problems);
        let max_body = read_max_body(&mut table, 16 << 20, problems);
        let keep = read_keep(&mut table, problems);
        let drop = read_drop(&mut table, problems);
        table.finish(problems);
        Some(Config { common, url: url?, auth, tls, max_samples, max_body, keep, drop })
    }
}

fn read_max_samples(table: &mut Table<'_>, problems: &mut Problems) -> u32 {
    let wanted = table.or("max_samples", 50_000u32, problems);
    if !(1..=MAX_SAMPLES).contains(&wanted)
        && let Some(node) = table.node("max_samples")
    {
        problems
            .error(&node.place, "a page has between 1 and 1,000,000 samples", "")
            .help("to take less of a page, write keep = [\"…\"] or drop = [\"…\"]");
    }
    wanted.clamp(1, MAX_SAMPLES)
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
    client: Client,
    page: Page,
}

impl Prometheus {
    /// A target that was not scraped yet.
    pub fn new(config: Config, outside: Outside) -> Prometheus {
        let target = Target::new(&config.common, host_and_port(&config.url));
        let page = Page::new(config.max_samples as usize, &config.keep, &config.drop);
        let client = outside.http.for_target(config.tls.clone(), &outside.secrets).every(config.common.interval);
        Prometheus { config, target, outside, client, page }
    }

    /// The same target, that gives only referenced series if its configuration says so.
    #[must_use]
    pub fn reading(mut self, referenced: &Referenced) -> Prometheus {
        self.page.refer_to(referenced);
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
        let (outcome, counts, mut samples) = match scraped {
            Ok((counts, samples)) => (Outcome::Good, counts, samples),
            Err(failure) => (Outcome::Failed(failure), Counts::default(), Vec::new()),
        };
        let up = if outcome == Outcome::Good { 1.0 } else { 0.0 };
        for (name, value) in [
            ("up", up),
            ("scrape_duration_seconds", seconds),
            ("scrape_samples_scraped", counts.scraped as f64),
            ("scrape_samples_post_metric_relabeling", (counts.kept - counts.repeated) as f64),
            ("scrape_series_added", counts.added as f64),
            ("scrape_sample_limit", f64::from(self.config.max_samples)),
            ("backstop_scrape_samples_repeated", counts.repeated as f64),
        ] {
            samples.push(sample(self.target.series(name, &[]), value));
        }
        self.target.batch(at, seconds, outcome, samples)
    }

    async fn scrape(&mut self) -> Result<(Counts, Vec<Sample>), Failure> {
        let mut headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(ACCEPT))]);
        let seconds = self.target.timeout.as_secs().to_string();
        headers.extend(HeaderValue::from_str(&seconds).map(|value| (TIMEOUT, value)));
        let secrets = &self.outside.secrets;
        let timeout = prove(self.config.auth.as_ref(), secrets, &mut headers, self.target.timeout).await?;
        let sent = sent(&self.config.url, &headers);
        let request = Request {
            method: Method::GET,
            url: &self.config.url,
            headers,
            body: None,
            redirects: REDIRECTS,
            max_body: self.config.max_body,
            timeout,
        };
        let mut samples = Vec::with_capacity(self.page.likely() + NAMES.len());
        self.page.hide(sent);
        let read = read(&self.client, request, &mut self.page, &self.target, &mut samples).await;
        self.page.hide([]);
        Ok((read?, samples))
    }

    /// The files that a look reads.
    pub fn files(&self) -> Vec<std::path::PathBuf> {
        self.config.auth.iter().filter_map(|auth| auth.file()).chain(self.config.tls.files()).collect()
    }
}

/// Reads a page as it comes.
async fn read(
    client: &Client,
    request: Request<'_>,
    page: &mut Page,
    target: &Target,
    samples: &mut Vec<Sample>,
) -> Result<Counts, Failure> {
    let mut begun = false;
    let mut take = |head: &Head, piece: &[u8]| {
        check_status(head.status)?;
        if !begun {
            page.begin(&head.content_type());
            begun = true;
        }
        page.feed(piece, target, samples)
    };
    let response = client.stream(request, &mut take).await?;
    check_status(response.status)?;
    if !begun {
        page.begin(&response.content_type());
    }
    page.end(target, samples)
}

fn check_status(status: u16) -> Result<(), Failure> {
    match status {
        200 => Ok(()),
        other => Err(Failure::new("status", format!("expected status 200, saw {other}"))),
    }
}

/// What a request carries that is nobody else's business: values of secret headers, and the query of the address.
fn sent(url: &Url, headers: &HeaderMap) -> Vec<Vec<u8>> {
    let mut texts: Vec<Vec<u8>> = url.query().map(|query| query.as_bytes().to_vec()).into_iter().collect();
    texts.extend(url.query_pairs().map(|(_, value)| value.as_bytes().to_vec()));
    for value in headers.values().filter(|value| value.is_sensitive()) {
        let value = value.as_bytes();
        texts.push(value.to_vec());
        // Without `Bearer` or `Basic` before it.
        texts.extend(value.iter().position(|b| *b == b' ').map(|blank| value[blank + 1..].to_vec()));
    }
    texts
}

#[cfg(test)]
mod tests;
