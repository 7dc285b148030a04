//! `[host]` looks at hosts that are written down, at hostile texts, and at this host beside the node exporter.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use backstop::base::{Batch, Labels, Outcome, SourceRef, Span, Timestamp};
use backstop::source::common::Common;
use backstop::source::host::{Config, FILES, Host, Need, Readers};

use crate::support::{mutate, outside, text};

const HOSTS: [&str; 4] = ["debian-11-vm", "debian-12-metal", "debian-13-vm", "container"];

fn config(processes: &[&str]) -> Config {
    let common = Common {
        manual: false,
        reference: SourceRef::new("host", "host"),
        interval: Span::secs(10),
        timeout: Span::secs(5),
        service: "host".into(),
        app: "shop".into(),
        labels: Labels::empty(),
        optional: false,
        external: false,
        enabled: true,
    };
    Config { common, ignore: Vec::new(), processes: processes.iter().map(|name| name.to_string()).collect() }
}

/// The files of a host that is written down, each as its path and its text.
fn files(host: &str) -> Vec<(String, String)> {
    let all = text(&format!("tests/fixtures/host/{host}.txt"));
    let parts = all.split("== ").filter_map(|part| part.split_once('\n'));
    parts.map(|(path, text)| (path.to_string(), text.to_string())).collect()
}

fn put(root: &Path, files: &[(String, String)]) {
    for (path, text) in files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

/// Labels that every source gives, and labels of the host on which the test runs.
const OURS: [&str; 5] = ["job", "service", "source", "instance", "app"];

fn own_labels(labels: &Labels) -> String {
    labels.filtered(|name| !OURS.contains(&name)).to_string()
}

/// Each sample as a line, but for those of the look itself and of the host on which the test runs.
fn page(batch: &Batch) -> String {
    let foreign = ["node_uname_info", "probe_duration_seconds"];
    let samples = batch.samples.iter().filter(|s| !foreign.contains(&s.labels.name()));
    let mut lines: Vec<String> = samples.map(|s| format!("{} {}\n", own_labels(&s.labels), s.value)).collect();
    lines.sort();
    lines.concat()
}

#[tokio::test]
async fn hosts_that_are_written_down_are_seen() {
    for name in HOSTS {
        let place = tempfile::tempdir().unwrap();
        put(place.path(), &files(name));
        let mut host = Host::at(config(&[]), place.path());
        let first = host.collect(Timestamp(1_700_000_000_000)).await;
        let second = host.collect(Timestamp(1_700_000_000_000)).await;
        assert_eq!(first.outcome, Outcome::Good, "{name}");
        assert_eq!(page(&first), page(&second), "{name}: what did not change gives the same");
        let names: BTreeSet<&str> = host.names().into_iter().collect();
        let undeclared: Vec<_> = first.samples.iter().map(|s| s.labels.name()).filter(|n| !names.contains(n)).collect();
        assert_eq!(undeclared, Vec::<&str>::new(), "{name}");
        insta::assert_snapshot!(format!("host-{name}"), page(&first));
    }
}

#[tokio::test]
async fn only_what_is_essential_fails_the_look() {
    for file in FILES {
        let place = tempfile::tempdir().unwrap();
        let mut all = files("debian-12-metal");
        all.retain(|(path, _)| *path != format!("proc/{}", file.path));
        put(place.path(), &all);
        let batch = Host::at(config(&[]), place.path()).collect(Timestamp(0)).await;
        let part = batch.samples.iter().find(|s| s.labels.get("collector") == file.part).unwrap();
        match file.need {
            Need::Essential => match &batch.outcome {
                Outcome::Failed(failure) => {
                    assert_eq!(failure.reason, "proc");
                    assert!(failure.detail.contains(file.path), "{failure}");
                    assert_eq!(part.value, 0.0);
                }
                Outcome::Good => panic!("good without {}", file.path),
            },
            need => {
                assert_eq!(batch.outcome, Outcome::Good, "{}", file.path);
                assert_eq!(part.value, f64::from(need == Need::Optional), "{}", file.path);
            }
        }
    }
}

#[tokio::test]
async fn series_that_ready_made_rules_use_are_there() {
    let place = tempfile::tempdir().unwrap();
    put(place.path(), &files("debian-13-vm"));
    let names = Host::at(config(&[]), place.path()).names();
    let rules = text("config/packs/host.toml");
    let words = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let used: BTreeSet<&str> = words.filter(|word| word.starts_with("node_")).collect();
    assert!(!used.is_empty());
    for name in used {
        assert!(names.contains(&name), "{name}");
    }
}

#[test]
fn mutation_of_the_files_of_a_host() {
    let mut corpus: Vec<Vec<u8>> = Vec::new();
    for host in HOSTS {
        for (path, text) in files(host) {
            let path = path.trim_start_matches("proc/").trim_start_matches("etc/").trim_start_matches("usr/lib/");
            if !path.starts_with("sys/class") {
                corpus.push(format!("{path}\n{text}").into_bytes());
            }
        }
    }
    corpus.push(b"PID/stat\n7 (a) b) S 1 1 1 0 -1 4194560 1 2 3 4 14 15 7 8 20 0 1 0 22 1000 10 184\n".to_vec());
    // The same readers meet one text after the other, as they do on a host that changes.
    let readers = RefCell::new(Readers::new(&config(&[])));
    mutate::run("host", &corpus, |input| {
        let end = input.iter().position(|b| *b == b'\n').unwrap_or(input.len());
        let path = String::from_utf8_lossy(&input[..end]);
        let mut samples = Vec::new();
        let read = readers.borrow_mut().read(&path, input.get(end + 1..).unwrap_or_default(), &mut samples);
        assert!(samples.len() <= 4096 * 10 + 6, "bounded");
        for sample in &samples {
            assert!(sample.value.is_finite(), "{}", sample.labels);
            let name = sample.labels.name();
            assert!(
                name.starts_with("node_") && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'),
                "{name:?}"
            );
        }
        if let Err(e) = read {
            assert!(e.to_string().len() < 1000, "{e}");
        }
    });
}

/// A node exporter on loopback, ended with the value.
struct Exporter {
    child: Child,
    address: std::net::SocketAddr,
    /// Kept open: it goes on writing.
    _log: BufReader<ChildStderr>,
}

impl Drop for Exporter {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Exporter {
    fn start() -> Exporter {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new("prometheus-node-exporter");
        command.arg(format!("--web.listen-address={address}")).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("TLS is disabled") && !line.contains("Listening on") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "the node exporter ended before it listened");
        }
        Exporter { child, address, _log: log }
    }

    /// The page as series and values.
    fn scrape(&self) -> BTreeMap<String, f64> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        let (_, page) = page.split_once("\r\n\r\n").unwrap();
        let scrape = prometheus_parse::Scrape::parse(page.lines().map(|line| Ok(line.to_string()))).unwrap();
        let series = scrape.samples.into_iter().filter_map(|sample| {
            let value = match sample.value {
                prometheus_parse::Value::Counter(n) | prometheus_parse::Value::Gauge(n) => n,
                prometheus_parse::Value::Untyped(n) => n,
                _ => return None,
            };
            let pairs = sample.labels.iter().map(|(n, v)| (n.clone(), v.clone()));
            let labels = Labels::new(pairs.chain([("__name__".to_string(), sample.metric)]));
            labels.name().starts_with("node_").then(|| (labels.to_string(), value))
        });
        series.collect()
    }
}

