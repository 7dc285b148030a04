//! Units of a systemd that says what the test wants.

use zbus::Variant;

use super::*;
use crate::source::testing::{defaults, outcome, read, value};
use crate::sys::units::testing::{Fake, Manner};

/// The source of a table on the bus of the test; its systemctl is this program, or none.
fn source(fake: &Fake, toml: &str, systemctl: &str) -> Systemd {
    let (config, problems) = read(toml, |node, problems| Config::read("shop", node, &defaults(), problems));
    assert_eq!(problems, Vec::<String>::new(), "{toml}");
    Systemd::at(config.unwrap(), fake.address(), Some(systemctl))
}

async fn next(source: &mut Systemd, clock: &Clock) -> Batch {
    tokio::time::timeout(Span::secs(60).to_std(), source.next(clock)).await.expect("it says something")
}

const ONE: &str = "unit = \"shop\"\ninterval = \"10m\"\ntimeout = \"2s\"";

#[tokio::test]
async fn a_change_is_told_at_once_and_its_end_always() {
    let fake = Fake::new();
    fake.set("shop.service", &[]);
    let mut shop = source(&fake, ONE, "/none");
    let clock = Clock::new();
    let first = next(&mut shop, &clock).await;
    assert_eq!((outcome(&first).as_str(), first.instance.as_str(), first.holds), ("good", "shop.service", false));
    let name = ("name", "shop.service");
    for (series, labels, wanted) in [
        ("probe_success", vec![("service", "shop"), ("job", "shop"), ("source", "systemd")], 1.0),
        ("systemd_unit_active", vec![name], 1.0),
        ("node_systemd_unit_state", vec![name, ("state", "active"), ("type", "simple")], 1.0),
        ("node_systemd_unit_state", vec![name, ("state", "failed"), ("type", "simple")], 0.0),
        ("systemd_unit_restarts_total", vec![name], 0.0),
        ("systemd_unit_start_time_seconds", vec![name], 1.7e9),
        ("systemd_unit_memory_bytes", vec![name], 4096.0),
        ("systemd_unit_memory_limit_bytes", vec![name], units::memory_of_host() as f64),
        ("systemd_unit_memory_is_limited", vec![name], 0.0),
        ("systemd_unit_cpu_seconds_total", vec![name], 1.5),
        ("systemd_unit_tasks", vec![name], 3.0),
        ("systemd_unit_result", vec![name, ("result", "success")], 1.0),
        ("systemd_unit_info", vec![name, ("fragment", "/etc/systemd/system/x.service")], 1.0),
    ] {
        assert_eq!(value(&first, series, &labels), Some(wanted), "{series}");
    }
    let mut took = Vec::new();
    for round in 0..5 {
        let failed = [("ActiveState", Variant::new("failed")), ("NRestarts", Variant::new(1 + round))];
        for (change, wanted) in [(&failed[..], "failed: "), (&[("ActiveState", Variant::new("active"))], "good")] {
            let (watch, change) = (Stopwatch::start(), copies(change));
            let (batch, ()) = tokio::join!(next(&mut shop, &clock), fake.change("shop.service", &change));
            took.push(watch.seconds());
            assert!(outcome(&batch).starts_with(wanted), "{}", outcome(&batch));
            assert_eq!(value(&batch, "systemd_unit_restarts_total", &[name]), Some(f64::from(round + 1)));
        }
    }
    took.sort_by(f64::total_cmp);
    println!("median {:.1} ms", took[took.len() / 2] * 1e3);
    // A flood: the last word is told, and each state between is not.
    for n in 0..200u32 {
        fake.change("shop.service", &[("NRestarts", Variant::new(10 + n))]).await;
    }
    let mut n_told = 0;
    loop {
        n_told += 1;
        let batch = next(&mut shop, &clock).await;
        if value(&batch, "systemd_unit_restarts_total", &[name]) == Some(209.0) {
            break;
        }
    }
    assert!(n_told < 50, "{n_told}");
}

fn copies(properties: &[(&'static str, Variant<'static>)]) -> Vec<(&'static str, Variant<'static>)> {
    properties.iter().map(|(name, value)| (*name, value.try_clone().unwrap())).collect()
}

