//! `[command.NAME]` with the programs that people run: Debian's monitoring plugins, and the clients of databases that
//! are up, that refuse, and that are stopped.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use backstop::agent::wire;
use backstop::base::{Batch, Outcome, Timestamp};
use backstop::config::{self, Options};
use backstop::source::command::nagios;
use backstop::sys::clock::Stopwatch;

use crate::support::{Scratch, mutate, outside};

const PLUGINS: &str = "/usr/lib/nagios/plugins";
const NOW: Timestamp = Timestamp(1_800_000_000_000);

/// Looks once at the only source of this configuration.
async fn look(folder: &Path, toml: &str) -> Batch {
    let path = folder.join("backstop.toml");
    std::fs::write(&path, toml).unwrap();
    let options = Options {
        path: Some(path),
        sets: Vec::new(),
        state: Some("/var/lib/backstop".into()),
        stderr_is_terminal: false,
        host: "web-1".into(),
        env: |_| None,
    };
    let loaded = config::load(&options);
    let Some(config) = &loaded.config else { panic!("{toml}\n{}", loaded.render(false)) };
    let mut sources = wire::sources(config);
    assert_eq!(sources.len(), 1);
    sources[0].collect(NOW).await
}

/// Looks at `[command.x]` with these keys.
async fn asked(folder: &Path, keys: &str) -> Batch {
    look(folder, &format!("[command.x]\n{keys}")).await
}

fn outcome(batch: &Batch) -> String {
    match &batch.outcome {
        Outcome::Good => "good".into(),
        Outcome::Failed(failure) => failure.to_string(),
    }
}

