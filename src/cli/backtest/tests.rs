//! Whole replays: a file or a folder in, a report out.

use std::path::Path;

use super::*;
use crate::base::{Batch, Id, Labels, Outcome, Sample};
use crate::cli::{Color, Format, Globals, import};
use crate::engine::Event;
use crate::sys::files;
use crate::sys::journal::{Journal, Row, Write};
use crate::watch;

/// The first moment of all data here: 2025-10-28 08:26:40.
const BEGIN: i64 = 1_761_640_000;

const UTC: jiff::tz::TimeZone = jiff::tz::TimeZone::UTC;

const SHOP: &str = r#"
packs = []
[app]
name = "shop"
[prometheus.api]
url = "http://127.0.0.1:1/metrics"
[rule.errors]
errors   = 'requests_total{code="500"}'
total    = 'requests_total'
critical = "> 10%"
rollback = { when = "critical", for = "2m" }
[rule.latency]
expr     = 'latency_seconds'
warning  = "> 500ms"
critical = "> 1s"
[rule.down]
expr     = 'up'
critical = { when = "== 0", for = "2m" }
[rule.hour]
expr     = 'max_over_time(latency_seconds[2h])'
warning  = "> 5s"
[rollback]
mode = "auto"
[[rollback.step]]
name = "back"
command = ["/bin/true", "{previous}"]
repeatable = true
[channel.log.alerts]
file = "${state}/alerts.jsonl"
"#;

/// A folder with a configuration, as the command line names it.
struct Place {
    folder: tempfile::TempDir,
    globals: Globals,
}

impl Place {
    fn new(config: &str) -> Place {
        let folder = tempfile::tempdir().unwrap();
        let config_path = folder.path().join("shop.toml");
        files::replace(&config_path, config.as_bytes(), 0o600).unwrap();
        let globals = Globals {
            config: Some(config_path),
            state: Some(folder.path().join("state")),
            sets: Vec::new(),
            format: Format::Text,
            color: Color::Never,
        };
        Place { folder, globals }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        files::replace(&path, text.as_bytes(), 0o600).unwrap();
        path
    }

    fn state(&self) -> &Path {
        self.globals.state.as_deref().unwrap()
    }

    /// The report over these data.
    fn play(&self, data: Data, planned: Vec<deployments::Planned>, drill: bool) -> Option<Report> {
        let mut rules = rules::find(&self.globals, None).unwrap_or_else(|failure| panic!("{}", failure.text));
        rules.name = "shop.toml".into();
        play(rules, data, planned, drill, &UTC, &mut unseen()).unwrap()
    }

    /// Keeps the samples in the state folder.
    fn record(&self, text: &str) {
        let now = Timestamp(2_000_000_000_000);
        let mut keeper = import::Keeper::new(self.state(), now).unwrap_or_else(|failure| panic!("{}", failure.text));
        import::take(text.as_bytes(), &mut keeper, &Stopwatch::start(), "").unwrap();
        keeper.0.finish().unwrap();
    }

    fn of_file(&self, text: &str) -> Data {
        let path = self.file("dump.om", text);
        Data::of_file(&path, Timestamp(2_000_000_000_000), &AtomicBool::new(false))
            .unwrap_or_else(|failure| panic!("{}", failure.text))
    }
}

/// A sample of the shop: name, code, value.
type Given = (&'static str, &'static str, f64);

/// Three hours of a shop, looked at every 15 s: errors in 20 minutes of them, a gap of 12 minutes, one slow moment, and
/// five minutes in which nothing answers. Each look with its time in seconds.
fn shop() -> Vec<(i64, Vec<Given>)> {
    let (mut good, mut failed) = (0.0, 0.0);
    let mut looks = Vec::new();
    for i in 0..3 * 240 {
        let failing = if (360..440).contains(&i) { 15.0 } else { 0.0 };
        good += 100.0 - failing;
        failed += failing;
        let is_down = (600..620).contains(&i);
        let mut samples = vec![("up", "", f64::from(u8::from(!is_down)))];
        if !is_down {
            let seconds = if i == 300 { 0.45 } else { 0.2 };
            samples.extend([("requests_total", "200", good), ("requests_total", "500", failed)]);
            samples.push(("latency_seconds", "", seconds));
        }
        if !(180..228).contains(&i) {
            looks.push((BEGIN + i * 15, samples));
        }
    }
    looks
}

