//! The series of one unit. Pure.

use super::running::Running;
use super::totals::Totals;
use crate::base::{Labels, Sample};
use crate::source::common::{Target, sample};
use crate::sys::cgroup::Figures;
use crate::sys::units::{Active, Ended, Load, Unit};

/// Names that exist from the start.
pub const NAMES: [&str; 18] = [
    "probe_success",
    "probe_duration_seconds",
    "probe_failure_info",
    "node_systemd_unit_state",
    "systemd_unit_active",
    "systemd_unit_restarts_total",
    "systemd_unit_oom_kills_total",
    "systemd_unit_start_time_seconds",
    "systemd_unit_memory_bytes",
    "systemd_unit_memory_limit_bytes",
    "systemd_unit_memory_is_limited",
    "systemd_unit_cpu_seconds_total",
    "systemd_unit_tasks",
    "systemd_unit_result",
    "systemd_unit_exit_status",
    "systemd_unit_executable_changed",
    "systemd_unit_needs_reload",
    "systemd_unit_info",
];

/// The labels of series whose labels never change, made once.
#[derive(Debug)]
pub(super) struct Series {
    name: String,
    active: Labels,
    restarts: Labels,
    oom_kills: Labels,
    started: Labels,
    memory: Labels,
    limit: Labels,
    is_limited: Labels,
    cpu: Labels,
    tasks: Labels,
    changed: Labels,
    needs_reload: Labels,
}

impl Series {
    pub(super) fn new(target: &Target, name: &str) -> Series {
        let of = |series: &str| target.series(series, &[("name", name)]);
        Series {
            name: name.to_string(),
            active: of("systemd_unit_active"),
            restarts: of("systemd_unit_restarts_total"),
            oom_kills: of("systemd_unit_oom_kills_total"),
            started: of("systemd_unit_start_time_seconds"),
            memory: of("systemd_unit_memory_bytes"),
            limit: of("systemd_unit_memory_limit_bytes"),
            is_limited: of("systemd_unit_memory_is_limited"),
            cpu: of("systemd_unit_cpu_seconds_total"),
            tasks: of("systemd_unit_tasks"),
            changed: of("systemd_unit_executable_changed"),
            needs_reload: of("systemd_unit_needs_reload"),
        }
    }

    /// The samples of a unit as it is now, on a host with so much memory.
    pub(super) fn samples(
        &self,
        target: &Target,
        unit: &Unit,
        figures: &Figures,
        totals: &Totals,
        running: &Running,
        host: u64,
    ) -> Vec<Sample> {
        let mut samples = Vec::with_capacity(24);
        if unit.load == Load::Missing && unit.active == Active::Inactive {
            return samples;
        }
        let mut put = |labels: &Labels, value: Option<f64>| {
            samples.extend(value.map(|value| sample(labels.clone(), value)));
        };
        let whole = |n: Option<u64>| n.map(|n| n as f64);
        put(&self.active, Some(f64::from(u8::from(unit.active == Active::Active))));
        put(&self.restarts, unit.restarts.map(|_| totals.restarts as f64));
        put(&self.oom_kills, unit.restarts.map(|_| totals.oom_kills as f64));
        put(&self.started, unit.started.map(|us| us as f64 / 1e6));
        let memory = figures.working_set().or(figures.memory_usage).or(unit.memory);
        put(&self.memory, whole(memory));
        if memory.is_some() {
            let limit = unit.memory_max.into_iter().chain(figures.memory_limit).min();
            put(&self.limit, Some(limit.unwrap_or(host) as f64));
            put(&self.is_limited, Some(f64::from(u8::from(limit.is_some()))));
        }
        put(&self.cpu, figures.cpu_usage.or(unit.cpu.map(|ns| ns as f64 / 1e9)));
        put(&self.tasks, whole(figures.pids.or(unit.tasks)));
        put(&self.changed, running.is_changed.map(|is| f64::from(u8::from(is))));
        put(&self.needs_reload, Some(f64::from(u8::from(unit.needs_reload))));
        let name = ("name", self.name.as_str());
        for state in Active::ALL {
            let labels = [name, ("state", state.word()), ("type", &unit.kind)];
            let is = f64::from(u8::from(unit.active == state));
            samples.push(sample(target.series("node_systemd_unit_state", &labels), is));
        }
        if !unit.result.is_empty() {
            samples.push(sample(target.series("systemd_unit_result", &[name, ("result", &unit.result)]), 1.0));
        }
        if let Some(ended) = unit.ended {
            let (how, status) = match ended {
                Ended::Exited(status) => ("exited", status),
                Ended::Killed(signal) => ("killed", signal),
                Ended::Dumped(signal) => ("dumped", signal),
            };
            samples.push(sample(target.series("systemd_unit_exit_status", &[name, ("code", how)]), status as f64));
        }
        let info = [
            name,
            ("type", &unit.kind),
            ("fragment", &unit.fragment),
            ("executable", &running.executable),
            ("version", &running.version),
        ];
        samples.push(sample(target.series("systemd_unit_info", &info), 1.0));
        samples
    }
}
