//! Vectors on their way through an evaluation.
//!
//! An element borrows the labels of its series until something changes them, so that a hundred thousand series cost no
//! hundred thousand copies.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Deref;

use crate::base::label::NAME;
use crate::base::{Labels, Timestamp};

/// The labels of an element.
#[derive(Clone, Debug)]
pub(super) enum Tags<'a> {
    /// Those of a series.
    Held(&'a Labels),
    Own(Labels),
}

/// One element of a vector.
#[derive(Clone, Debug)]
pub(super) struct Element<'a> {
    pub(super) labels: Tags<'a>,
    pub(super) value: f64,
    /// The newest sample behind it.
    pub(super) newest: Timestamp,
    /// The metric name goes away at the end, not before: until then it keeps elements apart.
    pub(super) drop_name: bool,
}

/// Elements in an order that is kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Vector<'a> {
    pub(super) elements: Vec<Element<'a>>,
    /// Whether it is known that no two have the same labels, names aside.
    pub(super) distinct: bool,
}

/// What a node gives: a number with the newest sample behind it, or a vector.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Number(f64, Timestamp),
    Vector(Vector<'a>),
}

/// The time of a value behind which no sample stands.
pub(super) const NEVER: Timestamp = Timestamp(i64::MIN);

impl Deref for Tags<'_> {
    type Target = Labels;

    fn deref(&self) -> &Labels {
        match self {
            Tags::Held(labels) => labels,
            Tags::Own(labels) => labels,
        }
    }
}

impl Tags<'_> {
    pub(super) fn into_labels(self) -> Labels {
        match self {
            Tags::Held(labels) => labels.clone(),
            Tags::Own(labels) => labels,
        }
    }
}

impl<'a> Vector<'a> {
    /// The only element of a vector without labels.
    pub(super) fn of_number(value: f64, newest: Timestamp) -> Vector<'a> {
        let only = Element { labels: Tags::Own(Labels::empty()), value, newest, drop_name: false };
        Vector { elements: vec![only], distinct: true }
    }

    /// Each element with a new value and its name to be dropped; those without a value go.
    pub(super) fn mapped(mut self, value: impl Fn(&Element<'a>) -> Option<f64>) -> Vector<'a> {
        self.elements.retain_mut(|element| {
            let Some(new) = value(element) else { return false };
            element.value = new;
            element.drop_name = true;
            true
        });
        self
    }

    /// Labels that two elements share.
    pub(super) fn twice(&self) -> Option<&Labels> {
        if self.distinct || self.elements.len() < 2 {
            return None;
        }
        let mut table = Table::with_capacity(self.elements.len());
        for (i, element) in self.elements.iter().enumerate() {
            let same = |other: usize| *self.elements[other].labels == *element.labels;
            if table.find(hash_all(&element.labels), same).is_some() {
                return self.elements.get(i).map(|element| &*element.labels);
            }
            table.insert(hash_all(&element.labels));
        }
        None
    }

    /// The vector with the names gone that are to go.
    ///
    /// # Errors
    /// Labels that are there twice then.
    pub(super) fn named(mut self) -> Result<Vector<'a>, String> {
        for element in self.elements.iter_mut().filter(|element| element.drop_name) {
            if !element.labels.name().is_empty() {
                element.labels = Tags::Own(element.labels.without_name());
            }
            element.drop_name = false;
        }
        match self.twice() {
            Some(labels) => Err(format!("the result holds the labels {labels} more than once")),
            None => Ok(self),
        }
    }
}

/// Finds numbered places by hash: the first insertion is place 0, the next 1.
#[derive(Debug, Default)]
pub(super) struct Table {
    last: HashMap<u64, u32, BuildHasherDefault<AsItIs>>,
    /// The place before with the same hash, plus one.
    before: Vec<u32>,
}

/// Keys are hashes already.
#[derive(Debug, Default)]
pub(super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        // The table takes its control bits from the top, where FNV mixes least.
        self.0 = hash ^ hash.rotate_left(32);
    }
}

impl Table {
    pub(super) fn with_capacity(n: usize) -> Table {
        Table {
            last: HashMap::with_capacity_and_hasher(n, BuildHasherDefault::default()),
            before: Vec::with_capacity(n),
        }
    }

    /// The place under this hash for which `same` holds.
    pub(super) fn find(&self, hash: u64, mut same: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut place = *self.last.get(&hash)?;
        loop {
            if same(place as usize) {
                return Some(place as usize);
            }
            place = self.before[place as usize].checked_sub(1)?;
        }
    }

