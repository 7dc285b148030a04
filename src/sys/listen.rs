//! Sockets that listen: one that systemd hands over, or one that is made.
//!
//! Systemd gives a service its sockets as open descriptors from 3 on, and says in `LISTEN_FDS` how many and in
//! `LISTEN_PID` to whom (sd_listen_fds(3)).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::sockopt;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use super::users;

/// The first descriptor that systemd hands over.
const FIRST: i32 = 3;

/// The longest path of a socket, in bytes, that every Linux takes.
const MAX_PATH: usize = 107;

/// Why there is no socket to listen on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// What systemd handed over is not one socket of the file system that listens.
    #[error("what systemd handed over is no listening unix socket: {0}")]
    Given(String),
    /// The path is too long for a socket.
    #[error("{0}: the path of a socket has at most {MAX_PATH} bytes")]
    TooLong(PathBuf),
    /// Somebody listens there.
    #[error("somebody listens at {0} already")]
    Answered(PathBuf),
    /// Something else has this name.
    #[error("{0} exists and is no socket; it was left alone")]
    NotASocket(PathBuf),
    /// There is no such group.
    #[error("there is no group `{0}`: groupadd --system {0}, or another one with --group")]
    NoGroup(String),
    /// The system refused.
    #[error("open the socket {0}: {1}")]
    Io(PathBuf, io::Error),
}

/// The socket that systemd handed to this process; nothing where it handed none. `env` reads the environment.
///
/// # Errors
/// When it handed over something else, or more than one.
pub fn given(env: impl Fn(&str) -> Option<String>) -> Result<Option<UnixListener>, ListenError> {
    let number = |name: &str| env(name).and_then(|text| text.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(std::process::id()) {
        return Ok(None);
    }
    match number("LISTEN_FDS") {
        None | Some(0) => Ok(None),
        Some(1) => taken(FIRST).map(Some),
        Some(n) => Err(ListenError::Given(format!("there are {n} of them"))),
    }
}

/// A copy of an own descriptor that is known by its number only. The kernel checks the number, so nothing is believed.
fn taken(number: i32) -> Result<UnixListener, ListenError> {
    let failed = |error: rustix::io::Errno| ListenError::Given(error.to_string());
    let own = pidfd_open(getpid(), PidfdFlags::empty()).map_err(failed)?;
    let socket: OwnedFd = pidfd_getfd(&own, number, PidfdGetfdFlags::empty()).map_err(failed)?;
    let is_unix = sockopt::socket_domain(socket.as_fd()).map_err(failed)? == rustix::net::AddressFamily::UNIX;
    if !is_unix || !sockopt::socket_acceptconn(socket.as_fd()).map_err(failed)? {
        return Err(ListenError::Given("it is another kind of socket".into()));
    }
    Ok(UnixListener::from(socket))
}

/// Makes a socket that its owner and `group` may open. A file that nobody listens on any more gives way.
///
/// # Errors
/// When the path is too long or taken, there is no such group, or the system refuses.
pub fn bind(path: &Path, group: Option<&str>) -> Result<UnixListener, ListenError> {
    let failed = |error| ListenError::Io(path.into(), error);
    if path.as_os_str().len() > MAX_PATH {
        return Err(ListenError::TooLong(path.into()));
    }
    let gid = match group {
        Some(name) => Some(users::group_id(name).ok_or_else(|| ListenError::NoGroup(name.into()))?),
        None => None,
    };
    remove_stale(path)?;
    let listener = UnixListener::bind(path).map_err(failed)?;
    // Until here only its owner may open it: the mode of a new socket lets nobody else write.
    std::os::unix::fs::chown(path, None, gid).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(failed)?;
    Ok(listener)
}

fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let failed = |error| ListenError::Io(path.into(), error);
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(meta) if !meta.file_type().is_socket() => return Err(ListenError::NotASocket(path.into())),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(ListenError::Answered(path.into())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path).map_err(failed),
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_handed_over_only_to_whom_it_is_meant_for() {
        let own = std::process::id().to_string();
        let env = |pid: &str, fds: &str| {
            let (pid, fds) = (pid.to_string(), fds.to_string());
            move |name: &str| match name {
                "LISTEN_PID" => Some(pid.clone()),
                "LISTEN_FDS" => Some(fds.clone()),
                _ => None,
            }
        };
        assert!(given(|_| None).unwrap().is_none());
        assert!(given(env("1", "1")).unwrap().is_none());
        assert!(given(env(&own, "0")).unwrap().is_none());
        assert!(matches!(given(env(&own, "2")), Err(ListenError::Given(_))));
        assert!(matches!(taken(1_000_000), Err(ListenError::Given(_))));
    }

    #[test]
    fn a_descriptor_is_taken_where_it_is_a_socket_that_listens() {
        use std::os::fd::AsRawFd;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let listener = bind(&path, None).unwrap();
        let again = taken(listener.as_raw_fd()).unwrap();
        drop(listener);
        let client = UnixStream::connect(&path).unwrap();
        assert!(again.accept().is_ok());
        assert!(matches!(taken(client.as_raw_fd()), Err(ListenError::Given(_))));
    }

    #[test]
    fn a_stale_socket_gives_way_and_a_living_one_or_a_file_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let first = bind(&path, None).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(matches!(bind(&path, None), Err(ListenError::Answered(_))));
        drop(first);
        assert!(bind(&path, None).is_ok());
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/nowhere", &link).unwrap();
        assert!(matches!(bind(&link, None), Err(ListenError::NotASocket(_))));
        assert!(matches!(bind(&folder.path().join("x".repeat(120)), None), Err(ListenError::TooLong(_))));
        assert!(matches!(bind(&folder.path().join("b"), Some("no such group")), Err(ListenError::NoGroup(_))));
    }
}
