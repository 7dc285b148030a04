//! Containers of a world: what an engine would tell of them, put into the fleet that the source is made of.

use std::collections::BTreeMap;

use super::world::Container as There;
use backstop::base::{Batch, Span, Timestamp};
use backstop::source::container::config::Config;
use backstop::source::container::facts::Facts;
use backstop::source::container::fleet::{Fleet, News};
use backstop::source::container::looks::Ask;
use backstop::source::container::measure::{Measure, Reading};
use backstop::source::container::verdict::Proof;
use backstop::sys::engine::{Container, Health, Id, Info, Limits, Policy, State};

const MIB: u64 = 1 << 20;

/// The containers of one table.
pub struct Containers {
    config: Config,
    fleet: Fleet,
    began: Option<Timestamp>,
}

impl Containers {
    /// Those of this table; nothing is known so far.
    pub fn new(config: &Config) -> Containers {
        Containers { config: config.clone(), fleet: Fleet::new(config.clone()), began: None }
    }

    /// Which table.
    pub fn name(&self) -> String {
        self.config.common.reference.to_string()
    }

    /// How often it looks.
    pub fn interval(&self) -> Span {
        self.config.common.interval
    }

    /// What is said of each service when the world is so.
    pub fn look(&mut self, at: Timestamp, world: &BTreeMap<String, There>) -> Vec<Batch> {
        let began = *self.began.get_or_insert_with(|| {
            let info = Info {
                version: "24.0.2".into(),
                api: "1.43".into(),
                cgroup: Some(2),
                live_restore: false,
                containers: 8,
            };
            self.fleet.take(News::Up(info), at);
            at
        });
        let there: BTreeMap<Id, (&String, &There)> =
            world.iter().filter(|(_, c)| !c.gone).map(|(name, c)| (id(name), (name, c))).collect();
        let listed = there.iter().map(|(id, (name, there))| container(id, name, there)).collect();
        self.fleet.take(News::List(listed, 0, at.0 * 1_000_000), at);
        while let Some(ask) = self.fleet.ask(at) {
            let answer = match ask {
                Ask::Container(id) => {
                    let facts = there.get(&id).map(|(_, there)| Box::new(facts(there, began)));
                    News::Container(id, Ok(facts))
                }
                Ask::Image(id) => News::Image(id, None),
            };
            self.fleet.take(answer, at);
        }
        self.fleet.all(at, &mut Meter(there.into_iter().map(|(id, (_, there))| (id, there.memory)).collect()))
    }
}

/// The id that a name stands for.
fn id(name: &str) -> Id {
    let hash =
        name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    Id::try_from(format!("{hash:064x}")).unwrap()
}

fn container(id: &Id, name: &str, there: &There) -> Container {
    let (project, service) = name.split_once('/').unwrap();
    Container {
        id: id.clone(),
        name: format!("{project}_{service}_1"),
        service: Some((project.into(), service.into())),
        number: Some(1),
        is_one_off: false,
        image: there.image.clone().unwrap_or_default(),
        state: state(there),
        is_running: there.exited.is_none(),
        created: 1_700_000_000,
        ports: Vec::new(),
    }
}

fn state(there: &There) -> State {
    if there.exited.is_some() { State::Exited } else { State::Running }
}

fn facts(there: &There, began: Timestamp) -> Facts {
    let health = there.health.as_deref().map(|health| match health {
        "starting" => Health::Starting,
        "healthy" => Health::Healthy,
        "unhealthy" => Health::Unhealthy,
        other => panic!("{other} is no health"),
    });
    Facts {
        state: state(there),
        health,
        pid: there.exited.is_none().then_some(7),
        exit_code: there.exited.unwrap_or(0),
        restarts: there.restarts,
        policy: Policy::UnlessStopped,
        started: Some(began - Span::mins(there.started.unwrap_or(60))),
        image: there.image.clone().unwrap_or_default(),
        limits: Limits { memory: there.limit.map(|limit| limit * MIB), ..Limits::default() },
        ..Facts::default()
    }
}

/// Reads nothing but memory.
#[derive(Debug)]
struct Meter(BTreeMap<Id, Option<u64>>);

impl Measure for Meter {
    fn read(&mut self, id: &Id, _: u32, _: bool, reading: &mut Reading) {
        reading.proof = Proof::Alive;
        reading.has_figures = true;
        let memory = self.0.get(id).copied().flatten().unwrap_or(40) * MIB;
        reading.figures.memory_usage = Some(memory + 5 * MIB);
        reading.figures.memory_inactive_file = Some(5 * MIB);
    }

    fn keep(&mut self, _: &dyn Fn(&Id) -> bool) {}
}
