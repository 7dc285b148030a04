//! Floats in JSON: what has no number there (NaN, infinities) is written as text, and read back.
//!
//! JSON would turn them into `null`, which does not read back; a journal that cannot be read again is lost.

use serde::{Deserializer, Serializer};

/// Writes a float; `"NaN"`, `"+Inf"` and `"-Inf"` as text.
///
/// # Errors
/// The serializer's own.
pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() {
        serializer.serialize_f64(*value)
    } else if value.is_nan() {
        serializer.serialize_str("NaN")
    } else {
        serializer.serialize_str(if *value > 0.0 { "+Inf" } else { "-Inf" })
    }
}

/// Reads what [`serialize`] wrote.
///
/// # Errors
/// When it is neither a number nor one of the three words.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    struct Visitor;
    impl serde::de::Visitor<'_> for Visitor {
        type Value = f64;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a number, or NaN, +Inf, -Inf")
        }

        fn visit_f64<E>(self, value: f64) -> Result<f64, E> {
            Ok(value)
        }

        fn visit_i64<E>(self, value: i64) -> Result<f64, E> {
            Ok(value as f64)
        }

        fn visit_u64<E>(self, value: u64) -> Result<f64, E> {
            Ok(value as f64)
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<f64, E> {
            match text {
                "NaN" => Ok(f64::NAN),
                "+Inf" => Ok(f64::INFINITY),
                "-Inf" => Ok(f64::NEG_INFINITY),
                _ => Err(E::custom("no number")),
            }
        }
    }
    deserializer.deserialize_any(Visitor)
}

#[cfg(test)]
mod tests {
    use crate::base::Quantity;

    #[test]
    fn every_float_is_read_back() {
        for value in [0.1, -3.0, 1e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let text = serde_json::to_string(&Quantity::count(value)).unwrap();
            let back: Quantity = serde_json::from_str(&text).unwrap();
            assert!(back.value.to_bits() == value.to_bits() || (back.value.is_nan() && value.is_nan()), "{text}");
        }
    }
}
