//! What conditions look at beyond the present value: the past of a label set, and what has gathered since T0.
//!
//! Enters: what was known at T0 ([`Known`]), then one value a minute, or the counts of one bucket. Leaves: whether a clause
//! of a condition holds, and why. All of it is a function of the samples since T0, so a restart replays them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::baseline::{self, Calibration, Detector, Direction, Scope, Size, Strictness};
use super::ratio::{self, Dispersion};
use super::trend::{self, Floors, MayRollBack, Trend};
use super::{Baseline, Clause, Comparison, Condition, Offset, Rule, Test, Value, When};
use crate::base::{Span, Timestamp};

/// One value a minute is what baselines and trends are judged by.
pub const MINUTE: Span = Span::mins(1);

/// How much of the past is asked for.
pub const PAST: Span = Span::hours(24 * 7);

/// The minutes of "the hour before", which show what stood before T0.
const HOUR: usize = 60;

/// How many buckets of a share one window has.
pub const BUCKETS: usize = 5;

/// A gap longer than this many minutes or buckets is as good as a fresh start.
const LONGEST_GAP: i64 = 100_000;

/// The conditions of a rule, from mild to strict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `target`
    Target,
    /// `warning`
    Warning,
    /// `critical`
    Critical,
    /// `rollback`
    Rollback,
}

impl Role {
    /// All, from mild to strict.
    pub const ALL: [Role; 4] = [Role::Target, Role::Warning, Role::Critical, Role::Rollback];
}

impl Rule {
    /// The condition of that role, if it has one.
    pub fn condition(&self, role: Role) -> Option<&Condition> {
        match role {
            Role::Target => self.target.as_ref(),
            Role::Warning => self.warning.as_ref(),
            Role::Critical => self.critical.as_ref(),
            Role::Rollback => self.rollback.as_ref().map(|c| &c.condition),
        }
    }

    /// Whether a forecast decides the condition of that role, or the one that it waits for.
    pub fn reaches(&self, role: Role) -> bool {
        match self.condition(role).map(|condition| &condition.when) {
            Some(When::Test(test)) => test.0.iter().any(|clause| matches!(clause, Clause::Reaches { .. })),
            Some(When::Critical) => self.reaches(Role::Critical),
            Some(When::Present) | None => false,
        }
    }

    /// Its conditions with their roles.
    pub fn conditions(&self) -> impl Iterator<Item = (Role, &Condition)> {
        Role::ALL.into_iter().filter_map(|role| Some((role, self.condition(role)?)))
    }
}

/// What the conditions of a rule ask for; the same for all its label sets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asks {
    /// Changes against the days before T0, each with the condition that asks.
    history: Vec<(Role, Comparison, Offset, baseline::Limit)>,
    /// Forecasts: the limit in base units, and within what time.
    trends: Vec<(f64, Span)>,
    /// Limits of a share of events.
    shares: Vec<f64>,
    min_errors: u32,
    /// The mean of the hour before T0.
    before: bool,
    /// The highest value since T0.
    peak: bool,
    /// The mean since T0.
    mean: bool,
    /// `arm`: judged earlier once it held.
    arms: bool,
}

impl Asks {
    /// What the conditions of `rule` ask for.
    pub fn of(rule: &Rule) -> Asks {
        let mut asks = Asks { mean: rule.over_watch, arms: rule.scope.arm.is_some(), ..Asks::default() };
        for (role, condition) in rule.conditions() {
            let When::Test(test) = &condition.when else { continue };
            if let (Value::Share { min_errors, .. }, Some(limit)) = (&rule.value, rising_share(test)) {
                asks.min_errors = *min_errors;
                if !asks.shares.contains(&limit) {
                    asks.shares.push(limit);
                }
            }
            test.0.iter().for_each(|clause| asks.add(rule, role, clause));
        }
        let clears = rule.conditions().filter_map(|(_, c)| c.clear.as_ref()).chain(&rule.scope.arm);
        if clears.flat_map(|test| &test.0).any(|clause| matches!(clause, Clause::Baseline(..))) {
            asks.add_figure(&rule.baseline);
        }
        asks
    }

    fn add(&mut self, rule: &Rule, role: Role, clause: &Clause) {
        match clause {
            Clause::Value(..) => {}
            Clause::Reaches { limit, within } => {
                if !self.trends.contains(&(limit.value, *within)) {
                    self.trends.push((limit.value, *within));
                }
            }
            Clause::Baseline(op, offset) => match (&rule.baseline, limit_of(role, *op, *offset)) {
                (Baseline::History, Some(limit)) => self.history.push((role, *op, *offset, limit)),
                _ => self.add_figure(&rule.baseline),
            },
        }
    }

