//! Programs that are asked: run to their end, the two outputs apart, everything they started ended with them.
//!
//! Enters: a [`Question`]. Leaves: an [`Answer`], or why there is none ([`NoAnswer`]). The difference to
//! [`process::run`](super::process::run), which starts services and leaves them running: here nothing of the group
//! outlives the answer. A program that is over its time is ended with its group: SIGTERM, two seconds, SIGKILL. A
//! child that stays behind and holds the output is killed when the program itself ends; so is all of the group when
//! the future is dropped. Of its outputs a bounded part is kept and the rest is read and thrown away, so that no
//! program waits for us; one that floods is ended.
//!
//! The kernel may hang in three places, and nothing else may hang with it. A program or a folder on a mount whose server
//! is gone: it is looked for and begun on a thread of its own, and if that comes back late, the group is ended at once. A
//! program that cannot be killed: it is kept in its [`Asker`]. As long as one of the two is out, no other is begun.
//!
//! What leaves the group on purpose (`setsid`, a daemon) is not followed: it loses its output and lives on.

#![expect(clippy::disallowed_methods, reason = "this is a room that starts processes")]

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::{Pid, Signal};
use tokio::net::unix::pipe;
use tokio::signal::unix::SignalKind;
use tokio::sync::oneshot;

use super::apart::{Apart, Late};
use super::clock::{Stopwatch, pause};
use super::process::{self, Exit, GRACE, PATH, drain, has_ended, read_next, signal};
use super::users::Account;
use crate::base::secret::ExposeSecret;
use crate::base::{Secret, Span};

/// How much of the end of standard error is kept, in bytes.
pub const TAIL: usize = 4096;

/// How much more than is kept a program may print before it is ended, in bytes.
pub const FLOOD: u64 = 16 << 20;

/// How long a program that was killed may take to be gone. One that hangs in the kernel stays behind.
const GONE: Span = Span::millis(500);

/// What to run, and within which bounds.
#[derive(Clone, Debug)]
pub struct Question {
    /// The program: an absolute path, or a name that is looked for in [`PATH`].
    pub program: PathBuf,
    /// Its arguments; no shell is between.
    pub args: Vec<String>,
    /// The environment beside [`PATH`] and `LANG=C.UTF-8`, which it may override.
    pub env: Vec<(String, Secret)>,
    /// The working folder.
    pub dir: PathBuf,
    /// As whom it runs; the user of this process where none is given. Takes root. Only the user's first group comes along.
    pub user: Option<Account>,
    /// After this its group is ended; the time that it takes to begin counts.
    pub timeout: Span,
    /// How many bytes of standard output are kept.
    pub max_output: usize,
}

impl Question {
    /// A question with nothing in the environment, in `/`, as the user of this process.
    pub fn new(program: PathBuf, args: Vec<String>, timeout: Span, max_output: usize) -> Question {
        Question { program, args, env: Vec::new(), dir: "/".into(), user: None, timeout, max_output }
    }
}

/// What a program answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How it ended.
    pub exit: Exit,
    /// The beginning of standard output, at most `max_output` bytes.
    pub stdout: Vec<u8>,
    /// How many bytes came on standard output.
    pub bytes: u64,
    /// The end of standard error, at most [`TAIL`] bytes.
    pub stderr: Vec<u8>,
    /// Whether the beginning of standard error was cut off.
    pub is_stderr_cut: bool,
    /// Whether it was ended because it printed without end.
    pub is_flood: bool,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub enum NoAnswer<E> {
    /// The program of before has not begun yet, or cannot be ended; none was begun.
    Busy,
    /// It had not begun within the timeout. If it does later, it is ended at once.
    Late,
    /// The system has no thread for it, for this reason.
    NoThread(String),
    /// It could not be begun.
    NotStarted(E),
}

/// The place of one target's program.
#[derive(Debug, Default)]
pub struct Asker {
    starting: Apart<()>,
    running: Option<Box<Running>>,
}

impl Asker {
    /// Whether the program of before is still there: its start hangs, or it was killed and is not gone. Takes at most
    /// half a second.
    pub async fn is_busy(&mut self) -> bool {
        if let Some(running) = &mut self.running {
            running.end();
            if tokio::time::timeout(GONE.to_std(), running.child.wait()).await.is_err() {
                return true;
            }
            self.running = None;
        }
        self.starting.is_busy()
    }

