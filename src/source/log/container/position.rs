//! How far a container's log was handed on, and what to skip when it is read again.
//!
//! An engine knows no positions, only times, and many lines can have one time. But it gives the lines of one stream
//! always in the same order. So the last lines of each stream are remembered by time and hash; reading begins again a
//! little before them, and what comes is skipped until they are passed. Whatever follows them is new, whatever time it has: a clock
//! that was set back loses and repeats nothing.
//!
//! A stream that is silent for long must not make the other one be read again from far back: `reached` is a time before
//! which neither stream has anything that was not handed on.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::sys::engine::Stream;

/// How many lines of each stream are remembered.
pub(super) const MAX_LINES: usize = 32;

/// How far the times of the two streams of a container can be out of order, in nanoseconds: the engine stamps each on
/// a thread of its own.
const SLACK: i64 = 5_000_000_000;

/// How much of a line its hash covers, in bytes.
const HASHED: usize = 1024;

/// How far the log of one container was handed on. Times are nanoseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// What is older was never wanted, or belongs to a run that was read to its end.
    floor: i64,
    /// No line that was not handed on is older than this, but for the slack between the streams.
    reached: i64,
    /// When the container had ended, where all was read after that.
    pub(super) finished: Option<String>,
    out: Past,
    err: Past,
}

/// The last lines of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Past {
    /// The highest time of all its lines.
    newest: i64,
    lines: VecDeque<Mark>,
}

/// A line: its time and its hash.
pub(super) type Mark = (i64, u32);

/// What is remembered of a line that was stamped with `at`.
pub(super) fn mark(at: i64, line: &[u8]) -> Mark {
    (at, crc32fast::hash(line.get(..HASHED).unwrap_or(line)))
}

/// Lines of one stream that follow a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Advance {
    /// Their stream.
    pub(super) stream: Stream,
    /// The highest time among them.
    pub(super) newest: i64,
    /// The last of them.
    pub(super) last: VecDeque<Mark>,
    /// With the last of the pieces that were read at once: how far all of them reach.
    pub(super) reached: Option<i64>,
}

impl Position {
    /// Before everything that was written at `floor` or later.
    pub(super) fn new(floor: i64) -> Position {
        Position { floor, reached: 0, finished: None, out: Past::default(), err: Past::default() }
    }

    /// Takes over what was read from a file: within bounds, whatever stood there.
    pub(super) fn bounded(mut self) -> Position {
        for past in [&mut self.out, &mut self.err] {
            past.lines.truncate(MAX_LINES);
        }
        if self.finished.as_ref().is_some_and(|finished| finished.len() > 64) {
            self.finished = None;
        }
        self
    }

    /// Goes on by these lines.
    pub(super) fn advance(&mut self, by: &Advance) {
        self.finished = None;
        let past = self.past_mut(by.stream);
        past.newest = past.newest.max(by.newest);
        past.lines.extend(by.last.iter().copied());
        let too_many = past.lines.len().saturating_sub(MAX_LINES);
        drop(past.lines.drain(..too_many));
        if let Some(reached) = by.reached {
            self.reached = reached;
        }
    }

    /// Notes that all was read of a container that ended.
    pub(super) fn finish(&mut self, finished: String) {
        // The next run begins behind it, so no line needs to be known again.
        let newest = self.out.newest.max(self.err.newest);
        self.floor = self.floor.max(newest.saturating_add(1));
        self.reached = 0;
        self.out = Past::default();
        self.err = Past::default();
        self.finished = Some(finished);
    }

    /// From when on the log must be read again.
    pub(super) fn since(&self) -> i64 {
        let needed = |past: &Past| {
            let first = past.lines.iter().map(|(at, _)| *at).min().unwrap_or(self.floor);
            first.max(self.reached.saturating_sub(SLACK))
        };
        needed(&self.out).min(needed(&self.err)).max(self.floor).max(0)
    }

    /// What to skip of `stream` when it is read from `since` on.
    pub(super) fn skip(&self, stream: Stream, since: i64) -> Skip {
        let past = self.past(stream);
        let left: Vec<_> = past.lines.iter().copied().filter(|(at, _)| *at >= since).collect();
        Skip { since, newest: past.newest, has_passed: left.is_empty(), has_met: false, left }
    }

    fn past(&self, stream: Stream) -> &Past {
        match stream {
            Stream::Out => &self.out,
            Stream::Err => &self.err,
        }
    }

    fn past_mut(&mut self, stream: Stream) -> &mut Past {
        match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        }
    }
}

/// Tells the lines of one stream that were handed on from those that follow.
#[derive(Clone, Debug)]
pub(super) struct Skip {
    since: i64,
    newest: i64,
    /// Remembered lines that did not come yet.
    left: Vec<Mark>,
    has_met: bool,
    has_passed: bool,
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was handed on, or never wanted.
    Known,
    /// It was not.
    New,
    /// It was not, and lines that should stand before it are gone.
    NewBehindGap,
}

