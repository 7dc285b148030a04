//! The ready-made rules: each fires when it should, keeps quiet at what only looks like it, and stands on its page.
//!
//! `tests/packs/*.toml` are scenarios in the format of `backstop test`, to be run and copied. What they would not
//! notice is found by rules that were made worse on purpose: some scenario must then fail.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use backstop::config::{self, Config, Options, packs};
use serde_json::Value as Json;
use toml::{Table, Value};

use crate::support::{Scratch, files, root, text};

const PAGE: &str = "docs/PACKS.md";

/// What begins the end of an expression for which nothing there is nothing wrong.
const NOTHING_THERE: &str = " or 0 * absent(";

/// The conditions of a rule.
const CONDITIONS: [&str; 3] = ["warning", "critical", "rollback"];

/// All rules of all packs, as they are written.
fn rules() -> Table {
    rules_of(&packs::names().collect::<Vec<_>>())
}

/// The rules of these packs.
fn rules_of(names: &[&str]) -> Table {
    let pack = |name| text(&format!("config/packs/{name}.toml")).parse::<Table>().unwrap();
    let all: Vec<(String, Value)> =
        names.iter().flat_map(|name| pack(name)["rule"].as_table().unwrap().clone()).collect();
    let count = all.len();
    let all = Table::from_iter(all);
    assert_eq!(all.len(), count, "two rules are called alike");
    all
}

/// The scenario files by their paths below the root.
fn scenario_files() -> Vec<String> {
    let files: Vec<String> = files("tests/packs").into_iter().filter(|path| path.ends_with(".toml")).collect();
    assert_eq!(files.len(), packs::names().count());
    files
}

/// A scenario as far as it concerns one rule: what is expected of it, in the order of time.
struct Scenario {
    name: String,
    expected: Vec<Table>,
}

impl Scenario {
    fn levels(&self) -> Vec<&str> {
        self.expected.iter().map(|expect| expect["level"].as_str().unwrap()).collect()
    }

    fn is_quiet(&self) -> bool {
        self.levels().iter().all(|level| *level == "ok")
    }

    fn due(&self) -> Vec<bool> {
        self.expected.iter().filter_map(|expect| expect.get("due")?.as_bool()).collect()
    }
}

/// All scenarios by rule.
fn scenarios() -> BTreeMap<String, Vec<Scenario>> {
    let mut all: BTreeMap<String, Vec<Scenario>> = BTreeMap::new();
    for path in scenario_files() {
        let file: Table = text(&path).parse().unwrap();
        for test in file["test"].as_array().unwrap() {
            let name = test["name"].as_str().unwrap().to_string();
            let mut by_rule: BTreeMap<String, Vec<Table>> = BTreeMap::new();
            for expect in test["expect"].as_array().unwrap() {
                let rule = expect["rule"].as_str().unwrap().to_string();
                by_rule.entry(rule).or_default().push(expect.as_table().unwrap().clone());
            }
            for (rule, expected) in by_rule {
                assert!(name.starts_with(&format!("{rule}: ")), "`{name}` does not begin with its rule");
                all.entry(rule).or_default().push(Scenario { name: name.clone(), expected });
            }
        }
    }
    all
}

/// Runs the tests of `files` in `folder` whose name begins with `of`; the exit code, and of each rule the names of the
/// tests that failed.
fn run(folder: &Path, files: &[String], of: &str) -> (i32, BTreeMap<String, BTreeSet<String>>) {
    let output = Command::new(env!("CARGO_BIN_EXE_backstop"))
        .args(["test", "--format", "json", "--run", &format!("^{of}")])
        .args(files)
        .env_remove("BACKSTOP_CONFIG")
        .env("BACKSTOP_STATE", folder)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("the program that was just built can be started");
    let reports: Json = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let mut failed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for report in reports.as_array().unwrap() {
        assert!(report["invalid"].is_null(), "{report}");
        for failure in report["failures"].as_array().unwrap() {
            let (what, test) = (failure["what"].as_str().unwrap(), failure["test"].as_str().unwrap());
            let rule = what.strip_prefix("rule ").unwrap_or(what).to_string();
            failed.entry(rule).or_default().insert(test.to_string());
        }
    }
    (output.status.code().unwrap_or(-1), failed)
}

