//! The signals of one watch: drawn, and then what the scenario does to them.
//!
//! Enters: what a setting's signals are, a seed, and a scenario. Leaves: minutes before and after T0. What lies
//! before T0 is drawn once for all scenarios of a setting, and so is what our procedures learn from it.

use backstop::base::Timestamp;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Binomial, Distribution};

use super::memory::Memory;
use super::scenario::{Event, SERVICE_RATE, Scenario, Signals};
use super::traffic::Traffic;
use super::watch::{Counts, Past, Series, WATCH, Watch};
use super::{noise, ours};

/// Minutes of history: 7 days.
const HISTORY: usize = 7 * 1440;

/// Minutes of a watch of memory: 72 h, since a leak of 1 % an hour takes that long.
const LONG_WATCH: usize = 4320;

/// One signal, drawn.
#[derive(Clone, Default)]
struct Minutes {
    before: Vec<f64>,
    after: Vec<f64>,
}

/// All signals of one watch.
#[derive(Clone, Default)]
pub struct World {
    values: Option<Minutes>,
    total: Option<Minutes>,
    errors: Option<Minutes>,
    memory: Option<Minutes>,
    /// The same seed gives the same errors of a fault.
    seed: u64,
}

/// What a scenario made of a world.
pub struct Story {
    world: World,
    silence: Option<(u32, u32)>,
    /// A past of its own, where the scenario began before T0.
    past: Option<Past>,
}

impl World {
    /// Draws the signals of a healthy watch.
    pub fn draw(signals: Signals, seed: u64) -> World {
        let mut world = World { seed, ..World::default() };
        match signals {
            Signals::Values(kind) => world.draw_values(kind),
            Signals::Requests { rate, share, bursts } => world.draw_requests(rate, share, bursts),
            Signals::Memory(_, shape) => world.draw_memory(shape, LONG_WATCH),
            Signals::Service => {
                world.draw_values(noise::Kind::Ar90Day);
                world.draw_requests(SERVICE_RATE, 0.01, false);
                world.draw_memory(Memory { saw_tooth: true, ..Memory::default() }, WATCH);
            }
        }
        world
    }

    fn draw_values(&mut self, kind: noise::Kind) {
        self.values = Some(Minutes::split(noise::make(kind, self.seed, HISTORY + WATCH, HISTORY)));
    }

    fn draw_requests(&mut self, rate: f64, share: f64, bursts: bool) {
        let traffic = Traffic { rate, share, bursts, onset: None };
        let (errors, total) = traffic.minutes(self.seed, HISTORY + WATCH).into_iter().unzip();
        self.total = Some(Minutes::split(total));
        self.errors = Some(Minutes::split(errors));
    }

    fn draw_memory(&mut self, shape: Memory, minutes: usize) {
        self.memory = Some(Minutes::split(shape.minutes(self.seed, HISTORY + minutes, HISTORY)));
    }

    /// What our procedures learn from before T0.
    pub fn past(&self) -> Past {
        let weekend = weekend(self.seed);
        let values = self.values.as_ref().map(|values| (values.before.as_slice(), T0, &weekend as ours::Weekend));
        ours::past(values, self.counts().as_ref(), self.memory.as_ref().map(|memory| memory.before.as_slice()))
    }

    fn counts(&self) -> Option<Counts<'_>> {
        Some(Counts { total: self.total.as_ref()?.series(), errors: self.errors.as_ref()?.series() })
    }

    /// Plays a scenario.
    pub fn play(&self, scenario: &Scenario) -> Story {
        let mut story = Story { world: self.clone(), silence: None, past: None };
        let onset = scenario.onset as usize;
        match scenario.event {
            Event::Nothing => {}
            Event::Unread { seconds } => story.unread(scenario.onset, seconds),
            Event::TimesSince { factor, minutes } => {
                story.times_before(factor, minutes as usize);
                story.times(onset, |_| factor);
                story.past = Some(story.world.past());
            }
            Event::Times { factor } => story.times(onset, |_| factor),
            Event::Ramp { factor, minutes } => {
                story.times(onset, |minute| 1.0 + (factor - 1.0) * (minute as f64 / f64::from(minutes)).min(1.0));
            }
            Event::Slow { factor, minutes } => {
                story.times(onset, |minute| if minute < minutes as usize { factor } else { 1.0 });
            }
            Event::ErrorsSince { share, minutes } => {
                story.fail_before(share, minutes as usize);
                story.fail(onset, |_| Some(share));
                story.past = Some(story.world.past());
            }
            Event::Errors { share } => story.fail(onset, |_| Some(share)),
            Event::Away { minutes } => story.fail(onset, |minute| (minute < minutes as usize).then_some(1.0)),
            Event::CrashLoop => story.fail(onset, |minute| (minute % 5 < 2).then_some(1.0)),
            Event::Gone => story.lose(onset, usize::MAX),
            Event::Leak { per_hour } => story.leak(onset, per_hour),
        }
        story
    }
}