impl Skip {
    /// Judges the next line of the stream.
    pub(super) fn judge(&mut self, line: Mark) -> Verdict {
        if line.0 < self.since && !self.has_passed {
            return Verdict::Known;
        }
        if self.has_passed {
            return Verdict::New;
        }
        if let Some(at) = self.left.iter().position(|known| *known == line) {
            self.left.swap_remove(at);
            self.has_met = true;
            self.has_passed = self.left.is_empty();
            return Verdict::Known;
        }
        // Before the remembered lines come older ones; between them and behind them nothing but new ones.
        if !self.has_met && line.0 <= self.newest {
            return Verdict::Known;
        }
        self.has_passed = true;
        if self.has_met { Verdict::New } else { Verdict::NewBehindGap }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    /// A line of a log: its stream, its time in seconds, its text.
    type Line = (Stream, i64, u32);

    fn position(lines: &[Line], reached: Option<i64>) -> Position {
        let mut position = Position::new(0);
        for (i, (stream, at, hash)) in lines.iter().enumerate() {
            let reached = reached.filter(|_| i + 1 == lines.len()).map(|at| at * SECOND);
            let last = VecDeque::from([(at * SECOND, *hash)]);
            position.advance(&Advance { stream: *stream, newest: at * SECOND, last, reached });
        }
        position
    }

    /// What of `log` is handed on behind `position`, and whether a gap is seen.
    fn read(position: &Position, log: &[Line]) -> (Vec<Line>, bool) {
        let since = position.since();
        let mut skips = Stream::ALL.map(|stream| position.skip(stream, since));
        let (mut new, mut has_gap) = (Vec::new(), false);
        // As the engine does.
        for line in log.iter().filter(|(_, at, _)| at * SECOND >= since) {
            match skips[line.0 as usize].judge((line.1 * SECOND, line.2)) {
                Verdict::Known => {}
                Verdict::New => new.push(*line),
                Verdict::NewBehindGap => {
                    has_gap = true;
                    new.push(*line);
                }
            }
        }
        (new, has_gap)
    }

    /// Whatever was handed on of a log, the rest of it is what comes next, and nothing else.
    fn check(log: &[Line]) {
        for cut in 0..=log.len() {
            let (handed, rest) = log.split_at(cut);
            let before = position(handed, handed.last().map(|line| line.1));
            assert_eq!(read(&before, log), (rest.to_vec(), false), "cut at {cut} of {log:?}");
        }
    }

    #[test]
    fn what_follows_is_what_was_not_handed_on() {
        use Stream::{Err, Out};
        check(&[(Out, 1, 1), (Out, 2, 2), (Err, 3, 3), (Out, 4, 4)]);
        // One time, one text, several times over.
        check(&[(Out, 1, 1), (Out, 1, 1), (Out, 1, 1), (Out, 1, 2), (Out, 1, 1), (Err, 1, 1), (Err, 1, 1)]);
        // The streams are out of order, and one is silent for long.
        check(&[(Err, 1, 1), (Out, 900, 2), (Err, 898, 3), (Out, 901, 4), (Err, 899, 5), (Out, 950, 6), (Err, 951, 7)]);
        // More than is remembered.
        let many: Vec<Line> = (0..200).map(|i| (if i % 7 == 0 { Err } else { Out }, i / 10, i as u32)).collect();
        check(&many);
    }

    #[test]
    fn a_clock_that_was_set_back_loses_and_repeats_nothing_of_what_follows() {
        let before = (0..100).map(|i| (Stream::Out, 5000 + i, i as u32));
        let after = (0..100).map(|i| (Stream::Out, 4000 + i, 1000 + i as u32));
        let log: Vec<Line> = before.chain(after).collect();
        for cut in 101..=log.len() {
            let (handed, rest) = log.split_at(cut);
            let position = position(handed, handed.last().map(|line| line.1));
            assert_eq!(read(&position, &log), (rest.to_vec(), false), "cut at {cut}");
        }
    }

    #[test]
    fn a_part_of_what_was_read_at_once_is_no_reason_to_lose_the_other() {
        use Stream::{Err, Out};
        // Read at once and handed on as two pieces; only the first was taken.
        let log: Vec<Line> =
            (0..100).map(|i| (Out, 1000 + i, i as u32)).chain([(Err, 1001, 7), (Err, 1090, 8)]).collect();
        let position = position(&log[..100], None);
        assert_eq!(read(&position, &log), (log[100..].to_vec(), false));
    }

    #[test]
    fn a_log_that_was_rotated_away_is_a_gap() {
        let log: Vec<Line> = (0..100).map(|i| (Stream::Out, i, i as u32)).collect();
        let position = position(&log[..50], Some(49));
        assert_eq!(read(&position, &log[60..]), (log[60..].to_vec(), true));
        assert_eq!(
            read(&position, &log[49..]),
            (log[50..].to_vec(), false),
            "what is left proves that nothing is lost"
        );
        assert_eq!(read(&position, &log[50..]), (log[50..].to_vec(), true), "nothing is left, so nothing is proven");
    }

    #[test]
    fn a_silent_stream_does_not_make_the_other_be_read_again() {
        let position = position(&[(Stream::Err, 1, 1), (Stream::Out, 9000, 2)], Some(9000));
        assert_eq!(position.since(), 8995 * SECOND);
        let mut ended = position.clone();
        ended.finish("2026-01-01T00:00:00Z".into());
        assert_eq!(ended.since(), 9000 * SECOND + 1);
        assert_eq!(Position::new(7).since(), 7);
    }

    #[test]
    fn a_position_is_small_whatever_it_stands_for() {
        let mut position = Position::new(i64::MIN);
        for stream in Stream::ALL {
            let last = (0..100).map(|i| (i64::MIN + i, u32::MAX)).collect();
            position.advance(&Advance { stream, newest: i64::MIN, last, reached: Some(i64::MIN) });
        }
        position.finished = Some("x".repeat(64));
        let json = serde_json::to_string(&position).unwrap();
        assert!(json.len() <= 3 << 10, "{}", json.len());
        assert_eq!(serde_json::from_str::<Position>(&json).unwrap().bounded(), position);
    }
}
