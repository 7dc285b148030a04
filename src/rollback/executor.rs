//! The executor: runs one rung of a sealed plan, and nothing else, in a process of its own.
//!
//! Enters: the state folder and the name of an execution. Leaves: the journal `rollback/runs/ID/journal`, the
//! output of step N in `rollback/runs/ID/N.out`, and an outcome. It shares files with the agent and nothing else.
//! One run at a time per state folder (a lock). It may be killed at any moment and started again: it goes on from
//! its journal. When the journal cannot be written nothing further is done.

use std::path::{Path, PathBuf};

use super::format::FormatError;
use super::plan::{self, PlanError, Rung};
use super::record::{self, Action, Event, FoldError, Outcome, Record, RunState, Started};
use super::request::{self, Execution, Request, RequestError};
use super::step::{Act, Facts, Step};
use crate::base::{Span, chain};
use crate::sys::clock::{Clock, Stopwatch, pause};
use crate::sys::files::{self, FileError, Lock};
use crate::sys::process::{self, Child, Ended, Exit, Program};
use crate::sys::records::{self, RecordsError, Writer};

/// The largest journal of a run that is read: 16 MiB.
pub const MAX_JOURNAL: u64 = 16 << 20;

/// Why an execution could not be taken up or went no further. Nothing is decided by it: another start goes on.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The name is none of an execution.
    #[error("{0}")]
    Name(String),
    /// Another execution runs.
    #[error("another rollback is being executed (it holds {})", lock.display())]
    Busy {
        /// The lock.
        lock: PathBuf,
    },
    /// A file or folder.
    #[error("cannot execute")]
    File(#[from] FileError),
    /// The journal's file.
    #[error("cannot use the journal")]
    Journal(#[from] RecordsError),
    /// A record of the journal.
    #[error("cannot read record {number} of the journal")]
    Record {
        /// From 1.
        number: usize,
        /// What is wrong with it.
        source: FormatError,
    },
    /// The order of the records.
    #[error("cannot follow the journal")]
    History(#[from] FoldError),
    /// The request could not be read just now.
    #[error("cannot execute")]
    Request(#[from] RequestError),
    /// The plan could not be read just now, or is gone while its run is under way.
    #[error("cannot execute")]
    Plan(#[from] PlanError),
    /// The plan of a run under way has no such rung.
    #[error("the plan has no rung `{0}`")]
    NoRung(String),
    /// A test ended the execution here.
    #[cfg(test)]
    #[error("crashed")]
    Crashed,
}

impl ExecuteError {
    /// The exit code of `backstop rollback execute`: 2 for a wrong name, 3 for everything that may pass.
    pub fn exit_code(&self) -> u8 {
        if matches!(self, ExecuteError::Name(_)) { 2 } else { 3 }
    }
}

/// The folders below the state folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Folders {
    state: PathBuf,
}

impl Folders {
    /// Those of this state folder.
    pub fn new(state: &Path) -> Folders {
        Folders { state: state.to_owned() }
    }

    /// Where sealed plans are.
    pub fn plans(&self) -> PathBuf {
        self.state.join("rollback/plans")
    }

    /// Where a run's journal and outputs are.
    pub fn run(&self, execution: &Execution) -> PathBuf {
        self.state.join("rollback/runs").join(execution.to_string())
    }

    /// The journal of a run.
    pub fn journal(&self, execution: &Execution) -> PathBuf {
        self.run(execution).join("journal")
    }

    /// The output of a step, by its place in the rung.
    pub fn output(&self, execution: &Execution, index: usize) -> PathBuf {
        self.run(execution).join(format!("{index}.out"))
    }

    /// The lock that whoever executes holds.
    pub fn lock(&self) -> PathBuf {
        self.state.join("rollback/executor.lock")
    }

    /// Makes the folders of the privileged side, readable for the group of the state folder. Whoever seals a plan
    /// does this first, too.
    ///
    /// # Errors
    /// When one cannot be made, or somebody with fewer rights could write to it.
    pub fn prepare(&self) -> Result<(), FileError> {
        for folder in ["rollback", "rollback/plans", "rollback/runs"] {
            files::ensure_own_dir(&self.state.join(folder), 0o2750)?;
        }
        Ok(())
    }
}

/// Executes what was asked for under this name, or goes on with it, to its end.
///
/// # Errors
/// When it cannot be taken up now, or its journal cannot be written; starting again is always safe.
pub async fn execute(state: &Path, execution: &str, clock: &Clock) -> Result<Outcome, ExecuteError> {
    execute_watched(state, execution, clock, &mut |_, _| Ok(())).await
}

/// On which side of an append a witness is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Before,
    After,
}

/// Sees every record before and after it is on the disk, and may end the execution there: this is how tests crash.
type Witness<'a> = &'a mut (dyn FnMut(Moment, &Event) -> Result<(), ExecuteError> + Send);

async fn execute_watched(
    state: &Path,
    execution: &str,
    clock: &Clock,
    witness: Witness<'_>,
) -> Result<Outcome, ExecuteError> {
    let execution = Execution::parse(execution).map_err(ExecuteError::Name)?;
    let folders = Folders::new(state);
    folders.prepare()?;
    let _lock = acquire(&folders.lock()).await?;
    let mut run = Run::open(folders, execution, clock, witness)?;
    if let Some(outcome) = &run.state.outcome {
        return Ok(outcome.clone());
    }
    match run.begin()? {
        Ok(begun) => run.go_on(begun).await,
        Err(why) => run.refuse(why),
    }
}

/// Takes the lock. Looks of others hold it for an instant, so a few tries belong to one attempt.
async fn acquire(path: &Path) -> Result<Lock, ExecuteError> {
    const TRIES: usize = 10;
    const BETWEEN: Span = Span::millis(20);
    for _ in 0..TRIES {
        if let Some(lock) = Lock::try_acquire(path)? {
            return Ok(lock);
        }
        pause(BETWEEN).await;
    }
    Err(ExecuteError::Busy { lock: path.to_owned() })
}

/// An execution under way.
struct Run<'a> {
    folders: Folders,
    execution: Execution,
    clock: &'a Clock,
    journal: Writer,
    state: RunState,
    witness: Witness<'a>,
}

/// What a run that has begun works on.
struct Begun {
    rung: Rung,
    criterion: String,
    facts: Facts,
}

impl<'a> Run<'a> {
    fn open(
        folders: Folders,
        execution: Execution,
        clock: &'a Clock,
        witness: Witness<'a>,
    ) -> Result<Run<'a>, ExecuteError> {
        // A name that nobody asked for leaves no folder behind.
        if !files::exists(&folders.run(&execution)) {
            match request::read(&folders.state, &execution) {
                Err(error) if !error.is_final() => return Err(error.into()),
                _ => files::ensure_own_dir(&folders.run(&execution), 0o2750)?,
            }
        }
        let (journal, read) = Writer::open(&folders.journal(&execution), 0o640, MAX_JOURNAL)?;
        let state = record::fold(&decode(&read.texts)?)?;
        Ok(Run { folders, execution, clock, journal, state, witness })
    }

    /// Journals what happened or is about to; only then it counts.
    fn journal(&mut self, event: Event) -> Result<(), ExecuteError> {
        (self.witness)(Moment::Before, &event)?;
        let record = Record::new(self.clock.now(), event);
        let mut state = self.state.clone();
        state.apply(&record).map_err(|met| FoldError {
            number: 0,
            event: Box::new(record.event.clone()),
            state: met,
        })?;
        self.journal.append(&record.encode())?;
        self.state = state;
        (self.witness)(Moment::After, &record.event)
    }

    /// Finds the rung: that of the journal where the run began before, else that of the request. The inner error
    /// is why it is refused for good.
    fn begin(&mut self) -> Result<Result<Begun, String>, ExecuteError> {
        let boot = process::boot_id()?;
        let pid = std::process::id();
        if let Some(started) = self.state.started.clone() {
            let begun = self.look_up(&started)?;
            self.journal(Event::RunContinued { pid, boot })?;
            return Ok(Ok(begun));
        }
        let request = match request::read(&self.folders.state, &self.execution) {
            Ok(request) => request,
            Err(error) if error.is_final() => return Ok(Err(chain(&error))),
            Err(error) => return Err(error.into()),
        };
        let started = started_by(request, pid, boot);
        match self.look_up(&started) {
            Ok(begun) => {
                self.journal(Event::RunStarted(started))?;
                Ok(Ok(begun))
            }
            Err(ExecuteError::Plan(error)) if error.is_final() => Ok(Err(chain(&error))),
            Err(error @ ExecuteError::NoRung(_)) => Ok(Err(chain(&error))),
            Err(error) => Err(error),
        }
    }

    fn look_up(&self, started: &Started) -> Result<Begun, ExecuteError> {
        let plan = plan::load(&self.folders.plans(), &started.plan)?;
        let rung = plan.rung(&started.rung).ok_or_else(|| ExecuteError::NoRung(started.rung.clone()))?.clone();
        let facts = plan.facts_for(&started.criterion, started.evidence.as_deref());
        Ok(Begun { rung, criterion: started.criterion.clone(), facts })
    }

    fn refuse(&mut self, why: String) -> Result<Outcome, ExecuteError> {
        let outcome = Outcome::Refused { why };
        self.journal(Event::RunFinished { outcome: outcome.clone() })?;
        Ok(outcome)
    }

    /// Fold, next, journal, act, journal, again.
    async fn go_on(&mut self, begun: Begun) -> Result<Outcome, ExecuteError> {
        self.outlive_the_interrupted(&begun).await?;
        loop {
            let stop = request::is_stop_wished(&self.folders.state, &self.execution);
            match record::next(&begun.rung, &begun.criterion, &self.state, stop) {
                Action::Run { index, attempt } => self.run_step(&begun, index, attempt).await?,
                Action::Check { index } => self.check_step(&begun, index).await?,
                Action::GiveUp { index, why } => self.journal(Event::StepUnknown { index, why })?,
                Action::Finish(outcome) => self.journal(Event::RunFinished { outcome })?,
                Action::Rest(outcome) => return Ok(outcome),
            }
        }
    }

    /// An executor that was killed may leave its step running. It is given the time it had, then ended: never
    /// do two of one step run side by side, and nobody is told of a state that still changes.
    async fn outlive_the_interrupted(&self, begun: &Begun) -> Result<(), ExecuteError> {
        let Some((index, process, boot)) = self.state.in_flight() else { return Ok(()) };
        if boot == process::boot_id()? {
            let timeout = begun.rung.steps.get(index).map_or(Span::ZERO, |s| s.timeout);
            process.wait_for_end(timeout).await;
        }
        Ok(())
    }

    async fn run_step(&mut self, begun: &Begun, index: usize, attempt: u32) -> Result<(), ExecuteError> {
        let step = &begun.rung.steps[index];
        self.journal(Event::StepStarted { index, name: step.name.clone(), attempt })?;
        let output = self.folders.output(&self.execution, index);
        let ended = match step.act(&begun.facts, output) {
            Act::Run(program) => self.run_program(index, &program).await?,
            Act::Pause(span) => waited(span).await,
        };
        self.journal(Event::StepFinished {
            index,
            exit: ended.exit,
            took: ended.took,
            output_bytes: ended.output.bytes,
            tail: record::tail(&ended.output.tail),
        })
    }

    async fn run_program(&mut self, index: usize, program: &Program) -> Result<Ended, ExecuteError> {
        match Child::start(program) {
            Ok(child) => {
                let boot = process::boot_id()?;
                let noted = self.journal(Event::StepSpawned { index, process: child.identity(), boot });
                // A step is never stopped half-way because its start could not be noted; what follows is.
                let ended = child.finish().await;
                noted.map(|()| ended)
            }
            Err(error) => Ok(Ended::not_started(&error)),
        }
    }

    async fn check_step(&mut self, begun: &Begun, index: usize) -> Result<(), ExecuteError> {
        let step: &Step = &begun.rung.steps[index];
        let exit = match step.check(&begun.facts) {
            Some(program) => process::run(&program).await.exit,
            None => Exit::NotStarted("it has no done_if".into()),
        };
        self.journal(match exit {
            Exit::Code(0) => Event::StepChecked { index, done: true },
            Exit::Code(1) => Event::StepChecked { index, done: false },
            other => Event::StepUnknown { index, why: format!("its done_if could not tell: {other}") },
        })
    }
}