    fn add_figure(&mut self, baseline: &Baseline) {
        self.before |= matches!(baseline, Baseline::Before);
        self.peak |= matches!(baseline, Baseline::Peak);
    }

    /// Whether what it judges has gathered since T0 whatever was before: a mean, or a peak.
    pub fn sums_up(&self) -> bool {
        self.mean || self.peak
    }

    /// Whether something is to be gathered at all: else an alert is judged by its present value alone.
    pub fn is_any(&self) -> bool {
        self.needs_past() || self.peak || self.mean || self.arms || !self.shares.is_empty()
    }

    /// Whether the time before T0 is asked for.
    pub fn needs_past(&self) -> bool {
        !self.history.is_empty() || !self.trends.is_empty() || !self.shares.is_empty() || self.before
    }

    /// Whether some condition holds the value against what was before, or since T0.
    pub fn holds_against_past(&self) -> bool {
        self.waits_for_past() || self.peak
    }

    /// Whether it cannot be judged without that: a rule of which this is true is not armed until it is known.
    pub fn waits_for_past(&self) -> bool {
        !self.history.is_empty() || self.before
    }

    /// Whether counts of events are asked for, a bucket at a time.
    pub fn counts_events(&self) -> bool {
        !self.shares.is_empty()
    }

    /// How far back it looks; the hour before T0 is enough for some.
    pub fn past(&self) -> Span {
        match self.history.is_empty() && self.trends.is_empty() && self.shares.is_empty() {
            true => MINUTE.times(HOUR as i64),
            false => PAST,
        }
    }

    fn direction(&self) -> Direction {
        self.history.first().map_or(Direction::Above, |(.., limit)| limit.direction)
    }
}

/// The only limit of a share, where larger is worse and it is a share: then the counts decide.
pub fn rising_share(test: &Test) -> Option<f64> {
    let (op, limit) = test.only_value()?;
    (op.rises() && limit.value > 0.0 && limit.value < 1.0).then_some(limit.value)
}

/// How long one bucket of a share over `window` is.
pub fn bucket(window: Span) -> Span {
    Span((window.0 / BUCKETS as i64).max(1000))
}

fn limit_of(role: Role, op: Comparison, offset: Offset) -> Option<baseline::Limit> {
    let direction = match op {
        Comparison::Above | Comparison::AtLeast => Direction::Above,
        Comparison::Below | Comparison::AtMost => Direction::Below,
        Comparison::Equal | Comparison::NotEqual => return None,
    };
    let sign = if direction == Direction::Above { 1.0 } else { -1.0 };
    let size = match offset {
        Offset::Share(share) => Size::Relative(share * sign),
        Offset::Plus(quantity) => Size::Absolute(quantity.value * sign),
        Offset::Times(factor) => Size::Relative((factor - 1.0) * sign),
        Offset::None => return None,
    };
    let strictness = match role {
        Role::Target | Role::Warning => Strictness::Warning,
        Role::Critical | Role::Rollback => Strictness::Rollback,
    };
    let is_positive = match size {
        Size::Relative(size) | Size::Absolute(size) => size > 0.0,
    };
    is_positive.then_some(baseline::Limit { direction, size, strictness })
}

/// What is known of one label set from the time before T0: a pure function of it, frozen for the watch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// What was usual, or why that cannot be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Result<Arc<Calibration>, String>>,
    /// The last minutes before T0.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "floats")]
    pub before: Vec<f64>,
    /// The mean of the hour before T0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hour: Option<f64>,
    /// The floors of the past, for each forecast.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub floors: Vec<Option<Floors>>,
    /// How much more its errors vary than independent ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dispersion: Option<Dispersion>,
}

/// The past of one label set, on a grid that ends at T0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Past {
    /// The value of each minute; or all events of each bucket. NaN where it is not known.
    pub values: Vec<f64>,
    /// The errors of each bucket; empty where it is no share.
    pub errors: Vec<f64>,
    /// The lowest and the highest value of each minute; empty where nobody asks for them.
    pub extremes: Vec<(f64, f64)>,
}

