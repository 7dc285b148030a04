//! The files of a group, and what stands in them. Pure.
//!
//! A line that is missing or odd leaves its figure empty. Version 1:
//! <https://docs.kernel.org/admin-guide/cgroup-v1/memory.html>, `cpuacct`, `blkio-controller`, `pids` and
//! <https://docs.kernel.org/scheduler/sched-bwc.html>; version 2: <https://docs.kernel.org/admin-guide/cgroup-v2.html>.

use super::Figures;

/// Takes out what only half of the files said.
pub(super) fn complete(figures: &mut Figures) {
    figures.cpu_limit = figures.cpu_limit.filter(|cores| *cores > 0.0);
}

/// What reads one file into figures.
pub(super) type Take = fn(&[u8], &mut Figures);

/// A file: its names, of which the first that is there counts, and what reads it.
pub(super) type File = (&'static [&'static str], Take);

/// A limit beyond this is none: version 1 writes the largest number of whole pages.
const UNLIMITED: u64 = 1 << 62;

/// The unit of `cpuacct.stat` (USER_HZ), the same on every machine that Linux runs on today.
const TICKS_PER_SECOND: f64 = 100.0;

/// The files of a controller of version 1.
pub(super) fn of_one(controller: &[u8]) -> &'static [File] {
    match controller {
        b"cpu" => &[
            (&["cpu.stat"], cpu_stat),
            // Below 0 until the period divides it: a quota alone says nothing.
            (&["cpu.cfs_quota_us"], |text, figures| figures.cpu_limit = number(text).map(|quota| -(quota as f64))),
            (&["cpu.cfs_period_us"], |text, figures| {
                figures.cpu_limit = cores(figures.cpu_limit.map(f64::abs), number(text));
            }),
        ],
        b"cpuacct" => &[
            (&["cpuacct.usage"], |text, figures| figures.cpu_usage = number(text).map(|n| n as f64 / 1e9)),
            (&["cpuacct.stat"], |text, figures| {
                for (key, value) in pairs(text) {
                    match key {
                        b"user" => figures.cpu_user = Some(value as f64 / TICKS_PER_SECOND),
                        b"system" => figures.cpu_system = Some(value as f64 / TICKS_PER_SECOND),
                        _ => {}
                    }
                }
            }),
        ],
        b"memory" => &[
            (&["memory.usage_in_bytes"], |text, figures| figures.memory_usage = number(text)),
            (&["memory.stat"], memory_stat_one),
            (&["memory.max_usage_in_bytes"], |text, figures| figures.memory_max_usage = number(text)),
            (&["memory.failcnt"], |text, figures| figures.memory_failures = number(text)),
            (&["memory.oom_control"], |text, figures| {
                figures.oom_kills = pairs(text).find(|(key, _)| *key == b"oom_kill").map(|(_, n)| n);
            }),
        ],
        b"blkio" => &[
            (&["blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_service_bytes"], |text, figures| {
                (figures.read_bytes, figures.written_bytes) = read_and_written(text);
            }),
            (&["blkio.throttle.io_serviced_recursive", "blkio.throttle.io_serviced"], |text, figures| {
                (figures.reads, figures.writes) = read_and_written(text);
            }),
        ],
        b"pids" => &PIDS,
        _ => &[],
    }
}

/// The files of version 2 that say what the controllers `cpu`, `memory`, `blkio` and `pids` say in version 1.
pub(super) fn of_two(controller: &[u8]) -> &'static [File] {
    match controller {
        b"cpu" => &[
            (&["cpu.stat"], cpu_stat),
            (&["cpu.max"], |text, figures| {
                let mut words = text.split(u8::is_ascii_whitespace);
                let quota = words.next().and_then(number).map(|quota| quota as f64);
                figures.cpu_limit = cores(quota, words.next().and_then(number));
            }),
        ],
        b"memory" => &[
            (&["memory.current"], |text, figures| figures.memory_usage = number(text)),
            (&["memory.stat"], memory_stat_two),
            (&["memory.peak"], |text, figures| figures.memory_max_usage = number(text)),
            (&["memory.swap.current"], |text, figures| figures.memory_swap = number(text)),
            (&["memory.max"], |text, figures| figures.memory_limit = number(text)),
            (&["memory.events"], |text, figures| {
                for (key, value) in pairs(text) {
                    match key {
                        b"max" => figures.memory_failures = Some(value),
                        b"oom_kill" => figures.oom_kills = Some(value),
                        _ => {}
                    }
                }
            }),
        ],
        b"blkio" => &[(&["io.stat"], io_stat)],
        b"pids" => &PIDS,
        _ => &[],
    }
}