impl Story {
    /// As policies see it; `past` is that of the world it was made of.
    pub fn watch<'a>(&'a self, past: &'a Past) -> Watch<'a> {
        Watch {
            values: self.world.values.as_ref().map(Minutes::series),
            requests: self.world.counts(),
            memory: self.world.memory.as_ref().map(Minutes::series),
            silence: self.silence,
            past: self.past.as_ref().unwrap_or(past),
        }
    }

    /// The minute at which memory is full, if it ever is: later than that nobody needs to be told.
    pub fn full(&self) -> Option<u32> {
        let memory = self.world.memory.as_ref()?;
        memory.after.iter().position(|fill| *fill >= 1.0).map(|minute| minute as u32)
    }

    fn times(&mut self, onset: usize, factor: impl Fn(usize) -> f64) {
        if let Some(values) = &mut self.world.values {
            values.after.iter_mut().skip(onset).enumerate().for_each(|(minute, value)| *value *= factor(minute));
        }
    }

    fn times_before(&mut self, factor: f64, minutes: usize) {
        if let Some(values) = &mut self.world.values {
            values.before.iter_mut().rev().take(minutes).for_each(|value| *value *= factor);
        }
    }

    fn fail(&mut self, onset: usize, share: impl Fn(usize) -> Option<f64>) {
        let mut random = ChaCha8Rng::seed_from_u64(self.world.seed ^ 0x0FA1);
        if let (Some(total), Some(errors)) = (&self.world.total, &mut self.world.errors) {
            let minutes = total.after.iter().zip(&mut errors.after).skip(onset).enumerate();
            for (minute, (total, errors)) in minutes {
                if let Some(share) = share(minute) {
                    *errors = errors.max(of(*total, share, &mut random));
                }
            }
        }
    }

    fn fail_before(&mut self, share: f64, minutes: usize) {
        let mut random = ChaCha8Rng::seed_from_u64(self.world.seed ^ 0xBEF0);
        if let (Some(total), Some(errors)) = (&self.world.total, &mut self.world.errors) {
            for (total, errors) in total.before.iter().zip(&mut errors.before).rev().take(minutes) {
                *errors = errors.max(of(*total, share, &mut random));
            }
        }
    }

    fn leak(&mut self, onset: usize, per_hour: f64) {
        if let Some(memory) = &mut self.world.memory {
            for (minute, fill) in memory.after.iter_mut().skip(onset).enumerate() {
                *fill += per_hour * minute as f64 / 60.0;
            }
        }
    }

    /// The metrics cannot be read: minutes that lie within the silence as a whole have no sample. A second within
    /// the minute, drawn from the seed, is where it begins.
    fn unread(&mut self, onset: u32, seconds: u32) {
        let from = onset * 60 + (self.world.seed % 300) as u32;
        self.silence = Some((from, from + seconds));
        self.lose(from.div_ceil(60) as usize, ((from + seconds) / 60) as usize);
    }

    fn lose(&mut self, from: usize, to: usize) {
        let world = &mut self.world;
        for minutes in [&mut world.values, &mut world.total, &mut world.errors, &mut world.memory].into_iter().flatten()
        {
            minutes.after.iter_mut().take(to).skip(from).for_each(|value| *value = f64::NAN);
        }
    }
}

impl Minutes {
    fn split(mut whole: Vec<f64>) -> Minutes {
        let after = whole.split_off(HISTORY.min(whole.len()));
        Minutes { before: whole, after }
    }

    fn series(&self) -> Series<'_> {
        Series { before: &self.before, after: &self.after }
    }
}

/// How many of `total` requests fail.
fn of(total: f64, share: f64, random: &mut ChaCha8Rng) -> f64 {
    // The parameters are in range: a count, and a share between 0 and 1.
    Binomial::new(total as u64, share).map_or(0.0, |errors| errors.sample(random) as f64)
}

/// Some moment; the days of a noise begin elsewhere.
const T0: Timestamp = Timestamp(1_767_571_200_000);

/// Which moments the noise of that seed holds for a weekend.
fn weekend(seed: u64) -> impl Fn(Timestamp) -> bool {
    move |at| {
        let minute = (at - T0).as_millis().div_euclid(60_000) + HISTORY as i64;
        usize::try_from(minute).is_ok_and(|minute| noise::is_weekend(seed, minute))
    }
}
