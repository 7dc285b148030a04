//! One run of the program: who it is, what it is given, and why it could not be asked.

use super::config::{Config, Variable};
use crate::base::{Failure, Secret, Span};
use crate::source::common::Outside;
use crate::source::masks::Masks;
use crate::sys::ask::{Answer, Asker, NoAnswer, Question};
use crate::sys::clock::Stopwatch;
use crate::sys::process;
use crate::sys::program;
use crate::sys::users::{self, Account};

/// What a run gave.
pub(super) struct Run {
    /// The answer of the program.
    pub(super) answer: Answer,
    /// The secrets that it was given.
    pub(super) masks: Masks,
}

/// Runs the program within `timeout`.
///
/// # Errors
/// Reason `secret`, `not-found`, `permission`, `start`; `timeout` when a secret or the program lies on a mount that
/// hangs; `busy` when the run before this one cannot be ended.
pub(super) async fn run(config: &Config, outside: &Outside, timeout: Span, asker: &mut Asker) -> Result<Run, Failure> {
    let watch = Stopwatch::start();
    let prepared = tokio::time::timeout(timeout.to_std(), prepare(config, outside)).await;
    let (mut question, masks) =
        prepared.map_err(|_| Failure::new("timeout", format!("its secrets could not be read within {timeout}")))??;
    question.timeout = timeout - watch.elapsed();
    let user = config.user.clone();
    let explain = move |question: &Question, error| not_started(question, user.as_deref(), &error);
    match asker.ask(&question, explain).await {
        Ok(answer) => Ok(Run { answer, masks }),
        Err(NoAnswer::NotStarted(failure)) => Err(failure),
        Err(NoAnswer::Busy) => Err(busy()),
        Err(NoAnswer::NoThread(why)) => Err(Failure::new("start", format!("no thread could be started for it: {why}"))),
        Err(NoAnswer::Late) => Err(Failure::new(
            "timeout",
            format!("it could not be started within {timeout}: the program or `dir` may lie on a mount that hangs"),
        )),
    }
}

/// The failure of a look while the program of before is still there.
pub(super) fn busy() -> Failure {
    let detail = "the program of the look before could not be ended: it hangs in the kernel (state D in `ps`), \
                  most often on a mount that does not answer";
    Failure::new("busy", detail)
}

async fn prepare(config: &Config, outside: &Outside) -> Result<(Question, Masks), Failure> {
    let (name, account) = match &config.user {
        Some(name) => (name.clone(), Some(allowed(name)?)),
        None => own(),
    };
    let home = account.as_ref().map_or("/", |account| account.home.as_str());
    let mut env = vec![("HOME".to_string(), Secret::from(home.to_string())), ("USER".to_string(), Secret::from(name))];
    let mut secrets = Vec::new();
    for (name, variable) in &config.env {
        let value = match variable {
            Variable::Plain(text) => Secret::from(text.clone()),
            Variable::Secret(place) => {
                let secret = outside.secrets.read(place).await.map_err(|why| Failure::new("secret", why))?;
                secrets.push(secret.clone());
                secret
            }
        };
        env.push((name.clone(), value));
    }
    let question = Question {
        program: config.run.first().map(String::as_str).unwrap_or_default().into(),
        args: config.run.iter().skip(1).cloned().collect(),
        env,
        dir: config.dir.clone().unwrap_or_else(|| "/".into()),
        user: account.filter(|_| config.user.is_some()),
        timeout: config.common.timeout,
        max_output: config.max_output,
    };
    Ok((question, Masks::new(&secrets)))
}

/// The user as whom this process runs.
fn own() -> (String, Option<Account>) {
    let name = users::current();
    let account = users::account(&name);
    (name, account)
}

/// The user called `name`, if this process may become it.
fn allowed(name: &str) -> Result<Account, Failure> {
    let unknown = || Failure::new("not-found", format!("there is no user `{name}` in /etc/passwd"));
    let account = users::account(name).ok_or_else(unknown)?;
    let is_own = account.uid == rustix::process::geteuid().as_raw();
    if is_own || users::is_root() { Ok(account) } else { Err(not_root(name)) }
}

fn not_root(user: &str) -> Failure {
    let own = users::current();
    Failure::new(
        "permission",
        format!(
            "{own} may not run programs as {user}: only root with CAP_SETUID may. Let {own} in at the target itself, or run the service as \
             root: systemctl edit backstop, and there under [Service] User=root, \
             CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_KILL, SystemCallFilter=@setuid"
        ),
    )
}

/// Why a program did not begin. Looks at files.
fn not_started(question: &Question, user: Option<&str>, error: &std::io::Error) -> Failure {
    use std::io::ErrorKind;
    let dir = question.dir.display();
    let name = question.program.display();
    let Some(path) = process::find(&question.program.to_string_lossy()) else {
        return Failure::new("not-found", format!("there is no `{name}` in {}", process::PATH));
    };
    let question = &Question { program: path, ..question.clone() };
    let program = question.program.display();
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory if !question.dir.is_dir() => {
            Failure::new("not-found", format!("there is no folder {dir} to run it in"))
        }
        ErrorKind::NotFound => {
            flawed(question, "not-found").unwrap_or_else(|| Failure::new("not-found", format!("there is no {program}")))
        }
        // Two refusals that the standard library calls alike: to become somebody else, and to open a file or a folder.
        ErrorKind::PermissionDenied if error.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error()) => {
            user.map_or_else(|| refused(question, "", error), not_root)
        }
        ErrorKind::PermissionDenied => flawed(question, "permission")
            .unwrap_or_else(|| refused(question, &user.map(|user| format!(" as {user}")).unwrap_or_default(), error)),
        _ if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => flawed(question, "start")
            .unwrap_or_else(|| Failure::new("start", format!("{program} is no program of this host: {error}"))),
        _ => Failure::new("start", format!("{program} cannot be started: {error}")),
    }
}

/// The failure of a program that is there and cannot be run, with what to do.
fn flawed(question: &Question, reason: &'static str) -> Option<Failure> {
    let path = &question.program;
    let flaw = program::flaw(path).filter(|flaw| *flaw != program::Flaw::NotThere)?;
    let help = flaw.help(path).map(|help| format!("; {help}")).unwrap_or_default();
    Some(Failure::new(reason, format!("{} {flaw}{help}", path.display())))
}

fn refused(question: &Question, by: &str, error: &std::io::Error) -> Failure {
    let (program, dir) = (question.program.display(), question.dir.display());
    Failure::new("permission", format!("{program} may not be run{by}, or {dir} not be entered: {error}"))
}
