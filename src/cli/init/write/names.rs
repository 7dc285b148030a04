//! Names of tables: valid, telling, and each only once a kind.

use std::collections::BTreeSet;

/// The longest name that is made of another one, in bytes; there is room behind it for a number.
const MAX_NAME: usize = 50;

/// The names that are given, by kind.
#[derive(Debug, Default)]
pub struct Names(BTreeSet<(String, String)>);

impl Names {
    /// A name for a table of `kind`: `wanted` as far as it can be, with `number` or a count behind it where that is taken.
    pub fn give(&mut self, kind: &str, wanted: &str, number: Option<u16>) -> String {
        let base = slug(wanted);
        let numbered = number.map(|number| format!("{base}-{number}"));
        let counted = (2..).map(|n: u32| format!("{base}-{n}"));
        let free = |name: &String| !self.0.contains(&(kind.to_string(), name.clone()));
        let name = [base.clone()].into_iter().chain(numbered).chain(counted).find(free).unwrap_or(base.clone());
        self.0.insert((kind.to_string(), name.clone()));
        name
    }
}

/// A valid name that is as near to `text` as can be.
pub fn slug(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars().take(MAX_NAME) {
        match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9') => name.push(c),
            _ if name.is_empty() || name.ends_with('-') => {}
            _ => name.push('-'),
        }
    }
    let name = name.trim_end_matches('-');
    if name.is_empty() { "unnamed".into() } else { name.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_valid_and_near_to_what_they_are_made_of() {
        for (text, wanted) in [
            ("api", "api"),
            ("My_Api.v2", "my-api-v2"),
            ("postgresql@15-main", "postgresql-15-main"),
            ("--x--", "x"),
            ("", "unnamed"),
            ("東京", "unnamed"),
            ("\"${x}\n", "x"),
        ] {
            assert_eq!(slug(text), wanted, "{text}");
        }
        assert_eq!(slug(&"a".repeat(200)).len(), MAX_NAME);
    }

    #[test]
    fn a_name_is_given_once_a_kind() {
        let mut names = Names::default();
        let given = [("http", "api", None), ("tcp", "api", None), ("http", "API", Some(81)), ("http", "api", Some(81))]
            .map(|(kind, wanted, number)| names.give(kind, wanted, number));
        assert_eq!(given, ["api", "api", "api-81", "api-2"]);
    }
}
