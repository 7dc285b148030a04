//! The part of Prometheus's HTTP API that reads: queries, series, labels.
//!
//! Enters: requests as Grafana, `promtool` and scripts send them. Leaves: Prometheus's JSON. Two requests are answered at a
//! time, each on a thread for blocking work, never in the agent's loop; the others wait within their own time. What a
//! request may cost has bounds: the text, the body, the points of a series, the time, the length of the answer. The
//! endpoints and what differs from Prometheus stand in `docs/API.md`.

pub mod data;
pub mod json;
pub mod params;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::routing::get;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

pub use data::{Data, Fixed, Hot, Memory, Wanted, archived, present, wanted};
use json::{Notes, TooLarge};
use params::{Mistake, Params};

use crate::base::{Labels, Span, Timestamp};
use crate::promql::{self, CompileError, MAX_POINTS, Options, Plan};
use crate::store::Selector;
use crate::sys::clock::{Clock, Stopwatch};
use crate::sys::tasks::blocking;

/// How many requests are evaluated at a time.
const TURNS: usize = 2;

/// The longest time of a request, and the time of one that does not say.
const LONGEST: Span = Span::secs(10);

/// The most plans of each kind of query that are kept for the next request with the same text.
const MAX_PLANS: usize = 64;

/// The version of Prometheus whose semantics the expressions have; clients decide by it what they may ask.
const VERSION: &str = "3.0.0";

/// The API over some samples. Clones share their turns.
#[derive(Debug)]
pub struct Api<D> {
    shared: Arc<Shared<D>>,
}

#[derive(Debug)]
struct Shared<D> {
    data: D,
    clock: Arc<Clock>,
    turns: Arc<Semaphore>,
    look_back: Span,
    /// By kind of query and text.
    plans: [Mutex<HashMap<String, Arc<Plan>>>; 2],
}

impl<D> Clone for Api<D> {
    fn clone(&self) -> Api<D> {
        Api { shared: self.shared.clone() }
    }
}

impl<D: Data> Api<D> {
    /// An API over `data`; `clock` says when now is.
    pub fn new(data: D, clock: Arc<Clock>) -> Api<D> {
        let turns = Arc::new(Semaphore::new(TURNS));
        let look_back = promql::LOOK_BACK;
        Api { shared: Arc::new(Shared { data, clock, turns, look_back, plans: Default::default() }) }
    }

    /// The same API with another look-back for queries that state none.
    #[must_use]
    pub fn looking_back(self, look_back: Span) -> Api<D> {
        let shared = &self.shared;
        let (data, clock, turns) = (shared.data.clone(), shared.clock.clone(), shared.turns.clone());
        Api { shared: Arc::new(Shared { data, clock, turns, look_back, plans: Default::default() }) }
    }

    /// Its routes, all below `/api/v1/`.
    pub fn router(self) -> Router {
        let both = |handler: fn(&Call<D>) -> Result<Vec<u8>, Failure>| {
            let handle =
                move |State(api): State<Api<D>>, request: Request| api.answered(request, String::new(), handler);
            get(handle).post(handle)
        };
        let values = move |State(api): State<Api<D>>, Path(name): Path<String>, request: Request| {
            api.answered(request, name, label_values)
        };
        let fixed = |data: &'static str| get(move || async move { fixed(data) });
        Router::new()
            .route("/api/v1/query", both(query))
            .route("/api/v1/query_range", both(query_range))
            .route("/api/v1/series", both(series))
            .route("/api/v1/labels", both(label_names))
            .route("/api/v1/label/{name}/values", get(values))
            .route("/api/v1/query_exemplars", fixed("[]").post(|| async { self::fixed("[]") }))
            .route("/api/v1/metadata", fixed("{}"))
            .route("/api/v1/status/buildinfo", get(|| async { build_info() }))
            .with_state(self)
    }

    /// Waits for a turn, has `handler` answer on a thread of its own, and gives up when the time is over.
    async fn answered(
        self,
        request: Request,
        path: String,
        handler: fn(&Call<D>) -> Result<Vec<u8>, Failure>,
    ) -> Response<Body> {
        respond(self.in_time(request, path, handler).await)
    }

