//! Which program a unit runs, of which version, and whether another one lies there by now. Pure.
//!
//! The version is that of the running process. A link that was switched, or a file that was replaced, after it was started
//! is not what runs: that is said as a change, and the version stays.

use crate::base::Timestamp;
use crate::sys::units::{Program, Seen, Unit};

/// What is known of the program of one unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Running {
    /// The run that this is about: its id, and when its main process was started.
    run: (String, Option<u64>),
    /// The program's path; empty where it is not known.
    pub(super) executable: String,
    /// Its version; empty where it is not known.
    pub(super) version: String,
    /// What lay there when it was started, where that is certain.
    installed: Option<Program>,
    /// Whether what lies there now is something else; none where that cannot be said.
    pub(super) is_changed: Option<bool>,
}

impl Running {
    /// Whether the unit runs something else than what is known.
    pub(super) fn is_other(&self, unit: &Unit) -> bool {
        self.run.0 != unit.invocation || self.run.1 != unit.started
    }

    /// Takes in what was seen of the program of `unit`.
    pub(super) fn note(&mut self, unit: &Unit, seen: &Seen) {
        if unit.main_pid.is_none() {
            let executable =
                seen.installed.as_ref().map_or_else(String::new, |program| program.path.display().to_string());
            *self = Running { executable, ..Running::default() };
            return;
        }
        if self.is_other(unit) || self.executable.is_empty() {
            *self = Running { run: (unit.invocation.clone(), unit.started), ..Running::default() };
            self.begin(unit, seen);
        }
        let is_gone = seen.running.as_ref().is_some_and(|(_, is_there)| !is_there);
        self.is_changed = match (&self.installed, &seen.installed) {
            _ if is_gone => Some(true),
            (Some(then), Some(now)) => Some(!then.is_same(now)),
            // It was touched after the start: what lies there is not what was started.
            (None, Some(_)) => Some(true),
            (_, None) => None,
        };
    }

    fn begin(&mut self, unit: &Unit, seen: &Seen) {
        let started = unit.started.and_then(|us| i64::try_from(us / 1000).ok()).map(Timestamp);
        // What was touched before the start is what was started.
        let is_certain = |program: &&Program| started.is_some_and(|started| program.touched <= started);
        self.installed = seen.installed.as_ref().filter(is_certain).cloned();
        // An interpreter is the file of the process; the program is what the unit names.
        let of_process = seen.running.as_ref().map(|(path, _)| path);
        let named = of_process.and_then(|path| Program::version_in(path));
        if let Some(path) = of_process.or(self.installed.as_ref().map(|program| &program.path)) {
            self.executable = path.display().to_string();
        }
        self.version = match (named, &self.installed) {
            (_, Some(installed)) if installed.is_named => installed.version.clone(),
            (Some(version), _) => version,
            (None, Some(installed)) => installed.version.clone(),
            (None, None) => String::new(),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn unit(invocation: &str, started: u64) -> Unit {
        Unit { invocation: invocation.into(), started: Some(started * 1000), main_pid: Some(7), ..Unit::default() }
    }

    fn program(path: &str, version: &str, touched: i64) -> Option<Program> {
        Some(Program::for_test(path, version, Timestamp(touched)))
    }

    #[test]
    fn the_version_is_of_what_runs_until_it_is_started_again() {
        let mut running = Running::default();
        let mut step = |unit: &Unit, installed: Option<Program>, exe: Option<(&str, bool)>| {
            let exe = exe.map(|(path, is_there)| (PathBuf::from(path), is_there));
            running.note(unit, &Seen { installed, running: exe });
            (running.version.clone(), running.is_changed)
        };
        let (one, two) = (|| program("/srv/releases/1/app", "1", 100), || program("/srv/releases/2/app", "2", 300));
        let first = unit("a", 200);
        assert_eq!(step(&first, one(), None), ("1".into(), Some(false)));
        assert_eq!(step(&first, two(), None), ("1".into(), Some(true)), "the link was switched and nothing started");
        assert_eq!(step(&unit("b", 400), two(), None), ("2".into(), Some(false)), "started again");
        assert_eq!(step(&unit("b", 400), None, None), ("2".into(), None), "nothing can be seen now");
        assert_eq!(
            step(&unit("c", 500), two(), Some(("/srv/releases/2/app", false))),
            ("2".into(), Some(true)),
            "replaced"
        );
        // Seen for the first time, and touched after the start.
        assert_eq!(step(&unit("d", 200), two(), None), (String::new(), Some(true)));
        assert_eq!(step(&unit("e", 200), two(), Some(("/srv/releases/1/app", true))), ("1".into(), Some(true)));
        // What does not run has no version.
        assert_eq!(step(&Unit::default(), two(), None), (String::new(), None));
    }
}
