//! `[http.NAME]`: asks an address and judges the answer.
//!
//! Enters: one request. Leaves: `probe_http_status_code`, `probe_http_duration_seconds{phase="total"}`,
//! `probe_expect_ok{expect}` for each subject that is judged, `probe_value{name}` for each of `values`, beside the
//! `probe_*` of every source. Without an expectation about the status, it must be 200 to 299.
//!
//! Reasons: those of [`http`](crate::sys::http), `secret`, and for an answer that is not as expected `status`,
//! `time`, `header` or `body`. Without an answer there is nothing to judge, so no `probe_expect_ok` either.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::common::{Auth, Common, Defaults, Outside, Target, prove, read_texts, sample};
use super::expect::{self, Expectation, Measure, Observation, Wrong};
use super::prometheus::{read_max_body, read_url};
use crate::base::table::{Placed, Value};
use crate::base::{Batch, Failure, Labels, Node, Outcome, Place, Problems, Sample, Table, Timestamp};
use crate::sys::clock::Stopwatch;
use crate::sys::http::{Method, Request, Response, Url, host_and_port};

/// Names that exist from the start; with `values` also `probe_value`.
pub const NAMES: [&str; 6] = [
    "probe_success",
    "probe_duration_seconds",
    "probe_failure_info",
    "probe_http_status_code",
    "probe_http_duration_seconds",
    "probe_expect_ok",
];

/// The table `[http.NAME]`.
#[derive(Clone, Debug)]
pub struct Config {
    /// What all sources take.
    pub common: Common,
    /// The address.
    pub url: Url,
    /// The method.
    pub method: Method,
    /// Headers to send.
    pub headers: HeaderMap,
    /// The body to send.
    pub body: Option<String>,
    /// How to prove who asks.
    pub auth: Option<Auth>,
    /// How many redirects are followed.
    pub redirects: u32,
    /// What the answer must be.
    pub expect: Vec<Expectation>,
    /// Numbers taken from the answer.
    pub values: Vec<(String, Measure)>,
    /// The longest answer, in bytes after decompression.
    pub max_body: u64,
}

impl Config {
    /// Reads the table of `name`; none when it cannot be used.
    pub fn read(name: &str, node: &Node, defaults: &Defaults, problems: &mut Problems) -> Option<Config> {
        let what = format!("[http.{name}]");
        let mut table = Table::open(node, &what, problems)?;
        let common = Common::read("http", name, &mut table, defaults, problems);
        let url = read_url(&mut table, "\"http://127.0.0.1:8080/health\"", problems);
        let method = read_method(&mut table, problems);
        let headers = read_headers(&mut table, problems);
        let body = table.get("body", problems);
        let auth = Auth::read(&mut table, problems);
        let redirects = read_redirects(&mut table, problems);
        let expect = read_expectations(&mut table, problems);
        let values = read_values(&mut table, problems);
        let max_body = read_max_body(&mut table, 1 << 20, problems);
        table.finish(problems);
        Some(Config { common, url: url?, method, headers, body, auth, redirects, expect, values, max_body })
    }
}

fn read_method(table: &mut Table<'_>, problems: &mut Problems) -> Method {
    const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    let Some(Placed { value, place }) = table.get::<Placed<String>>("method", problems) else {
        return Method::GET;
    };
    match METHODS.iter().find(|m| **m == value).and_then(|m| m.parse().ok()) {
        Some(method) => method,
        None => {
            problems.error(&place, format!("`{value}` is no method"), "").help(METHODS.join(", "));
            Method::GET
        }
    }
}

/// More would be a loop in all but name.
const MAX_REDIRECTS: u32 = 20;

fn read_redirects(table: &mut Table<'_>, problems: &mut Problems) -> u32 {
    let Some(Placed { value, place }) = table.get::<Placed<u32>>("redirects", problems) else {
        return 5;
    };
    if value > MAX_REDIRECTS {
        problems.error(&place, format!("at most {MAX_REDIRECTS} redirects are followed"), "too many");
    }
    value.min(MAX_REDIRECTS)
}