    async fn in_time(
        self,
        request: Request,
        path: String,
        handler: fn(&Call<D>) -> Result<Vec<u8>, Failure>,
    ) -> Result<Vec<u8>, Failure> {
        let started = Stopwatch::start();
        let params = read_params(request).await?;
        let timeout = params.span("timeout")?.unwrap_or(LONGEST).min(LONGEST);
        let late = || Failure { kind: Kind::Timeout, why: format!("the query took longer than {timeout}") };
        let left = || (timeout - started.elapsed()).to_std();
        let turn = tokio::time::timeout(left(), self.shared.turns.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| late())?.map_err(|_| Failure::internal("the listener is closing"))?;
        let stop = StopWhenGone(Arc::new(AtomicBool::new(false)));
        let call = Call { api: self, params, path, stop: stop.0.clone(), handle: Handle::current() };
        let work = blocking(move || {
            let answer = handler(&call);
            drop(turn);
            answer
        });
        match tokio::time::timeout(left(), work).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => Err(Failure::internal(&why)),
            Err(_) => Err(late()),
        }
    }

    /// The plan of a text; the one of an earlier request where there is one, for it knows its series already.
    fn plan(&self, text: &str, kind: Query) -> Result<Arc<Plan>, Failure> {
        let plans = || self.shared.plans[kind as usize].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = plans().get(text) {
            return Ok(plan.clone());
        }
        let compiled = match kind {
            Query::Instant => promql::compile_query(text),
            // Over a range there must be a value at each time.
            Query::Range => promql::compile(text),
        };
        let plan = Arc::new(compiled.map_err(|error| expression("query", text, &error))?);
        let mut plans = plans();
        if plans.len() >= MAX_PLANS {
            plans.clear();
        }
        plans.insert(text.to_string(), plan.clone());
        Ok(plan)
    }
}

/// The two kinds of queries.
#[derive(Clone, Copy, Debug)]
enum Query {
    Instant,
    Range,
}

/// Tells the evaluation to stop when nobody waits for it any more.
struct StopWhenGone(Arc<AtomicBool>);

impl Drop for StopWhenGone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One request on its thread.
struct Call<D> {
    api: Api<D>,
    params: Params,
    path: String,
    stop: Arc<AtomicBool>,
    handle: Handle,
}

impl<D: Data> Call<D> {
    fn now(&self) -> Timestamp {
        self.api.shared.clock.now()
    }

    fn options(&self) -> Result<Options, Failure> {
        let look_back = self.api.shared.look_back;
        let mut options = Options { stop: Some(self.stop.clone()), look_back, ..Options::default() };
        if let Some(look_back) = self.params.span("lookback_delta")? {
            options.look_back = look_back;
        }
        Ok(options)
    }

    fn held(&self, wanted: Vec<Wanted>) -> Result<D::Held, Failure> {
        let held = async { tokio::time::timeout(LONGEST.to_std(), self.api.shared.data.held(wanted)).await };
        self.handle.block_on(held).map_err(|_| Failure::unavailable(BUSY))?.map_err(|why| Failure::unavailable(&why))
    }

    /// The label sets that `match[]`, `start` and `end` mean.
    fn series(&self, needs_selector: bool) -> Result<Vec<Labels>, Failure> {
        let start = self.params.bound("start")?.unwrap_or(data::FIRST);
        let end = self.params.bound("end")?.unwrap_or(data::LAST);
        if end < start {
            return Err(Failure::bad("invalid parameter \"end\": it is before the start"));
        }
        let mut selectors: Vec<Selector> = Vec::new();
        for text in self.params.all("match[]") {
            selectors.push(promql::compile_selector(text).map_err(|error| expression("match[]", text, &error))?);
        }
        if selectors.is_empty() {
            if needs_selector {
                return Err(Failure::bad("the parameter \"match[]\" is missing; at least one selector is needed"));
            }
            selectors.push(Selector { name: None, matchers: Vec::new() });
        }
        // A window is open on its left, this span is not.
        let from = start - Span::millis(1);
        let wanted = selectors.into_iter().map(|selector| Wanted { selector, from, to: end }).collect();
        let found = async { tokio::time::timeout(LONGEST.to_std(), self.api.shared.data.series(wanted)).await };
        self.handle.block_on(found).map_err(|_| Failure::unavailable(BUSY))?.map_err(|why| Failure::unavailable(&why))
    }