const PIDS: [File; 2] = [
    (&["pids.current"], |text, figures| figures.pids = number(text)),
    (&["pids.max"], |text, figures| figures.pids_limit = number(text)),
];

/// Version 1 writes nanoseconds of throttling only; version 2 microseconds of everything.
fn cpu_stat(text: &[u8], figures: &mut Figures) {
    for (key, value) in pairs(text) {
        match key {
            b"usage_usec" => figures.cpu_usage = Some(value as f64 / 1e6),
            b"user_usec" => figures.cpu_user = Some(value as f64 / 1e6),
            b"system_usec" => figures.cpu_system = Some(value as f64 / 1e6),
            b"nr_periods" => figures.cpu_periods = Some(value),
            b"nr_throttled" => figures.cpu_throttled_periods = Some(value),
            b"throttled_time" => figures.cpu_throttled = Some(value as f64 / 1e9),
            b"throttled_usec" => figures.cpu_throttled = Some(value as f64 / 1e6),
            _ => {}
        }
    }
}

/// `total_*` is with the groups inside; the limit is the lowest of this group and those around it.
fn memory_stat_one(text: &[u8], figures: &mut Figures) {
    for (key, value) in pairs(text) {
        match key {
            b"total_inactive_file" => figures.memory_inactive_file = Some(value),
            b"total_rss" => figures.memory_rss = Some(value),
            b"total_cache" => figures.memory_cache = Some(value),
            b"total_swap" => figures.memory_swap = Some(value),
            b"hierarchical_memory_limit" => figures.memory_limit = Some(value).filter(|n| *n < UNLIMITED),
            _ => {}
        }
    }
}

fn memory_stat_two(text: &[u8], figures: &mut Figures) {
    for (key, value) in pairs(text) {
        match key {
            b"inactive_file" => figures.memory_inactive_file = Some(value),
            b"anon" => figures.memory_rss = Some(value),
            b"file" => figures.memory_cache = Some(value),
            _ => {}
        }
    }
}

