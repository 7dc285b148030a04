//! Connections to the first address that takes one.
//!
//! Enters: the addresses of a name. Leaves: a connection. IPv6 and IPv4 take turns, beginning with what the system
//! prefers; each gets a head start of [`HEAD_START`] before the next is tried beside it (RFC 8305 in small), and a
//! refusal lets the next begin at once. So one address that is dead, or an IPv6 that leads nowhere, is no outage.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;

use tokio::net::TcpStream;

use crate::base::{Failure, Span};
use crate::sys::clock::pause;

/// How long an address is tried alone.
const HEAD_START: Span = Span::millis(250);

type Attempt<'a> = Pin<Box<dyn Future<Output = Result<TcpStream, (SocketAddr, std::io::Error)>> + Send + 'a>>;

/// Connects to one of `addresses`. The caller sets the deadline.
///
/// # Errors
/// Reason `refused`, or `timeout` where the system itself gave up: what the address preferred by the system said.
pub(super) async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, Failure> {
    let order = interleaved(addresses);
    let mut rest = order.iter().copied();
    let mut trying: Vec<Attempt<'_>> = Vec::new();
    let mut errors = Vec::new();
    loop {
        match rest.next() {
            Some(address) => trying.push(Box::pin(attempt(address))),
            None if trying.is_empty() => return Err(refusal(&order, errors)),
            None => {}
        }
        let is_last = rest.len() == 0;
        tokio::select! {
            first = first(&mut trying) => match first {
                Ok(stream) => return Ok(stream),
                Err(error) => errors.push(error),
            },
            () = pause(HEAD_START), if !is_last => {}
        }
    }
}

async fn attempt(address: SocketAddr) -> Result<TcpStream, (SocketAddr, std::io::Error)> {
    let stream = TcpStream::connect(address).await.map_err(|e| (address, e))?;
    // A request is one write; without this its answer could wait for the next acknowledgement.
    stream.set_nodelay(true).map_err(|e| (address, e))?;
    Ok(stream)
}

/// The first attempt that ends, taken out of `trying`.
async fn first(trying: &mut Vec<Attempt<'_>>) -> Result<TcpStream, (SocketAddr, std::io::Error)> {
    std::future::poll_fn(|cx| {
        for i in 0..trying.len() {
            if let Poll::Ready(ended) = trying[i].as_mut().poll(cx) {
                drop(trying.remove(i));
                return Poll::Ready(ended);
            }
        }
        Poll::Pending
    })
    .await
}

/// The families in turns, each in its own order.
fn interleaved(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let begins_with_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut one, mut other): (Vec<_>, Vec<_>) = addresses.iter().copied().partition(|a| a.is_ipv6() == begins_with_v6);
    let mut order = Vec::with_capacity(addresses.len());
    while !one.is_empty() || !other.is_empty() {
        order.extend([&mut one, &mut other].into_iter().filter(|all| !all.is_empty()).map(|all| all.remove(0)));
    }
    order
}

fn refusal(order: &[SocketAddr], mut errors: Vec<(SocketAddr, std::io::Error)>) -> Failure {
    errors.sort_by_key(|(address, _)| order.iter().position(|a| a == address));
    let Some((address, error)) = errors.first() else {
        return Failure::new("resolve", "the name has no address");
    };
    use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut};
    let (reason, what) = match error.kind() {
        ConnectionRefused => ("refused", format!("nobody takes connections at {address}")),
        HostUnreachable | NetworkUnreachable => ("refused", format!("no way leads to {address}")),
        TimedOut => ("timeout", format!("{address} does not answer")),
        _ => ("refused", format!("{address}: {error}")),
    };
    match errors.len() {
        1 => Failure::new(reason, what),
        n => Failure::new(reason, format!("{what} (and at none of its other {} addresses)", n - 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(all: &[&str]) -> Vec<SocketAddr> {
        all.iter().map(|a| a.parse().unwrap()).collect()
    }

    #[test]
    fn the_families_take_turns() {
        let all = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "127.0.0.1:1"]);
        assert_eq!(interleaved(&all), addresses(&["[::1]:1", "127.0.0.1:1", "[::2]:1", "[::3]:1"]));
        assert_eq!(interleaved(&[]), addresses(&[]));
    }

    #[tokio::test]
    async fn an_address_that_refuses_is_no_outage_while_another_answers() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (dead_address, alive) = (dead.local_addr().unwrap(), listener.local_addr().unwrap());
        drop(dead);
        let stream = connect(&[dead_address, alive]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), alive);
        let failure = connect(&[dead_address]).await.unwrap_err();
        assert_eq!(failure.to_string(), format!("refused: nobody takes connections at {dead_address}"));
        let failure = connect(&[dead_address, dead_address]).await.unwrap_err();
        assert!(failure.detail.ends_with("(and at none of its other 1 addresses)"), "{failure}");
    }

    /// 192.0.2.0/24 is for documentation: packets to it are dropped, or no way leads there. Either way the other answers.
    #[tokio::test]
    async fn an_address_that_is_silent_holds_the_next_up_for_a_moment_only() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let alive = listener.local_addr().unwrap();
        // A backlog that is full takes no more: the kernel drops what comes.
        let stream = connect(&[alive]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), alive);
        let mut trying: Vec<Attempt<'_>> = vec![Box::pin(std::future::pending()), Box::pin(attempt(alive))];
        assert_eq!(first(&mut trying).await.unwrap().peer_addr().unwrap(), alive);
        assert_eq!(trying.len(), 1, "the one that is silent is still there");
    }
}
