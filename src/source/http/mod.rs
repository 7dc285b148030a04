//! `[http.NAME]`: asks an address and judges the answer.
//!
//! Enters: one request. Leaves, beside the `probe_*` of every source, under the names and with the meaning of the
//! blackbox exporter:
//!
//! - each time `probe_http_duration_seconds{phase}`, `probe_http_redirects`; once there was a connection
//!   `probe_ip_protocol`; once there was a handshake `probe_ssl_earliest_cert_expiry`, and `probe_tls_version_info{version}`
//!   when it succeeded
//! - with an answer `probe_http_status_code`, `probe_http_version`, `probe_http_ssl`, `probe_http_content_length` (-1
//!   where it was not announced), `probe_http_uncompressed_body_length`, `probe_expect_ok{expect}` for each subject that is
//!   judged, `probe_value{name}` for each of `values`
//!
//! Without an expectation about the status, it must be 200 to 299.
//!
//! Reasons: those of [`http`](crate::sys::http), `secret`, `file`, and for an answer that is not as expected `status`,
//! `time`, `header`, `cert` or `body`. Without an answer there is nothing to judge, so no `probe_expect_ok` either.

mod config;
mod page;
mod sent;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use http::header::{HeaderMap, HeaderValue};

pub use self::config::{Body, Config, Header, MAX_BODY_FILE};
use self::sent::Sent;
use super::common::{Auth, Outside, Target, sample};
use super::expect::{Judge, Observation};
use crate::base::secret::ExposeSecret;
use crate::base::{Batch, Failure, Labels, Outcome, Sample, Timestamp};
use crate::sys::clock::Stopwatch;
use crate::sys::http::{Client, Look, Request, Response, Trace, host_and_port};

/// Names that exist from the start; with `values` also `probe_value`.
pub const NAMES: [&str; 14] = [
    "probe_success",
    "probe_duration_seconds",
    "probe_failure_info",
    "probe_expect_ok",
    "probe_http_content_length",
    "probe_http_duration_seconds",
    "probe_http_redirects",
    "probe_http_ssl",
    "probe_http_status_code",
    "probe_http_uncompressed_body_length",
    "probe_http_version",
    "probe_ip_protocol",
    "probe_ssl_earliest_cert_expiry",
    "probe_tls_version_info",
];

/// A probed address.
#[derive(Debug)]
pub struct Http {
    config: Box<Config>,
    target: Target,
    outside: Outside,
    client: Client,
    series: Box<Series>,
    judge: Judge,
}

/// Labels of series, made once.
#[derive(Debug)]
struct Series {
    phases: [Labels; 5],
    redirects: Labels,
    ip_protocol: Labels,
    expiry: Labels,
    /// By version, as it is first seen.
    tls_version: Option<(&'static str, Labels)>,
    status: Labels,
    version: Labels,
    ssl: Labels,
    content_length: Labels,
    body_length: Labels,
}

/// What is only known at the time of a look: what files and secrets hold.
struct Prepared {
    headers: HeaderMap,
    body: Option<Vec<u8>>,
    sent: Sent,
}

impl Http {
    /// A target that was not asked yet.
    pub fn new(config: Config, outside: Outside) -> Http {
        let target = Target::new(&config.common, host_and_port(&config.url));
        let series = Box::new(Series::new(&target));
        let judge = Judge::new(&config.expect, &config.values, &target, &[]);
        let client = outside.http.for_target(config.tls.clone(), &outside.secrets);
        // One that is asked by hand must not hold a connection until somebody asks again.
        let client = if config.common.manual { client } else { client.every(config.common.interval) };
        Http { config: Box::new(config), target, outside, client, series, judge }
    }

    /// What is looked at.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The files that a look reads.
    pub fn files(&self) -> Vec<PathBuf> {
        let config = &self.config;
        let of_headers = config.headers.iter().filter_map(|(_, value)| match value {
            Header::Secret(place) => place.file(),
            Header::Text(_) => None,
        });
        let of_body = match &config.body {
            Some(Body::File(path)) => Some(path.clone()),
            _ => None,
        };
        let of_auth = config.auth.as_ref().and_then(Auth::file);
        of_headers.chain(of_body).chain(of_auth).chain(config.tls.files()).collect()
    }

    /// Names that exist from the start.
    pub fn names(&self) -> Vec<&'static str> {
        let judged = self.judge.names().into_iter().filter(|name| !NAMES.contains(name));
        NAMES.into_iter().chain(judged).collect()
    }

    /// Asks once.
    pub async fn collect(&mut self, at: Timestamp) -> Batch {
        let watch = Stopwatch::start();
        let (outcome, samples) = match self.ask().await {
            Ok((look, sent)) => match self.judge(at, &look) {
                (Outcome::Failed(failure), samples) => (Outcome::Failed(self.told(failure, &look, &sent)), samples),
                good => good,
            },
            Err(failure) => (Outcome::Failed(failure), Vec::new()),
        };
        self.target.batch(at, watch.seconds(), outcome, samples)
    }

    async fn ask(&self) -> Result<(Look, Sent), Failure> {
        let (watch, timeout) = (Stopwatch::start(), self.target.timeout);
        let Ok(prepared) = tokio::time::timeout(timeout.to_std(), self.prepare()).await else {
            return Err(Failure::new("timeout", format!("secrets and files could not be read within {timeout}")));
        };
        let Prepared { headers, body, sent } = prepared?;
        let request = Request {
            method: self.config.method.clone(),
            url: &self.config.url,
            headers,
            body: body.as_deref(),
            redirects: self.config.redirects,
            max_body: self.config.max_body,
            timeout: timeout - watch.elapsed(),
        };
        Ok((self.client.look(request).await, sent))
    }

