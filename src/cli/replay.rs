//! An engine in virtual time, with nobody but this file to answer it.
//!
//! Enters: looks at targets, commands, the passing of time. Leaves, to a [`Witness`]: what was journaled and what would have
//! been sent. Nothing is done: a message counts as taken at once, an execution as gone well, samples are kept by nobody, a
//! remote server answers nobody; old samples come from a [`Past`]. Used by `backtest` and `test`.

use crate::base::{Batch, Span, Timestamp};
use crate::engine::command::{Command, Reply};
use crate::engine::history::{Question, Told};
use crate::engine::{self, Answer, Effect, Engine, Event, Execution, Input, Reach, SourceInfo, State};
use crate::notify::outbox::{Receipt, Sending, Sent};
use crate::promql::Reading;
use crate::rollback::machine::{ExecutionEnd, Mode, StepSeen};
use crate::store::{Selector, Stretch};

/// Who took a message that was not sent.
const TAKEN_BY: &str = "virtual time";

/// The rung of a configuration that has no steps: what would be decided can be seen, and nothing could be run.
const NO_STEPS: &str = "version";

/// Sees what happens.
pub trait Witness {
    /// Something was journaled.
    fn event(&mut self, at: Timestamp, event: &Event, engine: &Engine);
    /// A message would have been sent.
    fn sent(&mut self, at: Timestamp, sending: &Sending);
    /// A step is over.
    fn stepped(&mut self, at: Timestamp, engine: &Engine);
}

/// Samples from before the time that is played.
pub trait Past {
    /// The series of `wanted` with their samples, at most `most` of them.
    ///
    /// # Errors
    /// Why they cannot be read.
    fn load(&mut self, wanted: &[Reach], most: u64) -> Result<Vec<Stretch>, String>;

    /// The same, also of the time that was played already: memory may not hold it any more.
    ///
    /// # Errors
    /// Why they cannot be read.
    fn recorded(&mut self, wanted: &[Reach], most: u64) -> Result<Vec<Stretch>, String> {
        self.load(wanted, most)
    }
}

/// The most samples that are read at once for what a rule's value was.
const MOST_OLD: u64 = 5_000_000;

/// There is none.
#[derive(Clone, Copy, Debug)]
pub struct NoPast;

impl Past for NoPast {
    fn load(&mut self, _: &[Reach], _: u64) -> Result<Vec<Stretch>, String> {
        Ok(Vec::new())
    }
}

/// An engine and its time.
#[derive(Debug)]
pub struct Replay<P> {
    engine: Engine,
    now: Timestamp,
    past: P,
}

