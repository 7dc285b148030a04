//! Sockets and protocols: `/proc/net/sockstat` and `sockstat6` (`node_sockstat_*`), and of `/proc/net/snmp`, `netstat` and
//! `snmp6` what tells of traffic and trouble (`node_netstat_*`).

use std::io::Result;

use super::lines::{Known, lines, number, odd, text, words};
use crate::base::{Labels, Sample};
use crate::source::common::{Target, sample};

/// The most lines and the most columns that are looked at in one of these files.
const MAX_ROWS: usize = 256;

/// The protocols and fields that are kept, those of the exporter; a field that ends in `*` stands for all that begin so.
/// Beside these, every `InErrors` and `InErrs`.
const KEPT: [(&[&str], &[&str]); 8] = [
    (&["Ip"], &["Forwarding"]),
    (&["Ip6", "IpExt"], &["InOctets", "OutOctets"]),
    (&["Icmp", "Icmp6"], &["InMsgs", "OutMsgs"]),
    (&["TcpExt"], &["Listen*", "Syncookies*", "TCPSynRetrans", "TCPTimeouts"]),
    (&["Tcp"], &["ActiveOpens", "PassiveOpens", "CurrEstab"]),
    (&["Tcp"], &["InSegs", "OutSegs", "OutRsts", "RetransSegs"]),
    (&["Udp", "Udp6"], &["InDatagrams", "OutDatagrams", "NoPorts"]),
    (&["Udp", "Udp6"], &["RcvbufErrors", "SndbufErrors"]),
];

