//! Asks remote servers: what the engine wants to know goes out, and what came of it goes back as an input.
//!
//! One server is asked at most four things at once; what is over it waits, within its own time. A redirect is an answer
//! like any other that is none, so nothing that proves who asks goes anywhere else. Bodies are bounded.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

use tokio::sync::{Semaphore, mpsc};

use crate::base::{Failure, Span, Timestamp};
use crate::config::remote::Remote as Config;
use crate::engine::{Answer, Input, Query};
use crate::promql::{Reading, RemoteAnswer};
use crate::source::common::{Auth, Outside, prove};
use crate::sys::clock::{Clock, Stopwatch};
use crate::sys::http::{Client, Method, Request, Response, Url};
use crate::sys::tasks::Tasks;

/// How many things one server is asked at once.
const AT_ONCE: usize = 4;

/// The longest answer, in bytes after decompression.
const MAX_BODY: u64 = 8 << 20;

/// The longest answer about the server's version.
const MAX_BUILD: u64 = 64 << 10;

/// How far the clocks may be apart before it is said. `Date` counts whole seconds, so one more is never held against it.
const CLOCK_OFF: Span = Span::secs(5);

/// All remote servers, and the questions under way.
#[derive(Debug, Default)]
pub(super) struct Remotes {
    all: BTreeMap<String, Arc<Remote>>,
    tasks: Tasks,
}

#[derive(Debug)]
struct Remote {
    name: String,
    url: Url,
    auth: Option<Auth>,
    client: Client,
    outside: Outside,
    slots: Semaphore,
    was_greeted: AtomicBool,
    /// What was last said of its clock.
    clock: std::sync::Mutex<Option<Span>>,
}

impl Remotes {
    /// The servers of a configuration; nothing is asked yet.
    pub(super) fn new(configs: &[Config], outside: &Outside) -> Remotes {
        let remote = |config: &Config| {
            let remote = Remote {
                name: config.name.clone(),
                url: config.url.clone(),
                auth: config.auth.clone(),
                client: outside.http.for_target(config.tls.clone(), &outside.secrets),
                outside: outside.clone(),
                slots: Semaphore::new(AT_ONCE),
                was_greeted: AtomicBool::new(false),
                clock: std::sync::Mutex::new(None),
            };
            (config.name.clone(), Arc::new(remote))
        };
        Remotes { all: configs.iter().map(remote).collect(), tasks: Tasks::new() }
    }

    /// Asks beside the loop; the answer, or why there is none, is sent to `inputs`.
    pub(super) fn ask(&mut self, query: Query, inputs: &mpsc::Sender<Input>, clock: &Arc<Clock>) {
        let remote = self.all.get(&query.remote).cloned();
        let (inputs, clock, stop) = (inputs.clone(), clock.clone(), self.tasks.stop_signal());
        self.tasks.spawn("remote query", async move {
            let work = async {
                let answer = match &remote {
                    Some(remote) => remote.answer(&query, &clock).await,
                    None => failed(query.ticket, "it is not configured"),
                };
                // The loop is gone only at the very end, when nothing is judged any more.
                let is_there = !matches!(answer.reading, Reading::Failed(_));
                drop(inputs.send(Input::Answer(answer)).await);
                if let (Some(remote), true) = (remote, is_there) {
                    remote.greet(query.timeout).await;
                }
            };
            tokio::select! { () = stop.cancelled() => {}, () = work => {} }
        });
    }

    /// Takes out what ended.
    pub(super) fn reap(&mut self) {
        self.tasks.reap();
    }

    /// Ends everything under way; nobody waits for it any more.
    pub(super) async fn stop(self, grace: Span) {
        self.tasks.stop(grace).await;
    }
}

fn failed(ticket: u64, why: impl Into<String>) -> Answer {
    Answer { ticket, reading: Reading::Failed(why.into()), clock_off: None }
}

