//! From what a policy did in each watch to one row of the table.
//!
//! A healthy watch is alarmed or not. In a bad one the fault begins at `onset`; it is found by the first act that
//! begins after that and, for a leak, before memory is full. A version that was taken back before its fault began
//! can no longer be found bad. Times are counted over all watches, so that a median is not that of the lucky ones:
//! where more than half did not find the fault, there is no median.

use serde::Serialize;

use super::watch::Log;

/// When a fault begins and until when finding it helps, in minutes after T0.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Begins.
    pub onset: u32,
    /// An act after this minute is too late to count.
    pub until: u32,
}

/// The watches of one policy in one scenario.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    watches: u32,
    alarmed: u32,
    rolled_back: u32,
    refused: u32,
    /// Minutes from the onset, of those that found it.
    found: Vec<u32>,
}

/// What a row is about.
#[derive(Clone, Debug, Serialize)]
pub struct Heading {
    /// What kind of signals.
    pub world: &'static str,
    /// Who judged.
    pub policy: &'static str,
    /// What happened.
    pub scenario: &'static str,
    /// In which noise.
    pub noise: &'static str,
    /// Requests a minute, of requests.
    pub traffic_per_minute: Option<f64>,
}

/// One row; a field that does not apply is absent.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// See [`Heading`].
    #[serde(flatten)]
    pub heading: Heading,
    /// How many were simulated.
    pub watches: u32,
    /// Share of them with any alarm or rollback.
    pub alarm_share: f64,
    /// Share of them that were rolled back; absent for policies that only tell.
    pub rollback_share: Option<f64>,
    /// Share of them in which the fault was found; absent for healthy ones.
    pub found_share: Option<f64>,
    /// Minutes from the onset within which half of all watches found it.
    pub median_minutes: Option<f64>,
    /// The same for 95 % of all watches.
    pub p95_minutes: Option<f64>,
    /// Whether the counts at this traffic can show the fault in `within_minutes`; absent where nothing is counted.
    pub detectable: Option<bool>,
    /// The time that the scenario gives.
    pub within_minutes: Option<u32>,
    /// Share of the watches in which the fault was found in that time.
    pub in_time_share: Option<f64>,
    /// Share of the watches that the policy refused to judge, and said so.
    pub refused_share: f64,
}

impl Tally {
    /// Counts one watch.
    pub fn add(&mut self, log: &Log, fault: Option<Fault>) {
        self.watches += 1;
        self.alarmed += u32::from(!log.events.is_empty());
        self.rolled_back += u32::from(log.rollback().is_some());
        self.refused += u32::from(log.refusal.is_some());
        let Some(fault) = fault else { return };
        let after = |minute: u32| minute > fault.onset && minute <= fault.until;
        if let Some(event) = log.events.iter().find(|event| after(event.minute)) {
            self.found.push(event.minute - fault.onset);
        }
    }

    /// Adds what another thread counted.
    pub fn join(&mut self, other: Tally) {
        self.watches += other.watches;
        self.alarmed += other.alarmed;
        self.rolled_back += other.rolled_back;
        self.refused += other.refused;
        self.found.extend(other.found);
    }

    /// The row of this tally.
    pub fn row(
        mut self,
        heading: Heading,
        rolls_back: bool,
        bad: bool,
        within: Option<u32>,
        detectable: Option<bool>,
    ) -> Row {
        let share = |count: usize| count as f64 / f64::from(self.watches.max(1));
        self.found.sort_unstable();
        // The place of the quantile among all watches; beyond those that found it there is no time.
        let quantile = |q: f64| {
            let place = ((q * f64::from(self.watches)).ceil() as usize).max(1) - 1;
            self.found.get(place).map(|minutes| f64::from(*minutes)).filter(|_| bad)
        };
        let within = within.filter(|_| bad);
        Row {
            watches: self.watches,
            alarm_share: share(self.alarmed as usize),
            rollback_share: rolls_back.then(|| share(self.rolled_back as usize)),
            found_share: bad.then(|| share(self.found.len())),
            median_minutes: quantile(0.5),
            p95_minutes: quantile(0.95),
            detectable: detectable.filter(|_| bad),
            within_minutes: within,
            in_time_share: within.map(|within| share(self.found.partition_point(|minutes| *minutes <= within))),
            refused_share: share(self.refused as usize),
            heading,
        }
    }
}
