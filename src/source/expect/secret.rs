//! What is nobody's business in a text that is shown.
//!
//! Enters: a name, or a text that a server or program said. Leaves: whether the name is that of a secret, and the
//! beginning of the text without what looks like the value of one: what stands behind a name like `password=` or
//! `token:`, behind `Bearer`, before the `@` of an address, and long random words. The rest of the line stays, because
//! `NOAUTH Authentication required.` is what somebody must read.

use std::sync::LazyLock;

use regex::Regex;

/// Words in the name of a thing that say that it is nobody's business.
const NAMES: [&str; 10] =
    ["secret", "token", "password", "passwd", "cookie", "auth", "key", "bearer", "credential", "private"];

/// What stands for a hidden part.
const HIDDEN: &str = "(hidden)";

/// How much of a text is looked at, in characters: more than is ever shown.
const LOOKED_AT: usize = 1024;

/// Whether a name says that it is that of a secret.
pub(super) fn is_named(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    NAMES.iter().any(|word| name.contains(word))
}

/// The beginning of a text without what looks like a secret.
pub(super) fn hide(text: &str) -> String {
    /// The name of a secret and what it is set to; of some headers all of the line.
    const NAMED: &str = r#"(?ix)
        ( \b (?:set-)? (?:cookie|(?:proxy-)?authorization) \\?["']? \s* [=:]+>? \s* ) [^\r\n]+
        | ( [\w.-]* (?: secret[\w.-]* | token[\w.-]* | passw[\w.-]* | passphrase | [_.-]pass | pwd | cookie[\w.-]* | auth
            | auth[_-][\w.-]* | credential[\w.-]* | private[\w.-]* | key )
            (?: \\?["']? \s* [=:>]+ \s* ) )
          (?: (?:bearer|basic) \s+ )? (?: "[^"]*"? | '[^']*'? | [\[{][^\r\n]* | \S+ )
        | ( \b (?:bearer|basic) \s+ ) [^\s"']+
        | ( --[\w-]* (?: secret | token | password | key ) \s+ ) \S+
        | ( :// ) [^/\s@]* @"#;
    static FINDER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(NAMED).ok());
    let start: String = text.chars().take(LOOKED_AT).collect();
    let Some(finder) = FINDER.as_ref() else { return HIDDEN.into() };
    let named = finder.replace_all(&start, |found: &regex::Captures<'_>| {
        let name = (1..=5).find_map(|i| found.get(i)).map_or("", |name| name.as_str());
        let end = if found.get(5).is_some() { "@" } else { "" };
        format!("{name}{HIDDEN}{end}")
    });
    let mut shown = String::with_capacity(named.len());
    for part in named.split_inclusive(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | ';')) {
        let word = part.trim_end_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | ';'));
        shown.push_str(if is_random(word) { HIDDEN } else { word });
        shown.push_str(&part[word.len()..]);
    }
    shown
}

/// Whether some part of a word is long and random.
fn is_random(word: &str) -> bool {
    /// A password of this length is one that nobody remembers.
    const LONG: usize = 24;
    word.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '_' | '='))).any(|part| {
        // Checksums and commits are hexadecimal, and what people deploy.
        let is_hex = part.bytes().all(|b| b.is_ascii_hexdigit());
        part.len() >= LONG
            && !is_hex
            && part.bytes().any(|b| b.is_ascii_digit())
            && part.bytes().any(|b| b.is_ascii_alphabetic())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_a_secret_is_hidden_and_the_line_around_it_is_not() {
        for (text, wanted) in [
            ("NOAUTH Authentication required.", "NOAUTH Authentication required."),
            (
                "FATAL:  password authentication failed for user \"shop\"",
                "FATAL:  password authentication failed for user \"shop\"",
            ),
            (
                "WRONGPASS invalid username-password pair or user is disabled.",
                "WRONGPASS invalid username-password pair or user is disabled.",
            ),
            ("no such key", "no such key"),
            ("login with password=hunter2 failed", "login with password=(hidden) failed"),
            ("DB_PASSWORD = 'hunter2 x' set", "DB_PASSWORD = (hidden) set"),
            ("{\"api_key\": \"hunter2\", \"n\": 1}", "{\"api_key\": (hidden), \"n\": 1}"),
            ("token:hunter2", "token:(hidden)"),
            ("pass: 5, fail: 2, DB_PASS=hunter2", "pass: 5, fail: 2, DB_PASS=(hidden)"),
            (r#"{\"token\":\"hunter2\"}"#, r#"{\"token\":(hidden)"#),
            ("{\"secret\": {\"value\": \"hunter2\"}}", "{\"secret\": (hidden)"),
            ("<password>hunter2</password> x", "<password>(hidden) x"),
            ("{:token => 'hunter2'}", "{:token => (hidden)}"),
            ("mysql --password hunter2 failed", "mysql --password (hidden) failed"),
            ("access_token_2=hunter2&n=1", "access_token_2=(hidden)"),
            ("Authorization: Digest a=hunter2, b=hunter2\nok", "Authorization: (hidden)\nok"),
            ("Set-Cookie: a=hunter2; b=hunter2", "Set-Cookie: (hidden)"),
            ("auth: Bearer hunter2 refused", "auth: (hidden) refused"),
            ("Bearer hunter2 refused", "Bearer (hidden) refused"),
            ("postgres://shop:hunter2@db/shop is down", "postgres://(hidden)@db/shop is down"),
            ("got eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.hunter2-x-y, no", "got (hidden), no"),
            ("commit da39a3ee5e6b4b0d3255bfef95601890afd80709", "commit da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        ] {
            assert_eq!(hide(text), wanted);
        }
        assert_eq!(hide(&"ü ".repeat(100_000)).chars().count(), LOOKED_AT);
    }
}
