//! Counters of the kernel that go on: from one life of a container to the next, and from one container of a name to its
//! successor. Pure.
//!
//! The kernel begins at 0 with each life. What was read last of the lives before is added to what is read now, so a total
//! never goes back. What a life used after it was read the last time is lost with it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::Timestamp;
use crate::sys::cgroup::{Figures, Interface};
use crate::sys::engine::Id;

/// The counters of a control group.
pub const GROUP: [&str; 11] = [
    "container_cpu_usage_seconds_total",
    "container_cpu_user_seconds_total",
    "container_cpu_system_seconds_total",
    "container_cpu_cfs_periods_total",
    "container_cpu_cfs_throttled_periods_total",
    "container_cpu_cfs_throttled_seconds_total",
    "container_memory_failcnt",
    "container_fs_reads_bytes_total",
    "container_fs_writes_bytes_total",
    "container_fs_reads_total",
    "container_fs_writes_total",
];

/// The counters of an interface.
pub const NETWORK: [&str; 8] = [
    "container_network_receive_bytes_total",
    "container_network_receive_packets_total",
    "container_network_receive_errors_total",
    "container_network_receive_packets_dropped_total",
    "container_network_transmit_bytes_total",
    "container_network_transmit_packets_total",
    "container_network_transmit_errors_total",
    "container_network_transmit_packets_dropped_total",
];

/// The most interfaces of one name whose counters are kept.
const MAX_INTERFACES: usize = 32;

/// What lets a kernel's counter begin anew: the container, and when it was started.
pub type Life = (Id, Option<Timestamp>);

/// A counter: what the lives before had, and the reading of the present one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Count(f64, f64);

impl Count {
    fn read(&mut self, reading: f64) {
        // Whatever made it go back, it began anew.
        if reading < self.1 {
            self.end();
        }
        self.1 = reading;
    }

    fn end(&mut self) {
        self.0 += std::mem::take(&mut self.1);
    }

    fn total(self) -> f64 {
        self.0 + self.1
    }
}

/// The totals of one name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    life: Option<Life>,
    /// In the order of [`GROUP`]; nothing where the kernel never said.
    group: Vec<Option<Count>>,
    /// In the order of [`NETWORK`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    network: BTreeMap<String, [Count; 8]>,
}

impl Totals {
    /// Takes what was read in `life`.
    pub fn read(&mut self, life: &Life, figures: &Figures, interfaces: &[Interface]) {
        if self.life.as_ref() != Some(life) {
            self.life = Some(life.clone());
            self.group.iter_mut().flatten().for_each(Count::end);
            self.network.values_mut().flatten().for_each(Count::end);
        }
        let whole = |n: Option<u64>| n.map(|n| n as f64);
        let group = [
            figures.cpu_usage,
            figures.cpu_user,
            figures.cpu_system,
            whole(figures.cpu_periods),
            whole(figures.cpu_throttled_periods),
            figures.cpu_throttled,
            whole(figures.memory_failures),
            whole(figures.read_bytes),
            whole(figures.written_bytes),
            whole(figures.reads),
            whole(figures.writes),
        ];
        self.group.resize(GROUP.len(), None);
        for (count, reading) in self.group.iter_mut().zip(group) {
            if let Some(reading) = reading.filter(|reading| reading.is_finite()) {
                count.get_or_insert_default().read(reading);
            }
        }
        for interface in interfaces {
            self.read_interface(interface);
        }
    }

    fn read_interface(&mut self, interface: &Interface) {
        if !self.network.contains_key(&interface.name) {
            if self.network.len() == MAX_INTERFACES {
                return;
            }
            self.network.insert(interface.name.clone(), Default::default());
        }
        let readings = [
            interface.received_bytes,
            interface.received_packets,
            interface.received_errors,
            interface.received_dropped,
            interface.sent_bytes,
            interface.sent_packets,
            interface.sent_errors,
            interface.sent_dropped,
        ];
        let counts = self.network.get_mut(&interface.name);
        for (count, reading) in counts.into_iter().flatten().zip(readings) {
            count.read(reading as f64);
        }
    }

    /// The totals in the order of [`GROUP`].
    pub fn group(&self) -> impl Iterator<Item = Option<f64>> {
        self.group.iter().map(|count| count.map(Count::total))
    }

    /// The interfaces and their totals in the order of [`NETWORK`].
    pub fn network(&self) -> impl Iterator<Item = (&str, [f64; 8])> {
        self.network.iter().map(|(name, counts)| (name.as_str(), counts.map(Count::total)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(n: u8, started: i64) -> Life {
        (Id::try_from(format!("{n:012x}")).unwrap(), Some(Timestamp(started)))
    }

    #[test]
    fn totals_go_on_over_lives_containers_and_restarts_of_the_agent() {
        let mut totals = Totals::default();
        let mut before = 0.0;
        for (life, reading, wanted) in [
            (life(1, 10), 5.0, 5.0),
            (life(1, 10), 7.5, 7.5),
            // Started again, and already further than the life before.
            (life(1, 20), 9.0, 16.5),
            (life(1, 20), 9.5, 17.0),
            // Another container.
            (life(2, 30), 0.5, 17.5),
            // Whatever set it back.
            (life(2, 30), 0.25, 17.75),
        ] {
            let figures = Figures { cpu_usage: Some(reading), ..Figures::default() };
            let eth0 = Interface { name: "eth0".into(), sent_bytes: (reading * 100.0) as u64, ..Interface::default() };
            totals.read(&life, &figures, &[eth0]);
            let saved = serde_json::to_string(&totals).unwrap();
            totals = serde_json::from_str(&saved).unwrap();
            assert_eq!(totals.group().next().unwrap(), Some(wanted));
            assert_eq!(totals.group().nth(1).unwrap(), None, "what the kernel never said is nothing");
            assert_eq!(totals.network().next().unwrap().1[4], wanted * 100.0);
            assert!(wanted >= before);
            before = wanted;
        }
    }

    #[test]
    fn a_flood_of_interfaces_is_bounded() {
        let mut totals = Totals::default();
        for n in 0..1000 {
            let interface = Interface { name: format!("veth{n}"), sent_bytes: 1, ..Interface::default() };
            totals.read(&life(1, 1), &Figures::default(), &[interface]);
        }
        assert_eq!(totals.network().count(), MAX_INTERFACES);
    }
}
