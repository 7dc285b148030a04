//! A unit, and the properties that it is made of. Pure.

use std::collections::BTreeMap;

use crate::base::Span;

/// The longest text of a property that is kept, in bytes; a longer one counts as missing.
const MAX_TEXT: usize = 4096;

/// What a property says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(u64),
    Bool(bool),
}

/// How the value of a property is written by `systemctl show`; the bus has types of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Bool,
    /// Microseconds since 1970; `Sat 2026-11-21 20:57:20 UTC`.
    Time,
    /// Microseconds; `1min 30s`.
    Span,
    /// The program of the first command; `{ path=/bin/sh ; argv[]=… }`.
    Program,
}

/// The properties that are asked for.
pub(super) const WANTED: [(&str, Kind); 26] = [
    ("Id", Kind::Text),
    ("LoadState", Kind::Text),
    ("ActiveState", Kind::Text),
    ("SubState", Kind::Text),
    ("Type", Kind::Text),
    ("Result", Kind::Text),
    ("ExecMainCode", Kind::Number),
    ("ExecMainStatus", Kind::Number),
    ("ExecMainStartTimestamp", Kind::Time),
    ("StateChangeTimestamp", Kind::Time),
    ("MainPID", Kind::Number),
    ("InvocationID", Kind::Text),
    ("ControlGroup", Kind::Text),
    ("NRestarts", Kind::Number),
    ("MemoryCurrent", Kind::Number),
    ("MemoryMax", Kind::Number),
    ("CPUUsageNSec", Kind::Number),
    ("TasksCurrent", Kind::Number),
    ("ExecStart", Kind::Program),
    ("FragmentPath", Kind::Text),
    ("RemainAfterExit", Kind::Bool),
    ("TimeoutStartUSec", Kind::Span),
    ("TriggeredBy", Kind::Text),
    ("NeedDaemonReload", Kind::Bool),
    ("RootDirectory", Kind::Text),
    ("RootImage", Kind::Text),
];

/// The properties of one unit, as far as they are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Properties(BTreeMap<&'static str, Value>);

impl Properties {
    /// Keeps a value, if it is wanted, not there yet and not too long.
    pub(super) fn put(&mut self, name: &str, value: impl FnOnce(Kind) -> Option<Value>) {
        let Some((name, kind)) = WANTED.iter().find(|(wanted, _)| *wanted == name) else { return };
        if self.0.contains_key(name) {
            return;
        }
        if let Some(value) = value(*kind).filter(|value| !matches!(value, Value::Text(text) if text.len() > MAX_TEXT)) {
            self.0.insert(name, value);
        }
    }

    fn text(&self, name: &str) -> String {
        match self.0.get(name) {
            Some(Value::Text(text)) => text.clone(),
            _ => String::new(),
        }
    }

    /// A number; none where it is the largest one, which means that there is none.
    fn number(&self, name: &str) -> Option<u64> {
        match self.0.get(name) {
            Some(Value::Number(n)) => Some(*n).filter(|n| *n != u64::MAX),
            _ => None,
        }
    }

    fn is(&self, name: &str) -> bool {
        self.0.get(name) == Some(&Value::Bool(true))
    }

    /// Whether anything is known.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether the file of a unit could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Load {
    /// It could.
    Loaded,
    /// There is none.
    #[default]
    Missing,
    /// It is masked: it cannot be started.
    Masked,
    /// It cannot be used (`error`, `bad-setting`), as systemd writes it.
    Odd(String),
}

impl Load {
    /// From `LoadState`.
    pub fn parse(text: &str) -> Load {
        match text {
            "loaded" | "merged" | "stub" => Load::Loaded,
            "not-found" => Load::Missing,
            "masked" => Load::Masked,
            odd => Load::Odd(odd.to_string()),
        }
    }
}

/// What a unit does, in systemd's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Active {
    /// It runs, or what it stands for is there; `reloading` and `refreshing` are this too.
    Active,
    /// It is being started.
    Activating,
    /// It is being stopped.
    Deactivating,
    /// It does not run.
    #[default]
    Inactive,
    /// It does not run because something went wrong.
    Failed,
}

impl Active {
    /// All of them.
    pub const ALL: [Active; 5] =
        [Active::Active, Active::Activating, Active::Deactivating, Active::Inactive, Active::Failed];

    /// From `ActiveState`; none where a newer systemd has a word that is not known.
    pub fn parse(text: &str) -> Option<Active> {
        match text {
            "active" | "reloading" | "refreshing" => Some(Active::Active),
            "activating" => Some(Active::Activating),
            "deactivating" => Some(Active::Deactivating),
            // Clean up of a unit's folders.
            "inactive" | "maintenance" => Some(Active::Inactive),
            "failed" => Some(Active::Failed),
            _ => None,
        }
    }

    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Active::Active => "active",
            Active::Activating => "activating",
            Active::Deactivating => "deactivating",
            Active::Inactive => "inactive",
            Active::Failed => "failed",
        }
    }
}

