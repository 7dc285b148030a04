//! `/proc/meminfo` (`node_memory_*`), every line of it, and of `/proc/vmstat` what tells of trouble (`node_vmstat_*`): pages
//! read and written, swapped, faulted, and processes that were killed for want of memory.

use std::io::Result;

use super::lines::{Known, lines, number, odd, text, words};
use crate::base::{Labels, Sample};
use crate::source::common::{Target, sample};

/// The most lines that are looked at; a kernel of today writes about sixty.
const MAX_LINES: usize = 256;

/// What every kernel since 3.14 says; without these the rest is worth nothing.
const NEEDED: [&[u8]; 2] = [b"MemTotal", b"MemAvailable"];

/// What is known of `/proc/meminfo`.
#[derive(Debug)]
pub(super) struct Meminfo {
    rows: Known<Option<(Labels, f64)>>,
}

impl Meminfo {
    pub(super) fn new() -> Meminfo {
        Meminfo { rows: Known::new() }
    }

    /// Reads the whole file: `Name:  12 kB`, or without a unit where it counts pages.
    pub(super) fn read(&mut self, file: &[u8], target: &Target, samples: &mut Vec<Sample>) -> Result<()> {
        let (mut n, mut seen) = (0, [false; NEEDED.len()]);
        for line in lines(file).take(MAX_LINES) {
            let Some(colon) = memchr::memchr(b':', line) else { continue };
            let (name, rest) = line.split_at(colon);
            let mut words = words(&rest[1..]);
            let Some(value) = words.next().and_then(number) else { continue };
            let row = self.rows.row(n, name, || series(name, words.next(), target));
            n += 1;
            if let Some((labels, factor)) = row {
                if let Some(i) = NEEDED.iter().position(|needed| *needed == name) {
                    seen[i] = true;
                }
                samples.push(sample(labels.clone(), value * *factor));
            }
        }
        self.rows.end(n);
        if seen == [true; NEEDED.len()] { Ok(()) } else { Err(odd("/proc/meminfo", "no MemTotal or no MemAvailable")) }
    }
}

/// The series of a line and what its number is multiplied with; none where the name cannot be that of a series.
fn series(name: &[u8], unit: Option<&[u8]>, target: &Target) -> Option<(Labels, f64)> {
    // `Active(anon)` becomes `Active_anon`.
    let name: String = text(name).trim_end_matches(')').replace('(', "_");
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let (suffix, factor) = match unit {
        Some(b"kB") => ("_bytes", 1024.0),
        Some(_) => return None,
        None => ("", 1.0),
    };
    plain.then(|| (target.series(&format!("node_memory_{name}{suffix}"), &[]), factor))
}

/// What is known of `/proc/vmstat`.
#[derive(Debug)]
pub(super) struct Vmstat {
    rows: Known<Labels>,
}

impl Vmstat {
    pub(super) fn new() -> Vmstat {
        Vmstat { rows: Known::new() }
    }

    /// Reads the whole file: `name 12`.
    pub(super) fn read(&mut self, file: &[u8], target: &Target, samples: &mut Vec<Sample>) -> Result<()> {
        let mut n = 0;
        for line in lines(file).filter(|line| is_wanted(line)) {
            let mut words = words(line);
            let (Some(name), Some(value)) = (words.next(), words.next().and_then(number)) else { continue };
            if n == MAX_LINES || !name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_') {
                continue;
            }
            let labels = self.rows.row(n, name, || target.series(&format!("node_vmstat_{}", text(name)), &[]));
            n += 1;
            samples.push(sample(labels.clone(), value));
        }
        self.rows.end(n);
        if n > 0 { Ok(()) } else { Err(odd("/proc/vmstat", "none of the lines that are kept")) }
    }
}

/// Whether the line begins with `oom_kill`, `pgpg`, `pswp`, or with `pg` and then has `fault` in its name.
fn is_wanted(line: &[u8]) -> bool {
    match line {
        [b'o', rest @ ..] => rest.starts_with(b"om_kill"),
        [b'p', b's', rest @ ..] => rest.starts_with(b"wp"),
        [b'p', b'g', rest @ ..] => rest.starts_with(b"pg") || rest.windows(5).any(|five| five == b"fault"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::host::testing::{shown, target};

    #[test]
    fn every_line_of_meminfo_becomes_a_series() {
        let file = "\
MemTotal:       24684084 kB
MemAvailable:    1024 kB
Active(anon):       2 kB
Bad Name:       1 kB
HugePages_Total:       3
Hugepagesize:       2048 kB
Odd:       1 MB
Broken:       x kB
";
        let mut meminfo = Meminfo::new();
        for _ in 0..2 {
            let mut samples = Vec::new();
            meminfo.read(file.as_bytes(), &target(), &mut samples).unwrap();
            assert_eq!(
                shown(&samples),
                [
                    "node_memory_MemTotal_bytes 25276502016",
                    "node_memory_MemAvailable_bytes 1048576",
                    "node_memory_Active_anon_bytes 2048",
                    "node_memory_HugePages_Total 3",
                    "node_memory_Hugepagesize_bytes 2097152",
                ]
            );
        }
    }

    #[test]
    fn meminfo_without_the_essentials_is_refused() {
        let mut samples = Vec::new();
        for file in ["", "MemTotal: 5 kB\n", "MemTotal: 5 kB\nMemAvailable: 5", "MemAvailable: 1 kB\nMemTotal: x kB\n"]
        {
            assert!(Meminfo::new().read(file.as_bytes(), &target(), &mut samples).is_err(), "{file}");
        }
    }

    #[test]
    fn lines_without_end_are_bounded() {
        let many: String = (0..10_000).map(|n| format!("A{n}: 1 kB\n")).collect();
        let mut samples = Vec::new();
        assert!(Meminfo::new().read(many.as_bytes(), &target(), &mut samples).is_err());
        assert_eq!(samples.len(), MAX_LINES);
        let many: String = (0..10_000).map(|n| format!("pgpg{n} 1\n")).collect();
        samples.clear();
        Vmstat::new().read(many.as_bytes(), &target(), &mut samples).unwrap();
        assert_eq!(samples.len(), MAX_LINES);
    }

    #[test]
    fn of_vmstat_trouble_is_kept() {
        let file = "nr_free_pages 5\npgpgin 1\npgpgout 2\npswpin 3\npswpout 4\npgfault 5\npgmajfault 6\npgscan_file 9\noom_kill 7\npgdefault 8\n";
        let mut samples = Vec::new();
        Vmstat::new().read(file.as_bytes(), &target(), &mut samples).unwrap();
        assert_eq!(
            shown(&samples),
            [
                "node_vmstat_pgpgin 1",
                "node_vmstat_pgpgout 2",
                "node_vmstat_pswpin 3",
                "node_vmstat_pswpout 4",
                "node_vmstat_pgfault 5",
                "node_vmstat_pgmajfault 6",
                "node_vmstat_oom_kill 7",
                "node_vmstat_pgdefault 8",
            ]
        );
        assert!(Vmstat::new().read(b"nr_free_pages 5\n", &target(), &mut samples).is_err());
    }
}
