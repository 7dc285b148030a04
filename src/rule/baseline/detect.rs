//! The watch: one minute after the other is held against what was usual.
//!
//! Enters: the calibration, the 15 minutes before T0, the limits, and each minute of the watch in order, missing ones
//! too. Leaves: for each limit the [`Finding`] that holds. A pure function of the minutes since T0: whoever replays them
//! after a restart has the same state, so nothing of it is stored.
//!
//! A limit that found something is judged anew once that is over, from that minute and without what was seen before.
//! A missing minute begins and ends nothing. What the history is too short for ([`Scope`]) is not found.

use std::sync::Arc;

use super::finding::{Family, Finding, TroubleBefore};
use super::hold::Hold;
use super::limit::{Effect, Limit, Strictness};
use super::placebo::TESTS;
use super::sliding::{Recent, Sliding};
use super::windows::{MEDIANS, QUARTER, WIDTHS};
use super::{BEFORE, Calibration, HOUR, Scope, WARM_UP};

/// Lengths of the looks at everything since the warm-up, in minutes; the last ends with a watch of 48 hours.
pub(super) const LOOKS: [u32; 8] = [60, 120, 240, 480, 780, 1440, 2160, 2860];
/// How many standard deviations each look must exceed: the error is spent over the looks in the manner of Pocock 1977,
/// O'Brien and Fleming 1979, Lan and DeMets 1983.
const LOOK_LIMITS: [f64; 8] = [3.3, 3.2, 3.0, 2.85, 2.6, 2.6, 2.6, 2.6];
/// What a look must exceed more to be critical or to roll back.
const LOOK_STRICTER: f64 = 0.7;
/// Levels that a cold start may reach, in logarithms: 2.5 times the usual in a window, 2.1 times in a start test.
const COLD_WINDOW: f64 = 0.916_290_731_874_155;
const COLD_START: f64 = 0.74;
/// What a start test in the warm-up must exceed more to be critical or to roll back.
const COLD_STRICTER: f64 = 0.08;
/// A start test that lacks minutes moves on, at most to here.
const LATEST_START: u32 = 120;
/// The share of its minutes that a start test and a look need.
const NEEDED: f64 = 0.7;
/// A gap this long empties every window and outlasts every test.
const LONGEST_GAP: u32 = 4320;

/// Watches one series after a deployment.
#[derive(Clone, Debug)]
pub struct Detector {
    calibration: Arc<Calibration>,
    age: u32,
    recent: Recent,
    clipped: Sliding,
    /// The clipped mean of the minutes before T0; none when too few are there.
    before: Option<f64>,
    /// By how much the hour before T0 was worse than usual, in logarithms.
    already: f64,
    trouble_before: Option<TroubleBefore>,
    /// By type of day: the longest window whose finding may be critical or roll back.
    longest_strict: [Option<u32>; 2],
    watched: Vec<Watched>,
}

/// One limit and what was found about it.
#[derive(Clone, Debug)]
struct Watched {
    limit: Limit,
    effect: Effect,
    /// By window, what the history does by itself.
    thresholds: [f64; WIDTHS.len()],
    /// When each start test is done, from and to; none once it was.
    tests: [Option<(u32, u32)>; TESTS.len()],
    /// The age at which the last finding ended.
    ended: u32,
    /// Everything since then, or since the warm-up.
    since: Everything,
    /// The next look.
    look: usize,
    hold: Option<Hold>,
}

/// Sums over everything since a minute.
#[derive(Clone, Copy, Debug, Default)]
struct Everything {
    sum: f64,
    count: u32,
    effect: f64,
    minutes: u32,
}

/// One minute as all limits see it.
struct Minute<'a> {
    calibration: &'a Calibration,
    age: u32,
    level: f64,
    raw: f64,
    clipped: f64,
    /// By window; NaN with less than half of its minutes.
    statistics: [f64; WIDTHS.len()],
    history: &'a Sliding,
    before: Option<f64>,
    already: f64,
    longest_strict: Option<u32>,
    /// In a peak that comes back daily, where it is not known how much of the excess is the peak.
    is_peak: bool,
}

