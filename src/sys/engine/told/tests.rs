use super::*;
use crate::sys::cgroup::{Figures, Interface};

const ID: &str = "3f2a91c07d213f2a91c07d213f2a91c07d213f2a91c07d213f2a91c07d213f2a";

#[test]
fn a_list_names_containers_by_compose_or_by_name() {
    let json = format!(
        r#"{{"Id":"{ID}","Names":["/web/db","/shop_api_1"],"State":"running","Created":1700000000,"Labels":{{
        "com.docker.compose.project":"shop","com.docker.compose.service":"api","x":"y"}}}}"#
    );
    let container = listed(json.as_bytes()).unwrap();
    assert_eq!(container.id.short(), "3f2a91c07d21");
    assert_eq!(container.name, "shop_api_1");
    assert_eq!(container.service, Some(("shop".into(), "api".into())));
    assert!(container.is_running);
    let plain = format!(r#"{{"Id":"{ID}","Names":null,"Labels":null,"State":"exited"}}"#);
    let container = listed(plain.as_bytes()).unwrap();
    assert_eq!((container.name.as_str(), container.service, container.is_running), ("", None, false));
}

#[test]
fn hostile_names_are_cut_and_hostile_ids_refused() {
    let long = "\\u001b[31m".to_string() + &"ü".repeat(5000);
    let container = listed(format!(r#"{{"Id":"{ID}","Names":["/{long}"]}}"#).as_bytes()).unwrap();
    assert!(container.name.starts_with("?[31mü") && container.name.len() <= MAX_NAME, "{}", container.name);
    for id in ["", "abc", "../../../images/json", &format!("{ID}0"), "3F2A91C07D21", "3f2a91c07d2\u{e9}"] {
        assert_eq!(listed(format!(r#"{{"Id":"{id}"}}"#).as_bytes()), Err(Odd), "{id}");
        assert!(Id::try_from(id.to_string()).is_err());
    }
}

#[test]
fn events_of_containers_are_told_apart() {
    let json = |kind: &str, action: &str| {
        format!(
            r#"{{"Type":"{kind}","Action":"{action}","Actor":{{"ID":"{ID}","Attributes":{{"name":"x","exitCode":"137",
            "com.docker.compose.project":"shop","com.docker.compose.service":"api","image":"i"}}}},"time":1}}"#
        )
    };
    for (action, wanted) in [
        ("create", Some((Happened::Created, State::Created, None, None))),
        ("start", Some((Happened::Started, State::Running, None, None))),
        ("die", Some((Happened::Died, State::Exited, Some(137), None))),
        ("died", Some((Happened::Died, State::Exited, Some(137), None))),
        ("oom", Some((Happened::Oom, State::Unknown, None, None))),
        ("health_status: unhealthy", Some((Happened::Health, State::Running, None, Some(Health::Unhealthy)))),
        ("health_status: healthy", Some((Happened::Health, State::Running, None, Some(Health::Healthy)))),
        ("health_status: hunter2", Some((Happened::Health, State::Running, None, None))),
        ("pause", Some((Happened::Paused, State::Paused, None, None))),
        ("unpause", Some((Happened::Unpaused, State::Running, None, None))),
        ("restart", Some((Happened::Restarted, State::Running, None, None))),
        ("destroy", Some((Happened::Destroyed, State::Removing, None, None))),
        ("remove", Some((Happened::Destroyed, State::Removing, None, None))),
        ("rename", Some((Happened::Renamed, State::Unknown, None, None))),
        ("exec_start: mysql -phunter2", None),
        ("start: mysql -phunter2", None),
        ("exec_die", None),
        ("kill", None),
    ] {
        let got = event(json("container", action).as_bytes()).unwrap();
        let seen = got.as_ref().map(|e| (e.happened, e.container.state, e.exit_code, e.health));
        assert_eq!(seen, wanted, "{action}");
        if let Some(event) = got {
            assert_eq!(event.container.service, Some(("shop".into(), "api".into())));
            assert_eq!((event.container.name.as_str(), event.container.image.as_str()), ("x", "i"));
            assert_eq!(event.at, 1_000_000_000);
        }
    }
    let podman = json("container", "health_status").replace("\"time\"", "\"HealthStatus\":\"healthy\",\"time\"");
    assert_eq!(event(podman.as_bytes()).unwrap().unwrap().health, Some(Health::Healthy));
    assert_eq!(event(json("network", "destroy").as_bytes()), Ok(None));
    assert_eq!(event(b"{}"), Ok(None));
    assert_eq!(event(br#"{"Type":"container","Action":"start"}"#), Err(Odd));
}

#[test]
fn labels_of_every_compose_are_read() {
    for (labels, service, number, is_one_off) in [
        (r#""com.docker.compose.project":"a","com.docker.compose.service":"b""#, Some(("a", "b")), None, false),
        (
            r#""com.docker.compose.project":"a","com.docker.compose.service":"b",
            "com.docker.compose.container-number":"3","com.docker.compose.oneoff":"True""#,
            Some(("a", "b")),
            Some(3),
            true,
        ),
        (r#""com.docker.compose.container-number":"-1","com.docker.compose.oneoff":"False""#, None, None, false),
        (r#""com.docker.compose.container-number":"","com.docker.compose.oneoff":"true""#, None, None, true),
        (r#""io.podman.compose.project":"a","io.podman.compose.service":"b""#, Some(("a", "b")), None, false),
        (
            r#""io.podman.compose.project":"x","com.docker.compose.project":"a","com.docker.compose.service":"b""#,
            Some(("a", "b")),
            None,
            false,
        ),
        (r#""com.docker.compose.project":"a""#, None, None, false),
    ] {
        let container = listed(format!(r#"{{"Id":"{ID}","Labels":{{{labels}}}}}"#).as_bytes()).unwrap();
        let service = service.map(|(project, service)| (project.to_string(), service.to_string()));
        assert_eq!((container.service, container.number, container.is_one_off), (service, number, is_one_off));
    }
}

#[test]
fn ports_are_those_that_the_host_has_taken_over() {
    let ports = r#"[{"IP":"0.0.0.0","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},
        {"IP":"::1","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},{"PrivatePort":81,"PublicPort":8081,"Type":"tcp"},
        {"PrivatePort":9090,"Type":"tcp"},{"IP":"0.0.0.0","PrivatePort":53,"PublicPort":53,"Type":"udp"},
        {"IP":"x","PrivatePort":1,"PublicPort":1,"Type":"tcp"}]"#;
    let container = listed(format!(r#"{{"Id":"{ID}","Ports":{ports}}}"#).as_bytes()).unwrap();
    let shown: Vec<String> = container.ports.iter().map(|port| format!("{} {}", port.at, port.inner)).collect();
    assert_eq!(shown, ["0.0.0.0:8080 80", "[::1]:8080 80", "0.0.0.0:8081 81"]);
}

#[test]
fn states_and_healths_are_those_of_docker_and_what_podman_says_of_them() {
    for state in State::ALL {
        assert_eq!(State::parse(state.as_str()), state);
    }
    for (word, state) in [("configured", State::Created), ("stopped", State::Exited), ("stopping", State::Running)] {
        assert_eq!(State::parse(word), state);
    }
    assert_eq!([Health::parse("none"), Health::parse("starting")], [None, Some(Health::Starting)]);
}

/// What an engine of version 20.10 answered; what holds `hunter2` must not be kept.
macro_rules! recorded {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/engine/", $name)).as_slice()
    };
}

#[test]
fn a_recorded_inspection_tells_all_that_is_kept_of_it() {
    let healthy = inspected(recorded!("inspect-healthy.json")).unwrap();
    let wanted = Inspected {
        name: "shop_api_1".into(),
        service: Some(("shop".into(), "api".into())),
        state: State::Running,
        health: Some(Health::Healthy),
        failing_streak: 0,
        pid: Some(16099),
        exit_code: 0,
        is_oom_killed: false,
        error: String::new(),
        restarts: 0,
        policy: Policy::OnFailure,
        started: Some(Timestamp(1_795_294_739_122)),
        finished_at: Some(Timestamp(1_795_294_738_709)),
        image: "shop/api:2.4.1".into(),
        image_id: "sha256:c1f2930e649e81df7504a96b4e6c5cb703b54ceb3d2fe057358bc3ea19308be7".into(),
        version: Some("2.4.1".into()),
        revision: Some("3f2a91c".into()),
        limits: Limits { memory: Some(64 << 20), cpus: Some(1.5), pids: Some(100) },
        has_host_network: false,
        volumes: vec!["shop_data".into()],
        has_terminal: false,
        is_running: true,
        finished: "2026-11-21T20:58:58.709284899Z".into(),
        driver: "json-file".into(),
    };
    assert_eq!(healthy, wanted);
    let oom = inspected(recorded!("inspect-oom.json")).unwrap();
    assert_eq!((oom.state, oom.exit_code, oom.is_oom_killed, oom.pid), (State::Exited, 137, true, None));
    assert_eq!(
        (oom.policy, oom.limits.memory, oom.limits.pids, oom.limits.cpus),
        (Policy::No, Some(8 << 20), None, None)
    );
}

#[test]
fn a_recorded_list_and_its_events_tell_all_that_is_kept_of_them() {
    let (mut objects, mut names) = (super::super::objects::Objects::default(), Vec::new());
    let fed = objects.feed(recorded!("list.json"), |object| {
        let super::super::objects::Object::Whole(json) = object else { panic!("a container is short") };
        let container = listed(json).unwrap();
        assert_eq!(container.image, "shop/api:2.4.1");
        names.push((container.name, container.state, container.is_one_off, container.number));
    });
    fed.unwrap();
    let wanted = [
        ("greedy", State::Exited, false, None),
        ("shop_api_run_1", State::Exited, true, None),
        ("shop_api_1", State::Running, false, Some(1)),
    ];
    assert_eq!(names, wanted.map(|(name, state, is_one_off, number)| (name.to_string(), state, is_one_off, number)));
    let events = recorded!("events.json").split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let events: Vec<Event> = events.filter_map(|line| event(line).unwrap()).collect();
    let happened: Vec<Happened> = events.iter().map(|event| event.happened).collect();
    let wanted = [
        Happened::Created,
        Happened::Started,
        Happened::Health,
        Happened::Health,
        Happened::Paused,
        Happened::Unpaused,
        Happened::Died,
        Happened::Oom,
        Happened::Restarted,
    ];
    assert_eq!(happened, wanted);
    assert_eq!([events[2].health, events[3].health], [Some(Health::Healthy), Some(Health::Unhealthy)]);
    assert_eq!((events[6].exit_code, events[2].at), (Some(0), 1_795_294_729_358_748_828));
    assert!(!format!("{events:?}").contains("hunter2"));
}

#[test]
fn a_recorded_engine_and_its_image_tell_who_they_are() {
    let versions = versions(recorded!("version.json")).unwrap();
    let wanted = Info {
        version: "20.10.24+dfsg1".into(),
        api: "1.41".into(),
        cgroup: Some(1),
        live_restore: false,
        containers: 3,
    };
    assert_eq!(info(recorded!("info.json"), &versions), Ok(wanted));
    let created = Some(Timestamp(1_795_294_728_045));
    assert_eq!(image(recorded!("image.json")), Ok(Image { digests: Vec::new(), created }));
    let pulled = br#"{"Id":"x","RepoDigests":["b@sha256:2","a@sha256:1"],"Created":"0001-01-01T00:00:00Z"}"#;
    let digests = vec!["a@sha256:1".into(), "b@sha256:2".into()];
    assert_eq!(image(pulled), Ok(Image { digests, created: None }));
    assert_eq!(image(b"{}"), Err(Odd));
}

#[test]
fn limits_that_are_none_are_none() {
    for (host, wanted) in [
        (r#"{"Memory":0,"NanoCpus":0,"PidsLimit":-1}"#, Limits::default()),
        (r#"{"Memory":null,"PidsLimit":null,"CpuQuota":-1,"CpuPeriod":100000}"#, Limits::default()),
        (r#"{"CpuQuota":50000,"CpuPeriod":0}"#, Limits { cpus: Some(0.5), ..Limits::default() }),
        (r#"{"CpuQuota":50000,"CpuPeriod":25000}"#, Limits { cpus: Some(2.0), ..Limits::default() }),
        (r#"{"CpuQuota":1,"NanoCpus":250000000}"#, Limits { cpus: Some(0.25), ..Limits::default() }),
        (r#"{"Memory":-9223372036854775808}"#, Limits::default()),
    ] {
        let json = format!(r#"{{"State":{{}},"HostConfig":{host}}}"#);
        assert_eq!(inspected(json.as_bytes()).unwrap().limits, wanted, "{host}");
    }
}

#[test]
fn figures_of_both_versions_of_control_groups_are_read() {
    let line = recorded!("stats-v1.json").split(|b| *b == b'\n').next().unwrap();
    let (figures, interfaces) = stats(line).unwrap();
    let wanted = Figures {
        cpu_usage: Some(0.039908869),
        cpu_user: Some(0.03),
        cpu_system: Some(0.0),
        cpu_periods: Some(7),
        cpu_throttled_periods: Some(0),
        cpu_throttled: Some(0.0),
        memory_usage: Some(471_040),
        memory_inactive_file: Some(0),
        memory_rss: Some(57_344),
        memory_cache: Some(0),
        memory_max_usage: Some(3_555_328),
        memory_failures: Some(0),
        pids: Some(1),
        ..Figures::default()
    };
    assert_eq!(figures, wanted);
    let eth0 = Interface { name: "eth0".into(), received_bytes: 736, received_packets: 8, ..Interface::default() };
    assert_eq!(interfaces, [eth0]);
    let v2 = br#"{"read":"2026-11-21T20:59:00Z","cpu_stats":{"cpu_usage":{"total_usage":2000000000}},
        "memory_stats":{"usage":100,"failcnt":3,"stats":{"anon":10,"file":80,"inactive_file":60}},
        "blkio_stats":{"io_service_bytes_recursive":[{"major":8,"minor":0,"op":"read","value":7},
        {"major":8,"minor":16,"op":"read","value":5},{"major":8,"minor":0,"op":"write","value":1}],
        "io_serviced_recursive":null}}"#;
    let wanted = Figures {
        cpu_usage: Some(2.0),
        memory_usage: Some(100),
        memory_inactive_file: Some(60),
        memory_rss: Some(10),
        memory_cache: Some(80),
        read_bytes: Some(12),
        written_bytes: Some(1),
        ..Figures::default()
    };
    assert_eq!(stats(v2), Ok((wanted, Vec::new())));
    // Of one that ended an engine sends zeros.
    let ended = br#"{"read":"0001-01-01T00:00:00Z","cpu_stats":{"cpu_usage":{"total_usage":0}},"memory_stats":{}}"#;
    assert_eq!(stats(ended), Ok((Figures::default(), Vec::new())));
}

#[test]
fn what_a_container_holds_is_cut_and_what_never_was_is_none() {
    let volume = |name: &str| format!(r#"{{"Type":"volume","Name":"{name}"}}"#);
    let mut mounts: Vec<String> = (0..100).map(|n| volume(&format!("v{n:03}"))).collect();
    mounts.push(volume("v000"));
    mounts.push(volume(ID));
    mounts.push(r#"{"Type":"bind","Name":"a-bind"}"#.into());
    let json = format!(
        r#"{{"State":{{"Running":true,"FinishedAt":"0001-01-01T00:00:00Z","StartedAt":"no time","Pid":-7,
        "Error":" exec: \"{}\u001b\"","Health":{{"Status":"none","FailingStreak":-1}}}},"RestartCount":-3,"Image":"../x",
        "Config":{{"Tty":true,"Env":["A=b"],"Image":"{}"}},"Mounts":[{}]}}"#,
        "x".repeat(5000),
        "i".repeat(5000),
        mounts.join(",")
    );
    let got = inspected(json.as_bytes()).unwrap();
    assert_eq!((got.volumes.len(), got.volumes[0].as_str(), got.volumes[63].as_str()), (64, "v000", "v063"));
    assert_eq!((got.error.len(), got.image.len(), got.image_id.as_str()), (MAX_ERROR, MAX_IMAGE, ""));
    assert_eq!((got.started, got.finished_at, got.pid, got.restarts), (None, None, None, 0));
    assert_eq!((got.health, got.failing_streak, got.state), (None, 0, State::Running));
    assert_eq!((got.has_terminal, got.is_running), (true, true));
    assert_eq!(inspected(b"{\"State\":null}"), Err(Odd));
}

#[test]
fn versions_are_told_by_every_engine() {
    let told = |json: &str| versions(json.as_bytes()).map(|told| (told.api.to_string(), told.min));
    assert_eq!(told(r#"{"ApiVersion":"1.41","MinAPIVersion":"1.12"}"#), Ok(("1.41".into(), Some(Version(1, 12)))));
    assert_eq!(told(r#"{"ApiVersion":"1.41.0"}"#), Ok(("1.41".into(), None)));
    assert_eq!(told(r#"{"ApiVersion":"x"}"#), Err(Odd));
}
