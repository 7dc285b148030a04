//! The benchmark of decisions: its rows, its order, and what it says about recorded values.
//!
//! What a row needs to be worth something (many watches) stands in docs/DECISIONS.md; here are few.

#[path = "../examples/decisions/args.rs"]
mod args;
#[path = "../examples/decisions/bench.rs"]
mod bench;
#[path = "../examples/decisions/memory.rs"]
pub mod memory;
#[path = "../examples/decisions/noise.rs"]
pub mod noise;
#[path = "../examples/decisions/ours.rs"]
mod ours;
#[path = "../examples/decisions/rivals/mod.rs"]
mod rivals;
#[path = "../examples/decisions/scenario.rs"]
mod scenario;
#[path = "../examples/decisions/score.rs"]
mod score;
#[path = "../examples/decisions/table.rs"]
mod table;
#[path = "../examples/decisions/traffic.rs"]
pub mod traffic;
#[path = "../examples/decisions/values.rs"]
mod values;
#[path = "../examples/decisions/watch.rs"]
mod watch;
#[path = "../examples/decisions/world.rs"]
mod world;

use std::collections::BTreeSet;
use std::sync::OnceLock;

use bench::{Plan, policies, run};
use clap::{Parser, ValueEnum};
use scenario::{Setting, Signals, World, settings};
use score::Row;

/// What the names of scenarios begin with.
const KINDS: [&str; 7] = ["healthy-", "step-", "ramp-", "leak-", "errors-", "outage-", "startup-"];

fn rows(settings: Vec<Setting>, watches: usize, seed: u64, threads: usize) -> Vec<Row> {
    run(&Plan { seed, watches, settings, threads })
}

/// One watch of every row.
fn all() -> &'static [Row] {
    static ALL: OnceLock<Vec<Row>> = OnceLock::new();
    ALL.get_or_init(|| rows(World::value_variants().iter().flat_map(|world| settings(*world)).collect(), 1, 1, 2))
}

/// Healthy requests at those rates, with that share of errors.
fn healthy(rates: &[f64], errors: f64) -> Vec<Setting> {
    let wanted = |setting: &Setting| match setting.signals {
        Signals::Requests { rate, share, bursts } => rates.contains(&rate) && share == errors && !bursts,
        _ => false,
    };
    settings(World::Requests).into_iter().filter(wanted).collect()
}

