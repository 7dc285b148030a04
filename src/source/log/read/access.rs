//! Access logs of web servers: `10.0.0.1 - - [12/Mar/2025:10:00:00 +0000] "GET / HTTP/1.1" 500 12 …`.
//!
//! What makes a line one: a date of this form in brackets, a quoted request behind it, and a status behind that. Its level
//! is error from status 500 on, and info below: what a client did wrong is no error of the server.

use crate::source::log::level::Level;

/// How far into the line the date may begin: in front of it stand an address, a name or two.
const MAX_FRONT: usize = 200;

/// The level of a line of an access log; none where it is no such line.
#[inline]
pub(super) fn level(line: &[u8]) -> Option<Level> {
    let date = date(line)?;
    // `12/Mar/2025:10:00:00 +0000] "`
    let request = line.get(date + 26..)?;
    let begin = request.iter().take(3).position(|b| *b == b'"')? + 1;
    let mut at = date + 26 + begin;
    loop {
        let rest = line.get(at..)?;
        let found = at + memchr::memchr2(b'"', b'\\', rest)?;
        if line[found] == b'"' {
            at = found + 1;
            break;
        }
        at = found + 2;
    }
    match line.get(at..at + 4)? {
        [b' ', a @ b'1'..=b'5', b, c] if b.is_ascii_digit() && c.is_ascii_digit() => {
            if line.get(at + 4).is_some_and(|next| *next != b' ') {
                return None;
            }
            Some(if *a == b'5' { Level::Error } else { Level::Info })
        }
        _ => None,
    }
}

/// Where the date begins, behind its bracket.
pub(super) fn date(line: &[u8]) -> Option<usize> {
    let front = &line[..line.len().min(MAX_FRONT)];
    let at = memchr::memchr(b'[', front)? + 1;
    let date = line.get(at..at + 26)?;
    let is_date = date[2] == b'/' && date[6] == b'/' && date[11] == b':' && date[14] == b':' && date[17] == b':';
    (is_date && date[0].is_ascii_digit() && date[7].is_ascii_digit()).then_some(at)
}
