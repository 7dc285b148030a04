//! The demo's shop: a small web server in two versions, and the command that switches between them.
//!
//! Version 1.0 is good. Version 2.0 is as good as the fault in the folder's `shop.json` lets it be. The service
//! runs in a session of its own, so neither the end of the demo's steps nor of the agent ends it; the demo does, by
//! the identity in `service.json`, and after three minutes it ends by itself, so nothing is ever left running.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};

use super::{Context, Exit, Failure};
use crate::base::Span;
use crate::sys::clock::{Clock, Stopwatch, pause};
use crate::sys::files;
use crate::sys::process::{self, Detached, Identity};
use crate::sys::tasks::Tasks;
use crate::web::serve_tcp;

/// The version that is good.
pub const GOOD: &str = "1.0";

/// The version that has the fault.
pub const BAD: &str = "2.0";

/// When the bad version begins to misbehave, after its start.
pub const FAULT_AFTER: Span = Span::millis(600);

/// The longest that a shop lives.
const LIFETIME: Span = Span::mins(3);

/// How long a version may take until it answers.
const START_UP: Span = Span::secs(5);

/// What is wrong with version 2.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// 30 % of its answers are status 500, and those are slow.
    Errors,
    /// Nothing: a healthy release.
    None,
    /// It counts no requests any more.
    Blind,
    /// It ends at once.
    Exit,
}

/// `shop.json`: what both versions of the shop have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shop {
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    /// What is wrong with the bad version.
    pub fault: Fault,
}

impl Shop {
    /// Reads the folder's shop.
    pub fn read(folder: &Path) -> Result<Shop, String> {
        let bytes = files::read_capped(&folder.join("shop.json"), 4096).map_err(|e| e.to_string())?;
        serde_json::from_slice(&bytes).map_err(|e| format!("shop.json: {e}"))
    }

    /// Writes the folder's shop.
    pub fn write(&self, folder: &Path) -> Result<(), String> {
        let bytes = serde_json::to_vec(self).map_err(|e| e.to_string())?;
        files::replace(&folder.join("shop.json"), &bytes, 0o600).map_err(|e| e.to_string())
    }
}

/// Runs one version of the shop.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The demo's folder.
    #[arg(long)]
    folder: PathBuf,
    /// Which version this is. (Not `--version`: that is backstop's own.)
    #[arg(long)]
    release: String,
}

/// Serves until it is ended.
pub async fn run(args: &Args) -> Result<Exit, Failure> {
    process::own_session();
    let shop = Shop::read(&args.folder).map_err(Failure::unknown)?;
    let fault = if args.release == BAD { shop.fault } else { Fault::None };
    if fault == Fault::Exit {
        return Ok(Exit::Bad);
    }
    let address = ("127.0.0.1", shop.port);
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .map_err(|e| Failure::unknown(format!("listen on port {}: {e}", shop.port)))?;
    let identity = serde_json::to_vec(&Identity::own()).map_err(|e| Failure::unknown(e.to_string()))?;
    files::replace(&pid_file(&args.folder), &identity, 0o600).map_err(|e| Failure::unknown(e.to_string()))?;
    let mut tasks = Tasks::new();
    let stop = tasks.stop_signal();
    tasks.spawn("shop", serve_tcp(listener, router(Till::new(&args.release, fault)), stop));
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|e| Failure::unknown(e.to_string()))?;
    tokio::select! {
        _ = terminate.recv() => {}
        () = pause(LIFETIME) => {}
    }
    tasks.stop(Span::millis(200)).await;
    Ok(Exit::Good)
}

/// What the shop counts.
struct Till {
    version: String,
    fault: Fault,
    started: f64,
    age: Stopwatch,
    served: AtomicU64,
    good: AtomicU64,
    failed: AtomicU64,
    microseconds: AtomicU64,
}

impl Till {
    fn new(version: &str, fault: Fault) -> Arc<Till> {
        Arc::new(Till {
            version: version.into(),
            fault,
            started: Clock::new().now().seconds(),
            age: Stopwatch::start(),
            served: AtomicU64::new(0),
            good: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            microseconds: AtomicU64::new(0),
        })
    }

    /// Whether the next request fails: three of ten, evenly, so that the demo is the same every time.
    fn next_fails(&self) -> bool {
        let n = self.served.fetch_add(1, Ordering::Relaxed);
        self.fault == Fault::Errors && self.age.elapsed() >= FAULT_AFTER && n * 3 % 10 < 3
    }
}

fn router(till: Arc<Till>) -> Router {
    Router::new()
        .route("/", get(shop))
        .route("/shop", get(shop))
        .route("/health", get(health))
        .route("/version", get(version))
        .route("/metrics", get(metrics))
        .with_state(till)
}

