//! Patterns in which `*` and `?` stand for other characters.

/// Whether the whole `text` fits `pattern`, in which `*` stands for any bytes, none and `/` included, and `?` for one. Takes at
/// most the product of both lengths.
pub fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where the last star stands, and where in the text what it took ends.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[t] => (p, t) = (p + 1, t + 1),
            // The last star takes one more.
            _ => match &mut star {
                Some((at, taken)) => {
                    *taken += 1;
                    (p, t) = (*at + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_bytes_and_a_question_mark_for_one() {
        for (pattern, text, wanted) in [
            ("up", "up", true),
            ("up", "ups", false),
            ("up", "", false),
            ("", "", true),
            ("", "/", false),
            ("*", "", true),
            ("*", "/", true),
            ("http_*", "http_requests_total", true),
            ("http_*", "http_", true),
            ("http_*", "nghttp_x", false),
            ("*_total", "a_total", true),
            ("*_total", "a_total_b", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYcZ", false),
            ("**a**", "bab", true),
            ("*ab", "aab", true),
            ("/data", "/data/x", false),
            ("/data/*", "/data/x/y", true),
            ("/d?ta", "/data", true),
            ("/d?ta", "/dta", false),
            ("data?", "data", false),
            ("/*/b*c", "/a/bbc", true),
            ("/*/b*c", "/a/bbd", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), text.as_bytes()), wanted, "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_that_backtracks_ends() {
        let pattern = "*a".repeat(100);
        assert!(!fits(pattern.as_bytes(), "a".repeat(99).as_bytes()));
        assert!(!fits(pattern.as_bytes(), ("a".repeat(1000) + "b").as_bytes()));
        assert!(fits(pattern.as_bytes(), "a".repeat(1000).as_bytes()));
    }
}
