//! Reads which version runs, as `[app] version` says: to record `previous`, and to prove a rollback.
//!
//! Enters: nothing. Leaves: the version's text, or why it cannot be read. Bounded in time and size.

use std::collections::BTreeMap;

use crate::base::Span;
use crate::sys::http::{Client, Method, Request, Url};
use crate::sys::process::{self, Program};

/// How the running version is read.
#[derive(Clone, Debug)]
pub enum How {
    /// The first line that a program prints.
    Command(Vec<String>),
    /// A place in the JSON of a page.
    Http {
        /// The page.
        url: Url,
        /// The place.
        path: serde_json_path::JsonPath,
    },
}

/// The reader of the running version.
#[derive(Clone, Debug)]
pub struct Version {
    /// How it is read.
    pub how: How,
    /// How often.
    pub interval: Span,
    /// How long it may take.
    pub timeout: Span,
    /// The client for pages.
    pub client: Client,
}

/// The longest version, in bytes; more is not one.
const MAX_VERSION: usize = 200;

/// The most that is read of a program's output or a page, in bytes.
const MAX_READ: usize = 64 << 10;

impl Version {
    /// Reads it once.
    ///
    /// # Errors
    /// A fragment that says why it cannot be read.
    pub async fn read(&self) -> Result<String, String> {
        let text = match &self.how {
            How::Command(argv) => self.run(argv).await?,
            How::Http { url, path } => self.fetch(url, path).await?,
        };
        let version = text.lines().next().unwrap_or("").trim();
        match version {
            "" => Err("it is empty".into()),
            v if v.len() > MAX_VERSION || v.chars().any(char::is_control) => {
                Err("it is no version but a long text".into())
            }
            v => Ok(v.to_string()),
        }
    }

    async fn run(&self, argv: &[String]) -> Result<String, String> {
        let program = Program {
            argv: argv.to_vec(),
            env: BTreeMap::new(),
            dir: None,
            timeout: self.timeout,
            max_output: MAX_READ,
            output: None,
        };
        let ended = process::run(&program).await;
        if !ended.exit.is_success() {
            return Err(format!("{}: {}", argv.first().map_or("", String::as_str), ended.exit));
        }
        Ok(String::from_utf8_lossy(&ended.output.head).into_owned())
    }

    async fn fetch(&self, url: &Url, path: &serde_json_path::JsonPath) -> Result<String, String> {
        let request = Request {
            method: Method::GET,
            url,
            headers: http::header::HeaderMap::new(),
            body: None,
            redirects: 5,
            max_body: MAX_READ as u64,
            timeout: self.timeout,
        };
        let response = self.client.fetch(request).await.map_err(|f| f.to_string())?;
        if !(200..300).contains(&response.status) {
            return Err(format!("status {}", response.status));
        }
        let json: serde_json::Value =
            serde_json::from_slice(&response.body).map_err(|e| format!("the page is no JSON: {e}"))?;
        match path.query(&json).first() {
            Some(serde_json::Value::String(text)) => Ok(text.clone()),
            Some(serde_json::Value::Number(n)) => Ok(n.to_string()),
            Some(_) => Err("what stands there is no version".into()),
            None => Err("nothing stands there".into()),
        }
    }
}
