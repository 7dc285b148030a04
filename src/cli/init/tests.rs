use std::net::SocketAddr;
use std::path::PathBuf;

use proptest::prelude::*;

use super::findings::{
    Container, Containers, Findings, Health, Known, Metrics, Owner, Pages, Port, Ports, Says, Unit, Units,
};
use super::*;
use crate::base::Failure as Reason;

fn options() -> Options {
    Options {
        path: None,
        sets: Vec::new(),
        state: Some("/var/lib/backstop".into()),
        stderr_is_terminal: false,
        host: "web-1".into(),
        env: |_| None,
    }
}

fn load(text: &str) -> config::Loaded {
    config::load_text(Path::new("backstop.toml"), text, &options())
}

/// Names as people give them, and as nobody should.
fn name() -> impl Strategy<Value = String> {
    let odd = [
        "",
        "-",
        "a b",
        "${state}",
        "$${x}",
        "{{ app }}",
        "\"]\n[web]\nlisten = \"0.0.0.0:1\"",
        "'''",
        "\u{202e}x",
        "\0",
        "a/b",
        "*",
        "東京",
        "a\\x2db",
        "..",
        "[x]",
        "#",
        "x\r\n",
        "-rf",
        "A_b.C-9",
    ];
    prop_oneof![
        4 => "[a-z][a-z0-9_.-]{0,12}",
        2 => prop::sample::select(odd.map(String::from).to_vec()),
        1 => ".{0,40}",
        1 => "[a-z]{200,300}",
    ]
}

fn container() -> impl Strategy<Value = Container> {
    (name(), prop::option::of((name(), name())), any::<bool>()).prop_map(|(name, service, is_running)| Container {
        name,
        service,
        is_running,
        ..Container::default()
    })
}

fn unit() -> impl Strategy<Value = Unit> {
    let full = (name(), prop::bool::weighted(0.9)).prop_map(|(name, is_whole)| match is_whole {
        true => format!("{name}.service"),
        false => name,
    });
    (full, any::<bool>(), name(), any::<bool>(), prop::option::of(name())).prop_map(
        |(name, is_running, state, is_own, link)| Unit {
            name,
            is_running,
            state,
            is_own,
            link: link.map(|link| PathBuf::from(format!("/opt/{link}"))),
        },
    )
}

fn says() -> impl Strategy<Value = Says> {
    const KNOWN: [Known; 3] = [
        Known { title: "PostgreSQL", name: "postgres", is_base: false },
        Known { title: "HTTPS", name: "https", is_base: false },
        Known { title: "SSH", name: "ssh", is_base: true },
    ];
    let health = (prop::option::of(name()), any::<bool>()).prop_map(|(status, has_version)| Health {
        path: "/health",
        status,
        has_version,
    });
    let metrics = (1..100_000usize, any::<bool>()).prop_map(|(n_samples, counts)| Metrics {
        n_samples,
        requests: counts.then_some(("http_requests_total", "code")),
    });
    let root = prop::option::of(200..400u16);
    prop_oneof![
        4 => (prop::option::of(health), prop::option::of(metrics), root)
            .prop_map(|(health, metrics, root)| Says::Http(Pages { health, metrics, root })),
        2 => prop::sample::select(KNOWN.to_vec()).prop_map(Says::Known),
        1 => Just(Says::Greets),
        1 => Just(Says::Closed),
        1 => name().prop_map(|detail| Says::Other(Reason::new("protocol", detail))),
    ]
}

