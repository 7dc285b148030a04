//! Child processes: own group, clean environment, capped output, deadline.
//!
//! Enters: a [`Program`]. Leaves: how it ended, how long it took, the first and the last of what it printed.
//! A program that is over its time is ended with everything in its group: SIGTERM, two seconds, SIGKILL. What a
//! program leaves in the background when it ends by itself is left alone (that is how services are started);
//! what it prints from then on goes nowhere. Dropping a running [`Child`] kills its group.

#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "this is the room that starts processes")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};
use tokio::net::unix::pipe;

use super::clock::{Stopwatch, pause};
use super::files::{self, FileError};
use crate::base::Span;

/// Where programs are looked for when the caller says nothing else.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long a group has between SIGTERM and SIGKILL.
pub const GRACE: Span = Span::secs(2);

/// How much of the end of the output is kept beside its beginning, in bytes.
const TAIL: usize = 4096;

/// What to run, and within which bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// Program and arguments; no shell is between.
    pub argv: Vec<String>,
    /// The whole environment, but for [`PATH`] and `LANG=C.UTF-8`, which it may override.
    pub env: BTreeMap<String, String>,
    /// Working folder; `/` where none is given.
    pub dir: Option<PathBuf>,
    /// After this its group is ended.
    pub timeout: Span,
    /// How many bytes of output are kept from its beginning; the last 4 KiB are kept as well.
    pub max_output: usize,
    /// A file that gets the kept output while it is printed; earlier content is replaced.
    pub output: Option<PathBuf>,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It was over its time, and its group was ended.
    Timeout,
    /// It never ran, for this reason.
    NotStarted(String),
}

impl Exit {
    /// Whether it did what it should.
    pub fn is_success(&self) -> bool {
        *self == Exit::Code(0)
    }

    pub(super) fn of(status: io::Result<ExitStatus>) -> Exit {
        match status {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => Exit::Code(code),
                (None, Some(signal)) => Exit::Signal(signal),
                (None, None) => Exit::NotStarted("the system gave no exit status".into()),
            },
            Err(error) => Exit::NotStarted(format!("cannot wait for it: {error}")),
        }
    }
}

/// As a sentence goes on: `exit 1`, `signal 9`, `over its time`.
impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit {code}"),
            Exit::Signal(signal) => write!(f, "ended by signal {signal}"),
            Exit::Timeout => f.write_str("over its time"),
            Exit::NotStarted(why) => write!(f, "not started: {why}"),
        }
    }
}

/// What a program printed on both of its outputs, in the order it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// The beginning, at most `max_output` bytes.
    pub head: Vec<u8>,
    /// The end, at most 4 KiB; overlaps with the beginning where nothing was cut.
    pub tail: Vec<u8>,
    /// How many bytes were printed.
    pub bytes: u64,
}

/// The end of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub exit: Exit,
    /// After how long.
    pub took: Span,
    /// What it printed.
    pub output: Output,
}

/// Which process something is, beyond the reuse of its number: the id and when it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The process id, also that of its group.
    pub pid: u32,
    /// Its start in clock ticks after boot, from `/proc`.
    pub started: u64,
}

/// Runs a program to its end.
pub async fn run(program: &Program) -> Ended {
    match Child::start(program) {
        Ok(child) => child.finish().await,
        Err(error) => Ended::not_started(&error),
    }
}

impl Ended {
    /// The end of a program that never began.
    pub fn not_started(error: &FileError) -> Ended {
        Ended { exit: Exit::NotStarted(reason(error)), took: Span::ZERO, output: Output::default() }
    }
}

/// The whole chain of an error in one line.
fn reason(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", reason(source)),
        None => error.to_string(),
    }
}

/// A running program and its group.
#[derive(Debug)]
pub struct Child {
    child: tokio::process::Child,
    group: Pid,
    identity: Identity,
    timeout: Span,
    watch: Stopwatch,
    pipe: pipe::Receiver,
    capture: Capture,
    ended: bool,
}

impl Child {
    /// Starts a program.
    ///
    /// # Errors
    /// When there is no such program, it may not be run, or its output file cannot be made.
    pub fn start(program: &Program) -> Result<Child, FileError> {
        let name = program.argv.first().map(String::as_str).unwrap_or_default();
        let capture = Capture::new(program)?;
        let failed = FileError::io("start", Path::new(name));
        Child::spawn(program, name, capture).map_err(failed)
    }