/// Writes the rules of these packs as `change` leaves them; the name of the file.
fn write_changed(folder: &Path, packs: &[&str], change: &dyn Fn(&str, &mut Table)) -> String {
    let name = format!("changed-{}.toml", packs.join("-"));
    let mut rules = rules_of(packs);
    for (name, rule) in &mut rules {
        let rule = rule.as_table_mut().unwrap();
        rule.remove("needs");
        change(name, rule);
    }
    let mut config = Table::from_iter([("packs".to_string(), Value::Array(Vec::new()))]);
    config.insert("rule".into(), Value::Table(rules));
    std::fs::write(folder.join(&name), config.to_string()).unwrap();
    name
}

/// Runs all scenarios whose name begins with `of` with the rules as `change` leaves them.
fn run_changed(name: &str, of: &str, change: &dyn Fn(&str, &mut Table)) -> BTreeMap<String, BTreeSet<String>> {
    let scratch = Scratch::new(name);
    let mut written = Vec::new();
    for path in scenario_files() {
        let mut file: Table = text(&path).parse().unwrap();
        for test in file["test"].as_array_mut().unwrap() {
            let test = test.as_table_mut().unwrap();
            let packs = test.remove("packs").expect("a scenario names its packs");
            let packs: Vec<&str> = packs.as_array().unwrap().iter().map(|pack| pack.as_str().unwrap()).collect();
            let changed = write_changed(scratch.path(), &packs, change);
            test.insert("rules".into(), Value::Array(vec![changed.into()]));
        }
        written.push(Path::new(&path).file_name().unwrap().to_string_lossy().into_owned());
        std::fs::write(scratch.path().join(written.last().unwrap()), file.to_string()).unwrap();
    }
    run(scratch.path(), &written, of).1
}

/// The configuration that this text is.
fn configured(scratch: &Scratch, text: &str) -> (Option<Config>, String) {
    let path = scratch.path().join("backstop.toml");
    std::fs::write(&path, text).unwrap();
    let options = Options {
        path: Some(path),
        sets: Vec::new(),
        state: Some("/var/lib/backstop".into()),
        stderr_is_terminal: false,
        host: "web-1".into(),
        env: |_| None,
    };
    let loaded = config::load(&options);
    let said = loaded.render(false);
    (loaded.config, said)
}

fn names(config: &Config) -> Vec<&str> {
    config.rules.iter().map(|rule| rule.name.as_str()).collect()
}

#[test]
fn ready_made_rules_do_what_their_scenarios_say() {
    let scratch = Scratch::new("packs_scenarios");
    let files: Vec<String> = scenario_files().iter().map(|path| root().join(path).display().to_string()).collect();
    assert_eq!(run(scratch.path(), &files, ""), (0, BTreeMap::new()));
}

#[test]
fn every_ready_made_rule_has_scenarios_in_which_it_fires_resolves_and_keeps_quiet() {
    let scenarios = scenarios();
    let rules = rules();
    assert!(scenarios.keys().eq(rules.keys()), "{:?}", scenarios.keys());
    for (name, rule) in &rules {
        let of = &scenarios[name];
        for level in ["warning", "critical"].into_iter().filter(|level| rule.get(*level).is_some()) {
            assert!(of.iter().any(|s| s.levels().contains(&level)), "{name} is never {level}");
        }
        let resolves = |s: &Scenario| s.levels().last() == Some(&"ok") && !s.is_quiet();
        assert!(of.iter().any(resolves), "{name} never resolves");
        assert!(of.iter().any(Scenario::is_quiet), "{name} is never quiet");
        let due: BTreeSet<bool> = of.iter().flat_map(Scenario::due).collect();
        assert_eq!(due.contains(&true), rule.get("rollback").is_some(), "{name} as a criterion");
        assert!(due.contains(&false) || rule.get("rollback").is_none(), "{name} is always due");
    }
}

/// A quiet scenario in which the rule has nothing to judge would prove nothing.
#[test]
fn where_a_ready_made_rule_keeps_quiet_it_has_something_to_judge() {
    let failed = run_changed("packs_open", "", &|_, rule| {
        CONDITIONS.iter().chain(&["for", "keep"]).for_each(|key| drop(rule.remove(*key)));
        let open: Table = "when = \"!= 12345.5\"\nfor = \"0s\"".parse().unwrap();
        rule.insert("warning".into(), Value::Table(open));
        let expr = rule["expr"].as_str().unwrap().split(NOTHING_THERE).next().unwrap().to_string();
        rule.insert("expr".into(), Value::String(expr));
    });
    for (rule, scenarios) in scenarios() {
        for scenario in scenarios.iter().filter(|s| s.is_quiet()) {
            assert!(failed.get(&rule).is_some_and(|tests| tests.contains(&scenario.name)), "{}", scenario.name);
        }
    }
}

