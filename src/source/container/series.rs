//! The series of one container name: their labels are made once, and each batch only adds values.

use std::collections::BTreeMap;

use super::facts::Facts;
use super::meant::version;
use super::totals::{GROUP, NETWORK, Totals};
use crate::base::{Labels, Sample, Timestamp};
use crate::source::common::{Target, sample};
use crate::sys::cgroup::Figures;
use crate::sys::engine::{Health, Id, State};

/// The period of a quota, in microseconds: limits are told as parts of it.
const PERIOD: f64 = 100_000.0;

/// The states that are told apart; one that the engine has no word for is in none of them.
const STATES: [State; 7] =
    [State::Created, State::Running, State::Paused, State::Restarting, State::Removing, State::Exited, State::Dead];

/// What is told of a container as a whole.
const OWN: [&str; 10] = [
    "container_running",
    "container_healthy",
    "container_start_time_seconds",
    "container_restarts_total",
    "container_deaths_total",
    "container_oom_events_total",
    "container_oom_killed",
    "container_exit_code",
    "container_unhealthy_streak",
    "container_last_seen",
];

/// What is told of what it uses and may use.
const GAUGES: [&str; 11] = [
    "container_memory_usage_bytes",
    "container_memory_working_set_bytes",
    "container_memory_rss",
    "container_memory_cache",
    "container_memory_swap",
    "container_memory_max_usage_bytes",
    "container_threads",
    "container_threads_max",
    "container_spec_memory_limit_bytes",
    "container_spec_cpu_quota",
    "container_spec_cpu_period",
];

/// What a container says of itself in labels.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Info {
    id: Id,
    image: String,
    image_id: String,
    version: Option<String>,
    revision: Option<String>,
    digest: Option<String>,
    volumes: Vec<String>,
}

/// The labels of one name.
#[derive(Debug)]
pub struct Series {
    name: String,
    own: Vec<Labels>,
    states: Vec<Labels>,
    group: Vec<Labels>,
    gauges: Vec<Labels>,
    network: BTreeMap<String, Vec<Labels>>,
    info: Option<(Info, Vec<Labels>)>,
}

/// What is known of a container at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Its id.
    pub id: &'a Id,
    /// What the engine says.
    pub facts: &'a Facts,
    /// A digest of its image.
    pub digest: Option<&'a str>,
    /// Deaths, restarts, ooms.
    pub counted: (u64, u64, u64),
    /// Whether its memory ran out in its last life.
    pub is_oom: bool,
    /// What the kernel says, if it does.
    pub figures: Option<&'a Figures>,
    /// Whether what the engine said last still holds.
    pub is_certain: bool,
    /// Now.
    pub at: Timestamp,
}

impl Series {
    /// The series of `name`.
    pub fn new(target: &Target, name: &str) -> Series {
        let named = |metric: &str| target.series(metric, &[("name", name)]);
        Series {
            name: name.into(),
            own: OWN.into_iter().map(named).collect(),
            states: STATES
                .into_iter()
                .map(|state| target.series("container_state", &[("name", name), ("state", state.as_str())]))
                .collect(),
            group: GROUP.into_iter().map(named).collect(),
            gauges: GAUGES.into_iter().map(named).collect(),
            network: BTreeMap::new(),
            info: None,
        }
    }

    /// Adds what is known to `samples`.
    pub fn tell(&mut self, target: &Target, known: &Known<'_>, totals: &Totals, samples: &mut Vec<Sample>) {
        self.tell_own(known, samples);
        self.tell_totals(target, totals, samples);
        if let Some(figures) = known.figures {
            let values = gauges(known.facts, figures);
            let told =
                self.gauges.iter().zip(values).filter_map(|(labels, value)| Some(sample(labels.clone(), value?)));
            samples.extend(told);
        }
        self.tell_info(target, known, samples);
    }

