//! Where an answer sends the client, and what goes with it.
//!
//! A server chooses neither with which name and password the next one is asked, nor what it is shown: what a request
//! carries for one origin (headers that may identify, a body) never reaches another.

use http::header::{self, HeaderMap, HeaderName};
use http::{Method, StatusCode};
use url::Url;

use crate::base::Failure;

/// The address that an answer of `from` sends to; none when it is no redirect.
///
/// # Errors
/// Reason `redirect`, when it leads to nothing that is fetched.
pub(super) fn target(from: &Url, status: StatusCode, headers: &HeaderMap) -> Result<Option<Url>, Failure> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = headers.get(header::LOCATION) else {
        return Ok(None);
    };
    let text = std::str::from_utf8(location.as_bytes()).map_err(|_| Failure::new("redirect", "to no address"))?;
    let mut url = from.join(text).map_err(|e| Failure::new("redirect", format!("to no address: {e}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Failure::new("redirect", format!("to `{}`, which is not fetched", url.scheme())));
    }
    if url.set_username("").is_err() || url.set_password(None).is_err() {
        return Err(Failure::new("redirect", "to an address without a host"));
    }
    Ok(Some(url))
}

/// As every browser does it: only 307 and 308 repeat what was sent.
pub(super) fn becomes_get(status: StatusCode, method: &Method) -> bool {
    match status.as_u16() {
        303 => *method != Method::HEAD,
        301 | 302 => *method == Method::POST,
        _ => false,
    }
}

/// The headers that identify nobody, for another origin.
pub(super) fn harmless(headers: &HeaderMap) -> HeaderMap {
    const FOLLOW: [HeaderName; 3] = [header::ACCEPT, header::ACCEPT_LANGUAGE, header::CONTENT_TYPE];
    let mut kept = HeaderMap::new();
    for name in FOLLOW {
        if let Some(value) = headers.get(&name) {
            kept.insert(name, value.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_identifies_follows_to_another_server() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("authorization", "Bearer x"), ("cookie", "a"), ("x-key", "k"), ("host", "h"), ("accept", "text/plain")]
        {
            headers.insert(HeaderName::from_static(name), value.parse().unwrap());
        }
        let kept: Vec<String> = harmless(&headers).keys().map(ToString::to_string).collect();
        assert_eq!(kept, ["accept"]);
    }

    #[test]
    fn a_redirect_is_judged_before_it_is_followed() {
        let from: Url = "http://a:1/b/c?d".parse().unwrap();
        for (status, location, wanted) in [
            (302, Some("e"), Ok(Some("http://a:1/b/e"))),
            (302, Some("//x/y"), Ok(Some("http://x/y"))),
            (302, Some("http://anna:pw@x/"), Ok(Some("http://x/"))),
            (302, Some("ftp://x/"), Err("redirect: to `ftp`, which is not fetched")),
            (302, Some("file:///etc/passwd"), Err("redirect: to `file`, which is not fetched")),
            (302, Some("http://[::1"), Err("redirect: to no address: invalid IPv6 address")),
            (302, None, Ok(None)),
            (304, Some("e"), Ok(None)),
            (200, Some("e"), Ok(None)),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(location) = location {
                headers.insert(header::LOCATION, location.parse().unwrap());
            }
            let got = target(&from, StatusCode::from_u16(status).unwrap(), &headers);
            let got = got.map(|url| url.map(String::from)).map_err(|f| f.to_string());
            assert_eq!(got, wanted.map(|url| url.map(String::from)).map_err(String::from), "{location:?}");
        }
    }
}
