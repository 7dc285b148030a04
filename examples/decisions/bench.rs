//! The benchmark: every setting, so many watches of it, every scenario, every policy; rows in the order of the table.
//!
//! A watch is drawn from the seed, the setting and its own number, so the figures do not depend on how many threads
//! share the work.

use std::sync::atomic::{AtomicUsize, Ordering};

use backstop::rule::ratio::detectable;

use super::scenario::{Scenario, Setting};
use super::score::{Heading, Row, Tally};
use super::watch::{ERROR_LIMIT, Log, Policy};
use super::world::World;
use super::{ours, rivals};

/// What to run.
pub struct Plan {
    /// Of all random numbers.
    pub seed: u64,
    /// Watches of each row.
    pub watches: usize,
    /// What is played.
    pub settings: Vec<Setting>,
    /// How many threads share the work.
    pub threads: usize,
}

/// Ours, then the rivals.
pub fn policies() -> Vec<Box<dyn Policy>> {
    ours::all().into_iter().chain(rivals::all()).collect()
}

/// Runs it.
pub fn run(plan: &Plan) -> Vec<Row> {
    let settings = &plan.settings;
    let policies = policies();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut tallies = Tallies::new(settings, policies.len());
        loop {
            let item = next.fetch_add(1, Ordering::Relaxed);
            let (number, index) = (item / settings.len().max(1), item % settings.len().max(1));
            if number >= plan.watches || settings.is_empty() {
                return tallies;
            }
            let seed = seed_of(plan.seed, &settings[index], number);
            play(&settings[index], seed, &policies, &mut tallies.0[index]);
        }
    };
    let tallies = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..plan.threads.max(1)).map(|_| scope.spawn(work)).collect();
        let mut tallies = work();
        // A panic in a thread is one of this program's own; it is passed on.
        threads.into_iter().for_each(|thread| match thread.join() {
            Ok(others) => tallies.join(others),
            Err(panic) => std::panic::resume_unwind(panic),
        });
        tallies
    });
    rows(settings, &policies, tallies)
}

/// By setting, scenario and policy; none where the policy does not judge these signals.
struct Tallies(Vec<Vec<Vec<Option<Tally>>>>);

impl Tallies {
    fn new(settings: &[Setting], policies: usize) -> Tallies {
        Tallies(settings.iter().map(|setting| vec![vec![None; policies]; setting.scenarios.len()]).collect())
    }

    fn join(&mut self, others: Tallies) {
        let mine = self.0.iter_mut().flatten().flatten();
        for (mine, other) in mine.zip(others.0.into_iter().flatten().flatten()) {
            match (mine, other) {
                (Some(mine), Some(other)) => mine.join(other),
                (mine, other) => *mine = mine.take().or(other),
            }
        }
    }
}

/// One watch: all scenarios over the same past.
fn play(setting: &Setting, seed: u64, policies: &[Box<dyn Policy>], tallies: &mut [Vec<Option<Tally>>]) {
    let world = World::draw(setting.signals, seed);
    let past = world.past();
    for (scenario, tallies) in setting.scenarios.iter().zip(tallies) {
        let story = world.play(scenario);
        let watch = story.watch(&past);
        let until = story.full().unwrap_or(watch.minutes());
        for (policy, tally) in policies.iter().zip(tallies) {
            if policy.judges(&watch) {
                let mut log = Log::new(false);
                policy.judge(&watch, &mut log);
                tally.get_or_insert_default().add(&log, scenario.fault(until));
            }
        }
    }
}

fn rows(settings: &[Setting], policies: &[Box<dyn Policy>], tallies: Tallies) -> Vec<Row> {
    let mut rows = Vec::new();
    for (setting, tallies) in settings.iter().zip(tallies.0) {
        for (scenario, tallies) in setting.scenarios.iter().zip(tallies) {
            let shows = shows(setting, scenario);
            for (policy, tally) in policies.iter().zip(tallies) {
                let heading = Heading {
                    world: setting.signals.world(),
                    policy: policy.name(),
                    scenario: scenario.name,
                    noise: setting.signals.noise(),
                    traffic_per_minute: setting.signals.traffic(),
                };
                let bad = scenario.within.is_some();
                rows.extend(tally.map(|tally| tally.row(heading, policy.rolls_back(), bad, scenario.within, shows)));
            }
        }
    }
    rows
}

/// Whether the counts can show the fault in the scenario's time: with even odds or better, by the power of the
/// ratio rule. Faults that are no share of requests are not counted.
fn shows(setting: &Setting, scenario: &Scenario) -> Option<bool> {
    let (rate, truth, within) = (setting.signals.traffic()?, scenario.errors()?, scenario.within?);
    Some(detectable(ERROR_LIMIT, truth, rate, within) >= 0.5)
}

/// The seed of one watch: FNV-1a over what it is, so that watches of different settings have nothing in common.
fn seed_of(seed: u64, setting: &Setting, number: usize) -> u64 {
    let text = format!("{seed} {:?} {number}", setting.signals);
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
}
