//! The head of a request, taken apart with no tolerance: what two readers could understand in two ways is refused.
//!
//! RFC 9112, without what it allows for old clients: lines end with CR LF, nothing is folded, there is no body, and a
//! connection carries one request.

/// The longest head, in bytes.
pub const MAX_HEAD: usize = 8 << 10;

/// The most lines of a head.
const MAX_LINES: usize = 64;

/// What a request is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// To read.
    Get,
    /// To run what is declared.
    Post,
}

/// What a head says, as far as it matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// What is to be done.
    pub method: Method,
    /// To what; begins with `/` and has no spaces or control characters.
    pub target: String,
    /// Whether the client speaks HTTP/1.0, which knows no chunks.
    pub is_old: bool,
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct No {
    /// The status.
    pub status: u16,
    /// Why, for people; nothing of the request.
    pub what: &'static str,
}

const fn odd(what: &'static str) -> No {
    No { status: 400, what }
}

const fn refused(what: &'static str) -> No {
    No { status: 403, what }
}

/// What is wrong with the beginning of a head, before its end is there.
pub fn flaw(bytes: &[u8]) -> Option<No> {
    let mut before = 0;
    for (i, byte) in bytes.iter().enumerate() {
        match byte {
            b'\n' if before != b'\r' => return Some(odd("a line ends with CR LF")),
            b'\n' if bytes[..=i].ends_with(b"\r\n\r\n") && i + 1 < bytes.len() => {
                return Some(refused("a connection carries one request, without a body"));
            }
            b'\r' | b'\n' | b'\t' => {}
            0..0x20 | 0x7f => return Some(odd("a head has no control characters")),
            _ => {}
        }
        if before == b'\r' && *byte != b'\n' {
            return Some(odd("a line ends with CR LF"));
        }
        before = *byte;
    }
    None
}

/// Reads a head that ends with an empty line.
///
/// # Errors
/// When it is none, or announces more than a head.
pub fn head(bytes: &[u8]) -> Result<Head, No> {
    if let Some(no) = flaw(bytes) {
        return Err(no);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| odd("a head is ASCII"))?;
    let text = text.strip_suffix("\r\n\r\n").filter(|text| text.is_ascii()).ok_or(odd("a head is ASCII"))?;
    let mut lines = text.split("\r\n");
    let head = first(lines.next().unwrap_or_default())?;
    let (mut n_lines, mut has_length) = (0, false);
    for line in lines {
        n_lines += 1;
        if n_lines > MAX_LINES {
            return Err(No { status: 431, what: "the head of a request has at most 64 lines" });
        }
        let (name, value) = line.split_once(':').ok_or(odd("a line of a head has a name"))?;
        let is_name =
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
        if !is_name {
            return Err(odd("a line of a head begins with a name and a colon"));
        }
        let value = value.trim_matches([' ', '\t']);
        match name.to_ascii_lowercase().as_str() {
            "content-length" if has_length || value != "0" => return Err(refused("a request has no body")),
            "content-length" => has_length = true,
            "transfer-encoding" | "trailer" | "te" | "expect" => return Err(refused("a request has no body")),
            "upgrade" | "http2-settings" => return Err(refused("a connection stays what it is")),
            "connection" if value.to_ascii_lowercase().contains("upgrade") => {
                return Err(refused("a connection stays what it is"));
            }
            _ => {}
        }
    }
    Ok(head)
}

