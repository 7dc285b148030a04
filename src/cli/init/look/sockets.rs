//! Who listens on which port: `/proc/net/tcp` and `tcp6` (proc(5)), and whose socket it is.
//!
//! Enters: the folder `/proc`. Leaves: the sockets that listen, and for each the process that has it, as far as this user
//! may see: the open files of a process are its owner's and root's to look at.

use std::collections::BTreeMap;
use std::io::Result;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::sys::read::{self, Folder};

/// The longest table of sockets that is read, in bytes: some hundred thousand rows.
const MAX_TABLE: usize = 16 << 20;

/// The longest small file of a process that is read, in bytes.
const MAX_SMALL: usize = 16 << 10;

/// The most processes that are looked at, and the most open files of all of them together.
const MAX_PROCESSES: usize = 32 << 10;
const MAX_OPEN: usize = 1 << 20;

/// A socket that listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Socket {
    /// Where.
    pub address: SocketAddr,
    /// The user that made it.
    pub uid: u32,
    /// Its number in the kernel.
    pub inode: u64,
}

/// A process that has a socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// The name of its program, as the kernel cuts it.
    pub program: String,
    /// Its control groups, one a line.
    pub groups: String,
}

/// The sockets that listen, sorted.
///
/// # Errors
/// When the table of IPv4 cannot be read; that of IPv6 may be missing.
pub fn listening(proc: &Path) -> Result<Vec<Socket>> {
    let mut table = Vec::new();
    read::into(&proc.join("net/tcp"), &mut table, MAX_TABLE)?;
    let mut sockets = parse(&String::from_utf8_lossy(&table));
    if read::into(&proc.join("net/tcp6"), &mut table, MAX_TABLE).is_ok() {
        sockets.extend(parse(&String::from_utf8_lossy(&table)));
    }
    sockets.sort_unstable();
    Ok(sockets)
}

/// The rows of a table that listen; a row that is none is passed over.
fn parse(table: &str) -> Vec<Socket> {
    table.lines().skip(1).filter_map(row).collect()
}

