//! The services of systemd, as `systemctl show` describes them.
//!
//! Which of them are worth watching: those whose file somebody wrote into `/etc/systemd/system` or
//! `/usr/local/lib/systemd/system`, and well-known servers from packages ([`SERVERS`]); never what every host has
//! ([`BASE`]), nor backstop itself. What of them does not run is named and not watched.

use std::path::{Path, PathBuf};

use crate::base::{Failure, Span};
use crate::cli::init::findings::{Unit, Units};
use crate::sys::apart::Apart;
use crate::sys::ask::{Asker, NoAnswer, Question};
use crate::sys::process::Exit;

/// How long systemctl, and a look at the links, may take.
const LIMIT: Span = Span::secs(5);

/// The longest list that is read, in bytes.
const MAX_LIST: usize = 4 << 20;

/// Servers that packages bring, by the name before `@` and `.service`.
const SERVERS: [&str; 44] = [
    "apache2",
    "caddy",
    "clickhouse-server",
    "couchdb",
    "elasticsearch",
    "envoy",
    "etcd",
    "gitea",
    "grafana-server",
    "haproxy",
    "httpd",
    "influxdb",
    "jenkins",
    "kafka",
    "lighttpd",
    "mariadb",
    "memcached",
    "minio",
    "mongod",
    "mongodb",
    "mosquitto",
    "mysql",
    "mysqld",
    "nats",
    "nats-server",
    "nginx",
    "opensearch",
    "openresty",
    "pgbouncer",
    "postgresql",
    "prometheus",
    "rabbitmq-server",
    "redis",
    "redis-server",
    "solr",
    "squid",
    "tomcat9",
    "tomcat10",
    "traefik",
    "unbound",
    "valkey",
    "valkey-server",
    "varnish",
    "zookeeper",
];

/// What every host has, by how the name begins.
const BASE: [&str; 17] = [
    "systemd-",
    "getty@",
    "serial-getty@",
    "console-getty",
    "user@",
    "user-runtime-dir@",
    "dbus",
    "cron",
    "ssh",
    "polkit",
    "rsyslog",
    "cloud-",
    "snapd",
    "unattended-upgrades",
    "backstop",
    "NetworkManager",
    "run-",
];

/// What is asked of each service; command lines and environments are not kept.
const PROPERTIES: &str = "--property=Id,LoadState,ActiveState,SubState,FragmentPath,ExecStart,WorkingDirectory";

/// The services of this host; `program` is systemctl.
pub async fn look(program: &Path) -> Result<Units, Failure> {
    let args = ["show", "--no-pager", PROPERTIES, "--", "*.service"].map(String::from).to_vec();
    let question = Question::new(program.into(), args, LIMIT, MAX_LIST);
    let answer = Asker::default().ask(&question, |_, error| error.to_string()).await.map_err(|no| match no {
        NoAnswer::NotStarted(why) | NoAnswer::NoThread(why) => Failure::new("start", format!("systemctl: {why}")),
        NoAnswer::Busy | NoAnswer::Late => Failure::new("timeout", format!("systemctl does not begin within {LIMIT}")),
    })?;
    if answer.exit == Exit::Timeout {
        return Err(Failure::new("timeout", format!("systemctl does not answer within {LIMIT}")));
    }
    if answer.exit != Exit::Code(0) {
        return Err(Failure::new("exit", format!("systemctl: {}", String::from_utf8_lossy(&answer.stderr).trim())));
    }
    if answer.bytes > MAX_LIST as u64 {
        return Err(Failure::new("too-large", format!("systemctl describes services at more than {MAX_LIST} bytes")));
    }
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    // A mount whose server is gone lets nobody look at its links.
    let read = Apart::<()>::default().run("init-links", LIMIT, move |()| parse(&text, is_link)).await;
    read.map_err(|late| Failure::new("timeout", late.to_string()))
}

/// Whether this is a link to a folder: one to a program, as those of a virtual environment, names no release.
fn is_link(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| meta.is_symlink()) && path.is_dir()
}

