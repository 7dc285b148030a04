//! Small files of the kernel, a number or two in each: load, pressure, file descriptors, entropy, tracked connections,
//! and what the host and its system are called (`node_load*`, `node_pressure_*`, `node_filefd_*`, `node_entropy_*`,
//! `node_nf_conntrack_*`, `node_os_*`, `node_uname_info`).

use std::io::Result;

use super::lines::{lines, number, odd, only, text, words};
use crate::base::{Labels, Sample};
use crate::source::common::{Target, sample};

/// Reads `/proc/loadavg`: the loads over 1, 5 and 15 minutes.
pub(super) fn loadavg(file: &[u8], labels: &[Labels; 3], samples: &mut Vec<Sample>) -> Result<()> {
    let mut words = words(file);
    let loads = [(); 3].map(|()| words.next().and_then(number));
    let [Some(one), Some(five), Some(fifteen)] = loads else {
        return Err(odd("/proc/loadavg", "fewer than three numbers"));
    };
    samples.extend(labels.iter().zip([one, five, fifteen]).map(|(labels, load)| sample(labels.clone(), load)));
    Ok(())
}

/// Reads `/proc/sys/fs/file-nr`: descriptors in use, free ones, the most there may be.
pub(super) fn filefd(file: &[u8], labels: &[Labels; 2], samples: &mut Vec<Sample>) -> Result<()> {
    let mut words = words(file);
    match (words.next().and_then(number), words.nth(1).and_then(number)) {
        (Some(used), Some(most)) => {
            samples.push(sample(labels[0].clone(), used));
            samples.push(sample(labels[1].clone(), most));
            Ok(())
        }
        _ => Err(odd("/proc/sys/fs/file-nr", "fewer than three numbers")),
    }
}

/// Reads a file that holds one number.
pub(super) fn single(path: &str, file: &[u8], labels: &Labels, samples: &mut Vec<Sample>) -> Result<()> {
    let value = only(file).ok_or_else(|| odd(path, "not a number"))?;
    samples.push(sample(labels.clone(), value));
    Ok(())
}

/// What a file below `/proc/pressure` says: `some` of the tasks waited, or all that could run did (`full`).
pub(super) struct Pressure {
    pub(super) some: Option<&'static str>,
    pub(super) full: Option<&'static str>,
}

/// The files `cpu`, `io`, `memory` and `irq` of `/proc/pressure`. The kernel also writes a `full` for the processors, which has no meaning for a whole
/// host; `irq` is there since 6.1, if the kernel was built with it.
pub(super) const PRESSURES: [Pressure; 4] = [
    Pressure { some: Some("node_pressure_cpu_waiting_seconds_total"), full: None },
    Pressure {
        some: Some("node_pressure_io_waiting_seconds_total"),
        full: Some("node_pressure_io_stalled_seconds_total"),
    },
    Pressure {
        some: Some("node_pressure_memory_waiting_seconds_total"),
        full: Some("node_pressure_memory_stalled_seconds_total"),
    },
    Pressure { some: None, full: Some("node_pressure_irq_stalled_seconds_total") },
];

/// Reads a file of `/proc/pressure`: `some avg10=0.00 avg60=0.00 avg300=0.00 total=123`, in microseconds.
pub(super) fn pressure(
    file: &[u8],
    some: Option<&Labels>,
    full: Option<&Labels>,
    samples: &mut Vec<Sample>,
) -> Result<()> {
    for (kind, labels) in [(&b"some"[..], some), (b"full", full)] {
        let Some(labels) = labels else { continue };
        let line = lines(file).find(|line| words(line).next() == Some(kind));
        let total = line.and_then(|line| words(line).find_map(|word| word.strip_prefix(b"total="))).and_then(number);
        let total = total.ok_or_else(|| odd("/proc/pressure", &format!("no total of {}", text(kind))))?;
        samples.push(sample(labels.clone(), total / 1e6));
    }
    Ok(())
}

/// What `node_os_info` says of the system, in the names of `os-release`.
const OS: [&str; 12] = [
    "BUILD_ID",
    "ID",
    "ID_LIKE",
    "IMAGE_ID",
    "IMAGE_VERSION",
    "NAME",
    "PRETTY_NAME",
    "VARIANT",
    "VARIANT_ID",
    "VERSION",
    "VERSION_CODENAME",
    "VERSION_ID",
];

/// The longest value of `os-release` that becomes a label.
const MAX_VALUE: usize = 256;