impl Known {
    /// What `past` tells that `asks` wants to know. `left_out` are times that were not usual: incidents and deployments.
    pub fn of(
        asks: &Asks,
        past: &Past,
        t0: Timestamp,
        left_out: &[(Timestamp, Timestamp)],
        weekend: &dyn Fn(Timestamp) -> bool,
    ) -> Known {
        let mut known = Known::default();
        if !asks.shares.is_empty() {
            let counts = past.errors.iter().copied().zip(past.values.iter().copied());
            known.dispersion = Some(Dispersion::of(counts.filter(|(e, n)| e.is_finite() && n.is_finite())));
            return known;
        }
        let minutes = &past.values;
        known.before = minutes[minutes.len().saturating_sub(HOUR)..].to_vec();
        if asks.before {
            let hour = minutes[minutes.len().saturating_sub(HOUR)..].iter().copied().filter(|v| v.is_finite());
            let (sum, n) = hour.fold((0.0, 0usize), |(sum, n), v| (sum + v, n + 1));
            known.hour = (n * 2 >= HOUR).then(|| sum / n as f64);
        }
        known.floors = asks.trends.iter().map(|(limit, _)| Floors::of(minutes, *limit)).collect();
        if !asks.history.is_empty() {
            let mut minutes = minutes.clone();
            baseline::leave_out(&mut minutes, t0, left_out);
            let history = baseline::History { minutes: &minutes, t0, weekend };
            let calibration = Calibration::of(&history, asks.direction(), None);
            known.calibration = Some(calibration.map(Arc::new).map_err(|refusal| refusal.to_string()));
        }
        known
    }
}

impl Known {
    /// Whether it is of these questions, and not of the rule as it was before it was edited.
    pub fn fits(&self, asks: &Asks) -> bool {
        let is_share = !asks.shares.is_empty();
        let has_history = asks.history.is_empty() || self.calibration.is_some();
        is_share == self.dispersion.is_some() && (is_share || (has_history && self.floors.len() == asks.trends.len()))
    }

    /// Why a part of the conditions cannot be judged by what is known, in a watch at `now`.
    pub fn refusal(&self, asks: &Asks, now: Timestamp) -> Option<String> {
        if asks.before && self.hour.is_none() {
            return Some("the hour before T0 has values in less than half of its minutes".into());
        }
        match (&self.calibration, asks.history.is_empty()) {
            (Some(Err(why)), _) => Some(why.clone()),
            (Some(Ok(calibration)), false) => match calibration.scope(now) {
                Scope::Everything => None,
                scope => Some(scope.to_string()),
            },
            (None, false) => Some("nothing is stored of its past".into()),
            _ => None,
        }
    }
}

/// One label set's gathering.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// Minute 0 begins here: T0, or where nothing was deployed the first value.
    origin: Timestamp,
    /// The minute, or bucket, that is being filled.
    filling: i64,
    sum: f64,
    count: u32,
    /// The newest sample that was added.
    newest: Option<Timestamp>,
    known: Option<Known>,
    detector: Option<Detector>,
    trends: Vec<Trend>,
    share: Option<ratio::Evidence>,
    peak: Option<f64>,
    /// The mean since T0: the sum over minutes, how many, and how many were not seen.
    mean: (f64, u32, u32),
    armed: bool,
    /// What was gathered before a restart is missing.
    incomplete: bool,
}

impl Evidence {
    /// Nothing gathered yet; `known` is what the time before `origin` told.
    pub fn new(asks: &Asks, origin: Timestamp, known: Option<Known>) -> Evidence {
        let detector = known.as_ref().and_then(|known| match &known.calibration {
            Some(Ok(calibration)) => {
                let limits = asks.history.iter().map(|(.., limit)| *limit).collect();
                Some(Detector::new(calibration.clone(), &known.before, limits))
            }
            _ => None,
        });
        Evidence {
            origin,
            filling: 0,
            sum: 0.0,
            count: 0,
            newest: None,
            detector,
            trends: trends(asks, known.as_ref()),
            share: (!asks.shares.is_empty()).then(|| ratio::Evidence::new(&asks.shares, asks.min_errors)),
            known,
            peak: None,
            mean: (0.0, 0, 0),
            armed: false,
            incomplete: false,
        }
    }

    /// What is known of the past has changed; what has gathered stays.
    pub fn learn(&mut self, known: Known) {
        self.known = Some(known);
    }

    /// What was known before.
    pub fn known(&self) -> Option<&Known> {
        self.known.as_ref()
    }

    /// Moves what is remembered by `by`, because the wall clock was set.
    pub fn shift(&mut self, by: Span) {
        self.origin += by;
        self.newest = self.newest.map(|at| at + by);
    }