    fn spawn(program: &Program, name: &str, capture: Capture) -> io::Result<Child> {
        let (reader, writer) = io::pipe()?;
        let mut command = tokio::process::Command::new(name);
        command
            .args(program.argv.iter().skip(1))
            .env_clear()
            .env("PATH", PATH)
            .env("LANG", "C.UTF-8")
            .envs(&program.env)
            .current_dir(program.dir.as_deref().unwrap_or(Path::new("/")))
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .process_group(0);
        let child = command.spawn()?;
        // The command holds this side's copies of the pipe's writing end; with them the end would never come.
        drop(command);
        let pid = child.id().expect("a child that was never waited for has an id");
        let group = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("the system gives positive ids");
        let identity = Identity { pid, started: started(pid).unwrap_or_default() };
        let pipe = pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?;
        let watch = Stopwatch::start();
        Ok(Child { child, group, identity, timeout: program.timeout, watch, pipe, capture, ended: false })
    }

    /// Which process this is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Reads what it prints until it ends or is ended.
    pub async fn finish(mut self) -> Ended {
        let deadline = tokio::time::sleep(self.timeout.to_std());
        tokio::pin!(deadline);
        let mut open = true;
        let exit = loop {
            tokio::select! {
                biased;
                status = self.child.wait() => break Exit::of(status),
                () = &mut deadline => break self.end_group().await,
                more = read_some(&self.pipe, &mut self.capture), if open => open = more,
            }
        };
        self.ended = true;
        if open {
            self.drain();
        }
        let took = self.watch.elapsed();
        Ended { exit, took, output: self.capture.finish() }
    }

    /// Ends everything in the group. The leader is not reaped before the last signal, so that the number of
    /// its group cannot have passed to somebody else.
    async fn end_group(&mut self) -> Exit {
        const LOOK: Span = Span::millis(20);
        signal(self.group, Signal::TERM);
        let watch = Stopwatch::start();
        while watch.elapsed() < GRACE && !self.leader_is_gone() {
            pause(LOOK).await;
        }
        signal(self.group, Signal::KILL);
        if let Err(error) = self.child.wait().await {
            tracing::warn!(pid = self.identity.pid, %error, "A child that was ended could not be waited for.");
        }
        Exit::Timeout
    }

    fn leader_is_gone(&self) -> bool {
        has_ended(self.group)
    }

    /// Takes what is in the pipe without waiting for those who still hold its other end.
    fn drain(&mut self) {
        drain(&self.pipe, |bytes| self.capture.take(bytes));
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.ended {
            signal(self.group, Signal::KILL);
        }
    }
}

/// Takes the next bytes; false at the end of the output.
async fn read_some(pipe: &pipe::Receiver, capture: &mut Capture) -> bool {
    read_next(pipe, |bytes| capture.take(bytes)).await
}