/// Reads `GET /path HTTP/1.1`.
fn first(line: &str) -> Result<Head, No> {
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(odd("a request is `GET /path HTTP/1.1`"));
    };
    let is_old = match version {
        "HTTP/1.0" => true,
        "HTTP/1.1" => false,
        _ => return Err(odd("a request is `GET /path HTTP/1.1`")),
    };
    if target.contains('\t') {
        return Err(odd("a request is `GET /path HTTP/1.1`"));
    }
    let method = match method {
        "GET" => Method::Get,
        "POST" => Method::Post,
        _ => return Err(refused("the engine is only read here")),
    };
    if !target.starts_with('/') {
        return Err(refused("a path begins with `/`"));
    }
    Ok(Head { method, target: target.to_string(), is_old })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_or_refused() {
        let get = |target: &str, is_old| Ok(Head { method: Method::Get, target: target.into(), is_old });
        for (text, wanted) in [
            ("GET /info HTTP/1.1\r\nHost: x\r\n\r\n", get("/info", false)),
            ("GET /a?b=c HTTP/1.0\r\n\r\n", get("/a?b=c", true)),
            ("GET / HTTP/1.1\r\nConnection: keep-alive\r\ncontent-length: 0\r\n\r\n", get("/", false)),
            ("GET / HTTP/2.0\r\n\r\n", Err(400)),
            ("get / HTTP/1.1\r\n\r\n", Err(403)),
            ("HEAD / HTTP/1.1\r\n\r\n", Err(403)),
            ("DELETE /containers/x HTTP/1.1\r\n\r\n", Err(403)),
            ("CONNECT engine:80 HTTP/1.1\r\n\r\n", Err(403)),
            ("GET http://engine/info HTTP/1.1\r\n\r\n", Err(403)),
            ("GET  /info HTTP/1.1\r\n\r\n", Err(400)),
            ("GET /info  HTTP/1.1\r\n\r\n", Err(400)),
            ("GET /in\tfo HTTP/1.1\r\n\r\n", Err(400)),
            ("GET /info\r\n\r\n", Err(400)),
            ("GET /info HTTP/1.1\nHost: x\n\n", Err(400)),
            ("GET /info HTTP/1.1\r\nHost: x\n\r\n", Err(400)),
            ("GET /info HTTP/1.1\r\nHost: x\rY: z\r\n\r\n", Err(400)),
            ("GET /info HTTP/1.1\r\nHost: \0\r\n\r\n", Err(400)),
            ("GET /info HTTP/1.1\r\nHost: ü\r\n\r\n", Err(400)),
            ("GET /info HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", Err(400)),
            ("GET /info HTTP/1.1\r\nContent-Length : 0\r\n\r\n", Err(400)),
            ("GET /info HTTP/1.1\r\nno colon\r\n\r\n", Err(400)),
            ("GET /info HTTP/1.1\r\n: x\r\n\r\n", Err(400)),
            ("GET /info HTTP/1.1\r\nContent-Length: 5\r\n\r\n", Err(403)),
            ("GET /info HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", Err(403)),
            ("GET /info HTTP/1.1\r\nContent-Length: +0\r\n\r\n", Err(403)),
            ("GET /info HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", Err(403)),
            ("GET /info HTTP/1.1\r\nTransfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n", Err(403)),
            ("GET /info HTTP/1.1\r\nTrailer: x\r\n\r\n", Err(403)),
            ("GET /info HTTP/1.1\r\nExpect: 100-continue\r\n\r\n", Err(403)),
            ("GET /info HTTP/1.1\r\nUpgrade: tcp\r\n\r\n", Err(403)),
            ("GET /info HTTP/1.1\r\nConnection: close, UpGrade\r\n\r\n", Err(403)),
            ("GET /info HTTP/1.1\r\n\r\nGET /info HTTP/1.1\r\n\r\n", Err(403)),
            ("\r\nGET /info HTTP/1.1\r\n\r\n", Err(400)),
        ] {
            assert_eq!(head(text.as_bytes()).map_err(|no| no.status), wanted, "{text:?}");
        }
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65));
        assert_eq!(head(many.as_bytes()).map_err(|no| no.status), Err(431));
    }

    #[test]
    fn a_flaw_is_seen_before_the_head_has_ended() {
        for text in ["GET / HTTP/1.1\n", "GET /\0", "GET / HTTP/1.1\rX", "GET / HTTP/1.1\r\n\r\nx", "\u{1b}"] {
            assert!(flaw(text.as_bytes()).is_some(), "{text:?}");
        }
        assert_eq!(flaw(b"GET / HTTP/1.1\r\nHost: x\r"), None);
    }
}
