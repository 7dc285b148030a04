//! The ports of this host: who listens on them, and what they say.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::ask;
use super::known::known;
use super::sockets::{self, Process, Socket};
use crate::base::{Failure, Span};
use crate::cli::init::findings::{Container, Owner, Port, Ports, Says};
use crate::sys::apart::Apart;
use crate::sys::http::Client;
use crate::sys::tasks::Tasks;
use crate::sys::users;

/// The most ports that are asked.
const MAX_PORTS: usize = 64;

/// How many are asked side by side.
const AT_ONCE: usize = 8;

/// How long all of it may take: every port with every page at the end of its patience.
const LIMIT: Span = Span::secs(60);

/// How long reading the tables of the kernel may take.
const TABLES: Span = Span::secs(10);

/// What backstop is called, as a program and as a user, and where it listens.
const OWN_NAME: &str = "backstop";
const OWN_PORT: u16 = 9477;

/// A port to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    /// Where, and where else if nobody takes the connection there.
    at: Vec<SocketAddr>,
    owner: Owner,
    /// The port inside its container.
    inner: Option<u16>,
}

/// Asks every port that listens on this host alone or on all its addresses.
pub async fn look(proc: &Path, containers: Vec<Container>, say: &mut dyn FnMut(&str)) -> Result<Ports, Failure> {
    let proc = proc.to_path_buf();
    let read = move |(): &mut ()| {
        let sockets = sockets::listening(&proc)?;
        let owners = sockets::owners(&proc, &sockets);
        std::io::Result::Ok((sockets, owners))
    };
    let read = Apart::<()>::default().run("init-proc", TABLES, read).await;
    let (sockets, owners) = read
        .map_err(|late| Failure::new("timeout", late.to_string()))?
        .map_err(|error| Failure::new("error", format!("/proc/net/tcp: {error}")))?;
    let own_user = users::account(OWN_NAME).map(|account| account.uid);
    let (mut targets, n_elsewhere) = targets(&sockets, &owners, &containers, own_user);
    let n_unowned = targets.iter().filter(|target| target.owner == Owner::default()).count();
    let n_all = targets.len();
    targets.truncate(MAX_PORTS);
    say(&format!("what listens: {} to ask, a second a page at most", targets.len()));
    let mut list = ask_all(targets).await;
    // Those past the bounds in number and in time.
    let n_passed_over = n_all - list.len();
    list.retain(|port| port.says != Says::Closed);
    list.sort_by_key(|port| (port.address.port(), port.address));
    Ok(Ports { list, n_elsewhere, n_passed_over, n_unowned })
}

/// What is to be asked, by number; and how many listen on one address of a network only.
fn targets(
    sockets: &[Socket],
    owners: &BTreeMap<u64, Process>,
    containers: &[Container],
    own_user: Option<u32>,
) -> (Vec<Target>, usize) {
    let mut elsewhere = std::collections::BTreeSet::new();
    let mut found: Vec<Target> = Vec::new();
    let mut add = |address: SocketAddr, owner: Owner, inner: Option<u16>| {
        let Some(at) = asked_at(address) else {
            elsewhere.insert(address);
            return;
        };
        // A server that listens on 127.0.0.1 and ::1 is one, and so is one that listens on all addresses of both kinds.
        let is_main =
            |at: &[SocketAddr]| [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()].contains(&at[0].ip());
        let is_same = |other: &&mut Target| {
            other.at[0].port() == address.port() && (other.at == at || is_main(&other.at) && is_main(&at))
        };
        match found.iter_mut().find(is_same) {
            // A container says more than the process that passes its port on.
            Some(known) => {
                known.inner = known.inner.or(inner);
                known.owner.container = known.owner.container.take().or(owner.container);
                known.owner.unit = known.owner.unit.take().or(owner.unit);
                known.owner.program = known.owner.program.take().or(owner.program);
                known.at.extend(at);
                known.at.sort_unstable();
                known.at.dedup();
            }
            None => found.push(Target { at, owner, inner }),
        }
    };
    for container in containers.iter().filter(|container| container.is_running) {
        for (address, inner) in &container.ports {
            let owner = Owner { container: Some(container.clone()), ..Owner::default() };
            add(*address, owner, Some(*inner));
        }
    }
    for socket in sockets {
        let process = owners.get(&socket.inode);
        let is_own = Some(socket.uid) == own_user
            || socket.address.port() == OWN_PORT
            || process.is_some_and(|process| process.program == OWN_NAME);
        if !is_own {
            add(socket.address, process.map(|process| owner(process, containers)).unwrap_or_default(), None);
        }
    }
    found.sort_by_key(|target| (target.at[0].port(), target.at[0]));
    (found, elsewhere.len())
}

fn owner(process: &Process, containers: &[Container]) -> Owner {
    let id = process.container();
    Owner {
        container: containers.iter().find(|container| Some(container.id.as_str()) == id).cloned(),
        unit: process.unit().map(String::from),
        // It only passes on what is said to a container.
        program: Some(process.program.clone()).filter(|name| !name.is_empty() && name != "docker-proxy"),
    }
}

