//! Rust text as tokens: enough of the language to find imports and functions without being misled by comments,
//! strings and lifetimes. Text goes in, words and signs with their lines come out; it never fails, on broken text the
//! rest of the file may be swallowed, which the compiler reports better.

/// A word, `::`, or one other sign; `line` counts from 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Token<'a> {
    pub text: &'a str,
    pub line: usize,
}

/// The tokens of `text`, without comments, strings, characters and lifetimes.
pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut reader = Reader { text, bytes: text.as_bytes(), at: 0, line: 1 };
    let mut found = Vec::new();
    while reader.at < reader.bytes.len() {
        let line = reader.line;
        if let Some(text) = reader.next() {
            found.push(Token { text, line });
        }
    }
    found
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    line: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn skip(&mut self, n_bytes: usize) {
        let end = (self.at + n_bytes).min(self.bytes.len());
        self.line += self.bytes[self.at..end].iter().filter(|&&b| b == b'\n').count();
        self.at = end;
    }

    /// Reads one token, or skips one thing that is none.
    fn next(&mut self) -> Option<&'a str> {
        match (self.peek(0), self.peek(1)) {
            (b'/', b'/') => self.skip_line(),
            (b'/', b'*') => self.skip_block_comment(),
            (b'"', _) => self.skip_string(),
            (b'\'', _) => self.skip_character_or_lifetime(),
            (b':', b':') => return Some(self.take(2)),
            (b'r' | b'b' | b'c', _) if self.raw_string_hashes().is_some() => self.skip_raw_string(),
            (b'r', b'#') if is_word(self.peek(2)) => self.skip(2),
            (b, _) if is_word(b) => return Some(self.word()),
            (b, _) if b.is_ascii_whitespace() => self.skip(1),
            _ => return Some(self.take(1)),
        }
        None
    }

    fn take(&mut self, n_bytes: usize) -> &'a str {
        let start = self.at;
        self.skip(n_bytes);
        &self.text[start..self.at]
    }

    fn word(&mut self) -> &'a str {
        let length = self.bytes[self.at..].iter().take_while(|&&b| is_word(b)).count();
        self.take(length)
    }

    fn skip_line(&mut self) {
        let length = self.bytes[self.at..].iter().take_while(|&&b| b != b'\n').count();
        self.skip(length);
    }

    fn skip_block_comment(&mut self) {
        let mut depth = 0;
        loop {
            match (self.peek(0), self.peek(1)) {
                (b'/', b'*') => depth += 1,
                (b'*', b'/') => depth -= 1,
                _ if self.at >= self.bytes.len() => return,
                _ => {
                    self.skip(1);
                    continue;
                }
            }
            self.skip(2);
            if depth == 0 {
                return;
            }
        }
    }

    fn skip_string(&mut self) {
        self.skip(1);
        while self.at < self.bytes.len() {
            match self.peek(0) {
                b'\\' => self.skip(2),
                b'"' => return self.skip(1),
                _ => self.skip(1),
            }
        }
    }

    /// How many `#` open the raw string that begins here, if one does.
    fn raw_string_hashes(&self) -> Option<(usize, usize)> {
        let prefix = match (self.peek(0), self.peek(1)) {
            (b'r', _) => 1,
            (b'b' | b'c', b'r') => 2,
            _ => return None,
        };
        let hashes = self.bytes[self.at + prefix..].iter().take_while(|&&b| b == b'#').count();
        (self.peek(prefix + hashes) == b'"').then_some((prefix, hashes))
    }

    fn skip_raw_string(&mut self) {
        let (prefix, hashes) = self.raw_string_hashes().expect("the caller saw that a raw string begins here");
        self.skip(prefix + hashes + 1);
        let end = format!("\"{}", "#".repeat(hashes));
        let length = self.text[self.at..].find(&end).map_or(usize::MAX - self.at, |length| length + end.len());
        self.skip(length);
    }

    fn skip_character_or_lifetime(&mut self) {
        self.skip(1);
        if self.peek(0) == b'\\' {
            self.skip(2);
            let length = self.bytes[self.at..].iter().take_while(|&&b| b != b'\'').count();
            return self.skip(length + 1);
        }
        let length = self.text[self.at..].chars().next().map_or(0, char::len_utf8);
        if self.peek(length) == b'\'' {
            self.skip(length + 1);
        }
    }
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b >= 128
}

#[test]
fn tokens_leave_out_comments_strings_and_lifetimes() {
    let check = |text: &str, expected: &str| {
        let found: Vec<_> = tokens(text).iter().map(|token| token.text).collect();
        assert_eq!(found.join(" "), expected, "{text}");
    };
    check("use crate::a; // crate::b", "use crate :: a ;");
    check("/* a /* b */ c */ d", "d");
    check("\"a \\\" b\" c", "c");
    check("r\"a\\\" b r#\"c \" d\"# e br##\"f\"# g\"## h", "b e h");
    check("'a' b '\\'' c '\\u{1F600}' d 'é' e '\"' f", "b c d e f");
    check("fn f<'a, 'b>(x: &'a str) {}", "fn f < a , b > ( x : & a str ) { }");
    check("r#type rule b\"x\" é", "type rule b é");
    check("\"open", "");
    check("/* open", "");
    check("r#\"open\"", "");
    assert_eq!(tokens("a\n\"b\n\"\n/*\n*/c").last(), Some(&Token { text: "c", line: 5 }));
}
