//! `/proc/diskstats`: what each disk reads and writes, and how long it takes (`node_disk_*`).
//!
//! Partitions, loop devices, RAM disks and floppies are left out: the disk behind them counts the same.

use std::io::Result;

use super::lines::{Known, lines, number, odd, text, too_many, words};
use crate::base::{Labels, Sample};
use crate::source::common::{Target, sample};

/// The most disks that are looked at.
pub(super) const MAX_DISKS: usize = 256;

/// The bytes of a sector here, whatever the disk itself has.
const SECTOR: f64 = 512.0;

/// The kernel writes milliseconds.
const MILLI: f64 = 0.001;

/// The columns behind the name: the series and what the number is multiplied with. Kernels before 4.18 have eleven,
/// those before 5.5 fifteen.
pub(super) const COLUMNS: [(&str, f64); 17] = [
    ("node_disk_reads_completed_total", 1.0),
    ("node_disk_reads_merged_total", 1.0),
    ("node_disk_read_bytes_total", SECTOR),
    ("node_disk_read_time_seconds_total", MILLI),
    ("node_disk_writes_completed_total", 1.0),
    ("node_disk_writes_merged_total", 1.0),
    ("node_disk_written_bytes_total", SECTOR),
    ("node_disk_write_time_seconds_total", MILLI),
    ("node_disk_io_now", 1.0),
    ("node_disk_io_time_seconds_total", MILLI),
    ("node_disk_io_time_weighted_seconds_total", MILLI),
    ("node_disk_discards_completed_total", 1.0),
    ("node_disk_discards_merged_total", 1.0),
    ("node_disk_discarded_sectors_total", 1.0),
    ("node_disk_discard_time_seconds_total", MILLI),
    ("node_disk_flush_requests_total", 1.0),
    ("node_disk_flush_requests_time_seconds_total", MILLI),
];

/// The fewest columns of a line: those before discards were counted.
const FEWEST: usize = 11;

/// What is known of `/proc/diskstats`.
#[derive(Debug)]
pub(super) struct Diskstats {
    /// None for a device that is left out.
    rows: Known<Option<[Labels; COLUMNS.len()]>>,
}

impl Diskstats {
    pub(super) fn new() -> Diskstats {
        Diskstats { rows: Known::new() }
    }

    /// Reads the whole file: `254 0 vda 1 2 3 …`.
    pub(super) fn read(&mut self, file: &[u8], target: &Target, samples: &mut Vec<Sample>) -> Result<()> {
        let (mut n, mut disks, mut odd_lines) = (0, 0, 0);
        for line in lines(file) {
            let mut words = words(line).skip(2);
            let Some(name) = words.next() else { continue };
            if n >= 4 * MAX_DISKS || disks >= MAX_DISKS {
                self.rows.end(n);
                return too_many("/proc/diskstats", "disks", MAX_DISKS);
            }
            let row = self.rows.row(n, name, || (!is_left_out(name)).then(|| series(&text(name), target)));
            n += 1;
            let Some(labels) = row else { continue };
            disks += 1;
            let before = samples.len();
            let all = words.zip(labels).zip(COLUMNS).try_for_each(|((word, labels), (_, factor))| {
                samples.push(sample(labels.clone(), number(word)? * factor));
                Some(())
            });
            if all.is_none() || samples.len() < before + FEWEST {
                samples.truncate(before);
                odd_lines += 1;
            }
        }
        self.rows.end(n);
        if odd_lines == 0 { Ok(()) } else { Err(odd("/proc/diskstats", &format!("{odd_lines} lines are odd"))) }
    }
}

fn series(device: &str, target: &Target) -> [Labels; COLUMNS.len()] {
    COLUMNS.map(|(name, _)| target.series(name, &[("device", device)]))
}