impl Remote {
    async fn answer(&self, query: &Query, clock: &Clock) -> Answer {
        let watch = Stopwatch::start();
        let both = async {
            let _slot = self.slots.acquire().await.map_err(|e| Failure::new("protocol", e.to_string()))?;
            let (first, clock_off) = self.query(query, query.query.text(), &watch, clock).await?;
            let first = match first {
                Ok(first) => first,
                Err(why) => return Ok((Reading::Failed(why), clock_off)),
            };
            if !query.query.needs_presence(&first) {
                return Ok((query.query.reading(first, None, query.at), clock_off));
            }
            let (second, clock_off) = self.query(query, query.query.presence(), &watch, clock).await?;
            let reading = match second {
                Ok(second) => query.query.reading(first, Some(&second), query.at),
                Err(why) => Reading::Failed(why),
            };
            Ok::<_, Failure>((reading, clock_off))
        };
        let answer = match tokio::time::timeout(query.timeout.to_std(), both).await {
            Ok(Ok((reading, clock_off))) => Answer { ticket: query.ticket, reading, clock_off },
            Ok(Err(failure)) => return failed(query.ticket, failure.to_string()),
            Err(_) => return failed(query.ticket, format!("no answer within {}", query.timeout)),
        };
        self.tell_of_clock(answer.clock_off);
        answer
    }

    /// One query; also how far the server's clock is off.
    async fn query(
        &self,
        query: &Query,
        text: &str,
        watch: &Stopwatch,
        clock: &Clock,
    ) -> Result<(Result<RemoteAnswer, String>, Option<Span>), Failure> {
        let left = query.timeout - watch.elapsed();
        let body = form(text, query.at, left);
        let before = clock.now();
        let response = self.fetch("/api/v1/query", Some(&body), MAX_BODY, left).await?;
        let date = response.headers.get(http::header::DATE).and_then(|date| date.to_str().ok());
        let clock_off = date.and_then(|date| clock_off(date, before, clock.now()));
        if (300..400).contains(&response.status) {
            return Err(Failure::new("redirect", format!("status {}: redirects are not followed", response.status)));
        }
        Ok((RemoteAnswer::read(response.status, &response.body), clock_off))
    }

    async fn fetch(&self, path: &str, body: Option<&str>, max_body: u64, left: Span) -> Result<Response, Failure> {
        let mut headers = http::header::HeaderMap::new();
        let timeout = prove(self.auth.as_ref(), &self.outside.secrets, &mut headers, left).await?;
        if body.is_some() {
            let form = http::header::HeaderValue::from_static("application/x-www-form-urlencoded");
            headers.insert(http::header::CONTENT_TYPE, form);
        }
        let mut url = self.url.clone();
        url.set_path(&format!("{}{path}", self.url.path().trim_end_matches('/')));
        let method = if body.is_some() { Method::POST } else { Method::GET };
        let body = body.map(str::as_bytes);
        let request = Request { method, url: &url, headers, body, redirects: 0, max_body, timeout };
        self.client.fetch(request).await
    }

    /// Asks once, when the first answer was handed on, which version it is: of an older Prometheus it is said what
    /// differs.
    async fn greet(&self, timeout: Span) {
        if self.was_greeted.swap(true, Ordering::Relaxed) {
            return;
        }
        let Ok(response) = self.fetch("/api/v1/status/buildinfo", None, MAX_BUILD, timeout).await else { return };
        if let Some(version) = older_prometheus(&response.body) {
            tracing::warn!(
                remote = %self.name,
                %version,
                "This Prometheus counts a sample at the very beginning of a range, which Prometheus 3 and the rules that are evaluated here leave out."
            );
        }
    }

    /// Says it once, until it changes.
    fn tell_of_clock(&self, off: Option<Span>) {
        let mut said = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        match (*said, off) {
            (None, Some(off)) => tracing::warn!(
                remote = %self.name,
                ahead = %off,
                "The clock of this remote server and that of this host are apart; windows and ages of its answers are wrong by as much."
            ),
            (Some(_), None) => tracing::info!(remote = %self.name, "The clock of this remote server is right again."),
            _ => {}
        }
        *said = off;
    }
}