    /// The failure as it may be shown, and where the status is the trouble, what a short page says about it.
    fn told(&self, failure: Failure, look: &Look, sent: &Sent) -> Failure {
        let url = &self.config.url;
        let shown = sent.hide(url, failure);
        let response = look.answer.as_ref().ok().filter(|_| shown.reason == "status");
        match response.and_then(|response| page::first_line(response, |line| sent.hide_text(url, line))) {
            Some(line) => Failure::new(shown.reason, format!("{}: {line:?}", shown.detail)),
            None => shown,
        }
    }

    async fn prepare(&self) -> Result<Prepared, Failure> {
        let (mut headers, mut sent) = (HeaderMap::new(), Sent::default());
        for (name, value) in &self.config.headers {
            let value = match value {
                Header::Text(value) => value.clone(),
                Header::Secret(place) => {
                    let secret = self.outside.secrets.read(place).await;
                    let secret = secret.map_err(|why| Failure::new("secret", why))?;
                    let mut value = HeaderValue::from_str(secret.expose_secret())
                        .map_err(|_| Failure::new("secret", format!("{place} holds what no header can")))?;
                    value.set_sensitive(true);
                    sent.header(secret, &value);
                    value
                }
            };
            headers.insert(name, value);
        }
        if let Some(auth) = &self.config.auth {
            let (name, value, secret) = auth.proof(&self.outside.secrets).await?;
            sent.header(secret, &value);
            headers.insert(name, value);
        }
        let body = match &self.config.body {
            None => None,
            Some(Body::Text(text)) => Some(text.as_bytes().to_vec()),
            Some(Body::File(path)) => {
                let body = self.outside.secrets.file(path, MAX_BODY_FILE).await;
                let body = body.map_err(|why| Failure::new("file", format!("body_file: {} {why}", path.display())))?;
                sent.body(&body);
                Some(body.to_vec())
            }
        };
        Ok(Prepared { headers, body, sent })
    }

    /// Pure but for the labels it keeps: what came of a request in, its samples and the first expectation that does not
    /// hold out.
    fn judge(&mut self, at: Timestamp, look: &Look) -> (Outcome, Vec<Sample>) {
        let mut samples = Vec::with_capacity(24);
        self.series.of_trace(&look.trace, &self.target, &mut samples);
        let response = match &look.answer {
            Ok(response) => response,
            Err(failure) => return (Outcome::Failed(failure.clone()), samples),
        };
        self.series.of_answer(response, &look.trace, &mut samples);
        let expiry = look.trace.handshake.as_ref().and_then(|handshake| handshake.earliest_expiry);
        let seen = Observation {
            status: Some(response.status),
            seconds: Some(response.seconds),
            headers: Some(&response.headers),
            cert: expiry.map(|expiry| expiry as f64 - at.seconds()),
            body: Some(&response.body),
            now: at,
            ..Observation::default()
        };
        let outcome = self.judge.judge(&seen, &mut samples);
        (outcome, samples)
    }
}

impl Series {
    fn new(target: &Target) -> Series {
        let series = |name: &str| target.probe_series(name, &[]);
        let phase = |phase: &str| target.probe_series("probe_http_duration_seconds", &[("phase", phase)]);
        Series {
            phases: ["resolve", "connect", "tls", "processing", "transfer"].map(phase),
            redirects: series("probe_http_redirects"),
            ip_protocol: series("probe_ip_protocol"),
            expiry: series("probe_ssl_earliest_cert_expiry"),
            tls_version: None,
            status: series("probe_http_status_code"),
            version: series("probe_http_version"),
            ssl: series("probe_http_ssl"),
            content_length: series("probe_http_content_length"),
            body_length: series("probe_http_uncompressed_body_length"),
        }
    }

    /// What is known however far the request came.
    fn of_trace(&mut self, trace: &Trace, target: &Target, samples: &mut Vec<Sample>) {
        let phases = &trace.phases;
        let seconds = [phases.resolve, phases.connect, phases.tls, phases.processing, phases.transfer];
        samples.extend(self.phases.iter().zip(seconds).map(|(labels, seconds)| sample(labels.clone(), seconds)));
        samples.push(sample(self.redirects.clone(), f64::from(trace.redirects)));
        samples.extend(trace.ip_protocol.map(|n| sample(self.ip_protocol.clone(), f64::from(n))));
        let Some(handshake) = &trace.handshake else { return };
        samples.extend(handshake.earliest_expiry.map(|at| sample(self.expiry.clone(), at as f64)));
        let Some(version) = handshake.version else { return };
        if self.tls_version.as_ref().is_none_or(|(known, _)| *known != version) {
            let labels = target.probe_series("probe_tls_version_info", &[("version", version)]);
            self.tls_version = Some((version, labels));
        }
        samples.extend(self.tls_version.as_ref().map(|(_, labels)| sample(labels.clone(), 1.0)));
    }

    /// What only an answer tells.
    fn of_answer(&self, response: &Response, trace: &Trace, samples: &mut Vec<Sample>) {
        let is_encrypted = trace.handshake.is_some();
        samples.push(sample(self.status.clone(), f64::from(response.status)));
        samples.push(sample(self.version.clone(), response.version));
        samples.push(sample(self.ssl.clone(), if is_encrypted { 1.0 } else { 0.0 }));
        samples.push(sample(self.content_length.clone(), response.announced.map_or(-1.0, |n| n as f64)));
        samples.push(sample(self.body_length.clone(), response.body.len() as f64));
    }
}
