//! One question to the engine, and its answer to the client, piece by piece: nothing is read that the client does not take.

use super::allowed::{Read, Shape};
use super::answer::{Gone, Sink};
use super::rewrite::{self, Keep};
use crate::base::{Failure, Span};
use crate::sys::engine::call::Call;
use crate::sys::engine::objects::{Object, Objects};
use crate::sys::engine::{Engine, PROXY, told};

/// How long the engine may take for a description.
const SHORT: Span = Span::secs(10);

/// How long it may take for the next piece of a list.
const LONG: Span = Span::secs(30);

/// The longest description, in bytes.
const MAX_WHOLE: usize = 1 << 20;

/// The longest list, in bytes.
const MAX_LIST: usize = 128 << 20;

/// The longest text of an error, in bytes.
const MAX_MESSAGE: usize = 4 << 10;

const JSON: &str = "application/json";

/// Asks the engine, and hands on what passes of its answer.
pub(super) async fn forward(engine: &Engine, read: &Read, is_old: bool, sink: &mut Sink<'_>) -> Result<(), Gone> {
    match asked(engine, read, is_old).await {
        Ok(Asked::Well(call)) => answered(call, read.shape, sink).await,
        Ok(Asked::No(status, why)) => sink.refuse(status, &why).await,
        Err(failure) => failed(&failure, sink).await,
    }
}

enum Asked {
    Well(Call),
    No(u16, String),
}

/// A gateway's words: the client tells a late engine from one that is not there.
async fn failed(failure: &Failure, sink: &mut Sink<'_>) -> Result<(), Gone> {
    let status = if failure.reason == "timeout" { 504 } else { 502 };
    sink.refuse(status, &failure.to_string()).await
}

async fn asked(engine: &Engine, read: &Read, is_old: bool) -> Result<Asked, Failure> {
    let address = engine.address();
    // Chunks tell an end from a break, and cost one of them for each line of a log: as the client wants it.
    let mut call = match is_old {
        true => Call::ask(&address, &read.path).await?,
        false => Call::ask_whole(&address, &read.path).await?,
    };
    // What follows a log or events may have to wait for the first of them.
    let status = match read.shape {
        Shape::Events | Shape::Stream => call.status().await?,
        Shape::Ping | Shape::Object(_) | Shape::List(_) => within(LONG, call.status()).await?,
    };
    if call.server() == PROXY {
        let detail = format!("{address} is this proxy itself; say with --engine where the engine listens");
        return Err(Failure::new("refused", detail));
    }
    if status == 200 {
        return Ok(Asked::Well(call));
    }
    let body = within(SHORT, call.whole(MAX_MESSAGE)).await.unwrap_or_default();
    let status = if (400..=599).contains(&status) { status } else { 502 };
    Ok(Asked::No(status, told::message(&body)))
}

async fn within<T>(limit: Span, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let late = || Failure::new("timeout", format!("the engine does not answer within {limit}"));
    tokio::time::timeout(limit.to_std(), work).await.unwrap_or_else(|_| Err(late()))
}

async fn answered(mut call: Call, shape: Shape, sink: &mut Sink<'_>) -> Result<(), Gone> {
    match shape {
        Shape::Ping => match within(SHORT, call.whole(MAX_MESSAGE)).await {
            Ok(_) => sink.whole(200, "text/plain; charset=utf-8", "OK").await,
            Err(failure) => failed(&failure, sink).await,
        },
        Shape::Object(keep) => {
            let whole = within(SHORT, call.whole(MAX_WHOLE)).await;
            let odd = |odd: told::Odd| Failure::new("protocol", odd.to_string());
            match whole.and_then(|body| rewrite::object(&body, keep).map_err(odd)) {
                Ok(body) => sink.json(200, &(body + "\n")).await,
                Err(failure) => failed(&failure, sink).await,
            }
        }
        Shape::List(keep) => list(call, keep, sink).await,
        Shape::Events => events(call, sink).await,
        Shape::Stream => stream(call, sink).await,
    }
}

/// The elements one by one; at no time more than one of them and one piece is held.
async fn list(mut call: Call, keep: Keep, sink: &mut Sink<'_>) -> Result<(), Gone> {
    sink.begin(JSON).await?;
    let (mut objects, mut length, mut is_first) = (Objects::default(), 0, true);
    let mut out = b"[".to_vec();
    while let Some(piece) = within(LONG, call.piece()).await.map_err(|_| Gone)? {
        length += piece.len();
        let fed = objects.feed(&piece, |object| {
            if !std::mem::take(&mut is_first) {
                out.extend_from_slice(b",\n");
            }
            let passed = match object {
                Object::Whole(json) => rewrite::object(json, keep).ok(),
                Object::TooLong => None,
            };
            out.extend_from_slice(passed.as_deref().unwrap_or(rewrite::UNREADABLE).as_bytes());
        });
        if fed.is_err() || length > MAX_LIST {
            return Err(Gone);
        }
        sink.piece(&out).await?;
        out.clear();
    }
    // A list that broke off does so for the client too.
    if !objects.is_whole_list() {
        return Err(Gone);
    }
    sink.piece(b"]\n").await?;
    sink.end().await
}

async fn events(mut call: Call, sink: &mut Sink<'_>) -> Result<(), Gone> {
    sink.begin(JSON).await?;
    let (mut objects, mut out) = (Objects::default(), Vec::new());
    while let Some(piece) = call.piece().await.map_err(|_| Gone)? {
        let fed = objects.feed(&piece, |object| {
            let passed = match object {
                Object::Whole(json) => rewrite::event(json),
                Object::TooLong => Err(told::Odd),
            };
            if let Some(event) = passed.unwrap_or_else(|_| Some(rewrite::UNREADABLE_EVENT.into())) {
                out.extend_from_slice(event.as_bytes());
                out.push(b'\n');
            }
        });
        if fed.is_err() {
            return Err(Gone);
        }
        sink.piece(&out).await?;
        out.clear();
    }
    sink.end().await
}

async fn stream(mut call: Call, sink: &mut Sink<'_>) -> Result<(), Gone> {
    sink.begin("application/octet-stream").await?;
    while let Some(piece) = call.piece().await.map_err(|_| Gone)? {
        sink.piece(&piece).await?;
    }
    sink.end().await
}