/// Whether a device is no disk of its own: `loop0`, `ram1`, `fd0`, or a partition (`sda1`, `vdb2`, `nvme0n1p3`).
fn is_left_out(name: &[u8]) -> bool {
    let digits = name.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    let (stem, number) = name.split_at(name.len() - digits);
    if number.is_empty() {
        return false;
    }
    match stem {
        b"loop" | b"ram" | b"fd" => true,
        // A partition of an NVMe disk: `nvme`, digits, `n`, digits, `p`.
        [b'n', b'v', b'm', b'e', rest @ .., b'p'] => {
            let mut parts = rest.split(|b| *b == b'n');
            let is_number =
                |part: Option<&[u8]>| part.is_some_and(|p| !p.is_empty() && p.iter().all(u8::is_ascii_digit));
            is_number(parts.next()) && is_number(parts.next()) && parts.next().is_none()
        }
        [b'h' | b's' | b'v', b'd', letters @ ..] | [b'x', b'v', b'd', letters @ ..] => {
            !letters.is_empty() && letters.iter().all(u8::is_ascii_lowercase)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::host::testing::{shown, target};

    fn look(file: &str) -> (Vec<String>, String) {
        let mut samples = Vec::new();
        let told = Diskstats::new()
            .read(file.as_bytes(), &target(), &mut samples)
            .err()
            .map_or(String::new(), |e| e.to_string());
        (shown(&samples), told)
    }

    #[test]
    fn disks_are_read_in_the_formats_of_old_and_new_kernels() {
        let (shown, told) = look("   8       0 sda 1 2 3 4000 5 6 7 8 9 10 11 12 13 14 15 16 17\n");
        assert_eq!((shown.len(), told.as_str()), (17, ""));
        assert_eq!(shown[2], "node_disk_read_bytes_total{device=\"sda\"} 1536");
        assert_eq!(shown[3], "node_disk_read_time_seconds_total{device=\"sda\"} 4");
        assert_eq!(shown[8], "node_disk_io_now{device=\"sda\"} 9");
        assert_eq!(shown[13], "node_disk_discarded_sectors_total{device=\"sda\"} 14");
        assert_eq!(shown[16], "node_disk_flush_requests_time_seconds_total{device=\"sda\"} 0.017");
        assert_eq!(look("8 0 sda 1 2 3 4 5 6 7 8 9 10 11\n").0.len(), 11);
        assert_eq!(look("8 0 sda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15\n").0.len(), 15);
        assert_eq!(look("8 0 sda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19\n").0.len(), 17);
    }

    #[test]
    fn partitions_and_devices_without_a_disk_are_left_out() {
        for name in ["loop0", "ram15", "fd0", "sda1", "sdab12", "hdc3", "vdb2", "xvda1", "nvme0n1p3", "nvme12n10p1"] {
            assert!(is_left_out(name.as_bytes()), "{name}");
        }
        for name in
            ["sda", "vda", "xvdf", "nvme0n1", "dm-0", "md127", "zram0", "mmcblk0", "sr0", "nvme0c0n1", "nbd1", "", "7"]
        {
            assert!(!is_left_out(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn odd_lines_are_passed_over_and_said() {
        let (shown, told) =
            look("8 0 sda 1 2 x 4 5 6 7 8 9 10 11\n8 1 sdb 1 2 3\n\n8\n8 2 sdc 1 2 3 4 5 6 7 8 9 10 11\n");
        assert_eq!((shown.len(), told.as_str()), (11, "/proc/diskstats: 2 lines are odd"));
        let many: String = (0..10_000).map(|n| format!("8 0 dm-{n} 1 2 3 4 5 6 7 8 9 10 11\n")).collect();
        let (shown, told) = look(&many);
        assert_eq!(shown.len(), MAX_DISKS * 11);
        assert!(told.contains("more than 256 disks"), "{told}");
        let loops: String = (0..10_000).map(|n| format!("7 0 loop{n} 1 2 3 4 5 6 7 8 9 10 11\n")).collect();
        assert_eq!(look(&loops).0.len(), 0);
    }
}
