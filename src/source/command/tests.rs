#![expect(clippy::disallowed_methods, reason = "tests write the programs that they run")]

use super::*;
use crate::base::Span;
use crate::source::testing::{defaults, outcome, read, value};
use crate::sys::clock::{Stopwatch, pause};
use crate::sys::secret::Secrets;

fn outside() -> Outside {
    let env = |name: &str| match name {
        "TOKEN" => Some("hunter2-secret".to_string()),
        "PIN" => Some("7".to_string()),
        _ => None,
    };
    Outside { secrets: Secrets::with_env(env), ..Outside::of_process() }
}

fn command(toml: &str) -> Command {
    let (config, problems) = read(toml, |node, problems| Config::read("db", node, &defaults(), problems));
    assert_eq!(problems, Vec::<String>::new(), "{toml}");
    Command::new(config.unwrap(), outside())
}

/// A table that runs `script` in a shell.
fn shell(script: &str, more: &str) -> Command {
    command(&format!("run = [\"/bin/sh\", \"-c\", '''{script}''']\n{more}"))
}

async fn asked(script: &str, more: &str) -> Batch {
    shell(script, more).collect(Timestamp(1_700_000_000_000)).await
}

#[tokio::test]
async fn an_answer_becomes_samples() {
    let more = "expect = ['text contains \"rows\"', 'number < 10', 'version >= 3.11']\n\
                values = { rows = 'number', lag = 'number lag' }";
    let batch = asked("echo 5 rows, lag=2.5, v3.12.1", more).await;
    assert_eq!(outcome(&batch), "good");
    assert_eq!(value(&batch, "command_exit_code", &[("instance", "sh"), ("job", "db")]), Some(0.0));
    for expect in ["exit", "text", "number", "version"] {
        assert_eq!(value(&batch, "probe_expect_ok", &[("expect", expect)]), Some(1.0), "{expect}");
    }
    assert_eq!(value(&batch, "probe_value", &[("name", "rows")]), Some(5.0));
    assert_eq!(value(&batch, "probe_value", &[("name", "lag")]), Some(2.5));
    assert_eq!(value(&batch, "probe_success", &[]), Some(1.0));
}

#[tokio::test]
async fn each_way_to_fail_has_a_reason_and_quotes_what_was_said() {
    let number = "expect = ['number < 5']";
    let json = "format = \"json\"\nexpect = ['json a == 1']";
    for (script, more, wanted, code) in [
        ("exit 3", "", "exit: expected exit == 0, saw 3", Some(3.0)),
        (
            "echo first >&2; echo no such table >&2; exit 1",
            "",
            "exit: expected exit == 0, saw 1; it said: first / no such table",
            Some(1.0),
        ),
        ("echo printed; exit 1", "", "exit: expected exit == 0, saw 1; it said: printed", Some(1.0)),
        ("kill -9 $$", "", "exit: expected exit == 0, saw 137 (ended by signal 9, SIGKILL)", Some(137.0)),
        ("kill -SEGV $$", "", "exit: expected exit == 0, saw 139 (ended by signal 11, SIGSEGV)", Some(139.0)),
        ("echo 7", number, "number: expected number < 5, saw 7", Some(0.0)),
        ("echo none", number, "number: expected number < 5, it is missing", Some(0.0)),
        (
            "echo old",
            "expect = ['text contains \"new\"']",
            "text: expected text contains \"new\", saw \"old\"",
            Some(0.0),
        ),
        ("echo v3.9", "expect = ['version >= 3.11']", "version: expected version >= 3.11, saw 3.9", Some(0.0)),
        ("echo '{\"a\": 2}'", json, "body: expected json a == 1, saw 2", Some(0.0)),
        ("echo no json", json, "format: this is no JSON: ", Some(0.0)),
        ("echo no json; exit 1", json, "exit: expected exit == 0, saw 1", Some(1.0)),
        (
            "echo begun >&2; sleep 60",
            "timeout = \"150ms\"",
            "timeout: it did not end within 150ms, and was ended; it said: begun",
            None,
        ),
        (
            "head -c 300 /dev/zero | tr '\\0' x",
            "max_output = \"299B\"",
            "too-large: it printed 300 bytes, and max_output is 299",
            Some(0.0),
        ),
        ("cat /dev/zero", "", "too-large: it printed more than ", None),
        ("cat /dev/zero >&2", "", "too-large: it printed without end on standard error", None),
        ("true", "env = { TOKEN = \"env:NONE\" }", "secret: env:NONE is not set", None),
        ("true", "dir = \"/nowhere\"", "not-found: there is no folder /nowhere to run it in", None),
        ("true", "user = \"no-such-user\"", "not-found: there is no user `no-such-user` in /etc/passwd", None),
        ("echo a b c", "format = \"prometheus\"", "format: line 1: ", Some(0.0)),
        ("echo a 1; echo b 2", "format = \"prometheus\"\nmax_samples = 1", "too-many: line 2: ", Some(0.0)),
    ] {
        let batch = asked(script, more).await;
        let got = outcome(&batch);
        assert!(got.starts_with(wanted), "{script}: {got:?} instead of {wanted:?}");
        assert_eq!(value(&batch, "command_exit_code", &[]), code, "{script}");
        let reason = wanted.split(':').next().unwrap();
        assert_eq!(value(&batch, "probe_failure_info", &[("reason", reason)]), Some(1.0), "{script}");
        assert_eq!(value(&batch, "probe_success", &[]), Some(0.0), "{script}");
    }
}

