//! Whether a service is well. Pure.
//!
//! A service is well when each of its containers runs and none is unhealthy. What is about to come (a container that was just
//! made, one that is being made anew) is no failure before `grace` is over: until then nothing is said.
//!
//! **A service that ends on purpose** (a migration) is well when its containers ended with 0, nobody declared that it must run,
//! the engine would not start it again, it has no health check, and none of its containers runs. What looks like that
//! and is none, declare: `services = ["web"]`.

use super::facts::Facts;
use crate::base::{Failure, Span, Timestamp};
use crate::sys::engine::{Health, Policy, State};

/// What the kernel says of a main process while the engine says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It is there.
    Alive,
    /// It ended.
    Dead,
    /// It cannot be seen from here.
    Unseen,
}

/// A container of a service.
#[derive(Clone, Copy, Debug)]
pub struct One<'a> {
    /// Its name.
    pub name: &'a str,
    /// What the engine said; nothing when it was not asked so far.
    pub facts: Option<&'a Facts>,
    /// Since when it is there, or was made.
    pub since: Timestamp,
    /// Why the engine does not say more.
    pub unread: Option<&'a Failure>,
    /// Whether its memory ran out in its last life.
    pub is_oom: bool,
    /// What the kernel says.
    pub proof: Proof,
}

/// What else matters.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    /// Now.
    pub now: Timestamp,
    /// How long something may be missing.
    pub grace: Span,
    /// Whether the service must be there, and run.
    pub is_declared: bool,
    /// Since when no container is there.
    pub missing_since: Option<Timestamp>,
    /// Why the engine says nothing, and since when.
    pub down: Option<(&'a Failure, Timestamp)>,
}

/// What is said of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing before this time.
    Nothing(Timestamp),
    /// All is well.
    Good,
    /// It is not.
    Failed(Failure),
    /// It is not there any more, and need not be.
    Over,
}

/// What is said of one container.
enum Word {
    Well,
    /// It may be about to come, until then.
    Waits(Timestamp),
    Done,
    Bad(Failure),
}