/// Hands the next bytes of a pipe to `take`; false at its end.
pub(super) async fn read_next(pipe: &pipe::Receiver, take: impl FnOnce(&[u8])) -> bool {
    if pipe.readable().await.is_err() {
        return false;
    }
    let mut chunk = [0; 8192];
    match pipe.try_read(&mut chunk) {
        Ok(0) => false,
        Ok(n) => {
            take(&chunk[..n]);
            true
        }
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

/// Takes what is in a pipe without waiting for those who still hold its other end.
pub(super) fn drain(pipe: &pipe::Receiver, mut take: impl FnMut(&[u8])) {
    // A pipe holds at most this much (/proc/sys/fs/pipe-max-size); more can only be new.
    let mut left = 1usize << 20;
    let mut chunk = [0; 8192];
    while left > 0 {
        // Asks the kernel: the runtime may not have heard yet that there is something, and would say that there is not.
        match rustix::io::read(pipe, &mut chunk) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(0) | Err(_) => return,
            Ok(n) => {
                take(&chunk[..n]);
                left = left.saturating_sub(n);
            }
        }
    }
}

/// Whether a child has ended; it stays in the table of processes until somebody waits for it.
pub(super) fn has_ended(child: Pid) -> bool {
    let how = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(rustix::process::waitid(WaitId::Pid(child), how), Ok(None))
}

/// Signals a group; that nobody is left in it is what was wanted.
pub(super) fn signal(group: Pid, signal: Signal) {
    if let Err(error) = rustix::process::kill_process_group(group, signal)
        && error != rustix::io::Errno::SRCH
    {
        tracing::warn!(group = group.as_raw_nonzero(), %error, "A process group could not be signalled.");
    }
}

/// Keeps the beginning and the end of an output.
#[derive(Debug)]
struct Capture {
    output: Output,
    max: usize,
    file: Option<(File, PathBuf)>,
}

impl Capture {
    fn new(program: &Program) -> Result<Capture, FileError> {
        let file = match &program.output {
            Some(path) => Some((files::open_to_write(path, 0o640)?, path.clone())),
            None => None,
        };
        Ok(Capture { output: Output::default(), max: program.max_output, file })
    }

    fn take(&mut self, bytes: &[u8]) {
        let room = self.max.saturating_sub(self.output.head.len()).min(bytes.len());
        self.output.head.extend_from_slice(&bytes[..room]);
        self.write(&bytes[..room]);
        self.output.tail.extend_from_slice(bytes);
        let extra = self.output.tail.len().saturating_sub(TAIL);
        self.output.tail.drain(..extra);
        self.output.bytes += bytes.len() as u64;
    }

    fn finish(&mut self) -> Output {
        let beyond = usize::try_from(self.output.bytes).unwrap_or(usize::MAX) - self.output.head.len();
        let end = self.output.tail[self.output.tail.len().saturating_sub(beyond)..].to_vec();
        let cut = beyond - end.len();
        if cut > 0 {
            self.write(format!("\n… {cut} bytes cut …\n").as_bytes());
        }
        self.write(&end);
        std::mem::take(&mut self.output)
    }

    /// The output file is for people; a full disk must not fail the program that prints.
    fn write(&mut self, bytes: &[u8]) {
        if let Some((file, path)) = &mut self.file
            && let Err(error) = file.write_all(bytes)
        {
            tracing::warn!(path = %path.display(), %error, "The output of a program is not written any further.");
            self.file = None;
        }
    }
}

impl Identity {
    /// This process itself.
    pub fn own() -> Identity {
        let pid = std::process::id();
        Identity { pid, started: started(pid).unwrap_or_default() }
    }

    /// The process that has this number now; nothing where none lives that has it.
    pub fn of(pid: u32) -> Option<Identity> {
        Some(Identity { pid, started: started(pid)? })
    }

    /// Whether exactly this process still runs; one that ended and was not waited for does not.
    pub fn is_alive(&self) -> bool {
        started(self.pid) == Some(self.started)
    }

    /// Waits until this process, which need not be a child, has ended; after `timeout` ends its group.
    pub async fn wait_for_end(&self, timeout: Span) {
        const LOOK: Span = Span::millis(50);
        let watch = Stopwatch::start();
        while self.is_alive() && watch.elapsed() < timeout {
            pause(LOOK).await;
        }
        let Some(group) = i32::try_from(self.pid).ok().and_then(Pid::from_raw).filter(|_| self.is_alive()) else {
            return;
        };
        signal(group, Signal::TERM);
        let watch = Stopwatch::start();
        while self.is_alive() && watch.elapsed() < GRACE {
            pause(LOOK).await;
        }
        if self.is_alive() {
            signal(group, Signal::KILL);
        }
    }
}

/// When a living process started, in ticks after boot.
fn started(pid: u32) -> Option<u64> {
    let bytes = files::read_capped(Path::new(&format!("/proc/{pid}/stat")), 4096).ok()?;
    parse_stat(&String::from_utf8_lossy(&bytes))
}

/// The 22nd field of `/proc/PID/stat`, none for a zombie. The second is the name in parentheses and may hold anything.
fn parse_stat(text: &str) -> Option<u64> {
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    if matches!(fields.first(), Some(&("Z" | "X"))) {
        return None;
    }
    fields.get(19)?.parse().ok()
}

/// Where `program` is: itself where it is an absolute path, else in the first folder of [`PATH`] that has it.
pub fn find(program: &str) -> Option<PathBuf> {
    match program {
        "" => None,
        _ if program.starts_with('/') => Some(program.into()),
        _ => PATH.split(':').map(|folder| Path::new(folder).join(program)).find(|path| path.is_file()),
    }
}

/// Why a program that is run for the configuration cannot be trusted, or found.
pub fn program_problem(program: &str) -> Option<String> {
    match find(program) {
        Some(path) => files::others_can_write(&path),
        None => Some(format!("it is in none of {PATH}")),
    }
}

/// The id of this boot of the host: process ids of another boot mean nothing.
///
/// # Errors
/// When `/proc` is not there.
pub fn boot_id() -> Result<String, FileError> {
    let bytes = files::read_capped(Path::new("/proc/sys/kernel/random/boot_id"), 128)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_string())
}

