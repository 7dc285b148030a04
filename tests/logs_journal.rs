//! The journal of a real systemd: each line once, whatever is restarted, rotated or killed meanwhile.
//!
//! systemd runs in a container (the scripts of the lab beside the repository boot it); journalctl runs in it too, and what
//! is tested out here.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use backstop::base::Span;
use backstop::source::log::journal::{Config, Journal, Pace, Saved, Unit};
use backstop::source::log::origin::{Content, Piece};

use crate::support::{Scratch, left_out, outside, root};

const IMAGE: &str = "lab-systemd:1";

/// A container with systemd in it, removed when the value is dropped.
struct Systemd {
    name: String,
    scratch: Scratch,
}

impl Systemd {
    /// Boots one; none, and said why, where that cannot be done here.
    fn boot(name: &str) -> Option<Systemd> {
        if !outside("journald") {
            return None;
        }
        let lab = root().join("../shared/lab");
        let script = lab.join("systemd-container.sh");
        if !script.exists() {
            left_out("journald", "the scripts that boot a systemd are not beside the repository");
            return None;
        }
        let has_image = || run("docker", &["image", "inspect", IMAGE]).is_ok();
        if !has_image() {
            let base = lab.join("image-from-debootstrap.sh").display().to_string();
            let made = run(&base, &["lab-base:1"])
                .and_then(|_| run("docker", &["build", "-q", "-t", IMAGE, &lab.join("systemd").display().to_string()]));
            if let Err(why) = made {
                left_out("journald", &format!("no image with systemd can be made: {why}"));
                return None;
            }
        }
        let name = format!("backstop-{name}-{}", std::process::id());
        let container = Systemd { scratch: Scratch::new(&name), name };
        run(&script.display().to_string(), &["start", &container.name, "--network", "none"]).expect("systemd boots");
        Some(container)
    }

    /// Runs something in it.
    fn shell(&self, script: &str) -> String {
        run("docker", &["exec", &self.name, "sh", "-c", script]).unwrap_or_else(|why| panic!("{script}: {why}"))
    }

    /// A service that runs `script` to its end.
    fn service(&self, unit: &str, script: &str) {
        self.shell(&format!("systemd-run --quiet --collect --wait --unit={unit} sh -c '{script}'"));
    }

