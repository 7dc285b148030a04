//! One question to journalctl at a time, and what its words mean.

use std::path::Path;

use super::entry::{Line, Scanner};
use super::gather::{self, Cursor};
use crate::base::{Failure, Span};
use crate::sys::ask::{NoAnswer, Question};
use crate::sys::clock::{Stopwatch, pause};
use crate::sys::feed::{Feed, Heard};
use crate::sys::process::{self, Exit};
use crate::sys::users;

/// How long the start of journalctl is waited for.
pub(super) const START: Span = Span::secs(30);

/// How much of what journalctl says on standard error is kept, in bytes.
const MAX_SAID: usize = 2048;

/// What went wrong with journalctl.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// There is nothing to read, or not for this user: somebody has to do something.
    Refused(Failure),
    /// It ended.
    Died(Failure),
    /// It does not answer.
    Hung(Failure),
}

/// Asks journalctl with `args`, and gives the positions of the first `most` entries of its answer. Programs of before are
/// ended. What it says on standard error is not suppressed: whether the user may see everything is only said there.
///
/// # Errors
/// See [`Trouble`].
pub(super) async fn entries(
    feed: &mut Feed,
    program: &Path,
    args: Vec<String>,
    most: usize,
    limit: Span,
) -> Result<Vec<Cursor>, Trouble> {
    let fixed = ["--output=json", "--no-pager", "--output-fields=_PID"].map(String::from);
    let args = fixed.into_iter().chain(args).collect();
    start(feed, program, args).await?;
    let watch = Stopwatch::start();
    let (mut scanner, mut found) = (Scanner::new(0), Vec::new());
    let (mut out, mut said) = (Vec::new(), Vec::new());
    loop {
        let heard = tokio::select! {
            biased;
            () = pause((limit - watch.elapsed()).max(Span::ZERO)) => {
                feed.end().await;
                return Err(Trouble::Hung(Failure::new("hang", format!("journalctl did not answer within {limit}"))));
            }
            heard = feed.hear(&mut out, &mut said) => heard,
        };
        let mut bytes = out.as_slice();
        while let Some(line) = scanner.next(&mut bytes) {
            if let Line::Entry(entry) = line
                && let Some(cursor) = gather::cursor(entry)
                && found.len() < most
            {
                found.push(cursor.into());
            }
        }
        out.clear();
        said.truncate(MAX_SAID);
        match heard {
            Heard::Ended(exit) => {
                // What a signal ended has given no whole answer; a code alone says nothing: some versions exit with 1
                // where there is no entry.
                let is_whole = matches!(exit, Some(Exit::Code(_))) && (!found.is_empty() || said.is_empty());
                let is_good = is_whole || exit == Some(Exit::Code(0));
                return match refusal(&said) {
                    Some(failure) => Err(Trouble::Refused(failure)),
                    None if is_good => Ok(found),
                    None => Err(Trouble::Died(ended(exit.as_ref(), &said))),
                };
            }
            // What it says first is whether it may; the entries come behind that.
            Heard::More if found.len() >= most => {
                feed.end().await;
                return refusal(&said).map_or(Ok(found), |failure| Err(Trouble::Refused(failure)));
            }
            Heard::More => {}
        }
    }
}

/// Starts journalctl.
///
/// # Errors
/// See [`Trouble`].
pub(super) async fn start(feed: &mut Feed, program: &Path, args: Vec<String>) -> Result<(), Trouble> {
    let question = Question::new(program.to_owned(), args, START, 0);
    feed.start(&question, |question, error| not_started(question, &error)).await.map_err(|why| match why {
        NoAnswer::NotStarted(failure) => Trouble::Refused(failure),
        NoAnswer::Busy => Trouble::Hung(Failure::new(
            "hang",
            "a journalctl that was killed is still there: it hangs in the kernel (state D in `ps`), most often on a disk \
             that does not answer",
        )),
        NoAnswer::Late => Trouble::Hung(Failure::new("hang", format!("journalctl could not be started within {START}"))),
        NoAnswer::NoThread(why) => Trouble::Died(Failure::new("exit", format!("no thread could be started for it: {why}"))),
    })
}

fn not_started(question: &Question, error: &std::io::Error) -> Failure {
    let program = question.program.display();
    match process::find(&question.program.to_string_lossy()) {
        Some(path) if path.exists() => Failure::new("permission", format!("{} cannot be run: {error}", path.display())),
        _ => Failure::new(
            "missing",
            format!(
                "there is no {program} in {}: where systemd does not run, read the file that the service writes \
                 (`file = …`), or its container (`container = …`)",
                process::PATH
            ),
        ),
    }
}

/// What journalctl said, if it is that nothing can be read here.
pub(super) fn refusal(said: &[u8]) -> Option<Failure> {
    let said = String::from_utf8_lossy(said);
    if said.contains("not seeing messages from other users") || said.contains("insufficient permissions") {
        let user = users::current();
        return Some(Failure::new(
            "permission",
            format!(
                "{user} may not read the journal; as root: usermod -aG systemd-journal {user}, then start this process \
                 again (systemctl restart backstop)"
            ),
        ));
    }
    said.contains("No journal files were found").then(|| {
        Failure::new(
            "missing",
            "there is no journal on this host: journald does not run (systemctl status systemd-journald), keeps nothing \
             (Storage=none in /etc/systemd/journald.conf), or, in a container, /var/log/journal is not mounted",
        )
    })
}

/// The failure of a journalctl that ended.
pub(super) fn ended(exit: Option<&Exit>, said: &[u8]) -> Failure {
    let how = exit.map_or_else(|| "it cannot be killed".to_string(), ToString::to_string);
    let said = String::from_utf8_lossy(said);
    let last = said.lines().rev().find(|line| !line.trim().is_empty());
    let said = last.map(|line| format!(": {}", line.trim())).unwrap_or_default();
    Failure::new("exit", format!("journalctl ended ({how}){said}"))
}

/// Keeps the end of what journalctl says.
pub(super) fn keep_end(said: &mut Vec<u8>) {
    let extra = said.len().saturating_sub(MAX_SAID);
    said.drain(..extra);
}
