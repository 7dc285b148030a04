//! What happens after T0: healthy deployments and bad ones, in the noise of three kinds of signals.
//!
//! Enters: the world chosen. Leaves: settings (a noise, at a traffic) with the scenarios that are played in each.
//! A name says kind and size; `healthy-…` is a version that must stay, whatever else goes on around it.

use super::memory::Memory;
use super::noise::Kind as Noise;
use super::score::Fault;

/// What kind of signals a setting has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum World {
    /// Latency-like values over the 16 noises.
    Values,
    /// Requests with errors, from 0.1 to 3,000 a minute.
    Requests,
    /// Memory with its shapes; watched for 72 h.
    Memory,
    /// All three at once.
    Service,
}

/// One noise, and what is played in it.
pub struct Setting {
    /// Which signals, and how they are when nothing happens.
    pub signals: Signals,
    /// In the order of the table.
    pub scenarios: Vec<Scenario>,
}

/// The signals of a setting when nothing happens.
#[derive(Clone, Copy, Debug)]
pub enum Signals {
    /// Values.
    Values(Noise),
    /// Requests a minute, the share that fails, and whether it also fails in bursts.
    Requests { rate: f64, share: f64, bursts: bool },
    /// Memory, by the name of its shape.
    Memory(&'static str, Memory),
    /// Values with a day cycle, ten requests a minute of which 1 % fail, memory of a collected heap.
    Service,
}

/// One story.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name in the table.
    pub name: &'static str,
    /// What happens.
    pub event: Event,
    /// Minutes after T0 at which it begins.
    pub onset: u32,
    /// Minutes from then in which it should be found; without it the version is healthy.
    pub within: Option<u32>,
}

/// What happens to the signals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// Nothing.
    Nothing,
    /// The metrics cannot be read for so many seconds; the service is well.
    Unread { seconds: u32 },
    /// Values times `factor`, which began so many minutes before T0: not this version's doing.
    TimesSince { factor: f64, minutes: u32 },
    /// Values times `factor` from now on.
    Times { factor: f64 },
    /// Values rise to `factor` over so many minutes and stay there.
    Ramp { factor: f64, minutes: u32 },
    /// Values times `factor` for so many minutes, then as usual.
    Slow { factor: f64, minutes: u32 },
    /// That share of requests fails, since so many minutes before T0.
    ErrorsSince { share: f64, minutes: u32 },
    /// That share of requests fails from now on.
    Errors { share: f64 },
    /// All requests fail for so many minutes.
    Away { minutes: u32 },
    /// The service dies two minutes of every five: all requests of these fail.
    CrashLoop,
    /// The series of all signals end, since what wrote them is gone.
    Gone,
    /// Memory grows by so much of its limit an hour.
    Leak { per_hour: f64 },
}

impl Scenario {
    /// When its fault begins and until when finding it helps, in a watch of so many minutes.
    pub fn fault(&self, minutes: u32) -> Option<Fault> {
        self.within.map(|_| Fault { onset: self.onset, until: minutes })
    }

    /// The errors among all requests that its fault leads to.
    pub fn errors(&self) -> Option<f64> {
        match self.event {
            Event::Errors { share } => Some(share),
            Event::Away { .. } => Some(1.0),
            Event::CrashLoop => Some(0.4),
            _ => None,
        }
    }
}

/// Ten hours: long after every rollout has ended.
const LATE: u32 = 600;

const fn healthy(name: &'static str, event: Event, onset: u32) -> Scenario {
    Scenario { name, event, onset, within: None }
}

const fn bad(name: &'static str, event: Event, onset: u32, within: u32) -> Scenario {
    Scenario { name, event, onset, within: Some(within) }
}

const VALUES: [Scenario; 14] = [
    healthy("healthy-quiet", Event::Nothing, 0),
    healthy("healthy-metrics-away-40s", Event::Unread { seconds: 40 }, 20),
    healthy("healthy-metrics-away-10min", Event::Unread { seconds: 600 }, 20),
    healthy("healthy-trouble-before", Event::TimesSince { factor: 2.0, minutes: 120 }, 0),
    bad("step-3x", Event::Times { factor: 3.0 }, 0, 15),
    bad("step-2x", Event::Times { factor: 2.0 }, 0, 60),
    bad("step-1.5x", Event::Times { factor: 1.5 }, 0, 360),
    bad("step-1.2x", Event::Times { factor: 1.2 }, 0, 780),
    bad("step-3x-after-10h", Event::Times { factor: 3.0 }, LATE, 15),
    bad("step-2x-after-10h", Event::Times { factor: 2.0 }, LATE, 60),
    bad("step-1.2x-after-10h", Event::Times { factor: 1.2 }, LATE, 1440),
    bad("ramp-2x-over-6h", Event::Ramp { factor: 2.0, minutes: 360 }, 0, 720),
    bad("startup-4x-30min", Event::Slow { factor: 4.0, minutes: 30 }, 0, 30),
    bad("outage-series-gone", Event::Gone, 180, 60),
];

