//! What runs: versions, images, executables, as sources and the running version tell; and what changed without a word.
//!
//! Enters: a thing and what is so of it now. Leaves: events, journaled, so that a change that happened while the agent was
//! down is noticed too. A change belongs to a deployment that was announced, or to a rollback, when it comes while that is
//! under way or within [`BELONGS`] after it; every other one nobody announced, and it is told. At T0 all of it is part of
//! the deployment's record. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Engine, Event as Journaled, Out, stories};
use crate::base::label::NAME;
use crate::base::{Batch, Id, Labels, Sample, Span, Timestamp};
use crate::rollback::machine::Phase;
use crate::store::{Selector, is_stale};
use crate::watch::{self, BELONGS, Change, VERSION};

/// How long the first change that nobody announced waits for others: services are exchanged one after the other.
const COMPANY: Span = Span::secs(10);

/// The most things that are known.
const MAX_THINGS: usize = 500;

/// The most changes that wait to be told.
const MAX_UNTOLD: usize = 50;

/// The longest value, in bytes.
const MAX_VALUE: usize = 300;

/// What an unannounced change of the version does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnChange {
    /// It is told.
    #[default]
    Report,
    /// It is told, and a watch begins that asks before it rolls back.
    Watch,
}

/// How the running version is known, and what an unannounced change does.
#[derive(Clone, Debug, Default)]
pub struct Running {
    /// The version is read, and comes as an input.
    pub is_read: bool,
    /// The label of a series that tells the version; none where it is read otherwise, or not at all.
    pub told: Option<Told>,
    /// What an unannounced change of the version does.
    pub on_change: OnChange,
}

impl Running {
    /// Whether the version is to be known at all.
    pub fn is_known(&self) -> bool {
        self.is_read || self.told.is_some()
    }
}

/// A label of a series that tells the version.
#[derive(Clone, Debug)]
pub struct Told {
    /// Which series.
    pub selector: Selector,
    /// Which of its labels.
    pub label: String,
}

/// What is journaled of what runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// Something was seen for the first time, or is otherwise than before.
    Seen {
        /// What: `version`, `container shop_web_1`, `unit shop.service`.
        thing: String,
        /// How it is now.
        value: String,
        /// When that was seen.
        at: Timestamp,
        /// Whether it belongs to a deployment or a rollback, or is the first word about it.
        expected: bool,
    },
    /// The changes that nobody announced were told.
    Told {
        /// When.
        at: Timestamp,
    },
}

/// What is known of what runs: the fold of its events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    known: BTreeMap<String, (String, Timestamp)>,
    untold: Vec<Change>,
    /// The version before the present one.
    #[serde(default)]
    version_before: Option<String>,
}

impl Facts {
    /// Folds one event; a change of something that was known, where it is one.
    pub fn apply(&mut self, event: &Event) -> Option<Change> {
        match event {
            Event::Seen { thing, value, at, expected } => {
                let (from, _) = self.known.insert(thing.clone(), (value.clone(), *at))?;
                if thing == VERSION {
                    self.version_before = Some(from.clone());
                }
                let change = Change { at: *at, thing: thing.clone(), from, to: value.clone() };
                if !expected {
                    self.note_untold(&change);
                }
                Some(change)
            }
            Event::Told { .. } => {
                self.untold.clear();
                None
            }
        }
    }

    /// Of one thing the first and the last word count; one that is as it was is no change.
    fn note_untold(&mut self, change: &Change) {
        let has_room = self.untold.len() < MAX_UNTOLD || change.thing == VERSION;
        match self.untold.iter_mut().find(|known| known.thing == change.thing) {
            Some(known) => known.to.clone_from(&change.to),
            None if has_room => self.untold.push(change.clone()),
            None => {}
        }
    }

    /// How a thing is, as far as it is known.
    pub fn value(&self, thing: &str) -> Option<&str> {
        self.known.get(thing).map(|(value, _)| value.as_str())
    }