#[test]
fn a_ready_made_rule_that_does_not_wait_fails_a_scenario() {
    let failed = run_changed("packs_hasty", "", &|_, rule| {
        rule.insert("for".into(), Value::String("0s".into()));
        for key in CONDITIONS {
            if let Some(Value::Table(condition)) = rule.get_mut(key) {
                condition.insert("for".into(), Value::String("0s".into()));
            }
        }
    });
    let waits = |rule: &Value| {
        let of = |key: &str| match rule.get(key) {
            Some(Value::Table(condition)) => condition.get("for").or(rule.get("for")).cloned(),
            Some(_) if key != "rollback" => Some(rule.get("for").cloned().unwrap_or("1m".into())),
            _ => None,
        };
        CONDITIONS.iter().filter_map(|key| of(key)).any(|held| held.as_str() != Some("0s"))
    };
    let waiting: BTreeSet<String> = rules().into_iter().filter(|(_, rule)| waits(rule)).map(|(name, _)| name).collect();
    assert!(waiting.len() > 10, "{waiting:?}");
    assert_eq!(failed.keys().cloned().collect::<BTreeSet<_>>(), waiting);
}

#[test]
fn a_ready_made_rule_that_lacks_one_of_its_guards_fails_a_scenario() {
    let guards = [
        ("host-cpu", "idle|iowait", "idle"),
        ("host-disk-fills", "* (predict_linear(node_filesystem_avail_bytes[1h], 86400) < bool 0)", ""),
        ("host-disk-fills", "* (node_filesystem_avail_bytes / node_filesystem_size_bytes < bool 0.4)", ""),
        ("host-disk-fills", ">= bool 3600", ">= bool 0"),
        ("target-down", "external=\"\",", ""),
        ("target-down", ",optional=\"\"", ""),
        ("external-down", "{external=\"true\"}", ""),
        ("tls-expiry", "external=\"\",", ""),
        (
            "scrape-limit",
            "max_over_time(scrape_samples_post_metric_relabeling[10m])",
            "scrape_samples_post_metric_relabeling",
        ),
        ("container-restarts", "* (increase(container_restarts_total[3m]) > bool 0)", ""),
        ("container-restarts", "unless on (job, instance) probe_success{external=\"true\"}", ""),
        ("container-memory", "(container_spec_memory_limit_bytes > 0)", "container_spec_memory_limit_bytes"),
        ("unit-restarts", "* (increase(systemd_unit_restarts_total[3m]) > bool 0)", ""),
        ("unit-restarts", "unless on (job, instance) probe_success{external=\"true\"}", ""),
        ("unit-memory", "* systemd_unit_memory_is_limited", ""),
        ("log-critical", "critical|fatal", "critical|fatal|error"),
    ];
    for (number, (name, guard, instead)) in guards.into_iter().enumerate() {
        let found = std::cell::Cell::new(false);
        let failed = run_changed(&format!("packs_guard_{number}"), &format!("{name}:"), &|of, rule| {
            if of == name {
                let expr = rule["expr"].as_str().unwrap();
                found.set(expr.contains(guard));
                let expr = expr.replace(guard, instead);
                rule.insert("expr".into(), Value::String(expr));
            }
        });
        assert!(found.get(), "{name} has no {guard}");
        assert!(failed.contains_key(name), "no scenario of {name} needs {guard}");
    }
}

#[test]
fn every_ready_made_rule_says_what_it_means_and_what_to_do() {
    for (name, rule) in rules() {
        for key in ["summary", "runbook"] {
            let text = rule.get(key).and_then(Value::as_str).unwrap_or_default();
            assert!((30..=200).contains(&text.len()) && text.ends_with(['.', '?']), "{name}: {key} is {text:?}");
        }
    }
}

#[test]
fn the_page_of_packs_names_every_rule_and_no_other() {
    let page = text(PAGE);
    let headings = page.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'));
    let mut headings: Vec<&str> = headings.collect();
    headings.sort();
    assert!(rules().keys().eq(headings.iter().copied()), "{headings:?}");
    for (name, rule) in rules() {
        let section = page.split(&format!("### `{name}`\n")).nth(1).unwrap();
        let section = section.split("\n#").next().unwrap();
        assert_eq!(section.contains("Rolls back"), rule.get("rollback").is_some(), "{name}: {section}");
        assert!(section.contains("What to do"), "{name}");
    }
}