fn read_headers(table: &mut Table<'_>, problems: &mut Problems) -> HeaderMap {
    const SECRET: [&str; 3] = ["authorization", "proxy-authorization", "cookie"];
    const OURS: [&str; 4] = ["content-length", "transfer-encoding", "connection", "accept-encoding"];
    let mut headers = HeaderMap::new();
    for (name, value, place) in read_texts(table, "headers", problems) {
        let (Ok(key), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&value)) else {
            problems.error(&place, format!("`{name}` is no header, or its value none"), "cannot be sent");
            continue;
        };
        if SECRET.contains(&key.as_str()) {
            problems
                .error(&place, "a secret is never written out here", "anybody who reads this file could use it")
                .help(format!("write auth = {{ header = \"{name}\", value = \"env:NAME\" }}"));
        } else if OURS.contains(&key.as_str()) {
            problems.error(&place, format!("`{name}` is set by backstop itself"), "would contradict it");
        } else {
            headers.insert(key, value);
        }
    }
    headers
}

fn read_expectations(table: &mut Table<'_>, problems: &mut Problems) -> Vec<Expectation> {
    let Some(node) = table.node("expect") else {
        return Vec::new();
    };
    let Value::List(all) = &node.value else {
        crate::base::table::wrong_kind(node, "a list", "[\"status == 200\"]", problems);
        return Vec::new();
    };
    let mut found = Vec::new();
    for node in all {
        match &node.value {
            Value::Text(text) => found.extend(parsed(Expectation::parse(text), &node.inside(), problems)),
            _ => crate::base::table::wrong_kind(node, "an expectation", "\"status == 200\"", problems),
        }
    }
    found
}

fn read_values(table: &mut Table<'_>, problems: &mut Problems) -> Vec<(String, Measure)> {
    let Some(node) = table.node("values") else {
        return Vec::new();
    };
    let Some(mut inner) = Table::open(node, "`values`", problems) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in inner.rest() {
        match &entry.node.value {
            Value::Text(text) => {
                let measure = parsed(Measure::parse(text), &entry.node.inside(), problems);
                found.extend(measure.map(|m| (entry.key.clone(), m)));
            }
            _ => crate::base::table::wrong_kind(&entry.node, "a value of the answer", "'json queue.length'", problems),
        }
    }
    found
}

fn parsed<T>(result: Result<T, Wrong>, place: &Place, problems: &mut Problems) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(wrong) => {
            problems.error(&place.part(wrong.range), wrong.what, "").help(wrong.help);
            None
        }
    }
}

/// A probed address.
#[derive(Debug)]
pub struct Http {
    config: Config,
    target: Target,
    outside: Outside,
    series: Series,
    /// Whether the body is to be read as JSON at all.
    reads_json: bool,
}

/// Labels of series that come with every answer, made once.
#[derive(Debug)]
struct Series {
    status: Labels,
    total: Labels,
    /// Each subject that is judged with its label set.
    subjects: Vec<(String, Labels)>,
    values: Vec<Labels>,
}

impl Http {
    /// A target that was not asked yet.
    pub fn new(config: Config, outside: Outside) -> Http {
        let target = Target::new(&config.common, host_and_port(&config.url));
        let series = Series::new(&config, &target);
        let reads_json = config.expect.iter().any(Expectation::reads_json)
            || config.values.iter().any(|(_, measure)| measure.reads_json());
        Http { config, target, outside, series, reads_json }
    }

