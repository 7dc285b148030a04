//! Recorded trees of both versions, and the groups of the machine that runs the tests.

#![expect(clippy::disallowed_methods, reason = "the tests write the trees that are read")]

use super::*;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const TWO: &str = "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";

/// A root of a host as it was recorded.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new(mountinfo: &str, files: &[(&str, &str)]) -> Tree {
        let tree = Tree(tempfile::tempdir().unwrap());
        tree.put("proc/self/mountinfo", mountinfo);
        for (path, text) in files {
            tree.put(path, text);
        }
        tree
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn groups(&self) -> Groups {
        Groups::at(self.0.path()).unwrap()
    }
}

fn read(group: &mut Group) -> Figures {
    let mut figures = Figures { pids: Some(99), ..Figures::default() };
    group.read(&mut figures).unwrap();
    figures
}

/// A unit of version 2, as a kernel 6.1 writes it.
fn two(folder: &str) -> Vec<(String, &'static str)> {
    [
        ("cgroup.procs", "12\n"),
        (
            "cpu.stat",
            "usage_usec 2500000\nuser_usec 1500000\nsystem_usec 1000000\nnr_periods 40\nnr_throttled 7\nthrottled_usec 250000\nnr_bursts 0\nburst_usec 0\n",
        ),
        ("cpu.max", "150000 100000\n"),
        ("memory.current", "16957440\n"),
        (
            "memory.stat",
            "anon 2682880\nfile 13700000\nkernel 500000\nsock 0\nshmem 0\nfile_mapped 0\ninactive_anon 2670592\nactive_anon 12288\ninactive_file 13688832\nactive_file 11168\nunevictable 0\nslab 300000\npgfault 4000\n",
        ),
        ("memory.peak", "20000000\n"),
        ("memory.max", "67108864\n"),
        ("memory.swap.current", "4096\n"),
        ("memory.events", "low 0\nhigh 0\nmax 12\noom 2\noom_kill 1\noom_group_kill 0\n"),
        (
            "io.stat",
            "8:0 rbytes=1000 wbytes=2000 rios=3 wios=4 dbytes=0 dios=0\n253:0 rbytes=10 wbytes=20 rios=30 wios=40 dbytes=0 dios=0\n",
        ),
        ("pids.current", "5\n"),
        ("pids.max", "512\n"),
    ]
    .into_iter()
    .map(|(name, text)| (format!("{folder}/{name}"), text))
    .collect()
}

fn tree_of_two(folder: &str) -> Tree {
    let files = two(folder);
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    Tree::new(TWO, &files)
}

fn figures_of_two() -> Figures {
    Figures {
        cpu_usage: Some(2.5),
        cpu_user: Some(1.5),
        cpu_system: Some(1.0),
        cpu_periods: Some(40),
        cpu_throttled_periods: Some(7),
        cpu_throttled: Some(0.25),
        cpu_limit: Some(1.5),
        memory_usage: Some(16_957_440),
        memory_inactive_file: Some(13_688_832),
        memory_rss: Some(2_682_880),
        memory_cache: Some(13_700_000),
        memory_swap: Some(4096),
        memory_max_usage: Some(20_000_000),
        memory_failures: Some(12),
        memory_limit: Some(67_108_864),
        oom_kills: Some(1),
        pids: Some(5),
        pids_limit: Some(512),
        read_bytes: Some(1010),
        written_bytes: Some(2020),
        reads: Some(33),
        writes: Some(44),
    }
}

#[test]
fn every_figure_of_version_2_is_read() {
    let tree = tree_of_two("sys/fs/cgroup/system.slice/shop.service");
    let mut group = tree.groups().of_path("/system.slice/shop.service").unwrap();
    for _ in 0..2 {
        assert_eq!(read(&mut group), figures_of_two());
    }
    assert_eq!(figures_of_two().working_set(), Some(3_268_608));
    tree.put("sys/fs/cgroup/system.slice/shop.service/memory.max", "max\n");
    tree.put("sys/fs/cgroup/system.slice/shop.service/pids.max", "max\n");
    tree.put("sys/fs/cgroup/system.slice/shop.service/cpu.max", "max 100000\n");
    let unlimited = Figures { memory_limit: None, pids_limit: None, cpu_limit: None, ..figures_of_two() };
    assert_eq!(read(&mut group), unlimited);
}

