//! The target that stands for a table as a whole: how its engine goes.

use super::config::Config;
use crate::base::{Batch, Failure, Labels, Outcome, Span, Timestamp};
use crate::source::common::{Target, sample};
use crate::sys::engine::Info;

/// How the engine goes.
#[derive(Debug)]
enum State {
    /// Nothing was heard so far.
    Unheard,
    /// It answers; the list of containers is there.
    Up {
        is_listed: bool,
    },
    Down {
        failure: Failure,
        since: Timestamp,
    },
}

/// The target of a table.
#[derive(Debug)]
pub struct Whole {
    target: Target,
    up: Labels,
    unmeasured: Labels,
    left_out: Labels,
    info: Option<Labels>,
    state: State,
    n_left_out: usize,
    last_at: Option<Timestamp>,
}

impl Whole {
    /// The target of a table whose other targets are called `others`.
    pub fn new(config: &Config, others: &[String]) -> Whole {
        let name = &config.common.reference.name;
        // A container may be called as its table.
        let instance = if others.contains(name) { format!("{name}/engine") } else { name.clone() };
        let target = Target::new(&config.common, instance);
        Whole {
            up: target.series("container_engine_up", &[]),
            unmeasured: target.series("container_unmeasured", &[]),
            left_out: target.series("container_left_out", &[]),
            info: None,
            state: State::Unheard,
            n_left_out: 0,
            last_at: None,
            target,
        }
    }

    /// The `instance` label.
    pub fn instance(&self) -> &str {
        &self.target.instance
    }

    /// The engine answers.
    pub fn up(&mut self, info: Info) {
        let cgroup = info.cgroup.map(|version| version.to_string()).unwrap_or_default();
        let more = [("version", info.version.as_str()), ("api", &info.api), ("cgroup", &cgroup)];
        self.info = Some(self.target.series("container_engine_info", &more));
        // Until it said which containers there are, what was known before stands as it stood.
        if let State::Unheard = self.state {
            self.state = State::Up { is_listed: false };
        }
    }

    /// The engine told which containers there are, and how many of those that are meant are left out.
    pub fn listed(&mut self, n_left_out: usize) {
        self.state = State::Up { is_listed: true };
        if n_left_out > 0 && self.n_left_out != n_left_out {
            let table = &self.target.reference;
            tracing::warn!(%table, n_left_out, "Some containers are left out: there are too many, or they are described at too great a length.");
        }
        self.n_left_out = n_left_out;
    }

    /// So many more are left out.
    pub fn leave_out(&mut self, n: usize) {
        self.n_left_out += n;
    }

    /// The engine does not answer.
    pub fn fall(&mut self, failure: Failure, now: Timestamp) {
        let since = match &self.state {
            State::Down { since, .. } => (*since).min(now),
            State::Unheard | State::Up { .. } => now,
        };
        self.state = State::Down { failure, since };
    }

    /// Why the engine says nothing, and since when.
    pub fn down(&self) -> Option<(&Failure, Timestamp)> {
        match &self.state {
            State::Down { failure, since } => Some((failure, *since)),
            State::Unheard | State::Up { .. } => None,
        }
    }

    /// Whether the engine said which containers there are, or that it says nothing.
    pub fn was_heard(&self) -> bool {
        matches!(self.state, State::Up { is_listed: true } | State::Down { .. })
    }

    /// What is to be said of the engine; `n_unmeasured` containers run whose figures cannot be read.
    pub fn tell(&mut self, now: Timestamp, n_unmeasured: usize) -> Option<Batch> {
        let (is_up, outcome) = match &self.state {
            State::Unheard | State::Up { is_listed: false } => return None,
            State::Up { .. } => (true, Outcome::Good),
            State::Down { failure, .. } => (false, Outcome::Failed(failure.clone())),
        };
        let mut samples = vec![
            sample(self.up.clone(), f64::from(u8::from(is_up))),
            sample(self.unmeasured.clone(), n_unmeasured as f64),
            sample(self.left_out.clone(), self.n_left_out as f64),
        ];
        samples.extend(self.info.clone().filter(|_| is_up).map(|labels| sample(labels, 1.0)));
        let at = self.last_at.map_or(now, |last| now.max(last + Span::millis(1)));
        let at = if at > now + Span::secs(2) { now } else { at };
        self.last_at = Some(at);
        Some(match outcome {
            Outcome::Failed(failure) => self.target.blind(at, 0.0, failure, samples),
            Outcome::Good => self.target.batch(at, 0.0, Outcome::Good, samples),
        })
    }
}