/// `8:0 Read 4096`, one line for each device and kind, and a sum that counts other kinds too. No line: nothing yet.
fn read_and_written(text: &[u8]) -> (Option<u64>, Option<u64>) {
    let (mut read, mut written) = (0u64, 0u64);
    for line in lines(text) {
        let mut words = line.split(|b| *b == b' ');
        let (Some(_), Some(kind), Some(value)) = (words.next(), words.next(), words.next().and_then(number)) else {
            continue;
        };
        match kind {
            b"Read" => read = read.saturating_add(value),
            b"Write" => written = written.saturating_add(value),
            _ => {}
        }
    }
    (Some(read), Some(written))
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`, one line for each device. No line: nothing yet.
fn io_stat(text: &[u8], figures: &mut Figures) {
    let (mut read, mut written, mut reads, mut writes) = (0u64, 0u64, 0u64, 0u64);
    for word in lines(text).flat_map(|line| line.split(|b| *b == b' ')) {
        let Some(equals) = memchr::memchr(b'=', word) else { continue };
        let Some(value) = number(&word[equals + 1..]) else { continue };
        let sum = match &word[..equals] {
            b"rbytes" => &mut read,
            b"wbytes" => &mut written,
            b"rios" => &mut reads,
            b"wios" => &mut writes,
            _ => continue,
        };
        *sum = sum.saturating_add(value);
    }
    (figures.read_bytes, figures.written_bytes) = (Some(read), Some(written));
    (figures.reads, figures.writes) = (Some(reads), Some(writes));
}

/// Processors, from microseconds of a quota and of its period.
fn cores(quota: Option<f64>, period: Option<u64>) -> Option<f64> {
    Some(quota? / period.filter(|period| *period > 0)? as f64)
}

/// The whole lines: a number in a last one that was cut off may lack digits.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|b| *b == b'\n').filter_map(|line| line.strip_suffix(b"\n"))
}

/// `key 12`
fn pairs(text: &[u8]) -> impl Iterator<Item = (&[u8], u64)> {
    lines(text).filter_map(|line| {
        let blank = memchr::memchr(b' ', line)?;
        Some((&line[..blank], number(&line[blank + 1..])?))
    })
}

/// A whole number without sign, with or without a line break behind it.
fn number(text: &[u8]) -> Option<u64> {
    let digits = text.trim_ascii_end();
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |n, b| {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 { None } else { n.checked_mul(10)?.checked_add(u64::from(digit)) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(files: &'static [File], name: &str, text: &str, figures: &mut Figures) {
        let file = files.iter().find(|(names, _)| names.contains(&name)).unwrap();
        (file.1)(text.as_bytes(), figures);
    }

    #[test]
    fn odd_numbers_are_no_figures() {
        for text in ["", "\n", "-1\n", "x\n", "1 x\n", "99999999999999999999999\n", "0x10\n", "1e3\n", "max\n", "\0"] {
            let mut figures = Figures::default();
            read(of_two(b"memory"), "memory.current", text, &mut figures);
            read(of_two(b"memory"), "memory.stat", &format!("anon {text}file {text}"), &mut figures);
            read(of_two(b"cpu"), "cpu.stat", &format!("usage_usec {text}"), &mut figures);
            read(of_two(b"cpu"), "cpu.max", text, &mut figures);
            read(of_two(b"memory"), "memory.max", text, &mut figures);
            read(of_one(b"cpuacct"), "cpuacct.usage", text, &mut figures);
            assert_eq!(figures, Figures::default(), "{text:?}");
        }
    }

    #[test]
    fn a_quota_is_a_number_of_processors() {
        for (quota, period, wanted) in [
            ("50000\n", "100000\n", Some(0.5)),
            ("-1\n", "100000\n", None),
            ("250000\n", "100000\n", Some(2.5)),
            ("1\n", "0\n", None),
            ("1\n", "x", None),
        ] {
            let mut figures = Figures::default();
            read(of_one(b"cpu"), "cpu.cfs_quota_us", quota, &mut figures);
            read(of_one(b"cpu"), "cpu.cfs_period_us", period, &mut figures);
            assert_eq!(figures.cpu_limit, wanted, "{quota} {period}");
        }
        for (text, wanted) in
            [("150000 100000\n", Some(1.5)), ("max 100000\n", None), ("100000\n", None), ("1 0\n", None)]
        {
            let mut figures = Figures::default();
            read(of_two(b"cpu"), "cpu.max", text, &mut figures);
            assert_eq!(figures.cpu_limit, wanted, "{text}");
        }
    }

    #[test]
    fn devices_are_added_up() {
        let mut figures = Figures::default();
        let text = "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=9 dios=9\n253:1 \n7:0 rbytes=10 wbytes=x rios=30\n8:16 rbytes=100 wbytes=200 rios=300 wio";
        read(of_two(b"blkio"), "io.stat", text, &mut figures);
        let found = (figures.read_bytes, figures.written_bytes, figures.reads, figures.writes);
        assert_eq!(found, (Some(11), Some(2), Some(33), Some(4)), "what is cut off counts nothing");
        let text = "8:0 Read 5\n8:0 Write 7\n8:0 Sync 12\n8:0 Total 12\n8:16 Read 18446744073709551615\nTotal 24\n";
        read(of_one(b"blkio"), "blkio.throttle.io_service_bytes", text, &mut figures);
        assert_eq!((figures.read_bytes, figures.written_bytes), (Some(u64::MAX), Some(7)));
    }
}
