//! JSON objects one by one: the elements of a list, or what an engine sends one after the other.
//!
//! Enters: bytes, cut anywhere. Leaves: each outermost object as its text. At most [`MAX_OBJECT`] bytes are held, however
//! long the whole is; a longer object is passed over and said to be so.

/// The longest object that is read, in bytes.
pub const MAX_OBJECT: usize = 64 << 10;

/// An outermost object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object<'b> {
    /// Its text.
    Whole(&'b [u8]),
    /// It is longer than [`MAX_OBJECT`].
    TooLong,
}

/// Something else than objects stands where objects should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the byte {0:#04x} stands where a JSON object should begin")]
pub struct NoObject(u8);

/// A reader of objects.
#[derive(Debug, Default)]
pub struct Objects {
    held: Vec<u8>,
    /// How many braces and brackets are open within the object.
    depth: usize,
    in_text: bool,
    is_escaped: bool,
    is_too_long: bool,
    /// The list around the objects: not seen, open, ended.
    list: List,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum List {
    #[default]
    None,
    Open,
    Ended,
}

impl Objects {
    /// Takes the next bytes, and gives the objects that end in them to `each`.
    ///
    /// # Errors
    /// When something else stands between them than a list may hold.
    pub fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(Object<'_>)) -> Result<(), NoObject> {
        let mut begin = 0;
        for (at, byte) in bytes.iter().enumerate() {
            if self.depth == 0 {
                begin = at;
                self.between(*byte)?;
                continue;
            }
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' if self.in_text => self.is_escaped = true,
                b'"' => self.in_text = !self.in_text,
                b'{' | b'[' if !self.in_text => self.depth += 1,
                b'}' | b']' if !self.in_text => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        self.finish(&bytes[begin..=at], &mut each);
                    }
                }
                _ => {}
            }
        }
        if self.depth > 0 {
            self.hold(&bytes[begin..]);
        }
        Ok(())
    }

    /// Whether a list was begun and ended, and nothing is open.
    pub fn is_whole_list(&self) -> bool {
        self.list == List::Ended && self.depth == 0
    }

    fn between(&mut self, byte: u8) -> Result<(), NoObject> {
        match byte {
            b'{' if self.list != List::Ended => self.depth = 1,
            b'[' if self.list == List::None => self.list = List::Open,
            b']' if self.list == List::Open => self.list = List::Ended,
            b',' if self.list == List::Open => {}
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => return Err(NoObject(byte)),
        }
        Ok(())
    }

    fn hold(&mut self, part: &[u8]) {
        self.is_too_long |= self.held.len() + part.len() > MAX_OBJECT;
        if self.is_too_long {
            self.held.clear();
        } else {
            self.held.extend_from_slice(part);
        }
    }

    fn finish(&mut self, part: &[u8], each: &mut impl FnMut(Object<'_>)) {
        if self.held.is_empty() && !self.is_too_long && part.len() <= MAX_OBJECT {
            return each(Object::Whole(part));
        }
        self.hold(part);
        match std::mem::take(&mut self.is_too_long) {
            true => each(Object::TooLong),
            false => each(Object::Whole(&self.held)),
        }
        self.held.clear();
        self.held.shrink_to(READ);
    }
}

/// What is kept for the next object that comes in pieces, in bytes.
const READ: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, size: usize) -> Result<(Vec<String>, bool), NoObject> {
        let (mut objects, mut got) = (Objects::default(), Vec::new());
        for piece in text.as_bytes().chunks(size) {
            objects.feed(piece, |object| {
                got.push(match object {
                    Object::Whole(text) => String::from_utf8(text.to_vec()).unwrap(),
                    Object::TooLong => "too long".into(),
                });
            })?;
        }
        Ok((got, objects.is_whole_list()))
    }

    #[test]
    fn objects_come_out_whole_however_they_are_cut() {
        let text = r#"[{"a":"}\"{","b":[{}]}, {} ,{"c":{"d":"\\"}}]"#;
        let wanted: Vec<String> = [r#"{"a":"}\"{","b":[{}]}"#, "{}", r#"{"c":{"d":"\\"}}"#].map(Into::into).into();
        for size in 1..=text.len() {
            assert_eq!(read(text, size), Ok((wanted.clone(), true)), "by {size}");
            let cut = &text[..text.len() - 1];
            assert_eq!(read(cut, size), Ok((wanted.clone(), false)), "half a list by {size}");
        }
        assert_eq!(read("[]", 1), Ok((Vec::new(), true)));
        assert_eq!(read("{\"a\":1}\n{\"b\":2}\r\n{", 3), Ok((vec!["{\"a\":1}".into(), "{\"b\":2}".into()], false)));
    }

    #[test]
    fn an_object_that_is_too_long_is_passed_over_and_said() {
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_OBJECT));
        let text = format!("[{{}},{long},{{}}]");
        for size in [1000, 16 << 10, text.len()] {
            assert_eq!(read(&text, size), Ok((vec!["{}".into(), "too long".into(), "{}".into()], true)), "by {size}");
        }
    }

    #[test]
    fn what_is_no_object_is_said() {
        for (text, byte) in [("null", b'n'), ("[{}]{}", b'{'), ("{},{}", b','), ("<html>", b'<'), ("[1]", b'1')] {
            assert_eq!(read(text, 2), Err(NoObject(byte)), "{text}");
        }
    }
}
