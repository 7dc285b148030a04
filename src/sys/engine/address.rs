//! Where an engine listens, and what to do when nobody opens there.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::base::Failure;
use crate::sys::{connect, users};

/// The socket of the proxy that answers reads only.
pub const PROXY: &str = "/run/backstop-engine/engine.sock";

/// Docker's own socket.
const DOCKER: &str = "/var/run/docker.sock";

/// Podman's socket, where its service runs for the whole host.
const PODMAN: &str = "/run/podman/podman.sock";

/// Where an engine listens. Its API is not encrypted, so a port is one of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A socket in the file system.
    Socket(PathBuf),
    /// A port of this host.
    Port(SocketAddr),
}

impl Address {
    /// Reads `unix:///path`, `unix:/path`, `tcp://127.0.0.1:2375` or `http://localhost:2375`.
    ///
    /// # Errors
    /// What is wrong with it, without its text: it may hold what it should not.
    pub fn parse(text: &str) -> Result<Address, &'static str> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match connect::Address::parse(&format!("unix:{path}"))? {
                connect::Address::Socket(path) => Ok(Address::Socket(path)),
                connect::Address::Port(..) => Err("the path of a socket begins with `/`"),
            };
        }
        let Some(port) = text.strip_prefix("tcp://").or_else(|| text.strip_prefix("http://")) else {
            return Err("an engine is at unix:///path, tcp://127.0.0.1:port or http://127.0.0.1:port");
        };
        let port = port.strip_suffix('/').unwrap_or(port);
        let port = match port.strip_prefix("localhost:") {
            Some(number) => number.parse().map(|number| SocketAddr::from((Ipv4Addr::LOCALHOST, number))).ok(),
            None => port.parse().ok(),
        };
        match port {
            Some(port) if port.port() == 0 => Err("a port is a number from 1 to 65535"),
            Some(port) if port.ip().is_loopback() => Ok(Address::Port(port)),
            Some(_) => Err("the port of an engine is on this host: whoever reaches it over a network is root here"),
            None => Err("a port of an engine is written 127.0.0.1:2375, [::1]:2375 or localhost:2375"),
        }
    }

    /// The first socket that is there: of the proxy, of Docker, of Podman; Docker's where there is none.
    pub fn found() -> Address {
        let is_there = |path: &&str| Path::new(path).symlink_metadata().is_ok();
        Address::Socket([PROXY, DOCKER, PODMAN].into_iter().find(is_there).unwrap_or(DOCKER).into())
    }

    /// The same without the proxy: for the proxy itself.
    pub fn found_engine() -> Address {
        let is_there = |path: &&str| Path::new(path).symlink_metadata().is_ok();
        Address::Socket([DOCKER, PODMAN].into_iter().find(is_there).unwrap_or(DOCKER).into())
    }

    /// Whether the proxy that answers reads only listens there, where it usually does.
    pub fn is_proxy(&self) -> bool {
        matches!(self, Address::Socket(path) if path == Path::new(PROXY))
    }

    /// Why a connection was not taken, and what to do: reason `missing`, `permission` or `refused`.
    pub(super) fn refusal(&self, error: &io::Error) -> Failure {
        let no = match (error.kind(), self) {
            (io::ErrorKind::NotFound, _) => {
                let what = "is not there: start the container engine, or say with `agent.engine` where it listens";
                return Failure::new("missing", format!("{self} {what}"));
            }
            (io::ErrorKind::PermissionDenied, Address::Socket(path)) => {
                return Failure::new(
                    "permission",
                    format!("the user {} has no right to open {self}: {}", users::current(), remedy(path)),
                );
            }
            (io::ErrorKind::ConnectionRefused, _) => "nobody takes connections there; is the engine running?".into(),
            _ => error.to_string(),
        };
        Failure::new("refused", format!("{self}: {no}"))
    }
}

/// `unix:///run/x.sock`, `tcp://127.0.0.1:2375`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Socket(path) => write!(f, "unix://{}", path.display()),
            Address::Port(port) => write!(f, "tcp://{port}"),
        }
    }
}

/// What gives this user the way to a socket.
fn remedy(path: &Path) -> String {
    if path == Path::new(PROXY) {
        let group = path.metadata().map_or_else(|_| "backstop".into(), |meta| users::group(meta.gid()));
        return format!("usermod -aG {group} {}, then restart backstop", users::current());
    }
    let group = path.metadata().map_or_else(|_| "docker".into(), |meta| users::group(meta.gid()));
    let proxy = "systemctl enable --now backstop-engine-proxy.socket, which lets it be read and no more";
    format!("{proxy} (the group {group} would make {} as good as root)", users::current())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_a_socket_or_a_port_of_this_host() {
        for (text, wanted) in [
            ("unix:///run/docker.sock", "unix:///run/docker.sock"),
            ("unix:/run/docker.sock", "unix:///run/docker.sock"),
            ("tcp://127.0.0.1:2375", "tcp://127.0.0.1:2375"),
            ("http://localhost:2375/", "tcp://127.0.0.1:2375"),
            ("http://[::1]:2375", "tcp://[::1]:2375"),
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), wanted);
        }
        for (text, wanted) in [
            ("", "an engine is at unix:///path"),
            ("/run/docker.sock", "an engine is at unix:///path"),
            ("unix://run/docker.sock", "the path of a socket begins with `/`"),
            ("tcp://10.0.0.1:2375", "the port of an engine is on this host"),
            ("tcp://127.0.0.1:0", "a port is a number from 1"),
            ("tcp://127.0.0.1", "a port of an engine is written"),
            ("https://127.0.0.1:2376", "an engine is at unix:///path"),
            ("http://u:hunter2@localhost:1", "a port of an engine is written"),
        ] {
            let error = Address::parse(text).unwrap_err();
            assert!(error.starts_with(wanted), "{text}: {error}");
        }
    }

    #[test]
    fn who_may_not_open_a_socket_is_told_how_he_may() {
        let docker = Address::Socket("/nowhere/docker.sock".into());
        let denied = docker.refusal(&io::ErrorKind::PermissionDenied.into());
        assert_eq!(denied.reason, "permission");
        assert!(denied.detail.contains("systemctl enable --now backstop-engine-proxy.socket"), "{denied}");
        assert!(denied.detail.contains("(the group docker would make "), "{denied}");
        let missing = docker.refusal(&io::ErrorKind::NotFound.into());
        assert!(missing.to_string().starts_with("missing: unix:///nowhere/docker.sock is not there: "), "{missing}");
    }
}
