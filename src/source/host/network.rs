//! What goes over each network interface, from `/proc/net/dev`, and how it is set, from `/sys/class/net`
//! (`node_network_*`).
//!
//! Of the host's halves of containers (`veth…`) only the traffic is read: there may be hundreds, each setting is a file
//! of its own, and they come and go with their containers.

use std::io::{Error, ErrorKind, Result};
use std::path::PathBuf;

use super::lines::{Known, lines, number, odd, only, text, too_many, words};
use crate::base::{Labels, Sample};
use crate::source::common::{Target, sample};
use crate::sys::read::Folder;

/// The most interfaces whose traffic is read.
pub(super) const MAX_INTERFACES: usize = 256;

/// The most interfaces whose settings are read: each costs six files.
pub(super) const MAX_SETTINGS: usize = 64;

/// The columns of an interface.
pub(super) const COLUMNS: [&str; 16] = [
    "node_network_receive_bytes_total",
    "node_network_receive_packets_total",
    "node_network_receive_errs_total",
    "node_network_receive_drop_total",
    "node_network_receive_fifo_total",
    "node_network_receive_frame_total",
    "node_network_receive_compressed_total",
    "node_network_receive_multicast_total",
    "node_network_transmit_bytes_total",
    "node_network_transmit_packets_total",
    "node_network_transmit_errs_total",
    "node_network_transmit_drop_total",
    "node_network_transmit_fifo_total",
    "node_network_transmit_colls_total",
    "node_network_transmit_carrier_total",
    "node_network_transmit_compressed_total",
];

/// What is known of `/proc/net/dev`.
#[derive(Debug)]
pub(super) struct Traffic {
    rows: Known<[Labels; COLUMNS.len()]>,
}

impl Traffic {
    pub(super) fn new() -> Traffic {
        Traffic { rows: Known::new() }
    }

    /// Reads the whole file: `eth0: 1 2 3 …` behind two lines of headings. The loopback interface is left out.
    pub(super) fn read(&mut self, file: &[u8], target: &Target, samples: &mut Vec<Sample>) -> Result<()> {
        let (mut n, mut odd_lines) = (0, 0);
        for line in lines(file) {
            let Some(colon) = memchr::memrchr(b':', line) else { continue };
            let name = line[..colon].trim_ascii();
            if name == b"lo" || name.is_empty() {
                continue;
            }
            if n >= MAX_INTERFACES {
                self.rows.end(n);
                return too_many("/proc/net/dev", "interfaces", MAX_INTERFACES);
            }
            let row = self.rows.row(n, name, || COLUMNS.map(|c| target.series(c, &[("device", &text(name))])));
            n += 1;
            let before = samples.len();
            for (word, labels) in words(&line[colon + 1..]).zip(row) {
                let Some(value) = number(word) else { break };
                samples.push(sample(labels.clone(), value));
            }
            if samples.len() < before + COLUMNS.len() {
                samples.truncate(before);
                odd_lines += 1;
            }
        }
        self.rows.end(n);
        if odd_lines == 0 { Ok(()) } else { Err(odd("/proc/net/dev", &format!("{odd_lines} lines are odd"))) }
    }
}

/// The files of an interface that hold one number each: file, series, factor.
const SETTINGS: [(&str, &str, f64); 5] = [
    ("carrier", "node_network_carrier", 1.0),
    ("carrier_changes", "node_network_carrier_changes_total", 1.0),
    ("mtu", "node_network_mtu_bytes", 1.0),
    // Megabits: 1000 × 1000 / 8 bytes.
    ("speed", "node_network_speed_bytes", 125_000.0),
    ("tx_queue_len", "node_network_transmit_queue_length", 1.0),
];

/// The longest of these files.
const MAX_FILE: usize = 4096;

/// The settings of the interfaces, from `/sys/class/net`.
#[derive(Debug)]
pub(super) struct Settings {
    path: PathBuf,
    folder: Option<Folder>,
    buffer: Vec<u8>,
    rows: Known<Interface>,
}

#[derive(Debug)]
struct Interface {
    up: Labels,
    numbers: [(String, Labels); SETTINGS.len()],
}

impl Settings {
    pub(super) fn new(path: PathBuf) -> Settings {
        Settings { path, folder: None, buffer: Vec::new(), rows: Known::new() }
    }