    /// All things and how they are.
    pub fn all(&self) -> BTreeMap<String, String> {
        self.known.iter().map(|(thing, (value, _))| (thing.clone(), value.clone())).collect()
    }

    /// When the changes that nobody announced are to be told.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.untold.first().map(|change| change.at + COMPANY)
    }

    /// Moves its times by `by`, because the wall clock was set.
    pub(super) fn shift(&mut self, by: Span) {
        self.known.values_mut().for_each(|(_, at)| *at += by);
        self.untold.iter_mut().for_each(|change| change.at += by);
    }
}

/// The thing that a series of information is about, and how it is; none for other series. `source` is the kind of who gives it: a
/// page of metrics may have series of the same name.
fn of_sample(source: &str, sample: &Sample) -> Option<(String, String)> {
    let labels = &sample.labels;
    let (kind, told) = match (source, labels.name()) {
        // The digest last: it is known some moments after the rest.
        ("container", "container_info") => ("container", ["image", "revision", "digest"].as_slice()),
        // Without a version nothing of it runs, or nobody knows what.
        ("systemd", "systemd_unit_info") if !labels.get("version").is_empty() => {
            ("unit", ["executable", "version"].as_slice())
        }
        _ => return None,
    };
    if sample.value != 1.0 || labels.get("name").is_empty() {
        return None;
    }
    let parts: Vec<&str> = told.iter().map(|label| labels.get(label)).filter(|part| !part.is_empty()).collect();
    Some((format!("{kind} {}", labels.get("name")), bounded(&parts.join(" "))))
}

/// Whether `more` is `less` and further words: a digest that is known later. A version is one word, whatever it begins with.
fn says_more(more: &str, less: &str, thing: &str) -> bool {
    thing != VERSION && more.strip_prefix(less).is_some_and(|rest| rest.starts_with(' '))
}

fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_VALUE)].to_string()
}

impl Engine {
    /// What a batch tells of what runs.
    pub(super) fn take_facts(&mut self, now: Timestamp, batch: &Batch, out: &mut Out) {
        for (thing, value) in batch.samples.iter().filter_map(|sample| of_sample(&batch.source.kind, sample)) {
            self.see(now, thing, value, out);
        }
        let Some(told) = &self.config.running.told else { return };
        // The source that told it last also tells by its silence.
        let tells = batch.samples.iter().any(|sample| told.selector.matches(&sample.labels));
        if tells || self.version_from.as_ref() == Some(&batch.source) {
            self.version_from = Some(batch.source.clone());
            let version = self.told_version(now);
            self.take_version(now, version, out);
        }
    }

    /// The running version was read.
    pub(super) fn take_version(&mut self, now: Timestamp, version: Result<String, String>, out: &mut Out) {
        if let Ok(version) = &version {
            self.see(now, VERSION.into(), bounded(version), out);
        }
        self.version = Some((now, version));
    }

    /// The version that series tell now.
    fn told_version(&self, now: Timestamp) -> Result<String, String> {
        let Some(told) = &self.config.running.told else { return Err("nothing tells it".into()) };
        let view = self.store.view([&told.selector]);
        let oldest = (now - self.config.look_back).0;
        let is_there = |stretch: &&crate::store::Stretch| {
            let newest = stretch.times().last().zip(stretch.values().last());
            newest.is_some_and(|(at, value)| *at >= oldest && !is_stale(*value) && *value != 0.0)
                && self.runs(stretch.labels())
        };
        let versions: std::collections::BTreeSet<&str> =
            view.series().iter().filter(is_there).map(|stretch| stretch.labels().get(&told.label)).collect();
        let mut versions = versions.into_iter();
        match (versions.next(), versions.next()) {
            (None, _) => Err(format!("no series {} is there", told.selector)),
            (Some(""), None) => Err(format!("{} has no label `{}`", told.selector, told.label)),
            (Some(one), None) => Ok(one.to_string()),
            (Some(one), Some(other)) => Err(format!("several versions run: {one}, {other}")),
        }
    }