/// Reads what `systemctl show` prints of several units: `Key=value` lines, an empty line between units.
fn parse(text: &str, is_link: impl Fn(&Path) -> bool) -> Units {
    let mut units = Units::default();
    for block in text.split("\n\n") {
        let value = |key: &str| block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let (Some(name), Some("loaded")) = (value("Id"), value("LoadState")) else { continue };
        units.n_loaded += 1;
        let is_own = is_own(value("FragmentPath").unwrap_or_default());
        if !is_worth(name, is_own) {
            continue;
        }
        let state = value("SubState").unwrap_or_default();
        let program = value("ExecStart").and_then(program);
        let folder = value("WorkingDirectory").map(|path| path.trim_start_matches(['!', '-']));
        let link = program.into_iter().chain(folder).find_map(|path| link(Path::new(path), &is_link));
        units.list.push(Unit {
            name: name.into(),
            is_running: value("ActiveState") == Some("active") && state == "running",
            state: state.into(),
            is_own,
            link: link.filter(|_| is_own),
        });
    }
    units.list.sort_by(|a, b| a.name.cmp(&b.name));
    units.list.dedup_by(|a, b| a.name == b.name);
    units
}

fn is_own(fragment: &str) -> bool {
    ["/etc/systemd/system/", "/usr/local/lib/systemd/system/"].iter().any(|folder| fragment.starts_with(folder))
}

fn is_worth(name: &str, is_own: bool) -> bool {
    let stem = name.strip_suffix(".service").unwrap_or(name);
    // A template by itself never runs.
    if stem.ends_with('@') || BASE.iter().any(|base| stem.starts_with(base)) {
        return false;
    }
    let base = stem.split('@').next().unwrap_or(stem);
    let is_fpm = base.starts_with("php") && base.ends_with("-fpm");
    is_own || is_fpm || SERVERS.contains(&base)
}

/// The program of `{ path=/usr/sbin/nginx ; argv[]=… }`.
fn program(exec: &str) -> Option<&str> {
    exec.strip_prefix("{ path=")?.split(" ; ").next()
}

