//! What the tests of sources share: configuration from text, and servers that behave badly on purpose.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::common::Defaults;
use crate::base::table::{Entry, Value};
use crate::base::{Batch, Labels, Node, Outcome, Place, Problems, Span};
use crate::sys::tasks::Tasks;

/// Defaults as an application would have them.
pub fn defaults() -> Defaults {
    Defaults {
        interval: Span::secs(15),
        timeout: Span::secs(5),
        app: "shop".into(),
        labels: Labels::new([("zone", "a")]),
        zone: jiff::tz::TimeZone::UTC,
    }
}

/// Reads TOML through `reader`; returns what it made and the titles of all problems.
pub fn read<T>(toml: &str, reader: impl FnOnce(&Node, &mut Problems) -> T) -> (T, Vec<String>) {
    let node = node(toml::Value::Table(toml.parse().unwrap()));
    let mut problems = Problems::default();
    let made = reader(&node, &mut problems);
    (made, problems.list.into_iter().map(|p| p.title).collect())
}

fn node(value: toml::Value) -> Node {
    let value = match value {
        toml::Value::String(text) => Value::Text(text),
        toml::Value::Integer(n) => Value::Whole(n),
        toml::Value::Float(n) => Value::Float(n),
        toml::Value::Boolean(b) => Value::Bool(b),
        toml::Value::Array(all) => Value::List(all.into_iter().map(node).collect()),
        toml::Value::Table(all) => Value::Table(
            all.into_iter().map(|(key, v)| Entry { key, place: Place::default(), node: node(v) }).collect(),
        ),
        toml::Value::Datetime(_) => panic!("no dates in this grammar"),
    };
    Node { value, place: Place::default() }
}

/// What a server does with each connection.
#[derive(Clone, Debug)]
pub enum Manner {
    /// Reads a request, answers these bytes, closes.
    Answers(Vec<u8>),
    /// Reads a request and never answers.
    Hangs,
    /// Answers these bytes and then keeps the connection open without another.
    Stalls(Vec<u8>),
    /// Answers a body without end.
    Endless,
    /// Closes without an answer.
    Closes,
    /// Answers with what came in as the body.
    Echoes,
}

/// A server on loopback that ends with the value.
#[derive(Debug)]
pub struct Server {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    _tasks: Tasks,
}

impl Server {
    /// A server with this manner.
    pub async fn start(manner: Manner) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut tasks = Tasks::new();
        tasks.spawn("server", async move {
            let mut connections = Tasks::new();
            while let Ok((stream, _)) = listener.accept().await {
                let manner = manner.clone();
                connections.spawn("connection", async move {
                    drop(converse(stream, manner).await);
                });
            }
        });
        Server { url, _tasks: tasks }
    }

    /// A server that answers `status` with headers and a body of the right length.
    pub async fn answering(status: &str, headers: &str, body: &[u8]) -> Server {
        Server::start(Manner::Answers(answer(status, headers, body))).await
    }
}

/// The bytes of an answer.
pub fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

async fn converse(mut stream: TcpStream, manner: Manner) -> std::io::Result<()> {
    let mut request = vec![0; 8192];
    let n = stream.read(&mut request).await?;
    match manner {
        Manner::Answers(bytes) => stream.write_all(&bytes).await?,
        Manner::Hangs => std::future::pending::<()>().await,
        Manner::Stalls(bytes) => {
            stream.write_all(&bytes).await?;
            std::future::pending::<()>().await;
        }
        Manner::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            loop {
                stream.write_all(b"a 1\n").await?;
            }
        }
        Manner::Closes => {}
        Manner::Echoes => stream.write_all(&answer("200 OK", "", &request[..n])).await?,
    }
    stream.shutdown().await
}

/// `good`, or the reason and detail of the failure.
pub fn outcome(batch: &Batch) -> String {
    match &batch.outcome {
        Outcome::Good => "good".into(),
        Outcome::Failed(failure) => failure.to_string(),
    }
}

/// The value of the only sample with this name and these labels, if there is one.
pub fn value(batch: &Batch, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let fits = |l: &Labels| l.name() == name && labels.iter().all(|(n, v)| l.get(n) == *v);
    let found: Vec<f64> = batch.samples.iter().filter(|s| fits(&s.labels)).map(|s| s.value).collect();
    assert!(found.len() <= 1, "{name} {labels:?}: {found:?}");
    found.first().copied()
}

/// An address on which nobody listens.
pub async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
