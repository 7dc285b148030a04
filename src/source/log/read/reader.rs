//! One read of a stream: its lines become counts, and what has to be said of them is said once, at its end.
//!
//! The loop does as little for a line as it can: find its end, say its level, see that nothing matches. Matching lines take
//! the slow way. Times are parsed at the end of the read, for the last line and for the last match of each pattern.

use std::collections::VecDeque;

use super::event::{self, Open};
use super::format::{self, Alike, First, Said};
use super::marks::Marks;
use super::pattern::Search;
use super::state::Held;
use super::tally::MAX_EXHIBITS;
use super::{Event, Inner, Member, Seen, StreamState, Tally, own, shown, time};
use crate::base::{Exhibit, Timestamp};
use crate::source::log::level::Level;

/// How much is looked over at once for what is rare, in bytes: so little that it comes into the cache while the lines before
/// are judged.
const BLOCK: usize = 2 << 10;

/// When an event was written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    /// It is known.
    Known(Timestamp),
    /// This part of the text may say it.
    Line(usize, usize),
}

/// The event that is being read: the part of it that is in this text.
#[derive(Clone, Copy, Debug)]
struct Current {
    level: Level,
    at: At,
    begin: usize,
    end: usize,
    /// Whether its first line was read before.
    is_continued: bool,
}

/// How the lines of a text belong together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mode {
    /// As they say themselves.
    Stream,
    /// They are one message, of this level, written then.
    Message(Option<Level>, Timestamp),
}

/// A read under way.
pub(super) struct Reading<'a, 'e, 't> {
    plan: &'a Inner,
    text: &'t [u8],
    seen: Seen<'a>,
    tally: &'a mut Tally,
    on_event: Option<&'e mut dyn FnMut(Event<'_>)>,
    mode: Mode,
    open: Option<Open>,
    counted: Marks,
    is_counted: bool,
    current: Option<Current>,
    /// Patterns that match in the part of it that is in this text.
    matched: Marks,
    is_matched: bool,
    /// The last match of each pattern, where there was one.
    last: Vec<Option<At>>,
    values: Vec<(usize, f64, At)>,
    shown: VecDeque<(Current, Marks)>,
    /// Whether somebody may want to see the current event when it ends.
    is_wanted: bool,
}

