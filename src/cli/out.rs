//! Standard output and error, through one place.
//!
//! A reader that went away (`backstop status | head -1`) is no failure: what follows is dropped. Colour only
//! repeats what the text says, and is left out where nobody looks at a terminal.

use std::io::{IsTerminal, Write};

use super::Color;

/// Where a subcommand writes.
#[derive(Debug)]
pub struct Out {
    paint: bool,
    closed: bool,
}

impl Out {
    /// Standard output, coloured as asked.
    pub fn new(color: Color) -> Out {
        let paint = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        };
        Out { paint, closed: false }
    }

    /// Writes `text` and a line end at once.
    pub fn line(&mut self, text: &str) {
        let text = if self.paint { painted(text) } else { text.to_string() };
        self.raw(&format!("{text}\n"));
    }

    /// Writes `text` as it is (which ends its own lines).
    pub fn text(&mut self, text: &str) {
        let text = if self.paint { painted(text) } else { text.to_string() };
        self.raw(&text);
    }

    /// Writes a value as JSON for machines.
    pub fn json<T: serde::Serialize>(&mut self, value: &T) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.raw(&format!("{text}\n")),
            Err(error) => Out::error(&format!("write JSON: {error}")),
        }
    }

    /// Writes bytes as they are, and a line end.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.all(bytes);
        self.all(b"\n");
    }

    /// Writes a line to standard error.
    pub fn error(text: &str) {
        // There is no third place to say that standard error is gone.
        drop(writeln!(std::io::stderr().lock(), "{text}"));
    }

    fn raw(&mut self, text: &str) {
        self.all(text.as_bytes());
    }

    fn all(&mut self, bytes: &[u8]) {
        if self.closed {
            return;
        }
        let mut out = std::io::stdout().lock();
        self.closed = out.write_all(bytes).and_then(|()| out.flush()).is_err();
    }
}

/// Colours the words that begin a line.
fn painted(text: &str) -> String {
    const WORDS: [(&str, &str); 8] = [
        ("CRITICAL", "1;31"),
        ("WARNING", "1;33"),
        ("NO DATA", "1;35"),
        ("ok ", "32"),
        ("ROLLED BACK", "1;32"),
        ("error:", "1;31"),
        ("warning:", "1;33"),
        ("verdict:", "1"),
    ];
    let mut out = String::with_capacity(text.len() + 64);
    for line in text.split_inclusive('\n') {
        match WORDS.iter().find(|(word, _)| line.starts_with(word)) {
            Some((word, code)) => {
                out.push_str(&format!("\u{1b}[{code}m{word}\u{1b}[0m"));
                out.push_str(&line[word.len()..]);
            }
            None => out.push_str(line),
        }
    }
    out
}

/// Pads `text` to `width` characters; longer text keeps two spaces behind it.
pub fn pad(text: &str, width: usize) -> String {
    let length = text.chars().count();
    format!("{text}{}", " ".repeat(width.saturating_sub(length).max(2)))
}

/// `1 rule`, `9 rules`.
pub fn plural(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_only_repeats_the_text() {
        let text = "CRITICAL  errors\n  detail\nok        6 rules";
        let colourful = painted(text);
        assert!(colourful.starts_with("\u{1b}[1;31mCRITICAL\u{1b}[0m  errors\n  detail\n\u{1b}[32mok "));
        let mut plain = colourful;
        for code in ["\u{1b}[1;31m", "\u{1b}[32m", "\u{1b}[0m"] {
            plain = plain.replace(code, "");
        }
        assert_eq!(plain, text);
    }
}
