//! What the engine writes about rules: `ALERTS`, `backstop_rule_level`, `backstop_rule_no_data`.
//!
//! Each stratum is a family of the store of its own, so that it is written once in a step: right after the rules of it were
//! judged and something changed, and otherwise from time to time. Which rules are written about says [`super::strata`].

use std::collections::HashMap;

use super::judge::Judge;
use super::strata::{self, Family, Strata};
use super::{Config, Engine, OWN_EVERY, Out};
use crate::base::{Labels, Level, Sample, Timestamp};
use crate::rule::prometheus::Kind;

/// So many rules are written about at each change.
const SOON_DONE: usize = 1000;

/// What changed of some rules.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Changed {
    /// Levels, or whether a criterion is due.
    pub(super) levels: bool,
    /// Whether they have data.
    pub(super) data: bool,
}

impl std::ops::BitOrAssign for Changed {
    fn bitor_assign(&mut self, other: Changed) {
        self.levels |= other.levels;
        self.data |= other.data;
    }
}

/// How one rule is written about.
#[derive(Debug)]
struct Own {
    /// In which families.
    written: [bool; 3],
    /// The series of its level, and of whether it has data. Built once: thousands are written in every round.
    level: Labels,
    no_data: Labels,
    /// The series of its alerts that were written last.
    alerts: HashMap<u64, (Level, Labels)>,
}

/// The strata, and when each was written about last.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    /// By rule, in the order of the configuration.
    own: Vec<Own>,
    /// By name: whether it is written about in the families of levels and of missing data.
    groups: std::collections::BTreeMap<String, [bool; 3]>,
    /// By family, whether some rule reads it.
    read: [bool; 3],
    /// By stratum, from 1 on; the first is written with what else the engine writes.
    written: Vec<Option<Timestamp>>,
}

impl Verdicts {
    /// The order of the rules of `config`, told to `judges`, which are in the order of the configuration.
    pub(super) fn new(config: &Config, judges: &mut [Judge]) -> Verdicts {
        let nodes = strata::nodes(&config.rules, &config.groups.groups);
        // A circle was refused when the configuration was checked. Were there one, its rules would see each other late.
        let Strata { strata, written, judges_groups, read } =
            strata::order(&nodes).unwrap_or_else(|_| strata::flat(&nodes));
        for (judge, (stratum, judges_groups)) in judges.iter_mut().zip(strata.iter().zip(&judges_groups)) {
            judge.stratum = *stratum;
            // Groups go on while a deployment settles; what their alerts say then is planned.
            judge.rests_while_settling = *stratum == 0 || *judges_groups;
        }
        let highest = judges.iter().map(|judge| judge.stratum).max().unwrap_or_default();
        let mut groups = std::collections::BTreeMap::new();
        let rules = config.groups.groups.iter().flat_map(|info| &info.group.rules);
        for (rule, written) in rules.zip(&written[judges.len()..]) {
            let known: &mut [bool; 3] = groups.entry(rule.name.clone()).or_default();
            let is_alert = matches!(rule.kind, Kind::Alert { .. });
            for (family, known) in Family::ALL.into_iter().zip(known.iter_mut().zip(written)) {
                *known.0 |= *known.1 && (is_alert || family == Family::NoData);
            }
        }
        let own = judges.iter().zip(&written).map(|(judge, written)| Own {
            written: *written,
            level: of_rule(Family::Level, &judge.rule.name),
            no_data: of_rule(Family::NoData, &judge.rule.name),
            alerts: HashMap::new(),
        });
        let own = own.collect();
        Verdicts { own, groups, read, written: vec![None; highest as usize] }
    }

    /// Whether it is written at once that some levels, or what has data, changed: where a rule reads it, or it is soon done. Else
    /// it is with the next round.
    pub(super) fn are_urgent(&self, changed: Changed) -> bool {
        let [alerts, level, no_data] = self.read;
        let is_soon_done = self.own.len() <= SOON_DONE && (changed.levels || changed.data);
        is_soon_done || (changed.levels && (alerts || level)) || (changed.data && no_data)
    }