    /// A value at `now`, by samples of which the newest is from `newest`: the same samples count once, however often they
    /// are judged. Minutes that are over by then are judged first.
    pub fn value(&mut self, value: f64, newest: Timestamp, now: Timestamp) {
        // A replay may ask for what was before.
        if now < self.origin {
            return;
        }
        self.until(now);
        if value.is_finite() && self.newest.is_none_or(|before| newest > before) {
            self.newest = Some(newest);
            self.sum += value;
            self.count += 1;
            self.peak = Some(self.peak.map_or(value, |peak| peak.max(value)));
        }
    }

    /// Time passed: the minutes that are over are judged.
    pub fn until(&mut self, now: Timestamp) {
        if self.share.is_some() {
            return;
        }
        let minute = (now - self.origin).0.div_euclid(MINUTE.0);
        if minute <= self.filling {
            return;
        }
        let mean = if self.count > 0 { self.sum / f64::from(self.count) } else { f64::NAN };
        self.minute(mean);
        let missing = (minute - self.filling - 1).clamp(0, LONGEST_GAP) as u32;
        if missing > 0 {
            self.skip(missing);
        }
        (self.filling, self.sum, self.count) = (minute, 0.0, 0);
    }

    /// Minutes, or buckets of a share, from before a restart, from `origin` on; nothing was gathered before. At `rebased` the
    /// steps of a rollback were done: that many of them are from before it.
    pub fn replay(&mut self, asks: &Asks, past: &Past, rebased: Option<usize>) {
        if self.share.is_some() {
            let dispersion = self.dispersion();
            for (i, (errors, total)) in past.errors.iter().zip(&past.values).enumerate() {
                if rebased == Some(i) {
                    self.rebase(asks);
                }
                self.bucket(*errors, *total, &dispersion);
            }
            return;
        }
        for (i, value) in past.values.iter().enumerate() {
            let highest = past.extremes.get(i).map_or(*value, |(_, highest)| *highest);
            if highest.is_finite() {
                self.peak = Some(self.peak.map_or(highest, |peak| peak.max(highest)));
            }
            self.minute(*value);
            self.filling += 1;
            // A part of that minute is from before.
            if rebased == Some(i) {
                self.rebase(asks);
            }
        }
    }

    fn minute(&mut self, mean: f64) {
        if let Some(detector) = &mut self.detector {
            detector.see(mean);
        }
        self.trends.iter_mut().for_each(|trend| trend.see(mean));
        match mean.is_finite() {
            true => (self.mean.0, self.mean.1) = (self.mean.0 + mean, self.mean.1.saturating_add(1)),
            false => self.mean.2 = self.mean.2.saturating_add(1),
        }
    }

    fn skip(&mut self, minutes: u32) {
        if let Some(detector) = &mut self.detector {
            detector.skip(minutes);
        }
        self.trends.iter_mut().for_each(|trend| trend.skip(minutes));
        self.mean.2 = self.mean.2.saturating_add(minutes);
    }

    /// The counts of one bucket; NaN where it was not seen.
    pub fn bucket(&mut self, errors: f64, total: f64, dispersion: &Dispersion) {
        let Some(share) = &mut self.share else { return };
        match errors.is_finite() && total.is_finite() {
            true => share.see(errors, total, dispersion),
            false => share.skip(1),
        }
        self.filling += 1;
    }

    /// How long before T0 the trouble stood already, where the minutes before T0 show that.
    pub fn trouble_before(&self) -> Option<Span> {
        self.detector.as_ref()?.trouble_before().map(|_| MINUTE.times(15))
    }

    /// How much its errors vary.
    pub fn dispersion(&self) -> Dispersion {
        self.known.as_ref().and_then(|known| known.dispersion).unwrap_or_else(Dispersion::unknown)
    }

    /// The mean since T0 with the share of time that was not seen; `present` where no minute is over.
    pub fn mean(&self, present: f64) -> (f64, f64) {
        let (sum, minutes, unknown) = self.mean;
        let (sum, minutes) = match self.count {
            0 => (sum, f64::from(minutes)),
            n => (sum + self.sum / f64::from(n), f64::from(minutes) + 1.0),
        };
        let whole = minutes + f64::from(unknown);
        match minutes > 0.0 {
            true => (sum / minutes, f64::from(unknown) / whole),
            false => (present, 0.0),
        }
    }

    /// The highest value since T0, or since the last rollback.
    pub fn peak(&self) -> Option<f64> {
        self.peak
    }

    /// The version before runs again: what came to a height under the new one is no measure of it.
    pub fn rebase(&mut self, asks: &Asks) {
        self.peak = None;
        (self.mean, self.sum, self.count) = ((0.0, 0, 0), 0.0, 0);
        self.trends = trends(asks, self.known.as_ref());
        if let Some(share) = &mut self.share {
            share.renew();
        }
    }