    /// A program that is its journalctl, run as `user`.
    fn journalctl(&self, user: &str) -> PathBuf {
        let path = self.scratch.path().join(format!("journalctl-{user}"));
        let name = &self.name;
        std::fs::write(&path, format!("#!/bin/sh\nexec docker exec -u {user} {name} journalctl \"$@\"\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn config(&self, unit: &str) -> Config {
        let pace = Pace { retry: Span::millis(50), refused: Span::millis(50), ..Pace::default() };
        let units = vec![Unit::parse(unit).unwrap()];
        Config { program: self.journalctl("root"), pace, ..Config::new(units) }
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        drop(run("docker", &["rm", "-f", "-v", &self.name]));
    }
}

/// What a program printed, or why it failed.
fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new("timeout").arg("300").arg(program).args(args).output().map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(String::from_utf8_lossy(&output.stdout).into_owned()) } else { Err(said) }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Reads until `is_last`, and gives the numbers that the unit printed and all else that came.
async fn read(journal: &mut Journal, is_last: impl Fn(&[u32], &Piece) -> bool) -> (Vec<u32>, Vec<Piece>) {
    let (mut numbers, mut rest) = (Vec::new(), Vec::new());
    let begin = Instant::now();
    loop {
        assert!(begin.elapsed() < Duration::from_secs(120), "{numbers:?} {rest:?}");
        let Ok(piece) = tokio::time::timeout(Duration::from_secs(60), journal.next()).await else {
            panic!("nothing comes: {numbers:?} {rest:?}");
        };
        if let Content::Lines(lines, _) = &piece.content {
            let lines = std::str::from_utf8(lines).unwrap();
            numbers.extend(lines.lines().filter_map(|line| line.strip_prefix("n ")?.parse::<u32>().ok()));
        }
        let ends = is_last(&numbers, &piece);
        rest.push(piece);
        if ends {
            return (numbers, rest);
        }
    }
}

fn counted(from: u32, to: u32) -> String {
    format!("i={from}; while [ $i -le {to} ]; do echo n $i; i=$((i+1)); done")
}

fn up_to(n: u32) -> impl Fn(&[u32], &Piece) -> bool {
    move |numbers, _| numbers.last() >= Some(&n)
}

fn gaps(pieces: &[Piece]) -> Vec<String> {
    let gaps = pieces.iter().filter_map(|piece| match &piece.content {
        Content::Gap(why) => Some(why.clone()),
        _ => None,
    });
    gaps.collect()
}

/// A reader that has begun, so that all that comes is for it.
async fn begun(config: &Config) -> Journal {
    let mut journal = Journal::new(config.clone());
    read(&mut journal, |_, piece| piece.content == Content::Well).await;
    journal
}

fn resumed(config: &Config, saved: Saved) -> Journal {
    let text = serde_json::to_string(&saved).unwrap();
    Journal::resume(config.clone(), serde_json::from_str(&text).unwrap()).unwrap()
}

#[test]
fn outside_each_line_of_a_unit_is_given_once() {
    let Some(systemd) = Systemd::boot("journal-once") else { return };
    let config = systemd.config("shop");
    runtime().block_on(async {
        systemd.service("shop", "echo before the first start");
        let mut journal = begun(&config).await;
        // While it reads.
        systemd.service("shop", &counted(1, 200));
        let mut found = read(&mut journal, up_to(200)).await.0;
        let saved = journal.save();
        drop(journal);
        // While it does not, and the journal begins a new file meanwhile.
        systemd.service("shop", &counted(201, 300));
        systemd.shell("journalctl --rotate");
        systemd.service("shop", &counted(301, 400));
        let mut journal = resumed(&config, saved);
        found.extend(read(&mut journal, up_to(400)).await.0);
        // journalctl is killed, journald is started again, the files are rotated while a service prints.
        let disturbances =
            [("pkill -9 journalctl", 401), ("systemctl restart systemd-journald", 601), ("journalctl --rotate", 801)];
        for (disturb, from) in disturbances {
            let slow = counted(from, from + 199).replace("echo n $i;", "echo n $i; sleep 0.01;");
            systemd.shell(&format!("systemd-run --quiet --collect --unit=shop sh -c '{slow}'"));
            found.extend(read(&mut journal, up_to(from + 20)).await.0);
            systemd.shell(disturb);
            let (more, pieces) = read(&mut journal, up_to(from + 199)).await;
            found.extend(more);
            assert_eq!(gaps(&pieces), [""; 0], "{disturb}");
            systemd.shell("while systemctl is-active -q shop; do sleep 0.1; done");
        }
        assert_eq!(found, (1..=1000).collect::<Vec<u32>>());
    });
}

#[test]
fn outside_what_journald_deleted_is_a_gap_and_what_it_knows_of_a_unit_is_given() {
    let Some(systemd) = Systemd::boot("journal-gap") else { return };
    let config = systemd.config("shop");
    runtime().block_on(async {
        let journal = begun(&config).await;
        let saved = journal.save();
        drop(journal);
        systemd.service("shop", &counted(1, 50));
        systemd.shell("journalctl --rotate; sleep 2; journalctl --vacuum-time=1s");
        systemd.service("shop", &counted(51, 60));
        let mut journal = resumed(&config, saved);
        let (found, pieces) = read(&mut journal, up_to(60)).await;
        assert_eq!((found, gaps(&pieces).len()), ((51..=60).collect::<Vec<u32>>(), 1), "{pieces:?}");
        // What a program says with a priority, and what PID 1 says about its end.
        systemd.shell("systemd-run --quiet --unit=shop sh -c 'echo \"<3>disk is gone\"; exit 7'");
        let (_, pieces) = read(&mut journal, |_, piece| says(piece, "Failed with result")).await;
        assert!(pieces.iter().any(|piece| says(piece, "disk is gone") && says_level(piece, "Error")), "{pieces:?}");
        systemd.shell("systemctl reset-failed shop");
        // journald throws away what is too much.
        let limits = "-p LogRateLimitIntervalSec=1s -p LogRateLimitBurst=20";
        systemd.shell(&format!(
            "systemd-run --quiet --collect --wait --unit=shop {limits} sh -c '{}; sleep 1.2; echo end'",
            counted(1, 500)
        ));
        let (_, pieces) = read(&mut journal, |_, piece| matches!(piece.content, Content::Gap(_))).await;
        assert!(gaps(&pieces)[0].contains("Suppressed"), "{:?}", gaps(&pieces));
    });
}

/// Whether a text is somewhere in a piece.
fn says(piece: &Piece, text: &str) -> bool {
    match &piece.content {
        Content::Entries(entries) => entries.iter().any(|entry| String::from_utf8_lossy(&entry.message).contains(text)),
        Content::Lines(lines, _) => String::from_utf8_lossy(lines).contains(text),
        _ => false,
    }
}

/// Whether an entry of a piece has this level.
fn says_level(piece: &Piece, level: &str) -> bool {
    match &piece.content {
        Content::Entries(entries) => entries.iter().any(|entry| format!("{:?}", entry.level).contains(level)),
        _ => false,
    }
}

#[test]
fn outside_a_pattern_sees_new_units_and_a_user_without_rights_is_told_what_to_do() {
    let Some(systemd) = Systemd::boot("journal-pattern") else { return };
    runtime().block_on(async {
        let mut journal = begun(&systemd.config("work-*")).await;
        systemd.service("work-7", &counted(1, 3));
        let (found, pieces) = read(&mut journal, up_to(3)).await;
        assert_eq!(found, [1, 2, 3]);
        assert!(pieces.iter().any(|piece| piece.service.as_deref() == Some("work-7")), "{pieces:?}");
        let config = Config { program: systemd.journalctl("nobody"), ..systemd.config("shop") };
        let mut journal = Journal::new(config);
        let (_, pieces) = read(&mut journal, |_, piece| matches!(piece.content, Content::Failed(_))).await;
        let Some(Content::Failed(failure)) = pieces.last().map(|piece| &piece.content) else { panic!("{pieces:?}") };
        assert!(failure.reason == "permission" && failure.detail.contains("usermod -aG systemd-journal"), "{failure}");
    });
}