impl Detector {
    /// Begins a watch at T0. `before` is the hour before, a minute each, the oldest first, NaN for a missing one; the start
    /// tests compare with its last 15 minutes, and what the whole of it was worse than usual did not come with the deployment.
    pub fn new(calibration: Arc<Calibration>, before: &[f64], limits: Vec<Limit>) -> Detector {
        let hour = &before[before.len().saturating_sub(HOUR)..];
        let already = already(&calibration, hour);
        let before = &hour[hour.len().saturating_sub(BEFORE)..];
        let mut recent = Recent::new();
        let mut clipped = Sliding::new();
        for (i, value) in before.iter().enumerate() {
            let minute = i as i64 - before.len() as i64;
            let residual = calibration.residual(minute, calibration.level(minute), *value);
            recent.push(residual);
            clipped.push(calibration.clip(residual));
        }
        let pre = clipped.mean(BEFORE, NEEDED);
        let kinds = [0, 1].map(|kind| calibration.scope_of(kind));
        let watched = limits.into_iter().map(|limit| Watched::new(limit, &calibration)).collect::<Vec<_>>();
        Detector {
            trouble_before: trouble_before(&calibration, recent.median(BEFORE), &watched),
            calibration,
            age: 0,
            recent: Recent::new(),
            clipped: Sliding::new(),
            before: pre.is_finite().then_some(pre),
            already,
            longest_strict: kinds.map(Scope::longest_strict),
            watched,
        }
    }

    /// Takes in the next minute of the watch; NaN and infinities are missing.
    pub fn see(&mut self, minute: f64) {
        let at = i64::from(self.age);
        self.age = self.age.saturating_add(1);
        let kind = self.calibration.kind(at);
        let level = self.calibration.level_of(at, kind);
        let raw = self.calibration.residual(at, level, minute);
        let clipped = self.calibration.clip(raw);
        self.recent.push(raw);
        self.clipped.push(clipped);
        let minute = Minute {
            calibration: &self.calibration,
            age: self.age,
            level,
            raw,
            clipped,
            statistics: WIDTHS
                .map(|width| if width <= MEDIANS { self.recent.median(width) } else { self.clipped.mean(width, 0.5) }),
            history: &self.clipped,
            before: self.before,
            already: self.already,
            longest_strict: self.longest_strict[kind],
            is_peak: self.calibration.is_peak(at),
        };
        for watched in &mut self.watched {
            watched.see(&minute);
        }
    }

    /// Takes in `minutes` that are missing.
    pub fn skip(&mut self, minutes: u32) {
        let seen = minutes.min(LONGEST_GAP);
        for _ in 0..seen {
            self.see(f64::NAN);
        }
        self.age = self.age.saturating_add(minutes - seen);
    }

    /// What holds now for `limits[limit]`, as it was found; none when nothing does, or there is no such limit.
    pub fn finding(&self, limit: usize) -> Option<&Finding> {
        self.watched.get(limit)?.hold.as_ref().map(|hold| &hold.finding)
    }

    /// Minutes since T0 that were taken in.
    pub fn age(&self) -> u32 {
        self.age
    }

    /// Trouble that was there before T0: what is found after it may be nothing new, and is no reason to roll back.
    pub fn trouble_before(&self) -> Option<TroubleBefore> {
        self.trouble_before
    }
}

/// By how much the hour before T0 was worse than usual, as the mean of its residuals; 0 where it was not, or too little of it
/// is known.
fn already(calibration: &Calibration, hour: &[f64]) -> f64 {
    let mut clipped = Sliding::new();
    for (i, value) in hour.iter().enumerate() {
        let minute = i as i64 - hour.len() as i64;
        clipped.push(calibration.clip(calibration.residual(minute, calibration.level(minute), *value)));
    }
    let mean = clipped.mean(HOUR, 0.5);
    if mean.is_finite() { mean.max(0.0) } else { 0.0 }
}

