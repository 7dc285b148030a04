//! Functions that write labels, and the order of labels.

use std::cmp::Ordering;

use super::plan::{Order, Relabel};
use super::vector::{Element, Tags, Vector};
use crate::base::label::NAME;

impl Relabel {
    /// Writes the label of each element.
    ///
    /// # Errors
    /// Two elements that have the same labels then.
    pub(super) fn apply<'a>(&self, mut vector: Vector<'a>) -> Result<Vector<'a>, String> {
        for element in &mut vector.elements {
            let Some(value) = self.value(element) else { continue };
            let target = self.target();
            if element.labels.get(target) != value {
                element.labels = Tags::Own(element.labels.with(target, &value));
            }
            if target == NAME {
                element.drop_name = false;
            }
        }
        vector.distinct = false;
        match vector.twice() {
            Some(labels) => Err(format!("the result holds the labels {labels} more than once")),
            None => Ok(vector),
        }
    }

    fn target(&self) -> &str {
        match self {
            Relabel::Replace { target, .. } | Relabel::Join { target, .. } => target,
        }
    }

    /// The new value; none where the pattern does not match.
    fn value(&self, element: &Element<'_>) -> Option<String> {
        match self {
            Relabel::Replace { replacement, source, pattern, .. } => {
                let captures = pattern.captures(element.labels.get(source))?;
                let mut value = String::new();
                captures.expand(replacement, &mut value);
                Some(value)
            }
            Relabel::Join { separator, sources, .. } => {
                let values: Vec<&str> = sources.iter().map(|source| element.labels.get(source)).collect();
                Some(values.join(separator))
            }
        }
    }
}

impl Order {
    pub(super) fn sort(&self, elements: &mut [Element<'_>]) {
        // NaN is last in either order.
        let nan_last = |a: f64, b: f64| a.is_nan().cmp(&b.is_nan());
        match self {
            Order::Rising => elements.sort_by(|a, b| {
                nan_last(a.value, b.value).then(a.value.partial_cmp(&b.value).unwrap_or(Ordering::Equal))
            }),
            Order::Falling => elements.sort_by(|a, b| {
                nan_last(a.value, b.value).then(b.value.partial_cmp(&a.value).unwrap_or(Ordering::Equal))
            }),
            Order::Labels { names, falling } => elements.sort_by(|a, b| {
                let listed = names.iter().map(|name| natural(a.labels.get(name), b.labels.get(name)));
                let order = listed.fold(Ordering::Equal, Ordering::then).then_with(|| a.labels.cmp(&b.labels));
                if *falling { order.reverse() } else { order }
            }),
        }
    }
}

/// The order in which `a2` comes before `a10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        let (Some(x), Some(y)) = (a.first(), b.first()) else { return a.len().cmp(&b.len()) };
        if x.is_ascii_digit() && y.is_ascii_digit() {
            let (in_a, in_b) = (digits(a), digits(b));
            let order = in_a.len().cmp(&in_b.len()).then(in_a.cmp(in_b));
            if order != Ordering::Equal {
                return order;
            }
            let skip = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
            (a, b) = (&a[skip(a)..], &b[skip(b)..]);
        } else if x == y {
            (a, b) = (&a[1..], &b[1..]);
        } else {
            return x.cmp(y);
        }
    }
}

/// The digits in front, without leading zeros.
fn digits(text: &[u8]) -> &[u8] {
    let end = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let zeros = text[..end].iter().take_while(|byte| **byte == b'0').count();
    &text[zeros..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_within_labels_are_ordered_as_numbers() {
        for (a, b) in [("a2", "a10"), ("", "a"), ("a", "b"), ("a2b", "a2c"), ("9", "10"), ("a", "a1")] {
            assert_eq!((natural(a, b), natural(b, a)), (Ordering::Less, Ordering::Greater), "{a} {b}");
        }
        assert_eq!(natural("a01b", "a1b"), Ordering::Equal);
    }
}
