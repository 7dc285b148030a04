//! Label sets: the identity of series and alerts.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The label that holds a series' name.
pub const NAME: &str = "__name__";

/// A sorted set of label names and values, cheap to clone. An empty value is the same as no label.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(
    from = "std::collections::BTreeMap<Arc<str>, Arc<str>>",
    into = "std::collections::BTreeMap<Arc<str>, Arc<str>>"
)]
pub struct Labels(Arc<[(Arc<str>, Arc<str>)]>);

impl Labels {
    /// The empty set.
    pub fn empty() -> Labels {
        Labels::default()
    }

    /// Builds a set from pairs in any order; the last of two alike names wins, empty values are left out.
    pub fn new<N: Into<Arc<str>>, V: Into<Arc<str>>>(pairs: impl IntoIterator<Item = (N, V)>) -> Labels {
        let mut all: Vec<(Arc<str>, Arc<str>)> = pairs.into_iter().map(|(n, v)| (n.into(), v.into())).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all.reverse();
        all.dedup_by(|later, kept| later.0 == kept.0);
        all.reverse();
        all.retain(|(_, v)| !v.is_empty());
        Labels(all.into())
    }

    /// The value of `name`, or `""` where there is none, as PromQL matches it.
    pub fn get(&self, name: &str) -> &str {
        match self.0.binary_search_by(|(n, _)| (**n).cmp(name)) {
            Ok(i) => &self.0[i].1,
            Err(_) => "",
        }
    }

    /// The series' name, or `""`.
    pub fn name(&self) -> &str {
        self.get(NAME)
    }

    /// All pairs, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (&**n, &**v))
    }

    /// All pairs as shared strings, for those who build further sets.
    pub fn pairs(&self) -> &[(Arc<str>, Arc<str>)] {
        &self.0
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// This set with one label set (or, when `value` is empty, removed).
    pub fn with(&self, name: &str, value: &str) -> Labels {
        Labels::new(self.0.iter().cloned().chain([(Arc::from(name), Arc::from(value))]))
    }

    /// This set and all of `other`; where both have a name, `other` wins.
    pub fn merged(&self, other: &Labels) -> Labels {
        Labels::new(self.0.iter().chain(other.0.iter()).cloned())
    }

    /// The labels whose names pass.
    pub fn filtered(&self, keep: impl Fn(&str) -> bool) -> Labels {
        Labels(self.0.iter().filter(|(n, _)| keep(n)).cloned().collect())
    }

    /// This set without the series' name.
    pub fn without_name(&self) -> Labels {
        if self.name().is_empty() { self.clone() } else { self.filtered(|n| n != NAME) }
    }

    /// FNV-1a 64 over `name 0xff value 0xff` of the sorted labels: stable across runs and machines, and
    /// the fingerprint that Alertmanager shows for the same set.
    pub fn fingerprint(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut eat = |bytes: &[u8]| {
            for byte in bytes.iter().chain(&[0xff]) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        };
        for (name, value) in self.iter() {
            eat(name.as_bytes());
            eat(value.as_bytes());
        }
        hash
    }
}

impl From<std::collections::BTreeMap<Arc<str>, Arc<str>>> for Labels {
    fn from(map: std::collections::BTreeMap<Arc<str>, Arc<str>>) -> Labels {
        Labels::new(map)
    }
}

impl From<Labels> for std::collections::BTreeMap<Arc<str>, Arc<str>> {
    fn from(labels: Labels) -> Self {
        labels.0.iter().cloned().collect()
    }
}

/// As PromQL writes it: `name{a="1",b="2"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        let others: Vec<_> = self.iter().filter(|(n, _)| *n != NAME).collect();
        if others.is_empty() {
            return if self.name().is_empty() { f.write_str("{}") } else { Ok(()) };
        }
        for (i, (name, value)) in others.into_iter().enumerate() {
            f.write_str(if i == 0 { "{" } else { "," })?;
            write!(f, "{name}={value:?}")?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_empty_values_do_not_matter() {
        let a = Labels::new([("b", "2"), ("a", "1"), ("c", "")]);
        let b = Labels::new([("a", "0"), ("a", "1"), ("b", "2")]);
        assert_eq!(a, b);
        assert_eq!(a.fingerprint(), b.fingerprint());
        assert_eq!(a.get("c"), "");
        assert_eq!(a.with("b", "").to_string(), r#"{a="1"}"#);
    }

    /// Reference values of the FNV-1a 64 function (Fowler, Noll, Vo): the empty input is the offset basis.
    #[test]
    fn the_fingerprint_is_fnv_1a() {
        assert_eq!(Labels::empty().fingerprint(), 0xcbf2_9ce4_8422_2325);
        let by_hand = b"a\xff1\xff"
            .iter()
            .fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3));
        assert_eq!(Labels::new([("a", "1")]).fingerprint(), by_hand);
    }
}