fn row(line: &str) -> Option<Socket> {
    const LISTEN: &str = "0A";
    let mut words = line.split_ascii_whitespace();
    let (_number, local, _remote, state) = (words.next()?, words.next()?, words.next()?, words.next()?);
    if state != LISTEN {
        return None;
    }
    let (ip, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok().filter(|port| *port > 0)?;
    // Queues, timer, retransmissions, then the user, a timeout, and the inode.
    let mut rest = words.skip(3);
    let (uid, _timeout, inode) = (rest.next()?.parse().ok()?, rest.next()?, rest.next()?.parse().ok()?);
    Some(Socket { address: SocketAddr::new(address(ip)?, port), uid, inode })
}

/// An address as the kernel writes it: words of 32 bits, each in the byte order of this machine.
fn address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Some(Ipv6Addr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

/// The processes that have these sockets open, by inode. Of several the one with the lowest number: the others were
/// forked from it.
pub fn owners(proc: &Path, sockets: &[Socket]) -> BTreeMap<u64, Process> {
    let mut wanted: BTreeMap<u64, Process> = BTreeMap::new();
    let mut left = MAX_OPEN;
    for pid in pids(proc) {
        if wanted.len() == sockets.len() || left == 0 {
            break;
        }
        let Ok(mut open) = Folder::open(&proc.join(format!("{pid}/fd"))) else { continue };
        let mut names = Vec::new();
        // A process that ends meanwhile has no more files.
        let listed = open.names(|name| {
            left -= 1;
            names.push(name.to_vec());
            left > 0
        });
        if listed.is_err() {
            continue;
        }
        for name in names {
            let link = proc.join(format!("{pid}/fd")).join(std::ffi::OsStr::from_bytes(&name));
            let Some(inode) = std::fs::read_link(link).ok().and_then(|target| inode(target.as_os_str().as_bytes()))
            else {
                continue;
            };
            if sockets.iter().any(|socket| socket.inode == inode) {
                wanted.entry(inode).or_insert_with(|| process(proc, pid));
            }
        }
    }
    wanted
}

/// `socket:[1134]`
fn inode(target: &[u8]) -> Option<u64> {
    std::str::from_utf8(target.strip_prefix(b"socket:[")?.strip_suffix(b"]")?).ok()?.parse().ok()
}

fn pids(proc: &Path) -> Vec<u32> {
    let mut pids = Vec::new();
    if let Ok(mut folder) = Folder::open(proc) {
        let listed = folder.names(|name| {
            pids.extend(std::str::from_utf8(name).ok().and_then(|name| name.parse::<u32>().ok()));
            pids.len() < MAX_PROCESSES
        });
        if listed.is_err() {
            pids.clear();
        }
    }
    pids.sort_unstable();
    pids
}

fn process(proc: &Path, pid: u32) -> Process {
    let text = |name: &str| {
        let mut text = Vec::new();
        match read::into(&proc.join(format!("{pid}/{name}")), &mut text, MAX_SMALL) {
            Ok(()) => String::from_utf8_lossy(&text).into_owned(),
            Err(_) => String::new(),
        }
    };
    Process { pid, program: text("comm").trim_end_matches('\n').into(), groups: text("cgroup") }
}

impl Process {
    /// The unit of systemd that it belongs to, by its control groups.
    pub fn unit(&self) -> Option<&str> {
        self.parts().find(|part| part.len() > ".service".len() && part.ends_with(".service"))
    }

    /// The id of the container that it belongs to, by its control groups.
    pub fn container(&self) -> Option<&str> {
        self.parts().find_map(|part| {
            let id = part.trim_end_matches(".scope").rsplit('-').next()?;
            (id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit())).then_some(id)
        })
    }

    /// The parts of the paths of its groups, the innermost first.
    fn parts(&self) -> impl Iterator<Item = &str> {
        let paths = self.groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
        paths.flat_map(|path| path.rsplit('/'))
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests write the files that are read")]
mod tests {
    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000   104        0 1134 1 000000003db74999 100 0 0 10 0
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2001 1 000000003db74999 100 0 0 10 0
   2: 0100007F:1538 0100007F:9C40 01 00000000:00000000 00:00000000 00000000   104        0 1135 1 000000003db74999 20 4 30 10 -1
   3: 0105A8C0:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2002 1 000000003db74999 100 0 0 10 0
   4: broken
   5: 0100007F:0000 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 9 1 0 100 0 0 10 0
   6: 0100007F 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 9 1 0 100 0 0 10 0
";
    const TCP6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000001000000:0277 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3001 1 0 100 0 0 10 0
   1: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 3002 1 0 100 0 0 10 0
   2: 0000000000000000FFFF00000100007F:1F91 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 3003 1 0 100 0 0 10 0
";

    #[test]
    fn sockets_that_listen_are_read_whatever_stands_between_them() {
        let shown = |table: &str| {
            parse(table).iter().map(|s| format!("{} {} {}", s.address, s.uid, s.inode)).collect::<Vec<_>>()
        };
        assert_eq!(shown(TCP), ["127.0.0.1:5432 104 1134", "0.0.0.0:80 0 2001", "192.168.5.1:80 0 2002"]);
        assert_eq!(shown(TCP6), ["[::1]:631 0 3001", "[::]:8080 1000 3002", "127.0.0.1:8081 1000 3003"]);
        assert_eq!(shown(""), [""; 0]);
    }

    #[test]
    fn a_socket_belongs_to_the_process_that_has_it_open() {
        let folder = tempfile::tempdir().unwrap();
        let proc = folder.path();
        std::fs::create_dir_all(proc.join("net")).unwrap();
        std::fs::write(proc.join("net/tcp"), TCP).unwrap();
        for (pid, comm, groups, sockets) in [
            (20, "nginx\n", "0::/system.slice/nginx.service\n", vec!["socket:[2001]", "/dev/null"]),
            (30, "nginx\n", "0::/system.slice/nginx.service\n", vec!["socket:[2001]"]),
            (
                7,
                "postgres\n",
                "5:cpu:/system.slice/system-postgresql.slice/postgresql@15-main.service\n",
                vec!["socket:[1134]"],
            ),
            (8, "other\n", "", vec!["socket:[x]", "pipe:[1134]"]),
        ] {
            std::fs::create_dir_all(proc.join(format!("{pid}/fd"))).unwrap();
            std::fs::write(proc.join(format!("{pid}/comm")), comm).unwrap();
            std::fs::write(proc.join(format!("{pid}/cgroup")), groups).unwrap();
            for (fd, target) in sockets.iter().enumerate() {
                std::os::unix::fs::symlink(target, proc.join(format!("{pid}/fd/{fd}"))).unwrap();
            }
        }
        let sockets = listening(proc).unwrap();
        assert_eq!(sockets.len(), 3, "there is no table of IPv6, and that is well");
        let owners = owners(proc, &sockets);
        let shown: Vec<_> = owners.iter().map(|(inode, p)| (*inode, p.pid, p.program.as_str(), p.unit())).collect();
        assert_eq!(
            shown,
            [(1134, 7, "postgres", Some("postgresql@15-main.service")), (2001, 20, "nginx", Some("nginx.service"))]
        );
        assert!(listening(&proc.join("none")).is_err());
    }

    #[test]
    fn a_process_says_by_its_groups_where_it_belongs() {
        let id = "3f2a91c07d213f2a91c07d213f2a91c07d213f2a91c07d213f2a91c07d213f2a";
        for (groups, unit, container) in [
            (format!("12:cpu:/docker/{id}\n1:name=systemd:/docker/{id}\n"), None, Some(id)),
            (format!("0::/system.slice/docker-{id}.scope\n"), None, Some(id)),
            (format!("0::/machine.slice/libpod-{id}.scope/container\n"), None, Some(id)),
            ("0::/user.slice/user-0.slice/session-1.scope\n".into(), None, None),
            ("0::/user.slice/user-1.slice/user@1.service/app.slice/x.service\n".into(), Some("x.service"), None),
            ("0::/system.slice/.service\nbroken\n".into(), None, None),
            (String::new(), None, None),
        ] {
            let process = Process { pid: 1, program: String::new(), groups };
            assert_eq!((process.unit(), process.container()), (unit, container), "{}", process.groups);
        }
    }
}
