//! Connections to a port or a socket file: is somebody there, and what does he say first?
//!
//! Enters: an [`Address`] and a deadline. Leaves: whether it is open, and the first line where it was asked for; or why that
//! cannot be said. A name is looked up apart, so a resolver that hangs costs its thread and no more. Of several addresses
//! each is tried in turn, with an equal part of the time that is left.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpStream, UnixStream};

use super::apart::{Apart, Late};
use super::clock::Stopwatch;
use crate::base::{Failure, Span};

/// The longest first line that is read, in bytes.
pub const MAX_BANNER: usize = 1024;

/// How many addresses of one name are tried.
const MAX_ADDRESSES: usize = 8;

/// The longest path of a socket that the system takes, in bytes (unix(7)).
const MAX_SOCKET_PATH: usize = 107;

/// Where somebody listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A name or address, and a port.
    Port(String, u16),
    /// A socket in the file system.
    Socket(PathBuf),
}

impl Address {
    /// Reads `host:port`, `[v6]:port` or `unix:/path`.
    ///
    /// # Errors
    /// What is wrong with it, without its text: it may hold what it should not.
    pub fn parse(text: &str) -> Result<Address, &'static str> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                path if !path.starts_with('/') => Err("the path of a socket begins with `/`"),
                path if path.len() > MAX_SOCKET_PATH => Err("the path of a socket has at most 107 bytes"),
                path if path.contains('\0') => Err("the path of a socket holds no NUL"),
                path => Ok(Address::Socket(path.into())),
            };
        }
        if text.contains("://") {
            return Err("an address of a port is no URL");
        }
        if text.contains(['@', '/']) {
            return Err("an address of a port is a host and a port alone");
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err("the port is missing");
        };
        let port = match port.parse() {
            Ok(0) | Err(_) => return Err("a port is a number from 1 to 65535"),
            Ok(port) => port,
        };
        if let Some(inner) = host.strip_prefix('[') {
            let v6 = inner.strip_suffix(']').filter(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok());
            return v6.map(|v6| Address::Port(v6.into(), port)).ok_or("no IPv6 address stands in the brackets");
        }
        if host.contains(':') {
            return Err("an IPv6 address stands in brackets");
        }
        let is_name = !host.is_empty()
            && host.len() <= 253
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
        if is_name { Ok(Address::Port(host.into(), port)) } else { Err("the host is no name or address") }
    }
}

/// What became of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contact {
    /// Somebody accepted it; the first line, without its end, where it was asked for and one came.
    Open(Option<Vec<u8>>),
    /// Nobody did: reason `refused`, `unreachable`, `timeout`, or `missing` for a socket that is not there.
    Closed(Failure),
}

/// Connects to one address, look after look.
#[derive(Debug, Default)]
pub struct Connector {
    names: Apart<()>,
}

impl Connector {
    /// Connects once and, where `listens`, waits for the first line; all within `limit`.
    ///
    /// # Errors
    /// When it cannot be said whether it is open: reason `resolve`, `permission`, or `error` for want of resources here.
    pub async fn contact(&mut self, address: &Address, listens: bool, limit: Span) -> Result<Contact, Failure> {
        let watch = Stopwatch::start();
        match address {
            Address::Socket(path) => {
                let shown = path.display().to_string();
                let connected = within(limit, UnixStream::connect(path)).await;
                hear(connected, &shown, listens, &watch, limit).await
            }
            Address::Port(host, port) => {
                let addresses = self.look_up(host, *port, limit).await?;
                let mut last = Err(Failure::new("resolve", format!("{host} has no address")));
                for (i, address) in addresses.iter().enumerate() {
                    let left = limit - watch.elapsed();
                    // At least a moment, so that the reason of the last one is its own.
                    let share = Span((left.0 / (addresses.len() - i) as i64).max(1));
                    let connected = within(share, TcpStream::connect(address)).await;
                    let connected = connected.map(|tried| tried.map_err(|error| reach(address, error)));
                    last = hear(connected, &address.to_string(), listens, &watch, limit).await;
                    if matches!(last, Ok(Contact::Open(_)) | Err(_)) {
                        return last;
                    }
                }
                last
            }
        }
    }

    async fn look_up(&mut self, host: &str, port: u16, limit: Span) -> Result<Vec<SocketAddr>, Failure> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let name = host.to_string();
        let work = move |(): &mut ()| {
            (name.as_str(), port).to_socket_addrs().map(|all| all.take(MAX_ADDRESSES).collect::<Vec<_>>())
        };
        match self.names.run("look-up", limit, work).await {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(error)) => Err(Failure::new("resolve", format!("{host}: {error}"))),
            Err(late @ (Late::TimedOut(_) | Late::StillBusy)) => {
                Err(Failure::new("resolve", format!("the name {host} could not be looked up: {late}")))
            }
            Err(late) => Err(Failure::new("error", late.to_string())),
        }
    }
}

/// What came of an attempt; none where the time was up.
async fn within<S>(limit: Span, attempt: impl Future<Output = std::io::Result<S>>) -> Option<std::io::Result<S>> {
    tokio::time::timeout(limit.to_std(), attempt).await.ok()
}

async fn hear<S: AsyncRead + Unpin>(
    connected: Option<std::io::Result<S>>,
    shown: &str,
    listens: bool,
    watch: &Stopwatch,
    limit: Span,
) -> Result<Contact, Failure> {
    let stream = match connected {
        None => return Ok(Contact::Closed(Failure::new("timeout", format!("{shown} did not answer in time")))),
        Some(Err(error)) => return refusal(shown, &error),
        Some(Ok(stream)) => stream,
    };
    let banner = if listens { first_line(stream, limit - watch.elapsed()).await } else { None };
    Ok(Contact::Open(banner))
}

