//! `/proc/stat`: the time of each processor by mode, and what the kernel counts beside it (`node_cpu_*`,
//! `node_context_switches_total`, `node_intr_total`, `node_forks_total`, `node_procs_*`, `node_boot_time_seconds`).
//!
//! The kernel's idle and waiting times can fall by a tick. A counter that falls is a counter that began anew, and a rate over it
//! a peak of days; so a small fall is held at the value before.

use std::io::Result;

use super::lines::{Known, lines, number, odd, text, too_many, whole, words};
use crate::base::{Labels, Sample};
use crate::source::common::{Target, sample};

/// The columns of a processor that are modes, in their order in the file.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];

/// The two columns behind them: the parts of `user` and `nice` that virtual machines of this host took.
const GUEST: [&str; 2] = ["user", "nice"];

const COLUMNS: usize = MODES.len() + GUEST.len();

/// The most processors that are looked at.
const MAX_CPUS: usize = 4096;

/// A counter that falls by more than this many seconds began anew (a processor was taken out and put in); less is
/// the kernel's rounding.
const ROUNDING: u64 = 3;

/// The lines with one number, and their series.
const SINGLE: [(&[u8], &str); 6] = [
    (b"intr", "node_intr_total"),
    (b"ctxt", "node_context_switches_total"),
    (b"btime", "node_boot_time_seconds"),
    (b"processes", "node_forks_total"),
    (b"procs_running", "node_procs_running"),
    (b"procs_blocked", "node_procs_blocked"),
];

/// What is known of `/proc/stat`.
#[derive(Debug)]
pub(super) struct Stat {
    ticks_per_second: u64,
    cpus: Known<Cpu>,
    single: [Labels; SINGLE.len()],
    /// When the host was started, as the file said last; seconds since 1970.
    pub(super) boot: Option<f64>,
}

#[derive(Debug)]
struct Cpu {
    last: [u64; COLUMNS],
    labels: [Labels; COLUMNS],
}

/// Whether the processors and the other lines could be read.
pub(super) struct Read {
    /// Fails when there is no processor at all.
    pub(super) essential: Result<()>,
    pub(super) cpu: Result<()>,
    pub(super) stat: Result<()>,
}

impl Stat {
    pub(super) fn new(target: &Target, ticks_per_second: u64) -> Stat {
        let single = SINGLE.map(|(_, name)| target.series(name, &[]));
        Stat { ticks_per_second: ticks_per_second.max(1), cpus: Known::new(), single, boot: None }
    }

    /// Reads the whole file.
    pub(super) fn read(&mut self, file: &[u8], target: &Target, samples: &mut Vec<Sample>) -> Read {
        let (mut n_cpus, mut more, mut seen) = (0, false, [false; SINGLE.len()]);
        for line in lines(file) {
            if let Some((cpu, ticks)) = cpu_ticks(line) {
                more |= n_cpus == MAX_CPUS;
                if n_cpus < MAX_CPUS {
                    self.cpu(n_cpus, cpu, ticks, target, samples);
                    n_cpus += 1;
                }
            } else if let Some((i, value)) = single(line)
                && !std::mem::replace(&mut seen[i], true)
            {
                if SINGLE[i].0 == b"btime" {
                    self.boot = Some(value);
                }
                samples.push(sample(self.single[i].clone(), value));
            }
        }
        self.cpus.end(n_cpus);
        let missing = seen.iter().position(|seen| !seen);
        Read {
            essential: if n_cpus == 0 { Err(odd("/proc/stat", "no processor")) } else { Ok(()) },
            cpu: match n_cpus {
                0 => Err(odd("/proc/stat", "no processor")),
                _ if more => too_many("/proc/stat", "processors", MAX_CPUS),
                _ => Ok(()),
            },
            stat: missing
                .map_or(Ok(()), |i| Err(odd("/proc/stat", &format!("no number behind {}", text(SINGLE[i].0))))),
        }
    }

    fn cpu(&mut self, i: usize, cpu: &[u8], ticks: [u64; COLUMNS], target: &Target, samples: &mut Vec<Sample>) {
        let row = self.cpus.row(i, cpu, || Cpu::new(target, &text(cpu)));
        for ((now, last), labels) in ticks.into_iter().zip(&mut row.last).zip(&row.labels) {
            let rounding = now < *last && *last - now <= ROUNDING * self.ticks_per_second;
            *last = if rounding { *last } else { now };
            samples.push(sample(labels.clone(), *last as f64 / self.ticks_per_second as f64));
        }
    }
}

impl Cpu {
    fn new(target: &Target, cpu: &str) -> Cpu {
        let labels = std::array::from_fn(|i| {
            let (name, mode) = match MODES.get(i) {
                Some(mode) => ("node_cpu_seconds_total", mode),
                None => ("node_cpu_guest_seconds_total", &GUEST[i - MODES.len()]),
            };
            target.series(name, &[("cpu", cpu), ("mode", mode)])
        });
        Cpu { last: [0; COLUMNS], labels }
    }
}

