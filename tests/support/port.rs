//! A port of loopback that is open or closed, and stays so.

use std::net::{SocketAddr, TcpListener};

use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, bind, listen, shutdown, socket_with};

/// A port whose socket keeps the address, so that nobody else can listen there while it is closed.
#[derive(Debug)]
pub struct Port(TcpListener);

impl Port {
    /// One on which nobody listens.
    pub fn closed() -> Port {
        // An address that the system chose is given back when the listening ends; one that is named is kept.
        let of = |address: SocketAddr| {
            let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
            bind(&socket, &address).map(|()| Port(TcpListener::from(socket)))
        };
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        (0..100).find_map(|_| of(free()).ok()).expect("a free port")
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// Connections stand from now on; nobody accepts them, so there is room for many in the queue.
    pub fn open(&self) {
        listen(&self.0, 4096).unwrap();
    }

    /// Ends the listening and keeps the address. A socket that is only dropped listens on for as long as a program that
    /// another thread starts at that moment has its copy.
    pub fn close(&self) {
        match shutdown(&self.0, Shutdown::Both) {
            Ok(()) | Err(rustix::io::Errno::NOTCONN) => {} // it was closed before
            Err(e) => panic!("{e}"),
        }
    }
}