    /// Looks at every interface. What the kernel does not say of one (no carrier while it is down, no speed of a bridge) has no
    /// sample.
    pub(super) fn look(&mut self, target: &Target, samples: &mut Vec<Sample>) -> Result<()> {
        let folder = match &mut self.folder {
            Some(folder) => folder,
            none => none.insert(Folder::open(&self.path)?),
        };
        let (mut names, mut more) = (Vec::new(), false);
        folder.names(|name| {
            if !name.starts_with(b"veth") {
                more = names.len() == MAX_SETTINGS;
                if !more && let Ok(name) = std::str::from_utf8(name) {
                    names.push(name.to_string());
                }
            }
            !more
        })?;
        let mut n = 0;
        for name in &names {
            // `bonding_masters` lies there as well, and is no interface.
            if folder.read(&format!("{name}/operstate"), &mut self.buffer, MAX_FILE).is_err() {
                continue;
            }
            let interface = self.rows.row(n, name.as_bytes(), || Interface::new(name, target));
            n += 1;
            let up = self.buffer.trim_ascii() == b"up";
            samples.push(sample(interface.up.clone(), f64::from(up)));
            for ((file, labels), (_, _, factor)) in interface.numbers.iter().zip(SETTINGS) {
                let read = folder.read(file, &mut self.buffer, MAX_FILE);
                // A speed of -1 says that none is known.
                if let Some(value) = read.ok().and_then(|()| only(&self.buffer)).filter(|n| *n >= 0.0) {
                    samples.push(sample(labels.clone(), value * factor));
                }
            }
        }
        self.rows.end(n);
        match (n, more) {
            (0, _) => Err(Error::new(ErrorKind::NotFound, format!("{}: no interface", self.path.display()))),
            (_, true) => too_many("/sys/class/net", "interfaces", MAX_SETTINGS),
            _ => Ok(()),
        }
    }
}

impl Interface {
    fn new(name: &str, target: &Target) -> Interface {
        let series = |series: &str| target.series(series, &[("device", name)]);
        Interface {
            up: series("node_network_up"),
            numbers: SETTINGS.map(|(file, of, _)| (format!("{name}/{file}"), series(of))),
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests write the files that are read")]
mod tests {
    use super::*;
    use crate::source::host::testing::{shown, target};

    const HEAD: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
";

    fn look(file: &str) -> (Vec<String>, String) {
        let mut samples = Vec::new();
        let told = Traffic::new()
            .read(file.as_bytes(), &target(), &mut samples)
            .err()
            .map_or(String::new(), |e| e.to_string());
        (shown(&samples), told)
    }

    #[test]
    fn the_traffic_of_each_interface_but_loopback_is_read() {
        let (shown, told) = look(&format!(
            "{HEAD}    lo: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n  eth0:18446744073709551615 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\nbr-\"x\": 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n"
        ));
        assert_eq!((shown.len(), told.as_str()), (32, ""));
        assert_eq!(shown[0], "node_network_receive_bytes_total{device=\"eth0\"} 18446744073709552000");
        assert_eq!(shown[15], "node_network_transmit_compressed_total{device=\"eth0\"} 16");
        assert_eq!(shown[16], "node_network_receive_bytes_total{device=\"br-\\\"x\\\"\"} 1");
    }

    #[test]
    fn odd_lines_and_too_many_interfaces_are_said() {
        let (shown, told) = look("eth0: 1 2 3\neth1: a 2\n: 1 2 3\neth2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n");
        assert_eq!((shown.len(), told.as_str()), (16, "/proc/net/dev: 2 lines are odd"));
        let many: String = (0..10_000).map(|n| format!("veth{n}: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n")).collect();
        let (shown, told) = look(&many);
        assert_eq!(shown.len(), MAX_INTERFACES * 16);
        assert!(told.contains("more than 256 interfaces"), "{told}");
    }

    #[test]
    fn settings_are_read_as_far_as_the_kernel_says_them() {
        let place = tempfile::tempdir().unwrap();
        let put = |name: &str, file: &str, text: &str| {
            std::fs::create_dir_all(place.path().join(name)).unwrap();
            std::fs::write(place.path().join(name).join(file), text).unwrap();
        };
        for (file, text) in [
            ("operstate", "up\n"),
            ("carrier", "1\n"),
            ("carrier_changes", "2\n"),
            ("mtu", "1500\n"),
            ("speed", "10000\n"),
            ("tx_queue_len", "1000\n"),
        ] {
            put("eth0", file, text);
        }
        put("veth1", "operstate", "up\n");
        std::fs::write(place.path().join("bonding_masters"), "\n").unwrap();
        let mut settings = Settings::new(place.path().into());
        for _ in 0..2 {
            let mut samples = Vec::new();
            settings.look(&target(), &mut samples).unwrap();
            assert_eq!(
                shown(&samples),
                [
                    "node_network_up{device=\"eth0\"} 1",
                    "node_network_carrier{device=\"eth0\"} 1",
                    "node_network_carrier_changes_total{device=\"eth0\"} 2",
                    "node_network_mtu_bytes{device=\"eth0\"} 1500",
                    "node_network_speed_bytes{device=\"eth0\"} 1250000000",
                    "node_network_transmit_queue_length{device=\"eth0\"} 1000",
                ]
            );
        }
        put("eth0", "operstate", "down\n");
        put("eth0", "speed", "-1\n");
        put("eth0", "carrier", "");
        let mut samples = Vec::new();
        settings.look(&target(), &mut samples).unwrap();
        assert_eq!(samples.len(), 4);
        assert_eq!(samples[0].value, 0.0);
        for n in 0..MAX_SETTINGS {
            put(&format!("dummy{n}"), "operstate", "down\n");
        }
        samples.clear();
        assert!(settings.look(&target(), &mut samples).is_err());
        assert!(samples.len() <= MAX_SETTINGS * (SETTINGS.len() + 1));
        assert!(Settings::new("/none".into()).look(&target(), &mut samples).is_err());
    }
}