#[tokio::test]
async fn a_look_at_units_that_did_not_change_is_one_question() {
    let fake = Fake::new();
    let many: Vec<String> = (0..500).map(|n| format!("u{n}.service")).collect();
    many.iter().for_each(|unit| fake.set(unit, &[]));
    let mut all = source(&fake, &format!("units = {many:?}\ninterval = \"1h\"\ntimeout = \"10m\""), "/none");
    let clock = Clock::new();
    for (n, unit) in many.iter().enumerate() {
        let batch = next(&mut all, &clock).await;
        assert_eq!((batch.instance.as_str(), outcome(&batch).as_str()), (unit.as_str(), "good"));
        let service = format!("u{n}");
        assert!(batch.samples.iter().all(|sample| sample.labels.get("service") == service), "{batch:?}");
    }
    fake.calls();
    assert_eq!(outcome(&all.collect(Timestamp(5)).await), "good");
    assert_eq!(fake.calls(), ["ListUnitsByNames"]);
    // A change of which no signal came is seen as well.
    fake.set("u7.service", &[("SubState", Variant::new("exited"))]);
    all.collect(Timestamp(6)).await;
    assert_eq!(fake.calls(), ["ListUnitsByNames", "GetAll /org/freedesktop/systemd1/unit/u7_2eservice"]);
}

#[tokio::test]
async fn a_bus_that_comes_back_is_listened_to_again() {
    let mut fake = Fake::new();
    fake.set("shop.service", &[]);
    let mut shop = source(&fake, ONE, "/none");
    let clock = Clock::new();
    next(&mut shop, &clock).await;
    fake.kill();
    fake.start();
    fake.set("shop.service", &[("ActiveState", Variant::new("failed"))]);
    // Long before the interval ends, and without a signal.
    let batch = next(&mut shop, &clock).await;
    assert!(outcome(&batch).starts_with("failed: shop.service failed"), "{}", outcome(&batch));
    fake.change("shop.service", &[("ActiveState", Variant::new("active"))]).await;
    assert_eq!(outcome(&next(&mut shop, &clock).await), "good");
}

#[tokio::test]
async fn without_a_bus_systemctl_is_asked_and_without_both_the_reason_is_told() {
    let place = crate::sys::files::testing::Scratch::new("units-show");
    let text = "#!/bin/sh\nprintf 'Id=shop.service\\nLoadState=loaded\\nActiveState=active\\nNRestarts=4\\n'\n";
    let path = place.put("systemctl", text.as_bytes());
    let mode: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, mode).unwrap();
    let mut fake = Fake::new();
    fake.set("shop.service", &[]);
    fake.kill();
    let toml = "unit = \"shop\"\ninterval = \"1s\"\ntimeout = \"1s\"";
    let mut shop = source(&fake, toml, path.to_str().unwrap());
    let clock = Clock::new();
    let batch = next(&mut shop, &clock).await;
    assert_eq!(value(&batch, "systemd_unit_restarts_total", &[]), Some(4.0), "{}", outcome(&batch));
    fake.start();
    let batch = next(&mut shop, &clock).await;
    assert_eq!(value(&batch, "systemd_unit_tasks", &[]), Some(3.0), "the bus is asked as soon as it is there");
    fake.change("shop.service", &[("ActiveState", Variant::new("inactive"))]).await;
    let batch = next(&mut shop, &clock).await;
    assert!(outcome(&batch).starts_with("inactive: "), "{}", outcome(&batch));
    for (manner, wanted) in
        [(Manner::Hangs, "timeout: "), (Manner::Refuses, "permission: "), (Manner::Babbles, "bus: ")]
    {
        fake.behave(manner);
        let mut blind = source(&fake, toml, "/none/systemctl");
        let watch = Stopwatch::start();
        let batch = blind.collect(Timestamp(5)).await;
        let said = outcome(&batch);
        assert!(said.starts_with(wanted) && said.contains("/none/systemctl cannot be run"), "{said}");
        assert!(watch.elapsed() < Span::secs(5), "{manner:?} {}", watch.elapsed());
        assert_eq!((batch.at, value(&batch, "probe_success", &[])), (Timestamp(5), Some(0.0)));
    }
}

