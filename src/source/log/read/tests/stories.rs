//! Events of several lines, as programs write them.

use super::*;

/// What a text counts, with `boom` as a pattern.
fn counted(text: &str) -> String {
    told(&read_all(&plan(Format::Auto, &["boom"]), text.as_bytes()))
}

#[test]
fn a_python_traceback_belongs_to_the_error_before_it() {
    let trace =
        "Traceback (most recent call last):\n  File \"/app/x.py\", line 4, in run\n    boom()\n\nValueError: boom\n";
    assert_eq!(counted(&format!("2025-03-12 10:00:00,001 ERROR [shop] it broke\n{trace}")), "error 1, p0 1");
    let chained = format!(
        "ERROR:root:it broke\n{trace}\nDuring handling of the above exception, another exception occurred:\n\n{trace}\n\
         The above exception was the direct cause of the following exception:\n\n{trace}INFO:root:next\n"
    );
    assert_eq!(counted(&chained), "info 1, error 1, p0 1");
}

#[test]
fn a_traceback_by_itself_is_an_error() {
    let trace = "Traceback (most recent call last):\n  File \"x.py\", line 4, in <module>\nKeyError: 'boom'\n";
    assert_eq!(counted(trace), "error 1, p0 1");
    assert_eq!(counted(&trace.repeat(3)), "error 3, p0 3");
    // Nothing says that a line of another level has to do with it.
    assert_eq!(counted(&format!("INFO:root:works\n{trace}")), "info 1, error 1, p0 1");
    assert_eq!(counted(&format!("printed\n{trace}printed\n")), "unknown 2, error 1, p0 1");
    assert_eq!(counted(&format!("{{\"level\":\"error\"}}\n{trace}")), "error 2, p0 1");
    assert_eq!(counted(&format!("{trace}ERROR:root:next\n")), "error 2, p0 1");
}

#[test]
fn causes_of_java_belong_to_their_error() {
    let text = "2025-03-12 10:00:00,001 ERROR [main] c.s.App - it broke\n\
                java.lang.IllegalStateException: boom\n\tat c.s.App.run(App.java:4)\n\tat c.s.App.main(App.java:1)\n\
                Caused by: java.io.IOException: boom\n\tat c.s.Db.open(Db.java:7)\n\t... 2 more\n\
                2025-03-12 10:00:01,001 INFO [main] c.s.App - next\n";
    assert_eq!(counted(text), "info 1, error 1, p0 1");
    let bare = "Exception in thread \"main\" java.lang.Error: boom\n\tat c.s.App.run(App.java:4)\n";
    assert_eq!(counted(bare), "error 1, p0 1");
}

#[test]
fn a_panic_of_rust_is_one_event() {
    let text = "thread 'main' panicked at src/main.rs:4:5:\nboom\nnote: run with `RUST_BACKTRACE=1`\n\
                stack backtrace:\n   0: std::panicking\n             at /rustc/x.rs:1\nnext\n";
    assert_eq!(counted(text), "unknown 1, fatal 1, p0 1");
}

#[test]
fn a_panic_of_go_is_one_event() {
    let text = "panic: boom\n[signal SIGSEGV: segmentation violation code=0x1]\n\ngoroutine 1 [running]:\n\
                main.(*Shop).boom(0xc000010000)\n\t/app/main.go:4 +0x1d\nmain.main()\n\t/app/main.go:9 +0x25\n\
                created by main.main in goroutine 7\n\t/app/main.go:2\nexit status 2\nnext\n";
    assert_eq!(counted(text), "unknown 1, fatal 1, p0 1");
}

#[test]
fn an_exception_of_javascript_is_one_event() {
    let text = "TypeError: boom is not a function\n    at run (/app/x.js:4:5)\n    at main (/app/x.js:9:1)\n{\n  code: 'boom'\n}\n";
    assert_eq!(counted(text), "unknown 1, error 1, p0 2");
    let object = "TypeError: x {\n  code: 'boom',\n  list: [\n    1\n  ]\n}\nINFO y\n";
    assert_eq!(counted(object), "info 1, error 1, p0 1");
}

#[test]
fn json_access_logs_and_pairs_are_not_continued() {
    for line in [
        "{\"level\":\"info\"}",
        "10.0.0.7 - - [12/Mar/2025:10:00:00 +0000] \"GET / HTTP/1.1\" 200 12",
        "level=info msg=x",
    ] {
        assert_eq!(counted(&format!("{line}\n  boom\n  boom\n{line}\n")), "unknown 1, info 2, p0 1", "{line}");
    }
}

#[test]
fn what_is_aligned_begins_an_event() {
    let text = "ERROR shop: boom\n INFO shop: boom\n  2025-03-12T10:00:00Z  INFO shop: boom\n    at src/main.rs:4\n";
    assert_eq!(counted(text), "info 2, error 1, p0 3");
}

#[test]
fn an_event_ends_after_so_many_lines() {
    let text = format!("ERROR it broke\n{}", "  boom\n".repeat(1200));
    assert_eq!(counted(&text), "unknown 2, error 1, p0 3");
    let large = format!("ERROR it broke\n{}", format!("  boom{}\n", "x".repeat(64_000)).repeat(9));
    assert_eq!(counted(&large), "unknown 1, error 1, p0 2");
}

#[test]
fn an_event_ends_with_its_stream_and_after_a_pause() {
    let plan = plan(Format::Auto, &["boom"]);
    let (mut tally, mut state) = (Tally::new(&plan), StreamState::default());
    plan.read(&mut state, b"ERROR boom\n", seen(ARRIVED), &mut tally);
    plan.read(&mut state, b"  boom\n", seen(ARRIVED + 5_000), &mut tally);
    assert_eq!(told(&tally), "error 1, p0 1");
    plan.read(&mut state, b"  boom\n", seen(ARRIVED + 10_001), &mut tally);
    assert_eq!(told(&tally), "unknown 1, error 1, p0 2");
    plan.end(&mut state);
    plan.read(&mut state, b"  boom\n", seen(ARRIVED + 10_001), &mut tally);
    assert_eq!(told(&tally), "unknown 2, error 1, p0 3");
}

#[test]
fn a_message_of_a_journal_is_one_event() {
    let plan = plan(Format::Auto, &["boom"]);
    let counted = |level: Option<Level>, message: &str| {
        let mut tally = Tally::new(&plan);
        let entry = Entry { message: message.into(), level, at: Timestamp(ARRIVED - 1000) };
        plan.entry(&entry, "shop.service", &mut tally);
        assert_eq!(tally.last_line(), if message.is_empty() { None } else { Some(Timestamp(ARRIVED - 1000)) });
        told(&tally)
    };
    assert_eq!(counted(Some(Level::Warning), "boom\nboom\nINFO boom"), "warning 1, p0 1");
    assert_eq!(counted(Some(Level::Info), "ERROR it broke"), "error 1");
    assert_eq!(counted(Some(Level::Info), "DEBUG it works"), "info 1");
    assert_eq!(counted(Some(Level::Error), "INFO it works"), "error 1");
    assert_eq!(counted(None, "DEBUG it works"), "debug 1");
    assert_eq!(counted(None, "it works"), "unknown 1");
    assert_eq!(counted(None, ""), "");
}