    /// The next place.
    pub(super) fn insert(&mut self, hash: u64) -> usize {
        let place = self.before.len();
        let number = u32::try_from(place).unwrap_or(u32::MAX);
        let before = self.last.insert(hash, number).map_or(0, |before| before + 1);
        self.before.push(before);
        place
    }
}

/// FNV-1a 64 over parts that are kept apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fnv(pub(super) u64);

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    pub(super) fn eat(&mut self, part: &str) {
        for byte in part.as_bytes() {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.0 = (self.0 ^ 0xff).wrapping_mul(0x0000_0100_0000_01b3);
    }
}

pub(super) fn hash_all(labels: &Labels) -> u64 {
    labels.fingerprint()
}

/// Some of the labels of a set: those listed, or all others but the name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'p> {
    /// Sorted.
    pub(super) listed: &'p [String],
    /// Whether the listed ones are meant.
    pub(super) only: bool,
}

impl Part<'_> {
    fn has(self, name: &str) -> bool {
        // Lists are short: a plain search beats a clever one.
        let listed = self.listed.iter().any(|label| label == name);
        if self.only { listed } else { !listed && name != NAME }
    }

    /// The values of the listed labels, with a guess where they stand.
    pub(super) fn hash(self, labels: &Labels, hints: &mut [usize]) -> u64 {
        let mut hash = Fnv::default();
        if self.only {
            for (name, hint) in self.listed.iter().zip(hints) {
                hash.eat(value_near(labels, name, hint));
            }
        } else {
            for (name, value) in labels.iter().filter(|(name, _)| self.has(name)) {
                hash.eat(name);
                hash.eat(value);
            }
        }
        hash.0
    }

    /// Room for the guesses of [`Part::hash`].
    pub(super) fn hints(self) -> Vec<usize> {
        vec![0; if self.only { self.listed.len() } else { 0 }]
    }

    pub(super) fn same(self, a: &Labels, b: &Labels) -> bool {
        if self.only {
            self.listed.iter().all(|name| a.get(name) == b.get(name))
        } else {
            let there = |(name, _): &(&str, &str)| self.has(name);
            a.iter().filter(there).eq(b.iter().filter(there))
        }
    }

    /// Whether `group`, which holds this part and nothing else, is the part of `labels`.
    pub(super) fn holds(self, group: &Labels, labels: &Labels, hints: &mut [usize]) -> bool {
        if self.only {
            let mut listed = self.listed.iter().zip(hints);
            listed.all(|(name, hint)| group.get(name) == value_near(labels, name, hint))
        } else {
            group.iter().eq(labels.iter().filter(|(name, _)| self.has(name)))
        }
    }

    pub(super) fn of(self, labels: &Labels) -> Labels {
        if self.only && self.listed.is_empty() { Labels::empty() } else { labels.filtered(|name| self.has(name)) }
    }
}

/// The value of a label: looked for first where it stood in the labels before.
fn value_near<'l>(labels: &'l Labels, name: &str, hint: &mut usize) -> &'l str {
    let pairs = labels.pairs();
    if let Some((held, value)) = pairs.get(*hint)
        && **held == *name
    {
        return value;
    }
    match pairs.iter().position(|(held, _)| **held == *name) {
        Some(at) => {
            *hint = at;
            &pairs[at].1
        }
        None => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_keeps_places_of_one_hash_apart() {
        let mut table = Table::default();
        assert_eq!([table.insert(7), table.insert(7), table.insert(8)], [0, 1, 2]);
        assert_eq!(table.find(7, |place| place == 0), Some(0));
        assert_eq!(table.find(7, |place| place == 1), Some(1));
        assert_eq!(table.find(7, |_| false), None);
        assert_eq!(table.find(9, |_| true), None);
    }

    #[test]
    fn parts_of_labels_hash_alike_where_they_are_alike() {
        let (a, b) = (Labels::new([("__name__", "x"), ("a", "1"), ("b", "2")]), Labels::new([("a", "1"), ("c", "3")]));
        let listed = ["a".to_string()];
        let hash = |part: Part<'_>, labels: &Labels| part.hash(labels, &mut part.hints());
        let only = Part { listed: &listed, only: true };
        assert!(only.same(&a, &b) && hash(only, &a) == hash(only, &b));
        let others = Part { listed: &listed, only: false };
        assert!(!others.same(&a, &b) && hash(others, &a) != hash(others, &b));
        assert_eq!(others.of(&a).to_string(), "{b=\"2\"}");
        assert_eq!(only.of(&a).to_string(), "{a=\"1\"}");
    }
}