    /// An evaluation that failed: the time was over, or the expression has no value over this data.
    fn failed(&self, why: String) -> Failure {
        let kind = if self.stop.load(Ordering::Relaxed) { Kind::Timeout } else { Kind::Execution };
        Failure { kind, why }
    }
}

const BUSY: &str = "the agent's loop did not answer";

fn query<D: Data>(call: &Call<D>) -> Result<Vec<u8>, Failure> {
    let text = call.params.required("query")?;
    let at = call.params.time("time")?.unwrap_or_else(|| call.now());
    let (limit, options) = (call.params.limit()?, call.options()?);
    let plan = call.api.plan(text, Query::Instant)?;
    let held = call.held(wanted(&plan, at, at, &options))?;
    let answer = promql::query(&plan, &*held, at, &options).map_err(|why| call.failed(why))?;
    written(text, answer, at, limit)
}

fn query_range<D: Data>(call: &Call<D>) -> Result<Vec<u8>, Failure> {
    let text = call.params.required("query")?;
    let start = call.params.time("start")?.ok_or_else(|| params::missing("start"))?;
    let end = call.params.time("end")?.ok_or_else(|| params::missing("end"))?;
    let step = call.params.span("step")?.ok_or_else(|| params::missing("step"))?;
    check_range(start, end, step)?;
    let (limit, options) = (call.params.limit()?, call.options()?);
    let plan = call.api.plan(text, Query::Range)?;
    let held = call.held(wanted(&plan, start, end, &options))?;
    let answer = promql::query_range(&plan, &*held, (start, end), step, &options).map_err(|why| call.failed(why))?;
    written(text, answer, end, limit)
}

/// Whether a range can be answered.
///
/// # Errors
/// Why not, and what to do.
pub fn check_range(start: Timestamp, end: Timestamp, step: Span) -> Result<(), Mistake> {
    if end < start {
        return Err("invalid parameter \"end\": it is before the start".into());
    }
    let points = (end - start).0 / step.0.max(1) + 1;
    if points > MAX_POINTS {
        return Err(format!("the range has {points} points a series, more than {MAX_POINTS}; use a longer step"));
    }
    Ok(())
}

/// An answer as bytes, with at most `limit` results.
fn written(text: &str, mut answer: promql::Answer, at: Timestamp, limit: Option<usize>) -> Result<Vec<u8>, Failure> {
    let mut notes = Notes::of(&answer.annotations, text);
    let cut = match (&mut answer.value, limit) {
        (promql::Value::Vector(all), Some(limit)) => cut(all, limit),
        (promql::Value::Matrix(all), Some(limit)) => cut(all, limit),
        _ => false,
    };
    if cut {
        notes.warnings.push("results truncated due to limit".into());
    }
    Ok(json::success(&notes, |out| json::answer(out, &answer, at))?)
}

fn cut<T>(all: &mut Vec<T>, limit: usize) -> bool {
    let is_cut = all.len() > limit;
    all.truncate(limit);
    is_cut
}

fn series<D: Data>(call: &Call<D>) -> Result<Vec<u8>, Failure> {
    let limit = call.params.limit()?;
    let mut found = call.series(true)?;
    found.sort_unstable();
    let notes = limited(&mut found, limit);
    Ok(json::success(&notes, |out| json::label_sets(out, &found))?)
}

fn label_names<D: Data>(call: &Call<D>) -> Result<Vec<u8>, Failure> {
    let limit = call.params.limit()?;
    let found = call.series(false)?;
    texts(found.iter().flat_map(|labels| labels.iter().map(|(name, _)| name)), limit)
}

fn label_values<D: Data>(call: &Call<D>) -> Result<Vec<u8>, Failure> {
    if call.path.is_empty() || call.path.len() > 1024 {
        return Err(Failure::bad("invalid label name"));
    }
    let limit = call.params.limit()?;
    let found = call.series(false)?;
    texts(found.iter().map(|labels| labels.get(&call.path)).filter(|value| !value.is_empty()), limit)
}