fn name_of(series: &str) -> &str {
    series.split('{').next().unwrap_or_default()
}

/// Names that only the exporter has, by their beginning, each with its reason.
const ONLY_THEIRS: [(&str, &str); 22] = [
    ("node_arp_entries", "a table without bound, of no use for a deployment"),
    ("node_cooling_device_", "fans tell nothing that temperatures do not"),
    ("node_disk_info", "names of models and serial numbers come from udev"),
    ("node_exporter_build_info", "about the exporter itself"),
    ("node_network_", "settings of interfaces that no panel shows: see ONLY_THEIR_SETTINGS"),
    ("node_nf_conntrack_stat_", "per processor, and for those who debug the kernel"),
    ("node_schedstat_", "pressure says the same for the whole host"),
    ("node_scrape_collector_duration_seconds", "probe_duration_seconds is that of the whole look"),
    ("node_selinux_", "a setting"),
    ("node_softnet_", "drops are counted by interface"),
    ("node_textfile_", "own figures come in over the sources command and prometheus"),
    ("node_time_clocksource_", "a setting"),
    ("node_time_zone_offset_seconds", "a setting"),
    ("node_timex_", "adjtimex is refused by ProtectClock of the unit"),
    ("node_udp_queues", "node_netstat_Udp_RcvbufErrors says when one ran over"),
    ("node_dmi_info", "a setting"),
    ("node_cpu_core_throttles_total", "temperatures and pressure tell more"),
    ("node_cpu_frequency_", "a setting"),
    ("node_cpu_package_throttles_total", "temperatures and pressure tell more"),
    ("node_cpu_scaling_", "a setting"),
    ("node_hwmon_", "of sensors, only temperatures"),
    ("node_btrfs_", "of file systems, only their space"),
];