/// `node_os_info`, and `node_os_version` where the version is a number (`12`, `24.04`), from the text of `os-release`.
pub(super) fn os_release(file: &[u8], target: &Target) -> Vec<Sample> {
    let text = text(file);
    let assigned = |key: &str| {
        let line = text.lines().filter_map(|line| line.trim().split_once('=')).rfind(|(name, _)| *name == key);
        line.map_or(String::new(), |(_, value)| unquoted(value).chars().take(MAX_VALUE).collect())
    };
    let values: Vec<(String, String)> = OS.iter().map(|key| (key.to_ascii_lowercase(), assigned(key))).collect();
    let pairs: Vec<(&str, &str)> = values.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut samples = vec![sample(target.series("node_os_info", &pairs), 1.0)];
    if let Some(version) = major_minor(&assigned("VERSION_ID")) {
        let named: Vec<(&str, &str)> =
            pairs.into_iter().filter(|(n, _)| ["id", "id_like", "name"].contains(n)).collect();
        samples.push(sample(target.series("node_os_version", &named), version));
    }
    samples
}

/// A value as a shell reads it: without its quotes and, between double ones, without the backslash before what it guards.
fn unquoted(value: &str) -> String {
    let value = value.trim();
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote).and_then(|v| v.strip_suffix(quote)) {
            let mut plain = String::new();
            let mut chars = inner.chars();
            while let Some(c) = chars.next() {
                plain.push(if c == '\\' && quote == '"' { chars.next().unwrap_or(c) } else { c });
            }
            return plain;
        }
    }
    value.to_string()
}

/// `22.04.1` as 22.04.
fn major_minor(version: &str) -> Option<f64> {
    let end = version.match_indices('.').nth(1).map_or(version.len(), |(i, _)| i);
    let begin = version.get(..end)?;
    begin.bytes().all(|b| b.is_ascii_digit() || b == b'.').then(|| begin.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::host::testing::{shown, target};

    fn labels<const N: usize>(names: [&str; N]) -> [Labels; N] {
        names.map(|name| target().series(name, &[]))
    }

    #[test]
    fn small_files_are_read_or_refused() {
        let mut samples = Vec::new();
        loadavg(b"0.25 1.50 2.00 3/400 12345\n", &labels(["a", "b", "c"]), &mut samples).unwrap();
        filefd(b"618\t0\t9223372036854775807\n", &labels(["used", "most"]), &mut samples).unwrap();
        single("/x", b"256\n", &labels(["entropy"])[0], &mut samples).unwrap();
        assert_eq!(shown(&samples), ["a 0.25", "b 1.5", "c 2", "used 618", "most 9223372036854776000", "entropy 256"]);
        samples.clear();
        assert!(loadavg(b"0.25 x 2.00\n", &labels(["a", "b", "c"]), &mut samples).is_err());
        assert!(filefd(b"618 0\n", &labels(["a", "b"]), &mut samples).is_err());
        assert_eq!(single("/x", b"", &labels(["a"])[0], &mut samples).unwrap_err().to_string(), "/x: not a number");
        assert_eq!(samples, []);
    }

    #[test]
    fn pressure_is_read_in_seconds() {
        let file =
            b"some avg10=0.00 avg60=0.10 avg300=0.00 total=22917319\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n";
        let [some, full] = labels(["some", "full"]);
        let mut samples = Vec::new();
        pressure(file, Some(&some), Some(&full), &mut samples).unwrap();
        pressure(file, None, Some(&full), &mut samples).unwrap();
        assert_eq!(shown(&samples), ["some 22.917319", "full 0.000005", "full 0.000005"]);
        for file in ["", "some avg10=0.00\n", "some avg10=0.00 total=x\n", "some total=1"] {
            assert!(pressure(file.as_bytes(), Some(&some), None, &mut samples).is_err(), "{file}");
        }
    }

    #[test]
    fn the_system_is_named_by_its_release_file() {
        let file = "# a comment\nNAME=\"A \\\"quoted\\\" name\"\nID=debian\nVERSION_ID='12.5.1'\nVERSION=old\nVERSION=\"12 (bookworm)\"\nHOME_URL=x\n";
        assert_eq!(
            shown(&os_release(file.as_bytes(), &target())),
            [
                "node_os_info{id=\"debian\",name=\"A \\\"quoted\\\" name\",version=\"12 (bookworm)\",version_id=\"12.5.1\"} 1",
                "node_os_version{id=\"debian\",name=\"A \\\"quoted\\\" name\"} 12.5",
            ]
        );
        assert_eq!(
            shown(&os_release(b"ID=arch\nVERSION_ID=rolling\n", &target())),
            ["node_os_info{id=\"arch\",version_id=\"rolling\"} 1"]
        );
        let long = format!("ID=\"{}\"\n", "x".repeat(100_000));
        assert!(os_release(long.as_bytes(), &target())[0].labels.get("id").len() == MAX_VALUE);
    }
}