fn value(batch: &Batch, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let fits = |l: &backstop::base::Labels| l.name() == name && labels.iter().all(|(n, v)| l.get(n) == *v);
    batch.samples.iter().find(|s| fits(&s.labels)).map(|s| s.value)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A plugin with these arguments, as a TOML list.
fn plugin(name: &str, arguments: &[&str]) -> String {
    let all: Vec<String> = arguments.iter().map(|a| format!(", '{a}'")).collect();
    format!("format = 'nagios'\nrun = ['{PLUGINS}/{name}'{}]", all.concat())
}

#[test]
fn mutation_of_nagios_output() {
    const OUTPUTS: [&str; 6] = [
        "DISK OK - free space: / 3326 MB (56%); | /=2643MB;5948;5958;0;5968\n/boot 68 MB (69%);\n/ 15272 MB | \
         /boot=68MB;88;93;0;98\n/home=69357MB;253404;253409;0;253414\n",
        "LOAD OK - total load average: 3.22, 1.60|load1=3.220;50.000;60.000;0; load5=1.600;50.000;60.000;0; ",
        "TCP OK|time=0.000136s;;;0.000000;10.000000",
        "OK|'it''s a'=1;@10:20;~:5;-1;+1e3 'x y'=45%;10:;:20 c=5c u=U t=1.5us;2us n=5ns k=5KiB",
        "PING CRITICAL|rta=5.5ms;1,5;2 pl=100%;5;10;0;100 pl=1 =2 broken 'open=3",
        "||\n|\n'",
    ];
    let corpus: Vec<Vec<u8>> = OUTPUTS.iter().map(|text| text.as_bytes().to_vec()).collect();
    mutate::run("nagios", &corpus, |input| {
        const MAX: usize = 8;
        let text = String::from_utf8_lossy(input);
        let report = nagios::parse(&text, MAX);
        assert!(report.perfdata.len() <= MAX);
        assert!(report.text.len() <= text.len());
        for (i, item) in report.perfdata.iter().enumerate() {
            assert!((1..=nagios::MAX_LABEL).contains(&item.label.len()));
            assert!(report.perfdata[..i].iter().all(|other| other.label != item.label), "each label once");
            let ranges = [item.warn, item.crit];
            for range in ranges.iter().flatten() {
                assert!(range.low.zip(range.high).is_none_or(|(low, high)| low <= high));
            }
            let bounds = ranges.iter().flatten().flat_map(|range| [range.low, range.high]);
            for figure in bounds.chain([item.value, item.min, item.max]).flatten() {
                // A number within a float times a unit may be beyond it; it is never something that is no number.
                assert!(!figure.is_nan());
            }
        }
        assert!(report.n_rejected + report.perfdata.len() <= 2 * text.len());
    });
}

#[tokio::test]
async fn outside_plugins_of_debian_are_read() {
    if !outside("plugins") {
        return;
    }
    let scratch = Scratch::new("command-plugins");
    let load = asked(scratch.path(), &plugin("check_load", &["-w", "900,900,900", "-c", "999,999,999"])).await;
    assert_eq!(outcome(&load), "good");
    for label in ["load1", "load5", "load15"] {
        assert!(value(&load, "command_perfdata", &[("label", label)]).is_some_and(|load| load >= 0.0), "{label}");
        assert_eq!(value(&load, "command_perfdata_warn", &[("label", label), ("bound", "high")]), Some(900.0));
        assert_eq!(value(&load, "command_perfdata_crit", &[("label", label), ("bound", "high")]), Some(999.0));
    }
    let disk = asked(scratch.path(), &plugin("check_disk", &["-w", "1%", "-c", "0%", "-p", "/"])).await;
    assert!(["good", "exit: "].iter().any(|start| outcome(&disk).starts_with(start)), "{}", outcome(&disk));
    let size = rustix::fs::statvfs("/").unwrap();
    let (used, whole) = (
        value(&disk, "command_perfdata", &[("label", "/")]).unwrap(),
        value(&disk, "command_perfdata_max", &[("label", "/")]).unwrap(),
    );
    let bytes = (size.f_blocks * size.f_frsize) as f64;
    assert!(whole <= bytes && whole > bytes * 0.9, "the plugin's {whole} bytes are the file system's {bytes}");
    assert!(used > 0.0 && used < whole);
    let procs = asked(scratch.path(), &plugin("check_procs", &["-w", "0:0", "-c", "100000"])).await;
    let said = outcome(&procs);
    assert!(said.starts_with("exit: expected exit == 0, saw 1 (WARNING); it said: PROCS WARNING: "), "{said}");
    assert!(value(&procs, "command_perfdata", &[("label", "procs")]).is_some_and(|n| n >= 1.0));
    assert_eq!(value(&procs, "command_exit_code", &[]), Some(1.0));
    for batch in [&load, &disk, &procs] {
        assert_eq!(value(batch, "command_perfdata_rejected", &[]), Some(0.0));
    }
}

#[tokio::test]
async fn outside_plugins_see_a_server_and_that_it_is_gone() {
    if !outside("plugins") {
        return;
    }
    let scratch = Scratch::new("command-server");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let server = std::thread::spawn(move || {
        // One connection of each plugin.
        for stream in listener.incoming().take(2) {
            let mut stream = stream.unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            drop(stream.read(&mut [0; 4096]));
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nok\n"));
        }
    });
    let tcp = plugin("check_tcp", &["-H", "127.0.0.1", "-p", &port]);
    let http = plugin("check_http", &["-H", "127.0.0.1", "-p", &port, "-s", "ok"]);
    for (keys, label) in [(&tcp, "time"), (&http, "time")] {
        let batch = asked(scratch.path(), keys).await;
        assert_eq!(outcome(&batch), "good");
        let seconds = value(&batch, "command_perfdata", &[("label", label)]).unwrap();
        assert!(seconds > 0.0 && seconds < 5.0, "{seconds}");
    }
    server.join().unwrap();
    for keys in [&tcp, &http] {
        let said = outcome(&asked(scratch.path(), keys).await);
        assert!(said.starts_with("exit: expected exit == 0, saw 2 (CRITICAL); it said: "), "{said}");
        assert!(said.contains("refused"), "{said}");
    }
}

/// A server of others, in a folder of its own; it ends with the value, and with the thread that started it.
struct Server(Option<Child>);

impl Server {
    fn start(user: Option<&str>, program: &str, arguments: &[String], log: &Path) -> Server {
        let log = std::fs::File::create(log).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let Some(user) = user {
            command.args(["--reuid", user, "--regid", user, "--init-groups"]);
        }
        let child = command
            .arg("--")
            .arg(program)
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Server(Some(child))
    }

    /// Ends it with a signal, and with another one when that was not enough.
    fn stop(&mut self, signal: rustix::process::Signal) {
        let Some(mut child) = self.0.take() else { return };
        let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap_or_default();
        let watch = Stopwatch::start();
        while matches!(child.try_wait(), Ok(None)) {
            if watch.seconds() > 10.0 {
                drop(child.kill());
                drop(child.wait());
                return;
            }
            std::thread::yield_now();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(rustix::process::Signal::INT);
    }
}

/// Looks until the answer is good: a server takes a moment to begin.
async fn becomes_good(folder: &Path, keys: &str, log: &Path) {
    let watch = Stopwatch::start();
    loop {
        let batch = asked(folder, keys).await;
        if outcome(&batch) == "good" {
            return;
        }
        let log = std::fs::read_to_string(log).unwrap_or_default();
        assert!(watch.seconds() < 60.0, "{}\n{log}", outcome(&batch));
        tokio::time::timeout(Duration::from_millis(50), std::future::pending::<()>()).await.unwrap_err();
    }
}

/// A PostgreSQL of its own: over its socket one is who one is, over TCP one needs the password.
struct Postgres {
    server: Server,
    folder: Scratch,
    port: u16,
}

const PASSWORD: &str = "hunter2-of-postgres";

impl Postgres {
    fn start(name: &str) -> Postgres {
        let folder = Scratch::new(name);
        let at = |name: &str| folder.path().join(name);
        let is_root = rustix::process::geteuid().is_root();
        let user = is_root.then_some("postgres");
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::create_dir(at("pg")).unwrap();
        std::fs::write(at("password"), PASSWORD).unwrap();
        if is_root {
            std::fs::set_permissions(at("password"), std::fs::Permissions::from_mode(0o644)).unwrap();
            let owned = Command::new("chown").arg("postgres:postgres").arg(at("pg")).status().unwrap();
            assert!(owned.success());
        }
        let mut versions: Vec<_> =
            std::fs::read_dir("/usr/lib/postgresql").unwrap().flatten().map(|e| e.path()).collect();
        versions.sort();
        let bin = versions.pop().unwrap().join("bin");
        let text = |path: &Path| path.display().to_string();
        let data = text(&at("pg/data"));
        let init = ["-D", &data, "-U", "postgres", "--auth-local=peer", "--auth-host=scram-sha-256", "--no-sync"];
        let init = init.map(String::from).into_iter().chain([format!("--pwfile={}", text(&at("password")))]);
        let mut made = Server::start(user, &text(&bin.join("initdb")), &init.collect::<Vec<_>>(), &at("init.log"));
        let status = made.0.take().unwrap().wait().unwrap();
        assert!(status.success(), "{}", std::fs::read_to_string(at("init.log")).unwrap());
        let port = free_port();
        let socket = text(&at("pg"));
        let (port_text, unix) = (port.to_string(), format!("unix_socket_directories={socket}"));
        let run = ["-D", &data, "-p", &port_text, "-c", "listen_addresses=127.0.0.1", "-c", &unix, "-c", "fsync=off"];
        let server = Server::start(user, &text(&bin.join("postgres")), &run.map(String::from), &at("postgres.log"));
        Postgres { server, folder, port }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The keys of a question over TCP, with the password in a file.
    fn question(&self, sql: &str, more: &str) -> String {
        let (folder, port) = (self.path().display(), self.port);
        format!(
            "run = ['/usr/bin/psql', '-XAtc', '''{sql}''']\nenv = {{ PGHOST = '127.0.0.1', PGPORT = '{port}', \
             PGUSER = 'postgres', PGDATABASE = 'postgres', PGPASSWORD = 'file:{folder}/password' }}\n{more}"
        )
    }

    /// The keys of a question over the socket, as the user `postgres`.
    fn own_question(&self, sql: &str, more: &str) -> String {
        let (folder, port) = (self.path().display(), self.port);
        let user = if rustix::process::geteuid().is_root() { "user = 'postgres'\n" } else { "" };
        format!(
            "{user}run = ['/usr/bin/psql', '-h', '{folder}/pg', '-p', '{port}', '-U', 'postgres', '-XAtc', '''{sql}''']\n{more}"
        )
    }

    async fn ready(&self) {
        let log = self.path().join("postgres.log");
        becomes_good(self.path(), &self.question("select 1", ""), &log).await;
    }
}

#[tokio::test]
async fn outside_postgres_is_asked_with_its_own_client() {
    if !outside("servers") {
        return;
    }
    let mut postgres = Postgres::start("command-postgres");
    postgres.ready().await;
    let folder = postgres.path().to_path_buf();

    let count = postgres
        .question("select count(*) from pg_database", "expect = ['number >= 1']\nvalues = { databases = 'number' }");
    let batch = asked(&folder, &count).await;
    assert_eq!(outcome(&batch), "good");
    assert_eq!(value(&batch, "probe_value", &[("name", "databases")]), Some(3.0));

    if rustix::process::geteuid().is_root() {
        let peer = postgres.own_question("select current_user", "expect = ['text == \"postgres\"']");
        assert_eq!(outcome(&asked(&folder, &peer).await), "good", "over the socket the user is who it is");
    }
    let version = postgres.question("show server_version", "expect = ['version >= 9.6', 'version < 1000']");
    assert_eq!(outcome(&asked(&folder, &version).await), "good");
    let json = postgres.question(
        "select json_build_object(''connections'', count(*), ''names'', json_agg(datname)) from pg_stat_database"
            .replace("''", "'")
            .as_str(),
        "format = 'json'\nexpect = ['json connections >= 1', 'json names contains \"postgres\"']",
    );
    assert_eq!(outcome(&asked(&folder, &json).await), "good");
    let page = postgres.question(
        "select format('pg_database_bytes{name=\"%s\"} %s', datname, pg_database_size(datname)) from pg_database",
        "format = 'prometheus'",
    );
    let batch = asked(&folder, &page).await;
    assert_eq!(outcome(&batch), "good");
    assert!(value(&batch, "pg_database_bytes", &[("name", "postgres")]).is_some_and(|bytes| bytes > 1e6));

    let wrong = postgres.question("select * from nothing", "");
    let said = outcome(&asked(&folder, &wrong).await);
    assert!(said.starts_with("exit: expected exit == 0, saw 1; it said: "), "{said}");
    let passfile = folder.join("pgpass");
    std::fs::write(&passfile, format!("127.0.0.1:{}:*:postgres:{PASSWORD}\n", postgres.port)).unwrap();
    std::fs::set_permissions(&passfile, std::fs::Permissions::from_mode(0o600)).unwrap();
    let port = postgres.port;
    let by_file = format!(
        "run = ['psql', '-h', '127.0.0.1', '-p', '{port}', '-U', 'postgres', '-wXAtc', 'select 1']\n\
         env = {{ PGPASSFILE = '{}' }}\nexpect = ['number == 1']",
        passfile.display()
    );
    assert_eq!(outcome(&asked(&folder, &by_file).await), "good");

    std::fs::write(folder.join("password"), "hunter2-is-wrong").unwrap();
    let refused = asked(&folder, &count).await;
    let said = outcome(&refused);
    assert!(said.starts_with("exit: expected exit == 0, saw 2; it said: "), "{said}");
    assert!(said.contains("password authentication failed"), "{said}");
    assert!(!format!("{refused:?}").contains("hunter2"));
    std::fs::write(folder.join("password"), PASSWORD).unwrap();

    postgres.server.stop(rustix::process::Signal::INT);
    let said = outcome(&asked(&folder, &count).await);
    assert!(said.starts_with("exit: expected exit == 0, saw 2; it said: "), "a stopped database is seen: {said}");
}

#[tokio::test]
async fn outside_plugins_ask_postgres_and_see_that_it_is_stopped() {
    if !outside("plugins") || !outside("servers") {
        return;
    }
    let mut postgres = Postgres::start("command-check-pgsql");
    postgres.ready().await;
    let folder = postgres.path().to_path_buf();
    let port = postgres.port.to_string();
    let check =
        plugin("check_pgsql", &["-H", "127.0.0.1", "-P", &port, "-l", "postgres", "-d", "postgres", "-q", "select 42"]);
    let check = format!("{check}\nenv = {{ PGPASSWORD = 'file:{}/password' }}", folder.display());
    let batch = asked(&folder, &check).await;
    assert_eq!(outcome(&batch), "good");
    assert_eq!(value(&batch, "command_perfdata", &[("label", "query")]), Some(42.0));
    assert!(value(&batch, "command_perfdata", &[("label", "time")]).is_some_and(|seconds| seconds > 0.0));
    postgres.server.stop(rustix::process::Signal::INT);
    let said = outcome(&asked(&folder, &check).await);
    assert!(said.starts_with("exit: expected exit == 0, saw 2 (CRITICAL); it said: "), "{said}");
}

#[tokio::test]
async fn outside_redis_is_asked_with_its_own_client() {
    if !outside("servers") {
        return;
    }
    const REDIS: &str = "hunter2-of-redis";
    let scratch = Scratch::new("command-redis");
    let folder = scratch.path();
    let port = free_port();
    let settings = format!("bind 127.0.0.1\nport {port}\ndir {}\nsave \"\"\nrequirepass {REDIS}\n", folder.display());
    std::fs::write(folder.join("redis.conf"), settings).unwrap();
    std::fs::write(folder.join("password"), REDIS).unwrap();
    let log = folder.join("redis.log");
    let mut server = Server::start(None, "redis-server", &[folder.join("redis.conf").display().to_string()], &log);
    let env = format!("env = {{ REDISCLI_AUTH = 'file:{}/password' }}\n", folder.display());
    let question = |words: &str, more: &str| format!("run = ['redis-cli', '-e', '-p', '{port}', {words}]\n{env}{more}");
    let ping = question("'ping'", "expect = ['text == \"PONG\"']");
    becomes_good(folder, &ping, &log).await;

    let info = question(
        "'info', 'memory'",
        "values = { used = 'number used_memory' }\nexpect = ['number used_memory > 1000']",
    );
    let batch = asked(folder, &info).await;
    assert_eq!(outcome(&batch), "good");
    assert!(value(&batch, "probe_value", &[("name", "used")]).is_some_and(|bytes| bytes > 1000.0));
    let version = question("'info', 'server'", "expect = ['text contains \"redis_version\"', 'version >= 5']");
    assert_eq!(outcome(&asked(folder, &version).await), "good");
    let wrong = outcome(&asked(folder, &question("'nothing'", "")).await);
    assert!(wrong.starts_with("exit: expected exit == 0, saw 1; it said: "), "{wrong}");

    let without = format!("run = ['redis-cli', '-e', '-p', '{port}', 'ping']\nexpect = ['text == \"PONG\"']");
    let said = outcome(&asked(folder, &without).await);
    assert!(said.starts_with("exit: ") && said.contains("NOAUTH"), "{said}");

    server.stop(rustix::process::Signal::TERM);
    let said = outcome(&asked(folder, &ping).await);
    assert!(said.starts_with("exit: expected exit == 0, saw 1 (and 1 more: "), "a stopped database is seen: {said}");
    assert!(said.contains("Connection refused"), "{said}");
}

#[tokio::test]
async fn outside_sqlite_is_asked_with_its_own_client() {
    if !outside("servers") {
        return;
    }
    let scratch = Scratch::new("command-sqlite");
    let path = scratch.path().join("shop.db");
    let made =
        Command::new("sqlite3").arg(&path).arg("create table orders(id); insert into orders values (1), (2)").status();
    assert!(made.unwrap().success());
    let question = |sql: &str| {
        format!(
            "run = ['sqlite3', '-readonly', '{}', '{sql}']\nexpect = ['number >= 2']\nvalues = {{ orders = 'number' }}",
            path.display()
        )
    };
    let batch = asked(scratch.path(), &question("select count(*) from orders")).await;
    assert_eq!((outcome(&batch), value(&batch, "probe_value", &[("name", "orders")])), ("good".into(), Some(2.0)));
    let said = outcome(&asked(scratch.path(), &question("select count(*) from gone")).await);
    assert!(said.starts_with("exit: expected exit == 0, saw 1") && said.contains("gone"), "{said}");
    std::fs::remove_file(&path).unwrap();
    let said = outcome(&asked(scratch.path(), &question("select count(*) from orders")).await);
    assert!(said.contains("unable to open database"), "{said}");
}
