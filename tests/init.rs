//! `backstop init` on a host with something on it: what it writes, that it passes `check --probe`, and what it asked.
//!
//! The host is one of the test's own, in namespaces of its own (`tests/init/world.sh`), so that ports are what they are
//! and nobody else's containers are seen.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Scratch, left_out, outside, root};

/// What is called on that host: each command's output beside it, its exit code as the last line of standard error.
const SCRIPT: &str = r#"
call() { name=$1; shift; "$@" >"$name.out" 2>"$name.err" </dev/null; echo "exit $?" >>"$name.err"; }
mkdir etc
call init ./backstop init --output etc/backstop.toml
call again ./backstop init --output etc/backstop.toml
call out ./backstop init --output -
cp nginx/asked asked
call probe ./backstop --config etc/backstop.toml --state state check --probe --as root
call nobody setpriv --reuid 65534 --regid 65534 --clear-groups ./backstop init --output -
"#;

/// Where programs are looked for, those of the system's keepers included.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A file that the script left behind.
fn text(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn exit(folder: &Path, name: &str) -> i32 {
    let said = text(folder, &format!("{name}.err"));
    let code = said.lines().last().and_then(|line| line.strip_prefix("exit "));
    code.and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{name} did not end: {said}"))
}

/// Without what differs from one run or one version to the next: the port that the container engine itself chooses, and
/// how many rules are ready-made.
fn steady(text: &str) -> String {
    let engine = regex::Regex::new(r"127\.0\.0\.1:[0-9]+ \(container engine\)").unwrap();
    let summary = regex::Regex::new(r": good\. .*").unwrap();
    summary.replace(&engine.replace_all(text, "127.0.0.1:PORT (container engine)"), ": good. …").into_owned()
}

#[test]
fn outside_what_init_writes_passes_check_probe() {
    if !outside("docker") {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        return left_out("init", "only root can make a host of its own");
    }
    for (program, package) in [
        ("unshare", "util-linux"),
        ("ip", "iproute2"),
        ("dockerd", "docker.io"),
        ("containerd", "containerd"),
        ("docker-compose", "docker-compose"),
        ("busybox", "busybox-static"),
        ("nginx", "nginx-light"),
    ] {
        let find = format!("command -v {program}");
        let found = Command::new("sh").args(["-c", &find]).env("PATH", PATH).stdout(Stdio::null()).status().unwrap();
        assert!(found.success(), "{program} is needed: apt-get install {package}");
    }
    let scratch = Scratch::new("init-world");
    let folder = scratch.path();
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_backstop"), folder.join("backstop")).unwrap();
    std::fs::write(folder.join("script"), SCRIPT).unwrap();
    let output = Command::new("timeout")
        .args(["--kill-after=10", "240", "unshare", "--mount", "--net", "--pid", "--uts", "--fork", "--kill-child"])
        .args(["--mount-proc", "sh"])
        .args([root().join("tests/init/world.sh"), folder.to_path_buf(), folder.join("script")])
        .env_remove("BACKSTOP_CONFIG")
        .env_remove("BACKSTOP_STATE")
        .env_remove("DOCKER_HOST")
        .env("PATH", PATH)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let said = text(folder, "init.err");
    assert_eq!(exit(folder, "init"), 0, "{said}");
    let written = steady(&text(folder, "etc/backstop.toml"));
    insta::assert_snapshot!("host_with_a_project", format!("{}---\n{written}", steady(&said)));
    let mode = std::fs::metadata(folder.join("etc/backstop.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);

    let probe = text(folder, "probe.out");
    assert_eq!(exit(folder, "probe"), 0, "{probe}{}", text(folder, "probe.err"));

    let refused = text(folder, "again.err");
    assert_eq!(exit(folder, "again"), 1, "{refused}");
    assert!(refused.contains("etc/backstop.toml is there already, and nothing is overwritten"), "{refused}");
    assert_eq!(steady(&text(folder, "out.out")), written, "standard output gets the same");

    // Two looks came by: nothing but these was asked, and PostgreSQL heard no word that it could not understand.
    let mut asked: Vec<String> = text(folder, "asked").lines().map(String::from).collect();
    asked.sort();
    asked.dedup();
    let paths = ["/", "/-/healthy", "/health", "/healthz", "/metrics"];
    assert_eq!(asked, paths.map(|path| format!("GET {path} HTTP/1.1")));
    let heard = text(folder, "postgres.log");
    assert!(!heard.contains("startup packet") && !heard.contains("FATAL"), "{heard}");

    // Who may see less says so, and still finds what answers.
    let (found, said) = (text(folder, "nobody.out"), text(folder, "nobody.err"));
    assert_eq!(exit(folder, "nobody"), 0, "{said}");
    assert!(said.contains("containers  could not be seen: permission: "), "{said}");
    assert!(said.contains("sudo backstop init sees it"), "{said}");
    for table in ["url    = \"http://127.0.0.1:8000/health\"", "[tcp.postgres]"] {
        assert!(found.contains(table), "{table} is missing in:\n{found}");
    }
}
