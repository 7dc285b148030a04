//! `systemctl show`, where the bus cannot be used: systemctl has a way of its own to the manager when it is root.

use jiff::civil::DateTime;

use super::unit::{Kind, Properties, Unit, Value, WANTED};
use crate::base::{Failure, Secret, Span};
use crate::sys::ask::{Answer, Asker, NoAnswer, Question};
use crate::sys::process::Exit;

/// How many bytes systemctl may print for one unit.
const MAX_UNIT: usize = 64 << 10;

/// Asks systemctl.
#[derive(Debug)]
pub struct Show {
    program: String,
    asker: Asker,
}

impl Show {
    /// The systemctl of this host, or the program at a path.
    pub fn new(program: Option<&str>) -> Show {
        Show { program: program.unwrap_or("systemctl").to_string(), asker: Asker::default() }
    }

    /// What is said of these units, in their order.
    ///
    /// # Errors
    /// When systemctl is not there, fails, or does not end in time.
    pub async fn units(&mut self, names: &[String], timeout: Span) -> Result<Vec<Unit>, Failure> {
        let wanted: Vec<&str> = WANTED.iter().map(|(name, _)| *name).collect();
        let mut args =
            vec!["show".to_string(), "--no-pager".into(), format!("--property={}", wanted.join(",")), "--".into()];
        args.extend(names.iter().cloned());
        let most = MAX_UNIT.saturating_mul(names.len());
        let mut question = Question::new(self.program.clone().into(), args, timeout, most);
        // Times without a zone of their own, words in English.
        question.env = [("TZ", "UTC"), ("LC_ALL", "C.UTF-8")].map(|(n, v)| (n.to_string(), Secret::from(v))).to_vec();
        let program = self.program.clone();
        let why = move |_: &Question, error: std::io::Error| format!("{program} cannot be run: {error}");
        let answer = self.asker.ask(&question, why).await.map_err(|error| match error {
            NoAnswer::Busy => Failure::new("timeout", format!("the {} of before still hangs", self.program)),
            NoAnswer::Late => Failure::new("timeout", format!("{} did not begin within {timeout}", self.program)),
            NoAnswer::NoThread(why) | NoAnswer::NotStarted(why) => Failure::new("bus", why),
        })?;
        self.read(&answer, names, timeout)
    }

    fn read(&self, answer: &Answer, names: &[String], timeout: Span) -> Result<Vec<Unit>, Failure> {
        let said = String::from_utf8_lossy(&answer.stderr);
        match answer.exit {
            Exit::Code(0) => {}
            Exit::Timeout => {
                return Err(Failure::new("timeout", format!("{} did not end within {timeout}", self.program)));
            }
            _ if said.contains("Access denied") || said.contains("Permission denied") => {
                return Err(Failure::new("permission", format!("{}: {}", self.program, said.trim())));
            }
            _ => return Err(Failure::new("bus", format!("{} failed: {}", self.program, said.trim()))),
        }
        if answer.bytes > answer.stdout.len() as u64 {
            return Err(Failure::new(
                "bus",
                format!("{} printed {} bytes, which is too much", self.program, answer.bytes),
            ));
        }
        let units = parse(&String::from_utf8_lossy(&answer.stdout));
        if units.len() != names.len() {
            let (n, of) = (units.len(), names.len());
            return Err(Failure::new("bus", format!("{} told of {n} units and was asked for {of}", self.program)));
        }
        Ok(units)
    }
}

/// What `systemctl show` prints: `Name=value` lines, and an empty line between two units.
fn parse(text: &str) -> Vec<Unit> {
    let mut units = Vec::new();
    let mut all = Properties::default();
    for line in text.lines().chain([""]) {
        match line.split_once('=') {
            Some((name, value)) => all.put(name, |kind| parse_value(kind, value)),
            None if line.is_empty() && !all.is_empty() => units.extend(Unit::new(&std::mem::take(&mut all))),
            None => {}
        }
    }
    units
}

fn parse_value(kind: Kind, text: &str) -> Option<Value> {
    match kind {
        Kind::Text => Some(Value::Text(text.to_string())),
        Kind::Number => text.parse().ok().map(Value::Number),
        Kind::Bool => Some(Value::Bool(text == "yes")),
        Kind::Time => parse_time(text).map(Value::Number),
        Kind::Span => parse_span(text).map(Value::Number),
        Kind::Program => {
            let (path, _) = text.strip_prefix("{ path=")?.split_once(" ; ")?;
            Some(Value::Text(path.to_string()))
        }
    }
}

/// `Sat 2026-11-21 20:57:20 UTC`, in microseconds since 1970.
fn parse_time(text: &str) -> Option<u64> {
    let mut words = text.split(' ');
    let (_, day, time, zone) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let when: DateTime = format!("{day}T{time}").parse().ok()?;
    let when = when.to_zoned(jiff::tz::TimeZone::UTC).ok().filter(|_| zone == "UTC")?;
    u64::try_from(when.timestamp().as_microsecond()).ok()
}