/// A process that goes on when this one ends. Its owner asks [`Detached::ended`] now and then, so that it does
/// not stay a zombie.
#[derive(Debug)]
pub struct Detached(std::process::Child);

impl Detached {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<Exit> {
        match self.0.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(Exit::of(Ok(status))),
            Err(error) => Some(Exit::of(Err(error))),
        }
    }
}

/// Starts a process that is to outlive this one: nothing on its input, its outputs appended to `log`, only `env`,
/// [`PATH`] and `LANG` around it. The process itself calls [`own_session`] first thing; from then on no
/// terminal's and no group's signals reach it. (A child cannot be put into a session from outside without
/// unsafe code, and one that leads a group could not leave it; so it is not made a group leader here.)
///
/// # Errors
/// When the log cannot be opened or the program cannot be started.
pub fn spawn_detached(
    program: &Path,
    args: &[String],
    env: &BTreeMap<String, String>,
    log: &Path,
) -> Result<Detached, FileError> {
    let out = files::open_to_append(log, 0o640)?;
    let err = out.try_clone().map_err(FileError::io("open", log))?;
    std::process::Command::new(program)
        .args(args)
        .env_clear()
        .env("PATH", PATH)
        .env("LANG", "C.UTF-8")
        .envs(env)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .map(Detached)
        .map_err(FileError::io("start", program))
}

/// Becomes another program, found in the fixed [`PATH`], with nothing of the environment but that and the variables called
/// `kept`. Returns only when that failed.
pub fn become_program(argv: &[OsString], kept: &[&str]) -> FileError {
    use std::os::unix::process::CommandExt;
    let program = argv.first().cloned().unwrap_or_default();
    let mut places = PATH.split(':').map(|folder| Path::new(folder).join(&program));
    let found = places.find(|path| path.is_file()).unwrap_or_else(|| program.into());
    let kept = kept.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
    let mut command = std::process::Command::new(&found);
    command.args(argv.iter().skip(1)).env_clear().env("PATH", PATH).envs(kept);
    FileError::io("start", &found)(command.exec())
}