    /// Whether what a series of information is about runs: a container that has ended still has an image.
    fn runs(&self, labels: &Labels) -> bool {
        if labels.name() != "container_info" {
            return true;
        }
        const OF_IMAGE: [&str; 5] = ["image", "digest", "container_id", "version", "revision"];
        let own = labels.iter().filter(|(name, _)| !OF_IMAGE.contains(name) && *name != NAME);
        let running = Labels::new(own.chain([(NAME, "container_running")]));
        self.store.newest_of(&running).is_none_or(|value| value == 1.0)
    }

    /// What ran before `version`, as far as it was read; where nothing is read, as deployments tell.
    pub(super) fn version_before(&self, version: &str) -> Option<String> {
        let facts = &self.state.facts;
        let before = match facts.value(VERSION) {
            Some(runs) if runs != version => Some(runs),
            Some(_) => facts.version_before.as_deref(),
            None => self.state.watches.running(),
        };
        before.filter(|before| *before != version).map(String::from)
    }

    fn see(&mut self, now: Timestamp, thing: String, value: String, out: &mut Out) {
        let before = self.state.facts.value(&thing);
        // The same, or the same of which less is known now.
        if before.is_some_and(|before| before == value || says_more(before, &value, &thing)) {
            return;
        }
        if before.is_none() && self.state.facts.known.len() >= MAX_THINGS && thing != VERSION {
            return;
        }
        let is_same = before.is_none_or(|before| says_more(&value, before, &thing));
        let expected = is_same || self.is_change_expected(now);
        self.record(Journaled::Fact(Event::Seen { thing, value, at: now, expected }), out);
    }

    /// Whether what changes now belongs to a deployment that was announced, or to a rollback.
    fn is_change_expected(&self, now: Timestamp) -> bool {
        let watches = &self.state.watches;
        let begins = watches.live().and_then(|d| d.t0).is_some_and(|t0| now - t0 < BELONGS);
        let goes_back = self.state.rollbacks.last().is_some_and(|run| match &run.phase {
            Phase::Executing { .. } | Phase::Verifying { .. } => true,
            _ => run.executed.is_some_and(|at| now - at < BELONGS),
        });
        watches.settling().is_some() || begins || goes_back
    }

    /// Tells the changes that nobody announced, once no further one is waited for.
    pub(super) fn tell_changes(&mut self, now: Timestamp, out: &mut Out) {
        if self.state.facts.deadline().is_none_or(|at| now < at) {
            return;
        }
        let changes: Vec<Change> =
            self.state.facts.untold.iter().filter(|change| change.from != change.to).cloned().collect();
        self.record(Journaled::Fact(Event::Told { at: now }), out);
        if changes.is_empty() {
            return;
        }
        let version = changes.iter().rfind(|change| change.thing == VERSION).cloned();
        let notice = stories::changed(self, now, &changes, version.as_ref());
        self.tell(now, notice, out);
        if let Some(change) = version.filter(|_| self.config.running.on_change == OnChange::Watch) {
            self.watch_unannounced(now, &change, out);
        }
    }

    /// Begins a watch of a version that nobody announced.
    fn watch_unannounced(&mut self, now: Timestamp, change: &Change, out: &mut Out) {
        if self.state.watches.open().is_some() || self.state.rollbacks.open().is_some() {
            return;
        }
        let random = self.random();
        let id = Id::new(now, random);
        let deployment = watch::Deployment {
            previous: Some(change.from.clone()),
            noticed: true,
            ..watch::Deployment::new(id.clone(), change.to.clone(), change.at, "nobody".into())
        };
        for event in self.state.watches.announce(deployment, &self.standing(), &self.config.watch) {
            self.take_watch_event(now, event, out);
        }
        let event = watch::Event::Live { id, t0: change.at, at: now, ran_out: false };
        self.take_watch_event(now, event, out);
    }
}