#[test]
fn what_the_page_of_packs_says_to_write_is_good() {
    let scratch = Scratch::new("packs_page");
    let page = text(PAGE);
    let blocks: Vec<&str> = page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() > 4);
    for block in blocks {
        let sources = "[host]\n[http.a]\nurl = \"https://127.0.0.1/\"\n[log.a]\nfile = \"/var/log/a.log\"\n";
        let (config, said) = configured(&scratch, &format!("{block}{sources}"));
        assert!(config.is_some() && !said.contains("ready-made"), "{block}{said}");
    }
}

#[test]
fn a_ready_made_rule_is_there_where_its_source_is() {
    let scratch = Scratch::new("packs_needs");
    let own = "[http.a]\nurl = \"http://127.0.0.1/\"\n";
    let secure = "[vars]\na = \"https://127.0.0.1\"\n[http.a]\nurl = \"${a}/\"\n";
    let log = "[log.a]\nfile = \"/var/log/a.log\"\n";
    let steps = "[[rollback.step]]\ncommand = [\"/bin/true\"]\n";
    let page = "[prometheus.p]\nurl = \"http://127.0.0.1/\"\nenabled = false\n";
    let host = [
        "host-cpu",
        "host-memory",
        "host-disk",
        "host-disk-fills",
        "host-inodes",
        "host-disk-readonly",
        "host-oom",
        "target-down",
    ];
    let rows: [(String, &[&str]); 14] = [
        (String::new(), &[]),
        ("[host]\n".into(), &host),
        ("[host]\nenabled = false\n".into(), &[]),
        (own.into(), &["target-down"]),
        (secure.into(), &["target-down", "tls-expiry"]),
        (format!("{own}optional = true\n"), &[]),
        (format!("{secure}external = true\n"), &["external-down"]),
        (page.into(), &[]),
        (page.replace("false", "true"), &["target-down", "scrape-limit"]),
        (log.into(), &["target-down", "log-critical"]),
        (steps.into(), &["not-ready"]),
        (
            "[container.a]\nproject = \"shop\"\n".into(),
            &["target-down", "container-restarts", "container-oom", "container-memory", "container-engine"],
        ),
        ("[systemd.a]\nunit = \"x.service\"\n".into(), &["target-down", "unit-restarts", "unit-memory", "unit-oom"]),
        (format!("packs = [\"log\"]\n[host]\n{log}{steps}"), &["log-critical"]),
    ];
    for (text, wanted) in rows {
        let (config, said) = configured(&scratch, &format!("{text}[channel.log.file]\nfile = \"/tmp/x\"\n"));
        let config = config.unwrap_or_else(|| panic!("{text}{said}"));
        let own = |name: &&str| !["no-data", "undelivered"].contains(name);
        let found: Vec<&str> = names(&config).into_iter().filter(own).collect();
        assert_eq!(found, wanted, "{text}");
    }
    assert!(names(&configured(&scratch, "packs = []\n[host]\n").0.unwrap()).is_empty());
}

#[test]
fn a_ready_made_rule_is_overridden_key_by_key_and_switched_off() {
    let scratch = Scratch::new("packs_override");
    let text = "[host]\n[rule.host-cpu]\nwarning = \"> 50%\"\n[rule.host-oom]\nenabled = false\n[rule.log-critical]\nenabled = false\n";
    let (config, said) = configured(&scratch, text);
    assert!(!said.contains("ready-made"), "what is not there may be switched off: {said}");
    let config = config.unwrap();
    assert!(!names(&config).contains(&"host-oom"));
    let cpu = config.rules.iter().find(|rule| rule.name == "host-cpu").unwrap();
    assert_eq!(cpu.warning.as_ref().unwrap().when.to_string(), "> 50 %");
    assert_eq!(cpu.critical.as_ref().unwrap().when.to_string(), "> 95 %");
    assert!(cpu.summary.is_some());
    // A rule of one's own may be called like one that is not there.
    let text = "[http.a]\nurl = \"http://127.0.0.1/\"\n[rule.host-cpu]\nexpr = \"up\"\ncritical = \"== 0\"\n";
    let (config, said) = configured(&scratch, text);
    assert!(names(&config.unwrap()).contains(&"host-cpu"), "{said}");
}

#[test]
fn all_packs_are_loaded_without_a_word() {
    let all: Vec<&str> = packs::names().collect();
    let loaded = config::of_packs(&all, &Options::of_process());
    assert_eq!(loaded.render(false), "");
    let found: BTreeSet<String> = loaded.config.unwrap().rules.into_iter().map(|rule| rule.name).collect();
    assert_eq!(found, rules().into_iter().map(|(name, _)| name).collect());
}