/// Compared with the history without its last hours, since they are where the trouble would be.
fn trouble_before(calibration: &Calibration, median: f64, watched: &[Watched]) -> Option<TroubleBefore> {
    let level = calibration.level(-1);
    let smallest = watched.iter().map(|w| w.limit.effect(calibration, level)).fold(f64::INFINITY, f64::min);
    let usual = calibration.windows.earlier.threshold(BEFORE, calibration.days(), Strictness::Warning);
    let threshold = if smallest.is_finite() { usual.max(smallest) } else { usual };
    (median > threshold).then(|| TroubleBefore {
        direction: calibration.direction(),
        estimate: calibration.change_of(median),
        threshold: calibration.change_of(threshold),
    })
}

/// What a test found: the statistic and what it had to exceed, in logarithms.
struct Found {
    family: Family,
    window: u32,
    statistic: f64,
    threshold: f64,
    largest: Option<f64>,
}

impl Watched {
    fn new(limit: Limit, calibration: &Calibration) -> Watched {
        let mut thresholds = [0.0; WIDTHS.len()];
        for (i, threshold) in thresholds.iter_mut().enumerate() {
            let window = &calibration.windows.windows[i];
            *threshold = window.threshold(WIDTHS[i], calibration.days(), limit.strictness);
        }
        Watched {
            limit,
            effect: Effect::of(&limit, calibration),
            thresholds,
            tests: TESTS.map(Some),
            ended: 0,
            since: Everything::default(),
            look: 0,
            hold: None,
        }
    }

    fn see(&mut self, minute: &Minute) {
        self.effect.push(&self.limit, minute.calibration, minute.level);
        if minute.age > WARM_UP {
            self.since.see(minute.clipped, self.effect.now());
        }
        // All are done at their time, whatever was found, so that none is done later on other minutes.
        let start = self.start(minute);
        let sliding = self.sliding(minute);
        let look = self.look(minute);
        if let Some(hold) = &mut self.hold {
            hold.pass();
            if minute.raw.is_finite() && !minute.is_peak {
                let mean = minute.history.mean(hold.window(), 0.5);
                let (most, variance) = (minute.calibration.clip(f64::MAX), minute.calibration.quarter_variance());
                if hold.is_over(minute.raw, mean, most, variance) {
                    self.hold = None;
                    self.ended = minute.age;
                    self.since = Everything::default();
                    self.look = 0;
                }
            }
            return;
        }
        if self.limit.direction != minute.calibration.direction() {
            return;
        }
        let found = start.or(sliding).or(look).filter(|found| !self.is_strict() || self.is_new(found, minute));
        self.hold = found.map(|found| found.hold(minute));
    }

    /// Whether what was found would be found also beside the hour before T0: what stood then is no reason to take a
    /// version back.
    fn is_new(&self, found: &Found, minute: &Minute) -> bool {
        let size = self.effect.mean(found.window as usize);
        minute.already <= 0.0 || size.is_nan() || found.statistic - minute.already > found.threshold.max(size)
    }