/// The form that is sent. The last two keep Thanos and VictoriaMetrics from passing a part off as the whole; others
/// overlook them.
fn form(text: &str, at: Timestamp, timeout: Span) -> String {
    let mut form = reqwest::Url::parse("http://form/").ok();
    let mut encoded = String::new();
    if let Some(url) = &mut form {
        url.query_pairs_mut()
            .append_pair("query", text)
            .append_pair("time", &format!("{}.{:03}", at.0.div_euclid(1000), at.0.rem_euclid(1000)))
            .append_pair("timeout", &format!("{}ms", timeout.0.max(1)))
            .append_pair("partial_response", "false")
            .append_pair("deny_partial_response", "1");
        encoded = url.query().unwrap_or_default().to_string();
    }
    encoded
}

/// How far a server's clock is ahead, where it is certainly more than [`CLOCK_OFF`]: it wrote `date`, whole seconds, some
/// time between the two moments.
fn clock_off(date: &str, sent: Timestamp, received: Timestamp) -> Option<Span> {
    let parsed = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
    let (earliest, latest) = (Timestamp(parsed.as_millisecond()), Timestamp(parsed.as_millisecond() + 999));
    if earliest - received > CLOCK_OFF {
        Some(earliest - received)
    } else if sent - latest > CLOCK_OFF {
        Some(latest - sent)
    } else {
        None
    }
}