/// How a main process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this status.
    Exited(u64),
    /// By this signal.
    Killed(u64),
    /// By this signal, and its memory was dumped.
    Dumped(u64),
}

impl Ended {
    /// `CLD_EXITED`, `CLD_KILLED` and `CLD_DUMPED` of waitid(2).
    fn new(code: u64, status: u64) -> Option<Ended> {
        match code {
            1 => Some(Ended::Exited(status)),
            2 => Some(Ended::Killed(status)),
            3 => Some(Ended::Dumped(status)),
            _ => None,
        }
    }
}

/// What systemd says of a unit at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// Its own name, which an alias is not.
    pub id: String,
    /// Whether there is such a unit.
    pub load: Load,
    /// What it does.
    pub active: Active,
    /// The same in more detail; each kind of unit has words of its own.
    pub sub: String,
    /// `Type=` of a service, else empty.
    pub kind: String,
    /// How its last run ended: `success`, `exit-code`, `signal`, `oom-kill`, …; empty where its kind has none.
    pub result: String,
    /// How its main process ended last; none while it runs, and before the first run.
    pub ended: Option<Ended>,
    /// When its main process was started last: microseconds since 1970.
    pub started: Option<u64>,
    /// Since when it is in this state: microseconds since 1970.
    pub since: Option<u64>,
    /// Its main process.
    pub main_pid: Option<u32>,
    /// What tells this run from others; empty before the first.
    pub invocation: String,
    /// The path of its control group; empty where it has none.
    pub group: String,
    /// How often systemd started it again by itself, since it was last started by hand.
    pub restarts: Option<u64>,
    /// Bytes of memory, with the page cache.
    pub memory: Option<u64>,
    /// `MemoryMax=` in bytes; none where there is none.
    pub memory_max: Option<u64>,
    /// Nanoseconds of processor time.
    pub cpu: Option<u64>,
    /// Processes and threads.
    pub tasks: Option<u64>,
    /// The program of `ExecStart=`; empty where there is none, or it lies in a root folder of its own.
    pub program: String,
    /// The file of the unit.
    pub fragment: String,
    /// It counts as active when its processes have ended.
    pub remains: bool,
    /// How long a start may take; none where there is no limit.
    pub start_timeout: Option<Span>,
    /// A timer starts it.
    pub has_timer: bool,
    /// Its file was changed, and systemd has not read it since.
    pub needs_reload: bool,
}

impl Unit {
    /// A unit of these properties; none where its state is missing or unknown.
    pub(super) fn new(all: &Properties) -> Option<Unit> {
        let number = |name| all.number(name).filter(|n| *n > 0);
        let main_pid = number("MainPID").and_then(|pid| u32::try_from(pid).ok());
        let has_own_root =
            ["RootDirectory", "RootImage"].iter().any(|name| !matches!(all.text(name).as_str(), "" | "/"));
        Some(Unit {
            id: Some(all.text("Id")).filter(|id| !id.is_empty())?,
            load: Load::parse(&Some(all.text("LoadState")).filter(|load| !load.is_empty())?),
            active: Active::parse(&all.text("ActiveState"))?,
            sub: all.text("SubState"),
            kind: all.text("Type"),
            result: all.text("Result"),
            ended: all.number("ExecMainCode").zip(all.number("ExecMainStatus")).and_then(|(c, s)| Ended::new(c, s)),
            started: number("ExecMainStartTimestamp"),
            since: number("StateChangeTimestamp"),
            main_pid,
            invocation: all.text("InvocationID"),
            group: all.text("ControlGroup"),
            restarts: all.number("NRestarts"),
            memory: all.number("MemoryCurrent"),
            memory_max: all.number("MemoryMax"),
            cpu: all.number("CPUUsageNSec"),
            tasks: all.number("TasksCurrent"),
            program: if has_own_root { String::new() } else { all.text("ExecStart") },
            fragment: all.text("FragmentPath"),
            remains: all.is("RemainAfterExit"),
            start_timeout: number("TimeoutStartUSec").and_then(|us| Some(Span(i64::try_from(us / 1000).ok()?))),
            has_timer: all.text("TriggeredBy").split(' ').any(|unit| unit.ends_with(".timer")),
            needs_reload: all.is("NeedDaemonReload"),
        })
    }

    /// One that systemd does not know.
    pub fn missing(name: &str) -> Unit {
        Unit { id: name.to_string(), ..Unit::default() }
    }
}
