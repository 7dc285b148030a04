//! HTTP: metrics and health for everybody on loopback, the control socket for people and pipelines.
//!
//! Enters: requests over TCP or a Unix socket, and the one [`Snapshot`] that the agent hands out. Leaves: text,
//! JSON, and commands into the agent's loop with the caller's name on them, as the kernel knows it. Nothing here
//! decides; samples are read by [`query`] alone, from copies. It fails closed: a loop that does not answer is 503, a
//! caller without the right is refused with whom to ask, and every body, wait and number of connections has a bound.

pub mod client;
pub mod control;
pub mod metrics;
pub mod query;
#[cfg(test)]
pub mod samples;
pub mod serve;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request as HttpRequest, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::{mpsc, oneshot};

pub use control::control_router;
pub use serve::{BindError, Caller, bind_unix, serve_bound, serve_tcp, serve_unix};

use crate::engine::command::{Command, Reply};
use crate::engine::snapshot::Snapshot;

/// The largest body of a request, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// How long a request may take from its head to its answer.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// What the web asks of the agent's loop.
#[derive(Debug)]
pub enum Request {
    /// The newest picture of everything.
    Snapshot(oneshot::Sender<Arc<Snapshot>>),
    /// A command; answered when it is durable.
    Command(Command, oneshot::Sender<Reply>),
    /// Read the configuration again; what happened, or why the old one goes on running.
    Reload(oneshot::Sender<Result<String, String>>),
    /// What a query reads, as far as it is in memory.
    View(Vec<query::Wanted>, oneshot::Sender<query::Hot>),
}

/// The way into the agent's loop. The channel is bounded by its maker; a full one makes callers wait, at most
/// [`TIMEOUT`].
#[derive(Clone, Debug)]
pub struct Gate {
    /// Where the loop takes requests.
    pub requests: mpsc::Sender<Request>,
}

impl Gate {
    /// The newest snapshot; none when the loop has none yet or is gone.
    pub async fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.ask(Request::Snapshot).await
    }

    /// Hands a command to the loop; none when the loop is gone.
    pub async fn command(&self, command: Command) -> Option<Reply> {
        self.ask(|reply| Request::Command(command, reply)).await
    }

    /// Has the configuration read again; none when the loop is gone.
    pub async fn reload(&self) -> Option<Result<String, String>> {
        self.ask(Request::Reload).await
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.ok()?;
        answer.await.ok()
    }
}

/// What everybody who reaches the listener may read: `/metrics`, `/-/healthy`, `/-/ready`.
pub fn public_router(gate: Gate) -> Router {
    let routes = Router::new()
        .route("/metrics", get(metrics_page))
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
        .with_state(gate);
    bounded(routes)
}

/// Adds the bounds that hold for every route: size of the body, time to the answer.
pub(crate) fn bounded(routes: Router) -> Router {
    routes.layer(DefaultBodyLimit::max(MAX_BODY)).layer(middleware::from_fn(in_time))
}

async fn in_time(request: HttpRequest, next: Next) -> Response {
    match tokio::time::timeout(TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the agent's loop did not answer in 10 s\n").into_response(),
    }
}

async fn metrics_page(State(gate): State<Gate>) -> Response {
    match gate.snapshot().await {
        Some(snapshot) => {
            let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            ([(header::CONTENT_TYPE, kind)], metrics::render(&snapshot)).into_response()
        }
        None => not_yet(),
    }
}

/// Healthy is a loop that turns, not a process that exists.
async fn healthy(State(gate): State<Gate>) -> Response {
    match gate.snapshot().await {
        Some(_) => "the agent is healthy\n".into_response(),
        None => not_yet(),
    }
}

async fn ready(State(gate): State<Gate>) -> Response {
    match gate.snapshot().await {
        Some(snapshot) => match &snapshot.degraded {
            None => "the agent is ready\n".into_response(),
            Some(why) => format!("the agent is watching, but degraded: {why}\n").into_response(),
        },
        None => not_yet(),
    }
}

/// The answer while there is no snapshot.
pub(crate) fn not_yet() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the agent has not looked at anything yet, or is stopping\n").into_response()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::sys::tasks::Tasks;

    /// A loop that answers every request: snapshots from `snapshot`, commands with their own `Debug` text.
    pub(crate) fn model_loop(tasks: &mut Tasks, snapshot: Option<Snapshot>) -> Gate {
        let (requests, mut incoming) = mpsc::channel(8);
        tasks.spawn("model loop", async move {
            while let Some(request) = incoming.recv().await {
                match (request, &snapshot) {
                    (Request::Snapshot(reply), Some(snapshot)) => drop(reply.send(Arc::new(snapshot.clone()))),
                    (Request::Snapshot(reply), None) => drop(reply),
                    (Request::Command(command, reply), _) => drop(reply.send(Reply::done(format!("{command:?}")))),
                    (Request::Reload(reply), _) => drop(reply.send(Err("line 3 is wrong".into()))),
                    (Request::View(_, reply), _) => drop(reply.send(query::Hot::default())),
                }
            }
        });
        Gate { requests }
    }

    async fn get_page(snapshot: Option<Snapshot>, path: &str) -> (u16, String) {
        crate::sys::http::install_crypto_provider();
        let mut tasks = Tasks::new();
        let gate = model_loop(&mut tasks, snapshot);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tasks.spawn("web", serve_tcp(listener, public_router(gate), tasks.stop_signal()));
        let answer = reqwest::get(format!("http://{address}{path}")).await.unwrap();
        let got = (answer.status().as_u16(), answer.text().await.unwrap());
        tasks.stop(crate::base::Span::secs(5)).await;
        got
    }

    #[tokio::test]
    async fn readiness_follows_the_first_snapshot_and_names_a_bad_disk() {
        let good = crate::web::samples::quiet();
        let mut degraded = good.clone();
        degraded.degraded = Some("the journal's disk is full".into());
        assert_eq!(get_page(None, "/-/ready").await.0, 503);
        assert_eq!(get_page(None, "/metrics").await.0, 503);
        assert_eq!(get_page(Some(good.clone()), "/-/ready").await, (200, "the agent is ready\n".into()));
        let (status, text) = get_page(Some(degraded), "/-/ready").await;
        assert_eq!((status, text.contains("disk is full")), (200, true));
        assert_eq!(get_page(Some(good.clone()), "/-/healthy").await.0, 200);
        assert_eq!(get_page(Some(good), "/api/status").await.0, 404, "the control routes are not public");
    }
}