/// A sorted list of texts, each once.
fn texts<'a>(all: impl Iterator<Item = &'a str>, limit: Option<usize>) -> Result<Vec<u8>, Failure> {
    let unique: std::collections::HashSet<&str> = all.collect();
    let mut list: Vec<&str> = unique.into_iter().collect();
    list.sort_unstable();
    let notes = limited(&mut list, limit);
    Ok(json::success(&notes, |out| json::strings(out, &list))?)
}

fn limited<T>(all: &mut Vec<T>, limit: Option<usize>) -> Notes {
    let is_cut = limit.is_some_and(|limit| cut(all, limit));
    let warnings = if is_cut { vec!["results truncated due to limit".into()] } else { Vec::new() };
    Notes { warnings, infos: Vec::new() }
}

/// The types of errors that Prometheus has, as far as they happen here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    BadData,
    Execution,
    Timeout,
    Unavailable,
    Internal,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failure {
    kind: Kind,
    why: String,
}

impl Failure {
    fn bad(why: impl Into<String>) -> Failure {
        Failure { kind: Kind::BadData, why: why.into() }
    }

    fn unavailable(why: &str) -> Failure {
        Failure { kind: Kind::Unavailable, why: why.into() }
    }

    fn internal(why: &str) -> Failure {
        Failure { kind: Kind::Internal, why: why.into() }
    }

    fn status(&self) -> (StatusCode, &'static str) {
        match self.kind {
            Kind::BadData => (StatusCode::BAD_REQUEST, "bad_data"),
            Kind::Execution => (StatusCode::UNPROCESSABLE_ENTITY, "execution"),
            Kind::Timeout => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
            Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }
}

impl From<Mistake> for Failure {
    fn from(why: Mistake) -> Failure {
        Failure::bad(why)
    }
}

impl From<TooLarge> for Failure {
    fn from(_: TooLarge) -> Failure {
        let why = format!("the answer is longer than {} MiB; ask for fewer series or points", json::MAX_ANSWER >> 20);
        Failure { kind: Kind::Execution, why }
    }
}

/// A text that is no expression, with the place as Prometheus writes it: `1:7: parse error: …`.
fn expression(parameter: &str, text: &str, error: &CompileError) -> Failure {
    let place = error.at.as_ref().map(|at| {
        let (line, column) = json::line_and_column(text, at.start);
        format!("{line}:{column}: ")
    });
    let help = error.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
    let place = place.unwrap_or_default();
    Failure::bad(format!("invalid parameter \"{parameter}\": {place}parse error: {}{help}", error.message))
}

/// The parameters of a request; a body that does not come in time or is too long is a failure.
async fn read_params(request: Request) -> Result<Params, Failure> {
    let (head, body) = request.into_parts();
    let kind = head.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let is_form = kind.to_ascii_lowercase().starts_with(b"application/x-www-form-urlencoded");
    let query = head.uri.query().unwrap_or_default();
    if !is_form {
        return Ok(Params::read(b"", query)?);
    }
    let whole = tokio::time::timeout(LONGEST.to_std(), axum::body::to_bytes(body, super::MAX_BODY)).await;
    let body =
        whole.map_err(|_| Failure { kind: Kind::Timeout, why: "the body did not come in time".into() })?.map_err(
            |_| Failure::bad(format!("the body cannot be read, or is longer than {} KiB", super::MAX_BODY >> 10)),
        )?;
    Ok(Params::read(&body, query)?)
}

fn respond(answer: Result<Vec<u8>, Failure>) -> Response<Body> {
    match answer {
        Ok(body) => with_status(StatusCode::OK, body),
        Err(failure) => {
            let (status, kind) = failure.status();
            with_status(status, json::failure(kind, &failure.why))
        }
    }
}

fn with_status(status: StatusCode, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer that is always the same.
fn fixed(data: &str) -> Response<Body> {
    with_status(StatusCode::OK, format!("{{\"status\":\"success\",\"data\":{data}}}").into_bytes())
}

/// What clients look at to know whom they talk to.
fn build_info() -> Response<Body> {
    let own = env!("CARGO_PKG_VERSION");
    fixed(&format!(
        "{{\"version\":\"{VERSION}\",\"revision\":\"backstop {own}\",\"branch\":\"\",\"buildUser\":\"\",\"buildDate\":\"\",\"goVersion\":\"\"}}"
    ))
}

#[cfg(test)]
mod tests;