#[test]
fn a_working_set_is_never_below_nothing() {
    let of = |usage, inactive| {
        Figures { memory_usage: usage, memory_inactive_file: inactive, ..Figures::default() }.working_set()
    };
    assert_eq!(of(Some(5), Some(7)), Some(0));
    assert_eq!((of(None, Some(7)), of(Some(5), None)), (None, None), "half a figure is none");
}

#[test]
fn files_that_are_missing_leave_their_figures_empty() {
    for (missing, wanted) in [
        ("io.stat", Figures { read_bytes: None, written_bytes: None, reads: None, writes: None, ..figures_of_two() }),
        ("memory.swap.current", Figures { memory_swap: None, ..figures_of_two() }),
        ("memory.peak", Figures { memory_max_usage: None, ..figures_of_two() }),
        ("memory.events", Figures { memory_failures: None, oom_kills: None, ..figures_of_two() }),
    ] {
        let tree = tree_of_two("sys/fs/cgroup/x");
        std::fs::remove_file(tree.0.path().join("sys/fs/cgroup/x").join(missing)).unwrap();
        assert_eq!(read(&mut tree.groups().of_path("/x").unwrap()), wanted, "{missing}");
    }
    let bare = Tree::new(TWO, &[("sys/fs/cgroup/x/cgroup.procs", "")]);
    assert_eq!(read(&mut bare.groups().of_path("/x").unwrap()), Figures::default());
}

/// Version 1 with its controllers apart, as this kind of host has them.
fn tree_of_one(more: &str) -> Tree {
    let mounts: String = ["cpu", "cpuacct", "memory", "blkio", "pids", "name=systemd"]
        .iter()
        .map(|c| format!("1 2 0:3 / /sys/fs/cgroup/{} rw - cgroup cgroup rw,{c}\n", c.trim_start_matches("name=")))
        .collect();
    let at = |controller: &str, file: &str| format!("sys/fs/cgroup/{controller}/docker/{ID}/{file}");
    let files = [
        (at("cpu", "cgroup.procs"), ""),
        (at("cpu", "cpu.stat"), "nr_periods 40\nnr_throttled 7\nthrottled_time 250000000\n"),
        (at("cpu", "cpu.cfs_quota_us"), "50000\n"),
        (at("cpu", "cpu.cfs_period_us"), "100000\n"),
        (at("cpuacct", "cpuacct.usage"), "2500000000\n"),
        (at("cpuacct", "cpuacct.stat"), "user 150\nsystem 100\n"),
        (at("memory", "memory.usage_in_bytes"), "16957440\n"),
        (
            at("memory", "memory.stat"),
            "cache 1\nrss 2\ninactive_file 3\nhierarchical_memory_limit 67108864\nhierarchical_memsw_limit 134217728\ntotal_cache 13700000\ntotal_rss 2682880\ntotal_swap 4096\ntotal_inactive_file 13688832\n",
        ),
        (at("memory", "memory.max_usage_in_bytes"), "20000000\n"),
        (at("memory", "memory.failcnt"), "12\n"),
        (at("memory", "memory.oom_control"), "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"),
        (at("blkio", "blkio.throttle.io_service_bytes"), "8:0 Read 1010\n8:0 Write 2020\n8:0 Total 3030\nTotal 3030\n"),
        (at("blkio", "blkio.throttle.io_serviced"), "8:0 Read 33\n8:0 Write 44\n8:0 Total 77\nTotal 77\n"),
        (at("pids", "pids.current"), "5\n"),
        (at("pids", "pids.max"), "512\n"),
        (
            "proc/12/cgroup".into(),
            "6:pids:/docker/ID\n5:blkio:/docker/ID\n4:memory:/docker/ID\n3:cpuacct:/docker/ID\n2:cpu:/docker/ID\n1:name=systemd:/\n0::/\n",
        ),
    ];
    let tree = Tree::new(&format!("{mounts}{more}"), &[]);
    for (path, text) in files {
        tree.put(&path, &text.replace("ID", ID));
    }
    tree
}

#[test]
fn every_figure_of_version_1_is_read() {
    let tree = tree_of_one("");
    let mut group = tree.groups().of_pid(12, Some(ID)).unwrap();
    let wanted = Figures { cpu_limit: Some(0.5), ..figures_of_two() };
    for _ in 0..2 {
        assert_eq!(read(&mut group), wanted);
    }
    let memory = format!("sys/fs/cgroup/memory/docker/{ID}/memory.stat");
    tree.put(&memory, "hierarchical_memory_limit 9223372036854771712\n");
    assert_eq!(read(&mut group).memory_limit, None, "the largest number of pages is no limit");
}