impl<'a, 'e, 't> Reading<'a, 'e, 't> {
    pub(super) fn new(
        plan: &'a Inner,
        text: &'t [u8],
        seen: Seen<'a>,
        tally: &'a mut Tally,
        on_event: Option<&'e mut dyn FnMut(Event<'_>)>,
        mode: Mode,
    ) -> Reading<'a, 'e, 't> {
        Reading {
            plan,
            text,
            seen,
            tally,
            on_event,
            mode,
            open: None,
            counted: Marks::default(),
            is_counted: false,
            current: None,
            matched: Marks::default(),
            is_matched: false,
            last: Vec::new(),
            values: Vec::new(),
            shown: VecDeque::new(),
            is_wanted: false,
        }
    }

    /// Reads all of the text.
    pub(super) fn run(mut self, state: &mut StreamState) {
        self.take_up(state);
        let own = own::finder();
        let mut searches: Vec<_> = self.plan.groups.iter().map(|(group, _)| group.search(self.text)).collect();
        // Where the next find of them ends.
        let mut next = if searches.is_empty() { usize::MAX } else { 0 };
        let (text, mut alike, mut begin) = (self.text, Alike::default(), 0);
        // Up to where it is known whether a line may be binary or the agent's own, and whether it may.
        let (mut known, mut is_odd, mut may_be_own) = (0, false, false);
        while begin < text.len() {
            let rest = &text[begin..];
            let newline = begin + memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let (from, end) = (begin, newline);
            begin = newline + 1;
            let mut line = &text[from..end];
            if let [front @ .., b'\r'] = line {
                line = front;
            }
            let end = from + line.len();
            if end > known {
                known = text.len().min(end.max(from + BLOCK));
                is_odd = format::is_odd(&text[from..known]);
                may_be_own = own.find(&text[from..known]).is_some();
            }
            if line.is_empty() || may_be_own && own::is_own(line) {
                continue;
            }
            if line.len() > self.plan.max_line {
                line = &line[..self.plan.max_line];
                self.tally.add_cut(1);
            }
            match self.judge(is_odd, line, &mut state.json_run, &mut alike) {
                Said::First(first) => self.begin(first, from, end),
                Said::More(trace) => self.go_on(trace, from, end),
            }
            if next <= newline {
                next = self.search(&mut searches, line, from, newline);
            }
        }
        self.finish(state);
    }

    /// Matches a line against the groups in which something was found; where the next find of any ends.
    #[cold]
    fn search(&mut self, searches: &mut [Search<'_, 't>], line: &[u8], from: usize, newline: usize) -> usize {
        let mut next = usize::MAX;
        for (n, search) in searches.iter_mut().enumerate() {
            if search.may_match(from, newline) {
                self.matched(n, line);
            }
            next = next.min(search.next());
        }
        next
    }

    /// Goes on with the event that was open when the last read ended.
    fn take_up(&mut self, state: &mut StreamState) {
        let Some(held) = state.held.take() else { return };
        if event::is_over(held.seen, self.seen.arrived) {
            return;
        }
        self.counted = held.counted(self.plan.fingerprint);
        self.is_counted = true;
        self.is_wanted = true;
        self.current =
            Some(Current { level: held.open.level, at: At::Known(held.at), begin: 0, end: 0, is_continued: true });
        self.open = Some(held.open);
    }

    #[inline]
    fn judge(&self, is_odd: bool, line: &[u8], json_run: &mut u8, alike: &mut Alike) -> Said {
        match self.mode {
            Mode::Stream => format::judge(self.plan.format, is_odd, line, self.open.as_ref(), json_run, alike),
            Mode::Message(level, _) => match &self.open {
                Some(open) => Said::More(open.trace),
                None => self.message(level, is_odd, line),
            },
        }
    }

    /// The first line of a message, of which the journal says `level`.
    fn message(&self, level: Option<Level>, is_odd: bool, line: &[u8]) -> Said {
        let Said::First(mut first) = format::judge(self.plan.format, is_odd, line, None, &mut 0, &mut Alike::default())
        else {
            return Said::More(event::Trace::None);
        };
        first.trace = Some(event::Trace::None);
        first.level = match level {
            None => first.level,
            // Info is also what the journal takes for what a program prints.
            Some(Level::Info) => first.level.max(Level::Info),
            Some(level) => level,
        };
        Said::First(first)
    }

    #[inline]
    fn begin(&mut self, first: First, begin: usize, end: usize) {
        if self.is_wanted {
            self.end_current();
        }
        self.is_wanted = first.level >= Level::Error || self.on_event.is_some();
        self.tally.add_line(first.level, first.is_broken);
        if self.is_counted {
            self.counted = Marks::default();
            self.is_counted = false;
        }
        self.open = first.trace.map(|trace| Open {
            level: first.level,
            trace,
            n_lines: 1,
            n_bytes: u32::try_from(end - begin).unwrap_or(u32::MAX),
        });
        let at = match self.mode {
            Mode::Stream => At::Line(begin, end),
            Mode::Message(_, at) => At::Known(at),
        };
        self.current = Some(Current { level: first.level, at, begin, end, is_continued: false });
    }

    fn go_on(&mut self, trace: event::Trace, begin: usize, end: usize) {
        let (Some(open), Some(current)) = (&mut self.open, &mut self.current) else { return };
        open.trace = trace;
        open.n_lines = open.n_lines.saturating_add(1);
        open.n_bytes = open.n_bytes.saturating_add(u32::try_from(end - begin).unwrap_or(u32::MAX));
        if current.end == 0 {
            current.begin = begin;
        }
        current.end = end;
    }

    /// Matches a line against the expressions of a group.
    #[cold]
    fn matched(&mut self, group: usize, line: &[u8]) {
        let Some(current) = &self.current else { return };
        let (group, members) = &self.plan.groups[group];
        for n in &group.set.matches(line) {
            match members.get(n) {
                Some(Member::Counted(n)) => {
                    self.matched.add(*n);
                    self.is_matched = true;
                    self.is_counted = true;
                    self.is_wanted = true;
                    if self.counted.add(*n) {
                        self.tally.add_match(*n);
                        self.last.resize(self.plan.counted.len(), None);
                        self.last[*n] = Some(current.at);
                    }
                }
                Some(Member::Value(n)) => match self.plan.number(*n, line) {
                    Some(Ok(number)) => {
                        self.values.retain(|(known, ..)| known != n);
                        self.values.push((*n, number, current.at));
                    }
                    Some(Err(())) => self.tally.add_broken_value(),
                    None => {}
                },
                None => {}
            }
        }
    }

    /// The event has no more lines in this text.
    #[cold]
    fn end_current(&mut self) {
        let Some(current) = &self.current else { return };
        if current.end == 0 {
            return;
        }
        let is_bad = current.level >= Level::Error && !current.is_continued;
        if is_bad || self.is_matched || self.on_event.is_some() {
            self.keep_current(is_bad);
        }
    }

    /// Somebody wants to see the event that ends.
    fn keep_current(&mut self, is_bad: bool) {
        let Some(current) = self.current else { return };
        if is_bad || self.is_matched {
            if self.shown.len() == MAX_EXHIBITS {
                self.shown.pop_front();
            }
            self.shown.push_back((current, std::mem::take(&mut self.matched)));
            self.is_matched = false;
        }
        if self.on_event.is_some() {
            let at = self.time(current.at);
            if let Some(on_event) = &mut self.on_event {
                on_event(Event {
                    text: &self.text[current.begin..current.end],
                    level: current.level,
                    at,
                    is_continued: current.is_continued,
                });
            }
        }
    }

    /// When the event of the last line was written; none where the text has no line.
    fn last_at(&self) -> Option<At> {
        // Of an event that was begun before, and goes on in another text, there is no end yet.
        self.current.filter(|current| current.end > 0).map(|current| current.at)
    }

    /// When an event was written: as the origin says of the last one, as it says itself, else when it arrived.
    fn time(&self, at: At) -> Timestamp {
        match at {
            At::Known(at) => at,
            At::Line(begin, end) => {
                let given = self.seen.given;
                if given.is_some() && self.last_at() == Some(at) && self.is_done() {
                    return given.unwrap_or(self.seen.arrived);
                }
                let line = &self.text[begin..end.min(begin + self.plan.max_line)];
                time::of(line, self.seen.arrived, &self.plan.zone).or(given).unwrap_or(self.seen.arrived)
            }
        }
    }

    /// Whether the last line of the text was read.
    fn is_done(&self) -> bool {
        let behind = self.current.map_or(0, |current| current.end);
        self.text[behind..].iter().all(|b| matches!(b, b'\n' | b'\r'))
    }

    fn finish(mut self, state: &mut StreamState) {
        self.end_current();
        self.tally.add_cut(self.seen.cut);
        if let Some(at) = self.last_at() {
            let at = self.time(at);
            self.tally.line_at(at);
        }
        for (n, at) in std::mem::take(&mut self.last).into_iter().enumerate() {
            if let Some(at) = at {
                let at = self.time(at);
                self.tally.matched_at(n, at);
            }
        }
        for (n, number, at) in std::mem::take(&mut self.values) {
            let at = self.time(at);
            self.tally.set_value(n, number, at);
        }
        for (current, matched) in std::mem::take(&mut self.shown) {
            let exhibit = self.exhibit(&current, &matched);
            self.tally.add_exhibit(exhibit);
        }
        if let (Some(open), Some(current)) = (self.open.take(), self.current) {
            let at = self.time(current.at);
            state.held = Some(Held::new(open, at, self.seen.arrived, &self.counted, self.plan.fingerprint));
        }
    }

    fn exhibit(&self, current: &Current, matched: &Marks) -> Exhibit {
        let plan = self.plan;
        let names = matched.iter().filter_map(|n| plan.counted.get(n));
        let secrets: Vec<_> = matched.iter().filter_map(|n| plan.secret(n)).collect();
        Exhibit {
            at: self.time(current.at),
            place: self.seen.place.to_string(),
            service: None,
            level: current.level.as_str().to_string(),
            patterns: names.map(ToString::to_string).collect(),
            text: shown::text(&self.text[current.begin..current.end], &secrets, &plan.redact),
        }
    }
}