fn is_kept(protocol: &str, field: &str) -> bool {
    let fits = |kept: &&str| match kept.strip_suffix('*') {
        Some(begin) => field.starts_with(begin),
        None => *kept == field,
    };
    ["InErrors", "InErrs"].contains(&field)
        || KEPT.iter().any(|(protocols, fields)| protocols.contains(&protocol) && fields.iter().any(&fits))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// What is known of `/proc/net/snmp` or `/proc/net/netstat`: pairs of lines, names above numbers.
#[derive(Debug)]
pub(super) struct Netstat {
    path: &'static str,
    /// By the line of names: which columns are kept.
    rows: Known<Vec<(usize, Labels)>>,
}

impl Netstat {
    pub(super) fn new(path: &'static str) -> Netstat {
        Netstat { path, rows: Known::new() }
    }

    /// Reads the whole file.
    pub(super) fn read(&mut self, file: &[u8], target: &Target, samples: &mut Vec<Sample>) -> Result<()> {
        let mut lines = lines(file).take(2 * MAX_ROWS);
        let mut n = 0;
        let mut is_odd = false;
        while let (Some(names), Some(numbers)) = (lines.next(), lines.next()) {
            let columns = self.rows.row(n, names, || columns(names, target));
            n += 1;
            let mut at = 0;
            let mut words = words(numbers);
            is_odd |= words.next() != names.split(|b| *b == b' ').next();
            for (column, labels) in columns {
                match words.nth(*column - at).and_then(number) {
                    Some(value) if !is_odd => samples.push(sample(labels.clone(), value)),
                    _ => is_odd = true,
                }
                at = *column + 1;
            }
        }
        self.rows.end(n);
        if n > 0 && !is_odd { Ok(()) } else { Err(odd(self.path, "names and numbers do not fit each other")) }
    }
}

/// The kept columns of a line `Tcp: ActiveOpens PassiveOpens …`, each with its series.
fn columns(names: &[u8], target: &Target) -> Vec<(usize, Labels)> {
    let names = text(names);
    let Some((protocol, fields)) = names.split_once(':') else { return Vec::new() };
    let fields = fields.split_ascii_whitespace().enumerate().take(MAX_ROWS * 4);
    let kept = fields.filter(|(_, field)| is_kept(protocol, field) && is_name(protocol) && is_name(field));
    kept.map(|(i, field)| (i, target.series(&format!("node_netstat_{protocol}_{field}"), &[]))).collect()
}

/// What is known of `/proc/net/snmp6`: `Ip6InReceives  12`.
#[derive(Debug)]
pub(super) struct Snmp6 {
    rows: Known<Option<Labels>>,
}

impl Snmp6 {
    pub(super) fn new() -> Snmp6 {
        Snmp6 { rows: Known::new() }
    }

    /// Reads the whole file.
    pub(super) fn read(&mut self, file: &[u8], target: &Target, samples: &mut Vec<Sample>) {
        let mut n = 0;
        for line in lines(file).take(MAX_ROWS * 4) {
            let mut words = words(line);
            let (Some(name), Some(value)) = (words.next(), words.next().and_then(number)) else { continue };
            let row = self.rows.row(n, name, || {
                let name = text(name);
                let (protocol, field) = name.split_at(name.find('6')? + 1);
                let kept = is_kept(protocol, field) && is_name(protocol) && is_name(field);
                kept.then(|| target.series(&format!("node_netstat_{protocol}_{field}"), &[]))
            });
            n += 1;
            if let Some(labels) = row {
                samples.push(sample(labels.clone(), value));
            }
        }
        self.rows.end(n);
    }
}

/// What is known of `/proc/net/sockstat` or `sockstat6`: `TCP: inuse 4 orphan 0 …`.
#[derive(Debug)]
pub(super) struct Sockstat {
    path: &'static str,
    page: f64,
    rows: Known<Known<Option<Field>>>,
}

#[derive(Debug)]
struct Field {
    labels: Labels,
    /// The kernel counts the memory of TCP and UDP in pages.
    bytes: Option<Labels>,
}

impl Sockstat {
    pub(super) fn new(path: &'static str, page: usize) -> Sockstat {
        Sockstat { path, page: page as f64, rows: Known::new() }
    }

    /// Reads the whole file.
    pub(super) fn read(&mut self, file: &[u8], target: &Target, samples: &mut Vec<Sample>) -> Result<()> {
        let mut n = 0;
        for line in lines(file).take(MAX_ROWS) {
            let mut words = words(line);
            let Some(protocol) = words.next().and_then(|word| word.strip_suffix(b":")) else { continue };
            let fields = self.rows.row(n, protocol, Known::new);
            n += 1;
            let mut i = 0;
            while let (Some(name), Some(value)) = (words.next(), words.next().and_then(number)) {
                if i == MAX_ROWS {
                    break;
                }
                if let Some(field) = fields.row(i, name, || Field::new(&text(protocol), &text(name), target)) {
                    samples.push(sample(field.labels.clone(), value));
                    samples.extend(field.bytes.iter().map(|labels| sample(labels.clone(), value * self.page)));
                }
                i += 1;
            }
            fields.end(i);
        }
        self.rows.end(n);
        if n > 0 { Ok(()) } else { Err(odd(self.path, "no protocol")) }
    }
}

impl Field {
    fn new(protocol: &str, name: &str, target: &Target) -> Option<Field> {
        let series = format!("node_sockstat_{protocol}_{name}");
        let in_pages = name == "mem" && ["TCP", "UDP"].contains(&protocol);
        (is_name(protocol) && is_name(name)).then(|| Field {
            labels: target.series(&series, &[]),
            bytes: in_pages.then(|| target.series(&format!("{series}_bytes"), &[])),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::host::testing::{shown, target};

    #[test]
    fn what_is_kept_of_the_protocols_is_read_wherever_it_stands() {
        let mut netstat = Netstat::new("/proc/net/snmp");
        let old = "Ip: Forwarding DefaultTTL\nIp: 1 64\nTcp: MaxConn ActiveOpens CurrEstab InErrs\nTcp: -1 5 6 7\n";
        let new = "Tcp: New MaxConn ActiveOpens CurrEstab InErrs\nTcp: 0 -1 5 6 7\nTcpExt: ListenDrops TCPTimeouts Other\nTcpExt: 8 9 1\n";
        for (file, wanted) in [
            (
                old,
                vec![
                    "node_netstat_Ip_Forwarding 1",
                    "node_netstat_Tcp_ActiveOpens 5",
                    "node_netstat_Tcp_CurrEstab 6",
                    "node_netstat_Tcp_InErrs 7",
                ],
            ),
            (
                new,
                vec![
                    "node_netstat_Tcp_ActiveOpens 5",
                    "node_netstat_Tcp_CurrEstab 6",
                    "node_netstat_Tcp_InErrs 7",
                    "node_netstat_TcpExt_ListenDrops 8",
                    "node_netstat_TcpExt_TCPTimeouts 9",
                ],
            ),
        ] {
            let mut samples = Vec::new();
            netstat.read(file.as_bytes(), &target(), &mut samples).unwrap();
            assert_eq!(shown(&samples), wanted);
        }
    }

    #[test]
    fn names_and_numbers_that_do_not_fit_are_said() {
        for file in
            ["", "Tcp: CurrEstab\n", "Tcp: CurrEstab\nUdp: 1\n", "Tcp: CurrEstab\nTcp:\n", "Tcp: CurrEstab\nTcp: x\n"]
        {
            let mut samples = Vec::new();
            assert!(Netstat::new("/proc/net/snmp").read(file.as_bytes(), &target(), &mut samples).is_err(), "{file:?}");
            assert_eq!(samples, []);
        }
    }

    #[test]
    fn version_six_has_its_names_in_front() {
        let mut samples = Vec::new();
        let file = "Ip6InReceives   3\nIp6InOctets   4\nUdpLite6InErrors   5\nIcmp6InMsgs   6\nNone 1\nUdp6NoPorts x\n";
        Snmp6::new().read(file.as_bytes(), &target(), &mut samples);
        assert_eq!(
            shown(&samples),
            ["node_netstat_Ip6_InOctets 4", "node_netstat_UdpLite6_InErrors 5", "node_netstat_Icmp6_InMsgs 6"]
        );
    }

    #[test]
    fn sockets_are_counted_by_protocol() {
        let file =
            "sockets: used 37\nTCP: inuse 4 orphan 0 mem 2\nFRAG: inuse 0 memory 1\nbad-one: inuse 1\nTCP6: inuse\n";
        let mut sockstat = Sockstat::new("/proc/net/sockstat", 4096);
        for _ in 0..2 {
            let mut samples = Vec::new();
            sockstat.read(file.as_bytes(), &target(), &mut samples).unwrap();
            assert_eq!(
                shown(&samples),
                [
                    "node_sockstat_sockets_used 37",
                    "node_sockstat_TCP_inuse 4",
                    "node_sockstat_TCP_orphan 0",
                    "node_sockstat_TCP_mem 2",
                    "node_sockstat_TCP_mem_bytes 8192",
                    "node_sockstat_FRAG_inuse 0",
                    "node_sockstat_FRAG_memory 1",
                ]
            );
        }
        assert!(sockstat.read(b"", &target(), &mut Vec::new()).is_err());
    }
}
