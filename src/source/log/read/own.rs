//! The agent's own lines among those of others, as a syslog daemon writes them: an alert quotes the line that raised it,
//! and would raise itself again.

use memchr::memmem;

/// How syslog calls this program, before the number of its process.
const TAG: &[u8] = b"backstop[";

/// How far into a line the tag may begin, in bytes: behind a time and the name of a host.
const HEAD: usize = 128;

/// A search that tells whether lines of the agent may be in a text at all: where it finds nothing, there are none.
pub(super) fn finder() -> memmem::Finder<'static> {
    memmem::Finder::new(TAG)
}

/// Whether the agent wrote a line: `Nov 21 10:00:00 web-1 backstop[812]: …`.
pub(super) fn is_own(line: &[u8]) -> bool {
    let head = &line[..line.len().min(HEAD)];
    let Some(at) = memmem::find(head, TAG) else { return false };
    let is_word = at == 0 || matches!(head[at - 1], b' ' | b'\t' | b'>');
    let rest = &line[at + TAG.len()..];
    let n_digits = rest.iter().take(12).take_while(|b| b.is_ascii_digit()).count();
    is_word && n_digits > 0 && rest[n_digits..].starts_with(b"]:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_is_known_by_its_tag_and_nothing_else_is() {
        for (line, own) in [
            ("Nov 21 10:00:00 web-1 backstop[812]: ERROR boom is critical", true),
            ("<11>backstop[1]: x", true),
            ("2026-01-01T00:00:00Z web-1 backstop[77]:", true),
            ("Nov 21 10:00:00 web-1 shop[812]: told backstop[812]: x", true),
            ("Nov 21 10:00:00 web-1 mybackstop[812]: x", false),
            ("Nov 21 10:00:00 web-1 backstop[]: x", false),
            ("Nov 21 10:00:00 web-1 backstop[812] x", false),
            ("Nov 21 10:00:00 web-1 shop[1]: backstop is down", false),
            ("backstop[", false),
        ] {
            assert_eq!(is_own(line.as_bytes()), own, "{line}");
            assert!(!own || finder().find(line.as_bytes()).is_some());
        }
        let far = format!("{}backstop[812]: x", " ".repeat(HEAD));
        assert!(!is_own(far.as_bytes()));
    }
}
