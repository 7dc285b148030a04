//! What rules saw last, for those who measure how near they came: figures as they were judged, without a snapshot's texts.

use super::Engine;
use crate::base::Timestamp;
use crate::rule::{Alert, Asks, Rule};

/// One rule as it stands.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// What its conditions look at beyond the present.
    pub asks: &'a Asks,
    /// When it was last evaluated.
    pub evaluated: Option<Timestamp>,
    /// Since when there is no data, and why, if that is so.
    pub no_data: Option<&'a (Timestamp, String)>,
    /// What its last evaluation failed with.
    pub failed: Option<&'a str>,
    alerts: &'a std::collections::BTreeMap<u64, Alert>,
}

impl<'a> Sight<'a> {
    /// Its alerts, those that are ok included, with the fingerprint of their labels.
    pub fn alerts(&self) -> impl Iterator<Item = (u64, &'a Alert)> + use<'a> {
        self.alerts.iter().map(|(key, alert)| (*key, alert))
    }
}

impl Engine {
    /// All rules as they stand, in the order of the configuration.
    pub fn sights(&self) -> impl Iterator<Item = Sight<'_>> {
        self.judges.iter().map(|judge| Sight {
            rule: &judge.rule,
            asks: &judge.asks,
            evaluated: judge.evaluated,
            no_data: judge.no_data.as_ref(),
            failed: judge.failed.as_deref(),
            alerts: &judge.alerts,
        })
    }
}
