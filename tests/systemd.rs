//! The unit that ships: systemd accepts it, it is hardened, and the hardening leaves the host's figures readable.

use std::process::Command;

use crate::support::{Scratch, left_out, text, wanted};

/// What must stand in the unit, word by word.
const REQUIRED: [&str; 35] = [
    "Type=notify",
    "NotifyAccess=main",
    "WatchdogSec=30",
    "User=backstop",
    "ExecStart=/usr/bin/backstop run",
    "ExecReload=/bin/kill -HUP $MAINPID",
    "Restart=always",
    "RestartSec=1s",
    "TimeoutStopSec=10s",
    "StateDirectory=backstop",
    "RuntimeDirectory=backstop",
    "ConfigurationDirectory=backstop",
    "MemoryMax=256M",
    "OOMScoreAdjust=-500",
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "AmbientCapabilities=",
    "ProtectSystem=strict",
    "ProtectHome=read-only",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "ProtectControlGroups=yes",
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectClock=yes",
    "ProtectHostname=yes",
    "LockPersonality=yes",
    "MemoryDenyWriteExecute=yes",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=~@privileged @resources",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
];

/// What would hide the host from its watcher, or open a way to write beside the state folder.
const FORBIDDEN: [&str; 9] = [
    "ProcSubset=pid",
    "ProtectProc=invisible",
    "ProtectProc=ptraceable",
    "ProtectProc=noaccess",
    "ProtectHome=yes",
    "ProtectHome=tmpfs",
    "PrivateNetwork=yes",
    "PrivateUsers=yes",
    "ReadWritePaths=",
];

fn unit() -> String {
    text("systemd/backstop.service")
}

/// What is wrong with a unit: a line that lacks, or one that must not be there.
fn complaints(unit: &str) -> Vec<String> {
    let lacks = REQUIRED.iter().filter(|line| !unit.lines().any(|found| found == **line));
    let has = FORBIDDEN.iter().filter(|start| unit.lines().any(|found| found.starts_with(**start)));
    lacks.map(|line| format!("lacks {line}")).chain(has.map(|line| format!("has {line}"))).collect()
}

#[test]
fn systemd_unit_is_hardened_and_leaves_the_figures_of_the_host_readable() {
    assert_eq!(complaints(&unit()), [""; 0]);
}

#[test]
fn a_softened_or_blinded_unit_is_caught() {
    let softened = unit().replace("\nNoNewPrivileges=yes", "\n#NoNewPrivileges=yes");
    assert_eq!(complaints(&softened), ["lacks NoNewPrivileges=yes"]);
    let capable = unit().replace("\nCapabilityBoundingSet=", "\nCapabilityBoundingSet=CAP_SYS_ADMIN");
    assert_eq!(complaints(&capable), ["lacks CapabilityBoundingSet="]);
    let blinded = unit().replace("ProcSubset=all", "ProcSubset=pid");
    assert_eq!(complaints(&blinded), ["has ProcSubset=pid"]);
    let opened = format!("{}ReadWritePaths=/etc\n", unit());
    assert_eq!(complaints(&opened), ["has ReadWritePaths="]);
}

#[test]
fn systemd_unit_passes_systemd_analyze_verify() {
    verify("verify", &unit(), |said| assert_eq!(said, ""));
}

#[test]
fn systemd_analyze_verify_finds_a_misspelt_directive() {
    let misspelt = unit().replace("WatchdogSec=", "WatchdogSecs=");
    verify("verify-misspelt", &misspelt, |said| assert!(said.contains("WatchdogSecs"), "said only: {said}"));
}

/// Hands `judge` what systemd says about `unit`, with a program in it that exists here; `name` is that of the test.
fn verify(name: &str, unit: &str, judge: impl FnOnce(&str)) {
    if !wanted("systemd") {
        return;
    }
    let folder = Scratch::new(name);
    let path = folder.path().join("backstop.service");
    std::fs::write(&path, unit.replace("/usr/bin/backstop run", "/bin/true"))
        .expect("a fresh folder can be written to");
    let Ok(output) = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output() else {
        return left_out("systemd", "there is no systemd-analyze (apt-get install systemd)");
    };
    let said = [output.stdout, output.stderr].concat();
    judge(String::from_utf8_lossy(&said).trim());
}

#[test]
fn the_user_of_the_unit_is_made_by_sysusers() {
    let is_made = |line: &str| line.starts_with("u backstop ");
    assert!(unit().contains("\nUser=backstop\n") && text("systemd/sysusers.conf").lines().any(is_made));
}

/// What a service says over its socket, from ready to the stop; the watchdog is fed by the turning of the loop.
#[test]
fn the_agent_says_ready_feeds_the_watchdog_and_says_that_it_stops() {
    let folder = Scratch::new("notify");
    let path = folder.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    let heard = || {
        let mut bytes = [0u8; 512];
        let n = socket.recv(&mut bytes).expect("the agent speaks within ten seconds");
        String::from_utf8_lossy(&bytes[..n]).into_owned()
    };
    std::fs::write(folder.path().join("b.toml"), "[host]\n[web]\nlisten = \"127.0.0.1:0\"\n").unwrap();
    let mut agent = Command::new(env!("CARGO_BIN_EXE_backstop"))
        .args(["run", "--config"])
        .arg(folder.path().join("b.toml"))
        .arg("--state")
        .arg(folder.path().join("state"))
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "1000000")
        .env_remove("WATCHDOG_PID")
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    assert!(heard().starts_with("READY=1"));
    let begin = std::time::Instant::now();
    assert_eq!([heard(), heard()].map(|text| text.trim().to_string()), ["WATCHDOG=1", "WATCHDOG=1"]);
    assert!(begin.elapsed() < std::time::Duration::from_secs(3), "{:?}", begin.elapsed());
    let stopped = Command::new("kill").args(["-TERM", &agent.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    while !heard().contains("STOPPING=1") {}
    assert!(agent.wait().unwrap().success());
}