#[test]
fn beside_version_1_version_2_says_what_is_left() {
    let two = "1 2 0:3 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    let tree = tree_of_one(two);
    let unit = "sys/fs/cgroup/unified/system.slice/shop.service";
    tree.put(&format!("{unit}/cgroup.procs"), "12\n");
    tree.put(&format!("{unit}/cpu.stat"), "usage_usec 2500000\nuser_usec 1500000\nsystem_usec 1000000\n");
    tree.put("sys/fs/cgroup/memory/system.slice/shop.service/memory.usage_in_bytes", "7\n");
    let mut group = tree.groups().of_path("/system.slice/shop.service").unwrap();
    let wanted = Figures {
        cpu_usage: Some(2.5),
        cpu_user: Some(1.5),
        cpu_system: Some(1.0),
        memory_usage: Some(7),
        ..Figures::default()
    };
    assert_eq!(read(&mut group), wanted);
    // Where version 1 has the controller, version 2 is not asked.
    tree.put("sys/fs/cgroup/cpuacct/system.slice/shop.service/cpuacct.usage", "9000000000\n");
    let mut group = tree.groups().of_path("/system.slice/shop.service").unwrap();
    let wanted = Figures { cpu_usage: Some(9.0), memory_usage: Some(7), ..Figures::default() };
    assert_eq!(read(&mut group), wanted);
}

#[test]
fn a_process_that_is_another_one_is_told_from_one_that_is_gone() {
    let tree = tree_of_two(&format!("sys/fs/cgroup/system.slice/docker-{ID}.scope"));
    let whole = format!("0::/system.slice/docker-{ID}.scope\n");
    let inner = format!("0::/system.slice/docker-{ID}.scope/init.scope\n");
    let long = format!("0::/{}\n", "a/".repeat(40_000));
    for (cgroup, wanted) in [
        (whole.as_str(), Ok(())),
        (inner.as_str(), Ok(())),
        ("0::/system.slice/sshd.service\n", Err("is not of 0123")),
        ("0::/\n", Err("is not of 0123")),
        ("0::/../0123456789\n", Err("is not of 0123")),
        ("", Err("is not of 0123")),
        ("\0\0\0:::\n::\n", Err("is not of 0123")),
        (long.as_str(), Err("is not of 0123")),
    ] {
        tree.put("proc/12/cgroup", cgroup);
        match (tree.groups().of_pid(12, Some(ID)), wanted) {
            (Ok(mut group), Ok(())) => assert_eq!(read(&mut group), figures_of_two(), "{cgroup}"),
            (Err(error), Err(wanted)) => {
                assert!(matches!(error, GroupError::Another { pid: 12, .. }), "{error:?}");
                let text = error.to_string();
                assert!(text.contains(wanted) && text.len() < 1000, "{text}");
            }
            (found, _) => panic!("{cgroup}: {found:?}"),
        }
    }
    assert_eq!(tree.groups().of_pid(13, Some(ID)).unwrap_err(), GroupError::NoProcess { pid: 13 });
    tree.put("proc/12/cgroup", &format!("0::/../docker-{ID}.scope\n"));
    let hidden = tree.groups().of_pid(12, Some(ID)).unwrap_err();
    assert!(matches!(hidden, GroupError::Hidden { .. }), "{hidden:?}");
    tree.put("proc/12/cgroup", &"x".repeat(MAX_CGROUP + 1));
    assert!(matches!(tree.groups().of_pid(12, None).unwrap_err(), GroupError::Io(_)));
}

#[test]
fn paths_that_lead_elsewhere_open_nothing() {
    let tree = tree_of_two("sys/fs/cgroup/x");
    tree.put("sys/fs/outside/memory.current", "5\n");
    std::os::unix::fs::symlink("../outside", tree.0.path().join("sys/fs/cgroup/link")).unwrap();
    for path in ["/../outside", "/x/../../outside", "x", "", "/none", "/x (deleted)", "/link", "/x/memory.current"] {
        assert!(tree.groups().of_path(path).is_err(), "{path}");
    }
    assert!(tree.groups().of_path("/x").is_ok());
}

