//! What a word says: `ERROR`, `warn`, `CRIT`, `dbug`, each in any case.
//!
//! Frameworks shorten their words in many ways; what is not in this table is no level.

use crate::source::log::level::Level;

/// The longest word that is a level.
pub(super) const MAX_WORD: usize = 13;

/// The letters of a word of at most eight, folded to lower case, as a number.
const fn packed(word: &[u8]) -> u64 {
    let (mut number, mut i) = (0u64, 0);
    while i < word.len() {
        number = number << 8 | (word[i] | 0x20) as u64;
        i += 1;
    }
    number
}

macro_rules! short {
    ($number:expr, $($level:ident: $($word:literal)*;)*) => {
        match $number {
            $($(n if n == const { packed($word) } => Some(Level::$level),)*)*
            _ => None,
        }
    };
}

/// The level that a word of letters is.
#[inline]
pub(super) fn level(word: &[u8]) -> Option<Level> {
    if !(3..=MAX_WORD).contains(&word.len()) {
        return None;
    }
    if word.len() > 8 {
        return match word {
            w if w.eq_ignore_ascii_case(b"emergency") => Some(Level::Fatal),
            w if w.eq_ignore_ascii_case(b"information") => Some(Level::Info),
            w if w.eq_ignore_ascii_case(b"informational") => Some(Level::Info),
            _ => None,
        };
    }
    short! { packed(word),
        Info: b"info" b"inf" b"notice" b"note" b"log" b"config";
        Error: b"error" b"err" b"erro" b"severe" b"fail";
        Warning: b"warning" b"warn" b"wrn";
        Debug: b"debug" b"dbug" b"debu" b"dbg" b"fine";
        Trace: b"trace" b"trce" b"trc" b"trac" b"verbose" b"vrb" b"finer" b"finest";
        Critical: b"critical" b"crit" b"alert";
        Fatal: b"fatal" b"fata" b"ftl" b"panic" b"pani" b"pnc" b"dpanic" b"emerg";
    }
}

/// The level that a value is: a word, a letter that stands for one, or a number as pino and bunyan have them, in tens.
pub(super) fn of_value(value: &[u8]) -> Option<Level> {
    let value = value.trim_ascii();
    if let [letter] = value {
        return match letter {
            b'I' => Some(Level::Info),
            b'W' => Some(Level::Warning),
            b'E' => Some(Level::Error),
            b'F' => Some(Level::Fatal),
            b'D' => Some(Level::Debug),
            _ => None,
        };
    }
    match number(value) {
        Some(10..20) => Some(Level::Trace),
        Some(20..30) => Some(Level::Debug),
        Some(30..40) => Some(Level::Info),
        Some(40..50) => Some(Level::Warning),
        Some(50..60) => Some(Level::Error),
        Some(60..=100) => Some(Level::Fatal),
        Some(_) => None,
        None => of_word(value),
    }
}

/// The level that a word is; none of a value that is no word.
pub(super) fn of_word(value: &[u8]) -> Option<Level> {
    if value.iter().all(u8::is_ascii_alphabetic) { level(value) } else { None }
}

/// The level of a severity of syslog as a value: 0 to 7, where less is worse.
pub(super) fn of_severity(value: &[u8]) -> Option<Level> {
    number(value.trim_ascii()).filter(|n| *n < 8).map(of_syslog)
}

fn number(value: &[u8]) -> Option<u32> {
    let is_number = (1..=3).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    is_number.then(|| value.iter().fold(0, |n, digit| n * 10 + u32::from(digit - b'0')))
}

/// The level of a severity of syslog, of which only the lowest three bits are looked at.
pub(super) fn of_syslog(severity: u32) -> Level {
    match severity & 7 {
        0 => Level::Fatal,
        1 | 2 => Level::Critical,
        3 => Level::Error,
        4 => Level::Warning,
        5 | 6 => Level::Info,
        _ => Level::Debug,
    }
}
