//! Texts of others as TOML: strings that the loader reads back as they were, comments that stay comments.

/// The widest line of a comment, in characters.
const WIDTH: usize = 110;

/// Where comments behind headings begin.
const COLUMN: usize = 44;

/// The longest text of others within a comment, in characters.
const SHOWN: usize = 80;

/// A string that the loader reads as `text`, whatever stands in it: `${` would be a variable.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.replace("${", "$${").chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric() => out.push(c),
            c => out.push_str(&format!("\\U{:08X}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// A list of strings: in one line where it is short, else one string a line.
pub fn list<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    let all: Vec<String> = texts.into_iter().map(quoted).collect();
    let short = format!("[{}]", all.join(", "));
    match short.chars().count() <= WIDTH - 20 {
        true => short,
        false => format!("[\n    {},\n]", all.join(",\n    ")),
    }
}

/// A text of others for a comment or a terminal: short, in one line, and nothing that moves the cursor or turns letters.
pub fn plain(text: &str) -> String {
    let is_plain = |c: char| c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric();
    let mut out: String = text.chars().map(|c| if is_plain(c) { c } else { '?' }).take(SHOWN).collect();
    if text.chars().count() > SHOWN {
        out.push('…');
    }
    out
}

/// The text of a configuration while it is written.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// The whole text.
    pub fn text(self) -> String {
        self.0
    }

    /// An empty line, where there is none yet.
    pub fn gap(&mut self) {
        if !self.0.is_empty() && !self.0.ends_with("\n\n") {
            self.0.push('\n');
        }
    }

    /// Lines as they are.
    pub fn lines(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    /// A comment, broken into lines. What is of others in it was made [`plain`].
    pub fn note(&mut self, text: &str) {
        let mut line = String::from("#");
        for word in text.split_ascii_whitespace() {
            if line.len() > 1 && line.chars().count() + word.chars().count() >= WIDTH {
                self.lines(&line);
                line = String::from("#");
            }
            line.push(' ');
            line.push_str(word);
        }
        self.lines(&line);
    }

    /// A table after an empty line: its heading, what stands behind it as a comment, its keys.
    pub fn table(&mut self, heading: &str, comment: &str, keys: &[(&str, String)]) {
        self.gap();
        self.keys_of(&format!("[{heading}]"), comment, keys);
    }

    /// The same right below a comment.
    pub fn keys_of(&mut self, heading: &str, comment: &str, keys: &[(&str, String)]) {
        self.lines(&commented(heading, comment));
        let width = keys.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
        for (key, value) in keys {
            self.lines(&format!("{key:width$} = {value}"));
        }
    }
}

/// `text        # comment`
fn commented(text: &str, comment: &str) -> String {
    if comment.is_empty() { text.to_string() } else { format!("{text:COLUMN$} # {}", comment) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: [&str; 9] = [
        "plain",
        "quote \" and \\ backslash",
        "line\nbreak\r\n[evil]",
        "${state} {{ app }} $${x} $",
        "tab\t nul\0 esc\u{1b}[2J del\u{7f}",
        "\u{202e}turned\u{200b}",
        "grüße 東京 🦀",
        "'''\"\"\"",
        "",
    ];

    #[test]
    fn strings_are_read_back_as_they_were() {
        for text in HOSTILE {
            let toml = format!("x = {}\n", quoted(text));
            assert_eq!(toml.lines().count(), 1, "{toml}");
            let read: toml::Table = toml.parse().unwrap_or_else(|e| panic!("{toml}: {e}"));
            // What the loader makes of it.
            assert_eq!(read["x"].as_str().unwrap().replace("$${", "${"), text, "{toml}");
        }
        let read: toml::Table = format!("x = {}", list(HOSTILE)).parse().unwrap();
        assert_eq!(read["x"].as_array().unwrap().len(), HOSTILE.len());
    }

    #[test]
    fn a_comment_stays_one_whatever_stands_in_it() {
        let mut page = Page::default();
        for text in HOSTILE {
            page.note(&format!("{} {}", "word ".repeat(40), plain(text)));
        }
        page.note(&plain(&"x".repeat(1000)));
        let text = page.text();
        assert!(text.lines().all(|line| line.starts_with('#') && line.chars().count() <= WIDTH), "{text}");
        assert!(text.parse::<toml::Table>().unwrap().is_empty());
    }
}
