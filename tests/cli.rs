//! The program as people call it: its exit codes, and that nothing it starts outlives it.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::Scratch;

/// Calls the program with its state in `state`.
fn backstop(state: &Path, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_backstop"))
        .args(line.split_whitespace())
        .env_remove("BACKSTOP_CONFIG")
        .env("BACKSTOP_STATE", state)
        .current_dir(state)
        .stdin(Stdio::null())
        .output()
        .expect("the program that was just built can be started")
}

fn check(state: &Path, line: &str, code: i32, said: &str) {
    let output = backstop(state, line);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{line}: {text}");
    assert!(text.contains(said), "{line}: {said:?} is missing in: {text}");
}

#[test]
fn exit_codes_tell_usage_from_a_missing_agent() {
    let state = Scratch::new("exit_codes_tell_usage");
    for (line, code, said) in [
        ("--version", 0, "backstop 0."),
        ("--help", 0, "Exit codes: 0 good"),
        ("demo --help", 0, "--fault blind"),
        ("statos", 2, "status"),
        ("deploy start", 2, "--version"),
        ("rollback approve nine", 2, "a run is written like R-9"),
        ("status", 3, "no agent answers at"),
        ("watch status", 3, "is it running?"),
        ("rollback plan", 3, "(no such file)"),
        ("explain errors", 3, "no agent answers at"),
        ("deploy complete", 3, "no agent answers at"),
        ("rollback start --reason broken", 3, "no agent answers at"),
        ("rollback execute nothing", 2, "nothing"),
    ] {
        check(state.path(), line, code, said);
    }
}

/// How many processes have `folder` in their command line.
fn processes_of(folder: &Path) -> usize {
    let folder = folder.display().to_string();
    let running = std::fs::read_dir("/proc").expect("Linux").flatten().filter(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&folder)
    });
    running.count()
}

/// Plays the demo; its output must hold `lines` in this order and end well, with nothing left running.
fn demo(name: &str, fault: &str, lines: &[&str]) {
    let scratch = Scratch::new(name);
    let folder = scratch.path().join("demo");
    let output = backstop(scratch.path(), &format!("demo --fault {fault} --keep {}", folder.display()));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let log = std::fs::read_to_string(folder.join("agent.log")).unwrap_or_default();
    let errors = String::from_utf8_lossy(&output.stderr);
    let mut rest = text.as_str();
    for line in lines {
        let at = rest.find(line).unwrap_or_else(|| panic!("{line:?} is missing in:\n{text}\n{errors}\n{log}"));
        rest = &rest[at + line.len()..];
    }
    assert_eq!(output.status.code(), Some(0), "{text}\n{errors}\n{log}");
    assert_eq!(processes_of(&folder), 0, "nothing is left running");
}

#[test]
fn the_demo_takes_a_bad_release_back() {
    let lines =
        ["WARNING   errors", "CRITICAL  errors", "rollback due", "step 1 done", "verified", "\nverdict: rolled back\n"];
    demo("the_demo_takes_back", "errors", &lines);
}

#[test]
fn the_demo_leaves_a_blind_release_alone() {
    demo("the_demo_leaves_alone", "blind", &["NO DATA", "\nverdict: inconclusive\n"]);
}
