//! Hides secrets that were given to a program or a server in what comes back from it.
//!
//! Enters: the secrets of one look. Leaves: texts in which `***` stands for each of them. A secret is looked for as it
//! is, and as JSON, expositions and addresses write it; of one with several lines each line is hidden as well.

use std::fmt::Write;

use crate::base::Secret;
use crate::base::secret::ExposeSecret;

/// What stands for a secret.
pub const MASK: &str = "***";

/// A line of a secret with several lines is hidden by itself from this length on, in bytes: `-` or `}` says nothing.
const MIN_LINE: usize = 6;

/// The secrets of one look.
#[derive(Default)]
pub struct Masks {
    /// Longest first, so that no part of a longer one stays.
    needles: Vec<String>,
}

impl std::fmt::Debug for Masks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Masks({})", self.needles.len())
    }
}

impl Masks {
    /// Masks for these secrets.
    pub fn new<'s>(secrets: impl IntoIterator<Item = &'s Secret>) -> Masks {
        let mut needles = Vec::new();
        for secret in secrets {
            let whole = secret.expose_secret();
            needles.extend(forms(whole));
            needles.extend(forms(whole.trim()));
            let lines = whole.lines().map(str::trim).filter(|line| line.len() >= MIN_LINE);
            needles.extend(lines.flat_map(forms));
        }
        needles.retain(|needle| !needle.is_empty());
        needles.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        needles.dedup();
        Masks { needles }
    }

    /// Whether some secret stands in these bytes.
    pub fn are_in(&self, bytes: &[u8]) -> bool {
        self.needles.iter().any(|needle| memchr::memmem::find(bytes, needle.as_bytes()).is_some())
    }

    /// The text without secrets.
    pub fn hide(&self, text: &str) -> String {
        self.needles.iter().fold(text.to_string(), |text, needle| text.replace(needle.as_str(), MASK))
    }

    /// The end of an output without secrets. Where its beginning was cut off, the rest of a secret that stood across
    /// the cut is hidden too.
    pub fn hide_tail(&self, text: &str, is_cut: bool) -> String {
        fn rest_of(needle: &str, text: &str) -> usize {
            let ends = needle.char_indices().map(|(i, _)| &needle[i..]);
            ends.filter(|end| text.starts_with(end)).map(str::len).next().unwrap_or(0)
        }
        let cut = self.needles.iter().filter(|_| is_cut);
        let rest = cut.map(|needle| rest_of(needle, text)).max().unwrap_or(0);
        let shown = self.hide(&text[rest..]);
        if rest > 0 { format!("{MASK}{shown}") } else { shown }
    }

    /// A text without secrets whose parts may have been cut short, each with `…` at its cut: the beginning of a secret
    /// that stood across a cut is hidden too.
    pub fn hide_cut(&self, text: &str) -> String {
        let mut parts: Vec<String> = text.split('…').map(str::to_string).collect();
        let n_cut = parts.len() - 1;
        for part in parts.iter_mut().take(n_cut) {
            if let Some(begun) = self.needles.iter().filter_map(|needle| beginning_of(needle, part)).max() {
                part.truncate(part.len() - begun);
                part.push_str(MASK);
            }
        }
        self.hide(&parts.join("…"))
    }
}

/// How many bytes at the end of `text` are the beginning of `needle`; fewer than three tell nothing.
fn beginning_of(needle: &str, text: &str) -> Option<usize> {
    let lengths = needle.char_indices().map(|(i, _)| i).rev();
    lengths.take_while(|n| *n >= 3).find(|n| text.ends_with(&needle[..*n]))
}

/// A text as programs write it: plain, within quotes, within an address.
fn forms(text: &str) -> [String; 3] {
    let json = serde_json::Value::from(text).to_string();
    let inner = json.get(1..json.len().saturating_sub(1)).unwrap_or_default();
    [text.to_string(), inner.to_string(), percent_encoded(text)]
}

/// RFC 3986: everything but unreserved characters becomes `%XX`.
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut coded, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => coded.push(char::from(byte)),
            // Writing to a text cannot fail.
            _ => drop(write!(coded, "%{byte:02X}")),
        }
        coded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masks(secrets: &[&str]) -> Masks {
        let secrets: Vec<Secret> = secrets.iter().map(|s| Secret::from(s.to_string())).collect();
        Masks::new(&secrets)
    }

    #[test]
    fn a_secret_is_hidden_in_each_form_that_programs_print() {
        let masks = masks(&["hunter2", "a\"b/ü", "hunter2-and-more"]);
        for (text, shown) in [
            ("password hunter2!", "password ***!"),
            ("hunter2-and-more", "***"),
            (r#"{"p": "a\"b/ü"}"#, r#"{"p": "***"}"#),
            ("x://u:a%22b%2F%C3%BC@h", "x://u:***@h"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(masks.hide(text), shown);
            assert_eq!(masks.are_in(text.as_bytes()), text != shown, "{text}");
        }
        assert_eq!(format!("{masks:?}").find("hunter2"), None);
    }

    #[test]
    fn each_line_of_a_key_is_hidden() {
        let key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQE=\n-\n";
        let masks = masks(&[key]);
        assert_eq!(masks.hide("line 2: MIIEvQIBADANBg - bad"), "line 2: *** - bad");
        assert_eq!(masks.hide(key), "***");
    }

    #[test]
    fn what_is_left_of_a_secret_before_a_cut_is_hidden() {
        let masks = masks(&["hunter2", "ünter"]);
        assert_eq!(masks.hide_cut("saw \"a hunte…\" and hunter2"), "saw \"a ***…\" and ***");
        assert_eq!(masks.hide_cut("ünt… hu… hunte"), "***… hu… hunte");
        assert_eq!(masks.hide_cut("hunter2… x…"), "***… x…");
        assert_eq!(Masks::default().hide_cut("a…"), "a…");
    }

    #[test]
    fn what_is_left_of_a_secret_behind_a_cut_is_hidden() {
        let masks = masks(&["hunter2"]);
        assert_eq!(masks.hide_tail("ter2 was wrong", true), "*** was wrong");
        assert_eq!(masks.hide_tail("ter2 was wrong", false), "ter2 was wrong");
        assert_eq!(masks.hide_tail("2", true), "***");
        assert_eq!(masks.hide_tail("", true), "");
        assert_eq!(Masks::default().hide_tail("text", true), "text");
    }
}
