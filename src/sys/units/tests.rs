//! systemd as it is told of by a bus of the test's own, and by recorded texts of systemctl.

use zbus::Variant;

use super::testing::{Fake, Manner};
use super::*;
use crate::base::Span;

const LONG: Span = Span::secs(60);

fn names(all: &[&str]) -> Vec<String> {
    all.iter().map(|name| (*name).to_string()).collect()
}

async fn connect(fake: &Fake, all: &[&str]) -> Bus {
    Bus::connect(&fake.address(), &names(all), LONG).await.unwrap()
}

#[tokio::test]
async fn all_that_the_bus_says_of_a_unit_is_known() {
    let fake = Fake::new();
    let command =
        Variant::new(vec![("/srv/shop", vec!["/srv/shop", "-x"], false, 0u64, 0u64, 0u64, 0u64, 0u32, 0i32, 0i32)]);
    fake.set(
        "shop.service",
        &[
            ("ActiveState", Variant::new("failed")),
            ("SubState", Variant::new("failed")),
            ("Result", Variant::new("exit-code")),
            ("ExecMainCode", Variant::new(1i32)),
            ("ExecMainStatus", Variant::new(7i32)),
            ("MainPID", Variant::new(0u32)),
            ("NRestarts", Variant::new(5u32)),
            ("MemoryMax", Variant::new(64u64 << 20)),
            ("ControlGroup", Variant::new("/system.slice/shop.service")),
            ("TimeoutStartUSec", Variant::new(90_000_000u64)),
            ("TriggeredBy", Variant::new(vec!["shop.socket".to_string(), "shop.timer".into()])),
            ("RemainAfterExit", Variant::new(true)),
            ("ExecStart", command),
            ("Description", Variant::new("x".repeat(100_000))),
        ],
    );
    let mut bus = connect(&fake, &["shop.service", "none.service"]).await;
    let unit = bus.unit(0).await.unwrap().unwrap();
    let wanted = Unit {
        id: "shop.service".into(),
        load: Load::Loaded,
        active: Active::Failed,
        sub: "failed".into(),
        kind: "simple".into(),
        result: "exit-code".into(),
        ended: Some(Ended::Exited(7)),
        started: Some(1_700_000_000_000_000),
        invocation: "ab".repeat(16),
        group: "/system.slice/shop.service".into(),
        restarts: Some(5),
        memory: Some(4096),
        memory_max: Some(64 << 20),
        cpu: Some(1_500_000_000),
        tasks: Some(3),
        program: "/srv/shop".into(),
        fragment: "/etc/systemd/system/x.service".into(),
        remains: true,
        start_timeout: Some(Span::secs(90)),
        has_timer: true,
        ..Unit::default()
    };
    assert_eq!(unit, wanted);
    assert_eq!(bus.unit(1).await.unwrap().unwrap().load, Load::Missing);
    let states = bus.states().await.unwrap();
    assert_eq!((states[0].active, states[0].sub.as_str()), (Some(Active::Failed), "failed"));
    assert_eq!((&states[1].load, states.len()), (&Load::Missing, 2));
}

#[tokio::test]
async fn a_signal_names_the_unit_that_changed_also_while_an_answer_is_waited_for() {
    let fake = Fake::new();
    fake.set("a.service", &[]);
    fake.set("b.service", &[]);
    let mut bus = connect(&fake, &["a.service", "b.service"]).await;
    bus.changed().await.unwrap();
    assert_eq!(bus.take_changed(), [0, 1].into(), "at first all may have changed");
    fake.signal("b.service").await;
    fake.signal("other.service").await;
    bus.changed().await.unwrap();
    assert_eq!(bus.take_changed(), [1].into());
    // More than a connection queues, and an answer behind it.
    for _ in 0..500 {
        tokio::time::timeout(LONG.to_std(), async { tokio::join!(fake.signal("a.service"), bus.states()).1 })
            .await
            .expect("signals do not hold answers up")
            .unwrap();
    }
    bus.changed().await.unwrap();
    assert_eq!(bus.take_changed(), [0].into());
    let calls = fake.calls();
    let rules: Vec<&String> = calls.iter().filter(|call| call.contains("PropertiesChanged")).collect();
    assert_eq!(rules.len(), 2, "one rule for each unit: {rules:?}");
    let many: Vec<String> = (0..500).map(|n| format!("u{n}.service")).collect();
    let bus = Bus::connect(&fake.address(), &many, LONG).await.unwrap();
    let rules = fake.calls().into_iter().filter(|call| call.contains("PropertiesChanged")).count();
    assert_eq!(rules, 1, "a bus has no room for 500 rules");
    drop(bus);
}