#[test]
fn a_host_without_control_groups_says_so() {
    let tree = Tree::new("1 2 0:3 / / rw - ext4 /dev/sda rw\n", &[]);
    assert!(matches!(Groups::at(tree.0.path()).unwrap_err(), GroupError::NotMounted { .. }));
    assert!(matches!(Groups::at(Path::new("/none")).unwrap_err(), GroupError::Io(_)));
}

#[test]
fn without_descriptors_left_files_are_opened_for_each_look() {
    let tree = tree_of_two("sys/fs/cgroup/x");
    for most in [0, 3, 11] {
        let budget = Arc::new(Budget::new(most));
        let groups = Groups { budget: budget.clone(), ..tree.groups() };
        let mut group = groups.of_path("/x").unwrap();
        assert_eq!(read(&mut group), figures_of_two(), "{most}");
        assert_eq!(budget.n_kept(), most);
        drop(group);
        assert_eq!(budget.n_kept(), 0);
    }
}

#[test]
fn a_group_that_vanished_is_gone_even_between_two_files() {
    let tree = tree_of_two("sys/fs/cgroup/x");
    // None is kept, so that the recorded files can vanish as those of the kernel do.
    let groups = Groups { budget: Arc::new(Budget::new(0)), ..tree.groups() };
    let folder = tree.0.path().join("sys/fs/cgroup/x");
    let mut group = groups.of_path("/x").unwrap();
    std::fs::remove_file(folder.join("io.stat")).unwrap();
    assert_eq!(read(&mut group).read_bytes, None, "one file that vanished is not the group");
    std::fs::remove_file(folder.join("cgroup.procs")).unwrap();
    let mut figures = Figures::default();
    assert_eq!(group.read(&mut figures), Err(Gone));
    assert_eq!(figures, Figures::default(), "what was read before the end is not shown");
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(group.read(&mut figures), Err(Gone));
    let bare = Tree::new(TWO, &[("sys/fs/cgroup/x/cgroup.procs", "")]);
    let mut group = bare.groups().of_path("/x").unwrap();
    std::fs::remove_dir_all(bare.0.path().join("sys/fs/cgroup/x")).unwrap();
    assert_eq!(group.read(&mut figures), Err(Gone), "also where no file was worth reading");
}

#[test]
fn a_file_without_end_is_as_one_that_is_missing() {
    let tree = tree_of_two("sys/fs/cgroup/x");
    let long = "8:0 rbytes=1 wbytes=1 rios=1 wios=1\n".repeat(10_000);
    tree.put("sys/fs/cgroup/x/io.stat", &long);
    let mut group = tree.groups().of_path("/x").unwrap();
    assert_eq!(read(&mut group).read_bytes, None);
    let fits = "8:0 rbytes=1 wbytes=1 rios=1 wios=1\n".repeat(3000);
    tree.put("sys/fs/cgroup/x/io.stat", &fits);
    assert_eq!(read(&mut group).read_bytes, Some(3000));
    assert_eq!(read(&mut group).memory_usage, Some(16_957_440), "what follows is read");
}

#[test]
fn the_groups_of_this_machine_are_those_that_its_files_say() {
    let groups = Groups::of_host().unwrap();
    let mut group = groups.of_pid(std::process::id(), None).unwrap();
    let figures = read(&mut group);
    assert!(figures.cpu_usage.is_some_and(|seconds| seconds > 0.0), "{figures:?}");
    let other = "f".repeat(64);
    let error = groups.of_pid(std::process::id(), Some(&other)).unwrap_err();
    assert!(matches!(error, GroupError::Another { .. }), "{error:?}");
    let mut network = groups.network(std::process::id(), None).unwrap();
    let mut interfaces = Vec::new();
    network.read(&mut interfaces).unwrap();
    let text = std::fs::read_to_string("/proc/self/net/dev").unwrap();
    let names: Vec<String> = text.lines().skip(2).filter_map(|l| Some(l.rsplit_once(':')?.0.trim().into())).collect();
    let names: Vec<String> = names.into_iter().filter(|name| name != "lo").take(network::MAX_INTERFACES).collect();
    assert_eq!(interfaces.into_iter().map(|i| i.name).collect::<Vec<_>>(), names);
    assert!(groups.network(std::process::id(), Some(&other)).is_err());
}
