//! Hides what was sent in what a server says about it: many repeat the request in their answer.
//!
//! Enters: the secrets of one request, its address and body, and a failure. Leaves: the failure with `***` for each of
//! them. Secrets are hidden wherever they stand. The values of the query and the words of a `body_file` are hidden in what
//! the server says, from [`MIN_WORD`] bytes on: a shorter one, such as `1`, would hide half of each figure.

use url::Url;

use crate::base::{Failure, Secret};
use crate::source::masks::Masks;

/// The shortest value of a query and word of a body that is hidden, in bytes.
const MIN_WORD: usize = 4;

/// How many words of a body are hidden.
const MAX_WORDS: usize = 4096;

/// What was sent and is nobody's business. It cannot print itself.
#[derive(Default)]
pub(super) struct Sent {
    secrets: Vec<Secret>,
    /// The content of a `body_file`.
    body: Option<Vec<u8>>,
}

impl Sent {
    /// A secret, and the value of the header that it was sent in.
    pub(super) fn header(&mut self, secret: Secret, value: &http::header::HeaderValue) {
        let value = value.to_str().unwrap_or_default();
        // `Basic` and `Bearer` say nothing; what stands behind them does.
        let proof = value.split_once(' ').map_or(value, |(_, proof)| proof);
        self.secrets.extend([value, proof].map(|text| Secret::from(text.to_string())));
        self.secrets.push(secret);
    }

    /// What a file held.
    pub(super) fn body(&mut self, body: &[u8]) {
        self.body = Some(body.to_vec());
    }

    /// The failure without what was sent to `url`.
    pub(super) fn hide(&self, url: &Url, failure: Failure) -> Failure {
        let detail = Masks::new(&self.secrets).hide_cut(&failure.detail);
        let words = self.words(url);
        // What is expected stands in the configuration; what was seen comes from the server.
        let shown = match detail.split_once(SAW) {
            Some((expected, saw)) => format!("{expected}{SAW}{}", words.hide_cut(saw)),
            None => words.hide_cut(&detail),
        };
        Failure::new(failure.reason, shown)
    }

    /// A text of the server without what was sent to `url`.
    pub(super) fn hide_text(&self, url: &Url, text: &str) -> String {
        self.words(url).hide_cut(&Masks::new(&self.secrets).hide_cut(text))
    }

    fn words(&self, url: &Url) -> Masks {
        let decoded = url.query_pairs().map(|(key, value)| if value.is_empty() { key } else { value }.into_owned());
        let raw = url.query().into_iter().flat_map(|query| query.split('&'));
        let raw = raw.map(|pair| pair.split_once('=').map_or(pair, |(_, value)| value).to_string());
        let body = String::from_utf8_lossy(self.body.as_deref().unwrap_or_default());
        let of_body = body.split(|c: char| c.is_whitespace() || "\"'{}[]()<>&=,;:".contains(c));
        let all = decoded.chain(raw).chain(of_body.take(MAX_WORDS).map(str::to_string));
        let words: Vec<Secret> = all.filter(|word| word.len() >= MIN_WORD).map(Secret::from).collect();
        Masks::new(&words)
    }
}

/// What stands between what is expected and what was seen.
const SAW: &str = ", saw ";

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(query: &str, secret: &str, detail: &str) -> String {
        let url = Url::parse(&format!("http://h/health?{query}")).unwrap();
        let mut sent = Sent::default();
        let value = http::header::HeaderValue::from_str(&format!("Bearer {secret}")).unwrap();
        sent.header(Secret::from(secret.to_string()), &value);
        sent.body(br#"{"pass": "letmein", "n": 1}"#);
        sent.hide(&url, Failure::new("body", detail)).detail
    }

    #[test]
    fn what_was_sent_is_hidden_in_what_the_server_says() {
        for (query, detail, wanted) in [
            (
                "k=query2",
                "expected status == 200, saw \"/health?k=query2\"",
                "expected status == 200, saw \"/health?k=***\"",
            ),
            ("k=a%2Fbcd", "expected x, saw \"a/bcd a%2Fbcd\"", "expected x, saw \"*** ***\""),
            ("query2", "redirect to query2.test", "redirect to ***.test"),
            ("f=json&v=1", "expected json n == 1, saw 501", "expected json n == 1, saw 501"),
            ("", "expected x, saw \"Bearer hunter2\"", "expected x, saw \"***\""),
            ("", "expected body contains \"hunter2\", saw 1", "expected body contains \"***\", saw 1"),
            ("", "expected x, saw \"you sent letmein\"", "expected x, saw \"you sent ***\""),
            ("", "expected x, saw \"your token hunt…\"", "expected x, saw \"your token ***…\""),
            ("", "expected x, saw \"the others…\"", "expected x, saw \"the others…\""),
        ] {
            assert_eq!(hidden(query, "hunter2", detail), wanted);
        }
    }
}