#[tokio::test]
async fn a_bus_that_does_not_do_what_it_should_is_told_why() {
    let short = Span::millis(300);
    let mut fake = Fake::new();
    for (manner, wanted) in [
        (Manner::Hangs, "timeout: the bus, or systemd on it, did not answer within 300ms"),
        (Manner::Refuses, "permission: the bus of the system:"),
        (Manner::Babbles, "bus: an answer of systemd cannot be understood:"),
    ] {
        fake.behave(Manner::Answers);
        let mut bus = connect(&fake, &["a.service"]).await;
        fake.behave(manner);
        let failed = Bus::connect(&fake.address(), &names(&["a.service"]), short).await.unwrap_err().to_string();
        assert!(failed.starts_with(wanted), "{failed}");
        if manner != Manner::Hangs {
            for failed in [bus.states().await.unwrap_err(), bus.unit(0).await.unwrap_err()] {
                assert!(failed.to_string().starts_with(wanted), "{failed}");
            }
        }
    }
    fake.behave(Manner::Answers);
    let mut bus = connect(&fake, &["a.service"]).await;
    bus.take_changed();
    fake.kill();
    assert_eq!(bus.changed().await.unwrap_err().reason, "bus");
    let failed = Bus::connect(&fake.address(), &names(&["a.service"]), LONG).await.unwrap_err();
    assert_eq!(failed.reason, "bus", "{failed}");
    let nowhere = Address::At("nonsense".into());
    assert_eq!(Bus::connect(&nowhere, &[], LONG).await.unwrap_err().reason, "bus");
}

#[tokio::test]
async fn odd_properties_are_as_ones_that_are_missing() {
    let fake = Fake::new();
    for (name, odd) in [
        ("NRestarts", Variant::new("many")),
        ("MemoryCurrent", Variant::new(-1i32)),
        ("ExecStart", Variant::new(Vec::<u32>::new())),
        ("ExecStart", Variant::new(vec![7u32])),
        ("TriggeredBy", Variant::new(vec![1u32])),
        ("FragmentPath", Variant::new("x".repeat(5000))),
        ("ControlGroup", Variant::new(vec![1.5f64])),
    ] {
        fake.set("odd.service", &[(name, odd)]);
    }
    let mut bus = connect(&fake, &["odd.service"]).await;
    let unit = bus.unit(0).await.unwrap().unwrap();
    assert_eq!((unit.restarts, unit.memory, unit.program.as_str(), unit.fragment.as_str()), (None, None, "", ""));
    assert!(!unit.has_timer);
    fake.set("odd.service", &[("ActiveState", Variant::new("levitating"))]);
    assert_eq!(bus.unit(0).await, Ok(None), "a word that is not known");
    assert_eq!(bus.states().await.unwrap()[0].active, None);
    fake.behave(Manner::Denies);
    assert_eq!(bus.unit(0).await, Ok(None), "an error about one unit is not one of the bus");
    assert_eq!(bus.states().await.unwrap().len(), 1);
}

#[tokio::test]
async fn half_a_message_and_what_is_none_end_in_their_time() {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    let place = tempfile::tempdir().unwrap();
    // The head of an answer of 16 MiB; a message of another protocol; the end.
    let huge = b"l\x02\x00\x01\x00\x00\x00\x01\x01\x00\x00\x00\x08\x00\x00\x00".as_slice();
    for (n, said) in [
        huge,
        &huge[..5],
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"",
    ]
    .into_iter()
    .enumerate()
    {
        let path = place.path().join(n.to_string());
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let mut tasks = crate::sys::tasks::Tasks::new();
        tasks.spawn("bus", async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            // Who it is, whether files may be passed, and the beginning (D-Bus specification, "Authentication protocol").
            while stream.read_until(b'\n', &mut line).await.unwrap() > 0 && !line.starts_with(b"BEGIN") {
                let answer = if line.starts_with(b"NEGOTIATE") {
                    "AGREE_UNIX_FD\r\n".to_string()
                } else {
                    format!("OK {}\r\n", "ab".repeat(16))
                };
                stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
                line.clear();
            }
            stream.get_mut().write_all(said).await.unwrap();
            if !said.is_empty() {
                drop(stream.read_to_end(&mut line).await);
            }
        });
        let address = Address::At(format!("unix:path={}", path.display()));
        let limit = Span::millis(500);
        let failed = tokio::time::timeout(LONG.to_std(), Bus::connect(&address, &names(&["a.service"]), limit)).await;
        let failure = failed.expect("it ends").unwrap_err();
        assert!(["bus", "timeout"].contains(&failure.reason), "{n}: {failure}");
    }
}