    /// What is looked at.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Names that exist from the start.
    pub fn names(&self) -> Vec<&'static str> {
        let values = if self.config.values.is_empty() { None } else { Some("probe_value") };
        NAMES.into_iter().chain(values).collect()
    }

    /// Asks once.
    pub async fn collect(&mut self, at: Timestamp) -> Batch {
        let watch = Stopwatch::start();
        let (outcome, samples) = match self.ask().await {
            Ok(response) => self.judge(&response),
            Err(failure) => (Outcome::Failed(failure), Vec::new()),
        };
        self.target.batch(at, watch.seconds(), outcome, samples)
    }

    async fn ask(&self) -> Result<Response, Failure> {
        let mut headers = self.config.headers.clone();
        let secrets = &self.outside.secrets;
        let timeout = prove(self.config.auth.as_ref(), secrets, &mut headers, self.target.timeout).await?;
        let request = Request {
            method: self.config.method.clone(),
            url: &self.config.url,
            headers,
            body: self.config.body.as_deref(),
            redirects: self.config.redirects,
            max_body: self.config.max_body,
            timeout,
        };
        self.outside.http.fetch(request).await
    }

    /// Pure: an answer in, its samples and the first expectation that does not hold out.
    fn judge(&self, response: &Response) -> (Outcome, Vec<Sample>) {
        let json = if self.reads_json { expect::json(&response.body) } else { Ok(serde_json::Value::Null) };
        let seen = Observation {
            status: response.status,
            seconds: response.seconds,
            body: &response.body,
            json: &json,
            headers: &response.headers,
        };
        let failed = self.failed(&seen);
        let mut samples = vec![
            sample(self.series.status.clone(), f64::from(response.status)),
            sample(self.series.total.clone(), response.seconds),
        ];
        for (subject, labels) in &self.series.subjects {
            let holds = !failed.iter().any(|(label, _)| label == subject);
            samples.push(sample(labels.clone(), if holds { 1.0 } else { 0.0 }));
        }
        for ((_, measure), labels) in self.config.values.iter().zip(&self.series.values) {
            samples.extend(measure.take(&seen).map(|value| sample(labels.clone(), value)));
        }
        let first = failed.into_iter().next().map(|(_, failure)| failure);
        (first.map_or(Outcome::Good, Outcome::Failed), samples)
    }

    /// Everything that does not hold, by its subject; what is wrong with the status comes first.
    fn failed(&self, seen: &Observation<'_>) -> Vec<(String, Failure)> {
        let mut failed = Vec::new();
        let by_default = !self.config.expect.iter().any(Expectation::is_about_status);
        if by_default && !(200..300).contains(&seen.status) {
            let detail = format!("expected status 2xx, saw {}", seen.status);
            failed.push(("status".to_string(), Failure::new("status", detail)));
        }
        for expectation in &self.config.expect {
            if let Err(what) = expectation.check(seen) {
                let failure = Failure::new(expectation.reason(), format!("expected {}, {what}", expectation.text()));
                failed.push((expectation.label(), failure));
            }
        }
        failed.sort_by_key(|(_, failure)| failure.reason != "status");
        failed
    }
}

