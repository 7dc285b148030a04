//! Programs that run on: what they print is read as it comes.
//!
//! Enters: a [`Question`], whose `timeout` bounds the start alone. Leaves: the bytes of both outputs while the program
//! runs, then how it ended. The same care as for programs that are asked (see [`ask`](super::ask)): a group of its own, a
//! clean environment, nothing on its input; it is begun on a thread of its own, because the kernel may hang there; one that
//! cannot be killed is kept, and no other is begun beside it.
//!
//! Nothing is thrown away: a program that prints faster than it is read waits, and the caller's buffers bound what is
//! held. When it ends, or its [`Feed`] is dropped, everything in its group is killed.

use std::io;

use super::ask::{Asker, NoAnswer, Question, Running};
use super::process::Exit;

/// How much is read of each output at once, in bytes.
pub const CHUNK: usize = 64 << 10;

/// The place of one program that runs on.
#[derive(Debug, Default)]
pub struct Feed {
    place: Asker,
    running: Option<Running>,
}

/// What became of waiting for a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It printed something.
    More,
    /// It has ended like this, and nothing more comes; none where it was killed and is not gone.
    Ended(Option<Exit>),
}

impl Feed {
    /// Starts a program in the place of the one of before, which is ended. Dropping the future ends both. Why it could
    /// not be begun is told by `explain`, which may look at files.
    ///
    /// # Errors
    /// See [`NoAnswer`].
    pub async fn start<E: Send + 'static>(
        &mut self,
        question: &Question,
        explain: impl FnOnce(&Question, io::Error) -> E + Send + 'static,
    ) -> Result<(), NoAnswer<E>> {
        self.end().await;
        let asked = question.clone();
        let start = move || Running::start(&asked).map_err(|error| explain(&asked, error));
        self.running = Some(self.place.begin(question.timeout, start).await?);
        Ok(())
    }

    /// Whether a program runs, or has ended and was not heard to its end.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Waits until the program has printed something and appends it, at most [`CHUNK`] to each buffer; or until it has
    /// ended and appends the rest, at most a mebibyte to each. With no program it has ended. Dropping the future loses
    /// nothing.
    pub async fn hear(&mut self, out: &mut Vec<u8>, err: &mut Vec<u8>) -> Heard {
        if let Some(running) = &mut self.running
            && running.hear(out, err, CHUNK).await
        {
            return Heard::More;
        }
        Heard::Ended(self.end().await)
    }

    /// Kills the program with its group, and says how it ended. What it printed and was not heard is lost.
    pub async fn end(&mut self) -> Option<Exit> {
        let running = self.running.as_mut()?;
        let exit = running.close().await;
        if let Some(running) = self.running.take().filter(|_| exit.is_none()) {
            self.place.keep(running);
        }
        exit
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::clock::{Stopwatch, pause};
    use super::super::files::testing::Scratch;
    use super::*;
    use crate::base::Span;

    fn shell(script: &str) -> Question {
        Question::new("/bin/sh".into(), ["-c", script].map(String::from).to_vec(), Span::secs(10), 0)
    }

    async fn begun(script: &str) -> Feed {
        let mut feed = Feed::default();
        feed.start(&shell(script), |_, error| error.kind()).await.unwrap();
        feed
    }

    /// All that a program prints until it ends, and how it ended.
    async fn to_the_end(feed: &mut Feed) -> (Vec<u8>, Vec<u8>, Option<Exit>) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        loop {
            if let Heard::Ended(exit) = feed.hear(&mut out, &mut err).await {
                return (out, err, exit);
            }
        }
    }

    async fn all_gone(scratch: &Scratch, name: &str) {
        let pids = scratch.text(name);
        assert!(!pids.is_empty());
        for pid in pids.lines() {
            let watch = Stopwatch::start();
            // A zombie that somebody else has to take out of the table does not run any more.
            let runs = || {
                let mut text = Vec::new();
                let read = super::super::read::into(Path::new(&format!("/proc/{pid}/stat")), &mut text, 4096);
                read.is_ok() && !String::from_utf8_lossy(&text).contains(") Z ")
            };
            while runs() {
                assert!(watch.elapsed() < Span::secs(5), "{pid} lives");
                pause(Span::millis(5)).await;
            }
        }
    }

    #[tokio::test]
    async fn what_is_printed_is_heard_while_the_program_runs() {
        let scratch = Scratch::new("feed-live");
        let script = format!(
            "echo one; echo oops >&2; until test -e {0}; do sleep 0.02; done; printf two; exit 3",
            scratch.at("go").display()
        );
        let mut feed = begun(&script).await;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        while out != b"one\n" || err != b"oops\n" {
            assert_eq!(feed.hear(&mut out, &mut err).await, Heard::More);
        }
        scratch.put("go", b"");
        let rest = to_the_end(&mut feed).await;
        assert_eq!(rest, (b"two".to_vec(), Vec::new(), Some(Exit::Code(3))));
        assert!(!feed.is_running());
        assert_eq!(feed.hear(&mut out, &mut err).await, Heard::Ended(None));
    }

    #[tokio::test]
    async fn a_flood_is_read_to_its_end_in_bounded_pieces() {
        let mut feed = begun("head -c 3000000 /dev/zero | tr '\\0' x; echo end >&2").await;
        let (mut n, mut said) = (0, Vec::new());
        loop {
            let mut out = Vec::new();
            let heard = feed.hear(&mut out, &mut said).await;
            n += out.len();
            match heard {
                Heard::More => assert!(out.len() <= CHUNK, "{}", out.len()),
                Heard::Ended(exit) => break assert_eq!(exit, Some(Exit::Code(0))),
            }
        }
        assert_eq!((n, said.as_slice()), (3_000_000, &b"end\n"[..]));
    }

    #[tokio::test]
    async fn a_wait_that_is_dropped_again_and_again_loses_nothing() {
        let mut feed = begun("for i in 1 2 3 4 5 6 7 8 9; do echo $i; sleep 0.01; done").await;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = loop {
            tokio::select! {
                biased;
                heard = feed.hear(&mut out, &mut err) => if let Heard::Ended(exit) = heard { break exit },
                () = pause(Span::millis(1)) => {}
            }
        };
        assert_eq!((out.as_slice(), exit), (&b"1\n2\n3\n4\n5\n6\n7\n8\n9\n"[..], Some(Exit::Code(0))));
    }

    #[tokio::test]
    async fn the_end_of_the_program_ends_what_it_left_in_the_background() {
        let scratch = Scratch::new("feed-background");
        let mut feed = begun(&format!("sleep 60 & echo $! > {}; echo done", scratch.at("pids").display())).await;
        let (out, _, exit) = to_the_end(&mut feed).await;
        assert_eq!((out.as_slice(), exit), (&b"done\n"[..], Some(Exit::Code(0))));
        all_gone(&scratch, "pids").await;
    }

    #[tokio::test]
    async fn a_feed_that_is_dropped_or_begun_anew_ends_the_whole_group() {
        for anew in [false, true] {
            let scratch = Scratch::new(if anew { "feed-anew" } else { "feed-drop" });
            let script = format!(
                "trap '' TERM; sleep 60 & echo $! > {0}; echo $$ >> {0}; echo; wait",
                scratch.at("pids").display()
            );
            let mut feed = begun(&script).await;
            let (mut out, mut err) = (Vec::new(), Vec::new());
            assert_eq!(feed.hear(&mut out, &mut err).await, Heard::More);
            if anew {
                feed.start(&shell("echo new"), |_, error| error.kind()).await.unwrap();
                assert_eq!(to_the_end(&mut feed).await.0, b"new\n");
            } else {
                drop(feed);
            }
            all_gone(&scratch, "pids").await;
        }
    }

    #[tokio::test]
    async fn one_that_cannot_be_begun_says_why_and_one_that_closes_its_outputs_is_waited_for() {
        let mut feed = Feed::default();
        let missing = Question { program: "/nowhere/program".into(), ..shell("") };
        let answer = feed.start(&missing, |_, error| error.kind()).await;
        assert_eq!(answer, Err(NoAnswer::NotStarted(io::ErrorKind::NotFound)));
        let mut feed = begun("exec 1>&- 2>&-; sleep 0.1; kill -9 $$").await;
        assert_eq!(to_the_end(&mut feed).await, (Vec::new(), Vec::new(), Some(Exit::Signal(9))));
    }
}