/// The version, where it is a Prometheus before 3. Others answer the same question with versions of their own:
/// Mimir and Cortex say `application`, VictoriaMetrics knows no `revision`.
fn older_prometheus(body: &[u8]) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(body).ok()?;
    let data = json.get("data")?;
    let text = |key: &str| data.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
    let is_prometheus = data.get("application").is_none() && !text("revision").is_empty();
    let version: String = text("version").chars().filter(|c| !c.is_control()).take(40).collect();
    (is_prometheus && version.starts_with("2.")).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::RemoteQuery;
    use crate::source::testing::{Manner, Server, answer, nobody};
    use crate::sys::secret::Secrets;

    const AT: Timestamp = Timestamp(1_761_640_000_000);

    fn remote(url: &str, auth: Option<Auth>) -> Remotes {
        let config = Config {
            name: "central".into(),
            url: url.parse().unwrap(),
            tls: Default::default(),
            auth,
            timeout: Span::secs(5),
            enabled: true,
            place: Default::default(),
        };
        let env = |name: &str| (name == "TOKEN").then(|| "hunter2".to_string());
        Remotes::new(&[config], &Outside { secrets: Secrets::with_env(env), ..Outside::of_process() })
    }

    async fn ask(remotes: &mut Remotes, text: &str, timeout: Span) -> Answer {
        let (inputs, mut taken) = mpsc::channel(4);
        let query = Arc::new(RemoteQuery::compile(text).unwrap());
        let query = Query { ticket: 7, remote: "central".into(), query, at: AT, timeout };
        remotes.ask(query, &inputs, &Arc::new(Clock::new()));
        match taken.recv().await {
            Some(Input::Answer(answer)) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn why(answer: &Answer) -> &str {
        match &answer.reading {
            Reading::Failed(why) => why,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn each_way_to_fail_is_a_failure_with_a_short_reason() {
        let ok = |body: &str| answer("200 OK", "", body.as_bytes());
        let partial = r#"{"status":"success","data":{"resultType":"vector","result":[]},"isPartial":true}"#;
        for (manner, wanted) in [
            (Manner::Answers(ok("no json")), "this is no answer of Prometheus's query API"),
            (Manner::Answers(ok(partial)), "the answer is partial"),
            (Manner::Answers(answer("503 Service Unavailable", "", b"starting")), "status 503"),
            (
                Manner::Answers(answer("302 Found", "location: http://elsewhere/\r\n", b"")),
                "redirect: status 302: redirects are not followed",
            ),
            (Manner::Hangs, "within 200ms"),
            (Manner::Closes, "protocol"),
            (Manner::Endless, "too-large: the body is longer than 8388608 bytes"),
        ] {
            let server = Server::start(manner.clone()).await;
            let timeout = if matches!(manner, Manner::Hangs) { Span::millis(200) } else { Span::secs(20) };
            let answer = ask(&mut remote(&server.url, None), "up", timeout).await;
            assert!(why(&answer).contains(wanted), "{} instead of {wanted}", why(&answer));
        }
        let answer = ask(&mut remote(&nobody().await, None), "up", Span::secs(5)).await;
        assert!(why(&answer).starts_with("refused"), "{}", why(&answer));
    }

    #[tokio::test]
    async fn a_form_is_posted_below_the_path_of_the_server_with_the_credentials() {
        let server = Server::start(Manner::Echoes).await;
        let mut remotes = remote(
            &format!("{}/prometheus/", server.url),
            Some(Auth::Bearer(crate::base::SecretRef::Env("TOKEN".into()))),
        );
        let one = remotes.all.remove("central").unwrap();
        let body = form("up{job=\"a b\"}", AT, Span::secs(5));
        let echo = one.fetch("/api/v1/query", Some(&body), MAX_BODY, Span::secs(5)).await.unwrap();
        let text = String::from_utf8(echo.body).unwrap();
        assert!(text.starts_with("POST /prometheus/api/v1/query HTTP/1.1\r\n"), "{text}");
        assert!(text.contains("authorization: Bearer hunter2\r\n"), "{text}");
        let sent = "query=up%7Bjob%3D%22a+b%22%7D&time=1761640000.000&timeout=5000ms&partial_response=false&deny_partial_response=1";
        assert_eq!(body, sent);
    }

    #[tokio::test]
    async fn an_answer_brings_its_value_and_how_far_the_clock_is_off() {
        let body =
            br#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[1,"7"]}]}}"#;
        let server = Server::answering("200 OK", "date: Tue, 28 Oct 2025 08:26:40 GMT\r\n", body).await;
        let answer = ask(&mut remote(&server.url, None), "up", Span::secs(5)).await;
        let Reading::Points(points) = &answer.reading else { panic!("{answer:?}") };
        assert_eq!((points[0].value, points[0].labels.get("a"), answer.ticket), (7.0, "b", 7));
        assert!(answer.clock_off.unwrap() < -CLOCK_OFF);
    }

    #[tokio::test]
    async fn the_fifth_question_waits_within_its_own_time() {
        let body = br#"{"status":"success","data":{"resultType":"scalar","result":[1,"7"]}}"#;
        let server = Server::answering("200 OK", "", body).await;
        let mut remotes = remote(&server.url, None);
        let central = remotes.all["central"].clone();
        let held = central.slots.acquire_many(AT_ONCE as u32).await.unwrap();
        let answer = ask(&mut remotes, "up", Span::millis(50)).await;
        assert_eq!(why(&answer), "no answer within 50ms");
        drop(held);
        let answer = ask(&mut remotes, "up", Span::secs(5)).await;
        assert!(matches!(answer.reading, Reading::Points(_)), "{answer:?}");
    }

    #[test]
    fn clocks_that_are_apart_are_noticed_beyond_doubt_only() {
        let date = |text: &str| clock_off(text, AT, AT + Span::secs(2));
        assert_eq!(date("Tue, 28 Oct 2025 08:26:40 GMT"), None);
        assert_eq!(date("Tue, 28 Oct 2025 08:26:47 GMT"), None);
        assert_eq!(date("Tue, 28 Oct 2025 08:26:35 GMT"), None);
        assert_eq!(date("Tue, 28 Oct 2025 08:26:52 GMT"), Some(Span::secs(10)));
        assert_eq!(date("Tue, 28 Oct 2025 08:26:29 GMT"), Some(Span::millis(-10_001)));
        assert_eq!(date("yesterday"), None);
    }

    #[test]
    fn only_an_older_prometheus_is_called_one() {
        for (data, wanted) in [
            (r#"{"version":"2.42.0+ds","revision":"abc"}"#, Some("2.42.0+ds")),
            (r#"{"version":"3.1.0","revision":"abc"}"#, None),
            (r#"{"version":"2.24.0"}"#, None),
            (r#"{"application":"Grafana Mimir","version":"2.10.0","revision":"abc"}"#, None),
        ] {
            let body = format!(r#"{{"status":"success","data":{data}}}"#);
            assert_eq!(older_prometheus(body.as_bytes()).as_deref(), wanted, "{data}");
        }
        assert_eq!(older_prometheus(b"<html>"), None);
    }
}