prop_compose! {
    fn findings()(
        host in name(),
        user in name(),
        containers in prop::collection::vec(container(), 0..30),
        units in prop::collection::vec(unit(), 0..50),
        seen in prop::collection::vec((1..u16::MAX, any::<bool>(), says(), 0..4u8, any::<prop::sample::Index>(), name()), 0..40),
        n_more in 0..3usize,
    ) -> Findings {
        let port = |(number, is_v6, says, kind, which, program): (u16, bool, Says, u8, prop::sample::Index, String)| {
            let ip = if is_v6 { "[::1]" } else { "127.0.0.1" };
            let address: SocketAddr = format!("{ip}:{number}").parse().unwrap();
            let mut owner = Owner { program: (kind != 0).then_some(program), ..Owner::default() };
            if kind == 2 && !containers.is_empty() {
                owner.container = Some(which.get(&containers).clone());
            }
            if kind == 3 && !units.is_empty() {
                owner.unit = Some(which.get(&units).name.clone());
            }
            Port { address, owner, says }
        };
        let list = seen.into_iter().map(port).collect();
        Findings {
            host,
            user,
            ports: Ok(Ports { list, n_passed_over: n_more, n_elsewhere: n_more, n_unowned: n_more }),
            containers: Ok(Containers { engine: "unix:///x".into(), list: containers, n_passed_over: n_more }),
            units: Ok(Units { list: units, n_loaded: 99 }),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_found_what_is_written_loads(findings in findings()) {
        let text = write::write(&findings);
        let loaded = load(&text);
        prop_assert!(loaded.config.is_some(), "{}\n{text}", loaded.render(false));
        let config = loaded.config.unwrap();
        prop_assert_eq!(config.web.listen.to_string(), "127.0.0.1:9477", "no name of others becomes a key:\n{}", text);
        prop_assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
        for line in write::said(&findings) {
            prop_assert!(!line.chars().any(char::is_control), "{:?}", line);
        }
    }
}

/// The commented lines from `begin` on to the next empty line, without their marks.
fn uncommented(text: &str, begin: &str) -> String {
    let lines = text.lines().skip_while(|line| *line != begin).take_while(|line| line.starts_with('#'));
    lines.map(|line| line.trim_start_matches('#').trim_start().to_string() + "\n").collect()
}

#[test]
fn what_stands_there_as_an_example_loads_when_it_is_taken_in() {
    let container = |service: &str| Container {
        name: format!("shop_{service}_1"),
        service: Some(("shop".into(), service.into())),
        is_running: true,
        ..Container::default()
    };
    let health = Some(Health { path: "/health", ..Health::default() });
    let api = Port {
        address: "127.0.0.1:8000".parse().unwrap(),
        owner: Owner { container: Some(container("api")), ..Owner::default() },
        says: Says::Http(Pages { health, ..Pages::default() }),
    };
    let findings = Findings {
        host: "web-1".into(),
        user: "root".into(),
        units: Ok(Units::default()),
        containers: Ok(Containers { list: vec![container("api")], ..Containers::default() }),
        ports: Ok(Ports { list: vec![api], ..Ports::default() }),
    };
    let text = write::write(&findings);
    let examples = uncommented(&text, "# [channel.email.ops]") + &uncommented(&text, "# [rollback]");
    for heading in ["[channel.email.ops]", "[rollback]", "[[rollback.step]]", "probes = [\"http.api\"]"] {
        assert!(examples.contains(heading), "{heading} is missing in:\n{text}");
    }
    // A program that is not there would be said, and rightly.
    let examples = examples.replace("/usr/local/bin/deploy-shop", "/bin/true");
    let loaded = load(&format!("{text}\n{examples}"));
    let Some(config) = &loaded.config else { panic!("{}\n{text}\n{examples}", loaded.render(false)) };
    assert_eq!((config.channels.len(), config.rollback.steps.len()), (1, 1));
    assert_eq!(config.rollback.verify.probes.len(), 1);
}

#[test]
fn a_file_stands_where_nothing_is_and_nobody_else_may_write() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::os::unix::fs::symlink("nowhere", at("link")).unwrap();
    std::fs::create_dir(at("open")).unwrap();
    let everybody = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o777);
    std::fs::set_permissions(at("open"), everybody).unwrap();
    assert!(can_stand(&at("backstop.toml")).is_ok());
    for (path, exit, said) in [
        (at("link"), Exit::Bad, "link is there already"),
        (at("open"), Exit::Bad, "open is there already"),
        (at("none/backstop.toml"), Exit::Usage, "there is no folder"),
        (at("open/backstop.toml"), Exit::Usage, "others could exchange"),
        ("/".into(), Exit::Bad, "is there already"),
        ("".into(), Exit::Usage, ""),
    ] {
        let failure = can_stand(&path).expect_err(&path.display().to_string());
        assert_eq!(failure.exit, exit, "{}", failure.text);
        assert!(failure.text.contains(said), "{}", failure.text);
    }
}

#[test]
fn what_cannot_be_loaded_is_a_bug_and_said_to_be_one() {
    let failure = checked("[wrong]\n", Path::new("backstop.toml"), &options()).unwrap_err();
    assert_eq!(failure.exit, Exit::Unknown);
    assert!(failure.text.contains("unknown table `wrong`"), "{}", failure.text);
    assert!(checked("[host]\n", Path::new("backstop.toml"), &options()).unwrap().starts_with("backstop.toml: good."));
}
