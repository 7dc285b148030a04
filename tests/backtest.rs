//! `backstop backtest` through the program: what it says, its exit codes, and that it leaves nothing behind.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::Scratch;

const RULES: &str = r#"
[rule.errors]
errors   = 'requests_total{code="500"}'
total    = 'requests_total'
critical = "> 10%"
rollback = { when = "critical", for = "2m" }
"#;

fn backstop(folder: &Path, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_backstop"))
        .args(line.split_whitespace())
        .env_remove("BACKSTOP_CONFIG")
        .env("BACKSTOP_STATE", folder.join("state"))
        .env("TMPDIR", folder.join("tmp"))
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("the program that was just built can be started")
}

/// A folder with rules and an hour of data: from its middle on, every seventh request fails.
fn stage(name: &str) -> Scratch {
    let scratch = Scratch::new(name);
    std::fs::create_dir(scratch.path().join("tmp")).unwrap();
    std::fs::write(scratch.path().join("rules.toml"), RULES).unwrap();
    let mut dump = String::new();
    for (code, of_hundred) in [("200", 85), ("500", 15)] {
        let mut total = 0;
        for i in 0..240 {
            let bad = i >= 120;
            total += match (code, bad) {
                ("200", false) => 100,
                ("500", false) => 0,
                _ => of_hundred,
            };
            let at = 1_761_640_000 + i * 15;
            dump += &format!("requests_total{{job=\"api\",instance=\"a\",code=\"{code}\"}} {total} {at}\n");
        }
    }
    std::fs::write(scratch.path().join("dump.om"), dump + "# EOF\n").unwrap();
    scratch
}

fn check(folder: &Path, line: &str, code: i32, said: &[&str]) {
    let output = backstop(folder, line);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{line}: {text}");
    for part in said {
        assert!(text.contains(part), "{line}: {part:?} is missing in: {text}");
    }
    let left = std::fs::read_dir(folder.join("tmp")).unwrap().count();
    assert_eq!(left, 0, "{line} leaves temporary files");
}

#[test]
fn it_says_what_would_have_happened_and_its_exit_code_what_it_could_not() {
    let scratch = stage("backtest_says");
    let folder = scratch.path();
    std::fs::write(folder.join("cut.om"), "a 1 1\nb 2 2\n").unwrap();
    std::fs::write(folder.join("empty.om"), "# EOF\n").unwrap();
    std::fs::write(folder.join("bad.toml"), "[rule.x]\nexpr = 'sum('\n").unwrap();
    for (line, code, said) in [
        (
            "backtest --data dump.om --rules rules.toml",
            0,
            &["fired once, critical once", "no deployment is under watch"][..],
        ),
        ("backtest --data dump.om --rules rules.toml --deploy 30m=2.1.0", 0, &["would be taken back", "2.1.0 is live"]),
        ("backtest --data cut.om --rules rules.toml", 2, &["breaks off after line 2"]),
        ("backtest --data nowhere.om --rules rules.toml", 2, &["nowhere.om"]),
        ("backtest --data dump.om --rules bad.toml", 2, &["bad.toml:2"]),
        ("backtest --data dump.om --rules rules.toml --deploy soon", 2, &["--deploy soon"]),
        ("backtest --data dump.om --last 2d", 2, &["--last"]),
        ("backtest --data empty.om --rules rules.toml", 3, &["there are no samples in that time"]),
        ("backtest --rules rules.toml", 3, &["there are no samples on disk", "--data FILE"]),
    ] {
        check(folder, line, code, said);
    }
}

#[test]
fn what_was_imported_is_played_like_the_file() {
    let scratch = stage("backtest_imported");
    let folder = scratch.path();
    let json = |line: &str| -> Value {
        let output = backstop(folder, line);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let of_file = json("backtest --data dump.om --rules rules.toml --format json");
    check(folder, "import dump.om", 0, &[]);
    let of_folder = json("backtest --last 3650d --rules rules.toml --format json");
    assert_eq!(of_file["rules"], of_folder["rules"]);
    assert_eq!(of_file["timeline"], of_folder["timeline"]);
    let errors = of_file["rules"].as_array().unwrap().iter().find(|rule| rule["rule"] == "errors").unwrap();
    assert_eq!(errors["fired"], 1, "{errors}");
}