async fn shop(State(till): State<Arc<Till>>) -> Response {
    let watch = Stopwatch::start();
    let fails = till.next_fails();
    pause(Span::millis(if fails { 120 } else { 4 })).await;
    let microseconds = (watch.seconds() * 1e6) as u64;
    till.microseconds.fetch_add(microseconds, Ordering::Relaxed);
    if fails {
        till.failed.fetch_add(1, Ordering::Relaxed);
        return (StatusCode::INTERNAL_SERVER_ERROR, "KeyError: 'total'\n").into_response();
    }
    till.good.fetch_add(1, Ordering::Relaxed);
    "one pair of socks, please\n".into_response()
}

async fn health(State(till): State<Arc<Till>>) -> Response {
    let body = serde_json::json!({ "status": "ok", "version": till.version });
    axum::Json(body).into_response()
}

async fn version(State(till): State<Arc<Till>>) -> String {
    format!("{}\n", till.version)
}

async fn metrics(State(till): State<Arc<Till>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page(&till)).into_response()
}

fn page(till: &Till) -> String {
    let (good, failed) = (till.good.load(Ordering::Relaxed), till.failed.load(Ordering::Relaxed));
    let seconds = till.microseconds.load(Ordering::Relaxed) as f64 / 1e6;
    let mut page = format!(
        "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds {}\n\
         # TYPE http_request_duration_seconds summary\nhttp_request_duration_seconds_sum {seconds}\n\
         http_request_duration_seconds_count {}\n",
        till.started,
        good + failed
    );
    if till.fault != Fault::Blind {
        page += &format!(
            "# TYPE http_requests_total counter\nhttp_requests_total{{code=\"200\"}} {good}\n\
             http_requests_total{{code=\"500\"}} {failed}\n"
        );
    }
    page
}

/// Puts another version of the shop in the place of the running one.
#[derive(Clone, Debug, clap::Args)]
pub struct SwitchArgs {
    /// The demo's folder.
    #[arg(long)]
    folder: PathBuf,
    /// The version to run.
    release: String,
}

/// Ends the running version, starts the other, and waits until it answers as itself.
pub async fn switch(context: &mut Context, args: &SwitchArgs) -> Result<Exit, Failure> {
    match switch_to(&args.folder, &args.release).await {
        Ok(()) => {
            context.out.line(&format!("the shop is {} now", args.release));
            Ok(Exit::Good)
        }
        Err(why) => Err(Failure { text: why, help: None, exit: Exit::Bad }),
    }
}

/// Ends the shop of this folder, if one runs.
pub async fn end_service(folder: &Path) {
    let Ok(bytes) = files::read_capped(&pid_file(folder), 4096) else { return };
    if let Ok(identity) = serde_json::from_slice::<Identity>(&bytes) {
        identity.wait_for_end(Span::ZERO).await;
    }
}

/// Ends the running version of the folder's shop and starts the other; returns when it answers as itself.
///
/// # Errors
/// A sentence fragment: why the other version does not answer.
pub async fn switch_to(folder: &Path, release: &str) -> Result<(), String> {
    let shop = Shop::read(folder)?;
    end_service(folder).await;
    let program = std::env::current_exe().map_err(|e| format!("where this program is: {e}"))?;
    let args = ["demo-service", "--folder", &folder.display().to_string(), "--release", release].map(String::from);
    let log = folder.join("shop.log");
    let mut child = process::spawn_detached(&program, &args, &BTreeMap::new(), &log).map_err(|e| e.to_string())?;
    wait_for(&mut child, shop.port, release).await
}

async fn wait_for(child: &mut Detached, port: u16, release: &str) -> Result<(), String> {
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(1))
        .no_proxy()
        .build()
        .map_err(|e| format!("make a client: {e}"))?;
    let watch = Stopwatch::start();
    while watch.elapsed() < START_UP {
        if let Ok(answer) = client.get(format!("http://127.0.0.1:{port}/version")).send().await
            && let Ok(text) = answer.text().await
            && text.trim() == release
        {
            return Ok(());
        }
        if let Some(exit) = child.ended() {
            return Err(format!("version {release} ended at once: {exit}"));
        }
        pause(Span::millis(30)).await;
    }
    Err(format!("version {release} did not answer within {}", START_UP.human()))
}

fn pid_file(folder: &Path) -> PathBuf {
    folder.join("service.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_of_ten_requests_fail_once_the_fault_began_and_none_before() {
        let mut till = Arc::into_inner(Till::new(BAD, Fault::Errors)).unwrap();
        assert!((0..100).all(|_| !till.next_fails()));
        till.fault = Fault::None;
        assert!((0..100).all(|_| !till.next_fails()));
        assert_eq!((0..100u64).filter(|n| n * 3 % 10 < 3).count(), 30);
    }

    #[test]
    fn both_pages_are_metrics_and_the_blind_one_lacks_the_requests() {
        for (fault, requests) in [(Fault::None, 2), (Fault::Blind, 0)] {
            let page = page(&Till::new(BAD, fault));
            let read = prometheus_parse::Scrape::parse(page.lines().map(|l| Ok(l.to_string()))).unwrap();
            assert_eq!(read.samples.iter().filter(|s| s.metric == "http_requests_total").count(), requests);
            assert!(read.samples.iter().any(|s| s.metric == "process_start_time_seconds"));
        }
    }
}