/// Makes this process the leader of a session of its own; one that leads a group already stays as it is.
pub fn own_session() {
    if let Err(error) = rustix::process::setsid() {
        tracing::debug!(%error, "This process leads a group already and keeps its session.");
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::testing::Scratch;
    use super::*;

    fn shell(script: &str) -> Program {
        Program {
            argv: ["/bin/sh", "-c", script].map(String::from).to_vec(),
            env: BTreeMap::new(),
            dir: None,
            timeout: Span::secs(30),
            max_output: 1000,
            output: None,
        }
    }

    fn text(ended: &Ended) -> String {
        String::from_utf8_lossy(&ended.output.head).into_owned()
    }

    #[tokio::test]
    async fn a_program_says_how_it_ended() {
        for (script, exit) in [
            ("true", Exit::Code(0)),
            ("exit 7", Exit::Code(7)),
            ("kill -9 $$", Exit::Signal(9)),
            ("exec 1>&- 2>&-; exit 3", Exit::Code(3)),
        ] {
            assert_eq!(run(&shell(script)).await.exit, exit, "{script}");
        }
        let missing = Program { argv: vec!["/nowhere/program".into()], ..shell("") };
        let Exit::NotStarted(why) = run(&missing).await.exit else { panic!("there is no such program") };
        assert!(why.starts_with("cannot start /nowhere/program: No such file"), "{why}");
        assert!(matches!(run(&Program { argv: vec![], ..shell("") }).await.exit, Exit::NotStarted(_)));
    }

    #[tokio::test]
    async fn both_outputs_come_in_order_and_the_environment_is_clean() {
        let ended = run(&shell("echo one; echo two >&2; echo three")).await;
        assert_eq!(text(&ended), "one\ntwo\nthree\n");
        let mut program = shell("env | sort; pwd");
        program.env.insert("GIVEN".into(), "a b".into());
        let ended = run(&program).await;
        assert_eq!(text(&ended), format!("GIVEN=a b\nLANG=C.UTF-8\nPATH={PATH}\nPWD=/\n/\n"));
    }

    #[tokio::test]
    async fn a_flood_of_output_is_cut_in_the_middle() {
        let scratch = Scratch::new("flood");
        let program =
            Program { output: Some(scratch.at("out")), ..shell("head -c 3000000 /dev/zero | tr '\\0' x; echo end") };
        let ended = run(&program).await;
        assert_eq!((ended.exit, ended.output.bytes, ended.output.head.len()), (Exit::Code(0), 3_000_004, 1000));
        assert!(ended.output.tail.ends_with(b"xend\n"));
        let written = scratch.text("out");
        let cut = 3_000_004 - 1000 - TAIL;
        assert!(written.contains(&format!("x\n… {cut} bytes cut …\nx")) && written.ends_with("xend\n"));
        assert!(written.len() < 1000 + TAIL + 100);
    }

    #[tokio::test]
    async fn an_output_just_over_the_cap_is_kept_whole() {
        let scratch = Scratch::new("cap");
        let program = Program { output: Some(scratch.at("out")), ..shell("head -c 1100 /dev/zero | tr '\\0' x") };
        run(&program).await;
        assert_eq!(scratch.text("out").matches('x').count(), 1100);
    }

    #[tokio::test]
    async fn over_its_time_the_whole_group_is_gone_even_if_it_ignores_the_first_signal() {
        let scratch = Scratch::new("group");
        let script = format!(
            "trap '' TERM; (trap '' TERM; echo $$; sh -c 'echo $PPID; echo $$; while :; do sleep 1; done') > {} & wait",
            scratch.at("pids").display()
        );
        let ended = run(&Program { timeout: Span::millis(300), ..shell(&script) }).await;
        assert_eq!(ended.exit, Exit::Timeout);
        assert!(ended.took >= GRACE && ended.took < Span::secs(10), "{}", ended.took);
        let pids = scratch.text("pids");
        assert_eq!(pids.lines().count(), 3);
        for pid in pids.lines() {
            let pid: u32 = pid.parse().unwrap();
            // Killed is not yet gone: whoever adopted it still has to take it out of the table.
            let watch = Stopwatch::start();
            while started(pid).is_some() {
                assert!(watch.elapsed() < Span::secs(5), "{pid} lives");
                pause(Span::millis(10)).await;
            }
        }
    }

    #[tokio::test]
    async fn what_stays_in_the_background_does_not_hold_the_program_up() {
        let ended = run(&shell("sleep 15 & echo started")).await;
        assert_eq!((text(&ended).as_str(), ended.exit), ("started\n", Exit::Code(0)));
        assert!(ended.took < Span::secs(10));
    }

    #[tokio::test]
    async fn dropping_a_running_child_ends_its_group() {
        let child = Child::start(&shell("sleep 100 & wait")).unwrap();
        let identity = child.identity();
        assert!(identity.is_alive());
        drop(child);
        let watch = Stopwatch::start();
        while identity.is_alive() {
            assert!(watch.elapsed() < Span::secs(5));
            pause(Span::millis(10)).await;
        }
    }

    #[tokio::test]
    async fn a_detached_process_writes_to_its_log_and_is_reaped() {
        let scratch = Scratch::new("detached");
        let args = ["-c".to_string(), "echo hello; echo $HOME >&2; exit 4".to_string()];
        let env = BTreeMap::from([("HOME".to_string(), "/root".to_string())]);
        let mut detached = spawn_detached(Path::new("/bin/sh"), &args, &env, &scratch.at("log")).unwrap();
        let watch = Stopwatch::start();
        let exit = loop {
            if let Some(exit) = detached.ended() {
                break exit;
            }
            assert!(watch.elapsed() < Span::secs(10));
            pause(Span::millis(10)).await;
        };
        assert_eq!((exit, scratch.text("log").as_str()), (Exit::Code(4), "hello\n/root\n"));
        assert!(spawn_detached(Path::new("/nowhere"), &[], &env, &scratch.at("log")).is_err());
    }

    #[test]
    fn a_process_is_known_by_its_start_whatever_it_is_called() {
        let stat =
            |name: &str, state: &str| format!("7 ({name}) {state} 1 7 7 0 -1 4 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 2");
        assert_eq!(parse_stat(&stat("sh", "S")), Some(4711));
        assert_eq!(parse_stat(&stat("a) Z (b", "S")), Some(4711));
        assert_eq!(parse_stat(&stat("sh", "Z")), None);
        assert_eq!(parse_stat(""), None);
        assert!(Identity::own().is_alive());
        assert!(!Identity { started: 1, ..Identity::own() }.is_alive());
        assert!(!boot_id().unwrap().is_empty());
    }
}