    /// Whether `arm` has held.
    pub fn is_armed(&self) -> bool {
        self.armed
    }

    /// `arm` held.
    pub fn arm(&mut self) {
        self.armed = true;
    }

    /// What `baseline` is for this label set now, in the value's unit; none where it is not known.
    pub fn baseline(&self, baseline: &Baseline, now: Timestamp) -> Option<f64> {
        match baseline {
            Baseline::Before => self.known.as_ref()?.hour,
            Baseline::Peak => self.peak,
            Baseline::History => match self.known.as_ref()?.calibration.as_ref()? {
                Ok(calibration) => Some(calibration.expected(now)),
                Err(_) => None,
            },
            Baseline::Value(quantity) => Some(quantity.value),
            Baseline::Expression { .. } => None,
        }
    }

    /// Whether a change against the history is found, if the condition of that role asks for it so.
    pub fn change(&self, asks: &Asks, role: Role, op: Comparison, offset: Offset) -> Option<bool> {
        let index = asks.history.iter().position(|(r, o, f, _)| (*r, *o, *f) == (role, op, offset))?;
        Some(self.detector.as_ref().is_some_and(|detector| detector.finding(index).is_some()))
    }

    /// Whether it comes to `limit` within that time.
    pub fn reaches(&self, asks: &Asks, limit: f64, within: Span) -> bool {
        let index = asks.trends.iter().position(|asked| *asked == (limit, within));
        index.and_then(|i| self.trends.get(i)).is_some_and(|trend| trend.finding().is_some())
    }

    /// What was gathered before a restart is not there, or not yet.
    pub fn lacks_past(&mut self) {
        self.incomplete = true;
    }

    /// Whether what was gathered before is missing, and less than an hour was seen since.
    pub fn is_blind(&self) -> bool {
        self.lacks(MINUTE.times(HOUR as i64))
    }

    fn lacks(&self, seen: Span) -> bool {
        self.incomplete && MINUTE.times(i64::from(self.mean.1)) < seen
    }

    /// Whether the counts of a share go back as far as they are looked at, or to where it was first seen.
    pub fn has_gathered(&self) -> bool {
        !self.incomplete || self.share.as_ref().is_none_or(|share| share.age() >= u64::from(ratio::LONG))
    }

    /// Whether the counts show a share above `limit`; none where they are not asked.
    pub fn exceeds(&self, asks: &Asks, limit: f64) -> Option<bool> {
        let index = asks.shares.iter().position(|asked| *asked == limit)?;
        Some(self.share.as_ref()?.finding(index).is_some())
    }

    /// How strict a condition may be that this decides: some evidence is too weak to be critical.
    pub fn strength(&self, asks: &Asks) -> Strength {
        let is_weak = |trend: &Trend| trend.finding().is_some() && trend.may_roll_back() != MayRollBack::Yes;
        // What was seen before is not known: it begins to be strong as after T0.
        let is_any_weak = self.lacks(trend::EARLIEST) || self.trends.iter().any(is_weak);
        if !asks.trends.is_empty() && is_any_weak { Strength::WarningOnly } else { Strength::Full }
    }

    /// Why what holds holds, as people read it.
    pub fn why(&self, asks: &Asks, role: Role) -> Option<String> {
        let changed = asks.history.iter().position(|(r, ..)| *r == role);
        let change = changed.and_then(|i| Some(self.detector.as_ref()?.finding(i)?.to_string()));
        change.or_else(|| self.trends.iter().find_map(|trend| trend.finding().map(ToString::to_string)))
    }
}

/// The forecasts that are asked for, at their beginning.
fn trends(asks: &Asks, known: Option<&Known>) -> Vec<Trend> {
    let floors = |i: usize| known.and_then(|known| known.floors.get(i).cloned().flatten());
    let trends = asks.trends.iter().enumerate();
    trends.map(|(i, (limit, within))| Trend::new(*limit, *within, floors(i))).collect()
}

/// How strict a condition may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strength {
    /// It warns; it is not critical, and takes nothing back.
    WarningOnly,
    /// Whatever the condition says.
    Full,
}

mod floats {
    //! Values that may be missing, in JSON, which has no NaN.

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(values: &[f64], out: S) -> Result<S::Ok, S::Error> {
        values.iter().map(|v| v.is_finite().then_some(*v)).collect::<Vec<_>>().serialize(out)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<f64>, D::Error> {
        let values = Vec::<Option<f64>>::deserialize(input)?;
        Ok(values.into_iter().map(|v| v.unwrap_or(f64::NAN)).collect())
    }
}
