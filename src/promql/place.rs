//! Where the calls and the selectors of an expression stand in its text, and where the text stops being an expression.
//!
//! The parser's tree has no places. This walk over the tokens finds the calls and the selectors in the order of the text,
//! which is the order in which the tree is walked. Where the counts differ the places are not used: a place is never wrong.

use std::ops::Range;

/// The places of one text.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Calls of functions and aggregations, in the order of their names.
    pub(super) calls: Vec<CallPlace>,
    /// Selectors, without ranges and modifiers.
    pub(super) selectors: Vec<Range<usize>>,
    /// The first token that cannot stand where it stands; the end of the text where something is missing.
    pub(super) wrong: Option<Range<usize>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CallPlace {
    /// From the name to the closing parenthesis.
    pub(super) whole: Range<usize>,
    pub(super) arguments: Vec<Range<usize>>,
}

/// Words that join or modify, and never stand for a value after one.
const OPERATORS: [&str; 4] = ["and", "or", "unless", "atan2"];
const LISTS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
const FILLS: [&str; 3] = ["fill", "fill_left", "fill_right"];

struct Walk<'a> {
    text: &'a str,
    at: usize,
    found: Places,
    /// Open parentheses: the call that they belong to, if any, and where its current argument begins.
    open: Vec<(Option<usize>, Option<usize>)>,
    /// Whether a value must come next.
    wants_value: bool,
    /// Where the last token of a value ended.
    ended: usize,
    /// The call whose parentheses come next.
    pending: Option<usize>,
    after_at: bool,
}

/// Finds all places; brackets and quotes of the text are closed.
pub(super) fn places(text: &str) -> Places {
    let mut walk = Walk {
        text,
        at: 0,
        found: Places::default(),
        open: Vec::new(),
        wants_value: true,
        ended: 0,
        pending: None,
        after_at: false,
    };
    while walk.at < text.len() {
        walk.step();
    }
    if walk.wants_value && walk.found.wrong.is_none() {
        let end = text.trim_end().len();
        walk.found.wrong = Some(end..end);
    }
    walk.found
}

