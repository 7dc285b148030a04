//! What a page of an error says, in one line: often the only hint at why.
//!
//! Enters: an answer. Leaves: the first line of text of a short `text/*` body, without tags, and cut.

use crate::sys::http::Response;

/// The longest body that is looked at, in bytes.
const MAX_PAGE: usize = 8 << 10;

/// The longest line that is shown, in characters.
const SHOWN: usize = 80;

/// A word of this length is no word but perhaps a token: such a line is not shown.
const LONG_WORD: usize = 24;

/// The first line of the text, through `hide` before it is cut.
pub(super) fn first_line(response: &Response, hide: impl Fn(&str) -> String) -> Option<String> {
    let kind = response.headers.get(http::header::CONTENT_TYPE)?.to_str().ok()?.trim_start().to_ascii_lowercase();
    if !kind.starts_with("text/") || response.body.len() > MAX_PAGE {
        return None;
    }
    let body = String::from_utf8_lossy(&response.body);
    let text = if kind.starts_with("text/html") { without_tags(&body) } else { body.into_owned() };
    let status = response.status.to_string();
    let mut lines = text.lines().map(|line| {
        let line = line.trim();
        line.strip_prefix(&status).unwrap_or(line).trim()
    });
    let line = hide(lines.find(|line| !line.is_empty())?);
    let is_long = |word: &str| word.len() >= LONG_WORD && word.bytes().any(|b| b.is_ascii_digit());
    if line.split(|c: char| !c.is_ascii_alphanumeric() && !"+_=".contains(c)).any(is_long) {
        return None;
    }
    let mut cut: String = line.chars().filter(|c| !c.is_control()).take(SHOWN).collect();
    if line.chars().count() > SHOWN {
        cut.push('…');
    }
    Some(cut)
}

/// The text of a page; of scripts and styles nothing.
fn without_tags(page: &str) -> String {
    let (mut text, mut rest) = (String::new(), page);
    while let Some((before, tag)) = rest.split_once('<') {
        text.push_str(before);
        let name: String = tag.chars().take_while(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
        let skipped = match name.as_str() {
            "script" | "style" => tag.find("</").map_or("", |end| &tag[end + 2..]),
            _ => tag,
        };
        rest = skipped.split_once('>').map_or("", |(_, after)| after);
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_scripts_and_styles_are_no_text() {
        for (page, text) in [
            ("<html>\r\n<head><title>404 Not Found</title></head>", "\r\n404 Not Found"),
            ("<style>a { b }</style><p class=x>gone", "gone"),
            ("<script>if (a) {}</script>", ""),
            ("a <b", "a "),
            ("plain", "plain"),
        ] {
            assert_eq!(without_tags(page), text);
        }
    }
}