/// What the exporter alone says of an interface.
const ONLY_THEIR_SETTINGS: [&str; 15] = [
    "node_network_address_assign_type",
    "node_network_carrier_down_changes_total",
    "node_network_carrier_up_changes_total",
    "node_network_device_id",
    "node_network_dormant",
    "node_network_flags",
    "node_network_iface_id",
    "node_network_iface_link",
    "node_network_iface_link_mode",
    "node_network_info",
    "node_network_name_assign_type",
    "node_network_net_dev_group",
    "node_network_protocol_type",
    "node_network_receive_nohandler_total",
    "node_network_speed_bytes",
];

/// Names that only we have, by their beginning.
const ONLY_OURS: [(&str, &str); 2] = [
    ("node_pressure_irq_stalled_seconds_total", "Linux 6.1, which exporter 1.5 does not know"),
    ("node_memory_", "a line that this kernel writes and the library of exporter 1.5 does not know"),
];

/// Whether a series that the exporter has may be missing with us although the name is common.
fn may_be_missing(series: &str) -> bool {
    // One mount a device; what a disk is mounted at beside the first does not count again.
    let again = name_of(series).starts_with("node_filesystem_");
    // Its collectors that we do not have.
    let collector = name_of(series) == "node_scrape_collector_success";
    // Only veth interfaces have no settings, and an unknown speed (-1) is none.
    let veth = series.contains("device=\"veth");
    again || collector || veth
}

#[tokio::test]
async fn outside_exporter_and_host_say_the_same() {
    if !outside("exporters") {
        return;
    }
    let exporter = Exporter::start();
    exporter.scrape();
    let mut host = Host::new(config(&[]));
    host.collect(Timestamp(0)).await;
    // Other tests make networks and mounts meanwhile: what differs each time is wrong.
    let mut wrong = Vec::new();
    for _ in 0..10 {
        wrong = differences(&exporter, &mut host).await;
        if wrong.is_empty() {
            return;
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// What the host source says otherwise than the exporter.
async fn differences(exporter: &Exporter, host: &mut Host) -> Vec<String> {
    let before = exporter.scrape();
    let batch = host.collect(backstop::sys::clock::Clock::new().now()).await;
    let after = exporter.scrape();
    let ours: BTreeMap<String, f64> = batch.samples.iter().map(|s| (own_labels(&s.labels), s.value)).collect();
    let theirs = |name: &str| before.keys().any(|series| name_of(series) == name);
    let names = |of: &BTreeMap<String, f64>| of.keys().map(|s| name_of(s).to_string()).collect::<BTreeSet<_>>();

    let mut wrong = Vec::new();
    let mut compared = 0;
    for (series, value) in ours.iter().filter(|(series, _)| theirs(name_of(series))) {
        let (Some(low), Some(high)) = (before.get(series), after.get(series)) else {
            if name_of(series) != "node_scrape_collector_success" {
                wrong.push(format!("{series}: only ours"));
            }
            continue;
        };
        compared += 1;
        let (low, high) = (low.min(*high), low.max(*high));
        // Counters stand between the two scrapes. Gauges of a living host move: a tenth, and at most eight megabytes
        // or a few tasks.
        let is_counter = name_of(series).ends_with("_total") || name_of(series).starts_with("node_vmstat_");
        let room = match name_of(series) {
            _ if is_counter => 1e-6 + low.abs() * 1e-9,
            name if name.ends_with("_bytes") => (low.abs() * 0.1).max(8e6),
            "node_time_seconds" => 2.0,
            // What is under way at one moment, on a disk that others use.
            "node_disk_io_now" => 10_000.0,
            _ => (low.abs() * 0.1).max(20.0),
        };
        if *value < low - room || *value > high + room {
            wrong.push(format!("{series}: {value}, and the exporter {low} to {high}"));
        }
    }
    for series in before.keys().filter(|series| ours.keys().any(|s| name_of(s) == name_of(series))) {
        if !ours.contains_key(series) && !may_be_missing(series) && after.contains_key(series) {
            wrong.push(format!("{series}: only theirs"));
        }
    }
    for name in names(&before).difference(&names(&ours)) {
        let known = ONLY_THEIRS.iter().any(|(begin, _)| name.starts_with(begin));
        let is_setting = ONLY_THEIR_SETTINGS.contains(&name.as_str());
        let is_declared = host.names().contains(&name.as_str()) && !is_setting;
        if !known || is_declared || name.starts_with("node_network_") && !is_setting {
            wrong.push(format!("{name}: a name that only the exporter has"));
        }
    }
    for name in names(&ours).difference(&names(&before)).filter(|name| name.starts_with("node_")) {
        if !ONLY_OURS.iter().any(|(begin, _)| name.starts_with(begin)) {
            wrong.push(format!("{name}: a name that only we have"));
        }
    }
    assert!(compared > 150, "only {compared} series were compared");
    wrong
}
