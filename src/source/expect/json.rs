//! A document of JSON within its bounds.
//!
//! Enters: bytes, whose number the source has bounded. Leaves: a value nested at most [`MAX_DEPTH`] deep that
//! holds at most [`MAX_VALUES`] values; or where and why it is none, without its content. Of two keys of the same
//! name the last one counts. Whole numbers beyond 64 bits become floats; a number beyond a float is an error.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How deep lists and objects may be nested.
pub const MAX_DEPTH: usize = 64;

/// How many values a document may hold: each takes up to a hundred bytes of memory, however short it was written.
pub const MAX_VALUES: usize = 100_000;

/// Reads a document; a byte order mark before it is skipped.
///
/// # Errors
/// Where and why it is none.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let left = Cell::new(MAX_VALUES);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Bounded { depth: 0, left: &left }.deserialize(&mut reader).map_err(|e| e.to_string())?;
    reader.end().map_err(|e| e.to_string())?;
    Ok(value)
}

/// One value at this depth, of those that are left.
#[derive(Clone, Copy)]
struct Bounded<'c> {
    depth: usize,
    left: &'c Cell<usize>,
}

impl Bounded<'_> {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {MAX_DEPTH}")));
        }
        Ok(Bounded { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        match self.left.get().checked_sub(1) {
            Some(left) => self.left.set(left),
            None => return Err(D::Error::custom(format_args!("more than {MAX_VALUES} values"))),
        }
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_string()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        while let Some(value) = all.next_element_seed(inner)? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = all.next_key::<String>()? {
            object.insert(key, all.next_value_seed(inner)?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_as_serde_json_reads_it() {
        for text in [
            "null",
            " [1, -1, 1.5, true, \"x\\u00fc\\n\", {}, []] ",
            "{\"a\": 1, \"a\": 2, \"b\": {\"c\": 18446744073709551615}}",
            "123456789012345678901234567890",
            "-0",
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap(), "{text}");
        }
        assert_eq!(parse(b"\xef\xbb\xbf{\"a\": 1}").unwrap()["a"], 1);
    }

    #[test]
    fn what_is_no_document_says_where() {
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(parse(deep(MAX_DEPTH).as_bytes()).is_ok());
        let many = |n: usize| format!("[{}1]", "1,".repeat(n - 2));
        assert!(parse(many(MAX_VALUES).as_bytes()).is_ok());
        for (text, why) in [
            ("", "EOF while parsing a value at line 1 column 0"),
            ("<html>", "expected value at line 1 column 1"),
            ("{\"a\": hunter2}", "expected value at line 1 column 7"),
            ("1 2", "trailing characters at line 1 column 3"),
            ("1e400", "number out of range at line 1 column 5"),
            (&*deep(MAX_DEPTH + 1), "nested deeper than 64 at line 1 column 65"),
            (&*deep(100_000), "nested deeper than 64 at line 1 column 65"),
            (&*many(MAX_VALUES + 1), "more than 100000 values at line 1 column 200001"),
        ] {
            let got = parse(text.as_bytes()).unwrap_err();
            let start = |text: &str| text.split(" at line").next().map(str::to_string);
            assert_eq!(start(&got), start(why), "{got}");
            assert!(!got.contains("hunter2"));
        }
        assert!(parse(b"\"\xff\"").unwrap_err().starts_with("invalid unicode code point"));
    }
}