const REQUESTS: [Scenario; 11] = [
    healthy("healthy-metrics-away-40s", Event::Unread { seconds: 40 }, 20),
    healthy("healthy-metrics-away-10min", Event::Unread { seconds: 600 }, 20),
    healthy("healthy-trouble-before", Event::ErrorsSince { share: 0.3, minutes: 120 }, 0),
    bad("errors-20pct", Event::Errors { share: 0.2 }, 0, 60),
    bad("errors-30pct", Event::Errors { share: 0.3 }, 0, 60),
    bad("errors-100pct", Event::Errors { share: 1.0 }, 0, 20),
    bad("errors-30pct-after-10h", Event::Errors { share: 0.3 }, LATE, 60),
    bad("errors-100pct-after-10h", Event::Errors { share: 1.0 }, LATE, 20),
    bad("startup-crash-loop", Event::CrashLoop, 0, 60),
    bad("outage-10min", Event::Away { minutes: 10 }, 180, 10),
    bad("outage-series-gone", Event::Gone, 180, 60),
];

const MEMORY: [Scenario; 5] = [
    healthy("healthy-memory", Event::Nothing, 0),
    healthy("healthy-metrics-away-10min", Event::Unread { seconds: 600 }, 20),
    bad("leak-1pct-per-hour", Event::Leak { per_hour: 0.01 }, 0, 1800),
    bad("leak-5pct-per-hour", Event::Leak { per_hour: 0.05 }, 0, 480),
    bad("leak-20pct-per-hour", Event::Leak { per_hour: 0.20 }, 0, 120),
];

const SERVICE: [Scenario; 7] = [
    healthy("healthy-service", Event::Nothing, 0),
    healthy("healthy-metrics-away-40s", Event::Unread { seconds: 40 }, 20),
    healthy("healthy-metrics-away-10min", Event::Unread { seconds: 600 }, 20),
    bad("step-3x", Event::Times { factor: 3.0 }, 0, 15),
    bad("errors-30pct", Event::Errors { share: 0.3 }, 0, 60),
    bad("errors-30pct-after-10h", Event::Errors { share: 0.3 }, LATE, 60),
    bad("leak-5pct-per-hour", Event::Leak { per_hour: 0.05 }, 0, 480),
];

/// Requests a minute that are played.
const RATES: [f64; 11] = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 100.0, 1000.0, 3000.0];

/// What is played in a world, in the order of the table.
pub fn settings(world: World) -> Vec<Setting> {
    match world {
        World::Values => Noise::ALL.iter().map(|noise| setting(Signals::Values(*noise), &VALUES)).collect(),
        World::Requests => requests(),
        World::Memory => {
            shapes().into_iter().map(|(name, shape)| setting(Signals::Memory(name, shape), &MEMORY)).collect()
        }
        World::Service => vec![setting(Signals::Service, &SERVICE)],
    }
}

fn setting(signals: Signals, scenarios: &[Scenario]) -> Setting {
    Setting { signals, scenarios: scenarios.to_vec() }
}

/// Shapes of memory while nothing leaks.
fn shapes() -> [(&'static str, Memory); 9] {
    let flat = Memory::default();
    let warm = Memory { warm_up: true, ..flat };
    let saw = Memory { saw_tooth: true, ..flat };
    let rare = Memory { rare_collection: true, ..flat };
    [
        ("flat", flat),
        ("warm-up", warm),
        ("saw-tooth", saw),
        ("day-cycle", Memory { day_cycle: true, ..flat }),
        ("warm-up+saw-tooth", Memory { warm_up: true, ..saw }),
        ("all-three", Memory { warm_up: true, day_cycle: true, ..saw }),
        ("steps+saw-tooth", Memory { steps: true, ..saw }),
        ("rare-collection", rare),
        ("rare+warm-up", Memory { warm_up: true, ..rare }),
    ]
}

/// Faults are played over 1 % errors without bursts; the healthy ones over 1 to 3 %, with and without.
fn requests() -> Vec<Setting> {
    let mut settings = Vec::new();
    for (share, name) in [(0.01, "healthy-1pct"), (0.02, "healthy-2pct"), (0.03, "healthy-3pct")] {
        for bursts in [false, true] {
            for rate in RATES {
                let mut scenarios = vec![healthy(name, Event::Nothing, 0)];
                if share == 0.01 && !bursts {
                    scenarios.extend(REQUESTS);
                }
                settings.push(Setting { signals: Signals::Requests { rate, share, bursts }, scenarios });
            }
        }
    }
    settings
}

impl Signals {
    /// The kind of signals, as the command line says it.
    pub fn world(self) -> &'static str {
        match self {
            Signals::Values(_) => "values",
            Signals::Requests { .. } => "requests",
            Signals::Memory(..) => "memory",
            Signals::Service => "service",
        }
    }

    /// The noise, as the table says it.
    pub fn noise(self) -> &'static str {
        match self {
            Signals::Values(noise) => noise.name(),
            Signals::Requests { bursts: false, .. } => "independent",
            Signals::Requests { bursts: true, .. } => "bursts",
            Signals::Memory(name, _) => name,
            Signals::Service => "service",
        }
    }

    /// Requests a minute, where there are requests.
    pub fn traffic(self) -> Option<f64> {
        match self {
            Signals::Requests { rate, .. } => Some(rate),
            Signals::Service => Some(SERVICE_RATE),
            Signals::Values(_) | Signals::Memory(..) => None,
        }
    }
}

/// Requests a minute of [`Signals::Service`].
pub const SERVICE_RATE: f64 = 10.0;