    fn tell_own(&self, known: &Known<'_>, samples: &mut Vec<Sample>) {
        let facts = known.facts;
        let is_alive = matches!(facts.state, State::Running | State::Paused);
        let certain = |value: f64| known.is_certain.then_some(value);
        let (deaths, restarts, ooms) = known.counted;
        let values = [
            certain(truth(facts.state == State::Running)),
            certain(truth(is_healthy(facts))),
            facts.started.map(Timestamp::seconds),
            Some(restarts as f64),
            Some(deaths as f64),
            Some(ooms as f64),
            certain(truth(known.is_oom || facts.is_oom_killed)),
            (!is_alive && facts.started.is_some()).then_some(facts.exit_code as f64),
            facts.health.map(|_| facts.failing_streak as f64),
            certain(known.at.seconds()).filter(|_| is_alive),
        ];
        samples.extend(self.own.iter().zip(values).filter_map(|(labels, value)| Some(sample(labels.clone(), value?))));
        if known.is_certain {
            let states = self.states.iter().zip(STATES);
            samples.extend(states.map(|(labels, state)| sample(labels.clone(), truth(state == facts.state))));
        }
    }

    fn tell_totals(&mut self, target: &Target, totals: &Totals, samples: &mut Vec<Sample>) {
        let group = self.group.iter().zip(totals.group());
        samples.extend(group.filter_map(|(labels, value)| Some(sample(labels.clone(), value?))));
        for (interface, values) in totals.network() {
            if !self.network.contains_key(interface) {
                let more = [("name", self.name.as_str()), ("interface", interface)];
                let labels = NETWORK.into_iter().map(|metric| target.series(metric, &more)).collect();
                self.network.insert(interface.to_string(), labels);
            }
            let labels = self.network.get(interface).into_iter().flatten();
            samples.extend(labels.zip(values).map(|(labels, value)| sample(labels.clone(), value)));
        }
    }

    fn tell_info(&mut self, target: &Target, known: &Known<'_>, samples: &mut Vec<Sample>) {
        let is_same = self.info.as_ref().is_some_and(|(info, _)| info.is_of(known));
        if !is_same {
            let info = Info::of(known);
            let labels = info.labels(target, &self.name);
            self.info = Some((info, labels));
        }
        let labels = self.info.iter().flat_map(|(_, labels)| labels);
        samples.extend(labels.map(|labels| sample(labels.clone(), 1.0)));
    }
}

impl Info {
    fn of(known: &Known<'_>) -> Info {
        let facts = known.facts;
        Info {
            id: known.id.clone(),
            image: facts.image.clone(),
            image_id: facts.image_id.clone(),
            version: facts.version.clone(),
            revision: facts.revision.clone(),
            digest: known.digest.map(ToString::to_string),
            volumes: facts.volumes.clone(),
        }
    }

    fn is_of(&self, known: &Known<'_>) -> bool {
        let facts = known.facts;
        self.id == *known.id
            && self.image == facts.image
            && self.image_id == facts.image_id
            && self.version == facts.version
            && self.revision == facts.revision
            && self.digest.as_deref() == known.digest
            && self.volumes == facts.volumes
    }

    fn labels(&self, target: &Target, name: &str) -> Vec<Labels> {
        let version = version(self.version.as_deref(), &self.image, &self.image_id);
        let more = [
            ("name", name),
            ("image", self.image.as_str()),
            ("digest", self.digest.as_deref().unwrap_or_default()),
            ("container_id", self.id.short()),
            ("version", &version),
            ("revision", self.revision.as_deref().unwrap_or_default()),
        ];
        let volumes = self
            .volumes
            .iter()
            .map(|volume| target.series("container_volume_info", &[("name", name), ("volume", volume)]));
        std::iter::once(target.series("container_info", &more)).chain(volumes).collect()
    }
}

/// In the order of [`GAUGES`].
fn gauges(facts: &Facts, figures: &Figures) -> [Option<f64>; 11] {
    let whole = |n: Option<u64>| n.map(|n| n as f64);
    let cpus = figures.cpu_limit.or(facts.limits.cpus);
    [
        whole(figures.memory_usage),
        whole(figures.working_set()),
        whole(figures.memory_rss),
        whole(figures.memory_cache),
        whole(figures.memory_swap),
        whole(figures.memory_max_usage),
        whole(figures.pids),
        // cAdvisor writes 0 for no limit.
        figures.pids.map(|_| figures.pids_limit.or(facts.limits.pids).unwrap_or(0) as f64),
        Some(figures.memory_limit.or(facts.limits.memory).unwrap_or(0) as f64),
        cpus.map(|cpus| (cpus * PERIOD).round()),
        cpus.map(|_| PERIOD),
    ]
}

/// Whether it runs, and nothing says that it is not well.
pub fn is_healthy(facts: &Facts) -> bool {
    facts.state == State::Running && matches!(facts.health, None | Some(Health::Healthy))
}

/// 1 or 0.
pub fn truth(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}