fn json(rows: &[Row]) -> String {
    let mut text = Vec::new();
    table::json(rows, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

/// What the command prints, or what it says is wrong.
fn command(args: &[&str]) -> Result<String, String> {
    let args = args::Args::try_parse_from([&["decisions"], args].concat()).map_err(|problem| problem.to_string())?;
    let mut out = Vec::new();
    args.run(&mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn the_same_seed_gives_the_same_rows_whatever_the_threads() {
    let few = || settings(World::Service).into_iter().chain(healthy(&[2.0, 5.0], 0.01)).collect();
    let one = json(&rows(few(), 3, 7, 1));
    assert_eq!(one, json(&rows(few(), 3, 7, 3)));
    assert_ne!(one, json(&rows(few(), 3, 8, 1)), "another seed draws other watches");
}

#[test]
fn every_row_has_its_fields_and_is_possible() {
    for line in json(all()).lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let scenario = row["scenario"].as_str().unwrap();
        let share = |name: &str| row[name].as_f64().inspect(|share| assert!((0.0..=1.0).contains(share), "{line}"));
        let is_healthy = scenario.starts_with("healthy-");
        assert!(row["policy"].is_string() && row["noise"].is_string() && row["watches"] == 1, "{line}");
        assert!(share("alarm_share").is_some(), "{line}");
        assert!(share("rollback_share").unwrap_or(0.0) <= share("alarm_share").unwrap(), "{line}");
        assert_eq!(share("found_share").is_none(), is_healthy, "{line}");
        assert!(share("in_time_share").unwrap_or(0.0) <= share("found_share").unwrap_or(0.0), "{line}");
        let minutes = |name: &str| row[name].as_f64();
        assert_eq!(minutes("median_minutes").is_some(), share("found_share") == Some(1.0), "one watch: {line}");
        assert_eq!(minutes("median_minutes"), minutes("p95_minutes"), "one watch: {line}");
        for name in ["traffic_per_minute", "rollback_share", "detectable"] {
            assert!(row.get(name).is_some(), "{name} is null where it does not apply, not away: {line}");
        }
        assert_eq!(
            row["detectable"].is_boolean(),
            !is_healthy && counts(scenario) && row["world"] != "memory",
            "{line}"
        );
        assert_eq!(row["traffic_per_minute"].is_null(), row["world"] == "values" || row["world"] == "memory", "{line}");
    }
}

/// Whether requests fail in it.
fn counts(scenario: &str) -> bool {
    ["errors-", "startup-crash-loop", "outage-10min"].iter().any(|prefix| scenario.starts_with(prefix))
}

#[test]
fn every_kind_of_scenario_and_every_policy_has_rows() {
    let begins = |row: &Row| KINDS.iter().find(|kind| row.heading.scenario.starts_with(**kind));
    for kind in KINDS {
        assert!(all().iter().any(|row| begins(row) == Some(&kind)), "{kind}");
    }
    for row in all() {
        assert!(begins(row).is_some(), "{}", row.heading.scenario);
    }
    for policy in policies() {
        assert!(all().iter().any(|row| row.heading.policy == policy.name()), "{}", policy.name());
        assert!(policy.note().len() > 20, "{} says where its settings are from", policy.name());
    }
    for kind in ["backstop-", "prometheus-", "argo-", "flagger", "kayenta"] {
        assert!(all().iter().any(|row| row.heading.policy.starts_with(kind)), "{kind}");
    }
    let values = all().iter().filter(|row| row.heading.world == "values");
    assert_eq!(values.map(|row| row.heading.noise).collect::<BTreeSet<_>>().len(), 16);
}

#[test]
fn total_failure_shows_at_ten_a_minute_and_a_fifth_not_at_one_in_ten_minutes() {
    let shows = |scenario: &str, rate: f64| {
        let row =
            all().iter().find(|row| row.heading.scenario == scenario && row.heading.traffic_per_minute == Some(rate));
        row.unwrap().detectable
    };
    assert_eq!(shows("errors-100pct", 10.0), Some(true));
    assert_eq!(shows("errors-20pct", 0.1), Some(false));
}

#[test]
fn a_threshold_alarms_where_little_traffic_is_healthy_and_ours_does_not() {
    let rows = rows(healthy(&[1.0, 2.0], 0.02), 8, 3, 2);
    let alarms = |policy: &str| {
        let of = rows.iter().filter(|row| row.heading.policy == policy && row.heading.scenario == "healthy-2pct");
        of.map(|row| row.alarm_share).sum::<f64>() / 2.0
    };
    // The plain rule alarms in nearly all of these watches, ours in at most 2 %: one of sixteen by chance.
    assert!(alarms("prometheus-threshold") > 0.5, "{}", alarms("prometheus-threshold"));
    assert!(alarms("backstop-ratio") < 0.1, "{}", alarms("backstop-ratio"));
}

#[test]
fn metrics_that_cannot_be_read_roll_nothing_back() {
    let rows = rows(settings(World::Service), 6, 5, 2);
    let of = |policy: &str, scenario: &str| {
        rows.iter().find(|row| row.heading.policy == policy && row.heading.scenario == scenario).unwrap()
    };
    for scenario in ["healthy-metrics-away-40s", "healthy-metrics-away-10min"] {
        assert_eq!(of("backstop-combined", scenario).rollback_share, Some(0.0), "{scenario}");
    }
    let rival = of("argo-rollouts", "healthy-metrics-away-10min");
    assert_eq!(rival.rollback_share, Some(1.0), "five errors in a row abort");
}

#[test]
fn the_table_has_a_block_a_scenario_and_its_notes() {
    let mut text = Vec::new();
    let policies = policies();
    let notes: Vec<_> = policies.iter().map(|policy| (policy.name(), policy.note())).collect();
    table::text(all(), &notes, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    for part in ["requests: errors-30pct (1 watches a cell, to be found in 60 min)", "independent 0.1/min", "refused"] {
        assert!(text.contains(part), "{part}");
    }
    let unnoted: Vec<_> = notes.iter().filter(|(name, _)| !text.contains(&format!("  {name}: "))).collect();
    assert!(unnoted.is_empty(), "{unnoted:?}");
}

#[test]
fn the_command_line_is_read() {
    let rows = command(&["--seed", "2", "--watches", "1", "--format", "json", "--world", "service"]).unwrap();
    assert!(rows.lines().count() > 20 && rows.lines().all(|line| line.starts_with("{\"world\":\"service\"")), "{rows}");
    assert!(command(&["--watches", "0"]).is_err());
    assert!(command(&["--t0", "2026-03-02T00:00:00Z"]).is_err(), "t0 is of --values");
}

/// Minutes from 8 days before T0 to 5 hours after it, with a day cycle; from minute 30 on, times `factor`.
fn recorded(factor: f64) -> String {
    let line = |minute: i64| {
        let wave = (minute as f64 / 1440.0 * std::f64::consts::TAU).sin();
        let jitter = (minute as f64 * 12.9898).sin() * 0.1;
        let usual = 100.0 * (1.0 + 0.3 * wave) * (1.0 + jitter);
        format!("{},{:.2}\n", 1_767_571_200 + 60 * minute, if minute < 30 { usual } else { usual * factor })
    };
    (-8 * 1440..300).map(line).collect()
}

/// What is said about recorded values.
fn judged(text: &str, t0: Option<&str>) -> String {
    let mut out = Vec::new();
    values::report(&values::parse(text, t0).unwrap(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn recorded_values_are_judged_with_times_and_reasons() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.csv");
    std::fs::write(&file, format!("# t0 = 2026-01-05T00:00:00Z\ntime,value\n{}", recorded(2.5))).unwrap();
    let text = command(&["--values", file.to_str().unwrap()]).unwrap();
    let ours = text.split("\n\n").find(|part| part.starts_with("backstop-baseline")).unwrap();
    assert!(ours.contains("rollback") && ours.contains("2026-01-05T00:") && ours.contains("above usual"), "{ours}");
    assert!(text.contains("kayenta"), "{text}");

    let healthy = judged(&recorded(1.0), Some("2026-01-05T00:00:00Z"));
    assert!(healthy.contains("backstop-baseline\n  decides everything\n  silent"), "{healthy}");
    let two_days: String = recorded(2.5).lines().skip(6 * 1440).map(|line| format!("{line}\n")).collect();
    let two_days = judged(&two_days, Some("2026-01-05T00:00:00Z"));
    let ours = two_days.split("\n\n").find(|part| part.starts_with("backstop-baseline")).unwrap();
    assert!(ours.contains("warnings only") && ours.contains(" alarm, ") && !ours.contains("rollback,"), "{ours}");
}

#[test]
fn what_no_baseline_can_be_made_of_is_refused_with_its_reason() {
    let t0 = Some("1767571200");
    let short: String = recorded(1.0).lines().skip(8 * 1440 - 300).map(|line| format!("{line}\n")).collect();
    let zeros: String = recorded(1.0).lines().map(|line| format!("{},0\n", line.split_once(',').unwrap().0)).collect();
    let holes: String = recorded(1.0)
        .lines()
        .enumerate()
        .map(
            |(i, line)| {
                if i % 3 == 0 { format!("{},\n", line.split_once(',').unwrap().0) } else { format!("{line}\n") }
            },
        )
        .collect();
    for (text, reason) in [(short, "a whole day"), (zeros, "zeros"), (holes, "70 %")] {
        let said = judged(&text, t0);
        let ours = said.split("\n\n").find(|part| part.starts_with("backstop-baseline")).unwrap();
        assert!(ours.contains("not armed: ") && ours.contains(reason), "{ours}");
    }
}

#[test]
fn a_bad_file_is_told_with_the_numbers_of_its_lines() {
    let wrong = |text: &str, t0: Option<&str>| values::parse(text, t0).unwrap_err();
    let many = wrong("time,value\n100,1\nsoon,3\n160,much\n40,2\nnothing\n", None);
    for part in ["line 3: `soon`", "line 4: `much`", "line 5: is earlier", "line 6: `nothing` has no comma"] {
        assert!(many.contains(part), "{part}: {many}");
    }
    let endless = wrong(&"x\n".repeat(1000), None);
    assert!(endless.lines().count() == 6 && endless.contains("995 more"), "{endless}");
    for (text, t0, reason) in [
        ("100,1\n", None, "says nowhere when the deployment was"),
        ("# t0 = tomorrow\n100,1\n", None, "line 1: t0 = tomorrow"),
        ("100,1\n", Some("tomorrow"), "--t0 tomorrow"),
        ("", Some("100"), "has no values"),
        ("100,1\n", Some("50"), "no values before T0"),
        ("100,1\n", Some("500"), "no values after T0"),
        ("100,1\n200000000000,1\n", Some("160"), "milliseconds"),
        ("1e300,1\n", Some("160"), "line 1"),
        ("\u{0}\u{7}\n", Some("160"), "line 1"),
    ] {
        assert!(wrong(text, t0).contains(reason), "{text:?}: {}", wrong(text, t0));
    }
    let unread = command(&["--values", "/nowhere/values.csv"]).unwrap_err();
    assert!(unread.contains("/nowhere/values.csv: cannot be read"), "{unread}");
}

#[test]
fn odd_values_are_missing_minutes() {
    let text = "40,1\n100,NaN\n160,inf\n161,2\n162,4\n220,\n";
    let said = judged(text, Some("160"));
    assert!(said.contains("2 minutes before it, 1 of them without a value"), "{said}");
    assert!(said.contains("2 minutes after it, 1 of them without a value"), "{said}");
}