/// The number of a processor and its ticks, if this is its line; columns that an old kernel lacks are 0.
fn cpu_ticks(line: &[u8]) -> Option<(&[u8], [u64; COLUMNS])> {
    let rest = line.strip_prefix(b"cpu").filter(|rest| rest.first().is_some_and(u8::is_ascii_digit))?;
    let mut words = words(rest);
    let cpu = words.next()?;
    let mut ticks = [0; COLUMNS];
    let mut n = 0;
    for (slot, word) in ticks.iter_mut().zip(words) {
        *slot = whole(word)?;
        n += 1;
    }
    (n > 0 && cpu.iter().all(u8::is_ascii_digit)).then_some((cpu, ticks))
}

/// Which of [`SINGLE`] this line is, and its first number.
fn single(line: &[u8]) -> Option<(usize, f64)> {
    SINGLE.iter().enumerate().find_map(|(i, (key, _))| {
        let rest = line.strip_prefix(*key)?.strip_prefix(b" ")?;
        Some((i, number(words(rest).next()?)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::host::testing::{shown, target};

    const FILE: &str = "\
cpu  10 20 30 40 50 60 70 80 90 100
cpu0 100 200 300 400 500 600 700 800 90 10
cpu12 1 2 3 4
intr 77 1 2 3
ctxt 1234
btime 1700000000
processes 4242
procs_running 3
procs_blocked 1
softirq 9 8 7
";

    fn look(stat: &mut Stat, file: &str) -> (Vec<String>, [String; 2]) {
        let mut samples = Vec::new();
        let read = stat.read(file.as_bytes(), &target(), &mut samples);
        let told = [read.cpu, read.stat].map(|r| r.err().map_or(String::new(), |e| e.to_string()));
        (shown(&samples), told)
    }

    #[test]
    fn processors_and_counters_are_read() {
        let mut stat = Stat::new(&target(), 100);
        let (shown, told) = look(&mut stat, FILE);
        assert_eq!(told, ["", ""]);
        let line = |text: &str| shown.iter().filter(|s| s.starts_with(text)).cloned().collect::<Vec<_>>();
        assert_eq!(
            line("node_cpu_seconds_total{cpu=\"0\",mode=\"iowait\"}"),
            ["node_cpu_seconds_total{cpu=\"0\",mode=\"iowait\"} 5"]
        );
        assert_eq!(
            line("node_cpu_guest_seconds_total{cpu=\"0\""),
            [
                "node_cpu_guest_seconds_total{cpu=\"0\",mode=\"user\"} 0.9",
                "node_cpu_guest_seconds_total{cpu=\"0\",mode=\"nice\"} 0.1",
            ]
        );
        assert_eq!(
            line("node_cpu_seconds_total{cpu=\"12\",mode=\"steal\"}"),
            ["node_cpu_seconds_total{cpu=\"12\",mode=\"steal\"} 0"]
        );
        assert_eq!(
            shown[20..],
            [
                "node_intr_total 77",
                "node_context_switches_total 1234",
                "node_boot_time_seconds 1700000000",
                "node_forks_total 4242",
                "node_procs_running 3",
                "node_procs_blocked 1",
            ]
        );
        assert_eq!(stat.boot, Some(1.7e9));
    }

    #[test]
    fn a_counter_that_falls_a_little_stays_and_one_that_began_anew_does_not() {
        let mut stat = Stat::new(&target(), 100);
        let idle = |stat: &mut Stat, ticks: u64| look(stat, &format!("cpu0 0 0 0 {ticks}\n")).0[3].clone();
        assert_eq!(idle(&mut stat, 1000), "node_cpu_seconds_total{cpu=\"0\",mode=\"idle\"} 10");
        assert_eq!(idle(&mut stat, 998), "node_cpu_seconds_total{cpu=\"0\",mode=\"idle\"} 10");
        assert_eq!(idle(&mut stat, 1001), "node_cpu_seconds_total{cpu=\"0\",mode=\"idle\"} 10.01");
        assert_eq!(idle(&mut stat, 5), "node_cpu_seconds_total{cpu=\"0\",mode=\"idle\"} 0.05");
    }

    #[test]
    fn what_is_missing_or_odd_is_said() {
        let mut stat = Stat::new(&target(), 100);
        assert_eq!(look(&mut stat, "").1, ["/proc/stat: no processor", "/proc/stat: no number behind intr"]);
        let (shown, told) = look(&mut stat, "cpu0 1 x 3\ncpux 1\ncpu1\ncpu2 1\nctxt many\n");
        assert_eq!((shown.len(), told[0].as_str()), (COLUMNS, ""), "only the processor whose numbers are numbers");
        let many: String = (0..MAX_CPUS + 1).map(|n| format!("cpu{n} 1 2 3 4 5 6 7 8 9 10\n")).collect();
        let (shown, told) = look(&mut stat, &many);
        assert_eq!(shown.len(), MAX_CPUS * COLUMNS);
        assert_eq!(told[0], "/proc/stat: more than 4096 processors; those behind are passed over");
    }
}
