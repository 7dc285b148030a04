//! Identities of deployments, incidents, deliveries and runs.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// 26 characters of `[0-9a-z]`: time first (10 characters, so that ids sort by age), a random tail last.
///
/// The form is that of ULID (Crockford's base 32, lower case). The random bits are handed in, so that the
/// same input gives the same id in a simulation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(String);

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl Id {
    /// An id made at `at` with 80 of `random`'s bits.
    pub fn new(at: Timestamp, random: u128) -> Id {
        let bits = ((at.millis().max(0) as u128 & ((1 << 48) - 1)) << 80) | (random & ((1 << 80) - 1));
        let text = (0..26u32).rev().map(|i| ALPHABET[((bits >> (5 * i)) & 31) as usize] as char).collect();
        Id(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Id {
    type Error = String;

    fn try_from(text: String) -> Result<Id, String> {
        let good = text.len() == 26 && text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase());
        if good { Ok(Id(text)) } else { Err("an id has 26 characters of 0-9 and a-z".into()) }
    }
}

impl From<Id> for String {
    fn from(id: Id) -> String {
        id.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_keep_their_shape() {
        let early = Id::new(Timestamp(1_761_640_867_000), u128::MAX);
        let late = Id::new(Timestamp(1_761_640_867_001), 0);
        assert!(early < late);
        assert_eq!(Id::try_from(early.to_string()), Ok(early));
        assert!(Id::try_from("../../etc/passwd".to_string()).is_err());
    }
}
