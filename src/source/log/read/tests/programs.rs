//! Lines as programs write them: what level each says, and what time.

use super::*;

/// Level, time (`-` where the line says none), line.
const LINES: &[(&str, &str, &str)] = &[
    // Plain, with a time in front.
    ("error", "2025-03-12T10:00:00.001Z", "2025-03-12 10:00:00,001 ERROR [shop.orders] payment was refused"),
    ("info", "2025-03-12T10:00:00.250Z", "2025-03-12 10:00:00.250 INFO shop started"),
    ("warning", "2025-03-12T10:00:00Z", "2025-03-12 10:00:00 WARN disk is filling"),
    ("warning", "2025-03-12T10:00:00Z", "2025-03-12 10:00:00 WARNING disk is filling"),
    ("error", "2025-03-12T10:00:00Z", "2025-03-12 10:00:00 [ERROR] it broke"),
    ("error", "2025-03-12T10:00:00Z", "[2025-03-12 10:00:00] [ERROR] it broke"),
    ("debug", "2025-03-12T09:00:00Z", "2025-03-12T10:00:00+01:00 DEBUG cache warmed"),
    ("debug", "2025-03-12T09:30:00Z", "2025-03-12T10:00:00+0030 DEBUG cache warmed"),
    ("critical", "2025-03-12T10:00:00Z", "2025-03-12T10:00:00Z CRITICAL out of workers"),
    ("fatal", "2025-03-12T10:00:00Z", "2025/03/12 10:00:00 FATAL cannot bind"),
    ("error", "2025-03-12T10:00:00Z", "2025-03-12 10:00:00 error connection refused"),
    ("trace", "2025-03-12T10:00:00Z", "2025-03-12 10:00:00 | TRACE | enter"),
    ("error", "2025-03-12T10:00:00Z", "2025-03-12 10:00:00 | error | leave"),
    ("error", "-", "ERROR: it broke"),
    ("error", "-", "ERROR it broke"),
    ("error", "-", "error: it broke"),
    ("error", "-", "Error: it broke"),
    ("warning", "-", "Warning: it may break"),
    ("error", "-", "[error] it broke"),
    ("error", "-", "[ERR] it broke"),
    ("critical", "-", "CRIT it broke"),
    ("error", "-", "SEVERE: it broke"),
    ("info", "-", "NOTICE: it works"),
    ("critical", "-", "ALERT somebody must come"),
    ("fatal", "-", "EMERG system is unusable"),
    ("fatal", "-", "panic: nothing works"),
    // Prose.
    ("unknown", "-", "no errors found"),
    ("unknown", "-", "no error found, all is well"),
    ("unknown", "-", "Error handling is switched on"),
    ("unknown", "-", "the last job ended with ERROR once"),
    ("unknown", "-", "an unexpected error: it was retried"),
    ("unknown", "-", "ERROR_CODE 12 was mapped to 0"),
    ("unknown", "-", "E0312 is explained in the manual"),
    ("unknown", "-", "wrote /var/log/ERROR/today"),
    ("unknown", "-", "ErrorBudget left: 12 %"),
    ("unknown", "-", "information about fatality rates"),
    ("unknown", "2025-03-12T10:00:00Z", "2025-03-12 10:00:00 0 errors, 0 warnings"),
    ("unknown", "2025-03-12T10:00:00Z", "2025-03-12 10:00:00 Job 12 done, error rate 0.1"),
    ("info", "2025-03-12T10:00:00Z", "2025-03-12 10:00:00 INFO no ERROR since yesterday"),
    ("unknown", "-", "said \"ERROR\" and left"),
    ("unknown", "-", "Für alle Fälle ERROR"),
    // Syslog and systemd.
    ("error", "2025-03-12T10:00:00Z", "Mar 12 10:00:00 web-1 shop[812]: ERROR payment was refused"),
    ("error", "2025-03-12T10:00:00Z", "Mar 12 10:00:00 web sshd[1]: error: kex_exchange: closed"),
    ("fatal", "2025-03-12T10:00:00Z", "Mar 12 10:00:00 web sshd[1]: fatal: Timeout before authentication"),
    ("warning", "2025-03-12T10:00:00Z", "Mar 12 10:00:00 mail postfix/smtpd[9]: warning: unknown host"),
    ("unknown", "2025-03-12T10:00:00Z", "Mar 12 10:00:00 web kernel: [12.5] usb 1-1: new device"),
    ("error", "2024-12-31T23:59:59Z", "Dec 31 23:59:59 web shop[812]: ERROR of last year"),
    ("error", "2025-03-02T10:00:00Z", "Mar  2 10:00:00 web imap(ann): Error: quota"),
    ("error", "2025-03-12T10:00:00.5Z", "2025-03-12T10:00:00.500000+00:00 web shop[1]: error: x"),
    ("error", "-", "<3>it broke"),
    ("warning", "-", "<132>it may break"),
    ("unknown", "-", "<999>what"),
    // Python.
    ("error", "-", "ERROR:root:it broke"),
    ("warning", "-", "WARNING:shop.orders:slow"),
    ("error", "2025-03-12T10:00:00.001Z", "2025-03-12 10:00:00,001 - shop - ERROR - it broke"),
    ("info", "2025-03-12T10:00:00.001Z", "2025-03-12 10:00:00,001 - shop.orders - INFO - it works"),
    ("error", "2025-03-12T10:00:00.001Z", "2025-03-12 10:00:00,001:ERROR:it broke"),
    ("error", "-", "ERROR:    Exception in ASGI application"),
    ("info", "-", "INFO:     127.0.0.1:53210 - \"GET /health HTTP/1.1\" 500 Internal Server Error"),
    ("info", "2025-03-12T10:00:00Z", "[2025-03-12 10:00:00 +0000] [7] [INFO] Booting worker with pid: 9"),
    ("critical", "2025-03-12T10:00:00Z", "[2025-03-12 10:00:00 +0000] [7] [CRITICAL] WORKER TIMEOUT (pid:9)"),
    ("error", "2025-03-12T10:00:00.001Z", "[2025-03-12 10:00:00,001: ERROR/MainProcess] Task shop.pay raised"),
    ("error", "-", "Traceback (most recent call last):"),
    ("error", "-", "ValueError: invalid literal"),
    ("error", "-", "sqlalchemy.exc.OperationalError: gone"),
    ("info", "2025-03-12T10:00:00.001Z", "2025-03-12 10:00:00,001 INFO spawned: 'shop' with pid 9"),
    // Rust.
    ("info", "2025-03-12T10:00:00.000123Z", "2025-03-12T10:00:00.000123Z  INFO shop::orders: accepted id=4"),
    ("error", "2025-03-12T10:00:00Z", "2025-03-12T10:00:00.000000Z ERROR shop: it broke error=refused"),
    ("error", "2025-03-12T10:00:00Z", "[2025-03-12T10:00:00Z ERROR shop::db] it broke"),
    ("info", "2025-03-12T10:00:00Z", "\x1b[2m2025-03-12T10:00:00.000000Z\x1b[0m \x1b[32m INFO\x1b[0m shop: it works"),
    ("info", "-", " INFO shop: without a time"),
    ("fatal", "-", "thread 'main' panicked at src/main.rs:4:5:"),
    ("error", "-", "\x1b[1m\x1b[31merror\x1b[0m: it broke"),
    ("error", "-", "\x1b[31mERROR\x1b[0m it broke"),
    // Go.
    ("unknown", "2025-03-12T10:00:00Z", "2025/03/12 10:00:00 listening on :8080"),
    ("error", "2025-03-12T10:00:00Z", "2025/03/12 10:00:00 ERROR it broke code=7"),
    ("error", "2025-03-12T10:00:00.5Z", "time=2025-03-12T10:00:00.500Z level=ERROR msg=\"it broke\" code=7"),
    ("error", "2025-03-12T10:00:00.123456Z", "E0312 10:00:00.123456       1 server.go:12] it broke"),
    ("info", "2025-03-12T10:00:00.123456Z", "I0312 10:00:00.123456       1 server.go:12] it works"),
    ("warning", "2025-03-12T10:00:00Z", "time=\"2025-03-12T10:00:00Z\" level=warning msg=\"level=error was seen\""),
    ("error", "-", "ERRO[0012] it broke"),
    ("info", "-", "INFO[0000] it works"),
    ("error", "2025-03-12T10:00:00Z", "2025-03-12T10:00:00.000Z\tERROR\tshop/main.go:7\tit broke"),
    ("error", "2025-03-12T10:00:00.5Z", "1741773600.5000000\terror\tshop/main.go:7\tit broke"),
    ("error", "-", "10:00AM ERR it broke"),
    ("fatal", "-", "fatal error: all goroutines are asleep - deadlock!"),
    ("error", "2025-03-12T10:00:00Z", "2025-03-12T10:00:00.000Z [ERROR] agent: it broke"),
    // Java and .NET.
    ("error", "-", "10:00:00.123 [main] ERROR com.shop.Orders - it broke"),
    (
        "info",
        "2025-03-12T10:00:00.123Z",
        "2025-03-12 10:00:00.123  INFO 812 --- [           main] com.shop.App : started",
    ),
    (
        "error",
        "2025-03-12T10:00:00.123Z",
        "2025-03-12T10:00:00.123Z ERROR 812 --- [nio-8080-exec-1] o.a.c.c : it broke",
    ),
    ("error", "2025-03-12T10:00:00.123Z", "[2025-03-12T10:00:00,123][ERROR][o.e.b.Bootstrap] [node-1] it broke"),
    ("error", "2025-03-12T10:00:00.123Z", "[2025-03-12 10:00:00,123] ERROR [broker 1] it broke (kafka.server)"),
    ("error", "-", "Exception in thread \"main\" java.lang.IllegalStateException: x"),
    ("error", "-", "java.lang.OutOfMemoryError: Java heap space"),
    ("error", "-", "fail: Shop.Orders[0]"),
    ("info", "-", "info: Microsoft.Hosting.Lifetime[14]"),
    ("error", "-", "[10:00:00 ERR] it broke"),
    ("fatal", "-", "[10:00:00 FTL] it broke"),
    ("error", "-", "Unhandled exception. System.InvalidOperationException: x"),
    // Ruby, PHP, JavaScript, Elixir.
    ("error", "2025-03-12T10:00:00.123Z", "E, [2025-03-12T10:00:00.123456 #812] ERROR -- : it broke"),
    ("error", "2025-03-12T10:00:00.123Z", "2025-03-12T10:00:00.123Z pid=812 tid=ab1 ERROR: it broke"),
    ("error", "2025-03-12T10:00:00Z", "[2025-03-12 10:00:00] production.ERROR: it broke {\"id\":4}"),
    ("critical", "2025-03-12T10:00:00.123Z", "[2025-03-12T10:00:00.123456+00:00] request.CRITICAL: it broke"),
    ("fatal", "2025-03-12T10:00:00Z", "[12-Mar-2025 10:00:00 UTC] PHP Fatal error:  Uncaught Exception"),
    ("warning", "2025-03-12T10:00:00Z", "[12-Mar-2025 10:00:00] WARNING: [pool www] server reached max_children"),
    ("error", "-", "npm ERR! code ELIFECYCLE"),
    ("error", "-", "TypeError: Cannot read properties of undefined"),
    ("error", "-", "10:00:00.123 [error] GenServer terminating"),
    // Servers.
    ("error", "2025-03-12T10:00:00Z", "2025/03/12 10:00:00 [error] 7#7: *1 connect() failed (111: refused)"),
    ("critical", "2025-03-12T10:00:00Z", "2025/03/12 10:00:00 [crit] 7#7: *1 SSL_do_handshake() failed"),
    ("info", "2025-03-12T10:00:00Z", "2025/03/12 10:00:00 [notice] 1#1: start worker processes"),
    ("error", "2025-03-12T10:00:00.123Z", "[Wed Mar 12 10:00:00.123456 2025] [core:error] [pid 9] AH00035: denied"),
    ("error", "2025-03-12T10:00:00.001Z", "2025-03-12 10:00:00.001 UTC [123] ERROR:  deadlock detected"),
    ("fatal", "2025-03-12T10:00:00.001Z", "2025-03-12 10:00:00.001 UTC [123] shop@orders FATAL:  role is missing"),
    ("info", "2025-03-12T10:00:00.001Z", "2025-03-12 10:00:00.001 UTC [1] LOG:  checkpoint starting: time"),
    ("unknown", "2025-03-12T10:00:00.001Z", "2025-03-12 10:00:00.001 UTC [123] DETAIL:  Process 7 waits"),
    (
        "warning",
        "2025-03-12T10:00:00.123Z",
        "2025-03-12T10:00:00.123456Z 0 [Warning] [MY-010068] [Server] CA is self signed",
    ),
    ("info", "2025-03-12T10:00:00.123Z", "2025-03-12T10:00:00.123456Z 0 [Note] [MY-010311] [Server] ready"),
    ("unknown", "2025-03-12T10:00:00.123Z", "1:M 12 Mar 2025 10:00:00.123 * Ready to accept connections"),
    ("unknown", "2025-03-12T10:00:00.123Z", "1:M 12 Mar 2025 10:00:00.123 # Server initialized"),
    ("error", "2025-03-12T10:00:00.123Z", "2025-03-12 10:00:00.123456+00:00 [error] <0.1.0> channel died"),
    ("warning", "-", "[WARNING]  (1) : config : missing timeouts"),
    // Access logs.
    ("error", "2025-03-12T10:00:00Z", "10.0.0.7 - - [12/Mar/2025:10:00:00 +0000] \"GET / HTTP/1.1\" 500 12"),
    (
        "error",
        "2025-03-12T09:00:00Z",
        "shop.example - ann [12/Mar/2025:10:00:00 +0100] \"GET /\\\"x HTTP/1.1\" 503 12 \"-\" \"curl\"",
    ),
    (
        "info",
        "2025-03-12T10:00:00Z",
        "10.0.0.7 - - [12/Mar/2025:10:00:00 +0000] \"GET /ERROR HTTP/1.1\" 404 12 \"-\" \"x\"",
    ),
    ("info", "2025-03-12T10:00:00Z", "::1 - - [12/Mar/2025:10:00:00 +0000] \"-\" 408 0"),
    // JSON.
    (
        "error",
        "2025-03-12T10:00:00.5Z",
        "{\"ts\":\"2025-03-12T10:00:00.500Z\",\"level\":\"error\",\"msg\":\"it broke\"}",
    ),
    ("error", "2025-03-12T10:00:00.5Z", "{\"msg\":\"it broke\",\"time\":1741773600500,\"level\":50}"),
    ("info", "2025-03-12T10:00:00Z", "{\"level\":30,\"time\":1741773600000,\"msg\":\"it works\"}"),
    ("fatal", "2025-03-12T10:00:00.25Z", "{\"level\":\"FATAL\",\"ts\":1741773600.25}"),
    ("warning", "2025-03-12T10:00:00Z", "{ \"@timestamp\" : \"2025-03-12T10:00:00Z\", \"log.level\" : \"warn\" }"),
    (
        "error",
        "2025-03-12T10:00:00Z",
        "{\"@timestamp\":\"2025-03-12T10:00:00Z\",\"log\":{\"logger\":\"x\",\"level\":\"ERROR\"}}",
    ),
    ("error", "-", "{\"PRIORITY\":\"3\",\"MESSAGE\":\"it broke\"}"),
    ("info", "-", "{\"syslog_severity\":6,\"m\":\"x\"}"),
    ("unknown", "-", "{\"event\":\"queued\",\"priority\":1}"),
    ("unknown", "-", "{\"message\":\"said {\\\"level\\\":\\\"error\\\"} once\"}"),
    ("info", "-", "{\"message\":\"a \\\"level\\\":\\\"error\\\" b\",\"level\":\"info\"}"),
    ("unknown", "-", "{\"request\":{\"level\":\"error\"},\"list\":[{\"level\":\"error\"}]}"),
    ("error", "-", "{\"request\":{\"level\":\"info\"},\"lvl\":\"error\"}"),
    ("error", "-", "{\"le\\u0076el\":\"err\\u006fr\"}"),
    ("error", "2025-03-12T10:00:00Z", "{\"t\":{\"$date\":\"2025-03-12T10:00:00.000Z\"},\"s\":\"E\",\"c\":\"NETWORK\"}"),
    ("error", "-", "{\"levelname\":\"ERROR\",\"message\":\"x\"}"),
    ("error", "-", "{\"@level\":\"error\",\"@message\":\"x\"}"),
    ("error", "2025-03-12T10:00:00Z", "{\"severity\":\"ERROR\",\"timestamp\":1741773600000000000}"),
    ("error", "2025-03-12T10:00:00Z", "{\"Level\":\"Error\",\"Timestamp\":\"2025-03-12T10:00:00.0000000Z\"}"),
    ("error", "-", "Mar 12 web shop[1]: {\"a\":1,\"level\":\"error\"}"),
    // Pairs.
    ("error", "2025-03-12T10:00:00Z", "ts=1741773600 lvl=eror level=error msg=x"),
    ("info", "-", "msg=\"level=error\" level=info"),
    ("error", "-", "severity=\"ERROR\" msg=x"),
    ("unknown", "-", "user=ann status=error"),
    ("info", "-", "api-1  | level=info msg=x"),
    ("unknown", "-", "zoom level=3 was chosen"),
    ("unknown", "-", "run with --level=error to see more"),
];

#[test]
fn every_line_says_its_level_and_its_time() {
    assert!(LINES.len() >= 120, "{}", LINES.len());
    let plan = plan(Format::Auto, &[]);
    let mut wrong = Vec::new();
    for (level, time, line) in LINES {
        let tally = read_all(&plan, line.as_bytes());
        let time = if *time == "-" { Timestamp(ARRIVED) } else { moment(time) };
        let seen = (told(&tally), tally.last_line().unwrap().rfc3339());
        let expected = (format!("{level} 1"), time.rfc3339());
        if seen != expected {
            wrong.push(format!("{line}\n  expected {expected:?}\n  saw      {seen:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_line_is_the_same_with_another_end() {
    let plan = plan(Format::Auto, &["[a-z]$"]);
    for (_, _, line) in LINES {
        let bare = read_all(&plan, line.as_bytes());
        for end in ["\n", "\r\n", "\r", "\n\n\n"] {
            assert_eq!(told(&read_all(&plan, format!("{line}{end}").as_bytes())), told(&bare), "{line:?} {end:?}");
        }
    }
}

fn moment(text: &str) -> Timestamp {
    Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}