/// Where a socket that listens at `address` is asked; nowhere where it has one address of a network.
fn asked_at(address: SocketAddr) -> Option<Vec<SocketAddr>> {
    let port = address.port();
    let (v4, v6) = (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST));
    let at = |ips: &[IpAddr]| Some(ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect());
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => at(&[v4]),
        // It may take connections of IPv4 as well, and mostly does.
        IpAddr::V6(ip) if ip.is_unspecified() => at(&[v4, v6]),
        ip if ip.is_loopback() => at(&[ip]),
        _ => None,
    }
}

/// Asks them, some side by side. What has no answer when the time is up is not known to be there.
async fn ask_all(targets: Vec<Target>) -> Vec<Port> {
    let client = Client::new();
    let turns = std::sync::Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    let (send, mut answers) = tokio::sync::mpsc::channel(targets.len().max(1));
    let mut tasks = Tasks::new();
    for target in targets {
        let (client, send, turns) = (client.clone(), send.clone(), turns.clone());
        tasks.spawn("ask", async move {
            let Ok(_turn) = turns.acquire().await else { return };
            let port = ask_one(&client, target).await;
            // Whoever asked is gone only when the whole command ends.
            drop(send.send(port).await);
        });
    }
    drop(send);
    let mut ports = Vec::new();
    let all = async {
        while let Some(port) = answers.recv().await {
            ports.push(port);
        }
    };
    // Those that answered are kept.
    drop(tokio::time::timeout(LIMIT.to_std(), all).await);
    tasks.stop(Span::millis(100)).await;
    ports
}

async fn ask_one(client: &Client, target: Target) -> Port {
    let Target { at, owner, inner } = target;
    let mut answer = (at[0], Says::Closed);
    for address in at {
        let says = match known(address.port(), inner, owner.program.as_deref()) {
            Some(known) => Says::Known(known),
            None => ask::ask(client, address).await,
        };
        answer = (address, says);
        if answer.1 != Says::Closed {
            break;
        }
    }
    Port { address: answer.0, owner, says: answer.1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(address: &str, uid: u32, inode: u64) -> Socket {
        Socket { address: address.parse().unwrap(), uid, inode }
    }

    fn process(program: &str, groups: &str) -> Process {
        Process { pid: 1, program: program.into(), groups: groups.into() }
    }

    fn shown(found: &[Target]) -> Vec<String> {
        let owner = |owner: &Owner| match (&owner.container, &owner.unit, &owner.program) {
            (Some(container), ..) => container.name.clone(),
            (None, Some(unit), _) => unit.clone(),
            (None, None, program) => program.clone().unwrap_or_default(),
        };
        let at = |target: &Target| target.at.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" ");
        found.iter().map(|t| format!("{} {} {}", at(t), owner(&t.owner), t.inner.unwrap_or(0))).collect()
    }

    #[test]
    fn each_port_is_asked_once_where_it_is_this_hosts() {
        let id = "3f2a91c07d213f2a91c07d213f2a91c07d213f2a91c07d213f2a91c07d213f2a";
        let container = |name: &str, is_running, ports: &[(&str, u16)]| Container {
            id: id.into(),
            name: name.into(),
            is_running,
            ports: ports.iter().map(|(at, inner)| (at.parse().unwrap(), *inner)).collect(),
            service: None,
        };
        let containers = [
            container("shop_web_1", true, &[("0.0.0.0:8080", 80), ("[::]:8080", 80), ("192.168.5.1:81", 80)]),
            container("shop_old_1", false, &[("0.0.0.0:8090", 80)]),
        ];
        let sockets = [
            socket("0.0.0.0:8080", 0, 1),
            socket("[::]:8080", 0, 2),
            socket("127.0.0.1:5432", 104, 3),
            socket("[::1]:5432", 104, 4),
            socket("[::]:3000", 0, 5),
            socket("192.168.5.1:80", 0, 6),
            socket("127.0.0.53:53", 0, 7),
            socket("127.0.0.1:9000", 990, 8),
            socket("127.0.0.1:9477", 0, 9),
            socket("127.0.0.1:9001", 0, 10),
            socket("127.0.0.1:4000", 0, 11),
        ];
        let owners = BTreeMap::from([
            (1, process("docker-proxy", "0::/system.slice/docker.service\n")),
            (3, process("postgres", "")),
            (5, process("node", "0::/system.slice/shop.service\n")),
            (10, process("backstop", "")),
            (11, process("python3", &format!("0::/docker/{id}\n"))),
        ]);
        let (found, n_elsewhere) = targets(&sockets, &owners, &containers, Some(990));
        assert_eq!(
            shown(&found),
            [
                "127.0.0.53:53  0",
                "127.0.0.1:3000 [::1]:3000 shop.service 0",
                "127.0.0.1:4000 shop_web_1 0",
                "127.0.0.1:5432 [::1]:5432 postgres 0",
                "127.0.0.1:8080 [::1]:8080 shop_web_1 80",
            ]
        );
        assert_eq!(n_elsewhere, 2);
    }
}