#[tokio::test]
async fn a_program_that_cannot_be_started_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str, mode: u32| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        path.display().to_string()
    };
    let closed = file("closed", "#!/bin/sh\n", 0o644);
    let orphan = file("orphan", "#!/nowhere/sh\n", 0o755);
    let nothing = file("nothing", "", 0o755);
    let windows = file("windows", "#!/bin/sh\r\n", 0o755);
    for (program, wanted) in [
        ("no-such-program".to_string(), "not-found: there is no `no-such-program` in /usr/local/sbin:".to_string()),
        ("/nowhere/x".to_string(), "not-found: there is no /nowhere/x".to_string()),
        (closed.clone(), format!("permission: {closed} is not executable; chmod +x {closed}")),
        (orphan.clone(), format!("not-found: {orphan} names `/nowhere/sh` in its first line, which is not there; ")),
        (windows.clone(), format!("not-found: {windows} has lines that end in CRLF")),
        (nothing.clone(), format!("start: {nothing} has no first line `#!…`")),
    ] {
        let batch = command(&format!("run = [\"{program}\"]")).collect(Timestamp(0)).await;
        assert!(outcome(&batch).starts_with(&wanted), "{}", outcome(&batch));
        assert_eq!(value(&batch, "command_exit_code", &[]), None);
    }
}

#[tokio::test]
async fn the_environment_is_clean_and_the_rest_is_given() {
    let more = "env = { GREETING = \"a b\", TOKEN = \"env:TOKEN\" }\ndir = \"/usr\"\nexpect = [\n\
                'text matches \"(?s)^GREETING=a b\\nHOME=/[^\\n]*\\nLANG=C.UTF-8\\nPATH=/usr/local/sbin:[^\\n]*\\nPWD=/usr\\n.*TOKEN=hunter2-secret\\nUSER=[^\\n]+$\"']";
    assert_eq!(outcome(&asked("env | sort", more).await), "good");
    let input = asked("cat; echo end", "expect = ['text == \"end\"']").await;
    assert_eq!(outcome(&input), "good", "nothing is on its input");
}

#[tokio::test]
async fn arguments_are_never_a_line_of_a_shell() {
    let batch = command("run = [\"/bin/echo\", \"$HOME; `id` *\"]\nexpect = ['text == \"$HOME; `id` *\"']");
    let mut batch = batch;
    assert_eq!(outcome(&batch.collect(Timestamp(0)).await), "good");
}

