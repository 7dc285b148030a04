//! Two snapshots for the tests of everything that shows one.

use std::collections::BTreeMap;

use crate::base::because::Counts;
use crate::base::{Because, Labels, Level, Quantity, Span, Timestamp};
use crate::engine::snapshot::*;

/// A moment of the day that the samples play on, in UTC.
pub fn at(clock: &str) -> Timestamp {
    let at: jiff::Timestamp = format!("2025-10-28T{clock}Z").parse().expect("a clock time");
    Timestamp(at.as_millisecond())
}

/// All is well.
pub fn quiet() -> Snapshot {
    let now = at("09:41:07");
    Snapshot {
        at: now,
        started: now - Span::hours(24 * 12),
        app: "shop".into(),
        host: "web-1".into(),
        agent_version: "0.1.0".into(),
        config: "/etc/backstop/backstop.toml".into(),
        state: "/var/lib/backstop".into(),
        running: Some("2.1.0".into()),
        config_refused: None,
        degraded: None,
        not_kept: None,
        usage: vec![UsageView { source: "http.api".into(), series: 12, refused: 0, ceiling: None }],
        targets: vec![target("http.api", true), target("prometheus.api", true), target("http.worker", true)],
        remotes: Vec::new(),
        rules: ["errors", "host-disk", "queue-depth", "latency"].map(rule).to_vec(),
        incidents: Vec::new(),
        signals: Vec::new(),
        deployment: Some(DeploymentView {
            version: "2.1.0".into(),
            previous: Some("2.0.3".into()),
            started: at("09:29:10"),
            t0: Some(at("09:29:40")),
            verdict_at: Some(at("09:29:40") + Span::hours(48)),
            verdict: None,
            because: Vec::new(),
            coverage: vec![("errors".into(), 1.0), ("latency".into(), 0.995)],
            running: Some("2.1.0".into()),
            facts: [("container shop_web_1".to_string(), "shop/web:2.1.0 sha256:6b1f".to_string())].into(),
            changes: Vec::new(),
        }),
        rollback: RollbackView {
            mode: "ask".into(),
            capped: None,
            steps: vec!["stop traffic: systemctl stop traffic".into(), "previous images".into()],
            obstacles: Vec::new(),
            run: None,
        },
        channels: vec![channel("slack/ops", Some(now - Span::mins(4))), channel("pagerduty/oncall", None)],
        counters: BTreeMap::from([("backstop_samples_total".to_string(), 12_345.0)]),
    }
}

/// A rule is critical, one warns, one is blind, and a rollback waits for a person.
pub fn in_trouble() -> Snapshot {
    let mut snapshot = quiet();
    snapshot.targets[2] = target("http.worker", false);
    let errors = &mut snapshot.rules[0];
    errors.level = Level::Critical;
    errors.alerts = vec![AlertView {
        labels: Labels::new([("service", "api")]),
        level: Level::Critical,
        since: at("09:36:52"),
        because: Some(Because {
            value: Some(Quantity::ratio(0.142)),
            counts: Some(Counts { errors: 212.0, total: 1493.0, window: Span::mins(5), at_least: 0.125 }),
            limit: "> 10%".into(),
            held: Span::secs(255),
            readings: 17,
            evidence: Some(at("09:41:05")),
            why: None,
            lines: Vec::new(),
        }),
        due: false,
        pending: false,
        usual: None,
        missing_since: None,
        confirmed: true,
    }];
    let text = "14.2 % (limit > 10%), 212 of 1,493 in 5 min, at least 12.5 %";
    errors.recent = vec![
        Evaluation { at: at("09:40:50"), text: "13.9 % (limit > 10%)".into() },
        Evaluation { at: at("09:41:05"), text: text.into() },
    ];
    let disk = &mut snapshot.rules[1];
    disk.level = Level::Warning;
    disk.alerts = vec![AlertView {
        labels: Labels::new([("mountpoint", "/")]),
        level: Level::Warning,
        since: at("07:12:00"),
        because: Some(Because {
            value: Some(Quantity::ratio(0.91)),
            counts: None,
            limit: "> 90%".into(),
            held: Span::mins(149),
            readings: 600,
            evidence: None,
            why: None,
            lines: Vec::new(),
        }),
        due: false,
        pending: false,
        usual: None,
        missing_since: None,
        confirmed: true,
    }];
    snapshot.rules[2].no_data = Some((at("09:31:10"), "http.worker: connection refused".into()));
    snapshot.incidents = vec![IncidentView {
        number: 118,
        rule: "errors".into(),
        level: Level::Critical,
        highest: Level::Critical,
        opened: at("09:36:52"),
        closed: None,
        timeline: vec![(at("09:36:52"), "errors became critical: 11.2 % (limit > 10%)".into())],
    }];
    snapshot.rollback.run = Some(RunView {
        number: 9,
        phase: "asked".into(),
        text: "waits for approval; without an answer a person is paged and nothing is run".into(),
        criterion: "errors".into(),
        because: "errors over 10 % for 5 min (14.2 %, 212 of 1,493)".into(),
        opened: at("09:41:00"),
        until: Some(at("09:46:00")),
        steps: Vec::new(),
        ended: false,
        pid: None,
    });
    snapshot
}

fn target(source: &str, good: bool) -> TargetView {
    let failure = (!good).then(|| "connection refused".to_string());
    TargetView { source: source.into(), instance: "127.0.0.1:8080".into(), good, failure, last: at("09:41:05") }
}

fn rule(name: &str) -> RuleView {
    RuleView {
        name: name.into(),
        judges: "share of http_requests_total{status=~\"5..\"} in http_requests_total".into(),
        remote: None,
        group: None,
        conditions: vec![
            ("warning".into(), "> 5% for 1m".into()),
            ("critical".into(), "> 10% for 1m".into()),
            ("rollback".into(), "> 10% for 5m".into()),
        ],
        level: Level::Ok,
        held: None,
        not_armed: None,
        no_data: None,
        failed: None,
        evaluated: Some(at("09:41:05")),
        every: Span::secs(15),
        windows: vec![WindowView {
            reads: "http_requests_total[5m]".into(),
            window: Span::mins(5),
            series: 2,
            least: Span::secs(230),
            most: Span::mins(5),
        }],
        alerts: Vec::new(),
        recent: vec![Evaluation { at: at("09:41:05"), text: "0.4 % (limit > 10%)".into() }],
    }
}

fn channel(name: &str, last_accepted: Option<Timestamp>) -> ChannelView {
    ChannelView { name: name.into(), last_accepted, waiting: 0, oldest: None, last_error: None, recent: Vec::new() }
}
