//! What the libraries report, as one word and one line for people.

use std::error::Error;
use std::io;

use super::certificate;
use super::connection::{HeadTooLong, MAX_HEADER_LINES};
use crate::base::Failure;

/// Why no answer began.
pub(super) fn before_answer(error: &hyper::Error) -> Failure {
    if let Some(failure) = of_io(error) {
        return failure;
    }
    if error.is_parse_too_large() {
        return Failure::new("too-large", format!("the answer has more than {MAX_HEADER_LINES} headers"));
    }
    if error.is_parse() {
        return Failure::new("protocol", format!("what came is no HTTP/1 answer: {}", innermost(error)));
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return Failure::new("protocol", "the connection ended before an answer");
    }
    Failure::new("protocol", innermost(error))
}

/// Why a body did not end.
pub(super) fn in_body(error: &hyper::Error) -> Failure {
    match of_io(error) {
        Some(failure) if failure.reason == "tls" => failure,
        Some(failure) => Failure::new("body", format!("the body broke off: {}", failure.detail)),
        None if error.is_incomplete_message() => {
            Failure::new("body", "the body broke off: the connection ended before it was whole")
        }
        None => Failure::new("body", format!("the body broke off: {}", innermost(error))),
    }
}

/// Why a handshake failed, where the certificates do not say it.
pub(super) fn in_handshake(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            Failure::new("tls", "the server ended the connection within the TLS handshake: does it speak TLS here?")
        }
        _ => Failure::new("tls", error.to_string()),
    }
}

/// What the transport says, wherever in the chain it stands.
fn of_io(error: &hyper::Error) -> Option<Failure> {
    let io = chain(error).find_map(|e| e.downcast_ref::<io::Error>())?;
    if let Some(tls) = rustls_error(io) {
        return Some(Failure::new("tls", certificate::words(tls, &[], "", 0)));
    }
    if io.get_ref().is_some_and(|inner| inner.is::<HeadTooLong>()) {
        return Some(Failure::new("too-large", HeadTooLong.to_string()));
    }
    Some(match io.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            Failure::new("protocol", "the server reset the connection")
        }
        io::ErrorKind::TimedOut => Failure::new("timeout", "the connection went dead"),
        io::ErrorKind::UnexpectedEof => Failure::new("protocol", "the connection ended too early"),
        _ => Failure::new("protocol", io.to_string()),
    })
}

/// rustls reports through io errors, sometimes one within another.
pub(super) fn rustls_error(io: &io::Error) -> Option<&rustls::Error> {
    let mut io = Some(io);
    while let Some(inner) = io.and_then(io::Error::get_ref) {
        if let Some(tls) = inner.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        io = inner.downcast_ref::<io::Error>();
    }
    None
}

fn chain<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |e| (*e).source())
}

/// The last error of the chain says what happened; those around it say only who noticed.
fn innermost(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}