/// The same as a file: series after series.
fn dump() -> String {
    let looks = shop();
    let mut text = String::new();
    for (name, code) in [("up", ""), ("requests_total", "200"), ("requests_total", "500"), ("latency_seconds", "")] {
        let label = if code.is_empty() { String::new() } else { format!(",code=\"{code}\"") };
        for (at, samples) in &looks {
            for (_, _, value) in samples.iter().filter(|(n, c, _)| (*n, *c) == (name, code)) {
                text += &format!("{name}{{job=\"api\",instance=\"a:1\"{label}}} {value} {at}\n");
            }
        }
    }
    text + "# EOF\n"
}

/// The same as the agent's own looks.
fn batches() -> Vec<Batch> {
    let sample = |(name, code, value): &Given| {
        let all = [("__name__", *name), ("job", "api"), ("instance", "a:1"), ("code", *code)];
        let labels = Labels::new(all.into_iter().filter(|(_, value)| !value.is_empty()));
        Sample { labels, value: *value, at: None }
    };
    let look = |(at, samples): (i64, Vec<Given>)| Batch {
        source: SourceRef::new("prometheus", "api"),
        instance: "a:1".into(),
        at: Timestamp(at * 1000),
        interval: Span::secs(15),
        outcome: match samples.len() {
            1 => Outcome::Failed(crate::base::Failure::new("refused", "connection refused")),
            _ => Outcome::Good,
        },
        samples: samples.iter().map(sample).collect(),
        checkpoint: None,
        holds: false,
        exhibits: Vec::new(),
    };
    shop().into_iter().map(look).collect()
}

fn deployment(minutes: i64) -> Vec<deployments::Planned> {
    let at = Timestamp(BEGIN * 1000) + Span::mins(minutes);
    let (version, previous) = ("2.1.0".to_string(), Some("2.0.3".to_string()));
    vec![deployments::Planned { announced: at, live: Some(at), version, previous, added: true }]
}

fn unseen() -> Progress {
    Progress::new(false, Arc::new(AtomicBool::new(false)))
}

fn lines(report: &Report) -> Vec<String> {
    report.record.timeline.iter().map(|entry| format!("{} {}", entry.at.0, entry.text)).collect()
}

#[test]
fn a_day_is_shown_on_one_screen() {
    let place = Place::new(SHOP);
    let report = place.play(place.of_file(&dump()), deployment(85), false).unwrap();
    insta::assert_snapshot!(show::render(&report, &UTC, false));
}

#[test]
fn the_whole_timeline_of_a_drill_says_so_on_every_line() {
    let place = Place::new(SHOP);
    let report = place.play(place.of_file(&dump()), deployment(85), true).unwrap();
    let text = show::render(&report, &UTC, true);
    let timeline = text.split_once("\nTimeline\n").unwrap().1;
    assert!(timeline.lines().count() > 8, "{text}");
    assert!(timeline.lines().all(|line| line.contains("  drill: ")), "{text}");
    let json = json::json(&report);
    for list in ["timeline", "rollbacks"] {
        let all = json[list].as_array().unwrap();
        assert!(!all.is_empty() && all.iter().all(|one| one["drill"] == true), "{json}");
    }
}

#[test]
fn programs_get_the_same() {
    let place = Place::new(SHOP);
    let report = place.play(place.of_file(&dump()), deployment(85), false).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&json::json(&report)).unwrap());
}

#[test]
fn without_a_deployment_it_is_said_what_was_not_tried() {
    let place = Place::new(SHOP);
    let report = place.play(place.of_file(&dump()), Vec::new(), false).unwrap();
    let text = show::render(&report, &UTC, false);
    assert!(text.contains("deployments  none: `after`, phases, baselines and rollbacks were not tried"), "{text}");
    assert!(text.contains("; no deployment is under watch"), "{text}");
    assert!(report.record.rollbacks.all().is_empty());
}

#[test]
fn trouble_that_is_older_than_the_deployment_is_held_by_its_guard() {
    let place = Place::new(SHOP);
    // The errors begin at 90 min; they are critical a few minutes later.
    let report = place.play(place.of_file(&dump()), deployment(105), false).unwrap();
    let held: Vec<_> = report.record.rollbacks.all().iter().map(|one| one.decision.clone()).collect();
    assert!(matches!(&held[..], [rollbacks::Decision::Held { guard: "older-than-deployment", .. }]), "{held:?}");
}