impl<P: Past> Replay<P> {
    /// An engine that begins at `begin` and remembers nothing.
    pub fn new(config: engine::Config, begin: Timestamp, past: P, witness: &mut impl Witness) -> Replay<P> {
        let mut replay = Replay { engine: Engine::new(config, State::default(), begin, 1), now: begin, past };
        replay.put(Input::Started { version: env!("CARGO_PKG_VERSION").into() }, witness);
        replay
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The virtual time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Lets time pass, the moment `to` included.
    pub fn pass_until(&mut self, to: Timestamp, witness: &mut impl Witness) {
        self.pass_before(to + Span::millis(1), witness);
    }

    /// Lets time pass up to `to`; what is due at `to` itself comes after what happens then.
    pub fn pass_before(&mut self, to: Timestamp, witness: &mut impl Witness) {
        loop {
            let tick = self.engine.next_deadline(self.now).max(self.now + Span::millis(1));
            if tick >= to {
                return;
            }
            self.now = tick;
            self.put(Input::Tick, witness);
        }
    }

    /// A look at a target, at its time; one that comes late comes now.
    pub fn look(&mut self, batch: Batch, witness: &mut impl Witness) {
        self.pass_before(batch.at, witness);
        self.now = self.now.max(batch.at);
        self.put(Input::Batch(batch), witness);
    }

    /// Somebody wants something at `at`.
    pub fn command(&mut self, at: Timestamp, command: Command, witness: &mut impl Witness) -> Option<Reply> {
        self.pass_before(at, witness);
        self.now = self.now.max(at);
        self.put(Input::Command { ticket: 0, command }, witness)
    }

    /// One step, and the answers to what it asks for; the reply to a command, where it is one.
    fn put(&mut self, input: Input, witness: &mut impl Witness) -> Option<Reply> {
        let mut inputs = vec![input];
        let mut replied = None;
        while let Some(input) = inputs.pop() {
            let effects = self.engine.step(self.now, input);
            for effect in effects {
                match effect {
                    Effect::Journal(events) => {
                        events.iter().for_each(|event| witness.event(self.now, event, &self.engine))
                    }
                    Effect::Deliver(sending) => {
                        witness.sent(self.now, &sending);
                        let result = Sent::Accepted { by: TAKEN_BY.into(), said: "not sent".into() };
                        inputs.push(Input::Receipt(Receipt { id: sending.delivery.id, at: self.now, result }));
                    }
                    Effect::Execute(execution) => inputs.push(self.executed(*execution)),
                    Effect::Query(query) => {
                        let reading = Reading::Failed("no remote server is asked in virtual time".into());
                        inputs.push(Input::Answer(Answer { ticket: query.ticket, reading, clock_off: None }));
                    }
                    Effect::Load { ticket, wanted, most } => {
                        let (stretches, end) = match self.past.load(&wanted, most) {
                            Ok(stretches) => (stretches, Ok(())),
                            Err(why) => (Vec::new(), Err(why)),
                        };
                        inputs.push(Input::Loaded { ticket, stretches, end: Some(end) });
                    }
                    Effect::History(question) => inputs.push(Input::History(self.told(&question))),
                    Effect::Reply { reply, .. } => replied = Some(reply),
                    // Nobody keeps samples or evidence, and an execution that is over at once cannot be stopped.
                    Effect::Persist(_) | Effect::Evidence { .. } | Effect::StopExecution(_) => {}
                }
            }
            witness.stepped(self.now, &self.engine);
        }
        replied
    }

    /// What a rule's value was: from the old samples, and those that were played.
    fn told(&mut self, question: &Question) -> Told {
        let (engine, past) = (&self.engine, &mut self.past);
        question.told(engine.config().look_back, |_, spans| {
            let reach = |(selector, from, to): &(&Selector, Timestamp, Timestamp)| Reach {
                selector: (*selector).clone(),
                from: *from,
                to: *to,
            };
            let wanted: Vec<Reach> = spans.iter().map(reach).collect();
            let played = engine.store().view(spans.iter().map(|(selector, ..)| *selector));
            Ok(played.with_older(past.recorded(&wanted, MOST_OLD)?))
        })
    }

    /// An execution whose steps all went well, at once.
    fn executed(&self, execution: Execution) -> Input {
        let steps = self.engine.config().steps.iter();
        let done = |name: &String| StepSeen { name: name.clone(), state: "done".into(), took: Some(Span::ZERO) };
        let end = Some(ExecutionEnd::Completed);
        Input::Execution { execution: execution.execution, pid: None, steps: steps.map(done).collect(), end }
    }
}

/// The engine of a configuration in virtual time, for looks at these sources. Where the configuration has no steps, what
/// would be decided is still said, and the mode only observes.
pub fn engine_config(base: engine::Config, sources: Vec<SourceInfo>, mode: Option<Mode>) -> engine::Config {
    let mut settings = base.rollback;
    settings.mode = mode.unwrap_or(settings.mode);
    if settings.ladder.is_empty() {
        settings.ladder = vec![NO_STEPS.into()];
        settings.mode = mode.unwrap_or(Mode::Observe);
    }
    engine::Config {
        sources,
        // What they stated stands in the samples.
        signals: Vec::new(),
        rollback: settings,
        capped: None,
        obstacles: Vec::new(),
        // Read by nobody here; what sources tell is in the samples.
        running: engine::facts::Running { is_read: false, ..base.running },
        on_disk: true,
        evidence: String::new(),
        ..base
    }
}