impl Series {
    fn new(config: &Config, target: &Target) -> Series {
        let mut subjects = vec!["status".to_string()];
        for label in config.expect.iter().map(Expectation::label) {
            if !subjects.contains(&label) {
                subjects.push(label);
            }
        }
        let subject = |s: String| {
            let labels = target.probe_series("probe_expect_ok", &[("expect", &s)]);
            (s, labels)
        };
        Series {
            status: target.probe_series("probe_http_status_code", &[]),
            total: target.probe_series("probe_http_duration_seconds", &[("phase", "total")]),
            subjects: subjects.into_iter().map(subject).collect(),
            values: config.values.iter().map(|(n, _)| target.probe_series("probe_value", &[("name", n)])).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::{Manner, Server, answer, defaults, nobody, outcome, read, value};
    use crate::sys::secret::Secrets;

    fn source(toml: &str) -> Http {
        let (config, problems) = read(toml, |node, problems| Config::read("api", node, &defaults(), problems));
        assert_eq!(problems, Vec::<String>::new(), "{toml}");
        let env = |name: &str| (name == "TOKEN").then(|| "hunter2".to_string());
        Http::new(config.unwrap(), Outside { secrets: Secrets::with_env(env), ..Outside::of_process() })
    }

    async fn ask(url: &str, more: &str) -> Batch {
        source(&format!("url = \"{url}/health?key=hidden\"\n{more}")).collect(Timestamp(1000)).await
    }

    #[tokio::test]
    async fn an_answer_is_judged_and_measured() {
        let body = br#"{"status": "ok", "queue": {"length": 7}, "at": "2025-10-28T09:41:07Z"}"#;
        let server = Server::answering("200 OK", "x-version: 2\r\n", body).await;
        let toml = r#"
            expect = ['json status == "ok"', 'json queue.length < 5', 'json queue.length >= 0', 'time < 5s', 'header X-Version exists']
            values = { queue = 'json queue.length', at = 'json at', gone = 'json gone' }
        "#;
        let batch = ask(&server.url, toml).await;
        assert_eq!(outcome(&batch), "body: expected json queue.length < 5, saw 7");
        assert_eq!(value(&batch, "probe_success", &[]), Some(0.0));
        assert_eq!(value(&batch, "probe_failure_info", &[("reason", "body")]), Some(1.0));
        assert_eq!(value(&batch, "probe_http_status_code", &[]), Some(200.0));
        for (expect, ok) in
            [("json status", 1.0), ("queue.length", 0.0), ("time", 1.0), ("header x-version", 1.0), ("status", 1.0)]
        {
            assert_eq!(value(&batch, "probe_expect_ok", &[("expect", expect)]), Some(ok), "{expect}");
        }
        assert_eq!(value(&batch, "probe_value", &[("name", "queue")]), Some(7.0));
        assert_eq!(value(&batch, "probe_value", &[("name", "at")]), Some(1_761_644_467.0));
        assert_eq!(value(&batch, "probe_value", &[("name", "gone")]), None);
    }

    #[tokio::test]
    async fn each_way_to_fail_costs_only_this_target_and_has_a_reason() {
        let head = |rest: &str| format!("HTTP/1.1 200 OK\r\n{rest}\r\n\r\n").into_bytes();
        let error = Server::answering("500 Internal Server Error", "", b"oops").await;
        let moved = Server::answering("302 Found", "location: /again\r\n", b"").await;
        let nowhere = Server::answering("302 Found", "location: ftp://x/\r\n", b"").await;
        let hangs = Server::start(Manner::Hangs).await;
        let stalls = Server::start(Manner::Stalls([head("content-length: 10"), b"12345".to_vec()].concat())).await;
        let endless = Server::start(Manner::Endless).await;
        let closes = Server::start(Manner::Closes).await;
        let lies = Server::start(Manner::Answers([head("content-length: 100"), b"short".to_vec()].concat())).await;
        let huge = Server::start(Manner::Answers(head("content-length: 99999999999"))).await;
        let speaks_ssh = Server::start(Manner::Answers(b"SSH-2.0-OpenSSH_9\r\n".to_vec())).await;
        let headers = Server::start(Manner::Answers(head(&format!("x: {}", "y".repeat(70_000))))).await;
        let many = Server::start(Manner::Answers(head(&"a: b\r\n".repeat(500)))).await;
        let bomb = Server::answering("200 OK", "content-encoding: gzip\r\n", &gzip_of_zeros(5 << 20)).await;
        let cut = Server::answering("200 OK", "content-encoding: gzip\r\n", &gzip_of_zeros(1 << 20)[..600]).await;
        let dead = nobody().await;
        let tls = dead.replace("http:", "https:");
        let not_tls = error.url.replace("http:", "https:");
        for (url, more, wanted) in [
            (&error.url, "", "status: expected status 2xx, saw 500"),
            (&moved.url, "redirects = 3", "redirect: more than 3 redirects, the last to 127.0.0.1:"),
            (&moved.url, "redirects = 0", "status: expected status 2xx, saw 302"),
            (&nowhere.url, "", "redirect: to `ftp`, which is not fetched"),
            (&hangs.url, "timeout = \"150ms\"", "timeout: no answer within 150ms"),
            (&stalls.url, "timeout = \"150ms\"", "timeout: the answer did not end within 150ms"),
            (&endless.url, "", "too-large: the body is longer than 1048576 bytes"),
            (&closes.url, "", "protocol: "),
            (&lies.url, "", "body: the body broke off: "),
            (&huge.url, "", "too-large: the body is longer than 1048576 bytes"),
            (&speaks_ssh.url, "", "protocol: "),
            (&headers.url, "", "too-large: the headers hold "),
            (&many.url, "", "protocol: "),
            (&bomb.url, "", "too-large: the body is longer than 1048576 bytes"),
            (&cut.url, "max_body = \"8MiB\"", "body: the body broke off: "),
            (&dead, "", "refused: "),
            (&tls, "", "refused: "),
            (&not_tls, "", "tls: "),
            (&"http://no-such-host.invalid".to_string(), "", "resolve: "),
            (&error.url, "auth = { bearer = \"env:NONE\" }", "secret: env:NONE is not set"),
        ] {
            let batch = ask(url, more).await;
            let got = outcome(&batch);
            assert!(got.starts_with(wanted), "{got:?} instead of {wanted:?}");
            assert!(!got.contains("hidden"), "the query is never shown: {got}");
            assert_eq!(value(&batch, "probe_success", &[]), Some(0.0), "{wanted}");
            let reason = wanted.split(':').next().unwrap();
            assert_eq!(value(&batch, "probe_failure_info", &[("reason", reason)]), Some(1.0), "{wanted}");
            let judged = value(&batch, "probe_expect_ok", &[("expect", "status")]).is_some();
            assert_eq!(judged, reason == "status", "without an answer nothing is judged: {wanted}");
        }
    }

    #[tokio::test]
    async fn secrets_are_sent_and_stay_where_they_belong() {
        let echo = Server::start(Manner::Echoes).await;
        for (auth, sent) in [
            ("{ bearer = \"env:TOKEN\" }", "Bearer hunter2"),
            ("{ user = \"anna\", password = \"env:TOKEN\" }", "Basic YW5uYTpodW50ZXIy"),
            ("{ header = \"X-Api\", value = \"env:TOKEN\" }", "x-api: hunter2"),
        ] {
            let batch = ask(&echo.url, &format!("auth = {auth}\nexpect = ['body contains \"{sent}\"']")).await;
            assert_eq!(outcome(&batch), "good", "{auth}");
        }
        let head = format!("location: {}/other\r\n", echo.url);
        let elsewhere = Server::start(Manner::Answers(answer("302 Found", &head, b""))).await;
        let more = "auth = { bearer = \"env:TOKEN\" }\nexpect = ['body contains \"GET /other\"', 'body matches \"backstop/[0-9]\"']";
        assert_eq!(outcome(&ask(&elsewhere.url, more).await), "good");
        let more = "auth = { bearer = \"env:TOKEN\" }\nexpect = ['body contains \"Bearer\"']";
        assert!(outcome(&ask(&elsewhere.url, more).await).starts_with("body: expected body contains"));
    }

    #[tokio::test]
    async fn a_body_is_posted_with_its_headers() {
        let echo = Server::start(Manner::Echoes).await;
        let more = "method = \"POST\"\nbody = \"ping\"\nheaders = { X-A = \"b\" }\nexpect = ['body matches \"(?s)^POST .*x-a: b.*ping$\"']";
        assert_eq!(outcome(&ask(&echo.url, more).await), "good");
    }

    #[test]
    fn every_mistake_of_the_table_is_named() {
        for (toml, wanted) in [
            ("", "[http.api] needs `url`"),
            ("url = \"http://u:p@h/\"", "an address holds no credentials"),
            ("url = \"http://h/\"\nmethod = \"get\"", "`get` is no method"),
            ("url = \"http://h/\"\nredirects = 21", "at most 20 redirects are followed"),
            ("url = \"http://h/\"\nheaders = { Authorization = \"x\" }", "a secret is never written out here"),
            ("url = \"http://h/\"\nheaders = { Content-Length = \"1\" }", "`Content-Length` is set by backstop itself"),
            ("url = \"http://h/\"\nheaders = { \"a b\" = \"1\" }", "`a b` is no header, or its value none"),
            ("url = \"http://h/\"\nexpect = \"status == 200\"", "this takes a list"),
            ("url = \"http://h/\"\nexpect = [\"statsu == 200\"]", "`statsu` is no subject"),
            ("url = \"http://h/\"\nvalues = { a = \"json a > 1\" }", "nothing more was expected here"),
            ("url = \"http://h/\"\nwrites = true", "unknown key `writes`"),
        ] {
            let (_, problems) = read(toml, |node, problems| Config::read("api", node, &defaults(), problems));
            assert_eq!(problems, [wanted], "{toml}");
        }
    }

    #[test]
    fn names_are_declared_before_the_first_look() {
        assert!(!source("url = \"http://h/\"").names().contains(&"probe_value"));
        assert!(source("url = \"http://h/\"\nvalues = { a = \"json a\" }").names().contains(&"probe_value"));
    }

    /// Zeros, compressed by hand: each deflate block of fixed codes is one literal and many copies of length 258.
    fn gzip_of_zeros(len: usize) -> Vec<u8> {
        let mut bits = Bits::default();
        bits.put(0b1, 1);
        bits.put(0b01, 2);
        bits.code(0x30, 8);
        let copies = len.div_ceil(258);
        for _ in 0..copies {
            bits.code(0b1100_0101, 8);
            bits.code(0, 5);
        }
        bits.code(0, 7);
        let total = 1 + copies * 258;
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&vec![0; total]);
        let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
        file.extend(bits.bytes);
        file.extend(checksum.finalize().to_le_bytes());
        file.extend((total as u32).to_le_bytes());
        file
    }

    #[derive(Default)]
    struct Bits {
        bytes: Vec<u8>,
        n: usize,
    }

    impl Bits {
        /// Least significant bit first.
        fn put(&mut self, value: u32, width: u32) {
            for i in 0..width {
                if self.n.is_multiple_of(8) {
                    self.bytes.push(0);
                }
                *self.bytes.last_mut().unwrap() |= (((value >> i) & 1) as u8) << (self.n % 8);
                self.n += 1;
            }
        }

        /// Huffman codes are written most significant bit first.
        fn code(&mut self, value: u32, width: u32) {
            self.put(value.reverse_bits() >> (32 - width), width);
        }
    }
}
