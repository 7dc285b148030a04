//! Numbers and `printf` as Go writes them.

use super::run::Value;

/// `%v` of a float: the shortest text that reads back, with an exponent below 1e-4 and from 1e6 on.
pub(super) fn float(value: f64) -> String {
    general(value, None)
}

/// From this exponent on the shortest form of a float shows it.
const SHOWN_FROM: i32 = 6;

/// `%.4g`.
pub(super) fn four_digits(value: f64) -> String {
    general(value, Some(4))
}

fn special(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value.is_infinite() {
        Some(if value > 0.0 { "+Inf" } else { "-Inf" })
    } else {
        None
    }
}

/// `%g`: with a precision so many digits; without, as few as read back.
fn general(value: f64, precision: Option<usize>) -> String {
    if let Some(text) = special(value) {
        return text.into();
    }
    let written = match precision {
        Some(digits) => format!("{:.*e}", digits.max(1) - 1, value),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = written.split_once('e').unwrap_or((&written, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |m| ("-", m));
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let digits = match digits.trim_end_matches('0') {
        "" => "0",
        trimmed => trimmed,
    };
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let limit = match precision {
        None => SHOWN_FROM,
        Some(p) => {
            let p = i32::try_from(p.max(1)).unwrap_or(i32::MAX);
            if p > count && count > exponent { count } else { p }
        }
    };
    if exponent < -4 || exponent >= limit {
        let tail = if digits.len() > 1 { format!(".{}", &digits[1..]) } else { String::new() };
        return format!("{sign}{}{tail}e{}{:02}", &digits[..1], if exponent < 0 { '-' } else { '+' }, exponent.abs());
    }
    let point = exponent + 1;
    if point <= 0 {
        return format!("{sign}0.{}{digits}", "0".repeat(point.unsigned_abs() as usize));
    }
    let point = point as usize;
    if digits.len() <= point {
        return format!("{sign}{digits}{}", "0".repeat(point - digits.len()));
    }
    format!("{sign}{}.{}", &digits[..point], &digits[point..])
}

fn scientific(value: f64, precision: usize) -> String {
    if let Some(text) = special(value) {
        return text.into();
    }
    let written = format!("{value:.precision$e}");
    let (mantissa, exponent) = written.split_once('e').unwrap_or((&written, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// A text in double quotes, as Go quotes it.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{b}' => out.push_str("\\v"),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Flags, width and precision of one verb.
#[derive(Clone, Copy, Debug, Default)]
struct Spec {
    minus: bool,
    plus: bool,
    space: bool,
    zero: bool,
    sharp: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// The widest field and the highest precision.
const WIDEST: usize = 1000;

/// `printf`: formats values as Go's `fmt.Sprintf` does; what does not fit its verb is said in the text, as there.
///
/// # Errors
/// A width or precision over [`WIDEST`], or a text over the limit.
pub(super) fn printf(format: &str, values: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut values = values.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if out.len() > super::MAX_TEXT {
            return Err("the text is too long".into());
        }
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut spec = Spec::default();
        while let Some(flag) = chars.peek() {
            match flag {
                '-' => spec.minus = true,
                '+' => spec.plus = true,
                ' ' => spec.space = true,
                '0' => spec.zero = true,
                '#' => spec.sharp = true,
                _ => break,
            }
            chars.next();
        }
        spec.width = count(&mut chars, &mut values)?;
        if chars.peek() == Some(&'.') {
            chars.next();
            spec.precision = Some(count(&mut chars, &mut values)?.unwrap_or(0));
        }
        let Some(verb) = chars.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        match values.next() {
            None => out.push_str(&format!("%!{verb}(MISSING)")),
            Some(value) => out.push_str(&formatted(verb, spec, value)),
        }
    }
    let extra: Vec<String> = values.map(|v| format!("{}={}", v.type_name(), v.text())).collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    Ok(out)
}

fn count(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    values: &mut std::slice::Iter<'_, Value>,
) -> Result<Option<usize>, String> {
    let mut digits = String::new();
    if chars.peek() == Some(&'*') {
        chars.next();
        match values.next() {
            Some(Value::Int(n)) => digits = n.to_string(),
            _ => return Err("a width given by `*` is a whole number".into()),
        }
    }
    while let Some(c) = chars.peek().filter(|c| c.is_ascii_digit()) {
        digits.push(*c);
        chars.next();
    }
    if digits.is_empty() {
        return Ok(None);
    }
    match digits.parse::<usize>() {
        Ok(n) if n <= WIDEST => Ok(Some(n)),
        _ => Err(format!("the width or precision {digits} is over {WIDEST}")),
    }
}

fn formatted(verb: char, spec: Spec, value: &Value) -> String {
    let bad = || format!("%!{verb}({}={})", value.type_name(), value.text());
    let cut = |text: &str| match spec.precision {
        Some(n) => text.chars().take(n).collect(),
        None => text.to_string(),
    };
    match (verb, value) {
        ('v', Value::Float(n)) => number(&general(*n, spec.precision), spec, n.is_finite()),
        ('g' | 'G', Value::Float(n)) => number(&upper(verb, general(*n, spec.precision)), spec, n.is_finite()),
        ('f' | 'F', Value::Float(n)) => {
            let text = special(*n).map_or_else(|| format!("{n:.*}", spec.precision.unwrap_or(6)), str::to_string);
            number(&text, spec, n.is_finite())
        }
        ('e' | 'E', Value::Float(n)) => {
            number(&upper(verb, scientific(*n, spec.precision.unwrap_or(6))), spec, n.is_finite())
        }
        ('v' | 'd', Value::Int(n)) => number(&n.to_string(), spec, true),
        ('x' | 'X' | 'o' | 'b', Value::Int(n)) => {
            let size = n.unsigned_abs();
            let digits = match verb {
                'x' => format!("{size:x}"),
                'X' => format!("{size:X}"),
                'o' => format!("{size:o}"),
                _ => format!("{size:b}"),
            };
            let prefix = if spec.sharp && verb != 'b' { if verb == 'o' { "0" } else { "0x" } } else { "" };
            number(&format!("{}{prefix}{digits}", if *n < 0 { "-" } else { "" }), spec, true)
        }
        ('c', Value::Int(n)) => {
            let c = u32::try_from(*n).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
            pad(&c.to_string(), spec)
        }
        ('q', Value::Int(n)) => {
            let c = u32::try_from(*n).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
            pad(&format!("'{}'", quote(&c.to_string()).trim_matches('"')), spec)
        }
        ('U', Value::Int(n)) => pad(&format!("U+{n:04X}"), spec),
        ('x' | 'X', Value::Text(text)) => {
            let hex: String = text.bytes().map(|b| format!("{b:02x}")).collect();
            pad(&if verb == 'X' { hex.to_uppercase() } else { hex }, spec)
        }
        ('t' | 'v', Value::Bool(b)) => pad(if *b { "true" } else { "false" }, spec),
        ('s' | 'v', Value::Text(text)) => pad(&cut(text), spec),
        ('q', Value::Text(text)) => pad(&quote(&cut(text)), spec),
        ('s' | 'v', Value::Time(_) | Value::Labels(_) | Value::Nil | Value::List(_)) => pad(&value.text(), spec),
        ('T', _) => pad(value.type_name(), spec),
        _ => bad(),
    }
}

fn upper(verb: char, text: String) -> String {
    if verb.is_ascii_uppercase() { text.replace('e', "E") } else { text }
}

/// Sign and padding of a number.
fn number(text: &str, spec: Spec, is_finite: bool) -> String {
    let plain = text.trim_start_matches('+');
    let signed = match text {
        _ if plain.starts_with('-') => plain.to_string(),
        "+Inf" => text.to_string(),
        _ if spec.plus => format!("+{plain}"),
        _ if spec.space => format!(" {plain}"),
        _ => plain.to_string(),
    };
    let length = signed.chars().count();
    match spec.width {
        Some(width) if spec.zero && !spec.minus && is_finite && length < width => {
            let at = usize::from(signed.starts_with(['-', '+', ' ']));
            format!("{}{}{}", &signed[..at], "0".repeat(width - length), &signed[at..])
        }
        _ => pad(&signed, spec),
    }
}

fn pad(text: &str, spec: Spec) -> String {
    let blanks = spec.width.unwrap_or(0).saturating_sub(text.chars().count());
    let fill = if spec.zero && !spec.minus { "0" } else { " " };
    if spec.minus { format!("{text}{}", " ".repeat(blanks)) } else { format!("{}{text}", fill.repeat(blanks)) }
}

/// A time as Go prints it, in UTC: `2025-10-28 09:41:07.5 +0000 UTC`.
pub(super) fn time(millis: i64) -> String {
    match jiff::Timestamp::from_millisecond(millis) {
        Ok(at) => {
            let whole = at.strftime("%Y-%m-%d %H:%M:%S").to_string();
            let fraction = match millis.rem_euclid(1000) {
                0 => String::new(),
                ms => format!(".{ms:03}").trim_end_matches('0').to_string(),
            };
            format!("{whole}{fraction} +0000 UTC")
        }
        Err(_) => format!("{millis} ms since 1970"),
    }
}

/// Scaled by powers of 1000: `1.234k`, `12.3m`.
pub(super) fn humanize(mut v: f64) -> String {
    if v == 0.0 || !v.is_finite() {
        return four_digits(v);
    }
    let mut prefix = "";
    if v.abs() >= 1.0 {
        for p in ["k", "M", "G", "T", "P", "E", "Z", "Y"] {
            if v.abs() < 1000.0 {
                break;
            }
            prefix = p;
            v /= 1000.0;
        }
    } else {
        (v, prefix) = small(v);
    }
    format!("{}{prefix}", four_digits(v))
}

fn small(mut v: f64) -> (f64, &'static str) {
    let mut prefix = "";
    for p in ["m", "u", "n", "p", "f", "a", "z", "y"] {
        if v.abs() >= 1.0 {
            break;
        }
        prefix = p;
        v *= 1000.0;
    }
    (v, prefix)
}

/// Scaled by powers of 1024: `1.5Ki`.
pub(super) fn humanize1024(mut v: f64) -> String {
    if v.abs() <= 1.0 || !v.is_finite() {
        return four_digits(v);
    }
    let mut prefix = "";
    for p in ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"] {
        if v.abs() < 1024.0 {
            break;
        }
        prefix = p;
        v /= 1024.0;
    }
    format!("{}{prefix}", four_digits(v))
}

/// Seconds: `1d 2h 3m 4s`, `12.5s`, `3ms`.
pub(super) fn humanize_duration(v: f64) -> String {
    if !v.is_finite() {
        return four_digits(v);
    }
    if v == 0.0 {
        return format!("{}s", four_digits(v));
    }
    if v.abs() < 1.0 {
        let (v, prefix) = small(v);
        return format!("{}{prefix}s", four_digits(v));
    }
    let sign = if v < 0.0 { "-" } else { "" };
    let v = v.abs();
    let whole = v as i64;
    let (seconds, minutes, hours, days) = (whole % 60, whole / 60 % 60, whole / 3600 % 24, whole / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", four_digits(v)),
        (0, 0, _) => format!("{sign}{minutes}m {seconds}s"),
        (0, _, _) => format!("{sign}{hours}h {minutes}m {seconds}s"),
        _ => format!("{sign}{days}d {hours}h {minutes}m {seconds}s"),
    }
}