    /// Runs a program to its end. Dropping the future ends it. Why it could not be begun is told by `explain`, which may
    /// look at files: it runs apart as well.
    ///
    /// # Errors
    /// See [`NoAnswer`].
    pub async fn ask<E: Send + 'static>(
        &mut self,
        question: &Question,
        explain: impl FnOnce(&Question, io::Error) -> E + Send + 'static,
    ) -> Result<Answer, NoAnswer<E>> {
        let watch = Stopwatch::start();
        let asked = question.clone();
        let start = move || Running::start(&asked).map_err(|error| explain(&asked, error));
        let running = self.begin(question.timeout, start).await?;
        let timeout = question.timeout - watch.elapsed();
        let held = Held(self.running.insert(Box::new(running)));
        let (answer, is_gone) = held.0.finish(&Question { timeout, ..question.clone() }).await;
        drop(held);
        if is_gone {
            self.running = None;
        }
        Ok(answer)
    }

    /// Keeps a program that was killed and is not gone.
    pub(super) fn keep(&mut self, running: Running) {
        self.running = Some(Box::new(running));
    }

    /// Starts a program apart, once the one of before is gone.
    pub(super) async fn begin<E: Send + 'static>(
        &mut self,
        limit: Span,
        start: impl FnOnce() -> Result<Running, E> + Send + 'static,
    ) -> Result<Running, NoAnswer<E>> {
        if self.is_busy().await {
            return Err(NoAnswer::Busy);
        }
        let (begun, receiver) = oneshot::channel();
        let runtime = tokio::runtime::Handle::current();
        let work = move |_: &mut ()| {
            let _entered = runtime.enter();
            // Where nobody waits any more what was sent is dropped, here or with the receiver, and the program ends.
            drop(begun.send(start()));
        };
        let lost = |_| NoAnswer::Late;
        match self.starting.run("ask", limit, work).await {
            Ok(()) => receiver.await.map_err(lost)?.map_err(NoAnswer::NotStarted),
            Err(Late::StillBusy) => Err(NoAnswer::Busy),
            Err(Late::NoThread(why)) => Err(NoAnswer::NoThread(why)),
            Err(Late::Lost) => Err(NoAnswer::NoThread("the start before this one panicked".into())),
            Err(Late::TimedOut(_)) => Err(NoAnswer::Late),
        }
    }
}

/// Ends the program when the future that waits for it is dropped.
struct Held<'a>(&'a mut Running);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A running program and its group.
#[derive(Debug)]
pub(super) struct Running {
    child: tokio::process::Child,
    group: Pid,
    stdout: Output,
    stderr: Output,
    is_over: bool,
}

/// One of the two outputs while it is read.
#[derive(Debug)]
struct Output {
    pipe: pipe::Receiver,
    kept: Vec<u8>,
    bytes: u64,
    is_open: bool,
}

/// Why reading ends.
enum Until {
    Gone,
    Timeout,
    Flood,
}

impl Running {
    /// Blocks until the program runs, which is for ever where the kernel hangs.
    pub(super) fn start(question: &Question) -> io::Result<Running> {
        let program = process::find(&question.program.to_string_lossy()).ok_or(io::ErrorKind::NotFound)?;
        let (out, err) = (io::pipe()?, io::pipe()?);
        let (stdout, stderr) = (Output::new(out.0)?, Output::new(err.0)?);
        let mut command = tokio::process::Command::new(&program);
        command
            .args(&question.args)
            .env_clear()
            .env("PATH", PATH)
            .env("LANG", "C.UTF-8")
            .envs(question.env.iter().map(|(name, value)| (name, value.expose_secret())))
            .current_dir(&question.dir)
            .stdin(Stdio::null())
            .stdout(out.1)
            .stderr(err.1)
            .process_group(0);
        if let Some(user) = question.user.as_ref().filter(|user| user.uid != rustix::process::geteuid().as_raw()) {
            // Together with the user id this also leaves all further groups of root behind.
            command.uid(user.uid).gid(user.gid);
        }
        let child = command.spawn()?;
        // The command holds this side's copies of the pipes' writing ends; with them the end would never come.
        drop(command);
        let id = child.id().expect("a child that was never waited for has an id");
        let group = i32::try_from(id).ok().and_then(Pid::from_raw).expect("the system gives positive ids");
        Ok(Running { child, group, stdout, stderr, is_over: false })
    }