    /// The last stratum.
    pub(super) fn highest(&self) -> u32 {
        self.written.len() as u32
    }
}

impl Engine {
    /// Writes about the strata from 1 on, where that is due; the first is written with what else the engine writes.
    pub(super) fn renew_verdicts(&mut self, now: Timestamp, out: &mut Out) {
        for stratum in 1..=self.verdicts.highest() {
            let written = self.verdicts.written[stratum as usize - 1];
            if written.is_none_or(|at| at > now || now - at >= OWN_EVERY) {
                self.write_verdicts(now, stratum, out);
            }
        }
    }

    /// Writes about the rules of one stratum, and wakes those of the strata after it if it is not the first, whose writer
    /// does so.
    pub(super) fn write_verdicts(&mut self, now: Timestamp, stratum: u32, out: &mut Out) {
        let mut families: [Vec<Sample>; 3] = Default::default();
        for (judge, own) in self.judges.iter().zip(&mut self.verdicts.own).filter(|(j, _)| j.stratum == stratum) {
            let [alerts, level, no_data] = own.written;
            if alerts {
                families[0].extend(own.alerts(judge));
            }
            families[1].extend(level.then(|| sample(own.level.clone(), f64::from(judge.level().number()))));
            let is_blind = f64::from(u8::from(judge.no_data.is_some()));
            families[2].extend(no_data.then(|| sample(own.no_data.clone(), is_blind)));
        }
        if stratum == 0 {
            let is_written = |name: &str, family: usize| self.verdicts.groups.get(name).is_some_and(|w| w[family]);
            let names = self.groups.alert_names().into_iter().filter(|name| is_written(name, 1));
            families[1].extend(names.map(|name| level(name, self.state.level_of(name))));
            let blind = self.groups.blind().into_iter().filter(|(name, _)| is_written(name, 2));
            families[2].extend(blind.map(|(name, is_blind)| no_data(name, is_blind)));
        }
        for (family, samples) in Family::ALL.into_iter().zip(families) {
            match stratum {
                0 => self.append_own(now, family.name(), &samples, out),
                _ => self.append_own(now, &format!("{}/{stratum}", family.name()), &samples, out),
            }
        }
        if let Some(written) = (stratum as usize).checked_sub(1).and_then(|i| self.verdicts.written.get_mut(i)) {
            *written = Some(now);
            self.judges.iter_mut().filter(|judge| judge.stratum > stratum).for_each(|judge| judge.wake(now));
        }
    }
}

fn sample(labels: Labels, value: f64) -> Sample {
    Sample { labels, value, at: None }
}

fn of_rule(family: Family, rule: &str) -> Labels {
    Labels::new([("__name__", family.name()), ("rule", rule)])
}

fn level(rule: &str, level: Level) -> Sample {
    sample(of_rule(Family::Level, rule), f64::from(level.number()))
}

fn no_data(rule: &str, is_blind: bool) -> Sample {
    sample(of_rule(Family::NoData, rule), f64::from(u8::from(is_blind)))
}

impl Own {
    /// The series of the alerts of `judge` that are pending or fire.
    fn alerts(&mut self, judge: &Judge) -> Vec<Sample> {
        let mut before = std::mem::take(&mut self.alerts);
        let mut samples = Vec::new();
        for (key, alert) in &judge.alerts {
            let level = alert.level().0;
            if level == Level::Ok && !alert.is_pending() {
                continue;
            }
            let known = before.remove(key).filter(|(of, _)| *of == level);
            let labels = known.map_or_else(|| of_alert(alert), |(_, labels)| labels);
            samples.push(sample(labels.clone(), 1.0));
            self.alerts.insert(*key, (level, labels));
        }
        samples
    }
}

/// The series of an alert at its level; of one that is ok, while it is pending.
fn of_alert(alert: &crate::rule::Alert) -> Labels {
    let (state, level) = match alert.level().0 {
        Level::Ok => ("pending", ""),
        level => ("firing", level.as_str()),
    };
    let own = [("__name__", Family::Alerts.name()), ("alertstate", state), ("level", level)];
    alert.labels().merged(&Labels::new(own))
}