#[tokio::test]
async fn a_unit_that_starts_says_neither_that_it_is_well_nor_that_it_is_not() {
    let fake = Fake::new();
    let now = Clock::new().now().0 as u64 * 1000;
    fake.set(
        "shop.service",
        &[("ActiveState", Variant::new("activating")), ("StateChangeTimestamp", Variant::new(now))],
    );
    let mut shop = source(&fake, ONE, "/none");
    let batch = next(&mut shop, &Clock::new()).await;
    assert_eq!((outcome(&batch).as_str(), value(&batch, "probe_success", &[])), ("good", None));
    assert_eq!(value(&batch, "node_systemd_unit_state", &[("state", "activating")]), Some(1.0));
}

#[tokio::test]
async fn totals_go_on_over_a_restart_of_the_agent() {
    let fake = Fake::new();
    fake.set("shop.service", &[("NRestarts", Variant::new(5u32))]);
    let clock = Clock::new();
    let kept = next(&mut source(&fake, ONE, "/none"), &clock).await.checkpoint.unwrap();
    // By hand, and once more by itself.
    fake.set("shop.service", &[("NRestarts", Variant::new(1u32))]);
    let mut shop = source(&fake, ONE, "/none");
    shop.resume(&BTreeMap::from([("shop.service", &*kept), ("other.service", b"{")]));
    let batch = next(&mut shop, &clock).await;
    assert_eq!(value(&batch, "systemd_unit_restarts_total", &[]), Some(6.0));
    fake.change("shop.service", &[]).await;
    assert_eq!(next(&mut shop, &clock).await.checkpoint, None, "what did not change is not kept again");
}

#[tokio::test]
async fn one_look_tells_of_all_units() {
    let fake = Fake::new();
    fake.set("a.service", &[]);
    fake.set("b.service", &[("ActiveState", Variant::new("inactive"))]);
    let mut all = source(&fake, "units = [\"a\", \"b\", \"none\"]", "/none");
    let batch = all.collect(Timestamp(5)).await;
    assert_eq!(outcome(&batch), "inactive: 2 of 3 units: b.service does not run: systemctl start b.service");
    assert_eq!(batch.instance, "shop");
    for (unit, wanted) in [("a.service", 1.0), ("b.service", 0.0), ("none.service", 0.0), ("shop", 0.0)] {
        assert_eq!(value(&batch, "probe_success", &[("instance", unit)]), Some(wanted), "{unit}");
    }
    let reasons = |unit, reason| value(&batch, "probe_failure_info", &[("instance", unit), ("reason", reason)]);
    assert_eq!((reasons("none.service", "missing"), reasons("b.service", "inactive")), (Some(1.0), Some(1.0)));
    assert_eq!(value(&batch, "systemd_unit_active", &[("name", "none.service")]), None, "of nothing there is nothing");
}

#[tokio::test]
async fn a_systemd_that_is_slow_is_asked_for_the_rest_behind_the_look() {
    let fake = Fake::new();
    let many: Vec<String> = (0..20).map(|n| format!("u{n}.service")).collect();
    many.iter().for_each(|unit| fake.set(unit, &[]));
    fake.behave(Manner::Slow);
    // Each unit takes 30 ms, and a look has 200.
    let mut all = source(&fake, &format!("units = {many:?}\ninterval = \"1h\"\ntimeout = \"400ms\""), "/none");
    let clock = Clock::new();
    let mut well = BTreeSet::new();
    while well.len() < many.len() {
        let batch = next(&mut all, &clock).await;
        match outcome(&batch).as_str() {
            "good" => drop(well.insert(batch.instance)),
            other => assert!(other.starts_with("timeout: systemd has not told of u"), "{other}"),
        }
    }
    assert_eq!(fake.calls().iter().filter(|call| *call == "Hello").count(), 1, "and all over one connection");
}

#[tokio::test]
async fn a_unit_that_is_not_understood_is_no_trouble_of_the_others() {
    let fake = Fake::new();
    fake.set("a.service", &[]);
    fake.set("b.service", &[("ActiveState", Variant::new("levitating"))]);
    let mut all = source(&fake, "units = [\"a\", \"b\"]", "/none");
    let clock = Clock::new();
    assert_eq!(outcome(&next(&mut all, &clock).await), "good");
    let odd = next(&mut all, &clock).await;
    assert!(odd.instance == "b.service" && outcome(&odd).contains("nothing that is understood"), "{}", outcome(&odd));
}
