//! From the text of a template to texts and actions of tokens.

use super::TemplateError;

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    /// Text outside of actions.
    Text(String),
    /// What stands between two braces, from byte to byte.
    Action(Vec<Token>, usize, usize),
}

/// One token, its first byte, and whether a blank stands before it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) at: usize,
    pub(super) end: usize,
    pub(super) spaced: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    Word(String),
    /// `.name`, without its dot.
    Field(String),
    /// `$name`, without its sign.
    Variable(String),
    Dot,
    Int(i64),
    Float(f64),
    Text(String),
    Pipe,
    Open,
    Close,
    Comma,
    Declare,
    Assign,
}

const BLANK: [char; 4] = [' ', '\t', '\r', '\n'];

pub(super) fn lex(text: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let (mut at, mut trim) = (0, false);
    loop {
        let found = text[at..].find("{{").map(|n| at + n);
        let mut outside = &text[at..found.unwrap_or(text.len())];
        if trim {
            outside = outside.trim_start_matches(BLANK);
        }
        let Some(open) = found else {
            push(&mut pieces, outside);
            return Ok(pieces);
        };
        let mut start = open + 2;
        if begins_trim(&text[start..]) {
            outside = outside.trim_end_matches(BLANK);
            start += 1;
        }
        push(&mut pieces, outside);
        let (tokens, end, trims) = match comment(text, start) {
            Some(found) => {
                let (end, trims) = found?;
                (None, end, trims)
            }
            None => {
                let (tokens, end, trims) = action(text, start)?;
                (Some(tokens), end, trims)
            }
        };
        pieces.extend(tokens.map(|tokens| Piece::Action(tokens, open, end)));
        (at, trim) = (end, trims);
    }
}

fn push(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_string()));
    }
}

fn begins_trim(text: &str) -> bool {
    text.starts_with('-') && text[1..].starts_with(BLANK)
}

/// The end of a comment at `start`, and whether it trims what follows; none where there is no comment.
fn comment(text: &str, start: usize) -> Option<Result<(usize, bool), TemplateError>> {
    let blank = text[start..].len() - text[start..].trim_start_matches(BLANK).len();
    let inside = &text[start + blank..];
    if !inside.starts_with("/*") || (blank > 0 && !text[..start].ends_with('-')) {
        return None;
    }
    let Some(length) = inside.find("*/") else {
        return Some(Err(error("a comment is not closed", start, text.len())));
    };
    let after = start + blank + length + 2;
    let rest = &text[after..];
    let trimmed = rest.trim_start_matches(BLANK);
    Some(if rest.starts_with("}}") {
        Ok((after + 2, false))
    } else if trimmed.len() < rest.len() && trimmed.starts_with("-}}") {
        Ok((text.len() - trimmed.len() + 3, true))
    } else {
        Err(error("a comment ends before the closing braces", after, after + 1))
    })
}

fn error(message: impl Into<String>, at: usize, end: usize) -> TemplateError {
    TemplateError { message: message.into(), at: at..end }
}

/// The tokens up to the closing braces, the byte behind these, and whether they trim what follows.
fn action(text: &str, start: usize) -> Result<(Vec<Token>, usize, bool), TemplateError> {
    let mut tokens = Vec::new();
    let mut at = start;
    loop {
        let rest = &text[at..];
        let trimmed = rest.trim_start_matches(BLANK);
        let spaced = trimmed.len() < rest.len();
        at = text.len() - trimmed.len();
        if trimmed.starts_with("}}") {
            return Ok((tokens, at + 2, false));
        }
        if spaced && trimmed.starts_with("-}}") {
            return Ok((tokens, at + 3, true));
        }
        if trimmed.is_empty() {
            return Err(error("`{{` is not closed", start.saturating_sub(2), text.len()));
        }
        let (kind, length) = token(trimmed).map_err(|why| error(why, at, at + 1))?;
        tokens.push(Token { kind, at, end: at + length, spaced });
        at += length;
    }
}

