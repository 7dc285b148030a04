use std::path::PathBuf;

use super::super::findings::{Container, Containers, Known, Owner, Port, Ports, Unit, Units};
use super::*;
use crate::base::Failure;

fn container(name: &str, service: Option<(&str, &str)>, is_running: bool) -> Container {
    let service = service.map(|(project, service)| (project.to_string(), service.to_string()));
    Container { id: "3f2a91c07d21".into(), name: name.into(), service, is_running, ports: Vec::new() }
}

fn unit(name: &str, state: &str, is_own: bool, link: Option<&str>) -> Unit {
    let is_running = state == "running";
    Unit { name: name.into(), is_running, state: state.into(), is_own, link: link.map(PathBuf::from) }
}

fn port(address: &str, owner: Owner, says: Says) -> Port {
    Port { address: address.parse().unwrap(), owner, says }
}

fn of_container(container: &Container) -> Owner {
    Owner { container: Some(container.clone()), ..Owner::default() }
}

fn of_unit(unit: &str, program: &str) -> Owner {
    Owner { unit: Some(unit.into()), program: Some(program.into()), container: None }
}

fn of_program(program: &str) -> Owner {
    Owner { program: Some(program.into()), ..Owner::default() }
}

fn health(path: &'static str, status: Option<&str>, has_version: bool) -> Option<Health> {
    Some(Health { path, status: status.map(String::from), has_version })
}

const POSTGRES: Known = Known { title: "PostgreSQL", name: "postgres", is_base: false };
const SSH: Known = Known { title: "SSH", name: "ssh", is_base: true };
const HTTPS: Known = Known { title: "HTTPS", name: "https", is_base: false };

fn nothing() -> Findings {
    Findings {
        host: "web-1.example.org".into(),
        user: "anna".into(),
        units: Err(Failure::new("missing", "systemd does not run this host")),
        containers: Err(Failure::new("permission", "anna may not open unix:///var/run/docker.sock: usermod …")),
        ports: Err(Failure::new("error", "/proc/net/tcp: no such file")),
    }
}

/// A host with one project, a reverse proxy and a database.
fn compose() -> Findings {
    let web = container("shop_web_1", Some(("shop", "web")), true);
    let api = container("shop_api_1", Some(("shop", "api")), true);
    let list = vec![
        api.clone(),
        container("shop_db_1", Some(("shop", "db")), true),
        container("shop_migrate_1", Some(("shop", "migrate")), false),
        web.clone(),
    ];
    let metrics = Some(Metrics { n_samples: 41, requests: Some(("http_requests_total", "code")) });
    let pages = |health, metrics, root| Says::Http(Pages { health, metrics, root });
    let ports = vec![
        port("127.0.0.1:22", of_program("sshd"), Says::Known(SSH)),
        port("127.0.0.1:80", of_unit("nginx.service", "nginx"), pages(None, None, Some(301))),
        port("127.0.0.1:443", of_unit("nginx.service", "nginx"), Says::Known(HTTPS)),
        port("127.0.0.1:5432", of_unit("postgresql@15-main.service", "postgres"), Says::Known(POSTGRES)),
        port("127.0.0.1:8000", of_container(&api), pages(health("/health", Some("ok"), true), metrics, None)),
        port("127.0.0.1:8080", of_container(&web), pages(None, None, Some(200))),
        port("127.0.0.1:40001", of_program("weird"), Says::Greets),
    ];
    Findings {
        user: "root".into(),
        units: Ok(Units {
            list: vec![
                unit("nginx.service", "running", false, None),
                unit("postgresql.service", "exited", false, None),
                unit("postgresql@15-main.service", "running", false, None),
            ],
            n_loaded: 61,
        }),
        containers: Ok(Containers { engine: "unix:///var/run/docker.sock".into(), list, n_passed_over: 0 }),
        ports: Ok(Ports { list: ports, n_elsewhere: 1, ..Ports::default() }),
        ..nothing()
    }
}

/// A host with services of its own and no container engine, looked at without root.
fn services() -> Findings {
    let api = port(
        "127.0.0.1:8000",
        of_unit("shop-api.service", "python3"),
        Says::Http(Pages { health: health("/healthz", None, false), metrics: None, root: None }),
    );
    let exporter = Says::Http(Pages { metrics: Some(Metrics { n_samples: 1, requests: None }), ..Pages::default() });
    let ports = vec![
        port("127.0.0.1:5432", Owner::default(), Says::Known(POSTGRES)),
        api,
        port("[::1]:8001", of_unit("shop-api.service", "python3"), Says::Other(Failure::new("protocol", "no HTTP"))),
        port("127.0.0.1:9100", Owner::default(), exporter),
        port("127.0.0.1:9200", Owner::default(), Says::Http(Pages::default())),
    ];
    Findings {
        units: Ok(Units {
            list: vec![
                unit("shop-api.service", "running", true, Some("/opt/shop/current")),
                unit("shop-import.service", "failed", true, None),
            ],
            n_loaded: 40,
        }),
        containers: Err(Failure::new(
            "missing",
            "unix:///var/run/docker.sock is not there: start the container engine",
        )),
        ports: Ok(Ports { list: ports, n_unowned: 3, ..Ports::default() }),
        ..nothing()
    }
}

/// Two projects that both have a `web`, and a container of its own.
fn projects() -> Findings {
    let a = container("a-web-1", Some(("a", "Web")), true);
    let b = container("b-web-1", Some(("b", "Web")), true);
    let redis = container("redis", None, true);
    let page = || Says::Http(Pages { root: Some(200), ..Pages::default() });
    let known = Known { title: "Redis", name: "redis", is_base: false };
    let ports = vec![
        port("127.0.0.1:6379", of_container(&redis), Says::Known(known)),
        port("127.0.0.1:8001", of_container(&a), page()),
        port("127.0.0.1:8002", of_container(&b), page()),
        port("127.0.0.1:8003", of_container(&b), page()),
    ];
    let list = vec![redis, container("old", None, false), a, b, container("gone-x-1", Some(("gone", "x")), false)];
    Findings {
        units: Ok(Units::default()),
        containers: Ok(Containers { engine: "unix:///run/podman/podman.sock".into(), list, n_passed_over: 2 }),
        ports: Ok(Ports { list: ports, n_passed_over: 3, ..Ports::default() }),
        ..nothing()
    }
}

#[test]
fn findings_become_a_commented_configuration() {
    for (name, findings) in
        [("nothing", nothing()), ("compose", compose()), ("services", services()), ("projects", projects())]
    {
        let text = write(&findings);
        assert_eq!(text, write(&findings.clone()), "the same findings give the same text");
        assert!(text.lines().count() < 100, "it fits on two screens");
        let heard = said(&findings).join("\n");
        insta::assert_snapshot!(name, format!("{heard}\n---\n{text}"));
    }
}