/// The labels of series that tell the version of a container: `project/service`, or a container's name.
pub fn of_container(named: &str) -> Told {
    let labels: Vec<(&str, &str)> = match named.split_once('/') {
        Some((project, service)) => vec![("project", project), ("service", service)],
        None => vec![("name", named)],
    };
    told("container_info", &labels)
}

/// The labels of series that tell the version of a unit.
pub fn of_unit(name: &str) -> Told {
    told("systemd_unit_info", &[("name", name)])
}

fn told(name: &str, labels: &[(&str, &str)]) -> Told {
    let matchers = labels.iter().map(|(label, value)| crate::store::Matcher::equal(label, value)).collect();
    Told { selector: Selector { name: Some(name.into()), matchers }, label: "version".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(thing: &str, value: &str, at: i64, expected: bool) -> Event {
        Event::Seen { thing: thing.into(), value: value.into(), at: Timestamp(at), expected }
    }

    #[test]
    fn a_first_word_is_no_change_and_only_what_nobody_announced_is_to_be_told() {
        let mut facts = Facts::default();
        assert_eq!(facts.apply(&seen("version", "1", 0, true)), None);
        let change = facts.apply(&seen("version", "2", 1000, true)).unwrap();
        assert_eq!((change.from.as_str(), change.to.as_str()), ("1", "2"));
        assert_eq!(facts.deadline(), None);
        facts.apply(&seen("version", "3", 2000, false));
        facts.apply(&seen("unit a.service", "/bin/a", 3000, true));
        assert_eq!(facts.deadline(), Some(Timestamp(2000) + COMPANY));
        facts.apply(&Event::Told { at: Timestamp(13_000) });
        assert_eq!(facts.deadline(), None);
        assert_eq!(facts.value("version"), Some("3"));
    }

    #[test]
    fn of_one_thing_the_first_and_the_last_word_are_told() {
        let mut facts = Facts::default();
        for (at, value) in [(0, "1"), (1, "2"), (2, "1")] {
            facts.apply(&seen("version", value, at, at == 0));
        }
        assert_eq!(facts.untold.len(), 1);
        assert_eq!((facts.untold[0].from.as_str(), facts.untold[0].to.as_str()), ("1", "1"));
    }

    #[test]
    fn a_value_that_begins_like_another_is_another() {
        for (more, less, thing, wanted) in [
            ("shop/api:1 sha256:aa", "shop/api:1", "container c", true),
            ("shop/api:1.10", "shop/api:1.1", "container c", false),
            ("shop/api:1", "shop/api:1", "container c", false),
            ("1.10", "1.1", VERSION, false),
            ("1.1 beta", "1.1", VERSION, false),
        ] {
            assert_eq!(says_more(more, less, thing), wanted, "{more} {less}");
        }
    }

    #[test]
    fn series_of_information_name_a_thing_and_how_it_is() {
        let sample = |labels: &[(&str, &str)], value| Sample { labels: Labels::new(labels.to_vec()), value, at: None };
        let container = [
            ("__name__", "container_info"),
            ("name", "shop_web_1"),
            ("image", "shop/web:1.4.2"),
            ("digest", "sha256:ab"),
            ("container_id", "0123456789ab"),
        ];
        assert_eq!(
            of_sample("container", &sample(&container, 1.0)),
            Some(("container shop_web_1".into(), "shop/web:1.4.2 sha256:ab".into()))
        );
        assert_eq!(of_sample("container", &sample(&container, 0.0)), None);
        assert_eq!(of_sample("prometheus", &sample(&container, 1.0)), None, "a page may say what it likes");
        let stopped = [("__name__", "systemd_unit_info"), ("name", "a.service"), ("executable", "/bin/a")];
        assert_eq!(of_sample("systemd", &sample(&stopped, 1.0)), None);
    }
}