    /// Waits until something was printed, and appends it to `out` and `err`, at most `most` bytes to each; or until the
    /// program has ended, and then appends all that is left. False at the end. Dropping the future loses nothing.
    pub(super) async fn hear(&mut self, out: &mut Vec<u8>, err: &mut Vec<u8>, most: usize) -> bool {
        let before = (out.len(), err.len());
        loop {
            let (open_out, open_err) = (self.stdout.is_open, self.stderr.is_open);
            if open_out {
                self.stdout.is_open = take(&self.stdout.pipe, out, before.0 + most);
            }
            if open_err {
                self.stderr.is_open = take(&self.stderr.pipe, err, before.1 + most);
            }
            if (out.len(), err.len()) != before {
                return true;
            }
            let (open_out, open_err) = (self.stdout.is_open, self.stderr.is_open);
            tokio::select! {
                biased;
                // That it cannot be waited for is seen by the next try to read it.
                _ = self.stdout.pipe.readable(), if open_out => {}
                _ = self.stderr.pipe.readable(), if open_err => {}
                () = gone(self.group) => {
                    drain(&self.stdout.pipe, |bytes| out.extend_from_slice(bytes));
                    drain(&self.stderr.pipe, |bytes| err.extend_from_slice(bytes));
                    return false;
                }
            }
        }
    }

    /// The end of a program whose outputs are of no more interest: ends its group, and says how it ended; none where it
    /// was killed and is not gone after half a second.
    pub(super) async fn close(&mut self) -> Option<Exit> {
        self.end();
        tokio::time::timeout(GONE.to_std(), self.child.wait()).await.ok().map(Exit::of)
    }

    /// The answer, and whether the program is gone: one that hangs in the kernel is not, although it was killed.
    async fn finish(&mut self, question: &Question) -> (Answer, bool) {
        let until = self.read(question).await;
        let is_flood = matches!(until, Until::Flood);
        let exit = match until {
            Until::Gone => None,
            Until::Flood => Some(Exit::Signal(Signal::KILL.as_raw())),
            Until::Timeout => {
                signal(self.group, Signal::TERM);
                drop(tokio::time::timeout(GRACE.to_std(), gone(self.group)).await);
                Some(Exit::Timeout)
            }
        };
        // What is printed so far is the answer; the group ends before its leader is waited for, so that the number
        // of the group cannot have passed to somebody else.
        self.drain(question.max_output);
        self.end();
        let status = tokio::time::timeout(GONE.to_std(), self.child.wait()).await;
        let is_gone = status.is_ok();
        let exit = exit.unwrap_or_else(|| match status {
            Ok(status) => Exit::of(status),
            Err(_) => Exit::Timeout,
        });
        let answer = Answer {
            exit,
            is_flood,
            is_stderr_cut: self.stderr.bytes > self.stderr.kept.len() as u64,
            stdout: std::mem::take(&mut self.stdout.kept),
            bytes: self.stdout.bytes,
            stderr: std::mem::take(&mut self.stderr.kept),
        };
        (answer, is_gone)
    }

    /// Kills the group, once: later its number may be somebody else's.
    pub(super) fn end(&mut self) {
        if !std::mem::replace(&mut self.is_over, true) {
            signal(self.group, Signal::KILL);
        }
    }

    async fn read(&mut self, question: &Question) -> Until {
        let deadline = tokio::time::sleep(question.timeout.to_std());
        let gone = gone(self.group);
        tokio::pin!(deadline, gone);
        let (out, err) = (&mut self.stdout, &mut self.stderr);
        loop {
            let (open_out, open_err) = (out.is_open, err.is_open);
            tokio::select! {
                biased;
                () = &mut gone => return Until::Gone,
                () = &mut deadline => return Until::Timeout,
                () = out.take_head(question.max_output), if open_out => {}
                () = err.take_tail(), if open_err => {}
            }
            if out.bytes.max(err.bytes) > question.max_output as u64 + FLOOD {
                return Until::Flood;
            }
        }
    }

    fn drain(&mut self, max: usize) {
        let Running { stdout, stderr, .. } = self;
        drain(&stdout.pipe, |bytes| keep_head(&mut stdout.kept, &mut stdout.bytes, bytes, max));
        drain(&stderr.pipe, |bytes| keep_tail(&mut stderr.kept, &mut stderr.bytes, bytes));
    }
}