/// Reads until the end of a line, of the stream, of the time or of the room for it.
async fn first_line(mut stream: impl AsyncRead + Unpin, limit: Span) -> Option<Vec<u8>> {
    let mut line = Vec::with_capacity(MAX_BANNER);
    let reading = async {
        let mut part = [0; 256];
        while line.len() < MAX_BANNER {
            let room = part.len().min(MAX_BANNER - line.len());
            match stream.read(&mut part[..room]).await {
                Ok(0) | Err(_) => break,
                Ok(n) => line.extend_from_slice(&part[..n]),
            }
            if let Some(end) = line.iter().position(|b| *b == b'\n') {
                line.truncate(end);
                break;
            }
        }
    };
    let is_late = tokio::time::timeout(limit.to_std(), reading).await.is_err();
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    // Without a line in time there is none; what came of it counts where there is some.
    if line.is_empty() && is_late { None } else { Some(line).filter(|line| !line.is_empty()) }
}

/// The error of an attempt, or that there is no way to the address: so a host without its family of addresses says it.
fn reach(address: &SocketAddr, error: std::io::Error) -> std::io::Error {
    // For IPv4 `EADDRNOTAVAIL` says that no port was left here, which tells nothing of the other side.
    let is_away = match error.raw_os_error() {
        Some(code) if code == Errno::ADDRNOTAVAIL.raw_os_error() => address.is_ipv6(),
        Some(code) => code == Errno::AFNOSUPPORT.raw_os_error(),
        None => false,
    };
    if is_away { ErrorKind::NetworkUnreachable.into() } else { error }
}

fn refusal(shown: &str, error: &std::io::Error) -> Result<Contact, Failure> {
    let closed = |reason, what: &str| Ok(Contact::Closed(Failure::new(reason, format!("{shown} {what}"))));
    match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => closed("refused", "refused the connection"),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            closed("unreachable", "cannot be reached: there is no way to it")
        }
        ErrorKind::TimedOut => closed("timeout", "did not answer in time"),
        ErrorKind::NotFound => closed("missing", "is not there"),
        ErrorKind::PermissionDenied => {
            Err(Failure::new("permission", format!("{} may not connect to {shown}", super::users::current())))
        }
        _ => Err(Failure::new("error", format!("{shown}: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port_or_a_socket() {
        for (text, wanted) in [
            ("127.0.0.1:22", Ok(Address::Port("127.0.0.1".into(), 22))),
            ("db.internal:5432", Ok(Address::Port("db.internal".into(), 5432))),
            ("[::1]:443", Ok(Address::Port("::1".into(), 443))),
            ("unix:/run/x.sock", Ok(Address::Socket("/run/x.sock".into()))),
            ("localhost", Err("the port is missing")),
            ("localhost:0", Err("a port is a number from 1 to 65535")),
            ("localhost:70000", Err("a port is a number from 1 to 65535")),
            ("::1:443", Err("an IPv6 address stands in brackets")),
            ("[::g]:443", Err("no IPv6 address stands in the brackets")),
            (":443", Err("the host is no name or address")),
            ("a b:1", Err("the host is no name or address")),
            ("http://h:1", Err("an address of a port is no URL")),
            ("user:hunter2@h:1", Err("an address of a port is a host and a port alone")),
            ("unix:x.sock", Err("the path of a socket begins with `/`")),
        ] {
            assert_eq!(Address::parse(text), wanted, "{text}");
        }
        assert!(Address::parse(&format!("unix:/{}", "x".repeat(107))).is_err());
    }

    #[test]
    fn an_address_of_a_family_that_the_host_has_not_is_unreachable() {
        for (address, code, wanted) in [
            ("[::1]:80", Errno::ADDRNOTAVAIL, Some("unreachable")),
            ("[::1]:80", Errno::AFNOSUPPORT, Some("unreachable")),
            ("127.0.0.1:80", Errno::AFNOSUPPORT, Some("unreachable")),
            ("127.0.0.1:80", Errno::ADDRNOTAVAIL, None),
            ("[::1]:80", Errno::CONNREFUSED, Some("refused")),
            ("[::1]:80", Errno::MFILE, None),
        ] {
            let error = reach(&address.parse().unwrap(), code.into());
            let reason = match refusal(address, &error) {
                Ok(Contact::Closed(failure)) => Some(failure.reason),
                Ok(Contact::Open(_)) => panic!("{address} {code}"),
                Err(failure) => {
                    assert_eq!(failure.reason, "error");
                    None
                }
            };
            assert_eq!(reason, wanted, "{address} {code}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_line_is_bounded_in_length_and_time() {
        use tokio::io::AsyncWriteExt;
        for (said, wanted) in [
            (&b"SSH-2.0-x\r\nmore"[..], Some(&b"SSH-2.0-x"[..])),
            (b"no end", Some(b"no end")),
            (b"", None),
            (b"\r\n", None),
            (&[b'x'; 3000], Some(&[b'x'; MAX_BANNER])),
        ] {
            let (mut server, client) = tokio::io::duplex(4096);
            server.write_all(said).await.unwrap();
            // The server stays and says nothing more: only the clock ends the look.
            let heard = first_line(client, Span::secs(5)).await;
            assert_eq!(heard.as_deref(), wanted, "{}", said.escape_ascii());
            drop(server);
        }
    }
}
