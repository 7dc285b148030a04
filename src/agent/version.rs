//! Reads which version runs, as `[app] version` says: to record `previous`, and to prove a rollback.
//!
//! Enters: nothing. Leaves: the version's text, or why it cannot be read. Bounded in time and size.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::base::Span;
use crate::sys::apart::Apart;
use crate::sys::http::{Client, Method, Request, Url};
use crate::sys::process::{self, Program};
use crate::sys::read;

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
    /// The name of what a symbolic link leads to.
    Link(PathBuf),
}

/// The reader of the running version.
#[derive(Debug)]
pub struct Version {
    how: How,
    /// How often.
    pub interval: Span,
    timeout: Span,
    client: Client,
    /// The look at a link: its mount may hang.
    looking: Apart<()>,
}

/// The longest version, in bytes; more is not one.
const MAX_VERSION: usize = 200;

/// The most that is read of a program's output or a page, in bytes.
const MAX_READ: usize = 64 << 10;

impl Version {
    /// Read in this way, so often, within `timeout`; `client` fetches pages.
    pub fn new(how: How, interval: Span, timeout: Span, client: Client) -> Version {
        Version { how, interval, timeout, client, looking: Apart::default() }
    }

    /// Reads it once.
    ///
    /// # Errors
    /// A fragment that says why it cannot be read.
    pub async fn read(&mut self) -> Result<String, String> {
        let text = match &self.how {
            How::Command(argv) => self.run(argv).await?,
            How::Http { url, path } => self.fetch(url, path).await?,
            How::Link(path) => {
                let (path, timeout) = (path.clone(), self.timeout);
                let looked = self.looking.run("version", timeout, move |()| led_to(&path)).await;
                looked.map_err(|late| late.to_string())??
            }
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

/// The last part of the path that a link leads to in the end.
fn led_to(link: &Path) -> Result<String, String> {
    let target = read::resolve(link).map_err(|error| format!("{}: {error}", link.display()))?;
    if target == link {
        return Err(format!("{} is no symbolic link", link.display()));
    }
    let name = target.file_name().map(|name| name.to_string_lossy().into_owned());
    name.ok_or_else(|| format!("{} leads to the root", link.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_link_tells_the_name_of_what_it_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(folder.join("releases/1.4.2")).unwrap();
        std::fs::create_dir_all(folder.join("releases/1.4.3")).unwrap();
        let link = folder.join("current");
        let mut version = Version::new(How::Link(link.clone()), Span::secs(15), Span::secs(5), Client::new());
        assert!(version.read().await.unwrap_err().contains("No such file"), "it is not there");
        for name in ["1.4.2", "1.4.3"] {
            drop(std::fs::remove_file(&link));
            std::os::unix::fs::symlink(format!("releases/{name}"), &link).unwrap();
            assert_eq!(version.read().await.as_deref(), Ok(name));
        }
        let mut version =
            Version::new(How::Link(folder.join("releases")), Span::secs(15), Span::secs(5), Client::new());
        assert!(version.read().await.unwrap_err().ends_with("is no symbolic link"));
    }
}