/// A question that nobody waits for any more.
impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

impl Output {
    fn new(reader: io::PipeReader) -> io::Result<Output> {
        let pipe = pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?;
        Ok(Output { pipe, kept: Vec::new(), bytes: 0, is_open: true })
    }

    async fn take_head(&mut self, max: usize) {
        let (kept, seen) = (&mut self.kept, &mut self.bytes);
        self.is_open = read_next(&self.pipe, |bytes| keep_head(kept, seen, bytes, max)).await;
    }

    async fn take_tail(&mut self) {
        let (kept, seen) = (&mut self.kept, &mut self.bytes);
        self.is_open = read_next(&self.pipe, |bytes| keep_tail(kept, seen, bytes)).await;
    }
}

/// Takes what is in a pipe until `buffer` has `most` bytes; false at its end.
fn take(pipe: &pipe::Receiver, buffer: &mut Vec<u8>, most: usize) -> bool {
    while buffer.len() < most {
        let mut chunk = [0; 16384];
        let room = (most - buffer.len()).min(chunk.len());
        match pipe.try_read(&mut chunk[..room]) {
            Ok(0) => return false,
            Ok(n) => buffer.extend_from_slice(&chunk[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
    true
}

fn keep_head(kept: &mut Vec<u8>, seen: &mut u64, bytes: &[u8], max: usize) {
    *seen += bytes.len() as u64;
    let room = max.saturating_sub(kept.len()).min(bytes.len());
    kept.extend_from_slice(&bytes[..room]);
}

fn keep_tail(kept: &mut Vec<u8>, seen: &mut u64, bytes: &[u8]) {
    *seen += bytes.len() as u64;
    kept.extend_from_slice(bytes);
    let extra = kept.len().saturating_sub(TAIL);
    kept.drain(..extra);
}

/// Waits until a child has ended, without taking it out of the table of processes.
async fn gone(child: Pid) {
    const LOOK: Span = Span::millis(20);
    // The kernel says that some child has ended; listened for before the first look, so that none is missed.
    let mut ended = tokio::signal::unix::signal(SignalKind::child()).ok();
    while !has_ended(child) {
        match &mut ended {
            Some(ended) => drop(ended.recv().await),
            None => pause(LOOK).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::clock::Stopwatch;
    use super::super::files::testing::Scratch;
    use super::*;

    fn shell(script: &str) -> Question {
        Question::new("/bin/sh".into(), ["-c", script].map(String::from).to_vec(), Span::secs(30), 1000)
    }

    async fn ask(question: &Question) -> Result<Answer, NoAnswer<io::ErrorKind>> {
        Asker::default().ask(question, |_, error| error.kind()).await
    }

    async fn asked(script: &str) -> Answer {
        ask(&shell(script)).await.unwrap()
    }

    /// Waits until none of the processes is there any more, not even as a zombie of ours.
    async fn all_gone(pids: &str) {
        for pid in pids.lines() {
            let watch = Stopwatch::start();
            while is_running(pid) {
                assert!(watch.elapsed() < Span::secs(5), "{pid} lives");
                pause(Span::millis(10)).await;
            }
        }
    }

    /// Killed is not yet gone: whoever adopted it still has to take it out of the table.
    fn is_running(pid: &str) -> bool {
        let mut text = Vec::new();
        let read = super::super::read::into(Path::new(&format!("/proc/{pid}/stat")), &mut text, 4096);
        let text = String::from_utf8_lossy(&text);
        read.is_ok() && !text.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z') && !is_ours(rest))
    }

    /// Whether this process is the parent in what follows the name in `/proc/PID/stat`.
    fn is_ours(rest: &str) -> bool {
        rest.split(' ').nth(1).and_then(|pid| pid.parse().ok()) == Some(std::process::id())
    }

    async fn written(scratch: &Scratch, name: &str, lines: usize) -> String {
        let watch = Stopwatch::start();
        loop {
            if scratch.at(name).exists() && scratch.text(name).lines().count() == lines {
                return scratch.text(name);
            }
            assert!(watch.elapsed() < Span::secs(10), "{name} has not {lines} lines");
            pause(Span::millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_program_answers_on_two_outputs_and_says_how_it_ended() {
        for (script, exit) in [("true", Exit::Code(0)), ("exit 7", Exit::Code(7)), ("kill -9 $$", Exit::Signal(9))] {
            assert_eq!(asked(script).await.exit, exit, "{script}");
        }
        let answer = asked("echo out; echo err >&2; cat").await;
        assert_eq!((&*answer.stdout, &*answer.stderr, answer.bytes), (&b"out\n"[..], &b"err\n"[..], 4));
        let closed = asked("exec 1>&- 2>&-; exit 3").await;
        assert_eq!((closed.exit, closed.bytes), (Exit::Code(3), 0));
    }

    #[tokio::test]
    async fn the_environment_is_clean_and_never_printed() {
        let mut question = shell("env | sort; pwd");
        question.env = vec![("GIVEN".into(), Secret::from("a b".to_string()))];
        question.dir = "/usr".into();
        let answer = ask(&question).await.unwrap();
        let wanted = format!("GIVEN=a b\nLANG=C.UTF-8\nPATH={PATH}\nPWD=/usr\n/usr\n");
        assert_eq!(String::from_utf8_lossy(&answer.stdout), wanted);
        assert!(!format!("{question:?}").contains("a b"));
    }

    #[tokio::test]
    async fn what_cannot_be_started_says_why() {
        let no = |program: &str| Question::new(program.into(), Vec::new(), Span::secs(5), 10);
        for (question, kind) in [
            (no("/nowhere/program"), io::ErrorKind::NotFound),
            (no("/etc/passwd"), io::ErrorKind::PermissionDenied),
            (Question { dir: "/nowhere".into(), ..no("/bin/true") }, io::ErrorKind::NotFound),
        ] {
            assert_eq!(ask(&question).await, Err(NoAnswer::NotStarted(kind)), "{question:?}");
        }
    }

    #[tokio::test]
    async fn a_long_output_is_read_to_its_end_and_kept_in_part() {
        let answer = asked("head -c 3000000 /dev/zero | tr '\\0' x; head -c 9000 /dev/zero >&2; echo end >&2").await;
        assert_eq!((answer.exit, answer.bytes, answer.stdout.len()), (Exit::Code(0), 3_000_000, 1000));
        assert_eq!((answer.stderr.len(), answer.is_stderr_cut), (TAIL, true));
        assert!(answer.stderr.ends_with(b"end\n"));
    }

    #[tokio::test]
    async fn a_flood_ends_the_program_long_before_its_time() {
        for script in ["cat /dev/zero", "cat /dev/zero >&2"] {
            let watch = Stopwatch::start();
            let answer = asked(script).await;
            assert_eq!((answer.exit, answer.is_flood), (Exit::Signal(9), true), "{script}");
            assert!(watch.elapsed() < Span::secs(20), "{script}");
        }
    }

    #[tokio::test]
    async fn over_its_time_the_whole_group_is_gone_even_if_it_ignores_the_first_signal() {
        let scratch = Scratch::new("ask-group");
        let script = format!(
            "trap '' TERM; (trap '' TERM; echo $$; sh -c 'echo $PPID; echo $$; while :; do sleep 1; done') > {} & wait",
            scratch.at("pids").display()
        );
        let watch = Stopwatch::start();
        let answer = ask(&Question { timeout: Span::millis(300), ..shell(&script) }).await.unwrap();
        assert_eq!(answer.exit, Exit::Timeout);
        assert!(watch.elapsed() >= GRACE && watch.elapsed() < Span::millis(3300), "{}", watch.elapsed());
        let pids = scratch.text("pids");
        assert_eq!(pids.lines().count(), 3);
        all_gone(&pids).await;
    }

    #[tokio::test]
    async fn one_that_heeds_the_first_signal_is_not_waited_for_longer() {
        let watch = Stopwatch::start();
        let answer = ask(&Question { timeout: Span::millis(100), ..shell("echo begun; sleep 60") }).await.unwrap();
        assert_eq!((answer.exit, &*answer.stdout), (Exit::Timeout, &b"begun\n"[..]));
        assert!(watch.elapsed() < GRACE, "{}", watch.elapsed());
    }

    #[tokio::test]
    async fn a_background_child_that_holds_the_output_is_ended_with_the_look() {
        let scratch = Scratch::new("ask-background");
        let script = format!("sleep 60 & echo $! > {}; echo done", scratch.at("pid").display());
        let watch = Stopwatch::start();
        let answer = asked(&script).await;
        assert_eq!((answer.exit, &*answer.stdout), (Exit::Code(0), &b"done\n"[..]));
        assert!(watch.elapsed() < Span::secs(10));
        all_gone(&scratch.text("pid")).await;
    }

    #[tokio::test]
    async fn dropping_the_question_ends_the_group() {
        let scratch = Scratch::new("ask-drop");
        let path = scratch.at("pids");
        let script = format!("echo $$ > {0}; sh -c 'echo $$; sleep 60' >> {0} & wait", path.display());
        let question = shell(&script);
        let pids = tokio::select! {
            answer = ask(&question) => panic!("it cannot end by itself: {answer:?}"),
            pids = written(&scratch, "pids", 2) => pids,
        };
        all_gone(&pids).await;
    }

    #[tokio::test]
    async fn another_user_needs_root_and_leaves_the_groups_of_root_behind() {
        let user = Account { uid: 65_534, gid: 65_534, home: "/".into() };
        let asked = ask(&Question { user: Some(user), ..shell("id -u; id -g; id -G") }).await;
        match rustix::process::geteuid().is_root() {
            true => assert_eq!(String::from_utf8_lossy(&asked.unwrap().stdout), "65534\n65534\n65534\n"),
            false => assert_eq!(asked, Err(NoAnswer::NotStarted(io::ErrorKind::PermissionDenied))),
        }
    }

    #[tokio::test]
    async fn a_start_that_hangs_blocks_nothing_and_what_it_starts_late_is_ended() {
        let scratch = Scratch::new("ask-late");
        let question = shell(&format!("echo $$ > {}; exec sleep 60", scratch.at("pid").display()));
        let (go, held) = std::sync::mpsc::channel::<()>();
        let (done, late) = oneshot::channel();
        let path = scratch.at("pid");
        let hanging = move || {
            assert!(held.recv().is_err(), "it hangs until it is let go");
            let running = Running::start(&question);
            // Let it run, so that there is something to end.
            let is_written = || std::fs::read_to_string(&path).is_ok_and(|text| text.ends_with('\n'));
            while running.is_ok() && !is_written() {
                std::thread::yield_now();
            }
            assert!(done.send(()).is_ok());
            running
        };
        let mut asker = Asker::default();
        assert!(matches!(asker.begin(Span::millis(100), hanging).await, Err(NoAnswer::Late)));
        for _ in 0..3 {
            assert_eq!(asker.ask(&shell("true"), |_, error| error.kind()).await, Err(NoAnswer::Busy));
        }
        drop(go);
        late.await.unwrap();
        all_gone(&scratch.text("pid")).await;
        let watch = Stopwatch::start();
        while asker.is_busy().await {
            assert!(watch.elapsed() < Span::secs(5));
            pause(Span::millis(5)).await;
        }
        assert_eq!(asker.ask(&shell("true"), |_, error| error.kind()).await.unwrap().exit, Exit::Code(0));
    }

    #[tokio::test]
    async fn one_that_cannot_be_killed_is_kept_and_no_second_is_begun_beside_it() {
        // Only the kernel makes a process that outlives SIGKILL. One that has left its group is not hit by the signal,
        // which is the same for who waits for it.
        let scratch = Scratch::new("ask-stuck");
        let script = format!(
            "setpgrp(0, getpgrp(getppid())) or exit 1; print \"left\\n\"; \
             select(undef, undef, undef, 0.02) until -e '{}';",
            scratch.at("go").display()
        );
        let mut stuck =
            Question::new("perl".into(), vec!["-e".into(), format!("$| = 1; {script}")], Span::millis(500), 100);
        let mut asker = Asker::default();
        let answer = asker.ask(&stuck, |_, error| error.kind()).await.unwrap();
        assert_eq!((answer.exit, &*answer.stdout), (Exit::Timeout, &b"left\n"[..]));
        stuck.timeout = Span::secs(30);
        for _ in 0..2 {
            assert_eq!(asker.ask(&stuck, |_, error| error.kind()).await, Err(NoAnswer::Busy));
        }
        std::fs::write(scratch.at("go"), "").unwrap();
        let watch = Stopwatch::start();
        while asker.is_busy().await {
            assert!(watch.elapsed() < Span::secs(10));
        }
        assert_eq!(asker.ask(&stuck, |_, error| error.kind()).await.unwrap().exit, Exit::Code(0));
    }
}