/// Judges a service by its containers.
pub fn judge(containers: &[One<'_>], world: &World<'_>) -> Verdict {
    if containers.is_empty() {
        return missing(world);
    }
    let (mut bad, mut n_bad, mut n_well, mut done, mut waits) = (None, 0, 0, None, None::<Timestamp>);
    for one in containers {
        match word(one, world) {
            Word::Well => n_well += 1,
            Word::Waits(until) => waits = Some(waits.map_or(until, |earlier: Timestamp| earlier.min(until))),
            Word::Done => done = done.or(Some(one)),
            Word::Bad(failure) => {
                n_bad += 1;
                bad.get_or_insert(failure);
            }
        }
    }
    // Where others of it run, or it was declared, it has not ended on purpose.
    if let Some(one) = done
        && (world.is_declared || n_well > 0)
    {
        n_bad += 1;
        bad.get_or_insert(Failure::new("exited", format!("{} ended with exit code 0", one.name)));
    }
    match (bad, waits) {
        (Some(failure), _) if n_bad > 1 => Verdict::Failed(Failure::new(
            failure.reason,
            format!("{}; {} more of it are not well", failure.detail, n_bad - 1),
        )),
        (Some(failure), _) => Verdict::Failed(failure),
        (None, Some(until)) if n_well == 0 => Verdict::Nothing(until),
        (None, _) => Verdict::Good,
    }
}

fn missing(world: &World<'_>) -> Verdict {
    let late = |since: Timestamp| since + world.grace <= world.now;
    match (world.down, world.missing_since) {
        (Some((failure, since)), _) if world.is_declared && late(since) => Verdict::Failed(failure.clone()),
        (Some((_, since)), _) => Verdict::Nothing(since + world.grace),
        (None, Some(since)) if !late(since) => Verdict::Nothing(since + world.grace),
        // The engine was not heard so far.
        (None, None) => Verdict::Nothing(world.now + world.grace),
        (None, Some(_)) if !world.is_declared => Verdict::Over,
        (None, Some(_)) => {
            Verdict::Failed(Failure::new("missing", format!("no container of it was there for {}", world.grace)))
        }
    }
}

fn word(one: &One<'_>, world: &World<'_>) -> Word {
    let name = one.name;
    let grace_ends = one.since + world.grace;
    let Some(facts) = one.facts else {
        let failure = one.unread.or(world.down.map(|(failure, _)| failure));
        return match failure {
            Some(failure) if grace_ends <= world.now => Word::Bad(failure.clone()),
            _ => Word::Waits(grace_ends),
        };
    };
    let is_alive = matches!(facts.state, State::Running | State::Paused);
    if let (Some((failure, since)), true) = (world.down, is_alive) {
        match one.proof {
            Proof::Alive => {}
            Proof::Dead => {
                let detail =
                    format!("the main process of {name} ended while the engine does not answer: {}", failure.detail);
                return Word::Bad(Failure::new("exited", detail));
            }
            Proof::Unseen if since + world.grace <= world.now => return Word::Bad(failure.clone()),
            Proof::Unseen => return Word::Waits(since + world.grace),
        }
    }
    let is_oom = one.is_oom || facts.is_oom_killed;
    let code = facts.exit_code;
    match facts.state {
        State::Running if facts.health == Some(Health::Unhealthy) => {
            let checks = if facts.failing_streak == 1 { "check" } else { "checks" };
            let detail = format!("{name} runs, and {} health {checks} in a row failed", facts.failing_streak.max(1));
            Word::Bad(Failure::new("unhealthy", detail))
        }
        State::Running => Word::Well,
        State::Paused => Word::Bad(Failure::new("paused", format!("{name} is paused: docker unpause {name}"))),
        State::Restarting | State::Exited if is_oom => {
            let limit = facts.limits.memory.map(|bytes| format!(" ({bytes} bytes)")).unwrap_or_default();
            let detail = format!("{name} ended with exit code {code}: its memory{limit} ran out");
            Word::Bad(Failure::new("oom", detail))
        }
        State::Restarting => {
            let detail = format!(
                "{name} ended with exit code {code} and waits to be started again, {} times so far",
                facts.restarts
            );
            Word::Bad(Failure::new("restarting", detail))
        }
        State::Exited if is_done(facts) => Word::Done,
        State::Exited => {
            let why = if facts.error.is_empty() { String::new() } else { format!(": {}", facts.error) };
            Word::Bad(Failure::new("exited", format!("{name} ended with exit code {code}{why}")))
        }
        State::Dead => {
            Word::Bad(Failure::new("dead", format!("the engine could not remove {name}: docker rm -f {name}")))
        }
        State::Created if grace_ends <= world.now => {
            let why = if facts.error.is_empty() { "nobody started it" } else { &facts.error };
            Word::Bad(Failure::new("created", format!("{name} was made {} ago and does not run: {why}", world.grace)))
        }
        State::Removing | State::Unknown if grace_ends <= world.now => {
            let what =
                format!("{name} has been in the state `{}` for longer than {}", facts.state.as_str(), world.grace);
            Word::Bad(Failure::new("dead", format!("{what}: docker inspect {name}")))
        }
        State::Created | State::Removing | State::Unknown => Word::Waits(grace_ends),
    }
}

/// Whether it ended on purpose, for all that a container says.
fn is_done(facts: &Facts) -> bool {
    facts.exit_code == 0
        && facts.error.is_empty()
        && facts.health.is_none()
        && matches!(facts.policy, Policy::No | Policy::OnFailure)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);
    const GRACE: Span = Span::secs(30);

    fn state(state: State) -> Facts {
        Facts { state, ..Facts::default() }
    }

    fn one(facts: Option<&Facts>) -> One<'_> {
        One { name: "web_1", facts, since: NOW - Span::secs(10), unread: None, is_oom: false, proof: Proof::Unseen }
    }

    fn world(is_declared: bool) -> World<'static> {
        World { now: NOW, grace: GRACE, is_declared, missing_since: None, down: None }
    }

    fn shown(verdict: Verdict) -> String {
        match verdict {
            Verdict::Nothing(until) => format!("nothing for {}", until - NOW),
            Verdict::Good => "good".into(),
            Verdict::Failed(failure) => failure.to_string(),
            Verdict::Over => "over".into(),
        }
    }

    #[test]
    fn each_state_has_its_word() {
        let healthy = |health| Facts { health: Some(health), failing_streak: 3, ..state(State::Running) };
        let ended = |exit_code| Facts { exit_code, restarts: 4, ..state(State::Exited) };
        let checked = Facts { health: Some(Health::Healthy), ..ended(0) };
        for (facts, undeclared, declared) in [
            (state(State::Running), "good", "good"),
            (healthy(Health::Healthy), "good", "good"),
            (healthy(Health::Starting), "good", "good"),
            (
                healthy(Health::Unhealthy),
                "unhealthy: web_1 runs, and 3 health checks in a row failed",
                "unhealthy: web_1 runs, and 3 health checks in a row failed",
            ),
            (
                state(State::Paused),
                "paused: web_1 is paused: docker unpause web_1",
                "paused: web_1 is paused: docker unpause web_1",
            ),
            (ended(3), "exited: web_1 ended with exit code 3", "exited: web_1 ended with exit code 3"),
            (ended(0), "good", "exited: web_1 ended with exit code 0"),
            (checked, "exited: web_1 ended with exit code 0", "exited: web_1 ended with exit code 0"),
            (
                Facts { policy: Policy::Always, ..ended(0) },
                "exited: web_1 ended with exit code 0",
                "exited: web_1 ended with exit code 0",
            ),
            (
                Facts { is_oom_killed: true, ..ended(137) },
                "oom: web_1 ended with exit code 137: its memory ran out",
                "oom: web_1 ended with exit code 137: its memory ran out",
            ),
            (
                Facts { state: State::Restarting, ..ended(1) },
                "restarting: web_1 ended with exit code 1 and waits to be started again, 4 times so far",
                "restarting: web_1 ended with exit code 1 and waits to be started again, 4 times so far",
            ),
            (
                state(State::Dead),
                "dead: the engine could not remove web_1: docker rm -f web_1",
                "dead: the engine could not remove web_1: docker rm -f web_1",
            ),
            (state(State::Created), "nothing for 20s", "nothing for 20s"),
            (state(State::Removing), "nothing for 20s", "nothing for 20s"),
        ] {
            for (is_declared, wanted) in [(false, undeclared), (true, declared)] {
                assert_eq!(shown(judge(&[one(Some(&facts))], &world(is_declared))), wanted, "{facts:?}");
            }
        }
    }

    #[test]
    fn what_is_about_to_come_has_its_time() {
        let made = state(State::Created);
        let late = One { since: NOW - GRACE, ..one(Some(&made)) };
        assert_eq!(
            shown(judge(&[late], &world(false))),
            "created: web_1 was made 30s ago and does not run: nobody started it"
        );
        let unknown = Failure::new("timeout", "no answer");
        for (since, unread, wanted) in [
            (10, None, "nothing for 20s"),
            (10, Some(&unknown), "nothing for 20s"),
            (30, Some(&unknown), "timeout: no answer"),
            (30, None, "nothing for 0s"),
        ] {
            let one = One { since: NOW - Span::secs(since), unread, ..one(None) };
            assert_eq!(shown(judge(&[one], &world(true))), wanted);
        }
        let (running, ended) = (state(State::Running), state(State::Exited));
        for (containers, wanted) in [
            (vec![one(Some(&running)), one(Some(&made))], "good"),
            (vec![one(Some(&running)), one(Some(&ended))], "exited: web_1 ended with exit code 0"),
            (vec![one(Some(&made)), one(Some(&ended))], "nothing for 20s"),
            (
                vec![
                    one(Some(&Facts { exit_code: 9, ..ended.clone() })),
                    one(Some(&Facts { exit_code: 8, ..ended.clone() })),
                ],
                "exited: web_1 ended with exit code 9; 1 more of it are not well",
            ),
        ] {
            assert_eq!(shown(judge(&containers, &world(false))), wanted);
        }
    }

    #[test]
    fn what_is_missing_is_said_after_its_time() {
        let refused = Failure::new("refused", "nobody there");
        let ago = |seconds| Some(NOW - Span::secs(seconds));
        for (missing_since, down, declared, undeclared) in [
            (ago(10), None, "nothing for 20s", "nothing for 20s"),
            (ago(30), None, "missing: no container of it was there for 30s", "over"),
            (None, None, "nothing for 30s", "nothing for 30s"),
            (ago(99), ago(10), "nothing for 20s", "nothing for 20s"),
            (None, ago(30), "refused: nobody there", "nothing for 0s"),
        ] {
            for (is_declared, wanted) in [(true, declared), (false, undeclared)] {
                let down = down.map(|since| (&refused, since));
                let world = World { missing_since, down, ..world(is_declared) };
                assert_eq!(shown(judge(&[], &world)), wanted, "{missing_since:?} {is_declared}");
            }
        }
    }

    #[test]
    fn while_the_engine_is_away_what_is_seen_alive_stands() {
        let refused = Failure::new("refused", "nobody there");
        let (running, ended) = (state(State::Running), Facts { exit_code: 2, ..state(State::Exited) });
        for (facts, proof, since, wanted) in [
            (&running, Proof::Alive, 999, "good"),
            (
                &running,
                Proof::Dead,
                0,
                "exited: the main process of web_1 ended while the engine does not answer: nobody there",
            ),
            (&running, Proof::Unseen, 10, "nothing for 20s"),
            (&running, Proof::Unseen, 30, "refused: nobody there"),
            (&ended, Proof::Unseen, 999, "exited: web_1 ended with exit code 2"),
        ] {
            let world = World { down: Some((&refused, NOW - Span::secs(since))), ..world(false) };
            assert_eq!(shown(judge(&[One { proof, ..one(Some(facts)) }], &world)), wanted);
        }
    }
}
