//! Which files below `/proc` are read, and which room understands which.

use std::io::Result;

use super::diskstats::Diskstats;
use super::kernel::{self, PRESSURES};
use super::memory::{Meminfo, Vmstat};
use super::network::Traffic;
use super::sockets::{Netstat, Snmp6, Sockstat};
use super::stat::Stat;
use crate::base::{Labels, Sample};
use crate::source::common::Target;

/// A file below `/proc`.
#[derive(Clone, Copy, Debug)]
pub struct File {
    /// Where it lies below `/proc`.
    pub path: &'static str,
    /// The part of the look that it belongs to: the `collector` of `node_scrape_collector_success`.
    pub part: &'static str,
    /// What becomes of the look without it.
    pub need: Need,
    pub(super) room: Room,
}

/// What becomes of a look when a file cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The look failed.
    Essential,
    /// Its part is missing.
    Part,
    /// Nothing: many kernels do not have it.
    Optional,
}

/// Who understands a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Stat,
    Meminfo,
    Loadavg,
    Vmstat,
    Diskstats,
    Traffic,
    Netstat(usize),
    Snmp6,
    Sockstat(usize),
    Filefd,
    Entropy(usize),
    Conntrack(usize),
    Pressure(usize),
}

const fn file(path: &'static str, part: &'static str, need: Need, room: Room) -> File {
    File { path, part, need, room }
}

/// The files, in the order in which they are read.
pub const FILES: [File; 20] = [
    file("stat", "stat", Need::Essential, Room::Stat),
    file("meminfo", "meminfo", Need::Essential, Room::Meminfo),
    file("loadavg", "loadavg", Need::Part, Room::Loadavg),
    file("vmstat", "vmstat", Need::Part, Room::Vmstat),
    file("diskstats", "diskstats", Need::Part, Room::Diskstats),
    file("net/dev", "netdev", Need::Part, Room::Traffic),
    file("net/snmp", "netstat", Need::Part, Room::Netstat(0)),
    file("net/netstat", "netstat", Need::Part, Room::Netstat(1)),
    file("net/snmp6", "netstat", Need::Optional, Room::Snmp6),
    file("net/sockstat", "sockstat", Need::Part, Room::Sockstat(0)),
    file("net/sockstat6", "sockstat", Need::Optional, Room::Sockstat(1)),
    file("sys/fs/file-nr", "filefd", Need::Part, Room::Filefd),
    file("sys/kernel/random/entropy_avail", "entropy", Need::Part, Room::Entropy(0)),
    file("sys/kernel/random/poolsize", "entropy", Need::Part, Room::Entropy(1)),
    file("sys/net/netfilter/nf_conntrack_count", "conntrack", Need::Part, Room::Conntrack(0)),
    file("sys/net/netfilter/nf_conntrack_max", "conntrack", Need::Part, Room::Conntrack(1)),
    file("pressure/cpu", "pressure", Need::Part, Room::Pressure(0)),
    file("pressure/io", "pressure", Need::Part, Room::Pressure(1)),
    file("pressure/memory", "pressure", Need::Part, Room::Pressure(2)),
    file("pressure/irq", "pressure", Need::Optional, Room::Pressure(3)),
];

/// The rooms with what they know.
#[derive(Debug)]
pub(super) struct Rooms {
    pub(super) stat: Stat,
    /// How parts went that have no file of their own: the processors and the counters share one.
    pub(super) told: Vec<(&'static str, Result<()>)>,
    meminfo: Meminfo,
    vmstat: Vmstat,
    diskstats: Diskstats,
    traffic: Traffic,
    netstat: [Netstat; 2],
    snmp6: Snmp6,
    sockstat: [Sockstat; 2],
    loads: [Labels; 3],
    filefd: [Labels; 2],
    entropy: [Labels; 2],
    conntrack: [Labels; 2],
    pressures: [(Option<Labels>, Option<Labels>); PRESSURES.len()],
}

impl Rooms {
    pub(super) fn new(target: &Target, ticks_per_second: u64, page: usize) -> Rooms {
        let series = |name: &str| target.series(name, &[]);
        Rooms {
            stat: Stat::new(target, ticks_per_second),
            told: Vec::new(),
            meminfo: Meminfo::new(),
            vmstat: Vmstat::new(),
            diskstats: Diskstats::new(),
            traffic: Traffic::new(),
            netstat: ["/proc/net/snmp", "/proc/net/netstat"].map(Netstat::new),
            snmp6: Snmp6::new(),
            sockstat: ["/proc/net/sockstat", "/proc/net/sockstat6"].map(|path| Sockstat::new(path, page)),
            loads: ["node_load1", "node_load5", "node_load15"].map(series),
            filefd: ["node_filefd_allocated", "node_filefd_maximum"].map(series),
            entropy: ["node_entropy_available_bits", "node_entropy_pool_size_bits"].map(series),
            conntrack: ["node_nf_conntrack_entries", "node_nf_conntrack_entries_limit"].map(series),
            pressures: PRESSURES.map(|pressure| (pressure.some.map(series), pressure.full.map(series))),
        }
    }

    /// Reads the text of a file.
    pub(super) fn read(&mut self, room: Room, text: &[u8], target: &Target, samples: &mut Vec<Sample>) -> Result<()> {
        match room {
            Room::Stat => self.stat(text, target, samples),
            Room::Meminfo => self.meminfo.read(text, target, samples),
            Room::Loadavg => kernel::loadavg(text, &self.loads, samples),
            Room::Vmstat => self.vmstat.read(text, target, samples),
            Room::Diskstats => self.diskstats.read(text, target, samples),
            Room::Traffic => self.traffic.read(text, target, samples),
            Room::Netstat(i) => self.netstat[i].read(text, target, samples),
            Room::Snmp6 => {
                self.snmp6.read(text, target, samples);
                Ok(())
            }
            Room::Sockstat(i) => self.sockstat[i].read(text, target, samples),
            Room::Filefd => kernel::filefd(text, &self.filefd, samples),
            Room::Entropy(i) => kernel::single("/proc/sys/kernel/random", text, &self.entropy[i], samples),
            Room::Conntrack(i) => kernel::single("/proc/sys/net/netfilter", text, &self.conntrack[i], samples),
            Room::Pressure(i) => {
                let (some, full) = &self.pressures[i];
                kernel::pressure(text, some.as_ref(), full.as_ref(), samples)
            }
        }
    }

    /// Reads `/proc/stat`. Only that no processor is there costs the look; what else is missing costs its part.
    fn stat(&mut self, text: &[u8], target: &Target, samples: &mut Vec<Sample>) -> Result<()> {
        let read = self.stat.read(text, target, samples);
        self.told.push(("cpu", read.cpu));
        self.told.push(("stat", read.stat));
        read.essential
    }
}