fn token(text: &str) -> Result<(TokenKind, usize), String> {
    let first = text.chars().next().unwrap_or_default();
    let word = |from: usize| {
        let rest = &text[from..];
        rest.find(|c: char| !c.is_alphanumeric() && c != '_').map_or(text.len(), |n| from + n)
    };
    let simple = |kind: TokenKind| Ok((kind, 1));
    match first {
        '|' => simple(TokenKind::Pipe),
        '(' => simple(TokenKind::Open),
        ')' => simple(TokenKind::Close),
        ',' => simple(TokenKind::Comma),
        '=' => simple(TokenKind::Assign),
        ':' if text.starts_with(":=") => Ok((TokenKind::Declare, 2)),
        '$' => Ok((TokenKind::Variable(text[1..word(1)].to_string()), word(1))),
        '"' => quoted(text),
        '`' => match text[1..].find('`') {
            Some(n) => Ok((TokenKind::Text(text[1..1 + n].to_string()), n + 2)),
            None => Err("a text is not closed".into()),
        },
        '\'' => character(text),
        '.' if text[1..].starts_with(|c: char| c.is_alphabetic() || c == '_') => {
            Ok((TokenKind::Field(text[1..word(1)].to_string()), word(1)))
        }
        '.' if !text[1..].starts_with(|c: char| c.is_ascii_digit()) => simple(TokenKind::Dot),
        c if c.is_ascii_digit() || c == '.' || ((c == '-' || c == '+') && number_length(text) > 1) => number(text),
        c if c.is_alphabetic() || c == '_' => Ok((TokenKind::Word(text[..word(0)].to_string()), word(0))),
        c => Err(format!("{c:?} means nothing here")),
    }
}

fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut end = 0;
    while let Some(b) = bytes.get(end) {
        let sign = matches!(b, b'+' | b'-')
            && (end == 0 || (matches!(bytes[end - 1], b'e' | b'E') && !text.starts_with("0x")));
        if !(b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_') || sign) {
            break;
        }
        end += 1;
    }
    end
}

fn number(text: &str) -> Result<(TokenKind, usize), String> {
    let length = number_length(text);
    let written = &text[..length];
    let plain = written.replace('_', "");
    let digits = plain.trim_start_matches(['+', '-']);
    let based = [("0x", 16), ("0X", 16), ("0b", 2), ("0o", 8)].into_iter();
    let based = based.filter_map(|(prefix, base)| Some((digits.strip_prefix(prefix)?, base))).next();
    let kind = match based {
        Some((digits, base)) => {
            i64::from_str_radix(digits, base).ok().map(|n| if plain.starts_with('-') { -n } else { n })
        }
        None => plain.parse().ok(),
    };
    match (kind, plain.parse::<f64>()) {
        (Some(whole), _) => Ok((TokenKind::Int(whole), length)),
        (None, Ok(n)) if digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
            Ok((TokenKind::Float(n), length))
        }
        _ => Err(format!("`{written}` is no number")),
    }
}

fn quoted(text: &str) -> Result<(TokenKind, usize), String> {
    let mut out = String::new();
    let mut at = 1;
    loop {
        let Some(c) = text[at..].chars().next() else { return Err("a text is not closed".into()) };
        match c {
            '"' => return Ok((TokenKind::Text(out), at + 1)),
            '\n' => return Err("a text is not closed in its line".into()),
            '\\' => {
                let (c, length) = escape(&text[at..])?;
                out.push(c);
                at += length;
            }
            c => {
                out.push(c);
                at += c.len_utf8();
            }
        }
    }
}

fn character(text: &str) -> Result<(TokenKind, usize), String> {
    let Some(c) = text[1..].chars().next() else { return Err("a character is not closed".into()) };
    let (c, length) = if c == '\\' { escape(&text[1..])? } else { (c, c.len_utf8()) };
    if !text[1 + length..].starts_with('\'') {
        return Err("a character is not closed".into());
    }
    Ok((TokenKind::Int(i64::from(u32::from(c))), length + 2))
}

/// One escape of Go, `\n` or `\u00e9`, and its length.
fn escape(text: &str) -> Result<(char, usize), String> {
    let bad = || "this escape is unknown".to_string();
    let kind = text[1..].chars().next().ok_or_else(bad)?;
    let digits = |from: usize, n: usize, base: u32| {
        let code = text.get(from..from + n).and_then(|d| u32::from_str_radix(d, base).ok());
        code.and_then(char::from_u32).map(|c| (c, from + n)).ok_or_else(bad)
    };
    let simple = |c: char| Ok((c, 2));
    match kind {
        'a' => simple('\u{7}'),
        'b' => simple('\u{8}'),
        'f' => simple('\u{c}'),
        'n' => simple('\n'),
        'r' => simple('\r'),
        't' => simple('\t'),
        'v' => simple('\u{b}'),
        '\\' | '\'' | '"' => simple(kind),
        'x' => digits(2, 2, 16),
        'u' => digits(2, 4, 16),
        'U' => digits(2, 8, 16),
        '0'..='7' => digits(1, 3, 8),
        _ => Err(bad()),
    }
}