#[test]
fn a_file_is_judged_as_the_looks_themselves_were() {
    let place = Place::new(SHOP);
    let played = place.play(place.of_file(&dump()), Vec::new(), false).unwrap();
    let config = place::configuration(&place.globals).unwrap_or_else(|failure| panic!("{}", failure.text));
    let engine = wire::engine_config(&config, "backtest", &wire::sources(&config));
    let sources = engine.sources.clone();
    let engine = replay::engine_config(engine, sources, None);
    let mut record = Record::new(&engine.rules);
    let begin = Timestamp(BEGIN * 1000);
    let mut live = Replay::new(engine, begin, replay::NoPast, &mut record);
    batches().into_iter().for_each(|batch| live.look(batch, &mut record));
    live.pass_until(played.span.1, &mut record);
    let levels = |record: &Record| -> Vec<String> {
        let levels = record.timeline.iter().filter(|entry| entry.kind == record::Kind::Level);
        levels.map(|entry| format!("{} {}", entry.at.0, entry.text)).collect()
    };
    assert_eq!(levels(&played.record), levels(&record));
    assert_eq!(levels(&record).len(), 4, "two alerts begin and end");
}

#[test]
fn a_folder_gives_what_the_file_gave() {
    let place = Place::new(SHOP);
    let of_file = place.play(place.of_file(&dump()), deployment(85), false).unwrap();
    place.record(&dump());
    let (from, to) = (Timestamp((BEGIN - 1) * 1000), Timestamp((BEGIN + 20_000) * 1000));
    let data = Data::recorded(place.state(), from, to).unwrap();
    let of_folder = place.play(data, deployment(85), false).unwrap();
    assert_eq!(lines(&of_file), lines(&of_folder));
    assert_eq!(of_file.span, of_folder.span);
    let data = Data::recorded(place.state(), to, to + Span::hours(1)).unwrap();
    assert!(place.play(data, Vec::new(), false).is_none(), "nothing was recorded then");
}

#[test]
fn small_slices_change_nothing() {
    let place = Place::new(SHOP);
    let whole = place.play(place.of_file(&dump()), deployment(85), false).unwrap();
    let mut data = place.of_file(&dump());
    data.set_width(Span::mins(1));
    let cut = place.play(data, deployment(85), false).unwrap();
    assert_eq!(lines(&whole), lines(&cut));
    assert_eq!(json::json(&whole), json::json(&cut));
}

#[test]
fn rules_that_reach_back_are_given_the_past() {
    let place = Place::new(SHOP);
    place.record(&dump());
    // Of the last half hour only; the slow moment is an hour and three quarters back.
    let from = Timestamp((BEGIN + 9_000) * 1000);
    let report = place.play(Data::recorded(place.state(), from, from + Span::mins(30)).unwrap(), Vec::new(), false);
    let report = report.unwrap();
    let hour = report.record.rules.iter().find(|rule| rule.name == "hour").unwrap();
    let near = &hour.watcher.as_ref().unwrap().near()[0];
    assert_eq!(near.value.unwrap().value, 0.45);
}

#[test]
fn deployments_of_the_journal_are_played_again() {
    let place = Place::new(SHOP);
    files::ensure_path(place.state(), 0o700).unwrap();
    let at = Timestamp(BEGIN * 1000) + Span::mins(80);
    let id = Id::new(at, 7);
    let deployment = watch::Deployment {
        previous: Some("2.0.3".into()),
        ..watch::Deployment::new(id.clone(), "2.1.0".into(), at, "root".into())
    };
    let live = at + Span::mins(5);
    let events = [
        Event::Watch(watch::Event::Announced(Box::new(deployment))),
        Event::Watch(watch::Event::Live { id, t0: live, at: live, ran_out: false }),
    ];
    let rows = events.iter().map(|event| Row { at, kind: "watch", body: serde_json::to_string(event).unwrap() });
    let (journal, _) = Journal::open(place.state()).unwrap();
    journal.write(Write { rows: rows.collect(), ..Write::default() }).blocking_recv().unwrap().unwrap();
    journal.close();
    let planned = deployments::recorded(place.state());
    assert_eq!(planned.len(), 1);
    let report = place.play(place.of_file(&dump()), planned, false).unwrap();
    let played: Vec<_> = report.record.deployments.iter().map(|(at, version)| (*at, version.as_str())).collect();
    assert_eq!(played, [(live, "2.1.0")]);
    let versions = report.record.rollbacks.all()[0].versions.clone();
    assert_eq!(versions, Some(("2.1.0".into(), "2.0.3".into())));
}

