//! Bytes of a file become whole lines.
//!
//! Enters: what follows a position. Leaves: pieces of whole lines, and how far the position moves. A last line without its
//! newline stays where it is. A line that is too long is handed over cut, and the rest of it is passed over without being
//! held. NULs in front of a line are the room that a writer left when its file was emptied under it: they are no line. NULs
//! with nothing behind them may still be filled, so they are left.

use memchr::{memchr, memmem, memrchr};

use super::Content;

/// Hands the whole lines of `data` to `emit` and returns how many bytes are done with. `is_in_long` says whether `data` goes
/// on in a line that was cut, before and after.
pub(super) fn split(data: &[u8], max_line: usize, is_in_long: &mut bool, emit: &mut dyn FnMut(Content<'_>)) -> usize {
    let mut at = 0;
    if *is_in_long {
        let Some(end) = memchr(b'\n', data) else { return data.len() };
        *is_in_long = false;
        at = end + 1;
    }
    while let Some(first) = data.get(at) {
        let rest = &data[at..];
        if *first == 0 {
            let Some(n_nuls) = rest.iter().position(|byte| *byte != 0) else { break };
            at += n_nuls;
            continue;
        }
        let Some(end) = memrchr(b'\n', rest) else {
            if rest.len() > max_line {
                emit(Content::Cut(&rest[..max_line]));
                *is_in_long = true;
                at = data.len();
            }
            break;
        };
        let whole = &rest[..=end];
        let whole = memmem::find(whole, b"\n\0").map_or(whole, |newline| &whole[..=newline]);
        hand_over(whole, max_line, emit);
        at += whole.len();
    }
    at
}

/// Hands over lines that are whole, those cut that are too long.
fn hand_over(whole: &[u8], max_line: usize, emit: &mut dyn FnMut(Content<'_>)) {
    let (mut begin, mut at) = (0, 0);
    // The last newline within reach ends only lines that are short enough: one look for many lines.
    while whole.len() - at > max_line + 1 {
        match memrchr(b'\n', &whole[at..=at + max_line]) {
            Some(newline) => at += newline + 1,
            None => {
                if begin < at {
                    emit(Content::Lines(&whole[begin..at]));
                }
                emit(Content::Cut(&whole[at..at + max_line]));
                at += memchr(b'\n', &whole[at..]).map_or(whole.len() - at, |newline| newline + 1);
                begin = at;
            }
        }
    }
    if begin < whole.len() {
        emit(Content::Lines(&whole[begin..]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines, how far the position moved, and whether a long line goes on.
    fn lines(data: &[u8], max_line: usize, mut is_in_long: bool) -> (Vec<String>, usize, bool) {
        let mut all = Vec::new();
        let done = split(data, max_line, &mut is_in_long, &mut |content| match content {
            Content::Lines(lines) => {
                assert_eq!(lines.last(), Some(&b'\n'));
                all.extend(lines.split_inclusive(|byte| *byte == b'\n').map(|l| String::from_utf8_lossy(l).into()));
            }
            Content::Cut(line) => all.push(format!("{}...", String::from_utf8_lossy(line))),
            other => panic!("{other:?}"),
        });
        (all, done, is_in_long)
    }

    #[test]
    fn whole_lines_go_and_a_partial_one_stays() {
        for (data, wanted, done) in [
            ("", vec![], 0),
            ("a", vec![], 0),
            ("a\nb\nc", vec!["a\n", "b\n"], 4),
            ("\n\n", vec!["\n", "\n"], 2),
            ("12345\n", vec!["12345\n"], 6),
            ("123456\n", vec!["12345..."], 7),
            ("a\n123456\nb\nc", vec!["a\n", "12345...", "b\n"], 11),
            ("123456\n1234567\n", vec!["12345...", "12345..."], 15),
            ("\0\0a\n\0b\n", vec!["a\n", "b\n"], 7),
            ("a\n\0\0", vec!["a\n"], 2),
            ("a\0b\n", vec!["a\0b\n"], 4),
        ] {
            let wanted = wanted.into_iter().map(String::from).collect();
            assert_eq!(lines(data.as_bytes(), 5, false), (wanted, done, false), "{data:?}");
        }
    }

    #[test]
    fn the_rest_of_a_long_line_is_passed_over() {
        assert_eq!(lines(b"1234567", 5, false), (vec!["12345...".into()], 7, true));
        assert_eq!(lines(b"89", 5, true), (vec![], 2, true));
        assert_eq!(lines(b"0\nb\n", 5, true), (vec!["b\n".into()], 4, false));
        assert_eq!(lines(b"12345", 5, false), (vec![], 0, false), "it may end right there");
    }

    #[test]
    fn however_it_is_read_the_lines_are_the_same() {
        let text = b"a\nbb\n\nccccc\ndddddd\neeeeeeeeeeeeeeeeeee\nf\n";
        let whole = lines(text, 5, false).0;
        for step in 6..text.len() {
            let (mut at, mut is_in_long, mut all) = (0, false, Vec::new());
            while at < text.len() {
                let end = text.len().min(at + step);
                let (some, done, goes_on) = lines(&text[at..end], 5, is_in_long);
                assert!(done > 0, "it goes on: {step} {at}");
                all.extend(some);
                at += done;
                is_in_long = goes_on;
            }
            assert_eq!(all, whole, "{step}");
        }
    }
}