#[tokio::test]
async fn secrets_are_shown_nowhere() {
    let env = "env = { TOKEN = \"env:TOKEN\" }";
    for (script, more) in [
        ("echo $TOKEN >&2; exit 1", ""),
        ("echo user $TOKEN wrong; exit 1", ""),
        ("printf '%s\\n' {\\\"token\\\":\\\"$TOKEN\\\"}", "format = \"json\"\nexpect = ['json token == \"x\"']"),
        ("echo $TOKEN", "expect = ['text == \"x\"']"),
        // Cut behind a part of the secret, wherever the cut may be.
        ("printf '%072d%s' 0 $TOKEN", "expect = ['text == \"x\"']"),
        ("printf '%0190d%s' 0 $TOKEN >&2; exit 1", ""),
        ("printf %s $TOKEN >&2; printf '%04090d' 0 >&2; exit 1", ""),
        ("echo $TOKEN >&2; sleep 60", "timeout = \"200ms\""),
        ("echo \"CRITICAL - $TOKEN|'$TOKEN'=1\"; exit 2", "format = \"nagios\""),
        ("echo \"a{user=\\\"$TOKEN\\\"} 1\"; echo \"{\\\"m-$TOKEN\\\"} 2\"", "format = \"prometheus\""),
        ("echo \"a{user=\\\"$TOKEN\\\"} x\"", "format = \"prometheus\""),
        ("echo $TOKEN", "format = \"json\""),
        ("echo $TOKEN", "expect = ['version > 3']"),
        ("echo $TOKEN", "max_output = \"8B\""),
    ] {
        let mut source = shell(script, &format!("{env}\n{more}"));
        assert!(!format!("{source:?}").contains("hunter2"));
        let batch = source.collect(Timestamp(0)).await;
        let shown = format!("{batch:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("hunter"), "{script}: {shown}");
        assert!(!shown.contains("ter2-secret"), "{script}: {shown}");
    }
    let batch = asked("echo user $TOKEN wrong >&2; exit 1", env).await;
    assert_eq!(outcome(&batch), "exit: expected exit == 0, saw 1; it said: user *** wrong");
}

#[tokio::test]
async fn a_short_secret_spoils_no_figure() {
    let more = "env = { PIN = \"env:PIN\" }\nexpect = ['number < 5']\nvalues = { n = 'number' }";
    let batch = asked("echo 17", more).await;
    assert_eq!(value(&batch, "probe_value", &[("name", "n")]), Some(17.0));
    assert!(!outcome(&batch).contains('7'), "{}", outcome(&batch));
}

#[tokio::test]
async fn a_page_of_metrics_is_taken_with_the_expected_exit_only() {
    let page = "printf '# TYPE a counter\\na{job=\"theirs\"} 3\\nb 4 1700000000000\\nb{x=\"1\"} 5\\nb{x=\"1\"} 6\\n\
                probe_success 7\\ncommand_exit_code 7\\nprobe_expect_ok{expect=\"exit\"} 7\\n'";
    let format = "format = \"prometheus\"";
    let batch = asked(page, format).await;
    assert_eq!(outcome(&batch), "good");
    assert_eq!(value(&batch, "a", &[("exported_job", "theirs"), ("job", "db"), ("zone", "a")]), Some(3.0));
    assert_eq!(value(&batch, "b", &[("x", "1")]), Some(5.0), "the first of two alike counts");
    assert!(batch.samples.iter().any(|s| s.at == Some(Timestamp(1_700_000_000_000))));
    assert_eq!(value(&batch, "probe_success", &[]), Some(1.0), "a page cannot say how the look went");
    assert_eq!(value(&batch, "command_exit_code", &[]), Some(0.0));
    assert_eq!(value(&batch, "probe_expect_ok", &[("expect", "exit")]), Some(1.0));
    let failed = asked(&format!("{page}; exit 1"), format).await;
    assert_eq!(value(&failed, "b", &[("x", "1")]), None);
    let expected = asked(&format!("{page}; exit 1"), "format = \"prometheus\"\nexpect = ['exit in [0, 1]']").await;
    assert_eq!((outcome(&expected), value(&expected, "b", &[("x", "1")])), ("good".into(), Some(5.0)));
}

#[tokio::test]
async fn no_page_says_how_the_look_went_whatever_time_it_bears() {
    const AT: i64 = 1_700_000_000_000;
    let names = ["probe_success", "probe_duration_seconds", "command_exit_code"];
    let labelled =
        ["probe_failure_info{reason=\"made-up\"}", "probe_expect_ok{expect=\"exit\"}", "probe_value{name=\"n\"}"];
    for time in ["", " 1699999999999", " 1700000000000", " 1700000000001", " 1800000000000"] {
        let lines = names.iter().chain(&labelled).map(|series| format!("{series} 7{time}\\n"));
        let page = format!("printf '{}'", lines.collect::<String>());
        let more = "format = \"prometheus\"\nexpect = ['exit == 0', 'number > 1e15']\nvalues = { n = 'number' }";
        let batch = asked(&page, more).await;
        let told = |name: &str| batch.samples.iter().filter(|s| s.labels.name() == name).collect::<Vec<_>>();
        for name in names.iter().chain(&["probe_failure_info", "probe_expect_ok", "probe_value"]) {
            assert!(told(name).iter().all(|s| s.at.is_none()), "{name}{time}: {batch:?}");
            assert!(told(name).iter().all(|s| s.value != 7.0 || *name == "probe_value"), "{name}{time}: {batch:?}");
            assert_eq!(told(&format!("exported_{name}")).len(), 1, "{name}{time}: it is not lost");
        }
        assert_eq!(value(&batch, "probe_success", &[]), Some(0.0), "{time}");
        assert_eq!(value(&batch, "command_exit_code", &[]), Some(0.0), "{time}");
        assert!(batch.samples.iter().filter(|s| s.labels.name() == "exported_probe_success").all(|s| s.value == 7.0));
        assert_eq!(batch.at, Timestamp(AT));
    }
}

#[tokio::test]
async fn a_plugin_of_nagios_gives_its_figures_and_its_thresholds() {
    let output = "DISK WARNING - free space: / 10% | '/ used'=90%;80;@95:100;0;100 rtt=1.5ms;~:10;20: U=U broken";
    let batch =
        asked(&format!("echo \"{output}\"; exit 1"), "format = \"nagios\"\nvalues = { used = 'number \"/ used\"' }")
            .await;
    assert_eq!(outcome(&batch), "exit: expected exit == 0, saw 1 (WARNING); it said: DISK WARNING - free space: / 10%");
    let used = ("label", "/ used");
    for (name, labels, wanted) in [
        ("command_perfdata", vec![used], Some(0.9)),
        ("command_perfdata_warn", vec![used, ("bound", "low")], Some(0.0)),
        ("command_perfdata_warn", vec![used, ("bound", "high")], Some(0.8)),
        ("command_perfdata_crit", vec![used, ("bound", "low"), ("alert", "inside")], Some(0.95)),
        ("command_perfdata_crit", vec![used, ("bound", "high"), ("alert", "inside")], Some(1.0)),
        ("command_perfdata_min", vec![used], Some(0.0)),
        ("command_perfdata_max", vec![used], Some(1.0)),
        ("command_perfdata", vec![("label", "rtt")], Some(0.0015)),
        ("command_perfdata_warn", vec![("label", "rtt"), ("bound", "low")], None),
        ("command_perfdata_warn", vec![("label", "rtt"), ("bound", "high")], Some(0.01)),
        ("command_perfdata_crit", vec![("label", "rtt"), ("bound", "low")], Some(0.02)),
        ("command_perfdata", vec![("label", "U")], None),
        ("command_perfdata_rejected", vec![], Some(1.0)),
        ("probe_value", vec![("name", "used")], Some(0.9)),
    ] {
        assert_eq!(value(&batch, name, &labels), wanted, "{name} {labels:?}");
    }
    let unknown = asked("echo 'UNKNOWN - no such host'; exit 3", "format = \"nagios\"").await;
    assert_eq!(outcome(&unknown), "exit: expected exit == 0, saw 3 (UNKNOWN); it said: UNKNOWN - no such host");
    let good = asked("echo 'OK|a=1'", "format = \"nagios\"").await;
    assert_eq!((outcome(&good), value(&good, "command_perfdata_rejected", &[])), ("good".into(), Some(0.0)));
    let many = asked(
        "printf 'OK|'; i=0; while [ $i -lt 9 ]; do printf 'a%s=1 ' $i; i=$((i+1)); done",
        "format = \"nagios\"\nmax_samples = 8",
    )
    .await;
    assert_eq!(value(&many, "command_perfdata", &[("label", "a1")]), Some(1.0));
    assert_eq!(value(&many, "command_perfdata", &[("label", "a2")]), None);
    assert_eq!(value(&many, "command_perfdata_rejected", &[]), Some(7.0));
}

#[tokio::test]
async fn a_version_on_standard_error_is_read() {
    let expect = "expect = ['version >= 1.22', 'version < 2']";
    assert_eq!(outcome(&asked("echo nginx version: nginx/1.22.1 >&2", expect).await), "good");
}

#[tokio::test]
async fn four_programs_run_at_once_and_a_fifth_that_finds_no_place_is_busy() {
    let outside = outside();
    let table = "run = [\"/bin/sleep\", \"60\"]\ninterval = \"5m\"";
    let start = || {
        let (config, _) = read(table, |node, problems| Config::read("slow", node, &defaults(), problems));
        Command::new(config.unwrap(), outside.clone())
    };
    let mut slow = [start(), start(), start(), start()];
    let (config, _) = read("run = [\"/bin/true\"]\ninterval = \"300ms\"\ntimeout = \"100ms\"", |node, problems| {
        Config::read("fifth", node, &defaults(), problems)
    });
    let mut fifth = Command::new(config.unwrap(), outside.clone());
    let [a, b, c, d] = &mut slow;
    let busy = tokio::select! {
        biased;
        _ = async { tokio::join!(a.collect(Timestamp(0)), b.collect(Timestamp(0)), c.collect(Timestamp(0)), d.collect(Timestamp(0))) } => panic!("they sleep"),
        batch = fifth.collect(Timestamp(0)) => batch,
    };
    assert_eq!(
        outcome(&busy),
        "busy: 4 other programs were running for 300ms; shorten their timeouts, or look less often"
    );
    assert_eq!(outside.programs.available_permits(), 4, "a look that is dropped gives its place back");
    let watch = Stopwatch::start();
    while outcome(&fifth.collect(Timestamp(0)).await) != "good" {
        assert!(watch.elapsed() < Span::secs(20));
        pause(Span::millis(10)).await;
    }
}

#[tokio::test]
async fn another_user_takes_root() {
    let batch = asked("echo $HOME $USER; id -u", "user = \"nobody\"\nexpect = ['text contains \"nobody\"']").await;
    match crate::sys::users::is_root() {
        true => assert_eq!(outcome(&batch), "good"),
        false => assert!(outcome(&batch).starts_with("permission: "), "{}", outcome(&batch)),
    }
}

#[tokio::test]
async fn a_program_that_another_user_cannot_reach_is_named() {
    if !crate::sys::users::is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("check");
    std::fs::write(&program, "#!/bin/sh\n").unwrap();
    for (path, mode) in [(program.as_path(), 0o755), (folder.path(), 0o700)] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
    let program = program.display();
    let batch = command(&format!("run = [\"{program}\"]\nuser = \"nobody\"")).collect(Timestamp(0)).await;
    let wanted = format!("permission: {program} may not be run as nobody, or / not be entered: Permission denied");
    assert!(outcome(&batch).starts_with(&wanted), "{}", outcome(&batch));
}

#[test]
fn names_are_declared_before_the_first_look() {
    let plain = shell("true", "");
    assert!(plain.names().contains(&"command_exit_code") && plain.names().contains(&"probe_expect_ok"));
    assert!(!plain.names().contains(&"command_perfdata"));
    assert!(shell("true", "format = \"nagios\"").names().contains(&"command_perfdata_rejected"));
    assert!(shell("true", "values = { a = 'number' }").names().contains(&"probe_value"));
}

#[test]
fn what_is_quoted_is_one_short_line() {
    for (text, wanted) in [
        ("first\nmiddle\nlast \u{1b}[31m\n\n", Some("first / last  [31m")),
        ("\n  only\n", Some("only")),
        ("Traceback:\n  line 3\nValueError: x\n", Some("ValueError: x")),
        (
            "ERROR:  column \"a\" is missing\nLINE 1: select a\n               ^\n",
            Some("ERROR:  column \"a\" is missing / LINE 1: select a"),
        ),
        (
            "psql: error: connection refused\n\tIs the server running?\n",
            Some("psql: error: connection refused / Is the server running?"),
        ),
        ("note\nFATAL: a\nfailed\nbye\n", Some("FATAL: a / bye")),
        ("^\n--\n", None),
        (" \n\t\n", None),
    ] {
        assert_eq!(quote(text).as_deref(), wanted, "{text}");
    }
    let long = quote(&"ü".repeat(500)).unwrap();
    assert_eq!((long.chars().count(), long.ends_with('…')), (MAX_QUOTE + 1, true));
}