fn started_by(request: Request, pid: u32, boot: String) -> Started {
    let Request { plan, rung, criterion, evidence, .. } = request;
    Started { plan, rung, criterion, evidence, pid, boot }
}

async fn waited(span: Span) -> Ended {
    let watch = Stopwatch::start();
    pause(span).await;
    Ended { exit: Exit::Code(0), took: watch.elapsed(), output: process::Output::default() }
}

fn decode(texts: &[String]) -> Result<Vec<Record>, ExecuteError> {
    let one = |(i, text): (usize, &String)| {
        Record::decode(text).map_err(|source| ExecuteError::Record { number: i + 1, source })
    };
    texts.iter().enumerate().map(one).collect()
}

/// A run as the agent sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct RunView {
    /// What the journal adds up to.
    pub state: RunState,
    /// The journal.
    pub records: Vec<Record>,
    /// Whether the process that wrote last still executes. False while a run has begun and is not over: it
    /// died, and may be started again.
    pub is_alive: bool,
}

/// Reads a run without disturbing it; one that nobody took up yet is empty.
///
/// # Errors
/// When the name is wrong, or journal or lock cannot be read.
pub fn read_run(state: &Path, execution: &str) -> Result<RunView, ExecuteError> {
    let execution = Execution::parse(execution).map_err(ExecuteError::Name)?;
    let folders = Folders::new(state);
    // The lock is looked at first: who lets go of it after this look has written everything before the next.
    let holder = Lock::holder(&folders.lock())?;
    let records = decode(&records::read_all(&folders.journal(&execution), MAX_JOURNAL)?.texts)?;
    let state = record::fold(&records)?;
    let is_alive = holder.is_some() && holder == state.executor.as_ref().map(|(pid, _)| *pid);
    Ok(RunView { state, records, is_alive })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::plan::{Hash, Plan};
    use super::super::record::StepState;
    use super::super::step::{Command, OnFailure, StepKind, Wait};
    use super::*;
    use crate::base::{Id, Timestamp};
    use crate::sys::files::testing::Scratch;

    /// A state folder with one sealed plan and one request for its rung.
    struct Stage {
        scratch: Scratch,
        clock: Clock,
        execution: Execution,
        plan: Hash,
    }

    impl Stage {
        fn new(steps: impl FnOnce(&Scratch) -> Vec<Step>) -> Stage {
            let scratch = Scratch::new("executor");
            let folders = Folders::new(&scratch.0);
            folders.prepare().unwrap();
            let plan = plan::seal(&folders.plans(), &sealed(steps(&scratch))).unwrap();
            let execution = Execution { run: Id::new(Timestamp(1_761_640_867_000), 9), rung: 0 };
            let stage = Stage { scratch, clock: Clock::new(), execution, plan };
            request::write(&stage.scratch.0, &stage.request()).unwrap();
            stage
        }

        fn request(&self) -> Request {
            Request {
                format: 1,
                execution: self.execution.clone(),
                run: self.execution.run.clone(),
                plan: self.plan.clone(),
                rung: "version".into(),
                criterion: "errors".into(),
                evidence: Some("/evidence".into()),
                asked_at: Timestamp(1),
                approved_by: Some("anna".into()),
                reason: "errors over 10 %".into(),
            }
        }

        async fn execute(&self) -> Result<Outcome, ExecuteError> {
            execute(&self.scratch.0, &self.execution.to_string(), &self.clock).await
        }

        /// Executes until the `nth` call of the witness, which crashes; says which one that was.
        async fn crash_at(&self, nth: usize) -> Result<Outcome, (Moment, Event)> {
            let (mut calls, mut point) = (0, None);
            let mut witness = |moment, event: &Event| {
                calls += 1;
                if calls < nth {
                    return Ok(());
                }
                point.get_or_insert((moment, event.clone()));
                Err(ExecuteError::Crashed)
            };
            match execute_watched(&self.scratch.0, &self.execution.to_string(), &self.clock, &mut witness).await {
                Err(ExecuteError::Crashed) => Err(point.expect("the witness crashed it")),
                done => Ok(done.unwrap()),
            }
        }

        fn effects(&self) -> Vec<String> {
            self.scratch.text("effects").lines().map(String::from).collect()
        }

        fn view(&self) -> RunView {
            read_run(&self.scratch.0, &self.execution.to_string()).unwrap()
        }

        fn request_name(&self) -> String {
            format!("requests/{}.json", self.execution)
        }

        fn journal_name(&self) -> String {
            format!("rollback/runs/{}/journal", self.execution)
        }
    }

    fn sealed(steps: Vec<Step>) -> Plan {
        Plan {
            format: 1,
            app: "shop".into(),
            version: "2.1.0".into(),
            previous: Some("2.0.3".into()),
            facts: BTreeMap::new(),
            rungs: vec![Rung { name: "version".into(), steps }],
            sealed_at: Timestamp(0),
        }
    }

    fn shell(name: &str, script: &str) -> Step {
        let argv = ["/bin/sh", "-c", script].map(String::from).to_vec();
        Step {
            name: name.into(),
            kind: StepKind::Command(Command { argv }),
            timeout: Span::secs(20),
            retries: 0,
            on_failure: OnFailure::Halt,
            repeatable: false,
            done_if: None,
            only_for: vec![],
            env: BTreeMap::new(),
            dir: None,
        }
    }

    /// A step that leaves a line in the file `effects`.
    fn leaves(scratch: &Scratch, name: &str) -> Step {
        let mut step = shell(name, &format!("echo {name} >> effects; echo did {name}"));
        step.dir = Some(scratch.0.clone());
        step
    }

    /// One step of each kind of caution: `a` and `d` may run once, `b` may repeat, `c` can be asked.
    fn cautious(scratch: &Scratch) -> Vec<Step> {
        let wait = Step { kind: StepKind::Wait(Wait { span: Span::millis(1) }), ..shell("wait", "") };
        let asked = ["/bin/sh", "-c", "grep -q '^c$' effects"].map(String::from).to_vec();
        vec![
            leaves(scratch, "a"),
            Step { repeatable: true, ..leaves(scratch, "b") },
            Step { done_if: Some(asked), ..leaves(scratch, "c") },
            wait,
            leaves(scratch, "d"),
        ]
    }

    /// Where an execution that crashed here must end, whatever was torn.
    fn expected(point: &(Moment, Event)) -> Outcome {
        match point {
            (Moment::After, Event::StepStarted { index, .. })
            | (_, Event::StepSpawned { index, .. })
            | (Moment::Before, Event::StepFinished { index, .. })
                if [0, 4].contains(index) =>
            {
                Outcome::Stuck { step: *index }
            }
            _ => Outcome::Completed,
        }
    }

    async fn crash_after_every_record(torn: &str) {
        for nth in 1.. {
            let stage = Stage::new(cautious);
            let point = match stage.crash_at(nth).await {
                Err(point) => point,
                Ok(outcome) => {
                    assert_eq!(outcome, Outcome::Completed);
                    assert!(nth > 2 * 15, "every record has two sides");
                    return;
                }
            };
            let journal = stage.scratch.text(&stage.journal_name());
            stage.scratch.put(&stage.journal_name(), format!("{journal}{torn}").as_bytes());
            let outcome = stage.execute().await.unwrap();
            assert_eq!(outcome, expected(&point), "{point:?}");
            let count = |name: &str| stage.effects().iter().filter(|e| *e == name).count();
            for once in ["a", "d"] {
                assert!(count(once) <= 1, "{once} ran twice after {point:?}");
            }
            if outcome == Outcome::Completed {
                assert_eq!((count("a"), count("c"), count("d")), (1, 1, 1), "{point:?}");
                assert!((1..=2).contains(&count("b")), "{point:?}");
            }
            let (journal, effects) = (stage.scratch.text(&stage.journal_name()), stage.effects());
            assert_eq!(stage.execute().await.unwrap(), outcome, "executing what is over changes nothing");
            assert_eq!((stage.scratch.text(&stage.journal_name()), stage.effects()), (journal, effects));
            assert_eq!(stage.view().state.outcome, Some(outcome));
        }
    }

    #[tokio::test]
    async fn a_crash_at_any_record_never_starts_a_step_twice_that_may_run_once() {
        crash_after_every_record("").await;
    }

    #[tokio::test]
    async fn a_crash_in_the_middle_of_a_record_is_the_same_as_before_it() {
        crash_after_every_record("0badcafe {\"format\":1,\"at\":").await;
    }

    #[tokio::test]
    async fn a_run_that_crashes_again_and_again_still_ends_and_repeats_nothing() {
        // The first three calls are about the continuation itself: an executor that never gets further does nothing.
        for nth in 4..14 {
            let stage = Stage::new(cautious);
            let mut crashes = 0;
            let outcome = loop {
                match stage.crash_at(nth).await {
                    Ok(outcome) => break outcome,
                    Err(_) => crashes += 1,
                }
                assert!(crashes < 50, "no progress at {nth}");
            };
            assert!(matches!(outcome, Outcome::Completed | Outcome::Stuck { .. }), "{outcome}");
            for once in ["a", "d"] {
                assert!(stage.effects().iter().filter(|e| *e == once).count() <= 1, "{once} at {nth}");
            }
        }
    }

    #[tokio::test]
    async fn a_failure_halts_at_its_step_or_is_passed_over_as_the_step_says() {
        for at in 0..3 {
            for on_failure in [OnFailure::Halt, OnFailure::Continue] {
                let stage = Stage::new(|scratch| {
                    let mut steps: Vec<Step> = ["a", "b", "c"].map(|n| leaves(scratch, n)).to_vec();
                    steps[at] = Step { on_failure, ..shell("bad", "echo 'No such image' >&2; exit 3") };
                    steps
                });
                let outcome = stage.execute().await.unwrap();
                let all: Vec<&str> =
                    ["a", "b", "c"].into_iter().enumerate().filter(|(i, _)| *i != at).map(|e| e.1).collect();
                match on_failure {
                    OnFailure::Halt => {
                        assert_eq!(outcome, Outcome::Failed { step: at });
                        assert_eq!(stage.effects(), &["a", "b", "c"][..at]);
                    }
                    OnFailure::Continue => {
                        assert_eq!(outcome, Outcome::Completed);
                        assert_eq!(stage.effects(), all);
                    }
                }
                let view = stage.view();
                assert_eq!(view.state.steps[&at], StepState::Failed { attempt: 1, exit: Exit::Code(3) });
                let tail = view.records.iter().find_map(|r| match &r.event {
                    Event::StepFinished { exit: Exit::Code(3), tail, .. } => Some(tail.clone()),
                    _ => None,
                });
                assert_eq!(tail.as_deref(), Some("No such image"));
                assert_eq!(
                    stage.scratch.text(&format!("rollback/runs/{}/{at}.out", stage.execution)),
                    "No such image\n"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_step_is_tried_again_as_often_as_it_says() {
        for (retries, outcome) in [(2, Outcome::Completed), (1, Outcome::Failed { step: 0 })] {
            let stage = Stage::new(|scratch| {
                let mut step = leaves(scratch, "try");
                let script = "echo try >> effects; test $(wc -l < effects) -ge 3";
                step.kind = StepKind::Command(Command { argv: ["/bin/sh", "-c", script].map(String::from).to_vec() });
                vec![Step { retries, repeatable: true, ..step }]
            });
            assert_eq!(stage.execute().await.unwrap(), outcome);
            assert_eq!(stage.effects().len(), retries as usize + 1);
        }
    }

    #[tokio::test]
    async fn a_stop_takes_effect_between_steps_and_lasts() {
        let stage = Stage::new(cautious);
        request::wish_stop(&stage.scratch.0, &stage.execution).unwrap();
        request::wish_stop(&stage.scratch.0, &stage.execution).unwrap();
        assert_eq!(stage.execute().await.unwrap(), Outcome::Stopped { after: None });
        assert_eq!(stage.execute().await.unwrap(), Outcome::Stopped { after: None });

        let stage = Stage::new(|scratch| {
            let mut steps = cautious(scratch);
            let script = "echo b >> effects; for f in requests/*.json; do touch \"${f%.json}.stop\"; done";
            steps[1].kind = StepKind::Command(Command { argv: ["/bin/sh", "-c", script].map(String::from).to_vec() });
            steps
        });
        assert_eq!(stage.execute().await.unwrap(), Outcome::Stopped { after: Some(1) });
        assert_eq!(stage.effects(), ["a", "b"]);
    }

    #[tokio::test]
    async fn steps_see_the_facts_and_only_those_for_the_criterion_run() {
        let stage = Stage::new(|_| {
            let mut step = shell("facts", "echo $1 $2 $BACKSTOP_VERSION $BACKSTOP_PREVIOUS $BACKSTOP_CRITERION");
            if let StepKind::Command(command) = &mut step.kind {
                command.argv.extend(["x", "{criterion}", "{evidence}"].map(String::from));
            }
            let other = Step { only_for: vec!["latency".into()], ..shell("other", "exit 1") };
            vec![other, Step { only_for: vec!["errors".into()], ..step }]
        });
        assert_eq!(stage.execute().await.unwrap(), Outcome::Completed);
        let printed = stage.scratch.text(&format!("rollback/runs/{}/1.out", stage.execution));
        assert_eq!(printed, "errors /evidence 2.1.0 2.0.3 errors\n");
    }

    #[tokio::test]
    async fn of_two_executors_at_once_one_is_busy_and_the_run_is_seen_alive() {
        let stage = Stage::new(|scratch| {
            let mut step = leaves(scratch, "a");
            let script = "while ! test -e go; do sleep 0.01; done; echo a >> effects";
            step.kind = StepKind::Command(Command { argv: ["/bin/sh", "-c", script].map(String::from).to_vec() });
            vec![step]
        });
        let second = async {
            let busy = stage.execute().await;
            assert!(matches!(busy, Err(ExecuteError::Busy { .. })), "{busy:?}");
            assert_eq!(busy.unwrap_err().exit_code(), 3);
            assert!(stage.view().is_alive);
            stage.scratch.put("go", b"");
        };
        let (first, ()) = tokio::join!(stage.execute(), second);
        assert_eq!(first.unwrap(), Outcome::Completed);
        assert_eq!(stage.effects(), ["a"]);
        assert!(!stage.view().is_alive);
    }

    #[tokio::test]
    async fn a_step_left_running_by_a_killed_executor_is_outlived_before_it_runs_again() {
        let stage = Stage::new(|scratch| vec![Step { repeatable: true, ..leaves(scratch, "again") }]);
        let script =
            format!("cd {}; while ! test -e go; do sleep 0.01; done; echo first >> effects", stage.scratch.0.display());
        let left = shell("left", &script).act(&Facts::default(), stage.scratch.at("left.out"));
        let Act::Run(program) = left else { panic!("a command is run") };
        let child = Child::start(&program).unwrap();
        // The journal as the killed executor left it.
        stage.crash_at(4).await.unwrap_err();
        let (mut journal, _) =
            Writer::open(&Folders::new(&stage.scratch.0).journal(&stage.execution), 0o640, MAX_JOURNAL).unwrap();
        let event = Event::StepSpawned { index: 0, process: child.identity(), boot: process::boot_id().unwrap() };
        journal.append(&Record::new(Timestamp(2), event).encode()).unwrap();
        let release = async {
            while !stage.view().is_alive
                || !matches!(stage.view().records.last().unwrap().event, Event::RunContinued { .. })
            {
                pause(Span::millis(5)).await;
            }
            stage.scratch.put("go", b"");
            child.finish().await
        };
        let (outcome, ended) = tokio::join!(stage.execute(), release);
        assert_eq!((outcome.unwrap(), ended.exit), (Outcome::Completed, Exit::Code(0)));
        assert_eq!(stage.effects(), ["first", "again"]);
    }

    #[tokio::test]
    async fn a_program_that_is_missing_fails_its_step() {
        let stage = Stage::new(|_| {
            let argv = vec!["/nowhere/program".to_string()];
            vec![Step { kind: StepKind::Command(Command { argv }), ..shell("missing", "") }]
        });
        assert_eq!(stage.execute().await.unwrap(), Outcome::Failed { step: 0 });
        let StepState::Failed { exit: Exit::NotStarted(why), .. } = &stage.view().state.steps[&0] else { panic!() };
        assert!(why.contains("/nowhere/program"), "{why}");
    }

    /// Replaces the request by `change`d JSON.
    fn forge(stage: &Stage, change: impl FnOnce(&mut serde_json::Value)) {
        let mut json = serde_json::to_value(stage.request()).unwrap();
        change(&mut json);
        stage.scratch.put(&stage.request_name(), json.to_string().as_bytes());
    }

    async fn refused(stage: &Stage, message: &str) {
        let Outcome::Refused { why } = stage.execute().await.unwrap() else { panic!("not refused: {message}") };
        assert!(why.contains(message), "`{message}` is not in `{why}`");
        assert_eq!(stage.effects(), Vec::<String>::new());
        assert_eq!(stage.view().state.outcome, Some(Outcome::Refused { why }), "the agent can read why");
    }

    #[tokio::test]
    async fn a_hostile_request_is_refused_with_its_reason() {
        for (what, message) in [
            ("symlink", "is a symbolic link"),
            ("fifo", "is a FIFO"),
            ("folder", "is a folder"),
            ("sparse", "has more than 65536 bytes"),
        ] {
            let stage = Stage::new(cautious);
            std::fs::remove_file(stage.scratch.at(&stage.request_name())).unwrap();
            stage.scratch.put_hostile(&stage.request_name(), what);
            refused(&stage, message).await;
        }
        let rows: [(&str, serde_json::Value, &str); 10] = [
            ("format", 2.into(), "it has format 2, and this version of backstop reads up to 1"),
            ("format", serde_json::Value::Null, "it has no format number"),
            ("plan", "../../etc/passwd".into(), "64 characters"),
            ("plan", "0".repeat(64).into(), "No such file"),
            ("rung", "nowhere".into(), "the plan has no rung `nowhere`"),
            ("criterion", "--force".into(), "no name of a rule"),
            ("evidence", "-rf".into(), "no whole path"),
            ("reason", "a\u{1b}[2J".into(), "control characters"),
            ("execution", format!("{}-1", "0".repeat(26)).into(), "another execution"),
            ("command", "rm -rf /".into(), "unknown field"),
        ];
        for (key, value, message) in rows {
            let stage = Stage::new(cautious);
            forge(&stage, |json| json[key] = value);
            refused(&stage, message).await;
        }
        let stage = Stage::new(cautious);
        stage.scratch.put(&stage.request_name(), b"{\"format\":1");
        refused(&stage, "it is no JSON").await;
        let deep = "[".repeat(50_000);
        stage.scratch.put(&stage.request_name(), deep.as_bytes());
        std::fs::remove_dir_all(stage.scratch.at(&format!("rollback/runs/{}", stage.execution))).unwrap();
        refused(&stage, "it is no JSON").await;
    }

    #[tokio::test]
    async fn a_plan_that_is_not_what_was_sealed_is_refused() {
        let plan_name = |stage: &Stage| format!("rollback/plans/{}.json", stage.plan);
        for (what, message) in
            [("symlink", "symbolic link"), ("fifo", "a FIFO"), ("folder", "a folder"), ("sparse", "more than")]
        {
            let stage = Stage::new(cautious);
            std::fs::remove_file(stage.scratch.at(&plan_name(&stage))).unwrap();
            stage.scratch.put_hostile(&plan_name(&stage), what);
            refused(&stage, message).await;
        }
        let stage = Stage::new(cautious);
        let changed = stage.scratch.text(&plan_name(&stage)).replace("2.0.3", "1.0.0");
        stage.scratch.put(&plan_name(&stage), changed.as_bytes());
        refused(&stage, "was changed after it was sealed").await;

        let newer = Plan { format: 2, ..sealed(vec![]) };
        let stage = Stage::new(cautious);
        let hash = plan::seal(&Folders::new(&stage.scratch.0).plans(), &newer).unwrap();
        forge(&stage, |json| json["plan"] = hash.to_string().into());
        refused(&stage, "it has format 2").await;

        use std::os::unix::fs::PermissionsExt;
        let stage = Stage::new(cautious);
        let open = std::fs::Permissions::from_mode(0o666);
        std::fs::set_permissions(stage.scratch.at(&plan_name(&stage)), open).unwrap();
        refused(&stage, "lets others write").await;
    }

    #[tokio::test]
    async fn names_that_are_none_and_requests_that_do_not_exist_leave_nothing_behind() {
        let stage = Stage::new(cautious);
        for name in [
            "",
            "../x",
            "../../etc/passwd-0",
            "01k8nz6vqc0000000000000000",
            "01K8NZ6VQC0000000000000000-0",
            "01k8nz6vqc0000000000000000-00",
            "01k8nz6vqc0000000000000000-+1",
        ] {
            let error = execute(&stage.scratch.0, name, &stage.clock).await.unwrap_err();
            assert!(matches!(error, ExecuteError::Name(_)) && error.exit_code() == 2, "{name}: {error}");
            assert!(read_run(&stage.scratch.0, name).is_err());
        }
        let error = execute(&stage.scratch.0, "01k8nz6vqc0000000000000000-7", &stage.clock).await.unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert_eq!(std::fs::read_dir(stage.scratch.at("rollback/runs")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_damaged_or_impossible_journal_stops_everything() {
        let stage = Stage::new(cautious);
        stage.crash_at(9).await.unwrap_err();
        let journal = stage.scratch.text(&stage.journal_name());
        let effects = stage.effects();
        stage.scratch.put(&stage.journal_name(), journal.replacen("step_started", "step_starved", 1).as_bytes());
        assert!(matches!(stage.execute().await, Err(ExecuteError::Journal(RecordsError::Damaged { line: 2, .. }))));
        let first = journal.lines().next().unwrap();
        stage.scratch.put(&stage.journal_name(), format!("{first}\n{first}\n").as_bytes());
        let error = stage.execute().await.unwrap_err();
        assert!(matches!(&error, ExecuteError::History(e) if e.number == 2), "{error}");
        let newer = r#"{"format":2,"at":0,"event":{"moon_landed":{}}}"#;
        let newer = format!("{:08x} {newer}\n", crc32fast::hash(newer.as_bytes()));
        stage.scratch.put(&stage.journal_name(), newer.as_bytes());
        assert!(matches!(
            stage.execute().await,
            Err(ExecuteError::Record { source: FormatError::Newer { found: 2 }, .. })
        ));
        assert_eq!(stage.effects(), effects);
    }
}