#[test]
fn rules_of_a_file_run_in_the_configuration() {
    let place = Place::new(SHOP);
    let only = place
        .file("only.toml", "[rule.slow]\nexpr = 'latency_seconds'\nwarning = { when = \"> 400ms\", for = \"0s\" }\n");
    let rules = rules::find(&place.globals, Some(&only)).unwrap_or_else(|failure| panic!("{}", failure.text));
    assert!(rules.config.rules.iter().any(|rule| rule.name == "slow"));
    assert!(!rules.config.rules.iter().any(|rule| rule.name == "errors"));
    assert_eq!(rules.config.app.name, "shop");
    let groups = "groups:\n- name: g\n  rules:\n  - {alert: Slow, expr: 'max_over_time(latency_seconds[1m]) > 0.4'}\n  - {alert: Never, expr: latency_seconds > 9, for: 5m}\n";
    let groups = place.file("rules.yml", groups);
    let rules = rules::find(&place.globals, Some(&groups)).unwrap_or_else(|failure| panic!("{}", failure.text));
    let mut progress = unseen();
    let report = play(rules, place.of_file(&dump()), Vec::new(), false, &UTC, &mut progress).unwrap().unwrap();
    let fired: Vec<_> = report.record.rules.iter().map(|rule| (rule.name.as_str(), rule.periods.fired)).collect();
    assert_eq!(fired, [("g/Slow", 1), ("g/Never", 0)]);
}

#[test]
fn data_that_are_wrong_are_said_with_their_line() {
    let place = Place::new(SHOP);
    for (text, why) in [
        ("a 1 1\nb{ 2\n", "line 2"),
        ("a 1 1\n", "breaks off after line 1"),
        ("a 1\n# EOF\n", "line 1: a sample of a dump needs a time"),
    ] {
        let path = place.file("bad.om", text);
        let failure = Data::of_file(&path, Timestamp(0), &AtomicBool::new(false)).map(drop).unwrap_err();
        assert!(failure.text.contains(why), "{}", failure.text);
        assert_eq!(failure.exit, Exit::Usage);
    }
}

#[test]
fn who_ends_it_by_hand_leaves_no_temporary_files() {
    let place = Place::new(SHOP);
    let path = place.file("dump.om", &dump());
    let stopped = Arc::new(AtomicBool::new(true));
    let failure = Data::of_file(&path, Timestamp(0), &stopped).map(drop).unwrap_err();
    assert!(failure.text.contains(STOPPED), "{}", failure.text);
    let data = place.of_file(&dump());
    let folder = data.folder().to_path_buf();
    assert!(folder.is_dir());
    let rules = rules::find(&place.globals, None).unwrap_or_else(|failure| panic!("{}", failure.text));
    let failure = play(rules, data, Vec::new(), false, &UTC, &mut Progress::new(false, stopped)).map(drop).unwrap_err();
    assert_eq!((failure.text.as_str(), failure.exit), (STOPPED, Exit::Unknown));
    assert!(!folder.exists(), "{}", folder.display());
}

#[test]
fn hostile_values_and_times_end_in_a_report() {
    let place = Place::new(SHOP);
    let mut text = String::new();
    for (i, value) in ["NaN", "+Inf", "-Inf", "1e308", "-1", "0"].iter().enumerate() {
        for name in ["up", "latency_seconds", "requests_total{code=\"500\"}"] {
            text += &format!("{name} {value} {}\n", BEGIN + i as i64 * 15);
        }
    }
    // Lines of one series stand in the order of their times.
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_by_key(|line| line.split([' ', '{']).next().map(String::from));
    let report = place.play(place.of_file(&(lines.join("\n") + "\n# EOF\n")), deployment(0), false).unwrap();
    let text = show::render(&report, &UTC, true);
    assert!(text.contains("1 target"), "{text}");
    let _ = json::json(&report);
}

#[test]
fn a_dump_without_jobs_is_one_target() {
    let place = Place::new(SHOP);
    let text = format!("latency_seconds 0.7 {BEGIN}\nlatency_seconds 0.8 {}\n# EOF\n", BEGIN + 15);
    let report = place.play(place.of_file(&text), Vec::new(), false).unwrap();
    let target = report.record.targets.keys().next().unwrap();
    assert_eq!((target.0.to_string(), target.1.as_str()), ("prometheus.unnamed".into(), ""));
}