impl Walk<'_> {
    fn byte(&self, at: usize) -> u8 {
        self.text.as_bytes().get(at).copied().unwrap_or(0)
    }

    fn run(&self, from: usize, belongs: impl Fn(u8) -> bool) -> usize {
        from + self.text.as_bytes()[from..].iter().take_while(|byte| belongs(**byte)).count()
    }

    /// The first byte at or after `from` that is no space and no comment.
    fn next_token(&self, mut from: usize) -> usize {
        loop {
            from = self.run(from, |byte| byte.is_ascii_whitespace());
            if self.byte(from) != b'#' {
                return from;
            }
            from = self.run(from, |byte| byte != b'\n');
        }
    }

    fn word_end(&self, from: usize) -> usize {
        self.run(from, |byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':')
    }

    fn step(&mut self) {
        self.at = self.next_token(self.at);
        let start = self.at;
        match self.byte(start) {
            0 => self.at = self.text.len().max(start + 1),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b':' => self.word(),
            b'0'..=b'9' | b'.' => {
                let end = self.number_end(start);
                self.value(start, end);
            }
            quote @ (b'"' | b'\'' | b'`') => {
                let end = self.quoted_end(start, quote);
                self.value(start, end);
            }
            b'(' => self.opened(),
            b')' => self.closed(),
            b',' => self.comma(),
            b'{' => self.braces(),
            b'[' => {
                if self.wants_value {
                    self.wrong(start, start + 1);
                }
                self.at = self.run(start, |byte| byte != b']') + 1;
                self.ended = self.at.min(self.text.len());
            }
            b'@' => {
                if self.wants_value {
                    self.wrong(start, start + 1);
                }
                self.at = start + 1;
                self.wants_value = true;
                self.after_at = true;
            }
            b'+' | b'-' => {
                self.at = start + 1;
                self.wants_value = true;
            }
            b'*' | b'/' | b'%' | b'^' | b'<' | b'>' | b'=' | b'!' => {
                if self.wants_value {
                    self.wrong(start, start + 1);
                }
                self.at = start + 1 + usize::from(self.byte(start + 1) == b'=');
                self.wants_value = true;
            }
            _ => {
                let end = start + self.text[start..].chars().next().map_or(1, char::len_utf8);
                self.wrong(start, end);
                self.at = end;
            }
        }
    }

    fn wrong(&mut self, start: usize, end: usize) {
        if self.found.wrong.is_none() {
            self.found.wrong = Some(start..end);
        }
    }

    /// A number or a duration; a sign belongs to it behind an exponent.
    fn number_end(&self, start: usize) -> usize {
        let end = self.run(start, |byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'_');
        let is_hex = self.text[start..end].len() > 1 && matches!(self.byte(start + 1), b'x' | b'X');
        let signed = matches!(self.byte(end - 1), b'e' | b'E') && matches!(self.byte(end), b'+' | b'-');
        if signed && !is_hex { self.run(end + 1, |byte| byte.is_ascii_digit()) } else { end }
    }

    fn quoted_end(&self, start: usize, quote: u8) -> usize {
        let mut at = start + 1;
        while at < self.text.len() && self.byte(at) != quote {
            at += if self.byte(at) == b'\\' && quote != b'`' { 2 } else { 1 };
        }
        let end = (at + 1).min(self.text.len());
        (end..=self.text.len()).find(|i| self.text.is_char_boundary(*i)).unwrap_or(self.text.len())
    }

    /// Takes a token that is a value by itself.
    fn value(&mut self, start: usize, end: usize) {
        if !self.wants_value {
            self.wrong(start, end);
        }
        self.begins(start);
        self.at = end;
        self.ended = end;
        self.wants_value = false;
        self.after_at = false;
    }

    /// Notes where the current argument begins.
    fn begins(&mut self, start: usize) {
        if let Some((Some(_), begun @ None)) = self.open.last_mut() {
            *begun = Some(start);
        }
    }

    fn word(&mut self) {
        let (start, end) = (self.at, self.word_end(self.at));
        let word = self.text[start..end].to_ascii_lowercase();
        let next = self.next_token(end);
        let is_call = self.byte(next) == b'(';
        if !self.wants_value {
            return self.joining(&word, start, end);
        }
        if std::mem::take(&mut self.after_at) && is_call {
            let end = (self.run(next, |byte| byte != b')') + 1).min(self.text.len());
            return self.value(start, end);
        }
        let modifies = LISTS.contains(&&*word) || FILLS.contains(&&*word) || word == "bool";
        if modifies && self.follows_operator(start) && (is_call || word == "bool" || word.starts_with("group_")) {
            self.at = if is_call && word != "bool" { self.list_end(next) } else { end };
            return;
        }
        let after_word = self.text[next..self.word_end(next)].to_ascii_lowercase();
        let grouped = matches!(&*after_word, "by" | "without");
        let list = self.next_token(next + after_word.len());
        if is_call || grouped && self.byte(list) == b'(' && self.byte(self.next_token(self.list_end(list))) == b'(' {
            self.begins(start);
            self.found.calls.push(CallPlace { whole: start..end, arguments: Vec::new() });
            self.pending = Some(self.found.calls.len() - 1);
            self.at = if is_call { next } else { self.list_end(list) };
            return;
        }
        if !matches!(&*word, "inf" | "nan") {
            self.found.selectors.push(start..end);
        }
        self.value(start, end);
    }

    /// A word behind a value.
    fn joining(&mut self, word: &str, start: usize, end: usize) {
        self.at = end;
        let next = self.next_token(end);
        if OPERATORS.contains(&word) || word == "offset" {
            self.wants_value = true;
        } else if matches!(word, "by" | "without") && self.byte(next) == b'(' {
            let list_end = self.list_end(next);
            if let Some(call) = self.found.calls.iter_mut().rev().find(|call| call.whole.end == self.ended) {
                call.whole.end = list_end;
            }
            self.at = list_end;
            self.ended = list_end;
        } else {
            self.wrong(start, end);
        }
    }

    /// Whether what stands before `start` is an operator or a modifier of one, so that modifiers may follow.
    fn follows_operator(&self, start: usize) -> bool {
        let before = self.text[..start].trim_end();
        let word_start =
            before.len() - before.bytes().rev().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
        let word = before[word_start..].to_ascii_lowercase();
        OPERATORS.contains(&&*word)
            || matches!(&*word, "bool" | "group_left" | "group_right")
            || before.ends_with(['+', '-', '*', '/', '%', '^', '<', '>', '=', '!'])
            || before.ends_with(')') && self.wants_value
    }

    /// Behind the parenthesis that closes the list of labels that opens at `open`.
    fn list_end(&self, open: usize) -> usize {
        let mut at = open + 1;
        while at < self.text.len() && self.byte(at) != b')' {
            at = match self.byte(at) {
                quote @ (b'"' | b'\'' | b'`') => self.quoted_end(at, quote),
                _ => at + 1,
            };
        }
        let end = (at + 1).min(self.text.len());
        (end..=self.text.len()).find(|i| self.text.is_char_boundary(*i)).unwrap_or(self.text.len())
    }

    fn opened(&mut self) {
        if !self.wants_value {
            self.wrong(self.at, self.at + 1);
        }
        let call = self.pending.take();
        if call.is_none() {
            self.begins(self.at);
        }
        self.open.push((call, None));
        self.at += 1;
        self.wants_value = true;
    }

    fn closed(&mut self) {
        let at = self.at;
        self.at += 1;
        let Some((call, begun)) = self.open.pop() else { return self.wrong(at, at + 1) };
        match (call, begun) {
            (Some(call), begun) => {
                if let Some(begun) = begun {
                    let end = self.ended.max(begun);
                    self.found.calls[call].arguments.push(begun..end);
                }
                let is_empty = begun.is_none() && self.found.calls[call].arguments.is_empty();
                if self.wants_value && !is_empty {
                    self.wrong(at, at + 1);
                }
                self.found.calls[call].whole.end = self.at;
            }
            (None, _) if self.wants_value => self.wrong(at, at + 1),
            _ => {}
        }
        self.ended = self.at;
        self.wants_value = false;
    }

    fn comma(&mut self) {
        let at = self.at;
        self.at += 1;
        match self.open.last_mut() {
            Some((Some(call), begun @ Some(_))) if !self.wants_value => {
                let from = begun.take().unwrap_or(at);
                let end = self.ended.max(from);
                self.found.calls[*call].arguments.push(from..end);
            }
            _ => self.wrong(at, at + 1),
        }
        self.wants_value = true;
    }

    fn braces(&mut self) {
        let start = self.at;
        let mut at = start + 1;
        while at < self.text.len() && self.byte(at) != b'}' {
            at = match self.byte(at) {
                quote @ (b'"' | b'\'' | b'`') => self.quoted_end(at, quote),
                b'#' => self.next_token(at),
                _ => at + 1,
            };
        }
        let end = (at + 1).min(self.text.len());
        if self.wants_value {
            self.found.selectors.push(start..end);
            self.value(start, end);
        } else {
            let adjoins = self.next_token(self.ended) == start;
            match self.found.selectors.last_mut() {
                Some(last) if adjoins && last.end == self.ended => last.end = end,
                _ => self.wrong(start, end),
            }
            self.at = end;
            self.ended = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let found = places(text);
        let calls = found.calls.iter().map(|call| {
            let arguments: Vec<&str> = call.arguments.iter().map(|at| &text[at.clone()]).collect();
            format!("{} <{}>", &text[call.whole.clone()], arguments.join("|"))
        });
        let selectors = found.selectors.iter().map(|at| text[at.clone()].to_string());
        calls.chain(selectors).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn calls_and_selectors_have_places() {
        for (text, expected) in [
            ("up", "up"),
            (
                "rate( x{a=\"}\"} [5m] offset 1m )",
                "rate( x{a=\"}\"} [5m] offset 1m ) <x{a=\"}\"} [5m] offset 1m>; x{a=\"}\"}",
            ),
            ("sum by (a, b) (x) / on(a) group_left(c) y", "sum by (a, b) (x) <x>; x; y"),
            ("quantile(0.5, x) without (b) > bool 1", "quantile(0.5, x) without (b) <0.5|x>; x"),
            ("a and on() (b or {c=\"1\"}) @ start() + time()", "time() <>; a; b; {c=\"1\"}"),
            ("max_over_time(sum(x)[5m:1m])", "max_over_time(sum(x)[5m:1m]) <sum(x)[5m:1m]>; sum(x) <x>; x"),
            ("-1e-3 + Inf * f(g(1), (2))", "f(g(1), (2)) <g(1)|(2)>; g(1) <1>"),
            ("x # sum(y)\n + z", "x; z"),
            ("other + fill", "other; fill"),
            ("x == ignoring(a) fill(1) y", "x; y"),
        ] {
            assert_eq!(written(text), expected, "{text}");
            assert_eq!(places(text).wrong, None, "{text}");
        }
    }

    #[test]
    fn the_first_wrong_token_is_found() {
        for (text, wrong) in [
            ("x y", "y"),
            ("x + ", ""),
            ("x + * y", "*"),
            ("sum(x,)", ")"),
            ("x ~ y", "~"),
            ("() + 1", ")"),
            ("1 2", "2"),
        ] {
            assert_eq!(places(text).wrong.map(|at| &text[at]), Some(wrong), "{text}");
        }
    }
}