/// The first link on the way to `path` that people switch: none of those that the system itself has, and no folder at the
/// top, which is where a disk is mounted.
fn link(path: &Path, is_link: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    const SYSTEM: [&str; 8] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/run", "/var/run"];
    let is_system = |path: &Path| SYSTEM.iter().any(|folder| path.starts_with(folder));
    let mut above: Vec<&Path> = path.ancestors().filter(|at| at.components().count() > 2).collect();
    above.reverse();
    above.into_iter().find(|at| at.is_absolute() && !is_system(at) && is_link(at)).map(Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As systemd 252 prints it.
    const SHOWN: &str = "\
ExecStart={ path=/opt/shop/current/bin/worker ; argv[]=/opt/shop/current/bin/worker --key hunter2 ; ignore_errors=no ; start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }
WorkingDirectory=/opt/shop/current
Id=shop-worker.service
LoadState=loaded
ActiveState=active
SubState=running
FragmentPath=/etc/systemd/system/shop-worker.service

Id=nginx.service
LoadState=loaded
ActiveState=active
SubState=running
ExecStart={ path=/usr/sbin/nginx ; argv[]=/usr/sbin/nginx -g daemon on; master_process on; ; ignore_errors=no ; pid=0 }
FragmentPath=/lib/systemd/system/nginx.service

Id=postgresql@15-main.service
LoadState=loaded
ActiveState=active
SubState=running
FragmentPath=/lib/systemd/system/postgresql@.service

Id=postgresql.service
LoadState=loaded
ActiveState=active
SubState=exited
FragmentPath=/lib/systemd/system/postgresql.service

Id=shop-import.service
LoadState=loaded
ActiveState=failed
SubState=failed
WorkingDirectory=!/srv/shop
FragmentPath=/etc/systemd/system/shop-import.service

Id=ssh.service
LoadState=loaded
ActiveState=active
SubState=running
FragmentPath=/etc/systemd/system/ssh.service

Id=systemd-journald.service
LoadState=loaded
ActiveState=active
SubState=running
FragmentPath=/lib/systemd/system/systemd-journald.service

Id=gone.service
LoadState=not-found
ActiveState=inactive
SubState=dead
FragmentPath=
";

    #[test]
    fn services_that_people_installed_and_known_servers_are_found() {
        let units = parse(SHOWN, |path| path == Path::new("/opt/shop/current"));
        assert_eq!(units.n_loaded, 7);
        let shown: Vec<String> = units
            .list
            .iter()
            .map(|unit| {
                let link = unit.link.as_ref().map_or(String::new(), |link| format!(" {}", link.display()));
                format!("{} {}{}{link}", unit.name, unit.state, if unit.is_own { " own" } else { "" })
            })
            .collect();
        assert_eq!(
            shown,
            [
                "nginx.service running",
                "postgresql.service exited",
                "postgresql@15-main.service running",
                "shop-import.service failed own",
                "shop-worker.service running own /opt/shop/current",
            ]
        );
        assert_eq!(units.list.iter().filter(|unit| unit.is_running).count(), 3);
    }

    #[test]
    fn what_a_real_systemctl_printed_is_read() {
        // systemd 252 in a container, with two services of somebody's own: one behind a link, one that failed.
        let recorded = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/systemctl-show.txt"));
        let units = parse(recorded, |path| path == Path::new("/opt/shop/current"));
        let own = |name: &str, state: &str, link: Option<&str>| Unit {
            name: name.into(),
            is_running: state == "running",
            state: state.into(),
            is_own: true,
            link: link.map(PathBuf::from),
        };
        let wanted =
            [own("shop-api.service", "running", Some("/opt/shop/current")), own("shop-broken.service", "failed", None)];
        assert_eq!((units.n_loaded, units.list), (12, wanted.to_vec()));
    }

    #[test]
    fn half_a_text_gives_what_is_whole_in_it() {
        for end in 0..=SHOWN.len() {
            let units = parse(&SHOWN[..end], |_| false);
            assert!(units.list.len() <= 5 && units.n_loaded <= 7);
        }
        assert_eq!(parse("\n\n=\n\nId=\n", |_| true), Units::default());
    }

    #[test]
    fn what_every_host_has_is_no_news() {
        for (name, is_own, wanted) in [
            ("shop.service", true, true),
            ("shop.service", false, false),
            ("php8.2-fpm.service", false, true),
            ("redis-server.service", false, true),
            ("getty@tty1.service", true, false),
            ("shop@.service", true, false),
            ("shop@1.service", true, true),
            ("backstop.service", true, false),
            ("backstop-rollback@web.service", true, false),
            ("sshd.service", true, false),
            ("", true, true),
        ] {
            assert_eq!(is_worth(name, is_own), wanted, "{name}");
        }
    }

    #[test]
    fn a_release_is_behind_a_link_that_is_not_the_systems() {
        let links = ["/bin", "/srv", "/opt/x/current"].map(Path::new);
        for (path, wanted) in [
            ("/bin/sh", None),
            ("/opt/x/current/venv/bin/python", Some("/opt/x/current")),
            ("/opt/x/releases/1/run", None),
            ("/srv/app/run", None),
            ("opt/x/current", None),
            ("", None),
        ] {
            assert_eq!(link(Path::new(path), |at| links.contains(&at)).as_deref(), wanted.map(Path::new), "{path}");
        }
    }

    #[tokio::test]
    async fn a_systemctl_that_does_not_answer_is_a_reason() {
        for (program, reason) in [("/none/systemctl", "start"), ("/bin/false", "exit")] {
            assert_eq!(look(Path::new(program)).await.unwrap_err().reason, reason);
        }
        assert_eq!(look(Path::new("/bin/true")).await, Ok(Units::default()));
    }
}