    /// The tests of the first hour against the minutes before T0.
    fn start(&mut self, minute: &Minute) -> Option<Found> {
        let mut found = None;
        for i in 0..TESTS.len() {
            let Some((from, to)) = self.tests[i].filter(|(_, to)| *to == minute.age) else { continue };
            let width = to - from;
            let post = minute.history.mean(width as usize, NEEDED);
            if post.is_nan() {
                self.tests[i] = Some((to, to + width)).filter(|(_, to)| *to <= LATEST_START);
                continue;
            }
            self.tests[i] = None;
            let (Some(pre), Some(placebo)) = (minute.before, minute.calibration.tests[i]) else { continue };
            if from < self.ended || (self.is_strict() && minute.longest_strict.is_none()) {
                continue;
            }
            let strictness = self.limit.strictness;
            let carried = f64::from(placebo.persistence) * pre;
            let size = self.effect.mean(width as usize);
            let cold = match strictness {
                _ if from >= WARM_UP => 0.0,
                Strictness::Warning => COLD_START,
                Strictness::Rollback => COLD_START + COLD_STRICTER,
            };
            let mut threshold = (placebo.limit(strictness) + carried).max(size).max(cold);
            if self.is_strict() {
                // It must have come with the deployment in full size.
                threshold = threshold.max(size + carried);
            }
            if !size.is_nan() && post > threshold && found.is_none() {
                let largest = Some(f64::from(placebo.largest));
                found = Some(Found { family: Family::Start, window: width, statistic: post, threshold, largest });
            }
        }
        found
    }

    /// The windows of the last minutes and hours. Only in a minute that is there: a gap is no evidence.
    fn sliding(&self, minute: &Minute) -> Option<Found> {
        if minute.raw.is_nan() || self.hold.is_some() {
            return None;
        }
        let is_cold = minute.age <= WARM_UP;
        let since = if is_cold { self.ended } else { self.ended.max(WARM_UP) };
        (0..WIDTHS.len()).find_map(|i| {
            let (width, statistic) = (WIDTHS[i] as u32, minute.statistics[i]);
            if minute.age - since < width {
                return None;
            }
            // One window of nine minutes rolls nothing back.
            if self.is_strict() && (i < QUARTER || minute.longest_strict.is_none_or(|longest| width > longest)) {
                return None;
            }
            let size = self.effect.mean(WIDTHS[i]);
            let threshold = self.thresholds[i].max(size).max(if is_cold { COLD_WINDOW } else { 0.0 });
            let largest = Some(f64::from(minute.calibration.windows.windows[i].largest));
            (!size.is_nan() && statistic > threshold).then_some(Found {
                family: Family::Sliding,
                window: width,
                statistic,
                threshold,
                largest,
            })
        })
    }

    /// The look that is due at this minute.
    fn look(&mut self, minute: &Minute) -> Option<Found> {
        let length = *LOOKS.get(self.look).filter(|length| **length == self.since.minutes)?;
        let limit = LOOK_LIMITS[self.look] + if self.is_strict() { LOOK_STRICTER } else { 0.0 };
        let largest = minute.calibration.largest_looks.get(self.look).map(|largest| f64::from(*largest));
        self.look += 1;
        if f64::from(self.since.count) < NEEDED * f64::from(length) {
            return None;
        }
        if self.is_strict() && minute.longest_strict != Some(u32::MAX) {
            return None;
        }
        let statistic = self.since.sum / f64::from(self.since.count);
        let size = self.since.effect / f64::from(length);
        let threshold = (limit * minute.calibration.variance_of_mean(length).sqrt()).max(size);
        (!size.is_nan() && statistic > threshold).then_some(Found {
            family: Family::Look,
            window: length,
            statistic,
            threshold,
            largest,
        })
    }

    fn is_strict(&self) -> bool {
        self.limit.strictness == Strictness::Rollback
    }
}

impl Everything {
    fn see(&mut self, clipped: f64, effect: f64) {
        if clipped.is_finite() {
            self.sum += clipped;
            self.count += 1;
        }
        self.effect += effect;
        self.minutes = self.minutes.saturating_add(1);
    }
}

impl Found {
    fn hold(self, minute: &Minute) -> Hold {
        let calibration = minute.calibration;
        let finding = Finding {
            family: self.family,
            window: self.window,
            age: minute.age,
            direction: calibration.direction(),
            estimate: calibration.change_of(self.statistic),
            threshold: calibration.change_of(self.threshold),
            largest: self.largest.map(|largest| calibration.change_of(largest)),
            days: calibration.days(),
        };
        Hold::new(finding, self.statistic, self.threshold)
    }
}