/// `1min 30s`, `500ms`, in microseconds; none for `infinity`.
fn parse_span(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 9] = [
        ("us", 1),
        ("ms", 1000),
        ("min", 60_000_000),
        ("s", 1_000_000),
        ("h", 3_600_000_000),
        ("d", 86_400_000_000),
        ("w", 604_800_000_000),
        ("month", 2_629_800_000_000),
        ("y", 31_557_600_000_000),
    ];
    let mut sum = 0u64;
    for word in text.split(' ') {
        let end = word.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = word[..end].parse().ok()?;
        let (_, micros) = UNITS.iter().find(|(unit, _)| *unit == &word[end..])?;
        sum = sum.checked_add((number * *micros as f64) as u64)?;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::units::{Active, Ended, Load};

    /// As systemd 252 prints it.
    const RECORDED: &str = "\
Type=simple
TimeoutStartUSec=1min 30s
RemainAfterExit=no
NRestarts=3
MainPID=0
ExecMainStartTimestamp=Sat 2026-11-21 20:57:20 UTC
ExecMainCode=1
ExecMainStatus=7
ExecStart={ path=/bin/sh ; argv[]=/bin/sh -c sleep 1; exit 7 ; ignore_errors=no ; start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }
ControlGroup=
MemoryCurrent=[not set]
CPUUsageNSec=18446744073709551615
TasksCurrent=[not set]
MemoryMax=infinity
RootDirectory=
Result=exit-code
Id=shop.service
TriggeredBy=shop.socket shop.timer
LoadState=loaded
ActiveState=failed
SubState=failed
FragmentPath=/etc/systemd/system/shop.service
StateChangeTimestamp=Sat 2026-11-21 20:57:21 UTC
NeedDaemonReload=yes
InvocationID=0123456789abcdef0123456789abcdef

Id=none.service
LoadState=not-found
ActiveState=inactive
SubState=dead
";

    #[test]
    fn what_systemctl_prints_is_read() {
        let units = parse(RECORDED);
        let wanted = Unit {
            id: "shop.service".into(),
            load: Load::Loaded,
            active: Active::Failed,
            sub: "failed".into(),
            kind: "simple".into(),
            result: "exit-code".into(),
            ended: Some(Ended::Exited(7)),
            started: Some(1_795_294_640_000_000),
            since: Some(1_795_294_641_000_000),
            invocation: "0123456789abcdef0123456789abcdef".into(),
            restarts: Some(3),
            program: "/bin/sh".into(),
            fragment: "/etc/systemd/system/shop.service".into(),
            start_timeout: Some(Span::secs(90)),
            has_timer: true,
            needs_reload: true,
            ..Unit::default()
        };
        assert_eq!(units[0], wanted);
        assert_eq!(units[1], Unit { sub: "dead".into(), ..Unit::missing("none.service") });
        assert_eq!(units.len(), 2);
    }

    #[test]
    fn times_and_spans_are_read_or_none() {
        for (text, wanted) in [
            ("1min 30s", Some(90_000_000)),
            ("500ms", Some(500_000)),
            ("1.5s", Some(1_500_000)),
            ("1h 2us", Some(3_600_000_002)),
            ("1month", Some(2_629_800_000_000)),
            ("infinity", None),
            ("", None),
            ("5", None),
            ("s", None),
            ("99999999999999999999y", None),
        ] {
            // What is too large is the largest, which says nothing.
            assert_eq!(parse_span(text).filter(|us| *us != u64::MAX), wanted, "{text}");
        }
        for text in
            ["", "n/a", "Sat 2026-11-21 20:57:20 CET", "Sat 2026-13-21 20:57:20 UTC", "Thu 1960-01-01 00:00:00 UTC"]
        {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }

    #[test]
    fn no_text_breaks_the_reader() {
        // Each line left out, cut off, and written anew with something else behind the name.
        let lines: Vec<&str> = RECORDED.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let name = line.split_once('=').map_or("", |(name, _)| name);
            for with in [
                "",
                &line[..line.len() / 2],
                &format!("{name}="),
                &format!("{name}=\u{1}-1"),
                &format!("{name}={}", "9".repeat(5000)),
            ] {
                let mut text = lines.clone();
                text[at] = with;
                let units = parse(&text.join("\n"));
                assert!(units.len() <= 3, "{units:?}");
                assert!(units.iter().all(|unit| unit.fragment.len() <= 4096 && unit.memory.is_none()), "{units:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_systemctl_that_fails_is_told_why() {
        let place = crate::sys::files::testing::Scratch::new("systemctl");
        let ask = async |script: &str, names: &[&str]| {
            let path = place.put("systemctl", script.as_bytes());
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
            let names: Vec<String> = names.iter().map(|name| (*name).to_string()).collect();
            let units = Show::new(path.to_str()).units(&names, Span::secs(5)).await;
            units.map(|units| units.len()).map_err(|failure| failure.to_string())
        };
        let one = "#!/bin/sh\nprintf 'Id=a.service\\nLoadState=loaded\\nActiveState=active\\n'\n";
        assert_eq!(ask(one, &["a.service"]).await, Ok(1));
        for (script, wanted) in [
            (one, "told of 1 units and was asked for 2"),
            ("#!/bin/sh\necho 'Failed to connect to bus: No such file' >&2; exit 1\n", "bus: "),
            ("#!/bin/sh\necho 'Access denied' >&2; exit 4\n", "permission: "),
            ("#!/bin/sh\nhead -c 300000 /dev/zero\n", "which is too much"),
        ] {
            let failed = ask(script, &["a.service", "b.service"]).await.unwrap_err();
            assert!(failed.contains(wanted), "{failed}");
        }
        let none = Show::new(Some("/none/systemctl")).units(&[], Span::secs(5)).await.unwrap_err();
        assert_eq!(none.reason, "bus", "{none}");
    }
}
